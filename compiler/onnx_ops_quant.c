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

static bool is_code(int dtype)
{
	return dtype == MICA_I8 || dtype == MICA_U8 || dtype == MICA_E4M3 || dtype == MICA_E5M2;
}

/* Scale and zero point of a node: one for all, or one for each index of an axis. */
struct quant {
	const float *scale;
	const struct ir_value *zero; /* NULL: 0 */
	int64_t n; /* 1 or the extent of axis */
	unsigned axis;
	bool blocked; /* scale has a shape of its own (opset 21) */
};

static int quant_read(struct ir_graph *g, struct ir_op *op, struct quant *q)
{
	const struct ir_value *x = op->in[0], *s = op->in[1];
	int axis;

	memset(q, 0, sizeof(*q));
	q->zero = ir_op_in(op, 2);
	if (!s->data || s->dtype != MICA_F32 || (q->zero && !q->zero->data))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "scale or zero point is not a constant; dynamic quantization is "
				 "not supported");
	q->scale = s->data;
	q->n = ir_elements(s);
	q->blocked = s->rank > 1;
	if (q->zero && ir_elements(q->zero) != q->n)
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "scale and zero point differ in shape; check the model");
	for (int64_t i = 0; i < q->n; i++)
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
	const struct ir_value *x = op->in[0], *s = op->in[1];
	int64_t size = onnx_int(op, "block_size", 0);
	int axis = onnx_axis(g, op, onnx_int(op, "axis", 1), x->rank);
	bool ok = s->rank == x->rank && size > 0;

	if (axis < 0)
		return axis;
	for (unsigned k = 0; ok && k < x->rank; k++)
		ok = s->dim[k] == ((int)k == axis ? (x->dim[k] + size - 1) / size : x->dim[k]);
	return ok ? 0
		  : onnx_fail(g, op, MICA_ERR_SHAPE,
			      "blocks of scales do not fit the operand; check the model");
}

/* ---- QuantizeLinear ---- */

static int infer_quantize(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *z = ir_op_in(op, 2);
	int64_t asked = onnx_int(op, "output_dtype", 0);
	int dtype = z ? z->dtype : asked ? onnx_dtype((int)asked) : MICA_U8;
	struct quant q;
	(void)d;

	if (!is_code(dtype))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "quantizes to a type other than int8, uint8 and float8; quantize "
				 "the model to one of these");
	if (quant_read(g, op, &q))
		return -(int)g->err->code;
	return onnx_out(g, op, 0, dtype, x->rank, x->dim);
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
	if (x->dtype != MICA_F32 || q.blocked)
		return 1;
	out = fold_out(g, op, 0);
	for (int64_t i = 0, n = ir_elements(x); out && i < n; i++) {
		int64_t c = channel(x, &q, i);

		out[i] = encode(dtype, ((float *)x->data)[i], q.scale[c], zero_at(&q, c),
				onnx_int(op, "saturate", 1));
	}
	return out ? 0 : 1;
}

static int canon_quantize(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	int dtype = op->out[0]->dtype;
	struct ir_value *v;
	struct quant q;
	(void)d;

	if (quant_read(g, op, &q))
		return -(int)g->err->code;
	if (q.n != 1 || !onnx_int(op, "saturate", 1))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "activations quantized by channel, or without saturation, are not "
				 "supported; quantize them per tensor");
	v = build_unary(&b, MICA_FN_COPY, op->in[0], 0, 0);
	v->dtype = dtype == MICA_U8 ? MICA_I8 : dtype;
	v->scale = q.scale[0];
	v->zero = (int)zero_at(&q, 0) - (dtype == MICA_U8 ? 128 : 0);
	g->qdq = true;
	build_becomes(g, op->out[0], v);
	return 0;
}

/* ---- DequantizeLinear ---- */

static int infer_dequantize(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	struct quant q;
	(void)d;

	if (!is_code(x->dtype) && x->dtype != IR_I64)
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
	if (q->blocked || x->dtype == IR_I64 || (q->n > 1 && !symmetric))
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

static int canon_dequantize(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct ir_value *x = op->in[0];
	struct quant q;
	int zero;
	(void)d;

	if (quant_read(g, op, &q))
		return -(int)g->err->code;
	if (x->data) {
		build_becomes(g, op->out[0], coded(g, op, &q));
		return 0;
	}
	zero = (int)zero_at(&q, 0);
	if (q.zero && q.zero->dtype == MICA_U8)
		zero -= 128;
	if (x->is_input && x->dtype == MICA_U8) {
		if (!q.zero)
			zero = -128;
		x->dtype = MICA_I8;
		x->scale = q.scale[0];
		x->zero = zero;
	} else if (x->is_input && is_code(x->dtype) && x->scale == 1 && !x->zero) {
		x->scale = q.scale[0];
		x->zero = zero;
	}
	if (q.n != 1 || !is_code(x->dtype) || x->scale != q.scale[0] ||
	    (x->dtype == MICA_I8 && x->zero != zero))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "scale or zero point differ from those that '%.100s' was "
				 "quantized with; use the same on both sides",
				 x->name);
	g->qdq = true;
	build_becomes(g, op->out[0], x); /* who reads the codes reads the values */
	return 0;
}

const struct onnx_def onnx_quant_ops[] = {
	{ "QuantizeLinear", 0, 2, 3, infer_quantize, fold_quantize, canon_quantize },
	{ "DequantizeLinear", 0, 2, 3, infer_dequantize, NULL, canon_dequantize },
	{ 0 },
};
