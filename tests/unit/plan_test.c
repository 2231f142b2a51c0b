// SPDX-License-Identifier: MIT
/* The memory planner: bounds, known optima, the validator's refusals, and many random problems. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "plan.h"

#define COUNT(a) (sizeof(a) / sizeof(*(a)))
#define BUF(f, l, s, a) ((struct plan_buf){ .first = (f), .last = (l), .size = (s), .align = (a) })
#define BUF_AT(f, l, s, a, at) ((struct plan_buf){ .first = (f), .last = (l), .size = (s), .align = (a), .offset = (at) })

static uint64_t solve(struct plan_buf *buf, size_t n, unsigned effort)
{
	struct plan_problem p = { .buf = buf, .count = n, .effort = effort };
	uint64_t peak = 0;
	size_t a, b;

	assert_int_equal(plan_solve(&p, &peak), 0);
	assert_int_equal(plan_check(buf, n, peak, &a, &b), PLAN_OK);
	assert_true(peak >= plan_lower_bound(buf, n));
	return peak;
}

static void no_buffers_need_no_memory(void **state)
{
	(void)state;
	assert_int_equal(solve(NULL, 0, 10), 0);
	assert_int_equal(plan_lower_bound(NULL, 0), 0);
}

static void a_chain_needs_its_two_largest_neighbours(void **state)
{
	struct plan_buf b[] = {
		BUF(0, 1, 100, 1), BUF(1, 2, 300, 1), BUF(2, 3, 200, 1), BUF(3, 4, 50, 1), BUF(4, 5, 400, 1),
	};

	(void)state;
	assert_int_equal(plan_lower_bound(b, COUNT(b)), 500);
	assert_int_equal(plan_no_reuse(b, COUNT(b)), 1050);
	assert_int_equal(solve(b, COUNT(b), 200), 500);
}

static void buffers_apart_in_time_share_memory(void **state)
{
	struct plan_buf b[] = { BUF(0, 3, 64, 64), BUF(4, 9, 64, 64), BUF(10, 10, 64, 64) };

	(void)state;
	assert_int_equal(solve(b, COUNT(b), 0), 64);
}

static void both_ends_of_a_live_range_count(void **state)
{
	struct plan_buf b[] = { BUF(0, 4, 64, 64), BUF(4, 9, 64, 64) };

	(void)state;
	assert_int_equal(plan_lower_bound(b, COUNT(b)), 128);
	assert_int_equal(solve(b, COUNT(b), 0), 128);
}

static void alignment_is_kept(void **state)
{
	struct plan_buf b[] = { BUF(0, 9, 1, 1), BUF(0, 9, 10, 256), BUF(0, 9, 3, 2), BUF(0, 9, 64, 64) };

	(void)state;
	solve(b, COUNT(b), 50);
	for (size_t i = 0; i < COUNT(b); i++)
		assert_int_equal(b[i].offset % b[i].align, 0);
}

static void empty_buffers_take_no_room(void **state)
{
	struct plan_buf b[] = { BUF(0, 9, 0, 64), BUF(0, 9, 10, 1), BUF(3, 4, 0, 64) };

	(void)state;
	assert_int_equal(solve(b, COUNT(b), 10), 10);
}

/* First fit by size alone leaves a hole here; another order or the search closes it. */
static void search_closes_gaps_that_one_greedy_order_leaves(void **state)
{
	struct plan_buf b[] = {
		BUF(0, 2, 4, 1), BUF(1, 4, 3, 1), BUF(3, 6, 4, 1), BUF(5, 8, 3, 1), BUF(7, 9, 4, 1), BUF(0, 0, 3, 1), BUF(9, 9, 3, 1),
	};

	(void)state;
	assert_int_equal(solve(b, COUNT(b), 500), plan_lower_bound(b, COUNT(b)));
}

static void the_same_problem_gives_the_same_plan(void **state)
{
	struct plan_buf a[40], b[40];

	(void)state;
	for (unsigned i = 0; i < COUNT(a); i++)
		a[i] = BUF(i * 7 % 23, i * 7 % 23 + i % 5, 64 * (1 + i * 13 % 17), 64);
	memcpy(b, a, sizeof(a));
	solve(a, COUNT(a), 200);
	solve(b, COUNT(b), 200);
	assert_memory_equal(a, b, sizeof(a));
}

static void validator_refuses_overlap(void **state)
{
	struct plan_buf b[] = { BUF(0, 5, 64, 64), BUF(6, 9, 64, 64), BUF_AT(5, 7, 64, 64, 64), BUF_AT(2, 3, 10, 1, 60) };
	size_t x, y;

	(void)state;
	assert_int_equal(plan_check(b, 3, 128, &x, &y), PLAN_OK);
	assert_int_equal(plan_check(b, 4, 128, &x, &y), PLAN_OVERLAP);
	assert_int_equal(x, 3);
	assert_int_equal(y, 0);
}

static void validator_refuses_what_lies_outside(void **state)
{
	struct plan_buf far = BUF_AT(0, 1, 64, 64, 64), huge = BUF_AT(0, 1, UINT64_MAX, 1, 64);

	(void)state;
	assert_int_equal(plan_check(&far, 1, 128, NULL, NULL), PLAN_OK);
	assert_int_equal(plan_check(&far, 1, 127, NULL, NULL), PLAN_PAST_CAPACITY);
	assert_int_equal(plan_check(&huge, 1, UINT64_MAX, NULL, NULL), PLAN_PAST_CAPACITY);
}

static void validator_refuses_misalignment_and_reversed_ranges(void **state)
{
	struct plan_buf odd = BUF_AT(0, 1, 64, 64, 32), reversed = BUF_AT(2, 1, 64, 64, 0);

	(void)state;
	assert_int_equal(plan_check(&odd, 1, 1000, NULL, NULL), PLAN_MISALIGNED);
	assert_int_equal(plan_check(&reversed, 1, 1000, NULL, NULL), PLAN_RANGE);
}

static void random_plans_are_valid_and_near_the_bound(void **state)
{
	uint64_t rng = 1;
	double worst = 1, sum = 0;
	unsigned rounds = 300;

	(void)state;
	for (unsigned round = 0; round < rounds; round++) {
		struct plan_buf b[60] = { 0 };
		size_t n = 2 + round % 59;
		double ratio;

		for (size_t i = 0; i < n; i++) {
			rng = rng * 6364136223846793005ull + 1442695040888963407ull;
			b[i].first = (uint32_t)(rng >> 33) % 40;
			b[i].last = b[i].first + (uint32_t)(rng >> 40) % (round % 2 ? 4 : 20);
			b[i].size = 64 * (1 + (rng >> 50) % 100);
			b[i].align = 64;
		}
		ratio = (double)solve(b, n, 300) / (double)plan_lower_bound(b, n);
		worst = ratio > worst ? ratio : worst;
		sum += ratio;
	}
	print_message("peak / lower bound: mean %.4f, worst %.4f\n", sum / rounds, worst);
	assert_true(sum / rounds < 1.03);
	assert_true(worst < 1.25);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_buffers_need_no_memory),
		cmocka_unit_test(a_chain_needs_its_two_largest_neighbours),
		cmocka_unit_test(buffers_apart_in_time_share_memory),
		cmocka_unit_test(both_ends_of_a_live_range_count),
		cmocka_unit_test(alignment_is_kept),
		cmocka_unit_test(empty_buffers_take_no_room),
		cmocka_unit_test(search_closes_gaps_that_one_greedy_order_leaves),
		cmocka_unit_test(the_same_problem_gives_the_same_plan),
		cmocka_unit_test(validator_refuses_overlap),
		cmocka_unit_test(validator_refuses_what_lies_outside),
		cmocka_unit_test(validator_refuses_misalignment_and_reversed_ranges),
		cmocka_unit_test(random_plans_are_valid_and_near_the_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
