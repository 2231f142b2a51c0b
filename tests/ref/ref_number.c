/* SPDX-License-Identifier: MIT */
/* Codes and functions of the reference: definitions spelled out, no table shared with anybody. */
#include <math.h>
#include <string.h>
#include "ref.h"

static double small_float(unsigned code, int exp_bits, int man_bits, int bias)
{
	unsigned sign = code >> (exp_bits + man_bits) & 1;
	unsigned e = code >> man_bits & ((1u << exp_bits) - 1), f = code & ((1u << man_bits) - 1);
	double v;

	if (e)
		v = ldexp((double)((1u << man_bits) + f), (int)e - bias - man_bits);
	else
		v = ldexp((double)f, 1 - bias - man_bits);
	return sign ? -v : v;
}

double ref_code_value(enum mica_dtype t, unsigned code)
{
	switch (t) {
	case MICA_E4M3:
		if ((code & 0x7f) == 0x7f)
			return NAN;
		return small_float(code, 4, 3, 7);
	case MICA_E5M2:
		if ((code & 0x7c) == 0x7c)
			return code & 3 ? NAN : code & 0x80 ? -INFINITY : INFINITY;
		return small_float(code, 5, 2, 15);
	case MICA_BF16:
		if ((code & 0x7f80) == 0x7f80)
			return code & 0x7f ? NAN : code & 0x8000 ? -INFINITY : INFINITY;
		return small_float(code, 8, 7, 127);
	default: {
		float f;
		memcpy(&f, &code, 4);
		return f;
	}
	}
}

/* The nearest of the codes 0..last (their values ascend), the even one on a tie. */
static unsigned nearest(enum mica_dtype t, double v, unsigned last)
{
	unsigned lo = 0, hi = last;

	while (hi - lo > 1) {
		unsigned mid = (lo + hi) / 2;

		if (ref_code_value(t, mid) <= v)
			lo = mid;
		else
			hi = mid;
	}
	double dl = v - ref_code_value(t, lo), dh = ref_code_value(t, hi) - v;

	return dl < dh ? lo : dl > dh ? hi : lo & 1 ? hi : lo;
}

unsigned ref_round_code(enum mica_dtype t, float v)
{
	double a = fabs((double)v);

	if (t == MICA_BF16) {
		if (isnan(v))
			return 0x7fc0;
		unsigned sign = signbit(v) ? 0x8000 : 0;
		/* the value one step above the largest finite one stands for infinity: 2^128 */
		double top = ref_code_value(t, 0x7f7f), over = ldexp(1, 128);
		if (a >= (top + over) / 2)
			return sign | 0x7f80;
		return sign | nearest(t, a, 0x7f7f);
	}
	unsigned last = t == MICA_E4M3 ? 0x7e : 0x7b, sign = signbit(v) ? 0x80 : 0;

	if (isnan(v))
		return 0x7f;
	return sign | (a >= ref_code_value(t, last) ? last : nearest(t, a, last));
}

/* ---- functions ---- */

static float poly(float x, const float *c, int n)
{
	float r = c[0];

	for (int i = 1; i < n; i++)
		r = fmaf(r, x, c[i]);
	return r;
}
#define POLY(x, ...) poly(x, (const float[]){ __VA_ARGS__ }, sizeof((const float[]){ __VA_ARGS__ }) / 4)

static float maxr(float a, float b) { return a > b ? a : b; }
static float minr(float a, float b) { return a < b ? a : b; }
static float clipr(float x, float lo, float hi) { return minr(hi, maxr(lo, x)); }

static float expr(float x)
{
	if (isnan(x))
		return x;
	if (x > 88.722839f)
		return INFINITY;
	if (x < -87.336544f)
		return 0;
	float n = rintf(x * 1.44269504f);
	float r = fmaf(n, -0.693359375f, x);
	r = fmaf(n, 2.12194440e-4f, r);
	float p = POLY(r, 1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f);
	float y = fmaf(p, r * r, r) + 1.0f;
	int i = (int)n, h = (int)floor(i / 2.0);

	return (y * ldexpf(1, h)) * ldexpf(1, i - h);
}

static float logr(float x)
{
	if (isnan(x) || x < 0)
		return NAN;
	if (x == 0)
		return -INFINITY;
	if (isinf(x))
		return x;
	int e, sub = 0;

	if (x < ldexpf(1, -126)) {
		x = x * ldexpf(1, 23);
		sub = 23;
	}
	float m = frexpf(x, &e);

	e -= sub;
	if (m < 0.707106781f) {
		e -= 1;
		m = (m + m) - 1.0f;
	} else {
		m = m - 1.0f;
	}
	float z = m * m;
	float p = POLY(m, 7.0376836292e-2f, -1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
		       -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f);
	float y = (p * m) * z, fe = (float)e;

	y = fmaf(fe, -2.12194440e-4f, y);
	y = fmaf(-0.5f, z, y);
	return fmaf(fe, 0.693359375f, m + y);
}

static float tanhr(float x)
{
	float a = fabsf(x);

	if (a < 0.625f) {
		float z = x * x;
		float p = POLY(z, -5.70498872745e-3f, 2.06390887954e-2f, -5.37397155531e-2f, 1.33314422036e-1f, -3.33332819422e-1f);
		return fmaf(p * z, x, x);
	}
	return copysignf(1.0f - 2.0f / (expr(a + a) + 1.0f), x);
}

static float erfr(float x)
{
	float a = fabsf(x);

	if (isnan(x))
		return x;
	if (a <= 1)
		return x * POLY(x * x, 7.853861353153693e-5f, -8.010193625184903e-4f, 5.188327685732524e-3f, -2.685381193529856e-2f,
				1.128358514861418e-1f, -3.761262582423300e-1f, 1.128379165726710f);
	float t = 1.0f / fmaf(0.3275911f, a, 1.0f);
	float q = POLY(t, 1.061405429f, -1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f) * t;

	return copysignf(fmaf(-q, expr(-(a * a)), 1.0f), x);
}

static float sincosr(float x, int cosine)
{
	float a = fabsf(x);

	if (!(a <= 8192))
		return NAN;
	int j = (int)(a * 1.27323954f);

	j += j & 1;
	float f = (float)j;
	float r = fmaf(f, -0.78515625f, a);
	r = fmaf(f, -2.4187564849853515625e-4f, r);
	r = fmaf(f, -3.77489497744594108e-8f, r);
	float z = r * r;
	float s = fmaf(POLY(z, -1.9515295891e-4f, 8.3321608736e-3f, -1.6666654611e-1f) * z, r, r);
	float c = fmaf(z, -0.5f, POLY(z, 2.443315711809948e-5f, -1.388731625493765e-3f, 4.166664568298827e-2f) * (z * z)) + 1.0f;
	int q = j >> 1 & 3;

	if (cosine)
		return q == 0 ? c : q == 1 ? -s : q == 2 ? -c : s;
	float v = q == 0 ? s : q == 1 ? c : q == 2 ? -s : -c;
	return x < 0 ? -v : v;
}

static float softplusr(float x) { return maxr(x, 0) + logr(1.0f + expr(-fabsf(x))); }

float ref_function(enum mica_fn fn, float x, float alpha, float beta)
{
	switch (fn) {
	case MICA_FN_COPY: return x;
	case MICA_FN_RELU: return maxr(0, x);
	case MICA_FN_LEAKY: return x < 0 ? x * alpha : x;
	case MICA_FN_CLIP: return clipr(x, alpha, beta);
	case MICA_FN_HSWISH: return x * clipr(fmaf(x, 0.16666667f, 0.5f), 0, 1);
	case MICA_FN_HSIGMOID: return clipr(fmaf(x, alpha, beta), 0, 1);
	case MICA_FN_SIGMOID: return 1.0f / (1.0f + expr(-x));
	case MICA_FN_TANH: return tanhr(x);
	case MICA_FN_SILU: return x / (1.0f + expr(-x));
	case MICA_FN_GELU: return (0.5f * x) * (1.0f + erfr(x * 0.70710678f));
	case MICA_FN_ABS: return fabsf(x);
	case MICA_FN_NEG: return -x;
	case MICA_FN_EXP: return expr(x);
	case MICA_FN_LOG: return logr(x);
	case MICA_FN_SQRT: return sqrtf(x);
	case MICA_FN_RECIP: return 1.0f / x;
	case MICA_FN_ERF: return erfr(x);
	case MICA_FN_FLOOR: return floorf(x);
	case MICA_FN_CEIL: return ceilf(x);
	case MICA_FN_ROUND: return rintf(x);
	case MICA_FN_SIGN: return x > 0 ? 1 : x < 0 ? -1 : x;
	case MICA_FN_ELU: return x < 0 ? alpha * (expr(x) - 1.0f) : x;
	case MICA_FN_SELU: return x < 0 ? (alpha * (expr(x) - 1.0f)) * beta : x * beta;
	case MICA_FN_SOFTPLUS: return softplusr(x);
	case MICA_FN_SOFTSIGN: return x / (1.0f + fabsf(x));
	case MICA_FN_NOT: return x == 0 ? 1 : 0;
	case MICA_FN_MISH: return x * tanhr(softplusr(x));
	case MICA_FN_SIN: return sincosr(x, 0);
	case MICA_FN_COS: return sincosr(x, 1);
	}
	return NAN;
}
