// SPDX-License-Identifier: MIT
/* Which value of the f32 graph a value of the quantized graph stands for, and which layers are worth comparing. */
#include <math.h>
#include <stdlib.h>
#include "compare_run.h"
#include "quantize.h"

static bool is_copy(const struct ir_op *op)
{
	return op->kind == IR_UNARY && op->a.fn == MICA_FN_COPY;
}

/* Ids are the same in both; a table that replaced functions has taken the name of their result. */
static int find_source(const struct compare *c, const struct ir_op *op)
{
	const struct ir_value *y = op->out[0], *x = y->id < c->f->values ? c->f->value[y->id] : NULL;

	if (!x && is_copy(op) && !op->in[0]->data)
		return c->source[op->in[0]->id];
	if (!x)
		x = ir_value_find(c->f, y->name);
	return x && !x->data && ir_same_dims(x, y) ? (int)x->id : -1;
}

/* Its rows would repeat those of its operands. */
static bool only_moves(const struct ir_op *op)
{
	return moves_codes(op) && op->kind != IR_POOL && op->kind != IR_RESIZE;
}

/* An output that is a layer's value in the model's order of axes: the layer's row stands for it. */
static bool stands_for(struct compare *c, const struct ir_op *op)
{
	if (op->kind != IR_TRANSPOSE && op->kind != IR_RESHAPE)
		return false;
	for (unsigned i = 0; i < c->layers; i++) {
		if (c->layer[i].y != op->in[0] || c->layer[i].output)
			continue;
		c->layer[i].output = op->out[0];
		return true;
	}
	return false;
}

static bool worth_a_row(struct compare *c, const struct ir_op *op)
{
	if (c->source[op->out[0]->id] < 0)
		return false;
	return op->out[0]->is_output ? !stands_for(c, op) : !only_moves(op);
}

static void add_layer(struct compare *c, const struct ir_op *op, const struct ir_value *y)
{
	struct compare_layer *l = &c->layer[c->layers++];
	const struct ir_value *x = c->f->value[c->source[y->id]], *w = NULL;

	*l = (struct compare_layer){ .op = op, .y = y, .x = x, .limit = compare_limit_of(y), .lowest = 2 };
	l->output = y->is_output ? y : NULL;
	l->min = INFINITY;
	l->max = -INFINITY;
	if (x->def && x->def->kind == IR_CONV)
		w = x->def->in[1];
	if (!w || !w->data || y->dim[y->rank - 1] != w->dim[0])
		return;
	l->channels = (unsigned)w->dim[0];
	l->lo = ir_alloc(2 * l->channels, sizeof(float));
	l->hi = l->lo + l->channels;
	for (unsigned i = 0; i < l->channels; i++) {
		l->lo[i] = INFINITY;
		l->hi[i] = -INFINITY;
	}
}

/* A step asks for what its operands and its result are in f32. */
static void ask(struct compare *c, const struct ir_op *op, unsigned step)
{
	for (unsigned i = 0; i < op->ins; i++) {
		const struct ir_value *v = ir_op_in(op, i);

		if (v && !v->data && c->source[v->id] >= 0)
			c->last[c->source[v->id]] = step;
	}
	if (c->source[op->out[0]->id] >= 0)
		c->last[c->source[op->out[0]->id]] = step;
}

void compare_pair(struct compare *c)
{
	unsigned ops = 0, step = 0;

	for (const struct ir_op *op = c->q->first; op; op = op->next)
		ops++;
	c->source = ir_alloc(c->q->values, sizeof(*c->source));
	c->last = ir_alloc(c->f->values, sizeof(*c->last));
	c->layer = ir_alloc(ops + c->q->inputs, sizeof(*c->layer));
	for (unsigned i = 0; i < c->q->values; i++)
		c->source[i] = -1;
	for (unsigned i = 0; i < c->q->inputs; i++) {
		c->source[c->q->input[i]->id] = (int)c->f->input[i]->id;
		c->last[c->f->input[i]->id] = 1;
		add_layer(c, NULL, c->q->input[i]);
	}
	for (const struct ir_op *op = c->q->first; op; op = op->next) {
		c->source[op->out[0]->id] = find_source(c, op);
		ask(c, op, ++step);
		if (worth_a_row(c, op))
			add_layer(c, op, op->out[0]);
	}
}

void compare_fini(struct compare *c)
{
	for (unsigned i = 0; i < c->layers; i++) {
		compare_bins_free(&c->layer[i].bins);
		free(c->layer[i].lo);
	}
	free(c->layer);
	free(c->source);
	free(c->last);
}
