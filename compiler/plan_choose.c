// SPDX-License-Identifier: MIT
/* The exact search's choices: the section to branch over, and what can come next there. */
#include <string.h>
#include "plan_state.h"

void *px_push(struct px *s, size_t size)
{
	void *p = s->stack + s->stack_len;

	size = (size + 15) & ~(size_t)15;
	if (s->stack_cap - s->stack_len < size) {
		s->stopped = true;
		return NULL;
	}
	s->stack_len += size;
	return p;
}

/* ---- choosing where to branch ---- */

/* run[t]: the number of the valley that t lies in, or -1. A valley is flat, and higher levels or the part's edge bound it. */
static void find_valleys(struct px *s, const struct part *p)
{
	for (int32_t t = p->lo, end; t < p->hi; t = end) {
		bool low;

		for (end = t + 1; end < p->hi && s->level[end] == s->level[t];)
			end++;
		low = (t == p->lo || s->level[t - 1] > s->level[t]) && (end == p->hi || s->level[end] > s->level[t]);
		for (int32_t i = t; i < end; i++)
			s->run[i] = low ? t : -1;
	}
}

static bool supported(const struct px *s, uint32_t x)
{
	const struct px_buf *b = &s->buf[x];

	if (!s->level[b->first] || b->at >= 0)
		return true;
	for (uint32_t m = b->group; m < b->group + b->members; m++)
		for (int32_t t = s->buf[m].first; t < s->buf[m].end; t++)
			if (!s->waste[t])
				return true;
	return false;
}

/*
 * Whether the buffer can come next at the level of section `at`. With groups, whose pieces lie in several valleys, the
 * section is always a lowest one; then what can start at its level finds this level in all its sections.
 */
static bool can_start(const struct px *s, uint32_t x, int32_t at)
{
	const struct px_buf *b = &s->buf[x];

	if (b->at >= 0 && b->at != s->level[at])
		return false;
	if (s->linked)
		return s->start[x] == s->level[at];
	return s->run[b->first] >= 0 && s->run[b->first] == s->run[b->end - 1];
}

/*
 * Where the next buffer can come over `at` if none comes at its present level: one that crosses the valley's walls, at
 * its start; one inside the valley, on top of another that does not lie over `at`. INT32_MAX: nowhere.
 */
static int32_t next_level(const struct px *s, const struct part *p, int32_t at)
{
	int32_t next = INT32_MAX, top = INT32_MAX, from = s->run[at], end = at + 1;
	bool inside = false;

	while (end < p->hi && s->run[end] == from)
		end++;
	for (uint32_t i = 0; i < p->count; i++) {
		uint32_t x = s->set[p->start + i];
		const struct px_buf *b = &s->buf[x];
		bool over = b->first <= at && at < b->end;

		if (over && can_start(s, x, at))
			inside |= b->end - b->first > 1 || b->members > 1;
		else if (over)
			next = s->start[x] < next ? s->start[x] : next;
		else if ((s->linked || (b->first < end && b->end > from)) && s->start[x] + b->size < top)
			top = s->start[x] + b->size;
	}
	return inside && top < next ? top : next;
}

static int32_t lowest_level(const struct px *s, const struct part *p)
{
	int32_t lowest = INT32_MAX;

	for (uint32_t i = 0; i < p->count; i++) {
		const struct px_buf *b = &s->buf[s->set[p->start + i]];

		for (int32_t t = b->first; t < b->end; t++)
			lowest = s->level[t] < lowest ? s->level[t] : lowest;
	}
	return lowest;
}

/* The section with the fewest buffers to choose from, less those that keep failing. */
int32_t px_choose_section(struct px *s, const struct part *p)
{
	float best_score = 0;
	int32_t best = -1, lowest = s->linked ? lowest_level(s, p) : 0;

	find_valleys(s, p);
	memset(s->options + p->lo, 0, (size_t)(p->hi - p->lo + 1) * sizeof(*s->options));
	memset(s->total + p->lo, 0, (size_t)(p->hi - p->lo + 1) * sizeof(*s->total));
	for (uint32_t i = 0; i < p->count; i++) {
		uint32_t x = s->set[p->start + i];

		s->total[s->buf[x].first] += s->buf[x].size;
		s->total[s->buf[x].end] -= s->buf[x].size;
		if (!can_start(s, x, s->buf[x].first))
			continue;
		s->options[s->buf[x].first]++;
		s->options[s->buf[x].end]--;
	}
	for (int32_t t = p->lo, n = 0, sum = 0; t < p->hi; t++) {
		float score;

		n += s->options[t];
		sum += s->total[t];
		s->total[t] = sum;
		if (s->linked ? !sum || s->level[t] != lowest : s->run[t] < 0)
			continue;
		score = ((float)n + (s->reach[t] < s->capacity)) / (1 + s->weight[t]);
		if (best < 0 || score < best_score || (score == best_score && s->backward)) {
			best = t;
			best_score = score;
		}
	}
	return best;
}

static bool same(const struct px_buf *a, const struct px_buf *b)
{
	return a->members == 1 && b->members == 1 && a->at < 0 && b->at < 0 && a->first == b->first && a->end == b->end && a->size == b->size && a->align == b->align;
}

/* What leans on the valley's walls is liked better, most of all what ends level with a wall. */
static float flush(const struct px *s, const struct part *p, const struct px_buf *b)
{
	int32_t level = s->level[b->first], top = level + b->size;
	float bonus = 0;

	if (b->first == p->lo || s->level[b->first - 1] > level)
		bonus += 0.7f;
	if (b->end == p->hi || s->level[b->end] > level)
		bonus += 0.7f;
	if (b->first > p->lo && s->level[b->first - 1] == top)
		bonus += 1.5f;
	if (b->end < p->hi && s->level[b->end] == top)
		bonus += 1.5f;
	return s->flush * bonus;
}

static void add_option(struct option *o, uint32_t *n, int32_t buffer, float score)
{
	uint32_t i = (*n)++;

	for (; i && (o[i - 1].score < score || (o[i - 1].score == score && o[i - 1].buffer > buffer)); i--)
		o[i] = o[i - 1];
	o[i] = (struct option){ buffer, score };
}

/* What can come next over section `at`, best first. Of equal buffers only one is tried. NULL when the stack is full. */
struct option *px_list_options(struct px *s, const struct part *p, int32_t at, uint32_t *n, int32_t *next)
{
	struct option *o = px_push(s, (p->count + 1) * sizeof(*o));
	size_t full = s->stack_len;

	*n = 0;
	if (!o)
		return NULL;
	for (uint32_t i = 0; i < p->count; i++) {
		uint32_t x = s->set[p->start + i], k = 0;
		const struct px_buf *b = &s->buf[x];

		if (b->first > at || at >= b->end || !can_start(s, x, at) || !supported(s, x))
			continue;
		while (k < *n && !same(&s->buf[o[k].buffer], b))
			k++;
		if (k == *n)
			add_option(o, n, (int32_t)x, s->taste[x] + flush(s, p, b));
	}
	*next = next_level(s, p, at);
	if (*next <= s->capacity - s->total[at])
		add_option(o, n, -1, -1);
	s->stack_len = full - ((p->count + 1 - *n) * sizeof(*o) & ~(size_t)15);
	return o;
}

