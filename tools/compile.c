// SPDX-License-Identifier: MIT
/* mica compile: ONNX to .mica; mica calibrate: only the first half of it, the ranges as a table. */
#include "cli.h"
#include <stdlib.h>

struct compile_args {
	struct cli_compile c;
	struct cli_sidecar sidecar;
	const char *onnx, *out;
	bool json, calibrate;
};

static int take_report(const struct cli_opt *o, const char *arg, void *to)
{
	if (!path_ends(arg, ".json") && !path_ends(arg, ".html"))
		return cli_fail(MICA_ERR_USAGE, "--%s=%s: a name that ends in .html or .json is expected", o->name, arg);
	*(const char **)to = arg;
	return 0;
}

static const struct cli_opt own[] = {
	CLI_OUTPUT("output", struct compile_args, out),
	CLI_CALL("report", struct compile_args, c.o.report, take_report),
	CLI_TEXT("dump-after", struct compile_args, c.o.dump_after),
	CLI_FLAG("verify", struct compile_args, c.o.verify),
	CLI_FLAG("json", struct compile_args, json),
	{ 0 }
};

static int parse(int argc, char **argv, struct compile_args *a)
{
	const struct cli_group groups[] = {
		CLI_GROUP(own, a), CLI_GROUP(cli_compile_options, &a->c), CLI_GROUP(cli_compile_threads, &a->c),
		CLI_GROUP(cli_sidecar_options, &a->sidecar), { 0 },
	};
	int ret;

	cli_compile_init(&a->c);
	ret = cli_parse_one(a->calibrate ? &cmd_calibrate : &cmd_compile, argc, argv, groups, "MODEL.onnx", &a->onnx);
	if (ret)
		return ret;
	if (!a->out)
		return cli_fail(MICA_ERR_USAGE, "-o %s is needed", a->calibrate ? "TABLE" : "OUT.mica");
	if (path_same(a->onnx, a->out))
		return cli_fail(MICA_ERR_USAGE, "-o %s: is the model itself, which would be lost; give another name", a->out);
	return 0;
}

static int summary(const struct compile_args *a, double seconds)
{
	struct mica_model_info i;
	struct mica_model *m;
	json_object *o;
	int ret = mica_model_load(NULL, a->out, &m);

	if (ret)
		return cli_fail(MICA_ERR_INTERNAL, "the compiled model is refused: %s", mica_error_text());
	mica_model_get_info(m, &i);
	if (!a->json) {
		printf("%s: %s (%s), %u core%s, %.1f MMAC, weights %.2f MB, arena %.2f MB, commands %.2f MB, %.1f s\n", a->out, i.format,
		       i.method, i.cores, i.cores == 1 ? "" : "s", i.macs / 1e6, i.weights_size / 1e6, i.arena_size / 1e6,
		       i.stream_size / 1e6, seconds);
		if (i.host_steps)
			printf("%u of the %u layers run on the host, in %u phases, and move %.2f MB; 'mica dump' lists them\n", i.host_steps,
			       i.layers, i.phases, i.host_bytes / 1e6);
		mica_model_close(m);
		return 0;
	}
	o = json_object_new_object();
	json_object_object_add(o, "output", json_object_new_string(a->out));
	json_object_object_add(o, "format", json_object_new_string(i.format));
	json_object_object_add(o, "method", json_object_new_string(i.method));
	json_object_object_add(o, "cores", json_object_new_int(i.cores));
	json_object_object_add(o, "macs", json_object_new_int64(i.macs));
	json_object_object_add(o, "weights_bytes", json_object_new_int64(i.weights_size));
	json_object_object_add(o, "arena_bytes", json_object_new_int64(i.arena_size));
	json_object_object_add(o, "commands_bytes", json_object_new_int64(i.stream_size));
	json_object_object_add(o, "host_steps", json_object_new_int(i.host_steps));
	json_object_object_add(o, "host_bytes", json_object_new_int64(i.host_bytes));
	json_object_object_add(o, "seconds", json_num(seconds));
	mica_model_close(m);
	return json_print(o);
}

static int compile(struct compile_args *a, const char *sidecar)
{
	struct mica_compile_options *o = &a->c.o;
	struct mica_err err = { 0 };
	struct calib *cal = NULL;
	double start = cli_now();
	int ret = 0;

	if (a->c.calib_count) {
		ret = calib_open(&a->c, a->onnx, sidecar, &cal);
		if (ret)
			return ret;
		o->calib = (struct mica_calib){ calib_count(cal), calib_load, cal };
	}
	o->sidecar = sidecar;
	o->progress = cli_compile_progress;
	o->calib_out = a->calibrate ? a->out : NULL;
	if (a->calibrate ? mica_calibrate(a->onnx, o, &err) : mica_compile(a->onnx, a->out, o, &err))
		ret = cli_compiler(&err);
	calib_close(cal);
	cli_progress_end();
	return ret || a->calibrate ? ret : summary(a, cli_now() - start);
}

static int run_either(int argc, char **argv, bool calibrate)
{
	struct compile_args a = { .calibrate = calibrate };
	char *sidecar = NULL;
	int ret = parse(argc, argv, &a);

	if (ret)
		return ret == CLI_HELP ? 0 : ret;
	ret = cli_sidecar_beside(&a.sidecar, a.onnx, &sidecar);
	if (!ret)
		ret = compile(&a, sidecar);
	free(sidecar);
	return ret;
}

static int run(int argc, char **argv)
{
	return run_either(argc, argv, false);
}

static int run_calibrate(int argc, char **argv)
{
	return run_either(argc, argv, true);
}

const struct command cmd_calibrate = {
	"calibrate", "find the ranges of a model's values from samples", run_calibrate,
	"MODEL.onnx --calib=DIR_OR_FILES -o TABLE [OPTION]...\n\n"
	"TABLE is a text, a line per tensor, that compile --calib-table=TABLE takes (docs/quantization.md).\n"
	CLI_COMPILE_HELP
	CLI_SIDECAR_HELP
	"                             default: MODEL.sidecar beside MODEL.onnx, if it is there\n"
	"  --threads=N                CPU threads (default 1)\n",
};

const struct command cmd_compile = {
	"compile", "compile an ONNX model for the device", run,
	"MODEL.onnx -o OUT.mica [OPTION]...\n\n"
	CLI_COMPILE_HELP
	CLI_SIDECAR_HELP
	"                             default: MODEL.sidecar beside MODEL.onnx, if it is there\n"
	"  --threads=N                CPU threads for calibration (default 1)\n"
	"  --report=FILE.html|.json   what was done to each layer\n"
	"  --dump-after=PASS          print the IR after that pass (or after 'all') to stderr\n"
	"  --verify                   check the IR after every pass\n"
	"  --json                     print the summary as JSON\n",
};
