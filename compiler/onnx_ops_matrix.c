// SPDX-License-Identifier: MIT
/* ONNX operators over whole rows and matrices: Gemm, MatMul, Softmax, reductions, normalizations. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "expr.h"
#include "fold.h"
#include "onnx_integer.h"
#include "onnx_norm.h"

/* Operand as f32 unless it is a quantized constant, which keeps its codes. */
static struct ir_value *operand(struct ir_graph *g, struct ir_op *op, unsigned i)
{
	struct ir_value *v = ir_op_in(op, i);

	return v && v->data && (v->dtype == IR_I64 || v->dtype == IR_BOOL) ? const_f32(g, v) : v;
}

static int used_extra_outputs(struct ir_graph *g, struct ir_op *op)
{
	for (unsigned i = 1; i < op->outs; i++)
		if (op->out[i] && (op->out[i]->uses || op->out[i]->is_output))
			return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
					 "only the first result is supported; export for "
					 "inference");
	for (unsigned i = 1; i < op->outs; i++)
		onnx_out(g, op, i, MICA_F32, op->in[0]->rank, op->in[0]->dim);
	return 0;
}

/* ---- products ---- */

static int infer_gemm(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *a = op->in[0], *b = op->in[1], *c = ir_op_in(op, 2);
	unsigned ta = onnx_int(op, "transA", 0) != 0, tb = onnx_int(op, "transB", 0) != 0;
	int64_t dim[2];
	(void)d;

	if (a->rank != 2 || b->rank != 2 || a->dim[1 - ta] != b->dim[tb])
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "operands are not matrices that fit each other; check the model "
				 "and --shape");
	dim[0] = a->dim[ta];
	dim[1] = b->dim[1 - tb];
	for (unsigned i = 0; c && i < c->rank; i++)
		if (c->rank > 2 || (c->dim[i] != 1 && c->dim[i] != dim[2 - c->rank + i]))
			return onnx_fail(g, op, MICA_ERR_SHAPE,
					 "operand C cannot be broadcast to the result; check the "
					 "model");
	return onnx_out(g, op, 0, MICA_F32, 2, dim);
}

static struct ir_value *times(struct build *b, struct ir_value *x, float f)
{
	struct ir_value *s;

	if (f == 1)
		return x;
	if (!x->data)
		return build_binary(b, MICA_BIN_MUL, x, build_scalar(b, f));
	x = const_f32(b->g, x);
	s = build_const(b, x->rank, x->dim, x->data);
	for (int64_t i = 0, n = ir_elements(s); i < n; i++)
		((float *)s->data)[i] *= f;
	return s;
}

struct ir_value *build_gemm_of(struct build *b, struct ir_op *op)
{
	struct ir_graph *g = b->g;
	struct ir_value *x = operand(g, op, 0), *w = operand(g, op, 1), *c = operand(g, op, 2), *y;
	float alpha = onnx_float(op, "alpha", 1), beta = onnx_float(op, "beta", 1);
	bool tb = onnx_int(op, "transB", 0) != 0;

	if (x->data && w->data)
		x = const_f32(g, x);
	if (onnx_int(op, "transA", 0))
		x = expr_swap(b, x->ch_scale ? const_f32(g, x) : x, 0, 1);
	if (w->data && alpha != 1) {
		w = times(b, w, alpha);
		alpha = 1;
	}
	y = times(b, expr_product(b, x, w, tb), alpha);
	if (c && beta != 0)
		y = build_binary(b, MICA_BIN_ADD, y,
				 times(b, c->data ? const_f32(g, c) : c, beta));
	return y;
}

static int canon_gemm(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	(void)d;

	build_becomes(g, op->out[0], build_gemm_of(&b, op));
	return 0;
}

int infer_matmul_of(struct ir_graph *g, struct ir_op *op, const struct ir_value *a,
		    const struct ir_value *b)
{
	int64_t dim[IR_MAX_RANK], ak, bk;
	unsigned rank = a->rank > b->rank ? a->rank : b->rank, n = 0;

	if (!a->rank || !b->rank)
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "a scalar cannot be multiplied as a matrix; check the model");
	ak = a->dim[a->rank - 1];
	bk = b->rank == 1 ? b->dim[0] : b->dim[b->rank - 2];
	if (ak != bk)
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "inner dimensions %lld and %lld differ; check the model and "
				 "--shape",
				 (long long)ak, (long long)bk);
	for (unsigned i = 0; i + 2 < rank; i++) {
		int64_t p = i + a->rank >= rank ? a->dim[i + a->rank - rank] : 1;
		int64_t q = i + b->rank >= rank ? b->dim[i + b->rank - rank] : 1;

		if (p != q && p != 1 && q != 1)
			return onnx_fail(g, op, MICA_ERR_SHAPE,
					 "extents %lld and %lld of axis %u cannot be broadcast; "
					 "check the model",
					 (long long)p, (long long)q, i);
		dim[n++] = p == 1 ? q : p;
	}
	if (a->rank > 1)
		dim[n++] = a->dim[a->rank - 2];
	if (b->rank > 1)
		dim[n++] = b->dim[b->rank - 1];
	return onnx_out(g, op, 0, MICA_F32, n, dim);
}

static int infer_matmul(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	(void)d;
	return infer_matmul_of(g, op, op->in[0], op->in[1]);
}

struct ir_value *build_matmul_of(struct build *b, struct ir_value *x, struct ir_value *w)
{
	if (x->data && w->data)
		x = const_f32(b->g, x);
	if (x->rank == 1)
		x = build_reshape(b, x, 2, (int64_t[]){ 1, x->dim[0] });
	if (w->rank == 1)
		w = build_reshape(b, w, 2, (int64_t[]){ w->dim[0], 1 });
	return expr_product(b, x, w, false);
}

static int canon_matmul(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	(void)d;

	expr_becomes(&b, op, 0, build_matmul_of(&b, operand(g, op, 0), operand(g, op, 1)));
	return 0;
}

/* ---- softmax ---- */

static int infer_softmax(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int axis = onnx_axis(g, op, onnx_int(op, "axis", onnx_opset(g) < 13 ? 1 : -1), x->rank);
	(void)d;

	return axis < 0 ? axis : onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
}

/* Before opset 13 all axes from `axis` on were one. Gives x in a shape where a single axis says the same. */
static struct ir_value *softmax_rows(struct build *b, struct ir_op *op, int *axis)
{
	struct ir_value *x = operand(b->g, op, 0);
	bool old = onnx_opset(b->g) < 13;
	int64_t dim[2] = { 1, 1 };
	unsigned wide = 0;

	*axis = onnx_axis(b->g, op, onnx_int(op, "axis", old ? 1 : -1), x->rank);
	for (unsigned i = 0; i < x->rank; i++) {
		dim[(int)i >= *axis] *= x->dim[i];
		wide += (int)i > *axis && x->dim[i] > 1;
	}
	if (!old || !wide)
		return x;
	*axis = 1;
	return build_reshape(b, x, 2, dim);
}

static int canon_softmax(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *y = op->out[0], *x, *s;
	struct ir_op *sm;
	int axis;

	x = softmax_rows(&b, op, &axis);
	if (d->code) { /* log softmax: x - max - log(sum(exp(x - max))) */
		b.format = b.format < 0 ? MICA_F32 : b.format;
		x = build_binary(&b, MICA_BIN_SUB, x,
				 build_reduce(&b, MICA_RED_MAX, x, 1u << axis));
		s = build_reduce(&b, MICA_RED_SUM, build_unary(&b, MICA_FN_EXP, x, 0, 0),
				 1u << axis);
		s = build_binary(&b, MICA_BIN_SUB, x, build_unary(&b, MICA_FN_LOG, s, 0, 0));
	} else {
		sm = build_op(&b, IR_SOFTMAX, &x, 1, x->rank, x->dim);
		sm->a.axis = axis;
		s = sm->out[0];
	}
	build_becomes(g, y, build_reshape(&b, s, y->rank, y->dim));
	return 0;
}

/* ---- reductions ---- */

enum { RED_L2 = 100, RED_LOGSUM, RED_LOGSUMEXP };

/* Bit mask of the reduced axes, or -code. */
static int64_t reduce_axes(struct ir_graph *g, struct ir_op *op)
{
	unsigned rank = op->in[0]->rank, mask = 0;
	int64_t *list;
	size_t n;

	if (onnx_list(g, op, "axes", 1, &list, &n))
		return -(int)g->err->code;
	for (size_t i = 0; i < n; i++) {
		int a = onnx_axis(g, op, list[i], rank);

		if (a < 0) {
			free(list);
			return a;
		}
		mask |= 1u << a;
	}
	free(list);
	if (!n && !onnx_int(op, "noop_with_empty_axes", 0))
		mask = (1u << rank) - 1;
	return mask;
}

static int infer_reduce(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[IR_MAX_RANK], mask = reduce_axes(g, op);
	unsigned n = 0;
	(void)d;

	if (mask < 0)
		return (int)mask;
	for (unsigned i = 0; i < x->rank; i++) {
		if (!(mask >> i & 1))
			dim[n++] = x->dim[i];
		else if (onnx_int(op, "keepdims", 1))
			dim[n++] = 1;
	}
	return onnx_out(g, op, 0, x->dtype, n, dim);
}

static struct ir_value *log_sum_exp(struct build *b, struct ir_value *x, unsigned mask)
{
	struct ir_value *m, *s;

	b->format = b->format < 0 ? MICA_F32 : b->format;
	m = build_reduce(b, MICA_RED_MAX, x, mask);
	s = build_unary(b, MICA_FN_EXP, build_binary(b, MICA_BIN_SUB, x, m), 0, 0);
	s = build_unary(b, MICA_FN_LOG, build_reduce(b, MICA_RED_SUM, s, mask), 0, 0);
	return build_binary(b, MICA_BIN_ADD, m, s);
}

/* Integers that f32 may not hold: the host adds up or multiplies, over the reduced axes in one. */
static struct ir_value *reduce_on_host(struct build *own, struct ir_op *op, struct ir_value *x, unsigned mask, bool product)
{
	struct build b = expr_at(own->g, op);
	int64_t dim[2] = { 1, 1 };
	int perm[IR_MAX_RANK];
	unsigned n = 0;

	for (unsigned reduced = 0; reduced < 2; reduced++)
		for (unsigned i = 0; i < x->rank; i++)
			if ((mask >> i & 1) == reduced) {
				perm[n++] = (int)i;
				dim[reduced] *= x->dim[i];
			}
	x = build_reshape(&b, build_transpose(&b, x, perm), 2, dim);
	return integer_reduced(&b, op, product ? MICA_HOST_TIMES : MICA_HOST_PLUS, x);
}

static int canon_reduce(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = operand(g, op, 0), *y = op->out[0], *v;
	int64_t mask = reduce_axes(g, op);

	if (mask < 0)
		return (int)mask;
	if (y->dtype == IR_I64 && (d->code == MICA_RED_SUM || d->code == MICA_RED_PROD) && !integer_facts(g, op).exact)
		v = reduce_on_host(&b, op, x, (unsigned)mask, d->code == MICA_RED_PROD);
	else if (d->code == RED_LOGSUMEXP)
		v = log_sum_exp(&b, x, (unsigned)mask);
	else if (d->code == RED_LOGSUM)
		v = build_unary(&b, MICA_FN_LOG, build_reduce(&b, MICA_RED_SUM, x, (unsigned)mask),
				0, 0);
	else if (d->code == RED_L2)
		v = build_unary(&b, MICA_FN_SQRT,
				build_reduce(&b, MICA_RED_SUMSQ, x, (unsigned)mask), 0, 0);
	else
		v = build_reduce(&b, (enum mica_red)d->code, x, (unsigned)mask);
	build_becomes(g, y, build_reshape(&b, v, y->rank, y->dim));
	return 0;
}

/* ---- normalizations ---- */

static int infer_norm(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	(void)d;

	if (x->rank < 1 || used_extra_outputs(g, op))
		return g->err->code ? -(int)g->err->code
				    : onnx_fail(g, op, MICA_ERR_SHAPE,
						"operand is a scalar; check the model");
	return onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
}

/* (x - mean) / sqrt(variance + eps) over the axes of mask; statistics in f32, differences in bf16 by default. */
static struct ir_value *standardize(struct build *b, struct ir_value *x, unsigned mask, float eps)
{
	int format = b->format;
	struct ir_value *diff, *v;
	float n = 1;

	for (unsigned i = 0; i < x->rank; i++)
		n *= mask >> i & 1 ? (float)x->dim[i] : 1;
	b->format = format < 0 ? MICA_F32 : format;
	v = build_reduce(b, MICA_RED_MEAN, x, mask);
	b->format = format < 0 ? MICA_BF16 : format;
	diff = build_binary(b, MICA_BIN_SUB, x, v);
	b->format = format < 0 ? MICA_F32 : format;
	v = build_reduce(b, MICA_RED_SUMSQ, diff, mask);
	v = build_binary(b, MICA_BIN_ADD, times(b, v, 1 / n), build_scalar(b, eps));
	v = build_unary(b, MICA_FN_RECIP, build_unary(b, MICA_FN_SQRT, v, 0, 0), 0, 0);
	b->format = format < 0 ? MICA_BF16 : format;
	v = build_binary(b, MICA_BIN_MUL, diff, v);
	b->format = format;
	return v;
}

/* Results 1 and 2: the mean, and one over the standard deviation. */
static struct ir_value *layernorm_parts(struct build *b, struct ir_op *op, struct ir_value *x,
					unsigned mask, float eps)
{
	struct ir_value *mean = build_reduce(b, MICA_RED_MEAN, x, mask), *d, *v;

	d = build_binary(b, MICA_BIN_SUB, x, mean);
	v = build_reduce(b, MICA_RED_MEAN, build_binary(b, MICA_BIN_MUL, d, d), mask);
	v = expr_fn(b, MICA_FN_RECIP, expr_fn(b, MICA_FN_SQRT, expr_k(b, MICA_BIN_ADD, v, eps)));
	if (expr_wanted(op, 1))
		expr_becomes(b, op, 1, mean);
	d = build_binary(b, MICA_BIN_MUL, d, v);
	if (expr_wanted(op, 2))
		expr_becomes(b, op, 2, v);
	return d;
}

static int infer_layernorm(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int axis = onnx_axis(g, op, onnx_int(op, "axis", -1), x->rank);
	int64_t dim[IR_MAX_RANK];
	(void)d;

	if (axis < 0)
		return axis;
	for (unsigned i = 0; i < x->rank; i++)
		dim[i] = (int)i < axis ? x->dim[i] : 1;
	for (unsigned i = 1; i < op->outs; i++)
		if (onnx_out(g, op, i, MICA_F32, x->rank, dim))
			return -(int)g->err->code;
	return onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
}

static int layernorm_whole(struct ir_graph *g, struct ir_op *op, struct ir_value *x, unsigned axis)
{
	struct build b = expr_at(g, op);
	unsigned mask = ((1u << x->rank) - 1) & ~((1u << axis) - 1);

	x = layernorm_parts(&b, op, x, mask, onnx_float(op, "epsilon", 1e-5f));
	x = build_binary(&b, MICA_BIN_MUL, x, expr_in(g, op, 1));
	if (ir_op_in(op, 2))
		x = build_binary(&b, MICA_BIN_ADD, x, expr_in(g, op, 2));
	expr_becomes(&b, op, 0, x);
	return 0;
}

struct ir_value *build_layer_norm(struct build *b, struct ir_value *x, struct ir_value *gamma, struct ir_value *beta, float eps)
{
	int64_t n = x->dim[x->rank - 1];
	bool constant = gamma->data && (!beta || beta->data);
	struct ir_value *in[3] = { x, constant ? build_reshape(b, const_f32(b->g, gamma), 1, &n) : NULL,
				   constant && beta ? build_reshape(b, const_f32(b->g, beta), 1, &n) : NULL }, *y;
	struct ir_op *norm = build_op(b, IR_NORM, in, 3, x->rank, x->dim);

	norm->a.eps = eps;
	if (constant)
		return norm->out[0];
	y = build_binary(b, MICA_BIN_MUL, norm->out[0], build_reshape(b, gamma, 1, &n));
	return beta ? build_binary(b, MICA_BIN_ADD, y, build_reshape(b, beta, 1, &n)) : y;
}

struct ir_value *build_rms_norm(struct build *b, struct ir_value *x, unsigned axis, struct ir_value *gamma, float eps)
{
	unsigned mask = ((1u << x->rank) - 1) & ~((1u << axis) - 1);
	struct build f = *b;
	struct ir_value *v;
	float n = 1;

	f.format = b->format < 0 ? MICA_F32 : b->format;
	for (unsigned i = axis; i < x->rank; i++)
		n *= (float)x->dim[i];
	v = build_reduce(&f, MICA_RED_SUMSQ, x, mask);
	v = expr_k(&f, MICA_BIN_ADD, expr_k(&f, MICA_BIN_MUL, v, 1 / n), eps);
	v = expr_fn(&f, MICA_FN_RECIP, expr_fn(&f, MICA_FN_SQRT, v));
	f.format = b->format < 0 ? MICA_BF16 : b->format;	/* like other normalizations */
	x = build_binary(&f, MICA_BIN_MUL, x, v);
	return build_binary(b, MICA_BIN_MUL, x, gamma);
}

static int canon_layernorm(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = operand(g, op, 0), *in[3], *y = op->out[0], *v;
	int axis = onnx_axis(g, op, onnx_int(op, "axis", -1), x->rank);
	int64_t dim[2] = { 1, 1 };
	bool constant = true;
	struct ir_op *norm;
	(void)d;

	if (axis < 0)
		return axis;
	for (unsigned i = 0; i < x->rank; i++)
		dim[(int)i >= axis] *= x->dim[i];
	for (unsigned i = 1; i < 3; i++) {
		in[i] = operand(g, op, i);
		if (in[i] && ir_elements(in[i]) != dim[1])
			return onnx_fail(g, op, MICA_ERR_SHAPE,
					 "scale or bias does not have the shape of the normalized "
					 "axes; check the model");
		constant = constant && (!in[i] || in[i]->data);
	}
	if (expr_wanted(op, 1) || expr_wanted(op, 2))
		return layernorm_whole(g, op, x, (unsigned)axis);
	in[0] = axis == (int)x->rank - 1 ? x : build_reshape(&b, x, 2, dim);
	for (unsigned i = 1; i < 3; i++)
		in[i] = in[i] && constant ? build_reshape(&b, const_f32(g, in[i]), 1, &dim[1])
					  : NULL;
	norm = build_op(&b, IR_NORM, in, 3, in[0]->rank, in[0]->dim);
	norm->a.eps = onnx_float(op, "epsilon", 1e-5f);
	v = build_reshape(&b, norm->out[0], x->rank, x->dim);
	if (!constant) {
		v = build_binary(&b, MICA_BIN_MUL, v, op->in[1]);
		v = ir_op_in(op, 2) ? build_binary(&b, MICA_BIN_ADD, v, op->in[2]) : v;
	}
	build_becomes(g, y, v);
	return 0;
}

/* Instance normalization is group normalization with a group for each channel. */
static int canon_groupnorm(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = operand(g, op, 0), *y = op->out[0], *p, *v;
	int64_t c = x->rank > 1 ? x->dim[1] : 0,
		groups = d->code ? onnx_int(op, "num_groups", 0) : c, dim[4], pdim[4];

	if (x->rank < 2 || groups < 1 || c % groups)
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "%lld channels do not divide into %lld groups; check the model",
				 (long long)c, (long long)groups);
	memcpy(dim, (int64_t[]){ x->dim[0], groups, c / groups, 1 }, sizeof(dim));
	for (unsigned i = 2; i < x->rank; i++)
		dim[3] *= x->dim[i];
	v = standardize(&b, build_reshape(&b, x, 4, dim), 0xc, onnx_float(op, "epsilon", 1e-5f));
	for (unsigned i = 1; i < 3; i++) {
		p = operand(g, op, i);
		if (ir_elements(p) != c && ir_elements(p) != groups)
			return onnx_fail(g, op, MICA_ERR_SHAPE,
					 "scale and bias must have one element per channel or "
					 "group; check the model");
		memcpy(pdim, (int64_t[]){ 1, groups, ir_elements(p) == c ? c / groups : 1, 1 },
		       sizeof(pdim));
		v = build_binary(&b, i == 1 ? MICA_BIN_MUL : MICA_BIN_ADD, v,
				 build_reshape(&b, p->data ? const_f32(g, p) : p, 4, pdim));
	}
	build_becomes(g, y, build_reshape(&b, v, y->rank, y->dim));
	return 0;
}

#define RED(type, red)                                                   \
	{                                                                \
		type, red, 1, 2, infer_reduce, fold_reduce, canon_reduce \
	}

const struct onnx_def onnx_matrix_ops[] = {
	{ "Gemm", 0, 2, 3, infer_gemm, NULL, canon_gemm },
	{ "MatMul", 0, 2, 2, infer_matmul, NULL, canon_matmul },
	{ "Softmax", 0, 1, 1, infer_softmax, NULL, canon_softmax },
	{ "LogSoftmax", 1, 1, 1, infer_softmax, NULL, canon_softmax },
	RED("ReduceSum", MICA_RED_SUM),
	RED("ReduceMean", MICA_RED_MEAN),
	RED("ReduceMax", MICA_RED_MAX),
	RED("ReduceMin", MICA_RED_MIN),
	RED("ReduceProd", MICA_RED_PROD),
	RED("ReduceL1", MICA_RED_L1),
	RED("ReduceSumSquare", MICA_RED_SUMSQ),
	RED("ReduceL2", RED_L2),
	RED("ReduceLogSum", RED_LOGSUM),
	RED("ReduceLogSumExp", RED_LOGSUMEXP),
	{ "LayerNormalization", 0, 2, 3, infer_layernorm, NULL, canon_layernorm },
	{ "InstanceNormalization", 0, 3, 3, infer_norm, NULL, canon_groupnorm },
	{ "GroupNormalization", 1, 3, 3, infer_norm, NULL, canon_groupnorm },
	{ 0 },
};
