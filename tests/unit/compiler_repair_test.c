// SPDX-License-Identifier: MIT
/* The repairs that look at outputs, against their definitions: rounding by trying all, bias by means; and integer-only Q/DQ. */
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
#include "adaround.h"
#include "backend.h"
#include "grid.h"
#include "onnx_builder.h"
#include "repair.h"

/* ---- the formats' numbers ---- */

static void grids_are_those_of_the_engine(void **state)
{
	static const enum mica_dtype type[] = { MICA_E4M3, MICA_E5M2, MICA_I8, MICA_BF16 };
	static float x[100000], back[100000];
	static uint16_t code[100000];
	const size_t n = 100000;
	(void)state;

	for (size_t i = 0; i < n; i++)
		x[i] = ldexpf(compile_noise(), (int)(compile_noise() * 24));
	for (unsigned t = 0; t < 4; t++) {
		mica_quantize(type[t], x, code, n, 1, 0);
		mica_dequantize(type[t], code, back, n, 1, 0);
		for (size_t i = 0; i < n; i++) {
			float below, above;

			grid_around(type[t], x[i], &below, &above);
			assert_true(grid_nearest(type[t], x[i]) == back[i]);
			assert_true(back[i] == below || back[i] == above);
			assert_true(fabsf(x[i]) > mica_largest(type[t]) || (below <= x[i] && x[i] <= above));
		}
	}
}

/* ---- rounding ---- */

#define K    9
#define ROWS 48

struct small {
	float x[K][ROWS], weight[ROWS], below[K], above[K], exact[K], t[ROWS];
};

static void make_small(struct small *s)
{
	for (int r = 0; r < ROWS; r++) {
		float common = compile_noise();

		s->weight[r] = r % 3 ? 1 : 0.1f;
		s->t[r] = 0;
		for (int i = 0; i < K; i++)
			s->x[i][r] = fabsf(common + 0.3f * compile_noise()); /* as behind a ReLU: correlated */
	}
	for (int i = 0; i < K; i++) {
		s->exact[i] = 4 * compile_noise();
		s->below[i] = floorf(s->exact[i]);
		s->above[i] = ceilf(s->exact[i]);
		for (int r = 0; r < ROWS; r++)
			s->t[r] += s->exact[i] * s->x[i][r];
	}
}

#define RIDGE 0.05f

/* The sum that is to be small, from its definition. */
static double objective(const struct small *s, const float *w)
{
	double sum = 0;

	for (int r = 0; r < ROWS; r++) {
		double y = 0;

		for (int i = 0; i < K; i++)
			y += (double)w[i] * s->x[i][r];
		sum += s->weight[r] * (y - s->t[r]) * (y - s->t[r]);
	}
	for (int i = 0; i < K; i++)
		sum += RIDGE * ((double)w[i] - s->exact[i]) * ((double)w[i] - s->exact[i]);
	return sum;
}

static double best_of_all(const struct small *s)
{
	double best = INFINITY;

	for (unsigned mask = 0; mask < 1u << K; mask++) {
		float w[K];
		double e;

		for (int i = 0; i < K; i++)
			w[i] = mask >> i & 1 ? s->above[i] : s->below[i];
		e = objective(s, w);
		best = e < best ? e : best;
	}
	return best;
}

static void rounding_is_near_the_best_of_all(void **state)
{
	double nearest = 0, solved = 0, best = 0;
	(void)state;

	for (int trial = 0; trial < 60; trial++) {
		struct small s;
		float w[K], error[ROWS], scratch[K + ROWS];
		struct adaround a = { K, ROWS, &s.x[0][0], s.weight, s.below, s.above, s.exact, RIDGE };
		double before, after, gain;

		make_small(&s);
		for (int i = 0; i < K; i++)
			w[i] = rintf(s.exact[i]);
		for (int r = 0; r < ROWS; r++) {
			error[r] = -s.t[r];
			for (int i = 0; i < K; i++)
				error[r] += w[i] * s.x[i][r];
		}
		before = objective(&s, w);
		gain = adaround_solve(&a, w, error, scratch);
		after = objective(&s, w);
		assert_true(fabs(before - after - gain) < 1e-3 * before + 1e-4);
		for (int i = 0; i < K; i++) { /* no single change is better */
			float other[K];

			assert_true(w[i] == s.below[i] || w[i] == s.above[i]);
			memcpy(other, w, sizeof(w));
			other[i] = w[i] == s.below[i] ? s.above[i] : s.below[i];
			assert_true(objective(&s, other) >= after - 1e-4);
		}
		nearest += before;
		solved += after;
		best += best_of_all(&s);
	}
	print_message("sum of errors: nearest %.2f, adaptive %.2f, best of all %.2f\n", nearest, solved, best);
	assert_true(solved < 0.5 * nearest);
	assert_true(solved < 2 * best);
}

/* ---- in the compiler ---- */

static const int64_t map[4] = { 1, 3, 16, 16 };
#define SAMPLES 6
#define OUT	(4 * 256)

static int samples(void *opaque, unsigned sample, const char *input, float *dst, size_t n, struct mica_err *err)
{
	(void)opaque;
	(void)input;
	(void)err;
	compile_noisy(sample, dst, n);
	for (size_t i = 0; i < n; i++)
		dst[i] = 0.8f + dst[i] / 2;
	return 0;
}

/* conv (clip), depthwise conv (relu), conv: every kind of layer that is repaired */
static void three_convs(void)
{
	static const int64_t pads[4] = { 1, 1, 1, 1 };
	float w[8 * 3 * 9], d[8 * 9], v[4 * 8], b[8], zero = 0, six = 6;
	Onnx__NodeProto *n;

	compile_seed(4711);
	for (int i = 0; i < 8 * 3 * 9; i++)
		w[i] = compile_noise();
	for (int i = 0; i < 8 * 9; i++)
		d[i] = compile_noise();
	for (int i = 0; i < 4 * 8; i++)
		v[i] = compile_noise();
	for (int i = 0; i < 8; i++)
		b[i] = compile_noise();
	ob_begin(13);
	ob_input("x", ONNX_F32, 4, map);
	ob_floats("w", 4, (int64_t[]){ 8, 3, 3, 3 }, w);
	ob_floats("b", 1, (int64_t[]){ 8 }, b);
	ob_floats("d", 4, (int64_t[]){ 8, 1, 3, 3 }, d);
	ob_floats("v", 4, (int64_t[]){ 4, 8, 1, 1 }, v);
	ob_floats("zero", 0, NULL, &zero);
	ob_floats("six", 0, NULL, &six);
	n = ob_node("Conv", "c", (const char *[]){ "x", "w", "b" }, 3);
	ob_attr_ints(n, "pads", pads, 4);
	ob_node("Clip", "cc", (const char *[]){ "c", "zero", "six" }, 3);
	n = ob_node("Conv", "e", (const char *[]){ "cc", "d" }, 2);
	ob_attr_ints(n, "pads", pads, 4);
	ob_attr_int(n, "group", 8);
	ob_node("Relu", "ee", (const char *[]){ "e" }, 1);
	ob_node("Conv", "y", (const char *[]){ "ee", "v" }, 2);
	ob_output("y");
}

static struct ir_graph *passes(struct compile_fixture *f)
{
	ir_graph_free(f->g);
	f->err.code = MICA_ERR_NONE;
	f->g = ob_compile(f->path, &f->o, NULL, &f->err);
	if (!f->g)
		fail_msg("%s", f->err.text);
	return f->g;
}

static void run_graph(struct ir_graph *g, float (*y)[OUT])
{
	compile_run(g, samples, 0, SAMPLES, *y);
}

static double squared(float (*a)[OUT], float (*b)[OUT])
{
	double sum = 0;

	for (unsigned s = 0; s < SAMPLES; s++)
		for (int i = 0; i < OUT; i++)
			sum += ((double)a[s][i] - b[s][i]) * ((double)a[s][i] - b[s][i]);
	return sum;
}

static float f32_out[SAMPLES][OUT], plain[SAMPLES][OUT], repaired[SAMPLES][OUT];

static void prepare(struct compile_fixture *f)
{
	three_convs();
	ob_write(f->path);
	f->o.calib = (struct mica_calib){ .count = SAMPLES, .load = samples };
	f->o.format = MICA_F32;
	run_graph(passes(f), f32_out);
}

static const enum mica_dtype formats[] = { MICA_I8, MICA_E4M3, MICA_E5M2 };

static void adaptive_rounding_lowers_the_error_in_every_format(void **state)
{
	struct compile_fixture *f = *state;

	prepare(f);
	for (unsigned i = 0; i < 3; i++) {
		f->o.format = formats[i];
		f->o.repair = 0;
		run_graph(passes(f), plain);
		f->o.repair = MICA_REPAIR_ADAROUND;
		run_graph(passes(f), repaired);
		print_message("%s: %.4f -> %.4f\n", mica_dtype_name(formats[i]), squared(plain, f32_out), squared(repaired, f32_out));
		assert_true(squared(repaired, f32_out) < 0.85 * squared(plain, f32_out));
	}
}

static void repairs_do_not_depend_on_threads(void **state)
{
	struct compile_fixture *f = *state;
	char *first = NULL;

	prepare(f);
	f->o.format = MICA_I8;
	f->o.repair = MICA_REPAIR_ALL;
	for (f->o.threads = 1; f->o.threads <= 4; f->o.threads++) {
		char *text = ir_print_string(passes(f));

		run_graph(f->g, f->o.threads == 1 ? plain : repaired);
		if (first)
			assert_memory_equal(plain, repaired, sizeof(plain));
		first = first ? first : ir_strdup(text);
		assert_string_equal(first, text);
		free(text);
	}
	free(first);
}

/* Over the samples every channel's mean is what it was in f32; all positions are looked at in a model as small as this. */
static void corrected_biases_make_the_means_right(void **state)
{
	struct compile_fixture *f = *state;

	prepare(f);
	for (unsigned i = 0; i < 3; i++) {
		double off[2] = { 0 };

		f->o.format = formats[i];
		f->o.repair = 0;
		run_graph(passes(f), plain);
		f->o.repair = MICA_REPAIR_BIAS;
		run_graph(passes(f), repaired);
		for (int c = 0; c < 4; c++) {
			double mean[3] = { 0 };

			for (unsigned s = 0; s < SAMPLES; s++)
				for (int k = c * 256; k < (c + 1) * 256; k++) {
					mean[0] += f32_out[s][k];
					mean[1] += plain[s][k];
					mean[2] += repaired[s][k];
				}
			off[0] = fmax(off[0], fabs(mean[1] - mean[0]) / (256 * SAMPLES));
			off[1] = fmax(off[1], fabs(mean[2] - mean[0]) / (256 * SAMPLES));
		}
		print_message("%s: largest shift of a mean %.5f -> %.7f\n", mica_dtype_name(formats[i]), off[0], off[1]);
		assert_true(off[1] < 1e-4 && off[0] > 10 * off[1]);
	}
}

static void depthwise_layers_may_be_bf16(void **state)
{
	struct compile_fixture *f = *state;

	prepare(f);
	f->o.format = MICA_E4M3;
	f->o.repair = MICA_REPAIR_DEPTHWISE;
	passes(f);
	for (const struct ir_op *op = f->g->first; op; op = op->next)
		if (op->kind == IR_CONV)
			assert_int_equal(op->in[1]->dtype, op->a.groups > 1 ? MICA_BF16 : MICA_E4M3);
}

static void a_clone_is_the_same_graph(void **state)
{
	struct compile_fixture *f = *state;
	struct ir_graph *c;
	char *a, *b;

	prepare(f);
	f->o.format = MICA_I8;
	c = ir_graph_clone(passes(f));
	a = ir_print_string(f->g);
	b = ir_print_string(c);
	assert_string_equal(a, b);
	assert_int_equal(ir_verify(c, true), 0);
	run_graph(f->g, plain);
	ir_graph_free(f->g);
	f->g = c;
	run_graph(c, repaired);
	assert_memory_equal(plain, repaired, sizeof(plain));
	free(a);
	free(b);
}

/* ---- centering ---- */

/* The value behind the depthwise layer, whose reader has no padding, moves; what stands in front of padding stays. */
static void centering_keeps_the_function(void **state)
{
	struct compile_fixture *f = *state;
	double power = 0;
	int act;

	prepare(f);
	f->o.format = MICA_E4M3;
	for (struct ir_op *op = f->g->first; op; op = op->next)
		op->format = -1;
	act = compile_conv(f->g, 1)->a.act;
	assert_int_not_equal(act, MICA_ACT_NONE);
	assert_int_equal(center_values(f->g, &f->o), 0);
	assert_int_not_equal(f->g->equalized, 0);	/* a calibration table of it fits no other graph */
	assert_null(ir_op_in(compile_conv(f->g, 0), 4));
	assert_non_null(ir_op_in(compile_conv(f->g, 1), 4));
	assert_int_equal(compile_conv(f->g, 1)->a.act, act);
	run_graph(f->g, repaired);
	for (unsigned s = 0; s < SAMPLES; s++)
		for (int i = 0; i < OUT; i++)
			power += (double)f32_out[s][i] * f32_out[s][i];
	assert_true(squared(repaired, f32_out) < 1e-11 * power);
}

/* The zeroes behind a ReLU are many: -c is a code in the scale that the largest |x - c| of the samples gives. */
static void centers_keep_zeroes_exact(void **state)
{
	struct compile_fixture *f = *state;
	unsigned n = 0, whole = 0;
	const struct ir_op *op;
	float scale;

	prepare(f);
	f->o.format = MICA_E4M3;
	f->o.repair = MICA_REPAIR_CENTER;
	passes(f);
	op = compile_conv(f->g, 1);
	scale = op->out[0]->scale;
	for (int64_t i = 0; i < op->out[0]->dim[3]; i++) {
		float c = ((const float *)op->in[4]->data)[i] / scale;

		n += c != 0;
		whole += c != 0 && fabsf(grid_nearest(MICA_E4M3, c) - c) < 1e-4f * fabsf(c);
	}
	assert_true(n >= 2);
	assert_true(whole + 1 >= n);	/* all but one that sets the scale */
}

/* The third array of an i8 product's params is taken. */
static void int8_products_are_not_centered_behind_the_activation(void **state)
{
	struct compile_fixture *f = *state;

	prepare(f);
	f->o.format = MICA_I8;
	for (struct ir_op *op = f->g->first; op; op = op->next)
		op->format = -1;
	assert_int_equal(center_values(f->g, &f->o), 0);
	for (struct ir_op *op = f->g->first; op; op = op->next)
		assert_true(op->kind != IR_CONV || !ir_op_in(op, 4));
}

static void centering_lowers_the_error_of_fp8(void **state)
{
	struct compile_fixture *f = *state;

	prepare(f);
	for (unsigned i = 1; i < 3; i++) {
		f->o.format = formats[i];
		f->o.repair = 0;
		run_graph(passes(f), plain);
		f->o.repair = MICA_REPAIR_CENTER;
		run_graph(passes(f), repaired);
		print_message("%s: %.4f -> %.4f\n", mica_dtype_name(formats[i]), squared(plain, f32_out), squared(repaired, f32_out));
		assert_true(squared(repaired, f32_out) < 0.9 * squared(plain, f32_out));
	}
}

/* ---- what does harm is undone ---- */

static void a_repair_that_does_harm_is_undone(void **state)
{
	struct compile_fixture *f = *state;
	struct ir_graph *old;
	float *bias;

	prepare(f);
	assert_int_equal(quality_begin(f->g, &f->o), 0);
	assert_int_equal(repair_settle(f->g, &f->o, repair_keep(f->g), "nothing", -1), 0);
	old = repair_keep(f->g);
	assert_non_null(old);
	bias = compile_conv(f->g, 0)->in[2]->data;
	bias[3] += 1;
	((float *)compile_conv(f->g, 2)->in[1]->data)[5] *= -2;
	compile_conv(f->g, 1)->a.alpha = 0.5f;
	assert_int_equal(repair_settle(f->g, &f->o, old, "harm", -1), 0);
	run_graph(f->g, repaired);
	assert_memory_equal(repaired, f32_out, sizeof(f32_out));
}

/* Enough samples: an eighth of them, at most 8, judge what the others made. */
static void judges_do_not_take_part(void **state)
{
	struct mica_compile_options o = { 0 };
	(void)state;

	for (o.calib.count = 0; o.calib.count < 16; o.calib.count++)
		assert_int_equal(repair_samples(&o), o.calib.count);
	o.calib.count = 24;
	assert_int_equal(repair_samples(&o), 21);
	o.calib.count = 512;
	assert_int_equal(repair_samples(&o), 504);
}

/* As in posenet and MobileNetV2: a channel of zeroes, one that never changes, ranges 2256 : 1, a variance of 0 folded into the scale. */
static void strange_channels_survive_all_repairs(void **state)
{
	struct compile_fixture *f = *state;
	float *w, *b;

	three_convs();
	w = (float *)ob_model()->graph->initializer[0]->raw_data.data;
	b = (float *)ob_model()->graph->initializer[1]->raw_data.data;
	for (int i = 0; i < 27; i++) {
		w[i] = 0; /* channel 0: its bias alone */
		w[27 + i] *= 1.0f / 2256;
		w[2 * 27 + i] *= 93;
		w[3 * 27 + i] = 0;
	}
	b[0] = 2;
	b[3] = 0; /* nothing at all */
	ob_write(f->path);
	f->o.calib = (struct mica_calib){ .count = SAMPLES, .load = samples };
	f->o.format = MICA_F32;
	run_graph(passes(f), f32_out);
	for (unsigned i = 0; i < 3; i++) {
		double power = 0;

		f->o.format = formats[i];
		f->o.repair = MICA_REPAIR_ALL;
		run_graph(passes(f), repaired);
		for (unsigned s = 0; s < SAMPLES; s++)
			for (int k = 0; k < OUT; k++)
				power += (double)f32_out[s][k] * f32_out[s][k];
		print_message("%s: SNR %.1f dB\n", mica_dtype_name(formats[i]), 10 * log10(power / squared(repaired, f32_out)));
		assert_true(squared(repaired, f32_out) < power / 100);
	}
}

/* Weights of 8 bits, activations of 16. */
static void a_qtable_gives_weights_a_format_of_their_own(void **state)
{
	struct compile_fixture *f = *state;
	char table[] = "/tmp/mica-qtable-XXXXXX";
	FILE *file;

	prepare(f);
	file = fdopen(mkstemp(table), "w");
	assert_non_null(file);
	fprintf(file, "%s bf16-e4m3\n", compile_conv(f->g, 2)->name);
	fclose(file);
	f->o.format = MICA_E5M2;
	f->o.qtable = table;
	passes(f);
	unlink(table);
	assert_int_equal(compile_conv(f->g, 2)->in[0]->dtype, MICA_BF16);
	assert_int_equal(compile_conv(f->g, 2)->in[1]->dtype, MICA_E4M3);
	assert_int_equal(compile_conv(f->g, 1)->in[1]->dtype, MICA_E5M2);
	run_graph(f->g, repaired);
	f->o.qtable = NULL;
	run_graph(passes(f), plain);
	assert_true(squared(repaired, f32_out) < squared(plain, f32_out));
}

/* A ReLU's channels that never go below a large value: without absorption the range is spent on what never changes. */
static void absorbed_biases_return_what_constants_cost(void **state)
{
	struct compile_fixture *f = *state;
	float w[8 * 3], b[8], v[4 * 8 * 9];
	double error[2];

	compile_seed(99);
	for (int i = 0; i < 8 * 3; i++)
		w[i] = compile_noise();
	for (int i = 0; i < 8; i++)
		b[i] = 40 + 4 * compile_noise();
	for (int i = 0; i < 4 * 8 * 9; i++)
		v[i] = compile_noise();
	ob_begin(13);
	ob_input("x", ONNX_F32, 4, (int64_t[]){ 1, 3, 18, 18 });
	ob_floats("w", 4, (int64_t[]){ 8, 3, 1, 1 }, w);
	ob_floats("b", 1, (int64_t[]){ 8 }, b);
	ob_floats("v", 4, (int64_t[]){ 4, 8, 3, 3 }, v);
	ob_node("Conv", "c", (const char *[]){ "x", "w", "b" }, 3);
	ob_node("Relu", "r", (const char *[]){ "c" }, 1);
	ob_node("Conv", "y", (const char *[]){ "r", "v" }, 2);
	ob_output("y");
	ob_write(f->path);
	f->o.calib = (struct mica_calib){ .count = SAMPLES, .load = samples };
	f->o.format = MICA_F32;
	run_graph(passes(f), f32_out);
	f->o.format = MICA_I8;
	for (unsigned k = 0; k < 2; k++) {
		f->o.repair = k ? MICA_REPAIR_CLE : 0;
		run_graph(passes(f), plain);
		error[k] = squared(plain, f32_out);
	}
	for (int c = 0; c < 8; c++) /* as far as the smallest value goes */
		assert_true(((float *)compile_conv(f->g, 0)->in[2]->data)[c] < 4);
	print_message("int8: absorption %.1f dB\n", 10 * log10(error[0] / error[1]));
	assert_true(error[1] < error[0] / 100);
}

/* ---- models that came quantized ---- */

/* Every multiply-accumulate packet of the stream works on integers. */
static void a_qat_model_is_integer_only(void **state)
{
	struct compile_fixture *f = *state;
	struct mica_compiled c;
	unsigned macs = 0;

	if (access("models/fashion_mobilenetv2_qat.onnx", R_OK))
		skip();
	f->g = ob_compile("models/fashion_mobilenetv2_qat.onnx", &f->o, NULL, &f->err);
	assert_non_null(f->g);
	assert_int_equal(mica_backend_compile(f->g, &f->o, &c), 0);
	for (size_t at = 0; at < c.stream_size[0];) {
		const union mica_pkt *p = (const union mica_pkt *)(c.stream[0] + at);

		if (p->hdr.opcode == MICA_OP_CONV || p->hdr.opcode == MICA_OP_DWCONV) {
			assert_int_equal(p->conv.src.dtype, MICA_I8);
			assert_int_equal(p->conv.wdtype, MICA_I8);
			macs++;
		}
		assert_int_not_equal(p->hdr.opcode, MICA_OP_MATMUL);
		at += (size_t)p->hdr.units * MICA_PKT_ALIGN;
	}
	assert_true(macs >= 27);
	mica_compiled_fini(&c);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, compile_setup, compile_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(grids_are_those_of_the_engine),
		T(rounding_is_near_the_best_of_all),
		T(adaptive_rounding_lowers_the_error_in_every_format),
		T(repairs_do_not_depend_on_threads),
		T(corrected_biases_make_the_means_right),
		T(depthwise_layers_may_be_bf16),
		T(a_clone_is_the_same_graph),
		T(centering_keeps_the_function),
		T(centers_keep_zeroes_exact),
		T(int8_products_are_not_centered_behind_the_activation),
		T(centering_lowers_the_error_of_fp8),
		T(a_repair_that_does_harm_is_undone),
		T(judges_do_not_take_part),
		T(strange_channels_survive_all_repairs),
		T(a_qtable_gives_weights_a_format_of_their_own),
		T(absorbed_biases_return_what_constants_cost),
		T(a_qat_model_is_integer_only),
	};

	return cmocka_run_group_tests_name("compiler_repair", tests, NULL, NULL);
}
