// SPDX-License-Identifier: MIT
/* Greedy placements in several orders, then a local search over the best order. */
#include <stdlib.h>
#include <string.h>
#include "plan_neighbors.h"

/* Above MOST_PAIRS, and for the work of all orders together above MOST_WORK, only what is left affordable is tried. */
#define MOST_PAIRS	((size_t)1 << 25)
#define MOST_WORK	((uint64_t)1 << 28)

struct taken { int64_t lo; uint64_t hi; };	/* a thing may start at lo or below, or at hi or above */

struct solver {
	const struct plan_model *m;
	struct plan_neighbors nb;
	uint32_t *order, *best_order, *tmp;	/* things */
	uint32_t *near;				/* pieces */
	struct taken *taken;
	size_t room;
	uint64_t *offset, *best;		/* by thing; UINT64_MAX: not placed yet */
	uint64_t best_peak, target, work;
};

/* ---- placing one thing ---- */

static int by_lo(const void *a, const void *b)
{
	const struct taken *x = a, *y = b;

	return x->lo != y->lo ? (x->lo < y->lo ? -1 : 1) : x->hi < y->hi ? -1 : x->hi > y->hi;
}

/* Insertion is fast on the short lists that chains have. */
static void sort_taken(struct taken *t, size_t n)
{
	if (n > 24) {
		qsort(t, n, sizeof(*t), by_lo);
		return;
	}
	for (size_t i = 1; i < n; i++) {
		struct taken x = t[i];
		size_t k = i;

		for (; k && by_lo(&t[k - 1], &x) > 0; k--)
			t[k] = t[k - 1];
		t[k] = x;
	}
}

/* What the things placed so far leave no room in. False when memory is short. */
static bool gather(struct solver *s, uint32_t thing, size_t *count)
{
	const struct plan_thing *t = &s->m->thing[thing];

	*count = 0;
	for (uint32_t p = t->start; p < t->start + t->count; p++) {
		size_t near = plan_neighbors_of(&s->nb, p, s->near);

		s->work += near;
		if (*count + near > s->room) {
			size_t room = 2 * (*count + near) + 64;
			struct taken *more = realloc(s->taken, room * sizeof(*more));

			if (!more)
				return false;
			s->taken = more;
			s->room = room;
		}
		for (size_t i = 0; i < near; i++) {
			const struct plan_piece *o = &s->m->piece[s->near[i]];
			uint64_t at = s->offset[o->thing];

			if (at != UINT64_MAX && o->thing != thing)
				s->taken[(*count)++] = (struct taken){ (int64_t)(at - s->m->piece[p].size), at + o->size };
		}
	}
	sort_taken(s->taken, *count);
	return true;
}

/* The lowest gap, or the tightest. UINT64_MAX when memory is short. */
static uint64_t find_gap(struct solver *s, uint32_t thing, bool tightest)
{
	uint64_t align = s->m->thing[thing].align, end = 0, best = UINT64_MAX, best_size = UINT64_MAX;
	size_t n;

	if (s->m->thing[thing].fixed)
		return s->m->thing[thing].at;
	if (!gather(s, thing, &n))
		return UINT64_MAX;
	for (size_t i = 0; i < n; i++) {
		uint64_t at = plan_align_up(end, align);

		if (s->taken[i].lo >= (int64_t)at && (uint64_t)s->taken[i].lo - end < best_size) {
			best = at;
			best_size = (uint64_t)s->taken[i].lo - end;
			if (!tightest)
				return best;
		}
		if (s->taken[i].hi > end)
			end = s->taken[i].hi;
	}
	return best != UINT64_MAX ? best : plan_align_up(end, align);
}

static uint64_t end_of(const struct plan_model *m, uint32_t thing, uint64_t offset)
{
	const struct plan_thing *t = &m->thing[thing];
	uint64_t end = offset;

	for (uint32_t p = t->start; p < t->start + t->count; p++)
		end = offset + m->piece[p].size > end ? offset + m->piece[p].size : end;
	return end;
}

/* Places in the order given, fixed things before; gives up (UINT64_MAX) once the peak reaches `limit`. */
static uint64_t place_all(struct solver *s, const uint32_t *order, bool tightest, uint64_t limit)
{
	uint64_t peak = 0;

	for (size_t i = 0; i < s->m->things; i++)
		s->offset[i] = s->m->thing[i].fixed ? s->m->thing[i].at : UINT64_MAX;
	for (size_t n = 0; n < s->m->things; n++) {
		uint64_t at = find_gap(s, order[n], tightest), end = at;

		if (at == UINT64_MAX)
			return at;
		end = end_of(s->m, order[n], at);
		s->offset[order[n]] = at;
		peak = end > peak ? end : peak;
		if (peak >= limit)
			return UINT64_MAX;
	}
	return peak;
}

static bool try_order(struct solver *s, const uint32_t *order, bool tightest)
{
	uint64_t peak = place_all(s, order, tightest, s->best_peak);

	if (peak >= s->best_peak)
		return false;
	s->best_peak = peak;
	memcpy(s->best, s->offset, s->m->things * sizeof(*s->best));
	if (order != s->best_order)
		memcpy(s->best_order, order, s->m->things * sizeof(*order));
	return true;
}

/* ---- orders ---- */

struct extent { uint64_t size, birth, life; double area; };

/* Of a group: its largest member and its whole life. */
static struct extent extent_of(const struct plan_model *m, uint32_t thing)
{
	const struct plan_thing *t = &m->thing[thing];
	struct extent e = { 0 };

	for (uint32_t p = t->start; p < t->start + t->count; p++) {
		e.size = m->piece[p].size > e.size ? m->piece[p].size : e.size;
		e.life += m->piece[p].last - m->piece[p].first + 1ull;
		e.area += (double)m->piece[p].size * (m->piece[p].last - m->piece[p].first + 1.0);
	}
	e.birth = t->count ? m->piece[t->start].first : 0;
	return e;
}

enum order { LARGER_FIRST, AREA_FIRST, LONGER_FIRST, EARLIER_FIRST, ORDERS };

static int compare(enum order order, const struct extent *a, const struct extent *b)
{
	if (order == AREA_FIRST)
		return a->area > b->area ? -1 : a->area < b->area;
	if (order == LONGER_FIRST && a->life != b->life)
		return a->life > b->life ? -1 : 1;
	if (order == EARLIER_FIRST && a->birth != b->birth)
		return a->birth < b->birth ? -1 : 1;
	return a->size > b->size ? -1 : a->size < b->size;
}

/* A stable merge sort: equal things keep their place, so the plan is the same everywhere. */
static void sort_order(const struct extent *e, uint32_t *order, uint32_t *tmp, size_t n, enum order by)
{
	size_t h = n / 2, i = 0, j = h, k = 0;

	if (n < 2)
		return;
	sort_order(e, order, tmp, h, by);
	sort_order(e, order + h, tmp, n - h, by);
	while (i < h || j < n) {
		bool left = j == n || (i < h && compare(by, &e[order[i]], &e[order[j]]) <= 0);

		tmp[k++] = order[left ? i++ : j++];
	}
	memcpy(order, tmp, n * sizeof(*order));
}

static int try_orders(struct solver *s)
{
	size_t n = s->m->things;
	struct extent *e = calloc(n, sizeof(*e));

	if (!e)
		return -1;
	for (uint32_t i = 0; i < n; i++)
		e[i] = extent_of(s->m, i);
	for (int k = 0; k < ORDERS; k++) {
		for (uint32_t i = 0; i < n; i++)
			s->order[i] = i;
		sort_order(e, s->order, s->tmp, n, (enum order)k);
		for (int tightest = 0; tightest < 2; tightest++) {
			if (s->best_peak != UINT64_MAX && (s->best_peak <= s->target || s->work > MOST_WORK))
				break;
			try_order(s, s->order, tightest);
		}
	}
	free(e);
	return 0;
}

/* ---- local search: a thing that reaches the peak, or is chosen by lot, is placed earlier ---- */

static uint32_t rnd(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33);
}

static size_t position_of_peak(const struct solver *s)
{
	for (size_t i = s->m->things; i-- > 0;)
		if (end_of(s->m, s->best_order[i], s->best[s->best_order[i]]) == s->best_peak)
			return i;
	return 0;
}

static void local_search(struct solver *s, unsigned effort)
{
	uint64_t seed = 0x6d696361;
	size_t n = s->m->things;

	for (unsigned round = 0; round < effort && s->best_peak > s->target; round++) {
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

/* ---- the whole ---- */

static int solve(struct solver *s, unsigned effort)
{
	size_t n = s->m->things;

	s->order = calloc(n, sizeof(*s->order));
	s->best_order = calloc(n, sizeof(*s->best_order));
	s->tmp = calloc(n, sizeof(*s->tmp));
	s->near = calloc(s->m->pieces + 1, sizeof(*s->near));
	s->offset = calloc(n, sizeof(*s->offset));
	if (!s->order || !s->best_order || !s->tmp || !s->near || !s->offset || try_orders(s))
		return -1;
	if (n > 2)
		local_search(s, effort);
	return s->best_peak == UINT64_MAX ? -1 : 0;
}

int plan_greedy(const struct plan_model *m, uint64_t target, unsigned effort, uint64_t *offset, uint64_t *peak)
{
	struct solver s = { .m = m, .best = offset, .best_peak = UINT64_MAX, .target = target > m->lower ? target : m->lower };
	int ret;

	*peak = 0;
	if (!m->things)
		return 0;
	ret = plan_neighbors_make(m, MOST_PAIRS, &s.nb);
	if (ret > 0) {
		ret = plan_stream(m, offset, peak);
	} else if (!ret) {
		ret = solve(&s, effort);
		*peak = s.best_peak;
	}
	plan_neighbors_free(&s.nb);
	free(s.order);
	free(s.best_order);
	free(s.tmp);
	free(s.near);
	free(s.taken);
	free(s.offset);
	return ret;
}

int plan_solve(const struct plan_problem *p, uint64_t *peak)
{
	struct plan_model m;
	uint64_t *offset = NULL;
	int ret = plan_model_make(p->buf, p->count, &m);

	*peak = 0;
	if (!ret) {
		offset = calloc(m.things + 1, sizeof(*offset));
		ret = offset ? plan_greedy(&m, p->capacity, p->effort, offset, peak) : -1;
	}
	if (!ret)
		plan_model_apply(&m, offset, p->buf, p->count, peak);
	free(offset);
	plan_model_free(&m);
	return ret;
}
