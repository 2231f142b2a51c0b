/* SPDX-License-Identifier: MIT */
/* Stop, continue, migration and unplugging, with jobs running. */
#include <unistd.h>

#include "tests.h"

#define SEG(off)	MICA_ADDR(0, off)
#define LMEM(off)	MICA_ADDR(MICA_SEG_LMEM, off)
#define SEG_MEM		(MEM_DATA + 0x100000)

/* Data to LMEM, many small copies, the data back. */
static struct job long_job(struct dev *d)
{
	enum { FILLER = 7000 };
	static uint8_t s[FILLER * 128 + 512];
	struct job j = job_make(1);
	unsigned n = pkt_copy(s, SEG(0), LMEM(1 << 20), 16);

	for (unsigned i = 0; i < FILLER; i++)
		n += pkt_copy(s + n, SEG(8192), LMEM(0), 32768);
	n += pkt_copy_after(s + n, LMEM(1 << 20), SEG(4096), 16, MICA_ENGINE_LOAD, 1);
	n += pkt_end(s + n);
	job_stream(d, &j, 0, s, n);
	qtest_write(d->q, SEG_MEM, "carried in LMEM.", 16);
	return j;
}

static void expect_result(struct dev *d, const char *text)
{
	char in[16];

	qtest_read(d->q, SEG_MEM + 4096, in, 16);
	assert_memory_equal(in, text, 16);
}

/* Starts the job and stops the machine in the middle of it; on a busy host it may take more than one try. */
static void stop_within(struct dev *d, const struct job *j)
{
	for (unsigned i = 0; i < 50; i++) {
		char in[16];

		qtest_write(d->q, SEG_MEM + 4096, "................", 16);
		job_start(d, j);
		assert_true(qtest_qmp(d->q, "stop", "{}"));
		qtest_read(d->q, SEG_MEM + 4096, in, 16);
		if (in[0] == '.')
			return;
		assert_true(qtest_qmp(d->q, "cont", "{}"));
		core_wait(d, 0);
		core_command(d, 0, MICA_CORE_CTRL_ACK);
	}
	fail_msg("the job is always over before the machine stops");
}

static void job_survives_stop_and_cont(void **state)
{
	struct dev *d = *state;
	struct job j = long_job(d);
	uint64_t straight = job_run(d, &j).cycles;
	uint32_t progress;

	stop_within(d, &j);
	qtest_sleep_us(50000);
	expect_result(d, "................");
	assert_true(qtest_qmp(d->q, "cont", "{}"));
	assert_int_equal(core_wait(d, 0), MICA_CORE_DONE);
	assert_int_equal(core_outcome(d, 0).cycles, straight);
	progress = core_outcome(d, 0).progress;
	assert_int_equal(progress % 7002, 0);
	expect_result(d, "carried in LMEM.");
}

static void wait_migrated(struct qtest *q)
{
	char text[4096];

	for (unsigned i = 0; i < 1000; i++) {
		assert_true(qtest_qmp_text(q, "query-migrate", "{}", text, sizeof(text)));
		if (strstr(text, "\"status\": \"completed\""))
			return;
		if (strstr(text, "\"status\": \"failed\""))
			fail_msg("migration: %s", text);
		qtest_sleep_us(10000);
	}
	fail_msg("migration does not end: %s", text);
}

/* Saves d into a file, takes the machine down, and gives back one that was loaded from it. */
static struct dev migrate(struct dev *d)
{
	char file[] = "/tmp/mica-qtest-XXXXXX", arguments[128], extra[64];
	struct dev to;

	close(mkstemp(file));
	snprintf(arguments, sizeof(arguments), "{\"uri\":\"file:%s\"}", file);
	assert_true(qtest_qmp(d->q, "migrate", arguments));
	wait_migrated(d->q);
	dev_stop(d);
	snprintf(extra, sizeof(extra), "-incoming file:%s", file);
	to.q = qtest_start(TEST_DEVICE, extra);
	wait_migrated(to.q);
	unlink(file);
	assert_true(qtest_qmp(to.q, "cont", "{}"));
	return to;
}

static void idle_device_migrates(void **state)
{
	struct dev *d = *state;
	struct job j = job_make(1);
	uint8_t s[64];

	job_stream(d, &j, 0, s, pkt_end(s));
	reg_write(d, MICA_DOORBELL(3), 99);
	*d = migrate(d);
	assert_int_equal(reg_read(d, MICA_REG_FW_STATE), MICA_FW_STATE_READY);
	assert_int_equal(reg_read(d, MICA_REG_SHM_ADDR_LO), MEM_SHM);
	assert_int_equal(local_read(d, MICA_LREG_DB_VALUE(3)), 99);
	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
	local_write(d, MICA_LREG_RAISE, 1u << MICA_VEC_EVENT);
	assert_true(msix_arrived(d, MICA_VEC_EVENT));
}

static void running_job_migrates(void **state)
{
	struct dev *d = *state;
	struct job j = long_job(d);
	uint64_t straight = job_run(d, &j).cycles;

	stop_within(d, &j);
	*d = migrate(d);
	assert_int_equal(core_wait(d, 0), MICA_CORE_DONE);
	assert_int_equal(core_outcome(d, 0).cycles, straight);
	expect_result(d, "carried in LMEM.");
}

static void hanging_gang_migrates_and_dies(void **state)
{
	struct dev *d = *state;
	struct job j = job_make(2);
	uint8_t s[256];
	unsigned n = pkt_barrier(s, 1, 0);

	n += pkt_end(s + n);
	job_stream(d, &j, 0, s, n);
	job_stream(d, &j, 1, s, n);
	reg_write(d, MICA_REG_INJECT, MICA_INJECT_HANG_CORE);
	job_start(d, &j);
	reg_wait(d, MICA_REG_INJECT_COUNT, ~0u, 1);
	*d = migrate(d);
	qtest_sleep_us(10000);
	assert_int_equal(local_read(d, MICA_LREG_CORE(0) + MICA_CREG_STATUS), MICA_CORE_RUNNING);
	assert_int_equal(local_read(d, MICA_LREG_CORE(1) + MICA_CREG_STATUS), MICA_CORE_RUNNING);
	for (unsigned i = 0; i < 2; i++) {
		core_command(d, i, MICA_CORE_CTRL_KILL);
		assert_int_equal(core_wait(d, i), MICA_CORE_FAULT);
		core_command(d, i, MICA_CORE_CTRL_ACK);
	}
	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
}

static void other_properties_refuse_the_state(void **state)
{
	char file[] = "/tmp/mica-qtest-XXXXXX", arguments[128], extra[64], text[4096];
	struct dev *d = *state;
	struct qtest *q;

	close(mkstemp(file));
	snprintf(arguments, sizeof(arguments), "{\"uri\":\"file:%s\"}", file);
	assert_true(qtest_qmp(d->q, "migrate", arguments));
	wait_migrated(d->q);
	snprintf(extra, sizeof(extra), "-incoming defer");
	q = qtest_start("mica-accel,cores=3", extra);
	snprintf(arguments, sizeof(arguments), "{\"uri\":\"file:%s\",\"exit-on-error\":false}", file);
	assert_true(qtest_qmp(q, "migrate-incoming", arguments));
	for (unsigned i = 0; i < 500; i++) {
		assert_true(qtest_qmp_text(q, "query-migrate", "{}", text, sizeof(text)));
		if (strstr(text, "\"status\": \"failed\""))
			break;
		qtest_sleep_us(2000);
	}
	assert_non_null(strstr(text, "\"status\": \"failed\""));
	qtest_stop(q);
	unlink(file);
}

static void unplug_with_a_running_job(void **state)
{
	struct dev d = dev_start(TEST_DEVICE);
	struct job j;

	(void)state;
	boot_probe(&d);
	context_make(&d);
	j = long_job(&d);
	job_start(&d, &j);
	/* Root bus devices have no hot plug; unparenting is what unplug does. Quitting takes the same road. */
	assert_true(qtest_qmp(d.q, "quit", "{}"));
	qtest_sleep_us(20000);
	dev_stop(&d);
}

int run_state_tests(void)
{
	const struct CMUnitTest tests[] = {
		TEST_PROBE(job_survives_stop_and_cont),
		TEST_PROBE(idle_device_migrates),
		TEST_PROBE(running_job_migrates),
		TEST_PROBE(hanging_gang_migrates_and_dies),
		TEST_PROBE(other_properties_refuse_the_state),
		cmocka_unit_test(unplug_with_a_running_job),
	};

	return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
