// SPDX-License-Identifier: MIT
/* A whole job on this CPU: its check, and a run that is not repeated. */
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

int mica_job_run(struct mica_engine *e, const struct mica_job *job, struct mica_job_fault *fault)
{
	struct mica_binding b = { .stop = job->stop };
	struct mica_prepared *p;
	int code = mica_job_prepare(job, NULL, &p, fault);

	if (code)
		return code;
	memcpy(b.lmem, job->lmem, sizeof(b.lmem));
	memcpy(b.seg, job->seg, sizeof(b.seg));
	code = mica_prepared_run(e, p, &b, fault);
	if (!code && job->stats)
		mica_prepared_stats(p, job->stats, job->layer);
	mica_prepared_free(p);
	return code;
}
