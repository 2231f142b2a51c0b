// SPDX-License-Identifier: MIT
/* Resize and Upsample: sizes, where each position of the result lies in the operand, and the tables of taps. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "onnx_resize.h"

static int bad_operand(struct ir_graph *g, struct ir_op *op, const char *name)
{
	return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
			 "operand %s is not a constant with one entry per axis; fix the input with "
			 "--shape or fold the model first",
			 name);
}

/* `n` numbers of a constant operand, or NULL when it is absent or empty. */
static const float *floats(const struct ir_value *v, size_t *n)
{
	*n = v && v->data && v->dtype == MICA_F32 ? (size_t)ir_elements(v) : 0;
	return *n ? v->data : NULL;
}

static int read_scales(struct ir_graph *g, struct ir_op *op, struct resize *r, const int *axes,
		       size_t naxes, const float *scales)
{
	const struct ir_value *x = op->in[0];

	for (size_t i = 0; i < naxes; i++) {
		int a = axes[i];
		bool crop = onnx_is(op, "coordinate_transformation_mode", "tf_crop_and_resize",
				    "half_pixel");
		float part = crop ? (float)(r->roi_end[a] - r->roi_start[a]) : 1;
		float out = floorf((float)x->dim[a] * part * scales[i]);

		if (!(scales[i] > 0) || !(out >= 1 && out <= 1e9f))
			return onnx_fail(g, op, MICA_ERR_SHAPE,
					 "scale %g of axis %d gives no valid size; check the model",
					 (double)scales[i], a);
		r->scale[a] = scales[i];
		r->out[a] = (int64_t)out;
	}
	return 0;
}

static int read_sizes(struct ir_graph *g, struct ir_op *op, struct resize *r, const int *axes,
		      size_t naxes, const int64_t *sizes)
{
	const struct ir_value *x = op->in[0];
	bool larger = onnx_is(op, "keep_aspect_ratio_policy", "not_larger", "stretch");
	bool smaller = onnx_is(op, "keep_aspect_ratio_policy", "not_smaller", "stretch");
	double common = 0;

	for (size_t i = 0; i < naxes; i++) {
		double s = (double)sizes[i] / (double)x->dim[axes[i]];

		if (sizes[i] < 1 || sizes[i] > INT32_MAX)
			return onnx_fail(g, op, MICA_ERR_SHAPE,
					 "size %lld of axis %d is not valid; check the model",
					 (long long)sizes[i], axes[i]);
		r->scale[axes[i]] = s;
		r->out[axes[i]] = sizes[i];
		if (!i || (larger && s < common) || (smaller && s > common))
			common = s;
	}
	for (size_t i = 0; i < naxes && (larger || smaller); i++) {
		r->scale[axes[i]] = common;
		r->out[axes[i]] = (int64_t)(common * (double)x->dim[axes[i]] + 0.5);
	}
	return 0;
}

static int read_axes(struct ir_graph *g, struct ir_op *op, const struct resize *r, int *axes,
		     size_t *naxes)
{
	const int64_t *list;
	size_t n = onnx_ints(op, "axes", &list);
	unsigned seen = 0;

	if (n > r->rank)
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "attribute axes has %zu entries; check the model", n);
	*naxes = n ? n : r->rank;
	for (size_t i = 0; i < *naxes; i++) {
		axes[i] = n ? onnx_axis(g, op, list[i], r->rank) : (int)i;
		if (axes[i] < 0)
			return axes[i];
		if (seen >> axes[i] & 1)
			return onnx_fail(g, op, MICA_ERR_SHAPE,
					 "attribute axes names axis %d twice; check the model",
					 axes[i]);
		seen |= 1u << axes[i];
	}
	return 0;
}

static int read_extents(struct ir_graph *g, struct ir_op *op, struct resize *r)
{
	bool upsample = !strcmp(op->onnx_type, "Upsample"), old = upsample || onnx_opset(g) < 11;
	const struct ir_value *sizes = old ? NULL : ir_op_in(op, 3);
	const struct ir_value *scale_in = ir_op_in(op, old ? 1 : 2);
	const Onnx__AttributeProto *attr = onnx_attr(op, "scales");
	size_t n, naxes = 0, nroi = 0;
	int axes[IR_MAX_RANK];
	const float *scales = floats(scale_in, &n),
		    *roi = old ? NULL : floats(ir_op_in(op, 1), &nroi);

	if (!scales && attr && attr->n_floats) {
		scales = attr->floats;
		n = attr->n_floats;
	}
	if (read_axes(g, op, r, axes, &naxes))
		return -(int)g->err->code;
	if (onnx_is(op, "coordinate_transformation_mode", "tf_crop_and_resize", "") &&
	    nroi != 2 * naxes)
		return bad_operand(g, op, "roi");
	for (size_t i = 0; roi && i < naxes && nroi == 2 * naxes; i++) {
		if (!isfinite(roi[i]) || !isfinite(roi[naxes + i]))
			return bad_operand(g, op, "roi");
		r->roi_start[axes[i]] = (double)roi[i];
		r->roi_end[axes[i]] = (double)roi[naxes + i];
	}
	if (scales)
		return n == naxes ? read_scales(g, op, r, axes, naxes, scales)
				  : bad_operand(g, op, "scales");
	if (!sizes || !sizes->data || sizes->dtype != IR_I64 || (size_t)ir_elements(sizes) != naxes)
		return bad_operand(g, op, sizes ? "sizes" : "scales");
	return read_sizes(g, op, r, axes, naxes, sizes->data);
}

bool resize_changes(const struct resize *r, const struct ir_value *x, unsigned axis)
{
	return r->out[axis] != x->dim[axis] || r->scale[axis] != 1 ||
	       (r->crop && (r->roi_start[axis] != 0 || r->roi_end[axis] != 1));
}

int resize_read(struct ir_graph *g, struct ir_op *op, struct resize *r)
{
	const struct ir_value *x = op->in[0];

	memset(r, 0, sizeof(*r));
	r->rank = x->rank;
	for (unsigned i = 0; i < x->rank; i++) {
		r->out[i] = x->dim[i];
		r->scale[i] = r->roi_end[i] = 1;
	}
	if (onnx_is(op, "mode", "linear", "nearest") || onnx_is(op, "mode", "bilinear", "nearest"))
		r->mode = RESIZE_LINEAR;
	else if (onnx_is(op, "mode", "cubic", "nearest"))
		r->mode = RESIZE_CUBIC;
	else if (!onnx_is(op, "mode", "nearest", "nearest"))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "mode is unknown; nearest, linear and cubic are supported");
	r->antialias = r->mode != RESIZE_NEAREST && onnx_int(op, "antialias", 0);
	r->crop = onnx_is(op, "coordinate_transformation_mode", "tf_crop_and_resize", "");
	return read_extents(g, op, r);
}

int infer_resize(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct resize r;
	(void)d;

	if (resize_read(g, op, &r))
		return -(int)g->err->code;
	for (unsigned i = 0; i < r.rank; i++)
		if (r.out[i] > MAX_EXTENT && resize_changes(&r, op->in[0], i))
			return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
					 "size %lld of axis %u is above %d", (long long)r.out[i], i,
					 MAX_EXTENT);
	return onnx_out(g, op, 0, op->in[0]->dtype, r.rank, r.out);
}

/* ---- taps ---- */

/* The coordinate in the input of output coordinate i. */
double resize_source(const struct ir_graph *g, const struct ir_op *op, const struct resize *r,
		     unsigned axis, int64_t i)
{
	static const char *const attr = "coordinate_transformation_mode";
	bool old = !strcmp(op->onnx_type, "Upsample") || onnx_opset(g) < 11;
	const char *def = old ? "asymmetric" : "half_pixel";
	double s = r->scale[axis], x = (double)i, out = (double)r->out[axis],
	       n = (double)op->in[0]->dim[axis];

	if (onnx_is(op, attr, "asymmetric", def))
		return x / s;
	if (onnx_is(op, attr, "align_corners", def)) /* by the length before it was cut to whole numbers */
		return s * n > 1 ? x * (n - 1) / (s * n - 1) : 0;
	if (onnx_is(op, attr, "pytorch_half_pixel", def) && out <= 1)
		return 0;
	if (onnx_is(op, attr, "tf_half_pixel_for_nn", def))
		return (x + 0.5) / s;
	if (onnx_is(op, attr, "half_pixel_symmetric", def))
		return n / 2 * (1 - out / (s * n)) + (x + 0.5) / s - 0.5;
	if (onnx_is(op, attr, "tf_crop_and_resize", def)) {
		double a = r->roi_start[axis], b = r->roi_end[axis];

		return out > 1 ? a * (n - 1) + x * (b - a) * (n - 1) / (out - 1)
			       : 0.5 * (a + b) * (n - 1);
	}
	return (x + 0.5) / s - 0.5;
}

double resize_nearest(const struct ir_graph *g, const struct ir_op *op, const struct resize *r,
		      unsigned axis, double x)
{
	bool old = !strcmp(op->onnx_type, "Upsample") || onnx_opset(g) < 11;
	const char *def = old ? "floor" : "round_prefer_floor";

	if (old && r->scale[axis] < 1) /* what opset 10 meant when it made things smaller */
		return ceil(x);
	if (onnx_is(op, "nearest_mode", "floor", def))
		return floor(x);
	if (onnx_is(op, "nearest_mode", "ceil", def))
		return ceil(x);
	if (onnx_is(op, "nearest_mode", "round_prefer_ceil", def))
		return floor(x + 0.5);
	return ceil(x - 0.5);
}

uint32_t resize_clamp(double x, int64_t n)
{
	return x < (double)(n - 1) ? (x > 0 ? (uint32_t)x : 0) : (uint32_t)(n - 1);
}

static struct mica_resize_tap *make_taps(const struct ir_graph *g, const struct ir_op *op,
					 const struct resize *r, unsigned axis)
{
	int64_t in = op->in[0]->dim[axis], out = r->out[axis];
	struct mica_resize_tap *t = ir_alloc((size_t)out, sizeof(*t));

	for (int64_t i = 0; i < out; i++) {
		double x = resize_source(g, op, r, axis, i), low = floor(x);

		if (!resize_changes(r, op->in[0], axis)) {
			t[i].i0 = t[i].i1 = (uint32_t)i;
		} else if (r->mode == RESIZE_LINEAR) {
			t[i].i0 = resize_clamp(low, in);
			t[i].i1 = resize_clamp(low + 1, in);
			t[i].w = (float)(x - low);
		} else {
			t[i].i0 = t[i].i1 = resize_clamp(resize_nearest(g, op, r, axis, x), in);
		}
	}
	return t;
}

static struct mica_resize_tap *one_tap(void)
{
	return ir_alloc(1, sizeof(struct mica_resize_tap));
}

/* Resizes axis[1], and axis[0] unless it is negative, which becomes the rows of [n,c,h,w]. x is of any rank. */
static struct ir_value *resize_pair(struct build *b, const struct ir_op *op, const struct resize *r,
				    struct ir_value *x, const int *axis)
{
	int perm[IR_MAX_RANK], back[IR_MAX_RANK], n = 0, rank = (int)x->rank, two = axis[0] >= 0;
	int64_t dim[IR_MAX_RANK], four[4] = { 1, 1, 1, 1 };
	struct ir_op *rs;

	for (int i = 0; i < rank; i++)
		if (i != axis[0] && i != axis[1])
			perm[n++] = i;
	if (two)
		perm[n++] = axis[0];
	perm[n] = axis[1];
	for (int i = 0; i < rank; i++) {
		back[perm[i]] = i;
		four[i == rank - 1 ? 3 : two && i == rank - 2 ? 2 : i ? 1 : 0] *= x->dim[perm[i]];
	}
	x = build_transpose(b, x, perm);
	memcpy(dim, x->dim, sizeof(dim));
	x = build_reshape(b, x, 4, four);
	dim[rank - 1] = four[3] = r->out[axis[1]];
	if (two)
		dim[rank - 2] = four[2] = r->out[axis[0]];
	rs = build_op(b, IR_RESIZE, &x, 1, 4, four);
	rs->a.resize = r->mode == RESIZE_LINEAR ? MICA_RESIZE_LINEAR : MICA_RESIZE_NEAREST;
	rs->a.taps_h = two ? make_taps(b->g, op, r, (unsigned)axis[0]) : one_tap();
	rs->a.taps_w = make_taps(b->g, op, r, (unsigned)axis[1]);
	return build_transpose(b, build_reshape(b, rs->out[0], (unsigned)rank, dim), back);
}

/* Some position of the result lies outside the operand, where the extrapolation value stands. */
static bool reaches_outside(const struct ir_op *op, const struct resize *r)
{
	for (unsigned i = 0; r->crop && i < r->rank; i++)
		if (resize_changes(r, op->in[0], i) &&
		    (r->roi_start[i] < 0 || r->roi_end[i] > 1 || r->roi_start[i] > r->roi_end[i]))
			return true;
	return false;
}

int canon_resize(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = expr_in(g, op, 0);
	int axis[2] = { -1, -1 };
	struct resize r;
	(void)d;

	if (resize_read(g, op, &r))
		return -(int)g->err->code;
	if (r.mode == RESIZE_CUBIC || r.antialias || reaches_outside(op, &r)) {
		for (unsigned i = 0; i < r.rank; i++)
			if (resize_changes(&r, x, i) && onnx_room(g, op, x->dim[i], r.out[i]))
				return -(int)g->err->code;
		build_becomes(g, op->out[0], resize_by_matrices(&b, op, &r, x));
		return 0;
	}
	for (int i = (int)r.rank; i-- > 0;) { /* two axes at a time */
		if (!resize_changes(&r, op->in[0], (unsigned)i))
			continue;
		axis[axis[1] >= 0 ? 0 : 1] = i;
		if (axis[0] < 0)
			continue;
		x = resize_pair(&b, op, &r, x, axis);
		axis[0] = axis[1] = -1;
	}
	if (axis[1] >= 0)
		x = resize_pair(&b, op, &r, x, axis);
	build_becomes(g, op->out[0], x);
	return 0;
}
