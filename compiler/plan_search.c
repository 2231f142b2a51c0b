// SPDX-License-Identifier: MIT
/*
 * The exact search for a placement under a capacity. docs/memplan.md says why it is complete.
 *
 * The state is a skyline: per section the level that is settled. A branch takes a section at the bottom of a valley and
 * decides which buffer comes next there, or that none comes at this level. Remaining buffers that no longer touch each
 * other in time are searched apart, and a state that has failed is remembered.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "plan_state.h"

enum { LEARNED = 1 << 18, TRAIL = 1 << 20, STACK = 1 << 23, DEPTH = 8000, ALIGN = 16 };

static float draw(struct px *s)
{
	s->random += 0x9e3779b97f4a7c15ull;
	return (float)(px_mix(s->random) >> 40) / (float)(1 << 24);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool must_stop(struct px *s)
{
	const struct px_stop *stop = s->stop;

	if (s->stopped)
		return true;
	s->stopped = ++s->nodes > stop->nodes || s->depth >= DEPTH;
	if (!(s->nodes & 63)) {
		if (stop->winner && atomic_load_explicit(stop->winner, memory_order_relaxed) < stop->number)
			s->stopped = true;
		if (stop->cancel && atomic_load_explicit(stop->cancel, memory_order_relaxed))
			s->stopped = true;
		if (stop->deadline > 0 && now() > stop->deadline)
			s->stopped = true;
	}
	return s->stopped;
}

/* ---- the search ---- */

static bool search(struct px *s, struct part p);

/* Parts of what remains that share no section. They are put in `out`, the smallest first. */
static uint32_t split(struct px *s, const struct part *p, struct part *out)
{
	uint32_t n = 0;

	memset(s->options + p->lo, 0, (size_t)(p->hi - p->lo + 1) * sizeof(*s->options));
	for (uint32_t i = 0; i < p->count; i++) {
		const struct px_buf *b = &s->buf[s->set[p->start + i]];

		s->options[b->from]++;
		s->options[b->until - 1]--;
	}
	/* options[t] > 0 after summing: some buffer goes on from t to t + 1 */
	for (int32_t t = p->lo, live = 0, from = p->lo; t < p->hi; t++) {
		live += s->options[t];
		s->run[t] = (int32_t)n;
		if (live && t + 1 < p->hi)
			continue;
		out[n++] = (struct part){ 0, 0, from, t + 1 };
		from = t + 1;
	}
	for (uint32_t i = 0; i < p->count; i++)
		out[s->run[s->buf[s->set[p->start + i]].first]].count++;
	for (uint32_t i = 0, at = p->start; i < n; at += out[i++].count)
		out[i].start = at;
	if (n > 1) {
		for (uint32_t i = 0; i < p->count; i++)
			s->slot[i] = s->set[p->start + i];
		for (uint32_t i = 0; i < p->count; i++) {
			uint32_t k = (uint32_t)s->run[s->buf[s->slot[i]].first];

			s->set[out[k].start++] = s->slot[i];
		}
		for (uint32_t i = 0; i < n; i++)
			out[i].start -= out[i].count;
	}
	return n;
}

static void smallest_first(struct part *out, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++) {
		struct part p = out[i];
		uint32_t k = i;

		for (; k && out[k - 1].count > p.count; k--)
			out[k] = out[k - 1];
		out[k] = p;
	}
}

static bool search_parts(struct px *s, const struct part *p)
{
	size_t mark = s->stack_len;
	size_t most = (size_t)(p->hi - p->lo);
	struct part *out;
	uint32_t n;
	bool ok = true;

	if (!p->count)
		return true;
	out = px_push(s, most * sizeof(*out));
	if (!out)
		return false;
	n = split(s, p, out);
	s->stack_len -= (most - n) * sizeof(*out) & ~(size_t)15;
	smallest_first(out, n);
	for (uint32_t i = 0; i < n && ok; i++)
		ok = !out[i].count || search(s, out[i]);
	s->stack_len = mark;
	return ok;
}

static bool place(struct px *s, struct part p, uint32_t x)
{
	uint32_t group = s->buf[x].group;
	int32_t at = px_align_up(s->level[s->buf[x].first], s->buf[x].align);

	for (uint32_t m = group; m < group + s->buf[x].members; m++) {
		const struct px_buf *b = &s->buf[m];
		uint32_t i = p.start;

		s->offset[m] = at;
		if (at + b->size > s->capacity)
			return false;
		for (int32_t t = b->first; t < b->end; t++)
			if (!px_set_level(s, t, at + b->size, false))
				return false;
		while (s->set[i] != m)
			i++;
		s->set[i] = s->set[p.start + p.count - 1];
		s->set[p.start + p.count - 1] = m;
		p.count--;
	}
	return search_parts(s, &p);
}

static bool branch(struct px *s, const struct part *p)
{
	int32_t at = px_choose_section(s, p), next;
	struct option *o;
	uint32_t n;

	o = px_list_options(s, p, at, &n, &next);
	if (!o)
		return false;
	for (uint32_t i = 0; i < n && !s->stopped; i++) {
		size_t mark = s->trail_len;

		if (o[i].buffer >= 0 ? place(s, *p, (uint32_t)o[i].buffer) : px_set_level(s, at, next, true) && search(s, *p))
			return true;
		px_undo_to(s, mark);
	}
	return false;
}

static bool search(struct px *s, struct part p)
{
	size_t trail = s->trail_len, stack = s->stack_len;
	struct seen k;

	bool ok = false;

	if (must_stop(s))
		return false;
	s->depth++;
	if (px_propagate(s, &p)) {
		k = px_state_key(s, &p);
		ok = !px_has_failed(s, &k) && branch(s, &p);
		if (!ok && !s->stopped)
			s->seen[k.key & s->seen_mask] = k;
	}
	s->depth--;
	s->stack_len = stack;
	if (!ok)
		px_undo_to(s, trail);
	return ok;
}

/* ---- a run ---- */

void px_destroy(struct px *s)
{
	if (!s)
		return;
	free(s->set);
	free(s->level);
	free(s->waste);
	free(s->trail);
	free(s->peak[0]);
	free(s->stack);
	free(s->seen);
	free(s->weight);
	free(s);
}

/* Arrays by section start where a vector may, and end with room for one. */
static size_t stride(int32_t sections)
{
	return ((size_t)sections + ALIGN) & ~(size_t)(ALIGN - 1);
}

static void carve(struct px *s)
{
	size_t n = s->count, t = stride(s->sections);

	s->slot = s->set + n;
	s->offset = (int32_t *)s->set + 2 * n;
	s->start = s->offset + n;
	s->reach = s->level + t;
	s->total = s->level + 2 * t;
	s->options = s->level + 3 * t;
	s->run = s->level + 4 * t;
	s->lowest = s->level + 5 * t;
	for (unsigned k = 1; k < 32 && (1u << k) <= t; k++)
		s->peak[k] = s->peak[0] + k * t;
	s->taste = s->weight + t;
}

struct px *px_create(const struct px_buf *buf, size_t count, int32_t sections)
{
	struct px *s = calloc(1, sizeof(*s));
	size_t t = stride(sections), learned = 1 << 10;

	if (!s)
		return NULL;
	while (learned < count * 2048 && learned < LEARNED)
		learned *= 2;
	s->buf = buf;
	s->count = (uint32_t)count;
	s->sections = sections;
	for (size_t i = 0; i < count; i++)
		s->linked |= buf[i].members > 1;
	s->trail_cap = TRAIL;
	s->stack_cap = STACK;
	s->seen_mask = learned - 1;
	s->set = calloc(4 * count + 1, sizeof(*s->set));
	s->level = aligned_alloc(ALIGN * sizeof(*s->level), 6 * t * sizeof(*s->level));
	s->waste = calloc(t, sizeof(*s->waste));
	s->trail = malloc(s->trail_cap * sizeof(*s->trail));
	s->peak[0] = calloc(32 * t, sizeof(*s->peak[0]));
	s->stack = malloc(s->stack_cap);
	s->seen = calloc(learned, sizeof(*s->seen));
	s->weight = calloc(t + count, sizeof(*s->weight));
	if (!s->set || !s->level || !s->waste || !s->trail || !s->peak[0] || !s->stack || !s->seen || !s->weight) {
		px_destroy(s);
		return NULL;
	}
	memset(s->level, 0, 6 * t * sizeof(*s->level));
	carve(s);
	return s;
}

/* What a run likes to place first, but for flush(): three of four large areas, the rest sizes or long lives; all but the first with noise. */
static void choose_taste(struct px *s, uint64_t seed)
{
	static const float noises[] = { 0.2f, 0.5f, 1 };
	float noise = seed ? noises[seed % 3] : 0;

	s->flush = seed ? 1 : 0;
	s->random = px_mix(seed);
	for (uint32_t i = 0; i < s->count; i++) {
		float size = log2f((float)s->buf[i].size + 1), time = log2f((float)(s->buf[i].end - s->buf[i].first) + 1);
		float base = seed % 4 != 1 ? size + time : seed & 4 ? time : size;

		s->taste[i] = base + noise * draw(s);
	}
}

enum px_result px_run(struct px *s, int32_t capacity, uint64_t seed, const struct px_stop *stop, uint64_t *nodes)
{
	struct part all = { 0, s->count, 0, s->sections };
	bool ok;

	s->capacity = capacity;
	s->stop = stop;
	s->nodes = 0;
	s->stopped = false;
	s->trail_len = s->stack_len = 0;
	s->depth = 0;
	choose_taste(s, seed);
	s->backward = seed & 1;
	for (int32_t t = 0; t < s->sections; t++)
		s->weight[t] *= 0.7f;	/* what failed lately counts most */
	memset(s->level, 0, ((size_t)s->sections + 1) * sizeof(*s->level));
	memset(s->waste, 0, ((size_t)s->sections + 1) * sizeof(*s->waste));
	for (uint32_t i = 0; i < s->count; i++)
		s->set[i] = i;
	ok = search_parts(s, &all);
	*nodes = s->nodes;
	return ok ? PX_PLACED : s->stopped ? PX_STOPPED : PX_INFEASIBLE;
}

int32_t px_level(const struct px *s, size_t buffer)
{
	return s->offset[buffer];
}
