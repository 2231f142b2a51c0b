// SPDX-License-Identifier: MIT
/*
 * Layout: the graph is rebuilt in the device dialect. Convolutions and pools work on [n,h,w,c]; everything else follows
 * the order that its operands come in, so that transposes meet and vanish (layout.h). Products with constant matrices
 * become 1x1 convolutions on [1,1,m,k].
 */
#include <stdlib.h>
#include <string.h>
#include "layout.h"

const int layout_nhwc[4] = { 0, 2, 3, 1 };

typedef int (*layout_fn)(struct layout *l, struct ir_op *op);

int layout_refuse(struct layout *l, const struct ir_op *op, const char *why)
{
	return mica_err_set(l->g->err, MICA_ERR_UNSUPPORTED, "%s: node '%.150s' (%.100s): %s",
			    l->g->name, op->name,
			    op->onnx_type ? op->onnx_type : ir_kind_name(op->kind), why);
}

struct ir_op *layout_rebuild(struct layout *l, const struct ir_op *op, enum ir_kind kind,
			     struct ir_value *const *in, unsigned ins, unsigned rank,
			     const int64_t *dim)
{
	struct ir_op *n = build_op(&l->b, kind, in, ins, rank, dim);
	struct ir_value *y = op->out[0];

	n->a = op->a;
	n->out[0]->dtype = y->dtype;
	n->out[0]->scale = y->scale;
	n->out[0]->zero = y->zero;
	return n;
}

void layout_ordered_dims(const struct ir_value *v, const int *order, int64_t *dim)
{
	for (unsigned j = 0; j < v->rank; j++)
		dim[j] = v->dim[order[j]];
}

bool layout_is_identity(const int *order, unsigned rank)
{
	for (unsigned j = 0; j < rank; j++)
		if (order[j] != (int)j)
			return false;
	return true;
}

/* The order of the largest operand that has all axes; among equals one that is not ONNX's. */
static void pick_order(struct layout *l, const struct ir_op *op, unsigned rank, int *order)
{
	int64_t most = -1;

	for (unsigned j = 0; j < rank; j++)
		order[j] = (int)j;
	for (unsigned i = 0; i < op->ins; i++) {
		struct ir_value *v = ir_op_in(op, i);
		const struct view *view;
		int64_t n;

		if (!v || v->data || v->rank != rank)
			continue;
		view = layout_view(l, v);
		n = ir_elements(v);
		if (n > most || (n == most && layout_is_identity(order, rank)))
			memcpy(order, view->order, rank * sizeof(*order));
		most = n > most ? n : most;
	}
}

/* ---- ranks above 4 ---- */

/* join[j]: axis j may be one with axis j-1. Neighbours are merged until `most` axes are left; their number, or 0. */
static unsigned merge_axes(unsigned rank, const bool *join, unsigned most, unsigned *group)
{
	unsigned n = 0;

	for (unsigned j = 0; j < rank; j++) {
		n += !j || !join[j];
		group[j] = n - 1;
	}
	return n <= most ? n : 0;
}

static struct ir_value *merged(struct build *b, struct ir_value *x, const unsigned *group,
			       unsigned groups)
{
	int64_t dim[IR_MAX_RANK];

	if (!x->rank)
		return x;
	for (unsigned k = 0; k < groups; k++)
		dim[k] = 1;
	for (unsigned j = 0; j < x->rank; j++)
		dim[group[j]] *= x->dim[j];
	return build_reshape(b, x, groups, dim);
}

/* ---- element by element ---- */

/*
 * Which axes of broadcast operands may be one: all operands have them whole, or all those that do not are repeated along
 * the whole group. Extents of 1 go with anything, so that a group is compared with all of its axes, not the last alone.
 */
static void find_joins(struct ir_value *const *in, unsigned ins, unsigned rank, const int64_t *dim, bool *join)
{
	enum { ANY, WHOLE, REPEATED } group[3] = { ANY, ANY, ANY }, axis[3];

	for (unsigned j = 0; j < rank; j++) {
		join[j] = j > 0;
		if (dim[j] == 1)
			continue;
		for (unsigned i = 0; i < ins; i++) {
			axis[i] = !in[i]->rank ? ANY : in[i]->dim[j] == 1 ? REPEATED : WHOLE;
			join[j] = join[j] && (group[i] == ANY || axis[i] == ANY || group[i] == axis[i]);
		}
		for (unsigned i = 0; i < ins; i++)
			if (!join[j] || axis[i] != ANY)
				group[i] = axis[i];
	}
}

static int layout_elementwise(struct layout *l, struct ir_op *op)
{
	struct ir_value *y = op->out[0], *in[3];
	int64_t dim[IR_MAX_RANK], small[IR_MAX_RANK];
	unsigned group[IR_MAX_RANK], rank = y->rank, groups;
	bool join[IR_MAX_RANK] = { false };
	int order[IR_MAX_RANK];
	struct ir_op *n;

	pick_order(l, op, rank, order);
	layout_ordered_dims(y, order, dim);
	for (unsigned i = 0; i < op->ins; i++)
		in[i] = layout_get_wide(l, op->in[i], rank, order);
	if (rank <= 4) {
		layout_set(l, y, layout_rebuild(l, op, op->kind, in, op->ins, rank, dim)->out[0],
			   order);
		return 0;
	}
	find_joins(in, op->ins, rank, dim, join);
	groups = merge_axes(rank, join, 4, group);
	if (!groups)
		return layout_refuse(l, op,
				     "broadcasting over more than 4 axes is not supported; reshape "
				     "the operands in the model");
	for (unsigned k = 0; k < groups; k++)
		small[k] = 1;
	for (unsigned j = 0; j < rank; j++)
		small[group[j]] *= dim[j];
	for (unsigned i = 0; i < op->ins; i++)
		in[i] = merged(&l->b, in[i], group, groups);
	n = layout_rebuild(l, op, op->kind, in, op->ins, groups, small);
	layout_set(l, y, build_reshape(&l->b, n->out[0], rank, dim), order);
	return 0;
}

/* ---- windows ---- */

struct ir_value *layout_weights(struct layout *l, struct ir_value *w, const int *perm)
{
	int64_t from[IR_MAX_RANK], stride[IR_MAX_RANK], dim[IR_MAX_RANK];
	struct ir_value *n;

	if (w->ch_scale && w->ch_axis != perm[0])
		w = const_f32(l->g, w);
	dense_strides(w, from);
	for (unsigned i = 0; i < w->rank; i++) {
		dim[i] = w->dim[perm[i]];
		stride[i] = from[perm[i]];
	}
	n = ir_const_new(l->g, w->name, w->dtype, w->rank, dim, NULL);
	move_strided(n->data, w->data, ir_dtype_size(w->dtype), w->rank, dim, 0, stride);
	n->scale = w->scale;
	n->zero = w->zero;
	if (w->ch_scale) {
		n->ch_scale = ir_alloc((size_t)dim[0], sizeof(float));
		memcpy(n->ch_scale, w->ch_scale, (size_t)dim[0] * sizeof(float));
	}
	return n;
}

static int layout_conv(struct layout *l, struct ir_op *op)
{
	struct ir_value *y = op->out[0], *res = ir_op_in(op, 3);
	struct ir_value *in[4] = { layout_get(l, op->in[0], layout_nhwc),
				   layout_weights(l, op->in[1], layout_nhwc), ir_op_in(op, 2),
				   res ? layout_get(l, res, layout_nhwc) : NULL };
	int64_t dim[4];

	layout_ordered_dims(y, layout_nhwc, dim);
	layout_set(l, y, layout_rebuild(l, op, IR_CONV, in, 4, 4, dim)->out[0], layout_nhwc);
	return 0;
}

static int layout_window(struct layout *l, struct ir_op *op)
{
	struct ir_value *x = layout_get(l, op->in[0], layout_nhwc);
	int64_t dim[4];
	struct ir_op *n;

	layout_ordered_dims(op->out[0], layout_nhwc, dim);
	n = layout_rebuild(l, op, op->kind, &x, 1, 4, dim);
	op->a.taps_h = op->a.taps_w = NULL; /* now owned by n */
	layout_set(l, op->out[0], n->out[0], layout_nhwc);
	return 0;
}

/* ---- rows: softmax, normalization, reductions ---- */

static int layout_rows(struct layout *l, struct ir_op *op)
{
	struct ir_value *x = op->in[0], *y = op->out[0],
			*in[3] = { NULL, ir_op_in(op, 1), ir_op_in(op, 2) };
	const struct view *view = layout_view(l, x);
	int axis = op->kind == IR_SOFTMAX ? op->a.axis : (int)x->rank - 1, order[IR_MAX_RANK];
	int64_t dim[IR_MAX_RANK], two[2] = { 1, x->rank ? x->dim[axis] : 1 };
	unsigned n = 0;
	struct ir_op *r;

	if (!x->rank)
		return layout_refuse(l, op, "operand is a scalar; check the model");
	for (unsigned j = 0; j < x->rank; j++)
		if (view->order[j] != axis)
			order[n++] = view->order[j];
	order[n] = axis;
	in[0] = layout_get(l, x, order);
	layout_ordered_dims(y, order, dim);
	if (x->rank > 4) {
		two[0] = ir_elements(x) / two[1];
		in[0] = build_reshape(&l->b, in[0], 2, two);
	}
	r = layout_rebuild(l, op, op->kind, in, op->ins, in[0]->rank, in[0]->dim);
	r->a.axis = (int)in[0]->rank - 1;
	layout_set(l, y, build_reshape(&l->b, r->out[0], y->rank, dim), order);
	return 0;
}

static int layout_reduce(struct layout *l, struct ir_op *op)
{
	struct ir_value *x = op->in[0], *y = op->out[0], *v;
	const struct view *view = layout_view(l, x);
	unsigned axes = 0, group[IR_MAX_RANK], rank = x->rank, groups = rank;
	bool join[IR_MAX_RANK] = { false };
	int64_t dim[IR_MAX_RANK], small[IR_MAX_RANK];
	struct ir_op *n;

	v = view->base;
	for (unsigned j = 0; j < rank; j++) {
		group[j] = j;
		join[j] = j && (op->a.axes >> view->order[j] & 1) ==
				       (op->a.axes >> view->order[j - 1] & 1);
	}
	if (rank > 4) {
		groups = merge_axes(rank, join, 4, group);
		if (!groups)
			return layout_refuse(l, op,
					     "reduces axes that are spread over more than 4 "
					     "groups; transpose them together in the model");
		v = merged(&l->b, v, group, groups);
	}
	for (unsigned j = 0; j < rank; j++)
		axes |= (op->a.axes >> view->order[j] & 1) << group[j];
	for (unsigned k = 0; k < groups; k++)
		small[k] = axes >> k & 1 ? 1 : v->dim[k];
	n = layout_rebuild(l, op, IR_REDUCE, &v, 1, groups, small);
	n->a.axes = axes;
	layout_ordered_dims(y, view->order, dim);
	layout_set(l, y, build_reshape(&l->b, n->out[0], rank, dim), view->order);
	return 0;
}

/* ---- movement ---- */

/* CONCAT, SLICE, PAD, EXPAND: per-axis attributes follow the order; untouched neighbours merge above 4 axes. */
static int layout_move(struct layout *l, struct ir_op *op)
{
	struct ir_value *y = op->out[0], **in = ir_alloc(op->ins, sizeof(*in)),
			*x0 = ir_op_in(op, 0);
	unsigned rank = y->rank, group[IR_MAX_RANK], groups = rank;
	bool touched[IR_MAX_RANK], join[IR_MAX_RANK] = { false };
	int64_t dim[IR_MAX_RANK], small[IR_MAX_RANK];
	int order[IR_MAX_RANK];
	struct ir_op *n;
	int r = 0;

	pick_order(l, op, rank, order);
	layout_ordered_dims(y, order, dim);
	for (unsigned j = 0; j < rank; j++) {
		int a = order[j];

		group[j] = j;
		touched[j] = op->kind == IR_CONCAT
				     ? a == op->a.axis
				     : y->dim[a] != x0->dim[a] ||
					       (op->kind == IR_SLICE && op->a.step[a] < 0);
		join[j] = j && !touched[j] && !touched[j - 1];
	}
	if (rank > 4)
		groups = merge_axes(rank, join, 4, group);
	for (unsigned i = 0; i < op->ins && groups; i++)
		in[i] = merged(&l->b, layout_get(l, ir_op_in(op, i), order), group, groups);
	for (unsigned k = 0; k < groups; k++)
		small[k] = 1;
	for (unsigned j = 0; j < rank && groups; j++)
		small[group[j]] *= dim[j];
	if (!groups) {
		r = layout_refuse(l, op,
				  "works on more than 4 groups of axes; reshape the operand in the "
				  "model");
		goto out;
	}
	n = layout_rebuild(l, op, op->kind, in, op->ins, groups, small);
	for (unsigned j = 0; j < rank; j++) {
		unsigned k = group[j];
		bool alone = groups == rank || touched[j];

		if (op->kind == IR_CONCAT && order[j] == op->a.axis)
			n->a.axis = (int)k;
		if (!alone && (j == 0 || group[j - 1] != k)) {
			n->a.start[k] = n->a.end[k] = 0;
			n->a.step[k] = 1;
		} else if (alone) {
			n->a.start[k] = op->a.start[order[j]];
			n->a.end[k] = op->a.end[order[j]];
			n->a.step[k] = op->a.step[order[j]];
		}
	}
	layout_set(l, y, build_reshape(&l->b, n->out[0], rank, dim), order);
out:
	free(in);
	return r;
}

static int layout_do_transpose(struct layout *l, struct ir_op *op)
{
	layout_transpose(l, op->in[0], op->out[0], op->a.perm);
	return 0;
}

static int layout_do_reshape(struct layout *l, struct ir_op *op)
{
	layout_reshape(l, op->in[0], op->out[0]);
	return 0;
}

/* The host knows no layouts: everything in ONNX's order. */
static int layout_host(struct layout *l, struct ir_op *op)
{
	struct ir_value *in[IR_MAX_IN], *y = op->out[0];
	int order[IR_MAX_RANK];

	for (int j = 0; j < IR_MAX_RANK; j++)
		order[j] = j;
	for (unsigned i = 0; i < op->ins; i++)
		in[i] = layout_get(l, op->in[i], order);
	layout_set(l, y, layout_rebuild(l, op, IR_HOST, in, op->ins, y->rank, y->dim)->out[0], order);
	return 0;
}

/* ---- the pass ---- */

static const layout_fn table[IR_KIND_COUNT] = {
	[IR_CONV] = layout_conv,	  [IR_CONVT] = layout_convt,
	[IR_POOL] = layout_window,	  [IR_RESIZE] = layout_window,
	[IR_MATMUL] = layout_matmul,	  [IR_BINARY] = layout_elementwise,
	[IR_WHERE] = layout_elementwise,  [IR_UNARY] = layout_elementwise,
	[IR_REDUCE] = layout_reduce,	  [IR_SOFTMAX] = layout_rows,
	[IR_NORM] = layout_rows,	  [IR_CONCAT] = layout_move,
	[IR_SLICE] = layout_move,	  [IR_PAD] = layout_move,
	[IR_EXPAND] = layout_move,	  [IR_TRANSPOSE] = layout_do_transpose,
	[IR_RESHAPE] = layout_do_reshape, [IR_HOST] = layout_host,
};

/* Graph outputs stand in ONNX's order of axes. */
static void layout_outputs(struct layout *l)
{
	int order[IR_MAX_RANK];

	for (int j = 0; j < IR_MAX_RANK; j++)
		order[j] = j;
	for (unsigned i = 0; i < l->g->outputs; i++) {
		struct ir_value *y = l->g->output[i], *v;

		l->b.name = y->name;
		l->b.onnx_type = NULL;
		v = layout_get(l, y, order);
		if (v != y)
			ir_value_replace(l->g, y, v);
	}
}

/* What the old operator alone has read: its data are no longer needed, and all weights twice would be much memory. */
static void drop_weights(struct ir_op *op)
{
	for (unsigned i = 0; i < op->ins; i++) {
		struct ir_value *v = ir_op_in(op, i);

		if (v && v->data && v->uses == 1 && !v->is_output && (op->kind == IR_CONV || op->kind == IR_CONVT || op->kind == IR_MATMUL))
			ir_value_drop(v);
	}
}

int pass_layout(struct ir_graph *g, const struct mica_compile_options *o)
{
	struct layout l = { .g = g, .named = g->values - 1 };
	struct ir_op *last = g->last, *stop, *prev;
	unsigned values;
	int r = 0;
	(void)o;

	for (struct ir_op *op = g->first; op && !r; op = op == last ? NULL : op->next) {
		l.b = (struct build){
			.g = g, .name = op->name, .onnx_type = op->onnx_type, .format = op->format
		};
		r = table[op->kind] ? table[op->kind](&l, op)
				    : layout_refuse(&l, op,
						    "has no form on the device; this is a bug in "
						    "the compiler");
		drop_weights(op);
	}
	values = g->values;
	if (!r)
		layout_outputs(&l);
	for (unsigned i = 0; i < values; i++) {
		if (g->value[i]) {
			free(g->value[i]->scratch);
			g->value[i]->scratch = NULL;
		}
	}
	if (r)
		return r;
	for (stop = last; stop; stop = prev) { /* the old operators, users first */
		prev = stop->prev;
		ir_op_remove(g, stop);
	}
	ir_sweep(g);
	return 0;
}
