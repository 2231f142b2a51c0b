// SPDX-License-Identifier: MIT
/* The importer: an .onnx file becomes a graph of IR_ONNX operators in topological order, initializers become constants. */
#include <stdlib.h>
#include <string.h>
#include "onnx_control.h"

#define MICROSOFT "com.microsoft"

struct import {
	struct ir_graph *g;
	const Onnx__GraphProto *p;
	const char ***captures; /* by node: names that its subgraphs read, or NULL */
	unsigned *captured;
	struct ir_value **ins; /* scratch for one node */
	unsigned ins_cap;
};

void onnx_import_free(void *opaque)
{
	struct onnx_import *imp = opaque;

	if (imp->model)
		onnx__model_proto__free_unpacked(imp->model, NULL);
	for (unsigned i = 0; i < imp->copy_count; i++)
		onnx__function_proto__free_unpacked(imp->copies[i], NULL);
	free(imp->copies);
	free(imp->dir);
	free(imp->facts);
	free(imp->undecided);
	free(imp);
}

/* ---- the model as a whole ---- */

static int find_opset(struct ir_graph *g, struct onnx_import *imp)
{
	const Onnx__ModelProto *m = imp->model;
	int64_t own = 0;

	imp->opset = 0;
	for (size_t i = 0; i < m->n_opset_import; i++) {
		const char *d = m->opset_import[i]->domain;

		if (!d || !*d || !strcmp(d, "ai.onnx"))
			own = m->opset_import[i]->version;
		else if (!imp->opset && (!strcmp(d, MICROSOFT) || m->n_functions))
			imp->opset = ONNX_OPSET_MAX; /* if no other says it */
	}
	imp->opset = own ? own : imp->opset;
	imp->model_opset = imp->opset;
	if (!m->graph)
		return mica_err_set(g->err, MICA_ERR_CORRUPT,
				    "%s: has no graph: it is not an ONNX model, or truncated; "
				    "export it again",
				    g->name);
	if (imp->opset == 0 && m->n_opset_import && m->opset_import[0]->domain && *m->opset_import[0]->domain)
		return mica_err_set(g->err, MICA_ERR_UNSUPPORTED,
				    "%s: uses only operators of domain '%.100s', which are not supported; export with "
				    "standard ONNX operators",
				    g->name, m->opset_import[0]->domain);
	if (imp->opset == 0)
		return mica_err_set(g->err, MICA_ERR_CORRUPT,
				    "%s: does not say which opset it uses; export the model again",
				    g->name);
	if (imp->opset < 1)
		return mica_err_set(g->err, MICA_ERR_CORRUPT,
				    "%s: opset %lld does not exist; export the model again",
				    g->name, (long long)imp->opset);
	if (imp->opset > ONNX_OPSET_MAX)
		fprintf(stderr, "mica: %s: opset %lld is newer than %d, trying its meaning\n",
			g->name, (long long)imp->opset, ONNX_OPSET_MAX);
	return 0;
}

static struct ir_value *import_const(struct import *c, const struct mica_compile_options *o, const struct mica_onnx_const *k)
{
	const Onnx__ValueInfoProto *in = NULL;
	Onnx__TensorProto *t;
	struct ir_value *v;

	for (size_t i = 0; i < c->p->n_input; i++)
		if (c->p->input[i]->name && !strcmp(c->p->input[i]->name, k->input))
			in = c->p->input[i];
	if (!in || ir_value_find(c->g, k->input)) {
		mica_err_set(c->g->err, MICA_ERR_USAGE, "--const %.200s: %s", k->input, in ? "given twice" : "the model has no such input");
		return NULL;
	}
	if (onnx_is_numbers(k->file))
		return onnx_input_numbers(c->g, c->p, o, in, k->file);
	t = onnx_tensor_file(k->file, c->g->err);
	if (!t)
		return NULL;
	v = onnx_tensor(c->g, t, k->input, k->file);
	onnx__tensor_proto__free_unpacked(t, NULL);
	return v;
}

/* Inputs that the options give as constants (--const). They come first, so that they win over initializers. */
static int import_consts(struct import *c, const struct mica_compile_options *o)
{
	for (unsigned i = 0; i < o->const_count; i++) {
		struct ir_value *v = import_const(c, o, &o->consts[i]);

		if (!v)
			return -(int)c->g->err->code;
		v->scratch = v;
	}
	return 0;
}

static int import_initializers(struct import *c)
{
	char where[256];

	for (size_t i = 0; i < c->p->n_initializer; i++) {
		Onnx__TensorProto *t = c->p->initializer[i];
		const char *name = t->name ? t->name : "";
		struct ir_value *given = ir_value_find(c->g, name);

		if (given && given->scratch) {
			given->scratch = NULL;
			continue;
		}
		snprintf(where, sizeof(where), "initializer '%.200s'", name);
		if (!*name || ir_value_find(c->g, name))
			return mica_err_set(c->g->err, MICA_ERR_CORRUPT,
					    "%s: %s %s; export the model again", c->g->name, where,
					    *name ? "is defined twice" : "has no name");
		if (!onnx_tensor(c->g, t, name, where))
			return -(int)c->g->err->code;
		free(t->raw_data.data);		/* the file's copy of all weights would stay until canonicalize */
		t->raw_data = (ProtobufCBinaryData){ 0 };
	}
	for (unsigned i = 0; i < c->g->values; i++)
		c->g->value[i]->scratch = NULL;
	if (c->p->n_sparse_initializer)
		return mica_err_set(c->g->err, MICA_ERR_UNSUPPORTED,
				    "%s: sparse initializers are not supported; make them dense",
				    c->g->name);
	return 0;
}

/* ---- nodes ---- */

static const char *node_name(const Onnx__NodeProto *n)
{
	if (n->name && *n->name)
		return n->name;
	for (size_t i = 0; i < n->n_output; i++)
		if (n->output[i] && *n->output[i])
			return n->output[i];
	return n->op_type ? n->op_type : "";
}

static int node_fail(struct import *c, const Onnx__NodeProto *n, enum mica_err_code code,
		     const char *what, const char *name)
{
	return mica_err_set(
		c->g->err, code, "%s: node '%.150s' (%.60s): %s'%.200s'; export the model again",
		c->g->name, node_name(n), n->op_type ? n->op_type : "no type", what, name);
}

/* Values for everything that nodes produce; scratch holds the index of the node + 1. */
static int declare_outputs(struct import *c)
{
	for (size_t i = 0; i < c->p->n_node; i++) {
		const Onnx__NodeProto *n = c->p->node[i];

		for (size_t k = 0; k < n->n_output; k++) {
			const char *name = n->output[k];
			struct ir_value *v;

			if (!name || !*name)
				continue;
			if (ir_value_find(c->g, name))
				return node_fail(c, n, MICA_ERR_CORRUPT,
						 "writes a tensor that already exists: ", name);
			v = ir_value_new(c->g, name, MICA_NONE, 0, NULL);
			v->scratch = (void *)(uintptr_t)(i + 1);
		}
	}
	return 0;
}

/* Operands of node i: its own, then what its subgraphs read. */
static size_t operand_count(const struct import *c, size_t i)
{
	return c->p->node[i]->n_input + c->captured[i];
}

static const char *operand_name(const struct import *c, size_t i, size_t k)
{
	const Onnx__NodeProto *n = c->p->node[i];

	return k < n->n_input ? n->input[k] : c->captures[i][k - n->n_input];
}

/* Index of the node behind operand k + 1, or 0. -1: the tensor does not exist. */
static int64_t producer(const struct import *c, size_t i, size_t k)
{
	const char *name = operand_name(c, i, k);
	const struct ir_value *v;

	if (!name || !*name)
		return 0;
	v = ir_value_find(c->g, name);
	return v ? (int64_t)(uintptr_t)v->scratch : -1;
}

/*
 * Nodes in topological order, in file order as far as that is one already. Depth-first from each node with a stack of
 * its own; state[]: 0 new, 1 on the stack, 2 done.
 */
static int sort_nodes(struct import *c, size_t *order)
{
	size_t n = c->p->n_node, done = 0, depth;
	uint8_t *state = ir_alloc(n, 1);
	size_t *stack = ir_alloc(n, sizeof(*stack)), *next = ir_alloc(n, sizeof(*next));
	int r = 0;

	for (size_t root = 0; root < n && !r; root++) {
		if (state[root])
			continue;
		stack[0] = root;
		state[root] = 1;
		for (depth = 1; depth && !r;) {
			size_t i = stack[depth - 1];
			const Onnx__NodeProto *node = c->p->node[i];
			int64_t p;

			if (next[i] == operand_count(c, i)) {
				state[i] = 2;
				order[done++] = i;
				depth--;
				continue;
			}
			p = producer(c, i, next[i]);
			if (p < 0) {
				r = node_fail(c, node, MICA_ERR_CORRUPT,
					      "reads a tensor that nothing defines: ",
					      operand_name(c, i, next[i]));
			} else if (p && state[p - 1] == 1) {
				r = node_fail(c, node, MICA_ERR_CORRUPT,
					      "is part of a cycle through tensor ",
					      operand_name(c, i, next[i]));
			} else if (p && !state[p - 1]) {
				state[p - 1] = 1;
				stack[depth++] = (size_t)p - 1;
			} else {
				next[i]++;
			}
		}
	}
	free(state);
	free(stack);
	free(next);
	return r;
}

/* A Constant node's value, as a tensor. False: of no kind that we know. */
static bool constant_tensor(const Onnx__NodeProto *n, Onnx__TensorProto *made, int64_t *count, const Onnx__TensorProto **t)
{
	made->has_data_type = true;
	*t = NULL;
	for (size_t i = 0; i < n->n_attribute && !*t; i++) {
		Onnx__AttributeProto *a = n->attribute[i];
		const char *name = a->name ? a->name : "";

		if (!strcmp(name, "value") && a->t) {
			*t = a->t;
		} else if (!strncmp(name, "value_float", 11)) {
			bool list = !strcmp(name, "value_floats");

			made->data_type = ONNX_F32;
			made->float_data = list ? a->floats : &a->f;
			*count = (int64_t)(made->n_float_data = list ? a->n_floats : 1);
			made->n_dims = list;
			*t = made;
		} else if (!strncmp(name, "value_int", 9)) {
			bool list = !strcmp(name, "value_ints");

			made->data_type = ONNX_I64;
			made->int64_data = list ? a->ints : &a->i;
			*count = (int64_t)(made->n_int64_data = list ? a->n_ints : 1);
			made->n_dims = list;
			*t = made;
		}
	}
	made->dims = count;
	return *t && n->n_output == 1 && n->output[0] && *n->output[0];
}

struct ir_value *onnx_constant(struct ir_graph *g, const Onnx__NodeProto *n, const char *name)
{
	Onnx__TensorProto made = ONNX__TENSOR_PROTO__INIT;
	const Onnx__TensorProto *t;
	char where[256];
	int64_t count = 0;

	if (!constant_tensor(n, &made, &count, &t)) {
		mica_err_set(g->err, MICA_ERR_UNSUPPORTED,
			     "%s: node '%.150s' (Constant): has no value of a supported kind (tensor, float or int); export the model again",
			     g->name, node_name(n));
		return NULL;
	}
	snprintf(where, sizeof(where), "node '%.150s' (Constant)", node_name(n));
	return onnx_tensor(g, t, name, where);
}

static int import_constant(struct import *c, const Onnx__NodeProto *n)
{
	struct ir_value *declared = n->n_output && n->output[0] ? ir_value_find(c->g, n->output[0]) : NULL;

	if (declared)
		ir_value_remove(c->g, declared);
	return onnx_constant(c->g, n, n->n_output ? n->output[0] : NULL) ? 0 : -(int)c->g->err->code;
}

int onnx_check_node(struct ir_graph *g, const Onnx__NodeProto *n)
{
	if (!n->op_type || !*n->op_type || n->n_output > ONNX_MAX_OUT || n->n_input > 65535)
		return mica_err_set(g->err, MICA_ERR_CORRUPT,
				    "%s: node '%.150s' (%.60s): has no operator type, or too many operands or results; export the model again",
				    g->name, node_name(n), n->op_type ? n->op_type : "no type");
	if (!strncmp(n->op_type, ONNX_OWN, strlen(ONNX_OWN)))
		return mica_err_set(g->err, MICA_ERR_UNSUPPORTED, "%s: node '%.150s' (%.60s): there is no such operator; export with standard ONNX operators",
				    g->name, node_name(n), n->op_type);
	if (n->domain && *n->domain && strcmp(n->domain, "ai.onnx") && strcmp(n->domain, MICROSOFT) && !onnx_function_find(g, n->domain, n->op_type))
		return mica_err_set(g->err, MICA_ERR_UNSUPPORTED,
				    "%s: node '%.150s' (%.60s): operators of domain '%.100s' are "
				    "not supported, nor does the model bring a function of that name; export with standard ONNX operators",
				    g->name, node_name(n), n->op_type, n->domain);
	return 0;
}

static int import_node(struct import *c, size_t i)
{
	Onnx__NodeProto *n = c->p->node[i];
	struct ir_value *outs[ONNX_MAX_OUT];
	size_t ins = operand_count(c, i);
	struct ir_op *op;
	int r = onnx_check_node(c->g, n);

	if (r)
		return r;
	if (!strcmp(n->op_type, "Constant"))
		return import_constant(c, n);
	c->ins = ir_grow(c->ins, &c->ins_cap, (unsigned)ins, sizeof(*c->ins));
	for (size_t k = 0; k < ins; k++) {
		const char *name = operand_name(c, i, k);

		c->ins[k] = name && *name ? ir_value_find(c->g, name) : NULL;
	}
	for (size_t k = 0; k < n->n_output; k++)
		outs[k] = n->output[k] && *n->output[k] ? ir_value_find(c->g, n->output[k]) : NULL;
	if (n->n_output && !outs[0])	/* operators count on their first result */
		outs[0] = ir_value_new(c->g, NULL, MICA_NONE, 0, NULL);
	op = ir_op_new(c->g, IR_ONNX, node_name(n), NULL, c->ins, (unsigned)ins, outs,
		       (unsigned)n->n_output);
	op->onnx_type = onnx_type_of(n);
	op->onnx = n;
	return 0;
}

static void find_captures(struct import *c)
{
	c->captures = ir_alloc(c->p->n_node, sizeof(*c->captures));
	c->captured = ir_alloc(c->p->n_node, sizeof(*c->captured));
	for (size_t i = 0; i < c->p->n_node; i++)
		c->captures[i] = onnx_captures(c->p->node[i], &c->captured[i]);
}

static int import_nodes(struct import *c)
{
	size_t *order = ir_alloc(c->p->n_node, sizeof(*order));
	int r = declare_outputs(c);

	find_captures(c);
	if (!r)
		r = sort_nodes(c, order);
	for (size_t i = 0; i < c->p->n_node && !r; i++)
		r = import_node(c, order[i]);
	for (unsigned i = 0; i < c->g->values; i++)
		if (c->g->value[i])
			c->g->value[i]->scratch = NULL;
	for (size_t i = 0; i < c->p->n_node; i++)
		free(c->captures[i]);
	free(c->captures);
	free(c->captured);
	free(order);
	free(c->ins);
	return r;
}

static int add_output(struct ir_graph *g, const char *name, struct ir_value *v)
{
	if (v->is_output)
		return mica_err_set(g->err, MICA_ERR_USAGE, "--cut=%.200s: given twice", name);
	v->is_output = true;
	g->output_name[g->outputs] = ir_strdup(v->name);
	g->output[g->outputs++] = v;
	return 0;
}

/* --cut: other values than the file's outputs. A node's name stands for its first result. */
static int cut_outputs(struct import *c, const struct mica_compile_options *o)
{
	struct ir_graph *g = c->g;
	int r = 0;

	g->output = ir_alloc(o->cut_count, sizeof(*g->output));
	g->output_name = ir_alloc(o->cut_count, sizeof(*g->output_name));
	for (unsigned i = 0; i < o->cut_count && !r; i++) {
		struct ir_value *v = ir_value_find(g, o->cuts[i]);

		for (struct ir_op *op = g->first; op && !v; op = op->next)
			v = op->outs && !strcmp(op->name, o->cuts[i]) ? op->out[0] : NULL;
		r = v ? add_output(g, o->cuts[i], v) :
			mica_err_set(g->err, MICA_ERR_USAGE, "--cut=%.200s: the model has no tensor and no node of that name", o->cuts[i]);
	}
	return r;
}

static int import_outputs(struct import *c)
{
	struct ir_graph *g = c->g;

	g->output = ir_alloc(c->p->n_output, sizeof(*g->output));
	g->output_name = ir_alloc(c->p->n_output, sizeof(*g->output_name));
	for (size_t i = 0; i < c->p->n_output; i++) {
		const char *name = c->p->output[i]->name ? c->p->output[i]->name : "";
		struct ir_value *v = ir_value_find(g, name);

		if (!v || v->is_output)
			return mica_err_set(
				g->err, MICA_ERR_CORRUPT,
				"%s: graph output '%.200s' is %s; export the model again", g->name,
				name, v ? "listed twice" : "not computed by any node");
		v->is_output = true;
		g->output_name[g->outputs] = ir_strdup(name);
		g->output[g->outputs++] = v;
	}
	if (!g->outputs)
		return mica_err_set(g->err, MICA_ERR_CORRUPT,
				    "%s: the graph has no outputs; export the model again",
				    g->name);
	return 0;
}

/* An input or constant that is an output as well gets a copy under the output's name. */
static void separate_outputs(struct ir_graph *g)
{
	for (unsigned i = 0; i < g->outputs; i++) {
		struct ir_value *v = g->output[i], *copy;
		struct ir_op *op;

		if (!v->is_input && !v->data)
			continue;
		copy = ir_value_new(g, v->name, MICA_NONE, 0, NULL);
		op = ir_op_new(g, IR_ONNX, v->name, NULL, &v, 1, &copy, 1);
		op->onnx_type = ir_strdup("Identity");
		v->is_output = false;
		copy->is_output = true;
		g->output[i] = copy;
	}
}

char *onnx_dir_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = ir_strdup(slash ? path : ".");

	if (slash)
		dir[slash == path ? 1 : slash - path] = 0;
	return dir;
}

int ir_import(struct ir_graph *g, const char *path, const struct mica_compile_options *o)
{
	struct onnx_import *imp = ir_alloc(1, sizeof(*imp));
	struct import c = { .g = g };
	int r;

	g->import = imp;
	g->import_free = onnx_import_free;
	imp->dir = onnx_dir_of(path);
	imp->model = onnx_file_read(path, g->err);
	if (!imp->model)
		return -(int)g->err->code;
	r = find_opset(g, imp);
	c.p = imp->model->graph;
	if (!r)
		r = import_consts(&c, o);
	if (!r)
		r = import_initializers(&c);
	if (!r)
		r = onnx_import_inputs(g, c.p, o);
	if (!r)
		r = import_nodes(&c);
	if (!r)
		r = o->cut_count ? cut_outputs(&c, o) : import_outputs(&c);
	if (!r)
		separate_outputs(g);
	return r;
}
