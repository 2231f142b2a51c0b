/* SPDX-License-Identifier: MIT */
/* The firmware on a simulated device: turns, priorities, gangs, preemption. */
#include "firmware_sim.h"

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
