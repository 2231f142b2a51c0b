// SPDX-License-Identifier: MIT
/* Parses the sidecar text that says how an image becomes an input and outputs become results. */
#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "sidecar.h"

#define MAX_LABELS 65536

struct line {
	unsigned number;
	char *key, *value;
	locale_t c_locale;	/* numbers have a dot, whatever the program's locale */
};

static int bad(const struct line *l, const char *what)
{
	return sdk_err(EINVAL, "sidecar line %u: %s = %s: %s", l->number, l->key, l->value, what);
}

/* ---- values ---- */

static int pick(const struct line *l, const char *const *names, unsigned count, const char *allowed, unsigned *out)
{
	for (unsigned i = 0; i < count; i++) {
		if (!strcmp(l->value, names[i])) {
			*out = i;
			return 0;
		}
	}
	return bad(l, allowed);
}

static int number(const struct line *l, const char *text, char **end, float *out)
{
	double v = strtod_l(text, end, l->c_locale);

	if (*end == text || !isfinite(v) || fabs(v) > 1e30)
		return bad(l, "a number is expected");
	*out = (float)v;
	*end += strspn(*end, " \t");
	return 0;
}

static int one_number(const struct line *l, float lo, float hi, float *out)
{
	char range[80], *end;
	int ret = number(l, l->value, &end, out);

	if (ret)
		return ret;
	if (!*end && *out >= lo && *out <= hi)
		return 0;
	snprintf(range, sizeof(range), "one number from %g to %g is expected", lo, hi);
	return bad(l, range);
}

/* Comma-separated; returns how many or an error. */
static int numbers(const struct line *l, float *out, unsigned max)
{
	const char *p = l->value;
	unsigned n = 0;

	for (;;) {
		char *end;
		int ret;

		if (n == max)
			return bad(l, "too many numbers");
		ret = number(l, p, &end, &out[n]);
		if (ret)
			return ret;
		n++;
		if (!*end)
			return n;
		if (*end != ',')
			return bad(l, "numbers separated by commas are expected");
		p = end + 1;
	}
}

/* One number stands for all channels. */
static int per_channel(const struct line *l, float out[3])
{
	int n = numbers(l, out, 3);

	if (n < 0)
		return n;
	if (n == 2)
		return bad(l, "one number or three (one per channel, in the model's order) are expected");
	if (n == 1)
		out[1] = out[2] = out[0];
	return 0;
}

static void free_names(struct name_list *list)
{
	for (unsigned i = 0; i < list->count; i++)
		free(list->item[i]);
	free(list->item);
	*list = (struct name_list){ 0 };
}

static char *trim(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		*--end = 0;
	return s;
}

static int names(const struct line *l, struct name_list *out)
{
	char *text = l->value, *item;

	free_names(out);
	out->item = calloc(MAX_LABELS, sizeof(*out->item));
	if (!out->item)
		return sdk_nomem("the sidecar");
	while ((item = strsep(&text, ","))) {
		if (out->count == MAX_LABELS)
			return sdk_err(EINVAL, "sidecar line %u: more than %d names", l->number, MAX_LABELS);
		out->item[out->count] = strdup(trim(item));
		if (!out->item[out->count])
			return sdk_nomem("the sidecar");
		out->count++;
	}
	return 0;
}

/* ---- keys ---- */

static int set_input(struct mica_sidecar *sc, const struct line *l)
{
	free(sc->input);
	sc->input_line = l->number;
	sc->input = strdup(l->value);
	return sc->input ? 0 : sdk_nomem("the sidecar");
}

#define ENUM_KEY(key, field, allowed, ...) \
static int set_##key(struct mica_sidecar *sc, const struct line *l) \
{ \
	static const char *const values[] = { __VA_ARGS__ }; \
	unsigned v = 0; \
	int ret = pick(l, values, sizeof(values) / sizeof(values[0]), allowed, &v); \
	if (!ret) \
		sc->field = v; \
	return ret; \
}
ENUM_KEY(layout, layout, "nchw or nhwc is expected", "nchw", "nhwc")
ENUM_KEY(channels, channels, "rgb, bgr or gray is expected", "rgb", "bgr", "gray")
ENUM_KEY(resize, resize, "stretch, letterbox or none is expected", "stretch", "letterbox", "none")
ENUM_KEY(decode, decode, "none, classes or nanodet is expected", "none", "classes", "nanodet")
ENUM_KEY(softmax, softmax, "no or yes is expected", "no", "yes")

static int set_mul(struct mica_sidecar *sc, const struct line *l)
{
	return one_number(l, -1e6f, 1e6f, &sc->mul);
}

static int set_pad(struct mica_sidecar *sc, const struct line *l)
{
	return one_number(l, 0, 255, &sc->pad);
}

static int set_score(struct mica_sidecar *sc, const struct line *l)
{
	return one_number(l, 0, 1, &sc->score);
}

static int set_iou(struct mica_sidecar *sc, const struct line *l)
{
	return one_number(l, 0, 1, &sc->iou);
}

static int set_mean(struct mica_sidecar *sc, const struct line *l)
{
	return per_channel(l, sc->mean);
}

static int set_std(struct mica_sidecar *sc, const struct line *l)
{
	int ret = per_channel(l, sc->std);

	if (ret)
		return ret;
	return sc->std[0] && sc->std[1] && sc->std[2] ? 0 : bad(l, "values are divided by std, it cannot be 0");
}

static int set_strides(struct mica_sidecar *sc, const struct line *l)
{
	float v[SIDECAR_MAX_SCALES];
	int n = numbers(l, v, SIDECAR_MAX_SCALES);

	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) {
		if (v[i] < 1 || v[i] > 4096 || v[i] != floorf(v[i]))
			return bad(l, "strides are integers from 1 to 4096");
		sc->strides[i] = v[i];
	}
	sc->stride_count = n;
	return 0;
}

static int set_reg_max(struct mica_sidecar *sc, const struct line *l)
{
	float v = 0;
	int ret = one_number(l, 1, 64, &v);

	sc->reg_max = ret ? 0 : v;
	return ret;
}

static int set_labels(struct mica_sidecar *sc, const struct line *l)
{
	return names(l, &sc->labels);
}

static int set_scores(struct mica_sidecar *sc, const struct line *l)
{
	return names(l, &sc->scores);
}

static int set_boxes(struct mica_sidecar *sc, const struct line *l)
{
	return names(l, &sc->boxes);
}

static const struct {
	const char *name;
	int (*set)(struct mica_sidecar *sc, const struct line *l);
} keys[] = {
#define KEY(name) { #name, set_##name }
	KEY(input), KEY(layout), KEY(channels), KEY(mul), KEY(mean), KEY(std), KEY(resize), KEY(pad), KEY(decode),
	KEY(labels), KEY(softmax), KEY(strides), KEY(reg_max), KEY(score), KEY(iou), KEY(scores), KEY(boxes),
};

static int set_key(struct mica_sidecar *sc, const struct line *l)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (!strcmp(keys[i].name, l->key))
			return keys[i].set(sc, l);
	return sdk_err(EINVAL, "sidecar line %u: unknown key '%s'; docs/sidecar.md lists them", l->number, l->key);
}

/* ---- the text ---- */

static int check_whole(const struct mica_sidecar *sc)
{
	if (sc->decode != DECODE_NANODET)
		return 0;
	if (!sc->stride_count || !sc->reg_max)
		return sdk_err(EINVAL, "sidecar: decode = nanodet needs 'strides' and 'reg_max'");
	if ((sc->scores.count || sc->boxes.count) &&
	    (sc->scores.count != sc->stride_count || sc->boxes.count != sc->stride_count))
		return sdk_err(EINVAL, "sidecar: 'scores' and 'boxes' must name one output per stride (%u)", sc->stride_count);
	return 0;
}

static int parse_line(struct mica_sidecar *sc, char *text, struct line *l)
{
	char *eq;

	text = trim(text);
	if (!*text || *text == '#')
		return 0;
	eq = strchr(text, '=');
	if (!eq)
		return sdk_err(EINVAL, "sidecar line %u: 'key = value' is expected, found '%.60s'", l->number, text);
	*eq = 0;
	l->key = trim(text);
	l->value = trim(eq + 1);
	return set_key(sc, l);
}

static int parse_text(struct mica_sidecar *sc, char *text)
{
	struct line l = { .c_locale = newlocale(LC_ALL_MASK, "C", NULL) };
	char *line;
	int ret = 0;

	if (!l.c_locale)
		return sdk_nomem("a locale");
	while (!ret && (line = strsep(&text, "\n"))) {
		l.number++;
		ret = parse_line(sc, line, &l);
	}
	freelocale(l.c_locale);
	return ret ? ret : check_whole(sc);
}

int mica_sidecar_parse(const char *text, struct mica_sidecar **out)
{
	struct mica_sidecar *sc = calloc(1, sizeof(*sc));
	char *copy = strdup(text);
	int ret;

	*out = NULL;
	if (!sc || !copy) {
		free(sc);
		free(copy);
		return sdk_nomem("the sidecar");
	}
	sc->mul = 1;
	sc->std[0] = sc->std[1] = sc->std[2] = 1;
	sc->score = 0.35f;
	sc->iou = 0.6f;
	ret = parse_text(sc, copy);
	free(copy);
	if (ret)
		mica_sidecar_free(sc);
	else
		*out = sc;
	return ret;
}

void mica_sidecar_free(struct mica_sidecar *sc)
{
	if (!sc)
		return;
	free(sc->input);
	free_names(&sc->labels);
	free_names(&sc->scores);
	free_names(&sc->boxes);
	free(sc);
}

const char *mica_sidecar_input(const struct mica_sidecar *sc)
{
	return sc->input;
}

int mica_sidecar_check_input(const struct mica_sidecar *sc, const char *const *names, unsigned count)
{
	char known[256] = "";
	size_t n = 0;

	for (unsigned i = 0; i < count && n < sizeof(known); i++) {
		if (!sc->input || !strcmp(sc->input, names[i]))
			return 0;
		n += snprintf(known + n, sizeof(known) - n, "%s'%s'", i ? ", " : "", names[i]);
	}
	if (n >= sizeof(known))
		strcpy(known + sizeof(known) - 4, "...");
	return sc->input ? sdk_err(EINVAL, "sidecar line %u: input = %s: the model has no such input; it has %s", sc->input_line, sc->input,
				   count ? known : "none") : 0;
}

const char *mica_sidecar_decode(const struct mica_sidecar *sc)
{
	static const char *const names[] = { "none", "classes", "nanodet" };

	return names[sc->decode];
}

unsigned mica_sidecar_label_count(const struct mica_sidecar *sc)
{
	return sc->labels.count;
}

const char *mica_sidecar_label(const struct mica_sidecar *sc, unsigned index)
{
	static _Thread_local char text[24];

	if (index < sc->labels.count)
		return sc->labels.item[index];
	snprintf(text, sizeof(text), "class %u", index);
	return text;
}
