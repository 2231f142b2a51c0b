// SPDX-License-Identifier: MIT
/* Calibration's definitions, one after another as docs/quantization.md has them. */
#include <math.h>
#include "ref_quant.h"

double ref_largest(enum mica_dtype t)
{
	return t == MICA_E4M3 ? 448 : t == MICA_E5M2 ? 57344 : t == MICA_I8 ? 127 : 1;
}

double ref_nearest(enum mica_dtype t, double v)
{
	if (t == MICA_F32)
		return (float)v;
	if (t == MICA_I8)
		return fmax(-128, fmin(127, nearbyint(v)));
	return ref_code_value(t, ref_round_code(t, (float)v));
}

double ref_fake(enum mica_dtype t, double v, double scale, double zero)
{
	return (ref_nearest(t, v / scale + zero) - zero) * scale;
}

double ref_histogram(const float *x, size_t n, double bin[REF_BINS])
{
	double largest = 0;

	for (unsigned b = 0; b < REF_BINS; b++)
		bin[b] = 0;
	for (size_t i = 0; i < n; i++)
		largest = fmax(largest, fabs((double)x[i]));
	for (size_t i = 0; i < n && largest > 0; i++) {
		double b = floor(fabs((double)x[i]) / largest * REF_BINS);

		bin[(unsigned)fmin(b, REF_BINS - 1)]++; /* the largest belongs to the last */
	}
	return largest;
}

static double sum_of(const double *bin, unsigned from, unsigned to)
{
	double sum = 0;

	for (unsigned i = from; i < to; i++)
		sum += bin[i];
	return sum;
}

unsigned ref_percentile_bins(const double bin[REF_BINS], double percent)
{
	double want = sum_of(bin, 0, REF_BINS) * percent / 100;
	unsigned n = 1;

	while (n < REF_BINS && sum_of(bin, 0, n) < want)
		n++;
	return n;
}

/* What the levels leave of the first n bins: each level's mass, even over those of its bins that hold something. */
static void see_through_levels(const double *bin, unsigned n, double *q)
{
	for (unsigned first = 0, end; first < n; first = end) {
		unsigned level = first * REF_LEVELS / n, filled = 0;

		for (end = first; end < n && end * REF_LEVELS / n == level; end++)
			filled += bin[end] > 0;
		for (unsigned i = first; i < end; i++)
			q[i] = bin[i] > 0 ? sum_of(bin, first, end) / filled : 0;
	}
}

double ref_kl_cost(const double seen[REF_BINS], unsigned n)
{
	double bin[REF_BINS], p[REF_BINS], q[REF_BINS], above, all, kept, d = 0;

	for (unsigned i = 0; i < REF_BINS; i++)
		bin[i] = seen[i ? i : 1]; /* exact zeroes count like the bin beside them */
	above = sum_of(bin, n, REF_BINS);
	all = sum_of(bin, 0, REF_BINS);
	kept = all - above;
	if (above > 0.001 * all || kept <= 0)
		return INFINITY;
	for (unsigned i = 0; i < n; i++)
		p[i] = bin[i] + (i == n - 1 ? above : 0);
	see_through_levels(bin, n, q);
	for (unsigned i = 0; i < n; i++)
		if (p[i] > 0)
			d += p[i] / all * log(p[i] / all / (q[i] > 0 ? q[i] / kept : 1e-12));
	return d;
}

double ref_mse_cost(const double bin[REF_BINS], double largest, double clip, enum mica_dtype t)
{
	double sum = 0;

	for (unsigned i = 0; i < REF_BINS; i++) {
		double x = largest * (i + 0.5) / REF_BINS;

		if (bin[i] > 0)
			sum += bin[i] * pow(x - ref_fake(t, x, clip / ref_largest(t), 0), 2);
	}
	return sum;
}

double ref_scale(double threshold, enum mica_dtype t)
{
	return threshold > 0 && ref_largest(t) > 1 ? threshold / ref_largest(t) : 1;
}

double ref_pow2(double scale)
{
	double p = 1;

	while (p < scale)
		p *= 2;
	while (p / 2 >= scale)
		p /= 2;
	return p;
}

double ref_scale_with_zero(double min, double max, double threshold, double *zero)
{
	double lo = fmax(fmin(min, 0), -threshold), hi = fmin(fmax(max, 0), threshold), scale = (hi - lo) / 255;

	*zero = fmax(-128, fmin(127, -128 - lo / scale));
	return scale;
}

double ref_weight_cost(const float *w, size_t n, enum mica_dtype t, double scale)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += pow(w[i] - ref_fake(t, w[i], scale, 0), 2);
	return sum;
}
