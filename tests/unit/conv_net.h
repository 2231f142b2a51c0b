/* SPDX-License-Identifier: MIT */
/*
 * A small model of convolutions, one behind the other, for tests that run it in double (tests/ref/ref_repair.h) beside what the
 * compiler makes of it. There is one of them: net.
 */
#ifndef MICA_TESTS_CONV_NET_H
#define MICA_TESTS_CONV_NET_H

#include "compile_fixture.h"
#include "ref_repair.h"

#define NET_LAYERS  3
#define NET_SIDE    8
#define NET_MOST    16	/* channels */
#define NET_PLACES  (NET_SIDE * NET_SIDE)
#define NET_SAMPLES 6
#define NET_ROWS    (NET_SAMPLES * NET_PLACES)
#define NET_WEIGHTS (NET_MOST * NET_MOST * 9)

struct conv_net {
	struct ref_conv layer[NET_LAYERS];	/* their w and bias are those below */
	unsigned layers;
	double w[NET_LAYERS][NET_WEIGHTS], b[NET_LAYERS][NET_MOST];	/* all of them numbers of f32 */
	double input[NET_SAMPLES][NET_MOST * NET_PLACES];
};
extern struct conv_net net;

void net_three(int channels, double hi, uint32_t seed);	/* conv clipped at hi, depthwise conv, 1x1 conv */
void net_two(double hi);				/* conv clipped at hi, 1x1 conv */
void net_stretch(double *w, int n, double by);		/* still numbers of f32 */
int net_side(unsigned layer);				/* of what it reads */

/* The model as a file, its samples as calibration data; compilation of it up to a pass, which must succeed. */
void net_write(struct compile_fixture *f);
void net_compile(struct compile_fixture *f, enum mica_dtype format, unsigned repair, const char *until);
/* A graph's weights as values, in the order of the model file, and its biases. */
void net_constants(const struct ir_graph *g, unsigned layer, double *w, double *bias);

/* What each layer reads, by sample; [layers] is the output. largest: over all samples. */
struct net_run {
	double x[NET_LAYERS + 1][NET_SAMPLES][NET_MOST * NET_PLACES];
	double largest[NET_LAYERS + 1];
};
void net_run(struct net_run *r);
void net_run_layer(struct net_run *r, unsigned layer, const double *w, const double *bias);
/* What q's layer reads, as it is stored in format t with the scale of the largest value of f, the f32 run. */
void net_round_input(struct net_run *q, const struct net_run *f, unsigned layer, enum mica_dtype t);

#endif /* MICA_TESTS_CONV_NET_H */
