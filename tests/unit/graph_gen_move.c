// SPDX-License-Identifier: MIT
/* Random graphs: operators that move values, host steps, inputs and outputs; the whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "graph_util.h"

static void gen_concat(struct gen *t)
{
	struct ir_value *in[12], *x = gen_any(t), *y;
	unsigned axis = gen_chance(60) ? 3 : (unsigned)gen_pick(0, 3), n = 1, want = (unsigned)(gen_chance(90) ? gen_pick(2, 4) : 10);
	int64_t d[4];
	struct ir_op *op;

	in[0] = x;
	memcpy(d, x->dim, sizeof(d));
	for (unsigned tries = 0; tries < 60 && n < want; tries++) {
		struct ir_value *v = gen_any(t);
		bool ok = v->dtype == x->dtype && v->scale == x->scale && v->zero == x->zero;

		for (unsigned i = 0; i < 4; i++)
			ok = ok && (i == axis || v->dim[i] == x->dim[i]);
		if (!ok) {	/* make one that fits */
			if (!gen_chance(30) || !gen_mac_dtype(x->dtype))
				continue;
			v = ir_value_new(t->g, NULL, x->dtype, 4, x->dim);
			gen_same_quant(v, x);
			gen_op(t, IR_UNARY, &x, 1, v)->a.fn = MICA_FN_RELU;
		}
		d[axis] += v->dim[axis];
		in[n++] = v;
	}
	y = ir_value_new(t->g, NULL, x->dtype, 4, d);
	gen_same_quant(y, x);
	op = gen_op(t, IR_CONCAT, in, n, y);
	op->a.axis = (int)axis;
}

static void gen_slice(struct gen *t)
{
	struct ir_value *x = gen_any(t), *y;
	struct ir_attr a = { 0 };
	int64_t d[4];

	for (unsigned i = 0; i < 4; i++) {
		int64_t lo = gen_chance(60) ? 0 : gen_pick(0, (int)x->dim[i] - 1), step = gen_chance(80) ? 1 : gen_pick(1, 3);

		d[i] = (x->dim[i] - lo + step - 1) / step;
		if (gen_chance(40))
			d[i] = gen_pick(1, (int)d[i]);
		a.start[i] = lo;
		a.step[i] = step;
		if (gen_chance(10)) {	/* backwards */
			a.start[i] = lo + (d[i] - 1) * step;
			a.step[i] = -step;
		}
	}
	y = ir_value_new(t->g, NULL, x->dtype, 4, d);
	gen_same_quant(y, x);
	gen_op(t, IR_SLICE, &x, 1, y)->a = a;
}

/* Channel shuffle: reshape, transpose, reshape. */
static void gen_shuffle(struct gen *t)
{
	struct ir_value *x = gen_any(t), *a, *b, *c;
	int64_t g = x->dim[3] % 2 == 0 ? 2 : x->dim[3] % 3 == 0 ? 3 : 1, *d = x->dim;
	struct ir_op *op;

	a = ir_value_new(t->g, NULL, x->dtype, 5, (int64_t[]){ d[0], d[1], d[2], g, d[3] / g });
	b = ir_value_new(t->g, NULL, x->dtype, 5, (int64_t[]){ d[0], d[1], d[2], d[3] / g, g });
	c = ir_value_new(t->g, NULL, x->dtype, 4, d);
	gen_same_quant(a, x);
	gen_same_quant(b, x);
	gen_same_quant(c, x);
	gen_op(t, IR_RESHAPE, &x, 1, a);
	op = gen_op(t, IR_TRANSPOSE, &a, 1, b);
	for (int i = 0; i < 5; i++)
		op->a.perm[i] = i < 3 ? i : 7 - i;
	gen_op(t, IR_RESHAPE, &b, 1, c);
}

static void gen_transpose(struct gen *t)
{
	struct ir_value *x = gen_any(t), *y;
	int perm[4] = { 0, 1, 2, 3 };
	int64_t d[4];
	struct ir_op *op;

	for (int i = 3; i > 0; i--) {
		int j = gen_pick(0, i), s = perm[i];

		perm[i] = perm[j];
		perm[j] = s;
	}
	for (int i = 0; i < 4; i++)
		d[i] = x->dim[perm[i]];
	y = ir_value_new(t->g, NULL, x->dtype, 4, d);
	gen_same_quant(y, x);
	op = gen_op(t, IR_TRANSPOSE, &x, 1, y);
	memcpy(op->a.perm, perm, sizeof(perm));
}

static void gen_reshape(struct gen *t)
{
	struct ir_value *x = gen_any(t), *y;
	int64_t d[4] = { 1, 1, 1, 1 }, left = ir_elements(x);

	for (int i = 0; i < 3; i++) {
		int64_t f = gen_pick(1, 12);

		if (left % f == 0) {
			d[i] = f;
			left /= f;
		}
	}
	d[3] = left;
	if (left > 5000)
		return;
	y = ir_value_new(t->g, NULL, x->dtype, 4, d);
	gen_same_quant(y, x);
	gen_op(t, IR_RESHAPE, &x, 1, y);
}

static void gen_pad(struct gen *t)
{
	struct ir_value *x = gen_any(t), *y;
	struct ir_attr a = { .pad_value = gen_float() };
	int64_t d[4];

	for (unsigned i = 0; i < 4; i++) {
		a.start[i] = gen_chance(60) ? 0 : gen_pick(0, 3);
		a.end[i] = gen_chance(60) ? 0 : gen_pick(0, 3);
		d[i] = x->dim[i] + a.start[i] + a.end[i];
	}
	y = ir_value_new(t->g, NULL, x->dtype, 4, d);
	gen_same_quant(y, x);
	gen_op(t, IR_PAD, &x, 1, y)->a = a;
}

static void gen_expand(struct gen *t)
{
	struct ir_value *x = gen_any(t), *y;
	int64_t d[4], n = 1;

	for (unsigned i = 0; i < 4; i++) {
		d[i] = x->dim[i] == 1 ? gen_pick(1, 6) : x->dim[i];
		n *= d[i];
	}
	if (n > 200000)
		return;
	y = ir_value_new(t->g, NULL, x->dtype, 4, d);
	gen_same_quant(y, x);
	gen_op(t, IR_EXPAND, &x, 1, y);
}

static void gen_input(struct gen *t)
{
	int64_t n = gen_chance(80) ? 1 : gen_pick(1, 3), h = gen_pick(1, t->big), w = gen_pick(1, t->big), c = gen_pick(1, 40);
	struct ir_graph *g = t->g;
	bool nchw = gen_chance(50);
	struct ir_value *x = ir_value_new(g, NULL, t->dtype, 4, (int64_t[]){ n, nchw ? c : h, nchw ? h : w, nchw ? w : c }), *y;

	gen_quant(t, x);
	x->is_input = true;
	g->input = realloc(g->input, (g->inputs + 1) * sizeof(*g->input));
	g->input[g->inputs++] = x;
	if (!nchw || gen_chance(10)) {
		t->pool[t->pools++] = x;
		if (!nchw)
			return;
	}
	y = ir_value_new(g, NULL, t->dtype, 4, (int64_t[]){ n, h, w, c });
	gen_same_quant(y, x);
	memcpy(gen_op(t, IR_TRANSPOSE, &x, 1, y)->a.perm, (int[]){ 0, 2, 3, 1 }, sizeof(int) * 4);
}

static void add_output(struct gen *t, struct ir_value *v)
{
	struct ir_graph *g = t->g;

	if (v->rank == 4 && gen_chance(40)) {
		struct ir_value *y = ir_value_new(g, NULL, v->dtype, 4, (int64_t[]){ v->dim[0], v->dim[3], v->dim[1], v->dim[2] });

		gen_same_quant(y, v);
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
	struct ir_value *x = gen_any(t), *in[3], *idx, *y;
	int axis = gen_pick(0, 3);
	int64_t dim[4];
	struct ir_op *op;

	if (x->dtype != MICA_F32) {
		y = gen_value(t, MICA_F32, x->dim[0], x->dim[1], x->dim[2], x->dim[3]);
		gen_op(t, IR_UNARY, &x, 1, y)->a.fn = MICA_FN_COPY;
		x = y;
	}
	memcpy(dim, x->dim, sizeof(dim));
	dim[axis] = gen_pick(1, (int)dim[axis]);
	idx = gen_value(t, MICA_F32, dim[0], dim[1], dim[2], dim[3]);
	op = gen_op(t, IR_HOST, &x, 1, idx);
	op->a.host = MICA_HOST_TOP_K;
	op->a.host_int[0] = axis;
	op->a.host_int[1] = gen_chance(50);
	y = gen_value(t, MICA_F32, dim[0], dim[1], dim[2], dim[3]);
	in[0] = gen_chance(80) ? x : gen_constant(t, MICA_F32, 4, x->dim);
	in[1] = idx;
	op = gen_op(t, IR_HOST, in, 2, y);
	op->a.host = MICA_HOST_GATHER_ELEMENTS;
	op->a.host_int[0] = axis;
	if (gen_chance(60))
		return;
	in[2] = y;
	op = gen_op(t, IR_HOST, in, 3, gen_value(t, MICA_F32, x->dim[0], x->dim[1], x->dim[2], x->dim[3]));
	op->a.host = MICA_HOST_SCATTER_ELEMENTS;
	op->a.host_int[0] = axis;
	op->a.host_int[1] = gen_pick(0, MICA_HOST_REDUCTIONS - 1);
}


static void gen_outputs(struct gen *t)
{
	struct ir_graph *g = t->g;
	unsigned n = g->values;

	for (unsigned i = 0; i < n && g->outputs < 30; i++)
		if (g->value[i] && !g->value[i]->uses && !g->value[i]->data && !g->value[i]->is_input)
			add_output(t, g->value[i]);
	if (gen_chance(30) || !g->outputs)		/* one that is used inside as well, or an input itself */
		add_output(t, gen_any(t));
	if (gen_chance(10))				/* the same twice */
		add_output(t, g->output[0]);
	if (gen_chance(5))
		add_output(t, gen_constant(t, MICA_F32, 2, (int64_t[]){ 3, 5 }));
}

void gen_graph(struct gen *t, uint64_t seed)
{
	static void (*const gens[])(struct gen *) = {
		gen_conv, gen_conv, gen_conv, gen_conv, gen_pool, gen_binary, gen_binary, gen_unary, gen_resize, gen_reduce, gen_rows,
		gen_matmul, gen_concat, gen_concat, gen_slice, gen_slice, gen_shuffle, gen_transpose, gen_reshape, gen_pad, gen_expand, gen_host,
	};
	static const int dtypes[] = { MICA_F32, MICA_BF16, MICA_E4M3, MICA_E5M2, MICA_I8, MICA_E4M3, MICA_I8 };
	unsigned ops;

	gen_rng = seed * 0x9e3779b97f4a7c15ull + 1;
	memset(t, 0, sizeof(*t));
	t->g = ir_graph_new("random", &t->err);
	t->dtype = dtypes[gen_rnd() % 7];
	t->big = gen_chance(70) ? 16 : 40;
	gen_input(t);
	if (gen_chance(40))
		gen_input(t);
	ops = (unsigned)gen_pick(1, 14);
	for (unsigned i = 0; i < ops; i++) {
		if (ir_elements(t->pool[t->pools - 1]) > 120000)
			t->pools--;
		if (!t->pools)
			break;
		gens[gen_rnd() % (sizeof(gens) / sizeof(*gens))](t);
	}
	if (!t->pools)
		t->pool[t->pools++] = t->g->input[0];
	gen_outputs(t);
}
