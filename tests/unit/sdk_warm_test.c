// SPDX-License-Identifier: MIT
/* A warm inference allocates nothing: tests/unit/alloc_count.c counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "alloc_count.h"
#include "mica.h"
#include "sdk_builder.h"

static struct mica_session *make_session(unsigned threads)
{
	struct mica_device_options o = MICA_DEVICE_OPTIONS_INIT;
	struct mica_device *dev;
	struct mica_model *m;
	struct mica_session *s;
	size_t size;
	uint8_t *file;

	o.backend = MICA_BACKEND_CPU;
	o.threads = threads;
	assert_int_equal(mica_device_open(&o, &dev), 0);
	file = build_model(3, NULL, &size);
	assert_int_equal(mica_model_load_memory(dev, file, size, &m), 0);
	free(file);
	assert_int_equal(mica_session_create(m, &s), 0);
	mica_model_close(m);
	mica_device_close(dev);
	return s;
}

static void warm_runs(struct mica_session *s, int64_t timeout)
{
	float values[BUILT_ELEMENTS] = { 1 };
	unsigned long before;

	assert_int_equal(mica_session_run(s, timeout), 0);
	before = alloc_count();
	for (int i = 0; i < 10; i++) {
		assert_int_equal(mica_session_set_input_f32(s, 0, values, BUILT_ELEMENTS), 0);
		assert_int_equal(mica_session_run(s, timeout), 0);
		assert_int_equal(mica_session_get_output_f32(s, 0, values, BUILT_ELEMENTS), 0);
	}
	assert_int_equal(alloc_count(), before);
}

static void a_warm_run_allocates_nothing(void **state)
{
	struct mica_session *s;

	(void)state;
	if (!ALLOC_COUNTING)
		skip();
	s = make_session(1);
	warm_runs(s, -1);
	mica_session_destroy(s);
}

static void so_does_one_with_threads_and_a_timeout(void **state)
{
	struct mica_session *s;

	(void)state;
	if (!ALLOC_COUNTING)
		skip();
	s = make_session(2);
	warm_runs(s, 10000000000);
	mica_session_destroy(s);
}

static struct mica_session *make_host_session(void)
{
	struct mica_device_options o = MICA_DEVICE_OPTIONS_INIT;
	struct mica_device *dev;
	struct mica_session *s;
	struct mica_model *m;

	o.backend = MICA_BACKEND_CPU;
	assert_int_equal(mica_device_open(&o, &dev), 0);
	m = load_host_model(dev);
	assert_int_equal(mica_session_create(m, &s), 0);
	mica_model_close(m);
	mica_device_close(dev);
	return s;
}

static void so_does_one_with_host_steps(void **state)
{
	struct mica_session *s;

	(void)state;
	if (!ALLOC_COUNTING)
		skip();
	s = make_host_session();
	warm_runs(s, -1);
	warm_runs(s, 10000000000);
	mica_session_destroy(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_warm_run_allocates_nothing),
		cmocka_unit_test(so_does_one_with_threads_and_a_timeout),
		cmocka_unit_test(so_does_one_with_host_steps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
