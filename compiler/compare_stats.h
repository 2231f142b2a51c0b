/* SPDX-License-Identifier: MIT */
/* Parts of `mica compare`: sums over pairs of values, histograms whose range grows, limits of formats. */
#ifndef MICA_COMPARE_STATS_H
#define MICA_COMPARE_STATS_H

#include "compare.h"
#include "front.h"

/* What the codes of a value can hold. */
struct compare_limit {
	bool has;			/* 8-bit */
	float lo, hi;			/* the last codes' values */
	float step_lo, step_hi;		/* half the distance from there to the code before */
	float normal;			/* FP8: the smallest normal number; int8: 0 */
};
struct compare_limit compare_limit_of(const struct ir_value *v);

struct compare_sums {
	double xy, xx, yy, dd, worst;
	uint64_t n, strange, saturated, zero, subnormal;
};
/* Adds n pairs; x what f32 gives. */
void compare_add(struct compare_sums *s, const struct compare_limit *l, const float *x, const float *y, size_t n);
void compare_merge(struct compare_sums *to, const struct compare_sums *from);
double compare_cosine(const struct compare_sums *s);
struct mica_compare_view compare_view_of(const struct compare_sums *s, float min, float max);

/*
 * COMPARE_BINS bins over [-2^e, 2^e). Grows by doubling, when two bins become one, so that the result depends neither on the
 * order nor on the parts in which values come.
 */
#define COMPARE_BINS 4096
struct compare_bins {
	int e;
	uint64_t *before, *after;
};
void compare_bins_fit(struct compare_bins *b, float largest);	/* for |x| up to that; makes the bins the first time */
void compare_bins_add(const struct compare_bins *b, uint64_t *bin, const float *x, size_t n);
/* From the first to the last bin that is not empty, joined to at most `most` ones. */
struct mica_compare_histogram compare_bins_show(const struct compare_bins *b, unsigned most);
void compare_bins_free(struct compare_bins *b);

#endif /* MICA_COMPARE_STATS_H */
