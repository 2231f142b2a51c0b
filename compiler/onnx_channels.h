/* SPDX-License-Identifier: MIT */
/* ONNX Runtime's operators on [n,h,w,c]. */
#ifndef MICA_ONNX_CHANNELS_H
#define MICA_ONNX_CHANNELS_H

#include "expr.h"

static inline struct ir_value *to_channels_first(struct build *b, struct ir_value *x)
{
	int perm[IR_MAX_RANK] = { 0, (int)x->rank - 1 };

	for (unsigned i = 2; i < x->rank; i++)
		perm[i] = (int)i - 1;
	return build_transpose(b, x, perm);
}

static inline struct ir_value *to_channels_last(struct build *b, struct ir_value *x)
{
	int perm[IR_MAX_RANK] = { 0 };

	for (unsigned i = 1; i < x->rank; i++)
		perm[i] = i + 1 == x->rank ? 1 : (int)i + 1;
	return build_transpose(b, x, perm);
}

/* v with its shape as if channels stood behind N: for checks only. */
static inline struct ir_value channels_first_of(const struct ir_value *v)
{
	struct ir_value x = { .rank = v->rank, .dtype = v->dtype, .elem = v->elem };

	for (unsigned i = 0; i < v->rank; i++)
		x.dim[i] = i == 0 ? v->dim[0] : i == 1 ? v->dim[v->rank - 1] : v->dim[i - 1];
	return x;
}

/* A result that was inferred with channels behind N has them last. */
static inline void result_channels_last(struct ir_value *y)
{
	int64_t c = y->dim[1];

	for (unsigned i = 1; i + 1 < y->rank; i++)
		y->dim[i] = y->dim[i + 1];
	y->dim[y->rank - 1] = c;
}

#endif /* MICA_ONNX_CHANNELS_H */
