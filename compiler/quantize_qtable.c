// SPDX-License-Identifier: MIT
/* Which format each operator computes in: the model's, a finer one that its decomposition asks for, or the qtable's. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "quantize.h"

static const struct {
	const char *name;
	int dtype, weights;
} names[] = {
	{ "e4m3", MICA_E4M3, -1 }, { "e5m2", MICA_E5M2, -1 }, { "i8", MICA_I8, -1 },    { "int8", MICA_I8, -1 },
	{ "bf16", MICA_BF16, -1 }, { "f32", MICA_F32, -1 },   { "fp32", MICA_F32, -1 },
	{ "bf16-e4m3", MICA_BF16, MICA_E4M3 },		      { "bf16-e5m2", MICA_BF16, MICA_E5M2 },
};

static int precision(int dtype)
{
	return dtype == MICA_F32 ? 2 : dtype == MICA_BF16 ? 1 : 0;
}

static char *trim(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	for (end = s + strlen(s); end > s && isspace((unsigned char)end[-1]);)
		*--end = 0;
	return s;
}

static int apply(struct ir_graph *g, const struct mica_compile_options *o, unsigned line,
		 const char *name, size_t format)
{
	unsigned found = 0;

	for (struct ir_op *op = g->first; op; op = op->next) {
		if (strcmp(op->name, name))
			continue;
		op->format = names[format].dtype;
		op->weights = names[format].weights;
		found++;
	}
	if (found)
		return 0;
	return mica_err_set(g->err, MICA_ERR_USAGE,
			    "%s:%u: the compiled model has no operator '%.200s'; use a name from "
			    "the report (fused operators go by the name of the convolution or "
			    "product)",
			    o->qtable, line, name);
}

static int parse_line(struct ir_graph *g, const struct mica_compile_options *o, unsigned line,
		      char *text)
{
	char *s = trim(text), *last = s + strlen(s);
	size_t format = ARRAY_LEN(names);

	if (!*s || *s == '#')
		return 0;
	while (last > s && !isspace((unsigned char)last[-1]))
		last--;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (!strcmp(last, names[i].name))
			format = i;
	if (last == s || format == ARRAY_LEN(names))
		return mica_err_set(g->err, MICA_ERR_USAGE,
				    "%s:%u: '%.200s' is not \"operator-name FORMAT\" with a format "
				    "of e4m3, e5m2, int8, bf16, f32, bf16-e4m3, bf16-e5m2 (activations-weights)",
				    o->qtable, line, s);
	last[-1] = 0;
	return apply(g, o, line, trim(s), format);
}

static int read_qtable(struct ir_graph *g, const struct mica_compile_options *o)
{
	FILE *f = fopen(o->qtable, "re");
	unsigned line = 0;
	char *text = NULL;
	size_t cap = 0;
	ssize_t n;
	int r = 0;

	if (!f)
		return mica_err_set(g->err, MICA_ERR_FILE, "%s: cannot be opened: %s", o->qtable,
				    strerror(errno));
	while (!r && (n = getline(&text, &cap, f)) >= 0) {
		line++;
		r = memchr(text, 0, (size_t)n) ?
			mica_err_set(g->err, MICA_ERR_CORRUPT, "%s:%u: is not a text of lines \"operator-name FORMAT\"", o->qtable, line) :
			parse_line(g, o, line, text);
	}
	if (!r && ferror(f))
		r = mica_err_set(g->err, MICA_ERR_FILE, "%s: cannot be read: %s", o->qtable, strerror(errno));
	free(text);
	fclose(f);
	return r;
}

static bool is_depthwise(const struct ir_op *op)
{
	return op->kind == IR_CONV && op->a.groups > 1 && op->in[1]->dim[3] == 1 && op->in[1]->dim[0] == op->a.groups;
}

int quantize_formats(struct ir_graph *g, const struct mica_compile_options *o)
{
	for (struct ir_op *op = g->first; op; op = op->next)
		if (op->format < 0 || precision(op->format) < precision((int)o->format))
			op->format = (int)o->format;
	for (struct ir_op *op = g->first; op && o->repair & ~g->refused & MICA_REPAIR_DEPTHWISE; op = op->next)
		if (is_depthwise(op) && (op->format == MICA_E4M3 || op->format == MICA_E5M2))
			op->format = MICA_BF16;
	return o->qtable ? read_qtable(g, o) : 0;
}
