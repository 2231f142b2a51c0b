// SPDX-License-Identifier: MIT
/*
 * What samples show of every value: the range in a first run, a histogram of |x| over exactly that range in a second one where
 * a method needs it. Both are sums and extremes, so threads change nothing. Memory does not grow with the samples.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "calibrate.h"

struct collect {
	struct ir_graph *g;
	const struct mica_compile_options *o;
	unsigned workers;
	struct calib_stats **part; /* by worker, by value id */
	const struct calib_stats *range; /* second run: what the first one found */
	const bool *wanted;
	uint64_t *hash; /* by sample: of all inputs */
};

static void merge_range(struct calib_stats *s, float lo, float hi, uint64_t count, uint64_t strange)
{
	if (count > strange) {
		s->min = s->count > s->strange ? fminf(s->min, lo) : lo;
		s->max = s->count > s->strange ? fmaxf(s->max, hi) : hi;
	}
	s->count += count;
	s->strange += strange;
}

static uint64_t hash_of(const float *x, size_t n)
{
	uint64_t h = 1469598103934665603u;

	for (size_t i = 0; i < n; i++) {
		uint32_t bits;

		memcpy(&bits, &x[i], 4);
		h = (h ^ bits) * 1099511628211u;
	}
	return h;
}

static void see_range(void *opaque, unsigned worker, unsigned sample, const struct ir_value *v,
		      const float *x, size_t n)
{
	struct collect *c = opaque;
	float lo = INFINITY, hi = -INFINITY;
	uint64_t strange = 0;

	for (size_t i = 0; i < n; i++) {
		bool ok = fabsf(x[i]) < INFINITY;

		lo = ok && x[i] < lo ? x[i] : lo;
		hi = ok && x[i] > hi ? x[i] : hi;
		strange += !ok;
	}
	merge_range(&c->part[worker][v->id], lo, hi, n, strange);
	if (v->is_input)
		c->hash[sample] = c->hash[sample] * 31 + hash_of(x, n);
}

static void see_bins(void *opaque, unsigned worker, unsigned sample, const struct ir_value *v,
		     const float *x, size_t n)
{
	struct collect *c = opaque;
	uint64_t *bin = c->part[worker][v->id].bin;
	float largest = calib_largest(&c->range[v->id]), scale = CALIB_BINS / largest;

	(void)sample;
	if (!c->wanted[v->id])
		return;
	if (!bin)
		bin = c->part[worker][v->id].bin = ir_alloc(CALIB_BINS, sizeof(*bin));
	if (!(largest > 0) || !isfinite(scale)) {
		bin[0] += n;
		return;
	}
	for (size_t i = 0; i < n; i++) {
		float b = fabsf(x[i]) * scale;

		if (b < CALIB_BINS)
			bin[(unsigned)b]++;
		else if (fabsf(x[i]) < INFINITY)
			bin[CALIB_BINS - 1]++;
	}
}

static void add_bins(struct calib_stats *to, const struct calib_stats *from)
{
	if (!from->bin)
		return;
	if (!to->bin)
		to->bin = ir_alloc(CALIB_BINS, sizeof(*to->bin));
	for (unsigned i = 0; i < CALIB_BINS; i++)
		to->bin[i] += from->bin[i];
}

static void new_parts(struct collect *c)
{
	for (unsigned i = 0; i < c->workers; i++)
		c->part[i] = ir_alloc(c->g->values, sizeof(**c->part));
}

static void merge(struct collect *c, struct calib_stats *out, bool bins)
{
	for (unsigned w = 0; w < c->workers; w++) {
		for (unsigned i = 0; i < c->g->values; i++) {
			const struct calib_stats *s = &c->part[w][i];

			if (bins)
				add_bins(&out[i], s);
			else
				merge_range(&out[i], s->min, s->max, s->count, s->strange);
		}
		calib_stats_free(c->part[w], c->g->values);
	}
}

void calib_stats_free(struct calib_stats *stats, unsigned values)
{
	for (unsigned i = 0; stats && i < values; i++)
		free(stats[i].bin);
	free(stats);
}

/* All samples the same? Then there is one, however often. */
static void warn_equal(const struct collect *c)
{
	for (unsigned i = 1; i < c->o->calib.count; i++)
		if (c->hash[i] != c->hash[0])
			return;
	if (c->o->calib.count > 1)
		fprintf(stderr,
			"mica: WARNING: %s: all %u calibration samples are the same: their ranges "
			"say little "
			"about other inputs\n",
			c->g->name, c->o->calib.count);
}

static int second_run(struct collect *c, bool (*want)(void *, const struct ir_value *),
		      void *opaque, struct calib_stats *out)
{
	struct calib_sink sink = { see_bins, c, "histograms" };
	bool *wanted = ir_alloc(c->g->values, sizeof(*wanted)), any = false;
	int r = 0;

	for (unsigned i = 0; i < c->g->values; i++) {
		const struct ir_value *v = c->g->value[i];

		wanted[i] = want && v && out[i].count && want(opaque, v);
		any = any || wanted[i];
	}
	c->wanted = wanted;
	c->range = out;
	if (any) {
		new_parts(c);
		r = calib_run(c->g, c->o, &sink);
		merge(c, out, true);
	}
	free(wanted);
	return r;
}

int calib_collect(struct ir_graph *g, const struct mica_compile_options *o,
		  bool (*want)(void *opaque, const struct ir_value *v), void *opaque,
		  struct calib_stats **stats)
{
	struct collect c = { .g = g, .o = o, .workers = calib_workers(o) };
	struct calib_sink sink = { see_range, &c, "ranges" };
	struct calib_stats *out = ir_alloc(g->values, sizeof(*out));
	int r;

	c.part = ir_alloc(c.workers, sizeof(*c.part));
	c.hash = ir_alloc(o->calib.count, sizeof(*c.hash));
	new_parts(&c);
	r = calib_run(g, o, &sink);
	merge(&c, out, false);
	if (!r) {
		if (!o->quiet)
			warn_equal(&c);
		r = second_run(&c, want, opaque, out);
	}
	free(c.part);
	free(c.hash);
	if (r) {
		calib_stats_free(out, g->values);
		out = NULL;
	}
	*stats = out;
	return r;
}

/* ---- warnings ---- */

#define FEW 8

/* "a, b, c and 5 more" */
static void list(char *text, size_t size, const struct ir_graph *g, const bool *which)
{
	unsigned n = 0;

	text[0] = 0;
	for (unsigned i = 0; i < g->values; i++) {
		size_t at = strlen(text);

		if (which[i] && n++ < 3)
			snprintf(text + at, size - at, "%s'%.60s'", n > 1 ? ", " : "",
				 g->value[i]->name);
	}
	if (n > 3) {
		size_t at = strlen(text);

		snprintf(text + at, size - at, " and %u more", n - 3);
	}
}

static void warn_list(const struct ir_graph *g, const struct calib_stats *s,
		      bool (*is)(const struct ir_value *, const struct calib_stats *),
		      const char *what)
{
	bool *which = ir_alloc(g->values, sizeof(*which)), any = false;
	char text[320];

	for (unsigned i = 0; i < g->values; i++) {
		which[i] =
			g->value[i] && !g->value[i]->data && s[i].count && is(g->value[i], &s[i]);
		any = any || which[i];
	}
	if (any) {
		list(text, sizeof(text), g, which);
		fprintf(stderr, "mica: WARNING: %s: %s: %s\n", g->name, what, text);
	}
	free(which);
}

static bool has_strange(const struct ir_value *v, const struct calib_stats *s)
{
	(void)v;
	return s->strange;
}

static bool is_constant(const struct ir_value *v, const struct calib_stats *s)
{
	(void)v;
	return s->count > 1 && s->count > s->strange && s->min == s->max;
}

static bool is_huge_input(const struct ir_value *v, const struct calib_stats *s)
{
	return v->is_input && calib_largest(s) > 1e5f;
}

void calib_warn(const struct ir_graph *g, const struct mica_compile_options *o,
		const struct calib_stats *stats)
{
	if (o->calib.count < FEW)
		fprintf(stderr,
			"mica: WARNING: %s: only %u calibration sample%s: values outside the "
			"ranges seen will be clipped; "
			"some dozens of varied samples are usual\n",
			g->name, o->calib.count, o->calib.count == 1 ? "" : "s");
	warn_list(g, stats, has_strange, "NaN or infinity during calibration, in");
	warn_list(g, stats, is_constant,
		  "the same everywhere in all calibration samples, so nothing is known about the "
		  "range of");
	warn_list(g, stats, is_huge_input,
		  "calibration values above 100000, is the preprocessing right? in input");
}
