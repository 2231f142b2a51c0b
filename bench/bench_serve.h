/* SPDX-License-Identifier: MIT */
/*
 * What a contestant of `make bench` speaks on stdin and stdout, one line each way, so that several of them stay loaded and
 * take turns:  "run SECONDS"  ->  {"runs": N, "min_ms": .., "median_ms": .., "mean_ms": .., "cpu_ms": ..};  "rss"  ->  {"peak_kb": .., ...}.
 */
#ifndef BENCH_SERVE_H
#define BENCH_SERVE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define BENCH_SAMPLES 100000

static inline double bench_clock(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

static inline int bench_by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Runs for so long, at least three times; the first run of a slice finds cold caches and is not counted. */
static inline int bench_slice(int (*infer)(void *), void *opaque, double seconds)
{
	static double t[BENCH_SAMPLES];
	double begin, end, cpu;
	size_t n = 0;

	if (infer(opaque))
		return 1;
	cpu = bench_clock(CLOCK_PROCESS_CPUTIME_ID);
	begin = end = bench_clock(CLOCK_MONOTONIC);
	while (n < BENCH_SAMPLES && (end - begin < seconds * 1e3 || n < 3)) {
		double start = end;

		if (infer(opaque))
			return 1;
		end = bench_clock(CLOCK_MONOTONIC);
		t[n++] = end - start;
	}
	cpu = bench_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	qsort(t, n, sizeof(*t), bench_by_value);
	printf("{\"runs\": %zu, \"min_ms\": %.5f, \"median_ms\": %.5f, \"mean_ms\": %.5f, \"cpu_ms\": %.5f}\n", n, t[0], t[n / 2],
	       (end - begin) / (double)n, cpu / (double)n);
	return 0;
}

/* A line of the kernel's own account of this address space, KB; getrusage's peak would include the parent's at the fork. */
static inline long bench_status(const char *field)
{
	FILE *f = fopen("/proc/self/status", "r");
	size_t n = strlen(field);
	char line[256];
	long kb = 0;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, field, n))
			kb = atol(line + n);
	if (f)
		fclose(f);
	return kb;
}

/* What the harness itself needs for a moment (an input's f32 values) is not the contestant's: the peak until here is kept, and
 * the kernel starts a new one. */
static long bench_peak;

static inline void bench_peak_keep(void)
{
	long peak = bench_status("VmHWM:");

	bench_peak = peak > bench_peak ? peak : bench_peak;
}

static inline void bench_peak_restart(void)
{
	FILE *f = fopen("/proc/self/clear_refs", "w");

	if (f) {
		fputs("5", f);
		fclose(f);
	}
}

static inline int bench_rss(void)
{
	bench_peak_keep();
	printf("{\"peak_kb\": %ld, \"anon_kb\": %ld, \"file_kb\": %ld}\n", bench_peak, bench_status("RssAnon:"), bench_status("RssFile:"));
	return 0;
}

/* infer NULL: nothing is loaded, for the memory of an empty process. Ends with its stdin. */
static inline int bench_serve(int (*infer)(void *), void *opaque)
{
	char line[64];
	double seconds;
	int ret = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (!ret && fgets(line, sizeof(line), stdin)) {
		if (infer && sscanf(line, "run %lf", &seconds) == 1)
			ret = bench_slice(infer, opaque, seconds);
		else if (!strcmp(line, "rss\n"))
			ret = bench_rss();
		else
			ret = 2;
	}
	return ret;
}

#endif
