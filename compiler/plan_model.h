/* SPDX-License-Identifier: MIT */
/*
 * What the planners work on. A thing gets one offset: a buffer, or a whole alias group. Its pieces are rectangles over
 * time, apart from each other in time; a buffer has one, a group as many as the outline of its members has steps.
 */
#ifndef MICA_PLAN_MODEL_H
#define MICA_PLAN_MODEL_H

#include "plan.h"

struct plan_piece { uint32_t first, last, thing; uint64_t size; };

struct plan_thing {
	uint32_t start, count;		/* pieces */
	uint64_t align;			/* at least 1 */
	uint64_t at;
	bool fixed;
};

struct plan_model {
	struct plan_piece *piece;
	struct plan_thing *thing;
	uint32_t *of;			/* by buffer: its thing, or UINT32_MAX: at offset 0 */
	size_t pieces, things;
	uint64_t lower;			/* the bound of plan_lower_bound() */
};

/* Buffers without a size and a group are no thing. 0, or -1 when memory is short; plan_model_free() in both cases. */
int plan_model_make(const struct plan_buf *buf, size_t count, struct plan_model *m);
void plan_model_free(struct plan_model *m);
/* The offsets of things become those of buffers; *peak gets the highest end. */
void plan_model_apply(const struct plan_model *m, const uint64_t *offset, struct plan_buf *buf, size_t count, uint64_t *peak);

/* plan_solve() on a model; `offset` is by thing. */
int plan_greedy(const struct plan_model *m, uint64_t target, unsigned effort, uint64_t *offset, uint64_t *peak);
/* Some valid plan in little time and memory, whatever the problem (plan_stream.c). */
int plan_stream(const struct plan_model *m, uint64_t *offset, uint64_t *peak);

static inline uint64_t plan_align_up(uint64_t v, uint64_t a)
{
	return (v + a - 1) & ~(a - 1);
}

#endif /* MICA_PLAN_MODEL_H */
