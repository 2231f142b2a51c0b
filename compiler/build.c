// SPDX-License-Identifier: MIT
/* Builds operators with the shapes of their results. Used wherever a pass writes new IR. */
#include <stdlib.h>
#include <string.h>
#include "front.h"

struct build build_at(struct ir_graph *g, struct ir_op *op)
{
	return (struct build){
		.g = g, .at = op, .name = op->name, .onnx_type = op->onnx_type, .format = op->format
	};
}

struct ir_op *build_op(struct build *b, enum ir_kind kind, struct ir_value *const *in, unsigned ins,
		       unsigned rank, const int64_t *dim)
{
	struct ir_value *out = ir_value_new(b->g, NULL, MICA_F32, rank, dim);
	struct ir_op *op = ir_op_new(b->g, kind, b->name, b->at, in, ins, &out, 1);

	op->onnx_type = b->onnx_type ? ir_strdup(b->onnx_type) : NULL;
	op->format = b->format;
	return op;
}

struct ir_value *build_const(struct build *b, unsigned rank, const int64_t *dim, const float *data)
{
	return ir_const_new(b->g, NULL, MICA_F32, rank, dim, data);
}

struct ir_value *build_scalar(struct build *b, float v)
{
	return build_const(b, 0, NULL, &v);
}

struct ir_value *build_unary(struct build *b, enum mica_fn fn, struct ir_value *x, float alpha,
			     float beta)
{
	struct ir_op *op = build_op(b, IR_UNARY, &x, 1, x->rank, x->dim);

	op->a.fn = fn;
	op->a.alpha = alpha;
	op->a.beta = beta;
	return op->out[0];
}

static unsigned broadcast(struct ir_value *const *in, unsigned ins, int64_t *dim)
{
	unsigned rank = 0;

	for (unsigned i = 0; i < ins; i++)
		rank = in[i]->rank > rank ? in[i]->rank : rank;
	for (unsigned d = 0; d < rank; d++)
		dim[d] = 1;
	for (unsigned i = 0; i < ins; i++)
		for (unsigned d = 0; d < in[i]->rank; d++)
			if (in[i]->dim[d] != 1)
				dim[rank - in[i]->rank + d] = in[i]->dim[d];
	return rank;
}

struct ir_value *build_binary(struct build *b, enum mica_bin bin, struct ir_value *x,
			      struct ir_value *y)
{
	struct ir_value *in[2] = { x, y };
	int64_t dim[IR_MAX_RANK];
	unsigned rank = broadcast(in, 2, dim);
	struct ir_op *op = build_op(b, IR_BINARY, in, 2, rank, dim);

	op->a.bin = bin;
	return op->out[0];
}

struct ir_value *build_where(struct build *b, struct ir_value *c, struct ir_value *x,
			     struct ir_value *y)
{
	struct ir_value *in[3] = { c, x, y };
	int64_t dim[IR_MAX_RANK];
	unsigned rank = broadcast(in, 3, dim);

	return build_op(b, IR_WHERE, in, 3, rank, dim)->out[0];
}

struct ir_value *build_reduce(struct build *b, enum mica_red red, struct ir_value *x, unsigned axes)
{
	int64_t dim[IR_MAX_RANK];
	struct ir_op *op;

	for (unsigned i = 0; i < x->rank; i++)
		dim[i] = axes >> i & 1 ? 1 : x->dim[i];
	op = build_op(b, IR_REDUCE, &x, 1, x->rank, dim);
	op->a.red = red;
	op->a.axes = axes;
	return op->out[0];
}

/* ---- movement ---- */

static bool same_dims(const struct ir_value *x, unsigned rank, const int64_t *dim)
{
	return x->rank == rank && (!rank || !memcmp(x->dim, dim, rank * sizeof(*dim)));
}

static void same_codes(struct ir_value *v, const struct ir_value *x)
{
	v->dtype = x->dtype;
	v->elem = x->elem;
	v->scale = x->scale;
	v->zero = x->zero;
	v->calibrated = x->calibrated;
	v->threshold = x->threshold;
	v->min = x->min;
	v->max = x->max;
}

/* A constant is moved right here when its scale allows it. */
static struct ir_value *move_const(struct build *b, struct ir_value *x, unsigned rank,
				   const int64_t *dim, int64_t base, const int64_t *stride)
{
	struct ir_value *v = ir_const_new(b->g, x->name, x->dtype, rank, dim, NULL);

	same_codes(v, x);
	move_strided(v->data, x->data, ir_dtype_size(x->dtype), rank, dim, base, stride);
	return v;
}

/* A constant with a scale per channel is moved as f32. */
static struct ir_value *plain(struct build *b, struct ir_value *x)
{
	return x->ch_scale ? const_f32(b->g, x) : x;
}

static struct ir_op *move_op(struct build *b, enum ir_kind kind, struct ir_value *x, unsigned rank,
			     const int64_t *dim)
{
	struct ir_op *op = build_op(b, kind, &x, 1, rank, dim);

	same_codes(op->out[0], x);
	return op;
}

struct ir_value *build_reshape(struct build *b, struct ir_value *x, unsigned rank,
			       const int64_t *dim)
{
	while (x->def && x->def->kind == IR_RESHAPE)
		x = x->def->in[0];
	if (same_dims(x, rank, dim))
		return x;
	x = plain(b, x);
	if (x->data) {
		struct ir_value *v = ir_const_new(b->g, x->name, x->dtype, rank, dim, x->data);

		same_codes(v, x);
		return v;
	}
	return move_op(b, IR_RESHAPE, x, rank, dim)->out[0];
}

struct ir_value *build_transpose(struct build *b, struct ir_value *x, const int *perm)
{
	int64_t dim[IR_MAX_RANK], from[IR_MAX_RANK], stride[IR_MAX_RANK];
	bool identity = true;
	struct ir_op *op;

	dense_strides(x, from);
	for (unsigned i = 0; i < x->rank; i++) {
		dim[i] = x->dim[perm[i]];
		stride[i] = from[perm[i]];
		identity = identity && perm[i] == (int)i;
	}
	if (identity)
		return x;
	x = plain(b, x);
	if (x->data)
		return move_const(b, x, x->rank, dim, 0, stride);
	op = move_op(b, IR_TRANSPOSE, x, x->rank, dim);
	memcpy(op->a.perm, perm, x->rank * sizeof(*perm));
	return op->out[0];
}

struct ir_value *build_slice(struct build *b, struct ir_value *x, const int64_t *start,
			     const int64_t *step, const int64_t *dim)
{
	int64_t stride[IR_MAX_RANK], base = 0;
	bool whole = same_dims(x, x->rank, dim);
	struct ir_op *op;

	dense_strides(x, stride);
	for (unsigned i = 0; i < x->rank; i++) {
		base += start[i] * stride[i];
		stride[i] *= step[i];
		whole = whole && (step[i] == 1 || dim[i] == 1);
	}
	if (whole)
		return x;
	x = plain(b, x);
	if (x->data)
		return move_const(b, x, x->rank, dim, base, stride);
	op = move_op(b, IR_SLICE, x, x->rank, dim);
	memcpy(op->a.start, start, x->rank * sizeof(*start));
	memcpy(op->a.step, step, x->rank * sizeof(*step));
	return op->out[0];
}

struct ir_value *build_slice1(struct build *b, struct ir_value *x, unsigned axis, int64_t start,
			      int64_t n)
{
	int64_t first[IR_MAX_RANK] = { 0 }, step[IR_MAX_RANK], dim[IR_MAX_RANK];

	for (unsigned i = 0; i < x->rank; i++) {
		step[i] = 1;
		dim[i] = x->dim[i];
	}
	first[axis] = start;
	dim[axis] = n;
	return build_slice(b, x, first, step, dim);
}

/* The format that all computed parts have in common, or f32. */
static struct ir_value common_format(struct ir_value *const *in, unsigned ins)
{
	struct ir_value like = { .dtype = MICA_F32, .scale = 1 };
	bool first = true;

	for (unsigned i = 0; i < ins; i++) {
		if (in[i]->data)
			continue;
		if (!first && (in[i]->dtype != like.dtype || in[i]->scale != like.scale ||
			       in[i]->zero != like.zero))
			return (struct ir_value){ .dtype = MICA_F32, .scale = 1 };
		same_codes(&like, in[i]);
		first = false;
	}
	return like;
}

struct ir_value *build_concat(struct build *b, struct ir_value *const *in, unsigned ins,
			      unsigned axis)
{
	struct ir_value like = common_format(in, ins);
	int64_t dim[IR_MAX_RANK];
	struct ir_op *op;

	if (ins == 1)
		return in[0];
	memcpy(dim, in[0]->dim, sizeof(dim));
	for (unsigned i = 1; i < ins; i++)
		dim[axis] += in[i]->dim[axis];
	op = build_op(b, IR_CONCAT, in, ins, in[0]->rank, dim);
	same_codes(op->out[0], &like);
	op->a.axis = (int)axis;
	for (unsigned i = 0; i < ins; i++) {
		struct build before = *b;

		before.at = op;
		if (in[i]->data)
			ir_op_set_in(op, i, const_as(b->g, in[i], &like));
		else if (in[i]->dtype != like.dtype)
			ir_op_set_in(op, i, build_unary(&before, MICA_FN_COPY, in[i], 0, 0));
	}
	return op->out[0];
}

struct ir_value *build_expand(struct build *b, struct ir_value *x, unsigned rank,
			      const int64_t *dim)
{
	int64_t wide[IR_MAX_RANK] = { 0 };

	for (unsigned i = 0; i < rank; i++)
		wide[i] = i < rank - x->rank ? 1 : x->dim[i - (rank - x->rank)];
	x = build_reshape(b, x, rank, wide);
	if (same_dims(x, rank, dim))
		return x;
	x = plain(b, x);
	return move_op(b, IR_EXPAND, x, rank, dim)->out[0];
}

struct ir_value *build_pad(struct build *b, struct ir_value *x, const int64_t *front,
			   const int64_t *behind, float value)
{
	int64_t dim[IR_MAX_RANK];
	struct ir_op *op;

	for (unsigned i = 0; i < x->rank; i++)
		dim[i] = x->dim[i] + front[i] + behind[i];
	if (same_dims(x, x->rank, dim))
		return x;
	x = plain(b, x);
	op = move_op(b, IR_PAD, x, x->rank, dim);
	memcpy(op->a.start, front, x->rank * sizeof(*front));
	memcpy(op->a.end, behind, x->rank * sizeof(*behind));
	op->a.pad_value = value;
	return op->out[0];
}

struct ir_op *build_host(struct build *b, enum mica_host_op host, struct ir_value *const *in, unsigned ins, unsigned rank,
			 const int64_t *dim)
{
	struct ir_op *op = build_op(b, IR_HOST, in, ins, rank, dim);

	op->a.host = host;
	return op;
}

void build_becomes(struct ir_graph *g, struct ir_value *old, struct ir_value *v)
{
	bool fresh = v->id > old->id && !v->is_output && !v->data;

	ir_value_replace(g, old, v);
	if (fresh && !v->is_output)
		ir_swap_names(g, old, v);
}
