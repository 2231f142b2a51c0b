// SPDX-License-Identifier: MIT
/*
 * One arena for sessions of several models that take turns. On the CPU backend; with MICA_TEST_BACKEND=device on a device
 * (tests/arena/run-guest.sh).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "mica.h"
#include "sdk_builder.h"

#define N BUILT_ELEMENTS
#define LONG_JOB 20000		/* packets */

static struct mica_device *open_device(void)
{
	struct mica_device_options o = MICA_DEVICE_OPTIONS_INIT;
	const char *backend = getenv("MICA_TEST_BACKEND");
	struct mica_device *dev;

	o.backend = backend && !strcmp(backend, "device") ? MICA_BACKEND_DEVICE : MICA_BACKEND_CPU;
	if (mica_device_open(&o, &dev))
		fail_msg("%s", mica_error_text());
	return dev;
}

/* The result leaves by way of the arena's last bytes, so that it depends on what is there. */
static void by_way_of(Mica__Model *m, uint64_t arena)
{
	const size_t copy = sizeof(struct mica_pkt_copy), end = sizeof(struct mica_pkt_ctl);
	ProtobufCBinaryData *c = &m->streams[0]->commands;
	struct mica_pkt_copy *to, *from;

	m->arena_size = arena;
	c->data = realloc(c->data, c->len + copy);
	memmove(c->data + c->len + copy - end, c->data + c->len - end, end);
	to = (void *)(c->data + c->len - end - copy);
	from = to + 1;
	*from = *to;
	to->dst = from->src = MICA_ADDR(MICA_SEG_ARENA, arena - N * 4);
	memset(from->hdr.wait, 0, sizeof(from->hdr.wait));	/* the same engine as the one before */
	c->len += copy;
}

static void through_the_arena(Mica__Model *m)
{
	by_way_of(m, 4096);
}

static void through_a_larger_arena(Mica__Model *m)
{
	by_way_of(m, 1 << 20);
}

static void no_arena(Mica__Model *m)
{
	m->arena_size = 0;
}

static struct mica_session *make(struct mica_device *dev, struct mica_arena *a, unsigned repeat, void (*prepare)(Mica__Model *), int *ret)
{
	struct mica_session *s = NULL;
	struct mica_model *m;
	size_t size;
	uint8_t *file = build_model(repeat, prepare, &size);

	assert_int_equal(mica_model_load_memory(dev, file, size, &m), 0);
	free(file);
	*ret = mica_session_create_in(m, a, &s);
	mica_model_close(m);
	return s;
}

static void run(struct mica_session *s, float base)
{
	float x[N], y[N];

	for (int i = 0; i < N; i++)
		x[i] = base * (i - N / 2);
	assert_int_equal(mica_session_set_input_f32(s, 0, x, N), 0);
	assert_int_equal(mica_session_run(s, -1), 0);
	assert_int_equal(mica_session_get_output_f32(s, 0, y, N), 0);
	for (int i = 0; i < N; i++)
		assert_true(y[i] == (i < N / 2 ? 0 : x[i]));
}

static void an_arena_is_as_large_as_the_largest_needs(void **state)
{
	struct mica_device *dev = open_device();
	struct mica_session *small, *large, *none;
	struct mica_arena *a;
	int ret;

	(void)state;
	assert_int_equal(mica_arena_create(dev, &a), 0);
	assert_int_equal(mica_arena_size(a), 0);
	none = make(dev, a, 1, no_arena, &ret);
	assert_int_equal(ret, 0);
	assert_int_equal(mica_arena_size(a), 0);
	small = make(dev, a, 1, through_the_arena, &ret);
	assert_int_equal(mica_arena_size(a), 4096);
	run(small, 1);
	large = make(dev, a, 1, through_a_larger_arena, &ret);
	assert_int_equal(mica_arena_size(a), 1 << 20);
	mica_device_close(dev);		/* sessions keep everything alive */
	mica_arena_destroy(a);
	for (float base = 2; base < 5; base++) {
		run(small, base);
		run(large, base + 0.5f);
		run(none, base);
	}
	mica_session_destroy(large);
	run(small, 7);
	mica_session_destroy(small);
	mica_session_destroy(none);
}

static void sessions_of_one_arena_take_turns(void **state)
{
	struct mica_device *dev = open_device();
	struct mica_session *busy, *other, *none, *third;
	struct mica_arena *a;
	int ret;

	(void)state;
	assert_int_equal(mica_arena_create(dev, &a), 0);
	busy = make(dev, a, LONG_JOB, through_the_arena, &ret);
	other = make(dev, a, 1, through_the_arena, &ret);
	none = make(dev, a, 1, no_arena, &ret);
	assert_int_equal(mica_session_submit(busy), 0);
	assert_int_equal(mica_session_submit(other), -EBUSY);
	assert_non_null(strstr(mica_error_text(), "arena"));
	assert_int_equal(mica_session_run(other, -1), -EBUSY);
	run(none, 1);
	third = make(dev, a, 1, through_a_larger_arena, &ret);
	assert_int_equal(ret, -EBUSY);
	assert_null(third);
	third = make(dev, a, 1, through_the_arena, &ret);	/* nothing has to grow */
	assert_int_equal(ret, 0);
	assert_int_equal(mica_session_wait(busy, -1), 0);
	run(other, 2);
	run(third, 3);
	assert_int_equal(mica_session_submit(busy), 0);
	mica_session_destroy(busy);	/* its turn ends with it */
	run(other, 4);
	mica_session_destroy(other);
	mica_session_destroy(third);
	mica_session_destroy(none);
	mica_arena_destroy(a);
	mica_device_close(dev);
}

static void an_arena_is_of_one_device(void **state)
{
	struct mica_device *dev = open_device(), *stranger = open_device();
	struct mica_arena *a;
	int ret;

	(void)state;
	assert_int_equal(mica_arena_create(stranger, &a), 0);
	assert_null(make(dev, a, 1, through_the_arena, &ret));
	assert_int_equal(ret, -EINVAL);
		assert_null(make(dev, NULL, 1, through_the_arena, &ret));
	assert_int_equal(ret, -EINVAL);
	mica_arena_destroy(a);
	assert_int_equal(mica_arena_create(NULL, &a), -EINVAL);
	mica_device_close(dev);
	mica_device_close(stranger);
}

/* ---- with host steps ---- */

static struct mica_session *make_host(struct mica_device *dev, struct mica_arena *a)
{
	struct mica_model *m = load_host_model(dev);
	struct mica_model_info info;
	struct mica_session *s;

	mica_model_get_info(m, &info);
	assert_true(info.host_steps && info.phases > 1);
	assert_true(info.arena_size >= N * sizeof(float));
	assert_int_equal(mica_session_create_in(m, a, &s), 0);
	mica_model_close(m);
	return s;
}

static void set_host(struct mica_session *s, float base)
{
	float x[N];

	for (int i = 0; i < N; i++)
		x[i] = base * (float)(i * 5 % N - N / 2);
	assert_int_equal(mica_session_set_input_f32(s, 0, x, N), 0);
}

/* The values of set_host are all multiples from -N/2 to N/2 - 1, in whatever order. */
static void check_host(struct mica_session *s, float base)
{
	float y[N];

	assert_int_equal(mica_session_get_output_f32(s, 0, y, N), 0);
	for (int i = 0; i < N; i++)
		assert_true(y[i] == (i < N / 2 ? base * (float)(N / 2 - i) : 0));
}

static void run_host(struct mica_session *s, float base, int64_t timeout)
{
	set_host(s, base);
	assert_int_equal(mica_session_run(s, timeout), 0);
	check_host(s, base);
}

static void host_steps_find_their_values_in_a_shared_arena(void **state)
{
	struct mica_device *dev = open_device();
	struct mica_session *host, *twin, *plain, *large;
	struct mica_arena *a;
	int ret;

	(void)state;
	assert_int_equal(mica_arena_create(dev, &a), 0);
	host = make_host(dev, a);
	twin = make_host(dev, a);
	plain = make(dev, a, 1, through_the_arena, &ret);
	for (float base = 1; base < 4; base++) {
		run_host(host, base, -1);
		run(plain, base);
		run_host(twin, base + 0.5f, 60000000000);	/* in the session's worker */
	}
	large = make(dev, a, 1, through_a_larger_arena, &ret);	/* the arena moves */
	run(large, 1);
	run_host(host, 5, -1);
	run_host(twin, 6, 60000000000);
	set_host(host, 7);
	assert_int_equal(mica_session_submit(host), 0);
	assert_int_equal(mica_session_run(twin, -1), -EBUSY);
	assert_int_equal(mica_session_submit(plain), -EBUSY);
	assert_int_equal(mica_session_wait(host, -1), 0);
	check_host(host, 7);
	run(plain, 8);
	assert_int_equal(mica_session_submit(host), 0);
	mica_session_destroy(host);	/* in flight: its turn ends with it */
	run_host(twin, 9, -1);
	mica_session_destroy(twin);
	mica_session_destroy(plain);
	mica_session_destroy(large);
	mica_arena_destroy(a);
	mica_device_close(dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_arena_is_as_large_as_the_largest_needs),
		cmocka_unit_test(sessions_of_one_arena_take_turns),
		cmocka_unit_test(an_arena_is_of_one_device),
		cmocka_unit_test(host_steps_find_their_values_in_a_shared_arena),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
