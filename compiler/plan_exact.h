/* SPDX-License-Identifier: MIT */
/* What the parts of the exact planner share: models as problems of the search, and repairs of a plan. */
#ifndef MICA_PLAN_EXACT_H
#define MICA_PLAN_EXACT_H

#include "plan_neighbors.h"
#include "plan_search.h"

double plan_now(void);
/* A deadline has passed, or somebody cancels. */
bool plan_search_must_stop(const struct px_stop *stop);

/* What divides all sizes, alignments and fixed offsets: in a plan that nothing can be moved down in, every offset too. */
uint64_t plan_unit(const struct plan_model *m);
/* The pieces over sections; *px is to be freed. 0, or -1 when memory is short. */
int plan_sections(const struct plan_model *m, uint64_t unit, struct px_buf **px, int32_t *sections);

/* ---- plan_repair.c ---- */

struct plan_repair;
/* Of a valid plan, by thing. NULL when memory is short or the problem too dense. */
struct plan_repair *plan_repair_create(const struct plan_model *m, uint64_t *offset);
void plan_repair_destroy(struct plan_repair *r);
/* Tries to get all below the target, in so many steps. True: done; else the plan is as it was. */
bool plan_repair_run(struct plan_repair *r, uint64_t target, uint64_t steps, const struct px_stop *stop, uint64_t *used);

#endif /* MICA_PLAN_EXACT_H */
