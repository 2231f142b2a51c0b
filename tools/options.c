// SPDX-License-Identifier: MIT
/* The groups of options that commands share: device, sidecar, compilation. */
#include "cli.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- device ---- */

/* A path or a number: which of the two decides the field. */
static int take_device(const struct cli_opt *opt, const char *arg, void *to)
{
	struct mica_device_options *o = to;

	if (strchr(arg, '/')) {
		o->path = arg;
		return 0;
	}
	return cli_unsigned(opt->name, arg, 0, 63, &o->index);
}

static const char *const backends[] = { "auto", "device", "cpu" };
static const char *const submits[] = { "auto", "uring", "ioctl" };
static const char *const isas[] = { "auto", "scalar", "avx2", "avx512" };

const struct cli_opt cli_device_options[] = {
	CLI_CHOICE("backend", struct mica_device_options, backend, backends),
	CLI_CHOICE("submit", struct mica_device_options, submit, submits),
	CLI_UNSIGNED("threads", struct mica_device_options, threads, 1, MICA_MAX_THREADS),
	CLI_CHOICE("isa", struct mica_device_options, isa, isas),
	{ .name = "device", .take = take_device },
	{ 0 }
};

/* ---- sidecar ---- */

/* One key of a sidecar as a line of it. */
static int take_key(const struct cli_opt *o, const char *arg, void *to)
{
	struct cli_sidecar *s = to;
	size_t n = strlen(s->extra);

	if (strchr(arg, '\n') || n + strlen(o->name) + strlen(arg) + 8 > sizeof(s->extra))
		return cli_fail(MICA_ERR_USAGE, "--%s: the value is too long", o->name);
	snprintf(s->extra + n, sizeof(s->extra) - n, "%s = %s\n", o->name, arg);
	return 0;
}

#define KEY(key) { .name = key, .take = take_key }

const struct cli_opt cli_sidecar_options[] = {
	CLI_TEXT("sidecar", struct cli_sidecar, file),
	KEY("layout"), KEY("channels"), KEY("mul"), KEY("mean"), KEY("std"), KEY("resize"), KEY("pad"), KEY("decode"),
	{ 0 }
};

int cli_read_text(const char *path, char **text)
{
	FILE *f = fopen(path, "re");
	size_t cap = 1 << 20, n;
	int ret = 0;

	*text = NULL;
	if (!f)
		return cli_fail(MICA_ERR_FILE, "%s: cannot open: %s", path, strerror(errno));
	*text = malloc(cap + 1);
	if (!*text) {
		ret = cli_fail(MICA_ERR_MEMORY, "out of memory for %s", path);
		goto out;
	}
	n = fread(*text, 1, cap, f);
	if (ferror(f))
		ret = cli_fail(MICA_ERR_FILE, "%s: cannot read: %s", path, strerror(errno));
	else if (!feof(f))
		ret = cli_fail(MICA_ERR_CORRUPT, "%s: is larger than such a text can be (1 MiB)", path);
	else if (memchr(*text, 0, n))
		ret = cli_fail(MICA_ERR_CORRUPT, "%s: is not a text", path);
	(*text)[n] = 0;
out:
	fclose(f);
	if (ret) {
		free(*text);
		*text = NULL;
	}
	return ret;
}

int cli_sidecar_text(const struct cli_sidecar *s, const char *base, char **text)
{
	char *from_file = NULL;
	int ret = s->file ? cli_read_text(s->file, &from_file) : 0;
	const char *first = from_file ? from_file : base ? base : "";

	*text = NULL;
	if (ret)
		return ret;
	if (*first || s->extra[0]) {
		if (asprintf(text, "%s%s%s", first, *first && s->extra[0] ? "\n" : "", s->extra) < 0) {
			*text = NULL;
			ret = cli_fail(MICA_ERR_MEMORY, "out of memory for the sidecar");
		}
	}
	free(from_file);
	return ret;
}

/* Prints the error of a sidecar that came from `file`, or from options and the model alone (NULL). */
static int sidecar_error(const char *file)
{
	return file ? cli_fail(MICA_ERR_USAGE, "%s: %s", file, mica_error_text()) : cli_fail(MICA_ERR_USAGE, "%s", mica_error_text());
}

int cli_sidecar_load(const struct cli_sidecar *s, const struct mica_model *m, struct mica_sidecar **out)
{
	const char *names[64];
	unsigned n = mica_model_input_count(m);
	struct mica_model_info info;
	char *text;
	int ret;

	*out = NULL;
	mica_model_get_info(m, &info);
	ret = cli_sidecar_text(s, info.sidecar, &text);
	if (ret || !text)
		return ret;
	ret = mica_sidecar_parse(text, out);
	for (unsigned i = 0; i < n && i < CLI_COUNT(names); i++)
		names[i] = mica_model_input(m, i)->name;
	if (!ret && n <= CLI_COUNT(names))
		ret = mica_sidecar_check_input(*out, names, n);
	free(text);
	return ret ? sidecar_error(s->file) : 0;
}

/* The sidecar's input against those of the model; a model that cannot be read is somebody else's error. */
static int check_input(const struct mica_sidecar *sc, const char *onnx, const char *file)
{
	struct mica_onnx_ports ports;
	struct mica_err err = { 0 };
	const char **names;
	int ret = 0;

	if (!mica_sidecar_input(sc) || mica_onnx_ports_read(onnx, &ports, &err))
		return 0;
	names = calloc(ports.ins + 1, sizeof(*names));
	for (unsigned i = 0; names && i < ports.ins; i++)
		names[i] = ports.in[i].name;
	if (names && mica_sidecar_check_input(sc, names, ports.ins))
		ret = sidecar_error(file);
	free(names);
	mica_onnx_ports_free(&ports);
	return ret;
}

/* MODEL.sidecar beside MODEL.onnx, if there is one. */
static char *beside(const char *onnx)
{
	int n = strlen(onnx) - (path_ends(onnx, ".onnx") ? 5 : 0);
	char *path;

	if (asprintf(&path, "%.*s.sidecar", n, onnx) < 0)
		return NULL;
	if (!access(path, F_OK))
		return path;
	free(path);
	return NULL;
}

int cli_sidecar_beside(const struct cli_sidecar *s, const char *onnx, char **text)
{
	char *path = s->file ? NULL : beside(onnx), *base = NULL;
	const char *file = s->file ? s->file : path;
	struct mica_sidecar *sc = NULL;
	int ret = path ? cli_read_text(path, &base) : 0;

	*text = NULL;
	if (!ret)
		ret = cli_sidecar_text(s, base, text);
	if (!ret && *text)
		ret = mica_sidecar_parse(*text, &sc) ? sidecar_error(file) : check_input(sc, onnx, file);
	mica_sidecar_free(sc);
	free(path);
	free(base);
	return ret;
}

/* ---- compilation ---- */

const char *const cli_format_names[5] = { "e4m3", "e5m2", "int8", "bf16", "f32" };
const enum mica_dtype cli_formats[5] = { MICA_E4M3, MICA_E5M2, MICA_I8, MICA_BF16, MICA_F32 };

int cli_take_format(const struct cli_opt *o, const char *arg, void *to)
{
	unsigned v = 0;
	int ret = cli_choose(o->name, arg, cli_format_names, CLI_COUNT(cli_format_names), &v);

	if (!ret)
		*(enum mica_dtype *)to = cli_formats[v];
	return ret;
}

void cli_compile_init(struct cli_compile *c)
{
	memset(c, 0, sizeof(*c));
	mica_compile_defaults(&c->o);
	c->o.shapes = c->shapes;
	c->o.dims = c->dims;
	c->o.consts = c->consts;
	c->o.cuts = c->cuts;
	c->augment = 1;
}

void cli_compile_progress(void *opaque, const char *stage, unsigned done, unsigned total)
{
	(void)opaque;
	cli_progress(stage, done, total);
}

/* Commas separate, unless the whole is a file's name. Cuts arg in place: it is argv's. */
static int take_calib(const struct cli_opt *o, const char *arg, void *to)
{
	struct cli_compile *c = to;
	bool whole = !access(arg, F_OK);
	char *item, *rest = (char *)arg;

	while ((item = whole ? rest : strsep(&rest, ","))) {
		if (c->calib_count == CLI_COUNT(c->calib))
			return cli_fail(MICA_ERR_USAGE, "--%s: more than 64 values; put the files into a folder", o->name);
		c->calib[c->calib_count++] = item;
		if (whole)
			return 0;
	}
	return 0;
}

/* Steps that save memory: their bits of enum mica_saving. */
static int take_no_pass(const struct cli_opt *o, const char *arg, void *to)
{
	const char *names[MICA_SAVINGS - MICA_SAVE_VIEWS];
	unsigned set = 0;
	int ret;

	for (unsigned i = MICA_SAVE_VIEWS; i < MICA_SAVINGS; i++)
		names[i - MICA_SAVE_VIEWS] = mica_saving_name(i);
	ret = cli_choose_set(o->name, arg, names, CLI_COUNT(names), &set);
	*(unsigned *)to |= set << MICA_SAVE_VIEWS;
	return ret;
}

static int take_shape(const struct cli_opt *o, const char *arg, void *to)
{
	struct cli_compile *c = to;

	if (c->o.shape_count == CLI_COUNT(c->shapes) || !strchr(arg, '='))
		return cli_fail(MICA_ERR_USAGE, "--%s=%s: NAME=D,D,.. is expected, at most 64 times", o->name, arg);
	c->shapes[c->o.shape_count++] = arg;
	return 0;
}

static int take_cut(const struct cli_opt *o, const char *arg, void *to)
{
	struct cli_compile *c = to;

	if (c->o.cut_count == CLI_COUNT(c->cuts) || !*arg)
		return cli_fail(MICA_ERR_USAGE, "--%s=%s: the name of a tensor or node is expected, at most 64 times", o->name, arg);
	c->cuts[c->o.cut_count++] = arg;
	return 0;
}

static int take_dim(const struct cli_opt *o, const char *arg, void *to)
{
	struct cli_compile *c = to;

	if (c->o.dim_count == CLI_COUNT(c->dims) || !strchr(arg, '='))
		return cli_fail(MICA_ERR_USAGE, "--%s=%s: NAME=N is expected, at most 64 times", o->name, arg);
	c->dims[c->o.dim_count++] = arg;
	return 0;
}

/* NAME=FILE or NAME=NUMBERS; a file that is there may have a '=' in its name, the input's name as well. Cuts arg in place: it is argv's. */
static int take_const(const struct cli_opt *o, const char *arg, void *to)
{
	struct cli_compile *c = to;
	char *eq = strchr(arg, '=');

	while (eq && access(eq + 1, F_OK) && strchr(eq + 1, '='))
		eq = strchr(eq + 1, '=');
	if (!eq || c->o.const_count == CLI_COUNT(c->consts))
		return cli_fail(MICA_ERR_USAGE, "--%s=%s: NAME=FILE.pb or NAME=V,V,.. is expected, at most 64 times", o->name, arg);
	*eq = 0;
	c->consts[c->o.const_count++] = (struct mica_onnx_const){ arg, eq + 1 };
	return 0;
}

/* Names separated by commas, or one of none and all. */
static int take_repair(const struct cli_opt *o, const char *arg, void *to)
{
	static const char *const names[] = { "none", "all", "cle", "wmse", "adaround", "bias", "depthwise", "center" };
	static const unsigned bits[] = { 0, MICA_REPAIR_ALL, MICA_REPAIR_CLE, MICA_REPAIR_WMSE, MICA_REPAIR_ADAROUND, MICA_REPAIR_BIAS,
					MICA_REPAIR_DEPTHWISE, MICA_REPAIR_CENTER };
	unsigned chosen = 0, set = 0;
	int ret = cli_choose_set(o->name, arg, names, CLI_COUNT(names), &chosen);

	for (unsigned i = 0; i < 2 && !ret; i++)
		if (chosen & 1u << i && strchr(arg, ','))
			ret = cli_fail(MICA_ERR_USAGE, "--%s=%s: '%s' stands alone", o->name, arg, names[i]);
	for (unsigned i = 0; i < CLI_COUNT(names); i++)
		set |= chosen & 1u << i ? bits[i] : 0;
	*(unsigned *)to = set;
	return ret;
}

/* One of two names into a bool. */
static int take_either(const struct cli_opt *o, const char *arg, void *to)
{
	unsigned v = 0;
	int ret = cli_choose(o->name, arg, o->names, 2, &v);

	*(bool *)to = v;
	return ret;
}

static const char *const methods[] = { "max", "kl", "percentile", "mse", "none" };
static const char *const minimize[] = { "time", "memory" };
static const char *const activations[] = { "asymmetric", "symmetric" };
static const char *const weights[] = { "per-channel", "per-tensor" };
static const char *const scales[] = { "any", "pow2" };

#define EITHER(option, field, pair) { option, take_either, offsetof(struct cli_compile, field), 0, 2, pair, 0 }

const struct cli_opt cli_compile_options[] = {
	CLI_CALL("format", struct cli_compile, o.format, cli_take_format),
	{ .name = "calib", .take = take_calib },
	CLI_CHOICE("method", struct cli_compile, o.method, methods),
	CLI_NUMBER("percentile", struct cli_compile, o.percentile, 50, 100),
	CLI_TEXT("calib-table", struct cli_compile, o.calib_table),
	CLI_CALL("repair", struct cli_compile, o.repair, take_repair),
	EITHER("activations", o.symmetric, activations),
	EITHER("weights", o.per_tensor, weights),
	EITHER("scales", o.pow2, scales),
	CLI_UNSIGNED("augment", struct cli_compile, augment, 1, 1000),
	CLI_TEXT("qtable", struct cli_compile, o.qtable),
	{ .name = "shape", .take = take_shape },
	{ .name = "dim", .take = take_dim },
	{ .name = "const", .take = take_const },
	{ .name = "cut", .take = take_cut },
	CLI_UNSIGNED("cores", struct cli_compile, o.cores, 1, MICA_MAX_CORES),
	CLI_BYTES("lmem", struct cli_compile, o.lmem),
	CLI_CHOICE("minimize", struct cli_compile, o.minimize, minimize),
	CLI_CALL("no-pass", struct cli_compile, o.no_pass, take_no_pass),
	{ 0 }
};

const struct cli_opt cli_compile_threads[] = {
	CLI_UNSIGNED("threads", struct cli_compile, o.threads, 1, MICA_MAX_THREADS),
	{ 0 }
};
