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
#include "plan_search.h"

enum { LEARNED = 1 << 18, TRAIL = 1 << 20, STACK = 1 << 23, DEPTH = 8000 };

struct undo { int32_t section, level; bool waste; };
struct seen { uint64_t key, check; };
struct part { uint32_t start, count; int32_t lo, hi; };		/* buffers set[start..], sections lo..hi */
struct option { int32_t buffer; float score; };			/* buffer -1: nothing at this level */

struct px {
	const struct px_buf *buf;
	uint32_t count;
	int32_t sections, capacity;
	/* the state */
	uint32_t *set;			/* remaining buffers; each part owns a slice and may permute it */
	int32_t *level;			/* by section */
	bool *waste;			/* the level is not the top of a buffer */
	int32_t *offset;		/* by buffer */
	struct undo *trail;
	size_t trail_len, trail_cap;
	/* scratch of one node */
	int32_t *start;			/* by buffer: the lowest level it can start at */
	int32_t *reach;			/* by section: a bound on the level when all is placed */
	int32_t *total, *options, *run;	/* by section */
	uint64_t *sorted, *sort_tmp;
	uint32_t *slot;
	/* a stack for what lives during a branch */
	char *stack;
	size_t stack_len, stack_cap;
	/* learned */
	struct seen *seen;
	uint64_t seen_mask;
	float *weight;			/* by section: how often it was the reason of a failure */
	/* this run */
	float *taste;			/* by buffer: the order of choices */
	uint64_t random, nodes;
	const struct px_stop *stop;
	unsigned depth;
	bool stopped;
};

/* ---- small things ---- */

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static float draw(struct px *s)
{
	s->random += 0x9e3779b97f4a7c15ull;
	return (float)(mix(s->random) >> 40) / (float)(1 << 24);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int32_t align_up(int32_t v, int32_t a)
{
	return (v + a - 1) & ~(a - 1);
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
		if (stop->deadline > 0 && now() > stop->deadline)
			s->stopped = true;
	}
	return s->stopped;
}

/* NULL, and the run is stopped, when the stack is full: offsets into it must not move, so it never grows. */
static void *push(struct px *s, size_t size)
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

/* ---- the skyline ---- */

static bool set_level(struct px *s, int32_t section, int32_t level, bool waste)
{
	if (s->trail_len == s->trail_cap) {
		s->stopped = true;
		return false;
	}
	s->trail[s->trail_len++] = (struct undo){ section, s->level[section], s->waste[section] };
	s->level[section] = level;
	s->waste[section] = waste;
	return true;
}

static void undo_to(struct px *s, size_t mark)
{
	while (s->trail_len > mark) {
		const struct undo *u = &s->trail[--s->trail_len];

		s->level[u->section] = u->level;
		s->waste[u->section] = u->waste;
	}
}

/* ---- propagation ---- */

static int32_t highest(const int32_t *level, int32_t from, int32_t end)
{
	int32_t best = level[from];

	for (int32_t i = from + 1; i < end; i++)
		best = level[i] > best ? level[i] : best;
	return best;
}

/* s->sorted gets the part's buffers by the lowest level each can start at: level in the upper half, buffer in the lower. */
static void sort_by_start(struct px *s, const struct part *p)
{
	uint64_t *a = s->sorted, *b = s->sort_tmp;

	for (uint32_t i = 0; i < p->count; i++) {
		uint32_t x = s->set[p->start + i];

		s->start[x] = highest(s->level, s->buf[x].first, s->buf[x].end);
		a[i] = (uint64_t)s->start[x] << 32 | x;
	}
	for (uint32_t width = 1; width < p->count; width *= 2) {
		for (uint32_t at = 0; at < p->count; at += 2 * width) {
			uint32_t mid = at + width < p->count ? at + width : p->count;
			uint32_t end = mid + width < p->count ? mid + width : p->count;

			for (uint32_t i = at, j = mid, k = at; k < end; k++)
				b[k] = i < mid && (j == end || a[i] < a[j]) ? a[i++] : a[j++];
		}
		memcpy(a, b, p->count * sizeof(*a));
	}
}

/*
 * In each section the buffers follow each other, none before its start: the machine with release dates. reach[] is when
 * it ends; the first start there is a level below which nothing can come any more. False when a section overflows.
 */
static bool sweep(struct px *s, const struct part *p, bool *raised)
{
	*raised = false;
	for (int32_t i = p->lo; i < p->hi; i++)
		s->reach[i] = -1;
	for (uint32_t i = 0; i < p->count; i++) {
		uint32_t x = (uint32_t)s->sorted[i];
		const struct px_buf *b = &s->buf[x];
		int32_t start = s->start[x];

		for (int32_t t = b->first; t < b->end; t++) {
			if (s->reach[t] < 0 && start > s->level[t]) {
				*raised = true;
				if (!set_level(s, t, start, true))
					return false;
			}
			s->reach[t] = (s->reach[t] > start ? s->reach[t] : start) + b->size;
			if (s->reach[t] > s->capacity) {
				s->weight[t] += 1;
				return false;
			}
		}
	}
	return true;
}

static bool propagate(struct px *s, const struct part *p)
{
	bool raised = true;

	while (raised) {
		sort_by_start(s, p);
		if (!sweep(s, p, &raised))
			return false;
	}
	return true;
}

/* ---- states that have failed ---- */

static struct seen state_key(const struct px *s, const struct part *p)
{
	struct seen k = { mix((uint64_t)s->capacity), 0 };

	for (uint32_t i = 0; i < p->count; i++) {
		uint64_t h = mix(s->set[p->start + i] + 0x51ed270b7a1full);

		k.key += h;
		k.check += mix(h + 1);
	}
	for (int32_t t = p->lo; t < p->hi; t++) {
		uint64_t h = mix((uint64_t)t << 40 ^ (uint64_t)s->level[t] << 1 ^ s->waste[t]);

		k.key += h;
		k.check ^= mix(h ^ 0x7fb5d329728ea185ull);
	}
	return k;
}

static bool has_failed(const struct px *s, const struct seen *k)
{
	const struct seen *e = &s->seen[k->key & s->seen_mask];

	return e->key == k->key && e->check == k->check;
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

	if (!s->level[b->first])
		return true;
	for (int32_t t = b->first; t < b->end; t++)
		if (!s->waste[t])
			return true;
	return false;
}

static bool in_valley(const struct px *s, uint32_t x)
{
	const struct px_buf *b = &s->buf[x];

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

		if (over && in_valley(s, x))
			inside |= b->end - b->first > 1;
		else if (over)
			next = s->start[x] < next ? s->start[x] : next;
		else if (b->first < end && b->end > from && s->start[x] + b->size < top)
			top = s->start[x] + b->size;
	}
	return inside && top < next ? top : next;
}

/* The section with the fewest buffers to choose from, less those that keep failing. */
static int32_t choose_section(struct px *s, const struct part *p)
{
	float best_score = 0;
	int32_t best = -1;

	find_valleys(s, p);
	memset(s->options + p->lo, 0, (size_t)(p->hi - p->lo + 1) * sizeof(*s->options));
	memset(s->total + p->lo, 0, (size_t)(p->hi - p->lo + 1) * sizeof(*s->total));
	for (uint32_t i = 0; i < p->count; i++) {
		uint32_t x = s->set[p->start + i];

		s->total[s->buf[x].first] += s->buf[x].size;
		s->total[s->buf[x].end] -= s->buf[x].size;
		if (!in_valley(s, x))
			continue;
		s->options[s->buf[x].first]++;
		s->options[s->buf[x].end]--;
	}
	for (int32_t t = p->lo, n = 0, sum = 0; t < p->hi; t++) {
		float score;

		n += s->options[t];
		sum += s->total[t];
		s->total[t] = sum;
		if (s->run[t] < 0)
			continue;
		score = ((float)n + (s->reach[t] < s->capacity)) / (1 + s->weight[t]);
		if (best < 0 || score < best_score) {
			best = t;
			best_score = score;
		}
	}
	return best;
}

static bool same(const struct px_buf *a, const struct px_buf *b)
{
	return a->first == b->first && a->end == b->end && a->size == b->size && a->align == b->align;
}

static void add_option(struct option *o, uint32_t *n, int32_t buffer, float score)
{
	uint32_t i = (*n)++;

	for (; i && (o[i - 1].score < score || (o[i - 1].score == score && o[i - 1].buffer > buffer)); i--)
		o[i] = o[i - 1];
	o[i] = (struct option){ buffer, score };
}

/* What can come next over section `at`, best first. Of equal buffers only one is tried. NULL when the stack is full. */
static struct option *list_options(struct px *s, const struct part *p, int32_t at, uint32_t *n, int32_t *next)
{
	struct option *o = push(s, (p->count + 1) * sizeof(*o));
	size_t full = s->stack_len;

	*n = 0;
	if (!o)
		return NULL;
	for (uint32_t i = 0; i < p->count; i++) {
		uint32_t x = s->set[p->start + i], k = 0;
		const struct px_buf *b = &s->buf[x];

		if (b->first > at || at >= b->end || !in_valley(s, x) || !supported(s, x))
			continue;
		while (k < *n && !same(&s->buf[o[k].buffer], b))
			k++;
		if (k == *n)
			add_option(o, n, (int32_t)x, s->taste[x]);
	}
	*next = next_level(s, p, at);
	if (*next <= s->capacity - s->total[at])
		add_option(o, n, -1, -1);
	s->stack_len = full - ((p->count + 1 - *n) * sizeof(*o) & ~(size_t)15);
	return o;
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

		s->options[b->first]++;
		s->options[b->end - 1]--;
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
	out = push(s, most * sizeof(*out));
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
	const struct px_buf *b = &s->buf[x];
	uint32_t i = p.start;

	s->offset[x] = align_up(s->level[b->first], b->align);
	if (s->offset[x] + b->size > s->capacity)
		return false;
	for (int32_t t = b->first; t < b->end; t++)
		if (!set_level(s, t, s->offset[x] + b->size, false))
			return false;
	while (s->set[i] != x)
		i++;
	s->set[i] = s->set[p.start + p.count - 1];
	s->set[p.start + p.count - 1] = x;
	p.count--;
	return search_parts(s, &p);
}

static bool branch(struct px *s, const struct part *p)
{
	int32_t at = choose_section(s, p), next;
	struct option *o;
	uint32_t n;

	o = list_options(s, p, at, &n, &next);
	if (!o)
		return false;
	for (uint32_t i = 0; i < n && !s->stopped; i++) {
		size_t mark = s->trail_len;

		if (o[i].buffer >= 0 ? place(s, *p, (uint32_t)o[i].buffer) : set_level(s, at, next, true) && search(s, *p))
			return true;
		undo_to(s, mark);
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
	if (propagate(s, &p)) {
		k = state_key(s, &p);
		ok = !has_failed(s, &k) && branch(s, &p);
		if (!ok && !s->stopped)
			s->seen[k.key & s->seen_mask] = k;
	}
	s->depth--;
	s->stack_len = stack;
	if (!ok)
		undo_to(s, trail);
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
	free(s->sorted);
	free(s->stack);
	free(s->seen);
	free(s->weight);
	free(s);
}

static void carve(struct px *s)
{
	size_t n = s->count, t = (size_t)s->sections + 1;

	s->slot = s->set + n;
	s->offset = (int32_t *)s->set + 2 * n;
	s->start = s->offset + n;
	s->reach = s->level + t;
	s->total = s->level + 2 * t;
	s->options = s->level + 3 * t;
	s->run = s->level + 4 * t;
	s->sort_tmp = s->sorted + n;
	s->taste = s->weight + t;
}

struct px *px_create(const struct px_buf *buf, size_t count, int32_t sections)
{
	struct px *s = calloc(1, sizeof(*s));
	size_t t = (size_t)sections + 1, learned = 1 << 10;

	if (!s)
		return NULL;
	while (learned < count * 2048 && learned < LEARNED)
		learned *= 2;
	s->buf = buf;
	s->count = (uint32_t)count;
	s->sections = sections;
	s->trail_cap = TRAIL;
	s->stack_cap = STACK;
	s->seen_mask = learned - 1;
	s->set = calloc(4 * count + 1, sizeof(*s->set));
	s->level = calloc(5 * t, sizeof(*s->level));
	s->waste = calloc(t, sizeof(*s->waste));
	s->trail = malloc(s->trail_cap * sizeof(*s->trail));
	s->sorted = calloc(2 * count + 1, sizeof(*s->sorted));
	s->stack = malloc(s->stack_cap);
	s->seen = calloc(learned, sizeof(*s->seen));
	s->weight = calloc(t + count, sizeof(*s->weight));
	if (!s->set || !s->level || !s->waste || !s->trail || !s->sorted || !s->stack || !s->seen || !s->weight) {
		px_destroy(s);
		return NULL;
	}
	carve(s);
	return s;
}

/* What a run likes to place first: three of four large areas, the rest sizes or long lives; all but the first with noise. */
static void choose_taste(struct px *s, uint64_t seed)
{
	float noise = seed ? 0.5f : 0;

	s->random = mix(seed);
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
