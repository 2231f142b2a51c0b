// SPDX-License-Identifier: MIT
/* mica memplan: reads problems from CSV files, which may come from anywhere. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "cli.h"
#include "memplan.h"

enum { MAX_BUFFERS = 1 << 22, MAX_COLUMNS = 32, MAX_LINE = 4096 };
enum column { ID, LOWER, UPPER, SIZE, ALIGNMENT, FIXED, ALIAS, COLUMNS };
static const char *const column_names[COLUMNS] = { "id", "lower", "upper", "size", "alignment", "fixed", "alias" };
#define MAX_ALIGNMENT	(1ull << 32)
#define MAX_SUM		(1ull << 60)	/* of all sizes */

struct reader {
	const char *path;
	unsigned long line;
	int at[COLUMNS];		/* which field holds it; -1: none */
	char **alias;			/* by buffer; NULL: none */
	unsigned long *lines;		/* by buffer */
	uint64_t sum;
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

static int no_memory(void)
{
	return cli_fail(MICA_ERR_MEMORY, "out of memory");
}

/* ---- fields ---- */

/* A quoted field in place, doubled quotes made single. Returns what follows it, or NULL when it does not end. */
static char *unquote(char *p)
{
	char *out = p++;

	for (; *p; p++) {
		if (*p == '"' && p[1] != '"') {
			*out = 0;
			return p + 1;
		}
		p += *p == '"';
		*out++ = *p;
	}
	return NULL;
}

/* Cuts a line into fields, without the blanks around those that have no quotes. 0 or an exit code. */
static int cut(const struct reader *r, char *line, char **field, int *n)
{
	*n = 0;
	for (char *p = line, *next; p; p = next) {
		char *rest;

		p += strspn(p, " \t");
		rest = *p == '"' ? unquote(p) : p;
		if (!rest)
			return refuse(r, "a quoted field does not end on its line");
		next = strchr(rest, ',');
		if (next)
			*next++ = 0;
		if (rest != p && rest[strspn(rest, " \t\r\n")])
			return refuse(r, "'%.40s' after a quoted field", rest);
		for (size_t len = rest == p ? strlen(p) : 0; len && isspace((unsigned char)p[len - 1]);)
			p[--len] = 0;
		if (*n == MAX_COLUMNS)
			return refuse(r, "more than %d columns", MAX_COLUMNS);
		field[(*n)++] = p;
	}
	return 0;
}

static int read_header(struct reader *r, char **field, int n)
{
	for (int c = 0; c < COLUMNS; c++) {
		r->at[c] = -1;
		for (int i = 0; i < n; i++) {
			if (strcasecmp(field[i], column_names[c]))
				continue;
			if (r->at[c] >= 0)
				return refuse(r, "two columns are named '%s'", column_names[c]);
			r->at[c] = i;
		}
		if (r->at[c] < 0 && c <= SIZE)
			return refuse(r, "no column '%s'; the first line names the columns: id,lower,upper,size and optionally alignment,fixed,alias",
				      column_names[c]);
	}
	r->m->has_alignment = r->at[ALIGNMENT] >= 0;
	r->m->has_fixed = r->at[FIXED] >= 0;
	r->m->has_alias = r->at[ALIAS] >= 0;
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

/* ---- buffers ---- */

static int make_room(struct reader *r)
{
	struct memplan *m = r->m;
	size_t room = m->room ? 2 * m->room : 256;
	struct plan_buf *buf = realloc(m->buf, room * sizeof(*buf));
	struct memplan_row *row = realloc(m->row, room * sizeof(*row));
	char **alias = realloc(r->alias, room * sizeof(*alias));
	unsigned long *lines = realloc(r->lines, room * sizeof(*lines));

	m->buf = buf ? buf : m->buf;
	m->row = row ? row : m->row;
	r->alias = alias ? alias : r->alias;
	r->lines = lines ? lines : r->lines;
	if (!buf || !row || !alias || !lines)
		return no_memory();
	m->room = room;
	return 0;
}

static int add_buffer(struct reader *r, char **field, struct plan_buf b, uint64_t lower, uint64_t upper)
{
	const char *alias = r->at[ALIAS] >= 0 ? field[r->at[ALIAS]] : "";
	struct memplan *m = r->m;
	int ret = m->count == m->room ? make_room(r) : 0;

	if (ret)
		return ret;
	m->row[m->count] = (struct memplan_row){ strdup(field[r->at[ID]]), lower, upper };
	r->alias[m->count] = *alias ? strdup(alias) : NULL;
	r->lines[m->count] = r->line;
	m->buf[m->count++] = b;
	return m->row[m->count - 1].id && (!*alias || r->alias[m->count - 1]) ? 0 : no_memory();
}

static int read_optional(const struct reader *r, char **field, struct plan_buf *b)
{
	int ret = 0;

	b->align = 1;
	if (r->at[ALIGNMENT] >= 0 && *field[r->at[ALIGNMENT]])
		ret = read_number(r, field, ALIGNMENT, MAX_ALIGNMENT, &b->align);
	if (ret)
		return ret;
	if (!b->align || b->align & (b->align - 1))
		return refuse(r, "alignment %llu is not a power of two", (unsigned long long)b->align);
	b->fixed = r->at[FIXED] >= 0 && *field[r->at[FIXED]];
	if (b->fixed)
		ret = read_number(r, field, FIXED, PLAN_MOST, &b->at);
	if (!ret && b->at % b->align)
		return refuse(r, "fixed %llu is not a multiple of the alignment %llu", (unsigned long long)b->at, (unsigned long long)b->align);
	return ret;
}

static int read_buffer(struct reader *r, char **field, int n)
{
	struct plan_buf b = { 0 };
	uint64_t lower, upper;
	int ret;

	for (int c = 0; c < COLUMNS; c++)
		if (r->at[c] >= n)
			return refuse(r, "%d fields, '%s' is column %d", n, column_names[c], r->at[c] + 1);
	if (!*field[r->at[ID]])
		return refuse(r, "the id is empty");
	ret = read_number(r, field, LOWER, INT64_MAX, &lower);
	ret = ret ? ret : read_number(r, field, UPPER, INT64_MAX, &upper);
	ret = ret ? ret : read_number(r, field, SIZE, PLAN_MOST, &b.size);
	ret = ret ? ret : read_optional(r, field, &b);
	if (ret)
		return ret;
	if (lower >= upper)
		return refuse(r, "lower %llu is not below upper %llu (upper is exclusive)", (unsigned long long)lower, (unsigned long long)upper);
	r->sum += b.size;
	if (r->sum > MAX_SUM)
		return refuse(r, "the sizes up to here sum to more than %llu bytes", MAX_SUM);
	if (r->m->count == MAX_BUFFERS)
		return refuse(r, "more than %d buffers", MAX_BUFFERS);
	return add_buffer(r, field, b, lower, upper);
}

static int read_lines(struct reader *r, FILE *f)
{
	char line[MAX_LINE], *field[MAX_COLUMNS];
	int ret = 0, n;

	while (!ret && fgets(line, sizeof(line), f)) {
		size_t len = strlen(line), bom = !r->line && !strncmp(line, "\xef\xbb\xbf", 3) ? 3 : 0;

		r->line++;
		if (len + 1 == sizeof(line) && line[len - 1] != '\n')
			return refuse(r, "longer than %d characters", MAX_LINE - 2);
		if (!len || (line[len - 1] != '\n' && !feof(f)))
			return refuse(r, "a NUL character: this is no CSV file");
		if (r->line > 1 && !line[strspn(line, " \t\r\n")])
			continue;
		ret = cut(r, line + bom, field, &n);
		if (!ret)
			ret = r->line == 1 ? read_header(r, field, n) : read_buffer(r, field, n);
	}
	if (!ret && ferror(f))
		return cli_fail((enum mica_err_code)MEMPLAN_INPUT, "%s: %s", r->path, strerror(errno));
	if (!ret && !r->line)
		return cli_fail((enum mica_err_code)MEMPLAN_INPUT, "%s: is empty; the first line names the columns: id,lower,upper,size", r->path);
	return ret;
}

/* ---- what is known only with the whole file ---- */

static int by_time(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static uint32_t rank_of(const uint64_t *at, size_t n, uint64_t t)
{
	const uint64_t *found = bsearch(&t, at, n, sizeof(*at), by_time);

	return (uint32_t)(found - at);
}

/* Only the order of times matters, so any 63-bit times become small ones. */
static int rank_times(struct memplan *m)
{
	uint64_t *at = calloc(2 * m->count + 1, sizeof(*at));
	size_t n = 0, distinct = 0;

	if (!at)
		return no_memory();
	for (size_t i = 0; i < m->count; i++) {
		at[n++] = m->row[i].lower;
		at[n++] = m->row[i].upper;
	}
	qsort(at, n, sizeof(*at), by_time);
	for (size_t i = 0; i < n; i++)
		if (!i || at[i] != at[distinct - 1])
			at[distinct++] = at[i];
	for (size_t i = 0; i < m->count; i++) {
		m->buf[i].first = rank_of(at, distinct, m->row[i].lower);
		m->buf[i].last = rank_of(at, distinct, m->row[i].upper) - 1;
	}
	free(at);
	return 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int number_groups(struct reader *r)
{
	struct memplan *m = r->m;
	size_t distinct = 0;

	m->group = calloc(m->count + 1, sizeof(*m->group));
	if (!m->group)
		return no_memory();
	for (size_t i = 0; i < m->count; i++)
		if (r->alias[i])
			m->group[m->groups++] = r->alias[i];
	qsort(m->group, m->groups, sizeof(*m->group), by_text);
	for (size_t i = 0; i < m->groups; i++)
		if (!i || strcmp(m->group[i], m->group[distinct - 1]))
			m->group[distinct++] = m->group[i];
	m->groups = distinct;
	for (size_t i = 0; i < m->count; i++) {
		char **found = r->alias[i] ? bsearch(&r->alias[i], m->group, distinct, sizeof(*found), by_text) : NULL;

		m->buf[i].alias = found ? (uint32_t)(found - m->group) + 1 : 0;
		if (found && *found != r->alias[i])
			free(r->alias[i]);
	}
	free(r->alias);
	r->alias = NULL;
	return 0;
}

static int by_id(const void *a, const void *b, void *context)
{
	const struct memplan_row *row = context;
	size_t i = *(const size_t *)a, k = *(const size_t *)b;
	int order = strcmp(row[i].id, row[k].id);

	return order ? order : i < k ? -1 : i > k;
}

static int refuse_twins(struct reader *r)
{
	size_t n = r->m->count, *order = calloc(n + 1, sizeof(*order));
	int ret = 0;

	if (!order)
		return no_memory();
	for (size_t i = 0; i < n; i++)
		order[i] = i;
	qsort_r(order, n, sizeof(*order), by_id, r->m->row);
	for (size_t i = 1; i < n && !ret; i++) {
		if (strcmp(r->m->row[order[i]].id, r->m->row[order[i - 1]].id))
			continue;
		r->line = r->lines[order[i]];
		ret = refuse(r, "the id '%.40s' has been used in line %lu", r->m->row[order[i]].id, r->lines[order[i - 1]]);
	}
	free(order);
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
	ret = ret ? ret : rank_times(m);
	ret = ret ? ret : refuse_twins(&r);
	ret = ret ? ret : number_groups(&r);
	for (size_t i = 0; r.alias && i < m->count; i++)
		free(r.alias[i]);
	free(r.alias);
	free(r.lines);
	return ret;
}

void memplan_free(struct memplan *m)
{
	for (size_t i = 0; i < m->count; i++)
		free(m->row[i].id);
	for (size_t i = 0; i < m->groups; i++)
		free(m->group[i]);
	free(m->group);
	free(m->row);
	free(m->buf);
}
