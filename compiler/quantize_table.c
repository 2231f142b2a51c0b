// SPDX-License-Identifier: MIT
/*
 * Functions of one 8-bit operand become 256-entry tables (LUT). A chain of them (x * 0.5 + 1, then hard swish) becomes one
 * table, which rounds once; where the model itself says that it rounds (QuantizeLinear), that stays.
 */
#include <stdlib.h>
#include "quantize.h"

/* The constant beside the variable of a BINARY: one number for all elements. Its slot, or -1. */
static int constant_side(const struct ir_op *op, float *k)
{
	bool ok;

	for (int i = 0; i < 2; i++) {
		const struct ir_value *x = op->in[1 - i], *y = op->out[0];

		if (!op->in[i]->data || x->data || x->rank != y->rank ||
		    ir_elements(x) != ir_elements(y))
			continue;
		*k = const_scalar(op->in[i], &ok);
		if (ok)
			return i;
	}
	return -1;
}

/* The variable operand of a function of one variable, or NULL. */
static struct ir_value *variable(const struct ir_op *op)
{
	float k;
	int side;

	if (op->kind == IR_UNARY)
		return op->in[0]->data ? NULL : op->in[0];
	if (op->kind != IR_BINARY)
		return NULL;
	side = constant_side(op, &k);
	return side < 0 ? NULL : op->in[1 - side];
}

static void step(const struct ir_op *op, float *x)
{
	float k = 0;
	int side = op->kind == IR_BINARY ? constant_side(op, &k) : -1;

	for (unsigned i = 0; i < 256; i++) {
		if (op->kind == IR_UNARY)
			x[i] = mica_fn_eval(op->a.fn, x[i], op->a.alpha, op->a.beta);
		else
			x[i] = mica_act_eval(op->a.act,
					     side ? mica_bin_eval(op->a.bin, x[i], k)
						  : mica_bin_eval(op->a.bin, k, x[i]),
					     op->a.alpha, op->a.beta);
	}
}

/* What codes that the model asks for do to the values: they are rounded and saturate. */
static void round_trip(const struct ir_value *y, float *x)
{
	uint8_t code[256];

	mica_quantize((enum mica_dtype)y->dtype, x, code, 256, 1 / y->scale, y->zero);
	mica_dequantize((enum mica_dtype)y->dtype, code, x, 256, y->scale, y->zero);
}

/* The next operator of the chain: the only reader of v. */
static struct ir_op *next_in_chain(const struct ir_value *v)
{
	struct ir_op *op = v->uses == 1 && !v->is_output ? v->use[0] : NULL;

	return op && variable(op) == v ? op : NULL;
}

static void make_table(struct ir_graph *g, struct ir_op *first)
{
	struct build b = build_at(g, first);
	struct ir_value *x = variable(first), *y, *t, *in[2];
	static const int64_t entries = 256;
	struct ir_op *op, *last = NULL, *lut;
	uint8_t code[256];
	float f[256];

	for (unsigned i = 0; i < 256; i++)
		code[i] = (uint8_t)i;
	mica_dequantize((enum mica_dtype)x->dtype, code, f, 256, x->scale, x->zero);
	for (op = first; op; op = next_in_chain(op->out[0])) {
		step(op, f);
		if (g->qdq && is_8bit(op->out[0]->dtype))
			round_trip(op->out[0], f);
		last = op;
	}
	y = last->out[0];
	t = ir_const_new(g, NULL, y->dtype, 1, &entries, NULL);
	t->scale = y->scale;
	t->zero = y->zero;
	mica_quantize((enum mica_dtype)y->dtype, f, t->data, 256, 1 / y->scale, y->zero);
	in[0] = x;
	in[1] = t;
	lut = build_op(&b, IR_LUT, in, 2, y->rank, y->dim);
	lut->out[0]->dtype = y->dtype;
	lut->out[0]->scale = y->scale;
	lut->out[0]->zero = y->zero;
	lut->out[0]->threshold = y->threshold;
	build_becomes(g, y, lut->out[0]);
}

void quantize_tables(struct ir_graph *g)
{
	for (struct ir_op *op = g->first; op; op = op->next) {
		struct ir_value *x =
			op->out[0]->uses || op->out[0]->is_output ? variable(op) : NULL;

		if (!x || !is_8bit(x->dtype) || ir_elements(x) != ir_elements(op->out[0]))
			continue;
		if (op->kind == IR_UNARY && op->a.fn == MICA_FN_COPY && !next_in_chain(op->out[0]))
			continue; /* a conversion stays one */
		make_table(g, op);
	}
	ir_sweep(g);
}
