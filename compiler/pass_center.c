// SPDX-License-Identifier: MIT
/*
 * Centering: where one convolution's output is read by convolutions alone, every channel may have a constant taken off it, in
 * front of the activation (where there is none: from the bias) or behind it, if the readers' biases take it back: c times the sum
 * of their weights. Values around 0 use the codes of both signs, FP8's error is relative to a smaller value, and the weights'
 * rounding sees x - c instead of x.
 */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "calibrate.h"
#include "repair.h"
#include "grid.h"
#include "quantize.h"

#define SAMPLES	 64 /* are looked at */
#define LOOKED	 16384 /* elements of a value and sample, about */
#define CHOICES	 64 /* of c: none, the mean, and parts of the range */
#define MOST	 0x1p55 /* of a sample's error: SAMPLES of them fit 64 bits */
#define UNIT	 0x1p38 /* sums of errors are integers, so that they don't depend on the threads */

struct site {
	struct ir_value *v;
	int64_t n; /* channels */
	int dtype; /* what v will be stored in */
	float noise; /* of the readers' weights, relative */
	float lo, hi; /* of all channels */
	float *shift; /* by channel: the choice */
	float *low, *high; /* by channel: the range */
	double *mean; /* by sample and channel */
	int64_t (*error)[CHOICES]; /* by channel, in parts of the squared range */
	pthread_mutex_t lock; /* of low, high and error */
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

/* A product of i8 codes has no constants behind its activation (and its zero point does the same for all channels). */
static bool shifts(const struct ir_op *a)
{
	return own_constants(a) && !ir_op_in(a, 4) && (a->a.act == MICA_ACT_NONE || mac_class(a->format) != mac_class(MICA_I8));
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

/* Root mean square of what rounding does to a weight, relative to it; int8: to weights whose largest is four times their own. */
static float noise_of(const struct ir_value *v)
{
	float most = 0;

	for (unsigned i = 0; i < v->uses; i++) {
		int f = v->use[i]->format;

		most = fmaxf(most, f == MICA_E4M3 ? 0.026f : f == MICA_E5M2 ? 0.052f : f == MICA_I8 ? 0.009f : 0.0016f);
	}
	return most;
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
		s.shift = ir_alloc((size_t)s.n * 3, sizeof(float));
		s.low = s.shift + s.n;
		s.high = s.low + s.n;
		s.error = ir_alloc((size_t)s.n, sizeof(*s.error));
		s.mean = ir_alloc(c->samples * (size_t)s.n, sizeof(double));
		for (int64_t k = 0; k < s.n; k++) {
			s.low[k] = INFINITY;
			s.high[k] = -INFINITY;
		}
		c->of[i] = (int)c->sites;
		c->site = ir_grow(c->site, &c->cap, c->sites + 1, sizeof(*c->site));
		c->site[c->sites++] = s;
	}
}

/* ---- what the samples say ---- */

/* Candidate k for a channel: 0, its mean, and what is a code's part of the whole range from its lower end: of e4m3's from 448 down. */
static float choice(const struct site *s, int64_t channel, unsigned k)
{
	uint8_t code = (uint8_t)(0x80 - k);
	float part;

	if (k < 2)
		return k ? s->shift[channel] : 0;
	mica_dequantize(MICA_E4M3, &code, &part, 1, 1.0f / 448, 0);
	return s->lo + (s->hi - s->lo) * part;
}

/* What rounding the elements of some pixels of a channel does to them when x - c is stored, and to their products: squared, summed. */
static double error_of(const struct site *s, const float *x, size_t n, size_t step, float c)
{
	float scale = scale_for(s->hi - s->lo, s->dtype), inv = 1 / scale;
	double sum = 0;

	for (size_t p = 0; p < n; p += step) {
		float y = x[p] - c, d = is_8bit(s->dtype) ? y - scale * grid_nearest(s->dtype, y * inv) : 0;

		sum += (double)(d * d + s->noise * s->noise * y * y);
	}
	return sum;
}

static void see_errors(struct site *s, const float *x, size_t n)
{
	size_t channels = (size_t)s->n, step = (n / LOOKED + 1) * channels;
	double unit = UNIT / ((double)(s->hi - s->lo) * (s->hi - s->lo));

	if (!(s->hi > s->lo))
		return;
	for (size_t i = 0; i < channels; i++) {
		int64_t error[CHOICES];

		for (unsigned k = 0; k < CHOICES; k++) {
			double e = unit * error_of(s, x + i, n - i, step, choice(s, (int64_t)i, k));

			error[k] = (int64_t)(e < MOST ? e : MOST);	/* NaN, too: then no constant is better than none */
		}
		pthread_mutex_lock(&s->lock);
		for (unsigned k = 0; k < CHOICES; k++)
			s->error[i][k] += error[k];
		pthread_mutex_unlock(&s->lock);
	}
}

static void see_range(struct site *s, unsigned sample, const float *x, size_t n)
{
	size_t channels = (size_t)s->n, pixels = n / channels;

	for (size_t i = 0; i < channels; i++) {
		float low = INFINITY, high = -INFINITY;
		double sum = 0;

		for (size_t p = i; p < n; p += channels) {
			low = fminf(low, x[p]);
			high = fmaxf(high, x[p]);
			sum += (double)x[p];
		}
		s->mean[sample * channels + i] = sum / (double)pixels;
		pthread_mutex_lock(&s->lock);
		s->low[i] = fminf(s->low[i], low);
		s->high[i] = fmaxf(s->high[i], high);
		pthread_mutex_unlock(&s->lock);
	}
}

static void see(void *opaque, unsigned worker, unsigned sample, const struct ir_value *v, const float *x, size_t n)
{
	struct center *c = opaque;
	struct site *s = c->of[v->id] < 0 ? NULL : &c->site[c->of[v->id]];

	(void)worker;
	if (s && c->second)
		see_errors(s, x, n);
	else if (s)
		see_range(s, sample, x, n);
}

static void settle_range(struct center *c, struct site *s)
{
	s->lo = INFINITY;
	s->hi = -INFINITY;
	for (int64_t i = 0; i < s->n; i++) {
		double mean = 0;

		for (unsigned k = 0; k < c->samples; k++)
			mean += s->mean[k * (size_t)s->n + (size_t)i];
		s->shift[i] = (float)(mean / c->samples);
		s->lo = fminf(s->lo, s->low[i]);
		s->hi = fmaxf(s->hi, s->high[i]);
	}
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
	float *bias;

	if (a->a.act == MICA_ACT_NONE) {
		bias = own_bias(g, a);
		for (int64_t i = 0; i < s->n; i++)
			bias[i] -= s->shift[i];
		return;
	}
	ir_op_set_in(a, 4, ir_const_new(g, NULL, MICA_F32, 1, a->in[1]->dim, NULL));
	for (int64_t i = 0; i < s->n; i++)
		((float *)a->in[4]->data)[i] = -s->shift[i];
}

/*
 * The lower end of a range is where ReLU and clip have put many values: it stays exact where c is a code's distance from it, in
 * the scale that the largest distance of all gives.
 */
static void align(struct site *s)
{
	float top = 0, scale;

	for (int64_t i = 0; i < s->n; i++)
		top = fmaxf(top, fmaxf(s->shift[i] - s->low[i], s->high[i] - s->shift[i]));
	scale = scale_for(top, s->dtype);
	for (int64_t i = 0; i < s->n && is_8bit(s->dtype) && top > 0; i++) {
		float c = s->lo + scale * grid_nearest(s->dtype, (s->shift[i] - s->lo) / scale);

		if (fmaxf(c - s->low[i], s->high[i] - c) <= top)
			s->shift[i] = c;
	}
}

/* Chooses; false: it is best as it is. */
static bool choose(struct site *s)
{
	bool moved = false;

	for (int64_t i = 0; i < s->n; i++) {
		unsigned best = 0;

		for (unsigned k = 1; k < CHOICES; k++)
			if (s->error[i][k] < s->error[i][best])
				best = k;
		s->shift[i] = choice(s, i, best);
		moved = moved || best;
	}
	if (moved && s->v->def->a.act != MICA_ACT_NONE)
		align(s);
	return moved;
}

static void free_sites(struct center *c)
{
	for (unsigned i = 0; i < c->sites; i++) {
		free(c->site[i].shift);
		free(c->site[i].error);
		free(c->site[i].mean);
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
	for (unsigned i = 0; i < c.sites; i++)
		pthread_mutex_init(&c.site[i].lock, NULL);
	r = c.sites ? watch(&c, o) : 0;
	for (unsigned i = 0; i < c.sites && !r; i++) {
		struct site *s = &c.site[i];

		if (!choose(s))
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
