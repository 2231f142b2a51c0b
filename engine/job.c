// SPDX-License-Identifier: MIT
/* A whole job on this CPU: the cores' streams take turns from barrier to barrier, each packet uses all threads. */
#include "engine_internal.h"

#include <string.h>

struct cursor {			/* one core's place in its stream */
	const uint8_t *at;
	size_t left;
	uint32_t packet;
	struct mica_check_state state;
};

static int fail(struct mica_job_fault *fault, int code, unsigned core, uint32_t packet, enum mica_check check,
		const char *field)
{
	if (fault)
		*fault = (struct mica_job_fault){ code, core, packet, check, field };
	return code;
}

static void start(struct cursor *c, const struct mica_job *job, unsigned core)
{
	*c = (struct cursor){ .at = job->stream[core], .left = job->stream_size[core] };
}

static void advance(struct cursor *c)
{
	size_t bytes = ((const union mica_pkt *)c->at)->hdr.units * (size_t)MICA_PKT_ALIGN;

	c->at += bytes;
	c->left -= bytes;
	c->packet++;
}

/* Checks from the cursor up to and with the next BARRIER or END, which *last then is. */
static int check_stretch(struct cursor *c, const struct mica_job *job, unsigned core, const union mica_pkt **last,
			 struct mica_job_fault *fault)
{
	for (;;) {
		const union mica_pkt *p = (const union mica_pkt *)c->at;
		const char *field;
		enum mica_check why;

		if (!c->left)
			return fail(fault, MICA_FAULT_STREAM, core, c->packet, MICA_OK, NULL);
		why = mica_check_packet(p, c->left, &job->lim, &c->state, &field);
		if (why)
			return fail(fault, MICA_FAULT_PACKET, core, c->packet, why, field);
		if (p->hdr.opcode == MICA_OP_END || p->hdr.opcode == MICA_OP_BARRIER) {
			*last = p;
			return 0;
		}
		advance(c);
	}
}

static bool same_barrier(const union mica_pkt *a, const union mica_pkt *b)
{
	return a->hdr.opcode == b->hdr.opcode && (a->hdr.opcode == MICA_OP_END || a->ctl.id == b->ctl.id);
}

int mica_job_check(const struct mica_job *job, struct mica_job_fault *fault)
{
	struct cursor cur[MICA_MAX_CORES];
	const union mica_pkt *last[MICA_MAX_CORES];
	int err;

	if (!job->cores || job->cores > MICA_MAX_CORES || job->lim.cores != job->cores ||
	    job->lim.segments > MICA_MAX_SEGMENTS)
		return fail(fault, MICA_FAULT_DESC, 0, 0, MICA_OK, NULL);
	for (unsigned i = 0; i < job->cores; i++)
		start(&cur[i], job, i);
	do {
		for (unsigned i = 0; i < job->cores; i++) {
			err = check_stretch(&cur[i], job, i, &last[i], fault);
			if (err)
				return err;
			if (!same_barrier(last[0], last[i]))
				return fail(fault, MICA_FAULT_BARRIER, i, cur[i].packet, MICA_OK, "id");
		}
		for (unsigned i = 0; i < job->cores; i++)
			advance(&cur[i]);
	} while (last[0]->hdr.opcode != MICA_OP_END);
	return 0;
}

/* ---- Execution ------------------------------------------------------------------------------------------------------- */

struct run {
	struct mica_engine *e;
	const struct mica_job *job;
	struct mica_job_fault *fault;
	struct mica_mem mem;
	struct cursor cur[MICA_MAX_CORES];
	struct mica_timeline time[MICA_MAX_CORES];
	bool timed;
};

static int tick(struct run *r, unsigned core, const union mica_pkt *p)
{
	if (r->timed && mica_timeline_packet(&r->time[core], p))
		return fail(r->fault, MICA_FAULT_BUS, core, r->cur[core].packet, MICA_OK, NULL);
	return 0;
}

/* Runs one core up to and with its next BARRIER or END. */
static int run_stretch(struct run *r, unsigned core, bool *end)
{
	struct cursor *c = &r->cur[core];

	r->mem.core = core;
	for (;;) {
		const union mica_pkt *p = (const union mica_pkt *)c->at;
		int err = tick(r, core, p);

		if (err)
			return err;
		*end = p->hdr.opcode == MICA_OP_END;
		if (*end || p->hdr.opcode == MICA_OP_BARRIER) {
			advance(c);
			return 0;
		}
		err = mica_exec(r->e, p, &r->mem);
		if (err)
			return fail(r->fault, err, core, c->packet, MICA_OK, NULL);
		advance(c);
	}
}

static void meet(struct run *r)
{
	uint64_t when = 0;

	if (!r->timed)
		return;
	for (unsigned i = 0; i < r->job->cores; i++) {
		uint64_t t = mica_timeline_drain(&r->time[i]);

		when = t > when ? t : when;
	}
	for (unsigned i = 0; i < r->job->cores; i++)
		mica_timeline_barrier(&r->time[i], when);
}

static int run_all(struct run *r)
{
	bool end = false;

	for (;;) {
		for (unsigned i = 0; i < r->job->cores; i++) {
			int err = run_stretch(r, i, &end);

			if (err)
				return err;
		}
		if (end)
			return 0;
		meet(r);
	}
}

static void report(struct run *r)
{
	struct mica_timeline *t[MICA_MAX_CORES];

	for (unsigned i = 0; i < r->job->cores; i++)
		t[i] = &r->time[i];
	mica_timeline_report(t, r->job->cores, r->job->stats, r->job->layer, r->job->layers);
}

int mica_job_run(struct mica_engine *e, const struct mica_job *job, struct mica_job_fault *fault)
{
	struct run r = { .e = e, .job = job, .fault = fault, .timed = job->stats != NULL };
	unsigned timelines = 0;
	int err = 0;

	if (!job->checked) {
		err = mica_job_check(job, fault);
		if (err)
			return err;
	}
	r.mem.lmem_size = job->lim.lmem_size;
	r.mem.stop = job->stop;
	memcpy(r.mem.lmem, job->lmem, sizeof(r.mem.lmem));
	memcpy(r.mem.seg, job->seg, sizeof(r.mem.seg));
	for (unsigned i = 0; i < job->cores; i++)
		start(&r.cur[i], job, i);
	for (; r.timed && timelines < job->cores && !err; timelines++)
		if (mica_timeline_init(&r.time[timelines], &mica_params_default, job->cores, job->layer ? job->layers : 0))
			err = fail(fault, MICA_FAULT_BUS, timelines, 0, MICA_OK, NULL);
	pool_begin(e->pool);
	if (!err)
		err = run_all(&r);
	pool_end(e->pool);
	if (!err && r.timed)
		report(&r);
	while (timelines)
		mica_timeline_fini(&r.time[--timelines]);
	return err;
}
