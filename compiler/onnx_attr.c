// SPDX-License-Identifier: MIT
/* Attributes of imported nodes, and the messages that name a node. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "onnx.h"

int64_t onnx_opset(const struct ir_graph *g)
{
	return ((const struct onnx_import *)g->import)->opset;
}

/* Inside an If that run time decides, what fails may be a branch that nobody takes. */
static void hint_undecided(struct ir_graph *g, const struct ir_op *op, char *dst, size_t size)
{
	const struct onnx_import *imp = g->import;
	size_t n = imp && imp->undecided && op->name ? strlen(imp->undecided) : 0;

	*dst = 0;
	if (n && !strncmp(op->name, imp->undecided, n) && op->name[n] == '/')
		snprintf(dst, size, " (both branches of '%.100s' are computed, because only run time decides; --const=%.100s=VALUE leaves one)",
			 imp->undecided, imp->decider ? imp->decider : "INPUT");
}

void onnx_enter(struct ir_graph *g, const struct ir_op *op)
{
	struct onnx_import *imp = g->import;

	if (imp)
		imp->opset = op->opset ? op->opset : imp->model_opset;
}

char *onnx_type_of(const Onnx__NodeProto *n)
{
	char *s;

	if (!n->domain || !*n->domain || !strcmp(n->domain, "ai.onnx"))
		return ir_strdup(n->op_type);
	if (asprintf(&s, "%.100s.%.100s", n->domain, n->op_type) < 0)
		abort();
	return s;
}

int onnx_fail(struct ir_graph *g, const struct ir_op *op, enum mica_err_code code, const char *fmt,
	      ...)
{
	char text[640], hint[384];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	hint_undecided(g, op, hint, sizeof(hint));
	return mica_err_set(g->err, code, "%s: node '%.150s' (%.60s): %s%s", g->name, op->name,
			    op->onnx_type, text, hint);
}

int onnx_room(struct ir_graph *g, const struct ir_op *op, int64_t a, int64_t b)
{
	int64_t most = (int64_t)((IR_MAX_FOLDED - g->folded) / sizeof(float));

	if (a > 0 && b > most / a)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "needs a constant of %lld x %lld numbers, too many; make its operands smaller",
				 (long long)a, (long long)b);
	g->folded += (size_t)(a * b) * sizeof(float);
	return 0;
}

const Onnx__AttributeProto *onnx_attr(const struct ir_op *op, const char *name)
{
	const Onnx__NodeProto *n = op->onnx; /* NULL: made by the importer */

	for (size_t i = 0; n && i < n->n_attribute; i++)
		if (n->attribute[i]->name && !strcmp(n->attribute[i]->name, name))
			return n->attribute[i];
	return NULL;
}

int64_t onnx_int(const struct ir_op *op, const char *name, int64_t def)
{
	const Onnx__AttributeProto *a = onnx_attr(op, name);

	return a && a->has_i ? a->i : def;
}

float onnx_float(const struct ir_op *op, const char *name, float def)
{
	const Onnx__AttributeProto *a = onnx_attr(op, name);

	return a && a->has_f ? a->f : def;
}

bool onnx_is(const struct ir_op *op, const char *name, const char *want, const char *def)
{
	const Onnx__AttributeProto *a = onnx_attr(op, name);

	if (!a || !a->has_s)
		return !strcmp(want, def);
	return a->s.len == strlen(want) && !memcmp(a->s.data, want, a->s.len);
}

size_t onnx_ints(const struct ir_op *op, const char *name, const int64_t **list)
{
	const Onnx__AttributeProto *a = onnx_attr(op, name);

	*list = a ? a->ints : NULL;
	return a ? a->n_ints : 0;
}

int onnx_int_list(struct ir_graph *g, struct ir_op *op, const char *name, int *dst, unsigned n,
		  int def, int lo, int hi)
{
	const int64_t *list;
	size_t have = onnx_ints(op, name, &list);

	if (have && have != n)
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "attribute %s has %zu entries where %u are needed; check the "
				 "model",
				 name, have, n);
	for (unsigned i = 0; i < n; i++) {
		if (have && (list[i] < lo || list[i] > hi))
			return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
					 "attribute %s holds %lld, outside %d..%d; check the model",
					 name, (long long)list[i], lo, hi);
		dst[i] = have ? (int)list[i] : def;
	}
	return 0;
}

static int not_constant(struct ir_graph *g, struct ir_op *op, const char *name,
			const struct ir_value *v)
{
	return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
			 "operand %s ('%.100s') is not a constant of the right type; shapes must "
			 "be static: "
			 "fix the input with --shape, or simplify the model (constant folding) "
			 "before compiling",
			 name, v->name);
}

static int64_t *copy_list(const int64_t *src, size_t n)
{
	int64_t *list = ir_alloc(n + 1, sizeof(*list));

	if (n)
		memcpy(list, src, n * sizeof(*list));
	return list;
}

int onnx_const_list(struct ir_graph *g, struct ir_op *op, const char *name,
		    const struct ir_value *v, int64_t **list, size_t *n)
{
	*list = NULL;
	*n = 0;
	if (!v->data || v->dtype != IR_I64 || v->rank > 1)
		return not_constant(g, op, name, v);
	*n = (size_t)ir_elements(v);
	*list = copy_list(v->data, *n);
	return 0;
}

int onnx_list(struct ir_graph *g, struct ir_op *op, const char *name, unsigned in, int64_t **list,
	      size_t *n)
{
	const struct ir_value *v = ir_op_in(op, in);
	const Onnx__AttributeProto *a = onnx_attr(op, name);

	*list = NULL;
	*n = 0;
	if (v)
		return onnx_const_list(g, op, name, v, list, n);
	if (a) {
		*n = a->n_ints;
		*list = copy_list(a->ints, *n);
	}
	return 0;
}

int onnx_scalar(struct ir_graph *g, struct ir_op *op, const char *name, unsigned in, float *value,
		bool *have)
{
	const struct ir_value *v = in ? ir_op_in(op, in) : NULL;
	const Onnx__AttributeProto *a = onnx_attr(op, name);

	*have = true;
	if (v) {
		if (!v->data || ir_elements(v) != 1 || (v->dtype != MICA_F32 && v->dtype != IR_I64))
			return not_constant(g, op, name, v);
		*value = v->dtype == MICA_F32 ? *(float *)v->data : (float)*(int64_t *)v->data;
	} else if (a && a->has_f) {
		*value = a->f;
	} else {
		*have = false;
	}
	return 0;
}

int onnx_axis(struct ir_graph *g, struct ir_op *op, int64_t axis, unsigned rank)
{
	if (axis < -(int64_t)rank || axis >= (int64_t)rank)
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "axis %lld is outside the operand's %u dimensions; check the "
				 "model",
				 (long long)axis, rank);
	return (int)(axis < 0 ? axis + rank : axis);
}

int onnx_out(struct ir_graph *g, struct ir_op *op, unsigned i, int dtype, unsigned rank,
	     const int64_t *dim)
{
	struct ir_value *v = i < op->outs ? op->out[i] : NULL;

	if (!v)
		return 0;
	if (rank > IR_MAX_RANK)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "result has %u dimensions, the limit is %d; reshape it in the "
				 "model",
				 rank, IR_MAX_RANK);
	if (!ir_dims_ok(rank, dim, IR_MAX_ELEMENTS))
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "result has a negative dimension or more than 2^31 elements; "
				 "check the model and --shape");
	v->dtype = dtype;
	v->elem = op->ins && ir_op_in(op, 0) && ir_op_in(op, 0)->dtype == dtype ?
			  ir_op_in(op, 0)->elem :
			  0;
	v->rank = rank;
	for (unsigned d = 0; d < rank; d++)
		v->dim[d] = dim[d];
	return 0;
}

int onnx_broadcast(struct ir_graph *g, struct ir_op *op, int dtype)
{
	int64_t dim[IR_MAX_RANK];
	unsigned rank = 0;

	for (unsigned i = 0; i < op->ins; i++)
		if (ir_op_in(op, i) && ir_op_in(op, i)->rank > rank)
			rank = ir_op_in(op, i)->rank;
	for (unsigned d = 0; d < rank; d++)
		dim[d] = 1;
	for (unsigned i = 0; i < op->ins; i++) {
		const struct ir_value *v = ir_op_in(op, i);

		for (unsigned d = 0; v && d < v->rank; d++) {
			int64_t *o = &dim[rank - v->rank + d];

			if (v->dim[d] != 1 && *o != 1 && v->dim[d] != *o)
				return onnx_fail(g, op, MICA_ERR_SHAPE,
						 "operands cannot be broadcast: extents %lld and "
						 "%lld ('%.100s'); check the model and --shape",
						 (long long)*o, (long long)v->dim[d], v->name);
			if (v->dim[d] != 1)
				*o = v->dim[d];
		}
	}
	return onnx_out(g, op, 0, dtype, rank, dim);
}
