/* SPDX-License-Identifier: MIT */
/* The firmware on a simulated device: everything at random. */
#include "firmware_sim.h"

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
		ON(boot, random_hosts_and_cores_break_no_invariant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
