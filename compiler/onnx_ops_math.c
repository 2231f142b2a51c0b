// SPDX-License-Identifier: MIT
/*
 * ONNX functions that the vector engine does not have: they are built from those that it has, in f32. The inverse
 * hyperbolic ones go through log(1 + u), which keeps its relative precision for small u.
 */
#include <math.h>
#include <string.h>
#include "expr.h"
#include "fold.h"

enum { TAN, SINH, COSH, ASIN, ACOS, ATAN, ASINH, ACOSH, ATANH, ISNAN, ISINF, SHRINK };

static int infer_math(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	bool test = d->code == ISNAN || d->code == ISINF;

	return onnx_out(g, op, 0, test ? IR_BOOL : x->dtype, x->rank, x->dim);
}

static struct ir_value *bin(struct build *b, enum mica_bin op, struct ir_value *x,
			    struct ir_value *y)
{
	return build_binary(b, op, x, y);
}

/* x with the sign of s; x is not negative */
static struct ir_value *signed_as(struct build *b, struct ir_value *x, struct ir_value *s)
{
	return bin(b, MICA_BIN_MUL, expr_fn(b, MICA_FN_SIGN, s), x);
}

/* log(1 + u), u >= 0: with w = 1 + u rounded, log(w) * u / (w - 1) puts back what the rounding took. */
static struct ir_value *log1p_of(struct build *b, struct ir_value *u)
{
	struct ir_value *w = expr_k(b, MICA_BIN_ADD, u, 1), *log = expr_fn(b, MICA_FN_LOG, w),
			*back = expr_k(b, MICA_BIN_SUB, w, 1), *y;

	y = bin(b, MICA_BIN_DIV, bin(b, MICA_BIN_MUL, log, u), back);
	y = build_where(b, bin(b, MICA_BIN_EQ, back, u), log, y);
	return build_where(b, expr_k(b, MICA_BIN_EQ, back, 0), u, y);
}

/* x (1 + x^2/6 (1 + x^2/20 ..)) up to 1, from there (e^x - e^-x) / 2 */
static struct ir_value *sinh_of(struct build *b, struct ir_value *x)
{
	static const float c[] = { 1.0f / 362880, 1.0f / 5040, 1.0f / 120, 1.0f / 6, 1 };
	struct ir_value *a = expr_fn(b, MICA_FN_ABS, x), *e = expr_fn(b, MICA_FN_EXP, a), *small,
			*large;

	small = bin(b, MICA_BIN_MUL, expr_poly(b, bin(b, MICA_BIN_MUL, x, x), c, ARRAY_LEN(c)), x);
	large = bin(b, MICA_BIN_SUB, e, expr_fn(b, MICA_FN_RECIP, e));
	large = signed_as(b, expr_k(b, MICA_BIN_MUL, large, 0.5f), x);
	return build_where(b, expr_k(b, MICA_BIN_LT, a, 1), small, large);
}

static struct ir_value *cosh_of(struct build *b, struct ir_value *x)
{
	struct ir_value *e = expr_fn(b, MICA_FN_EXP, expr_fn(b, MICA_FN_ABS, x));

	e = bin(b, MICA_BIN_ADD, e, expr_fn(b, MICA_FN_RECIP, e));
	return expr_k(b, MICA_BIN_MUL, e, 0.5f);
}

/* atan(a), a >= 0: a > 1 by pi/2 - atan(1/a), above tan(pi/8) by pi/4 + atan((a-1)/(a+1)), the rest by a polynomial. */
static struct ir_value *atan_of(struct build *b, struct ir_value *a)
{
	static const float c[] = { 0.079762918f, -0.138484902f, 0.199740824f, -0.333327858f,
				   0.999999981f };
	struct ir_value *big = expr_k(b, MICA_BIN_GT, a, 1), *mid, *r, *s, *y;

	r = build_where(b, big, expr_fn(b, MICA_FN_RECIP, a), a);
	mid = expr_k(b, MICA_BIN_GT, r, 0.414213562f);
	s = bin(b, MICA_BIN_DIV, expr_k(b, MICA_BIN_SUB, r, 1), expr_k(b, MICA_BIN_ADD, r, 1));
	s = build_where(b, mid, s, r);
	y = bin(b, MICA_BIN_MUL, expr_poly(b, bin(b, MICA_BIN_MUL, s, s), c, ARRAY_LEN(c)), s);
	y = bin(b, MICA_BIN_ADD, y, expr_k(b, MICA_BIN_MUL, mid, 0.785398163f));
	return build_where(b, big, bin(b, MICA_BIN_SUB, build_scalar(b, 1.57079633f), y), y);
}

/* x / sqrt((1-x)(1+x)) is the tangent of asin(x); half of acos(x) has the tangent sqrt((1-x)/(1+x)). */
static struct ir_value *arc_of(struct build *b, struct ir_value *x, int code)
{
	struct ir_value *one = build_scalar(b, 1), *lo = bin(b, MICA_BIN_SUB, one, x),
			*hi = bin(b, MICA_BIN_ADD, x, one), *a;

	if (code == ACOS) {
		a = expr_fn(b, MICA_FN_SQRT, bin(b, MICA_BIN_DIV, lo, hi));
		return expr_k(b, MICA_BIN_MUL, atan_of(b, a), 2);
	}
	a = expr_fn(b, MICA_FN_ABS, x);
	if (code == ASIN)
		a = bin(b, MICA_BIN_DIV, a,
			expr_fn(b, MICA_FN_SQRT, bin(b, MICA_BIN_MUL, lo, hi)));
	return signed_as(b, atan_of(b, a), x);
}

static struct ir_value *inverse_of(struct build *b, struct ir_value *x, int code)
{
	struct ir_value *a = expr_fn(b, MICA_FN_ABS, x), *r, *u;

	switch (code) {
	case ACOSH: /* t + sqrt(t (t + 2)), t = x - 1 */
		a = expr_k(b, MICA_BIN_SUB, x, 1);
		u = expr_fn(b, MICA_FN_SQRT, expr_k(b, MICA_BIN_ADD, a, 2));
		u = bin(b, MICA_BIN_MUL, u, expr_fn(b, MICA_FN_SQRT, a));
		return log1p_of(b, bin(b, MICA_BIN_ADD, a, u));
	case ASINH: /* a + a^2 / (1 + sqrt(a^2 + 1)), by r = 1/a so that nothing overflows */
		r = expr_fn(b, MICA_FN_RECIP, a);
		u = expr_fn(b, MICA_FN_SQRT,
			    expr_k(b, MICA_BIN_ADD, bin(b, MICA_BIN_MUL, r, r), 1));
		u = bin(b, MICA_BIN_DIV, a, bin(b, MICA_BIN_ADD, r, u));
		return signed_as(b, log1p_of(b, bin(b, MICA_BIN_ADD, a, u)), x);
	default: /* half of log(1 + 2a / (1 - a)) */
		u = bin(b, MICA_BIN_DIV, expr_k(b, MICA_BIN_MUL, a, 2),
			bin(b, MICA_BIN_SUB, build_scalar(b, 1), a));
		return signed_as(b, expr_k(b, MICA_BIN_MUL, log1p_of(b, u), 0.5f), x);
	}
}

static struct ir_value *isinf_of(struct build *b, struct ir_op *op, struct ir_value *x)
{
	bool neg = onnx_int(op, "detect_negative", 1), pos = onnx_int(op, "detect_positive", 1);

	if (neg && pos)
		return expr_k(b, MICA_BIN_EQ, expr_fn(b, MICA_FN_ABS, x), INFINITY);
	if (!neg && !pos)
		return expr_fill(b, x->rank, x->dim, 0);
	return expr_k(b, MICA_BIN_EQ, x, neg ? -INFINITY : INFINITY);
}

/* x < -lambd: x + bias; x > lambd: x - bias; else 0 */
static struct ir_value *shrink_of(struct build *b, struct ir_op *op, struct ir_value *x)
{
	float bias = onnx_float(op, "bias", 0), limit = onnx_float(op, "lambd", 0.5f);
	struct ir_value *lo = expr_k(b, MICA_BIN_LT, x, -limit),
			*hi = expr_k(b, MICA_BIN_GT, x, limit), *y;

	y = build_where(b, hi, expr_k(b, MICA_BIN_SUB, x, bias), build_scalar(b, 0));
	return build_where(b, lo, expr_k(b, MICA_BIN_ADD, x, bias), y);
}

static int canon_math(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *x = expr_in(g, op, 0), *y;

	switch (d->code) {
	case TAN:
		y = bin(b, MICA_BIN_DIV, expr_fn(b, MICA_FN_SIN, x), expr_fn(b, MICA_FN_COS, x));
		break;
	case SINH:
		y = sinh_of(b, x);
		break;
	case COSH:
		y = cosh_of(b, x);
		break;
	case ASIN:
	case ACOS:
	case ATAN:
		y = arc_of(b, x, d->code);
		break;
	case ISNAN:
		y = expr_not(b, bin(b, MICA_BIN_EQ, x, x));
		break;
	case ISINF:
		y = isinf_of(b, op, x);
		break;
	case SHRINK:
		y = shrink_of(b, op, x);
		break;
	default:
		y = inverse_of(b, x, d->code);
	}
	expr_becomes(b, op, 0, y);
	return 0;
}

/* ---- bits ---- */

static int infer_bits(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];

	for (unsigned i = 0; i < op->ins; i++)
		if (op->in[i]->dtype != x->dtype || x->dtype == MICA_F32 || x->dtype == IR_BOOL)
			return onnx_fail(g, op, MICA_ERR_SHAPE,
					 "operands are not integers of one type; check the model");
	if (d->code == FOLD_NOT)
		return onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
	return onnx_broadcast(g, op, x->dtype);
}

static int64_t width_of(const struct ir_value *v, bool *is_signed)
{
	*is_signed = v->elem == ONNX_I8 || v->elem == ONNX_I16 || v->elem == ONNX_I32 || v->elem == ONNX_I64 || !v->elem;
	switch (v->elem) {
	case ONNX_I8:
	case ONNX_U8:
		return 8;
	case ONNX_I16:
	case ONNX_U16:
		return 16;
	case ONNX_I32:
	case ONNX_U32:
		return 32;
	default:
		return v->dtype == MICA_I8 || v->dtype == MICA_U8 ? 8 : 64;
	}
}

/* At run time the host combines bits; it fails a job whose result f32 cannot hold. */
static int canon_bits(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	static const enum mica_host_bits ops[] = { [FOLD_SHIFT] = MICA_HOST_LEFT, [FOLD_AND] = MICA_HOST_AND, [FOLD_OR] = MICA_HOST_OR,
						   [FOLD_XOR] = MICA_HOST_XOR, [FOLD_NOT] = MICA_HOST_XOR };
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *in[2] = { expr_in(g, op, 0), expr_in(g, op, 1) }, *y = op->out[0];
	struct ir_op *h;
	bool is_signed;
	int64_t width = width_of(op->in[0], &is_signed);

	if (d->code == FOLD_NOT && !is_signed && width > 16)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "all bits of an unsigned %d-bit integer turned over need more than the 24 bits that numbers have at run time; use a signed "
				 "type, or fold the model",
				 (int)width);
	if (d->code == FOLD_NOT)
		in[1] = build_scalar(b, is_signed ? -1 : (float)((1 << width) - 1));
	for (unsigned i = 0; i < 2; i++)
		in[i] = build_expand(b, in[i], y->rank, y->dim);
	h = build_host(b, MICA_HOST_BITS, in, 2, y->rank, y->dim);
	h->a.host_int[0] = d->code == FOLD_SHIFT && !onnx_is(op, "direction", "LEFT", "") ? MICA_HOST_RIGHT : ops[d->code];
	h->a.host_int[1] = width;
	h->a.host_int[2] = is_signed;
	expr_becomes(b, op, 0, h->out[0]);
	return 0;
}

#define M(type, code)                                              \
	{                                                          \
		type, code, 1, 1, infer_math, NULL, canon_math \
	}

const struct onnx_def onnx_math_ops[] = {
	M("Tan", TAN),
	M("Sinh", SINH),
	M("Cosh", COSH),
	M("Asin", ASIN),
	M("Acos", ACOS),
	M("Atan", ATAN),
	M("Asinh", ASINH),
	M("Acosh", ACOSH),
	M("Atanh", ATANH),
	M("IsNaN", ISNAN),
	M("IsInf", ISINF),
	M("Shrink", SHRINK),
	{ "BitShift", FOLD_SHIFT, 2, 2, infer_bits, fold_bits, canon_bits },
	{ "BitwiseAnd", FOLD_AND, 2, 2, infer_bits, fold_bits, canon_bits },
	{ "BitwiseOr", FOLD_OR, 2, 2, infer_bits, fold_bits, canon_bits },
	{ "BitwiseXor", FOLD_XOR, 2, 2, infer_bits, fold_bits, canon_bits },
	{ "BitwiseNot", FOLD_NOT, 1, 1, infer_bits, fold_bits, canon_bits },
	{ 0 },
};
