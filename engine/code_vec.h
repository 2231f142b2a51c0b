/* SPDX-License-Identifier: MIT */
/* Codes to f32 and back, a vector at a time, and rows of them: docs/numerics.md sections 1 and 2. */
#ifndef MICA_CODE_VEC_H
#define MICA_CODE_VEC_H

#include "engine_internal.h"
#include "vec.h"

/* Moving the fields into place leaves the exponent short by a constant, which one exact product puts right. */
VINL vf dec_e4m3(vi code)
{
	vi mag = vi_and(code, vi_set(0x7f));
	vf f = vf_mul(vf_of_bits(vi_sll(mag, 20)), vf_set(0x1p120f));

	f = vf_sel(vi_eq(mag, vi_set(0x7f)), vf_nan_set(), f);
	return vf_of_bits(vi_or(vf_bits(f), vi_sll(vi_and(code, vi_set(0x80)), 24)));
}

VINL vf dec_e5m2(vi code)
{
	vi mag = vi_and(code, vi_set(0x7f));
	vf f = vf_mul(vf_of_bits(vi_sll(mag, 21)), vf_set(0x1p112f));
	vf special = vf_of_bits(vi_or(vi_sll(mag, 21), vi_set(0x7f800000)));

	f = vf_sel(vi_gt(mag, vi_set(0x7b)), special, f);
	return vf_of_bits(vi_or(vf_bits(f), vi_sll(vi_and(code, vi_set(0x80)), 24)));
}

/*
 * f32 to an 8-bit float with `mant` mantissa bits; `top` is the largest finite code. Normal results round on the bits;
 * subnormal ones by adding a power of two whose ulp is the type's smallest step.
 */
VINL vi enc_fp8(vf y, const int mant, const int bias, const int top)
{
	const int shift = 23 - mant;
	const vi magic = vi_set((127 + 23 + 1 - bias - mant) << 23);
	vi bits = vf_bits(y), mag = vi_and(bits, vi_set(INT32_MAX));
	vi odd = vi_and(vi_srl(mag, shift), vi_set(1));
	vi norm = vi_srl(vi_add(vi_add(mag, vi_set((1 << (shift - 1)) - 1)), odd), shift);
	vi sub = vi_sub(vf_bits(vf_add(vf_of_bits(mag), vf_of_bits(magic))), magic);
	vi code = vi_sel(vi_gt(vi_set((128 - bias) << 23), mag), sub, vi_sub(norm, vi_set((127 - bias) << mant)));

	code = vi_or(vi_min(code, vi_set(top)), vi_and(vi_srl(bits, 24), vi_set(0x80)));
	return vi_sel(vi_gt(mag, vi_set(0x7f800000)), vi_set(0x7f), code);
}

VINL vi enc_e4m3(vf y)
{
	return enc_fp8(y, 3, 7, 0x7e);
}

VINL vi enc_e5m2(vf y)
{
	return enc_fp8(y, 2, 15, 0x7b);
}

VINL vi enc_bf16(vf y)
{
	vi bits = vf_bits(y);
	vi odd = vi_and(vi_srl(bits, 16), vi_set(1));
	vi code = vi_srl(vi_add(vi_add(bits, vi_set(0x7fff)), odd), 16);

	return vi_sel(vf_nan(y), vi_set(0x7fc0), code);
}

VINL vi enc_f32(vf y)
{
	return vi_sel(vf_nan(y), vi_set(0x7fc00000), vf_bits(y));
}

/* Integers of 8 bits: lo..hi is the range; a NaN gives lo. The first clamp keeps the conversion in range. */
VINL vi enc_int8(vf y, int zero, int lo, int hi)
{
	vi code = vi_add(vf_to_int(vf_max(vf_min(y, vf_set(65536.0f)), vf_set(-65536.0f))), vi_set(zero));

	code = vi_max(vi_min(code, vi_set(hi)), vi_set(lo));
	return vi_sel(vf_nan(y), vi_set(lo), code);
}

VINL vi enc_i32(vf y)
{
	return vi_sel(vf_le(vf_set(0x1p31f), y), vi_set(INT32_MAX), vf_to_int(y));
}

VINL vf dec_codes(const enum mica_dtype t, const uint8_t *src, int zero)
{
	switch (t) {
	case MICA_F32:
		return vf_load((const float *)src);
	case MICA_BF16:
		return vf_of_bits(vi_sll(vi_load_u16(src), 16));
	case MICA_E4M3:
		return dec_e4m3(vi_load_u8(src));
	case MICA_E5M2:
		return dec_e5m2(vi_load_u8(src));
	case MICA_I8:
		return vf_of_int(vi_sub(vi_load_i8(src), vi_set(zero)));
	case MICA_U8:
		return vf_of_int(vi_sub(vi_load_u8(src), vi_set(zero)));
	default:
		return vf_of_int(vi_load(src));
	}
}

/* y = value * inv already. */
VINL void enc_codes(const enum mica_dtype t, vf y, int zero, uint8_t *dst)
{
	switch (t) {
	case MICA_F32:
		vi_store(dst, enc_f32(y));
		break;
	case MICA_BF16:
		vi_store_u16(dst, enc_bf16(y));
		break;
	case MICA_E4M3:
		vi_store_u8(dst, enc_e4m3(y));
		break;
	case MICA_E5M2:
		vi_store_u8(dst, enc_e5m2(y));
		break;
	case MICA_I8:
		vi_store_u8(dst, enc_int8(y, zero, -128, 127));
		break;
	case MICA_U8:
		vi_store_u8(dst, enc_int8(y, zero, 0, 255));
		break;
	default:
		vi_store(dst, enc_i32(y));
		break;
	}
}

/* The same loop for every type, with the type known at compile time. */
#define EACH_DTYPE(t, body) \
	switch (t) { \
	case MICA_F32: { const enum mica_dtype T = MICA_F32; enum { SIZE = 4 }; body } break; \
	case MICA_BF16: { const enum mica_dtype T = MICA_BF16; enum { SIZE = 2 }; body } break; \
	case MICA_E4M3: { const enum mica_dtype T = MICA_E4M3; enum { SIZE = 1 }; body } break; \
	case MICA_E5M2: { const enum mica_dtype T = MICA_E5M2; enum { SIZE = 1 }; body } break; \
	case MICA_I8: { const enum mica_dtype T = MICA_I8; enum { SIZE = 1 }; body } break; \
	case MICA_U8: { const enum mica_dtype T = MICA_U8; enum { SIZE = 1 }; body } break; \
	case MICA_I32: { const enum mica_dtype T = MICA_I32; enum { SIZE = 4 }; body } break; \
	default: break; \
	}

/* n dense elements; reads and writes nothing beyond them. */
__attribute__((unused))
static void decode_dense(enum mica_dtype t, const void *from, size_t n, float scale, int zero, float *dst)
{
	const uint8_t *src = from;
	size_t whole = n / VL * VL, tail = n - whole;
	const vf vscale = vf_set(scale);

	EACH_DTYPE(t, {
		for (size_t i = 0; i < whole; i += VL)
			vf_store(dst + i, vf_mul(dec_codes(T, src + i * SIZE, zero), vscale));
		if (tail) {
			uint8_t codes[VL * SIZE] = { 0 };
			float out[VL];

			memcpy(codes, src + whole * SIZE, tail * SIZE);
			vf_store(out, vf_mul(dec_codes(T, codes, zero), vscale));
			memcpy(dst + whole, out, tail * sizeof(float));
		}
	})
}

__attribute__((unused))
static void encode_dense(enum mica_dtype t, const float *src, size_t n, float inv, int zero, void *to)
{
	uint8_t *dst = to;
	size_t whole = n / VL * VL, tail = n - whole;
	const vf vinv = vf_set(inv);

	EACH_DTYPE(t, {
		for (size_t i = 0; i < whole; i += VL)
			enc_codes(T, vf_mul(vf_load(src + i), vinv), zero, dst + i * SIZE);
		if (tail) {
			float in[VL] = { 0 };
			uint8_t codes[VL * SIZE];

			memcpy(in, src + whole, tail * sizeof(float));
			enc_codes(T, vf_mul(vf_load(in), vinv), zero, codes);
			memcpy(dst + whole * SIZE, codes, tail * SIZE);
		}
	})
}

/* ---- Strided rows ------------------------------------------------------------------------------------------------ */

#define ROW_CHUNK 256u	/* elements gathered at a time */

VINL void gather_codes(uint8_t *restrict dst, const uint8_t *src, uint32_t stride, size_t n, unsigned size)
{
	switch (size) {
	case 1:
		for (size_t i = 0; i < n; i++)
			dst[i] = src[i * stride];
		break;
	case 2:
		for (size_t i = 0; i < n; i++)
			memcpy(dst + 2 * i, src + i * stride, 2);
		break;
	default:
		for (size_t i = 0; i < n; i++)
			memcpy(dst + 4 * i, src + i * stride, 4);
		break;
	}
}

VINL void scatter_codes(uint8_t *dst, const uint8_t *restrict src, uint32_t stride, size_t n, unsigned size)
{
	switch (size) {
	case 1:
		for (size_t i = 0; i < n; i++)
			dst[i * stride] = src[i];
		break;
	case 2:
		for (size_t i = 0; i < n; i++)
			memcpy(dst + i * stride, src + 2 * i, 2);
		break;
	default:
		for (size_t i = 0; i < n; i++)
			memcpy(dst + i * stride, src + 4 * i, 4);
		break;
	}
}

/* n elements, `stride` bytes apart, as values with the given scale. */
__attribute__((unused))
static void decode_row(enum mica_dtype t, const uint8_t *src, uint32_t stride, size_t n, float scale, int zero,
		       float *dst)
{
	unsigned size = mica_dtype_size(t);
	uint8_t codes[ROW_CHUNK * 4];

	if (stride == size || n == 1) {
		decode_dense(t, src, n, scale, zero, dst);
		return;
	}
	if (!stride) {
		float value;

		decode_dense(t, src, 1, scale, zero, &value);
		for (size_t i = 0; i < n; i++)
			dst[i] = value;
		return;
	}
	for (size_t i = 0; i < n; i += ROW_CHUNK) {
		size_t m = n - i < ROW_CHUNK ? n - i : ROW_CHUNK;

		gather_codes(codes, src + i * stride, stride, m, size);
		decode_dense(t, codes, m, scale, zero, dst + i);
	}
}

__attribute__((unused))
static void encode_row(enum mica_dtype t, const float *src, size_t n, float inv, int zero, uint8_t *dst,
		       uint32_t stride)
{
	unsigned size = mica_dtype_size(t);
	uint8_t codes[ROW_CHUNK * 4];

	if (stride == size || n == 1) {
		encode_dense(t, src, n, inv, zero, dst);
		return;
	}
	for (size_t i = 0; i < n; i += ROW_CHUNK) {
		size_t m = n - i < ROW_CHUNK ? n - i : ROW_CHUNK;

		encode_dense(t, src + i, m, inv, zero, codes);
		scatter_codes(dst + i * stride, codes, stride, m, size);
	}
}

VINL void decode_view(const struct mica_view *v, const uint8_t *src, size_t n, float *dst)
{
	decode_row(v->dtype, src, v->stride[3], n, v->scale, view_zero(v), dst);
}

VINL void encode_view(const struct mica_view *v, const float *src, size_t n, uint8_t *dst)
{
	encode_row(v->dtype, src, n, v->scale, view_zero(v), dst, v->stride[3]);
}

#endif /* MICA_CODE_VEC_H */
