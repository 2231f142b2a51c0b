/* SPDX-License-Identifier: MIT */
/* The firmware on a simulated device: scheduling, watchdog, telemetry, log, suspend, panic, and all of it at random. */
#include "firmware_sim.h"

/* ---- scheduling ---- */

static void expect_order(const u32 *contexts, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		if (core_ctx(0) != contexts[i])
			fail_msg("turn %u: context %u runs, expected %u", i, core_ctx(0), contexts[i]);
		core_done(0, 1);
		run();
	}
}

static void equal_priorities_take_turns(void **state)
{
	static const u32 order[] = { 1, 2, 3, 1, 2, 3, 1, 2, 3 };

	(void)state;
	for (u32 ctx = 1; ctx <= 3; ctx++)
		make_context(ctx, 16, 1);
	for (u32 i = 0; i < 3; i++)
		push(1, i, 1), push(2, i, 1), push(3, i, 1);
	doorbell(1, 3);
	run();
	doorbell(2, 3);
	run();
	doorbell(3, 3);
	run();
	expect_order(order, 9);
}

static void higher_priority_goes_first(void **state)
{
	static const u32 order[] = { 1, 4, 4, 3, 3, 2, 2, 1 };

	(void)state;
	make_context(1, 16, 3);
	submit(1, 0, 1);
	run();
	for (u32 ctx = 2; ctx <= 4; ctx++) {
		make_context(ctx, 16, ctx - 2);
		submit(ctx, 1, 1);
		submit(ctx, 2, 1);
		run();
	}
	fw.ctx[1].priority = 0;		/* its second job goes last */
	submit(1, 9, 1);
	run();
	expect_order(order, 1);
	expect_order(order + 1, 4);
}

static void waiting_raises_priority(void **state)
{
	u32 turns = 0;

	(void)state;
	make_context(1, 16, 0);
	make_context(2, 16, 3);
	submit(2, 0, 1);
	run();
	submit(1, 0, 1);
	run();
	/* A high context that never pauses: jobs of 20 ms each. */
	while (core_ctx(0) == 2 && turns < 100) {
		submit(2, 0, 1);
		pass(20000);
		core_done(0, 1);
		run();
		turns++;
		while (shm()->f2h.tail != sim.f2h_head)
			expect_msg(MICA_MSG_JOB_DONE);
	}
	assert_int_equal(core_ctx(0), 1);
	assert_in_range(turns, 3 * FW_AGE_US / 20000, 3 * FW_AGE_US / 20000 + 1);
	/* It is not pushed aside at once again, only when its shield is used up. */
	run();
	assert_false(sim.core[0].preempt);
	pass(FW_SHIELD_US + FW_TICK_FAST_US);
	assert_true(sim.core[0].preempt);
}

/* Two high contexts keep both cores busy with short jobs that never end at the same time; a low gang needs both. */
static void low_gang_is_not_starved_by_high_singles(void **state)
{
	u32 rounds = 0;

	(void)state;
	make_context(1, 16, 0);
	for (u32 ctx = 2; ctx <= 4; ctx++) {
		make_context(ctx, 16, 3);
		submit(ctx, 0, 1);
	}
	run();
	submit(1, 0, 2);
	while (core_ctx(0) != 1 && rounds < 200) {
		u32 core = rounds++ % 2;

		pass(5000);
		for (u32 ctx = 2; ctx <= 4; ctx++) {
			if (fw.ctx[ctx].tail - fw.ctx[ctx].head < 4)
				submit(ctx, 0, 1);
		}
		if (core_runs(core))
			core_done(core, 1);
		run();
		while (shm()->f2h.tail != sim.f2h_head)
			expect_msg(MICA_MSG_JOB_DONE);
	}
	assert_int_equal(core_ctx(0), 1);
	assert_int_equal(core_ctx(1), 1);
	assert_true(rounds * 5000 < 4 * FW_AGE_US);
}

static void gang_waits_for_its_cores_and_lets_equals_overtake_for_a_while(void **state)
{
	(void)state;
	for (u32 ctx = 1; ctx <= 3; ctx++)
		make_context(ctx, 16, 1);
	submit(1, 1, 1);
	submit(1, 2, 1);
	run();
	submit(2, 1, 2);
	run();
	assert_int_equal(running_set(), 1);
	submit(3, 1, 1);
	submit(3, 2, 1);
	run();
	assert_int_equal(core_ctx(1), 3);	/* overtakes: the second core would idle */
	sim.time += FW_GANG_US;
	core_done(0, 1);
	run();
	assert_int_equal(running_set(), 2);	/* now it is kept */
	core_done(1, 1);
	run();
	assert_int_equal(core_ctx(0), 2);
	assert_int_equal(core_ctx(1), 2);
}

static void lower_priority_never_overtakes_a_gang(void **state)
{
	(void)state;
	make_context(1, 16, 2);
	make_context(2, 16, 2);
	make_context(3, 16, 0);
	submit(1, 1, 1);
	run();
	submit(2, 1, 2);
	submit(3, 1, 1);
	run();
	assert_int_equal(running_set(), 1);
}

static void higher_priority_preempts_at_a_checkpoint_and_the_job_resumes_elsewhere(void **state)
{
	struct mica_fw_msg m;

	(void)state;
	make_context(1, 16, 0);
	make_context(2, 16, 2);
	make_context(3, 16, 2);
	submit(1, 77, 1);
	submit(1, 78, 1);
	run();
	submit(2, 1, 2);
	run();
	assert_true(sim.core[0].preempt);
	assert_false(sim.core[1].preempt);
	sim.core[0].reg[MICA_CREG_CYCLES_LO / 4] = 1000;
	core_preempts(0, 0x340);
	run();
	assert_int_equal(core_ctx(0), 2);
	assert_int_equal(core_ctx(1), 2);
	expect_none();
	submit(3, 1, 1);
	run();
	core_done(0, 1);
	core_done(1, 1);
	run();
	expect_done(2, 1, MICA_FAULT_NONE);
	assert_int_equal(core_ctx(0), 3);
	assert_int_equal(core_ctx(1), 1);	/* goes on on the other core */
	assert_int_equal(core_get(1, MICA_CREG_RESUME), 0x340);
	assert_int_equal(core_get(1, MICA_CREG_GANG), 2 << 16);
	core_done(1, 50);
	run();
	m = expect_done(1, 77, MICA_FAULT_NONE);
	assert_int_equal(m.arg[1], 1050);
	assert_int_equal(core_ctx(1), 1);
	assert_int_equal(core_get(1, MICA_CREG_RESUME), 0);	/* the next job starts fresh */
}

static void preempted_gang_resumes_each_stream(void **state)
{
	(void)state;
	make_context(1, 16, 0);
	make_context(2, 16, 3);
	submit(1, 1, 2);
	run();
	submit(2, 1, 1);
	run();
	core_preempts(0, 0x100);
	run();
	assert_int_equal(core_ctx(0), 0);	/* not before the whole gang has stopped */
	core_preempts(1, 0x200);
	run();
	assert_int_equal(core_ctx(0), 2);
	core_done(0, 1);
	run();
	expect_done(2, 1, MICA_FAULT_NONE);
	assert_int_equal(core_get(0, MICA_CREG_RESUME), 0x100);
	assert_int_equal(core_get(1, MICA_CREG_RESUME), 0x200);
	assert_int_equal(running_set(), 3);
}

static void preemption_that_comes_too_late_changes_nothing(void **state)
{
	(void)state;
	make_context(1, 16, 0);
	make_context(2, 16, 3);
	submit(1, 1, 1);
	run();
	submit(2, 1, 1);
	run();
	assert_true(sim.core[0].preempt);
	core_done(0, 1);
	run();
	expect_done(1, 1, MICA_FAULT_NONE);
	assert_int_equal(core_ctx(0), 2);
}

static void checkpoint_and_end_within_one_gang_is_a_fault(void **state)
{
	(void)state;
	make_context(1, 16, 0);
	make_context(2, 16, 3);
	submit(1, 1, 2);
	run();
	submit(2, 1, 2);
	run();
	core_preempts(0, 0x100);
	core_done(1, 1);
	run();
	expect_done(1, 1, MICA_FAULT_BARRIER);
}

static void equals_and_hopeless_cases_are_not_preempted(void **state)
{
	(void)state;
	make_context(1, 16, 1);
	make_context(2, 16, 1);
	make_context(3, 16, 2);
	make_context(4, 16, 3);
	submit(1, 1, 1);
	submit(4, 1, 1);
	run();
	submit(2, 1, 1);
	run();
	assert_false(sim.core[0].preempt || sim.core[1].preempt);
	submit(3, 1, 2);		/* both cores: one of them belongs to a higher one */
	run();
	assert_false(sim.core[0].preempt || sim.core[1].preempt);
}

static void abort_and_destroy_of_a_preempted_job(void **state)
{
	u32 seq;

	(void)state;
	make_context(1, 16, 0);
	make_context(2, 16, 3);
	submit(1, 1, 1);
	run();
	submit(2, 1, 1);
	run();
	core_preempts(0, 0x40);
	run();
	assert_int_equal(core_ctx(0), 2);
	seq = request(MICA_MSG_CTX_ABORT, 1, 0, 0, 0, 0);
	run();
	expect_done(1, 1, MICA_FAULT_ABORTED);
	expect_ack(seq, MICA_FW_OK);
	submit(1, 2, 1);
	run();
	seq = request(MICA_MSG_CTX_DESTROY, 1, 0, 0, 0, 0);
	run();
	expect_ack(seq, MICA_FW_OK);
	core_done(0, 1);
	run();
	expect_done(2, 1, MICA_FAULT_NONE);
	assert_int_equal(running_set(), 0);
}

/* ---- watchdog, telemetry, log, suspend, panic ---- */

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

/* ---- everything at random ---- */

static u32 rnd(u32 n)
{
	static u32 s = 1;

	s ^= s << 13;
	s ^= s >> 17;
	s ^= s << 5;
	return n ? s % n : s;
}

static void random_host(void)
{
	u32 ctx = rnd(SIM_CONTEXTS);
	static const u32 types[] = { MICA_MSG_CTX_CREATE, MICA_MSG_CTX_CREATE, MICA_MSG_CTX_DESTROY, MICA_MSG_CTX_ABORT,
				     MICA_MSG_PING, MICA_MSG_LOG_LEVEL, MICA_MSG_HELLO, 0x55 };

	switch (rnd(10)) {
	case 0:
		request(types[rnd(8)], ctx, 0x1000, HOST_BASE + RING_AT(ctx), rnd(8) ? 16 : rnd(0), rnd(5));
		break;
	case 1:
		sim.reg[MICA_LREG_DB_VALUE(ctx) / 4] = rnd(4) ? fw.ctx[ctx].tail + rnd(20) : rnd(0);
		sim.db_pending |= 1ull << ctx;
		break;
	case 2:		/* garbage in a descriptor */
		sim.host[RING_AT(1) + rnd(SIM_CONTEXTS * 0x4000)] = (u8)rnd(256);
		break;
	case 3:
		if (!rnd(50))
			shm()->h2f.tail = sim.h2f_tail = rnd(0);
		sim.irq |= MICA_LIRQ_MBOX;
		break;
	case 4:
		if (!rnd(50))
			shm()->f2h.head = rnd(0);
		break;
	default:
		if (fw.ctx[ctx].active && fw.ctx[ctx].tail - fw.ctx[ctx].head < fw.ctx[ctx].entries) {
			sim.produced[ctx] = fw.ctx[ctx].tail;
			submit(ctx, rnd(0), 1 + rnd(3));
		}
	}
}

static void random_core(void)
{
	u32 core = rnd(SIM_CORES);

	if (!core_runs(core))
		return;
	switch (rnd(6)) {
	case 0: core_faults(core, 1 + rnd(11), rnd(0), rnd(0), rnd(0), rnd(0)); break;
	case 1:
		if (sim.core[core].preempt)
			core_preempts(core, 64 * rnd(100));
		break;
	case 2: core_progress(core); break;
	default: core_done(core, rnd(1000)); break;
	}
}

/* What has to hold between any two steps. */
static void check_invariants(void)
{
	for (u32 core = 0; core < SIM_CORES; core++) {
		bool owned = !(fw.free_cores & 1u << core);

		assert_int_equal(owned, fw.core[core].ctx != 0);
		assert_true(owned || core_get(core, MICA_CREG_STATUS) == MICA_CORE_IDLE);
		if (owned) {
			const struct fw_context *c = &fw.ctx[fw.core[core].ctx];

			assert_true(c->active && (c->job.gang & 1u << core));
			assert_true(c->job.state == FW_JOB_RUNNING || c->job.state == FW_JOB_STOPPING);
			assert_int_equal(core_get(core, MICA_CREG_CTX), fw.core[core].ctx);
		}
	}
	for (u32 slot = 1; slot < SIM_CONTEXTS; slot++) {
		const struct fw_context *c = &fw.ctx[slot];
		bool ready = fw.ready[0] & 1u << slot;

		assert_int_equal(c->active, sim.mmu_root[slot] != 0);
		assert_int_equal(ready, c->active && c->job.state == FW_JOB_READY);
		assert_true(!c->active || c->tail - c->head <= c->entries);
	}
}

static void random_hosts_and_cores_break_no_invariant(void **state)
{
	struct mica_fw_msg m;

	(void)state;
	for (u32 round = 0; round < 300000; round++) {
		u32 budget = 50;

		random_host();
		random_core();
		sim.time += rnd(2000);
		while (fw_step() && --budget)
			;
		check_invariants();
		if (!rnd(8)) {
			sim.f2h_head = rnd(20) ? sim.f2h_head : shm()->f2h.tail;
			while (shm()->f2h.tail - sim.f2h_head <= MICA_RING_MSGS && receive(&m))
				;
		}
	}
	/* Afterwards the device still serves an honest host. */
	sim.f2h_head = shm()->f2h.head = fw.mbox.f2h_tail;
	sim.h2f_tail = shm()->h2f.tail = fw.mbox.h2f_head;
	for (u32 slot = 1; slot < SIM_CONTEXTS; slot++)
		request(MICA_MSG_CTX_DESTROY, slot, 0, 0, 0, 0);
	for (u32 i = 0; i < 50; i++)
		pass(FW_POLL_US);
	while (receive(&m))
		;
	make_context(1, 16, 0);
	submit(1, 1, 1);
	run();
	core_done(0, 1);
	run();
	expect_done(1, 1, MICA_FAULT_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON(boot_one, equal_priorities_take_turns),
		ON(boot_one, higher_priority_goes_first),
		ON(boot_one, waiting_raises_priority),
		ON(boot_two, low_gang_is_not_starved_by_high_singles),
		ON(boot_two, gang_waits_for_its_cores_and_lets_equals_overtake_for_a_while),
		ON(boot_two, lower_priority_never_overtakes_a_gang),
		ON(boot_two, higher_priority_preempts_at_a_checkpoint_and_the_job_resumes_elsewhere),
		ON(boot_two, preempted_gang_resumes_each_stream),
		ON(boot_one, preemption_that_comes_too_late_changes_nothing),
		ON(boot_two, checkpoint_and_end_within_one_gang_is_a_fault),
		ON(boot_two, equals_and_hopeless_cases_are_not_preempted),
		ON(boot_one, abort_and_destroy_of_a_preempted_job),
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
		ON(boot, random_hosts_and_cores_break_no_invariant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
