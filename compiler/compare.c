// SPDX-License-Identifier: MIT
/* `mica compare`: the quantized graph and the f32 graph it came from, and what the walk over both found, as plain numbers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "compare_run.h"

#define SHOWN_BINS 96

/* ---- the two graphs ---- */

/* Of a model that came with QuantizeLinear: conversions to codes convert nothing, weights are the values of their codes. */
static void make_f32(struct ir_graph *f)
{
	for (unsigned i = 0; i < f->values; i++) {
		struct ir_value *v = f->value[i];

		if (!v || v->data)
			continue;
		v->dtype = MICA_F32;
		v->scale = 1;
		v->zero = 0;
	}
	for (struct ir_op *op = f->first; op; op = op->next)
		for (unsigned i = 0; i < op->ins; i++)
			if (ir_op_in(op, i) && ir_op_in(op, i)->data)
				ir_op_set_in(op, i, const_f32(f, ir_op_in(op, i)));
}

/* The passes behind `after`, to `until` (NULL: the last one). */
static int run_passes(struct ir_graph *g, const struct mica_compile_options *o, const char *after, const char *until)
{
	bool on = false;
	int r = 0;

	for (const struct ir_pass *p = ir_passes; p->name && !r; p++) {
		if (on)
			r = p->fn(g, o);
		if (on && until && !strcmp(p->name, until))
			break;
		on = on || !strcmp(p->name, after);
	}
	return r || !o->verify ? r : ir_verify(g, true);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int make_graphs(struct compare *c, const char *path, struct mica_err *err)
{
	int r;

	c->q = ir_graph_new(base_name(path), err);
	r = ir_import(c->q, path, c->o);
	if (!r)
		r = ir_run_passes(c->q, c->o, "layout");
	if (!r && c->o->repair & MICA_REPAIR_CLE)
		c->plain = ir_graph_clone(c->q);
	if (!r)
		r = run_passes(c->q, c->o, "layout", "calibrate");
	if (r)
		return r;
	c->f = ir_graph_clone(c->q);
	if (c->q->qdq)
		make_f32(c->f);
	return run_passes(c->q, c->o, "calibrate", NULL);
}

/* ---- results ---- */

static const char *format_name(int dtype)
{
	return dtype == MICA_I8 ? "int8" : ir_dtype_name(dtype);
}

static char *shape_text(const struct ir_value *v)
{
	char text[160] = "1";
	size_t n = 0;

	for (unsigned i = 0; i < v->rank && n < sizeof(text); i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%lld", i ? "," : "", (long long)v->dim[i]);
	return ir_strdup(text);
}

static void show_channels(const struct compare_layer *l, struct mica_compare_channels *c)
{
	const struct ir_value *w = l->channels ? l->x->def->in[1] : NULL;
	size_t each = w ? (size_t)(ir_elements(w) / w->dim[0]) : 0;

	c->count = l->channels;
	if (!w)
		return;
	c->weight = ir_alloc(3 * c->count, sizeof(float));
	c->lo = c->weight + c->count;
	c->hi = c->lo + c->count;
	memcpy(c->lo, l->lo, c->count * sizeof(float));
	memcpy(c->hi, l->hi, c->count * sizeof(float));
	for (unsigned i = 0; i < c->count; i++) {
		const float *row = (const float *)w->data + i * each;

		for (size_t k = 0; k < each; k++)
			c->weight[i] = fmaxf(c->weight[i], fabsf(row[k]));
		c->zero_weights += c->weight[i] == 0;
		c->constant += c->lo[i] == c->hi[i];
	}
}

static const char *op_text(const struct compare *c, const struct ir_op *op)
{
	if (op->kind == IR_UNARY && op->a.fn == MICA_FN_COPY && op->out[0]->id >= c->f->values)
		return "convert";
	return op->onnx_type ? op->onnx_type : ir_kind_name(op->kind);
}

static void show_layer(const struct compare *c, const struct compare_layer *l, struct mica_compare_layer *m)
{
	const struct ir_op *op = l->op;
	bool mac = op && (op->kind == IR_CONV || op->kind == IR_MATMUL);

	m->name = ir_strdup(op ? op->name : l->y->name);
	m->op = ir_strdup(op ? op_text(c, op) : "input");
	m->output = ir_strdup(l->output ? l->output->name : l->y->name);
	m->shape = shape_text(l->y);
	m->format = format_name(mac ? op->in[0]->dtype : l->y->dtype);
	m->stored = format_name(l->y->dtype);
	m->input = !op;
	m->is_output = l->output;
	m->elements = l->whole.n;
	m->strange = l->whole.strange;
	m->min = l->min <= l->max ? l->min : 0;
	m->max = l->min <= l->max ? l->max : 0;
	m->whole = compare_view_of(&l->whole, m->min, m->max);
	m->alone = compare_view_of(&l->alone, m->min, m->max);
	m->whole.lowest_cosine = l->lowest;
	m->whole.lowest_sample = l->lowest_sample;
	m->alone.lowest_cosine = m->alone.cosine;
	m->has_limit = l->limit.has;
	m->limit_lo = l->limit.lo;
	m->limit_hi = l->limit.hi;
	m->scale = l->y->scale;
	m->histogram = compare_bins_show(&l->bins, SHOWN_BINS);
	show_channels(l, &m->channels);
}

static struct mica_comparison *show(const struct compare *c)
{
	struct mica_comparison *m = ir_alloc(1, sizeof(*m));

	m->samples = c->samples->count;
	m->layers = c->layers;
	m->layer = ir_alloc(c->layers, sizeof(*m->layer));
	for (unsigned i = 0; i < c->layers; i++) {
		m->layer[i].order = i;
		show_layer(c, &c->layer[i], &m->layer[i]);
	}
	compare_warn(m);
	return m;
}

int mica_compare(const char *onnx_path, const struct mica_compile_options *o, const struct mica_calib *samples,
		 struct mica_comparison **out, struct mica_err *err)
{
	struct compare c = { .o = o, .samples = samples };
	struct mica_err own = { 0 };
	int r;

	err = err ? err : &own;
	err->code = MICA_ERR_NONE;
	*out = NULL;
	if (!samples->count)
		return mica_err_set(err, MICA_ERR_USAGE, "%s: there is nothing to compare on: no samples were given", base_name(onnx_path));
	r = ir_check_options(o, err);
	if (!r)
		r = make_graphs(&c, onnx_path, err);
	if (!r) {
		compare_pair(&c);
		r = compare_run(&c);
	}
	if (!r)
		*out = show(&c);
	compare_fini(&c);
	ir_graph_free(c.plain);
	ir_graph_free(c.f);
	ir_graph_free(c.q);
	return r;
}

void mica_comparison_free(struct mica_comparison *c)
{
	for (unsigned i = 0; c && i < c->layers; i++) {
		struct mica_compare_layer *l = &c->layer[i];

		free(l->name);
		free(l->op);
		free(l->output);
		free(l->shape);
		free(l->histogram.before);
		free(l->histogram.after);
		free(l->channels.weight);
	}
	for (unsigned i = 0; c && i < c->warnings; i++)
		free(c->warning[i]);
	if (c) {
		free(c->warning);
		free(c->layer);
	}
	free(c);
}

/* ---- order ---- */

static int by_double(double a, double b)
{
	return a < b ? -1 : a > b;
}

static int by_order(const void *a, const void *b)
{
	const struct mica_compare_layer *x = a, *y = b;

	return x->order < y->order ? -1 : x->order > y->order;
}

/* Ties in the order of execution: the first one is where it begins. */
#define ORDER(name, expression_x, expression_y) \
	static int name(const void *a, const void *b) \
	{ \
		const struct mica_compare_layer *x = a, *y = b; \
		int r = by_double(expression_x, expression_y); \
\
		return r ? r : by_order(a, b); \
	}

ORDER(by_alone, x->alone.snr, y->alone.snr)
ORDER(by_cosine, x->whole.cosine, y->whole.cosine)
ORDER(by_snr, x->whole.snr, y->whole.snr)
ORDER(by_error, -x->whole.range_error, -y->whole.range_error)
ORDER(by_saturation, -x->whole.saturated, -y->whole.saturated)

void mica_comparison_sort(struct mica_comparison *c, enum mica_compare_sort by)
{
	static int (*const order[])(const void *, const void *) = { by_alone, by_cosine, by_snr, by_error, by_saturation, by_order };

	qsort(c->layer, c->layers, sizeof(*c->layer), order[by]);
}
