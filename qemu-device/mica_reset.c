/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Full reset, from the PCI side (bus reset, FLR) or CTRL.RESET. Registers are new at once; threads are told to stop and
 * STATUS.READY comes back when the last one has let go. Nobody waits.
 */
#include "qemu/osdep.h"
#include "mica_internal.h"
#include "trace.h"

static void reset_core(struct mica_core *c)
{
	memset(c->reg, 0, sizeof(c->reg));
	c->preempt = false;
	c->keep_lmem = false;
	c->hung = false;
	c->offset = 0;
	c->lmem_owner = 0;
}

void mica_reset_begin(MicaState *s)
{
	s->epoch++;
	s->resetting = true;
	trace_mica_reset(s->epoch);
	mica_regs_reset(s);
	mica_local_reset(s);
	mica_inject_reset(s);
	qatomic_set(&s->link_down, false);
	s->mcu_boot = false;
	s->mcu_run = false;
	s->mcu_waiting = false;
	s->mcu_hung = false;
	for (unsigned i = 0; i < MICA_MAX_CONTEXTS; i++)
		mica_context_clear(s, i);
	for (unsigned i = 0; i < s->cores; i++) {
		s->core[i].go = false;
		atomic_store(&s->core[i].stop, true);
		qemu_cond_signal(&s->core[i].cond);
	}
	mica_mcu_kick(s);
}

void mica_reset_progress(MicaState *s)
{
	if (!s->resetting || s->in_reset || s->mcu_busy)
		return;
	for (unsigned i = 0; i < s->cores; i++) {
		if (s->core[i].busy)
			return;
	}
	for (unsigned i = 0; i < s->cores; i++)
		reset_core(&s->core[i]);
	s->resetting = false;
	MICA_REG(s, CTRL) = 0;
	MICA_REG(s, STATUS) = MICA_STATUS_READY_MASK;
	trace_mica_reset_done(s->epoch);
}

bool mica_all_still(MicaState *s)
{
	if (s->mcu_busy)
		return false;
	for (unsigned i = 0; i < s->cores; i++) {
		if (s->core[i].busy && !s->core[i].still)
			return false;
	}
	return true;
}
