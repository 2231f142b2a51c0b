/* SPDX-License-Identifier: MIT */
/* Each error that can be injected, through the register bank and through QOM, and the way back from it. */
#include "tests.h"

#define SEG(off)	MICA_ADDR(0, off)
#define LMEM(off)	MICA_ADDR(MICA_SEG_LMEM, off)

static void inject(struct dev *d, uint32_t what, uint32_t arg)
{
	reg_write(d, MICA_REG_INJECT_ARG, arg);
	reg_write(d, MICA_REG_INJECT, what);
}

static void expect_struck(struct dev *d, uint32_t count)
{
	reg_wait(d, MICA_REG_INJECT_COUNT, ~0u, count);
}

static struct job copying(struct dev *d)
{
	struct job j = job_make(1);
	uint8_t s[512];
	unsigned n = pkt_copy(s, SEG(0), LMEM(0), 64);

	n += pkt_copy_after(s + n, LMEM(0), SEG(4096), 64, MICA_ENGINE_LOAD, 1);
	n += pkt_end(s + n);
	job_stream(d, &j, 0, s, n);
	return j;
}

static void expect_next_job_works(struct dev *d)
{
	struct job j = copying(d);

	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
}

static void nothing_happens_without_debug(void **state)
{
	struct dev d = dev_start("mica-accel");

	(void)state;
	inject(&d, MICA_INJECT_LINK_DOWN, 0);
	assert_int_equal(reg_read(&d, MICA_REG_ID), MICA_ID_MAGIC);
	dev_stop(&d);
}

static void bad_arguments_are_ignored(void **state)
{
	struct dev *d = *state;

	inject(d, MICA_INJECT_HANG_CORE, 2);
	inject(d, MICA_INJECT_DMA_ERROR, ~0u);
	inject(d, MICA_INJECT_LOST_IRQ, 4);
	inject(d, MICA_INJECT_FLIP_LMEM, 2 << 20);
	inject(d, 10, 0);
	inject(d, ~0u, 0);
	expect_next_job_works(d);
	assert_int_equal(reg_read(d, MICA_REG_INJECT_COUNT), 0);
}

static void hanging_core_makes_no_progress_until_killed(void **state)
{
	struct dev *d = *state;
	struct job j = copying(d);
	uint32_t progress;

	inject(d, MICA_INJECT_HANG_CORE, 0);
	job_start(d, &j);
	expect_struck(d, 1);
	progress = local_read(d, MICA_LREG_CORE(0) + MICA_CREG_PROGRESS);
	qtest_sleep_us(10000);
	assert_int_equal(local_read(d, MICA_LREG_CORE(0) + MICA_CREG_PROGRESS), progress);
	core_command(d, 0, MICA_CORE_CTRL_KILL);
	core_wait(d, 0);
	assert_int_equal(core_outcome(d, 0).fault, MICA_FAULT_ABORTED);
	core_command(d, 0, MICA_CORE_CTRL_ACK);
	expect_next_job_works(d);
}

static void lost_interrupt_leaves_the_status_bit(void **state)
{
	struct dev *d = *state;

	inject(d, MICA_INJECT_LOST_IRQ, MICA_VEC_EVENT);
	local_write(d, MICA_LREG_RAISE, 1u << MICA_VEC_EVENT);
	expect_struck(d, 1);
	assert_true(msix_absent(d, MICA_VEC_EVENT));
	assert_int_equal(reg_read(d, MICA_REG_IRQ_STATUS), 1u << MICA_VEC_EVENT);
	local_write(d, MICA_LREG_RAISE, 1u << MICA_VEC_EVENT);
	assert_true(msix_arrived(d, MICA_VEC_EVENT));
}

static void flipped_bit_changes_data_silently(void **state)
{
	struct dev *d = *state;
	struct job j = job_make(1);
	uint8_t s[256], in[4];
	unsigned n = pkt_copy(s, SEG(0), LMEM(0), 64);

	n += pkt_end(s + n);
	job_stream(d, &j, 0, s, n);
	qtest_write(d->q, MEM_DATA + 0x100000, "abcd", 4);
	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
	n = pkt_copy(s, LMEM(0), SEG(4096), 64);
	n += pkt_end(s + n);
	job_stream(d, &j, 0, s, n);
	inject(d, MICA_INJECT_FLIP_LMEM, 2);
	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
	expect_struck(d, 1);
	qtest_read(d->q, MEM_DATA + 0x101000, in, 4);
	assert_memory_equal(in, "abbd", 4);
}

static void flipped_bit_with_ecc_faults(void **state)
{
	struct dev *d = *state;
	struct job j = copying(d);
	struct outcome o;

	inject(d, MICA_INJECT_FLIP_LMEM_ECC, 77);
	o = job_run(d, &j);
	assert_int_equal(o.fault, MICA_FAULT_ECC);
	assert_int_equal(o.addr, LMEM(77));
	expect_next_job_works(d);
}

static void failing_dma_is_a_bus_fault(void **state)
{
	struct dev *d = *state;
	struct job j = copying(d);

	inject(d, MICA_INJECT_DMA_ERROR, 0);
	assert_int_equal(job_run(d, &j).fault, MICA_FAULT_BUS);
	expect_next_job_works(d);
}

static void corrupt_descriptor_faults(void **state)
{
	struct dev *d = *state;
	struct job j = copying(d);

	inject(d, MICA_INJECT_BAD_RING, 0);
	assert_int_equal(job_run(d, &j).fault, MICA_FAULT_DESC);
	expect_next_job_works(d);
}

static void firmware_crash_is_fatal(void **state)
{
	struct dev *d = *state;

	inject(d, MICA_INJECT_FW_CRASH, 0);
	reg_wait(d, MICA_REG_FW_STATE, ~0u, MICA_FW_STATE_CRASHED);	/* the probe has no trap handler */
	assert_int_equal(reg_read(d, MICA_REG_FW_CAUSE), 2);
	assert_true(msix_arrived(d, MICA_VEC_FATAL));
	boot_probe(d);
	assert_int_equal(local_read(d, MICA_LREG_CORES), 2);
}

static void firmware_hang_goes_away_with_reset(void **state)
{
	struct dev *d = *state;

	inject(d, MICA_INJECT_FW_HANG, 0);
	expect_struck(d, 1);
	assert_false(reg_read(d, MICA_REG_STATUS) & MICA_STATUS_FW_RUN_MASK);
	assert_int_equal(reg_read(d, MICA_REG_FW_STATE), MICA_FW_STATE_READY);
	probe_load(MICA_LREG_CORES);
	probe_send(d);
	qtest_sleep_us(10000);
	assert_int_equal(qtest_readl(d->q, MEM_SHM + 4), 0);
	reg_write(d, MICA_REG_CTRL, MICA_CTRL_RESET_MASK);
	reg_wait(d, MICA_REG_STATUS, ~0u, MICA_STATUS_READY_MASK);
	boot_probe(d);
	assert_int_equal(local_read(d, MICA_LREG_CORES), 2);
}

static void link_down_reads_ones_until_flr(void **state)
{
	struct dev *d = *state;

	inject(d, MICA_INJECT_LINK_DOWN, 0);
	assert_int_equal(reg_read(d, MICA_REG_ID), ~0u);
	assert_int_equal(reg_read(d, 0x7fffc), ~0u);
	reg_write(d, MICA_REG_CTRL, MICA_CTRL_RESET_MASK);
	qtest_sleep_us(5000);
	assert_int_equal(reg_read(d, MICA_REG_CTRL), ~0u);
	dev_flr(d);
	reg_wait(d, MICA_REG_STATUS, ~0u, MICA_STATUS_READY_MASK);
	assert_int_equal(reg_read(d, MICA_REG_ID), MICA_ID_MAGIC);
}

static bool qom_inject(struct dev *d, const char *what)
{
	char arguments[128];

	snprintf(arguments, sizeof(arguments),
		 "{\"path\":\"/machine/peripheral/mica\",\"property\":\"inject\",\"value\":\"%s\"}", what);
	return qtest_qmp(d->q, "qom-set", arguments);
}

static void qom_property_injects(void **state)
{
	struct dev *d = *state;
	struct job j = copying(d);

	assert_true(qom_inject(d, "dma-error=0"));
	assert_int_equal(job_run(d, &j).fault, MICA_FAULT_BUS);
	assert_false(qom_inject(d, "dma-error=9"));
	assert_false(qom_inject(d, "dma-error=x"));
	assert_false(qom_inject(d, "nonsense"));
	assert_true(qom_inject(d, "link-down"));
	assert_int_equal(reg_read(d, MICA_REG_ID), ~0u);
}

int run_inject_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_happens_without_debug),
		TEST_PROBE(bad_arguments_are_ignored),
		TEST_PROBE(hanging_core_makes_no_progress_until_killed),
		TEST_PROBE(lost_interrupt_leaves_the_status_bit),
		TEST_PROBE(flipped_bit_changes_data_silently),
		TEST_PROBE(flipped_bit_with_ecc_faults),
		TEST_PROBE(failing_dma_is_a_bus_fault),
		TEST_PROBE(corrupt_descriptor_faults),
		TEST_PROBE(firmware_crash_is_fatal),
		TEST_PROBE(firmware_hang_goes_away_with_reset),
		TEST_PROBE(link_down_reads_ones_until_flr),
		TEST_PROBE(qom_property_injects),
	};

	return cmocka_run_group_tests_name("inject", tests, NULL, NULL);
}
