/* SPDX-License-Identifier: MIT */
/*
 * `mica compare`: what quantization does to every layer, measured against the f32 graph on samples. Formulas are in
 * docs/quantization.md.
 */
#ifndef MICA_COMPARE_H
#define MICA_COMPARE_H

#include "compiler.h"

/* One way of looking at a layer's result: codes as values y against what f32 gives, x, over all elements of all samples. */
struct mica_compare_view {
	double cosine;			/* sum xy / sqrt(sum xx * sum yy); both zero: 1 */
	double snr;			/* 10 log10(sum xx / sum (x - y)^2) in dB; no error: INFINITY; x zero, y not: -300 */
	double max_error;		/* largest |x - y| */
	double range_error;		/* that / (largest x - smallest x), 0 when there is no range */
	double saturated;		/* part of the elements at the last code, x more than half a step beyond it */
	double underflow;		/* part that is not 0 in f32 and is zero or subnormal; 8-bit formats only */
	double subnormal;		/* of those: the ones that are subnormal (FP8) */
	double lowest_cosine;		/* of a single sample */
	unsigned lowest_sample;
};

/* Counts over bins of equal width from lo to hi. */
struct mica_compare_histogram {
	unsigned bins;			/* 0: nothing was seen */
	double lo, hi;
	uint64_t *before, *after;	/* f32 values, codes as values */
};

/* Of a convolution, by output channel. */
struct mica_compare_channels {
	unsigned count;			/* 0: no convolution */
	float *weight;			/* largest |weight|, f32 */
	float *lo, *hi;			/* what f32 gives */
	unsigned zero_weights;		/* channels with weights of 0 only */
	unsigned constant;		/* channels that never change */
};

struct mica_compare_layer {
	char *name, *op, *output;	/* as in qtables and reports; the operator; the value it makes */
	char *shape;			/* of the output, "1,14,14,96" */
	const char *format, *stored;	/* what it reads (products) or computes in; what the output is stored in */
	unsigned order;			/* of execution, from 0 */
	bool input, is_output;		/* a graph input, a graph output */
	struct mica_compare_view whole;	/* the whole network quantized */
	struct mica_compare_view alone;	/* its operands are the f32 values, rounded to the formats in which it reads them */
	uint64_t elements, strange;	/* seen; left out because f32 or codes are NaN or infinite */
	float min, max;			/* of the f32 values */
	bool has_limit;			/* 8-bit: the largest and smallest value that codes can hold */
	float limit_lo, limit_hi, scale;
	struct mica_compare_histogram histogram;
	struct mica_compare_channels channels;
};

struct mica_comparison {
	unsigned samples, layers;
	struct mica_compare_layer *layer;	/* in the order of execution, inputs first */
	char **warning;			/* worth a user's attention, worst first */
	unsigned warnings;
};

/*
 * Compiles up to the quantized graph as `o` says (calibration, repairs, qtable, tables) and compares it on the given samples.
 * 0 or -code with err filled; then *out is NULL. Does not depend on o->threads.
 */
int mica_compare(const char *onnx_path, const struct mica_compile_options *o, const struct mica_calib *samples,
		 struct mica_comparison **out, struct mica_err *err);
void mica_comparison_free(struct mica_comparison *c);

enum mica_compare_sort {
	MICA_COMPARE_ALONE,		/* lowest SNR with exact operands: what the layer itself loses */
	MICA_COMPARE_COS,		/* lowest cosine of the whole network */
	MICA_COMPARE_SNR,
	MICA_COMPARE_ERROR,		/* largest error, relative to the range */
	MICA_COMPARE_SATURATION,
	MICA_COMPARE_ORDER,		/* of execution */
};
void mica_comparison_sort(struct mica_comparison *c, enum mica_compare_sort by);

#endif /* MICA_COMPARE_H */
