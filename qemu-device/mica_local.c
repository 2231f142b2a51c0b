/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The microcontroller's bus: its local registers, DMA between SRAM and the host, interrupts, doorbells. */
#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qemu/timer.h"
#include "mica_internal.h"
#include "trace.h"

#define DMA_OK		0u
#define DMA_BUS_ERROR	1u
#define DMA_BAD_REQUEST	2u
#define IDLE_TEMP_MC	38000u
#define IDLE_POWER_MW	900u

static const struct mica_reg lreg_table[MICA_LREG_WORDS] = { MICA_LOCAL_REGS(MICA_REG_ENTRY) };

uint64_t mica_time_us(void)
{
	return qemu_clock_get_us(QEMU_CLOCK_VIRTUAL);
}

uint32_t mica_local_pending(MicaState *s)
{
	uint64_t timer = MICA_LREG64(s, TIMER);
	uint32_t pending = s->irq_edges;

	if (s->db_pending)
		pending |= MICA_LIRQ_DOORBELL;
	if (timer && mica_time_us() >= timer)
		pending |= MICA_LIRQ_TIMER;
	return pending;
}

void mica_local_update(MicaState *s)
{
	bool level = mica_local_pending(s) & MICA_LREG(s, IRQ_ENABLE);

	rv32_set_irq(&s->cpu, level);
	if (level)
		mica_mcu_wake(s);
}

void mica_local_reset(MicaState *s)
{
	memset(s->lreg, 0, sizeof(s->lreg));
	memset(s->db_value, 0, sizeof(s->db_value));
	s->db_pending = 0;
	s->irq_edges = 0;
	MICA_LREG(s, CORES) = s->cores;
	MICA_LREG(s, HW_VERSION) = s->hw_version;
	MICA_LREG(s, CONTEXTS) = s->contexts;
	MICA_LREG(s, LMEM_SIZE) = s->lmem_size;
	MICA_LREG(s, TEMP_MC) = MICA_REG(s, TEMP_MC) = IDLE_TEMP_MC;
	MICA_LREG(s, POWER_MW) = MICA_REG(s, POWER_MW) = IDLE_POWER_MW;
	mica_local_update(s);
}

void mica_doorbell(MicaState *s, unsigned ctx, uint32_t value)
{
	s->db_value[ctx] = value;
	s->db_pending |= 1ull << ctx;
	mica_local_update(s);
}

/* ---- load ---- */

static uint32_t load_reg(MicaState *s, uint32_t off)
{
	switch (off) {
	case MICA_LREG_IRQ_PENDING:
		return mica_local_pending(s);
	case MICA_LREG_DB_PENDING_LO:
		return (uint32_t)s->db_pending;
	case MICA_LREG_DB_PENDING_HI:
		return (uint32_t)(s->db_pending >> 32);
	case MICA_LREG_TIME_LO:
		return (uint32_t)mica_time_us();
	case MICA_LREG_TIME_HI:
		return (uint32_t)(mica_time_us() >> 32);
	case MICA_LREG_SHM_LO:
		return MICA_REG(s, SHM_ADDR_LO);
	case MICA_LREG_SHM_HI:
		return MICA_REG(s, SHM_ADDR_HI);
	case MICA_LREG_SHM_SIZE:
		return MICA_REG(s, SHM_SIZE);
	default:
		return s->lreg[off / 4];
	}
}

static void firmware_error(const char *what, uint32_t off)
{
	qemu_log_mask(LOG_GUEST_ERROR, TYPE_MICA ": firmware: %s local register 0x%" PRIx32 "\n", what, off);
}

static struct mica_core *core_of(MicaState *s, uint32_t off)
{
	uint32_t index = (off - MICA_LREG_CORE(0)) / (MICA_LREG_CORE(1) - MICA_LREG_CORE(0));

	return off >= MICA_LREG_CORE(0) && index < s->cores ? &s->core[index] : NULL;
}

static bool is_local(uint32_t addr, unsigned size)
{
	return size == 4 && addr >= MICA_LOCAL_BASE && addr - MICA_LOCAL_BASE < MICA_LOCAL_SIZE;
}

static bool local_load(void *opaque, uint32_t addr, unsigned size, uint32_t *value)
{
	MicaState *s = opaque;
	uint32_t off = addr - MICA_LOCAL_BASE;
	struct mica_core *c;

	*value = 0;
	if (!is_local(addr, size))
		return false;
	QEMU_LOCK_GUARD(&s->lock);
	c = core_of(s, off);
	if (c)
		*value = mica_core_read(c, off % (MICA_LREG_CORE(1) - MICA_LREG_CORE(0)));
	else if (off >= MICA_LREG_DB_VALUE(0) && off < MICA_LREG_DB_VALUE(MICA_MAX_CONTEXTS))
		*value = s->db_value[(off - MICA_LREG_DB_VALUE(0)) / 4];
	else if (off / 4 < MICA_LREG_WORDS && lreg_table[off / 4].name && lreg_table[off / 4].access != MICA_WO)
		*value = load_reg(s, off);
	else
		firmware_error("load from", off);
	return true;
}

/* ---- store ---- */

/* Only in the microcontroller's thread, without lock: SRAM is its own while it executes. */
static uint32_t do_dma(MicaState *s, uint32_t ctrl)
{
	uint64_t host = MICA_LREG64(s, DMA_HOST);
	uint32_t local = MICA_LREG(s, DMA_LOCAL), len = MICA_LREG(s, DMA_LEN);
	bool ok;

	if (local > MICA_SRAM_SIZE || len > MICA_SRAM_SIZE - local || host > UINT64_MAX - len)
		return DMA_BAD_REQUEST;
	if (ctrl == MICA_DMA_CTRL_TO_LOCAL)
		ok = mica_bus_read(s, host, s->sram + local, len);
	else if (ctrl == MICA_DMA_CTRL_TO_HOST)
		ok = mica_bus_write(s, host, s->sram + local, len);
	else
		return DMA_BAD_REQUEST;
	if (!ok)
		mica_bus_error(s, host);
	return ok ? DMA_OK : DMA_BUS_ERROR;
}

static void console_char(MicaState *s, uint8_t ch)
{
	if (ch != '\n' && ch != '\0')
		s->console[s->console_len++] = ch;
	if (ch == '\n' || s->console_len == sizeof(s->console) - 1) {
		s->console[s->console_len] = '\0';
		trace_mica_console(s->console);
		s->console_len = 0;
	}
}

static void store_ctx_ctrl(MicaState *s, uint32_t value)
{
	uint32_t ctx = MICA_LREG(s, CTX_SEL);
	uint64_t root = MICA_LREG64(s, CTX_ROOT);

	if (ctx == 0 || ctx >= s->contexts) {
		firmware_error("no such context:", MICA_LREG_CTX_SEL);
		return;
	}
	if (value == MICA_CTX_CTRL_SET && !(root & ~MICA_PTE_ADDR_MASK)) {
		mica_context_set(s, ctx, root);
		return;
	}
	if (value != MICA_CTX_CTRL_CLEAR)
		firmware_error("bad value for", MICA_LREG_CTX_CTRL);
	mica_context_clear(s, ctx);
}

static uint32_t store_panic(MicaState *s, uint32_t code)
{
	trace_mica_panic(code, s->cpu.pc);
	MICA_REG(s, FW_STATE) = MICA_FW_STATE_CRASHED;
	MICA_REG(s, FW_PC) = s->cpu.pc;
	MICA_REG(s, FW_CAUSE) = code;
	s->mcu_run = false;
	rv32_stop(&s->cpu);
	return 1u << MICA_VEC_FATAL;
}

/* Registers without consequences beyond this device. Returns the vectors to raise without lock. */
static uint32_t store_reg(MicaState *s, uint32_t off, uint32_t value)
{
	switch (off) {
	case MICA_LREG_IRQ_PENDING:
		s->irq_edges &= ~value;
		break;
	case MICA_LREG_DB_PENDING_LO:
		s->db_pending &= ~(uint64_t)value;
		break;
	case MICA_LREG_DB_PENDING_HI:
		s->db_pending &= ~((uint64_t)value << 32);
		break;
	case MICA_LREG_RAISE:
		return value & MICA_IRQ_MASK;
	case MICA_LREG_FW_STATE:
		MICA_REG(s, FW_STATE) = value;
		trace_mica_fw_state(value);
		return 0;
	case MICA_LREG_FW_ABI:
		MICA_REG(s, FW_ABI) = value;
		return 0;
	case MICA_LREG_PANIC:
		return store_panic(s, value);
	case MICA_LREG_CTX_CTRL:
		store_ctx_ctrl(s, value);
		return 0;
	case MICA_LREG_CONSOLE:
		console_char(s, (uint8_t)value);
		return 0;
	case MICA_LREG_TEMP_MC:
		MICA_REG(s, TEMP_MC) = value;
		break;
	case MICA_LREG_POWER_MW:
		MICA_REG(s, POWER_MW) = value;
		break;
	default:
		break;
	}
	if (lreg_table[off / 4].access == MICA_RW)
		s->lreg[off / 4] = value;
	mica_local_update(s);
	return 0;
}

static uint32_t store_locked(MicaState *s, uint32_t off, uint32_t value)
{
	struct mica_core *c = core_of(s, off);

	/* What a stopped microcontroller was about to do does not happen. */
	if (s->resetting || s->quit || !s->mcu_run)
		return 0;
	if (c) {
		mica_core_write(c, off % (MICA_LREG_CORE(1) - MICA_LREG_CORE(0)), value);
		return 0;
	}
	if (off / 4 >= MICA_LREG_WORDS || !lreg_table[off / 4].name || lreg_table[off / 4].access == MICA_RO) {
		firmware_error("store to", off);
		return 0;
	}
	trace_mica_local_write(lreg_table[off / 4].name, off, value);
	return store_reg(s, off, value);
}

static void store_dma_ctrl(MicaState *s, uint32_t value)
{
	uint32_t status;

	WITH_QEMU_LOCK_GUARD(&s->lock) {
		if (s->resetting || s->quit || !s->mcu_run)
			return;
	}
	status = do_dma(s, value);
	QEMU_LOCK_GUARD(&s->lock);
	MICA_LREG(s, DMA_STATUS) = status;
}

static bool local_store(void *opaque, uint32_t addr, unsigned size, uint32_t value)
{
	MicaState *s = opaque;
	uint32_t off = addr - MICA_LOCAL_BASE, vectors = 0;

	if (!is_local(addr, size))
		return false;
	if (off == MICA_LREG_DMA_CTRL) {
		store_dma_ctrl(s, value);
		return true;
	}
	WITH_QEMU_LOCK_GUARD(&s->lock)
		vectors = store_locked(s, off, value);
	if (vectors)
		mica_raise(s, vectors);
	return true;
}

const struct rv32_bus mica_local_bus = { .load = local_load, .store = local_store };
