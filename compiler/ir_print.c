// SPDX-License-Identifier: MIT
/* The IR as text: one operator a line, stable from run to run, read by people and by the golden tests. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "front.h"

#define SHOWN 8 /* elements of a constant */

static void print_name(FILE *f, const char *s)
{
	putc('%', f);
	for (; *s; s++) {
		if (isgraph((unsigned char)*s) && !strchr("\\,()", *s))
			putc(*s, f);
		else
			fprintf(f, "\\x%02x", (unsigned char)*s);
	}
}

static void print_type(FILE *f, const struct ir_value *v)
{
	fprintf(f, " %s[", v->dtype ? ir_dtype_name(v->dtype) : "?");
	for (unsigned i = 0; i < v->rank; i++)
		fprintf(f, "%s%lld", i ? "," : "", (long long)v->dim[i]);
	putc(']', f);
	if (v->ch_scale)
		fprintf(f, " scale=[%.6g..%u]", v->ch_scale[0], (unsigned)v->dim[v->ch_axis]);
	else if (v->scale != 1)
		fprintf(f, " scale=%.6g", v->scale);
	if (v->zero)
		fprintf(f, " zero=%d", v->zero);
}

static void print_element(FILE *f, const struct ir_value *v, int64_t i)
{
	const uint8_t *p = (const uint8_t *)v->data + (size_t)i * ir_dtype_size(v->dtype);
	int64_t n = 0;
	float x;

	switch (v->dtype) {
	case IR_I64:
		memcpy(&n, p, 8);
		fprintf(f, "%lld", (long long)n);
		break;
	case IR_BOOL:
		fprintf(f, "%d", *p != 0);
		break;
	default:
		mica_dequantize(v->dtype, p, &x, 1, 1, 0);
		fprintf(f, "%.6g", x);
	}
}

static void print_const(FILE *f, const struct ir_value *v)
{
	int64_t n = ir_elements(v), shown = n > SHOWN ? SHOWN - 1 : n;

	fputs("const ", f);
	print_name(f, v->name);
	print_type(f, v);
	fputs(" = {", f);
	for (int64_t i = 0; i < shown; i++) {
		fputs(i ? ", " : "", f);
		print_element(f, v, i);
	}
	fputs(shown < n ? ", ..}\n" : "}\n", f);
}

static void print_hw(FILE *f, const char *key, int h, int w, int silent)
{
	if (h != silent || w != silent)
		fprintf(f, " %s=%dx%d", key, h, w);
}

static void print_window(FILE *f, const struct ir_attr *a)
{
	print_hw(f, "k", a->kh, a->kw, 1);
	print_hw(f, "stride", a->stride_h, a->stride_w, 1);
	print_hw(f, "dil", a->dil_h, a->dil_w, 1);
	if (a->pad_top || a->pad_left || a->pad_bottom || a->pad_right)
		fprintf(f, " pad=%d,%d,%d,%d", a->pad_top, a->pad_left, a->pad_bottom,
			a->pad_right);
	if (a->groups > 1)
		fprintf(f, " groups=%d", a->groups);
}

static void print_list(FILE *f, const char *key, const int64_t *v, unsigned n)
{
	fprintf(f, " %s=", key);
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "%s%lld", i ? "," : "", (long long)v[i]);
}

static void print_act(FILE *f, const struct ir_attr *a)
{
	if (a->act == MICA_ACT_NONE)
		return;
	fprintf(f, " act=%s", mica_act_name(a->act));
	if (a->act == MICA_ACT_LEAKY)
		fprintf(f, "(%.6g)", a->alpha);
	else if (a->act == MICA_ACT_CLIP || a->act == MICA_ACT_HSIGMOID)
		fprintf(f, "(%.6g,%.6g)", a->alpha, a->beta);
}

static void print_fn(FILE *f, const struct ir_attr *a)
{
	fprintf(f, " %s", mica_fn_name(a->fn));
	if (a->fn == MICA_FN_LEAKY || a->fn == MICA_FN_ELU)
		fprintf(f, "(%.6g)", a->alpha);
	else if (a->fn == MICA_FN_CLIP || a->fn == MICA_FN_HSIGMOID || a->fn == MICA_FN_SELU)
		fprintf(f, "(%.6g,%.6g)", a->alpha, a->beta);
}

static const char *const pool_names[] = {
#define N(code, UP, low) [code] = #low,
	MICA_POOLS(N)
};
static const char *const red_names[] = { MICA_REDS(N) };
static const char *const resize_names[] = { MICA_RESIZES(N)
#undef N
};

static void print_host(FILE *f, const struct ir_attr *a)
{
	unsigned last = 0;

	fprintf(f, " %s", mica_host_name(a->host));
	for (unsigned i = 0; i < MICA_HOST_INTS; i++)
		last = a->host_int[i] ? i + 1 : last;
	if (last)
		print_list(f, "ints", a->host_int, last);
	for (unsigned i = 0; i < MICA_HOST_FLOATS; i++)
		if (a->host_float[i] != 0)
			fprintf(f, " f%u=%.6g", i, (double)a->host_float[i]);
}

static void print_attr(FILE *f, const struct ir_op *op)
{
	const struct ir_attr *a = &op->a;
	unsigned rank = op->in[0] ? op->in[0]->rank : 0;

	switch (op->kind) {
	case IR_CONV:
	case IR_CONVT:
		print_window(f, a);
		break;
	case IR_POOL:
		fprintf(f, " %s", pool_names[a->pool]);
		print_window(f, a);
		break;
	case IR_MATMUL:
		fputs(a->trans_a ? " ta" : "", f);
		fputs(a->trans_b ? " tb" : "", f);
		break;
	case IR_BINARY:
		fprintf(f, " %s", mica_bin_name(a->bin));
		break;
	case IR_UNARY:
		print_fn(f, a);
		break;
	case IR_RESIZE:
		fprintf(f, " %s", resize_names[a->resize]);
		break;
	case IR_REDUCE:
		fprintf(f, " %s axes=0x%x", red_names[a->red], a->axes);
		break;
	case IR_CONCAT:
	case IR_SOFTMAX:
		fprintf(f, " axis=%d", a->axis);
		break;
	case IR_NORM:
	case IR_BATCHNORM:
		fprintf(f, " eps=%.6g", a->eps);
		break;
	case IR_SLICE:
		print_list(f, "start", a->start, rank);
		print_list(f, "step", a->step, rank);
		break;
	case IR_PAD:
		print_list(f, "front", a->start, rank);
		print_list(f, "behind", a->end, rank);
		fprintf(f, " value=%.6g", a->pad_value);
		break;
	case IR_HOST:
		print_host(f, a);
		break;
	case IR_TRANSPOSE:
		fputs(" perm=", f);
		for (unsigned i = 0; i < rank; i++)
			fprintf(f, "%s%d", i ? "," : "", a->perm[i]);
		break;
	default:
		break;
	}
	print_act(f, a);
}

static void print_op(FILE *f, const struct ir_op *op)
{
	for (unsigned i = 0; i < op->outs; i++) {
		if (i)
			fputs(", ", f);
		if (op->out[i]) {
			print_name(f, op->out[i]->name);
			print_type(f, op->out[i]);
		} else {
			putc('-', f);
		}
	}
	fprintf(f, " = %s", op->kind == IR_ONNX ? op->onnx_type : ir_kind_name(op->kind));
	putc('(', f);
	for (unsigned i = 0; i < op->ins; i++) {
		const struct ir_value *v = ir_op_in(op, i);

		fputs(i ? ", " : "", f);
		if (v)
			print_name(f, v->name);
		else
			putc('-', f);
	}
	putc(')', f);
	print_attr(f, op);
	if (op->format >= 0)
		fprintf(f, " format=%s", mica_dtype_name(op->format));
	if (op->kind != IR_ONNX && op->onnx_type)
		fprintf(f, "\t# %s", op->onnx_type);
	putc('\n', f);
}

void ir_print(const struct ir_graph *g, FILE *f)
{
	fprintf(f, "graph %s\n", g->name);
	for (unsigned i = 0; i < g->inputs; i++) {
		fputs("input ", f);
		print_name(f, g->input[i]->name);
		print_type(f, g->input[i]);
		putc('\n', f);
	}
	for (unsigned i = 0; i < g->values; i++)
		if (g->value[i] && g->value[i]->data &&
		    (g->value[i]->uses || g->value[i]->is_output))
			print_const(f, g->value[i]);
	for (const struct ir_op *op = g->first; op; op = op->next)
		print_op(f, op);
	for (unsigned i = 0; i < g->outputs; i++) {
		fputs("output ", f);
		print_name(f, g->output[i]->name);
		print_type(f, g->output[i]);
		putc('\n', f);
	}
}

char *ir_print_string(const struct ir_graph *g)
{
	char *s = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&s, &n);

	if (!f)
		abort();
	ir_print(g, f);
	if (fclose(f))
		abort();
	return s;
}
