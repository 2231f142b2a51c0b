// SPDX-License-Identifier: MIT
/* The log of the search: a line per candidate as soon as it is known, which --resume reads again. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "sensitivity_parts.h"

#define TITLE "# mica sensitivity log 2"
#define ORDER "# order"

const char *sens_format_name(enum mica_dtype t)
{
	return t == MICA_I8 ? "int8" : mica_dtype_name(t);
}

/* What a loss depends on besides the candidate: model, samples and repairs show in what f32 gives. */
static char *conditions(const struct sens *z)
{
	static const char *const metric[] = { "cos", "snr", "command" };
	const struct mica_compile_options *o = &z->o;
	uint64_t h = 0x6d696361;
	char *text;

	for (unsigned i = 0; i < z->samples * z->g->outputs; i++)
		h = h * 31 + sens_hash(z->reference[i], (size_t)ir_elements(z->g->output[i % z->g->outputs]) * sizeof(float));
	if (asprintf(&text, "# of %s, %u samples, f32 %016llx, percentile %.9g, activations %s, weights %s, scales %s, repair %u, metric %s of the %s%s",
		     z->g->name, z->samples, (unsigned long long)h, o->percentile, o->symmetric ? "symmetric" : "asymmetric",
		     o->per_tensor ? "per-tensor" : "per-channel", o->pow2 ? "pow2" : "any", o->repair, metric[z->s->metric],
		     z->s->worst ? "worst" : "mean", z->s->search == SENS_FAST ? ", fast" : "") < 0)
		abort();
	for (char *p = text; *p; p++)
		*p = *p == '\n' ? ' ' : *p;
	return text;
}

/* ---- reading ---- */

/* The next word of *s, cut off; NULL: none. */
static char *word(char **s)
{
	char *w;

	while (*s && !**s)
		return NULL;
	w = strsep(s, " ");
	return w && *w ? w : NULL;
}

static bool number(char **s, double *v)
{
	char *w = word(s), *end;

	*v = w ? strtod(w, &end) : 0;
	return w && end != w && !*end;
}

static struct sens_candidate *find(struct sens *z, const char *name, const char *format, const char *method)
{
	for (unsigned i = 0; i < z->candidates; i++) {
		struct sens_candidate *c = &z->candidate[i];

		if (!strcmp(z->op[c->op].name, name) && !strcmp(sens_format_name(z->s->format[c->format]), format) &&
		    !strcmp(calib_method_name(z->s->method[c->method]), method))
			return c;
	}
	return NULL;
}

static int refuse(const struct sens *z, unsigned line, const char *why)
{
	return mica_err_set(z->g->err, MICA_ERR_CORRUPT, "%s:%u: %s; remove the line, or search without --resume", z->s->log, line, why);
}

/* "# order SAMPLE ..", each sample once. */
static int take_order(struct sens *z, unsigned line, char *s)
{
	unsigned *order = ir_alloc(z->samples, sizeof(*order)), n = 0;
	bool *seen = ir_alloc(z->samples, sizeof(*seen)), good = true;
	double at;

	s += *s == ' ';
	while (good && *s && n < z->samples) {
		good = number(&s, &at) && at >= 0 && at < z->samples && at == (unsigned)at && !seen[(unsigned)at];
		if (good)
			seen[order[n++] = (unsigned)at] = true;
		s = s ? s : "";
	}
	good = good && n == z->samples && !*s;
	free(seen);
	free(z->order);
	z->order = order;
	return good ? 0 : refuse(z, line, "is no order of all samples");
}

/* "FORMAT METHOD THRESHOLD SAMPLES LOSS COSINE SNR NAME" */
static int take_line(struct sens *z, unsigned line, char *s)
{
	char *format, *method, *name;
	struct sens_score score = { 0 };
	double threshold, samples;
	struct sens_candidate *c;

	if (!strncmp(s, ORDER, strlen(ORDER)))
		return take_order(z, line, s + strlen(ORDER));
	if (!*s || *s == '#')
		return 0;
	name = s;
	format = word(&name);
	method = word(&name);
	if (!format || !method || !number(&name, &threshold) || !number(&name, &samples) || !number(&name, &score.loss) ||
	    !number(&name, &score.cosine) || !number(&name, &score.snr) || !name || !*name)
		return refuse(z, line, "is no line of a log, which has \"format method threshold samples loss cosine snr operator\"");
	if (!(samples >= 1 && samples <= z->samples && samples == (unsigned)samples))
		return refuse(z, line, "has another number of samples than the search");
	c = find(z, name, format, method);
	if (!c || (c->known && c->samples >= samples))	/* another choice of formats and methods is fine */
		return 0;
	z->r->resumed += !c->known;
	c->known = true;
	c->samples = (unsigned)samples;
	c->score = score;
	return 0;
}

static int check_head(const struct sens *z, unsigned line, const char *s, const char *want)
{
	if (line == 1 && strcmp(s, TITLE))
		return mica_err_set(z->g->err, !strncmp(s, TITLE, strlen(TITLE) - 1) ? MICA_ERR_VERSION : MICA_ERR_CORRUPT,
				    "%s: is no log of mica sensitivity that this program reads; give another name (--log), or search without --resume",
				    z->s->log);
	if (line == 2 && strcmp(s, want))
		return mica_err_set(z->g->err, MICA_ERR_USAGE,
				    "%s: was made for another model, other samples or options (\"%.300s\", now it is \"%.300s\"); give the same ones, another --log, or leave out --resume",
				    z->s->log, s + 2, want + 2);
	return 0;
}

/* Reads what is complete; *good: its bytes. A line without an end was cut off when the search was killed. */
static int read_log(struct sens *z, FILE *f, const char *want, long *good)
{
	char *text = NULL;
	size_t cap = 0;
	ssize_t n;
	unsigned line = 0;
	int r = 0;

	*good = 0;
	while (!r && (n = getline(&text, &cap, f)) > 0 && text[n - 1] == '\n') {
		text[n - 1] = 0;
		line++;
		r = strlen(text) + 1 != (size_t)n ? mica_err_set(z->g->err, MICA_ERR_CORRUPT, "%s:%u: is no text", z->s->log, line)
						  : check_head(z, line, text, want);
		if (!r)
			r = take_line(z, line, text);
		*good += n;
	}
	if (line < 2)
		*good = 0;
	free(text);
	return r;
}

static int resume(struct sens *z, const char *want, long *good)
{
	FILE *f = fopen(z->s->log, "re");
	int r;

	*good = 0;
	if (!f && errno == ENOENT)
		return 0;
	if (!f)
		return mica_err_set(z->g->err, MICA_ERR_FILE, "%s: cannot be opened: %s", z->s->log, strerror(errno));
	r = read_log(z, f, want, good);
	if (!r && ferror(f))
		r = mica_err_set(z->g->err, MICA_ERR_FILE, "%s: cannot be read: %s", z->s->log, strerror(errno));
	fclose(f);
	return r;
}

/* ---- writing ---- */

static int failed(const struct sens *z)
{
	return mica_err_set(z->g->err, MICA_ERR_FILE, "%s: cannot be written: %s", z->s->log, strerror(errno));
}

int sens_log_open(struct sens *z)
{
	char *head = conditions(z);
	long good = 0;
	int r = z->s->resume && z->s->log ? resume(z, head, &good) : 0;

	if (!r && z->s->log) {
		z->log = fopen(z->s->log, good ? "r+e" : "we");
		if (!z->log || (good && (ftruncate(fileno(z->log), good) || fseek(z->log, good, SEEK_SET))))
			r = failed(z);
	}
	if (!r && z->log && !good)
		fprintf(z->log, TITLE "\n%s\n# format method threshold samples loss cosine snr operator\n", head);
	if (!r && z->log && fflush(z->log))
		r = failed(z);
	free(head);
	return r;
}

int sens_log_put(struct sens *z, const struct sens_candidate *c)
{
	if (!z->log)
		return 0;
	fprintf(z->log, "%s %s %.9g %u %.17g %.17g %.17g %s\n", sens_format_name(z->s->format[c->format]),
		calib_method_name(z->s->method[c->method]), c->threshold, c->samples, c->score.loss, c->score.cosine, c->score.snr, z->op[c->op].name);
	return fflush(z->log) ? failed(z) : 0;
}

int sens_log_order(struct sens *z)
{
	if (!z->log)
		return 0;
	fputs(ORDER, z->log);
	for (unsigned i = 0; i < z->samples; i++)
		fprintf(z->log, " %u", z->order[i]);
	fputc('\n', z->log);
	return fflush(z->log) ? failed(z) : 0;
}

void sens_log_close(struct sens *z)
{
	if (z->log)
		fclose(z->log);
	z->log = NULL;
}
