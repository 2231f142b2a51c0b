// SPDX-License-Identifier: MIT
/* mica memplan: places the buffers of a CSV file in memory, provably well. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cli.h"
#include "memplan.h"

enum { OPT_CAPACITY = OPT_LAST, OPT_TIME_LIMIT, OPT_NODES, OPT_OUT, OPT_SVG };

struct request {
	const char *in, *out, *svg;
	uint64_t capacity;
	struct plan_limits limits;
	bool json, help;
};

static int whole_number(const char *option, const char *arg, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(arg, &end, 10);
	if (*arg < '0' || *arg > '9' || *end || errno || !*out || *out > INT64_MAX)
		return cli_fail(MICA_ERR_USAGE, "--%s=%s: a whole number above 0 is needed", option, arg);
	return 0;
}

static int take_option(struct request *r, int c)
{
	switch (c) {
	case OPT_CAPACITY:
		return whole_number("capacity", optarg, &r->capacity);
	case OPT_NODES:
		return whole_number("nodes", optarg, &r->limits.nodes);
	case OPT_TIME_LIMIT:
		return cli_seconds("time-limit", optarg, &r->limits.seconds);
	case OPT_THREADS:
		return cli_unsigned("threads", optarg, 1, 64, &r->limits.threads);
	case OPT_OUT:
		r->out = optarg;
		return 0;
	case OPT_SVG:
		r->svg = optarg;
		return 0;
	case OPT_JSON:
		r->json = true;
		return 0;
	case 'h':
		r->help = true;
		return 0;
	default:
		return MICA_ERR_USAGE;
	}
}

static int parse(int argc, char **argv, struct request *r)
{
	static const struct option options[] = {
		{ "capacity", required_argument, NULL, OPT_CAPACITY }, { "time-limit", required_argument, NULL, OPT_TIME_LIMIT },
		{ "nodes", required_argument, NULL, OPT_NODES }, { "threads", required_argument, NULL, OPT_THREADS },
		{ "out", required_argument, NULL, OPT_OUT }, { "svg", required_argument, NULL, OPT_SVG },
		{ "json", no_argument, NULL, OPT_JSON }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	int c, ret;

	while ((c = cli_getopt(argc, argv, options)) != -1) {
		ret = take_option(r, c);
		if (ret || r->help)
			return ret;
	}
	if (argc - optind != 1)
		return cli_fail(MICA_ERR_USAGE, "one FILE.csv is needed");
	r->in = argv[optind];
	return 0;
}

static int print(const struct request *r, const struct memplan *m, const struct plan_result *p)
{
	double gap = p->lower_bound ? (double)(p->peak - p->lower_bound) / (double)p->lower_bound : 0;
	json_object *o;

	if (!r->json) {
		printf("%zu buffers: peak %llu, lower bound %llu (gap %.2f %%), without reuse %llu bytes: %s, %.3f s\n", m->count,
		       (unsigned long long)p->peak, (unsigned long long)p->lower_bound, 100 * gap,
		       (unsigned long long)plan_no_reuse(m->buf, m->count), plan_status_name(p->status), p->seconds);
		return 0;
	}
	o = json_object_new_object();
	json_object_object_add(o, "peak", json_object_new_int64((int64_t)p->peak));
	json_object_object_add(o, "lower_bound", json_object_new_int64((int64_t)p->lower_bound));
	json_object_object_add(o, "gap", json_num(gap));
	json_object_object_add(o, "status", json_object_new_string(plan_status_name(p->status)));
	json_object_object_add(o, "seconds", json_num(p->seconds));
	json_object_object_add(o, "nodes", json_object_new_int64((int64_t)p->nodes));
	return json_print(o);
}

static int exit_code(enum plan_status status)
{
	return status == PLAN_INFEASIBLE ? MEMPLAN_INFEASIBLE : status == PLAN_STOPPED ? MEMPLAN_TIME : 0;
}

static int plan(const struct request *r, struct memplan *m)
{
	struct plan_result p;
	size_t a, b;
	int ret;

	if (plan_exact(m->buf, m->count, r->capacity, &r->limits, &p))
		return cli_fail(MICA_ERR_MEMORY, "out of memory");
	if (plan_check(m->buf, m->count, p.peak, &a, &b) != PLAN_OK)
		return cli_fail(MICA_ERR_INTERNAL, "the validator refuses the plan at '%s' and '%s'; please report it", m->id[a], m->id[b]);
	ret = r->out ? memplan_write_csv(r->out, m) : 0;
	if (!ret && r->svg)
		ret = memplan_write_svg(r->svg, m, &p, r->capacity);
	if (!ret)
		ret = print(r, m, &p);
	return ret ? ret : exit_code(p.status);
}

static int run(int argc, char **argv)
{
	struct request r = { .limits = { .seconds = 10, .threads = 1 } };
	struct memplan m;
	int ret = parse(argc, argv, &r);

	if (ret)
		return ret;
	if (r.help)
		return cli_usage(&cmd_memplan);
	ret = memplan_read(r.in, &m);
	if (!ret)
		ret = plan(&r, &m);
	memplan_free(&m);
	return ret;
}

const struct command cmd_memplan = {
	"memplan", "place buffers with known lifetimes in memory", run,
	"FILE.csv [OPTION]...\n\n"
	"FILE.csv has the columns id,lower,upper,size and optionally alignment; upper is exclusive.\n\n"
	"  --capacity=BYTES           find a plan that fits; without it: the lowest peak\n"
	"  --time-limit=S             wall time (default 10)\n"
	"  --nodes=N                  limit of the search that gives the same plan on every machine\n"
	"  --threads=N                threads that search with different orders (default 1)\n"
	"  --out=FILE.csv             the plan: the input's columns and offset\n"
	"  --svg=FILE                 a picture of it, time to the right, addresses up\n"
	"  --json                     peak, lower_bound, gap, status, seconds, nodes\n\n"
	"Exit code 0: placed (or minimal) and valid, 3: proved that nothing fits, 4: time ran out, the best plan is written,\n"
	"5: the input cannot be read or is refused, 6: an output cannot be written.\n",
};
