/* SPDX-License-Identifier: MIT */
/* What DWCONV's kernels share: the problem, its tile, and the kernel on f32 that serves every type but for AVX-512. */
#ifndef MICA_DW_IMPL_H
#define MICA_DW_IMPL_H

#include "epilogue_impl.h"
#include "mac_impl.h"

#define DW_PIXELS	8u		/* output pixels that share a weight */
#define DW_MAX_K	1024u		/* sums of as many i8 products are exact in f32 */

/*
 * The operand of 16 channels at one column is 64 bytes ("a vector"): 16 f32, or what one AVX-512 instruction takes of
 * several columns. A row of a tile holds lead + columns of them for each of `chunk` blocks of channels, in either order.
 */
struct dwop {
	struct exec *x;
	const struct mica_pkt_conv *p;
	struct epilogue epi;
	const int32_t *init;
	const uint8_t *weights;		/* packed codes */
	enum mac_class cls;
	bool flush, acc_in;
	uint32_t k, blocks;
	uint64_t rows;			/* n * out_h */

	/* A term is what one kernel instruction adds: taps at `lo`, for the pairs of AVX-512 also at `hi`. */
	uint32_t terms;
	const uint8_t *w;		/* vectors [blocks][terms] in the kernel's type */
	const int32_t *start;		/* [blocks * 16] that sums of i8 begin with */

	/* Tiling. */
	uint32_t chunk, chunks, tile_w, tiles, strip, strips;
	bool vertical;			/* AVX-512, i8: rows of codes, vectors of four rows of a column */
	bool blockwise;			/* a row goes block by block, not column by column */
	size_t col_step, block_step;	/* bytes from column to column, from block to block */
	uint32_t lead, columns, extra;	/* extra: columns read behind the last one when vectors span several */
	unsigned slots;
	size_t row_bytes, rows_bytes, out_bytes, codes_bytes;	/* of scratch: a row, all rows and tags, results, codes */
};

/* One item: some columns and blocks of channels. */
struct dw_tile {
	uint32_t block, blocks, c, n;	/* first block and their number, first channel and their number */
	uint32_t ow, count;		/* output columns */
	uint64_t image;
	const uint8_t *src;		/* of the image */
	uint8_t *mem, *codes;		/* slots rows and one of padding; room for a row's codes */
	int64_t *tag;
	float *out;			/* [count][chunk * 16] */
};

enum dw_variant {
	DW_V_F32, DW_V_SLOW, DW_V_PAIRS_33, DW_V_PAIRS_33_1, DW_V_PAIRS_33S2, DW_V_PAIRS_33S2_1, DW_V_PAIRS_55, DW_V_PAIRS_55_1,
	DW_V_PAIRS_55S2, DW_V_PAIRS_55S2_1, DW_V_PAIRS_ANY, DW_V_INTS_33, DW_V_INTS_55, DW_V_INTS_ANY,
	DW_V_VERTICAL_2, DW_V_VERTICAL_1, DW_V_VERTICAL_S2, DW_V_COUNT
};
static atomic_uchar dw_reached[DW_V_COUNT];

VINL bool dw_is_i8(const struct dwop *o)
{
	return o->cls == MAC_I8;
}

/* The order of docs/numerics.md: f32 and i8 ascending, the float class by pairs with the odd element first. */
static uint32_t dw_order(const struct mica_pkt_conv *p, uint32_t k_len, uint32_t i)
{
	return mac_class_of(p->wdtype) == MAC_FLOAT && (i ^ 1) < k_len ? i ^ 1 : i;
}

/* `pixels` output pixels of VL channels; at[] are the taps of the first one, step bytes from pixel to pixel. */
VINL void dw_pixels(const struct dwop *o, const uint8_t *const *at, size_t off, size_t step, const float *w,
		    const unsigned pixels, const bool flush, float *to, size_t to_step)
{
	bool odd_pad = o->cls == MAC_FLOAT && o->k % 2;
	vf acc[DW_PIXELS];

#pragma GCC unroll 8
	for (unsigned q = 0; q < pixels; q++)
		acc[q] = vf_load(to + q * to_step);
	for (uint32_t i = 0; i < o->k; i++) {
		const uint8_t *tap = at[i] + off;
		vf ww = vf_load(w + (size_t)i * 16);

		if (odd_pad && i + 1 == o->k) {	/* the last element's partner is 0 * 0, and comes first */
#pragma GCC unroll 8
			for (unsigned q = 0; q < pixels; q++)
				acc[q] = vf_add(vf_set(0.0f), acc[q]);
		}
#pragma GCC unroll 8
		for (unsigned q = 0; q < pixels; q++)
			acc[q] = mac(vf_load((const float *)(tap + q * step)), ww, acc[q], flush);
	}
#pragma GCC unroll 8
	for (unsigned q = 0; q < pixels; q++)
		vf_store(to + q * to_step, acc[q]);
}

/* A row of results from rows of f32: at[] by tap in the order of accumulation. Adds to t->out. */
static void dw_row_f32(const struct dwop *o, const struct dw_tile *t, const uint8_t *const *at)
{
	size_t step = (size_t)o->p->stride_w * o->col_step, to_step = o->chunk * 16;
	unsigned saved = flush_enter(o->flush);

	variant_reached(&dw_reached[DW_V_F32]);
	for (uint32_t c = 0; c < t->blocks * 16; c += VL) {
		const float *w = (const float *)o->w + (size_t)(t->block + c / 16) * o->k * 16 + c % 16;
		uint32_t ow = 0;

		for (; !(o->flush && VL == 1) && ow + DW_PIXELS <= t->count; ow += DW_PIXELS)
			dw_pixels(o, at, c * 4 + ow * step, step, w, DW_PIXELS, false, t->out + ow * to_step + c, to_step);
		for (; ow < t->count; ow++)
			if (o->flush && VL == 1)
				dw_pixels(o, at, c * 4 + ow * step, step, w, 1, true, t->out + ow * to_step + c, to_step);
			else
				dw_pixels(o, at, c * 4 + ow * step, step, w, 1, false, t->out + ow * to_step + c, to_step);
	}
	flush_leave(saved);
}

/* Decoded weights [block][k in the order of accumulation][16]. */
static void dw_weights_f32(const struct dwop *o, float *w)
{
	unsigned block = 16 * mica_dtype_size(o->p->wdtype);

	for (uint32_t b = 0; b < o->blocks; b++)
		for (uint32_t i = 0; i < o->k; i++, w += 16)
			decode_mac(o->p->wdtype, o->weights + ((size_t)b * o->k + dw_order(o->p, o->k, i)) * block, 16, w);
}

#endif /* MICA_DW_IMPL_H */
