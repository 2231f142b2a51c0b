// SPDX-License-Identifier: MIT
/*
 * Prints the frequency of the time stamp counter in kHz, which an emulated CPU passes on. A guest that measures it on a busy
 * machine may be wrong by a factor, and then its clock runs that much too fast.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define NS 1000000000ll

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return t.tv_sec * NS + t.tv_nsec;
}

/* The counter and the time at the same moment: the closest of some readings. */
static uint64_t counter(int64_t *at)
{
	int64_t least = NS;
	uint64_t ticks = 0;

	for (int i = 0; i < 1000; i++) {
		int64_t before = now();
		uint64_t t = __rdtsc();
		int64_t took = now() - before;

		if (took >= least)
			continue;
		least = took;
		ticks = t;
		*at = before + took / 2;
	}
	return ticks;
}

int main(void)
{
	int64_t from, to;
	uint64_t a = counter(&from), b;

	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	b = counter(&to);
	if (to <= from || b <= a)
		return 1;
	printf("%llu\n", (unsigned long long)((double)(b - a) * 1e6 / (double)(to - from) + 0.5));
	return 0;
}
