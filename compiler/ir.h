/* SPDX-License-Identifier: MIT */
/*
 * The compiler's intermediate representation: a graph of operators over SSA values with def-use chains.
 *
 * Two dialects share these structs. After import the graph is in ONNX's meaning (NCHW). From pass `layout` on it is the
 * device dialect, which the backend (lower, schedule, plan, emit) accepts: see "device dialect" below.
 * Everything is owned by the graph and freed with it. Not thread safe.
 */
#ifndef MICA_IR_H
#define MICA_IR_H

#include <stdint.h>
#include <stdio.h>
#include "compiler.h"
#include "host.h"

#define IR_MAX_RANK 8

/* Types of values: enum mica_dtype, and these that must be folded away before the backend. */
enum ir_dtype_ext { IR_I64 = 32, IR_F64 = 33, IR_BOOL = 34, IR_F16 = 35, IR_I16 = 36, IR_U16 = 37, IR_U32 = 38, IR_U64 = 39, IR_STRING = 40,
	IR_SEQUENCE = 41 /* onnx_sequence.c: gone after shape inference */ };

#define IR_KINDS(K) \
	K(ONNX, onnx)			/* an operator as imported, not yet rewritten; `onnx` names it. Gone after `canonicalize` */ \
	K(CONV, conv) K(MATMUL, matmul) K(BINARY, binary) K(WHERE, where) K(UNARY, unary) K(LUT, lut) K(POOL, pool) \
	K(RESIZE, resize) K(REDUCE, reduce) K(SOFTMAX, softmax) K(NORM, norm) K(CONCAT, concat) K(SLICE, slice) \
	K(TRANSPOSE, transpose) K(RESHAPE, reshape) K(PAD, pad) K(EXPAND, expand) K(BATCHNORM, batchnorm) K(CONVT, convt) \
	K(HOST, host)			/* runs in libmica between two jobs: mica/host.def */
enum ir_kind {
#define K(UP, low) IR_##UP,
	IR_KINDS(K)
#undef K
	IR_KIND_COUNT
};

struct ir_op;

struct ir_value {
	unsigned id;			/* unique in the graph, never reused */
	char *name;			/* ONNX name, or derived; unique */
	unsigned rank;
	int64_t dim[IR_MAX_RANK];	/* all known and > 0 from shape inference on */
	int dtype;			/* enum mica_dtype or ir_dtype_ext */
	int elem;			/* ONNX's element type where the importer knows it (integers of one width share a dtype), else 0 */

	/* Quantization. value = (code - zero) * scale. ch_scale: per channel of axis 0 (weights only), then scale is 1. */
	float scale;
	int zero;
	float *ch_scale;
	int ch_axis;			/* the axis of ch_scale: 0 from `layout` on */

	/* Calibration result: what |x| is clipped to, and the range seen. Valid when calibrated. */
	bool calibrated;
	float threshold, min, max;

	void *data;			/* constant: dense codes in dim order; else NULL */
	unsigned *holders;		/* of data, when graphs share it (ir_graph_share): then nobody writes it */
	bool is_input, is_output;
	bool exact;			/* an input of integers: no format but f32 may hold it */
	struct ir_op *def;		/* NULL for inputs and constants */
	struct ir_op **use;		/* one entry per operand slot that reads it (an op may stand twice) */
	unsigned uses, use_cap;
	void *scratch;			/* of the running pass */
};

#define IR_MAX_IN 8
struct ir_attr {
	/* CONV, CONVT, POOL */
	int kh, kw, stride_h, stride_w, dil_h, dil_w;
	int pad_top, pad_left, pad_bottom, pad_right;
	int groups;
	/* fused activation of CONV, MATMUL, BINARY, WHERE; function of UNARY */
	enum mica_act act;
	enum mica_fn fn;
	enum mica_bin bin;
	float alpha, beta;
	enum mica_pool pool;
	enum mica_red red;
	unsigned axes;			/* REDUCE: bit i = axis i (dims are kept, extent 1) */
	int axis;			/* CONCAT */
	bool extra;			/* one more slice of an operator: not counted where distances in steps matter */
	bool gather;			/* CONCAT of a value's slices: they are written where they belong, however long ago */
	int perm[IR_MAX_RANK];		/* TRANSPOSE: out.dim[i] = in.dim[perm[i]] */
	int64_t start[IR_MAX_RANK];	/* SLICE; PAD: elements in front */
	int64_t step[IR_MAX_RANK];	/* SLICE: > 0 or < 0 */
	int64_t end[IR_MAX_RANK];	/* PAD: elements behind */
	float pad_value;		/* PAD, as a value (not a code) */
	float eps;			/* NORM */
	bool trans_a, trans_b;		/* MATMUL */
	enum mica_resize resize;
	enum mica_host_op host;		/* HOST; its attributes: */
	int64_t host_int[MICA_HOST_INTS];
	float host_float[MICA_HOST_FLOATS];
	struct mica_resize_tap *taps_h, *taps_w;	/* RESIZE: out_h and out_w entries, owned by the op */
};

struct ir_op {
	unsigned id;
	enum ir_kind kind;
	char *name;			/* ONNX node name (or its first output's) : what qtable, report and errors use */
	char *onnx_type;		/* "Conv", ...: for messages; after fusion "Conv+LeakyRelu" */
	struct ir_value *in[IR_MAX_IN];	/* NULL where an optional input is absent */
	unsigned ins;
	struct ir_value **out;
	unsigned outs;
	struct ir_attr a;
	void *onnx;			/* ONNX kind: the parsed node, owned by the importer */
	int opset;			/* ONNX kind: of the function that it comes from; 0: the model's */
	struct ir_value **more;		/* ONNX kind or CONCAT with more than IR_MAX_IN inputs: all inputs; else NULL */
	int format;			/* qtable's choice for this op, or -1 */
	int weights;			/* CONV: the format of its weights where it is not that of the operator, or -1 */
	struct ir_op *prev, *next;	/* execution order, a topological order of the graph */
	void *scratch;
};

/* A node's result as the file has it, before anything is fused: what a plan of the unfused graph would hold. */
struct ir_unfused { char *name; unsigned first, last; int64_t elements; };	/* nodes in execution order, both inclusive */
/* How scales are chosen, the same for the whole graph (struct mica_compile_options has their meaning). */
struct ir_scale_rules { bool zero_points, per_tensor, pow2, wmse; };

struct ir_graph {
	struct ir_op *first, *last;
	struct ir_value **value;	/* all values, also constants; entries may be NULL after removal */
	unsigned values, value_cap;
	struct ir_value **input, **output;
	unsigned inputs, outputs;
	char **output_name;		/* as the model file has them, or NULL: as the values are called */
	unsigned next_id;
	char *name;			/* model file's base name */
	struct mica_err *err;
	void *names;			/* ir.c: map from name to value */
	void *import;			/* onnx.c: the parsed file, as long as there are IR_ONNX ops */
	void (*import_free)(void *import);
	struct ir_unfused *unfused;	/* unfused.c */
	unsigned unfuseds;
	size_t folded;			/* bytes of constants made by folding, to bound hostile files */
	struct ir_scale_rules rules;
	bool quantized;			/* formats are fixed: set by `quantize` */
	unsigned refused;		/* repairs that did harm (enum mica_repair): not done */
	uint32_t equalized;		/* by `equalize`: a checksum of cle's factors and center's constants, 0: none */
	struct quality *quality;	/* repairs: the outputs that the f32 model gives (quality.c) */
	struct ir_graph *reference;	/* repairs: the f32 graph as calibrated; values go by the same ids */
	bool qdq;			/* the model came with QuantizeLinear/DequantizeLinear: taken as it is */
};

/*
 * Between `canonicalize` and `layout`: the kinds below with ONNX's order of axes: CONV x [n,c,h,w], weights [oc,c/groups,kh,kw];
 * CONVT weights [c,oc/groups,kh,kw]; BATCHNORM x, scale, beta, mean, variance; MATMUL of any rank with numpy broadcasting, and
 * with constant weights in[3] is a bias [n]; SOFTMAX has an axis; movement and elementwise kinds have any rank.
 *
 * Device dialect (after `layout`, formats fixed after `quantize`):
 *  - no IR_ONNX, no BATCHNORM, no CONVT; no value of an ir_dtype_ext type is read or produced; every op has one output.
 *  - CONV: in[0] x [n,h,w,c]; in[1] constant weights [oc,kh,kw,c/groups] (OHWI codes, ch_scale or scale set); in[2] constant f32
 *    bias [oc] or NULL; in[3] residual of the output's shape or NULL (added before act);
 *    in[4] constant f32 [oc] or NULL (added behind act; not for i8). x and weights are of one MAC class
 *    (docs/numerics.md section 3). Fully connected layers are CONV 1x1 on [1,1,m,k]. i8: the backend folds x's zero into init.
 *  - MATMUL: in[0] [..,m,k], in[1] [..,k,n] (after trans_*: stored [..,k,m], [..,n,k]), equal leading dims or extent 1; in[2] residual or NULL. rank <= 4.
 *  - BINARY, WHERE: numpy broadcasting, rank <= 4, operands may be constants.  UNARY: fn COPY converts between formats.
 *  - LUT: in[0] 8-bit, in[1] constant table of 256 output codes (dtype of the output).
 *  - POOL, RESIZE: [n,h,w,c].  REDUCE: rank <= 4.  SOFTMAX, NORM: over the last axis, rank <= 4; NORM in[1] gamma, in[2] beta f32 constants or NULL.
 *  - CONCAT, SLICE, TRANSPOSE, RESHAPE, PAD, EXPAND (broadcast copy) move codes: dtype, scale and zero of in and out are equal.
 *    RESHAPE is free (dense row-major order is kept). TRANSPOSE and RESHAPE up to rank 6.
 *  - HOST: operands and result are f32 in the ONNX order, dense.
 *  - graph inputs and outputs keep the ONNX order of dims; TRANSPOSE ops stand where the layout changes.
 *  - values are dense row-major in their own dim order; where they live is the backend's choice.
 */

/* ---- construction (ir.c). All functions abort the process only when out of memory. ---- */
struct ir_graph *ir_graph_new(const char *name, struct mica_err *err);
void ir_graph_free(struct ir_graph *g);
struct ir_value *ir_value_new(struct ir_graph *g, const char *name, int dtype, unsigned rank, const int64_t *dim);	/* name NULL: generated; made unique */
struct ir_value *ir_const_new(struct ir_graph *g, const char *name, int dtype, unsigned rank, const int64_t *dim, const void *data);	/* copies; data NULL: zeroes */
/* New op in front of `before` (NULL: at the end). in[] entries may be NULL. */
struct ir_op *ir_op_new(struct ir_graph *g, enum ir_kind kind, const char *name, struct ir_op *before,
			struct ir_value *const *in, unsigned ins, struct ir_value *const *out, unsigned outs);
struct ir_op *ir_op_clone(struct ir_graph *g, const struct ir_op *op, struct ir_op *before, struct ir_value *const *in, struct ir_value *out);
struct ir_graph *ir_graph_clone(const struct ir_graph *g);	/* device dialect; ids are kept */
struct ir_graph *ir_graph_share(struct ir_graph *g);	/* the same with g's constants, not with copies; nobody may change them any more */
void ir_graph_swap(struct ir_graph *a, struct ir_graph *b);	/* all but what is known of the unfused graph */
void ir_op_set_in(struct ir_op *op, unsigned i, struct ir_value *v);	/* keeps the use lists right */
void ir_op_remove(struct ir_graph *g, struct ir_op *op);		/* its outputs must be unused */
void ir_op_move(struct ir_graph *g, struct ir_op *op, struct ir_op *before);
void ir_value_replace(struct ir_graph *g, struct ir_value *old, struct ir_value *by);	/* all uses, and its place among the outputs */
struct ir_value *ir_op_in(const struct ir_op *op, unsigned i);		/* in[] or more[] */
int64_t ir_elements(const struct ir_value *v);
size_t ir_dtype_size(int dtype);
const char *ir_dtype_name(int dtype);
size_t ir_bytes(const struct ir_value *v);
uint64_t ir_op_macs(const struct ir_op *op);		/* CONV, MATMUL; else 0 */
const char *ir_kind_name(enum ir_kind k);
static inline bool ir_is_const(const struct ir_value *v) { return v && v->data; }

/* ---- printer, verifier ---- */
void ir_print(const struct ir_graph *g, FILE *f);	/* one op a line, stable, used by the golden tests */
char *ir_print_string(const struct ir_graph *g);	/* malloc'ed */
/* SSA, def-use chains, order, shapes and (device = true) the device dialect. 0 or -MICA_ERR_INTERNAL with the op named. */
int ir_verify(struct ir_graph *g, bool device);
/* Shapes alone, of one operator of a kind that no layout concerns: 0, or -MICA_ERR_INTERNAL with what does not fit. */
int ir_verify_shapes(struct ir_graph *g, const struct ir_op *op);

/* ---- passes (passes.c): one array {name, fn}; each pass stands in pass_<verb>.c ---- */
typedef int (*ir_pass_fn)(struct ir_graph *g, const struct mica_compile_options *o);
struct ir_pass { const char *name; ir_pass_fn fn; bool device; /* dialect after it */ };
extern const struct ir_pass ir_passes[];
int ir_import(struct ir_graph *g, const char *path, const struct mica_compile_options *o);	/* onnx.c */
int ir_run_passes(struct ir_graph *g, const struct mica_compile_options *o, const char *until /* NULL: all */);

/* ---- backend ---- */
/*
 * trace.c: runs the graph (device dialect, every value f32) on the engine, whole tensors, and shows every non-constant
 * value. load fills a graph input (its own dims); see may be called with inputs too. 0 or -code, g->err filled.
 */
struct ir_trace {
	int (*load)(void *opaque, const struct ir_value *input, float *dst, size_t n);
	void (*see)(void *opaque, const struct ir_value *v, const void *codes, size_t n);
	void *opaque;
};
struct ir_tracer;	/* lowered once, run for many samples; works for quantized graphs as well (codes are shown) */
struct ir_tracer *ir_tracer_new(struct ir_graph *g, unsigned threads);
int ir_tracer_run(struct ir_tracer *t, const struct ir_trace *cb);
void ir_tracer_free(struct ir_tracer *t);

/*
 * Many samples side by side, one operator at a time. An operator is lowered when it is run, so that its constants may still be
 * changed (not resized) until then. Values are there from their definition to their last use.
 */
struct ir_batch;
struct ir_batch *ir_batch_new(struct ir_graph *g, unsigned samples, unsigned threads);	/* NULL with g->err */
size_t ir_batch_sample_bytes(struct ir_graph *g);	/* memory that each sample takes; SIZE_MAX with g->err: too much */
int ir_batch_load(struct ir_batch *b, int (*load)(void *opaque, unsigned sample, const struct ir_value *input, float *dst, size_t n),
		  void *opaque);
const struct ir_op *ir_batch_next(const struct ir_batch *b);	/* what the next step will run, NULL at the end */
int ir_batch_step(struct ir_batch *b);
void *ir_batch_codes(const struct ir_batch *b, unsigned sample, const struct ir_value *v);
void ir_batch_free(struct ir_batch *b);

/* backend.c: device dialect, formats fixed -> file. */
int ir_backend(struct ir_graph *g, const struct mica_compile_options *o, const char *out_path);

#endif /* MICA_IR_H */
