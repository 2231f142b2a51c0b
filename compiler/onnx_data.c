// SPDX-License-Identifier: MIT
/* Tensors and ports around a model: TensorProto files (.pb) as numbers, and what a model declares as inputs and outputs. */
#include <stdlib.h>
#include <string.h>
#include "onnx.h"

/* ---- TensorProto files ---- */

Onnx__TensorProto *onnx_tensor_file(const char *path, struct mica_err *err)
{
	size_t size;
	uint8_t *p = onnx_slurp(path, "a TensorProto (.pb)", &size, err);
	Onnx__TensorProto *t = p ? onnx__tensor_proto__unpack(NULL, size, p) : NULL;

	if (p && !t)
		mica_err_set(err, MICA_ERR_CORRUPT, "%s: is not a TensorProto (.pb); write it with numpy_helper.from_array", path);
	free(p);
	return t;
}

/* A graph that only holds the one tensor: onnx_tensor() wants one, and a folder for external data. */
static struct ir_graph *scratch_graph(const char *path, struct mica_err *err)
{
	struct ir_graph *g = ir_graph_new(path, err);
	struct onnx_import *imp = ir_alloc(1, sizeof(*imp));

	imp->dir = onnx_dir_of(path);
	g->import = imp;
	g->import_free = onnx_import_free;
	return g;
}

static void take_numbers(const struct ir_value *v, struct mica_onnx_data *out)
{
	out->rank = v->rank;
	memcpy(out->dim, v->dim, sizeof(out->dim));
	out->elements = (size_t)ir_elements(v);
	if (v->dtype != IR_I64 && v->dtype != IR_BOOL && v->dtype != MICA_I8 && v->dtype != MICA_U8) {
		out->f = ir_alloc(out->elements, sizeof(*out->f));
		mica_dequantize((enum mica_dtype)v->dtype, v->data, out->f, out->elements, 1, 0);
		return;
	}
	out->i = ir_alloc(out->elements, sizeof(*out->i));
	for (size_t k = 0; k < out->elements; k++)
		out->i[k] = v->dtype == IR_I64	? ((int64_t *)v->data)[k]
			  : v->dtype == MICA_I8 ? ((int8_t *)v->data)[k] : ((uint8_t *)v->data)[k];
}

int mica_onnx_data_read(const char *path, struct mica_onnx_data *out, struct mica_err *err)
{
	Onnx__TensorProto *t = onnx_tensor_file(path, err);
	struct ir_graph *g;
	struct ir_value *v;

	memset(out, 0, sizeof(*out));
	if (!t)
		return -(int)err->code;
	g = scratch_graph(path, err);
	v = onnx_tensor(g, t, NULL, "tensor");
	if (v) {
		out->type = t->data_type;
		take_numbers(v, out);
	}
	ir_graph_free(g);
	onnx__tensor_proto__free_unpacked(t, NULL);
	return v ? 0 : -(int)err->code;
}

void mica_onnx_data_free(struct mica_onnx_data *d)
{
	free(d->f);
	free(d->i);
	memset(d, 0, sizeof(*d));
}

const char *mica_onnx_type_name(int type)
{
	return onnx_type_name(type);
}

/* ---- ports ---- */

static const char *port_kind(const Onnx__TypeProto *t)
{
	if (!t)
		return "untyped";
	switch (t->value_case) {
	case ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE:
		return NULL;
	case ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE:
		return "a sequence";
	case ONNX__TYPE_PROTO__VALUE_MAP_TYPE:
		return "a map";
	default:
		return "an optional or a sparse tensor";
	}
}

static void add_port(struct mica_onnx_port **list, unsigned *count, const Onnx__ValueInfoProto *p)
{
	struct mica_onnx_port *port;

	*list = realloc(*list, (*count + 1) * sizeof(**list));
	if (!*list)
		abort();
	port = &(*list)[(*count)++];
	*port = (struct mica_onnx_port){ .name = ir_strdup(p->name ? p->name : ""), .kind = port_kind(p->type) };
	if (!port->kind && p->type->tensor_type->has_elem_type)
		port->type = p->type->tensor_type->elem_type;
}

static bool has_initializer(const Onnx__GraphProto *g, const char *name)
{
	for (size_t i = 0; name && i < g->n_initializer; i++)
		if (g->initializer[i]->name && !strcmp(g->initializer[i]->name, name))
			return true;
	return false;
}

int mica_onnx_ports_read(const char *path, struct mica_onnx_ports *out, struct mica_err *err)
{
	Onnx__ModelProto *m = onnx_file_read(path, err);

	memset(out, 0, sizeof(*out));
	if (!m)
		return -(int)err->code;
	if (!m->graph)
		mica_err_set(err, MICA_ERR_CORRUPT, "%s: has no graph: it is not an ONNX model; export it again", path);
	for (size_t i = 0; m->graph && i < m->graph->n_input; i++)
		if (!has_initializer(m->graph, m->graph->input[i]->name))
			add_port(&out->in, &out->ins, m->graph->input[i]);
	for (size_t i = 0; m->graph && i < m->graph->n_output; i++)
		add_port(&out->out, &out->outs, m->graph->output[i]);
	onnx__model_proto__free_unpacked(m, NULL);
	return -(int)err->code;
}

void mica_onnx_ports_free(struct mica_onnx_ports *p)
{
	for (unsigned i = 0; i < p->ins; i++)
		free(p->in[i].name);
	for (unsigned i = 0; i < p->outs; i++)
		free(p->out[i].name);
	free(p->in);
	free(p->out);
	memset(p, 0, sizeof(*p));
}
