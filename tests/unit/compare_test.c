// SPDX-License-Identifier: MIT
/* mica compare: its numbers against the same ones computed here from the definitions, who is named first, and hostile requests. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "compare_stats.h"
#include "onnx_builder.h"

struct fixture {
	char path[64], table[64];
	struct mica_compile_options o;
	struct mica_calib samples;
	struct mica_err err;
	struct mica_comparison *c;
};

static void temporary(char *path, const char *pattern)
{
	int fd;

	strcpy(path, pattern);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
}

/* Different for every sample; -1 .. 1. */
static float sample_value(unsigned sample, size_t i)
{
	return (float)((i * 7919 + sample * 104729 + i * i * 31) % 20011) / 10005.0f - 1;
}

static int load(void *opaque, unsigned sample, const char *input, float *dst, size_t n, struct mica_err *err)
{
	const float *factor = opaque;
	(void)input;
	(void)err;

	for (size_t i = 0; i < n; i++)
		dst[i] = (factor ? *factor : 1) * sample_value(sample, i);
	return 0;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	temporary(f->path, "/tmp/mica-compare-XXXXXX");
	temporary(f->table, "/tmp/mica-compare-XXXXXX");
	mica_compile_defaults(&f->o);
	f->o.quiet = true;
	f->o.format = MICA_I8;
	f->o.calib = f->samples = (struct mica_calib){ .count = 8, .load = load };
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	mica_comparison_free(f->c);
	unlink(f->path);
	unlink(f->table);
	free(f);
	return 0;
}

static void compare(struct fixture *f)
{
	mica_comparison_free(f->c);
	f->c = NULL;
	if (mica_compare(f->path, &f->o, &f->samples, &f->c, &f->err))
		fail_msg("%s", f->err.text);
	assert_non_null(f->c);
}

static const struct mica_compare_layer *making(const struct fixture *f, const char *output)
{
	for (unsigned i = 0; i < f->c->layers; i++)
		if (!strcmp(f->c->layer[i].output, output))
			return &f->c->layer[i];
	fail_msg("no layer makes %s", output);
	return NULL;
}

/* ---- a network small enough to compute here: a = |x|, y = 1x1 convolution of a ---- */

#define CH  2
#define PIX 64
#define N   (CH * PIX)

static const float weight[CH * CH] = { 0.7f, -0.31f, 0.11f, 1.3f };

static void small_model(const char *path)
{
	ob_begin(13);
	ob_input("x", ONNX_F32, 4, (int64_t[]){ 1, CH, 8, 8 });
	ob_floats("w", 4, (int64_t[]){ CH, CH, 1, 1 }, weight);
	ob_node("Abs", "a", (const char *[]){ "x" }, 1);
	ob_node("Conv", "y", (const char *[]){ "a", "w" }, 2);
	ob_output("y");
	ob_write(path);
}

/* Rounded to int8 with that scale. */
static double rounded(double v, double scale)
{
	return fmin(127, fmax(-128, rint(v / scale))) * scale;
}

static void product(const double *a, bool quantized, double *y)
{
	for (int o = 0; o < CH; o++) {
		double scale = fmax(fabs((double)weight[o * CH]), fabs((double)weight[o * CH + 1])) / 127;

		for (int p = 0; p < PIX; p++) {
			y[o * PIX + p] = 0;
			for (int c = 0; c < CH; c++) {
				double w = (double)weight[o * CH + c];

				y[o * PIX + p] += (quantized ? rounded(w, scale) : w) * a[c * PIX + p];
			}
		}
	}
}

struct expected {
	double xy, xx, yy, dd, worst, zero, n;
};

static void expect_add(struct expected *e, const double *x, const double *y)
{
	for (int i = 0; i < N; i++) {
		e->xy += x[i] * y[i];
		e->xx += x[i] * x[i];
		e->yy += y[i] * y[i];
		e->dd += (x[i] - y[i]) * (x[i] - y[i]);
		e->worst = fmax(e->worst, fabs(x[i] - y[i]));
		e->zero += x[i] != 0 && y[i] == 0;
		e->n++;
	}
}

static void near_by(double got, double want, double tolerance)
{
	if (!(fabs(got - want) <= tolerance * fmax(1e-3, fabs(want))))
		fail_msg("%.9g instead of %.9g", got, want);
}

static void expect_view(const struct mica_compare_view *v, const struct expected *e)
{
	near_by(v->cosine, e->xy / sqrt(e->xx * e->yy), 1e-6);
	near_by(v->snr, 10 * log10(e->xx / e->dd), 1e-3);
	near_by(v->max_error, e->worst, 1e-3);
}

static void numbers_are_those_of_the_definitions(void **state)
{
	struct fixture *f = *state;
	struct expected input = { 0 }, a = { 0 }, alone_a = { 0 }, y = { 0 }, alone_y = { 0 };
	double largest = 0, lowest = 0, scale;

	for (unsigned s = 0; s < f->samples.count; s++)
		for (int i = 0; i < N; i++)
			largest = fmax(largest, fabs((double)sample_value(s, (size_t)i)));
	scale = largest / 127;
	for (unsigned s = 0; s < f->samples.count; s++) {
		double x[N], xq[N], ax[N], aq[N], ae[N], yx[N], yq[N], ye[N];

		for (int i = 0; i < N; i++) {
			x[i] = (double)sample_value(s, (size_t)i);
			xq[i] = rounded(x[i], scale);
			ax[i] = fabs(x[i]);
			aq[i] = rounded(fabs(xq[i]), scale); /* |x| has the range of x */
			ae[i] = rounded(ax[i], scale);
			lowest = fmin(lowest, x[i]);
		}
		product(ax, false, yx);
		product(aq, true, yq);
		product(ae, true, ye);
		expect_add(&input, x, xq);
		expect_add(&a, ax, aq);
		expect_add(&alone_a, ax, aq); /* its operand is x, rounded, in either view */
		expect_add(&y, yx, yq);
		expect_add(&alone_y, yx, ye);
	}
	small_model(f->path);
	compare(f);
	assert_int_equal(f->c->layers, 3);
	expect_view(&making(f, "x")->whole, &input);
	expect_view(&making(f, "x")->alone, &input);
	expect_view(&making(f, "a")->whole, &a);
	expect_view(&making(f, "a")->alone, &alone_a);
	expect_view(&making(f, "y")->whole, &y);
	expect_view(&making(f, "y")->alone, &alone_y);
	near_by(making(f, "a")->whole.underflow, a.zero / a.n, 1e-9);
	near_by((double)making(f, "x")->min, lowest, 1e-6);
	near_by(making(f, "x")->whole.range_error, input.worst / ((double)making(f, "x")->max - lowest), 1e-3);
	assert_true(making(f, "x")->input && making(f, "y")->is_output);
	assert_int_equal(making(f, "y")->elements, N * f->samples.count);
	assert_true(making(f, "x")->whole.saturated == 0 && making(f, "a")->whole.saturated == 0);
}

static void f32_is_exact_everywhere(void **state)
{
	struct fixture *f = *state;

	small_model(f->path);
	f->o.format = MICA_F32;
	compare(f);
	for (unsigned i = 0; i < f->c->layers; i++) {
		const struct mica_compare_layer *l = &f->c->layer[i];

		assert_true(l->whole.cosine == 1 && l->whole.snr == INFINITY && l->whole.max_error == 0);
		assert_true(l->alone.cosine == 1 && l->alone.snr == INFINITY && !l->has_limit);
	}
	assert_int_equal(f->c->warnings, 0);
}

/* Several rounds (32 samples each) by several threads are the same as anything else. */
static void threads_change_nothing(void **state)
{
	struct fixture *f = *state;
	struct mica_compare_layer one, other;

	small_model(f->path);
	f->samples.count = 70;
	compare(f);
	one = *making(f, "y");
	f->o.threads = 3;
	compare(f);
	other = *making(f, "y");
	assert_memory_equal(&one.whole, &other.whole, sizeof(one.whole));
	assert_memory_equal(&one.alone, &other.alone, sizeof(one.alone));
	assert_int_equal(other.elements, 70 * N);
	assert_true(other.whole.lowest_sample < 70);
}

/* ---- saturation ---- */

static void two_layers(const char *path)
{
	float w[9] = { 1, 0.2f, -0.1f, 0, 0, 0, 0.3f, -0.2f, 0.9f }, w2[9] = { 4, 0.2f, -0.1f, 0, 0, 0, 2, -0.2f, 0.9f };

	ob_begin(13);
	ob_input("x", ONNX_F32, 4, (int64_t[]){ 1, 3, 8, 8 });
	ob_floats("w1", 4, (int64_t[]){ 3, 3, 1, 1 }, w);
	ob_floats("w2", 4, (int64_t[]){ 3, 3, 1, 1 }, w2);
	ob_node("Conv", "c1", (const char *[]){ "x", "w1" }, 2);
	ob_node("Relu", "r1", (const char *[]){ "c1" }, 1);
	ob_node("Conv", "c2", (const char *[]){ "r1", "w2" }, 2);
	ob_node("Relu", "r2", (const char *[]){ "c2" }, 1);
	ob_node("Conv", "y", (const char *[]){ "r2", "w2" }, 2);
	ob_output("y");
	ob_write(path);
}

static void a_saturating_layer_is_named_first(void **state)
{
	static const enum mica_dtype format[] = { MICA_I8, MICA_E4M3, MICA_E5M2 };
	static const char table[] = "# mica calibration table 1\nr1 max 0.25 0 0.25\n";
	struct fixture *f = *state;

	ob_write_bytes(f->table, table, strlen(table));
	two_layers(f->path);
	f->o.calib_table = f->table;
	for (unsigned i = 0; i < 3; i++) {
		const struct mica_compare_layer *l;

		f->o.format = format[i];
		compare(f);
		mica_comparison_sort(f->c, MICA_COMPARE_SATURATION);
		assert_string_equal(f->c->layer[0].output, "r1");
		l = &f->c->layer[0];
		assert_true(l->whole.saturated > 0.1 && l->alone.saturated > 0.1);
		near_by((double)l->limit_hi, 0.25, 1e-5);
		assert_true(f->c->warnings >= 1);
		assert_non_null(strstr(f->c->warning[0], "'r1' saturates"));
		mica_comparison_sort(f->c, MICA_COMPARE_ALONE); /* what reads it has clipped operands: it comes with it */
		assert_true(!strcmp(f->c->layer[0].output, "r1") || !strcmp(f->c->layer[0].output, "r2"));
		assert_true(!strcmp(f->c->layer[1].output, "r1") || !strcmp(f->c->layer[1].output, "r2"));
	}
}

/* Equalization changes what channels hold; outputs are compared with what the model gives, to the last bit. */
static void outputs_are_compared_with_the_model_itself(void **state)
{
	struct fixture *f = *state;
	float lo, hi, inside;

	two_layers(f->path);
	compare(f);
	lo = making(f, "y")->min;
	hi = making(f, "y")->max;
	inside = making(f, "r1")->max;
	f->o.repair = MICA_REPAIR_CLE;
	compare(f);
	assert_true(making(f, "y")->min == lo && making(f, "y")->max == hi);
	assert_true(making(f, "r1")->max != inside);
	assert_true(making(f, "y")->whole.snr > 30);
}

/* Just the part of the values beyond the last code by more than half a step; here of the input. */
static void inputs_beyond_their_range_are_counted(void **state)
{
	struct fixture *f = *state;
	float twice = 2;
	double largest = 0, limit, beyond = 0;

	small_model(f->path);
	for (unsigned s = 0; s < f->o.calib.count; s++)
		for (size_t i = 0; i < N; i++)
			largest = fmax(largest, fabs((double)sample_value(s, i)));
	for (unsigned s = 0; s < f->samples.count; s++) {
		for (size_t i = 0; i < N; i++) {
			double v = 2 * (double)sample_value(s, i);

			limit = v > 0 ? largest : largest * 128 / 127;
			beyond += fabs(v) > limit + largest / 254;
		}
	}
	f->samples.opaque = &twice;
	compare(f);
	near_by(making(f, "x")->whole.saturated, beyond / N / f->samples.count, 1e-9);
	assert_non_null(strstr(f->c->warning[0], "'x' saturates"));
	assert_non_null(strstr(f->c->warning[0], "preprocessing"));
}

static void dead_channels_are_counted(void **state)
{
	struct fixture *f = *state;
	const struct mica_compare_channels *c;

	two_layers(f->path); /* the second channel of every layer has no weights */
	compare(f);
	c = &making(f, "r1")->channels;
	assert_int_equal(c->count, 3);
	assert_int_equal(c->zero_weights, 1);
	assert_int_equal(c->constant, 1);
	assert_true(c->weight[0] == 1 && c->weight[1] == 0 && c->weight[2] == 0.9f);
	assert_true(c->lo[1] == 0 && c->hi[1] == 0 && c->hi[0] > 0);
	assert_non_null(strstr(f->c->warning[f->c->warnings - 1], "channels never change"));
}

/* ---- other graphs ---- */

static void tables_and_conversions_find_their_value(void **state)
{
	struct fixture *f = *state;
	float half = 0.5f, w[4] = { 1, 0.5f, -0.25f, 1 };

	ob_begin(13);
	ob_input("x", ONNX_F32, 4, (int64_t[]){ 1, 2, 8, 8 });
	ob_floats("w", 4, (int64_t[]){ 2, 2, 1, 1 }, w);
	ob_floats("half", 0, NULL, &half);
	ob_node("Conv", "c", (const char *[]){ "x", "w" }, 2);
	ob_node("Sigmoid", "s", (const char *[]){ "c" }, 1);
	ob_node("Mul", "m", (const char *[]){ "s", "half" }, 2); /* one table with the sigmoid */
	ob_node("Conv", "y", (const char *[]){ "m", "w" }, 2);
	ob_output("y");
	ob_write(f->path);
	compare(f);
	assert_true(making(f, "m")->alone.snr > 30 && making(f, "m")->alone.snr < 80);
	assert_true(making(f, "y")->alone.snr > 30 && making(f, "y")->whole.snr <= making(f, "y")->alone.snr + 1);
}

/* GridSample runs on the host, between two jobs. */
static void host_steps_are_run(void **state)
{
	struct fixture *f = *state;
	float grid[8] = { -0.5f, -0.5f, 0.3f, 0.1f, 0.7f, -0.2f, 0, 0 }, w = 2;

	ob_begin(16);
	ob_input("x", ONNX_F32, 4, (int64_t[]){ 1, 1, 4, 4 });
	ob_floats("grid", 4, (int64_t[]){ 1, 2, 2, 2 }, grid);
	ob_floats("w", 4, (int64_t[]){ 1, 1, 1, 1 }, &w);
	ob_node("GridSample", "g", (const char *[]){ "x", "grid" }, 2);
	ob_node("Conv", "y", (const char *[]){ "g", "w" }, 2);
	ob_output("y");
	ob_write(f->path);
	compare(f);
	assert_true(making(f, "g")->max > 0.1f && making(f, "g")->min < -0.1f);
	near_by((double)making(f, "y")->max, 2 * (double)making(f, "g")->max, 1e-5);
	assert_true(making(f, "y")->whole.snr > 30 && making(f, "y")->whole.snr < 80);
}

/* Of a model with its own scales the reference is the model without any rounding of values. */
static void qdq_models_are_compared_with_no_rounding(void **state)
{
	struct fixture *f = *state;
	float scale = 1.0f / 100, w[4] = { 1, 0, 0, 1 };
	int8_t zero = 0;
	double largest = 0;

	ob_begin(13);
	ob_input("x", ONNX_F32, 4, (int64_t[]){ 1, 2, 8, 8 });
	ob_floats("s", 0, NULL, &scale);
	ob_raw("z", ONNX_I8, 0, NULL, &zero, 1);
	ob_floats("w", 4, (int64_t[]){ 2, 2, 1, 1 }, w);
	ob_node("QuantizeLinear", "q", (const char *[]){ "x", "s", "z" }, 3);
	ob_node("DequantizeLinear", "d", (const char *[]){ "q", "s", "z" }, 3);
	ob_node("Conv", "y", (const char *[]){ "d", "w" }, 2);
	ob_output("y");
	ob_write(f->path);
	f->o.calib.count = 0;
	compare(f);
	for (unsigned s = 0; s < f->samples.count; s++)
		for (size_t i = 0; i < N; i++)
			largest = fmax(largest, (double)fabsf(sample_value(s, i) - rintf(sample_value(s, i) * 100) / 100));
	near_by(making(f, "x")->whole.max_error, largest, 1e-3);
	near_by(making(f, "y")->whole.max_error, largest, 1e-3);
}

/* ---- histograms ---- */

static void histograms_hold_every_value(void **state)
{
	struct fixture *f = *state;

	two_layers(f->path);
	compare(f);
	for (unsigned i = 0; i < f->c->layers; i++) {
		const struct mica_compare_histogram *h = &f->c->layer[i].histogram;
		uint64_t before = 0, after = 0;

		assert_true(h->bins > 0 && h->bins <= 96);
		for (unsigned k = 0; k < h->bins; k++) {
			before += h->before[k];
			after += h->after[k];
		}
		assert_int_equal(before, f->c->layer[i].elements);
		assert_int_equal(after, f->c->layer[i].elements);
		assert_true(h->lo <= (double)f->c->layer[i].min && h->hi >= (double)f->c->layer[i].max);
	}
}

/* In whatever order and parts values come, the bins are the same. */
static void histograms_grow_without_a_trace(void **state)
{
	struct compare_bins grown = { 0 }, known = { 0 };
	float x[300];
	(void)state;

	for (int i = 0; i < 300; i++)
		x[i] = ldexpf(sample_value(1, (size_t)i), i / 30 - 3);
	compare_bins_fit(&known, 128);
	compare_bins_add(&known, known.before, x, 300);
	for (int i = 0; i < 300; i += 10) {
		float largest = 0;

		for (int k = 0; k < 10; k++)
			largest = fmaxf(largest, fabsf(x[i + k]));
		compare_bins_fit(&grown, largest);
		compare_bins_add(&grown, grown.before, x + i, 10);
	}
	compare_bins_fit(&grown, 128);
	assert_int_equal(grown.e, known.e);
	assert_memory_equal(grown.before, known.before, COMPARE_BINS * sizeof(*known.before));
	compare_bins_free(&grown);
	compare_bins_free(&known);
}

static void strange_values_are_left_out(void **state)
{
	float x[4] = { 1, NAN, INFINITY, 2 }, y[4] = { 1, 1, 1, NAN };
	struct compare_sums s = { 0 };
	struct compare_limit none = { 0 };
	(void)state;

	compare_add(&s, &none, x, y, 4);
	assert_int_equal(s.strange, 3);
	assert_true(s.xx == 1 && s.dd == 0 && compare_cosine(&s) == 1);
}

static void nothing_and_zero_have_defined_numbers(void **state)
{
	float x[2] = { 0, 0 }, y[2] = { 0, 1 };
	struct compare_sums none = { 0 }, s = { 0 };
	struct compare_limit no = { 0 };
	(void)state;

	assert_true(compare_view_of(&none, 0, 0).snr == INFINITY && compare_view_of(&none, 0, 0).cosine == 1);
	compare_add(&s, &no, x, y, 2);
	assert_true(compare_view_of(&s, 0, 0).snr == -300 && compare_view_of(&s, 0, 0).cosine == 0);
	assert_true(compare_view_of(&s, 0, 0).range_error == 0);
}

/* ---- requests that cannot be met ---- */

static int no_load(void *opaque, unsigned sample, const char *input, float *dst, size_t n, struct mica_err *err)
{
	(void)opaque;
	(void)dst;
	(void)n;
	return sample < 3 ? load(NULL, sample, input, dst, n, err) : mica_err_set(err, MICA_ERR_FILE, "sample %u of '%s' is gone", sample, input);
}

static void refuse(struct fixture *f, enum mica_err_code code, const char *words)
{
	struct mica_comparison *c = (void *)f;

	assert_int_equal(mica_compare(f->path, &f->o, &f->samples, &c, &f->err), -(int)code);
	assert_null(c);
	if (!strstr(f->err.text, words))
		fail_msg("'%s' without '%s'", f->err.text, words);
}

static void impossible_requests_are_errors(void **state)
{
	struct fixture *f = *state;

	small_model(f->path);
	f->samples.count = 0;
	refuse(f, MICA_ERR_USAGE, "no samples");
	f->samples.count = 8;
	f->samples.load = no_load;
	refuse(f, MICA_ERR_FILE, "sample 3 of 'x' is gone");
	f->samples.load = load;
	ob_write_bytes(f->table, "nobody bf16\n", 12);
	f->o.qtable = f->table;
	refuse(f, MICA_ERR_USAGE, "no operator 'nobody'");
	f->o.qtable = NULL;
	f->o.calib.count = 0;
	refuse(f, MICA_ERR_USAGE, "--calib");
	ob_write_bytes(f->path, "no model", 8);
	refuse(f, MICA_ERR_CORRUPT, "");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(numbers_are_those_of_the_definitions),
		TEST(f32_is_exact_everywhere),
		TEST(threads_change_nothing),
		TEST(a_saturating_layer_is_named_first),
		TEST(outputs_are_compared_with_the_model_itself),
		TEST(inputs_beyond_their_range_are_counted),
		TEST(dead_channels_are_counted),
		TEST(tables_and_conversions_find_their_value),
		TEST(host_steps_are_run),
		TEST(qdq_models_are_compared_with_no_rounding),
		TEST(histograms_hold_every_value),
		TEST(histograms_grow_without_a_trace),
		TEST(strange_values_are_left_out),
		TEST(nothing_and_zero_have_defined_numbers),
		TEST(impossible_requests_are_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
