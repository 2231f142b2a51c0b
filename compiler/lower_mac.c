// SPDX-License-Identifier: MIT
/* Lowering of the multiply-accumulate operators: CONV (also depthwise) and MATMUL; packed weights and parameters. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "backend.h"

enum { KEY_WEIGHTS, KEY_PARAMS };

/* A convolution cut to output channels [lo, lo + len). */
struct part {
	const struct ir_op *op;
	int64_t lo, len;
	unsigned groups, cout;		/* of the packet; depthwise: one parameter group of `len` channels */
	unsigned kh, kw, cin;
	bool dw;
};

static struct part conv_part(const struct ir_op *op, int64_t lo, int64_t len)
{
	const struct ir_value *w = op->in[1];
	int64_t cout = op->out[0]->dim[3] / op->a.groups;
	struct part p = { .op = op, .lo = lo, .len = len, .kh = (unsigned)w->dim[1], .kw = (unsigned)w->dim[2],
			  .cin = (unsigned)w->dim[3], .dw = be_is_dwconv(op) };

	p.groups = p.dw || len < cout ? 1 : (unsigned)(len / cout);
	p.cout = (unsigned)len / p.groups;
	return p;
}

static uint64_t weights_of(struct be_lower *l, const struct part *p)
{
	const struct ir_value *w = p->op->in[1];
	size_t row = (size_t)p->kh * p->kw * p->cin * ir_dtype_size(w->dtype), size;
	const uint8_t *codes = (const uint8_t *)w->data + (size_t)p->lo * row;
	uint64_t off;
	void *packed;

	if (be_blob_find(l->blob, p->op, KEY_WEIGHTS, p->lo, p->len, &off))
		return MICA_ADDR(MICA_SEG_WEIGHTS, off);
	size = p->dw ? mica_pack_size_dw(w->dtype, (unsigned)p->len, p->kh, p->kw)
		     : mica_pack_size(w->dtype, p->groups, p->cout, p->kh, p->kw, p->cin);
	packed = ir_alloc(1, size);
	if (p->dw)
		mica_pack_dw(w->dtype, (unsigned)p->len, p->kh, p->kw, codes, packed);
	else
		mica_pack(w->dtype, p->groups, p->cout, p->kh, p->kw, p->cin, codes, packed);
	off = be_blob_add(l->blob, packed, size);
	be_blob_name(l->blob, p->op, KEY_WEIGHTS, p->lo, p->len, off);
	free(packed);
	return MICA_ADDR(MICA_SEG_WEIGHTS, off);
}

/* init of one i8 channel; false when the accumulator could leave 32 bits. */
static bool init_of(const struct ir_op *op, int64_t c, int32_t *init)
{
	const struct ir_value *w = op->in[1], *x = op->in[0];
	int64_t k = ir_elements(w) / w->dim[0], sum = 0, abs = 0;
	const int8_t *p = (const int8_t *)w->data + c * k;

	for (int64_t i = 0; i < k; i++) {
		sum += p[i];
		abs += p[i] < 0 ? -p[i] : p[i];
	}
	sum *= -(int64_t)x->zero;
	*init = (int32_t)sum;
	return llabs(sum) + abs * 128 <= INT_MAX;
}

static int params_fill(struct be_lower *l, const struct part *p, uint32_t *words, size_t pad)
{
	const struct ir_value *w = p->op->in[1], *x = p->op->in[0], *bias = ir_op_in(p->op, 2);
	size_t n = pad * p->groups;
	const struct ir_value *shift = ir_op_in(p->op, 4);
	float *scale = (float *)words, *b = (float *)words + n, *s = b + n;
	int32_t *init = (int32_t *)s;

	for (int64_t i = 0; i < p->len; i++) {
		size_t at = (size_t)i / p->cout * pad + (size_t)i % p->cout;

		scale[at] = x->scale * (w->ch_scale ? w->ch_scale[p->lo + i] : w->scale);
		if (bias)
			b[at] = ((const float *)bias->data)[p->lo + i];
		if (shift)
			s[at] = ((const float *)shift->data)[p->lo + i];
		if (w->dtype == MICA_I8 && !init_of(p->op, p->lo + i, &init[at]))
			return be_op_err(l->g, p->op, MICA_ERR_UNSUPPORTED,
					 "the 32-bit accumulator can overflow in channel %lld; give the node another format (--qtable)",
					 (long long)(p->lo + i));
	}
	return 0;
}

static int params_of(struct be_lower *l, const struct part *p, uint64_t *addr)
{
	size_t size = mica_params_size(p->groups, p->cout);
	uint64_t off;
	uint32_t *words;
	int ret;

	if (!be_blob_find(l->blob, p->op, KEY_PARAMS, p->lo, p->len, &off)) {
		words = ir_alloc(1, size);
		ret = params_fill(l, p, words, size / 12 / p->groups);
		if (ret) {
			free(words);
			return ret;
		}
		off = be_blob_add(l->blob, words, size);
		be_blob_name(l->blob, p->op, KEY_PARAMS, p->lo, p->len, off);
		free(words);
	}
	*addr = MICA_ADDR(MICA_SEG_WEIGHTS, off);
	return 0;
}

/* Pixels of a 1x1 convolution need no rows: one long row when every operand's rows (and images) follow each other. */
static void flatten(struct mica_pkt_conv *c)
{
	struct mica_view *v[3] = { &c->src, &c->dst, &c->res };

	if (c->kh != 1 || c->kw != 1 || c->stride_h != 1 || c->stride_w != 1 || c->pad_top || c->pad_left ||
	    c->in_h != c->out_h || c->in_w != c->out_w)
		return;
	for (int axis = 1; axis >= 0; axis--) {
		__u32 *outer = axis ? &c->in_h : &c->n;
		bool ok = (uint64_t)*outer * c->in_w <= 65535;

		for (unsigned i = 0; i < 3 && ok; i++)
			ok = *outer == 1 || v[i]->dtype == MICA_NONE || v[i]->stride[axis] == c->in_w * v[i]->stride[2];
		if (!ok)
			return;
		c->in_w = c->out_w = c->in_w * *outer;
		*outer = 1;
		c->in_h = c->out_h = 1;
	}
}

static int conv_fields(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_box *in,
		       struct mica_pkt_conv *c)
{
	const struct ir_attr *a = &op->a;
	int64_t top = a->pad_top + in->at[1] - box->at[1] * a->stride_h;
	int64_t left = a->pad_left + in->at[2] - box->at[2] * a->stride_w;

	c->n = (__u32)box->len[0];
	c->in_h = (__u32)in->len[1];
	c->in_w = (__u32)in->len[2];
	c->in_c = (__u32)in->len[3];
	c->out_h = (__u32)box->len[1];
	c->out_w = (__u32)box->len[2];
	c->out_c = (__u32)box->len[3];
	c->kh = (__u16)a->kh;
	c->kw = (__u16)a->kw;
	c->stride_h = (__u16)a->stride_h;
	c->stride_w = (__u16)a->stride_w;
	c->dil_h = (__u16)(a->dil_h ? a->dil_h : 1);
	c->dil_w = (__u16)(a->dil_w ? a->dil_w : 1);
	c->pad_top = (__s16)top;
	c->pad_left = (__s16)left;
	c->act = (__u8)a->act;
	c->alpha = be_finite(a->alpha);
	c->beta = be_finite(a->beta);
	if (a->kh > 1024 || a->kw > 1024 || a->stride_h > 1024 || a->stride_w > 1024 || c->dil_h > 1024 || c->dil_w > 1024 ||
	    top < SHRT_MIN || top > SHRT_MAX || left < SHRT_MIN || left > SHRT_MAX)
		return be_op_err(l->g, op, MICA_ERR_UNSUPPORTED, "kernel, stride, dilation (1024) or padding (32767) is too large");
	return 0;
}

int be_lower_conv(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_view *in,
		  const struct be_view *out)
{
	struct part part = conv_part(op, box->at[3], box->len[3]);
	struct mica_pkt_conv *c = &be_packet(l->out, part.dw ? MICA_OP_DWCONV : MICA_OP_CONV, l->layer)->conv;
	const struct ir_value *res = ir_op_in(op, 3);
	struct be_box ib;
	uint64_t params;
	int ret;

	be_need(op, 0, box, &ib);
	be_operand(&c->src, op->in[0], &in[0], false);
	be_operand(&c->dst, op->out[0], out, true);
	if (res)
		be_operand(&c->res, res, &in[3], false);
	c->src.stride[3] = (__u32)ir_dtype_size(op->in[0]->dtype);
	c->dst.stride[3] = (__u32)ir_dtype_size(op->out[0]->dtype);
	if (res)
		c->res.stride[3] = (__u32)ir_dtype_size(res->dtype);
	c->wdtype = (__u8)op->in[1]->dtype;
	ret = conv_fields(l, op, box, &ib, c);
	if (!ret)
		ret = params_of(l, &part, &params);
	if (ret)
		return ret;
	c->weights = weights_of(l, &part);
	c->params = params;
	c->groups = part.dw ? (__u32)part.len : part.groups;
	c->flags = ir_op_in(op, 4) ? MICA_CONV_SHIFT : 0;
	flatten(c);
	return 0;
}

/* ---- MATMUL ---- */

static int matmul_params(struct be_lower *l, const struct ir_op *op)
{
	const struct ir_value *a = op->in[0];
	int64_t k = a->dim[a->rank - (op->a.trans_a ? 2 : 1)];

	if (a->dtype == MICA_I8 && k > INT_MAX / (255 * 255))
		return be_op_err(l->g, op, MICA_ERR_UNSUPPORTED,
				 "the 32-bit accumulator can overflow with k = %lld; give the node another format (--qtable)", (long long)k);
	return 0;
}

/* One packet: images [0, batch) of axis `axis` of the output (the other batch axes have extent 1 in the box). */
static void matmul_packet(struct be_lower *l, const struct ir_op *op, const struct mica_view view[4], const struct be_box *box,
			  const int64_t bstride[4], uint32_t batch)
{
	struct mica_pkt_matmul *p = &be_packet(l->out, MICA_OP_MATMUL, l->layer)->matmul;
	struct mica_view *v[4] = { &p->a, &p->b, &p->res, &p->dst };
	const struct ir_value *y = op->out[0], *a = op->in[0];
	bool trans[4] = { op->a.trans_a, op->a.trans_b };

	for (unsigned i = 0; i < 4; i++) {
		*v[i] = view[i];
		if (v[i]->dtype == MICA_NONE)
			continue;
		v[i]->stride[0] = (__u32)bstride[i];
		v[i]->stride[1] = view[i].stride[trans[i] ? 3 : 2];
		v[i]->stride[2] = view[i].stride[trans[i] ? 2 : 3];
		v[i]->stride[3] = 0;
	}
	p->batch = batch;
	p->m = (__u32)box->len[y->rank - 2];
	p->n = (__u32)box->len[y->rank - 1];
	p->k = (__u32)a->dim[a->rank - (op->a.trans_a ? 2 : 1)];
	p->params = MICA_ADDR_NONE;
	p->act = op->a.act;
	p->alpha = be_finite(op->a.alpha);
	p->beta = be_finite(op->a.beta);
}

int be_lower_matmul(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_view *in,
		    const struct be_view *out)
{
	const struct ir_value *val[4] = { op->in[0], op->in[1], ir_op_in(op, 2), op->out[0] }, *y = op->out[0];
	struct mica_view v[4] = { 0 };
	int64_t b0 = y->rank == 4 ? box->len[0] : 1, b1 = y->rank >= 3 ? box->len[y->rank - 3] : 1, s[4][2] = { 0 }, bs[4];
	bool one = true;
	int ret = matmul_params(l, op);

	for (unsigned i = 0; i < 4; i++) {
		if (!val[i])
			continue;
		be_operand(&v[i], val[i], i == 3 ? out : &in[i], i == 3);
		for (unsigned d = 0; d + 2 < 4; d++) {
			int have = (int)d - (4 - (int)val[i]->rank);

			s[i][d] = have >= 0 && val[i]->dim[have] != 1 ? v[i].stride[d] : 0;
		}
		one = one && (b0 == 1 || b1 == 1 || s[i][0] == b1 * s[i][1]);
		bs[i] = b1 == 1 ? s[i][0] : s[i][1];
	}
	if (one || ret) {
		if (!ret)
			matmul_packet(l, op, v, box, bs, (uint32_t)(b0 * b1));
		return ret;
	}
	for (int64_t b = 0; b < b0; b++) {
		matmul_packet(l, op, v, box, bs, (uint32_t)b1);
		for (unsigned i = 0; i < 4; i++)
			v[i].addr += (uint32_t)s[i][0];
	}
	return 0;
}
