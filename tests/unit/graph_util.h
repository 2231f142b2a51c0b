/* SPDX-License-Identifier: MIT */
/* Graphs for tests of the compiler's back half: random ones (graph_gen.c, graph_gen_move.c), and some made by hand (graph_hand.c). */
#ifndef MICA_TESTS_GRAPH_UTIL_H
#define MICA_TESTS_GRAPH_UTIL_H

#include "backend.h"

struct gen {
	struct ir_graph *g;
	struct mica_err err;
	int dtype;			/* of most values */
	struct ir_value *pool[128];	/* rank-4 values to build on */
	unsigned pools;
	int big;			/* largest spatial extent */
};

/* ---- random numbers ---- */

extern uint64_t gen_rng;
uint32_t gen_rnd(void);
int gen_pick(int lo, int hi);
bool gen_chance(int percent);
float gen_float(void);

/* ---- random graphs: the same for the same seed ---- */

void gen_graph(struct gen *t, uint64_t seed);

/* Their parts: values and operators that take their inputs from the pool and put their results there. */
void gen_quant(struct gen *t, struct ir_value *v);
void gen_codes(int dtype, void *dst, size_t n);
struct ir_value *gen_value(struct gen *t, int dtype, int64_t n, int64_t h, int64_t w, int64_t c);
struct ir_value *gen_constant(struct gen *t, int dtype, unsigned rank, const int64_t *dim);
struct ir_op *gen_op(struct gen *t, enum ir_kind kind, struct ir_value *const *in, unsigned ins, struct ir_value *out);
struct ir_value *gen_any(struct gen *t);
void gen_same_quant(struct ir_value *to, const struct ir_value *from);
bool gen_mac_dtype(int d);	/* products take it */
void gen_conv(struct gen *t);
void gen_pool(struct gen *t);
void gen_binary(struct gen *t);
void gen_unary(struct gen *t);
void gen_resize(struct gen *t);
void gen_reduce(struct gen *t);
void gen_rows(struct gen *t);
void gen_matmul(struct gen *t);

/* ---- graphs made by hand ---- */

extern const int hand_to_nhwc[4], hand_to_nchw[4];	/* permutations */
void hand_begin(struct gen *t, int dtype);
struct ir_value *hand_input(struct gen *t, int64_t n, int64_t a, int64_t b, int64_t c);
struct ir_value *hand_conv(struct gen *t, const char *name, struct ir_value *x, int64_t oc, int k);
struct ir_value *hand_transpose(struct gen *t, struct ir_value *x, const int *perm);
void hand_output(struct gen *t, struct ir_value *v);
/* input NCHW -> "first" -> "second" -> output NCHW */
void hand_two_convs(struct gen *t, int64_t size, int64_t c);
/* Must succeed. */
void hand_compile(struct gen *t, uint32_t lmem, unsigned cores, struct mica_compiled *c);

#endif /* MICA_TESTS_GRAPH_UTIL_H */
