/* SPDX-License-Identifier: MIT */
/* Rows of codes to f32 and back: docs/numerics.md sections 1 and 2. */
#ifndef MICA_CODE_VEC_H
#define MICA_CODE_VEC_H

#include "number_vec.h"
#if VL == 16
#include "quad_avx512_impl.h"
#endif

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

#if VL == 16

/* n dense elements; reads and writes nothing beyond them. */
__attribute__((unused))
static void decode_dense(enum mica_dtype t, const void *from, size_t n, float scale, int zero, float *dst)
{
	const uint8_t *src = from;
	const vf vscale = vf_set(scale);
	struct quad_tables tables;
	size_t i = 0;

	if (dtype_is_fp8(t)) {
		quad_tables(t, &tables);
		for (; i < n; i += 64) {
			struct quad q;

			quad_decode_fp8(&tables, _mm512_maskz_loadu_epi8(mask_bytes(n - i), src + i), &q);
#pragma GCC unroll 4
			for (size_t j = 0; j < 4; j++) {
				if (i + 16 * j + 16 <= n)
					vf_store(dst + i + 16 * j, vf_mul(q.v[j], vscale));
				else if (i + 16 * j < n)
					_mm512_mask_storeu_ps(dst + i + 16 * j, mask_lanes(n - i - 16 * j), vf_mul(q.v[j], vscale));
			}
		}
		return;
	}
	EACH_DTYPE(t, {
		for (; i + VL <= n; i += VL)
			vf_store(dst + i, vf_mul(dec_codes(T, src + i * SIZE, zero), vscale));
		if (i < n)
			_mm512_mask_storeu_ps(dst + i, mask_lanes(n - i),
					      vf_mul(dec_codes_part(T, src + i * SIZE, zero, mask_lanes(n - i)), vscale));
	})
}

__attribute__((unused))
static void encode_dense(enum mica_dtype t, const float *src, size_t n, float inv, int zero, void *to)
{
	uint8_t *dst = to;
	const vf vinv = vf_set(inv);
	size_t i = 0;

	EACH_DTYPE(t, {
		for (; dtype_is_quad(T) && i + 64 <= n; i += 64) {
			struct quad q = quad_scaled(src + i, vinv);

			vi_store(dst + i, quad_encode(T, &q, zero));
		}
		for (; i < n; i += VL) {
			__mmask16 m = mask_lanes(n - i);

			enc_codes_part(T, vf_mul(_mm512_maskz_loadu_ps(m, src + i), vinv), zero, dst + i * SIZE, m);
		}
	})
}

#else

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

#endif

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
