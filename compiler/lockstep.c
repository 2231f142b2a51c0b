// SPDX-License-Identifier: MIT
/* The quantized and the f32 graph side by side, layer by layer, over as many samples as memory allows. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "adaround.h"
#include "lockstep.h"
#include "repair.h"

#define MOST_SAMPLES 64
#define MEMORY	     ((size_t)768 << 20)
#define LEAST_ROWS   2048
#define MOST_ROWS    8192
#define ROW_ELEMENTS ((size_t)1 << 20) /* of a group's rows, about */

struct lockstep {
	const struct mica_compile_options *o;
	struct mica_err *err;
	struct ir_batch *q, *f;
	unsigned samples;
	float **in_q, **in_f; /* by sample: the layer's whole input as values */
};

/* ---- a small parallel loop ---- */

struct loop {
	void (*fn)(void *opaque, int64_t i);
	void *opaque;
	_Atomic int64_t next;
	int64_t n;
};

static void *loop_work(void *arg)
{
	struct loop *l = arg;
	int64_t i;

	while ((i = atomic_fetch_add(&l->next, 1)) < l->n)
		l->fn(l->opaque, i);
	return NULL;
}

void parallel_for(unsigned threads, int64_t n, void (*fn)(void *opaque, int64_t i), void *opaque)
{
	struct loop l = { .fn = fn, .opaque = opaque, .n = n };
	pthread_t thread[16];
	unsigned started = 0;

	while (started + 1 < threads && started < 16 && (int64_t)started + 1 < n &&
	       !pthread_create(&thread[started], NULL, loop_work, &l))
		started++;
	loop_work(&l);
	while (started)
		pthread_join(thread[--started], NULL);
}

/* ---- rows ---- */

static void take_input(const struct ir_batch *b, unsigned sample, const struct ir_value *v,
		       float *dst)
{
	size_t n = (size_t)ir_elements(v);
	const void *codes = ir_batch_codes(b, sample, v);

	if (v->dtype == MICA_F32)
		memcpy(dst, codes, n * sizeof(*dst));
	else
		mica_dequantize((enum mica_dtype)v->dtype, codes, dst, n, v->scale, v->zero);
}

/* Output position of a row: spread evenly over all positions of all samples. */
static int64_t position_of(const struct lockstep_layer *l, size_t row, unsigned *sample)
{
	const struct ir_value *y = l->op->out[0];
	int64_t per = y->dim[0] * y->dim[1] * y->dim[2], all = per * l->of->samples;
	int64_t at = (int64_t)((double)row * (double)all / (double)l->picked);

	*sample = (unsigned)(at / per);
	return at % per;
}

/* The window of one output position, its elements `rows` apart; taps in the padding are 0. */
static void window(const struct lockstep_layer *l, const float *x, int64_t at, int64_t group,
		   float *row)
{
	const struct ir_attr *a = &l->op->a;
	const struct ir_value *v = l->op->in[0], *y = l->op->out[0];
	int64_t ow = at % y->dim[2], oh = at / y->dim[2] % y->dim[1],
		n = at / y->dim[2] / y->dim[1];
	int64_t ic = l->op->in[1]->dim[3], dil_h = a->dil_h ? a->dil_h : 1,
		dil_w = a->dil_w ? a->dil_w : 1;

	for (int kh = 0; kh < a->kh; kh++) {
		int64_t ih = oh * a->stride_h - a->pad_top + kh * dil_h;

		for (int kw = 0; kw < a->kw; kw++) {
			int64_t iw = ow * a->stride_w - a->pad_left + kw * dil_w;
			bool inside = ih >= 0 && iw >= 0 && ih < v->dim[1] && iw < v->dim[2];
			const float *from =
				inside ? x + ((n * v->dim[1] + ih) * v->dim[2] + iw) * v->dim[3] +
						 group * ic
				       : NULL;

			for (int64_t c = 0; c < ic; c++, row += l->rows)
				*row = from ? from[c] : 0;
		}
	}
}

static void all_rows(const struct lockstep_layer *l, float *const *in, int64_t group, float *x)
{
	for (size_t r = 0; r < l->picked; r++) {
		unsigned sample;
		int64_t at = position_of(l, r, &sample);

		window(l, in[sample], at, group, x + r);
	}
}

void lockstep_quantized(const struct lockstep_layer *l, int64_t group, float *x)
{
	all_rows(l, l->of->in_q, group, x);
}

void lockstep_exact(const struct lockstep_layer *l, int64_t group, float *x)
{
	all_rows(l, l->of->in_f, group, x);
}

void lockstep_product(const struct lockstep_layer *l, const float *x, const float *w, float sign,
		      float *y)
{
	for (int64_t i = 0; i < l->k; i++)
		add16(y, sign * w[i], x + (size_t)i * l->rows, l->rows);
}

#define FLAT   0.1f /* an error where the activation is flat: other inputs may not be there */
#define MARGIN 0.25f /* of the range, on both sides of where it is not */

void lockstep_weights(const struct lockstep_layer *l, int64_t channel, const float *t,
		      float *weight)
{
	const struct ir_op *f = l->ref;
	float bias = ir_op_in(f, 2) ? ((const float *)f->in[2]->data)[channel] : 0, lo = -INFINITY,
	      hi = INFINITY;

	if (!ir_op_in(f, 3) && f->a.act == MICA_ACT_RELU)
		lo = 0;
	if (!ir_op_in(f, 3) && f->a.act == MICA_ACT_CLIP) {
		lo = f->a.alpha - MARGIN * (f->a.beta - f->a.alpha);
		hi = f->a.beta + MARGIN * (f->a.beta - f->a.alpha);
	}
	for (size_t r = 0; r < l->rows; r++) {
		float y = t[r] + bias;

		weight[r] = r >= l->picked ? 0 : y < lo || y > hi ? FLAT : 1;
	}
}

void lockstep_own_bias(struct ir_graph *g, struct ir_op *op)
{
	struct ir_value *old = ir_op_in(op, 2);

	if (!old || old->uses > 1)
		ir_op_set_in(op, 2,
			     ir_const_new(g, old ? old->name : NULL, MICA_F32, 1, op->in[1]->dim,
					  old ? old->data : NULL));
}

/* ---- the walk ---- */

static int load(void *opaque, unsigned sample, const struct ir_value *input, float *dst, size_t n)
{
	struct lockstep *s = opaque;

	return s->o->calib.load(s->o->calib.opaque, sample, input->name, dst, n, s->err);
}

/* Runs the f32 side up to the operator that makes the value of that id; NULL: it has none. */
static int advance(struct lockstep *s, unsigned id, const struct ir_op **found)
{
	const struct ir_op *op = ir_batch_next(s->f);

	for (; op && op->out[0]->id != id; op = op->next)
		;
	*found = op;
	while (op && ir_batch_next(s->f) != op) {
		int r = ir_batch_step(s->f);

		if (r)
			return r;
	}
	return 0;
}

static bool same_layer(const struct ir_op *op, const struct ir_op *ref)
{
	return ref && ref->kind == IR_CONV && ref->in[1]->dtype == MICA_F32 &&
	       ir_same_dims(op->in[1], ref->in[1]) && ir_same_dims(op->in[0], ref->in[0]) &&
	       !op->in[0]->data;
}

/* Many where that is cheap, and in any case more than there are weights. */
static size_t rows_for(size_t k)
{
	size_t n = ROW_ELEMENTS / k;

	n = n > MOST_ROWS ? MOST_ROWS : n < LEAST_ROWS ? LEAST_ROWS : n;
	return n < k + k / 2 ? k + k / 2 : n;
}

static int visit(struct lockstep *s, struct ir_op *op, const struct ir_op *ref,
		 int (*fn)(void *opaque, const struct lockstep_layer *l), void *opaque)
{
	const struct ir_value *w = op->in[1], *y = op->out[0];
	struct lockstep_layer l = {
		.op = op, .ref = ref, .groups = op->a.groups, .threads = s->o->threads, .of = s
	};
	size_t all = (size_t)(y->dim[0] * y->dim[1] * y->dim[2]) * s->samples;
	int r;

	l.k = w->dim[1] * w->dim[2] * w->dim[3];
	l.oc = w->dim[0] / l.groups;
	l.picked = rows_for((size_t)l.k);
	l.picked = l.picked < all ? l.picked : all;
	l.rows = (l.picked + 15) & ~(size_t)15;
	for (unsigned i = 0; i < s->samples; i++) {
		s->in_q[i] = ir_alloc((size_t)ir_elements(op->in[0]), sizeof(float));
		s->in_f[i] = ir_alloc((size_t)ir_elements(op->in[0]), sizeof(float));
		take_input(s->q, i, op->in[0], s->in_q[i]);
		take_input(s->f, i, ref->in[0], s->in_f[i]);
	}
	r = fn(opaque, &l);
	for (unsigned i = 0; i < s->samples; i++) {
		free(s->in_q[i]);
		free(s->in_f[i]);
	}
	return r;
}

static int walk(struct lockstep *s, struct ir_graph *g, const char *stage,
		int (*fn)(void *opaque, const struct lockstep_layer *l), void *opaque)
{
	unsigned done = 0, total = 0;
	int r = 0;

	for (struct ir_op *op = g->first; op; op = op->next)
		total++;
	for (struct ir_op *op = g->first; op && !r; op = op->next) {
		const struct ir_op *ref = NULL;

		if (s->o->progress)
			s->o->progress(s->o->progress_opaque, stage, done, total);
		done++;
		if (op->kind == IR_CONV && op->out[0]->id < g->reference->values)
			r = advance(s, op->out[0]->id, &ref);
		if (!r && same_layer(op, ref))
			r = visit(s, op, ref, fn, opaque);
		if (!r)
			r = ir_batch_step(s->q);
	}
	return r;
}

/* Samples from all over the set, as many as fit. */
static unsigned how_many(struct ir_graph *g, const struct mica_compile_options *o)
{
	size_t each = ir_batch_sample_bytes(g) + ir_batch_sample_bytes(g->reference);
	unsigned n = repair_samples(o) < MOST_SAMPLES ? repair_samples(o) : MOST_SAMPLES;

	while (n > 1 && n * each > MEMORY)
		n--;
	return n;
}

int lockstep_run(struct ir_graph *g, const struct mica_compile_options *o, const char *stage,
		 int (*fn)(void *opaque, const struct lockstep_layer *l), void *opaque)
{
	struct lockstep s = { .o = o, .err = g->err, .samples = how_many(g, o) };
	int r = 0;

	s.in_q = ir_alloc(s.samples, sizeof(*s.in_q));
	s.in_f = ir_alloc(s.samples, sizeof(*s.in_f));
	s.q = ir_batch_new(g, s.samples, o->threads);
	s.f = s.q ? ir_batch_new(g->reference, s.samples, o->threads) : NULL;
	if (!s.f)
		r = -(int)(g->err->code ? g->err->code : MICA_ERR_MEMORY);
	if (!r)
		r = ir_batch_load(s.q, load, &s);
	if (!r)
		r = ir_batch_load(s.f, load, &s);
	if (!r)
		r = walk(&s, g, stage, fn, opaque);
	ir_batch_free(s.q);
	ir_batch_free(s.f);
	free(s.in_q);
	free(s.in_f);
	return r;
}
