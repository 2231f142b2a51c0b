// SPDX-License-Identifier: MIT
/*
 * Random problems with alignments, fixed offsets and alias groups: the planners against a naive validator, brute force
 * and each other. MICA_PLAN_PROBLEMS=100000 for as many as the project claims; each is made from its number alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "plan.h"
#include "plan_util.h"

enum { PROBLEMS = 12000, BRUTE = 8, LARGEST = 40 };

static unsigned problems(void)
{
	const char *env = getenv("MICA_PLAN_PROBLEMS");

	return env ? (unsigned)strtoul(env, NULL, 10) : PROBLEMS;
}

/* ---- problems ---- */

static size_t make(struct plan_buf *buf, unsigned number)
{
	uint64_t seed = number * 0x9e3779b97f4a7c15ull + 0x6d696361;
	size_t n = rnd(&seed, 5) ? 1 + rnd(&seed, BRUTE) : BRUTE + 1 + rnd(&seed, LARGEST - BRUTE);
	uint32_t steps = 2 + rnd(&seed, 12), sizes = 1 + rnd(&seed, 30), kind = rnd(&seed, 3);
	uint32_t fixed = rnd(&seed, 3) ? 0 : 1 + rnd(&seed, 4), groups = rnd(&seed, 3) ? 0 : 1 + rnd(&seed, 4);

	for (size_t i = 0; i < n; i++) {
		uint32_t first = rnd(&seed, steps), length = rnd(&seed, rnd(&seed, 2) ? steps - first : 1 + (steps - first) / 3);
		uint64_t unit = kind == 1 ? 64 : 1, align = kind == 0 ? rnd(&seed, 2) : kind == 1 ? 64 : 1u << rnd(&seed, 5);

		buf[i] = (struct plan_buf){ .first = first, .last = first + length, .align = align, .offset = 12345 };
		buf[i].size = unit * (rnd(&seed, 20) ? 1 + rnd(&seed, sizes) : 0);
		if (fixed && !rnd(&seed, 1 + fixed)) {
			buf[i].fixed = true;
			buf[i].at = (align ? align : 1) * rnd(&seed, 1 + (uint32_t)(unit * sizes * 2 / (align ? align : 1)));
		}
		if (groups && rnd(&seed, 2))
			buf[i].alias = 1 + rnd(&seed, groups);
	}
	return n;
}

/* ---- a naive validator ---- */

static bool meet(const struct plan_buf *a, const struct plan_buf *b)
{
	bool one = a->alias && a->alias == b->alias;

	return !one && a->size && b->size && a->first <= b->last && b->first <= a->last;
}

static bool is_valid(const struct plan_buf *buf, size_t n, uint64_t capacity)
{
	for (size_t i = 0; i < n; i++) {
		const struct plan_buf *a = &buf[i];

		if ((a->align && a->offset % a->align) || (a->fixed && a->offset != a->at) || a->offset + a->size > capacity)
			return false;
		for (size_t k = 0; k < i; k++) {
			const struct plan_buf *b = &buf[k];

			if (a->alias && a->alias == b->alias && a->offset != b->offset)
				return false;
			if (meet(a, b) && a->offset < b->offset + b->size && b->offset < a->offset + a->size)
				return false;
		}
	}
	return true;
}

/* ---- brute force: every order, each buffer or group on top of those before it; it stops at `enough` ---- */

struct brute { const struct plan_buf *buf; size_t n; uint64_t offset[BRUTE], best, enough; };

static bool of_one(const struct plan_buf *buf, size_t i, size_t k)
{
	return i == k || (buf[i].alias && buf[i].alias == buf[k].alias);
}

/* Where the group of buffer i comes when it comes next, and what its peak is. False when a fixed member forbids it. */
static bool stack_up(struct brute *s, size_t i, unsigned placed, unsigned *group, uint64_t *peak)
{
	uint64_t at = 0, align = 1, fixed = UINT64_MAX;

	*group = 0;
	for (size_t k = 0; k < s->n; k++) {
		const struct plan_buf *b = &s->buf[k];

		if (!of_one(s->buf, i, k))
			continue;
		*group |= 1u << k;
		align = b->align > align ? b->align : align;
		if (b->fixed && fixed != UINT64_MAX && fixed != b->at)
			return false;
		fixed = b->fixed ? b->at : fixed;
		for (size_t j = 0; j < s->n; j++)
			if (placed >> j & 1 && meet(b, &s->buf[j]) && s->offset[j] + s->buf[j].size > at)
				at = s->offset[j] + s->buf[j].size;
	}
	at = (at + align - 1) & ~(align - 1);
	if (fixed != UINT64_MAX && (fixed < at || fixed % align))
		return false;
	at = fixed != UINT64_MAX ? fixed : at;
	for (size_t k = 0; k < s->n; k++) {
		if (!(*group >> k & 1))
			continue;
		s->offset[k] = at;
		*peak = at + s->buf[k].size > *peak ? at + s->buf[k].size : *peak;
	}
	return true;
}

static void brute_from(struct brute *s, unsigned placed, uint64_t peak)
{
	if (peak >= s->best || s->best <= s->enough)
		return;
	if (placed == (1u << s->n) - 1)
		s->best = peak;
	for (size_t i = 0; i < s->n; i++) {
		uint64_t top = peak;
		unsigned group;
		bool first = true;

		for (size_t k = 0; k < i; k++)
			first = first && !of_one(s->buf, i, k);
		if (placed >> i & 1 || !first)
			continue;
		if (stack_up(s, i, placed, &group, &top))
			brute_from(s, placed | group, top);
	}
}

/* UINT64_MAX: there is no plan at all. */
static uint64_t brute_force(const struct plan_buf *buf, size_t n, uint64_t enough)
{
	struct brute s = { .buf = buf, .n = n, .best = UINT64_MAX, .enough = enough };

	brute_from(&s, 0, 0);
	return s.best;
}

/* ---- the tests ---- */

static struct plan_result solve(struct plan_buf *buf, size_t n, uint64_t capacity, uint64_t nodes)
{
	struct plan_limits limits = { .nodes = nodes };
	struct plan_result r;

	assert_int_equal(plan_exact(buf, n, capacity, &limits, &r), 0);
	assert_true(is_valid(buf, n, r.peak));
	assert_int_equal(plan_check(buf, n, r.peak, NULL, NULL), PLAN_OK);
	assert_true(!r.peak || plan_check(buf, n, r.peak - 1, NULL, NULL) == PLAN_PAST_CAPACITY);
	assert_true(r.peak >= r.lower_bound);
	assert_true(r.lower_bound >= plan_lower_bound(buf, n));
	return r;
}

static void agree_with_brute_force(struct plan_buf *buf, size_t n)
{
	uint64_t best = brute_force(buf, n, plan_lower_bound(buf, n));
	struct plan_result r = solve(buf, n, 0, 100000);

	assert_int_equal(r.peak, best);
	assert_true(r.status == PLAN_AT_BOUND || r.status == PLAN_OPTIMAL);
	if (!best)
		return;
	assert_int_equal(solve(buf, n, best, 100000).status, PLAN_PLACED);
	if (best > 1)
		assert_int_equal(solve(buf, n, best - 1, 100000).status, PLAN_INFEASIBLE);
}

static void plans_are_valid_and_optimal_when_they_say_so(void **state)
{
	unsigned contradictions = 0, small = 0, most = problems();

	(void)state;
	for (unsigned k = 0; k < most; k++) {
		struct plan_buf buf[LARGEST];
		size_t n = make(buf, k), a, b;
		struct plan_result r;

		if (plan_contradiction(buf, n, &a, &b) != PLAN_OK) {
			contradictions++;
			assert_true(n > BRUTE || brute_force(buf, n, 0) == UINT64_MAX);
			assert_int_equal(plan_exact(buf, n, 0, &(struct plan_limits){ .nodes = 10 }, &r), -1);
			continue;
		}
		if (n <= BRUTE) {
			small++;
			agree_with_brute_force(buf, n);
			continue;
		}
		r = solve(buf, n, 0, 300);
		/* Placing is another search than minimizing: it may take longer. */
		if (r.status != PLAN_STOPPED)
			assert_int_equal(solve(buf, n, r.peak, 1000000).status, PLAN_PLACED);
	}
	print_message("  %u problems, %u of them against brute force, %u contradict themselves\n", most, small, contradictions);
}

static void greedy_plans_are_valid(void **state)
{
	(void)state;
	for (unsigned k = 0; k < problems(); k++) {
		struct plan_buf buf[LARGEST];
		struct plan_problem p = { .buf = buf, .effort = k % 8 };
		uint64_t peak;

		p.count = make(buf, k);
		if (plan_contradiction(buf, p.count, NULL, NULL) != PLAN_OK)
			continue;
		assert_int_equal(plan_solve(&p, &peak), 0);
		assert_true(is_valid(buf, p.count, peak));
		assert_int_equal(plan_check(buf, p.count, peak, NULL, NULL), PLAN_OK);
	}
}

/* Valid plans and what becomes of them when one offset is changed. */
static void the_validator_agrees_with_a_naive_one(void **state)
{
	unsigned refused = 0;

	(void)state;
	for (unsigned k = 0; k < problems(); k++) {
		struct plan_buf buf[LARGEST];
		struct plan_problem p = { .buf = buf };
		uint64_t seed = k, peak;
		size_t victim, a, b;

		p.count = make(buf, k);
		if (plan_contradiction(buf, p.count, NULL, NULL) != PLAN_OK)
			continue;
		assert_int_equal(plan_solve(&p, &peak), 0);
		victim = rnd(&seed, (uint32_t)p.count);
		buf[victim].offset = rnd(&seed, (uint32_t)peak + 2) & ~(buf[victim].align ? buf[victim].align - 1 : 0);
		assert_int_equal(is_valid(buf, p.count, peak), plan_check(buf, p.count, peak, &a, &b) == PLAN_OK);
		refused += !is_valid(buf, p.count, peak);
		if (plan_check(buf, p.count, peak, &a, &b) == PLAN_OVERLAP)
			assert_true(a != b && meet(&buf[a], &buf[b]) && buf[a].offset < buf[b].offset + buf[b].size &&
				    buf[b].offset < buf[a].offset + buf[a].size);
	}
	assert_true(refused > problems() / 20);
}

/* Large enough for plans to be repaired, and too hard to be placed at once. */
static void repaired_plans_are_valid(void **state)
{
	enum { MANY = 160, REPAIRED = 24 };
	static const struct plan_limits limits = { .nodes = 8000 };
	unsigned better = 0;

	(void)state;
	for (unsigned k = 0; k < REPAIRED; k++) {
		static struct plan_buf buf[MANY];
		struct plan_problem greedy = { .buf = buf, .count = MANY };
		struct plan_result r;
		uint64_t seed = k + 1, peak;

		for (size_t i = 0; i < MANY; i++) {
			uint32_t first = rnd(&seed, 100), align = 1u << (k % 3 ? 0 : rnd(&seed, 5));

			buf[i] = (struct plan_buf){ .first = first, .last = first + rnd(&seed, 20) * rnd(&seed, 3), .align = align };
			buf[i].size = 1 + rnd(&seed, 60) * rnd(&seed, 60);
			buf[i].fixed = k % 4 == 1 && i < 6;
			buf[i].at = buf[i].fixed ? 4096 * i : 0;
			buf[i].alias = k % 4 == 2 && !rnd(&seed, 3) ? 1 + rnd(&seed, 20) : 0;
		}
		assert_int_equal(plan_solve(&greedy, &peak), 0);
		assert_int_equal(plan_exact(buf, MANY, 0, &limits, &r), 0);
		assert_true(is_valid(buf, MANY, r.peak));
		assert_true(r.peak <= peak);
		better += r.peak < peak;
	}
	print_message("  %u problems, %u better than greedy\n", REPAIRED, better);
	assert_true(better >= REPAIRED / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plans_are_valid_and_optimal_when_they_say_so),
		cmocka_unit_test(greedy_plans_are_valid),
		cmocka_unit_test(repaired_plans_are_valid),
		cmocka_unit_test(the_validator_agrees_with_a_naive_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
