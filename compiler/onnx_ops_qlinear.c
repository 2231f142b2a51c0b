// SPDX-License-Identifier: MIT
/*
 * Operators on codes: QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger, DynamicQuantizeLinear and ONNX Runtime's
 * QLinear*. Where weights are symmetric they are i8 products, exact in 32 bits; other zero points are subtracted first
 * and the product runs in f32, exact while sums stay below 2^24.
 */
#include <math.h>
#include <string.h>
#include "onnx_quant.h"
#include "onnx_window.h"

/* Which operands say how operand x is quantized; -1: there is none. */
struct slots {
	int x, scale, zero;
};

static int one_number(struct ir_graph *g, struct ir_op *op, int slot, float def, float *out)
{
	const struct ir_value *v = slot < 0 ? NULL : ir_op_in(op, (unsigned)slot);

	*out = def;
	if (!v)
		return 0;
	if (!v->data || ir_elements(v) != 1 || v->dtype == MICA_E4M3 || v->dtype == MICA_E5M2)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "scale or zero point '%.100s' is not one constant number; "
				 "quantize per tensor",
				 v->name);
	*out = *(float *)const_f32(g, (struct ir_value *)v)->data;
	return 0;
}

int quant_format_read(struct ir_graph *g, struct ir_op *op, int scale, int zero, bool u8, struct quant_format *f)
{
	float z;

	if (one_number(g, op, scale, 1, &f->scale) || one_number(g, op, zero, 0, &z))
		return -(int)g->err->code;
	if (!(f->scale > 0) || !isfinite(f->scale))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "scale %g is not a positive number; quantize the model again",
				 (double)f->scale);
	if (!(z >= -128 && z <= 255))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "zero point %g is outside of 8 bits; quantize the model again", (double)z);
	f->zero = (int)z;
	f->u8 = u8;
	return 0;
}

static int format_read(struct ir_graph *g, struct ir_op *op, struct slots s, bool u8,
		       struct quant_format *f)
{
	return quant_format_read(g, op, s.scale, s.zero, u8, f);
}

static bool is_u8(const struct ir_value *v)
{
	return v->elem ? v->elem == ONNX_U8 : v->dtype == MICA_U8;
}

/* ---- products ---- */

struct product {
	struct slots a, b;
	int y_scale, y_zero, bias;
	bool conv, matmul_trans;
};

static const struct product qlinear_conv = { { 0, 1, 2 }, { 3, 4, 5 }, 6, 7, 8, true, false },
			    qlinear_matmul = { { 0, 1, 2 }, { 3, 4, 5 }, 6, 7, -1, false, false },
			    conv_integer = { { 0, -1, 2 }, { 1, -1, 3 }, -1, -1, -1, true, false },
			    matmul_integer = { { 0, -1, 2 }, { 1, -1, 3 }, -1, -1, -1, false, false };

enum { QLINEAR_CONV, QLINEAR_MATMUL, CONV_INTEGER, MATMUL_INTEGER };
static const struct product *const products[] = { &qlinear_conv, &qlinear_matmul, &conv_integer,
						  &matmul_integer };

/* A scale or zero point is one number, or one for each index of the operand's axis. */
static int check_count(struct ir_graph *g, struct ir_op *op, const struct ir_value *x, int slot, unsigned axis)
{
	const struct ir_value *v = slot < 0 ? NULL : ir_op_in(op, (unsigned)slot);
	int64_t n = v ? ir_elements(v) : 1;

	if (n == 1 || (axis < x->rank && n == x->dim[axis]))
		return 0;
	return onnx_fail(g, op, MICA_ERR_SHAPE, "scale or zero point '%.100s' has %lld numbers; it must be one, or one for each channel",
			 v->name, (long long)n);
}

static int check_slots(struct ir_graph *g, struct ir_op *op, struct slots s, unsigned axis)
{
	const struct ir_value *x = op->in[s.x];

	return check_count(g, op, x, s.scale, axis) || check_count(g, op, x, s.zero, axis) ? -(int)g->err->code : 0;
}

static int infer_product(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct product *p = products[d->code];
	const struct ir_value *a = op->in[p->a.x], *b = op->in[p->b.x], *z;
	int r;

	if (!quant_is_code(a->dtype) || !quant_is_code(b->dtype))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "operands are %s and %s, not 8-bit integers; check the model",
				 ir_dtype_name(a->dtype), ir_dtype_name(b->dtype));
	r = p->conv ? infer_conv_of(g, op, a, b, p->bias < 0 ? NULL : ir_op_in(op, (unsigned)p->bias)) : infer_matmul_of(g, op, a, b);
	if (r || check_slots(g, op, p->a, p->conv ? IR_MAX_RANK : a->rank - 2) || check_slots(g, op, p->b, p->conv ? 0 : b->rank < 2 ? IR_MAX_RANK : b->rank - 1))
		return -(int)g->err->code;
	if (p->y_zero < 0) {
		op->out[0]->dtype = IR_I64;
		return 0;
	}
	z = op->in[p->y_zero];
	op->out[0]->dtype = z->dtype;
	op->out[0]->elem = z->elem;
	return 0;
}

/* Weights whose codes need no zero point as i8: their scales, one or one for each output, at ch_axis. */
static struct ir_value *symmetric(struct build *b, struct ir_op *op, const struct product *p)
{
	const struct ir_value *w = op->in[p->b.x], *z = ir_op_in(op, (unsigned)p->b.zero);
	struct ir_value *s = p->b.scale < 0 ? NULL : op->in[p->b.scale], *v;
	bool u8 = is_u8(w);
	const float *zero;
	int64_t n = s ? ir_elements(s) : 1;
	unsigned axis = p->conv ? 0 : w->rank - 1;

	if (!w->data || (z && !z->data) || (s && !s->data) || (n > 1 && w->dim[axis] != n))
		return NULL;
	zero = z ? const_f32(b->g, (struct ir_value *)z)->data : NULL;
	for (int64_t i = 0; i < (z ? ir_elements(z) : 1); i++)
		if ((zero ? zero[i] : 0) != (u8 ? 128 : 0))
			return NULL;
	v = quant_value(b, op->in[p->b.x], u8, 1, u8 ? 128 : 0);
	if (n == 1) {
		v->scale = s ? *(float *)s->data : 1;
	} else {
		v->ch_scale = ir_alloc((size_t)n, sizeof(float));
		memcpy(v->ch_scale, s->data, (size_t)n * sizeof(float));
		v->ch_axis = (int)axis;
	}
	return v;
}

/* codes - zero, in f32; zero may hold one number, or one for each index of an axis. */
static struct ir_value *centred(struct build *b, struct ir_op *op, struct slots s, unsigned axis)
{
	struct ir_value *x = quant_codes(b, op->in[s.x]), *z = expr_in(b->g, op, (unsigned)s.zero);
	int64_t dim[IR_MAX_RANK];

	if (!z)
		return x;
	for (unsigned i = 0; i < x->rank; i++)
		dim[i] = i == axis ? ir_elements(z) : 1;
	z = build_reshape(b, quant_codes(b, z), x->rank, dim);
	if (x->data && z->data) {
		struct ir_value *k = build_const(b, x->rank, x->dim, x->data);
		int64_t stride[IR_MAX_RANK], n = ir_elements(z);

		dense_strides(k, stride);
		for (int64_t i = 0; i < ir_elements(k); i++)
			((float *)k->data)[i] -=
				((float *)z->data)[n > 1 ? i / stride[axis] % n : 0];
		return k;
	}
	return build_binary(b, MICA_BIN_SUB, x, z);
}

/* Scales of a and b as a factor for the result, whose channels are at `axis`. */
static struct ir_value *rescaled(struct build *b, struct ir_op *op, const struct product *p,
				 struct ir_value *y, float a_scale)
{
	struct ir_value *s = p->b.scale < 0 ? NULL : expr_in(b->g, op, (unsigned)p->b.scale);
	int64_t dim[IR_MAX_RANK];
	unsigned axis = p->conv ? 1 : y->rank - 1;

	if (a_scale != 1)
		y = expr_k(b, MICA_BIN_MUL, y, a_scale);
	if (!s)
		return y;
	for (unsigned i = 0; i < y->rank; i++)
		dim[i] = i == axis ? ir_elements(s) : 1;
	return build_binary(b, MICA_BIN_MUL, y, build_reshape(b, s, y->rank, dim));
}

static struct ir_value *bias_of(struct build *b, struct ir_op *op, const struct product *p,
				const struct ir_value *w, float a_scale)
{
	struct ir_value *bias = p->bias < 0 ? NULL : ir_op_in(op, (unsigned)p->bias), *k;

	if (!bias || !bias->data)
		return NULL;
	k = const_f32(b->g, bias);
	k = build_const(b, 1, k->dim, k->data);
	for (int64_t i = 0; i < ir_elements(k); i++)
		((float *)k->data)[i] *= a_scale * (w->ch_scale ? w->ch_scale[i] : w->scale);
	return k;
}

static struct ir_value *multiply(struct build *b, struct ir_op *op, const struct product *p,
				 struct ir_value *x, struct ir_value *w, struct ir_value *bias)
{
	return p->conv ? build_conv_of(b, op, x, w, bias) : build_matmul_of(b, x, w);
}

/* Products that i8 cannot do exactly: of plain numbers. */
static struct ir_value *in_f32(struct build *b, struct ir_op *op, const struct product *p,
			       float a_scale)
{
	struct ir_value *x = centred(b, op, p->a, p->conv ? 255 : op->in[p->a.x]->rank - 2), *w, *y,
			*bias = p->bias < 0 ? NULL : expr_in(b->g, op, (unsigned)p->bias);

	w = centred(b, op, p->b, p->conv ? 0 : op->in[p->b.x]->rank - 1);
	y = multiply(b, op, p, x, w, bias);
	return y ? rescaled(b, op, p, y, a_scale) : NULL;
}

static bool one_constant(struct ir_op *op, int slot)
{
	const struct ir_value *v = slot < 0 ? NULL : ir_op_in(op, (unsigned)slot);

	return !v || (v->data && ir_elements(v) == 1);
}

/* Computed at run time with one format: i8 by i8 with both zero points. */
static bool computed_matrix(struct ir_op *op, struct slots b)
{
	return !op->in[b.x]->data && one_constant(op, b.scale) && one_constant(op, b.zero);
}

static int canon_product(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct product *p = products[d->code];
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *a = op->in[p->a.x], *w, *y, *bias = NULL, *z = ir_op_in(op, (unsigned)p->a.zero);
	bool plain = z && (!z->data || ir_elements(z) != 1);
	struct quant_format fa = { .scale = 1 }, fb, fy;

	if (p->conv && (canon_constant(g, op, (unsigned)p->b.x, "weights") ||
			(p->bias >= 0 && canon_constant(g, op, (unsigned)p->bias, "bias"))))
		return -(int)g->err->code;
	if (!plain && format_read(g, op, p->a, is_u8(a), &fa))
		return -(int)g->err->code;
	if (plain && p->a.scale >= 0)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "the zero point of the first operand is not one constant number; "
				 "quantize per tensor");
	if (p->y_scale >= 0 && format_read(g, op, (struct slots){ 0, p->y_scale, p->y_zero },
					   is_u8(op->in[p->y_zero]), &fy))
		return -(int)g->err->code;
	g->qdq = true;
	w = plain || a->data ? NULL : symmetric(b, op, p);
	if (!w && !plain && !p->conv && computed_matrix(op, p->b) &&
	    !format_read(g, op, p->b, is_u8(op->in[p->b.x]), &fb))
		w = quant_value(b, op->in[p->b.x], fb.u8, fb.scale, fb.zero);
	if (w) {
		bias = bias_of(b, op, p, w, fa.scale);
		y = multiply(b, op, p, quant_value(b, a, fa.u8, fa.scale, fa.zero), w, bias);
	} else {
		y = in_f32(b, op, p, fa.scale);
	}
	if (!y)
		return -(int)g->err->code;
	if (p->y_scale >= 0)
		y = quant_round(b, y, fy.u8, fy.scale, fy.zero);
	expr_becomes(b, op, 0, y);
	return 0;
}

/* ---- DynamicQuantizeLinear: scale and zero point of uint8 from the range, which includes 0 ---- */

static int infer_dynamic(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	(void)d;

	if (onnx_out(g, op, 0, MICA_U8, x->rank, x->dim) || onnx_out(g, op, 1, MICA_F32, 0, NULL) ||
	    onnx_out(g, op, 2, MICA_U8, 0, NULL))
		return -(int)g->err->code;
	if (op->outs > 2 && op->out[2])
		op->out[2]->elem = ONNX_U8;
	op->out[0]->elem = ONNX_U8;
	return 0;
}

struct ir_value *quant_dynamic(struct build *b, struct ir_value *x, struct ir_value **scale, struct ir_value **zero)
{
	struct ir_value *lo, *hi, *s, *z;
	unsigned all = (1u << x->rank) - 1;

	lo = build_reshape(b, build_reduce(b, MICA_RED_MIN, x, all), 0, NULL);
	hi = build_reshape(b, build_reduce(b, MICA_RED_MAX, x, all), 0, NULL);
	lo = expr_k(b, MICA_BIN_MIN, lo, 0);
	s = build_binary(b, MICA_BIN_SUB, expr_k(b, MICA_BIN_MAX, hi, 0), lo);
	s = expr_k(b, MICA_BIN_DIV, s, 255);
	s = build_where(b, expr_k(b, MICA_BIN_EQ, s, 0), build_scalar(b, 1), s);
	z = expr_fn(b, MICA_FN_NEG, build_binary(b, MICA_BIN_DIV, lo, s));
	z = expr_fn(b, MICA_FN_ROUND, build_unary(b, MICA_FN_CLIP, z, 0, 255));
	*scale = s;
	*zero = z;
	return quant_numbers(b, x, s, z, ONNX_U8, true);
}

static int canon_dynamic(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *s, *z, *y = quant_dynamic(b, expr_in(g, op, 0), &s, &z);
	(void)d;

	if (expr_wanted(op, 1))
		expr_becomes(b, op, 1, s);
	if (expr_wanted(op, 2))
		expr_becomes(b, op, 2, z);
	if (expr_wanted(op, 0))
		expr_becomes(b, op, 0, y);
	return 0;
}

const struct onnx_def onnx_qlinear_ops[] = {
	{ "QLinearConv", QLINEAR_CONV, 8, 9, infer_product, NULL, canon_product },
	{ "QLinearMatMul", QLINEAR_MATMUL, 8, 8, infer_product, NULL, canon_product },
	{ "ConvInteger", CONV_INTEGER, 2, 4, infer_product, NULL, canon_product },
	{ "MatMulInteger", MATMUL_INTEGER, 2, 4, infer_product, NULL, canon_product },
	{ "DynamicQuantizeLinear", 0, 1, 1, infer_dynamic, NULL, canon_dynamic },
	{ 0 },
};
