// SPDX-License-Identifier: MIT
/* ONNX operators become the IR's kinds, by the tables of onnx_ops_*.c. The parsed file is released. */
#include <string.h>
#include "onnx.h"

/* Integer and boolean inputs hold their values in f32, except codes that are dequantized at once. */
static void settle_inputs(struct ir_graph *g)
{
	for (unsigned i = 0; i < g->inputs; i++) {
		struct ir_value *v = g->input[i];
		bool codes = v->uses > 0;

		for (unsigned k = 0; k < v->uses; k++)
			codes = codes && !strcmp(v->use[k]->onnx_type, "DequantizeLinear");
		if (!codes || v->dtype == IR_I64 || v->dtype == IR_BOOL)
			v->dtype = MICA_F32;
	}
}

/* Constants of types that the device doesn't know become f32. */
static void settle_constants(struct ir_graph *g)
{
	for (struct ir_op *op = g->first; op; op = op->next) {
		for (unsigned i = 0; i < op->ins; i++) {
			struct ir_value *v = ir_op_in(op, i);

			if (v && v->data &&
			    (v->dtype == IR_I64 || v->dtype == IR_BOOL || v->dtype == MICA_U8))
				ir_op_set_in(op, i, const_f32(g, v));
		}
	}
}

int pass_canonicalize(struct ir_graph *g, const struct mica_compile_options *o)
{
	struct ir_op *next;
	(void)o;

	ir_note_unfused(g);
	settle_inputs(g);
	for (struct ir_op *op = g->first; op; op = next) {
		const struct onnx_def *d = op->kind == IR_ONNX ? onnx_find(op->onnx_type) : NULL;
		int r;

		next = op->next;
		if (op->kind != IR_ONNX)
			continue;
		if (!d || !d->canon)
			return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
					 "its operands are only known at run time; fix the input "
					 "with --shape or fold the model before compiling");
		r = d->canon(g, op, d);
		if (r)
			return r;
		for (unsigned i = 0; i < op->outs; i++)
			if (op->out[i] && op->out[i]->uses + op->out[i]->is_output)
				return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
						 "result '%.100s' is not supported; export without "
						 "it",
						 op->out[i]->name);
		ir_op_remove(g, op);
	}
	if (g->import_free)
		g->import_free(g->import);
	g->import = NULL;
	g->import_free = NULL;
	settle_constants(g);
	ir_sweep(g);
	return 0;
}
