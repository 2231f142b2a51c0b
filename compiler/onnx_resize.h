/* SPDX-License-Identifier: MIT */
/* Resize and Upsample: what their attributes and operands say. Used by the two ways to compute them. */
#ifndef MICA_ONNX_RESIZE_H
#define MICA_ONNX_RESIZE_H

#include "expr.h"
#include "onnx_window.h"

#define MAX_EXTENT 65535

enum resize_mode { RESIZE_NEAREST, RESIZE_LINEAR, RESIZE_CUBIC };
struct resize {			/* per axis of x */
	unsigned rank;
	int64_t out[IR_MAX_RANK];
	double scale[IR_MAX_RANK];
	double roi_start[IR_MAX_RANK], roi_end[IR_MAX_RANK];
	enum resize_mode mode;
	bool antialias, crop;	/* crop: tf_crop_and_resize */
};
int resize_read(struct ir_graph *g, struct ir_op *op, struct resize *r);
bool resize_changes(const struct resize *r, const struct ir_value *x, unsigned axis);
/* The coordinate in the operand of position i of the result, and the source next to it. */
double resize_source(const struct ir_graph *g, const struct ir_op *op, const struct resize *r, unsigned axis, int64_t i);
double resize_nearest(const struct ir_graph *g, const struct ir_op *op, const struct resize *r, unsigned axis, double x);
uint32_t resize_clamp(double x, int64_t n);

/* onnx_resize_matrix.c: each axis is multiplied by a constant matrix; for cubic, antialias and extrapolation. */
struct ir_value *resize_by_matrices(struct build *b, const struct ir_op *op, const struct resize *r, struct ir_value *x);

#endif /* MICA_ONNX_RESIZE_H */
