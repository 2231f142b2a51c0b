// SPDX-License-Identifier: MIT
/* mica memplan: writes plans as CSV and as a picture. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "cli.h"
#include "memplan.h"
#include "output.h"

static int finish(struct sdk_text *t, const char *path)
{
	return sdk_text_save(t, path) ? cli_fail((enum mica_err_code)MEMPLAN_OUTPUT, "%s", mica_error_text()) : 0;
}

/* ---- CSV ---- */

static void csv_text(FILE *f, const char *text)
{
	size_t len = strlen(text);

	if (!strpbrk(text, ",\"") && !isspace((unsigned char)*text) && !(len && isspace((unsigned char)text[len - 1]))) {
		fputs(text, f);
		return;
	}
	fputc('"', f);
	for (; *text; text++)
		fprintf(f, *text == '"' ? "\"\"" : "%c", *text);
	fputc('"', f);
}

int memplan_write_csv(const char *path, const struct memplan *m)
{
	struct sdk_text o;

	if (sdk_text_open(&o))
		return cli_fail(MICA_ERR_MEMORY, "out of memory");
	fprintf(o.f, "id,lower,upper,size%s%s%s,offset\n", m->has_alignment ? ",alignment" : "", m->has_fixed ? ",fixed" : "",
		m->has_alias ? ",alias" : "");
	for (size_t i = 0; i < m->count; i++) {
		const struct plan_buf *b = &m->buf[i];

		csv_text(o.f, m->row[i].id);
		fprintf(o.f, ",%llu,%llu,%llu", (unsigned long long)m->row[i].lower, (unsigned long long)m->row[i].upper,
			(unsigned long long)b->size);
		if (m->has_alignment)
			fprintf(o.f, ",%llu", (unsigned long long)b->align);
		if (m->has_fixed && b->fixed)
			fprintf(o.f, ",%llu", (unsigned long long)b->at);
		else if (m->has_fixed)
			fputc(',', o.f);
		if (m->has_alias)
			fputc(',', o.f);
		if (b->alias)
			csv_text(o.f, m->group[b->alias - 1]);
		fprintf(o.f, ",%llu\n", (unsigned long long)b->offset);
	}
	return finish(&o, path);
}

/* ---- SVG: time goes to the right, addresses go up ---- */

enum { WIDTH = 1280, HEIGHT = 800, LEFT = 110, RIGHT = 1090, TOP = 70, BOTTOM = 740 };

struct picture {
	FILE *f;
	uint64_t from, end, top;
};

static double x_of(const struct picture *p, uint64_t t)
{
	return LEFT + (RIGHT - LEFT) * (double)(t - p->from) / (double)(p->end - p->from);
}

static double y_of(const struct picture *p, uint64_t address)
{
	return BOTTOM - (BOTTOM - TOP) * (double)address / (double)p->top;
}

static void svg_text(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (strchr("<>&\"'", *text))
			fprintf(f, "&#%d;", *text);
		else
			fputc(iscntrl((unsigned char)*text) ? '?' : *text, f);
	}
}

static void svg_head(const struct picture *p, const struct memplan *m, const struct plan_result *r)
{
	static const struct { const char *class, *what; } legend[] = {
		{ "free", "buffer" }, { "group", "in an alias group" }, { "fixed", "fixed offset" },
	};

	fprintf(p->f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\""
		" font-family=\"sans-serif\" font-size=\"12\">\n<style>.b{stroke:#333;stroke-width:.5} .fixed{stroke:#000;stroke-width:2}"
		" .group{stroke:#06c;stroke-width:2} .free{stroke:#333;stroke-width:.5} .axis{stroke:#999} .peak{stroke:#000;stroke-width:1.5}"
		" .bound{stroke:#080;stroke-width:1.5;stroke-dasharray:2 3} .cap{stroke:#c00;stroke-width:1.5;stroke-dasharray:8 4}</style>\n"
		"<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", WIDTH, HEIGHT, WIDTH, HEIGHT, WIDTH, HEIGHT);
	fprintf(p->f, "<text x=\"%d\" y=\"24\" font-size=\"15\">%zu buffers: peak %llu, lower bound %llu, %s</text>\n", LEFT, m->count,
		(unsigned long long)r->peak, (unsigned long long)r->lower_bound, plan_status_name(r->status));
	for (unsigned i = 0; i < 3; i++)
		if (!i || (i == 1 ? m->has_alias : m->has_fixed))
			fprintf(p->f, "<rect class=\"%s\" x=\"%d\" y=\"36\" width=\"18\" height=\"12\" fill=\"#cde\"/><text x=\"%d\" y=\"46\">%s</text>\n",
				legend[i].class, LEFT + 170 * (int)i, LEFT + 24 + 170 * (int)i, legend[i].what);
}

struct level { const char *class, *what; uint64_t bytes; };

/* Lines from the lowest up, `last` is where the label below is: labels keep apart. */
static void svg_levels(const struct picture *p, const struct level *level, unsigned n)
{
	double last = HEIGHT;

	for (unsigned i = 0; i < n; i++) {
		double y = y_of(p, level[i].bytes), label = y + 4 < last - 14 ? y + 4 : last - 14;

		fprintf(p->f, "<line class=\"%s\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%d\" y=\"%.1f\">%s %llu</text>\n",
			level[i].class, LEFT - 6, RIGHT + 6, y, y, RIGHT + 10, label, level[i].what, (unsigned long long)level[i].bytes);
		last = label;
	}
}

/* Levels that are equal share a line. */
static void svg_results(const struct picture *p, const struct plan_result *r, uint64_t capacity)
{
	struct level level[3];
	unsigned n = 0;

	if (r->lower_bound != r->peak)
		level[n++] = (struct level){ "bound", "lower bound", r->lower_bound };
	if (capacity && capacity < r->peak) {
		bool below = n && capacity < level[0].bytes;

		level[n] = level[0];
		level[below ? 0 : n] = (struct level){ "cap", "capacity", capacity };
		n++;
	}
	level[n++] = (struct level){ "peak", r->lower_bound != r->peak ? "peak" : "peak = bound", r->peak };
	if (capacity > r->peak)
		level[n++] = (struct level){ "cap", "capacity", capacity };
	svg_levels(p, level, n);
}

static void svg_axes(const struct picture *p)
{
	for (unsigned i = 0; i <= 8; i++) {
		uint64_t t = p->from + (uint64_t)((double)(p->end - p->from) * i / 8);
		double x = x_of(p, t);

		fprintf(p->f, "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%llu</text>\n",
			x, x, BOTTOM, BOTTOM + 5, x, BOTTOM + 19, (unsigned long long)t);
	}
	fprintf(p->f, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">time (steps)</text>\n", (LEFT + RIGHT) / 2, BOTTOM + 40);
	fprintf(p->f, "<text transform=\"translate(20 %d) rotate(-90)\" text-anchor=\"middle\">address (bytes)</text>\n", (TOP + BOTTOM) / 2);
	for (unsigned i = 0; i <= 4; i++) {
		uint64_t at = p->top / 4 * i;

		fprintf(p->f, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%llu</text>\n",
			LEFT - 5, LEFT, y_of(p, at), y_of(p, at), LEFT - 10, y_of(p, at) + 4, (unsigned long long)at);
	}
}

static void svg_buffer(const struct picture *p, const struct memplan *m, size_t i)
{
	const struct plan_buf *b = &m->buf[i];
	double x = x_of(p, m->row[i].lower), y = y_of(p, b->offset + b->size);
	double w = x_of(p, m->row[i].upper) - x, h = y_of(p, b->offset) - y;
	size_t color = b->alias ? b->alias + m->count : i;

	if (!b->size)
		return;
	fprintf(p->f, "<g><rect class=\"%s\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"hsl(%zu,55%%,%zu%%)\"%s/><title>",
		b->fixed ? "fixed" : b->alias ? "group" : "b", x, y, w, h, color * 137 % 360, 68 + color * 7 % 17,
		b->alias ? " fill-opacity=\".6\"" : "");
	svg_text(p->f, m->row[i].id);
	fprintf(p->f, ": steps %llu to %llu, bytes %llu to %llu</title>", (unsigned long long)m->row[i].lower,
		(unsigned long long)m->row[i].upper, (unsigned long long)b->offset, (unsigned long long)(b->offset + b->size));
	if (h >= 11 && w >= 7.0 * (double)strlen(m->row[i].id) + 4) {
		fprintf(p->f, "<text x=\"%.2f\" y=\"%.2f\" text-anchor=\"middle\" font-size=\"10\">", x + w / 2, y + h / 2 + 3.5);
		svg_text(p->f, m->row[i].id);
		fputs("</text>", p->f);
	}
	fputs("</g>\n", p->f);
}

int memplan_write_svg(const char *path, const struct memplan *m, const struct plan_result *r, uint64_t capacity)
{
	struct picture p = { .from = UINT64_MAX, .top = r->peak > capacity ? r->peak : capacity };
	struct sdk_text o;

	if (sdk_text_open(&o))
		return cli_fail(MICA_ERR_MEMORY, "out of memory");
	for (size_t i = 0; i < m->count; i++) {
		p.from = m->row[i].lower < p.from ? m->row[i].lower : p.from;
		p.end = m->row[i].upper > p.end ? m->row[i].upper : p.end;
	}
	if (!m->count)
		p.from = 0;
	p.end = p.end > p.from ? p.end : p.from + 1;
	p.top = p.top ? p.top : 1;
	p.f = o.f;
	svg_head(&p, m, r);
	svg_axes(&p);
	for (size_t i = 0; i < m->count; i++)
		svg_buffer(&p, m, i);
	svg_results(&p, r, capacity);
	fputs("</svg>\n", o.f);
	return finish(&o, path);
}
