/* SPDX-License-Identifier: MIT */
/* The exact planner's inside: one search for a placement under a fixed capacity. Users want plan_exact() in plan.h. */
#ifndef MICA_PLAN_SEARCH_H
#define MICA_PLAN_SEARCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLAN_SEARCH_UNITS	(1 << 30)	/* levels are int32_t: the largest capacity in units */
#define PLAN_SEARCH_BUFFERS	4096		/* the work of a node grows with the number of buffers */

/*
 * A buffer over sections: the stretches of time between two neighbouring births or deaths. Sizes are in units. A group
 * is several entries in a row, its pieces, that get one level.
 */
struct px_buf {
	int32_t first, end;		/* sections, end exclusive */
	int32_t size, align;		/* align is a power of two, or 1 */
	int32_t at;			/* the only level allowed, or -1 */
	uint32_t group, members;	/* index of the group's first piece, number of pieces; itself and 1: no group */
	int32_t from, until;		/* sections of the whole group */
};

struct px_stop {
	uint64_t nodes;			/* give up after so many */
	double deadline;		/* CLOCK_MONOTONIC seconds; 0: none */
	const atomic_bool *cancel;	/* give up once true; may be NULL */
	const atomic_uint *winner;	/* give up when a search with a number below `number` has won; may be NULL */
	unsigned number;
};

enum px_result { PX_PLACED, PX_INFEASIBLE, PX_STOPPED };

struct px;
/* NULL when memory is short. buf must outlive it. */
struct px *px_create(const struct px_buf *buf, size_t count, int32_t sections);
void px_destroy(struct px *s);
/*
 * One run under a capacity. The seed decides which choices come first, not which exist: PX_INFEASIBLE is a proof.
 * What is learned (states without a placement) is kept for later runs. *nodes gets the number of nodes visited.
 */
enum px_result px_run(struct px *s, int32_t capacity, uint64_t seed, const struct px_stop *stop, uint64_t *nodes);
/* After PX_PLACED: the level of a buffer. */
int32_t px_level(const struct px *s, size_t buffer);

#endif /* MICA_PLAN_SEARCH_H */
