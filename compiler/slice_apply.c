// SPDX-License-Identifier: MIT
/* Steps over all rows become steps over some rows each: which rows they need, and the operators that compute them. */
#include <stdlib.h>
#include <string.h>
#include "backend.h"
#include "slice.h"

/* An operand is cut along axis 1 as the result is, or it has no rows at all. */
static bool rows_fit(const struct ir_op *op)
{
	for (unsigned i = 0; i < op->ins; i++) {
		const struct ir_value *x = ir_op_in(op, i);

		if (x && !be_streams(op, i) && x->rank != 4 && x->rank > 2)
			return false;
	}
	return true;
}

bool slice_row_wise(const struct ir_op *op)
{
	const struct ir_value *y = op->out[0];

	if (y->rank != 4 || y->dim[1] < 4 || !rows_fit(op))
		return false;
	switch (op->kind) {
	case IR_CONV: case IR_POOL: case IR_BINARY: case IR_WHERE: case IR_UNARY: case IR_LUT: case IR_SOFTMAX: case IR_NORM: case IR_RESIZE:
		return true;
	case IR_CONCAT:
		return op->a.axis != 1;
	case IR_SLICE:
		return op->a.start[1] == 0 && op->a.step[1] == 1 && y->dim[1] == op->in[0]->dim[1];
	case IR_REDUCE:
		return !(op->a.axes & 2);
	case IR_PAD:
		return !op->a.start[1] && !op->a.end[1];
	case IR_TRANSPOSE:		/* where the model's input becomes channels last */
		return op->in[0]->is_input && op->in[0]->rank == 4;
	default:
		return false;
	}
}

static bool read_by_rows(const struct ir_op *op, unsigned i)
{
	return ir_op_in(op, i) && !be_streams(op, i);
}

/* Rows lo..hi-1 of the result need this of operand i: rows of it, all of it across; of a transposed operand a box. */
static struct be_box need(const struct ir_op *op, unsigned i, struct slice_rows r)
{
	const struct ir_value *x = ir_op_in(op, i);
	struct be_box out = be_whole(op->out[0]), in, rows = be_whole(x);

	out.at[1] = r.lo;
	out.len[1] = r.hi - r.lo;
	be_need(op, i, &out, &in);
	if (op->kind == IR_TRANSPOSE)
		return in;
	if (x->rank == 4) {
		rows.at[1] = in.at[1];
		rows.len[1] = in.len[1];
	}
	return rows;
}

/* Which of the steps op[0..n-1] makes the value, or n. */
static unsigned maker(struct ir_op *const *op, unsigned n, const struct ir_value *v)
{
	uintptr_t at = v->def ? (uintptr_t)v->def->scratch : 0, base = (uintptr_t)op[0]->scratch;

	return at >= base && at - base < n ? (unsigned)(at - base) : n;
}

bool slice_needs(struct ir_op *const *op, unsigned n, int64_t lo, int64_t hi, struct slice_rows *rows)
{
	for (unsigned t = 0; t < n; t++)
		rows[t] = (struct slice_rows){ INT64_MAX, -1 };
	rows[n - 1] = (struct slice_rows){ lo, hi };
	for (unsigned t = n; t-- > 0;) {
		if (rows[t].lo >= rows[t].hi)
			return false;
		for (unsigned i = 0; i < op[t]->ins; i++) {
			struct be_box in;
			unsigned from;

			if (!read_by_rows(op[t], i))
				continue;
			in = need(op[t], i, rows[t]);
			if (be_empty(&in, ir_op_in(op[t], i)->rank))
				return false;
			from = maker(op, n, ir_op_in(op[t], i));
			if (from == n)
				continue;
			rows[from].lo = in.at[1] < rows[from].lo ? in.at[1] : rows[from].lo;
			rows[from].hi = in.at[1] + in.len[1] > rows[from].hi ? in.at[1] + in.len[1] : rows[from].hi;
		}
	}
	return true;
}

/* ---- rewriting ---- */

struct rewriting {
	struct ir_graph *g;
	struct ir_op **op, *before;	/* the steps; the one behind them */
	unsigned n;
	struct slice_rows *rows;
	struct ir_value **part;		/* by step: this slice's result */
};

static struct ir_value *like(struct ir_graph *g, const struct ir_value *v, const char *name, const int64_t *dim)
{
	struct ir_value *n = ir_value_new(g, name, v->dtype, v->rank, dim);

	n->scale = v->scale;
	n->zero = v->zero;
	n->calibrated = v->calibrated;
	n->threshold = v->threshold;
	n->min = v->min;
	n->max = v->max;
	return n;
}

/* The box of v, of which x holds the rows from `from` on (v itself: 0). */
static struct ir_value *cut(struct rewriting *w, struct ir_value *x, int64_t from, const struct be_box *box)
{
	struct ir_value *y;
	struct ir_op *op;
	bool whole = true;

	for (unsigned d = 0; d < x->rank; d++)
		whole = whole && box->len[d] == x->dim[d];
	if (whole)
		return x;
	y = like(w->g, x, NULL, box->len);
	op = ir_op_new(w->g, IR_SLICE, NULL, w->before, &x, 1, &y, 1);
	op->onnx_type = ir_strdup("Rows");
	op->a.extra = true;
	for (unsigned d = 0; d < x->rank; d++) {
		op->a.start[d] = box->at[d] - (d == 1 ? from : 0);
		op->a.step[d] = 1;
	}
	return y;
}

/* What changes when an operator sees rows in.at.. of its operand and makes rows r. */
static void adapt(struct ir_op *n, const struct ir_op *op, struct slice_rows r, const struct be_box *in)
{
	struct ir_attr *a = &n->a;

	switch (op->kind) {
	case IR_CONV: case IR_POOL:
		a->pad_top = (int)(op->a.pad_top + in->at[1] - r.lo * op->a.stride_h);
		a->pad_bottom = (int)(op->in[0]->dim[1] + op->a.pad_bottom - in->at[1] - in->len[1]);
		if (op->kind == IR_CONV) {	/* what the last window reaches past its rows; padding behind that is of no use */
			int64_t reach = (r.hi - r.lo - 1) * a->stride_h + (int64_t)(a->kh - 1) * a->dil_h + 1 - a->pad_top - in->len[1];

			a->pad_bottom = reach > 0 ? (int)reach : 0;
		}
		break;
	case IR_RESIZE:
		for (int64_t i = 0; i < r.hi - r.lo; i++) {
			a->taps_h[i] = op->a.taps_h[r.lo + i];
			a->taps_h[i].i0 -= (uint32_t)in->at[1];
			a->taps_h[i].i1 -= (uint32_t)in->at[1];
		}
		break;
	default:
		break;
	}
}

static void slice_step(struct rewriting *w, unsigned t, bool extra)
{
	const struct ir_op *op = w->op[t];
	struct ir_value **in = ir_alloc(op->ins, sizeof(*in)), *y = op->out[0];
	int64_t dim[IR_MAX_RANK];
	struct be_box first = { 0 };
	char name[256];
	struct ir_op *n;

	for (unsigned i = 0; i < op->ins; i++) {
		struct be_box box;
		unsigned from;

		in[i] = ir_op_in(op, i);
		if (!read_by_rows(op, i))
			continue;
		box = need(op, i, w->rows[t]);
		first = i ? first : box;
		from = maker(w->op, w->n, in[i]);
		in[i] = from == w->n ? cut(w, in[i], 0, &box) : cut(w, w->part[from], w->rows[from].lo, &box);
	}
	memcpy(dim, y->dim, sizeof(dim));
	dim[1] = w->rows[t].hi - w->rows[t].lo;
	snprintf(name, sizeof(name), "%.200s [rows %lld to %lld]", y->name, (long long)w->rows[t].lo, (long long)w->rows[t].hi - 1);
	w->part[t] = like(w->g, y, name, dim);
	n = ir_op_clone(w->g, op, w->before, in, w->part[t]);
	free(n->name);
	snprintf(name, sizeof(name), "%.200s [rows %lld to %lld]", op->name, (long long)w->rows[t].lo, (long long)w->rows[t].hi - 1);
	n->name = ir_strdup(name);
	n->a.extra = extra || op->a.extra;
	adapt(n, op, w->rows[t], &first);
	free(in);
}

/* The slices side by side take the place of the old result. */
static void join(struct rewriting *w, struct ir_value *const *part, unsigned slices)
{
	struct ir_value *old = w->op[w->n - 1]->out[0], *y = like(w->g, old, NULL, old->dim);
	struct ir_op *op = ir_op_new(w->g, IR_CONCAT, w->op[w->n - 1]->name, w->before, part, slices, &y, 1);
	bool output = old->is_output;

	op->onnx_type = ir_strdup("Rows");
	op->a.axis = 1;
	op->a.gather = op->a.extra = true;
	ir_value_replace(w->g, old, y);
	if (!output)
		ir_swap_names(w->g, old, y);
}

void slice_apply(struct ir_graph *g, struct ir_op *first, unsigned n, unsigned slices)
{
	struct rewriting w = { .g = g, .n = n, .before = first };
	struct ir_value **part = ir_alloc(slices, sizeof(*part));
	int64_t h;

	w.op = ir_alloc(n, sizeof(*w.op));
	w.rows = ir_alloc(n, sizeof(*w.rows));
	w.part = ir_alloc(n, sizeof(*w.part));
	for (unsigned t = 0; t < n; t++, w.before = w.before->next) {
		w.op[t] = w.before;
		w.op[t]->scratch = (void *)(uintptr_t)(t + 1);
	}
	h = w.op[n - 1]->out[0]->dim[1];
	for (unsigned k = 0; k < slices; k++) {
		slice_needs(w.op, n, h * k / slices, h * (k + 1) / slices, w.rows);
		for (unsigned t = 0; t < n; t++)
			slice_step(&w, t, k > 0);
		part[k] = w.part[n - 1];
	}
	join(&w, part, slices);
	for (unsigned t = n; t-- > 0;)
		ir_op_remove(g, w.op[t]);
	free(w.op);
	free(w.rows);
	free(w.part);
	free(part);
}
