// SPDX-License-Identifier: MIT
/* Constant folding: whatever does not depend on the inputs is computed now. */
#include "fold.h"

int pass_fold_constants(struct ir_graph *g, const struct mica_compile_options *o)
{
	struct ir_op *next;
	(void)o;

	for (struct ir_op *op = g->first; op; op = next) {
		const struct onnx_def *d = onnx_find(op->onnx_type);
		int r;

		next = op->next;
		r = d ? fold_op(g, op, d) : 0;
		if (r < 0)
			return r;
	}
	ir_sweep(g);
	return 0;
}
