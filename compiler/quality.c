// SPDX-License-Identifier: MIT
/* The measure of the repairs: outputs of a quantized graph against those of the f32 model, on some of the samples. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "front.h"
#include "repair.h"

#define SAMPLES 8
#define LESS 1e-6 /* of the cosine: harm */

struct quality {
	unsigned first, samples, outputs; /* those that repairs do not see, if there are enough; else the first ones */
	float ***out; /* by sample, by output */
	size_t *n; /* by output: elements */
	struct quality_score last;
	bool reported;
};

struct sums {
	double xy, xx, yy, dd;
};

struct run {
	struct ir_graph *g;
	const struct mica_compile_options *o;
	struct quality *keep; /* first run: outputs go there */
	const struct quality *against;
	struct sums *sums; /* by output */
	unsigned first, sample;
};

static int load(void *opaque, const struct ir_value *input, float *dst, size_t n)
{
	struct run *r = opaque;

	return r->o->calib.load(r->o->calib.opaque, r->first + r->sample, input->name, dst, n, r->g->err);
}

static void compare(struct sums *s, const float *x, const float *y, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		s->xy += (double)x[i] * y[i];
		s->xx += (double)x[i] * x[i];
		s->yy += (double)y[i] * y[i];
		s->dd += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
	}
}

static void see(void *opaque, const struct ir_value *v, const void *codes, size_t n)
{
	struct run *r = opaque;

	for (unsigned i = 0; i < r->g->outputs; i++) {
		if (r->g->output[i] != v || v->dtype != MICA_F32)
			continue;
		if (r->keep)
			memcpy(r->keep->out[r->sample][i], codes, n * sizeof(float));
		else
			compare(&r->sums[i], r->against->out[r->sample][i], codes, n);
	}
}

static int run_all(struct run *r, unsigned samples)
{
	struct ir_trace cb = { .load = load, .see = see, .opaque = r };
	struct ir_tracer *t = ir_tracer_new(r->g, r->o->threads);
	int ret = t ? 0 : -(int)(r->g->err->code ? r->g->err->code : MICA_ERR_MEMORY);

	for (r->sample = 0; r->sample < samples && !ret; r->sample++)
		ret = ir_tracer_run(t, &cb);
	ir_tracer_free(t);
	return ret;
}

static struct quality *quality_new(const struct ir_graph *g, const struct mica_compile_options *o)
{
	unsigned held = repair_held(o), samples = held ? held : o->calib.count;
	struct quality *q = ir_alloc(1, sizeof(*q));

	q->first = held ? o->calib.count - held : 0;
	q->samples = samples < SAMPLES ? samples : SAMPLES;
	q->outputs = g->outputs;
	q->n = ir_alloc(q->outputs, sizeof(*q->n));
	q->out = ir_alloc(q->samples, sizeof(*q->out));
	for (unsigned i = 0; i < q->outputs; i++)
		q->n[i] = (size_t)ir_elements(g->output[i]);
	for (unsigned k = 0; k < q->samples; k++) {
		q->out[k] = ir_alloc(q->outputs, sizeof(**q->out));
		for (unsigned i = 0; i < q->outputs; i++)
			q->out[k][i] = ir_alloc(q->n[i], sizeof(float));
	}
	return q;
}

void quality_free(struct quality *q)
{
	if (!q)
		return;
	for (unsigned k = 0; k < q->samples; k++) {
		for (unsigned i = 0; i < q->outputs; i++)
			free(q->out[k][i]);
		free(q->out[k]);
	}
	free(q->out);
	free(q->n);
	free(q);
}

int quality_begin(struct ir_graph *g, const struct mica_compile_options *o)
{
	struct run r = { .g = g, .o = o };
	int ret;

	quality_free(g->quality);
	g->quality = r.keep = quality_new(g, o);
	r.first = r.keep->first;
	ret = run_all(&r, r.keep->samples);
	return ret;
}

static void score_of(const struct ir_graph *g, const struct sums *sums, struct quality_score *s)
{
	s->cosine = 2;
	for (unsigned i = 0; i < g->outputs; i++) {
		const struct sums *x = &sums[i];
		double c = x->xx > 0 && x->yy > 0 ? x->xy / sqrt(x->xx * x->yy) : x->xx == x->yy;

		if (c >= s->cosine)
			continue;
		s->cosine = c;
		s->snr = x->dd > 0 ? 10 * log10(x->xx / x->dd) : INFINITY;
		snprintf(s->worst, sizeof(s->worst), "%s", g->output[i]->name);
	}
}

int quality_score(struct ir_graph *g, const struct mica_compile_options *o, const struct quality *q,
		  struct quality_score *s)
{
	struct run r = { .g = g, .o = o, .against = q, .first = q->first };
	int ret;

	r.sums = ir_alloc(g->outputs, sizeof(*r.sums));
	ret = run_all(&r, q->samples);
	if (!ret)
		score_of(g, r.sums, s);
	free(r.sums);
	return ret;
}

static int report(struct ir_graph *g, const struct mica_compile_options *o, struct quality *q,
		  const char *what, bool *worse)
{
	struct quality_score s;
	int ret = quality_score(g, o, q, &s);

	*worse = !ret && q->reported && s.cosine < q->last.cosine - LESS;

	if (ret)
		return ret;
	if (*worse && !o->quiet)
		fprintf(stderr, "mica: repair %s: output cosine %.5f -> %.5f (worst output: %s): it does harm here and is left out\n",
			what, q->last.cosine, s.cosine, s.worst);
	else if (q->reported && !o->quiet)
		fprintf(stderr,
			"mica: repair %s: output cosine %.5f -> %.5f, SNR %.1f -> %.1f dB (worst "
			"output: %s)\n",
			what, q->last.cosine, s.cosine, q->last.snr, s.snr, s.worst);
	else if (!o->quiet)
		fprintf(stderr, "mica: %s: output cosine %.5f, SNR %.1f dB (worst output: %s)\n",
			what, s.cosine, s.snr, s.worst);
	if (!*worse)
		q->last = s;
	q->reported = true;
	return 0;
}

int quality_report(struct ir_graph *g, const struct mica_compile_options *o, const char *what, bool *worse)
{
	return g->quality ? report(g, o, g->quality, what, worse) : 0;
}

int quality_report_copy(const struct ir_graph *g, const struct mica_compile_options *o,
			const char *what, unsigned repair, bool *worse)
{
	struct mica_compile_options plain = *o;
	struct ir_graph *c;
	int ret;

	if (!g->quality)
		return 0;
	plain.repair = repair;
	plain.calib_out = NULL;
	plain.calib_table = NULL;
	plain.progress = NULL;
	plain.quiet = true;
	c = ir_graph_clone(g);
	ret = pass_calibrate(c, &plain);
	if (!ret)
		ret = pass_quantize(c, &plain);
	if (!ret)
		ret = report(c, o, g->quality, what, worse);
	ir_graph_free(c);
	return ret;
}
