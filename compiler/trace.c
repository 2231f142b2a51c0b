// SPDX-License-Identifier: MIT
/*
 * The tracer: runs a graph of the device dialect on the engine, whole tensors in one large LMEM, and shows every value.
 * Calibration uses it on f32 graphs; the tests use it as the measure of what the tiled streams must compute.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "plan.h"
#include "trace.h"

bool trace_placed(const struct ir_graph *g, const struct ir_value *v)
{
	if (!v)
		return false;
	if (!v->data)
		return v->is_input || v->def;
	for (unsigned i = 0; i < g->outputs; i++)
		if (g->output[i] == v)
			return true;
	for (unsigned u = 0; u < v->uses; u++)
		for (unsigned i = 0; i < v->use[u]->ins; i++)
			if (ir_op_in(v->use[u], i) == v && !be_streams(v->use[u], i))
				return true;
	return false;
}

/* Live ranges: inputs and constants from the start, outputs to the end; step 0 is the loading of the inputs. */
int trace_place(struct ir_tracer *t)
{
	struct ir_graph *g = t->g;
	struct plan_buf *buf = ir_alloc(g->values, sizeof(*buf));
	struct plan_problem p = { .buf = buf, .count = g->values };
	uint32_t step = 0;
	int ret;

	for (unsigned i = 0; i < g->values; i++) {
		buf[i].align = MICA_LMEM_ALIGN;
		buf[i].size = trace_placed(g, g->value[i]) ? ir_bytes(g->value[i]) + MICA_LMEM_ALIGN : 0;
		if (g->value[i] && g->value[i]->data)
			buf[i].last = t->steps + 1;	/* written once, read by every run */
	}
	for (struct ir_op *op = g->first; op; op = op->next) {
		step++;
		buf[op->out[0]->id].first = step;
		buf[op->out[0]->id].last = step;
		for (unsigned i = 0; i < op->ins; i++) {
			struct ir_value *v = ir_op_in(op, i);

			if (v && buf[v->id].last < step)
				buf[v->id].last = step;
		}
	}
	for (unsigned i = 0; i < g->outputs; i++)
		buf[g->output[i]->id].last = t->steps + 1;
	ret = plan_solve(&p, &t->lmem_size);
	for (unsigned i = 0; i < g->values; i++)
		t->offset[i] = buf[i].offset;
	free(buf);
	if (ret || t->lmem_size >= UINT32_MAX - MICA_LMEM_ALIGN)
		return mica_err_set(g->err, MICA_ERR_MEMORY,
				    "%s: running the model layer by layer needs %llu MiB at once, more than 4 GiB cannot be addressed; use a smaller input shape (--shape)",
				    g->name, (unsigned long long)(t->lmem_size >> 20));
	t->lmem_size = (t->lmem_size + MICA_LMEM_ALIGN) & ~(uint64_t)(MICA_LMEM_ALIGN - 1);
	return 0;
}

static struct be_view view_of(const struct ir_tracer *t, const struct ir_value *v)
{
	struct be_view view = { .addr = MICA_ADDR(MICA_SEG_LMEM, t->offset[v->id]) };

	be_dense(v, v->dim, view.stride);
	return view;
}

/* Walks the output in boxes that one packet's fields can hold: the whole, for all but extreme shapes. */
static int lower_boxes(struct be_lower *l, struct ir_op *op, const struct be_view *whole, const struct be_view *out)
{
	const struct ir_value *y = op->out[0];
	struct be_box box = be_whole(y), need, unit = box;
	struct be_view in[IR_MAX_IN], o;
	int ret = 0;

	if (!be_fit_fields(op, &unit))
		return be_op_err(l->g, op, MICA_ERR_UNSUPPORTED, "a dimension is larger than the 65535 that a command can hold");
	box = unit;
	while (!ret) {
		unsigned d = y->rank;

		for (unsigned i = 0; i < op->ins; i++) {
			if (!op->in[i] || be_streams(op, i))
				continue;
			be_need(op, i, &box, &need);
			in[i] = whole[i];
			in[i].addr = be_at(&whole[i], &need, op->in[i]->rank);
		}
		o = *out;
		o.addr = be_at(out, &box, y->rank);
		ret = be_lower_op(l, op, &box, in, &o);
		while (d-- > 0) {	/* the next box */
			box.at[d] += unit.len[d];
			if (box.at[d] < y->dim[d])
				break;
			box.at[d] = 0;
			box.len[d] = unit.len[d];
		}
		if (d >= y->rank)
			return ret;
		if (box.len[d] > y->dim[d] - box.at[d])
			box.len[d] = y->dim[d] - box.at[d];
	}
	return ret;
}

int trace_lower(struct ir_tracer *t, struct ir_op *op, unsigned step)
{
	struct be_lower l = { .g = t->g, .blob = &t->blob, .out = &t->packets, .layer = step };
	struct be_view out = view_of(t, op->out[0]), *in = ir_alloc(op->ins, sizeof(*in));
	struct be_box box = be_whole(op->out[0]);
	int ret;

	if (op->kind == IR_HOST) {
		struct mica_host_step s;
		size_t size;

		free(in);
		ir_host_step(op, &s);
		size = mica_host_scratch(&s);
		t->scratch_size = size > t->scratch_size ? size : t->scratch_size;
		return 0;
	}
	for (unsigned i = 0; i < op->ins; i++)
		if (ir_op_in(op, i) && !be_streams(op, i))
			in[i] = view_of(t, ir_op_in(op, i));
	ret = be_is_move(op) ? be_lower_move(&l, op, &box, in, &out, NULL) : lower_boxes(&l, op, in, &out);
	free(in);
	return ret;
}

void trace_constants(const struct ir_tracer *t)
{
	for (unsigned i = 0; i < t->g->values; i++) {
		const struct ir_value *v = t->g->value[i];

		if (v && v->data && trace_placed(t->g, v))
			memcpy(t->lmem + t->offset[i], v->data, ir_bytes(v));
	}
}

struct ir_tracer *ir_tracer_new(struct ir_graph *g, unsigned threads)
{
	struct ir_tracer *t = ir_alloc(1, sizeof(*t));
	unsigned step = 0;

	t->g = g;
	be_blob_init(&t->blob);
	for (struct ir_op *op = g->first; op; op = op->next)
		t->steps++;
	t->end = ir_alloc(t->steps, sizeof(*t->end));
	t->offset = ir_alloc(g->values, sizeof(*t->offset));
	if (trace_place(t))
		goto err_free;
	for (struct ir_op *op = g->first; op; op = op->next) {
		if (trace_lower(t, op, step))
			goto err_free;
		t->end[step++] = t->packets.count;
	}
	t->engine = mica_engine_create(MICA_ISA_AUTO, threads ? threads : 1);
	t->lmem = aligned_alloc(MICA_LMEM_ALIGN, t->lmem_size);
	t->scratch = malloc(t->scratch_size + 1);
	if (!t->engine || !t->lmem || !t->scratch) {
		mica_err_set(g->err, MICA_ERR_MEMORY, "%s: no memory to run the model (%llu MiB)", g->name,
			     (unsigned long long)(t->lmem_size >> 20));
		goto err_free;
	}
	trace_constants(t);
	return t;
err_free:
	ir_tracer_free(t);
	return NULL;
}

static int load_input(struct ir_tracer *t, const struct ir_trace *cb, const struct ir_value *v)
{
	size_t n = (size_t)ir_elements(v);
	void *place = t->lmem + t->offset[v->id];
	float *f = v->dtype == MICA_F32 ? place : ir_alloc(n, sizeof(*f));
	int ret = cb->load(cb->opaque, v, f, n);

	if (f != place) {
		if (!ret)
			mica_quantize(v->dtype, f, place, n, 1.0f / v->scale, v->zero);
		free(f);
	}
	return ret;
}

int trace_host(const struct ir_tracer *t, const struct ir_op *op)
{
	struct mica_host_step s;
	struct mica_host_call c = { .step = &s, .scratch = t->scratch };

	ir_host_step(op, &s);
	for (unsigned i = 0; i < op->ins; i++)
		c.in[i] = (const float *)(t->lmem + t->offset[op->in[i]->id]);
	c.out = (float *)(t->lmem + t->offset[op->out[0]->id]);
	return mica_host_run(&c) ? be_op_err(t->g, op, MICA_ERR_SHAPE, "calibration data: %s", c.why) : 0;
}

int ir_tracer_run(struct ir_tracer *t, const struct ir_trace *cb)
{
	struct ir_graph *g = t->g;
	struct mica_mem mem = { .lmem = { t->lmem }, .lmem_size = (uint32_t)t->lmem_size, .seg = { t->blob.data } };
	unsigned step = 0, at = 0;
	int ret = 0;

	for (unsigned i = 0; i < g->inputs && !ret; i++) {
		ret = load_input(t, cb, g->input[i]);
		if (!ret && cb->see)
			cb->see(cb->opaque, g->input[i], t->lmem + t->offset[g->input[i]->id], (size_t)ir_elements(g->input[i]));
	}
	for (struct ir_op *op = g->first; op && !ret; op = op->next, step++) {
		const struct ir_value *y = op->out[0];

		if (op->kind == IR_HOST)
			ret = trace_host(t, op);
		for (; at < t->end[step]; at++) {
			int fault = mica_exec(t->engine, &t->packets.pkt[at], &mem);

			if (fault)
				return be_op_err(g, op, MICA_ERR_INTERNAL, "the engine reports fault %d; please report it", fault);
		}
		if (cb->see)
			cb->see(cb->opaque, y, t->lmem + t->offset[y->id], (size_t)ir_elements(y));
	}
	return ret;
}

/* ---- many samples, one step at a time ---- */

struct ir_batch {
	struct ir_tracer t;		/* lowers; its lmem stays unused */
	const struct ir_op *next;	/* the operator that has not been run */
	unsigned step;
	unsigned samples, workers;
	uint8_t **lmem;			/* by sample */
	struct mica_engine **engine;	/* by worker */
};

struct batch_worker {
	struct ir_batch *b;
	unsigned index;
	unsigned from, to;		/* packets */
	pthread_t thread;
	bool started;
	int fault;
};

size_t ir_batch_sample_bytes(struct ir_graph *g)
{
	struct ir_tracer t = { .g = g };
	uint64_t bytes;

	for (struct ir_op *op = g->first; op; op = op->next)
		t.steps++;
	t.offset = ir_alloc(g->values, sizeof(*t.offset));
	bytes = trace_place(&t) ? SIZE_MAX : t.lmem_size;
	free(t.offset);
	return (size_t)bytes;
}

struct ir_batch *ir_batch_new(struct ir_graph *g, unsigned samples, unsigned threads)
{
	struct ir_batch *b = ir_alloc(1, sizeof(*b));
	bool ok;

	b->t.g = g;
	b->next = g->first;
	b->samples = samples;
	b->workers = threads < 1 ? 1 : threads > samples ? samples : threads;
	be_blob_init(&b->t.blob);
	for (struct ir_op *op = g->first; op; op = op->next)
		b->t.steps++;
	b->t.offset = ir_alloc(g->values, sizeof(*b->t.offset));
	b->lmem = ir_alloc(samples, sizeof(*b->lmem));
	b->engine = ir_alloc(b->workers, sizeof(struct mica_engine *));
	ok = !trace_place(&b->t);
	for (unsigned i = 0; i < samples && ok; i++) {
		b->lmem[i] = aligned_alloc(MICA_LMEM_ALIGN, b->t.lmem_size);
		ok = b->lmem[i];
		if (ok)
			b->t.lmem = b->lmem[i], trace_constants(&b->t);
	}
	b->t.lmem = NULL;
	for (unsigned i = 0; i < b->workers && ok; i++)
		ok = (b->engine[i] = mica_engine_create(MICA_ISA_AUTO, 1)) != NULL;
	if (ok)
		return b;
	mica_err_set(g->err, MICA_ERR_MEMORY, "%s: no memory to run %u samples side by side", g->name, samples);
	ir_batch_free(b);
	return NULL;
}

int ir_batch_load(struct ir_batch *b, int (*load)(void *opaque, unsigned sample, const struct ir_value *input, float *dst, size_t n),
		  void *opaque)
{
	struct ir_graph *g = b->t.g;
	int ret = 0;

	for (unsigned s = 0; s < b->samples; s++) {
		for (unsigned i = 0; i < g->inputs && !ret; i++) {
			const struct ir_value *v = g->input[i];
			size_t n = (size_t)ir_elements(v);
			float *f = ir_alloc(n, sizeof(*f));

			ret = load(opaque, s, v, f, n);
			if (!ret)
				mica_quantize(v->dtype, f, b->lmem[s] + b->t.offset[v->id], n, 1.0f / v->scale, v->zero);
			free(f);
		}
	}
	return ret;
}

static int batch_host(struct ir_batch *b, const struct ir_op *op)
{
	int ret = 0;

	free(b->t.scratch);
	b->t.scratch = ir_alloc(b->t.scratch_size + 1, 1);
	for (unsigned s = 0; s < b->samples && !ret; s++) {
		b->t.lmem = b->lmem[s];
		ret = trace_host(&b->t, op);
	}
	b->t.lmem = NULL;
	return ret;
}

static void *batch_work(void *arg)
{
	struct batch_worker *w = arg;
	struct ir_batch *b = w->b;

	for (unsigned s = w->index; s < b->samples && !w->fault; s += b->workers) {
		struct mica_mem mem = { .lmem = { b->lmem[s] }, .lmem_size = (uint32_t)b->t.lmem_size, .seg = { b->t.blob.data } };

		for (unsigned at = w->from; at < w->to && !w->fault; at++)
			w->fault = mica_exec(b->engine[w->index], &b->t.packets.pkt[at], &mem);
	}
	return NULL;
}

int ir_batch_step(struct ir_batch *b)
{
	struct ir_op *op = (struct ir_op *)b->next;
	struct batch_worker *w = ir_alloc(b->workers, sizeof(*w));
	unsigned from = b->t.packets.count;
	int ret = trace_lower(&b->t, op, b->step), fault = 0;

	if (!ret && op->kind == IR_HOST)
		ret = batch_host(b, op);
	for (unsigned i = 0; i < b->workers && !ret; i++) {
		w[i] = (struct batch_worker){ .b = b, .index = i, .from = from, .to = b->t.packets.count };
		w[i].started = i && !pthread_create(&w[i].thread, NULL, batch_work, &w[i]);
	}
	for (unsigned i = 0; i < b->workers && !ret; i++) {
		if (w[i].started)
			pthread_join(w[i].thread, NULL);
		else
			batch_work(&w[i]);
		fault = fault ? fault : w[i].fault;
	}
	free(w);
	b->next = op->next;
	b->step++;
	return fault ? be_op_err(b->t.g, op, MICA_ERR_INTERNAL, "the engine reports fault %d; please report it", fault) : ret;
}

const struct ir_op *ir_batch_next(const struct ir_batch *b)
{
	return b->next;
}

void *ir_batch_codes(const struct ir_batch *b, unsigned sample, const struct ir_value *v)
{
	return b->lmem[sample] + b->t.offset[v->id];
}

void ir_batch_free(struct ir_batch *b)
{
	if (!b)
		return;
	for (unsigned i = 0; i < b->samples; i++)
		free(b->lmem[i]);
	for (unsigned i = 0; i < b->workers; i++)
		mica_engine_destroy(b->engine[i]);
	be_blob_fini(&b->t.blob);
	free(b->t.packets.pkt);
	free(b->t.offset);
	free(b->t.scratch);
	free(b->lmem);
	free(b->engine);
	free(b);
}

void ir_tracer_free(struct ir_tracer *t)
{
	if (!t)
		return;
	mica_engine_destroy(t->engine);
	be_blob_fini(&t->blob);
	free(t->packets.pkt);
	free(t->end);
	free(t->offset);
	free(t->lmem);
	free(t->scratch);
	free(t);
}
