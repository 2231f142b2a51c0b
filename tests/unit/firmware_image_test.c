/* SPDX-License-Identifier: MIT */
/*
 * The images that firmware/Makefile makes, on the RV32 interpreter and a simulated device. Skipped where they have not
 * been built.
 */
#include "firmware_sim.h"

/* ---- the real image on the interpreter ---- */

#define IMAGES	"build/firmware/"

static struct rv32 cpu;

static bool irq_line(void)
{
	return sim_pending() & sim.reg[MICA_LREG_IRQ_ENABLE / 4];
}

static bool bus_load(void *opaque, uint32_t addr, unsigned size, uint32_t *value)
{
	(void)opaque;
	if (size != 4 || addr - MICA_LOCAL_BASE >= MICA_LOCAL_SIZE)
		return false;
	*value = sim_read(addr - MICA_LOCAL_BASE);
	return true;
}

static bool bus_store(void *opaque, uint32_t addr, unsigned size, uint32_t value)
{
	(void)opaque;
	if (size != 4 || addr - MICA_LOCAL_BASE >= MICA_LOCAL_SIZE)
		return false;
	sim_write(addr - MICA_LOCAL_BASE, value);
	rv32_set_irq(&cpu, irq_line());
	return true;
}

static const struct rv32_bus bus = { bus_load, bus_store };

/* What the boot ROM does with a good image. Returns false if there is none. */
static bool load_image(const char *path, u32 *entry_pc)
{
	struct mica_fw_header h;
	FILE *f = fopen(path, "rb");

	if (!f)
		return false;
	assert_int_equal(fread(&h, 1, sizeof(h), f), sizeof(h));
	assert_int_equal(h.magic, MICA_FW_MAGIC);
	assert_int_equal(h.header_size, sizeof(h));
	assert_true(h.body_size <= MICA_SRAM_SIZE);
	assert_true(h.hw_min <= MICA_HW_VERSION && MICA_HW_VERSION <= h.hw_max);
	assert_int_equal(fread(sim.sram, 1, h.body_size, f), h.body_size);
	assert_int_equal(fgetc(f), EOF);
	fclose(f);
	*entry_pc = h.entry;
	return true;
}

static u64 image_run(void)
{
	u64 before = cpu.minstret;

	for (int i = 0; i < 1000; i++) {
		enum rv32_reason reason;

		rv32_set_irq(&cpu, irq_line());
		reason = rv32_run(&cpu, 1000);
		if (reason == RV32_STOPPED || (reason == RV32_WFI && !irq_line()))
			return cpu.minstret - before;
		assert_int_not_equal(reason, RV32_CRASHED);
	}
	fail_msg("the image does not come to rest, pc %x", cpu.pc);
	return 0;
}

static void image_start(const char *path)
{
	u32 pc = 0;

	power_on(2);
	memset(sim.sram, 0xa5, sizeof(sim.sram));
	if (!load_image(path, &pc))
		skip();
	sim.cpu = &cpu;
	rv32_init(&cpu, sim.sram, sizeof(sim.sram), &bus, NULL);
	rv32_reset(&cpu, pc);
	image_run();
	assert_int_equal(sim.fw_state, MICA_FW_STATE_READY);
}

static void image_boot(void)
{
	image_start(IMAGES "mica_fw.bin");
	assert_int_equal(sim.reg[MICA_LREG_FW_ABI / 4], 1 << 16 | MICA_FW_ABI_VERSION);
	request(MICA_MSG_HELLO, 0, 1, MICA_FW_ABI_VERSION, 0, 0);
	image_run();
	assert_int_equal(expect_msg(MICA_MSG_HELLO_ACK).arg[0], MICA_FW_ABI_VERSION);
}

static void image_boots_and_answers_hello_and_ping(void **state)
{
	u32 seq;

	(void)state;
	image_boot();
	assert_true(log_contains("mica firmware 1.0.0"));
	seq = request(MICA_MSG_PING, 0, 0, 0, 0, 0);
	image_run();
	expect_ack(seq, MICA_FW_OK);
	seq = request(0x33, 0, 0, 0, 0, 0);
	image_run();
	expect_ack(seq, MICA_FW_E_TYPE);
}

static void image_runs_jobs_within_a_few_hundred_instructions(void **state)
{
	u64 to_start, to_done;
	u32 seq;

	(void)state;
	image_boot();
	seq = request(MICA_MSG_CTX_CREATE, 1, 0x1000, HOST_BASE + RING_AT(1), 16, 0);
	image_run();
	expect_ack(seq, MICA_FW_OK);
	fw.ctx[1].entries = 16;		/* entry() asks the host build's state */
	for (u64 seqno = 1; seqno < 40; seqno++) {
		submit(1, seqno, 2 - seqno % 2);
		to_start = image_run();
		assert_int_equal(running_set(), seqno % 2 ? 1 : 3);
		core_done(0, 1);
		if (seqno % 2 == 0)
			core_done(1, 1);
		to_done = image_run();
		expect_done(1, seqno, MICA_FAULT_NONE);
	}
	printf("doorbell to sleep: %llu instructions, core to sleep: %llu\n", to_start, to_done);
	assert_true(to_start < 1200 && to_done < 1200);
}

static void image_turns_a_trap_into_a_panic(void **state)
{
	struct mica_fw_msg m;

	(void)state;
	image_boot();
	rv32_trap(&cpu, RV32_CAUSE_ILLEGAL, 0x1234);
	image_run();
	assert_int_equal(sim.panic_code, MICA_FW_PANIC_TRAP + RV32_CAUSE_ILLEGAL);
	m = expect_msg(MICA_MSG_PANIC);
	assert_int_equal(m.arg[0], MICA_FW_PANIC_TRAP + RV32_CAUSE_ILLEGAL);
	assert_int_equal(m.arg[2], 0x1234);
	assert_non_null(strstr(sim.console, "panic 102"));
}

static void image_of_another_abi_refuses_hello(void **state)
{
	struct mica_fw_msg m;
	u32 seq;

	(void)state;
	image_start(IMAGES "mica_fw_badabi.bin");
	assert_int_equal(sim.reg[MICA_LREG_FW_ABI / 4], 900u << 16 | 901);
	request(MICA_MSG_HELLO, 0, 1, MICA_FW_ABI_VERSION, 0, 0);
	image_run();
	m = expect_msg(MICA_MSG_HELLO_ACK);
	assert_int_equal(m.status, MICA_FW_E_VERSION);
	assert_int_equal(m.arg[0], 0);
	seq = request(MICA_MSG_PING, 0, 0, 0, 0, 0);
	image_run();
	expect_ack(seq, MICA_FW_E_STATE);
}

static u32 crc32_of(const u8 *p, size_t n)
{
	u32 crc = ~0u;

	for (; n; n--, p++) {
		crc ^= *p;
		for (int i = 0; i < 8; i++)
			crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
	}
	return ~crc;
}

/* Which of the boot ROM's checks fails first: MICA_FW_STATE_*, STARTED for none. */
static u32 check_image(const char *path)
{
	static u8 file[MICA_SRAM_SIZE + 64];
	struct mica_fw_header h;
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f)
		skip();
	n = fread(file, 1, sizeof(file), f);
	fclose(f);
	assert_true(n > sizeof(h));
	memcpy(&h, file, sizeof(h));
	if (h.magic != MICA_FW_MAGIC)
		return MICA_FW_STATE_BAD_MAGIC;
	if (n != sizeof(h) + h.body_size)
		return MICA_FW_STATE_BAD_SIZE;
	if (crc32_of(file + sizeof(h), h.body_size) != h.crc32)
		return MICA_FW_STATE_BAD_CRC;
	return MICA_HW_VERSION < h.hw_min || MICA_HW_VERSION > h.hw_max ? MICA_FW_STATE_BAD_HW : MICA_FW_STATE_STARTED;
}

static void images_for_the_tests_are_damaged_as_named(void **state)
{
	(void)state;
	assert_int_equal(check_image(IMAGES "mica_fw.bin"), MICA_FW_STATE_STARTED);
	assert_int_equal(check_image(IMAGES "mica_fw_badabi.bin"), MICA_FW_STATE_STARTED);
	assert_int_equal(check_image(IMAGES "mica_fw_badcrc.bin"), MICA_FW_STATE_BAD_CRC);
	assert_int_equal(check_image(IMAGES "mica_fw_badhw.bin"), MICA_FW_STATE_BAD_HW);
	assert_int_equal(check_image(IMAGES "mica_fw_truncated.bin"), MICA_FW_STATE_BAD_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(image_boots_and_answers_hello_and_ping),
		cmocka_unit_test(image_runs_jobs_within_a_few_hundred_instructions),
		cmocka_unit_test(image_turns_a_trap_into_a_panic),
		cmocka_unit_test(image_of_another_abi_refuses_hello),
		cmocka_unit_test(images_for_the_tests_are_damaged_as_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
