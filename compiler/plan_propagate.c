// SPDX-License-Identifier: MIT
/* The exact search's skyline, what it implies for the remaining buffers, and the memory of states that have failed. */
#include <string.h>
#include "plan_state.h"

/* ---- the skyline ---- */

bool px_set_level(struct px *s, int32_t section, int32_t level, bool waste)
{
	if (s->trail_len == s->trail_cap) {
		s->stopped = true;
		return false;
	}
	s->trail[s->trail_len++] = (struct undo){ section, s->level[section], s->waste[section] };
	s->level[section] = level;
	s->waste[section] = waste;
	return true;
}

void px_undo_to(struct px *s, size_t mark)
{
	while (s->trail_len > mark) {
		const struct undo *u = &s->trail[--s->trail_len];

		s->level[u->section] = u->level;
		s->waste[u->section] = u->waste;
	}
}

/* ---- propagation ---- */

/*
 * Most of the time goes into loops over the sections of a buffer: four at a time. Blocks are aligned and their edges
 * masked, so that a block that has just been stored is loaded whole again.
 */
enum { LANES = 4 };
typedef int32_t lanes __attribute__((vector_size(LANES * sizeof(int32_t)), may_alias));
typedef int32_t loose_lanes __attribute__((vector_size(LANES * sizeof(int32_t)), aligned(4), may_alias));

static inline lanes larger(lanes a, lanes b)
{
	lanes m = a > b;

	return (a & m) | (b & ~m);
}

static inline lanes smaller(lanes a, lanes b)
{
	lanes m = a < b;

	return (a & m) | (b & ~m);
}

static inline int32_t max32(int32_t a, int32_t b)
{
	return a > b ? a : b;
}

/* s->peak[k][t] is the highest level of the 2^k sections from t on. */
static void find_peaks(struct px *s, const struct part *p)
{
	int32_t n = p->hi - p->lo;

	memcpy(s->peak[0] + p->lo, s->level + p->lo, (size_t)n * sizeof(*s->level));
	for (unsigned k = 1; (1 << k) <= n; k++) {
		const int32_t *from = s->peak[k - 1];
		int32_t *to = s->peak[k], half = 1 << (k - 1), end = p->hi - (1 << k) + 1, t = p->lo;

		for (; t + LANES <= end; t += LANES)
			*(loose_lanes *)(to + t) = larger(*(const loose_lanes *)(from + t), *(const loose_lanes *)(from + t + half));
		for (; t < end; t++)
			to[t] = max32(from[t], from[t + half]);
	}
}

static int32_t highest(const struct px *s, int32_t from, int32_t end)
{
	unsigned k = 31u - (unsigned)__builtin_clz((unsigned)(end - from));

	return max32(s->peak[k][from], s->peak[k][end - (1 << k)]);
}

/* Where each buffer can start at the lowest; a fixed one only at its level, the pieces of a group together. */
static bool find_starts(struct px *s, const struct part *p)
{
	find_peaks(s, p);
	for (uint32_t i = 0; i < p->count; i++) {
		uint32_t x = s->set[p->start + i];
		const struct px_buf *b = &s->buf[x];
		int32_t start = highest(s, b->first, b->end);

		if (b->at >= 0 && start > b->at)
			return false;
		s->start[x] = b->at >= 0 ? b->at : start;
	}
	for (uint32_t i = 0; s->linked && i < p->count; i++) {
		uint32_t x = s->set[p->start + i], group = s->buf[x].group;
		int32_t start = 0;

		if (x != group)
			continue;
		for (uint32_t m = group; m < group + s->buf[x].members; m++)
			start = max32(s->start[m], start);
		for (uint32_t m = group; m < group + s->buf[x].members; m++)
			s->start[m] = start;
	}
	return true;
}

static bool later(const struct px *s, uint32_t a, uint32_t b)
{
	return s->start[a] != s->start[b] ? s->start[a] > s->start[b] : a > b;
}

/* The part's slice of s->set is kept by the lowest level each can start at: between nodes little changes there. */
static void sort_by_start(struct px *s, const struct part *p)
{
	uint32_t *a = s->set + p->start;

	for (uint32_t i = 1; i < p->count; i++) {
		uint32_t x = a[i], k = i;

		for (; k && later(s, a[k - 1], x); k--)
			a[k] = a[k - 1];
		a[k] = x;
	}
}

struct stacked { lanes start, size, most, over; };

/* Where the mask is 0, nothing changes. */
static inline void stack_block(struct px *s, int32_t t, lanes mask, struct stacked *k)
{
	lanes *reach = (lanes *)(s->reach + t), *lowest = (lanes *)(s->lowest + t);
	lanes start = k->start & mask, top = larger(*reach, start | (~mask & INT32_MIN)) + (k->size & mask);

	*reach = top;
	*lowest = smaller(*lowest, start | (~mask & INT32_MAX));
	k->over |= (top > k->most) & mask;
}

/* One buffer over its sections. The first section that overflows, or -1. */
static int32_t stack_up(struct px *s, const struct px_buf *b, int32_t start)
{
	const lanes zero = { 0 }, index = { 0, 1, 2, 3 };
	struct stacked k = { zero + start, zero + b->size, zero + s->capacity, zero };
	int32_t t = b->first & -LANES;
	lanes mask = index + t >= zero + b->first;

	for (; t + LANES < b->end; t += LANES) {
		stack_block(s, t, mask, &k);
		mask = ~zero;
	}
	stack_block(s, t, mask & (index + t < zero + b->end), &k);
	if (!(k.over[0] | k.over[1] | k.over[2] | k.over[3]))
		return -1;
	for (t = b->first; s->reach[t] <= s->capacity;)
		t++;
	return t;
}

/*
 * In each section the buffers follow each other, none before its start: the machine with release dates. reach[] is when
 * it ends; the first start there is a level below which nothing can come any more. False when a section overflows.
 */
static bool sweep(struct px *s, const struct part *p, bool *raised)
{
	*raised = false;
	for (int32_t t = p->lo; t < p->hi; t++) {
		s->reach[t] = -1;
		s->lowest[t] = INT32_MAX;
	}
	for (uint32_t i = 0; i < p->count; i++) {
		uint32_t x = s->set[p->start + i];
		int32_t over = stack_up(s, &s->buf[x], s->start[x]);

		if (over < 0)
			continue;
		s->weight[over] += 1;
		return false;
	}
	for (int32_t t = p->lo; t < p->hi; t++) {
		if (s->lowest[t] == INT32_MAX || s->lowest[t] <= s->level[t])
			continue;
		*raised = true;
		if (!px_set_level(s, t, s->lowest[t], true))
			return false;
	}
	return true;
}

bool px_propagate(struct px *s, const struct part *p)
{
	bool raised = true;

	while (raised) {
		if (!find_starts(s, p))
			return false;
		sort_by_start(s, p);
		if (!sweep(s, p, &raised))
			return false;
	}
	return true;
}

/* ---- states that have failed ---- */

struct seen px_state_key(const struct px *s, const struct part *p)
{
	struct seen k = { px_mix((uint64_t)s->capacity), 0 };

	for (uint32_t i = 0; i < p->count; i++) {
		uint64_t h = px_mix(s->set[p->start + i] + 0x51ed270b7a1full);

		k.key += h;
		k.check += px_mix(h + 1);
	}
	for (int32_t t = p->lo; t < p->hi; t++) {
		uint64_t h = px_mix((uint64_t)t << 40 ^ (uint64_t)s->level[t] << 1 ^ s->waste[t]);

		k.key += h;
		k.check ^= px_mix(h ^ 0x7fb5d329728ea185ull);
	}
	return k;
}

bool px_has_failed(const struct px *s, const struct seen *k)
{
	const struct seen *e = &s->seen[k->key & s->seen_mask];

	return e->key == k->key && e->check == k->check;
}

