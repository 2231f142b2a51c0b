// SPDX-License-Identifier: MIT
/* Equalization, absorption and centering of a small model against tests/ref/ref_repair.c, which is run beside them in double. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "conv_net.h"
#include "onnx_builder.h"
#include "repair.h"

static const enum mica_dtype formats[] = { MICA_I8, MICA_E4M3, MICA_E5M2 };

/* ---- equalization ---- */

/* By what channel c of layer l was divided; all of its weights and its bias agree about that. */
static double factor_of(unsigned l, int c, const double *w, const double *bias)
{
	int n = ref_inputs(&net.layer[l]);
	double s = 1;

	for (int i = 0; i < n; i++)
		if (net.w[l][c * n + i] != 0)
			s = net.w[l][c * n + i] / w[c * n + i];
	for (int i = 0; i < n; i++)
		assert_true(fabs(w[c * n + i] * s - net.w[l][c * n + i]) <= 1e-5 * fabs(net.w[l][c * n + i]));
	assert_true(fabs(bias[c] * s - net.b[l][c]) <= 1e-5 * fabs(net.b[l][c]));
	return s;
}

/* Ranges apart as in posenet. After: factors that cancel out, and no pair of layers that would change by more than 0.1 %. */
static void equalized_pairs_have_equal_ranges(void **state)
{
	struct compile_fixture *f = *state;
	static double w[NET_LAYERS][NET_WEIGHTS], bias[NET_LAYERS][NET_MOST];

	net_three(3, INFINITY, 11);
	for (int c = 0; c < 9; c++)
		net_stretch(&net.w[0][c * 27], 27, c == 4 ? 0 : pow(2256, c / 8.0));
	net_stretch(&net.w[1][7 * 9], 9, 0);
	net_write(f);
	f->o.calib.count = 0;
	net_compile(f, MICA_I8, MICA_REPAIR_CLE, "equalize");
	for (unsigned l = 0; l < net.layers; l++)
		net_constants(f->g, l, w[l], bias[l]);
	for (int c = 0; c < 9; c++) {
		struct ref_conv a = net.layer[0], b = net.layer[1], d = net.layer[2];
		double s, t;

		a.w = w[0];
		b.w = w[1];
		d.w = w[2];
		s = factor_of(0, c, w[0], bias[0]);
		for (int i = 0; i < 9; i++) /* the depthwise layer has taken s in and given t off */
			b.w[c * 9 + i] /= s;
		t = factor_of(1, c, w[1], bias[1]);
		for (int i = 0; i < 9; i++)
			b.w[c * 9 + i] *= s;
		for (int o = 0; o < 5; o++)
			assert_true(fabs(d.w[o * 9 + c] / t - net.w[2][o * 9 + c]) <= 1e-5 * fabs(net.w[2][o * 9 + c]));
		if (c == 4 || c == 7)
			assert_true(s == 1 && (c == 4 || t == 1)); /* nothing to be equal to */
		if (c != 4 && c != 7)
			assert_true(fabs(log(ref_largest_out(&a, c) / ref_largest_in(&b, c))) < 0.003);
		if (c != 7)
			assert_true(fabs(log(ref_largest_out(&b, c) / ref_largest_in(&d, c))) < 0.003);
	}
}

/* Method none: nothing is measured, so that nothing is undone. */
static void equalize(struct compile_fixture *f)
{
	f->o.method = MICA_METHOD_NONE;
	net_compile(f, MICA_I8, MICA_REPAIR_CLE, "equalize");
}

/* s = sqrt(r1 / r2), but no channel grows beyond the clip / 1.25, and one that was there stays. */
static void a_clip_bounds_the_factors(void **state)
{
	struct compile_fixture *f = *state;
	static double w[2][NET_WEIGHTS], bias[2][NET_MOST];
	static struct net_run r;
	unsigned stay = 0, bound = 0, equal = 0, n;

	net_two(6);
	for (int c = 0; c < 12; c++)
		net_stretch(&net.w[0][c * 27], 27, pow(10, c / 4.0 - 2));
	for (int i = 0; i < 5 * 12; i++)
		net_stretch(&net.w[1][i], 1, i % 2 ? 30 : 1);
	net_write(f);
	net_run(&r);
	equalize(f);
	n = (unsigned)(net_side(1) * net_side(1));
	for (unsigned l = 0; l < 2; l++)
		net_constants(f->g, l, w[l], bias[l]);
	for (int c = 0; c < 12; c++) {
		double s = factor_of(0, c, w[0], bias[0]), most = 0, want = sqrt(ref_largest_out(&net.layer[0], c) / ref_largest_in(&net.layer[1], c));

		for (unsigned i = 0; i < NET_SAMPLES * n; i++)
			most = fmax(most, r.x[1][i / n][(unsigned)c * n + i % n]);
		stay += 1.25 * most >= 6;
		bound += 1.25 * most < 6 && want < 1.25 * most / 6;
		equal += 1.25 * most < 6 && want >= 1.25 * most / 6;
		want = 1.25 * most >= 6 ? 1 : fmax(want, 1.25 * most / 6);
		assert_true(fabs(s / want - 1) < 1e-4);
		for (int o = 0; o < 5; o++)
			assert_true(fabs(w[1][o * 12 + c] / s - net.w[1][o * 12 + c]) <= 1e-5 * fabs(net.w[1][o * 12 + c]));
	}
	assert_true(stay && bound && equal);
}

/* What a ReLU's channel, divided by its factor, never went below leaves its bias and comes back times the readers' weights. */
static void absorbed_is_what_a_channel_never_goes_below(void **state)
{
	struct compile_fixture *f = *state;
	static double w[2][NET_WEIGHTS], bias[2][NET_MOST];
	static struct net_run r;
	double back[5];
	unsigned moved = 0, n;

	net_two(INFINITY);
	for (int c = 0; c < 12; c += 2)
		net.b[0][c] = c + 2;
	net_write(f);
	net_run(&r);
	equalize(f);
	n = (unsigned)(net_side(1) * net_side(1));
	for (unsigned l = 0; l < 2; l++)
		net_constants(f->g, l, w[l], bias[l]);
	memcpy(back, net.b[1], sizeof(back));
	for (int c = 0; c < 12; c++) {
		double least = INFINITY, s = net.w[0][c * 27] / w[0][c * 27];

		for (unsigned i = 0; i < NET_SAMPLES * n; i++)
			least = fmin(least, r.x[1][i / n][(unsigned)c * n + i % n] / s);
		assert_true(fabs(net.b[0][c] / s - bias[0][c] - least) < 1e-5 * (1 + fabs(net.b[0][c] / s)));
		for (int o = 0; o < 5; o++)
			back[o] += least * w[1][o * 12 + c];
		moved += least > 0.1;
	}
	for (int o = 0; o < 5; o++)
		assert_true(fabs(back[o] - bias[1][o]) < 1e-5 * (1 + fabs(back[o])));
	assert_true(moved >= 3 && moved < 12);
}

/* ---- which layers ---- */

/* x -> conv -> what the case puts in between -> conv "y" */
static void write_pair(const char *path, unsigned what)
{
	static const char *const act[] = { "Relu", "Relu", "Relu", "Relu", "Sigmoid", "LeakyRelu", "Relu" };
	float w[4 * 4 * 9];
	const char *read = "a";

	compile_seed(3);
	for (int i = 0; i < 4 * 4 * 9; i++)
		w[i] = compile_noise() * (float)(1 + i / 36 * 9);
	ob_begin(13);
	ob_input("x", ONNX_F32, 4, (int64_t[]){ 1, 4, 8, 8 });
	ob_floats("w", 4, (int64_t[]){ 4, 4, 3, 3 }, w);
	ob_floats("v", 4, (int64_t[]){ 4, 4, 1, 1 }, w);
	ob_node("Conv", "c", (const char *[]){ "x", "w" }, 2);
	ob_node(act[what], "a", (const char *[]){ "c" }, 1);
	if (what == 6) {
		ob_attr_ints(ob_node("MaxPool", "p", (const char *[]){ "a" }, 1), "kernel_shape", (int64_t[]){ 2, 2 }, 2);
		read = "p";
	}
	ob_node("Conv", "y", (const char *[]){ read, "v" }, 2);
	ob_output("y");
	if (what == 1)
		ob_output("a");
	if (what == 2)
		ob_node("Conv", "z", (const char *[]){ "a", "v" }, 2);
	if (what == 3)
		ob_node("Add", "z", (const char *[]){ "a", "y" }, 2);
	if (what == 2 || what == 3)
		ob_output("z");
	ob_write(path);
}

/* Outputs, branches and sums are left alone, and functions that a factor does not pass through. */
static void only_private_pairs_are_equalized(void **state)
{
	struct compile_fixture *f = *state;
	static const bool equal[] = { true, false, false, false, false, true, true };

	for (unsigned what = 0; what < 7; what++) {
		write_pair(f->path, what);
		net_compile(f, MICA_I8, MICA_REPAIR_CLE, "equalize");
		if ((f->g->equalized != 0) != equal[what])
			fail_msg("case %u: equalized: %d", what, f->g->equalized != 0);
	}
}

/* ---- centering ---- */

/* The f32 graph, with every operator in the format, as center finds it. */
static void center(struct compile_fixture *f, enum mica_dtype t)
{
	net_compile(f, MICA_F32, 0, NULL);
	for (struct ir_op *op = f->g->first; op; op = op->next)
		op->format = -1;
	f->o.format = t;
	assert_int_equal(center_values(f->g, &f->o), 0);
}

/* What left layer 0, from its biases or behind its activation; what came back in layer 1 is that times its weights. */
static void take_shift(const struct compile_fixture *f, double *shift)
{
	static double w[NET_WEIGHTS], bias[NET_MOST];
	const struct ir_value *behind = ir_op_in(compile_conv(f->g, 0), 4);
	int n = ref_inputs(&net.layer[1]);

	net_constants(f->g, 0, w, bias);
	for (int c = 0; c < net.layer[0].oc; c++)
		shift[c] = net.b[0][c] - bias[c] - (behind ? (double)((float *)behind->data)[c] : 0);
	net_constants(f->g, 1, w, bias);
	for (int o = 0; o < net.layer[1].oc; o++) {
		double want = net.b[1][o];

		for (int i = 0; i < n; i++)
			want += shift[i / (net.layer[1].k * net.layer[1].k)] * net.w[1][o * n + i];
		assert_true(fabs(want - bias[o]) < 1e-5 * (1 + fabs(want)));
	}
}

/* Layer 0's output by channel: [channel][samples and positions]; the range of all. */
struct channels {
	double x[12][NET_ROWS], lo, hi, low[12], high[12], mean[12];
	int n;
};

static void take_channels(struct channels *t)
{
	static struct net_run r;
	int places = net_side(1) * net_side(1);

	net_run(&r);
	t->n = NET_SAMPLES * places;
	t->lo = INFINITY;
	t->hi = -INFINITY;
	for (int c = 0; c < 12; c++) {
		t->low[c] = INFINITY;
		t->high[c] = -INFINITY;
		t->mean[c] = 0;
		for (int i = 0; i < t->n; i++) {
			double x = t->x[c][i] = r.x[1][i / places][c * places + i % places];

			t->low[c] = fmin(t->low[c], x);
			t->high[c] = fmax(t->high[c], x);
			t->mean[c] += x / t->n;
		}
		t->lo = fmin(t->lo, t->low[c]);
		t->hi = fmax(t->hi, t->high[c]);
	}
}

static double best_center(const struct channels *t, enum mica_dtype type, int c)
{
	double best = 0, least = INFINITY;

	for (int k = 0; k < REF_CENTERS; k++) {
		double at = ref_center(t->lo, t->hi, t->mean[c], k), cost = ref_center_cost(type, t->x[c], t->n, t->lo, t->hi, at);

		if (cost < least) {
			least = cost;
			best = at;
		}
	}
	return best;
}

/* Channels of all kinds: hardly ever above zero, hardly ever below, narrow ones, one that is constant. */
static void unequal_channels(struct compile_fixture *f, double lo, double hi)
{
	net_two(hi);
	net.layer[0].lo = lo;
	for (int c = 0; c < 12; c++) {
		net.b[0][c] = (float)(net.b[0][c] + (c % 4 - 1) * 1.5);
		net_stretch(&net.w[0][c * 27], 27, c == 5 ? 0 : c % 3 ? 1 : 0.1);
	}
	net_write(f);
}

/* Without activation: of the candidates the one with the least cost, channel by channel. */
static void centers_have_the_least_cost(void **state)
{
	struct compile_fixture *f = *state;
	static struct channels t;
	unsigned moved = 0;

	unequal_channels(f, -INFINITY, INFINITY);
	take_channels(&t);
	for (unsigned k = 0; k < 3; k++) {
		double shift[NET_MOST];

		center(f, formats[k]);
		take_shift(f, shift);
		for (int c = 0; c < 12; c++) {
			double least = ref_center_cost(formats[k], t.x[c], t.n, t.lo, t.hi, best_center(&t, formats[k], c)), near = INFINITY;

			for (int i = 0; i < REF_CENTERS; i++)
				near = fmin(near, fabs(shift[c] - ref_center(t.lo, t.hi, t.mean[c], i)));
			assert_true(near < 1e-5);
			if (ref_center_cost(formats[k], t.x[c], t.n, t.lo, t.hi, shift[c]) > least * (1 + 1e-4) + 1e-7)
				fail_msg("%s, channel %d: %g instead of %g", mica_dtype_name(formats[k]), c, shift[c], best_center(&t, formats[k], c));
			moved += shift[c] != 0;
		}
	}
	assert_true(moved >= 24);
}

/* Behind an activation the same, and then where the lower end of the range is a code, unless that would widen the range. */
static void centers_keep_the_lower_end_a_code(void **state)
{
	struct compile_fixture *f = *state;
	static struct channels t;

	for (unsigned k = 0; k < 4; k++) {
		enum mica_dtype type = formats[1 + k % 2];
		double want[12], shift[NET_MOST], top = 0;

		unequal_channels(f, 0, k < 2 ? INFINITY : 2);
		take_channels(&t);
		center(f, type);
		take_shift(f, shift);
		for (int c = 0; c < 12; c++) {
			want[c] = best_center(&t, type, c);
			top = fmax(top, fmax(want[c] - t.low[c], t.high[c] - want[c]));
		}
		for (int c = 0; c < 12; c++) {
			double to = ref_center_aligned(type, t.lo, top, want[c]);

			if (fmax(to - t.low[c], t.high[c] - to) <= top * (1 + 1e-6))
				want[c] = to;
			if (fabs(shift[c] - want[c]) > 1e-5 * (1 + t.hi))
				fail_msg("%s, channel %d: %g instead of %g", mica_dtype_name(type), c, shift[c], want[c]);
		}
	}
}

/* int8 has zero points for that, and nothing behind an activation. */
static void int8_is_not_centered_behind_an_activation(void **state)
{
	struct compile_fixture *f = *state;
	double shift[NET_MOST];

	unequal_channels(f, 0, INFINITY);
	center(f, MICA_I8);
	take_shift(f, shift);
	for (int c = 0; c < 12; c++)
		assert_true(shift[c] == 0);
}

/* The constants for what rounding does to a weight, which center goes by: weights of all sizes, each as likely. */
static void weights_are_as_noisy_as_the_page_says(void **state)
{
	static const enum mica_dtype type[] = { MICA_E4M3, MICA_E5M2, MICA_BF16 };
	(void)state;

	for (unsigned k = 0; k < 3; k++) {
		double sum = 0;

		for (int i = 0; i < 10000; i++) {
			double x = exp2(i / 10000.0);

			sum += pow(ref_nearest(type[k], x) / x - 1, 2);
		}
		assert_true(fabs(sqrt(sum / 10000) / ref_weight_noise(type[k]) - 1) < 0.05);
	}
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, compile_setup, compile_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(equalized_pairs_have_equal_ranges),
		T(a_clip_bounds_the_factors),
		T(absorbed_is_what_a_channel_never_goes_below),
		T(only_private_pairs_are_equalized),
		T(centers_have_the_least_cost),
		T(centers_keep_the_lower_end_a_code),
		T(int8_is_not_centered_behind_an_activation),
		T(weights_are_as_noisy_as_the_page_says),
	};

	return cmocka_run_group_tests_name("equalize_definitions", tests, NULL, NULL);
}
