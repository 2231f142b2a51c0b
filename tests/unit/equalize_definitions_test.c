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

/* Readers' squared weights of channel c. */
static double importance_of(unsigned reader, int c)
{
	double sum = 0;

	for (int o = 0; o < net.layer[reader].oc; o++)
		for (int i = 0; i < net.layer[reader].k * net.layer[reader].k; i++)
			sum += pow(net.layer[reader].w[(o * net.layer[reader].ic + c) * net.layer[reader].k * net.layer[reader].k + i], 2);
	return sum;
}

/* All channels' cost of storing layer 0's output less shift[c] (one for all, or by channel). */
static double center_cost(const struct net_run *r, enum mica_dtype t, double lo, double hi, const double *shift, bool by_channel)
{
	int n = net_side(1) * net_side(1);
	double sum = 0;

	for (unsigned s = 0; s < NET_SAMPLES; s++)
		for (int c = 0; c < net.layer[0].oc; c++) {
			double x[NET_PLACES];

			for (int i = 0; i < n; i++)
				x[i] = r->x[1][s][c * n + i] - (by_channel ? shift[c] : 0);
			sum += ref_center_cost(t, x, n, lo, hi, by_channel ? 0 : *shift, importance_of(1, c));
		}
	return sum;
}

/* What left the biases of layer 0; what came back in layer 1 is that times its weights. */
static void take_shift(const struct compile_fixture *f, double *shift)
{
	static double w[NET_WEIGHTS], bias[NET_MOST];
	int n = ref_inputs(&net.layer[1]);

	net_constants(f->g, 0, w, bias);
	for (int c = 0; c < net.layer[0].oc; c++)
		shift[c] = net.b[0][c] - bias[c];
	net_constants(f->g, 1, w, bias);
	for (int o = 0; o < net.layer[1].oc; o++) {
		double want = net.b[1][o];

		for (int i = 0; i < n; i++)
			want += shift[i / (net.layer[1].k * net.layer[1].k)] * net.w[1][o * n + i];
		assert_true(fabs(want - bias[o]) < 1e-5 * (1 + fabs(want)));
	}
}

/* Behind an activation: the candidate of the least cost, and the ends of the clip move with it. */
static void centers_have_the_least_cost(void **state)
{
	struct compile_fixture *f = *state;
	static struct net_run r;

	for (unsigned k = 0; k < 12; k++) {
		enum mica_dtype t = formats[k % 3];
		double hi = k % 2 ? 1 : INFINITY, end, least = INFINITY, shift[NET_MOST];
		const struct ir_op *op;

		net_two(hi);
		for (int c = 0; c < 12; c++)
			net.b[0][c] = (float)(net.b[0][c] + 0.4 * (k / 3) * (c % 4)); /* from mostly zeroes to hardly any */
		for (int i = 0; i < 5 * 12; i++)
			net_stretch(&net.w[1][i], 1, i % 4 ? 1 : 4);
		net_write(f);
		net_run(&r);
		end = fmin(hi, r.largest[1]);
		center(f, t);
		take_shift(f, shift);
		for (int i = 0; i < REF_CENTERS; i++) {
			double c = ref_center(0, end, i);

			least = fmin(least, center_cost(&r, t, 0, end, &c, false));
		}
		print_message("%s, clip %g: c %.4f of %.4f, cost %.6g, the least %.6g\n", mica_dtype_name(t), hi, shift[0], end,
			      center_cost(&r, t, 0, end, shift, false), least);
		assert_true(center_cost(&r, t, 0, end, shift, false) <= least * (1 + 1e-3));
		for (int c = 1; c < 12; c++)
			assert_true(fabs(shift[c] - shift[0]) < 1e-5 * (1 + fabs(net.b[0][c])));
		op = compile_conv(f->g, 0);
		if (shift[0] == 0)
			continue;
		assert_int_equal(op->a.act, MICA_ACT_CLIP);
		assert_true(fabs(op->a.alpha + shift[0]) < 1e-5);
		assert_true(isinf(hi) ? op->a.beta == FLT_MAX : fabs(op->a.beta - (hi - shift[0])) < 1e-5);
	}
}

/* Without activation: every channel's mean where that costs less than none. */
static void linear_channels_lose_their_means(void **state)
{
	struct compile_fixture *f = *state;
	static struct net_run r;

	for (unsigned k = 0; k < 6; k++) {
		enum mica_dtype t = formats[k % 3];
		double mean[NET_MOST] = { 0 }, none[NET_MOST] = { 0 }, shift[NET_MOST], a, b;
		int n;

		net_two(INFINITY);
		net.layer[0].lo = -INFINITY;
		for (int c = 0; c < 12; c++)
			net.b[0][c] = (float)(net.b[0][c] + (k < 3 ? (c % 3 - 1) * 4 : 0));
		net_write(f);
		net_run(&r);
		n = net_side(1) * net_side(1);
		for (int i = 0; i < (int)NET_SAMPLES * 12 * n; i++)
			mean[i / n % 12] += r.x[1][i / n / 12][i % (12 * n)] / (NET_SAMPLES * n);
		center(f, t);
		take_shift(f, shift);
		a = center_cost(&r, t, -r.largest[1], r.largest[1], none, true);
		b = center_cost(&r, t, -r.largest[1], r.largest[1], mean, true);
		print_message("%s: cost %.6g, without the means %.6g\n", mica_dtype_name(t), a, b);
		for (int c = 0; c < 12; c++)
			assert_true(fabs(shift[c] - (b < a ? mean[c] : 0)) < 1e-5 * (1 + fabs(mean[c])));
	}
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
		T(linear_channels_lose_their_means),
		T(weights_are_as_noisy_as_the_page_says),
	};

	return cmocka_run_group_tests_name("equalize_definitions", tests, NULL, NULL);
}
