// SPDX-License-Identifier: MIT
/* Short forms of build.c that decompositions of ONNX operators share. */
#include <stdlib.h>
#include <string.h>
#include "expr.h"

struct build expr_at(struct ir_graph *g, struct ir_op *op)
{
	struct build b = build_at(g, op);

	b.format = b.format < 0 ? MICA_F32 : b.format;
	return b;
}

struct ir_value *expr_in(struct ir_graph *g, struct ir_op *op, unsigned i)
{
	struct ir_value *v = ir_op_in(op, i);

	return v && v->data ? const_f32(g, v) : v;
}

struct ir_value *expr_k(struct build *b, enum mica_bin bin, struct ir_value *x, float k)
{
	return build_binary(b, bin, x, build_scalar(b, k));
}

/* Index into v of element i of k, whose shape v broadcasts to. */
static int64_t broadcast_index(const struct ir_value *k, const struct ir_value *v, int64_t i)
{
	int64_t at = 0, step = 1;

	for (unsigned a = k->rank; a-- > 0; i /= k->dim[a]) {
		unsigned own = a + v->rank - k->rank;

		if (a + v->rank < k->rank)
			break;
		at += v->dim[own] == 1 ? 0 : i % k->dim[a] * step;
		step *= v->dim[own];
	}
	return at;
}

struct ir_value *expr_fold(struct build *b, enum mica_bin bin, struct ir_value *x, struct ir_value *y)
{
	struct ir_value *r = build_binary(b, bin, x, y), *k;

	if (!x->data || !y->data)
		return r;
	x = const_f32(b->g, x);
	y = const_f32(b->g, y);
	k = build_const(b, r->rank, r->dim, NULL);
	for (int64_t i = 0, n = ir_elements(k); i < n; i++) {
		float p = ((float *)x->data)[broadcast_index(k, x, i)], q = ((float *)y->data)[broadcast_index(k, y, i)];

		((float *)k->data)[i] = bin == MICA_BIN_ADD ? p + q : bin == MICA_BIN_SUB ? p - q : p * q;
	}
	ir_op_remove(b->g, r->def);
	return k;
}

struct ir_value *expr_fn(struct build *b, enum mica_fn fn, struct ir_value *x)
{
	return build_unary(b, fn, x, 0, 0);
}

struct ir_value *expr_poly(struct build *b, struct ir_value *x, const float *c, unsigned n)
{
	struct ir_value *y = expr_k(b, MICA_BIN_MUL, x, c[0]);

	for (unsigned i = 1; i < n; i++) {
		y = expr_k(b, MICA_BIN_ADD, y, c[i]);
		if (i + 1 < n)
			y = build_binary(b, MICA_BIN_MUL, y, x);
	}
	return y;
}

struct ir_value *expr_not(struct build *b, struct ir_value *x)
{
	return expr_fn(b, MICA_FN_NOT, x);
}

struct ir_value *expr_trunc(struct build *b, struct ir_value *x)
{
	struct ir_value *a = expr_fn(b, MICA_FN_FLOOR, expr_fn(b, MICA_FN_ABS, x));

	return build_binary(b, MICA_BIN_MUL, expr_fn(b, MICA_FN_SIGN, x), a);
}

struct ir_value *expr_iota(struct build *b, int64_t n, unsigned rank, unsigned axis)
{
	int64_t dim[IR_MAX_RANK];
	struct ir_value *v;

	for (unsigned i = 0; i < rank; i++)
		dim[i] = i == axis ? n : 1;
	v = build_const(b, rank, dim, NULL);
	for (int64_t i = 0; i < n; i++)
		((float *)v->data)[i] = (float)i;
	return v;
}

struct ir_value *expr_fill(struct build *b, unsigned rank, const int64_t *dim, float v)
{
	struct ir_value *k = build_const(b, rank, dim, NULL);

	for (int64_t i = 0, n = ir_elements(k); i < n; i++)
		((float *)k->data)[i] = v;
	return k;
}

static struct ir_value *run(struct build *b, struct ir_value *x, unsigned axis, int64_t first,
			    int64_t step, int64_t n)
{
	int64_t start[IR_MAX_RANK] = { 0 }, by[IR_MAX_RANK], dim[IR_MAX_RANK];

	for (unsigned i = 0; i < x->rank; i++) {
		by[i] = 1;
		dim[i] = x->dim[i];
	}
	start[axis] = first;
	by[axis] = step ? step : 1;
	dim[axis] = step ? n : 1;
	x = build_slice(b, x, start, by, dim);
	dim[axis] = n;
	return build_expand(b, x, x->rank, dim); /* a step of 0 repeats one entry */
}

struct ir_value *expr_take(struct build *b, struct ir_value *x, unsigned axis, const int64_t *at,
			   int64_t n)
{
	struct ir_value **part = ir_alloc((size_t)n, sizeof(*part)), *y;
	unsigned parts = 0;

	for (int64_t i = 0, k; i < n; i = k) {
		int64_t step = i + 1 < n ? at[i + 1] - at[i] : 1;

		for (k = i + 1; k < n && at[k] - at[k - 1] == step; k++)
			;
		if (k == i + 2 && step != 1)
			k = i + 1; /* two alone make no run */
		part[parts++] = run(b, x, axis, at[i], k == i + 1 ? 1 : step, k - i);
	}
	y = build_concat(b, part, parts, axis);
	free(part);
	return y;
}

struct ir_value *expr_swap(struct build *b, struct ir_value *x, unsigned p, unsigned q)
{
	int perm[IR_MAX_RANK];

	for (unsigned i = 0; i < x->rank; i++)
		perm[i] = (int)(i == p ? q : i == q ? p : i);
	return build_transpose(b, x, perm);
}

struct ir_value *expr_last(struct build *b, struct ir_value *x, unsigned axis)
{
	int perm[IR_MAX_RANK];

	for (unsigned i = 0; i < x->rank; i++)
		perm[i] = (int)(i + 1 == x->rank ? axis : i < axis ? i : i + 1);
	return build_transpose(b, x, perm);
}

struct ir_value *expr_unlast(struct build *b, struct ir_value *x, unsigned axis)
{
	int perm[IR_MAX_RANK];

	for (unsigned i = 0; i < x->rank; i++)
		perm[i] = (int)(i == axis ? x->rank - 1 : i < axis ? i : i - 1);
	return build_transpose(b, x, perm);
}

/* A matrix behind leading extents of 1. */
static bool is_matrix(const struct ir_value *x)
{
	for (unsigned i = 0; i + 2 < x->rank; i++)
		if (x->dim[i] != 1)
			return false;
	return x->rank >= 2;
}

static struct ir_value *swap_last(struct build *b, struct ir_value *x)
{
	return expr_swap(b, x->ch_scale ? const_f32(b->g, x) : x, x->rank - 2, x->rank - 1);
}

/* A constant stands second: x*w = (w' * x')' */
struct ir_value *expr_product(struct build *b, struct ir_value *x, struct ir_value *w, bool trans)
{
	struct ir_value *in[2] = { x, w };
	int64_t dim[IR_MAX_RANK];
	unsigned rank = x->rank > w->rank ? x->rank : w->rank;
	struct ir_op *op;

	w = w->data && w->zero ? const_f32(b->g, w) : w; /* weights have no zero point */
	if (x->data && !w->data && is_matrix(x))
		return swap_last(b, expr_product(b, trans ? w : swap_last(b, w), x, true));
	for (unsigned i = 0; i + 2 < rank; i++) {
		int64_t p = i + x->rank >= rank ? x->dim[i + x->rank - rank] : 1;
		int64_t q = i + w->rank >= rank ? w->dim[i + w->rank - rank] : 1;

		dim[i] = p > q ? p : q;
	}
	dim[rank - 2] = x->dim[x->rank - 2];
	dim[rank - 1] = w->dim[w->rank - (trans ? 2 : 1)];
	op = build_op(b, IR_MATMUL, in, 2, rank, dim);
	op->a.trans_b = trans;
	return op->out[0];
}

bool expr_wanted(const struct ir_op *op, unsigned i)
{
	return i < op->outs && op->out[i] && (op->out[i]->uses || op->out[i]->is_output);
}

void expr_becomes(struct build *b, struct ir_op *op, unsigned i, struct ir_value *v)
{
	struct ir_value *y = op->out[i];

	build_becomes(b->g, y, build_reshape(b, v, y->rank, y->dim));
}
