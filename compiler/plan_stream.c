// SPDX-License-Identifier: MIT
/*
 * For problems that are too dense to compare everything with everything: an allocator that runs through time once, first
 * fit, with a bounded list of gaps. Its plan is valid and no more; the greedy orders and the search are what is good.
 */
#include <stdlib.h>
#include <string.h>
#include "plan_model.h"

enum { GAPS = 1024 };

struct gap { uint64_t lo, hi; };
struct event { uint32_t at, thing; bool death; };

struct stream {
	const struct plan_model *m;
	struct gap gap[GAPS];		/* by address, apart from each other, all below top */
	size_t gaps;
	uint64_t top, *offset, *size;	/* by thing; a group takes its largest member's room for its whole life */
};

static int by_time(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	if (x->death != y->death)
		return x->death ? 1 : -1;
	return x->thing < y->thing ? -1 : x->thing > y->thing;
}

static size_t find(const struct stream *s, uint64_t lo)
{
	size_t i = 0;

	while (i < s->gaps && s->gap[i].lo < lo)
		i++;
	return i;
}

static void remove_gap(struct stream *s, size_t i)
{
	memmove(s->gap + i, s->gap + i + 1, (s->gaps - i - 1) * sizeof(*s->gap));
	s->gaps--;
}

/* A gap that finds no room in the list is forgotten: that memory is not used again. */
static void release(struct stream *s, uint64_t lo, uint64_t hi)
{
	size_t i = find(s, lo);

	if (lo == hi)
		return;
	if (i < s->gaps && s->gap[i].lo == hi) {
		hi = s->gap[i].hi;
		remove_gap(s, i);
	}
	if (i && s->gap[i - 1].hi == lo) {
		lo = s->gap[i - 1].lo;
		remove_gap(s, --i);
	}
	if (hi == s->top) {
		s->top = lo;
		return;
	}
	if (s->gaps == GAPS)
		return;
	memmove(s->gap + i + 1, s->gap + i, (s->gaps - i) * sizeof(*s->gap));
	s->gap[i] = (struct gap){ lo, hi };
	s->gaps++;
}

static uint64_t allocate(struct stream *s, uint64_t size, uint64_t align)
{
	for (size_t i = 0; i < s->gaps; i++) {
		uint64_t at = plan_align_up(s->gap[i].lo, align);
		struct gap g = s->gap[i];

		if (at + size > g.hi)
			continue;
		remove_gap(s, i);
		release(s, g.lo, at);
		release(s, at + size, g.hi);
		return at;
	}
	uint64_t at = plan_align_up(s->top, align), old = s->top;

	s->top = at + size;
	release(s, old, at);
	return at;
}

static void run(struct stream *s, const struct event *e, size_t n, uint64_t *peak)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t t = e[i].thing;

		if (e[i].death) {
			release(s, s->offset[t], s->offset[t] + s->size[t]);
			continue;
		}
		s->offset[t] = allocate(s, s->size[t], s->m->thing[t].align);
		if (s->offset[t] + s->size[t] > *peak)
			*peak = s->offset[t] + s->size[t];
	}
}

int plan_stream(const struct plan_model *m, uint64_t *offset, uint64_t *peak)
{
	struct stream *s = calloc(1, sizeof(*s));
	struct event *e = calloc(2 * m->things + 1, sizeof(*e));
	size_t n = 0;
	int ret = -1;

	if (!s || !e)
		goto out;
	*s = (struct stream){ .m = m, .offset = offset, .size = calloc(m->things + 1, sizeof(*s->size)) };
	if (!s->size)
		goto out;
	*peak = 0;
	for (uint32_t i = 0; i < m->things; i++) {
		const struct plan_thing *t = &m->thing[i];

		for (uint32_t p = t->start; p < t->start + t->count; p++)
			s->size[i] = m->piece[p].size > s->size[i] ? m->piece[p].size : s->size[i];
		offset[i] = t->fixed ? t->at : 0;
		if (t->fixed && t->at + s->size[i] > s->top)
			s->top = t->at + s->size[i];	/* nothing comes beside what is fixed */
		if (t->fixed || !t->count)
			continue;
		e[n++] = (struct event){ m->piece[t->start].first, i, false };
		e[n++] = (struct event){ m->piece[t->start + t->count - 1].last, i, true };
	}
	*peak = s->top;
	qsort(e, n, sizeof(*e), by_time);
	run(s, e, n, peak);
	ret = 0;
out:
	if (s)
		free(s->size);
	free(s);
	free(e);
	return ret;
}
