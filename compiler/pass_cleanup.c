// SPDX-License-Identifier: MIT
/* Removes what nobody reads, and conversions that convert nothing. */
#include "front.h"

void ir_sweep(struct ir_graph *g)
{
	struct ir_op *prev;

	for (struct ir_op *op = g->last; op;
	     op = prev) { /* backwards: users go before what they use */
		bool live = false;

		prev = op->prev;
		for (unsigned i = 0; i < op->outs; i++)
			live = live || (op->out[i] && (op->out[i]->uses || op->out[i]->is_output));
		if (!live)
			ir_op_remove(g, op);
	}
	for (unsigned i = 0; i < g->values; i++) {
		struct ir_value *v = g->value[i];

		if (v && !v->uses && !v->def && !v->is_input && !v->is_output)
			ir_value_remove(g, v);
	}
}

/* A copy whose result has the codes of its operand. */
static bool is_noop(const struct ir_op *op)
{
	const struct ir_value *x = op->in[0], *y = op->out[0];

	return op->kind == IR_UNARY && op->a.fn == MICA_FN_COPY && !x->data &&
	       x->dtype == y->dtype && x->scale == y->scale && x->zero == y->zero &&
	       !(y->is_output && (x->is_input || x->is_output));
}

int pass_cleanup(struct ir_graph *g, const struct mica_compile_options *o)
{
	struct ir_op *next;
	(void)o;

	for (struct ir_op *op = g->first; op; op = next) {
		next = op->next;
		if (is_noop(op))
			ir_value_replace(g, op->out[0], op->in[0]);
	}
	ir_sweep(g);
	return 0;
}
