/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A core's registers as the firmware sees them: commands in, status and faults out. Everything here holds the lock. */
#include "qemu/osdep.h"
#include "qemu/log.h"
#include "mica_internal.h"
#include "trace.h"

static const struct mica_reg creg_table[MICA_CREG_WORDS] = { MICA_CORE_REGS(MICA_REG_ENTRY) };

static void core_error(struct mica_core *c, const char *what, uint32_t off)
{
	qemu_log_mask(LOG_GUEST_ERROR, TYPE_MICA ": firmware: core %u: %s 0x%" PRIx32 "\n", c->index, what, off);
}

uint32_t mica_core_read(struct mica_core *c, uint32_t off)
{
	const struct mica_reg *r = &creg_table[off / 4];

	if (!r->name || r->access == MICA_WO) {
		core_error(c, "load from", off);
		return 0;
	}
	return qatomic_read(&c->reg[off / 4]);
}

static void clear_outcome(struct mica_core *c)
{
	MICA_CREG(c, FAULT) = 0;
	MICA_CREG(c, FAULT_INFO) = 0;
	MICA_CREG(c, FAULT_ADDR_LO) = 0;
	MICA_CREG(c, FAULT_ADDR_HI) = 0;
	MICA_CREG(c, FAULT_PKT) = 0;
	MICA_CREG(c, FAULT_LAYER) = 0;
	MICA_CREG(c, CYCLES_LO) = 0;
	MICA_CREG(c, CYCLES_HI) = 0;
}

static void start(struct mica_core *c)
{
	if (MICA_CREG(c, STATUS) != MICA_CORE_IDLE || c->busy) {
		core_error(c, "START of a busy core", MICA_CREG(c, STATUS));
		return;
	}
	clear_outcome(c);
	MICA_CREG(c, STATUS) = MICA_CORE_RUNNING;
	c->offset = MICA_CREG(c, RESUME);
	c->preempt = false;
	c->keep_lmem = false;
	atomic_store(&c->stop, false);
	c->go = true;
	qemu_cond_signal(&c->cond);
}

static void command(struct mica_core *c, uint32_t value)
{
	trace_mica_core_command(c->index, value);
	if (value & MICA_CORE_CTRL_ACK && MICA_CREG(c, STATUS) != MICA_CORE_RUNNING)
		MICA_CREG(c, STATUS) = MICA_CORE_IDLE;
	if (value & MICA_CORE_CTRL_START)
		start(c);
	if (MICA_CREG(c, STATUS) != MICA_CORE_RUNNING)
		return;
	if (value & MICA_CORE_CTRL_PREEMPT)
		c->preempt = true;
	if (value & MICA_CORE_CTRL_KILL) {
		atomic_store(&c->stop, true);
		qemu_cond_signal(&c->cond);
	}
}

void mica_core_write(struct mica_core *c, uint32_t off, uint32_t value)
{
	const struct mica_reg *r = &creg_table[off / 4];

	if (off == MICA_CREG_CTRL)
		command(c, value);
	else if (MICA_CREG(c, STATUS) == MICA_CORE_RUNNING)
		core_error(c, "store while it runs to", off);
	else if (r->name && r->access == MICA_RW)
		c->reg[off / 4] = value;
	else
		core_error(c, "store to", off);
}

void mica_core_end(struct mica_core *c, int fault)
{
	const struct mica_run *r = &c->run;

	MICA_CREG(c, CYCLES_LO) = (uint32_t)r->cycles;
	MICA_CREG(c, CYCLES_HI) = (uint32_t)(r->cycles >> 32);
	if (fault) {
		MICA_CREG(c, STATUS) = MICA_CORE_FAULT;
		MICA_CREG(c, FAULT) = fault;
		MICA_CREG(c, FAULT_INFO) = r->fault_info;
		MICA_CREG(c, FAULT_ADDR_LO) = (uint32_t)r->fault_addr;
		MICA_CREG(c, FAULT_ADDR_HI) = (uint32_t)(r->fault_addr >> 32);
		MICA_CREG(c, FAULT_PKT) = r->pos;
		MICA_CREG(c, FAULT_LAYER) = r->layer;
	} else if (r->preempted) {
		MICA_CREG(c, STATUS) = MICA_CORE_PREEMPTED;
		MICA_CREG(c, RESUME) = r->pos;
	} else {
		MICA_CREG(c, STATUS) = MICA_CORE_DONE;
	}
	trace_mica_core_end(c->index, MICA_CREG(c, STATUS), fault, r->fault_info, r->fault_addr, r->pos);
	c->s->irq_edges |= MICA_LIRQ_CORE;
	mica_local_update(c->s);
}
