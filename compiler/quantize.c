// SPDX-License-Identifier: MIT
/* What both ways of quantizing (calibrated, and Q/DQ models) have in common: weights, conversions, operand classes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "grid.h"
#include "quantize.h"

bool is_8bit(int dtype)
{
	return dtype == MICA_E4M3 || dtype == MICA_E5M2 || dtype == MICA_I8;
}

bool moves_codes(const struct ir_op *op)
{
	switch (op->kind) {
	case IR_CONCAT:
	case IR_SLICE:
	case IR_TRANSPOSE:
	case IR_RESHAPE:
	case IR_PAD:
	case IR_EXPAND:
		return true;
	case IR_POOL:
		return op->a.pool == MICA_POOL_MAX;
	case IR_RESIZE:
		return op->a.resize == MICA_RESIZE_NEAREST;
	default:
		return false;
	}
}

bool is_mac(const struct ir_op *op)
{
	return op->kind == IR_CONV || op->kind == IR_MATMUL;
}

int mac_class(int dtype)
{
	return dtype == MICA_I8 ? 1 : dtype == MICA_F32 ? 2 : 0;
}

float scale_for(float threshold, int dtype)
{
	float s = is_8bit(dtype) ? threshold / mica_largest((enum mica_dtype)dtype) : 1;

	return s >= 1e-30f && s <= 1e30f ? s : 1;
}

/* Up to the next power of two, so that nothing is clipped. */
static float ruled(const struct ir_graph *g, float scale, int dtype)
{
	int e;
	float m = frexpf(scale, &e); /* exact, which a logarithm just above a power of two is not */

	return g->rules.pow2 && is_8bit(dtype) ? ldexpf(1, m > 0.5f ? e : e - 1) : scale;
}

void set_scale(const struct ir_graph *g, struct ir_value *v, const struct ir_value *seen)
{
	float lo = fmaxf(fminf(seen->min, 0), -seen->threshold), hi = fminf(fmaxf(seen->max, 0), seen->threshold);

	v->zero = 0;
	v->scale = seen->calibrated ? ruled(g, scale_for(seen->threshold, v->dtype), v->dtype) : 1;
	if (v->dtype != MICA_I8 || !g->rules.zero_points || !seen->calibrated || !(hi - lo > 1e-28f))
		return;
	v->scale = ruled(g, (hi - lo) / 255, v->dtype);
	v->zero = (int)fmaxf(-128, fminf(127, rintf(-128 - lo / v->scale)));
}

/* Sum of squared errors of n weights with that scale. */
static double weight_error(const float *w, size_t n, int dtype, float scale)
{
	float inv = 1 / scale;
	double sum = 0;

	for (size_t i = 0; i < n; i++) {
		float d = w[i] - scale * grid_nearest(dtype, w[i] * inv);

		sum += (double)(d * d);
	}
	return sum;
}

#define WMSE_STEPS 40 /* of 2 percent: down to a fifth of the largest weight */

float weight_scale(const struct ir_graph *g, const float *w, size_t n, int dtype)
{
	float amax = 0, best;
	double least;

	for (size_t i = 0; i < n; i++)
		amax = fabsf(w[i]) > amax ? fabsf(w[i]) : amax;
	best = ruled(g, scale_for(amax, dtype), dtype);
	if (!g->rules.wmse || !is_8bit(dtype) || amax == 0)
		return best;
	least = weight_error(w, n, dtype, best);
	for (unsigned k = 1; k <= WMSE_STEPS; k++) {
		float s = ruled(g, scale_for(amax * (1 - 0.02f * (float)k), dtype), dtype);
		double e = weight_error(w, n, dtype, s);

		if (e < least) {
			least = e;
			best = s;
		}
	}
	return best;
}

struct ir_value *quantize_weights(struct ir_graph *g, struct ir_value *w, int dtype)
{
	struct ir_value *f = const_f32(g, w),
			*q = ir_const_new(g, w->name, dtype, w->rank, w->dim, NULL);
	int64_t oc = w->dim[0], n = oc ? ir_elements(w) / oc : 0;
	size_t size = ir_dtype_size(dtype);
	float all = g->rules.per_tensor ? weight_scale(g, f->data, (size_t)(oc * n), dtype) : 0;

	if (is_8bit(dtype))
		q->ch_scale = ir_alloc((size_t)oc, sizeof(float));
	for (int64_t c = 0; c < oc; c++) {
		const float *src = (float *)f->data + c * n;
		float s = all > 0 ? all : weight_scale(g, src, (size_t)n, dtype);

		if (q->ch_scale)
			q->ch_scale[c] = s;
		mica_quantize((enum mica_dtype)dtype, src,
			      (uint8_t *)q->data + (size_t)(c * n) * size, (size_t)n, 1 / s, 0);
	}
	return q;
}

static float const_amax(struct ir_graph *g, struct ir_value *v)
{
	const float *p = const_f32(g, v)->data;
	float amax = 0;

	for (int64_t i = 0, n = ir_elements(v); i < n; i++)
		amax = fabsf(p[i]) > amax ? fabsf(p[i]) : amax;
	return amax;
}

/* An existing conversion of v to the format, which stands before every later reader because passes walk in order. */
static struct ir_value *find_copy(const struct ir_value *v, int dtype)
{
	for (unsigned i = 0; i < v->uses; i++) {
		const struct ir_op *op = v->use[i];

		if (op->kind == IR_UNARY && op->a.fn == MICA_FN_COPY &&
		    op->out[0]->dtype == dtype && op->scratch == v)
			return op->out[0];
	}
	return NULL;
}

void convert_operand(struct ir_graph *g, struct ir_op *op, unsigned i, int dtype)
{
	struct build b = build_at(g, op);
	struct ir_value *v = ir_op_in(op, i), *c;
	struct ir_value like = { .dtype = dtype };

	if (v->data) {
		like.scale = scale_for(const_amax(g, v), dtype);
		ir_op_set_in(op, i, const_as(g, v, &like));
		return;
	}
	set_scale(g, &like, v);
	c = find_copy(v, dtype);
	if (!c) {
		c = build_unary(&b, MICA_FN_COPY, v, 0, 0);
		c->dtype = dtype;
		c->scale = like.scale;
		c->zero = like.zero;
		c->def->scratch = v; /* marks it as made here */
	}
	ir_op_set_in(op, i, c);
}

void settle_mac(struct ir_graph *g, struct ir_op *op, int want)
{
	struct ir_value *w = op->in[1];
	int own = op->weights >= 0 ? op->weights : want;

	if (op->in[0]->data && op->in[0]->ch_scale)
		ir_op_set_in(op, 0, const_f32(g, op->in[0]));
	if (mac_class(op->in[0]->dtype) != mac_class(want))
		convert_operand(g, op, 0, want);
	if (op->kind == IR_MATMUL) {
		if (mac_class(op->in[1]->dtype) != mac_class(want))
			convert_operand(g, op, 1, want);
		return;
	}
	if (mac_class(w->dtype) != mac_class(want) || w->dtype == MICA_F32 || w->zero)
		ir_op_set_in(op, 1,
			     want == MICA_F32 ? const_f32(g, w) : quantize_weights(g, w, own));
}

void settle_host(struct ir_graph *g)
{
	for (struct ir_op *op = g->first; op; op = op->next) {
		for (unsigned i = 0; op->kind == IR_HOST && i < op->ins; i++) {
			if (op->in[i]->data)
				ir_op_set_in(op, i, const_f32(g, op->in[i]));
			else if (op->in[i]->dtype != MICA_F32)
				convert_operand(g, op, i, MICA_F32);
		}
	}
}

void settle_outputs(struct ir_graph *g)
{
	for (unsigned i = 0; i < g->outputs; i++) {
		struct ir_value *v = g->output[i], *c;
		struct ir_op *op;

		if (v->dtype == MICA_F32)
			continue;
		c = ir_value_new(g, NULL, MICA_F32, v->rank, v->dim);
		op = ir_op_new(g, IR_UNARY, v->name, NULL, &v, 1, &c, 1);
		op->a.fn = MICA_FN_COPY;
		ir_swap_names(g, v, c);
		v->is_output = false;
		c->is_output = true;
		g->output[i] = c;
	}
}
