// SPDX-License-Identifier: MIT
/* Which operators stay in float: in the order of what that is worth, tried on the whole mixed network until the target is reached. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "sensitivity_parts.h"

#define LOOK 4			/* operators that are tried for each place in the table */
#define LOOK_UNTIL 8		/* places; behind them the order decides */

double sens_saved(const struct sens *z, const struct sens_op *op)
{
	return op->best[0] < 0 ? 0 : z->candidate[op->best[0]].score.loss;
}

double sens_worth(const struct sens *z, const struct sens_op *op)
{
	double extra = (double)op->float_cycles - (double)op->cycles[0];

	return z->s->order == SENS_BY_LOSS ? sens_saved(z, op) : sens_saved(z, op) / fmax(extra, 1);
}

void sens_order_ops(const struct sens *z, unsigned *order)
{
	for (unsigned i = 0; i < z->ops; i++) {
		unsigned at = i;
		double worth = sens_worth(z, &z->op[i]);

		for (; at > 0 && sens_worth(z, &z->op[order[at - 1]]) < worth; at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
}

/* ---- methods ---- */

static double loss_with(const struct sens *z, unsigned op, unsigned method)
{
	for (unsigned i = 0; i < z->candidates; i++) {
		const struct sens_candidate *c = &z->candidate[i];

		if (c->op == op && !c->format && c->method == method)
			return c->known ? c->score.loss : INFINITY;
	}
	return 0;
}

/* Every tensor's method is the one with which the operators that meet its codes lose least together. */
void sens_choose_methods(struct sens *z)
{
	unsigned n = z->s->methods;
	double *sum = ir_alloc((size_t)z->g->values * n, sizeof(*sum));

	for (unsigned op = 0; op < z->ops; op++) {
		const bool *touched = z->touched[op * z->s->formats];

		for (unsigned m = 0; touched && m < n; m++) {
			double loss = loss_with(z, op, m);

			for (unsigned i = 0; i < z->g->values; i++)
				sum[(size_t)i * n + m] += touched[i] ? loss : 0;
		}
	}
	for (unsigned i = 0; i < z->g->values; i++) {
		const double *s = &sum[(size_t)z->group[i] * n];

		z->choice[i] = 0;
		for (unsigned m = 1; m < n; m++)
			if (s[m] < s[z->choice[i]])
				z->choice[i] = (int)m;
	}
	free(sum);
}

/* ---- trials of the whole network ---- */

static int try_mixed(struct sens *z, int method, double *cosine)
{
	struct ir_graph *g = sens_mixed(z, method, z->g->err);
	struct sens_score score = { 0 };
	int r = g ? sens_whole(z, g, false, &score) : -(int)z->g->err->code;

	ir_graph_free(g);
	*cosine = score.cosine;
	return r;
}

static bool expensive(const struct sens *z)
{
	return z->o.repair & (MICA_REPAIR_ADAROUND | MICA_REPAIR_BIAS);
}

/* The tuned table, unless one method for all tensors does better on the whole network. */
static int settle_methods(struct sens *z, double *best)
{
	int winner = -1, r = try_mixed(z, -1, best);

	for (unsigned m = 0; m < z->s->methods && z->s->methods > 1 && !r && !sens_stopped(z); m++) {
		double cosine;

		r = try_mixed(z, (int)m, &cosine);
		if (!r && cosine > *best) {
			*best = cosine;
			winner = (int)m;
		}
	}
	for (unsigned i = 0; i < z->g->values && winner >= 0; i++)
		z->choice[i] = winner;
	return r;
}

struct pick {
	struct sens *z;
	unsigned *order, most, kept;
	double cosine;
};

static bool reached(const struct pick *p)
{
	return p->z->s->target > 0 && p->cosine >= p->z->s->target;
}

/* The next place in the table: the best of a few that are worth most. */
static int add_one(struct pick *p, unsigned look)
{
	struct sens *z = p->z;
	struct sens_op *best = NULL;
	double most = -2;
	int r = 0;

	for (unsigned i = 0; i < z->ops && look && !r && !sens_stopped(z); i++) {
		struct sens_op *op = &z->op[p->order[i]];
		double cosine;

		if (op->kept || !(sens_saved(z, op) > 0))
			continue;
		look--;
		op->kept = true;
		r = try_mixed(z, -1, &cosine);
		op->kept = false;
		if (r || cosine <= most)
			continue;
		most = cosine;
		best = op;
	}
	if (r || !best) {
		p->most = p->kept;	/* there is nothing more to keep */
		return r;
	}
	best->kept = true;
	p->kept++;
	p->cosine = most;
	return 0;
}

static int add_until(struct pick *p)
{
	int r = 0;

	while (!r && p->kept < p->most && !reached(p) && !sens_stopped(p->z)) {
		if (p->z->o.progress)
			p->z->o.progress(p->z->o.progress_opaque, "pick: operators in float", p->kept, p->most);
		r = add_one(p, p->kept < LOOK_UNTIL && !expensive(p->z) ? LOOK : 1);
	}
	return r;
}

static int try_first(struct pick *p, unsigned n)
{
	unsigned left = n;

	for (unsigned i = 0; i < p->z->ops; i++) {
		struct sens_op *op = &p->z->op[p->order[i]];

		op->kept = left && sens_saved(p->z, op) > 0;
		left -= op->kept;
	}
	p->kept = n - left;
	return try_mixed(p->z, -1, &p->cosine);
}

/* The shortest beginning of the order that reaches the target, by doubling, then halving. */
static int bisect(struct pick *p)
{
	unsigned low = 0, high = 1;
	int r = reached(p) || !p->most ? 0 : try_first(p, p->z->s->target > 0 ? 1 : p->most);

	while (!r && p->z->s->target > 0 && !reached(p) && high < p->most && p->kept == high && !sens_stopped(p->z)) {
		low = high;
		high = 2 * high < p->most ? 2 * high : p->most;
		r = try_first(p, high);
	}
	if (!reached(p))
		return r;
	while (!r && high - low > 1 && !sens_stopped(p->z)) {
		unsigned middle = (low + high) / 2;

		r = try_first(p, middle);
		if (reached(p))
			high = middle;
		else
			low = middle;
	}
	return r || p->kept == high || !p->kept ? r : try_first(p, high);
}

/* What later picks have made needless goes out again, the least worthy first. */
static int prune(struct pick *p)
{
	struct sens *z = p->z;
	int r = 0;

	for (unsigned i = z->ops; i-- > 0 && reached(p) && p->kept > 1 && !r && !sens_stopped(z);) {
		struct sens_op *op = &z->op[p->order[i]];
		double was = p->cosine;

		if (!op->kept)
			continue;
		op->kept = false;
		r = try_mixed(z, -1, &p->cosine);
		if (!r && reached(p)) {
			p->kept--;
		} else {
			op->kept = true;
			p->cosine = was;
		}
	}
	return r;
}

/* Behind bisection: fewer operators, by looking around at each place as the full search does. Else all stays as it is. */
static int improve(struct pick *p)
{
	struct sens *z = p->z;
	struct pick was = *p;
	bool *kept = ir_alloc(z->ops + 1, sizeof(*kept));
	int r = 0;

	for (unsigned i = 0; i < z->ops; i++) {
		kept[i] = z->op[i].kept;
		z->op[i].kept = false;
	}
	p->kept = 0;
	p->most = was.kept - 1;
	p->cosine = z->r->start_cosine;
	r = add_until(p);
	if (!r && reached(p))
		r = prune(p);
	if (!reached(p)) {
		*p = was;
		for (unsigned i = 0; i < z->ops; i++)
			z->op[i].kept = kept[i];
	}
	free(kept);
	return r;
}

/* Interrupted: the best guess, as if the losses of single operators added up. */
static void guess(struct pick *p)
{
	const struct sens *z = p->z;
	double left = 0;

	for (unsigned i = 0; i < z->ops; i++)
		left += sens_saved(z, &z->op[i]);
	for (unsigned i = 0; i < z->ops && p->kept < p->most && (z->s->target <= 0 || left > 1 - z->s->target); i++) {
		struct sens_op *op = &z->op[p->order[i]];

		if (!(sens_saved(z, op) > 0))
			continue;
		left -= sens_saved(z, op);
		op->kept = true;
		p->kept++;
	}
}

static int pick(struct pick *p)
{
	struct sens *z = p->z;
	int r = settle_methods(z, &p->cosine);

	z->r->start_cosine = p->cosine;
	if (!r)
		r = z->s->search == SENS_FAST ? bisect(p) : add_until(p);
	if (!r)
		r = prune(p);
	if (!r && z->s->search == SENS_FAST && reached(p) && p->kept > 1 && p->kept <= LOOK_UNTIL && !expensive(z) && !sens_stopped(z))
		r = improve(p);
	z->r->cosine = p->cosine;
	z->r->reached = reached(p);
	return r;
}

int sens_pick(struct sens *z)
{
	struct pick p = { .z = z, .most = z->s->limited ? z->s->max_float : z->s->target > 0 ? z->ops : 0 };
	int r = 0;

	p.order = ir_alloc(z->ops + 1, sizeof(*p.order));
	sens_order_ops(z, p.order);
	sens_choose_methods(z);
	if (sens_stopped(z))
		guess(&p);
	else
		r = pick(&p);
	z->r->kept = p.kept;
	free(p.order);
	return r;
}
