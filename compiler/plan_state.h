/* SPDX-License-Identifier: MIT */
/* The state of the exact search, and what its files share. docs/memplan.md says why the search is complete. */
#ifndef MICA_PLAN_STATE_H
#define MICA_PLAN_STATE_H

#include "plan_search.h"

struct undo { int32_t section, level; bool waste; };
struct seen { uint64_t key, check; };
struct part { uint32_t start, count; int32_t lo, hi; };		/* buffers set[start..], sections lo..hi */
struct option { int32_t buffer; float score; };			/* buffer -1: nothing at this level */

struct px {
	const struct px_buf *buf;
	uint32_t count;
	int32_t sections, capacity;
	bool linked;			/* there are groups */
	bool backward;			/* of sections that are equally good, the last */
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
	int32_t *lowest;		/* by section: the first start there */
	int32_t *peak[32];		/* by section: highest levels of stretches */
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
	float flush;			/* what leaning on walls adds to it */
	uint64_t random, nodes;
	const struct px_stop *stop;
	unsigned depth;
	bool stopped;
};

static inline uint64_t px_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static inline int32_t px_align_up(int32_t v, int32_t a)
{
	return (v + a - 1) & ~(a - 1);
}

/* ---- plan_propagate.c: the skyline and what follows from it ---- */

bool px_set_level(struct px *s, int32_t section, int32_t level, bool waste);	/* false when the trail is full */
void px_undo_to(struct px *s, size_t mark);
bool px_propagate(struct px *s, const struct part *p);				/* false: refuted */
struct seen px_state_key(const struct px *s, const struct part *p);
bool px_has_failed(const struct px *s, const struct seen *k);

/* ---- plan_choose.c: where to branch, and what on ---- */

int32_t px_choose_section(struct px *s, const struct part *p);
struct option *px_list_options(struct px *s, const struct part *p, int32_t at, uint32_t *n, int32_t *next);
/* Room on the stack. NULL, and the run is stopped, when it is full: offsets into it must not move, so it never grows. */
void *px_push(struct px *s, size_t size);

#endif /* MICA_PLAN_STATE_H */
