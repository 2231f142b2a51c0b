/* SPDX-License-Identifier: MIT */
/* Short forms of build.c that decompositions of ONNX operators share. */
#ifndef MICA_EXPR_H
#define MICA_EXPR_H

#include "onnx.h"

/* In front of op; arithmetic in f32 whatever format the model has, unless the qtable names this operator. */
struct build expr_at(struct ir_graph *g, struct ir_op *op);
/* Operand i with its values in f32 if it is a constant; NULL when it is absent. */
struct ir_value *expr_in(struct ir_graph *g, struct ir_op *op, unsigned i);
struct ir_value *expr_k(struct build *b, enum mica_bin bin, struct ir_value *x, float k);	/* x bin k */
struct ir_value *expr_fold(struct build *b, enum mica_bin bin, struct ir_value *x, struct ir_value *y);	/* of constants: a constant. ADD SUB MUL */
struct ir_value *expr_fn(struct build *b, enum mica_fn fn, struct ir_value *x);
struct ir_value *expr_poly(struct build *b, struct ir_value *x, const float *c, unsigned n);	/* Horner, c[0] first */
struct ir_value *expr_not(struct build *b, struct ir_value *x);
struct ir_value *expr_trunc(struct build *b, struct ir_value *x);	/* towards zero */
/* 0, 1, .. n-1 along `axis` of `rank` axes, the others have extent 1. */
struct ir_value *expr_iota(struct build *b, int64_t n, unsigned rank, unsigned axis);
struct ir_value *expr_fill(struct build *b, unsigned rank, const int64_t *dim, float v);	/* a constant */
/* Entries at[0..n-1] of an axis, each within the extent: runs of equal steps are one slice. n > 0. */
struct ir_value *expr_take(struct build *b, struct ir_value *x, unsigned axis, const int64_t *at, int64_t n);
struct ir_value *expr_swap(struct build *b, struct ir_value *x, unsigned p, unsigned q);	/* exchanges two axes */
/* Moves an axis to the end, or from the end to where it was. */
struct ir_value *expr_last(struct build *b, struct ir_value *x, unsigned axis);
struct ir_value *expr_unlast(struct build *b, struct ir_value *x, unsigned axis);
/* x[..,m,k] times w[..,k,n], or w[..,n,k] with trans. Both of rank >= 2. */
struct ir_value *expr_product(struct build *b, struct ir_value *x, struct ir_value *w, bool trans);
/* ONNX's MatMul, ranks of 1 included; the result may lack its extents of 1 (expr_becomes() puts them right). */
struct ir_value *build_matmul_of(struct build *b, struct ir_value *x, struct ir_value *w);
int infer_matmul_of(struct ir_graph *g, struct ir_op *op, const struct ir_value *a, const struct ir_value *b);
/* op->out[i] becomes v in the shape that inference gave it. */
void expr_becomes(struct build *b, struct ir_op *op, unsigned i, struct ir_value *v);
bool expr_wanted(const struct ir_op *op, unsigned i);	/* somebody reads result i */

#endif /* MICA_EXPR_H */
