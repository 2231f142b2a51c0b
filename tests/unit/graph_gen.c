// SPDX-License-Identifier: MIT
/* Random graphs: numbers, values, and operators that compute. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "graph_util.h"

/* ---- random numbers ---- */

uint64_t gen_rng;

uint32_t gen_rnd(void)
{
	gen_rng = gen_rng * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(gen_rng >> 33);
}

int gen_pick(int lo, int hi)
{
	return lo + (int)(gen_rnd() % (unsigned)(hi - lo + 1));
}

bool gen_chance(int percent)
{
	return gen_pick(1, 100) <= percent;
}

float gen_float(void)
{
	return (float)gen_pick(-1000, 1000) / 500.0f;
}

/* ---- random graphs ---- */

void gen_quant(struct gen *t, struct ir_value *v)
{
	(void)t;
	if (v->dtype == MICA_F32)
		return;
	v->scale = (float)gen_pick(1, 100) / (v->dtype == MICA_I8 || v->dtype == MICA_U8 ? 1000.0f : 100.0f);
	if (v->dtype == MICA_I8)
		v->zero = gen_pick(-128, 127);
	if (v->dtype == MICA_U8)
		v->zero = gen_pick(0, 255);
}

void gen_codes(int dtype, void *dst, size_t n)
{
	float *f = ir_alloc(n, sizeof(*f));

	for (size_t i = 0; i < n; i++)
		f[i] = gen_float();
	mica_quantize(dtype, f, dst, n, dtype == MICA_I8 || dtype == MICA_U8 ? 60 : 1, dtype == MICA_U8 ? 128 : 0);
	free(f);
}

struct ir_value *gen_value(struct gen *t, int dtype, int64_t n, int64_t h, int64_t w, int64_t c)
{
	struct ir_value *v = ir_value_new(t->g, NULL, dtype, 4, (int64_t[]){ n, h, w, c });

	gen_quant(t, v);
	return v;
}

struct ir_value *gen_constant(struct gen *t, int dtype, unsigned rank, const int64_t *dim)
{
	struct ir_value *v = ir_const_new(t->g, NULL, dtype, rank, dim, NULL);

	gen_codes(dtype, v->data, (size_t)ir_elements(v));
	return v;
}

struct ir_op *gen_op(struct gen *t, enum ir_kind kind, struct ir_value *const *in, unsigned ins, struct ir_value *out)
{
	struct ir_op *op = ir_op_new(t->g, kind, NULL, NULL, in, ins, &out, 1);

	if (t->pools < 128 && out->rank == 4)
		t->pool[t->pools++] = out;
	return op;
}

struct ir_value *gen_any(struct gen *t)
{
	/* recent ones more often, so that graphs get deep */
	return gen_chance(60) && t->pools > 3 ? t->pool[t->pools - 1 - gen_rnd() % 3] : t->pool[gen_rnd() % t->pools];
}

void gen_same_quant(struct ir_value *to, const struct ir_value *from)
{
	to->scale = from->scale;
	to->zero = from->zero;
}

static int64_t window_out(int64_t in, int k, int stride, int dil, int lo, int hi)
{
	int64_t span = in + lo + hi - (int64_t)(k - 1) * dil - 1;

	return span < 0 ? 0 : span / stride + 1;
}

static bool gen_window(struct ir_attr *a, const struct ir_value *x, int most, int64_t *oh, int64_t *ow)
{
	a->kh = gen_pick(1, most);
	a->kw = gen_chance(70) ? a->kh : gen_pick(1, most);
	a->stride_h = gen_chance(60) ? 1 : gen_pick(1, 3);
	a->stride_w = gen_chance(80) ? a->stride_h : gen_pick(1, 3);
	a->dil_h = gen_chance(85) ? 1 : 2;
	a->dil_w = a->dil_h;
	a->pad_top = gen_pick(0, a->kh - 1);
	a->pad_left = gen_pick(0, a->kw - 1);
	a->pad_bottom = gen_pick(0, a->kh - 1);
	a->pad_right = gen_pick(0, a->kw - 1);
	*oh = window_out(x->dim[1], a->kh, a->stride_h, a->dil_h, a->pad_top, a->pad_bottom);
	*ow = window_out(x->dim[2], a->kw, a->stride_w, a->dil_w, a->pad_left, a->pad_right);
	return *oh > 0 && *ow > 0;
}

bool gen_mac_dtype(int d)
{
	return d == MICA_F32 || d == MICA_BF16 || d == MICA_E4M3 || d == MICA_E5M2 || d == MICA_I8;
}

void gen_conv(struct gen *t)
{
	struct ir_value *x = gen_any(t), *in[4] = { x }, *y, *w;
	struct ir_attr a = { 0 };
	int64_t oh, ow, oc, c = x->dim[3];
	int wd = x->dtype == MICA_BF16 ? MICA_E4M3 : x->dtype;
	unsigned ins = 2;

	if (!gen_mac_dtype(x->dtype) || !gen_window(&a, x, gen_chance(50) ? 1 : gen_chance(70) ? 3 : 5, &oh, &ow))
		return;
	a.groups = 1;
	oc = gen_pick(1, 70);
	if (gen_chance(25) && c > 1) {
		a.groups = (int)c;
		oc = c;
	} else if (gen_chance(25)) {
		for (int g = 2; g <= 4; g++)
			if (c % g == 0) {
				a.groups = g;
				oc = (int64_t)g * gen_pick(1, 20);
			}
	}
	w = gen_constant(t, wd, 4, (int64_t[]){ oc, a.kh, a.kw, c / a.groups });
	w->ch_scale = ir_alloc((size_t)oc, sizeof(float));
	for (int64_t i = 0; i < oc; i++)
		w->ch_scale[i] = (float)gen_pick(1, 100) / 300.0f;
	in[1] = w;
	y = gen_value(t, gen_chance(90) ? x->dtype : MICA_F32, x->dim[0], oh, ow, oc);
	if (gen_chance(70)) {
		in[2] = gen_constant(t, MICA_F32, 1, &oc);
		ins = 3;
	}
	for (unsigned i = 0; i < t->pools && gen_chance(50); i++) {
		if (memcmp(t->pool[i]->dim, y->dim, sizeof(int64_t) * 4))
			continue;
		in[3] = t->pool[i];
		ins = 4;
	}
	a.act = (enum mica_act)gen_pick(0, MICA_ACT_MAX);
	a.alpha = a.act == MICA_ACT_CLIP ? -1 : 0.25f;
	a.beta = 3;
	gen_op(t, IR_CONV, in, ins, y)->a = a;
}

void gen_pool(struct gen *t)
{
	struct ir_value *x = gen_any(t), *y;
	struct ir_attr a = { 0 };
	int64_t oh, ow;

	if (!gen_window(&a, x, 4, &oh, &ow))
		return;
	a.pool = (enum mica_pool)gen_pick(0, MICA_POOL_MAX_OP);
	y = gen_value(t, x->dtype, x->dim[0], oh, ow, x->dim[3]);
	gen_op(t, IR_POOL, &x, 1, y)->a = a;
}

void gen_binary(struct gen *t)
{
	struct ir_value *x = gen_any(t), *in[3] = { x, NULL, NULL }, *y;
	int64_t d[4];
	struct ir_op *op;

	for (unsigned i = 0; i < t->pools; i++)
		if (gen_chance(30) && !memcmp(t->pool[i]->dim, x->dim, sizeof(d)))
			in[1] = t->pool[i];
	if (!in[1]) {
		unsigned rank = (unsigned)gen_pick(0, 4);

		for (unsigned i = 0; i < rank; i++)
			d[i] = gen_chance(50) ? 1 : x->dim[i + 4 - rank];
		in[1] = gen_constant(t, gen_chance(50) ? MICA_F32 : t->dtype, rank, d);
	}
	if (gen_chance(20))
		in[1] = x;
	y = gen_value(t, gen_chance(85) ? t->dtype : MICA_F32, x->dim[0], x->dim[1], x->dim[2], x->dim[3]);
	if (gen_chance(20)) {
		in[2] = gen_constant(t, MICA_F32, 1, &x->dim[3]);
		gen_op(t, IR_WHERE, in, 3, y);
		return;
	}
	if (gen_chance(50)) {
		in[2] = in[0];
		in[0] = in[1];
		in[1] = in[2];
	}
	op = gen_op(t, IR_BINARY, in, 2, y);
	op->a.bin = (enum mica_bin)gen_pick(0, MICA_BIN_MIN);
	op->a.act = gen_chance(50) ? MICA_ACT_NONE : MICA_ACT_RELU;
}

void gen_unary(struct gen *t)
{
	struct ir_value *x = gen_any(t), *in[2] = { x, NULL };
	struct ir_value *y = gen_value(t, gen_chance(80) ? t->dtype : MICA_F32, x->dim[0], x->dim[1], x->dim[2], x->dim[3]);
	int64_t n = 256;

	if (ir_dtype_size(x->dtype) == 1 && gen_chance(50)) {
		in[1] = gen_constant(t, y->dtype, 1, &n);
		gen_op(t, IR_LUT, in, 2, y);
		return;
	}
	gen_op(t, IR_UNARY, in, 1, y)->a.fn = (enum mica_fn)gen_pick(0, MICA_FN_NEG);
}

static struct mica_resize_tap *taps(int64_t n, int64_t size)
{
	struct mica_resize_tap *p = ir_alloc((size_t)n, sizeof(*p));

	for (int64_t i = 0; i < n; i++) {
		int64_t at = i * size / n;

		p[i].i0 = (uint32_t)at;
		p[i].i1 = (uint32_t)(at + 1 < size ? at + 1 : at);
		p[i].w = (float)gen_pick(0, 8) / 8;
	}
	return p;
}

void gen_resize(struct gen *t)
{
	struct ir_value *x = gen_any(t), *y;
	int64_t oh = gen_pick(1, t->big), ow = gen_pick(1, t->big);
	struct ir_op *op;

	y = gen_value(t, x->dtype, x->dim[0], oh, ow, x->dim[3]);
	op = gen_op(t, IR_RESIZE, &x, 1, y);
	op->a.resize = gen_chance(50) ? MICA_RESIZE_LINEAR : MICA_RESIZE_NEAREST;
	op->a.taps_h = taps(oh, x->dim[1]);
	op->a.taps_w = taps(ow, x->dim[2]);
}

void gen_reduce(struct gen *t)
{
	struct ir_value *x = gen_any(t), *y;
	unsigned axes = (unsigned)gen_pick(1, 15);
	struct ir_op *op;
	int64_t d[4];

	for (unsigned i = 0; i < 4; i++)
		d[i] = axes >> i & 1 ? 1 : x->dim[i];
	y = gen_value(t, x->dtype, d[0], d[1], d[2], d[3]);
	op = gen_op(t, IR_REDUCE, &x, 1, y);
	op->a.axes = axes;
	op->a.red = (enum mica_red)gen_pick(0, MICA_RED_MAX_OP);
}

void gen_rows(struct gen *t)
{
	struct ir_value *x = gen_any(t), *in[3] = { x }, *y;

	y = gen_value(t, x->dtype, x->dim[0], x->dim[1], x->dim[2], x->dim[3]);
	if (gen_chance(50)) {
		gen_op(t, IR_SOFTMAX, in, 1, y);
		return;
	}
	if (gen_chance(60)) {
		in[1] = gen_constant(t, MICA_F32, 1, &x->dim[3]);
		in[2] = gen_constant(t, MICA_F32, 1, &x->dim[3]);
	}
	gen_op(t, IR_NORM, in, in[1] ? 3 : 1, y)->a.eps = 1e-5f;
}

void gen_matmul(struct gen *t)
{
	struct ir_value *x = gen_any(t), *in[3] = { x, NULL, NULL }, *y;
	bool ta = gen_chance(30), tb = gen_chance(30);
	int64_t m = x->dim[ta ? 3 : 2], k = x->dim[ta ? 2 : 3], n = gen_pick(1, 40), d[4] = { x->dim[0], x->dim[1], k, n };
	struct ir_op *op;

	if (!gen_mac_dtype(x->dtype))
		return;
	if (gen_chance(40))
		d[0] = 1;
	if (gen_chance(40))
		d[1] = 1;
	if (tb) {
		d[2] = n;
		d[3] = k;
	}
	in[1] = gen_constant(t, x->dtype, 4, d);
	for (unsigned i = 0; i < t->pools && gen_chance(80); i++)
		if (t->pool[i]->dim[tb ? 3 : 2] == k && t->pool[i]->dtype == x->dtype && t->pool[i]->dim[0] == x->dim[0] &&
		    t->pool[i]->dim[1] == x->dim[1]) {
			in[1] = t->pool[i];
			n = in[1]->dim[tb ? 2 : 3];
		}
	y = gen_value(t, x->dtype, x->dim[0], x->dim[1], m, n);
	op = gen_op(t, IR_MATMUL, in, 2, y);
	op->a.trans_a = ta;
	op->a.trans_b = tb;
	op->a.act = gen_chance(50) ? MICA_ACT_NONE : MICA_ACT_RELU;
}
