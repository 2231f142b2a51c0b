// SPDX-License-Identifier: MIT
/*
 * Streams: appends packets, gives each the waits that its memory accesses ask for, and meets the other cores at barriers.
 * A packet waits per engine for the last earlier packet that touches the same bytes, one of the two writing.
 */
#include <stdlib.h>
#include <string.h>
#include "backend.h"

/* ---- accesses: strided blocks of one memory ---- */

#define MEM_DRAM 16		/* memories: 0.. LMEM of core i, MEM_DRAM + segment */
#define MAX_ACCESS 5

struct axis { int64_t count, stride; };
struct access {
	unsigned mem;
	bool write;
	int64_t lo, hi;			/* bytes [lo, hi) */
	int64_t run;			/* contiguous bytes at each position */
	unsigned axes;			/* strides descending */
	struct axis axis[4];
	uint32_t ordinal;
};

static void sort_axes(struct access *a)
{
	for (unsigned i = 1; i < a->axes; i++)
		for (unsigned j = i; j > 0 && a->axis[j - 1].stride < a->axis[j].stride; j--) {
			struct axis t = a->axis[j];

			a->axis[j] = a->axis[j - 1];
			a->axis[j - 1] = t;
		}
}

static struct access make_access(unsigned mem, bool write, int64_t at, int64_t elem, const uint32_t *dim, const int64_t *stride)
{
	struct access a = { .mem = mem, .write = write, .lo = at, .hi = at + elem, .run = elem };

	for (unsigned d = 0; d < 4; d++) {
		int64_t s = stride[d], n = dim[d];

		if (n <= 1 || !s)
			continue;
		if (s < 0) {
			a.lo += (n - 1) * s;
			s = -s;
		} else {
			a.hi += (n - 1) * s;
		}
		a.axis[a.axes++] = (struct axis){ n, s };
	}
	sort_axes(&a);
	while (a.axes && a.axis[a.axes - 1].stride <= a.run) {
		a.axes--;
		a.run += (a.axis[a.axes].count - 1) * a.axis[a.axes].stride;
	}
	return a;
}

/* Do blocks a and b, at oa and ob, share a byte? False only when they certainly do not. */
static bool blocks_meet(const struct access *a, unsigned ia, int64_t oa, const struct access *b, unsigned ib, int64_t ob)
{
	int64_t ea = a->run, eb = b->run, s, ra, rb, qa, qb, na = 1, nb = 1;

	for (unsigned i = ia; i < a->axes; i++)
		ea += (a->axis[i].count - 1) * a->axis[i].stride;
	for (unsigned i = ib; i < b->axes; i++)
		eb += (b->axis[i].count - 1) * b->axis[i].stride;
	if (oa >= ob + eb || ob >= oa + ea)
		return false;
	if (ia == a->axes && ib == b->axes)
		return true;
	s = ia < a->axes ? a->axis[ia].stride : 0;
	if (ib < b->axes && b->axis[ib].stride > s)
		s = b->axis[ib].stride;
	if (ia < a->axes && a->axis[ia].stride == s) {
		na = a->axis[ia++].count;
		ea -= (na - 1) * s;
	}
	if (ib < b->axes && b->axis[ib].stride == s) {
		nb = b->axis[ib++].count;
		eb -= (nb - 1) * s;
	}
	ra = oa % s;
	rb = ob % s;
	if (ra + ea > s || rb + eb > s)		/* reaches into the next period: not told apart */
		return true;
	qa = oa / s;
	qb = ob / s;
	if (qa >= qb + nb || qb >= qa + na)
		return false;
	return blocks_meet(a, ia, ra, b, ib, rb);
}

static bool conflict(const struct access *a, const struct access *b)
{
	int64_t base;

	if (a->mem != b->mem || !(a->write || b->write) || a->lo >= b->hi || b->lo >= a->hi)
		return false;
	base = a->lo < b->lo ? a->lo : b->lo;
	/* Any origin is right; one may tell blocks apart where the other cannot. */
	if (!blocks_meet(a, 0, a->lo - base, b, 0, b->lo - base))
		return false;
	base = a->lo;
	for (unsigned i = 0; i < a->axes; i++)
		base -= a->axis[i].stride;
	base = base < b->lo ? base : a->lo < b->lo ? a->lo : b->lo;
	return blocks_meet(a, 0, a->lo - base, b, 0, b->lo - base);
}

/* ---- what a packet touches ---- */

struct touched { struct access a[MAX_ACCESS]; unsigned n; };

static void touch(struct touched *t, unsigned core, const struct mica_view *v, const uint32_t dim[4], bool write)
{
	int64_t stride[4];

	if (v->dtype == MICA_NONE)
		return;
	for (unsigned d = 0; d < 4; d++)
		stride[d] = v->stride[d];
	t->a[t->n++] = make_access(core, write, v->addr, mica_dtype_size(v->dtype), dim, stride);
}

static void touch_addr(struct touched *t, unsigned core, uint64_t addr, uint32_t elem, const uint32_t dim[4], const int32_t *s32, bool write)
{
	uint32_t seg = MICA_ADDR_SEG(addr);
	unsigned mem = seg == MICA_SEG_LMEM ? core : seg >= MICA_SEG_PEER && seg < MICA_SEG_PEER + MICA_MAX_CORES
		     ? seg - MICA_SEG_PEER : MEM_DRAM + seg;
	int64_t stride[4];

	for (unsigned d = 0; d < 4; d++)
		stride[d] = s32[d];
	if (seg != MICA_SEG_WEIGHTS)
		t->a[t->n++] = make_access(mem, write, (int64_t)MICA_ADDR_OFF(addr), elem, dim, stride);
}

static void touch_conv(struct touched *t, unsigned core, const struct mica_pkt_conv *c)
{
	uint32_t in[4] = { c->n, c->in_h, c->in_w, c->in_c }, out[4] = { c->n, c->out_h, c->out_w, c->out_c };

	touch(t, core, &c->src, in, false);
	touch(t, core, &c->res, out, false);
	touch(t, core, &c->dst, out, true);
}

static void touch_matmul(struct touched *t, unsigned core, const struct mica_pkt_matmul *p)
{
	uint32_t a[4] = { p->batch, p->m, p->k, 1 }, b[4] = { p->batch, p->k, p->n, 1 }, d[4] = { p->batch, p->m, p->n, 1 };

	touch(t, core, &p->a, a, false);
	touch(t, core, &p->b, b, false);
	touch(t, core, &p->res, d, false);
	touch(t, core, &p->dst, d, true);
}

static void touch_reduce(struct touched *t, unsigned core, const struct mica_pkt_reduce *p)
{
	uint32_t out[4];

	for (unsigned d = 0; d < 4; d++)
		out[d] = p->axes >> d & 1 ? 1 : p->dim[d];
	touch(t, core, &p->src, p->dim, false);
	touch(t, core, &p->dst, out, true);
}

/* POOL and RESIZE have their shapes in the same places of different structs. */
#define TOUCH_WINDOW(t, core, p) do {							\
	uint32_t in_[4] = { (p)->n, (p)->in_h, (p)->in_w, (p)->c };			\
	uint32_t out_[4] = { (p)->n, (p)->out_h, (p)->out_w, (p)->c };			\
	touch(t, core, &(p)->src, in_, false);						\
	touch(t, core, &(p)->dst, out_, true);						\
} while (0)

#define TOUCH_ELEMENTS(t, core, p) do {							\
	touch(t, core, &(p)->src, (p)->dim, false);					\
	touch(t, core, &(p)->dst, (p)->dim, true);					\
} while (0)

static struct touched touched_by(const union mica_pkt *p, unsigned core)
{
	struct touched t = { .n = 0 };

	switch (p->hdr.opcode) {
	case MICA_OP_COPY:
		touch_addr(&t, core, p->copy.src, p->copy.elem, p->copy.dim, p->copy.src_stride, false);
		touch_addr(&t, core, p->copy.dst, p->copy.elem, p->copy.dim, p->copy.dst_stride, true);
		break;
	case MICA_OP_FILL:
		touch(&t, core, &p->fill.dst, p->fill.dim, true);
		break;
	case MICA_OP_CONV: case MICA_OP_DWCONV:
		touch_conv(&t, core, &p->conv);
		break;
	case MICA_OP_MATMUL:
		touch_matmul(&t, core, &p->matmul);
		break;
	case MICA_OP_BINARY:
		touch(&t, core, &p->binary.a, p->binary.dim, false);
		touch(&t, core, &p->binary.b, p->binary.dim, false);
		touch(&t, core, &p->binary.c, p->binary.dim, false);
		touch(&t, core, &p->binary.dst, p->binary.dim, true);
		break;
	case MICA_OP_UNARY:
		TOUCH_ELEMENTS(&t, core, &p->unary);
		break;
	case MICA_OP_LUT:
		TOUCH_ELEMENTS(&t, core, &p->lut);
		break;
	case MICA_OP_POOL:
		TOUCH_WINDOW(&t, core, &p->pool);
		break;
	case MICA_OP_RESIZE:
		TOUCH_WINDOW(&t, core, &p->resize);
		break;
	case MICA_OP_REDUCE:
		touch_reduce(&t, core, &p->reduce);
		break;
	case MICA_OP_SOFTMAX: case MICA_OP_NORM:
		TOUCH_ELEMENTS(&t, core, &p->norm);
		break;
	default:
		break;
	}
	return t;
}

/* ---- streams ---- */

struct clock { uint32_t done[MICA_ENGINE_COUNT]; };	/* packets per engine that are known to be complete */

struct engine_log {		/* one engine of one core since the last barrier */
	uint32_t count;
	struct access *access;
	unsigned accesses, access_cap;
	struct clock *clock;	/* by ordinal: known when that packet is complete */
	unsigned clock_cap;
};
struct core_log {
	struct be_packets stream;
	struct engine_log engine[MICA_ENGINE_COUNT];
};
struct be_emit {
	unsigned cores;
	uint32_t barriers;
	struct core_log core[MICA_MAX_CORES];
};

struct be_emit *be_emit_new(unsigned cores)
{
	struct be_emit *e = ir_alloc(1, sizeof(*e));

	e->cores = cores;
	return e;
}

void be_emit_free(struct be_emit *e)
{
	if (!e)
		return;
	for (unsigned c = 0; c < e->cores; c++) {
		free(e->core[c].stream.pkt);
		for (unsigned i = 0; i < MICA_ENGINE_COUNT; i++) {
			free(e->core[c].engine[i].access);
			free(e->core[c].engine[i].clock);
		}
	}
	free(e);
}

const struct be_packets *be_emit_stream(const struct be_emit *e, unsigned core)
{
	return &e->core[core].stream;
}

/* The last packet of the engine after `known` that conflicts with t; 0: none. */
static uint32_t last_conflict(const struct engine_log *log, uint32_t known, const struct touched *t)
{
	for (unsigned i = log->accesses; i-- > 0;) {
		const struct access *a = &log->access[i];

		if (a->ordinal <= known)
			return 0;
		for (unsigned k = 0; k < t->n; k++)
			if (conflict(a, &t->a[k]))
				return a->ordinal;
	}
	return 0;
}

static void append(struct core_log *c, const union mica_pkt *p, unsigned core)
{
	unsigned me = mica_pkt_engine(p);
	struct touched t = touched_by(p, core);
	struct engine_log *log = &c->engine[me];
	struct clock known = { { 0 } };
	union mica_pkt *q;

	c->stream.pkt = ir_grow(c->stream.pkt, &c->stream.cap, c->stream.count + 1, sizeof(*q));
	q = &c->stream.pkt[c->stream.count++];
	*q = *p;
	if (log->count)
		known = log->clock[log->count];
	for (unsigned e = 0; e < MICA_ENGINE_COUNT; e++) {
		uint32_t wait = e == me ? 0 : last_conflict(&c->engine[e], known.done[e], &t);

		if (!wait)
			continue;
		q->hdr.wait[e] = wait;
		for (unsigned f = 0; f < MICA_ENGINE_COUNT; f++)
			if (c->engine[e].clock[wait].done[f] > known.done[f])
				known.done[f] = c->engine[e].clock[wait].done[f];
	}
	log->count++;
	known.done[me] = log->count;
	log->clock = ir_grow(log->clock, &log->clock_cap, log->count + 1, sizeof(*log->clock));
	log->clock[log->count] = known;
	for (unsigned k = 0; k < t.n; k++) {
		log->access = ir_grow(log->access, &log->access_cap, log->accesses + 1, sizeof(*log->access));
		t.a[k].ordinal = log->count;
		log->access[log->accesses++] = t.a[k];
	}
}

/* Nothing is known of what was before: everything is complete. */
static void forget(struct core_log *c)
{
	for (unsigned i = 0; i < MICA_ENGINE_COUNT; i++) {
		c->engine[i].count = 0;
		c->engine[i].accesses = 0;
	}
}

static void barrier(struct be_emit *e, unsigned layer, uint32_t flags)
{
	e->barriers++;
	for (unsigned c = 0; c < e->cores; c++) {
		struct mica_pkt_ctl *p = &be_packet(&e->core[c].stream, MICA_OP_BARRIER, layer)->ctl;

		p->flags = flags;
		p->id = e->barriers;
		forget(&e->core[c]);
	}
}

/* Does a packet of core `me` meet what another core has done since the last barrier? */
static bool meets_others(const struct be_emit *e, const union mica_pkt *p, unsigned me)
{
	struct touched t = touched_by(p, me);

	for (unsigned c = 0; c < e->cores; c++)
		for (unsigned i = 0; i < MICA_ENGINE_COUNT && c != me; i++)
			if (last_conflict(&e->core[c].engine[i], 0, &t))
				return true;
	return false;
}

void be_emit_step(struct be_emit *e, struct be_packets *core)
{
	bool meet = false;
	unsigned layer = 0;

	for (unsigned c = 0; c < e->cores && e->cores > 1; c++) {
		for (unsigned i = 0; i < core[c].count && !meet; i++)
			meet = meets_others(e, &core[c].pkt[i], c);
		if (core[c].count)
			layer = core[c].pkt[0].hdr.layer;
	}
	if (meet)
		barrier(e, layer, 0);
	for (unsigned c = 0; c < e->cores; c++)
		for (unsigned i = 0; i < core[c].count; i++)
			append(&e->core[c], &core[c].pkt[i], c);
}

void be_emit_checkpoint(struct be_emit *e, unsigned layer)
{
	barrier(e, layer, MICA_BARRIER_CHECKPOINT);
}

void be_emit_end(struct be_emit *e, unsigned layer)
{
	for (unsigned c = 0; c < e->cores; c++) {
		be_packet(&e->core[c].stream, MICA_OP_END, layer);
		forget(&e->core[c]);
	}
}
