/* SPDX-License-Identifier: MIT */
/* The firmware on a simulated device: boot, messages, hostile rings. */
#include "firmware_sim.h"

/* ---- boot, HELLO, messages ---- */

static void boot_reports_ready_and_window(void **state)
{
	(void)state;
	assert_int_equal(sim.fw_state, MICA_FW_STATE_READY);
	assert_int_equal(sim.reg[MICA_LREG_FW_ABI / 4], 2 << 16 | 4);
	assert_true(sim.raised & 1u << MICA_VEC_LOG);
	assert_true(log_contains("mica firmware 1.0.0, abi 2..4, 4 cores, 16 contexts\n"));
	assert_int_equal(shm()->telemetry.heartbeat, 1);
	assert_true(shm()->telemetry.temp_mc > 20000);
}

static void messages_before_boot_are_served(void **state)
{
	u32 seq;

	(void)state;
	power_on(SIM_CORES);
	seq = request(MICA_MSG_HELLO, 0, 2, 2, 0, 0);
	sim.irq = 0;
	fw_init();
	run();
	assert_int_equal(expect_msg(MICA_MSG_HELLO_ACK).seq, seq);
}

static void hello_negotiates_highest_common_version(void **state)
{
	static const struct { u64 min, max; u32 status, abi; } cases[] = {
		{ 1, 1, MICA_FW_E_VERSION, 0 },		/* older driver, no overlap */
		{ 1, 2, MICA_FW_OK, 2 },		/* older driver, overlap */
		{ 3, 3, MICA_FW_OK, 3 },
		{ 2, 4, MICA_FW_OK, 4 },
		{ 4, 900, MICA_FW_OK, 4 },		/* newer driver */
		{ 5, 900, MICA_FW_E_VERSION, 4 },	/* newer driver, no overlap: what was agreed stays */
		{ 4, 2, MICA_FW_E_VERSION, 4 },		/* empty window */
		{ 0, ~0ull, MICA_FW_OK, 4 },
		{ 1ull << 32, (1ull << 32) + 3, MICA_FW_E_VERSION, 4 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		u32 seq = request(MICA_MSG_HELLO, 0, cases[i].min, cases[i].max, 0, 0);
		struct mica_fw_msg m;

		run();
		m = expect_msg(MICA_MSG_HELLO_ACK);
		assert_int_equal(m.seq, seq);
		assert_int_equal(m.status, cases[i].status);
		assert_int_equal(m.arg[0], cases[i].abi);
		assert_int_equal(m.arg[1], FW_VERSION);
	}
}

static void hello_is_refused_while_contexts_exist(void **state)
{
	(void)state;
	make_context(1, 16, 0);
	request(MICA_MSG_HELLO, 0, 2, 4, 0, 0);
	run();
	assert_int_equal(expect_msg(MICA_MSG_HELLO_ACK).status, MICA_FW_E_STATE);
}

static void everything_else_needs_hello_first(void **state)
{
	(void)state;
	for (u32 type = MICA_MSG_CTX_CREATE; type <= MICA_MSG_SUSPEND; type++)
		call(type, 1, 0x1000, HOST_BASE + RING_AT(1), 16, 0, MICA_FW_E_STATE);
}

static void unknown_messages_are_refused(void **state)
{
	static const u32 types[] = { 0, MICA_MSG_SUSPEND + 1, 0x7f, MICA_MSG_ACK, 0x100, 0x80000001u, 0xffffffffu };

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		call(types[i], 0, 0, 0, 0, 0, MICA_FW_E_TYPE);
}

static void arguments_out_of_range_are_refused(void **state)
{
	(void)state;
	call(MICA_MSG_LOG_LEVEL, 0, 3, 0, 0, 0, MICA_FW_E_ARG);
	call(MICA_MSG_LOG_LEVEL, 0, 1ull << 32, 0, 0, 0, MICA_FW_E_ARG);
	call(MICA_MSG_WATCHDOG, 0, FW_WATCHDOG_MAX_MS + 1, 0, 0, 0, MICA_FW_E_ARG);
	call(MICA_MSG_WATCHDOG, 0, 1ull << 32, 0, 0, 0, MICA_FW_E_ARG);
	call(MICA_MSG_WATCHDOG, 0, FW_WATCHDOG_MAX_MS, 0, 0, 0, MICA_FW_OK);
	call(MICA_MSG_LOG_LEVEL, 0, 2, 0, 0, 0, MICA_FW_OK);
}

static void ping_refreshes_telemetry(void **state)
{
	u32 heartbeat = shm()->telemetry.heartbeat;

	(void)state;
	sim.time += 5000;
	call(MICA_MSG_PING, 0, 0, 0, 0, 0, MICA_FW_OK);
	assert_int_equal(shm()->telemetry.heartbeat, heartbeat + 1);
	assert_int_equal(shm()->telemetry.uptime_us, sim.time);
}

/* ---- hostile rings ---- */

static void mailbox_tail_outside_drops_everything_and_recovers(void **state)
{
	(void)state;
	shm()->h2f.tail = sim.h2f_tail + MICA_RING_MSGS + 1;
	sim.irq |= MICA_LIRQ_MBOX;
	run();
	expect_none();
	assert_true(log_contains("all dropped"));
	sim.h2f_tail += MICA_RING_MSGS + 1;
	assert_int_equal(shm()->h2f.head, sim.h2f_tail);
	call(MICA_MSG_PING, 0, 0, 0, 0, 0, MICA_FW_OK);
}

static void mailbox_takes_a_full_ring(void **state)
{
	u32 first = 0;

	(void)state;
	for (u32 i = 0; i < MICA_RING_MSGS; i++) {
		u32 seq = request(MICA_MSG_PING, 0, 0, 0, 0, 0);

		first = i ? first : seq;
	}
	run();
	for (u32 i = 0; i < MICA_RING_MSGS; i++)
		expect_ack(first + i, MICA_FW_OK);
	expect_none();
}

static void full_event_ring_holds_messages_back(void **state)
{
	u32 first = 0, got = 0;
	struct mica_fw_msg m;

	(void)state;
	make_context(1, 16, 0);
	for (u32 i = 0; i < MICA_RING_MSGS; i++) {
		u32 seq = request(MICA_MSG_PING, 0, 0, 0, 0, 0);

		first = i ? first : seq;
	}
	run();
	submit(1, 7, 1);
	request(MICA_MSG_PING, 0, 0, 0, 0, 0);
	run();
	core_done(0, 5);
	run();
	assert_int_equal(shm()->f2h.tail - shm()->f2h.head, MICA_RING_MSGS);
	pass(3 * FW_POLL_US);		/* nobody consumes: nothing is overwritten */
	assert_int_equal(shm()->f2h.tail - shm()->f2h.head, MICA_RING_MSGS);
	while (receive(&m)) {
		assert_int_equal(m.type, MICA_MSG_ACK);
		assert_int_equal(m.seq, first + got++);
	}
	assert_int_equal(got, MICA_RING_MSGS);
	pass(2 * FW_POLL_US);		/* no interrupt tells the firmware: it polls */
	expect_done(1, 7, MICA_FAULT_NONE);
	expect_ack(first + MICA_RING_MSGS, MICA_FW_OK);
	expect_none();
}

static void event_ring_head_outside_counts_as_full(void **state)
{
	(void)state;
	make_context(1, 16, 0);
	for (u32 i = 0; i < MICA_RING_MSGS; i++)
		request(MICA_MSG_PING, 0, 0, 0, 0, 0);
	run();
	shm()->f2h.head = shm()->f2h.tail + 5;
	submit(1, 7, 1);
	run();
	core_done(0, 5);
	pass(10 * FW_POLL_US);
	assert_int_equal(fw.mbox.f2h_tail - sim.f2h_head, MICA_RING_MSGS);
	assert_true(log_contains("event ring: head"));
	sim.f2h_head = fw.mbox.f2h_tail;
	shm()->f2h.head = sim.f2h_head;
	pass(10 * FW_POLL_US);
	expect_done(1, 7, MICA_FAULT_NONE);
}

static void doorbell_outside_of_ring_is_ignored(void **state)
{
	static const u32 bad[] = { 17, 0x1000, 0x80000000u, 0xffffffffu };

	(void)state;
	make_context(1, 16, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		doorbell(1, bad[i]);
		run();
		assert_int_equal(running_set(), 0);
	}
	assert_true(log_contains("doorbell 17 ignored"));
	assert_false(log_contains("doorbell 4096 ignored"));	/* logged once */
	push(1, 1, 1);
	push(1, 2, 1);
	doorbell(1, 2);
	run();
	doorbell(1, 0);		/* backwards: the running job and the one behind it stay */
	run();
	core_done(0, 1);
	run();
	expect_done(1, 1, MICA_FAULT_NONE);
	assert_int_equal(core_ctx(0), 1);
	core_done(0, 1);
	run();
	expect_done(1, 2, MICA_FAULT_NONE);
}

static void doorbell_of_empty_slot_is_ignored(void **state)
{
	(void)state;
	for (u32 slot = 0; slot < 64; slot++)
		doorbell(slot, 3);
	run();
	assert_int_equal(sim.db_pending, 0);
	/* A slot's old doorbell does not count for its next owner, not even when it is still pending. */
	doorbell(3, 3);
	call(MICA_MSG_CTX_CREATE, 3, 0x1000, HOST_BASE + RING_AT(3), 16, 0, MICA_FW_OK);
	run();
	assert_int_equal(running_set(), 0);
	doorbell(4, 3);
	make_context(5, 16, 0);
	run();
	assert_int_equal(running_set(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON(boot_silent, boot_reports_ready_and_window),
		cmocka_unit_test(messages_before_boot_are_served),
		ON(boot_silent, hello_negotiates_highest_common_version),
		ON(boot, hello_is_refused_while_contexts_exist),
		ON(boot_silent, everything_else_needs_hello_first),
		ON(boot, unknown_messages_are_refused),
		ON(boot, arguments_out_of_range_are_refused),
		ON(boot, ping_refreshes_telemetry),
		ON(boot, mailbox_tail_outside_drops_everything_and_recovers),
		ON(boot, mailbox_takes_a_full_ring),
		ON(boot, full_event_ring_holds_messages_back),
		ON(boot, event_ring_head_outside_counts_as_full),
		ON(boot, doorbell_outside_of_ring_is_ignored),
		ON(boot, doorbell_of_empty_slot_is_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
