/* SPDX-License-Identifier: MIT */
/*
 * DWCONV with AVX-512. The float class goes by pairs of taps through VDPBF16PS: a vector holds, for 16 channels, the
 * bf16 of its column and of the column dil_w to the right. i8 goes by four taps of a row through VPDPBUSD: a vector holds
 * four columns, as unsigned; taps beyond the row have weights of 0. f32 takes the common kernel.
 */
#ifndef MICA_DW_AVX512_IMPL_H
#define MICA_DW_AVX512_IMPL_H

#include "dw_impl.h"
#include "dw_vertical_avx512_impl.h"
#include "gemm_avx512_impl.h"

static void dw_form(struct dwop *o)
{
	const struct mica_pkt_conv *p = o->p;

	o->terms = o->cls == MAC_F32 ? o->k : o->cls == MAC_I8 ? (uint32_t)p->kh * div_up(p->kw, 4) : (o->k + 1) / 2;
	if (o->cls == MAC_FLOAT)
		o->lead = o->extra = p->dil_w;
	if (o->cls == MAC_I8)
		o->extra = 3 * p->dil_w;
	o->blockwise = o->cls != MAC_F32;
	o->vertical = dw_is_vertical(o);
	if (o->vertical)
		o->extra = 0;
}

/* ---- Weights ----------------------------------------------------------------------------------------------------------- */

/* Two taps of 16 channels to pairs; beyond k there is 0. */
static void dw_pair_weights(const struct dwop *o, const struct quad_tables *t, uint8_t *w)
{
	static const uint8_t pairs[64] __attribute__((aligned(64))) = {	/* so that unpacking bytes gives pairs in order */
		0, 16, 1, 17, 2, 18, 3, 19, 0, 0, 0, 0, 0, 0, 0, 0, 4, 20, 5, 21, 6, 22, 7, 23, 0, 0, 0, 0, 0, 0, 0, 0,
		8, 24, 9, 25, 10, 26, 11, 27, 0, 0, 0, 0, 0, 0, 0, 0, 12, 28, 13, 29, 14, 30, 15, 31,
	};
	const vi words = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20,
					  4, 19, 3, 18, 2, 17, 1, 16, 0);
	const vi order = _mm512_load_si512(pairs), sign = _mm512_set1_epi8((char)0x80);
	bool wide = o->p->wdtype == MICA_BF16;
	const uint8_t *src = o->weights;

	for (uint32_t b = 0; b < o->blocks; b++)
		for (uint32_t i = 0; i < o->k; i += 2, w += 64) {
			size_t codes = i + 1 < o->k ? 32 : 16;
			vi c, hi;

			if (wide) {
				c = _mm512_maskz_loadu_epi16((__mmask32)mask_bytes(codes), src);
				_mm512_storeu_si512(w, _mm512_permutexvar_epi16(words, c));
				src += 2 * codes;
				continue;
			}
			c = _mm512_permutexvar_epi8(order, _mm512_maskz_loadu_epi8(mask_bytes(codes), src));
			hi = _mm512_permutex2var_epi8(t->v[2], c, t->v[3]);
			hi = _mm512_ternarylogic_epi64(hi, c, sign, 0xf8);
			_mm512_storeu_si512(w, _mm512_unpacklo_epi8(_mm512_permutex2var_epi8(t->v[0], c, t->v[1]), hi));
			src += codes;
		}
}

/* Byte 16 j + c to byte 4 c + j, and back. */
VINL vi dw_transposed(vi bytes)
{
	static const uint8_t order[64] __attribute__((aligned(64))) = {
		0, 16, 32, 48, 1, 17, 33, 49, 2, 18, 34, 50, 3, 19, 35, 51, 4, 20, 36, 52, 5, 21, 37, 53, 6, 22, 38, 54, 7, 23,
		39, 55, 8, 24, 40, 56, 9, 25, 41, 57, 10, 26, 42, 58, 11, 27, 43, 59, 12, 28, 44, 60, 13, 29, 45, 61, 14, 30,
		46, 62, 15, 31, 47, 63,
	};

	return _mm512_permutexvar_epi8(_mm512_load_si512(order), bytes);
}

/* Taps (0, j), (1, j), (2, j) of 16 channels. */
static vi dw_vertical_weights(const uint8_t *src, uint32_t j)
{
	vi v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(src + j * 16)));

	v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(src + (3 + j) * 16)), 1);
	v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(src + (6 + j) * 16)), 2);
	return dw_transposed(_mm512_inserti32x4(v, _mm_setzero_si128(), 3));
}

/* start[] makes up for activations being 128 too large. */
static void dw_int_weights(const struct dwop *o, uint8_t *w, int32_t *start)
{
	const vi offset = _mm512_set1_epi8((char)0x80);
	const uint8_t *src = o->weights;

	for (uint32_t b = 0; b < o->blocks; b++, start += 16) {
		vi sum = vi_set(0);

		for (uint32_t r = 0; r < o->p->kh; r++)
			for (uint32_t left = o->p->kw, n; left; left -= n, src += n * 16, w += 64) {
				vi v;

				n = left < 4 ? left : 4;
				v = o->vertical ? dw_vertical_weights(src - r * 48, r) :
						  dw_transposed(_mm512_maskz_loadu_epi8(mask_bytes(n * 16), src));
				sum = _mm512_dpbusd_epi32(sum, offset, v);
				_mm512_storeu_si512(w, v);
			}
		vi_store(start, vi_sub(o->acc_in ? vi_set(0) : vi_load(o->init + b * 16), sum));
	}
}

static void dw_operand_weights(const struct dwop *o, uint8_t *w, int32_t *start)
{
	struct quad_tables tables;

	if (o->cls == MAC_I8) {
		dw_int_weights(o, w, start);
	} else if (o->cls == MAC_FLOAT) {
		quad_tables(o->p->wdtype, &tables);
		dw_pair_weights(o, &tables, w);
	} else {
		dw_weights_f32(o, (float *)w);
	}
}

/* ---- Rows -------------------------------------------------------------------------------------------------------------- */

/* `count` pixels of n channels; whole vectors may be written. The next row's pixels are fetched meanwhile. */
static void dw_widen_fp8(const struct mica_view *v, const uint8_t *src, size_t n, uint32_t count, uint8_t *dst, size_t bytes)
{
	struct quad_tables t;
	size_t step = v->stride[2], next = v->stride[1];
	vi out[2];

	quad_tables(v->dtype, &t);
	for (uint32_t x = 0; x < count; x++, src += step, dst += bytes)
		for (size_t i = 0; i < n; i += 64) {
			_mm_prefetch((const char *)src + next + i, _MM_HINT_T0);
			widen_codes(t.v, _mm512_maskz_loadu_epi8(mask_bytes(n - i), src + i), out);
			_mm512_storeu_si512(dst + 2 * i, out[0]);
			_mm512_storeu_si512(dst + 2 * i + 64, out[1]);
		}
}

static void dw_widen_i8(const struct mica_view *v, const uint8_t *src, size_t n, uint32_t count, uint8_t *dst, size_t bytes)
{
	const vi sign = _mm512_set1_epi8((char)0x80);

	for (uint32_t x = 0; x < count; x++, src += v->stride[2], dst += bytes)
		for (size_t i = 0; i < n; i += 64) {
			_mm_prefetch((const char *)src + v->stride[1] + i, _MM_HINT_T0);
			_mm512_storeu_si512(dst + i, _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask_bytes(n - i), src + i), sign));
		}
}

/* bf16 and f32 as they are; channels up to the next multiple of 32, of 16, become 0. */
static void dw_widen_copy(const struct mica_view *v, const uint8_t *src, size_t n, uint32_t count, uint8_t *dst, size_t bytes)
{
	for (uint32_t x = 0; x < count; x++, src += v->stride[2], dst += bytes) {
		for (size_t i = 0; v->dtype == MICA_F32 && i < n; i += 16)
			_mm512_storeu_ps((float *)dst + i, _mm512_maskz_loadu_ps(mask_lanes(n - i), src + 4 * i));
		for (size_t i = 0; v->dtype == MICA_BF16 && i < n; i += 32)
			_mm512_storeu_si512(dst + 2 * i, _mm512_maskz_loadu_epi16((__mmask32)mask_bytes(n - i), src + 2 * i));
	}
}

VINL void dw_widen(const struct mica_view *v, const uint8_t *src, size_t n, uint32_t count, uint8_t *dst, size_t bytes)
{
	if (dtype_is_fp8(v->dtype))
		dw_widen_fp8(v, src, n, count, dst, bytes);
	else if (v->dtype == MICA_I8)
		dw_widen_i8(v, src, n, count, dst, bytes);
	else
		dw_widen_copy(v, src, n, count, dst, bytes);
}

static void dw_pad(const struct dwop *o, uint8_t *dst, size_t elements)
{
	memset(dst, o->cls == MAC_I8 ? gemm_i8_code(o->p->src.zero) : 0, elements * gemm_a_elem(o->cls));
}

/* Elements of columns x0 .. x0 + n - 1 of row y, [column][chunk * 16], padding included. */
static void dw_elements(const struct dwop *o, const struct dw_tile *t, int64_t y, int64_t x0, uint32_t n, uint8_t *dst)
{
	const struct mica_pkt_conv *p = o->p;
	unsigned size = mica_dtype_size(p->src.dtype);
	size_t pitch = o->chunk * 16, bytes = pitch * gemm_a_elem(o->cls);
	int64_t from = x0 < 0 ? -x0 : 0, to = x0 + n > p->in_w ? p->in_w - x0 : n;
	const uint8_t *src;

	if (y < 0 || y >= p->in_h || from >= to) {
		dw_pad(o, dst, n * pitch);
		return;
	}
	src = t->src + (uint64_t)y * p->src.stride[1] + (uint64_t)(x0 + from) * p->src.stride[2] + (uint64_t)t->c * size;
	dw_pad(o, dst, from * pitch);
	dst += from * bytes;
	if (p->src.stride[2] == pitch * size && t->n == pitch)		/* side by side */
		dw_widen(&p->src, src, (to - from) * pitch, 1, dst, 0);
	else
		dw_widen(&p->src, src, t->n, (uint32_t)(to - from), dst, bytes);
	dst += (to - from) * bytes;
	dw_pad(o, dst, (n - to) * pitch);
}

/* Pairs of columns `step` bytes apart, of one block of channels: n vectors from bf16 that lie `pitch` bytes apart. */
static void dw_pairs(const uint8_t *codes, size_t pitch, size_t step, uint32_t n, uint8_t *row)
{
	const vi order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20,
					  4, 19, 3, 18, 2, 17, 1, 16, 0);

	for (uint32_t i = 0; i < n; i++, codes += pitch, row += 64) {
		vi v = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)codes));

		v = _mm512_inserti64x4(v, _mm256_loadu_si256((const __m256i *)(codes + step)), 1);
		_mm512_storeu_si512(row, _mm512_permutexvar_epi16(order, v));
	}
}

/* Fours of columns, of u8. */
static void dw_fours(const uint8_t *codes, size_t pitch, size_t step, uint32_t n, uint8_t *row)
{
	for (uint32_t i = 0; i < n; i++, codes += pitch, row += 64) {
		vi v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)codes));

		v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(codes + step)), 1);
		v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(codes + 2 * step)), 2);
		v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(codes + 3 * step)), 3);
		_mm512_storeu_si512(row, dw_transposed(v));
	}
}

static void dw_fill_row(const struct dwop *o, const struct dw_tile *t, int64_t y, uint8_t *row)
{
	int64_t x0 = (int64_t)t->ow * o->p->stride_w - o->p->pad_left;
	size_t block = 16 * gemm_a_elem(o->cls), column = o->chunk * block;
	uint32_t n = o->lead + o->columns;

	if (o->vertical || o->cls == MAC_F32) {
		if (o->vertical)
			dw_vertical_row(o, t, y, row);
		else
			dw_elements(o, t, y, x0, o->columns, row);
		return;
	}
	dw_elements(o, t, y, x0 - o->lead, n + o->extra, t->codes);
	for (uint32_t b = 0; b < t->blocks; b++)
		if (o->cls == MAC_FLOAT)
			dw_pairs(t->codes + b * block, column, o->p->dil_w * column, n, row + b * o->block_step);
		else
			dw_fours(t->codes + b * block, column, o->p->dil_w * column, n, row + b * o->block_step);
}

/* ---- Kernels ----------------------------------------------------------------------------------------------------------- */

enum dw_kind { DW_WHOLE, DW_CROSS, DW_LAST };	/* both taps in one vector, in two, the second one is beyond K */

VINL enum dw_kind dw_pair_kind(uint32_t kw, uint32_t k, uint32_t j)
{
	return 2 * j + 1 >= k ? DW_LAST : 2 * j / kw == (2 * j + 1) / kw ? DW_WHOLE : DW_CROSS;
}

VINL vf dw_pair(vf acc, const enum dw_kind kind, const uint8_t *lo, const uint8_t *hi, vi w)
{
	vi a = _mm512_loadu_si512(lo);

	if (kind == DW_CROSS)
		a = _mm512_ternarylogic_epi32(a, _mm512_loadu_si512(hi), vi_set(0xffff), 0xe4);	/* low halves of a, high of hi */
	if (kind == DW_LAST)
		a = vi_and(a, vi_set(0xffff));
	return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)w);
}

/*
 * A row of one block of channels, `results` pixels at a time: kw, k and the stride are known at compile time, so that
 * weights stay in registers and pixels share what they read. row[] are the block's vectors, dil_w is 1.
 */
VINL void dw_pairs_fixed(const struct dwop *o, uint32_t count, const uint8_t *const *row, const uint8_t *weights, float *to,
			 const uint32_t kw, const uint32_t k, const uint32_t stride, const uint32_t results)
{
	const size_t to_step = o->chunk * 16;
	const bool acc_in = results == 1 && o->acc_in;
	const uint8_t *at[5];		/* copies, which the compiler knows to stay as they are */
	vi w[13];

#pragma GCC unroll 13
	for (uint32_t j = 0; j < (k + 1) / 2; j++)
		w[j] = _mm512_loadu_si512(weights + j * 64);
#pragma GCC unroll 5
	for (uint32_t y = 0; y < k / kw; y++)
		at[y] = row[y];
	for (uint32_t ow = 0; ow < count; ow += results) {
		float *out;
		size_t off;
		vf acc[4];

		ow = ow + results > count ? count - results : ow;	/* the last ones: some of them once more */
		out = to + ow * to_step;
		off = (size_t)ow * stride * 64;
#pragma GCC unroll 4
		for (uint32_t q = 0; q < results; q++)
			acc[q] = acc_in ? vf_load(out + q * to_step) : vf_set(0.0f);
#pragma GCC unroll 13
		for (uint32_t j = 0; j < (k + 1) / 2; j++) {
			const uint32_t k0 = 2 * j, k1 = k0 + 1 < k ? k0 + 1 : k0;

#pragma GCC unroll 4
			for (uint32_t q = 0; q < results; q++)
				acc[q] = dw_pair(acc[q], dw_pair_kind(kw, k, j), at[k0 / kw] + off + (q * stride + k0 % kw + 1) * 64,
						 at[k1 / kw] + off + (q * stride + k1 % kw) * 64, w[j]);
		}
#pragma GCC unroll 4
		for (uint32_t q = 0; q < results; q++)
			vf_store(out + q * to_step, acc[q]);
	}
}

/* The same for any shape. A column is col_step bytes; lo and hi of a tap lie dil_w columns apart. */
static void dw_pairs_any(const struct dwop *o, uint32_t count, const uint8_t *const *row, const uint8_t *weights, float *to)
{
	size_t step = (size_t)o->p->stride_w * 64, tap = (size_t)o->p->dil_w * 64, to_step = o->chunk * 16;
	uint32_t kw = o->p->kw;

	for (uint32_t ow = 0; ow < count; ow++, to += to_step) {
		vf acc = o->acc_in ? vf_load(to) : vf_set(0.0f);
		uint32_t y = 0, x = 0;

		for (uint32_t j = 0; j < o->terms; j++) {
			vi w = _mm512_loadu_si512(weights + j * 64);
			const uint8_t *lo = row[y] + ow * step + (x + 1) * tap;

			if (2 * j + 1 >= o->k)
				acc = dw_pair(acc, DW_LAST, lo, lo, w);
			else if (x + 1 < kw)
				acc = dw_pair(acc, DW_WHOLE, lo, lo, w);
			else
				acc = dw_pair(acc, DW_CROSS, lo, row[y + 1] + ow * step, w);
			for (x += 2; x >= kw; x -= kw)
				y++;
		}
		vf_store(to, acc);
	}
}

/* By fours or twos, unless results start from what must be read once only, or are too few. */
#define DW_FIXED(variant, kw, k, stride, results) \
	do { \
		bool single = o->acc_in || t->count < (results); \
		variant_reached(&dw_reached[(variant) + single]); \
		if (single) \
			dw_pairs_fixed(o, t->count, row, w, to, kw, k, stride, 1); \
		else \
			dw_pairs_fixed(o, t->count, row, w, to, kw, k, stride, results); \
	} while (0)

static void dw_run_pairs(const struct dwop *o, const struct dw_tile *t, const uint8_t **row)
{
	unsigned shape = o->p->dil_w > 1 || o->p->kh != o->p->kw || o->p->stride_w > 2 ? 0 : o->p->kw * 10 + o->p->stride_w;

	for (uint32_t b = 0; b < t->blocks; b++) {
		const uint8_t *w = o->w + (size_t)(t->block + b) * o->terms * 64;
		float *to = t->out + b * 16;

		switch (shape) {
		case 31:
			DW_FIXED(DW_V_PAIRS_33, 3, 9, 1, 4);
			break;
		case 32:
			DW_FIXED(DW_V_PAIRS_33S2, 3, 9, 2, 4);
			break;
		case 51:
			DW_FIXED(DW_V_PAIRS_55, 5, 25, 1, 2);
			break;
		case 52:
			DW_FIXED(DW_V_PAIRS_55S2, 5, 25, 2, 2);
			break;
		default:
			variant_reached(&dw_reached[DW_V_PAIRS_ANY]);
			dw_pairs_any(o, t->count, row, w, to);
			break;
		}
		for (uint32_t i = 0; i < o->p->kh; i++)
			row[i] += o->block_step;
	}
}

/* One block of channels: kh rows of `fours` vectors each, known at compile time so that weights stay in registers. */
VINL void dw_ints_fixed(const struct dwop *o, uint32_t count, const uint8_t *const *row, const uint8_t *weights,
			const int32_t *from, float *to, const uint32_t kh, const uint32_t fours)
{
	const size_t step = (size_t)o->p->stride_w * 64, to_step = o->chunk * 16, four = (size_t)o->p->dil_w * 256;
	const vi start = vi_load(from);
	const uint8_t *at[5];
	vi w[10];

#pragma GCC unroll 10
	for (uint32_t j = 0; j < kh * fours; j++)
		w[j] = _mm512_loadu_si512(weights + j * 64);
#pragma GCC unroll 5
	for (uint32_t y = 0; y < kh; y++)
		at[y] = row[y];
	for (uint32_t ow = 0; ow < count; ow++, to += to_step) {
		vi acc = start;

#pragma GCC unroll 5
		for (uint32_t y = 0; y < kh; y++)
#pragma GCC unroll 2
			for (uint32_t j = 0; j < fours; j++)
				acc = _mm512_dpbusd_epi32(acc, _mm512_loadu_si512(at[y] + ow * step + j * four), w[y * fours + j]);
		vi_store(to, acc);
	}
}

static void dw_ints_any(const struct dwop *o, uint32_t count, const uint8_t *const *row, const uint8_t *weights,
			const int32_t *from, float *to)
{
	const size_t step = (size_t)o->p->stride_w * 64, four = (size_t)o->p->dil_w * 256;
	uint32_t fours = (uint32_t)div_up(o->p->kw, 4);

	for (uint32_t ow = 0; ow < count; ow++, to += o->chunk * 16) {
		const uint8_t *w = weights;
		vi acc = vi_load(from);

		for (uint32_t y = 0; y < o->p->kh; y++)
			for (uint32_t j = 0; j < fours; j++, w += 64)
				acc = _mm512_dpbusd_epi32(acc, _mm512_loadu_si512(row[y] + ow * step + j * four),
							  _mm512_loadu_si512(w));
		vi_store(to, acc);
	}
}

static void dw_run_ints(const struct dwop *o, const struct dw_tile *t, const uint8_t **row)
{
	uint32_t kh = o->p->kh, fours = (uint32_t)div_up(o->p->kw, 4);

	for (uint32_t b = 0; b < t->blocks; b++) {
		const uint8_t *w = o->w + (size_t)(t->block + b) * o->terms * 64;
		const int32_t *start = o->start + (t->block + b) * 16;

		variant_reached(&dw_reached[kh == 3 && fours == 1 ? DW_V_INTS_33 : kh == 5 && fours == 2 ? DW_V_INTS_55 :
					    DW_V_INTS_ANY]);
		if (kh == 3 && fours == 1)
			dw_ints_fixed(o, t->count, row, w, start, t->out + b * 16, 3, 1);
		else if (kh == 5 && fours == 2)
			dw_ints_fixed(o, t->count, row, w, start, t->out + b * 16, 5, 2);
		else
			dw_ints_any(o, t->count, row, w, start, t->out + b * 16);
		for (uint32_t y = 0; y < kh; y++)
			row[y] += o->block_step;
	}
}

/* row[] by kernel row, to be used up; `at` has room for two pointers for every tap. */
static void dw_run_row(const struct dwop *o, const struct dw_tile *t, const uint8_t **row, const uint8_t **at)
{
	if (o->cls == MAC_FLOAT) {
		dw_run_pairs(o, t, row);
	} else if (o->cls == MAC_I8) {
		dw_run_ints(o, t, row);
	} else {
		for (uint32_t k = 0; k < o->k; k++)
			at[k] = row[k / o->p->kw] + (size_t)(k % o->p->kw) * o->p->dil_w * o->col_step;
		if (!o->acc_in)
			memset(t->out, 0, (size_t)t->count * o->chunk * 64);
		dw_row_f32(o, t, at);
	}
}

#endif /* MICA_DW_AVX512_IMPL_H */
