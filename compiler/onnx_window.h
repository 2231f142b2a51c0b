/* SPDX-License-Identifier: MIT */
/* The geometry of convolutions and pools, and of resizing. One spatial dimension counts as a height of 1. */
#ifndef MICA_ONNX_WINDOW_H
#define MICA_ONNX_WINDOW_H

#include "onnx.h"

struct window {
	unsigned spatial;		/* dimensions behind N and C: 1 or 2 */
	int k[2], stride[2], dil[2];
	int lo[2], hi[2];		/* padding in front and behind */
	int64_t in[2], out[2];
};
/* From attributes and x's shape; kernel: extents of the weights, or NULL for attribute kernel_shape. */
int window_read(struct ir_graph *g, struct ir_op *op, const struct ir_value *x, const int64_t *kernel, struct window *w);
int window_read_transposed(struct ir_graph *g, struct ir_op *op, const struct ir_value *x, const int64_t *kernel, struct window *w);
void window_to_attr(const struct window *w, struct ir_attr *a);
/* N, C and the window's outputs as the operator's result, in its own rank. */
int window_out(struct ir_graph *g, struct ir_op *op, const struct window *w, int dtype, int64_t n, int64_t c);
/* x as [n,c,h,w] */
struct ir_value *window_lift(struct build *b, struct ir_value *x);

/* Resize and Upsample (onnx_resize.c) */
int infer_resize(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d);
int canon_resize(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d);

#endif /* MICA_ONNX_WINDOW_H */
