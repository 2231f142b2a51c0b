/* SPDX-License-Identifier: MIT */
/* The boot ROM: each way an image can be wrong, and what happens when the firmware crashes. */
#include "tests.h"

static const uint32_t body_wfi[] = { 0x10500073, 0xffdff06f };		/* wfi; j . - 4 */
static const uint32_t body_illegal[] = { 0x00000013, 0x00000000 };	/* nop; illegal */

static struct mica_fw_header good(void)
{
	return image_header(body_wfi, sizeof(body_wfi));
}

static uint32_t boot_with(struct dev *d, const struct mica_fw_header *h)
{
	return boot(d, h, body_wfi, sizeof(body_wfi), sizeof(*h) + sizeof(body_wfi));
}

static void expect_recovery(struct dev *d)
{
	struct mica_fw_header h = good();

	assert_int_equal(boot_with(d, &h), MICA_FW_STATE_STARTED);
	assert_true(reg_read(d, MICA_REG_STATUS) & MICA_STATUS_FW_RUN_MASK);
}

static void good_image_starts(void **state)
{
	expect_recovery(*state);
}

static void bad_magic_is_refused(void **state)
{
	struct mica_fw_header h = good();

	h.magic ^= 0x100;
	assert_int_equal(boot_with(*state, &h), MICA_FW_STATE_BAD_MAGIC);
	assert_false(reg_read(*state, MICA_REG_STATUS) & MICA_STATUS_FW_RUN_MASK);
	expect_recovery(*state);
}

static void bad_crc_is_refused(void **state)
{
	struct mica_fw_header h = good();

	h.crc32 ^= 1;
	assert_int_equal(boot_with(*state, &h), MICA_FW_STATE_BAD_CRC);
	expect_recovery(*state);
}

static void expect_bad_size(struct dev *d, struct mica_fw_header h, uint32_t fw_size)
{
	assert_int_equal(boot(d, &h, body_wfi, sizeof(body_wfi), fw_size), MICA_FW_STATE_BAD_SIZE);
}

static void bad_sizes_are_refused(void **state)
{
	const uint32_t whole = sizeof(struct mica_fw_header) + sizeof(body_wfi);
	struct mica_fw_header h = good();

	expect_bad_size(*state, good(), 0);
	expect_bad_size(*state, good(), sizeof(h) - 1);
	expect_bad_size(*state, good(), whole - 1);
	h.header_size = 60;
	expect_bad_size(*state, h, whole);
	h = good();
	h.body_size = MICA_SRAM_SIZE + 4;
	expect_bad_size(*state, h, ~0u);
	h = good();
	h.body_size = 0xffffffff;
	expect_bad_size(*state, h, ~0u);
	h = good();
	h.entry = h.body_size;
	expect_bad_size(*state, h, whole);
	h.entry = 1;
	expect_bad_size(*state, h, whole);
	expect_recovery(*state);
}

static void hardware_outside_the_window_is_refused(void **state)
{
	struct mica_fw_header h = good();

	h.hw_min = MICA_HW_VERSION + 1;
	h.hw_max = MICA_HW_VERSION + 9;
	assert_int_equal(boot_with(*state, &h), MICA_FW_STATE_BAD_HW);
	h.hw_min = 0;
	h.hw_max = MICA_HW_VERSION - 1;
	assert_int_equal(boot_with(*state, &h), MICA_FW_STATE_BAD_HW);
	expect_recovery(*state);
}

static void no_bus_mastering_is_a_bus_error(void **state)
{
	struct mica_fw_header h = good();
	struct dev *d = *state;

	dev_enable(d, false);
	assert_int_equal(boot_with(d, &h), MICA_FW_STATE_BUS_ERROR);
	reg_wait(d, MICA_REG_STATUS, MICA_STATUS_BUS_ERROR_MASK, MICA_STATUS_BUS_ERROR_MASK);
	dev_enable(d, true);
	expect_recovery(d);
}

static void bus_error_raises_fatal(void **state)
{
	struct mica_fw_header h = good();
	struct dev *d = *state;

	msix_enable(d);
	reg_write(d, MICA_REG_FW_ADDR_LO, 0);
	qtest_write(d->q, MEM_IMAGE, &h, sizeof(h));
	reg_write(d, MICA_REG_FW_ADDR_HI, 0x7fff);	/* nothing is there */
	reg_write(d, MICA_REG_FW_SIZE, 4096);
	reg_write(d, MICA_REG_FW_CTRL, MICA_FW_CTRL_BOOT_MASK);
	reg_wait(d, MICA_REG_FW_STATE, ~0u, MICA_FW_STATE_BUS_ERROR);
	assert_true(msix_arrived(d, MICA_VEC_FATAL));
	assert_int_equal(reg_read(d, MICA_REG_IRQ_STATUS), 1u << MICA_VEC_FATAL);
	reg_write(d, MICA_REG_IRQ_STATUS, ~0u);
	assert_int_equal(reg_read(d, MICA_REG_IRQ_STATUS), 0);
}

static void trap_without_handler_is_a_crash(void **state)
{
	struct mica_fw_header h = image_header(body_illegal, sizeof(body_illegal));
	struct dev *d = *state;

	msix_enable(d);
	boot(d, &h, body_illegal, sizeof(body_illegal), sizeof(h) + sizeof(body_illegal));
	reg_wait(d, MICA_REG_FW_STATE, ~0u, MICA_FW_STATE_CRASHED);
	assert_int_equal(reg_read(d, MICA_REG_FW_PC), 4);
	assert_int_equal(reg_read(d, MICA_REG_FW_CAUSE), 2);
	assert_true(msix_arrived(d, MICA_VEC_FATAL));
	assert_false(reg_read(d, MICA_REG_STATUS) & MICA_STATUS_FW_RUN_MASK);
	expect_recovery(d);
}

static void halt_stops_and_boot_starts_again(void **state)
{
	struct dev *d = *state;

	boot_probe(d);
	reg_write(d, MICA_REG_FW_CTRL, MICA_FW_CTRL_HALT_MASK);
	assert_int_equal(reg_read(d, MICA_REG_FW_STATE), MICA_FW_STATE_HALTED);
	assert_false(reg_read(d, MICA_REG_STATUS) & MICA_STATUS_FW_RUN_MASK);
	boot_probe(d);
	assert_int_equal(local_read(d, MICA_LREG_HW_VERSION), MICA_HW_VERSION);
}

int run_boot_tests(void)
{
	const struct CMUnitTest tests[] = {
		TEST(good_image_starts),
		TEST(bad_magic_is_refused),
		TEST(bad_crc_is_refused),
		TEST(bad_sizes_are_refused),
		TEST(hardware_outside_the_window_is_refused),
		TEST(no_bus_mastering_is_a_bus_error),
		TEST(bus_error_raises_fatal),
		TEST(trap_without_handler_is_a_crash),
		TEST(halt_stops_and_boot_starts_again),
	};

	return cmocka_run_group_tests_name("boot", tests, NULL, NULL);
}
