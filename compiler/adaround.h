/* SPDX-License-Identifier: MIT */
/*
 * Adaptive rounding of one output channel: every weight is one of its two neighbours in the format, and together they shall
 * reproduce the channel's output. Minimizes sum over rows of weight * error^2 + ridge * sum (w - exact)^2, where error is
 * x.w - wanted, by exact steps along one weight after another.
 */
#ifndef MICA_ADAROUND_H
#define MICA_ADAROUND_H

#include <stddef.h>

struct adaround {
	size_t k, rows;			/* rows: a multiple of 16, padded with rows of weight 0 */
	const float *x;			/* [k][rows] inputs */
	const float *weight;		/* [rows] >= 0 */
	const float *below, *above;	/* [k] the neighbours */
	const float *exact;		/* [k] */
	float ridge;
};

/*
 * w [k] holds one of the neighbours each, error [rows] what they give; both are updated. Returns by how
 * much lower the sum is. scratch: [k + rows].
 */
double adaround_solve(const struct adaround *a, float *w, float *error, float *scratch);

/* sum of a[i] * b[i], n a multiple of 16, in one fixed order on every machine. */
float dot16(const float *a, const float *b, size_t n);
/* y[i] += f * a[i] and y[i] += f * a[i] * b[i], n a multiple of 16 */
void add16(float *y, float f, const float *a, size_t n);
void add_product16(float *y, float f, const float *a, const float *b, size_t n);

#endif /* MICA_ADAROUND_H */
