// SPDX-License-Identifier: MIT
/* ONNX operators that select by indices or by value: host steps, because the device's engines know no addresses in data. */
#include <stdlib.h>
#include <string.h>
#include "fold.h"
#include "onnx_integer.h"

static struct ir_value *operand(struct ir_graph *g, struct ir_op *op, unsigned i)
{
	struct ir_value *v = ir_op_in(op, i);

	return v && v->data ? const_f32(g, v) : v;
}

/* A host step with the first n operands of op and the shape of its output `out`. */
static struct ir_op *host_for(struct ir_graph *g, struct ir_op *op, enum mica_host_op host, unsigned n, unsigned out)
{
	struct build b = build_at(g, op);
	struct ir_value *in[MICA_HOST_MAX_IN];
	const struct ir_value *y = op->out[out];

	for (unsigned i = 0; i < n; i++)
		in[i] = operand(g, op, i);
	return build_host(&b, host, in, n, y->rank, y->dim);
}

static bool wanted(const struct ir_op *op, unsigned i)
{
	return i < op->outs && op->out[i] && op->out[i]->uses + op->out[i]->is_output;
}

/* Results whose size the data decide have room for the most there can be; nobody but the caller can know what is valid. */
static int only_output(struct ir_graph *g, struct ir_op *op, unsigned i)
{
	if (!wanted(op, i) || !op->out[i]->uses)
		return 0;
	return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
			 "the size of result '%.100s' depends on the data and '%.100s' (%.60s) reads it; such results can only be outputs "
			 "of the model: cut the model behind this node (--cut)",
			 op->out[i]->name, op->out[i]->use[0]->name, op->out[i]->use[0]->onnx_type);
}

/* ---- GatherElements, GatherND ---- */

static int infer_gather_elements(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *idx = op->in[1];
	int axis = onnx_axis(g, op, onnx_int(op, "axis", 0), x->rank);
	(void)d;

	if (axis < 0)
		return axis;
	for (unsigned i = 0; i < x->rank || x->rank != idx->rank; i++)
		if (x->rank != idx->rank || ((int)i != axis && idx->dim[i] > x->dim[i]))
			return onnx_fail(g, op, MICA_ERR_SHAPE, "indices do not fit the operand's shape; check the model");
	return onnx_out(g, op, 0, x->dtype, idx->rank, idx->dim);
}

static int canon_gather_elements(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct ir_op *h = host_for(g, op, MICA_HOST_GATHER_ELEMENTS, 2, 0);
	(void)d;

	h->a.host_int[0] = onnx_axis(g, op, onnx_int(op, "axis", 0), op->in[0]->rank);
	build_becomes(g, op->out[0], h->out[0]);
	return 0;
}

/* Shape of one slice per tuple of the indices; false when they do not fit. */
static bool tuple_dims(const struct ir_value *x, const struct ir_value *idx, int64_t batch, int64_t *dim, unsigned *rank)
{
	int64_t len;

	*rank = 0;
	if (!idx->rank || batch < 0 || batch >= idx->rank || batch > x->rank)
		return false;
	len = idx->dim[idx->rank - 1];
	if (len < 1 || len > x->rank - batch)
		return false;
	for (unsigned i = 0; i < batch; i++)
		if (x->dim[i] != idx->dim[i])
			return false;
	for (unsigned i = 0; i + 1 < idx->rank; i++)
		dim[(*rank)++] = idx->dim[i];
	for (unsigned i = (unsigned)(batch + len); i < x->rank; i++)
		dim[(*rank)++] = x->dim[i];
	return true;
}

static int infer_gather_nd(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	int64_t dim[2 * IR_MAX_RANK];
	unsigned rank;
	(void)d;

	if (!tuple_dims(op->in[0], op->in[1], onnx_int(op, "batch_dims", 0), dim, &rank))
		return onnx_fail(g, op, MICA_ERR_SHAPE, "indices do not fit the operand's shape; check the model");
	return onnx_out(g, op, 0, op->in[0]->dtype, rank, dim);
}

static int canon_gather_nd(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct ir_op *h = host_for(g, op, MICA_HOST_GATHER_ND, 2, 0);
	(void)d;

	h->a.host_int[0] = onnx_int(op, "batch_dims", 0);
	build_becomes(g, op->out[0], h->out[0]);
	return 0;
}

/* ---- ScatterElements (Scatter), ScatterND (code 1) ---- */

static int reduction(struct ir_graph *g, struct ir_op *op)
{
	static const char *const names[MICA_HOST_REDUCTIONS] = { "none", "add", "mul", "max", "min" };

	for (int i = 0; i < MICA_HOST_REDUCTIONS; i++)
		if (onnx_is(op, "reduction", names[i], "none"))
			return i;
	return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "unknown reduction; use none, add, mul, max or min");
}

static int infer_scatter(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *idx = op->in[1], *up = op->in[2];
	int64_t dim[2 * IR_MAX_RANK];
	unsigned rank;
	bool ok;
	int axis = d->code ? 0 : onnx_axis(g, op, onnx_int(op, "axis", 0), x->rank), how = reduction(g, op);

	if (axis < 0 || how < 0)
		return -(int)g->err->code;
	if (d->code) {
		ok = tuple_dims(x, idx, 0, dim, &rank) && rank == up->rank && !memcmp(dim, up->dim, rank * sizeof(*dim));
	} else {
		ok = ir_same_dims(idx, up) && x->rank == idx->rank;
		for (unsigned i = 0; i < x->rank && ok; i++)
			ok = (int)i == axis || idx->dim[i] <= x->dim[i];
	}
	if (!ok)
		return onnx_fail(g, op, MICA_ERR_SHAPE, "indices or updates do not fit the operand's shape; check the model");
	return onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
}

static int canon_scatter(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct ir_op *h = host_for(g, op, d->code ? MICA_HOST_SCATTER_ND : MICA_HOST_SCATTER_ELEMENTS, 3, 0);

	if (!d->code)
		h->a.host_int[0] = onnx_axis(g, op, onnx_int(op, "axis", 0), op->in[0]->rank);
	h->a.host_int[1] = reduction(g, op);
	if (integer_is(op->out[0])) { /* a sum that its type or f32 does not hold fails the run */
		bool is_signed;
		int width = integer_width(op->out[0], &is_signed);

		h->a.host_int[2] = width - is_signed;
	}
	build_becomes(g, op->out[0], h->out[0]);
	return 0;
}

/* ---- TopK ---- */

static int top_k_axis(struct ir_graph *g, struct ir_op *op)
{
	return onnx_axis(g, op, onnx_int(op, "axis", -1), op->in[0]->rank);
}

static int infer_top_k(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[IR_MAX_RANK], *list = NULL, k = onnx_int(op, "k", 0);
	int axis = top_k_axis(g, op), r;
	size_t n = 0;
	(void)d;

	if (axis < 0)
		return axis;
	if (op->ins > 1) {
		if (onnx_list(g, op, "k", 1, &list, &n))
			return -(int)g->err->code;
		k = n == 1 ? list[0] : 0;
		free(list);
	}
	if (k < 1 || k > x->dim[axis])
		return onnx_fail(g, op, MICA_ERR_SHAPE, "K is %lld, axis %d has %lld entries; check the model", (long long)k, axis,
				 (long long)x->dim[axis]);
	memcpy(dim, x->dim, sizeof(dim));
	dim[axis] = k;
	r = onnx_out(g, op, 0, x->dtype, x->rank, dim);
	return r ? r : onnx_out(g, op, 1, IR_I64, x->rank, dim);
}

static int canon_top_k(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = operand(g, op, 0), *pair[2] = { x, NULL };
	const struct ir_value *y = op->out[0] ? op->out[0] : op->out[1];
	struct ir_op *h = build_host(&b, MICA_HOST_TOP_K, &x, 1, y->rank, y->dim), *v;
	(void)d;

	h->format = MICA_F32;
	h->a.host_int[0] = top_k_axis(g, op);
	h->a.host_int[1] = onnx_int(op, "largest", 1) != 0;
	if (wanted(op, 0)) {
		pair[1] = h->out[0];
		v = build_host(&b, MICA_HOST_GATHER_ELEMENTS, pair, 2, y->rank, y->dim);
		v->a.host_int[0] = h->a.host_int[0];
		build_becomes(g, op->out[0], v->out[0]);
	}
	if (wanted(op, 1))
		build_becomes(g, op->out[1], h->out[0]);
	return 0;
}

/* ---- NonMaxSuppression ---- */

static int64_t most_per_class(const struct ir_op *op)
{
	const struct ir_value *v = ir_op_in(op, 2);
	int64_t n = op->in[0]->dim[1];

	if (!v)
		return 0;
	if (v->data && v->dtype == IR_I64 && ir_elements(v) == 1 && *(int64_t *)v->data < n)
		return *(int64_t *)v->data;
	return n;
}

static int infer_nms(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *boxes = op->in[0], *scores = op->in[1];
	int64_t dim[2] = { 0, 3 };
	(void)d;

	if (boxes->rank != 3 || scores->rank != 3 || boxes->dim[2] != 4 || boxes->dim[0] != scores->dim[0] || boxes->dim[1] != scores->dim[2])
		return onnx_fail(g, op, MICA_ERR_SHAPE, "boxes [batch,n,4] and scores [batch,classes,n] do not fit; check the model");
	for (unsigned i = 2; i < op->ins; i++)
		if (ir_op_in(op, i) && ir_elements(ir_op_in(op, i)) != 1)
			return onnx_fail(g, op, MICA_ERR_SHAPE, "operand %u is no scalar; check the model", i);
	if (most_per_class(op) < 1)
		return onnx_fail(g, op, MICA_ERR_SHAPE, "max_output_boxes_per_class is 0 or missing: nothing would be selected; check the model");
	dim[0] = scores->dim[0] * scores->dim[1] * most_per_class(op);
	return onnx_out(g, op, 0, IR_I64, 2, dim);
}

static int canon_nms(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *in[5], *y = op->out[0];
	bool score = ir_op_in(op, 4) != NULL;
	struct ir_op *h;
	(void)d;

	if (only_output(g, op, 0))
		return -(int)g->err->code;
	for (unsigned i = 0; i < 5; i++) {
		in[i] = operand(g, op, i);
		if (!in[i])
			in[i] = build_scalar(&b, 0);
	}
	h = build_host(&b, MICA_HOST_NON_MAX_SUPPRESSION, in, score ? 5 : 4, y->rank, y->dim);
	h->a.host_int[0] = onnx_int(op, "center_point_box", 0) != 0;
	h->a.host_int[1] = score;
	build_becomes(g, y, h->out[0]);
	return 0;
}

/* ---- Compress, Unique ---- */

static int infer_compress(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[IR_MAX_RANK], n = ir_elements(op->in[1]), all = ir_elements(x);
	bool flat = !onnx_attr(op, "axis");
	int axis = flat ? 0 : onnx_axis(g, op, onnx_int(op, "axis", 0), x->rank);
	(void)d;

	if (axis < 0)
		return axis;
	memcpy(dim, x->dim, sizeof(dim));
	if (flat)
		dim[0] = all < n ? all : n;
	else
		dim[axis] = n < x->dim[axis] ? n : x->dim[axis];
	return onnx_out(g, op, 0, x->dtype, flat ? 1 : x->rank, dim);
}

static int canon_compress(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct ir_op *h;
	(void)d;

	if (only_output(g, op, 0))
		return -(int)g->err->code;
	h = host_for(g, op, MICA_HOST_COMPRESS, 2, 0);
	h->a.host_int[0] = onnx_attr(op, "axis") ? onnx_axis(g, op, onnx_int(op, "axis", 0), op->in[0]->rank) : -1;
	build_becomes(g, op->out[0], h->out[0]);
	return 0;
}

static int infer_unique(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	bool flat = !onnx_attr(op, "axis");
	int axis = flat ? 0 : onnx_axis(g, op, onnx_int(op, "axis", 0), x->rank), r;
	int64_t n;
	(void)d;

	if (axis < 0)
		return axis;
	n = flat ? ir_elements(x) : x->dim[axis];
	r = flat ? onnx_out(g, op, 0, x->dtype, 1, &n) : onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
	for (unsigned i = 1; i < op->outs && !r; i++)
		r = onnx_out(g, op, i, IR_I64, 1, &n);
	return r;
}

static int canon_unique(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	(void)d;

	for (unsigned i = 0; i < op->outs && i <= MICA_HOST_COUNTS; i++) {
		struct ir_op *h;

		if (i != MICA_HOST_INVERSE && only_output(g, op, i))
			return -(int)g->err->code;
		if (!wanted(op, i))
			continue;
		h = host_for(g, op, MICA_HOST_UNIQUE, 1, i);
		h->a.host_int[0] = onnx_attr(op, "axis") ? onnx_axis(g, op, onnx_int(op, "axis", 0), op->in[0]->rank) : -1;
		h->a.host_int[1] = onnx_int(op, "sorted", 1) != 0;
		h->a.host_int[2] = i;
		build_becomes(g, op->out[i], h->out[0]);
	}
	return 0;
}

/* ---- NonZero ---- */

static int infer_nonzero(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[2] = { x->rank ? x->rank : 1, ir_elements(x) };
	(void)d;

	return onnx_out(g, op, 0, IR_I64, 2, dim);
}

static int canon_nonzero(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	(void)d;

	if (only_output(g, op, 0))
		return -(int)g->err->code;
	build_becomes(g, op->out[0], host_for(g, op, MICA_HOST_NON_ZERO, 1, 0)->out[0]);
	return 0;
}

/* ---- ReverseSequence ---- */

static int infer_reverse_sequence(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int batch = onnx_axis(g, op, onnx_int(op, "batch_axis", 1), x->rank), time = onnx_axis(g, op, onnx_int(op, "time_axis", 0), x->rank);
	(void)d;

	if (batch < 0 || time < 0)
		return -(int)g->err->code;
	if (batch == time || ir_elements(op->in[1]) != x->dim[batch])
		return onnx_fail(g, op, MICA_ERR_SHAPE, "batch and time axis are one, or there is not one length per batch; check the model");
	return onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
}

static int canon_reverse_sequence(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct ir_op *h = host_for(g, op, MICA_HOST_REVERSE_SEQUENCE, 2, 0);
	(void)d;

	h->a.host_int[0] = onnx_axis(g, op, onnx_int(op, "batch_axis", 1), op->in[0]->rank);
	h->a.host_int[1] = onnx_axis(g, op, onnx_int(op, "time_axis", 0), op->in[0]->rank);
	build_becomes(g, op->out[0], h->out[0]);
	return 0;
}

const struct onnx_def onnx_index_ops[] = {
	{ "GatherElements", 0, 2, 2, infer_gather_elements, NULL, canon_gather_elements },
	{ "GatherND", 0, 2, 2, infer_gather_nd, NULL, canon_gather_nd },
	{ "Scatter", 0, 3, 3, infer_scatter, NULL, canon_scatter },
	{ "ScatterElements", 0, 3, 3, infer_scatter, NULL, canon_scatter },
	{ "ScatterND", 1, 3, 3, infer_scatter, NULL, canon_scatter },
	{ "TopK", 0, 1, 2, infer_top_k, NULL, canon_top_k },
	{ "NonMaxSuppression", 0, 2, 5, infer_nms, NULL, canon_nms },
	{ "Compress", 0, 2, 2, infer_compress, NULL, canon_compress },
	{ "Unique", 0, 1, 1, infer_unique, NULL, canon_unique },
	{ "NonZero", 0, 1, 1, infer_nonzero, fold_nonzero, canon_nonzero },
	{ "ReverseSequence", 0, 2, 2, infer_reverse_sequence, NULL, canon_reverse_sequence },
	{ 0 },
};
