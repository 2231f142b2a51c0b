// SPDX-License-Identifier: MIT
/*
 * Models that came quantized: conversions to codes (QuantizeLinear) move up to the operators that compute the values, so
 * that these write codes at once; what the model leaves in f32 stays there.
 */
#include <string.h>
#include "quantize.h"

static bool is_copy(const struct ir_op *op)
{
	return op->kind == IR_UNARY && op->a.fn == MICA_FN_COPY;
}

static bool same_format(const struct ir_value *a, const struct ir_value *b)
{
	return a->dtype == b->dtype && a->scale == b->scale && a->zero == b->zero;
}

static void take_format(struct ir_value *v, const struct ir_value *from)
{
	v->dtype = from->dtype;
	v->scale = from->scale;
	v->zero = from->zero;
}

/* Of several equal conversions of one value the first in order serves all. */
static void share_copies(struct ir_graph *g)
{
	for (struct ir_op *op = g->first; op; op = op->next) {
		struct ir_value *v = op->in[0];

		if (!is_copy(op) || !v || v->data)
			continue;
		for (unsigned i = v->uses; i-- > 0;) {
			struct ir_op *other = i < v->uses ? v->use[i] : NULL;

			if (other && other != op && is_copy(other) && !other->out[0]->is_output &&
			    other->out[0]->uses && other->scratch != g &&
			    same_format(other->out[0], op->out[0]))
				ir_value_replace(g, other->out[0], op->out[0]);
		}
		op->scratch = g; /* already the first of its kind */
	}
	ir_sweep(g);
}

/* A conversion of a value that nobody else reads: its operator writes the codes. */
static bool absorb_copy(struct ir_graph *g, struct ir_op *copy)
{
	struct ir_value *v = copy->in[0], *y = copy->out[0];
	struct ir_op *def = v->def;

	if (v->uses != 1 || v->is_output || v->data || (y->is_output && !def))
		return false;
	if (!def) { /* a graph input: the host quantizes */
		if (v->dtype != MICA_F32)
			return false;
		take_format(v, y);
	} else if (def->kind == IR_HOST) {
		return false;
	} else if (!moves_codes(def) || def->kind == IR_POOL || def->kind == IR_RESIZE) {
		if (is_copy(def) && def->out[0]->dtype != MICA_F32)
			return false; /* a real requantization in between */
		take_format(v, y);
	} else { /* the conversion moves in front of the movement */
		for (unsigned i = 0; i < def->ins; i++) {
			struct build b = build_at(g, def);
			struct ir_value *x = ir_op_in(def, i), *c;

			if (x->data) {
				ir_op_set_in(def, i, const_as(g, x, y));
				continue;
			}
			c = build_unary(&b, MICA_FN_COPY, x, 0, 0);
			take_format(c, y);
			ir_op_set_in(def, i, c);
		}
		take_format(v, y);
	}
	ir_value_replace(g, y, v);
	ir_op_remove(g, copy);
	return true;
}

/* Backwards, so that a conversion that has moved up is met again. */
static void absorb_copies(struct ir_graph *g)
{
	struct ir_op *prev;

	for (struct ir_op *op = g->last; op; op = prev) {
		struct ir_op *def = op->in[0] ? op->in[0]->def : NULL;
		bool moved =
			def && moves_codes(def) && def->kind != IR_POOL && def->kind != IR_RESIZE;

		prev = op->prev;
		if (!is_copy(op))
			continue;
		if (absorb_copy(g, op) && moved)
			prev = def; /* the new conversions stand right in front of it */
	}
}

/* A movement has the codes of its operands: those of other formats are converted, f32 when they differ. */
static void settle_movement(struct ir_graph *g, struct ir_op *op)
{
	struct ir_value *y = op->out[0];

	for (unsigned i = 0; i < op->ins; i++) {
		struct build b = build_at(g, op);
		struct ir_value *x = ir_op_in(op, i), *c;

		if (x->data) {
			ir_op_set_in(op, i, const_as(g, x, y));
		} else if (!same_format(x, y)) {
			c = build_unary(&b, MICA_FN_COPY, x, 0, 0);
			take_format(c, y);
			ir_op_set_in(op, i, c);
		}
	}
}

/* A product of codes with codes of the same class stays; otherwise both sides are f32. */
static int product_format(const struct ir_op *op)
{
	const struct ir_value *x = op->in[0], *w = op->in[1];

	if (x->data)
		return MICA_F32;
	return mac_class(x->dtype) == mac_class(w->dtype) ? x->dtype : MICA_F32;
}

int quantize_qdq(struct ir_graph *g)
{
	share_copies(g);
	absorb_copies(g);
	for (struct ir_op *op = g->first; op; op = op->next) {
		if (is_mac(op))
			settle_mac(g, op, product_format(op));
		else if (moves_codes(op) && op->kind != IR_POOL && op->kind != IR_RESIZE)
			settle_movement(g, op);
	}
	return 0;
}
