// SPDX-License-Identifier: MIT
/*
 * Graphs side by side, one operator at a time: f32, the quantized one, and the quantized one whose operators each get the
 * f32 values as operands. Samples in rounds of as many as memory allows; sums go by sample, so threads change nothing.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "compare_run.h"
#include "lockstep.h"

#define MOST_SAMPLES 32
#define MEMORY	     ((size_t)320 << 20) /* of the graphs; values in hand come on top */

struct round {
	struct compare *c;
	unsigned first, n; /* samples */
	struct ir_batch *f, *whole, *alone, *plain;
	float ***kept; /* by value id of f, by sample: what is still asked for; NULL: nothing */
	bool *made; /* by value id of f */
	unsigned done; /* layers */
};

/* What one sample adds to a layer. */
struct part {
	struct compare_sums whole, alone;
	float *y; /* of the whole network */
	float min, max, largest;
	float *lo, *hi;
	uint64_t *before, *after;
};

struct measure {
	struct round *r;
	struct compare_layer *l;
	struct part *part;
};

/* ---- values ---- */

static void codes_to_values(const struct ir_value *v, const void *codes, float *dst, size_t n)
{
	mica_dequantize((enum mica_dtype)v->dtype, codes, dst, n, v->scale, v->zero);
}

static float **keep_new(struct round *r, unsigned id)
{
	size_t n = (size_t)ir_elements(r->c->f->value[id]);

	r->kept[id] = ir_alloc(r->n, sizeof(float *));
	for (unsigned s = 0; s < r->n; s++)
		r->kept[id][s] = ir_alloc(n, sizeof(float));
	return r->kept[id];
}

static void keep_free(struct round *r, unsigned id)
{
	for (unsigned s = 0; r->kept[id] && s < r->n; s++)
		free(r->kept[id][s]);
	free(r->kept[id]);
	r->kept[id] = NULL;
}

/* An output, or what only its order of axes separates from one. */
static bool leaves(const struct ir_value *x)
{
	for (unsigned i = 0; i < x->uses; i++)
		if (x->use[i]->out[0]->is_output && (x->use[i]->kind == IR_TRANSPOSE || x->use[i]->kind == IR_RESHAPE))
			return true;
	return x->is_output;
}

/* Runs an f32 graph until it has made that value. */
static int run_to(struct ir_batch *b, unsigned id)
{
	unsigned made = UINT32_MAX;
	int ret = 0;

	while (!ret && made != id && ir_batch_next(b)) {
		made = ir_batch_next(b)->out[0]->id;
		ret = ir_batch_step(b);
	}
	return ret;
}

/* Keeps what f32 gives: what leaves the network as the model has it, the rest as the graph that was quantized. */
static int keep(struct round *r, const struct ir_value *x)
{
	struct ir_batch *from = r->plain && leaves(x) ? r->plain : r->f;
	int ret = from == r->plain ? run_to(from, x->id) : 0;

	keep_new(r, x->id);
	for (unsigned s = 0; s < r->n && !ret; s++)
		memcpy(r->kept[x->id][s], ir_batch_codes(from, s, from == r->plain ? r->c->plain->value[x->id] : x),
		       (size_t)ir_elements(x) * sizeof(float));
	return ret;
}

/* Runs the f32 graph until it has made that value; keeps what will be asked for. */
static int advance(struct round *r, unsigned id)
{
	int ret = 0;

	while (!ret && !r->made[id] && ir_batch_next(r->f)) {
		const struct ir_value *x = ir_batch_next(r->f)->out[0];

		ret = ir_batch_step(r->f);
		r->made[x->id] = true;
		if (!ret && r->c->last[x->id])
			ret = keep(r, x);
	}
	return ret;
}

/* The operands of the operator become what they are in f32, rounded to their formats. */
static void exact_operands(struct round *r, const struct ir_op *op)
{
	for (unsigned i = 0; i < op->ins; i++) {
		const struct ir_value *v = ir_op_in(op, i);
		int id = v && !v->data ? r->c->source[v->id] : -1;

		for (unsigned s = 0; id >= 0 && r->kept[id] && s < r->n; s++)
			mica_quantize((enum mica_dtype)v->dtype, r->kept[id][s], ir_batch_codes(r->alone, s, v), (size_t)ir_elements(v),
				      1 / v->scale, v->zero);
	}
}

/* ---- one layer, all samples ---- */

static void see_channels(const struct compare_layer *l, struct part *p, const float *x, size_t n)
{
	size_t c = l->channels;

	p->lo = ir_alloc(2 * c, sizeof(float));
	p->hi = p->lo + c;
	memcpy(p->lo, x, c * sizeof(float));
	memcpy(p->hi, x, c * sizeof(float));
	for (size_t i = 0; i < n; i++) {
		p->lo[i % c] = fminf(p->lo[i % c], x[i]);
		p->hi[i % c] = fmaxf(p->hi[i % c], x[i]);
	}
}

static void see_range(struct part *p, const float *x, size_t n)
{
	p->min = INFINITY;
	p->max = -INFINITY;
	p->largest = 0;
	for (size_t i = 0; i < n; i++) {
		if (!isfinite(x[i]))
			continue;
		p->min = x[i] < p->min ? x[i] : p->min;
		p->max = x[i] > p->max ? x[i] : p->max;
		if (isfinite(p->y[i]))
			p->largest = fabsf(p->y[i]) > p->largest ? fabsf(p->y[i]) : p->largest;
	}
	p->largest = fmaxf(p->largest, fmaxf(-p->min, p->max));
}

static void measure_sample(void *opaque, int64_t s)
{
	struct measure *m = opaque;
	struct compare_layer *l = m->l;
	struct part *p = &m->part[s];
	const float *x = m->r->kept[l->x->id][s];
	size_t n = (size_t)ir_elements(l->y);
	float *alone = ir_alloc(n, sizeof(*alone));

	p->y = ir_alloc(n, sizeof(float));
	codes_to_values(l->y, ir_batch_codes(m->r->whole, (unsigned)s, l->y), p->y, n);
	codes_to_values(l->y, ir_batch_codes(m->r->alone, (unsigned)s, l->y), alone, n);
	compare_add(&p->whole, &l->limit, x, p->y, n);
	compare_add(&p->alone, &l->limit, x, alone, n);
	see_range(p, x, n);
	if (l->channels)
		see_channels(l, p, x, n);
	free(alone);
}

static void bin_sample(void *opaque, int64_t s)
{
	struct measure *m = opaque;
	struct part *p = &m->part[s];
	size_t n = (size_t)ir_elements(m->l->y);

	p->before = ir_alloc(2 * COMPARE_BINS, sizeof(*p->before));
	p->after = p->before + COMPARE_BINS;
	compare_bins_add(&m->l->bins, p->before, m->r->kept[m->l->x->id][s], n);
	compare_bins_add(&m->l->bins, p->after, p->y, n);
}

static void take_part(struct compare_layer *l, const struct part *p, unsigned sample)
{
	double cosine = compare_cosine(&p->whole);

	compare_merge(&l->whole, &p->whole);
	compare_merge(&l->alone, &p->alone);
	l->min = fminf(l->min, p->min);
	l->max = fmaxf(l->max, p->max);
	if (cosine < l->lowest) {
		l->lowest = cosine;
		l->lowest_sample = sample;
	}
	compare_bins_fit(&l->bins, p->largest);
	for (unsigned i = 0; i < l->channels; i++) {
		l->lo[i] = fminf(l->lo[i], p->lo[i]);
		l->hi[i] = fmaxf(l->hi[i], p->hi[i]);
	}
}

static void take_bins(struct compare_layer *l, const struct part *p)
{
	for (unsigned i = 0; i < COMPARE_BINS; i++) {
		l->bins.before[i] += p->before[i];
		l->bins.after[i] += p->after[i];
	}
}

static void measure(struct round *r, struct compare_layer *l)
{
	struct measure m = { .r = r, .l = l, .part = ir_alloc(r->n, sizeof(*m.part)) };

	parallel_for(r->c->o->threads, r->n, measure_sample, &m);
	for (unsigned s = 0; s < r->n; s++)
		take_part(l, &m.part[s], r->first + s);
	parallel_for(r->c->o->threads, r->n, bin_sample, &m);
	for (unsigned s = 0; s < r->n; s++) {
		take_bins(l, &m.part[s]);
		free(m.part[s].y);
		free(m.part[s].lo);
		free(m.part[s].before);
	}
	free(m.part);
}

/* ---- the walk ---- */

static int load_kept(void *opaque, unsigned sample, const struct ir_value *input, float *dst, size_t n)
{
	struct round *r = opaque;
	unsigned id = (unsigned)r->c->source[input->id];

	memcpy(dst, r->kept[id][sample], n * sizeof(*dst));
	return 0;
}

static int load_kept_f32(void *opaque, unsigned sample, const struct ir_value *input, float *dst, size_t n)
{
	struct round *r = opaque;

	memcpy(dst, r->kept[input->id][sample], n * sizeof(*dst));
	return 0;
}

static int load_inputs(struct round *r)
{
	const struct mica_calib *from = r->c->samples;
	struct ir_graph *f = r->c->f;
	int ret = 0;

	for (unsigned i = 0; i < f->inputs; i++) {
		const struct ir_value *v = f->input[i];

		keep_new(r, v->id);
		r->made[v->id] = true;
		for (unsigned s = 0; s < r->n && !ret; s++)
			ret = from->load(from->opaque, r->first + s, v->name, r->kept[v->id][s], (size_t)ir_elements(v), r->c->q->err);
	}
	if (!ret)
		ret = ir_batch_load(r->f, load_kept_f32, r);
	if (!ret && r->plain)
		ret = ir_batch_load(r->plain, load_kept_f32, r);
	if (!ret)
		ret = ir_batch_load(r->whole, load_kept, r);
	if (!ret)
		ret = ir_batch_load(r->alone, load_kept, r);
	return ret;
}

/* Measures the layers whose value that operator has made; NULL: the graph's inputs. */
static void measure_layers(struct round *r, const struct ir_op *op)
{
	while (r->done < r->c->layers && r->c->layer[r->done].op == op)
		measure(r, &r->c->layer[r->done++]);
}

static int step(struct round *r, const struct ir_op *op, unsigned number)
{
	int source = r->c->source[op->out[0]->id], ret = source < 0 ? 0 : advance(r, (unsigned)source);

	if (ret)
		return ret;
	exact_operands(r, op);
	ret = ir_batch_step(r->whole);
	if (!ret)
		ret = ir_batch_step(r->alone);
	if (!ret)
		measure_layers(r, op);
	for (unsigned i = 0; i < r->c->f->values; i++)
		if (r->c->last[i] && r->c->last[i] <= number)
			keep_free(r, i);
	return ret;
}

static void show(const struct round *r, unsigned number, unsigned steps)
{
	const struct mica_compile_options *o = r->c->o;
	unsigned all = r->c->samples->count;

	if (o->progress)
		o->progress(o->progress_opaque, "compare", r->first * steps + number * r->n, all * steps);
}

static int walk(struct round *r)
{
	unsigned steps = 0, number = 0;
	int ret = load_inputs(r);

	for (const struct ir_op *op = r->c->q->first; op; op = op->next)
		steps++;
	if (!ret)
		measure_layers(r, NULL);
	for (const struct ir_op *op = r->c->q->first; op && !ret; op = op->next) {
		show(r, number, steps);
		ret = step(r, op, ++number);
	}
	return ret;
}

static int run_round(struct compare *c, unsigned first, unsigned n)
{
	struct round r = { .c = c, .first = first, .n = n };
	int ret = 0;

	r.kept = ir_alloc(c->f->values, sizeof(*r.kept));
	r.made = ir_alloc(c->f->values, sizeof(*r.made));
	r.f = ir_batch_new(c->f, n, c->o->threads);
	r.whole = r.f ? ir_batch_new(c->q, n, c->o->threads) : NULL;
	r.alone = r.whole ? ir_batch_new(c->q, n, c->o->threads) : NULL;
	r.plain = r.alone && c->plain ? ir_batch_new(c->plain, n, c->o->threads) : NULL;
	if (!r.alone || (c->plain && !r.plain))
		ret = -(int)(c->q->err->code ? c->q->err->code : MICA_ERR_MEMORY);
	if (!ret)
		ret = walk(&r);
	for (unsigned i = 0; i < c->f->values; i++)
		keep_free(&r, i);
	ir_batch_free(r.f);
	ir_batch_free(r.whole);
	ir_batch_free(r.alone);
	ir_batch_free(r.plain);
	free(r.kept);
	free(r.made);
	return ret;
}

int compare_run(struct compare *c)
{
	size_t f = ir_batch_sample_bytes(c->f), q = ir_batch_sample_bytes(c->q), each = 2 * (f + q) + (c->plain ? f : 0);
	unsigned most = MOST_SAMPLES, n;
	int ret = f == SIZE_MAX || q == SIZE_MAX ? -(int)c->q->err->code : 0;

	while (most > 1 && most * each > MEMORY)
		most--;
	for (unsigned first = 0; first < c->samples->count && !ret; first += n) {
		n = c->samples->count - first < most ? c->samples->count - first : most;
		ret = run_round(c, first, n);
	}
	return ret;
}
