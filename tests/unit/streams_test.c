/* SPDX-License-Identifier: MIT */
/*
 * Random command streams: every path of the engine against the slow reference, bit for bit. Each stream is 1..4 packets
 * over the same 64 KiB of LMEM, so later packets read what earlier ones wrote. MICA_STREAMS sets the number per operation
 * family (default 10000 in all), MICA_SEED the first seed; a failure prints its seed and the disassembly.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "engine_internal.h"
#include "../ref/ref.h"

#define LMEM	65536u
#define DRAM	65536u
#define MAX_PKT	4

static uint64_t rng;

static uint32_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng >> 16;
}
static uint32_t upto(uint32_t n) { return rnd() % n; }			/* 0..n-1 */
static uint32_t between(uint32_t lo, uint32_t hi) { return lo + upto(hi - lo + 1); }
static bool chance(unsigned percent) { return upto(100) < percent; }
static float unit(void) { return (float)(int32_t)rnd() / 2147483648.0f; }

struct world { uint8_t *lmem, *seg[3]; };
static uint8_t *fresh(size_t n) { uint8_t *p = aligned_alloc(64, n); assert_non_null(p); return p; }

static struct world world_new(void)
{
	struct world w = { fresh(LMEM), { fresh(DRAM), fresh(DRAM), fresh(DRAM) } };
	return w;
}
static void world_free(struct world *w)
{
	free(w->lmem);
	for (int i = 0; i < 3; i++)
		free(w->seg[i]);
}
static void world_copy(struct world *d, const struct world *s)
{
	memcpy(d->lmem, s->lmem, LMEM);
	for (int i = 0; i < 3; i++)
		memcpy(d->seg[i], s->seg[i], DRAM);
}
static void world_fill(struct world *w)
{
	for (unsigned i = 0; i < LMEM; i += 4) {
		uint32_t v = rnd();
		memcpy(w->lmem + i, &v, 4);
		for (int s = 0; s < 3; s++) {
			v = rnd();
			memcpy(w->seg[s] + i, &v, 4);
		}
	}
}

/* ---- operands ---- */

static uint32_t bump;				/* next free LMEM byte */

static bool is_fp8(int t) { return t == MICA_E4M3 || t == MICA_E5M2; }
static int any_type(void) { static const uint8_t t[] = { MICA_F32, MICA_BF16, MICA_E4M3, MICA_E5M2, MICA_I8, MICA_U8, MICA_I32 }; return t[upto(7)]; }

/* Fills n elements at p with ordinary values, now and then with any bits. */
static void sensible(uint8_t *p, int type, size_t n)
{
	bool wild = chance(8);

	for (size_t i = 0; i < n; i++) {
		float f = unit() * (chance(10) ? 1000.0f : 4.0f);
		uint32_t raw = rnd();

		if (chance(4))
			f = 0;
		if (wild && chance(5)) {
			memcpy(p + i * mica_dtype_size(type), &raw, mica_dtype_size(type));
		} else if (type == MICA_F32) {
			memcpy(p + 4 * i, &f, 4);
		} else if (type == MICA_BF16) {
			uint16_t h = ref_round_code(MICA_BF16, f);
			memcpy(p + 2 * i, &h, 2);
		} else if (is_fp8(type)) {
			p[i] = ref_round_code(type, f * (chance(50) ? 1 : 20));
		} else if (type == MICA_I32) {
			int32_t v = (int32_t)raw >> upto(31);
			memcpy(p + 4 * i, &v, 4);
		} else {
			p[i] = raw;
		}
	}
}

/* A view over dims d; dense or padded strides; false when LMEM is used up. */
static bool make_view(struct mica_view *v, struct world *w, int type, const uint32_t d[4], bool is_dst, bool unit_c)
{
	unsigned size = mica_dtype_size(type);
	uint32_t stride = size * (unit_c || chance(85) ? 1 : between(1, 3));

	memset(v, 0, sizeof(*v));
	v->dtype = type;
	v->scale = chance(40) ? 1.0f : (0.02f + 2.0f * (float)upto(1000) / 1000.0f) * (is_dst && chance(30) ? 16 : 1);
	if (type == MICA_I8 || type == MICA_U8)
		v->zero = chance(50) ? 0 : (int)upto(256) - 128;
	for (int i = 3; i >= 0; i--) {
		v->stride[i] = stride;
		stride = stride * d[i] + size * (chance(80) ? 0 : upto(5));
	}
	uint64_t bytes = size;
	for (int i = 0; i < 4; i++)
		bytes += (uint64_t)(d[i] - 1) * v->stride[i];
	bump = (bump + size - 1) / size * size + size * upto(4);
	if (chance(30))
		bump = (bump + 63) / 64 * 64;
	if (bump + bytes > LMEM)
		return false;
	v->addr = bump;
	if (!is_dst && chance(80))
		sensible(w->lmem + bump, type, bytes / size);
	bump += bytes;
	return true;
}

static uint64_t consts(struct world *w, uint32_t *off, int type, size_t n)
{
	*off = (*off + 63) & ~63u;
	uint64_t a = MICA_ADDR(MICA_SEG_WEIGHTS, *off);

	if (*off + n * mica_dtype_size(type) > DRAM)
		return MICA_ADDR_NONE;
	sensible(w->seg[0] + *off, type, n);
	*off += n * mica_dtype_size(type);
	return a;
}

static uint64_t params(struct world *w, uint32_t *off, size_t channels, bool integer)
{
	bool calm = chance(50);
	uint64_t a = consts(w, off, MICA_F32, 2 * channels);
	uint64_t b = a == MICA_ADDR_NONE ? a : MICA_ADDR(0, *off);

	if (b == MICA_ADDR_NONE || *off + 4 * channels > DRAM)
		return MICA_ADDR_NONE;
	for (size_t i = 0; calm && i < 2 * channels; i++) {	/* as in models: results of ordinary magnitude */
		float f = (i < channels ? 0x1p-11f : 1.0f) * unit();
		memcpy(w->seg[0] + MICA_ADDR_OFF(a) + 4 * i, &f, 4);
	}
	for (size_t i = 0; i < channels; i++) {	/* of i8 products; as a shift of others it is a number */
		int32_t v = (int32_t)rnd() >> between(12, 31);
		float f = unit();

		memcpy(w->seg[0] + *off + 4 * i, integer ? (void *)&v : (void *)&f, 4);
	}
	*off += 4 * channels;
	return a;
}

static void header(union mica_pkt *p, int op, size_t bytes)
{
	memset(p, 0, sizeof(*p));
	p->hdr.opcode = op;
	p->hdr.units = bytes / 64;
	p->hdr.layer = upto(100);
}

/* ---- packets. Each returns false when it did not fit and must be drawn again. ---- */

static void draw_act(uint8_t *act, float *alpha, float *beta)
{
	*act = chance(40) ? 0 : upto(MICA_ACT_MAX + 1);
	*alpha = unit();
	*beta = *alpha + 3 * (unit() + 1);
}

static bool draw_conv(union mica_pkt *p, struct world *w, uint32_t *off)
{
	bool dw = chance(25);
	struct mica_pkt_conv *c = &p->conv;
	int cls = upto(4);		/* 0,1 fp8; 2 i8; 3 bf16 or f32 */
	int st = cls < 2 ? (chance(50) ? MICA_E4M3 : MICA_E5M2) : cls == 2 ? MICA_I8 : chance(50) ? MICA_F32 : MICA_BF16;
	int wt = st == MICA_I8 || st == MICA_F32 ? st : (int[]){ MICA_E4M3, MICA_E5M2, MICA_BF16 }[upto(chance(80) ? 2 : 3)];

	header(p, dw ? MICA_OP_DWCONV : MICA_OP_CONV, sizeof(*c));
	c->kh = chance(40) ? 1 : between(1, 5);
	c->kw = chance(60) ? c->kh : between(1, 5);
	c->stride_h = between(1, 3);
	c->stride_w = chance(70) ? c->stride_h : between(1, 3);
	c->dil_h = chance(80) ? 1 : between(1, 3);
	c->dil_w = chance(80) ? 1 : between(1, 3);
	c->n = chance(80) ? 1 : 2;
	c->in_h = between(1, 14);
	c->in_w = between(1, 14);
	c->pad_top = (int)upto(5) - 1;
	c->pad_left = (int)upto(5) - 1;
	c->out_h = between(1, 9);
	c->out_w = between(1, 20);
	if (dw) {
		c->in_c = c->out_c = c->groups = chance(50) ? between(1, 70) : 16 * between(1, 4);
	} else {
		c->groups = chance(85) ? 1 : between(2, 4);
		c->in_c = c->groups * (chance(50) ? between(1, 40) : 4 * between(1, 24));
		c->out_c = c->groups * (chance(60) ? between(1, 40) : 16 * between(1, 5));
	}
	if (!dw && chance(15)) {	/* whole tiles of whole blocks */
		c->groups = 1;
		c->in_c = 4 * between(1, 24);
		c->out_w = 7 * between(1, 2);
		c->out_c = 16 * between(2, 5);
	}
	c->wdtype = wt;
	uint32_t di[4] = { c->n, c->in_h, c->in_w, c->in_c }, dd[4] = { c->n, c->out_h, c->out_w, c->out_c };
	size_t kk = (size_t)c->kh * c->kw * (dw ? 1 : c->in_c / c->groups), v = wt == MICA_F32 ? 1 : wt == MICA_I8 ? 4 : 2;
	size_t cg = dw ? c->out_c : c->out_c / c->groups, g = dw ? 1 : c->groups, pc = (cg + 15) / 16 * 16;

	c->weights = consts(w, off, wt, g * pc * (dw ? kk : (kk + v - 1) / v * v));
	c->params = params(w, off, g * pc, wt == MICA_I8);
	if (c->weights == MICA_ADDR_NONE || c->params == MICA_ADDR_NONE)
		return false;
	if (!make_view(&c->src, w, st, di, false, true) || !make_view(&c->dst, w, chance(60) ? st : any_type(), dd, true, true))
		return false;
	if (chance(30) && !make_view(&c->res, w, chance(50) ? st : any_type(), dd, false, true))
		return false;
	draw_act(&c->act, &c->alpha, &c->beta);
	if (wt != MICA_I8 && chance(25))
		c->flags = MICA_CONV_SHIFT;
	if (chance(15)) {
		size_t bytes = 4 * (size_t)c->n * c->out_h * c->out_w * g * pc;

		c->acc_mode = between(1, 3);
		c->acc = (bump + 63) & ~63u;
		if (c->acc + bytes > LMEM)
			return false;
		if (st == MICA_I8)
			sensible(w->lmem + c->acc, MICA_I32, bytes / 4);
		else
			sensible(w->lmem + c->acc, MICA_F32, bytes / 4);
		bump = c->acc + bytes;
	}
	return true;
}

static bool draw_matmul(union mica_pkt *p, struct world *w, uint32_t *off)
{
	struct mica_pkt_matmul *c = &p->matmul;
	int at = (int[]){ MICA_E4M3, MICA_E5M2, MICA_I8, MICA_F32, MICA_BF16 }[upto(5)];
	int bt = at == MICA_I8 || at == MICA_F32 ? at : (int[]){ MICA_E4M3, MICA_E5M2, MICA_BF16 }[upto(3)];
	uint8_t act;

	header(p, MICA_OP_MATMUL, sizeof(*c));
	c->batch = between(1, 3);
	c->m = between(1, 20);
	c->k = between(1, 60);
	c->n = between(1, 40);
	uint32_t da[4] = { c->batch, c->m, c->k, 1 }, db[4] = { c->batch, c->k, c->n, 1 }, dd[4] = { c->batch, c->m, c->n, 1 };

	if (!make_view(&c->a, w, at, da, false, true) || !make_view(&c->b, w, bt, db, false, true) ||
	    !make_view(&c->dst, w, chance(50) ? at : any_type(), dd, true, true))
		return false;
	if (chance(30)) {			/* b transposed in place: [n][k] */
		uint32_t s = mica_dtype_size(bt);

		c->b.stride[1] = s;
		c->b.stride[2] = s * c->k;
		c->b.stride[0] = s * c->k * c->n;
	}
	if (chance(15))
		c->a.stride[0] = 0;
	if (chance(30) && !make_view(&c->res, w, any_type(), dd, false, true))
		return false;
	c->a.stride[3] = c->b.stride[3] = c->dst.stride[3] = c->res.stride[3] = 0;
	c->params = chance(50) ? MICA_ADDR_NONE : params(w, off, (c->n + 15) / 16 * 16, at == MICA_I8);
	draw_act(&act, &c->alpha, &c->beta);
	c->act = act;
	return true;
}

static void draw_dims(uint32_t d[4])
{
	d[0] = chance(80) ? 1 : 2;
	d[1] = between(1, 8);
	d[2] = between(1, 8);
	d[3] = chance(50) ? between(1, 40) : between(1, 100);
}

static void broadcast(struct mica_view *v)
{
	for (int i = 0; i < 4; i++)
		if (chance(20))
			v->stride[i] = 0;
}

static bool draw_binary(union mica_pkt *p, struct world *w, uint32_t *off)
{
	struct mica_pkt_binary *b = &p->binary;

	(void)off;
	header(p, MICA_OP_BINARY, sizeof(*b));
	draw_dims(b->dim);
	b->op = upto(MICA_BIN_MAX_OP + 1);
	if (!make_view(&b->a, w, any_type(), b->dim, false, false) || !make_view(&b->b, w, any_type(), b->dim, false, false) ||
	    !make_view(&b->dst, w, any_type(), b->dim, true, false))
		return false;
	if (b->op == MICA_BIN_WHERE && !make_view(&b->c, w, any_type(), b->dim, false, false))
		return false;
	if (chance(50)) {
		broadcast(&b->a);
		broadcast(&b->b);
	}
	draw_act(&b->act, &b->alpha, &b->beta);
	return true;
}

static bool draw_unary(union mica_pkt *p, struct world *w, uint32_t *off)
{
	struct mica_pkt_unary *u = &p->unary;

	if (chance(25)) {
		struct mica_pkt_lut *l = &p->lut;

		header(p, MICA_OP_LUT, sizeof(*l));
		draw_dims(l->dim);
		if (!make_view(&l->src, w, between(MICA_E4M3, MICA_U8), l->dim, false, false) ||
		    !make_view(&l->dst, w, any_type(), l->dim, true, false))
			return false;
		l->table = consts(w, off, l->dst.dtype, 256);
		return l->table != MICA_ADDR_NONE;
	}
	header(p, MICA_OP_UNARY, sizeof(*u));
	draw_dims(u->dim);
	u->func = chance(30) ? MICA_FN_COPY : upto(MICA_FN_MAX + 1);
	u->alpha = unit();
	u->beta = u->alpha + 1 + unit();
	return make_view(&u->src, w, any_type(), u->dim, false, false) && make_view(&u->dst, w, any_type(), u->dim, true, false);
}

static bool draw_pool(union mica_pkt *p, struct world *w, uint32_t *off)
{
	struct mica_pkt_pool *q = &p->pool;

	(void)off;
	header(p, MICA_OP_POOL, sizeof(*q));
	q->n = between(1, 2);
	q->in_h = between(1, 12);
	q->in_w = between(1, 12);
	q->c = between(1, 70);
	q->out_h = between(1, 6);
	q->out_w = between(1, 6);
	q->kh = between(1, 4);
	q->kw = between(1, 4);
	q->stride_h = between(1, 3);
	q->stride_w = between(1, 3);
	q->dil_h = chance(80) ? 1 : 2;
	q->dil_w = chance(80) ? 1 : 2;
	q->pad_top = upto(3);
	q->pad_left = upto(3);
	q->pad_bottom = upto(3);
	q->pad_right = upto(3);
	q->op = upto(MICA_POOL_MAX_OP + 1);
	uint32_t di[4] = { q->n, q->in_h, q->in_w, q->c }, dd[4] = { q->n, q->out_h, q->out_w, q->c };

	return make_view(&q->src, w, any_type(), di, false, true) && make_view(&q->dst, w, any_type(), dd, true, true);
}

static uint64_t taps(struct world *w, uint32_t *off, uint32_t n, uint32_t in)
{
	*off = (*off + 63) & ~63u;
	uint64_t a = MICA_ADDR(0, *off);

	for (uint32_t i = 0; i < n; i++, *off += sizeof(struct mica_resize_tap)) {
		struct mica_resize_tap t = { upto(in), upto(in), chance(20) ? 0 : (unit() + 1) / 2, 0 };
		memcpy(w->seg[0] + *off, &t, sizeof(t));
	}
	return a;
}

static bool draw_resize(union mica_pkt *p, struct world *w, uint32_t *off)
{
	struct mica_pkt_resize *r = &p->resize;

	header(p, MICA_OP_RESIZE, sizeof(*r));
	r->n = between(1, 2);
	r->in_h = between(1, 8);
	r->in_w = between(1, 8);
	r->c = between(1, 50);
	r->out_h = between(1, 10);
	r->out_w = between(1, 10);
	r->mode = upto(2);
	if (*off + 64 + 20 * sizeof(struct mica_resize_tap) + 64 > DRAM)
		return false;
	r->taps_h = taps(w, off, r->out_h, r->in_h);
	r->taps_w = taps(w, off, r->out_w, r->in_w);
	uint32_t di[4] = { r->n, r->in_h, r->in_w, r->c }, dd[4] = { r->n, r->out_h, r->out_w, r->c };

	return make_view(&r->src, w, any_type(), di, false, true) && make_view(&r->dst, w, any_type(), dd, true, true);
}

static bool draw_reduce(union mica_pkt *p, struct world *w, uint32_t *off)
{
	struct mica_pkt_reduce *r = &p->reduce;
	uint32_t d[4];

	(void)off;
	header(p, MICA_OP_REDUCE, sizeof(*r));
	draw_dims(r->dim);
	r->op = upto(MICA_RED_MAX_OP + 1);
	r->axes = between(1, 15);
	for (int i = 0; i < 4; i++)
		d[i] = r->axes >> i & 1 ? 1 : r->dim[i];
	return make_view(&r->src, w, any_type(), r->dim, false, false) && make_view(&r->dst, w, any_type(), d, true, false);
}

static bool draw_norm(union mica_pkt *p, struct world *w, uint32_t *off)
{
	struct mica_pkt_norm *r = &p->norm;

	header(p, chance(50) ? MICA_OP_SOFTMAX : MICA_OP_NORM, sizeof(*r));
	draw_dims(r->dim);
	r->gamma = r->beta = MICA_ADDR_NONE;
	if (r->hdr.opcode == MICA_OP_NORM) {
		r->eps = 1e-5f;
		if (chance(70)) {
			r->gamma = consts(w, off, MICA_F32, r->dim[3]);
			r->beta = consts(w, off, MICA_F32, r->dim[3]);
			if (r->gamma == MICA_ADDR_NONE || r->beta == MICA_ADDR_NONE)
				return false;
		}
	}
	return make_view(&r->src, w, any_type(), r->dim, false, false) && make_view(&r->dst, w, any_type(), r->dim, true, false);
}

static bool draw_copy(union mica_pkt *p, struct world *w, uint32_t *off)
{
	struct mica_pkt_copy *c = &p->copy;
	int order[4] = { 0, 1, 2, 3 };
	int type = (int[]){ MICA_I8, MICA_BF16, MICA_F32 }[upto(3)];
	struct mica_view a, b;
	uint32_t d[4], pd[4];

	(void)off;
	header(p, MICA_OP_COPY, sizeof(*c));
	draw_dims(d);
	for (int i = 3; i > 0; i--) {
		int j = upto(i + 1), t = order[i];
		order[i] = order[j];
		order[j] = t;
	}
	for (int i = 0; i < 4; i++)
		pd[i] = d[order[i]];
	uint32_t save = bump;
	bool load = chance(40), store = !load && chance(60);

	if (!make_view(&a, w, type, d, false, false))
		return false;
	if (load)
		bump = save;
	if (!make_view(&b, w, type, pd, true, false))
		return false;
	c->elem = mica_dtype_size(type);
	for (int i = 0; i < 4; i++) {
		c->dim[i] = pd[i];
		c->dst_stride[i] = b.stride[i];
		c->src_stride[i] = a.stride[order[i]];
	}
	uint32_t sa = a.addr;
	if (chance(20) && c->dim[2] > 1) {	/* reversed along an axis */
		sa += (c->dim[2] - 1) * c->src_stride[2];
		c->src_stride[2] = -c->src_stride[2];
	}
	c->src = MICA_ADDR(load ? MICA_SEG_IO : MICA_SEG_LMEM, sa);
	c->dst = MICA_ADDR(store ? MICA_SEG_ARENA : MICA_SEG_LMEM, b.addr);
	return true;
}

static bool draw_fill(union mica_pkt *p, struct world *w, uint32_t *off)
{
	(void)off;
	header(p, MICA_OP_FILL, sizeof(p->fill));
	draw_dims(p->fill.dim);
	p->fill.pattern = rnd();
	return make_view(&p->fill.dst, w, any_type(), p->fill.dim, true, false);
}

typedef bool (*draw_fn)(union mica_pkt *, struct world *, uint32_t *);
static const struct { draw_fn fn; unsigned weight; } draws[] = {
	{ draw_conv, 35 }, { draw_matmul, 12 }, { draw_binary, 14 }, { draw_unary, 12 }, { draw_pool, 7 }, { draw_resize, 5 },
	{ draw_reduce, 6 }, { draw_norm, 5 }, { draw_copy, 8 }, { draw_fill, 2 },
};

static draw_fn pick(void)
{
	unsigned total = 0, r;

	for (unsigned i = 0; i < sizeof(draws) / sizeof(draws[0]); i++)
		total += draws[i].weight;
	r = upto(total);
	for (unsigned i = 0;; i++) {
		if (r < draws[i].weight)
			return draws[i].fn;
		r -= draws[i].weight;
	}
}

static unsigned draw_stream(union mica_pkt *p, struct world *w)
{
	unsigned want = between(1, MAX_PKT), n = 0;
	uint32_t off = 0, fit_bump, fit_off;

	bump = 0;
	for (unsigned tries = 0; n < want && tries < 20; tries++) {
		fit_bump = bump;
		fit_off = off;
		if (pick()(&p[n], w, &off)) {
			if (n && chance(40))
				bump = fit_bump / 2;	/* overlap what earlier packets made */
			n++;
		} else {
			bump = fit_bump;
			off = fit_off;
		}
	}
	return n;
}

/* ---- the comparison ---- */

static const struct { enum mica_isa_level level; unsigned threads; } paths[] = {
	{ MICA_ISA_SCALAR, 1 }, { MICA_ISA_AVX2, 1 }, { MICA_ISA_AVX512, 1 }, { MICA_ISA_AUTO, 2 },
};
#define PATHS (sizeof(paths) / sizeof(paths[0]))

static void run_engine(struct mica_engine *e, const union mica_pkt *p, unsigned n, struct world *w)
{
	struct mica_mem mem = { .lmem_size = LMEM };

	for (unsigned i = 0; i < MICA_MAX_CORES; i++)
		mem.lmem[i] = w->lmem;
	for (int i = 0; i < 3; i++)
		mem.seg[i] = w->seg[i];
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(mica_exec(e, &p[i], &mem), 0);
}

static void explain(uint64_t seed, const union mica_pkt *p, unsigned n, const char *path, const struct world *got, const struct world *want)
{
	char line[4096];

	print_error("seed %llu, path %s\n", (unsigned long long)seed, path);
	for (unsigned i = 0; i < n; i++) {
		mica_disasm(line, sizeof(line), &p[i]);
		print_error("  %s\n", line);
	}
	for (unsigned i = 0; i < LMEM; i++)
		if (got->lmem[i] != want->lmem[i]) {
			print_error("first difference: lmem 0x%x: engine %02x, reference %02x\n", i, got->lmem[i], want->lmem[i]);
			break;
		}
	fail();
}

static void check_valid(uint64_t seed, const union mica_pkt *p, unsigned n)
{
	struct mica_limits lim = { .lmem_size = LMEM, .cores = 1, .segments = 3 };
	struct mica_check_state st = { 0 };

	for (unsigned i = 0; i < 3; i++) {
		lim.seg_size[i] = DRAM;
		lim.seg_write[i] = i == 1;
	}
	for (unsigned i = 0; i < n; i++) {
		const char *field = "";
		enum mica_check c = mica_check_packet(&p[i], sizeof(p[i]), &lim, &st, &field);

		if (c != MICA_OK) {
			char line[4096];

			mica_disasm(line, sizeof(line), &p[i]);
			print_error("seed %llu: validator refuses a legal packet: %s, field %s\n  %s\n", (unsigned long long)seed,
				    mica_check_name(c), field, line);
			fail();
		}
	}
}

/* Every kernel that is made for certain operands must have run. Only whole runs tell: a few streams do not reach all. */
static void check_variants(bool whole)
{
	static struct mica_variant v[512];
	unsigned missed = 0;

	for (unsigned i = 0; i < PATHS; i++) {
		const struct mica_path *path = paths[i].level == MICA_ISA_AUTO ? NULL : mica_path_of(paths[i].level);
		unsigned n = path ? path->variants(v, ARRAY_SIZE(v)) : 0, reached = 0;

		assert_true(n <= ARRAY_SIZE(v));
		for (unsigned k = 0; k < n; k++) {
			reached += v[k].reached;
			if (!v[k].reached && whole)
				print_error("%s: never reached: %s\n", path->name, v[k].name);
		}
		if (path)
			print_message("# %s: %u of %u kernel variants reached\n", path->name, reached, n);
		missed += n - reached;
	}
	if (whole)
		assert_int_equal(missed, 0);
}

static void random_streams_match_the_reference(void **state)
{
	const char *env = getenv("MICA_STREAMS"), *sd = getenv("MICA_SEED");
	unsigned streams = env ? strtoul(env, NULL, 0) : 10000, packets = 0, per_op[256] = { 0 };
	uint64_t first = sd ? strtoull(sd, NULL, 0) : 1;
	struct world start = world_new(), want = world_new(), got = world_new();
	struct mica_engine *e[PATHS];
	union mica_pkt p[MAX_PKT];

	(void)state;
	for (unsigned i = 0; i < PATHS; i++)
		e[i] = mica_engine_create(paths[i].level, paths[i].threads);
	rng = 88172645463325252ull;
	world_fill(&start);
	for (uint64_t seed = first; seed < first + streams; seed++) {
		rng = seed * 0x9e3779b97f4a7c15ull + 1;
		unsigned n = draw_stream(p, &start);

		check_valid(seed, p, n);
		world_copy(&want, &start);
		struct ref_mem rm = { .lmem = want.lmem, .seg = { want.seg[0], want.seg[1], want.seg[2] } };

		for (unsigned i = 0; i < n; i++, packets++) {
			ref_exec(&p[i], &rm);
			per_op[p[i].hdr.opcode]++;
		}
		for (unsigned k = 0; k < PATHS; k++) {
			if (!e[k])
				continue;
			world_copy(&got, &start);
			run_engine(e[k], p, n, &got);
			if (memcmp(got.lmem, want.lmem, LMEM) || memcmp(got.seg[1], want.seg[1], DRAM))
				explain(seed, p, n, mica_isa_level_name(paths[k].level), &got, &want);
		}
	}
	print_message("# %u streams, %u packets:", streams, packets);
	for (unsigned i = 0; i < 256; i++)
		if (per_op[i])
			print_message(" %s %u", mica_op_name(i), per_op[i]);
	print_message("\n");
	check_variants(streams >= 10000);
	for (unsigned i = 0; i < PATHS; i++)
		mica_engine_destroy(e[i]);
	world_free(&start);
	world_free(&want);
	world_free(&got);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(random_streams_match_the_reference) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
