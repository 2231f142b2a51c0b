/* SPDX-License-Identifier: MIT */
/* The endpoint: identity, BARs, capabilities, registers after reset, what is refused, resets, properties. */
#include "tests.h"

static void configuration_space_identifies_the_device(void **state)
{
	struct dev *d = *state;

	assert_int_equal(qtest_config_read(d->q, 0), MICA_PCI_DEVICE_ID << 16 | MICA_PCI_VENDOR_ID);
	assert_int_equal(qtest_config_read(d->q, 8) >> 16, MICA_PCI_CLASS);
	assert_true(qtest_find_cap(d->q, 0x10));	/* PCI Express */
	assert_true(qtest_find_cap(d->q, 0x11));	/* MSI-X */
	assert_true(qtest_find_cap(d->q, 0x01));	/* power management */
	assert_true(qtest_config_read(d->q, qtest_find_cap(d->q, 0x10) + 4) & 1u << 28);	/* FLR */
}

static void bars_have_their_sizes(void **state)
{
	struct dev *d = *state;

	qtest_config_write(d->q, 0x10, ~0u);
	assert_int_equal(~(qtest_config_read(d->q, 0x10) & ~0xfu) + 1, MICA_BAR0_SIZE);
	qtest_config_write(d->q, 0x18, ~0u);
	assert_int_equal(~(qtest_config_read(d->q, 0x18) & ~0xfu) + 1, 0x1000);
	qtest_config_write(d->q, 0x14, ~0u);
	assert_int_equal(qtest_config_read(d->q, 0x14), 0);
}

static void msix_has_four_vectors(void **state)
{
	struct dev *d = *state;
	unsigned cap = qtest_find_cap(d->q, 0x11);

	assert_int_equal(qtest_config_read16(d->q, cap + 2) & 0x7ff, MICA_MSIX_VECTORS - 1);
	assert_int_equal(qtest_config_read(d->q, cap + 4) & 7, MICA_BAR_MSIX);
}

static const struct { uint32_t off, value; } reset_value[] = {
	{ MICA_REG_ID, MICA_ID_MAGIC }, { MICA_REG_HW_VERSION, MICA_HW_VERSION }, { MICA_REG_CORES, 2 },
	{ MICA_REG_LMEM_SIZE, 2 << 20 }, { MICA_REG_MAC_ROWS, 64 }, { MICA_REG_MAC_COLS, 64 },
	{ MICA_REG_VECTOR_LANES, 256 }, { MICA_REG_DRAM_BYTES_PER_CYCLE, 64 }, { MICA_REG_CONTEXTS, 64 },
	{ MICA_REG_ISA_VERSION, MICA_ISA_VERSION }, { MICA_REG_FEATURES, MICA_FEATURES_DEBUG_MASK },
	{ MICA_REG_CLOCK_KHZ, 1000000 }, { MICA_REG_CTRL, 0 }, { MICA_REG_STATUS, MICA_STATUS_READY_MASK },
	{ MICA_REG_FW_ADDR_LO, 0 }, { MICA_REG_FW_ADDR_HI, 0 }, { MICA_REG_FW_SIZE, 0 },
	{ MICA_REG_FW_STATE, MICA_FW_STATE_OFF }, { MICA_REG_FW_ABI, 0 }, { MICA_REG_SHM_ADDR_LO, 0 },
	{ MICA_REG_SHM_SIZE, 0 }, { MICA_REG_IRQ_STATUS, 0 }, { MICA_REG_IRQ_ENABLE, 0 }, { MICA_REG_MMU_BUSY, 0 },
	{ MICA_REG_INJECT_ARG, 0 }, { MICA_REG_INJECT_COUNT, 0 },
};

static void check_reset_values(struct dev *d)
{
	for (size_t i = 0; i < sizeof(reset_value) / sizeof(reset_value[0]); i++) {
		if (reg_read(d, reset_value[i].off) != reset_value[i].value)
			fail_msg("register 0x%x is 0x%x", reset_value[i].off, reg_read(d, reset_value[i].off));
	}
}

static void registers_have_reset_values(void **state)
{
	check_reset_values(*state);
}

static void unknown_offsets_read_zero_and_ignore_writes(void **state)
{
	static const uint32_t off[] = { 0x03c, 0x0c0, 0x7fc, 0x80c, 0xffc, 0x1000, 0xfffc, 0x10000, 0x7fffc };
	struct dev *d = *state;

	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
		reg_write(d, off[i], 0xffffffff);
		assert_int_equal(reg_read(d, off[i]), 0);
	}
	check_reset_values(d);
}

static void read_only_registers_ignore_writes(void **state)
{
	struct dev *d = *state;

	for (size_t i = 0; i < 12; i++)
		reg_write(d, reset_value[i].off, 0x5a5a5a5a);
	reg_write(d, MICA_REG_FW_STATE, MICA_FW_STATE_READY);
	check_reset_values(d);
}

static void read_write_registers_hold_values(void **state)
{
	static const uint32_t off[] = {
		MICA_REG_FW_ADDR_LO, MICA_REG_FW_ADDR_HI, MICA_REG_FW_SIZE, MICA_REG_SHM_ADDR_LO, MICA_REG_SHM_ADDR_HI,
		MICA_REG_SHM_SIZE, MICA_REG_INJECT_ARG,
	};
	struct dev *d = *state;

	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++)
		reg_write(d, off[i], 0x12345678 + (uint32_t)i);
	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++)
		assert_int_equal(reg_read(d, off[i]), 0x12345678 + i);
	reg_write(d, MICA_REG_IRQ_ENABLE, ~0u);
	assert_int_equal(reg_read(d, MICA_REG_IRQ_ENABLE), MICA_IRQ_MASK);
}

static void reset_restores_registers(void **state)
{
	struct dev *d = *state;

	reg_write(d, MICA_REG_FW_ADDR_LO, 1);
	reg_write(d, MICA_REG_SHM_SIZE, 1);
	reg_write(d, MICA_REG_IRQ_ENABLE, 1);
	reg_write(d, MICA_REG_CTRL, MICA_CTRL_RESET_MASK);
	reg_wait(d, MICA_REG_CTRL, ~0u, 0);
	check_reset_values(d);
}

static void flr_restores_registers_and_config(void **state)
{
	struct dev *d = *state;
	unsigned cap = qtest_find_cap(d->q, 0x10);

	reg_write(d, MICA_REG_SHM_SIZE, 1);
	qtest_config_write16(d->q, cap + 8, 0x8000);
	assert_int_equal(qtest_config_read16(d->q, 4) & 6, 0);
	assert_int_equal(qtest_config_read(d->q, 0x10) & ~0xfu, 0);
	dev_flr(d);
	reg_wait(d, MICA_REG_STATUS, MICA_STATUS_READY_MASK, MICA_STATUS_READY_MASK);
	check_reset_values(d);
}

static void flr_stops_a_running_microcontroller(void **state)
{
	struct dev *d = *state;

	boot_probe(d);
	probe_op(4, 0, 0);		/* spins for ever */
	probe_send(d);
	qtest_sleep_us(5000);
	assert_true(reg_read(d, MICA_REG_STATUS) & MICA_STATUS_FW_RUN_MASK);
	dev_flr(d);
	reg_wait(d, MICA_REG_STATUS, ~0u, MICA_STATUS_READY_MASK);
	check_reset_values(d);
	boot_probe(d);
	assert_int_equal(local_read(d, MICA_LREG_CORES), 2);
}

static void system_reset_restores_registers(void **state)
{
	struct dev *d = *state;

	boot_probe(d);
	reg_write(d, MICA_REG_IRQ_ENABLE, 3);
	assert_true(qtest_qmp(d->q, "system_reset", "{}"));
	qtest_sleep_us(100000);
	dev_flr(d);			/* the reset took the BARs away */
	reg_wait(d, MICA_REG_STATUS, ~0u, MICA_STATUS_READY_MASK);
	check_reset_values(d);
}

static void power_state_d3hot_keeps_registers(void **state)
{
	struct dev *d = *state;
	unsigned cap = qtest_find_cap(d->q, 0x01);

	reg_write(d, MICA_REG_SHM_SIZE, 0x1234);
	qtest_config_write16(d->q, cap + 4, 3);
	assert_int_not_equal(reg_read(d, MICA_REG_ID), MICA_ID_MAGIC);
	qtest_config_write16(d->q, cap + 4, 0);
	assert_int_equal(reg_read(d, MICA_REG_ID), MICA_ID_MAGIC);
	assert_int_equal(reg_read(d, MICA_REG_SHM_SIZE), 0x1234);
}

static void properties_show_in_registers(void **state)
{
	struct dev d = dev_start("mica-accel,cores=8,lmem=64K,mac-rows=32,mac-cols=16,lanes=128,"
				 "dram-bytes-per-cycle=32,clock-khz=500000,contexts=5,hw-version=0x20003,threads=2");

	(void)state;
	assert_int_equal(reg_read(&d, MICA_REG_CORES), 8);
	assert_int_equal(reg_read(&d, MICA_REG_LMEM_SIZE), 65536);
	assert_int_equal(reg_read(&d, MICA_REG_MAC_ROWS), 32);
	assert_int_equal(reg_read(&d, MICA_REG_MAC_COLS), 16);
	assert_int_equal(reg_read(&d, MICA_REG_VECTOR_LANES), 128);
	assert_int_equal(reg_read(&d, MICA_REG_DRAM_BYTES_PER_CYCLE), 32);
	assert_int_equal(reg_read(&d, MICA_REG_CLOCK_KHZ), 500000);
	assert_int_equal(reg_read(&d, MICA_REG_CONTEXTS), 5);
	assert_int_equal(reg_read(&d, MICA_REG_HW_VERSION), 0x20003);
	assert_int_equal(reg_read(&d, MICA_REG_FEATURES), 0);
	dev_stop(&d);
}

static void bad_properties_are_refused_by_name(void **state)
{
	static const struct { const char *property, *name; } bad[] = {
		{ "cores=0", "'cores'" }, { "cores=9", "'cores'" }, { "lmem=32K", "'lmem'" }, { "lmem=128M", "'lmem'" },
		{ "lmem=3M", "power of two" }, { "mac-rows=0", "'mac-rows'" }, { "mac-cols=4096", "'mac-cols'" },
		{ "lanes=0", "'lanes'" }, { "dram-bytes-per-cycle=0", "'dram-bytes-per-cycle'" },
		{ "clock-khz=0", "'clock-khz'" }, { "contexts=1", "'contexts'" }, { "contexts=65", "'contexts'" },
		{ "threads=0", "'threads'" }, { "inject=hang-core", "inject" },
	};
	char device[64], message[256];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(device, sizeof(device), "mica-accel,%s", bad[i].property);
		assert_true(qtest_refused(device, message));
		if (!strstr(message, bad[i].name))
			fail_msg("%s: %s", device, message);
	}
}

int run_pci_tests(void)
{
	const struct CMUnitTest tests[] = {
		TEST(configuration_space_identifies_the_device),
		TEST(bars_have_their_sizes),
		TEST(msix_has_four_vectors),
		TEST(registers_have_reset_values),
		TEST(unknown_offsets_read_zero_and_ignore_writes),
		TEST(read_only_registers_ignore_writes),
		TEST(read_write_registers_hold_values),
		TEST(reset_restores_registers),
		TEST(flr_restores_registers_and_config),
		TEST(flr_stops_a_running_microcontroller),
		TEST(system_reset_restores_registers),
		TEST(power_state_d3hot_keeps_registers),
		cmocka_unit_test(properties_show_in_registers),
		cmocka_unit_test(bad_properties_are_refused_by_name),
	};

	return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
