// SPDX-License-Identifier: MIT
/*
 * NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss: the class of each target is picked by comparing the target with
 * 0, 1, .. along the axis of classes.
 */
#include <string.h>
#include "expr.h"

/* code 1: SoftmaxCrossEntropyLoss, whose second result is the log of the softmax */
static int infer_loss(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *t = op->in[1], *w = ir_op_in(op, 2);
	bool ok = x->rank >= 2 && t->rank + 1 == x->rank && x->dim[1] <= 1 << 24;
	bool none = onnx_is(op, "reduction", "none", "mean");

	for (unsigned i = 0; ok && i < t->rank; i++)
		ok = t->dim[i] == x->dim[i ? i + 1 : 0];
	if (!ok || (w && (w->rank != 1 || w->dim[0] != x->dim[1])))
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "targets or weights do not fit the scores [N,C,..]; check the "
				 "model");
	if (d->code && onnx_out(g, op, 1, x->dtype, x->rank, x->dim))
		return -(int)g->err->code;
	return onnx_out(g, op, 0, x->dtype, none ? t->rank : 0, t->dim);
}

/* The weight of each class as [1,C,1,..], zero for the one that is ignored. NULL: all are 1. */
static struct ir_value *class_weights(struct build *b, struct ir_op *op, const struct ir_value *x)
{
	struct ir_value *w = expr_in(b->g, op, 2), *keep;
	int64_t dim[IR_MAX_RANK], c = x->dim[1], ignored = onnx_int(op, "ignore_index", -1);
	bool drops = onnx_attr(op, "ignore_index") && ignored >= 0 && ignored < c;

	for (unsigned i = 0; i < x->rank; i++)
		dim[i] = i == 1 ? c : 1;
	if (drops) {
		keep = expr_fill(b, 1, &c, 1);
		((float *)keep->data)[ignored] = 0;
		w = w ? build_binary(b, MICA_BIN_MUL, w, keep) : keep;
	}
	return w ? build_reshape(b, w, x->rank, dim) : NULL;
}

static struct ir_value *log_softmax(struct build *b, struct ir_value *x)
{
	struct ir_value *s;

	x = build_binary(b, MICA_BIN_SUB, x, build_reduce(b, MICA_RED_MAX, x, 2));
	s = build_reduce(b, MICA_RED_SUM, expr_fn(b, MICA_FN_EXP, x), 2);
	return build_binary(b, MICA_BIN_SUB, x, expr_fn(b, MICA_FN_LOG, s));
}

static int canon_loss(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *x = expr_in(g, op, 0), *t = expr_in(g, op, 1), *hit, *w, *loss, *total;
	int64_t dim[IR_MAX_RANK];
	unsigned all;

	if (onnx_room(g, op, 1, x->dim[1]))
		return -(int)g->err->code;
	if (d->code)
		x = log_softmax(b, x);
	if (d->code && expr_wanted(op, 1))
		build_becomes(g, op->out[1], x);
	memcpy(dim, x->dim, sizeof(dim));
	dim[1] = 1;
	t = build_reshape(b, t, x->rank, dim);
	hit = build_binary(b, MICA_BIN_EQ, t, expr_iota(b, x->dim[1], x->rank, 1));
	w = class_weights(b, op, x);
	/* chosen by Where, because 0 times a log of 0 is no number */
	loss = build_where(b, hit, expr_fn(b, MICA_FN_NEG, x), build_scalar(b, 0));
	loss = build_reduce(b, MICA_RED_SUM, w ? build_binary(b, MICA_BIN_MUL, loss, w) : loss, 2);
	if (!onnx_is(op, "reduction", "none", "mean")) {
		all = (1u << x->rank) - 1;
		loss = build_reduce(b, MICA_RED_SUM, loss, all);
		if (onnx_is(op, "reduction", "mean", "mean")) {
			total = w ? build_binary(b, MICA_BIN_MUL, hit, w) : hit;
			total = build_reduce(b, MICA_RED_SUM, total, all);
			loss = build_binary(b, MICA_BIN_DIV, loss, total);
		}
	}
	expr_becomes(b, op, 0, loss);
	return 0;
}

const struct onnx_def onnx_loss_ops[] = {
	{ "NegativeLogLikelihoodLoss", 0, 2, 3, infer_loss, NULL, canon_loss },
	{ "SoftmaxCrossEntropyLoss", 1, 2, 3, infer_loss, NULL, canon_loss },
	{ 0 },
};
