// SPDX-License-Identifier: MIT
/* Kernel, stride, dilation, padding and output size of convolutions and pools, from ONNX attributes. */
#include <string.h>
#include "onnx_window.h"

#define MAX_KERNEL 65535
#define MAX_STRIDE 1024
#define MAX_PAD	   32767

static int read_common(struct ir_graph *g, struct ir_op *op, const struct ir_value *x,
		       const int64_t *kernel, struct window *w)
{
	int list[3];
	unsigned s;

	memset(w, 0, sizeof(*w));
	if (x->rank < 3 || x->rank > 5)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "operand has %u dimensions; windows of 1 to 3 ([N,C,L] to "
				 "[N,C,D,H,W]) are supported",
				 x->rank);
	s = w->spatial = x->rank - 2;
	for (unsigned i = 0; i < 3; i++)
		w->in[i] = w->out[i] = w->k[i] = w->stride[i] = w->dil[i] = 1;
	for (unsigned i = 0; i < s; i++)
		w->in[3 - s + i] = x->dim[2 + i];
	if (!kernel) {
		const int64_t *list;

		if (onnx_ints(op, "kernel_shape", &list) != s)
			return onnx_fail(
				g, op, MICA_ERR_SHAPE,
				"attribute kernel_shape must have %u entries; check the model", s);
		if (onnx_int_list(g, op, "kernel_shape", w->k + 3 - s, s, 1, 1, MAX_KERNEL))
			return -(int)g->err->code;
	}
	for (unsigned i = 0; kernel && i < s; i++) {
		if (kernel[i] < 1 || kernel[i] > MAX_STRIDE)
			return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
					 "kernel extent %lld is outside 1..%d",
					 (long long)kernel[i], MAX_STRIDE);
		w->k[3 - s + i] = (int)kernel[i];
	}
	if (onnx_int_list(g, op, "strides", list, s, 1, 1, MAX_STRIDE))
		return -(int)g->err->code;
	memcpy(w->stride + 3 - s, list, s * sizeof(int));
	if (onnx_int_list(g, op, "dilations", list, s, 1, 1, MAX_STRIDE))
		return -(int)g->err->code;
	memcpy(w->dil + 3 - s, list, s * sizeof(int));
	return 0;
}

static int read_pads(struct ir_graph *g, struct ir_op *op, struct window *w)
{
	unsigned s = w->spatial;
	int pads[6];

	if (onnx_int_list(g, op, "pads", pads, 2 * s, 0, 0, MAX_PAD))
		return -(int)g->err->code;
	for (unsigned i = 0; i < s; i++) {
		w->lo[3 - s + i] = pads[i];
		w->hi[3 - s + i] = pads[s + i];
	}
	return 0;
}

static int64_t reach(const struct window *w, unsigned i)
{
	return (int64_t)(w->k[i] - 1) * w->dil[i] + 1;
}

/* Splits a total over both ends; the odd one goes behind, or in front for SAME_LOWER. */
static int split_pad(struct ir_graph *g, struct ir_op *op, struct window *w, unsigned i,
		     int64_t total, bool more_in_front)
{
	int64_t half = total / 2;

	if (total > 2 * MAX_PAD)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "padding of %lld is too large",
				 (long long)total);
	w->lo[i] = (int)(more_in_front ? total - half : half);
	w->hi[i] = (int)(more_in_front ? half : total - half);
	return 0;
}

int window_read(struct ir_graph *g, struct ir_op *op, const struct ir_value *x,
		const int64_t *kernel, struct window *w)
{
	bool lower = onnx_is(op, "auto_pad", "SAME_LOWER", "NOTSET"),
	     upper = onnx_is(op, "auto_pad", "SAME_UPPER", "NOTSET");
	bool valid = onnx_is(op, "auto_pad", "VALID", "NOTSET"),
	     ceil_mode = onnx_int(op, "ceil_mode", 0) != 0;

	if (read_common(g, op, x, kernel, w))
		return -(int)g->err->code;
	if (!lower && !upper && !valid && read_pads(g, op, w))
		return -(int)g->err->code;
	for (unsigned i = 3 - w->spatial; i < 3; i++) {
		int64_t room;

		if (lower || upper) {
			int64_t out = (w->in[i] + w->stride[i] - 1) / w->stride[i];
			int64_t total = (out - 1) * w->stride[i] + reach(w, i) - w->in[i];

			if (split_pad(g, op, w, i, total > 0 ? total : 0, lower))
				return -(int)g->err->code;
		}
		room = w->in[i] + w->lo[i] + w->hi[i] - reach(w, i);
		if (room < 0)
			return onnx_fail(g, op, MICA_ERR_SHAPE,
					 "window of %lld does not fit the padded input of %lld; "
					 "pass a larger --shape",
					 (long long)reach(w, i), (long long)(room + reach(w, i)));
		w->out[i] = (room + (ceil_mode ? w->stride[i] - 1 : 0)) / w->stride[i] + 1;
		if (ceil_mode && (w->out[i] - 1) * w->stride[i] >= w->in[i] + w->lo[i])
			w->out[i]--; /* a window must not start in the padding behind */
	}
	return 0;
}

int window_read_transposed(struct ir_graph *g, struct ir_op *op, const struct ir_value *x,
			   const int64_t *kernel, struct window *w)
{
	bool lower = onnx_is(op, "auto_pad", "SAME_LOWER", "NOTSET"),
	     upper = onnx_is(op, "auto_pad", "SAME_UPPER", "NOTSET");
	const int64_t *shape;
	size_t shapes = onnx_ints(op, "output_shape", &shape);
	int extra[3];

	if (read_common(g, op, x, kernel, w))
		return -(int)g->err->code;
	if (!lower && !upper && !onnx_is(op, "auto_pad", "VALID", "NOTSET") && read_pads(g, op, w))
		return -(int)g->err->code;
	if (onnx_int_list(g, op, "output_padding", extra, w->spatial, 0, 0, MAX_STRIDE))
		return -(int)g->err->code;
	if (shapes && shapes != w->spatial && shapes != w->spatial + 2)
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "attribute output_shape must have %u entries; check the model",
				 w->spatial);
	for (unsigned i = 3 - w->spatial; i < 3; i++) {
		int64_t full =
			(w->in[i] - 1) * w->stride[i] + reach(w, i) + extra[i - (3 - w->spatial)];
		int64_t want = shapes ? shape[shapes - 3 + i] : w->in[i] * w->stride[i];

		if (shapes && (want < 1 || want > INT32_MAX))
			return onnx_fail(g, op, MICA_ERR_SHAPE,
					 "output_shape holds %lld; check the model",
					 (long long)want);
		if ((shapes || lower || upper) &&
		    split_pad(g, op, w, i, full > want ? full - want : 0, !upper))
			return -(int)g->err->code;
		w->out[i] = shapes || lower || upper ? want : full - w->lo[i] - w->hi[i];
		if (w->out[i] < 1)
			return onnx_fail(g, op, MICA_ERR_SHAPE,
					 "padding removes the whole result; check the model");
	}
	return 0;
}

void window_to_attr(const struct window *w, struct ir_attr *a)
{
	a->kh = w->k[1];
	a->kw = w->k[2];
	a->stride_h = w->stride[1];
	a->stride_w = w->stride[2];
	a->dil_h = w->dil[1];
	a->dil_w = w->dil[2];
	a->pad_top = w->lo[1];
	a->pad_left = w->lo[2];
	a->pad_bottom = w->hi[1];
	a->pad_right = w->hi[2];
	a->groups = 1;
}

int window_out(struct ir_graph *g, struct ir_op *op, const struct window *w, int dtype, int64_t n,
	       int64_t c)
{
	int64_t dim[5] = { n, c };

	for (unsigned i = 0; i < w->spatial; i++)
		dim[2 + i] = w->out[3 - w->spatial + i];
	return onnx_out(g, op, 0, dtype, w->spatial + 2, dim);
}

struct ir_value *window_lift(struct build *b, struct ir_value *x)
{
	int64_t dim[4] = { x->dim[0], x->dim[1], 1, x->dim[2] };

	if (x->rank == 4 || x->rank < 2 || x->ch_scale)
		return x;
	if (x->rank == 2)
		dim[3] = 1;
	return build_reshape(b, x, 4, dim);
}
