/* SPDX-License-Identifier: MIT */
/* Problems of one family that are known to fit a capacity: made from nothing, or from other problems. */
#ifndef MICA_PLAN_PROBLEMS_H
#define MICA_PLAN_PROBLEMS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "plan.h"

enum { MOST = 4096, CAPACITY = 1024, KIB = 1024 };

struct problem {
	struct plan_buf buf[MOST];	/* with the offsets of a plan that fits */
	size_t n;
	char name[64];
};

static uint64_t state = 1;

static uint32_t rnd(uint32_t below)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((state >> 33) % below);
}

/* Uniform in the logarithm: many small, few large. */
static uint32_t skewed(uint32_t most)
{
	uint32_t v = most;

	for (uint32_t halves = rnd(9); halves && v > 1; halves--)
		v /= 2;
	return v ? 1 + rnd(v) : 1;
}

static void add(struct problem *p, uint32_t first, uint32_t end, uint64_t lo, uint64_t hi)
{
	if (p->n < MOST && end > first && hi > lo)
		p->buf[p->n++] = (struct plan_buf){ .first = first, .last = end - 1, .size = hi - lo, .align = 1, .offset = lo };
}

/* ---- from nothing: a full rectangle is cut ---- */

struct box { uint32_t first, end, lo, hi; };

static uint32_t between(uint32_t a, uint32_t b)
{
	return a + 1 + rnd(b - a - 1);
}

/* Straight cuts, or pinwheels that no straight cut comes from; returns how many parts. */
static unsigned cut(struct box b, bool wheel, struct box *out)
{
	uint32_t w = b.end - b.first, h = b.hi - b.lo;
	uint32_t t, s;

	if (wheel && w >= 6 && h >= 6) {
		uint32_t t1 = between(b.first, b.end - 3), t2 = between(t1, b.end), l1 = between(b.lo, b.hi - 3), l2 = between(l1, b.hi);

		out[0] = (struct box){ b.first, t2, b.lo, l1 };
		out[1] = (struct box){ t2, b.end, b.lo, l2 };
		out[2] = (struct box){ t1, b.end, l2, b.hi };
		out[3] = (struct box){ b.first, t1, l1, b.hi };
		out[4] = (struct box){ t1, t2, l1, l2 };
		return 5;
	}
	out[0] = out[1] = b;
	if (w >= 2 && (h < 2 || rnd(w + h / 4) < w)) {
		t = between(b.first, b.end);
		out[0].end = out[1].first = t;
		return 2;
	}
	if (h < 2)
		return 1;
	s = rnd(3) ? b.lo + skewed(h - 1) : between(b.lo, b.hi);
	out[0].hi = out[1].lo = s;
	return 2;
}

static void make_cuts(struct problem *p, size_t want, uint32_t steps, unsigned wheels, unsigned drop)
{
	static struct box box[MOST];
	size_t n = 1;

	box[0] = (struct box){ 0, steps, 0, CAPACITY };
	for (unsigned tries = 0; n + 4 < want && tries < 100000; tries++) {
		size_t best = rnd((uint32_t)n), other = rnd((uint32_t)n);
		struct box part[5];
		unsigned parts;

		if ((uint64_t)(box[other].end - box[other].first) * (box[other].hi - box[other].lo) >
		    (uint64_t)(box[best].end - box[best].first) * (box[best].hi - box[best].lo))
			best = other;
		parts = cut(box[best], rnd(100) < wheels, part);
		box[best] = part[0];
		for (unsigned i = 1; i < parts; i++)
			box[n++] = part[i];
	}
	for (size_t i = 0; i < n; i++)
		if (rnd(100) >= drop)
			add(p, box[i].first, box[i].end, box[i].lo * (uint64_t)KIB, box[i].hi * (uint64_t)KIB);
}

/* ---- buffers that have a place, and the room around them ---- */

static bool is_free(const struct problem *p, size_t except, uint32_t first, uint32_t last, uint64_t lo, uint64_t hi)
{
	for (size_t i = 0; i < p->n; i++)
		if (i != except && p->buf[i].first <= last && first <= p->buf[i].last && p->buf[i].offset < hi &&
		    lo < p->buf[i].offset + p->buf[i].size)
			return false;
	return true;
}

/* Buffers grow up and down into free room, some of them. */
static void tighten(struct problem *p, unsigned percent)
{
	for (size_t i = 0; i < p->n; i++) {
		struct plan_buf *b = &p->buf[i];
		uint64_t lo = 0, hi = (uint64_t)CAPACITY * KIB, end = b->offset + b->size;

		if (rnd(100) >= percent)
			continue;
		for (size_t k = 0; k < p->n; k++) {
			const struct plan_buf *o = &p->buf[k];

			if (k == i || o->first > b->last || b->first > o->last)
				continue;
			if (o->offset >= end && o->offset < hi)
				hi = o->offset;
			if (o->offset + o->size <= b->offset && o->offset + o->size > lo)
				lo = o->offset + o->size;
		}
		b->offset = lo;
		b->size = hi - lo;
	}
}

/* Lives, sizes drawn from `like` (or skewed ones), each put at random where it fits, until nothing fits any more. */
static void make_drawn(struct problem *p, const struct problem *like, size_t want, uint32_t steps)
{
	for (unsigned tries = 0; p->n < want && tries < 20000; tries++) {
		const struct plan_buf *b = like ? &like->buf[rnd((uint32_t)like->n)] : NULL;
		uint32_t length = b ? b->last - b->first + 1 : skewed(steps);
		uint64_t size = b ? b->size : (uint64_t)skewed(CAPACITY) * KIB, at = 0;
		uint32_t first = length < steps ? rnd(steps - length + 1) : 0;
		bool any = true;

		length = length < steps ? length : steps;
		while (any && at + size <= (uint64_t)CAPACITY * KIB) {
			any = false;
			for (size_t i = 0; i < p->n && !any; i++)
				if (!(p->buf[i].first > first + length - 1 || first > p->buf[i].last) && p->buf[i].offset < at + size &&
				    at < p->buf[i].offset + p->buf[i].size) {
					at = p->buf[i].offset + p->buf[i].size;
					any = true;
				}
		}
		if (at + size <= (uint64_t)CAPACITY * KIB)
			add(p, first, first + length, at, at + size);
	}
}

/* ---- from published ones ---- */

static bool read_csv(const char *path, struct problem *p)
{
	FILE *f = fopen(path, "r");
	char line[256];

	p->n = 0;
	while (f && fgets(line, sizeof(line), f) && p->n < MOST) {
		unsigned long long lower, upper, size;
		const char *rest = strchr(line, ',');

		if (rest && sscanf(rest, ",%llu,%llu,%llu", &lower, &upper, &size) == 3)
			add(p, (uint32_t)lower, (uint32_t)upper, 0, size);
	}
	if (f)
		fclose(f);
	snprintf(p->name, sizeof(p->name), "%.40s", strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
	if (strstr(p->name, ".csv"))
		*strstr(p->name, ".csv") = 0;
	return p->n;
}

static int by_time(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Steps become numbers of sections, as draws from another problem only make sense in these. */
static void to_sections(struct problem *p)
{
	static uint32_t at[2 * MOST];
	size_t n = 0, distinct = 0;

	for (size_t i = 0; i < p->n; i++) {
		at[n++] = p->buf[i].first;
		at[n++] = p->buf[i].last + 1;
	}
	qsort(at, n, sizeof(*at), by_time);
	for (size_t i = 0; i < n; i++)
		if (!i || at[i] != at[distinct - 1])
			at[distinct++] = at[i];
	for (size_t i = 0; i < p->n; i++) {
		uint32_t end = p->buf[i].last + 1;

		p->buf[i].first = (uint32_t)((uint32_t *)bsearch(&p->buf[i].first, at, distinct, sizeof(*at), by_time) - at);
		p->buf[i].last = (uint32_t)((uint32_t *)bsearch(&end, at, distinct, sizeof(*at), by_time) - at) - 1;
	}
}

static uint32_t last_step(const struct problem *p)
{
	uint32_t last = 0;

	for (size_t i = 0; i < p->n; i++)
		last = p->buf[i].last > last ? p->buf[i].last : last;
	return last;
}

static void reverse(struct problem *p)
{
	uint32_t last = last_step(p);

	for (size_t i = 0; i < p->n; i++) {
		uint32_t first = p->buf[i].first;

		p->buf[i].first = last - p->buf[i].last;
		p->buf[i].last = last - first;
	}
}

static void shuffle(struct problem *p)
{
	for (size_t i = p->n; i > 1; i--) {
		size_t k = rnd((uint32_t)i);
		struct plan_buf t = p->buf[k];

		p->buf[k] = p->buf[i - 1];
		p->buf[i - 1] = t;
	}
}

/* Some buffers are cut in two, in time or in space; some live longer than before where there is room. */
static void vary(struct problem *p, unsigned percent)
{
	uint32_t last = last_step(p);

	for (size_t i = 0, n = p->n; i < n; i++) {
		struct plan_buf *b = &p->buf[i], *c = &p->buf[p->n];
		bool in_time = rnd(2) && b->last > b->first;

		if (rnd(100) < percent && p->n < MOST && (in_time || b->size > KIB)) {
			*c = *b;
			if (in_time) {
				b->last = b->first + rnd(b->last - b->first);
				c->first = b->last + 1;
			} else {
				b->size = (1 + rnd((uint32_t)(b->size / KIB) - 1)) * (uint64_t)KIB;
				c->offset = b->offset + b->size;
				c->size -= b->size;
			}
			p->n++;
		}
		if (rnd(100) >= 2 * percent)
			continue;
		for (unsigned k = rnd(6); k && b->last < last; k--, b->last++)
			if (!is_free(p, i, b->last + 1, b->last + 1, b->offset, b->offset + b->size))
				break;
	}
}

/* The early half of a and the late half of b; buffers that meet at the cut become one, as large as both plans allow. */
static void merge(struct problem *p, const struct problem *a, const struct problem *b)
{
	uint32_t at = last_step(a) / 2, from = last_step(b) / 2;
	size_t half;

	for (size_t i = 0; i < a->n; i++)
		if (a->buf[i].first < at)
			add(p, a->buf[i].first, a->buf[i].last < at ? a->buf[i].last + 1 : at, a->buf[i].offset, a->buf[i].offset + a->buf[i].size);
	half = p->n;
	for (size_t i = 0; i < b->n; i++) {
		struct plan_buf o = b->buf[i];
		bool joined = false;

		if (o.last < from)
			continue;
		for (size_t k = 0; k < half && o.first <= from && !joined; k++) {
			struct plan_buf *l = &p->buf[k];
			uint64_t lo = l->offset > o.offset ? l->offset : o.offset;
			uint64_t hi = l->offset + l->size < o.offset + o.size ? l->offset + l->size : o.offset + o.size;

			if (l->last + 1 != at || hi <= lo || 2 * (hi - lo) < o.size)
				continue;
			l->last = at + o.last - from;
			l->offset = lo;
			l->size = hi - lo;
			joined = true;
		}
		if (!joined)
			add(p, at + (o.first > from ? o.first - from : 0), at + o.last - from + 1, o.offset, o.offset + o.size);
	}
}

#endif /* MICA_PLAN_PROBLEMS_H */
