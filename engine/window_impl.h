/* SPDX-License-Identifier: MIT */
/* POOL and RESIZE, vectors along the channels. */
#ifndef MICA_WINDOW_IMPL_H
#define MICA_WINDOW_IMPL_H

#include "rows_impl.h"

#define POOL_ROWS	8u	/* input rows that are walked together */
#define WIN_CHUNK	256u	/* channels at a time without decoded rows */

/* ---- POOL -------------------------------------------------------------------------------------------------------------- */

struct poolop {
	struct exec *x;
	const struct mica_pkt_pool *p;
	uint64_t rows;			/* n * out_h */
	uint32_t strip;
	unsigned slots;
	size_t rows_bytes;		/* 0: without decoded rows */
	uint32_t pitch;
	bool codes;			/* the largest code is the largest value: nothing is decoded before it is found */
};

/* Taps i of 0..k-1 for which from + i * dil lies in 0..size-1. */
static void tap_range(int64_t from, uint32_t k, uint32_t dil, int64_t size, uint32_t *lo, uint32_t *hi)
{
	int64_t a = from < 0 ? (-from + dil - 1) / dil : 0;
	int64_t b = from < size ? (size - 1 - from) / dil + 1 : 0;

	b = b < (int64_t)k ? b : k;
	*lo = (uint32_t)(a < b ? a : b);
	*hi = (uint32_t)b;
}

static float pool_factor(const struct poolop *o, int64_t y0, int64_t x0)
{
	const struct mica_pkt_pool *p = o->p;
	bool pad = p->op == MICA_POOL_AVG_PAD;
	uint32_t ylo, yhi, xlo, xhi;

	tap_range(y0, p->kh, p->dil_h, p->in_h + (pad ? p->pad_bottom : 0), &ylo, &yhi);
	tap_range(x0, p->kw, p->dil_w, p->in_w + (pad ? p->pad_right : 0), &xlo, &xhi);
	if (pad)
		ylo = xlo = 0;
	return 1.0f / (float)((uint64_t)(yhi - ylo) * (xhi - xlo));
}

VINL vf pool_step(bool max, vf acc, vf x)
{
	return max ? vf_max(acc, x) : vf_add(acc, x);
}

/* acc[out_w][pitch] takes the taps of up to POOL_ROWS input rows. */
static void pool_rows(const struct poolop *o, const float *const row[], unsigned n, float *acc)
{
	const struct mica_pkt_pool *p = o->p;
	bool max = p->op == MICA_POOL_MAX;

	for (uint32_t ow = 0; ow < p->out_w; ow++) {
		int64_t x0 = (int64_t)ow * p->stride_w - p->pad_left;
		float *out = acc + (size_t)ow * o->pitch;
		size_t step = (size_t)p->dil_w * o->pitch;
		uint32_t lo, hi;

		tap_range(x0, p->kw, p->dil_w, p->in_w, &lo, &hi);
		for (uint32_t c = 0; c < o->pitch; c += VL) {
			vf a = vf_load(out + c);

			for (unsigned i = 0; i < n; i++) {
				const float *at = row[i] + (x0 + (int64_t)lo * p->dil_w) * o->pitch + c;

				for (uint32_t j = lo; j < hi; j++, at += step)
					a = pool_step(max, a, vf_load(at));
			}
			vf_store(out + c, a);
		}
	}
}

static void pool_out_row(const struct poolop *o, struct rows *r, uint32_t oh, float *acc, uint8_t *dst)
{
	const struct mica_pkt_pool *p = o->p;
	int64_t y0 = (int64_t)oh * p->stride_h - p->pad_top;
	const float *row[POOL_ROWS];
	uint32_t lo, hi;

	for (size_t i = 0; i < (size_t)p->out_w * o->pitch; i++)
		acc[i] = p->op == MICA_POOL_MAX ? -__builtin_inff() : 0.0f;
	tap_range(y0, p->kh, p->dil_h, p->in_h, &lo, &hi);
	for (uint32_t i = lo; i < hi; i += POOL_ROWS) {
		unsigned n = hi - i < POOL_ROWS ? hi - i : POOL_ROWS;

		if (exec_stopped(o->x))
			return;
		for (unsigned k = 0; k < n; k++)
			row[k] = rows_get(r, y0 + (int64_t)(i + k) * p->dil_h);
		pool_rows(o, row, n, acc);
	}
	for (uint32_t ow = 0; ow < p->out_w; ow++) {
		float *out = acc + (size_t)ow * o->pitch;

		if (p->op != MICA_POOL_MAX) {
			vf f = vf_set(pool_factor(o, y0, (int64_t)ow * p->stride_w - p->pad_left));

			for (uint32_t c = 0; c < o->pitch; c += VL)
				vf_store(out + c, vf_mul(vf_load(out + c), f));
		}
		encode_view(&p->dst, out, p->c, dst + (uint64_t)ow * p->dst.stride[2]);
	}
}

#if VL == 16
/* Whether every window holds something of the image. */
static bool pool_is_full(const struct mica_pkt_pool *p)
{
	uint32_t lo, hi;
	bool full = true;

	for (uint32_t i = 0; i < p->out_h && full; i++) {
		tap_range((int64_t)i * p->stride_h - p->pad_top, p->kh, p->dil_h, p->in_h, &lo, &hi);
		full = lo < hi;
	}
	for (uint32_t i = 0; i < p->out_w && full; i++) {
		tap_range((int64_t)i * p->stride_w - p->pad_left, p->kw, p->dil_w, p->in_w, &lo, &hi);
		full = lo < hi;
	}
	return full;
}

static bool pool_takes_codes(const struct mica_pkt_pool *p)
{
	return p->op == MICA_POOL_MAX && p->src.dtype == MICA_I8 && p->dst.dtype == MICA_I8 && p->src.stride[3] == 1 &&
	       p->dst.stride[3] == 1 && p->src.scale > 0 && p->src.scale < __builtin_inff() &&
	       pool_is_full(p);
}

/* The largest of a window's 64 channels, to a code of dst. */
static vi pool_codes(const struct mica_pkt_pool *p, const uint8_t *at, uint32_t rows, uint32_t columns, __mmask64 m)
{
	const vf scale = vf_set(p->src.scale), inv = vf_set(p->dst.scale);
	vi most = _mm512_set1_epi8(INT8_MIN);
	struct quad q;

	for (uint32_t i = 0; i < rows; i++, at += (uint64_t)p->dil_h * p->src.stride[1])
		for (uint32_t j = 0; j < columns; j++)
			most = _mm512_max_epi8(most, _mm512_maskz_loadu_epi8(m, at + (uint64_t)j * p->dil_w * p->src.stride[2]));
	q.v[0] = vf_of_int(_mm512_cvtepi8_epi32(_mm512_castsi512_si128(most)));
	q.v[1] = vf_of_int(_mm512_cvtepi8_epi32(_mm512_extracti32x4_epi32(most, 1)));
	q.v[2] = vf_of_int(_mm512_cvtepi8_epi32(_mm512_extracti32x4_epi32(most, 2)));
	q.v[3] = vf_of_int(_mm512_cvtepi8_epi32(_mm512_extracti32x4_epi32(most, 3)));
	for (int k = 0; k < 4; k++)
		q.v[k] = vf_mul(vf_mul(vf_sub(q.v[k], vf_set((float)p->src.zero)), scale), inv);
	return quad_encode(MICA_I8, &q, p->dst.zero);
}

static void pool_out_row_codes(const struct poolop *o, const uint8_t *image, uint32_t oh, uint8_t *dst)
{
	const struct mica_pkt_pool *p = o->p;
	int64_t y0 = (int64_t)oh * p->stride_h - p->pad_top;
	uint32_t ylo, yhi, xlo, xhi;

	tap_range(y0, p->kh, p->dil_h, p->in_h, &ylo, &yhi);
	image += (uint64_t)(y0 + (int64_t)ylo * p->dil_h) * p->src.stride[1];
	for (uint32_t ow = 0; ow < p->out_w; ow++, dst += p->dst.stride[2]) {
		int64_t x0 = (int64_t)ow * p->stride_w - p->pad_left;
		const uint8_t *at;

		tap_range(x0, p->kw, p->dil_w, p->in_w, &xlo, &xhi);
		at = image + (uint64_t)(x0 + (int64_t)xlo * p->dil_w) * p->src.stride[2];
		for (uint32_t c = 0; c < p->c; c += 64) {
			__mmask64 m = mask_bytes(p->c - c);
			vi codes = pool_codes(p, at + c, yhi - ylo, xhi - xlo, m);

			if (m == ~0ull)
				vi_store(dst + c, codes);
			else
				_mm512_mask_storeu_epi8(dst + c, m, codes);
		}
	}
}
#else
static bool pool_takes_codes(const struct mica_pkt_pool *p)
{
	(void)p;
	return false;
}

static void pool_out_row_codes(const struct poolop *o, const uint8_t *image, uint32_t oh, uint8_t *dst)
{
	(void)o, (void)image, (void)oh, (void)dst;
}
#endif

/* The same without decoded rows, for shapes whose rows are too long to keep. */
static void pool_out_row_slow(const struct poolop *o, const uint8_t *image, uint32_t oh, uint8_t *dst)
{
	const struct mica_pkt_pool *p = o->p;
	int64_t y0 = (int64_t)oh * p->stride_h - p->pad_top;
	unsigned size = mica_dtype_size(p->src.dtype);
	float acc[WIN_CHUNK], v[WIN_CHUNK] = { 0 };
	uint32_t ylo, yhi, xlo, xhi;

	tap_range(y0, p->kh, p->dil_h, p->in_h, &ylo, &yhi);
	for (uint64_t at = 0; at < (uint64_t)p->out_w * div_up(p->c, WIN_CHUNK); at++) {
		uint32_t ow = (uint32_t)(at / div_up(p->c, WIN_CHUNK)), c = (uint32_t)(at % div_up(p->c, WIN_CHUNK)) * WIN_CHUNK;
		int64_t x0 = (int64_t)ow * p->stride_w - p->pad_left;
		uint32_t n = p->c - c < WIN_CHUNK ? p->c - c : WIN_CHUNK;
		bool max = p->op == MICA_POOL_MAX;

		for (uint32_t k = 0; k < WIN_CHUNK; k++)
			acc[k] = max ? -__builtin_inff() : 0.0f;
		tap_range(x0, p->kw, p->dil_w, p->in_w, &xlo, &xhi);
		for (uint32_t i = ylo; i < yhi && !exec_stopped(o->x); i++)
			for (uint32_t j = xlo; j < xhi; j++) {
				uint64_t y = (uint64_t)(y0 + (int64_t)i * p->dil_h), x = (uint64_t)(x0 + (int64_t)j * p->dil_w);

				decode_view(&p->src, image + y * p->src.stride[1] + x * p->src.stride[2] + (uint64_t)c * size,
					    n, v);
				for (uint32_t k = 0; k < n; k += VL)
					vf_store(acc + k, pool_step(max, vf_load(acc + k), vf_load(v + k)));
			}
		if (!max)
			for (uint32_t k = 0; k < n; k++)
				acc[k] = acc[k] * pool_factor(o, y0, x0);
		encode_view(&p->dst, acc, n, dst + (uint64_t)ow * p->dst.stride[2] +
			    (uint64_t)c * mica_dtype_size(p->dst.dtype));
	}
}

static void pool_item(void *ctx, uint32_t item, unsigned thread)
{
	const struct poolop *o = ctx;
	const struct mica_pkt_pool *p = o->p;
	uint8_t *scratch = pool_scratch(o->x->e->pool, thread);
	uint64_t first = (uint64_t)item * o->strip, last = first + o->strip;
	struct rows r = { .view = &p->src, .height = p->in_h, .width = p->in_w, .columns = p->in_w, .c = p->c,
			  .pitch = o->pitch, .slots = o->slots };
	uint64_t image = UINT64_MAX;

	if (o->rows_bytes && !o->codes)
		rows_init(&r, scratch);
	for (uint64_t i = first; i < last && i < o->rows; i++) {
		uint64_t n = i / p->out_h, oh = i % p->out_h;
		const uint8_t *src = o->x->lmem + p->src.addr + n * p->src.stride[0];
		uint8_t *dst = o->x->lmem + p->dst.addr + n * p->dst.stride[0] + oh * p->dst.stride[1];

		if (exec_stopped(o->x))
			return;
		if (o->codes) {
			pool_out_row_codes(o, src, (uint32_t)oh, dst);
			continue;
		}
		if (!o->rows_bytes) {
			pool_out_row_slow(o, src, (uint32_t)oh, dst);
			continue;
		}
		if (n != image)
			rows_forget(&r, src);
		image = n;
		pool_out_row(o, &r, (uint32_t)oh, (float *)(scratch + o->rows_bytes), dst);
	}
}

static int exec_pool(struct exec *x, const union mica_pkt *pkt)
{
	const struct mica_pkt_pool *p = &pkt->pool;
	struct poolop o = { .x = x, .p = p, .rows = (uint64_t)p->n * p->out_h, .pitch = pad16(p->c),
			    .codes = pool_takes_codes(p) };
	uint64_t span = (uint64_t)((p->kh < POOL_ROWS ? p->kh : POOL_ROWS) - 1) * p->dil_h + 1;
	uint64_t acc = (uint64_t)p->out_w * o.pitch * sizeof(float);

	/* Rows that are walked together must not share a slot. */
	o.slots = span <= p->in_h ? (unsigned)span : p->in_h;
	o.rows_bytes = acc > ROWS_MAX_BYTES ? 0 : round_up(rows_bytes(p->c, p->in_w, o.slots), 64);
	o.strip = strip_rows(o.rows, pool_threads(x->e->pool), (uint64_t)p->out_w * p->c * p->kh * p->kw);
	if (o.rows_bytes && !o.codes && !pool_reserve(x->e->pool, o.rows_bytes + acc))
		return MICA_FAULT_BUS;
	pool_run(x->e->pool, pool_item, &o, (uint32_t)div_up(o.rows, o.strip));
	return 0;
}

/* ---- RESIZE ------------------------------------------------------------------------------------------------------------ */

struct resizeop {
	struct exec *x;
	const struct mica_pkt_resize *p;
	const struct mica_resize_tap *h, *w;	/* private copies, checked */
	uint64_t rows;
	uint32_t strip, pitch;
	size_t rows_bytes;
};

VINL vf lerp(vf w, vf a, vf b)
{
	return vf_fma(w, vf_sub(b, a), a);
}

static void resize_pixel(const struct resizeop *o, const float *const s[4], vf ww, vf wh, uint32_t n, float *out)
{
	for (uint32_t c = 0; c < n; c += VL) {
		vf a = vf_load(s[0] + c);

		if (o->p->mode == MICA_RESIZE_LINEAR)
			a = lerp(wh, lerp(ww, a, vf_load(s[1] + c)), lerp(ww, vf_load(s[2] + c), vf_load(s[3] + c)));
		vf_store(out + c, a);
	}
}

static void resize_out_row(const struct resizeop *o, struct rows *r, const struct mica_resize_tap *h, float *out,
			   uint8_t *dst)
{
	const struct mica_pkt_resize *p = o->p;
	bool linear = p->mode == MICA_RESIZE_LINEAR;
	const float *top = rows_get(r, h->i0), *bottom = linear ? rows_get(r, h->i1) : top;

	for (uint32_t ow = 0; ow < p->out_w; ow++) {
		const struct mica_resize_tap *w = &o->w[ow];
		size_t x0 = (size_t)w->i0 * o->pitch, x1 = linear ? (size_t)w->i1 * o->pitch : x0;
		const float *s[4] = { top + x0, top + x1, bottom + x0, bottom + x1 };

		resize_pixel(o, s, vf_set(w->w), vf_set(h->w), o->pitch, out);
		encode_view(&p->dst, out, p->c, dst + (uint64_t)ow * p->dst.stride[2]);
	}
}

static void resize_out_row_slow(const struct resizeop *o, const uint8_t *image, const struct mica_resize_tap *h,
				uint8_t *dst)
{
	const struct mica_pkt_resize *p = o->p;
	bool linear = p->mode == MICA_RESIZE_LINEAR;
	unsigned size = mica_dtype_size(p->src.dtype);
	float v[4][WIN_CHUNK] = { { 0 } };
	const float *s[4] = { v[0], v[1], v[2], v[3] };

	for (uint32_t ow = 0; ow < p->out_w && !exec_stopped(o->x); ow++)
		for (uint32_t c = 0; c < p->c; c += WIN_CHUNK) {
			uint32_t n = p->c - c < WIN_CHUNK ? p->c - c : WIN_CHUNK;

			for (int k = 0; k < (linear ? 4 : 1); k++) {
				uint64_t y = k & 2 ? h->i1 : h->i0, x = k & 1 ? o->w[ow].i1 : o->w[ow].i0;

				decode_view(&p->src, image + y * p->src.stride[1] + x * p->src.stride[2] +
					    (uint64_t)c * size, n, v[k]);
			}
			resize_pixel(o, s, vf_set(o->w[ow].w), vf_set(h->w), n, v[0]);
			encode_view(&p->dst, v[0], n, dst + (uint64_t)ow * p->dst.stride[2] +
				    (uint64_t)c * mica_dtype_size(p->dst.dtype));
		}
}

static void resize_item(void *ctx, uint32_t item, unsigned thread)
{
	const struct resizeop *o = ctx;
	const struct mica_pkt_resize *p = o->p;
	uint8_t *scratch = pool_scratch(o->x->e->pool, thread);
	uint64_t first = (uint64_t)item * o->strip, last = first + o->strip, image = UINT64_MAX;
	struct rows r = { .view = &p->src, .height = p->in_h, .width = p->in_w, .columns = p->in_w, .c = p->c,
			  .pitch = o->pitch, .slots = 0 };

	if (o->rows_bytes) {
		r.slots = p->in_h < 4 ? p->in_h : 4;
		rows_init(&r, scratch);
	}
	for (uint64_t i = first; i < last && i < o->rows; i++) {
		uint64_t n = i / p->out_h, oh = i % p->out_h;
		const uint8_t *src = o->x->lmem + p->src.addr + n * p->src.stride[0];
		uint8_t *dst = o->x->lmem + p->dst.addr + n * p->dst.stride[0] + oh * p->dst.stride[1];

		if (exec_stopped(o->x))
			return;
		if (!o->rows_bytes) {
			resize_out_row_slow(o, src, &o->h[oh], dst);
			continue;
		}
		if (n != image)
			rows_forget(&r, src);
		image = n;
		/* i0 and i1 may fall on one slot: then there is one row too few, and the pixel-wise way is as good. */
		if (p->mode == MICA_RESIZE_LINEAR && o->h[oh].i0 != o->h[oh].i1 &&
		    o->h[oh].i0 % r.slots == o->h[oh].i1 % r.slots)
			resize_out_row_slow(o, src, &o->h[oh], dst);
		else
			resize_out_row(o, &r, &o->h[oh], (float *)(scratch + o->rows_bytes), dst);
	}
}

/* Copies the table, then checks the copy: the original may be in memory that others write. */
static bool resize_taps(struct exec *x, unsigned slot, uint64_t addr, uint32_t n, uint32_t limit, bool linear,
			struct mica_resize_tap *copy)
{
	const void *at = exec_view(x, slot, addr, n * sizeof(*copy));

	if (!at)
		return false;
	memcpy(copy, at, n * sizeof(*copy));
	for (uint32_t i = 0; i < n; i++)
		if (copy[i].i0 >= limit || (linear && copy[i].i1 >= limit)) {
			x->fault = MICA_FAULT_PACKET;
			return false;
		}
	return true;
}

static int exec_resize(struct exec *x, const union mica_pkt *pkt)
{
	const struct mica_pkt_resize *p = &pkt->resize;
	struct resizeop o = { .x = x, .p = p, .rows = (uint64_t)p->n * p->out_h, .pitch = pad16(p->c) };
	struct mica_resize_tap *taps = exec_shared(x, ((size_t)p->out_h + p->out_w) * sizeof(*taps));
	bool linear = p->mode == MICA_RESIZE_LINEAR;

	if (!taps)
		return MICA_FAULT_BUS;
	if (!resize_taps(x, 0, p->taps_h, p->out_h, p->in_h, linear, taps) ||
	    !resize_taps(x, 1, p->taps_w, p->out_w, p->in_w, linear, taps + p->out_h))
		return x->fault;
	o.h = taps;
	o.w = taps + p->out_h;
	o.rows_bytes = round_up(rows_bytes(p->c, p->in_w, p->in_h < 4 ? p->in_h : 4), 64);
	if (o.rows_bytes && !pool_reserve(x->e->pool, o.rows_bytes + o.pitch * sizeof(float)))
		return MICA_FAULT_BUS;
	o.strip = strip_rows(o.rows, pool_threads(x->e->pool), (uint64_t)p->out_w * p->c * 4);
	pool_run(x->e->pool, resize_item, &o, (uint32_t)div_up(o.rows, o.strip));
	return 0;
}

#endif /* MICA_WINDOW_IMPL_H */
