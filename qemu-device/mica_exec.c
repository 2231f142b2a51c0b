/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One job on one core: descriptor, stream, packets, end. The stream is copied once, a chunk at a time, into private
 * memory; every packet is validated there and executed in stream order. Packets in front of c->offset (a resumed or
 * migrated job) are validated and timed but not executed, so that limits, counters and cycles come out the same.
 */
#include "qemu/osdep.h"
#include "qemu/log.h"
#include "mica_internal.h"
#include "trace.h"

/* ---- begin ---- */

/* What another address space left in LMEM is none of this one's business. */
static void claim_lmem(struct mica_core *c)
{
	uint64_t owner = 0;
	bool keep;

	WITH_QEMU_LOCK_GUARD(&c->s->lock) {
		uint32_t ctx = MICA_CREG(c, CTX);

		keep = c->keep_lmem;
		c->keep_lmem = false;
		if (ctx < c->s->contexts)
			owner = c->s->ctx[ctx].owner;
	}
	if (!keep && (!owner || c->lmem_owner != owner))
		memset(c->lmem, 0, c->s->lmem_size);
	c->lmem_owner = owner;
}

static void clear_run(struct mica_run *r)
{
	uint8_t *buf = r->buf;

	memset(r, 0, sizeof(*r));
	r->buf = buf;
}

static int begin(struct mica_core *c)
{
	struct mica_run *r = &c->run;
	struct mica_meeting start = { .what = MICA_MEET(MICA_MEET_START, 0, 0) };
	int fault;

	clear_run(r);
	r->resume = MICA_CREG(c, RESUME);
	trace_mica_job_start(c->index, MICA_CREG64(c, DESC), MICA_CREG(c, CTX), c->offset);
	if (MICA_CREG(c, CTX) == 0 || MICA_CREG(c, CTX) >= c->s->contexts)
		return MICA_FAULT_DESC;
	fault = mica_desc_fetch(c);
	if (fault)
		return fault;
	claim_lmem(c);
	mica_dma_bind(c);
	if (mica_timeline_init(&r->timeline, &c->s->params, r->desc.cores, r->layers))
		return MICA_FAULT_DESC;
	r->timed = true;
	mica_gang_join(c);
	return mica_gang_meet(c, &start);	/* peers may write here from now on, not before */
}

/* ---- stream ---- */

/* Makes the packet at r->pos whole in the private copy, as far as the stream goes. *avail: its bytes from there on. */
static int fetch(struct mica_core *c, size_t *avail)
{
	struct mica_run *r = &c->run;
	const struct mica_job_stream *st = &r->desc.stream[r->index];
	uint32_t left = st->size - r->pos, have = r->buf_pos + r->buf_len - r->pos, want;
	int fault;

	if (!left)
		return MICA_FAULT_STREAM;
	if (have < MIN(left, MICA_PKT_MAX)) {
		memmove(r->buf, r->buf + r->pos - r->buf_pos, have);
		want = MIN(left, MICA_STREAM_CHUNK) - have;
		fault = mica_va_read(c, st->va + r->pos + have, r->buf + have, want);
		r->buf_pos = r->pos;
		r->buf_len = have;
		if (fault)
			return fault;
		have += want;
		r->buf_len = have;
	}
	*avail = have;
	return 0;
}

static int validate(struct mica_core *c, const union mica_pkt *p, size_t avail)
{
	struct mica_run *r = &c->run;
	const char *field = NULL;
	enum mica_check check = mica_check_packet(p, avail, &r->lim, &r->check, &field);

	if (check == MICA_OK)
		return 0;
	r->fault_info = check;
	trace_mica_refused(c->index, r->pos, mica_check_name(check), field ? field : "-");
	return MICA_FAULT_PACKET;
}

/* RESUME points into a packet, or behind the end. */
static int bad_resume(struct mica_core *c)
{
	c->run.fault_addr = MICA_CREG64(c, DESC);
	return MICA_FAULT_DESC;
}

/* ---- packets ---- */

/* Between packets: the VM may be stopped, and this is where a stop is seen that no kernel looked at. */
static int rest_if_paused(struct mica_core *c)
{
	MicaState *s = c->s;

	if (qatomic_read(&s->paused)) {
		QEMU_LOCK_GUARD(&s->lock);
		while (s->paused && mica_core_nap(c))
			;
	}
	return atomic_load(&c->stop) ? MICA_FAULT_ABORTED : 0;
}

static void step_over(struct mica_core *c, const union mica_pkt *p)
{
	c->run.pos += p->hdr.units * MICA_PKT_ALIGN;
	qatomic_set(&MICA_CREG(c, PROGRESS), MICA_CREG(c, PROGRESS) + 1);
	if (c->run.pos > c->offset)
		c->offset = c->run.pos;
}

static int meet_barrier(struct mica_core *c, const union mica_pkt *p)
{
	struct mica_run *r = &c->run;
	struct mica_meeting m = {
		.what = MICA_MEET(MICA_MEET_BARRIER, p->ctl.flags, p->ctl.id),
		.when = mica_timeline_drain(&r->timeline),
		.may_preempt = p->ctl.flags & MICA_BARRIER_CHECKPOINT && r->pos >= c->offset,
	};
	int fault = mica_gang_meet(c, &m);

	if (fault)
		return fault;
	mica_timeline_barrier(&r->timeline, m.when);
	step_over(c, p);
	r->preempted = m.may_preempt;
	return 0;
}

static int work(struct mica_core *c, const union mica_pkt *p)
{
	struct mica_run *r = &c->run;
	int fault = 0;

	if (r->pos >= c->offset)
		fault = mica_exec(c->engine, p, &r->mem);
	if (fault)
		return fault;
	if (mica_timeline_packet(&r->timeline, p))
		return MICA_FAULT_DESC;		/* no memory for the packet counts of a job */
	step_over(c, p);
	return 0;
}

/* ---- end ---- */

static void gather_timelines(struct mica_core *c, struct mica_timeline *t[])
{
	MicaState *s = c->s;

	QEMU_LOCK_GUARD(&s->lock);
	for (unsigned i = 0; i < s->cores; i++) {
		if (c->gang->cores & (1u << i))
			t[s->core[i].run.index] = &s->core[i].run.timeline;
	}
}

/* By the last core to arrive at the end, while the others stand still. */
static int write_stats(struct mica_core *c)
{
	struct mica_run *r = &c->run;
	struct mica_timeline *t[MICA_MAX_CORES] = { NULL };
	size_t layer_bytes = r->layers * sizeof(struct mica_layer_stats);
	g_autofree struct mica_job_stats *stats = NULL;
	uint64_t va;

	if (r->desc.stats_segment == MICA_JOB_NO_STATS)
		return 0;
	gather_timelines(c, t);
	stats = g_malloc0(sizeof(*stats) + layer_bytes);
	mica_timeline_report(t, r->desc.cores, stats, (struct mica_layer_stats *)(stats + 1), r->layers);
	va = r->desc.segment[r->desc.stats_segment].va;
	return mica_va_write(c, va, stats, sizeof(*stats) + layer_bytes);
}

static int end(struct mica_core *c)
{
	struct mica_run *r = &c->run;
	struct mica_meeting m = {
		.what = MICA_MEET(MICA_MEET_END, 0, 0),
		.when = mica_timeline_drain(&r->timeline),
		.last = write_stats,
	};
	int fault;

	if (r->pos < c->offset)
		return bad_resume(c);
	fault = mica_gang_meet(c, &m);
	r->ended = !fault;
	return fault;
}

static int step(struct mica_core *c)
{
	struct mica_run *r = &c->run;
	const union mica_pkt *p;
	size_t avail = 0;
	int fault = rest_if_paused(c);

	if (!fault)
		fault = fetch(c, &avail);
	if (fault)
		return fault;
	p = (const union mica_pkt *)(r->buf + r->pos - r->buf_pos);
	r->layer = p->hdr.layer;
	if (r->pos == r->resume)
		r->base_cycles = mica_timeline_drain(&r->timeline);
	fault = validate(c, p, avail);
	if (!fault && r->pos < c->offset && c->offset - r->pos < p->hdr.units * MICA_PKT_ALIGN)
		fault = bad_resume(c);
	if (!fault && r->pos >= c->offset)
		fault = mica_inject_packet(c);
	if (fault)
		return fault;
	trace_mica_packet(c->index, r->pos, mica_op_name(p->hdr.opcode), p->hdr.layer);
	switch (p->hdr.opcode) {
	case MICA_OP_END:
		return end(c);
	case MICA_OP_BARRIER:
		return meet_barrier(c, p);
	default:
		return work(c, p);
	}
}

int mica_core_run(struct mica_core *c)
{
	struct mica_run *r = &c->run;
	int fault = begin(c);

	while (!fault && !r->ended && !r->preempted)
		fault = step(c);
	if (r->timed) {
		uint64_t cycles = mica_timeline_drain(&r->timeline);

		r->cycles = cycles > r->base_cycles ? cycles - r->base_cycles : 0;
		mica_timeline_fini(&r->timeline);
		r->timed = false;
	}
	mica_dma_trim(c);
	return fault;
}
