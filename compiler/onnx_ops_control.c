// SPDX-License-Identifier: MIT
/*
 * If with a constant condition is its branch, with one of run time both branches and a choice. Loop and Scan are unrolled
 * an iteration at a time: the body is copied in front of the operator, which takes the results as its next operands; by
 * the time inference comes to it again, it is known whether it goes on. Two operators of our own put parts together and
 * take them apart, a third one chooses.
 */
#include <stdlib.h>
#include <string.h>
#include "expr.h"
#include "fold.h"
#include "onnx_control.h"

#define STACK ONNX_STACK
#define ITEM ONNX_OWN "Item"
#define CHOOSE "If (choice)"

static const Onnx__GraphProto *subgraph(const struct ir_op *op, const char *name)
{
	const Onnx__AttributeProto *a = onnx_attr(op, name);

	return a ? a->g : NULL;
}

bool onnx_is_control(const struct ir_op *op)
{
	return op->kind == IR_ONNX && (!strcmp(op->onnx_type, "If") || !strcmp(op->onnx_type, "Loop") || !strcmp(op->onnx_type, "Scan"));
}

struct ir_op *onnx_control_op(struct ir_graph *g, const char *type, const struct ir_op *like, struct ir_op *before, struct ir_value *const *in,
			      unsigned ins)
{
	struct ir_value *out = ir_value_new(g, NULL, MICA_NONE, 0, NULL);
	struct ir_op *op = ir_op_new(g, IR_ONNX, like->name, before, in, ins, &out, 1);

	op->onnx_type = ir_strdup(type);
	return op;
}

/* Result i of op is v from now on. */
static void becomes(struct ir_graph *g, struct ir_op *op, unsigned i, struct ir_value *v)
{
	if (i < op->outs && op->out[i])
		ir_value_replace(g, op->out[i], onnx_control_op(g, "Identity", op, op, &v, 1)->out[0]);
}

/* Inference goes on with what was put in front of op; `before` is what stood there, or NULL. */
static struct ir_op *first_new(struct ir_graph *g, struct ir_op *before)
{
	return before ? before->next : g->first;
}

static int known_bool(const struct ir_value *v, bool *value)
{
	if (!v || !v->data || ir_elements(v) != 1 || (v->dtype != IR_BOOL && v->dtype != IR_I64))
		return -1;
	*value = v->dtype == IR_BOOL ? *(uint8_t *)v->data : *(int64_t *)v->data != 0;
	return 0;
}

/* ---- If ---- */

/* The branch in front of op; *out its results, malloc'ed. */
static int inline_branch(struct ir_graph *g, struct ir_op *op, const char *name, struct ir_value ***out)
{
	const Onnx__GraphProto *branch = subgraph(op, name);

	*out = NULL;
	if (!branch || branch->n_output != op->outs || branch->n_input)
		return onnx_fail(g, op, MICA_ERR_CORRUPT, "has no %s with %u results; export the model again", name, op->outs);
	*out = ir_alloc(branch->n_output, sizeof(**out));
	return onnx_inline(g, op, branch, NULL, *out);
}

/* The input that v follows from, if it is one alone. */
static const char *decider(const struct ir_value *v)
{
	while (v && v->def) {
		const struct ir_value *only = NULL;

		for (unsigned i = 0; i < v->def->ins; i++) {
			const struct ir_value *x = ir_op_in(v->def, i);

			if (!x || x->data)
				continue;
			if (only)
				return NULL;
			only = x;
		}
		v = only;
	}
	return v && v->is_input ? v->name : NULL;
}

/* Run time decides: both branches are computed, and each result is chosen. */
static int if_both(struct ir_graph *g, struct ir_op *op)
{
	struct ir_value **then_out, **else_out = NULL;
	struct onnx_import *imp = g->import;
	int r;

	if (!imp->undecided) {
		imp->undecided = ir_strdup(op->name);
		imp->decider = decider(ir_op_in(op, 0));
	}
	r = inline_branch(g, op, "then_branch", &then_out);
	if (!r)
		r = inline_branch(g, op, "else_branch", &else_out);
	for (unsigned i = 0; i < op->outs && !r; i++) {
		struct ir_value *in[] = { ir_op_in(op, 0), then_out[i], else_out[i] };

		if (op->out[i])
			ir_value_replace(g, op->out[i], onnx_control_op(g, CHOOSE, op, op, in, 3)->out[0]);
	}
	free(then_out);
	free(else_out);
	return r;
}

static int do_if(struct ir_graph *g, struct ir_op *op, struct ir_op **next)
{
	struct ir_value **out = NULL, *c = op->ins ? ir_op_in(op, 0) : NULL;
	struct ir_op *before = op->prev;
	bool cond;
	int r;

	if (!c || ir_elements(c) != 1)
		return onnx_fail(g, op, MICA_ERR_CORRUPT, "its condition is no single value; export the model again");
	if (known_bool(c, &cond)) {
		r = if_both(g, op);
	} else {
		r = inline_branch(g, op, cond ? "then_branch" : "else_branch", &out);
		for (unsigned i = 0; i < op->outs && !r; i++)
			becomes(g, op, i, out[i]);
		free(out);
	}
	if (!r)
		ir_op_remove(g, op); /* before looking: it may have become nothing */
	*next = first_new(g, before);
	return r;
}

/* ---- what Loop and Scan share: states that go round, results that are collected ---- */

/*
 * Operands: those of the node (a Loop's first two are the trip count and the condition), captures, then what has been
 * collected: `collected` values per iteration. op->a.start[0] counts the iterations.
 */
struct loop {
	struct ir_graph *g;
	struct ir_op *op;
	const Onnx__GraphProto *body;
	unsigned first, states;		/* operands that are states */
	unsigned collected;		/* results that are collected */
	unsigned own;			/* operands of the node and captures */
	int64_t trips;			/* iterations so far */
};

static int open_loop(struct loop *l, unsigned states, unsigned first, unsigned body_in, unsigned body_out)
{
	const Onnx__NodeProto *n = l->op->onnx;
	unsigned captured;

	free(onnx_captures(n, &captured));
	l->first = first;
	l->states = states;
	l->own = (unsigned)n->n_input + captured;
	l->trips = l->op->a.start[0];
	l->collected = l->op->outs - states;
	if (l->op->outs < states || l->op->ins < l->own || !l->body || l->body->n_input != body_in || l->body->n_output != body_out + l->collected)
		return onnx_fail(l->g, l->op, MICA_ERR_CORRUPT, "its body does not fit its operands and results; export the model again");
	for (unsigned i = 0; i < states; i++)
		if (!ir_op_in(l->op, first + i))
			return onnx_fail(l->g, l->op, MICA_ERR_CORRUPT, "state %u is missing; export the model again", i);
	return 0;
}

/* The operator again, with the body's results as states and one more collected part each. */
static void go_round(struct loop *l, struct ir_value *cond, struct ir_value *const *state, struct ir_value *const *part)
{
	struct ir_op *op = l->op, *again;
	unsigned ins = op->ins + l->collected;
	struct ir_value **in = ir_alloc(ins, sizeof(*in)), **out = ir_alloc(op->outs, sizeof(*out));

	for (unsigned i = 0; i < op->ins; i++)
		in[i] = ir_op_in(op, i);
	if (cond)
		in[1] = cond;
	for (unsigned i = 0; i < l->states; i++)
		in[l->first + i] = state[i];
	for (unsigned i = 0; i < l->collected; i++)
		in[op->ins + i] = part[i];
	for (unsigned i = 0; i < op->outs; i++)
		out[i] = op->out[i] ? ir_value_new(l->g, NULL, MICA_NONE, 0, NULL) : NULL;
	again = ir_op_new(l->g, IR_ONNX, op->name, op, in, ins, out, op->outs);
	again->onnx_type = ir_strdup(op->onnx_type);
	again->onnx = op->onnx;
	again->a.start[0] = l->trips + 1;
	for (unsigned i = 0; i < op->outs; i++)
		if (out[i])
			ir_value_replace(l->g, op->out[i], out[i]);
	ir_op_remove(l->g, op);
	free(in);
	free(out);
}

/* Result i of those that are collected: all parts, stacked along axis. */
static int stack(struct loop *l, unsigned i, int axis, bool backwards)
{
	struct ir_value **part = ir_alloc((size_t)l->trips + 1, sizeof(*part));
	struct ir_op *s;

	if (!l->trips) {
		free(part);
		return onnx_fail(l->g, l->op, MICA_ERR_UNSUPPORTED, "has no iteration and so no shape for what it collects; check the model");
	}
	for (int64_t k = 0; k < l->trips; k++)
		part[backwards ? l->trips - 1 - k : k] = ir_op_in(l->op, l->own + (unsigned)k * l->collected + i);
	s = onnx_control_op(l->g, STACK, l->op, l->op, part, (unsigned)l->trips);
	s->a.axis = axis;
	free(part);
	becomes(l->g, l->op, l->states + i, s->out[0]);
	return 0;
}

static void finish_states(struct loop *l)
{
	for (unsigned i = 0; i < l->states; i++)
		becomes(l->g, l->op, i, ir_op_in(l->op, l->first + i));
}

static int too_long(struct loop *l)
{
	return onnx_fail(l->g, l->op, MICA_ERR_UNSUPPORTED, "runs more than %d times; cut the model in front of it (--cut)", ONNX_MAX_TRIPS);
}

/* ---- Loop ---- */

/* Whether it goes on. */
static int loop_condition(struct loop *l, bool *more)
{
	const struct ir_value *m = ir_op_in(l->op, 0), *cond = ir_op_in(l->op, 1);

	*more = true;
	if (m && (!m->data || m->dtype != IR_I64 || ir_elements(m) != 1))
		return onnx_fail(l->g, l->op, MICA_ERR_UNSUPPORTED,
				 "its trip count is only known at run time; fix it with --const or --shape, or cut the model in front of it (--cut)");
	if (m && l->trips >= *(int64_t *)m->data) {
		*more = false;
		return 0;
	}
	if (cond && known_bool(cond, more))
		return onnx_fail(l->g, l->op, MICA_ERR_UNSUPPORTED,
				 "its condition (after %lld iterations) is only known at run time; use a fixed trip count, or cut the model in front of it (--cut)",
				 (long long)l->trips);
	if (!m && !cond)
		return onnx_fail(l->g, l->op, MICA_ERR_CORRUPT, "never ends: it has neither trip count nor condition; check the model");
	return *more && l->trips >= ONNX_MAX_TRIPS ? too_long(l) : 0;
}

static int loop_body(struct loop *l)
{
	struct ir_value **in = ir_alloc(l->states + 2, sizeof(*in)), **out = ir_alloc(l->body->n_output + 1, sizeof(*out));
	uint8_t yes = 1;
	int r;

	in[0] = ir_const_new(l->g, NULL, IR_I64, 0, NULL, &l->trips);
	in[1] = ir_const_new(l->g, NULL, IR_BOOL, 0, NULL, &yes);
	for (unsigned i = 0; i < l->states; i++)
		in[2 + i] = ir_op_in(l->op, l->first + i);
	r = onnx_inline(l->g, l->op, l->body, in, out);
	if (!r)
		go_round(l, ir_op_in(l->op, 1) ? out[0] : NULL, out + 1, out + 1 + l->states);
	free(in);
	free(out);
	return r;
}

static int do_loop(struct ir_graph *g, struct ir_op *op, struct ir_op **next)
{
	const Onnx__NodeProto *n = op->onnx;
	struct loop l = { .g = g, .op = op, .body = subgraph(op, "body") };
	struct ir_op *before = op->prev;
	unsigned states = n->n_input < 2 ? 0 : (unsigned)n->n_input - 2;
	bool more;
	int r;

	if (n->n_input < 2)
		return onnx_fail(g, op, MICA_ERR_CORRUPT, "has no trip count and no condition; export the model again");
	r = open_loop(&l, states, 2, states + 2, states + 1);
	if (!r)
		r = loop_condition(&l, &more);
	if (!r && more) {
		r = loop_body(&l);
	} else if (!r) {
		finish_states(&l);
		for (unsigned i = 0; i < l.collected && !r; i++)
			r = op->out[l.states + i] ? stack(&l, i, 0, false) : 0;
	}
	if (!r && !more)
		ir_op_remove(g, op);
	*next = first_new(g, before);
	return r;
}

/* ---- Scan ---- */

static int64_t nth(const struct ir_op *op, const char *list, unsigned i)
{
	const int64_t *v;

	return i < onnx_ints(op, list, &v) ? v[i] : 0;
}

static int scan_body(struct loop *l, unsigned scans)
{
	struct ir_value **in = ir_alloc(l->body->n_input + 1, sizeof(*in)), **out = ir_alloc(l->body->n_output + 1, sizeof(*out));
	int r = 0;

	for (unsigned i = 0; i < l->states; i++)
		in[i] = ir_op_in(l->op, i);
	for (unsigned i = 0; i < scans && !r; i++) {
		struct ir_value *x = ir_op_in(l->op, l->states + i);
		int axis = onnx_axis(l->g, l->op, nth(l->op, "scan_input_axes", i), x->rank);
		struct ir_op *item;

		if (axis < 0) {
			r = axis;
			break;
		}
		item = onnx_control_op(l->g, ITEM, l->op, l->op, &x, 1);
		item->a.axis = axis;
		item->a.start[0] = nth(l->op, "scan_input_directions", i) ? x->dim[axis] - 1 - l->trips : l->trips;
		in[l->states + i] = item->out[0];
	}
	if (!r)
		r = onnx_inline(l->g, l->op, l->body, in, out);
	if (!r)
		go_round(l, NULL, out, out + l->states);
	free(in);
	free(out);
	return r;
}

/* The length that all scanned operands have, or -code. */
static int64_t scan_length(struct loop *l, unsigned scans)
{
	int64_t length = -1;

	for (unsigned i = 0; i < scans; i++) {
		const struct ir_value *x = ir_op_in(l->op, l->states + i);
		int axis = x ? onnx_axis(l->g, l->op, nth(l->op, "scan_input_axes", i), x->rank) : -1;

		if (axis < 0 || (length >= 0 && x->dim[axis] != length))
			return onnx_fail(l->g, l->op, MICA_ERR_SHAPE, "its scanned operands differ in length or are missing; check the model");
		length = x->dim[axis];
	}
	return length > ONNX_MAX_TRIPS ? too_long(l) : length;
}

static int do_scan(struct ir_graph *g, struct ir_op *op, struct ir_op **next)
{
	const Onnx__NodeProto *n = op->onnx;
	struct loop l = { .g = g, .op = op, .body = subgraph(op, "body") };
	int64_t scans = onnx_int(op, "num_scan_inputs", 0), length;
	struct ir_op *before = op->prev;
	int r;

	if (onnx_opset(g) < 9)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "its form of opset 8, with a batch axis, is not supported; export with opset 9 or newer");
	if (scans < 1 || scans > (int64_t)n->n_input)
		return onnx_fail(g, op, MICA_ERR_CORRUPT, "num_scan_inputs does not fit its operands; export the model again");
	r = open_loop(&l, (unsigned)(n->n_input - (size_t)scans), 0, (unsigned)n->n_input, (unsigned)(n->n_input - (size_t)scans));
	length = r ? r : scan_length(&l, (unsigned)scans);
	if (length < 0)
		return (int)length;
	if (l.trips < length) {
		r = scan_body(&l, (unsigned)scans);
		*next = first_new(g, before);
		return r;
	}
	finish_states(&l);
	for (unsigned i = 0; i < l.collected && !r; i++)
		if (op->out[l.states + i])
			r = stack(&l, i, (int)nth(op, "scan_output_axes", i), nth(op, "scan_output_directions", i));
	if (!r)
		ir_op_remove(g, op); /* before looking: it may have become nothing */
	*next = first_new(g, before);
	return r;
}

int onnx_control(struct ir_graph *g, struct ir_op *op, struct ir_op **next)
{
	if (!op->onnx)
		return onnx_fail(g, op, MICA_ERR_CORRUPT, "has no node; export the model again");
	return !strcmp(op->onnx_type, "If") ? do_if(g, op, next) : !strcmp(op->onnx_type, "Loop") ? do_loop(g, op, next) : do_scan(g, op, next);
}

/* ---- Stack: operands of one shape along a new axis; Item: one of them ---- */

static int infer_stack(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[IR_MAX_RANK + 1];
	int axis = onnx_axis(g, op, op->a.axis, x->rank + 1);
	(void)d;

	if (axis < 0)
		return axis;
	for (unsigned i = 1; i < op->ins; i++)
		if (!ir_same_dims(x, ir_op_in(op, i)) || x->dtype != ir_op_in(op, i)->dtype)
			return onnx_fail(g, op, MICA_ERR_SHAPE, "iterations give results of different shapes or types; check the model");
	for (unsigned i = 0; i <= x->rank && x->rank < IR_MAX_RANK; i++)
		dim[i] = (int)i == axis ? op->ins : x->dim[(int)i < axis ? i : i - 1];
	return onnx_out(g, op, 0, x->dtype, x->rank + 1, dim);
}

static int canon_stack(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value **part = ir_alloc(op->ins, sizeof(*part)), *y = op->out[0];
	int axis = onnx_axis(g, op, op->a.axis, y->rank);
	int64_t dim[IR_MAX_RANK];
	(void)d;

	memcpy(dim, y->dim, sizeof(dim));
	dim[axis] = 1;
	for (unsigned i = 0; i < op->ins; i++) {
		struct ir_value *v = ir_op_in(op, i);

		part[i] = build_reshape(&b, v->data ? const_f32(g, v) : v, y->rank, dim);
	}
	build_becomes(g, y, build_reshape(&b, build_concat(&b, part, op->ins, (unsigned)axis), y->rank, y->dim));
	free(part);
	return 0;
}

static int infer_item(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int axis = onnx_axis(g, op, op->a.axis, x->rank);
	int64_t dim[IR_MAX_RANK];
	unsigned n = 0;
	(void)d;

	if (axis < 0)
		return axis;
	if (op->a.start[0] < 0 || op->a.start[0] >= x->dim[axis])
		return onnx_fail(g, op, MICA_ERR_SHAPE, "item %lld is outside axis %d; check the model", (long long)op->a.start[0], axis);
	for (unsigned i = 0; i < x->rank; i++)
		if ((int)i != axis)
			dim[n++] = x->dim[i];
	return onnx_out(g, op, 0, x->dtype, n, dim);
}

static int fold_item(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *y = op->out[0];
	int axis = onnx_axis(g, op, op->a.axis, x->rank);
	int64_t from[IR_MAX_RANK], stride[IR_MAX_RANK];
	unsigned n = 0;
	void *dst = fold_out(g, op, 0);
	(void)d;

	if (!dst)
		return 1;
	dense_strides(x, from);
	for (unsigned i = 0; i < x->rank; i++)
		if ((int)i != axis)
			stride[n++] = from[i];
	move_strided(dst, x->data, ir_dtype_size(x->dtype), y->rank, y->dim, op->a.start[0] * from[axis], stride);
	return 0;
}

static int canon_item(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = op->in[0]->data ? const_f32(g, op->in[0]) : op->in[0], *y = op->out[0];
	int axis = onnx_axis(g, op, op->a.axis, x->rank);
	(void)d;

	build_becomes(g, y, build_reshape(&b, build_slice1(&b, x, (unsigned)axis, op->a.start[0], 1), y->rank, y->dim));
	return 0;
}

/* ---- Choose: operand 1 or 2, as the single value of operand 0 says ---- */

static int infer_choose(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[1], *y = op->in[2];
	(void)d;

	if (ir_elements(op->in[0]) != 1 || !ir_same_dims(x, y) || x->dtype != y->dtype)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "its condition is only known at run time, and its branches give results of different shapes or types; fix the "
				 "condition with --const or --shape, or cut the model in front of it (--cut)");
	return onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
}

static int canon_choose(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *c = build_reshape(&b, expr_in(g, op, 0), 0, NULL);
	(void)d;

	build_becomes(g, op->out[0], build_where(&b, c, expr_in(g, op, 1), expr_in(g, op, 2)));
	return 0;
}

const struct onnx_def onnx_control_ops[] = {
	{ CHOOSE, 0, 3, 3, infer_choose, NULL, canon_choose },
	{ STACK, 0, 1, 0, infer_stack, NULL, canon_stack },
	{ ITEM, 0, 1, 1, infer_item, fold_item, canon_item },
	{ 0 },
};
