// SPDX-License-Identifier: MIT
/*
 * The ONNX project's own node tests (Debian: libonnx-testdata) through the front half and the engine in f32. Each test
 * passes, or is refused with a message that says what is not supported; nothing may give other numbers or break.
 */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "onnx.h"

#define ROOT	 "/usr/share/libonnx-testdata/data/node"
#define MIN_PASS 787 /* of the tests in libonnx-testdata 1.12 */

struct bytes {
	uint8_t *p;
	size_t n;
};

static struct bytes slurp(const char *path)
{
	struct bytes b = { 0 };
	FILE *f = fopen(path, "rb");
	long n;

	if (!f)
		return b;
	fseek(f, 0, SEEK_END);
	n = ftell(f);
	rewind(f);
	b.p = malloc((size_t)n + 1);
	b.n = fread(b.p, 1, (size_t)n, f);
	fclose(f);
	return b;
}

static Onnx__TensorProto *tensor_file(const char *dir, const char *kind, unsigned i)
{
	char path[512];
	struct bytes b;
	Onnx__TensorProto *t;

	snprintf(path, sizeof(path), "%s/test_data_set_0/%s_%u.pb", dir, kind, i);
	b = slurp(path);
	t = b.p ? onnx__tensor_proto__unpack(NULL, b.n, b.p) : NULL;
	free(b.p);
	return t;
}

struct node_test {
	Onnx__ModelProto *model;
	Onnx__TensorProto *in[16], *out[16];
	unsigned ins, outs;
	struct ir_graph *g;
	bool wrong;
	char why[256];
};

/* The model with some inputs frozen to their test data: integers always, and from operand `freeze` on floats too. */
static bool write_model(struct node_test *t, const char *path, unsigned freeze)
{
	Onnx__GraphProto *p = t->model->graph;
	Onnx__TensorProto *init[16];
	char *names[16];
	uint8_t *buf;
	size_t n;
	FILE *f;

	p->n_initializer = 0;
	p->initializer = init;
	for (unsigned i = 0; i < t->ins; i++) {
		int type = t->in[i]->data_type;

		names[i] = t->in[i]->name;
		if (i < freeze && (type == ONNX_F32 || type == ONNX_F16 || type == ONNX_F64 ||
				   type == ONNX_U8 || type == ONNX_I8))
			continue;
		t->in[i]->name = p->input[i]->name;
		init[p->n_initializer++] = t->in[i];
	}
	n = onnx__model_proto__get_packed_size(t->model);
	buf = malloc(n);
	onnx__model_proto__pack(t->model, buf);
	for (unsigned i = 0; i < t->ins; i++)
		t->in[i]->name = names[i];
	p->initializer = NULL;
	p->n_initializer = 0;
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(buf, 1, n, f), n);
	fclose(f);
	free(buf);
	return true;
}

static struct ir_value *values_of(struct ir_graph *g, const Onnx__TensorProto *t)
{
	struct ir_value *v = onnx_tensor(g, t, NULL, "test data");

	return v ? const_f32(g, v) : NULL;
}

static int load(void *opaque, const struct ir_value *input, float *dst, size_t n)
{
	struct node_test *t = opaque;

	for (unsigned i = 0; i < t->model->graph->n_input; i++) {
		struct ir_value *v;

		if (strcmp(t->model->graph->input[i]->name, input->name))
			continue;
		v = values_of(t->g, t->in[i]);
		if (!v || (size_t)ir_elements(v) != n)
			return -MICA_ERR_INTERNAL;
		for (size_t k = 0; k < n; k++) /* codes of a quantized input as values */
			dst[k] = ((float *)v->data)[k];
		if (input->dtype == MICA_I8) {
			for (size_t k = 0; k < n; k++) {
				int code = (int)dst[k] - (t->in[i]->data_type == ONNX_U8 ? 128 : 0);

				dst[k] = (float)(code - input->zero) * input->scale;
			}
		}
		return 0;
	}
	return -MICA_ERR_INTERNAL;
}

static void see(void *opaque, const struct ir_value *v, const void *codes, size_t n)
{
	struct node_test *t = opaque;
	struct ir_value *want;
	float *got;

	for (unsigned i = 0; i < t->g->outputs && i < t->outs; i++) {
		if (t->g->output[i] != v)
			continue;
		want = values_of(t->g, t->out[i]);
		got = malloc(n * sizeof(*got) + 4);
		mica_dequantize((enum mica_dtype)v->dtype, codes, got, n, v->scale, v->zero);
		if (!want || (size_t)ir_elements(want) != n || want->rank != v->rank)
			t->wrong = true;
		for (size_t k = 0; k < n && !t->wrong; k++) {
			float w = ((float *)want->data)[k], d = fabsf(got[k] - w);

			if (v->dtype == MICA_I8) /* codes are compared as values */
				w = (w - (t->out[i]->data_type == ONNX_U8 ? 128 : 0) -
				     (float)v->zero) *
				    v->scale,
				d = fabsf(got[k] - w);
			if (d <= 1e-4f + 1e-3f * fabsf(w) || (isnan(w) && isnan(got[k])) ||
			    w == got[k])
				continue;
			snprintf(t->why, sizeof(t->why), "output %u element %zu is %g, not %g", i,
				 k, (double)got[k], (double)w);
			t->wrong = true;
		}
		free(got);
	}
}

/* 0 passed, 1 refused, 2 wrong */
static int attempt(struct node_test *t, const char *path, unsigned freeze)
{
	struct mica_compile_options o;
	struct mica_err err = { 0 };
	struct ir_trace cb = { .load = load, .see = see, .opaque = t };
	struct ir_tracer *tracer = NULL;
	int r;

	mica_compile_defaults(&o);
	o.format = MICA_F32;
	write_model(t, path, freeze);
	t->g = ir_graph_new("node", &err);
	t->wrong = false;
	r = ir_import(t->g, path, &o);
	if (!r)
		r = ir_run_passes(t->g, &o, NULL);
	if (!r) {
		tracer = ir_tracer_new(t->g, 1);
		r = tracer ? ir_tracer_run(tracer, &cb) : -(int)err.code;
	}
	if (tracer)
		ir_tracer_free(tracer);
	ir_graph_free(t->g);
	if (r)
		snprintf(t->why, sizeof(t->why), "%.240s", err.text);
	if (r && err.code != MICA_ERR_UNSUPPORTED && err.code != MICA_ERR_SHAPE &&
	    err.code != MICA_ERR_CORRUPT)
		return 2;
	return r ? 1 : t->wrong ? 2 : 0;
}

static bool open_test(struct node_test *t, const char *dir)
{
	char path[512];
	struct bytes b;

	memset(t, 0, sizeof(*t));
	snprintf(path, sizeof(path), "%s/model.onnx", dir);
	b = slurp(path);
	t->model = b.p ? onnx__model_proto__unpack(NULL, b.n, b.p) : NULL;
	free(b.p);
	if (!t->model || !t->model->graph || t->model->graph->n_initializer)
		return false;
	while (t->ins < t->model->graph->n_input && t->ins < 16 &&
	       (t->in[t->ins] = tensor_file(dir, "input", t->ins)))
		t->ins++;
	while (t->outs < t->model->graph->n_output && t->outs < 16 &&
	       (t->out[t->outs] = tensor_file(dir, "output", t->outs)))
		t->outs++;
	return t->ins == t->model->graph->n_input && t->outs == t->model->graph->n_output;
}

static void close_test(struct node_test *t)
{
	for (unsigned i = 0; i < t->ins; i++)
		onnx__tensor_proto__free_unpacked(t->in[i], NULL);
	for (unsigned i = 0; i < t->outs; i++)
		onnx__tensor_proto__free_unpacked(t->out[i], NULL);
	if (t->model)
		onnx__model_proto__free_unpacked(t->model, NULL);
}

static int run_one(const char *name, char *why)
{
	char dir[400], path[] = "/tmp/mica-node-XXXXXX";
	struct node_test t;
	int r = 1, fd;

	snprintf(dir, sizeof(dir), ROOT "/%.300s", name);
	strcpy(why, "data of other kinds than tensors");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	if (open_test(&t, dir)) {
		r = attempt(&t, path, 16);
		if (r == 1 && t.ins > 1)
			r = attempt(&t, path, 1);
		strcpy(why, t.why);
	}
	close_test(&t);
	unlink(path);
	return r;
}

/* Tests that say something else than MICA on purpose. */
static bool exempt(const char *name)
{
	static const char *const list[] = {
		"BFLOAT16", /* the data of this release is typed uint16 */
	};

	for (size_t i = 0; i < ARRAY_LEN(list); i++)
		if (strstr(name, list[i]))
			return true;
	return false;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void node_tests_pass_or_are_refused(void **state)
{
	unsigned count[3] = { 0 };
	struct dirent **list;
	int n = scandir(ROOT, &list, NULL, by_name);
	const char *only = getenv("NODE");
	char why[256];
	(void)state;

	if (n < 0) {
		print_message("[  SKIP  ] libonnx-testdata is not installed\n");
		skip();
	}
	for (int i = 0; i < n; i++) {
		const char *name = list[i]->d_name;
		int r;

		if (*name != '.' && !exempt(name) && (!only || strstr(name, only))) {
			r = run_one(name, why);
			count[r]++;
			if (r == 2)
				print_message("WRONG %s: %s\n", name, why);
			else if (r == 1 && getenv("MICA_VERBOSE"))
				print_message("refused %s: %s\n", name, why);
		}
		free(list[i]);
	}
	free(list);
	print_message("%u pass, %u are refused, %u are wrong\n", count[0], count[1], count[2]);
	assert_int_equal(count[2], 0);
	if (!only)
		assert_true(count[0] >= MIN_PASS);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(node_tests_pass_or_are_refused) };

	return cmocka_run_group_tests_name("compiler_nodes", tests, NULL, NULL);
}
