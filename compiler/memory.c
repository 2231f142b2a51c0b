// SPDX-License-Identifier: MIT
/*
 * The steps that lower the peak of live bytes, one after another, and what each is worth: the planned peak of all intermediate
 * values, as if none of them lived in LMEM, before and after it.
 */
#include <stdlib.h>
#include <string.h>
#include "backend.h"
#include "plan.h"

static const char *const names[MICA_SAVINGS] = { "fusion", "views", "in_place", "reorder", "slice", "recompute", "residency" };

const char *mica_saving_name(enum mica_saving s)
{
	return (unsigned)s < MICA_SAVINGS ? names[s] : NULL;
}

#define BIT(s) (1u << MICA_SAVE_##s)

/* All buffers that are neither constants nor the model's inputs and outputs, planned as one arena. */
static int plan_all(const struct be_state *b, struct be_figures *f)
{
	struct plan_buf *pb = ir_alloc(b->bufs, sizeof(*pb));
	struct plan_problem problem = { .buf = pb, .effort = 100 };
	int ret;

	for (unsigned i = 0; i < b->bufs; i++) {
		const struct be_buf *buf = &b->buf[i];
		uint64_t size = (buf->size + MICA_LMEM_ALIGN - 1) & ~(uint64_t)(MICA_LMEM_ALIGN - 1);

		if (buf->space <= BE_ARENA && buf->first != UINT32_MAX)
			pb[problem.count++] = (struct plan_buf){
				.first = buf->first, .last = buf->last, .size = size, .align = MICA_LMEM_ALIGN };
	}
	ret = plan_solve(&problem, &f->peak);
	f->lower = plan_lower_bound(pb, problem.count);
	free(pb);
	return ret ? mica_err_set(b->g->err, MICA_ERR_MEMORY, "%s: out of memory while planning", b->g->name) : 0;
}

int be_measure(struct ir_graph *g, const struct mica_compile_options *o, unsigned no_pass, struct be_figures *f)
{
	struct mica_compile_options with = *o;
	struct be_state b = { 0 };
	int ret;

	with.no_pass |= no_pass;
	memset(f, 0, sizeof(*f));
	be_state_init(&b, g, &with);
	ret = be_alias(&b);
	if (!ret) {
		be_live(&b);
		be_in_place(&b);
		ret = plan_all(&b, f);
	}
	for (struct ir_op *op = g->first; op; op = op->next)
		f->macs += ir_op_macs(op);
	be_state_fini(&b);
	return ret;
}

/* ---- one step after another ---- */

struct lowering {
	struct ir_graph *g;
	struct mica_compile_options *o;	/* what the compilation will use */
	struct be_memory *m;
	struct be_figures now;
	uint64_t most_cycles;		/* no step may lead to more */
	struct mica_compiled best;	/* of what has been taken so far */
	bool fits;			/* best holds something */
};

static void note(struct lowering *l, enum mica_saving s, bool taken, const struct be_figures *after)
{
	l->m->gain[s] = (struct be_gain){ .on = !(l->o->no_pass & 1u << s), .taken = taken, .before = l->now, .after = *after };
	if (taken)
		l->now = *after;
}

static bool better(const struct lowering *l, const struct be_figures *f)
{
	if (f->cycles > l->most_cycles)
		return false;
	return f->arena != l->now.arena ? f->arena < l->now.arena : f->peak < l->now.peak;
}

/* What the compilation of g would be like. A layer that finds no room for its smallest tile is no way to go: fits is false. */
static int figures(struct ir_graph *g, const struct mica_compile_options *o, struct mica_compiled *c, struct be_figures *f, bool *fits)
{
	int ret = be_measure(g, o, 0, f);

	memset(c, 0, sizeof(*c));
	if (!ret)
		ret = be_try(g, o, c, f);
	*fits = !ret;
	if (ret != -MICA_ERR_MEMORY)
		return ret;
	memset(g->err, 0, sizeof(*g->err));
	return 0;
}

/* The compilation takes the place of the best one, or is forgotten. */
static void settle(struct lowering *l, struct mica_compiled *c, bool taken)
{
	if (!taken) {
		mica_compiled_fini(c);
		return;
	}
	if (l->fits)
		mica_compiled_fini(&l->best);
	l->best = *c;
	l->fits = true;
}

static int try_in_place(struct lowering *l)
{
	struct mica_compile_options with = *l->o;
	struct be_figures f = l->now;
	struct mica_compiled c;
	bool fits = false, taken = false, on = !(l->o->no_pass & BIT(IN_PLACE));
	int ret = 0;

	with.progress = NULL;
	if (on)
		ret = be_measure(l->g, &with, 0, &f);
	if (!ret && f.peak < l->now.peak) {
		ret = figures(l->g, &with, &c, &f, &fits);
		taken = !ret && fits && better(l, &f);
		settle(l, &c, taken);
	}
	note(l, MICA_SAVE_IN_PLACE, taken, &f);
	if (!taken)
		l->o->no_pass |= BIT(IN_PLACE);
	return ret;
}

typedef int (*rewrite_fn)(struct ir_graph *g, const struct mica_compile_options *o, bool *changed);

/* A rewriting of the graph, on a copy: what does not pay is forgotten. */
static int try_rewrite(struct lowering *l, enum mica_saving s, rewrite_fn rewrite)
{
	struct mica_compile_options with = *l->o;
	struct be_figures f = l->now;
	struct mica_compiled c;
	struct ir_graph *copy;
	bool changed = false, fits = false, taken = false;
	int ret;

	if (l->o->no_pass & 1u << s || !l->now.arena) {	/* nothing in DRAM is nothing to save */
		note(l, s, false, &l->now);
		return 0;
	}
	with.progress = NULL;
	copy = ir_graph_share(l->g);
	ret = rewrite(copy, l->o, &changed);
	if (!ret && changed) {
		ret = figures(copy, &with, &c, &f, &fits);
		taken = !ret && fits && better(l, &f);
		settle(l, &c, taken);
	}
	note(l, s, taken, &f);
	if (taken)
		ir_graph_swap(l->g, copy);
	ir_graph_free(copy);
	return ret;
}

/* The graph as it is: what fusion and views have saved, and a compilation to compare the others with. */
static int start(struct lowering *l)
{
	struct mica_compile_options with = *l->o;
	struct be_figures fused, views;
	struct mica_compiled c;
	bool fits = false;
	int ret = be_measure(l->g, l->o, BIT(VIEWS) | BIT(IN_PLACE), &fused);

	l->now = (struct be_figures){ .peak = l->m->base.planned, .lower = l->m->base.lower, .macs = fused.macs };
	if (!l->m->base.buffers)
		l->now = fused;
	note(l, MICA_SAVE_FUSION, true, &fused);
	with.no_pass |= BIT(IN_PLACE);
	if (ret)
		return ret;
	ret = figures(l->g, &with, &c, &views, &fits);
	settle(l, &c, fits);
	note(l, MICA_SAVE_VIEWS, !(l->o->no_pass & BIT(VIEWS)), &views);
	l->now = views;
	if (!fits)			/* if nothing else fits either, the compilation itself will name the layer that is too large */
		l->now.arena = UINT64_MAX;
	l->most_cycles = !fits || l->o->minimize == MICA_MINIMIZE_MEMORY ? UINT64_MAX : views.cycles + views.cycles / 100;
	return ret;
}

int be_lower_peak(struct ir_graph *g, struct mica_compile_options *o, struct be_memory *m, struct mica_compiled *best, bool *done)
{
	struct lowering l = { .g = g, .o = o, .m = m };
	int ret = start(&l);

	if (!ret)
		ret = try_in_place(&l);
	if (!ret)
		ret = try_rewrite(&l, MICA_SAVE_REORDER, be_reorder);
	if (!ret)
		ret = try_rewrite(&l, MICA_SAVE_SLICE, be_slice);
	if (!ret)
		ret = try_rewrite(&l, MICA_SAVE_RECOMPUTE, be_recompute);
	m->all = l.now;
	*done = l.fits && !ret;
	if (*done)
		*best = l.best;
	else if (l.fits)
		mica_compiled_fini(&l.best);
	return ret;
}

void be_residency_gain(const struct be_state *b, struct be_memory *m)
{
	struct be_figures with = m->all;

	with.peak = b->arena_size;
	with.lower = b->arena_lower;
	with.arena = with.cycles = m->all.arena = m->all.cycles = 0;
	m->gain[MICA_SAVE_RESIDENCY] = (struct be_gain){ .on = !(b->o->no_pass & BIT(RESIDENCY)), .taken = true, .before = m->all, .after = with };
}
