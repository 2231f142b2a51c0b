/* SPDX-License-Identifier: MIT */
/*
 * The repairs' definitions, in double, written from docs/quantization.md alone: convolutions of one stride over one image of
 * [channels][h][w], weights [oc][ic / groups][k][k] as in the model file.
 */
#ifndef MICA_REF_REPAIR_H
#define MICA_REF_REPAIR_H

#include "ref_quant.h"

struct ref_conv {
	int ic, oc, k, pad, groups;
	double *w, *bias;
	double lo, hi;		/* where the activation clips, infinite if it does not */
};

int ref_inputs(const struct ref_conv *c);		/* products of one output */
/* The ref_inputs() inputs, in the order of the weights, of the output of channel o at a position. */
void ref_window(const struct ref_conv *c, const double *x, int h, int w, int o, int at, double *inputs);
/* All outputs: with weights w, before the bias. */
void ref_product(const struct ref_conv *c, const double *w, const double *x, int h, int width, double *y);
void ref_activate(const struct ref_conv *c, int positions, double *y);	/* the bias and the clip */

double ref_largest_out(const struct ref_conv *c, int o);	/* |w| of an output channel, of an input channel */
double ref_largest_in(const struct ref_conv *c, int i);

/* AdaRound: the codes around a value, how much an output's error counts, and the sum for one channel. x [rows][k] */
void ref_neighbours(enum mica_dtype t, double v, double *below, double *above);
double ref_error_weight(const struct ref_conv *c, double output_before_clip);
double ref_ridge(const double *x, int rows, int k);
double ref_rounding_cost(const double *x, const double *want, const double *weight, int rows, int k, const double *w, const double *exact,
			 double ridge);

/* Center, one channel x[n] of a tensor in lo .. hi: the candidates, what storing x - c costs, and where c then moves, as no value is
 * farther than `top` from its channel's c. */
#define REF_CENTERS 64
double ref_center(double lo, double hi, double mean, int candidate);
double ref_weight_noise(enum mica_dtype t);	/* of rounding a weight, relative to it: root mean square */
double ref_center_cost(enum mica_dtype t, const double *x, int n, double lo, double hi, double c);
double ref_center_aligned(enum mica_dtype t, double lo, double top, double c);

#endif
