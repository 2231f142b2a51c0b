// SPDX-License-Identifier: MIT
/*
 * What runs: the f32 graph, once over all samples, step by step; where a candidate begins to differ, what lies downstream
 * of it, from the f32 values that are live at that step. Each sample is by itself, so threads change nothing.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "sensitivity_run.h"

size_t sens_state_memory = (size_t)512 << 20;

struct sens_worker {
	struct sens_runner *of;
	struct mica_engine *engine;
	uint8_t *lmem, *scratch;
	uint64_t size;
	const struct sens_job *job;
	const struct sens_plan *plan;	/* of the job */
	unsigned ready;			/* serial of the candidate whose constants are in place */
	bool *differs;			/* by value id */
	pthread_t thread;
	bool started;
	int fault;
	struct mica_err err;
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
	struct sens_worker *w = arg;
	unsigned at;

	while (!w->fault && (at = atomic_fetch_add(&w->of->next, 1)) < w->of->calls)
		w->of->call(w, at);
	return NULL;
}

/* call(worker, 0 .. n - 1), each by whoever is free. */
static int share_out(struct sens_runner *x, void (*call)(struct sens_worker *w, unsigned at), unsigned n)
{
	int r = 0;

	x->call = call;
	x->calls = n;
	atomic_store(&x->next, 0);
	for (unsigned i = 1; i < x->workers && i < n; i++)
		x->worker[i].started = !pthread_create(&x->worker[i].thread, NULL, work, &x->worker[i]);
	work(&x->worker[0]);
	for (unsigned i = 1; i < x->workers; i++)
		if (x->worker[i].started)
			pthread_join(x->worker[i].thread, NULL);
	for (unsigned i = 0; i < x->workers; i++) {
		struct sens_worker *w = &x->worker[i];

		w->started = false;
		if (w->fault && !r)
			r = mica_err_set(x->z->g->err, w->err.code ? w->err.code : MICA_ERR_INTERNAL, "%s", w->err.text);
	}
	return r;
}

static int workers_init(struct sens_runner *x)
{
	x->workers = x->z->o.threads < 1 ? 1 : x->z->o.threads;
	x->worker = ir_alloc(x->workers, sizeof(*x->worker));
	for (unsigned i = 0; i < x->workers; i++) {
		struct sens_worker *w = &x->worker[i];

		w->of = x;
		w->engine = mica_engine_create(MICA_ISA_AUTO, 1);
		w->scratch = malloc(x->base.t.scratch_size + 1);
		if (!w->engine || !w->scratch)
			return mica_err_set(x->z->g->err, MICA_ERR_MEMORY, "no memory for another thread; lower --threads");
	}
	return 0;
}

/* Memory of a worker: constants of the f32 graph, then the plan's own values behind. */
static bool worker_room(struct sens_worker *w, uint64_t size)
{
	struct ir_tracer t = w->of->base.t;

	if (size <= w->size)
		return true;
	free(w->lmem);
	w->size = (size + size / 8 + MICA_LMEM_ALIGN) & ~(uint64_t)(MICA_LMEM_ALIGN - 1);
	w->lmem = aligned_alloc(MICA_LMEM_ALIGN, w->size);
	if (!w->lmem) {
		w->fault = mica_err_set(&w->err, MICA_ERR_MEMORY, "no memory for a candidate (%llu MiB)",
					(unsigned long long)(w->size >> 20));
		w->size = 0;
		return false;
	}
	t.lmem = w->lmem;
	trace_constants(&t);
	return true;
}

static bool worker_ready(struct sens_worker *w)
{
	const struct sens_plan *p = w->plan;

	if (w->ready == w->job->work->serial)
		return true;
	if (!worker_room(w, p->t.lmem_size))
		return false;
	free(w->differs);
	w->differs = ir_alloc(p->t.g->values, sizeof(bool));
	for (unsigned k = 0; k < p->constants; k++)
		memcpy(w->lmem + p->t.offset[p->constant[k]->id], p->constant[k]->data, ir_bytes(p->constant[k]));
	w->ready = w->job->work->serial;
	return true;
}

static int exec(struct sens_worker *w, const struct ir_tracer *t, const struct be_blob *blob, const struct be_packets *list, unsigned from,
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

static void walk_sample(struct sens_worker *w, unsigned at)
{
	struct sens_runner *x = w->of;
	struct ir_tracer t = x->base.t;

	t.lmem = x->state[at];
	for (unsigned s = x->step; s < x->to && !w->fault; s++)
		exec(w, &t, &t.blob, &t.packets, x->base.from[s], t.end[s], x->base.op[s]);
}

int sens_runner_walk(struct sens_runner *x, unsigned to)
{
	double start = clock_of(CLOCK_MONOTONIC), busy = clock_of(CLOCK_PROCESS_CPUTIME_ID);
	int r = 0;

	x->to = to;
	if (to > x->step)
		r = share_out(x, walk_sample, x->samples);
	x->step = to > x->step ? to : x->step;
	x->walk_seconds += clock_of(CLOCK_MONOTONIC) - start;
	x->walk_cpu += clock_of(CLOCK_PROCESS_CPUTIME_ID) - busy;
	return r;
}

int sens_runner_turn(struct sens_runner *x, const unsigned *sample, unsigned n)
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

void sens_runner_reorder(struct sens_runner *x, const unsigned *sample, const unsigned *from, unsigned n)
{
	uint8_t **was = ir_alloc(x->samples, sizeof(*was));

	memcpy(was, x->state, x->samples * sizeof(*was));
	for (unsigned i = 0; i < n; i++) {
		x->state[i] = was[from[i]];
		was[from[i]] = NULL;
	}
	for (unsigned i = 0, at = n; i < x->samples; i++)
		if (was[i])
			x->state[at++] = was[i];	/* of no use until the next turn */
	x->sample = sample;
	x->samples = n;
	free(was);
}

int sens_runner_init(struct sens_runner *x, struct sens *z, unsigned most)
{
	int r;

	*x = (struct sens_runner){ .z = z };
	r = sens_base_init(&x->base, z);
	if (r)
		return r;
	x->most = (unsigned)(sens_state_memory / (x->base.t.lmem_size + 1));
	x->most = x->most < 1 ? 1 : x->most < most ? x->most : most;
	x->state = ir_alloc(x->most, sizeof(*x->state));
	return workers_init(x);
}

void sens_runner_fini(struct sens_runner *x)
{
	for (unsigned i = 0; i < x->workers; i++) {
		mica_engine_destroy(x->worker[i].engine);
		free(x->worker[i].lmem);
		free(x->worker[i].scratch);
		free(x->worker[i].differs);
	}
	free(x->worker);
	for (unsigned i = 0; x->state && i < x->most; i++)
		free(x->state[i]);
	free(x->state);
	sens_base_fini(&x->base);
}

/* ---- a candidate on a sample ---- */

static void take_values(const struct sens_worker *w)
{
	const struct sens_runner *x = w->of;
	const struct sens_plan *p = w->plan;

	for (unsigned i = 0; i < p->takes; i++) {
		const struct ir_value *v = p->take[i].v;
		const float *from = (const float *)(x->state[w->job->at] + x->base.t.offset[p->take[i].id]);
		uint8_t *to = w->lmem + p->t.offset[v->id];

		if (v->dtype == MICA_F32)
			memcpy(to, from, ir_bytes(v));
		else
			mica_quantize((enum mica_dtype)v->dtype, from, to, (size_t)ir_elements(v), 1.0f / v->scale, v->zero);
	}
}

static bool operands_differ(const struct sens_worker *w, const struct ir_op *op)
{
	for (unsigned i = 0; i < op->ins; i++)
		if (ir_op_in(op, i) && !ir_op_in(op, i)->data && w->differs[ir_op_in(op, i)->id])
			return true;
	return false;
}

/* Whether the result has become what it is in f32. */
static bool is_f32s(const struct sens_worker *w, const struct sens_run *r)
{
	const struct sens_runner *x = w->of;
	const struct ir_value *y = r->op->out[0];
	const void *is = w->lmem + w->plan->t.offset[y->id];
	const struct sens_print *was;

	if (r->step == UINT32_MAX)
		return false;
	was = &x->z->print[(size_t)x->sample[w->job->at] * x->z->steps + r->step];
	return sens_glance(is, (size_t)ir_elements(y)) == was->glance && sens_hash(is, ir_bytes(y)) == was->hash;
}

/* Whether something that differs will be read again. */
static bool goes_on(const struct sens_worker *w, unsigned run)
{
	const struct sens_work *work = w->job->work;

	if (run < work->last_own)
		return true;
	for (unsigned i = 0; i < work->g->values; i++)
		if (work->g->value[i] && w->differs[i] && work->last_use[i] > run)
			return true;
	return false;
}

/* Compares the outputs; what did not run is f32's. */
static void compare_outputs(const struct sens_worker *w)
{
	const struct sens_runner *x = w->of;
	const struct sens_job *job = w->job;
	const struct ir_graph *g = job->work->g;

	for (unsigned i = 0; i < g->outputs; i++) {
		const struct ir_value *y = g->output[i];
		const float *was = x->z->reference[(size_t)x->sample[job->at] * g->outputs + i];
		bool differs = job->work->differs && w->differs[y->id];
		const float *is = differs ? (const float *)(w->lmem + w->plan->t.offset[y->id]) : was;
		size_t n = (size_t)ir_elements(y);

		sens_compare(&job->sums[i], was, is, n);
		if (job->value)
			memcpy(job->value[i], is, n * sizeof(*is));
	}
}

static bool run_plan(struct sens_worker *w)
{
	const struct sens_plan *p = w->plan;
	const struct ir_tracer *base = &w->of->base.t;
	struct ir_tracer t = p->t;

	t.lmem = w->lmem;
	memset(w->differs, 0, t.g->values);
	take_values(w);
	for (unsigned k = 0; k < p->runs; k++) {
		const struct sens_run *r = &p->run[k];
		unsigned y = r->op->out[0]->id;

		if (exec(w, &t, r->own ? &p->t.blob : &base->blob, r->own ? &p->t.packets : &base->packets, r->from, r->to, r->op))
			return false;
		w->differs[y] = r->own || operands_differ(w, r->op);
		if (!w->differs[y] || !is_f32s(w, r))
			continue;
		w->differs[y] = false;
		if (!goes_on(w, k))
			break;
	}
	return true;
}

static void run_job(struct sens_worker *w, unsigned at)
{
	w->job = &w->of->job[at];
	w->plan = &w->job->work->plan;
	if (w->job->work->differs && (!worker_ready(w) || !run_plan(w)))
		return;
	compare_outputs(w);
}

int sens_runner_jobs(struct sens_runner *x, const struct sens_job *job, unsigned n)
{
	x->job = job;
	return share_out(x, run_job, n);
}

/* ---- a candidate ---- */

static void note_uses(struct sens_work *work)
{
	const struct sens_plan *p = &work->plan;

	work->last_use = ir_alloc(work->g->values, sizeof(*work->last_use));
	for (unsigned k = 0; k < p->runs; k++) {
		for (unsigned i = 0; i < p->run[k].op->ins; i++)
			if (ir_op_in(p->run[k].op, i))
				work->last_use[ir_op_in(p->run[k].op, i)->id] = k;
		work->last_own = p->run[k].own ? k : work->last_own;
	}
	for (unsigned i = 0; i < work->g->outputs; i++)
		work->last_use[work->g->output[i]->id] = p->runs;
}

int sens_work_make(struct sens_runner *x, struct sens_work *work, const struct sens_candidate *c)
{
	int r = 0;

	*work = (struct sens_work){ .g = sens_alone(x->z, c, x->z->g->err), .serial = ++x->serial };
	if (!work->g)
		return -(int)x->z->g->err->code;
	work->differs = sens_plan_make(&work->plan, x->z, &x->base, work->g, true, &r);
	if (!r && work->differs)
		note_uses(work);
	return r;
}

void sens_work_free(struct sens_work *work)
{
	if (!work->g)
		return;
	sens_plan_fini(&work->plan);
	ir_graph_free(work->g);
	free(work->last_use);
	memset(work, 0, sizeof(*work));
}
