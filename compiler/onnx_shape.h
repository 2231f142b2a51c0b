/* SPDX-License-Identifier: MIT */
/* What operators that move data do, worked out once for shape inference, folding and the canonical form. */
#ifndef MICA_ONNX_SHAPE_H
#define MICA_ONNX_SHAPE_H

#include "onnx.h"

struct slice_spec { int64_t start[IR_MAX_RANK], step[IR_MAX_RANK], dim[IR_MAX_RANK]; };
int slice_read(struct ir_graph *g, struct ir_op *op, struct slice_spec *s);
/* Extents of the parts along *axis: op->outs of them, malloc'ed. */
int split_read(struct ir_graph *g, struct ir_op *op, unsigned *axis, int64_t **parts);
int concat_axis(struct ir_graph *g, struct ir_op *op);
int transpose_read(struct ir_graph *g, struct ir_op *op, int *perm);

#endif /* MICA_ONNX_SHAPE_H */
