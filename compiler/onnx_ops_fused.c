// SPDX-License-Identifier: MIT
/*
 * What ONNX Runtime's optimizer and exporters for it write in domain com.microsoft: convolutions and products with their
 * activation, GELUs with a bias, normalizations with the sum in front of them.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "expr.h"
#include "onnx_channels.h"
#include "onnx_norm.h"
#include "onnx_window.h"

/* ---- activations by name ---- */

static float param(const struct ir_op *op, unsigned i, const char *name, float def)
{
	const Onnx__AttributeProto *a = onnx_attr(op, "activation_params");

	if (a)
		return i < a->n_floats ? a->floats[i] : def;
	return onnx_float(op, name, def);
}

/* What attribute `activation` says, or NULL with g->err. */
static struct ir_value *activated(struct build *b, struct ir_op *op, struct ir_value *x)
{
	static const struct {
		const char *name;
		enum mica_fn fn;
		float alpha, beta;
	} known[] = {
		{ "Relu", MICA_FN_RELU, 0, 0 },	      { "Tanh", MICA_FN_TANH, 0, 0 },
		{ "Sigmoid", MICA_FN_SIGMOID, 0, 0 }, { "LeakyRelu", MICA_FN_LEAKY, 0.01f, 0 },
		{ "Clip", MICA_FN_CLIP, -3.40282347e38f, 3.40282347e38f }, { "HardSigmoid", MICA_FN_HSIGMOID, 0.2f, 0.5f },
		{ "Elu", MICA_FN_ELU, 1, 0 },	      { "HardSwish", MICA_FN_HSWISH, 0, 0 },
		{ "Softplus", MICA_FN_SOFTPLUS, 0, 0 }, { "Gelu", MICA_FN_GELU, 0, 0 },
	};

	if (onnx_is(op, "activation", "", ""))
		return x;
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		float alpha = param(op, 0, "activation_alpha", known[i].alpha), beta = param(op, 1, "activation_beta", known[i].beta);

		if (!onnx_is(op, "activation", known[i].name, ""))
			continue;
		if (isfinite(alpha) && isfinite(beta))
			return build_unary(b, known[i].fn, x, alpha, beta);
	}
	onnx_fail(b->g, op, MICA_ERR_UNSUPPORTED, "its activation or the activation's parameters are not supported; save the model without fusions");
	return NULL;
}

/* ---- FusedConv, NhwcMaxPool ---- */

static int infer_fused_conv(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *z = ir_op_in(op, 3);
	(void)d;

	if (infer_conv_of(g, op, op->in[0], op->in[1], ir_op_in(op, 2)))
		return -(int)g->err->code;
	if (z && !ir_same_dims(z, op->out[0]))
		return onnx_fail(g, op, MICA_ERR_SHAPE, "the summand Z does not have the result's shape; check the model");
	return 0;
}

static int canon_fused_conv(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = build_at(g, op), *b = &own;
	struct ir_value *x = op->in[0]->data ? const_f32(g, op->in[0]) : op->in[0], *y = build_conv_of(b, op, x, op->in[1], ir_op_in(op, 2));
	(void)d;

	if (y && ir_op_in(op, 3))
		y = build_binary(b, MICA_BIN_ADD, build_reshape(b, y, op->out[0]->rank, op->out[0]->dim), expr_in(g, op, 3));
	y = y ? activated(b, op, y) : NULL;
	if (!y)
		return -(int)g->err->code;
	expr_becomes(b, op, 0, y);
	return 0;
}

static int infer_nhwc_pool(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct ir_value x = channels_first_of(op->in[0]);
	struct window w;
	(void)d;

	if (window_read(g, op, &x, NULL, &w) || window_out(g, op, &w, x.dtype, x.dim[0], x.dim[1]))
		return -(int)g->err->code;
	result_channels_last(op->out[0]);
	op->out[0]->elem = x.elem;
	return 0;
}

static int canon_nhwc_pool(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = build_at(g, op), *b = &own;
	struct ir_value *x = to_channels_first(b, expr_in(g, op, 0));
	struct window w;
	(void)d;

	if (window_read(g, op, x, NULL, &w))
		return -(int)g->err->code;
	x = build_pool_of(b, op, x, &w, MICA_POOL_MAX);
	if (op->out[0]->rank == 3)
		x = build_reshape(b, x, 3, (int64_t[]){ x->dim[0], x->dim[1], x->dim[3] });
	expr_becomes(b, op, 0, to_channels_last(b, x));
	return 0;
}

/* ---- FusedMatMul, FusedGemm ---- */

/* v as the product reads it: transBatch moves the axis in front of the matrix to the front of all, trans swaps the last two. */
static void seen_as(const struct ir_op *op, const struct ir_value *v, bool second, int *perm)
{
	bool batch = onnx_int(op, second ? "transBatchB" : "transBatchA", 0), trans = onnx_int(op, second ? "transB" : "transA", 0);
	unsigned r = v->rank;

	for (unsigned i = 0; i < r; i++)
		perm[i] = (int)i;
	if (batch && r > 2) { /* [m, batch.., k] */
		for (unsigned i = 0; i + 2 < r; i++)
			perm[i] = (int)i + 1;
		perm[r - 2] = 0;
	}
	if (trans && r > 1) {
		int t = perm[r - 1];

		perm[r - 1] = perm[r - 2];
		perm[r - 2] = t;
	}
}

static int infer_fused_matmul(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct ir_value seen[2] = { 0 };
	(void)d;

	for (unsigned i = 0; i < 2; i++) {
		const struct ir_value *v = op->in[i];
		int perm[IR_MAX_RANK];

		seen_as(op, v, i, perm);
		seen[i].rank = v->rank;
		for (unsigned k = 0; k < v->rank; k++)
			seen[i].dim[k] = v->dim[perm[k]];
	}
	return infer_matmul_of(g, op, &seen[0], &seen[1]);
}

static int canon_fused_matmul(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = build_at(g, op), *b = &own;
	struct ir_value *in[2], *y;
	float alpha = onnx_float(op, "alpha", 1);
	(void)d;

	for (unsigned i = 0; i < 2; i++) {
		int perm[IR_MAX_RANK];

		seen_as(op, op->in[i], i, perm);
		in[i] = build_transpose(b, expr_in(g, op, i), perm);
	}
	y = build_matmul_of(b, in[0], in[1]);
	y = alpha == 1 ? y : expr_k(b, MICA_BIN_MUL, y, alpha);
	y = activated(b, op, y);
	if (!y)
		return -(int)g->err->code;
	expr_becomes(b, op, 0, y);
	return 0;
}

static int infer_fused_gemm(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	return onnx_find("Gemm")->infer(g, op, d);
}

/* A Gemm in front, the activation behind it. */
static int canon_fused_gemm(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = build_at(g, op), *b = &own;
	struct ir_value *y = build_gemm_of(b, op);
	(void)d;

	y = activated(b, op, y);
	if (!y)
		return -(int)g->err->code;
	expr_becomes(b, op, 0, y);
	return 0;
}

/* ---- Gelu, FastGelu, BiasGelu, QuickGelu, BiasAdd-like ---- */

enum { GELU_ERF, GELU_TANH, GELU_QUICK };

static int infer_gelu(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *bias = ir_op_in(op, 1);
	(void)d;

	if (bias && (x->rank < 1 || bias->rank != 1 || bias->dim[0] != x->dim[x->rank - 1]))
		return onnx_fail(g, op, MICA_ERR_SHAPE, "the bias does not have one number for each entry of the last axis; check the model");
	return onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
}

static int canon_gelu(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = build_at(g, op), *b = &own;
	struct ir_value *x = expr_in(g, op, 0), *t;

	if (ir_op_in(op, 1))
		x = build_binary(b, MICA_BIN_ADD, x, expr_in(g, op, 1));
	if (d->code == GELU_ERF) {
		expr_becomes(b, op, 0, expr_fn(b, MICA_FN_GELU, x));
	} else if (d->code == GELU_TANH) {
		expr_becomes(b, op, 0, build_gelu_tanh(b, x));
	} else {
		t = expr_fn(b, MICA_FN_SIGMOID, expr_k(b, MICA_BIN_MUL, x, onnx_float(op, "alpha", 1.702f)));
		expr_becomes(b, op, 0, build_binary(b, MICA_BIN_MUL, x, t));
	}
	return 0;
}

/* ---- SkipLayerNormalization, SkipSimplifiedLayerNormalization, SimplifiedLayerNormalization, RMSNormalization ---- */

enum { SIMPLIFIED = 1, SKIP = 2 };

/* Operands: x, [skip,] gamma, [beta unless simplified,] [bias]. */
static unsigned bias_slot(const struct onnx_def *d)
{
	return d->code & SIMPLIFIED ? 3 : 4;
}

static int check_row(struct ir_graph *g, struct ir_op *op, unsigned i, int64_t n)
{
	const struct ir_value *v = ir_op_in(op, i);

	if (!v || (ir_elements(v) == n && v->rank >= 1))
		return 0;
	return onnx_fail(g, op, MICA_ERR_SHAPE, "operand %u has %lld numbers for rows of %lld; check the model", i, (long long)ir_elements(v), (long long)n);
}

static int infer_skip_norm(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *skip = op->in[1];
	int64_t n = x->rank ? x->dim[x->rank - 1] : 0, dim[IR_MAX_RANK];

	if (x->rank < 2 || skip->rank > x->rank)
		return onnx_fail(g, op, MICA_ERR_SHAPE, "operands are no rows; check the model");
	for (unsigned i = 0; i < skip->rank; i++) {
		int64_t own = x->dim[x->rank - skip->rank + i];

		if (skip->dim[i] != own && (skip->dim[i] != 1 || i + 1 == skip->rank))
			return onnx_fail(g, op, MICA_ERR_SHAPE, "skip does not fit the first operand; check the model");
	}
	for (unsigned i = 2; i <= bias_slot(d); i++)
		if (check_row(g, op, i, n))
			return -(int)g->err->code;
	memcpy(dim, x->dim, sizeof(dim));
	dim[x->rank - 1] = 1;
	if (onnx_out(g, op, 1, MICA_F32, x->rank, dim) || onnx_out(g, op, 2, MICA_F32, x->rank, dim) || onnx_out(g, op, 3, x->dtype, x->rank, x->dim))
		return -(int)g->err->code;
	return onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
}

static int canon_skip_norm(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = build_at(g, op), *b = &own;
	struct ir_value *x = build_binary(b, MICA_BIN_ADD, expr_in(g, op, 0), expr_in(g, op, 1)), *beta;
	float eps = onnx_float(op, "epsilon", d->code & SIMPLIFIED ? 1e-5f : 1e-12f);
	unsigned bias = bias_slot(d);

	if (expr_wanted(op, 1) || expr_wanted(op, 2))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "results 1 and 2 (of training) are not supported; export for inference");
	if (ir_op_in(op, bias))
		x = build_binary(b, MICA_BIN_ADD, x, build_reshape(b, expr_in(g, op, bias), 1, &x->dim[x->rank - 1]));
	if (expr_wanted(op, 3))
		expr_becomes(b, op, 3, x);
	beta = d->code & SIMPLIFIED ? NULL : expr_in(g, op, 3);
	expr_becomes(b, op, 0, d->code & SIMPLIFIED ? build_rms_norm(b, x, x->rank - 1, expr_in(g, op, 2), eps)
						    : build_layer_norm(b, x, expr_in(g, op, 2), beta, eps));
	return 0;
}

static int infer_rms_norm(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *s = op->in[1];
	int axis = onnx_axis(g, op, onnx_int(op, "axis", -1), x->rank);
	int64_t dim[IR_MAX_RANK];
	bool ok = axis >= 0 && s->rank + (unsigned)axis <= x->rank;
	(void)d;

	if (axis < 0)
		return axis;
	for (unsigned i = 0; i < s->rank && ok; i++)
		ok = s->dim[i] == 1 || s->dim[i] == x->dim[x->rank - s->rank + i];
	if (!ok)
		return onnx_fail(g, op, MICA_ERR_SHAPE, "scale does not fit the normalized axes; check the model");
	for (unsigned i = 0; i < x->rank; i++)
		dim[i] = (int)i < axis ? x->dim[i] : 1;
	if (onnx_out(g, op, 1, MICA_F32, x->rank, dim))
		return -(int)g->err->code;
	return onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
}

static int canon_rms_norm(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = build_at(g, op), *b = &own;
	struct ir_value *x = expr_in(g, op, 0);
	int axis = onnx_axis(g, op, onnx_int(op, "axis", -1), x->rank);
	(void)d;

	if (expr_wanted(op, 1))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "result 1 (of training) is not supported; export for inference");
	expr_becomes(b, op, 0, build_rms_norm(b, x, (unsigned)axis, expr_in(g, op, 1), onnx_float(op, "epsilon", 1e-5f)));
	return 0;
}

/* ---- EmbedLayerNormalization: ids, segments or none, tables of words, positions, segments, gamma, beta, mask, positions ---- */

static int infer_embed(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *ids = op->in[0], *seg = ir_op_in(op, 1), *words = ir_op_in(op, 2), *places = ir_op_in(op, 3), *segs = ir_op_in(op, 4),
			      *at = ir_op_in(op, 8);
	bool ok = words && places && ir_op_in(op, 5) && ids->rank == 2 && words->rank == 2 && places->rank == 2 && places->dim[1] == words->dim[1];
	int64_t n = ok ? words->dim[1] : 0, dim[3];
	(void)d;

	ok = ok && (!segs || (segs->rank == 2 && segs->dim[1] == n)) && (!seg || (segs && ir_same_dims(seg, ids)));
	ok = ok && (at ? at->rank == 2 && at->dim[1] == ids->dim[1] && (at->dim[0] == 1 || at->dim[0] == ids->dim[0]) : places->dim[0] >= ids->dim[1]);
	if (!ok || check_row(g, op, 5, n) || check_row(g, op, 6, n))
		return g->err->code ? -(int)g->err->code : onnx_fail(g, op, MICA_ERR_SHAPE, "ids and tables do not fit; check the model");
	memcpy(dim, (int64_t[]){ ids->dim[0], ids->dim[1], n }, sizeof(dim));
	if (onnx_out(g, op, 1, IR_I64, 1, dim) || onnx_out(g, op, 2, MICA_F32, 3, dim))
		return -(int)g->err->code;
	return onnx_out(g, op, 0, MICA_F32, 3, dim);
}

static struct ir_value *looked_up(struct build *b, struct ir_op *op, unsigned table, unsigned ids)
{
	struct ir_value *in[2] = { expr_in(b->g, op, table), expr_in(b->g, op, ids) };
	int64_t dim[3] = { in[1]->dim[0], in[1]->dim[1], in[0]->dim[1] };

	return build_host(b, MICA_HOST_GATHER, in, 2, 3, dim)->out[0];
}

static int canon_embed(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = build_at(g, op), *b = &own;
	struct ir_value *x = looked_up(b, op, 2, 0), *places;
	(void)d;

	places = ir_op_in(op, 8) ? looked_up(b, op, 3, 8) : build_slice1(b, expr_in(g, op, 3), 0, 0, op->in[0]->dim[1]);
	x = build_binary(b, MICA_BIN_ADD, x, places);
	if (ir_op_in(op, 4) && ir_op_in(op, 1))
		x = build_binary(b, MICA_BIN_ADD, x, looked_up(b, op, 4, 1));
	if (expr_wanted(op, 2))
		expr_becomes(b, op, 2, x);
	if (expr_wanted(op, 1)) { /* how many tokens of each row count */
		struct ir_value *mask = ir_op_in(op, 7);

		if (!mask || mask->rank != 2)
			return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "result 1 needs a mask of [batch, length]; export without it");
		expr_becomes(b, op, 1, build_reduce(b, MICA_RED_SUM, expr_in(g, op, 7), 2));
	}
	expr_becomes(b, op, 0, build_layer_norm(b, x, expr_in(g, op, 5), expr_in(g, op, 6), onnx_float(op, "epsilon", 1e-12f)));
	return 0;
}

#define MS "com.microsoft."

const struct onnx_def onnx_fused_ops[] = {
	{ MS "FusedConv", 0, 2, 4, infer_fused_conv, NULL, canon_fused_conv },
	{ MS "NhwcMaxPool", 0, 1, 1, infer_nhwc_pool, NULL, canon_nhwc_pool },
	{ MS "FusedMatMul", 0, 2, 2, infer_fused_matmul, NULL, canon_fused_matmul },
	{ MS "TransposeMatMul", 0, 2, 2, infer_fused_matmul, NULL, canon_fused_matmul },
	{ MS "FusedGemm", 0, 2, 3, infer_fused_gemm, NULL, canon_fused_gemm },
	{ MS "Gelu", GELU_ERF, 1, 1, infer_gelu, NULL, canon_gelu },
	{ MS "BiasGelu", GELU_ERF, 2, 2, infer_gelu, NULL, canon_gelu },
	{ MS "FastGelu", GELU_TANH, 1, 2, infer_gelu, NULL, canon_gelu },
	{ MS "QuickGelu", GELU_QUICK, 1, 1, infer_gelu, NULL, canon_gelu },
	{ MS "SkipLayerNormalization", SKIP, 3, 5, infer_skip_norm, NULL, canon_skip_norm },
	{ MS "SkipSimplifiedLayerNormalization", SKIP | SIMPLIFIED, 3, 4, infer_skip_norm, NULL, canon_skip_norm },
	{ MS "SimplifiedLayerNormalization", SIMPLIFIED, 2, 2, infer_rms_norm, NULL, canon_rms_norm },
	{ "SimplifiedLayerNormalization", SIMPLIFIED, 2, 2, infer_rms_norm, NULL, canon_rms_norm },
	{ "RMSNormalization", SIMPLIFIED, 2, 2, infer_rms_norm, NULL, canon_rms_norm },
	{ MS "EmbedLayerNormalization", 0, 1, 9, infer_embed, NULL, canon_embed },
	{ 0 },
};
