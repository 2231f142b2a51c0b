// SPDX-License-Identifier: MIT
/*
 * Cross-layer equalization: where one convolution's output is read by one other convolution alone, channel c between them
 * may be divided by any s[c] > 0 if the second one's weights are multiplied by it. That evens out ranges within a tensor.
 * Branches, sums and outputs are left alone. Behind it, what a ReLU never goes below moves into the next bias.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "calibrate.h"
#include "repair.h"

#define MOST	 64 /* conv-conv pairs are gone over until nothing changes, at most so often */
#define CHANGE	 1e-3 /* of a logarithm of a factor */
#define HEADROOM 1.25f /* below a clip for values larger than those of the samples */
#define FARTHEST 65536.0f /* factors stay within 1/FARTHEST .. FARTHEST */

struct link {
	struct ir_op *a, *b;
	int64_t n; /* channels between them */
	bool direct; /* nothing stands in between */
	bool clip; /* a ends in a clip at 0 and a.beta */
	float *lo, *hi; /* by channel of a's output, over the samples; NULL without samples */
	float *total; /* the product of the factors */
};

struct equalize {
	struct ir_graph *g;
	const struct mica_compile_options *o;
	struct link *link;
	unsigned links, cap;
	struct link **of; /* by value id: the link whose a makes the value */
	unsigned workers;
	float **part; /* by worker and link: lo[n], hi[n] */
};

/* ---- which pairs ---- */

/* s * f(x) = f(s * x) for every s > 0, channel by channel. */
static bool passes_factors(const struct ir_op *op)
{
	return op->kind == IR_POOL || op->kind == IR_RESIZE ||
	       (op->kind == IR_PAD && op->a.pad_value == 0);
}

static bool private_value(const struct ir_value *v)
{
	return v && v->uses == 1 && !v->is_output && !v->is_input && v->def;
}

static bool own_weights(const struct ir_op *op)
{
	return op->in[1]->data && op->in[1]->dtype == MICA_F32 &&
	       (!ir_op_in(op, 2) || op->in[2]->data);
}

static bool scales(const struct ir_op *op)
{
	return op->a.act == MICA_ACT_NONE || op->a.act == MICA_ACT_RELU ||
	       op->a.act == MICA_ACT_LEAKY ||
	       (op->a.act == MICA_ACT_CLIP && op->a.alpha == 0 && op->a.beta > 0);
}

/* Pads along the channels would shift them. */
static bool keeps_channels(const struct ir_op *op)
{
	const struct ir_value *x = op->in[0], *y = op->out[0];

	return x->rank == 4 && y->rank == 4 && x->dim[3] == y->dim[3];
}

static struct ir_op *first_of_pair(struct ir_op *b, bool *direct)
{
	struct ir_value *v = b->in[0];

	*direct = true;
	while (private_value(v) && passes_factors(v->def) && keeps_channels(v->def)) {
		v = v->def->in[0];
		*direct = false;
	}
	return private_value(v) && v->def->kind == IR_CONV ? v->def : NULL;
}

static void find_links(struct equalize *e)
{
	for (struct ir_op *b = e->g->first; b; b = b->next) {
		struct link l = { .b = b };

		if (b->kind != IR_CONV || !own_weights(b))
			continue;
		l.a = first_of_pair(b, &l.direct);
		if (!l.a || !own_weights(l.a) || ir_op_in(l.a, 3) || !scales(l.a))
			continue;
		l.n = l.a->out[0]->dim[3];
		l.clip = l.a->a.act == MICA_ACT_CLIP;
		if (l.clip && !e->o->calib.count)
			continue; /* nobody knows which channels reach the clip */
		l.total = ir_alloc((size_t)l.n, sizeof(float));
		for (int64_t c = 0; c < l.n; c++)
			l.total[c] = 1;
		e->link = ir_grow(e->link, &e->cap, e->links + 1, sizeof(*e->link));
		e->link[e->links++] = l;
	}
}

/* ---- what the samples show of the channels ---- */

static void see(void *opaque, unsigned worker, unsigned sample, const struct ir_value *v,
		const float *x, size_t n)
{
	struct equalize *e = opaque;
	struct link *l = e->of[v->id];
	float *lo, *hi;

	(void)sample;
	if (!l)
		return;
	lo = e->part[worker * e->links + (unsigned)(l - e->link)];
	hi = lo + l->n;
	for (size_t i = 0; i < n; i += (size_t)l->n) {
		for (int64_t c = 0; c < l->n; c++) {
			float y = x[i + (size_t)c];

			lo[c] = y < lo[c] ? y : lo[c];
			hi[c] = y > hi[c] ? y : hi[c];
		}
	}
}

static float *new_part(int64_t n)
{
	float *p = ir_alloc((size_t)n, 2 * sizeof(*p));

	for (int64_t c = 0; c < n; c++) {
		p[c] = INFINITY;
		p[n + c] = -INFINITY;
	}
	return p;
}

static void merge_parts(struct equalize *e)
{
	for (unsigned k = 0; k < e->links; k++) {
		struct link *l = &e->link[k];

		l->lo = new_part(l->n);
		l->hi = l->lo + l->n;
		for (unsigned w = 0; w < e->workers; w++) {
			float *p = e->part[w * e->links + k];

			for (int64_t c = 0; c < l->n; c++) {
				l->lo[c] = fminf(l->lo[c], p[c]);
				l->hi[c] = fmaxf(l->hi[c], p[l->n + c]);
			}
			free(p);
		}
	}
}

static int watch_channels(struct equalize *e)
{
	struct calib_sink sink = { see, e, "channels" };
	int r;

	e->workers = calib_workers(e->o);
	e->of = ir_alloc(e->g->values, sizeof(struct link *));
	e->part = ir_alloc((size_t)e->workers * e->links, sizeof(float *));
	for (unsigned k = 0; k < e->links; k++) {
		e->of[e->link[k].a->out[0]->id] = &e->link[k];
		for (unsigned w = 0; w < e->workers; w++)
			e->part[w * e->links + k] = new_part(e->link[k].n);
	}
	r = calib_run(e->g, e->o, &sink);
	merge_parts(e);
	free(e->of);
	free(e->part);
	return r;
}

/* ---- factors ---- */

/* Where the weights for input channel c begin, in b's [oc,kh,kw,c/groups], and which output channels read it. */
static void readers(const struct ir_op *b, int64_t c, int64_t *in, int64_t *first, int64_t *count)
{
	int64_t per = b->in[1]->dim[3], oc = b->in[1]->dim[0] / b->a.groups;

	*in = c % per;
	*first = c / per * oc;
	*count = oc;
}

static float largest_row(const struct ir_value *w, int64_t oc)
{
	int64_t n = ir_elements(w) / w->dim[0];
	const float *p = (const float *)w->data + oc * n;
	float most = 0;

	for (int64_t i = 0; i < n; i++)
		most = fmaxf(most, fabsf(p[i]));
	return most;
}

static float largest_column(const struct ir_op *b, int64_t c)
{
	const struct ir_value *w = b->in[1];
	int64_t in, first, count, per = w->dim[3], taps = w->dim[1] * w->dim[2];
	float most = 0;

	readers(b, c, &in, &first, &count);
	for (int64_t o = first; o < first + count; o++)
		for (int64_t t = 0; t < taps; t++)
			most = fmaxf(most,
				     fabsf(((const float *)w->data)[(o * taps + t) * per + in]));
	return most;
}

/* A channel that reaches the clip stays; others may grow up to it. */
static float within_clip(const struct link *l, int64_t c, float s)
{
	float top = l->a->a.beta, most;

	if (!l->clip)
		return s;
	most = l->hi[c] / l->total[c] * HEADROOM;
	if (most >= top)
		return 1;
	return fmaxf(s, most / top);
}

static float factor(const struct link *l, int64_t c)
{
	float first = largest_row(l->a->in[1], c), second = largest_column(l->b, c), s;

	if (!(first > 0) || !(second > 0))
		return 1;
	s = within_clip(l, c, sqrtf(first / second));
	return s * l->total[c] < 1 / FARTHEST || s * l->total[c] > FARTHEST || !isfinite(s) ? 1 : s;
}

/* ---- application ---- */

static void divide_row(struct ir_op *a, int64_t c, float s)
{
	struct ir_value *w = a->in[1], *bias = ir_op_in(a, 2);
	int64_t n = ir_elements(w) / w->dim[0];

	for (int64_t i = 0; i < n; i++)
		((float *)w->data)[c * n + i] /= s;
	if (bias)
		((float *)bias->data)[c] /= s;
}

static void multiply_column(struct ir_op *b, int64_t c, float s)
{
	struct ir_value *w = b->in[1];
	int64_t in, first, count, per = w->dim[3], taps = w->dim[1] * w->dim[2];

	readers(b, c, &in, &first, &count);
	for (int64_t o = first; o < first + count; o++)
		for (int64_t t = 0; t < taps; t++)
			((float *)w->data)[(o * taps + t) * per + in] *= s;
}

/* The largest change of a factor, as a logarithm. */
static float equalize_pair(struct link *l)
{
	float change = 0;

	for (int64_t c = 0; c < l->n; c++) {
		float s = factor(l, c);

		if (s == 1)
			continue;
		divide_row(l->a, c, s);
		multiply_column(l->b, c, s);
		l->total[c] *= s;
		change = fmaxf(change, fabsf(logf(s)));
	}
	return change;
}

static void own_const(struct ir_graph *g, struct ir_op *op, unsigned i)
{
	struct ir_value *v = ir_op_in(op, i);

	if (v && v->uses > 1)
		ir_op_set_in(op, i, ir_const_new(g, v->name, v->dtype, v->rank, v->dim, v->data));
}

static void equalize_all(struct equalize *e)
{
	float change = 1;

	for (unsigned k = 0; k < e->links; k++)
		for (unsigned i = 1; i <= 2; i++) {
			own_const(e->g, e->link[k].a, i);
			own_const(e->g, e->link[k].b, i);
		}
	for (unsigned round = 0; round < MOST && change > CHANGE; round++) {
		change = 0;
		for (unsigned k = 0; k < e->links; k++)
			change = fmaxf(change, equalize_pair(&e->link[k]));
	}
}

/* ---- bias absorption ---- */

/* A ReLU channel that never went below c > 0: c leaves a's bias and comes back through b's, where no padding reads 0 instead. */
static unsigned absorb(struct ir_graph *g, struct link *l)
{
	struct ir_op *a = l->a, *b = l->b;
	unsigned moved = 0;
	struct ir_value *bias;

	if (!l->lo || !l->direct || a->a.act != MICA_ACT_RELU || !ir_op_in(a, 2) || b->a.pad_top ||
	    b->a.pad_left || b->a.pad_bottom || b->a.pad_right)
		return 0;
	if (!ir_op_in(b, 2))
		ir_op_set_in(b, 2, ir_const_new(g, NULL, MICA_F32, 1, b->in[1]->dim, NULL));
	bias = b->in[2];
	for (int64_t c = 0; c < l->n; c++) {
		float shift = l->lo[c] / l->total[c];
		int64_t in, first, count, per = b->in[1]->dim[3],
					  taps = b->in[1]->dim[1] * b->in[1]->dim[2];

		if (!(shift > 0) || !isfinite(shift))
			continue;
		((float *)a->in[2]->data)[c] -= shift;
		readers(b, c, &in, &first, &count);
		for (int64_t o = first; o < first + count; o++)
			for (int64_t t = 0; t < taps; t++)
				((float *)bias->data)[o] +=
					shift *
					((float *)b->in[1]->data)[(o * taps + t) * per + in];
		moved++;
	}
	return moved;
}

void repair_mark(struct ir_graph *g, const float *x, int64_t n)
{
	uint32_t h = g->equalized ? g->equalized : 2166136261u;

	for (int64_t i = 0; i < n; i++) {
		uint32_t bits;

		memcpy(&bits, &x[i], 4);
		h = (h ^ bits) * 16777619u;
	}
	g->equalized = h ? h : 1;
}

static void free_links(struct equalize *e)
{
	for (unsigned k = 0; k < e->links; k++) {
		free(e->link[k].lo);
		free(e->link[k].total);
	}
	free(e->link);
}

static int equalize(struct ir_graph *g, const struct mica_compile_options *o)
{
	struct equalize e = { .g = g, .o = o };
	unsigned moved = 0;
	int r = 0;

	find_links(&e);
	if (e.links && o->calib.count)
		r = watch_channels(&e);
	if (e.links && !r) {
		equalize_all(&e);
		for (unsigned k = 0; k < e.links; k++)
			moved += absorb(g, &e.link[k]);
		for (unsigned k = 0; k < e.links; k++)
			repair_mark(g, e.link[k].total, e.link[k].n);
	}
	if (!r && !o->quiet)
		fprintf(stderr,
			"mica: repair cle: %u pairs of layers equalized, %u channels' biases "
			"absorbed\n",
			e.links, moved);
	free_links(&e);
	return r;
}

static bool quantizes(const struct ir_graph *g, const struct mica_compile_options *o)
{
	return !g->qdq && (o->format == MICA_E4M3 || o->format == MICA_E5M2 ||
			   o->format == MICA_I8 || o->qtable);
}

/* A way of quantizing that is a repair: it stays when it is better than without. */
static int try_way(struct ir_graph *g, const struct mica_compile_options *o, unsigned bit, const char *what, unsigned *done)
{
	bool worse = false;
	int r;

	if (!(o->repair & bit))
		return 0;
	r = quality_report_copy(g, o, what, *done | bit, &worse);
	if (worse)
		g->refused |= bit;
	else
		*done |= bit;
	return r;
}

static int try_pass(struct ir_graph *g, const struct mica_compile_options *o, int (*pass)(struct ir_graph *g,
		    const struct mica_compile_options *o), const char *what, unsigned done)
{
	struct ir_graph *old = repair_keep(g);
	int r = pass(g, o);

	if (!r)
		return repair_settle(g, o, old, what, (int)done);
	ir_graph_free(old);
	return r;
}

/* What is asked for and cannot be done is not left out in silence. */
static void warn_of_no_samples(const struct ir_graph *g, const struct mica_compile_options *o)
{
	unsigned r = o->repair;

	if (r & (MICA_REPAIR_CENTER | MICA_REPAIR_ADAROUND | MICA_REPAIR_BIAS) && !o->quiet)
		fprintf(stderr, "mica: WARNING: %s: without calibration samples (--calib, and a method but none) these repairs are left out:%s%s%s\n", g->name,
			r & MICA_REPAIR_CENTER ? " center" : "", r & MICA_REPAIR_ADAROUND ? " adaround" : "", r & MICA_REPAIR_BIAS ? " bias" : "");
}

/* The repairs of the f32 graph, and those that say how it is quantized; each is measured when there are samples. */
int pass_equalize(struct ir_graph *g, const struct mica_compile_options *o)
{
	bool measure = o->repair && o->calib.count && o->method != MICA_METHOD_NONE, worse;
	unsigned done = 0;
	int r = 0;

	if (!o->repair || !quantizes(g, o))
		return 0;
	if (!measure)
		warn_of_no_samples(g, o);
	if (measure) {
		r = quality_begin(g, o);
		if (!r)
			r = quality_report_copy(g, o, "before repairs", 0, &worse);
	}
	if (!r && o->repair & MICA_REPAIR_CLE)
		r = try_pass(g, o, equalize, "cle", done);
	if (!r && measure)
		r = try_way(g, o, MICA_REPAIR_WMSE, "wmse", &done);
	if (!r && measure)
		r = try_way(g, o, MICA_REPAIR_DEPTHWISE, "depthwise", &done);
	if (!r && measure && o->repair & MICA_REPAIR_CENTER)
		r = try_pass(g, o, center_values, "center", done);
	if (!r && measure && o->repair & (MICA_REPAIR_ADAROUND | MICA_REPAIR_BIAS))
		g->reference = ir_graph_clone(g);
	return r;
}
