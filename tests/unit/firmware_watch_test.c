/* SPDX-License-Identifier: MIT */
/* The firmware on a simulated device: watchdog, telemetry, log, suspend, panic. */
#include "firmware_sim.h"

static void watchdog_kills_a_job_without_progress(void **state)
{
	struct mica_fw_msg m;

	(void)state;
	call(MICA_MSG_WATCHDOG, 0, 1000, 0, 0, 0, MICA_FW_OK);
	make_context(1, 16, 0);
	submit(1, 1, 2);
	submit(1, 2, 1);
	run();
	for (u32 i = 0; i < 5; i++) {
		core_progress(1);
		pass(600000);
	}
	expect_none();
	core_done(0, 1);
	sim.core[1].reg[MICA_CREG_FAULT_PKT / 4] = 0x2c0;
	sim.core[1].reg[MICA_CREG_FAULT_LAYER / 4] = 6;
	pass(1300000);
	m = expect_done(1, 1, MICA_FAULT_WATCHDOG);
	assert_int_equal(m.arg[4], 1 << 16 | 6);
	assert_int_equal((u32)m.arg[3], 0x2c0);
	assert_int_equal(core_ctx(0), 1);	/* the next job gets its chance */
}

static void watchdog_default_and_off(void **state)
{
	(void)state;
	make_context(1, 16, 0);
	submit(1, 1, 1);
	run();
	pass((FW_WATCHDOG_MS - 500) * 1000ull);
	expect_none();
	call(MICA_MSG_WATCHDOG, 0, 0, 0, 0, 0, MICA_FW_OK);
	pass(100 * 1000000ull);
	expect_none();
	call(MICA_MSG_WATCHDOG, 0, FW_WATCHDOG_MS, 0, 0, 0, MICA_FW_OK);
	pass(200000);
	expect_done(1, 1, MICA_FAULT_WATCHDOG);
}

static void core_that_does_not_die_is_a_panic(void **state)
{
	(void)state;
	make_context(1, 16, 0);
	submit(1, 1, 2);
	run();
	sim.ignore_kill = true;
	request(MICA_MSG_CTX_ABORT, 1, 0, 0, 0, 0);
	run();
	core_faults(0, MICA_FAULT_ABORTED, 0, 0, 0, 0);
	if (!setjmp(sim.dead)) {
		pass(2 * FW_KILL_US);
		fail_msg("no panic");
	}
	assert_int_equal(sim.panic_code, MICA_FW_PANIC_CORE);
	assert_int_equal(expect_msg(MICA_MSG_PANIC).arg[2], 1);
	assert_non_null(strstr(sim.console, "panic 203"));
}

static void telemetry_counts_and_follows_load(void **state)
{
	u32 idle_power, heartbeat;

	(void)state;
	pass(200000);
	call(MICA_MSG_PING, 0, 0, 0, 0, 0, MICA_FW_OK);
	idle_power = shm()->telemetry.power_mw;
	heartbeat = shm()->telemetry.heartbeat;
	make_context(1, 16, 0);
	submit(1, 1, 2);
	run();
	pass(1000000);
	assert_in_range(shm()->telemetry.heartbeat - heartbeat, 8, 12);
	assert_true(shm()->telemetry.power_mw > idle_power + 7000);
	assert_int_equal(sim.reg[MICA_LREG_POWER_MW / 4], shm()->telemetry.power_mw);
	core_done(0, 1);
	core_done(1, 1);
	run();
	pass(200000);
	assert_in_range(shm()->telemetry.busy_us[0], 999000, 1001000);
	assert_int_equal(shm()->telemetry.busy_us[0], shm()->telemetry.busy_us[1]);
	assert_int_equal(shm()->telemetry.busy_us[2], 0);
	assert_int_equal(shm()->telemetry.jobs_done, 1);
	assert_int_equal(shm()->telemetry.power_mw, idle_power);
	assert_int_equal(sim.reg[MICA_LREG_TEMP_MC / 4], shm()->telemetry.temp_mc);
	heartbeat = shm()->telemetry.heartbeat;
	pass(2000000);		/* idle: no tick, the microcontroller sleeps */
	assert_int_equal(shm()->telemetry.heartbeat, heartbeat);
	assert_int_equal(sim_timer(), 0);
}

static void log_formats(void **state)
{
	char long_text[400];

	(void)state;
	memset(long_text, 'y', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = 0;
	log_print("a %u %u %x %llx %llu %s %% z", 0u, 4294967295u, 0xdeadbeefu, 0xffffffffffffffffull,
		  18446744073709551615ull, "text");
	assert_true(log_contains("] a 0 4294967295 deadbeef ffffffffffffffff 18446744073709551615 text % z\n"));
	log_print("%s", long_text);
	assert_int_equal(shm()->log.text[fw.log_tail - 1], '\n');
	log_print("end");
	assert_true(log_contains("] end\n"));
}

static void log_levels_filter(void **state)
{
	u32 tail;

	(void)state;
	call(MICA_MSG_LOG_LEVEL, 0, 0, 0, 0, 0, MICA_FW_OK);
	tail = shm()->log.tail;
	make_context(1, 16, 0);
	assert_int_equal(shm()->log.tail, tail);
	call(MICA_MSG_LOG_LEVEL, 0, 2, 0, 0, 0, MICA_FW_OK);
	submit(1, 0xabc, 1);
	run();
	assert_true(log_contains("job abc: starts on cores 1"));
}

static void log_wraps(void **state)
{
	char last[64];
	u32 tail, length;

	(void)state;
	for (u32 i = 0; i < 2000; i++)
		log_print("line %u", i);
	tail = shm()->log.tail;
	assert_true(tail > 2 * MICA_LOG_SIZE);
	length = (u32)snprintf(last, sizeof(last), "line 1999\n");
	for (u32 i = 0; i < length; i++)
		assert_int_equal(shm()->log.text[(tail - length + i) % MICA_LOG_SIZE], last[i]);
	assert_int_equal(((u8 *)shm())[sizeof(struct mica_fw_shm)], 0);
}

static void suspend_waits_for_cores_and_holds_jobs_back(void **state)
{
	u32 seq;

	(void)state;
	make_context(1, 16, 0);
	submit(1, 1, 1);
	submit(1, 2, 1);
	run();
	seq = request(MICA_MSG_SUSPEND, 0, 0, 0, 0, 0);
	run();
	expect_none();
	call(MICA_MSG_SUSPEND, 0, 0, 0, 0, 0, MICA_FW_E_STATE);
	core_done(0, 1);
	run();
	expect_done(1, 1, MICA_FAULT_NONE);
	expect_ack(seq, MICA_FW_OK);
	assert_int_equal(sim.reg[MICA_LREG_IRQ_ENABLE / 4], MICA_LIRQ_MBOX);
	submit(1, 3, 1);
	pass(1000000);
	assert_int_equal(running_set(), 0);
	assert_int_equal(sim_timer(), 0);
	call(MICA_MSG_PING, 0, 0, 0, 0, 0, MICA_FW_OK);
	assert_int_equal(core_ctx(0), 1);
	for (u64 seqno = 2; seqno <= 3; seqno++) {
		core_done(0, 1);
		run();
		expect_done(1, seqno, MICA_FAULT_NONE);
	}
}

static void unreachable_shared_area_is_a_panic(void **state)
{
	(void)state;
	sim.irq |= MICA_LIRQ_MBOX;
	sim.dma_fails = true;
	if (!setjmp(sim.dead)) {
		run();
		fail_msg("no panic");
	}
	assert_int_equal(sim.panic_code, MICA_FW_PANIC_BUS);
}

static void small_shared_area_is_a_panic(void **state)
{
	(void)state;
	power_on(SIM_CORES);
	sim.reg[MICA_LREG_SHM_SIZE / 4] = sizeof(struct mica_fw_shm) - 1;
	if (!setjmp(sim.dead)) {
		fw_init();
		fail_msg("no panic");
	}
	assert_int_equal(sim.panic_code, MICA_FW_PANIC_INVARIANT);
	assert_int_not_equal(sim.fw_state, MICA_FW_STATE_READY);
}

static void idle_core_of_a_running_job_is_a_panic(void **state)
{
	(void)state;
	make_context(1, 16, 0);
	submit(1, 1, 1);
	run();
	sim_core_stops(0, MICA_CORE_IDLE);
	if (!setjmp(sim.dead)) {
		run();
		fail_msg("no panic");
	}
	assert_int_equal(sim.panic_code, MICA_FW_PANIC_INVARIANT);
	expect_msg(MICA_MSG_PANIC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON(boot, watchdog_kills_a_job_without_progress),
		ON(boot, watchdog_default_and_off),
		ON(boot, core_that_does_not_die_is_a_panic),
		ON(boot, telemetry_counts_and_follows_load),
		ON(boot, log_formats),
		ON(boot, log_levels_filter),
		ON(boot, log_wraps),
		ON(boot, suspend_waits_for_cores_and_holds_jobs_back),
		ON(boot, unreachable_shared_area_is_a_panic),
		cmocka_unit_test(small_shared_area_is_a_panic),
		ON(boot, idle_core_of_a_running_job_is_a_panic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
