// SPDX-License-Identifier: MIT
/* Accesses of packets, and whether two of them share bytes. Packets have been checked: sums do not overflow. */
#include "access.h"

struct list { struct access *a; unsigned n, core; const union mica_pkt *p; };

static void add(struct list *l, uint32_t space, int64_t at, uint32_t elem, const uint32_t dim[4], const int64_t stride[4],
		bool write)
{
	struct access *a = &l->a[l->n++];

	*a = (struct access){ .space = space, .write = write, .elem = elem, .at = at, .lo = at, .hi = at + elem,
			       .bytes = elem };
	for (unsigned i = 0; i < 4; i++) {
		int64_t reach = (int64_t)(dim[i] - 1) * stride[i];

		a->dim[i] = dim[i];
		a->stride[i] = stride[i];
		a->bytes *= stride[i] ? dim[i] : 1;
		*(reach < 0 ? &a->lo : &a->hi) += reach;
	}
}

static void add_view(struct list *l, const struct mica_view *v, uint32_t d0, uint32_t d1, uint32_t d2, uint32_t d3, bool write)
{
	const uint32_t dim[4] = { d0, d1, d2, d3 };
	const int64_t stride[4] = { v->stride[0], v->stride[1], v->stride[2], v->stride[3] };

	if (v->dtype == MICA_NONE)
		return;
	add(l, ACCESS_LMEM + l->core, v->addr, mica_dtype_size(v->dtype), dim, stride, write);
	l->a[l->n - 1].view = (uint16_t)((const uint8_t *)v - l->p->raw);
}

/* n bytes side by side: constants, accumulators. */
static void add_bytes(struct list *l, uint32_t space, uint64_t at, uint64_t n, bool write)
{
	const uint32_t dim[4] = { 1, 1, 1, 1 };
	const int64_t stride[4] = { 0 };

	if (space == MICA_SEG_NONE)
		return;
	add(l, space, (int64_t)at, 1, dim, stride, write);
	l->a[l->n - 1].hi = (int64_t)(at + n);
	l->a[l->n - 1].bytes = n;
}

static void add_const(struct list *l, uint64_t addr, uint64_t n)
{
	add_bytes(l, MICA_ADDR_SEG(addr), MICA_ADDR_OFF(addr), n, false);
}

static void add_side(struct list *l, const struct mica_pkt_copy *p, uint64_t addr, const int32_t s[4], bool write)
{
	const int64_t stride[4] = { s[0], s[1], s[2], s[3] };
	uint32_t seg = MICA_ADDR_SEG(addr);

	if (seg == MICA_SEG_LMEM)
		seg = ACCESS_LMEM + l->core;
	else if (seg >= MICA_SEG_PEER)
		seg = ACCESS_LMEM + seg - MICA_SEG_PEER;
	add(l, seg, (int64_t)MICA_ADDR_OFF(addr), p->elem, p->dim, stride, write);
}

static void add_conv(struct list *l, const struct mica_pkt_conv *p)
{
	bool dw = p->hdr.opcode == MICA_OP_DWCONV;
	unsigned cout = p->out_c / p->groups;
	uint64_t channels = dw ? pad16(p->out_c) : (uint64_t)p->groups * pad16(cout);

	add_view(l, &p->src, p->n, p->in_h, p->in_w, p->in_c, false);
	add_view(l, &p->res, p->n, p->out_h, p->out_w, p->out_c, false);
	add_view(l, &p->dst, p->n, p->out_h, p->out_w, p->out_c, true);
	add_const(l, p->weights, dw ? mica_pack_size_dw(p->wdtype, p->out_c, p->kh, p->kw) :
		  mica_pack_size(p->wdtype, p->groups, cout, p->kh, p->kw, p->in_c / p->groups));
	add_const(l, p->params, mica_params_size(dw ? 1 : p->groups, dw ? p->out_c : cout));
	if (p->acc_mode)
		add_bytes(l, ACCESS_LMEM + l->core, p->acc, (uint64_t)p->n * p->out_h * p->out_w * channels * 4,
			  p->acc_mode & MICA_ACC_OUT);
}

static void add_matmul(struct list *l, const struct mica_pkt_matmul *p)
{
	add_view(l, &p->a, p->batch, p->m, p->k, 1, false);
	add_view(l, &p->b, p->batch, p->k, p->n, 1, false);
	add_view(l, &p->res, p->batch, p->m, p->n, 1, false);
	add_view(l, &p->dst, p->batch, p->m, p->n, 1, true);
	add_const(l, p->params, mica_params_size(1, p->n));
}

static void add_reduce(struct list *l, const struct mica_pkt_reduce *p)
{
	uint32_t out[4];

	for (unsigned i = 0; i < 4; i++)
		out[i] = p->axes & 1u << i ? 1 : p->dim[i];
	add_view(l, &p->src, p->dim[0], p->dim[1], p->dim[2], p->dim[3], false);
	add_view(l, &p->dst, out[0], out[1], out[2], out[3], true);
}

static void add_resize(struct list *l, const struct mica_pkt_resize *p)
{
	add_view(l, &p->src, p->n, p->in_h, p->in_w, p->c, false);
	add_view(l, &p->dst, p->n, p->out_h, p->out_w, p->c, true);
	add_const(l, p->taps_h, (uint64_t)p->out_h * sizeof(struct mica_resize_tap));
	add_const(l, p->taps_w, (uint64_t)p->out_w * sizeof(struct mica_resize_tap));
}

#define DIM4(d) (d)[0], (d)[1], (d)[2], (d)[3]

unsigned access_of(const union mica_pkt *p, unsigned core, struct access out[ACCESS_MAX])
{
	struct list l = { out, 0, core, p };

	switch (p->hdr.opcode) {
	case MICA_OP_COPY:
		add_side(&l, &p->copy, p->copy.src, p->copy.src_stride, false);
		add_side(&l, &p->copy, p->copy.dst, p->copy.dst_stride, true);
		break;
	case MICA_OP_FILL:
		add_view(&l, &p->fill.dst, DIM4(p->fill.dim), true);
		break;
	case MICA_OP_CONV: case MICA_OP_DWCONV:
		add_conv(&l, &p->conv);
		break;
	case MICA_OP_MATMUL:
		add_matmul(&l, &p->matmul);
		break;
	case MICA_OP_BINARY:
		add_view(&l, &p->binary.a, DIM4(p->binary.dim), false);
		add_view(&l, &p->binary.b, DIM4(p->binary.dim), false);
		add_view(&l, &p->binary.c, DIM4(p->binary.dim), false);
		add_view(&l, &p->binary.dst, DIM4(p->binary.dim), true);
		break;
	case MICA_OP_UNARY:
		add_view(&l, &p->unary.src, DIM4(p->unary.dim), false);
		add_view(&l, &p->unary.dst, DIM4(p->unary.dim), true);
		break;
	case MICA_OP_LUT:
		add_view(&l, &p->lut.src, DIM4(p->lut.dim), false);
		add_view(&l, &p->lut.dst, DIM4(p->lut.dim), true);
		add_const(&l, p->lut.table, 256ull * mica_dtype_size(p->lut.dst.dtype));
		break;
	case MICA_OP_POOL:
		add_view(&l, &p->pool.src, p->pool.n, p->pool.in_h, p->pool.in_w, p->pool.c, false);
		add_view(&l, &p->pool.dst, p->pool.n, p->pool.out_h, p->pool.out_w, p->pool.c, true);
		break;
	case MICA_OP_RESIZE:
		add_resize(&l, &p->resize);
		break;
	case MICA_OP_REDUCE:
		add_reduce(&l, &p->reduce);
		break;
	case MICA_OP_SOFTMAX: case MICA_OP_NORM:
		add_view(&l, &p->norm.src, DIM4(p->norm.dim), false);
		add_view(&l, &p->norm.dst, DIM4(p->norm.dim), true);
		add_const(&l, p->norm.gamma, 4ull * p->norm.dim[3]);
		add_const(&l, p->norm.beta, 4ull * p->norm.dim[3]);
		break;
	default:
		break;
	}
	return l.n;
}

/* Bytes from the lowest to the highest one that a touches of each period, when its other strides are whole periods. */
static int64_t width_in(const struct access *a, int64_t period)
{
	int64_t width = a->hi - a->lo;

	for (unsigned i = 0; i < 4; i++) {
		int64_t s = a->stride[i] < 0 ? -a->stride[i] : a->stride[i];

		if (s % period == 0)
			width -= (a->dim[i] - 1) * s;
	}
	return width;
}

/* In rows of `period` bytes a keeps to some columns and b to others. */
static bool apart_in(const struct access *a, const struct access *b, int64_t period)
{
	int64_t from = (b->lo - a->lo) % period;

	from += from < 0 ? period : 0;
	return from >= width_in(a, period) && from + width_in(b, period) <= period;
}

bool access_meet(const struct access *a, const struct access *b)
{
	if (a->space != b->space || a->lo >= b->hi || b->lo >= a->hi)
		return false;
	for (unsigned i = 0; i < 8; i++) {
		const struct access *x = i < 4 ? a : b;
		int64_t s = x->stride[i % 4] < 0 ? -x->stride[i % 4] : x->stride[i % 4];

		if (x->dim[i % 4] > 1 && s > x->elem && apart_in(a, b, s))
			return false;
	}
	return true;
}

bool access_conflict(const struct access *a, const struct access *b)
{
	return (a->write || b->write) && access_meet(a, b);
}
