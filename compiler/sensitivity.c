// SPDX-License-Identifier: MIT
/* The search for sensitive operators, from the model to its tables. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "sensitivity_parts.h"

void mica_sensitivity_defaults(struct mica_sensitivity_options *s)
{
	memset(s, 0, sizeof(*s));
	s->format[0] = MICA_I8;
	s->formats = 1;
	s->method[0] = MICA_METHOD_MAX;
	s->methods = 1;
	s->keep = MICA_F32;
	s->order = SENS_BY_CYCLES;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Of all threads: what the machine is busy with otherwise does not show in it. */
static double cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int check(const struct sens *z, struct mica_err *err)
{
	if (!z->samples)
		return mica_err_set(err, MICA_ERR_USAGE, "losses are measured on samples: pass --calib DIR with sample inputs");
	if (z->g->qdq)
		return mica_err_set(err, MICA_ERR_USAGE, "%s: has its formats and scales in QuantizeLinear nodes already: there is nothing to choose",
				    z->g->name);
	if (!z->g->outputs)
		return mica_err_set(err, MICA_ERR_UNSUPPORTED, "%s: has no outputs to measure at", z->g->name);
	return 0;
}

/* The f32 graph that everything is compared with: imported, equalized if asked for. */
static int import(struct sens *z)
{
	struct mica_compile_options o = z->o;
	int r = ir_import(z->g, z->path, &o);

	o.repair &= MICA_REPAIR_CLE;
	if (!r)
		r = ir_run_passes(z->g, &o, "equalize");
	if (!r)
		r = check(z, z->g->err);
	z->choice = ir_alloc(z->g->values + 1, sizeof(*z->choice));
	return r;
}

/* ---- the search ---- */

static int known(struct sens *z, struct sens_candidate *c)
{
	unsigned at = (unsigned)(c - z->candidate);
	int r = sens_log_put(z, c);

	z->r->computed++;
	z->r->dropped += c->samples < z->samples && z->s->search == SENS_FULL;
	for (unsigned i = at + 1; i < z->candidates && !r; i++) {
		struct sens_candidate *d = &z->candidate[i];

		if (d->same != (int)at || d->known)
			continue;
		d->score = c->score;
		d->samples = c->samples;
		d->known = true;
		r = sens_log_put(z, d);
	}
	return r;
}

/* Sorted by where they begin to differ: the f32 run goes forward only. */
static unsigned list_open(const struct sens *z, unsigned *order)
{
	unsigned n = 0;

	for (unsigned i = 0; i < z->candidates; i++) {
		const struct sens_candidate *c = &z->candidate[i];
		unsigned at = n;

		if (c->known || c->same >= 0 || (z->s->search == SENS_FAST && (c->format || c->method)))
			continue;
		for (; at > 0 && z->candidate[order[at - 1]].begins > c->begins; at--)
			order[at] = order[at - 1];
		order[at] = i;
		n++;
	}
	return n;
}

/* For comparison: every candidate through the whole network. */
static int search_naive(struct sens *z)
{
	int r = 0;

	for (unsigned i = 0; i < z->candidates; i++)
		z->candidate[i].same = -1;
	for (unsigned i = 0; i < z->candidates && !r && !sens_stopped(z); i++) {
		struct sens_candidate *c = &z->candidate[i];
		struct ir_graph *g;

		if (c->known)
			continue;
		g = sens_alone(z, c, z->g->err);
		r = g ? sens_whole(z, g, true, &c->score) : -(int)z->g->err->code;
		ir_graph_free(g);
		if (!r && !sens_stopped(z)) {
			c->known = true;
			c->samples = z->samples;
			r = known(z, c);
		}
	}
	return r;
}

static bool is_whole(const struct sens *z, const struct sens_candidate *c)
{
	return c->known && (c->samples == z->samples || z->s->search == SENS_FAST);
}

/* Candidates of the log that lost against a method which is not asked for now, or against any where all is measured, are open again. */
static void reopen(struct sens *z)
{
	for (unsigned i = 0; i < z->candidates; i++) {
		struct sens_candidate *c = &z->candidate[i];
		bool beaten = false;

		if (!c->known || is_whole(z, c))
			continue;
		for (unsigned k = 0; k < z->candidates && z->s->search == SENS_FULL; k++) {
			const struct sens_candidate *d = &z->candidate[k];

			if (d->op == c->op && d->format == c->format && is_whole(z, d) && d->score.loss < c->score.loss)
				beaten = true;
		}
		c->known = beaten;
		z->r->resumed -= !beaten;
	}
}

/* A log may end between a candidate and those that are the same. */
static int share_known(struct sens *z)
{
	int r = 0;

	for (unsigned i = 0; i < z->candidates && !r; i++) {
		struct sens_candidate *c = &z->candidate[i];

		if (c->known || c->same < 0 || !z->candidate[c->same].known)
			continue;
		c->score = z->candidate[c->same].score;
		c->samples = z->candidate[c->same].samples;
		c->known = true;
		r = sens_log_put(z, c);
	}
	return r;
}

static int search(struct sens *z)
{
	unsigned *order = ir_alloc(z->candidates + 1, sizeof(*order)), n;
	int r;

	reopen(z);
	if (z->s->search == SENS_NAIVE) {
		r = search_naive(z);
	} else {
		r = share_known(z);
		n = list_open(z, order);
		r = r ? r : sens_search(z, order, n, known);
	}
	free(order);
	return r;
}

static void find_best(struct sens *z)
{
	for (unsigned i = 0; i < z->candidates; i++) {
		const struct sens_candidate *c = &z->candidate[i];
		int *best = &z->op[c->op].best[c->format];

		if (is_whole(z, c) && (*best < 0 || c->score.loss < z->candidate[*best].score.loss))
			*best = (int)i;
	}
}

static int steps(struct sens *z)
{
	double start = now(), busy;
	int r = sens_load(z);

	r = r ? r : sens_ranges(z);
	r = r ? r : sens_candidates(z);
	r = r ? r : sens_reference(z);
	r = r ? r : sens_log_open(z);
	z->r->operators = z->ops;
	z->r->candidates = z->candidates;
	if (r)
		return r;
	z->r->prepare_seconds = now() - start;
	start = now();
	busy = cpu();
	r = search(z);
	z->r->search_seconds = now() - start;
	z->r->search_cpu = cpu() - busy;
	start = now();
	find_best(z);
	if (!r && !sens_stopped(z))
		r = sens_cycles(z);
	if (!r)
		r = sens_pick(z);
	z->r->pick_seconds = now() - start;
	z->r->stopped = sens_stopped(z);
	if (!r)
		r = sens_write_tables(z);
	return r ? r : sens_write_ranking(z);
}

static void fini(struct sens *z)
{
	sens_log_close(z);
	for (unsigned i = 0; z->input && i < z->samples * z->g->inputs; i++)
		free(z->input[i]);
	free(z->input);
	sens_values_free(z, z->reference, z->samples);
	free(z->print);
	free(z->order);
	calib_stats_free(z->stats, z->g->values);
	for (unsigned f = 0; f < SENS_MOST; f++)
		for (unsigned m = 0; m < SENS_MOST; m++)
			free(z->threshold[f][m]);
	for (unsigned i = 0; z->touched && i < z->ops * z->s->formats; i++)
		free(z->touched[i]);
	free(z->touched);
	free(z->group);
	free(z->step_of);
	free(z->op);
	free(z->candidate);
	free(z->choice);
	ir_graph_free(z->g);
}

int mica_sensitivity(const char *onnx_path, const struct mica_compile_options *o, const struct mica_sensitivity_options *s,
		     struct mica_sensitivity_result *r, struct mica_err *err)
{
	struct sens z = { .s = s, .r = r, .path = onnx_path, .o = *o, .from = o->calib, .samples = o->calib.count };
	const char *slash = strrchr(onnx_path, '/');
	int ret;

	memset(r, 0, sizeof(*r));
	err->code = MICA_ERR_NONE;
	r->samples = z.samples;
	z.o.format = s->format[0];
	z.o.method = s->method[0];
	z.o.qtable = z.o.calib_table = z.o.calib_out = z.o.dump_after = z.o.report = NULL;
	z.o.quiet = true;
	z.warn = !o->quiet;
	z.g = ir_graph_new(slash ? slash + 1 : onnx_path, err);
	ret = import(&z);
	z.o.calib = (struct mica_calib){ z.samples, sens_calib_load, &z };
	if (!ret)
		ret = steps(&z);
	fini(&z);
	return ret;
}
