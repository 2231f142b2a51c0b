// SPDX-License-Identifier: MIT
/* What the search goes through: operators that a qtable can name, formats, methods; and the graph of each candidate. */
#include <stdlib.h>
#include <string.h>
#include "lockstep.h"
#include "quantize.h"
#include "sensitivity_parts.h"

/* ---- ranges ---- */

static bool concerns(const struct ir_value *v)
{
	return v && !v->data && v->dtype == MICA_F32 && (v->is_input || v->def);
}

static bool wants_bins(void *opaque, const struct ir_value *v)
{
	const struct mica_sensitivity_options *s = opaque;
	bool bins = false;

	for (unsigned m = 0; m < s->methods; m++)
		bins = bins || calib_needs_bins(s->method[m]);
	return bins && concerns(v) && !v->is_input;
}

/* As calibration does it: inputs are never clipped. */
static enum mica_method method_for(const struct sens *z, const struct ir_value *v, unsigned m)
{
	return v->is_input && z->s->method[m] != MICA_METHOD_NONE ? MICA_METHOD_MAX : z->s->method[m];
}

enum mica_method sens_method_of(const struct sens *z, const struct ir_value *v, int method)
{
	int m = method >= 0 ? method : z->choice[v->id];

	return method_for(z, v, m >= 0 ? (unsigned)m : 0);
}

static void find_thresholds(void *opaque, int64_t id)
{
	struct sens *z = opaque;
	const struct ir_value *v = z->g->value[id];

	if (!concerns(v) || !z->stats[id].count)
		return;
	for (unsigned m = 0; m < z->s->methods; m++) {
		bool same = z->s->method[m] != MICA_METHOD_MSE;	/* for all formats */

		for (unsigned f = 0; f < z->s->formats; f++)
			z->threshold[f][m][id] = f && same ? z->threshold[0][m][id] :
				calib_threshold(&z->stats[id], method_for(z, v, m), z->o.percentile, (int)z->s->format[f]);
	}
}

static unsigned leader(unsigned *group, unsigned id)
{
	while (group[id] != id)
		id = group[id] = group[group[id]];
	return id;
}

/* Values between which codes are only moved have one scale. */
static void find_groups(struct sens *z)
{
	z->group = ir_alloc(z->g->values, sizeof(*z->group));
	for (unsigned i = 0; i < z->g->values; i++)
		z->group[i] = i;
	for (struct ir_op *op = z->g->first; op; op = op->next)
		for (unsigned i = 0; moves_codes(op) && i < op->ins; i++)
			if (ir_op_in(op, i) && !ir_op_in(op, i)->data)
				z->group[leader(z->group, ir_op_in(op, i)->id)] = leader(z->group, op->out[0]->id);
	for (unsigned i = 0; i < z->g->values; i++)
		z->group[i] = leader(z->group, i);
}

int sens_ranges(struct sens *z)
{
	int r = calib_collect(z->g, &z->o, wants_bins, (void *)z->s, &z->stats);

	if (r)
		return r;
	if (z->warn)
		calib_warn(z->g, &z->o, z->stats);
	for (unsigned f = 0; f < z->s->formats; f++)
		for (unsigned m = 0; m < z->s->methods; m++)
			z->threshold[f][m] = ir_alloc(z->g->values, sizeof(float));
	parallel_for(z->o.threads, z->g->values, find_thresholds, z);
	find_groups(z);
	return 0;
}

/* ---- graphs ---- */

static void set_range(const struct sens *z, struct ir_value *v, unsigned format, int method)
{
	const struct calib_stats *s = &z->stats[v->id];
	int m = method >= 0 ? method : z->choice[v->id];

	m = m >= 0 ? m : 0;
	if (!concerns(v) || !s->count || z->s->method[m] == MICA_METHOD_NONE)
		return;
	v->calibrated = true;
	v->min = s->min;
	v->max = s->max;
	v->threshold = z->threshold[format][m][v->id];
}

static bool is_depthwise(const struct ir_op *op)
{
	return op->kind == IR_CONV && op->a.groups > 1 && op->in[1]->dim[3] == 1 && op->in[1]->dim[0] == op->a.groups;
}

/* What compilation in that format makes of an operator: finer where its decomposition asks for it, and by --repair=depthwise. */
static int format_in(const struct sens *z, const struct ir_op *op, enum mica_dtype format)
{
	bool fp8 = format == MICA_E4M3 || format == MICA_E5M2;

	if (op->format == MICA_F32 || (op->format == MICA_BF16 && is_8bit((int)format)))
		return op->format;
	return fp8 && z->o.repair & MICA_REPAIR_DEPTHWISE && is_depthwise(op) ? MICA_BF16 : (int)format;
}

static struct ir_graph *quantized(struct ir_graph *g, const struct mica_compile_options *o)
{
	if (!quantize_graph(g, o))
		return g;
	ir_graph_free(g);
	return NULL;
}

struct ir_graph *sens_alone(const struct sens *z, const struct sens_candidate *c, struct mica_err *err)
{
	struct ir_graph *g = ir_graph_share(z->g);
	struct mica_compile_options o = z->o;
	enum mica_dtype format = z->s->format[c->format];

	g->err = err;
	o.format = MICA_F32;
	for (unsigned i = 0; i < z->g->values; i++)
		if (g->value[i])
			set_range(z, g->value[i], c->format, (int)c->method);
	for (struct ir_op *op = g->first; op; op = op->next)
		op->format = strcmp(op->name, z->op[c->op].name) ? MICA_F32 : format_in(z, op, format);
	return quantized(g, &o);
}

static int repair(struct ir_graph *g, const struct sens *z, const struct mica_compile_options *o)
{
	int r;

	if (!(o->repair & (MICA_REPAIR_ADAROUND | MICA_REPAIR_BIAS)))
		return 0;
	g->reference = ir_graph_share(z->g);
	g->reference->err = g->err;
	r = pass_adaround(g, o);
	return r ? r : pass_bias_correct(g, o);
}

static const struct sens_op *op_named(const struct sens *z, const char *name)
{
	for (unsigned i = 0; i < z->ops; i++)
		if (!strcmp(z->op[i].name, name))
			return &z->op[i];
	return NULL;
}

struct ir_graph *sens_mixed(const struct sens *z, int method, struct mica_err *err)
{
	struct ir_graph *g = ir_graph_clone(z->g);
	struct mica_compile_options o = z->o;

	g->err = err;
	o.format = z->s->format[0];
	for (unsigned i = 0; i < z->g->values; i++)
		if (g->value[i])
			set_range(z, g->value[i], 0, method);
	for (struct ir_op *op = g->first; op; op = op->next) {
		const struct sens_op *named = op_named(z, op->name);

		op->format = named && named->kept ? (int)z->s->keep : format_in(z, op, o.format);
	}
	g = quantized(g, &o);
	if (!g || !repair(g, z, &o))
		return g;
	ir_graph_free(g);
	return NULL;
}

/* ---- candidates ---- */

static void list_ops(struct sens *z)
{
	unsigned step = 0, cap = 0;

	z->step_of = ir_alloc(z->g->next_id, sizeof(*z->step_of));
	memset(z->step_of, 0xff, z->g->next_id * sizeof(*z->step_of));
	for (struct ir_op *op = z->g->first; op; op = op->next, step++) {
		struct sens_op *known = (struct sens_op *)op_named(z, op->name);

		z->step_of[op->id] = step;
		if (!known) {
			z->op = ir_grow(z->op, &cap, z->ops + 1, sizeof(*z->op));
			known = &z->op[z->ops++];
			*known = (struct sens_op){ .name = op->name, .first = op, .step = step };
			memset(known->best, 0xff, sizeof(known->best));
		}
		known->macs += ir_op_macs(op);
	}
	z->steps = step;
}

struct codes { uint32_t scale; int zero; };		/* of a value that is not f32 */

struct trial {				/* all methods of an operator in a format */
	bool differs;
	unsigned begins[SENS_MOST];
	float threshold[SENS_MOST];
	int same[SENS_MOST];
	struct codes *codes[SENS_MOST];
	unsigned count[SENS_MOST];
	struct mica_err err;
};

struct trials {
	struct sens *z;
	struct sens_base base;
	struct trial *t;
};

static void note_codes(struct trial *t, unsigned m, const struct ir_graph *g)
{
	t->codes[m] = ir_alloc(g->values, sizeof(struct codes));
	for (unsigned i = 0; i < g->values; i++) {
		const struct ir_value *v = g->value[i];
		struct codes *c = &t->codes[m][t->count[m]];

		if (!v || v->data || v->dtype == MICA_F32)
			continue;
		memcpy(&c->scale, &v->scale, sizeof(c->scale));
		c->zero = v->zero;
		t->count[m]++;
		if (is_8bit(v->dtype) && v->threshold > t->threshold[m])
			t->threshold[m] = v->threshold;
		if (is_8bit(v->dtype) && v->def && v->def->kind == IR_UNARY && v->def->in[0]->threshold > t->threshold[m])
			t->threshold[m] = v->def->in[0]->threshold;
	}
}

/* Which tensors' thresholds matter to the operator: those whose codes it reads or makes, by their groups. */
static bool *touched_by(const struct sens *z, const struct ir_graph *g)
{
	bool *yes = ir_alloc(z->g->values, sizeof(*yes));

	for (unsigned i = 0; i < g->values; i++) {
		const struct ir_value *v = g->value[i];

		if (!v || v->data || !is_8bit(v->dtype))
			continue;
		if (v->id >= z->g->values && v->def && v->def->kind == IR_UNARY)
			v = v->def->in[0];
		if (v->id < z->g->values)
			yes[z->group[v->id]] = true;
	}
	return yes;
}

static int same_as(const struct trial *t, unsigned m)
{
	for (unsigned k = 0; k < m; k++)
		if (t->count[k] == t->count[m] && !memcmp(t->codes[k], t->codes[m], t->count[m] * sizeof(struct codes)))
			return (int)k;
	return -1;
}

static void try_methods(void *opaque, int64_t at)
{
	struct trials *all = opaque;
	struct sens *z = all->z;
	struct trial *t = &all->t[at];
	struct sens_candidate c = { .op = (unsigned)at / z->s->formats, .format = (unsigned)at % z->s->formats };

	for (unsigned m = 0; m < z->s->methods && !t->err.code; m++) {
		struct sens_plan p;
		struct ir_graph *g;
		int r;

		c.method = m;
		g = sens_alone(z, &c, &t->err);
		if (!g)
			return;
		if (sens_plan_make(&p, z, &all->base, g, false, &r)) {
			t->differs = true;
			t->begins[m] = p.begins;
			note_codes(t, m, g);
			t->same[m] = same_as(t, m);
			if (!m)
				z->touched[at] = touched_by(z, g);
		}
		sens_plan_fini(&p);
		ir_graph_free(g);
		if (!t->differs)
			return;
	}
}

static void add_candidates(struct sens *z, const struct trial *t, unsigned op, unsigned format, unsigned *cap)
{
	unsigned first = z->candidates;

	for (unsigned m = 0; m < z->s->methods; m++) {
		z->candidate = ir_grow(z->candidate, cap, z->candidates + 1, sizeof(*z->candidate));
		z->candidate[z->candidates++] = (struct sens_candidate){
			.op = op, .format = format, .method = m, .threshold = t->threshold[m], .begins = t->begins[m],
			.same = t->same[m] < 0 ? -1 : (int)first + t->same[m],
		};
	}
}

int sens_candidates(struct sens *z)
{
	struct trials all = { .z = z };
	unsigned cap = 0, n;
	int r;

	list_ops(z);
	n = z->ops * z->s->formats;
	z->touched = ir_alloc(n + 1, sizeof(*z->touched));
	all.t = ir_alloc(n + 1, sizeof(*all.t));
	r = sens_base_init(&all.base, z);
	if (!r)
		parallel_for(z->o.threads, n, try_methods, &all);
	for (unsigned i = 0; i < n && !r; i++) {
		if (all.t[i].err.code)
			r = mica_err_set(z->g->err, all.t[i].err.code, "%s", all.t[i].err.text);
		else if (all.t[i].differs)
			add_candidates(z, &all.t[i], i / z->s->formats, i % z->s->formats, &cap);
	}
	for (unsigned i = 0; i < n; i++)
		for (unsigned m = 0; m < SENS_MOST; m++)
			free(all.t[i].codes[m]);
	free(all.t);
	sens_base_fini(&all.base);
	return r;
}
