/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What migrates. The threads rest when this is saved (mica_pci.c's handler saw to it): cores between two packets, the
 * microcontroller between two instructions. A running job is not saved beyond LMEM and its offset: the other side
 * fetches descriptor and stream again and replays the packets before the offset without executing them (mica_exec.c).
 */
#include "qemu/osdep.h"
#include "hw/pci/msix.h"
#include "migration/vmstate.h"
#include "mica_internal.h"

static const VMStateDescription vmstate_cpu = {
	.name = TYPE_MICA "/rv32",
	.version_id = 1,
	.minimum_version_id = 1,
	.fields = (const VMStateField[]) {
		VMSTATE_UINT32_ARRAY(x, struct rv32, 32),
		VMSTATE_UINT32(pc, struct rv32),
		VMSTATE_UINT32(mstatus, struct rv32),
		VMSTATE_UINT32(mie, struct rv32),
		VMSTATE_UINT32(mtvec, struct rv32),
		VMSTATE_UINT32(mscratch, struct rv32),
		VMSTATE_UINT32(mepc, struct rv32),
		VMSTATE_UINT32(mcause, struct rv32),
		VMSTATE_UINT32(mtval, struct rv32),
		VMSTATE_UINT64(mcycle, struct rv32),
		VMSTATE_UINT64(minstret, struct rv32),
		VMSTATE_UINT32(irq, struct rv32),
		VMSTATE_UINT32(waiting, struct rv32),
		VMSTATE_UINT32(crashed, struct rv32),
		VMSTATE_END_OF_LIST()
	}
};

static const VMStateDescription vmstate_core = {
	.name = TYPE_MICA "/core",
	.version_id = 1,
	.minimum_version_id = 1,
	.fields = (const VMStateField[]) {
		VMSTATE_UINT32_ARRAY(reg, struct mica_core, MICA_CREG_WORDS),
		VMSTATE_UINT32(offset, struct mica_core),
		VMSTATE_BOOL(preempt, struct mica_core),
		VMSTATE_BOOL(hung, struct mica_core),
		VMSTATE_BOOL(inject_hang, struct mica_core),
		VMSTATE_BOOL(inject_dma_error, struct mica_core),
		VMSTATE_VBUFFER_UINT32(lmem, struct mica_core, 1, NULL, lmem_size),
		VMSTATE_END_OF_LIST()
	}
};

static const VMStateDescription vmstate_context = {
	.name = TYPE_MICA "/context",
	.version_id = 1,
	.minimum_version_id = 1,
	.fields = (const VMStateField[]) {
		VMSTATE_UINT64(root, struct mica_context),
		VMSTATE_END_OF_LIST()
	}
};

static const VMStateDescription vmstate_pending = {
	.name = TYPE_MICA "/inject",
	.version_id = 1,
	.minimum_version_id = 1,
	.fields = (const VMStateField[]) {
		VMSTATE_UINT32(lost_irq, struct mica_pending),
		VMSTATE_UINT32(flip_addr, struct mica_pending),
		VMSTATE_BOOL(flip, struct mica_pending),
		VMSTATE_BOOL(flip_ecc, struct mica_pending),
		VMSTATE_BOOL(bad_ring, struct mica_pending),
		VMSTATE_BOOL(fw_crash, struct mica_pending),
		VMSTATE_END_OF_LIST()
	}
};

/* The reset in front of a load may still be on its way out of the threads; that takes no BQL. */
static int pre_load(void *opaque)
{
	MicaState *s = opaque;

	QEMU_LOCK_GUARD(&s->lock);
	while (s->resetting || !mica_all_still(s))
		qemu_cond_wait(&s->still_cond, &s->lock);
	return 0;
}

static int post_load(void *opaque, int version)
{
	MicaState *s = opaque;

	QEMU_LOCK_GUARD(&s->lock);
	for (unsigned i = 0; i < MICA_MAX_CONTEXTS; i++) {
		s->ctx[i].owner = ++s->stamp;
		s->ctx[i].generation = ++s->stamp;
	}
	for (unsigned i = 0; i < s->cores; i++) {
		struct mica_core *c = &s->core[i];

		c->lmem_owner = 0;
		if (MICA_CREG(c, STATUS) != MICA_CORE_RUNNING)
			continue;
		c->keep_lmem = true;
		atomic_store(&c->stop, false);
		c->go = true;
		qemu_cond_signal(&c->cond);
	}
	mica_local_update(s);
	mica_mcu_kick(s);
	return 0;
}

const VMStateDescription mica_vmstate = {
	.name = TYPE_MICA,
	.version_id = 1,
	.minimum_version_id = 1,
	.pre_load = pre_load,
	.post_load = post_load,
	.fields = (const VMStateField[]) {
		VMSTATE_PCI_DEVICE(parent_obj, MicaState),
		VMSTATE_MSIX(parent_obj, MicaState),
		VMSTATE_UINT32_EQUAL(cores, MicaState, "property 'cores' differs"),
		VMSTATE_UINT32_EQUAL(lmem_size, MicaState, "property 'lmem' differs"),
		VMSTATE_UINT32_EQUAL(contexts, MicaState, "property 'contexts' differs"),
		VMSTATE_UINT32_ARRAY(reg, MicaState, MICA_REG_WORDS),
		VMSTATE_BOOL(link_down, MicaState),
		VMSTATE_STRUCT(inject, MicaState, 1, vmstate_pending, struct mica_pending),
		VMSTATE_BOOL(mcu_boot, MicaState),
		VMSTATE_BOOL(mcu_run, MicaState),
		VMSTATE_BOOL(mcu_waiting, MicaState),
		VMSTATE_BOOL(mcu_hung, MicaState),
		VMSTATE_STRUCT(cpu, MicaState, 1, vmstate_cpu, struct rv32),
		VMSTATE_BUFFER_POINTER_UNSAFE(sram, MicaState, 1, MICA_SRAM_SIZE),
		VMSTATE_UINT32_ARRAY(lreg, MicaState, MICA_LREG_WORDS),
		VMSTATE_UINT32_ARRAY(db_value, MicaState, MICA_MAX_CONTEXTS),
		VMSTATE_UINT64(db_pending, MicaState),
		VMSTATE_UINT32(irq_edges, MicaState),
		VMSTATE_STRUCT_ARRAY(ctx, MicaState, MICA_MAX_CONTEXTS, 1, vmstate_context, struct mica_context),
		VMSTATE_STRUCT_VARRAY_UINT32(core, MicaState, cores, 1, vmstate_core, struct mica_core),
		VMSTATE_END_OF_LIST()
	}
};
