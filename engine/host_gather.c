// SPDX-License-Identifier: MIT
/* Host steps that move elements by indices: gathers, scatters, and those that are one of them in disguise. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "host_impl.h"

/* ---- GATHER: [front, axis, back] and n indices give [front, n, back] ---- */

const char *mica_host_check_gather(const struct mica_host_step *s)
{
	const struct mica_host_tensor *x = &s->in[0], *idx = &s->in[1], *y = &s->out;
	unsigned axis, n = 0;

	if (!host_axis_ok(s->ints[0], x) || y->rank != x->rank - 1 + idx->rank)
		return "the axis or the ranks do not fit";
	axis = (unsigned)s->ints[0];
	for (unsigned i = 0; i < x->rank; i++) {
		if (i != axis && x->dim[i] != y->dim[n++])
			return "the dimensions do not fit";
		for (unsigned k = 0; i == axis && k < idx->rank; k++)
			if (idx->dim[k] != y->dim[n++])
				return "the dimensions do not fit";
	}
	return NULL;
}

int mica_host_run_gather(struct mica_host_call *c)
{
	const struct mica_host_tensor *x = &c->step->in[0];
	unsigned axis = (unsigned)c->step->ints[0];
	uint64_t front = host_extent(x, 0, axis), extent = x->dim[axis], back = host_extent(x, axis + 1, x->rank);
	uint64_t n = mica_host_elements(&c->step->in[1]), at;

	for (uint64_t i = 0; i < n; i++) {
		if (!host_index(c, c->in[1][i], extent, &at))
			return -1;
		for (uint64_t f = 0; f < front; f++)
			memcpy(c->out + (f * n + i) * back, c->in[0] + (f * extent + at) * back, back * sizeof(float));
	}
	return 0;
}

/* ---- by elements: the index replaces the position along one axis ---- */

static const char *check_elements(const struct mica_host_tensor *x, const struct mica_host_tensor *idx, int64_t axis)
{
	if (x->rank != idx->rank || !host_axis_ok(axis, x))
		return "the axis or the ranks do not fit";
	for (unsigned i = 0; i < x->rank; i++)
		if (i != axis && idx->dim[i] > x->dim[i])
			return "the indices are larger than what they index";
	return NULL;
}

const char *mica_host_check_gather_elements(const struct mica_host_step *s)
{
	if (!host_same_dims(&s->in[1], &s->out))
		return "the result has not the shape of the indices";
	return check_elements(&s->in[0], &s->in[1], s->ints[0]);
}

/* Walks all positions of idx in order; pos has been zeroed before the first. */
static void next_position(const struct mica_host_tensor *t, uint32_t *pos)
{
	for (unsigned i = t->rank; i-- > 0;) {
		if (++pos[i] < t->dim[i])
			return;
		pos[i] = 0;
	}
}

/* Flat position in x of element k of the indices, which stands at pos. */
static bool element_of(struct mica_host_call *c, const uint32_t *pos, uint64_t k, uint64_t *flat)
{
	const struct mica_host_tensor *x = &c->step->in[0];
	unsigned axis = (unsigned)c->step->ints[0];
	uint64_t at;

	if (!host_index(c, c->in[1][k], x->dim[axis], &at))
		return false;
	*flat = 0;
	for (unsigned i = 0; i < x->rank; i++)
		*flat = *flat * x->dim[i] + (i == axis ? at : pos[i]);
	return true;
}

int mica_host_run_gather_elements(struct mica_host_call *c)
{
	const struct mica_host_tensor *idx = &c->step->in[1];
	uint32_t pos[MICA_HOST_RANK] = { 0 };
	uint64_t n = mica_host_elements(idx), at;

	for (uint64_t k = 0; k < n; k++, next_position(idx, pos)) {
		if (!element_of(c, pos, k, &at))
			return -1;
		c->out[k] = c->in[0][at];
	}
	return 0;
}

/* ---- by tuples: the last axis of the indices is a position in x's leading axes ---- */

static const char *check_tuples(const struct mica_host_step *s, const struct mica_host_tensor *slices, unsigned batch)
{
	const struct mica_host_tensor *x = &s->in[0], *idx = &s->in[1];
	unsigned len, n;

	if (!idx->rank || batch >= idx->rank || batch > x->rank)
		return "the ranks do not fit";
	len = idx->dim[idx->rank - 1];
	if (len > x->rank - batch || slices->rank != idx->rank - 1 + x->rank - batch - len)
		return "the ranks do not fit";
	for (unsigned i = 0; i < batch; i++)
		if (x->dim[i] != idx->dim[i])
			return "the leading dimensions do not fit";
	for (n = 0; n + 1 < idx->rank; n++)
		if (slices->dim[n] != idx->dim[n])
			return "the dimensions do not fit";
	for (unsigned i = batch + len; i < x->rank; i++)
		if (slices->dim[n++] != x->dim[i])
			return "the dimensions do not fit";
	return NULL;
}

const char *mica_host_check_gather_nd(const struct mica_host_step *s)
{
	if (s->ints[0] < 0 || s->ints[0] >= MICA_HOST_RANK)
		return "the number of leading axes does not fit";
	return check_tuples(s, &s->out, (unsigned)s->ints[0]);
}

struct tuples {
	uint64_t tuples, per_batch;	/* of the indices */
	unsigned len, batch;
	uint64_t rows;			/* positions of a tuple within one batch */
	uint64_t size;			/* elements of a slice */
};

static struct tuples read_tuples(const struct mica_host_step *s, unsigned batch)
{
	const struct mica_host_tensor *x = &s->in[0], *idx = &s->in[1];
	struct tuples t = { .batch = batch, .len = idx->dim[idx->rank - 1] };

	t.tuples = host_extent(idx, 0, idx->rank - 1);
	t.per_batch = host_extent(idx, batch, idx->rank - 1);
	t.rows = host_extent(x, batch, batch + t.len);
	t.size = host_extent(x, batch + t.len, x->rank);
	return t;
}

/* Which slice of x tuple k means. */
static bool slice_of(struct mica_host_call *c, const struct tuples *t, uint64_t k, uint64_t *slice)
{
	uint64_t at, flat = 0;

	for (unsigned i = 0; i < t->len; i++) {
		uint32_t extent = c->step->in[0].dim[t->batch + i];

		if (!host_index(c, c->in[1][k * t->len + i], extent, &at))
			return false;
		flat = flat * extent + at;
	}
	*slice = k / t->per_batch * t->rows + flat;
	return true;
}

int mica_host_run_gather_nd(struct mica_host_call *c)
{
	struct tuples t = read_tuples(c->step, (unsigned)c->step->ints[0]);
	uint64_t at;

	for (uint64_t k = 0; k < t.tuples; k++) {
		if (!slice_of(c, &t, k, &at))
			return -1;
		memcpy(c->out + k * t.size, c->in[0] + at * t.size, t.size * sizeof(float));
	}
	return 0;
}

/* ---- scatters ---- */

static void reduce(float *to, float v, int64_t how)
{
	switch (how) {
	case MICA_HOST_ADD:
		*to += v;
		break;
	case MICA_HOST_MUL:
		*to *= v;
		break;
	case MICA_HOST_MAX:
		*to = isnan(*to) || *to > v ? *to : v;
		break;
	case MICA_HOST_MIN:
		*to = isnan(*to) || *to < v ? *to : v;
		break;
	default:
		*to = v;
	}
}

/* Update k into element `at` of the result. Integers: doubles hold sums and products of two f32 numbers exactly enough to tell. */
static bool reduce_into(struct mica_host_call *c, uint64_t at, uint64_t k)
{
	float was = c->out[at], v = c->in[2][k];
	int64_t how = c->step->ints[1], bits = c->step->ints[2];
	double exact;

	reduce(&c->out[at], v, how);
	if (!bits || (how != MICA_HOST_ADD && how != MICA_HOST_MUL))
		return true;
	exact = how == MICA_HOST_ADD ? (double)was + (double)v : (double)was * (double)v;
	if ((double)c->out[at] == exact && fabs(exact) < ldexp(1, (int)bits))
		return true;
	snprintf(c->why, sizeof(c->why), "result %.0f needs more than f32's 24 bits, or than its type has", exact);
	return false;
}

static const char *check_scatter(const struct mica_host_step *s)
{
	if (!host_same_dims(&s->in[0], &s->out))
		return "the result has not the shape of the operand";
	if (s->ints[1] < 0 || s->ints[1] >= MICA_HOST_REDUCTIONS || s->ints[2] < 0 || s->ints[2] > 64)
		return "unknown reduction";
	return NULL;
}

const char *mica_host_check_scatter_elements(const struct mica_host_step *s)
{
	const char *why = check_scatter(s);

	if (!why && !host_same_dims(&s->in[1], &s->in[2]))
		why = "the updates have not the shape of the indices";
	return why ? why : check_elements(&s->in[0], &s->in[1], s->ints[0]);
}

int mica_host_run_scatter_elements(struct mica_host_call *c)
{
	const struct mica_host_tensor *idx = &c->step->in[1];
	uint32_t pos[MICA_HOST_RANK] = { 0 };
	uint64_t n = mica_host_elements(idx), at;

	memcpy(c->out, c->in[0], mica_host_elements(&c->step->out) * sizeof(float));
	for (uint64_t k = 0; k < n; k++, next_position(idx, pos)) {
		if (!element_of(c, pos, k, &at))
			return -1;
		if (!reduce_into(c, at, k))
			return -1;
	}
	return 0;
}

const char *mica_host_check_scatter_nd(const struct mica_host_step *s)
{
	const char *why = check_scatter(s);

	return why ? why : check_tuples(s, &s->in[2], 0);
}

int mica_host_run_scatter_nd(struct mica_host_call *c)
{
	struct tuples t = read_tuples(c->step, 0);
	uint64_t at;

	t.per_batch = t.tuples;	/* one batch */
	memcpy(c->out, c->in[0], mica_host_elements(&c->step->out) * sizeof(float));
	for (uint64_t k = 0; k < t.tuples; k++) {
		if (!slice_of(c, &t, k, &at))
			return -1;
		for (uint64_t i = 0; i < t.size; i++)
			if (!reduce_into(c, at * t.size + i, k * t.size + i))
				return -1;
	}
	return 0;
}

/* ---- REVERSE_SEQUENCE ---- */

const char *mica_host_check_reverse_sequence(const struct mica_host_step *s)
{
	const struct mica_host_tensor *x = &s->in[0];

	if (!host_same_dims(x, &s->out))
		return "the result has not the shape of the operand";
	if (!host_axis_ok(s->ints[0], x) || !host_axis_ok(s->ints[1], x) || s->ints[0] == s->ints[1])
		return "the axes do not fit";
	return mica_host_elements(&s->in[1]) == x->dim[s->ints[0]] ? NULL : "there is not one length per batch";
}

int mica_host_run_reverse_sequence(struct mica_host_call *c)
{
	const struct mica_host_tensor *x = &c->step->in[0];
	unsigned batch = (unsigned)c->step->ints[0], time = (unsigned)c->step->ints[1];
	unsigned last = batch > time ? batch : time;
	uint32_t pos[MICA_HOST_RANK] = { 0 };
	struct mica_host_tensor outer = *x;
	uint64_t rows, size = host_extent(x, last + 1, x->rank);

	outer.rank = last + 1;
	rows = mica_host_elements(&outer);
	for (uint64_t k = 0; k < rows; k++, next_position(&outer, pos)) {
		float len = c->in[1][pos[batch]];
		uint64_t from = 0, n;

		if (!(len >= 0 && len <= (float)x->dim[time])) {
			snprintf(c->why, sizeof(c->why), "length %.9g is outside an axis of %u", (double)len, x->dim[time]);
			return -1;
		}
		n = (uint64_t)len;	/* of what is no integer, the part that is */
		for (unsigned i = 0; i < outer.rank; i++)
			from = from * x->dim[i] + (i == time && pos[i] < n ? n - 1 - pos[i] : pos[i]);
		memcpy(c->out + k * size, c->in[0] + from * size, size * sizeof(float));
	}
	return 0;
}

/* ---- MAX_UNPOOL ---- */

const char *mica_host_check_max_unpool(const struct mica_host_step *s)
{
	const struct mica_host_tensor *x = &s->in[0], *y = &s->out;

	if (!host_same_dims(x, &s->in[1]) || x->rank < 3 || x->rank > 5 || y->rank != x->rank)
		return "the ranks or the indices do not fit";
	if (x->dim[0] != y->dim[0] || x->dim[1] != y->dim[1])
		return "the dimensions do not fit";
	for (unsigned i = 0; i < 3; i++)
		if (i + 2 < x->rank ? s->ints[i] < 1 || s->ints[i] > y->dim[i + 2] : s->ints[i] != 0)
			return "the spatial extents do not fit";
	return NULL;
}

/* The indices are flat positions in a tensor that may be smaller than the result. */
int mica_host_run_max_unpool(struct mica_host_call *c)
{
	const struct mica_host_tensor *y = &c->step->out;
	const int64_t *dim = c->step->ints;
	uint64_t n = mica_host_elements(&c->step->in[0]), total = (uint64_t)y->dim[0] * y->dim[1], at;
	unsigned axes = y->rank - 2;

	for (unsigned i = 0; i < axes; i++)
		total *= (uint64_t)dim[i];
	memset(c->out, 0, mica_host_elements(y) * sizeof(float));
	for (uint64_t k = 0; k < n; k++) {
		uint64_t rest, to = 0, part[3];

		if (!host_index(c, c->in[1][k], total, &at))
			return -1;
		rest = at;
		for (unsigned i = axes; i-- > 0; rest /= (uint64_t)dim[i])
			part[i] = rest % (uint64_t)dim[i];
		to = rest;
		for (unsigned i = 0; i < axes; i++)
			to = to * y->dim[i + 2] + part[i];
		c->out[to] = c->in[0][k];
	}
	return 0;
}
