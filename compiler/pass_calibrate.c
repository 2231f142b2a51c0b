// SPDX-License-Identifier: MIT
/*
 * Calibration: every value gets the range it showed on the samples and a threshold at which |x| is clipped, by the method or
 * from a calibration table.
 */
#include <stdlib.h>
#include "calibrate.h"

struct calibration {
	struct ir_graph *g;
	const struct mica_compile_options *o;
	struct calib_table table; /* read, empty without a file */
	struct calib_stats *stats; /* by value id, or NULL */
};

/* Inputs have sharp edges and few distinct values (images): clipping them helps no method. The table wins. */
static enum mica_method method_of(const struct calibration *c, const struct ir_value *v)
{
	const struct calib_entry *e = calib_table_find(&c->table, v->name);

	return e ? e->method : v->is_input ? MICA_METHOD_MAX : c->o->method;
}

static bool concerns(const struct ir_value *v)
{
	return v && !v->data && v->dtype == MICA_F32 && (v->is_input || v->def);
}

static bool fixed_by_table(const struct calibration *c, const struct ir_value *v)
{
	const struct calib_entry *e = calib_table_find(&c->table, v->name);

	return e && !e->automatic;
}

static bool wants_bins(void *opaque, const struct ir_value *v)
{
	const struct calibration *c = opaque;

	return concerns(v) && !fixed_by_table(c, v) && calib_needs_bins(method_of(c, v));
}

/* Whether there is anything to find out; refuses what cannot work without samples. */
static int wanted(struct ir_graph *g, const struct mica_compile_options *o, bool *yes)
{
	bool fp8 = o->format == MICA_E4M3 || o->format == MICA_E5M2;

	*yes = false;
	if (g->qdq && o->calib_out)
		return mica_err_set(g->err, MICA_ERR_USAGE,
				    "%s: has its scales in QuantizeLinear nodes already: there is "
				    "nothing to calibrate",
				    g->name);
	if (g->qdq || (!fp8 && o->format != MICA_I8 && !o->qtable && !o->calib_out))
		return 0;
	if ((o->calib.count && o->method != MICA_METHOD_NONE) || o->calib_table) {
		*yes = true;
		return 0;
	}
	if (o->calib_out)
		return mica_err_set(g->err, MICA_ERR_USAGE,
				    "%s: a calibration table needs samples: pass --calib DIR",
				    g->name);
	if (o->format == MICA_I8)
		return mica_err_set(g->err, MICA_ERR_USAGE,
				    "%s: int8 needs the ranges of the activations: pass --calib "
				    "DIR with sample inputs%s",
				    g->name,
				    o->method == MICA_METHOD_NONE ? " and another method than none"
								  : "");
	if (fp8 && o->method != MICA_METHOD_NONE)
		fprintf(stderr,
			"mica: WARNING: %s: no calibration data: activations are stored in %s "
			"without scales (method none), which costs accuracy; pass --calib DIR with "
			"sample inputs\n",
			g->name, mica_dtype_name(o->format));
	return 0;
}

static int read_table(struct calibration *c)
{
	const char *path = c->o->calib_table;
	int r = calib_table_read(path, &c->table, c->g->err);

	if (!r && c->table.has_equalized && c->table.equalized != c->g->equalized)
		r = mica_err_set(c->g->err, MICA_ERR_USAGE,
				 "%s: was made with %s, so its thresholds are not this graph's; "
				 "give the same --repair and "
				 "--calib as mica calibrate had, or make it anew",
				 path,
				 c->table.equalized ? "channels equalized or values centered in another way"
						    : "no channels equalized or values centered");
	for (unsigned i = 0; !r && i < c->g->values; i++) {
		struct ir_value *v = c->g->value[i];
		struct calib_entry *e = concerns(v) ? calib_table_find(&c->table, v->name) : NULL;

		if (e)
			e->used = true;
	}
	for (unsigned i = 0; !r && i < c->table.count; i++)
		if (!c->table.entry[i].used)
			fprintf(stderr,
				"mica: WARNING: %s:%u: the compiled model has no tensor '%s' "
				"(fused tensors are gone); the "
				"line is ignored\n",
				path, c->table.entry[i].line, c->table.entry[i].tensor);
	return r;
}

/* Samples are run unless the table says everything. */
static bool needs_samples(const struct calibration *c)
{
	for (unsigned i = 0; i < c->g->values; i++)
		if (concerns(c->g->value[i]) && !fixed_by_table(c, c->g->value[i]))
			return true;
	return false;
}

static int settle(struct calibration *c, struct ir_value *v)
{
	const struct calib_entry *e = calib_table_find(&c->table, v->name);
	const struct calib_stats *s = c->stats ? &c->stats[v->id] : NULL;

	if (e && !e->automatic) {
		v->min = e->min;
		v->max = e->max;
		v->threshold = e->threshold;
		v->calibrated = e->method != MICA_METHOD_NONE;
		return 0;
	}
	if (e && !s && e->method != MICA_METHOD_NONE)
		return mica_err_set(c->g->err, MICA_ERR_USAGE,
				    "%s:%u: the threshold of '%.100s' is auto, which needs "
				    "samples: pass --calib DIR",
				    c->o->calib_table, e->line, v->name);
	if (!s || !s->count || method_of(c, v) == MICA_METHOD_NONE)
		return 0;
	v->calibrated = true;
	v->min = s->min;
	v->max = s->max;
	v->threshold = calib_threshold(s, method_of(c, v), c->o->percentile, c->o->format);
	return 0;
}

/* The table in the order of execution, inputs first. */
static int write_table(struct calibration *c)
{
	struct calib_table t = { .equalized = c->g->equalized };
	int r;

	for (unsigned i = 0; i < c->g->values; i++) {
		const struct ir_value *v = c->g->value[i];
		struct calib_entry *e;

		if (!concerns(v) || !v->calibrated)
			continue;
		e = calib_table_add(&t, v->name);
		e->method = method_of(c, v);
		e->threshold = v->threshold;
		e->min = v->min;
		e->max = v->max;
	}
	r = calib_table_write(c->o->calib_out, c->g->name, c->o->calib.count, &t, c->g->err);
	calib_table_free(&t);
	return r;
}

int pass_calibrate(struct ir_graph *g, const struct mica_compile_options *o)
{
	struct calibration c = { .g = g, .o = o };
	bool yes;
	int r = wanted(g, o, &yes);

	if (r || !yes)
		return r;
	if (o->calib_table)
		r = read_table(&c);
	if (!r && o->calib.count && needs_samples(&c)) {
		r = calib_collect(g, o, wants_bins, &c, &c.stats);
		if (!r && !o->quiet)
			calib_warn(g, o, c.stats);
	}
	for (unsigned i = 0; i < g->values && !r; i++)
		if (concerns(g->value[i]))
			r = settle(&c, g->value[i]);
	if (!r && o->calib_out)
		r = write_table(&c);
	calib_stats_free(c.stats, g->values);
	calib_table_free(&c.table);
	return r;
}
