// SPDX-License-Identifier: MIT
/* ONNX operators that select, join and repeat parts of tensors: Concat, Split, Slice, Pad, Expand, Tile, Gather. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "expr.h"
#include "fold.h"
#include "onnx_shape.h"

static struct ir_value *operand(struct ir_graph *g, struct ir_op *op, unsigned i)
{
	struct ir_value *v = ir_op_in(op, i);

	return v && v->data && (v->dtype == IR_I64 || v->dtype == IR_BOOL) ? const_f32(g, v) : v;
}

/* ---- Concat, Split, Slice ---- */

int concat_axis(struct ir_graph *g, struct ir_op *op)
{
	return onnx_axis(g, op, onnx_int(op, "axis", onnx_opset(g) < 4 ? 1 : 0), op->in[0]->rank);
}

static int infer_concat(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[IR_MAX_RANK];
	int axis = concat_axis(g, op);
	(void)d;

	if (axis < 0)
		return axis;
	memcpy(dim, x->dim, sizeof(dim));
	for (unsigned i = 1; i < op->ins; i++) {
		const struct ir_value *v = ir_op_in(op, i);

		if (v->rank != x->rank || v->dtype != x->dtype)
			return onnx_fail(g, op, MICA_ERR_SHAPE,
					 "operands have different ranks or types ('%.100s'); check "
					 "the model",
					 v->name);
		for (unsigned k = 0; k < x->rank; k++) {
			if ((int)k == axis)
				dim[k] += v->dim[k];
			else if (v->dim[k] != x->dim[k])
				return onnx_fail(g, op, MICA_ERR_SHAPE,
						 "extents %lld and %lld of axis %u differ "
						 "('%.100s'); check the model and --shape",
						 (long long)x->dim[k], (long long)v->dim[k], k,
						 v->name);
		}
	}
	return onnx_out(g, op, 0, x->dtype, x->rank, dim);
}

static int canon_concat(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value **in = ir_alloc(op->ins, sizeof(*in));
	unsigned n = 0;
	(void)d;

	for (unsigned i = 0; i < op->ins; i++)
		if (ir_elements(ir_op_in(op, i)))
			in[n++] = operand(g, op, i);
	build_becomes(g, op->out[0], build_concat(&b, in, n, (unsigned)concat_axis(g, op)));
	free(in);
	return 0;
}

int split_read(struct ir_graph *g, struct ir_op *op, unsigned *axis, int64_t **parts)
{
	const struct ir_value *x = op->in[0];
	int a = onnx_axis(g, op, onnx_int(op, "axis", 0), x->rank);
	int64_t sum = 0, each;
	size_t n;

	if (a < 0)
		return a;
	*axis = (unsigned)a;
	if (onnx_list(g, op, "split", 1, parts, &n))
		return -(int)g->err->code;
	if (!*parts) { /* equal parts, the last one may be smaller */
		n = op->outs;
		*parts = ir_alloc(n, sizeof(**parts));
		each = (x->dim[a] + (int64_t)n - 1) / (int64_t)n;
		for (size_t i = 0; i < n; i++)
			(*parts)[i] = i + 1 < n ? each : x->dim[a] - each * (int64_t)(n - 1);
	}
	for (size_t i = 0; i < n; i++)
		if ((*parts)[i] < 0 || __builtin_add_overflow(sum, (*parts)[i], &sum))
			sum = -1;
	if (n == op->outs && sum == x->dim[a])
		return 0;
	free(*parts);
	*parts = NULL;
	return onnx_fail(g, op, MICA_ERR_SHAPE,
			 "parts do not add up to the extent %lld of axis %d; check the model",
			 (long long)x->dim[a], a);
}

static int infer_split(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[IR_MAX_RANK], *parts;
	unsigned axis;
	int r = split_read(g, op, &axis, &parts);
	(void)d;

	if (r)
		return r;
	memcpy(dim, x->dim, sizeof(dim));
	for (unsigned i = 0; i < op->outs && !r; i++) {
		dim[axis] = parts[i];
		r = onnx_out(g, op, i, x->dtype, x->rank, dim);
	}
	free(parts);
	return r;
}

static int canon_split(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = operand(g, op, 0);
	int64_t *parts, at = 0;
	unsigned axis;
	int r = split_read(g, op, &axis, &parts);
	(void)d;

	if (r)
		return r;
	for (unsigned i = 0; i < op->outs; at += parts[i++])
		if (op->out[i] && parts[i])
			build_becomes(g, op->out[i], build_slice1(&b, x, axis, at, parts[i]));
	free(parts);
	return 0;
}

static void slice_axis(int64_t n, int64_t start, int64_t end, int64_t step, struct slice_spec *s,
		       int a)
{
	int64_t lo = step < 0 ? -1 : 0, hi = step < 0 ? n - 1 : n, count;

	start += start < 0 ? n : 0;
	end += end < 0 ? n : 0;
	start = start < 0 ? 0 : start > hi ? hi : start;
	end = end < lo ? lo : end > hi ? hi : end;
	count = step > 0 ? (end - start) / step + ((end - start) % step > 0)
			 : (start - end) / -step + ((start - end) % -step > 0);
	s->start[a] = start;
	s->step[a] = step;
	s->dim[a] = count > 0 ? count : 0;
}

int slice_read(struct ir_graph *g, struct ir_op *op, struct slice_spec *s)
{
	const struct ir_value *x = op->in[0];
	int64_t *list[4] = { 0 }; /* starts, ends, axes, steps */
	static const char *const name[4] = { "starts", "ends", "axes", "steps" };
	size_t n[4];
	int r = 0, a;

	for (unsigned i = 0; i < x->rank; i++) {
		s->start[i] = 0;
		s->step[i] = 1;
		s->dim[i] = x->dim[i];
	}
	for (unsigned i = 0; i < 4 && !r; i++)
		r = onnx_list(g, op, name[i], i + 1, &list[i], &n[i]);
	if (!r && (!list[0] || n[0] != n[1] || (list[2] && n[2] != n[0]) ||
		   (list[3] && n[3] != n[0]) || n[0] > x->rank))
		r = onnx_fail(g, op, MICA_ERR_SHAPE,
			      "starts, ends, axes and steps differ in length or exceed the rank; "
			      "check the model");
	for (size_t i = 0; !r && i < n[0]; i++) {
		int64_t step = list[3] ? list[3][i] : 1;

		a = onnx_axis(g, op, list[2] ? list[2][i] : (int64_t)i, x->rank);
		if (a < 0)
			r = a;
		else if (step == 0 || step == INT64_MIN)
			r = onnx_fail(g, op, MICA_ERR_SHAPE, "step is zero; check the model");
		else if (x->dim[a])
			slice_axis(x->dim[a], list[0][i], list[1][i], step, s, a);
	}
	for (unsigned i = 0; i < 4; i++)
		free(list[i]);
	return r;
}

static int infer_slice(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct slice_spec s;
	(void)d;

	if (slice_read(g, op, &s))
		return -(int)g->err->code;
	return onnx_out(g, op, 0, op->in[0]->dtype, op->in[0]->rank, s.dim);
}

static int canon_slice(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct slice_spec s;
	(void)d;

	if (slice_read(g, op, &s))
		return -(int)g->err->code;
	build_becomes(g, op->out[0], build_slice(&b, operand(g, op, 0), s.start, s.step, s.dim));
	return 0;
}

/* ---- Pad ---- */

struct pad_spec {
	int64_t lo[IR_MAX_RANK], hi[IR_MAX_RANK];
};

static int pad_read(struct ir_graph *g, struct ir_op *op, struct pad_spec *p)
{
	unsigned rank = op->in[0]->rank;
	int64_t *pads, *axes = NULL;
	size_t n, naxes;
	int r;

	memset(p, 0, sizeof(*p));
	r = onnx_list(g, op, "pads", 1, &pads, &n);
	if (!r)
		r = onnx_list(g, op, "axes", 3, &axes, &naxes);
	if (!r && !axes)
		naxes = rank;
	if (!r && (n != 2 * naxes || naxes > rank))
		r = onnx_fail(g, op, MICA_ERR_SHAPE,
			      "pads has %zu entries for %zu axes; check the model", n, naxes);
	for (size_t i = 0; !r && i < naxes; i++) {
		int a = onnx_axis(g, op, axes ? axes[i] : (int64_t)i, rank);
		int64_t most = IR_MAX_ELEMENTS;

		if (a < 0) {
			r = a;
		} else if (pads[i] < -most || pads[i] > most || pads[naxes + i] < -most ||
			   pads[naxes + i] > most) {
			r = onnx_fail(g, op, MICA_ERR_SHAPE,
				      "padding is too large; check the model");
		} else {
			p->lo[a] = pads[i];
			p->hi[a] = pads[naxes + i];
		}
	}
	free(pads);
	free(axes);
	return r;
}

static int infer_pad(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[IR_MAX_RANK];
	struct pad_spec p;
	(void)d;

	if (pad_read(g, op, &p))
		return -(int)g->err->code;
	for (unsigned i = 0; i < x->rank; i++)
		dim[i] = x->dim[i] + p.lo[i] + p.hi[i];
	return onnx_out(g, op, 0, x->dtype, x->rank, dim);
}

#define MOST_ROUNDS 1024

/* The axis goes round and round: `lo` elements in front, `hi` behind. */
static struct ir_value *wrap(struct build *b, struct ir_value *x, unsigned axis, int64_t lo, int64_t hi)
{
	int64_t len = x->dim[axis], n = lo + len + hi, *at;
	struct ir_value *y;

	if (n == len)
		return x;
	at = ir_alloc((size_t)n, sizeof(*at));
	for (int64_t i = 0; i < n; i++)
		at[i] = ((i - lo) % len + len) % len;
	y = expr_take(b, x, axis, at, n);
	free(at);
	return y;
}

/* n elements beside the edge of one axis: mirrored without the edge itself, or the edge repeated. */
static struct ir_value *border(struct build *b, struct ir_value *x, unsigned axis, bool behind,
			       int64_t n, char mode)
{
	int64_t start[IR_MAX_RANK] = { 0 }, step[IR_MAX_RANK], dim[IR_MAX_RANK], len = x->dim[axis];

	for (unsigned i = 0; i < x->rank; i++) {
		step[i] = 1;
		dim[i] = x->dim[i];
	}
	if (mode == 'e') {
		x = build_slice1(b, x, axis, behind ? len - 1 : 0, 1);
		dim[axis] = n;
		return build_expand(b, x, x->rank, dim);
	}
	start[axis] = behind ? len - 2 : n;
	step[axis] = -1;
	dim[axis] = n;
	return build_slice(b, x, start, step, dim);
}

static int pad_border(struct build *b, struct ir_op *op, struct ir_value **x,
		      const struct pad_spec *p, char mode)
{
	for (unsigned a = 0; a < (*x)->rank; a++) {
		struct ir_value *part[3];
		unsigned n = 0;
		int64_t room = mode == 'r' ? (*x)->dim[a] - 1 : INT64_MAX;

		if (mode == 'w') {
			if ((*x)->dim[a] < 1 || (p->lo[a] + p->hi[a]) / MOST_ROUNDS > (*x)->dim[a])
				return onnx_fail(b->g, op, MICA_ERR_UNSUPPORTED, "padding wraps axis %u around more than %d times; pad by less", a,
						 MOST_ROUNDS);
			*x = wrap(b, *x, a, p->lo[a], p->hi[a]);
			continue;
		}
		if (p->lo[a] > room || p->hi[a] > room)
			return onnx_fail(
				b->g, op, MICA_ERR_UNSUPPORTED,
				"padding of axis %u is wider than the operand; pad by less", a);
		if (p->lo[a] > 0)
			part[n++] = border(b, *x, a, false, p->lo[a], mode);
		part[n++] = *x;
		if (p->hi[a] > 0)
			part[n++] = border(b, *x, a, true, p->hi[a], mode);
		*x = build_concat(b, part, n, a);
	}
	return 0;
}

static int canon_pad(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = operand(g, op, 0);
	struct pad_spec p;
	float value = 0;
	bool have;
	(void)d;

	if (pad_read(g, op, &p) || onnx_scalar(g, op, "value", 2, &value, &have))
		return -(int)g->err->code;
	for (unsigned i = 0; i < x->rank; i++) { /* negative padding cuts */
		int64_t lo = p.lo[i] < 0 ? -p.lo[i] : 0, hi = p.hi[i] < 0 ? -p.hi[i] : 0;

		if (lo + hi >= x->dim[i])
			return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
					 "negative padding removes all of axis %u; check the model",
					 i);
		x = build_slice1(&b, x, i, lo, x->dim[i] - lo - hi);
		p.lo[i] = p.lo[i] < 0 ? 0 : p.lo[i];
		p.hi[i] = p.hi[i] < 0 ? 0 : p.hi[i];
	}
	if (onnx_is(op, "mode", "constant", "constant")) {
		if (isnan(value))
			return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
					 "padding with NaN is not supported; pad with a number");
		x = build_pad(&b, x, p.lo, p.hi, value);
	} else if (pad_border(&b, op, &x, &p,
			      onnx_is(op, "mode", "edge", "")	? 'e'
			      : onnx_is(op, "mode", "wrap", "") ? 'w'
								: 'r')) {
		return -(int)g->err->code;
	}
	build_becomes(g, op->out[0], x);
	return 0;
}

/* ---- Expand, Tile ---- */

static int infer_expand(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[IR_MAX_RANK], *list;
	unsigned rank;
	size_t n;
	int r = 0;
	(void)d;

	if (onnx_list(g, op, "shape", 1, &list, &n))
		return -(int)g->err->code;
	rank = x->rank > n ? x->rank : (unsigned)(n > IR_MAX_RANK ? IR_MAX_RANK + 1 : n);
	for (unsigned i = 0; i < rank && rank <= IR_MAX_RANK && !r; i++) {
		int64_t p = i + x->rank >= rank ? x->dim[i + x->rank - rank] : 1,
			q = i + n >= rank ? list[i + n - rank] : 1;

		if (p != q && p != 1 && q != 1)
			r = onnx_fail(g, op, MICA_ERR_SHAPE,
				      "extent %lld cannot be expanded to %lld; check the model",
				      (long long)p, (long long)q);
		dim[i] = p == 1 ? q : p;
	}
	free(list);
	return r ? r : onnx_out(g, op, 0, x->dtype, rank, dim);
}

static int canon_expand(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *y = op->out[0];
	(void)d;

	build_becomes(g, y, build_expand(&b, operand(g, op, 0), y->rank, y->dim));
	return 0;
}

static int infer_tile(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[IR_MAX_RANK], *list;
	size_t n;
	int r = 0;
	(void)d;

	if (onnx_list(g, op, "repeats", 1, &list, &n))
		return -(int)g->err->code;
	if (n != x->rank)
		r = onnx_fail(g, op, MICA_ERR_SHAPE,
			      "repeats has %zu entries for %u axes; check the model", n, x->rank);
	for (unsigned i = 0; i < x->rank && !r; i++)
		if (list[i] < 0 || __builtin_mul_overflow(x->dim[i], list[i], &dim[i]))
			r = onnx_fail(g, op, MICA_ERR_SHAPE, "repeats holds %lld; check the model",
				      (long long)list[i]);
	free(list);
	return r ? r : onnx_out(g, op, 0, x->dtype, x->rank, dim);
}

static int canon_tile(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = operand(g, op, 0), *y = op->out[0];
	(void)d;

	for (unsigned a = 0; a < y->rank; a++) { /* [front, 1, rest] to [front, times, rest] */
		int64_t times = y->dim[a] / x->dim[a], dim[IR_MAX_RANK], three[3] = { 1, 1, 1 };

		if (times == 1)
			continue;
		memcpy(dim, x->dim, sizeof(dim));
		dim[a] = y->dim[a];
		for (unsigned i = 0; i < x->rank; i++)
			three[i < a ? 0 : 2] *= x->dim[i];
		x = build_reshape(&b, x, 3, three);
		three[1] = times;
		x = build_reshape(&b, build_expand(&b, x, 3, three), y->rank, dim);
	}
	build_becomes(g, y, x);
	return 0;
}

/* ---- Gather: a few constant indices are slices, others are looked up by the host ---- */

#define MOST_SLICES 4096

static int infer_gather(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *idx = op->in[1];
	int axis = onnx_axis(g, op, onnx_int(op, "axis", 0), x->rank);
	int64_t dim[2 * IR_MAX_RANK];
	unsigned n = 0;
	(void)d;

	if (axis < 0)
		return axis;
	for (unsigned i = 0; i < x->rank; i++) {
		if ((int)i != axis)
			dim[n++] = x->dim[i];
		for (unsigned k = 0; (int)i == axis && k < idx->rank; k++)
			dim[n++] = idx->dim[k];
	}
	return onnx_out(g, op, 0, x->dtype, n, dim);
}

static int canon_gather(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = operand(g, op, 0), *idx = op->in[1], *y = op->out[0], **part;
	int axis = onnx_axis(g, op, onnx_int(op, "axis", 0), x->rank);
	int64_t n = ir_elements(idx), *at;
	unsigned parts = 0;
	(void)d;

	if (!idx->data || idx->dtype != IR_I64 || n > MOST_SLICES) {
		struct ir_value *in[2] = { x, operand(g, op, 1) };
		struct ir_op *h = build_host(&b, MICA_HOST_GATHER, in, 2, y->rank, y->dim);

		h->a.host_int[0] = axis;
		build_becomes(g, y, h->out[0]);
		return 0;
	}
	part = ir_alloc((size_t)n, sizeof(*part));
	at = ir_alloc((size_t)n, sizeof(*at));
	for (int64_t i = 0; i < n; i++) {
		at[i] = ((int64_t *)idx->data)[i];
		at[i] += at[i] < 0 ? x->dim[axis] : 0;
		if (at[i] < 0 || at[i] >= x->dim[axis]) {
			onnx_fail(g, op, MICA_ERR_SHAPE,
				  "index %lld is outside 0..%lld; check the model",
				  (long long)at[i], (long long)x->dim[axis] - 1);
			goto out;
		}
	}
	for (int64_t i = 0, k; i < n; i = k) { /* runs of neighbours are one slice */
		for (k = i + 1; k < n && at[k] == at[k - 1] + 1; k++)
			;
		part[parts++] = build_slice1(&b, x, (unsigned)axis, at[i], k - i);
	}
	build_becomes(
		g, y,
		build_reshape(&b, build_concat(&b, part, parts, (unsigned)axis), y->rank, y->dim));
out:
	free(part);
	free(at);
	return -(int)g->err->code;
}

const struct onnx_def onnx_move_ops[] = {
	{ "Concat", 0, 1, 0, infer_concat, fold_concat, canon_concat },
	{ "Split", 0, 1, 2, infer_split, fold_split, canon_split },
	{ "Slice", 0, 1, 5, infer_slice, fold_slice, canon_slice },
	{ "Pad", 0, 1, 4, infer_pad, NULL, canon_pad },
	{ "Expand", 0, 2, 2, infer_expand, fold_expand, canon_expand },
	{ "Tile", 0, 2, 2, infer_tile, fold_tile, canon_tile },
	{ "Gather", 0, 2, 2, infer_gather, fold_gather, canon_gather },
	{ 0 },
};
