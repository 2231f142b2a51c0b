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

static int32_t highest(const int32_t *level, int32_t from, int32_t end)
{
	int32_t best = level[from];

	for (int32_t i = from + 1; i < end; i++)
		best = level[i] > best ? level[i] : best;
	return best;
}

/* Where each buffer can start at the lowest; a fixed one only at its level, the pieces of a group together. */
static bool find_starts(struct px *s, const struct part *p)
{
	for (uint32_t i = 0; i < p->count; i++) {
		uint32_t x = s->set[p->start + i];
		const struct px_buf *b = &s->buf[x];
		int32_t start = highest(s->level, b->first, b->end);

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
			start = s->start[m] > start ? s->start[m] : start;
		for (uint32_t m = group; m < group + s->buf[x].members; m++)
			s->start[m] = start;
	}
	return true;
}

/* s->sorted gets the part's buffers by the lowest level each can start at: level in the upper half, buffer in the lower. */
static void sort_by_start(struct px *s, const struct part *p)
{
	uint64_t *a = s->sorted, *b = s->sort_tmp;

	for (uint32_t i = 0; i < p->count; i++) {
		uint32_t x = s->set[p->start + i];

		a[i] = (uint64_t)s->start[x] << 32 | x;
	}
	for (uint32_t width = 1; width < p->count; width *= 2) {
		for (uint32_t at = 0; at < p->count; at += 2 * width) {
			uint32_t mid = at + width < p->count ? at + width : p->count;
			uint32_t end = mid + width < p->count ? mid + width : p->count;

			for (uint32_t i = at, j = mid, k = at; k < end; k++)
				b[k] = i < mid && (j == end || a[i] < a[j]) ? a[i++] : a[j++];
		}
		memcpy(a, b, p->count * sizeof(*a));
	}
}

/*
 * In each section the buffers follow each other, none before its start: the machine with release dates. reach[] is when
 * it ends; the first start there is a level below which nothing can come any more. False when a section overflows.
 */
static bool sweep(struct px *s, const struct part *p, bool *raised)
{
	*raised = false;
	for (int32_t i = p->lo; i < p->hi; i++)
		s->reach[i] = -1;
	for (uint32_t i = 0; i < p->count; i++) {
		uint32_t x = (uint32_t)s->sorted[i];
		const struct px_buf *b = &s->buf[x];
		int32_t start = s->start[x];

		for (int32_t t = b->first; t < b->end; t++) {
			if (s->reach[t] < 0 && start > s->level[t]) {
				*raised = true;
				if (!px_set_level(s, t, start, true))
					return false;
			}
			s->reach[t] = (s->reach[t] > start ? s->reach[t] : start) + b->size;
			if (s->reach[t] > s->capacity) {
				s->weight[t] += 1;
				return false;
			}
		}
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

