/* SPDX-License-Identifier: MIT */
/* Boot, and the loop: one step looks at everything that is pending, in the order that keeps the cores busy. */
#include "fw.h"

struct fw_state fw;

#define IRQ_ALL		(MICA_LIRQ_DOORBELL | MICA_LIRQ_MBOX | MICA_LIRQ_CORE | MICA_LIRQ_TIMER)

void fw_init(void)
{
	u32 cores = hw_read(MICA_LREG_CORES), contexts = hw_read(MICA_LREG_CONTEXTS);

	fw.cores = cores < FW_MAX_CORES ? cores : FW_MAX_CORES;
	fw.contexts = contexts < MICA_MAX_CONTEXTS ? contexts : MICA_MAX_CONTEXTS;
	fw.free_cores = (1u << fw.cores) - 1;
	fw.log_level = FW_LOG_INFO;
	fw.watchdog_us = FW_WATCHDOG_MS * 1000u;
	fw.mbox.receive = true;		/* messages may have come before us */
	fw.now = fw.telemetry_since = hw_read(MICA_LREG_TIME_LO);
	FW_INVARIANT(hw_read(MICA_LREG_SHM_SIZE) >= sizeof(struct mica_fw_shm));
	fw.shm = hw_read(MICA_LREG_SHM_LO) | (u64)hw_read(MICA_LREG_SHM_HI) << 32;
	fw_log(FW_LOG_INFO, "mica firmware %u.%u.%u, abi %u..%u, %u cores, %u contexts", FW_VERSION >> 16,
	       (FW_VERSION >> 8) & 255, FW_VERSION & 255, FW_ABI_MIN, FW_ABI_MAX, fw.cores, fw.contexts);
	telemetry_update();
	hw_write(MICA_LREG_FW_ABI, FW_ABI_MIN << 16 | FW_ABI_MAX);
	hw_write(MICA_LREG_IRQ_ENABLE, IRQ_ALL);
	hw_write(MICA_LREG_FW_STATE, MICA_FW_STATE_READY);
	mbox_flush();
}

static bool all_idle(void)
{
	return fw.free_cores == (1u << fw.cores) - 1;
}

/* ---- timer ---- */

/* Microseconds to the next look at the clock, 0 if there is nothing to wait for. */
static u32 next_tick(void)
{
	u32 delay = FW_TICK_US;

	if (fw.stalled)
		return FW_POLL_US;
	if (all_idle())
		return fw.settle ? FW_TICK_US : 0;
	if (sched_waiting())
		delay = FW_TICK_FAST_US;
	if (fw.watchdog_us && fw.watchdog_us / 4 < delay)
		delay = fw.watchdog_us / 4;
	return delay;
}

static void set_timer(u64 deadline)
{
	hw_write(MICA_LREG_TIMER_LO, 0);
	hw_write(MICA_LREG_TIMER_HI, (u32)(deadline >> 32));
	hw_write(MICA_LREG_TIMER_LO, (u32)deadline);
}

/* A deadline that is no longer needed is left to pass: cheaper than to program the timer for every job. */
static void arm_timer(void)
{
	u32 delay = next_tick();

	if (!delay || (fw.timer_armed && (s32)(fw.timer - (fw.now + delay)) <= 0))
		return;
	set_timer(hw_time() + delay);
	fw.timer = fw.now + delay;
	fw.timer_armed = true;
}

static void tick(void)
{
	fw.timer_armed = false;
	set_timer(0);
	job_watch();
	if (fw.now - fw.telemetry_since < FW_TICK_US)
		return;
	if (all_idle())
		fw.settle = false;
	telemetry_update();
}

/* ---- suspend ---- */

static void try_suspend(void)
{
	if (!fw.suspending || fw.mbox.receive || !all_idle() || !mbox_room())
		return;
	fw.suspending = false;
	fw.suspended = true;
	telemetry_update();
	fw_log(FW_LOG_INFO, "suspended");
	mbox_ack(fw.suspend_seq, MICA_FW_OK);
	fw.timer_armed = false;
	set_timer(0);
	hw_write(MICA_LREG_IRQ_ENABLE, MICA_LIRQ_MBOX);
}

static void wake(void)
{
	fw.suspended = false;
	hw_write(MICA_LREG_IRQ_ENABLE, IRQ_ALL);
	fw_log(FW_LOG_INFO, "resumed");
}

/* ---- the loop ---- */

bool fw_step(void)
{
	u32 pending = hw_read(MICA_LREG_IRQ_PENDING), edges = pending & (MICA_LIRQ_MBOX | MICA_LIRQ_CORE);

	fw.now = hw_read(MICA_LREG_TIME_LO);
	fw.stalled = false;
	if (edges)
		hw_write(MICA_LREG_IRQ_PENDING, edges);
	if (pending & MICA_LIRQ_MBOX)
		fw.mbox.receive = true;
	if (fw.suspended) {
		if (!fw.mbox.receive)
			return false;
		wake();
	}
	if (pending & MICA_LIRQ_CORE)
		job_scan();
	if (pending & MICA_LIRQ_DOORBELL)
		ctx_doorbells();
	if (any_bit(fw.attention))
		ctx_step_all();
	if (sched_waiting())
		sched_run();
	if (fw.mbox.receive)
		mbox_receive();
	if ((pending & MICA_LIRQ_TIMER) && fw.timer_armed)
		tick();
	try_suspend();
	mbox_flush();
	if (!fw.suspended)
		arm_timer();
	return !fw.stalled && !fw.suspended && (any_bit(fw.attention) || fw.mbox.receive);
}

#ifndef MICA_FW_HOST
/* Interrupts stay masked in mstatus: WFI returns as soon as one is pending, and the step finds out which. */
_Noreturn void fw_main(void)
{
	fw_init();
	for (;;) {
		if (!fw_step())
			hw_wfi();
	}
}
#endif
