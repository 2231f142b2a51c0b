// SPDX-License-Identifier: MIT
/* Host steps: DEFORM, windows whose taps have moved; BITS, integers bit by bit. */
#include <math.h>
#include <stdio.h>
#include "host_impl.h"

/* ---- DEFORM ---- */

const char *mica_host_check_deform(const struct mica_host_step *s)
{
	const struct mica_host_tensor *x = &s->in[0], *off = &s->in[1], *y = &s->out, *mask = s->ins > 2 ? &s->in[2] : NULL;
	const int64_t *a = s->ints;
	uint64_t taps;

	if (x->rank != 4 || off->rank != 4 || y->rank != 4 || (mask && mask->rank != 4))
		return "the ranks do not fit";
	for (unsigned i = 0; i < 8; i++)
		if (a[i] < (i < 6) || a[i] > 65535)
			return "unknown attribute";
	taps = (uint64_t)a[0] * (uint64_t)a[1];
	if (a[8] < 1 || a[8] > x->dim[1] || x->dim[1] % (uint64_t)a[8])
		return "the sets of offsets do not share the channels evenly";
	if (off->dim[1] != 2 * (uint64_t)a[8] * taps || y->dim[1] != x->dim[1] * taps || (mask && mask->dim[1] * 2ull != off->dim[1]))
		return "the taps do not fit";
	for (unsigned i = 0; i < 4; i++)
		if (i != 1 && (off->dim[i] != y->dim[i] || (mask && mask->dim[i] != y->dim[i])))
			return "the dimensions do not fit";
	return x->dim[0] == y->dim[0] ? NULL : "the dimensions do not fit";
}

static float at_or_zero(const float *plane, const uint32_t *dim, float y, float x)
{
	return y >= 0 && x >= 0 && y < (float)dim[0] && x < (float)dim[1] ? plane[(uint64_t)y * dim[1] + (uint64_t)x] : 0;
}

/* Between the four pixels around; what lies outside counts as zero. */
static float between(const float *plane, const uint32_t *dim, float y, float x)
{
	float y0, x0, fy, fx;

	if (!(y > -1 && x > -1 && y < (float)dim[0] && x < (float)dim[1]))
		return 0;
	y0 = floorf(y);
	x0 = floorf(x);
	fy = y - y0;
	fx = x - x0;
	return (1 - fy) * ((1 - fx) * at_or_zero(plane, dim, y0, x0) + fx * at_or_zero(plane, dim, y0, x0 + 1)) +
	       fy * ((1 - fx) * at_or_zero(plane, dim, y0 + 1, x0) + fx * at_or_zero(plane, dim, y0 + 1, x0 + 1));
}

/* One tap of one channel in all windows. offset: its rows; mask NULL: ones. */
static void deform_tap(const struct mica_host_step *s, const float *plane, uint64_t tap, const float *offset, const float *mask, float *out)
{
	const int64_t *a = s->ints;
	uint64_t places = (uint64_t)s->out.dim[2] * s->out.dim[3];
	float dy = (float)((int64_t)(tap / (uint64_t)a[1]) * a[4] - a[6]), dx = (float)((int64_t)(tap % (uint64_t)a[1]) * a[5] - a[7]);

	for (uint64_t p = 0; p < places; p++) {
		float y = (float)(p / s->out.dim[3] * (uint64_t)a[2]) + dy + offset[p];
		float x = (float)(p % s->out.dim[3] * (uint64_t)a[3]) + dx + offset[places + p];
		float v = between(plane, s->in[0].dim + 2, y, x);

		out[p] = mask ? v * mask[p] : v;
	}
}

int mica_host_run_deform(struct mica_host_call *c)
{
	const struct mica_host_step *s = c->step;
	const struct mica_host_tensor *x = &s->in[0];
	uint64_t places = (uint64_t)s->out.dim[2] * s->out.dim[3], size = (uint64_t)x->dim[2] * x->dim[3];
	uint64_t taps = (uint64_t)(s->ints[0] * s->ints[1]), sets = (uint64_t)s->ints[8], share = x->dim[1] / sets, k = 0;

	for (uint64_t n = 0; n < x->dim[0]; n++)
		for (uint64_t ch = 0; ch < x->dim[1]; ch++) {
			if (c->stop && *c->stop)
				return -1;
			for (uint64_t tap = 0; tap < taps; tap++, k++) {
				uint64_t entry = (n * sets + ch / share) * taps + tap;

				deform_tap(s, c->in[0] + (n * x->dim[1] + ch) * size, tap, c->in[1] + entry * 2 * places,
					   s->ins > 2 ? c->in[2] + entry * places : NULL, c->out + k * places);
			}
		}
	return 0;
}
