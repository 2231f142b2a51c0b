// SPDX-License-Identifier: MIT
/* Adaptive rounding by coordinate descent: no learning rate, no chance, it ends where no single change helps. */
#include <string.h>
#include "adaround.h"

#define SWEEPS 24

/* Plain IEEE sums and products, never contracted: any width gives the same. */
typedef float lanes __attribute__((vector_size(64), aligned(4), may_alias));
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__clang__) || !defined(__x86_64__)
#define WIDTHS
#else
#define WIDTHS __attribute__((target_clones("avx512f", "avx2", "default")))
#endif

WIDTHS float dot16(const float *a, const float *b, size_t n)
{
	lanes sum = { 0 };
	float s = 0;

	for (size_t i = 0; i < n; i += 16)
		sum += *(const lanes *)(a + i) * *(const lanes *)(b + i);
	for (unsigned i = 0; i < 16; i++)
		s += sum[i];
	return s;
}

WIDTHS void add16(float *y, float f, const float *a, size_t n)
{
	for (size_t i = 0; i < n; i += 16)
		*(lanes *)(y + i) += f * *(const lanes *)(a + i);
}

WIDTHS void add_product16(float *y, float f, const float *a, const float *b, size_t n)
{
	for (size_t i = 0; i < n; i += 16)
		*(lanes *)(y + i) += f * *(const lanes *)(a + i) * *(const lanes *)(b + i);
}

/* diagonal[i] = sum weight * x^2 of input i */
static void diagonals(const struct adaround *a, float *diagonal, float *scratch)
{
	for (size_t i = 0; i < a->k; i++) {
		const float *x = a->x + i * a->rows;

		memset(scratch, 0, a->rows * sizeof(*scratch));
		add_product16(scratch, 1, x, a->weight, a->rows);
		diagonal[i] = dot16(scratch, x, a->rows);
	}
}

/* Goes over all weights once; how much lower the sum is. we: weight * error. */
static double sweep(const struct adaround *a, float *w, float *we, const float *diagonal)
{
	double gain = 0;

	for (size_t i = 0; i < a->k; i++) {
		const float *x = a->x + i * a->rows;
		float other = w[i] == a->below[i] ? a->above[i] : a->below[i], d = other - w[i],
		      change;

		if (d == 0)
			continue;
		change = d * (2 * dot16(x, we, a->rows) + d * diagonal[i]) +
			 a->ridge * d * (2 * (w[i] - a->exact[i]) + d);
		if (!(change < 0))
			continue;
		gain -= change;
		w[i] = other;
		add_product16(we, d, x, a->weight, a->rows);
	}
	return gain;
}

double adaround_solve(const struct adaround *a, float *w, float *error, float *scratch)
{
	float *diagonal = scratch, *we = scratch + a->k;
	double gain = 0;

	diagonals(a, diagonal, we);
	for (size_t r = 0; r < a->rows; r++)
		we[r] = a->weight[r] * error[r];
	for (unsigned n = 0; n < SWEEPS; n++) {
		double g = sweep(a, w, we, diagonal);

		gain += g;
		if (!(g > 0))
			break;
	}
	for (size_t r = 0; r < a->rows; r++)
		error[r] = a->weight[r] > 0 ? we[r] / a->weight[r] : 0;
	return gain;
}
