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

static struct be_gain *gain(struct be_memory *m, const struct mica_compile_options *o, enum mica_saving s,
			    const struct be_figures *before, const struct be_figures *after)
{
	m->gain[s] = (struct be_gain){ .on = !(o->no_pass & 1u << s), .before = *before, .after = *after };
	return &m->gain[s];
}

int be_lower_peak(struct ir_graph *g, const struct mica_compile_options *o, struct be_memory *m)
{
	struct be_figures unfused = { .peak = m->base.planned, .lower = m->base.lower }, fused, views, all;
	int ret = be_measure(g, o, BIT(VIEWS) | BIT(IN_PLACE), &fused);

	if (!ret)
		ret = be_measure(g, o, BIT(IN_PLACE), &views);
	if (!ret)
		ret = be_measure(g, o, 0, &all);
	if (ret)
		return ret;
	if (!m->base.buffers)
		unfused = fused;
	gain(m, o, MICA_SAVE_FUSION, &unfused, &fused);
	gain(m, o, MICA_SAVE_VIEWS, &fused, &views);
	gain(m, o, MICA_SAVE_IN_PLACE, &views, &all);
	gain(m, o, MICA_SAVE_REORDER, &all, &all);
	gain(m, o, MICA_SAVE_SLICE, &all, &all);
	gain(m, o, MICA_SAVE_RECOMPUTE, &all, &all);
	m->all = all;
	return 0;
}

void be_residency_gain(const struct be_state *b, struct be_memory *m)
{
	struct be_figures with = m->all;

	with.peak = b->arena_size;
	with.lower = b->arena_lower;
	gain(m, b->o, MICA_SAVE_RESIDENCY, &m->all, &with);
}
