// SPDX-License-Identifier: MIT
/* The IR itself: use lists, names, replacement, order, and what the verifier notices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "front.h"

static const int64_t four[4] = { 1, 2, 2, 3 };

struct fixture {
	struct mica_err err;
	struct ir_graph *g;
	struct ir_value *x, *a, *b;
};

/* x -> relu -> a -> abs -> b (output) */
static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct ir_op *op;

	f->g = ir_graph_new("test", &f->err);
	f->x = ir_value_new(f->g, "x", MICA_F32, 4, four);
	f->x->is_input = true;
	f->g->input = calloc(1, sizeof(*f->g->input));
	f->g->input[f->g->inputs++] = f->x;
	f->a = ir_value_new(f->g, "a", MICA_F32, 4, four);
	f->b = ir_value_new(f->g, "b", MICA_F32, 4, four);
	op = ir_op_new(f->g, IR_UNARY, "first", NULL, &f->x, 1, &f->a, 1);
	op->a.fn = MICA_FN_RELU;
	op = ir_op_new(f->g, IR_UNARY, "second", NULL, &f->a, 1, &f->b, 1);
	op->a.fn = MICA_FN_ABS;
	f->b->is_output = true;
	f->g->output = calloc(1, sizeof(*f->g->output));
	f->g->output[f->g->outputs++] = f->b;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	ir_graph_free(f->g);
	free(f);
	return 0;
}

static void names_stay_unique(void **state)
{
	struct fixture *f = *state;
	struct ir_value *v = ir_value_new(f->g, "a", MICA_F32, 0, NULL),
			*w = ir_value_new(f->g, NULL, MICA_F32, 0, NULL);

	assert_string_not_equal(v->name, "a");
	assert_ptr_equal(ir_value_find(f->g, "a"), f->a);
	assert_ptr_equal(ir_value_find(f->g, w->name), w);
	ir_swap_names(f->g, f->a, w);
	assert_ptr_equal(ir_value_find(f->g, "a"), w);
	assert_string_equal(w->name, "a");
}

static void thousands_of_names_are_found(void **state)
{
	struct fixture *f = *state;
	char name[32];

	for (unsigned i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "v%u", i);
		ir_value_new(f->g, name, MICA_F32, 0, NULL);
	}
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "v%u", i);
		assert_string_equal(ir_value_find(f->g, name)->name, name);
	}
	assert_null(ir_value_find(f->g, "v5000"));
}

static void uses_count_operand_slots(void **state)
{
	struct fixture *f = *state;
	struct ir_value *in[2] = { f->a, f->a },
			*out = ir_value_new(f->g, "sum", MICA_F32, 4, four);
	struct ir_op *op = ir_op_new(f->g, IR_BINARY, NULL, NULL, in, 2, &out, 1);

	assert_string_equal(op->name, "sum");
	assert_int_equal(f->a->uses, 3);
	ir_op_set_in(op, 1, f->x);
	assert_int_equal(f->a->uses, 2);
	assert_int_equal(f->x->uses, 2);
	assert_int_equal(ir_verify(f->g, true), 0);
	ir_op_remove(f->g, op);
	assert_int_equal(f->a->uses, 1);
	assert_null(ir_value_find(f->g, "sum"));
}

static void replaced_output_keeps_its_name(void **state)
{
	struct fixture *f = *state;

	ir_value_replace(f->g, f->b, f->a);
	assert_ptr_equal(f->g->output[0], f->a);
	assert_string_equal(f->a->name, "b");
	assert_true(f->a->is_output && !f->b->is_output);
	ir_sweep(f->g);
	assert_null(f->g->first->next);
	assert_int_equal(ir_verify(f->g, true), 0);
}

static void input_as_output_is_copied(void **state)
{
	struct fixture *f = *state;

	ir_value_replace(f->g, f->b, f->x);
	ir_sweep(f->g);
	assert_string_equal(f->g->output[0]->name, "b");
	assert_int_equal(f->g->output[0]->def->kind, IR_UNARY);
	assert_int_equal(f->g->output[0]->def->a.fn, MICA_FN_COPY);
	assert_int_equal(ir_verify(f->g, true), 0);
}

static void concat_takes_many_operands(void **state)
{
	struct fixture *f = *state;
	struct build b = { .g = f->g, .name = "many", .format = -1 };
	struct ir_value *in[20], *y;

	for (unsigned i = 0; i < 20; i++)
		in[i] = i % 2 ? f->a : f->x;
	y = build_concat(&b, in, 20, 3);
	assert_int_equal(y->dim[3], 60);
	assert_ptr_equal(ir_op_in(y->def, 19), f->a);
	assert_null(ir_op_in(y->def, 20));
	assert_int_equal(ir_verify(f->g, true), 0);
	ir_op_drop_ins(y->def, 0);
	assert_int_equal(f->a->uses, 1);
}

static void verifier_sees(struct fixture *f, const char *what)
{
	assert_int_equal(ir_verify(f->g, true), -MICA_ERR_INTERNAL);
	assert_non_null(strstr(f->err.text, what));
}

static void verifier_sees_wrong_order(void **state)
{
	struct fixture *f = *state;

	ir_op_move(f->g, f->b->def, f->a->def);
	verifier_sees(*state, "second");
}

static void verifier_sees_wrong_shape(void **state)
{
	((struct fixture *)*state)->b->dim[1] = 5;
	verifier_sees(*state, "second");
}

static void verifier_sees_stale_uses(void **state)
{
	((struct fixture *)*state)->a->uses++;
	verifier_sees(*state, "'a'");
	((struct fixture *)*state)->a->uses--;
}

static void verifier_sees_foreign_types(void **state)
{
	((struct fixture *)*state)->a->dtype = IR_I64;
	verifier_sees(*state, "first");
}

static void constants_move_at_once(void **state)
{
	struct fixture *f = *state;
	struct build b = { .g = f->g, .format = -1 };
	float data[6] = { 1, 2, 3, 4, 5, 6 };
	struct ir_value *k = build_const(&b, 2, (int64_t[]){ 2, 3 }, data),
			*t = build_transpose(&b, k, (int[]){ 1, 0 });
	struct ir_value *s =
		build_slice(&b, k, (int64_t[]){ 0, 2 }, (int64_t[]){ 1, -2 }, (int64_t[]){ 2, 2 });

	assert_non_null(t->data);
	assert_memory_equal(t->data, ((float[]){ 1, 4, 2, 5, 3, 6 }), sizeof(data));
	assert_memory_equal(s->data, ((float[]){ 3, 1, 6, 4 }), 16);
}

static void printed_names_are_escaped(void **state)
{
	struct fixture *f = *state;
	char *s;

	ir_value_new(f->g, "odd name:0\n", MICA_F32, 0, NULL);
	ir_swap_names(f->g, f->a, ir_value_find(f->g, "odd name:0\n"));
	s = ir_print_string(f->g);
	assert_non_null(strstr(s, "%odd\\x20name:0\\x0a f32[1,2,2,3] = unary(%x) relu"));
	free(s);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(names_stay_unique),	      T(thousands_of_names_are_found),
		T(uses_count_operand_slots),  T(replaced_output_keeps_its_name),
		T(input_as_output_is_copied), T(concat_takes_many_operands),
		T(verifier_sees_wrong_order), T(verifier_sees_wrong_shape),
		T(verifier_sees_stale_uses),  T(verifier_sees_foreign_types),
		T(constants_move_at_once),    T(printed_names_are_escaped),
	};

	return cmocka_run_group_tests_name("compiler_ir", tests, NULL, NULL);
}
