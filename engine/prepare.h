/* SPDX-License-Identifier: MIT */
/* A prepared job's insides, shared by prepare.c and elide.c. */
#ifndef MICA_PREPARE_H
#define MICA_PREPARE_H

#include "access.h"

/* One packet to run. Commands stand by stretch (from barrier to barrier), then by core, then in stream order. */
struct command {
	const union mica_pkt *p;
	uint32_t packet;		/* its number in the core's stream */
	uint32_t stretch;
	uint8_t core;
};

struct commands {
	struct command *c;
	uint32_t n;
};

/*
 * Removes from *list the COPYs between LMEM and the segments in `direct` whose other side packets can use themselves, and
 * gives those packets operands there. Offsets of memories within the window are in *layout. Changed packets go to
 * patched[0..*n_patched), which has room for as many as there are commands. Returns false when memory is short.
 */
bool elide_copies(struct commands *list, const struct mica_job *job, const struct mica_layout *layout, uint64_t direct,
		  union mica_pkt *patched, uint32_t *n_patched);

#endif /* MICA_PREPARE_H */
