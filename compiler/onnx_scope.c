// SPDX-License-Identifier: MIT
/* Names of nested graphs: what a node's subgraphs read from outside, and inlining a subgraph in front of an operator. */
#include <stdlib.h>
#include <string.h>
#include "onnx_control.h"

/* ---- maps from names to values ---- */

struct entry { const char *name; struct ir_value *value; };

struct onnx_scope {
	struct entry *slot;
	unsigned used, slots;		/* slots: a power of two, or 0 */
};

static size_t hash(const char *s)
{
	size_t h = 14695981039346656037ull;

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 1099511628211ull;
	return h;
}

static struct entry *slot_of(const struct onnx_scope *s, const char *name)
{
	size_t i = hash(name) & (s->slots - 1);

	while (s->slot[i].name && strcmp(s->slot[i].name, name))
		i = (i + 1) & (s->slots - 1);
	return &s->slot[i];
}

static void grow(struct onnx_scope *s)
{
	struct onnx_scope old = *s;

	s->slots = old.slots ? 2 * old.slots : 32;
	s->slot = ir_alloc(s->slots, sizeof(*s->slot));
	for (unsigned i = 0; i < old.slots; i++)
		if (old.slot[i].name)
			*slot_of(s, old.slot[i].name) = old.slot[i];
	free(old.slot);
}

/* False when the name is there already. The string is borrowed. */
static bool scope_add(struct onnx_scope *s, const char *name, struct ir_value *v)
{
	struct entry *e;

	if (2 * (s->used + 1) > s->slots)
		grow(s);
	e = slot_of(s, name);
	if (e->name)
		return false;
	*e = (struct entry){ name, v };
	s->used++;
	return true;
}

static bool scope_has(const struct onnx_scope *s, const char *name)
{
	return s->slots && slot_of(s, name)->name;
}

static struct ir_value *scope_find(const struct onnx_scope *s, const char *name)
{
	return s->slots ? slot_of(s, name)->value : NULL;
}

/* ---- what subgraphs read from outside ---- */

struct captures {
	struct onnx_scope seen;
	const char **name;
	unsigned count, cap;
};

static void walk_node(struct captures *c, const Onnx__NodeProto *n);

static bool present(const char *name)
{
	return name && *name;
}

static void capture(struct captures *c, const struct onnx_scope *inside, const char *name)
{
	if (!present(name) || scope_has(inside, name) || !scope_add(&c->seen, name, NULL))
		return;
	c->name = ir_grow(c->name, &c->cap, c->count + 1, sizeof(*c->name));
	c->name[c->count++] = name;
}

/* Free names of one subgraph; nesting is as deep as the reader lets files be (onnx_file.c). */
static void walk_graph(struct captures *c, const Onnx__GraphProto *p)
{
	struct onnx_scope inside = { 0 };
	struct captures inner = { 0 };

	for (size_t i = 0; i < p->n_input; i++)
		if (present(p->input[i]->name))
			scope_add(&inside, p->input[i]->name, NULL);
	for (size_t i = 0; i < p->n_initializer; i++)
		if (present(p->initializer[i]->name))
			scope_add(&inside, p->initializer[i]->name, NULL);
	for (size_t i = 0; i < p->n_node; i++)
		for (size_t k = 0; k < p->node[i]->n_output; k++)
			if (present(p->node[i]->output[k]))
				scope_add(&inside, p->node[i]->output[k], NULL);
	for (size_t i = 0; i < p->n_node; i++) {
		for (size_t k = 0; k < p->node[i]->n_input; k++)
			capture(c, &inside, p->node[i]->input[k]);
		walk_node(&inner, p->node[i]);
	}
	for (size_t i = 0; i < p->n_output; i++)
		capture(c, &inside, p->output[i]->name);
	for (unsigned i = 0; i < inner.count; i++)
		capture(c, &inside, inner.name[i]);
	free(inner.name);
	free(inner.seen.slot);
	free(inside.slot);
}

static void walk_node(struct captures *c, const Onnx__NodeProto *n)
{
	for (size_t i = 0; i < n->n_attribute; i++) {
		if (n->attribute[i]->g)
			walk_graph(c, n->attribute[i]->g);
		for (size_t k = 0; k < n->attribute[i]->n_graphs; k++)
			walk_graph(c, n->attribute[i]->graphs[k]);
	}
}

const char **onnx_captures(const Onnx__NodeProto *n, unsigned *count)
{
	struct captures c = { 0 };

	walk_node(&c, n);
	free(c.seen.slot);
	*count = c.count;
	return c.name;
}

/* ---- inlining ---- */

struct inlining {
	struct ir_graph *g;
	struct ir_op *at;
	int opset;
	struct onnx_scope scope;
};

static int lookup(struct inlining *in, const char *name, struct ir_value **v)
{
	*v = NULL;
	if (!present(name))
		return 0;
	*v = scope_find(&in->scope, name);
	return *v || scope_has(&in->scope, name) ? 0 : onnx_fail(in->g, in->at, MICA_ERR_CORRUPT,
				  "its subgraph reads the tensor '%.150s' before anything defines it; export the model again", name);
}

static int define(struct inlining *in, const char *name, struct ir_value *v)
{
	return scope_add(&in->scope, name, v) ? 0
					      : onnx_fail(in->g, in->at, MICA_ERR_CORRUPT,
							  "its subgraph defines the tensor '%.150s' twice; export the model again", name);
}

static char *inner_name(const struct inlining *in, const Onnx__NodeProto *n)
{
	const char *own = present(n->name) ? n->name : n->n_output && present(n->output[0]) ? n->output[0] : n->op_type;
	char *s;

	if (asprintf(&s, "%.200s/%.200s", in->at->name, own) < 0)
		abort();
	return s;
}

static int inline_constant(struct inlining *in, const Onnx__NodeProto *n)
{
	struct ir_value *v = onnx_constant(in->g, n, NULL);

	if (!v)
		return -(int)in->g->err->code;
	return define(in, n->output[0], v);
}

static int inline_operator(struct inlining *in, Onnx__NodeProto *n)
{
	unsigned captured, total;
	const char **names = onnx_captures(n, &captured);
	struct ir_value **ins, *outs[ONNX_MAX_OUT] = { NULL };
	char *name = inner_name(in, n);
	struct ir_op *op;
	int r = 0;

	total = (unsigned)n->n_input + captured;
	ins = ir_alloc(total, sizeof(*ins));
	for (unsigned i = 0; i < total && !r; i++)
		r = lookup(in, i < n->n_input ? n->input[i] : names[i - n->n_input], &ins[i]);
	for (size_t i = 0; i < n->n_output && !r; i++) {
		if (!present(n->output[i]))
			continue;
		outs[i] = ir_value_new(in->g, NULL, MICA_NONE, 0, NULL);
		r = define(in, n->output[i], outs[i]);
	}
	if (!r) {
		op = ir_op_new(in->g, IR_ONNX, name, in->at, ins, total, outs, (unsigned)n->n_output);
		op->onnx_type = onnx_type_of(n);
		op->onnx = n;
		op->opset = in->opset;
	}
	free(ins);
	free(names);
	free(name);
	return r;
}

static int inline_node(struct inlining *in, Onnx__NodeProto *n)
{
	int r = onnx_check_node(in->g, n);

	if (r)
		return r;
	return strcmp(n->op_type, "Constant") ? inline_operator(in, n) : inline_constant(in, n);
}

static int inline_initializers(struct inlining *in, const Onnx__GraphProto *p)
{
	int r = 0;

	for (size_t i = 0; i < p->n_initializer && !r; i++) {
		const char *name = p->initializer[i]->name;
		struct ir_value *v;

		if (!present(name) || scope_has(&in->scope, name))
			continue;
		v = onnx_tensor(in->g, p->initializer[i], NULL, in->at->name);
		r = v ? define(in, name, v) : -(int)in->g->err->code;
	}
	return r;
}

static int count_nodes(struct ir_graph *g, const struct ir_op *at, size_t nodes)
{
	struct onnx_import *imp = g->import;

	imp->inlined += nodes + 1;
	return imp->inlined <= ONNX_MAX_INLINED
		       ? 0
		       : onnx_fail(g, at, MICA_ERR_UNSUPPORTED, "unrolled, it has more than %d operators; cut the model in front of it (--cut)", ONNX_MAX_INLINED);
}

int onnx_inline(struct ir_graph *g, struct ir_op *at, const Onnx__GraphProto *p, struct ir_value *const *in, struct ir_value **out)
{
	struct inlining c = { .g = g, .at = at, .opset = at->opset };
	const Onnx__NodeProto *node = at->onnx;
	unsigned captured;
	const char **names = onnx_captures(node, &captured);
	int r = count_nodes(g, at, p->n_node);

	for (size_t i = 0; i < p->n_input && !r; i++)
		r = define(&c, p->input[i]->name ? p->input[i]->name : "", in[i]);
	for (unsigned i = 0; i < captured && !r; i++)
		if (!scope_has(&c.scope, names[i]))
			r = define(&c, names[i], ir_op_in(at, (unsigned)node->n_input + i));
	if (!r)
		r = inline_initializers(&c, p);
	for (size_t i = 0; i < p->n_node && !r; i++)
		r = inline_node(&c, p->node[i]);
	for (size_t i = 0; i < p->n_output && !r; i++) {
		r = lookup(&c, p->output[i]->name, &out[i]);
		if (!r && !out[i])
			r = onnx_fail(g, at, MICA_ERR_CORRUPT, "output %zu of its subgraph has no name; export the model again", i);
	}
	free(names);
	free(c.scope.slot);
	return r;
}

int onnx_inline_function(struct ir_graph *g, struct ir_op *at, const Onnx__FunctionProto *f, int opset, struct ir_value **out)
{
	struct inlining c = { .g = g, .at = at, .opset = opset };
	int r = count_nodes(g, at, f->n_node);

	for (size_t i = 0; i < f->n_input && !r; i++)	/* operands that the call leaves out are absent */
		r = define(&c, f->input[i] ? f->input[i] : "", ir_op_in(at, (unsigned)i));
	for (size_t i = 0; i < f->n_node && !r; i++)
		r = inline_node(&c, f->node[i]);
	for (size_t i = 0; i < f->n_output && !r; i++)
		r = lookup(&c, f->output[i], &out[i]);
	free(c.scope.slot);
	return r;
}
