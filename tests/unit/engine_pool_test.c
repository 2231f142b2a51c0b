// SPDX-License-Identifier: MIT
/* Threads of an engine: every item once, awake or asleep, many pools at once, nobody spins when there is nothing to do. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <cmocka.h>
#include "engine_internal.h"

#define ITEMS	100u

struct count {
	unsigned times[ITEMS];		/* plain: what an item writes is seen by the caller when pool_run returns */
	unsigned threads;
	_Atomic unsigned strange;
};

static void count_item(void *ctx, uint32_t item, unsigned thread)
{
	struct count *c = ctx;

	if (item >= ITEMS || thread >= c->threads)
		c->strange++;
	else
		c->times[item]++;
}

static void pause_us(long us)
{
	struct timespec t = { 0, us * 1000 };

	nanosleep(&t, NULL);
}

static void run_often(unsigned threads, unsigned rounds, bool in_job)
{
	struct pool *p = pool_create(threads);
	struct count c = { .threads = threads };
	unsigned want[ITEMS] = { 0 };

	assert_non_null(p);
	for (unsigned r = 0; r < rounds; r++) {
		uint32_t n = r * 7 % (ITEMS + 1);

		if (in_job && r % 5 == 0)
			pool_begin(p);
		pool_run(p, count_item, &c, n);
		for (uint32_t i = 0; i < n; i++)
			want[i]++;
		if (r % 97 == 0)	/* long enough to fall asleep */
			pause_us(300);
		if (in_job && r % 5 == 4)
			pool_end(p);
	}
	pool_destroy(p);
	assert_int_equal(c.strange, 0);
	assert_memory_equal(c.times, want, sizeof(want));
}

static void each_item_runs_once(void **state)
{
	(void)state;
	for (unsigned threads = 1; threads <= 4; threads++)
		for (int in_job = 0; in_job < 2; in_job++)
			run_often(threads, 2000, in_job);
}

static void more_threads_than_cpus_work(void **state)
{
	(void)state;
	run_often(16, 300, true);
}

static void *one_of_many(void *arg)
{
	(void)arg;
	run_often(3, 700, true);
	return NULL;
}

static void pools_do_not_meet(void **state)
{
	pthread_t t[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, one_of_many, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static void idle_workers_sleep(void **state)
{
	struct pool *p = pool_create(4);
	struct count c = { .threads = 4 };
	double before;

	(void)state;
	pool_begin(p);
	pool_run(p, count_item, &c, ITEMS);
	pause_us(2000);
	before = cpu_seconds();
	pause_us(200000);		/* even within a job */
	assert_true(cpu_seconds() - before < 0.02);
	pool_end(p);
	pool_destroy(p);
}

static void wrong_numbers_of_threads_are_refused(void **state)
{
	(void)state;
	assert_null(pool_create(0));
	assert_null(pool_create(MICA_MAX_THREADS + 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_item_runs_once),
		cmocka_unit_test(more_threads_than_cpus_work),
		cmocka_unit_test(pools_do_not_meet),
		cmocka_unit_test(idle_workers_sleep),
		cmocka_unit_test(wrong_numbers_of_threads_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
