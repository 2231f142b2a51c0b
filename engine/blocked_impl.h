/* SPDX-License-Identifier: MIT */
/*
 * The blocked product that CONV and MATMUL share: activations lie widened in an image (or rows), tiles of up to P pixels
 * times B blocks of 16 channels go through a kernel, then through the epilogue. Work is cut into items of several tiles
 * by some channel blocks; who does which is open and does not show.
 */
#ifndef MICA_BLOCKED_IMPL_H
#define MICA_BLOCKED_IMPL_H

#include "epilogue_impl.h"
#include "mac_impl.h"
#if VL == 16
#include "fused_avx512_impl.h"
#else
#include "gemm_generic_impl.h"
#endif

#define BLOCKED_MAX_BYTES	(64u << 20)	/* of an image, of a thread's scratch; beyond that: conv_slow_impl.h */
#define BLOCKED_MAX_TAPS	4096u
#define ITEM_BYTES		(128u * 1024)	/* of activations that an item keeps in the second-level cache */
#define ITEM_MAX_PIXELS		512u
#define PART_MAX_B		4u		/* blocks to a part: four of 8-bit results fill a cache line */
#define PART_BYTES		(64u * 1024)	/* of a part's weights, unless two blocks have more */
#define BATCH_WORDS		2048u		/* accumulators that wait for the epilogue: 8 KiB, and at least one tile */
#define ITEM_CYCLES		300u		/* of an item, whatever it does */
#define MEET_CYCLES		5000u		/* of a packet that several threads work on: to find it, to meet at its end */

struct blocked {
	struct exec *x;
	struct epilogue epi;
	enum mac_class cls;
	bool flush, acc_in;

	/* Problem: groups (batches) of pixels x cout over k_len products in `steps` steps of v. */
	uint32_t groups, cout, blocks;
	uint32_t out_n, out_h, out_w;
	uint32_t k_len, v;
	size_t steps;

	/* Activations: image[n][row][column][channel]; one pixel's products lie at the taps. */
	uint8_t *image;			/* all of it, or NULL: each item makes the bytes [from, to) that it needs */
	void (*fill)(const struct blocked *o, uint64_t from, uint64_t to, uint8_t *dst);
	size_t reach;			/* from a pixel's first tap to the end of its last */
	uint32_t *filled;		/* [thread]: the item whose bytes are in its scratch, counted from 1 */
	size_t group_bytes, pixel_bytes, row_bytes, image_bytes;	/* to the next group, output column, row, n */
	size_t *tap;
	uint32_t taps;
	size_t tap_steps;
	bool image_even;		/* pixels lie pixel_bytes apart, across rows as well */

	/* The same, gathered for each item into rows of panel_lda bytes when steps do not fall on taps. */
	bool panel;
	size_t panel_lda;
	uint32_t run_count, run_cols;	/* runs of bytes of a pixel, run_cols of them to a row of the kernel */
	size_t run_bytes, run_col_step, run_row_step;

	/* Weights: packed codes, [groups][blocks][steps][16][v]. */
	const uint8_t *weights;
	size_t block_bytes, weights_group_bytes;
	unsigned wdtype;
	bool widens;
	bool few;			/* one or two pixels: widened in registers instead */
	struct widen wide_w;

	/* Integers: what accumulators start from, by channel and, for MATMUL, by pixel. */
	const int32_t *init;
	const int32_t *row_add;		/* [group][pixel], or NULL */
	size_t param_group, init_group;	/* entries of params and of init to a group */

	/* Results: byte offsets in LMEM. */
	uint64_t dst, res;
	uint64_t dst_group, dst_n, dst_h, dst_w, dst_c;
	uint64_t res_group, res_n, res_h, res_w, res_c;
	uint8_t *acc;			/* MICA_ACC_*: [pixel][acc_pitch] */
	size_t acc_pitch;
	uint64_t run_w, run_h;		/* out_w and out_h, or all pixels and 1 if their results lie at even distances */

	/* Tiling. */
	bool flat;			/* pixels follow each other across rows */
	unsigned fused;			/* enum fused_form, where there are such kernels */
	uint32_t p, b, kernel_b, row_tiles;	/* pixels to a tile, blocks to a part, to a kernel */
	uint64_t tiles, tiles_per_item;
	uint32_t group_parts, parts, splits;	/* parts: runs of b blocks, of a group and of all; splits of them to items */
	bool alone;			/* not worth several threads */
	size_t scratch_w, scratch_panel, scratch_image;
};

struct tile {
	uint64_t pixel;			/* first, of out_n * out_h * out_w */
	uint32_t count;
	const uint8_t *a;
	size_t lda;
};

static uint64_t image_offset(const struct blocked *o, uint64_t pixel)
{
	uint64_t ow, row;

	if (o->image_even)
		return pixel * o->pixel_bytes;
	ow = pixel % o->out_w;
	row = pixel / o->out_w;
	return row / o->out_h * o->image_bytes + row % o->out_h * o->row_bytes + ow * o->pixel_bytes;
}

static void tile_at(const struct blocked *o, uint64_t index, struct tile *t)
{
	uint64_t end = (uint64_t)o->out_n * o->out_h * o->out_w;

	if (o->flat) {
		t->pixel = index * o->p;
	} else {
		t->pixel = index / o->row_tiles * o->out_w + index % o->row_tiles * o->p;
		end = (index / o->row_tiles + 1) * o->out_w;
	}
	t->count = end - t->pixel < o->p ? (uint32_t)(end - t->pixel) : o->p;
}

/* ---- Panels ------------------------------------------------------------------------------------------------------------ */

#if VL == 16
#define PANEL_SLACK 128u	/* bytes behind a panel that may be written */

/* Up to 63 bytes more are copied as well: what comes next is written later, and masks are slow. */
VINL void copy_run(uint8_t *dst, const uint8_t *src, size_t n)
{
	if (n <= 16)
		_mm_storeu_si128((__m128i *)dst, _mm_loadu_si128((const __m128i *)src));
	else if (n <= 32)
		_mm256_storeu_si256((__m256i *)dst, _mm256_loadu_si256((const __m256i *)src));
	else
		for (size_t i = 0; i < n; i += 64)
			_mm512_storeu_si512(dst + i, _mm512_loadu_si512(src + i));
}

/* Codes of 0 beyond K: less than a step of them. */
VINL void panel_tail(const struct blocked *o, uint8_t *dst, size_t n)
{
	uint32_t zeros = o->cls == MAC_I8 ? 0x01010101u * gemm_i8_code(0) : 0;

	(void)n;
	memcpy(dst, &zeros, 4);
}
#else
#define PANEL_SLACK 0u

VINL void copy_run(uint8_t *dst, const uint8_t *src, size_t n)
{
	memcpy(dst, src, n);
}

VINL void panel_tail(const struct blocked *o, uint8_t *dst, size_t n)
{
	memset(dst, o->cls == MAC_I8 && gemm_a_elem(MAC_I8) == 1 ? gemm_i8_code(0) : 0, n);
}
#endif

/* An item's memory and what it works on. */
struct item {
	uint64_t first, last;		/* tiles */
	uint64_t pixel, end;		/* their pixels */
	const uint8_t *image;		/* from byte `from` of the image on */
	uint64_t from;
	uint8_t *weights, *panel;
};

static const uint8_t *item_pixel(const struct blocked *o, const struct item *it, uint64_t pixel, uint32_t g)
{
	return it->image + (image_offset(o, pixel) - it->from) + g * o->group_bytes;
}

/* Rows of all products of the item's pixels; beyond K they hold the code of 0. */
static void fill_panel(const struct blocked *o, const struct item *it, uint32_t g)
{
	size_t used = o->run_count * o->run_bytes, whole = o->steps * o->v * gemm_a_elem(o->cls);
	uint8_t *panel = it->panel;

	uint64_t ow = it->pixel % o->out_w;
	const uint8_t *at = item_pixel(o, it, it->pixel, g);

	for (uint64_t pixel = it->pixel; pixel < it->end; pixel++, panel += o->panel_lda) {
		const uint8_t *src = at;
		uint8_t *dst = panel;

		for (uint32_t i = 0; i < o->run_count; i += o->run_cols, src += o->run_row_step)
			for (uint32_t j = 0; j < o->run_cols; j++, dst += o->run_bytes)
				copy_run(dst, src + j * o->run_col_step, o->run_bytes);
		if (used < whole)
			panel_tail(o, dst, whole - used);
		at += o->pixel_bytes;
		if (++ow == o->out_w && pixel + 1 < it->end) {
			ow = 0;
			at = item_pixel(o, it, pixel + 1, g);
		}
	}
}

/* ---- Tiles ------------------------------------------------------------------------------------------------------------- */

/* One run of `nb` blocks of a group: what its tiles have in common. */
struct part {
	uint32_t g, block, nb;
	uint32_t channels;		/* that exist */
	const uint8_t *w;
	size_t ldw;
	const uint8_t *next;		/* the packed weights behind the part's, which come next */
	int32_t start[16 * PART_MAX_B];	/* of the accumulators; floats: 0 */
};

static void part_weights(const struct blocked *o, struct part *t, uint8_t *scratch)
{
	const uint8_t *packed = o->weights + t->g * o->weights_group_bytes + t->block * o->block_bytes;

	t->w = packed;
	t->ldw = o->block_bytes;
	t->next = packed + t->nb * o->block_bytes;
	if (!o->widens)
		return;
	t->w = scratch;
	t->ldw = o->steps * gemm_w_step(o->cls);
	for (uint32_t j = 0; j < t->nb; j++)
		gemm_widen_w(&o->wide_w, o->wdtype, packed + j * o->block_bytes, o->steps, o->k_len, scratch + j * t->ldw);
}

static void part_start(const struct blocked *o, struct part *t)
{
	if (o->cls != MAC_I8) {
		memset(t->start, 0, t->nb * 64);
		return;
	}
	for (uint32_t j = 0; j < t->nb; j++) {
		gemm_bias(t->w + j * t->ldw, o->steps, t->start + j * 16);
		for (uint32_t l = 0; l < 16 && o->init && !o->acc_in; l++)
			t->start[j * 16 + l] = vi_add1(t->start[j * 16 + l],
						       o->init[t->g * o->init_group + (t->block + j) * 16 + l]);
	}
}

static uint8_t *acc_at(const struct blocked *o, const struct part *t, uint64_t pixel)
{
	return o->acc + (pixel * o->acc_pitch + t->g * o->param_group + t->block * 16) * 4;
}

/* Where each pixel starts from something of its own: the buffer, or its share of a zero point. Others start from t->start. */
static void tile_start(const struct blocked *o, const struct part *t, const struct tile *at, uint32_t *acc)
{
	uint32_t width = t->nb * 16;
	uint64_t pixels = (uint64_t)o->out_n * o->out_h * o->out_w;

	for (uint32_t i = 0; i < at->count; i++, acc += width) {
		memcpy(acc, t->start, width * 4);
		if (o->row_add)
			for (uint32_t c = 0; c < width; c++)
				acc[c] += (uint32_t)o->row_add[t->g * pixels + at->pixel + i];
		if (!o->acc_in)
			continue;
		for (uint32_t c = 0; c < t->channels; c++) {
			uint32_t word;

			memcpy(&word, acc_at(o, t, at->pixel + i) + c * 4, 4);
			acc[c] = o->cls == MAC_I8 ? acc[c] + word : word;
		}
		if (o->cls == MAC_FLOAT)
			flush_array((float *)acc, width);
	}
}

/* Kernels are made for 1, 2 and 4 blocks. */
static uint32_t kernel_blocks(const struct blocked *o, uint32_t left)
{
	return left >= o->kernel_b ? o->kernel_b : left >= 2 ? 2 : 1;
}

static struct gemm gemm_of(const struct blocked *o, const struct part *t, const struct tile *at)
{
	static const size_t no_tap[1] = { 0 };

	return (struct gemm){
		.a = at->a, .lda = at->lda, .ldw = t->ldw, .acc_step = t->nb * 64, .flush = o->flush,
		.tap = o->panel ? no_tap : o->tap, .taps = o->panel ? 1 : o->taps, .steps = o->panel ? o->steps : o->tap_steps,
	};
}

/*
 * While kernels work on a part, they fetch the weights of the next one, as many bytes in each run as a block has: here for
 * the blocks from j on of the part's tile i. Returns their distance from w; 0: there is nothing left to fetch.
 */
static size_t tile_ahead(const struct blocked *o, const struct part *t, uint64_t i, uint32_t j, const uint8_t *w)
{
	uint64_t at = (i * div_up(t->nb, o->kernel_b) + j / o->kernel_b) * o->steps * gemm_w_step(o->cls);

	return VL == 16 && at < t->nb * o->block_bytes ? (size_t)((uintptr_t)t->next + at - (uintptr_t)w) : 0;
}

static void run_tile(const struct blocked *o, const struct part *t, const struct tile *at, uint64_t index, uint32_t *acc)
{
	bool own_start = o->acc_in || o->row_add;
	struct gemm g = gemm_of(o, t, at);

	if (own_start)
		tile_start(o, t, at, acc);
	g.start_step = own_start ? g.acc_step : 0;
	for (uint32_t j = 0, nb; j < t->nb; j += nb) {
		nb = kernel_blocks(o, t->nb - j);
		g.w = t->w + j * t->ldw;
		g.ahead = tile_ahead(o, t, index, j, g.w);
		g.acc = acc + j * 16;
		g.start = own_start ? g.acc : t->start + j * 16;
		variant_reached(&gemm_reached[o->cls][nb][o->few ? 0 : at->count]);
		if (o->few)
			gemm_few(&o->wide_w, &g, at->count, nb, o->k_len % 2);
		else
			gemm_table[o->cls][nb][at->count](&g);
	}
}

static void finish_raw(const struct blocked *o, const struct part *t, uint64_t pixel, uint64_t count, const uint32_t *acc)
{
	for (uint64_t i = 0; i < count; i++)
		epi_raw(o->epi.integer, acc + i * t->nb * 16, t->channels, acc_at(o, t, pixel + i));
}

/* The run of pixels at even distances that begins with `pixel`: the rest of a row, or everything; `most` of them at most. */
static void span_at(const struct blocked *o, const struct part *t, uint64_t pixel, uint64_t most, struct epi_span *s)
{
	uint64_t ow = pixel % o->run_w, row = pixel / o->run_w, oh = row % o->run_h, n = row / o->run_h;

	*s = (struct epi_span){
		.acc_step = t->nb * 64, .channel = t->g * o->param_group + t->block * 16, .n = t->channels,
		.dst_step = o->dst_w, .res_step = o->res_w, .dst_c = (uint32_t)o->dst_c, .res_c = (uint32_t)o->res_c,
		.pixels = o->run_w - ow < most ? o->run_w - ow : most,
		.dst = o->x->lmem + o->dst + t->g * o->dst_group + t->block * 16 * o->dst_c + n * o->dst_n + oh * o->dst_h +
		       ow * o->dst_w,
		.res = o->x->lmem + o->res + t->g * o->res_group + t->block * 16 * o->res_c + n * o->res_n + oh * o->res_h +
		       ow * o->res_w,
	};
}

static void finish(const struct blocked *o, const struct part *t, uint64_t pixel, uint64_t count, const uint32_t *acc)
{
	struct epi_span s;

	for (uint64_t i = 0; i < count; i += s.pixels) {
		span_at(o, t, pixel + i, count - i, &s);
		s.acc = acc + (size_t)i * t->nb * 16;
		epi_run(&o->epi, &s);
	}
}

#if VL == 16
/* Whether full tiles of the part are finished by the kernels that sum them up. */
static bool can_fuse(const struct blocked *o, const struct part *t)
{
	return o->fused != FUSED_FORMS && !o->row_add && t->channels % 4 == 0 && (o->kernel_b == 2 || t->nb % 4 == 0);
}

/* Tiles from `at` on; returns their number. */
static uint64_t run_fused(const struct blocked *o, const struct part *t, const struct tile *at, uint64_t index, uint64_t most)
{
	struct fused f = { .g = gemm_of(o, t, at), .k = &o->epi.k };
	struct epi_span s;

	if (at->count != o->p)
		return 0;
	span_at(o, t, at->pixel, most * o->p, &s);
	f.tiles = o->flat && (o->panel || o->image_even) ? s.pixels / o->p : s.pixels >= o->p;
	f.dst_step = s.dst_step;
	f.res_step = s.res_step;
	for (uint32_t j = 0; j < t->nb; j += o->kernel_b) {
		uint32_t blocks = t->nb - j < o->kernel_b ? t->nb - j : o->kernel_b;

		if (blocks < o->kernel_b)	/* one block is done twice and stored once */
			f.g.ldw = 0;
		f.keep = mask_lanes((t->channels - j * 16) / 4) & mask_lanes(blocks * 4);
		f.dst = s.dst + j * 16;
		f.res = s.res + j * 16;
		f.g.w = t->w + j * t->ldw;
		f.g.start = t->start + j * 16;
		f.g.ahead = tile_ahead(o, t, index, j, f.g.w);
		f.ahead_step = div_up(t->nb, o->kernel_b) * o->steps * gemm_w_step(o->cls);
		f.ahead_tiles = f.g.ahead ? div_up((uintptr_t)t->next + t->nb * o->block_bytes - ((uintptr_t)f.g.w + f.g.ahead),
						   f.ahead_step) : 0;
		epi_params(&o->epi, s.channel + j * 16, blocks, f.scale, f.bias);
		f.shift = o->epi.shift ? o->epi.shift + s.channel + j * 16 : NULL;
		fused_run(o->fused, o->p, &f);
	}
	return f.tiles;
}
#else
static bool can_fuse(const struct blocked *o, const struct part *t)
{
	(void)o, (void)t;
	return false;
}

static uint64_t run_fused(const struct blocked *o, const struct part *t, const struct tile *at, uint64_t index, uint64_t most)
{
	(void)o, (void)t, (void)at, (void)index, (void)most;
	return 0;
}
#endif

/* ---- Items ------------------------------------------------------------------------------------------------------------- */

static void place_tile(const struct blocked *o, const struct part *t, const struct item *it, uint64_t i, struct tile *at)
{
	tile_at(o, i, at);
	at->a = o->panel ? it->panel + (at->pixel - it->pixel) * o->panel_lda : item_pixel(o, it, at->pixel, t->g);
	at->lda = o->panel ? o->panel_lda : o->pixel_bytes;
}

/* A batch of tiles from `first` on: kernels fill a buffer that the epilogue then empties. Returns the number of tiles. */
static uint64_t run_batch(const struct blocked *o, const struct part *t, const struct item *it, uint64_t first)
{
	uint32_t acc[BATCH_WORDS] __attribute__((aligned(64)));
	uint64_t i = first, from = 0, count = 0;
	bool alone = can_fuse(o, t);
	struct tile at;

	do {
		unsigned saved = flush_enter(o->flush);

		place_tile(o, t, it, i, &at);
		from = count ? from : at.pixel;
		run_tile(o, t, &at, i - it->first, acc + count * t->nb * 16);
		flush_leave(saved);
		count += at.count;
	} while (++i < it->last && !alone && (count + o->p) * t->nb * 16 <= BATCH_WORDS);
	if (o->epi.raw)
		finish_raw(o, t, from, count, acc);
	else
		finish(o, t, from, count, acc);
	return i - first;
}

static void run_part(const struct blocked *o, struct part *t, const struct item *it)
{
	struct tile at;
	uint64_t done;

	part_weights(o, t, it->weights);
	part_start(o, t);
	for (uint64_t i = it->first; i < it->last && !exec_stopped(o->x); i += done) {
		place_tile(o, t, it, i, &at);
		done = can_fuse(o, t) ? run_fused(o, t, &at, i - it->first, it->last - i) : 0;
		if (!done)
			done = run_batch(o, t, it, i);
	}
}

static void item_memory(const struct blocked *o, struct item *it, uint32_t range, unsigned thread)
{
	uint8_t *scratch = pool_scratch(o->x->e->pool, thread);

	it->weights = scratch;
	it->panel = scratch + o->scratch_w;
	it->image = o->image;
	it->from = 0;
	if (o->image)
		return;
	it->image = it->panel + o->scratch_panel;
	it->from = image_offset(o, it->pixel);
	if (o->filled[thread] != range + 1)
		o->fill(o, it->from, image_offset(o, it->end - 1) + o->reach, it->panel + o->scratch_panel);
	o->filled[thread] = range + 1;
}

static void blocked_item(void *ctx, uint32_t item, unsigned thread)
{
	const struct blocked *o = ctx;
	uint32_t range = item / o->splits, split = item % o->splits, group = UINT32_MAX;
	struct item it = { .first = range * o->tiles_per_item };
	struct tile tile;

	it.last = it.first + o->tiles_per_item < o->tiles ? it.first + o->tiles_per_item : o->tiles;
	tile_at(o, it.first, &tile);
	it.pixel = tile.pixel;
	tile_at(o, it.last - 1, &tile);
	it.end = tile.pixel + tile.count;
	item_memory(o, &it, range, thread);
	for (uint64_t i = (uint64_t)o->parts * split / o->splits; i < (uint64_t)o->parts * (split + 1) / o->splits; i++) {
		struct part t = { .g = (uint32_t)i / o->group_parts, .block = (uint32_t)i % o->group_parts * o->b };
		uint32_t left = o->blocks - t.block < o->b ? o->blocks - t.block : o->b;

		if (o->panel && t.g != group)
			fill_panel(o, &it, t.g);
		group = t.g;
		t.nb = left;
		t.channels = o->cout - t.block * 16 < t.nb * 16 ? o->cout - t.block * 16 : t.nb * 16;
		run_part(o, &t, &it);
	}
}

/* ---- Tiling ------------------------------------------------------------------------------------------------------------ */

/* Bytes of a pixel's products side by side: an odd number of cache lines, so that rows do not compete for cache sets. */
static size_t row_pitch(const struct blocked *o)
{
	return ((o->steps * o->v * gemm_a_elem(o->cls) + 63) / 64 | 1) * 64;
}

static uint32_t even_share(uint64_t total, uint32_t most)
{
	return (uint32_t)div_up(total, div_up(total, most));
}

static void choose_tiles(struct blocked *o)
{
	uint64_t pixels = (uint64_t)o->out_n * o->out_h * o->out_w;
	uint64_t width = o->flat ? pixels : o->out_w;

	o->kernel_b = o->blocks < GEMM_MAX_B ? o->blocks : GEMM_MAX_B;
	if (o->kernel_b > 2 && (o->blocks < 4 || width % 14 == 0 || (width > 7 && width % 7)))
		o->kernel_b = 2;	/* tiles of 14 by 2 instead of 7 by 4, but for 7x7 images */
	o->b = PART_MAX_B * o->steps * gemm_w_step(o->cls) > PART_BYTES ? o->kernel_b : PART_MAX_B;
	if (o->b > o->blocks)
		o->b = o->blocks;
	o->p = even_share(width, gemm_max_p(o->cls, o->kernel_b));
	o->row_tiles = (uint32_t)div_up(width, o->p);
	o->tiles = o->flat ? o->row_tiles : (uint64_t)o->row_tiles * o->out_n * o->out_h;
	o->group_parts = (uint32_t)div_up(o->blocks, o->b);
	o->parts = o->group_parts * o->groups;
}

/* What an item of so many pixels and channels costs, roughly, in cycles: products, results, weights and activations made ready. */
static uint64_t item_cost(const struct blocked *o, uint64_t pixels, uint64_t channels)
{
	unsigned rate = o->cls == MAC_FLOAT ? 64 : o->cls == MAC_I8 ? 128 : 32;

	return pixels * channels * o->k_len / rate + pixels * channels / 4 + channels * o->k_len / (o->widens ? 10 : 64) +
	       pixels * (o->panel ? o->panel_lda : o->pixel_bytes) / 16 + ITEM_CYCLES;
}

/* The time of `threads` with so many ranges of tiles by splits of the channels; small items make up for a thread that is late. */
static uint64_t plan_cost(const struct blocked *o, unsigned threads, uint64_t ranges, uint32_t splits)
{
	uint64_t one = item_cost(o, div_up(o->tiles, ranges) * o->p, div_up(o->parts, splits) * o->b * 16);

	return div_up(ranges * splits, threads) * one + one / 8;
}

/*
 * Items: as many tiles as the cache holds activations for, at most. Where that makes few of them, what pays for the threads
 * decides: smaller ones, some channels each, or the caller alone.
 */
static void choose_items(struct blocked *o)
{
	unsigned threads = pool_threads(o->x->e->pool);
	size_t bytes = o->panel ? o->panel_lda : o->pixel_bytes;
	uint64_t pixels = ITEM_BYTES / bytes, least, best = UINT64_MAX, ranges;

	pixels = pixels > ITEM_MAX_PIXELS ? ITEM_MAX_PIXELS : pixels < 4 * o->p ? 4 * o->p : pixels;
	least = ranges = div_up(o->tiles, div_up(pixels, o->p));
	least = ranges = least > 1u << 16 ? 1u << 16 : least;
	o->splits = 1;
	o->alone = threads == 1;
	if (least >= 4 * threads)
		ranges = round_up(least, threads);
	for (uint32_t s = 1; threads > 1 && least < 4 * threads && s <= o->parts && s <= 8; s++)
		for (unsigned m = 1; m <= 3; m++) {
			uint64_t r = div_up(m * threads, s), cost;

			r = r < least ? least : r > o->tiles ? o->tiles : r;
			cost = plan_cost(o, threads, r, s);
			if (cost < best) {
				best = cost;
				ranges = r;
				o->splits = s;
			}
		}
	if (best != UINT64_MAX && plan_cost(o, 1, least, 1) < best + MEET_CYCLES) {
		o->alone = true;
		ranges = least;
		o->splits = 1;
	}
	o->tiles_per_item = div_up(o->tiles, ranges);
}

/*
 * The most bytes of the image that an item needs: those of its pixels and what their taps reach. Where taps reach so far that
 * items would make it several times over, it is made at once, for all of them.
 */
static void choose_image(struct blocked *o)
{
	uint64_t whole = o->out_n * o->image_bytes, steps = o->tiles_per_item * o->p - 1, rows = steps / o->out_w + 1, bytes;

	if (o->image_even) {
		bytes = steps * o->pixel_bytes + o->reach;
	} else {
		bytes = rows * o->row_bytes + o->reach;
		if (o->out_n > 1 && o->image_bytes > o->out_h * o->row_bytes)
			bytes += (rows / o->out_h + 1) * (o->image_bytes - o->out_h * o->row_bytes);
	}
	bytes = bytes < whole ? bytes : whole;
	if (bytes > ITEM_BYTES && bytes * div_up(o->tiles, o->tiles_per_item) > 2 * whole)
		o->fill = NULL;
	o->scratch_image = o->fill ? bytes + 64 : 0;
}

/* Rows of dense images are one run for the epilogue. */
static void choose_runs(struct blocked *o)
{
	uint64_t row = o->out_w * o->dst_w, res_row = o->out_w * o->res_w;
	bool even = (o->out_h == 1 || o->dst_h == row) && (o->out_n == 1 || o->dst_n == o->out_h * row);

	if (even && o->epi.res)
		even = (o->out_h == 1 || o->res_h == res_row) && (o->out_n == 1 || o->res_n == o->out_h * res_row);
	o->run_w = even ? (uint64_t)o->out_n * o->out_h * o->out_w : o->out_w;
	o->run_h = even ? 1 : o->out_h;
	o->image_even = (o->out_h == 1 || o->row_bytes == o->out_w * o->pixel_bytes) &&
			(o->out_n == 1 || o->image_bytes == (uint64_t)o->out_h * o->out_w * o->pixel_bytes);
}

static void choose_fused(struct blocked *o)
{
#if VL == 16
	o->fused = FUSED_FORMS;
	if (o->cls != MAC_F32 && !o->acc_in && !o->flush && o->p * o->kernel_b == 28)
		o->fused = fused_form_of(&o->epi);
#else
	(void)o;
#endif
}

/* false: too large for the blocked way. */
static bool blocked_plan(struct blocked *o)
{
	uint64_t panel;

	choose_tiles(o);
	o->few = (uint64_t)o->out_n * o->out_h * o->out_w <= 2 && gemm_has_few(o->wdtype) && (o->panel || o->taps == 1);
	o->widens = o->widens && !o->few;
	if (o->panel)
		o->panel_lda = row_pitch(o);
	choose_items(o);
	choose_runs(o);
	choose_image(o);
	choose_fused(o);
	panel = o->panel ? o->tiles_per_item * o->p * o->panel_lda + PANEL_SLACK : 0;
	o->scratch_panel = panel;
	o->scratch_w = o->widens ? (size_t)o->b * o->steps * gemm_w_step(o->cls) : 0;
	return panel <= BLOCKED_MAX_BYTES && o->scratch_w <= BLOCKED_MAX_BYTES;
}

static int blocked_run(struct blocked *o)
{
	uint32_t items = (uint32_t)div_up(o->tiles, o->tiles_per_item) * o->splits;

	if (!pool_reserve(o->x->e->pool, o->scratch_w + o->scratch_panel + o->scratch_image + 64))
		return MICA_FAULT_BUS;
	if (o->alone)
		run_here(blocked_item, o, items);
	else
		pool_run(o->x->e->pool, blocked_item, o, items);
	return 0;
}

#endif /* MICA_BLOCKED_IMPL_H */
