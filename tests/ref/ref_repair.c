// SPDX-License-Identifier: MIT
/* The repairs' definitions, one after another as docs/quantization.md has them. */
#include <math.h>
#include "ref_repair.h"

/* ---- convolutions ---- */

int ref_inputs(const struct ref_conv *c)
{
	return c->ic / c->groups * c->k * c->k;
}

void ref_window(const struct ref_conv *c, const double *x, int h, int w, int o, int at, double *inputs)
{
	int per = c->ic / c->groups, first = o / (c->oc / c->groups) * per, ow = w + 2 * c->pad - c->k + 1;
	int y0 = at / ow - c->pad, x0 = at % ow - c->pad;

	for (int i = 0; i < per; i++)
		for (int ky = 0; ky < c->k; ky++)
			for (int kx = 0; kx < c->k; kx++) {
				int iy = y0 + ky, ix = x0 + kx;
				int inside = iy >= 0 && ix >= 0 && iy < h && ix < w;

				*inputs++ = inside ? x[((first + i) * h + iy) * w + ix] : 0;
			}
}

void ref_product(const struct ref_conv *c, const double *w, const double *x, int h, int width, double *y)
{
	int n = ref_inputs(c), positions = (h + 2 * c->pad - c->k + 1) * (width + 2 * c->pad - c->k + 1);
	double in[n];

	for (int o = 0; o < c->oc; o++)
		for (int at = 0; at < positions; at++) {
			double sum = 0;

			ref_window(c, x, h, width, o, at, in);
			for (int i = 0; i < n; i++)
				sum += in[i] * w[o * n + i];
			y[o * positions + at] = sum;
		}
}

void ref_activate(const struct ref_conv *c, int positions, double *y)
{
	for (int i = 0; i < c->oc * positions; i++)
		y[i] = fmin(c->hi, fmax(c->lo, y[i] + c->bias[i / positions]));
}

/* ---- equalization ---- */

double ref_largest_out(const struct ref_conv *c, int o)
{
	double most = 0;

	for (int i = 0; i < ref_inputs(c); i++)
		most = fmax(most, fabs(c->w[o * ref_inputs(c) + i]));
	return most;
}

double ref_largest_in(const struct ref_conv *c, int i)
{
	int per = c->ic / c->groups, readers = c->oc / c->groups, taps = c->k * c->k;
	double most = 0;

	for (int o = i / per * readers; o < (i / per + 1) * readers; o++)
		for (int t = 0; t < taps; t++)
			most = fmax(most, fabs(c->w[(o * per + i % per) * taps + t]));
	return most;
}

/* ---- adaptive rounding ---- */

void ref_neighbours(enum mica_dtype t, double v, double *below, double *above)
{
	*below = -INFINITY;
	*above = INFINITY;
	for (int i = 0; i < 256; i++) {
		double c = t == MICA_I8 ? i - 128 : ref_code_value(t, (unsigned)i);

		if (!isfinite(c))
			continue;
		if (fabs(c - v) < 1e-6 * fabs(v)) { /* the quotient of a weight and its scale */
			*below = *above = c;
			return;
		}
		*below = c <= v ? fmax(*below, c) : *below;
		*above = c >= v ? fmin(*above, c) : *above;
	}
	if (isinf(*below) || isinf(*above))
		*below = *above = isinf(*below) ? *above : *below;
}

double ref_error_weight(const struct ref_conv *c, double y)
{
	double margin = isfinite(c->hi) ? (c->hi - c->lo) / 4 : 0;

	return y < c->lo - margin || y > c->hi + margin ? 0.1 : 1;
}

double ref_ridge(const double *x, int rows, int k)
{
	double sum = 0;

	for (int i = 0; i < rows * k; i++)
		sum += x[i] * x[i];
	return 0.01 * sum / k;
}

double ref_rounding_cost(const double *x, const double *want, const double *weight, int rows, int k, const double *w, const double *exact,
			 double ridge)
{
	double sum = 0;

	for (int r = 0; r < rows; r++) {
		double y = 0;

		for (int i = 0; i < k; i++)
			y += x[r * k + i] * w[i];
		sum += weight[r] * (y - want[r]) * (y - want[r]);
	}
	for (int i = 0; i < k; i++)
		sum += ridge * (w[i] - exact[i]) * (w[i] - exact[i]);
	return sum;
}

/* ---- centering ---- */

/* None, the mean, and the parts of the range that e4m3's codes are of 448, from above. */
double ref_center(double lo, double hi, double mean, int candidate)
{
	if (candidate < 2)
		return candidate ? mean : 0;
	return lo + (hi - lo) * ref_code_value(MICA_E4M3, 0x80u - (unsigned)candidate) / 448;
}

double ref_weight_noise(enum mica_dtype t)
{
	return t == MICA_E4M3 ? 0.026 : t == MICA_E5M2 ? 0.052 : t == MICA_I8 ? 0.009 : 0.0016;
}

double ref_center_cost(enum mica_dtype t, const double *x, int n, double lo, double hi, double c)
{
	double noise = ref_weight_noise(t), sum = 0;

	for (int i = 0; i < n; i++) {
		double y = x[i] - c, d = y - ref_fake(t, y, ref_scale(hi - lo, t), 0);

		sum += d * d + noise * noise * y * y;
	}
	return sum;
}

double ref_center_aligned(enum mica_dtype t, double lo, double top, double c)
{
	return lo + ref_fake(t, c - lo, ref_scale(top, t), 0);
}
