// SPDX-License-Identifier: MIT
/* Functions that a model brings along: a node that calls one becomes the function's nodes, with the call's attributes. */
#include <stdlib.h>
#include <string.h>
#include "onnx_control.h"

#define DEFAULTS_FIELD 11 /* attributes with default values: newer than the onnx.proto of some systems */

const Onnx__FunctionProto *onnx_function_find(const struct ir_graph *g, const char *domain, const char *type)
{
	const struct onnx_import *imp = g->import;
	const Onnx__ModelProto *m = imp ? imp->model : NULL;

	for (size_t i = 0; m && i < m->n_functions; i++) {
		const Onnx__FunctionProto *f = m->functions[i];

		if (f->name && type && !strcmp(f->name, type) && !strcmp(f->domain ? f->domain : "", domain ? domain : ""))
			return f;
	}
	return NULL;
}

/* Only a node as the file has it calls a function, not what was made of one. */
static const Onnx__FunctionProto *callee(const struct ir_graph *g, const struct ir_op *op)
{
	const Onnx__NodeProto *n = op->onnx;
	const char *type = strrchr(op->onnx_type, '.');

	type = type ? type + 1 : op->onnx_type;
	return op->kind == IR_ONNX && n && n->op_type && !strcmp(n->op_type, type) ? onnx_function_find(g, n->domain, n->op_type) : NULL;
}

bool onnx_is_call(const struct ir_graph *g, const struct ir_op *op)
{
	return callee(g, op) != NULL;
}

/* ---- attributes of the call in place of references to them ---- */

static Onnx__AttributeProto *copy_attribute(const Onnx__AttributeProto *a, const char *name)
{
	size_t n = onnx__attribute_proto__get_packed_size(a);
	uint8_t *bytes = ir_alloc(n, 1);
	Onnx__AttributeProto *copy;

	onnx__attribute_proto__pack(a, bytes);
	copy = onnx__attribute_proto__unpack(NULL, n, bytes);
	free(bytes);
	if (copy) {
		free(copy->name);
		copy->name = ir_strdup(name);
	}
	return copy;
}

/* The function's default for an attribute, to be freed; or NULL. */
static Onnx__AttributeProto *default_of(const Onnx__FunctionProto *f, const char *name)
{
	for (unsigned i = 0; i < f->base.n_unknown_fields; i++) {
		const ProtobufCMessageUnknownField *u = &f->base.unknown_fields[i];
		Onnx__AttributeProto *a;
		size_t skip = 0;

		if (u->tag != DEFAULTS_FIELD || u->wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
			continue;
		while (skip < u->len && u->data[skip] & 0x80)
			skip++;
		skip++;
		a = skip <= u->len ? onnx__attribute_proto__unpack(NULL, u->len - skip, u->data + skip) : NULL;
		if (a && a->name && !strcmp(a->name, name))
			return a;
		if (a)
			onnx__attribute_proto__free_unpacked(a, NULL);
	}
	return NULL;
}

static Onnx__AttributeProto *resolved(const Onnx__FunctionProto *f, const struct ir_op *call, const Onnx__AttributeProto *ref)
{
	const Onnx__AttributeProto *given = onnx_attr(call, ref->ref_attr_name);
	Onnx__AttributeProto *def = given ? NULL : default_of(f, ref->ref_attr_name), *copy = NULL;

	if (given || def)
		copy = copy_attribute(given ? given : def, ref->name ? ref->name : "");
	if (def)
		onnx__attribute_proto__free_unpacked(def, NULL);
	return copy;
}

static void resolve_nodes(const Onnx__FunctionProto *f, const struct ir_op *call, Onnx__NodeProto **node, size_t nodes);

/* An attribute that neither the call nor the function gives is absent. */
static void resolve_node(const Onnx__FunctionProto *f, const struct ir_op *call, Onnx__NodeProto *n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n->n_attribute; i++) {
		Onnx__AttributeProto *a = n->attribute[i];

		if (a->ref_attr_name && *a->ref_attr_name) {
			Onnx__AttributeProto *is = resolved(f, call, a);

			onnx__attribute_proto__free_unpacked(a, NULL);
			a = is;
		} else if (a->g) {
			resolve_nodes(f, call, a->g->node, a->g->n_node);
		}
		if (a)
			n->attribute[kept++] = a;
	}
	n->n_attribute = kept;
}

static void resolve_nodes(const Onnx__FunctionProto *f, const struct ir_op *call, Onnx__NodeProto **node, size_t nodes)
{
	for (size_t i = 0; i < nodes; i++)
		resolve_node(f, call, node[i]);
}

static bool has_references(Onnx__NodeProto *const *node, size_t nodes)
{
	for (size_t i = 0; i < nodes; i++)
		for (size_t k = 0; k < node[i]->n_attribute; k++) {
			const Onnx__AttributeProto *a = node[i]->attribute[k];

			if ((a->ref_attr_name && *a->ref_attr_name) || (a->g && has_references(a->g->node, a->g->n_node)))
				return true;
		}
	return false;
}

/* The function as this call means it: itself, or a copy that the import owns. */
static const Onnx__FunctionProto *instance(struct ir_graph *g, const Onnx__FunctionProto *f, const struct ir_op *call)
{
	struct onnx_import *imp = g->import;
	Onnx__FunctionProto *copy;
	uint8_t *bytes;
	size_t n;

	if (!has_references(f->node, f->n_node))
		return f;
	n = onnx__function_proto__get_packed_size(f);
	bytes = ir_alloc(n, 1);
	onnx__function_proto__pack(f, bytes);
	copy = onnx__function_proto__unpack(NULL, n, bytes);
	free(bytes);
	if (!copy)
		return NULL;
	resolve_nodes(copy, call, copy->node, copy->n_node);
	imp->copies = ir_grow(imp->copies, &imp->copy_cap, imp->copy_count + 1, sizeof(*imp->copies));
	imp->copies[imp->copy_count++] = copy;
	return copy;
}

/* ---- the call ---- */

static int opset_of(const struct ir_graph *g, const Onnx__FunctionProto *f)
{
	for (size_t i = 0; i < f->n_opset_import; i++) {
		const char *d = f->opset_import[i]->domain;

		if ((!d || !*d || !strcmp(d, "ai.onnx")) && f->opset_import[i]->version > 0 && f->opset_import[i]->version < 1000)
			return (int)f->opset_import[i]->version;
	}
	return (int)onnx_opset(g);
}

int onnx_call(struct ir_graph *g, struct ir_op *op, struct ir_op **next)
{
	const Onnx__FunctionProto *f = callee(g, op);
	struct ir_op *before = op->prev;
	struct ir_value **out;
	int r;

	if (op->ins > f->n_input || op->outs > f->n_output)
		return onnx_fail(g, op, MICA_ERR_CORRUPT, "has %u operands and %u results, its function %zu and %zu; export the model again", op->ins,
				 op->outs, f->n_input, f->n_output);
	f = instance(g, f, op);
	if (!f)
		return onnx_fail(g, op, MICA_ERR_MEMORY, "its function cannot be copied");
	out = ir_alloc(f->n_output, sizeof(*out));
	r = onnx_inline_function(g, op, f, opset_of(g, f), out);
	for (unsigned i = 0; i < op->outs && !r; i++) {
		if (op->out[i] && out[i])
			ir_value_replace(g, op->out[i], onnx_control_op(g, "Identity", op, op, &out[i], 1)->out[0]);
		else if (op->out[i] && op->out[i]->uses + op->out[i]->is_output)
			r = onnx_fail(g, op, MICA_ERR_CORRUPT, "its function does not compute result %u; export the model again", i);
	}
	free(out);
	if (r)
		return r;
	ir_op_remove(g, op);
	*next = before ? before->next : g->first;
	return 0;
}
