/* SPDX-License-Identifier: MIT */
/*
 * Layer-wise reconstruction: the quantized graph and the f32 graph run side by side over some samples. Before a layer
 * is run, what goes into it in both is at hand, and its weights and bias may still be changed: the quantized side has seen all
 * changes upstream.
 */
#ifndef MICA_LOCKSTEP_H
#define MICA_LOCKSTEP_H

#include "front.h"

struct lockstep_layer {
	struct ir_op *op;		/* CONV of the quantized graph */
	const struct ir_op *ref;	/* the same of the f32 graph */
	int64_t groups, k, oc;		/* products of one output; output channels of a group */
	size_t rows, picked;		/* output positions, over all samples, the same for every group; rows: up to a multiple of 16 */
	unsigned threads;
	struct lockstep *of;
};

/* The inputs of the rows of one group, as values, in the order of the weights: [k][rows]. Rows from `picked` on are 0. */
void lockstep_quantized(const struct lockstep_layer *l, int64_t group, float *x);
void lockstep_exact(const struct lockstep_layer *l, int64_t group, float *x);
/* y[rows] = what weights w[k] make of the inputs; acc: for the first time set it to 0. */
void lockstep_product(const struct lockstep_layer *l, const float *x, const float *w, float sign, float *y);
/*
 * How much an error of each row counts: little where the activation is flat anyway. t[rows]: what the f32 layer gives before
 * its bias.
 */
void lockstep_weights(const struct lockstep_layer *l, int64_t channel, const float *t, float *weight);

/* Gives a CONV a bias that no other one reads. */
void lockstep_own_bias(struct ir_graph *g, struct ir_op *op);

/* Calls fn for every CONV with a counterpart in g->reference, in order. 0 or -code. */
int lockstep_run(struct ir_graph *g, const struct mica_compile_options *o, const char *stage,
		 int (*fn)(void *opaque, const struct lockstep_layer *l), void *opaque);

/* Calls fn(opaque, i) for i in 0..n-1 by several threads, in any order. */
void parallel_for(unsigned threads, int64_t n, void (*fn)(void *opaque, int64_t i), void *opaque);

#endif /* MICA_LOCKSTEP_H */
