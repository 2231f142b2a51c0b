// SPDX-License-Identifier: MIT
/*
 * ONNX operators that compare positions with values: ArgMax, Hardmax, OneHot, Trilu, CumSum and the like. Positions are
 * constants 0, 1, .. along an axis; all of this is computed in f32, where integers up to 2^24 are exact.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "expr.h"
#include "fold.h"
#include "onnx_integer.h"

#define MAX_EXACT (1 << 24)

static int axis_of(struct ir_graph *g, struct ir_op *op, int64_t def)
{
	return onnx_axis(g, op, onnx_int(op, "axis", def), op->in[0]->rank);
}

/* ---- ArgMax, ArgMin, Hardmax ---- */

/* Positions are numbers in f32. */
static int check_positions(struct ir_graph *g, struct ir_op *op, int64_t n)
{
	if (n > 1 << 24)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "positions above 2^24 are not exact in f32; make its operands smaller");
	return onnx_room(g, op, 1, n);
}

static int infer_arg(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[IR_MAX_RANK];
	int axis = axis_of(g, op, 0);
	unsigned n = 0;
	(void)d;

	if (axis < 0)
		return axis;
	if (x->dim[axis] > MAX_EXACT)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "axis of more than 2^24 elements is not supported");
	for (unsigned i = 0; i < x->rank; i++) {
		if ((int)i != axis)
			dim[n++] = x->dim[i];
		else if (onnx_int(op, "keepdims", 1))
			dim[n++] = 1;
	}
	if (onnx_out(g, op, 0, IR_I64, n, dim))
		return -(int)g->err->code;
	op->out[0]->elem = ONNX_I64;
	return 0;
}

/*
 * The first (or last) position along `axis` where x equals its extreme. Elsewhere stands the other end's position, which
 * never wins.
 */
static struct ir_value *position(struct build *b, struct ir_value *x, unsigned axis,
				 enum mica_red red, bool last)
{
	struct ir_value *m = build_reduce(b, red, x, 1u << axis), *at;
	int64_t n = x->dim[axis];

	at = build_where(b, build_binary(b, MICA_BIN_EQ, x, m), expr_iota(b, n, x->rank, axis),
			 build_scalar(b, last ? 0 : (float)(n - 1)));
	return build_reduce(b, last ? MICA_RED_MAX : MICA_RED_MIN, at, 1u << axis);
}

static int canon_arg(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = expr_at(g, op);
	int axis = axis_of(g, op, 0);

	if (check_positions(g, op, op->in[0]->dim[axis]))
		return -(int)g->err->code;
	expr_becomes(&b, op, 0,
		     position(&b, expr_in(g, op, 0), (unsigned)axis, (enum mica_red)d->code,
			      onnx_int(op, "select_last_index", 0)));
	return 0;
}

/* 1 at the first maximum, else 0. Before opset 13 all axes from `axis` on are one. */
static int infer_hardmax(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int axis = axis_of(g, op, onnx_opset(g) < 13 ? 1 : -1);
	(void)d;

	return axis < 0 ? axis : onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
}

static int canon_hardmax(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = expr_at(g, op);
	struct ir_value *x = expr_in(g, op, 0), *at;
	int axis = axis_of(g, op, onnx_opset(g) < 13 ? 1 : -1);
	int64_t dim[2] = { 1, 1 };
	(void)d;

	if (onnx_opset(g) < 13) {
		for (unsigned i = 0; i < x->rank; i++)
			dim[(int)i >= axis] *= x->dim[i];
		x = build_reshape(&b, x, 2, dim);
		axis = 1;
	}
	if (check_positions(g, op, x->dim[axis]))
		return -(int)g->err->code;
	at = position(&b, x, (unsigned)axis, MICA_RED_MAX, false);
	expr_becomes(&b, op, 0,
		     build_binary(&b, MICA_BIN_EQ, at,
				  expr_iota(&b, x->dim[axis], x->rank, (unsigned)axis)));
	return 0;
}

/* ---- CumSum, CumProd ---- */

static int cumsum_axis(struct ir_graph *g, struct ir_op *op)
{
	int64_t *list;
	size_t n;
	int axis;

	if (onnx_const_list(g, op, "axis", op->in[1], &list, &n))
		return -(int)g->err->code;
	axis = n == 1 ? onnx_axis(g, op, list[0], op->in[0]->rank)
		      : onnx_fail(g, op, MICA_ERR_SHAPE, "axis is not one number; check the model");
	free(list);
	return axis;
}

static int infer_cumsum(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int axis = cumsum_axis(g, op);
	(void)d;

	return axis < 0 ? axis : onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
}

/* x moved by n along an axis, `with` comes in; n < 0: towards the front */
static struct ir_value *shifted(struct build *b, struct ir_value *x, unsigned axis, int64_t n, float with)
{
	int64_t front[IR_MAX_RANK] = { 0 }, behind[IR_MAX_RANK] = { 0 }, far = n < 0 ? -n : n;

	x = build_slice1(b, x, axis, n < 0 ? far : 0, x->dim[axis] - far);
	(n < 0 ? behind : front)[axis] = far;
	return build_pad(b, x, front, behind, with);
}

/* Sums or products over 1, 2, 4, .. neighbours: log2(n) steps. */
static int canon_cumsum(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = expr_at(g, op);
	struct ir_value *x = expr_in(g, op, 0);
	unsigned axis = (unsigned)cumsum_axis(g, op);
	int64_t way = onnx_int(op, "reverse", 0) ? -1 : 1, n = x->dim[axis];
	float none = d->code == MICA_BIN_MUL;

	if (integer_is(op->out[0]) && (none || !integer_facts(g, op).exact)) {
		expr_becomes(&b, op, 0,
			     integer_running(&b, op, none ? MICA_HOST_TIMES : MICA_HOST_PLUS, x, axis, onnx_int(op, "exclusive", 0) != 0, way < 0));
		return 0;
	}
	if (onnx_int(op, "exclusive", 0))
		x = n > 1 ? shifted(&b, x, axis, way, none) : expr_fill(&b, x->rank, x->dim, none);
	for (int64_t s = 1; s < n; s *= 2)
		x = build_binary(&b, (enum mica_bin)d->code, x, shifted(&b, x, axis, way * s, none));
	expr_becomes(&b, op, 0, x);
	return 0;
}

/* ---- Trilu, EyeLike ---- */

static int trilu_k(struct ir_graph *g, struct ir_op *op, int64_t *k)
{
	int64_t *list;
	size_t n;

	*k = 0;
	if (!ir_op_in(op, 1))
		return 0;
	if (onnx_const_list(g, op, "k", op->in[1], &list, &n))
		return -(int)g->err->code;
	*k = n ? list[0] : 0;
	free(list);
	return 0;
}

static int infer_trilu(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t k;
	(void)d;

	if (x->rank < 2 || trilu_k(g, op, &k))
		return g->err->code ? -(int)g->err->code
				    : onnx_fail(g, op, MICA_ERR_SHAPE,
						"operand is not a matrix; check the model");
	return onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
}

static bool keeps(bool upper, int64_t row, int64_t col, int64_t k)
{
	return upper ? col - row >= k : col - row <= k;
}

static int fold_trilu(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t rows = x->dim[x->rank - 2], cols = x->dim[x->rank - 1], k;
	size_t size = ir_dtype_size(x->dtype);
	bool upper = onnx_int(op, "upper", 1);
	uint8_t *out;
	(void)d;

	if (trilu_k(g, op, &k))
		return -(int)g->err->code;
	out = fold_out(g, op, 0);
	for (int64_t i = 0, n = ir_elements(x); out && i < n; i++)
		if (keeps(upper, i / cols % rows, i % cols, k))
			memcpy(out + (size_t)i * size, (uint8_t *)x->data + (size_t)i * size, size);
	return out ? 0 : 1;
}

static int canon_trilu(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = expr_in(g, op, 0), *mask;
	int64_t dim[2] = { x->dim[x->rank - 2], x->dim[x->rank - 1] }, k;
	bool upper = onnx_int(op, "upper", 1);
	(void)d;

	if (trilu_k(g, op, &k) || onnx_room(g, op, dim[0], dim[1]))
		return -(int)g->err->code;
	mask = build_const(&b, 2, dim, NULL);
	for (int64_t i = 0; i < dim[0] * dim[1]; i++)
		((float *)mask->data)[i] = keeps(upper, i / dim[1], i % dim[1], k);
	expr_becomes(&b, op, 0, build_where(&b, mask, x, build_scalar(&b, 0)));
	return 0;
}

static int infer_eye(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int asked = (int)onnx_int(op, "dtype", 0),
	    dtype = asked ? onnx_dtype(asked) : x->dtype;
	(void)d;

	if (x->rank != 2)
		return onnx_fail(g, op, MICA_ERR_SHAPE, "operand is not a matrix; check the model");
	return onnx_out(g, op, 0, dtype, 2, x->dim);
}

int fold_eye(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct ir_value *y = op->out[0];
	int64_t k = onnx_int(op, "k", 0), cols = y->dim[1];
	uint8_t *out;
	(void)d;

	if (y->dtype != MICA_F32 && y->dtype != IR_I64 && y->dtype != IR_BOOL &&
	    y->dtype != MICA_I8 && y->dtype != MICA_U8)
		return 1;
	out = fold_out(g, op, 0);
	for (int64_t i = 0; out && i < y->dim[0]; i++) {
		int64_t at = k > INT32_MAX || k < INT32_MIN || i + k < 0 || i + k >= cols
				     ? -1
				     : i * cols + i + k;

		if (at >= 0 && y->dtype == MICA_F32)
			((float *)out)[at] = 1;
		else if (at >= 0) /* little endian */
			out[(size_t)at * ir_dtype_size(y->dtype)] = 1;
	}
	return out ? 0 : 1;
}

/* ---- OneHot ---- */

static int infer_onehot(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *v = op->in[2];
	int axis = onnx_axis(g, op, onnx_int(op, "axis", -1), x->rank + 1);
	int64_t dim[IR_MAX_RANK + 1];
	float depth;
	bool have;
	(void)d;

	if (axis < 0)
		return axis;
	if (onnx_scalar(g, op, "depth", 1, &depth, &have))
		return -(int)g->err->code;
	if (!(depth >= 1 && depth <= MAX_EXACT) || ir_elements(v) != 2)
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "depth is not within 1..2^24, or values are not two; check the "
				 "model");
	for (unsigned i = 0, k = 0; i <= x->rank; i++)
		dim[i] = (int)i == axis ? (int64_t)depth : x->dim[k++];
	if (onnx_out(g, op, 0, v->dtype, x->rank + 1, dim))
		return -(int)g->err->code;
	op->out[0]->elem = v->elem;
	return 0;
}

static int canon_onehot(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = expr_at(g, op);
	struct ir_value *x = expr_in(g, op, 0), *v = expr_in(g, op, 2), *y = op->out[0], *neg;
	int axis = onnx_axis(g, op, onnx_int(op, "axis", -1), y->rank);
	int64_t dim[IR_MAX_RANK], depth = y->dim[axis];
	(void)d;

	if (check_positions(g, op, depth))
		return -(int)g->err->code;
	memcpy(dim, y->dim, sizeof(dim));
	dim[axis] = 1;
	x = build_reshape(&b, x, y->rank, dim);
	neg = expr_k(&b, MICA_BIN_LT, x, 0);
	x = build_where(&b, neg, expr_k(&b, MICA_BIN_ADD, x, (float)depth), x);
	x = build_binary(&b, MICA_BIN_EQ, x, expr_iota(&b, depth, y->rank, (unsigned)axis));
	v = build_reshape(&b, v, 1, (int64_t[]){ 2 });
	expr_becomes(&b, op, 0,
		     build_where(&b, x, build_slice1(&b, v, 0, 1, 1), build_slice1(&b, v, 0, 0, 1)));
	return 0;
}

/* ---- Compress, ReverseSequence: constant choices ---- */

/* Positions that a constant condition keeps; malloc'ed. */
static int64_t *chosen(const struct ir_value *cond, int64_t extent, int64_t *n)
{
	int64_t *at = ir_alloc((size_t)extent + 1, sizeof(*at));

	*n = 0;
	for (int64_t i = 0; i < extent && i < ir_elements(cond); i++)
		if (((uint8_t *)cond->data)[i])
			at[(*n)++] = i;
	return at;
}

static int compress_axis(struct ir_graph *g, struct ir_op *op, bool *flat)
{
	*flat = !onnx_attr(op, "axis");
	return *flat ? 0 : axis_of(g, op, 0);
}

static int infer_compress(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *c = op->in[1];
	int64_t dim[IR_MAX_RANK], n;
	bool flat;
	int axis = compress_axis(g, op, &flat);
	(void)d;

	if (axis < 0)
		return axis;
	if (!c->data || c->dtype != IR_BOOL)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "condition '%.100s' is not a constant, so the size of the result "
				 "depends on data; multiply by a mask, or cut the model in front "
				 "of this node (--cut)",
				 c->name);
	free(chosen(c, flat ? ir_elements(x) : x->dim[axis], &n));
	memcpy(dim, x->dim, sizeof(dim));
	dim[axis] = n;
	return onnx_out(g, op, 0, x->dtype, flat ? 1 : x->rank, dim);
}

static int canon_compress(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = expr_in(g, op, 0);
	int64_t n, all = ir_elements(x), *at;
	bool flat;
	int axis = compress_axis(g, op, &flat);
	(void)d;

	if (flat)
		x = build_reshape(&b, x, 1, &all);
	at = chosen(op->in[1], x->dim[axis], &n);
	expr_becomes(&b, op, 0, expr_take(&b, x, (unsigned)axis, at, n));
	free(at);
	return 0;
}

const struct onnx_def onnx_select_ops[] = {
	{ "ArgMax", MICA_RED_MAX, 1, 1, infer_arg, NULL, canon_arg },
	{ "ArgMin", MICA_RED_MIN, 1, 1, infer_arg, NULL, canon_arg },
	{ "Hardmax", 0, 1, 1, infer_hardmax, NULL, canon_hardmax },
	{ "CumSum", MICA_BIN_ADD, 2, 2, infer_cumsum, NULL, canon_cumsum },
	{ "CumProd", MICA_BIN_MUL, 2, 2, infer_cumsum, NULL, canon_cumsum },
	{ "Trilu", 0, 1, 2, infer_trilu, fold_trilu, canon_trilu },
	{ "EyeLike", 0, 1, 1, infer_eye, fold_eye, NULL },
	{ "OneHot", 0, 3, 3, infer_onehot, NULL, canon_onehot },
	{ "Compress", 0, 2, 2, infer_compress, NULL, canon_compress },
	{ 0 },
};
