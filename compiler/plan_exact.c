// SPDX-License-Identifier: MIT
/* The exact planner: greedy first, then runs of the search in plan_search.c under falling capacities. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "plan_model.h"
#include "plan_search.h"

enum { MAX_THREADS = 64, BASE_NODES = 500, WORKER_STACK = 32 << 20 };

struct worker {
	struct exact *e;
	struct px *search;
	unsigned number;
	uint64_t seed, nodes;
	int32_t capacity;
	enum px_result result;
};

struct exact {
	const struct plan_model *m;
	const struct plan_limits *limits;
	struct plan_result *result;
	double started;
	uint64_t *offset;			/* by thing: the best plan */
	/* the problem of the search: the model's pieces over sections, in units */
	struct px_buf *px;
	int32_t sections;
	uint64_t unit;
	uint64_t lo, hi;			/* in units: refuted below lo, placed at hi */
	/* rounds */
	struct worker *worker;
	unsigned threads, round;
	struct px_stop stop;
	atomic_uint winner;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

const char *plan_status_name(enum plan_status status)
{
	static const char *const names[] = { "placed", "bound", "optimal", "infeasible", "stopped" };

	return names[status];
}

/* ---- the problem in sections and units ---- */

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int32_t section_of(const uint64_t *at, size_t n, uint64_t t)
{
	const uint64_t *found = bsearch(&t, at, n, sizeof(*at), by_value);

	return (int32_t)(found - at);
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t t = a % b;

		a = b;
		b = t;
	}
	return a;
}

/* In a plan that nothing can be moved down in, every offset is a multiple of what divides all that it is made of. */
static void find_unit(struct exact *e)
{
	for (size_t i = 0; i < e->m->pieces; i++)
		e->unit = gcd(e->unit, e->m->piece[i].size);
	for (size_t i = 0; i < e->m->things; i++) {
		if (e->m->thing[i].align > 1)
			e->unit = gcd(e->unit, e->m->thing[i].align);
		if (e->m->thing[i].fixed)
			e->unit = gcd(e->unit, e->m->thing[i].at);
	}
}

/* No level reaches half the range, so that a larger alignment leaves the bottom only, as this one does. */
static int32_t units_of_align(const struct exact *e, uint64_t align)
{
	uint64_t units = align > 1 ? align / e->unit : 1;

	return units < PLAN_SEARCH_UNITS / 2 ? (int32_t)units : PLAN_SEARCH_UNITS / 2;
}

static size_t find_sections(const struct exact *e, uint64_t *at)
{
	size_t n = 0, distinct = 0;

	for (size_t i = 0; i < e->m->pieces; i++) {
		at[n++] = e->m->piece[i].first;
		at[n++] = e->m->piece[i].last + 1ull;
	}
	qsort(at, n, sizeof(*at), by_value);
	for (size_t i = 0; i < n; i++)
		if (!i || at[i] != at[distinct - 1])
			at[distinct++] = at[i];
	return distinct;
}

static int make_problem(struct exact *e)
{
	uint64_t *at = calloc(2 * e->m->pieces + 1, sizeof(*at));
	size_t distinct;

	e->px = calloc(e->m->pieces + 1, sizeof(*e->px));
	if (!e->px || !at) {
		free(at);
		return -1;
	}
	distinct = find_sections(e, at);
	e->sections = distinct ? (int32_t)distinct - 1 : 0;
	for (size_t i = 0; i < e->m->pieces; i++) {
		const struct plan_piece *p = &e->m->piece[i];
		const struct plan_thing *t = &e->m->thing[p->thing];

		e->px[i] = (struct px_buf){
			.first = section_of(at, distinct, p->first), .end = section_of(at, distinct, p->last + 1ull),
			.size = (int32_t)(p->size / e->unit), .align = units_of_align(e, t->align),
			.at = t->fixed ? (int32_t)(t->at / e->unit) : -1, .group = t->start, .members = t->count,
			.from = section_of(at, distinct, e->m->piece[t->start].first),
			.until = section_of(at, distinct, e->m->piece[t->start + t->count - 1].last + 1ull),
		};
	}
	free(at);
	return 0;
}

/* ---- rounds of runs ---- */

static void *work(void *arg)
{
	struct worker *w = arg;
	struct px_stop stop = w->e->stop;
	unsigned first = atomic_load(&w->e->winner);

	stop.number = w->number;
	w->result = px_run(w->search, w->capacity, w->seed, &stop, &w->nodes);
	/* The lowest number wins, whichever is faster: the plan depends on the number of threads, not on their luck. */
	while (w->result != PX_STOPPED && first > w->number)
		if (atomic_compare_exchange_weak(&w->e->winner, &first, w->number))
			break;
	return NULL;
}

/* 1 1 2 1 1 2 4 ...: run lengths that lose little against the best fixed one, whatever that is. */
static uint64_t luby(uint64_t i)
{
	uint64_t k = 1;

	while ((1ull << k) - 1 < i)
		k++;
	return i == (1ull << k) - 1 ? 1ull << (k - 1) : luby(i - (1ull << (k - 1)) + 1);
}

static bool out_of_budget(const struct exact *e)
{
	const struct plan_limits *l = e->limits;

	if (l->cancel && atomic_load(l->cancel))
		return true;
	return (l->nodes && e->result->nodes >= l->nodes) || (l->seconds > 0 && now() - e->started >= l->seconds);
}

static void take(struct exact *e, const struct px *s)
{
	e->hi = 0;
	for (size_t i = 0; i < e->m->pieces; i++) {
		uint64_t at = (uint64_t)px_level(s, i);

		e->offset[e->m->piece[i].thing] = at * e->unit;
		e->hi = at + (uint64_t)e->px[i].size > e->hi ? at + (uint64_t)e->px[i].size : e->hi;
	}
}

/* All workers under one capacity, with other seeds. */
static void run_workers(struct exact *e, uint64_t capacity)
{
	pthread_t thread[MAX_THREADS];
	bool started[MAX_THREADS] = { false };
	pthread_attr_t attr;

	atomic_store(&e->winner, e->threads);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, WORKER_STACK);
	for (unsigned i = e->threads; i-- > 0;) {
		struct worker *w = &e->worker[i];

		w->seed = (uint64_t)e->round * e->threads + i;
		w->capacity = (int32_t)capacity;
		started[i] = !pthread_create(&thread[i], &attr, work, w);
		if (!started[i])
			work(w);
	}
	for (unsigned i = 0; i < e->threads; i++)
		if (started[i])
			pthread_join(thread[i], NULL);
	pthread_attr_destroy(&attr);
}

static enum px_result round_at(struct exact *e, uint64_t capacity)
{
	uint64_t nodes = BASE_NODES * luby(e->round + 1), left = e->limits->nodes - e->result->nodes;
	unsigned winner;

	e->stop.nodes = e->limits->nodes && nodes > left ? left : nodes;
	run_workers(e, capacity);
	e->round++;
	winner = atomic_load(&e->winner);
	e->result->nodes += e->worker[winner < e->threads ? winner : 0].nodes;
	if (winner == e->threads)
		return PX_STOPPED;
	if (e->worker[winner].result == PX_PLACED)
		take(e, e->worker[winner].search);
	else
		e->lo = capacity + 1;
	return e->worker[winner].result;
}

static void fit(struct exact *e, uint64_t capacity)
{
	while (e->hi > capacity && e->lo <= capacity && !out_of_budget(e))
		round_at(e, capacity);
}

/* Alternates between the bound itself and an aim between it and the best plan, which backs off as long as it fails. */
static void minimize(struct exact *e)
{
	uint64_t aim = (e->lo + e->hi) / 2;

	while (e->lo < e->hi && !out_of_budget(e)) {
		enum px_result r = round_at(e, e->round % 4 ? aim : e->lo);

		if (r == PX_PLACED)
			aim = (e->lo + e->hi) / 2;
		else if (r == PX_STOPPED && e->round % 4 != 1)
			aim += (e->hi - aim + 7) / 8;
		aim = aim >= e->hi ? e->hi - 1 : aim < e->lo ? e->lo : aim;
	}
}

static int make_workers(struct exact *e)
{
	e->threads = e->limits->threads ? e->limits->threads : 1;
	if (e->threads > MAX_THREADS)
		e->threads = MAX_THREADS;
	e->worker = calloc(e->threads, sizeof(*e->worker));
	for (unsigned i = 0; e->worker && i < e->threads; i++) {
		e->worker[i].e = e;
		e->worker[i].number = i;
		e->worker[i].search = px_create(e->px, e->m->pieces, e->sections);
		if (!e->worker[i].search)
			return -1;
	}
	e->stop.winner = &e->winner;
	e->stop.cancel = e->limits->cancel;
	e->stop.deadline = e->limits->seconds > 0 ? e->started + e->limits->seconds : 0;
	return e->worker ? 0 : -1;
}

/* ---- the whole ---- */

static void judge(struct exact *e, uint64_t capacity)
{
	struct plan_result *r = e->result;
	uint64_t bound = r->lower_bound;

	if (e->lo * e->unit > bound)
		r->lower_bound = e->lo * e->unit < r->peak ? e->lo * e->unit : r->peak;
	if (capacity)
		r->status = r->peak <= capacity ? PLAN_PLACED : r->lower_bound > capacity ? PLAN_INFEASIBLE : PLAN_STOPPED;
	else
		r->status = r->peak == bound ? PLAN_AT_BOUND : r->peak == r->lower_bound ? PLAN_OPTIMAL : PLAN_STOPPED;
	r->seconds = now() - e->started;
}

static int improve(struct exact *e, uint64_t capacity)
{
	int ret;

	find_unit(e);
	e->lo = (e->result->lower_bound + e->unit - 1) / e->unit;
	e->hi = (e->result->peak + e->unit - 1) / e->unit;
	if (e->m->pieces > PLAN_SEARCH_BUFFERS || e->hi > PLAN_SEARCH_UNITS / 2)
		return 0;
	ret = make_problem(e);
	if (!ret)
		ret = make_workers(e);
	if (!ret && capacity)
		fit(e, capacity / e->unit);
	else if (!ret)
		minimize(e);
	return ret;
}

int plan_exact(struct plan_buf *buf, size_t count, uint64_t capacity, const struct plan_limits *limits, struct plan_result *result)
{
	struct plan_model m;
	struct exact e = { .m = &m, .limits = limits, .result = result, .started = now() };
	int ret = plan_contradiction(buf, count, NULL, NULL) == PLAN_OK ? 0 : -1;

	*result = (struct plan_result){ .status = PLAN_STOPPED };
	if (ret)
		return ret;
	ret = plan_model_make(buf, count, &m);
	e.offset = calloc(m.things + 1, sizeof(*e.offset));
	ret = ret || !e.offset ? -1 : plan_greedy(&m, capacity, 0, e.offset, &result->peak);
	result->lower_bound = m.lower;
	if (!ret && result->peak > (capacity ? capacity : m.lower) && (!capacity || capacity >= m.lower))
		ret = improve(&e, capacity);
	if (!ret) {
		plan_model_apply(&m, e.offset, buf, count, &result->peak);
		judge(&e, capacity);
	}
	for (unsigned i = 0; e.worker && i < e.threads; i++)
		px_destroy(e.worker[i].search);
	free(e.worker);
	free(e.px);
	free(e.offset);
	plan_model_free(&m);
	return ret;
}
