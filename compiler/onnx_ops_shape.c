// SPDX-License-Identifier: MIT
/* ONNX operators that give data another shape or order, or make it from shapes: Reshape, Transpose, Shape, Range ... */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "fold.h"
#include "onnx_shape.h"

static struct ir_value *operand(struct ir_graph *g, struct ir_op *op, unsigned i)
{
	struct ir_value *v = ir_op_in(op, i);

	return v && v->data && (v->dtype == IR_I64 || v->dtype == IR_BOOL) ? const_f32(g, v) : v;
}

/* ---- new shapes for the same elements ---- */

static int fail_elements(struct ir_graph *g, struct ir_op *op)
{
	return onnx_fail(g, op, MICA_ERR_SHAPE,
			 "operand of %lld elements cannot take the requested shape; check the "
			 "model and --shape",
			 (long long)ir_elements(op->in[0]));
}

static int infer_reshape(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[IR_MAX_RANK], *list, total = ir_elements(x), known = 1;
	int wild = -1, r = 0;
	size_t n;
	(void)d;

	if (onnx_list(g, op, "shape", 1, &list, &n))
		return -(int)g->err->code;
	for (size_t i = 0; i < n && !r; i++) {
		if (n > IR_MAX_RANK || list[i] < -1 || (list[i] == -1 && wild >= 0) ||
		    (list[i] == 0 && !onnx_int(op, "allowzero", 0) && i >= x->rank))
			r = fail_elements(g, op);
		if (r)
			break;
		dim[i] = list[i] == 0 && !onnx_int(op, "allowzero", 0) ? x->dim[i] : list[i];
		if (dim[i] == -1)
			wild = (int)i;
		else if (__builtin_mul_overflow(known, dim[i], &known))
			r = fail_elements(g, op);
	}
	free(list);
	if (!r && wild >= 0) {
		if (known <= 0 || total % known)
			return fail_elements(g, op);
		dim[wild] = total / known;
		known = total;
	}
	if (!r && known != total)
		r = fail_elements(g, op);
	return r ? r : onnx_out(g, op, 0, x->dtype, (unsigned)n, dim);
}

static int infer_flatten(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[2] = { 1, 1 }, axis = onnx_int(op, "axis", 1);
	(void)d;

	if (axis < -(int64_t)x->rank || axis > (int64_t)x->rank)
		return onnx_axis(g, op, axis, x->rank);
	axis += axis < 0 ? x->rank : 0;
	for (unsigned i = 0; i < x->rank; i++)
		dim[i >= axis] *= x->dim[i];
	return onnx_out(g, op, 0, x->dtype, 2, dim);
}

/* code 1: Unsqueeze */
static int infer_squeeze(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[IR_MAX_RANK], *list;
	unsigned mask = 0, n = 0, from = 0, rank;
	size_t count;
	int r = 0;

	if (onnx_list(g, op, "axes", 1, &list, &count))
		return -(int)g->err->code;
	rank = x->rank + (d->code ? (unsigned)(count > IR_MAX_RANK ? IR_MAX_RANK + 1 : count) : 0);
	if (rank > IR_MAX_RANK)
		r = onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
			      "result has more than %d dimensions; reshape it in the model",
			      IR_MAX_RANK);
	for (size_t i = 0; i < count && !r; i++) {
		int a = onnx_axis(g, op, list[i], rank);

		if (a < 0 || mask >> a & 1 || (!d->code && x->dim[a] != 1))
			r = a < 0 ? a
				  : onnx_fail(g, op, MICA_ERR_SHAPE,
					      "axis %d is named twice or its extent is not 1; "
					      "check the model",
					      a);
		else
			mask |= 1u << a;
	}
	free(list);
	for (unsigned i = 0; i < x->rank && !d->code && !count; i++)
		mask |= (x->dim[i] == 1) << i;
	for (unsigned i = 0; i < rank && !r; i++) {
		if (d->code)
			dim[n++] = mask >> i & 1 ? 1 : x->dim[from++];
		else if (!(mask >> i & 1))
			dim[n++] = x->dim[i];
	}
	return r ? r : onnx_out(g, op, 0, x->dtype, n, dim);
}

static int canon_reshape(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *y = op->out[0];
	(void)d;

	build_becomes(g, y, build_reshape(&b, operand(g, op, 0), y->rank, y->dim));
	return 0;
}

/* ---- Transpose, DepthToSpace, SpaceToDepth ---- */

int transpose_read(struct ir_graph *g, struct ir_op *op, int *perm)
{
	unsigned rank = op->in[0]->rank, seen = 0;
	const int64_t *list;
	size_t n = onnx_ints(op, "perm", &list);

	if (n && n != rank)
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "attribute perm has %zu entries for %u axes; check the model", n,
				 rank);
	for (unsigned i = 0; i < rank; i++) {
		perm[i] = n ? onnx_axis(g, op, list[i], rank) : (int)(rank - 1 - i);
		if (perm[i] < 0)
			return perm[i];
		seen |= 1u << perm[i];
	}
	if (seen != (1u << rank) - 1)
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "attribute perm is not a permutation; check the model");
	return 0;
}

static int infer_transpose(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[IR_MAX_RANK];
	int perm[IR_MAX_RANK];
	(void)d;

	if (transpose_read(g, op, perm))
		return -(int)g->err->code;
	for (unsigned i = 0; i < x->rank; i++)
		dim[i] = x->dim[perm[i]];
	return onnx_out(g, op, 0, x->dtype, x->rank, dim);
}

static int canon_transpose(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	int perm[IR_MAX_RANK];
	(void)d;

	if (transpose_read(g, op, perm))
		return -(int)g->err->code;
	build_becomes(g, op->out[0], build_transpose(&b, operand(g, op, 0), perm));
	return 0;
}

/* code 1: SpaceToDepth */
static int infer_d2s(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t s = onnx_int(op, "blocksize", 0);

	if (x->rank != 4 || s < 1 || s > 1024 ||
	    (d->code ? x->dim[2] % s || x->dim[3] % s : x->dim[1] % (s * s)))
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "blocksize %lld does not divide the operand, or it is not "
				 "[N,C,H,W]; check the model",
				 (long long)s);
	if (d->code)
		return onnx_out(
			g, op, 0, x->dtype, 4,
			(int64_t[]){ x->dim[0], x->dim[1] * s * s, x->dim[2] / s, x->dim[3] / s });
	return onnx_out(
		g, op, 0, x->dtype, 4,
		(int64_t[]){ x->dim[0], x->dim[1] / (s * s), x->dim[2] * s, x->dim[3] * s });
}

static int canon_d2s(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	static const int crd[6] = { 0, 1, 4, 2, 5, 3 }, dcr[6] = { 0, 3, 4, 1, 5, 2 },
			 s2d[6] = { 0, 3, 5, 1, 2, 4 };
	struct build b = build_at(g, op);
	struct ir_value *x = operand(g, op, 0), *y = op->out[0];
	int64_t s = onnx_int(op, "blocksize", 1), n = x->dim[0], c = x->dim[1], h = x->dim[2],
		w = x->dim[3];
	const int *perm;

	if (d->code) {
		x = build_reshape(&b, x, 6, (int64_t[]){ n, c, h / s, s, w / s, s });
		perm = s2d;
	} else if (onnx_is(op, "mode", "CRD", "DCR")) {
		x = build_reshape(&b, x, 6, (int64_t[]){ n, c / (s * s), s, s, h, w });
		perm = crd;
	} else {
		x = build_reshape(&b, x, 6, (int64_t[]){ n, s, s, c / (s * s), h, w });
		perm = dcr;
	}
	build_becomes(g, y, build_reshape(&b, build_transpose(&b, x, perm), 4, y->dim));
	return 0;
}

/* ---- shapes and what is made from them: these only fold ---- */

static int infer_shape(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t n = x->rank, start = onnx_int(op, "start", 0), end = onnx_int(op, "end", n);

	start = start < 0 ? start + n : start;
	end = end < 0 ? end + n : end;
	start = start < 0 ? 0 : start > n ? n : start;
	end = end < start ? start : end > n ? n : end;
	n = end - start;
	return onnx_out(g, op, 0, IR_I64, d->code ? 0 : 1, &n);
}

static int infer_fill(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const Onnx__AttributeProto *a = onnx_attr(op, "value");
	int64_t *list;
	size_t n;
	int r;
	(void)d;

	r = onnx_const_list(g, op, "shape", op->in[0], &list, &n);
	if (!r)
		r = n > IR_MAX_RANK
			    ? onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
					"result has more than %d dimensions", IR_MAX_RANK)
			    : onnx_out(g, op, 0, a && a->t ? onnx_dtype(a->t->data_type) : MICA_F32,
				       (unsigned)n, list);
	free(list);
	return r;
}

static int infer_range(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	double v[3];
	int64_t n;
	(void)d;

	for (unsigned i = 0; i < 3; i++) {
		const struct ir_value *x = op->in[i];

		if (!x->data || ir_elements(x) != 1 || (x->dtype != MICA_F32 && x->dtype != IR_I64))
			return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
					 "limits are only known at run time; fix the input with "
					 "--shape or fold the model");
		v[i] = x->dtype == MICA_F32 ? (double)*(float *)x->data
					    : (double)*(int64_t *)x->data;
	}
	v[0] = ceil((v[1] - v[0]) / v[2]);
	if (!(v[0] <= 1e9))
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "limits give no finite range; check the model");
	n = v[0] > 0 ? (int64_t)v[0] : 0;
	return onnx_out(g, op, 0, op->in[0]->dtype, 1, &n);
}

const struct onnx_def onnx_shape_ops[] = {
	{ "Reshape", 0, 1, 2, infer_reshape, fold_copy, canon_reshape },
	{ "Flatten", 0, 1, 1, infer_flatten, fold_copy, canon_reshape },
	{ "Squeeze", 0, 1, 2, infer_squeeze, fold_copy, canon_reshape },
	{ "Unsqueeze", 1, 1, 2, infer_squeeze, fold_copy, canon_reshape },
	{ "Transpose", 0, 1, 1, infer_transpose, fold_transpose, canon_transpose },
	{ "DepthToSpace", 0, 1, 1, infer_d2s, NULL, canon_d2s },
	{ "SpaceToDepth", 1, 1, 1, infer_d2s, NULL, canon_d2s },
	{ "Shape", 0, 1, 1, infer_shape, fold_shape, NULL },
	{ "Size", 1, 1, 1, infer_shape, fold_size, NULL },
	{ "ConstantOfShape", 0, 1, 1, infer_fill, fold_fill, NULL },
	{ "Range", 0, 3, 3, infer_range, fold_range, NULL },
	{ 0 },
};
