// SPDX-License-Identifier: MIT
/* The inputs of a model: their shapes from the file or from --shape, and messages that list them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "onnx.h"

struct inputs {
	struct ir_graph *g;
	const Onnx__GraphProto *p;
	const struct mica_compile_options *o;
};

static const char *shape_option(const struct mica_compile_options *o, const char *name)
{
	size_t n = strlen(name);

	for (unsigned i = o->shape_count; i-- > 0;)
		if (!strncmp(o->shapes[i], name, n) && o->shapes[i][n] == '=')
			return o->shapes[i] + n + 1;
	return NULL;
}

/* The size that --dim gives a named dimension, or 0. The last one counts. */
static int64_t dim_option(const struct mica_compile_options *o, const char *name)
{
	size_t n = strlen(name);

	for (unsigned i = o->dim_count; n && i-- > 0;)
		if (!strncmp(o->dims[i], name, n) && o->dims[i][n] == '=')
			return strtoll(o->dims[i] + n + 1, NULL, 10);
	return 0;
}

static int parse_shape(struct inputs *c, const char *name, const char *text, struct ir_value *v)
{
	v->rank = 0;
	for (const char *p = text; *p;) {
		char *end;
		long long d = strtoll(p, &end, 10);

		if (end == p || d <= 0 || d > INT32_MAX || v->rank == IR_MAX_RANK ||
		    (*end && *end != ',') || (*end && !end[1]))
			return mica_err_set(c->g->err, MICA_ERR_USAGE,
					    "--shape %s=%s: not a list of at most %d positive "
					    "dimensions like 1,3,224,224",
					    name, text, IR_MAX_RANK);
		v->dim[v->rank++] = d;
		p = *end ? end + 1 : end;
	}
	return 0;
}

static const Onnx__TypeProto__Tensor *tensor_type(const Onnx__ValueInfoProto *in)
{
	return in->type && in->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE
		       ? in->type->tensor_type
		       : NULL;
}

static const char *dim_name(const Onnx__TensorShapeProto__Dimension *d)
{
	bool named = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM && d->dim_param;

	return named ? d->dim_param : "";
}

/* Dims from the file, named ones by --dim (o may be NULL); 0 stands for an unknown one. False when even the rank is unknown. */
static bool declared_shape(const Onnx__ValueInfoProto *in, const struct mica_compile_options *o, struct ir_value *v)
{
	const Onnx__TypeProto__Tensor *t = tensor_type(in);
	const Onnx__TensorShapeProto *s = t ? t->shape : NULL;

	if (!s || s->n_dim > IR_MAX_RANK)
		return false;
	v->rank = (unsigned)s->n_dim;
	for (unsigned i = 0; i < v->rank; i++)
		v->dim[i] =
			s->dim[i]->value_case ==
						ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
					s->dim[i]->dim_value > 0
				? s->dim[i]->dim_value
				: o ? dim_option(o, dim_name(s->dim[i])) : 0;
	return true;
}

static void describe_shape(FILE *f, const Onnx__ValueInfoProto *in)
{
	struct ir_value v = { 0 };

	fprintf(f, "%s[", in->name);
	if (!declared_shape(in, NULL, &v))
		fputs("?", f);
	for (unsigned i = 0; i < v.rank; i++) {
		const Onnx__TensorShapeProto__Dimension *d = tensor_type(in)->shape->dim[i];

		fputs(i ? "," : "", f);
		if (v.dim[i])
			fprintf(f, "%lld", (long long)v.dim[i]);
		else
			fputs(*dim_name(d) ? dim_name(d) : "?", f);
	}
	fputs("]", f);
}

static bool is_initializer(const struct inputs *c, const char *name)
{
	const struct ir_value *v = ir_value_find(c->g, name);

	return v && v->data;
}

static char *list_inputs(const struct inputs *c)
{
	char *s = NULL;
	size_t n = 0, shown = 0;
	FILE *f = open_memstream(&s, &n);

	for (size_t i = 0; f && i < c->p->n_input && n < 600; i++) {
		if (!c->p->input[i]->name || is_initializer(c, c->p->input[i]->name))
			continue;
		fputs(shown++ ? ", " : "", f);
		describe_shape(f, c->p->input[i]);
		fflush(f);
	}
	if (!f || fclose(f))
		abort();
	return s;
}

static bool has_names(const Onnx__ValueInfoProto *in)
{
	const Onnx__TypeProto__Tensor *t = tensor_type(in);

	for (size_t i = 0; t && t->shape && i < t->shape->n_dim; i++)
		if (*dim_name(t->shape->dim[i]))
			return true;
	return false;
}

static int shape_missing(struct inputs *c, const Onnx__ValueInfoProto *in)
{
	char *all = list_inputs(c);
	int r = mica_err_set(c->g->err, MICA_ERR_SHAPE,
			     "%s: input '%.100s' has no fixed shape; pass --shape %.100s=D,D,..%s "
			     "(the model's inputs: %.600s)",
			     c->g->name, in->name, in->name, has_names(in) ? " or --dim NAME=N" : "", all);

	free(all);
	return r;
}

static int input_type(struct inputs *c, const Onnx__ValueInfoProto *in)
{
	const Onnx__TypeProto__Tensor *t = tensor_type(in);
	int dtype = t && t->has_elem_type ? onnx_dtype(t->elem_type) : MICA_NONE;

	if (!t)
		mica_err_set(c->g->err, MICA_ERR_UNSUPPORTED,
			     "%s: input '%.200s' is not a tensor; cut the model behind it",
			     c->g->name, in->name);
	else if (dtype == MICA_NONE)
		mica_err_set(c->g->err, MICA_ERR_UNSUPPORTED,
			     "%s: input '%.200s' has element type %d (%s), which is not supported; "
			     "use float",
			     c->g->name, in->name, t->elem_type, onnx_type_name(t->elem_type));
	return dtype;
}

static int import_input(struct inputs *c, const Onnx__ValueInfoProto *in)
{
	struct ir_graph *g = c->g;
	struct ir_value shape = { 0 }, *v;
	bool ok = declared_shape(in, c->o, &shape);
	const char *opt = shape_option(c->o, in->name);
	int dtype = input_type(c, in);

	if (dtype == MICA_NONE)
		return -(int)g->err->code;
	if (opt && parse_shape(c, in->name, opt, &shape))
		return -MICA_ERR_USAGE;
	for (unsigned i = 0; i < shape.rank; i++)
		ok = ok && (opt || shape.dim[i] > 0);
	if (!ok && !opt)
		return shape_missing(c, in);
	if (!ir_dims_ok(shape.rank, shape.dim, IR_MAX_ELEMENTS))
		return mica_err_set(g->err, MICA_ERR_SHAPE,
				    "%s: input '%.200s' has more than 2^31 elements; pass a "
				    "smaller --shape",
				    g->name, in->name);
	v = ir_value_new(g, in->name, dtype, shape.rank, shape.dim);
	v->is_input = true;
	v->elem = tensor_type(in)->elem_type;
	g->input = realloc(g->input, (g->inputs + 1) * sizeof(*g->input));
	if (!g->input)
		abort();
	g->input[g->inputs++] = v;
	return 0;
}

/* ---- --const=NAME=NUMBERS ---- */

static bool number(const char *p, char **end, double *value)
{
	*value = strtod(p, end);
	return *end != p && (!**end || (**end == ',' && (*end)[1]));
}

bool onnx_is_numbers(const char *text)
{
	char *end = (char *)text;
	double v;

	for (const char *p = text; number(p, &end, &v) && *end;)
		p = end + 1;
	return *text && !*end;
}

static void store(void *data, int dtype, int64_t i, double x)
{
	switch (dtype) {
	case MICA_F32: ((float *)data)[i] = (float)x; break;
	case IR_I64: ((int64_t *)data)[i] = fabs(x) < 0x1p63 ? (int64_t)x : INT64_MAX; break;
	case IR_BOOL: ((uint8_t *)data)[i] = x != 0; break;
	case MICA_U8: ((uint8_t *)data)[i] = x > 0 ? x < UINT8_MAX ? (uint8_t)x : UINT8_MAX : 0; break;
	default: ((int8_t *)data)[i] = x > INT8_MIN ? x < INT8_MAX ? (int8_t)x : INT8_MAX : INT8_MIN;
	}
}

struct ir_value *onnx_input_numbers(struct ir_graph *g, const Onnx__GraphProto *p, const struct mica_compile_options *o,
				    const Onnx__ValueInfoProto *in, const char *text)
{
	struct inputs c = { g, p, o };
	const char *opt = shape_option(o, in->name);
	struct ir_value shape = { 0 }, *v;
	int dtype = input_type(&c, in);
	bool ok = declared_shape(in, c.o, &shape);
	int64_t count = 1, i = 0;
	char *end = (char *)text;
	double x = 0;

	if (dtype == MICA_E4M3 || dtype == MICA_E5M2)
		mica_err_set(g->err, MICA_ERR_UNSUPPORTED, "--const %.200s: is of an 8-bit float type; give it as a file (.pb)", in->name);
	if (g->err->code || (opt && parse_shape(&c, in->name, opt, &shape)))
		return NULL;
	for (const char *t = text; (t = strchr(t, ',')); t++)
		count++;
	for (unsigned k = 0; k < shape.rank; k++)
		ok = ok && (opt || shape.dim[k] > 0);
	if ((!ok && !opt) || !ir_dims_ok(shape.rank, shape.dim, INT32_MAX)) {
		shape_missing(&c, in);
		return NULL;
	}
	v = ir_const_new(g, in->name, dtype, shape.rank, shape.dim, NULL);
	v->elem = tensor_type(in)->elem_type;
	if (count != 1 && count != ir_elements(v)) {
		mica_err_set(g->err, MICA_ERR_USAGE, "--const %.200s: has %lld numbers; the input has %lld elements (one number fills all)",
			     in->name, (long long)count, (long long)ir_elements(v));
		return NULL;
	}
	for (const char *t = text; i < ir_elements(v); i++) {
		if (!i || count > 1)
			number(t, &end, &x);
		store(v->data, dtype, i, x);
		t = *end ? end + 1 : end;
	}
	return v;
}

static int check_shape_options(struct inputs *c)
{
	for (unsigned i = 0; i < c->o->shape_count; i++) {
		const char *eq = strchr(c->o->shapes[i], '=');
		bool found = false;

		for (size_t k = 0; eq && k < c->p->n_input && !found; k++)
			found = strlen(c->p->input[k]->name) == (size_t)(eq - c->o->shapes[i]) &&
				!strncmp(c->p->input[k]->name, c->o->shapes[i], (size_t)(eq - c->o->shapes[i]));
		if (!found) {
			char *all = list_inputs(c);

			mica_err_set(
				c->g->err, MICA_ERR_USAGE,
				"--shape %.100s: %s (the model's inputs: %.600s)", c->o->shapes[i],
				eq ? "the model has no such input" : "give it as NAME=D,D,..", all);
			free(all);
			return -MICA_ERR_USAGE;
		}
	}
	return 0;
}

/* Does any input have a dimension called text[0..n-1]? */
static bool names_dimension(const struct inputs *c, const char *text, size_t n)
{
	for (size_t i = 0; i < c->p->n_input; i++) {
		const Onnx__TypeProto__Tensor *t = tensor_type(c->p->input[i]);

		for (size_t k = 0; t && t->shape && k < t->shape->n_dim; k++) {
			const char *name = dim_name(t->shape->dim[k]);

			if (n && strlen(name) == n && !strncmp(name, text, n))
				return true;
		}
	}
	return false;
}

static int check_dim_options(struct inputs *c)
{
	for (unsigned i = 0; i < c->o->dim_count; i++) {
		const char *text = c->o->dims[i], *eq = strrchr(text, '=');
		char *end = NULL, *all;
		long long n = eq ? strtoll(eq + 1, &end, 10) : 0;

		if (!eq || end == eq + 1 || *end || n < 1 || n > INT32_MAX)
			return mica_err_set(c->g->err, MICA_ERR_USAGE, "--dim %.100s: give it as NAME=N, N a positive number", text);
		if (names_dimension(c, text, (size_t)(eq - text)))
			continue;
		all = list_inputs(c);
		mica_err_set(c->g->err, MICA_ERR_USAGE, "--dim %.100s: no input has a dimension of that name (the model's inputs: %.600s)", text, all);
		free(all);
		return -MICA_ERR_USAGE;
	}
	return 0;
}

int onnx_import_inputs(struct ir_graph *g, const Onnx__GraphProto *p,
		       const struct mica_compile_options *o)
{
	struct inputs own = { g, p, o }, *c = &own;

	if (check_dim_options(c))
		return -MICA_ERR_USAGE;
	for (size_t i = 0; i < c->p->n_input; i++) {
		const Onnx__ValueInfoProto *in = c->p->input[i];
		const struct ir_value *v = in->name ? ir_value_find(c->g, in->name) : NULL;

		if (!in->name || !*in->name || (v && !v->data))
			return mica_err_set(c->g->err, MICA_ERR_CORRUPT,
					    "%s: input %zu has %s; export the model again",
					    c->g->name, i,
					    v ? "the name of another input" : "no name");
		if (!v && import_input(c, in))
			return -(int)c->g->err->code;
	}
	return check_shape_options(c);
}
