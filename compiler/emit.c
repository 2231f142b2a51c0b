// SPDX-License-Identifier: MIT
/*
 * Streams: appends packets, gives each the waits that its memory accesses ask for, and meets the other cores at barriers.
 * A packet waits per engine for the last earlier packet that touches the same bytes, one of the two writing.
 */
#include <stdlib.h>
#include <string.h>
#include "access.h"
#include "backend.h"

/* ---- accesses: strided blocks of one memory ---- */

#define MEM_DRAM 16		/* memories: 0.. LMEM of core i, MEM_DRAM + segment */

struct axis { int64_t count, stride; };
struct block {
	unsigned mem;
	bool write;
	int64_t lo, hi;			/* bytes [lo, hi) */
	int64_t run;			/* contiguous bytes at each position */
	unsigned axes;			/* strides descending */
	struct axis axis[4];
	uint32_t ordinal;
};

static void sort_axes(struct block *a)
{
	for (unsigned i = 1; i < a->axes; i++)
		for (unsigned j = i; j > 0 && a->axis[j - 1].stride < a->axis[j].stride; j--) {
			struct axis t = a->axis[j];

			a->axis[j] = a->axis[j - 1];
			a->axis[j - 1] = t;
		}
}

static struct block make_block(unsigned mem, const struct access *from)
{
	struct block a = { .mem = mem, .write = from->write, .lo = from->lo, .hi = from->hi, .run = from->elem };

	for (unsigned d = 0; d < 4; d++)
		if (from->dim[d] > 1 && from->stride[d])
			a.axis[a.axes++] = (struct axis){ from->dim[d], from->stride[d] < 0 ? -from->stride[d] : from->stride[d] };
	if (!a.axes)
		a.run = a.hi - a.lo;
	sort_axes(&a);
	while (a.axes && a.axis[a.axes - 1].stride <= a.run) {
		a.axes--;
		a.run += (a.axis[a.axes].count - 1) * a.axis[a.axes].stride;
	}
	return a;
}

/* Do blocks a and b, at oa and ob, share a byte? False only when they certainly do not. */
static bool blocks_meet(const struct block *a, unsigned ia, int64_t oa, const struct block *b, unsigned ib, int64_t ob)
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

static bool conflict(const struct block *a, const struct block *b)
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

struct touched { struct block a[ACCESS_MAX]; unsigned n; };

/* All but the weights, which nobody writes. */
static struct touched touched_by(const union mica_pkt *p, unsigned core)
{
	struct access a[ACCESS_MAX];
	unsigned n = access_of(p, core, a);
	struct touched t = { .n = 0 };

	for (unsigned i = 0; i < n; i++) {
		unsigned mem = a[i].space >= ACCESS_LMEM ? a[i].space - ACCESS_LMEM : MEM_DRAM + a[i].space;

		if (a[i].space != MICA_SEG_WEIGHTS)
			t.a[t.n++] = make_block(mem, &a[i]);
	}
	return t;
}

/* ---- streams ---- */

struct clock { uint32_t done[MICA_ENGINE_COUNT]; };	/* packets per engine that are known to be complete */

struct engine_log {		/* one engine of one core since the last barrier */
	uint32_t count;
	struct block *access;
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
		const struct block *a = &log->access[i];

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
