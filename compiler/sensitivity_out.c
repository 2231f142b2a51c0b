// SPDX-License-Identifier: MIT
/* What the search gives: the qtable, the tuned calibration table, and the ranking with what each choice costs on the device. */
#include <stdlib.h>
#include <string.h>
#include "output.h"
#include "quantize.h"
#include "sensitivity_parts.h"

/* ---- cycles ---- */

/* The whole network in one format: what its operators take, by their names. */
static int network_cycles(struct sens *z, enum mica_dtype format, unsigned at)
{
	struct mica_err err = { 0 };
	struct mica_compiled c = { 0 };
	struct mica_job_stats stats;
	struct mica_layer_stats *layer;
	struct ir_graph *g = ir_graph_clone(z->g);
	struct mica_compile_options o = z->o;
	int r;

	g->err = &err;
	o.format = format;
	o.progress = NULL;
	o.no_pass |= 1u << MICA_SAVE_SLICE | 1u << MICA_SAVE_RECOMPUTE;	/* operators keep their names */
	for (unsigned i = 0; i < z->g->values; i++) {
		struct ir_value *v = g->value[i];

		if (!v || v->data || !z->stats[i].count)
			continue;
		v->calibrated = true;
		v->min = z->stats[i].min;
		v->max = z->stats[i].max;
		v->threshold = calib_largest(&z->stats[i]);
	}
	r = quantize_formats(g, &o);
	r = r ? r : quantize_graph(g, &o);
	r = r ? r : pass_cleanup(g, &o);
	r = r ? r : mica_backend_compile(g, &o, &c);
	layer = ir_alloc((r ? 0 : c.state.steps) + 1, sizeof(*layer));
	r = r ? r : be_cycles(&c, &stats, layer);
	for (unsigned k = 0; !r && k < c.state.steps; k++) {
		uint64_t most = 0;

		for (unsigned e = 0; e < MICA_ENGINE_COUNT; e++)
			most = layer[k].busy[e] > most ? layer[k].busy[e] : most;
		for (unsigned i = 0; i < z->ops; i++)
			if (!strcmp(z->op[i].name, c.state.step[k].op->name))
				*(at < SENS_MOST ? &z->op[i].cycles[at] : &z->op[i].float_cycles) += most;
	}
	free(layer);
	mica_compiled_fini(&c);
	ir_graph_free(g);
	return r ? mica_err_set(z->g->err, err.code ? err.code : MICA_ERR_INTERNAL, "%s", err.text) : 0;
}

int sens_cycles(struct sens *z)
{
	int r = network_cycles(z, z->s->keep, SENS_MOST);

	for (unsigned f = 0; f < z->s->formats && !r; f++)
		r = network_cycles(z, z->s->format[f], f);
	return r;
}

/* ---- files ---- */

static int write_file(struct sens *z, const char *path, void (*put)(const struct sens *z, FILE *f))
{
	struct sdk_text text;
	int ret = sdk_text_open(&text);

	if (!ret) {
		put(z, text.f);
		ret = sdk_text_save(&text, path);
	}
	return mica_err_output(z->g->err, ret);
}

/* How to compile what was measured. */
static void put_command(const struct sens *z, FILE *f)
{
	static const char *const repairs[] = { "cle", "wmse", "adaround", "bias", "depthwise" };
	const struct mica_compile_options *o = &z->o;
	const char *before = " --repair=";

	fprintf(f, "# for: mica compile --format=%s --qtable=%s --calib-table=%s%s%s%s", sens_format_name(z->s->format[0]), z->s->qtable, z->s->table,
		o->symmetric ? "" : " --activations=asymmetric", o->per_tensor ? " --weights=per-tensor" : "", o->pow2 ? " --scales=pow2" : "");
	for (unsigned i = 0; i < ARRAY_LEN(repairs); i++) {
		if (!(o->repair & 1u << i))
			continue;
		fprintf(f, "%s%s", before, repairs[i]);
		before = ",";
	}
	fprintf(f, "%s\n", o->repair ? " and the same --calib" : "");
}

static void put_qtable(const struct sens *z, FILE *f)
{
	const struct mica_sensitivity_result *r = z->r;

	fprintf(f, "# mica sensitivity: %u of %u operators of %s stay in %s\n", r->kept, z->ops, z->g->name, sens_format_name(z->s->keep));
	put_command(z, f);
	if (sens_stopped(z))
		fprintf(f, "# interrupted: %u of %u candidates are known%s\n", r->computed + r->resumed, r->candidates,
			r->cosine ? "" : ", and the choice has not been tried on the whole network");
	if (r->cosine)
		fprintf(f, "# output cosine on the %u samples: %.6f, without this table %.6f\n", z->samples, r->cosine, r->start_cosine);
	for (unsigned i = 0; i < z->ops; i++)
		if (z->op[i].kept)
			fprintf(f, "%s %s\n", z->op[i].name, sens_format_name(z->s->keep));
}

static int write_calibration(struct sens *z)
{
	struct calib_table t = { .equalized = z->g->equalized };
	int r;

	for (unsigned i = 0; i < z->g->values; i++) {
		const struct ir_value *v = z->g->value[i];
		struct calib_entry *e;
		int m = z->choice[i] >= 0 ? z->choice[i] : 0;

		if (!v || v->data || v->dtype != MICA_F32 || !(v->is_input || v->def) || !z->stats[i].count)
			continue;
		e = calib_table_add(&t, v->name);
		e->method = sens_method_of(z, v, -1);
		e->threshold = z->threshold[0][m][i];
		e->min = z->stats[i].min;
		e->max = z->stats[i].max;
	}
	r = calib_table_write(z->s->table, z->g->name, z->samples, &t, z->g->err);
	calib_table_free(&t);
	return r;
}

int sens_write_tables(struct sens *z)
{
	int r = write_file(z, z->s->qtable, put_qtable);

	return r ? r : write_calibration(z);
}

/* ---- ranking ---- */

static void put_operator(const struct sens *z, FILE *f, unsigned rank, const struct sens_op *op)
{
	fprintf(f, "%4u %c %11.4g", rank, op->kept ? '*' : ' ', sens_worth(z, op));
	for (unsigned i = 0; i < z->s->formats; i++) {
		const struct sens_candidate *c = op->best[i] < 0 ? NULL : &z->candidate[op->best[i]];

		if (c)
			fprintf(f, "  %11.4g %-10s %8llu", c->score.loss, calib_method_name(z->s->method[c->method]),
				(unsigned long long)op->cycles[i]);
		else
			fprintf(f, "  %11s %-10s %8llu", "-", "-", (unsigned long long)op->cycles[i]);
	}
	fprintf(f, "  %8llu  %s\n", (unsigned long long)op->float_cycles, op->name);
}

static bool ranked(const struct sens *z, const struct sens_op *op)
{
	for (unsigned i = 0; i < z->s->formats; i++)
		if (op->best[i] >= 0)
			return true;
	return false;
}

static void put_ranking(const struct sens *z, FILE *f)
{
	unsigned *order = ir_alloc(z->ops + 1, sizeof(*order)), rank = 0;

	sens_order_ops(z, order);
	fprintf(f, "# %s: loss by operator, each quantized alone: %s, %s of outputs and %u samples\n# * stays in %s; worth: loss saved%s\n", z->g->name,
		z->s->metric == SENS_COS ? "1 - cosine" : z->s->metric == SENS_SNR ? "noise / signal" : "the command's number above f32's",
		z->s->worst ? "worst" : "mean", z->samples, sens_format_name(z->s->keep),
		z->s->order == SENS_BY_CYCLES ? " per cycle that keeping it costs" : "");
	fprintf(f, "#rank        worth");
	for (unsigned i = 0; i < z->s->formats; i++)
		fprintf(f, "  %6s loss %-10s %8s", sens_format_name(z->s->format[i]), "method", "cycles");
	fprintf(f, "  %8s  operator\n", sens_format_name(z->s->keep));
	for (unsigned i = 0; i < z->ops; i++)
		if (ranked(z, &z->op[order[i]]))
			put_operator(z, f, ++rank, &z->op[order[i]]);
	free(order);
}

int sens_write_ranking(struct sens *z)
{
	if (z->s->ranking)
		return write_file(z, z->s->ranking, put_ranking);
	put_ranking(z, stdout);
	return 0;
}
