// SPDX-License-Identifier: MIT
/*
 * Wide layers in row slices, depth first: a stretch of steps around the peak whose only result is one value runs slice of rows by
 * slice of rows, so that what lies inside never exists whole. Rows that neighbouring slices both need are computed twice. The
 * slices are written where they belong in the result (a CONCAT without copies).
 */
#include <stdlib.h>
#include <string.h>
#include "backend.h"
#include "slice.h"

#define ROUNDS 32
#define CANDIDATES 3			/* tried in earnest per round */
#define LONGEST 20			/* steps of a stretch */
#define PRICE 2.0			/* a percent more cycles must save so many percent of the peak */
#define MOST_FOR_MEMORY 0.25		/* additional cycles, as estimated here, beside all of them */
#define MOST_FOR_TIME 0.02

static const unsigned slice_counts[] = { 2, 3, 4, 6, 8, 12, 16 };

struct slicing {
	struct be_state b;
	struct ir_op **op;		/* by step */
	unsigned *first, *last;		/* by buffer, before results take operands' places */
	int *buf;			/* by value: the same */
	uint64_t *live;			/* by step: bytes alive */
	uint64_t peak;
	unsigned at_peak;		/* steps that reach it */
	double *work;			/* by step, in cycles */
	double *weights;
	double total;
};

struct stretch { unsigned a, b, slices; double score; uint64_t local; };

static uint64_t room(const struct slicing *s, unsigned buf)
{
	const struct be_buf *x = &s->b.buf[buf];

	return x->space == BE_LMEM ? (x->size + MICA_LMEM_ALIGN - 1) & ~(uint64_t)(MICA_LMEM_ALIGN - 1) : 0;
}

/* ---- the graph as it is ---- */

static double work_of(const struct ir_op *op)
{
	const struct mica_params *p = &mica_params_default;
	double n = (double)ir_elements(op->out[0]), macs = (double)ir_op_macs(op);

	if (op->kind == IR_POOL)
		return n * op->a.kh * op->a.kw / p->vector_lanes;
	if (op->kind == IR_CONV && be_is_dwconv(op))
		return macs / p->vector_lanes;
	if (macs > 0)
		return macs * (double)ir_dtype_size(op->in[0]->dtype) / (p->mac_rows * p->mac_cols);
	return be_is_move(op) ? 0 : n / p->vector_lanes;
}

static void profile(struct slicing *s)
{
	for (unsigned i = 0; i < s->b.bufs; i++)
		for (unsigned t = s->b.buf[i].first; s->b.buf[i].first != UINT32_MAX && t <= s->b.buf[i].last; t++)
			s->live[t] += room(s, i);
	for (unsigned t = 0; t < s->b.steps; t++) {
		if (s->live[t] > s->peak)
			s->at_peak = 0;
		s->peak = s->live[t] > s->peak ? s->live[t] : s->peak;
		s->at_peak += s->live[t] == s->peak;
	}
}

static int start(struct slicing *s, struct ir_graph *g, const struct mica_compile_options *o)
{
	struct be_state *b = &s->b;
	int ret;

	memset(s, 0, sizeof(*s));
	be_state_init(b, g, o);
	ret = be_alias(b);
	if (ret)
		return ret;
	be_live(b);
	s->op = ir_alloc(b->steps, sizeof(*s->op));
	s->live = ir_alloc(b->steps, sizeof(*s->live));
	s->work = ir_alloc(b->steps, sizeof(*s->work));
	s->weights = ir_alloc(b->steps, sizeof(*s->weights));
	s->first = ir_alloc(b->bufs, sizeof(*s->first));
	s->last = ir_alloc(b->bufs, sizeof(*s->last));
	s->buf = ir_alloc(b->values, sizeof(*s->buf));
	for (unsigned i = 0; i < b->bufs; i++) {
		s->first[i] = b->buf[i].first;
		s->last[i] = b->buf[i].last;
	}
	for (unsigned i = 0; i < b->values; i++)
		s->buf[i] = b->value[i].buf;
	for (unsigned t = 0; t < b->steps; t++) {
		s->op[t] = b->step[t].op;
		s->op[t]->scratch = (void *)(uintptr_t)(t + 1);
		s->work[t] = work_of(s->op[t]);
		if (s->op[t]->kind == IR_CONV)
			s->weights[t] = (double)ir_bytes(s->op[t]->in[1]) / mica_params_default.dram_bytes_per_cycle;
		s->total += s->work[t] > s->weights[t] ? s->work[t] : s->weights[t];
	}
	be_in_place(b);
	profile(s);
	return 0;
}

static void finish(struct slicing *s)
{
	for (unsigned t = 0; s->op && t < s->b.steps; t++)
		s->op[t]->scratch = NULL;
	free(s->op);
	free(s->live);
	free(s->work);
	free(s->weights);
	free(s->first);
	free(s->last);
	free(s->buf);
	be_state_fini(&s->b);
}

/* ---- what a slicing would be worth ---- */

/* One result, and nothing else leaves the stretch. */
static bool closed(const struct slicing *s, unsigned a, unsigned b)
{
	for (unsigned t = a; t < b; t++) {
		const struct ir_value *y = s->op[t]->out[0];

		if (y->is_output)
			return false;
		for (unsigned u = 0; u < y->uses; u++) {
			unsigned at = (unsigned)(uintptr_t)y->use[u]->scratch - 1;

			if (at < a || at > b)
				return false;
		}
	}
	return true;
}

/* The largest share of its rows that any slice makes of each step's result, and the cycles that slicing costs. */
static bool shares(const struct slicing *s, const struct stretch *r, double *share, double *cost)
{
	struct slice_rows rows[LONGEST];
	unsigned n = r->b - r->a + 1;
	int64_t h = s->op[r->b]->out[0]->dim[1];
	double made[LONGEST] = { 0 };

	memset(share, 0, n * sizeof(*share));
	for (unsigned k = 0; k < r->slices; k++) {
		if (!slice_needs(s->op + r->a, n, h * k / r->slices, h * (k + 1) / r->slices, rows))
			return false;
		for (unsigned t = 0; t < n; t++) {
			double part = (double)(rows[t].hi - rows[t].lo) / (double)s->op[r->a + t]->out[0]->dim[1];

			share[t] = part > share[t] ? part : share[t];
			made[t] += part;
		}
	}
	*cost = 0;
	for (unsigned t = 0; t < n; t++) {
		double w = s->work[r->a + t], wt = s->weights[r->a + t], before = w > wt ? w : wt;
		double after = w * made[t] > wt * r->slices ? w * made[t] : wt * r->slices;

		*cost += after - before;
	}
	return true;
}

static bool inside(const struct stretch *r, unsigned first, unsigned last)
{
	return first != UINT32_MAX && first >= r->a && last <= r->b;
}

/* What lives during the whole stretch: all buffers that are not inside it. */
static uint64_t around(const struct slicing *s, const struct stretch *r)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < s->b.bufs; i++)
		if (s->first[i] != UINT32_MAX && s->first[i] <= r->b && s->last[i] >= r->a && !inside(r, s->first[i], s->last[i]))
			sum += room(s, i);
	return sum;
}

/* The last step of the stretch that reads what step t makes. */
static unsigned last_use(const struct slicing *s, unsigned t)
{
	const struct ir_value *y = s->op[t]->out[0];
	unsigned last = t;

	for (unsigned u = 0; u < y->uses; u++) {
		unsigned at = (unsigned)(uintptr_t)y->use[u]->scratch - 1;

		last = at > last ? at : last;
	}
	return last;
}

/* The peak of what is inside, sliced. Values that are parts of larger ones outside become buffers of their own. */
static uint64_t within(const struct slicing *s, const struct stretch *r, const double *share)
{
	double size[LONGEST] = { 0 };	/* by step: of the buffer that begins there */
	unsigned last[LONGEST] = { 0 };
	double most = 0;

	for (unsigned t = r->a; t <= r->b; t++) {
		const struct ir_value *y = s->op[t]->out[0];
		unsigned own = (unsigned)s->buf[y->id], joint = (unsigned)s->b.value[y->id].buf, at = t - r->a, end;
		double bytes = (double)ir_bytes(y) * share[t - r->a];

		if (inside(r, s->b.buf[joint].first, s->b.buf[joint].last)) {
			at = s->b.buf[joint].first - r->a;
			end = s->b.buf[joint].last - r->a;
			bytes = (double)room(s, joint) * share[t - r->a];
		} else if (inside(r, s->first[own], s->last[own])) {
			at = s->first[own] - r->a;
			end = s->last[own] - r->a;
			bytes = (double)room(s, own) * share[t - r->a];
		} else if (t == r->b || s->b.step[t].view || s->b.buf[own].space == BE_IO) {
			continue;	/* the result itself, or nothing of its own */
		} else {
			end = last_use(s, t) - r->a;
		}
		size[at] = bytes > size[at] ? bytes : size[at];
		last[at] = end > last[at] ? end : last[at];
	}
	for (unsigned t = 0; t <= r->b - r->a; t++) {
		double sum = 0;

		for (unsigned i = 0; i <= t; i++)
			sum += last[i] >= t ? size[i] : 0;
		most = sum > most ? sum : most;
	}
	return (uint64_t)most;
}

/*
 * What slicing can reach at all: at every step the least that lives around a stretch that covers it, and the most of these. Going
 * below it anywhere only costs time.
 */
static uint64_t reachable(const struct slicing *s)
{
	uint64_t *least = ir_alloc(s->b.steps, sizeof(*least)), most = 0;

	memcpy(least, s->live, s->b.steps * sizeof(*least));
	for (unsigned b = 1; b < s->b.steps; b++) {
		for (unsigned a = b; a + LONGEST > b && slice_row_wise(s->op[a]) && slice_row_wise(s->op[b]); a--) {
			uint64_t base = a < b && closed(s, a, b) ? around(s, &(struct stretch){ .a = a, .b = b }) : UINT64_MAX;

			for (unsigned t = a; t <= b; t++)
				least[t] = base < least[t] ? base : least[t];
			if (!a)
				break;
		}
	}
	for (unsigned t = 0; t < s->b.steps; t++)
		most = least[t] > most ? least[t] : most;
	free(least);
	return most;
}

static void consider(struct stretch *list, unsigned *count, struct stretch r)
{
	unsigned i = *count < CANDIDATES ? (*count)++ : CANDIDATES;

	for (; i > 0 && r.score < list[i - 1].score; i--)
		if (i < CANDIDATES)
			list[i] = list[i - 1];
	if (i < CANDIDATES)
		list[i] = r;
}

static void weigh(const struct slicing *s, struct stretch r, uint64_t floor, double budget, struct stretch *list, unsigned *count)
{
	uint64_t base = around(s, &r);
	double share[LONGEST], cost;

	if (base >= s->peak || (*count == CANDIDATES && (double)base >= list[CANDIDATES - 1].score))
		return;
	for (unsigned i = 0; i < sizeof(slice_counts) / sizeof(*slice_counts); i++) {
		r.slices = slice_counts[i];
		if (s->op[r.b]->out[0]->dim[1] < 2 * (int64_t)r.slices || !shares(s, &r, share, &cost) || cost > budget)
			return;
		r.local = base + within(s, &r, share);
		r.score = (double)(r.local > floor ? r.local : floor) * (1 + PRICE * cost / s->total);
		if (r.local < s->peak)
			consider(list, count, r);
		if (r.local <= floor)
			return;
	}
}

static unsigned find(const struct slicing *s, uint64_t floor, double budget, struct stretch *list)
{
	unsigned p = 0, count = 0;

	while (s->live[p] < s->peak)
		p++;
	for (unsigned b = p; b < s->b.steps && b < p + LONGEST && slice_row_wise(s->op[b]); b++) {
		for (unsigned a = b; a + LONGEST > b && slice_row_wise(s->op[a]); a--) {
			if (a <= p && a < b && closed(s, a, b))
				weigh(s, (struct stretch){ .a = a, .b = b }, floor, budget, list, &count);
			if (!a)
				break;
		}
	}
	return count;
}

/* ---- rounds ---- */

/* The first of the candidates that lowers the peak, or makes fewer steps reach it, as a graph of its own; else NULL. */
static int try_stretches(struct ir_graph *g, const struct mica_compile_options *o, const struct slicing *s, const struct stretch *list,
			 unsigned n, double *budget, struct ir_graph **taken)
{
	int ret = 0;

	for (unsigned i = 0; i < n && !*taken && !ret; i++) {
		struct ir_graph *copy = ir_graph_share(g);
		struct ir_op *first = copy->first;
		struct slicing after;

		for (unsigned t = 0; t < list[i].a; t++)
			first = first->next;
		slice_apply(copy, first, list[i].b - list[i].a + 1, list[i].slices);
		ret = start(&after, copy, o);
		if (!ret && (after.peak < s->peak || (after.peak == s->peak && after.at_peak < s->at_peak))) {
			*taken = copy;
			*budget -= after.total > s->total ? after.total - s->total : 0;
		}
		finish(&after);
		if (!*taken)
			ir_graph_free(copy);
	}
	return ret;
}

/* Slices one stretch around the peak. */
static int round_of(struct ir_graph *g, const struct mica_compile_options *o, double *budget, uint64_t *target, bool *done)
{
	struct stretch list[CANDIDATES];
	struct ir_graph *taken = NULL;
	struct slicing s;
	unsigned n = 0;
	int ret = start(&s, g, o);

	if (!ret && *budget < 0) {
		uint64_t least = reachable(&s);

		*budget = s.total * (o->minimize == MICA_MINIMIZE_MEMORY ? MOST_FOR_MEMORY : MOST_FOR_TIME);
		*target = least > *target ? least : *target;
	}
	if (!ret && s.peak > *target)
		n = find(&s, *target, *budget, list);
	if (n)
		ret = try_stretches(g, o, &s, list, n, budget, &taken);
	finish(&s);
	*done = !taken;
	if (taken) {
		ir_graph_swap(g, taken);
		ir_graph_free(taken);
	}
	return ret;
}

int be_slice(struct ir_graph *g, const struct mica_compile_options *o, bool *changed)
{
	bool tiles = o->no_pass & 1u << MICA_SAVE_RESIDENCY, done = false;
	uint64_t target = tiles ? 0 : (uint64_t)o->lmem * 3 / 4;	/* the rest is for tiles */
	double budget = -1;
	int ret = 0;

	*changed = false;
	for (unsigned i = 0; i < ROUNDS && !done && !ret; i++) {
		ret = round_of(g, o, &budget, &target, &done);
		*changed = *changed || !done;
	}
	return ret;
}
