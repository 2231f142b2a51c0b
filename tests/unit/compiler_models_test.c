// SPDX-License-Identifier: MIT
/*
 * Real models (folder MICA_MODELS, else ../shared/models; skipped when absent): all of them reach the device dialect without
 * transposes inside, and in f32 they give the outputs that ONNX Runtime gave.
 */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "onnx_builder.h"

static const char *models(void)
{
	const char *dir = getenv("MICA_MODELS");

	return dir ? dir : "../shared/models";
}

static int list_models(struct dirent ***list)
{
	int n = scandir(models(), list, NULL, alphasort);

	if (n < 0) {
		print_message("[  SKIP  ] no models: set MICA_MODELS\n");
		skip();
	}
	return n;
}

static bool has_suffix(const char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);

	return n > m && !strcmp(name + n - m, suffix);
}

static unsigned count_kind(const struct ir_graph *g, enum ir_kind kind)
{
	unsigned n = 0;

	for (const struct ir_op *op = g->first; op; op = op->next)
		n += op->kind == kind;
	return n;
}

/* The input and each output may be transposed, and a ConvTranspose interleaves once. */
static void models_reach_the_device_dialect(void **state)
{
	struct dirent **list;
	int n = list_models(&list);
	(void)state;

	for (int i = 0; i < n; i++) {
		struct mica_compile_options o;
		struct mica_err err = { 0 };
		struct ir_graph *g;
		char path[512];
		unsigned most;

		snprintf(path, sizeof(path), "%s/%s", models(), list[i]->d_name);
		if (has_suffix(path, ".onnx")) {
			mica_compile_defaults(&o);
			g = ob_compile(path, &o, "layout", &err);
			if (!g)
				fail_msg("%s: %s", path, err.text);
			most = g->inputs + g->outputs + (strstr(path, "ppocrv4_det") ? 2 : 0);
			if (count_kind(g, IR_TRANSPOSE) > most)
				fail_msg("%s: %u transposes", path, count_kind(g, IR_TRANSPOSE));
			assert_int_equal(count_kind(g, IR_BATCHNORM) + count_kind(g, IR_ONNX), 0);
			ir_graph_free(g);
		}
		free(list[i]);
	}
	free(list);
}

struct golden {
	struct ir_graph *g;
	FILE *in, *out;
	float **got;
};

static int load(void *opaque, const struct ir_value *input, float *dst, size_t n)
{
	struct golden *t = opaque;
	(void)input;

	return fread(dst, sizeof(*dst), n, t->in) == n ? 0 : -MICA_ERR_FILE;
}

static void see(void *opaque, const struct ir_value *v, const void *codes, size_t n)
{
	struct golden *t = opaque;

	for (unsigned i = 0; i < t->g->outputs; i++) {
		if (t->g->output[i] != v)
			continue;
		t->got[i] = malloc(n * sizeof(float));
		memcpy(t->got[i], codes, n * sizeof(float));
	}
}

static void compare(struct golden *t, const char *path)
{
	for (unsigned i = 0; i < t->g->outputs; i++) {
		size_t n = (size_t)ir_elements(t->g->output[i]);
		float *want = malloc(n * sizeof(*want)), worst = 0, most = 0;

		assert_non_null(t->got[i]);
		assert_int_equal(fread(want, sizeof(*want), n, t->out), n);
		for (size_t k = 0; k < n; k++) {
			worst = fmaxf(worst, fabsf(want[k] - t->got[i][k]));
			most = fmaxf(most, fabsf(want[k]));
		}
		if (!(worst <= 1e-4f * (1 + most)))
			fail_msg("%s: output %s is off by %g of %g", path, t->g->output[i]->name,
				 (double)worst, (double)most);
		free(want);
		free(t->got[i]);
	}
}

static void run_golden(const char *path)
{
	struct ir_trace cb = { .load = load, .see = see };
	struct mica_compile_options o;
	struct mica_err err = { 0 };
	struct golden t = { 0 };
	struct ir_tracer *tracer;
	char file[560];
	int stem = (int)strlen(path) - 5;

	snprintf(file, sizeof(file), "%.*s.in.bin", stem, path);
	t.in = fopen(file, "rb");
	snprintf(file, sizeof(file), "%.*s.out.bin", stem, path);
	t.out = fopen(file, "rb");
	if (t.in && t.out) {
		mica_compile_defaults(&o);
		o.format = MICA_F32;
		t.g = ob_compile(path, &o, NULL, &err);
		if (!t.g)
			fail_msg("%s: %s", path, err.text);
		t.got = calloc(t.g->outputs, sizeof(*t.got));
		cb.opaque = &t;
		tracer = ir_tracer_new(t.g, 2);
		if (!tracer || ir_tracer_run(tracer, &cb))
			fail_msg("%s: %s", path, err.text);
		compare(&t, path);
		ir_tracer_free(tracer);
		ir_graph_free(t.g);
		free(t.got);
	}
	if (t.in)
		fclose(t.in);
	if (t.out)
		fclose(t.out);
}

static void outputs_are_those_of_onnx_runtime(void **state)
{
	struct dirent **list;
	int n = list_models(&list);
	char path[512];
	(void)state;

	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", models(), list[i]->d_name);
		if (has_suffix(path, ".onnx"))
			run_golden(path);
		free(list[i]);
	}
	free(list);
}

/* ---- topologies with constant weights: input i of n elements is i / n ---- */

struct light {
	struct ir_graph *g;
	const struct mica_onnx_data *want;
	float worst;
	bool seen;
};

static int load_ramp(void *opaque, const struct ir_value *input, float *dst, size_t n)
{
	(void)opaque;
	(void)input;
	for (size_t i = 0; i < n; i++)
		dst[i] = (float)((double)i / (double)n);
	return 0;
}

static void see_light(void *opaque, const struct ir_value *v, const void *codes, size_t n)
{
	struct light *t = opaque;
	const float *got = codes;

	if (v != t->g->output[0])
		return;
	assert_int_equal(n, t->want->elements);
	for (size_t k = 0; k < n; k++)
		t->worst = fmaxf(t->worst, fabsf(got[k] - t->want->f[k]) / (1e-6f + fabsf(t->want->f[k])));
	t->seen = true;
}

static void run_light(const char *path)
{
	struct ir_trace cb = { .load = load_ramp, .see = see_light };
	struct mica_compile_options o;
	struct mica_onnx_data want;
	struct mica_err err = { 0 };
	struct light t = { .want = &want };
	struct ir_tracer *tracer;
	char file[560];

	snprintf(file, sizeof(file), "%.*s_output_0.pb", (int)strlen(path) - 5, path);
	if (mica_onnx_data_read(file, &want, &err))
		fail_msg("%s: %s", file, err.text);
	mica_compile_defaults(&o);
	o.format = MICA_F32;
	cb.opaque = &t;
	t.g = ob_compile(path, &o, NULL, &err);
	tracer = t.g ? ir_tracer_new(t.g, 2) : NULL;
	if (!tracer || ir_tracer_run(tracer, &cb))
		fail_msg("%s: %s", path, err.text);
	assert_true(t.seen);
	if (!(t.worst <= 1e-4f))
		fail_msg("%s: off by %g relative", path, (double)t.worst);
	ir_tracer_free(tracer);
	ir_graph_free(t.g);
	mica_onnx_data_free(&want);
}

static void light_topologies_give_the_golden_outputs(void **state)
{
	struct dirent **list;
	char dir[480], path[512];
	int n;
	(void)state;

	snprintf(dir, sizeof(dir), "%s/light", models());
	n = scandir(dir, &list, NULL, alphasort);
	if (n < 0)
		skip();
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%.400s/%.100s", dir, list[i]->d_name);
		if (has_suffix(path, ".onnx"))
			run_light(path);
		free(list[i]);
	}
	free(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(models_reach_the_device_dialect),
		cmocka_unit_test(outputs_are_those_of_onnx_runtime),
		cmocka_unit_test(light_topologies_give_the_golden_outputs),
	};

	return cmocka_run_group_tests_name("compiler_models", tests, NULL, NULL);
}
