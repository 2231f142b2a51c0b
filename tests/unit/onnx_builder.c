// SPDX-License-Identifier: MIT
/* Makes small ONNX files for tests. */
#include <stdlib.h>
#include <string.h>
#include "onnx_builder.h"

#define MAX_NODES 40000
#define POOL	  (64u << 20)

static Onnx__ModelProto model;
static Onnx__GraphProto graph;
static Onnx__OperatorSetIdProto opset_id, *opset_list[1];
static Onnx__NodeProto *nodes[MAX_NODES];
static Onnx__TensorProto *tensors[64];
static Onnx__ValueInfoProto *inputs[16], *outputs[16];
static char *pool;
static size_t used;

static void *take(size_t n)
{
	void *p = pool + used;

	used += (n + 15) & ~(size_t)15;
	if (used > POOL)
		abort();
	return memset(p, 0, n);
}

static char *text(const char *s)
{
	return strcpy(take(strlen(s) + 1), s);
}

static void release(void)
{
	free(pool);
}

void ob_begin(int opset)
{
	if (!pool) {
		pool = malloc(POOL);
		atexit(release);
	}
	used = 0;
	onnx__model_proto__init(&model);
	onnx__graph_proto__init(&graph);
	onnx__operator_set_id_proto__init(&opset_id);
	opset_id.has_version = true;
	opset_id.version = opset;
	opset_list[0] = &opset_id;
	model.graph = &graph;
	model.opset_import = opset_list;
	model.n_opset_import = 1;
	graph.node = nodes;
	graph.initializer = tensors;
	graph.input = inputs;
	graph.output = outputs;
}

static Onnx__ValueInfoProto *value_info(const char *name)
{
	Onnx__ValueInfoProto *v = take(sizeof(*v));

	onnx__value_info_proto__init(v);
	v->name = text(name);
	return v;
}

void ob_input(const char *name, int onnx_type, unsigned rank, const int64_t *dim)
{
	Onnx__ValueInfoProto *v = value_info(name);
	Onnx__TypeProto *t = v->type = take(sizeof(*t));
	Onnx__TypeProto__Tensor *tt = take(sizeof(*tt));
	Onnx__TensorShapeProto *s = take(sizeof(*s));

	onnx__type_proto__init(t);
	onnx__type_proto__tensor__init(tt);
	onnx__tensor_shape_proto__init(s);
	t->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
	t->tensor_type = tt;
	tt->has_elem_type = true;
	tt->elem_type = onnx_type;
	tt->shape = s;
	s->n_dim = rank;
	s->dim = take(rank * sizeof(*s->dim));
	for (unsigned i = 0; i < rank; i++) {
		Onnx__TensorShapeProto__Dimension *d = s->dim[i] = take(sizeof(*d));

		onnx__tensor_shape_proto__dimension__init(d);
		if (dim[i]) {
			d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
			d->dim_value = dim[i];
		} else {
			d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
			d->dim_param = text("n");
		}
	}
	inputs[graph.n_input++] = v;
}

void ob_output(const char *name)
{
	outputs[graph.n_output++] = value_info(name);
}

Onnx__TensorProto *ob_tensor(const char *name, int onnx_type, unsigned rank, const int64_t *dim)
{
	Onnx__TensorProto *t = take(sizeof(*t));

	onnx__tensor_proto__init(t);
	t->name = text(name);
	t->has_data_type = true;
	t->data_type = onnx_type;
	t->n_dims = rank;
	t->dims = take(rank * sizeof(*dim));
	if (rank)
		memcpy(t->dims, dim, rank * sizeof(*dim));
	tensors[graph.n_initializer++] = t;
	return t;
}

Onnx__TensorProto *ob_raw(const char *name, int onnx_type, unsigned rank, const int64_t *dim,
			  const void *data, size_t bytes)
{
	Onnx__TensorProto *t = ob_tensor(name, onnx_type, rank, dim);

	t->has_raw_data = true;
	t->raw_data.len = bytes;
	t->raw_data.data = take(bytes);
	memcpy(t->raw_data.data, data, bytes);
	return t;
}

Onnx__TensorProto *ob_floats(const char *name, unsigned rank, const int64_t *dim, const float *data)
{
	size_t n = 4;

	for (unsigned i = 0; i < rank; i++)
		n *= (size_t)dim[i];
	return ob_raw(name, ONNX_F32, rank, dim, data, n);
}

Onnx__NodeProto *ob_node(const char *type, const char *out, const char *const *in, unsigned ins)
{
	Onnx__NodeProto *n = take(sizeof(*n));

	onnx__node_proto__init(n);
	n->op_type = text(type);
	n->n_input = ins;
	n->input = take(ins * sizeof(*n->input));
	for (unsigned i = 0; i < ins; i++)
		n->input[i] = text(in[i]);
	n->n_output = 1;
	n->output = take(sizeof(*n->output));
	n->output[0] = text(out);
	n->attribute = take(8 * sizeof(*n->attribute));
	nodes[graph.n_node++] = n;
	return n;
}

static Onnx__AttributeProto *attr(Onnx__NodeProto *n, const char *name, int type)
{
	Onnx__AttributeProto *a = take(sizeof(*a));

	onnx__attribute_proto__init(a);
	a->name = text(name);
	a->has_type = true;
	a->type = (Onnx__AttributeProto__AttributeType)type;
	n->attribute[n->n_attribute++] = a;
	return a;
}

void ob_attr_int(Onnx__NodeProto *n, const char *name, int64_t v)
{
	Onnx__AttributeProto *a = attr(n, name, 2);

	a->has_i = true;
	a->i = v;
}

void ob_attr_ints(Onnx__NodeProto *n, const char *name, const int64_t *v, size_t count)
{
	Onnx__AttributeProto *a = attr(n, name, 7);

	a->n_ints = count;
	a->ints = take(count * sizeof(*v));
	memcpy(a->ints, v, count * sizeof(*v));
}

Onnx__ModelProto *ob_model(void)
{
	return &model;
}

size_t ob_pack(uint8_t **bytes)
{
	size_t n = onnx__model_proto__get_packed_size(&model);

	*bytes = malloc(n + 1);
	return onnx__model_proto__pack(&model, *bytes);
}

void ob_write_bytes(const char *path, const void *bytes, size_t n)
{
	FILE *f = fopen(path, "wb");

	if (!f || fwrite(bytes, 1, n, f) != n || fclose(f))
		abort();
}

void ob_write(const char *path)
{
	uint8_t *bytes;
	size_t n = ob_pack(&bytes);

	ob_write_bytes(path, bytes, n);
	free(bytes);
}

struct ir_graph *ob_compile(const char *path, const struct mica_compile_options *o,
			    const char *until, struct mica_err *err)
{
	struct ir_graph *g = ir_graph_new("model.onnx", err);
	int r = ir_import(g, path, o);

	if (!r && (!until || *until))
		r = ir_run_passes(g, o, until);
	if (!r)
		return g;
	ir_graph_free(g);
	return NULL;
}
