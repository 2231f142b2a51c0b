// SPDX-License-Identifier: MIT
/* Lowering of the operators that only move codes: views instead of copies where strides can say it, else COPY and FILL. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "backend.h"

/* ---- views ---- */

bool be_restride(unsigned from_rank, const int64_t *from, const int64_t *stride, unsigned to_rank, const int64_t *to,
		 int64_t elem, int64_t *out)
{
	int64_t len[BE_MAX_AXES], s[1][BE_MAX_AXES], left;
	const int64_t *one[1] = { stride };
	unsigned r = be_merge(from_rank, from, 1, one, len, s), f = r;

	left = 1;
	for (unsigned d = to_rank; d-- > 0;) {
		if (to[d] == 1) {	/* never stepped along; a plausible stride all the same */
			out[d] = d + 1 < to_rank ? out[d + 1] * to[d + 1] : elem;
			continue;
		}
		if (left == 1) {
			if (!f)
				return false;
			left = len[--f];
		}
		if (left % to[d])
			return false;
		out[d] = s[0][f];
		s[0][f] *= to[d];
		left /= to[d];
	}
	return true;
}

bool be_view_of_in(const struct ir_op *op, const struct be_view *in, struct be_view *out)
{
	const struct ir_value *x = op->in[0], *y = op->out[0];

	memset(out, 0, sizeof(*out));
	out->addr = in->addr;
	switch (op->kind) {
	case IR_TRANSPOSE:
		for (unsigned d = 0; d < y->rank; d++)
			out->stride[d] = in->stride[op->a.perm[d]];
		return true;
	case IR_SLICE:
		for (unsigned d = 0; d < y->rank; d++) {
			out->addr = be_addr_add(out->addr, op->a.start[d] * in->stride[d]);
			out->stride[d] = in->stride[d] * op->a.step[d];
		}
		return true;
	case IR_RESHAPE:
		return be_restride(x->rank, x->dim, in->stride, y->rank, y->dim, (int64_t)ir_dtype_size(x->dtype), out->stride);
	case IR_EXPAND:
		for (unsigned d = 0; d < x->rank; d++) {
			unsigned o = d + y->rank - x->rank;

			out->stride[o] = x->dim[d] == 1 && y->dim[o] != 1 ? 0 : in->stride[d];
		}
		return true;
	default:
		return false;
	}
}

bool be_view_of_out(const struct ir_op *op, unsigned i, const struct be_view *out, struct be_view *in)
{
	const struct ir_value *x = ir_op_in(op, i), *y = op->out[0];

	memset(in, 0, sizeof(*in));
	in->addr = out->addr;
	memcpy(in->stride, out->stride, sizeof(in->stride));
	switch (op->kind) {
	case IR_TRANSPOSE:
		for (unsigned d = 0; d < y->rank; d++)
			in->stride[op->a.perm[d]] = out->stride[d];
		return true;
	case IR_RESHAPE:
		return be_restride(y->rank, y->dim, out->stride, x->rank, x->dim, (int64_t)ir_dtype_size(x->dtype), in->stride);
	case IR_CONCAT:
		for (unsigned j = 0; j < i; j++)
			in->addr = be_addr_add(in->addr, ir_op_in(op, j)->dim[op->a.axis] * out->stride[op->a.axis]);
		return true;
	case IR_PAD:
		for (unsigned d = 0; d < y->rank; d++) {
			if (op->a.start[d] < 0 || op->a.end[d] < 0)
				return false;
			in->addr = be_addr_add(in->addr, op->a.start[d] * out->stride[d]);
		}
		return true;
	default:
		return false;
	}
}

/* ---- copies ---- */

static bool fits32(int64_t v)
{
	return v >= -INT_MAX && v <= INT_MAX;
}

/* Axes that one packet can take; the others are walked. */
static void copy_axes(struct be_lower *l, uint64_t src, const int64_t *ss, uint64_t dst, const int64_t *ds, unsigned rank,
		      const int64_t *len, unsigned elem)
{
	struct mica_pkt_copy *p;
	bool walk = rank > 4;

	for (unsigned d = 0; d < rank && !walk; d++)
		walk = !fits32(ss[d]) || !fits32(ds[d]) || !fits32(len[d]);
	if (walk && rank) {
		for (int64_t i = 0; i < len[0]; i++)
			copy_axes(l, be_addr_add(src, i * ss[0]), ss + 1, be_addr_add(dst, i * ds[0]), ds + 1, rank - 1, len + 1, elem);
		return;
	}
	p = &be_packet(l->out, MICA_OP_COPY, l->layer)->copy;
	p->src = src;
	p->dst = dst;
	p->elem = elem;
	for (unsigned d = 0; d < 4; d++) {
		unsigned skip = 4 - rank;

		p->dim[d] = d < skip ? 1 : (__u32)len[d - skip];
		p->src_stride[d] = d < skip ? 0 : (__s32)ss[d - skip];
		p->dst_stride[d] = d < skip ? 0 : (__s32)ds[d - skip];
	}
}

void be_lower_copy(struct be_lower *l, uint64_t src, const int64_t *sstride, uint64_t dst, const int64_t *dstride,
		   unsigned rank, const int64_t *len, unsigned elem)
{
	int64_t mlen[BE_MAX_AXES + 1], s[2][BE_MAX_AXES];
	const int64_t *stride[2] = { sstride, dstride };
	unsigned r;

	for (unsigned d = 0; d < rank; d++)
		if (len[d] <= 0)
			return;
	r = be_merge(rank, len, 2, stride, mlen, s);
	if (r == 1 && mlen[0] > INT_MAX) {	/* one long run: rows of 1 GiB */
		int64_t row = 1 << 30, rest = mlen[0] % row, n = mlen[0] / row;

		copy_axes(l, be_addr_add(src, n * row * s[0][0]), s[0], be_addr_add(dst, n * row * s[1][0]), s[1], 1, &rest, elem);
		for (int64_t i = 0; i < n; i++)
			copy_axes(l, be_addr_add(src, i * row * s[0][0]), s[0], be_addr_add(dst, i * row * s[1][0]), s[1], 1, &row, elem);
		return;
	}
	copy_axes(l, src, s[0], dst, s[1], r, mlen, elem);
}

static void copy_box(struct be_lower *l, const struct ir_value *v, const struct be_view *src, const struct be_box *sb,
		     const struct be_view *dst, const struct be_box *db, unsigned rank)
{
	be_lower_copy(l, be_at(src, sb, rank), src->stride, be_at(dst, db, rank), dst->stride, rank, db->len,
		      (unsigned)ir_dtype_size(v->dtype));
}

/* ---- RESHAPE between layouts that no common strides can express ---- */

static unsigned refine(const struct ir_value *x, const struct ir_value *y, int64_t *dim)
{
	int64_t done = 1, volume = ir_elements(x);
	int64_t rev[BE_MAX_AXES];
	unsigned r = 0;

	while (done < volume) {		/* the next boundary of either shape, counted from the inside */
		int64_t best = volume;

		for (unsigned k = 0; k < 2; k++) {
			const struct ir_value *v = k ? y : x;
			int64_t p = 1;

			for (unsigned d = v->rank; d-- > 0 && p <= done;)
				p *= v->dim[d];
			best = p > done && p < best ? p : best;
		}
		if (best % done || r == BE_MAX_AXES)
			return 0;
		rev[r++] = best / done;
		done = best;
	}
	for (unsigned d = 0; d < r; d++)
		dim[d] = rev[r - 1 - d];
	if (!r)
		dim[r++] = 1;
	return r;
}

static uint64_t linear_at(const struct be_view *v, const struct ir_value *val, int64_t i)
{
	int64_t off = 0;

	for (unsigned d = val->rank; d-- > 0; i /= val->dim[d])
		off += i % val->dim[d] * v->stride[d];
	return be_addr_add(v->addr, off);
}

static bool is_dense(const struct ir_value *v, const struct be_view *bv)
{
	int64_t len[BE_MAX_AXES], s[1][BE_MAX_AXES];
	const int64_t *one[1] = { bv->stride };
	unsigned r = be_merge(v->rank, v->dim, 1, one, len, s);

	return r == 0 || (r == 1 && s[0][0] == (int64_t)ir_dtype_size(v->dtype));
}

static void lower_reshape(struct be_lower *l, const struct ir_value *x, const struct ir_value *y, const struct be_view *in,
			  const struct be_view *out)
{
	int64_t elem = (int64_t)ir_dtype_size(x->dtype), n = ir_elements(x), dim[BE_MAX_AXES], ss[BE_MAX_AXES], ds[BE_MAX_AXES];
	unsigned r;

	if (is_dense(x, in) && is_dense(y, out)) {
		be_lower_copy(l, in->addr, &elem, out->addr, &elem, 1, &n, (unsigned)elem);
		return;
	}
	r = refine(x, y, dim);
	if (r && be_restride(x->rank, x->dim, in->stride, r, dim, elem, ss) && be_restride(y->rank, y->dim, out->stride, r, dim, elem, ds)) {
		be_lower_copy(l, in->addr, ss, out->addr, ds, r, dim, (unsigned)elem);
		return;
	}
	/* Runs that no boundary of either shape cuts. */
	int64_t a = x->dim[x->rank - 1], b = y->dim[y->rank - 1];

	while (b) {
		int64_t t = a % b;

		a = b;
		b = t;
	}
	for (int64_t i = 0; i < n; i += a)
		be_lower_copy(l, linear_at(in, x, i), &in->stride[x->rank - 1], linear_at(out, y, i), &out->stride[y->rank - 1], 1, &a,
			      (unsigned)elem);
}

/* ---- PAD ---- */

static void fill_axes(struct be_lower *l, const struct ir_value *v, uint64_t dst, const int64_t *stride, unsigned rank,
		      const int64_t *len, uint32_t pattern)
{
	struct mica_pkt_fill *p;

	if (rank > 4) {
		for (int64_t i = 0; i < len[0]; i++)
			fill_axes(l, v, be_addr_add(dst, i * stride[0]), stride + 1, rank - 1, len + 1, pattern);
		return;
	}
	p = &be_packet(l->out, MICA_OP_FILL, l->layer)->fill;
	p->dst.addr = (__u32)MICA_ADDR_OFF(dst);
	p->dst.dtype = (__u8)v->dtype;
	p->dst.scale = 1;
	p->pattern = pattern;
	for (unsigned d = 0; d < 4; d++) {
		unsigned skip = 4 - rank;

		p->dim[d] = d < skip ? 1 : (__u32)len[d - skip];
		p->dst.stride[d] = d < skip ? 0 : (__u32)stride[d - skip];
	}
}

static void fill_box(struct be_lower *l, const struct ir_value *v, const struct be_view *dst, const struct be_box *box, uint32_t pattern)
{
	static const int64_t none[BE_MAX_AXES];
	int64_t len[BE_MAX_AXES], s[1][BE_MAX_AXES];
	const int64_t *one[1] = { dst->stride };
	unsigned r, elem = (unsigned)ir_dtype_size(v->dtype);

	if (be_empty(box, v->rank))
		return;
	if (MICA_ADDR_SEG(dst->addr) == MICA_SEG_LMEM) {
		r = be_merge(v->rank, box->len, 1, one, len, s);
		fill_axes(l, v, be_at(dst, box, v->rank), s[0], r, len, pattern);
		return;
	}
	be_lower_copy(l, MICA_ADDR(MICA_SEG_WEIGHTS, be_blob_add(l->blob, &pattern, 4)), none, be_at(dst, box, v->rank),
		      dst->stride, v->rank, box->len, elem);
}

/* The border, axis by axis: in front of and behind the inside, which later axes may not reach beyond. */
static void lower_border(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_view *out)
{
	const struct ir_value *x = op->in[0], *y = op->out[0];
	struct be_box rest = *box, side;
	uint32_t pattern = 0;

	mica_quantize(y->dtype, &op->a.pad_value, &pattern, 1, 1.0f / y->scale, y->zero);
	for (unsigned d = 0; d < y->rank; d++) {
		int64_t lo = op->a.start[d], hi = lo + x->dim[d], end = rest.at[d] + rest.len[d];

		side = rest;
		side.len[d] = (end < lo ? end : lo) - rest.at[d];
		fill_box(l, y, out, &side, pattern);
		side = rest;
		side.at[d] = rest.at[d] > hi ? rest.at[d] : hi;
		side.len[d] = end - side.at[d];
		fill_box(l, y, out, &side, pattern);
		rest.at[d] = rest.at[d] > lo ? rest.at[d] : lo;
		rest.len[d] = (end < hi ? end : hi) - rest.at[d];
		if (rest.len[d] <= 0)
			return;
	}
}

/* ---- dispatch ---- */

int be_lower_move(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_view *in,
		  const struct be_view *out, const bool *skip)
{
	const struct ir_value *y = op->out[0];
	struct be_box sb, db;
	struct be_view v;

	switch (op->kind) {
	case IR_TRANSPOSE: case IR_SLICE: case IR_EXPAND:
		be_view_of_in(op, &in[0], &v);
		copy_box(l, y, &v, box, out, box, y->rank);
		return 0;
	case IR_RESHAPE:
		lower_reshape(l, op->in[0], y, &in[0], out);
		return 0;
	case IR_PAD:
		lower_border(l, op, box, out);
		/* fall through */
	case IR_CONCAT:
		for (unsigned i = 0; i < (op->kind == IR_PAD ? 1 : op->ins); i++) {
			if (skip && skip[i])
				continue;
			be_need(op, i, box, &sb);
			db = sb;
			for (unsigned d = 0; d < y->rank && op->kind == IR_PAD; d++)
				db.at[d] += op->a.start[d];
			for (unsigned j = 0; j < i; j++)
				db.at[op->a.axis] += ir_op_in(op, j)->dim[op->a.axis];
			copy_box(l, y, &in[i], &sb, out, &db, y->rank);
		}
		return 0;
	default:
		return be_op_err(l->g, op, MICA_ERR_INTERNAL, "not an operator that moves data; please report it");
	}
}
