// SPDX-License-Identifier: MIT
/* Calibration: thresholds against the values themselves (quant_definitions_test has the definitions), its tables, and equalization. */
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
#include "calibrate.h"
#include "onnx_builder.h"

/* ---- thresholds ---- */

/* A histogram of n values with a long tail, and the values. */
static void make_stats(struct calib_stats *s, float *x, size_t n)
{
	float amax = 0;

	*s = (struct calib_stats){ .count = n };
	for (size_t i = 0; i < n; i++) {
		float a = compile_noise(), b = compile_noise();

		x[i] = a * a * a * 3 + (i % 997 ? 0 : b * 20);
		s->min = x[i] < s->min ? x[i] : s->min;
		s->max = x[i] > s->max ? x[i] : s->max;
	}
	amax = calib_largest(s);
	s->bin = calloc(CALIB_BINS, sizeof(*s->bin));
	for (size_t i = 0; i < n; i++) {
		unsigned b = (unsigned)(fabsf(x[i]) * (CALIB_BINS / amax));

		s->bin[b < CALIB_BINS ? b : CALIB_BINS - 1]++;
	}
}

static int by_size(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return x < y ? -1 : x > y;
}

#define N 60000

/* The value below which the share of the sorted |x| lies, up to the width of a bin. */
static void percentile_is_that_of_the_sorted_values(void **state)
{
	static float x[N];
	static const double share[] = { 50, 90, 99, 99.9, 99.99, 100 };
	struct calib_stats s;
	float width;
	(void)state;

	make_stats(&s, x, N);
	width = calib_largest(&s) / CALIB_BINS;
	for (size_t i = 0; i < N; i++)
		x[i] = fabsf(x[i]);
	qsort(x, N, sizeof(*x), by_size);
	for (size_t i = 0; i < sizeof(share) / sizeof(*share); i++) {
		size_t at = (size_t)ceil(share[i] / 100 * N) - 1;
		float t = calib_threshold(&s, MICA_METHOD_PERCENTILE, share[i], MICA_I8);

		assert_true(t >= x[at] - width && t <= x[at] + 2 * width);
	}
	free(s.bin);
}

/* Squared error of the values themselves, rounded to n steps on each side: no other clipping is much better. */
static void mse_clips_where_the_error_is_least(void **state)
{
	static float x[N];
	struct calib_stats s;
	double mine = 0, best = INFINITY;
	float t;
	(void)state;

	make_stats(&s, x, N);
	t = calib_threshold(&s, MICA_METHOD_MSE, 0, MICA_I8);
	for (int k = 0; k <= 200; k++) {
		float clip = k ? calib_largest(&s) * (float)k / 200 : t, step = clip / 127;
		double sum = 0;

		for (size_t i = 0; i < N; i++) {
			float c = rintf(x[i] / step), y = step * (c > 127 ? 127 : c < -128 ? -128 : c);

			sum += ((double)x[i] - y) * ((double)x[i] - y);
		}
		if (!k)
			mine = sum;
		best = sum < best ? sum : best;
	}
	assert_true(t < calib_largest(&s));
	assert_true(mine <= 1.03 * best);
	free(s.bin);
}

static void nothing_but_zeroes_has_the_threshold_zero(void **state)
{
	struct calib_stats s = { .count = 10, .bin = calloc(CALIB_BINS, sizeof(uint64_t)) };
	(void)state;

	s.bin[0] = 10;
	for (int m = MICA_METHOD_MAX; m <= MICA_METHOD_MSE; m++)
		assert_true(calib_threshold(&s, (enum mica_method)m, 99, MICA_E4M3) == 0);
	free(s.bin);
}

/* ---- the pass ---- */

static const int64_t map[4] = { 1, 2, 16, 16 };

static int samples(void *opaque, unsigned sample, const char *input, float *dst, size_t n, struct mica_err *err)
{
	const unsigned *bad = opaque;

	(void)input;
	if (bad && sample >= *bad)
		return mica_err_set(err, MICA_ERR_FILE, "sample %u is unreadable", sample);
	compile_noisy(sample, dst, n);
	for (size_t i = 0; i < n; i++)
		dst[i] += (float)sample * 0.01f;
	return 0;
}

/* x -> conv (relu) "a" -> conv "y", the first one's channels of quite different size. */
static void two_convs(const float *gain, int clip)
{
	float w[3 * 2 * 9], b[3], v[4 * 3 * 9];
	Onnx__NodeProto *n;

	compile_seed(4711);
	for (int i = 0; i < 3 * 2 * 9; i++)
		w[i] = compile_noise() * gain[i / 18];
	for (int i = 0; i < 3; i++)
		b[i] = compile_noise() * gain[i];
	for (int i = 0; i < 4 * 3 * 9; i++)
		v[i] = compile_noise() / gain[i / 9 % 3];
	ob_begin(13);
	ob_input("x", ONNX_F32, 4, map);
	ob_floats("w", 4, (int64_t[]){ 3, 2, 3, 3 }, w);
	ob_floats("b", 1, (int64_t[]){ 3 }, b);
	ob_floats("v", 4, (int64_t[]){ 4, 3, 3, 3 }, v);
	n = ob_node("Conv", "c", (const char *[]){ "x", "w", "b" }, 3);
	ob_attr_ints(n, "pads", (int64_t[]){ 1, 1, 1, 1 }, 4);
	if (clip) {
		float zero = 0, six = 6;

		ob_floats("zero", 0, NULL, &zero);
		ob_floats("six", 0, NULL, &six);
		ob_node("Clip", "a", (const char *[]){ "c", "zero", "six" }, 3);
	} else {
		ob_node("Relu", "a", (const char *[]){ "c" }, 1);
	}
	n = ob_node("Conv", "y", (const char *[]){ "a", "v" }, 2);
	ob_attr_ints(n, "pads", (int64_t[]){ 1, 1, 1, 1 }, 4);
	ob_output("y");
}

static struct ir_graph *passes(struct compile_fixture *f, const char *until)
{
	ir_graph_free(f->g);
	f->err.code = MICA_ERR_NONE;
	f->g = ob_compile(f->path, &f->o, until, &f->err);
	return f->g;
}

static const float even[3] = { 1, 1, 1 }, uneven[3] = { 0.02f, 1, 40 };

static void threads_change_nothing(void **state)
{
	struct compile_fixture *f = *state;
	static const unsigned threads[] = { 1, 2, 3, 7 };
	float first[64] = { 0 };

	two_convs(even, 0);
	ob_write(f->path);
	f->o.calib = (struct mica_calib){ .count = 11, .load = samples };
	for (int method = MICA_METHOD_MAX; method <= MICA_METHOD_MSE; method++) {
		for (unsigned t = 0; t < 4; t++) {
			f->o.method = (enum mica_method)method;
			f->o.threads = threads[t];
			assert_non_null(passes(f, "calibrate"));
			for (unsigned i = 0; i < f->g->values && i < 64; i++) {
				float v = f->g->value[i] ? f->g->value[i]->threshold : 0;

				if (!t)
					first[i] = v;
				assert_memory_equal(&v, &first[i], sizeof(v));
			}
		}
	}
}

static void the_error_is_that_of_the_first_bad_sample(void **state)
{
	struct compile_fixture *f = *state;
	unsigned bad = 5;

	two_convs(even, 0);
	ob_write(f->path);
	f->o.calib = (struct mica_calib){ .count = 40, .load = samples, .opaque = &bad };
	for (f->o.threads = 1; f->o.threads < 6; f->o.threads++) {
		assert_null(passes(f, NULL));
		assert_int_equal(f->err.code, MICA_ERR_FILE);
		assert_string_equal(f->err.text, "sample 5 is unreadable");
	}
}

/* ---- tables ---- */

static void write_text(const char *path, const char *text, size_t n)
{
	FILE *t = fopen(path, "w");

	assert_non_null(t);
	assert_int_equal(fwrite(text, 1, n, t), n);
	fclose(t);
}

static void a_table_gives_what_the_samples_gave(void **state)
{
	struct compile_fixture *f = *state;
	char *with, *from_table;

	two_convs(even, 0);
	ob_write(f->path);
	f->o.format = MICA_I8;
	f->o.method = MICA_METHOD_KL;
	f->o.calib = (struct mica_calib){ .count = 9, .load = samples };
	assert_non_null(passes(f, NULL));
	with = ir_print_string(f->g);
	f->o.calib_out = f->table;
	assert_int_equal(mica_calibrate(f->path, &f->o, &f->err), 0);
	f->o.calib_out = NULL;
	f->o.calib_table = f->table;
	f->o.calib.count = 0;
	assert_non_null(passes(f, NULL));
	from_table = ir_print_string(f->g);
	assert_string_equal(with, from_table);
	free(with);
	free(from_table);
}

static void tables_may_be_edited(void **state)
{
	struct compile_fixture *f = *state;
	static const char text[] = "\n  # my own remark\r\n"
				   "a max 2.5 0 3 \r\n"
				   "# mica calibration table 1\n"
				   "\t\"x\" mse auto 0 0\n"
				   "name with blanks kl 1e-3 -1 1\n"
				   "\"quoted \\\"name\\\" \" none 0 0 0";
	struct calib_table t;

	write_text(f->table, text, sizeof(text) - 1);
	assert_int_equal(calib_table_read(f->table, &t, &f->err), 0);
	assert_int_equal(t.count, 4);
	assert_true(calib_table_find(&t, "a")->threshold == 2.5f && calib_table_find(&t, "a")->max == 3);
	assert_true(calib_table_find(&t, "x")->automatic && calib_table_find(&t, "x")->method == MICA_METHOD_MSE);
	assert_int_equal(calib_table_find(&t, "name with blanks")->line, 6);
	assert_non_null(calib_table_find(&t, "quoted \"name\" "));
	calib_table_free(&t);
	two_convs(even, 0);
	ob_write(f->path);
	f->o.calib_table = f->table;
	f->o.calib = (struct mica_calib){ .count = 9, .load = samples };
	assert_non_null(passes(f, "calibrate"));
	assert_true(ir_value_find(f->g, "a")->threshold == 2.5f);
	assert_true(ir_value_find(f->g, "x")->calibrated);
}

static void mistakes_in_tables_are_named(void **state)
{
	struct compile_fixture *f = *state;
	static const struct {
		const char *text;
		size_t n;
		enum mica_err_code code;
		const char *says;
	} bad[] = {
#define B(text, code, says) { text, sizeof(text) - 1, code, says }
		B("a max 1 0 1\nb max 1 0\n", MICA_ERR_USAGE, ":2: five fields"),
		B("a best 1 0 1\n", MICA_ERR_USAGE, ":1: unknown method 'best'"),
		B("a max one 0 1\n", MICA_ERR_USAGE, ":1: not a threshold: 'one'"),
		B("a max -1 0 1\n", MICA_ERR_USAGE, ":1: not a threshold: '-1'"),
		B("a max nan 0 1\n", MICA_ERR_USAGE, "not a threshold"),
		B("a max 1e99 0 1\n", MICA_ERR_USAGE, "not a threshold"),
		B("a max 1 0 inf\n", MICA_ERR_USAGE, "not a number: 'inf'"),
		B("a max 1 2 1\n", MICA_ERR_USAGE, "min is above max"),
		B("a max 1 0 1\n#\na kl 2 0 1\n", MICA_ERR_USAGE, ":3: tensor 'a' is in line 1 already"),
		B("max 1 0 1\n", MICA_ERR_USAGE, ":1: five fields"),
		B("\"a max 1 0 1\n", MICA_ERR_USAGE, ":1: the quote"),
		B("a max 1\0 0 1\n", MICA_ERR_CORRUPT, ":1: is not a text"),
		B("# mica calibration table 2\n", MICA_ERR_VERSION, ":1: a calibration table of version 2"),
#undef B
	};
	struct calib_table t;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		f->err.code = MICA_ERR_NONE;
		write_text(f->table, bad[i].text, bad[i].n);
		assert_int_equal(calib_table_read(f->table, &t, &f->err), -(int)bad[i].code);
		if (!strstr(f->err.text, bad[i].says))
			fail_msg("'%s' says '%s'", bad[i].text, f->err.text);
	}
}

static void auto_without_samples_is_refused(void **state)
{
	struct compile_fixture *f = *state;
	static const char text[] = "x max 1 -1 1\na kl auto 0 1\n";

	two_convs(even, 0);
	ob_write(f->path);
	write_text(f->table, text, sizeof(text) - 1);
	f->o.calib_table = f->table;
	assert_null(passes(f, NULL));
	assert_non_null(strstr(f->err.text, ":2: the threshold of 'a' is auto"));
}

/* ---- equalization ---- */

/* Largest |w| for output channel c of the first, for input channel c of the second ([oc,kh,kw,ic]). */
static float range_out(const struct ir_op *op, int64_t c)
{
	float most = 0;

	for (int64_t i = 0, n = ir_elements(op->in[1]) / op->in[1]->dim[0]; i < n; i++)
		most = fmaxf(most, fabsf(((float *)op->in[1]->data)[c * n + i]));
	return most;
}

static float range_in(const struct ir_op *op, int64_t c)
{
	float most = 0;

	for (int64_t i = 0, n = ir_elements(op->in[1]), ic = op->in[1]->dim[3]; i < n; i++)
		if (i % ic == c)
			most = fmaxf(most, fabsf(((float *)op->in[1]->data)[i]));
	return most;
}

/* The outputs before and after: the same function. */
static void same_function(struct compile_fixture *f, unsigned repair)
{
	static float before[4 * 256], after[4 * 256];
	double diff = 0, size = 0;

	for (unsigned sample = 0; sample < 3; sample++) {
		f->o.repair = 0;
		assert_non_null(passes(f, "equalize"));
		compile_run(f->g, samples, sample, 1, before);
		f->o.repair = repair;
		assert_non_null(passes(f, "equalize"));
		compile_run(f->g, samples, sample, 1, after);
		for (int i = 0; i < 4 * 256; i++) {
			diff = fmax(diff, fabs((double)before[i] - after[i]));
			size = fmax(size, fabs((double)before[i]));
		}
	}
	assert_true(size > 0.1 && diff < 1e-5 * size);
}

/* Both ranges of a channel become the geometric mean of what they were: s = sqrt(r1 / r2). */
static void equalized_ranges_are_geometric_means(void **state)
{
	struct compile_fixture *f = *state;
	float want[3];

	two_convs(uneven, 0);
	ob_write(f->path);
	assert_non_null(passes(f, "equalize"));
	for (int c = 0; c < 3; c++)
		want[c] = sqrtf(range_out(compile_conv(f->g, 0), c) * range_in(compile_conv(f->g, 1), c));
	assert_true(f->g->equalized == 0);
	f->o.repair = MICA_REPAIR_CLE;
	assert_non_null(passes(f, "equalize"));
	assert_true(f->g->equalized != 0);
	for (int c = 0; c < 3; c++) {
		assert_true(fabsf(range_out(compile_conv(f->g, 0), c) / want[c] - 1) < 1e-4f);
		assert_true(fabsf(range_in(compile_conv(f->g, 1), c) / want[c] - 1) < 1e-4f);
	}
	same_function(f, MICA_REPAIR_CLE);
}

/* With a clip: exact on the samples, and channels that reach it stay as they are. */
static void equalization_respects_a_clip(void **state)
{
	struct compile_fixture *f = *state;
	float before;

	two_convs(uneven, 1);
	ob_write(f->path);
	f->o.repair = MICA_REPAIR_CLE;
	assert_non_null(passes(f, "equalize"));
	assert_true(f->g->equalized == 0); /* nobody knows what reaches the clip */
	f->o.format = MICA_I8;
	before = range_out(compile_conv(f->g, 0), 2);
	f->o.calib = (struct mica_calib){ .count = 5, .load = samples };
	assert_non_null(passes(f, "equalize"));
	assert_true(f->g->equalized != 0);
	assert_true(range_out(compile_conv(f->g, 0), 2) == before);
	assert_true(range_out(compile_conv(f->g, 0), 0) > 0.1f);
	same_function(f, MICA_REPAIR_CLE);
}

static void a_channel_of_zeroes_survives(void **state)
{
	struct compile_fixture *f = *state;
	static const float dead[3] = { 0, 1, 40 };

	two_convs(dead, 0);
	for (int i = 0; i < 4 * 3 * 9; i++) /* 1 / 0 is not what is meant */
		if (i / 9 % 3 == 0)
			((float *)ob_model()->graph->initializer[2]->raw_data.data)[i] = 0.5f;
	ob_write(f->path);
	f->o.repair = MICA_REPAIR_CLE;
	f->o.calib = (struct mica_calib){ .count = 5, .load = samples };
	for (int format = 0; format < 3; format++) {
		f->o.format = format == 0 ? MICA_I8 : format == 1 ? MICA_E4M3 : MICA_E5M2;
		assert_non_null(passes(f, NULL));
		for (const struct ir_op *op = f->g->first; op; op = op->next)
			for (int64_t c = 0; op->kind == IR_CONV && c < op->in[1]->dim[0]; c++)
				assert_true(op->in[1]->ch_scale[c] > 0 && isfinite(op->in[1]->ch_scale[c]));
		same_function(f, MICA_REPAIR_CLE);
	}
}

/* Per-channel ranges over five orders of magnitude: a shared activation scale loses the small ones, equalized it does not. */
static void equalization_rescues_int8(void **state)
{
	struct compile_fixture *f = *state;
	static float want[4 * 256], got[4 * 256];
	double error[2] = { 0 }, power = 0;

	two_convs(uneven, 0);
	ob_write(f->path);
	f->o.calib = (struct mica_calib){ .count = 5, .load = samples };
	f->o.format = MICA_F32;
	assert_non_null(passes(f, NULL));
	compile_run(f->g, samples, 3, 1, want);
	f->o.format = MICA_I8;
	for (int k = 0; k < 2; k++) {
		f->o.repair = k ? MICA_REPAIR_CLE : 0;
		assert_non_null(passes(f, NULL));
		compile_run(f->g, samples, 3, 1, got);
		for (int i = 0; i < 4 * 256; i++)
			error[k] += pow((double)got[i] - want[i], 2);
	}
	for (int i = 0; i < 4 * 256; i++)
		power += pow(want[i], 2);
	assert_true(error[1] < power / 1000);
	assert_true(error[0] > 20 * error[1]);
}

/* ---- ranges and scales ---- */

static void zero_points_use_the_whole_range(void **state)
{
	struct compile_fixture *f = *state;
	const struct ir_value *a;

	two_convs(even, 0);
	ob_write(f->path);
	f->o.format = MICA_I8;
	f->o.calib = (struct mica_calib){ .count = 5, .load = samples };
	assert_non_null(passes(f, NULL));
	a = compile_conv(f->g, 1)->in[0];
	assert_int_equal(a->zero, 0);
	assert_true(fabsf(a->scale * 127 / a->max - 1) < 1e-5f);
	f->o.symmetric = false;
	assert_non_null(passes(f, NULL));
	a = compile_conv(f->g, 1)->in[0];
	assert_int_equal(a->zero, -128); /* behind a ReLU */
	assert_true(fabsf(a->scale * 255 / a->max - 1) < 1e-5f);
}

static void scales_may_be_powers_of_two(void **state)
{
	struct compile_fixture *f = *state;
	int exponent;

	two_convs(even, 0);
	ob_write(f->path);
	f->o.calib = (struct mica_calib){ .count = 5, .load = samples };
	f->o.pow2 = true;
	for (int i8 = 0; i8 < 2; i8++) {
		f->o.format = i8 ? MICA_I8 : MICA_E5M2;
		assert_non_null(passes(f, NULL));
		for (const struct ir_op *op = f->g->first; op; op = op->next) {
			assert_true(frexpf(op->out[0]->scale, &exponent) == 0.5f);
			for (int64_t c = 0; op->kind == IR_CONV && c < op->in[1]->dim[0]; c++)
				assert_true(frexpf(op->in[1]->ch_scale[c], &exponent) == 0.5f);
		}
	}
}

static void one_weight_scale_per_tensor(void **state)
{
	struct compile_fixture *f = *state;

	two_convs(uneven, 0);
	ob_write(f->path);
	f->o.calib = (struct mica_calib){ .count = 5, .load = samples };
	f->o.format = MICA_I8;
	f->o.per_tensor = true;
	assert_non_null(passes(f, NULL));
	for (const struct ir_op *op = f->g->first; op; op = op->next)
		for (int64_t c = 0; op->kind == IR_CONV && c < op->in[1]->dim[0]; c++)
			assert_true(op->in[1]->ch_scale[c] == op->in[1]->ch_scale[0]);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, compile_setup, compile_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(percentile_is_that_of_the_sorted_values), T(mse_clips_where_the_error_is_least),
		T(nothing_but_zeroes_has_the_threshold_zero),
		T(threads_change_nothing),		    T(the_error_is_that_of_the_first_bad_sample),
		T(a_table_gives_what_the_samples_gave),	    T(tables_may_be_edited),
		T(mistakes_in_tables_are_named),	    T(auto_without_samples_is_refused),
		T(equalized_ranges_are_geometric_means),    T(equalization_respects_a_clip),
		T(a_channel_of_zeroes_survives),	    T(equalization_rescues_int8),
		T(zero_points_use_the_whole_range),	    T(scales_may_be_powers_of_two),
		T(one_weight_scale_per_tensor),
	};

	return cmocka_run_group_tests_name("compiler_calibrate", tests, NULL, NULL);
}
