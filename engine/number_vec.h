/* SPDX-License-Identifier: MIT */
/* Codes to f32 and back, a vector at a time: docs/numerics.md sections 1 and 2. */
#ifndef MICA_NUMBER_VEC_H
#define MICA_NUMBER_VEC_H

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

#endif /* MICA_NUMBER_VEC_H */
