/* SPDX-License-Identifier: MIT */
/* Evaluation of ONNX operators on constants, for shape arithmetic and for what an exporter left unfolded. */
#ifndef MICA_FOLD_H
#define MICA_FOLD_H

#include "onnx.h"

/* Turns output i into a constant (contents zero) of its inferred type and shape. NULL: too large to fold. */
void *fold_out(struct ir_graph *g, struct ir_op *op, unsigned i);
/* Evaluates op when all its operands are constants, or when it only asks for shapes, and removes it. 1: op stays. */
int fold_op(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d);

#define FOLD(name) int name(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
/* fold_elementwise.c */
FOLD(fold_unary);
FOLD(fold_binary);	/* and variadic */
FOLD(fold_where);
FOLD(fold_bits);	/* d->code: one of these */
enum { FOLD_SHIFT, FOLD_AND, FOLD_OR, FOLD_XOR, FOLD_NOT };
FOLD(fold_cast);
FOLD(fold_copy);	/* same elements, new shape */
FOLD(fold_eye);		/* onnx_ops_select.c */
/* fold_move.c */
FOLD(fold_shape);
FOLD(fold_size);
FOLD(fold_fill);	/* ConstantOfShape */
FOLD(fold_range);
FOLD(fold_nonzero);
FOLD(fold_gather);
FOLD(fold_concat);
FOLD(fold_split);
FOLD(fold_slice);
FOLD(fold_transpose);
FOLD(fold_expand);
FOLD(fold_tile);
FOLD(fold_reduce);

#endif /* MICA_FOLD_H */
