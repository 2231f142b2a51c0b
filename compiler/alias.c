// SPDX-License-Identifier: MIT
/*
 * Views instead of copies: slices and reshapes read in place, operands of a concatenation are written where they belong,
 * layout changes at the model's inputs and outputs happen in the DMA. Values that share a buffer form a group with one
 * root; every other member is a strided view of it. Whatever turns out not to be expressible is barred and becomes a copy.
 */
#include <stdlib.h>
#include <string.h>
#include "backend.h"

#define CONCAT_REACH 16		/* an operand made longer ago would keep the whole buffer alive too long */

enum group_kind { FREE, INPUT, OUTPUT, CONSTANT };

struct aliasing {
	struct be_state *b;
	enum group_kind *kind;		/* by group; a group is named by the id of its first member */
	const struct ir_value **root;
	unsigned *def_step;		/* by value: position of what makes it */
	unsigned *position;		/* by step; further slices of an operator stand where the first does */
	struct edge { struct be_step *s; unsigned operand; const struct ir_value *from; } *by;	/* by value: what laid it out */
};

static struct be_value *val(const struct aliasing *a, const struct ir_value *v)
{
	return &a->b->value[v->id];
}

static enum group_kind kind_of(const struct aliasing *a, const struct ir_value *v)
{
	return a->kind[val(a, v)->group];
}

static void start(struct aliasing *a)
{
	struct ir_graph *g = a->b->g;

	for (unsigned i = 0; i < g->values; i++) {
		if (!g->value[i])
			continue;
		a->b->value[i] = (struct be_value){ .buf = -1, .group = (int)i, .full = true };
		a->kind[i] = g->value[i]->data ? CONSTANT : FREE;
		a->root[i] = g->value[i];
		a->by[i] = (struct edge){ NULL, 0, NULL };
	}
	for (unsigned i = 0; i < g->inputs; i++)
		a->kind[g->input[i]->id] = INPUT;
	for (unsigned i = 0; i < g->outputs; i++)
		a->kind[g->output[i]->id] = OUTPUT;
	for (unsigned i = 0; i < a->b->steps; i++) {
		struct be_step *s = &a->b->step[i];

		s->view = false;
		memset(s->in_place, 0, s->op->ins);
		a->def_step[s->op->out[0]->id] = a->position[i];
	}
}

/* `child`'s group becomes part of `parent`'s; full: child covers parent's value. */
static void merge(struct aliasing *a, const struct ir_value *child, const struct ir_value *parent, bool bijective)
{
	int from = val(a, child)->group, to = val(a, parent)->group;
	bool full = bijective && val(a, parent)->full;

	for (unsigned i = 0; i < a->b->values; i++) {
		struct be_value *v = &a->b->value[i];

		if (!a->b->g->value[i] || v->group != from)
			continue;
		v->group = to;
		v->full = v->full && full;
	}
}

/* Nobody reads the group's members but the operators that hand them on. */
static bool private(const struct aliasing *a, int group)
{
	for (unsigned i = 0; i < a->b->values; i++) {
		const struct ir_value *v = a->b->g->value[i];

		if (v && a->b->value[i].group == group && v->uses > 1)
			return false;
	}
	return true;
}

static bool keeps_order(const struct ir_op *op)
{
	int last = -1;

	for (unsigned d = 0; d < op->out[0]->rank; d++) {
		if (op->out[0]->dim[d] == 1)
			continue;
		if (op->a.perm[d] < last)
			return false;
		last = op->a.perm[d];
	}
	return true;
}

/* Can out be read in place when operand 0 lives in LMEM? Channels must stay next to each other there. */
static bool fine_in_lmem(const struct ir_op *op)
{
	const struct ir_value *y = op->out[0];

	switch (op->kind) {
	case IR_RESHAPE:
		return true;
	case IR_TRANSPOSE:
		return keeps_order(op);
	case IR_SLICE:
		for (unsigned d = 0; d < y->rank; d++)
			if (y->dim[d] > 1 && (op->a.step[d] < 0 || (d == y->rank - 1 && op->a.step[d] != 1)))
				return false;
		return true;
	default:
		return false;
	}
}

static void try_view(struct aliasing *a, struct be_step *s)
{
	const struct ir_op *op = s->op;
	const struct ir_value *x = op->in[0], *y = op->out[0];
	bool bijective = op->kind == IR_RESHAPE || op->kind == IR_TRANSPOSE;
	enum group_kind kx = kind_of(a, x);

	if (kind_of(a, y) == OUTPUT) {	/* the producer may write the output itself */
		if (!bijective || s->bar_place[0] || kx != FREE || !val(a, x)->full || !private(a, val(a, x)->group))
			return;
		s->in_place[0] = true;
		merge(a, x, y, true);
		return;
	}
	if (s->bar_view || (kx == FREE && !fine_in_lmem(op)) || kx == OUTPUT)
		return;
	/* Read through the DMA each time, a layout change had better be done once. */
	if (kx == INPUT && !fine_in_lmem(op) && y->uses > 1)
		return;
	s->view = true;
	merge(a, y, x, bijective);
}

static void try_places(struct aliasing *a, struct be_step *s, unsigned step)
{
	const struct ir_op *op = s->op;
	const struct ir_value *y = op->out[0];

	for (unsigned i = 0; i < (op->kind == IR_PAD ? 1 : op->ins); i++) {
		const struct ir_value *x = ir_op_in(op, i);
		struct be_value *vx = val(a, x);

		if (s->bar_place[i] || kind_of(a, x) != FREE || !vx->full || vx->group == val(a, y)->group)
			continue;
		if (kind_of(a, y) == OUTPUT ? !private(a, vx->group) : !op->a.gather && a->position[step] - a->def_step[x->id] > CONCAT_REACH)
			continue;
		s->in_place[i] = true;
		merge(a, x, y, false);
	}
}

/* ---- layouts ---- */

/* In LMEM channels lie next to each other and strides are positive: what the engines' operands need. */
static bool layout_fits(const struct aliasing *a, const struct ir_value *v, const struct be_view *rel)
{
	if (kind_of(a, v) != FREE)
		return true;
	for (unsigned d = 0; d < v->rank; d++) {
		if (v->dim[d] > 1 && rel->stride[d] <= 0)
			return false;
		if (d == v->rank - 1 && v->dim[d] > 1 && rel->stride[d] != (int64_t)ir_dtype_size(v->dtype))
			return false;
	}
	return true;
}

static bool settle(struct aliasing *a, const struct ir_value *v, const struct be_view *rel, bool ok, struct edge by, bool *changed)
{
	struct be_value *bv = val(a, v);

	if (!ok || !layout_fits(a, v, rel))
		return false;
	a->by[v->id] = by;
	bv->rel = *rel;
	bv->laid = true;
	*changed = true;
	return true;
}

/* Carries layouts over the step's edges, either way. False: the edge has been barred. */
static bool carry(struct aliasing *a, struct be_step *s, bool *changed)
{
	const struct ir_op *op = s->op;
	const struct ir_value *y = op->out[0];
	struct be_view v;
	bool ok;

	for (unsigned i = 0; i < op->ins; i++) {
		const struct ir_value *x = ir_op_in(op, i);

		if (!(s->view && i == 0) && !s->in_place[i])
			continue;
		if (val(a, x)->laid == val(a, y)->laid)
			continue;
		if (val(a, x)->laid) {
			ok = be_view_of_in(op, &val(a, x)->rel, &v);
			ok = settle(a, y, &v, ok, (struct edge){ s, i, x }, changed);
		} else {
			ok = be_view_of_out(op, i, &val(a, y)->rel, &v);
			ok = settle(a, x, &v, ok, (struct edge){ s, i, y }, changed);
		}
		if (ok)
			continue;
		if (s->view)
			s->bar_view = true;
		else
			s->bar_place[i] = true;
		return false;
	}
	return true;
}

static bool lay_out(struct aliasing *a)
{
	bool changed = true;

	for (unsigned i = 0; i < a->b->values; i++) {
		const struct ir_value *v = a->b->g->value[i];

		if (!v || a->root[a->b->value[i].group] != v)
			continue;
		be_dense(v, v->dim, a->b->value[i].rel.stride);
		a->b->value[i].laid = true;
	}
	while (changed) {
		changed = false;
		for (unsigned i = 0; i < a->b->steps; i++)
			if (!carry(a, &a->b->step[i], &changed))
				return false;
		for (unsigned i = a->b->steps; i-- > 0;)
			if (!carry(a, &a->b->step[i], &changed))
				return false;
	}
	return true;
}

/* ---- no packet may read and write overlapping ranges ---- */

static void extent(const struct aliasing *a, const struct ir_value *v, int64_t *lo, int64_t *hi)
{
	const struct be_view *r = &val(a, v)->rel;

	*lo = (int64_t)r->addr;
	*hi = *lo + (int64_t)ir_dtype_size(v->dtype);
	for (unsigned d = 0; d < v->rank; d++) {
		int64_t reach = (v->dim[d] - 1) * r->stride[d];

		*(reach < 0 ? lo : hi) += reach;
	}
}

/* Takes v out of its group: the edge by which it, or what it is a view of, was put inside a larger value. */
static bool bar_place_of(struct aliasing *a, const struct ir_value *v)
{
	for (struct edge e = a->by[v->id]; e.s; v = e.from, e = a->by[v->id]) {
		if (!e.s->in_place[e.operand])
			continue;
		e.s->bar_place[e.operand] = true;
		return true;
	}
	return false;
}

static bool apart(struct aliasing *a, struct be_step *s)
{
	const struct ir_value *y = s->op->out[0];

	for (unsigned i = 0; i < s->op->ins; i++) {
		const struct ir_value *x = ir_op_in(s->op, i);
		int64_t xlo, xhi, ylo, yhi;

		if (!x || s->in_place[i] || be_streams(s->op, i) || val(a, x)->group != val(a, y)->group)
			continue;
		extent(a, x, &xlo, &xhi);
		extent(a, y, &ylo, &yhi);
		if (xlo >= yhi || ylo >= xhi)
			continue;
		if (ir_bytes(x) < ir_bytes(y) ? bar_place_of(a, x) || bar_place_of(a, y) : bar_place_of(a, y) || bar_place_of(a, x))
			return false;
		s->bar_view = true;
		return false;
	}
	return true;
}

static bool all_apart(struct aliasing *a)
{
	for (unsigned i = 0; i < a->b->steps; i++)
		if (!be_done_by_views(&a->b->step[i]) && !apart(a, &a->b->step[i]))
			return false;
	return true;
}

/* ---- host steps read and write whole, dense values ---- */

static bool is_dense(const struct aliasing *a, const struct ir_value *v)
{
	int64_t stride[IR_MAX_RANK];

	be_dense(v, v->dim, stride);
	for (unsigned d = 0; d < v->rank; d++)
		if (v->dim[d] > 1 && val(a, v)->rel.stride[d] != stride[d])
			return false;
	return true;
}

/* Takes away the edge that gave v its strides. */
static bool bar_edge_of(struct aliasing *a, const struct ir_value *v)
{
	struct edge e = a->by[v->id];

	if (!e.s)
		return false;
	if (e.s->in_place[e.operand])
		e.s->bar_place[e.operand] = true;
	else
		e.s->bar_view = true;
	return true;
}

static bool hosts_dense(struct aliasing *a)
{
	for (unsigned i = 0; i < a->b->steps; i++) {
		const struct ir_op *op = a->b->step[i].op;

		if (op->kind != IR_HOST)
			continue;
		if (!is_dense(a, op->out[0]) && bar_edge_of(a, op->out[0]))
			return false;
		for (unsigned k = 0; k < op->ins; k++)
			if (!is_dense(a, op->in[k]) && bar_edge_of(a, op->in[k]))
				return false;
	}
	return true;
}

/* ---- buffers ---- */

static void make_buffers(struct aliasing *a)
{
	struct be_state *b = a->b;

	b->buf = ir_alloc(b->values, sizeof(*b->buf));
	b->bufs = 0;
	for (unsigned i = 0; i < b->values; i++) {
		const struct ir_value *v = b->g->value[i];
		struct be_buf *buf = &b->buf[b->bufs];

		if (!v || a->root[b->value[i].group] != v)
			continue;
		buf->root = v;
		buf->size = ir_bytes(v);
		buf->space = a->kind[b->value[i].group] == FREE ? BE_LMEM : a->kind[b->value[i].group] == CONSTANT ? BE_CONST : BE_IO;
		buf->first = UINT32_MAX;
		for (unsigned j = 0; j < b->values; j++)
			if (b->g->value[j] && b->value[j].group == b->value[i].group)
				b->value[j].buf = (int)b->bufs;
		b->bufs++;
	}
	for (unsigned i = 0; i < b->g->inputs; i++)
		b->buf[b->value[b->g->input[i]->id].buf].segment = MICA_SEG_IO + i;
	for (unsigned i = 0; i < b->g->outputs; i++)
		b->buf[b->value[b->g->output[i]->id].buf].segment = MICA_SEG_IO + b->g->inputs + i;
}

bool be_done_by_views(const struct be_step *s)
{
	if (s->view)
		return true;
	if (s->op->kind == IR_PAD || !be_is_move(s->op))
		return false;
	for (unsigned i = 0; i < s->op->ins; i++)
		if (!s->in_place[i])
			return false;
	return true;
}

int be_alias(struct be_state *b)
{
	struct aliasing a = { .b = b };

	a.kind = ir_alloc(b->values, sizeof(*a.kind));
	a.root = ir_alloc(b->values, sizeof(*a.root));
	a.def_step = ir_alloc(b->values, sizeof(*a.def_step));
	a.by = ir_alloc(b->values, sizeof(*a.by));
	a.position = ir_alloc(b->steps, sizeof(*a.position));
	for (unsigned i = 1; i < b->steps; i++)
		a.position[i] = a.position[i - 1] + !b->step[i].op->a.extra;
	do {
		start(&a);
		for (unsigned i = 0; i < b->steps && !(b->o->no_pass & 1u << MICA_SAVE_VIEWS); i++) {
			struct be_step *s = &b->step[i];

			if (s->op->kind == IR_CONCAT || s->op->kind == IR_PAD)
				try_places(&a, s, i);
			else if (be_is_move(s->op) && s->op->kind != IR_HOST)
				try_view(&a, s);
		}
	} while (!lay_out(&a) || !all_apart(&a) || !hosts_dense(&a));
	make_buffers(&a);
	free(a.by);
	free(a.kind);
	free(a.root);
	free(a.def_step);
	free(a.position);
	return 0;
}
