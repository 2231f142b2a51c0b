// SPDX-License-Identifier: MIT
/* mica bench: how long inferences take, and what null jobs cost. */
#include "run.h"
#include <stdlib.h>
#include <string.h>

#define MAX_SAMPLES (1u << 20)

struct bench_args {
	struct mica_device_options dev;
	struct cli_compile c;
	const char *model;
	double seconds;
	unsigned depth;
	bool null_jobs, json, compile_options;
};

struct bench {
	struct mica_device *dev;
	struct mica_device_info dev_info;
	struct mica_model *model;
	struct mica_model_info info;
	struct mica_session *session;
	struct mica_job_stats stats;
	double *sample;			/* milliseconds */
	size_t count;
	double seconds;
};

static const struct cli_opt own[] = {
	CLI_SECONDS("seconds", struct bench_args, seconds),
	CLI_FLAG("null-jobs", struct bench_args, null_jobs),
	CLI_UNSIGNED("depth", struct bench_args, depth, 1, 256),
	CLI_FLAG("json", struct bench_args, json),
	{ 0 }
};

static int parse(int argc, char **argv, struct bench_args *a)
{
	const struct cli_group groups[] = {
		CLI_GROUP(own, a), CLI_GROUP(cli_device_options, &a->dev), { cli_compile_options, &a->c, &a->compile_options }, { 0 },
	};
	int ret;

	cli_compile_init(&a->c);
	ret = cli_parse(&cmd_bench, argc, argv, groups);
	if (ret)
		return ret;
	if (argc - optind != !a->null_jobs)
		return cli_fail(MICA_ERR_USAGE, a->null_jobs ? "--null-jobs takes no model" : "one MODEL.onnx or MODEL.mica is needed");
	a->model = argv[optind];
	if (a->depth && !a->null_jobs)
		return cli_fail(MICA_ERR_USAGE, "--depth goes with --null-jobs");
	if (a->model && !path_ends(a->model, ".onnx") && a->compile_options)
		return cli_fail(MICA_ERR_USAGE, "%s is compiled already: --format and its like are for MODEL.onnx", a->model);
	return 0;
}

/* ---- models ---- */

/* Compiles into a temporary file; without --calib with made-up data, which is as fast and not as accurate. */
static int compile_temp(struct bench_args *a, char **path)
{
	struct mica_err err = { 0 };
	struct calib *cal = NULL;
	int ret = temp_create(".mica", path);

	if (!ret)
		ret = a->c.calib_count ? calib_open(&a->c, a->model, NULL, &cal) : calib_synthetic(a->model, &a->c, &cal);
	if (ret)
		return ret;
	a->c.o.calib = (struct mica_calib){ calib_count(cal), calib_load, cal };
	a->c.o.progress = cli_compile_progress;
	if (mica_compile(a->model, *path, &a->c.o, &err))
		ret = cli_compiler(&err);
	cli_progress_end();
	calib_close(cal);
	return ret;
}

static int open_model(struct bench *b, struct bench_args *a)
{
	char *temp = NULL;
	const char *path = a->model;
	int ret = 0;

	if (path_ends(path, ".onnx")) {
		ret = compile_temp(a, &temp);
		path = temp;
	}
	if (!ret) {
		ret = mica_model_load(b->dev, path, &b->model);
		if (!ret)
			ret = mica_session_create(b->model, &b->session);
		ret = ret ? cli_sdk(ret) : 0;
	}
	temp_remove(temp);
	return ret;
}

/* The same values in every run. */
static int fill_inputs(struct bench *b)
{
	uint32_t x = 1;

	for (unsigned i = 0; i < mica_model_input_count(b->model); i++) {
		const struct mica_tensor_info *t = mica_model_input(b->model, i);
		float *v = malloc(t->elements * sizeof(*v));
		int ret;

		if (!v)
			return cli_fail(MICA_ERR_MEMORY, "out of memory for input '%s'", t->name);
		for (size_t k = 0; k < t->elements; k++) {
			x = x * 1664525u + 1013904223u;
			v[k] = (float)(x >> 8) / (1 << 23) - 1;
		}
		ret = mica_session_set_input_f32(b->session, i, v, t->elements);
		free(v);
		if (ret)
			return cli_sdk(ret);
	}
	return 0;
}

static int measure(struct bench *b, double seconds)
{
	double start, t, after;
	int ret = 0;

	for (int i = 0; i < 2 && !ret; i++)	/* warm up */
		ret = mica_session_run(b->session, -1);
	start = t = cli_now();
	while (!ret && b->count < MAX_SAMPLES && (t - start < seconds || b->count < 3)) {
		ret = mica_session_run(b->session, -1);
		after = cli_now();
		b->sample[b->count++] = (after - t) * 1e3;
		t = after;
		if (!(b->count % 64))
			cli_progress("inferences", b->count, 0);
	}
	b->seconds = t - start;
	cli_progress_end();
	if (!ret)
		ret = mica_session_stats(b->session, &b->stats);
	return ret ? cli_sdk(ret) : 0;
}

static int print_bench(struct bench *b, const struct bench_args *a)
{
	struct latency l = cli_latency(b->sample, b->count);
	double per_s = b->count / b->seconds, gmac = per_s * b->info.macs / 1e9;
	bool cpu = b->dev_info.backend == MICA_BACKEND_CPU;
	uint64_t dram = b->stats.dram_read_bytes + b->stats.dram_write_bytes;
	json_object *o;

	if (!a->json) {
		printf("%s (%s) on %s: %.3f ms min, %.3f median, %.3f p99; %.1f inferences/s, %.2f GMAC/s\n", b->info.name, b->info.format,
		       b->dev_info.name, l.min, l.median, l.p99, per_s, gmac);
		printf("%llu %sdevice cycles on %u core%s, MAC utilization %.1f %%, DRAM traffic %.2f MB\n", (unsigned long long)b->stats.cycles,
		       cpu ? "estimated " : "", b->info.cores, b->info.cores == 1 ? "" : "s",
		       100 * mac_utilization(&b->stats, &b->dev_info), dram / 1e6);
		if (b->info.host_steps)
			printf("%u host steps in %u phases took %.3f ms of the last inference\n", b->info.host_steps, b->info.phases,
			       mica_session_host_ns(b->session) / 1e6);
		return 0;
	}
	o = json_object_new_object();
	json_object_object_add(o, "model", json_object_new_string(b->info.name));
	json_object_object_add(o, "format", json_object_new_string(b->info.format));
	json_object_object_add(o, "backend", json_object_new_string(cpu ? "cpu" : "device"));
	json_object_object_add(o, "device", json_object_new_string(b->dev_info.name));
	json_object_object_add(o, "threads", json_object_new_int(b->dev_info.threads));
	json_object_object_add(o, "latency_ms", json_latency(l));
	json_object_object_add(o, "inferences", json_object_new_int64(b->count));
	json_object_object_add(o, "inferences_per_s", json_num(per_s));
	json_object_object_add(o, "macs", json_object_new_int64(b->info.macs));
	json_object_object_add(o, "gmac_per_s", json_num(gmac));
	json_object_object_add(o, "cycles", json_object_new_int64(b->stats.cycles));
	json_object_object_add(o, "cycles_estimated", json_object_new_boolean(cpu));
	json_object_object_add(o, "mac_utilization", json_num(mac_utilization(&b->stats, &b->dev_info)));
	json_object_object_add(o, "dram_bytes", json_object_new_int64(dram));
	json_object_object_add(o, "host_steps", json_object_new_int(b->info.host_steps));
	json_object_object_add(o, "host_ms", json_num(mica_session_host_ns(b->session) / 1e6));
	return json_print(o);
}

static int bench_model(struct bench *b, struct bench_args *a)
{
	int ret = open_model(b, a);

	if (!ret)
		ret = fill_inputs(b);
	if (ret)
		return ret;
	mica_model_get_info(b->model, &b->info);
	ret = measure(b, a->seconds);
	return ret ? ret : print_bench(b, a);
}

/* ---- null jobs ---- */

static int bench_null(struct bench *b, const struct bench_args *a)
{
	struct mica_null_result res;
	struct latency l;
	json_object *o;
	unsigned depth = a->depth ? a->depth : 1;
	const char *submit = b->dev_info.submit == MICA_SUBMIT_URING ? "uring" : "ioctl";
	int ret = mica_device_null_jobs(b->dev, depth, a->seconds, &res, b->sample, MAX_SAMPLES, &b->count);

	if (ret)
		return cli_sdk(ret);
	l = cli_latency(b->sample, b->count);
	if (!a->json) {
		printf("%s, %s, depth %u: %.0f jobs/s; latency %.1f us min, %.1f median, %.1f p99\n", b->dev_info.name, submit, depth,
		       res.jobs / res.seconds, l.min, l.median, l.p99);
		return 0;
	}
	o = json_object_new_object();
	json_object_object_add(o, "device", json_object_new_string(b->dev_info.name));
	json_object_object_add(o, "submit", json_object_new_string(submit));
	json_object_object_add(o, "depth", json_object_new_int(depth));
	json_object_object_add(o, "jobs", json_object_new_int64(res.jobs));
	json_object_object_add(o, "jobs_per_s", json_num(res.jobs / res.seconds));
	json_object_object_add(o, "latency_us", json_latency(l));
	return json_print(o);
}

static int run(int argc, char **argv)
{
	struct bench_args a = { .dev = MICA_DEVICE_OPTIONS_INIT, .seconds = 3 };
	struct bench b = { 0 };
	int ret = parse(argc, argv, &a);

	if (ret)
		return ret == CLI_HELP ? 0 : ret;
	if (a.null_jobs && a.dev.backend == MICA_BACKEND_AUTO)
		a.dev.backend = MICA_BACKEND_DEVICE;
	b.sample = malloc(MAX_SAMPLES * sizeof(*b.sample));
	if (!b.sample)
		return cli_fail(MICA_ERR_MEMORY, "out of memory");
	ret = mica_device_open(&a.dev, &b.dev);
	if (ret) {
		ret = cli_sdk(ret);
	} else {
		mica_device_get_info(b.dev, &b.dev_info);
		ret = a.null_jobs ? bench_null(&b, &a) : bench_model(&b, &a);
	}
	mica_session_destroy(b.session);
	mica_model_close(b.model);
	mica_device_close(b.dev);
	free(b.sample);
	return ret;
}

const struct command cmd_bench = {
	"bench", "measure latency and throughput", run,
	"MODEL.onnx|MODEL.mica [OPTION]...\n"
	"       mica bench --null-jobs [--submit=uring|ioctl] [--depth=N] [--seconds=S] [--json]\n\n"
	"  --seconds=S                how long to measure (default 3)\n"
	"  --null-jobs                empty jobs on the device, --depth=N (1..256, default 1) of them in flight\n"
	"  --json                     latency_ms, inferences_per_s, gmac_per_s, ...; jobs_per_s, latency_us\n"
	CLI_DEVICE_HELP
	"For a MODEL.onnx (ranges come from made-up data unless --calib is given):\n"
	CLI_COMPILE_HELP,
};
