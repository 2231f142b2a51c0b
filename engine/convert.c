// SPDX-License-Identifier: MIT
/* Conversions for the host side, the same bits as the packets. Arrays go through the best path of this CPU. */
#include "code_vec.h"

#include <float.h>

float mica_decode_e4m3(uint8_t code)
{
	return dec_e4m3(vi_set(code));
}

float mica_decode_e5m2(uint8_t code)
{
	return dec_e5m2(vi_set(code));
}

float mica_decode_bf16(uint16_t code)
{
	return vf_of_bits(vi_sll(vi_set(code), 16));
}

/* Beyond the largest finite value after rounding: magnitude bits as if the exponent had no upper bound. */
static bool overflows(float v, int mant, int bias, int top)
{
	int32_t mag = vf_bits(v) & INT32_MAX;
	int32_t lsb = 1 << (23 - mant);
	int64_t rounded = (int64_t)mag + (lsb / 2 - 1) + (mag & lsb ? 1 : 0);

	return mag <= 0x7f800000 && (rounded >> (23 - mant)) - ((127 - bias) << mant) > top;
}

uint8_t mica_encode_e4m3(float v, bool saturate)
{
	if (!saturate && overflows(v, 3, 7, 0x7e))
		return 0x7f;
	return (uint8_t)enc_e4m3(v);
}

uint8_t mica_encode_e5m2(float v, bool saturate)
{
	if (!saturate && overflows(v, 2, 15, 0x7b))
		return vf_bits(v) < 0 ? 0xfc : 0x7c;
	return (uint8_t)enc_e5m2(v);
}

uint16_t mica_encode_bf16(float v)
{
	return (uint16_t)enc_bf16(v);
}

void mica_quantize(enum mica_dtype t, const float *src, void *dst, size_t n, float inv, int zero)
{
	unsigned saved = fpenv_enter();

	mica_path_of(MICA_ISA_AUTO)->encode(t, src, n, inv, zero, dst);
	fpenv_leave(saved);
}

void mica_dequantize(enum mica_dtype t, const void *src, float *dst, size_t n, float scale, int zero)
{
	unsigned saved = fpenv_enter();

	mica_path_of(MICA_ISA_AUTO)->decode(t, src, n, scale, zero, dst);
	fpenv_leave(saved);
}

float mica_largest(enum mica_dtype t)
{
	switch (t) {
	case MICA_E4M3:
		return 448.0f;
	case MICA_E5M2:
		return 57344.0f;
	case MICA_I8:
		return 127.0f;
	default:
		return FLT_MAX;
	}
}
