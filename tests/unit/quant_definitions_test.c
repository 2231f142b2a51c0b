// SPDX-License-Identifier: MIT
/* Thresholds and scales as the compiler finds them against tests/ref/ref_quant.c, on data of every awkward shape. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "calibrate.h"
#include "compile_fixture.h"
#include "onnx_builder.h"
#include "quantize.h"
#include "ref_quant.h"

/* ---- data ---- */

#define SAMPLES 3
#define WIDTH	9000
#define N	(SAMPLES * WIDTH)

static float uniform(size_t i)
{
	return i ? compile_noise() : 1;
}

static float heavy_tails(size_t i)
{
	float a = compile_noise(), b = compile_noise();

	return a * a * a * 3 + (i % 997 ? 0 : b * 20);
}

static float constant(size_t i)
{
	(void)i;
	return 0.7f;
}

static float zero(size_t i)
{
	(void)i;
	return 0;
}

static float one_outlier(size_t i)
{
	return i % 9999 == 1234 ? -50 : compile_noise();
}

static float two_heaps(size_t i)
{
	return (i % 3 ? 0.1f : 7) + 0.05f * compile_noise();
}

static float two_values(size_t i)
{
	return i % 5 ? 0.25f : -3;
}

static float behind_relu(size_t i)
{
	float a = compile_noise() + compile_noise() + compile_noise();

	(void)i;
	return a > 0 ? a : 0;
}

static float behind_relu6(size_t i)
{
	float a = 9 * compile_noise() * compile_noise();

	return i % 7 == 0 || a > 6 ? 6 : a > 0 ? a : 0;
}

static float integers(size_t i)
{
	return (float)((int)(i % 255) - 127) / 16;
}

static float negative(size_t i)
{
	(void)i;
	return -0.001f - fabsf(compile_noise());
}

static float spike(size_t i)
{
	return i == 99 ? 1e-3f : 0;
}

static float tiny(size_t i)
{
	return 1e-20f * heavy_tails(i);
}

static float huge(size_t i)
{
	return 1e20f * heavy_tails(i);
}

static float (*const shape[])(size_t) = { uniform,	heavy_tails,  constant, zero,	  one_outlier, two_heaps, two_values,
					  behind_relu, behind_relu6, integers, negative, spike,	      tiny,	 huge };
#define SHAPES (sizeof(shape) / sizeof(*shape))

static float data[N];

static void fill(unsigned which)
{
	compile_seed(7 + which);
	for (size_t i = 0; i < N; i++)
		data[i] = shape[which](i);
}

static int load(void *opaque, unsigned sample, const char *input, float *dst, size_t n, struct mica_err *err)
{
	(void)opaque;
	(void)input;
	(void)err;
	for (size_t i = 0; i < n; i++)
		dst[i] = -data[sample * n + i];
	return 0;
}

/* x -> "a", which is data again -> convolution */
static void write_model(const char *path, int64_t width)
{
	float one = 1;

	ob_begin(13);
	ob_input("x", ONNX_F32, 4, (int64_t[]){ 1, 1, 1, width });
	ob_floats("w", 4, (int64_t[]){ 1, 1, 1, 1 }, &one);
	ob_node("Neg", "a", (const char *[]){ "x" }, 1);
	ob_node("Conv", "y", (const char *[]){ "a", "w" }, 2);
	ob_output("y");
	ob_write(path);
}

static const struct ir_value *pass(struct compile_fixture *f, const char *until)
{
	const struct ir_value *a;

	ir_graph_free(f->g);
	f->err.code = MICA_ERR_NONE;
	f->g = ob_compile(f->path, &f->o, until, &f->err);
	if (!f->g)
		fail_msg("%s", f->err.text);
	a = ir_value_find(f->g, "a");
	assert_non_null(a);
	return a;
}

static double threshold(struct compile_fixture *f, enum mica_method method, enum mica_dtype t)
{
	f->o.method = method;
	f->o.format = t;
	return pass(f, "calibrate")->threshold;
}

static void prepare(struct compile_fixture *f)
{
	write_model(f->path, WIDTH);
	f->o.calib = (struct mica_calib){ .count = SAMPLES, .load = load };
}

/* ---- thresholds ---- */

static const enum mica_dtype formats[] = { MICA_I8, MICA_E4M3, MICA_E5M2 };

static void max_is_the_largest(void **state)
{
	struct compile_fixture *f = *state;
	double bin[REF_BINS];

	prepare(f);
	for (unsigned k = 0; k < SHAPES; k++) {
		fill(k);
		assert_true(threshold(f, MICA_METHOD_MAX, MICA_I8) == ref_histogram(data, N, bin));
	}
}

static void percentile_is_the_end_of_the_bins_that_hold_it(void **state)
{
	struct compile_fixture *f = *state;
	static const double share[] = { 50, 99, 99.9, 99.99, 100 };
	double bin[REF_BINS], largest;

	prepare(f);
	for (unsigned k = 0; k < SHAPES; k++) {
		fill(k);
		largest = ref_histogram(data, N, bin);
		for (unsigned i = 0; i < 5; i++) {
			double want = largest * ref_percentile_bins(bin, share[i]) / REF_BINS, got;

			f->o.percentile = share[i];
			got = threshold(f, MICA_METHOD_PERCENTILE, MICA_I8);
			if (!(fabs(got - want) <= 1e-6 * want))
				fail_msg("shape %u, %g %%: %g instead of %g", k, share[i], got, want);
		}
	}
}

static void kl_is_the_least_divergence(void **state)
{
	struct compile_fixture *f = *state;
	double bin[REF_BINS], largest;
	unsigned clipped = 0;

	prepare(f);
	for (unsigned k = 0; k < SHAPES; k++) {
		double least = INFINITY, got, bins;

		fill(k);
		largest = ref_histogram(data, N, bin);
		got = threshold(f, MICA_METHOD_KL, MICA_I8);
		if (largest == 0) {
			assert_true(got == 0);
			continue;
		}
		bins = got / largest * REF_BINS;
		assert_true(fabs(bins - rint(bins)) < 1e-3 && bins > REF_LEVELS - 0.5 && bins < REF_BINS + 0.5);
		for (unsigned n = REF_LEVELS; n <= REF_BINS; n++)
			least = fmin(least, ref_kl_cost(bin, n));
		if (!(ref_kl_cost(bin, (unsigned)rint(bins)) <= least * (1 + 1e-9) + 1e-12))
			fail_msg("shape %u: %g bins have %g, the least is %g", k, bins, ref_kl_cost(bin, (unsigned)rint(bins)), least);
		clipped += bins < REF_BINS - 0.5;
	}
	assert_true(clipped >= 4);
}

static void mse_is_the_clipping_with_the_least_error(void **state)
{
	struct compile_fixture *f = *state;
	double bin[REF_BINS], largest;
	unsigned clipped = 0;

	prepare(f);
	for (unsigned k = 0; k < 3 * SHAPES; k++) {
		enum mica_dtype t = formats[k % 3];
		double least = INFINITY, got, part;

		fill(k / 3);
		largest = ref_histogram(data, N, bin);
		got = threshold(f, MICA_METHOD_MSE, t);
		if (largest == 0) {
			assert_true(got == 0);
			continue;
		}
		part = got / largest * 100;
		assert_true(fabs(part - rint(part)) < 1e-4 && part > 9.5 && part < 100.5);
		for (unsigned i = 10; i <= 100; i++)
			least = fmin(least, ref_mse_cost(bin, largest, largest * i / 100, t));
		if (!(ref_mse_cost(bin, largest, largest * rint(part) / 100, t) <= least * (1 + 1e-4)))
			fail_msg("shape %u, %s: %g %%", k / 3, mica_dtype_name(t), part);
		clipped += part < 99.5;
	}
	assert_true(clipped >= SHAPES);
}

/* So many small values that one large one is worth nothing: the search goes down to a tenth, and no further. */
static void mse_clips_to_a_tenth_at_most(void **state)
{
	static uint64_t bin[CALIB_BINS];
	struct calib_stats s = { .max = 1, .count = 1, .bin = bin };
	(void)state;

	bin[CALIB_BINS - 1] = 1;
	for (unsigned end = 40; end <= 400; end += 40) {
		double best = 0, counts[REF_BINS] = { 0 };

		for (unsigned i = 0; i < end; i++)
			bin[i] = 1000000000;
		for (unsigned i = 0; i < REF_BINS; i++)
			counts[i] = (double)bin[i];
		for (unsigned k = 10; k <= 100; k++)
			if (!best || ref_mse_cost(counts, 1, k / 100.0, MICA_I8) < ref_mse_cost(counts, 1, best, MICA_I8))
				best = k / 100.0;
		assert_true(best <= 0.2 && fabs(calib_threshold(&s, MICA_METHOD_MSE, 0, MICA_I8) - best) < 1e-6);
	}
}

/* A single number in a single sample: every method keeps it. */
static void one_number_is_kept(void **state)
{
	struct compile_fixture *f = *state;

	write_model(f->path, 1);
	f->o.calib = (struct mica_calib){ .count = 1, .load = load };
	data[0] = -0.3f;
	for (int m = MICA_METHOD_MAX; m <= MICA_METHOD_MSE; m++) {
		double t = threshold(f, (enum mica_method)m, MICA_I8);

		/* mse sees the bin's center, which a hair less of a range may hit as well */
		assert_true(m == MICA_METHOD_MSE ? fabs(t - 0.3) < 0.01 : t == (double)0.3f);
	}
}

/* ---- scales ---- */

static bool close_to(double a, double b)
{
	return fabs(a - b) <= 1e-6 * fabs(b);
}

static void activations_have_the_scale_of_their_threshold(void **state)
{
	struct compile_fixture *f = *state;
	double bin[REF_BINS];

	prepare(f);
	f->o.method = MICA_METHOD_PERCENTILE;
	f->o.percentile = 99;
	for (unsigned k = 0; k < 3 * SHAPES; k++) {
		enum mica_dtype t = formats[k % 3];
		const struct ir_value *a;
		double clip;

		fill(k / 3);
		clip = ref_histogram(data, N, bin);
		clip = clip * ref_percentile_bins(bin, 99) / REF_BINS;
		f->o.format = t;
		a = pass(f, "quantize");
		assert_int_equal(a->dtype, t);
		assert_int_equal(a->zero, 0);
		if (!close_to(a->scale, ref_scale(clip, t)))
			fail_msg("shape %u, %s: %g instead of %g", k / 3, mica_dtype_name(t), a->scale, ref_scale(clip, t));
	}
}

/* Method none: the format's own range, whatever the samples show. */
static void formats_of_their_own_range_have_the_scale_one(void **state)
{
	struct compile_fixture *f = *state;

	prepare(f);
	fill(4);
	f->o.method = MICA_METHOD_NONE;
	for (unsigned k = 1; k < 3; k++) {
		const struct ir_value *a;

		f->o.format = formats[k];
		a = pass(f, "quantize");
		assert_int_equal(a->dtype, formats[k]);
		assert_true(a->scale == 1 && a->zero == 0);
	}
}

/* Codes -128 .. 127 cover what is not clipped, and 0 has a code of its own. */
static void zero_points_cover_the_range(void **state)
{
	struct compile_fixture *f = *state;
	double bin[REF_BINS];

	prepare(f);
	f->o.method = MICA_METHOD_PERCENTILE;
	f->o.percentile = 99.9;
	f->o.format = MICA_I8;
	f->o.symmetric = false;
	for (unsigned k = 0; k < SHAPES; k++) {
		const struct ir_value *a;
		double clip, min = INFINITY, max = -INFINITY, scale, zero;

		fill(k);
		clip = ref_histogram(data, N, bin);
		if (clip == 0)
			continue;
		clip = clip * ref_percentile_bins(bin, 99.9) / REF_BINS;
		for (size_t i = 0; i < N; i++) {
			min = fmin(min, data[i]);
			max = fmax(max, data[i]);
		}
		scale = ref_scale_with_zero(min, max, clip, &zero);
		a = pass(f, "quantize");
		if (!close_to(a->scale, scale) || fabs(a->zero - zero) > 0.5001)
			fail_msg("shape %u: %g and %d instead of %g and %g", k, a->scale, a->zero, scale, zero);
	}
}

/* Also for scales a hair above a power of two, where a logarithm in f32 is the same. */
static void powers_of_two_are_never_below(void **state)
{
	static const float hair[] = { -1, -0x1p-24f, 0, 0x1p-23f, 0x1p-22f, 0.3f };
	struct ir_graph g = { .rules = { .pow2 = true } };
	(void)state;

	for (int e = -80; e <= 80; e++)
		for (unsigned h = 0; h < 6; h++) {
			float s = ldexpf(1 + hair[h] * (hair[h] < -0.5f ? 0.4f : 1), e);
			struct ir_value seen = { .threshold = s * 127, .calibrated = true }, v = { .dtype = MICA_I8 };

			set_scale(&g, &v, &seen);
			assert_true(v.scale == ref_pow2(seen.threshold / 127));
		}
}

static void weights_have_the_scale_of_the_largest(void **state)
{
	struct ir_graph g = { .rules = { .pow2 = false } }, pow2 = { .rules = { .pow2 = true } };
	(void)state;

	for (unsigned k = 0; k < 3 * SHAPES; k++) {
		enum mica_dtype t = formats[k % 3];
		double bin[REF_BINS], want;

		fill(k / 3);
		want = ref_scale(ref_histogram(data, N, bin), t);
		assert_true(close_to(weight_scale(&g, data, N, t), want));
		assert_true(close_to(weight_scale(&pow2, data, N, t), ref_pow2((float)want)));
		assert_true(weight_scale(&g, data, N, MICA_BF16) == 1);
	}
}

static void weight_ranges_have_the_least_error(void **state)
{
	struct ir_graph g = { .rules = { .wmse = true } };
	const size_t n = 300;
	unsigned clipped = 0;
	(void)state;

	for (unsigned k = 0; k < 3 * SHAPES; k++) {
		enum mica_dtype t = formats[k % 3];
		double bin[REF_BINS], largest, least = INFINITY, part, got;

		fill(k / 3);
		largest = ref_histogram(data, n, bin);
		got = weight_scale(&g, data, n, t);
		if (largest == 0) {
			assert_true(got == 1);
			continue;
		}
		part = got / ref_scale(largest, t) * 50;
		assert_true(fabs(part - rint(part)) < 1e-4 && part > 9.5 && part < 50.5);
		for (unsigned i = 10; i <= 50; i++)
			least = fmin(least, ref_weight_cost(data, n, t, ref_scale(largest * i / 50, t)));
		if (!(ref_weight_cost(data, n, t, ref_scale(largest * rint(part) / 50, t)) <= least * (1 + 1e-4) + 1e-12 * largest * largest))
			fail_msg("shape %u, %s: %g %%", k / 3, mica_dtype_name(t), 2 * part);
		clipped += part < 49.5;
	}
	assert_true(clipped >= SHAPES / 2);
}

/* One weight among so many that its clipping costs less than the others' rounding: down to a fifth, and no further. */
static void weight_ranges_end_at_a_fifth(void **state)
{
	const size_t n = 900000;
	struct ir_graph g = { .rules = { .wmse = true } };
	float *w = calloc(n, sizeof(*w));
	(void)state;

	w[0] = 1;
	for (size_t i = 1; i < n; i++)
		w[i] = 0.1f * compile_noise();
	assert_true(close_to(weight_scale(&g, w, n, MICA_I8), 0.2 / 127));
	free(w);
}

/* ---- codes ---- */

#define OC 4
#define K  18

static void conv_model(const char *path, const float *w)
{
	ob_begin(13);
	ob_input("x", ONNX_F32, 4, (int64_t[]){ 1, 2, 3, WIDTH / 6 });
	ob_floats("w", 4, (int64_t[]){ OC, 2, 3, 3 }, w);
	ob_node("Conv", "y", (const char *[]){ "x", "w" }, 2);
	ob_output("y");
	ob_write(path);
}

static double code_value(const struct ir_value *q, int64_t i)
{
	return q->dtype == MICA_I8 ? ((const int8_t *)q->data)[i] : ref_code_value((enum mica_dtype)q->dtype, ((const uint8_t *)q->data)[i]);
}

/* Channels 2256 : 1 apart and one of zeroes: each weight is the number of the grid that is nearest, by channel or by tensor. */
static void every_weight_is_the_nearest_code(void **state)
{
	struct compile_fixture *f = *state;
	static const float range[OC] = { 1, 2256, 0, 0.3f };
	float w[OC * K];

	fill(0);
	for (int i = 0; i < OC * K; i++)
		w[i] = compile_noise() * range[i / K];
	conv_model(f->path, w);
	f->o.calib = (struct mica_calib){ .count = SAMPLES, .load = load };
	for (unsigned k = 0; k < 6; k++) {
		const struct ir_value *q = NULL;

		f->o.format = formats[k % 3];
		f->o.per_tensor = k >= 3;
		ir_graph_free(f->g);
		f->g = ob_compile(f->path, &f->o, "quantize", &f->err);
		assert_non_null(f->g);
		for (const struct ir_op *op = f->g->first; op; op = op->next)
			q = op->kind == IR_CONV ? op->in[1] : q;
		assert_non_null(q);
		for (int i = 0; i < OC * K; i++) { /* the codes stand as [oc,kh,kw,ic] */
			int o = i / K, tap = i % K / 2, ic = i % 2;
			double bin[REF_BINS], x = w[o * K + ic * 9 + tap], s, y;

			s = ref_scale(f->o.per_tensor ? ref_histogram(w, OC * K, bin) : ref_histogram(w + o * K, K, bin), formats[k % 3]);
			y = s * code_value(q, i);
			assert_true(close_to(q->ch_scale[o], s));
			assert_true(fabs(x - y) <= fabs(x - ref_fake(formats[k % 3], x, s, 0)) + 1e-5 * s);
		}
	}
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, compile_setup, compile_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(max_is_the_largest),
		T(percentile_is_the_end_of_the_bins_that_hold_it),
		T(kl_is_the_least_divergence),
		T(mse_is_the_clipping_with_the_least_error),
		T(mse_clips_to_a_tenth_at_most),
		T(one_number_is_kept),
		T(activations_have_the_scale_of_their_threshold),
		T(formats_of_their_own_range_have_the_scale_one),
		T(zero_points_cover_the_range),
		T(powers_of_two_are_never_below),
		T(weights_have_the_scale_of_the_largest),
		T(weight_ranges_have_the_least_error),
		T(weight_ranges_end_at_a_fifth),
		T(every_weight_is_the_nearest_code),
	};

	return cmocka_run_group_tests_name("quant_definitions", tests, NULL, NULL);
}
