// SPDX-License-Identifier: MIT
/* Products: with a constant matrix a 1x1 convolution on rows, of two computed ones a MATMUL of at most four axes. */
#include <string.h>
#include "layout.h"

static bool constant_matrix(const struct ir_value *w)
{
	return w->data && ir_elements(w) == w->dim[w->rank - 1] * w->dim[w->rank - 2];
}

/* Weights that only this step has made, moved. Large ones would fill the memory. */
static struct ir_value *layout_step(struct layout *l, struct ir_value *w, const int *perm)
{
	struct ir_value *n = layout_weights(l, w, perm);

	ir_value_drop(w);
	return n;
}

/* Weights [k,n] or [n,k] as [n,1,1,k] */
static struct ir_value *matrix_weights(struct layout *l, struct ir_value *w, bool trans)
{
	static const int keep[4] = { 0, 1, 2, 3 }, swap[4] = { 3, 1, 2, 0 };
	int64_t rows = w->dim[w->rank - 2], cols = w->dim[w->rank - 1],
		dim[4] = { rows, 1, 1, cols };
	struct ir_value *n = ir_const_new(l->g, w->name, w->dtype, 4, dim, w->data);

	n->scale = w->scale;
	n->zero = w->zero;
	if (w->ch_scale) {
		n->ch_axis = w->ch_axis + 2 == (int)w->rank ? 0 : 3;
		n->ch_scale = ir_alloc((size_t)dim[n->ch_axis], sizeof(float));
		memcpy(n->ch_scale, w->ch_scale, (size_t)dim[n->ch_axis] * sizeof(float));
	}
	return layout_step(l, n, trans ? keep : swap);
}

static void unit_window(struct ir_attr *a)
{
	a->kh = a->kw = a->stride_h = a->stride_w = a->dil_h = a->dil_w = a->groups = 1;
	a->trans_a = a->trans_b = false;
}

/* x flattened from a map [n,c,h,w] that stands as [n,h,w,c]: the matrix is a kernel of the map's size, nothing moves. */
static bool flattened_map(struct layout *l, struct ir_op *op)
{
	struct ir_op *flat = op->in[0]->def;
	struct ir_value *map = flat && flat->kind == IR_RESHAPE ? flat->in[0] : NULL,
			*w = op->in[1], *y = op->out[0], *in[4];
	int64_t dim[4];
	struct ir_op *conv;

	if (!map || map->rank != 4 || y->rank != 2 || map->dim[0] != y->dim[0] ||
	    memcmp(layout_view(l, map)->order, layout_nhwc, sizeof(layout_nhwc)) ||
	    map->dim[2] * map->dim[3] == 1 || map->dim[1] == 1 || map->dim[2] > 1024 ||
	    map->dim[3] > 1024)
		return false;
	in[1] = matrix_weights(l, w, op->a.trans_b);
	memcpy(dim, (int64_t[]){ y->dim[1], map->dim[1], map->dim[2], map->dim[3] }, sizeof(dim));
	memcpy(in[1]->dim, dim, sizeof(dim));
	in[0] = layout_get(l, map, layout_nhwc);
	in[1] = layout_step(l, in[1], layout_nhwc);
	in[2] = ir_op_in(op, 3);
	in[3] = NULL;
	memcpy(dim, (int64_t[]){ y->dim[0], 1, 1, y->dim[1] }, sizeof(dim));
	if (ir_op_in(op, 2))
		in[3] = build_reshape(&l->b, layout_get(l, op->in[2], (int[]){ 0, 1 }), 4, dim);
	conv = layout_rebuild(l, op, IR_CONV, in, 4, 4, dim);
	unit_window(&conv->a);
	conv->a.kh = (int)map->dim[2];
	conv->a.kw = (int)map->dim[3];
	layout_set(l, y, build_reshape(&l->b, conv->out[0], 2, y->dim), (int[]){ 0, 1 });
	return true;
}

/* The smallest divisor of n that leaves at most 65535 (what a command can hold), or 1 when there is none up to `most`. */
static int64_t part(int64_t n, int64_t most)
{
	for (int64_t d = 1; d <= most; d++)
		if (n % d == 0 && n / d <= 65535)
			return d;
	return 1;
}

/* Rows stand along w, and along h where they are too many; a long k is spread over a kernel of several columns. */
static int layout_dense(struct layout *l, struct ir_op *op)
{
	struct ir_value *x = op->in[0], *y = op->out[0], *in[4];
	unsigned rank = y->rank;
	int order[IR_MAX_RANK];
	int64_t dim[4], ydim[IR_MAX_RANK], k = x->dim[x->rank - 1], rows = ir_elements(x) / k,
					   high = part(rows, 65535), wide = part(k, 1024);
	struct ir_op *conv;

	if (x->rank == rank)
		memcpy(order, layout_view(l, x)->order, rank * sizeof(*order));
	if (x->rank != rank || order[rank - 1] != (int)rank - 1) /* k must be innermost */
		for (unsigned j = 0; j < rank; j++)
			order[j] = (int)j;
	if (wide > 1)
		memcpy(dim, (int64_t[]){ rows, 1, wide, k / wide }, sizeof(dim));
	else
		memcpy(dim, (int64_t[]){ 1, high, rows / high, k }, sizeof(dim));
	in[0] = build_reshape(&l->b, layout_get_wide(l, x, rank, order), 4, dim);
	in[1] = matrix_weights(l, op->in[1], op->a.trans_b);
	in[1]->dim[2] = wide;
	in[1]->dim[3] = k / wide;
	in[2] = ir_op_in(op, 3);
	dim[2] = wide > 1 ? 1 : dim[2];
	dim[3] = y->dim[rank - 1];
	in[3] = ir_op_in(op, 2) ? build_reshape(&l->b, layout_get(l, op->in[2], order), 4, dim)
				: NULL;
	conv = layout_rebuild(l, op, IR_CONV, in, 4, 4, dim);
	unit_window(&conv->a);
	conv->a.kw = (int)wide;
	layout_ordered_dims(y, order, ydim);
	layout_set(l, y, build_reshape(&l->b, conv->out[0], rank, ydim), order);
	return 0;
}

/* An operand of a product of two computed matrices: in ONNX's order, or with its last two axes exchanged. */
static struct ir_value *product_operand(struct layout *l, struct ir_value *v, unsigned rank,
					bool *trans)
{
	const struct view *view = layout_view(l, v);
	int order[IR_MAX_RANK], r = (int)v->rank;

	for (int j = 0; j < (int)rank; j++)
		order[j] = j;
	if (v->rank == rank && rank >= 2 && view->order[r - 1] == r - 2 &&
	    view->order[r - 2] == r - 1 && layout_is_identity(view->order, rank - 2)) {
		*trans = !*trans;
		return view->base;
	}
	return layout_get_wide(l, v, rank, order);
}

static struct ir_value *as_batch(struct build *b, struct ir_value *x, bool one)
{
	int64_t dim[3] = { 1, x->dim[x->rank - 2], x->dim[x->rank - 1] };

	for (unsigned i = 0; i + 2 < x->rank && !one; i++)
		dim[0] *= x->dim[i];
	return build_reshape(b, x, 3, dim);
}

int layout_matmul(struct layout *l, struct ir_op *op)
{
	struct ir_value *y = op->out[0], *in[3] = { 0 };
	unsigned rank = y->rank;
	int order[IR_MAX_RANK];
	bool equal[2] = { true, true }, one[2] = { true, true };
	int64_t dim[3];
	struct ir_op *n;

	if (constant_matrix(op->in[1]))
		return flattened_map(l, op) ? 0 : layout_dense(l, op);
	for (unsigned j = 0; j < rank; j++)
		order[j] = (int)j;
	in[0] = product_operand(l, op->in[0], rank, &op->a.trans_a);
	in[1] = product_operand(l, op->in[1], rank, &op->a.trans_b);
	in[2] = ir_op_in(op, 2) ? layout_get(l, op->in[2], order) : NULL;
	if (rank <= 4) {
		layout_set(l, y, layout_rebuild(l, op, IR_MATMUL, in, 3, rank, y->dim)->out[0],
			   order);
		return 0;
	}
	for (unsigned j = 0; j + 2 < rank; j++) {
		for (int i = 0; i < 2; i++) {
			equal[i] = equal[i] && in[i]->dim[j] == y->dim[j];
			one[i] = one[i] && in[i]->dim[j] == 1;
		}
	}
	for (int i = 0; i < 2; i++) {
		if (!equal[i] && !one[i])
			return layout_refuse(l, op,
					     "a product that broadcasts some of more than 2 "
					     "leading axes is not supported; expand the operand in "
					     "the model");
		in[i] = as_batch(&l->b, in[i], !equal[i]);
	}
	in[2] = in[2] ? as_batch(&l->b, in[2], false) : NULL;
	memcpy(dim, (int64_t[]){ 1, y->dim[rank - 2], y->dim[rank - 1] }, sizeof(dim));
	for (unsigned j = 0; j + 2 < rank; j++)
		dim[0] *= y->dim[j];
	n = layout_rebuild(l, op, IR_MATMUL, in, 3, 3, dim);
	layout_set(l, y, build_reshape(&l->b, n->out[0], rank, y->dim), order);
	return 0;
}
