// SPDX-License-Identifier: MIT
/* What both ways of quantizing (calibrated, and Q/DQ models) have in common: weights, conversions, operand classes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
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

struct ir_value *quantize_weights(struct ir_graph *g, struct ir_value *w, int dtype)
{
	struct ir_value *f = const_f32(g, w),
			*q = ir_const_new(g, w->name, dtype, w->rank, w->dim, NULL);
	int64_t oc = w->dim[0], n = oc ? ir_elements(w) / oc : 0;
	size_t size = ir_dtype_size(dtype);

	if (is_8bit(dtype))
		q->ch_scale = ir_alloc((size_t)oc, sizeof(float));
	for (int64_t c = 0; c < oc; c++) {
		const float *src = (float *)f->data + c * n;
		float amax = 0, s;

		for (int64_t i = 0; i < n; i++)
			amax = fabsf(src[i]) > amax ? fabsf(src[i]) : amax;
		s = scale_for(amax, dtype);
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
	struct ir_value like = { .dtype = dtype, .scale = scale_for(v->threshold, dtype) };

	if (v->data) {
		like.scale = scale_for(const_amax(g, v), dtype);
		ir_op_set_in(op, i, const_as(g, v, &like));
		return;
	}
	c = find_copy(v, dtype);
	if (!c) {
		c = build_unary(&b, MICA_FN_COPY, v, 0, 0);
		c->dtype = dtype;
		c->scale = like.scale;
		c->def->scratch = v; /* marks it as made here */
	}
	ir_op_set_in(op, i, c);
}

void settle_mac(struct ir_graph *g, struct ir_op *op, int want)
{
	struct ir_value *w = op->in[1];

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
			     want == MICA_F32 ? const_f32(g, w) : quantize_weights(g, w, want));
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
