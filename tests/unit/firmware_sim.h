/* SPDX-License-Identifier: MIT */
/*
 * For the firmware's tests: a simulated device, the driver's side of the rings, and the firmware's sources compiled
 * with their register accesses redirected to it.
 */
#ifndef MICA_FIRMWARE_SIM_H
#define MICA_FIRMWARE_SIM_H

#define _GNU_SOURCE	/* memmem */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A window that differs from the real one, to have versions below, within and above. */
#define MICA_FW_HOST
#define FW_ABI_MIN 2u
#define FW_ABI_MAX 4u
#include "../../firmware/main.c"
#include "../../firmware/mailbox.c"
#include "../../firmware/messages.c"
#include "../../firmware/context.c"
#include "../../firmware/job.c"
#include "../../firmware/sched.c"
#include "../../firmware/telemetry.c"
#include "../../firmware/log.c"
#include "../../firmware/panic.c"

#include "../../qemu-device/rv32.c"	/* the images' tests */

#pragma GCC diagnostic ignored "-Wunused-function"	/* no test needs all of it */

/* ---- the simulated device ---- */

#define HOST_BASE	0x812340000ull		/* bus address of the simulated host memory: needs the HI registers */
#define HOST_SIZE	0x200000u
#define RING_AT(ctx)	(0x20000u + 0x4000u * (ctx))	/* 16 entries each fit; a big ring spreads over the next ones */
#define SIM_CORES	4u
#define SIM_CONTEXTS	16u

struct sim_core {
	u32 reg[0x100 / 4];
	bool preempt;		/* asked to */
	u32 kills;
	u32 starts;
};

static struct sim {
	u8 host[HOST_SIZE];
	u8 sram[MICA_SRAM_SIZE];	/* of the image's tests */
	u32 reg[0x1000 / 4];
	struct sim_core core[FW_MAX_CORES];
	u64 time;
	u32 irq;			/* edges: MBOX, CORE */
	u64 db_pending;
	u32 raises;
	u32 raised;			/* vectors */
	u32 dma_max;			/* longest transfer to local since it was cleared */
	u32 dmas;
	bool dma_fails;
	u64 dma_fail_at;		/* bus address whose transfers fail */
	bool ignore_kill;
	u32 fw_state;
	u32 panic_code;
	u64 mmu_root[SIM_CONTEXTS];
	u32 h2f_tail;			/* the driver's side */
	u32 f2h_head;
	u32 produced[SIM_CONTEXTS];
	char console[256];
	u32 console_length;
	struct rv32 *cpu;		/* the image's tests: stop it at PANIC */
	jmp_buf dead;
} sim;

static struct mica_fw_shm *shm(void)
{
	return (struct mica_fw_shm *)sim.host;
}

static bool sim_dma(u64 host, void *local, u32 length, u32 ctrl)
{
	sim.dmas++;
	if (sim.dma_fails || host < HOST_BASE || host - HOST_BASE > HOST_SIZE - length || host == sim.dma_fail_at)
		return false;
	if (ctrl == MICA_DMA_CTRL_TO_LOCAL) {
		memcpy(local, sim.host + (host - HOST_BASE), length);
		sim.dma_max = length > sim.dma_max ? length : sim.dma_max;
	} else {
		memcpy(sim.host + (host - HOST_BASE), local, length);
	}
	return true;
}

static void sim_core_stops(u32 core, u32 status)
{
	sim.core[core].reg[MICA_CREG_STATUS / 4] = status;
	sim.irq |= MICA_LIRQ_CORE;
}

static void sim_core_ctrl(u32 core, u32 v)
{
	struct sim_core *c = &sim.core[core];
	u32 *status = &c->reg[MICA_CREG_STATUS / 4];

	if (v & MICA_CORE_CTRL_START) {
		assert_int_equal(*status, MICA_CORE_IDLE);
		*status = MICA_CORE_RUNNING;
		c->preempt = false;
		c->starts++;
	}
	if (v & MICA_CORE_CTRL_PREEMPT)
		c->preempt = true;
	if (v & MICA_CORE_CTRL_KILL) {
		c->kills++;
		if (*status == MICA_CORE_RUNNING && !sim.ignore_kill) {
			c->reg[MICA_CREG_FAULT / 4] = MICA_FAULT_ABORTED;
			sim_core_stops(core, MICA_CORE_FAULT);
		}
	}
	if (v & MICA_CORE_CTRL_ACK) {
		assert_int_not_equal(*status, MICA_CORE_RUNNING);
		*status = MICA_CORE_IDLE;
	}
}

static u64 sim_timer(void)
{
	return sim.reg[MICA_LREG_TIMER_LO / 4] | (u64)sim.reg[MICA_LREG_TIMER_HI / 4] << 32;
}

static u32 sim_pending(void)
{
	u32 v = sim.irq;

	v |= sim.db_pending ? MICA_LIRQ_DOORBELL : 0;
	v |= sim_timer() && sim.time >= sim_timer() ? MICA_LIRQ_TIMER : 0;
	return v;
}

static u32 sim_read(u32 off)
{
	if (off >= 0x1000)
		return sim.core[(off >> 8) & 7].reg[(off & 0xff) / 4];
	switch (off) {
	case MICA_LREG_IRQ_PENDING: return sim_pending();
	case MICA_LREG_DB_PENDING_LO: return (u32)sim.db_pending;
	case MICA_LREG_DB_PENDING_HI: return (u32)(sim.db_pending >> 32);
	case MICA_LREG_TIME_LO: return (u32)sim.time;
	case MICA_LREG_TIME_HI: return (u32)(sim.time >> 32);
	default: return sim.reg[off / 4];
	}
}

static void sim_mmu(u32 v)
{
	u32 slot = sim.reg[MICA_LREG_CTX_SEL / 4];

	assert_true(slot && slot < SIM_CONTEXTS);
	sim.mmu_root[slot] = v == MICA_CTX_CTRL_CLEAR ? 0 : sim.reg[MICA_LREG_CTX_ROOT_LO / 4] |
			     (u64)sim.reg[MICA_LREG_CTX_ROOT_HI / 4] << 32;
}

static void sim_dma_register(u32 ctrl)
{
	u64 host = sim.reg[MICA_LREG_DMA_HOST_LO / 4] | (u64)sim.reg[MICA_LREG_DMA_HOST_HI / 4] << 32;
	u32 local = sim.reg[MICA_LREG_DMA_LOCAL / 4], length = sim.reg[MICA_LREG_DMA_LEN / 4];

	assert_true(local <= MICA_SRAM_SIZE && length <= MICA_SRAM_SIZE - local);
	sim.reg[MICA_LREG_DMA_STATUS / 4] = !sim_dma(host, sim.sram + local, length, ctrl);
}

static void sim_write(u32 off, u32 v)
{
	if (off >= 0x1000) {
		sim.core[(off >> 8) & 7].reg[(off & 0xff) / 4] = v;
		if ((off & 0xff) == MICA_CREG_CTRL)
			sim_core_ctrl((off >> 8) & 7, v);
		return;
	}
	switch (off) {
	case MICA_LREG_IRQ_PENDING: sim.irq &= ~v; return;
	case MICA_LREG_DB_PENDING_LO: sim.db_pending &= ~(u64)v; return;
	case MICA_LREG_DB_PENDING_HI: sim.db_pending &= ~((u64)v << 32); return;
	case MICA_LREG_RAISE: sim.raises++; sim.raised |= v; return;
	case MICA_LREG_FW_STATE: sim.fw_state = v; return;
	case MICA_LREG_CTX_CTRL: sim_mmu(v); return;
	case MICA_LREG_DMA_CTRL: sim_dma_register(v); return;
	case MICA_LREG_CONSOLE:
		if (sim.console_length < sizeof(sim.console) - 1)
			sim.console[sim.console_length++] = (char)v;
		return;
	case MICA_LREG_PANIC:
		sim.panic_code = v;
		if (sim.cpu)
			rv32_stop(sim.cpu);
		return;
	default: sim.reg[off / 4] = v; return;
	}
}

u32 fw_host_read(u32 offset)
{
	return sim_read(offset);
}

void fw_host_write(u32 offset, u32 value)
{
	sim_write(offset, value);
}

bool fw_host_dma(u64 host, void *local, u32 length, u32 ctrl)
{
	return sim_dma(host, local, length, ctrl);
}

void fw_host_dead(void)
{
	longjmp(sim.dead, 1);
}

/* ---- the driver's side, and the cores' ---- */

static void power_on(u32 cores)
{
	memset(&sim, 0, sizeof(sim));
	memset(&fw, 0, sizeof(fw));
	sim.time = 0x1fffff000ull;	/* TIME_LO wraps during the tests */
	sim.reg[MICA_LREG_CORES / 4] = cores;
	sim.reg[MICA_LREG_CONTEXTS / 4] = SIM_CONTEXTS;
	sim.reg[MICA_LREG_SHM_LO / 4] = (u32)HOST_BASE;
	sim.reg[MICA_LREG_SHM_HI / 4] = (u32)(HOST_BASE >> 32);
	sim.reg[MICA_LREG_SHM_SIZE / 4] = MICA_SHM_SIZE;
}

/* Lets the firmware work until it would sleep. */
static void run(void)
{
	for (int i = 0; i < 1000; i++) {
		u32 enabled = sim.reg[MICA_LREG_IRQ_ENABLE / 4];

		if (!fw_step() && !(sim_pending() & enabled))
			return;
	}
	fail_msg("the firmware does not come to rest");
}

/* Lets time pass in small steps, with the timer's interrupts. */
static void pass(u64 us)
{
	u64 end = sim.time + us;

	while (sim.time < end) {
		u64 timer = sim_timer();

		sim.time = timer > sim.time && timer < end ? timer : end;
		run();
	}
}

static void post(const struct mica_fw_msg *m)
{
	shm()->h2f.msg[sim.h2f_tail++ % MICA_RING_MSGS] = *m;
	shm()->h2f.tail = sim.h2f_tail;
	sim.irq |= MICA_LIRQ_MBOX;
}

static bool receive(struct mica_fw_msg *m)
{
	if (shm()->f2h.tail == sim.f2h_head)
		return false;
	*m = shm()->f2h.msg[sim.f2h_head++ % MICA_RING_MSGS];
	shm()->f2h.head = sim.f2h_head;
	return true;
}

static struct mica_fw_msg expect_msg(u32 type)
{
	struct mica_fw_msg m = { 0 };

	if (!receive(&m))
		fail_msg("no message, expected type %x", type);
	if (m.type != type)
		fail_msg("message type %x, ctx %u, status %u, arg0 %llx; expected type %x", m.type, m.ctx, m.status,
			 m.arg[0], type);
	return m;
}

static void expect_none(void)
{
	struct mica_fw_msg m;

	if (receive(&m))
		fail_msg("message type %x, ctx %u, status %u that nobody expected", m.type, m.ctx, m.status);
}

static void expect_ack(u32 seq, u32 status)
{
	struct mica_fw_msg m = expect_msg(MICA_MSG_ACK);

	assert_int_equal(m.seq, seq);
	assert_int_equal(m.status, status);
}

static struct mica_fw_msg expect_done(u32 ctx, u64 seqno, u32 fault)
{
	struct mica_fw_msg m = expect_msg(MICA_MSG_JOB_DONE);

	assert_int_equal(m.ctx, ctx);
	assert_int_equal(m.arg[0], seqno);
	assert_int_equal(m.status, fault);
	return m;
}

static u32 request(u32 type, u32 ctx, u64 a0, u64 a1, u64 a2, u64 a3)
{
	static u32 seq = 1000;
	struct mica_fw_msg m = { .type = type, .seq = ++seq, .ctx = ctx, .arg = { a0, a1, a2, a3 } };

	post(&m);
	return seq;
}

static void call(u32 type, u32 ctx, u64 a0, u64 a1, u64 a2, u64 a3, u32 status)
{
	u32 seq = request(type, ctx, a0, a1, a2, a3);

	run();
	expect_ack(seq, status);
}

static void hello_ok(void)
{
	request(MICA_MSG_HELLO, 0, 1, 100, 0, 0);
	run();
	assert_int_equal(expect_msg(MICA_MSG_HELLO_ACK).status, MICA_FW_OK);
}

static void make_context(u32 ctx, u32 entries, u32 priority)
{
	call(MICA_MSG_CTX_CREATE, ctx, 0x1000 * ctx, HOST_BASE + RING_AT(ctx), entries, priority, MICA_FW_OK);
	sim.produced[ctx] = 0;
}

static struct mica_job_desc *entry(u32 ctx, u32 index)
{
	return (struct mica_job_desc *)(sim.host + RING_AT(ctx)) + index % fw.ctx[ctx].entries;
}

/* Without the doorbell. */
static struct mica_job_desc *push(u32 ctx, u64 seqno, u32 cores)
{
	struct mica_job_desc *d = entry(ctx, sim.produced[ctx]++);

	memset(d, 0, sizeof(*d));
	d->magic = MICA_JOB_MAGIC;
	d->cores = cores;
	d->seqno = seqno;
	return d;
}

static void doorbell(u32 ctx, u32 value)
{
	sim.reg[MICA_LREG_DB_VALUE(ctx) / 4] = value;
	sim.db_pending |= 1ull << ctx;
}

static void submit(u32 ctx, u64 seqno, u32 cores)
{
	push(ctx, seqno, cores);
	doorbell(ctx, sim.produced[ctx]);
}

static u32 core_get(u32 core, u32 reg)
{
	return sim.core[core].reg[reg / 4];
}

static bool core_runs(u32 core)
{
	return core_get(core, MICA_CREG_STATUS) == MICA_CORE_RUNNING;
}

static u32 running_set(void)
{
	u32 set = 0;

	for (u32 i = 0; i < FW_MAX_CORES; i++)
		set |= core_runs(i) ? 1u << i : 0;
	return set;
}

/* The context that a running core works for, or 0. */
static u32 core_ctx(u32 core)
{
	return core_runs(core) ? core_get(core, MICA_CREG_CTX) : 0;
}

static void core_done(u32 core, u64 cycles)
{
	sim.core[core].reg[MICA_CREG_CYCLES_LO / 4] = (u32)cycles;
	sim.core[core].reg[MICA_CREG_CYCLES_HI / 4] = (u32)(cycles >> 32);
	sim_core_stops(core, MICA_CORE_DONE);
}

static void core_faults(u32 core, u32 code, u32 info, u64 addr, u32 packet, u32 layer)
{
	u32 *r = sim.core[core].reg;

	r[MICA_CREG_FAULT / 4] = code;
	r[MICA_CREG_FAULT_INFO / 4] = info;
	r[MICA_CREG_FAULT_ADDR_LO / 4] = (u32)addr;
	r[MICA_CREG_FAULT_ADDR_HI / 4] = (u32)(addr >> 32);
	r[MICA_CREG_FAULT_PKT / 4] = packet;
	r[MICA_CREG_FAULT_LAYER / 4] = layer;
	sim_core_stops(core, MICA_CORE_FAULT);
}

static void core_preempts(u32 core, u32 resume)
{
	sim.core[core].reg[MICA_CREG_RESUME / 4] = resume;
	sim_core_stops(core, MICA_CORE_PREEMPTED);
}

static void core_progress(u32 core)
{
	sim.core[core].reg[MICA_CREG_PROGRESS / 4]++;
}

static int boot_cores(u32 cores)
{
	power_on(cores);
	fw_init();
	run();
	hello_ok();
	return 0;
}

static int boot(void **state)
{
	(void)state;
	return boot_cores(SIM_CORES);
}

static int boot_one(void **state)
{
	(void)state;
	return boot_cores(1);
}

static int boot_two(void **state)
{
	(void)state;
	return boot_cores(2);
}

static int boot_silent(void **state)	/* no HELLO yet */
{
	(void)state;
	power_on(SIM_CORES);
	fw_init();
	run();
	return 0;
}

static bool log_contains(const char *text)
{
	return memmem(shm()->log.text, MICA_LOG_SIZE, text, strlen(text)) != NULL;
}

#define ON(setup, test)	cmocka_unit_test_setup(test, setup)

#endif /* MICA_FIRMWARE_SIM_H */
