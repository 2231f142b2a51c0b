// SPDX-License-Identifier: MIT
/* Graphs made by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "graph_util.h"

void hand_begin(struct gen *t, int dtype)
{
	memset(t, 0, sizeof(*t));
	gen_rng = 1;
	t->dtype = dtype;
	t->g = ir_graph_new("model", &t->err);
}

struct ir_value *hand_input(struct gen *t, int64_t n, int64_t a, int64_t b, int64_t c)
{
	struct ir_graph *g = t->g;
	struct ir_value *x = ir_value_new(g, "input", t->dtype, 4, (int64_t[]){ n, a, b, c });

	x->is_input = true;
	g->input = realloc(g->input, (g->inputs + 1) * sizeof(*g->input));
	return g->input[g->inputs++] = x;
}

struct ir_value *hand_conv(struct gen *t, const char *name, struct ir_value *x, int64_t oc, int k)
{
	struct ir_value *w = gen_constant(t, x->dtype, 4, (int64_t[]){ oc, k, k, x->dim[3] }), *in[2] = { x, w };
	struct ir_value *y = ir_value_new(t->g, name, x->dtype, 4, (int64_t[]){ x->dim[0], x->dim[1], x->dim[2], oc });
	struct ir_op *op = gen_op(t, IR_CONV, in, 2, y);

	w->scale = 0.05f;
	op->onnx_type = ir_strdup("Conv");
	op->a = (struct ir_attr){ .kh = k, .kw = k, .stride_h = 1, .stride_w = 1, .dil_h = 1, .dil_w = 1, .groups = 1,
				  .pad_top = k / 2, .pad_left = k / 2, .pad_bottom = k / 2, .pad_right = k / 2 };
	return y;
}

struct ir_value *hand_transpose(struct gen *t, struct ir_value *x, const int *perm)
{
	int64_t d[4];
	struct ir_value *y;

	for (int i = 0; i < 4; i++)
		d[i] = x->dim[perm[i]];
	y = ir_value_new(t->g, NULL, x->dtype, 4, d);
	memcpy(gen_op(t, IR_TRANSPOSE, &x, 1, y)->a.perm, perm, 4 * sizeof(*perm));
	return y;
}

const int hand_to_nhwc[] = { 0, 2, 3, 1 }, hand_to_nchw[] = { 0, 3, 1, 2 };

void hand_output(struct gen *t, struct ir_value *v)
{
	struct ir_graph *g = t->g;

	v->is_output = true;
	g->output = realloc(g->output, (g->outputs + 1) * sizeof(*g->output));
	g->output[g->outputs++] = v;
}

/* input NCHW -> conv -> conv -> output NCHW */
void hand_two_convs(struct gen *t, int64_t size, int64_t c)
{
	struct ir_value *x;

	hand_begin(t, MICA_E4M3);
	x = hand_transpose(t, hand_input(t, 1, 3, size, size), hand_to_nhwc);
	x = hand_conv(t, "first", x, c, 3);
	x = hand_conv(t, "second", x, c, 3);
	hand_output(t, hand_transpose(t, x, hand_to_nchw));
}
void hand_compile(struct gen *t, uint32_t lmem, unsigned cores, struct mica_compiled *c)
{
	struct mica_compile_options o = { .cores = cores, .lmem = lmem, .format = MICA_E4M3 };

	if (mica_backend_compile(t->g, &o, c))
		fail_msg("%s", t->err.text);
}
