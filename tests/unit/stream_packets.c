/* SPDX-License-Identifier: MIT */
/* Random packets that the validator accepts, and streams of them. */
#include <string.h>
#include "stream_gen.h"

/* ---- one of each kind; false: it did not fit and must be drawn again ---- */

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

	stream_header(p, dw ? MICA_OP_DWCONV : MICA_OP_CONV, sizeof(*c));
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

	c->weights = stream_consts(w, off, wt, g * pc * (dw ? kk : (kk + v - 1) / v * v));
	c->params = stream_params(w, off, g * pc, wt == MICA_I8);
	if (c->weights == MICA_ADDR_NONE || c->params == MICA_ADDR_NONE)
		return false;
	if (!stream_view(&c->src, w, st, di, false, true) || !stream_view(&c->dst, w, chance(60) ? st : stream_type(), dd, true, true))
		return false;
	if (chance(30) && !stream_view(&c->res, w, chance(50) ? st : stream_type(), dd, false, true))
		return false;
	draw_act(&c->act, &c->alpha, &c->beta);
	if (wt != MICA_I8 && chance(25))
		c->flags = MICA_CONV_SHIFT;
	if (chance(15)) {
		size_t bytes = 4 * (size_t)c->n * c->out_h * c->out_w * g * pc;

		c->acc_mode = between(1, 3);
		c->acc = (stream_bump + 63) & ~63u;
		if (c->acc + bytes > STREAM_LMEM)
			return false;
		if (st == MICA_I8)
			stream_values(w->lmem + c->acc, MICA_I32, bytes / 4);
		else
			stream_values(w->lmem + c->acc, MICA_F32, bytes / 4);
		stream_bump = c->acc + bytes;
	}
	return true;
}

static bool draw_matmul(union mica_pkt *p, struct world *w, uint32_t *off)
{
	struct mica_pkt_matmul *c = &p->matmul;
	int at = (int[]){ MICA_E4M3, MICA_E5M2, MICA_I8, MICA_F32, MICA_BF16 }[upto(5)];
	int bt = at == MICA_I8 || at == MICA_F32 ? at : (int[]){ MICA_E4M3, MICA_E5M2, MICA_BF16 }[upto(3)];
	uint8_t act;

	stream_header(p, MICA_OP_MATMUL, sizeof(*c));
	c->batch = between(1, 3);
	c->m = between(1, 20);
	c->k = between(1, 60);
	c->n = between(1, 40);
	uint32_t da[4] = { c->batch, c->m, c->k, 1 }, db[4] = { c->batch, c->k, c->n, 1 }, dd[4] = { c->batch, c->m, c->n, 1 };

	if (!stream_view(&c->a, w, at, da, false, true) || !stream_view(&c->b, w, bt, db, false, true) ||
	    !stream_view(&c->dst, w, chance(50) ? at : stream_type(), dd, true, true))
		return false;
	if (chance(30)) {			/* b transposed in place: [n][k] */
		uint32_t s = mica_dtype_size(bt);

		c->b.stride[1] = s;
		c->b.stride[2] = s * c->k;
		c->b.stride[0] = s * c->k * c->n;
	}
	if (chance(15))
		c->a.stride[0] = 0;
	if (chance(30) && !stream_view(&c->res, w, stream_type(), dd, false, true))
		return false;
	c->a.stride[3] = c->b.stride[3] = c->dst.stride[3] = c->res.stride[3] = 0;
	c->params = chance(50) ? MICA_ADDR_NONE : stream_params(w, off, (c->n + 15) / 16 * 16, at == MICA_I8);
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
	stream_header(p, MICA_OP_BINARY, sizeof(*b));
	draw_dims(b->dim);
	b->op = upto(MICA_BIN_MAX_OP + 1);
	if (!stream_view(&b->a, w, stream_type(), b->dim, false, false) || !stream_view(&b->b, w, stream_type(), b->dim, false, false) ||
	    !stream_view(&b->dst, w, stream_type(), b->dim, true, false))
		return false;
	if (b->op == MICA_BIN_WHERE && !stream_view(&b->c, w, stream_type(), b->dim, false, false))
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

		stream_header(p, MICA_OP_LUT, sizeof(*l));
		draw_dims(l->dim);
		if (!stream_view(&l->src, w, between(MICA_E4M3, MICA_U8), l->dim, false, false) ||
		    !stream_view(&l->dst, w, stream_type(), l->dim, true, false))
			return false;
		l->table = stream_consts(w, off, l->dst.dtype, 256);
		return l->table != MICA_ADDR_NONE;
	}
	stream_header(p, MICA_OP_UNARY, sizeof(*u));
	draw_dims(u->dim);
	u->func = chance(30) ? MICA_FN_COPY : upto(MICA_FN_MAX + 1);
	u->alpha = unit();
	u->beta = u->alpha + 1 + unit();
	return stream_view(&u->src, w, stream_type(), u->dim, false, false) && stream_view(&u->dst, w, stream_type(), u->dim, true, false);
}

static bool draw_pool(union mica_pkt *p, struct world *w, uint32_t *off)
{
	struct mica_pkt_pool *q = &p->pool;

	(void)off;
	stream_header(p, MICA_OP_POOL, sizeof(*q));
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

	return stream_view(&q->src, w, stream_type(), di, false, true) && stream_view(&q->dst, w, stream_type(), dd, true, true);
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

	stream_header(p, MICA_OP_RESIZE, sizeof(*r));
	r->n = between(1, 2);
	r->in_h = between(1, 8);
	r->in_w = between(1, 8);
	r->c = between(1, 50);
	r->out_h = between(1, 10);
	r->out_w = between(1, 10);
	r->mode = upto(2);
	if (*off + 64 + 20 * sizeof(struct mica_resize_tap) + 64 > STREAM_DRAM)
		return false;
	r->taps_h = taps(w, off, r->out_h, r->in_h);
	r->taps_w = taps(w, off, r->out_w, r->in_w);
	uint32_t di[4] = { r->n, r->in_h, r->in_w, r->c }, dd[4] = { r->n, r->out_h, r->out_w, r->c };

	return stream_view(&r->src, w, stream_type(), di, false, true) && stream_view(&r->dst, w, stream_type(), dd, true, true);
}

static bool draw_reduce(union mica_pkt *p, struct world *w, uint32_t *off)
{
	struct mica_pkt_reduce *r = &p->reduce;
	uint32_t d[4];

	(void)off;
	stream_header(p, MICA_OP_REDUCE, sizeof(*r));
	draw_dims(r->dim);
	r->op = upto(MICA_RED_MAX_OP + 1);
	r->axes = between(1, 15);
	for (int i = 0; i < 4; i++)
		d[i] = r->axes >> i & 1 ? 1 : r->dim[i];
	return stream_view(&r->src, w, stream_type(), r->dim, false, false) && stream_view(&r->dst, w, stream_type(), d, true, false);
}

static bool draw_norm(union mica_pkt *p, struct world *w, uint32_t *off)
{
	struct mica_pkt_norm *r = &p->norm;

	stream_header(p, chance(50) ? MICA_OP_SOFTMAX : MICA_OP_NORM, sizeof(*r));
	draw_dims(r->dim);
	r->gamma = r->beta = MICA_ADDR_NONE;
	if (r->hdr.opcode == MICA_OP_NORM) {
		r->eps = 1e-5f;
		if (chance(70)) {
			r->gamma = stream_consts(w, off, MICA_F32, r->dim[3]);
			r->beta = stream_consts(w, off, MICA_F32, r->dim[3]);
			if (r->gamma == MICA_ADDR_NONE || r->beta == MICA_ADDR_NONE)
				return false;
		}
	}
	return stream_view(&r->src, w, stream_type(), r->dim, false, false) && stream_view(&r->dst, w, stream_type(), r->dim, true, false);
}

static bool draw_copy(union mica_pkt *p, struct world *w, uint32_t *off)
{
	struct mica_pkt_copy *c = &p->copy;
	int order[4] = { 0, 1, 2, 3 };
	int type = (int[]){ MICA_I8, MICA_BF16, MICA_F32 }[upto(3)];
	struct mica_view a, b;
	uint32_t d[4], pd[4];

	(void)off;
	stream_header(p, MICA_OP_COPY, sizeof(*c));
	draw_dims(d);
	for (int i = 3; i > 0; i--) {
		int j = upto(i + 1), t = order[i];
		order[i] = order[j];
		order[j] = t;
	}
	for (int i = 0; i < 4; i++)
		pd[i] = d[order[i]];
	uint32_t save = stream_bump;
	bool load = chance(40), store = !load && chance(60);

	if (!stream_view(&a, w, type, d, false, false))
		return false;
	if (load)
		stream_bump = save;
	if (!stream_view(&b, w, type, pd, true, false))
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
	stream_header(p, MICA_OP_FILL, sizeof(p->fill));
	draw_dims(p->fill.dim);
	p->fill.pattern = stream_rnd();
	return stream_view(&p->fill.dst, w, stream_type(), p->fill.dim, true, false);
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

unsigned stream_draw(union mica_pkt *p, struct world *w)
{
	unsigned want = between(1, STREAM_PACKETS), n = 0;
	uint32_t off = 0, fit_bump, fit_off;

	stream_bump = 0;
	for (unsigned tries = 0; n < want && tries < 20; tries++) {
		fit_bump = stream_bump;
		fit_off = off;
		if (pick()(&p[n], w, &off)) {
			if (n && chance(40))
				stream_bump = fit_bump / 2;	/* overlap what earlier packets made */
			n++;
		} else {
			stream_bump = fit_bump;
			off = fit_off;
		}
	}
	return n;
}
