/* SPDX-License-Identifier: MIT */
/*
 * DWCONV, vectors along the channels. All types run on f32 fma: products and sums of i8 are exact in f32 as long as
 * K <= 1024; longer kernels go element by element on integers.
 */
#ifndef MICA_DWCONV_IMPL_H
#define MICA_DWCONV_IMPL_H

#include "epilogue_impl.h"
#include "mac_impl.h"
#include "rows_impl.h"

#define DW_PIXELS	8u		/* output pixels that share a weight */
#define DW_MAX_K	1024u

struct dwop {
	struct exec *x;
	const struct mica_pkt_conv *p;
	struct epilogue epi;
	const int32_t *init;
	const uint8_t *weights;		/* packed codes */
	uint64_t rows;
	uint32_t strip, pitch, k;
	unsigned slots;
	size_t rows_bytes;
	const float *wf;		/* [pitch / 16][k][16], k in the order of accumulation */
	bool flush, odd_pad;
};

static bool dw_is_i8(const struct dwop *o)
{
	return o->p->wdtype == MICA_I8;
}

/* The order of docs/numerics.md: f32 and i8 ascending, the float class by pairs with the odd element first. */
static uint32_t dw_order(const struct mica_pkt_conv *p, uint32_t k_len, uint32_t i)
{
	return mac_class_of(p->wdtype) == MAC_FLOAT && (i ^ 1) < k_len ? i ^ 1 : i;
}

VINL void dw_tap(const float *at, size_t step, const float *w, vf *acc, const unsigned pixels, const bool flush)
{
	vf ww = vf_load(w);

#pragma GCC unroll 8
	for (unsigned q = 0; q < pixels; q++)
		acc[q] = mac(vf_load(at + q * step), ww, acc[q], flush);
}

/* `pixels` output pixels from ow on, all channels. tap[] are the taps of output column 0 in the order of accumulation. */
VINL void dw_pixels(const struct dwop *o, const float *const *tap, uint32_t ow, const unsigned pixels, const bool flush,
		    float *out)
{
	size_t step = (size_t)o->p->stride_w * o->pitch;
	uint32_t paired = o->k - o->odd_pad;

	for (uint32_t c = 0; c < o->pitch; c += VL) {
		const float *w = o->wf + (size_t)(c / 16) * o->k * 16 + c % 16;
		size_t off = ow * step + c;
		float *to = out + (size_t)ow * o->pitch + c;
		vf acc[DW_PIXELS];

#pragma GCC unroll 8
		for (unsigned q = 0; q < pixels; q++)
			acc[q] = vf_load(to + (size_t)q * o->pitch);
		for (uint32_t i = 0; i < paired; i++)
			dw_tap(tap[i] + off, step, w + (size_t)i * 16, acc, pixels, flush);
		if (o->odd_pad) {	/* the last element's partner is 0 * 0, and comes first */
#pragma GCC unroll 8
			for (unsigned q = 0; q < pixels; q++)
				acc[q] = vf_add(vf_set(0.0f), acc[q]);
			dw_tap(tap[paired] + off, step, w + (size_t)paired * 16, acc, pixels, flush);
		}
#pragma GCC unroll 8
		for (unsigned q = 0; q < pixels; q++)
			vf_store(to + (size_t)q * o->pitch, acc[q]);
	}
}

static void dw_row(const struct dwop *o, const float *const *tap, float *out)
{
	unsigned saved = flush_enter(o->flush);
	uint32_t ow = 0;

	if (o->flush && VL == 1) {
		for (; ow < o->p->out_w; ow++)
			dw_pixels(o, tap, ow, 1, true, out);
	} else {
		for (; ow + DW_PIXELS <= o->p->out_w; ow += DW_PIXELS)
			dw_pixels(o, tap, ow, DW_PIXELS, false, out);
		for (; ow < o->p->out_w; ow++)
			dw_pixels(o, tap, ow, 1, false, out);
	}
	flush_leave(saved);
}

static uint8_t *dw_acc(const struct dwop *o, uint64_t pixel)
{
	return o->x->lmem + o->p->acc + pixel * o->pitch * 4;
}

/* Where accumulators start: zero, or the buffer. i8 starts from zero and takes the buffer or init at the end. */
static void dw_start(const struct dwop *o, uint64_t pixel, float *out)
{
	const struct mica_pkt_conv *p = o->p;

	memset(out, 0, (size_t)p->out_w * o->pitch * sizeof(float));
	if (!(p->acc_mode & MICA_ACC_IN) || dw_is_i8(o))
		return;
	for (uint32_t ow = 0; ow < p->out_w; ow++)
		memcpy(out + (size_t)ow * o->pitch, dw_acc(o, pixel + ow), p->in_c * 4);
	if (mac_class_of(p->wdtype) == MAC_FLOAT)
		flush_array(out, (size_t)p->out_w * o->pitch);
}

/* Sums of i8 are whole numbers in f32 so far. In place; start has room for whole vectors. */
static void dw_to_int(const struct dwop *o, const uint8_t *start, size_t step, float *out)
{
	for (uint32_t ow = 0; ow < o->p->out_w; ow++, start += step, out += o->pitch)
		for (uint32_t c = 0; c < o->pitch; c += VL)
			vi_store(out + c, vi_add(vf_to_int(vf_load(out + c)), vi_load(start + c * 4)));
}

static void dw_finish(const struct dwop *o, uint64_t pixel, uint64_t n, uint64_t oh, float *out)
{
	const struct mica_pkt_conv *p = o->p;
	bool from_buffer = p->acc_mode & MICA_ACC_IN;

	if (dw_is_i8(o))
		dw_to_int(o, from_buffer ? dw_acc(o, pixel) : (const uint8_t *)o->init, from_buffer ? o->pitch * 4 : 0, out);
	if (p->acc_mode & MICA_ACC_OUT) {
		for (uint32_t ow = 0; ow < p->out_w; ow++)
			epi_raw(o->epi.integer, out + (size_t)ow * o->pitch, p->in_c, dw_acc(o, pixel + ow));
		return;
	}
	epi_run(&o->epi, &(struct epi_span){
		.acc = out, .acc_step = o->pitch * 4, .n = p->in_c, .pixels = p->out_w,
		.dst = o->x->lmem + p->dst.addr + n * p->dst.stride[0] + oh * p->dst.stride[1],
		.res = o->x->lmem + p->res.addr + n * p->res.stride[0] + oh * p->res.stride[1],
		.dst_step = p->dst.stride[2], .res_step = p->res.stride[2],
		.dst_c = p->dst.stride[3], .res_c = p->res.stride[3],
	});
}

/* Without decoded rows: any shape, one pixel of up to 16 channels at a time. Leaves the accumulators in out. */
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
			uint8_t *buffer = dw_acc(o, pixel) + (uint64_t)c * 4;
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

static void dw_item(void *ctx, uint32_t item, unsigned thread)
{
	const struct dwop *o = ctx;
	const struct mica_pkt_conv *p = o->p;
	uint8_t *scratch = pool_scratch(o->x->e->pool, thread);
	float *out = (float *)(scratch + o->rows_bytes);
	const float **tap = (const float **)(out + (size_t)p->out_w * o->pitch);
	uint64_t first = (uint64_t)item * o->strip, last = first + o->strip, image = UINT64_MAX;
	struct rows r = { .view = &p->src, .height = p->in_h, .width = p->in_w, .c = p->in_c, .pitch = o->pitch,
			  .first = -(int64_t)p->pad_left, .pad = dw_is_i8(o) ? p->src.zero : 0.0f, .mac = true,
			  .columns = (int64_t)(p->out_w - 1) * p->stride_w + (int64_t)(p->kw - 1) * p->dil_w + 1,
			  .slots = o->slots };

	if (o->rows_bytes)
		rows_init(&r, scratch);
	for (uint64_t i = first; i < last && i < o->rows; i++) {
		uint64_t n = i / p->out_h, oh = i % p->out_h, pixel = i * p->out_w;

		if (exec_stopped(o->x))
			return;
		if (!o->rows_bytes) {
			dw_out_row_slow(o, n, oh);
			continue;
		}
		if (n != image)
			rows_forget(&r, o->x->lmem + p->src.addr + n * p->src.stride[0]);
		image = n;
		for (uint32_t t = 0; t < o->k; t++) {
			uint32_t k = dw_order(p, o->k, t);
			int64_t y = (int64_t)oh * p->stride_h + (int64_t)(k / p->kw) * p->dil_h - p->pad_top;

			tap[t] = rows_get(&r, y) + (size_t)(k % p->kw) * p->dil_w * o->pitch;
		}
		dw_start(o, pixel, out);
		dw_row(o, tap, out);
		dw_finish(o, pixel, n, oh, out);
	}
}

/* Decoded weights in the order of accumulation, shared by the threads. */
static bool dw_weights(struct dwop *o)
{
	unsigned block = 16 * mica_dtype_size(o->p->wdtype);
	float *wf = exec_shared(o->x, (size_t)o->pitch * o->k * sizeof(float));

	if (!wf)
		return false;
	o->wf = wf;
	for (uint32_t b = 0; b < o->pitch / 16; b++)
		for (uint32_t i = 0; i < o->k; i++, wf += 16)
			decode_mac(o->p->wdtype, o->weights + ((size_t)b * o->k + dw_order(o->p, o->k, i)) * block, 16, wf);
	return true;
}

static bool dw_plan(struct dwop *o)
{
	const struct mica_pkt_conv *p = o->p;
	uint64_t span = (uint64_t)(p->kh - 1) * p->dil_h + 1, acc = (uint64_t)p->out_w * o->pitch * sizeof(float);
	int64_t columns = (int64_t)(p->out_w - 1) * p->stride_w + (int64_t)(p->kw - 1) * p->dil_w + 1;

	o->slots = span <= p->in_h ? (unsigned)span : p->in_h;
	o->strip = strip_rows(o->rows, pool_threads(o->x->e->pool), (uint64_t)p->out_w * p->out_c * p->kh * p->kw);
	if ((uint64_t)p->kh * p->kw > DW_MAX_K || acc > ROWS_MAX_BYTES)
		return true;
	o->k = (uint32_t)p->kh * p->kw;
	o->odd_pad = mac_class_of(p->wdtype) == MAC_FLOAT && o->k % 2;
	o->rows_bytes = round_up(rows_bytes(p->in_c, columns, o->slots), 64);
	if (!o->rows_bytes)
		return true;
	return dw_weights(o) && pool_reserve(o->x->e->pool, o->rows_bytes + acc + o->k * sizeof(float *));
}

static void conv_epilogue(struct epilogue *e, const struct mica_pkt_conv *p, const uint8_t *params, size_t channels)
{
	*e = (struct epilogue){
		.integer = p->wdtype == MICA_I8, .dense = true, .raw = p->acc_mode & MICA_ACC_OUT,
		.scale = (const float *)params, .bias = (const float *)params + channels,
		.dst = &p->dst, .res = p->res.dtype ? &p->res : NULL,
		.act = fn_of_act(p->act), .alpha = p->alpha, .beta = p->beta,
	};
}

static int exec_dwconv(struct exec *x, const union mica_pkt *pkt)
{
	const struct mica_pkt_conv *p = &pkt->conv;
	struct dwop o = { .x = x, .p = p, .rows = (uint64_t)p->n * p->out_h, .pitch = pad16(p->in_c),
			  .flush = mac_flushes(p->src.dtype, p->wdtype) };
	const uint8_t *params = exec_view(x, 1, p->params, mica_params_size(1, p->out_c));

	o.weights = exec_view(x, 0, p->weights, mica_pack_size_dw(p->wdtype, p->out_c, p->kh, p->kw));
	if (!o.weights || !params)
		return x->fault;
	conv_epilogue(&o.epi, p, params, o.pitch);
	o.init = (const int32_t *)params + 2 * (size_t)o.pitch;
	if (!dw_plan(&o))
		return MICA_FAULT_BUS;
	pool_run(x->e->pool, dw_item, &o, (uint32_t)div_up(o.rows, o.strip));
	return 0;
}

#endif /* MICA_DWCONV_IMPL_H */
