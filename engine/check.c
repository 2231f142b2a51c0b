// SPDX-License-Identifier: MIT
/*
 * The validator. First every field by its class in isa.def, then the packet's own rule: footprints, types, shapes, work.
 * What has no rule is refused. All arithmetic on packet contents is checked; nothing of the packet is trusted.
 */
#include "engine_internal.h"

#include <string.h>

#define MAX_WORK	(1ull << 40)	/* elementary operations of one packet */
#define MAX_K		(1ull << 24)	/* products of one output of CONV */

struct check {
	const union mica_pkt *p;
	const struct mica_limits *lim;
	const char *field;		/* what is being looked at */
};

struct span { uint64_t lo, hi; };	/* bytes of LMEM or of a segment */

typedef enum mica_check rule_fn(struct check *c);

const char *mica_check_name(enum mica_check c)
{
	static const char *const names[] = {
		[MICA_OK] = "ok", [MICA_CHECK_TRUNCATED] = "truncated", [MICA_CHECK_OPCODE] = "opcode",
		[MICA_CHECK_RESERVED] = "reserved", [MICA_CHECK_RANGE] = "range", [MICA_CHECK_DTYPE] = "dtype",
		[MICA_CHECK_LMEM] = "lmem", [MICA_CHECK_SEGMENT] = "segment", [MICA_CHECK_WAIT] = "wait",
		[MICA_CHECK_SHAPE] = "shape", [MICA_CHECK_WORK] = "work",
	};
	_Static_assert(ARRAY_SIZE(names) == MICA_CHECK_COUNT, "a reason has no name");

	return (unsigned)c < MICA_CHECK_COUNT ? names[c] : "?";
}

#define TRY(expr) \
	do { \
		enum mica_check try_ = (expr); \
		if (try_) \
			return try_; \
	} while (0)

#define FAIL(c, name, why) ((c)->field = (name), (why))

/* ---- Fields ------------------------------------------------------------------------------------------------------ */

static bool all_zero(const uint8_t *at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (at[i])
			return false;
	return true;
}

static bool is_finite(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, sizeof(bits));
	return (bits & 0x7f800000) != 0x7f800000;
}

static bool int_in_range(const struct field_info *f, const uint8_t *at, unsigned size)
{
	uint32_t u = 0;
	int64_t v;

	memcpy(&u, at, size);
	v = u;
	if (f->cls == FC_S)
		v = size == 1 ? (int8_t)u : size == 2 ? (int16_t)u : (int32_t)u;
	if (f->cls == FC_BITS)
		return !(u & ~(uint32_t)f->hi);
	return v >= f->lo && v <= f->hi;
}

static bool ints_in_range(const struct field_info *f, const uint8_t *at)
{
	unsigned size = f->size <= 4 ? f->size : 4;

	for (unsigned i = 0; i < f->size / size; i++)
		if (!int_in_range(f, at + i * size, size))
			return false;
	return true;
}

static enum mica_check check_view_field(const uint8_t *at, bool optional)
{
	struct mica_view v;

	memcpy(&v, at, sizeof(v));
	if (optional && v.dtype == MICA_NONE)
		return all_zero(at, sizeof(v)) ? MICA_OK : MICA_CHECK_RESERVED;
	if (v.rsvd0 || v.rsvd1)
		return MICA_CHECK_RESERVED;
	if (v.dtype == MICA_NONE || v.dtype > MICA_DTYPE_MAX || !is_finite(v.scale))
		return MICA_CHECK_RANGE;
	if (v.zero && v.dtype != MICA_I8 && v.dtype != MICA_U8)
		return MICA_CHECK_RANGE;
	return MICA_OK;
}

static enum mica_check check_field(const struct field_info *f, const uint8_t *at)
{
	uint64_t addr;
	float value;

	switch (f->cls) {
	case FC_ZERO:
		return all_zero(at, f->size) ? MICA_OK : MICA_CHECK_RESERVED;
	case FC_VIEW:
	case FC_VIEWO:
		return check_view_field(at, f->cls == FC_VIEWO);
	case FC_FLT:
		memcpy(&value, at, sizeof(value));
		return is_finite(value) ? MICA_OK : MICA_CHECK_RANGE;
	case FC_ADDR:
		memcpy(&addr, at, sizeof(addr));
		return addr == MICA_ADDR(MICA_ADDR_SEG(addr), MICA_ADDR_OFF(addr)) ? MICA_OK : MICA_CHECK_SEGMENT;
	default:
		return ints_in_range(f, at) ? MICA_OK : MICA_CHECK_RANGE;
	}
}

/* ---- Operands ---------------------------------------------------------------------------------------------------- */

static bool overlap(struct span a, struct span b)
{
	return a.lo < b.hi && b.lo < a.hi;
}

/* Elements must not share a byte: by ascending stride, each stride steps over all that the smaller ones cover. */
static bool self_disjoint(const uint32_t dim[4], const uint64_t stride[4], uint64_t size)
{
	bool used[4] = { false };
	uint64_t extent = size;

	for (;;) {
		int best = -1;

		for (int i = 0; i < 4; i++)
			if (!used[i] && dim[i] > 1 && (best < 0 || stride[i] < stride[best]))
				best = i;
		if (best < 0)
			return true;
		if (stride[best] < extent)
			return false;
		used[best] = true;
		extent += (uint64_t)(dim[best] - 1) * stride[best];	/* the footprint's check has bounded the sum */
	}
}

static enum mica_check view_span(struct check *c, const char *name, const struct mica_view *v, const uint32_t dim[4],
				 struct span *out)
{
	uint32_t size = mica_dtype_size(v->dtype);
	struct range r;

	c->field = name;
	if (!range_of_view(v, dim, &r) || r.hi > (int64_t)c->lim->lmem_size ||
	    v->addr > c->lim->lmem_size - (uint64_t)r.hi)
		return MICA_CHECK_LMEM;
	if (v->addr % size)
		return MICA_CHECK_LMEM;
	for (int i = 0; i < 4; i++)
		if (v->stride[i] % size)
			return MICA_CHECK_LMEM;
	*out = (struct span){ v->addr, v->addr + (uint64_t)r.hi };
	return MICA_OK;
}

static enum mica_check dst_span(struct check *c, const char *name, const struct mica_view *v, const uint32_t dim[4],
				struct span *out)
{
	uint64_t stride[4];

	TRY(view_span(c, name, v, dim, out));
	for (int i = 0; i < 4; i++)
		stride[i] = v->stride[i];
	return self_disjoint(dim, stride, mica_dtype_size(v->dtype)) ? MICA_OK : MICA_CHECK_LMEM;
}

/* The same elements at the same places. */
static bool same_place(const struct mica_view *a, const struct mica_view *b, const uint32_t dim[4])
{
	if (a->addr != b->addr || mica_dtype_size(a->dtype) != mica_dtype_size(b->dtype))
		return false;
	for (int i = 0; i < 4; i++)
		if (dim[i] > 1 && a->stride[i] != b->stride[i])
			return false;
	return true;
}

/* A source that is read element by element just before the same element of dst is written. */
static enum mica_check elementwise_src(struct check *c, const char *name, const struct mica_view *v,
				       const struct mica_view *dst, struct span ds, const uint32_t dim[4])
{
	struct span s;

	TRY(view_span(c, name, v, dim, &s));
	return !overlap(s, ds) || same_place(v, dst, dim) ? MICA_OK : MICA_CHECK_LMEM;
}

static enum mica_check apart_src(struct check *c, const char *name, const struct mica_view *v, struct span ds,
				 const uint32_t dim[4])
{
	struct span s;

	TRY(view_span(c, name, v, dim, &s));
	return overlap(s, ds) ? MICA_CHECK_LMEM : MICA_OK;
}

static enum mica_check dram(struct check *c, const char *name, uint64_t addr, uint64_t len, uint64_t align)
{
	uint32_t seg = MICA_ADDR_SEG(addr);
	uint64_t off = MICA_ADDR_OFF(addr);

	c->field = name;
	if (seg >= c->lim->segments || seg >= MICA_MAX_SEGMENTS || off % align)
		return MICA_CHECK_SEGMENT;
	if (off > c->lim->seg_size[seg] || len > c->lim->seg_size[seg] - off)
		return MICA_CHECK_SEGMENT;
	return MICA_OK;
}

static enum mica_check optional_dram(struct check *c, const char *name, uint64_t addr, uint64_t len, uint64_t align)
{
	return addr == MICA_ADDR_NONE ? MICA_OK : dram(c, name, addr, len, align);
}

/* The product of n dims and `more` stays within what one packet may do. */
static enum mica_check work(struct check *c, const char *name, const uint32_t *dim, unsigned n, uint64_t more)
{
	uint64_t total;

	c->field = name;
	if (!dims_product(dim, n, &total) || __builtin_mul_overflow(total, more, &total) || total > MAX_WORK)
		return MICA_CHECK_WORK;
	return MICA_OK;
}

static enum mica_check need(struct check *c, bool good, const char *name, enum mica_check why)
{
	c->field = name;
	return good ? MICA_OK : why;
}

/* Image operands keep their channels side by side. */
static enum mica_check dense_channels(struct check *c, const char *name, const struct mica_view *v)
{
	return need(c, v->stride[3] == mica_dtype_size(v->dtype), name, MICA_CHECK_LMEM);
}

/* ---- Rules, one a packet layout ------------------------------------------------------------------------------------ */

static enum mica_check rule_ctl(struct check *c)
{
	return need(c, c->p->hdr.opcode == MICA_OP_BARRIER || !c->p->ctl.flags, "flags", MICA_CHECK_RANGE);
}

static enum mica_check copy_side(struct check *c, const char *name, uint64_t addr, const int32_t stride[4], bool write,
				 struct span *out)
{
	const struct mica_pkt_copy *p = &c->p->copy;
	uint32_t seg = MICA_ADDR_SEG(addr);
	uint64_t off = MICA_ADDR_OFF(addr);
	bool lmem = seg == MICA_SEG_LMEM || (seg >= MICA_SEG_PEER && seg - MICA_SEG_PEER < c->lim->cores);
	enum mica_check why = lmem ? MICA_CHECK_LMEM : MICA_CHECK_SEGMENT;
	uint64_t size;
	struct range r;

	c->field = name;
	if (!lmem && (seg >= c->lim->segments || seg >= MICA_MAX_SEGMENTS || (write && !c->lim->seg_write[seg])))
		return MICA_CHECK_SEGMENT;
	size = lmem ? c->lim->lmem_size : c->lim->seg_size[seg];
	if (!range_of_copy(p->dim, stride, p->elem, &r) || (uint64_t)r.hi > size || off > size - (uint64_t)r.hi ||
	    (int64_t)off < -r.lo)
		return why;
	if (off % p->elem)
		return why;
	for (int i = 0; i < 4; i++)
		if (stride[i] % (int64_t)p->elem)
			return why;
	*out = (struct span){ off + (uint64_t)r.lo, off + (uint64_t)r.hi };
	return MICA_OK;
}

static enum mica_check rule_copy(struct check *c)
{
	const struct mica_pkt_copy *p = &c->p->copy;
	uint64_t stride[4];
	struct span s, d;

	TRY(need(c, p->elem == 1 || p->elem == 2 || p->elem == 4 || p->elem == 8, "elem", MICA_CHECK_RANGE));
	TRY(copy_side(c, "src", p->src, p->src_stride, false, &s));
	TRY(copy_side(c, "dst", p->dst, p->dst_stride, true, &d));
	for (int i = 0; i < 4; i++)
		stride[i] = (uint64_t)(p->dst_stride[i] < 0 ? -(int64_t)p->dst_stride[i] : p->dst_stride[i]);
	if (!self_disjoint(p->dim, stride, p->elem) ||
	    (MICA_ADDR_SEG(p->src) == MICA_ADDR_SEG(p->dst) && overlap(s, d)))
		return MICA_ADDR_SEG(p->dst) < MICA_MAX_SEGMENTS ? MICA_CHECK_SEGMENT : MICA_CHECK_LMEM;
	return work(c, "dim", p->dim, 4, 1);
}

static enum mica_check rule_fill(struct check *c)
{
	const struct mica_pkt_fill *p = &c->p->fill;
	struct span d;

	TRY(dst_span(c, "dst", &p->dst, p->dim, &d));
	return work(c, "dim", p->dim, 4, 1);
}

/* Operands that a multiply-accumulate may combine. */
static bool mac_types(unsigned a, unsigned b)
{
	if (dtype_is_mac_float(a))
		return dtype_is_mac_float(b);
	return a == b && (a == MICA_I8 || a == MICA_F32);
}

static enum mica_check conv_acc(struct check *c, struct span src, struct span dst, struct span res)
{
	const struct mica_pkt_conv *p = &c->p->conv;
	uint64_t pixels = (uint64_t)p->n * p->out_h * p->out_w;		/* within MAX_WORK */
	uint64_t channels = p->hdr.opcode == MICA_OP_DWCONV ? pad16(p->out_c) :
			    (uint64_t)p->groups * pad16(p->out_c / p->groups);
	uint64_t bytes;
	struct span a;

	c->field = "acc";
	if (!p->acc_mode)
		return p->acc ? MICA_CHECK_RESERVED : MICA_OK;
	if (__builtin_mul_overflow(pixels, channels * 4, &bytes) || bytes > c->lim->lmem_size ||
	    p->acc > c->lim->lmem_size - bytes || p->acc % 4)
		return MICA_CHECK_LMEM;
	a = (struct span){ p->acc, p->acc + bytes };
	return overlap(a, src) || overlap(a, dst) || overlap(a, res) ? MICA_CHECK_LMEM : MICA_OK;
}

static enum mica_check conv_memory(struct check *c)
{
	const struct mica_pkt_conv *p = &c->p->conv;
	const uint32_t in[4] = { p->n, p->in_h, p->in_w, p->in_c };
	const uint32_t out[4] = { p->n, p->out_h, p->out_w, p->out_c };
	bool dw = p->hdr.opcode == MICA_OP_DWCONV;
	unsigned cout = p->out_c / p->groups;
	struct span s, d, r = { 0, 0 };

	TRY(dense_channels(c, "src", &p->src));
	TRY(dense_channels(c, "dst", &p->dst));
	TRY(dst_span(c, "dst", &p->dst, out, &d));
	TRY(view_span(c, "src", &p->src, in, &s));
	TRY(need(c, !overlap(s, d), "src", MICA_CHECK_LMEM));
	if (p->res.dtype) {
		TRY(dense_channels(c, "res", &p->res));
		TRY(elementwise_src(c, "res", &p->res, &p->dst, d, out));
		TRY(view_span(c, "res", &p->res, out, &r));
	}
	TRY(dram(c, "weights", p->weights,
		 dw ? mica_pack_size_dw(p->wdtype, p->out_c, p->kh, p->kw) :
		      mica_pack_size(p->wdtype, p->groups, cout, p->kh, p->kw, p->in_c / p->groups), 64));
	TRY(dram(c, "params", p->params, dw ? mica_params_size(1, p->out_c) : mica_params_size(p->groups, cout), 64));
	return conv_acc(c, s, d, r);
}

static enum mica_check rule_conv(struct check *c)
{
	const struct mica_pkt_conv *p = &c->p->conv;
	const uint32_t out[4] = { p->n, p->out_h, p->out_w, p->out_c };
	bool dw = p->hdr.opcode == MICA_OP_DWCONV;
	uint64_t k;

	TRY(need(c, mac_types(p->src.dtype, p->wdtype), "wdtype", MICA_CHECK_DTYPE));
	TRY(need(c, !(p->flags & MICA_CONV_SHIFT) || p->wdtype != MICA_I8, "flags", MICA_CHECK_DTYPE));
	TRY(need(c, !(p->in_c % p->groups) && !(p->out_c % p->groups), "groups", MICA_CHECK_SHAPE));
	TRY(need(c, !dw || (p->groups == p->in_c && p->groups == p->out_c), "groups", MICA_CHECK_SHAPE));
	k = (uint64_t)p->kh * p->kw * (p->in_c / p->groups);
	TRY(need(c, k <= MAX_K, "kh", MICA_CHECK_WORK));
	TRY(work(c, "out_c", out, 4, k));
	return conv_memory(c);
}

static enum mica_check matmul_view(struct check *c, const char *name, const struct mica_view *v)
{
	return need(c, !v->stride[3], name, MICA_CHECK_SHAPE);
}

static enum mica_check rule_matmul(struct check *c)
{
	const struct mica_pkt_matmul *p = &c->p->matmul;
	const uint32_t da[4] = { p->batch, p->m, p->k, 1 }, db[4] = { p->batch, p->k, p->n, 1 };
	const uint32_t dd[4] = { p->batch, p->m, p->n, 1 };
	struct span d;

	TRY(need(c, mac_types(p->a.dtype, p->b.dtype), "b", MICA_CHECK_DTYPE));
	TRY(matmul_view(c, "a", &p->a));
	TRY(matmul_view(c, "b", &p->b));
	TRY(matmul_view(c, "dst", &p->dst));
	TRY(work(c, "k", dd, 3, p->k));
	TRY(dst_span(c, "dst", &p->dst, dd, &d));
	TRY(apart_src(c, "a", &p->a, d, da));
	TRY(apart_src(c, "b", &p->b, d, db));
	if (p->res.dtype) {
		TRY(matmul_view(c, "res", &p->res));
		TRY(elementwise_src(c, "res", &p->res, &p->dst, d, dd));
	}
	return optional_dram(c, "params", p->params, mica_params_size(1, p->n), 64);
}

static enum mica_check rule_binary(struct check *c)
{
	const struct mica_pkt_binary *p = &c->p->binary;
	struct span d;

	TRY(need(c, (p->op == MICA_BIN_WHERE) == (p->c.dtype != MICA_NONE), "c", MICA_CHECK_SHAPE));
	TRY(dst_span(c, "dst", &p->dst, p->dim, &d));
	TRY(elementwise_src(c, "a", &p->a, &p->dst, d, p->dim));
	TRY(elementwise_src(c, "b", &p->b, &p->dst, d, p->dim));
	if (p->c.dtype)
		TRY(elementwise_src(c, "c", &p->c, &p->dst, d, p->dim));
	return work(c, "dim", p->dim, 4, 1);
}

static enum mica_check rule_unary(struct check *c)
{
	const struct mica_pkt_unary *p = &c->p->unary;
	struct span d;

	TRY(dst_span(c, "dst", &p->dst, p->dim, &d));
	TRY(elementwise_src(c, "src", &p->src, &p->dst, d, p->dim));
	return work(c, "dim", p->dim, 4, 1);
}

static enum mica_check rule_lut(struct check *c)
{
	const struct mica_pkt_lut *p = &c->p->lut;
	unsigned size = mica_dtype_size(p->dst.dtype);
	struct span d;

	TRY(need(c, mica_dtype_size(p->src.dtype) == 1, "src", MICA_CHECK_DTYPE));
	TRY(dst_span(c, "dst", &p->dst, p->dim, &d));
	TRY(elementwise_src(c, "src", &p->src, &p->dst, d, p->dim));
	TRY(dram(c, "table", p->table, 256ull * size, size));
	return work(c, "dim", p->dim, 4, 1);
}

static enum mica_check rule_pool(struct check *c)
{
	const struct mica_pkt_pool *p = &c->p->pool;
	const uint32_t in[4] = { p->n, p->in_h, p->in_w, p->c }, out[4] = { p->n, p->out_h, p->out_w, p->c };
	struct span d;

	TRY(dense_channels(c, "src", &p->src));
	TRY(dense_channels(c, "dst", &p->dst));
	TRY(work(c, "out_w", out, 4, (uint64_t)p->kh * p->kw));
	TRY(dst_span(c, "dst", &p->dst, out, &d));
	return apart_src(c, "src", &p->src, d, in);
}

static enum mica_check rule_resize(struct check *c)
{
	const struct mica_pkt_resize *p = &c->p->resize;
	const uint32_t in[4] = { p->n, p->in_h, p->in_w, p->c }, out[4] = { p->n, p->out_h, p->out_w, p->c };
	struct span d;

	TRY(dense_channels(c, "src", &p->src));
	TRY(dense_channels(c, "dst", &p->dst));
	TRY(work(c, "out_w", out, 4, 1));
	TRY(dst_span(c, "dst", &p->dst, out, &d));
	TRY(apart_src(c, "src", &p->src, d, in));
	TRY(dram(c, "taps_h", p->taps_h, (uint64_t)p->out_h * sizeof(struct mica_resize_tap), 4));
	return dram(c, "taps_w", p->taps_w, (uint64_t)p->out_w * sizeof(struct mica_resize_tap), 4);
}

static enum mica_check rule_reduce(struct check *c)
{
	const struct mica_pkt_reduce *p = &c->p->reduce;
	uint32_t out[4];
	struct span d;

	for (int i = 0; i < 4; i++)
		out[i] = p->axes & 1u << i ? 1 : p->dim[i];
	TRY(dst_span(c, "dst", &p->dst, out, &d));
	TRY(apart_src(c, "src", &p->src, d, p->dim));
	return work(c, "dim", p->dim, 4, 1);
}

static enum mica_check rule_norm(struct check *c)
{
	const struct mica_pkt_norm *p = &c->p->norm;
	uint64_t bytes = 4ull * p->dim[3];
	struct span d;

	if (p->hdr.opcode == MICA_OP_SOFTMAX) {
		TRY(need(c, p->gamma == MICA_ADDR_NONE, "gamma", MICA_CHECK_RESERVED));
		TRY(need(c, p->beta == MICA_ADDR_NONE, "beta", MICA_CHECK_RESERVED));
		TRY(need(c, p->eps == 0.0f, "eps", MICA_CHECK_RESERVED));
	}
	TRY(dst_span(c, "dst", &p->dst, p->dim, &d));
	TRY(apart_src(c, "src", &p->src, d, p->dim));
	TRY(optional_dram(c, "gamma", p->gamma, bytes, 4));
	TRY(optional_dram(c, "beta", p->beta, bytes, 4));
	return work(c, "dim", p->dim, 4, 1);
}

static rule_fn *const rules[256] = {
#define OP(code, UP, low, packet, engine) [code] = rule_##packet,
	MICA_OPS(OP)
#undef OP
};

/* ---- A packet ---------------------------------------------------------------------------------------------------- */

static enum mica_check check_header(struct check *c, const struct mica_check_state *state)
{
	const struct mica_pkt_hdr *h = &c->p->hdr;

	TRY(need(c, !h->rsvd && !h->rsvd1, "rsvd", MICA_CHECK_RESERVED));
	for (unsigned e = 0; e < MICA_ENGINE_COUNT; e++)
		TRY(need(c, h->wait[e] <= state->issued[e], "wait", MICA_CHECK_WAIT));
	return MICA_OK;
}

static enum mica_check check_all(struct check *c, size_t avail, const struct mica_check_state *state)
{
	const union mica_pkt *p = c->p;
	const struct op_info *op;

	if (avail < MICA_PKT_ALIGN)
		return FAIL(c, "units", MICA_CHECK_TRUNCATED);
	op = mica_op_info(p->hdr.opcode);
	if (!op || !rules[p->hdr.opcode])
		return FAIL(c, "opcode", MICA_CHECK_OPCODE);
	if (p->hdr.units * MICA_PKT_ALIGN != op->size || avail < op->size)
		return FAIL(c, "units", MICA_CHECK_TRUNCATED);
	for (unsigned i = 0; i < op->nfields; i++) {
		c->field = op->field[i].name;
		TRY(check_field(&op->field[i], p->raw + op->field[i].off));
	}
	TRY(check_header(c, state));
	return rules[p->hdr.opcode](c);
}

enum mica_check mica_check_packet(const union mica_pkt *p, size_t avail, const struct mica_limits *lim,
				  struct mica_check_state *state, const char **field)
{
	struct check c = { p, lim, "" };
	enum mica_check why = check_all(&c, avail, state);
	enum mica_engine_id engine;

	if (field)
		*field = why ? c.field : NULL;
	if (why)
		return why;
	engine = mica_pkt_engine(p);
	if (p->hdr.opcode == MICA_OP_BARRIER)
		memset(state, 0, sizeof(*state));
	else if (engine < MICA_ENGINE_COUNT)
		state->issued[engine]++;
	return MICA_OK;
}
