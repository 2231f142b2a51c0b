// SPDX-License-Identifier: MIT
/*
 * Calibration: the f32 graph runs on the samples, every value keeps the range it showed and, for methods that need it, a
 * histogram of |x|. The method then says at which threshold values are clipped.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "front.h"

#define BINS	   2048
#define LEVELS	   128 /* KL: what an 8-bit format can tell apart on one side */
#define PERCENTILE 0.9999
#define KL_TAIL \
	0.001 /* the most that KL may clip: spikes (backgrounds, relu6) mislead the divergence */

struct stats {
	float min, max;
	float range; /* upper end of the histogram; 0: nothing seen but zeroes */
	uint64_t count;
	uint64_t *bin; /* BINS, or NULL when the method needs none */
};

struct calibration {
	struct ir_graph *g;
	const struct mica_compile_options *o;
	struct stats *stats; /* by value id */
	unsigned sample;
};

/* ---- collecting ---- */

/* Doubles the range, pairs of bins become one, until it holds amax. */
static void widen(struct stats *s, float amax)
{
	if (s->range == 0)
		s->range = amax;
	while (s->range < amax && s->range < 1e38f) {
		for (unsigned i = 0; i < BINS; i++)
			s->bin[i] = i < BINS / 2 ? s->bin[2 * i] + s->bin[2 * i + 1] : 0;
		s->range *= 2;
	}
}

static void add(struct stats *s, const float *x, size_t n, bool histogram)
{
	float lo = s->count ? s->min : INFINITY, hi = s->count ? s->max : -INFINITY, amax, scale;

	for (size_t i = 0; i < n; i++) {
		lo = x[i] < lo && x[i] > -INFINITY ? x[i] : lo;
		hi = x[i] > hi && x[i] < INFINITY ? x[i] : hi;
	}
	if (lo > hi)
		lo = hi = 0;
	s->min = lo;
	s->max = hi;
	s->count += n;
	if (!histogram)
		return;
	if (!s->bin)
		s->bin = ir_alloc(BINS, sizeof(*s->bin));
	amax = fmaxf(fabsf(lo), fabsf(hi));
	if (amax == 0) {
		s->bin[0] += n;
		return;
	}
	widen(s, amax);
	scale = BINS / s->range;
	for (size_t i = 0; i < n; i++) {
		float b = fabsf(x[i]) * scale;

		s->bin[b < BINS - 1 ? (unsigned)b : BINS - 1]++;
	}
}

static void see(void *opaque, const struct ir_value *v, const void *codes, size_t n)
{
	struct calibration *c = opaque;

	if (v->dtype == MICA_F32)
		add(&c->stats[v->id], codes, n, c->o->method != MICA_METHOD_MAX);
}

static int load(void *opaque, const struct ir_value *input, float *dst, size_t n)
{
	struct calibration *c = opaque;

	return c->o->calib.load(c->o->calib.opaque, c->sample, input->name, dst, n, c->g->err);
}

/* ---- thresholds ---- */

/* Upper end of the first bins that hold the share of all values. */
static float percentile(const struct stats *s, double share)
{
	uint64_t total = 0, sum = 0;

	for (unsigned i = 0; i < BINS; i++)
		total += s->bin[i];
	for (unsigned i = 0; i < BINS; i++) {
		sum += s->bin[i];
		if ((double)sum >= share * (double)total)
			return s->range * (float)(i + 1) / BINS;
	}
	return s->range;
}

/* Divergence of the first n bins (the rest counted into the last) from themselves seen through LEVELS levels. */
static double divergence(const double *p, unsigned n, double outliers)
{
	double sum_p = outliers, sum_q = 0, kl = 0, level[LEVELS];
	unsigned filled[LEVELS];

	memset(level, 0, sizeof(level));
	memset(filled, 0, sizeof(filled));
	for (unsigned i = 0; i < n; i++) {
		unsigned k = (unsigned)((uint64_t)i * LEVELS / n);

		sum_p += p[i];
		level[k] += p[i];
		filled[k] += p[i] > 0;
	}
	for (unsigned k = 0; k < LEVELS; k++)
		sum_q += level[k];
	if (sum_q == 0)
		return INFINITY;
	for (unsigned i = 0; i < n; i++) {
		unsigned k = (unsigned)((uint64_t)i * LEVELS / n);
		double pi = (p[i] + (i == n - 1 ? outliers : 0)) / sum_p, qi;

		if (pi == 0)
			continue;
		qi = p[i] > 0 ? level[k] / filled[k] / sum_q : 1e-12;
		kl += pi * log(pi / qi);
	}
	return kl;
}

static float kl_threshold(const struct stats *s)
{
	double p[BINS], tail = 0, least = INFINITY, total = 0;
	unsigned best = BINS;

	for (unsigned i = 0; i < BINS; i++)
		p[i] = (double)s->bin[i];
	p[0] = p[1]; /* exact zeroes cost nothing in any scale */
	for (unsigned i = 0; i < BINS; i++)
		total += p[i];
	for (unsigned n = BINS; n >= LEVELS && tail <= KL_TAIL * total; n--) {
		double kl = divergence(p, n, tail);

		if (kl < least) {
			least = kl;
			best = n;
		}
		tail += p[n - 1];
	}
	return s->range * (float)best / BINS;
}

static float mse_threshold(const struct stats *s, enum mica_dtype t)
{
	float x[BINS], y[BINS], best = s->range;
	uint8_t code[BINS];
	double least = INFINITY;

	for (unsigned i = 0; i < BINS; i++)
		x[i] = s->range * ((float)i + 0.5f) / BINS;
	for (unsigned k = 100; k >= 10; k--) {
		float clip = s->range * (float)k / 100, scale = clip / mica_largest(t);
		double sum = 0;

		if (!(scale > 0) || !isfinite(1 / scale))
			break;
		mica_quantize(t, x, code, BINS, 1 / scale, 0);
		mica_dequantize(t, code, y, BINS, scale, 0);
		for (unsigned i = 0; i < BINS; i++)
			sum += (double)s->bin[i] * (double)(x[i] - y[i]) * (double)(x[i] - y[i]);
		if (sum < least) {
			least = sum;
			best = clip;
		}
	}
	return best;
}

static float threshold(const struct stats *s, const struct mica_compile_options *o)
{
	float amax = fmaxf(fabsf(s->min), fabsf(s->max)), t = amax;

	if (!s->bin || s->range == 0)
		return amax;
	if (o->method == MICA_METHOD_KL)
		t = kl_threshold(s);
	else if (o->method == MICA_METHOD_PERCENTILE)
		t = percentile(s, PERCENTILE);
	else if (o->method == MICA_METHOD_MSE && mica_dtype_size(o->format) == 1)
		t = mse_threshold(s, o->format);
	return t < amax ? t : amax;
}

/* ---- the pass ---- */

static int run_samples(struct calibration *c)
{
	struct ir_trace cb = { .load = load, .see = see, .opaque = c };
	struct ir_tracer *t = ir_tracer_new(c->g, c->o->threads ? c->o->threads : 1);
	int r = t ? 0 : -(int)(c->g->err->code ? c->g->err->code : MICA_ERR_MEMORY);

	for (c->sample = 0; c->sample < c->o->calib.count && !r; c->sample++) {
		if (c->o->progress)
			c->o->progress(c->o->progress_opaque, "calibrate", c->sample,
				       c->o->calib.count);
		r = ir_tracer_run(t, &cb);
	}
	if (t)
		ir_tracer_free(t);
	return r;
}

/* Whether there is anything to find out; refuses what cannot work without samples. */
static int wanted(struct ir_graph *g, const struct mica_compile_options *o, bool *yes)
{
	bool fp8 = o->format == MICA_E4M3 || o->format == MICA_E5M2;

	*yes = false;
	if (g->qdq || (!fp8 && o->format != MICA_I8 && !o->qtable))
		return 0;
	if (o->calib.count && o->method != MICA_METHOD_NONE) {
		*yes = true;
		return 0;
	}
	if (o->format == MICA_I8)
		return mica_err_set(g->err, MICA_ERR_USAGE,
				    "%s: int8 needs the ranges of the activations: pass --calib "
				    "DIR with sample inputs%s",
				    g->name,
				    o->method == MICA_METHOD_NONE ? " and another method than none"
								  : "");
	if (fp8 && o->method != MICA_METHOD_NONE)
		fprintf(stderr,
			"mica: WARNING: %s: no calibration data: activations are stored in %s "
			"without scales (method none), which costs accuracy; pass --calib DIR with "
			"sample inputs\n",
			g->name, mica_dtype_name(o->format));
	return 0;
}

int pass_calibrate(struct ir_graph *g, const struct mica_compile_options *o)
{
	struct calibration c = { .g = g, .o = o };
	bool yes;
	int r = wanted(g, o, &yes);

	if (r || !yes)
		return r;
	c.stats = ir_alloc(g->values, sizeof(*c.stats));
	r = run_samples(&c);
	for (unsigned i = 0; i < g->values; i++) {
		struct ir_value *v = g->value[i];
		struct stats *s = &c.stats[i];

		if (!r && v && s->count) {
			v->calibrated = true;
			v->min = s->min;
			v->max = s->max;
			/* inputs have sharp edges and few distinct values (images): clipping them helps no method */
			v->threshold =
				v->is_input ? fmaxf(fabsf(s->min), fabsf(s->max)) : threshold(s, o);
		}
		free(s->bin);
	}
	free(c.stats);
	return r;
}
