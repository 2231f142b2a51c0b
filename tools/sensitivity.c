// SPDX-License-Identifier: MIT
/* mica sensitivity: which operators must stay in float, and which calibration method suits which tensor. */
#include "cli.h"
#include "sensitivity.h"
#include "sensitivity_metric.h"
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define INTERRUPTED 130		/* as a shell says for SIGINT */

struct args {
	struct cli_compile c;
	struct cli_sidecar sidecar;
	struct mica_sensitivity_options s;
	const char *onnx, *command;
	char *files[2];			/* names made from -o */
	unsigned samples;
	bool json;
};

static atomic_bool stop;

/* ---- options ---- */

/* Names separated by commas, each at most once, in their order. */
static int choose_list(const char *option, const char *arg, const char *const *names, unsigned count, unsigned *list, unsigned *n)
{
	char *copy = strdup(arg), *rest = copy, *item;
	int ret = copy ? 0 : cli_fail(MICA_ERR_MEMORY, "out of memory");

	*n = 0;
	while (!ret && (item = strsep(&rest, ","))) {
		unsigned which = 0;

		ret = cli_choose(option, item, names, count, &which);
		for (unsigned i = 0; i < *n && !ret; i++)
			if (list[i] == which)
				ret = cli_fail(MICA_ERR_USAGE, "--%s=%s: '%s' stands there twice", option, arg, item);
		if (!ret)
			list[(*n)++] = which;
	}
	free(copy);
	return ret;
}

static int take_formats(const struct cli_opt *o, const char *arg, void *to)
{
	struct mica_sensitivity_options *s = &((struct args *)to)->s;
	unsigned list[SENS_MOST];
	int ret = choose_list(o->name, arg, cli_format_names, 4, list, &s->formats);

	for (unsigned i = 0; i < s->formats && !ret; i++)
		s->format[i] = cli_formats[list[i]];
	return ret;
}

static int take_methods(const struct cli_opt *o, const char *arg, void *to)
{
	static const char *const names[] = { "max", "kl", "percentile", "mse", "none" };
	struct mica_sensitivity_options *s = &((struct args *)to)->s;
	unsigned list[SENS_MOST];
	int ret = choose_list(o->name, arg, names, 5, list, &s->methods);

	for (unsigned i = 0; i < s->methods && !ret; i++)
		s->method[i] = (enum mica_method)list[i];
	return ret;
}

static int take_keep(const struct cli_opt *o, const char *arg, void *to)
{
	unsigned which = 0;
	int ret = cli_choose(o->name, arg, &cli_format_names[3], 2, &which);

	((struct args *)to)->s.keep = cli_formats[3 + which];
	return ret;
}

static int take_most(const struct cli_opt *o, const char *arg, void *to)
{
	struct mica_sensitivity_options *s = &((struct args *)to)->s;

	s->limited = true;
	return cli_unsigned(o->name, arg, 0, 1000000, &s->max_float);
}

static int take_target(const struct cli_opt *o, const char *arg, void *to)
{
	double *target = &((struct args *)to)->s.target;
	int ret = cli_number(o->name, arg, 0, 1, target);

	return ret || *target > 0 ? ret : cli_fail(MICA_ERR_USAGE, "--%s=%s: a cosine above 0 is expected", o->name, arg);
}

/* cos, snr, or a command. */
static int take_metric(const struct cli_opt *o, const char *arg, void *to)
{
	struct args *a = to;

	a->s.metric = !strcmp(arg, "cos") ? SENS_COS : !strcmp(arg, "snr") ? SENS_SNR : SENS_COMMAND;
	a->command = a->s.metric == SENS_COMMAND ? arg : NULL;
	return *arg ? 0 : cli_fail(MICA_ERR_USAGE, "--%s: allowed are cos, snr and a command", o->name);
}

static int take_over(const struct cli_opt *o, const char *arg, void *to)
{
	static const char *const names[] = { "mean", "worst" };
	unsigned which = 0;
	int ret = cli_choose(o->name, arg, names, 2, &which);

	((struct args *)to)->s.worst = which;
	return ret;
}

/* Options of compile that the search answers itself. */
static int refuse(const struct cli_opt *o, const char *arg, void *to)
{
	(void)to;
	return cli_fail(MICA_ERR_USAGE, "--%s=%s: is what the search finds out; see --formats, --methods and --table", o->name, arg);
}

static const char *const searches[] = { "full", "fast", "naive" };
static const char *const orders[] = { "loss", "cycles" };

#define OWN(name, take) { name, take, 0, 0, 0, NULL, 0 }

static const struct cli_opt own[] = {
	CLI_OUTPUT("output", struct args, s.qtable),
	OWN("formats", take_formats), OWN("methods", take_methods), OWN("keep", take_keep), OWN("max-float-layers", take_most),
	OWN("target-cos", take_target), OWN("metric", take_metric), OWN("over", take_over),
	OWN("format", refuse), OWN("method", refuse), OWN("calib-table", refuse), OWN("qtable", refuse),
	CLI_CHOICE("search", struct args, s.search, searches),
	CLI_CHOICE("order", struct args, s.order, orders),
	CLI_FLAG("resume", struct args, s.resume),
	CLI_UNSIGNED("samples", struct args, samples, 1, 1000000),
	CLI_TEXT("table", struct args, s.table),
	CLI_TEXT("log", struct args, s.log),
	CLI_TEXT("ranking", struct args, s.ranking),
	CLI_FLAG("json", struct args, json),
	{ 0 }
};

/* QTABLE.table and QTABLE.log unless they have names; no output may be another one, or the model. */
static int name_files(struct args *a)
{
	static const char *const end[] = { "table", "log" };
	const char **name[] = { &a->s.table, &a->s.log };
	const char *path[5];

	for (unsigned i = 0; i < 2; i++) {
		if (*name[i])
			continue;
		if (asprintf(&a->files[i], "%s.%s", a->s.qtable, end[i]) < 0)
			return cli_fail(MICA_ERR_MEMORY, "out of memory");
		*name[i] = a->files[i];
	}
	memcpy(path, (const char *[]){ a->onnx, a->s.qtable, a->s.table, a->s.log, a->s.ranking }, sizeof(path));
	for (unsigned i = 0; i < 5; i++)
		for (unsigned k = 0; k < i; k++)
			if (path[i] && path[k] && (!strcmp(path[i], path[k]) || path_same(path[i], path[k])))
				return cli_fail(MICA_ERR_USAGE, "%s: is named for two files, or is the model; give another name", path[i]);
	return 0;
}

static int parse(int argc, char **argv, struct args *a)
{
	const struct cli_group groups[] = {
		CLI_GROUP(own, a), CLI_GROUP(cli_compile_options, &a->c), CLI_GROUP(cli_compile_threads, &a->c),
		CLI_GROUP(cli_sidecar_options, &a->sidecar), { 0 },
	};
	int ret;

	cli_compile_init(&a->c);
	mica_sensitivity_defaults(&a->s);
	ret = cli_parse_one(&cmd_sensitivity, argc, argv, groups, "MODEL.onnx", &a->onnx);
	if (ret)
		return ret;
	if (!a->s.qtable)
		return cli_fail(MICA_ERR_USAGE, "-o QTABLE is needed");
	if (!a->c.calib_count)
		return cli_fail(MICA_ERR_USAGE, "--calib=DIR_OR_FILES is needed: losses are measured on samples");
	if (!a->s.limited && a->s.target <= 0)
		a->s.target = 0.99;
	if (a->c.o.repair & MICA_REPAIR_CENTER)
		cli_note("WARNING: the repair center takes no part in the search; compile with --repair=center takes the qtable, not the table of ranges");
	a->c.o.repair &= ~(unsigned)MICA_REPAIR_CENTER;
	return name_files(a);
}

/* ---- progress with the time left ---- */

static void show_progress(void *opaque, const char *stage, unsigned done, unsigned total)
{
	static char last[32];
	static double since;
	double now = cli_now(), left;
	char text[128];
	(void)opaque;

	if (strncmp(last, stage, strcspn(stage, ":")) || !*last) {
		snprintf(last, sizeof(last), "%.*s", (int)strcspn(stage, ":"), stage);
		since = now;
	}
	left = done && total ? (now - since) * (total - done) / done : 0;
	if (strncmp(stage, "search", 6)) {
		cli_progress(stage, done, total);
		return;
	}
	if (done && now - since > 1)
		snprintf(text, sizeof(text), "%s, about %.0f s left", stage, ceil(left));
	else
		snprintf(text, sizeof(text), "%s", stage);
	cli_progress(text, 0, 0);
}

/* ---- the work ---- */

static void on_interrupt(int sig)
{
	if (atomic_exchange(&stop, true)) {	/* the second time: at once */
		signal(sig, SIG_DFL);
		raise(sig);
	}
}

static void catch_interrupt(void)
{
	struct sigaction sa = { .sa_handler = on_interrupt, .sa_flags = SA_RESTART }, old;

	if (!sigaction(SIGINT, NULL, &old) && old.sa_handler != SIG_IGN)
		sigaction(SIGINT, &sa, NULL);
}

static int print_json(const struct args *a, const struct mica_sensitivity_result *r)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "operators", json_object_new_int64(r->operators));
	json_object_object_add(o, "candidates", json_object_new_int64(r->candidates));
	json_object_object_add(o, "computed", json_object_new_int64(r->computed));
	json_object_object_add(o, "dropped", json_object_new_int64(r->dropped));
	json_object_object_add(o, "resumed", json_object_new_int64(r->resumed));
	json_object_object_add(o, "samples", json_object_new_int64(r->samples));
	json_object_object_add(o, "kept", json_object_new_int64(r->kept));
	json_object_object_add(o, "cosine", json_num(r->cosine));
	json_object_object_add(o, "cosine_without", json_num(r->start_cosine));
	json_object_object_add(o, "reached", json_object_new_boolean(r->reached));
	json_object_object_add(o, "stopped", json_object_new_boolean(r->stopped));
	json_object_object_add(o, "prepare_seconds", json_num(r->prepare_seconds));
	json_object_object_add(o, "search_seconds", json_num(r->search_seconds));
	json_object_object_add(o, "f32_run_seconds", json_num(r->prefix_seconds));
	json_object_object_add(o, "search_cpu_seconds", json_num(r->search_cpu));
	json_object_object_add(o, "f32_run_cpu_seconds", json_num(r->prefix_cpu));
	json_object_object_add(o, "pick_seconds", json_num(r->pick_seconds));
	json_object_object_add(o, "qtable", json_object_new_string(a->s.qtable));
	json_object_object_add(o, "table", json_object_new_string(a->s.table));
	json_object_object_add(o, "log", json_object_new_string(a->s.log));
	return json_print(o);
}

static int report(const struct args *a, const struct mica_sensitivity_result *r)
{
	int ret = a->json ? print_json(a, r) : 0;

	cli_note("%s: %u of %u operators stay in float, output cosine %.6f (without: %.6f); %u candidates on %u samples: %u run (%u ended early), %u from the log, %.1f s",
		 a->s.qtable, r->kept, r->operators, r->cosine, r->start_cosine, r->candidates, r->samples, r->computed, r->dropped,
		 r->resumed, r->search_seconds);
	if (r->stopped) {
		cli_note("interrupted: %s, %s and %s hold what was found; --resume goes on", a->s.qtable, a->s.table, a->s.log);
		return INTERRUPTED;
	}
	if (a->s.target && !r->reached)
		cli_note("WARNING: the target of %g is not reached: allow more operators in float, another --format, or --repair", a->s.target);
	return ret;
}

static int search(struct args *a, const char *sidecar)
{
	struct mica_compile_options *o = &a->c.o;
	struct mica_sensitivity_result r;
	struct sensitivity_metric *metric = NULL;
	struct mica_err err = { 0 };
	struct calib *cal = NULL;
	int ret = calib_open(&a->c, a->onnx, sidecar, &cal);

	if (ret)
		return ret;
	o->calib = (struct mica_calib){ calib_count(cal), calib_load, cal };
	if (a->samples && a->samples < o->calib.count)
		o->calib.count = a->samples;
	o->progress = show_progress;
	a->s.stop = &stop;
	if (a->command)
		ret = sensitivity_metric_open(a->command, &metric);
	a->s.measure = sensitivity_metric_run;
	a->s.measure_opaque = metric;
	catch_interrupt();
	if (!ret && mica_sensitivity(a->onnx, o, &a->s, &r, &err))
		ret = cli_compiler(&err);
	else if (!ret)
		ret = report(a, &r);
	cli_progress_end();
	sensitivity_metric_close(metric);
	calib_close(cal);
	return ret;
}

static int run(int argc, char **argv)
{
	struct args a = { 0 };
	char *sidecar = NULL;
	int ret = parse(argc, argv, &a);

	if (!ret)
		ret = cli_sidecar_beside(&a.sidecar, a.onnx, &sidecar);
	if (!ret)
		ret = search(&a, sidecar);
	free(sidecar);
	free(a.files[0]);
	free(a.files[1]);
	return ret == CLI_HELP ? 0 : ret;
}

const struct command cmd_sensitivity = {
	"sensitivity", "find the operators that must stay in float, and the best calibration", run,
	"MODEL.onnx --calib=DIR_OR_FILES -o QTABLE [OPTION]...\n\n"
	"Quantizes every operator alone, in every format and with every calibration method, and measures what the outputs lose.\n"
	"Writes QTABLE (compile --qtable), QTABLE.table (compile --calib-table) and QTABLE.log; the ranking goes to stdout.\n"
	"  --calib=DIR_OR_FILES       samples, as for compile\n"
	"  --samples=N                only the first N of them\n"
	"  --formats=int8,e4m3,e5m2,bf16   tried for each operator; the tables are for the first one (default int8)\n"
	"  --methods=max,kl,percentile,mse,none   tried for each operator (default max)\n"
	"  --keep=f32|bf16            what sensitive operators compute in (default f32)\n"
	"  --target-cos=C             output cosine of the whole network to reach (default 0.99, without --max-float-layers)\n"
	"  --max-float-layers=N       at most N operators in float\n"
	"  --order=cycles|loss        pick by loss saved per device cycle that it costs (default), or by loss\n"
	"  --metric=cos|snr|COMMAND   loss: 1 - cosine, noise / signal, or what COMMAND DIR prints about the outputs in DIR\n"
	"  --over=mean|worst          of the outputs and samples (default mean)\n"
	"  --search=full|fast|naive   full: every operator in every format on all samples; a method ends as soon as it is certain that\n"
	"                             another one loses less. fast: one pass on a few samples, then straight to the target.\n"
	"                             naive: every method on all samples, whole networks without any saving of work, for comparison\n"
	"  --resume                   go on with the log of an interrupted search\n"
	"  --table=FILE --log=FILE --ranking=FILE   other names; the ranking into a file\n"
	"  --percentile=P --activations= --weights= --scales= --repair=   as for compile; repairs count for the tables\n"
	"  --shape=NAME=D,D,.. --const=NAME=FILE.pb --cores=N --lmem=BYTES   as for compile\n"
	CLI_SIDECAR_HELP
	"                             default: MODEL.sidecar beside MODEL.onnx, if it is there\n"
	"  --threads=N                CPU threads (default 1)\n"
	"  --json                     a summary as JSON after the ranking\n",
};
