// SPDX-License-Identifier: MIT
/*
 * Residency: every buffer lives in LMEM for its whole life, or in the arena in DRAM. All start resident; while a step does
 * not fit, the buffer that relieves most per byte of traffic is evicted. Then offsets, and tilings in the room that is left.
 */
#include <stdlib.h>
#include <string.h>
#include "backend.h"
#include "plan.h"

struct placing {
	struct be_state *b;
	uint64_t *resident;		/* by step */
	uint64_t *least, *like;		/* by step: staging */
	uint64_t *over;			/* by step: bytes too many */
	bool *dirty;			/* by step: least and like must be computed again */
};

struct be_view be_place_of(const struct be_state *b, const struct ir_value *v)
{
	const struct be_value *bv = &b->value[v->id];
	const struct be_buf *buf = &b->buf[bv->buf];
	struct be_view view = bv->rel;
	uint64_t seg = buf->space == BE_LMEM ? MICA_SEG_LMEM : buf->space == BE_ARENA ? MICA_SEG_ARENA
		     : buf->space == BE_CONST ? MICA_SEG_WEIGHTS : buf->segment;

	view.addr = be_addr_add(MICA_ADDR(seg, buf->offset), (int64_t)bv->rel.addr);
	return view;
}

/* ---- live ranges ---- */

static void touch(struct be_state *b, const struct ir_value *v, unsigned step)
{
	struct be_buf *buf = &b->buf[b->value[v->id].buf];

	if (buf->first == UINT32_MAX)
		buf->first = step;
	buf->last = step;
	buf->traffic += ir_bytes(v);
}

/* The operands that a step reads; NULL for those it does not. */
static const struct ir_value *reads(const struct be_step *s, unsigned i)
{
	return be_streams(s->op, i) || s->in_place[i] ? NULL : ir_op_in(s->op, i);
}

void be_live(struct be_state *b)
{
	for (unsigned i = 0; i < b->steps; i++) {
		struct be_step *s = &b->step[i];

		if (be_done_by_views(s))
			continue;
		for (unsigned k = 0; k < s->op->ins; k++)
			if (reads(s, k))
				touch(b, reads(s, k), i);
		touch(b, s->op->out[0], i);
	}
}

/* LMEM is lost while the host works, and it never sees any. */
static void leave_to_host(struct be_state *b)
{
	for (unsigned s = 0; s < b->steps; s++)
		for (unsigned i = 0; i < b->bufs && b->step[s].op->kind == IR_HOST; i++)
			if (b->buf[i].space == BE_LMEM && b->buf[i].first <= s && b->buf[i].last >= s)
				b->buf[i].space = BE_ARENA;
}

static bool resident(const struct be_buf *buf)
{
	return buf->space == BE_LMEM && buf->first != UINT32_MAX;
}

static uint64_t room(const struct be_buf *buf)
{
	return (buf->size + MICA_LMEM_ALIGN - 1) & ~(uint64_t)(MICA_LMEM_ALIGN - 1);
}

static struct plan_buf plan_entry(unsigned first, unsigned last, uint64_t size, uint64_t offset)
{
	return (struct plan_buf){ .first = first, .last = last, .size = size, .align = MICA_LMEM_ALIGN, .offset = offset };
}

/* ---- eviction ---- */

static int no_tile(const struct placing *p, unsigned step)
{
	const struct be_state *b = p->b;

	return be_op_err(b->g, b->step[step].op, MICA_ERR_MEMORY,
			 "its smallest tile needs %llu KiB of local memory, there are %u KiB; compile with a larger --lmem",
			 (unsigned long long)(p->least[step] + 1023) >> 10, b->lmem >> 10);
}

/* Staging that a step should get: all it likes, but not more than a quarter of LMEM unless it cannot do with less. */
static uint64_t wanted(const struct placing *p, unsigned step)
{
	uint64_t quarter = p->b->lmem / 4, like = p->like[step] < quarter ? p->like[step] : quarter;

	return like > p->least[step] ? like : p->least[step];
}

static int measure_steps(struct placing *p)
{
	struct be_state *b = p->b;

	for (unsigned i = 0; i < b->steps; i++) {
		if (!p->dirty[i] || be_done_by_views(&b->step[i]))
			continue;
		p->dirty[i] = false;
		if (!be_tile_least(b, &b->step[i], &p->least[i], &p->like[i]))
			return be_op_err(b->g, b->step[i].op, MICA_ERR_UNSUPPORTED,
					 "a dimension is larger than the 65535 that a command can hold");
		if (p->least[i] > b->lmem)
			return no_tile(p, i);
	}
	return 0;
}

static bool find_overflow(struct placing *p)
{
	struct be_state *b = p->b;
	bool any = false;

	memset(p->resident, 0, b->steps * sizeof(*p->resident));
	for (unsigned i = 0; i < b->bufs; i++)
		for (unsigned s = b->buf[i].first; resident(&b->buf[i]) && s <= b->buf[i].last; s++)
			p->resident[s] += room(&b->buf[i]);
	for (unsigned s = 0; s < b->steps; s++) {
		uint64_t sum = p->resident[s] + wanted(p, s);

		p->over[s] = sum > b->lmem ? sum - b->lmem : 0;
		any = any || p->over[s];
	}
	return any;
}

static bool touches(const struct be_state *b, unsigned step, unsigned buf)
{
	const struct be_step *s = &b->step[step];

	if (be_done_by_views(s))
		return false;
	if (b->value[s->op->out[0]->id].buf == (int)buf)
		return true;
	for (unsigned k = 0; k < s->op->ins; k++)
		if (reads(s, k) && b->value[reads(s, k)->id].buf == (int)buf)
			return true;
	return false;
}

/* Bytes that evicting the buffer saves at the steps that have too many; at those that use it, staging takes some again. */
static double relief(const struct placing *p, unsigned buf)
{
	const struct be_state *b = p->b;
	double sum = 0;

	for (unsigned s = b->buf[buf].first; s <= b->buf[buf].last; s++) {
		uint64_t size = room(&b->buf[buf]), gain;

		if (!p->over[s])
			continue;
		if (touches(b, s, buf))
			size -= size / 4 < b->lmem / 8 ? size / 4 : b->lmem / 8;
		gain = size < p->over[s] ? size : p->over[s];
		sum += (double)gain;
	}
	return sum;
}

static int evict(struct placing *p)
{
	struct be_state *b = p->b;
	unsigned best = UINT32_MAX;
	double best_score = 0;

	for (unsigned i = 0; i < b->bufs; i++) {
		double score;

		if (!resident(&b->buf[i]))
			continue;
		score = relief(p, i) / (double)(b->buf[i].traffic + 1);
		if (score > best_score) {
			best = i;
			best_score = score;
		}
	}
	if (best == UINT32_MAX) {
		for (unsigned s = 0; s < b->steps; s++)
			if (p->over[s])
				return no_tile(p, s);
		return mica_err_set(b->g->err, MICA_ERR_INTERNAL, "%s: residency planning is stuck; please report it", b->g->name);
	}
	b->buf[best].space = BE_ARENA;
	for (unsigned s = b->buf[best].first; s <= b->buf[best].last; s++)
		if (touches(b, s, best))
			p->dirty[s] = true;
	return 0;
}

static void evict_all(struct be_state *b)
{
	for (unsigned i = 0; i < b->bufs; i++)
		if (resident(&b->buf[i]))
			b->buf[i].space = BE_ARENA;
}

/* ---- LMEM ---- */

/* Residents and one block of staging per step, packed. True when they fit; else p->over marks the steps concerned. */
static int pack(struct placing *p, bool *fits)
{
	struct be_state *b = p->b;
	struct plan_buf *pb = ir_alloc(b->bufs + b->steps, sizeof(*pb));
	struct plan_problem problem = { .buf = pb, .capacity = b->lmem, .effort = 300 };
	unsigned *from = ir_alloc(b->bufs + b->steps, sizeof(*from));
	uint64_t peak;
	size_t n = 0;
	int ret;

	for (unsigned i = 0; i < b->bufs; i++) {
		if (!resident(&b->buf[i]))
			continue;
		from[n] = i;
		pb[n++] = plan_entry(b->buf[i].first, b->buf[i].last, room(&b->buf[i]), 0);
	}
	problem.count = n;
	for (unsigned s = 0; s < b->steps; s++)
		if (wanted(p, s))
			pb[problem.count++] = plan_entry(s, s, wanted(p, s), 0);
	ret = plan_solve(&problem, &peak);
	*fits = !ret && peak <= b->lmem;
	for (size_t i = 0; i < problem.count && !*fits; i++)
		for (unsigned s = pb[i].first; pb[i].offset + pb[i].size > b->lmem && s <= pb[i].last; s++)
			if (p->over[s] < pb[i].offset + pb[i].size - b->lmem)
				p->over[s] = pb[i].offset + pb[i].size - b->lmem;
	for (size_t i = 0; i < n; i++)
		b->buf[from[i]].offset = pb[i].offset;
	free(pb);
	free(from);
	return ret ? mica_err_set(b->g->err, MICA_ERR_MEMORY, "%s: out of memory while planning", b->g->name) : 0;
}

static int by_place(const void *a, const void *b)
{
	const struct be_range *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

static unsigned add_work(const struct be_step *s, struct be_range *r, unsigned n)
{
	for (unsigned i = 0; i < BE_OPERANDS; i++)
		for (unsigned j = 0; j < s->t.instances[i]; j++)
			r[n++] = (struct be_range){ s->t.offset[i][j], s->t.size[i] };
	return n;
}

/* What is taken during steps lo..hi, and by the staging of step lo if `work`. */
static unsigned occupied(const struct be_state *b, unsigned lo, unsigned hi, bool work, struct be_range *r)
{
	unsigned n = 0;

	for (unsigned i = 0; i < b->bufs; i++)
		if (resident(&b->buf[i]) && b->buf[i].first <= hi && b->buf[i].last >= lo)
			r[n++] = (struct be_range){ b->buf[i].offset, room(&b->buf[i]) };
	if (work)
		n = add_work(&b->step[lo], r, n);
	qsort(r, n, sizeof(*r), by_place);
	return n;
}

/* Staging of step s: apart from everything the step before uses, if that costs few tiles, so that loads can run ahead. */
static int tile_step(struct placing *p, unsigned s, struct be_range *r)
{
	struct be_state *b = p->b;
	struct be_step *step = &b->step[s];
	struct be_tiling alone;
	unsigned n;

	if (be_done_by_views(step) || be_is_move(step->op))
		return 0;
	n = occupied(b, s, s, false, r);
	if (!be_tile_fit(b, step, r, n))
		return no_tile(p, s);
	alone = step->t;
	if (!s || !alone.tiles || !p->like[s])
		return 0;
	n = occupied(b, s - 1, s, true, r);
	if (!be_tile_fit(b, step, r, n) || step->t.tiles > alone.tiles + alone.tiles / 2 + 1 || !add_work(step, r, 0))
		step->t = alone;
	return 0;
}

static int tile_all(struct placing *p)
{
	struct be_state *b = p->b;
	struct be_range *r = ir_alloc(b->bufs + 4 * BE_OPERANDS, sizeof(*r));
	int ret = 0;

	for (unsigned s = 0; s < b->steps && !ret; s++) {
		uint64_t sum = p->resident[s];
		unsigned n;

		ret = tile_step(p, s, r);
		n = add_work(&b->step[s], r, 0);
		for (unsigned i = 0; i < n; i++) {
			sum += r[i].size;
			b->lmem_peak = r[i].at + r[i].size > b->lmem_peak ? r[i].at + r[i].size : b->lmem_peak;
		}
		b->lmem_lower = sum > b->lmem_lower ? sum : b->lmem_lower;
	}
	for (unsigned i = 0; i < b->bufs; i++)
		if (resident(&b->buf[i]) && b->buf[i].offset + room(&b->buf[i]) > b->lmem_peak)
			b->lmem_peak = b->buf[i].offset + room(&b->buf[i]);
	free(r);
	return ret;
}

/* ---- the arena ---- */

/* Where the greedy planner misses the bound, a search whose limit is nodes: the same plan on every machine. */
static int improve_arena(struct plan_buf *buf, size_t count, uint64_t lower, uint64_t *peak)
{
	static const struct plan_limits limits = { .nodes = 10000 };
	struct plan_result r = { .peak = UINT64_MAX };
	struct plan_buf *copy;
	int ret;

	if (*peak <= lower)
		return 0;
	copy = ir_alloc(count, sizeof(*copy));
	memcpy(copy, buf, count * sizeof(*copy));
	ret = plan_exact(copy, count, 0, &limits, &r);
	if (!ret && r.peak < *peak) {
		memcpy(buf, copy, count * sizeof(*copy));
		*peak = r.peak;
	}
	free(copy);
	return ret;
}

static int place_arena(struct be_state *b)
{
	struct plan_buf *pb = ir_alloc(b->bufs, sizeof(*pb));
	struct plan_problem problem = { .buf = pb, .effort = 1000 };
	unsigned *from = ir_alloc(b->bufs, sizeof(*from));
	size_t x, y;
	int ret;

	for (unsigned i = 0; i < b->bufs; i++) {
		if (b->buf[i].space != BE_ARENA)
			continue;
		from[problem.count] = i;
		pb[problem.count++] = plan_entry(b->buf[i].first, b->buf[i].last, room(&b->buf[i]), 0);
	}
	ret = plan_solve(&problem, &b->arena_size);
	b->arena_lower = plan_lower_bound(pb, problem.count);
	if (!ret)
		ret = improve_arena(pb, problem.count, b->arena_lower, &b->arena_size);
	b->arena_no_reuse = plan_no_reuse(pb, problem.count);
	for (size_t i = 0; i < problem.count; i++)
		b->buf[from[i]].offset = pb[i].offset;
	if (!ret && plan_check(pb, problem.count, b->arena_size, &x, &y) != PLAN_OK)
		ret = mica_err_set(b->g->err, MICA_ERR_INTERNAL, "%s: the plan of the arena is refused at '%s' and '%s'; please report it",
				   b->g->name, b->buf[from[x]].root->name, b->buf[from[y]].root->name);
	free(pb);
	free(from);
	return ret;
}

/* The validator on the final LMEM plan: residents and every step's staging. */
static int check_lmem(const struct be_state *b)
{
	struct plan_buf *pb = ir_alloc(b->bufs + (size_t)b->steps * 2 * BE_OPERANDS, sizeof(*pb));
	size_t n = 0, x, y;
	int ret = 0;

	for (unsigned i = 0; i < b->bufs; i++)
		if (resident(&b->buf[i]))
			pb[n++] = plan_entry(b->buf[i].first, b->buf[i].last, b->buf[i].size, b->buf[i].offset);
	for (unsigned s = 0; s < b->steps; s++)
		for (unsigned i = 0; i < BE_OPERANDS; i++)
			for (unsigned j = 0; j < b->step[s].t.instances[i]; j++)
				pb[n++] = plan_entry(s, s, b->step[s].t.size[i], b->step[s].t.offset[i][j]);
	if (plan_check(pb, n, b->lmem, &x, &y) != PLAN_OK)
		ret = mica_err_set(b->g->err, MICA_ERR_INTERNAL, "%s: the plan of LMEM is refused (entries %zu and %zu); please report it",
				   b->g->name, x, y);
	free(pb);
	return ret;
}

int be_place(struct be_state *b)
{
	struct placing p = { .b = b };
	size_t n = b->steps ? b->steps : 1;
	bool fits = false;
	int ret = 0;

	p.resident = ir_alloc(n, sizeof(*p.resident));
	p.least = ir_alloc(n, sizeof(*p.least));
	p.like = ir_alloc(n, sizeof(*p.like));
	p.over = ir_alloc(n, sizeof(*p.over));
	p.dirty = ir_alloc(n, sizeof(*p.dirty));
	memset(p.dirty, true, n);
	if (b->o->no_pass & 1u << MICA_SAVE_RESIDENCY)
		evict_all(b);
	leave_to_host(b);
	while (!ret && !fits) {
		ret = measure_steps(&p);
		if (!ret && find_overflow(&p)) {
			ret = evict(&p);
			continue;
		}
		if (!ret)
			ret = pack(&p, &fits);
		if (!ret && !fits)
			ret = evict(&p);
	}
	for (unsigned i = 0; i < b->bufs && !ret; i++)
		if (b->buf[i].space == BE_CONST && b->buf[i].first != UINT32_MAX)
			b->buf[i].offset = be_blob_const(&b->blob, b->buf[i].root);
	if (!ret)
		ret = tile_all(&p);
	if (!ret)
		ret = check_lmem(b);
	if (!ret)
		ret = place_arena(b);
	free(p.resident);
	free(p.least);
	free(p.like);
	free(p.over);
	free(p.dirty);
	return ret;
}
