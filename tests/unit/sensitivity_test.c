// SPDX-License-Identifier: MIT
/* The search for sensitive operators: its savings change nothing, it finds what is broken, it goes on where it stopped. */
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
#include "sensitivity_parts.h"

#define SAMPLES 5

struct fixture {
	char dir[64], onnx[96], qtable[96], table[96], log[96], ranking[96];
	struct mica_compile_options o;
	struct mica_sensitivity_options s;
	struct mica_sensitivity_result r;
	struct mica_err err;
	atomic_bool stop;
	unsigned stop_after, seen;
};

static int samples(void *opaque, unsigned sample, const char *input, float *dst, size_t n, struct mica_err *err)
{
	(void)opaque;
	(void)input;
	(void)err;
	compile_noisy(sample, dst, n);
	return 0;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/mica-sens-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->onnx, sizeof(f->onnx), "%s/net.onnx", f->dir);
	snprintf(f->qtable, sizeof(f->qtable), "%s/q", f->dir);
	snprintf(f->table, sizeof(f->table), "%s/table", f->dir);
	snprintf(f->log, sizeof(f->log), "%s/log", f->dir);
	snprintf(f->ranking, sizeof(f->ranking), "%s/ranking", f->dir);
	mica_compile_defaults(&f->o);
	f->o.quiet = true;
	f->o.calib = (struct mica_calib){ SAMPLES, samples, NULL };
	mica_sensitivity_defaults(&f->s);
	f->s.qtable = f->qtable;
	f->s.table = f->table;
	f->s.log = f->log;
	f->s.ranking = f->ranking;
	f->s.target = 0.99;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	unlink(f->onnx);
	unlink(f->qtable);
	unlink(f->table);
	unlink(f->log);
	unlink(f->ranking);
	rmdir(f->dir);
	free(f);
	return 0;
}

static char *text_of(const char *path)
{
	char *text = calloc(1, 1 << 20);
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
	fclose(file);
	return text;
}

static void write_text(const char *path, const char *mode, const char *text)
{
	FILE *file = fopen(path, mode);

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void search(struct fixture *f)
{
	if (mica_sensitivity(f->onnx, &f->o, &f->s, &f->r, &f->err))
		fail_msg("%s", f->err.text);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines of a text, sorted, as one text. */
static char *sorted(char *text)
{
	static char *line[4096];
	char *out = calloc(1, strlen(text) + 2), *rest = text;
	size_t n = 0;

	while (n < 4096 && (line[n] = strsep(&rest, "\n")))
		n++;
	qsort(line, n, sizeof(*line), by_text);
	for (size_t i = 0; i < n; i++) {
		strcat(out, line[i]);
		strcat(out, "\n");
	}
	free(text);
	return out;
}

/* ---- models ---- */

static uint32_t seed;

static float noise(void)
{
	seed = seed * 1664525u + 1013904223u;
	return (float)(seed >> 8) / (1 << 23) - 1;
}

static void weights(const char *name, int64_t oc, int64_t ic, int64_t k, float factor)
{
	int64_t dim[4] = { oc, ic, k, k };
	float *w = calloc((size_t)(oc * ic * k * k), sizeof(*w));

	for (int64_t i = 0; i < oc * ic * k * k; i++)
		w[i] = noise() * factor;
	ob_floats(name, 4, dim, w);
	free(w);
}

static void conv(const char *out, const char *x, const char *w, int64_t pad, int64_t groups)
{
	Onnx__NodeProto *n = ob_node("Conv", out, (const char *[]){ x, w }, 2);
	int64_t pads[4] = { pad, pad, pad, pad };

	ob_attr_ints(n, "pads", pads, 4);
	ob_attr_int(n, "group", groups);
}

/* Branches, a residual sum, a concatenation, a depthwise layer, tables, a mean, softmax, a product; two outputs. */
static void many_kinds(const char *path)
{
	static const int64_t in[4] = { 1, 3, 12, 12 }, flat[2] = { 1, 12 };
	float fc[12 * 5];
	Onnx__NodeProto *n;

	seed = 1;
	ob_begin(13);
	ob_input("x", ONNX_F32, 4, in);
	weights("w1", 8, 3, 3, 0.4f);
	weights("w2", 8, 1, 3, 0.5f);
	weights("w3", 8, 8, 1, 0.5f);
	weights("w4", 4, 8, 1, 0.5f);
	weights("w5", 3, 12, 1, 0.5f);
	for (int i = 0; i < 60; i++)
		fc[i] = noise();
	ob_floats("fc", 2, (int64_t[]){ 12, 5 }, fc);
	ob_raw("shape", ONNX_I64, 1, (int64_t[]){ 2 }, flat, sizeof(flat));
	conv("c1", "x", "w1", 1, 1);
	ob_node("Relu", "r1", (const char *[]){ "c1" }, 1);
	conv("d", "r1", "w2", 1, 8);
	ob_node("Sigmoid", "s", (const char *[]){ "d" }, 1);
	conv("c3", "s", "w3", 0, 1);
	ob_node("Add", "sum", (const char *[]){ "c3", "r1" }, 2);
	conv("c4", "r1", "w4", 0, 1);
	ob_node("Tanh", "t", (const char *[]){ "c4" }, 1);
	n = ob_node("Concat", "cat", (const char *[]){ "sum", "t" }, 2);
	ob_attr_int(n, "axis", 1);
	conv("y1", "cat", "w5", 0, 1);
	n = ob_node("MaxPool", "p", (const char *[]){ "cat" }, 1);
	ob_attr_ints(n, "kernel_shape", (int64_t[]){ 2, 2 }, 2);
	ob_attr_ints(n, "strides", (int64_t[]){ 2, 2 }, 2);
	ob_node("GlobalAveragePool", "g", (const char *[]){ "p" }, 1);
	ob_node("Reshape", "gg", (const char *[]){ "g", "shape" }, 2);
	ob_node("MatMul", "m", (const char *[]){ "gg", "fc" }, 2);
	ob_node("Softmax", "y2", (const char *[]){ "m" }, 1);
	ob_output("y1");
	ob_output("y2");
	ob_write(path);
}

/* Five layers; the fourth reads channels whose ranges are 1 : 3000, all of which matter to it. */
static void poisoned(const char *path)
{
	static const int64_t in[4] = { 1, 4, 8, 8 }, dim[4] = { 8, 8, 1, 1 };
	float *w = calloc(64, sizeof(*w)), *v = calloc(64, sizeof(*v));

	seed = 5;
	ob_begin(13);
	ob_input("x", ONNX_F32, 4, in);
	weights("w1", 8, 4, 3, 0.4f);
	weights("w2", 8, 8, 1, 0.6f);
	weights("w5", 6, 8, 3, 0.4f);
	for (int i = 0; i < 64; i++) {
		w[i] = noise() * powf(3000, (float)(i / 8) / 7);
		v[i] = noise() / powf(3000, (float)(i % 8) / 7);
	}
	ob_floats("w3", 4, dim, w);
	ob_floats("w4", 4, dim, v);
	conv("one", "x", "w1", 1, 1);
	ob_node("Relu", "r1", (const char *[]){ "one" }, 1);
	conv("two", "r1", "w2", 0, 1);
	ob_node("Relu", "r2", (const char *[]){ "two" }, 1);
	conv("three", "r2", "w3", 0, 1);
	ob_node("Relu", "r3", (const char *[]){ "three" }, 1);
	conv("victim", "r3", "w4", 0, 1);
	ob_node("Relu", "r4", (const char *[]){ "victim" }, 1);
	conv("y", "r4", "w5", 1, 1);
	ob_output("y");
	ob_write(path);
	free(w);
	free(v);
}

/* What the first layer makes is far above the clip: nothing of it gets through. */
static void deaf(const char *path)
{
	static const int64_t in[4] = { 1, 2, 6, 6 };
	float bias[4] = { 90, 91, 92, 93 }, zero = 0, one = 1;

	seed = 9;
	ob_begin(13);
	ob_input("x", ONNX_F32, 4, in);
	weights("w1", 4, 2, 1, 1);
	weights("w2", 4, 4, 3, 1);
	weights("w3", 2, 4, 1, 1);
	ob_floats("b", 1, (int64_t[]){ 4 }, bias);
	ob_floats("zero", 0, NULL, &zero);
	ob_floats("one", 0, NULL, &one);
	ob_node("Conv", "loud", (const char *[]){ "x", "w1", "b" }, 3);
	ob_node("Clip", "c", (const char *[]){ "loud", "zero", "one" }, 3);
	conv("two", "c", "w2", 1, 1);
	ob_node("Relu", "r", (const char *[]){ "two" }, 1);
	conv("y", "r", "w3", 0, 1);
	ob_output("y");
	ob_write(path);
}

static void all_choices(struct fixture *f)
{
	static const enum mica_dtype format[] = { MICA_I8, MICA_E4M3, MICA_E5M2, MICA_BF16 };
	static const enum mica_method method[] = { MICA_METHOD_MAX, MICA_METHOD_KL, MICA_METHOD_PERCENTILE, MICA_METHOD_MSE };

	memcpy(f->s.format, format, sizeof(format));
	memcpy(f->s.method, method, sizeof(method));
	f->s.formats = 4;
	f->s.methods = 4;
	f->o.percentile = 97;
}

/* ---- tests ---- */

static void expect_the_log_of_whole_networks(struct fixture *f)
{
	char *full, *naive;

	f->s.search = SENS_FULL;
	search(f);
	assert_true(f->r.candidates >= 6 && f->r.computed > 0 && f->r.computed <= f->r.candidates);
	full = sorted(text_of(f->log));
	f->s.search = SENS_NAIVE;
	search(f);
	assert_int_equal(f->r.computed, f->r.candidates);
	naive = sorted(text_of(f->log));
	assert_string_equal(full, naive);
	free(full);
	free(naive);
}

static void savings_of_work_change_no_bit(void **state)
{
	struct fixture *f = *state;

	many_kinds(f->onnx);
	all_choices(f);
	f->s.limited = true;
	f->s.target = 0;
	expect_the_log_of_whole_networks(f);
	f->o.symmetric = false;
	f->s.metric = SENS_SNR;
	f->s.worst = true;
	expect_the_log_of_whole_networks(f);
}

static void a_difference_that_vanishes_ends_the_run(void **state)
{
	struct fixture *f = *state;
	char *log;

	deaf(f->onnx);
	all_choices(f);
	expect_the_log_of_whole_networks(f);
	log = text_of(f->log);
	assert_non_null(strstr(log, " 0 1 300 loud\n"));
	free(log);
}

static void threads_do_not_show(void **state)
{
	struct fixture *f = *state;
	char *one, *many;

	many_kinds(f->onnx);
	all_choices(f);
	search(f);
	one = text_of(f->log);
	f->o.threads = 3;
	search(f);
	many = text_of(f->log);
	assert_string_equal(one, many);
	free(one);
	free(many);
}

static void samples_that_do_not_fit_take_turns(void **state)
{
	struct fixture *f = *state;
	size_t room = sens_state_memory;
	char *one, *many;

	many_kinds(f->onnx);
	all_choices(f);
	f->s.limited = true;
	f->s.target = 0;
	search(f);
	one = text_of(f->log);
	sens_state_memory = 1;
	search(f);
	sens_state_memory = room;
	many = text_of(f->log);
	assert_string_equal(one, many);
	free(one);
	free(many);
}

static void the_layer_that_breaks_the_network_is_found(void **state)
{
	static const enum sens_search way[] = { SENS_FULL, SENS_FAST, SENS_NAIVE };
	struct fixture *f = *state;
	char *q, *ranking;

	poisoned(f->onnx);
	for (unsigned i = 0; i < 3; i++) {
		f->s.search = way[i];
		search(f);
		assert_true(f->r.reached && f->r.kept == 1);
		assert_true(f->r.start_cosine < 0.98 && f->r.cosine >= 0.99);
		q = text_of(f->qtable);
		assert_non_null(strstr(q, "\nvictim f32\n"));
		ranking = text_of(f->ranking);
		assert_non_null(strstr(strstr(ranking, "   1 * "), " victim\n"));
		assert_null(strstr(ranking, "   2 * "));
		free(q);
		free(ranking);
	}
}

struct compiled { struct ir_graph *g; float y[2][8192]; unsigned sample, which; };

static int load_one(void *opaque, const struct ir_value *input, float *dst, size_t n)
{
	struct compiled *c = opaque;

	return samples(NULL, c->sample, input->name, dst, n, NULL);
}

static void see_one(void *opaque, const struct ir_value *v, const void *codes, size_t n)
{
	struct compiled *c = opaque;

	if (v == c->g->output[0])
		memcpy(c->y[c->which], codes, n * sizeof(float));
}

/* Mean cosine between two compilations. */
static double likeness(struct fixture *f, const struct mica_compile_options *a, const struct mica_compile_options *b)
{
	static struct compiled c;
	struct ir_graph *g[2] = { ob_compile(f->onnx, a, NULL, &f->err), ob_compile(f->onnx, b, NULL, &f->err) };
	struct ir_trace cb = { .load = load_one, .see = see_one, .opaque = &c };
	double sum = 0;

	assert_non_null(g[0]);
	assert_non_null(g[1]);
	for (c.sample = 0; c.sample < SAMPLES; c.sample++) {
		double xy = 0, xx = 0, yy = 0;

		for (c.which = 0; c.which < 2; c.which++) {
			struct ir_tracer *t = ir_tracer_new(c.g = g[c.which], 1);

			assert_int_equal(ir_tracer_run(t, &cb), 0);
			ir_tracer_free(t);
		}
		for (int64_t i = 0; i < ir_elements(g[0]->output[0]); i++) {
			xy += (double)c.y[0][i] * c.y[1][i];
			xx += (double)c.y[0][i] * c.y[0][i];
			yy += (double)c.y[1][i] * c.y[1][i];
		}
		sum += xy / sqrt(xx * yy) / SAMPLES;
	}
	ir_graph_free(g[0]);
	ir_graph_free(g[1]);
	return sum;
}

static void the_tables_compile_to_what_was_measured(void **state)
{
	struct fixture *f = *state;
	struct mica_compile_options exact = f->o, mixed = f->o;

	poisoned(f->onnx);
	all_choices(f);
	f->o.symmetric = false;
	search(f);
	assert_true(f->r.reached);
	exact.format = MICA_F32;
	mixed.format = MICA_I8;
	mixed.symmetric = false;
	mixed.qtable = f->qtable;
	mixed.calib_table = f->table;
	assert_true(fabs(likeness(f, &exact, &mixed) - f->r.cosine) < 1e-9);
}

static void stop_soon(void *opaque, const char *stage, unsigned done, unsigned total)
{
	struct fixture *f = opaque;
	(void)done;
	(void)total;

	if (!strncmp(stage, "search", 6) && ++f->seen > f->stop_after)
		atomic_store(&f->stop, true);
}

static void an_interrupted_search_goes_on(void **state)
{
	struct fixture *f = *state;
	char *whole, *parts, *q;
	unsigned candidates;

	many_kinds(f->onnx);
	all_choices(f);
	search(f);
	candidates = f->r.candidates;
	whole = text_of(f->log);
	f->o.progress = stop_soon;
	f->o.progress_opaque = f;
	f->s.stop = &f->stop;
	f->stop_after = 7;
	search(f);
	assert_true(f->r.stopped && f->r.computed >= 6 && f->r.computed < candidates);
	q = text_of(f->qtable);
	assert_non_null(strstr(q, "interrupted"));
	free(q);
	write_text(f->log, "a", "int8 max 3.5 0.0");	/* as if killed while writing */
	atomic_store(&f->stop, false);
	f->stop_after = UINT32_MAX;
	f->s.resume = true;
	search(f);
	assert_true(!f->r.stopped && f->r.resumed >= 6 && f->r.resumed + f->r.computed <= candidates);
	parts = sorted(text_of(f->log));
	whole = sorted(whole);
	assert_string_equal(whole, parts);
	free(whole);
	free(parts);
}

static void expect_refusal(struct fixture *f, enum mica_err_code code, const char *word)
{
	assert_int_equal(mica_sensitivity(f->onnx, &f->o, &f->s, &f->r, &f->err), -(int)code);
	assert_non_null(strstr(f->err.text, word));
}

static void a_log_of_something_else_is_refused(void **state)
{
	struct fixture *f = *state;

	poisoned(f->onnx);
	search(f);
	f->s.resume = true;
	search(f);
	assert_true(f->r.resumed == f->r.candidates && !f->r.computed);
	f->o.symmetric = false;
	expect_refusal(f, MICA_ERR_USAGE, "other samples or options");
	f->o.symmetric = true;
	many_kinds(f->onnx);
	expect_refusal(f, MICA_ERR_USAGE, "another model");
	poisoned(f->onnx);
	write_text(f->log, "a", "int8 max what is this\n");
	expect_refusal(f, MICA_ERR_CORRUPT, "/log:9");
	write_text(f->log, "w", "something else\n");
	expect_refusal(f, MICA_ERR_CORRUPT, "no log");
	write_text(f->log, "w", "# mica sensitivity log 2\n");
	expect_refusal(f, MICA_ERR_VERSION, "no log");
}

/* Less is better: the mean distance from what f32 gives is unknown to it, so it takes the largest output. */
static int largest(void *opaque, const struct sens_outputs *of, double *loss, struct mica_err *err)
{
	unsigned *calls = opaque;
	(void)err;

	++*calls;
	*loss = 0;
	for (unsigned i = 0; i < of->samples * of->outputs; i++)
		for (int64_t k = 0; k < of->dim[i % of->outputs][1]; k++)
			*loss = fmax(*loss, of->value[i][k]);
	return 0;
}

static void the_users_measure_decides(void **state)
{
	struct fixture *f = *state;
	unsigned calls = 0;

	many_kinds(f->onnx);
	f->s.metric = SENS_COMMAND;
	f->s.measure = largest;
	f->s.measure_opaque = &calls;
	expect_the_log_of_whole_networks(f);
	assert_true(calls > f->r.candidates);
}

static void at_most_so_many_layers_stay_in_float(void **state)
{
	struct fixture *f = *state;

	many_kinds(f->onnx);
	f->s.format[0] = MICA_E5M2;
	f->s.target = 1;
	f->s.limited = true;
	for (f->s.max_float = 0; f->s.max_float < 4; f->s.max_float++) {
		double before = f->r.cosine;

		search(f);
		assert_int_equal(f->r.kept, f->s.max_float);
		assert_true(!f->r.reached && f->r.cosine > before);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(savings_of_work_change_no_bit, setup, teardown),
		cmocka_unit_test_setup_teardown(a_difference_that_vanishes_ends_the_run, setup, teardown),
		cmocka_unit_test_setup_teardown(threads_do_not_show, setup, teardown),
		cmocka_unit_test_setup_teardown(samples_that_do_not_fit_take_turns, setup, teardown),
		cmocka_unit_test_setup_teardown(the_layer_that_breaks_the_network_is_found, setup, teardown),
		cmocka_unit_test_setup_teardown(the_tables_compile_to_what_was_measured, setup, teardown),
		cmocka_unit_test_setup_teardown(an_interrupted_search_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(a_log_of_something_else_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(the_users_measure_decides, setup, teardown),
		cmocka_unit_test_setup_teardown(at_most_so_many_layers_stay_in_float, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
