/* SPDX-License-Identifier: MIT */
/*
 * Four vectors of 16 lanes to and from 64 codes of 8 bits: the same bits as number_vec.h, with the packing shared by the
 * four. NaNs are rare: a quad that has one goes the long way.
 */
#ifndef MICA_QUAD_AVX512_IMPL_H
#define MICA_QUAD_AVX512_IMPL_H

#include "number_vec.h"

struct quad { vf v[4]; };

VINL bool dtype_is_fp8(unsigned t)
{
	return t == MICA_E4M3 || t == MICA_E5M2;
}

VINL bool dtype_is_quad(unsigned t)
{
	return dtype_is_fp8(t) || t == MICA_I8 || t == MICA_U8;
}

VINL unsigned mica_dtype_bytes(const enum mica_dtype t)	/* mica_dtype_size, known at compile time */
{
	return t == MICA_F32 || t == MICA_I32 ? 4 : t == MICA_BF16 ? 2 : 1;
}

/* The low n (at least 1, more than 64 count as 64) of 64 bits, of 16. */
VINL __mmask64 mask_bytes(size_t n)
{
	return n >= 64 ? ~0ull : (1ull << n) - 1;
}

VINL __mmask16 mask_lanes(size_t n)
{
	return n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1);
}

__attribute__((noinline, cold, unused))
static vi quad_encode_long(const enum mica_dtype t, const struct quad *y)
{
	uint8_t codes[64];

	for (int j = 0; j < 4; j++)
		vi_store_u8(codes + 16 * j, t == MICA_E4M3 ? enc_e4m3(y->v[j]) : enc_e5m2(y->v[j]));
	return _mm512_loadu_si512(codes);
}

/* What packing four vectors step by step leaves to be done: lane i of vector j becomes byte 16 j + i. */
VINL vi quad_order(vi bytes)
{
	return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), bytes);
}

/*
 * The magnitude rounds as it is added to a power of two (2^(23 - mant) times its own, or more where the type is
 * subnormal): its significand appears in the sum's last bits. Without denormals, which are slow. Returns the code plus
 * FP8_EXCESS.
 */
VINL vi quad_round(vf y, const int mant, const int bias, const float top)
{
	vi mag = vf_bits(_mm512_range_ps(y, vf_set(top), 0x0a));	/* the smaller magnitude, sign cleared */
	vi up = vi_add(vi_and(mag, vi_set(0x7f800000)), vi_set((23 - mant) << 23));
	vi big = vi_max(up, vi_set((127 + 1 - bias + 23 - mant) << 23));
	vi sum = vf_bits(vf_add(vf_of_bits(mag), vf_of_bits(big)));

	return vi_add(vi_sub(sum, big), vi_srl(big, 23 - mant));
}
#define FP8_EXCESS(mant, bias) ((127 - (bias) + 23 - (mant) + 1) << (mant))

VINL vi quad_encode_fp8(const enum mica_dtype t, const struct quad *y)
{
	const int mant = t == MICA_E4M3 ? 3 : 2, bias = t == MICA_E4M3 ? 7 : 15;
	const vi excess = _mm512_set1_epi16((short)FP8_EXCESS(mant, bias));
	vi c[4], sign;

	if (__builtin_expect(!_kortestz_mask16_u8(_mm512_cmp_ps_mask(y->v[0], y->v[1], _CMP_UNORD_Q),
						  _mm512_cmp_ps_mask(y->v[2], y->v[3], _CMP_UNORD_Q)), 0)) {
		struct quad copy = *y;

		return quad_encode_long(t, &copy);
	}
#pragma GCC unroll 4
	for (int j = 0; j < 4; j++)
		c[j] = quad_round(y->v[j], mant, bias, t == MICA_E4M3 ? 448.0f : 57344.0f);
	c[0] = _mm512_packus_epi16(_mm512_sub_epi16(_mm512_packs_epi32(c[0], c[1]), excess),
				   _mm512_sub_epi16(_mm512_packs_epi32(c[2], c[3]), excess));
	sign = _mm512_packs_epi16(_mm512_packs_epi32(vf_bits(y->v[0]), vf_bits(y->v[1])),
				  _mm512_packs_epi32(vf_bits(y->v[2]), vf_bits(y->v[3])));
	return quad_order(_mm512_ternarylogic_epi32(c[0], sign, _mm512_set1_epi8((char)0x80), 0xf8));	/* c | (sign & 0x80) */
}

/* Whole numbers of at most 2^31 in magnitude, NaNs excepted: saturating packs do the clamps. z: zero, in words. */
VINL vi quad_pack_int(const enum mica_dtype t, const struct quad *y, vi z)
{
	vi lo = _mm512_adds_epi16(_mm512_packs_epi32(vf_to_int(y->v[0]), vf_to_int(y->v[1])), z);
	vi hi = _mm512_adds_epi16(_mm512_packs_epi32(vf_to_int(y->v[2]), vf_to_int(y->v[3])), z);

	return quad_order(t == MICA_I8 ? _mm512_packs_epi16(lo, hi) : _mm512_packus_epi16(lo, hi));
}

/* A NaN converts to the smallest integer, which is what it should give. */
VINL vi quad_encode_int(const enum mica_dtype t, const struct quad *y, int zero)
{
	struct quad q;

#pragma GCC unroll 4
	for (int j = 0; j < 4; j++)
		q.v[j] = _mm512_min_ps(vf_set(65536.0f), y->v[j]);
	return quad_pack_int(t, &q, _mm512_set1_epi16((short)zero));
}

/* y = value * inv already. */
VINL vi quad_encode(const enum mica_dtype t, const struct quad *y, int zero)
{
	return t == MICA_I8 || t == MICA_U8 ? quad_encode_int(t, y, zero) : quad_encode_fp8(t, y);
}

VINL struct quad quad_scaled(const float *src, vf factor)
{
	return (struct quad){ { vf_mul(vf_load(src), factor), vf_mul(vf_load(src + 16), factor),
				vf_mul(vf_load(src + 32), factor), vf_mul(vf_load(src + 48), factor) } };
}

/* ---- Codes to values without scale --------------------------------------------------------------------------------------- */

/* Lower and upper bytes of the bf16 that the non-negative FP8 codes stand for. */
#define FP8_EACH8(F, c) F((c)), F((c) + 1), F((c) + 2), F((c) + 3), F((c) + 4), F((c) + 5), F((c) + 6), F((c) + 7)
#define FP8_EACH32(F, c) FP8_EACH8(F, c), FP8_EACH8(F, (c) + 8), FP8_EACH8(F, (c) + 16), FP8_EACH8(F, (c) + 24)
#define FP8_EACH(F) { FP8_EACH32(F, 0), FP8_EACH32(F, 32), FP8_EACH32(F, 64), FP8_EACH32(F, 96) }
#define E4M3_BF16(c) ((c) == 0 ? 0 : (c) == 0x7f ? 0x7fc0 : (c) == 1 ? 118 << 7 : (c) < 4 ? 119 << 7 | ((c) & 1) << 6 : \
		      (c) < 8 ? 120 << 7 | ((c) & 3) << 5 : (((c) >> 3) + 120) << 7 | ((c) & 7) << 4)
#define E5M2_BF16(c) ((c) == 0 ? 0 : (c) == 1 ? 111 << 7 : (c) < 4 ? 112 << 7 | ((c) & 1) << 6 : \
		      (c) > 0x7b ? 0x7f80 | ((c) & 3) << 5 : (((c) >> 2) + 112) << 7 | ((c) & 3) << 5)
#define E4M3_LOW(c) (uint8_t)(E4M3_BF16(c))
#define E4M3_HIGH(c) (uint8_t)((E4M3_BF16(c)) >> 8)
#define E5M2_LOW(c) (uint8_t)(E5M2_BF16(c))
#define E5M2_HIGH(c) (uint8_t)((E5M2_BF16(c)) >> 8)

static const uint8_t fp8_bf16[2][2][128] __attribute__((aligned(64))) = {
	{ FP8_EACH(E4M3_LOW), FP8_EACH(E4M3_HIGH) }, { FP8_EACH(E5M2_LOW), FP8_EACH(E5M2_HIGH) },
};

struct quad_tables { vi v[4]; };

VINL void quad_tables(unsigned dtype, struct quad_tables *t)
{
	const uint8_t *at = fp8_bf16[dtype == MICA_E5M2][0];

	for (int i = 0; i < 4; i++)
		t->v[i] = _mm512_load_si512(at + 64 * i);
}

VINL void quad_decode_fp8(const struct quad_tables *t, vi codes, struct quad *out)
{
	const vi none = vi_set(0);
	vi c = quad_order(codes), half[2];	/* an order that is its own inverse */
	vi lo = _mm512_permutex2var_epi8(t->v[0], c, t->v[1]), hi = _mm512_permutex2var_epi8(t->v[2], c, t->v[3]);

	hi = _mm512_ternarylogic_epi64(hi, c, _mm512_set1_epi8((char)0x80), 0xf8);
	half[0] = _mm512_unpacklo_epi8(lo, hi);
	half[1] = _mm512_unpackhi_epi8(lo, hi);
	out->v[0] = vf_of_bits(_mm512_unpacklo_epi16(none, half[0]));
	out->v[1] = vf_of_bits(_mm512_unpackhi_epi16(none, half[0]));
	out->v[2] = vf_of_bits(_mm512_unpacklo_epi16(none, half[1]));
	out->v[3] = vf_of_bits(_mm512_unpackhi_epi16(none, half[1]));
}

/* ---- Parts of a vector: lanes outside the mask are not touched in memory ------------------------------------------------- */

VINL vf dec_codes_part(const enum mica_dtype t, const uint8_t *src, int zero, __mmask16 m)
{
	uint8_t codes[64];

	switch (mica_dtype_bytes(t)) {
	case 1:
		_mm_storeu_si128((__m128i *)codes, _mm_maskz_loadu_epi8(m, src));
		break;
	case 2:
		_mm256_storeu_si256((__m256i *)codes, _mm256_maskz_loadu_epi16(m, src));
		break;
	default:
		_mm512_storeu_si512(codes, _mm512_maskz_loadu_epi32(m, src));
		break;
	}
	return dec_codes(t, codes, zero);
}

VINL void enc_codes_part(const enum mica_dtype t, vf y, int zero, uint8_t *dst, __mmask16 m)
{
	uint8_t codes[64];

	if (m == 0xffff) {
		enc_codes(t, y, zero, dst);
		return;
	}
	enc_codes(t, y, zero, codes);
	switch (mica_dtype_bytes(t)) {
	case 1:
		_mm_mask_storeu_epi8(dst, m, _mm_loadu_si128((const __m128i *)codes));
		break;
	case 2:
		_mm256_mask_storeu_epi16(dst, m, _mm256_loadu_si256((const __m256i *)codes));
		break;
	default:
		_mm512_mask_storeu_epi32(dst, m, _mm512_loadu_si512(codes));
		break;
	}
}

#endif /* MICA_QUAD_AVX512_IMPL_H */
