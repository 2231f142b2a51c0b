// SPDX-License-Identifier: MIT
/*
 * Lowers the peak of a plan: what ends above a target is taken out and put where it pushes out least, what is pushed out
 * is put somewhere else in turn. Things that are hard to place become costly to push out. No proof comes from this.
 */
#include <stdlib.h>
#include <string.h>
#include "plan_exact.h"

struct edge { uint64_t at, cost; bool begins; };	/* of the open interval of starts that push a piece out */

struct plan_repair {
	const struct plan_model *m;
	struct plan_neighbors nb;
	uint64_t random, target;
	uint64_t *best;			/* by thing: the caller's plan */
	uint64_t *offset;		/* the one that is worked on; UINT64_MAX: taken out */
	uint32_t *weight;		/* by thing: how often it had to push */
	uint32_t *out;			/* things that are taken out */
	size_t outs;
	uint32_t *near;			/* pieces */
	struct edge *edge;
	size_t edges, room;
};

static uint32_t rnd(struct plan_repair *r, size_t below)
{
	r->random = r->random * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((r->random >> 33) % below);
}

static uint64_t size_of(const struct plan_repair *r, uint32_t thing)
{
	const struct plan_thing *t = &r->m->thing[thing];
	uint64_t size = 0;

	for (uint32_t p = t->start; p < t->start + t->count; p++)
		size = r->m->piece[p].size > size ? r->m->piece[p].size : size;
	return size;
}

struct plan_repair *plan_repair_create(const struct plan_model *m, uint64_t *offset)
{
	struct plan_repair *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	*r = (struct plan_repair){ .m = m, .best = offset, .random = 0x6d696361, .target = UINT64_MAX };
	r->offset = calloc(m->things + 1, sizeof(*r->offset));
	r->weight = calloc(m->things + 1, sizeof(*r->weight));
	r->out = calloc(m->things + 1, sizeof(*r->out));
	r->near = calloc(m->pieces + 1, sizeof(*r->near));
	if (!r->offset || !r->weight || !r->out || !r->near || plan_neighbors_make(m, (size_t)1 << 24, &r->nb)) {
		plan_repair_destroy(r);
		return NULL;
	}
	return r;
}

void plan_repair_destroy(struct plan_repair *r)
{
	if (!r)
		return;
	plan_neighbors_free(&r->nb);
	free(r->offset);
	free(r->weight);
	free(r->out);
	free(r->near);
	free(r->edge);
	free(r);
}

/* ---- where a thing pushes out least ---- */

static int by_place(const void *a, const void *b)
{
	const struct edge *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->begins != y->begins ? (x->begins ? 1 : -1) : x->cost < y->cost ? -1 : x->cost > y->cost;
}

static bool add_edges(struct plan_repair *r, uint32_t piece, size_t near)
{
	if (r->edges + 2 * near + 1 > r->room) {
		size_t room = 2 * (r->edges + 2 * near) + 64;
		struct edge *more = realloc(r->edge, room * sizeof(*more));

		if (!more)
			return false;
		r->edge = more;
		r->room = room;
	}
	for (size_t i = 0; i < near; i++) {
		const struct plan_piece *o = &r->m->piece[r->near[i]];
		uint64_t at = r->offset[o->thing], size = r->m->piece[piece].size, cost;

		if (at == UINT64_MAX || o->thing == r->m->piece[piece].thing)
			continue;
		cost = r->m->thing[o->thing].fixed ? PLAN_MOST * 1024 : (1ull + r->weight[o->thing]) * o->size;
		/* starts s with at - size < s < at + o->size; nothing starts below 0 */
		r->edge[r->edges++] = (struct edge){ at + 1 > size ? at + 1 - size : 0, cost, true };
		r->edge[r->edges++] = (struct edge){ at + o->size, cost, false };
	}
	return true;
}

/* The cheapest start, of equally cheap ones any. UINT64_MAX: it does not fit below the target at all, or no memory. */
static uint64_t find_start(struct plan_repair *r, uint32_t thing, uint64_t *cost)
{
	const struct plan_thing *t = &r->m->thing[thing];
	uint64_t most = r->target - size_of(r, thing), best = UINT64_MAX, sum = 0;
	unsigned ties = 0;
	size_t i = 0;

	*cost = UINT64_MAX;
	if (size_of(r, thing) > r->target)
		return UINT64_MAX;
	r->edges = 0;
	for (uint32_t p = t->start; p < t->start + t->count; p++)
		if (!add_edges(r, p, plan_neighbors_of(&r->nb, p, r->near)))
			return UINT64_MAX;
	qsort(r->edge, r->edges, sizeof(*r->edge), by_place);
	for (uint64_t at = 0; at <= most;) {
		while (i < r->edges && r->edge[i].at <= at) {
			sum += r->edge[i].begins ? r->edge[i].cost : -r->edge[i].cost;
			i++;
		}
		if (sum < *cost || (sum == *cost && sum && !rnd(r, ++ties))) {
			ties = sum < *cost ? 1 : ties;
			*cost = sum;
			best = at;
		}
		if (i == r->edges)
			break;
		/* only where something ends can a start be cheaper than the one before */
		while (i < r->edges && r->edge[i].begins) {
			sum += r->edge[i].cost;
			i++;
		}
		at = i < r->edges ? plan_align_up(r->edge[i].at, t->align) : UINT64_MAX;
	}
	return best;
}

/* ---- a repair ---- */

static void push_out(struct plan_repair *r, uint32_t thing, uint64_t at)
{
	const struct plan_thing *t = &r->m->thing[thing];

	for (uint32_t p = t->start; p < t->start + t->count; p++) {
		size_t near = plan_neighbors_of(&r->nb, p, r->near);

		for (size_t i = 0; i < near; i++) {
			const struct plan_piece *o = &r->m->piece[r->near[i]];
			uint64_t other = r->offset[o->thing];

			if (other == UINT64_MAX || o->thing == thing || other >= at + r->m->piece[p].size || at >= other + o->size)
				continue;
			r->offset[o->thing] = UINT64_MAX;
			r->out[r->outs++] = o->thing;
		}
	}
	r->offset[thing] = at;
}

/* False when a fixed thing ends above the target. */
static bool begin(struct plan_repair *r, uint64_t target)
{
	r->target = target;
	r->outs = 0;
	memcpy(r->offset, r->best, r->m->things * sizeof(*r->offset));
	memset(r->weight, 0, r->m->things * sizeof(*r->weight));
	for (uint32_t i = 0; i < r->m->things; i++) {
		if (!r->m->thing[i].count || r->offset[i] + size_of(r, i) <= target)
			continue;
		if (r->m->thing[i].fixed)
			return false;
		r->offset[i] = UINT64_MAX;
		r->out[r->outs++] = i;
	}
	return true;
}

bool plan_repair_run(struct plan_repair *r, uint64_t target, uint64_t steps, const struct px_stop *stop, uint64_t *used)
{
	/* Under the same target the last attempt goes on. */
	if (target != r->target && !begin(r, target)) {
		r->target = UINT64_MAX;
		*used = 1;
		return false;
	}
	for (*used = 0; r->outs && *used < steps; ++*used) {
		size_t k = rnd(r, r->outs);
		uint32_t thing = r->out[k];
		uint64_t cost, at;

		if (!(*used & 63) && plan_search_must_stop(stop))
			return false;
		at = find_start(r, thing, &cost);
		if (at == UINT64_MAX || cost >= PLAN_MOST * 1024)
			break;
		r->out[k] = r->out[--r->outs];
		r->weight[thing] += cost > 0;
		push_out(r, thing, at);
	}
	*used += !*used;
	if (r->outs)
		return false;
	memcpy(r->best, r->offset, r->m->things * sizeof(*r->best));
	r->target = UINT64_MAX;
	return true;
}
