// SPDX-License-Identifier: MIT
/* Lowering: boxes, what each operator needs of its operands, how it may be cut, and the dispatch. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "backend.h"

#define DIM_MAX 65535

int be_op_err(struct ir_graph *g, const struct ir_op *op, enum mica_err_code code, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return mica_err_set(g->err, code, "%s: node '%s' (%s): %s", g->name, op->name,
			    op->onnx_type ? op->onnx_type : ir_kind_name(op->kind), text);
}

/* ---- boxes ---- */

struct be_box be_whole(const struct ir_value *v)
{
	struct be_box b = { 0 };

	memcpy(b.len, v->dim, v->rank * sizeof(*v->dim));
	return b;
}

bool be_empty(const struct be_box *b, unsigned rank)
{
	for (unsigned i = 0; i < rank; i++)
		if (b->len[i] <= 0)
			return true;
	return false;
}

int64_t be_volume(const struct be_box *b, unsigned rank)
{
	int64_t n = 1;

	for (unsigned i = 0; i < rank; i++)
		n *= b->len[i];
	return n;
}

bool be_same_box(const struct be_box *a, const struct be_box *b, unsigned rank)
{
	return !memcmp(a->at, b->at, rank * sizeof(*a->at)) && !memcmp(a->len, b->len, rank * sizeof(*a->len));
}

void be_dense(const struct ir_value *v, const int64_t *len, int64_t *stride)
{
	int64_t s = (int64_t)ir_dtype_size(v->dtype);

	for (unsigned i = v->rank; i-- > 0; s *= len[i])
		stride[i] = s;
}

uint64_t be_at(const struct be_view *v, const struct be_box *b, unsigned rank)
{
	int64_t off = 0;

	for (unsigned i = 0; i < rank; i++)
		off += b->at[i] * v->stride[i];
	return be_addr_add(v->addr, off);
}

/* ---- operators ---- */

bool be_is_move(const struct ir_op *op)
{
	switch (op->kind) {
	case IR_CONCAT: case IR_SLICE: case IR_TRANSPOSE: case IR_RESHAPE: case IR_PAD: case IR_EXPAND:
	case IR_HOST:		/* not by COPY, but from anywhere to anywhere, untiled, as well */
		return true;
	default:
		return false;
	}
}

bool be_is_dwconv(const struct ir_op *op)
{
	return op->kind == IR_CONV && op->a.groups > 1 && op->a.groups == op->in[0]->dim[3] &&
	       op->a.groups == op->out[0]->dim[3];
}

bool be_streams(const struct ir_op *op, unsigned i)
{
	switch (op->kind) {
	case IR_CONV: return i == 1 || i == 2 || i == 4;
	case IR_LUT: return i == 1;
	case IR_NORM: return i >= 1;
	default: return false;
	}
}

/* Rows that output rows [at, at + len) of a window read, clipped to the input; never none. */
static void window(int64_t at, int64_t len, int stride, int dil, int k, int pad, int64_t size, int64_t *iat, int64_t *ilen)
{
	int64_t lo = at * stride - pad, hi = (at + len - 1) * stride - pad + (int64_t)(k - 1) * dil + 1;

	lo = lo < 0 ? 0 : lo > size - 1 ? size - 1 : lo;
	hi = hi > size ? size : hi <= lo ? lo + 1 : hi;
	*iat = lo;
	*ilen = hi - lo;
}

static void need_window(const struct ir_op *op, const struct be_box *out, struct be_box *in)
{
	const struct ir_attr *a = &op->a;
	const struct ir_value *x = op->in[0];

	*in = *out;
	window(out->at[1], out->len[1], a->stride_h, a->dil_h ? a->dil_h : 1, a->kh, a->pad_top, x->dim[1], &in->at[1], &in->len[1]);
	window(out->at[2], out->len[2], a->stride_w, a->dil_w ? a->dil_w : 1, a->kw, a->pad_left, x->dim[2], &in->at[2], &in->len[2]);
}

static void need_conv(const struct ir_op *op, unsigned i, const struct be_box *out, struct be_box *in)
{
	int64_t groups = op->a.groups, cin = op->in[0]->dim[3] / groups, cout = op->out[0]->dim[3] / groups;

	if (i == 3) {
		*in = *out;
		return;
	}
	need_window(op, out, in);
	in->at[3] = out->at[3] / cout * cin;
	in->len[3] = ((out->at[3] + out->len[3] - 1) / cout + 1) * cin - in->at[3];
}

static void need_matmul(const struct ir_op *op, unsigned i, const struct be_box *out, struct be_box *in)
{
	const struct ir_value *v = op->in[i], *y = op->out[0];
	unsigned r = v->rank, skip = y->rank - r;
	bool trans = i == 0 ? op->a.trans_a : op->a.trans_b;

	for (unsigned d = 0; d < r; d++) {
		bool one = v->dim[d] == 1 && y->dim[d + skip] != 1;

		in->at[d] = one ? 0 : out->at[d + skip];
		in->len[d] = one ? 1 : out->len[d + skip];
	}
	if (i == 2)
		return;
	/* the k axis whole, the other from the output */
	unsigned k = (i == 0) != trans ? r - 1 : r - 2, other = 2 * r - 3 - k;
	unsigned from = i == 0 ? y->rank - 2 : y->rank - 1;

	in->at[k] = 0;
	in->len[k] = v->dim[k];
	in->at[other] = out->at[from];
	in->len[other] = out->len[from];
}

static void need_broadcast(const struct ir_op *op, unsigned i, const struct be_box *out, struct be_box *in)
{
	const struct ir_value *v = ir_op_in(op, i), *y = op->out[0];

	for (unsigned d = 0; d < v->rank; d++) {
		unsigned o = d + y->rank - v->rank;

		in->at[d] = v->dim[d] == 1 ? 0 : out->at[o];
		in->len[d] = v->dim[d] == 1 ? 1 : out->len[o];
	}
}

static void taps_range(const struct mica_resize_tap *t, int64_t at, int64_t len, int64_t *iat, int64_t *ilen)
{
	int64_t lo = t[at].i0, hi = lo;

	for (int64_t i = at; i < at + len; i++) {
		int64_t a = t[i].i0 < t[i].i1 ? t[i].i0 : t[i].i1, b = t[i].i0 < t[i].i1 ? t[i].i1 : t[i].i0;

		lo = a < lo ? a : lo;
		hi = b > hi ? b : hi;
	}
	*iat = lo;
	*ilen = hi - lo + 1;
}

static void need_slice(const struct ir_op *op, const struct be_box *out, struct be_box *in)
{
	for (unsigned d = 0; d < op->out[0]->rank; d++) {
		int64_t a = op->a.start[d] + out->at[d] * op->a.step[d], b = a + (out->len[d] - 1) * op->a.step[d];

		in->at[d] = a < b ? a : b;
		in->len[d] = (a < b ? b - a : a - b) + 1;
	}
}

/* The part of `out` that lies in [lo, lo + size) of axis d, moved to start there; an empty box has len 0. */
static void clip_axis(struct be_box *b, unsigned d, int64_t lo, int64_t size)
{
	int64_t end = b->at[d] + b->len[d], from = b->at[d] > lo ? b->at[d] : lo;

	end = end < lo + size ? end : lo + size;
	b->at[d] = from - lo;
	b->len[d] = end > from ? end - from : 0;
}

static void need_move(const struct ir_op *op, unsigned i, const struct be_box *out, struct be_box *in)
{
	const struct ir_value *x = ir_op_in(op, i);
	int64_t at = 0;

	switch (op->kind) {
	case IR_TRANSPOSE:
		for (unsigned d = 0; d < x->rank; d++) {
			in->at[op->a.perm[d]] = out->at[d];
			in->len[op->a.perm[d]] = out->len[d];
		}
		return;
	case IR_SLICE:
		need_slice(op, out, in);
		return;
	case IR_CONCAT:
		*in = *out;
		for (unsigned j = 0; j < i; j++)
			at += ir_op_in(op, j)->dim[op->a.axis];
		clip_axis(in, op->a.axis, at, x->dim[op->a.axis]);
		return;
	case IR_PAD:
		*in = *out;
		for (unsigned d = 0; d < x->rank; d++)
			clip_axis(in, d, op->a.start[d], x->dim[d]);
		return;
	case IR_EXPAND:
		need_broadcast(op, i, out, in);
		return;
	default:			/* RESHAPE: leading axes that it keeps keep their range */
		*in = be_whole(x);
		for (unsigned d = 0; d < x->rank && d < op->out[0]->rank && x->dim[d] == op->out[0]->dim[d]; d++) {
			in->at[d] = out->at[d];
			in->len[d] = out->len[d];
		}
	}
}

void be_need(const struct ir_op *op, unsigned i, const struct be_box *out, struct be_box *in)
{
	const struct ir_value *x = ir_op_in(op, i);

	memset(in, 0, sizeof(*in));
	switch (op->kind) {
	case IR_CONV:
		need_conv(op, i, out, in);
		break;
	case IR_MATMUL:
		need_matmul(op, i, out, in);
		break;
	case IR_POOL:
		need_window(op, out, in);
		break;
	case IR_RESIZE:
		*in = *out;
		taps_range(op->a.taps_h, out->at[1], out->len[1], &in->at[1], &in->len[1]);
		taps_range(op->a.taps_w, out->at[2], out->len[2], &in->at[2], &in->len[2]);
		break;
	case IR_BINARY: case IR_WHERE: case IR_UNARY: case IR_LUT: case IR_SOFTMAX: case IR_NORM:
		need_broadcast(op, i, out, in);
		break;
	case IR_REDUCE:
		*in = *out;
		for (unsigned d = 0; d < x->rank; d++) {
			if (!(op->a.axes >> d & 1))
				continue;
			in->at[d] = 0;
			in->len[d] = x->dim[d];
		}
		break;
	case IR_HOST:
		*in = be_whole(x);
		break;
	default:
		need_move(op, i, out, in);
	}
}

void be_granules(const struct ir_op *op, int64_t gran[IR_MAX_RANK])
{
	unsigned r = op->out[0]->rank;

	for (unsigned i = 0; i < IR_MAX_RANK; i++)
		gran[i] = 1;
	switch (op->kind) {
	case IR_CONV:
		gran[3] = op->a.groups == 1 || be_is_dwconv(op) ? MICA_CH_BLOCK : op->out[0]->dim[3] / op->a.groups;
		break;
	case IR_MATMUL:
		gran[r - 1] = MICA_CH_BLOCK;
		break;
	case IR_SOFTMAX: case IR_NORM:
		gran[r - 1] = 0;
		break;
	case IR_RESHAPE:
		memset(gran, 0, sizeof(*gran) * IR_MAX_RANK);
		break;
	default:
		break;
	}
}

/* ---- the limits of the packets' fields ---- */

static uint64_t op_work(const struct ir_op *op, const struct be_box *box)
{
	uint64_t n = (uint64_t)be_volume(box, op->out[0]->rank);
	struct be_box in;

	switch (op->kind) {
	case IR_CONV:
		return n * (uint64_t)(ir_elements(op->in[1]) / op->in[1]->dim[0]);
	case IR_POOL:
		return n * (uint64_t)op->a.kh * (uint64_t)op->a.kw;
	case IR_MATMUL:
		return n * (uint64_t)op->in[0]->dim[op->in[0]->rank - (op->a.trans_a ? 2 : 1)];
	case IR_REDUCE:
		be_need(op, 0, box, &in);
		return (uint64_t)be_volume(&in, op->in[0]->rank);
	default:
		return n;
	}
}

static bool fields_hold(const struct ir_op *op, const struct be_box *box, unsigned *axis)
{
	struct be_box in;
	uint64_t work = op_work(op, box);
	unsigned r = op->out[0]->rank;

	*axis = 0;
	if (work > 1ull << 39) {		/* half of what the validator accepts: epilogue and the like count too */
		while (*axis + 1 < r && box->len[*axis] == 1)
			++*axis;
		return false;
	}
	if (op->kind == IR_MATMUL) {
		for (*axis = 0; *axis + 2 < r; ++*axis)
			if (box->len[*axis] > DIM_MAX)
				return false;
		return true;
	}
	if (op->kind != IR_CONV && op->kind != IR_POOL && op->kind != IR_RESIZE)
		return true;
	be_need(op, 0, box, &in);
	for (*axis = 0; *axis < 4; ++*axis)
		if (box->len[*axis] > DIM_MAX || in.len[*axis] > DIM_MAX)
			return false;
	return true;
}

bool be_fit_fields(const struct ir_op *op, struct be_box *box)
{
	int64_t gran[IR_MAX_RANK];
	unsigned axis;

	be_granules(op, gran);
	while (!fields_hold(op, box, &axis)) {
		int64_t g = gran[axis], half = (box->len[axis] + 1) / 2;

		if (!g || box->len[axis] <= g)
			return false;
		half = (half + g - 1) / g * g;
		box->len[axis] = half < box->len[axis] ? half : box->len[axis] - 1;
	}
	return true;
}

/* ---- packets and operands ---- */

union mica_pkt *be_packet(struct be_packets *l, enum mica_opcode op, unsigned layer)
{
	static const uint8_t units[256] = {
#define OP(code, UP, low, packet, engine) [code] = sizeof(struct mica_pkt_##packet) / MICA_PKT_ALIGN,
		MICA_OPS(OP)
#undef OP
	};
	union mica_pkt *p;

	l->pkt = ir_grow(l->pkt, &l->cap, l->count + 1, sizeof(*l->pkt));
	p = &l->pkt[l->count++];
	memset(p, 0, sizeof(*p));
	p->hdr.opcode = op;
	p->hdr.units = units[op];
	p->hdr.layer = (uint16_t)layer;
	return p;
}

void be_operand(struct mica_view *mv, const struct ir_value *v, const struct be_view *bv, bool dst)
{
	memset(mv, 0, sizeof(*mv));
	mv->addr = (uint32_t)MICA_ADDR_OFF(bv->addr);
	mv->dtype = (uint8_t)v->dtype;
	if (v->dtype == MICA_I8)
		mv->zero = (int8_t)v->zero;
	if (v->dtype == MICA_U8)
		mv->zero = (int8_t)(v->zero - 128);
	mv->scale = dst ? 1.0f / v->scale : v->scale;
	for (unsigned i = 0; i < v->rank && v->rank <= 4; i++)
		mv->stride[i + 4 - v->rank] = (uint32_t)bv->stride[i];
}

/* Drops axes of extent 1 and merges neighbours wherever every operand's strides allow it; returns the axes that are left. */
unsigned be_merge(unsigned rank, const int64_t *len, unsigned n, const int64_t *const *stride, int64_t *olen,
		  int64_t (*ostride)[BE_MAX_AXES])
{
	unsigned r = 0;

	for (unsigned d = 0; d < rank; d++) {
		bool merge = r > 0;

		if (len[d] == 1)
			continue;
		for (unsigned k = 0; k < n && merge; k++)
			merge = ostride[k][r - 1] == len[d] * stride[k][d];
		r -= merge;
		olen[r] = merge ? olen[r] * len[d] : len[d];
		for (unsigned k = 0; k < n; k++)
			ostride[k][r] = stride[k][d];
		r++;
	}
	return r;
}

/* ---- dispatch ---- */

int be_lower_op(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_view *in,
		const struct be_view *out)
{
	switch (op->kind) {
	case IR_CONV:
		return be_lower_conv(l, op, box, in, out);
	case IR_MATMUL:
		return be_lower_matmul(l, op, box, in, out);
	default:
		return be_lower_vec(l, op, box, in, out);
	}
}
