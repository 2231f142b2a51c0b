// SPDX-License-Identifier: MIT
/* AdaRound: the weights of every 8-bit convolution are rounded anew so that its output is what it was in f32. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "adaround.h"
#include "grid.h"
#include "lockstep.h"
#include "repair.h"

#define LONGEST_K 16384 /* the rows of a layer would take too much memory */
#define RIDGE \
	0.01f /* of the inputs' mean square: what the samples do not show is rounded to nearest */

struct adapt {
	unsigned layers, skipped;
	double before, after; /* sums over layers of relative errors */
};

/* One group of one layer. */
struct problem {
	const struct lockstep_layer *l;
	size_t k, rows;
	float *q, *f; /* [k][rows] */
	float ridge;
	int64_t first; /* its first output channel */
	double (*sum)[3]; /* by channel: squared error before, after, squared output */
};

static uint8_t *codes_of(const struct ir_value *w, int64_t channel, size_t k)
{
	return (uint8_t *)w->data + (size_t)channel * k * ir_dtype_size(w->dtype);
}

static float scale_of(const struct ir_value *w, int64_t channel)
{
	return w->ch_scale ? w->ch_scale[channel] : w->scale;
}

/* The neighbours of every weight, and what it is rounded to now. */
static void neighbours(const struct problem *p, int64_t channel, float *below, float *above,
		       float *now)
{
	const struct ir_value *w = p->l->op->in[1];
	const float *exact = (const float *)p->l->ref->in[1]->data + (size_t)channel * p->k;
	float s = scale_of(w, channel);

	mica_dequantize((enum mica_dtype)w->dtype, codes_of(w, channel, p->k), now, p->k, s, 0);
	for (size_t i = 0; i < p->k; i++) {
		grid_around(w->dtype, exact[i] / s, &below[i], &above[i]);
		below[i] *= s;
		above[i] *= s;
		/* A code already, as the largest weight is, but for the last bits of w / s: without them it has no neighbours. */
		if (fabsf(exact[i] - now[i]) <= 1e-6f * fabsf(now[i]) || (now[i] != below[i] && now[i] != above[i]))
			below[i] = above[i] = now[i];
	}
}

static double weighted(const struct problem *p, const float *weight, const float *error)
{
	double sum = 0;

	for (size_t r = 0; r < p->rows; r++)
		sum += (double)weight[r] * error[r] * error[r];
	return sum;
}

static void store(const struct problem *p, int64_t channel, float *w)
{
	struct ir_value *q = p->l->op->in[1];
	float s = scale_of(q, channel);

	for (size_t i = 0; i < p->k; i++)
		w[i] = grid_nearest(q->dtype, w[i] / s);
	mica_quantize((enum mica_dtype)q->dtype, w, codes_of(q, channel, p->k), p->k, 1, 0);
}

static void solve_channel(void *opaque, int64_t o)
{
	struct problem *p = opaque;
	int64_t channel = p->first + o;
	float *m = ir_alloc(4 * p->k + 4 * p->rows, sizeof(*m)), *below = m, *above = below + p->k,
	      *w = above + p->k;
	float *weight = w + p->k, *error = weight + p->rows, *t = error + p->rows,
	      *scratch = t + p->rows;
	const float *exact = (const float *)p->l->ref->in[1]->data + (size_t)channel * p->k;
	struct adaround a = { p->k, p->rows, p->q, weight, below, above, exact, p->ridge };

	neighbours(p, channel, below, above, w);
	lockstep_product(p->l, p->f, exact, 1, t);
	lockstep_weights(p->l, channel, t, weight);
	lockstep_product(p->l, p->q, w, 1, error);
	for (size_t r = 0; r < p->rows; r++)
		error[r] -= t[r];
	p->sum[channel][0] = weighted(p, weight, error);
	p->sum[channel][2] = weighted(p, weight, t);
	adaround_solve(&a, w, error, scratch);
	p->sum[channel][1] = weighted(p, weight, error);
	store(p, channel, w);
	free(m);
}

static float ridge_of(const struct problem *p)
{
	double sum = 0;

	for (size_t i = 0; i < p->k * p->rows; i++)
		sum += (double)p->q[i] * p->q[i];
	return (float)(RIDGE * sum / (double)p->k);
}

struct groups {
	const struct adapt *a;
	const struct lockstep_layer *l;
	unsigned threads; /* for the channels of one group */
	double (*sum)[3];
};

static void solve_group(void *opaque, int64_t group)
{
	struct groups *s = opaque;
	struct problem p = { .l = s->l, .k = (size_t)s->l->k, .rows = s->l->rows, .sum = s->sum };

	p.first = group * s->l->oc;
	p.q = ir_alloc(2 * p.rows * p.k, sizeof(float));
	p.f = p.q + p.rows * p.k;
	lockstep_quantized(s->l, group, p.q);
	lockstep_exact(s->l, group, p.f);
	p.ridge = ridge_of(&p);
	parallel_for(s->threads, s->l->oc, solve_channel, &p);
	free(p.q);
}

static bool adaptable(const struct lockstep_layer *l)
{
	const struct ir_value *w = l->op->in[1];

	return w->dtype != MICA_F32 && w->uses == 1 && l->k <= LONGEST_K && l->rows;
}

static int layer(void *opaque, const struct lockstep_layer *l)
{
	struct adapt *a = opaque;
	int64_t channels = l->op->in[1]->dim[0];
	struct groups s = { .a = a, .l = l, .threads = l->groups > 1 ? 1 : l->threads };
	double sum[3] = { 0 };

	if (!adaptable(l)) {
		a->skipped += l->op->in[1]->dtype != MICA_F32;
		return 0;
	}
	s.sum = ir_alloc((size_t)channels, sizeof(*s.sum));
	parallel_for(l->groups > 1 ? l->threads : 1, l->groups, solve_group, &s);
	for (int64_t c = 0; c < channels; c++)
		for (unsigned i = 0; i < 3; i++)
			sum[i] += s.sum[c][i];
	free(s.sum);
	if (sum[2] > 0) {
		a->before += sum[0] / sum[2];
		a->after += sum[1] / sum[2];
		a->layers++;
	}
	return 0;
}

int pass_adaround(struct ir_graph *g, const struct mica_compile_options *o)
{
	struct adapt a = { 0 };
	struct ir_graph *old;
	int r;

	if (!(o->repair & MICA_REPAIR_ADAROUND) || !g->reference)
		return 0;
	old = repair_keep(g);
	r = lockstep_run(g, o, "adaround", layer, &a);
	if (r) {
		ir_graph_free(old);
		return r;
	}
	if (!o->quiet && a.layers)
		fprintf(stderr,
			"mica: repair adaround: %u layers, mean error of a layer's output %.1f -> "
			"%.1f dB\n",
			a.layers, 10 * log10(a.before / a.layers + 1e-30),
			10 * log10(a.after / a.layers + 1e-30));
	if (!o->quiet && a.skipped)
		fprintf(stderr,
			"mica: repair adaround: %u layers are too long and are rounded to "
			"nearest\n",
			a.skipped);
	return repair_settle(g, o, old, "adaround", -1);
}
