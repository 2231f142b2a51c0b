// SPDX-License-Identifier: MIT
/* The graph as steps and buffers, for searches that ask what lives when. */
#include <stdlib.h>
#include <string.h>
#include "live.h"

static void add(unsigned **list, unsigned *n, unsigned x)
{
	for (unsigned i = 0; i < *n; i++)
		if ((*list)[i] == x)
			return;
	if (!(*n & (*n - 1))) {		/* capacities are powers of two */
		*list = realloc(*list, (*n ? 2 * (size_t)*n : 1) * sizeof(**list));
		if (!*list)
			abort();
	}
	(*list)[(*n)++] = x;
}

static void add_touch(struct live *l, unsigned s, const struct ir_value *v)
{
	unsigned buf = (unsigned)l->b.value[v->id].buf;

	if (!l->size[buf])
		return;
	add(&l->step[s].touch, &l->step[s].touches, buf);
	add(&l->user[buf], &l->users[buf], s);
}

static void fill_step(struct live *l, unsigned s, const unsigned *def_step)
{
	const struct be_step *bs = &l->b.step[s];
	struct live_step *ls = &l->step[s];
	int over[IR_MAX_IN];
	unsigned overs;

	ls->idle = be_done_by_views(bs);
	ls->out = (unsigned)l->b.value[bs->op->out[0]->id].buf;
	for (unsigned k = 0; k < bs->op->ins; k++) {
		const struct ir_value *v = ir_op_in(bs->op, k);

		if (v && v->def)
			add(&ls->pred, &ls->preds, def_step[v->id]);
		if (v && !ls->idle && !be_streams(bs->op, k) && !bs->in_place[k])
			add_touch(l, s, v);
	}
	if (ls->idle)
		return;
	add_touch(l, s, bs->op->out[0]);
	overs = be_over(&l->b, s, over);
	for (unsigned i = 0; i < overs; i++)
		add(&ls->over, &ls->overs, (unsigned)over[i]);
}

int live_init(struct live *l, struct ir_graph *g, const struct mica_compile_options *o)
{
	struct be_state *b = &l->b;
	unsigned *def_step;
	int ret;

	memset(l, 0, sizeof(*l));
	be_state_init(b, g, o);
	ret = be_alias(b);
	if (ret)
		return ret;
	be_live(b);
	l->step = ir_alloc(b->steps, sizeof(*l->step));
	l->size = ir_alloc(b->bufs, sizeof(*l->size));
	l->user = ir_alloc(b->bufs, sizeof(*l->user));
	l->users = ir_alloc(b->bufs, sizeof(*l->users));
	def_step = ir_alloc(b->values, sizeof(*def_step));
	for (unsigned i = 0; i < b->bufs; i++)
		if (b->buf[i].space == BE_LMEM && b->buf[i].first != UINT32_MAX)
			l->size[i] = (b->buf[i].size + MICA_LMEM_ALIGN - 1) & ~(uint64_t)(MICA_LMEM_ALIGN - 1);
	for (unsigned s = 0; s < b->steps; s++)
		def_step[b->step[s].op->out[0]->id] = s;
	for (unsigned s = 0; s < b->steps; s++)
		fill_step(l, s, def_step);
	free(def_step);
	return 0;
}

void live_fini(struct live *l)
{
	for (unsigned s = 0; l->step && s < l->b.steps; s++) {
		free(l->step[s].touch);
		free(l->step[s].pred);
		free(l->step[s].over);
	}
	for (unsigned i = 0; l->user && i < l->b.bufs; i++)
		free(l->user[i]);
	free(l->step);
	free(l->size);
	free(l->user);
	free(l->users);
	be_state_fini(&l->b);
}

void live_peak(struct live *l, struct live_peak *peak)
{
	uint64_t *at = ir_alloc(l->b.steps, sizeof(*at));

	be_in_place(&l->b);
	for (unsigned i = 0; i < l->b.bufs; i++)
		for (unsigned s = l->b.buf[i].first; l->b.buf[i].first != UINT32_MAX && s <= l->b.buf[i].last; s++)
			at[s] += l->size[i];
	*peak = (struct live_peak){ 0 };
	for (unsigned s = 0; s < l->b.steps; s++) {
		if (at[s] > peak->bytes)
			*peak = (struct live_peak){ at[s], s, 0 };
		peak->steps += at[s] == peak->bytes;
	}
	free(at);
}
