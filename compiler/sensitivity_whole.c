// SPDX-License-Identifier: MIT
/* Whole networks over all samples: the f32 reference, mixed networks for the pick, and candidates without any saving (SENS_NAIVE). */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "sensitivity_parts.h"

#define MOST_INPUT_BYTES ((size_t)256 << 20)

bool sens_stopped(const struct sens *z)
{
	return z->s->stop && atomic_load(z->s->stop);
}

/* ---- samples ---- */

int sens_calib_load(void *opaque, unsigned sample, const char *input, float *dst, size_t n, struct mica_err *err)
{
	const struct sens *z = opaque;

	for (unsigned i = 0; z->input && i < z->g->inputs; i++) {
		if (strcmp(z->g->input[i]->name, input))
			continue;
		memcpy(dst, z->input[(size_t)sample * z->g->inputs + i], n * sizeof(*dst));
		return 0;
	}
	return z->from.load(z->from.opaque, sample, input, dst, n, err);
}

/* Decoded and preprocessed once, where that fits. */
int sens_load(struct sens *z)
{
	unsigned inputs = z->g->inputs;
	size_t each = 0;
	float **all;
	int r = 0;

	for (unsigned i = 0; i < inputs; i++)
		each += (size_t)ir_elements(z->g->input[i]) * sizeof(float);
	if (each > MOST_INPUT_BYTES / z->samples)
		return 0;
	all = ir_alloc((size_t)z->samples * inputs + 1, sizeof(*all));
	for (unsigned k = 0; k < z->samples * inputs && !r; k++) {
		const struct ir_value *v = z->g->input[k % inputs];
		size_t n = (size_t)ir_elements(v);

		all[k] = ir_alloc(n, sizeof(float));
		r = z->from.load(z->from.opaque, k / inputs, v->name, all[k], n, z->g->err);
	}
	z->input = all;
	return r;
}

/* ---- scores ---- */

void sens_compare(struct sens_sums *s, const float *x, const float *y, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		double d = (double)x[i] - y[i];

		s->xy += (double)x[i] * y[i];
		s->xx += (double)x[i] * x[i];
		s->yy += (double)y[i] * y[i];
		s->dd += d * d;
	}
}

static double cosine_of(const struct sens_sums *s)
{
	double c = s->xx > 0 && s->yy > 0 ? s->xy / sqrt(s->xx * s->yy) : s->xx == s->yy;

	return s->dd == 0 ? 1 : c >= -1 ? fmin(c, 1) : 0;	/* NaN is no likeness */
}

static double noise_of(const struct sens_sums *s)
{
	double n = s->dd == 0 ? 0 : s->xx > 0 ? s->dd / s->xx : 1;

	return n <= 1e30 ? n : 1e30;
}

struct sens_score sens_score_of(const struct sens *z, const struct sens_sums *sums, unsigned samples, unsigned of)
{
	size_t n = (size_t)samples * z->g->outputs;
	double each = (double)((size_t)of * z->g->outputs);
	double loss = 0, noise = 0;

	for (size_t i = 0; i < n; i++) {
		double l = 1 - cosine_of(&sums[i]), k = noise_of(&sums[i]);

		loss = z->s->worst ? fmax(loss, l) : loss + l / each;
		noise = z->s->worst ? fmax(noise, k) : noise + k / each;
	}
	return (struct sens_score){ .loss = z->s->metric == SENS_SNR ? noise : loss, .cosine = 1 - loss, .snr = -10 * log10(noise + 1e-30) };
}

float **sens_values_new(const struct sens *z, unsigned samples)
{
	float **v = ir_alloc((size_t)samples * z->g->outputs + 1, sizeof(*v));

	for (unsigned i = 0; i < samples * z->g->outputs; i++)
		v[i] = ir_alloc((size_t)ir_elements(z->g->output[i % z->g->outputs]), sizeof(float));
	return v;
}

void sens_values_free(const struct sens *z, float **v, unsigned samples)
{
	for (unsigned i = 0; v && i < samples * z->g->outputs; i++)
		free(v[i]);
	free(v);
}

int sens_measure(const struct sens *z, float *const *value, double *loss)
{
	unsigned n = z->g->outputs;
	char **name = ir_alloc(n, sizeof(*name));
	unsigned *rank = ir_alloc(n, sizeof(*rank));
	const int64_t **dim = ir_alloc(n, sizeof(*dim));
	struct sens_outputs of = { .samples = z->samples, .outputs = n, .name = name, .value = (const float *const *)value,
				   .rank = rank, .dim = dim };
	int r;

	for (unsigned i = 0; i < n; i++) {
		name[i] = z->g->output_name ? z->g->output_name[i] : z->g->output[i]->name;
		rank[i] = z->g->output[i]->rank;
		dim[i] = z->g->output[i]->dim;
	}
	r = z->s->measure(z->s->measure_opaque, &of, loss, z->g->err);
	if (!r && !isfinite(*loss))
		r = mica_err_set(z->g->err, MICA_ERR_USAGE, "--metric: the command gives no finite number");
	*loss -= z->base_measure;
	free(name);
	free(rank);
	free(dim);
	return r;
}

/* ---- runs ---- */

struct whole {
	struct sens *z;
	struct ir_graph *g;
	struct sens_sums *sums;		/* against the reference, or NULL */
	float **value;			/* outputs to keep, or NULL */
	struct sens_print *print;	/* [sample * steps + step], or NULL */
};

static uint64_t mix(uint64_t h, uint64_t w)
{
	h = (h ^ w) * 0x9e3779b97f4a7c15ull;
	return h ^ h >> 29;
}

/* Four at a time: one alone would wait for each product. */
uint64_t sens_hash(const void *p, size_t bytes)
{
	const uint8_t *b = p;
	uint64_t h[4] = { bytes, 1, 2, 3 }, w[4];
	size_t i = 0;

	for (; i + 32 <= bytes; i += 32) {
		memcpy(w, b + i, 32);
		for (unsigned k = 0; k < 4; k++)
			h[k] = mix(h[k], w[k]);
	}
	for (; i < bytes; i++)
		h[0] = mix(h[0], b[i]);
	return mix(mix(mix(h[0], h[1]), h[2]), h[3]);
}

#define GLANCE 64	/* elements */

uint64_t sens_glance(const float *x, size_t n)
{
	size_t step = n / GLANCE + 1;
	uint64_t h = n;
	uint32_t w;

	for (size_t i = 0; i < n; i += step) {
		memcpy(&w, &x[i], sizeof(w));
		h = mix(h, w);
	}
	return h;
}

static void see(void *opaque, unsigned worker, unsigned sample, const struct ir_value *v, const float *x, size_t n)
{
	struct whole *w = opaque;
	const struct sens *z = w->z;
	(void)worker;

	if (w->print && v->def)
		w->print[(size_t)sample * z->steps + z->step_of[v->def->id]] =
			(struct sens_print){ sens_glance(x, n), sens_hash(x, n * sizeof(*x)) };
	for (unsigned i = 0; i < w->g->outputs; i++) {
		size_t at = (size_t)sample * w->g->outputs + i;

		if (w->g->output[i] != v)
			continue;
		if (w->value)
			memcpy(w->value[at], x, n * sizeof(*x));
		if (w->sums)
			sens_compare(&w->sums[at], z->reference[at], x, n);
	}
}

static int run_whole(struct whole *w, const char *stage)
{
	struct calib_sink sink = { .see = see, .opaque = w, .stage = stage };

	return calib_run(w->g, &w->z->o, &sink);
}

int sens_whole(struct sens *z, struct ir_graph *g, bool measure, struct sens_score *score)
{
	struct whole w = { .z = z, .g = g };
	int r;

	w.sums = ir_alloc((size_t)z->samples * g->outputs, sizeof(*w.sums));
	if (measure && z->s->metric == SENS_COMMAND)
		w.value = sens_values_new(z, z->samples);
	r = run_whole(&w, "whole network");
	*score = sens_score_of(z, w.sums, z->samples, z->samples);
	if (!r && w.value)
		r = sens_measure(z, w.value, &score->loss);
	sens_values_free(z, w.value, z->samples);
	free(w.sums);
	return r;
}

int sens_reference(struct sens *z)
{
	struct whole w = { .z = z, .g = z->g };
	int r;

	z->reference = w.value = sens_values_new(z, z->samples);
	z->print = w.print = ir_alloc((size_t)z->samples * z->steps + 1, sizeof(*z->print));
	r = run_whole(&w, "reference");
	if (!r && z->s->metric == SENS_COMMAND)
		r = sens_measure(z, z->reference, &z->base_measure);
	return r;
}
