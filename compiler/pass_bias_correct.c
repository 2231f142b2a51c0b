// SPDX-License-Identifier: MIT
/*
 * Empirical bias correction: what a quantized convolution gives on average differs from what it gave in f32; the difference goes
 * into its bias. Layer by layer, behind corrected ones.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "lockstep.h"
#include "repair.h"

struct correct {
	struct ir_graph *g;
	unsigned layers;
	double shift; /* sum over layers of the corrections' root mean square, relative to the outputs' */
};

struct means {
	const struct lockstep_layer *l;
	const float *w; /* of the quantized layer, values, [groups * oc][k] */
	const float *exact; /* biases of the f32 layer */
	float *bias;
	double *moved, *power; /* by output channel */
};

/* The mean error of every channel of the group. */
static void one_group(void *opaque, int64_t group)
{
	struct means *m = opaque;
	const struct lockstep_layer *l = m->l;
	size_t k = (size_t)l->k, rows = l->rows;
	float *q = ir_alloc(2 * rows * k + 3 * rows, sizeof(*q)), *f = q + rows * k,
	      *t = f + rows * k, *error = t + rows;

	lockstep_quantized(l, group, q);
	lockstep_exact(l, group, f);
	for (int64_t o = group * l->oc; o < (group + 1) * l->oc; o++) {
		double d = 0, power = 0;

		memset(t, 0, 2 * rows * sizeof(*t));
		lockstep_product(l, f, (const float *)l->ref->in[1]->data + (size_t)o * k, 1, t);
		lockstep_product(l, q, m->w + (size_t)o * k, 1, error);
		for (size_t r = 0; r < l->picked; r++) {
			d += (double)t[r] - error[r];
			power += (double)t[r] * t[r];
		}
		d /= (double)l->picked;
		m->bias[o] = m->exact[o] + (float)d;
		m->moved[o] = d * d;
		m->power[o] = power / (double)l->picked;
	}
	free(q);
}

static int layer(void *opaque, const struct lockstep_layer *l)
{
	struct correct *c = opaque;
	struct ir_op *op = l->op;
	struct ir_value *w = op->in[1], *values;
	struct means m = { .l = l };
	float *exact;
	double moved = 0, power = 0;

	if (w->dtype == MICA_F32 || !l->rows)
		return 0;
	lockstep_own_bias(c->g, op);
	exact = ir_alloc((size_t)w->dim[0], sizeof(*exact));
	if (ir_op_in(l->ref, 2))
		memcpy(exact, l->ref->in[2]->data, (size_t)w->dim[0] * sizeof(*exact));
	m.exact = exact;
	values = const_f32(c->g, w);
	m.w = values->data;
	m.bias = op->in[2]->data;
	m.moved = ir_alloc((size_t)w->dim[0], 2 * sizeof(double));
	m.power = m.moved + w->dim[0];
	parallel_for(l->threads, l->groups, one_group, &m);
	for (int64_t o = 0; o < w->dim[0]; o++) {
		moved += m.moved[o];
		power += m.power[o];
	}
	c->layers++;
	c->shift += power > 0 ? sqrt(moved / power) : 0;
	free(m.moved);
	free(exact);
	if (values != w)
		ir_value_remove(c->g, values);
	return 0;
}

int pass_bias_correct(struct ir_graph *g, const struct mica_compile_options *o)
{
	struct correct c = { .g = g };
	struct ir_graph *old;
	int r;

	if (!(o->repair & MICA_REPAIR_BIAS) || !g->reference)
		return 0;
	old = repair_keep(g);
	r = lockstep_run(g, o, "bias correction", layer, &c);
	if (r) {
		ir_graph_free(old);
		return r;
	}
	if (!o->quiet && c.layers)
		fprintf(stderr,
			"mica: repair bias: %u layers, mean shift of a layer's output %.2f %%\n",
			c.layers, 100 * c.shift / c.layers);
	return repair_settle(g, o, old, "bias", -1);
}
