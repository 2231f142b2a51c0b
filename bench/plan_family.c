// SPDX-License-Identifier: MIT
/*
 * How well the exact planner holds up over a family of hard problems: makes many that are known to fit a capacity, from
 * nothing and (given CSV files) from published ones, and tells how many are placed within how much CPU time.
 */
#include <time.h>
#include "plan_problems.h"

enum { MOST_TIMES = 4096 };

/* ---- measuring ---- */

static struct { double limit; const char *write; unsigned threads, verbose, plain; double time[MOST_TIMES]; unsigned count; } run = { .limit = 10 };

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void write_csv(const struct problem *p)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.csv", run.write, p->name);
	f = fopen(path, "w");
	if (!f) {
		perror(path);
		exit(1);
	}
	fprintf(f, "id,lower,upper,size\n");
	for (size_t i = 0; i < p->n; i++)
		fprintf(f, "%zu,%u,%u,%llu\n", i, p->buf[i].first, p->buf[i].last + 1, (unsigned long long)p->buf[i].size);
	fclose(f);
}

static void try(struct problem *p)
{
	uint64_t capacity = (uint64_t)CAPACITY * KIB;
	struct plan_limits limits = { .seconds = run.limit, .threads = run.threads };
	struct plan_result r;
	double begin;

	if (!run.plain && (!p->n || plan_check(p->buf, p->n, capacity, NULL, NULL) != PLAN_OK)) {
		printf("%s: the generator's plan does not fit\n", p->name);
		exit(1);
	}
	if (!run.plain)
		shuffle(p);
	if (run.write) {
		write_csv(p);
		return;
	}
	begin = cpu_seconds();
	if (plan_exact(p->buf, p->n, capacity, &limits, &r) || plan_check(p->buf, p->n, r.peak, NULL, NULL) != PLAN_OK ||
	    r.status == PLAN_INFEASIBLE) {
		printf("%s: wrong\n", p->name);
		exit(1);
	}
	run.time[run.count] = r.status == PLAN_PLACED ? cpu_seconds() - begin : 1e9;
	if (run.verbose || run.time[run.count] > 1)
		printf("%-24s %4zu buffers, bound %5.1f %%, %8.3f s %9llu nodes %s\n", p->name, p->n,
		       (double)plan_lower_bound(p->buf, p->n) * 100 / (double)capacity, cpu_seconds() - begin,
		       (unsigned long long)r.nodes, plan_status_name(r.status));
	fflush(stdout);
	run.count++;
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void report(void)
{
	static const double within[] = { 0.1, 1, 5, 60 };

	if (!run.count)
		return;
	qsort(run.time, run.count, sizeof(*run.time), by_value);
	printf("%u problems", run.count);
	for (size_t k = 0; k < sizeof(within) / sizeof(*within); k++) {
		unsigned n = 0;

		while (n < run.count && run.time[n] <= within[k])
			n++;
		printf(", %.1f %% within %g s", 100.0 * n / run.count, within[k]);
	}
	printf("; median %.3f s, 95 %% %.3f s\n", run.time[run.count / 2], run.time[run.count * 95 / 100]);
}

static void from_nothing(unsigned rounds)
{
	static struct problem p;

	for (unsigned i = 0; i < rounds; i++) {
		unsigned kind = i % 4;

		p.n = 0;
		snprintf(p.name, sizeof(p.name), "%s%u", kind == 0 ? "cut" : kind == 1 ? "wheel" : "drawn", i);
		if (kind < 2)
			make_cuts(&p, 150 + rnd(310), 60 + rnd(160), kind ? 30 : 0, i & 4 ? 8 : 0);
		else
			make_drawn(&p, NULL, 150 + rnd(310), 60 + rnd(160));
		if (kind == 3)
			tighten(&p, 70);
		try(&p);
	}
}

static void from_files(char **path, int files, unsigned rounds)
{
	static struct problem src[32], p;

	for (int i = 0; i < files && i < 32; i++) {
		struct plan_limits limits = { .seconds = 60 };
		struct plan_result r;

		if (!read_csv(path[i], &src[i]) || plan_exact(src[i].buf, src[i].n, (uint64_t)CAPACITY * KIB, &limits, &r) || r.status != PLAN_PLACED) {
			fprintf(stderr, "%s: no plan\n", path[i]);
			exit(1);
		}
		to_sections(&src[i]);
	}
	for (unsigned k = 0; k < rounds; k++) {
		static const char *const kinds[] = { "shuffled", "reversed", "tight", "varied", "drawn", "merged" };
		unsigned kind = k % 6;
		const struct problem *s = &src[k / 6 % (unsigned)files], *o = &src[rnd((uint32_t)files)];

		p = *s;
		snprintf(p.name, sizeof(p.name), "%.20s-%s%u", s->name, kinds[kind], k);
		if (kind >= 4)
			p.n = 0;
		if (kind == 1)
			reverse(&p);
		else if (kind == 2)
			tighten(&p, 20 + rnd(80));
		else if (kind == 3)
			vary(&p, 5 + rnd(20));
		else if (kind == 4)
			make_drawn(&p, s, s->n, last_step(s) + 1);
		else if (kind == 5)
			merge(&p, s, o);
		if (kind >= 3)
			tighten(&p, rnd(2) * 40);
		try(&p);
	}
}

/* Each file as it is; whether it fits is not known. */
static void as_they_are(char **path, int files)
{
	static struct problem p;

	for (int i = 0; i < files; i++)
		if (read_csv(path[i], &p))
			try(&p);
}

int main(int argc, char **argv)
{
	unsigned rounds = 100;
	int first = 1;

	for (; first < argc && argv[first][0] == '-'; first++) {
		const char *a = argv[first];

		if (sscanf(a, "--rounds=%u", &rounds) == 1 || sscanf(a, "--seconds=%lf", &run.limit) == 1 ||
		    sscanf(a, "--threads=%u", &run.threads) == 1 || sscanf(a, "--seed=%lu", &state) == 1)
			continue;
		if (!strncmp(a, "--write=", 8))
			run.write = a + 8;
		else if (!strcmp(a, "--plain"))
			run.plain = 1;
		else if (!strcmp(a, "-v"))
			run.verbose = 1;
		else
			return fprintf(stderr, "plan_family [--rounds=N] [--seconds=S] [--threads=N] [--seed=N] [--write=DIR] [--plain] [-v] [FILE.csv...]\n"), 2;
	}
	if (run.plain)
		as_they_are(argv + first, argc - first);
	else if (first < argc)
		from_files(argv + first, argc - first, rounds);
	else
		from_nothing(rounds);
	report();
	return 0;
}
