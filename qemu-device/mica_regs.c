/* SPDX-License-Identifier: GPL-2.0-or-later */
/* BAR0 as the host sees it: registers and doorbells. Handlers hold the lock for a few instructions and never wait. */
#include "qemu/osdep.h"
#include "qemu/log.h"
#include "mica_internal.h"
#include "trace.h"

static const struct mica_reg reg_table[MICA_REG_WORDS] = { MICA_REGS(MICA_REG_ENTRY) };

#define FIRST_DOORBELL	MICA_DOORBELL(0)
#define DOORBELL_STRIDE	(MICA_DOORBELL(1) - MICA_DOORBELL(0))

static const struct mica_reg *find_reg(hwaddr off)
{
	const struct mica_reg *r;

	if (off / 4 >= MICA_REG_WORDS)
		return NULL;
	r = &reg_table[off / 4];
	return r->name ? r : NULL;
}

static void guest_error(const char *what, const char *name, hwaddr off)
{
	qemu_log_mask(LOG_GUEST_ERROR, TYPE_MICA ": %s %s at 0x%" HWADDR_PRIx "\n", what, name, off);
}

void mica_regs_reset(MicaState *s)
{
	memset(s->reg, 0, sizeof(s->reg));
	memset(s->inv_seq, 0, sizeof(s->inv_seq));
	MICA_REG(s, ID) = MICA_ID_MAGIC;
	MICA_REG(s, HW_VERSION) = s->hw_version;
	MICA_REG(s, CORES) = s->cores;
	MICA_REG(s, LMEM_SIZE) = s->lmem_size;
	MICA_REG(s, MAC_ROWS) = s->mac_rows;
	MICA_REG(s, MAC_COLS) = s->mac_cols;
	MICA_REG(s, VECTOR_LANES) = s->lanes;
	MICA_REG(s, DRAM_BYTES_PER_CYCLE) = s->dram_bytes;
	MICA_REG(s, CONTEXTS) = s->contexts;
	MICA_REG(s, ISA_VERSION) = MICA_ISA_VERSION;
	MICA_REG(s, FEATURES) = s->debug ? MICA_FEATURES_DEBUG_MASK : 0;
	MICA_REG(s, CLOCK_KHZ) = s->clock_khz;
	MICA_REG(s, CTRL) = MICA_CTRL_RESET_MASK;	/* until mica_reset_progress() */
}

static uint32_t read_reg(MicaState *s, hwaddr off)
{
	uint32_t status = MICA_REG(s, STATUS);

	switch (off) {
	case MICA_REG_STATUS:
		return status | (s->mcu_run && !s->mcu_hung ? MICA_STATUS_FW_RUN_MASK : 0);
	case MICA_REG_MMU_BUSY:
		return mica_context_busy(s) ? MICA_MMU_BUSY_MASK : 0;
	default:
		return s->reg[off / 4];
	}
}

static uint64_t mmio_read(void *opaque, hwaddr off, unsigned size)
{
	MicaState *s = opaque;
	const struct mica_reg *r = find_reg(off);
	uint32_t value = 0;

	if (qatomic_read(&s->link_down))
		return UINT32_MAX;
	if (!r) {
		guest_error("read of", "no register", off);
		return 0;
	}
	if (r->access == MICA_WO) {
		guest_error("read of write-only", r->name, off);
		return 0;
	}
	WITH_QEMU_LOCK_GUARD(&s->lock)
		value = read_reg(s, off);
	trace_mica_mmio_read(r->name, off, value);
	return value;
}

static void write_fw_ctrl(MicaState *s, uint32_t value)
{
	if (s->resetting)
		return;
	if (value & MICA_FW_CTRL_HALT_MASK) {
		s->mcu_boot = false;
		s->mcu_run = false;
		MICA_REG(s, FW_STATE) = MICA_FW_STATE_HALTED;
	}
	if (value & MICA_FW_CTRL_BOOT_MASK) {
		s->mcu_boot = true;
		s->mcu_run = false;
		s->mcu_hung = false;
		MICA_REG(s, FW_STATE) = MICA_FW_STATE_LOADING;
	}
	mica_mcu_kick(s);
}

static void write_mmu_inv(MicaState *s, uint32_t value)
{
	uint32_t ctx = value & MICA_MMU_INV_CTX_MASK;

	if (value & MICA_MMU_INV_ALL_MASK)
		mica_context_invalidate_all(s);
	else if (ctx < s->contexts)
		mica_context_invalidate(s, ctx);
	else
		guest_error("no such context:", "MMU_INV", MICA_REG_MMU_INV);
}

static void write_inject(MicaState *s, uint32_t value)
{
	if (s->debug)
		mica_inject(s, value, MICA_REG(s, INJECT_ARG));
	else
		guest_error("without debug=on:", "INJECT", MICA_REG_INJECT);
}

static void write_mbox(MicaState *s, uint32_t value)
{
	MICA_LREG(s, MBOX_TAIL) = value;
	s->irq_edges |= MICA_LIRQ_MBOX;
	mica_local_update(s);
}

/* Returns the vectors to raise when the lock is no longer held. */
static uint32_t write_reg(MicaState *s, hwaddr off, uint32_t value)
{
	switch (off) {
	case MICA_REG_CTRL:
		if (value & MICA_CTRL_RESET_MASK) {
			mica_reset_begin(s);
			mica_reset_progress(s);
		}
		return 0;
	case MICA_REG_FW_CTRL:
		write_fw_ctrl(s, value);
		return 0;
	case MICA_REG_IRQ_STATUS:
		MICA_REG(s, IRQ_STATUS) &= ~value;
		return 0;
	case MICA_REG_IRQ_ENABLE:
		value &= MICA_IRQ_MASK;
		value ^= MICA_REG(s, IRQ_ENABLE);
		MICA_REG(s, IRQ_ENABLE) ^= value;
		return value & MICA_REG(s, IRQ_ENABLE) & MICA_REG(s, IRQ_STATUS);
	case MICA_REG_MMU_INV:
		write_mmu_inv(s, value);
		return 0;
	case MICA_REG_MBOX_DB:
		write_mbox(s, value);
		return 0;
	case MICA_REG_INJECT:
		write_inject(s, value);
		return 0;
	default:
		s->reg[off / 4] = value;
		return 0;
	}
}

static void write_doorbell(MicaState *s, hwaddr off, uint32_t value)
{
	hwaddr ctx = (off - FIRST_DOORBELL) / DOORBELL_STRIDE;

	if (off % DOORBELL_STRIDE || ctx == 0 || ctx >= s->contexts) {
		guest_error("write to", "no doorbell", off);
		return;
	}
	trace_mica_doorbell(ctx, value);
	QEMU_LOCK_GUARD(&s->lock);
	mica_doorbell(s, ctx, value);
}

static void mmio_write(void *opaque, hwaddr off, uint64_t value, unsigned size)
{
	MicaState *s = opaque;
	const struct mica_reg *r = find_reg(off);
	uint32_t vectors = 0;

	if (qatomic_read(&s->link_down))
		return;
	if (off >= FIRST_DOORBELL) {
		write_doorbell(s, off, value);
		return;
	}
	if (!r || r->access == MICA_RO) {
		guest_error("write to", r ? r->name : "no register", off);
		return;
	}
	trace_mica_mmio_write(r->name, off, value);
	WITH_QEMU_LOCK_GUARD(&s->lock)
		vectors = write_reg(s, off, value);
	if (vectors)
		mica_raise(s, vectors);
}

const MemoryRegionOps mica_mmio_ops = {
	.read = mmio_read,
	.write = mmio_write,
	.endianness = DEVICE_LITTLE_ENDIAN,
	.valid = { .min_access_size = 4, .max_access_size = 4 },
	.impl = { .min_access_size = 4, .max_access_size = 4 },
};
