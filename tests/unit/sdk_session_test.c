// SPDX-License-Identifier: MIT
/* Sessions on the CPU backend: values, waiting, buffers, errors, concurrency. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include "mica.h"
#include "sdk_builder.h"

#define N BUILT_ELEMENTS

static struct mica_device *open_cpu(void)
{
	struct mica_device_options o = MICA_DEVICE_OPTIONS_INIT;
	struct mica_device *dev;

	o.backend = MICA_BACKEND_CPU;
	assert_int_equal(mica_device_open(&o, &dev), 0);
	return dev;
}

/* Closes device and model at once: the session keeps both alive. */
static struct mica_session *make_session(unsigned repeat)
{
	struct mica_device *dev = open_cpu();
	struct mica_session *s;
	struct mica_model *m;
	size_t size;
	uint8_t *file = build_model(repeat, NULL, &size);

	assert_int_equal(mica_model_load_memory(dev, file, size, &m), 0);
	free(file);
	assert_int_equal(mica_session_create(m, &s), 0);
	mica_model_close(m);
	mica_device_close(dev);
	return s;
}

static void set_input(struct mica_session *s, float base)
{
	float x[N];

	for (int i = 0; i < N; i++)
		x[i] = base * (i - N / 2);
	assert_int_equal(mica_session_set_input_f32(s, 0, x, N), 0);
}

static void check_output(struct mica_session *s, float base)
{
	float y[N];

	assert_int_equal(mica_session_get_output_f32(s, 0, y, N), 0);
	for (int i = 0; i < N; i++)
		assert_true(y[i] == (i < N / 2 ? 0 : base * (i - N / 2)));
}

static void run_computes(void **state)
{
	struct mica_session *s = make_session(1);

	(void)state;
	for (float base = 1; base < 4; base++) {
		set_input(s, base);
		assert_int_equal(mica_session_run(s, -1), 0);
		check_output(s, base);
	}
	assert_string_equal(mica_session_error(s), "");
	mica_session_destroy(s);
}

static void run_with_a_timeout_computes_too(void **state)
{
	struct mica_session *s = make_session(1);

	(void)state;
	set_input(s, 2);
	assert_int_equal(mica_session_run(s, 10000000000), 0);
	check_output(s, 2);
	mica_session_destroy(s);
}

static void submit_then_wait(void **state)
{
	struct mica_session *s = make_session(1);

	(void)state;
	assert_int_equal(mica_session_wait(s, 0), -EINVAL);
	set_input(s, 3);
	assert_int_equal(mica_session_submit(s), 0);
	assert_int_equal(mica_session_submit(s), -EBUSY);
	assert_int_equal(mica_session_run(s, -1), -EBUSY);
	assert_int_equal(mica_session_wait(s, -1), 0);
	check_output(s, 3);
	mica_session_destroy(s);
}

static void wait_times_out_and_can_be_repeated(void **state)
{
	struct mica_session *s = make_session(400000);

	(void)state;
	set_input(s, 1);
	assert_int_equal(mica_session_submit(s), 0);
	assert_int_equal(mica_session_wait(s, 0), -ETIME);
	assert_int_equal(mica_session_set_input_f32(s, 0, (float[N]){ 0 }, N), -EBUSY);
	assert_int_equal(mica_session_wait(s, -1), 0);
	check_output(s, 1);
	mica_session_destroy(s);
}

static void eventfd_becomes_readable(void **state)
{
	struct mica_session *s = make_session(100);
	struct pollfd p = { .fd = mica_session_eventfd(s), .events = POLLIN };

	(void)state;
	assert_true(p.fd >= 0);
	assert_int_equal(mica_session_eventfd(s), p.fd);
	for (int i = 0; i < 3; i++) {
		set_input(s, 1);
		assert_int_equal(poll(&p, 1, 0), 0);
		assert_int_equal(mica_session_submit(s), 0);
		assert_int_equal(poll(&p, 1, 10000), 1);
		assert_int_equal(mica_session_wait(s, 0), 0);
	}
	mica_session_destroy(s);
}

static void destroy_stops_a_job_in_flight(void **state)
{
	struct mica_session *s = make_session(2000000);

	(void)state;
	set_input(s, 1);
	assert_int_equal(mica_session_submit(s), 0);
	mica_session_destroy(s);
}

static void wrong_sizes_and_indices_are_refused(void **state)
{
	struct mica_session *s = make_session(1);
	float x[N + 1] = { 0 };

	(void)state;
	assert_int_equal(mica_session_set_input_f32(s, 0, x, N + 1), -ERANGE);
	assert_non_null(strstr(mica_error_text(), "'x' has 64 elements, 65 were given"));
	assert_int_equal(mica_session_set_input_f32(s, 1, x, N), -EINVAL);
	assert_int_equal(mica_session_set_input_codes(s, 0, x, 3), -ERANGE);
	assert_int_equal(mica_session_get_output_f32(s, 0, x, 1), -ERANGE);
	assert_null(mica_session_output(s, 1));
	mica_session_destroy(s);
}

static void stats_come_after_the_first_run(void **state)
{
	struct mica_session *s = make_session(2);
	struct mica_job_stats a, b;
	struct mica_layer_stats layers[4];

	(void)state;
	assert_int_equal(mica_session_stats(s, &a), -ENODATA);
	assert_int_equal(mica_session_run(s, -1), 0);
	assert_int_equal(mica_session_stats(s, &a), 0);
	assert_true(a.cycles > 0);
	assert_int_equal(a.dram_read_bytes, N * 4);
	assert_int_equal(a.dram_write_bytes, N * 4);
	assert_int_equal(mica_session_run(s, -1), 0);
	assert_int_equal(mica_session_stats(s, &b), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(mica_session_layer_stats(s, layers, 4), 2);
	assert_true(layers[1].end > layers[1].start);
	mica_session_destroy(s);
}

static void buffers_are_used_in_place(void **state)
{
	struct mica_device *dev = open_cpu();
	struct mica_buffer *in, *out;
	struct mica_session *s;
	struct mica_model *m;
	size_t size;
	uint8_t *file = build_model(1, NULL, &size);
	int fd = memfd_create("in", 0);

	(void)state;
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(mica_model_load_memory(dev, file, size, &m), 0);
	free(file);
	assert_int_equal(mica_session_create(m, &s), 0);
	assert_int_equal(mica_buffer_import(dev, fd, 8192, &in), -ERANGE);
	assert_int_equal(mica_buffer_import(dev, fd, 4096, &in), 0);
	close(fd);
	assert_int_equal(mica_buffer_alloc(dev, 4096, &out), 0);
	assert_int_equal(mica_buffer_export(out), -EOPNOTSUPP);
	assert_int_equal(mica_session_bind_input(s, 0, in, 3), -EINVAL);
	assert_int_equal(mica_session_bind_input(s, 0, in, 4096 - 64), -ERANGE);
	assert_int_equal(mica_session_bind_input(s, 0, in, 128), 0);
	assert_int_equal(mica_session_bind_output(s, 0, out, 64), 0);
	((float *)mica_buffer_map(in))[32 + 5] = 7;
	assert_int_equal(mica_session_run(s, -1), 0);
	assert_true(((float *)mica_buffer_map(out))[16 + 5] == 7);
	assert_ptr_equal(mica_session_output(s, 0), (uint8_t *)mica_buffer_map(out) + 64);
	assert_int_equal(mica_session_bind_output(s, 0, NULL, 0), 0);
	mica_session_destroy(s);
	mica_buffer_free(in);
	mica_buffer_free(out);
	mica_model_close(m);
	mica_device_close(dev);
}

static void *hammer(void *arg)
{
	struct mica_session *s;
	float base = 1;

	if (mica_session_create(arg, &s))
		return arg;
	for (int i = 0; i < 200; i++, base += 0.5f) {
		set_input(s, base);
		if (mica_session_run(s, i % 2 ? -1 : 10000000000))
			return arg;
		check_output(s, base);
	}
	mica_session_destroy(s);
	return NULL;
}

static void sessions_run_concurrently(void **state)
{
	struct mica_device *dev = open_cpu();
	struct mica_model *m;
	pthread_t thread[4];
	void *failed;
	size_t size;
	uint8_t *file = build_model(1, NULL, &size);

	(void)state;
	assert_int_equal(mica_model_load_memory(dev, file, size, &m), 0);
	free(file);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, hammer, m), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], &failed);
		assert_null(failed);
	}
	mica_model_close(m);
	mica_device_close(dev);
}

static void bad_opcode(Mica__Model *m)
{
	m->streams[0]->commands.data[0] = 0x7f;
}

static void outside(Mica__Model *m)
{
	((struct mica_pkt_copy *)m->streams[0]->commands.data)->dim[3]++;
}

static void hostile_commands_are_refused_at_load(void **state)
{
	void (*const prepare[])(Mica__Model *m) = { bad_opcode, outside };
	struct mica_device *dev = open_cpu();

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct mica_model *m;
		size_t size;
		uint8_t *file = build_model(1, prepare[i], &size);

		assert_int_equal(mica_model_load_memory(dev, file, size, &m), -EBADMSG);
		assert_non_null(strstr(mica_error_text(), "packet at 0"));
		free(file);
	}
	mica_device_close(dev);
}

static void devices_that_are_not_there_are_explained(void **state)
{
	struct mica_device_options o = MICA_DEVICE_OPTIONS_INIT;
	struct mica_device *dev;

	(void)state;
	o.path = "/dev/null";
	assert_int_equal(mica_device_open(&o, &dev), -ENODEV);
	o.path = "/dev/accel/none";
	assert_int_equal(mica_device_open(&o, &dev), -ENODEV);
	assert_non_null(strstr(mica_error_text(), "/dev/accel/none"));
	o.path = NULL;
	o.index = 60;
	o.backend = MICA_BACKEND_DEVICE;
	assert_true(mica_device_open(&o, &dev) < 0);
	assert_null(dev);
	o.size = 1;
	assert_int_equal(mica_device_open(&o, &dev), -EINVAL);
}

static void a_model_without_device_cannot_run(void **state)
{
	struct mica_session *s;
	struct mica_model *m;
	size_t size;
	uint8_t *file = build_model(1, NULL, &size);

	(void)state;
	assert_int_equal(mica_model_load_memory(NULL, file, size, &m), 0);
	assert_int_equal(mica_session_create(m, &s), -EINVAL);
	mica_model_close(m);
	free(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(run_computes),
		cmocka_unit_test(run_with_a_timeout_computes_too),
		cmocka_unit_test(submit_then_wait),
		cmocka_unit_test(wait_times_out_and_can_be_repeated),
		cmocka_unit_test(eventfd_becomes_readable),
		cmocka_unit_test(destroy_stops_a_job_in_flight),
		cmocka_unit_test(wrong_sizes_and_indices_are_refused),
		cmocka_unit_test(stats_come_after_the_first_run),
		cmocka_unit_test(buffers_are_used_in_place),
		cmocka_unit_test(sessions_run_concurrently),
		cmocka_unit_test(hostile_commands_are_refused_at_load),
		cmocka_unit_test(devices_that_are_not_there_are_explained),
		cmocka_unit_test(a_model_without_device_cannot_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
