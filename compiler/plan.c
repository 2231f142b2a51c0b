// SPDX-License-Identifier: MIT
/* The memory planner: greedy placements in several orders, then a local search over the best order. And its validator. */
#include <stdlib.h>
#include <string.h>
#include "plan.h"

/* ---- bounds ---- */

uint64_t plan_no_reuse(const struct plan_buf *buf, size_t count)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += buf[i].size;
	return sum;
}

struct event { uint64_t at; int64_t delta; };	/* at: 2 * step for a birth, 2 * step + 1 for a death */

static int by_time(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

uint64_t plan_lower_bound(const struct plan_buf *buf, size_t count)
{
	struct event *e = calloc(count ? 2 * count : 1, sizeof(*e));
	int64_t live = 0, best = 0;

	if (!e)
		return 0;
	for (size_t i = 0; i < count; i++) {
		e[2 * i] = (struct event){ 2 * (uint64_t)buf[i].first, (int64_t)buf[i].size };
		e[2 * i + 1] = (struct event){ 2 * (uint64_t)buf[i].last + 1, -(int64_t)buf[i].size };
	}
	qsort(e, 2 * count, sizeof(*e), by_time);
	for (size_t i = 0; i < 2 * count; i++) {
		live += e[i].delta;
		best = live > best ? live : best;
	}
	free(e);
	return (uint64_t)best;
}

/* ---- greedy placement ---- */

struct solver {
	const struct plan_problem *p;
	uint32_t *order, *best_order;	/* indices of buffers */
	uint32_t *placed;		/* sorted by offset */
	uint64_t *offset, *best;	/* by buffer */
	uint64_t best_peak, target;
};

static bool live_together(const struct plan_buf *a, const struct plan_buf *b)
{
	return a->first <= b->last && b->first <= a->last;
}

static uint64_t align_up(uint64_t v, uint64_t a)
{
	return a > 1 ? (v + a - 1) & ~(a - 1) : v;
}

/* The gap for buffer `b` among those placed already: the lowest, or the tightest. */
static uint64_t find_gap(const struct solver *s, size_t placed, uint32_t b, bool tightest)
{
	const struct plan_buf *buf = s->p->buf, *me = &buf[b];
	uint64_t end = 0, best = UINT64_MAX, best_size = UINT64_MAX;

	for (size_t i = 0; i < placed; i++) {
		uint32_t o = s->placed[i];
		uint64_t at = align_up(end, me->align);

		if (!live_together(me, &buf[o]))
			continue;
		if (s->offset[o] >= at + me->size && s->offset[o] - end < best_size) {
			best = at;
			best_size = s->offset[o] - end;
			if (!tightest)
				return best;
		}
		if (s->offset[o] + buf[o].size > end)
			end = s->offset[o] + buf[o].size;
	}
	return best != UINT64_MAX ? best : align_up(end, me->align);
}

/* Places in the order given; gives up (UINT64_MAX) once the peak reaches `limit`. */
static uint64_t place_all(struct solver *s, const uint32_t *order, bool tightest, uint64_t limit)
{
	const struct plan_buf *buf = s->p->buf;
	uint64_t peak = 0;

	for (size_t n = 0; n < s->p->count; n++) {
		uint32_t b = order[n];
		size_t lo = 0, hi = n;

		s->offset[b] = buf[b].size ? find_gap(s, n, b, tightest) : 0;
		if (s->offset[b] + buf[b].size > peak)
			peak = s->offset[b] + buf[b].size;
		if (peak >= limit)
			return UINT64_MAX;
		while (lo < hi) {
			size_t mid = (lo + hi) / 2;

			if (s->offset[s->placed[mid]] <= s->offset[b])
				lo = mid + 1;
			else
				hi = mid;
		}
		memmove(s->placed + lo + 1, s->placed + lo, (n - lo) * sizeof(*s->placed));
		s->placed[lo] = b;
	}
	return peak;
}

static bool try_order(struct solver *s, const uint32_t *order, bool tightest)
{
	uint64_t peak = place_all(s, order, tightest, s->best_peak);

	if (peak >= s->best_peak)
		return false;
	s->best_peak = peak;
	memcpy(s->best, s->offset, s->p->count * sizeof(*s->best));
	if (order != s->best_order)
		memcpy(s->best_order, order, s->p->count * sizeof(*order));
	return true;
}

/* ---- orders ---- */

typedef int (*order_fn)(const struct plan_buf *a, const struct plan_buf *b);

static int larger_first(const struct plan_buf *a, const struct plan_buf *b)
{
	return a->size > b->size ? -1 : a->size < b->size;
}

static int longer_first(const struct plan_buf *a, const struct plan_buf *b)
{
	uint32_t x = a->last - a->first, y = b->last - b->first;

	return x != y ? (x > y ? -1 : 1) : larger_first(a, b);
}

static int area_first(const struct plan_buf *a, const struct plan_buf *b)
{
	double x = (double)a->size * (a->last - a->first + 1.0), y = (double)b->size * (b->last - b->first + 1.0);

	return x > y ? -1 : x < y;
}

static int earlier_first(const struct plan_buf *a, const struct plan_buf *b)
{
	return a->first != b->first ? (a->first < b->first ? -1 : 1) : larger_first(a, b);
}

static void sort_order(const struct plan_buf *buf, uint32_t *order, uint32_t *tmp, size_t n, order_fn cmp)
{
	/* A stable merge sort: equal buffers keep their place, so the plan is the same everywhere. */
	if (n < 2)
		return;
	size_t h = n / 2, i = 0, j = h, k = 0;

	sort_order(buf, order, tmp, h, cmp);
	sort_order(buf, order + h, tmp, n - h, cmp);
	while (i < h || j < n) {
		bool left = j == n || (i < h && cmp(&buf[order[i]], &buf[order[j]]) <= 0);

		tmp[k++] = order[left ? i++ : j++];
	}
	memcpy(order, tmp, n * sizeof(*order));
}

static void greedy(struct solver *s)
{
	static const order_fn orders[] = { larger_first, area_first, longer_first, earlier_first };
	size_t n = s->p->count;

	for (size_t k = 0; k < sizeof(orders) / sizeof(*orders); k++) {
		for (size_t i = 0; i < n; i++)
			s->order[i] = (uint32_t)i;
		sort_order(s->p->buf, s->order, s->placed, n, orders[k]);
		for (int tightest = 0; tightest < 2; tightest++) {
			try_order(s, s->order, tightest);
			if (s->best_peak <= s->target)
				return;
		}
	}
}

/* ---- local search: a buffer that reaches the peak, or is chosen by lot, is placed earlier ---- */

static uint32_t rnd(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33);
}

static size_t position_of_peak(const struct solver *s)
{
	for (size_t i = s->p->count; i-- > 0;) {
		uint32_t b = s->best_order[i];

		if (s->best[b] + s->p->buf[b].size == s->best_peak)
			return i;
	}
	return 0;
}

static void local_search(struct solver *s)
{
	uint64_t seed = 0x6d696361;
	size_t n = s->p->count;

	for (unsigned round = 0; round < s->p->effort && s->best_peak > s->target; round++) {
		size_t from = position_of_peak(s), to;
		uint32_t b;

		if (round % 4 == 3)
			from = rnd(&seed) % n;
		if (!from)
			from = n - 1;
		to = rnd(&seed) % from;
		memcpy(s->order, s->best_order, n * sizeof(*s->order));
		b = s->order[from];
		memmove(s->order + to + 1, s->order + to, (from - to) * sizeof(*s->order));
		s->order[to] = b;
		if (round % 3 == 2) {
			size_t x = rnd(&seed) % n, y = rnd(&seed) % n;

			b = s->order[x];
			s->order[x] = s->order[y];
			s->order[y] = b;
		}
		try_order(s, s->order, round & 1);
	}
}

int plan_solve(const struct plan_problem *p, uint64_t *peak)
{
	size_t n = p->count ? p->count : 1;
	struct solver s = { .p = p, .best_peak = UINT64_MAX };
	uint64_t lower = plan_lower_bound(p->buf, p->count);
	int ret = -1;

	*peak = 0;
	if (!p->count)
		return 0;
	s.target = p->capacity > lower ? p->capacity : lower;
	s.order = calloc(n, sizeof(*s.order));
	s.best_order = calloc(n, sizeof(*s.best_order));
	s.placed = calloc(n, sizeof(*s.placed));
	s.offset = calloc(n, sizeof(*s.offset));
	s.best = calloc(n, sizeof(*s.best));
	if (!s.order || !s.best_order || !s.placed || !s.offset || !s.best)
		goto out;
	greedy(&s);
	if (p->count > 2)
		local_search(&s);
	for (size_t i = 0; i < p->count; i++)
		p->buf[i].offset = s.best[i];
	*peak = s.best_peak;
	ret = 0;
out:
	free(s.order);
	free(s.best_order);
	free(s.placed);
	free(s.offset);
	free(s.best);
	return ret;
}

/* ---- validator ---- */

enum plan_verdict plan_check(const struct plan_buf *buf, size_t count, uint64_t capacity, size_t *a, size_t *b)
{
	size_t no_a, no_b;

	a = a ? a : &no_a;
	b = b ? b : &no_b;
	for (*a = 0; *a < count; ++*a) {
		const struct plan_buf *x = &buf[*a];

		*b = *a;
		if (x->first > x->last)
			return PLAN_RANGE;
		if (x->align && x->offset % x->align)
			return PLAN_MISALIGNED;
		if (x->offset > capacity || x->size > capacity - x->offset)
			return PLAN_PAST_CAPACITY;
		if (!x->size)
			continue;
		for (*b = 0; *b < *a; ++*b) {
			const struct plan_buf *y = &buf[*b];
			bool apart_in_time = x->last < y->first || y->last < x->first;
			bool apart_in_space = x->offset + x->size <= y->offset || y->offset + y->size <= x->offset;

			if (y->size && !apart_in_time && !apart_in_space)
				return PLAN_OVERLAP;
		}
	}
	return PLAN_OK;
}
