/* SPDX-License-Identifier: MIT */
/*
 * ONNX inside the compiler: the parsed file, attributes of imported nodes, and the table of operators. A new operator is
 * one row in one of the onnx_ops_*.c tables: how its shapes follow, how it folds, what it becomes.
 */
#ifndef MICA_ONNX_H
#define MICA_ONNX_H

#include "front.h"
#include "onnx.pb-c.h"

#define ONNX_OPSET_MAX	26	/* newer files are tried with the meaning of this one; below 7 what changed is refused */

/* ONNX's element types, which onnx.proto of older releases doesn't name. */
enum onnx_type {
	ONNX_F32 = 1, ONNX_U8 = 2, ONNX_I8 = 3, ONNX_U16 = 4, ONNX_I16 = 5, ONNX_I32 = 6, ONNX_I64 = 7,
	ONNX_STRING = 8, ONNX_BOOL = 9, ONNX_F16 = 10, ONNX_F64 = 11, ONNX_U32 = 12, ONNX_U64 = 13,
	ONNX_BF16 = 16, ONNX_E4M3 = 17, ONNX_E4M3FNUZ = 18, ONNX_E5M2 = 19, ONNX_E5M2FNUZ = 20, ONNX_U4 = 21, ONNX_I4 = 22,
	ONNX_E2M1 = 23, ONNX_E8M0 = 24, ONNX_U2 = 25, ONNX_I2 = 26,
};

/* Lives as long as there are IR_ONNX operators (ir_graph.import). */
struct onnx_import {
	Onnx__ModelProto *model;
	int64_t opset;		/* of the operator at hand: see onnx_enter() */
	int64_t model_opset;
	Onnx__FunctionProto **copies;	/* of functions, with the attributes of a call */
	unsigned copy_count, copy_cap;
	bool rounds_half;	/* a Cast to float16 at run time rounds: the model is compiled in f32 */
	struct int_facts *facts;	/* onnx_integer.c: by a value's id */
	unsigned fact_count;
	size_t inlined;		/* nodes of subgraphs so far, to bound hostile files */
	char *dir;		/* of the model file: where external data may lie */
	char *undecided;	/* name of the first If of which both branches are computed, and of the input that decides; may be NULL */
	const char *decider;
};
int64_t onnx_opset(const struct ir_graph *g);
void onnx_enter(struct ir_graph *g, const struct ir_op *op);	/* from now on onnx_opset() is op's */
char *onnx_type_of(const Onnx__NodeProto *n);	/* "Conv", or with its domain "com.microsoft.Gelu"; to be freed */

void onnx_import_free(void *import);
/* What can be said of a node by itself: it has a type, a domain that we know, no absurd number of operands. 0 or -code. */
int onnx_check_node(struct ir_graph *g, const Onnx__NodeProto *n);
/* The value of a Constant node, called `name` (NULL: generated), or NULL with g->err filled. */
struct ir_value *onnx_constant(struct ir_graph *g, const Onnx__NodeProto *n, const char *name);
char *onnx_dir_of(const char *path);	/* to be freed */

/* ---- onnx_data.c: one TensorProto (.pb), or NULL with err filled; freed by onnx__tensor_proto__free_unpacked ---- */
Onnx__TensorProto *onnx_tensor_file(const char *path, struct mica_err *err);

/* ---- onnx_file.c: bytes to a parsed model, however broken they are ---- */
uint8_t *onnx_slurp(const char *path, const char *what, size_t *size, struct mica_err *err);	/* malloc'ed; what: "an .onnx file" */
Onnx__ModelProto *onnx_file_read(const char *path, struct mica_err *err);

/* ---- onnx_inputs.c: graph inputs that are no initializers ---- */
int onnx_import_inputs(struct ir_graph *g, const Onnx__GraphProto *p, const struct mica_compile_options *o);

/* An input given as numbers, "16000" or "1,2,3": whether that is what the text is, and its value, or NULL with g->err filled. */
bool onnx_is_numbers(const char *text);
struct ir_value *onnx_input_numbers(struct ir_graph *g, const Onnx__GraphProto *p, const struct mica_compile_options *o,
				    const Onnx__ValueInfoProto *in, const char *text);

/* ---- onnx_tensor.c ---- */
/*
 * The IR's type for an ONNX type: floats wider than 8 bits are f32, integers other than i8 and u8 are i64, 4-bit ones
 * i8 and u8, as are those of 2 bits. MICA_NONE: not supported.
 */
int onnx_dtype(int onnx_type);
const char *onnx_type_name(int onnx_type);
/* A constant with the tensor's contents, or NULL with g->err filled. `where` names the node or initializer. */
struct ir_value *onnx_tensor(struct ir_graph *g, const Onnx__TensorProto *t, const char *name, const char *where);

/* ---- onnx_attr.c: attributes; absent ones give the default ---- */
const Onnx__AttributeProto *onnx_attr(const struct ir_op *op, const char *name);
int64_t onnx_int(const struct ir_op *op, const char *name, int64_t def);
float onnx_float(const struct ir_op *op, const char *name, float def);
bool onnx_is(const struct ir_op *op, const char *name, const char *want, const char *def);
size_t onnx_ints(const struct ir_op *op, const char *name, const int64_t **list);	/* 0: absent or empty */
/* n ints into dst, `def` everywhere when absent. 0 or -code when their number or range is wrong. */
int onnx_int_list(struct ir_graph *g, struct ir_op *op, const char *name, int *dst, unsigned n, int def, int lo, int hi);
/*
 * A list of integers that is attribute `name` or, in newer opsets, constant input `in`. *list is malloc'ed, NULL when
 * both are absent. 0 or -code.
 */
int onnx_list(struct ir_graph *g, struct ir_op *op, const char *name, unsigned in, int64_t **list, size_t *n);
/* The same from operand v alone. */
int onnx_const_list(struct ir_graph *g, struct ir_op *op, const char *name, const struct ir_value *v, int64_t **list, size_t *n);
/* The same for one float; *have tells whether there was one. */
int onnx_scalar(struct ir_graph *g, struct ir_op *op, const char *name, unsigned in, float *value, bool *have);
/* Axis within -rank..rank-1 to 0..rank-1, or -code. */
int onnx_axis(struct ir_graph *g, struct ir_op *op, int64_t axis, unsigned rank);

/* "model: node 'x' (Type): ..." */
int onnx_fail(struct ir_graph *g, const struct ir_op *op, enum mica_err_code code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Whether the compiler may make a constant of a x b numbers for op, a matrix of a transform for example; counts it. 0 or -code. */
int onnx_room(struct ir_graph *g, const struct ir_op *op, int64_t a, int64_t b);

/* ---- the operators ---- */
struct onnx_def {
	const char *type;
	int code;			/* of the family: MICA_FN_*, MICA_BIN_*, MICA_RED_* */
	unsigned min_in, max_in;	/* operands; max_in 0: any number */
	/* Fills dtype, rank and dim of the outputs (onnx_out()). All operands are known. */
	int (*infer)(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d);
	/* All operands are constants: 0 and the outputs are constants, 1 when it doesn't fold, -code. NULL: never */
	int (*fold)(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d);
	/* The same operator in IR kinds, built in front of op; result(s) by onnx_becomes(). NULL: only folds */
	int (*canon)(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d);
};
extern const struct onnx_def onnx_elementwise_ops[], onnx_window_ops[], onnx_matrix_ops[], onnx_shape_ops[],
	onnx_move_ops[], onnx_quant_ops[], onnx_math_ops[], onnx_select_ops[], onnx_loss_ops[], onnx_rnn_ops[],
	onnx_einsum_ops[], onnx_qlinear_ops[], onnx_signal_ops[], onnx_spatial_ops[], onnx_index_ops[], onnx_sample_ops[],
	onnx_control_ops[], onnx_column_ops[], onnx_fused_ops[], onnx_attention_ops[], onnx_ms_quant_ops[], onnx_cache_ops[];	/* end with type NULL */
const struct onnx_def *onnx_find(const char *type);

/* Sets an output's type and shape; checks the sizes. 0 or -code. Absent outputs are fine. */
int onnx_out(struct ir_graph *g, struct ir_op *op, unsigned i, int dtype, unsigned rank, const int64_t *dim);
int onnx_broadcast(struct ir_graph *g, struct ir_op *op, int dtype);	/* all operands, numpy rules */

#endif /* MICA_ONNX_H */
