// SPDX-License-Identifier: MIT
/*
 * Quantized operators of domain com.microsoft, as ONNX Runtime's quantizer and optimizer write them: QLinear*, QGemm, integer
 * products with floating results, 4-bit weights.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "onnx_channels.h"
#include "onnx_quant.h"
#include "onnx_window.h"

enum { Q_ADD, Q_MUL, Q_LEAKY, Q_SIGMOID, Q_SOFTMAX, Q_AVERAGE, Q_GLOBAL };

/* The result has y's zero point's type, or x's. */
static int code_out(struct ir_graph *g, struct ir_op *op, unsigned zero, const struct ir_value *x, unsigned rank, const int64_t *dim)
{
	const struct ir_value *z = ir_op_in(op, zero) ? ir_op_in(op, zero) : x;

	if (z->dtype != MICA_I8 && z->dtype != MICA_U8)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "operands or zero points are %s; int8 and uint8 are supported", ir_dtype_name(z->dtype));
	if (onnx_out(g, op, 0, z->dtype, rank, dim))
		return -(int)g->err->code;
	op->out[0]->elem = z->elem;
	return 0;
}

static int check_codes(struct ir_graph *g, struct ir_op *op, unsigned i)
{
	const struct ir_value *v = ir_op_in(op, i);

	if (v && (v->dtype == MICA_I8 || v->dtype == MICA_U8))
		return 0;
	return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "operand %u is %s, not an 8-bit integer; check the model", i, v ? ir_dtype_name(v->dtype) : "missing");
}

/* Zero points may be absent, what the mask names may not. */
static int check_given(struct ir_graph *g, struct ir_op *op, unsigned mask)
{
	for (unsigned i = 0; i < 32; i++)
		if (mask >> i & 1 && !ir_op_in(op, i))
			return onnx_fail(g, op, MICA_ERR_CORRUPT, "operand %u is missing; export the model again", i);
	return 0;
}

/* Scale and zero point in slots i and i + 1, both single constants. */
static int format_at(struct ir_graph *g, struct ir_op *op, unsigned i, const struct ir_value *like, struct quant_format *f)
{
	const struct ir_value *z = ir_op_in(op, i + 1) ? ir_op_in(op, i + 1) : like;

	return quant_format_read(g, op, (int)i, (int)i + 1, z->elem ? z->elem == ONNX_U8 : z->dtype == MICA_U8, f);
}

/* Operand i, whose scale and zero point come behind it, as a value. NULL with g->err. */
static struct ir_value *value_at(struct build *b, struct ir_op *op, unsigned i)
{
	struct ir_value *x = ir_op_in(op, i);
	struct quant_format f;

	return format_at(b->g, op, i + 1, x, &f) ? NULL : quant_value(b, x, f.u8, f.scale, f.zero);
}

static int becomes_codes(struct build *b, struct ir_op *op, unsigned scale, struct ir_value *y)
{
	struct quant_format f;

	if (!y || format_at(b->g, op, scale, ir_op_in(op, 0), &f))
		return -(int)b->g->err->code;
	b->g->qdq = true;
	expr_becomes(b, op, 0, quant_round(b, y, f.u8, f.scale, f.zero));
	return 0;
}

/* ---- two operands: a, scale, zero, b, scale, zero, scale, zero ---- */

static int infer_pair(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct ir_value *a = op->in[0], *c = op->in[3];
	unsigned rank;
	int64_t dim[IR_MAX_RANK];
	(void)d;

	if (check_codes(g, op, 0) || check_codes(g, op, 3) || check_given(g, op, (1u << 1) | (1u << 4) | (1u << 6)))
		return -(int)g->err->code;
	rank = a->rank > c->rank ? a->rank : c->rank;
	for (unsigned i = 0; i < rank; i++) {
		int64_t p = i + a->rank >= rank ? a->dim[i + a->rank - rank] : 1, q = i + c->rank >= rank ? c->dim[i + c->rank - rank] : 1;

		if (p != q && p != 1 && q != 1)
			return onnx_fail(g, op, MICA_ERR_SHAPE, "operands cannot be broadcast: extents %lld and %lld; check the model", (long long)p, (long long)q);
		dim[i] = p == 1 ? q : p;
	}
	return code_out(g, op, 7, a, rank, dim);
}

static int canon_pair(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *x = value_at(b, op, 0), *y = x ? value_at(b, op, 3) : NULL;

	return becomes_codes(b, op, 6, y ? build_binary(b, d->code == Q_ADD ? MICA_BIN_ADD : MICA_BIN_MUL, x, y) : NULL);
}

/* ---- one operand: x, scale, zero, scale, zero ---- */

static bool channels_last(const struct ir_op *op, const struct onnx_def *d)
{
	return (d->code == Q_AVERAGE || d->code == Q_GLOBAL) && onnx_int(op, "channels_last", 0);
}

static int infer_one(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct ir_value x = channels_last(op, d) ? channels_first_of(op->in[0]) : *op->in[0];
	struct window w;

	if (check_codes(g, op, 0) || check_given(g, op, (1u << 1) | (1u << 3)))
		return -(int)g->err->code;
	if ((d->code == Q_AVERAGE || d->code == Q_GLOBAL) && x.rank < 3)
		return onnx_fail(g, op, MICA_ERR_SHAPE, "operand has %u dimensions, at least 3 are needed; check the model", x.rank);
	if (d->code == Q_SOFTMAX && onnx_axis(g, op, onnx_int(op, "axis", -1), x.rank) < 0)
		return -(int)g->err->code;
	if (d->code == Q_AVERAGE && (window_read(g, op, &x, NULL, &w) || window_out(g, op, &w, x.dtype, x.dim[0], x.dim[1])))
		return -(int)g->err->code;
	if (d->code == Q_AVERAGE) {
		x.rank = op->out[0]->rank;
		memcpy(x.dim, op->out[0]->dim, sizeof(x.dim));
	}
	for (unsigned i = 2; d->code == Q_GLOBAL && i < x.rank; i++)
		x.dim[i] = 1;
	if (code_out(g, op, 4, op->in[0], x.rank, x.dim))
		return -(int)g->err->code;
	if (channels_last(op, d))
		result_channels_last(op->out[0]);
	return 0;
}

/* Before opset 13 all axes from `axis` on are one. */
static struct ir_value *softmax(struct build *b, struct ir_op *op, struct ir_value *x)
{
	int axis = onnx_axis(b->g, op, onnx_int(op, "axis", -1), x->rank);
	int64_t dim[2] = { 1, 1 };
	struct ir_op *s;

	for (unsigned i = 0; i < x->rank; i++)
		dim[(int)i >= axis] *= x->dim[i];
	if (onnx_int(op, "opset", 13) < 13) {
		x = build_reshape(b, x, 2, dim);
		axis = 1;
	}
	s = build_op(b, IR_SOFTMAX, &x, 1, x->rank, x->dim);
	s->a.axis = axis;
	return s->out[0];
}

static struct ir_value *pooled(struct build *b, struct ir_op *op, struct ir_value *x, const struct onnx_def *d)
{
	bool last = channels_last(op, d);
	struct window w;

	x = last ? to_channels_first(b, x) : x;
	if (d->code == Q_GLOBAL) {
		x = build_reduce(b, MICA_RED_MEAN, x, ((1u << x->rank) - 1) & ~3u);
	} else {
		unsigned rank = x->rank;

		if (window_read(b->g, op, x, NULL, &w))
			return NULL;
		x = build_pool_of(b, op, x, &w, MICA_POOL_AVG);
		if (rank == 3)
			x = build_reshape(b, x, 3, (int64_t[]){ x->dim[0], x->dim[1], x->dim[3] });
	}
	return last ? to_channels_last(b, x) : x;
}

static int canon_one(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *x = value_at(b, op, 0);

	if (!x)
		return -(int)g->err->code;
	if (d->code == Q_LEAKY)
		x = build_unary(b, MICA_FN_LEAKY, x, onnx_float(op, "alpha", 0.01f), 0);
	else if (d->code == Q_SIGMOID)
		x = expr_fn(b, MICA_FN_SIGMOID, x);
	else if (d->code == Q_SOFTMAX)
		x = softmax(b, op, x);
	else
		x = pooled(b, op, x, d);
	return becomes_codes(b, op, 3, x);
}

/* ---- QLinearConcat: scale, zero, then x, scale, zero of each operand ---- */

static int infer_concat(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = ir_op_in(op, 2);
	int64_t dim[IR_MAX_RANK];
	int axis;
	(void)d;

	if (op->ins < 5 || op->ins % 3 != 2)
		return onnx_fail(g, op, MICA_ERR_CORRUPT, "has %u operands: scale, zero point and three for each part are needed", op->ins);
	axis = onnx_axis(g, op, onnx_int(op, "axis", 0), x->rank);
	if (axis < 0)
		return axis;
	memcpy(dim, x->dim, sizeof(dim));
	dim[axis] = 0;
	for (unsigned i = 2; i < op->ins; i += 3) {
		const struct ir_value *v = ir_op_in(op, i);
		bool ok = v->rank == x->rank;

		if (check_codes(g, op, i))
			return -(int)g->err->code;
		for (unsigned k = 0; ok && k < x->rank; k++)
			ok = (int)k == axis || v->dim[k] == x->dim[k];
		if (!ok)
			return onnx_fail(g, op, MICA_ERR_SHAPE, "operand %u does not fit the others; check the model", i);
		dim[axis] += v->dim[axis];
	}
	return code_out(g, op, 1, x, x->rank, dim);
}

static int canon_concat(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = expr_at(g, op), *b = &own;
	unsigned n = op->ins / 3;
	struct ir_value **part = ir_alloc(n, sizeof(*part)), *y = NULL;
	struct quant_format f;
	int r = format_at(g, op, 0, ir_op_in(op, 2), &f);
	(void)d;

	for (unsigned i = 0; i < n && !r; i++) {
		part[i] = value_at(b, op, 2 + 3 * i);
		r = part[i] ? 0 : -(int)g->err->code;
		if (part[i] && !(part[i]->dtype == MICA_I8 && part[i]->scale == f.scale && part[i]->zero == f.zero - (f.u8 ? 128 : 0)))
			part[i] = quant_round(b, part[i]->data ? const_f32(g, part[i]) : part[i], f.u8, f.scale, f.zero);
	}
	if (!r)
		y = build_concat(b, part, n, (unsigned)onnx_axis(g, op, onnx_int(op, "axis", 0), part[0]->rank));
	free(part);
	if (!r)
		build_becomes(g, op->out[0], y);
	g->qdq = true;
	return r;
}

/* ---- QGemm: a, scale, zero, b, scale, zero, c, scale, zero; without the last two the result is a number ---- */

static int infer_qgemm(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *a = op->in[0], *w = op->in[3], *c = ir_op_in(op, 6), *s = op->in[4];
	unsigned ta = onnx_int(op, "transA", 0) != 0, tb = onnx_int(op, "transB", 0) != 0;
	int64_t dim[2];
	(void)d;

	if (check_codes(g, op, 0) || check_codes(g, op, 3))
		return -(int)g->err->code;
	if (a->rank != 2 || w->rank != 2 || a->dim[1 - ta] != w->dim[tb])
		return onnx_fail(g, op, MICA_ERR_SHAPE, "operands are not matrices that fit each other; check the model and --shape");
	dim[0] = a->dim[ta];
	dim[1] = w->dim[1 - tb];
	if (ir_elements(s) != 1 && ir_elements(s) != dim[1])
		return onnx_fail(g, op, MICA_ERR_SHAPE, "%lld scales for %lld columns; check the model", (long long)ir_elements(s), (long long)dim[1]);
	if (op->in[5] && ir_elements(op->in[5]) != 1 && ir_elements(op->in[5]) != dim[1])
		return onnx_fail(g, op, MICA_ERR_SHAPE, "zero points do not fit %lld columns; check the model", (long long)dim[1]);
	if (c && (c->rank > 2 || (c->rank && c->dim[c->rank - 1] != dim[1] && c->dim[c->rank - 1] != 1) ||
		  (c->rank == 2 && c->dim[0] != dim[0] && c->dim[0] != 1)))
		return onnx_fail(g, op, MICA_ERR_SHAPE, "operand C cannot be broadcast to the result; check the model");
	if (!ir_op_in(op, 7))
		return onnx_out(g, op, 0, MICA_F32, 2, dim);
	return code_out(g, op, 8, a, 2, dim);
}

/* (codes - zero) * scale of a matrix, with one scale or one for each column. */
static struct ir_value *columns_of(struct build *b, struct ir_op *op, unsigned i, bool trans)
{
	struct ir_value *w = quant_codes(b, ir_op_in(op, i)), *s = expr_in(b->g, op, i + 1), *z = expr_in(b->g, op, i + 2);
	int64_t dim[2] = { 1, 1 };

	if (trans)
		w = expr_swap(b, w, 0, 1);
	dim[1] = z ? ir_elements(z) : 1;
	if (z)
		w = expr_fold(b, MICA_BIN_SUB, w, build_reshape(b, quant_codes(b, z), 2, dim));
	dim[1] = ir_elements(s);
	return expr_fold(b, MICA_BIN_MUL, w, build_reshape(b, s, 2, dim));
}

/* Products take constant weights as i8 around 0; others become numbers. */
static bool around_zero(struct ir_graph *g, struct ir_op *op, unsigned i)
{
	const struct ir_value *w = ir_op_in(op, i), *z = ir_op_in(op, i + 2);
	struct quant_format f;

	if (!w->data)
		return true;
	return (!z || z->data) && !format_at(g, op, i + 1, w, &f) && f.zero == (f.u8 ? 128 : 0);
}

static int canon_qgemm(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *x = value_at(b, op, 0), *w, *c = expr_in(g, op, 6);
	bool tb = onnx_int(op, "transB", 0), one = ir_elements(op->in[4]) == 1 && (!op->in[5] || ir_elements(op->in[5]) == 1);
	float alpha = onnx_float(op, "alpha", 1);
	struct quant_format fa;
	(void)d;

	if (!x || format_at(g, op, 1, op->in[0], &fa))
		return -(int)g->err->code;
	one = one && around_zero(g, op, 3);
	x = onnx_int(op, "transA", 0) ? expr_swap(b, x, 0, 1) : x;
	w = one ? value_at(b, op, 3) : columns_of(b, op, 3, tb);
	if (!w)
		return -(int)g->err->code;
	x = expr_product(b, x, w, one && tb);
	if (c) { /* in units of a's and b's scales */
		struct ir_value *s = expr_in(g, op, 4);

		s = expr_fold(b, MICA_BIN_MUL, build_reshape(b, s, 1, (int64_t[]){ ir_elements(s) }), build_scalar(b, fa.scale));
		x = build_binary(b, MICA_BIN_ADD, x, expr_fold(b, MICA_BIN_MUL, c, s));
	}
	x = alpha == 1 ? x : expr_k(b, MICA_BIN_MUL, x, alpha);
	if (ir_op_in(op, 7))
		return becomes_codes(b, op, 7, x);
	g->qdq = true;
	expr_becomes(b, op, 0, x);
	return 0;
}

/* ---- MatMulIntegerToFloat: a, b, scale of a, scale of b, zero of a, zero of b, bias. DynamicQuantizeMatMul: a, b, scale of b, zero of b, bias ---- */

enum { TO_FLOAT, DYNAMIC };
static const struct slots_of {
	int a_scale, b_scale, a_zero, b_zero, bias;
} integer_slots[] = { { 2, 3, 4, 5, 6 }, { -1, 2, -1, 3, 4 } };

static int infer_integer(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct slots_of *s = &integer_slots[d->code];
	const struct ir_value *a = op->in[0], *w = op->in[1], *bias = ir_op_in(op, (unsigned)s->bias);
	const int per_column[] = { s->b_scale, s->b_zero };

	if ((d->code == TO_FLOAT && check_codes(g, op, 0)) || check_codes(g, op, 1))
		return -(int)g->err->code;
	if (w->rank < 2 || a->rank < 2)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "operands of fewer than 2 dimensions are not supported");
	for (unsigned i = 0; i < 2; i++) {
		const struct ir_value *v = ir_op_in(op, (unsigned)per_column[i]);

		if (v && ir_elements(v) != 1 && ir_elements(v) != w->dim[w->rank - 1])
			return onnx_fail(g, op, MICA_ERR_SHAPE, "operand %d does not have one number, or one for each column; check the model", per_column[i]);
	}
	if (d->code == TO_FLOAT && (ir_elements(op->in[2]) != 1 || (ir_op_in(op, 4) && ir_elements(ir_op_in(op, 4)) != 1)))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "the first operand has more than one scale or zero point; quantize per tensor");
	if (bias && (bias->rank != 1 || bias->dim[0] != w->dim[w->rank - 1]))
		return onnx_fail(g, op, MICA_ERR_SHAPE, "the bias does not have a number for each column; check the model");
	return infer_matmul_of(g, op, a, w);
}

static struct ir_value *as_row(struct build *b, struct ir_value *v, unsigned rank)
{
	int64_t dim[IR_MAX_RANK];

	for (unsigned i = 0; i < rank; i++)
		dim[i] = i + 1 == rank ? ir_elements(v) : 1;
	return build_reshape(b, v, rank, dim);
}

/* The product of codes is exact in f32 below 2^24; scales come behind it. */
static int canon_integer(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct slots_of *s = &integer_slots[d->code];
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *x, *w = quant_codes(b, op->in[1]), *scale, *zero, *bz = expr_in(g, op, (unsigned)s->b_zero), *bias = expr_in(g, op, (unsigned)s->bias);

	if (d->code == DYNAMIC) {
		x = quant_dynamic(b, expr_in(g, op, 0), &scale, &zero);
	} else {
		x = quant_codes(b, op->in[0]);
		scale = build_reshape(b, expr_in(g, op, (unsigned)s->a_scale), 0, NULL);
		zero = expr_in(g, op, (unsigned)s->a_zero);
		zero = zero ? build_reshape(b, quant_codes(b, zero), 0, NULL) : NULL;
	}
	x = zero ? build_binary(b, MICA_BIN_SUB, x, zero) : x;
	w = bz ? expr_fold(b, MICA_BIN_SUB, w, as_row(b, quant_codes(b, bz), w->rank)) : w;
	x = build_matmul_of(b, x, w);
	x = build_binary(b, MICA_BIN_MUL, x, expr_fold(b, MICA_BIN_MUL, as_row(b, expr_in(g, op, (unsigned)s->b_scale), 1), scale));
	expr_becomes(b, op, 0, bias ? build_binary(b, MICA_BIN_ADD, x, bias) : x);
	return 0;
}

/* ---- MatMulNBits: weights [n, blocks, bytes of a block] of 2, 4 or 8 bits, a scale and a zero point for each block ---- */

struct nbits {
	int64_t n, k, bits, block, blocks;
};

static int read_nbits(struct ir_graph *g, struct ir_op *op, struct nbits *p)
{
	const struct ir_value *x = op->in[0], *w = op->in[1], *s = op->in[2], *z = ir_op_in(op, 3), *bias = ir_op_in(op, 5);
	bool ok;

	*p = (struct nbits){ onnx_int(op, "N", 0), onnx_int(op, "K", 0), onnx_int(op, "bits", 4), onnx_int(op, "block_size", 0), 0 };
	ok = p->n > 0 && p->k > 0 && p->n < 1 << 24 && p->k < 1 << 24 && (p->bits == 2 || p->bits == 4 || p->bits == 8) && p->block >= 16 &&
	     p->block <= 1 << 16 && !(p->block & (p->block - 1));
	if (!ok || ir_op_in(op, 4))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "its attributes N, K, bits and block_size are not supported, or it has g_idx");
	p->blocks = (p->k + p->block - 1) / p->block;
	if (!w->data || !s->data || (z && !z->data) || w->dtype != MICA_U8 || s->dtype != MICA_F32)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "weights, scales and zero points must be constants");
	ok = x->rank >= 1 && x->dim[x->rank - 1] == p->k && ir_elements(w) == p->n * p->blocks * (p->block * p->bits / 8) && ir_elements(s) == p->n * p->blocks;
	if (z && z->dtype == MICA_U8)
		ok = ok && ir_elements(z) == p->n * ((p->blocks * p->bits + 7) / 8);
	else if (z)
		ok = ok && z->dtype == MICA_F32 && ir_elements(z) == p->n * p->blocks;
	ok = ok && (!bias || (bias->rank == 1 && bias->dim[0] == p->n));
	return ok ? 0 : onnx_fail(g, op, MICA_ERR_SHAPE, "weights, scales or zero points do not have the sizes that N, K and block_size say; check the model");
}

static int infer_nbits(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	int64_t dim[IR_MAX_RANK];
	struct nbits p;
	(void)d;

	if (read_nbits(g, op, &p))
		return -(int)g->err->code;
	memcpy(dim, op->in[0]->dim, sizeof(dim));
	dim[op->in[0]->rank - 1] = p.n;
	return onnx_out(g, op, 0, MICA_F32, op->in[0]->rank, dim);
}

static unsigned packed(const uint8_t *p, int64_t i, int64_t bits)
{
	return p[i * bits / 8] >> i * bits % 8 & ((1u << bits) - 1);
}

static int canon_nbits(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = build_at(g, op), *b = &own;
	const struct ir_value *z = ir_op_in(op, 3);
	struct ir_value *w, *y;
	struct nbits p;
	(void)d;

	if (read_nbits(g, op, &p) || onnx_room(g, op, p.n, p.k))
		return -(int)g->err->code;
	w = build_const(b, 2, (int64_t[]){ p.n, p.k }, NULL);
	for (int64_t r = 0; r < p.n; r++)
		for (int64_t c = 0; c < p.k; c++) {
			int64_t at = r * p.blocks + c / p.block, row = (p.blocks * p.bits + 7) / 8;
			float zero = !z ? (float)(1 << (p.bits - 1)) : z->dtype == MICA_F32 ? ((float *)z->data)[at]
									      : (float)packed((uint8_t *)z->data + r * row, c / p.block, p.bits);

			((float *)w->data)[r * p.k + c] =
				((float)packed((uint8_t *)op->in[1]->data + at * (p.block * p.bits / 8), c % p.block, p.bits) - zero) * ((float *)op->in[2]->data)[at];
		}
	y = expr_in(g, op, 0);
	y = y->rank == 1 ? build_reshape(b, y, 2, (int64_t[]){ 1, y->dim[0] }) : y;
	y = expr_product(b, y, w, true);
	expr_becomes(b, op, 0, ir_op_in(op, 5) ? build_binary(b, MICA_BIN_ADD, y, expr_in(g, op, 5)) : y);
	return 0;
}

/* ---- the same as ONNX's ---- */

static int infer_onnx(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct onnx_def *std = onnx_find(strrchr(d->type, '.') + 1);

	return std->infer(g, op, std);
}

static int fold_onnx(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct onnx_def *std = onnx_find(strrchr(d->type, '.') + 1);

	return std->fold ? std->fold(g, op, std) : 1;
}

static int canon_onnx(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct onnx_def *std = onnx_find(strrchr(d->type, '.') + 1);

	return std->canon(g, op, std);
}

#define MS "com.microsoft."
#define SAME(type, least, most) { MS type, 0, least, most, infer_onnx, fold_onnx, canon_onnx }

const struct onnx_def onnx_ms_quant_ops[] = {
	{ MS "QLinearAdd", Q_ADD, 1, 8, infer_pair, NULL, canon_pair },
	{ MS "QLinearMul", Q_MUL, 1, 8, infer_pair, NULL, canon_pair },
	{ MS "QLinearLeakyRelu", Q_LEAKY, 1, 5, infer_one, NULL, canon_one },
	{ MS "QLinearSigmoid", Q_SIGMOID, 1, 5, infer_one, NULL, canon_one },
	{ MS "QLinearSoftmax", Q_SOFTMAX, 1, 5, infer_one, NULL, canon_one },
	{ MS "QLinearAveragePool", Q_AVERAGE, 1, 5, infer_one, NULL, canon_one },
	{ MS "QLinearGlobalAveragePool", Q_GLOBAL, 1, 5, infer_one, NULL, canon_one },
	{ MS "QLinearConcat", 0, 5, 0, infer_concat, NULL, canon_concat },
	{ MS "QGemm", 0, 6, 9, infer_qgemm, NULL, canon_qgemm },
	{ MS "MatMulIntegerToFloat", TO_FLOAT, 4, 7, infer_integer, NULL, canon_integer },
	{ MS "DynamicQuantizeMatMul", DYNAMIC, 3, 5, infer_integer, NULL, canon_integer },
	{ MS "MatMulNBits", 0, 3, 6, infer_nbits, NULL, canon_nbits },
	SAME("QuantizeLinear", 2, 3),
	SAME("DequantizeLinear", 2, 3),
	SAME("GridSample", 2, 2),
	SAME("Trilu", 1, 2),
	{ 0 },
};
