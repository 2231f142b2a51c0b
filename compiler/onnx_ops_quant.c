// SPDX-License-Identifier: MIT
/*
 * QuantizeLinear and DequantizeLinear. In the IR a value *is* (code - zero) * scale: quantizing is a conversion (UNARY
 * copy), dequantizing is nothing, and a dequantized constant keeps its codes. u8 turns into i8 by moving the zero point
 * by 128.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "fold.h"
#include "onnx_quant.h"

/* Scale and zero point of a node: one for all, or one for each index of an axis. */
struct quant {
	const float *scale;
	const struct ir_value *zero; /* NULL: 0 */
	int64_t n; /* 1 or the extent of axis */
	unsigned axis;
	bool blocked; /* scale has a shape of its own (opset 21) */
	bool fixed; /* scale and zero point are constants */
};

static int quant_read(struct ir_graph *g, struct ir_op *op, struct quant *q)
{
	const struct ir_value *x = op->in[0], *s = op->in[1];
	int axis;

	memset(q, 0, sizeof(*q));
	q->zero = ir_op_in(op, 2);
	q->fixed = s->data && (!q->zero || q->zero->data);
	q->scale = s->data;
	q->n = ir_elements(s);
	q->blocked = s->rank > 1;
	if (q->zero && ir_elements(q->zero) != q->n)
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "scale and zero point differ in shape; check the model");
	if (s->dtype != MICA_F32)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "scale has type %s; floats can be scales",
				 ir_dtype_name(s->dtype));
	for (int64_t i = 0; s->data && i < q->n; i++)
		if (!(q->scale[i] > 0) || !isfinite(q->scale[i]))
			return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
					 "scale %g is not a positive number; quantize the model "
					 "again",
					 (double)q->scale[i]);
	if (q->n == 1 || q->blocked)
		return q->n ? 0
			    : onnx_fail(g, op, MICA_ERR_SHAPE, "scale is empty; check the model");
	axis = onnx_axis(g, op, onnx_int(op, "axis", 1), x->rank);
	if (axis < 0)
		return axis;
	q->axis = (unsigned)axis;
	if (x->dim[axis] != q->n)
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "%lld scales for an extent of %lld on axis %d; check the model",
				 (long long)q->n, (long long)x->dim[axis], axis);
	return 0;
}

static int64_t zero_at(const struct quant *q, int64_t i)
{
	if (!q->zero)
		return 0;
	switch (q->zero->dtype) {
	case MICA_I8:
		return ((int8_t *)q->zero->data)[i];
	case MICA_U8:
		return ((uint8_t *)q->zero->data)[i];
	case IR_I64:
		return ((int64_t *)q->zero->data)[i];
	default:
		return 0; /* FP8: zero points are 0 */
	}
}

/* Index into scale and zero of element i. */
static int64_t channel(const struct ir_value *x, const struct quant *q, int64_t i)
{
	int64_t stride[IR_MAX_RANK];

	if (q->n == 1)
		return 0;
	dense_strides(x, stride);
	return i / stride[q->axis] % q->n;
}

/* The same for scales in blocks: block_size elements of axis share one. */
static int64_t block(const struct ir_op *op, const struct ir_value *x, int64_t i)
{
	const struct ir_value *s = op->in[1];
	int64_t stride[IR_MAX_RANK], at = 0, size = onnx_int(op, "block_size", 1),
				     axis = onnx_int(op, "axis", 1);

	axis += axis < 0 ? x->rank : 0;
	dense_strides(x, stride);
	for (unsigned k = 0; k < x->rank; k++) {
		int64_t at_k = i / stride[k] % x->dim[k];

		at = at * s->dim[k] + (k == axis ? at_k / (size > 0 ? size : 1) : at_k);
	}
	return at;
}

static int check_blocks(struct ir_graph *g, struct ir_op *op)
{
	const struct ir_value *x = op->in[0], *s = op->in[1], *z = ir_op_in(op, 2);
	int64_t size = onnx_int(op, "block_size", 0);
	int axis = onnx_axis(g, op, onnx_int(op, "axis", 1), x->rank);
	bool ok = s->rank == x->rank && size > 0 && (!z || ir_same_dims(z, s));

	if (axis < 0)
		return axis;
	for (unsigned k = 0; ok && k < x->rank; k++)
		ok = s->dim[k] == ((int)k == axis ? (x->dim[k] + size - 1) / size : x->dim[k]);
	return ok ? 0
		  : onnx_fail(g, op, MICA_ERR_SHAPE,
			      "blocks of scales do not fit the operand; check the model");
}

/* Floats of 8 and 4 bits that no format of the IR holds: numbers in f32, on their grid. */
static bool is_number(int elem)
{
	return elem == ONNX_E4M3FNUZ || elem == ONNX_E5M2FNUZ || elem == ONNX_E2M1;
}

/* ---- QuantizeLinear ---- */

static int infer_quantize(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *z = ir_op_in(op, 2);
	int asked = (int)onnx_int(op, "output_dtype", 0);
	int elem = z ? z->elem : asked ? asked : ONNX_U8, dtype = onnx_dtype(elem);
	struct quant q;
	(void)d;

	if (!quant_is_code(dtype) && elem != ONNX_I16 && elem != ONNX_U16 && !is_number(elem))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "quantizes to %s; quantize the model to int8, uint8 or float8",
				 onnx_type_name(elem));
	if (quant_read(g, op, &q) || (q.blocked && check_blocks(g, op)) ||
	    onnx_out(g, op, 0, dtype, x->rank, x->dim))
		return -(int)g->err->code;
	op->out[0]->elem = elem;
	return 0;
}

static uint8_t encode(int dtype, float x, float scale, int64_t zero, bool saturate)
{
	float y = x / scale, lo = dtype == MICA_U8 ? 0 : -128, hi = dtype == MICA_U8 ? 255 : 127;

	if (dtype == MICA_E4M3)
		return mica_encode_e4m3(y, saturate);
	if (dtype == MICA_E5M2)
		return mica_encode_e5m2(y, saturate);
	y = rintf(y) + (float)zero;
	y = y > lo ? y : lo;
	return (uint8_t)(int)(y < hi ? y : hi);
}

static int fold_quantize(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int dtype = op->out[0]->dtype;
	struct quant q;
	uint8_t *out;
	(void)d;

	if (quant_read(g, op, &q))
		return -(int)g->err->code;
	if (x->dtype != MICA_F32 || q.blocked || quant_is_packed(op->out[0]->elem) || dtype == IR_I64 || dtype == MICA_F32)
		return 1;
	out = fold_out(g, op, 0);
	for (int64_t i = 0, n = ir_elements(x); out && i < n; i++) {
		int64_t c = channel(x, &q, i);

		out[i] = encode(dtype, ((float *)x->data)[i], q.scale[c], zero_at(&q, c),
				onnx_int(op, "saturate", 1));
	}
	return out ? 0 : 1;
}

/*
 * Scale or zero point in a shape that broadcasts with x: along the axis, or each entry of a block repeated block_size
 * times.
 */
static struct ir_value *spread(struct build *b, struct ir_op *op, const struct quant *q, unsigned i)
{
	const struct ir_value *x = op->in[0];
	struct ir_value *v = expr_in(b->g, op, i);
	int64_t dim[IR_MAX_RANK + 1], size = onnx_int(op, "block_size", 1);
	unsigned axis, n = 0;

	if (!v || q->n == 1)
		return v ? build_reshape(b, v, 0, dim) : NULL;
	for (unsigned k = 0; k < x->rank; k++)
		dim[k] = k == q->axis ? q->n : 1;
	if (!q->blocked)
		return build_reshape(b, v, x->rank, dim);
	axis = (unsigned)onnx_axis(b->g, op, onnx_int(op, "axis", 1), x->rank);
	for (unsigned k = 0; k < x->rank; k++) { /* [.., blocks, 1, ..] to [.., blocks, size, ..] */
		dim[n++] = v->dim[k];
		if (k == axis)
			dim[n++] = 1;
	}
	v = build_reshape(b, v, n, dim);
	dim[axis + 1] = size;
	v = build_expand(b, v, n, dim);
	memmove(dim + axis + 1, dim + axis + 2, (n - axis - 2) * sizeof(*dim));
	dim[axis] *= size;
	return build_slice1(b, build_reshape(b, v, x->rank, dim), axis, 0, x->dim[axis]);
}

/* What no format of a tensor can say (scales by channel, of run time, other integers): codes as plain numbers. */
static int quantize_numbers(struct ir_graph *g, struct ir_op *op, const struct quant *q)
{
	struct build b = expr_at(g, op);
	struct ir_value *zero = spread(&b, op, q, 2);

	if (q->blocked && op->in[0]->rank >= IR_MAX_RANK)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "blocks of operands with 8 dimensions are not supported; reshape "
				 "it in the model");
	expr_becomes(&b, op, 0,
		     quant_numbers(&b, expr_in(g, op, 0), spread(&b, op, q, 1), zero,
				   op->out[0]->elem, onnx_int(op, "saturate", 1)));
	return 0;
}

static int canon_quantize(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	int dtype = op->out[0]->dtype, elem = op->out[0]->elem;
	struct ir_value *v;
	struct quant q;
	(void)d;

	if (quant_read(g, op, &q))
		return -(int)g->err->code;
	if (!q.fixed || q.n != 1 || !onnx_int(op, "saturate", 1) || quant_is_packed(elem) ||
	    !quant_is_code(dtype))
		return quantize_numbers(g, op, &q);
	g->qdq = true;
	if (dtype == MICA_I8 || dtype == MICA_U8) {
		v = quant_round(&b, expr_in(g, op, 0), dtype == MICA_U8, q.scale[0],
				(int)zero_at(&q, 0));
	} else {
		v = build_unary(&b, MICA_FN_COPY, expr_in(g, op, 0), 0, 0);
		v->dtype = dtype;
		v->elem = elem;
		v->scale = q.scale[0];
	}
	build_becomes(g, op->out[0], v);
	return 0;
}

/* ---- DequantizeLinear ---- */

static int infer_dequantize(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	struct quant q;
	(void)d;

	if (!quant_is_code(x->dtype) && x->dtype != IR_I64 && !is_number(x->elem))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "operand has type %s; integers and float8 can be dequantized",
				 ir_dtype_name(x->dtype));
	if (quant_read(g, op, &q))
		return -(int)g->err->code;
	if (q.blocked && check_blocks(g, op))
		return -(int)g->err->code;
	return onnx_out(g, op, 0, MICA_F32, x->rank, x->dim);
}

static float decode(const struct ir_value *x, int64_t i, int64_t zero)
{
	const uint8_t *p = x->data;

	switch (x->dtype) {
	case MICA_E4M3:
		return mica_decode_e4m3(p[i]);
	case MICA_E5M2:
		return mica_decode_e5m2(p[i]);
	case MICA_I8:
		return (float)((int8_t)p[i] - zero);
	case MICA_U8:
		return (float)(p[i] - zero);
	case MICA_F32: /* float8 without negative zero */
		return ((float *)x->data)[i];
	default:
		return (float)(((int64_t *)x->data)[i] - zero);
	}
}

static struct ir_value *dequantized(struct ir_graph *g, struct ir_op *op, const struct quant *q)
{
	const struct ir_value *x = op->in[0];
	struct ir_value *v = ir_const_new(g, x->name, MICA_F32, x->rank, x->dim, NULL);

	for (int64_t i = 0, n = ir_elements(x); i < n; i++) {
		int64_t c = q->blocked ? block(op, x, i) : channel(x, q, i);

		((float *)v->data)[i] = decode(x, i, zero_at(q, c)) * q->scale[c];
	}
	return v;
}

/* The constant with its codes, or dequantized where zero points or blocks leave no other way. */
static struct ir_value *coded(struct ir_graph *g, struct ir_op *op, const struct quant *q)
{
	const struct ir_value *x = op->in[0];
	int shift = x->dtype == MICA_U8 ? 128 : 0;
	struct ir_value *v;
	bool symmetric = true;

	for (int64_t i = 0; i < q->n; i++)
		symmetric = symmetric && zero_at(q, i) == shift;
	if (q->blocked || x->dtype == IR_I64 || x->dtype == MICA_F32 || (q->n > 1 && !symmetric))
		return dequantized(g, op, q);
	v = ir_const_new(g, x->name, shift ? MICA_I8 : x->dtype, x->rank, x->dim, x->data);
	for (int64_t i = 0, n = ir_elements(x); shift && i < n; i++)
		((uint8_t *)v->data)[i] ^= 0x80;
	if (q->n == 1) {
		v->scale = q->scale[0];
		v->zero = (int)zero_at(q, 0) - shift;
		return v;
	}
	v->ch_scale = ir_alloc((size_t)q->n, sizeof(float));
	memcpy(v->ch_scale, q->scale, (size_t)q->n * sizeof(float));
	v->ch_axis = (int)q->axis;
	return v;
}

static int dequantize_numbers(struct ir_graph *g, struct ir_op *op, const struct quant *q)
{
	struct build b = expr_at(g, op);
	struct ir_value *x = quant_codes(&b, op->in[0]), *zero = spread(&b, op, q, 2);

	if (zero)
		x = build_binary(&b, MICA_BIN_SUB, x, zero);
	expr_becomes(&b, op, 0, build_binary(&b, MICA_BIN_MUL, x, spread(&b, op, q, 1)));
	return 0;
}

static int canon_dequantize(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = op->in[0];
	struct quant q;
	(void)d;

	if (quant_read(g, op, &q))
		return -(int)g->err->code;
	if (x->data && q.fixed) {
		build_becomes(g, op->out[0], coded(g, op, &q));
		return 0;
	}
	if (!q.fixed || q.n != 1 || !quant_is_code(x->dtype))
		return dequantize_numbers(g, op, &q);
	g->qdq = true;
	if (x->dtype == MICA_I8 || x->dtype == MICA_U8) {
		bool u8 = x->elem == ONNX_U8;

		b = expr_at(g, op);
		x = quant_value(&b, x, u8, q.scale[0], (int)zero_at(&q, 0));
	} else if (x->is_input && x->scale == 1) {
		x->scale = q.scale[0];
	} else if (x->scale != q.scale[0]) {
		return dequantize_numbers(g, op, &q);
	}
	build_becomes(g, op->out[0], x); /* who reads the codes reads the values */
	return 0;
}

const struct onnx_def onnx_quant_ops[] = {
	{ "QuantizeLinear", 0, 2, 3, infer_quantize, fold_quantize, canon_quantize },
	{ "DequantizeLinear", 0, 2, 3, infer_dequantize, NULL, canon_dequantize },
	{ 0 },
};
