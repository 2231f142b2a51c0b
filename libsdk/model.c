// SPDX-License-Identifier: MIT
/* Models: a checked container, placed on a device, and everything that can be asked of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "container_limits.h"
#include "sdk.h"

void model_get(struct mica_model *m)
{
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
}

static void model_delete(struct mica_model *m)
{
	free(m->tensor);
	free(m->phase);
	free(m->host);
	sdk_pages_free(m->stream_mem, m->stream_mem_size);
	container_free(&m->c);
	sdk_file_free(&m->file);
	if (m->dev)
		device_put(m->dev);
	free(m);
}

void model_put(struct mica_model *m)
{
	if (atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (m->dev)
		m->dev->be->model_unload(m);
	model_delete(m);
}

static void fill_tensor(struct mica_tensor_info *info, const Mica__Tensor *t)
{
	info->name = t->name;
	info->dtype = t->dtype;
	info->rank = t->n_dims;
	info->elements = 1;
	for (size_t i = 0; i < t->n_dims; i++) {
		info->dim[i] = t->dims[i];
		info->elements *= t->dims[i];
	}
	info->scale = t->scale;
	info->zero = t->zero;
	info->bytes = info->elements * mica_dtype_size(t->dtype);
	info->counted_axis = (int)t->counted_axis - 1;
	info->range_min = t->range_min;
	info->range_max = t->range_max;
	if (info->range_min < info->range_max)
		return;
	if (t->dtype == MICA_I8 || t->dtype == MICA_U8) {	/* not calibrated: what the codes hold */
		int first = t->dtype == MICA_I8 ? -128 : 0;

		info->range_min = (float)(first - t->zero) * t->scale;
		info->range_max = (float)(first + 255 - t->zero) * t->scale;
	}
}

static Mica__Stream **streams_of(const Mica__Model *meta, unsigned phase)
{
	return meta->n_phases ? meta->phases[phase]->streams : meta->streams;
}

/* Moves the streams of all phases into pages, one behind the other: what is left of them in the metadata is nothing. */
static int fill_streams(struct mica_model *m)
{
	const Mica__Model *meta = m->c.meta;
	size_t at = 0;

	for (unsigned k = 0; k < m->phases; k++)
		for (unsigned i = 0; i < m->cores && m->phase[k].device; i++)
			m->stream_mem_size += streams_of(meta, k)[i]->commands.len;
	m->stream_mem = sdk_pages(m->stream_mem_size ? m->stream_mem_size : 1);
	if (!m->stream_mem)
		return sdk_nomem("the model's commands");
	for (unsigned k = 0; k < m->phases; k++) {
		struct model_phase *p = &m->phase[k];

		for (unsigned i = 0; i < m->cores && p->device; i++) {
			ProtobufCBinaryData *from = &streams_of(meta, k)[i]->commands;

			p->stream[i] = m->stream_mem + at;
			p->stream_size[i] = from->len;
			memcpy(m->stream_mem + at, from->data, from->len);
			at += from->len;
			if (from->len)
				free(from->data);
			*from = (ProtobufCBinaryData){ 0 };
		}
	}
	return 0;
}

/* The steps have been checked by container_check_phases. */
static int fill_phases(struct mica_model *m)
{
	const Mica__Model *meta = m->c.meta;
	unsigned n = 0;

	m->phases = meta->n_phases ? (unsigned)meta->n_phases : 1;
	m->cores = meta->n_phases ? meta->cores : (unsigned)meta->n_streams;
	for (unsigned k = 0; k < meta->n_phases; k++)
		m->hosts += (unsigned)meta->phases[k]->n_host;
	m->phase = calloc(m->phases, sizeof(*m->phase));
	m->host = calloc(m->hosts + 1, sizeof(*m->host));
	if (!m->phase || !m->host)
		return sdk_nomem("the model's phases");
	m->phase[0].device = !meta->n_phases;
	for (unsigned k = 0; k < meta->n_phases; k++) {
		const Mica__Phase *from = meta->phases[k];

		m->phase[k].device = from->n_streams > 0;
		m->phase[k].host = n;
		m->phase[k].hosts = (unsigned)from->n_host;
		for (unsigned i = 0; i < from->n_host; i++)
			container_host_step(from->host[i], &m->host[n++]);
	}
	return fill_streams(m);
}

static int fill_model(struct mica_model *m)
{
	const Mica__Model *meta = m->c.meta;

	m->inputs = meta->n_inputs;
	m->outputs = meta->n_outputs;
	m->layers = meta->n_layers;
	m->tensor = calloc(m->inputs + m->outputs, sizeof(*m->tensor));
	if (!m->tensor)
		return sdk_nomem("the model's tensors");
	for (unsigned i = 0; i < m->inputs; i++)
		fill_tensor(&m->tensor[i], meta->inputs[i]);
	for (unsigned i = 0; i < m->outputs; i++)
		fill_tensor(&m->tensor[m->inputs + i], meta->outputs[i]);
	return fill_phases(m);
}

/* Takes the file, also on failure. */
static int load(struct mica_device *dev, struct sdk_file *file, const char *name, struct mica_model **out)
{
	struct mica_model *m = calloc(1, sizeof(*m));
	int ret;

	if (!m) {
		sdk_file_free(file);
		return sdk_nomem("a model");
	}
	atomic_init(&m->refs, 1);
	m->file = *file;
	ret = container_parse(m->file.data, m->file.size, name, &m->c);
	if (!ret) {
		sdk_file_drop(&m->file, (size_t)(m->c.blob - m->file.data));	/* the metadata has been unpacked */
		ret = fill_model(m);
	}
	if (ret)
		goto err_delete;
	if (dev) {
		device_get(dev);
		m->dev = dev;
		ret = dev->be->model_load(m);
		if (ret)
			goto err_delete;
	}
	*out = m;
	return 0;

err_delete:
	model_delete(m);
	return ret;
}

int mica_model_load(struct mica_device *dev, const char *path, struct mica_model **out)
{
	struct sdk_file file;
	int ret;

	*out = NULL;
	ret = sdk_file_load(path, CONTAINER_MAX_FILE, &file);
	return ret ? ret : load(dev, &file, path, out);
}

int mica_model_load_memory(struct mica_device *dev, const void *data, size_t size, struct mica_model **out)
{
	struct sdk_file file;
	int ret;

	*out = NULL;
	ret = sdk_file_copy(data, size, &file);
	return ret ? ret : load(dev, &file, "(memory)", out);
}

void mica_model_close(struct mica_model *m)
{
	if (m)
		model_put(m);
}

unsigned mica_model_input_count(const struct mica_model *m)
{
	return m->inputs;
}

unsigned mica_model_output_count(const struct mica_model *m)
{
	return m->outputs;
}

const struct mica_tensor_info *mica_model_input(const struct mica_model *m, unsigned index)
{
	if (index < m->inputs)
		return &m->tensor[index];
	sdk_err(EINVAL, "the model has %u inputs, there is no number %u", m->inputs, index);
	return NULL;
}

const struct mica_tensor_info *mica_model_output(const struct mica_model *m, unsigned index)
{
	if (index < m->outputs)
		return &m->tensor[m->inputs + index];
	sdk_err(EINVAL, "the model has %u outputs, there is no number %u", m->outputs, index);
	return NULL;
}

static int find(const struct mica_model *m, const char *what, unsigned first, unsigned count, const char *name)
{
	for (unsigned i = 0; i < count; i++)
		if (!strcmp(m->tensor[first + i].name, name))
			return i;
	return sdk_err(ENOENT, "the model has no %s '%s'; the first of its %u is '%s'", what, name, count,
		       count ? m->tensor[first].name : "");
}

int mica_model_find_input(const struct mica_model *m, const char *name)
{
	return find(m, "input", 0, m->inputs, name);
}

int mica_model_find_output(const struct mica_model *m, const char *name)
{
	return find(m, "output", m->inputs, m->outputs, name);
}

void mica_model_get_info(const struct mica_model *m, struct mica_model_info *info)
{
	const Mica__Model *meta = m->c.meta;

	*info = (struct mica_model_info){
		.name = meta->name, .producer = meta->producer, .format = meta->format, .method = meta->method,
		.isa_version = meta->isa_version, .cores = m->cores, .lmem_size = meta->lmem_size,
		.arena_size = meta->arena_size, .weights_size = m->c.blob_size, .stream_size = m->stream_mem_size,
		.macs = meta->macs, .layers = m->layers, .phases = m->phases, .host_steps = m->hosts, .sidecar = meta->sidecar, .graph = meta->graph,
	};
	for (unsigned i = 0; i < m->hosts; i++)
		info->host_bytes += mica_host_bytes(&m->host[i]);
	if (meta->plan) {
		info->plan_entries = meta->plan->n_entries;
		info->arena_peak = meta->plan->arena_peak;
		info->arena_lower_bound = meta->plan->arena_lower_bound;
		info->arena_no_reuse = meta->plan->arena_no_reuse;
		info->lmem_peak = meta->plan->lmem_peak;
		info->lmem_lower_bound = meta->plan->lmem_lower_bound;
	}
}

int mica_model_layer(const struct mica_model *m, unsigned index, struct mica_layer_info *info)
{
	const Mica__Layer *l;

	if (index >= m->layers)
		return sdk_err(EINVAL, "the model has %u layers, there is no number %u", m->layers, index);
	l = m->c.meta->layers[index];
	*info = (struct mica_layer_info){ l->name, l->op, l->format, l->macs };
	return 0;
}

void mica_model_get_memory(const struct mica_model *m, struct mica_memory_info *info)
{
	const Mica__MemoryPlan *plan = m->c.meta->plan;
	const Mica__MemoryBaseline *b = plan ? plan->baseline : NULL;

	memset(info, 0, sizeof(*info));
	if (plan) {
		info->all_peak = plan->all_peak;
		info->all_lower_bound = plan->all_lower_bound;
		info->savings = plan->n_savings;
	}
	if (b) {
		info->unfused_buffers = b->buffers;
		info->unfused_no_reuse = b->no_reuse;
		info->unfused_first_fit = b->first_fit;
		info->unfused_best_fit = b->best_fit;
		info->unfused_planned = b->planned;
		info->unfused_lower_bound = b->lower_bound;
	}
}

int mica_model_saving(const struct mica_model *m, unsigned index, struct mica_saving_info *info)
{
	const Mica__MemoryPlan *plan = m->c.meta->plan;
	const Mica__MemorySaving *s;

	if (!plan || index >= plan->n_savings)
		return sdk_err(EINVAL, "the model's memory plan knows no step %u", index);
	s = plan->savings[index];
	*info = (struct mica_saving_info){ s->name, s->on, s->taken, s->peak_before, s->peak_after, s->lower_bound_after, s->macs_before,
					   s->macs_after, s->arena_before, s->arena_after, s->cycles_before, s->cycles_after };
	return 0;
}

int mica_model_plan_entry(const struct mica_model *m, unsigned index, struct mica_plan_info *info)
{
	const Mica__MemoryPlan *plan = m->c.meta->plan;
	const Mica__PlanEntry *e;

	if (!plan || index >= plan->n_entries)
		return sdk_err(EINVAL, "the model's memory plan has no entry %u", index);
	e = plan->entries[index];
	*info = (struct mica_plan_info){ e->name, e->space, e->first, e->last, e->offset, e->size };
	return 0;
}

const uint8_t *model_blob(const struct mica_model *m)
{
	return m->weights ? m->weights->map : m->c.blob;
}

int mica_model_stream(const struct mica_model *m, unsigned core, const void **commands, size_t *size)
{
	return mica_model_phase_stream(m, 0, core, commands, size);
}

unsigned mica_model_phase_count(const struct mica_model *m)
{
	return m->phases;
}

static int check_phase(const struct mica_model *m, unsigned phase)
{
	return phase < m->phases ? 0 : sdk_err(EINVAL, "the model has %u phases, there is no number %u", m->phases, phase);
}

int mica_model_phase_stream(const struct mica_model *m, unsigned phase, unsigned core, const void **commands, size_t *size)
{
	int ret = check_phase(m, phase);

	if (ret)
		return ret;
	if (core >= m->cores)
		return sdk_err(EINVAL, "the model uses %u cores, there is no number %u", m->cores, core);
	*commands = m->phase[phase].stream[core];
	*size = m->phase[phase].stream_size[core];
	return 0;
}

unsigned mica_model_phase_host_steps(const struct mica_model *m, unsigned phase)
{
	return phase < m->phases ? m->phase[phase].hosts : 0;
}

int mica_model_host_step(const struct mica_model *m, unsigned phase, unsigned index, struct mica_host_step_info *info)
{
	const struct mica_host_step *s;
	int ret = check_phase(m, phase);

	if (ret)
		return ret;
	if (index >= m->phase[phase].hosts)
		return sdk_err(EINVAL, "phase %u has %u host steps, there is no number %u", phase, m->phase[phase].hosts, index);
	s = &m->host[m->phase[phase].host + index];
	*info = (struct mica_host_step_info){ .name = mica_host_name(s->op), .layer = s->layer, .bytes = mica_host_bytes(s) };
	mica_host_disasm(info->text, sizeof(info->text), s);
	return 0;
}

const char *model_packet_layer(const struct mica_model *m, unsigned phase, unsigned core, size_t offset)
{
	const struct mica_pkt_hdr *h;

	if (core >= m->cores || offset % MICA_PKT_ALIGN || offset >= m->phase[phase].stream_size[core])
		return "";
	h = (const struct mica_pkt_hdr *)(m->phase[phase].stream[core] + offset);
	return h->layer < m->layers ? m->c.meta->layers[h->layer]->name : "";
}
