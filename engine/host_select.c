// SPDX-License-Identifier: MIT
/* Host steps that sort or choose: how many results there are may depend on the data. */
#include <math.h>
#include <string.h>
#include "host_impl.h"

/* ---- a stable merge sort of indices ---- */

struct order {
	const float *x;
	uint64_t stride;		/* between the elements that are compared (TOP_K), or slices (UNIQUE) */
	bool descending;
	uint64_t front, extent, back;	/* UNIQUE: a slice is [front, back] of [front, extent, back] */
	bool slices;
};

/* NaN is larger than everything and equal to itself, so that the order is total. */
static int compare_values(float a, float b)
{
	if (isnan(a) || isnan(b))
		return isnan(a) - isnan(b);
	return (a > b) - (a < b);
}

static int compare(const struct order *o, uint32_t a, uint32_t b)
{
	if (!o->slices) {
		int r = compare_values(o->x[a * o->stride], o->x[b * o->stride]);

		return o->descending ? -r : r;
	}
	for (uint64_t f = 0; f < o->front; f++)
		for (uint64_t k = 0; k < o->back; k++) {
			int r = compare_values(o->x[(f * o->extent + a) * o->back + k], o->x[(f * o->extent + b) * o->back + k]);

			if (r)
				return r;
		}
	return 0;
}

/* Sorts the n indices in list; other is as large. Returns the one that holds the result. */
static uint32_t *sort(const struct order *o, uint32_t *list, uint32_t *other, uint64_t n)
{
	for (uint64_t width = 1; width < n; width *= 2) {
		uint32_t *swap = list;

		for (uint64_t at = 0; at < n; at += 2 * width) {
			uint64_t mid = at + width < n ? at + width : n, end = mid + width < n ? mid + width : n;
			uint64_t i = at, k = mid;

			for (uint64_t to = at; to < end; to++)
				other[to] = i < mid && (k >= end || compare(o, list[i], list[k]) <= 0) ? list[i++] : list[k++];
		}
		list = other;
		other = swap;
	}
	return list;
}

static const char too_long[] = "f32 does not hold so large indices exactly";

/* ---- TOP_K ---- */

const char *mica_host_check_top_k(const struct mica_host_step *s)
{
	const struct mica_host_tensor *x = &s->in[0], *y = &s->out;

	if (!host_axis_ok(s->ints[0], x) || x->rank != y->rank || s->ints[1] < 0 || s->ints[1] > 1)
		return "the axis or the ranks do not fit";
	for (unsigned i = 0; i < x->rank; i++)
		if (i == s->ints[0] ? y->dim[i] > x->dim[i] : y->dim[i] != x->dim[i])
			return "the dimensions do not fit";
	return x->dim[s->ints[0]] > HOST_EXACT ? too_long : NULL;
}

int mica_host_run_top_k(struct mica_host_call *c)
{
	const struct mica_host_tensor *x = &c->step->in[0];
	unsigned axis = (unsigned)c->step->ints[0];
	uint64_t front = host_extent(x, 0, axis), n = x->dim[axis], back = host_extent(x, axis + 1, x->rank), k = c->step->out.dim[axis];
	uint32_t *list = c->scratch, *sorted;
	struct order o = { .stride = back, .descending = c->step->ints[1] };

	for (uint64_t line = 0; line < front * back; line++) {
		uint64_t f = line / back, b = line % back;

		if (c->stop && *c->stop)
			return -1;
		o.x = c->in[0] + f * n * back + b;
		for (uint32_t i = 0; i < n; i++)
			list[i] = i;
		sorted = sort(&o, list, list + n, n);
		for (uint64_t i = 0; i < k; i++)
			c->out[(f * k + i) * back + b] = (float)sorted[i];
	}
	return 0;
}

/* ---- NON_MAX_SUPPRESSION ---- */

const char *mica_host_check_non_max_suppression(const struct mica_host_step *s)
{
	const struct mica_host_tensor *boxes = &s->in[0], *scores = &s->in[1], *y = &s->out;

	if (boxes->rank != 3 || scores->rank != 3 || boxes->dim[2] != 4 || boxes->dim[0] != scores->dim[0] || boxes->dim[1] != scores->dim[2])
		return "boxes and scores do not fit";
	for (unsigned i = 2; i < s->ins; i++)
		if (mica_host_elements(&s->in[i]) != 1)
			return "a limit is no scalar";
	if (s->ints[0] < 0 || s->ints[0] > 1 || s->ints[1] < 0 || s->ints[1] > 1)
		return "unknown attribute";
	if (boxes->dim[0] > HOST_EXACT || boxes->dim[1] > HOST_EXACT || scores->dim[1] > HOST_EXACT)
		return too_long;
	return y->rank == 2 && y->dim[1] == 3 ? NULL : "the result is no list of three";
}

struct box { float x0, y0, x1, y1; };

static struct box read_box(const float *p, bool center)
{
	struct box b;

	if (center) {
		b = (struct box){ p[0] - p[2] / 2, p[1] - p[3] / 2, p[0] + p[2] / 2, p[1] + p[3] / 2 };
		return b;
	}
	b.y0 = p[0] < p[2] ? p[0] : p[2];
	b.y1 = p[0] < p[2] ? p[2] : p[0];
	b.x0 = p[1] < p[3] ? p[1] : p[3];
	b.x1 = p[1] < p[3] ? p[3] : p[1];
	return b;
}

static bool too_close(const struct box *a, const struct box *b, float limit)
{
	float w = fminf(a->x1, b->x1) - fmaxf(a->x0, b->x0), h = fminf(a->y1, b->y1) - fmaxf(a->y0, b->y0);
	float common = w > 0 && h > 0 ? w * h : 0;
	float all = (a->x1 - a->x0) * (a->y1 - a->y0) + (b->x1 - b->x0) * (b->y1 - b->y0) - common;

	return common > 0 && all > 0 && common / all > limit;
}

struct suppression {
	struct mica_host_call *c;
	uint64_t rows;			/* of the result, so far */
	uint32_t *list;
};

/* One class of one image. */
static void suppress(struct suppression *s, uint64_t batch, uint64_t class)
{
	struct mica_host_call *c = s->c;
	const struct mica_host_step *st = c->step;
	uint64_t n = st->in[0].dim[1], count = 0, first = s->rows;
	const float *score = c->in[1] + (batch * st->in[1].dim[1] + class) * n, *boxes = c->in[0] + batch * n * 4;
	float most = st->ins > 2 ? c->in[2][0] : 0, limit = st->ins > 3 ? c->in[3][0] : 0;
	struct order o = { .x = score, .stride = 1, .descending = true };
	uint32_t *sorted;

	for (uint32_t i = 0; i < n; i++)
		if (!isnan(score[i]) && (!st->ints[1] || st->ins < 5 || score[i] > c->in[4][0]))
			s->list[count++] = i;
	sorted = sort(&o, s->list, s->list + n, count);
	for (uint64_t i = 0; i < count && (float)(s->rows - first) < most && s->rows < st->out.dim[0]; i++) {
		struct box b = read_box(boxes + 4 * (uint64_t)sorted[i], st->ints[0]);
		bool keep = true;

		for (uint64_t r = first; r < s->rows && keep; r++) {
			struct box taken = read_box(boxes + 4 * (uint64_t)c->out[3 * r + 2], st->ints[0]);

			keep = !too_close(&taken, &b, limit);
		}
		if (!keep)
			continue;
		c->out[3 * s->rows] = (float)batch;
		c->out[3 * s->rows + 1] = (float)class;
		c->out[3 * s->rows + 2] = (float)sorted[i];
		s->rows++;
	}
}

int mica_host_run_non_max_suppression(struct mica_host_call *c)
{
	const struct mica_host_tensor *scores = &c->step->in[1];
	struct suppression s = { .c = c, .list = c->scratch };

	for (uint32_t b = 0; b < scores->dim[0]; b++)
		for (uint32_t k = 0; k < scores->dim[1]; k++) {
			if (c->stop && *c->stop)
				return -1;
			suppress(&s, b, k);
		}
	c->count = (uint32_t)s.rows;
	for (uint64_t i = 3 * s.rows; i < 3ull * c->step->out.dim[0]; i++)
		c->out[i] = -1;
	return 0;
}

/* ---- NON_ZERO ---- */

const char *mica_host_check_non_zero(const struct mica_host_step *s)
{
	const struct mica_host_tensor *x = &s->in[0], *y = &s->out;

	if (mica_host_elements(x) > HOST_EXACT)
		return too_long;
	return y->rank == 2 && y->dim[0] == (x->rank ? x->rank : 1) && y->dim[1] == mica_host_elements(x) ? NULL : "the result does not fit";
}

int mica_host_run_non_zero(struct mica_host_call *c)
{
	const struct mica_host_tensor *x = &c->step->in[0];
	uint64_t n = mica_host_elements(x);

	memset(c->out, 0, n * c->step->out.dim[0] * sizeof(float));
	c->count = 0;
	for (uint64_t k = 0; k < n; k++) {
		uint64_t rest = k;

		if (c->in[0][k] == 0)
			continue;
		for (unsigned i = x->rank; i-- > 0; rest /= x->dim[i])
			c->out[i * n + c->count] = (float)(rest % x->dim[i]);
		c->count++;
	}
	return 0;
}

/* ---- COMPRESS ---- */

const char *mica_host_check_compress(const struct mica_host_step *s)
{
	const struct mica_host_tensor *x = &s->in[0], *y = &s->out;
	uint64_t n = mica_host_elements(&s->in[1]);

	if (s->ints[0] == -1) {
		uint64_t most = mica_host_elements(x) < n ? mica_host_elements(x) : n;

		return y->rank == 1 && y->dim[0] == most ? NULL : "the result does not fit";
	}
	if (!host_axis_ok(s->ints[0], x) || x->rank != y->rank)
		return "the axis or the ranks do not fit";
	for (unsigned i = 0; i < x->rank; i++)
		if (y->dim[i] != (i == s->ints[0] && n < x->dim[i] ? n : x->dim[i]))
			return "the dimensions do not fit";
	return NULL;
}

int mica_host_run_compress(struct mica_host_call *c)
{
	const struct mica_host_tensor *x = &c->step->in[0], *y = &c->step->out;
	bool flat = c->step->ints[0] < 0;
	unsigned axis = flat ? 0 : (unsigned)c->step->ints[0];
	uint64_t front = flat ? 1 : host_extent(x, 0, axis), extent = flat ? mica_host_elements(x) : x->dim[axis];
	uint64_t back = flat ? 1 : host_extent(x, axis + 1, x->rank), room = y->dim[axis];

	memset(c->out, 0, mica_host_elements(y) * sizeof(float));
	c->count = 0;
	for (uint64_t i = 0; i < room; i++) {	/* as many as there are conditions */
		if (c->in[1][i] == 0)
			continue;
		for (uint64_t f = 0; f < front; f++)
			memcpy(c->out + (f * room + c->count) * back, c->in[0] + (f * extent + i) * back, back * sizeof(float));
		c->count++;
	}
	return 0;
}

/* ---- UNIQUE ---- */

const char *mica_host_check_unique(const struct mica_host_step *s)
{
	const struct mica_host_tensor *x = &s->in[0], *y = &s->out;
	bool flat = s->ints[0] == -1;

	if ((!flat && !host_axis_ok(s->ints[0], x)) || s->ints[1] < 0 || s->ints[1] > 1 || s->ints[2] < 0 || s->ints[2] >= MICA_HOST_UNIQUES)
		return "unknown attribute";
	if ((flat ? mica_host_elements(x) : x->dim[s->ints[0]]) > HOST_EXACT)
		return too_long;
	if (s->ints[2] == MICA_HOST_VALUES && !flat)
		return host_same_dims(x, y) ? NULL : "the result has not the shape of the operand";
	return y->rank == 1 && y->dim[0] == (flat ? mica_host_elements(x) : x->dim[s->ints[0]]) ? NULL : "the result does not fit";
}

struct uniques {
	uint64_t n;			/* slices */
	uint32_t *order;		/* sorted */
	uint32_t *group;		/* by slice: number of its group in the order that was asked for */
	uint32_t *first;		/* by group: its first slice */
	uint32_t groups;
};

/* Numbers the groups of equal slices as they come when sorted, or as they first appear. */
static void number_groups(struct uniques *u, const struct order *o, bool sorted)
{
	uint32_t start = 0;

	for (uint64_t i = 0; i < u->n; i++) {	/* group[] names the first slice of each for now: the sort is stable */
		if (!i || compare(o, u->order[i - 1], u->order[i])) {
			start = u->order[i];
			if (sorted)
				u->first[u->groups++] = start;
		}
		u->group[u->order[i]] = start;
	}
	for (uint64_t i = 0; i < u->n && !sorted; i++)
		if (u->group[i] == i)
			u->first[u->groups++] = (uint32_t)i;
	for (uint32_t g = 0; g < u->groups; g++)
		u->order[u->first[g]] = g;	/* order[] is done with: it maps first slices to numbers */
	for (uint64_t i = 0; i < u->n; i++)
		u->group[i] = u->order[u->group[i]];
}

static void put_unique(struct mica_host_call *c, const struct uniques *u, const struct order *o)
{
	switch (c->step->ints[2]) {
	case MICA_HOST_VALUES:
		for (uint32_t g = 0; g < u->groups; g++)
			for (uint64_t f = 0; f < o->front; f++)
				memcpy(c->out + (f * o->extent + g) * o->back, c->in[0] + (f * o->extent + u->first[g]) * o->back,
				       o->back * sizeof(float));
		break;
	case MICA_HOST_FIRST:
		for (uint32_t g = 0; g < u->groups; g++)
			c->out[g] = (float)u->first[g];
		break;
	case MICA_HOST_INVERSE:
		for (uint64_t i = 0; i < u->n; i++)
			c->out[i] = (float)u->group[i];
		break;
	default:
		for (uint64_t i = 0; i < u->n; i++)
			c->out[u->group[i]] += 1;
	}
}

int mica_host_run_unique(struct mica_host_call *c)
{
	const struct mica_host_tensor *x = &c->step->in[0];
	bool flat = c->step->ints[0] < 0;
	unsigned axis = flat ? 0 : (unsigned)c->step->ints[0];
	struct order o = { .x = c->in[0], .slices = true, .front = flat ? 1 : host_extent(x, 0, axis),
			   .extent = flat ? mica_host_elements(x) : x->dim[axis], .back = flat ? 1 : host_extent(x, axis + 1, x->rank) };
	struct uniques u = { .n = o.extent };
	uint32_t *scratch = c->scratch;

	for (uint32_t i = 0; i < u.n; i++)
		scratch[i] = i;
	u.order = sort(&o, scratch, scratch + u.n, u.n);
	u.group = scratch + 2 * u.n;
	u.first = scratch + 3 * u.n;
	number_groups(&u, &o, c->step->ints[1]);
	memset(c->out, 0, mica_host_elements(&c->step->out) * sizeof(float));
	put_unique(c, &u, &o);
	c->count = c->step->ints[2] == MICA_HOST_INVERSE ? 0 : u.groups;
	return 0;
}
