// SPDX-License-Identifier: MIT
/*
 * Copies that the CPU need not make. A load is left out when everything that reads what it brought can read the segment
 * instead; a store, when everything that makes (and otherwise reads) what it takes away can work in the segment. Program
 * order decides: no other access to the same bytes may lie between the old place of an access and its new one. All of it
 * happens within one stretch, where no other core may touch those bytes; the changed packets pass the validator again.
 */
#include "prepare.h"

#include <stdlib.h>
#include <string.h>

#define MAX_LEVELS	4u
#define MAX_PARTS	16u		/* pieces of LMEM that still hold what a load brought */
#define MAX_PENDING	64u		/* packets changed for one copy */
#define MAX_STEPS	50000000u	/* accesses looked at, in all: a hostile stream may not keep the loader busy */

struct elider {
	struct commands *list;
	const struct mica_layout *layout;
	struct mica_limits lim;			/* the window for LMEM */
	struct access (*access)[ACCESS_MAX];
	uint8_t *accesses;
	bool *gone;
	union mica_pkt *patched;
	uint32_t n_patched;
	uint64_t steps;
	uint32_t pending[MAX_PENDING];		/* commands, changed for the copy at hand */
	union mica_pkt changed[MAX_PENDING];
	unsigned n_pending;
};

/* ---- From a place in LMEM to the place in the segment ---------------------------------------------------------------- */

struct level { int64_t lmem, seg; uint64_t count; };	/* strides of one axis on both sides */

struct map {
	const struct access *lmem, *seg;
	int64_t run;				/* contiguous bytes on both sides */
	struct level level[MAX_LEVELS];		/* by ascending stride in LMEM */
	unsigned levels;
	uint64_t base;				/* the segment within the window, seen from this core's LMEM */
};

static void sort_levels(struct map *m)
{
	for (unsigned i = 1; i < m->levels; i++)
		for (unsigned j = i; j && m->level[j - 1].lmem > m->level[j].lmem; j--) {
			struct level t = m->level[j];

			m->level[j] = m->level[j - 1];
			m->level[j - 1] = t;
		}
}

/* false: not a plain arrangement of rows. */
static bool map_init(struct map *m, const struct access *lmem, const struct access *seg)
{
	unsigned n = 0;
	int64_t extent;

	*m = (struct map){ .lmem = lmem, .seg = seg, .run = lmem->elem };
	for (unsigned i = 0; i < 4; i++) {
		if (lmem->dim[i] > 1 && (lmem->stride[i] <= 0 || seg->stride[i] <= 0))
			return false;
		if (lmem->dim[i] > 1)
			m->level[m->levels++] = (struct level){ lmem->stride[i], seg->stride[i], lmem->dim[i] };
	}
	sort_levels(m);
	extent = m->run;
	for (unsigned i = 0; i < m->levels; i++) {
		struct level l = m->level[i], *last = n ? &m->level[n - 1] : NULL;

		if (l.lmem < extent)
			return false;
		extent += (int64_t)(l.count - 1) * l.lmem;
		if (!last && l.lmem == m->run && l.seg == m->run)
			m->run *= (int64_t)l.count;
		else if (last && l.lmem == last->lmem * (int64_t)last->count && l.seg == last->seg * (int64_t)last->count)
			last->count *= l.count;
		else
			m->level[n++] = l;
	}
	m->levels = n;
	return lmem->bytes == (uint64_t)(lmem->hi - lmem->lo);
}

/* The level whose steps a stride consists of; -1: within a run. */
static int level_of(const struct map *m, int64_t stride)
{
	for (int k = (int)m->levels - 1; k >= 0; k--)
		if (stride % m->level[k].lmem == 0)
			return k;
	return -1;
}

/* The view of access a, which lies within m->lmem, as one of the segment. false: not a view of it. */
static bool map_view(const struct map *m, const struct access *a, struct mica_view *v)
{
	uint64_t used[MAX_LEVELS];
	int64_t off = a->lo - m->lmem->lo, at = m->seg->lo;

	for (int k = (int)m->levels - 1; k >= 0; k--) {
		used[k] = (uint64_t)(off / m->level[k].lmem);
		off %= m->level[k].lmem;
		at += (int64_t)used[k] * m->level[k].seg;
	}
	at += off;
	off += a->elem;
	for (unsigned i = 0; i < 4; i++) {
		int k;

		if (a->dim[i] == 1 || !a->stride[i])
			continue;
		k = level_of(m, a->stride[i]);
		if (k < 0) {
			off += (a->dim[i] - 1) * a->stride[i];
		} else {
			uint64_t steps = (uint64_t)(a->stride[i] / m->level[k].lmem), stride = steps * (uint64_t)m->level[k].seg;

			used[k] += (a->dim[i] - 1) * steps;
			if (stride > UINT32_MAX)
				return false;
			v->stride[i] = (uint32_t)stride;
		}
	}
	for (unsigned k = 0; k < m->levels; k++)
		if (used[k] >= m->level[k].count)
			return false;
	if (off > m->run || m->base + (uint64_t)at > UINT32_MAX)
		return false;
	v->addr = (uint32_t)(m->base + (uint64_t)at);
	return true;
}

/* ---- Changed packets --------------------------------------------------------------------------------------------------- */

static union mica_pkt *pending_of(struct elider *e, uint32_t i)
{
	const union mica_pkt *p = e->list->c[i].p;

	for (unsigned k = 0; k < e->n_pending; k++)
		if (e->pending[k] == i)
			return &e->changed[k];
	if (e->n_pending == MAX_PENDING)
		return NULL;
	e->pending[e->n_pending] = i;
	memcpy(&e->changed[e->n_pending], p, p->hdr.units * (size_t)MICA_PKT_ALIGN);
	return &e->changed[e->n_pending++];
}

static bool redirect(struct elider *e, uint32_t i, const struct access *a, const struct map *m)
{
	union mica_pkt *p = a->view ? pending_of(e, i) : NULL;

	return p && map_view(m, a, (struct mica_view *)(p->raw + a->view));
}

static bool still_valid(const struct elider *e)
{
	for (unsigned k = 0; k < e->n_pending; k++) {
		struct mica_check_state state;

		memset(&state, 0xff, sizeof(state));	/* what it waits for was checked */
		if (mica_check_packet(&e->changed[k], sizeof(e->changed[k]), &e->lim, &state, NULL))
			return false;
	}
	return true;
}

static void look(struct elider *e, uint32_t i)
{
	e->accesses[i] = (uint8_t)access_of(e->list->c[i].p, e->list->c[i].core, e->access[i]);
}

/* Accesses of changed packets lie in the window; here they are told apart by the segments behind the offsets. */
static void look_again(struct elider *e, uint32_t i)
{
	uint64_t lmem = e->layout->lmem[e->list->c[i].core];

	look(e, i);
	for (unsigned k = 0; k < e->accesses[i]; k++) {
		struct access *a = &e->access[i][k];

		for (unsigned s = 0; a->view && s < e->lim.segments; s++) {
			int64_t at = (int64_t)(e->layout->seg[s] - lmem), end = at + (int64_t)e->lim.seg_size[s];

			if (!(e->layout->segs >> s & 1) || a->lo < at || a->hi > end || a->space < ACCESS_LMEM)
				continue;
			a->space = s;
			a->at -= at;
			a->lo -= at;
			a->hi -= at;
		}
	}
}

static void commit(struct elider *e, uint32_t copy)
{
	for (unsigned k = 0; k < e->n_pending; k++) {
		struct command *c = &e->list->c[e->pending[k]];
		union mica_pkt *to = &e->patched[e->n_patched];

		if (c->p >= e->patched && c->p < e->patched + e->n_patched)
			to = e->patched + (c->p - e->patched);
		else
			e->n_patched++;
		*to = e->changed[k];
		c->p = to;
		look_again(e, e->pending[k]);
	}
	e->gone[copy] = true;
}

/* ---- What happens to bytes behind a copy ------------------------------------------------------------------------------ */

struct part { int64_t lo, hi; };

struct live {			/* of the LMEM bytes that the copy wrote or took away: those that still hold the same */
	struct part part[MAX_PARTS];
	unsigned n;
	bool torn;		/* overwritten in places */
};

static bool live_meets(const struct live *l, const struct access *a)
{
	for (unsigned i = 0; i < l->n; i++)
		if (a->lo < l->part[i].hi && l->part[i].lo < a->hi)
			return true;
	return false;
}

static bool live_has(const struct live *l, const struct access *a)
{
	for (unsigned i = 0; i < l->n; i++)
		if (a->lo >= l->part[i].lo && a->hi <= l->part[i].hi)
			return true;
	return false;
}

static void live_remove(struct live *l, const struct access *a)
{
	unsigned n = l->n;

	if (!live_meets(l, a))
		return;
	if (a->bytes != (uint64_t)(a->hi - a->lo)) {
		l->torn = true;
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		struct part p = l->part[i];

		if (a->lo >= p.hi || p.lo >= a->hi)
			continue;
		if (a->hi < p.hi && l->n == MAX_PARTS) {
			l->torn = true;
			continue;
		}
		l->part[i].hi = a->lo > p.lo ? a->lo : p.lo;
		if (a->hi < p.hi)
			l->part[l->n++] = (struct part){ a->hi, p.hi };
	}
	for (n = 0; n < l->n;)
		if (l->part[n].lo >= l->part[n].hi)
			l->part[n] = l->part[--l->n];
		else
			n++;
}

/* From behind the copy on, all that reads the live bytes is redirected. false: something cannot be. */
static bool readers_follow(struct elider *e, uint32_t copy, const struct map *m)
{
	const struct command *c = e->list->c;
	struct live live = { .part = { { m->lmem->lo, m->lmem->hi } }, .n = 1 };
	bool moved_on = false;		/* the segment's bytes are others by now */

	for (uint32_t i = copy + 1; i < e->list->n && live.n; i++) {
		e->steps += e->accesses[i];
		if (e->gone[i])
			continue;
		for (unsigned k = 0; k < e->accesses[i]; k++)
			moved_on |= e->access[i][k].write && access_meet(&e->access[i][k], m->seg);
		for (unsigned k = 0; k < e->accesses[i]; k++) {
			const struct access *a = &e->access[i][k];

			if (a->write || a->space != m->lmem->space || !live_meets(&live, a))
				continue;
			if (c[i].stretch != c[copy].stretch || c[i].core != c[copy].core || moved_on || live.torn ||
			    !live_has(&live, a) || !redirect(e, i, a, m))
				return false;
		}
		for (unsigned k = 0; k < e->accesses[i]; k++)
			if (e->access[i][k].write && e->access[i][k].space == m->lmem->space)
				live_remove(&live, &e->access[i][k]);
	}
	return e->steps < MAX_STEPS;
}

static bool meets_any(const struct access *a, const struct access *const other[], unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (access_meet(a, other[i]))
			return true;
	return false;
}

/* Command i works in place: what write a puts there depends on what was there. */
static bool in_place(const struct elider *e, uint32_t i, const struct access *a)
{
	for (unsigned k = 0; k < e->accesses[i]; k++)
		if (!e->access[i][k].write && access_meet(&e->access[i][k], a))
			return true;
	return false;
}

/* Back from the copy, all that made its bytes is redirected, and what read them in between. */
static bool makers_follow(struct elider *e, uint32_t copy, const struct map *m)
{
	const struct command *c = e->list->c;
	const struct access *maker[MAX_PENDING];
	uint64_t missing = m->lmem->bytes;
	unsigned makers = 0;

	for (uint32_t i = copy; i-- && missing;) {
		if (c[i].stretch != c[copy].stretch || c[i].core != c[copy].core)
			return false;
		e->steps += e->accesses[i];
		for (unsigned k = 0; k < e->accesses[i] && !e->gone[i]; k++) {
			const struct access *a = &e->access[i][k];

			if (access_meet(a, m->seg))
				return false;
			if (a->space != m->lmem->space || a->lo >= m->lmem->hi || m->lmem->lo >= a->hi)
				continue;
			if (a->lo < m->lmem->lo || a->hi > m->lmem->hi || makers == MAX_PENDING ||
			    meets_any(a, maker, makers) || !redirect(e, i, a, m))
				return false;
			if (!a->write)
				continue;
			if (in_place(e, i, a))
				return false;
			maker[makers++] = a;
			missing -= a->bytes < missing ? a->bytes : missing;
		}
	}
	return !missing;
}

/* ---- The list ---------------------------------------------------------------------------------------------------------- */

static bool is_direct(uint64_t direct, const struct access *a)
{
	return a->space < MICA_MAX_SEGMENTS && direct >> a->space & 1;
}

static bool try_copy(struct elider *e, uint32_t i, uint64_t direct, bool load)
{
	const struct command *c = &e->list->c[i];
	const struct access *lmem = &e->access[i][load], *seg = &e->access[i][!load];
	struct map m;

	if (lmem->space != ACCESS_LMEM + c->core || !is_direct(direct, seg) || !map_init(&m, lmem, seg))
		return false;
	m.base = e->layout->seg[seg->space] - e->layout->lmem[c->core];
	e->n_pending = 0;
	if ((!load && !makers_follow(e, i, &m)) || !readers_follow(e, i, &m) || !still_valid(e))
		return false;
	commit(e, i);
	return true;
}

static void drop_gone(struct elider *e)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < e->list->n; i++)
		if (!e->gone[i])
			e->list->c[n++] = e->list->c[i];
	e->list->n = n;
}

bool elide_copies(struct commands *list, const struct mica_job *job, const struct mica_layout *layout, uint64_t direct,
		  union mica_pkt *patched, uint32_t *n_patched)
{
	struct elider *e = calloc(1, sizeof(*e));
	bool good = false;

	if (!e)
		return false;
	*e = (struct elider){ .list = list, .layout = layout, .lim = job->lim, .patched = patched };
	e->lim.lmem_size = UINT32_MAX;
	e->access = malloc((list->n + 1ull) * sizeof(*e->access));
	e->accesses = malloc(list->n + 1ull);
	e->gone = calloc(list->n + 1ull, sizeof(*e->gone));
	if (!e->access || !e->accesses || !e->gone)
		goto out;
	for (uint32_t i = 0; i < list->n; i++)
		look(e, i);
	for (int load = 0; load < 2; load++)	/* stores first: then loads see whose results went where */
		for (uint32_t i = 0; i < list->n && e->steps < MAX_STEPS; i++)
			if (list->c[i].p->hdr.opcode == MICA_OP_COPY && !e->gone[i])
				try_copy(e, i, direct, load);
	drop_gone(e);
	*n_patched = e->n_patched;
	good = true;
out:
	free(e->access);
	free(e->accesses);
	free(e->gone);
	free(e);
	return good;
}
