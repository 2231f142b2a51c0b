// SPDX-License-Identifier: MIT
/*
 * The search itself: the f32 graph runs once over all samples, step by step; where a candidate begins to differ, what lies
 * downstream of it is run from the f32 values that are live at that step. Each sample is by itself, so threads change nothing.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "sensitivity_parts.h"

#define BLOCK 64		/* candidates between two turns: each turn repeats the f32 run up to there */

size_t sens_state_memory = (size_t)512 << 20;

struct worker {
	struct search *of;
	struct mica_engine *engine;
	uint8_t *lmem, *scratch;
	uint64_t size;
	bool *differs;		/* by value id */
	pthread_t thread;
	bool started;
	int fault;
	struct mica_err err;
};

struct search {
	struct sens *z;
	struct sens_base base;
	uint8_t **state;	/* by place in the turn: a sample's live f32 values, at the base's offsets */
	const unsigned *sample;	/* of the turn */
	unsigned samples;
	unsigned step;		/* the state is that before it */
	struct worker *worker;
	unsigned workers;
	double walk_seconds, walk_cpu;

	/* what the workers do now */
	void (*job)(struct worker *w, unsigned at);
	atomic_uint next;
	unsigned to;		/* walk up to there */
	const struct sens_plan *plan;
	unsigned *last_use;	/* by value id: the run that reads it last; runs: an output */
	unsigned last_own;
	struct sens_sums *sums;	/* of the turn's first sample */
	float **value;		/* outputs are kept there, or NULL */
};

static double clock_of(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- workers ---- */

static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned at;

	while (!w->fault && (at = atomic_fetch_add(&w->of->next, 1)) < w->of->samples)
		w->of->job(w, at);
	return NULL;
}

/* Calls job for every sample of the turn. */
static int for_samples(struct search *x, void (*job)(struct worker *w, unsigned at))
{
	int r = 0;

	x->job = job;
	atomic_store(&x->next, 0);
	for (unsigned i = 1; i < x->workers; i++)
		x->worker[i].started = !pthread_create(&x->worker[i].thread, NULL, work, &x->worker[i]);
	work(&x->worker[0]);
	for (unsigned i = 1; i < x->workers; i++)
		if (x->worker[i].started)
			pthread_join(x->worker[i].thread, NULL);
	for (unsigned i = 0; i < x->workers && !r; i++)
		if (x->worker[i].fault)
			r = mica_err_set(x->z->g->err, x->worker[i].err.code ? x->worker[i].err.code : MICA_ERR_INTERNAL, "%s",
					 x->worker[i].err.text);
	return r;
}

static int workers_init(struct search *x, unsigned most)
{
	x->workers = x->z->o.threads < 1 ? 1 : x->z->o.threads < most ? x->z->o.threads : most;
	x->worker = ir_alloc(x->workers, sizeof(*x->worker));
	for (unsigned i = 0; i < x->workers; i++) {
		struct worker *w = &x->worker[i];

		w->of = x;
		w->engine = mica_engine_create(MICA_ISA_AUTO, 1);
		w->scratch = malloc(x->base.t.scratch_size + 1);
		if (!w->engine || !w->scratch)
			return mica_err_set(x->z->g->err, MICA_ERR_MEMORY, "no memory for another thread; lower --threads");
	}
	return 0;
}

/* Memory of a worker: constants of the f32 graph, then the plan's own values behind. */
static int worker_room(struct search *x, struct worker *w, uint64_t size)
{
	struct ir_tracer t = x->base.t;

	if (size <= w->size)
		return 0;
	free(w->lmem);
	w->size = (size + size / 8 + MICA_LMEM_ALIGN) & ~(uint64_t)(MICA_LMEM_ALIGN - 1);
	w->lmem = aligned_alloc(MICA_LMEM_ALIGN, w->size);
	if (!w->lmem) {
		w->size = 0;
		return mica_err_set(x->z->g->err, MICA_ERR_MEMORY, "no memory for a candidate (%llu MiB)",
				    (unsigned long long)(size >> 20));
	}
	t.lmem = w->lmem;
	trace_constants(&t);
	return 0;
}

static int exec(struct worker *w, const struct ir_tracer *t, const struct be_blob *blob, const struct be_packets *list, unsigned from,
		unsigned to, const struct ir_op *op)
{
	struct mica_mem mem = { .lmem = { t->lmem }, .lmem_size = (uint32_t)t->lmem_size, .seg = { blob->data } };

	if (op->kind == IR_HOST) {
		struct ir_graph g = { .name = t->g->name, .err = &w->err };
		struct ir_tracer host = *t;

		host.g = &g;
		host.scratch = w->scratch;
		w->fault = trace_host(&host, op);
	}
	for (; from < to && !w->fault; from++) {
		w->fault = mica_exec(w->engine, &list->pkt[from], &mem);
		if (w->fault)
			mica_err_set(&w->err, MICA_ERR_INTERNAL, "node '%s': the engine reports fault %d; please report it", op->name,
				     w->fault);
	}
	return w->fault;
}

/* ---- the f32 graph ---- */

static void walk_sample(struct worker *w, unsigned at)
{
	struct search *x = w->of;
	struct ir_tracer t = x->base.t;

	t.lmem = x->state[at];
	for (unsigned s = x->step; s < x->to && !w->fault; s++)
		exec(w, &t, &t.blob, &t.packets, x->base.from[s], t.end[s], x->base.op[s]);
}

static int walk(struct search *x, unsigned to)
{
	double start = clock_of(CLOCK_MONOTONIC), busy = clock_of(CLOCK_PROCESS_CPUTIME_ID);
	int r = 0;

	x->to = to;
	if (to > x->step)
		r = for_samples(x, walk_sample);
	x->step = to > x->step ? to : x->step;
	x->walk_seconds += clock_of(CLOCK_MONOTONIC) - start;
	x->walk_cpu += clock_of(CLOCK_PROCESS_CPUTIME_ID) - busy;
	return r;
}

static int begin_turn(struct search *x, const unsigned *sample, unsigned n)
{
	struct ir_graph *g = x->z->g;
	int r = 0;

	x->sample = sample;
	x->samples = n;
	x->step = 0;
	for (unsigned at = 0; at < n && !r; at++) {
		struct ir_tracer t = x->base.t;

		if (!x->state[at])
			x->state[at] = aligned_alloc(MICA_LMEM_ALIGN, t.lmem_size);
		if (!x->state[at])
			return mica_err_set(g->err, MICA_ERR_MEMORY, "no memory for %u samples side by side", n);
		t.lmem = x->state[at];
		trace_constants(&t);
		for (unsigned i = 0; i < g->inputs && !r; i++)
			r = sens_calib_load(x->z, sample[at], g->input[i]->name, (float *)(t.lmem + t.offset[g->input[i]->id]),
					    (size_t)ir_elements(g->input[i]), g->err);
	}
	return r;
}

/* ---- a candidate ---- */

static void take_values(struct search *x, const struct worker *w, unsigned at)
{
	const struct sens_plan *p = x->plan;

	for (unsigned i = 0; i < p->takes; i++) {
		const struct ir_value *v = p->take[i].v;
		const float *from = (const float *)(x->state[at] + x->base.t.offset[p->take[i].id]);
		uint8_t *to = w->lmem + p->t.offset[v->id];

		if (v->dtype == MICA_F32)
			memcpy(to, from, ir_bytes(v));
		else
			mica_quantize((enum mica_dtype)v->dtype, from, to, (size_t)ir_elements(v), 1.0f / v->scale, v->zero);
		w->differs[v->id] = false;
	}
}

static bool operands_differ(const struct worker *w, const struct ir_op *op)
{
	for (unsigned i = 0; i < op->ins; i++)
		if (ir_op_in(op, i) && !ir_op_in(op, i)->data && w->differs[ir_op_in(op, i)->id])
			return true;
	return false;
}

/* Whether the result has become what it is in f32. */
static bool is_f32s(const struct search *x, const struct worker *w, unsigned at, const struct sens_run *r)
{
	const struct ir_value *y = r->op->out[0];
	const void *is = w->lmem + x->plan->t.offset[y->id];
	const struct sens_print *was;

	if (r->step == UINT32_MAX)
		return false;
	was = &x->z->print[(size_t)x->sample[at] * x->z->steps + r->step];
	return sens_glance(is, (size_t)ir_elements(y)) == was->glance && sens_hash(is, ir_bytes(y)) == was->hash;
}

/* Whether something that differs will be read again. */
static bool goes_on(const struct search *x, const struct worker *w, unsigned run)
{
	if (run < x->last_own)
		return true;
	for (unsigned i = 0; i < x->plan->t.g->values; i++)
		if (x->plan->t.g->value[i] && w->differs[i] && x->last_use[i] > run)
			return true;
	return false;
}

/* Compares the outputs; what did not run is f32's. */
static void compare_outputs(struct search *x, const struct worker *w, unsigned at)
{
	const struct ir_graph *g = x->plan->t.g;

	for (unsigned i = 0; i < g->outputs; i++) {
		const struct ir_value *y = g->output[i];
		const float *was = x->z->reference[(size_t)x->sample[at] * g->outputs + i];
		const float *is = w->differs[y->id] ? (const float *)(w->lmem + x->plan->t.offset[y->id]) : was;
		size_t n = (size_t)ir_elements(y);

		sens_compare(&x->sums[(size_t)at * g->outputs + i], was, is, n);
		if (x->value)
			memcpy(x->value[(size_t)x->sample[at] * g->outputs + i], is, n * sizeof(*is));
	}
}

static void candidate_sample(struct worker *w, unsigned at)
{
	struct search *x = w->of;
	const struct sens_plan *p = x->plan;
	struct ir_tracer t = p->t;

	t.lmem = w->lmem;
	memset(w->differs, 0, t.g->values);
	take_values(x, w, at);
	for (unsigned k = 0; k < p->runs; k++) {
		const struct sens_run *r = &p->run[k];
		unsigned y = r->op->out[0]->id;

		if (exec(w, &t, r->own ? &p->t.blob : &x->base.t.blob, r->own ? &p->t.packets : &x->base.t.packets, r->from, r->to, r->op))
			return;
		w->differs[y] = r->own || operands_differ(w, r->op);
		if (!w->differs[y] || !is_f32s(x, w, at, r))
			continue;
		w->differs[y] = false;
		if (!goes_on(x, w, k))
			break;
	}
	compare_outputs(x, w, at);
}

static void note_uses(struct search *x)
{
	const struct sens_plan *p = x->plan;

	x->last_use = ir_alloc(p->t.g->values, sizeof(*x->last_use));
	x->last_own = 0;
	for (unsigned k = 0; k < p->runs; k++) {
		for (unsigned i = 0; i < p->run[k].op->ins; i++)
			if (ir_op_in(p->run[k].op, i))
				x->last_use[ir_op_in(p->run[k].op, i)->id] = k;
		x->last_own = p->run[k].own ? k : x->last_own;
	}
	for (unsigned i = 0; i < p->t.g->outputs; i++)
		x->last_use[p->t.g->output[i]->id] = p->runs;
}

static int ready_workers(struct search *x)
{
	const struct sens_plan *p = x->plan;
	int r = 0;

	for (unsigned i = 0; i < x->workers && !r; i++) {
		struct worker *w = &x->worker[i];

		r = worker_room(x, w, p->t.lmem_size);
		free(w->differs);
		w->differs = ir_alloc(p->t.g->values, sizeof(bool));
		for (unsigned k = 0; k < p->constants && !r; k++)
			memcpy(w->lmem + p->t.offset[p->constant[k]->id], p->constant[k]->data, ir_bytes(p->constant[k]));
	}
	return r;
}

/* One candidate on the samples of the turn; sums and value say where to. */
static int run_candidate(struct search *x, const struct sens_candidate *c)
{
	struct ir_graph *g = sens_alone(x->z, c, x->z->g->err);
	struct sens_plan p;
	int r = 0;

	if (!g)
		return -(int)x->z->g->err->code;
	if (sens_plan_make(&p, x->z, &x->base, g, true, &r) && !r) {
		x->plan = &p;
		r = walk(x, p.begins);
		note_uses(x);
		if (!r)
			r = ready_workers(x);
		if (!r)
			r = for_samples(x, candidate_sample);
		free(x->last_use);
	}
	sens_plan_fini(&p);
	ir_graph_free(g);
	return r;
}

/* ---- all candidates ---- */

struct all {
	const unsigned *order, *sample;
	unsigned n, samples, turn;	/* samples side by side */
	unsigned done;
	double work, worked;
	int (*report)(struct sens *z, struct sens_candidate *c);
};

static void progress(const struct search *x, const struct all *a)
{
	char stage[96];

	if (!x->z->o.progress)
		return;
	snprintf(stage, sizeof(stage), "search: candidate %u of %u", a->done + 1, a->n);
	x->z->o.progress(x->z->o.progress_opaque, stage, (unsigned)(1000 * a->worked / (a->work + 1e-9)), 1000);
}

/* What running from that step on takes, about. */
static double work_from(const struct sens *z, unsigned step)
{
	double sum = 0;
	unsigned at = 0;

	for (const struct ir_op *op = z->g->first; op; op = op->next, at++)
		sum += at >= step ? 1e5 + (double)ir_op_macs(op) : 0;
	return sum;
}

static int finish(struct search *x, struct all *a, struct sens_candidate *c, const struct sens_sums *sums, float **value)
{
	c->score = sens_score_of(x->z, sums, a->samples);
	if (value) {
		int r = sens_measure(x->z, value, &c->score.loss);

		if (r)
			return r;
	}
	c->known = true;
	a->done++;
	a->worked += work_from(x->z, c->begins);
	return a->report(x->z, c);
}

/* Candidates [from, to) over all samples, turn by turn. */
static int block(struct search *x, struct all *a, unsigned from, unsigned to)
{
	size_t each = (size_t)a->samples * x->z->g->outputs;
	struct sens_sums *sums = ir_alloc(each * (to - from) + 1, sizeof(*sums));
	float ***value = ir_alloc(to - from, sizeof(*value));
	int r = 0;

	for (unsigned i = 0; i < to - from && x->z->s->metric == SENS_COMMAND; i++)
		value[i] = sens_values_new(x->z, a->samples);
	for (unsigned s = 0; s < a->samples && !r; s += a->turn) {
		unsigned n = a->samples - s < a->turn ? a->samples - s : a->turn;

		if (a->turn < a->samples || !x->samples)
			r = begin_turn(x, a->sample + s, n);
		for (unsigned i = from; i < to && !r && !sens_stopped(x->z); i++) {
			progress(x, a);
			x->sums = sums + each * (i - from) + (size_t)s * x->z->g->outputs;
			x->value = value[i - from];
			r = run_candidate(x, &x->z->candidate[a->order[i]]);
		}
	}
	for (unsigned i = from; i < to && !r && !sens_stopped(x->z); i++)
		r = finish(x, a, &x->z->candidate[a->order[i]], sums + each * (i - from), value[i - from]);
	for (unsigned i = 0; i < to - from; i++)
		sens_values_free(x->z, value[i], a->samples);
	free(value);
	free(sums);
	return r;
}

static int all_blocks(struct search *x, struct all *a)
{
	unsigned size;
	int r = 0;

	a->turn = (unsigned)(sens_state_memory / (x->base.t.lmem_size + 1));
	a->turn = a->turn < 1 ? 1 : a->turn < a->samples ? a->turn : a->samples;
	size = a->turn < a->samples ? BLOCK : 1;
	x->state = ir_alloc(a->turn, sizeof(*x->state));
	r = workers_init(x, a->turn);
	for (unsigned i = 0; i < a->n; i++)
		a->work += work_from(x->z, x->z->candidate[a->order[i]].begins);
	for (unsigned i = 0; i < a->n && !r && !sens_stopped(x->z); i += size)
		r = block(x, a, i, i + size < a->n ? i + size : a->n);
	if (!r && a->turn == a->samples && x->samples && !sens_stopped(x->z))
		r = walk(x, x->z->steps);	/* so that prefix_seconds is a whole f32 run */
	x->z->r->prefix_seconds = a->turn == a->samples ? x->walk_seconds : 0;
	x->z->r->prefix_cpu = a->turn == a->samples ? x->walk_cpu : 0;
	for (unsigned i = 0; i < a->turn; i++)
		free(x->state[i]);
	free(x->state);
	return r;
}

int sens_search(struct sens *z, const unsigned *order, unsigned n, const unsigned *sample, unsigned samples,
		int (*done)(struct sens *z, struct sens_candidate *c))
{
	struct search x = { .z = z };
	struct all a = { .order = order, .n = n, .sample = sample, .samples = samples, .report = done };
	int r = sens_base_init(&x.base, z);

	if (!r && n)
		r = all_blocks(&x, &a);
	for (unsigned i = 0; i < x.workers; i++) {
		mica_engine_destroy(x.worker[i].engine);
		free(x.worker[i].lmem);
		free(x.worker[i].scratch);
		free(x.worker[i].differs);
	}
	free(x.worker);
	sens_base_fini(&x.base);
	return r;
}
