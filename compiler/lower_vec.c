// SPDX-License-Identifier: MIT
/* Lowering of the vector operators: elementwise, tables, pooling, resampling, reductions, softmax, normalization. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "backend.h"

enum { KEY_TAPS_H = 2, KEY_TAPS_W };

/* ---- elementwise ---- */

/* Operands of an elementwise packet: dst first, then the sources, which broadcast where their extent is 1. */
struct elementwise {
	unsigned n;
	struct mica_view *view[4];
	int64_t stride[4][IR_MAX_RANK];
};

static void add_operand(struct elementwise *e, struct mica_view *mv, const struct ir_value *v, const struct be_view *bv, unsigned rank)
{
	be_operand(mv, v, bv, e->n == 0);
	for (unsigned d = 0; d < v->rank; d++)
		e->stride[e->n][d + rank - v->rank] = v->dim[d] == 1 ? 0 : bv->stride[d];
	e->view[e->n++] = mv;
}

/* Brings the operands into as few axes as their strides allow: long inner axes are quick. */
static int squeeze(struct be_lower *l, const struct ir_op *op, struct elementwise *e, const struct be_box *box, __u32 dim[4])
{
	const int64_t *stride[4] = { e->stride[0], e->stride[1], e->stride[2], e->stride[3] };
	int64_t len[BE_MAX_AXES], out[4][BE_MAX_AXES];
	unsigned r = be_merge(op->out[0]->rank, box->len, e->n, stride, len, out);

	if (r > 4)
		return be_op_err(l->g, op, MICA_ERR_UNSUPPORTED, "more than four axes are broadcast or strided");
	for (unsigned d = 0; d < 4; d++) {
		unsigned skip = 4 - r;

		dim[d] = d < skip ? 1 : (__u32)len[d - skip];
		for (unsigned i = 0; i < e->n; i++)
			e->view[i]->stride[d] = d < skip ? 0 : (__u32)out[i][d - skip];
	}
	return 0;
}

static void box4(const struct be_box *box, unsigned rank, int64_t len[4])
{
	for (unsigned d = 0; d < 4; d++)
		len[d] = d + rank < 4 ? 1 : box->len[d + rank - 4];
}

static int lower_binary(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_view *in,
			const struct be_view *out)
{
	struct mica_pkt_binary *p = &be_packet(l->out, MICA_OP_BINARY, l->layer)->binary;
	struct elementwise e = { 0 };
	unsigned rank = op->out[0]->rank;

	add_operand(&e, &p->dst, op->out[0], out, rank);
	add_operand(&e, &p->a, op->in[0], &in[0], rank);
	add_operand(&e, &p->b, op->in[1], &in[1], rank);
	if (op->kind == IR_WHERE)
		add_operand(&e, &p->c, op->in[2], &in[2], rank);
	p->op = (__u8)(op->kind == IR_WHERE ? MICA_BIN_WHERE : op->a.bin);
	p->act = (__u8)op->a.act;
	p->alpha = be_finite(op->a.alpha);
	p->beta = be_finite(op->a.beta);
	return squeeze(l, op, &e, box, p->dim);
}

static int lower_unary(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_view *in,
		       const struct be_view *out)
{
	struct mica_pkt_unary *p = &be_packet(l->out, MICA_OP_UNARY, l->layer)->unary;
	struct elementwise e = { 0 };

	add_operand(&e, &p->dst, op->out[0], out, op->out[0]->rank);
	add_operand(&e, &p->src, op->in[0], &in[0], op->out[0]->rank);
	p->func = op->a.fn;
	p->alpha = be_finite(op->a.alpha);
	p->beta = be_finite(op->a.beta);
	return squeeze(l, op, &e, box, p->dim);
}

static int lower_lut(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_view *in,
		     const struct be_view *out)
{
	struct mica_pkt_lut *p = &be_packet(l->out, MICA_OP_LUT, l->layer)->lut;
	struct elementwise e = { 0 };

	add_operand(&e, &p->dst, op->out[0], out, op->out[0]->rank);
	add_operand(&e, &p->src, op->in[0], &in[0], op->out[0]->rank);
	p->table = MICA_ADDR(MICA_SEG_WEIGHTS, be_blob_const(l->blob, op->in[1]));
	return squeeze(l, op, &e, box, p->dim);
}

/* ---- windows ---- */

static int lower_pool(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_view *in,
		      const struct be_view *out)
{
	struct mica_pkt_pool *p = &be_packet(l->out, MICA_OP_POOL, l->layer)->pool;
	const struct ir_value *x = op->in[0];
	const struct ir_attr *a = &op->a;
	struct be_box ib;
	int64_t pad[4];

	be_need(op, 0, box, &ib);
	be_operand(&p->src, x, &in[0], false);
	be_operand(&p->dst, op->out[0], out, true);
	p->src.stride[3] = (__u32)ir_dtype_size(x->dtype);
	p->dst.stride[3] = (__u32)ir_dtype_size(op->out[0]->dtype);
	pad[0] = a->pad_top + ib.at[1] - box->at[1] * a->stride_h;
	pad[1] = a->pad_left + ib.at[2] - box->at[2] * a->stride_w;
	pad[2] = x->dim[1] + a->pad_bottom - ib.at[1] - ib.len[1];
	pad[3] = x->dim[2] + a->pad_right - ib.at[2] - ib.len[2];
	if (a->pool != MICA_POOL_AVG_PAD)
		pad[2] = pad[3] = 0;
	for (unsigned i = 0; i < 4; i++) {
		pad[i] = i > 1 && pad[i] > SHRT_MAX ? SHRT_MAX : pad[i];
		if (pad[i] < SHRT_MIN || pad[i] > SHRT_MAX)
			return be_op_err(l->g, op, MICA_ERR_UNSUPPORTED, "padding beyond 32767");
	}
	if (a->kh > 65535 || a->kw > 65535 || a->stride_h > 1024 || a->stride_w > 1024 || a->dil_h > 1024 || a->dil_w > 1024)
		return be_op_err(l->g, op, MICA_ERR_UNSUPPORTED, "window (65535), stride or dilation (1024) is too large");
	p->n = (__u32)box->len[0];
	p->in_h = (__u32)ib.len[1];
	p->in_w = (__u32)ib.len[2];
	p->c = (__u32)box->len[3];
	p->out_h = (__u32)box->len[1];
	p->out_w = (__u32)box->len[2];
	p->kh = (__u16)a->kh;
	p->kw = (__u16)a->kw;
	p->stride_h = (__u16)a->stride_h;
	p->stride_w = (__u16)a->stride_w;
	p->dil_h = (__u16)(a->dil_h ? a->dil_h : 1);
	p->dil_w = (__u16)(a->dil_w ? a->dil_w : 1);
	p->pad_top = (__s16)pad[0];
	p->pad_left = (__s16)pad[1];
	p->pad_bottom = (__s16)pad[2];
	p->pad_right = (__s16)pad[3];
	p->op = a->pool;
	return 0;
}

/* Table of output positions [at, at + len), counted from input position `base`. */
static uint64_t taps_of(struct be_lower *l, const struct ir_op *op, int kind, int64_t at, int64_t len, int64_t base)
{
	const struct mica_resize_tap *t = kind == KEY_TAPS_H ? op->a.taps_h : op->a.taps_w;
	struct mica_resize_tap *copy;
	uint64_t off;

	if (be_blob_find(l->blob, op, kind, at, len, &off))
		return MICA_ADDR(MICA_SEG_WEIGHTS, off);
	copy = ir_alloc((size_t)len, sizeof(*copy));
	for (int64_t i = 0; i < len; i++) {
		copy[i].i0 = t[at + i].i0 - (__u32)base;
		copy[i].i1 = t[at + i].i1 - (__u32)base;
		copy[i].w = t[at + i].w;
	}
	off = be_blob_add(l->blob, copy, (size_t)len * sizeof(*copy));
	be_blob_name(l->blob, op, kind, at, len, off);
	free(copy);
	return MICA_ADDR(MICA_SEG_WEIGHTS, off);
}

static int lower_resize(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_view *in,
			const struct be_view *out)
{
	struct mica_pkt_resize *p = &be_packet(l->out, MICA_OP_RESIZE, l->layer)->resize;
	struct be_box ib;

	be_need(op, 0, box, &ib);
	be_operand(&p->src, op->in[0], &in[0], false);
	be_operand(&p->dst, op->out[0], out, true);
	p->src.stride[3] = (__u32)ir_dtype_size(op->in[0]->dtype);
	p->dst.stride[3] = (__u32)ir_dtype_size(op->out[0]->dtype);
	p->n = (__u32)box->len[0];
	p->in_h = (__u32)ib.len[1];
	p->in_w = (__u32)ib.len[2];
	p->c = (__u32)box->len[3];
	p->out_h = (__u32)box->len[1];
	p->out_w = (__u32)box->len[2];
	p->mode = op->a.resize;
	p->taps_h = taps_of(l, op, KEY_TAPS_H, box->at[1], box->len[1], ib.at[1]);
	p->taps_w = taps_of(l, op, KEY_TAPS_W, box->at[2], box->len[2], ib.at[2]);
	return 0;
}

/* ---- reductions ---- */

static int lower_reduce(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_view *in,
			const struct be_view *out)
{
	struct mica_pkt_reduce *p = &be_packet(l->out, MICA_OP_REDUCE, l->layer)->reduce;
	const struct ir_value *x = op->in[0];
	struct be_box ib;
	int64_t len[4];

	be_need(op, 0, box, &ib);
	be_operand(&p->src, x, &in[0], false);
	be_operand(&p->dst, op->out[0], out, true);
	box4(&ib, x->rank, len);
	for (unsigned d = 0; d < 4; d++)
		p->dim[d] = (__u32)len[d];
	p->op = op->a.red;
	p->axes = op->a.axes << (4 - x->rank);
	return 0;
}

static int lower_norm(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_view *in,
		      const struct be_view *out)
{
	bool norm = op->kind == IR_NORM;
	struct mica_pkt_norm *p = &be_packet(l->out, norm ? MICA_OP_NORM : MICA_OP_SOFTMAX, l->layer)->norm;
	const struct ir_value *gamma = norm ? ir_op_in(op, 1) : NULL, *beta = norm ? ir_op_in(op, 2) : NULL;
	int64_t len[4];

	be_operand(&p->src, op->in[0], &in[0], false);
	be_operand(&p->dst, op->out[0], out, true);
	box4(box, op->out[0]->rank, len);
	for (unsigned d = 0; d < 4; d++)
		p->dim[d] = (__u32)len[d];
	p->gamma = gamma ? MICA_ADDR(MICA_SEG_WEIGHTS, be_blob_const(l->blob, gamma)) : MICA_ADDR_NONE;
	p->beta = beta ? MICA_ADDR(MICA_SEG_WEIGHTS, be_blob_const(l->blob, beta)) : MICA_ADDR_NONE;
	p->eps = norm ? be_finite(op->a.eps) : 0;
	return 0;
}

int be_lower_vec(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_view *in,
		 const struct be_view *out)
{
	switch (op->kind) {
	case IR_BINARY: case IR_WHERE:
		return lower_binary(l, op, box, in, out);
	case IR_UNARY:
		return lower_unary(l, op, box, in, out);
	case IR_LUT:
		return lower_lut(l, op, box, in, out);
	case IR_POOL:
		return lower_pool(l, op, box, in, out);
	case IR_RESIZE:
		return lower_resize(l, op, box, in, out);
	case IR_REDUCE:
		return lower_reduce(l, op, box, in, out);
	case IR_SOFTMAX: case IR_NORM:
		return lower_norm(l, op, box, in, out);
	default:
		return be_op_err(l->g, op, MICA_ERR_INTERNAL, "the backend has no rule for this operator; please report it");
	}
}
