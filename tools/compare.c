// SPDX-License-Identifier: MIT
/* mica compare: layer by layer, what quantization does to a model. */
#include "compare_show.h"
#include "output.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct compare_args {
	struct cli_compile c, input;	/* input: only its samples */
	struct cli_sidecar sidecar;
	const char *onnx, *html;
	struct cli_maybe json;
	unsigned samples, sort, top;
};

static const char *const sorts[] = { "alone", "cos", "snr", "error", "saturation", "order" };

static const char *const sort_words[] = {
	"worst first by the SNR of the layer alone", "worst first by cosine", "worst first by SNR in the network",
	"worst first by error relative to the range", "worst first by saturation", "in the order of execution",
};

/* The same values as --calib, into another list. */
static int take_input(const struct cli_opt *o, const char *arg, void *to)
{
	for (const struct cli_opt *c = cli_compile_options; c->name; c++)
		if (!strcmp(c->name, "calib"))
			return c->take(o, arg, (char *)to + c->at);
	return MICA_ERR_INTERNAL;
}

static const struct cli_opt own[] = {
	CLI_CALL("input", struct compare_args, input, take_input),
	CLI_UNSIGNED("samples", struct compare_args, samples, 1, 1000000),
	CLI_CHOICE("sort", struct compare_args, sort, sorts),
	CLI_UNSIGNED("top", struct compare_args, top, 0, 1000000),
	CLI_TEXT("html", struct compare_args, html),
	CLI_MAYBE("json", struct compare_args, json),
	{ 0 }
};

static int parse(int argc, char **argv, struct compare_args *a)
{
	const struct cli_group groups[] = {
		CLI_GROUP(own, a), CLI_GROUP(cli_compile_options, &a->c), CLI_GROUP(cli_compile_threads, &a->c),
		CLI_GROUP(cli_sidecar_options, &a->sidecar), { 0 },
	};
	int ret;

	cli_compile_init(&a->c);
	cli_compile_init(&a->input);
	a->top = 20;
	ret = cli_parse_one(&cmd_compare, argc, argv, groups, "MODEL.onnx", &a->onnx);
	if (ret)
		return ret;
	if (!a->c.calib_count && !a->input.calib_count)
		return cli_fail(MICA_ERR_USAGE, "there is nothing to compare on: --input=DIR_OR_FILES, or --calib=DIR_OR_FILES for both calibration and comparison");
	return 0;
}

/* ---- files ---- */

static int write_html(const char *path, const struct mica_comparison *c, const struct compare_about *about)
{
	struct sdk_text t;

	if (sdk_text_open(&t))
		return cli_fail(MICA_ERR_MEMORY, "out of memory for %s", path);
	compare_html(t.f, c, about);
	return sdk_text_save(&t, path) ? cli_fail(MICA_ERR_FILE, "%s", mica_error_text()) : 0;
}

static int write_json(const char *path, json_object *o)
{
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
	struct sdk_text t;
	int ret = 0;

	if (!text || sdk_text_open(&t)) {
		ret = cli_fail(MICA_ERR_MEMORY, "out of memory for %s", path);
	} else {
		fprintf(t.f, "%s\n", text);
		ret = sdk_text_save(&t, path) ? cli_fail(MICA_ERR_FILE, "%s", mica_error_text()) : 0;
	}
	json_object_put(o);
	return ret;
}

/* Before hours of work: a name that cannot be written is told at once. */
static int check_target(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;
	struct stat st;
	char *dir;
	int ret = 0;

	if (!path)
		return 0;
	if (!*path)
		return cli_fail(MICA_ERR_USAGE, "--html=: a file's name is expected");
	if (!stat(path, &st))
		return S_ISDIR(st.st_mode) ? cli_fail(MICA_ERR_FILE, "%s: is a folder; give a file's name", path) : 0;
	dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	if (!dir)
		return cli_fail(MICA_ERR_MEMORY, "out of memory for %s", path);
	if (access(dir, W_OK))
		ret = cli_fail(MICA_ERR_FILE, "%s: cannot be written: %s", path, strerror(errno));
	free(dir);
	return ret;
}

/* ---- the work ---- */

static void options_text(const struct mica_compile_options *o, char *text, size_t size)
{
	static const char *const methods[] = { "max", "kl", "percentile", "mse", "none" };
	static const char *const repairs[] = { "cle", "wmse", "adaround", "bias", "depthwise" };
	size_t n = (size_t)snprintf(text, size, "%s, thresholds by %s", o->format == MICA_I8 ? "int8" : mica_dtype_name(o->format),
				    o->calib_table ? "table" : o->calib.count ? methods[o->method] : "format alone");

	if (!o->symmetric)
		n += (size_t)snprintf(text + n, size - n, ", zero points");
	if (o->per_tensor)
		n += (size_t)snprintf(text + n, size - n, ", weights per tensor");
	if (o->pow2)
		n += (size_t)snprintf(text + n, size - n, ", scales of powers of two");
	if (o->qtable)
		n += (size_t)snprintf(text + n, size - n, ", qtable %.200s", path_base(o->qtable));
	for (unsigned i = 0; i < 5; i++)
		if (o->repair & 1u << i)
			n += (size_t)snprintf(text + n, size - n, "%s%s", o->repair & ((1u << i) - 1) ? " " : ", repairs ", repairs[i]);
}

static int report(const struct compare_args *a, struct mica_comparison *c, double seconds)
{
	char words[512];
	struct compare_about about = { path_base(a->onnx), words, sorts[a->sort], sort_words[a->sort], seconds };
	int ret = 0;

	options_text(&a->c.o, words, sizeof(words));
	mica_comparison_sort(c, a->sort);
	for (unsigned i = 0; i < c->warnings && i < 8; i++)
		cli_note("mica: WARNING: %s", c->warning[i]);
	if (c->warnings > 8)
		cli_note("mica: and %u more warnings; --json and --html have them all", c->warnings - 8);
	if (a->html)
		ret = write_html(a->html, c, &about);
	if (!ret && a->json.file)
		ret = write_json(a->json.file, compare_json(c, &about));
	if (ret)
		return ret;
	if (a->json.given && !a->json.file)
		return json_print(compare_json(c, &about));
	compare_text(c, a->top);
	return 0;
}

static int compare(struct compare_args *a, const struct calib *cal, const struct calib *in)
{
	struct mica_calib samples = { calib_count(in), calib_load, (void *)in };
	struct mica_comparison *c = NULL;
	struct mica_err err = { 0 };
	double start = cli_now();
	int ret = 0;

	if (a->samples && a->samples < samples.count)
		samples.count = a->samples;
	if (cal)
		a->c.o.calib = (struct mica_calib){ calib_count(cal), calib_load, (void *)cal };
	a->c.o.progress = cli_compile_progress;
	if (mica_compare(a->onnx, &a->c.o, &samples, &c, &err))
		ret = cli_compiler(&err);
	cli_progress_end();
	if (!ret)
		ret = report(a, c, cli_now() - start);
	mica_comparison_free(c);
	return ret;
}

/* Samples of --input have the shapes that the model's options say. */
static void same_model(struct compare_args *a)
{
	unsigned count = a->input.calib_count;
	const char *item[64];

	memcpy(item, a->input.calib, sizeof(item));
	a->input = a->c;
	a->input.o.shapes = a->c.shapes;
	a->input.o.consts = a->c.consts;
	memcpy(a->input.calib, item, sizeof(item));
	a->input.calib_count = count;
}

static int run(int argc, char **argv)
{
	struct compare_args a = { 0 };
	struct calib *cal = NULL, *in = NULL;
	char *sidecar = NULL;
	int ret = parse(argc, argv, &a);

	if (ret)
		return ret == CLI_HELP ? 0 : ret;
	ret = check_target(a.html);
	if (!ret)
		ret = check_target(a.json.file);
	if (!ret)
		ret = cli_sidecar_beside(&a.sidecar, a.onnx, &sidecar);
	if (!ret && a.c.calib_count)
		ret = calib_open(&a.c, a.onnx, sidecar, &cal);
	same_model(&a);
	if (!ret && a.input.calib_count)
		ret = calib_open(&a.input, a.onnx, sidecar, &in);
	if (!ret)
		ret = compare(&a, cal, in ? in : cal);
	calib_close(cal);
	calib_close(in);
	free(sidecar);
	return ret;
}

const struct command cmd_compare = {
	"compare", "what quantization does to each layer of a model", run,
	"MODEL.onnx --calib=DIR_OR_FILES [--input=DIR_OR_FILES] [OPTION]...\n\n"
	"Quantizes the model as compile does and compares every layer with f32 on samples (docs/quantization.md).\n"
	"  --input=DIR_OR_FILES       samples to compare on, as --calib takes them (default: those of --calib)\n"
	"  --samples=N                only the first N of them\n"
	"  --sort=alone|cos|snr|error|saturation|order   worst first by: SNR of the layer alone (default), cosine, SNR, error\n"
	"                             relative to the range, part that saturates; or as executed\n"
	"  --top=N                    lines to print (default 20, 0: all)\n"
	"  --html=FILE                a page with histograms before and after, for every layer\n"
	"  --json[=FILE]              everything as JSON, to FILE or instead of the table\n"
	CLI_COMPILE_HELP
	CLI_SIDECAR_HELP
	"                             default: MODEL.sidecar beside MODEL.onnx, if it is there\n"
	"  --threads=N                CPU threads (default 1)\n",
};
