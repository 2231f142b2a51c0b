/* SPDX-License-Identifier: MIT */
/*
 * Memory planning as plain data: buffers with a live range (steps, both ends inclusive), a size and an alignment get
 * offsets such that no two that live at the same step overlap. The solver and the validator share nothing but this.
 */
#ifndef MICA_PLAN_H
#define MICA_PLAN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sizes, alignments and fixed offsets are at most 2^44, so that no sum of them comes near 2^64. */
#define PLAN_MOST	(1ull << 44)

struct plan_buf {
	uint32_t first, last;		/* live range */
	uint64_t size;			/* 0 is allowed: such a buffer overlaps nothing */
	uint64_t align;			/* power of two; 0 is 1 */
	uint64_t offset;		/* the solution */
	uint64_t at;			/* the only offset allowed, when fixed */
	uint32_t alias;			/* 0: none. Buffers of a group get one offset, and may overlap each other */
	bool fixed;
};

struct plan_problem {
	struct plan_buf *buf;
	size_t count;
	uint64_t capacity;		/* peak that is good enough to stop searching; 0: the lower bound */
	unsigned effort;		/* rounds of local search; 0: only the greedy orders */
};

/* Fills the offsets; *peak is the highest end. 0, or -1 when memory is short. Deterministic. */
int plan_solve(const struct plan_problem *p, uint64_t *peak);
/* The most bytes that live at one step, or a fixed buffer's end: no plan can have a lower peak. */
uint64_t plan_lower_bound(const struct plan_buf *buf, size_t count);
/* Sum of all sizes: the peak without any reuse. */
uint64_t plan_no_reuse(const struct plan_buf *buf, size_t count);

/* ---- the exact planner (plan_exact.c; docs/memplan.md) ---- */

struct plan_limits {
	uint64_t nodes;			/* of the search, per thread; 0: none. With this limit alone the plan is the same everywhere */
	double seconds;			/* wall time; 0: none */
	unsigned threads;		/* 0 is 1. Another number may give another plan, of the same quality when proved */
	const atomic_bool *cancel;	/* may be NULL; once true, the best plan so far is the result */
};

enum plan_status {
	PLAN_PLACED,			/* within the capacity that was asked for */
	PLAN_AT_BOUND,			/* minimal: the peak is the lower bound */
	PLAN_OPTIMAL,			/* minimal: the search has refuted everything below */
	PLAN_INFEASIBLE,		/* proved: nothing fits in the capacity; the plan is the best one found without */
	PLAN_STOPPED,			/* a limit was reached; the plan is the best one found */
};

struct plan_result {
	uint64_t peak, lower_bound;	/* lower_bound: also raised by what the search has refuted */
	enum plan_status status;
	uint64_t nodes;
	double seconds;
};

/*
 * Fills the offsets with a valid plan, whatever the status. capacity 0 minimizes. Live ranges need first <= last and
 * alignments a power of two or 0. 0, or -1 when memory is short or the input contradicts itself (plan_contradiction()).
 */
int plan_exact(struct plan_buf *buf, size_t count, uint64_t capacity, const struct plan_limits *limits, struct plan_result *result);
const char *plan_status_name(enum plan_status status);	/* "placed", "bound", "optimal", "infeasible", "stopped" */

/* The validator. On refusal a and b (may be NULL) are the buffers concerned. */
enum plan_verdict {
	PLAN_OK,
	PLAN_RANGE,			/* first is after last, or the alignment is no power of two */
	PLAN_MISALIGNED,
	PLAN_PAST_CAPACITY,
	PLAN_OVERLAP,
	PLAN_MOVED,			/* a fixed buffer is not at its place */
	PLAN_APART,			/* two of a group have different offsets */
	PLAN_NO_MEMORY,			/* the validator itself failed */
};
enum plan_verdict plan_check(const struct plan_buf *buf, size_t count, uint64_t capacity, size_t *a, size_t *b);
/* What makes any plan impossible, whatever the capacity: fixed buffers that overlap, are misaligned, or split a group. */
enum plan_verdict plan_contradiction(const struct plan_buf *buf, size_t count, size_t *a, size_t *b);

#endif /* MICA_PLAN_H */
