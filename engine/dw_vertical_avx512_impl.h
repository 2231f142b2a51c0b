/* SPDX-License-Identifier: MIT */
/*
 * DWCONV of i8 with 3x3 taps: a vector holds four rows of one column, of 16 channels. With a stride of 1 it serves two rows
 * of results, which see the same four rows shifted by one. Rows of codes become such vectors by unpacking 64 channels at a
 * time, far cheaper than gathering columns.
 */
#ifndef MICA_DW_VERTICAL_AVX512_IMPL_H
#define MICA_DW_VERTICAL_AVX512_IMPL_H

#include "dw_impl.h"
#include "gemm_avx512_impl.h"

#define VERTICAL_PIXELS		4u	/* results of a row at a time; the last ones may lie beyond it, in slack */

static bool dw_is_vertical(const struct dwop *o)
{
	const struct mica_pkt_conv *p = o->p;

	return o->cls == MAC_I8 && p->kh == 3 && p->kw == 3 && p->dil_h == 1 && p->dil_w == 1 && p->stride_h == p->stride_w &&
	       p->stride_w <= 2;
}

/* Row y: 64 bytes to a column, in an order from which unpacking makes vectors of neighbouring channels. */
static void dw_vertical_row(const struct dwop *o, const struct dw_tile *t, int64_t y, uint8_t *row)
{
	const struct mica_pkt_conv *p = o->p;
	const vi sign = _mm512_set1_epi8((char)0x80), pad = _mm512_set1_epi8((char)gemm_i8_code(p->src.zero));
	int64_t x = (int64_t)t->ow * p->stride_w - p->pad_left, end = x + o->columns;
	const uint8_t *src = t->src + (uint64_t)y * p->src.stride[1] + (uint64_t)x * p->src.stride[2] + t->c;
	__mmask64 have = mask_bytes(t->n);
	bool inside = y >= 0 && y < p->in_h;

	for (; x < end; x++, src += p->src.stride[2], row += 64) {
		if (inside && x >= 0 && x < p->in_w) {
			_mm_prefetch((const char *)src + p->src.stride[1], _MM_HINT_T0);
			vi_store(row, quad_order(vi_xor(_mm512_maskz_loadu_epi8(have, src), sign)));
		} else {
			vi_store(row, pad);
		}
	}
}

/* [block][column] vectors of four rows. */
static void dw_vertical_unpack(const uint8_t *const row[4], uint32_t columns, uint32_t blocks, uint8_t *to, size_t block_step)
{
	for (size_t x = 0; x < columns * (size_t)64; x += 64) {
		vi a = vi_load(row[0] + x), b = vi_load(row[1] + x), c = vi_load(row[2] + x), d = vi_load(row[3] + x);
		vi ab = _mm512_unpacklo_epi8(a, b), cd = _mm512_unpacklo_epi8(c, d);

		vi_store(to + x, _mm512_unpacklo_epi16(ab, cd));
		if (blocks < 2)
			continue;
		vi_store(to + block_step + x, _mm512_unpackhi_epi16(ab, cd));
		ab = _mm512_unpackhi_epi8(a, b);
		cd = _mm512_unpackhi_epi8(c, d);
		vi_store(to + 2 * block_step + x, _mm512_unpacklo_epi16(ab, cd));
		vi_store(to + 3 * block_step + x, _mm512_unpackhi_epi16(ab, cd));
	}
}

/* One block of channels: `rows` rows of results, the second one to_row further on. */
VINL void dw_vertical_block(const uint8_t *from, uint32_t count, const uint8_t *weights, const int32_t *start, float *to,
			    size_t to_step, size_t to_row, const uint32_t rows, const uint32_t stride)
{
	const vi begin = vi_load(start);
	vi w[2][3];

#pragma GCC unroll 3
	for (uint32_t j = 0; j < 3; j++) {
		w[0][j] = vi_load(weights + j * 64);
		w[1][j] = vi_sll(w[0][j], 8);
	}
	for (uint32_t ow = 0; ow < count; ow += VERTICAL_PIXELS, to += VERTICAL_PIXELS * to_step) {
		const uint8_t *at = from + (size_t)ow * stride * 64;
		vi acc[2][VERTICAL_PIXELS];

#pragma GCC unroll 8
		for (uint32_t q = 0; q < rows * VERTICAL_PIXELS; q++)
			acc[q % rows][q / rows] = begin;
#pragma GCC unroll 9
		for (uint32_t c = 0; c < (VERTICAL_PIXELS - 1) * stride + 3; c++) {
			vi v = vi_load(at + c * 64);

#pragma GCC unroll 4
			for (uint32_t q = 0; q < VERTICAL_PIXELS; q++)
#pragma GCC unroll 2
				for (uint32_t r = 0; r < rows; r++)
					if (c >= q * stride && c - q * stride < 3)
						acc[r][q] = _mm512_dpbusd_epi32(acc[r][q], v, w[r][c - q * stride]);
		}
#pragma GCC unroll 8
		for (uint32_t q = 0; q < rows * VERTICAL_PIXELS; q++)
			vi_store(to + q / rows * to_step + q % rows * to_row, acc[q % rows][q / rows]);
	}
}

/* One or two rows of results from rows of codes, to t->out and to to_row further on. */
static void dw_vertical_run(const struct dwop *o, const struct dw_tile *t, const uint8_t *const row[4], uint32_t rows,
			    size_t to_row)
{
	size_t block_step = o->codes_bytes / 4, to_step = o->chunk * 16;

	variant_reached(&dw_reached[rows == 2 ? DW_V_VERTICAL_2 : o->p->stride_w == 2 ? DW_V_VERTICAL_S2 : DW_V_VERTICAL_1]);
	dw_vertical_unpack(row, o->columns, t->blocks, t->codes, block_step);
	for (uint32_t b = 0; b < t->blocks; b++) {
		const uint8_t *from = t->codes + b * block_step, *w = o->w + (size_t)(t->block + b) * o->terms * 64;
		const int32_t *start = o->start + (t->block + b) * 16;
		float *to = t->out + b * 16;

		if (rows == 2)
			dw_vertical_block(from, t->count, w, start, to, to_step, to_row, 2, 1);
		else if (o->p->stride_w == 1)
			dw_vertical_block(from, t->count, w, start, to, to_step, 0, 1, 1);
		else
			dw_vertical_block(from, t->count, w, start, to, to_step, 0, 1, 2);
	}
}

#endif /* MICA_DW_VERTICAL_AVX512_IMPL_H */
