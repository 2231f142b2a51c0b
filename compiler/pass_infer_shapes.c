// SPDX-License-Identifier: MIT
/*
 * Shape inference: types and shapes of all values, in execution order. Small constants are folded on the way, because
 * shapes are often computed by the graph itself (Shape, Gather, Concat, Reshape).
 */
#include <string.h>
#include "fold.h"
#include "onnx_control.h"

#define SMALL 4096 /* elements; larger results wait for fold_constants */

static int check_operands(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	if (op->ins < d->min_in || (d->max_in && op->ins > d->max_in) || !op->outs)
		return onnx_fail(g, op, MICA_ERR_CORRUPT,
				 "has %u operands and %u results, which its definition doesn't "
				 "allow; export the model again",
				 op->ins, op->outs);
	for (unsigned i = 0; i < op->ins; i++) {
		const struct ir_value *v = ir_op_in(op, i);

		if (!v && (i < d->min_in || !d->max_in))
			return onnx_fail(g, op, MICA_ERR_CORRUPT,
					 "operand %u is missing; export the model again", i);
		if (v && v->dtype == IR_SEQUENCE)
			return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
					 "operand %u is a sequence or an empty optional, which this operator does not take; "
					 "use ConcatFromSequence or SequenceAt", i);
		if (v && !v->data && v->dtype == MICA_NONE)
			return onnx_fail(g, op, MICA_ERR_INTERNAL,
					 "operand %u ('%.100s') has no type", i, v->name);
	}
	return 0;
}

/* A tensor without elements is only fine as a constant inside the graph, or when nobody reads it: then it goes. */
static int check_empty(struct ir_graph *g, struct ir_op *op, bool outputs_only)
{
	for (unsigned i = 0; i < op->outs; i++) {
		struct ir_value *v = op->out[i];

		if (!v || ir_elements(v))
			continue;
		if ((outputs_only ? 0 : v->uses) + v->is_output)
			return onnx_fail(g, op, MICA_ERR_SHAPE,
					 "result '%.100s' is empty (0 elements); check the model "
					 "and --shape",
					 v->name);
		if (outputs_only)
			continue;
		op->out[i] = NULL;
		v->def = NULL;
		ir_value_remove(g, v);
	}
	return 0;
}

static bool is_small(const struct ir_op *op)
{
	int64_t n = 0;

	for (unsigned i = 0; i < op->outs; i++)
		n += op->out[i] ? ir_elements(op->out[i]) : 0;
	for (unsigned i = 0; i < op->ins; i++)
		if (ir_op_in(op, i) && !ir_op_in(op, i)->data)
			return true; /* only asks for a shape */
	return n <= SMALL;
}

static int unknown_op(struct ir_graph *g, struct ir_op *op)
{
	const struct ir_value *before = NULL;

	for (unsigned i = 0; i < op->ins && !before; i++)
		before = ir_op_in(op, i) && !ir_op_in(op, i)->data ? ir_op_in(op, i) : NULL;
	return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
			 "this operator is not supported; replace it in the model or cut the model "
			 "in front of it (--cut=%.100s; docs/compiler.md lists the operators)",
			 before ? before->name : "NAME");
}

int pass_infer_shapes(struct ir_graph *g, const struct mica_compile_options *o)
{
	struct ir_op *next;
	bool sequences = false;
	(void)o;

	ir_sweep(g); /* what nobody reads need not be supported */
	for (struct ir_op *op = g->first; op; op = next) {
		const struct onnx_def *d;
		int r;

		onnx_enter(g, op);
		if (onnx_is_call(g, op)) {
			r = onnx_call(g, op, &next);
			if (r)
				return r;
			continue;
		}
		if (onnx_is_control(op)) {	/* becomes operators that come next */
			r = onnx_control(g, op, &next);
			if (r)
				return r;
			continue;
		}
		if (onnx_is_sequence(op)) {
			sequences = true;
			r = onnx_sequence(g, op, &next);
			if (r)
				return r;
			continue;
		}
		d = onnx_find(op->onnx_type);
		r = d ? check_operands(g, op, d) : unknown_op(g, op);

		next = op->next;
		if (!r)
			r = d->infer(g, op, d);
		for (unsigned i = 0; i < op->outs && !r; i++)
			if (op->out[i] && op->out[i]->dtype == MICA_NONE)
				r = onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
					      "result %u is not supported; export without it", i);
		if (!r)
			r = check_empty(g, op, true);
		if (!r && is_small(op))
			r = fold_op(g, op, d);
		else if (!r)
			r = 1;
		if (r == 1)
			r = check_empty(g, op, false);
		if (r < 0)
			return r;
	}
	return sequences ? onnx_sequence_outputs(g) : 0;
}
