// SPDX-License-Identifier: MIT
/* Resizing by products: an axis is multiplied by a matrix of weights [in,out]. Cubic, antialiased and extrapolated. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "onnx_resize.h"

#define MAX_TAPS 16384

/* The weight of a sample at distance x. */
static double kernel(enum resize_mode mode, double a, double x)
{
	x = fabs(x);
	if (mode == RESIZE_LINEAR)
		return x < 1 ? 1 - x : 0;
	if (x <= 1)
		return ((a + 2) * x - (a + 3)) * x * x + 1;
	return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

/*
 * Column i of the matrix: the weights of all sources for a result at x. Sources beyond the edge count for the edge, or not
 * at all (exclude_outside). The filter widens with the step when it antialiases.
 */
static void column(const struct ir_op *op, const struct resize *r, double x, double scale,
		   int64_t in, int64_t out, float *m)
{
	double a = (double)onnx_float(op, "cubic_coeff_a", -0.75), sum = 0;
	double narrow = r->antialias && scale < 1 ? scale : 1;
	double reach = (r->mode == RESIZE_CUBIC ? 2 : 1) / narrow, low = floor(x - reach),
	       high = ceil(x + reach);
	bool inside = onnx_int(op, "exclude_outside", 0);
	double *w = ir_alloc((size_t)in, sizeof(*w));

	high = high > low + MAX_TAPS ? low + MAX_TAPS : high;
	for (double j = low; j <= high; j++) {
		double k = kernel(r->mode, a, (j - x) * narrow);

		if (inside && (j < 0 || j >= (double)in))
			continue;
		w[resize_clamp(j, in)] += k;
		sum += k;
	}
	for (int64_t j = 0; j < in; j++)
		m[j * out] = (float)(sum != 0 ? w[j] / sum : 0);
	free(w);
}

/* x along one axis; *beyond gets 1 where the result lies outside the operand, or stays NULL */
static struct ir_value *along(struct build *b, const struct ir_op *op, const struct resize *r,
			      struct ir_value *x, unsigned axis, struct ir_value **beyond)
{
	int64_t in = x->dim[axis], out = r->out[axis], dim[2] = { in, out };
	struct ir_value *m = build_const(b, 2, dim, NULL);
	float *w = m->data;

	*beyond = NULL;
	for (int64_t i = 0; i < out; i++) {
		double at = resize_source(b->g, op, r, axis, i);

		if (r->crop && (at < 0 || at > (double)(in - 1))) {
			if (!*beyond)
				*beyond = build_const(b, 1, &out, NULL);
			((float *)(*beyond)->data)[i] = 1;
		} else if (r->mode == RESIZE_NEAREST) {
			w[resize_clamp(resize_nearest(b->g, op, r, axis, at), in) * out + i] = 1;
		} else {
			column(op, r, at, r->scale[axis], in, out, w + i);
		}
	}
	return expr_unlast(b, expr_product(b, expr_last(b, x, axis), m, false), axis);
}

struct ir_value *resize_by_matrices(struct build *b, const struct ir_op *op, const struct resize *r,
				    struct ir_value *x)
{
	struct ir_value *beyond, *any = NULL;
	int64_t dim[IR_MAX_RANK];

	b->format = b->format < 0 ? MICA_BF16 : b->format; /* weights of pictures need more than 8 bits */
	for (unsigned i = r->rank; i-- > 0;) {
		if (!resize_changes(r, op->in[0], i))
			continue;
		x = along(b, op, r, x, i, &beyond);
		if (!beyond)
			continue;
		for (unsigned k = 0; k < x->rank; k++)
			dim[k] = k == i ? x->dim[i] : 1;
		beyond = build_reshape(b, beyond, x->rank, dim);
		any = any ? build_binary(b, MICA_BIN_OR, any, beyond) : beyond;
	}
	if (any)
		x = build_where(b, any,
				build_scalar(b, onnx_float(op, "extrapolation_value", 0)), x);
	return x;
}
