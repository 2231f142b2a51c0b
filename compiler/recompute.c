// SPDX-License-Identifier: MIT
/*
 * Cheap values that live across the peak only to be read behind it are computed a second time there, from operands that live that
 * long anyway: activations, tables, enlargements.
 */
#include <stdlib.h>
#include <string.h>
#include "live.h"

#define ROUNDS 16
#define MOST_ELEMENTS 0.1		/* of all that the graph computes, per value */

struct choice { unsigned def, use; };	/* steps: what to repeat, in front of whom */

static bool cheap(const struct ir_op *op)
{
	switch (op->kind) {
	case IR_UNARY: case IR_LUT: case IR_BINARY: case IR_WHERE: case IR_RESIZE: case IR_EXPAND:
		return true;
	case IR_POOL:
		return op->a.kh * op->a.kw <= 9;
	default:
		return false;
	}
}

/* Nobody else lives in the value's buffer. */
static bool alone(const struct live *l, const int *buf, const struct ir_value *v)
{
	for (unsigned i = 0; i < l->b.values; i++)
		if (l->b.g->value[i] && i != v->id && buf[i] == buf[v->id])
			return false;
	return true;
}

/* All that the operator reads is constant, an input of the model, or alive at step `at`. */
static bool operands_live(const struct live *l, const int *buf, const struct ir_op *op, unsigned at)
{
	for (unsigned i = 0; i < op->ins; i++) {
		const struct ir_value *x = ir_op_in(op, i);
		unsigned b;

		if (!x || x->data)
			continue;
		b = (unsigned)buf[x->id];
		if (l->size[b] && l->user[b][l->users[b] - 1] < at)
			return false;
	}
	return true;
}

/* A value that lives across step `peak` without being touched there. */
static bool find(const struct live *l, const int *buf, unsigned peak, unsigned skip, struct choice *c)
{
	double all = 0;

	for (unsigned s = 0; s < l->b.steps; s++)
		all += (double)ir_elements(l->b.step[s].op->out[0]);
	for (unsigned s = 0; s < peak; s++) {
		const struct ir_op *op = l->b.step[s].op;
		const struct ir_value *y = op->out[0];
		unsigned b = (unsigned)buf[y->id], k = 0;

		if (l->step[s].idle || !l->size[b] || !cheap(op) || (double)ir_elements(y) > all * MOST_ELEMENTS || !alone(l, buf, y))
			continue;
		while (k < l->users[b] && l->user[b][k] < peak)
			k++;
		if (k == l->users[b] || l->user[b][k] == peak || !operands_live(l, buf, op, l->user[b][k]))
			continue;
		*c = (struct choice){ s, l->user[b][k] };
		if (!skip--)
			return true;
	}
	return false;
}

static void repeat(struct ir_graph *g, struct choice c)
{
	struct ir_op *def = g->first, *at = g->first, *op;
	struct ir_value *v, *again, **in;

	for (unsigned s = 0; s < c.def; s++)
		def = def->next;
	for (unsigned s = 0; s < c.use; s++)
		at = at->next;
	v = def->out[0];
	again = ir_value_new(g, v->name, v->dtype, v->rank, v->dim);
	again->scale = v->scale;
	again->zero = v->zero;
	in = ir_alloc(def->ins, sizeof(*in));
	for (unsigned i = 0; i < def->ins; i++)
		in[i] = ir_op_in(def, i);
	ir_op_clone(g, def, at, in, again);
	free(in);
	for (op = at; op; op = op->next)
		for (unsigned i = 0; i < op->ins; i++)
			if (ir_op_in(op, i) == v)
				ir_op_set_in(op, i, again);
}

/* One value more, if that lowers the peak or lets fewer steps reach it. */
static int round_of(struct ir_graph *g, const struct mica_compile_options *o, bool *done)
{
	struct ir_graph *copy = NULL;
	struct live l, after;
	struct live_peak peak, now;
	struct choice c;
	int ret = live_init(&l, g, o), *buf = NULL;

	*done = true;
	if (!ret) {
		buf = ir_alloc(l.b.values, sizeof(*buf));
		for (unsigned i = 0; i < l.b.values; i++)
			buf[i] = l.b.value[i].buf;
		live_peak(&l, &peak);
	}
	for (unsigned skip = 0; !ret && *done && skip < 4 && find(&l, buf, peak.step, skip, &c); skip++) {
		copy = ir_graph_share(g);
		repeat(copy, c);
		ret = live_init(&after, copy, o);
		if (!ret) {
			live_peak(&after, &now);
			*done = now.bytes > peak.bytes || (now.bytes == peak.bytes && now.steps >= peak.steps);
		}
		live_fini(&after);
		if (*done) {
			ir_graph_free(copy);
			copy = NULL;
		}
	}
	free(buf);
	live_fini(&l);
	if (copy) {
		ir_graph_swap(g, copy);
		ir_graph_free(copy);
	}
	return ret;
}

int be_recompute(struct ir_graph *g, const struct mica_compile_options *o, bool *changed)
{
	bool done = false;
	int ret = 0;

	*changed = false;
	for (unsigned i = 0; i < ROUNDS && !done && !ret; i++) {
		ret = round_of(g, o, &done);
		*changed = *changed || !done;
	}
	return ret;
}
