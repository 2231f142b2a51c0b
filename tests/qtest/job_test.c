/* SPDX-License-Identifier: MIT */
/* Jobs on cores: descriptors, streams, gangs, barriers, preemption, kill, statistics. */
#include "tests.h"

#define SEG(off)	MICA_ADDR(0, off)
#define LMEM(off)	MICA_ADDR(MICA_SEG_LMEM, off)
#define PEER(i, off)	MICA_ADDR(MICA_SEG_PEER + (i), off)
#define SEG_MEM		(MEM_DATA + 0x100000)	/* where segment 0 lies in guest memory */

static struct job end_only(struct dev *d, unsigned cores)
{
	struct job j = job_make(cores);
	uint8_t s[64];

	for (unsigned i = 0; i < cores; i++)
		job_stream(d, &j, i, s, pkt_end(s));
	return j;
}

static void empty_job_is_done(void **state)
{
	struct dev *d = *state;
	struct job j = end_only(d, 1);
	struct outcome o = job_run(d, &j);

	assert_int_equal(o.status, MICA_CORE_DONE);
	assert_int_equal(o.fault, 0);
	assert_int_equal(local_read(d, MICA_LREG_CORE(0) + MICA_CREG_STATUS), MICA_CORE_IDLE);
	assert_true(local_read(d, MICA_LREG_IRQ_PENDING) & MICA_LIRQ_CORE);
}

static void copy_moves_data_through_lmem(void **state)
{
	struct dev *d = *state;
	struct job j = job_make(1);
	uint8_t s[512], out[8192], in[8192];
	unsigned n = 0;

	for (unsigned i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + i / 256);
	qtest_write(d->q, SEG_MEM + 100, out, sizeof(out));
	n += pkt_copy(s + n, SEG(100), LMEM(64), sizeof(out));
	n += pkt_copy_after(s + n, LMEM(64), SEG(20000), sizeof(out), MICA_ENGINE_LOAD, 1);
	n += pkt_end(s + n);
	job_stream(d, &j, 0, s, n);
	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
	qtest_read(d->q, SEG_MEM + 20000, in, sizeof(in));
	assert_memory_equal(in, out, sizeof(in));
}

static void bad_descriptors_are_refused(void **state)
{
	struct dev *d = *state;
	const struct job good = end_only(d, 1);
	struct job j;
	struct outcome o;

#define REFUSED(change) \
	do { \
		j = good; \
		change; \
		o = job_run(d, &j); \
		assert_int_equal(o.status, MICA_CORE_FAULT); \
		assert_int_equal(o.fault, MICA_FAULT_DESC); \
		assert_int_equal(o.addr, MEM_DESC); \
	} while (0)
	REFUSED(j.desc.magic = 0);
	REFUSED(j.desc.cores = 2);
	REFUSED(j.desc.cores = 0);
	REFUSED(j.desc.flags = 1);
	REFUSED(j.desc.rsvd[3] = 1);
	REFUSED(j.desc.rsvd1[63] = 1);
	REFUSED(j.desc.segments = 49);
	REFUSED(j.desc.segments = ~0u);
	REFUSED(j.desc.stats_segment = 1);
	REFUSED(j.desc.stats_segment = 0; j.desc.segment[0].size_flags = 4096);
	REFUSED(j.desc.stats_segment = 0; j.desc.segment[0].size_flags = 64 | MICA_SEGMENT_WRITE);
	REFUSED(j.desc.stream[0].size = 0);
	REFUSED(j.desc.stream[0].size = 65);
	REFUSED(j.desc.stream[0].size = 0xffffffc0);
	REFUSED(j.desc.stream[0].rsvd = 1);
	REFUSED(j.desc.stream[0].va = 1ull << 39);
	REFUSED(j.desc.stream[0].va = ~0ull - 10);
	REFUSED(j.desc.segment[0].va = (1ull << 39) - 4096);
	REFUSED(j.desc.segment[0].size_flags |= 1ull << 62);
	REFUSED(j.resume = 32);
#undef REFUSED
	assert_int_equal(job_run(d, &good).status, MICA_CORE_DONE);
}

static struct outcome run_with_core_regs(struct dev *d, uint32_t desc_hi, uint32_t ctx, uint32_t gang)
{
	struct outcome o;

	probe_store(MICA_LREG_CORE(0) + MICA_CREG_DESC_LO, MEM_DESC);
	probe_store(MICA_LREG_CORE(0) + MICA_CREG_DESC_HI, desc_hi);
	probe_store(MICA_LREG_CORE(0) + MICA_CREG_CTX, ctx);
	probe_store(MICA_LREG_CORE(0) + MICA_CREG_GANG, gang);
	probe_store(MICA_LREG_CORE(0) + MICA_CREG_RESUME, 0);
	probe_store(MICA_LREG_CORE(0) + MICA_CREG_CTRL, MICA_CORE_CTRL_START);
	probe_run(d);
	core_wait(d, 0);
	o = core_outcome(d, 0);
	core_command(d, 0, MICA_CORE_CTRL_ACK);
	return o;
}

static void bad_core_registers_are_refused(void **state)
{
	struct dev *d = *state;
	struct job j = end_only(d, 1);

	qtest_write(d->q, MEM_DESC, &j.desc, sizeof(j.desc));
	assert_int_equal(run_with_core_regs(d, 0, 1, 1u << 16).status, MICA_CORE_DONE);
	assert_int_equal(run_with_core_regs(d, 0, 0, 1u << 16).fault, MICA_FAULT_DESC);
	assert_int_equal(run_with_core_regs(d, 0, 64, 1u << 16).fault, MICA_FAULT_DESC);
	assert_int_equal(run_with_core_regs(d, 0, ~0u, 1u << 16).fault, MICA_FAULT_DESC);
	assert_int_equal(run_with_core_regs(d, 0, 1, 0).fault, MICA_FAULT_DESC);
	assert_int_equal(run_with_core_regs(d, 0, 1, 2u << 16).fault, MICA_FAULT_DESC);
	assert_int_equal(run_with_core_regs(d, 0, 1, 1u << 16 | 1).fault, MICA_FAULT_DESC);
	assert_int_equal(run_with_core_regs(d, 0, 1, 0x51u << 16).fault, MICA_FAULT_DESC);
	assert_int_equal(run_with_core_regs(d, 0, 1, 1u << 16 | 0x100).fault, MICA_FAULT_DESC);
	assert_int_equal(run_with_core_regs(d, 0x7fff, 1, 1u << 16).fault, MICA_FAULT_BUS);
	assert_true(reg_read(d, MICA_REG_STATUS) & MICA_STATUS_BUS_ERROR_MASK);
	assert_int_equal(run_with_core_regs(d, 0, 2, 1u << 16).fault, MICA_FAULT_MMU);	/* an empty slot */
}

static void stream_without_end_faults(void **state)
{
	struct dev *d = *state;
	struct job j = job_make(1);
	uint8_t s[256];
	unsigned n = pkt_barrier(s, 1, 0);

	n += pkt_barrier(s + n, 2, 0);
	job_stream(d, &j, 0, s, n);
	assert_int_equal(job_run(d, &j).fault, MICA_FAULT_STREAM);
}

static void refused_packet_tells_where_and_why(void **state)
{
	struct dev *d = *state;
	struct job j = job_make(1);
	uint8_t s[256] = { 0 };
	unsigned n = pkt_barrier(s, 1, 0);
	struct outcome o;

	s[n] = 0x77;		/* no such opcode */
	s[n + 1] = 1;
	s[n + 2] = 9;		/* layer */
	n += 64;
	n += pkt_end(s + n);
	job_stream(d, &j, 0, s, n);
	o = job_run(d, &j);
	assert_int_equal(o.fault, MICA_FAULT_PACKET);
	assert_int_equal(o.info, 2);	/* MICA_CHECK_OPCODE */
	assert_int_equal(o.pkt, 64);
	assert_int_equal(o.layer, 9);
	assert_int_equal(o.progress, 1);
}

static void long_streams_are_fetched_in_pieces(void **state)
{
	enum { PACKETS = 4000 };
	static uint8_t s[PACKETS * 128 + 64];
	struct dev *d = *state;
	struct job j = job_make(1);
	uint32_t before = local_read(d, MICA_LREG_CORE(0) + MICA_CREG_PROGRESS);
	unsigned n = 0;

	n += pkt_barrier(s, 0, 0);	/* 128-byte packets straddle the chunks then */
	for (unsigned i = 0; i < PACKETS - 1; i++)
		n += pkt_copy(s + n, SEG(i), LMEM(64 * (i % 100)), 8);
	n += pkt_end(s + n);
	job_stream(d, &j, 0, s, n);
	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
	assert_int_equal(local_read(d, MICA_LREG_CORE(0) + MICA_CREG_PROGRESS) - before, PACKETS);
}

static void gang_exchanges_data_between_barriers(void **state)
{
	struct dev *d = *state;
	struct job j = job_make(2);
	uint8_t s[512], out[4096], in[4096];
	unsigned n = 0;

	memset(out, 0xa5, sizeof(out));
	qtest_write(d->q, SEG_MEM, out, sizeof(out));
	n += pkt_copy(s + n, SEG(0), LMEM(0), 4096);
	n += pkt_copy_after(s + n, LMEM(0), PEER(1, 8192), 4096, MICA_ENGINE_LOAD, 1);
	n += pkt_barrier(s + n, 5, 0);
	n += pkt_end(s + n);
	job_stream(d, &j, 0, s, n);
	n = pkt_barrier(s, 5, 0);
	n += pkt_copy(s + n, LMEM(8192), SEG(8192), 4096);
	n += pkt_end(s + n);
	job_stream(d, &j, 1, s, n);
	for (unsigned round = 0; round < 20; round++) {
		assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
		qtest_read(d->q, SEG_MEM + 8192, in, sizeof(in));
		assert_memory_equal(in, out, sizeof(in));
		memset(out, (int)round, sizeof(out));
		qtest_write(d->q, SEG_MEM, out, sizeof(out));
	}
}

static void barriers_that_differ_fault(void **state)
{
	struct dev *d = *state;
	struct job j = job_make(2);
	uint8_t s[256];
	unsigned n = pkt_barrier(s, 1, 0);
	struct outcome o[2];

	n += pkt_end(s + n);
	job_stream(d, &j, 0, s, n);
	n = pkt_barrier(s, 2, 0);
	n += pkt_end(s + n);
	job_stream(d, &j, 1, s, n);
	job_start(d, &j);
	qtest_sleep_us(20000);
	o[0] = core_outcome(d, 0);
	o[1] = core_outcome(d, 1);
	/* The later one faults, the other waits to be killed. */
	assert_int_equal(o[0].fault + o[1].fault, MICA_FAULT_BARRIER);
	for (unsigned i = 0; i < 2; i++)
		core_command(d, i, MICA_CORE_CTRL_KILL);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(core_wait(d, i), MICA_CORE_FAULT);
	assert_int_equal(core_outcome(d, 0).fault + core_outcome(d, 1).fault, MICA_FAULT_BARRIER + MICA_FAULT_ABORTED);
	for (unsigned i = 0; i < 2; i++)
		core_command(d, i, MICA_CORE_CTRL_ACK);
	j = end_only(d, 2);
	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
}

static void kill_ends_a_waiting_core(void **state)
{
	struct dev *d = *state;
	struct job j = end_only(d, 2);

	qtest_write(d->q, MEM_DESC, &j.desc, sizeof(j.desc));
	probe_store(MICA_LREG_CORE(1) + MICA_CREG_DESC_LO, MEM_DESC);
	probe_store(MICA_LREG_CORE(1) + MICA_CREG_CTX, 1);
	probe_store(MICA_LREG_CORE(1) + MICA_CREG_GANG, 1 | 3u << 16);
	probe_store(MICA_LREG_CORE(1) + MICA_CREG_CTRL, MICA_CORE_CTRL_START);
	probe_run(d);		/* its peer never comes */
	qtest_sleep_us(10000);
	assert_int_equal(local_read(d, MICA_LREG_CORE(1) + MICA_CREG_STATUS), MICA_CORE_RUNNING);
	core_command(d, 1, MICA_CORE_CTRL_ACK);		/* no way to get rid of it */
	assert_int_equal(local_read(d, MICA_LREG_CORE(1) + MICA_CREG_STATUS), MICA_CORE_RUNNING);
	core_command(d, 1, MICA_CORE_CTRL_KILL);
	assert_int_equal(core_wait(d, 1), MICA_CORE_FAULT);
	assert_int_equal(core_outcome(d, 1).fault, MICA_FAULT_ABORTED);
}

/* Core 0: data to LMEM, checkpoint, constant to the segment. Preempted there it goes on with the constant alone. */
static void preempted_job_goes_on_behind_the_checkpoint(void **state)
{
	struct dev *d = *state;
	struct job j = job_make(1);
	uint8_t s[1024], in[16];
	uint64_t straight, first;
	struct outcome o;
	unsigned n = 0, resume;

	n += pkt_copy(s + n, SEG(0), LMEM(0), 4096);
	n += pkt_barrier(s + n, 1, 0);
	n += pkt_barrier(s + n, 2, MICA_BARRIER_CHECKPOINT);
	resume = n;
	n += pkt_copy(s + n, SEG(64), LMEM(0), 16);
	n += pkt_copy_after(s + n, LMEM(0), SEG(4096), 16, MICA_ENGINE_LOAD, 1);
	n += pkt_end(s + n);
	job_stream(d, &j, 0, s, n);
	qtest_write(d->q, SEG_MEM + 64, "resumed as it is", 16);
	o = job_run(d, &j);
	assert_int_equal(o.status, MICA_CORE_DONE);
	straight = o.cycles;

	reg_write(d, MICA_REG_INJECT_ARG, 0);	/* PREEMPT must come while it runs: hold it at its first packet... */
	qtest_write(d->q, SEG_MEM + 4096, "................", 16);
	qtest_write(d->q, MEM_DESC, &j.desc, sizeof(j.desc));
	probe_store(MICA_LREG_CORE(0) + MICA_CREG_CTRL, MICA_CORE_CTRL_START | MICA_CORE_CTRL_PREEMPT);
	probe_run(d);				/* ...or simply in one store with START */
	assert_int_equal(core_wait(d, 0), MICA_CORE_PREEMPTED);
	o = core_outcome(d, 0);
	assert_int_equal(o.resume, resume);
	first = o.cycles;
	qtest_read(d->q, SEG_MEM + 4096, in, 16);
	assert_memory_equal(in, "................", 16);
	core_command(d, 0, MICA_CORE_CTRL_ACK);

	j.resume = resume;
	o = job_run(d, &j);
	assert_int_equal(o.status, MICA_CORE_DONE);
	assert_int_equal(first + o.cycles, straight);
	qtest_read(d->q, SEG_MEM + 4096, in, 16);
	assert_memory_equal(in, "resumed as it is", 16);
}

static void gang_is_preempted_together(void **state)
{
	struct dev *d = *state;
	struct job j = job_make(2);
	uint8_t s[256];
	unsigned n = pkt_barrier(s, 9, MICA_BARRIER_CHECKPOINT);

	n += pkt_end(s + n);
	job_stream(d, &j, 0, s, n);
	job_stream(d, &j, 1, s, n);
	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
	probe_store(MICA_LREG_CORE(0) + MICA_CREG_CTRL, MICA_CORE_CTRL_START | MICA_CORE_CTRL_PREEMPT);
	probe_store(MICA_LREG_CORE(1) + MICA_CREG_CTRL, MICA_CORE_CTRL_START);
	probe_run(d);
	assert_int_equal(core_wait(d, 0), MICA_CORE_PREEMPTED);
	assert_int_equal(core_wait(d, 1), MICA_CORE_PREEMPTED);
	core_command(d, 0, MICA_CORE_CTRL_ACK);
	core_command(d, 1, MICA_CORE_CTRL_ACK);
	j.resume = 64;
	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
}

static void statistics_are_written_and_deterministic(void **state)
{
	struct dev *d = *state;
	struct job j = job_make(2);
	struct { struct mica_job_stats job; struct mica_layer_stats layer[8]; } a, b;
	uint8_t s[512];
	unsigned n = 0;

	n += pkt_copy(s + n, SEG(0), LMEM(0), 4096);
	n += pkt_barrier(s + n, 1, 0);
	n += pkt_end(s + n);
	job_stream(d, &j, 0, s, n);
	job_stream(d, &j, 1, s, n);
	j.desc.segments = 2;
	j.desc.stats_segment = 1;
	j.desc.segment[1] = (struct mica_job_segment){ VA_DATA + 0x180000, sizeof(a) | MICA_SEGMENT_WRITE };
	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
	qtest_read(d->q, MEM_DATA + 0x180000, &a, sizeof(a));
	assert_int_equal(a.job.cores, 2);
	assert_int_equal(a.job.layers, 8);
	assert_int_equal(a.job.dram_read_bytes, 8192);
	assert_true(a.job.cycles > 100);
	assert_int_equal(a.layer[6].busy[MICA_ENGINE_LOAD], a.job.busy[MICA_ENGINE_LOAD]);
	for (unsigned round = 0; round < 5; round++) {
		assert_int_equal(job_run(d, &j).cycles, a.job.cycles);
		qtest_read(d->q, MEM_DATA + 0x180000, &b, sizeof(b));
		assert_memory_equal(&a, &b, sizeof(a));
	}
}

static void lmem_does_not_leak_to_another_context(void **state)
{
	struct dev *d = *state;
	struct job j = job_make(1);
	uint8_t s[256], in[16], zero[16] = { 0 };
	unsigned n = pkt_copy(s, SEG(0), LMEM(4096), 16);

	qtest_write(d->q, SEG_MEM, "secret of number", 16);
	n += pkt_end(s + n);
	job_stream(d, &j, 0, s, n);
	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
	context_make(d);		/* the slot belongs to somebody else now */
	n = pkt_copy(s, LMEM(4096), SEG(0), 16);
	n += pkt_end(s + n);
	job_stream(d, &j, 0, s, n);
	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
	qtest_read(d->q, SEG_MEM, in, 16);
	assert_memory_equal(in, zero, 16);
}

static void running_core_ignores_stores_and_start(void **state)
{
	struct dev *d = *state;
	struct job j = end_only(d, 1);

	reg_write(d, MICA_REG_INJECT, MICA_INJECT_HANG_CORE);
	job_start(d, &j);
	reg_wait(d, MICA_REG_INJECT_COUNT, ~0u, 1);
	local_write(d, MICA_LREG_CORE(0) + MICA_CREG_CTX, 5);
	core_command(d, 0, MICA_CORE_CTRL_START);
	assert_int_equal(local_read(d, MICA_LREG_CORE(0) + MICA_CREG_CTX), 1);
	assert_int_equal(local_read(d, MICA_LREG_CORE(0) + MICA_CREG_STATUS), MICA_CORE_RUNNING);
}

static void reset_ends_running_jobs(void **state)
{
	struct dev *d = *state;
	struct job j = end_only(d, 2);

	reg_write(d, MICA_REG_INJECT, MICA_INJECT_HANG_CORE);
	job_start(d, &j);
	reg_wait(d, MICA_REG_INJECT_COUNT, ~0u, 1);
	reg_write(d, MICA_REG_CTRL, MICA_CTRL_RESET_MASK);
	reg_wait(d, MICA_REG_STATUS, ~0u, MICA_STATUS_READY_MASK);
	boot_probe(d);
	context_make(d);
	assert_int_equal(local_read(d, MICA_LREG_CORE(0) + MICA_CREG_STATUS), MICA_CORE_IDLE);
	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
}

int run_job_tests(void)
{
	const struct CMUnitTest tests[] = {
		TEST_PROBE(empty_job_is_done),
		TEST_PROBE(copy_moves_data_through_lmem),
		TEST_PROBE(bad_descriptors_are_refused),
		TEST_PROBE(bad_core_registers_are_refused),
		TEST_PROBE(stream_without_end_faults),
		TEST_PROBE(refused_packet_tells_where_and_why),
		TEST_PROBE(long_streams_are_fetched_in_pieces),
		TEST_PROBE(gang_exchanges_data_between_barriers),
		TEST_PROBE(barriers_that_differ_fault),
		TEST_PROBE(kill_ends_a_waiting_core),
		TEST_PROBE(preempted_job_goes_on_behind_the_checkpoint),
		TEST_PROBE(gang_is_preempted_together),
		TEST_PROBE(statistics_are_written_and_deterministic),
		TEST_PROBE(lmem_does_not_leak_to_another_context),
		TEST_PROBE(running_core_ignores_stores_and_start),
		TEST_PROBE(reset_ends_running_jobs),
	};

	return cmocka_run_group_tests_name("job", tests, NULL, NULL);
}
