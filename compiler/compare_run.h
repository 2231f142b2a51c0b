/* SPDX-License-Identifier: MIT */
/* The walk of `mica compare`: the f32 graph, the quantized graph, and its layers each with exact operands, side by side. */
#ifndef MICA_COMPARE_RUN_H
#define MICA_COMPARE_RUN_H

#include "compare_stats.h"

struct compare_layer {
	const struct ir_op *op;		/* of the quantized graph; NULL: a graph input */
	const struct ir_value *y, *x;	/* its value, and which one of the f32 graph that is */
	const struct ir_value *output;	/* the graph's output that it is, maybe in another order of axes; NULL: none */
	struct compare_limit limit;
	struct compare_sums whole, alone;
	struct compare_bins bins;
	double lowest;			/* cosine of a single sample */
	unsigned lowest_sample;
	float min, max;			/* of x */
	unsigned channels;		/* of a convolution */
	float *lo, *hi;			/* of x, by channel */
};

struct compare {
	struct ir_graph *q, *f;
	struct ir_graph *plain;		/* f32 before channels were equalized: outputs are compared with its ones; NULL: f is that */
	const struct mica_compile_options *o;
	const struct mica_calib *samples;
	int *source;			/* by value id of q: the value of f that it is, -1: none */
	unsigned *last;			/* by value id of f: the last step of q that asks for it (from 1), 0: none does */
	struct compare_layer *layer;
	unsigned layers;
};

/* Pairs the values of both graphs; which layers there are to compare. */
void compare_pair(struct compare *c);
int compare_run(struct compare *c);	/* 0 or -code, the error in q->err */
void compare_fini(struct compare *c);	/* without the graphs */

/* compare_warn.c */
void compare_warn(struct mica_comparison *c);

#endif /* MICA_COMPARE_RUN_H */
