// SPDX-License-Identifier: MIT
/* Thresholds: where each calibration method clips |x|, as pure functions of range and histogram. */
#include <math.h>
#include <string.h>
#include "calibrate.h"

#define LEVELS 128 /* KL: what an 8-bit format can tell apart on one side */
#define KL_TAIL \
	0.001 /* the most that KL may clip: spikes (backgrounds, relu6) mislead the divergence */

static const char *const names[] = { "max", "kl", "percentile", "mse", "none" };

const char *calib_method_name(enum mica_method method)
{
	return names[method];
}

int calib_method_find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_LEN(names); i++)
		if (!strcmp(name, names[i]))
			return (int)i;
	return -1;
}

bool calib_needs_bins(enum mica_method method)
{
	return method == MICA_METHOD_KL || method == MICA_METHOD_PERCENTILE ||
	       method == MICA_METHOD_MSE;
}

/* Upper end of the first bins that hold so many percent of all values; percent is not divided, so that it is met exactly. */
static float percentile_threshold(const struct calib_stats *s, double percent)
{
	uint64_t total = 0, sum = 0;

	for (unsigned i = 0; i < CALIB_BINS; i++)
		total += s->bin[i];
	for (unsigned i = 0; i < CALIB_BINS; i++) {
		sum += s->bin[i];
		if (100 * (double)sum >= percent * (double)total)
			return calib_largest(s) * (float)(i + 1) / CALIB_BINS;
	}
	return calib_largest(s);
}

/* Divergence of the first n bins (the rest counted into the last) from themselves seen through LEVELS levels. */
static double divergence(const double *p, unsigned n, double outliers)
{
	double sum_p = outliers, sum_q = 0, kl = 0, level[LEVELS];
	unsigned filled[LEVELS];

	memset(level, 0, sizeof(level));
	memset(filled, 0, sizeof(filled));
	for (unsigned i = 0; i < n; i++) {
		unsigned k = (unsigned)((uint64_t)i * LEVELS / n);

		sum_p += p[i];
		level[k] += p[i];
		filled[k] += p[i] > 0;
	}
	for (unsigned k = 0; k < LEVELS; k++)
		sum_q += level[k];
	if (sum_q == 0)
		return INFINITY;
	for (unsigned i = 0; i < n; i++) {
		unsigned k = (unsigned)((uint64_t)i * LEVELS / n);
		double pi = (p[i] + (i == n - 1 ? outliers : 0)) / sum_p, qi;

		if (pi == 0)
			continue;
		qi = p[i] > 0 ? level[k] / filled[k] / sum_q : 1e-12;
		kl += pi * log(pi / qi);
	}
	return kl;
}

static float kl_threshold(const struct calib_stats *s)
{
	double p[CALIB_BINS], tail = 0, least = INFINITY, total = 0;
	unsigned best = CALIB_BINS;

	for (unsigned i = 0; i < CALIB_BINS; i++)
		p[i] = (double)s->bin[i];
	p[0] = p[1]; /* exact zeroes cost nothing in any scale */
	for (unsigned i = 0; i < CALIB_BINS; i++)
		total += p[i];
	for (unsigned n = CALIB_BINS; n >= LEVELS && tail <= KL_TAIL * total; n--) {
		double kl = divergence(p, n, tail);

		if (kl < least) {
			least = kl;
			best = n;
		}
		tail += p[n - 1];
	}
	return calib_largest(s) * (float)best / CALIB_BINS;
}

/* The clipping, in percent of the range, with the least squared error of the bins' centers in the format. */
static float mse_threshold(const struct calib_stats *s, enum mica_dtype t)
{
	float x[CALIB_BINS], y[CALIB_BINS], best = calib_largest(s);
	uint8_t code[CALIB_BINS];
	double least = INFINITY;

	for (unsigned i = 0; i < CALIB_BINS; i++)
		x[i] = calib_largest(s) * ((float)i + 0.5f) / CALIB_BINS;
	for (unsigned k = 100; k >= 10; k--) {
		float clip = calib_largest(s) * (float)k / 100, scale = clip / mica_largest(t);
		double sum = 0;

		if (!(scale > 0) || !isfinite(1 / scale))
			break;
		mica_quantize(t, x, code, CALIB_BINS, 1 / scale, 0);
		mica_dequantize(t, code, y, CALIB_BINS, scale, 0);
		for (unsigned i = 0; i < CALIB_BINS; i++)
			sum += (double)s->bin[i] * (double)(x[i] - y[i]) * (double)(x[i] - y[i]);
		if (sum < least) {
			least = sum;
			best = clip;
		}
	}
	return best;
}

float calib_threshold(const struct calib_stats *s, enum mica_method method, double percentile,
		      int dtype)
{
	float largest = calib_largest(s), t = largest;

	if (!s->bin || largest == 0)
		return largest;
	if (method == MICA_METHOD_KL)
		t = kl_threshold(s);
	else if (method == MICA_METHOD_PERCENTILE)
		t = percentile_threshold(s, percentile);
	else if (method == MICA_METHOD_MSE && ir_dtype_size(dtype) == 1)
		t = mse_threshold(s, (enum mica_dtype)dtype);
	return t < largest ? t : largest;
}
