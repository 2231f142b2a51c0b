// SPDX-License-Identifier: MIT
/* Calibration and quantization: thresholds of the methods, scales, groups, tables, errors. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "compile_fixture.h"
#include "onnx_builder.h"

/* Values evenly in -1..1 with one outlier of 8 in the first sample. */
static int samples(void *opaque, unsigned sample, const char *input, float *dst, size_t n,
		   struct mica_err *err)
{
	(void)opaque;
	(void)input;
	(void)err;
	for (size_t i = 0; i < n; i++)
		dst[i] = (float)((i * 7919 + sample * 104729) % 20011) / 10005.0f - 1;
	if (sample == 0)
		dst[n / 2] = 8;
	return 0;
}

static void compile(struct compile_fixture *f, enum mica_dtype format, enum mica_method method)
{
	ob_write(f->path);
	f->o.format = format;
	f->o.method = method;
	f->o.calib = (struct mica_calib){ .count = 4, .load = samples };
	f->g = ob_compile(f->path, &f->o, NULL, &f->err);
	if (!f->g)
		fail_msg("%s", f->err.text);
	assert_true(f->g->quantized);
}

static const int64_t map[4] = { 1, 2, 64, 64 };

/* x -> abs -> conv -> y, where abs is an activation that has the outlier */
static void outlier_model(void)
{
	float w[4] = { 1, 0, 0, 1 };

	ob_begin(13);
	ob_input("x", ONNX_F32, 4, map);
	ob_floats("w", 4, (int64_t[]){ 2, 2, 1, 1 }, w);
	ob_node("Abs", "a", (const char *[]){ "x" }, 1);
	ob_node("Conv", "y", (const char *[]){ "a", "w" }, 2);
	ob_output("y");
}

static const struct ir_op *find_kind(const struct ir_graph *g, enum ir_kind kind)
{
	for (const struct ir_op *op = g->first; op; op = op->next)
		if (op->kind == kind)
			return op;
	return NULL;
}

static float activation_range(struct compile_fixture *f, enum mica_method method)
{
	float range;

	outlier_model();
	compile(f, MICA_I8, method);
	range = find_kind(f->g, IR_CONV)->in[0]->scale * 127;
	ir_graph_free(f->g);
	f->g = NULL;
	return range;
}

static void methods_clip_what_they_should(void **state)
{
	struct compile_fixture *f = *state;
	float max = activation_range(f, MICA_METHOD_MAX), kl = activation_range(f, MICA_METHOD_KL);
	float percentile = activation_range(f, MICA_METHOD_PERCENTILE),
	      mse = activation_range(f, MICA_METHOD_MSE);

	assert_true(fabsf(max - 8) < 1e-4f);
	assert_true(percentile > 0.99f && percentile < 1.1f);
	assert_true(kl > 0.8f && kl < 4);
	assert_true(mse >= 0.8f && mse < 8);
}

static void weights_are_scaled_by_channel(void **state)
{
	struct compile_fixture *f = *state;
	float w[6] = { 1, -4, 0, 0, 448, 3 };
	const struct ir_value *q;

	ob_begin(13);
	ob_input("x", ONNX_F32, 4, map);
	ob_floats("w", 4, (int64_t[]){ 3, 2, 1, 1 }, w);
	ob_node("Conv", "y", (const char *[]){ "x", "w" }, 2);
	ob_output("y");
	compile(f, MICA_E4M3, MICA_METHOD_MAX);
	q = find_kind(f->g, IR_CONV)->in[1];
	assert_int_equal(q->dtype, MICA_E4M3);
	assert_true(q->ch_scale[0] == 4.0f / 448 && q->ch_scale[1] == 1 && q->ch_scale[2] == 1);
	assert_true(mica_decode_e4m3(((uint8_t *)q->data)[1]) == -448);
	assert_true(mica_decode_e4m3(((uint8_t *)q->data)[4]) == 448);
}

static void concatenated_values_share_a_scale(void **state)
{
	struct compile_fixture *f = *state;
	float w[4] = { 1, 0, 0, 1 }, v[4] = { 3, 0, 0, 3 }, k[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };
	const struct ir_op *cat;
	Onnx__NodeProto *n;

	ob_begin(13);
	ob_input("x", ONNX_F32, 4, map);
	ob_floats("w", 4, (int64_t[]){ 2, 2, 1, 1 }, w);
	ob_floats("v", 4, (int64_t[]){ 2, 2, 1, 1 }, v);
	ob_floats("k", 4, (int64_t[]){ 2, 4, 1, 1 }, k);
	ob_node("Conv", "a", (const char *[]){ "x", "w" }, 2);
	ob_node("Conv", "b", (const char *[]){ "x", "v" }, 2);
	n = ob_node("Concat", "c", (const char *[]){ "a", "b" }, 2);
	ob_attr_int(n, "axis", 1);
	ob_node("Conv", "y", (const char *[]){ "c", "k" }, 2);
	ob_output("y");
	compile(f, MICA_I8, MICA_METHOD_MAX);
	cat = find_kind(f->g, IR_CONCAT);
	assert_true(fabsf(cat->out[0]->scale - 24.0f / 127) < 1e-6f);
	assert_true(cat->in[0]->scale == cat->out[0]->scale &&
		    cat->in[1]->scale == cat->out[0]->scale);
}

static void chains_of_functions_become_one_table(void **state)
{
	struct compile_fixture *f = *state;
	float w[4] = { 1, 0, 0, 1 }, half = 0.5f;
	const struct ir_op *lut;
	const struct ir_value *x, *t;

	ob_begin(13);
	ob_input("x", ONNX_F32, 4, map);
	ob_floats("w", 4, (int64_t[]){ 2, 2, 1, 1 }, w);
	ob_floats("half", 0, NULL, &half);
	ob_node("Conv", "a", (const char *[]){ "x", "w" }, 2);
	ob_node("MaxPool", "p", (const char *[]){ "a" }, 1);
	ob_attr_ints(ob_model()->graph->node[1], "kernel_shape", (int64_t[]){ 2, 2 }, 2);
	ob_node("Exp", "e", (const char *[]){ "p" }, 1);
	ob_node("Mul", "m", (const char *[]){ "half", "e" }, 2);
	ob_node("Conv", "y", (const char *[]){ "m", "w" }, 2);
	ob_output("y");
	compile(f, MICA_I8, MICA_METHOD_MAX);
	lut = find_kind(f->g, IR_LUT);
	assert_non_null(lut);
	assert_null(find_kind(f->g, IR_UNARY));
	assert_null(find_kind(f->g, IR_BINARY));
	x = lut->in[0];
	t = lut->in[1];
	for (int c = -128; c < 128; c++) {
		float v = mica_bin_eval(MICA_BIN_MUL, 0.5f,
					mica_fn_eval(MICA_FN_EXP, (float)c * x->scale, 0, 0));
		int8_t want;

		mica_quantize(MICA_I8, &v, &want, 1, 1 / lut->out[0]->scale, 0);
		assert_int_equal(((int8_t *)t->data)[(uint8_t)c], want);
	}
}

static void outputs_are_f32_and_fp8_inputs_bf16(void **state)
{
	struct compile_fixture *f = *state;

	outlier_model();
	compile(f, MICA_E4M3, MICA_METHOD_MAX);
	assert_int_equal(f->g->output[0]->dtype, MICA_F32);
	assert_int_equal(f->g->input[0]->dtype, MICA_BF16);
	assert_int_equal(find_kind(f->g, IR_CONV)->in[0]->dtype, MICA_E4M3);
}

static void long_int8_sums_go_to_bf16(void **state)
{
	struct compile_fixture *f = *state;
	static float w[140000];

	/* k is also above what one dimension of a command holds */
	ob_begin(13);
	ob_input("x", ONNX_F32, 2, (int64_t[]){ 1, 140000 });
	ob_floats("w", 2, (int64_t[]){ 140000, 1 }, w);
	ob_node("MatMul", "y", (const char *[]){ "x", "w" }, 2);
	ob_output("y");
	compile(f, MICA_I8, MICA_METHOD_MAX);
	assert_int_equal(find_kind(f->g, IR_CONV)->a.kw, 4);
	assert_int_equal(find_kind(f->g, IR_CONV)->in[1]->dtype, MICA_BF16);
}

static int broken_samples(void *opaque, unsigned sample, const char *input, float *dst, size_t n,
			  struct mica_err *err)
{
	(void)opaque;
	(void)dst;
	(void)n;
	return mica_err_set(err, MICA_ERR_FILE, "sample %u of %s is unreadable", sample, input);
}

static void calibration_errors_come_through(void **state)
{
	struct compile_fixture *f = *state;

	outlier_model();
	ob_write(f->path);
	f->o.calib = (struct mica_calib){ .count = 1, .load = broken_samples };
	assert_null(ob_compile(f->path, &f->o, NULL, &f->err));
	assert_int_equal(f->err.code, MICA_ERR_FILE);
	assert_string_equal(f->err.text, "sample 0 of x is unreadable");
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, compile_setup, compile_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(methods_clip_what_they_should),	T(weights_are_scaled_by_channel),
		T(concatenated_values_share_a_scale),	T(chains_of_functions_become_one_table),
		T(outputs_are_f32_and_fp8_inputs_bf16), T(long_int8_sums_go_to_bf16),
		T(calibration_errors_come_through),
	};

	return cmocka_run_group_tests_name("compiler_quantize", tests, NULL, NULL);
}
