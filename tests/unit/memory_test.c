// SPDX-License-Identifier: MIT
/* The steps that lower the peak, each on a graph made for it, and the plans of other planners that it is compared with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "backend.h"

#define BIT(s) (1u << MICA_SAVE_##s)

static struct mica_err err;

static struct ir_graph *begin(void)
{
	memset(&err, 0, sizeof(err));
	return ir_graph_new("model", &err);
}

static struct ir_value *input(struct ir_graph *g, int64_t h, int64_t w, int64_t c)
{
	struct ir_value *x = ir_value_new(g, "input", MICA_E4M3, 4, (int64_t[]){ 1, h, w, c });

	x->is_input = true;
	g->input = realloc(g->input, (g->inputs + 1) * sizeof(*g->input));
	return g->input[g->inputs++] = x;
}

static void output(struct ir_graph *g, struct ir_value *v)
{
	v->is_output = true;
	g->output = realloc(g->output, (g->outputs + 1) * sizeof(*g->output));
	g->output[g->outputs++] = v;
}

static struct ir_value *conv(struct ir_graph *g, const char *name, struct ir_value *x, int64_t oc, int k, struct ir_value *residual)
{
	struct ir_value *w = ir_const_new(g, NULL, MICA_E4M3, 4, (int64_t[]){ oc, k, k, x->dim[3] }, NULL);
	struct ir_value *in[4] = { x, w, NULL, residual }, *y;
	struct ir_op *op;

	y = ir_value_new(g, name, MICA_E4M3, 4, (int64_t[]){ 1, x->dim[1], x->dim[2], oc });
	op = ir_op_new(g, IR_CONV, NULL, NULL, in, residual ? 4 : 2, &y, 1);
	op->a = (struct ir_attr){ .kh = k, .kw = k, .stride_h = 1, .stride_w = 1, .dil_h = 1, .dil_w = 1, .groups = 1,
				  .pad_top = k / 2, .pad_left = k / 2, .pad_bottom = k / 2, .pad_right = k / 2 };
	return y;
}

static struct ir_value *pool(struct ir_graph *g, const char *name, struct ir_value *x, int k)
{
	struct ir_value *y = ir_value_new(g, name, MICA_E4M3, 4, (int64_t[]){ 1, x->dim[1] / k, x->dim[2] / k, x->dim[3] });

	ir_op_new(g, IR_POOL, NULL, NULL, &x, 1, &y, 1)->a =
		(struct ir_attr){ .kh = k, .kw = k, .stride_h = k, .stride_w = k, .dil_h = 1, .dil_w = 1, .pool = MICA_POOL_MAX };
	return y;
}

static struct ir_value *relu(struct ir_graph *g, const char *name, struct ir_value *x)
{
	struct ir_value *y = ir_value_new(g, name, x->dtype, x->rank, x->dim);

	ir_op_new(g, IR_UNARY, NULL, NULL, &x, 1, &y, 1)->a.fn = MICA_FN_RELU;
	return y;
}

static struct ir_value *sum(struct ir_graph *g, const char *name, struct ir_value *a, struct ir_value *b)
{
	struct ir_value *in[2] = { a, b }, *y = ir_value_new(g, name, a->dtype, a->rank, a->dim);

	ir_op_new(g, IR_BINARY, NULL, NULL, in, 2, &y, 1)->a.bin = MICA_BIN_ADD;
	return y;
}

/* Compiles with LMEM for tiles only, as small as it gets. */
static struct be_memory compile(struct ir_graph *g, unsigned no_pass, uint64_t *arena)
{
	struct mica_compile_options o = { .cores = 1, .lmem = 256 << 10, .format = MICA_E4M3, .no_pass = no_pass | BIT(RESIDENCY),
					  .minimize = MICA_MINIMIZE_MEMORY };
	struct mica_compiled c;
	struct be_memory m;

	if (mica_backend_compile(g, &o, &c))
		fail_msg("%s", err.text);
	m = c.memory;
	*arena = c.arena_size;
	mica_compiled_fini(&c);
	ir_graph_free(g);
	return m;
}

/* ---- what other planners need ---- */

static void baselines_count_every_result_of_the_unfused_graph(void **state)
{
	static const int64_t size[] = { 1000, 2000, 500 };
	struct ir_graph *g = begin();
	struct ir_value *x = input(g, 1, 1, 10), *y = NULL;
	struct be_baselines b;

	(void)state;
	for (unsigned i = 0; i < 4; i++, x = y) {
		y = ir_value_new(g, i == 3 ? "out" : NULL, MICA_F32, 1, i < 3 ? &size[i] : &size[0]);
		ir_op_new(g, IR_ONNX, NULL, NULL, &x, 1, &y, 1);
	}
	output(g, y);
	ir_note_unfused(g);
	assert_int_equal(g->unfuseds, 3);
	while (g->last)			/* they are fused away: the model's format counts */
		ir_op_remove(g, g->last);
	be_baselines(g, MICA_E4M3, &b);
	assert_int_equal(b.buffers, 3);
	assert_int_equal(b.no_reuse, 1024 + 2048 + 512);
	assert_int_equal(b.first_fit, 1024 + 2048);
	assert_int_equal(b.best_fit, 1024 + 2048);
	assert_int_equal(b.planned, 1024 + 2048);
	assert_int_equal(b.lower, 1024 + 2048);
	be_baselines(g, MICA_BF16, &b);
	assert_int_equal(b.no_reuse, 2048 + 4032 + 1024);
	g->outputs = 0;
	ir_graph_free(g);
}

/* ---- in place ---- */

static struct ir_graph *residual(bool twice)
{
	struct ir_graph *g = begin();
	struct ir_value *x = conv(g, "a", input(g, 32, 32, 16), 16, 3, NULL), *y = conv(g, "b", x, 16, 3, NULL);

	y = conv(g, "c", twice ? x : y, 16, 3, x);	/* twice: c's windows read x too */
	output(g, pool(g, "d", y, 4));
	return g;
}

static void a_residual_sum_takes_the_place_of_what_dies(void **state)
{
	uint64_t with, without;
	struct be_memory m = compile(residual(false), BIT(SLICE), &with);

	(void)state;
	assert_true(m.gain[MICA_SAVE_IN_PLACE].taken);
	compile(residual(false), BIT(SLICE) | BIT(IN_PLACE), &without);
	assert_int_equal(with, 2 * 16384);
	assert_int_equal(without, 3 * 16384);
}

static void windows_that_read_the_operand_keep_it(void **state)
{
	uint64_t arena;
	struct be_memory m = compile(residual(true), BIT(SLICE), &arena);

	(void)state;
	assert_false(m.gain[MICA_SAVE_IN_PLACE].taken);
}

/* ---- order ---- */

static struct ir_graph *branches(void)
{
	struct ir_graph *g = begin();
	struct ir_value *x = input(g, 32, 32, 16), *wide[4], *small = NULL;
	char name[4][8];

	for (unsigned i = 0; i < 4; i++) {
		snprintf(name[i], sizeof(name[i]), "wide%u", i);
		wide[i] = conv(g, name[i], x, 64, 1, NULL);
	}
	for (unsigned i = 0; i < 4; i++) {
		struct ir_value *p = pool(g, NULL, wide[i], 8);

		small = small ? sum(g, NULL, small, p) : p;
	}
	output(g, small);
	return g;
}

static void wide_branches_run_one_after_another(void **state)
{
	uint64_t with, without;
	struct be_memory m = compile(branches(), BIT(SLICE), &with);

	(void)state;
	assert_true(m.gain[MICA_SAVE_REORDER].taken);
	compile(branches(), BIT(SLICE) | BIT(REORDER), &without);
	assert_true(without >= 4 * 65536);
	assert_true(with <= 65536 + 3 * 1024);
}

/* ---- slices ---- */

static struct ir_graph *wide_start(void)
{
	struct ir_graph *g = begin();
	struct ir_value *x = conv(g, "first", input(g, 64, 64, 3), 32, 3, NULL);

	x = conv(g, "second", x, 48, 3, NULL);
	x = relu(g, "third", x);
	output(g, conv(g, "last", pool(g, "fourth", x, 4), 16, 1, NULL));
	return g;
}

static void wide_early_layers_never_exist_whole(void **state)
{
	uint64_t with, without;
	struct be_memory m = compile(wide_start(), 0, &with);

	(void)state;
	assert_true(m.gain[MICA_SAVE_SLICE].taken);
	assert_true(m.gain[MICA_SAVE_SLICE].after.macs > m.gain[MICA_SAVE_SLICE].before.macs);	/* the halo is honest */
	compile(wide_start(), BIT(SLICE), &without);
	assert_true(with * 3 < without);
}

/* ---- recomputation ---- */

static struct ir_graph *long_lived(void)
{
	struct ir_graph *g = begin();
	struct ir_value *x = conv(g, "a", input(g, 16, 16, 8), 64, 1, NULL), *v = relu(g, "v", x), *y;

	y = conv(g, "narrow", sum(g, "s", x, v), 8, 1, NULL);
	for (int i = 0; i < 6; i++)
		y = conv(g, NULL, y, i == 3 ? 256 : 8, 3, NULL);
	y = sum(g, "t", v, conv(g, "back", y, 64, 1, NULL));
	output(g, pool(g, "p", sum(g, "u", y, x), 8));
	return g;
}

static void a_cheap_value_is_computed_again_behind_the_peak(void **state)
{
	unsigned off = BIT(SLICE) | BIT(REORDER);
	uint64_t with, without;
	struct be_memory m = compile(long_lived(), off, &with);

	(void)state;
	assert_true(m.gain[MICA_SAVE_RECOMPUTE].taken);
	compile(long_lived(), off | BIT(RECOMPUTE), &without);
	assert_int_equal(without - with, 16 * 16 * 64);
}

/* ---- choices ---- */

static void what_is_left_out_is_not_done(void **state)
{
	static struct ir_graph *(*const graphs[])(void) = { branches, wide_start, long_lived };
	uint64_t arena;

	(void)state;
	for (unsigned g = 0; g < 3; g++) {
		for (unsigned s = MICA_SAVE_VIEWS; s < MICA_SAVE_RESIDENCY; s++) {
			struct be_memory m = compile(graphs[g](), 1u << s, &arena);

			assert_false(m.gain[s].on);
			assert_false(m.gain[s].taken);
			assert_true(m.gain[s].after.peak >= m.gain[s].before.peak || s == MICA_SAVE_VIEWS);
		}
	}
}

/* In a compilation for speed nothing is sliced where everything fits LMEM anyway. */
static void nothing_is_paid_for_memory_that_nobody_needs(void **state)
{
	struct mica_compile_options o = { .cores = 1, .lmem = 2 << 20, .format = MICA_E4M3 };
	struct ir_graph *g = wide_start();
	struct mica_compiled c;

	(void)state;
	assert_int_equal(mica_backend_compile(g, &o, &c), 0);
	assert_int_equal(c.arena_size, 0);
	assert_false(c.memory.gain[MICA_SAVE_SLICE].taken);
	assert_false(c.memory.gain[MICA_SAVE_REORDER].taken);
	mica_compiled_fini(&c);
	ir_graph_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(baselines_count_every_result_of_the_unfused_graph),
		cmocka_unit_test(a_residual_sum_takes_the_place_of_what_dies),
		cmocka_unit_test(windows_that_read_the_operand_keep_it),
		cmocka_unit_test(wide_branches_run_one_after_another),
		cmocka_unit_test(wide_early_layers_never_exist_whole),
		cmocka_unit_test(a_cheap_value_is_computed_again_behind_the_peak),
		cmocka_unit_test(what_is_left_out_is_not_done),
		cmocka_unit_test(nothing_is_paid_for_memory_that_nobody_needs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
