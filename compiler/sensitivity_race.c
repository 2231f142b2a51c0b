// SPDX-License-Identifier: MIT
/*
 * Who runs on which sample. Of the methods of one operator in one format only the best one counts, and losses only add up:
 * a method whose samples so far have lost more than another one's whole loss is out, whatever the others would say. The samples
 * that lose most come first, and the method that has lost least so far goes on. What a candidate is known by depends neither
 * on threads nor on turns: threads without work run samples ahead that may turn out not to count.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "sensitivity_run.h"

#define BLOCK 64		/* candidates between two turns: each turn repeats the f32 run up to there */
#define FAST_SAMPLES 4
#define ROUNDING 1e-9		/* by which two sums of the same losses may differ, and more */

struct entrant {
	struct sens_candidate *c;
	struct sens_work work;
	struct sens_sums *sums;		/* [sample * outputs] */
	float **value;			/* outputs for the user's measure, [sample * outputs], or NULL */
	double *loss;			/* by place in the order of samples */
	unsigned ran, counted;		/* places */
	double part;			/* of the loss, by what is counted */
};

struct group {			/* of one operator, format and beginning */
	struct entrant *e, *leader;
	unsigned n;
	double bound;			/* the least loss that is known; INFINITY: none */
};

struct race {
	struct sens *z;
	struct sens_runner x;
	const unsigned *sample;		/* by place */
	unsigned samples;
	bool racing;
	unsigned from, end;		/* places of the turn */
	bool again;			/* the turns' second time: the leaders are known */
	unsigned done, n;
	double work, worked;
	int (*report)(struct sens *z, struct sens_candidate *c);
};

/* ---- progress ---- */

static void progress(const struct race *a)
{
	char stage[96];

	if (!a->z->o.progress)
		return;
	snprintf(stage, sizeof(stage), "search: candidate %u of %u", a->done + 1, a->n);
	a->z->o.progress(a->z->o.progress_opaque, stage, (unsigned)(1000 * a->worked / (a->work + 1e-9)), 1000);
}

/* What running from that step on takes, about. */
static double work_from(const struct sens *z, unsigned step)
{
	double sum = 0;
	unsigned at = 0;

	for (const struct ir_op *op = z->g->first; op; op = op->next, at++)
		sum += at >= step ? 1e5 + (double)ir_op_macs(op) : 0;
	return sum;
}

/* ---- entrants ---- */

static double joined(const struct race *a, double part, double loss)
{
	return a->z->s->worst ? fmax(part, loss) : part + loss / a->samples;
}

static bool beaten(const struct race *a, const struct group *g, double part)
{
	return a->racing && part > g->bound * (1 + ROUNDING);
}

static bool in_race(const struct race *a, const struct group *g, const struct entrant *e)
{
	return e->counted < a->samples && !beaten(a, g, e->part);
}

static struct sens_sums *sums_of(const struct race *a, const struct entrant *e, unsigned place)
{
	return e->sums + (size_t)a->sample[place] * a->z->g->outputs;
}

/* By the first `places` samples: what all of them lose at least. */
static struct sens_score score_by(const struct race *a, const struct entrant *e, unsigned places)
{
	unsigned outputs = a->z->g->outputs, n = 0;
	bool *seen = ir_alloc(a->z->samples, sizeof(*seen));
	struct sens_sums *sums = ir_alloc((size_t)places * outputs + 1, sizeof(*sums));
	struct sens_score score;

	for (unsigned i = 0; i < places; i++)
		seen[a->sample[i]] = true;
	for (unsigned i = 0; i < a->z->samples; i++)
		if (seen[i])
			memcpy(sums + (size_t)n++ * outputs, e->sums + (size_t)i * outputs, outputs * sizeof(*sums));
	score = sens_score_of(a->z, sums, places, a->samples);
	free(seen);
	free(sums);
	return score;
}

static int run_places(struct race *a, struct entrant *e, unsigned to)
{
	unsigned outputs = a->z->g->outputs;
	struct sens_job *job = ir_alloc(to - e->ran, sizeof(*job));
	int r = 0;

	if (!e->work.g)
		r = sens_work_make(&a->x, &e->work, e->c);
	if (!r && e->work.differs)
		r = sens_runner_walk(&a->x, e->work.plan.begins);
	for (unsigned i = e->ran; i < to; i++)
		job[i - e->ran] = (struct sens_job){
			.work = &e->work, .at = i - a->from, .sums = sums_of(a, e, i),
			.value = e->value ? e->value + (size_t)a->sample[i] * outputs : NULL,
		};
	if (!r)
		r = sens_runner_jobs(&a->x, job, to - e->ran);
	for (; e->ran < to && !r; e->ran++)
		e->loss[e->ran] = sens_score_of(a->z, sums_of(a, e, e->ran), 1, 1).loss;
	free(job);
	return r;
}

static unsigned count_open(const struct race *a, const struct group *g)
{
	unsigned n = 0;

	for (unsigned i = 0; i < g->n; i++)
		n += in_race(a, g, &g->e[i]);
	return n;
}

/* One sample more of an entrant. What must be complete anyway runs at once; else as many samples as there are threads. */
static int advance(struct race *a, struct group *g, struct entrant *e)
{
	bool all = !a->racing || (isinf(g->bound) && count_open(a, g) == 1);
	int r = 0;

	if (e->ran == e->counted) {
		progress(a);
		r = run_places(a, e, all || a->end - e->ran < a->x.workers ? a->end : e->ran + a->x.workers);
	}
	if (r)
		return r;
	e->part = joined(a, e->part, e->loss[e->counted++]);
	if (e->counted == a->samples && a->racing && e->part < g->bound)
		g->bound = e->part;
	return 0;
}

/* ---- groups ---- */

/* The open one that has lost least, of those whose next sample is in the turn or of all. */
static struct entrant *least(const struct race *a, const struct group *g, bool here)
{
	struct entrant *best = NULL;

	for (unsigned i = 0; i < g->n; i++) {
		struct entrant *e = &g->e[i];

		if (!in_race(a, g, e) || (here && (e->counted < a->from || e->counted >= a->end)))
			continue;
		if (!best || e->part < best->part || (e->part == best->part && e->counted > best->counted))
			best = e;
	}
	return best;
}

/* The first time through the turns finds the leader and takes it to the end, the second time shows whether others do better. */
static struct entrant *next_entrant(const struct race *a, struct group *g)
{
	struct entrant *e;

	if (a->again || !a->racing)
		return least(a, g, true);
	if (!a->from)
		g->leader = least(a, g, false);
	e = g->leader;
	return e && in_race(a, g, e) && e->counted >= a->from && e->counted < a->end ? e : NULL;
}

static int visit(struct race *a, struct group *g)
{
	struct entrant *e;
	int r = 0;

	while (!r && !sens_stopped(a->z) && (e = next_entrant(a, g)))
		r = advance(a, g, e);
	for (unsigned i = 0; i < g->n; i++)
		sens_work_free(&g->e[i].work);
	return r;
}

static int take_score(struct race *a, const struct group *g, struct entrant *e)
{
	double part = 0;
	unsigned k = 0;
	int r = 0;

	while (k < e->counted && !beaten(a, g, part))
		part = joined(a, part, e->loss[k++]);
	if (k < a->samples && !beaten(a, g, part))
		return 0;	/* interrupted */
	e->c->score = score_by(a, e, k);
	e->c->samples = k;
	e->c->known = true;
	if (e->value)
		r = sens_measure(a->z, e->value, &e->c->score.loss);
	a->done++;
	a->worked += work_from(a->z, e->c->begins);
	return r ? r : a->report(a->z, e->c);
}

static void group_init(const struct race *a, struct group *g, const unsigned *order, unsigned n)
{
	const struct sens *z = a->z;
	const struct sens_candidate *first = &z->candidate[order[0]];

	*g = (struct group){ .n = n, .bound = INFINITY, .e = ir_alloc(n, sizeof(*g->e)) };
	for (unsigned i = 0; i < n; i++) {
		g->e[i].c = &z->candidate[order[i]];
		g->e[i].sums = ir_alloc((size_t)z->samples * z->g->outputs + 1, sizeof(*g->e->sums));
		g->e[i].loss = ir_alloc(a->samples, sizeof(double));
		g->e[i].value = z->s->metric == SENS_COMMAND ? sens_values_new(z, z->samples) : NULL;
	}
	for (unsigned i = 0; i < z->candidates; i++) {
		const struct sens_candidate *c = &z->candidate[i];

		if (c->op == first->op && c->format == first->format && c->known && c->samples == a->samples && c->score.loss < g->bound)
			g->bound = c->score.loss;
	}
}

static void group_fini(const struct race *a, struct group *g)
{
	for (unsigned i = 0; i < g->n; i++) {
		sens_work_free(&g->e[i].work);
		sens_values_free(a->z, g->e[i].value, a->z->samples);
		free(g->e[i].sums);
		free(g->e[i].loss);
	}
	free(g->e);
}

/* How many of the candidates from order[0] on race with each other. */
static unsigned group_size(const struct sens *z, const unsigned *order, unsigned n)
{
	const struct sens_candidate *c = &z->candidate[order[0]], *d;
	unsigned size = 1;

	for (; size < n; size++) {
		d = &z->candidate[order[size]];
		if (d->op != c->op || d->format != c->format || d->begins != c->begins)
			break;
	}
	return size;
}

/* ---- turns ---- */

static bool has_open(const struct race *a, const struct group *g, unsigned groups)
{
	for (unsigned i = 0; i < groups; i++)
		if (count_open(a, &g[i]))
			return true;
	return false;
}

static int turns(struct race *a, struct group *g, unsigned groups)
{
	int r = 0;

	for (unsigned s = 0; s < a->samples && !r && has_open(a, g, groups) && !sens_stopped(a->z); s = a->end) {
		a->from = s;
		a->end = a->samples - s < a->x.most ? a->samples : s + a->x.most;
		if (a->x.most < a->samples || !a->x.samples)
			r = sens_runner_turn(&a->x, a->sample + s, a->end - s);
		for (unsigned i = 0; i < groups && !r && !sens_stopped(a->z); i++)
			r = visit(a, &g[i]);
	}
	return r;
}

/* Groups of n candidates over all samples, turn by turn. keep: of the first entrant its losses by place, or NULL. */
static int block(struct race *a, const unsigned *order, unsigned n, bool report, double *keep)
{
	struct group *g = ir_alloc(n, sizeof(*g));
	unsigned groups = 0;
	int r;

	for (unsigned i = 0; i < n; i += g[groups++].n)
		group_init(a, &g[groups], order + i, group_size(a->z, order + i, n - i));
	a->again = false;
	r = turns(a, g, groups);
	a->again = true;
	if (!r)
		r = turns(a, g, groups);
	for (unsigned i = 0; keep && i < a->samples; i++)
		keep[i] = g[0].e[0].counted > i ? g[0].e[0].loss[i] : 0;
	for (unsigned i = 0; i < groups; i++)
		for (unsigned k = 0; k < g[i].n && report && !r; k++)
			r = take_score(a, &g[i], &g[i].e[k]);
	for (unsigned i = 0; i < groups; i++)
		group_fini(a, &g[i]);
	free(g);
	return r;
}

/* ---- the order of samples ---- */

static int put_order(struct sens *z, const double *loss)
{
	z->order = ir_alloc(z->samples, sizeof(*z->order));
	for (unsigned i = 0; i < z->samples; i++) {
		unsigned at = i;

		for (; at > 0 && loss[z->order[at - 1]] < loss[i]; at--)
			z->order[at] = z->order[at - 1];
		z->order[at] = i;
	}
	return sens_log_order(z);
}

/* A few samples make most of the loss, whatever the candidate: the first one shows which. */
static int pilot(struct race *a, const unsigned *order, bool report)
{
	double *loss = ir_alloc(a->samples, sizeof(*loss));
	int r = block(a, order, 1, report, loss);

	if (!r && !sens_stopped(a->z))
		r = put_order(a->z, loss);
	free(loss);
	return r;
}

/* Every sample in the order of its weight; the fast search takes the first ones. */
static int choose_samples(struct race *a, const unsigned *order)
{
	struct sens *z = a->z;
	bool few = z->s->search == SENS_FAST && z->s->metric != SENS_COMMAND && a->samples > FAST_SAMPLES;
	int r = 0;

	if (!few && !a->racing)
		return 0;
	if (!z->order)
		r = pilot(a, order, !few);
	if (r || !z->order)
		return r;
	a->samples = few ? FAST_SAMPLES : a->samples;
	if (a->x.samples == z->samples)
		sens_runner_reorder(&a->x, z->order, z->order, a->samples);
	else
		a->x.samples = 0;
	a->sample = z->order;
	return 0;
}

/* ---- all candidates ---- */

static int all_blocks(struct race *a, const unsigned *order)
{
	struct sens *z = a->z;
	unsigned size;
	int r = choose_samples(a, order);

	for (unsigned i = z->candidate[order[0]].known; i < a->n && !r && !sens_stopped(z); i += size) {
		size = group_size(z, order + i, a->n - i);
		while (a->x.most < a->samples && size < BLOCK && i + size < a->n)
			size += group_size(z, order + i + size, a->n - i - size);
		r = block(a, order + i, size, true, NULL);
	}
	if (!r && a->x.most >= a->samples && a->x.samples && !sens_stopped(z))
		r = sens_runner_walk(&a->x, z->steps);	/* so that prefix_seconds is a whole f32 run */
	z->r->prefix_seconds = a->x.most >= a->samples ? a->x.walk_seconds : 0;
	z->r->prefix_cpu = a->x.most >= a->samples ? a->x.walk_cpu : 0;
	return r;
}

int sens_search(struct sens *z, const unsigned *order, unsigned n, int (*done)(struct sens *z, struct sens_candidate *c))
{
	struct race a = { .z = z, .samples = z->samples, .n = n, .report = done };
	unsigned *all = ir_alloc(z->samples, sizeof(*all));
	int r = n ? sens_runner_init(&a.x, z, z->samples) : 0;

	for (unsigned i = 0; i < z->samples; i++)
		all[i] = i;
	a.sample = all;
	a.racing = z->s->search == SENS_FULL && z->s->metric != SENS_COMMAND && z->samples > 1;
	for (unsigned i = 0; i < n; i++)
		a.work += work_from(z, z->candidate[order[i]].begins);
	if (!r && n)
		r = all_blocks(&a, order);
	if (n)
		sens_runner_fini(&a.x);
	free(all);
	return r;
}
