// SPDX-License-Identifier: MIT
/* The exact planner: greedy first, then runs of the search in plan_search.c under falling capacities. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "plan_exact.h"

enum { MAX_THREADS = 64, BASE_NODES = 200, DEEP_THINGS = 500 };
enum { REPAIR_FROM = 16, REPAIR_STEPS = 4000, REPAIR_THINGS = 80, WORKER_STACK = 32 << 20 };

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
	struct plan_repair *repair;		/* NULL: the problem is too small or too dense */
	uint64_t step;				/* in units: how much a repair is asked for */
	uint64_t patience;			/* how many steps it still gets for that */
	unsigned threads, round;
	struct px_stop stop;
	atomic_uint winner;
};

double plan_now(void)
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

bool plan_search_must_stop(const struct px_stop *stop)
{
	return (stop->cancel && atomic_load_explicit(stop->cancel, memory_order_relaxed)) || (stop->deadline > 0 && plan_now() > stop->deadline);
}

static bool out_of_budget(const struct exact *e)
{
	return (e->limits->nodes && e->result->nodes >= e->limits->nodes) || plan_search_must_stop(&e->stop);
}

/* Nodes that may still be spent, of those wanted. */
static uint64_t affordable(const struct exact *e, uint64_t wanted)
{
	uint64_t left = e->limits->nodes - e->result->nodes;

	return e->limits->nodes && wanted > left ? left : wanted;
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

/* A short run of a large problem would end before it has placed everything once. */
static uint64_t round_nodes(const struct exact *e)
{
	return BASE_NODES * luby(e->round + 1) + (e->m->things > DEEP_THINGS ? 2 * e->m->things : 0);
}

static enum px_result round_at(struct exact *e, uint64_t capacity)
{
	unsigned winner;

	e->stop.nodes = affordable(e, round_nodes(e));
	run_workers(e, capacity);
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

/* Asks for twice as much after each success, for half after each failure; `least` is where more is of no use. */
static void repair(struct exact *e, uint64_t least, uint64_t steps)
{
	uint64_t room = e->hi - least, used = 0;
	bool done;

	if (!e->repair || !room)
		return;
	e->step = e->step > room ? room : e->step ? e->step : 1;
	done = plan_repair_run(e->repair, (e->hi - e->step) * e->unit, affordable(e, steps), &e->stop, &used);
	e->result->nodes += used;
	e->patience = e->patience > used ? e->patience - used : 0;
	if (!done && e->patience)
		return;
	if (done)
		e->hi -= e->step;
	e->step = done ? 2 * e->step : e->step / 2;
	e->patience = REPAIR_STEPS;
}

/* Runs under the capacity; when these take long, the best plan is improved meanwhile. */
static void fit(struct exact *e, uint64_t capacity)
{
	for (; e->hi > capacity && e->lo <= capacity && !out_of_budget(e); e->round++) {
		if (e->worker)
			round_at(e, capacity);
		if (!e->worker || (e->round >= REPAIR_FROM && e->round % 16 == 0))
			repair(e, capacity, e->worker ? round_nodes(e) / 4 : REPAIR_STEPS);
	}
}

/* After a success twice as much is aimed at as was gained, first half of all that may be. */
static uint64_t next_aim(const struct exact *e, uint64_t gained)
{
	uint64_t room = e->hi - e->lo, much = gained ? 2 * gained : room;

	return e->hi - (much > (room + 1) / 2 ? (room + 1) / 2 : much);
}

/* Alternates between the bound itself, an aim between it and the best plan that backs off as it fails, and repairs. */
static void minimize(struct exact *e)
{
	uint64_t aim = next_aim(e, 0);

	for (; e->lo < e->hi && !out_of_budget(e); e->round++) {
		bool at_bound = e->round < REPAIR_FROM ? e->round % 4 == 0 : e->round % 16 == 0;
		uint64_t before = e->hi;
		enum px_result r = !e->worker ? PX_STOPPED : round_at(e, at_bound ? e->lo : aim);

		if (r != PX_STOPPED)
			aim = next_aim(e, before - e->hi);
		else if (!at_bound)
			aim += (e->hi - aim + 7) / 8;
		if (!e->worker || (r == PX_STOPPED && e->round >= REPAIR_FROM))
			repair(e, e->lo, e->worker ? round_nodes(e) / 4 : REPAIR_STEPS);
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
	r->seconds = plan_now() - e->started;
}

static int improve(struct exact *e, uint64_t capacity)
{
	int ret = 0;

	e->unit = plan_unit(e->m);
	e->lo = (e->result->lower_bound + e->unit - 1) / e->unit;
	e->hi = (e->result->peak + e->unit - 1) / e->unit;
	if (e->hi > PLAN_SEARCH_UNITS / 2)
		return 0;
	e->step = (e->hi - e->lo + 31) / 32;
	e->patience = REPAIR_STEPS;
	e->stop.cancel = e->limits->cancel;
	e->stop.deadline = e->limits->seconds > 0 ? e->started + e->limits->seconds : 0;
	if (e->m->things > REPAIR_THINGS)
		e->repair = plan_repair_create(e->m, e->offset);
	if (e->m->pieces <= PLAN_SEARCH_BUFFERS)
		ret = plan_sections(e->m, e->unit, &e->px, &e->sections);
	if (!ret && e->px)
		ret = make_workers(e);
	if (ret || (!e->px && !e->repair))
		return ret;
	if (capacity)
		fit(e, capacity / e->unit);
	else
		minimize(e);
	return 0;
}

int plan_exact(struct plan_buf *buf, size_t count, uint64_t capacity, const struct plan_limits *limits, struct plan_result *result)
{
	struct plan_model m;
	struct exact e = { .m = &m, .limits = limits, .result = result, .started = plan_now() };
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
	plan_repair_destroy(e.repair);
	free(e.px);
	free(e.offset);
	plan_model_free(&m);
	return ret;
}
