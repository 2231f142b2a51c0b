/* SPDX-License-Identifier: MIT */
/*
 * Calibration's definitions, in double and from the values themselves, written from docs/quantization.md alone. Searches are given as the
 * cost of one candidate, so that a test can go over all of them and see whether the compiler's choice is the least.
 */
#ifndef MICA_REF_QUANT_H
#define MICA_REF_QUANT_H

#include "ref.h"

#define REF_BINS   2048
#define REF_LEVELS 128

double ref_largest(enum mica_dtype t);			/* 1 for formats that are not scaled */
double ref_nearest(enum mica_dtype t, double v);	/* the number of the format, saturating, ties to even */
double ref_fake(enum mica_dtype t, double v, double scale, double zero);	/* v as its code says it */

/* Counts of |x| over [0, largest |x|]; returns the largest. */
double ref_histogram(const float *x, size_t n, double bin[REF_BINS]);
/* How many bins hold that percentage of all values. */
unsigned ref_percentile_bins(const double bin[REF_BINS], double percent);
/* D(P, Q) when the first n bins are kept; INFINITY: more than 0.1 % would be clipped. */
double ref_kl_cost(const double bin[REF_BINS], unsigned n);
/* Squared error of the bins' centers, clipped at `clip`. */
double ref_mse_cost(const double bin[REF_BINS], double largest, double clip, enum mica_dtype t);

double ref_scale(double threshold, enum mica_dtype t);	/* 1 where the threshold is 0 */
double ref_pow2(double scale);				/* the least power of two that is not below */
double ref_scale_with_zero(double min, double max, double threshold, double *zero);	/* i8; zero: not rounded */
double ref_weight_cost(const float *w, size_t n, enum mica_dtype t, double scale);

#endif
