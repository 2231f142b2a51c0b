/* SPDX-License-Identifier: MIT */
/* The microcontroller's bus, as the probe firmware sees it. */
#include "tests.h"

static void local_registers_tell_the_configuration(void **state)
{
	struct dev *d = *state;

	assert_int_equal(local_read(d, MICA_LREG_CORES), 2);
	assert_int_equal(local_read(d, MICA_LREG_CONTEXTS), 64);
	assert_int_equal(local_read(d, MICA_LREG_LMEM_SIZE), 2 << 20);
	assert_int_equal(local_read(d, MICA_LREG_SHM_LO), MEM_SHM);
	assert_int_equal(local_read(d, MICA_LREG_SHM_SIZE), MICA_SHM_SIZE);
	assert_int_equal(local_read(d, MICA_LREG_MBOX_TAIL), 1);
	assert_int_equal(local_read(d, 0x0f0), 0);		/* unknown */
}

static void doorbells_are_pending_until_cleared(void **state)
{
	struct dev *d = *state;

	reg_write(d, MICA_DOORBELL(1), 11);
	reg_write(d, MICA_DOORBELL(40), 22);
	reg_write(d, MICA_DOORBELL(40), 23);
	assert_int_equal(local_read(d, MICA_LREG_DB_PENDING_LO), 1u << 1);
	assert_int_equal(local_read(d, MICA_LREG_DB_PENDING_HI), 1u << 8);
	assert_int_equal(local_read(d, MICA_LREG_DB_VALUE(1)), 11);
	assert_int_equal(local_read(d, MICA_LREG_DB_VALUE(40)), 23);
	assert_true(local_read(d, MICA_LREG_IRQ_PENDING) & MICA_LIRQ_DOORBELL);
	local_write(d, MICA_LREG_DB_PENDING_LO, ~0u);
	assert_true(local_read(d, MICA_LREG_IRQ_PENDING) & MICA_LIRQ_DOORBELL);
	local_write(d, MICA_LREG_DB_PENDING_HI, ~0u);
	assert_false(local_read(d, MICA_LREG_IRQ_PENDING) & MICA_LIRQ_DOORBELL);
}

static void doorbells_outside_the_range_are_ignored(void **state)
{
	struct dev *d = *state;

	reg_write(d, MICA_DOORBELL(0), 1);
	reg_write(d, MICA_DOORBELL(64), 1);
	reg_write(d, MICA_DOORBELL(1) + 4, 1);
	assert_int_equal(local_read(d, MICA_LREG_DB_PENDING_LO), 0);
	assert_int_equal(local_read(d, MICA_LREG_DB_PENDING_HI), 0);
}

static void timer_interrupts_when_time_has_come(void **state)
{
	struct dev *d = *state;
	uint32_t now = local_read(d, MICA_LREG_TIME_LO);

	local_write(d, MICA_LREG_TIMER_LO, now + 1000);
	assert_false(local_read(d, MICA_LREG_IRQ_PENDING) & MICA_LIRQ_TIMER);
	qtest_clock_step(d->q, 2000000);
	assert_true(local_read(d, MICA_LREG_IRQ_PENDING) & MICA_LIRQ_TIMER);
	assert_in_range(local_read(d, MICA_LREG_TIME_LO), now + 2000, now + 2001);
	local_write(d, MICA_LREG_TIMER_LO, 0);
	assert_false(local_read(d, MICA_LREG_IRQ_PENDING) & MICA_LIRQ_TIMER);
}

static void timer_wakes_a_sleeping_firmware(void **state)
{
	struct dev *d = *state;
	uint32_t now = local_read(d, MICA_LREG_TIME_LO);

	probe_store(MICA_LREG_TIMER_LO, now + 500);
	probe_store(MICA_LREG_IRQ_ENABLE, MICA_LIRQ_TIMER);
	probe_op(2, 0, 0);			/* wfi */
	probe_load(MICA_LREG_IRQ_PENDING);
	probe_store(MICA_LREG_IRQ_ENABLE, MICA_LIRQ_MBOX);
	probe_send(d);
	qtest_sleep_us(20000);
	assert_int_equal(qtest_readl(d->q, MEM_SHM + 4), 0);
	qtest_clock_step(d->q, 1000000);
	probe_wait(d);
	assert_true(probe_value(3) & MICA_LIRQ_TIMER);
}

static uint32_t dma(struct dev *d, uint64_t host, uint32_t local, uint32_t len, uint32_t ctrl)
{
	probe_store(MICA_LREG_DMA_HOST_LO, (uint32_t)host);
	probe_store(MICA_LREG_DMA_HOST_HI, (uint32_t)(host >> 32));
	probe_store(MICA_LREG_DMA_LOCAL, local);
	probe_store(MICA_LREG_DMA_LEN, len);
	probe_store(MICA_LREG_DMA_CTRL, ctrl);
	probe_load(MICA_LREG_DMA_STATUS);
	probe_run(d);
	return probe_value(5);
}

static void dma_moves_bytes_both_ways(void **state)
{
	struct dev *d = *state;
	char out[16] = "0123456789abcde", in[16] = "";

	qtest_write(d->q, MEM_DATA, out, sizeof(out));
	assert_int_equal(dma(d, MEM_DATA, 0x20001, sizeof(out), MICA_DMA_CTRL_TO_LOCAL), 0);
	assert_int_equal(dma(d, MEM_DATA + 0x1003, 0x20001, sizeof(out), MICA_DMA_CTRL_TO_HOST), 0);
	qtest_read(d->q, MEM_DATA + 0x1003, in, sizeof(in));
	assert_string_equal(in, out);
}

static void dma_outside_sram_is_a_bad_request(void **state)
{
	struct dev *d = *state;

	assert_int_equal(dma(d, MEM_DATA, MICA_SRAM_SIZE - 8, 16, MICA_DMA_CTRL_TO_LOCAL), 2);
	assert_int_equal(dma(d, MEM_DATA, 0xfffffff0, 32, MICA_DMA_CTRL_TO_LOCAL), 2);
	assert_int_equal(dma(d, MEM_DATA, 0x20000, 0xffffffff, MICA_DMA_CTRL_TO_HOST), 2);
	assert_int_equal(dma(d, ~0ull, 0x20000, 16, MICA_DMA_CTRL_TO_HOST), 2);
	assert_int_equal(dma(d, MEM_DATA, 0x20000, 16, 3), 2);
	assert_int_equal(reg_read(d, MICA_REG_STATUS) & MICA_STATUS_BUS_ERROR_MASK, 0);
}

static void dma_to_nowhere_is_a_bus_error(void **state)
{
	struct dev *d = *state;

	assert_int_equal(dma(d, 0x7fff00000000, 0x20000, 16, MICA_DMA_CTRL_TO_LOCAL), 1);
	assert_true(reg_read(d, MICA_REG_STATUS) & MICA_STATUS_BUS_ERROR_MASK);
	assert_true(msix_arrived(d, MICA_VEC_FATAL));
}

static void raise_sends_enabled_vectors(void **state)
{
	struct dev *d = *state;

	reg_write(d, MICA_REG_IRQ_ENABLE, 1u << MICA_VEC_EVENT);
	local_write(d, MICA_LREG_RAISE, 1u << MICA_VEC_EVENT | 1u << MICA_VEC_LOG);
	assert_true(msix_arrived(d, MICA_VEC_EVENT));
	assert_true(msix_absent(d, MICA_VEC_LOG));
	assert_int_equal(reg_read(d, MICA_REG_IRQ_STATUS), 1u << MICA_VEC_EVENT | 1u << MICA_VEC_LOG);
	reg_write(d, MICA_REG_IRQ_STATUS, 1u << MICA_VEC_EVENT);
	reg_write(d, MICA_REG_IRQ_ENABLE, MICA_IRQ_MASK);	/* enabling sends what waits */
	assert_true(msix_arrived(d, MICA_VEC_LOG));
	assert_true(msix_absent(d, MICA_VEC_EVENT));
}

static void raise_sends_again_while_status_is_set(void **state)
{
	struct dev *d = *state;

	local_write(d, MICA_LREG_RAISE, 1u << MICA_VEC_EVENT);
	assert_true(msix_arrived(d, MICA_VEC_EVENT));
	local_write(d, MICA_LREG_RAISE, 1u << MICA_VEC_EVENT);
	assert_true(msix_arrived(d, MICA_VEC_EVENT));
}

static void panic_stops_and_tells(void **state)
{
	struct dev *d = *state;

	probe_store(MICA_LREG_PANIC, 0x203);
	probe_send(d);
	reg_wait(d, MICA_REG_FW_STATE, ~0u, MICA_FW_STATE_CRASHED);
	assert_int_equal(reg_read(d, MICA_REG_FW_CAUSE), 0x203);
	assert_in_range(reg_read(d, MICA_REG_FW_PC), 1, 0xfff);
	assert_true(msix_arrived(d, MICA_VEC_FATAL));
	qtest_sleep_us(5000);
	assert_int_equal(qtest_readl(d->q, MEM_SHM + 4), 0);
}

static void access_outside_sram_and_registers_crashes(void **state)
{
	struct dev *d = *state;

	probe_op(1, MICA_SRAM_SIZE, 0);
	probe_send(d);
	reg_wait(d, MICA_REG_FW_STATE, ~0u, MICA_FW_STATE_CRASHED);
	assert_int_equal(reg_read(d, MICA_REG_FW_CAUSE), 5);
}

static void telemetry_shows_on_the_host(void **state)
{
	struct dev *d = *state;

	local_write(d, MICA_LREG_TEMP_MC, 54321);
	local_write(d, MICA_LREG_POWER_MW, 7654);
	local_write(d, MICA_LREG_FW_ABI, 0x10002);
	assert_int_equal(reg_read(d, MICA_REG_TEMP_MC), 54321);
	assert_int_equal(reg_read(d, MICA_REG_POWER_MW), 7654);
	assert_int_equal(reg_read(d, MICA_REG_FW_ABI), 0x10002);
}

int run_local_tests(void)
{
	const struct CMUnitTest tests[] = {
		TEST_PROBE(local_registers_tell_the_configuration),
		TEST_PROBE(doorbells_are_pending_until_cleared),
		TEST_PROBE(doorbells_outside_the_range_are_ignored),
		TEST_PROBE(timer_interrupts_when_time_has_come),
		TEST_PROBE(timer_wakes_a_sleeping_firmware),
		TEST_PROBE(dma_moves_bytes_both_ways),
		TEST_PROBE(dma_outside_sram_is_a_bad_request),
		TEST_PROBE(dma_to_nowhere_is_a_bus_error),
		TEST_PROBE(raise_sends_enabled_vectors),
		TEST_PROBE(raise_sends_again_while_status_is_set),
		TEST_PROBE(panic_stops_and_tells),
		TEST_PROBE(access_outside_sram_and_registers_crashes),
		TEST_PROBE(telemetry_shows_on_the_host),
	};

	return cmocka_run_group_tests_name("local", tests, NULL, NULL);
}
