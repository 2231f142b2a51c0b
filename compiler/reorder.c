// SPDX-License-Identifier: MIT
/*
 * The order of steps with the lowest peak. A level-by-level search over the sets of steps that can have run: two orders of one
 * set leave the same buffers alive, so the lower peak is kept. Exact as long as no level has more than WIDTH sets, else the
 * most promising go on. Same result on every machine.
 */
#include <stdlib.h>
#include <string.h>
#include "live.h"

#define WIDTH 256

struct node {				/* a set of steps that have run */
	uint64_t *done;			/* bits */
	uint64_t live, peak;
	uint64_t hash;
	unsigned parent, step;		/* index in the level before; what ran last */
};

struct level { struct node *node; unsigned count; };

struct search {
	struct live l;
	unsigned words;
	uint64_t limit;			/* orders must stay below */
	struct level *level;		/* by number of steps that have run */
};

static bool has(const uint64_t *set, unsigned i)
{
	return set[i / 64] >> i % 64 & 1;
}

static bool ready(const struct search *s, const uint64_t *done, unsigned i)
{
	const struct live_step *st = &s->l.step[i];

	if (has(done, i))
		return false;
	for (unsigned k = 0; k < st->preds; k++)
		if (!has(done, st->pred[k]))
			return false;
	return true;
}

/* Of the steps that touch the buffer: has any run; is `i` the last one? */
static void state_of(const struct search *s, const uint64_t *done, unsigned buf, unsigned i, bool *alive, bool *dies)
{
	*alive = false;
	*dies = true;
	for (unsigned k = 0; k < s->l.users[buf]; k++) {
		bool ran = has(done, s->l.user[buf][k]);

		*alive = *alive || ran;
		*dies = *dies && (ran || s->l.user[buf][k] == i);
	}
}

/* Bytes alive while step i runs after `done`, and after it. */
static void run(const struct search *s, const uint64_t *done, uint64_t live, unsigned i, uint64_t *during, uint64_t *after)
{
	const struct live_step *st = &s->l.step[i];
	bool alive, dies, fresh = false;

	*during = *after = live;
	for (unsigned k = 0; k < st->touches; k++) {
		uint64_t size = s->l.size[st->touch[k]];

		state_of(s, done, st->touch[k], i, &alive, &dies);
		if (!alive) {
			*during += size;
			*after += size;
			fresh = fresh || st->touch[k] == st->out;
		}
		if (dies)
			*after -= size;
	}
	for (unsigned k = 0; k < st->overs && fresh; k++) {
		state_of(s, done, st->over[k], i, &alive, &dies);
		if (!dies)
			continue;
		*during -= s->l.size[st->out];
		return;
	}
}

static uint64_t peak_of_graph_order(const struct search *s)
{
	uint64_t *done = ir_alloc(s->words, sizeof(*done)), live = 0, during, peak = 0;

	for (unsigned i = 0; i < s->l.b.steps; i++) {
		run(s, done, live, i, &during, &live);
		peak = during > peak ? during : peak;
		done[i / 64] |= 1ull << i % 64;
	}
	free(done);
	return peak;
}

/* No order has a lower peak than the buffers of one step. */
static uint64_t least_peak(const struct search *s)
{
	uint64_t most = 0;

	for (unsigned i = 0; i < s->l.b.steps; i++) {
		const struct live_step *st = &s->l.step[i];
		uint64_t sum = 0;

		for (unsigned k = 0; k < st->touches; k++)
			sum += s->l.size[st->touch[k]];
		sum -= st->overs ? s->l.size[st->out] : 0;
		most = sum > most ? sum : most;
	}
	return most;
}

/* ---- levels ---- */

static uint64_t mix(uint64_t x)
{
	x = (x + 1) * 0x9e3779b97f4a7c15ull;
	x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9ull;
	return x ^ x >> 32;
}

static void append(struct search *s, struct level *to, unsigned *cap, const struct node *from, unsigned parent, unsigned step)
{
	uint64_t during, after, hash = from->hash + mix(step);
	struct node *n;

	run(s, from->done, from->live, step, &during, &after);
	during = during > from->peak ? during : from->peak;
	if (during >= s->limit)
		return;
	for (unsigned i = 0; i < to->count; i++) {
		n = &to->node[i];
		if (n->hash != hash || !has(n->done, step))
			continue;
		if (during < n->peak) {
			n->peak = during;
			n->parent = parent;
			n->step = step;
		}
		return;
	}
	to->node = ir_grow(to->node, cap, to->count + 1, sizeof(*to->node));
	n = &to->node[to->count++];
	*n = (struct node){ ir_alloc(s->words, sizeof(*n->done)), after, during, hash, parent, step };
	memcpy(n->done, from->done, s->words * sizeof(*n->done));
	n->done[step / 64] |= 1ull << step % 64;
}

static int promising_first(const void *a, const void *b)
{
	const struct node *x = a, *y = b;

	if (x->peak != y->peak)
		return x->peak < y->peak ? -1 : 1;
	if (x->live != y->live)
		return x->live < y->live ? -1 : 1;
	return x->hash < y->hash ? -1 : x->hash > y->hash;
}

static void expand(struct search *s, unsigned depth)
{
	struct level *from = &s->level[depth], *to = &s->level[depth + 1];
	unsigned cap = 0;

	for (unsigned n = 0; n < from->count; n++) {
		const struct node *node = &from->node[n];
		unsigned steps = s->l.b.steps, i = 0;

		while (i < steps && !(s->l.step[i].idle && ready(s, node->done, i)))
			i++;
		if (i < steps) {	/* views cost nothing: at once */
			append(s, to, &cap, node, n, i);
			continue;
		}
		for (i = 0; i < steps; i++)
			if (ready(s, node->done, i))
				append(s, to, &cap, node, n, i);
	}
	if (to->count)
		qsort(to->node, to->count, sizeof(*to->node), promising_first);
	for (unsigned n = WIDTH; n < to->count; n++)
		free(to->node[n].done);
	to->count = to->count < WIDTH ? to->count : WIDTH;
}

/* Steps in their new order, or NULL when the search has found none below the limit. */
static unsigned *find_order(struct search *s)
{
	unsigned steps = s->l.b.steps, *order = NULL, at = 0;
	struct node *start = ir_alloc(1, sizeof(*start));

	s->level = ir_alloc(steps + 1, sizeof(*s->level));
	start->done = ir_alloc(s->words, sizeof(*start->done));
	s->level[0] = (struct level){ start, 1 };
	for (unsigned d = 0; d < steps && s->level[d].count; d++)
		expand(s, d);
	if (s->level[steps].count) {
		order = ir_alloc(steps, sizeof(*order));
		for (unsigned d = steps; d > 0; d--) {
			order[d - 1] = s->level[d].node[at].step;
			at = s->level[d].node[at].parent;
		}
	}
	for (unsigned d = 0; d <= steps; d++) {
		for (unsigned n = 0; n < s->level[d].count; n++)
			free(s->level[d].node[n].done);
		free(s->level[d].node);
	}
	free(s->level);
	return order;
}

int be_reorder(struct ir_graph *g, const struct mica_compile_options *o, bool *changed)
{
	struct search s = { 0 };
	unsigned *order = NULL;
	int ret = live_init(&s.l, g, o);

	*changed = false;
	if (!ret) {
		s.words = (s.l.b.steps + 63) / 64;
		s.limit = peak_of_graph_order(&s);
		if (least_peak(&s) < s.limit)
			order = find_order(&s);
	}
	for (unsigned i = 0; order && i < s.l.b.steps; i++) {
		ir_op_move(g, s.l.b.step[order[i]].op, NULL);
		*changed = *changed || order[i] != i;
	}
	free(order);
	live_fini(&s.l);
	return ret;
}
