/* SPDX-License-Identifier: MIT */
/*
 * Blocked kernels with AVX2 and with one lane. The float class is widened to f32 and takes the odd element of a pair
 * first; i8 is widened to i16 and summed exactly.
 */
#ifndef MICA_GEMM_GENERIC_IMPL_H
#define MICA_GEMM_GENERIC_IMPL_H

#include "gemm.h"

#define GEMM_MAX_B	1u
#define GEMM_MAX_P	6u

VINL unsigned gemm_max_p(enum mac_class cls, unsigned b)
{
	(void)b;
	return VL == 1 ? 2 : cls == MAC_I8 ? 3 : 6;
}

VINL unsigned gemm_a_elem(enum mac_class cls)
{
	return cls == MAC_I8 ? 2 : 4;
}

VINL unsigned gemm_w_step(enum mac_class cls)
{
	return cls == MAC_FLOAT ? 128 : 64;
}

VINL const float *gemm_start(const struct gemm *g, unsigned pixel)
{
	return (const float *)((const uint8_t *)g->start + pixel * g->start_step);
}

VINL float *gemm_result(const struct gemm *g, unsigned pixel)
{
	return (float *)((uint8_t *)g->acc + pixel * g->acc_step);
}

/* Element k of a step for p pixels. */
VINL void gemm_lane(const unsigned p, const uint8_t *a, size_t lda, const float *w, const bool flush, vf acc[])
{
	vf wv[16 / VL];

#pragma GCC unroll 16
	for (unsigned j = 0; j < 16 / VL; j++)
		wv[j] = vf_load(w + j * VL);
#pragma GCC unroll 6
	for (unsigned i = 0; i < p; i++) {
		vf x = vf_set(*(const float *)(a + i * lda));

#pragma GCC unroll 16
		for (unsigned j = 0; j < 16 / VL; j++)
			acc[i * (16 / VL) + j] = mac(x, wv[j], acc[i * (16 / VL) + j], flush);
	}
}

VINL void gemm_floats(const enum mac_class cls, const unsigned p, const bool flush, const struct gemm *g)
{
	vf acc[6 * 16 / VL];
	const float *w = (const float *)g->w;

#pragma GCC unroll 32
	for (unsigned i = 0; i < p * (16 / VL); i++)
		acc[i] = vf_load(gemm_start(g, i / (16 / VL)) + i % (16 / VL) * VL);
	for (uint32_t t = 0; t < g->taps; t++) {
		const uint8_t *a = g->a + g->tap[t];

		for (size_t s = 0; s < g->steps; s++) {
			if (cls == MAC_FLOAT) {
				gemm_lane(p, a + 4, g->lda, w + 16, flush, acc);
				gemm_lane(p, a, g->lda, w, flush, acc);
				a += 8;
				w += 32;
			} else {
				gemm_lane(p, a, g->lda, w, flush, acc);
				a += 4;
				w += 16;
			}
		}
	}
#pragma GCC unroll 32
	for (unsigned i = 0; i < p * (16 / VL); i++)
		vf_store(gemm_result(g, i / (16 / VL)) + i % (16 / VL) * VL, acc[i]);
}

#if VL > 1

/* Products of i16 pairs: each lane of 64 bits keeps the sums of the first and the last two elements apart. */
VINL void gemm_ints(const unsigned p, const struct gemm *g)
{
	__m256i acc[3 * 4];
	const uint8_t *w = g->w;

#pragma GCC unroll 12
	for (unsigned i = 0; i < p * 4; i++)
		acc[i] = _mm256_setzero_si256();
	for (uint32_t t = 0; t < g->taps; t++) {
		const uint8_t *a = g->a + g->tap[t];

		for (size_t s = 0; s < g->steps; s++, a += 8, w += 64) {
			__m256i x[3];

#pragma GCC unroll 3
			for (unsigned i = 0; i < p; i++) {
				long long four;

				memcpy(&four, a + i * g->lda, sizeof(four));
				x[i] = _mm256_set1_epi64x(four);
			}
#pragma GCC unroll 4
			for (unsigned j = 0; j < 4; j++) {
				__m256i wv = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(w + j * 16)));

#pragma GCC unroll 3
				for (unsigned i = 0; i < p; i++)
					acc[i * 4 + j] = _mm256_add_epi32(acc[i * 4 + j], _mm256_madd_epi16(x[i], wv));
			}
		}
	}
#pragma GCC unroll 6
	for (unsigned i = 0; i < p * 2; i++) {
		__m256i *out = (__m256i *)gemm_result(g, i / 2) + i % 2;
		__m256i sum = _mm256_hadd_epi32(acc[i * 2], acc[i * 2 + 1]);

		sum = _mm256_permute4x64_epi64(sum, 0xd8);
		_mm256_storeu_si256(out, _mm256_add_epi32(vi_load(gemm_start(g, i / 2) + i % 2 * 8), sum));
	}
}

#else

VINL void gemm_ints(const unsigned p, const struct gemm *g)
{
	const int8_t *w = (const int8_t *)g->w;

	for (unsigned i = 0; i < p; i++)
		memmove(gemm_result(g, i), gemm_start(g, i), 64);
	for (uint32_t t = 0; t < g->taps; t++) {
		const uint8_t *a = g->a + g->tap[t];

		for (size_t s = 0; s < g->steps; s++, a += 8, w += 64)
			for (unsigned i = 0; i < p; i++) {
				int32_t *acc = (int32_t *)gemm_result(g, i);
				int16_t x[4];

				memcpy(x, a + i * g->lda, sizeof(x));
				for (unsigned l = 0; l < 16; l++) {
					int32_t sum = x[0] * w[l * 4] + x[1] * w[l * 4 + 1] +
						      x[2] * w[l * 4 + 2] + x[3] * w[l * 4 + 3];

					acc[l] = vi_add(acc[l], sum);
				}
			}
	}
}

#endif

#define GEMM_KERNEL(p) \
	static void gemm_float_##p(const struct gemm *g) \
	{ \
		if (VL == 1 && g->flush) \
			gemm_floats(MAC_FLOAT, p, true, g); \
		else \
			gemm_floats(MAC_FLOAT, p, false, g); \
	} \
	static void gemm_f32_##p(const struct gemm *g) { gemm_floats(MAC_F32, p, false, g); }
#define GEMM_INT_KERNEL(p) \
	static void gemm_i8_##p(const struct gemm *g) { gemm_ints(p, g); }
#if VL == 1
#define GEMM_FLOAT_SIZES(F) F(1) F(2)
#define GEMM_INT_SIZES(F) F(1) F(2)
#else
#define GEMM_FLOAT_SIZES(F) F(1) F(2) F(3) F(4) F(5) F(6)
#define GEMM_INT_SIZES(F) F(1) F(2) F(3)
#endif
GEMM_FLOAT_SIZES(GEMM_KERNEL)
GEMM_INT_SIZES(GEMM_INT_KERNEL)

#define GEMM_ENTRY(p) [MAC_FLOAT][1][p] = gemm_float_##p, [MAC_F32][1][p] = gemm_f32_##p,
#define GEMM_INT_ENTRY(p) [MAC_I8][1][p] = gemm_i8_##p,
static gemm_fn *const gemm_table[3][GEMM_MAX_B + 1][GEMM_MAX_P + 1] = {
	GEMM_FLOAT_SIZES(GEMM_ENTRY)
	GEMM_INT_SIZES(GEMM_INT_ENTRY)
};

/* ---- Operands into the kernels' types ---------------------------------------------------------------------------------- */

struct widen { char none; };

static void widen_init(struct widen *t, unsigned dtype)
{
	(void)dtype;
	t->none = 0;
}

static void gemm_widen_a(const struct widen *t, unsigned dtype, const uint8_t *src, size_t n, uint8_t *dst)
{
	(void)t;
	if (dtype == MICA_I8) {
		for (size_t i = 0; i < n; i++) {
			int16_t wide = (int8_t)src[i];

			memcpy(dst + 2 * i, &wide, 2);
		}
		return;
	}
	decode_dense(dtype, src, n, 1.0f, 0, (float *)dst);
	if (VL == 1 && dtype == MICA_BF16)
		flush_array((float *)dst, n);
}

static bool gemm_widens_w(unsigned dtype, size_t k_len)
{
	(void)k_len;
	return dtype != MICA_I8 && dtype != MICA_F32;
}

/* VL pairs of codes to their first and their second elements. */
VINL void widen_pairs(unsigned dtype, const uint8_t *src, vf out[2])
{
	vi pair = dtype == MICA_BF16 ? vi_load(src) : vi_load_u16(src);

	if (dtype == MICA_BF16) {
		out[0] = vf_of_bits(vi_sll(pair, 16));
		out[1] = vf_of_bits(vi_and(pair, vi_set(-65536)));
	} else if (dtype == MICA_E4M3) {
		out[0] = dec_e4m3(vi_and(pair, vi_set(0xff)));
		out[1] = dec_e4m3(vi_srl(pair, 8));
	} else {
		out[0] = dec_e5m2(vi_and(pair, vi_set(0xff)));
		out[1] = dec_e5m2(vi_srl(pair, 8));
	}
}

/* [step][lane][2] to [k][16] of f32; beyond K there is 0, whatever the packed padding holds. */
static void gemm_widen_w(const struct widen *t, unsigned dtype, const uint8_t *src, size_t steps, size_t k_len,
			 uint8_t *dst)
{
	size_t pair_bytes = 2 * mica_dtype_size(dtype);
	float *out = (float *)dst;
	vf v[2];

	(void)t;
	for (size_t s = 0; s < steps; s++, out += 32)
		for (unsigned l = 0; l < 16; l += VL, src += VL * pair_bytes) {
			widen_pairs(dtype, src, v);
			vf_store(out + l, v[0]);
			vf_store(out + 16 + l, v[1]);
		}
	if (VL == 1 && dtype == MICA_BF16)
		flush_array((float *)dst, steps * 32);
	if (k_len % 2)
		memset(out - 16, 0, 16 * sizeof(float));
}

VINL bool gemm_has_few(unsigned wdtype)
{
	(void)wdtype;
	return false;
}

VINL void gemm_few(const struct widen *t, const struct gemm *g, unsigned p, unsigned b, bool k_odd)
{
	(void)t, (void)g, (void)p, (void)b, (void)k_odd;
}

static void gemm_bias(const uint8_t *w, size_t steps, int32_t bias[16])
{
	(void)w, (void)steps;
	memset(bias, 0, 16 * sizeof(int32_t));
}

VINL int16_t gemm_i8_code(int8_t code)
{
	return code;
}

#endif /* MICA_GEMM_GENERIC_IMPL_H */
