/* SPDX-License-Identifier: MIT */
/* What the files of the compiler's front half share beyond ir.h. */
#ifndef MICA_FRONT_H
#define MICA_FRONT_H

#include "ir.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof(*(a)))

/* No tensor of a model may have more elements than this, no constant made by folding more bytes. */
#define IR_MAX_ELEMENTS	((int64_t)1 << 31)
#define IR_MAX_FOLDED	((size_t)1 << 31)

/* ---- ir.c ---- */
void *ir_alloc(size_t n, size_t size);	/* zeroed; aborts when out of memory */
void *ir_grow(void *p, unsigned *cap, unsigned need, size_t size);
char *ir_strdup(const char *s);
struct ir_value *ir_value_find(const struct ir_graph *g, const char *name);
void ir_swap_names(struct ir_graph *g, struct ir_value *a, struct ir_value *b);
void ir_value_share(struct ir_value *v, struct ir_value *with);	/* `with` gets v's data, which nobody changes any more */
void ir_value_drop(struct ir_value *v);				/* a constant's data, when nobody reads it any more */
void ir_value_remove(struct ir_graph *g, struct ir_value *v);	/* unused and without definition */
void ir_op_drop_ins(struct ir_op *op, unsigned keep);		/* operands from `keep` on */
bool ir_same_dims(const struct ir_value *a, const struct ir_value *b);
bool ir_dims_ok(unsigned rank, const int64_t *dim, int64_t limit);	/* none negative, product within limit */

/* ---- build.c: new operators in front of `at`, shapes of their results computed. They never fail on checked shapes ---- */
struct build {
	struct ir_graph *g;
	struct ir_op *at;		/* NULL: the end */
	const char *name, *onnx_type;	/* given to the operators; onnx_type may be NULL */
	int format;
};
struct build build_at(struct ir_graph *g, struct ir_op *op);	/* in front of op, with its names */
struct ir_op *build_op(struct build *b, enum ir_kind kind, struct ir_value *const *in, unsigned ins, unsigned rank, const int64_t *dim);	/* result f32 */
struct ir_value *build_const(struct build *b, unsigned rank, const int64_t *dim, const float *data);	/* f32; data NULL: zeroes */
struct ir_value *build_scalar(struct build *b, float v);	/* rank 0 */
struct ir_value *build_unary(struct build *b, enum mica_fn fn, struct ir_value *x, float alpha, float beta);
struct ir_value *build_binary(struct build *b, enum mica_bin bin, struct ir_value *x, struct ir_value *y);	/* broadcasts */
struct ir_value *build_where(struct build *b, struct ir_value *c, struct ir_value *x, struct ir_value *y);
struct ir_value *build_reduce(struct build *b, enum mica_red red, struct ir_value *x, unsigned axes);	/* keeps dims */
/* Those that move codes keep type and scale. They return x itself where there is nothing to do; constants are moved at once. */
struct ir_value *build_reshape(struct build *b, struct ir_value *x, unsigned rank, const int64_t *dim);
struct ir_value *build_transpose(struct build *b, struct ir_value *x, const int *perm);
struct ir_value *build_slice(struct build *b, struct ir_value *x, const int64_t *start, const int64_t *step, const int64_t *dim);
struct ir_value *build_slice1(struct build *b, struct ir_value *x, unsigned axis, int64_t start, int64_t n);	/* one axis */
struct ir_value *build_concat(struct build *b, struct ir_value *const *in, unsigned ins, unsigned axis);
struct ir_value *build_expand(struct build *b, struct ir_value *x, unsigned rank, const int64_t *dim);
struct ir_value *build_pad(struct build *b, struct ir_value *x, const int64_t *front, const int64_t *behind, float value);
/* A host step on f32 operands; attributes are set in its a.host_int and a.host_float. */
struct ir_op *build_host(struct build *b, enum mica_host_op host, struct ir_value *const *in, unsigned ins, unsigned rank, const int64_t *dim);
/* All uses of old go to v, which takes its name as well when it has just been built. */
void build_becomes(struct ir_graph *g, struct ir_value *old, struct ir_value *v);

/* ---- move.c: the same on constants ---- */
/* dst[..] = src[start + index * step along each axis], axis i of dst read with stride[i] (in elements) from src + base. */
void move_strided(void *dst, const void *src, size_t size, unsigned rank, const int64_t *dim, int64_t base, const int64_t *stride);
void dense_strides(const struct ir_value *v, int64_t *stride);
struct ir_value *const_f32(struct ir_graph *g, struct ir_value *v);	/* f32 values of a constant: itself, or a new constant */
struct ir_value *const_as(struct ir_graph *g, struct ir_value *k, const struct ir_value *y);	/* a constant in the format of y */
float const_scalar(const struct ir_value *v, bool *ok);	/* every element is equal: that value */

/* ---- compile.c ---- */
int ir_check_options(const struct mica_compile_options *o, struct mica_err *err);

/* ---- unfused.c ---- */
void ir_note_unfused(struct ir_graph *g);	/* remembers the nodes' results while they are still there */

/* ---- host.c ---- */
void ir_host_step(const struct ir_op *op, struct mica_host_step *s);	/* without addresses; types are what they will be: f32 */
void ir_group_host(struct ir_graph *g);	/* brings host steps together, so that there are few phases */
/* ---- quality.c: how far a quantized graph's outputs are from the f32 model's, on some of the samples ---- */
struct quality;
struct quality_score {
	double cosine;		/* of the worst output, over all samples */
	double snr;		/* of that output, in dB */
	char worst[64];		/* its name */
};
/* Runs the f32 graph and keeps its outputs. 0 or -code. */
int quality_begin(struct ir_graph *g, const struct mica_compile_options *o);
int quality_score(struct ir_graph *g, const struct mica_compile_options *o, const struct quality *q, struct quality_score *s);
/*
 * Scores g, which is quantized, prints what changed since the last call, and remembers it unless it is worse. Without g->quality:
 * nothing.
 */
int quality_report(struct ir_graph *g, const struct mica_compile_options *o, const char *what, bool *worse);
/* The same for a graph that is not quantized yet: a copy of it is calibrated and quantized, with these repairs, for that. */
int quality_report_copy(const struct ir_graph *g, const struct mica_compile_options *o, const char *what, unsigned repair, bool *worse);
void quality_free(struct quality *q);

/* ---- pass_cleanup.c ---- */
void ir_sweep(struct ir_graph *g);	/* removes dead operators and constants */

/* ---- passes.c ---- */
void ir_dump(const struct ir_graph *g, const struct mica_compile_options *o, const char *pass);	/* when --dump-after asks for it */
int ir_check_pass_name(const struct mica_compile_options *o, struct mica_err *err);

/* ---- the passes ---- */
int pass_infer_shapes(struct ir_graph *g, const struct mica_compile_options *o);
int pass_fold_constants(struct ir_graph *g, const struct mica_compile_options *o);
int pass_canonicalize(struct ir_graph *g, const struct mica_compile_options *o);
int pass_fuse(struct ir_graph *g, const struct mica_compile_options *o);
int pass_layout(struct ir_graph *g, const struct mica_compile_options *o);
int pass_equalize(struct ir_graph *g, const struct mica_compile_options *o);
int pass_calibrate(struct ir_graph *g, const struct mica_compile_options *o);
int pass_quantize(struct ir_graph *g, const struct mica_compile_options *o);
int pass_adaround(struct ir_graph *g, const struct mica_compile_options *o);
int pass_bias_correct(struct ir_graph *g, const struct mica_compile_options *o);
int pass_cleanup(struct ir_graph *g, const struct mica_compile_options *o);

#endif /* MICA_FRONT_H */
