/* SPDX-License-Identifier: MIT */
/* Random numbers for the planner's tests: the same problems everywhere, from a seed per problem. */
#ifndef MICA_TESTS_PLAN_UTIL_H
#define MICA_TESTS_PLAN_UTIL_H

#include <stdint.h>

static inline uint32_t rnd(uint64_t *state, uint32_t below)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33) % below;
}

#endif /* MICA_TESTS_PLAN_UTIL_H */
