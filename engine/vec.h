/* SPDX-License-Identifier: MIT */
/*
 * One vector of VL lanes in the natural width of the including file's instruction set; VL is 1, 8 or 16. Every operation
 * is elementwise, so the width never shows in a result. vi wraps; shifts are by constants or lanes below 32.
 */
#ifndef MICA_VEC_H
#define MICA_VEC_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define VINL static inline __attribute__((always_inline, unused))

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

#include <immintrin.h>
#define VL 16
typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;

VINL vf vf_set(float x) { return _mm512_set1_ps(x); }
VINL vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
VINL void vf_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
VINL vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
VINL vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
VINL vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
VINL vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
VINL vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
VINL vf vf_sqrt(vf a) { return _mm512_sqrt_ps(a); }
VINL vf vf_rint(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
VINL vf vf_floor(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
VINL vf vf_ceil(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
VINL vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }	/* a > b ? a : b */
VINL vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }	/* a < b ? a : b */
VINL vm vf_eq(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
VINL vm vf_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
VINL vm vf_le(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
VINL vm vf_nan(vf a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
VINL vf vf_sel(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }	/* m ? a : b */
VINL vi vf_bits(vf a) { return _mm512_castps_si512(a); }
VINL vf vf_of_bits(vi a) { return _mm512_castsi512_ps(a); }
VINL vf vf_of_int(vi a) { return _mm512_cvtepi32_ps(a); }
VINL vi vf_to_int(vf a) { return _mm512_cvtps_epi32(a); }	/* nearest even; out of range: INT32_MIN */
VINL vi vf_trunc(vf a) { return _mm512_cvttps_epi32(a); }
VINL vm vm_and(vm a, vm b) { return _kand_mask16(a, b); }
VINL vm vm_or(vm a, vm b) { return _kor_mask16(a, b); }
VINL vm vm_xor(vm a, vm b) { return _kxor_mask16(a, b); }
VINL vm vm_not(vm a) { return _knot_mask16(a); }
VINL vi vi_set(int32_t x) { return _mm512_set1_epi32(x); }
VINL vi vi_load(const void *p) { return _mm512_loadu_si512(p); }
VINL void vi_store(void *p, vi a) { _mm512_storeu_si512(p, a); }
VINL vi vi_load_u8(const void *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(p)); }
VINL vi vi_load_i8(const void *p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128(p)); }
VINL vi vi_load_u16(const void *p) { return _mm512_cvtepu16_epi32(_mm256_loadu_si256(p)); }
VINL void vi_store_u8(void *p, vi a) { _mm_storeu_si128(p, _mm512_cvtepi32_epi8(a)); }
VINL void vi_store_u16(void *p, vi a) { _mm256_storeu_si256(p, _mm512_cvtepi32_epi16(a)); }
VINL vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
VINL vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
VINL vi vi_mul(vi a, vi b) { return _mm512_mullo_epi32(a, b); }
VINL vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
VINL vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
VINL vi vi_xor(vi a, vi b) { return _mm512_xor_si512(a, b); }
VINL vi vi_min(vi a, vi b) { return _mm512_min_epi32(a, b); }
VINL vi vi_max(vi a, vi b) { return _mm512_max_epi32(a, b); }
VINL vm vi_eq(vi a, vi b) { return _mm512_cmpeq_epi32_mask(a, b); }
VINL vm vi_gt(vi a, vi b) { return _mm512_cmpgt_epi32_mask(a, b); }
VINL vi vi_sel(vm m, vi a, vi b) { return _mm512_mask_blend_epi32(m, b, a); }
#define vi_sll(a, n) _mm512_slli_epi32(a, n)
#define vi_srl(a, n) _mm512_srli_epi32(a, n)
#define vi_sra(a, n) _mm512_srai_epi32(a, n)

#elif defined(__AVX2__) && defined(__FMA__)

#include <immintrin.h>
#define VL 8
typedef __m256 vf;
typedef __m256i vi;
typedef __m256i vm;		/* all ones or zero by lane */

VINL vf vf_set(float x) { return _mm256_set1_ps(x); }
VINL vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
VINL void vf_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
VINL vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
VINL vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
VINL vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
VINL vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
VINL vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
VINL vf vf_sqrt(vf a) { return _mm256_sqrt_ps(a); }
VINL vf vf_rint(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
VINL vf vf_floor(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
VINL vf vf_ceil(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
VINL vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
VINL vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
VINL vm vf_eq(vf a, vf b) { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)); }
VINL vm vf_lt(vf a, vf b) { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
VINL vm vf_le(vf a, vf b) { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_LE_OQ)); }
VINL vm vf_nan(vf a) { return _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)); }
VINL vf vf_sel(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(m)); }
VINL vi vf_bits(vf a) { return _mm256_castps_si256(a); }
VINL vf vf_of_bits(vi a) { return _mm256_castsi256_ps(a); }
VINL vf vf_of_int(vi a) { return _mm256_cvtepi32_ps(a); }
VINL vi vf_to_int(vf a) { return _mm256_cvtps_epi32(a); }
VINL vi vf_trunc(vf a) { return _mm256_cvttps_epi32(a); }
VINL vm vm_and(vm a, vm b) { return _mm256_and_si256(a, b); }
VINL vm vm_or(vm a, vm b) { return _mm256_or_si256(a, b); }
VINL vm vm_xor(vm a, vm b) { return _mm256_xor_si256(a, b); }
VINL vm vm_not(vm a) { return _mm256_xor_si256(a, _mm256_set1_epi32(-1)); }
VINL vi vi_set(int32_t x) { return _mm256_set1_epi32(x); }
VINL vi vi_load(const void *p) { return _mm256_loadu_si256(p); }
VINL void vi_store(void *p, vi a) { _mm256_storeu_si256(p, a); }
VINL vi vi_load_u8(const void *p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(p)); }
VINL vi vi_load_i8(const void *p) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64(p)); }
VINL vi vi_load_u16(const void *p) { return _mm256_cvtepu16_epi32(_mm_loadu_si128(p)); }
VINL vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
VINL __m128i vi_halves_(vi a, int32_t mask)	/* lanes within mask, as 16-bit */
{
	a = _mm256_and_si256(a, _mm256_set1_epi32(mask));
	a = _mm256_permute4x64_epi64(_mm256_packus_epi32(a, a), 0xd8);
	return _mm256_castsi256_si128(a);
}
VINL void vi_store_u8(void *p, vi a)
{
	__m128i h = vi_halves_(a, 0xff);

	_mm_storel_epi64(p, _mm_packus_epi16(h, h));
}
VINL void vi_store_u16(void *p, vi a) { _mm_storeu_si128(p, vi_halves_(a, 0xffff)); }
VINL vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
VINL vi vi_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
VINL vi vi_mul(vi a, vi b) { return _mm256_mullo_epi32(a, b); }
VINL vi vi_or(vi a, vi b) { return _mm256_or_si256(a, b); }
VINL vi vi_xor(vi a, vi b) { return _mm256_xor_si256(a, b); }
VINL vi vi_min(vi a, vi b) { return _mm256_min_epi32(a, b); }
VINL vi vi_max(vi a, vi b) { return _mm256_max_epi32(a, b); }
VINL vm vi_eq(vi a, vi b) { return _mm256_cmpeq_epi32(a, b); }
VINL vm vi_gt(vi a, vi b) { return _mm256_cmpgt_epi32(a, b); }
VINL vi vi_sel(vm m, vi a, vi b) { return _mm256_blendv_epi8(b, a, m); }
#define vi_sll(a, n) _mm256_slli_epi32(a, n)
#define vi_srl(a, n) _mm256_srli_epi32(a, n)
#define vi_sra(a, n) _mm256_srai_epi32(a, n)

#else

#define VL 1
typedef float vf;
typedef int32_t vi;
typedef bool vm;

VINL vi vf_bits(vf a) { vi b; memcpy(&b, &a, 4); return b; }
VINL vf vf_of_bits(vi a) { vf b; memcpy(&b, &a, 4); return b; }
VINL vf vf_set(float x) { return x; }
VINL vf vf_load(const float *p) { return *p; }
VINL void vf_store(float *p, vf a) { *p = a; }
VINL vf vf_add(vf a, vf b) { return a + b; }
VINL vf vf_sub(vf a, vf b) { return a - b; }
VINL vf vf_mul(vf a, vf b) { return a * b; }
VINL vf vf_div(vf a, vf b) { return a / b; }
VINL vf vf_fma(vf a, vf b, vf c) { return __builtin_fmaf(a, b, c); }
VINL vf vf_sqrt(vf a) { return __builtin_sqrtf(a); }
VINL vf vf_rint(vf a) { return __builtin_rintf(a); }
VINL vf vf_floor(vf a) { return __builtin_floorf(a); }
VINL vf vf_ceil(vf a) { return __builtin_ceilf(a); }
VINL vf vf_max(vf a, vf b) { return a > b ? a : b; }
VINL vf vf_min(vf a, vf b) { return a < b ? a : b; }
VINL vm vf_eq(vf a, vf b) { return a == b; }
VINL vm vf_lt(vf a, vf b) { return a < b; }
VINL vm vf_le(vf a, vf b) { return a <= b; }
VINL vm vf_nan(vf a) { return a != a; }
VINL vf vf_sel(vm m, vf a, vf b) { return m ? a : b; }
VINL vf vf_of_int(vi a) { return (float)a; }
VINL vi vf_trunc(vf a) { return a >= -0x1p31f && a < 0x1p31f ? (vi)a : INT32_MIN; }
VINL vi vf_to_int(vf a) { return vf_trunc(vf_rint(a)); }
VINL vm vm_and(vm a, vm b) { return a && b; }
VINL vm vm_or(vm a, vm b) { return a || b; }
VINL vm vm_xor(vm a, vm b) { return a != b; }
VINL vm vm_not(vm a) { return !a; }
VINL vi vi_set(int32_t x) { return x; }
VINL vi vi_load(const void *p) { vi a; memcpy(&a, p, 4); return a; }
VINL void vi_store(void *p, vi a) { memcpy(p, &a, 4); }
VINL vi vi_load_u8(const void *p) { return *(const uint8_t *)p; }
VINL vi vi_load_i8(const void *p) { return *(const int8_t *)p; }
VINL vi vi_load_u16(const void *p) { uint16_t a; memcpy(&a, p, 2); return a; }
VINL void vi_store_u8(void *p, vi a) { *(uint8_t *)p = (uint8_t)a; }
VINL void vi_store_u16(void *p, vi a) { uint16_t h = (uint16_t)a; memcpy(p, &h, 2); }
VINL vi vi_add(vi a, vi b) { return (vi)((uint32_t)a + (uint32_t)b); }
VINL vi vi_sub(vi a, vi b) { return (vi)((uint32_t)a - (uint32_t)b); }
VINL vi vi_mul(vi a, vi b) { return (vi)((uint32_t)a * (uint32_t)b); }
VINL vi vi_and(vi a, vi b) { return a & b; }
VINL vi vi_or(vi a, vi b) { return a | b; }
VINL vi vi_xor(vi a, vi b) { return a ^ b; }
VINL vi vi_min(vi a, vi b) { return a < b ? a : b; }
VINL vi vi_max(vi a, vi b) { return a > b ? a : b; }
VINL vm vi_eq(vi a, vi b) { return a == b; }
VINL vm vi_gt(vi a, vi b) { return a > b; }
VINL vi vi_sel(vm m, vi a, vi b) { return m ? a : b; }
VINL vi vi_sll(vi a, int n) { return (vi)((uint32_t)a << n); }
VINL vi vi_srl(vi a, int n) { return (vi)((uint32_t)a >> n); }
VINL vi vi_sra(vi a, int n) { return a >> n; }

#endif

/* Wrapping addition of one number. */
VINL int32_t vi_add1(int32_t a, int32_t b) { return (int32_t)((uint32_t)a + (uint32_t)b); }
VINL vf vf_neg(vf a) { return vf_of_bits(vi_xor(vf_bits(a), vi_set(INT32_MIN))); }
VINL vf vf_abs(vf a) { return vf_of_bits(vi_and(vf_bits(a), vi_set(INT32_MAX))); }
/* The magnitude of a with the sign of s. */
VINL vf vf_copysign(vf a, vf s)
{
	return vf_of_bits(vi_or(vi_and(vf_bits(a), vi_set(INT32_MAX)), vi_and(vf_bits(s), vi_set(INT32_MIN))));
}
VINL vf vf_nan_set(void) { return vf_of_bits(vi_set(0x7fc00000)); }
VINL vf vf_inf_set(void) { return vf_of_bits(vi_set(0x7f800000)); }

#endif /* MICA_VEC_H */
