// SPDX-License-Identifier: MIT
/*
 * Centering: where one convolution's output is read by convolutions alone, a constant c may be taken off it (from the bias, and
 * from the ends of ReLU and clip) if the readers' biases take it back: c times the sum of their weights. Values around 0 use the
 * codes of both signs, FP8's error is relative to a smaller value, and the weights' rounding sees x - c instead of x.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "calibrate.h"
#include "repair.h"
#include "grid.h"
#include "quantize.h"

#define SAMPLES	 64 /* are looked at */
#define LOOKED	 16384 /* elements of a value and sample, about */
#define CHOICES	 63 /* of c: none, and so many ratios of the two sides of it */

struct site {
	struct ir_value *v;
	int64_t n; /* channels */
	int dtype; /* what v will be stored in */
	float noise; /* of the readers' weights, relative */
	bool linear; /* every channel may have its own constant */
	float lo, hi; /* where the activation ends, hi by the samples for ReLU; linear: the largest |x| on both sides */
	float *importance; /* by channel: the readers' squared weights */
	float *shift; /* by channel: the choice */
	double (*error)[CHOICES]; /* by sample */
	double *mean; /* by sample and channel */
	float *top; /* by sample */
};

struct center {
	struct ir_graph *g;
	struct site *site; /* may move while they are found */
	unsigned sites, cap, samples;
	int *of; /* by value id: site, or -1 */
	bool second;
};

/* ---- which values ---- */

static bool own_constants(const struct ir_op *op)
{
	return op->kind == IR_CONV && op->in[1]->data && op->in[1]->dtype == MICA_F32 && (!ir_op_in(op, 2) || op->in[2]->data);
}

static bool shifts(const struct ir_op *a)
{
	return own_constants(a) && (a->a.act == MICA_ACT_NONE || a->a.act == MICA_ACT_RELU || a->a.act == MICA_ACT_CLIP);
}

static bool padded(const struct ir_op *b)
{
	return b->a.pad_top || b->a.pad_left || b->a.pad_bottom || b->a.pad_right;
}

/* The format in which v will be stored for its readers; f32: it is no site. */
static int stored_as(const struct ir_value *v)
{
	int dtype = -1;

	for (unsigned i = 0; i < v->uses; i++) {
		const struct ir_op *b = v->use[i];

		if (!own_constants(b))
			return MICA_F32;
		if (b->in[0] != v)
			continue; /* a residual */
		if (padded(b) || (dtype >= 0 && mac_class(dtype) != mac_class(b->format)))
			return MICA_F32;
		dtype = dtype < 0 || b->format == MICA_BF16 || (dtype == MICA_E5M2 && b->format == MICA_E4M3) ?
				b->format :
				dtype;
	}
	return dtype < 0 ? MICA_F32 : dtype;
}

/* Root mean square of what rounding does to a weight, relative to it; int8: to weights of an even spread. */
static float noise_of(const struct ir_value *v)
{
	float most = 0;

	for (unsigned i = 0; i < v->uses; i++) {
		int f = v->use[i]->format;

		most = fmaxf(most, f == MICA_E4M3 ? 0.026f : f == MICA_E5M2 ? 0.052f : f == MICA_I8 ? 0.009f : 0.0016f);
	}
	return most;
}

static void weigh(struct site *s, const struct ir_op *b)
{
	const struct ir_value *w = b->in[1];
	int64_t per = w->dim[3], oc = w->dim[0] / b->a.groups, n = ir_elements(w);
	const float *p = w->data;

	for (int64_t i = 0; i < n; i++)
		s->importance[i / (n / w->dim[0]) / oc * per + i % per] += p[i] * p[i];
}

static void find_sites(struct center *c)
{
	c->of = ir_alloc(c->g->values, sizeof(*c->of));
	for (unsigned i = 0; i < c->g->values; i++) {
		struct ir_value *v = c->g->value[i];
		struct site s = { .v = v };

		c->of[i] = -1;
		if (!v || v->data || !v->def || v->is_output || !v->uses || v->rank != 4 || !shifts(v->def))
			continue;
		s.dtype = stored_as(v);
		if (s.dtype == MICA_F32)
			continue;
		s.n = v->dim[3];
		s.noise = noise_of(v);
		s.linear = v->def->a.act == MICA_ACT_NONE;
		s.lo = v->def->a.act == MICA_ACT_CLIP ? v->def->a.alpha : 0;
		s.importance = ir_alloc((size_t)s.n, sizeof(float));
		s.shift = ir_alloc((size_t)s.n, sizeof(float));
		s.error = ir_alloc(c->samples, sizeof(*s.error));
		s.mean = ir_alloc(c->samples * (size_t)s.n, sizeof(double));
		s.top = ir_alloc(c->samples, sizeof(float));
		for (unsigned k = 0; k < v->uses; k++)
			if (v->use[k]->in[0] == v)
				weigh(&s, v->use[k]);
		c->of[i] = (int)c->sites;
		c->site = ir_grow(c->site, &c->cap, c->sites + 1, sizeof(*c->site));
		c->site[c->sites++] = s;
	}
}

/* ---- what the samples say ---- */

/*
 * One side of c is r times as long as the other, 448 r a number that e4m3 has, so that both ends of the range (zeroes behind a ReLU, the
 * clip) stay exact.
 */
float center_choice(float lo, float hi, unsigned k)
{
	unsigned half = (CHOICES - 1) / 2;
	uint8_t code = (uint8_t)(0x7e - (k - 1) % half); /* from 448 down */
	float r;

	if (!k)
		return 0;
	mica_dequantize(MICA_E4M3, &code, &r, 1, 1.0f / 448, 0);
	return lo + (hi - lo) * (k <= half ? r : 1) / (1 + r);
}

/* What rounding the elements of some pixels does to the readers' outputs, when x - c is stored: squared, summed. */
static double error_of(const struct site *s, const float *x, size_t n, unsigned k)
{
	size_t channels = (size_t)s->n, step = n / LOOKED + 1;
	float c = s->linear ? 0 : center_choice(s->lo, s->hi, k), top = fmaxf(fabsf(s->lo - c), fabsf(s->hi - c)),
	      scale = scale_for(top, s->dtype), inv = 1 / scale;
	double sum = 0;

	for (size_t p = 0; p + channels <= n; p += step * channels)
		for (size_t i = 0; i < channels; i++) {
			float y = x[p + i] - (s->linear && k ? s->shift[i] : c), d = 0;

			if (is_8bit(s->dtype))
				d = y - scale * grid_nearest(s->dtype, y * inv);
			sum += (double)(s->importance[i] * (d * d + s->noise * s->noise * y * y));
		}
	return sum;
}

static unsigned choices(const struct site *s)
{
	return s->linear ? 2 : CHOICES;
}

static void see(void *opaque, unsigned worker, unsigned sample, const struct ir_value *v, const float *x, size_t n)
{
	struct center *c = opaque;
	struct site *s = c->of[v->id] < 0 ? NULL : &c->site[c->of[v->id]];

	(void)worker;
	if (!s)
		return;
	if (c->second) {
		for (unsigned k = 0; k < choices(s); k++)
			s->error[sample][k] = error_of(s, x, n, k);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		s->top[sample] = fmaxf(s->top[sample], fabsf(x[i]));
		s->mean[sample * (size_t)s->n + i % (size_t)s->n] += (double)x[i] / ((double)n / (double)s->n);
	}
}

static void settle_range(struct center *c, struct site *s)
{
	for (unsigned k = 0; k < c->samples; k++) {
		s->hi = fmaxf(s->hi, s->top[k]);
		for (int64_t i = 0; i < s->n; i++)
			s->shift[i] += (float)(s->mean[k * (size_t)s->n + (size_t)i] / c->samples);
	}
	if (s->v->def->a.act == MICA_ACT_CLIP)
		s->hi = fminf(s->hi, s->v->def->a.beta);
	if (s->linear || s->lo < -s->hi)
		s->lo = -s->hi;
}

static int watch(struct center *c, const struct mica_compile_options *o)
{
	struct mica_compile_options few = *o;
	struct calib_sink sink = { see, c, "centers" };
	int r;

	few.calib.count = c->samples;
	r = calib_run(c->g, &few, &sink);
	for (unsigned i = 0; i < c->sites && !r; i++)
		settle_range(c, &c->site[i]);
	c->second = true;
	return r ? r : calib_run(c->g, &few, &sink);
}

/* ---- application ---- */

static float *own_bias(struct ir_graph *g, struct ir_op *op)
{
	struct ir_value *b = ir_op_in(op, 2);

	if (!b || b->uses > 1)
		ir_op_set_in(op, 2, ir_const_new(g, b ? b->name : NULL, MICA_F32, 1, op->in[1]->dim, b ? b->data : NULL));
	return op->in[2]->data;
}

static void give_back(struct ir_graph *g, struct ir_op *b, const struct site *s)
{
	const struct ir_value *w = b->in[1];
	int64_t per = w->dim[3], oc = w->dim[0] / b->a.groups, k = ir_elements(w) / w->dim[0];
	float *bias = own_bias(g, b);

	for (int64_t o = 0; o < w->dim[0]; o++) {
		double sum = bias[o];

		for (int64_t i = 0; b->in[0] == s->v && i < k; i++)
			sum += (double)((const float *)w->data)[o * k + i] * s->shift[o / oc * per + i % per];
		if (ir_op_in(b, 3) == s->v)
			sum += s->shift[o];
		bias[o] = (float)sum;
	}
}

static void take_off(struct ir_graph *g, const struct site *s)
{
	struct ir_op *a = s->v->def;
	float *bias = own_bias(g, a);

	for (int64_t i = 0; i < s->n; i++)
		bias[i] -= s->shift[i];
	if (a->a.act == MICA_ACT_NONE)
		return;
	a->a.beta = a->a.act == MICA_ACT_CLIP ? a->a.beta - s->shift[0] : FLT_MAX;
	a->a.alpha = (a->a.act == MICA_ACT_CLIP ? a->a.alpha : 0) - s->shift[0];
	a->a.act = MICA_ACT_CLIP;
}

/* Chooses; false: it is best as it is. */
static bool choose(const struct center *c, struct site *s)
{
	double least = INFINITY;
	unsigned best = 0;

	for (unsigned k = 0; k < choices(s); k++) {
		double sum = 0;

		for (unsigned i = 0; i < c->samples; i++)
			sum += s->error[i][k];
		if (sum < least) {
			least = sum;
			best = k;
		}
	}
	for (int64_t i = 0; !s->linear && i < s->n; i++)
		s->shift[i] = center_choice(s->lo, s->hi, best);
	return best;
}

static void free_sites(struct center *c)
{
	for (unsigned i = 0; i < c->sites; i++) {
		free(c->site[i].importance);
		free(c->site[i].shift);
		free(c->site[i].error);
		free(c->site[i].mean);
		free(c->site[i].top);
	}
	free(c->site);
	free(c->of);
}

int center_values(struct ir_graph *g, const struct mica_compile_options *o)
{
	struct center c = { .g = g, .samples = repair_samples(o) < SAMPLES ? repair_samples(o) : SAMPLES };
	unsigned moved = 0;
	int r = quantize_formats(g, o);

	if (r)
		return r;
	find_sites(&c);
	r = c.sites ? watch(&c, o) : 0;
	for (unsigned i = 0; i < c.sites && !r; i++) {
		struct site *s = &c.site[i];

		if (!choose(&c, s))
			continue;
		take_off(g, s);
		repair_mark(g, s->shift, s->n);
		for (unsigned k = 0; k < s->v->uses; k++)
			if (!k || s->v->use[k] != s->v->use[k - 1])
				give_back(g, s->v->use[k], s);
		moved++;
	}
	if (!r && !o->quiet)
		fprintf(stderr, "mica: repair center: %u of %u values between convolutions centered\n", moved, c.sites);
	free_sites(&c);
	return r;
}
