/* SPDX-License-Identifier: MIT */
/*
 * Blocked kernels with AVX-512. One step takes 4 bytes of activations of each pixel (a pair of bf16, four u8, one f32)
 * and 64 bytes of weights of each block of 16 channels: VDPBF16PS, VPDPBUSD or VFMADD, all of one form.
 */
#ifndef MICA_GEMM_AVX512_IMPL_H
#define MICA_GEMM_AVX512_IMPL_H

#include <immintrin.h>
#include "gemm.h"

#define GEMM_MAX_B	4u
#define GEMM_MAX_P	14u

/* Pixels that fit the registers beside b blocks: p * b accumulators, b weights, one broadcast. */
VINL unsigned gemm_max_p(enum mac_class cls, unsigned b)
{
	(void)cls;
	return b <= 2 ? 14 : 7;
}

VINL unsigned gemm_a_elem(enum mac_class cls)
{
	return cls == MAC_F32 ? 4 : cls == MAC_I8 ? 1 : 2;
}

VINL unsigned gemm_w_step(enum mac_class cls)
{
	(void)cls;
	return 64;
}

VINL __m512 gemm_fma(const enum mac_class cls, __m512 acc, __m512i a, __m512i w)
{
	if (cls == MAC_F32)
		return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(w), acc);
	if (cls == MAC_I8) {	/* not the intrinsic: an accumulator that changes its type is spilled */
		__asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(w));
		return acc;
	}
	return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)w);
}

/* The same with weights in memory: where four blocks of them would be one register too many. */
VINL __m512 gemm_fma_at(const enum mac_class cls, __m512 acc, __m512i a, const uint8_t *w)
{
	const struct { uint8_t byte[64]; } *at = (const void *)w;

	if (cls == MAC_I8)
		__asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(a), "m"(*at));
	else if (cls == MAC_FLOAT)
		__asm__("vdpbf16ps %2, %1, %0" : "+v"(acc) : "v"(a), "m"(*at));
	else
		__asm__("vfmadd231ps %2, %1, %0" : "+v"(acc) : "v"(a), "m"(*at));
	return acc;
}

/* The accumulators of one step. Pixels sit lda apart: five to a base pointer, so that addresses need no registers. */
VINL void gemm_step(const enum mac_class cls, const unsigned p, const unsigned b, const uint8_t *const base[3], size_t lda,
		    size_t lda3, const uint8_t *w, size_t ldw, size_t disp, __m512 acc[GEMM_MAX_P * 2])
{
	const unsigned held = b < 4 ? b : 3;
	__m512i wv[GEMM_MAX_B];

#pragma GCC unroll 4
	for (unsigned j = 0; j < held; j++)
		wv[j] = _mm512_loadu_si512(w + j * ldw);
#pragma GCC unroll 14
	for (unsigned i = 0; i < p; i++) {
		const uint8_t *at = base[i / 5];
		const unsigned q = i % 5;
		__m512i a;
		int32_t four;

		at = q == 3 ? at + lda3 : at + q * lda;
		memcpy(&four, at + disp, 4);
		a = _mm512_set1_epi32(four);
#pragma GCC unroll 4
		for (unsigned j = 0; j < b; j++)
			acc[i * b + j] = j < held ? gemm_fma(cls, acc[i * b + j], a, wv[j]) :
						    gemm_fma_at(cls, acc[i * b + j], a, w + j * ldw);
	}
}

VINL __m512 gemm_start(const struct gemm *g, unsigned pixel, unsigned block)
{
	return _mm512_loadu_ps((const float *)((const uint8_t *)g->start + pixel * g->start_step) + block * 16);
}

VINL float *gemm_result(const struct gemm *g, unsigned pixel, unsigned block)
{
	return (float *)((uint8_t *)g->acc + pixel * g->acc_step) + block * 16;
}

/* All of K for the pixels from `first` on. */
VINL void gemm_sums(const enum mac_class cls, const unsigned p, const unsigned b, const struct gemm *g, const uint8_t *first,
		    size_t ahead, __m512 acc[GEMM_MAX_P * 2])
{
	const uint8_t *w = g->w;

	for (unsigned t = 0; t < g->taps; t++) {
		const uint8_t *a = first + g->tap[t];
		const uint8_t *base[3] = { a, a + 5 * g->lda, a + 10 * g->lda };
		size_t s = 0;

		for (; s + 4 <= g->steps; s += 4) {
			size_t lda = g->lda, lda3 = 3 * g->lda, ldw = g->ldw;

			/* Kept in registers as they are: multiples made ahead of the loop would spill. */
			__asm__ volatile("" : "+r"(lda), "+r"(lda3), "+r"(ldw));
#pragma GCC unroll 4
			for (unsigned u = 0; u < 4; u++) {
				_mm_prefetch((const char *)w + ahead + u * 64, _MM_HINT_T1);
				gemm_step(cls, p, b, base, lda, lda3, w + u * 64, ldw, u * 4, acc);
			}
			w += 4 * 64;
			base[0] += 16;
			base[1] += 16;
			base[2] += 16;
		}
		for (; s < g->steps; s++) {
			gemm_step(cls, p, b, base, g->lda, 3 * g->lda, w, g->ldw, 0, acc);
			w += 64;
			base[0] += 4;
			base[1] += 4;
			base[2] += 4;
		}
	}
}

VINL void gemm_body(const enum mac_class cls, const unsigned p, const unsigned b, const struct gemm *g)
{
	__m512 acc[GEMM_MAX_P * 2];

#pragma GCC unroll 28
	for (unsigned i = 0; i < p * b; i++)
		acc[i] = gemm_start(g, i / b, i % b);
	gemm_sums(cls, p, b, g, g->a, g->ahead, acc);
#pragma GCC unroll 28
	for (unsigned i = 0; i < p * b; i++)
		_mm512_storeu_ps(gemm_result(g, i / b, i % b), acc[i]);
}

#define GEMM_KERNEL(cls, name, p, b) \
	static void gemm_##name##_##p##_##b(const struct gemm *g) { gemm_body(cls, p, b, g); }
#define GEMM_KERNELS(cls, name, F) \
	F(cls, name, 1, 1) F(cls, name, 2, 1) F(cls, name, 3, 1) F(cls, name, 4, 1) F(cls, name, 5, 1) \
	F(cls, name, 6, 1) F(cls, name, 7, 1) F(cls, name, 8, 1) F(cls, name, 9, 1) F(cls, name, 10, 1) \
	F(cls, name, 11, 1) F(cls, name, 12, 1) F(cls, name, 13, 1) F(cls, name, 14, 1) \
	F(cls, name, 1, 2) F(cls, name, 2, 2) F(cls, name, 3, 2) F(cls, name, 4, 2) F(cls, name, 5, 2) \
	F(cls, name, 6, 2) F(cls, name, 7, 2) F(cls, name, 8, 2) F(cls, name, 9, 2) F(cls, name, 10, 2) \
	F(cls, name, 11, 2) F(cls, name, 12, 2) F(cls, name, 13, 2) F(cls, name, 14, 2) \
	F(cls, name, 1, 4) F(cls, name, 2, 4) F(cls, name, 3, 4) F(cls, name, 4, 4) F(cls, name, 5, 4) \
	F(cls, name, 6, 4) F(cls, name, 7, 4)
GEMM_KERNELS(MAC_FLOAT, bf16, GEMM_KERNEL)
GEMM_KERNELS(MAC_I8, i8, GEMM_KERNEL)
GEMM_KERNELS(MAC_F32, f32, GEMM_KERNEL)

#define GEMM_ENTRY(cls, name, p, b) [cls][b][p] = gemm_##name##_##p##_##b,
static gemm_fn *const gemm_table[3][GEMM_MAX_B + 1][GEMM_MAX_P + 1] = {
	GEMM_KERNELS(MAC_FLOAT, bf16, GEMM_ENTRY)
	GEMM_KERNELS(MAC_I8, i8, GEMM_ENTRY)
	GEMM_KERNELS(MAC_F32, f32, GEMM_ENTRY)
};

/* ---- Operands into the kernels' types ---------------------------------------------------------------------------------- */

struct widen { struct quad_tables t; };	/* 64-byte aligned */

static void widen_init(struct widen *t, unsigned dtype)
{
	quad_tables(dtype, &t->t);
}

/* 64 FP8 codes to 64 bf16: two look-ups of 128 entries, the sign put back, bytes interleaved. */
VINL void widen_codes(const __m512i t[4], __m512i codes, __m512i out[2])
{
	const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
	__m512i c = _mm512_permutexvar_epi64(order, codes);
	__m512i lo = _mm512_permutex2var_epi8(t[0], c, t[1]), hi = _mm512_permutex2var_epi8(t[2], c, t[3]);

	hi = _mm512_ternarylogic_epi64(hi, c, _mm512_set1_epi8((char)0x80), 0xf8);	/* hi | (c & 0x80) */
	out[0] = _mm512_unpacklo_epi8(lo, hi);
	out[1] = _mm512_unpackhi_epi8(lo, hi);
}

static void widen_fp8(const struct widen *tables, const uint8_t *src, size_t n, uint8_t *dst)
{
	__m512i out[2];
	const __m512i *t = tables->t.v;
	size_t i = 0;

	for (; i + 64 <= n; i += 64) {
		widen_codes(t, _mm512_loadu_si512(src + i), out);
		_mm512_storeu_si512(dst + 2 * i, out[0]);
		_mm512_storeu_si512(dst + 2 * i + 64, out[1]);
	}
	if (i < n) {
		uint64_t left = n - i;
		uint32_t low = left >= 32 ? 0xffffffffu : (1u << left) - 1;
		uint32_t high = left > 32 ? (1u << (left - 32)) - 1 : 0;

		widen_codes(t, _mm512_maskz_loadu_epi8((1ull << left) - 1, src + i), out);
		_mm512_mask_storeu_epi16(dst + 2 * i, low, out[0]);
		_mm512_mask_storeu_epi16(dst + 2 * i + 64, high, out[1]);
	}
}

static void flip_signs(const uint8_t *src, size_t n, uint8_t *dst)
{
	const __m512i sign = _mm512_set1_epi8((char)0x80);
	size_t i = 0;

	for (; i + 64 <= n; i += 64)
		_mm512_storeu_si512(dst + i, _mm512_xor_si512(_mm512_loadu_si512(src + i), sign));
	if (i < n) {
		__mmask64 m = (1ull << (n - i)) - 1;

		_mm512_mask_storeu_epi8(dst + i, m, _mm512_xor_si512(_mm512_maskz_loadu_epi8(m, src + i), sign));
	}
}

/* n activation codes as the kernels read them. i8 is moved to unsigned, which gemm_bias makes up for. */
static void gemm_widen_a(const struct widen *t, unsigned dtype, const uint8_t *src, size_t n, uint8_t *dst)
{
	switch (dtype) {
	case MICA_E4M3:
	case MICA_E5M2:
		widen_fp8(t, src, n, dst);
		break;
	case MICA_I8:
		flip_signs(src, n, dst);
		break;
	default:
		memcpy(dst, src, n * mica_dtype_size(dtype));
		break;
	}
}

/* Packed steps of one block as the kernels read them. NULL tables: not widened, the packed weights serve as they are. */
static bool gemm_widens_w(unsigned dtype, size_t k_len)
{
	return dtype == MICA_E4M3 || dtype == MICA_E5M2 || (dtype == MICA_BF16 && k_len % 2);
}

static void gemm_widen_w(const struct widen *t, unsigned dtype, const uint8_t *src, size_t steps, size_t k_len,
			 uint8_t *dst)
{
	if (dtype == MICA_BF16)
		memcpy(dst, src, steps * 64);
	else
		widen_fp8(t, src, steps * 32, dst);
	if (k_len % 2) {	/* beyond K there is 0, whatever the packed padding holds */
		uint8_t *last = dst + (steps - 1) * 64;

		_mm512_storeu_si512(last, _mm512_and_si512(_mm512_loadu_si512(last), _mm512_set1_epi32(0xffff)));
	}
}

/*
 * One or two pixels: weights are used once or twice, so they are widened in registers. g->w are packed FP8 codes of
 * g->ldw bytes a block; K lies at one tap.
 */
VINL void few_steps(const __m512i t[4], const struct gemm *g, const unsigned p, const unsigned b, size_t s,
		    __mmask64 have, __m512i keep, __m512 acc[2][GEMM_MAX_B])
{
#pragma GCC unroll 4
	for (unsigned j = 0; j < b; j++) {
		__m512i w[2];

		widen_codes(t, _mm512_maskz_loadu_epi8(have, g->w + j * g->ldw + s * 32), w);
		w[have == ~0ull] = _mm512_and_si512(w[have == ~0ull], keep);
#pragma GCC unroll 2
		for (unsigned i = 0; i < p; i++) {
			const uint8_t *at = g->a + i * g->lda + g->tap[0] + s * 4;
			int32_t a[2] = { 0, 0 };

			memcpy(a, at, have == ~0ull ? 8 : 4);
			acc[i][j] = gemm_fma(MAC_FLOAT, acc[i][j], _mm512_set1_epi32(a[0]), w[0]);
			if (have == ~0ull)
				acc[i][j] = gemm_fma(MAC_FLOAT, acc[i][j], _mm512_set1_epi32(a[1]), w[1]);
		}
	}
}

VINL void few_body(const struct widen *tables, const struct gemm *g, const unsigned p, const unsigned b, bool k_odd)
{
	const __m512i all = _mm512_set1_epi32(-1), last = k_odd ? _mm512_set1_epi32(0xffff) : all;
	__m512 acc[2][GEMM_MAX_B];
	const __m512i *t = tables->t.v;
	size_t s = 0;

	for (unsigned i = 0; i < p; i++)
		for (unsigned j = 0; j < b; j++)
			acc[i][j] = gemm_start(g, i, j);
	for (; s + 2 < g->steps; s += 2)
		few_steps(t, g, p, b, s, ~0ull, all, acc);
	few_steps(t, g, p, b, s, s + 2 == g->steps ? ~0ull : 0xffffffffull, last, acc);
	for (unsigned i = 0; i < p; i++)
		for (unsigned j = 0; j < b; j++)
			_mm512_storeu_ps(gemm_result(g, i, j), acc[i][j]);
}

VINL bool gemm_has_few(unsigned wdtype)
{
	return wdtype == MICA_E4M3 || wdtype == MICA_E5M2;
}

static void gemm_few(const struct widen *t, const struct gemm *g, unsigned p, unsigned b, bool k_odd)
{
	switch (p * 8 + b) {
	case 8 + 1:
		few_body(t, g, 1, 1, k_odd);
		break;
	case 8 + 2:
		few_body(t, g, 1, 2, k_odd);
		break;
	case 8 + 4:
		few_body(t, g, 1, 4, k_odd);
		break;
	case 16 + 1:
		few_body(t, g, 2, 1, k_odd);
		break;
	case 16 + 2:
		few_body(t, g, 2, 2, k_odd);
		break;
	default:
		few_body(t, g, 2, 4, k_odd);
		break;
	}
}

/* What i8 accumulators of one block must start with besides init: -128 times the sum of the weights. */
static void gemm_bias(const uint8_t *w, size_t steps, int32_t bias[16])
{
	__m512i sum[4] = { _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512() };
	const __m512i x = _mm512_set1_epi8((char)0x80);
	size_t s = 0;

	for (; s + 4 <= steps; s += 4)
		for (unsigned u = 0; u < 4; u++)
			sum[u] = _mm512_dpbusd_epi32(sum[u], x, _mm512_loadu_si512(w + (s + u) * 64));
	for (; s < steps; s++)
		sum[0] = _mm512_dpbusd_epi32(sum[0], x, _mm512_loadu_si512(w + s * 64));
	sum[0] = _mm512_add_epi32(_mm512_add_epi32(sum[0], sum[1]), _mm512_add_epi32(sum[2], sum[3]));
	_mm512_storeu_si512(bias, _mm512_sub_epi32(_mm512_setzero_si512(), sum[0]));
}

/* An activation code of i8 in the kernels' type. */
VINL uint8_t gemm_i8_code(int8_t code)
{
	return (uint8_t)code ^ 0x80;
}

#endif /* MICA_GEMM_AVX512_IMPL_H */
