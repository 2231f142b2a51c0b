// SPDX-License-Identifier: MIT
/* What opsets 23 to 26 brought for transformers and their caches: RotaryEmbedding, TensorScatter; BitCast. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "expr.h"
#include "fold.h"
#include "onnx_quant.h"

/* ---- RotaryEmbedding: x [b,n,s,h] or [b,s,n*h], cosines, sines [positions,r/2] or, without positions, [b,s,r/2] ---- */

struct rotary {
	int64_t n, h, r;	/* heads, their width, what is rotated of it */
	int64_t bs, s;
	bool flat;
};

static int read_rotary(struct ir_graph *g, struct ir_op *op, struct rotary *r)
{
	const struct ir_value *x = op->in[0], *at = ir_op_in(op, 3);
	bool ok = x->rank == 3 || x->rank == 4;

	memset(r, 0, sizeof(*r));
	r->flat = x->rank == 3;
	r->n = !ok ? 0 : r->flat ? onnx_int(op, "num_heads", 0) : x->dim[1];
	ok = ok && r->n > 0 && (!r->flat || x->dim[2] % r->n == 0);
	r->h = !ok ? 0 : r->flat ? x->dim[2] / r->n : x->dim[3];
	r->bs = ok ? x->dim[0] : 0;
	r->s = ok ? x->dim[r->flat ? 1 : 2] : 0;
	r->r = onnx_int(op, "rotary_embedding_dim", 0);
	r->r = r->r ? r->r : r->h;
	ok = ok && r->r > 0 && r->r % 2 == 0 && r->r <= r->h;
	ok = ok && (!at || (at->rank == 2 && at->dim[0] == r->bs && at->dim[1] == r->s));
	for (unsigned i = 1; i < 3 && ok; i++) {
		const struct ir_value *t = op->in[i];

		ok = t->rank == (at ? 2 : 3) && t->dim[t->rank - 1] == r->r / 2 && (at || (t->dim[0] == r->bs && t->dim[1] == r->s));
	}
	return ok ? 0 : onnx_fail(g, op, MICA_ERR_SHAPE, "operand, tables, positions and num_heads do not fit each other; check the model");
}

static int infer_rotary(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct rotary r;
	(void)d;

	return read_rotary(g, op, &r) ? -(int)g->err->code : onnx_out(g, op, 0, op->in[0]->dtype, op->in[0]->rank, op->in[0]->dim);
}

/* The rows of a table that the positions ask for, [b,1,s,r/2] */
static struct ir_value *rows_of(struct build *b, struct ir_op *op, unsigned i, const struct rotary *r)
{
	struct ir_value *in[2] = { expr_in(b->g, op, i), expr_in(b->g, op, 3) };
	int64_t dim[4] = { r->bs, r->s, r->r / 2 };

	if (in[1])
		in[0] = build_host(b, MICA_HOST_GATHER, in, 2, 3, dim)->out[0];
	return build_reshape(b, in[0], 4, (int64_t[]){ r->bs, 1, r->s, r->r / 2 });
}

/* Every second one of the last axis from `first` on, or the half of it. */
static struct ir_value *half_of(struct build *b, struct ir_value *x, int64_t i, bool interleaved)
{
	int64_t n = x->dim[3] / 2, start[4] = { 0, 0, 0, interleaved ? i : i * n }, step[4] = { 1, 1, 1, interleaved ? 2 : 1 };

	return build_slice(b, x, start, step, (int64_t[]){ x->dim[0], x->dim[1], x->dim[2], n });
}

static struct ir_value *rotated(struct build *b, struct ir_value *x, struct ir_value *cosines, struct ir_value *sines, bool interleaved)
{
	struct ir_value *p = half_of(b, x, 0, interleaved), *q = half_of(b, x, 1, interleaved), *part[2];

	part[0] = build_binary(b, MICA_BIN_SUB, build_binary(b, MICA_BIN_MUL, cosines, p), build_binary(b, MICA_BIN_MUL, sines, q));
	part[1] = build_binary(b, MICA_BIN_ADD, build_binary(b, MICA_BIN_MUL, sines, p), build_binary(b, MICA_BIN_MUL, cosines, q));
	if (!interleaved)
		return build_concat(b, part, 2, 3);
	for (unsigned i = 0; i < 2; i++)
		part[i] = build_reshape(b, part[i], 5, (int64_t[]){ x->dim[0], x->dim[1], x->dim[2], x->dim[3] / 2, 1 });
	return build_reshape(b, build_concat(b, part, 2, 4), 4, x->dim);
}

static int canon_rotary(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = build_at(g, op), *b = &own;
	struct ir_value *x = expr_in(g, op, 0), *part[2];
	struct rotary r;
	(void)d;

	if (read_rotary(g, op, &r))
		return -(int)g->err->code;
	if (r.flat)
		x = expr_swap(b, build_reshape(b, x, 4, (int64_t[]){ r.bs, r.s, r.n, r.h }), 1, 2);
	part[0] = rotated(b, build_slice1(b, x, 3, 0, r.r), rows_of(b, op, 1, &r), rows_of(b, op, 2, &r), onnx_int(op, "interleaved", 0) != 0);
	if (r.r < r.h) {
		part[1] = build_slice1(b, x, 3, r.r, r.h - r.r);
		part[0] = build_concat(b, part, 2, 3);
	}
	expr_becomes(b, op, 0, r.flat ? expr_swap(b, part[0], 1, 2) : part[0]);
	return 0;
}

/* ---- TensorScatter: a cache, what is written into it, and where, by batch; along `axis` ---- */

static int infer_tensor_scatter(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *up = op->in[1], *at = ir_op_in(op, 2);
	int axis = onnx_axis(g, op, onnx_int(op, "axis", -2), x->rank);
	bool ok = axis > 0 && up->rank == x->rank;
	(void)d;

	if (axis < 0)
		return axis;
	for (unsigned i = 0; i < x->rank && ok; i++)
		ok = (int)i == axis ? up->dim[i] <= x->dim[i] : up->dim[i] == x->dim[i];
	if (!ok || (at && (at->rank != 1 || at->dim[0] != x->dim[0])) || up->dtype != x->dtype)
		return onnx_fail(g, op, MICA_ERR_SHAPE, "cache, update and write_indices do not fit each other; check the model");
	if (!onnx_is(op, "mode", "linear", "linear") && !onnx_is(op, "mode", "circular", "linear"))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "unknown mode; use linear or circular");
	return onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
}

static int canon_tensor_scatter(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *in[3] = { expr_in(g, op, 0), NULL, expr_in(g, op, 1) }, *at = expr_in(g, op, 2);
	const struct ir_value *x = in[0], *up = in[2];
	unsigned axis = (unsigned)onnx_axis(g, op, onnx_int(op, "axis", -2), x->rank);
	int64_t dim[IR_MAX_RANK];
	struct ir_op *h;
	(void)d;

	if (x->dim[axis] > 1 << 23)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "positions above 2^23 are not supported; make the cache smaller");
	if (onnx_room(g, op, 1, up->dim[axis]))
		return -(int)g->err->code;
	in[1] = expr_iota(b, up->dim[axis], up->rank, axis);
	for (unsigned i = 0; i < up->rank; i++)
		dim[i] = i ? 1 : up->dim[0];
	if (at) /* one that is out of range fails the run */
		in[1] = build_binary(b, MICA_BIN_ADD, in[1], build_reshape(b, at, up->rank, dim));
	if (onnx_is(op, "mode", "circular", "linear"))
		in[1] = expr_k(b, MICA_BIN_MOD, in[1], (float)x->dim[axis]);
	in[1] = build_expand(b, in[1], up->rank, up->dim);
	h = build_host(b, MICA_HOST_SCATTER_ELEMENTS, in, 3, x->rank, x->dim);
	h->a.host_int[0] = axis;
	expr_becomes(b, op, 0, h->out[0]);
	return 0;
}

/* ---- BitCast: constants in all types of one size; at run time integers of at most 16 bits ---- */

static unsigned bits_of(const struct ir_value *v)
{
	static const struct {
		int elem;
		unsigned bits;
	} sizes[] = {
		{ ONNX_I8, 8 },	  { ONNX_U8, 8 },   { ONNX_I16, 16 }, { ONNX_U16, 16 }, { ONNX_F16, 16 }, { ONNX_BF16, 16 },
		{ ONNX_I32, 32 }, { ONNX_U32, 32 }, { ONNX_F32, 32 }, { ONNX_I64, 64 }, { ONNX_U64, 64 }, { ONNX_F64, 64 },
	};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		if (sizes[i].elem == v->elem)
			return sizes[i].bits;
	return 0;
}

static int infer_bitcast(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int to = (int)onnx_int(op, "to", 0), dtype = onnx_dtype(to);
	(void)d;

	if (dtype == MICA_NONE || onnx_out(g, op, 0, dtype, x->rank, x->dim))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "result of element type %d (%s) is not supported", to, onnx_type_name(to));
	op->out[0]->elem = to;
	if (!bits_of(x) || bits_of(x) != bits_of(op->out[0]))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "casts the bits of %s to %s, which is not supported; types of one size of 8 to 64 bits are",
				 onnx_type_name(x->elem), onnx_type_name(to));
	return 0;
}

/* Only what the IR holds without loss has bits: f64 and the halves are f32 here. */
static bool has_bits(const struct ir_value *v)
{
	return v->elem != ONNX_F64 && v->elem != ONNX_F16 && v->elem != ONNX_BF16;
}

static int fold_bitcast(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	struct ir_value *y = op->out[0];
	size_t wide = ir_dtype_size(x->dtype);
	(void)d;

	if (!has_bits(x) || !has_bits(y) || !fold_out(g, op, 0))
		return 1;
	for (int64_t i = 0, n = ir_elements(x); i < n; i++) {
		uint64_t u = 0;

		memcpy(&u, (const uint8_t *)x->data + (size_t)i * wide, wide); /* little endian */
		if (y->dtype == IR_I64)
			u = (uint64_t)(y->elem == ONNX_I32 ? (int32_t)u : y->elem == ONNX_U32 ? (int64_t)(uint32_t)u :
				       y->elem == ONNX_I16 ? (int16_t)u : y->elem == ONNX_U16 ? (int64_t)(uint16_t)u : (int64_t)u);
		memcpy((uint8_t *)y->data + (size_t)i * ir_dtype_size(y->dtype), &u, ir_dtype_size(y->dtype));
	}
	return 0;
}

static int canon_bitcast(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *x = expr_in(g, op, 0), *y = op->out[0];
	float lo, hi, all;
	(void)d;

	if (y->elem == op->in[0]->elem) {
		expr_becomes(b, op, 0, x);
		return 0;
	}
	if (!quant_range_of(op->in[0]->elem, &lo, &hi) || !quant_range_of(y->elem, &lo, &hi))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "casts bits from %s to %s at run time, where numbers are f32; integers of 8 and 16 bits are supported, constant "
				 "integers and floats, too",
				 onnx_type_name(op->in[0]->elem), onnx_type_name(y->elem));
	all = hi - lo + 1;
	x = x->dtype == MICA_F32 ? x : build_unary(b, MICA_FN_COPY, x, 0, 0);
	x = lo < 0 ? build_where(b, expr_k(b, MICA_BIN_GT, x, hi), expr_k(b, MICA_BIN_SUB, x, all), x)
		   : build_where(b, expr_k(b, MICA_BIN_LT, x, 0), expr_k(b, MICA_BIN_ADD, x, all), x);
	expr_becomes(b, op, 0, x);
	return 0;
}

const struct onnx_def onnx_cache_ops[] = {
	{ "RotaryEmbedding", 0, 3, 4, infer_rotary, NULL, canon_rotary },
	{ "TensorScatter", 0, 2, 3, infer_tensor_scatter, NULL, canon_tensor_scatter },
	{ "BitCast", 0, 1, 1, infer_bitcast, fold_bitcast, canon_bitcast },
	{ 0 },
};
