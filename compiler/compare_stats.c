// SPDX-License-Identifier: MIT
/* Sums over pairs of values, what formats can hold, and histograms whose range grows with what they see. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "compare_stats.h"

/* ---- limits ---- */

struct compare_limit compare_limit_of(const struct ir_value *v)
{
	float top = mica_largest((enum mica_dtype)v->dtype), s = v->scale, half;
	int z = v->zero;

	switch (v->dtype) {
	case MICA_I8:
		half = s / 2;
		return (struct compare_limit){ true, (float)(-128 - z) * s, (float)(127 - z) * s, half, half, 0 };
	case MICA_U8:
		half = s / 2;
		return (struct compare_limit){ true, (float)(0 - z) * s, (float)(255 - z) * s, half, half, 0 };
	case MICA_E4M3:
		half = 16 * s;
		return (struct compare_limit){ true, -top * s, top * s, half, half, ldexpf(s, -6) };
	case MICA_E5M2:
		half = 4096 * s;
		return (struct compare_limit){ true, -top * s, top * s, half, half, ldexpf(s, -14) };
	default:
		return (struct compare_limit){ 0 };
	}
}

/* ---- sums ---- */

static void add_limits(struct compare_sums *s, const struct compare_limit *l, float x, float y)
{
	s->saturated += (y >= l->hi && x > l->hi + l->step_hi) || (y <= l->lo && x < l->lo - l->step_lo);
	s->zero += x != 0 && y == 0;
	s->subnormal += y != 0 && fabsf(y) < l->normal;
}

void compare_add(struct compare_sums *s, const struct compare_limit *l, const float *x, const float *y, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		double a = x[i], b = y[i], d = a - b;

		if (!isfinite(x[i]) || !isfinite(y[i])) {
			s->strange++;
			continue;
		}
		s->xy += a * b;
		s->xx += a * a;
		s->yy += b * b;
		s->dd += d * d;
		s->worst = fabs(d) > s->worst ? fabs(d) : s->worst;
		if (l->has)
			add_limits(s, l, x[i], y[i]);
	}
	s->n += n;
}

void compare_merge(struct compare_sums *to, const struct compare_sums *from)
{
	to->xy += from->xy;
	to->xx += from->xx;
	to->yy += from->yy;
	to->dd += from->dd;
	to->worst = from->worst > to->worst ? from->worst : to->worst;
	to->n += from->n;
	to->strange += from->strange;
	to->saturated += from->saturated;
	to->zero += from->zero;
	to->subnormal += from->subnormal;
}

double compare_cosine(const struct compare_sums *s)
{
	if (s->dd == 0)
		return 1;
	return s->xx > 0 && s->yy > 0 ? s->xy / sqrt(s->xx) / sqrt(s->yy) : 0;
}

struct mica_compare_view compare_view_of(const struct compare_sums *s, float min, float max)
{
	double n = s->n > s->strange ? (double)(s->n - s->strange) : 1, range = (double)max - min;
	struct mica_compare_view v = { .cosine = compare_cosine(s), .max_error = s->worst };

	v.snr = s->dd == 0 ? INFINITY : s->xx > 0 ? 10 * log10(s->xx / s->dd) : -300;
	v.range_error = range > 0 ? s->worst / range : 0;
	v.saturated = (double)s->saturated / n;
	v.subnormal = (double)s->subnormal / n;
	v.underflow = (double)(s->zero + s->subnormal) / n;
	return v;
}

/* ---- histograms ---- */

/* Around the middle: bins 2i and 2i + 1 of each half become one. */
static void halve(uint64_t *bin)
{
	const unsigned mid = COMPARE_BINS / 2;
	uint64_t old[COMPARE_BINS];

	memcpy(old, bin, sizeof(old));
	memset(bin, 0, sizeof(old));
	for (unsigned i = 0; i < mid; i++) {
		bin[mid + i / 2] += old[mid + i];
		bin[mid - 1 - i / 2] += old[mid - 1 - i];
	}
}

void compare_bins_fit(struct compare_bins *b, float largest)
{
	int e = -126;

	if (largest > 0)
		frexpf(largest, &e);	/* largest < 2^e */
	e = e < -126 ? -126 : e;
	if (!b->before) {
		b->before = ir_alloc(COMPARE_BINS, sizeof(*b->before));
		b->after = ir_alloc(COMPARE_BINS, sizeof(*b->after));
		b->e = e;
	}
	for (int k = b->e; k < e && k < b->e + 20; k++) {	/* 2^13 bins later everything stands in the two middle ones */
		halve(b->before);
		halve(b->after);
	}
	b->e = e > b->e ? e : b->e;
}

void compare_bins_add(const struct compare_bins *b, uint64_t *bin, const float *x, size_t n)
{
	double per = ldexp(COMPARE_BINS / 2, -b->e);

	for (size_t i = 0; i < n; i++) {
		double at = floor(x[i] * per) + COMPARE_BINS / 2;

		if (at >= 0 && at < COMPARE_BINS)	/* NaN and infinity: neither */
			bin[(unsigned)at]++;
	}
}

static bool is_empty(const struct compare_bins *b, unsigned i)
{
	return !b->before[i] && !b->after[i];
}

struct mica_compare_histogram compare_bins_show(const struct compare_bins *b, unsigned most)
{
	struct mica_compare_histogram h = { 0 };
	unsigned from = 0, to = COMPARE_BINS, each;

	while (b->before && from < to && is_empty(b, from))
		from++;
	while (b->before && from < to && is_empty(b, to - 1))
		to--;
	if (!b->before || from == to)
		return h;
	each = (to - from + most - 1) / most;
	h.bins = (to - from + each - 1) / each;
	h.lo = ldexp((double)from / (COMPARE_BINS / 2) - 1, b->e);
	h.hi = ldexp((double)(from + h.bins * each) / (COMPARE_BINS / 2) - 1, b->e);
	h.before = ir_alloc(h.bins, sizeof(*h.before));
	h.after = ir_alloc(h.bins, sizeof(*h.after));
	for (unsigned i = from; i < to; i++) {
		h.before[(i - from) / each] += b->before[i];
		h.after[(i - from) / each] += b->after[i];
	}
	return h;
}

void compare_bins_free(struct compare_bins *b)
{
	free(b->before);
	free(b->after);
}
