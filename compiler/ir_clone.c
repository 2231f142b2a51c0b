// SPDX-License-Identifier: MIT
/* A second graph to try things on: the same operators, values and ids. For the time between `layout` and the backend. */
#include <stdlib.h>
#include <string.h>
#include "front.h"

static void *copy_of(const void *p, size_t bytes)
{
	return p ? memcpy(ir_alloc(bytes, 1), p, bytes) : NULL;
}

static void clone_value(struct ir_graph *to, struct ir_value *v, bool shared)
{
	struct ir_value *n;

	if (!v) {		/* ids are positions: the hole stays */
		to->value = ir_grow(to->value, &to->value_cap, to->values + 1, sizeof(*to->value));
		to->value[to->values++] = NULL;
		return;
	}
	n = ir_value_new(to, v->name, v->dtype, v->rank, v->dim);
	n->scale = v->scale;
	n->zero = v->zero;
	n->ch_axis = v->ch_axis;
	n->ch_scale = v->ch_scale ? copy_of(v->ch_scale, (size_t)v->dim[v->ch_axis] * sizeof(float)) : NULL;
	n->calibrated = v->calibrated;
	n->threshold = v->threshold;
	n->min = v->min;
	n->max = v->max;
	n->exact = v->exact;
	if (v->data && shared)
		ir_value_share(v, n);
	else if (v->data)
		n->data = memcpy(ir_alloc(ir_bytes(v) + 8, 1), v->data, ir_bytes(v));	/* with ir_const_new's slack */
	n->is_input = v->is_input;
	n->is_output = v->is_output;
}

struct ir_op *ir_op_clone(struct ir_graph *g, const struct ir_op *op, struct ir_op *before, struct ir_value *const *in,
			  struct ir_value *out)
{
	struct ir_op *n = ir_op_new(g, op->kind, op->name, before, in, op->ins, &out, 1);
	const struct ir_value *y = op->out[0];

	n->onnx_type = op->onnx_type ? ir_strdup(op->onnx_type) : NULL;
	n->a = op->a;
	n->format = op->format;
	n->weights = op->weights;
	if (op->kind == IR_RESIZE) {
		n->a.taps_h = copy_of(op->a.taps_h, (size_t)y->dim[1] * sizeof(*n->a.taps_h));
		n->a.taps_w = copy_of(op->a.taps_w, (size_t)y->dim[2] * sizeof(*n->a.taps_w));
	}
	return n;
}

static struct ir_graph *clone(const struct ir_graph *g, bool shared)
{
	struct ir_graph *n = ir_graph_new(g->name, g->err);

	for (unsigned i = 0; i < g->values; i++)
		clone_value(n, g->value[i], shared);
	for (const struct ir_op *op = g->first; op; op = op->next) {
		struct ir_value **in = ir_alloc(op->ins, sizeof(*in));

		for (unsigned i = 0; i < op->ins; i++)
			in[i] = ir_op_in(op, i) ? n->value[ir_op_in(op, i)->id] : NULL;
		ir_op_clone(n, op, NULL, in, n->value[op->out[0]->id])->id = op->id;
		free(in);
	}
	n->next_id = g->next_id;
	n->inputs = g->inputs;
	n->outputs = g->outputs;
	n->input = ir_alloc(g->inputs, sizeof(*n->input));
	n->output = ir_alloc(g->outputs, sizeof(*n->output));
	for (unsigned i = 0; i < g->inputs; i++)
		n->input[i] = n->value[g->input[i]->id];
	for (unsigned i = 0; i < g->outputs; i++)
		n->output[i] = n->value[g->output[i]->id];
	n->quantized = g->quantized;
	n->qdq = g->qdq;
	n->rules = g->rules;
	n->equalized = g->equalized;
	n->folded = g->folded;
	return n;
}

struct ir_graph *ir_graph_clone(const struct ir_graph *g)
{
	return clone(g, false);
}

struct ir_graph *ir_graph_share(struct ir_graph *g)
{
	return clone(g, true);
}

void ir_graph_swap(struct ir_graph *a, struct ir_graph *b)
{
	struct ir_unfused *unfused = a->unfused;
	unsigned unfuseds = a->unfuseds;
	struct ir_graph t = *a;

	*a = *b;
	*b = t;
	b->unfused = a->unfused;	/* the file's own buffers stay with the first graph */
	b->unfuseds = a->unfuseds;
	a->unfused = unfused;
	a->unfuseds = unfuseds;
}
