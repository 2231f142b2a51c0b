// SPDX-License-Identifier: MIT
/* The planner's validator. It shares no code with the planners: it may be trusted when they may not. */
#include <stdlib.h>
#include "plan.h"

/*
 * Buffers are taken from the lowest offset up. A tree over time holds the highest top so far and whose it is: a buffer
 * that starts below the top at any of its steps overlaps. Those of one group are looked up before any of them is added.
 */
struct top { uint64_t at; size_t owner; };

struct checker {
	const struct plan_buf *buf;
	size_t *order, used;		/* buffers that have a size, by offset, then group */
	uint32_t *step;			/* all births, sorted: an overlap begins at one of them */
	size_t steps;
	struct top *whole, *within;	/* by node of the tree: of buffers that cover all of it, of any in it */
};

static int by_number(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int by_offset(const void *a, const void *b, void *context)
{
	const struct plan_buf *buf = context;
	size_t i = *(const size_t *)a, k = *(const size_t *)b;

	if (buf[i].offset != buf[k].offset)
		return buf[i].offset < buf[k].offset ? -1 : 1;
	if (buf[i].alias != buf[k].alias)
		return buf[i].alias < buf[k].alias ? -1 : 1;
	return i < k ? -1 : i > k;
}

static int by_group(const void *a, const void *b, void *context)
{
	const struct plan_buf *buf = context;
	size_t i = *(const size_t *)a, k = *(const size_t *)b;

	if (buf[i].alias != buf[k].alias)
		return buf[i].alias < buf[k].alias ? -1 : 1;
	return i < k ? -1 : i > k;
}

/* How many births are at `step` or before. */
static size_t births_until(const struct checker *c, uint32_t step)
{
	size_t lo = 0, hi = c->steps;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (c->step[mid] <= step)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct top higher(struct top a, struct top b)
{
	return b.at > a.at ? b : a;
}

/* The highest top in births from..end of the node that covers lo..hi. */
static struct top look_up(const struct checker *c, size_t node, size_t lo, size_t hi, size_t from, size_t end)
{
	struct top best = c->whole[node];
	size_t mid = (lo + hi) / 2;

	if (from <= lo && hi <= end)
		return c->within[node];
	if (from < mid)
		best = higher(best, look_up(c, 2 * node, lo, mid, from, end));
	if (end > mid)
		best = higher(best, look_up(c, 2 * node + 1, mid, hi, from, end));
	return best;
}

static void add(struct checker *c, size_t node, size_t lo, size_t hi, size_t from, size_t end, struct top top)
{
	size_t mid = (lo + hi) / 2;

	c->within[node] = higher(c->within[node], top);
	if (from <= lo && hi <= end) {
		c->whole[node] = higher(c->whole[node], top);
		return;
	}
	if (from < mid)
		add(c, 2 * node, lo, mid, from, end, top);
	if (end > mid)
		add(c, 2 * node + 1, mid, hi, from, end, top);
}

static enum plan_verdict check_overlaps(struct checker *c, size_t *a, size_t *b)
{
	for (size_t i = 0, end; i < c->used; i = end) {
		const struct plan_buf *x = &c->buf[c->order[i]];

		for (end = i; end < c->used; end++) {
			const struct plan_buf *y = &c->buf[c->order[end]];
			size_t from = births_until(c, y->first) - 1, to = births_until(c, y->last);
			struct top below;

			if (end > i && (!x->alias || y->alias != x->alias || y->offset != x->offset))
				break;
			below = look_up(c, 1, 0, c->steps, from, to);
			*a = c->order[end];
			*b = below.owner;
			if (below.at > y->offset)
				return PLAN_OVERLAP;
		}
		for (size_t k = i; k < end; k++) {
			const struct plan_buf *y = &c->buf[c->order[k]];

			add(c, 1, 0, c->steps, births_until(c, y->first) - 1, births_until(c, y->last),
			    (struct top){ y->offset + y->size, c->order[k] });
		}
	}
	return PLAN_OK;
}

static enum plan_verdict check_groups(struct checker *c, size_t count, size_t *a, size_t *b)
{
	for (size_t i = 0; i < count; i++)
		c->order[i] = i;
	qsort_r(c->order, count, sizeof(*c->order), by_group, (void *)c->buf);
	for (size_t i = 1; i < count; i++) {
		*a = c->order[i];
		*b = c->order[i - 1];
		if (c->buf[*a].alias && c->buf[*a].alias == c->buf[*b].alias && c->buf[*a].offset != c->buf[*b].offset)
			return PLAN_APART;
	}
	return PLAN_OK;
}

static enum plan_verdict check_one(const struct plan_buf *x, uint64_t capacity)
{
	if (x->first > x->last || (x->align & (x->align - 1)))
		return PLAN_RANGE;
	if (x->align && x->offset % x->align)
		return PLAN_MISALIGNED;
	if (x->fixed && x->offset != x->at)
		return PLAN_MOVED;
	if (x->offset > capacity || x->size > capacity - x->offset)
		return PLAN_PAST_CAPACITY;
	return PLAN_OK;
}

static enum plan_verdict check_all(struct checker *c, size_t count, size_t *a, size_t *b)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		if (!c->buf[i].size)
			continue;
		c->order[c->used++] = i;
		c->step[n++] = c->buf[i].first;
	}
	qsort_r(c->order, c->used, sizeof(*c->order), by_offset, (void *)c->buf);
	qsort(c->step, n, sizeof(*c->step), by_number);
	for (size_t i = 0; i < n; i++)
		if (!i || c->step[i] != c->step[c->steps - 1])
			c->step[c->steps++] = c->step[i];
	return check_overlaps(c, a, b);
}

enum plan_verdict plan_check(const struct plan_buf *buf, size_t count, uint64_t capacity, size_t *a, size_t *b)
{
	struct checker c = { .buf = buf };
	enum plan_verdict verdict = PLAN_OK;
	size_t no_a, no_b;

	a = a ? a : &no_a;
	b = b ? b : &no_b;
	for (size_t i = 0; i < count && verdict == PLAN_OK; i++) {
		*a = *b = i;
		verdict = check_one(&buf[i], capacity);
	}
	if (verdict != PLAN_OK)
		return verdict;
	c.order = calloc(count + 1, sizeof(*c.order));
	c.step = calloc(count + 1, sizeof(*c.step));
	c.whole = calloc(4 * count + 4, sizeof(*c.whole));
	c.within = calloc(4 * count + 4, sizeof(*c.within));
	verdict = c.order && c.step && c.whole && c.within ? check_groups(&c, count, a, b) : PLAN_NO_MEMORY;
	if (verdict == PLAN_OK)
		verdict = check_all(&c, count, a, b);
	free(c.order);
	free(c.step);
	free(c.whole);
	free(c.within);
	return verdict;
}

enum plan_verdict plan_contradiction(const struct plan_buf *buf, size_t count, size_t *a, size_t *b)
{
	struct plan_buf *copy = calloc(count + 1, sizeof(*copy));
	size_t *order = calloc(count + 1, sizeof(*order)), x = 0, y = 0;
	enum plan_verdict verdict = copy && order ? PLAN_OK : PLAN_NO_MEMORY;

	for (size_t i = 0; i < count && verdict == PLAN_OK; i++)
		order[i] = i;
	if (verdict == PLAN_OK)
		qsort_r(order, count, sizeof(*order), by_group, (void *)buf);
	/* A group that has a fixed member is fixed as a whole. Buffers that are free are left out, as if they had no size. */
	for (size_t i = 0, end; i < count && verdict == PLAN_OK; i = end) {
		const struct plan_buf *fixed = NULL;

		for (end = i; end < count && (end == i || (buf[order[i]].alias && buf[order[end]].alias == buf[order[i]].alias)); end++)
			if (buf[order[end]].fixed)
				fixed = &buf[order[end]];
		for (size_t k = i; k < end; k++) {
			struct plan_buf *c = &copy[order[k]];

			*c = buf[order[k]];
			c->offset = c->fixed ? c->at : fixed ? fixed->at : 0;
			c->size = fixed ? c->size : 0;
		}
	}
	if (verdict == PLAN_OK)
		verdict = plan_check(copy, count, UINT64_MAX, &x, &y);
	if (a)
		*a = x;
	if (b)
		*b = y;
	free(copy);
	free(order);
	return verdict;
}
