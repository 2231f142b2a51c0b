/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The microcontroller's thread: boot ROM, execution, sleep in WFI, crashes. */
#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include <zlib.h>
#include "mica_internal.h"
#include "trace.h"

#define RUN_BUDGET	20000		/* instructions between two looks at the timer */
#define MAX_SLEEP_MS	1000

void mica_mcu_wake(MicaState *s)
{
	qemu_cond_signal(&s->mcu_cond);
}

void mica_mcu_kick(MicaState *s)
{
	rv32_stop(&s->cpu);
	mica_mcu_wake(s);
}

/* ---- boot ROM ---- */

static uint32_t check_header(const MicaState *s, const struct mica_fw_header *h, uint32_t image_size)
{
	if (h->magic != MICA_FW_MAGIC)
		return MICA_FW_STATE_BAD_MAGIC;
	if (h->header_size != sizeof(*h) || h->body_size > MICA_SRAM_SIZE || h->body_size > image_size - sizeof(*h) ||
	    h->entry >= h->body_size || h->entry & 1)
		return MICA_FW_STATE_BAD_SIZE;
	if (s->hw_version < h->hw_min || s->hw_version > h->hw_max)
		return MICA_FW_STATE_BAD_HW;
	return MICA_FW_STATE_STARTED;
}

static void header_from_le(struct mica_fw_header *h)
{
	h->magic = le32_to_cpu(h->magic);
	h->header_size = le32_to_cpu(h->header_size);
	h->body_size = le32_to_cpu(h->body_size);
	h->crc32 = le32_to_cpu(h->crc32);
	h->entry = le32_to_cpu(h->entry);
	h->hw_min = le32_to_cpu(h->hw_min);
	h->hw_max = le32_to_cpu(h->hw_max);
}

/* Without lock. The checksum is of what lies in SRAM, not of what the guest may change meanwhile. Returns FW_STATE. */
static uint32_t load_image(MicaState *s, uint64_t addr, uint32_t size, uint32_t *entry)
{
	struct mica_fw_header h;
	uint32_t state;

	trace_mica_fw_boot(addr, size);
	if (size < sizeof(h))
		return MICA_FW_STATE_BAD_SIZE;
	if (!mica_bus_read(s, addr, &h, sizeof(h)))
		return MICA_FW_STATE_BUS_ERROR;
	header_from_le(&h);
	state = check_header(s, &h, size);
	if (state != MICA_FW_STATE_STARTED)
		return state;
	memset(s->sram, 0, MICA_SRAM_SIZE);
	if (!mica_bus_read(s, addr + sizeof(h), s->sram, h.body_size))
		return MICA_FW_STATE_BUS_ERROR;
	if (crc32(0, s->sram, h.body_size) != h.crc32)
		return MICA_FW_STATE_BAD_CRC;
	*entry = h.entry;
	return MICA_FW_STATE_STARTED;
}

/* Called and returns with the lock held. */
static void boot(MicaState *s)
{
	uint64_t addr = MICA_REG64(s, FW_ADDR);
	uint32_t size = MICA_REG(s, FW_SIZE), entry = 0, state;

	s->mcu_boot = false;
	qemu_mutex_unlock(&s->lock);
	state = load_image(s, addr, size, &entry);
	if (state == MICA_FW_STATE_BUS_ERROR)
		mica_bus_error(s, addr);
	qemu_mutex_lock(&s->lock);

	/* A reset, HALT or another BOOT came while we were loading. */
	if (s->resetting || s->mcu_boot || MICA_REG(s, FW_STATE) != MICA_FW_STATE_LOADING)
		return;
	MICA_REG(s, FW_STATE) = state;
	trace_mica_fw_state(state);
	if (state != MICA_FW_STATE_STARTED)
		return;
	rv32_reset(&s->cpu, entry);
	s->console_len = 0;
	s->mcu_waiting = false;
	s->mcu_run = true;
}

/* ---- execution ---- */

static void crashed(MicaState *s)
{
	trace_mica_fw_crash(s->cpu.mepc, s->cpu.mcause, s->cpu.mtval);
	MICA_REG(s, FW_STATE) = MICA_FW_STATE_CRASHED;
	MICA_REG(s, FW_PC) = s->cpu.mepc;
	MICA_REG(s, FW_CAUSE) = s->cpu.mcause;
	s->mcu_run = false;
}

/* Called and returns with the lock held. */
static void execute(MicaState *s)
{
	enum rv32_reason reason;

	if (s->inject.fw_crash) {
		s->inject.fw_crash = false;
		mica_inject_struck(s, "firmware crash");
		rv32_trap(&s->cpu, RV32_CAUSE_ILLEGAL, 0);
	}
	qemu_mutex_unlock(&s->lock);
	reason = rv32_run(&s->cpu, RUN_BUDGET);
	qemu_mutex_lock(&s->lock);
	if (s->resetting || !s->mcu_run)
		return;
	s->mcu_waiting = reason == RV32_WFI;
	if (reason == RV32_CRASHED) {
		crashed(s);
		qemu_mutex_unlock(&s->lock);
		mica_raise(s, 1u << MICA_VEC_FATAL);
		qemu_mutex_lock(&s->lock);
	}
	mica_local_update(s);
}

/* ---- sleep ---- */

static bool has_work(MicaState *s)
{
	if (s->resetting || s->paused)
		return false;
	if (s->mcu_boot)
		return true;
	if (!s->mcu_run || s->mcu_hung)
		return false;
	return !s->mcu_waiting || s->inject.fw_crash || qatomic_read(&s->cpu.irq);
}

static int sleep_ms(MicaState *s)
{
	uint64_t timer = MICA_LREG64(s, TIMER), now = mica_time_us();

	if (!timer || !s->mcu_run || s->paused)
		return MAX_SLEEP_MS;
	return timer <= now ? 1 : MIN((timer - now + 999) / 1000, MAX_SLEEP_MS);
}

static void rest(MicaState *s)
{
	s->mcu_busy = false;
	qemu_cond_broadcast(&s->still_cond);
	mica_reset_progress(s);
	if (s->quit || has_work(s))
		return;
	qemu_cond_timedwait(&s->mcu_cond, &s->lock, sleep_ms(s));
	if (!s->resetting)
		mica_local_update(s);
}

void *mica_mcu_thread(void *opaque)
{
	MicaState *s = opaque;

	rcu_register_thread();
	qemu_mutex_lock(&s->lock);
	while (!s->quit) {
		if (!has_work(s)) {
			rest(s);
			continue;
		}
		s->mcu_busy = true;
		if (s->mcu_boot)
			boot(s);
		else
			execute(s);
	}
	qemu_mutex_unlock(&s->lock);
	rcu_unregister_thread();
	return NULL;
}
