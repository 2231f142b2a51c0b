// SPDX-License-Identifier: MIT
/* mica compile: ONNX to .mica; mica calibrate: only the first half of it, the ranges as a table. */
#include "cli.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPT_REPORT = OPT_LAST, OPT_DUMP_AFTER, OPT_VERIFY };

struct compile_args {
	struct cli_compile c;
	struct cli_sidecar sidecar;
	const char *onnx, *out;
	bool json, calibrate;
};

static const struct option options[] = {
	CLI_COMPILE_OPTIONS, CLI_SIDECAR_OPTIONS,
	{ "report", required_argument, NULL, OPT_REPORT }, { "dump-after", required_argument, NULL, OPT_DUMP_AFTER },
	{ "verify", no_argument, NULL, OPT_VERIFY }, { "threads", required_argument, NULL, OPT_THREADS },
	{ "output", required_argument, NULL, 'o' }, { "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, 'h' }, { 0 },
};

/* Which long option stands at argv[optind - 1] or before its value: getopt's index is lost, the name is needed. */
static const char *option_name(char **argv)
{
	static char name[32];
	const char *at = argv[optind - 1];

	if (strncmp(at, "--", 2))
		at = argv[optind - 2];
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(at + 2, "="), at + 2);
	return name;
}

static int take_option(int c, char **argv, struct compile_args *a)
{
	int ret;

	switch (c) {
	case 'o':
		a->out = optarg;
		return 0;
	case OPT_JSON:
		a->json = true;
		return 0;
	case OPT_REPORT:
		if (!path_ends(optarg, ".json") && !path_ends(optarg, ".html"))
			return cli_fail(MICA_ERR_USAGE, "--report=%s: a name that ends in .html or .json is expected", optarg);
		a->c.o.report = optarg;
		return 0;
	case OPT_DUMP_AFTER:
		a->c.o.dump_after = optarg;
		return 0;
	case OPT_VERIFY:
		a->c.o.verify = true;
		return 0;
	case OPT_THREADS:
		return cli_unsigned("threads", optarg, 1, MICA_MAX_THREADS, &a->c.o.threads);
	default:
		ret = cli_sidecar_option(c, c == OPT_PREPROCESS ? option_name(argv) : "", optarg, &a->sidecar);
		return ret == -1 ? cli_compile_option(c, optarg, &a->c) : ret;
	}
}

static int parse(int argc, char **argv, struct compile_args *a)
{
	int c, ret;

	cli_compile_init(&a->c);
	while ((c = cli_getopt(argc, argv, options)) != -1) {
		if (c == 'h' || c == '?')
			return c == 'h' ? -1 : MICA_ERR_USAGE;
		ret = take_option(c, argv, a);
		if (ret)
			return ret;
	}
	if (argc - optind != 1)
		return cli_fail(MICA_ERR_USAGE, optind == argc ? "a MODEL.onnx is needed" : "one MODEL.onnx is expected, found also '%s'",
				argv[argc - 1]);
	a->onnx = argv[optind];
	if (!a->out)
		return cli_fail(MICA_ERR_USAGE, "-o %s is needed", a->calibrate ? "TABLE" : "OUT.mica");
	if (path_same(a->onnx, a->out))
		return cli_fail(MICA_ERR_USAGE, "-o %s: is the model itself, which would be lost; give another name", a->out);
	return 0;
}

/* --sidecar, or MODEL.sidecar beside MODEL.onnx, with the options' lines; checked here so that mistakes show early. */
static int make_sidecar(const struct compile_args *a, char **text)
{
	char *beside = NULL, *base = NULL;
	struct mica_sidecar *sc;
	int n = strlen(a->onnx) - (path_ends(a->onnx, ".onnx") ? 5 : 0), ret = 0;

	*text = NULL;
	if (asprintf(&beside, "%.*s.sidecar", n, a->onnx) < 0)
		return cli_fail(MICA_ERR_MEMORY, "out of memory");
	if (!a->sidecar.file && !access(beside, F_OK))
		ret = cli_read_text(beside, &base);
	if (!ret)
		ret = cli_sidecar_text(&a->sidecar, base, text);
	if (!ret && *text) {
		ret = mica_sidecar_parse(*text, &sc);
		ret = ret ? cli_fail(MICA_ERR_USAGE, "%s: %s", a->sidecar.file ? a->sidecar.file : beside, mica_error_text()) : 0;
		mica_sidecar_free(sc);
	}
	free(beside);
	free(base);
	return ret;
}

static void show_progress(void *opaque, const char *stage, unsigned done, unsigned total)
{
	(void)opaque;
	cli_progress(stage, done, total);
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
	o->progress = show_progress;
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
		return ret == -1 ? cli_usage(calibrate ? &cmd_calibrate : &cmd_compile) : ret;
	ret = make_sidecar(&a, &sidecar);
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
