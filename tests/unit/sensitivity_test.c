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
	char dir[64], onnx[96], qtable[96], table[96], log[96], other[96], ranking[96];
	struct mica_compile_options o;
	struct mica_sensitivity_options s;
	struct mica_sensitivity_result r;
	struct mica_err err;
	atomic_bool stop;
	unsigned stop_after;
};

static int samples(void *opaque, unsigned sample, const char *input, float *dst, size_t n, struct mica_err *err)
{
	(void)input;
	(void)err;
	compile_noisy(sample + (opaque ? *(const unsigned *)opaque : 0), dst, n);
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
	snprintf(f->other, sizeof(f->other), "%s/other", f->dir);
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
	unlink(f->other);
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

/* A line of a log: "format method threshold samples loss cosine snr operator". */
struct line { char format[16], method[16], name[64], *text; unsigned samples; double loss; };

static unsigned lines_of(char *log, struct line *line, unsigned most)
{
	unsigned n = 0;

	for (char *s; (s = strsep(&log, "\n"));) {
		struct line *l = &line[n];

		if (!*s || *s == '#')
			continue;
		l->text = s;
		assert_int_equal(sscanf(s, "%15s %15s %*s %u %lf %*s %*s %63s", l->format, l->method, &l->samples, &l->loss, l->name), 5);
		assert_true(++n < most);
	}
	return n;
}

static bool same_operator(const struct line *a, const struct line *b)
{
	return !strcmp(a->format, b->format) && !strcmp(a->name, b->name);
}

static const struct line *line_like(const struct line *of, unsigned n, const struct line *l)
{
	for (unsigned i = 0; i < n; i++)
		if (same_operator(&of[i], l) && !strcmp(of[i].method, l->method))
			return &of[i];
	fail_msg("not in the log: %s", l->text);
	return NULL;
}

/* Who was on all samples has the naive search's line; who was not loses at least that much there, and another method less. */
static unsigned compare_logs(char *full, char *naive, unsigned samples)
{
	static struct line a[512], b[512];
	unsigned n = lines_of(full, a, 512), all = lines_of(naive, b, 512), dropped = 0;

	assert_int_equal(n, all);
	for (unsigned i = 0; i < n; i++) {
		const struct line *l = line_like(b, all, &a[i]);
		bool better = false;

		assert_int_equal(l->samples, samples);
		if (a[i].samples == samples) {
			assert_string_equal(a[i].text, l->text);
			continue;
		}
		dropped++;
		for (unsigned k = 0; k < n; k++)
			better |= same_operator(&a[k], &a[i]) && a[k].samples == samples && a[k].loss < a[i].loss;
		assert_true(better && a[i].samples >= 1 && a[i].samples < samples && a[i].loss <= l->loss * (1 + 1e-9));
	}
	return dropped;
}

/* Returns how many candidates were not on all samples. */
static unsigned expect_what_whole_networks_give(struct fixture *f)
{
	char *full, *naive, *ranking[2];
	unsigned dropped;

	f->s.search = SENS_FULL;
	search(f);
	assert_true(f->r.candidates >= 6 && f->r.computed > 0 && f->r.computed <= f->r.candidates);
	full = text_of(f->log);
	ranking[0] = text_of(f->ranking);
	f->s.search = SENS_NAIVE;
	search(f);
	assert_int_equal(f->r.computed, f->r.candidates);
	naive = text_of(f->log);
	ranking[1] = text_of(f->ranking);
	dropped = compare_logs(full, naive, f->o.calib.count);
	assert_string_equal(ranking[0], ranking[1]);
	free(full);
	free(naive);
	free(ranking[0]);
	free(ranking[1]);
	return dropped;
}

static void savings_of_work_change_no_bit(void **state)
{
	struct fixture *f = *state;

	many_kinds(f->onnx);
	all_choices(f);
	f->s.limited = true;
	f->s.target = 0;
	assert_true(expect_what_whole_networks_give(f) > 0);
	f->o.symmetric = false;
	f->s.metric = SENS_SNR;
	f->s.worst = true;
	assert_true(expect_what_whole_networks_give(f) > 0);
}

/* Other samples, where other methods win; threads that run samples ahead; few and many of them. */
static void whoever_wins_the_ranking_is_that_of_whole_networks(void **state)
{
	struct fixture *f = *state;
	unsigned dropped = 0;

	many_kinds(f->onnx);
	all_choices(f);
	f->s.limited = true;
	f->s.target = 0;
	for (unsigned i = 1; i < 7; i++) {
		unsigned offset = 100 * i;

		f->o.calib = (struct mica_calib){ i < 3 ? i : 4 * i, samples, &offset };
		f->o.threads = i;
		f->s.metric = i % 2 ? SENS_COS : SENS_SNR;
		f->s.worst = i % 3 == 2;
		dropped += expect_what_whole_networks_give(f);
		if (i == 1)
			assert_int_equal(dropped, 0);	/* one sample: nothing to save */
	}
	assert_true(dropped > 20);
}

/* The second sample is infinite somewhere and the third is all zeroes. */
static int odd_samples(void *opaque, unsigned sample, const char *input, float *dst, size_t n, struct mica_err *err)
{
	samples(opaque, sample, input, dst, n, err);
	if (sample == 1)
		dst[n / 2] = INFINITY;
	for (size_t i = 0; i < n && sample == 2; i++)
		dst[i] = 0;
	return 0;
}

static void losses_that_are_no_numbers_change_no_place(void **state)
{
	struct fixture *f = *state;

	many_kinds(f->onnx);
	all_choices(f);
	f->o.calib = (struct mica_calib){ SAMPLES, odd_samples, NULL };
	f->s.limited = true;
	f->s.target = 0;
	expect_what_whole_networks_give(f);
	f->s.metric = SENS_SNR;
	expect_what_whole_networks_give(f);
}

/* The samples are many times the same: all losses are spread evenly, and one method like the other is no reason to drop it. */
static int same_samples(void *opaque, unsigned sample, const char *input, float *dst, size_t n, struct mica_err *err)
{
	return samples(opaque, sample / 4, input, dst, n, err);
}

static void equal_methods_stay_in_the_race(void **state)
{
	struct fixture *f = *state;
	static struct line line[512];
	char *log;
	unsigned n;

	many_kinds(f->onnx);
	all_choices(f);
	f->s.formats = 1;
	f->s.limited = true;
	f->s.target = 0;
	f->o.percentile = 100;	/* what max finds, as another candidate */
	f->o.calib = (struct mica_calib){ 8, same_samples, NULL };
	expect_what_whole_networks_give(f);
	f->s.search = SENS_FULL;
	search(f);
	log = text_of(f->log);
	n = lines_of(log, line, 512);
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < n; k++)
			if (same_operator(&line[i], &line[k]) && line[i].loss == line[k].loss)
				assert_int_equal(line[i].samples, line[k].samples);
	free(log);
}

static void a_difference_that_vanishes_ends_the_run(void **state)
{
	struct fixture *f = *state;
	char *log;

	deaf(f->onnx);
	all_choices(f);
	expect_what_whole_networks_give(f);
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
	unsigned candidate;
	(void)done;
	(void)total;

	if (sscanf(stage, "search: candidate %u", &candidate) == 1 && candidate > f->stop_after)
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
	write_text(f->log, "a", "int8 max 3.5 5 0.0");	/* as if killed while writing */
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
	expect_refusal(f, MICA_ERR_CORRUPT, "/log:10");
	write_text(f->log, "w", "something else\n");
	expect_refusal(f, MICA_ERR_CORRUPT, "no log");
	write_text(f->log, "w", "# mica sensitivity log 1\n");
	expect_refusal(f, MICA_ERR_VERSION, "no log");
}

static void a_log_that_contradicts_the_search_is_refused(void **state)
{
	static const char *const bad[] = {
		"# order 0 1 2 3\n", "# order 0 1 2 3 3\n", "# order 0 1 2 3 5\n", "# order 0 1 2 3 4 4\n", "# order 0 1 x 3 4\n",
		"# order 0 1 2 3 nan\n", "# order\n", "int8 max 1 0 0 1 300 one\n", "int8 max 1 6 0 1 300 one\n",
		"int8 max 1 1.5 0 1 300 one\n", "int8 max 1 nan 0 1 300 one\n",
	};
	struct fixture *f = *state;
	char *log;

	poisoned(f->onnx);
	search(f);
	log = text_of(f->log);
	f->s.resume = true;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		write_text(f->log, "w", log);
		write_text(f->log, "a", bad[i]);
		expect_refusal(f, MICA_ERR_CORRUPT, "remove the line, or search without --resume");
	}
	free(log);
}

/* What lost against a method that is not asked for any more is measured after all. */
static void a_resumed_search_may_ask_for_other_methods(void **state)
{
	struct fixture *f = *state;
	unsigned before;
	char *want, *got;

	many_kinds(f->onnx);
	all_choices(f);
	f->s.limited = true;
	f->s.target = 0;
	search(f);
	assert_true(f->r.dropped > 0);
	before = f->r.candidates;
	f->s.resume = true;
	search(f);
	assert_true(f->r.resumed == before && !f->r.computed);
	f->s.search = SENS_NAIVE;	/* measures all */
	before = f->r.candidates;
	search(f);
	assert_true(f->r.resumed < before && f->r.resumed + f->r.computed == before);
	search(f);
	assert_true(f->r.resumed == before && !f->r.computed);
	f->s.search = SENS_FULL;
	f->s.resume = false;
	search(f);
	for (unsigned m = 0; m < 4; m++) {
		f->s.resume = true;
		f->s.methods = 1;
		f->s.method[0] = (enum mica_method)m;
		search(f);
		assert_true(f->r.resumed + f->r.computed <= f->r.candidates);
		got = text_of(f->ranking);
		f->s.resume = false;
		f->s.search = SENS_NAIVE;
		f->s.log = f->other;
		search(f);
		f->s.search = SENS_FULL;
		f->s.log = f->log;
		want = text_of(f->ranking);
		assert_string_equal(got, want);
		free(got);
		free(want);
	}
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
	assert_int_equal(expect_what_whole_networks_give(f), 0);
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
		cmocka_unit_test_setup_teardown(whoever_wins_the_ranking_is_that_of_whole_networks, setup, teardown),
		cmocka_unit_test_setup_teardown(losses_that_are_no_numbers_change_no_place, setup, teardown),
		cmocka_unit_test_setup_teardown(equal_methods_stay_in_the_race, setup, teardown),
		cmocka_unit_test_setup_teardown(a_difference_that_vanishes_ends_the_run, setup, teardown),
		cmocka_unit_test_setup_teardown(threads_do_not_show, setup, teardown),
		cmocka_unit_test_setup_teardown(samples_that_do_not_fit_take_turns, setup, teardown),
		cmocka_unit_test_setup_teardown(the_layer_that_breaks_the_network_is_found, setup, teardown),
		cmocka_unit_test_setup_teardown(the_tables_compile_to_what_was_measured, setup, teardown),
		cmocka_unit_test_setup_teardown(an_interrupted_search_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(a_log_of_something_else_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_log_that_contradicts_the_search_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_resumed_search_may_ask_for_other_methods, setup, teardown),
		cmocka_unit_test_setup_teardown(the_users_measure_decides, setup, teardown),
		cmocka_unit_test_setup_teardown(at_most_so_many_layers_stay_in_float, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
