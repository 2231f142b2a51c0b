/* SPDX-License-Identifier: MIT */
/*
 * Context slots: their rings, doorbells, and the steps that take the entry at the head of a ring from fetched to
 * JOB_DONE, also when the context is being aborted or destroyed.
 */
#include "fw.h"

#define STEP_LIMIT	16u	/* entries of one context in a row, so that a ring full of bad ones holds nobody else up */

void ctx_attend(u32 slot)
{
	set_bit(fw.attention, slot);
}

static struct fw_context *active_context(u32 slot)
{
	return slot && slot < fw.contexts && fw.ctx[slot].active ? &fw.ctx[slot] : NULL;
}

/* ---- doorbells ---- */

/* The producer index may only go forward and at most one ring ahead of the head. */
static void take_doorbell(u32 slot)
{
	u32 value = hw_read(MICA_LREG_DB_VALUE(slot));
	struct fw_context *c = active_context(slot);

	if (!c)
		return;
	if (value - c->head > c->entries || value - c->head < c->tail - c->head) {
		if (!c->bad_doorbell)
			fw_log(FW_LOG_ERROR, "context %u: doorbell %u ignored, head %u, tail %u, %u entries", slot, value,
			       c->head, c->tail, c->entries);
		c->bad_doorbell = true;
		return;
	}
	c->tail = value;
	ctx_attend(slot);
}

/* Clears the pending bits before the values are read, so that a ring in between is seen again. */
void ctx_doorbells(void)
{
	u32 pending[2] = { hw_read(MICA_LREG_DB_PENDING_LO), hw_read(MICA_LREG_DB_PENDING_HI) };
	u32 slot;

	if (pending[0])
		hw_write(MICA_LREG_DB_PENDING_LO, pending[0]);
	if (pending[1])
		hw_write(MICA_LREG_DB_PENDING_HI, pending[1]);
	for_each_bit(slot, pending)
		take_doorbell(slot);
}

/* ---- create, destroy, abort ---- */

static void mmu_slot(u32 slot, u64 root, u32 ctrl)
{
	hw_write(MICA_LREG_CTX_SEL, slot);
	hw_write(MICA_LREG_CTX_ROOT_LO, (u32)root);
	hw_write(MICA_LREG_CTX_ROOT_HI, (u32)(root >> 32));
	hw_write(MICA_LREG_CTX_CTRL, ctrl);
}

u32 ctx_create(u32 slot, const struct mica_fw_msg *m)
{
	u64 root = m->arg[0], ring = m->arg[1], entries = m->arg[2], priority = m->arg[3];
	struct fw_context *c;

	if (!slot || slot >= fw.contexts || !root || (root & ~MICA_PTE_ADDR_MASK) || !ring || ring % 64 || !entries ||
	    entries > FW_MAX_ENTRIES || (entries & (entries - 1)) || priority >= FW_PRIORITIES)
		return MICA_FW_E_ARG;
	c = &fw.ctx[slot];
	if (c->active)
		return MICA_FW_E_STATE;
	*c = (struct fw_context){ .active = true, .priority = (u8)priority, .entries = (u32)entries, .ring = ring };
	/* What is pending was rung for the slot's last owner. */
	hw_write(slot < 32 ? MICA_LREG_DB_PENDING_LO : MICA_LREG_DB_PENDING_HI, 1u << (slot & 31));
	mmu_slot(slot, root, MICA_CTX_CTRL_SET);
	fw_log(FW_LOG_INFO, "context %u: %u entries, priority %u", slot, c->entries, (u32)c->priority);
	return MICA_FW_OK;
}

u32 ctx_destroy(u32 slot, u32 seq)
{
	struct fw_context *c = active_context(slot);

	if (!c || c->destroying)
		return MICA_FW_E_STATE;
	c->destroying = true;
	c->destroy_seq = seq;
	ctx_attend(slot);
	return FW_DEFERRED;
}

/* Covers every job whose doorbell was rung before the message. */
u32 ctx_abort(u32 slot, u32 seq)
{
	struct fw_context *c = active_context(slot);

	if (!c || c->destroying || c->aborting)
		return MICA_FW_E_STATE;
	ctx_doorbells();
	c->aborting = true;
	c->abort_until = c->tail;
	c->abort_seq = seq;
	ctx_attend(slot);
	return FW_DEFERRED;
}

/* ---- steps ---- */

static void send_done(struct fw_context *c)
{
	struct fw_job *j = &c->job;
	struct mica_fw_msg m = {
		.type = MICA_MSG_JOB_DONE,
		.ctx = ctx_slot(c),
		.status = j->fault.code,
		.arg = {
			j->seqno, j->cycles, j->fault.addr, (u64)j->fault.info << 32 | j->fault.packet,
			j->fault.core << 16 | (j->fault.layer & 0xffff), j->started ? fw.now - j->first_start : 0,
		},
	};

	mbox_post(&m);
	if (j->fault.code)
		fw.telemetry.jobs_faulted++;
	else
		fw.telemetry.jobs_done++;
	fw_log(j->fault.code && j->fault.code != MICA_FAULT_ABORTED ? FW_LOG_ERROR : FW_LOG_DEBUG,
	       "context %u job %llx: fault %u info %u at %llx, core %u packet %x layer %u", m.ctx, j->seqno,
	       j->fault.code, j->fault.info, j->fault.addr, j->fault.core, j->fault.packet, j->fault.layer);
}

static void finish_destroy(struct fw_context *c)
{
	u32 slot = ctx_slot(c);

	mmu_slot(slot, 0, MICA_CTX_CTRL_CLEAR);
	mbox_ack(c->destroy_seq, MICA_FW_OK);
	c->active = false;
	fw_log(FW_LOG_INFO, "context %u: destroyed", slot);
}

/* No job is in flight. Returns true when the next entry of the ring was taken up. */
static bool step_idle(struct fw_context *c)
{
	if (c->aborting && c->head == c->abort_until) {
		if (!mbox_room())
			return false;
		mbox_ack(c->abort_seq, MICA_FW_OK);
		c->aborting = false;
	}
	if (c->head == c->tail)
		return false;
	job_fetch(c);
	return true;
}

/* Waiting, with an abort or a destroy upon it: it ends here. */
static void drop_ready(struct fw_context *c)
{
	sched_forget(c);
	c->job.state = FW_JOB_DONE;
	c->job.fault.code = MICA_FAULT_ABORTED;
}

/* An abort that was still going on is answered first, in a step of its own: each ACK needs room of its own. */
static bool step_destroy(struct fw_context *c)
{
	switch (c->job.state) {
	case FW_JOB_RUNNING:
		job_kill(c, MICA_FAULT_ABORTED, first_core(c->job.gang));
		return false;
	case FW_JOB_STOPPING:
		return false;
	case FW_JOB_READY:
		drop_ready(c);
		return true;
	default:
		break;
	}
	if (!mbox_room())
		return false;
	if (c->aborting) {
		mbox_ack(c->abort_seq, MICA_FW_OK);
		c->aborting = false;
		return true;
	}
	finish_destroy(c);
	return false;
}

/* One transition. Returns true when another one may be possible at once. */
static bool step(struct fw_context *c)
{
	if (c->destroying)
		return step_destroy(c);
	switch (c->job.state) {
	case FW_JOB_NONE:
		return step_idle(c);
	case FW_JOB_READY:
		if (!c->aborting)
			return false;
		drop_ready(c);
		return true;
	case FW_JOB_RUNNING:
		if (c->aborting)
			job_kill(c, MICA_FAULT_ABORTED, first_core(c->job.gang));
		return false;
	case FW_JOB_DONE:
		if (!mbox_room())
			return false;
		send_done(c);
		c->job.state = FW_JOB_NONE;
		c->head++;
		return true;
	default:
		return false;
	}
}

static void step_context(u32 slot)
{
	bool stalled = fw.stalled;
	u32 n = 0;

	fw.stalled = false;
	clear_bit(fw.attention, slot);
	while (fw.ctx[slot].active && n < STEP_LIMIT && step(&fw.ctx[slot]))
		n++;
	if (fw.stalled || n == STEP_LIMIT)
		ctx_attend(slot);
	fw.stalled |= stalled;
}

void ctx_step_all(void)
{
	u32 slot;

	for_each_bit(slot, fw.attention)
		step_context(slot);
}
