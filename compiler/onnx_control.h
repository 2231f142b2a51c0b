/* SPDX-License-Identifier: MIT */
/* If, Loop and Scan: their subgraphs become part of the graph while shapes are inferred, as far as constants decide how. */
#ifndef MICA_ONNX_CONTROL_H
#define MICA_ONNX_CONTROL_H

#include "onnx.h"

#define ONNX_MAX_OUT		64
#define ONNX_MAX_INLINED	100000	/* nodes, all together */
#define ONNX_MAX_TRIPS		1024	/* of one loop */

/*
 * Names that the subgraphs of n read from outside, each once; *count of them, malloc'ed. An operator with subgraphs has
 * these values as operands behind its own.
 */
const char **onnx_captures(const Onnx__NodeProto *n, unsigned *count);
/* Copies a subgraph of operator `at` in front of it: in[] are the values of p's inputs, out[] receives those of its outputs. */
int onnx_inline(struct ir_graph *g, struct ir_op *at, const Onnx__GraphProto *p, struct ir_value *const *in, struct ir_value **out);
/* The same of a function: at's operands are its inputs, absent ones too; out[i] may be NULL. */
int onnx_inline_function(struct ir_graph *g, struct ir_op *at, const Onnx__FunctionProto *f, int opset, struct ir_value **out);

bool onnx_is_control(const struct ir_op *op);
/*
 * Replaces op by what it stands for, or by one step of it; *next is the operator with which inference goes on. 0 or -code.
 */
int onnx_control(struct ir_graph *g, struct ir_op *op, struct ir_op **next);
/* A new operator of ONNX's kind with one result and the name of `like`. */
struct ir_op *onnx_control_op(struct ir_graph *g, const char *type, const struct ir_op *like, struct ir_op *before, struct ir_value *const *in,
			      unsigned ins);
#define ONNX_OWN "mica:" /* begins the names of what control flow and sequences become; no file has them */
#define ONNX_STACK ONNX_OWN "Stack"		/* operands of one shape along a new axis a.axis */

/* ---- onnx_function.c: functions that the model brings along ---- */
const Onnx__FunctionProto *onnx_function_find(const struct ir_graph *g, const char *domain, const char *type);
bool onnx_is_call(const struct ir_graph *g, const struct ir_op *op);
int onnx_call(struct ir_graph *g, struct ir_op *op, struct ir_op **next);

/* ---- onnx_sequence.c: sequences and optionals, in the same way ---- */
bool onnx_is_sequence(const struct ir_op *op);
int onnx_sequence(struct ir_graph *g, struct ir_op *op, struct ir_op **next);
int onnx_sequence_outputs(struct ir_graph *g);	/* behind the last operator */

#endif /* MICA_ONNX_CONTROL_H */
