// SPDX-License-Identifier: MIT
/*
 * The calibration table as text: "tensor method threshold min max" a line, in any order, with comments. Names with blanks
 * stand in quotes. Every mistake is named with file and line.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "calibrate.h"
#include "output.h"

#define HEADER	"# mica calibration table "
#define VERSION 1
#define FIELDS	4 /* behind the name */

struct reader {
	const char *path;
	unsigned line;
	struct calib_table *t;
	struct mica_err *err;
};

void calib_table_free(struct calib_table *t)
{
	for (unsigned i = 0; i < t->count; i++)
		free(t->entry[i].tensor);
	free(t->entry);
	free(t->slot);
	*t = (struct calib_table){ 0 };
}

static unsigned *slot_of(const struct calib_table *t, const char *tensor)
{
	uint32_t h = 2166136261u;

	for (const char *p = tensor; *p; p++)
		h = (h ^ (unsigned char)*p) * 16777619u;
	while (t->slot[h & (t->slots - 1)] && strcmp(t->entry[t->slot[h & (t->slots - 1)] - 1].tensor, tensor))
		h++;
	return &t->slot[h & (t->slots - 1)];
}

static void grow_slots(struct calib_table *t)
{
	if (2 * (t->count + 1) <= t->slots)
		return;
	free(t->slot);
	t->slots = t->slots ? 4 * t->slots : 256;
	t->slot = ir_alloc(t->slots, sizeof(*t->slot));
	for (unsigned i = 0; i < t->count; i++)
		*slot_of(t, t->entry[i].tensor) = i + 1;
}

struct calib_entry *calib_table_find(const struct calib_table *t, const char *tensor)
{
	unsigned at = t->slots ? *slot_of(t, tensor) : 0;

	return at ? &t->entry[at - 1] : NULL;
}

struct calib_entry *calib_table_add(struct calib_table *t, const char *tensor)
{
	struct calib_entry *e = calib_table_find(t, tensor);

	if (e)
		return e;
	grow_slots(t);
	t->entry = ir_grow(t->entry, &t->cap, t->count + 1, sizeof(*t->entry));
	e = &t->entry[t->count++];
	*e = (struct calib_entry){ .tensor = ir_strdup(tensor) };
	*slot_of(t, tensor) = t->count;
	return e;
}

/* ---- reading ---- */

static int wrong(const struct reader *r, const char *what, const char *text)
{
	return mica_err_set(r->err, MICA_ERR_USAGE,
			    "%s:%u: %s '%.100s'; a line is \"tensor method threshold min max\" "
			    "with a method "
			    "of max, kl, percentile, mse, none and a threshold that may be auto",
			    r->path, r->line, what, text);
}

/* Takes a quoted name off *s, in place; false when the closing quote is missing. */
static bool unquote(char **s, char **name)
{
	char *from = *s + 1, *to = from;

	*name = to;
	while (*from && *from != '"') {
		if (*from == '\\' && from[1])
			from++;
		*to++ = *from++;
	}
	if (!*from)
		return false;
	*s = from + 1;
	*to = 0;
	return true;
}

/* Cuts the last FIELDS words off; what stands in front of them is the name. */
static unsigned cut_fields(char *s, char *field[FIELDS])
{
	unsigned n = 0;
	char *end = s + strlen(s);

	while (n < FIELDS) {
		while (end > s && isspace((unsigned char)end[-1]))
			*--end = 0;
		while (end > s && !isspace((unsigned char)end[-1]))
			end--;
		if (!*end)
			break;
		field[FIELDS - 1 - n++] = end;
		if (end == s)
			break;
	}
	if (n == FIELDS && end > s)
		end[-1] = 0;
	while (end > s && isspace((unsigned char)end[-1]))
		*--end = 0;
	return n;
}

static bool number(const char *text, float *v)
{
	char *end;

	*v = strtof(text, &end);
	return end != text && !*end && isfinite(*v);
}

static int take_fields(struct reader *r, struct calib_entry *e, char *field[FIELDS])
{
	int method = calib_method_find(field[0]);

	if (method < 0)
		return wrong(r, "unknown method", field[0]);
	e->method = (enum mica_method)method;
	e->line = r->line;
	e->automatic = !strcmp(field[1], "auto");
	if (!e->automatic && (!number(field[1], &e->threshold) || e->threshold < 0))
		return wrong(r, "not a threshold:", field[1]);
	if (!number(field[2], &e->min))
		return wrong(r, "not a number:", field[2]);
	if (!number(field[3], &e->max))
		return wrong(r, "not a number:", field[3]);
	if (e->min > e->max)
		return wrong(r, "min is above max:", field[2]);
	return 0;
}

/* Comments are free, but two of ours mean something: version and equalization. */
static int take_comment(struct reader *r, const char *s)
{
	unsigned long v;

	if (!strncmp(s, HEADER, strlen(HEADER)) && strtoul(s + strlen(HEADER), NULL, 10) != VERSION)
		return mica_err_set(r->err, MICA_ERR_VERSION,
				    "%s:%u: a calibration table of version %.20s, this program "
				    "reads version %d; "
				    "make it anew with mica calibrate",
				    r->path, r->line, s + strlen(HEADER), VERSION);
	if (sscanf(s, "# equalized: %lx", &v) == 1) {
		r->t->has_equalized = true;
		r->t->equalized = (uint32_t)v;
	}
	return 0;
}

static int take_line(struct reader *r, char *s)
{
	struct calib_entry *e;
	char *name = NULL, *field[FIELDS] = { 0 };
	size_t n = strlen(s);

	while (n && isspace((unsigned char)s[n - 1]))
		s[--n] = 0;
	while (isspace((unsigned char)*s))
		s++;
	if (!*s || *s == '#')
		return take_comment(r, s);
	if (*s == '"' && !unquote(&s, &name))
		return wrong(r, "the quote is not closed:", s);
	if (cut_fields(s, field) != FIELDS || (name && *s) || (!name && field[0] == s))
		return wrong(r, "five fields are needed:", name ? name : s);
	name = name ? name : s;
	e = calib_table_find(r->t, name);
	if (e)
		return mica_err_set(r->err, MICA_ERR_USAGE,
				    "%s:%u: tensor '%.100s' is in line %u already; remove one of "
				    "the lines",
				    r->path, r->line, name, e->line);
	return take_fields(r, calib_table_add(r->t, name), field);
}

int calib_table_read(const char *path, struct calib_table *t, struct mica_err *err)
{
	struct reader r = { .path = path, .t = t, .err = err };
	FILE *f = fopen(path, "re");
	char *text = NULL;
	size_t cap = 0;
	ssize_t n;
	int ret = 0;

	*t = (struct calib_table){ 0 };
	if (!f)
		return mica_err_set(err, MICA_ERR_FILE, "%s: cannot be opened: %s", path,
				    strerror(errno));
	while (!ret && (n = getline(&text, &cap, f)) >= 0) {
		r.line++;
		if (memchr(text, 0, (size_t)n))
			ret = mica_err_set(err, MICA_ERR_CORRUPT,
					   "%s:%u: is not a text: a calibration table is made by "
					   "mica calibrate",
					   path, r.line);
		else
			ret = take_line(&r, text);
	}
	if (!ret && ferror(f))
		ret = mica_err_set(err, MICA_ERR_FILE, "%s: cannot be read: %s", path,
				   strerror(errno));
	free(text);
	fclose(f);
	if (ret)
		calib_table_free(t);
	return ret;
}

/* ---- writing ---- */

static void put_name(FILE *f, const char *s)
{
	bool plain = *s && *s != '#' && *s != '"';

	for (const char *p = s; *p; p++)
		plain = plain && !isspace((unsigned char)*p);
	if (plain) {
		fputs(s, f);
		return;
	}
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', f);
		fputc(*s == '\n' || *s == '\r' ? ' ' : *s, f);
	}
	fputc('"', f);
}

static void put_table(FILE *f, const char *model, unsigned samples, const struct calib_table *t)
{
	fprintf(f,
		HEADER "%d\n# model: %s, %u samples\n# equalized: %08x\n"
		       "# What |x| is clipped to, and the range seen. Edit it: a threshold 'auto' "
		       "is found by the line's\n"
		       "# method from samples (--calib). Order does not matter, lines that are "
		       "missing are found by --method.\n"
		       "# tensor method threshold min max\n",
		VERSION, model, samples, t->equalized);
	for (unsigned i = 0; i < t->count; i++) {
		const struct calib_entry *e = &t->entry[i];

		put_name(f, e->tensor);
		fprintf(f, " %s %.9g %.9g %.9g\n", calib_method_name(e->method), e->threshold,
			e->min, e->max);
	}
}

int calib_table_write(const char *path, const char *model, unsigned samples,
		      const struct calib_table *t, struct mica_err *err)
{
	struct sdk_text text;
	int ret = sdk_text_open(&text);

	if (!ret) {
		put_table(text.f, model, samples, t);
		ret = sdk_text_save(&text, path);
	}
	return mica_err_output(err, ret);
}
