/* SPDX-License-Identifier: MIT */
/* The numbers that a format below f32 has, as floats: rounding to them and between them. Fast: for searches over many candidates. */
#ifndef MICA_GRID_H
#define MICA_GRID_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#include "engine.h"

/* The spacing of e4m3, e5m2 or bf16 around |x| (the lower one at a power of two), for |x| within the format's range. */
static inline float grid_step(int dtype, float x)
{
	int mantissa = dtype == MICA_E4M3 ? 3 : dtype == MICA_E5M2 ? 2 : 7, e;
	int least = dtype == MICA_E4M3 ? -6 : dtype == MICA_E5M2 ? -14 : -119; /* bf16: so that the step is normal */
	uint32_t bits;
	float step;

	memcpy(&bits, &x, 4);
	e = (int)(bits >> 23 & 255) - 127;
	e = (e < least ? least : e) - mantissa;
	bits = (uint32_t)(e + 127) << 23;
	memcpy(&step, &bits, 4);
	return step;
}

static inline float grid_clamp(int dtype, float x)
{
	float top = dtype == MICA_E4M3 ? 448 : dtype == MICA_E5M2 ? 57344 : dtype == MICA_BF16 ? 0x1.fep127f : 127, low = dtype == MICA_I8 ? -128 : -top;

	return x > top ? top : x > low ? x : low;	/* NaN: low */
}

/* The nearest number of the format, saturating, ties to even. */
static inline float grid_nearest(int dtype, float x)
{
	float step;

	x = grid_clamp(dtype, x);
	if (dtype == MICA_I8)
		return rintf(x);
	step = grid_step(dtype, x);
	return rintf(x / step) * step;
}

/* The two numbers around x; equal when x is one of them or beyond the range. */
static inline void grid_around(int dtype, float x, float *below, float *above)
{
	float step;

	x = grid_clamp(dtype, x);
	step = dtype == MICA_I8 ? 1 : grid_step(dtype, x);
	*below = floorf(x / step) * step;
	*above = ceilf(x / step) * step;
}

#endif /* MICA_GRID_H */
