/* SPDX-License-Identifier: MIT */
/* Which bytes of which memory a checked packet touches. */
#ifndef MICA_ACCESS_H
#define MICA_ACCESS_H

#include "engine_internal.h"

#define ACCESS_MAX	6u
#define ACCESS_LMEM	0x100u	/* + core; smaller spaces are segments */

struct access {
	uint32_t space;
	bool write;
	uint16_t view;		/* offset of its mica_view in the packet; 0: the operand is none (COPY, constants, acc) */
	uint32_t elem;
	int64_t at, lo, hi;	/* first element; bytes [lo, hi) from the lowest to the highest */
	uint64_t bytes;		/* of its elements: hi - lo when there are no gaps */
	uint32_t dim[4];
	int64_t stride[4];
};

/* The operands of p on that core; returns how many. BARRIER and END have none. */
unsigned access_of(const union mica_pkt *p, unsigned core, struct access out[ACCESS_MAX]);
/* Some byte may be in both; false only when certainly none is. */
bool access_meet(const struct access *a, const struct access *b);
/* They meet and one of them writes. */
bool access_conflict(const struct access *a, const struct access *b);

#endif /* MICA_ACCESS_H */
