/* SPDX-License-Identifier: MIT */
/* The log: a line is formatted into a buffer and copied into the shared area's ring; a panic also to the console. */
#include <stdarg.h>

#include "fw.h"

struct line {
	u32 length;
	char text[192];
};

static void put(struct line *l, char c)
{
	if (l->length < sizeof(l->text))
		l->text[l->length++] = c;
}

static void put_string(struct line *l, const char *s)
{
	while (*s)
		put(l, *s++);
}

static void put_number(struct line *l, u64 v, u32 base, u32 width)
{
	char digits[20];
	u32 n = 0;

	do {
		digits[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	while (width > n) {
		put(l, '0');
		width--;
	}
	while (n)
		put(l, digits[--n]);
}

/* %u %x %llu %llx %s %%; anything else is shown as it is written. */
static const char *put_argument(struct line *l, const char *p, va_list *args)
{
	bool wide = p[0] == 'l' && p[1] == 'l';

	p += wide ? 2 : 0;
	if (*p == 'u' || *p == 'x') {
		u64 v = wide ? va_arg(*args, u64) : va_arg(*args, u32);

		put_number(l, v, *p == 'x' ? 16 : 10, 1);
	} else if (*p == 's' && !wide) {
		put_string(l, va_arg(*args, const char *));
	} else {
		if (*p != '%')
			put(l, '%');
		if (!*p)
			return p;
		put(l, *p);
	}
	return p + 1;
}

/* "[seconds.microseconds] " */
static void put_time(struct line *l)
{
	u64 t = hw_time();

	put(l, '[');
	put_number(l, t / 1000000u, 10, 1);
	put(l, '.');
	put_number(l, t % 1000000u, 10, 6);
	put_string(l, "] ");
}

static void to_ring(const struct line *l)
{
	u32 base = offsetof(struct mica_fw_shm, log.text), at = fw.log_tail % MICA_LOG_SIZE;
	u32 first = l->length < MICA_LOG_SIZE - at ? l->length : MICA_LOG_SIZE - at;

	shm_write(base + at, l->text, first);
	if (first < l->length)
		shm_write(base, l->text + first, l->length - first);
	fw.log_tail += l->length;
	shm_write(offsetof(struct mica_fw_shm, log.tail), &fw.log_tail, sizeof(fw.log_tail));
	fw.raise |= 1u << MICA_VEC_LOG;
}

void log_print(const char *fmt, ...)
{
	static struct line line;
	va_list args;

	line.length = 0;
	put_time(&line);
	va_start(args, fmt);
	while (*fmt && line.length < sizeof(line.text)) {
		if (*fmt == '%')
			fmt = put_argument(&line, fmt + 1, &args);
		else
			put(&line, *fmt++);
	}
	va_end(args);
	if (line.length == sizeof(line.text))
		line.length--;
	put(&line, '\n');
	if (fw.panicking) {
		for (u32 i = 0; i < line.length; i++)
			hw_write(MICA_LREG_CONSOLE, (u8)line.text[i]);
	}
	to_ring(&line);
}
