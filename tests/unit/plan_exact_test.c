// SPDX-License-Identifier: MIT
/* The exact planner: repeatable, threads, limits, known optima, lifetimes of real networks. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "plan.h"
#include "plan_util.h"

#define COUNT(a) (sizeof(a) / sizeof(*(a)))
#define BUF(f, l, s, a) ((struct plan_buf){ .first = (f), .last = (l), .size = (s), .align = (a) })
#define BUF_AT(f, l, s, a, at) ((struct plan_buf){ .first = (f), .last = (l), .size = (s), .align = (a), .offset = (at) })
enum { PROBLEMS = 2500, SMALLEST = 8, LARGEST = 24, MOST = 4096 };

static const struct plan_limits few_nodes = { .nodes = 20000 };

static struct plan_result solve(struct plan_buf *buf, size_t n, uint64_t capacity, const struct plan_limits *limits)
{
	struct plan_result r;

	assert_int_equal(plan_exact(buf, n, capacity, limits, &r), 0);
	assert_int_equal(plan_check(buf, n, r.peak, NULL, NULL), PLAN_OK);
	assert_true(r.peak >= r.lower_bound);
	assert_true(r.lower_bound >= plan_lower_bound(buf, n));
	return r;
}

/* ---- random problems ---- */

static void make(struct plan_buf *buf, size_t n, uint64_t *seed)
{
	uint32_t steps = 2 + rnd(seed, 12), sizes = 1 + rnd(seed, 30), kind = rnd(seed, 3);

	for (size_t i = 0; i < n; i++) {
		uint32_t first = rnd(seed, steps), length = rnd(seed, steps - first);
		uint64_t unit = kind == 1 ? 64 : 1, align = kind == 0 ? 1 : kind == 1 ? 64 : 1u << rnd(seed, 4);

		buf[i] = BUF(first, first + length, unit * (rnd(seed, 20) ? 1 + rnd(seed, sizes) : 0), align);
	}
}

static void larger_problems_are_valid_and_repeatable(void **state)
{
	static const struct plan_limits limits = { .nodes = 3000 };
	uint64_t seed = 2;

	(void)state;
	for (unsigned k = 0; k < PROBLEMS; k++) {
		struct plan_buf buf[LARGEST], again[LARGEST];
		size_t n = SMALLEST + rnd(&seed, LARGEST - SMALLEST + 1);
		struct plan_result r;

		make(buf, n, &seed);
		memcpy(again, buf, sizeof(buf));
		r = solve(buf, n, 0, &limits);
		assert_int_equal(solve(again, n, 0, &limits).peak, r.peak);
		assert_memory_equal(buf, again, n * sizeof(*buf));
		if (r.status != PLAN_STOPPED)
			assert_int_equal(solve(buf, n, r.peak, &few_nodes).status, PLAN_PLACED);
	}
}

static void threads_give_the_same_plan_every_time(void **state)
{
	static const struct plan_limits limits = { .nodes = 4000, .threads = 3 };
	uint64_t seed = 3;

	(void)state;
	for (unsigned k = 0; k < 60; k++) {
		struct plan_buf buf[LARGEST], again[LARGEST];

		make(buf, LARGEST, &seed);
		memcpy(again, buf, sizeof(buf));
		solve(buf, LARGEST, 0, &limits);
		solve(again, LARGEST, 0, &limits);
		assert_memory_equal(buf, again, sizeof(buf));
	}
}

static void no_buffers_and_empty_buffers_need_nothing(void **state)
{
	struct plan_buf b[] = { BUF_AT(0, 3, 0, 64, 7), BUF_AT(1, 2, 0, 1, 9) };

	(void)state;
	assert_int_equal(solve(NULL, 0, 0, &few_nodes).status, PLAN_AT_BOUND);
	assert_int_equal(solve(b, COUNT(b), 0, &few_nodes).peak, 0);
}

static void a_capacity_below_the_bound_is_infeasible(void **state)
{
	struct plan_buf b[] = { BUF(0, 3, 60, 1), BUF(1, 2, 50, 1) };
	struct plan_result r;

	(void)state;
	r = solve(b, COUNT(b), 109, &few_nodes);
	assert_int_equal(r.status, PLAN_INFEASIBLE);
	assert_int_equal(r.peak, 110);
}

/* ---- files ---- */

static size_t read_csv(const char *path, struct plan_buf *buf)
{
	FILE *f = fopen(path, "r");
	char line[512];
	size_t n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) && n < MOST) {
		unsigned long long lower, upper, size;
		const char *rest = strchr(line, ',');

		if (rest && sscanf(rest, ",%llu,%llu,%llu", &lower, &upper, &size) == 3)
			buf[n++] = BUF((uint32_t)lower, (uint32_t)(upper - 1), size, 1);
	}
	fclose(f);
	return n;
}

static DIR *open_data(const char *sub, char *path, size_t size)
{
	const char *data = getenv("MICA_DATA");

	snprintf(path, size, "%s/alloc%s", data ? data : "../shared/data", sub);
	return opendir(path);
}

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Calls `each` with the buffers of every CSV file of a data folder; skips the test without one. */
static void with_data(const char *sub, void (*each)(struct plan_buf *buf, size_t n, const char *path))
{
	static struct plan_buf buf[MOST];
	char dir[512], path[1024];
	DIR *d = open_data(sub, dir, sizeof(dir));

	if (!d)
		skip();
	for (struct dirent *e; (e = readdir(d));) {
		if (!strstr(e->d_name, ".csv"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		each(buf, read_csv(path, buf), path);
	}
	closedir(d);
}

/* The 50 ms are CPU time of the optimized build; other work on the machine only ever adds, so there are ten tries. */
static void real_one(struct plan_buf *buf, size_t n, const char *path)
{
	double best = 1e9;

	for (int run = 0; run < 10 && best >= 0.05; run++) {
		double begin = cpu_seconds(), used;
		struct plan_result r = solve(buf, n, 0, &few_nodes);

		used = cpu_seconds() - begin;
		best = used < best ? used : best;
		assert_int_equal(r.status, PLAN_AT_BOUND);
	}
	print_message("  %s: %zu buffers, %.1f ms\n", path, n, best * 1e3);
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	assert_true(best < 0.05);
#endif
}

static void real_networks_reach_their_bound(void **state)
{
	(void)state;
	with_data("/real", real_one);
}

static void hard_one(struct plan_buf *buf, size_t n, const char *path)
{
	static const struct plan_limits limits = { .nodes = 200000 };
	double begin = cpu_seconds();
	struct plan_result r = solve(buf, n, 1048576, &limits);

	print_message("  %s: %zu buffers, peak %llu, %.0f ms, %llu nodes\n", path, n, (unsigned long long)r.peak,
		      (cpu_seconds() - begin) * 1e3, (unsigned long long)r.nodes);
	assert_int_equal(r.status, PLAN_PLACED);
}

static void hard_instances_fit(void **state)
{
	(void)state;
	with_data("", hard_one);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(larger_problems_are_valid_and_repeatable),
		cmocka_unit_test(threads_give_the_same_plan_every_time),
		cmocka_unit_test(no_buffers_and_empty_buffers_need_nothing),
		cmocka_unit_test(a_capacity_below_the_bound_is_infeasible),
		cmocka_unit_test(real_networks_reach_their_bound),
		cmocka_unit_test(hard_instances_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
