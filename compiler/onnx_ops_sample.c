// SPDX-License-Identifier: MIT
/* ONNX operators that look into images where data say: RoiAlign, GridSample, MaxUnpool; host steps. */
#include <stdlib.h>
#include <string.h>
#include "fold.h"
#include "onnx_window.h"

static struct ir_value *operand(struct ir_graph *g, struct ir_op *op, unsigned i)
{
	struct ir_value *v = ir_op_in(op, i);

	return v && v->data ? const_f32(g, v) : v;
}

static struct ir_op *host_for(struct ir_graph *g, struct ir_op *op, enum mica_host_op host, unsigned n)
{
	struct build b = build_at(g, op);
	struct ir_value *in[MICA_HOST_MAX_IN];
	const struct ir_value *y = op->out[0];

	for (unsigned i = 0; i < n; i++)
		in[i] = operand(g, op, i);
	return build_host(&b, host, in, n, y->rank, y->dim);
}

/* Which of the names attribute `name` has, or -code. */
static int choice(struct ir_graph *g, struct ir_op *op, const char *name, const char *const *names, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (onnx_is(op, name, names[i], names[0]))
			return (int)i;
	return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "unknown %s; check the model", name);
}

/* ---- RoiAlign ---- */

static int infer_roi_align(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *rois = op->in[1];
	int64_t dim[4] = { 0, 0, onnx_int(op, "output_height", 1), onnx_int(op, "output_width", 1) };
	(void)d;

	if (x->rank != 4 || rois->rank != 2 || rois->dim[1] != 4 || ir_elements(op->in[2]) != rois->dim[0] || dim[2] < 1 || dim[3] < 1)
		return onnx_fail(g, op, MICA_ERR_SHAPE, "X [n,c,h,w], rois [k,4] and batch_indices [k] do not fit; check the model");
	dim[0] = rois->dim[0];
	dim[1] = x->dim[1];
	return onnx_out(g, op, 0, x->dtype, 4, dim);
}

static int canon_roi_align(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	static const char *const modes[] = { "avg", "max" };
	static const char *const shifts[] = { "half_pixel", "output_half_pixel" };
	int mode = choice(g, op, "mode", modes, 2), shift = choice(g, op, "coordinate_transformation_mode", shifts, 2);
	int64_t samples = onnx_int(op, "sampling_ratio", 0);
	struct ir_op *h;
	(void)d;

	if (mode < 0 || shift < 0)
		return -(int)g->err->code;
	if (samples < 0 || samples > 1024)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "sampling_ratio %lld: 0 to 1024 are supported", (long long)samples);
	h = host_for(g, op, MICA_HOST_ROI_ALIGN, 3);
	h->a.host_int[0] = mode;
	h->a.host_int[1] = samples;
	h->a.host_int[2] = !shift && onnx_opset(g) >= 16;
	h->a.host_float[0] = onnx_float(op, "spatial_scale", 1);
	build_becomes(g, op->out[0], h->out[0]);
	return 0;
}

/* ---- GridSample ---- */

static int infer_grid_sample(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *grid = op->in[1];
	int64_t dim[IR_MAX_RANK];
	(void)d;

	if (x->rank < 4 || x->rank > 5 || grid->rank != x->rank || grid->dim[0] != x->dim[0] || grid->dim[x->rank - 1] != (int64_t)x->rank - 2)
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "X [n,c,h,w] and grid [n,oh,ow,2], or both with depth, are supported; check the model");
	dim[0] = x->dim[0];
	dim[1] = x->dim[1];
	for (unsigned i = 2; i < x->rank; i++)
		dim[i] = grid->dim[i - 1];
	return onnx_out(g, op, 0, x->dtype, x->rank, dim);
}

static int canon_grid_sample(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	static const char *const old_modes[] = { "bilinear", "nearest", "bicubic" }, *const modes[] = { "linear", "nearest", "cubic" };
	static const char *const borders[] = { "zeros", "border", "reflection" };
	int mode = choice(g, op, "mode", onnx_opset(g) < 20 ? old_modes : modes, 3), border = choice(g, op, "padding_mode", borders, 3);
	struct ir_op *h;
	(void)d;

	if (mode < 0 || border < 0)
		return -(int)g->err->code;
	if (mode == MICA_HOST_CUBIC && op->in[0]->rank != 4)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "cubic sampling of volumes is not supported; use linear");
	h = host_for(g, op, MICA_HOST_GRID_SAMPLE, 2);
	h->a.host_int[0] = mode;
	h->a.host_int[1] = border;
	h->a.host_int[2] = onnx_int(op, "align_corners", 0) != 0;
	build_becomes(g, op->out[0], h->out[0]);
	return 0;
}

/* ---- MaxUnpool ---- */

/* Spatial extents that the pool in front of it had, by its attributes. */
static int unpooled(struct ir_graph *g, struct ir_op *op, int64_t *dim)
{
	const struct ir_value *x = op->in[0];
	unsigned n = x->rank < 3 ? 0 : x->rank - 2;
	int k[3], stride[3], pad[6];

	if (n < 1 || n > 3 || !ir_same_dims(x, op->in[1]))
		return onnx_fail(g, op, MICA_ERR_SHAPE, "X has %u dimensions, or I another shape; check the model", x->rank);
	if (onnx_int_list(g, op, "kernel_shape", k, n, 1, 1, 65535) || onnx_int_list(g, op, "strides", stride, n, 1, 1, 65535) ||
	    onnx_int_list(g, op, "pads", pad, 2 * n, 0, 0, 65535))
		return -(int)g->err->code;
	for (unsigned i = 0; i < n; i++) {
		dim[i] = (x->dim[i + 2] - 1) * stride[i] + k[i] - pad[i] - pad[n + i];
		if (dim[i] < 1)
			return onnx_fail(g, op, MICA_ERR_SHAPE, "pads leave nothing of axis %u; check the model", i + 2);
	}
	return 0;
}

static int infer_max_unpool(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[IR_MAX_RANK] = { x->rank > 1 ? x->dim[0] : 0, x->rank > 1 ? x->dim[1] : 0 }, *list = NULL;
	bool ok = true;
	size_t n = 0;
	(void)d;

	if (unpooled(g, op, dim + 2))
		return -(int)g->err->code;
	if (op->ins > 2 && onnx_list(g, op, "output_shape", 2, &list, &n))
		return -(int)g->err->code;
	for (unsigned i = 0; i < x->rank && list && ok; i++) {
		ok = n == x->rank && (i < 2 ? list[i] == dim[i] : list[i] >= dim[i]);
		dim[i] = ok ? list[i] : 0;
	}
	free(list);
	if (!ok)
		return onnx_fail(g, op, MICA_ERR_SHAPE, "output_shape is smaller than what the operand came from; check the model");
	return onnx_out(g, op, 0, x->dtype, x->rank, dim);
}

static int canon_max_unpool(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct ir_op *h = host_for(g, op, MICA_HOST_MAX_UNPOOL, 2);
	(void)d;

	if (unpooled(g, op, h->a.host_int))
		return -(int)g->err->code;
	build_becomes(g, op->out[0], h->out[0]);
	return 0;
}

const struct onnx_def onnx_sample_ops[] = {
	{ "RoiAlign", 0, 3, 3, infer_roi_align, NULL, canon_roi_align },
	{ "GridSample", 0, 2, 2, infer_grid_sample, NULL, canon_grid_sample },
	{ "MaxUnpool", 0, 2, 3, infer_max_unpool, NULL, canon_max_unpool },
	{ 0 },
};
