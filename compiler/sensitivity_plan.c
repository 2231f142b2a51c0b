// SPDX-License-Identifier: MIT
/*
 * What of a candidate's graph must run: the operators whose values differ from the f32 graph's and reach an output. All else is
 * taken from the f32 graph: its values, the packets of operators that are the same but for what they read, and their packed weights.
 */
#include <stdlib.h>
#include <string.h>
#include "quantize.h"
#include "sensitivity_parts.h"

/* ---- the f32 graph ---- */

int sens_base_init(struct sens_base *b, const struct sens *z)
{
	struct ir_tracer *t = &b->t;
	unsigned step = 0;
	int r;

	memset(b, 0, sizeof(*b));
	t->g = z->g;
	t->steps = z->steps;
	be_blob_init(&t->blob);
	t->offset = ir_alloc(z->g->values, sizeof(*t->offset));
	t->end = ir_alloc(t->steps + 1, sizeof(*t->end));
	b->from = ir_alloc(t->steps + 1, sizeof(*b->from));
	b->op = ir_alloc(t->steps + 1, sizeof(struct ir_op *));
	r = trace_place(t);
	for (struct ir_op *op = z->g->first; op && !r; op = op->next, step++) {
		b->op[step] = op;
		b->from[step] = t->packets.count;
		r = trace_lower(t, op, step);
		t->end[step] = t->packets.count;
	}
	return r;
}

void sens_base_fini(struct sens_base *b)
{
	be_blob_fini(&b->t.blob);
	free(b->t.packets.pkt);
	free(b->t.offset);
	free(b->t.end);
	free(b->from);
	free(b->op);
	memset(b, 0, sizeof(*b));
}

/* ---- what differs ---- */

enum state { SAME, CODED, DIRTY };	/* as in f32; the codes of what it is in f32; something else */

struct diff {
	struct sens_plan *p;
	const struct sens *z;
	const struct sens_base *b;
	struct ir_graph *g;
	uint8_t *state;		/* by value id */
	bool *need, *run;	/* by value id: an operator that runs reads it; its own operator runs */
	unsigned *at;		/* by value id: the f32 graph's step at whose place it is made */
};

static unsigned step_of(const struct diff *x, const struct ir_op *op)
{
	return op->id < x->z->g->next_id ? x->z->step_of[op->id] : UINT32_MAX;
}

/* The operator of the f32 graph that this one was, with the same result; or NULL. */
static const struct ir_op *origin(const struct diff *x, const struct ir_op *op)
{
	unsigned step = step_of(x, op);
	const struct ir_op *was = step == UINT32_MAX ? NULL : x->b->op[step];

	return was && was->kind == op->kind && was->ins == op->ins && was->out[0]->id == op->out[0]->id ? was : NULL;
}

static bool same_operand(const struct ir_value *v, const struct ir_value *was)
{
	if (!v || !was)
		return v == was;
	return v->id == was->id && v->data == was->data;
}

static bool same_operands(const struct ir_op *op, const struct ir_op *was)
{
	for (unsigned i = 0; i < op->ins; i++)
		if (!same_operand(ir_op_in(op, i), ir_op_in(was, i)))
			return false;
	return true;
}

static bool all_in(const struct diff *x, const struct ir_op *op, enum state state)
{
	for (unsigned i = 0; i < op->ins; i++) {
		const struct ir_value *v = ir_op_in(op, i);

		if (v && !v->data && x->state[v->id] != state)
			return false;
	}
	return true;
}

/* Results are rounded after the same arithmetic, and moving codes is moving values: both give the codes of the f32 values. */
static enum state state_of(const struct diff *x, const struct ir_op *op)
{
	const struct ir_op *was = origin(x, op);

	if (was && same_operands(op, was) && all_in(x, op, SAME))
		return op->out[0]->dtype == MICA_F32 ? SAME : CODED;
	return was && moves_codes(op) && op->out[0]->dtype != MICA_F32 && all_in(x, op, CODED) ? CODED : DIRTY;
}

static void find_states(struct diff *x)
{
	unsigned next = x->z->steps;

	for (unsigned i = 0; i < x->g->inputs; i++)
		x->state[x->g->input[i]->id] = x->g->input[i]->dtype == MICA_F32 ? SAME : CODED;
	for (struct ir_op *op = x->g->first; op; op = op->next)
		x->state[op->out[0]->id] = (uint8_t)state_of(x, op);
	for (struct ir_op *op = x->g->last; op; op = op->prev) {
		next = step_of(x, op) == UINT32_MAX ? next : step_of(x, op);
		x->at[op->out[0]->id] = next;
	}
}

static void need_operands(struct diff *x, const struct ir_op *op)
{
	x->run[op->out[0]->id] = true;
	for (unsigned i = 0; i < op->ins; i++)
		if (ir_op_in(op, i) && !ir_op_in(op, i)->data)
			x->need[ir_op_in(op, i)->id] = true;
}

/* What runs: all that differs and is needed, and behind the place where that begins also what is not there yet. */
static bool find_runs(struct diff *x)
{
	unsigned begins = UINT32_MAX;

	for (unsigned i = 0; i < x->g->outputs; i++)
		x->need[x->g->output[i]->id] = x->state[x->g->output[i]->id] == DIRTY;
	for (struct ir_op *op = x->g->last; op; op = op->prev) {
		unsigned id = op->out[0]->id;

		if (!x->need[id] || x->state[id] != DIRTY)
			continue;
		need_operands(x, op);
		begins = x->at[id] < begins ? x->at[id] : begins;
	}
	for (struct ir_op *op = x->g->last; op; op = op->prev)
		if (x->need[op->out[0]->id] && !x->run[op->out[0]->id] && x->at[op->out[0]->id] >= begins)
			need_operands(x, op);
	x->p->begins = begins;
	return begins != UINT32_MAX;
}

/* ---- places ---- */

/* Whether a value lies where the f32 graph has it. */
static bool at_home(const struct diff *x, const struct ir_value *v)
{
	const struct ir_value *was = v->id < x->z->g->values ? x->z->g->value[v->id] : NULL;

	if (!was || v->dtype != was->dtype)
		return false;
	if (v->data)
		return v->data == was->data && trace_placed(x->z->g, was);
	return v->is_input || (v->def && origin(x, v->def));
}

static void place_one(struct diff *x, struct ir_value *v)
{
	struct sens_plan *p = x->p;
	bool wanted = v->data ? trace_placed(x->g, v) : x->need[v->id] || x->run[v->id];

	if (at_home(x, v)) {
		p->t.offset[v->id] = x->b->t.offset[v->id];
		return;
	}
	if (!wanted)
		return;
	p->t.offset[v->id] = p->t.lmem_size;
	p->t.lmem_size += (ir_bytes(v) + 2 * MICA_LMEM_ALIGN) & ~(size_t)(MICA_LMEM_ALIGN - 1);
	if (!v->data)
		return;
	p->constant = ir_grow(p->constant, &p->constant_cap, p->constants + 1, sizeof(struct ir_value *));
	p->constant[p->constants++] = v;
}

static int place(struct diff *x)
{
	struct sens_plan *p = x->p;

	p->t.offset = ir_alloc(x->g->values, sizeof(*p->t.offset));
	p->t.lmem_size = x->b->t.lmem_size;
	p->t.scratch_size = x->b->t.scratch_size;
	for (unsigned i = 0; i < x->g->values; i++)
		if (x->g->value[i])
			place_one(x, x->g->value[i]);
	if (p->t.lmem_size < UINT32_MAX - MICA_LMEM_ALIGN)
		return 0;
	return mica_err_set(x->g->err, MICA_ERR_MEMORY, "%s: its values need more than 4 GiB at once; use a smaller input shape (--shape)",
			    x->g->name);
}

/* Packets of the f32 graph serve when nothing but the contents of operands differs. */
static bool reusable(const struct diff *x, const struct ir_op *op)
{
	const struct ir_op *was = origin(x, op);

	if (!was || !same_operands(op, was) || !at_home(x, op->out[0]))
		return false;
	for (unsigned i = 0; i < op->ins; i++)
		if (ir_op_in(op, i) && !ir_op_in(op, i)->data && !at_home(x, ir_op_in(op, i)))
			return false;
	return true;
}

static int add_run(struct diff *x, struct ir_op *op)
{
	struct sens_plan *p = x->p;
	unsigned step = step_of(x, op);
	struct sens_run *r;
	int ret = 0;

	p->run = ir_grow(p->run, &p->run_cap, p->runs + 1, sizeof(*p->run));
	r = &p->run[p->runs++];
	*r = (struct sens_run){ .op = op, .step = at_home(x, op->out[0]) ? step : UINT32_MAX };
	if (reusable(x, op)) {
		r->from = x->b->from[step];
		r->to = x->b->t.end[step];
		return 0;
	}
	r->own = true;
	r->from = p->t.packets.count;
	ret = trace_lower(&p->t, op, 0);
	r->to = p->t.packets.count;
	return ret;
}

static int lower(struct diff *x)
{
	struct sens_plan *p = x->p;
	int r = place(x);

	for (unsigned i = 0; i < x->g->values && !r; i++) {
		const struct ir_value *v = x->g->value[i];

		if (!v || v->data || !x->need[i] || x->run[i])
			continue;
		p->take = ir_grow(p->take, &p->take_cap, p->takes + 1, sizeof(*p->take));
		p->take[p->takes++] = (struct sens_take){ v, i };
	}
	for (struct ir_op *op = x->g->first; op && !r; op = op->next)
		if (x->run[op->out[0]->id])
			r = add_run(x, op);
	return r;
}

bool sens_plan_make(struct sens_plan *p, const struct sens *z, const struct sens_base *b, struct ir_graph *g, bool full, int *ret)
{
	struct diff x = { .p = p, .z = z, .b = b, .g = g };
	bool differs;

	memset(p, 0, sizeof(*p));
	p->t.g = g;
	be_blob_init(&p->t.blob);
	x.state = ir_alloc(g->values, 1);
	x.need = ir_alloc(2 * (size_t)g->values, sizeof(bool));
	x.run = x.need + g->values;
	x.at = ir_alloc(g->values, sizeof(*x.at));
	find_states(&x);
	differs = find_runs(&x);
	*ret = full && differs ? lower(&x) : 0;
	free(x.state);
	free(x.need);
	free(x.at);
	return differs;
}

void sens_plan_fini(struct sens_plan *p)
{
	be_blob_fini(&p->t.blob);
	free(p->t.packets.pkt);
	free(p->t.offset);
	free(p->run);
	free(p->take);
	free(p->constant);
	memset(p, 0, sizeof(*p));
}
