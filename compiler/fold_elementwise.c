// SPDX-License-Identifier: MIT
/* Folding of element-by-element operators: integers exactly, floats by the engine's own functions. */
#include <math.h>
#include <string.h>
#include "fold.h"
#include "onnx_quant.h"

static bool is_int(const struct ir_value *v)
{
	return v->dtype == IR_I64 || v->dtype == IR_BOOL;
}

static bool foldable(const struct ir_op *op)
{
	for (unsigned i = 0; i < op->ins; i++) {
		const struct ir_value *v = ir_op_in(op, i);

		if (v && !is_int(v) && v->dtype != MICA_F32)
			return false;
	}
	return true;
}

static int64_t get_int(const struct ir_value *v, int64_t i)
{
	float f;

	if (v->dtype == IR_I64)
		return ((int64_t *)v->data)[i];
	if (v->dtype == IR_BOOL)
		return ((uint8_t *)v->data)[i] != 0;
	f = ((float *)v->data)[i];
	return f >= -0x1p63f && f < 0x1p63f ? (int64_t)f : f > 0 ? INT64_MAX : INT64_MIN;
}

static float get_float(const struct ir_value *v, int64_t i)
{
	return v->dtype == MICA_F32 ? ((float *)v->data)[i] : (float)get_int(v, i);
}

static void put_int(struct ir_value *v, int64_t i, int64_t x)
{
	if (v->dtype == IR_I64)
		((int64_t *)v->data)[i] = x;
	else if (v->dtype == IR_BOOL)
		((uint8_t *)v->data)[i] = x != 0;
	else
		((float *)v->data)[i] = (float)x;
}

/* Index into v of element i of the broadcast result y. */
static int64_t source(const struct ir_value *y, int64_t i, const struct ir_value *v)
{
	int64_t at = 0, stride = 1;

	if (v->rank == y->rank && !memcmp(v->dim, y->dim, y->rank * sizeof(*y->dim)))
		return i;
	for (unsigned d = y->rank; d-- > 0; i /= y->dim[d]) {
		int64_t k = d + v->rank >= y->rank ? v->dim[d + v->rank - y->rank] : 1;

		if (k > 1)
			at += i % y->dim[d] * stride;
		stride *= k;
	}
	return at;
}

static int64_t int_power(int64_t a, int64_t b)
{
	uint64_t r = 1, base = (uint64_t)a;

	if (b < 0)
		return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
	for (; b; b >>= 1, base *= base)
		r *= b & 1 ? base : 1;
	return (int64_t)r;
}

static int64_t int_divide(int64_t a, int64_t b, bool remainder, bool c_sign)
{
	int64_t r;

	if (b == 0)
		return 0;
	if (b == -1)
		return remainder ? 0 : (int64_t)(0 - (uint64_t)a);
	if (!remainder)
		return a / b;
	r = a % b;
	return !c_sign && r && (r < 0) != (b < 0) ? r + b : r;
}

static int64_t int_binary(int op, int64_t a, int64_t b, bool c_sign)
{
	switch (op) {
	case MICA_BIN_ADD:
		return (int64_t)((uint64_t)a + (uint64_t)b);
	case MICA_BIN_SUB:
		return (int64_t)((uint64_t)a - (uint64_t)b);
	case MICA_BIN_MUL:
		return (int64_t)((uint64_t)a * (uint64_t)b);
	case MICA_BIN_DIV:
		return int_divide(a, b, false, c_sign);
	case MICA_BIN_MOD:
		return int_divide(a, b, true, c_sign);
	case MICA_BIN_MAX:
		return a > b ? a : b;
	case MICA_BIN_MIN:
		return a < b ? a : b;
	case MICA_BIN_POW:
		return int_power(a, b);
	case MICA_BIN_EQ:
		return a == b;
	case MICA_BIN_LT:
		return a < b;
	case MICA_BIN_LE:
		return a <= b;
	case MICA_BIN_GT:
		return a > b;
	case MICA_BIN_GE:
		return a >= b;
	case MICA_BIN_AND:
		return a && b;
	case MICA_BIN_OR:
		return a || b;
	case MICA_BIN_XOR:
		return !a != !b;
	case MICA_BIN_PRELU:
		return a < 0 ? (int64_t)((uint64_t)a * (uint64_t)b) : a;
	default:
		return 0;
	}
}

/* Wraps to the integer type that ONNX asked for. */
static int64_t narrow(int64_t v, int onnx_type)
{
	switch (onnx_type) {
	case ONNX_I32:
		return (int32_t)v;
	case ONNX_I16:
		return (int16_t)v;
	case ONNX_U16:
		return (uint16_t)v;
	case ONNX_U32:
		return (uint32_t)v;
	default:
		return v;
	}
}

int fold_binary(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *a = ir_op_in(op, 0);
	bool ints = is_int(a), fmod_sign = onnx_int(op, "fmod", 0) != 0;
	struct ir_value *y = op->out[0];

	if (!foldable(op) || !strcmp(d->type, "Mean") ||
	    (d->code == MICA_BIN_MOD && !ints && fmod_sign) || !fold_out(g, op, 0))
		return 1;
	for (int64_t i = 0, n = ir_elements(y); i < n; i++) {
		int64_t r = ints ? get_int(a, source(y, i, a)) : 0;
		float f = ints ? 0 : get_float(a, source(y, i, a));

		for (unsigned k = 1; k < op->ins; k++) {
			const struct ir_value *b = ir_op_in(op, k);
			int64_t at = source(y, i, b);

			if (ints)
				r = int_binary(d->code, r, get_int(b, at), fmod_sign);
			else
				f = mica_bin_eval((enum mica_bin)d->code, f, get_float(b, at));
		}
		if (ints)
			put_int(y, i, narrow(r, y->elem));
		else if (y->dtype == MICA_F32)
			((float *)y->data)[i] = f;
		else
			put_int(y, i, f != 0);
	}
	return 0;
}

static int64_t code_at(const struct ir_value *v, int64_t i)
{
	if (v->dtype == MICA_I8)
		return ((int8_t *)v->data)[i];
	return v->dtype == MICA_U8 ? ((uint8_t *)v->data)[i] : get_int(v, i);
}

static uint64_t bits_of(int op, uint64_t a, uint64_t b, bool left)
{
	switch (op) {
	case FOLD_AND:
		return a & b;
	case FOLD_OR:
		return a | b;
	case FOLD_XOR:
		return a ^ b;
	case FOLD_NOT:
		return ~a;
	default:
		return b > 63 ? 0 : left ? a << b : a >> b;
	}
}

int fold_bits(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *a = op->in[0], *b = ir_op_in(op, 1);
	bool left = onnx_is(op, "direction", "LEFT", "");
	struct ir_value *y = op->out[0];

	if ((y->dtype == IR_I64 && !y->elem) || !fold_out(g, op, 0))
		return 1; /* of unknown width */
	for (int64_t i = 0, n = ir_elements(y); i < n; i++) {
		int64_t r = (int64_t)bits_of(d->code, (uint64_t)code_at(a, source(y, i, a)),
					     b ? (uint64_t)code_at(b, source(y, i, b)) : 0, left);

		if (y->dtype == IR_I64)
			((int64_t *)y->data)[i] = narrow(r, y->elem);
		else
			((uint8_t *)y->data)[i] = (uint8_t)r;
	}
	return 0;
}

int fold_unary(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	struct ir_value *y = op->out[0];
	int64_t n = ir_elements(x);

	/* those with parameters wait for their canonical form */
	if (!foldable(op) || d->code == MICA_FN_LEAKY || d->code == MICA_FN_ELU ||
	    d->code == MICA_FN_SELU || d->code == MICA_FN_HSIGMOID)
		return 1;
	if (is_int(x) && d->code != MICA_FN_NEG && d->code != MICA_FN_ABS &&
	    d->code != MICA_FN_NOT && d->code != MICA_FN_SIGN)
		return 1;
	if (!fold_out(g, op, 0))
		return 1;
	for (int64_t i = 0; i < n; i++) {
		int64_t v = is_int(x) ? get_int(x, i) : 0;

		if (!is_int(x))
			((float *)y->data)[i] =
				mica_fn_eval((enum mica_fn)d->code, get_float(x, i), 0, 0);
		else if (d->code == MICA_FN_NEG || (d->code == MICA_FN_ABS && v < 0))
			put_int(y, i, (int64_t)(0 - (uint64_t)v));
		else if (d->code == MICA_FN_SIGN)
			put_int(y, i, v > 0 ? 1 : v < 0 ? -1 : 0);
		else
			put_int(y, i, d->code == MICA_FN_NOT ? !v : v);
	}
	return 0;
}

int fold_where(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct ir_value *y = op->out[0];
	(void)d;

	if (!foldable(op) || !fold_out(g, op, 0))
		return 1;
	for (int64_t i = 0, n = ir_elements(y); i < n; i++) {
		const struct ir_value *v =
			get_int(op->in[0], source(y, i, op->in[0])) ? op->in[1] : op->in[2];

		if (y->dtype == MICA_F32)
			((float *)y->data)[i] = get_float(v, source(y, i, v));
		else
			put_int(y, i, get_int(v, source(y, i, v)));
	}
	return 0;
}

/* Saturates instead of the undefined conversion of C. */
static int64_t float_to_int(float f)
{
	if (isnan(f))
		return 0;
	return f >= 9.2233720e18f ? INT64_MAX : f <= -9.2233720e18f ? INT64_MIN : (int64_t)f;
}

/* As in canon_cast: floats saturate, integers lose their upper bits. */
static uint8_t packed(int64_t v, int elem, bool saturate)
{
	float lo = 0, hi = 0;
	int64_t low, most;

	quant_range_of(elem, &lo, &hi);
	low = (int64_t)lo;
	most = (int64_t)hi - low;
	if (saturate)
		return (uint8_t)(v < low ? low : v > low + most ? low + most : v);
	return (uint8_t)(((int64_t)((uint64_t)v - (uint64_t)low) & most) + low);
}

int fold_cast(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	struct ir_value *y = op->out[0];
	int to = y->elem;
	bool saturate = onnx_int(op, "saturate", 1) != 0;
	(void)d;

	if ((!is_int(x) && x->dtype != MICA_F32) || (op->ins > 1 && !op->in[1]) ||
	    !fold_out(g, op, 0))
		return 1;
	for (int64_t i = 0, n = ir_elements(x); i < n; i++) {
		float f = get_float(x, i);

		if (to == ONNX_E8M0)
			((float *)y->data)[i] = quant_power_number(f, quant_power_of(op), saturate);
		else if (y->dtype == MICA_F32)
			((float *)y->data)[i] = quant_narrow_number(f, to, saturate);
		else if (y->dtype == MICA_E4M3)
			((uint8_t *)y->data)[i] = mica_encode_e4m3(f, saturate);
		else if (y->dtype == MICA_E5M2)
			((uint8_t *)y->data)[i] = mica_encode_e5m2(f, saturate);
		else if (y->dtype == IR_BOOL)
			((uint8_t *)y->data)[i] = f != 0;
		else if (y->dtype == IR_I64)
			((int64_t *)y->data)[i] =
				narrow(is_int(x) ? get_int(x, i) : float_to_int(f), to);
		else if (quant_is_packed(to))
			((uint8_t *)y->data)[i] = packed(is_int(x) ? get_int(x, i) : float_to_int(f), to, !is_int(x));
		else /* i8, u8 */
			((uint8_t *)y->data)[i] =
				(uint8_t)(is_int(x) ? get_int(x, i) : float_to_int(f));
	}
	return 0;
}

int fold_copy(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	(void)d;

	if (!fold_out(g, op, 0))
		return 1;
	memcpy(op->out[0]->data, x->data, ir_bytes(x));
	return 0;
}
