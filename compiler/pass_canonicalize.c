// SPDX-License-Identifier: MIT
/* ONNX operators become the IR's kinds, by the tables of onnx_ops_*.c. The parsed file is released. */
#include <stdlib.h>
#include <string.h>
#include "onnx_integer.h"
#include "onnx_quant.h"

#define MS_QUANTIZED "com.microsoft.QLinear"

static bool is_one_of(const char *type, const char *const *list)
{
	for (; *list; list++)
		if (!strcmp(type, *list))
			return true;
	return false;
}

/* Operators that know what the codes of their operands mean. */
static bool reads_codes(const char *type)
{
	static const char *const list[] = { "DequantizeLinear", "QLinearConv", "QLinearMatMul",
					    "ConvInteger",	"MatMulInteger", "com.microsoft.DequantizeLinear", NULL };

	return is_one_of(type, list) || !strncmp(type, MS_QUANTIZED, strlen(MS_QUANTIZED)) || !strcmp(type, "com.microsoft.QGemm");
}

/* op takes v as the codes of a tensor, not as a zero point. */
static bool reads_as_codes(const struct ir_op *op, const struct ir_value *v)
{
	const char *dot = strrchr(op->onnx_type, '.'), *type = dot ? dot + 1 : op->onnx_type;
	unsigned first = 0, second = !strncmp(type, "QLinear", 7) || !strcmp(type, "QGemm") ? 3 : 1;

	if (!reads_codes(op->onnx_type))
		return false;
	if (!strcmp(type, "QLinearConcat")) {
		for (first = 2; first < op->ins; first += 3)
			if (v == ir_op_in(op, first))
				return true;
		return false;
	}
	return v == ir_op_in(op, first) || (strcmp(type, "DequantizeLinear") && v == ir_op_in(op, second));
}

/* Operators that move codes as they are. */
static bool keeps_codes(const struct ir_op *op)
{
	static const char *const list[] = { "Identity", "Reshape",   "Flatten", "Squeeze", "Unsqueeze",
					    "Slice",	"Transpose", "Split",	NULL };

	return is_one_of(op->onnx_type, list) ||
	       (!strcmp(op->onnx_type, "MaxPool") && op->in[0]->rank <= 4);
}

static bool is_coded(const struct ir_value *v)
{
	return v && !v->data && quant_is_code(v->dtype) &&
	       (v->scale != 1 || v->zero + (v->elem == ONNX_U8 ? 128 : 0));
}

/*
 * Which operands are codes by ONNX's types goes into the operator's scratch, a bit for each: later one value stands for
 * the codes and for what DequantizeLinear makes of them.
 */
static void mark_codes(struct ir_graph *g)
{
	for (struct ir_op *op = g->first; op; op = op->next) {
		uintptr_t mask = 0;

		for (unsigned i = 0; i < op->ins && i < 32; i++)
			if (ir_op_in(op, i) && quant_is_code(ir_op_in(op, i)->dtype))
				mask |= (uintptr_t)1 << i;
		op->scratch = (void *)mask;
	}
}

/* All others compute with the codes as numbers, not with the values that the codes stand for. */
static void settle_codes(struct ir_graph *g, struct ir_op *op)
{
	struct build b = expr_at(g, op);
	uintptr_t codes = (uintptr_t)op->scratch;

	op->scratch = NULL;
	if (reads_codes(op->onnx_type) || keeps_codes(op))
		return;
	for (unsigned i = 0; i < op->ins && i < 32; i++)
		if (codes >> i & 1 && is_coded(ir_op_in(op, i)))
			ir_op_set_in(op, i, quant_codes(&b, ir_op_in(op, i)));
}

/* A model whose result is quantized gives the codes. */
static void settle_coded_output(struct ir_graph *g, unsigned i)
{
	struct ir_value *v = g->output[i], *codes;
	struct build b = { .g = g, .name = v->name, .format = MICA_F32 };

	if (!is_coded(v))
		return;
	codes = quant_codes(&b, v);
	ir_swap_names(g, v, codes);
	v->is_output = false;
	codes->is_output = true;
	g->output[i] = codes;
}

/* Integer and boolean inputs hold their values in f32, except codes that are dequantized at once. */
static void settle_inputs(struct ir_graph *g)
{
	for (unsigned i = 0; i < g->inputs; i++) {
		struct ir_value *v = g->input[i];
		bool codes = v->uses > 0;

		for (unsigned k = 0; k < v->uses; k++)
			codes = codes && reads_as_codes(v->use[k], v);
		v->exact = v->dtype == IR_I64;
		if (!codes || v->dtype == IR_I64 || v->dtype == IR_BOOL)
			v->dtype = MICA_F32;
	}
}

/* Weights of a product may have a scale for each channel. */
static bool takes_channel_scales(const struct ir_op *op, unsigned i)
{
	return i == 1 && (op->kind == IR_CONV || op->kind == IR_CONVT || op->kind == IR_MATMUL);
}

/* Constants of types that the device doesn't know become f32. */
static void settle_constants(struct ir_graph *g)
{
	for (struct ir_op *op = g->first; op; op = op->next) {
		for (unsigned i = 0; i < op->ins; i++) {
			struct ir_value *v = ir_op_in(op, i);

			if (v && v->data &&
			    (v->dtype == IR_I64 || v->dtype == IR_BOOL || v->dtype == MICA_U8 ||
			     (v->ch_scale && !takes_channel_scales(op, i))))
				ir_op_set_in(op, i, const_f32(g, v));
		}
	}
}

/* Operands that contradict each other, where the operator's own inference has let them pass. */
static int check_shapes(struct ir_graph *g, const struct ir_op *first, struct ir_op *op)
{
	for (; first != op; first = first->next)
		if (ir_verify_shapes(g, first)) {
			g->err->code = 0; /* the model's mistake, told as one */
			return onnx_fail(g, op, MICA_ERR_SHAPE, "the shapes of its operands do not fit together (%s in front of '%.100s'); check the model",
					 ir_kind_name(first->kind), first->out[0]->name);
		}
	return 0;
}

static int rewrite(struct ir_graph *g, struct ir_op *op)
{
	const struct onnx_def *d = onnx_find(op->onnx_type);
	struct ir_op *before = op->prev;
	int r;

	onnx_enter(g, op);
	if (!d || !d->canon)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "its operands are only known at run time; fix the input with "
				 "--shape or fold the model before compiling");
	settle_codes(g, op);
	if (op->outs && op->out[0] && op->out[0]->dtype == IR_I64)
		op->format = MICA_F32;	/* integers survive in no other format */
	r = d->canon(g, op, d);
	if (!r)
		r = check_shapes(g, before ? before->next : g->first, op);
	if (r)
		return r;
	for (unsigned i = 0; i < op->outs; i++)
		if (op->out[i] && op->out[i]->uses + op->out[i]->is_output)
			return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
					 "result '%.100s' is not supported; export without it",
					 op->out[i]->name);
	ir_op_remove(g, op);
	return 0;
}

/* What the host's code cannot do, such as indices that f32 does not hold. */
static int check_host_steps(struct ir_graph *g)
{
	for (struct ir_op *op = g->first; op; op = op->next) {
		struct mica_host_step s;
		const char *why;

		if (op->kind != IR_HOST)
			continue;
		ir_host_step(op, &s);
		why = mica_host_check(&s);
		if (why)
			return mica_err_set(g->err, MICA_ERR_UNSUPPORTED, "%s: node '%.150s': %s; make its operands smaller or export the model without it",
					    g->name, op->name, why);
	}
	return 0;
}

/*
 * Where the model casts to bfloat16, f32 means numbers of that precision. In other formats, which are coarser or chosen by the
 * user, casts say nothing.
 */
static void settle_bf16(struct ir_graph *g, const struct mica_compile_options *o)
{
	for (struct ir_op *op = g->first; op; op = op->next) {
		if (op->kind != IR_UNARY || op->out[0]->dtype != MICA_BF16)
			continue;
		if (o->format == MICA_F32 && !o->qtable)
			g->qdq = true;
		else
			op->out[0]->dtype = MICA_F32;
	}
}

int pass_canonicalize(struct ir_graph *g, const struct mica_compile_options *o)
{
	bool *coded = ir_alloc(g->outputs, sizeof(*coded));
	struct ir_op *next;
	int r = 0;

	ir_note_unfused(g);
	if (g->import)
		((struct onnx_import *)g->import)->rounds_half = o->format == MICA_F32 && !o->qtable;
	for (unsigned i = 0; i < g->outputs; i++)
		coded[i] = quant_is_code(g->output[i]->dtype);
	r = g->import ? integer_find(g) : 0;
	mark_codes(g);
	settle_inputs(g);
	for (struct ir_op *op = g->first; op && !r; op = next) {
		next = op->next;
		if (op->kind == IR_ONNX)
			r = rewrite(g, op);
	}
	if (!r && g->import_free) {
		g->import_free(g->import);
		g->import = NULL;
		g->import_free = NULL;
	}
	for (unsigned i = 0; i < g->outputs && !r; i++)
		if (coded[i])
			settle_coded_output(g, i);
	free(coded);
	if (r)
		return r;
	settle_constants(g);
	settle_bf16(g, o);
	ir_sweep(g);
	return check_host_steps(g);
}
