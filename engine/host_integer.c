// SPDX-License-Identifier: MIT
/*
 * Host steps on integers that f32 may not hold: computed in 64 bits, wrapped to the type's width. A result that needs more than
 * 24 bits fails the job.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "host_impl.h"

static bool width_ok(int64_t width)
{
	return width == 8 || width == 16 || width == 32 || width == 64;
}

/* A whole number below 2^62 in magnitude. */
static bool whole(struct mica_host_call *c, float v, uint64_t *bits)
{
	if (!(fabsf(v) < 0x1p62f) || floorf(v) != v) {
		snprintf(c->why, sizeof(c->why), "%.9g is not an integer whose bits are known", (double)v);
		return false;
	}
	*bits = (uint64_t)(int64_t)v;
	return true;
}

/* r's lowest bits as a number. */
static bool put_integer(struct mica_host_call *c, uint64_t r, int64_t width, bool is_signed, float *to)
{
	uint64_t mask = width == 64 ? UINT64_MAX : (1ull << width) - 1, top = (mask >> 1) + 1;
	bool negative;

	r &= mask;
	negative = is_signed && r & top;
	r = negative ? (~r & mask) + 1 : r;
	if (r > HOST_EXACT && (r > 1ull << 63 || (uint64_t)(float)r != r)) {
		snprintf(c->why, sizeof(c->why), "result %s%llu needs more than f32's 24 bits", negative ? "-" : "", (unsigned long long)r);
		return false;
	}
	*to = negative ? -(float)r : (float)r;
	return true;
}

/* ---- BITS ---- */

const char *mica_host_check_bits(const struct mica_host_step *s)
{
	int64_t width = s->ints[1];

	if (!host_same_dims(&s->in[0], &s->out) || !host_same_dims(&s->in[1], &s->out))
		return "the operands do not have the shape of the result";
	if (s->ints[0] < 0 || s->ints[0] >= MICA_HOST_BIT_OPS || !width_ok(width))
		return "unknown attribute";
	return s->ints[2] < 0 || s->ints[2] > 1 ? "unknown attribute" : NULL;
}

static uint64_t combine(int64_t op, uint64_t x, uint64_t y)
{
	switch (op) {
	case MICA_HOST_AND:
		return x & y;
	case MICA_HOST_OR:
		return x | y;
	case MICA_HOST_XOR:
		return x ^ y;
	case MICA_HOST_LEFT:
		return y > 63 ? 0 : x << y;
	default:
		return y > 63 ? 0 : x >> y;
	}
}

int mica_host_run_bits(struct mica_host_call *c)
{
	const int64_t *a = c->step->ints;
	uint64_t n = mica_host_elements(&c->step->out), mask = a[1] == 64 ? UINT64_MAX : (1ull << a[1]) - 1, x, y;

	for (uint64_t i = 0; i < n; i++) {
		if (!whole(c, c->in[0][i], &x) || !whole(c, c->in[1][i], &y))
			return -1;
		if (!put_integer(c, combine(a[0], x & mask, a[0] >= MICA_HOST_LEFT ? y : y & mask), a[1], a[2], &c->out[i]))
			return -1;
	}
	return 0;
}

/* ---- INTEGER ---- */

const char *mica_host_check_integer(const struct mica_host_step *s)
{
	if (!host_same_dims(&s->in[0], &s->out) || !host_same_dims(&s->in[1], &s->out))
		return "the operands do not have the shape of the result";
	if (s->ints[0] < 0 || s->ints[0] >= MICA_HOST_INTEGER_OPS || !width_ok(s->ints[1]) || s->ints[2] < 0 || s->ints[2] > 1)
		return "unknown attribute";
	return NULL;
}

/* Towards zero, the remainder with the sign of x (c_sign) or of y. By zero: zero. */
static int64_t quotient(int64_t x, int64_t y, bool remainder, bool c_sign)
{
	int64_t r;

	if (y == 0)
		return 0;
	if (!remainder)
		return x / y; /* both are below 2^62 */
	r = x % y;
	return !c_sign && r && (r < 0) != (y < 0) ? r + y : r;
}

static uint64_t power(uint64_t x, int64_t y)
{
	uint64_t r = 1;

	if (y < 0)
		return x == 1 ? 1 : x == UINT64_MAX ? (y & 1 ? x : 1) : 0;
	for (; y; y >>= 1, x *= x)
		r *= y & 1 ? x : 1;
	return r;
}

static uint64_t compute(int64_t op, uint64_t x, uint64_t y)
{
	switch (op) {
	case MICA_HOST_PLUS:
		return x + y;
	case MICA_HOST_MINUS:
		return x - y;
	case MICA_HOST_TIMES:
		return x * y;
	case MICA_HOST_POWER:
		return power(x, (int64_t)y);
	default:
		return (uint64_t)quotient((int64_t)x, (int64_t)y, op != MICA_HOST_QUOTIENT, op == MICA_HOST_C_REMAINDER);
	}
}

int mica_host_run_integer(struct mica_host_call *c)
{
	const int64_t *a = c->step->ints;
	uint64_t n = mica_host_elements(&c->step->out), x, y;

	for (uint64_t i = 0; i < n; i++) {
		if (!whole(c, c->in[0][i], &x) || !whole(c, c->in[1][i], &y))
			return -1;
		if (!put_integer(c, compute(a[0], x, y), a[1], a[2], &c->out[i]))
			return -1;
	}
	return 0;
}

/* ---- RUNNING ---- */

const char *mica_host_check_running(const struct mica_host_step *s)
{
	const int64_t *a = s->ints;

	struct mica_host_tensor y = s->out;

	if (a[6] < 0 || a[6] > 1 || !host_axis_ok(a[0], &y) || s->in[0].rank != y.rank || (a[6] && y.dim[a[0]] != 1))
		return "the axis or the ranks do not fit";
	y.dim[a[0]] = s->in[0].dim[a[0]];
	if (!host_same_dims(&s->in[0], a[6] ? &y : &s->out))
		return "the dimensions do not fit";
	if ((a[1] != MICA_HOST_PLUS && a[1] != MICA_HOST_TIMES) || !width_ok(a[2]) || a[3] < 0 || a[3] > 1 || a[4] < 0 || a[4] > 1 || a[5] < 0 ||
	    a[5] > 1)
		return "unknown attribute";
	return NULL;
}

/* One line: n elements, `step` apart. */
static int run_line(struct mica_host_call *c, const float *x, float *y, int64_t n, int64_t step)
{
	const int64_t *a = c->step->ints;
	bool product = a[1] == MICA_HOST_TIMES, exclusive = a[4], reverse = a[5], last = a[6];
	uint64_t sum = product, v;

	for (int64_t i = 0; i < n; i++) {
		int64_t at = (reverse ? n - 1 - i : i) * step;

		if (!last && exclusive && !put_integer(c, sum, a[2], a[3], &y[at]))
			return -1;
		if (!whole(c, x[at], &v))
			return -1;
		sum = product ? sum * v : sum + v;
		if (!last && !exclusive && !put_integer(c, sum, a[2], a[3], &y[at]))
			return -1;
	}
	return last && !put_integer(c, sum, a[2], a[3], y) ? -1 : 0;
}

int mica_host_run_running(struct mica_host_call *c)
{
	const struct mica_host_tensor *x = &c->step->in[0];
	unsigned axis = (unsigned)c->step->ints[0];
	uint64_t front = host_extent(x, 0, axis), n = x->dim[axis], back = host_extent(x, axis + 1, x->rank);

	for (uint64_t line = 0; line < front * back; line++) {
		uint64_t at = line / back * n * back + line % back, to = c->step->ints[6] ? line : at;

		if (c->stop && *c->stop)
			return -1;
		if (run_line(c, c->in[0] + at, c->out + to, (int64_t)n, (int64_t)back))
			return -1;
	}
	return 0;
}
