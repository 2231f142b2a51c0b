// SPDX-License-Identifier: MIT
/* --report=FILE.json or FILE.html: layers with their cost, formats and places, and the memory plan against its bounds. */
#include <stdlib.h>
#include <string.h>
#include "backend.h"
#include "cost.h"
#include "output.h"

struct report {
	const struct mica_compiled *c;
	const struct mica_compile_options *o;
	FILE *f;
	struct mica_job_stats stats;
	struct mica_layer_stats *layer;
};

static const char *const engine_names[MICA_ENGINE_COUNT] = { "load", "store", "matrix", "vector", "cim" };

/* ---- figures ---- */

/* MACs as cells of the array: bf16 takes two 8-bit ones, f32 four. */
static double cells(const struct ir_op *op)
{
	return (double)ir_op_macs(op) * (double)ir_dtype_size(op->in[0]->dtype);
}

static double utilization(double cells, uint64_t cycles, unsigned cores)
{
	double peak = (double)mica_params_default.mac_rows * mica_params_default.mac_cols * cores;

	return cycles ? cells / ((double)cycles * peak) : 0;
}

static double total_utilization(const struct report *r)
{
	double sum = 0;

	for (unsigned i = 0; i < r->c->state.steps; i++)
		if (r->c->state.step[i].op->in[0])
			sum += cells(r->c->state.step[i].op);
	return utilization(sum, r->stats.cycles, r->c->cores);
}

/* Bytes that a layer moves on the host; 0 when the device computes it. */
static uint64_t host_bytes(const struct report *r, unsigned layer)
{
	const struct be_state *b = &r->c->state;

	for (unsigned i = 0; i < b->hosts; i++)
		if (b->host[i].layer == layer)
			return mica_host_bytes(&b->host[i]);
	return 0;
}

static double gap(uint64_t peak, uint64_t bound)
{
	return bound ? 100.0 * ((double)peak - (double)bound) / (double)bound : 0;
}

static const char *space_name(const struct be_state *b, const struct ir_value *v)
{
	static const char *const names[] = { "lmem", "arena", "io", "constant" };

	return b->value[v->id].buf < 0 ? "-" : names[b->buf[b->value[v->id].buf].space];
}

static const char *format_of(const struct ir_op *op)
{
	return ir_dtype_name(op->kind == IR_CONV || op->kind == IR_MATMUL ? op->in[0]->dtype : op->out[0]->dtype);
}

static const char *op_type(const struct ir_op *op)
{
	return op->onnx_type ? op->onnx_type : ir_kind_name(op->kind);
}

static void shape_text(const struct ir_value *v, char *text, size_t size)
{
	size_t n = 0;

	text[0] = 0;
	for (unsigned i = 0; i < v->rank && n < size; i++)
		n += (size_t)snprintf(text + n, size - n, "%s%lld", i ? "," : "", (long long)v->dim[i]);
}

/* ---- JSON ---- */

static void json_text(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fprintf(f, "\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			fprintf(f, "\\u%04x", *s);
		else
			fputc(*s, f);
	}
	fputc('"', f);
}

static void json_layer(const struct report *r, unsigned i)
{
	const struct be_step *s = &r->c->state.step[i];
	const struct mica_layer_stats *l = &r->layer[i];
	char shape[160];

	shape_text(s->op->out[0], shape, sizeof(shape));
	fprintf(r->f, "    {\"index\": %u, \"name\": ", i);
	json_text(r->f, s->op->name);
	fputs(", \"op\": ", r->f);
	json_text(r->f, op_type(s->op));
	fprintf(r->f, ", \"format\": \"%s\", \"shape\": [%s], \"macs\": %llu, \"start\": %llu, \"end\": %llu, \"busy\": {",
		format_of(s->op), shape, (unsigned long long)ir_op_macs(s->op), (unsigned long long)l->start, (unsigned long long)l->end);
	for (unsigned e = 0; e < MICA_ENGINE_CIM; e++)
		fprintf(r->f, "%s\"%s\": %llu", e ? ", " : "", engine_names[e], (unsigned long long)l->busy[e]);
	fprintf(r->f, "}, \"host_bytes\": %llu, \"output\": \"%s\", \"view\": %s, \"tiles\": %u}", (unsigned long long)host_bytes(r, i), space_name(&r->c->state, s->op->out[0]),
		be_done_by_views(s) ? "true" : "false", s->t.tiles);
}

static void json_savings(const struct report *r)
{
	const struct be_memory *m = &r->c->memory;

	fprintf(r->f, "   \"unfused\": {\"buffers\": %u, \"no_reuse\": %llu, \"first_fit\": %llu, \"best_fit\": %llu, \"planned\": %llu, "
		"\"lower_bound\": %llu},\n   \"all_peak\": %llu, \"all_lower_bound\": %llu,\n   \"savings\": [",
		m->base.buffers, (unsigned long long)m->base.no_reuse, (unsigned long long)m->base.first_fit,
		(unsigned long long)m->base.best_fit, (unsigned long long)m->base.planned, (unsigned long long)m->base.lower,
		(unsigned long long)m->all.peak, (unsigned long long)m->all.lower);
	for (unsigned i = 0; i < MICA_SAVINGS; i++) {
		const struct be_gain *g = &m->gain[i];

		fprintf(r->f, "%s\n    {\"name\": \"%s\", \"on\": %s, \"taken\": %s, \"peak_before\": %llu, \"peak_after\": %llu, \"macs_before\": %llu, "
			"\"macs_after\": %llu, \"arena_before\": %llu, \"arena_after\": %llu, \"cycles_before\": %llu, \"cycles_after\": %llu}",
			i ? "," : "", mica_saving_name(i), g->on ? "true" : "false", g->taken ? "true" : "false", (unsigned long long)g->before.peak,
			(unsigned long long)g->after.peak, (unsigned long long)g->before.macs, (unsigned long long)g->after.macs,
			(unsigned long long)g->before.arena, (unsigned long long)g->after.arena, (unsigned long long)g->before.cycles,
			(unsigned long long)g->after.cycles);
	}
	fputs("],\n", r->f);
}

static void json_plan(const struct report *r)
{
	const struct be_state *b = &r->c->state;
	bool first = true;

	fprintf(r->f, "  \"memory\": {\"lmem_size\": %u, \"lmem_peak\": %llu, \"lmem_lower_bound\": %llu, \"arena_size\": %llu, "
		"\"arena_lower_bound\": %llu, \"arena_no_reuse\": %llu, \"constants\": %zu,\n",
		r->c->lmem, (unsigned long long)b->lmem_peak, (unsigned long long)b->lmem_lower, (unsigned long long)b->arena_size,
		(unsigned long long)b->arena_lower, (unsigned long long)b->arena_no_reuse, b->blob.size);
	json_savings(r);
	fputs("   \"buffers\": [\n", r->f);
	for (unsigned i = 0; i < b->bufs; i++) {
		const struct be_buf *buf = &b->buf[i];

		if (buf->first == UINT32_MAX || buf->space > BE_ARENA)
			continue;
		fputs(first ? "    {\"name\": " : ",\n    {\"name\": ", r->f);
		first = false;
		json_text(r->f, buf->root->name);
		fprintf(r->f, ", \"space\": \"%s\", \"first\": %u, \"last\": %u, \"offset\": %llu, \"size\": %llu}",
			space_name(b, buf->root), buf->first, buf->last, (unsigned long long)buf->offset, (unsigned long long)buf->size);
	}
	fputs("\n   ]}\n", r->f);
}

static void write_json(const struct report *r)
{
	const struct mica_job_stats *st = &r->stats;

	fputs("{\n  \"model\": ", r->f);
	json_text(r->f, r->c->g->name);
	fprintf(r->f, ", \"format\": \"%s\", \"cores\": %u,\n  \"cycles\": %llu, \"macs\": %llu, \"mac_utilization\": %.4f, \"packets\": %u, "
		"\"dram_read\": %llu, \"dram_write\": %llu, \"peer\": %llu, \"busy\": {",
		ir_dtype_name((int)r->o->format), r->c->cores, (unsigned long long)st->cycles, (unsigned long long)st->macs,
		total_utilization(r), st->packets, (unsigned long long)st->dram_read_bytes,
		(unsigned long long)st->dram_write_bytes, (unsigned long long)st->peer_bytes);
	for (unsigned e = 0; e < MICA_ENGINE_CIM; e++)
		fprintf(r->f, "%s\"%s\": %llu", e ? ", " : "", engine_names[e], (unsigned long long)st->busy[e]);
	fputs("},\n  \"layers\": [\n", r->f);
	for (unsigned i = 0; i < r->c->state.steps; i++) {
		json_layer(r, i);
		fputs(i + 1 < r->c->state.steps ? ",\n" : "\n", r->f);
	}
	fputs("  ],\n", r->f);
	cost_json(r->f, r->c);
	json_plan(r);
	fputs("}\n", r->f);
}

/* ---- HTML ---- */

void mica_html_text(FILE *f, const char *s)
{
	for (; *s; s++) {
		switch (*s) {
		case '<': fputs("&lt;", f); break;
		case '>': fputs("&gt;", f); break;
		case '&': fputs("&amp;", f); break;
		case '"': fputs("&quot;", f); break;
		default: fputc((unsigned char)*s < 0x20 ? ' ' : *s, f);
		}
	}
}

static void html_layer(const struct report *r, unsigned i)
{
	const struct be_step *s = &r->c->state.step[i];
	const struct mica_layer_stats *l = &r->layer[i];
	double total = r->stats.cycles ? (double)r->stats.cycles : 1;
	char shape[160];

	shape_text(s->op->out[0], shape, sizeof(shape));
	fprintf(r->f, "<tr><td>%u<td>", i);
	mica_html_text(r->f, s->op->name);
	fputs("<td>", r->f);
	mica_html_text(r->f, op_type(s->op));
	fprintf(r->f, "<td>%s<td>%s<td class=n>%llu<td class=n>%llu<td class=n>%.1f&nbsp;%%<td>%s<td class=n>%u"
		"<td><div class=bar style=\"margin-left:%.2f%%;width:%.2f%%\"></div>\n",
		format_of(s->op), shape, (unsigned long long)ir_op_macs(s->op), (unsigned long long)(l->end - l->start),
		100 * utilization(cells(s->op), l->end - l->start, r->c->cores), be_done_by_views(s) ? "view" : space_name(&r->c->state, s->op->out[0]),
		s->t.tiles, 100 * (double)l->start / total, 100 * (double)(l->end - l->start) / total);
	if (s->op->kind == IR_HOST)
		fprintf(r->f, "host, %llu bytes\n", (unsigned long long)host_bytes(r, i));
}

/* The LMEM plan as a picture: steps to the right, addresses upwards. */
static void html_plan(const struct report *r)
{
	const struct be_state *b = &r->c->state;
	double w = 1000.0 / (b->steps ? b->steps : 1), h = 400.0 / b->lmem;

	fputs("<h2>LMEM over the steps</h2>\n<svg viewBox=\"0 0 1000 400\" class=plan>\n", r->f);
	for (unsigned i = 0; i < b->bufs; i++) {
		const struct be_buf *buf = &b->buf[i];

		if (buf->space != BE_LMEM || buf->first == UINT32_MAX)
			continue;
		fprintf(r->f, "<rect x=%.2f y=%.2f width=%.2f height=%.2f><title>", buf->first * w, 400 - (double)(buf->offset + buf->size) * h,
			(buf->last - buf->first + 1) * w, (double)buf->size * h);
		mica_html_text(r->f, buf->root->name);
		fprintf(r->f, ": %llu bytes at %llu, steps %u to %u</title></rect>\n", (unsigned long long)buf->size,
			(unsigned long long)buf->offset, buf->first, buf->last);
	}
	for (unsigned s = 0; s < b->steps; s++)
		for (unsigned i = 0; i < BE_OPERANDS; i++)
			for (unsigned j = 0; j < b->step[s].t.instances[i]; j++)
				fprintf(r->f, "<rect class=tile x=%.2f y=%.2f width=%.2f height=%.2f><title>tiles of step %u</title></rect>\n",
					s * w, 400 - (double)(b->step[s].t.offset[i][j] + b->step[s].t.size[i]) * h, w,
					(double)b->step[s].t.size[i] * h, s);
	fputs("</svg>\n", r->f);
}

static void html_row(const struct report *r, const char *what, uint64_t bytes)
{
	double best = (double)r->c->memory.base.best_fit;

	fprintf(r->f, "<tr><td>%s<td class=n>%llu<td class=n>", what, (unsigned long long)bytes);
	if (best > 0)
		fprintf(r->f, "%+.1f&nbsp;%%", 100 * ((double)bytes - best) / best);
	fputc('\n', r->f);
}

/* The plan beside what other planners need, and what each step was worth. */
static void html_memory(const struct report *r)
{
	const struct be_memory *m = &r->c->memory;

	fputs("<h2>DRAM for intermediate values</h2>\n<table><tr><th><th class=n>bytes<th class=n>beside best fit\n", r->f);
	if (m->base.buffers) {
		html_row(r, "unfused graph in file order: no reuse", m->base.no_reuse);
		html_row(r, "&hellip; first fit in order of creation", m->base.first_fit);
		html_row(r, "&hellip; size-ordered best fit", m->base.best_fit);
		html_row(r, "&hellip; this compiler's planner", m->base.planned);
		html_row(r, "&hellip; lower bound", m->base.lower);
	}
	html_row(r, "compiled graph, all in DRAM", m->all.peak);
	html_row(r, "&hellip; lower bound", m->all.lower);
	html_row(r, "as compiled: the arena, beside LMEM", r->c->state.arena_size);
	html_row(r, "&hellip; lower bound", r->c->state.arena_lower);
	fputs("</table>\n<table><tr><th>step<th class=n>peak before<th class=n>after<th class=n>share\n", r->f);
	for (unsigned i = 0; i < MICA_SAVINGS; i++) {
		const struct be_gain *g = &m->gain[i];

		fprintf(r->f, "<tr><td>%s%s<td class=n>%llu<td class=n>%llu<td class=n>%lld\n", mica_saving_name(i), g->on ? "" : " (left out)",
			(unsigned long long)g->before.peak, (unsigned long long)g->after.peak,
			(long long)g->before.peak - (long long)g->after.peak);
	}
	fputs("</table>\n", r->f);
}

static void write_html(const struct report *r)
{
	const struct be_state *b = &r->c->state;

	fputs("<!doctype html><meta charset=utf-8><title>", r->f);
	mica_html_text(r->f, r->c->g->name);
	fputs("</title>\n<style>body{font:14px sans-serif;margin:2em}table{border-collapse:collapse;width:100%}"
	      "td,th{padding:2px 8px;border-bottom:1px solid #ddd;text-align:left}.n{text-align:right}"
	      ".bar{background:#4a7;height:10px;min-width:1px}td:last-child{width:25%}"
	      ".plan{width:100%;border:1px solid #999}rect{fill:#4a7;stroke:#fff;stroke-width:.5}.tile{fill:#d93}</style>\n<h1>", r->f);
	mica_html_text(r->f, r->c->g->name);
	fprintf(r->f, "</h1>\n<p>%llu cycles on %u core%s, %.1f %% of the multiply-accumulate units' peak; %llu MACs, %llu bytes read and "
		"%llu written in DRAM, %llu sent between cores, %u packets.\n",
		(unsigned long long)r->stats.cycles, r->c->cores, r->c->cores > 1 ? "s" : "",
		100 * total_utilization(r), (unsigned long long)r->stats.macs,
		(unsigned long long)r->stats.dram_read_bytes, (unsigned long long)r->stats.dram_write_bytes,
		(unsigned long long)r->stats.peer_bytes, r->stats.packets);
	fprintf(r->f, "<p>LMEM: peak %llu of %u bytes, lower bound %llu (gap %.1f %%). Arena: %llu bytes, lower bound %llu (gap %.1f %%), "
		"%llu without reuse. Constants: %zu bytes.\n",
		(unsigned long long)b->lmem_peak, r->c->lmem, (unsigned long long)b->lmem_lower, gap(b->lmem_peak, b->lmem_lower),
		(unsigned long long)b->arena_size, (unsigned long long)b->arena_lower, gap(b->arena_size, b->arena_lower),
		(unsigned long long)b->arena_no_reuse, b->blob.size);
	if (b->hosts)
		fprintf(r->f, "<p>%u layers run on the host, in %u phases: their rows say how many bytes they move.\n", b->hosts, b->phases);
	html_memory(r);
	html_plan(r);
	cost_html(r->f, r->c);
	fputs("<h2>Layers</h2>\n<table><tr><th>#<th>name<th>operator<th>format<th>output<th class=n>MACs<th class=n>cycles<th class=n>MAC use"
	      "<th>lives in<th class=n>tiles<th>time\n", r->f);
	for (unsigned i = 0; i < b->steps; i++)
		html_layer(r, i);
	fputs("</table>\n", r->f);
}

int be_report(const struct mica_compiled *c, const struct mica_compile_options *o)
{
	struct report r = { .c = c, .o = o };
	const char *dot = strrchr(o->report, '.');
	struct sdk_text text;
	int ret;

	r.layer = ir_alloc(c->state.steps, sizeof(*r.layer));
	ret = be_cycles(c, &r.stats, r.layer);
	if (ret)
		goto out;
	ret = mica_err_output(c->g->err, sdk_text_open(&text));
	if (ret)
		goto out;
	r.f = text.f;
	if (dot && (!strcmp(dot, ".html") || !strcmp(dot, ".htm")))
		write_html(&r);
	else
		write_json(&r);
	ret = mica_err_output(c->g->err, sdk_text_save(&text, o->report));
out:
	free(r.layer);
	return ret;
}
