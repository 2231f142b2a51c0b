// SPDX-License-Identifier: MIT
/*
 * Results over operands: an elementwise step whose operand dies there writes its result into the operand's buffer. A packet
 * may do that when both are the same bytes in the same strides (docs/isa.md, footprints); tiles of values in DRAM as well.
 */
#include <string.h>
#include "backend.h"

/* Is element e of operand i all that element e of the result needs of it? */
static bool elementwise(const struct ir_op *op, unsigned i)
{
	const struct ir_value *x = op->in[i], *y = op->out[0];

	switch (op->kind) {
	case IR_BINARY: case IR_WHERE: case IR_UNARY:
		break;
	case IR_LUT:
		if (i)
			return false;
		break;
	case IR_CONV:
		if (i != 3)
			return false;
		break;
	case IR_MATMUL:
		if (i != 2)
			return false;
		break;
	default:
		return false;
	}
	return x->rank == y->rank && !memcmp(x->dim, y->dim, x->rank * sizeof(*x->dim)) &&
	       ir_dtype_size(x->dtype) == ir_dtype_size(y->dtype);
}

static bool same_layout(const struct be_state *b, const struct ir_value *x, const struct ir_value *y)
{
	const struct be_view *a = &b->value[x->id].rel, *c = &b->value[y->id].rel;

	if (a->addr != c->addr)
		return false;
	for (unsigned d = 0; d < x->rank; d++)
		if (x->dim[d] > 1 && a->stride[d] != c->stride[d])
			return false;
	return true;
}

/* Does the step read the buffer for nothing but operands that are exactly x? */
static bool only_reader(const struct be_state *b, const struct be_step *s, int buf, const struct ir_value *x)
{
	for (unsigned k = 0; k < s->op->ins; k++) {
		const struct ir_value *v = s->op->in[k];

		if (v && !be_streams(s->op, k) && b->value[v->id].buf == buf && (v != x || !elementwise(s->op, k)))
			return false;
	}
	return true;
}

static void join(struct be_state *b, int from, int into)
{
	for (unsigned i = 0; i < b->values; i++)
		if (b->g->value[i] && b->value[i].buf == from)
			b->value[i].buf = into;
	b->buf[into].last = b->buf[from].last;
	b->buf[into].traffic += b->buf[from].traffic;
	b->buf[from].first = UINT32_MAX;
}

unsigned be_over(const struct be_state *b, unsigned step, int over[IR_MAX_IN])
{
	const struct be_step *s = &b->step[step];
	const struct ir_value *y = s->op->out[0];
	int out = b->value[y->id].buf;
	unsigned n = 0;

	if (be_done_by_views(s) || be_is_move(s->op) || b->buf[out].space != BE_LMEM || b->o->no_pass & 1u << MICA_SAVE_IN_PLACE)
		return 0;
	for (unsigned k = 0; k < s->op->ins; k++) {
		const struct ir_value *x = s->op->in[k];
		int in = x ? b->value[x->id].buf : -1;

		if (in < 0 || in == out || be_streams(s->op, k) || !elementwise(s->op, k))
			continue;
		if (b->buf[in].space == BE_LMEM && b->buf[in].size == b->buf[out].size && same_layout(b, x, y) && only_reader(b, s, in, x))
			over[n++] = in;
	}
	return n;
}

void be_in_place(struct be_state *b)
{
	for (unsigned i = 0; i < b->steps; i++) {
		int over[IR_MAX_IN], out = b->value[b->step[i].op->out[0]->id].buf;
		unsigned n = be_over(b, i, over);

		for (unsigned k = 0; k < n; k++) {
			if (b->buf[out].first != i || b->buf[over[k]].last != i)
				continue;
			join(b, out, over[k]);
			break;
		}
	}
}
