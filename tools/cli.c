// SPDX-License-Identifier: MIT
/* Messages, exit codes, progress, JSON and numbers for the commands. */
#include "cli.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *command_name = "";
static bool progress_shown;

void cli_set_command(const char *name)
{
	command_name = name;
}

int cli_fail(enum mica_err_code code, const char *fmt, ...)
{
	va_list ap;

	cli_progress_end();
	fprintf(stderr, "mica%s%s: ", *command_name ? " " : "", command_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return code;
}

void cli_note(const char *fmt, ...)
{
	va_list ap;

	cli_progress_end();
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

enum mica_err_code cli_code_of(int err)
{
	switch (err) {
	case EINVAL:
		return MICA_ERR_USAGE;
	case EBADMSG:
		return MICA_ERR_CORRUPT;
	case EPROTONOSUPPORT:
		return MICA_ERR_VERSION;
	case EOPNOTSUPP:
		return MICA_ERR_UNSUPPORTED;
	case ERANGE:
		return MICA_ERR_SHAPE;
	case ENODEV:
		return MICA_ERR_NO_DEVICE;
	case ENOPKG:
		return MICA_ERR_FIRMWARE;
	case EIO:
	case ETIME:
	case ECANCELED:
		return MICA_ERR_DEVICE;
	case ENOMEM:
	case E2BIG:
		return MICA_ERR_MEMORY;
	default:
		return MICA_ERR_FILE;
	}
}

int cli_sdk(int ret)
{
	return cli_fail(cli_code_of(-ret), "%s", mica_error_text());
}

int cli_compiler(const struct mica_err *err)
{
	return cli_fail(err->code ? err->code : MICA_ERR_INTERNAL, "%s", err->code ? err->text : "the compiler failed without a word");
}

/* ---- progress ---- */

void cli_progress(const char *stage, unsigned done, unsigned total)
{
	static double last;
	static char last_stage[64];
	double now = cli_now(), interval = isatty(STDERR_FILENO) ? 0.1 : 5;

	if (!last)
		last = now;	/* short work shows nothing on a log */
	if (now - last < interval && (!isatty(STDERR_FILENO) || !strcmp(stage, last_stage)))
		return;
	last = now;
	snprintf(last_stage, sizeof(last_stage), "%s", stage);
	if (!isatty(STDERR_FILENO))
		fprintf(stderr, total ? "  %s: %u of %u\n" : "  %s\n", stage, done, total);
	else
		fprintf(stderr, total ? "\r\033[K  %s: %u of %u" : "\r\033[K  %s", stage, done, total);
	progress_shown = true;
}

void cli_progress_end(void)
{
	if (progress_shown && isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
	progress_shown = false;
}

/* ---- numbers and JSON ---- */

double cli_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

int cli_compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

struct latency cli_latency(double *samples, size_t n)
{
	if (!n)
		return (struct latency){ 0, 0, 0 };
	qsort(samples, n, sizeof(*samples), cli_compare_double);
	return (struct latency){ samples[0], n % 2 ? samples[n / 2] : (samples[n / 2 - 1] + samples[n / 2]) / 2,
				 samples[(n - 1) * 99 / 100] };
}

json_object *json_num(double v)
{
	char text[32];

	snprintf(text, sizeof(text), "%.9g", v);
	return json_object_new_double_s(v, text);
}

json_object *json_latency(struct latency l)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "min", json_num(l.min));
	json_object_object_add(o, "median", json_num(l.median));
	json_object_object_add(o, "p99", json_num(l.p99));
	return o;
}

json_object *json_dims(const uint32_t *dim, unsigned rank)
{
	json_object *a = json_object_new_array();

	for (unsigned i = 0; i < rank; i++)
		json_object_array_add(a, json_object_new_int64(dim[i]));
	return a;
}

int json_print(json_object *o)
{
	int bad = puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE)) < 0;

	json_object_put(o);
	return bad ? cli_fail(MICA_ERR_FILE, "cannot write to stdout: %s", strerror(errno)) : 0;
}

const char *dims_text(const struct mica_tensor_info *t, char *buf, size_t size)
{
	size_t n = 0;

	if (!t->rank)
		return "scalar";
	for (unsigned i = 0; i < t->rank && n < size; i++)
		n += snprintf(buf + n, size - n, "%s%u", i ? "x" : "", t->dim[i]);
	return buf;
}

#define FAR 0.25f	/* of the range's width: a bright photo is no mistake, 0..255 instead of 0..1 is */

void cli_warn_range(const struct mica_tensor_info *t, const float *values, const char *what)
{
	float worst = 0;
	size_t n = mica_tensor_outside(t, values, t->elements, FAR, &worst);

	if (n)
		cli_note("mica: WARNING: %s: %.3g %% of the values of input '%s' are far outside of the range %.4g .. %.4g that the model was calibrated for, "
			 "up to %.4g: results will be poor; check the preprocessing (sidecar), or calibrate with data like these", what,
			 100.0 * (double)n / (double)t->elements, t->name, (double)t->range_min, (double)t->range_max, (double)worst);
}

void cli_crop(float *values, const struct mica_tensor_info *t, const uint32_t *valid)
{
	size_t front = 1, back = 1, keep;

	if (t->counted_axis < 0)
		return;
	for (unsigned i = 0; i < t->rank; i++)
		*((int)i < t->counted_axis ? &front : &back) *= t->dim[i];
	keep = back / t->dim[t->counted_axis] * valid[t->counted_axis];
	for (size_t f = 0; f < front; f++)
		memmove(values + f * keep, values + f * back, keep * sizeof(*values));
}
