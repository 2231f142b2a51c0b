// SPDX-License-Identifier: MIT
/* The .mica file: header, metadata, constants; written to a temporary file beside it and renamed when it is on disk. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include "backend.h"
#include "mica/model.h"
#include "model.pb-c.h"
#include "output.h"

#ifndef MICA_VERSION
#define MICA_VERSION "0"
#endif

/* Everything that the message points to; freed together. */
struct metadata {
	const struct mica_compiled *c;
	void **owned;
	unsigned count, cap;
	Mica__Model m;
};

static void *own(struct metadata *md, void *p)
{
	md->owned = ir_grow(md->owned, &md->cap, md->count + 1, sizeof(*md->owned));
	return md->owned[md->count++] = p;
}

static void *fresh(struct metadata *md, size_t n, size_t size)
{
	return own(md, ir_alloc(n, size));
}

static const char *format_name(int dtype)
{
	return dtype == MICA_I8 ? "int8" : ir_dtype_name(dtype);
}

static Mica__Tensor *tensor(struct metadata *md, const struct ir_value *v, char *name)
{
	Mica__Tensor *t = fresh(md, 1, sizeof(*t));

	mica__tensor__init(t);
	t->name = name;
	t->dtype = (uint32_t)v->dtype;
	t->n_dims = v->rank;
	t->dims = fresh(md, v->rank, sizeof(*t->dims));
	for (unsigned i = 0; i < v->rank; i++)
		t->dims[i] = (uint32_t)v->dim[i];
	t->scale = v->scale;
	t->zero = v->zero;
	if (v->is_input && v->calibrated && v->min <= v->max) {
		t->range_min = fmaxf(v->min, -v->threshold);
		t->range_max = fminf(v->max, v->threshold);
	}
	return t;
}

static void add_tensors(struct metadata *md)
{
	const struct ir_graph *g = md->c->g;

	md->m.n_inputs = g->inputs;
	md->m.inputs = fresh(md, g->inputs, sizeof(*md->m.inputs));
	for (unsigned i = 0; i < g->inputs; i++)
		md->m.inputs[i] = tensor(md, g->input[i], g->input[i]->name);
	md->m.n_outputs = g->outputs;
	md->m.outputs = fresh(md, g->outputs, sizeof(*md->m.outputs));
	for (unsigned i = 0; i < g->outputs; i++)
		md->m.outputs[i] = tensor(md, g->output[i], md->c->output_name[i]);
}

static void add_layers(struct metadata *md)
{
	const struct be_state *b = &md->c->state;

	md->m.n_layers = b->steps;
	md->m.layers = fresh(md, b->steps, sizeof(*md->m.layers));
	for (unsigned i = 0; i < b->steps; i++) {
		const struct ir_op *op = b->step[i].op;
		Mica__Layer *l = md->m.layers[i] = fresh(md, 1, sizeof(*l));

		mica__layer__init(l);
		l->name = op->name;
		l->op = op->onnx_type ? op->onnx_type : own(md, ir_strdup(ir_kind_name(op->kind)));
		l->macs = ir_op_macs(op);
		l->format = own(md, ir_strdup(format_name(op->kind == IR_CONV || op->kind == IR_MATMUL ? op->in[0]->dtype : op->out[0]->dtype)));
		md->m.macs += l->macs;
	}
}

static Mica__Stream **streams(struct metadata *md, unsigned phase)
{
	const struct mica_compiled *c = md->c;
	Mica__Stream **list = fresh(md, c->cores, sizeof(*list));

	for (unsigned i = 0; i < c->cores; i++) {
		Mica__Stream *s = list[i] = fresh(md, 1, sizeof(*s));

		mica__stream__init(s);
		s->commands.len = be_phase_size(c, phase, i);
		s->commands.data = c->stream[i] + c->state.phase[phase].at[i];
	}
	return list;
}

static Mica__HostTensor *host_tensor(struct metadata *md, const struct mica_host_tensor *from)
{
	Mica__HostTensor *t = fresh(md, 1, sizeof(*t));

	mica__host_tensor__init(t);
	t->dtype = from->dtype;
	t->n_dims = from->rank;
	t->dims = fresh(md, from->rank, sizeof(*t->dims));
	memcpy(t->dims, from->dim, from->rank * sizeof(*t->dims));
	t->address = from->addr;
	return t;
}

static Mica__HostStep *host_step(struct metadata *md, const struct mica_host_step *from)
{
	Mica__HostStep *s = fresh(md, 1, sizeof(*s));

	mica__host_step__init(s);
	s->op = from->op;
	s->layer = from->layer;
	s->n_operands = from->ins;
	s->operands = fresh(md, from->ins, sizeof(*s->operands));
	for (unsigned i = 0; i < from->ins; i++)
		s->operands[i] = host_tensor(md, &from->in[i]);
	s->result = host_tensor(md, &from->out);
	s->ints = (int64_t *)from->ints;
	s->floats = (float *)from->floats;
	for (unsigned i = 0; i < MICA_HOST_INTS; i++)
		s->n_ints = from->ints[i] ? i + 1 : s->n_ints;
	for (unsigned i = 0; i < MICA_HOST_FLOATS; i++)
		s->n_floats = from->floats[i] != 0 ? i + 1 : s->n_floats;
	return s;
}

static void add_phases(struct metadata *md)
{
	const struct be_state *b = &md->c->state;

	md->m.cores = md->c->cores;
	md->m.n_phases = b->phases;
	md->m.phases = fresh(md, b->phases, sizeof(*md->m.phases));
	for (unsigned k = 0; k < b->phases; k++) {
		Mica__Phase *p = md->m.phases[k] = fresh(md, 1, sizeof(*p));

		mica__phase__init(p);
		p->n_streams = b->phase[k].device ? md->c->cores : 0;
		p->streams = p->n_streams ? streams(md, k) : NULL;
		p->n_host = b->phase[k].hosts;
		p->host = fresh(md, p->n_host, sizeof(*p->host));
		for (unsigned i = 0; i < p->n_host; i++)
			p->host[i] = host_step(md, &b->host[b->phase[k].host + i]);
	}
}

static void add_streams(struct metadata *md)
{
	if (md->c->state.hosts) {
		add_phases(md);
		return;
	}
	md->m.n_streams = md->c->cores;
	md->m.streams = streams(md, 0);
}

/* Outputs that a host step with a count writes. */
static void add_counters(struct metadata *md)
{
	const struct be_state *b = &md->c->state;

	for (unsigned i = 0; i < b->hosts; i++) {
		int axis = mica_host_counted_axis(b->host[i].op, b->host[i].ints);
		unsigned seg = MICA_ADDR_SEG(b->host[i].out.addr);

		if (axis < 0 || seg < MICA_SEG_IO + md->c->g->inputs)
			continue;
		md->m.outputs[seg - MICA_SEG_IO - md->c->g->inputs]->counted_axis = (uint32_t)axis + 1;
		md->m.outputs[seg - MICA_SEG_IO - md->c->g->inputs]->counter = i;
	}
}

static void add_entry(struct metadata *md, char *name, bool lmem, unsigned first, unsigned last, uint64_t offset, uint64_t size)
{
	Mica__MemoryPlan *p = md->m.plan;
	Mica__PlanEntry *e = p->entries[p->n_entries++] = fresh(md, 1, sizeof(*e));

	mica__plan_entry__init(e);
	e->name = name;
	e->space = lmem;
	e->first = first;
	e->last = last;
	e->offset = offset;
	e->size = size;
}

/* The fields have the names of the struct's. */
static void add_baseline(struct metadata *md)
{
	const struct be_baselines *b = &md->c->memory.base;
	Mica__MemoryBaseline *m;

	if (!b->buffers)
		return;
	m = md->m.plan->baseline = fresh(md, 1, sizeof(*m));
	mica__memory_baseline__init(m);
	m->buffers = b->buffers;
	m->no_reuse = b->no_reuse;
	m->first_fit = b->first_fit;
	m->best_fit = b->best_fit;
	m->planned = b->planned;
	m->lower_bound = b->lower;
}

static void add_savings(struct metadata *md)
{
	const struct be_memory *memory = &md->c->memory;
	Mica__MemoryPlan *p = md->m.plan;

	p->all_peak = memory->all.peak;
	p->all_lower_bound = memory->all.lower;
	p->savings = fresh(md, MICA_SAVINGS, sizeof(*p->savings));
	for (unsigned i = 0; i < MICA_SAVINGS; i++) {
		const struct be_gain *g = &memory->gain[i];
		Mica__MemorySaving *s = p->savings[p->n_savings++] = fresh(md, 1, sizeof(*s));

		mica__memory_saving__init(s);
		s->name = own(md, ir_strdup(mica_saving_name(i)));
		s->on = g->on;
		s->taken = g->taken;
		s->peak_before = g->before.peak;
		s->peak_after = g->after.peak;
		s->lower_bound_after = g->after.lower;
		s->macs_before = g->before.macs;
		s->macs_after = g->after.macs;
		s->arena_before = g->before.arena;
		s->arena_after = g->after.arena;
		s->cycles_before = g->before.cycles;
		s->cycles_after = g->after.cycles;
	}
}

static void add_plan(struct metadata *md)
{
	const struct be_state *b = &md->c->state;
	Mica__MemoryPlan *p = md->m.plan = fresh(md, 1, sizeof(*p));

	mica__memory_plan__init(p);
	p->entries = fresh(md, b->bufs + (size_t)b->steps * 2 * BE_OPERANDS, sizeof(*p->entries));
	for (unsigned i = 0; i < b->bufs; i++) {
		const struct be_buf *buf = &b->buf[i];

		if ((buf->space == BE_LMEM || buf->space == BE_ARENA) && buf->first != UINT32_MAX)
			add_entry(md, buf->root->name, buf->space == BE_LMEM, buf->first, buf->last, buf->offset, buf->size);
	}
	for (unsigned s = 0; s < b->steps; s++) {
		const struct be_tiling *t = &b->step[s].t;

		for (unsigned i = 0; i < BE_OPERANDS; i++)
			for (unsigned j = 0; j < t->instances[i]; j++) {
				const struct ir_value *v = i == BE_OUT ? b->step[s].op->out[0] : b->step[s].op->in[i];
				size_t n = strlen(v->name) + 16;
				char *name = fresh(md, n, 1);

				snprintf(name, n, "%s [tile %u]", v->name, j);
				add_entry(md, name, true, s, s, t->offset[i][j], t->size[i]);
			}
	}
	p->arena_peak = b->arena_size;
	p->arena_lower_bound = b->arena_lower;
	p->arena_no_reuse = b->arena_no_reuse;
	p->lmem_peak = b->lmem_peak;
	p->lmem_lower_bound = b->lmem_lower;
	add_baseline(md);
	add_savings(md);
}

static const char *method_name(enum mica_method m)
{
	static const char *const names[] = { "max", "kl", "percentile", "mse", "none" };

	return (unsigned)m < sizeof(names) / sizeof(*names) ? names[m] : "?";
}

static void fill(struct metadata *md, const struct mica_compile_options *o)
{
	mica__model__init(&md->m);
	md->m.producer = own(md, ir_strdup("mica " MICA_VERSION));
	md->m.name = md->c->g->name;
	md->m.isa_version = MICA_ISA_VERSION;
	md->m.lmem_size = md->c->lmem;
	md->m.arena_size = md->c->arena_size;
	md->m.format = own(md, ir_strdup(format_name(o->format)));
	md->m.method = own(md, ir_strdup(method_name(o->method)));
	add_tensors(md);
	add_layers(md);
	add_streams(md);
	add_counters(md);
	add_plan(md);
	if (o->sidecar)
		md->m.sidecar = own(md, ir_strdup(o->sidecar));
	md->m.graph = own(md, ir_print_string(md->c->g));
}

/* ---- the file ---- */

static int write_file(const struct mica_compiled *c, const char *path, const uint8_t *meta, size_t meta_size)
{
	static const uint8_t zero[MICA_PKT_ALIGN];
	struct mica_model_header h = { .magic = MICA_MODEL_MAGIC, .version = c->state.hosts ? MICA_MODEL_VERSION : 1, .header_size = sizeof(h) };

	h.meta_size = meta_size;
	h.blob_offset = (sizeof(h) + meta_size + MICA_PKT_ALIGN - 1) & ~(uint64_t)(MICA_PKT_ALIGN - 1);
	h.blob_size = c->state.blob.size;
	h.meta_crc = (uint32_t)crc32_z(0, meta, meta_size);
	h.blob_crc = (uint32_t)crc32_z(0, c->state.blob.data, c->state.blob.size);
	h.header_crc = (uint32_t)crc32_z(0, (const Bytef *)&h, sizeof(h));
	const struct sdk_part parts[] = {
		{ &h, sizeof(h) }, { meta, meta_size }, { zero, h.blob_offset - sizeof(h) - meta_size },
		{ c->state.blob.data, c->state.blob.size },
	};
	return mica_err_output(c->g->err, sdk_output_save(path, parts, sizeof(parts) / sizeof(parts[0]), true));
}

int be_write(const struct mica_compiled *c, const struct mica_compile_options *o, const char *path)
{
	struct metadata md = { .c = c };
	size_t size;
	uint8_t *meta;
	int ret;

	fill(&md, o);
	size = mica__model__get_packed_size(&md.m);
	meta = ir_alloc(size, 1);
	mica__model__pack(&md.m, meta);
	ret = write_file(c, path, meta, size);
	free(meta);
	for (unsigned i = 0; i < md.count; i++)
		free(md.owned[i]);
	free(md.owned);
	return ret;
}
