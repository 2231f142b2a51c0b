// SPDX-License-Identifier: MIT
/*
 * Sequences and optionals exist only while shapes are inferred: a sequence is an operator of our own whose operands are its
 * elements, so that building, changing and reading one leaves nothing but tensors behind.
 */
#include <stdlib.h>
#include <string.h>
#include "onnx_control.h"

#define LIST ONNX_OWN "Sequence"
#define NONE ONNX_OWN "None"

static const char *const types[] = { "SequenceEmpty", "SequenceConstruct", "SequenceInsert", "SequenceErase", "SequenceAt", "SequenceLength",
				     "SequenceMap",   "SplitToSequence",   "ConcatFromSequence", "Optional", "OptionalHasElement",
				     "OptionalGetElement", LIST, NONE };

static bool is(const struct ir_op *op, const char *type)
{
	return !strcmp(op->onnx_type, type);
}

bool onnx_is_sequence(const struct ir_op *op)
{
	if (op->kind != IR_ONNX)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (is(op, types[i]))
			return true;
	return is(op, "Identity") && op->ins == 1 && op->in[0] && op->in[0]->dtype == IR_SEQUENCE;
}

static const struct ir_op *list_of(const struct ir_value *v)
{
	return v && v->dtype == IR_SEQUENCE && v->def && v->def->kind == IR_ONNX && is(v->def, LIST) ? v->def : NULL;
}

static bool is_none(const struct ir_value *v)
{
	return !v || (v->dtype == IR_SEQUENCE && v->def && v->def->kind == IR_ONNX && is(v->def, NONE));
}

static struct ir_op *new_op(struct ir_graph *g, const char *type, const struct ir_op *like, struct ir_value *const *in, unsigned ins)
{
	return onnx_control_op(g, type, like, (struct ir_op *)like, in, ins);
}

/* The operator's first result is v from now on, and the operator goes. */
static int becomes(struct ir_graph *g, struct ir_op *op, struct ir_value *v)
{
	if (op->out[0])
		ir_value_replace(g, op->out[0], v->dtype == IR_SEQUENCE ? v : new_op(g, "Identity", op, &v, 1)->out[0]);
	ir_op_remove(g, op);
	return 0;
}

/* A sequence of these, or NULL with g->err. */
static struct ir_value *new_list(struct ir_graph *g, struct ir_op *op, struct ir_value *const *item, unsigned n)
{
	struct ir_op *list;

	for (unsigned i = 0; i < n; i++) {
		if (item[i] && item[i]->dtype != IR_SEQUENCE)
			continue;
		onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "element %u is no tensor; only sequences of tensors are supported", i);
		return NULL;
	}
	if (n > ONNX_MAX_TRIPS) {
		onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "a sequence of %u tensors is too long, the limit is %d; cut the model here", n, ONNX_MAX_TRIPS);
		return NULL;
	}
	list = new_op(g, LIST, op, item, n);
	list->out[0]->dtype = IR_SEQUENCE;
	return list->out[0];
}

static int becomes_list(struct ir_graph *g, struct ir_op *op, struct ir_value *const *item, unsigned n)
{
	struct ir_value *list = new_list(g, op, item, n);

	return list ? becomes(g, op, list) : -(int)g->err->code;
}

/* ---- reading ---- */

static int need_list(struct ir_graph *g, struct ir_op *op, const struct ir_op **list)
{
	*list = op->ins ? list_of(ir_op_in(op, 0)) : NULL;
	return *list ? 0 : onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "its first operand is no sequence that is known while compiling; cut the model here");
}

/* Position of operand `in`, or `def` when there is none; 0..most. */
static int64_t position(struct ir_graph *g, struct ir_op *op, unsigned in, int64_t def, int64_t length, int64_t most)
{
	const struct ir_value *v = ir_op_in(op, in);
	int64_t at;

	if (!v)
		return def;
	if (!v->data || v->dtype != IR_I64 || ir_elements(v) != 1)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "the position '%.100s' in the sequence is only known at run time; fix it with --const or --shape, or use one tensor and Gather",
				 v->name);
	at = *(int64_t *)v->data;
	at += at < 0 ? length : 0;
	if (at < 0 || at > most)
		return onnx_fail(g, op, MICA_ERR_SHAPE, "position %lld is outside a sequence of %lld; check the model", (long long)*(int64_t *)v->data,
				 (long long)length);
	return at;
}

static int do_at(struct ir_graph *g, struct ir_op *op)
{
	const struct ir_op *list;
	int64_t at;

	if (need_list(g, op, &list))
		return -(int)g->err->code;
	at = position(g, op, 1, (int64_t)list->ins - 1, list->ins, (int64_t)list->ins - 1);
	if (at < 0)	/* an empty one, too */
		return g->err->code ? (int)at : onnx_fail(g, op, MICA_ERR_SHAPE, "the sequence is empty; check the model");
	return becomes(g, op, ir_op_in(list, (unsigned)at));
}

static int do_length(struct ir_graph *g, struct ir_op *op)
{
	const struct ir_op *list;
	int64_t n;

	if (need_list(g, op, &list))
		return -(int)g->err->code;
	n = list->ins;
	return becomes(g, op, ir_const_new(g, NULL, IR_I64, 0, NULL, &n));
}

static int do_concat(struct ir_graph *g, struct ir_op *op)
{
	const struct ir_op *list;
	struct ir_value **in;
	struct ir_op *joined;

	if (need_list(g, op, &list))
		return -(int)g->err->code;
	if (!list->ins)
		return onnx_fail(g, op, MICA_ERR_SHAPE, "the sequence is empty; check the model");
	in = ir_alloc(list->ins, sizeof(*in));
	for (unsigned i = 0; i < list->ins; i++)
		in[i] = ir_op_in(list, i);
	joined = new_op(g, onnx_int(op, "new_axis", 0) ? ONNX_STACK : "Concat", op, in, list->ins);
	joined->onnx = op->onnx;	/* for its axis */
	joined->a.axis = (int)onnx_int(op, "axis", 0);
	free(in);
	return becomes(g, op, joined->out[0]);
}

/* ---- writing ---- */

/* Insert and Erase: the elements of the list but one, or with one more. */
static int do_change(struct ir_graph *g, struct ir_op *op, bool insert)
{
	const struct ir_op *list;
	struct ir_value **in;
	unsigned n = 0;
	int64_t at;
	int r;

	if (need_list(g, op, &list))
		return -(int)g->err->code;
	if (insert && (op->ins < 2 || !ir_op_in(op, 1)))
		return onnx_fail(g, op, MICA_ERR_CORRUPT, "the tensor to insert is missing; export the model again");
	if (!insert && !list->ins)
		return onnx_fail(g, op, MICA_ERR_SHAPE, "the sequence is empty; check the model");
	at = position(g, op, insert ? 2 : 1, insert ? list->ins : list->ins - 1, list->ins, insert ? list->ins : list->ins - 1);
	if (at < 0)
		return (int)at;
	in = ir_alloc(list->ins + 1, sizeof(*in));
	for (unsigned i = 0; i <= list->ins; i++) {
		if (insert && i == at)
			in[n++] = ir_op_in(op, 1);
		if (i < list->ins && (insert || i != at))
			in[n++] = ir_op_in(list, i);
	}
	r = becomes_list(g, op, in, n);
	free(in);
	return r;
}

/* Lengths of the parts: a list, a common one (the last part may be shorter), or 1. */
static int split_lengths(struct ir_graph *g, struct ir_op *op, int64_t extent, int64_t **len, size_t *n)
{
	const struct ir_value *split = ir_op_in(op, 1);
	int64_t each = 1, sum = 0;

	*len = NULL;
	if (split && onnx_const_list(g, op, "split", split, len, n))
		return -(int)g->err->code;
	if (!split || !split->rank) {
		each = split ? (*len)[0] : 1;
		free(*len);
		*len = NULL;
		if (each < 1)
			return onnx_fail(g, op, MICA_ERR_SHAPE, "parts of %lld do not exist; check the model", (long long)each);
		*n = (size_t)((extent + each - 1) / each);
		if (*n > ONNX_MAX_TRIPS)
			return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "a sequence of %zu tensors is too long, the limit is %d", *n, ONNX_MAX_TRIPS);
		*len = ir_alloc(*n, sizeof(**len));
		for (size_t i = 0; i < *n; i++)
			(*len)[i] = i + 1 < *n ? each : extent - each * (int64_t)(*n - 1);
	}
	for (size_t i = 0; i < *n; i++)
		if ((*len)[i] < 0 || __builtin_add_overflow(sum, (*len)[i], &sum))
			sum = -1;
	if (sum == extent && *n <= ONNX_MAX_TRIPS)
		return 0;
	free(*len);
	*len = NULL;
	return onnx_fail(g, op, MICA_ERR_SHAPE, "parts do not add up to the extent %lld; check the model", (long long)extent);
}

static struct ir_value *one_int(struct ir_graph *g, int64_t v)
{
	int64_t one = 1;

	return ir_const_new(g, NULL, IR_I64, 1, &one, &v);
}

static int do_split(struct ir_graph *g, struct ir_op *op)
{
	struct ir_value *x = op->ins ? ir_op_in(op, 0) : NULL, **part;
	bool drop = op->ins < 2 && !onnx_int(op, "keepdims", 1);
	int64_t *len, at = 0;
	int axis, r;
	size_t n;

	if (!x || x->dtype == IR_SEQUENCE || x->dtype == MICA_NONE)
		return onnx_fail(g, op, MICA_ERR_CORRUPT, "its operand is no tensor; export the model again");
	axis = onnx_axis(g, op, onnx_int(op, "axis", 0), x->rank);
	if (axis < 0)
		return axis;
	if (split_lengths(g, op, x->dim[axis], &len, &n))
		return -(int)g->err->code;
	part = ir_alloc(n, sizeof(*part));
	for (size_t i = 0; i < n; at += len[i++]) {
		struct ir_value *in[4] = { x, one_int(g, at), one_int(g, at + len[i]), one_int(g, axis) };

		part[i] = new_op(g, "Slice", op, in, 4)->out[0];
		if (drop)
			part[i] = new_op(g, "Squeeze", op, (struct ir_value *[]){ part[i], in[3] }, 2)->out[0];
	}
	r = becomes_list(g, op, part, (unsigned)n);
	free(part);
	free(len);
	return r;
}

/* ---- SequenceMap: the body once for each element ---- */

/* Operand k of the body in iteration i, or NULL with g->err. */
static struct ir_value *argument(struct ir_graph *g, struct ir_op *op, unsigned k, unsigned i)
{
	struct ir_value *v = ir_op_in(op, k);
	const struct ir_op *list = list_of(v);

	if (v && !list)
		return v;
	if (list && i < list->ins)
		return ir_op_in(list, i);
	onnx_fail(g, op, MICA_ERR_SHAPE, "its sequences differ in length or are missing; check the model");
	return NULL;
}

static int map_once(struct ir_graph *g, struct ir_op *op, const Onnx__GraphProto *body, unsigned i, struct ir_value **out)
{
	struct ir_value **in = ir_alloc(body->n_input, sizeof(*in));
	int r = 0;

	for (unsigned k = 0; k < body->n_input && !r; k++) {
		in[k] = argument(g, op, k, i);
		r = in[k] ? 0 : -(int)g->err->code;
	}
	if (!r)
		r = onnx_inline(g, op, body, in, out);
	free(in);
	return r;
}

static int do_map(struct ir_graph *g, struct ir_op *op)
{
	const Onnx__AttributeProto *a = onnx_attr(op, "body");
	const Onnx__GraphProto *body = a ? a->g : NULL;
	const struct ir_op *list;
	struct ir_value **out, **item;
	unsigned n;
	int r = 0;

	if (need_list(g, op, &list))
		return -(int)g->err->code;
	n = list->ins;
	if (!body || body->n_output != op->outs || body->n_input > op->ins)
		return onnx_fail(g, op, MICA_ERR_CORRUPT, "its body does not fit its operands and results; export the model again");
	out = ir_alloc((size_t)n * op->outs, sizeof(*out));
	for (unsigned i = 0; i < n && !r; i++)
		r = map_once(g, op, body, i, out + (size_t)i * op->outs);
	item = ir_alloc(n, sizeof(*item));
	for (unsigned k = 0; k < op->outs && !r; k++) {
		struct ir_value *made;

		for (unsigned i = 0; i < n; i++)
			item[i] = out[(size_t)i * op->outs + k];
		made = new_list(g, op, item, n);
		r = made ? 0 : -(int)g->err->code;
		if (made && op->out[k])
			ir_value_replace(g, op->out[k], made);
	}
	free(item);
	free(out);
	if (!r)
		ir_op_remove(g, op);
	return r;
}

/* ---- optionals: a value, or none ---- */

static int do_optional(struct ir_graph *g, struct ir_op *op)
{
	if (op->ins && ir_op_in(op, 0))
		return becomes(g, op, ir_op_in(op, 0));
	free(op->onnx_type);
	op->onnx_type = ir_strdup(NONE);
	op->out[0]->dtype = IR_SEQUENCE;
	return 0;
}

static int do_has_element(struct ir_graph *g, struct ir_op *op)
{
	uint8_t has = op->ins && !is_none(ir_op_in(op, 0));

	return becomes(g, op, ir_const_new(g, NULL, IR_BOOL, 0, NULL, &has));
}

static int do_get_element(struct ir_graph *g, struct ir_op *op)
{
	if (!op->ins || is_none(ir_op_in(op, 0)))
		return onnx_fail(g, op, MICA_ERR_SHAPE, "the optional is empty; check the model");
	return becomes(g, op, ir_op_in(op, 0));
}

/* SequenceEmpty, SequenceConstruct */
static int do_construct(struct ir_graph *g, struct ir_op *op)
{
	struct ir_value **in = ir_alloc(op->ins, sizeof(*in));
	int r;

	for (unsigned i = 0; i < op->ins; i++)
		in[i] = ir_op_in(op, i);
	r = becomes_list(g, op, in, op->ins);
	free(in);
	return r;
}

static int dispatch(struct ir_graph *g, struct ir_op *op)
{
	if (is(op, LIST) || is(op, NONE))
		return 0;
	if (!op->outs || !op->out[0])
		return onnx_fail(g, op, MICA_ERR_CORRUPT, "has no result; export the model again");
	if (is(op, "SequenceAt"))
		return do_at(g, op);
	if (is(op, "SequenceLength"))
		return do_length(g, op);
	if (is(op, "SequenceInsert") || is(op, "SequenceErase"))
		return do_change(g, op, is(op, "SequenceInsert"));
	if (is(op, "SplitToSequence"))
		return do_split(g, op);
	if (is(op, "ConcatFromSequence"))
		return do_concat(g, op);
	if (is(op, "SequenceMap"))
		return do_map(g, op);
	if (is(op, "Optional"))
		return do_optional(g, op);
	if (is(op, "OptionalHasElement"))
		return do_has_element(g, op);
	if (is(op, "OptionalGetElement"))
		return do_get_element(g, op);
	if (is(op, "Identity"))
		return becomes(g, op, op->in[0]);
	return do_construct(g, op);
}

int onnx_sequence(struct ir_graph *g, struct ir_op *op, struct ir_op **next)
{
	struct ir_op *before = op->prev, *behind = op->next;
	bool stays = is(op, LIST) || is(op, NONE);
	int r = op->outs > 1 && !is(op, "SequenceMap") ? onnx_fail(g, op, MICA_ERR_CORRUPT, "has %u results instead of one; export the model again", op->outs) :
							 dispatch(g, op);

	*next = r || stays ? behind : before ? before->next : g->first;
	return r;
}

/* Result i, a sequence, becomes one result for each element: NAME[0], NAME[1], .. */
static void expand_output(struct ir_graph *g, unsigned i, const struct ir_op *list)
{
	unsigned n = list->ins, rest = g->outputs - i - 1;
	char *name = g->output_name[i];

	g->output = realloc(g->output, (g->outputs + n) * sizeof(*g->output));
	g->output_name = realloc(g->output_name, (g->outputs + n) * sizeof(*g->output_name));
	if (!g->output || !g->output_name)
		abort();
	memmove(g->output + i + n, g->output + i + 1, rest * sizeof(*g->output));
	memmove(g->output_name + i + n, g->output_name + i + 1, rest * sizeof(*g->output_name));
	g->outputs += n - 1;
	for (unsigned k = 0; k < n; k++) {
		struct ir_value *item = ir_op_in(list, k), *copy = onnx_control_op(g, "Identity", list, NULL, &item, 1)->out[0];

		copy->dtype = item->dtype;
		copy->elem = item->elem;
		copy->rank = item->rank;
		memcpy(copy->dim, item->dim, sizeof(copy->dim));
		copy->is_output = true;
		g->output[i + k] = copy;
		if (asprintf(&g->output_name[i + k], "%.200s[%u]", name, k) < 0)
			abort();
	}
	free(name);
}

int onnx_sequence_outputs(struct ir_graph *g)
{
	for (unsigned i = 0; i < g->outputs; i++) {
		struct ir_value *v = g->output[i];
		const struct ir_op *list = list_of(v);

		if (v->dtype != IR_SEQUENCE)
			continue;
		if (!list || !list->ins)
			return mica_err_set(g->err, MICA_ERR_SHAPE, "%s: output '%.200s' is %s; cut the model in front of it", g->name, g->output_name[i],
					    list ? "an empty sequence" : "an optional without a value");
		v->is_output = false;
		expand_output(g, i, list);
		i += list->ins - 1;
	}
	ir_sweep(g);
	return 0;
}
