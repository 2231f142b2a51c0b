// SPDX-License-Identifier: MIT
/* The pictures on the page of `mica compare`, as SVG without a script. Colors are the page's. */
#include "compare_show.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- histograms ---- */

#define W 440.0
#define H 110.0

/* The shown range: the bins, and the limits where they are not far. */
struct scale {
	double lo, hi, top;	/* top: log of the fullest bin */
};

static double level(uint64_t n)
{
	return n ? 1 + log10((double)n) : 0;
}

static struct scale scale_of(const struct mica_compare_layer *l)
{
	const struct mica_compare_histogram *h = &l->histogram;
	struct scale s = { h->lo, h->hi, 1 };
	double far = 0.35 * (h->hi - h->lo);

	if (l->has_limit && (double)l->limit_hi > s.hi && (double)l->limit_hi < s.hi + far)
		s.hi = (double)l->limit_hi + 0.02 * far;
	if (l->has_limit && (double)l->limit_lo < s.lo && (double)l->limit_lo > s.lo - far)
		s.lo = (double)l->limit_lo - 0.02 * far;
	for (unsigned i = 0; i < h->bins; i++)
		s.top = fmax(s.top, fmax(level(h->before[i]), level(h->after[i])));
	return s;
}

static double at_x(const struct scale *s, double v)
{
	return s->hi > s->lo ? W * (v - s->lo) / (s->hi - s->lo) : 0;
}

/* Steps from bin to bin; down to the axis at both ends. */
static void steps(FILE *f, const struct mica_compare_histogram *h, const uint64_t *bin, const struct scale *s)
{
	double each = (h->hi - h->lo) / h->bins, last = -1;

	fprintf(f, "M%.1f %.0f", at_x(s, h->lo), H);
	for (unsigned i = 0; i < h->bins; i++) {
		double y = H - (H - 4) * level(bin[i]) / s->top;

		if (y != last)
			fprintf(f, "%sV%.1f", i ? "" : " ", y);
		last = y;
		if (i + 1 == h->bins || bin[i + 1] != bin[i])
			fprintf(f, "H%.1f", at_x(s, h->lo + (i + 1) * each));
	}
	fprintf(f, "V%.0f", H);
}

static void limit(FILE *f, const struct scale *s, float at)
{
	double x = at_x(s, (double)at);

	if ((double)at >= s->lo && (double)at <= s->hi)
		fprintf(f, "<path class=limit d=\"M%.1f 0V%.0f\"/>", x, H);
}

void svg_histogram(FILE *f, const struct mica_compare_layer *l)
{
	const struct mica_compare_histogram *h = &l->histogram;
	struct scale s = scale_of(l);

	if (!h->bins)
		return;
	fprintf(f, "<svg class=hist viewBox=\"0 0 %.0f %.0f\" preserveAspectRatio=none role=img aria-label=\"histogram\"><path class=before d=\"", W, H + 1);
	steps(f, h, h->before, &s);
	fputs("\"/><path class=after d=\"", f);
	steps(f, h, h->after, &s);
	fputs("\"/>", f);
	if (s.lo < 0 && s.hi > 0)
		fprintf(f, "<path class=zero d=\"M%.1f 0V%.0f\"/>", at_x(&s, 0), H);
	if (l->has_limit) {
		limit(f, &s, l->limit_lo);
		limit(f, &s, l->limit_hi);
	}
	fprintf(f, "</svg><div class=axis><span>%.4g</span><span>%.4g</span></div>\n", s.lo, s.hi);
}

/* ---- channels ---- */

#define CH 54.0
#define MOST_POINTS 220

static int descending(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return x > y ? -1 : x < y;
}

/* Largest first on a logarithmic axis from `top` down four decades; zeroes end the line. */
static void curve(FILE *f, const char *class, const float *sorted, unsigned n, float top)
{
	unsigned each = (n + MOST_POINTS - 1) / MOST_POINTS;
	bool begun = false;

	fprintf(f, "<path class=%s d=\"", class);
	for (unsigned i = 0; i < n && sorted[i] > 0; i += each) {
		double y = CH * fmin(1, log10((double)top / (double)sorted[i]) / 4);

		fprintf(f, "%s%.1f %.1f", begun ? "L" : "M", n > 1 ? W * i / (n - 1) : 0, 1 + y);
		begun = true;
	}
	fputs("\"/>", f);
}

static unsigned above_zero(const float *sorted, unsigned n)
{
	while (n && sorted[n - 1] == 0)
		n--;
	return n;
}

static void say_range(FILE *f, const char *class, const char *what, const float *sorted, unsigned n)
{
	unsigned used = above_zero(sorted, n);
	double ratio = used ? (double)sorted[0] / (double)sorted[used - 1] : 0;

	fprintf(f, "<span class=%s>%s", class, what);
	if (used)
		fprintf(f, " %.3g &hellip; %.3g (%.*f : 1)", (double)sorted[0], (double)sorted[used - 1], ratio < 100, ratio);
	if (used < n)
		fprintf(f, ", %u zero", n - used);
	fputs("</span>", f);
}

void svg_channels(FILE *f, const struct mica_compare_channels *c)
{
	float *weight = calloc(2 * (size_t)c->count + 1, sizeof(*weight)), *value = weight + c->count;

	if (!weight || c->count < 2) {
		free(weight);
		return;
	}
	memcpy(weight, c->weight, c->count * sizeof(*weight));
	for (unsigned i = 0; i < c->count; i++)
		value[i] = isfinite(c->lo[i]) && isfinite(c->hi[i]) ? fmaxf(fabsf(c->lo[i]), fabsf(c->hi[i])) : 0;
	qsort(weight, c->count, sizeof(*weight), descending);
	qsort(value, c->count, sizeof(*value), descending);
	fprintf(f, "<svg class=channels viewBox=\"0 0 %.0f %.0f\" preserveAspectRatio=none role=img aria-label=\"largest weight and value by channel\">", W, CH + 2);
	curve(f, "cw", weight, c->count, weight[0]);
	curve(f, "cv", value, c->count, value[0]);
	fprintf(f, "</svg><div class=axis><span>%u channels, largest first, 4 decades</span></div><p class=ranges>", c->count);
	say_range(f, "tw", "weights", weight, c->count);
	say_range(f, "tv", "values", value, c->count);
	fputs("</p>\n", f);
	free(weight);
}

/* ---- the whole network ---- */

#define PW 1000.0
#define PH 170.0
#define PDB 60.0	/* the top of the axis */

static double at_db(double snr)
{
	return PH * (1 - fmin(fmax(snr, 0), PDB) / PDB);
}

static int by_execution(const void *a, const void *b)
{
	const struct mica_compare_layer *const *x = a, *const *y = b;

	return (*x)->order < (*y)->order ? -1 : (*x)->order > (*y)->order;
}

static void profile_bars(FILE *f, const struct mica_compare_layer *const *l, unsigned n)
{
	double each = PW / n, gap = each > 4 ? 1 : 0;

	for (unsigned i = 0; i < n; i++) {
		double y = at_db(l[i]->alone.snr);
		char alone[16], whole[16];

		fprintf(f, "<a href=\"#l%u\"><rect class=pa x=%.2f y=%.1f width=%.2f height=%.1f><title>%u ", l[i]->order, i * each + gap / 2, y, each - gap, PH - y,
			l[i]->order);
		mica_html_text(f, l[i]->name);
		fprintf(f, ": alone %s dB, network %s dB</title></rect></a>\n", compare_snr_text(l[i]->alone.snr, alone),
			compare_snr_text(l[i]->whole.snr, whole));
	}
}

void svg_profile(FILE *f, const struct mica_comparison *c)
{
	const struct mica_compare_layer **l = calloc(c->layers + 1, sizeof(const struct mica_compare_layer *));
	double each = c->layers ? PW / c->layers : 0;

	if (!l || !c->layers) {
		free(l);
		return;
	}
	for (unsigned i = 0; i < c->layers; i++)
		l[i] = &c->layer[i];
	qsort(l, c->layers, sizeof(*l), by_execution);
	fprintf(f, "<div class=profile><div class=scale><span>60 dB</span><span>40</span><span>20</span><span>0</span></div>"
		"<svg viewBox=\"0 0 %.0f %.0f\" preserveAspectRatio=none>", PW, PH);
	profile_bars(f, l, c->layers);
	for (int db = 20; db < 60; db += 20)
		fprintf(f, "<path class=grid d=\"M0 %.1fH%.0f\"/>", at_db(db), PW);
	fputs("<path class=pw d=\"", f);
	for (unsigned i = 0; i < c->layers; i++)
		fprintf(f, "%s%.1f %.1fh%.2f", i ? "L" : "M", i * each, at_db(l[i]->whole.snr), each);
	fputs("\"/></svg></div>\n", f);
	free(l);
}
