// SPDX-License-Identifier: MIT
/* mica memplan: reads problems, writes plans as CSV and SVG. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli.h"
#include "memplan.h"

enum { MAX_BUFFERS = 65536, MAX_COLUMNS = 32, MAX_LINE = 4096 };
enum column { ID, LOWER, UPPER, SIZE, ALIGNMENT, COLUMNS };
static const char *const column_names[COLUMNS] = { "id", "lower", "upper", "size", "alignment" };
/* Sums of so many sizes and alignments stay far from 2^64. */
#define MAX_SIZE	(1ull << 44)
#define MAX_ALIGNMENT	(1ull << 32)

struct reader {
	const char *path;
	unsigned long line;
	int at[COLUMNS];		/* which field holds it; -1: none */
	struct memplan *m;
};


static int __attribute__((format(printf, 2, 3))) refuse(const struct reader *r, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return cli_fail((enum mica_err_code)MEMPLAN_INPUT, "%s:%lu: %s", r->path, r->line, text);
}

/* Cuts a line into fields, without the blanks around them. The number of fields, or MAX_COLUMNS + 1. */
static int cut(char *line, char **field)
{
	int n = 0;

	for (char *p = line, *next; p; p = next) {
		next = strchr(p, ',');
		if (next)
			*next++ = 0;
		p += strspn(p, " \t");
		for (size_t len = strlen(p); len && isspace((unsigned char)p[len - 1]);)
			p[--len] = 0;
		if (n == MAX_COLUMNS)
			return MAX_COLUMNS + 1;
		field[n++] = p;
	}
	return n;
}

static int read_header(struct reader *r, char **field, int n)
{
	for (int c = 0; c < COLUMNS; c++) {
		r->at[c] = -1;
		for (int i = 0; i < n && i < MAX_COLUMNS; i++) {
			if (strcmp(field[i], column_names[c]))
				continue;
			if (r->at[c] >= 0)
				return refuse(r, "two columns are named '%s'", column_names[c]);
			r->at[c] = i;
		}
		if (r->at[c] < 0 && c != ALIGNMENT)
			return refuse(r, "no column '%s'; the first line names the columns: id,lower,upper,size and optionally alignment",
				      column_names[c]);
	}
	return 0;
}

static int read_number(const struct reader *r, char **field, enum column c, uint64_t most, uint64_t *out)
{
	const char *text = field[r->at[c]];
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end)
		return refuse(r, "%s is '%.40s', not a whole number", column_names[c], text);
	if (errno || v > most)
		return refuse(r, "%s is %.40s, the most is %llu", column_names[c], text, (unsigned long long)most);
	*out = v;
	return 0;
}

static int add_buffer(struct memplan *m, struct plan_buf b, const char *id)
{
	if (m->count == m->room) {
		size_t room = m->room ? 2 * m->room : 256;
		struct plan_buf *buf = realloc(m->buf, room * sizeof(*buf));
		char **ids = buf ? realloc(m->id, room * sizeof(*ids)) : NULL;

		m->buf = buf ? buf : m->buf;
		m->id = ids ? ids : m->id;
		if (!ids)
			return cli_fail(MICA_ERR_MEMORY, "out of memory");
		m->room = room;
	}
	m->id[m->count] = strdup(id);
	if (!m->id[m->count])
		return cli_fail(MICA_ERR_MEMORY, "out of memory");
	m->buf[m->count++] = b;
	return 0;
}

static int read_buffer(struct reader *r, char **field, int n)
{
	uint64_t lower, upper, size, align = 1;
	int ret = 0;

	for (int c = 0; c < COLUMNS; c++)
		if (r->at[c] >= n)
			return refuse(r, "%d fields, '%s' is column %d", n, column_names[c], r->at[c] + 1);
	if (!*field[r->at[ID]] || strpbrk(field[r->at[ID]], "\"\n\r"))
		return refuse(r, "the id is empty or holds a quote");
	ret = read_number(r, field, LOWER, UINT32_MAX, &lower);
	ret = ret ? ret : read_number(r, field, UPPER, UINT32_MAX, &upper);
	ret = ret ? ret : read_number(r, field, SIZE, MAX_SIZE, &size);
	if (!ret && r->at[ALIGNMENT] >= 0)
		ret = read_number(r, field, ALIGNMENT, MAX_ALIGNMENT, &align);
	if (ret)
		return ret;
	if (lower >= upper)
		return refuse(r, "lower %llu is not below upper %llu (upper is exclusive)", (unsigned long long)lower, (unsigned long long)upper);
	if (!align || align & (align - 1))
		return refuse(r, "alignment %llu is not a power of two", (unsigned long long)align);
	if (r->m->count == MAX_BUFFERS)
		return refuse(r, "more than %d buffers", MAX_BUFFERS);
	return add_buffer(r->m, (struct plan_buf){ (uint32_t)lower, (uint32_t)(upper - 1), size, align, 0 }, field[r->at[ID]]);
}

static int read_lines(struct reader *r, FILE *f)
{
	char line[MAX_LINE], *field[MAX_COLUMNS];
	int ret = 0;

	while (!ret && fgets(line, sizeof(line), f)) {
		size_t len = strlen(line);
		int n;

		r->line++;
		if (len + 1 == sizeof(line) && line[len - 1] != '\n')
			return refuse(r, "longer than %d characters", MAX_LINE - 2);
		if (!len || (line[len - 1] != '\n' && !feof(f)))
			return refuse(r, "a NUL character: this is no CSV file");
		if (r->line > 1 && line[strspn(line, " \t\r\n")] == 0)
			continue;
		n = cut(line, field);
		if (n > MAX_COLUMNS)
			return refuse(r, "more than %d columns", MAX_COLUMNS);
		ret = r->line == 1 ? read_header(r, field, n) : read_buffer(r, field, n);
	}
	if (!ret && ferror(f))
		return cli_fail((enum mica_err_code)MEMPLAN_INPUT, "%s: %s", r->path, strerror(errno));
	if (!ret && !r->line)
		return cli_fail((enum mica_err_code)MEMPLAN_INPUT, "%s: is empty", r->path);
	return ret;
}

int memplan_read(const char *path, struct memplan *m)
{
	struct reader r = { .path = path, .m = m };
	FILE *f = fopen(path, "r");
	int ret;

	*m = (struct memplan){ 0 };
	if (!f)
		return cli_fail((enum mica_err_code)MEMPLAN_INPUT, "%s: %s", path, strerror(errno));
	ret = read_lines(&r, f);
	fclose(f);
	return ret;
}

void memplan_free(struct memplan *m)
{
	for (size_t i = 0; i < m->count; i++)
		free(m->id[i]);
	free(m->id);
	free(m->buf);
}

/* ---- writing ---- */

struct out { FILE *f; char *tmp; };

static int open_out(const char *path, struct out *o)
{
	if (asprintf(&o->tmp, "%s.tmp%ld", path, (long)getpid()) < 0)
		return cli_fail(MICA_ERR_MEMORY, "out of memory");
	o->f = fopen(o->tmp, "w");
	if (o->f)
		return 0;
	cli_fail((enum mica_err_code)MEMPLAN_OUTPUT, "%s: %s", path, strerror(errno));
	free(o->tmp);
	return MEMPLAN_OUTPUT;
}

static int close_out(const char *path, struct out *o)
{
	bool bad = ferror(o->f);

	bad |= fclose(o->f) != 0;
	bad = bad || rename(o->tmp, path);
	if (bad) {
		cli_fail((enum mica_err_code)MEMPLAN_OUTPUT, "%s: %s", path, strerror(errno));
		remove(o->tmp);
	}
	free(o->tmp);
	return bad ? MEMPLAN_OUTPUT : 0;
}

int memplan_write_csv(const char *path, const struct memplan *m)
{
	struct out o;
	int ret = open_out(path, &o);

	if (ret)
		return ret;
	fprintf(o.f, "id,lower,upper,size,alignment,offset\n");
	for (size_t i = 0; i < m->count; i++) {
		const struct plan_buf *b = &m->buf[i];

		fprintf(o.f, "%s,%u,%llu,%llu,%llu,%llu\n", m->id[i], b->first, b->last + 1ull, (unsigned long long)b->size,
			(unsigned long long)b->align, (unsigned long long)b->offset);
	}
	return close_out(path, &o);
}

static void svg_text(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (*text == '<' || *text == '>' || *text == '&')
			fprintf(f, "&#%d;", *text);
		else
			fputc(iscntrl((unsigned char)*text) ? '?' : *text, f);
	}
}

static void svg_line(FILE *f, double y, const char *class, const char *what, uint64_t bytes)
{
	fprintf(f, "<line class=\"%s\" x1=\"90\" x2=\"1190\" y1=\"%.2f\" y2=\"%.2f\"/><text x=\"84\" y=\"%.2f\">%s %llu</text>\n", class,
		y, y, y + 3, what, (unsigned long long)bytes);
}

static void svg_head(FILE *f)
{
	fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1200 720\" font-family=\"sans-serif\" font-size=\"9\">\n"
		"<style>rect{stroke:#fff;stroke-width:.4} text{text-anchor:end} line{stroke-width:1} .peak{stroke:#333}"
		" .cap{stroke:#c00;stroke-dasharray:6 3}</style>\n<rect width=\"1200\" height=\"720\" fill=\"#fff\"/>\n");
}

/* Time goes to the right, addresses go up. */
int memplan_write_svg(const char *path, const struct memplan *m, const struct plan_result *r, uint64_t capacity)
{
	uint64_t from = UINT64_MAX, end = 0, top = r->peak > capacity ? r->peak : capacity;
	struct out o;
	int ret = open_out(path, &o);

	if (ret)
		return ret;
	for (size_t i = 0; i < m->count; i++) {
		from = m->buf[i].first < from ? m->buf[i].first : from;
		end = m->buf[i].last + 1ull > end ? m->buf[i].last + 1ull : end;
	}
	svg_head(o.f);
	for (size_t i = 0; i < m->count; i++) {
		const struct plan_buf *b = &m->buf[i];
		double x = 1100.0 / (double)(end - from), y = 660.0 / (double)(top ? top : 1);

		if (!b->size)
			continue;
		fprintf(o.f, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"hsl(%zu,60%%,65%%)\"><title>",
			90 + x * (double)(b->first - from), 690 - y * (double)(b->offset + b->size), x * (b->last - b->first + 1.0),
			y * (double)b->size, i * 137 % 360);
		svg_text(o.f, m->id[i]);
		fprintf(o.f, ": steps %u..%u, bytes %llu..%llu</title></rect>\n", b->first, b->last, (unsigned long long)b->offset,
			(unsigned long long)(b->offset + b->size));
	}
	svg_line(o.f, 690 - (top ? 660.0 * (double)r->peak / (double)top : 0), "peak", "peak", r->peak);
	if (capacity && capacity != r->peak)
		svg_line(o.f, 690 - 660.0 * (double)capacity / (double)top, "cap", "capacity", capacity);
	svg_line(o.f, 690, "peak", "", 0);
	fprintf(o.f, "<text x=\"1190\" y=\"706\">steps %llu to %llu</text>\n</svg>\n", m->count ? (unsigned long long)from : 0ull,
		(unsigned long long)end);
	return close_out(path, &o);
}
