// SPDX-License-Identifier: MIT
/* ONNX operators that work element by element: functions, arithmetic, comparisons, Where, Cast. */
#include <math.h>
#include <string.h>
#include "fold.h"
#include "onnx_integer.h"
#include "onnx_norm.h"
#include "onnx_quant.h"

#define NONE (-1)

/* ---- shapes ---- */

static int infer_same(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = ir_op_in(op, 0);
	(void)d;

	for (unsigned i = 1; i < op->outs; i++)
		if (op->out[i] && (op->out[i]->uses || op->out[i]->is_output))
			return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
					 "result '%.100s' (of training) is not supported; export "
					 "for inference",
					 op->out[i]->name);
	for (unsigned i = 1; i < op->outs; i++)
		onnx_out(g, op, i, x->dtype, x->rank, x->dim);
	return onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
}

static int infer_clip(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	for (unsigned i = 1; i < op->ins; i++)
		if (op->in[i] && ir_elements(op->in[i]) != 1)
			return onnx_fail(g, op, MICA_ERR_SHAPE,
					 "limit '%.100s' is not a single number; check the model",
					 op->in[i]->name);
	return infer_same(g, op, d);
}

/* Training with a ratio of 0 drops nothing either. */
static int infer_dropout(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *ratio = ir_op_in(op, 1), *training = ir_op_in(op, 2);
	bool none = ratio && ratio->data && ratio->dtype == MICA_F32 && ir_elements(ratio) == 1 &&
		    *(float *)ratio->data == 0;
	(void)d;

	if (training && !none &&
	    (!training->data || (training->dtype == IR_BOOL && *(uint8_t *)training->data)))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "training_mode is not false; export for inference");
	if (onnx_out(g, op, 1, IR_BOOL, x->rank, x->dim))
		return -(int)g->err->code;
	return onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
}

static int infer_cast(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int dtype = onnx_dtype((int)onnx_int(op, "to", 0));
	(void)d;

	if (dtype == MICA_NONE)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "cast to element type %lld (%s) is not supported; cast to float",
				 (long long)onnx_int(op, "to", 0),
				 onnx_type_name((int)onnx_int(op, "to", 0)));
	if (onnx_out(g, op, 0, dtype, x->rank, x->dim))
		return -(int)g->err->code;
	op->out[0]->elem = (int)onnx_int(op, "to", 0);
	return 0;
}

static int infer_castlike(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	(void)d;
	if (onnx_out(g, op, 0, op->in[1]->dtype, op->in[0]->rank, op->in[0]->dim))
		return -(int)g->err->code;
	op->out[0]->elem = op->in[1]->elem;
	return 0;
}

static int infer_variadic(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = ir_op_in(op, 0);

	if (onnx_opset(g) < 7 && onnx_int(op, "broadcast", 0))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "broadcasting of opsets below 7 is not supported; convert the "
				 "model with ONNX's version converter");

	for (unsigned i = 1; i < op->ins; i++)
		if (ir_op_in(op, i) && ir_op_in(op, i)->dtype != x->dtype && strcmp(d->type, "Pow"))
			return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
					 "operands have different types (%s, %s); insert a Cast in "
					 "the model",
					 ir_dtype_name(x->dtype),
					 ir_dtype_name(ir_op_in(op, i)->dtype));
	return onnx_broadcast(g, op, x->dtype);
}

static int infer_compare(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	(void)d;
	return onnx_broadcast(g, op, IR_BOOL);
}

static int infer_where(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	(void)d;
	if (onnx_broadcast(g, op, op->in[1]->dtype))
		return -(int)g->err->code;
	op->out[0]->elem = op->in[1]->elem;
	return 0;
}

/* ---- canonical form ---- */

static int canon_same(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	(void)d;
	build_becomes(g, op->out[0], expr_in(g, op, 0));
	return 0;
}

static int canon_dropout(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	const struct ir_value *x = op->in[0];

	if (expr_wanted(op, 1)) /* the mask: everything stays */
		build_becomes(g, op->out[1], build_expand(&b, build_scalar(&b, 1), x->rank, x->dim));
	return canon_same(g, op, d);
}

static int canon_unary(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	static const struct {
		enum mica_fn fn;
		float alpha, beta;
		const char *beta_name;
	} defaults[] = {
		{ MICA_FN_LEAKY, 0.01f, 0, "" },
		{ MICA_FN_ELU, 1, 0, "" },
		{ MICA_FN_SELU, 1.67326319217681884765625f, 1.05070102214813232421875f, "gamma" },
		{ MICA_FN_HSIGMOID, 0.2f, 0.5f, "beta" },
	};
	struct build b = build_at(g, op);
	float alpha = 0, beta = 0;

	for (size_t i = 0; i < ARRAY_LEN(defaults); i++) {
		if ((int)defaults[i].fn != d->code)
			continue;
		alpha = onnx_float(op, "alpha", defaults[i].alpha);
		beta = onnx_float(op, defaults[i].beta_name, defaults[i].beta);
	}
	if (!isfinite(alpha) || !isfinite(beta))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "alpha, beta or gamma is not finite; check the model");
	build_becomes(g, op->out[0],
		      build_unary(&b, (enum mica_fn)d->code, expr_in(g, op, 0), alpha, beta));
	return 0;
}

static int canon_clip(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct ir_value *x = expr_in(g, op, 0), *lo = ir_op_in(op, 1), *hi = ir_op_in(op, 2);
	struct build b = build_at(g, op);
	float limit[2] = { -INFINITY, INFINITY };
	bool have;
	(void)d;

	if ((lo && !lo->data) || (hi && !hi->data)) { /* limits known only at run time */
		x = lo ? build_binary(&b, MICA_BIN_MAX, x, expr_in(g, op, 1)) : x;
		build_becomes(g, op->out[0],
			      hi ? build_binary(&b, MICA_BIN_MIN, x, expr_in(g, op, 2)) : x);
		return 0;
	}
	if (onnx_scalar(g, op, "min", 1, &limit[0], &have) ||
	    onnx_scalar(g, op, "max", 2, &limit[1], &have))
		return -(int)g->err->code;
	limit[0] = limit[0] < -3.402823e38f ? -3.40282347e38f : limit[0];
	limit[1] = limit[1] > 3.402823e38f ? 3.40282347e38f : limit[1];
	if (!(limit[0] >= -3.40282347e38f && limit[0] <= 3.40282347e38f &&
	      limit[1] >= -3.40282347e38f && limit[1] <= 3.40282347e38f))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "limits are not numbers; check the model");
	if (limit[0] == 0 && limit[1] == 3.40282347e38f)
		x = build_unary(&b, MICA_FN_RELU, x, 0, 0);
	else
		x = build_unary(&b, MICA_FN_CLIP, x, limit[0], limit[1]);
	build_becomes(g, op->out[0], x);
	return 0;
}

static struct ir_value *scaled(struct build *b, struct ir_value *x, float f)
{
	return build_binary(b, MICA_BIN_MUL, x, build_scalar(b, f));
}

/* x/2 (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3), is x sigmoid(2u), which keeps its precision for negative x. */
struct ir_value *build_gelu_tanh(struct build *b, struct ir_value *x)
{
	struct ir_value *u = build_binary(b, MICA_BIN_MUL, x, x);

	u = build_binary(b, MICA_BIN_ADD, scaled(b, u, 2 * 0.797884561f * 0.044715f), build_scalar(b, 2 * 0.797884561f));
	u = build_unary(b, MICA_FN_SIGMOID, build_binary(b, MICA_BIN_MUL, u, x), 0, 0);
	return build_binary(b, MICA_BIN_MUL, x, u);
}

static int canon_gelu(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);

	if (!onnx_is(op, "approximate", "tanh", "none"))
		return canon_unary(g, op, d);
	build_becomes(g, op->out[0], build_gelu_tanh(&b, expr_in(g, op, 0)));
	return 0;
}

static int canon_celu(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = expr_in(g, op, 0);
	float alpha = onnx_float(op, "alpha", 1);
	(void)d;

	if (!isfinite(alpha) || alpha == 0 || !isfinite(1 / alpha))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "alpha is zero or not finite; check the model");
	if (alpha != 1)
		x = scaled(&b, x, 1 / alpha);
	x = build_unary(&b, MICA_FN_ELU, x, 1, 0);
	build_becomes(g, op->out[0], alpha != 1 ? scaled(&b, x, alpha) : x);
	return 0;
}

static int canon_thresholded(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = expr_in(g, op, 0), *c;
	(void)d;

	c = build_binary(&b, MICA_BIN_GT, x, build_scalar(&b, onnx_float(op, "alpha", 1)));
	build_becomes(g, op->out[0], build_where(&b, c, x, build_scalar(&b, 0)));
	return 0;
}

static int canon_swish(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = expr_in(g, op, 0);
	float alpha = onnx_float(op, "alpha", 1);
	(void)d;

	if (alpha == 1)
		x = build_unary(&b, MICA_FN_SILU, x, 0, 0);
	else
		x = build_binary(&b, MICA_BIN_MUL, x,
				 build_unary(&b, MICA_FN_SIGMOID, scaled(&b, x, alpha), 0, 0));
	build_becomes(g, op->out[0], x);
	return 0;
}

/* a - trunc(a / b) * b; where the rounded quotient was one too large the remainder has the wrong sign */
static struct ir_value *remainder_of(struct build *b, struct ir_value *x, struct ir_value *y)
{
	struct ir_value *q = expr_trunc(b, build_binary(b, MICA_BIN_DIV, x, y)), *r, *back;

	r = build_binary(b, MICA_BIN_SUB, x, build_binary(b, MICA_BIN_MUL, q, y));
	back = build_binary(b, MICA_BIN_MUL, expr_fn(b, MICA_FN_SIGN, x),
			    expr_fn(b, MICA_FN_ABS, y));
	q = expr_k(b, MICA_BIN_LT, build_binary(b, MICA_BIN_MUL, r, x), 0);
	return build_where(b, q, build_binary(b, MICA_BIN_ADD, r, back), r);
}

/* Bytes wrap around as ONNX's do; y is an integer below 2^24 in magnitude. */
static struct ir_value *wrapped(struct build *b, struct ir_value *y, int dtype)
{
	if (dtype == MICA_U8)
		return expr_k(b, MICA_BIN_MOD, y, 256);
	y = expr_k(b, MICA_BIN_MOD, expr_k(b, MICA_BIN_ADD, y, 128), 256);
	return expr_k(b, MICA_BIN_SUB, y, 128);
}

static bool whole_numbers(const struct ir_value *v)
{
	for (int64_t i = 0, n = ir_elements(v); i < n; i++)
		if (((float *)v->data)[i] != floorf(((float *)v->data)[i]))
			return false;
	return true;
}

/* How the host computes what f32 may not hold, or what wraps; -1: the device does, exactly. */
static int on_host(struct ir_graph *g, struct ir_op *op, int code)
{
	const struct ir_value *exponent = ir_op_in(op, 1);
	bool bytes = op->out[0]->dtype == MICA_U8 || op->out[0]->dtype == MICA_I8;

	if (code == MICA_BIN_POW && exponent->data && exponent->dtype == MICA_F32 && !whole_numbers(exponent))
		return -1; /* roots: rounded towards zero */
	if (code == MICA_BIN_POW)
		return MICA_HOST_POWER;
	if (bytes || integer_facts(g, op).exact)
		return -1;
	switch (code) {
	case MICA_BIN_ADD:
		return MICA_HOST_PLUS;
	case MICA_BIN_SUB:
		return MICA_HOST_MINUS;
	case MICA_BIN_MUL:
		return MICA_HOST_TIMES;
	case MICA_BIN_DIV:
		return MICA_HOST_QUOTIENT;
	case MICA_BIN_MOD:
		return onnx_int(op, "fmod", 0) ? MICA_HOST_C_REMAINDER : MICA_HOST_REMAINDER;
	default:
		return -1; /* picks one of its operands */
	}
}

/*
 * Integers stand as f32 at run time, where those up to 2^24 are exact; a quotient of such is rounded correctly. What may be larger
 * the host computes.
 */
static int canon_variadic(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	int dtype = op->out[0]->dtype;
	bool ints = dtype != MICA_F32 && dtype != IR_BOOL, bytes = dtype == MICA_U8 || dtype == MICA_I8;
	bool wraps = bytes && (d->code == MICA_BIN_ADD || d->code == MICA_BIN_SUB ||
			       d->code == MICA_BIN_MUL || d->code == MICA_BIN_POW);
	struct build b = ints ? expr_at(g, op) : build_at(g, op);
	struct ir_value *x = expr_in(g, op, 0);
	int host = ints && op->ins > 1 ? on_host(g, op, d->code) : -1;

	for (unsigned i = 1; i < op->ins; i++) {
		struct ir_value *y = expr_in(g, op, i);

		if (host >= 0) {
			x = integer_host(&b, op, (enum mica_host_integer)host, x, y);
			continue;
		}
		if (d->code == MICA_BIN_MOD && onnx_int(op, "fmod", 0))
			x = remainder_of(&b, x, y);
		else
			x = build_binary(&b, (enum mica_bin)d->code, x, y);
		if (ints && (d->code == MICA_BIN_DIV || d->code == MICA_BIN_POW))
			x = expr_trunc(&b, x);
		x = wraps ? wrapped(&b, x, dtype) : x;
	}
	if (!strcmp(d->type, "Mean") && op->ins > 1)
		x = scaled(&b, x, 1.0f / (float)op->ins);
	build_becomes(g, op->out[0], x);
	return 0;
}

static int canon_where(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	(void)d;

	build_becomes(g, op->out[0],
		      build_where(&b, expr_in(g, op, 0), expr_in(g, op, 1), expr_in(g, op, 2)));
	return 0;
}

/* To 2 or 4 bits: floats saturate, integers lose their upper bits. */
static struct ir_value *to_packed(struct build *b, struct ir_value *x, int elem, bool saturate)
{
	float low = 0, high = 0;

	quant_range_of(elem, &low, &high);
	if (saturate)
		return build_unary(b, MICA_FN_CLIP, x, low, high);
	x = expr_k(b, MICA_BIN_MOD, expr_k(b, MICA_BIN_SUB, x, low), high - low + 1);
	return expr_k(b, MICA_BIN_ADD, x, low);
}

/* A change of type at run time: only what changes values does something. */
static int canon_cast(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = expr_in(g, op, 0), *y = op->out[0];
	int from = op->in[0]->dtype, to = y->dtype;
	bool bytes = to == MICA_I8 || to == MICA_U8, packed = quant_is_packed(y->elem);
	struct int_facts facts = integer_facts(g, op);

	if (y->elem == ONNX_E8M0 && op->in[0]->elem != ONNX_E8M0)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "casts to float8e8m0 at run time, where only constants can be; fold the model, or cast to float");
	if (to == MICA_F32 && y->elem != op->in[0]->elem && from != IR_BOOL) {
		b = expr_at(g, op);
		x = from == MICA_F32 || x->dtype == MICA_F32 ? x : build_unary(&b, MICA_FN_COPY, x, 0, 0);
		x = quant_narrow(&b, x, y->elem, onnx_int(op, "saturate", 1));
	} else if (to == MICA_E4M3 || to == MICA_E5M2) {
		x = quant_float8(&b, x, to, onnx_int(op, "saturate", 1));
	} else if (to == IR_BOOL && from != IR_BOOL) {
		x = expr_not(&b, expr_not(&b, x));
	} else if (to != MICA_F32 && to != IR_BOOL && from != IR_BOOL) {
		b = expr_at(g, op);
		x = facts.from_int || from == to ? x : expr_trunc(&b, x);
		if (to == IR_I64 && facts.from_int && facts.wraps)
			x = integer_host(&b, op, MICA_HOST_PLUS, x, build_scalar(&b, 0)); /* wraps */
		if (packed && y->elem != op->in[0]->elem)
			x = to_packed(&b, x, y->elem, !facts.from_int);
		else
			x = bytes && from != to ? wrapped(&b, x, to) : x;
	} else if (to == MICA_F32 && (x->dtype == MICA_E4M3 || x->dtype == MICA_E5M2 ||
				      x->dtype == MICA_I8 || x->dtype == MICA_U8)) {
		x = build_unary(&b, MICA_FN_COPY, x, 0, 0);
	} else if (to != MICA_F32) {
		return canon_same(g, op, d);
	}
	build_becomes(g, y, x);
	return 0;
}

#define FN(type, fn)                                                          \
	{                                                                     \
		type, MICA_FN_##fn, 1, 1, infer_same, fold_unary, canon_unary \
	}
#define BIN(type, fn)                                                                  \
	{                                                                              \
		type, MICA_BIN_##fn, 2, 2, infer_variadic, fold_binary, canon_variadic \
	}
#define CMP(type, fn)                                                                 \
	{                                                                             \
		type, MICA_BIN_##fn, 2, 2, infer_compare, fold_binary, canon_variadic \
	}
#define MANY(type, fn)                                                                 \
	{                                                                              \
		type, MICA_BIN_##fn, 1, 0, infer_variadic, fold_binary, canon_variadic \
	}

const struct onnx_def onnx_elementwise_ops[] = {
	FN("Relu", RELU),
	FN("LeakyRelu", LEAKY),
	FN("HardSwish", HSWISH),
	FN("HardSigmoid", HSIGMOID),
	FN("Sigmoid", SIGMOID),
	FN("Tanh", TANH),
	FN("Abs", ABS),
	FN("Neg", NEG),
	FN("Exp", EXP),
	FN("Log", LOG),
	FN("Sqrt", SQRT),
	FN("Reciprocal", RECIP),
	FN("Erf", ERF),
	FN("Floor", FLOOR),
	FN("Ceil", CEIL),
	FN("Round", ROUND),
	FN("Sign", SIGN),
	FN("Elu", ELU),
	FN("Selu", SELU),
	FN("Softplus", SOFTPLUS),
	FN("Softsign", SOFTSIGN),
	FN("Not", NOT),
	FN("Mish", MISH),
	FN("Sin", SIN),
	FN("Cos", COS),
	{ "Gelu", MICA_FN_GELU, 1, 1, infer_same, NULL, canon_gelu },
	{ "Clip", NONE, 1, 3, infer_clip, NULL, canon_clip },
	{ "Celu", NONE, 1, 1, infer_same, NULL, canon_celu },
	{ "ThresholdedRelu", NONE, 1, 1, infer_same, NULL, canon_thresholded },
	{ "Swish", NONE, 1, 1, infer_same, NULL, canon_swish },
	{ "Identity", NONE, 1, 1, infer_same, fold_copy, canon_same },
	{ "Dropout", NONE, 1, 3, infer_dropout, NULL, canon_dropout },
	{ "Cast", NONE, 1, 1, infer_cast, fold_cast, canon_cast },
	{ "CastLike", NONE, 2, 2, infer_castlike, fold_cast, canon_cast },
	BIN("Sub", SUB),
	BIN("Div", DIV),
	BIN("Pow", POW),
	BIN("PRelu", PRELU),
	BIN("Mod", MOD),
	BIN("Add", ADD),
	BIN("Mul", MUL),
	MANY("Sum", ADD),
	MANY("Max", MAX),
	MANY("Min", MIN),
	MANY("Mean", ADD),
	CMP("Equal", EQ),
	CMP("Less", LT),
	CMP("LessOrEqual", LE),
	CMP("Greater", GT),
	CMP("GreaterOrEqual", GE),
	CMP("And", AND),
	CMP("Or", OR),
	CMP("Xor", XOR),
	{ "Where", NONE, 3, 3, infer_where, fold_where, canon_where },
	{ 0 },
};
