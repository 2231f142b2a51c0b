// SPDX-License-Identifier: MIT
/* From buffers to what is placed, and the bounds that need no search. */
#include <stdlib.h>
#include <string.h>
#include "plan_model.h"

uint64_t plan_no_reuse(const struct plan_buf *buf, size_t count)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += buf[i].size;
	return sum;
}

/* ---- groups ---- */

static int by_group(const void *a, const void *b, void *context)
{
	const struct plan_buf *buf = context;
	uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;

	if (buf[i].alias != buf[k].alias)
		return buf[i].alias < buf[k].alias ? -1 : 1;
	return i < k ? -1 : i > k;
}

static int by_first(const void *a, const void *b, void *context)
{
	const struct plan_buf *buf = context;
	uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;

	return buf[i].first != buf[k].first ? (buf[i].first < buf[k].first ? -1 : 1) : i < k ? -1 : i > k;
}

/* A heap of members, the largest on top; one that is no longer alive is only taken out once it is there. */
struct heap { const struct plan_buf *buf; uint32_t *item; size_t n; };

static bool larger(const struct heap *h, size_t i, size_t k)
{
	return h->buf[h->item[i]].size > h->buf[h->item[k]].size;
}

static void swap(struct heap *h, size_t i, size_t k)
{
	uint32_t t = h->item[i];

	h->item[i] = h->item[k];
	h->item[k] = t;
}

static void push(struct heap *h, uint32_t member)
{
	size_t i = h->n++;

	h->item[i] = member;
	for (; i && larger(h, i, (i - 1) / 2); i = (i - 1) / 2)
		swap(h, i, (i - 1) / 2);
}

static void pop(struct heap *h)
{
	h->item[0] = h->item[--h->n];
	for (size_t i = 0, k; (k = 2 * i + 1) < h->n; i = k) {
		k += k + 1 < h->n && larger(h, k + 1, k);
		if (!larger(h, k, i))
			return;
		swap(h, i, k);
	}
}

/* The largest member alive at each step, as pieces; a piece ends where a larger one is born or its member dies. */
static size_t outline(const struct plan_buf *buf, uint32_t *member, size_t members, uint32_t *room, uint32_t thing, struct plan_piece *out)
{
	struct heap h = { .buf = buf, .item = room };
	uint64_t at = 0;
	size_t n = 0;

	qsort_r(member, members, sizeof(*member), by_first, (void *)buf);
	for (size_t i = 0; i < members || h.n;) {
		const struct plan_buf *top;
		uint64_t end;

		at = !h.n && buf[member[i]].first > at ? buf[member[i]].first : at;
		while (i < members && buf[member[i]].first <= at)
			push(&h, member[i++]);
		while (h.n && buf[h.item[0]].last < at)
			pop(&h);
		if (!h.n)
			continue;
		top = &buf[h.item[0]];
		end = top->last + 1ull;
		if (i < members && buf[member[i]].first < end)
			end = buf[member[i]].first;
		if (top->size && end > at)
			out[n++] = (struct plan_piece){ (uint32_t)at, (uint32_t)(end - 1), thing, top->size };
		at = end;
	}
	return n;
}

/* Neighbours of one size are one piece. */
static size_t join(struct plan_piece *p, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		if (kept && p[kept - 1].last + 1ull == p[i].first && p[kept - 1].size == p[i].size)
			p[kept - 1].last = p[i].last;
		else
			p[kept++] = p[i];
	}
	return kept;
}

static void add_thing(struct plan_model *m, const struct plan_buf *buf, uint32_t *member, size_t members, uint32_t *room)
{
	struct plan_thing *t = &m->thing[m->things];
	struct plan_piece *out = m->piece + m->pieces;

	*t = (struct plan_thing){ .start = (uint32_t)m->pieces, .align = 1 };
	for (size_t i = 0; i < members; i++) {
		const struct plan_buf *b = &buf[member[i]];

		t->align = b->align > t->align ? b->align : t->align;
		t->fixed |= b->fixed;
		t->at = b->fixed ? b->at : t->at;
		m->of[member[i]] = (uint32_t)m->things;
	}
	t->count = (uint32_t)join(out, outline(buf, member, members, room, (uint32_t)m->things, out));
	m->pieces += t->count;
	m->things++;
}

/* ---- the bound ---- */

struct event { uint64_t at; int64_t delta; };	/* at: 2 * step for a birth, 2 * step + 1 for a death */

static int by_time(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

static int find_bound(struct plan_model *m)
{
	struct event *e = calloc(2 * m->pieces + 1, sizeof(*e));
	uint64_t live = 0;

	if (!e)
		return -1;
	for (size_t i = 0; i < m->pieces; i++) {
		const struct plan_piece *p = &m->piece[i];
		const struct plan_thing *t = &m->thing[p->thing];

		e[2 * i] = (struct event){ 2 * (uint64_t)p->first, (int64_t)p->size };
		e[2 * i + 1] = (struct event){ 2 * (uint64_t)p->last + 1, -(int64_t)p->size };
		if (t->fixed && t->at + p->size > m->lower)
			m->lower = t->at + p->size;
	}
	qsort(e, 2 * m->pieces, sizeof(*e), by_time);
	for (size_t i = 0; i < 2 * m->pieces; i++) {
		live += (uint64_t)e[i].delta;
		m->lower = live > m->lower ? live : m->lower;
	}
	free(e);
	return 0;
}

/* ---- the whole ---- */

int plan_model_make(const struct plan_buf *buf, size_t count, struct plan_model *m)
{
	uint32_t *order = calloc(2 * count + 2, sizeof(*order)), *room = order + count + 1;
	size_t n = 0;
	int ret = -1;

	*m = (struct plan_model){ 0 };
	m->piece = calloc(2 * count + 1, sizeof(*m->piece));	/* an outline of n members has at most 2 n - 1 */
	m->thing = calloc(count + 1, sizeof(*m->thing));
	m->of = calloc(count + 1, sizeof(*m->of));
	if (!order || !m->piece || !m->thing || !m->of)
		goto out;
	for (uint32_t i = 0; i < count; i++) {
		m->of[i] = UINT32_MAX;
		if (buf[i].fixed && buf[i].at + buf[i].size > m->lower)
			m->lower = buf[i].at + buf[i].size;
		if (buf[i].alias)
			order[n++] = i;
		else if (buf[i].size)
			add_thing(m, buf, &i, 1, room);
	}
	qsort_r(order, n, sizeof(*order), by_group, (void *)buf);
	for (size_t i = 0, end; i < n; i = end) {
		for (end = i + 1; end < n && buf[order[end]].alias == buf[order[i]].alias;)
			end++;
		add_thing(m, buf, order + i, end - i, room);
	}
	ret = find_bound(m);
out:
	free(order);
	return ret;
}

void plan_model_free(struct plan_model *m)
{
	free(m->piece);
	free(m->thing);
	free(m->of);
}

void plan_model_apply(const struct plan_model *m, const uint64_t *offset, struct plan_buf *buf, size_t count, uint64_t *peak)
{
	*peak = 0;
	for (size_t i = 0; i < count; i++) {
		struct plan_buf *b = &buf[i];

		b->offset = m->of[i] != UINT32_MAX ? offset[m->of[i]] : b->fixed ? b->at : 0;
		if (b->offset + b->size > *peak)
			*peak = b->offset + b->size;
	}
}

uint64_t plan_lower_bound(const struct plan_buf *buf, size_t count)
{
	struct plan_model m;
	uint64_t bound = plan_model_make(buf, count, &m) ? 0 : m.lower;

	plan_model_free(&m);
	return bound;
}
