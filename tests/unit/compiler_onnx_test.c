// SPDX-License-Identifier: MIT
/* The importer: all ways to store a tensor, inputs and --shape, external files, and files that are broken or hostile. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "onnx_builder.h"

struct fixture {
	char dir[64], path[96];
	struct mica_compile_options o;
	struct mica_err err;
	struct ir_graph *g;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/mica-onnx-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/model.onnx", f->dir);
	mica_compile_defaults(&f->o);
	f->o.format = MICA_F32;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[96];

	if (f->g)
		ir_graph_free(f->g);
	snprintf(command, sizeof(command), "rm -rf '%s'", f->dir);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

static void import(struct fixture *f)
{
	ob_write(f->path);
	f->g = ob_compile(f->path, &f->o, "", &f->err);
	if (!f->g)
		fail_msg("%s", f->err.text);
}

static void refused(struct fixture *f, enum mica_err_code code, const char *text)
{
	f->err.code = MICA_ERR_NONE;
	f->g = ob_compile(f->path, &f->o, "layout", &f->err);
	assert_null(f->g);
	if (f->err.code != code || !strstr(f->err.text, text))
		fail_msg("code %d, not %d with '%s': %s", f->err.code, code, text, f->err.text);
}

static const int64_t two[1] = { 2 };

/* x + k, output y; the caller has added k */
static void add_model(void)
{
	ob_input("x", ONNX_F32, 1, two);
	ob_node("Add", "y", (const char *[]){ "x", "k" }, 2);
	ob_output("y");
}

/* ---- element types ---- */

static void raw_data_of_every_type(void **state)
{
	static const struct {
		int type, dtype;
		uint8_t raw[16];
		size_t bytes;
		double want[2];
	} cases[] = {
		{ ONNX_F32, MICA_F32, { 0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0 }, 8, { 1, -2 } },
		{ ONNX_F16, MICA_F32, { 0x00, 0x3c, 0x01, 0x80 }, 4, { 1, -0x1p-24 } },
		{ ONNX_BF16, MICA_F32, { 0x80, 0x3f, 0x20, 0xc1 }, 4, { 1, -10 } },
		{ ONNX_F64,
		  MICA_F32,
		  { 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0xe0, 0xbf },
		  16,
		  { 1, -0.5 } },
		{ ONNX_I64,
		  IR_I64,
		  { 1, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
		  16,
		  { 1, -2 } },
		{ ONNX_I32, IR_I64, { 1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff }, 8, { 1, -2 } },
		{ ONNX_U32,
		  IR_I64,
		  { 1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff },
		  8,
		  { 1, 4294967294.0 } },
		{ ONNX_I16, IR_I64, { 1, 0, 0xfe, 0xff }, 4, { 1, -2 } },
		{ ONNX_U16, IR_I64, { 1, 0, 0xfe, 0xff }, 4, { 1, 65534 } },
		{ ONNX_I8, MICA_I8, { 1, 0xfe }, 2, { 1, -2 } },
		{ ONNX_U8, MICA_U8, { 1, 0xfe }, 2, { 1, 254 } },
		{ ONNX_I4, MICA_I8, { 0xe1 }, 1, { 1, -2 } },
		{ ONNX_U4, MICA_U8, { 0xe1 }, 1, { 1, 14 } },
		{ ONNX_BOOL, IR_BOOL, { 2, 0 }, 2, { 1, 0 } },
		{ ONNX_E4M3, MICA_E4M3, { 0x38, 0xfe }, 2, { 1, -448 } },
		{ ONNX_E5M2, MICA_E5M2, { 0x3c, 0xfb }, 2, { 1, -57344 } },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ir_value *k;
		const float *p;

		ob_begin(13);
		ob_raw("k", cases[i].type, 1, two, cases[i].raw, cases[i].bytes);
		add_model();
		import(f);
		k = ir_value_find(f->g, "k");
		assert_int_equal(k->dtype, cases[i].dtype);
		p = const_f32(f->g, k)->data;
		if (p[0] != (float)cases[i].want[0] || p[1] != (float)cases[i].want[1])
			fail_msg("%s: %g %g", onnx_type_name(cases[i].type), (double)p[0],
				 (double)p[1]);
		ir_graph_free(f->g);
		f->g = NULL;
	}
}

static void typed_fields(void **state)
{
	struct fixture *f = *state;
	int32_t half[2] = { 0x3c00, 0x8001 }, fp8[2] = { 0x38, 0xfe };
	uint64_t u[2] = { 7, 8 };
	double d[2] = { 1, -0.5 };
	Onnx__TensorProto *t;

	ob_begin(13);
	t = ob_tensor("h", ONNX_F16, 1, two), t->int32_data = half, t->n_int32_data = 2;
	t = ob_tensor("e", ONNX_E4M3, 1, two), t->int32_data = fp8, t->n_int32_data = 2;
	t = ob_tensor("u", ONNX_U64, 1, two), t->uint64_data = u, t->n_uint64_data = 2;
	t = ob_tensor("k", ONNX_F64, 1, two), t->double_data = d, t->n_double_data = 2;
	add_model();
	import(f);
	assert_true(((float *)ir_value_find(f->g, "h")->data)[1] == -0x1p-24f);
	assert_int_equal(((uint8_t *)ir_value_find(f->g, "e")->data)[1], 0xfe);
	assert_int_equal(((int64_t *)ir_value_find(f->g, "u")->data)[1], 8);
	assert_true(((float *)ir_value_find(f->g, "k")->data)[1] == -0.5f);
}

static void wrong_amount_of_data_is_corrupt(void **state)
{
	struct fixture *f = *state;

	ob_begin(13);
	ob_raw("k", ONNX_F32, 1, two, "abcdefgh", 7);
	add_model();
	ob_write(f->path);
	refused(f, MICA_ERR_CORRUPT,
		"initializer 'k': has 7 bytes of data where its shape needs 8");
	ob_begin(13);
	ob_tensor("k", ONNX_F32, 1, two);
	add_model();
	ob_write(f->path);
	refused(f, MICA_ERR_CORRUPT, "has 0 elements");
}

static void string_and_huge_tensors_are_refused(void **state)
{
	struct fixture *f = *state;

	ob_begin(13);
	ob_tensor("k", ONNX_STRING, 1, two);
	add_model();
	ob_write(f->path);
	refused(f, MICA_ERR_UNSUPPORTED, "(string)");
	ob_begin(13);
	ob_tensor("k", ONNX_F32, 3, (int64_t[]){ INT64_MAX, INT64_MAX, 4 });
	add_model();
	ob_write(f->path);
	refused(f, MICA_ERR_SHAPE, "too large");
}

/* ---- inputs ---- */

static void initializers_among_the_inputs_are_no_inputs(void **state)
{
	struct fixture *f = *state;
	float data[2] = { 1, 2 };

	ob_begin(8);
	ob_input("k", ONNX_F32, 1, two);
	ob_floats("k", 1, two, data);
	add_model();
	import(f);
	assert_int_equal(f->g->inputs, 1);
	assert_string_equal(f->g->input[0]->name, "x");
}

static void odd_names_and_absent_operands(void **state)
{
	struct fixture *f = *state;

	ob_begin(13);
	ob_input("input image:0", ONNX_F32, 1, two);
	ob_node("Clip", "cl/ip%:0", (const char *[]){ "input image:0", "", "" }, 3);
	ob_output("cl/ip%:0");
	import(f);
	assert_null(f->g->first->in[1]);
	assert_string_equal(f->g->first->name, "cl/ip%:0");
}

static void free_dimensions_need_shape(void **state)
{
	struct fixture *f = *state;
	static const char *const good[] = { "x=5,3" }, *const bad[] = { "x=5,,3" },
				 *const none[] = { "ghost=1" };
	struct mica_onnx_input *list;
	unsigned n;

	ob_begin(13);
	ob_input("x", ONNX_F32, 2, (int64_t[]){ 0, 3 });
	ob_node("Relu", "y", (const char *[]){ "x" }, 1);
	ob_output("y");
	ob_write(f->path);
	refused(f, MICA_ERR_SHAPE, "pass --shape x=D,D,.. or --dim NAME=N (the model's inputs: x[n,3])");
	f->o.shape_count = 1;
	f->o.shapes = bad;
	refused(f, MICA_ERR_USAGE, "--shape x=5,,3");
	f->o.shapes = none;
	refused(f, MICA_ERR_SHAPE, "x[n,3]");
	f->o.shapes = good;
	f->err.code = MICA_ERR_NONE;
	assert_int_equal(mica_onnx_inputs(f->path, &f->o, &list, &n, &f->err), 0);
	assert_int_equal(n, 1);
	assert_int_equal(list[0].dim[0], 5);
	assert_string_equal(list[0].name, "x");
	mica_onnx_inputs_free(list, n);
}

/* ---- order of nodes ---- */

static void unsorted_nodes_are_sorted(void **state)
{
	struct fixture *f = *state;

	ob_begin(13);
	ob_input("x", ONNX_F32, 1, two);
	ob_node("Abs", "c", (const char *[]){ "b" }, 1);
	ob_node("Relu", "b", (const char *[]){ "a" }, 1);
	ob_node("Neg", "a", (const char *[]){ "x" }, 1);
	ob_output("c");
	import(f);
	assert_int_equal(ir_verify(f->g, false), 0);
	assert_string_equal(f->g->first->onnx_type, "Neg");
}

static void self_reference_is_a_cycle(void **state)
{
	struct fixture *f = *state;

	ob_begin(13);
	ob_input("x", ONNX_F32, 1, two);
	ob_node("Add", "a", (const char *[]){ "x", "a" }, 2);
	ob_output("a");
	ob_write(f->path);
	refused(f, MICA_ERR_CORRUPT, "cycle");
}

static void deep_graphs_are_quick(void **state)
{
	struct fixture *f = *state;
	struct timespec a, b;
	char in[16] = "x", out[16];

	ob_begin(13);
	ob_input("x", ONNX_F32, 4, (int64_t[]){ 1, 2, 2, 2 });
	for (unsigned i = 0; i < 20000; i++) {
		snprintf(out, sizeof(out), "v%u", i);
		ob_node(i % 2 ? "Softsign" : "Exp", out, (const char *[]){ in }, 1);
		strcpy(in, out);
	}
	ob_output(in);
	ob_write(f->path);
	clock_gettime(CLOCK_MONOTONIC, &a);
	f->g = ob_compile(f->path, &f->o, NULL, &f->err);
	clock_gettime(CLOCK_MONOTONIC, &b);
	assert_non_null(f->g);
	assert_true(b.tv_sec - a.tv_sec < 10);
}

/* ---- external data ---- */

static void external(const char *location, const char *offset)
{
	static Onnx__StringStringEntryProto e[2], *list[2] = { &e[0], &e[1] };
	Onnx__TensorProto *t;

	ob_begin(13);
	t = ob_tensor("k", ONNX_F32, 1, two);
	onnx__string_string_entry_proto__init(&e[0]);
	onnx__string_string_entry_proto__init(&e[1]);
	e[0].key = "location";
	e[0].value = (char *)location;
	e[1].key = "offset";
	e[1].value = (char *)offset;
	t->has_data_location = true;
	t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
	t->external_data = list;
	t->n_external_data = 2;
	add_model();
}

static void external_data_beside_the_model(void **state)
{
	struct fixture *f = *state;
	float data[4] = { 9, 9, 3, 4 };
	char path[128];

	snprintf(path, sizeof(path), "%s/weights.bin", f->dir);
	ob_write_bytes(path, data, sizeof(data));
	external("weights.bin", "8");
	import(f);
	assert_true(((float *)ir_value_find(f->g, "k")->data)[0] == 3);
}

static void external_data_stays_in_the_folder(void **state)
{
	struct fixture *f = *state;
	char link[128];

	external("../secret", "0");
	ob_write(f->path);
	refused(f, MICA_ERR_CORRUPT, "not a relative path inside");
	external("/etc/passwd", "0");
	ob_write(f->path);
	refused(f, MICA_ERR_CORRUPT, "not a relative path inside");
	snprintf(link, sizeof(link), "%s/link", f->dir);
	assert_int_equal(symlink("/etc/passwd", link), 0);
	external("link", "0");
	ob_write(f->path);
	refused(f, MICA_ERR_CORRUPT, "leads out of");
	external("missing.bin", "0");
	ob_write(f->path);
	refused(f, MICA_ERR_FILE, "missing.bin");
}

static void short_external_data_is_corrupt(void **state)
{
	struct fixture *f = *state;
	char path[128];

	snprintf(path, sizeof(path), "%s/weights.bin", f->dir);
	ob_write_bytes(path, "abcdefgh", 8);
	external("weights.bin", "4");
	ob_write(f->path);
	refused(f, MICA_ERR_CORRUPT, "shorter than");
	external("weights.bin", "-1");
	ob_write(f->path);
	refused(f, MICA_ERR_CORRUPT, "malformed");
}

/* ---- broken files ---- */

static void missing_empty_and_foreign_files(void **state)
{
	struct fixture *f = *state;

	refused(f, MICA_ERR_FILE, "No such file");
	ob_write_bytes(f->path, "", 0);
	refused(f, MICA_ERR_CORRUPT, "empty");
	ob_write_bytes(f->path, "\x89PNG\r\n\x1a\n", 8);
	refused(f, MICA_ERR_CORRUPT, "not a valid ONNX file: at byte");
	strcpy(f->path, "/tmp");
	refused(f, MICA_ERR_FILE, "not a regular file");
}

static void conv_model(void)
{
	Onnx__NodeProto *n;
	float w[36];

	for (int i = 0; i < 36; i++)
		w[i] = (float)(i - 18);
	ob_begin(13);
	ob_input("x", ONNX_F32, 4, (int64_t[]){ 1, 2, 5, 5 });
	ob_floats("w", 4, (int64_t[]){ 2, 2, 3, 3 }, w);
	n = ob_node("Conv", "c", (const char *[]){ "x", "w" }, 2);
	ob_attr_ints(n, "pads", (int64_t[]){ 1, 1, 1, 1 }, 4);
	ob_node("Relu", "r", (const char *[]){ "c" }, 1);
	n = ob_node("Softmax", "y", (const char *[]){ "r" }, 1);
	ob_attr_int(n, "axis", 1);
	ob_output("y");
}

/* Imports whatever is in the file; only that it comes back matters. */
static void survive(struct fixture *f, const void *bytes, size_t n)
{
	ob_write_bytes(f->path, bytes, n);
	f->err.code = MICA_ERR_NONE;
	f->g = ob_compile(f->path, &f->o, NULL, &f->err);
	if (!f->g)
		assert_true(f->err.code != MICA_ERR_NONE && f->err.code != MICA_ERR_INTERNAL);
	else
		ir_graph_free(f->g);
	f->g = NULL;
}

static void truncation_anywhere_is_an_error(void **state)
{
	struct fixture *f = *state;
	uint8_t *bytes;
	size_t n;

	conv_model();
	n = ob_pack(&bytes);
	for (size_t i = 0; i < n; i++)
		survive(f, bytes, i);
	ob_write_bytes(f->path, bytes, n / 2);
	refused(f, MICA_ERR_CORRUPT, "at byte");
	free(bytes);
}

static void any_changed_byte_is_survived(void **state)
{
	struct fixture *f = *state;
	static const uint8_t values[] = { 0, 1, 0x7f, 0x80, 0xff };
	uint8_t *bytes;
	size_t n;

	conv_model();
	n = ob_pack(&bytes);
	for (size_t i = 0; i < n; i++) {
		uint8_t was = bytes[i];

		for (size_t k = 0; k < ARRAY_LEN(values); k++) {
			bytes[i] = values[k];
			survive(f, bytes, n);
		}
		bytes[i] = was;
	}
	free(bytes);
}

/* Subgraph in attribute in node in subgraph ...: as deep as the file is long. */
static void endless_nesting_is_refused(void **state)
{
	struct fixture *f = *state;
	size_t cap = 1u << 20, n = 0;
	uint8_t *p = malloc(cap), *end = p + cap;

	while (n + 24 < cap / 2) { /* written from the inside out: graph, node, attribute */
		static const uint8_t tag[3] = { 6 << 3 | 2, 5 << 3 | 2, 1 << 3 | 2 };

		for (unsigned i = 0; i < 3; i++) {
			uint8_t len[10];
			unsigned k = 0;

			for (size_t v = n; k == 0 || v; v >>= 7)
				len[k++] = (uint8_t)(v & 0x7f) | (v > 0x7f ? 0x80 : 0);
			n += k + 1;
			end[-(ptrdiff_t)n] = tag[i];
			memcpy(end - n + 1, len, k);
		}
	}
	/* the outermost attribute of a graph's node: model.graph = 7 */
	end[-(ptrdiff_t)n] = 1 << 3 | 2;
	memmove(p, end - n, n);
	{
		uint8_t head[12] = { 7 << 3 | 2 };
		unsigned k = 1;
		uint8_t *all = malloc(n + 12);

		for (size_t v = n; k == 1 || v; v >>= 7)
			head[k++] = (uint8_t)(v & 0x7f) | (v > 0x7f ? 0x80 : 0);
		memcpy(all, head, k);
		memcpy(all + k, p, n);
		ob_write_bytes(f->path, all, n + k);
		free(all);
	}
	free(p);
	refused(f, MICA_ERR_CORRUPT, "nested too deeply");
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(raw_data_of_every_type),
		T(typed_fields),
		T(wrong_amount_of_data_is_corrupt),
		T(string_and_huge_tensors_are_refused),
		T(initializers_among_the_inputs_are_no_inputs),
		T(odd_names_and_absent_operands),
		T(free_dimensions_need_shape),
		T(unsorted_nodes_are_sorted),
		T(self_reference_is_a_cycle),
		T(deep_graphs_are_quick),
		T(external_data_beside_the_model),
		T(external_data_stays_in_the_folder),
		T(short_external_data_is_corrupt),
		T(missing_empty_and_foreign_files),
		T(truncation_anywhere_is_an_error),
		T(any_changed_byte_is_survived),
		T(endless_nesting_is_refused),
	};

	return cmocka_run_group_tests_name("compiler_onnx", tests, NULL, NULL);
}
