/* SPDX-License-Identifier: MIT */
/* Activations, functions and binary operations on vectors: docs/numerics.md sections 5 and 6, formula by formula. */
#ifndef MICA_FUNC_VEC_H
#define MICA_FUNC_VEC_H

#include "engine_internal.h"
#include "vec.h"

/* Horner chain of fma, highest coefficient first. */
VINL vf fv_poly(vf x, const float *c, int n)
{
	vf y = vf_set(c[0]);

	for (int i = 1; i < n; i++)
		y = vf_fma(y, x, vf_set(c[i]));
	return y;
}
#define FV_POLY(x, ...) \
	fv_poly(x, (const float[]){ __VA_ARGS__ }, (int)(sizeof((const float[]){ __VA_ARGS__ }) / sizeof(float)))

VINL vf fv_pow2(vi n)	/* 2^n for n in the normal range */
{
	return vf_of_bits(vi_sll(vi_add(n, vi_set(127)), 23));
}

VINL vf fv_exp(vf x)
{
	vf n = vf_rint(vf_mul(x, vf_set(1.44269504f)));
	vf r = vf_fma(n, vf_set(2.12194440e-4f), vf_fma(n, vf_set(-0.693359375f), x));
	vf p = FV_POLY(r, 1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
		       5.0000001201e-1f);
	vf y = vf_add(vf_fma(p, vf_mul(r, r), r), vf_set(1.0f));
	vi k = vf_to_int(n), half = vi_sra(k, 1);

	y = vf_mul(vf_mul(y, fv_pow2(half)), fv_pow2(vi_sub(k, half)));
	y = vf_sel(vf_lt(vf_set(88.722839f), x), vf_inf_set(), y);
	y = vf_sel(vf_lt(x, vf_set(-87.336544f)), vf_set(0.0f), y);
	return vf_sel(vf_nan(x), x, y);
}

VINL vf fv_log(vf x)
{
	vm sub = vf_lt(x, vf_set(0x1p-126f));
	vf s = vf_sel(sub, vf_mul(x, vf_set(0x1p23f)), x);
	vi e = vi_sub(vi_srl(vf_bits(s), 23), vi_sel(sub, vi_set(126 + 23), vi_set(126)));
	vf m = vf_of_bits(vi_or(vi_and(vf_bits(s), vi_set(0x007fffff)), vi_set(0x3f000000)));
	vm low = vf_lt(m, vf_set(0.707106781f));
	vf ef, z, y;

	ef = vf_of_int(vi_sel(low, vi_sub(e, vi_set(1)), e));
	m = vf_sub(vf_sel(low, vf_add(m, m), m), vf_set(1.0f));
	z = vf_mul(m, m);
	y = FV_POLY(m, 7.0376836292e-2f, -1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
		    -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f);
	y = vf_mul(vf_mul(y, m), z);
	y = vf_fma(ef, vf_set(-2.12194440e-4f), y);
	y = vf_fma(vf_set(-0.5f), z, y);
	y = vf_fma(ef, vf_set(0.693359375f), vf_add(m, y));
	y = vf_sel(vf_eq(x, vf_inf_set()), x, y);
	y = vf_sel(vf_eq(x, vf_set(0.0f)), vf_neg(vf_inf_set()), y);
	return vf_sel(vm_or(vf_nan(x), vf_lt(x, vf_set(0.0f))), vf_nan_set(), y);
}

VINL vf fv_tanh(vf x)
{
	vf a = vf_abs(x), z = vf_mul(x, x), small, large;
	vf p = FV_POLY(z, -5.70498872745e-3f, 2.06390887954e-2f, -5.37397155531e-2f, 1.33314422036e-1f,
		       -3.33332819422e-1f);

	small = vf_fma(vf_mul(p, z), x, x);
	large = vf_add(fv_exp(vf_add(a, a)), vf_set(1.0f));
	large = vf_sub(vf_set(1.0f), vf_div(vf_set(2.0f), large));
	return vf_sel(vf_lt(a, vf_set(0.625f)), small, vf_copysign(large, x));
}

VINL vf fv_erf(vf x)
{
	vf a = vf_abs(x), t, q, small, large;

	small = FV_POLY(vf_mul(x, x), 7.853861353153693e-5f, -8.010193625184903e-4f, 5.188327685732524e-3f,
			-2.685381193529856e-2f, 1.128358514861418e-1f, -3.761262582423300e-1f, 1.128379165726710f);
	t = vf_div(vf_set(1.0f), vf_fma(vf_set(0.3275911f), a, vf_set(1.0f)));
	q = FV_POLY(t, 1.061405429f, -1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f);
	q = vf_mul(q, t);
	large = vf_fma(vf_neg(q), fv_exp(vf_neg(vf_mul(a, a))), vf_set(1.0f));
	return vf_sel(vf_le(a, vf_set(1.0f)), vf_mul(x, small), vf_copysign(large, x));
}

/* sin for quarter = 0, cos for quarter = 1: S and C by (j / 2 + quarter) mod 4. */
VINL vf fv_sincos(vf x, int quarter)
{
	vf a = vf_abs(x), f, r, z, s, c, y;
	vi j = vf_trunc(vf_mul(a, vf_set(1.27323954f))), q;

	j = vi_add(j, vi_and(j, vi_set(1)));
	f = vf_of_int(j);
	r = vf_fma(f, vf_set(-0.78515625f), a);
	r = vf_fma(f, vf_set(-2.4187564849853515625e-4f), r);
	r = vf_fma(f, vf_set(-3.77489497744594108e-8f), r);
	z = vf_mul(r, r);
	s = FV_POLY(z, -1.9515295891e-4f, 8.3321608736e-3f, -1.6666654611e-1f);
	s = vf_fma(vf_mul(s, z), r, r);
	c = FV_POLY(z, 2.443315711809948e-5f, -1.388731625493765e-3f, 4.166664568298827e-2f);
	c = vf_add(vf_fma(z, vf_set(-0.5f), vf_mul(c, vf_mul(z, z))), vf_set(1.0f));
	q = vi_and(vi_add(vi_sra(j, 1), vi_set(quarter)), vi_set(3));
	y = vf_sel(vi_eq(vi_and(q, vi_set(1)), vi_set(0)), s, c);
	y = vf_sel(vi_gt(q, vi_set(1)), vf_neg(y), y);
	if (!quarter)
		y = vf_sel(vf_lt(x, vf_set(0.0f)), vf_neg(y), y);
	return vf_sel(vf_le(a, vf_set(8192.0f)), y, vf_nan_set());
}

VINL vf fv_clip(vf x, vf lo, vf hi)
{
	return vf_min(hi, vf_max(lo, x));
}

VINL vf fv_unit(vf x)
{
	return fv_clip(x, vf_set(0.0f), vf_set(1.0f));
}

VINL vf fv_one_plus_exp_neg(vf x)
{
	return vf_add(vf_set(1.0f), fv_exp(vf_neg(x)));
}

VINL vf fv_softplus(vf x)
{
	return vf_add(vf_max(x, vf_set(0.0f)), fv_log(fv_one_plus_exp_neg(vf_abs(x))));
}

VINL vf fv_elu(vf x, vf alpha)
{
	return vf_mul(alpha, vf_sub(fv_exp(x), vf_set(1.0f)));
}

VINL vf fv_gelu(vf x)
{
	vf e = fv_erf(vf_mul(x, vf_set(0.70710678f)));

	return vf_mul(vf_mul(vf_set(0.5f), x), vf_add(vf_set(1.0f), e));
}

VINL vf fv_sign(vf x)
{
	const vf zero = vf_set(0.0f);

	return vf_sel(vf_lt(zero, x), vf_set(1.0f), vf_sel(vf_lt(x, zero), vf_set(-1.0f), x));
}

VINL vf fv_fn(const enum mica_fn fn, vf x, vf alpha, vf beta)
{
	const vf zero = vf_set(0.0f), one = vf_set(1.0f);

	switch (fn) {
	case MICA_FN_RELU:
		return vf_max(zero, x);
	case MICA_FN_LEAKY:
		return vf_sel(vf_lt(x, zero), vf_mul(x, alpha), x);
	case MICA_FN_CLIP:
		return fv_clip(x, alpha, beta);
	case MICA_FN_HSWISH:
		return vf_mul(x, fv_unit(vf_fma(x, vf_set(0.16666667f), vf_set(0.5f))));
	case MICA_FN_HSIGMOID:
		return fv_unit(vf_fma(x, alpha, beta));
	case MICA_FN_SIGMOID:
		return vf_div(one, fv_one_plus_exp_neg(x));
	case MICA_FN_TANH:
		return fv_tanh(x);
	case MICA_FN_SILU:
		return vf_div(x, fv_one_plus_exp_neg(x));
	case MICA_FN_GELU:
		return fv_gelu(x);
	case MICA_FN_ABS:
		return vf_abs(x);
	case MICA_FN_NEG:
		return vf_neg(x);
	case MICA_FN_EXP:
		return fv_exp(x);
	case MICA_FN_LOG:
		return fv_log(x);
	case MICA_FN_SQRT:
		return vf_sqrt(x);
	case MICA_FN_RECIP:
		return vf_div(one, x);
	case MICA_FN_ERF:
		return fv_erf(x);
	case MICA_FN_FLOOR:
		return vf_floor(x);
	case MICA_FN_CEIL:
		return vf_ceil(x);
	case MICA_FN_ROUND:
		return vf_rint(x);
	case MICA_FN_SIGN:
		return fv_sign(x);
	case MICA_FN_ELU:
		return vf_sel(vf_lt(x, zero), fv_elu(x, alpha), x);
	case MICA_FN_SELU:
		return vf_mul(vf_sel(vf_lt(x, zero), fv_elu(x, alpha), x), beta);
	case MICA_FN_SOFTPLUS:
		return fv_softplus(x);
	case MICA_FN_SOFTSIGN:
		return vf_div(x, vf_add(one, vf_abs(x)));
	case MICA_FN_NOT:
		return vf_sel(vf_eq(x, zero), one, zero);
	case MICA_FN_MISH:
		return vf_mul(x, fv_tanh(fv_softplus(x)));
	case MICA_FN_SIN:
		return fv_sincos(x, 0);
	case MICA_FN_COS:
		return fv_sincos(x, 1);
	default:
		return x;
	}
}

/* b integer with |b| <= 16: repeated products; 0.5: root; otherwise exp(b * log(a)). */
VINL vf fv_pow(vf a, vf b)
{
	const vf one = vf_set(1.0f);
	vf mag = vf_abs(b), r = one, y = fv_exp(vf_mul(b, fv_log(a)));
	vm whole = vm_and(vf_le(mag, vf_set(16.0f)), vf_eq(vf_rint(b), b));

	for (int i = 0; i < 16; i++)
		r = vf_sel(vf_lt(vf_set((float)i), mag), vf_mul(r, a), r);
	r = vf_sel(vf_lt(b, vf_set(0.0f)), vf_div(one, r), r);
	y = vf_sel(vf_eq(b, vf_set(0.5f)), vf_sqrt(a), y);
	return vf_sel(whole, r, y);
}

VINL vm fv_true(vf x)	/* x != 0, so also for a NaN */
{
	return vm_not(vf_eq(x, vf_set(0.0f)));
}

VINL vf fv_bin(const enum mica_bin op, vf a, vf b, vf c)
{
	const vf zero = vf_set(0.0f), one = vf_set(1.0f);

	switch (op) {
	case MICA_BIN_ADD:
		return vf_add(a, b);
	case MICA_BIN_SUB:
		return vf_sub(a, b);
	case MICA_BIN_MUL:
		return vf_mul(a, b);
	case MICA_BIN_DIV:
		return vf_div(a, b);
	case MICA_BIN_MAX:
		return vf_max(a, b);
	case MICA_BIN_MIN:
		return vf_min(a, b);
	case MICA_BIN_POW:
		return fv_pow(a, b);
	case MICA_BIN_EQ:
		return vf_sel(vf_eq(a, b), one, zero);
	case MICA_BIN_LT:
		return vf_sel(vf_lt(a, b), one, zero);
	case MICA_BIN_LE:
		return vf_sel(vf_le(a, b), one, zero);
	case MICA_BIN_GT:
		return vf_sel(vf_lt(b, a), one, zero);
	case MICA_BIN_GE:
		return vf_sel(vf_le(b, a), one, zero);
	case MICA_BIN_AND:
		return vf_sel(vm_and(fv_true(a), fv_true(b)), one, zero);
	case MICA_BIN_OR:
		return vf_sel(vm_or(fv_true(a), fv_true(b)), one, zero);
	case MICA_BIN_XOR:
		return vf_sel(vm_xor(fv_true(a), fv_true(b)), one, zero);
	case MICA_BIN_WHERE:
		return vf_sel(fv_true(a), b, c);
	case MICA_BIN_PRELU:
		return vf_sel(vf_lt(a, zero), vf_mul(a, b), a);
	default:	/* MOD */
		return vf_sub(a, vf_mul(vf_floor(vf_div(a, b)), b));
	}
}

/* Activations are the functions of the same name. */
VINL enum mica_fn fn_of_act(unsigned act)
{
	return (enum mica_fn)act;
}
#define A_SAME(code, UP, low) \
	_Static_assert((int)MICA_ACT_##UP == (int)MICA_FN_##UP || MICA_ACT_##UP == MICA_ACT_NONE, "activation code");
enum { MICA_FN_NONE = MICA_FN_COPY };
MICA_ACTS(A_SAME)
#undef A_SAME

/* ---- Arrays: n is rounded up to whole vectors, so the arrays have room for that ------------------------------------- */

#define FN_LOOP(code, UP, low) \
	case MICA_FN_##UP: \
		for (size_t i = 0; i < n; i += VL) \
			vf_store(x + i, fv_fn(MICA_FN_##UP, vf_load(x + i), va, vb)); \
		break;
static void fn_array(enum mica_fn fn, float *x, size_t n, float alpha, float beta)
{
	const vf va = vf_set(alpha), vb = vf_set(beta);

	if (fn == MICA_FN_COPY)
		return;
	switch (fn) {
	MICA_FNS(FN_LOOP)
	default:
		break;
	}
}
#undef FN_LOOP

/* out may be a. */
#define BIN_LOOP(code, UP, low) \
	case MICA_BIN_##UP: \
		for (size_t i = 0; i < n; i += VL) { \
			vf vc = c ? vf_load(c + i) : vf_set(0.0f); \
			vf_store(out + i, fv_bin(MICA_BIN_##UP, vf_load(a + i), vf_load(b + i), vc)); \
		} \
		break;
__attribute__((unused))
static void bin_array(enum mica_bin op, float *out, const float *a, const float *b, const float *c, size_t n)
{
	switch (op) {
	MICA_BINS(BIN_LOOP)
	default:
		break;
	}
}
#undef BIN_LOOP

#endif /* MICA_FUNC_VEC_H */
