/* SPDX-License-Identifier: MIT */
/* The geometry of convolutions and pools, and of resizing. Dimensions that are missing count as an extent of 1 in front. */
#ifndef MICA_ONNX_WINDOW_H
#define MICA_ONNX_WINDOW_H

#include "onnx.h"

struct window {
	unsigned spatial;		/* dimensions behind N and C: 1 to 3 */
	int k[3], stride[3], dil[3];	/* depth, height, width */
	int lo[3], hi[3];		/* padding in front and behind */
	int64_t in[3], out[3];
};
/* From attributes and x's shape; kernel: extents of the weights, or NULL for attribute kernel_shape. */
int window_read(struct ir_graph *g, struct ir_op *op, const struct ir_value *x, const int64_t *kernel, struct window *w);
int window_read_transposed(struct ir_graph *g, struct ir_op *op, const struct ir_value *x, const int64_t *kernel, struct window *w);
void window_to_attr(const struct window *w, struct ir_attr *a);
/* N, C and the window's outputs as the operator's result, in its own rank. */
int window_out(struct ir_graph *g, struct ir_op *op, const struct window *w, int dtype, int64_t n, int64_t c);
/* x as [n,c,h,w] */
struct ir_value *window_lift(struct build *b, struct ir_value *x);

/* Convolution of x with weights and a bias or NULL, by op's attributes, in x's rank. NULL: refused. */
int infer_conv_of(struct ir_graph *g, struct ir_op *op, const struct ir_value *x, const struct ir_value *w, const struct ir_value *bias);
struct ir_value *build_conv_of(struct build *b, struct ir_op *op, struct ir_value *x, struct ir_value *w, struct ir_value *bias);
int canon_constant(struct ir_graph *g, struct ir_op *op, unsigned i, const char *what);
/* A pool of any rank that op's attributes describe; the window is that of window_read(). */
struct ir_value *build_pool_of(struct build *b, struct ir_op *op, struct ir_value *x, const struct window *w, enum mica_pool pool);
/* Convolutions with a depth (onnx_window3.c): its taps become channels, its positions a batch. */
struct ir_value *window3_x(struct build *b, struct ir_value *x, const struct window *w, int64_t groups);
struct ir_value *window3_weights(struct build *b, struct ir_value *w);
struct ir_value *window3_y(struct build *b, struct ir_value *y, int64_t batch);
struct ir_value *window3_pool(struct build *b, struct ir_value *x, const struct window *w, enum mica_pool pool);
struct ir_value *window3_convt(struct build *b, struct ir_value *x, struct ir_value *w, struct ir_value *bias,
			       const struct window *win, int groups);
/* The same with weights or a bias that are computed at run time (onnx_columns.c). NULL: refused. */
struct ir_value *build_conv_computed(struct build *b, struct ir_op *op, struct ir_value *x, struct ir_value *w, struct ir_value *bias);
struct ir_value *build_convt_computed(struct build *b, struct ir_op *op, struct ir_value *x, struct ir_value *w, struct ir_value *bias);
/* Columns [n, channels * taps, windows] added up where their windows lie in the image. */
struct ir_value *build_fold(struct build *b, struct ir_value *x, int64_t channels, const struct window *win);

/* Resize and Upsample (onnx_resize.c) */
int infer_resize(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d);
int canon_resize(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d);

#endif /* MICA_ONNX_WINDOW_H */
