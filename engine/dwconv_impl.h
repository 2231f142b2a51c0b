/* SPDX-License-Identifier: MIT */
/*
 * DWCONV: tiles of some columns by some channels, walked down the image. A tile's input rows are brought into the kernels'
 * form once and kept in the first-level cache while they are in the window.
 */
#ifndef MICA_DWCONV_IMPL_H
#define MICA_DWCONV_IMPL_H

#include "rows_impl.h"
#if VL == 16
#include "dw_avx512_impl.h"
#else
#include "dw_generic_impl.h"
#endif

#define DW_MAX_CHUNK	4u		/* blocks of channels to a tile: 8-bit results fill a cache line */
#define DW_TILE_BYTES	(28u * 1024)	/* of rows, unless that makes tiles too narrow */
#define DW_MIN_COLUMNS	7u		/* ... which is fewer results than this */
#define DW_VERTICAL_COLUMNS 28u		/* results to a tile when rows are codes, at a stride of 1 */
#define DW_MIN_MACS	(1u << 14)	/* packets below twice that stay on the caller's thread */

/* Without rows of vectors: any shape, one pixel of up to 16 channels at a time. Leaves the accumulators in out. */
static void dw_pixel_slow(const struct dwop *o, uint64_t n, int64_t y0, int64_t x0, uint32_t c, float out[16],
			  int32_t sum[16])
{
	const struct mica_pkt_conv *p = o->p;
	unsigned size = mica_dtype_size(p->src.dtype), wsize = mica_dtype_size(p->wdtype);
	uint32_t lanes = p->in_c - c < 16 ? p->in_c - c : 16;
	bool pairs = mac_class_of(p->wdtype) == MAC_FLOAT;
	uint32_t k_len = (uint32_t)p->kh * p->kw;

	for (uint32_t i = 0; i < k_len; i++) {
		uint32_t k = dw_order(p, k_len, i);
		int64_t y = y0 + (int64_t)(k / p->kw) * p->dil_h, x = x0 + (int64_t)(k % p->kw) * p->dil_w;
		const uint8_t *src = o->x->lmem + p->src.addr + n * p->src.stride[0] + (uint64_t)c * size;
		float a[16] = { 0 }, w[16];
		unsigned saved;

		if (y >= 0 && y < p->in_h && x >= 0 && x < p->in_w)
			decode_mac(p->src.dtype, src + (uint64_t)y * p->src.stride[1] + (uint64_t)x * p->src.stride[2], lanes, a);
		else
			for (uint32_t l = 0; l < 16; l++)
				a[l] = dw_is_i8(o) ? p->src.zero : 0.0f;
		decode_mac(p->wdtype, o->weights + ((uint64_t)(c / 16) * k_len + k) * 16 * wsize, 16, w);
		saved = flush_enter(o->flush);	/* not earlier: decoding goes through subnormals */
		for (uint32_t l = 0; l < 16; l += VL) {
			vf acc = vf_load(out + l);

			if (pairs && (k_len & 1) && i + 1 == k_len)
				acc = vf_add(vf_set(0.0f), acc);
			vf_store(out + l, mac(vf_load(a + l), vf_load(w + l), acc, o->flush));
			if (dw_is_i8(o))
				vi_store(sum + l, vi_add(vi_load(sum + l),
							 vf_to_int(vf_mul(vf_load(a + l), vf_load(w + l)))));
		}
		flush_leave(saved);
	}
}

static void dw_out_row_slow(const struct dwop *o, uint64_t n, uint64_t oh)
{
	const struct mica_pkt_conv *p = o->p;
	int64_t y0 = (int64_t)oh * p->stride_h - p->pad_top;
	uint64_t dst = p->dst.addr + n * p->dst.stride[0] + oh * p->dst.stride[1];
	uint64_t res = p->res.addr + n * p->res.stride[0] + oh * p->res.stride[1];
	unsigned dsize = mica_dtype_size(p->dst.dtype), rsize = mica_dtype_size(p->res.dtype);

	for (uint32_t ow = 0; ow < p->out_w && !exec_stopped(o->x); ow++)
		for (uint32_t c = 0; c < p->in_c; c += 16) {
			uint64_t pixel = (n * p->out_h + oh) * p->out_w + ow;
			uint32_t lanes = p->in_c - c < 16 ? p->in_c - c : 16;
			uint8_t *buffer = o->x->lmem + p->acc + (pixel * o->blocks * 16 + c) * 4;
			float acc[16] = { 0 };
			int32_t sum[16] = { 0 };

			if (p->acc_mode & MICA_ACC_IN)
				memcpy(dw_is_i8(o) ? (void *)sum : (void *)acc, buffer, lanes * 4);
			else if (dw_is_i8(o))
				memcpy(sum, o->init + c, sizeof(sum));
			if (mac_class_of(p->wdtype) == MAC_FLOAT)
				flush_array(acc, 16);
			dw_pixel_slow(o, n, y0, (int64_t)ow * p->stride_w - p->pad_left, c, acc, sum);
			if (p->acc_mode & MICA_ACC_OUT)
				epi_raw(o->epi.integer, dw_is_i8(o) ? (void *)sum : (void *)acc, lanes, buffer);
			else
				epi_run(&o->epi, &(struct epi_span){
					.acc = dw_is_i8(o) ? (void *)sum : (void *)acc, .channel = c, .n = lanes, .pixels = 1,
					.dst = o->x->lmem + dst + (uint64_t)ow * p->dst.stride[2] + (uint64_t)c * dsize,
					.res = o->x->lmem + res + (uint64_t)ow * p->res.stride[2] + (uint64_t)c * rsize,
					.dst_c = dsize, .res_c = rsize,
				});
		}
}

/* ---- Tiles ------------------------------------------------------------------------------------------------------------- */

static uint8_t *dw_acc(const struct dwop *o, const struct dw_tile *t, uint64_t pixel)
{
	return o->x->lmem + o->p->acc + (pixel * o->blocks * 16 + t->c) * 4;
}

/* The buffer's accumulators where results go. */
static void dw_start(const struct dwop *o, const struct dw_tile *t, uint64_t pixel)
{
	size_t pitch = o->chunk * 16;

	memset(t->out, 0, t->count * pitch * 4);
	for (uint32_t i = 0; i < t->count; i++)
		memcpy(t->out + i * pitch, dw_acc(o, t, pixel + i), t->n * 4);
	if (o->cls == MAC_FLOAT)
		flush_array(t->out, t->count * pitch);
}

static void dw_add_buffer(const struct dwop *o, const struct dw_tile *t, uint64_t pixel)
{
	for (uint32_t i = 0; i < t->count; i++)
		for (uint32_t c = 0; c < t->n; c++) {
			uint32_t *word = (uint32_t *)t->out + (size_t)i * o->chunk * 16 + c, buffer;

			memcpy(&buffer, dw_acc(o, t, pixel + i) + c * 4, 4);
			*word += buffer;
		}
}

static void dw_finish(const struct dwop *o, const struct dw_tile *t, uint64_t n, uint64_t oh)
{
	const struct mica_pkt_conv *p = o->p;
	uint64_t pixel = (n * p->out_h + oh) * p->out_w + t->ow;

	if (o->acc_in && dw_is_i8(o))
		dw_add_buffer(o, t, pixel);
	if (p->acc_mode & MICA_ACC_OUT) {
		for (uint32_t i = 0; i < t->count; i++)
			epi_raw(o->epi.integer, t->out + (size_t)i * o->chunk * 16, t->n, dw_acc(o, t, pixel + i));
		return;
	}
	epi_run(&o->epi, &(struct epi_span){
		.acc = t->out, .acc_step = o->chunk * 64, .channel = t->block * 16, .n = t->n, .pixels = t->count,
		.dst = o->x->lmem + p->dst.addr + n * p->dst.stride[0] + oh * p->dst.stride[1] +
		       (uint64_t)t->ow * p->dst.stride[2] + (uint64_t)t->c * mica_dtype_size(p->dst.dtype),
		.res = o->x->lmem + p->res.addr + n * p->res.stride[0] + oh * p->res.stride[1] +
		       (uint64_t)t->ow * p->res.stride[2] + (uint64_t)t->c * mica_dtype_size(p->res.dtype),
		.dst_step = p->dst.stride[2], .res_step = p->res.stride[2],
		.dst_c = p->dst.stride[3], .res_c = p->res.stride[3],
	});
}

/* Input row y in the kernels' form; all rows outside the image are one. */
static const uint8_t *dw_row(const struct dwop *o, const struct dw_tile *t, int64_t y)
{
	bool outside = y < 0 || y >= o->p->in_h;
	unsigned slot = outside ? o->slots : (unsigned)(y % o->slots);
	uint8_t *row = t->mem + slot * o->row_bytes;

	if (outside)
		y = -1;
	if (t->tag[slot] != y) {
		dw_fill_row(o, t, y, row);
		t->tag[slot] = y;
	}
	return row;
}

static void dw_out_row(const struct dwop *o, const struct dw_tile *t, uint64_t n, uint64_t oh, const uint8_t **at)
{
	const struct mica_pkt_conv *p = o->p;
	const uint8_t **row = at + 2 * o->k;
	const uint8_t *dst = o->x->lmem + p->dst.addr + n * p->dst.stride[0] + oh * p->dst.stride[1] +
			     (uint64_t)t->ow * p->dst.stride[2] + (uint64_t)t->c * mica_dtype_size(p->dst.dtype);

	for (uint32_t i = 0; i < p->kh; i++)
		row[i] = dw_row(o, t, (int64_t)oh * p->stride_h + (int64_t)i * p->dil_h - p->pad_top);
	if (o->acc_in && !dw_is_i8(o))
		dw_start(o, t, (n * p->out_h + oh) * p->out_w + t->ow);
	for (uint32_t i = 0; i < t->count; i++)		/* results: soon to be written */
		__builtin_prefetch(dst + (uint64_t)i * p->dst.stride[2], 1);
	dw_run_row(o, t, row, at);
	dw_finish(o, t, n, oh);
}

/* Two rows of results at once, if there are two and the stride allows it; returns how many. */
static uint32_t dw_out_vertical(const struct dwop *o, const struct dw_tile *t, uint64_t n, uint64_t oh, uint64_t left)
{
	const struct mica_pkt_conv *p = o->p;
	struct dw_tile second = *t;
	uint32_t rows = p->stride_h == 1 && left > 1 && oh + 1 < p->out_h ? 2 : 1;
	size_t to_row = o->out_bytes / 8;
	const uint8_t *row[4];

	for (uint32_t i = 0; i < 4; i++)
		row[i] = i < 2 + rows ? dw_row(o, t, (int64_t)oh * p->stride_h + i - p->pad_top) : row[i - 1];
	dw_vertical_run(o, t, row, rows, to_row);
	dw_finish(o, t, n, oh);
	second.out += to_row;
	if (rows == 2)
		dw_finish(o, &second, n, oh + 1);
	return rows;
}

static void dw_item(void *ctx, uint32_t item, unsigned thread)
{
	const struct dwop *o = ctx;
	const struct mica_pkt_conv *p = o->p;
	uint64_t first = (uint64_t)(item % o->strips) * o->strip, image = UINT64_MAX;
	uint64_t last = first + o->strip < o->rows ? first + o->strip : o->rows;
	uint32_t part = item / o->strips, chunk = part % o->chunks;
	struct dw_tile t = { .block = chunk * o->chunk, .ow = part / o->chunks * o->tile_w };
	const uint8_t **at;

	t.blocks = o->blocks - t.block < o->chunk ? o->blocks - t.block : o->chunk;
	t.c = t.block * 16;
	t.n = p->in_c - t.c < t.blocks * 16 ? p->in_c - t.c : t.blocks * 16;
	t.count = p->out_w - t.ow < o->tile_w ? p->out_w - t.ow : o->tile_w;
	t.mem = pool_scratch(o->x->e->pool, thread);
	t.tag = (int64_t *)(t.mem + (o->slots + 1) * o->row_bytes);
	t.out = (float *)(t.mem + o->rows_bytes);
	t.codes = (uint8_t *)t.out + o->out_bytes;
	at = (const uint8_t **)(t.codes + o->codes_bytes);
	for (uint64_t i = first, done; i < last; i += done) {
		uint64_t n = i / p->out_h, oh = i % p->out_h;

		if (exec_stopped(o->x))
			return;
		t.src = o->x->lmem + p->src.addr + n * p->src.stride[0];
		for (unsigned s = 0; s <= o->slots && n != image; s++)
			t.tag[s] = INT64_MIN;
		image = n;
		done = 1;
		if (o->vertical)
			done = dw_out_vertical(o, &t, n, oh, last - i);
		else
			dw_out_row(o, &t, n, oh, at);
	}
}

static void dw_slow_item(void *ctx, uint32_t item, unsigned thread)
{
	const struct dwop *o = ctx;
	uint64_t first = (uint64_t)item * o->strip;

	(void)thread;
	variant_reached(&dw_reached[DW_V_SLOW]);
	for (uint64_t i = first; i < first + o->strip && i < o->rows; i++)
		dw_out_row_slow(o, i / o->p->out_h, i % o->p->out_h);
}

/* ---- The plan ---------------------------------------------------------------------------------------------------------- */

static uint64_t dw_columns(const struct mica_pkt_conv *p, uint64_t results)
{
	return (results - 1) * p->stride_w + (uint64_t)(p->kw - 1) * p->dil_w + 1;
}

/* The widest tile whose rows fit, of as many channels as leave it wide enough. */
static void dw_choose_tile(struct dwop *o)
{
	const struct mica_pkt_conv *p = o->p;
	uint32_t fit = p->out_w;

	for (o->chunk = o->blocks < DW_MAX_CHUNK ? o->blocks : DW_MAX_CHUNK; !o->vertical; o->chunk = (o->chunk + 1) / 2) {
		uint64_t room = DW_TILE_BYTES / ((uint64_t)o->slots * o->chunk * 64), least = dw_columns(p, 1) + o->lead;

		fit = room > least ? (uint32_t)((room - least) / p->stride_w) + 1 : 1;
		if (o->chunk == 1 || fit >= DW_MIN_COLUMNS || fit >= p->out_w)
			break;
	}
	if (o->vertical)
		fit = DW_VERTICAL_COLUMNS / p->stride_w;
	fit = fit < DW_MIN_COLUMNS ? DW_MIN_COLUMNS : fit;
	o->tile_w = (uint32_t)div_up(p->out_w, div_up(p->out_w, fit));
	o->tiles = (uint32_t)div_up(p->out_w, o->tile_w);
	o->chunks = (uint32_t)div_up(o->blocks, o->chunk);
}

static void dw_choose_strips(struct dwop *o)
{
	unsigned threads = pool_threads(o->x->e->pool);
	uint64_t parts = (uint64_t)o->tiles * o->chunks, strips = threads == 1 ? 1 : div_up(3 * threads, parts);

	o->strip = (uint32_t)div_up(o->rows, strips < o->rows ? strips : o->rows);
	o->strips = (uint32_t)div_up(o->rows, o->strip);
}

/* Scratch: rows and their tags, results, codes, pointers to taps and rows. 0: too much. */
static size_t dw_scratch(struct dwop *o)
{
	const struct mica_pkt_conv *p = o->p;
	uint64_t columns = dw_columns(p, o->tile_w), row = (columns + o->lead) * o->chunk * 64, rows;

	if (columns > ROWS_MAX_BYTES / 1024 || __builtin_mul_overflow(row, o->slots + 1ull, &rows) || rows > ROWS_MAX_BYTES)
		return 0;
	o->columns = (uint32_t)columns;
	o->row_bytes = o->vertical ? columns * 64 : row;
	rows = o->row_bytes * (o->slots + 1);
	o->col_step = o->blockwise ? 64 : o->chunk * 64;
	o->block_step = o->blockwise ? (columns + o->lead) * 64 : 64;
	o->rows_bytes = round_up(rows + (o->slots + 1) * sizeof(int64_t), 64);
	o->out_bytes = (size_t)o->tile_w * o->chunk * 64;
	o->codes_bytes = round_up((o->lead + columns + o->extra) * o->chunk * 32 + 128, 64);
	if (o->vertical) {	/* two rows of results, vectors of up to four blocks; both with slack for four results at a time */
		o->out_bytes = (o->tile_w + 3ul) * o->chunk * 64 * 2;
		o->codes_bytes = (columns + 6) * 4 * 64;
	}
	return o->rows_bytes + o->out_bytes + o->codes_bytes + (2 * o->k + p->kh) * sizeof(void *);
}

static bool dw_weights(struct dwop *o)
{
	size_t bytes = (size_t)o->blocks * o->terms * 64;
	uint8_t *w = exec_shared(o->x, bytes + (size_t)o->blocks * 64);

	if (!w)
		return false;
	o->w = w;
	o->start = (int32_t *)(w + bytes);
	dw_operand_weights(o, w, (int32_t *)(w + bytes));
	return true;
}

static int dw_run(struct dwop *o)
{
	const struct mica_pkt_conv *p = o->p;
	uint64_t span = (uint64_t)(p->kh - 1) * p->dil_h + 1, macs = o->rows * p->out_w * p->in_c * p->kh * p->kw;
	size_t scratch = 0;
	uint64_t items;

	if ((uint64_t)p->kh * p->kw <= DW_MAX_K) {
		o->k = (uint32_t)p->kh * p->kw;
		dw_form(o);
		span += o->vertical && p->stride_h == 1;
		o->slots = span <= p->in_h ? (unsigned)span : p->in_h;
		dw_choose_tile(o);
		dw_choose_strips(o);
		scratch = dw_scratch(o);
	}
	items = (uint64_t)o->tiles * o->chunks * o->strips;
	if (!scratch || items > UINT32_MAX) {
		o->strip = strip_rows(o->rows, pool_threads(o->x->e->pool), macs / o->rows);
		pool_run(o->x->e->pool, dw_slow_item, o, (uint32_t)div_up(o->rows, o->strip));
		return 0;
	}
	if (!dw_weights(o) || !pool_reserve(o->x->e->pool, scratch))
		return MICA_FAULT_BUS;
	if (macs < 2 * DW_MIN_MACS)
		run_here(dw_item, o, (uint32_t)items);
	else
		pool_run(o->x->e->pool, dw_item, o, (uint32_t)items);
	return 0;
}

static void conv_epilogue(struct epilogue *e, const struct mica_pkt_conv *p, const uint8_t *params, size_t channels)
{
	*e = (struct epilogue){
		.integer = p->wdtype == MICA_I8, .dense = true, .raw = p->acc_mode & MICA_ACC_OUT,
		.scale = (const float *)params, .bias = (const float *)params + channels,
		.shift = p->flags & MICA_CONV_SHIFT ? (const float *)params + 2 * channels : NULL,
		.dst = &p->dst, .res = p->res.dtype ? &p->res : NULL,
		.act = fn_of_act(p->act), .alpha = p->alpha, .beta = p->beta,
	};
	epi_prepare(e, channels);
}

static int exec_dwconv(struct exec *x, const union mica_pkt *pkt)
{
	const struct mica_pkt_conv *p = &pkt->conv;
	struct dwop o = { .x = x, .p = p, .rows = (uint64_t)p->n * p->out_h, .blocks = pad16(p->in_c) / 16,
			  .cls = mac_class_of(p->wdtype), .acc_in = p->acc_mode & MICA_ACC_IN,
			  .flush = mac_flushes(p->src.dtype, p->wdtype) };
	const uint8_t *params = exec_view(x, 1, p->params, mica_params_size(1, p->out_c));

	o.weights = exec_view(x, 0, p->weights, mica_pack_size_dw(p->wdtype, p->out_c, p->kh, p->kw));
	if (!o.weights || !params)
		return x->fault;
	conv_epilogue(&o.epi, p, params, (size_t)o.blocks * 16);
	o.init = (const int32_t *)params + 2 * (size_t)o.blocks * 16;
	return dw_run(&o);
}

#endif /* MICA_DWCONV_IMPL_H */
