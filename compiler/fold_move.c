// SPDX-License-Identifier: MIT
/* Folding of operators that move data or make it from shapes, and of reductions. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "fold.h"
#include "onnx_shape.h"

void *fold_out(struct ir_graph *g, struct ir_op *op, unsigned i)
{
	struct ir_value *v = op->out[i];
	size_t bytes = ir_bytes(v);

	if (bytes > IR_MAX_FOLDED || g->folded + bytes > IR_MAX_FOLDED)
		return NULL;
	g->folded += bytes;
	v->data = ir_alloc(bytes + 8, 1);
	return v->data;
}

/* A constant can't be a graph output: an Identity behind it becomes that. */
static void copy_to_output(struct ir_graph *g, struct ir_value *v, struct ir_op *before)
{
	struct ir_value *copy = ir_value_new(g, NULL, v->dtype, v->rank, v->dim);

	ir_op_new(g, IR_ONNX, v->name, before, &v, 1, &copy, 1)->onnx_type = ir_strdup("Identity");
	ir_swap_names(g, v, copy);
	for (unsigned i = 0; i < g->outputs; i++)
		if (g->output[i] == v)
			g->output[i] = copy;
	v->is_output = false;
	copy->is_output = true;
}

static void settle(struct ir_graph *g, struct ir_op *op)
{
	for (unsigned i = 0; i < op->outs; i++) {
		struct ir_value *v = op->out[i];

		if (!v || !v->data)
			continue;
		v->def = NULL;
		op->out[i] = NULL;
		if (v->is_output)
			copy_to_output(g, v, op->next);
	}
	ir_op_remove(g, op);
}

static void give_up(struct ir_op *op)
{
	for (unsigned i = 0; i < op->outs; i++) {
		if (!op->out[i])
			continue;
		free(op->out[i]->data);
		op->out[i]->data = NULL;
	}
}

int fold_op(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	bool shape_only = d->fold == fold_shape || d->fold == fold_size || d->fold == fold_eye;
	int r;

	if (!d->fold || (d->fold == fold_copy && op->out[0]->is_output))
		return 1;
	for (unsigned i = 0; i < op->ins && !shape_only; i++)
		if (ir_op_in(op, i) && !ir_op_in(op, i)->data)
			return 1;
	r = d->fold(g, op, d);
	if (r)
		give_up(op);
	else
		settle(g, op);
	return r;
}

int fold_shape(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t start = onnx_int(op, "start", 0), *out = fold_out(g, op, 0);
	(void)d;

	start += start < 0 ? x->rank : 0;
	start = start < 0 ? 0 : start;
	for (int64_t i = 0; out && i < op->out[0]->dim[0]; i++)
		out[i] = x->dim[start + i];
	return out ? 0 : 1;
}

int fold_size(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	int64_t *out = fold_out(g, op, 0);
	(void)d;

	if (out)
		*out = ir_elements(op->in[0]);
	return out ? 0 : 1;
}

int fold_fill(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const Onnx__AttributeProto *a = onnx_attr(op, "value");
	struct ir_value *y = op->out[0], *v = NULL;
	uint8_t *out;
	size_t size;
	(void)d;

	if (a && a->t) {
		v = onnx_tensor(g, a->t, NULL, op->name);
		if (!v)
			return -(int)g->err->code;
		if (ir_elements(v) != 1)
			return onnx_fail(g, op, MICA_ERR_SHAPE,
					 "value must have one element; check the model");
	}
	out = fold_out(g, op, 0);
	if (!out)
		return 1;
	size = ir_dtype_size(y->dtype);
	for (int64_t i = 0, n = ir_elements(y); v && i < n; i++)
		memcpy(out + (size_t)i * size, v->data, size);
	return 0;
}

int fold_range(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *start = op->in[0], *delta = op->in[2];
	void *out = fold_out(g, op, 0);
	(void)d;

	for (int64_t i = 0; out && i < op->out[0]->dim[0]; i++) {
		if (start->dtype == MICA_F32)
			((float *)out)[i] =
				*(float *)start->data + (float)i * *(float *)delta->data;
		else
			((int64_t *)out)[i] = *(int64_t *)start->data + i * *(int64_t *)delta->data;
	}
	return out ? 0 : 1;
}

int fold_nonzero(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t stride[IR_MAX_RANK], found = 0, count = op->out[0]->dim[1],
				     *out = fold_out(g, op, 0);
	size_t size = ir_dtype_size(x->dtype);
	(void)d;

	dense_strides(x, stride);
	for (int64_t i = 0, n = ir_elements(x); out && i < n; i++) {
		int64_t v = 0;

		memcpy(&v, (uint8_t *)x->data + (size_t)i * size, size);
		if (!v)
			continue;
		for (unsigned a = 0; a < x->rank; a++)
			out[a * count + found] = i / stride[a] % x->dim[a];
		found++;
	}
	return out ? 0 : 1;
}

/* [outer, extent, inner] of x around an axis */
static void around(const struct ir_value *x, unsigned axis, size_t *outer, size_t *inner)
{
	*outer = *inner = 1;
	for (unsigned i = 0; i < x->rank; i++) {
		if (i < axis)
			*outer *= (size_t)x->dim[i];
		if (i > axis)
			*inner *= (size_t)x->dim[i];
	}
}

int fold_gather(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *idx = op->in[1];
	int axis = onnx_axis(g, op, onnx_int(op, "axis", 0), x->rank);
	size_t outer, inner, n = (size_t)ir_elements(idx);
	uint8_t *out;
	(void)d;

	if (axis < 0 || idx->dtype != IR_I64)
		return axis < 0 ? axis : 1;
	out = fold_out(g, op, 0);
	around(x, (unsigned)axis, &outer, &inner);
	inner *= ir_dtype_size(x->dtype);
	for (size_t o = 0; out && o < outer; o++) {
		for (size_t i = 0; i < n; i++, out += inner) {
			int64_t at = ((int64_t *)idx->data)[i];

			at += at < 0 ? x->dim[axis] : 0;
			if (at < 0 || at >= x->dim[axis])
				return onnx_fail(g, op, MICA_ERR_SHAPE,
						 "index %lld is outside 0..%lld; check the model "
						 "and --shape",
						 (long long)at, (long long)x->dim[axis] - 1);
			memcpy(out,
			       (uint8_t *)x->data + (o * (size_t)x->dim[axis] + (size_t)at) * inner,
			       inner);
		}
	}
	return out ? 0 : 1;
}

int fold_concat(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	unsigned axis = (unsigned)concat_axis(g, op);
	size_t outer, inner, size = ir_dtype_size(op->out[0]->dtype);
	uint8_t *out = fold_out(g, op, 0);
	(void)d;

	around(op->out[0], axis, &outer, &inner);
	for (size_t o = 0; out && o < outer; o++) {
		for (unsigned i = 0; i < op->ins; i++) {
			const struct ir_value *v = ir_op_in(op, i);
			size_t n = (size_t)v->dim[axis] * inner * size;

			memcpy(out, (uint8_t *)v->data + o * n, n);
			out += n;
		}
	}
	return out ? 0 : 1;
}

static int move(struct ir_graph *g, struct ir_op *op, unsigned i, int64_t base,
		const int64_t *stride)
{
	const struct ir_value *x = op->in[0], *y = op->out[i];
	void *out = fold_out(g, op, i);

	if (!out)
		return 1;
	if (ir_elements(y))
		move_strided(out, x->data, ir_dtype_size(x->dtype), y->rank, y->dim, base, stride);
	return 0;
}

int fold_slice(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	int64_t stride[IR_MAX_RANK], base = 0;
	struct slice_spec s;
	(void)d;

	if (slice_read(g, op, &s))
		return -(int)g->err->code;
	dense_strides(op->in[0], stride);
	for (unsigned i = 0; i < op->in[0]->rank; i++) {
		base += s.start[i] * stride[i];
		stride[i] *= s.step[i];
	}
	return move(g, op, 0, base, stride);
}

int fold_split(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	int64_t stride[IR_MAX_RANK], *parts, at = 0;
	unsigned axis;
	int r = split_read(g, op, &axis, &parts);
	(void)d;

	if (r)
		return r;
	dense_strides(op->in[0], stride);
	for (unsigned i = 0; i < op->outs && !r; at += parts[i++] * stride[axis])
		if (op->out[i])
			r = move(g, op, i, at, stride);
	free(parts);
	return r;
}

int fold_transpose(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	int64_t from[IR_MAX_RANK], stride[IR_MAX_RANK];
	int perm[IR_MAX_RANK];
	(void)d;

	if (transpose_read(g, op, perm))
		return -(int)g->err->code;
	dense_strides(op->in[0], from);
	for (unsigned i = 0; i < op->in[0]->rank; i++)
		stride[i] = from[perm[i]];
	return move(g, op, 0, 0, stride);
}

int fold_expand(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *y = op->out[0];
	int64_t from[IR_MAX_RANK], stride[IR_MAX_RANK] = { 0 };
	(void)d;

	dense_strides(x, from);
	for (unsigned i = 0; i < x->rank; i++)
		stride[y->rank - x->rank + i] = x->dim[i] == 1 ? 0 : from[i];
	return move(g, op, 0, 0, stride);
}

int fold_tile(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *y = op->out[0];
	int64_t from[IR_MAX_RANK], to[IR_MAX_RANK];
	size_t size = ir_dtype_size(x->dtype);
	uint8_t *out = fold_out(g, op, 0);
	(void)d;

	dense_strides(x, from);
	dense_strides(y, to);
	for (int64_t i = 0, n = ir_elements(y); out && i < n; i++) {
		int64_t at = 0;

		for (unsigned a = 0; a < x->rank; a++)
			at += i / to[a] % y->dim[a] % x->dim[a] * from[a];
		memcpy(out + (size_t)i * size, (uint8_t *)x->data + (size_t)at * size, size);
	}
	return out ? 0 : 1;
}

/* ---- reductions of integers and floats ---- */

static int64_t fold_int(int red, int64_t acc, int64_t v)
{
	switch (red) {
	case MICA_RED_MAX:
		return acc > v ? acc : v;
	case MICA_RED_MIN:
		return acc < v ? acc : v;
	case MICA_RED_PROD:
		return (int64_t)((uint64_t)acc * (uint64_t)v);
	default:
		return (int64_t)((uint64_t)acc + (uint64_t)v);
	}
}

static double fold_float(int red, double acc, double v)
{
	switch (red) {
	case MICA_RED_MAX:
		return acc > v ? acc : v;
	case MICA_RED_MIN:
		return acc < v ? acc : v;
	case MICA_RED_PROD:
		return acc * v;
	default:
		return acc + v;
	}
}

/* Where element i of x goes in the result: the axes of mask are dropped. */
static int64_t reduced_index(const struct ir_value *x, const int64_t *stride, unsigned mask,
			     int64_t i)
{
	int64_t at = 0;

	for (unsigned a = 0; a < x->rank; a++)
		if (!(mask >> a & 1))
			at = at * x->dim[a] + i / stride[a] % x->dim[a];
	return at;
}

/* Full reductions, and others that keep their dims, which show what was reduced. */
static bool reduced_axes(const struct ir_value *x, const struct ir_value *y, unsigned *mask)
{
	*mask = 0;
	for (unsigned i = 0; i < x->rank; i++)
		if (!y->rank || (y->rank == x->rank && y->dim[i] != x->dim[i]))
			*mask |= 1u << i;
	return !y->rank || y->rank == x->rank;
}

int fold_reduce(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t stride[IR_MAX_RANK], n = ir_elements(x), outs = ir_elements(op->out[0]);
	bool ints = x->dtype == IR_I64, *seen;
	unsigned mask;
	double *acc;
	void *out;

	if ((!ints && x->dtype != MICA_F32) || d->code > MICA_RED_PROD ||
	    (ints && d->code == MICA_RED_MEAN) || !n || n > 1 << 24 ||
	    !reduced_axes(x, op->out[0], &mask))
		return 1;
	out = fold_out(g, op, 0);
	if (!out)
		return 1;
	dense_strides(x, stride);
	acc = ir_alloc((size_t)outs, sizeof(*acc));
	seen = ir_alloc((size_t)outs, sizeof(*seen));
	for (int64_t i = 0; i < n; i++) {
		int64_t at = reduced_index(x, stride, mask, i), *o = (int64_t *)out + at;
		double v = ints ? 0 : (double)((float *)x->data)[i];

		if (ints)
			*o = seen[at] ? fold_int(d->code, *o, ((int64_t *)x->data)[i])
				      : ((int64_t *)x->data)[i];
		else
			acc[at] = seen[at] ? fold_float(d->code, acc[at], v) : v;
		seen[at] = true;
	}
	for (int64_t i = 0; i < outs && !ints; i++)
		((float *)out)[i] =
			(float)(d->code == MICA_RED_MEAN ? acc[i] * (double)outs / (double)n
							 : acc[i]);
	free(acc);
	free(seen);
	return 0;
}
