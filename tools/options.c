// SPDX-License-Identifier: MIT
/* Option values: parsed strictly, refused with what is allowed. */
#include "cli.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cli_choose(const char *option, const char *arg, const char *const *names, unsigned count, unsigned *out)
{
	char allowed[256];
	size_t n = 0;

	for (unsigned i = 0; i < count; i++) {
		if (!strcmp(arg, names[i])) {
			*out = i;
			return 0;
		}
		n += snprintf(allowed + n, sizeof(allowed) - n, "%s%s", i ? ", " : "", names[i]);
	}
	return cli_fail(MICA_ERR_USAGE, "--%s=%s: allowed are %s", option, arg, allowed);
}

int cli_unsigned(const char *option, const char *arg, unsigned lo, unsigned hi, unsigned *out)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(arg, &end, 10);
	if (errno || end == arg || *end || *arg == '-' || v < lo || v > hi)
		return cli_fail(MICA_ERR_USAGE, "--%s=%s: a number from %u to %u is allowed", option, arg, lo, hi);
	*out = v;
	return 0;
}

int cli_bytes(const char *option, const char *arg, uint32_t *out)
{
	unsigned long long v, unit = 1;
	char *end;

	errno = 0;
	v = strtoull(arg, &end, 10);
	if (*end == 'K' || *end == 'k')
		unit = 1 << 10;
	else if (*end == 'M' || *end == 'm')
		unit = 1 << 20;
	else if (*end == 'G' || *end == 'g')
		unit = 1 << 30;
	if (unit > 1)
		end++;
	if (errno || end == arg || *end || *arg == '-' || v > (1ull << 30) / unit || v * unit < 4096 || v * unit % 64)
		return cli_fail(MICA_ERR_USAGE, "--%s=%s: bytes from 4K to 1G that are a multiple of 64 are allowed, like 2M or 256K",
				option, arg);
	*out = v * unit;
	return 0;
}

int cli_seconds(const char *option, const char *arg, double *out)
{
	char *end;
	double v = strtod(arg, &end);

	if (end == arg || *end || !isfinite(v) || v <= 0 || v > 86400)
		return cli_fail(MICA_ERR_USAGE, "--%s=%s: seconds above 0 and at most 86400 are allowed", option, arg);
	*out = v;
	return 0;
}

int cli_getopt(int argc, char **argv, const struct option *options)
{
	const char *at;
	int c;

	opterr = 0;
	c = getopt_long(argc, argv, ":ho:", options, NULL);
	at = argv[optind > 1 ? optind - 1 : 1];
	if (c == ':') {
		cli_fail(MICA_ERR_USAGE, "%s needs a value; --help shows which", at);
		return '?';
	}
	if (c != '?')
		return c;
	if (optopt > ' ' && optopt < 127 && strncmp(at, "--", 2))
		cli_fail(MICA_ERR_USAGE, "unknown option '-%c'; --help lists what there is", optopt);
	else if (optopt)
		cli_fail(MICA_ERR_USAGE, "%s: this option takes no value", at);
	else
		cli_fail(MICA_ERR_USAGE, "unknown or ambiguous option '%s'; --help lists what there is", at);
	return c;
}

int cli_usage(const struct command *cmd)
{
	printf("usage: mica %s %s", cmd->name, cmd->help);
	return 0;
}

/* ---- device ---- */

static int set_device(const char *arg, struct mica_device_options *o)
{
	if (strchr(arg, '/')) {
		o->path = arg;
		return 0;
	}
	return cli_unsigned("device", arg, 0, 63, &o->index);
}

int cli_device_option(int option, const char *arg, struct mica_device_options *o)
{
	static const char *const backends[] = { "auto", "device", "cpu" };
	static const char *const submits[] = { "auto", "uring", "ioctl" };
	static const char *const isas[] = { "auto", "scalar", "avx2", "avx512" };
	unsigned v = 0;
	int ret;

	switch (option) {
	case OPT_BACKEND:
		ret = cli_choose("backend", arg, backends, 3, &v);
		o->backend = v;
		return ret;
	case OPT_SUBMIT:
		ret = cli_choose("submit", arg, submits, 3, &v);
		o->submit = v;
		return ret;
	case OPT_ISA:
		ret = cli_choose("isa", arg, isas, 4, &v);
		o->isa = v;
		return ret;
	case OPT_THREADS:
		return cli_unsigned("threads", arg, 1, MICA_MAX_THREADS, &o->threads);
	case OPT_DEVICE:
		return set_device(arg, o);
	default:
		return -1;
	}
}

/* ---- sidecar ---- */

int cli_sidecar_option(int option, const char *name, const char *arg, struct cli_sidecar *s)
{
	size_t n = strlen(s->extra);

	if (option == OPT_SIDECAR) {
		s->file = arg;
		return 0;
	}
	if (option != OPT_PREPROCESS)
		return -1;
	if (strchr(arg, '\n') || n + strlen(name) + strlen(arg) + 8 > sizeof(s->extra))
		return cli_fail(MICA_ERR_USAGE, "--%s: the value is too long", name);
	snprintf(s->extra + n, sizeof(s->extra) - n, "%s = %s\n", name, arg);
	return 0;
}

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

/* ---- compilation ---- */

const char *const cli_format_names[5] = { "e4m3", "e5m2", "int8", "bf16", "f32" };

int cli_format(const char *option, const char *arg, enum mica_dtype *out)
{
	static const enum mica_dtype formats[] = { MICA_E4M3, MICA_E5M2, MICA_I8, MICA_BF16, MICA_F32 };
	unsigned v = 0;
	int ret = cli_choose(option, arg, cli_format_names, 5, &v);

	if (!ret)
		*out = formats[v];
	return ret;
}

void cli_compile_init(struct cli_compile *c)
{
	memset(c, 0, sizeof(*c));
	mica_compile_defaults(&c->o);
	c->o.shapes = c->shapes;
	c->o.consts = c->consts;
}

/* Commas separate, unless the whole is a file's name. Cuts arg in place: it is argv's. */
static int add_calib(char *arg, struct cli_compile *c)
{
	char *item, *rest = arg;

	if (!access(arg, F_OK)) {
		rest = NULL;
		if (c->calib_count == 64)
			return cli_fail(MICA_ERR_USAGE, "--calib: more than 64 values; put the files into a folder");
		c->calib[c->calib_count++] = arg;
	}
	while (rest && (item = strsep(&rest, ","))) {
		if (c->calib_count == 64)
			return cli_fail(MICA_ERR_USAGE, "--calib: more than 64 values; put the files into a folder");
		c->calib[c->calib_count++] = item;
	}
	return 0;
}

/* Names of steps, separated by commas. */
static int no_pass(const char *arg, unsigned *mask)
{
	const char *names[MICA_SAVINGS - MICA_SAVE_VIEWS];
	char name[32];
	unsigned which;

	for (unsigned i = MICA_SAVE_VIEWS; i < MICA_SAVINGS; i++)
		names[i - MICA_SAVE_VIEWS] = mica_saving_name(i);
	for (const char *at = arg, *end;; at = end + 1) {
		int ret;

		end = at + strcspn(at, ",");
		snprintf(name, sizeof(name), "%.*s", (int)(end - at), at);
		ret = cli_choose("no-pass", name, names, MICA_SAVINGS - MICA_SAVE_VIEWS, &which);
		if (ret)
			return ret;
		*mask |= 1u << (MICA_SAVE_VIEWS + which);
		if (!*end)
			return 0;
	}
}

static int minimize(const char *arg, enum mica_minimize *out)
{
	static const char *const names[] = { "time", "memory" };
	unsigned which = 0;
	int ret = cli_choose("minimize", arg, names, 2, &which);

	*out = which;
	return ret;
}

/* NAME=FILE; a file that is there may have a '=' in its name, the input's name as well. Cuts arg in place: it is argv's. */
static int add_const(char *arg, struct cli_compile *c)
{
	char *eq = strchr(arg, '=');

	while (eq && access(eq + 1, F_OK) && strchr(eq + 1, '='))
		eq = strchr(eq + 1, '=');
	if (!eq || c->o.const_count == 64)
		return cli_fail(MICA_ERR_USAGE, "--const=%s: NAME=FILE.pb is expected, at most 64 times", arg);
	*eq = 0;
	c->consts[c->o.const_count++] = (struct mica_onnx_const){ arg, eq + 1 };
	return 0;
}

static int set_percentile(const char *arg, double *out)
{
	char *end;
	double v = strtod(arg, &end);

	if (end == arg || *end || !(v >= 50 && v <= 100))
		return cli_fail(MICA_ERR_USAGE, "--percentile=%s: a number from 50 to 100 is allowed", arg);
	*out = v;
	return 0;
}

/* Names separated by commas, or one of none and all. */
static int set_repair(const char *arg, unsigned *out)
{
	static const char *const names[] = { "none", "all", "cle", "wmse", "adaround", "bias", "depthwise" };
	static const unsigned bits[] = { 0, MICA_REPAIR_ALL, MICA_REPAIR_CLE, MICA_REPAIR_WMSE, MICA_REPAIR_ADAROUND, MICA_REPAIR_BIAS,
					MICA_REPAIR_DEPTHWISE };
	char *copy = strdup(arg), *rest = copy, *item;
	unsigned set = 0, i = 0;
	int ret = copy ? 0 : cli_fail(MICA_ERR_MEMORY, "out of memory");

	while (!ret && (item = strsep(&rest, ","))) {
		ret = cli_choose("repair", item, names, 7, &i);
		if (!ret && i < 2 && (rest || set))
			ret = cli_fail(MICA_ERR_USAGE, "--repair=%s: '%s' stands alone", arg, names[i]);
		set |= ret ? 0 : bits[i];
	}
	free(copy);
	*out = set;
	return ret;
}

static int choose_flag(const char *option, const char *arg, const char *no, const char *yes, bool *out)
{
	const char *const names[] = { no, yes };
	unsigned v = 0;
	int ret = cli_choose(option, arg, names, 2, &v);

	*out = v;
	return ret;
}

/* Those that say how to quantize; -1: none of them. */
static int quantize_option(int option, const char *arg, struct mica_compile_options *o)
{
	switch (option) {
	case OPT_PERCENTILE:
		return set_percentile(arg, &o->percentile);
	case OPT_CALIB_TABLE:
		o->calib_table = arg;
		return 0;
	case OPT_REPAIR:
		return set_repair(arg, &o->repair);
	case OPT_ACTIVATIONS:
		return choose_flag("activations", arg, "asymmetric", "symmetric", &o->symmetric);
	case OPT_WEIGHTS:
		return choose_flag("weights", arg, "per-channel", "per-tensor", &o->per_tensor);
	case OPT_SCALES:
		return choose_flag("scales", arg, "any", "pow2", &o->pow2);
	default:
		return -1;
	}
}

int cli_compile_option(int option, const char *arg, struct cli_compile *c)
{
	static const char *const methods[] = { "max", "kl", "percentile", "mse", "none" };
	unsigned v = 0;
	int ret;

	switch (option) {
	case OPT_FORMAT:
		return cli_format("format", arg, &c->o.format);
	case OPT_CALIB:
		return add_calib((char *)arg, c);
	case OPT_METHOD:
		ret = cli_choose("method", arg, methods, 5, &v);
		c->o.method = v;
		return ret;
	case OPT_QTABLE:
		c->o.qtable = arg;
		return 0;
	case OPT_SHAPE:
		if (c->o.shape_count == 64 || !strchr(arg, '='))
			return cli_fail(MICA_ERR_USAGE, "--shape=%s: NAME=D,D,.. is expected, at most 64 times", arg);
		c->shapes[c->o.shape_count++] = arg;
		return 0;
	case OPT_CONST:
		return add_const((char *)arg, c);
	case OPT_CORES:
		return cli_unsigned("cores", arg, 1, MICA_MAX_CORES, &c->o.cores);
	case OPT_LMEM:
		return cli_bytes("lmem", arg, &c->o.lmem);
	case OPT_NO_PASS:
		return no_pass(arg, &c->o.no_pass);
	case OPT_MINIMIZE:
		return minimize(arg, &c->o.minimize);
	default:
		return quantize_option(option, arg, &c->o);
	}
}
