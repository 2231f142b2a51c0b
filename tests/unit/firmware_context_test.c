/* SPDX-License-Identifier: MIT */
/* The firmware on a simulated device: contexts, jobs, faults. */
#include "firmware_sim.h"

/* ---- contexts ---- */

static void create_checks_its_arguments(void **state)
{
	u64 ring = HOST_BASE + RING_AT(1);

	(void)state;
	call(MICA_MSG_CTX_CREATE, 0, 0x1000, ring, 16, 0, MICA_FW_E_ARG);
	call(MICA_MSG_CTX_CREATE, SIM_CONTEXTS, 0x1000, ring, 16, 0, MICA_FW_E_ARG);
	call(MICA_MSG_CTX_CREATE, 0xffffffffu, 0x1000, ring, 16, 0, MICA_FW_E_ARG);
	call(MICA_MSG_CTX_CREATE, 1, 0, ring, 16, 0, MICA_FW_E_ARG);
	call(MICA_MSG_CTX_CREATE, 1, 0x1008, ring, 16, 0, MICA_FW_E_ARG);
	call(MICA_MSG_CTX_CREATE, 1, 1ull << 52, ring, 16, 0, MICA_FW_E_ARG);
	call(MICA_MSG_CTX_CREATE, 1, 0x1000, 0, 16, 0, MICA_FW_E_ARG);
	call(MICA_MSG_CTX_CREATE, 1, 0x1000, ring + 32, 16, 0, MICA_FW_E_ARG);
	call(MICA_MSG_CTX_CREATE, 1, 0x1000, ring, 0, 0, MICA_FW_E_ARG);
	call(MICA_MSG_CTX_CREATE, 1, 0x1000, ring, 12, 0, MICA_FW_E_ARG);
	call(MICA_MSG_CTX_CREATE, 1, 0x1000, ring, 512, 0, MICA_FW_E_ARG);
	call(MICA_MSG_CTX_CREATE, 1, 0x1000, ring, 1ull << 32, 0, MICA_FW_E_ARG);
	call(MICA_MSG_CTX_CREATE, 1, 0x1000, ring, 16, 4, MICA_FW_E_ARG);
	assert_int_equal(sim.mmu_root[1], 0);
	call(MICA_MSG_CTX_CREATE, 1, 0x123456789000ull, ring, 256, 3, MICA_FW_OK);
	assert_int_equal(sim.mmu_root[1], 0x123456789000ull);
	call(MICA_MSG_CTX_CREATE, 1, 0x1000, ring, 16, 0, MICA_FW_E_STATE);
}

static void destroy_and_abort_need_a_live_slot(void **state)
{
	(void)state;
	call(MICA_MSG_CTX_DESTROY, 1, 0, 0, 0, 0, MICA_FW_E_STATE);
	call(MICA_MSG_CTX_ABORT, 1, 0, 0, 0, 0, MICA_FW_E_STATE);
	call(MICA_MSG_CTX_DESTROY, 0, 0, 0, 0, 0, MICA_FW_E_STATE);
	call(MICA_MSG_CTX_ABORT, 0xffffffffu, 0, 0, 0, 0, MICA_FW_E_STATE);
	make_context(1, 16, 0);
	call(MICA_MSG_CTX_ABORT, 1, 0, 0, 0, 0, MICA_FW_OK);
	call(MICA_MSG_CTX_DESTROY, 1, 0, 0, 0, 0, MICA_FW_OK);
	assert_int_equal(sim.mmu_root[1], 0);
	call(MICA_MSG_CTX_DESTROY, 1, 0, 0, 0, 0, MICA_FW_E_STATE);
	make_context(1, 16, 0);
}

static void destroy_kills_and_forgets_silently(void **state)
{
	u32 seq;

	(void)state;
	make_context(1, 16, 0);
	submit(1, 1, 2);
	submit(1, 2, 1);
	submit(1, 3, 1);
	run();
	sim.ignore_kill = true;
	seq = request(MICA_MSG_CTX_DESTROY, 1, 0, 0, 0, 0);
	run();
	assert_int_equal(sim.core[0].kills + sim.core[1].kills, 2);
	expect_none();			/* not before the cores have stopped */
	assert_int_not_equal(sim.mmu_root[1], 0);
	call(MICA_MSG_CTX_DESTROY, 1, 0, 0, 0, 0, MICA_FW_E_STATE);
	core_faults(0, MICA_FAULT_ABORTED, 0, 0, 0, 0);
	run();
	expect_none();
	core_done(1, 1);
	run();
	expect_ack(seq, MICA_FW_OK);
	expect_none();
	assert_int_equal(sim.mmu_root[1], 0);
	assert_int_equal(running_set(), 0);
	assert_int_equal(core_get(0, MICA_CREG_STATUS), MICA_CORE_IDLE);
}

static void destroy_during_abort_answers_both(void **state)
{
	u32 abort_seq, destroy_seq;

	(void)state;
	make_context(1, 16, 0);
	submit(1, 1, 1);
	submit(1, 2, 1);
	run();
	sim.ignore_kill = true;
	abort_seq = request(MICA_MSG_CTX_ABORT, 1, 0, 0, 0, 0);
	destroy_seq = request(MICA_MSG_CTX_DESTROY, 1, 0, 0, 0, 0);
	run();
	core_faults(0, MICA_FAULT_ABORTED, 0, 0, 0, 0);
	run();
	expect_ack(abort_seq, MICA_FW_OK);
	expect_ack(destroy_seq, MICA_FW_OK);
	expect_none();
}

static void abort_ends_running_and_waiting_jobs_in_order(void **state)
{
	u32 seq;

	(void)state;
	make_context(1, 16, 0);
	make_context(2, 16, 0);
	submit(2, 50, 1);
	run();
	submit(1, 1, 2);
	submit(1, 2, 1);
	run();
	push(1, 3, 4);
	doorbell(1, sim.produced[1]);	/* rung before the message, seen with it */
	sim.ignore_kill = true;
	seq = request(MICA_MSG_CTX_ABORT, 1, 0, 0, 0, 0);
	run();
	submit(1, 4, 1);		/* behind the abort: runs */
	run();
	expect_none();
	core_faults(1, MICA_FAULT_ABORTED, 0, 0, 0x40, 3);
	core_faults(2, MICA_FAULT_ABORTED, 0, 0, 0x80, 4);
	run();
	expect_done(1, 1, MICA_FAULT_ABORTED);
	expect_done(1, 2, MICA_FAULT_ABORTED);
	expect_done(1, 3, MICA_FAULT_ABORTED);
	expect_ack(seq, MICA_FW_OK);
	assert_int_equal(core_ctx(0), 2);	/* another context's job is not disturbed */
	assert_int_equal(sim.core[0].kills, 0);
	assert_int_equal(core_ctx(1), 1);
	core_done(1, 9);
	run();
	expect_done(1, 4, MICA_FAULT_NONE);
}

static void abort_of_more_jobs_than_the_event_ring_holds(void **state)
{
	u32 seq, next = 0;
	struct mica_fw_msg m;

	(void)state;
	make_context(1, 256, 0);
	for (u32 i = 0; i < 256; i++)
		push(1, i, 1);
	doorbell(1, 256);
	run();
	seq = request(MICA_MSG_CTX_ABORT, 1, 0, 0, 0, 0);
	run();
	while (next < 256) {
		while (receive(&m)) {
			assert_int_equal(m.type, MICA_MSG_JOB_DONE);
			assert_int_equal(m.arg[0], next++);
			assert_int_equal(m.status, MICA_FAULT_ABORTED);
			if (next == 256)
				break;
		}
		pass(2 * FW_POLL_US);
	}
	expect_ack(seq, MICA_FW_OK);
	expect_none();
}

static void abort_loses_to_a_job_that_is_over(void **state)
{
	u32 seq;

	(void)state;
	make_context(1, 16, 0);
	submit(1, 1, 1);
	run();
	sim.ignore_kill = true;
	seq = request(MICA_MSG_CTX_ABORT, 1, 0, 0, 0, 0);
	run();
	core_done(0, 1);
	run();
	expect_done(1, 1, MICA_FAULT_NONE);
	expect_ack(seq, MICA_FW_OK);
}

/* ---- jobs ---- */

static void job_runs_and_reports(void **state)
{
	struct mica_fw_msg m;

	(void)state;
	make_context(1, 16, 0);
	sim.dma_max = 0;
	submit(1, 0x1122334455667788ull, 1);
	run();
	assert_int_equal(running_set(), 1);
	assert_int_equal(core_get(0, MICA_CREG_DESC_LO), (u32)(HOST_BASE + RING_AT(1)));
	assert_int_equal(core_get(0, MICA_CREG_DESC_HI), (u32)(HOST_BASE >> 32));
	assert_int_equal(core_get(0, MICA_CREG_CTX), 1);
	assert_int_equal(core_get(0, MICA_CREG_GANG), 1u << 16);
	assert_int_equal(core_get(0, MICA_CREG_RESUME), 0);
	assert_int_equal(sim.dma_max, 64);	/* no more of the descriptor than its head */
	sim.time += 123;
	core_done(0, 0x500000007ull);
	run();
	m = expect_done(1, 0x1122334455667788ull, MICA_FAULT_NONE);
	assert_int_equal(m.arg[1], 0x500000007ull);
	assert_int_equal(m.arg[5], 123);
	assert_int_equal(m.arg[2] | m.arg[3] | m.arg[4], 0);
	assert_int_equal(m.seq, 0);
	assert_int_equal(core_get(0, MICA_CREG_STATUS), MICA_CORE_IDLE);
	expect_none();
}

static void gang_starts_together_and_reports_its_longest_core(void **state)
{
	(void)state;
	make_context(1, 16, 0);
	make_context(2, 16, 0);
	submit(1, 1, 1);
	run();
	submit(2, 2, 3);
	run();
	assert_int_equal(running_set(), 0xf);
	for (u32 i = 1; i < 4; i++) {
		assert_int_equal(core_get(i, MICA_CREG_GANG), 0xe << 16 | (i - 1));
		assert_int_equal(core_get(i, MICA_CREG_CTX), 2);
	}
	core_done(1, 100);
	core_done(3, 50);
	run();
	expect_none();
	/* Its peers may still write to the LMEM of a core that is done: it stays taken. */
	submit(1, 3, 1);
	assert_int_equal(core_get(1, MICA_CREG_STATUS), MICA_CORE_DONE);
	core_done(2, 300);
	run();
	assert_int_equal(expect_done(2, 2, MICA_FAULT_NONE).arg[1], 300);
}

static void completions_are_batched_and_next_jobs_start_first(void **state)
{
	u32 raises;

	(void)state;
	for (u32 ctx = 1; ctx <= 4; ctx++) {
		make_context(ctx, 16, 0);
		submit(ctx, 10, 1);
		submit(ctx, 11, 1);
	}
	run();
	assert_int_equal(running_set(), 0xf);
	for (u32 i = 0; i < 4; i++)
		core_done(i, 1);
	raises = sim.raises;
	fw_step();
	assert_int_equal(sim.raises, raises + 1);
	assert_int_equal(running_set(), 0xf);
	assert_int_equal(sim.core[0].starts, 2);
	for (u32 ctx = 1; ctx <= 4; ctx++)
		expect_done(ctx, 10, MICA_FAULT_NONE);
}

static void ring_wraps_and_keeps_order(void **state)
{
	u32 done = 0;

	(void)state;
	make_context(1, 4, 0);
	fw.ctx[1].head = fw.ctx[1].tail = sim.produced[1] = 0xfffffff8u;	/* free-running indices wrap too */
	for (u32 i = 0; i < 40; i++) {
		submit(1, i, 1);
		run();
		if (i % 4 != 3)
			continue;
		for (u32 k = 0; k < 4; k++, done++) {
			assert_int_equal(running_set(), 1);	/* one in flight */
			core_done(0, 1);
			run();
			expect_done(1, done, MICA_FAULT_NONE);
		}
	}
	assert_int_equal(running_set(), 0);
}

static void bad_descriptors_fault_and_the_ring_goes_on(void **state)
{
	(void)state;
	make_context(1, 16, 0);
	push(1, 1, 1)->magic = 0;
	push(1, 2, 0);
	push(1, 3, SIM_CORES + 1);
	push(1, 4, 0xffffffffu);
	push(1, 5, 1)->flags = 1;
	push(1, 6, 1)->segments = MICA_JOB_SEGMENTS + 1;
	push(1, 7, 1);
	push(1, 8, 1);
	sim.dma_fail_at = HOST_BASE + RING_AT(1) + 6 * sizeof(struct mica_job_desc);
	doorbell(1, sim.produced[1]);
	run();
	assert_int_equal(expect_done(1, 1, MICA_FAULT_DESC).arg[3] >> 32, FW_DESC_MAGIC);
	assert_int_equal(expect_done(1, 2, MICA_FAULT_DESC).arg[3] >> 32, FW_DESC_CORES);
	assert_int_equal(expect_done(1, 3, MICA_FAULT_DESC).arg[3] >> 32, FW_DESC_CORES);
	assert_int_equal(expect_done(1, 4, MICA_FAULT_DESC).arg[3] >> 32, FW_DESC_CORES);
	assert_int_equal(expect_done(1, 5, MICA_FAULT_DESC).arg[3] >> 32, FW_DESC_FLAGS);
	assert_int_equal(expect_done(1, 6, MICA_FAULT_DESC).arg[3] >> 32, FW_DESC_SEGMENTS);
	assert_int_equal(expect_done(1, 0, MICA_FAULT_BUS).arg[2], sim.dma_fail_at);
	expect_none();
	assert_int_equal(core_ctx(0), 1);
	core_done(0, 1);
	run();
	expect_done(1, 8, MICA_FAULT_NONE);
	assert_int_equal(fw.telemetry.jobs_faulted, 7);
	assert_int_equal(fw.telemetry.jobs_done, 1);
}

/* ---- faults ---- */

static void core_fault_is_reported_with_its_details(void **state)
{
	struct mica_fw_msg m;

	(void)state;
	make_context(1, 16, 0);
	submit(1, 1, 1);
	submit(1, 2, 1);
	run();
	core_faults(0, MICA_FAULT_MMU, 17, 0x7123456780ull, 0x1c0, 42);
	run();
	m = expect_done(1, 1, MICA_FAULT_MMU);
	assert_int_equal(m.arg[2], 0x7123456780ull);
	assert_int_equal(m.arg[3], 17ull << 32 | 0x1c0);
	assert_int_equal(m.arg[4], 42);
	assert_int_equal(core_ctx(0), 1);	/* the next one starts all the same: the driver decides what to abort */
}

static void fault_of_one_core_stops_the_gang(void **state)
{
	struct mica_fw_msg m;

	(void)state;
	make_context(1, 16, 0);
	submit(1, 1, 4);
	run();
	core_done(0, 10);
	run();
	sim.ignore_kill = true;
	core_faults(2, MICA_FAULT_SEGMENT, 1, 0x1000, 0x80, 5);
	run();
	assert_int_equal(sim.core[1].kills, 1);
	assert_int_equal(sim.core[3].kills, 1);
	assert_int_equal(sim.core[0].kills + sim.core[2].kills, 0);
	core_faults(1, MICA_FAULT_ABORTED, 9, 9, 9, 9);
	run();
	expect_none();
	core_faults(3, MICA_FAULT_MMU, 8, 8, 8, 8);	/* a second fault while it dies */
	run();
	m = expect_done(1, 1, MICA_FAULT_SEGMENT);
	assert_int_equal(m.arg[4], 2 << 16 | 5);
	assert_int_equal(m.arg[3], 1ull << 32 | 0x80);
}

static void cause_comes_before_consequence(void **state)
{
	(void)state;
	make_context(1, 16, 0);
	submit(1, 1, 3);
	run();
	core_faults(0, MICA_FAULT_BARRIER, 1, 1, 1, 1);
	core_faults(1, MICA_FAULT_PACKET, 7, 0, 0x40, 2);
	run();
	assert_int_equal(expect_done(1, 1, MICA_FAULT_PACKET).arg[4], 1 << 16 | 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON(boot, create_checks_its_arguments),
		ON(boot, destroy_and_abort_need_a_live_slot),
		ON(boot, destroy_kills_and_forgets_silently),
		ON(boot, destroy_during_abort_answers_both),
		ON(boot, abort_ends_running_and_waiting_jobs_in_order),
		ON(boot, abort_of_more_jobs_than_the_event_ring_holds),
		ON(boot, abort_loses_to_a_job_that_is_over),
		ON(boot, job_runs_and_reports),
		ON(boot, gang_starts_together_and_reports_its_longest_core),
		ON(boot, completions_are_batched_and_next_jobs_start_first),
		ON(boot, ring_wraps_and_keeps_order),
		ON(boot, bad_descriptors_fault_and_the_ring_goes_on),
		ON(boot, core_fault_is_reported_with_its_details),
		ON(boot, fault_of_one_core_stops_the_gang),
		ON(boot, cause_comes_before_consequence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
