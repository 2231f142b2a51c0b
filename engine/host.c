// SPDX-License-Identifier: MIT
/* Host steps: the table, what is checked of all of them, dispatch. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "host_impl.h"

#define MAX_ELEMENTS (1ull << 31)

static const struct row {
	const char *name;
	unsigned least, most;
	const char *(*check)(const struct mica_host_step *s);
	int (*run)(struct mica_host_call *c);
} rows[MICA_HOST_OPS] = {
#define H(code, UP, low, least, most) [code] = { #low, least, most, mica_host_check_##low, mica_host_run_##low },
	MICA_HOSTS(H)
#undef H
};

static const struct row *row_of(unsigned op)
{
	return op < MICA_HOST_OPS && rows[op].name ? &rows[op] : NULL;
}

const char *mica_host_name(unsigned op)
{
	return row_of(op) ? row_of(op)->name : "?";
}

uint64_t mica_host_elements(const struct mica_host_tensor *t)
{
	return host_extent(t, 0, t->rank);
}

/* ---- checks ---- */

static const char *check_tensor(const struct mica_host_tensor *t)
{
	uint64_t n = 1;

	if (t->dtype != MICA_F32)
		return "an operand is not f32";
	if (t->rank > MICA_HOST_RANK)
		return "an operand has too many dimensions";
	for (unsigned i = 0; i < t->rank; i++)
		if (!t->dim[i] || __builtin_mul_overflow(n, t->dim[i], &n) || n > MAX_ELEMENTS)
			return "an operand has impossible dimensions";
	return NULL;
}

const char *mica_host_check(const struct mica_host_step *s)
{
	const struct row *r = row_of(s->op);
	const char *why = NULL;

	if (!r)
		return "unknown operator";
	if (s->ins < r->least || s->ins > r->most)
		return "wrong number of operands";
	for (unsigned i = 0; i < s->ins && !why; i++)
		why = check_tensor(&s->in[i]);
	if (!why)
		why = check_tensor(&s->out);
	for (unsigned i = 0; i < MICA_HOST_FLOATS && !why; i++)
		why = isfinite(s->floats[i]) ? NULL : "an attribute is not finite";
	return why ? why : r->check(s);
}

static const char *check_place(const struct mica_host_tensor *t, const struct mica_limits *lim, bool write)
{
	uint32_t seg = MICA_ADDR_SEG(t->addr);
	uint64_t off = MICA_ADDR_OFF(t->addr), bytes = mica_host_elements(t) * mica_dtype_size(t->dtype);

	if (seg >= lim->segments || (write && !lim->seg_write[seg]))
		return write ? "its result is in a segment that cannot be written" : "an operand is in no segment";
	if (off % 4 || off > lim->seg_size[seg] || bytes > lim->seg_size[seg] - off)
		return "an operand leaves its segment";
	return NULL;
}

static bool overlap(const struct mica_host_tensor *a, const struct mica_host_tensor *b)
{
	uint64_t ea = a->addr + mica_host_elements(a) * 4, eb = b->addr + mica_host_elements(b) * 4;

	return a->addr < eb && b->addr < ea;
}

const char *mica_host_bounds(const struct mica_host_step *s, const struct mica_limits *lim)
{
	const char *why = check_place(&s->out, lim, true);

	for (unsigned i = 0; i < s->ins && !why; i++) {
		why = check_place(&s->in[i], lim, false);
		if (!why && overlap(&s->in[i], &s->out))
			why = "its result overlaps an operand";
	}
	return why;
}

/* ---- figures ---- */

/* Indices for every operator that sorts: two lists to merge, two more for UNIQUE. */
size_t mica_host_scratch(const struct mica_host_step *s)
{
	uint64_t most = mica_host_elements(&s->out);

	for (unsigned i = 0; i < s->ins; i++)
		if (mica_host_elements(&s->in[i]) > most)
			most = mica_host_elements(&s->in[i]);
	switch (s->op) {
	case MICA_HOST_TOP_K:
	case MICA_HOST_NON_MAX_SUPPRESSION:
	case MICA_HOST_UNIQUE:
		return (size_t)(most + 1) * 4 * sizeof(uint32_t);
	default:
		return 0;
	}
}

uint64_t mica_host_bytes(const struct mica_host_step *s)
{
	uint64_t n = mica_host_elements(&s->out);

	for (unsigned i = 0; i < s->ins; i++)	/* a gather reads of its table what it writes */
		if (i || (s->op != MICA_HOST_GATHER && s->op != MICA_HOST_GATHER_ELEMENTS && s->op != MICA_HOST_GATHER_ND))
			n += mica_host_elements(&s->in[i]);
		else
			n += mica_host_elements(&s->out);
	return n * 4;
}

int mica_host_counted_axis(unsigned op, const int64_t *ints)
{
	switch (op) {
	case MICA_HOST_NON_MAX_SUPPRESSION:
		return 0;
	case MICA_HOST_NON_ZERO:
		return 1;
	case MICA_HOST_COMPRESS:
		return ints[0] < 0 ? 0 : (int)ints[0];
	case MICA_HOST_UNIQUE:
		return ints[2] == MICA_HOST_INVERSE ? -1 : ints[2] == MICA_HOST_VALUES && ints[0] > 0 ? (int)ints[0] : 0;
	default:
		return -1;
	}
}

/* ---- running ---- */

bool host_index(struct mica_host_call *c, float value, uint64_t extent, uint64_t *index)
{
	int64_t n = fabsf(value) < 0x1p31f ? (int64_t)value : INT64_MAX;

	if (n < 0)
		n += (int64_t)extent;
	if (n < 0 || (uint64_t)n >= extent || (float)(int64_t)value != value) {
		snprintf(c->why, sizeof(c->why), "index %.9g is outside an axis of %llu", (double)value, (unsigned long long)extent);
		return false;
	}
	*index = (uint64_t)n;
	return true;
}

int mica_host_run(struct mica_host_call *c)
{
	int axis = mica_host_counted_axis(c->step->op, c->step->ints);

	c->count = axis < 0 ? 0 : c->step->out.dim[axis];
	c->why[0] = 0;
	return rows[c->step->op].run(c);
}

/* ---- text ---- */

static int put_tensor(char *buf, size_t size, const char *before, const struct mica_host_tensor *t)
{
	char dims[MICA_HOST_RANK * 12];
	int n = 0;

	dims[0] = 0;
	for (unsigned i = 0; i < t->rank; i++)
		n += snprintf(dims + n, sizeof(dims) - (size_t)n, "%s%u", i ? "," : "", t->dim[i]);
	return snprintf(buf, size, "%s%u:0x%llx[%s]", before, MICA_ADDR_SEG(t->addr), (unsigned long long)MICA_ADDR_OFF(t->addr), dims);
}

int mica_host_disasm(char *buf, size_t size, const struct mica_host_step *s)
{
	char *at = buf, *end = buf + size;
	unsigned last = 0;

#define PUT(call) do { int n_ = (call); at += n_ < end - at ? n_ : end - at; } while (0)
	PUT(snprintf(at, (size_t)(end - at), "host %s", mica_host_name(s->op)));
	PUT(put_tensor(at, (size_t)(end - at), " dst=", &s->out));
	for (unsigned i = 0; i < s->ins; i++)
		PUT(put_tensor(at, (size_t)(end - at), i ? "," : " src=", &s->in[i]));
	for (unsigned i = 0; i < MICA_HOST_INTS; i++)
		last = s->ints[i] ? i + 1 : last;
	for (unsigned i = 0; i < last; i++)
		PUT(snprintf(at, (size_t)(end - at), "%s%lld", i ? "," : " ints=", (long long)s->ints[i]));
	for (unsigned i = 0; i < MICA_HOST_FLOATS; i++)
		if (s->floats[i] != 0)
			PUT(snprintf(at, (size_t)(end - at), " f%u=%.9g", i, (double)s->floats[i]));
#undef PUT
	return (int)(at - buf);
}
