// SPDX-License-Identifier: MIT
/* Codes of quantized models as values with a format, or as plain numbers (onnx_quant.h). */
#include <math.h>
#include <string.h>
#include "onnx_quant.h"

bool quant_is_code(int dtype)
{
	return dtype == MICA_I8 || dtype == MICA_U8 || dtype == MICA_E4M3 || dtype == MICA_E5M2;
}

bool quant_is_packed(int elem)
{
	return elem == ONNX_I4 || elem == ONNX_U4 || elem == ONNX_I2 || elem == ONNX_U2;
}

struct ir_value *quant_codes(struct build *b, struct ir_value *v)
{
	bool ints = v->dtype == MICA_I8 || v->dtype == MICA_U8;

	int zero;

	if (v->data)
		return const_f32(b->g, v);
	if (v->dtype == MICA_U8) { /* an input */
		v->dtype = MICA_I8;
		v->zero = -128;
	}
	zero = v->zero + (v->elem == ONNX_U8 ? 128 : 0);
	if (!quant_is_code(v->dtype) || (v->scale == 1 && (!ints || zero == 0)))
		return v;
	v = expr_k(b, MICA_BIN_MUL, v, 1 / v->scale);
	if (!ints)
		return v;
	v = expr_fn(b, MICA_FN_ROUND, v); /* the product with the scale was rounded */
	return zero ? expr_k(b, MICA_BIN_ADD, v, (float)zero) : v;
}

struct ir_value *quant_round(struct build *b, struct ir_value *y, bool u8, float scale, int zero)
{
	y = build_unary(b, MICA_FN_COPY, y, 0, 0);
	y->dtype = MICA_I8;
	y->elem = u8 ? ONNX_U8 : ONNX_I8;
	y->scale = scale;
	y->zero = zero - (u8 ? 128 : 0);
	return y;
}

static struct ir_value *const_codes(struct build *b, struct ir_value *v, bool u8, float scale,
				    int zero)
{
	struct ir_value *k = ir_const_new(b->g, v->name, MICA_I8, v->rank, v->dim, v->data);

	for (int64_t i = 0, n = ir_elements(v); u8 && i < n; i++)
		((uint8_t *)k->data)[i] ^= 0x80;
	k->elem = u8 ? ONNX_U8 : ONNX_I8;
	k->scale = scale;
	k->zero = zero - (u8 ? 128 : 0);
	return k;
}

struct ir_value *quant_value(struct build *b, struct ir_value *v, bool u8, float scale, int zero)
{
	int code_zero = zero - (u8 ? 128 : 0);

	if (v->data && (v->dtype == MICA_I8 || v->dtype == MICA_U8) && v->scale == 1 && !v->zero)
		return const_codes(b, v, u8, scale, zero);
	if (v->is_input && (v->dtype == MICA_U8 || v->dtype == MICA_I8) && v->scale == 1 &&
	    !v->zero) { /* nobody has said yet what the input's codes mean */
		v->dtype = MICA_I8;
		v->scale = scale;
		v->zero = code_zero;
		return v;
	}
	if (v->dtype == MICA_I8 && v->scale == scale && v->zero == code_zero)
		return v;
	v = quant_codes(b, v);
	v = zero ? expr_k(b, MICA_BIN_SUB, v, (float)zero) : v;
	return quant_round(b, expr_k(b, MICA_BIN_MUL, v, scale), u8, scale, zero);
}

struct ir_value *quant_float8(struct build *b, struct ir_value *x, int dtype, bool saturate)
{
	struct ir_value *y = build_unary(b, MICA_FN_COPY, x, 0, 0), *over;
	bool e4m3 = dtype == MICA_E4M3;

	y->dtype = dtype;
	b->g->qdq = true; /* the model says where it rounds */
	if (saturate)
		return y;
	/* 464 and 61440 lie half-way to the first value that does not exist; the even neighbour of 464 is 448 */
	y = build_unary(b, MICA_FN_COPY, y, 0, 0);
	over = expr_fn(b, MICA_FN_ABS, x);
	over = e4m3 ? expr_k(b, MICA_BIN_GT, over, 464) : expr_k(b, MICA_BIN_GE, over, 61440);
	return build_where(b, over,
			   e4m3 ? build_scalar(b, NAN)
				: expr_k(b, MICA_BIN_MUL, expr_fn(b, MICA_FN_SIGN, x), INFINITY),
			   y);
}

/*
 * Both have the grid of their relative with an infinity: below 1 that of half the exponent, from 1 on the same up to their own
 * largest number.
 */
static struct ir_value *to_fnuz(struct build *b, struct ir_value *x, int elem, bool saturate)
{
	int dtype = elem == ONNX_E4M3FNUZ ? MICA_E4M3 : MICA_E5M2;
	float most = dtype == MICA_E4M3 ? 240 : 57344, over = dtype == MICA_E4M3 ? 248 : 61440;
	struct ir_value *a = expr_fn(b, MICA_FN_ABS, x), *small, *y;

	small = expr_fn(b, MICA_FN_COPY, quant_float8(b, expr_k(b, MICA_BIN_MUL, x, 2), dtype, true));
	y = expr_fn(b, MICA_FN_COPY, quant_float8(b, x, dtype, true));
	y = build_where(b, expr_k(b, MICA_BIN_LT, a, 1), expr_k(b, MICA_BIN_MUL, small, 0.5f), y);
	y = expr_k(b, MICA_BIN_ADD, y, 0); /* there is no -0 */
	y = build_binary(b, MICA_BIN_MIN, build_binary(b, MICA_BIN_MAX, y, build_scalar(b, -most)), build_scalar(b, most));
	if (!saturate)
		y = build_where(b, expr_k(b, MICA_BIN_GE, a, over), build_scalar(b, NAN), y);
	return build_where(b, build_binary(b, MICA_BIN_EQ, x, x), y, build_scalar(b, NAN));
}

/*
 * float16 has 11 bits: with c = (2^13 + 1) x, c - (c - x) is x rounded to 24 - 13 bits, ties to even (all 2^23 significands have been
 * tried, onnx_fp8_test.c). Below 2^-14 its step is 2^-24, that of f32 around 0.75.
 */
static struct ir_value *to_half(struct build *b, struct ir_value *x)
{
	struct ir_value *c = expr_k(b, MICA_BIN_MUL, x, 8193), *a = expr_fn(b, MICA_FN_ABS, x), *tiny, *y;

	y = build_binary(b, MICA_BIN_SUB, c, build_binary(b, MICA_BIN_SUB, c, x));
	tiny = expr_k(b, MICA_BIN_SUB, expr_k(b, MICA_BIN_ADD, x, 0.75f), 0.75f);
	y = build_where(b, build_binary(b, MICA_BIN_AND, x, expr_k(b, MICA_BIN_LT, a, 0x1p-14f)), tiny, y);
	return build_where(b, expr_k(b, MICA_BIN_GE, a, 65520), expr_k(b, MICA_BIN_MUL, expr_fn(b, MICA_FN_SIGN, x), INFINITY), y);
}

/* float4e2m1: steps of 1/2 below 2, of 1 below 4, of 2 up to 6, where it saturates; NaN becomes 6. */
static struct ir_value *to_e2m1(struct build *b, struct ir_value *x)
{
	struct ir_value *a = expr_fn(b, MICA_FN_ABS, x), *y, *part[3];

	for (unsigned i = 0; i < 3; i++) {
		float step = 0.5f * (float)(1 << i);

		part[i] = expr_k(b, MICA_BIN_MUL, expr_fn(b, MICA_FN_ROUND, expr_k(b, MICA_BIN_MUL, x, 1 / step)), step);
	}
	y = build_where(b, expr_k(b, MICA_BIN_LT, a, 4), part[1], build_unary(b, MICA_FN_CLIP, part[2], -6, 6));
	y = build_where(b, expr_k(b, MICA_BIN_LT, a, 2), part[0], y);
	return build_where(b, build_binary(b, MICA_BIN_EQ, x, x), y, build_scalar(b, 6));
}

struct ir_value *quant_narrow(struct build *b, struct ir_value *x, int elem, bool saturate)
{
	const struct onnx_import *imp = b->g->import;
	struct ir_value *y;

	if (elem == ONNX_E4M3FNUZ || elem == ONNX_E5M2FNUZ)
		return to_fnuz(b, x, elem, saturate);
	if (elem == ONNX_E2M1)
		return to_e2m1(b, x);
	if (elem == ONNX_F16 && imp->rounds_half)
		return to_half(b, x);
	if (elem != ONNX_BF16)
		return x;
	y = expr_fn(b, MICA_FN_COPY, x);
	y->dtype = MICA_BF16; /* until canonicalize knows whether f32 was asked for */
	return expr_fn(b, MICA_FN_COPY, y);
}

/* x rounded to `mantissa` bits behind the leading one, to nearest even; exponents below `least` have the same step as least. */
static float rounded(float x, int mantissa, int least)
{
	int e;
	float step;

	if (x == 0 || !isfinite(x))
		return x;
	frexpf(x, &e);
	step = ldexpf(1, (e - 1 < least ? least : e - 1) - mantissa);
	return rintf(x / step) * step;
}

enum quant_power quant_power_of(const struct ir_op *op)
{
	return onnx_is(op, "round_mode", "down", "up") ? QUANT_DOWN : onnx_is(op, "round_mode", "nearest", "up") ? QUANT_NEAREST : QUANT_UP;
}

/* float8e8m0 holds an exponent and nothing else: no sign, no zero. Of 255 there is NaN only; without saturation overflow gives it. */
float quant_power_number(float x, enum quant_power how, bool saturate)
{
	uint32_t u, exp, man;

	memcpy(&u, &x, 4);
	exp = u >> 23 & 0xff;
	man = u & 0x7fffff;
	if (exp < 255 && (how == QUANT_UP ? man > 0 : how == QUANT_NEAREST && man >> 22 && (exp || man << 10)))
		exp += exp < 254 || !saturate;
	return exp == 255 ? NAN : ldexpf(1, (int)exp - 127);
}

float quant_narrow_number(float x, int elem, bool saturate)
{
	bool e4m3 = elem == ONNX_E4M3FNUZ;
	float y, most = e4m3 ? 240 : 57344;

	switch (elem) {
	case ONNX_F16:
		y = rounded(x, 10, -14);
		return fabsf(y) > 65504 ? copysignf(INFINITY, y) : y;
	case ONNX_BF16:
		return isnan(x) ? x : rounded(x, 7, -126);
	case ONNX_E2M1:
		y = isnan(x) ? 6 : rounded(x, 1, 0);
		return fabsf(y) > 6 ? copysignf(6, y) : y;
	case ONNX_E4M3FNUZ:
	case ONNX_E5M2FNUZ:
		y = rounded(x, e4m3 ? 3 : 2, e4m3 ? -7 : -15) + 0.0f;
		return isnan(y) ? NAN : fabsf(y) <= most ? y : saturate ? copysignf(most, y) : NAN;
	default:
		return x;
	}
}

bool quant_range_of(int elem, float *lo, float *hi)
{
	static const struct {
		int elem;
		float lo, hi;
	} ranges[] = {
		{ ONNX_I8, -128, 127 },	 { ONNX_U8, 0, 255 },	  { ONNX_I4, -8, 7 },
		{ ONNX_U4, 0, 15 },	 { ONNX_I16, -32768, 32767 }, { ONNX_U16, 0, 65535 },
		{ ONNX_I2, -2, 1 },	 { ONNX_U2, 0, 3 },
	};

	for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
		if (ranges[i].elem != elem)
			continue;
		*lo = ranges[i].lo;
		*hi = ranges[i].hi;
		return true;
	}
	return false;
}

struct ir_value *quant_numbers(struct build *b, struct ir_value *x, struct ir_value *scale,
			       struct ir_value *zero, int elem, bool saturate)
{
	float lo, hi;

	x = build_binary(b, MICA_BIN_DIV, x, scale);
	if (elem == ONNX_E4M3 || elem == ONNX_E5M2)
		return quant_float8(b, x, elem == ONNX_E4M3 ? MICA_E4M3 : MICA_E5M2, saturate);
	if (elem == ONNX_E4M3FNUZ || elem == ONNX_E5M2FNUZ || elem == ONNX_E2M1)
		return quant_narrow(b, x, elem, saturate);
	if (!quant_range_of(elem, &lo, &hi))
		return NULL;
	x = expr_fn(b, MICA_FN_ROUND, x);
	x = zero ? build_binary(b, MICA_BIN_ADD, x, zero) : x;
	return build_unary(b, MICA_FN_CLIP, x, lo, hi);
}
