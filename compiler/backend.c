// SPDX-License-Identifier: MIT
/* The back half from a graph of the device dialect to verified streams, and from there to the file. */
#include <stdlib.h>
#include <string.h>
#include "backend.h"

/* ---- outputs of their own ---- */

/* A value that is written by an operator of its own and that nobody else reads can live in the output's segment. */
static bool owns_output(const struct ir_graph *g, unsigned i)
{
	const struct ir_value *v = g->output[i];

	for (unsigned j = 0; j < i; j++)
		if (g->output[j] == v)
			return false;
	return v->def && !v->uses;
}

static void copy_output(struct ir_graph *g, unsigned i)
{
	struct ir_value *v = g->output[i], *copy = ir_value_new(g, NULL, v->dtype, v->rank, v->dim);
	struct ir_op *op;

	copy->scale = v->scale;
	copy->zero = v->zero;
	op = ir_op_new(g, IR_RESHAPE, v->name, NULL, &v, 1, &copy, 1);
	op->onnx_type = ir_strdup("Output");
	g->output[i] = copy;
	copy->is_output = true;
	v->is_output = false;
}

static void name_outputs(struct mica_compiled *c)
{
	struct ir_graph *g = c->g;

	c->output_name = ir_alloc(g->outputs, sizeof(*c->output_name));
	for (unsigned i = 0; i < g->outputs; i++)
		c->output_name[i] = ir_strdup(g->output_name ? g->output_name[i] : g->output[i]->name);
	for (unsigned i = g->outputs; i-- > 0;)
		if (!owns_output(g, i))
			copy_output(g, i);
}

/* ---- state ---- */

void be_state_init(struct be_state *b, struct ir_graph *g, const struct mica_compile_options *o)
{
	unsigned n = 0;

	b->g = g;
	b->o = o;
	b->cores = o->cores ? o->cores : 1;
	b->lmem = o->lmem & ~(MICA_LMEM_ALIGN - 1);
	for (struct ir_op *op = g->first; op; op = op->next)
		b->steps++;
	b->step = ir_alloc(b->steps, sizeof(*b->step));
	for (struct ir_op *op = g->first; op; op = op->next, n++) {
		b->step[n].op = op;
		b->step[n].in_place = ir_alloc(op->ins, sizeof(bool));
		b->step[n].bar_place = ir_alloc(op->ins, sizeof(bool));
	}
	b->values = g->values;
	b->value = ir_alloc(b->values, sizeof(*b->value));
	be_blob_init(&b->blob);
	b->emit = be_emit_new(b->cores);
}

void be_state_fini(struct be_state *b)
{
	for (unsigned i = 0; i < b->steps; i++) {
		free(b->step[i].in_place);
		free(b->step[i].bar_place);
	}
	free(b->step);
	free(b->phase);
	free(b->host);
	free(b->value);
	free(b->buf);
	be_blob_fini(&b->blob);
	be_emit_free(b->emit);
}

static int check_options(struct ir_graph *g, const struct mica_compile_options *o)
{
	if (o->cores > MICA_MAX_CORES)
		return mica_err_set(g->err, MICA_ERR_USAGE, "%u cores: there can be 1 to %u", o->cores, MICA_MAX_CORES);
	if (o->lmem < 4096)
		return mica_err_set(g->err, MICA_ERR_USAGE, "%u bytes of local memory: at least 4096 are needed (--lmem)", o->lmem);
	if (g->inputs + g->outputs + MICA_SEG_IO > MICA_MAX_SEGMENTS)
		return mica_err_set(g->err, MICA_ERR_UNSUPPORTED, "%s: %u inputs and outputs; a job can have %u", g->name,
				    g->inputs + g->outputs, MICA_MAX_SEGMENTS - MICA_SEG_IO);
	return 0;
}

/* ---- the result ---- */

/* Where the streams of each phase begin, in bytes. */
static void measure_phases(struct mica_compiled *c, unsigned core)
{
	const struct be_packets *p = be_emit_stream(c->state.emit, core);
	unsigned k = 0;
	size_t at = 0;

	for (unsigned ph = 0; ph < c->state.phases; ph++) {
		for (; k < c->state.phase[ph].packets[core]; k++)
			at += (size_t)p->pkt[k].hdr.units * MICA_PKT_ALIGN;
		c->state.phase[ph].at[core] = at;
	}
}

size_t be_phase_size(const struct mica_compiled *c, unsigned phase, unsigned core)
{
	size_t end = phase + 1 < c->state.phases ? c->state.phase[phase + 1].at[core] : c->stream_size[core];

	return end - c->state.phase[phase].at[core];
}

static void serialize(struct mica_compiled *c)
{
	for (unsigned i = 0; i < c->cores; i++) {
		const struct be_packets *p = be_emit_stream(c->state.emit, i);
		size_t size = 0;

		for (unsigned k = 0; k < p->count; k++)
			size += (size_t)p->pkt[k].hdr.units * MICA_PKT_ALIGN;
		c->stream[i] = aligned_alloc(MICA_PKT_ALIGN, size ? size : MICA_PKT_ALIGN);
		if (!c->stream[i])
			abort();
		c->stream_size[i] = size;
		size = 0;
		for (unsigned k = 0; k < p->count; k++) {
			memcpy(c->stream[i] + size, &p->pkt[k], (size_t)p->pkt[k].hdr.units * MICA_PKT_ALIGN);
			size += (size_t)p->pkt[k].hdr.units * MICA_PKT_ALIGN;
		}
		c->packets += p->count;
		measure_phases(c, i);
	}
}

void mica_compiled_job(const struct mica_compiled *c, struct mica_job *job)
{
	mica_compiled_phase(c, 0, job);
}

void mica_compiled_phase(const struct mica_compiled *c, unsigned phase, struct mica_job *job)
{
	memset(job, 0, sizeof(*job));
	job->cores = c->cores;
	job->lim.lmem_size = c->lmem;
	job->lim.cores = c->cores;
	job->lim.segments = MICA_SEG_IO + c->g->inputs + c->g->outputs;
	for (unsigned i = 0; i < c->cores; i++) {
		job->stream[i] = c->stream[i] + c->state.phase[phase].at[i];
		job->stream_size[i] = be_phase_size(c, phase, i);
	}
	job->lim.seg_size[MICA_SEG_WEIGHTS] = c->state.blob.size;
	job->lim.seg_size[MICA_SEG_ARENA] = c->arena_size;
	job->lim.seg_write[MICA_SEG_ARENA] = true;
	for (unsigned i = 0; i < c->g->inputs; i++)
		job->lim.seg_size[MICA_SEG_IO + i] = ir_bytes(c->g->input[i]);
	for (unsigned i = 0; i < c->g->outputs; i++) {
		job->lim.seg_size[MICA_SEG_IO + c->g->inputs + i] = ir_bytes(c->g->output[i]);
		job->lim.seg_write[MICA_SEG_IO + c->g->inputs + i] = true;
	}
	job->layers = c->state.steps;
}

static int compile_streams(struct ir_graph *g, const struct mica_compile_options *o, struct mica_compiled *c)
{
	struct be_state *b = &c->state;
	int ret;

	ir_group_host(g);
	be_state_init(b, g, o);
	c->cores = b->cores;
	c->lmem = b->lmem;
	if (b->steps > UINT16_MAX)
		return mica_err_set(g->err, MICA_ERR_UNSUPPORTED, "%s: %u operators; a job can have 65535", g->name, b->steps);
	ret = be_alias(b);
	if (ret)
		return ret;
	be_live(b);
	be_in_place(b);
	be_split(b);
	ret = be_place(b);
	if (!ret)
		ret = be_schedule(b);
	if (ret)
		return ret;
	c->arena_size = b->arena_size;
	serialize(c);
	return 0;
}

int be_try(struct ir_graph *g, const struct mica_compile_options *o, struct mica_compiled *c, struct be_figures *f)
{
	struct mica_job_stats stats;
	int ret;

	memset(c, 0, sizeof(*c));
	c->g = g;
	ret = compile_streams(g, o, c);
	if (!ret)
		ret = be_cycles(c, &stats, NULL);
	f->arena = c->arena_size;
	f->cycles = ret ? 0 : stats.cycles;
	return ret;
}

/* The streams of the best try, which are the result: its graph's contents may have moved to g since. */
static void take(struct mica_compiled *c, struct mica_compiled *best)
{
	c->cores = best->cores;
	c->lmem = best->lmem;
	c->arena_size = best->arena_size;
	c->packets = best->packets;
	memcpy(c->stream, best->stream, sizeof(c->stream));
	memcpy(c->stream_size, best->stream_size, sizeof(c->stream_size));
	c->state = best->state;
	c->state.g = c->g;
}

int mica_backend_compile(struct ir_graph *g, const struct mica_compile_options *o, struct mica_compiled *c)
{
	struct mica_compile_options with = *o;
	struct mica_compiled best;
	bool done = false;
	int ret;

	memset(c, 0, sizeof(*c));
	c->g = g;
	ret = check_options(g, o);
	if (ret)
		return ret;
	be_baselines(g, o->format, &c->memory.base);
	name_outputs(c);
	ret = be_lower_peak(g, &with, &c->memory, &best, &done);
	if (done)
		take(c, &best);
	else if (!ret)
		ret = compile_streams(g, &with, c);
	c->state.o = o;
	if (!ret)
		be_residency_gain(&c->state, &c->memory);
	return ret ? ret : be_verify(c, g->err);
}

void mica_compiled_fini(struct mica_compiled *c)
{
	for (unsigned i = 0; i < c->cores; i++)
		free(c->stream[i]);
	for (unsigned i = 0; c->output_name && i < c->g->outputs; i++)
		free(c->output_name[i]);
	free(c->output_name);
	be_state_fini(&c->state);
	memset(c, 0, sizeof(*c));
}

int ir_backend(struct ir_graph *g, const struct mica_compile_options *o, const char *out_path)
{
	struct mica_compiled c;
	int ret = mica_backend_compile(g, o, &c);

	if (!ret)
		ret = be_write(&c, o, out_path);
	if (!ret && o->report)
		ret = be_report(&c, o);
	mica_compiled_fini(&c);
	return ret;
}
