// SPDX-License-Identifier: MIT
/* ONNX operators over windows, planes and small matrices that are built from others: LpPool, AffineGrid, Det .. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "expr.h"
#include "onnx_window.h"

static int infer_same(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	(void)d;

	return onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
}

/* ---- MeanVarianceNormalization, LpNormalization ---- */

static int canon_mvn(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *x = expr_in(g, op, 0), *v;
	static const int64_t usual[] = { 0, 2, 3 };
	const int64_t *axes;
	size_t n = onnx_ints(op, "axes", &axes);
	unsigned mask = 0;
	(void)d;

	if (!n) {
		axes = usual;
		n = 3;
	}
	for (size_t i = 0; i < n; i++) {
		int a = onnx_axis(g, op, axes[i], x->rank);

		if (a < 0)
			return a;
		mask |= 1u << a;
	}
	x = build_binary(b, MICA_BIN_SUB, x, build_reduce(b, MICA_RED_MEAN, x, mask));
	v = build_reduce(b, MICA_RED_MEAN, build_binary(b, MICA_BIN_MUL, x, x), mask);
	v = expr_k(b, MICA_BIN_ADD, expr_fn(b, MICA_FN_SQRT, v), 1e-9f);
	build_becomes(g, op->out[0], build_binary(b, MICA_BIN_DIV, x, v));
	return 0;
}

static int power_of(struct ir_graph *g, struct ir_op *op, int most, float *p)
{
	const Onnx__AttributeProto *a = onnx_attr(op, "p");

	*p = a && a->has_f && onnx_opset(g) < 2 ? a->f : (float)onnx_int(op, "p", 2);
	if (*p >= 1 && *p <= (float)most)
		return 0;
	return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "p = %g is not within 1..%d", (double)*p, most);
}

/* |x|^p, and the p-th root of such a sum */
static struct ir_value *power(struct build *b, struct ir_value *x, float p)
{
	if (p == 2)
		return build_binary(b, MICA_BIN_MUL, x, x);
	x = expr_fn(b, MICA_FN_ABS, x);
	return p == 1 ? x : expr_k(b, MICA_BIN_POW, x, p);
}

static struct ir_value *root(struct build *b, struct ir_value *s, float p)
{
	struct ir_value *zero;

	if (p <= 2)
		return p == 1 ? s : expr_fn(b, MICA_FN_SQRT, s);
	zero = expr_k(b, MICA_BIN_EQ, s, 0); /* which has no logarithm */
	return build_where(b, zero, s, expr_k(b, MICA_BIN_POW, s, 1 / p));
}

static int canon_lpnorm(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *x = expr_in(g, op, 0), *n;
	int axis = onnx_axis(g, op, onnx_int(op, "axis", -1), x->rank);
	float p;
	(void)d;

	if (axis < 0 || power_of(g, op, 2, &p))
		return -(int)g->err->code;
	n = build_reduce(b, p == 1 ? MICA_RED_L1 : MICA_RED_SUMSQ, x, 1u << axis);
	n = p == 1 ? n : expr_fn(b, MICA_FN_SQRT, n);
	n = build_where(b, expr_k(b, MICA_BIN_EQ, n, 0), build_scalar(b, 1), n);
	build_becomes(g, op->out[0], build_binary(b, MICA_BIN_DIV, x, n));
	return 0;
}

/* ---- LpPool, GlobalLpPool ---- */

static int infer_lppool(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	struct window w;
	(void)d;

	if (window_read(g, op, x, NULL, &w))
		return -(int)g->err->code;
	return window_out(g, op, &w, MICA_F32, x->dim[0], x->dim[1]);
}

/* A sum is an average that counts the whole window; padding reaches as far as the windows do. */
static int canon_lppool(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *x = expr_in(g, op, 0);
	float p, taps = 1;
	struct window w;
	(void)d;

	if (power_of(g, op, 16, &p) || window_read(g, op, x, NULL, &w))
		return -(int)g->err->code;
	for (unsigned i = 0; i < 3; i++) {
		int64_t reach = (w.out[i] - 1) * w.stride[i] + (int64_t)(w.k[i] - 1) * w.dil[i] + 1;

		w.hi[i] = reach > w.in[i] + w.lo[i] ? (int)(reach - w.in[i] - w.lo[i]) : 0;
		taps *= (float)w.k[i];
	}
	x = build_pool_of(b, op, power(b, x, p), &w, MICA_POOL_AVG_PAD);
	expr_becomes(b, op, 0, root(b, expr_k(b, MICA_BIN_MUL, x, taps), p));
	return 0;
}

static int infer_global(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[IR_MAX_RANK];
	(void)d;

	if (x->rank < 2)
		return onnx_fail(g, op, MICA_ERR_SHAPE, "operand has %u dimensions, at least 2 are needed; check the model", x->rank);
	for (unsigned i = 0; i < x->rank; i++)
		dim[i] = i < 2 ? x->dim[i] : 1;
	return onnx_out(g, op, 0, MICA_F32, x->rank, dim);
}

static int canon_globallp(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *x = expr_in(g, op, 0);
	float p;
	(void)d;

	if (power_of(g, op, 16, &p))
		return -(int)g->err->code;
	x = build_reduce(b, MICA_RED_SUM, power(b, x, p), ((1u << x->rank) - 1) & ~3u);
	expr_becomes(b, op, 0, root(b, x, p));
	return 0;
}

/* ---- CenterCropPad ---- */

static int crop_dims(struct ir_graph *g, struct ir_op *op, int64_t *dim)
{
	const struct ir_value *x = op->in[0];
	const int64_t *axes;
	int64_t *list;
	size_t n, naxes = onnx_ints(op, "axes", &axes);
	int r = onnx_const_list(g, op, "shape", op->in[1], &list, &n);

	memcpy(dim, x->dim, sizeof(x->dim));
	if (!r && n != (naxes ? naxes : x->rank))
		r = onnx_fail(g, op, MICA_ERR_SHAPE, "shape has %zu entries; check the model", n);
	for (size_t i = 0; !r && i < n; i++) {
		int a = onnx_axis(g, op, naxes ? axes[i] : (int64_t)i, x->rank);

		if (a < 0 || list[i] < 1)
			r = a < 0 ? a : onnx_fail(g, op, MICA_ERR_SHAPE, "extent %lld is not valid",
						  (long long)list[i]);
		else
			dim[a] = list[i];
	}
	free(list);
	return r;
}

static int infer_crop(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	int64_t dim[IR_MAX_RANK];
	(void)d;

	if (crop_dims(g, op, dim))
		return -(int)g->err->code;
	return onnx_out(g, op, 0, op->in[0]->dtype, op->in[0]->rank, dim);
}

static int canon_crop(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = expr_in(g, op, 0), *y = op->out[0];
	int64_t front[IR_MAX_RANK] = { 0 }, behind[IR_MAX_RANK] = { 0 };
	(void)d;

	for (unsigned i = 0; i < y->rank; i++) {
		int64_t have = x->dim[i], want = y->dim[i];

		if (have > want)
			x = build_slice1(&b, x, i, (have - want) / 2, want);
		front[i] = have < want ? (want - have) / 2 : 0;
		behind[i] = have < want ? want - have - front[i] : 0;
	}
	build_becomes(g, y, build_pad(&b, x, front, behind, 0));
	return 0;
}

/* ---- AffineGrid: positions of all pixels times theta ---- */

static int infer_grid(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *t = op->in[0];
	int64_t *size, dim[5];
	size_t n;
	int r = onnx_const_list(g, op, "size", op->in[1], &size, &n);
	(void)d;

	if (!r && ((n != 4 && n != 5) || t->rank != 3 || t->dim[0] != size[0] ||
		   t->dim[1] != (int64_t)n - 2 || t->dim[2] != (int64_t)n - 1))
		r = onnx_fail(g, op, MICA_ERR_SHAPE,
			      "theta and size do not fit each other; check the model");
	if (!r) {
		dim[0] = size[0];
		for (size_t i = 2; i < n; i++)
			dim[i - 1] = size[i];
		dim[n - 1] = (int64_t)n - 2;
		r = onnx_out(g, op, 0, MICA_F32, (unsigned)n, dim);
	}
	free(size);
	return r;
}

static float grid_at(int64_t i, int64_t n, bool corners)
{
	if (corners)
		return n > 1 ? (float)(-1 + 2.0 * (double)i / (double)(n - 1)) : -1;
	return (float)((2.0 * (double)i + 1) / (double)n - 1);
}

static int canon_grid(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = expr_at(g, op), *b = &own;
	const struct ir_value *y = op->out[0];
	struct ir_value *theta = expr_in(g, op, 0), *base;
	unsigned s = y->rank - 2; /* spatial dimensions */
	int64_t dim[2] = { s + 1, 1 }, n;
	bool corners = onnx_int(op, "align_corners", 0);
	(void)d;

	for (unsigned i = 0; i < s; i++)
		dim[1] *= y->dim[1 + i];
	n = dim[1];
	if (onnx_room(g, op, dim[0], n))
		return -(int)g->err->code;
	base = build_const(b, 2, dim, NULL);
	for (int64_t p = 0; p < n; p++) {
		int64_t left = p;

		for (unsigned i = s; i-- > 0; left /= y->dim[1 + i]) /* x is the last extent */
			((float *)base->data)[(s - 1 - i) * n + p] =
				grid_at(left % y->dim[1 + i], y->dim[1 + i], corners);
		((float *)base->data)[s * n + p] = 1;
	}
	theta = build_reshape(b, theta, 2, (int64_t[]){ y->dim[0] * s, s + 1 });
	theta = expr_product(b, theta, base, false);
	theta = build_reshape(b, theta, 3, (int64_t[]){ y->dim[0], s, n });
	expr_becomes(b, op, 0, expr_swap(b, theta, 1, 2));
	return 0;
}

/* ---- Det, by minors ---- */

static int infer_det(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	unsigned r = x->rank;
	(void)d;

	if (r < 2 || x->dim[r - 1] != x->dim[r - 2] || x->dim[r - 1] < 1 || x->dim[r - 1] > 5)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "only square matrices of up to 5 rows are supported");
	return onnx_out(g, op, 0, MICA_F32, r - 2, x->dim);
}

/* Of the rows from `row` on and the columns in `cols`. x is [count, n, n]. */
static struct ir_value *minor(struct build *b, struct ir_value *x, unsigned row, unsigned cols)
{
	struct ir_value *sum = NULL, *t;
	bool minus = false;

	for (unsigned c = 0; c < x->dim[2]; c++) {
		unsigned rest = cols & ~(1u << c);

		if (!(cols >> c & 1))
			continue;
		t = build_slice1(b, build_slice1(b, x, 1, row, 1), 2, c, 1);
		if (rest)
			t = build_binary(b, MICA_BIN_MUL, t, minor(b, x, row + 1, rest));
		sum = sum ? build_binary(b, minus ? MICA_BIN_SUB : MICA_BIN_ADD, sum, t) : t;
		minus = !minus;
	}
	return sum;
}

static int canon_det(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *x = expr_in(g, op, 0);
	int64_t n = x->dim[x->rank - 1];
	(void)d;

	x = build_reshape(b, x, 3, (int64_t[]){ ir_elements(x) / (n * n), n, n });
	expr_becomes(b, op, 0, minor(b, x, 0, (1u << n) - 1));
	return 0;
}

/* ---- what gives another result each time ---- */

static int infer_random(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	(void)d;
	return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
			 "random numbers are not supported: a compiled model is a function of its "
			 "inputs; pass the random tensor as an input, or export for inference");
}

#define RANDOM(type)                                          \
	{                                                     \
		type, 0, 0, 0, infer_random, NULL, NULL \
	}

const struct onnx_def onnx_spatial_ops[] = {
	{ "MeanVarianceNormalization", 0, 1, 1, infer_same, NULL, canon_mvn },
	{ "LpNormalization", 0, 1, 1, infer_same, NULL, canon_lpnorm },
	{ "LpPool", 0, 1, 1, infer_lppool, NULL, canon_lppool },
	{ "GlobalLpPool", 0, 1, 1, infer_global, NULL, canon_globallp },
	{ "CenterCropPad", 0, 2, 2, infer_crop, NULL, canon_crop },
	{ "AffineGrid", 0, 2, 2, infer_grid, NULL, canon_grid },
	{ "Det", 0, 1, 1, infer_det, NULL, canon_det },
	RANDOM("RandomNormal"),
	RANDOM("RandomNormalLike"),
	RANDOM("RandomUniform"),
	RANDOM("RandomUniformLike"),
	RANDOM("Bernoulli"),
	RANDOM("Multinomial"),
	{ 0 },
};
