// SPDX-License-Identifier: MIT
/* mica memplan: places the buffers of a CSV file in memory, provably well. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "cli.h"
#include "memplan.h"

#define LARGE 4096		/* buffers */

struct request {
	const char *in, *out, *svg;
	uint64_t capacity;
	struct plan_limits limits;
	bool json;
};

static int take_whole(const struct cli_opt *o, const char *arg, void *to)
{
	uint64_t v;
	char *end;

	errno = 0;
	v = strtoull(arg, &end, 10);
	if (*arg < '0' || *arg > '9' || *end || errno || !v || v > INT64_MAX)
		return cli_fail(MICA_ERR_USAGE, "--%s=%s: a whole number above 0 is needed", o->name, arg);
	*(uint64_t *)to = v;
	return 0;
}

static const struct cli_opt own[] = {
	CLI_CALL("capacity", struct request, capacity, take_whole),
	CLI_CALL("nodes", struct request, limits.nodes, take_whole),
	CLI_SECONDS("time-limit", struct request, limits.seconds),
	CLI_UNSIGNED("threads", struct request, limits.threads, 1, 64),
	CLI_OUTPUT("out", struct request, out),
	CLI_TEXT("svg", struct request, svg),
	CLI_FLAG("json", struct request, json),
	{ 0 }
};

static void print_text(const struct request *r, const struct memplan *m, const struct plan_result *p, double gap)
{
	printf("%zu buffers: peak %llu, lower bound %llu (gap %.2f %%), without reuse %llu bytes: %s, %.3f s\n", m->count,
	       (unsigned long long)p->peak, (unsigned long long)p->lower_bound, 100 * gap,
	       (unsigned long long)plan_no_reuse(m->buf, m->count), plan_status_name(p->status), p->seconds);
	if (r->capacity && p->peak > r->capacity)
		printf("%s the best plan found needs %llu bytes more than the capacity of %llu\n",
		       p->status == PLAN_INFEASIBLE ? "nothing fits;" : "not placed, and not proved impossible;",
		       (unsigned long long)(p->peak - r->capacity), (unsigned long long)r->capacity);
}

static int print_json(const struct request *r, const struct plan_result *p, double gap)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "peak", json_object_new_int64((int64_t)p->peak));
	json_object_object_add(o, "lower_bound", json_object_new_int64((int64_t)p->lower_bound));
	json_object_object_add(o, "gap", json_num(gap));
	json_object_object_add(o, "status", json_object_new_string(plan_status_name(p->status)));
	json_object_object_add(o, "seconds", json_num(p->seconds));
	json_object_object_add(o, "nodes", json_object_new_int64((int64_t)p->nodes));
	if (r->capacity) {
		json_object_object_add(o, "capacity", json_object_new_int64((int64_t)r->capacity));
		json_object_object_add(o, "fits", json_object_new_boolean(p->peak <= r->capacity));
	}
	return json_print(o);
}

static int print(const struct request *r, const struct memplan *m, const struct plan_result *p)
{
	double gap = p->lower_bound ? (double)(p->peak - p->lower_bound) / (double)p->lower_bound : 0;
	int ret = 0;

	if (r->json)
		ret = print_json(r, p, gap);
	else
		print_text(r, m, p, gap);
	if (!ret && (fflush(stdout) || ferror(stdout)))
		return cli_fail((enum mica_err_code)MEMPLAN_OUTPUT, "standard output: %s", strerror(errno));
	return ret;
}

static int exit_code(enum plan_status status)
{
	return status == PLAN_INFEASIBLE ? MEMPLAN_INFEASIBLE : status == PLAN_STOPPED ? MEMPLAN_TIME : 0;
}

/* No plan exists at all, so none is written. */
static int contradiction(const struct request *r, const struct memplan *m, enum plan_verdict verdict, size_t a, size_t b)
{
	json_object *o;
	const char *why = verdict == PLAN_OVERLAP ? "overlap where they are fixed" :
		verdict == PLAN_MISALIGNED ? "cannot be aligned where it is fixed" : "are in one alias group and fixed at different offsets";

	if (verdict == PLAN_NO_MEMORY)
		return cli_fail(MICA_ERR_MEMORY, "out of memory");
	if (r->json) {
		o = json_object_new_object();
		json_object_object_add(o, "peak", NULL);
		json_object_object_add(o, "lower_bound", NULL);
		json_object_object_add(o, "gap", NULL);
		json_object_object_add(o, "status", json_object_new_string(plan_status_name(PLAN_INFEASIBLE)));
		json_object_object_add(o, "seconds", json_num(0));
		json_print(o);
	}
	if (verdict == PLAN_MISALIGNED)
		return cli_fail((enum mica_err_code)MEMPLAN_INFEASIBLE, "there is no plan: '%s' %s", m->row[a].id, why);
	return cli_fail((enum mica_err_code)MEMPLAN_INFEASIBLE, "there is no plan: '%s' and '%s' %s", m->row[b].id, m->row[a].id, why);
}

static atomic_bool cancelled;

static void on_signal(int number)
{
	(void)number;
	atomic_store(&cancelled, true);
}

/* The first Ctrl-C ends the search, and the best plan is written; the second ends the program. */
static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND | SA_RESTART };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

static int plan(const struct request *r, struct memplan *m)
{
	struct plan_result p;
	enum plan_verdict verdict;
	size_t a, b;
	int ret;

	verdict = plan_contradiction(m->buf, m->count, &a, &b);
	if (verdict != PLAN_OK)
		return contradiction(r, m, verdict, a, b);
	if (plan_exact(m->buf, m->count, r->capacity, &r->limits, &p))
		return cli_fail(MICA_ERR_MEMORY, "out of memory");
	verdict = plan_check(m->buf, m->count, p.peak, &a, &b);
	if (verdict == PLAN_NO_MEMORY)
		return cli_fail(MICA_ERR_MEMORY, "out of memory");
	if (verdict != PLAN_OK)
		return cli_fail(MICA_ERR_INTERNAL, "the validator refuses the plan at '%s' and '%s'; please report it", m->row[a].id, m->row[b].id);
	ret = r->out ? memplan_write_csv(r->out, m) : 0;
	if (!ret && r->svg)
		ret = memplan_write_svg(r->svg, m, &p, r->capacity);
	if (!ret)
		ret = print(r, m, &p);
	return ret ? ret : exit_code(p.status);
}

static int run(int argc, char **argv)
{
	struct request r = { .limits = { .threads = 1 } };
	struct memplan m;
	const struct cli_group groups[] = { CLI_GROUP(own, &r), { 0 } };
	int ret = cli_parse_one(&cmd_memplan, argc, argv, groups, "FILE.csv", &r.in);

	if (ret)
		return ret == CLI_HELP ? 0 : ret;
	r.limits.cancel = &cancelled;
	catch_signals();
	ret = memplan_read(r.in, &m);
	/* Large problems are only improved, never searched: a second in all has to do unless more is asked for. */
	if (!r.limits.seconds && !r.limits.nodes)
		r.limits.seconds = m.count > LARGE ? 0.6 : 10;
	if (!ret)
		ret = plan(&r, &m);
	memplan_free(&m);
	return ret;
}

const struct command cmd_memplan = {
	"memplan", "place buffers with known lifetimes in memory", run,
	"FILE.csv [OPTION]...\n\n"
	"FILE.csv has the columns id,lower,upper,size in any order; upper is exclusive. Optional: alignment (a power of\n"
	"two), fixed (the only offset allowed, or empty), alias (a group's name, or empty; its members get one offset).\n\n"
	"  --capacity=BYTES           find a plan that fits; without it: the lowest peak\n"
	"  --time-limit=S             wall time (default 10, above 4096 buffers 0.6); Ctrl-C ends it earlier\n"
	"  --nodes=N                  limit of the search that gives the same plan on every machine\n"
	"  --threads=N                threads that search with different orders (default 1)\n"
	"  --out=FILE.csv             the plan: the columns above that the input has, and offset\n"
	"  --svg=FILE                 a picture of it, time to the right, addresses up\n"
	"  --json                     peak, lower_bound, gap, status, seconds, nodes\n\n"
	"Exit code 0: placed (or minimal) and valid, 3: proved that nothing fits, 4: time ran out, the best plan is written,\n"
	"5: the input cannot be read or is refused, 6: an output cannot be written.\n",
};
