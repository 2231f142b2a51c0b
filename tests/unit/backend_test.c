// SPDX-License-Identifier: MIT
/*
 * The compiler's back half: random graphs are compiled for several LMEM sizes and core counts and must compute the same
 * bits as the tracer, which runs whole tensors one operator at a time. Memory starts out as garbage.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <json-c/json.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>
#include "backend.h"
#include "mica/model.h"

/* ---- random numbers ---- */

static uint64_t rng;

static uint32_t rnd(void)
{
	rng = rng * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(rng >> 33);
}

static int pick(int lo, int hi)
{
	return lo + (int)(rnd() % (unsigned)(hi - lo + 1));
}

static bool chance(int percent)
{
	return pick(1, 100) <= percent;
}

static float rndf(void)
{
	return (float)pick(-1000, 1000) / 500.0f;
}

/* ---- random graphs ---- */

struct gen {
	struct ir_graph *g;
	struct mica_err err;
	int dtype;			/* of most values */
	struct ir_value *pool[128];	/* rank-4 values to build on */
	unsigned pools;
	int big;			/* largest spatial extent */
};

static void random_quant(struct gen *t, struct ir_value *v)
{
	(void)t;
	if (v->dtype == MICA_F32)
		return;
	v->scale = (float)pick(1, 100) / (v->dtype == MICA_I8 || v->dtype == MICA_U8 ? 1000.0f : 100.0f);
	if (v->dtype == MICA_I8)
		v->zero = pick(-128, 127);
	if (v->dtype == MICA_U8)
		v->zero = pick(0, 255);
}

static void random_codes(int dtype, void *dst, size_t n)
{
	float *f = ir_alloc(n, sizeof(*f));

	for (size_t i = 0; i < n; i++)
		f[i] = rndf();
	mica_quantize(dtype, f, dst, n, dtype == MICA_I8 || dtype == MICA_U8 ? 60 : 1, dtype == MICA_U8 ? 128 : 0);
	free(f);
}

static struct ir_value *value(struct gen *t, int dtype, int64_t n, int64_t h, int64_t w, int64_t c)
{
	struct ir_value *v = ir_value_new(t->g, NULL, dtype, 4, (int64_t[]){ n, h, w, c });

	random_quant(t, v);
	return v;
}

static struct ir_value *constant(struct gen *t, int dtype, unsigned rank, const int64_t *dim)
{
	struct ir_value *v = ir_const_new(t->g, NULL, dtype, rank, dim, NULL);

	random_codes(dtype, v->data, (size_t)ir_elements(v));
	return v;
}

static struct ir_op *add(struct gen *t, enum ir_kind kind, struct ir_value *const *in, unsigned ins, struct ir_value *out)
{
	struct ir_op *op = ir_op_new(t->g, kind, NULL, NULL, in, ins, &out, 1);

	if (t->pools < 128 && out->rank == 4)
		t->pool[t->pools++] = out;
	return op;
}

static struct ir_value *any(struct gen *t)
{
	/* recent ones more often, so that graphs get deep */
	return chance(60) && t->pools > 3 ? t->pool[t->pools - 1 - rnd() % 3] : t->pool[rnd() % t->pools];
}

static void same_quant(struct ir_value *to, const struct ir_value *from)
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
	a->kh = pick(1, most);
	a->kw = chance(70) ? a->kh : pick(1, most);
	a->stride_h = chance(60) ? 1 : pick(1, 3);
	a->stride_w = chance(80) ? a->stride_h : pick(1, 3);
	a->dil_h = chance(85) ? 1 : 2;
	a->dil_w = a->dil_h;
	a->pad_top = pick(0, a->kh - 1);
	a->pad_left = pick(0, a->kw - 1);
	a->pad_bottom = pick(0, a->kh - 1);
	a->pad_right = pick(0, a->kw - 1);
	*oh = window_out(x->dim[1], a->kh, a->stride_h, a->dil_h, a->pad_top, a->pad_bottom);
	*ow = window_out(x->dim[2], a->kw, a->stride_w, a->dil_w, a->pad_left, a->pad_right);
	return *oh > 0 && *ow > 0;
}

static bool mac_dtype(int d)
{
	return d == MICA_F32 || d == MICA_BF16 || d == MICA_E4M3 || d == MICA_E5M2 || d == MICA_I8;
}

static void gen_conv(struct gen *t)
{
	struct ir_value *x = any(t), *in[4] = { x }, *y, *w;
	struct ir_attr a = { 0 };
	int64_t oh, ow, oc, c = x->dim[3];
	int wd = x->dtype == MICA_BF16 ? MICA_E4M3 : x->dtype;
	unsigned ins = 2;

	if (!mac_dtype(x->dtype) || !gen_window(&a, x, chance(50) ? 1 : chance(70) ? 3 : 5, &oh, &ow))
		return;
	a.groups = 1;
	oc = pick(1, 70);
	if (chance(25) && c > 1) {
		a.groups = (int)c;
		oc = c;
	} else if (chance(25)) {
		for (int g = 2; g <= 4; g++)
			if (c % g == 0) {
				a.groups = g;
				oc = (int64_t)g * pick(1, 20);
			}
	}
	w = constant(t, wd, 4, (int64_t[]){ oc, a.kh, a.kw, c / a.groups });
	w->ch_scale = ir_alloc((size_t)oc, sizeof(float));
	for (int64_t i = 0; i < oc; i++)
		w->ch_scale[i] = (float)pick(1, 100) / 300.0f;
	in[1] = w;
	y = value(t, chance(90) ? x->dtype : MICA_F32, x->dim[0], oh, ow, oc);
	if (chance(70)) {
		in[2] = constant(t, MICA_F32, 1, &oc);
		ins = 3;
	}
	for (unsigned i = 0; i < t->pools && chance(50); i++) {
		if (memcmp(t->pool[i]->dim, y->dim, sizeof(int64_t) * 4))
			continue;
		in[3] = t->pool[i];
		ins = 4;
	}
	a.act = (enum mica_act)pick(0, MICA_ACT_MAX);
	a.alpha = a.act == MICA_ACT_CLIP ? -1 : 0.25f;
	a.beta = 3;
	add(t, IR_CONV, in, ins, y)->a = a;
}

static void gen_pool(struct gen *t)
{
	struct ir_value *x = any(t), *y;
	struct ir_attr a = { 0 };
	int64_t oh, ow;

	if (!gen_window(&a, x, 4, &oh, &ow))
		return;
	a.pool = (enum mica_pool)pick(0, MICA_POOL_MAX_OP);
	y = value(t, x->dtype, x->dim[0], oh, ow, x->dim[3]);
	add(t, IR_POOL, &x, 1, y)->a = a;
}

static void gen_binary(struct gen *t)
{
	struct ir_value *x = any(t), *in[3] = { x, NULL, NULL }, *y;
	int64_t d[4];
	struct ir_op *op;

	for (unsigned i = 0; i < t->pools; i++)
		if (chance(30) && !memcmp(t->pool[i]->dim, x->dim, sizeof(d)))
			in[1] = t->pool[i];
	if (!in[1]) {
		unsigned rank = (unsigned)pick(0, 4);

		for (unsigned i = 0; i < rank; i++)
			d[i] = chance(50) ? 1 : x->dim[i + 4 - rank];
		in[1] = constant(t, chance(50) ? MICA_F32 : t->dtype, rank, d);
	}
	if (chance(20))
		in[1] = x;
	y = value(t, chance(85) ? t->dtype : MICA_F32, x->dim[0], x->dim[1], x->dim[2], x->dim[3]);
	if (chance(20)) {
		in[2] = constant(t, MICA_F32, 1, &x->dim[3]);
		add(t, IR_WHERE, in, 3, y);
		return;
	}
	if (chance(50)) {
		in[2] = in[0];
		in[0] = in[1];
		in[1] = in[2];
	}
	op = add(t, IR_BINARY, in, 2, y);
	op->a.bin = (enum mica_bin)pick(0, MICA_BIN_MIN);
	op->a.act = chance(50) ? MICA_ACT_NONE : MICA_ACT_RELU;
}

static void gen_unary(struct gen *t)
{
	struct ir_value *x = any(t), *in[2] = { x, NULL };
	struct ir_value *y = value(t, chance(80) ? t->dtype : MICA_F32, x->dim[0], x->dim[1], x->dim[2], x->dim[3]);
	int64_t n = 256;

	if (ir_dtype_size(x->dtype) == 1 && chance(50)) {
		in[1] = constant(t, y->dtype, 1, &n);
		add(t, IR_LUT, in, 2, y);
		return;
	}
	add(t, IR_UNARY, in, 1, y)->a.fn = (enum mica_fn)pick(0, MICA_FN_NEG);
}

static struct mica_resize_tap *taps(int64_t n, int64_t size)
{
	struct mica_resize_tap *p = ir_alloc((size_t)n, sizeof(*p));

	for (int64_t i = 0; i < n; i++) {
		int64_t at = i * size / n;

		p[i].i0 = (uint32_t)at;
		p[i].i1 = (uint32_t)(at + 1 < size ? at + 1 : at);
		p[i].w = (float)pick(0, 8) / 8;
	}
	return p;
}

static void gen_resize(struct gen *t)
{
	struct ir_value *x = any(t), *y;
	int64_t oh = pick(1, t->big), ow = pick(1, t->big);
	struct ir_op *op;

	y = value(t, x->dtype, x->dim[0], oh, ow, x->dim[3]);
	op = add(t, IR_RESIZE, &x, 1, y);
	op->a.resize = chance(50) ? MICA_RESIZE_LINEAR : MICA_RESIZE_NEAREST;
	op->a.taps_h = taps(oh, x->dim[1]);
	op->a.taps_w = taps(ow, x->dim[2]);
}

static void gen_reduce(struct gen *t)
{
	struct ir_value *x = any(t), *y;
	unsigned axes = (unsigned)pick(1, 15);
	struct ir_op *op;
	int64_t d[4];

	for (unsigned i = 0; i < 4; i++)
		d[i] = axes >> i & 1 ? 1 : x->dim[i];
	y = value(t, x->dtype, d[0], d[1], d[2], d[3]);
	op = add(t, IR_REDUCE, &x, 1, y);
	op->a.axes = axes;
	op->a.red = (enum mica_red)pick(0, MICA_RED_MAX_OP);
}

static void gen_rows(struct gen *t)
{
	struct ir_value *x = any(t), *in[3] = { x }, *y;

	y = value(t, x->dtype, x->dim[0], x->dim[1], x->dim[2], x->dim[3]);
	if (chance(50)) {
		add(t, IR_SOFTMAX, in, 1, y);
		return;
	}
	if (chance(60)) {
		in[1] = constant(t, MICA_F32, 1, &x->dim[3]);
		in[2] = constant(t, MICA_F32, 1, &x->dim[3]);
	}
	add(t, IR_NORM, in, in[1] ? 3 : 1, y)->a.eps = 1e-5f;
}

static void gen_matmul(struct gen *t)
{
	struct ir_value *x = any(t), *in[3] = { x, NULL, NULL }, *y;
	bool ta = chance(30), tb = chance(30);
	int64_t m = x->dim[ta ? 3 : 2], k = x->dim[ta ? 2 : 3], n = pick(1, 40), d[4] = { x->dim[0], x->dim[1], k, n };
	struct ir_op *op;

	if (!mac_dtype(x->dtype))
		return;
	if (chance(40))
		d[0] = 1;
	if (chance(40))
		d[1] = 1;
	if (tb) {
		d[2] = n;
		d[3] = k;
	}
	in[1] = constant(t, x->dtype, 4, d);
	for (unsigned i = 0; i < t->pools && chance(80); i++)
		if (t->pool[i]->dim[tb ? 3 : 2] == k && t->pool[i]->dtype == x->dtype && t->pool[i]->dim[0] == x->dim[0] &&
		    t->pool[i]->dim[1] == x->dim[1]) {
			in[1] = t->pool[i];
			n = in[1]->dim[tb ? 2 : 3];
		}
	y = value(t, x->dtype, x->dim[0], x->dim[1], m, n);
	op = add(t, IR_MATMUL, in, 2, y);
	op->a.trans_a = ta;
	op->a.trans_b = tb;
	op->a.act = chance(50) ? MICA_ACT_NONE : MICA_ACT_RELU;
}

/* ---- moves ---- */

static void gen_concat(struct gen *t)
{
	struct ir_value *in[12], *x = any(t), *y;
	unsigned axis = chance(60) ? 3 : (unsigned)pick(0, 3), n = 1, want = (unsigned)(chance(90) ? pick(2, 4) : 10);
	int64_t d[4];
	struct ir_op *op;

	in[0] = x;
	memcpy(d, x->dim, sizeof(d));
	for (unsigned tries = 0; tries < 60 && n < want; tries++) {
		struct ir_value *v = any(t);
		bool ok = v->dtype == x->dtype && v->scale == x->scale && v->zero == x->zero;

		for (unsigned i = 0; i < 4; i++)
			ok = ok && (i == axis || v->dim[i] == x->dim[i]);
		if (!ok) {	/* make one that fits */
			if (!chance(30) || !mac_dtype(x->dtype))
				continue;
			v = ir_value_new(t->g, NULL, x->dtype, 4, x->dim);
			same_quant(v, x);
			add(t, IR_UNARY, &x, 1, v)->a.fn = MICA_FN_RELU;
		}
		d[axis] += v->dim[axis];
		in[n++] = v;
	}
	y = ir_value_new(t->g, NULL, x->dtype, 4, d);
	same_quant(y, x);
	op = add(t, IR_CONCAT, in, n, y);
	op->a.axis = (int)axis;
}

static void gen_slice(struct gen *t)
{
	struct ir_value *x = any(t), *y;
	struct ir_attr a = { 0 };
	int64_t d[4];

	for (unsigned i = 0; i < 4; i++) {
		int64_t lo = chance(60) ? 0 : pick(0, (int)x->dim[i] - 1), step = chance(80) ? 1 : pick(1, 3);

		d[i] = (x->dim[i] - lo + step - 1) / step;
		if (chance(40))
			d[i] = pick(1, (int)d[i]);
		a.start[i] = lo;
		a.step[i] = step;
		if (chance(10)) {	/* backwards */
			a.start[i] = lo + (d[i] - 1) * step;
			a.step[i] = -step;
		}
	}
	y = ir_value_new(t->g, NULL, x->dtype, 4, d);
	same_quant(y, x);
	add(t, IR_SLICE, &x, 1, y)->a = a;
}

/* Channel shuffle: reshape, transpose, reshape. */
static void gen_shuffle(struct gen *t)
{
	struct ir_value *x = any(t), *a, *b, *c;
	int64_t g = x->dim[3] % 2 == 0 ? 2 : x->dim[3] % 3 == 0 ? 3 : 1, *d = x->dim;
	struct ir_op *op;

	a = ir_value_new(t->g, NULL, x->dtype, 5, (int64_t[]){ d[0], d[1], d[2], g, d[3] / g });
	b = ir_value_new(t->g, NULL, x->dtype, 5, (int64_t[]){ d[0], d[1], d[2], d[3] / g, g });
	c = ir_value_new(t->g, NULL, x->dtype, 4, d);
	same_quant(a, x);
	same_quant(b, x);
	same_quant(c, x);
	add(t, IR_RESHAPE, &x, 1, a);
	op = add(t, IR_TRANSPOSE, &a, 1, b);
	for (int i = 0; i < 5; i++)
		op->a.perm[i] = i < 3 ? i : 7 - i;
	add(t, IR_RESHAPE, &b, 1, c);
}

static void gen_transpose(struct gen *t)
{
	struct ir_value *x = any(t), *y;
	int perm[4] = { 0, 1, 2, 3 };
	int64_t d[4];
	struct ir_op *op;

	for (int i = 3; i > 0; i--) {
		int j = pick(0, i), s = perm[i];

		perm[i] = perm[j];
		perm[j] = s;
	}
	for (int i = 0; i < 4; i++)
		d[i] = x->dim[perm[i]];
	y = ir_value_new(t->g, NULL, x->dtype, 4, d);
	same_quant(y, x);
	op = add(t, IR_TRANSPOSE, &x, 1, y);
	memcpy(op->a.perm, perm, sizeof(perm));
}

static void gen_reshape(struct gen *t)
{
	struct ir_value *x = any(t), *y;
	int64_t d[4] = { 1, 1, 1, 1 }, left = ir_elements(x);

	for (int i = 0; i < 3; i++) {
		int64_t f = pick(1, 12);

		if (left % f == 0) {
			d[i] = f;
			left /= f;
		}
	}
	d[3] = left;
	if (left > 5000)
		return;
	y = ir_value_new(t->g, NULL, x->dtype, 4, d);
	same_quant(y, x);
	add(t, IR_RESHAPE, &x, 1, y);
}

static void gen_pad(struct gen *t)
{
	struct ir_value *x = any(t), *y;
	struct ir_attr a = { .pad_value = rndf() };
	int64_t d[4];

	for (unsigned i = 0; i < 4; i++) {
		a.start[i] = chance(60) ? 0 : pick(0, 3);
		a.end[i] = chance(60) ? 0 : pick(0, 3);
		d[i] = x->dim[i] + a.start[i] + a.end[i];
	}
	y = ir_value_new(t->g, NULL, x->dtype, 4, d);
	same_quant(y, x);
	add(t, IR_PAD, &x, 1, y)->a = a;
}

static void gen_expand(struct gen *t)
{
	struct ir_value *x = any(t), *y;
	int64_t d[4], n = 1;

	for (unsigned i = 0; i < 4; i++) {
		d[i] = x->dim[i] == 1 ? pick(1, 6) : x->dim[i];
		n *= d[i];
	}
	if (n > 200000)
		return;
	y = ir_value_new(t->g, NULL, x->dtype, 4, d);
	same_quant(y, x);
	add(t, IR_EXPAND, &x, 1, y);
}

static void gen_input(struct gen *t)
{
	int64_t n = chance(80) ? 1 : pick(1, 3), h = pick(1, t->big), w = pick(1, t->big), c = pick(1, 40);
	struct ir_graph *g = t->g;
	bool nchw = chance(50);
	struct ir_value *x = ir_value_new(g, NULL, t->dtype, 4, (int64_t[]){ n, nchw ? c : h, nchw ? h : w, nchw ? w : c }), *y;

	random_quant(t, x);
	x->is_input = true;
	g->input = realloc(g->input, (g->inputs + 1) * sizeof(*g->input));
	g->input[g->inputs++] = x;
	if (!nchw || chance(10)) {
		t->pool[t->pools++] = x;
		if (!nchw)
			return;
	}
	y = ir_value_new(g, NULL, t->dtype, 4, (int64_t[]){ n, h, w, c });
	same_quant(y, x);
	memcpy(add(t, IR_TRANSPOSE, &x, 1, y)->a.perm, (int[]){ 0, 2, 3, 1 }, sizeof(int) * 4);
}

static void add_output(struct gen *t, struct ir_value *v)
{
	struct ir_graph *g = t->g;

	if (v->rank == 4 && chance(40)) {
		struct ir_value *y = ir_value_new(g, NULL, v->dtype, 4, (int64_t[]){ v->dim[0], v->dim[3], v->dim[1], v->dim[2] });

		same_quant(y, v);
		memcpy(ir_op_new(g, IR_TRANSPOSE, NULL, NULL, &v, 1, &y, 1)->a.perm, (int[]){ 0, 3, 1, 2 }, sizeof(int) * 4);
		v = y;
	}
	v->is_output = true;
	g->output = realloc(g->output, (g->outputs + 1) * sizeof(*g->output));
	g->output[g->outputs++] = v;
}
/* Host steps: indices that are valid by construction, and what they select; sometimes scattered back. */
static void gen_host(struct gen *t)
{
	struct ir_value *x = any(t), *in[3], *idx, *y;
	int axis = pick(0, 3);
	int64_t dim[4];
	struct ir_op *op;

	if (x->dtype != MICA_F32) {
		y = value(t, MICA_F32, x->dim[0], x->dim[1], x->dim[2], x->dim[3]);
		add(t, IR_UNARY, &x, 1, y)->a.fn = MICA_FN_COPY;
		x = y;
	}
	memcpy(dim, x->dim, sizeof(dim));
	dim[axis] = pick(1, (int)dim[axis]);
	idx = value(t, MICA_F32, dim[0], dim[1], dim[2], dim[3]);
	op = add(t, IR_HOST, &x, 1, idx);
	op->a.host = MICA_HOST_TOP_K;
	op->a.host_int[0] = axis;
	op->a.host_int[1] = chance(50);
	y = value(t, MICA_F32, dim[0], dim[1], dim[2], dim[3]);
	in[0] = chance(80) ? x : constant(t, MICA_F32, 4, x->dim);
	in[1] = idx;
	op = add(t, IR_HOST, in, 2, y);
	op->a.host = MICA_HOST_GATHER_ELEMENTS;
	op->a.host_int[0] = axis;
	if (chance(60))
		return;
	in[2] = y;
	op = add(t, IR_HOST, in, 3, value(t, MICA_F32, x->dim[0], x->dim[1], x->dim[2], x->dim[3]));
	op->a.host = MICA_HOST_SCATTER_ELEMENTS;
	op->a.host_int[0] = axis;
	op->a.host_int[1] = pick(0, MICA_HOST_REDUCTIONS - 1);
}


static void gen_outputs(struct gen *t)
{
	struct ir_graph *g = t->g;
	unsigned n = g->values;

	for (unsigned i = 0; i < n && g->outputs < 30; i++)
		if (g->value[i] && !g->value[i]->uses && !g->value[i]->data && !g->value[i]->is_input)
			add_output(t, g->value[i]);
	if (chance(30) || !g->outputs)		/* one that is used inside as well, or an input itself */
		add_output(t, any(t));
	if (chance(10))				/* the same twice */
		add_output(t, g->output[0]);
	if (chance(5))
		add_output(t, constant(t, MICA_F32, 2, (int64_t[]){ 3, 5 }));
}

static void generate(struct gen *t, uint64_t seed)
{
	static void (*const gens[])(struct gen *) = {
		gen_conv, gen_conv, gen_conv, gen_conv, gen_pool, gen_binary, gen_binary, gen_unary, gen_resize, gen_reduce, gen_rows,
		gen_matmul, gen_concat, gen_concat, gen_slice, gen_slice, gen_shuffle, gen_transpose, gen_reshape, gen_pad, gen_expand, gen_host,
	};
	static const int dtypes[] = { MICA_F32, MICA_BF16, MICA_E4M3, MICA_E5M2, MICA_I8, MICA_E4M3, MICA_I8 };
	unsigned ops;

	rng = seed * 0x9e3779b97f4a7c15ull + 1;
	memset(t, 0, sizeof(*t));
	t->g = ir_graph_new("random", &t->err);
	t->dtype = dtypes[rnd() % 7];
	t->big = chance(70) ? 16 : 40;
	gen_input(t);
	if (chance(40))
		gen_input(t);
	ops = (unsigned)pick(1, 14);
	for (unsigned i = 0; i < ops; i++) {
		if (ir_elements(t->pool[t->pools - 1]) > 120000)
			t->pools--;
		if (!t->pools)
			break;
		gens[rnd() % (sizeof(gens) / sizeof(*gens))](t);
	}
	if (!t->pools)
		t->pool[t->pools++] = t->g->input[0];
	gen_outputs(t);
}

/* ---- running ---- */

struct want { void **codes; size_t *size; unsigned count; uint64_t seed; unsigned out[MICA_MAX_SEGMENTS]; };	/* out: ids */

static int load(void *opaque, const struct ir_value *input, float *dst, size_t n)
{
	struct want *w = opaque;

	rng = w->seed + input->id;
	for (size_t i = 0; i < n; i++)
		dst[i] = rndf();
	return 0;
}

static void see(void *opaque, const struct ir_value *v, const void *codes, size_t n)
{
	struct want *w = opaque;
	size_t size = n * ir_dtype_size(v->dtype);

	if (v->id >= w->count)
		return;
	w->codes[v->id] = realloc(w->codes[v->id], size);
	w->size[v->id] = size;
	memcpy(w->codes[v->id], codes, size);
}

static void trace(struct ir_graph *g, struct want *w, uint64_t seed)
{
	struct ir_tracer *t = ir_tracer_new(g, 1);
	struct ir_trace cb = { load, see, w };

	if (!t)
		fail_msg("tracer: %s", g->err->text);
	w->count = g->values;
	w->codes = ir_alloc(w->count, sizeof(*w->codes));
	w->size = ir_alloc(w->count, sizeof(*w->size));
	w->seed = seed;
	for (unsigned i = 0; i < g->values; i++)
		if (g->value[i] && g->value[i]->data)
			see(w, g->value[i], g->value[i]->data, (size_t)ir_elements(g->value[i]));
	if (ir_tracer_run(t, &cb))
		fail_msg("tracer: %s", g->err->text);
	ir_tracer_free(t);
}

static void want_fini(struct want *w)
{
	for (unsigned i = 0; i < w->count; i++)
		free(w->codes[i]);
	free(w->codes);
	free(w->size);
}

static void *garbage(size_t n)
{
	uint8_t *p = aligned_alloc(64, (n + 127) & ~(size_t)63);

	assert_non_null(p);
	memset(p, 0xa5, n);
	return p;
}

static unsigned count_copies(const struct mica_job *job)
{
	unsigned n = 0;

	for (unsigned i = 0; i < job->cores; i++)
		for (const uint8_t *at = job->stream[i]; *at != MICA_OP_END; at += ((const struct mica_pkt_hdr *)at)->units * 64)
			n += *at == MICA_OP_COPY;
	return n;
}

/* How a job is run: straight from its streams, or prepared, with copies left out where its segments are in place. */
enum way { STRAIGHT, PREPARED, IO_ELSEWHERE, WAYS };

static unsigned long copies, elided;

/* All memories of a job in one piece, LMEM first. */
struct window { uint8_t *mem, *elsewhere[MICA_MAX_SEGMENTS]; struct mica_layout at; };

static void place_memories(struct window *w, struct mica_job *job, const struct mica_compiled *c, bool io_elsewhere)
{
	size_t end = 0;

	*w = (struct window){ 0 };
	for (unsigned i = 0; i < c->cores; i++, end += (c->lmem + 63) & ~63u)
		w->at.lmem[i] = end;
	for (unsigned i = 1; i < job->lim.segments; i++, end += (job->lim.seg_size[i - 1] + 127) & ~(size_t)63) {
		w->at.seg[i] = end;
		w->at.segs |= 1ull << i;
	}
	w->mem = garbage(end + job->lim.seg_size[job->lim.segments - 1]);
	for (unsigned i = 0; i < c->cores; i++)
		job->lmem[i] = w->mem + w->at.lmem[i];
	for (unsigned i = 1; i < job->lim.segments; i++) {
		if (io_elsewhere && i >= MICA_SEG_IO)
			w->elsewhere[i] = garbage(job->lim.seg_size[i]);
		job->seg[i] = w->elsewhere[i] ? w->elsewhere[i] : w->mem + w->at.seg[i];
	}
}

static int run_prepared(struct mica_engine *e, const struct mica_job *job, const struct mica_layout *at,
			struct mica_job_fault *fault)
{
	struct mica_binding b = { 0 };
	struct mica_prepared *p;
	int code = mica_job_prepare(job, at, &p, fault);

	if (code)
		return code;
	elided += mica_prepared_elided(p);
	copies += count_copies(job);
	memcpy(b.seg, job->seg, sizeof(b.seg));
	memcpy(b.lmem, job->lmem, sizeof(b.lmem));
	code = mica_prepared_run(e, p, &b, fault);
	mica_prepared_free(p);
	return code;
}

static void run_hosts(const struct mica_compiled *c, const struct be_phase *p, struct mica_job *job, const char *what)
{
	for (unsigned i = 0; i < p->hosts; i++) {
		const struct mica_host_step *h = &c->state.host[p->host + i];
		struct mica_host_call call = { .step = h, .scratch = malloc(mica_host_scratch(h) + 1) };

		for (unsigned k = 0; k < h->ins; k++)
			call.in[k] = (void *)(job->seg[MICA_ADDR_SEG(h->in[k].addr)] + MICA_ADDR_OFF(h->in[k].addr));
		call.out = (void *)(job->seg[MICA_ADDR_SEG(h->out.addr)] + MICA_ADDR_OFF(h->out.addr));
		if (mica_host_run(&call))
			fail_msg("%s: host step %u: %s", what, i, call.why);
		free(call.scratch);
	}
}

/* Memory full of garbage; LMEM again in front of each phase. */
static void run_phases(struct mica_engine *e, const struct mica_compiled *c, struct mica_job *job, enum way way,
		       const struct mica_layout *at, const char *what)
{
	struct mica_job_fault fault = { 0 };

	for (unsigned k = 0; k < c->state.phases; k++) {
		struct mica_job phase;
		int code = 0;

		mica_compiled_phase(c, k, &phase);
		for (unsigned i = 0; i < c->cores; i++) {
			job->stream[i] = phase.stream[i];
			job->stream_size[i] = phase.stream_size[i];
			memset(job->lmem[i], 0xa5, c->lmem);
		}
		if (c->state.phase[k].device)
			code = way == STRAIGHT ? mica_job_run(e, job, &fault) : run_prepared(e, job, at, &fault);
		if (code)
			fail_msg("%s, way %u: fault %d, core %u, packet %u: %s %s", what, way, fault.code, fault.core, fault.packet,
				 mica_check_name(fault.check), fault.field ? fault.field : "-");
		run_hosts(c, &c->state.phase[k], job, what);
	}
}

static void run_job(struct mica_engine *e, const struct mica_compiled *c, const struct want *w, const char *what)
{
	const struct ir_graph *g = c->g;

	for (enum way way = STRAIGHT; way < WAYS; way++) {
		struct mica_job job;
		struct window mem;

		mica_compiled_job(c, &job);
		place_memories(&mem, &job, c, way == IO_ELSEWHERE);
		job.seg[MICA_SEG_WEIGHTS] = c->state.blob.data;
		for (unsigned i = 0; i < g->inputs; i++)
			memcpy(job.seg[MICA_SEG_IO + i], w->codes[g->input[i]->id], w->size[g->input[i]->id]);
		run_phases(e, c, &job, way, &mem.at, what);
		for (unsigned i = 0; i < g->outputs; i++) {
			const uint8_t *a = job.seg[MICA_SEG_IO + g->inputs + i], *b = w->codes[w->out[i]];

			for (size_t k = 0; k < w->size[w->out[i]]; k++)
				if (a[k] != b[k])
					fail_msg("%s, way %u: output %u ('%s'), byte %zu of %zu is %02x, not %02x", what, way, i,
						 c->output_name[i], k, w->size[w->out[i]], a[k], b[k]);
		}
		for (unsigned i = 1; i < job.lim.segments; i++)
			free(mem.elsewhere[i]);
		free(mem.mem);
	}
}

static unsigned tried, refused, taken[MICA_SAVINGS];

static void compile_and_run(struct mica_engine *e, struct ir_graph *g, const struct want *w, uint32_t lmem, unsigned cores, unsigned no_pass, const char *name)
{
	struct mica_compile_options o = { .cores = cores, .lmem = lmem, .format = MICA_E4M3, .no_pass = no_pass,
					  .minimize = no_pass & 1 ? MICA_MINIMIZE_TIME : MICA_MINIMIZE_MEMORY };
	struct mica_compiled c;
	char what[128];
	int ret;

	snprintf(what, sizeof(what), "%s, %u KiB, %u cores, without %#x", name, lmem >> 10, cores, no_pass);
	if (getenv("MICA_VERBOSE"))
		fprintf(stderr, "%s\n", what);
	ret = mica_backend_compile(g, &o, &c);
	tried++;
	if (ret == -MICA_ERR_MEMORY) {		/* an operator's smallest tile can be too large for it; that must be said */
		assert_non_null(strstr(g->err->text, "--lmem"));
		refused++;
		memset(g->err, 0, sizeof(*g->err));
	} else if (ret) {
		fail_msg("%s: %s", what, g->err->text);
	} else {
		for (unsigned i = 0; i < MICA_SAVINGS; i++)
			taken[i] += c.memory.gain[i].taken;
		run_job(e, &c, w, what);
	}
	mica_compiled_fini(&c);
}

/* Which steps that save memory are left out: none in every third compilation, else any of them. */
static unsigned toggles(uint64_t n)
{
	n = (n + 1) * 0x9e3779b97f4a7c15ull;
	return n >> 60 < 5 ? 0 : (unsigned)(n >> 32) & ((1u << MICA_SAVINGS) - 1);
}

static void check_graph(struct mica_engine *e, uint64_t seed)
{
	static const uint32_t lmem[] = { 2 << 20, 256 << 10, 64 << 10, 24 << 10, 12 << 10 };
	struct gen t;
	struct want w = { 0 };
	unsigned n = 0;
	char name[64];

	generate(&t, seed);
	snprintf(name, sizeof(name), "graph %llu (%s)", (unsigned long long)seed, ir_dtype_name(t.dtype));
	if (getenv("MICA_VERBOSE"))
		ir_print(t.g, stderr);
	trace(t.g, &w, seed);
	for (unsigned i = 0; i < t.g->outputs; i++)
		w.out[i] = t.g->output[i]->id;
	for (unsigned i = 0; i < sizeof(lmem) / sizeof(*lmem); i++) {
		for (unsigned cores = 1; cores <= 4; cores += i ? 1 + (unsigned)(seed % 3) : 1) {
			ir_graph_free(t.g);	/* the compiler rewrites its graph */
			generate(&t, seed);
			compile_and_run(e, t.g, &w, lmem[i], cores, toggles(seed * 100 + n++), name);
		}
	}
	want_fini(&w);
	ir_graph_free(t.g);
}

static void random_graphs_compute_what_the_tracer_computes(void **state)
{
	const char *only = getenv("MICA_GRAPH"), *count = getenv("MICA_GRAPHS");
	unsigned n = count ? (unsigned)atoi(count) : 300;
	struct mica_engine *e = mica_engine_create_cores(MICA_ISA_AUTO, 3, 3);	/* up to three streams side by side */

	(void)state;
	assert_non_null(e);
	tried = refused = 0;
	if (only)
		check_graph(e, strtoull(only, NULL, 0));
	for (unsigned i = 0; i < n && !only; i++)
		check_graph(e, i);
	print_message("%u compilations, %u refused for want of LMEM\n", tried, refused);
	print_message("%lu of %lu copies left out\n", elided, copies);
	for (unsigned i = MICA_SAVE_VIEWS; i < MICA_SAVE_RESIDENCY; i++)
		print_message("%s: taken %u times\n", mica_saving_name(i), taken[i]);
	assert_true(only || refused * 5 < tried);
	assert_true(only || elided * 5 > copies);
	mica_engine_destroy(e);
}

/* ---- graphs made by hand ---- */

static void begin(struct gen *t, int dtype)
{
	memset(t, 0, sizeof(*t));
	rng = 1;
	t->dtype = dtype;
	t->g = ir_graph_new("model", &t->err);
}

static struct ir_value *input(struct gen *t, int64_t n, int64_t a, int64_t b, int64_t c)
{
	struct ir_graph *g = t->g;
	struct ir_value *x = ir_value_new(g, "input", t->dtype, 4, (int64_t[]){ n, a, b, c });

	x->is_input = true;
	g->input = realloc(g->input, (g->inputs + 1) * sizeof(*g->input));
	return g->input[g->inputs++] = x;
}

static struct ir_value *conv(struct gen *t, const char *name, struct ir_value *x, int64_t oc, int k)
{
	struct ir_value *w = constant(t, x->dtype, 4, (int64_t[]){ oc, k, k, x->dim[3] }), *in[2] = { x, w };
	struct ir_value *y = ir_value_new(t->g, name, x->dtype, 4, (int64_t[]){ x->dim[0], x->dim[1], x->dim[2], oc });
	struct ir_op *op = add(t, IR_CONV, in, 2, y);

	w->scale = 0.05f;
	op->onnx_type = ir_strdup("Conv");
	op->a = (struct ir_attr){ .kh = k, .kw = k, .stride_h = 1, .stride_w = 1, .dil_h = 1, .dil_w = 1, .groups = 1,
				  .pad_top = k / 2, .pad_left = k / 2, .pad_bottom = k / 2, .pad_right = k / 2 };
	return y;
}

static struct ir_value *transpose(struct gen *t, struct ir_value *x, const int *perm)
{
	int64_t d[4];
	struct ir_value *y;

	for (int i = 0; i < 4; i++)
		d[i] = x->dim[perm[i]];
	y = ir_value_new(t->g, NULL, x->dtype, 4, d);
	memcpy(add(t, IR_TRANSPOSE, &x, 1, y)->a.perm, perm, 4 * sizeof(*perm));
	return y;
}

static const int to_nhwc[] = { 0, 2, 3, 1 }, to_nchw[] = { 0, 3, 1, 2 };

static void output(struct gen *t, struct ir_value *v)
{
	struct ir_graph *g = t->g;

	v->is_output = true;
	g->output = realloc(g->output, (g->outputs + 1) * sizeof(*g->output));
	g->output[g->outputs++] = v;
}

/* input NCHW -> conv -> conv -> output NCHW */
static void two_convs(struct gen *t, int64_t size, int64_t c)
{
	struct ir_value *x;

	begin(t, MICA_E4M3);
	x = transpose(t, input(t, 1, 3, size, size), to_nhwc);
	x = conv(t, "first", x, c, 3);
	x = conv(t, "second", x, c, 3);
	output(t, transpose(t, x, to_nchw));
}

static unsigned count_packets(const struct mica_compiled *c, unsigned core, int opcode)
{
	unsigned n = 0;

	for (size_t at = 0; at < c->stream_size[core];) {
		const union mica_pkt *p = (const union mica_pkt *)(c->stream[core] + at);

		n += p->hdr.opcode == opcode;
		at += (size_t)p->hdr.units * MICA_PKT_ALIGN;
	}
	return n;
}

static void compile(struct gen *t, uint32_t lmem, unsigned cores, struct mica_compiled *c)
{
	struct mica_compile_options o = { .cores = cores, .lmem = lmem, .format = MICA_E4M3 };

	if (mica_backend_compile(t->g, &o, c))
		fail_msg("%s", t->err.text);
}

static void layout_changes_at_the_borders_cost_no_packet(void **state)
{
	struct mica_compiled c;
	struct gen t;

	(void)state;
	two_convs(&t, 16, 16);
	compile(&t, 1 << 20, 1, &c);
	assert_int_equal(count_packets(&c, 0, MICA_OP_COPY), 2);	/* load and store */
	assert_int_equal(count_packets(&c, 0, MICA_OP_CONV), 2);
	assert_int_equal(c.arena_size, 0);
	mica_compiled_fini(&c);
	ir_graph_free(t.g);
}

static void concatenation_and_slices_of_channels_are_free_in_lmem(void **state)
{
	struct ir_value *x, *in[2], *y, *s;
	struct mica_compiled c;
	struct gen t;
	struct ir_op *op;

	(void)state;
	begin(&t, MICA_E4M3);
	x = conv(&t, "a", transpose(&t, input(&t, 1, 3, 16, 16), to_nhwc), 16, 3);
	in[0] = conv(&t, "b", x, 24, 1);
	in[1] = conv(&t, "c", x, 8, 1);
	y = ir_value_new(t.g, NULL, MICA_E4M3, 4, (int64_t[]){ 1, 16, 16, 32 });
	add(&t, IR_CONCAT, in, 2, y)->a.axis = 3;
	s = ir_value_new(t.g, NULL, MICA_E4M3, 4, (int64_t[]){ 1, 16, 16, 12 });
	op = add(&t, IR_SLICE, &y, 1, s);
	op->a.start[3] = 16;
	for (int i = 0; i < 4; i++)
		op->a.step[i] = 1;
	output(&t, conv(&t, "d", s, 16, 1));
	output(&t, conv(&t, "e", y, 16, 1));
	compile(&t, 1 << 20, 1, &c);
	assert_int_equal(count_packets(&c, 0, MICA_OP_COPY), 3);	/* one input, two outputs */
	mica_compiled_fini(&c);
	ir_graph_free(t.g);
}

static void what_fits_nowhere_is_refused_by_name(void **state)
{
	struct mica_compile_options o = { .cores = 1, .lmem = 16384, .format = MICA_E4M3 };
	struct mica_compiled c;
	struct gen t;

	(void)state;
	begin(&t, MICA_F32);
	output(&t, conv(&t, "the_large_one", input(&t, 1, 3, 3, 2000), 16, 3));
	assert_int_equal(mica_backend_compile(t.g, &o, &c), -MICA_ERR_MEMORY);
	assert_non_null(strstr(t.err.text, "the_large_one"));
	assert_non_null(strstr(t.err.text, "Conv"));
	assert_non_null(strstr(t.err.text, "--lmem"));
	mica_compiled_fini(&c);
	ir_graph_free(t.g);
}

static void checkpoints_stand_where_lmem_is_dead(void **state)
{
	struct mica_compiled c;
	struct gen t;
	unsigned barriers = 0;

	(void)state;
	two_convs(&t, 96, 64);
	compile(&t, 128 << 10, 1, &c);
	assert_true(c.arena_size > 0);
	for (size_t at = 0; at < c.stream_size[0];) {
		const union mica_pkt *p = (const union mica_pkt *)(c.stream[0] + at);

		barriers += p->hdr.opcode == MICA_OP_BARRIER && (p->ctl.flags & MICA_BARRIER_CHECKPOINT);
		at += (size_t)p->hdr.units * MICA_PKT_ALIGN;
	}
	assert_int_equal(barriers, 1);
	mica_compiled_fini(&c);
	ir_graph_free(t.g);
}

/* ---- the verifier refuses streams that have been damaged ---- */

static void verifier_misses_no_dropped_wait_that_matters(void **state)
{
	unsigned dropped = 0, caught = 0;
	struct mica_compiled c;
	struct gen t;

	(void)state;
	two_convs(&t, 64, 32);
	compile(&t, 64 << 10, 1, &c);
	for (size_t at = 0; at < c.stream_size[0];) {
		union mica_pkt *p = (union mica_pkt *)(c.stream[0] + at);

		for (unsigned e = 0; e < MICA_ENGINE_COUNT; e++) {
			uint32_t wait = p->hdr.wait[e];

			if (!wait)
				continue;
			p->hdr.wait[e] = 0;
			dropped++;
			caught += be_verify(&c, &t.err) != 0;
			memset(&t.err, 0, sizeof(t.err));
			p->hdr.wait[e] = wait;
		}
		at += (size_t)p->hdr.units * MICA_PKT_ALIGN;
	}
	assert_int_equal(be_verify(&c, &t.err), 0);
	print_message("%u waits dropped, %u caught\n", dropped, caught);
	assert_true(dropped > 20);
	assert_true(caught * 10 >= dropped * 9);	/* a few are implied by others */
	mica_compiled_fini(&c);
	ir_graph_free(t.g);
}

static void verifier_catches_cores_that_no_longer_meet(void **state)
{
	unsigned barriers = 0, caught = 0;
	struct mica_compiled c;
	struct gen t;

	(void)state;
	two_convs(&t, 64, 32);
	compile(&t, 1 << 20, 2, &c);
	barriers = count_packets(&c, 0, MICA_OP_BARRIER);
	assert_true(barriers > 0);
	for (unsigned b = 0; b < barriers; b++) {
		struct mica_compiled cut = c;

		for (unsigned core = 0; core < 2; core++) {	/* the same without the b-th barrier */
			size_t to = 0;
			unsigned seen = 0;

			cut.stream[core] = aligned_alloc(64, c.stream_size[core]);
			for (size_t at = 0; at < c.stream_size[core];) {
				union mica_pkt *p = (union mica_pkt *)(c.stream[core] + at);
				size_t size = (size_t)p->hdr.units * MICA_PKT_ALIGN;

				at += size;
				if (p->hdr.opcode == MICA_OP_BARRIER && seen++ == b)
					continue;
				memcpy(cut.stream[core] + to, p, size);
				to += size;
			}
			cut.stream_size[core] = to;
		}
		caught += be_verify(&cut, &t.err) != 0;
		memset(&t.err, 0, sizeof(t.err));
		free(cut.stream[0]);
		free(cut.stream[1]);
	}
	assert_int_equal(caught, barriers);
	mica_compiled_fini(&c);
	ir_graph_free(t.g);
}

static void verifier_catches_reads_of_what_nobody_wrote(void **state)
{
	struct mica_compiled c;
	struct gen t;
	union mica_pkt *p;

	(void)state;
	two_convs(&t, 16, 16);
	compile(&t, 1 << 20, 1, &c);
	p = (union mica_pkt *)c.stream[0];
	assert_int_equal(p->hdr.opcode, MICA_OP_COPY);
	p->copy.dim[2]--;		/* a pixel less is loaded */
	assert_int_equal(be_verify(&c, &t.err), -MICA_ERR_INTERNAL);
	assert_non_null(strstr(t.err.text, "nobody has written"));
	mica_compiled_fini(&c);
	ir_graph_free(t.g);
}

/* ---- files ---- */

static char dir[] = "/tmp/mica-backend-XXXXXX";

static unsigned files_in_dir(void)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void a_model_file_and_its_report_are_written(void **state)
{
	char path[64], report[64];
	struct mica_compile_options o = { .cores = 2, .lmem = 64 << 10, .format = MICA_E4M3, .report = report };
	struct mica_model_header h;
	struct json_object *j, *layers;
	struct gen t;
	FILE *f;

	(void)state;
	snprintf(path, sizeof(path), "%s/m.mica", dir);
	snprintf(report, sizeof(report), "%s/m.json", dir);
	two_convs(&t, 32, 16);
	assert_int_equal(ir_backend(t.g, &o, path), 0);
	f = fopen(path, "rb");
	assert_non_null(f);
	assert_int_equal(fread(&h, sizeof(h), 1, f), 1);
	fclose(f);
	assert_true(h.magic == MICA_MODEL_MAGIC);
	assert_int_equal(h.blob_offset % 64, 0);
	j = json_object_from_file(report);
	assert_non_null(j);
	assert_true(json_object_object_get_ex(j, "layers", &layers));
	assert_int_equal(json_object_array_length(layers), 4);
	json_object_put(j);
	assert_int_equal(files_in_dir(), 2);
	unlink(path);
	unlink(report);
	ir_graph_free(t.g);
}

static void a_full_disk_leaves_the_old_file_alone(void **state)
{
	struct mica_compile_options o = { .cores = 1, .lmem = 1 << 20, .format = MICA_E4M3 };
	struct rlimit old, tight;
	char path[64], text[8] = "";
	struct gen t;
	FILE *f;

	(void)state;
	snprintf(path, sizeof(path), "%s/old.mica", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("old", f);
	fclose(f);
	two_convs(&t, 32, 64);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	tight = old;
	tight.rlim_cur = 4096;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	assert_int_equal(ir_backend(t.g, &o, path), -MICA_ERR_FILE);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_non_null(strstr(t.err.text, path));
	f = fopen(path, "r");
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_string_equal(text, "old");
	assert_int_equal(files_in_dir(), 1);
	unlink(path);
	ir_graph_free(t.g);
}

static void a_place_that_does_not_exist_is_named(void **state)
{
	struct mica_compile_options o = { .cores = 1, .lmem = 1 << 20, .format = MICA_E4M3 };
	struct gen t;

	(void)state;
	two_convs(&t, 8, 16);
	assert_int_equal(ir_backend(t.g, &o, "/nowhere/at/all.mica"), -MICA_ERR_FILE);
	assert_non_null(strstr(t.err.text, "/nowhere/at/all.mica"));
	ir_graph_free(t.g);
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layout_changes_at_the_borders_cost_no_packet),
		cmocka_unit_test(concatenation_and_slices_of_channels_are_free_in_lmem),
		cmocka_unit_test(what_fits_nowhere_is_refused_by_name),
		cmocka_unit_test(checkpoints_stand_where_lmem_is_dead),
		cmocka_unit_test(verifier_misses_no_dropped_wait_that_matters),
		cmocka_unit_test(verifier_catches_cores_that_no_longer_meet),
		cmocka_unit_test(verifier_catches_reads_of_what_nobody_wrote),
		cmocka_unit_test(a_model_file_and_its_report_are_written),
		cmocka_unit_test(a_full_disk_leaves_the_old_file_alone),
		cmocka_unit_test(a_place_that_does_not_exist_is_named),
		cmocka_unit_test(random_graphs_compute_what_the_tracer_computes),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
