// SPDX-License-Identifier: MIT
/* If, Loop and Scan: what constants decide becomes part of the graph, outer names included; the rest is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "mica.h"
#include "onnx_builder.h"

/* ---- subgraphs: nodes are made by ob_node and taken out of the main graph again ---- */

#define MAX_BODY 16

struct body {
	Onnx__GraphProto p;
	Onnx__NodeProto *node[MAX_BODY];
	Onnx__ValueInfoProto *in[8], *out[8], info[16];
	unsigned infos;
};

static void body_begin(struct body *b)
{
	memset(b, 0, sizeof(*b));
	onnx__graph_proto__init(&b->p);
	b->p.node = b->node;
	b->p.input = b->in;
	b->p.output = b->out;
}

static Onnx__ValueInfoProto *info(struct body *b, const char *name)
{
	Onnx__ValueInfoProto *v = &b->info[b->infos++];

	onnx__value_info_proto__init(v);
	v->name = (char *)name;
	return v;
}

static void body_input(struct body *b, const char *name) { b->in[b->p.n_input++] = info(b, name); }
static void body_output(struct body *b, const char *name) { b->out[b->p.n_output++] = info(b, name); }

static Onnx__NodeProto *body_node(struct body *b, const char *type, const char *out, const char *const *in, unsigned ins)
{
	Onnx__NodeProto *n = ob_node(type, out, in, ins);

	ob_model()->graph->n_node--;
	return b->node[b->p.n_node++] = n;
}

static void attr_graph(Onnx__NodeProto *n, const char *name, struct body *b)
{
	static Onnx__AttributeProto pool[64];
	static unsigned used;
	Onnx__AttributeProto *a = &pool[used++ % 64];

	onnx__attribute_proto__init(a);
	a->name = (char *)name;
	a->has_type = true;
	a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH;
	a->g = &b->p;
	n->attribute[n->n_attribute++] = a;
}

static void constant_bool(const char *name, bool v)
{
	uint8_t byte = v;

	ob_raw(name, ONNX_BOOL, 0, NULL, &byte, 1);
}

static void constant_int(const char *name, int64_t v)
{
	ob_raw(name, ONNX_I64, 0, NULL, &v, sizeof(v));
}

/* ---- compiling and running what has been built: one input x f32[4] = 1, 2, 3, 4 ---- */

static struct mica_err err;
static struct mica_onnx_const given;	/* an input that is a constant, if it has a name */

static int compile_built(char *out)
{
	char onnx[] = "/tmp/mica-control-XXXXXX";
	struct mica_compile_options o;
	int ret;

	close(mkstemp(onnx));
	close(mkstemp(out));
	ob_write(onnx);
	mica_compile_defaults(&o);
	o.format = MICA_F32;
	o.consts = &given;
	o.const_count = given.input != NULL;
	memset(&err, 0, sizeof(err));
	ret = mica_compile(onnx, out, &o, &err);
	unlink(onnx);
	return ret;
}

static void expect(const float *want, unsigned n)
{
	char out[] = "/tmp/mica-control-XXXXXX";
	struct mica_device_options o = MICA_DEVICE_OPTIONS_INIT;
	const float x[4] = { 1, 2, 3, 4 };
	struct mica_device *dev;
	struct mica_model *m;
	struct mica_session *s;
	float got[64];

	if (compile_built(out))
		fail_msg("%s", err.text);
	o.backend = MICA_BACKEND_CPU;
	assert_int_equal(mica_device_open(&o, &dev), 0);
	if (mica_model_load(dev, out, &m) || mica_session_create(m, &s) || mica_session_set_input_f32(s, 0, x, 4) || mica_session_run(s, -1) ||
	    mica_session_get_output_f32(s, 0, got, n))
		fail_msg("%s", mica_error_text());
	for (unsigned i = 0; i < n; i++)
		if (got[i] != want[i])
			fail_msg("element %u is %g, not %g", i, (double)got[i], (double)want[i]);
	mica_session_destroy(s);
	mica_model_close(m);
	mica_device_close(dev);
	unlink(out);
}

static void expect_refusal(int code, const char *text)
{
	char out[] = "/tmp/mica-control-XXXXXX";

	assert_int_equal(compile_built(out), -code);
	if (!strstr(err.text, text))
		fail_msg("no '%s' in: %s", text, err.text);
	unlink(out);
}

static void begin(void)
{
	ob_begin(13);
	ob_input("x", ONNX_F32, 1, (int64_t[]){ 4 });
}

/* ---- If ---- */

static void if_takes_the_branch_that_a_constant_chooses(void **state)
{
	(void)state;
	for (int choice = 0; choice < 2; choice++) {
		const float want[2][4] = { { -1, -2, -3, -4 }, { 2, 4, 6, 8 } };
		struct body yes, no;
		Onnx__NodeProto *n;

		begin();
		constant_bool("c", choice);
		body_begin(&yes);
		body_node(&yes, "Add", "t", (const char *[]){ "x", "x" }, 2);	/* x is the outer graph's */
		body_output(&yes, "t");
		body_begin(&no);
		body_node(&no, "Neg", "t", (const char *[]){ "x" }, 1);	/* the same inner name */
		body_output(&no, "t");
		n = ob_node("If", "y", (const char *[]){ "c" }, 1);
		attr_graph(n, "then_branch", &yes);
		attr_graph(n, "else_branch", &no);
		ob_output("y");
		expect(want[choice], 4);
	}
}

/* The condition follows from x's shape, the branch reads what a later node in the file computes. */
static void if_sees_shapes_and_sorts_what_it_captures(void **state)
{
	struct body yes, no;
	Onnx__NodeProto *n;

	(void)state;
	begin();
	constant_int("four", 4);
	ob_node("Size", "size", (const char *[]){ "x" }, 1);
	ob_node("Equal", "c", (const char *[]){ "size", "four" }, 2);
	body_begin(&yes);
	body_node(&yes, "Add", "t", (const char *[]){ "x", "later" }, 2);
	body_output(&yes, "t");
	body_begin(&no);
	body_node(&no, "NoSuchOperator", "t", (const char *[]){ "x" }, 1);	/* not taken: need not be known */
	body_output(&no, "t");
	n = ob_node("If", "y", (const char *[]){ "c" }, 1);
	attr_graph(n, "then_branch", &yes);
	attr_graph(n, "else_branch", &no);
	ob_node("Mul", "later", (const char *[]){ "x", "x" }, 2);
	ob_output("y");
	expect((const float[]){ 2, 6, 12, 20 }, 4);
}

/* y = If(sum(x) > limit): then -x, else a branch that has `no` in it. */
static void build_undecided(float limit, const char *no)
{
	static struct body yes, other;
	Onnx__NodeProto *n;

	begin();
	ob_floats("limit", 0, NULL, &limit);
	ob_attr_int(ob_node("ReduceSum", "sum", (const char *[]){ "x" }, 1), "keepdims", 0);
	ob_node("Greater", "c", (const char *[]){ "sum", "limit" }, 2);
	body_begin(&yes);
	body_node(&yes, "Neg", "t", (const char *[]){ "x" }, 1);
	body_output(&yes, "t");
	body_begin(&other);
	body_node(&other, no, "t", (const char *[]){ "x", "x" }, 2);
	body_output(&other, "t");
	n = ob_node("If", "y", (const char *[]){ "c" }, 1);
	n->name = (char *)"choose";
	attr_graph(n, "then_branch", &yes);
	attr_graph(n, "else_branch", &other);
	ob_output("y");
}

static void if_computes_both_branches_when_run_time_decides(void **state)
{
	(void)state;
	build_undecided(9, "Add");	/* 1 + 2 + 3 + 4 is more */
	expect((const float[]){ -1, -2, -3, -4 }, 4);
	build_undecided(10, "Add");
	expect((const float[]){ 2, 4, 6, 8 }, 4);
	build_undecided(9, "Div");
	expect((const float[]){ -1, -2, -3, -4 }, 4);
}

static void if_says_what_does_not_fit_when_run_time_decides(void **state)
{
	(void)state;
	build_undecided(9, "MatMul");	/* a scalar */
	expect_refusal(MICA_ERR_UNSUPPORTED, "node 'choose' (If (choice)): its condition is only known at run time, and its branches give results of "
					     "different shapes");
	build_undecided(9, "NoSuchOperator");
	expect_refusal(MICA_ERR_UNSUPPORTED, "(both branches of 'choose' are computed, because only run time decides; --const=x=VALUE leaves one)");
}

static void inputs_become_constants_by_numbers(void **state)
{
	static struct {
		const char *text;
		int code;
		float want[4];
	} cases[] = {
		{ "3", 0, { 3, 6, 9, 12 } }, { "2,3,4,5", 0, { 2, 6, 12, 20 } }, { "1e1,-1,0.5,0", 0, { 10, -2, 1.5f, 0 } },
		{ "1,2", MICA_ERR_USAGE, { 0 } }, { "1,2,3,", MICA_ERR_FILE, { 0 } }, { "", MICA_ERR_FILE, { 0 } },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		begin();
		ob_input("k", ONNX_F32, 1, (int64_t[]){ 4 });
		ob_node("Mul", "y", (const char *[]){ "x", "k" }, 2);
		ob_output("y");
		given = (struct mica_onnx_const){ "k", cases[i].text };
		if (cases[i].code)
			expect_refusal(cases[i].code, "");
		else
			expect(cases[i].want, 4);
		given.input = NULL;
	}
}

/* ---- Loop ---- */

/* v starts as x; each time v = v + i + x, where an If inside the body adds nothing in iteration 1. */
static void build_loop(int64_t trips, bool collect)
{
	static struct body b, yes, no;
	const char *ins[] = { "trips", "go", "x" };
	Onnx__NodeProto *n;

	begin();
	constant_int("trips", trips);
	constant_bool("go", true);
	constant_int("one", 1);
	body_begin(&yes);
	body_node(&yes, "Identity", "same", (const char *[]){ "v" }, 1);
	body_output(&yes, "same");
	body_begin(&no);
	body_node(&no, "Add", "more", (const char *[]){ "v", "x" }, 2);	/* v of the body, x of the model */
	body_output(&no, "more");
	body_begin(&b);
	body_input(&b, "i");
	body_input(&b, "cond");
	body_input(&b, "v");
	body_node(&b, "Identity", "cond_out", (const char *[]){ "cond" }, 1);
	body_node(&b, "Equal", "is_one", (const char *[]){ "i", "one" }, 2);
	n = body_node(&b, "If", "w", (const char *[]){ "is_one" }, 1);
	attr_graph(n, "then_branch", &yes);
	attr_graph(n, "else_branch", &no);
	body_output(&b, "cond_out");
	body_output(&b, "w");
	if (collect) {
		body_node(&b, "Neg", "part", (const char *[]){ "w" }, 1);
		body_output(&b, "part");
	}
	n = ob_node("Loop", "y", ins, 3);
	n->name = (char *)"turns";
	attr_graph(n, "body", &b);
	if (collect) {
		static char *outs[] = { "y", "parts" };

		n->output = outs;
		n->n_output = 2;
		ob_output("parts");
	} else {
		ob_output("y");
	}
}

static void loop_of_known_length_is_unrolled(void **state)
{
	(void)state;
	build_loop(4, false);
	expect((const float[]){ 4, 8, 12, 16 }, 4);	/* x and three times x: iteration 1 adds nothing */
	build_loop(0, false);
	expect((const float[]){ 1, 2, 3, 4 }, 4);
}

static void loop_collects(void **state)
{
	(void)state;
	build_loop(3, true);
	expect((const float[]){ -2, -4, -6, -8, -2, -4, -6, -8, -3, -6, -9, -12 }, 12);
	build_loop(0, true);
	expect_refusal(MICA_ERR_UNSUPPORTED, "no iteration and so no shape");
}

static void loop_ends_when_its_condition_says_so(void **state)
{
	struct body b;
	Onnx__NodeProto *n;

	(void)state;
	begin();
	constant_bool("go", true);
	constant_int("two", 2);
	body_begin(&b);
	body_input(&b, "i");
	body_input(&b, "cond");
	body_input(&b, "v");
	body_node(&b, "Less", "again", (const char *[]){ "i", "two" }, 2);	/* runs for i = 0, 1, 2 */
	body_node(&b, "Add", "w", (const char *[]){ "v", "v" }, 2);
	body_output(&b, "again");
	body_output(&b, "w");
	n = ob_node("Loop", "y", (const char *[]){ "", "go", "x" }, 3);
	attr_graph(n, "body", &b);
	ob_output("y");
	expect((const float[]){ 8, 16, 24, 32 }, 4);
}

static void loops_that_only_run_time_ends_or_that_are_endless_are_refused(void **state)
{
	(void)state;
	build_loop(INT64_MAX, false);
	expect_refusal(MICA_ERR_UNSUPPORTED, "node 'turns' (Loop): runs more than 1024 times");
	build_loop(1, false);
	ob_model()->graph->initializer[0]->name = (char *)"elsewhere";
	ob_input("trips", ONNX_I64, 0, NULL);
	expect_refusal(MICA_ERR_UNSUPPORTED, "trip count is only known at run time");
}

/* Three loops in one another of 1000 turns each: refused in time, not unrolled to the end. */
static void nested_loops_are_bounded(void **state)
{
	struct body b[3];
	Onnx__NodeProto *n = NULL;

	(void)state;
	begin();
	constant_int("trips", 1000);
	constant_bool("go", true);
	for (int k = 0; k < 3; k++) {
		static const char *const names[3][4] = { { "i0", "c0", "v0", "w0" }, { "i1", "c1", "v1", "w1" }, { "i2", "c2", "v2", "w2" } };
		const char *const *s = names[k];

		body_begin(&b[k]);
		body_input(&b[k], s[0]);
		body_input(&b[k], s[1]);
		body_input(&b[k], s[2]);
		if (!k) {
			body_node(&b[k], "Neg", s[3], (const char *[]){ s[2] }, 1);
		} else {
			n = body_node(&b[k], "Loop", s[3], (const char *[]){ "trips", "go", s[2] }, 3);
			attr_graph(n, "body", &b[k - 1]);
		}
		body_output(&b[k], s[1]);
		body_output(&b[k], s[3]);
	}
	n = ob_node("Loop", "y", (const char *[]){ "trips", "go", "x" }, 3);
	attr_graph(n, "body", &b[2]);
	ob_output("y");
	expect_refusal(MICA_ERR_UNSUPPORTED, "more than 100000 operators");
}

/* ---- Scan ---- */

static void scan_walks_along_its_axis(void **state)
{
	struct body b;
	Onnx__NodeProto *n;
	static char *outs[] = { "last", "sums" };
	float zero = 0;

	(void)state;
	begin();
	ob_floats("start", 0, NULL, &zero);
	body_begin(&b);
	body_input(&b, "sum");
	body_input(&b, "item");
	body_node(&b, "Add", "next", (const char *[]){ "sum", "item" }, 2);
	body_node(&b, "Identity", "seen", (const char *[]){ "next" }, 1);
	body_output(&b, "next");
	body_output(&b, "seen");
	n = ob_node("Scan", "last", (const char *[]){ "start", "x" }, 2);
	n->output = outs;
	n->n_output = 2;
	ob_attr_int(n, "num_scan_inputs", 1);
	ob_attr_ints(n, "scan_input_directions", (int64_t[]){ 1 }, 1);
	attr_graph(n, "body", &b);
	ob_output("sums");
	expect((const float[]){ 4, 7, 9, 10 }, 4);
}

/* ---- broken bodies ---- */

static void broken_bodies_are_named(void **state)
{
	struct body b;
	Onnx__NodeProto *n;

	(void)state;
	for (int how = 0; how < 4; how++) {
		begin();
		constant_bool("c", true);
		body_begin(&b);
		body_node(&b, "Neg", "t", (const char *[]){ how == 0 ? "u" : "x" }, 1);
		if (how == 0)	/* used before it is defined */
			body_node(&b, "Neg", "u", (const char *[]){ "x" }, 1);
		if (how == 1)	/* defined twice */
			body_node(&b, "Neg", "t", (const char *[]){ "x" }, 1);
		if (how != 2)	/* no output */
			body_output(&b, "t");
		if (how == 3)	/* an input */
			body_input(&b, "in");
		n = ob_node("If", "y", (const char *[]){ "c" }, 1);
		attr_graph(n, "then_branch", &b);
		attr_graph(n, "else_branch", &b);
		ob_output("y");
		expect_refusal(MICA_ERR_CORRUPT, "node 'y' (If)");
	}
	begin();
	constant_bool("c", true);
	body_begin(&b);
	body_node(&b, "Neg", "t", (const char *[]){ "nowhere" }, 1);
	body_output(&b, "t");
	n = ob_node("If", "y", (const char *[]){ "c" }, 1);
	attr_graph(n, "then_branch", &b);
	ob_output("y");
	expect_refusal(MICA_ERR_CORRUPT, "reads a tensor that nothing defines: 'nowhere'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(if_takes_the_branch_that_a_constant_chooses),
		cmocka_unit_test(if_sees_shapes_and_sorts_what_it_captures),
		cmocka_unit_test(if_computes_both_branches_when_run_time_decides),
		cmocka_unit_test(if_says_what_does_not_fit_when_run_time_decides),
		cmocka_unit_test(inputs_become_constants_by_numbers),
		cmocka_unit_test(loop_of_known_length_is_unrolled),
		cmocka_unit_test(loop_collects),
		cmocka_unit_test(loop_ends_when_its_condition_says_so),
		cmocka_unit_test(loops_that_only_run_time_ends_or_that_are_endless_are_refused),
		cmocka_unit_test(nested_loops_are_bounded),
		cmocka_unit_test(scan_walks_along_its_axis),
		cmocka_unit_test(broken_bodies_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
