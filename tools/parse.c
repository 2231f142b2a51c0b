// SPDX-License-Identifier: MIT
/* Command lines by tables: finds an option in its group, checks its value strictly, says what is allowed. */
#include "cli.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OPTIONS 96
#define FIRST 1000	/* getopt's value of the first option: above every letter */

struct parser {
	struct option getopt[MAX_OPTIONS];
	const struct cli_opt *opt[MAX_OPTIONS];
	const struct cli_group *group[MAX_OPTIONS];
	unsigned count;
};

/* ---- values ---- */

int cli_choose(const char *option, const char *arg, const char *const *names, unsigned count, unsigned *out)
{
	char allowed[256];
	size_t n = 0;

	for (unsigned i = 0; i < count; i++) {
		if (!strcmp(arg, names[i])) {
			*out = i;
			return 0;
		}
		n += snprintf(allowed + n, sizeof(allowed) - n, "%s%s", i ? ", " : "", names[i]);
	}
	return cli_fail(MICA_ERR_USAGE, "--%s=%s: allowed are %s", option, arg, allowed);
}

int cli_choose_set(const char *option, const char *arg, const char *const *names, unsigned count, unsigned *mask)
{
	char *copy = strdup(arg), *rest = copy, *item;
	unsigned which = 0;
	int ret = copy ? 0 : cli_fail(MICA_ERR_MEMORY, "out of memory");

	*mask = 0;
	while (!ret && (item = strsep(&rest, ","))) {
		ret = cli_choose(option, item, names, count, &which);
		*mask |= ret ? 0 : 1u << which;
	}
	free(copy);
	return ret;
}

int cli_unsigned(const char *option, const char *arg, unsigned lo, unsigned hi, unsigned *out)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(arg, &end, 10);
	if (errno || end == arg || *end || *arg < '0' || *arg > '9' || v < lo || v > hi)
		return cli_fail(MICA_ERR_USAGE, "--%s=%s: a number from %u to %u is allowed", option, arg, lo, hi);
	*out = v;
	return 0;
}

int cli_number(const char *option, const char *arg, double lo, double hi, double *out)
{
	char *end;
	double v = strtod(arg, &end);

	if (end == arg || *end || !(v >= lo && v <= hi))
		return cli_fail(MICA_ERR_USAGE, "--%s=%s: a number from %g to %g is allowed", option, arg, lo, hi);
	*out = v;
	return 0;
}

int cli_take_flag(const struct cli_opt *o, const char *arg, void *to)
{
	(void)o;
	(void)arg;
	*(bool *)to = true;
	return 0;
}

int cli_take_maybe(const struct cli_opt *o, const char *arg, void *to)
{
	*(struct cli_maybe *)to = (struct cli_maybe){ true, arg };
	return arg && !*arg ? cli_fail(MICA_ERR_USAGE, "--%s=: a file's name is expected", o->name) : 0;
}

int cli_take_text(const struct cli_opt *o, const char *arg, void *to)
{
	(void)o;
	*(const char **)to = arg;
	return 0;
}

int cli_take_choice(const struct cli_opt *o, const char *arg, void *to)
{
	return cli_choose(o->name, arg, o->names, o->hi, to);
}

int cli_take_set(const struct cli_opt *o, const char *arg, void *to)
{
	return cli_choose_set(o->name, arg, o->names, o->hi, to);
}

int cli_take_unsigned(const struct cli_opt *o, const char *arg, void *to)
{
	return cli_unsigned(o->name, arg, o->lo, o->hi, to);
}

int cli_take_number(const struct cli_opt *o, const char *arg, void *to)
{
	return cli_number(o->name, arg, o->lo, o->hi, to);
}

int cli_take_seconds(const struct cli_opt *o, const char *arg, void *to)
{
	char *end;
	double v = strtod(arg, &end);

	if (end == arg || *end || !isfinite(v) || v <= 0 || v > 86400)
		return cli_fail(MICA_ERR_USAGE, "--%s=%s: seconds above 0 and at most 86400 are allowed", o->name, arg);
	*(double *)to = v;
	return 0;
}

int cli_take_bytes(const struct cli_opt *o, const char *arg, void *to)
{
	unsigned long long v, unit = 1;
	char *end;

	errno = 0;
	v = strtoull(arg, &end, 10);
	if (*end == 'K' || *end == 'k')
		unit = 1 << 10;
	else if (*end == 'M' || *end == 'm')
		unit = 1 << 20;
	else if (*end == 'G' || *end == 'g')
		unit = 1 << 30;
	if (unit > 1)
		end++;
	if (errno || end == arg || *end || *arg == '-' || v > (1ull << 30) / unit || v * unit < 4096 || v * unit % 64)
		return cli_fail(MICA_ERR_USAGE, "--%s=%s: bytes from 4K to 1G that are a multiple of 64 are allowed, like 2M or 256K",
				o->name, arg);
	*(uint32_t *)to = v * unit;
	return 0;
}

/* ---- command lines ---- */

static bool known(const struct parser *p, const char *name)
{
	for (unsigned i = 0; i < p->count; i++)
		if (!strcmp(p->opt[i]->name, name))
			return true;
	return false;
}

static int values_of(const struct cli_opt *o)
{
	return o->take == cli_take_flag ? no_argument : o->take == cli_take_maybe ? optional_argument : required_argument;
}

static void collect(struct parser *p, const struct cli_group *groups)
{
	for (; groups->opt; groups++) {
		for (const struct cli_opt *o = groups->opt; o->name && p->count + 2 < MAX_OPTIONS; o++) {
			if (known(p, o->name))
				continue;
			p->opt[p->count] = o;
			p->group[p->count] = groups;
			p->getopt[p->count] = (struct option){ o->name, values_of(o), NULL, FIRST + p->count };
			p->count++;
		}
	}
	p->getopt[p->count] = (struct option){ "help", no_argument, NULL, 'h' };
}

/* The option's index, or -1 when the message has been printed. */
static int find_letter(const struct parser *p, int letter)
{
	for (unsigned i = 0; i < p->count; i++)
		if (p->opt[i]->letter == letter)
			return i;
	cli_fail(MICA_ERR_USAGE, "unknown option '-%c'; --help lists what there is", letter);
	return -1;
}

static int refuse(char **argv, int c)
{
	const char *at = argv[optind > 1 ? optind - 1 : 1];

	if (c == ':')
		return cli_fail(MICA_ERR_USAGE, "%s needs a value; --help shows which", at);
	if (optopt > ' ' && optopt < 127 && strncmp(at, "--", 2))
		return cli_fail(MICA_ERR_USAGE, "unknown option '-%c'; --help lists what there is", optopt);
	if (optopt)
		return cli_fail(MICA_ERR_USAGE, "%s: this option takes no value", at);
	return cli_fail(MICA_ERR_USAGE, "unknown or ambiguous option '%s'; --help lists what there is", at);
}

int cli_parse(const struct command *cmd, int argc, char **argv, const struct cli_group *groups)
{
	struct parser p = { 0 };
	int c, i, ret;

	collect(&p, groups);
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":ho:", p.getopt, NULL)) != -1) {
		if (c == 'h') {
			cli_usage(cmd);
			return CLI_HELP;
		}
		if (c == ':' || c == '?')
			return refuse(argv, c);
		i = c >= FIRST ? c - FIRST : find_letter(&p, c);
		if (i < 0)
			return MICA_ERR_USAGE;
		ret = p.opt[i]->take(p.opt[i], optarg, (char *)p.group[i]->base + p.opt[i]->at);
		if (ret)
			return ret;
		if (p.group[i]->given)
			*p.group[i]->given = true;
	}
	return 0;
}

int cli_parse_one(const struct command *cmd, int argc, char **argv, const struct cli_group *groups, const char *what, const char **out)
{
	int ret = cli_parse(cmd, argc, argv, groups);

	if (ret)
		return ret;
	if (argc - optind != 1)
		return cli_fail(MICA_ERR_USAGE, optind == argc ? "a %s is needed" : "one %s is expected, found also '%s'", what, argv[argc - 1]);
	*out = argv[optind];
	return 0;
}

int cli_usage(const struct command *cmd)
{
	printf("usage: mica %s %s", cmd->name, cmd->help);
	return 0;
}
