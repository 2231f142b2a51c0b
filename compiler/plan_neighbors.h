/* SPDX-License-Identifier: MIT */
/* Which pieces of a model live at the same time, for problems of any size. */
#ifndef MICA_PLAN_NEIGHBORS_H
#define MICA_PLAN_NEIGHBORS_H

#include "plan_model.h"

struct plan_neighbors {
	const struct plan_model *m;
	uint32_t *sorted;		/* pieces by birth */
	uint32_t *rank;			/* by piece: its place in sorted */
	size_t *start;			/* by rank: where its older neighbours are in `older`; one more at the end */
	uint32_t *older;
};

/* 0, 1 when there are more than `most` pairs, or -1 when memory is short; plan_neighbors_free() in all cases. */
int plan_neighbors_make(const struct plan_model *m, size_t most, struct plan_neighbors *nb);
void plan_neighbors_free(struct plan_neighbors *nb);
/* Into out, which has room for all pieces: the pieces that live together with piece p, itself not. Their number. */
size_t plan_neighbors_of(const struct plan_neighbors *nb, uint32_t p, uint32_t *out);

#endif /* MICA_PLAN_NEIGHBORS_H */
