// SPDX-License-Identifier: MIT
/* Bias correction and adaptive rounding of a small model against tests/ref/ref_repair.c, which is run beside them in double. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "conv_net.h"
#include "front.h"

static const enum mica_dtype formats[] = { MICA_I8, MICA_E4M3, MICA_E5M2 };

/* Quantized, and ready for a repair of quantized graphs that nobody measures and undoes. */
static void compile_unjudged(struct compile_fixture *f, enum mica_dtype format, unsigned repair)
{
	net_compile(f, format, repair, "quantize");
	quality_free(f->g->quality);
	f->g->quality = NULL;
	assert_non_null(f->g->reference);
}

/* ---- bias correction ---- */

/* Sums of the layer's products over all positions of all samples, by output channel. */
static void sum_products(unsigned l, const double *w, const double (*x)[NET_MOST * NET_PLACES], double *sum)
{
	static double y[NET_MOST * NET_PLACES];
	int side = net_side(l), n = net_side(l + 1) * net_side(l + 1);

	memset(sum, 0, (size_t)net.layer[l].oc * sizeof(*sum));
	for (unsigned s = 0; s < NET_SAMPLES; s++) {
		ref_product(&net.layer[l], w, x[s], side, side, y);
		for (int i = 0; i < net.layer[l].oc * n; i++)
			sum[i / n] += y[i] / (NET_SAMPLES * n);
	}
}

/* Every weight the nearest code, with the scale of its channel. */
static void round_weights(unsigned l, enum mica_dtype t, double *w)
{
	int n = ref_inputs(&net.layer[l]);

	for (int i = 0; i < net.layer[l].oc * n; i++)
		w[i] = ref_fake(t, net.w[l][i], ref_scale(ref_largest_out(&net.layer[l], i / n), t), 0);
}

/* Mean of what f32 gives less mean of what the quantized layer gives, behind layers that were corrected. */
static void biases_take_the_mean_error(void **state)
{
	struct compile_fixture *f = *state;
	static struct net_run exact, q;
	static double w[NET_WEIGHTS], got_w[NET_WEIGHTS], want[NET_MOST], got[NET_MOST], is[NET_MOST];

	net_three(3, 2, 21);
	net_write(f);
	net_run(&exact);
	for (unsigned k = 0; k < 3; k++) {
		compile_unjudged(f, formats[k], MICA_REPAIR_BIAS);
		assert_int_equal(pass_bias_correct(f->g, &f->o), 0);
		for (unsigned l = 0; l < net.layers; l++) {
			double off = 0, moved = 0;

			net_round_input(&q, &exact, l, formats[k]);
			round_weights(l, formats[k], w);
			sum_products(l, net.w[l], exact.x[l], want);
			sum_products(l, w, q.x[l], is);
			net_constants(f->g, l, got_w, got);
			for (int o = 0; o < net.layer[l].oc; o++) {
				want[o] += net.b[l][o] - is[o];
				off = fmax(off, fabs(want[o] - got[o]));
				moved = fmax(moved, fabs(want[o] - net.b[l][o]));
			}
			print_message("%s, layer %u: moved by %.5f, off by %.7f\n", mica_dtype_name(formats[k]), l, moved, off);
			assert_true(moved > 1e-4 && off < 0.02 * moved);
			net_run_layer(&q, l, w, want);
		}
	}
}

/* ---- adaptive rounding ---- */

struct rounding {
	int k, rows;
	double x[NET_ROWS * NET_MOST * 9], want[NET_ROWS], weight[NET_ROWS], ridge; /* [rows][k] */
	double below[NET_MOST * 9], above[NET_MOST * 9];
	const double *exact;
};

/* The problem of channel o of layer l, from its definition. */
static void pose(struct rounding *p, const struct net_run *f, const struct net_run *q, unsigned l, int o, enum mica_dtype t)
{
	const struct ref_conv *c = &net.layer[l];
	int side = net_side(l), n = net_side(l + 1) * net_side(l + 1);
	double scale = ref_scale(ref_largest_out(c, o), t);

	p->k = ref_inputs(c);
	p->rows = (int)NET_SAMPLES * n;
	p->exact = c->w + o * p->k;
	for (int r = 0; r < p->rows; r++) {
		double in[NET_MOST * 9];

		ref_window(c, f->x[l][r / n], side, side, o, r % n, in);
		p->want[r] = 0;
		for (int i = 0; i < p->k; i++)
			p->want[r] += in[i] * p->exact[i];
		p->weight[r] = ref_error_weight(c, p->want[r] + c->bias[o]);
		ref_window(c, q->x[l][r / n], side, side, o, r % n, p->x + r * p->k);
	}
	p->ridge = ref_ridge(p->x, p->rows, p->k);
	for (int i = 0; i < p->k; i++) {
		ref_neighbours(t, p->exact[i] / scale, &p->below[i], &p->above[i]); /* equal for the largest weight */
		p->below[i] *= scale;
		p->above[i] *= scale;
	}
}

static double cost(const struct rounding *p, const double *w)
{
	return ref_rounding_cost(p->x, p->want, p->weight, p->rows, p->k, w, p->exact, p->ridge);
}

/* The least of all 2^k roundings. */
static double least_cost(const struct rounding *p)
{
	double w[NET_MOST * 9], least = INFINITY;

	for (unsigned mask = 0; mask < 1u << p->k; mask++) {
		for (int i = 0; i < p->k; i++)
			w[i] = mask >> i & 1 ? p->above[i] : p->below[i];
		least = fmin(least, cost(p, w));
	}
	return least;
}

/* The weights are neighbours of the exact ones, and no other choice for one of them is better. */
static void assert_settled(const struct rounding *p, const double *got)
{
	double w[NET_MOST * 9], is = cost(p, got);

	memcpy(w, got, (size_t)p->k * sizeof(*w));
	for (int i = 0; i < p->k; i++) {
		double tiny = 1e-5 * fabs(got[i]);
		int up = fabs(got[i] - p->above[i]) <= tiny;

		if (!up && fabs(got[i] - p->below[i]) > tiny)
			fail_msg("weight %d of %d: %.9g is %.9g, not %.9g or %.9g", i, p->k, p->exact[i], got[i], p->below[i], p->above[i]);
		w[i] = up ? p->below[i] : p->above[i];
		if (cost(p, w) < is * (1 - 1e-5))
			fail_msg("weight %d of %d: %g instead of %g lowers the sum from %.9g to %.9g", i, p->k, w[i], got[i], is, cost(p, w));
		w[i] = got[i];
	}
}

/* Sums over channels, relative to what rounding to nearest costs there; farthest: the largest got / least. */
struct costs {
	double nearest, got, least, farthest;
};

/* Every channel of layer l, whose quantized input is at hand. */
static void look_at_layer(const struct compile_fixture *f, const struct net_run *exact, const struct net_run *q, unsigned l, enum mica_dtype t,
			  struct costs *sum)
{
	static double nearest[NET_WEIGHTS], got[NET_WEIGHTS], bias[NET_MOST];
	static struct rounding p;

	net_constants(f->g, l, got, bias);
	round_weights(l, t, nearest);
	for (int o = 0; o < net.layer[l].oc; o++) {
		double was, is, least;

		pose(&p, exact, q, l, o, t);
		is = cost(&p, got + o * p.k);
		was = cost(&p, nearest + o * p.k);
		sum->nearest++;
		sum->got += is / was;
		assert_settled(&p, got + o * p.k);
		if (p.k > 9)
			continue;
		least = least_cost(&p);
		sum->least += least / was;
		sum->farthest = fmax(sum->farthest, is / least);
	}
}

static struct costs look_at_roundings(struct compile_fixture *f, enum mica_dtype t)
{
	static struct net_run exact, q;
	static double w[NET_WEIGHTS], bias[NET_MOST];
	struct costs sum = { 0 };

	net_write(f);
	net_run(&exact);
	compile_unjudged(f, t, MICA_REPAIR_ADAROUND);
	assert_int_equal(pass_adaround(f->g, &f->o), 0);
	for (unsigned l = 0; l < net.layers; l++) {
		net_round_input(&q, &exact, l, t);
		look_at_layer(f, &exact, &q, l, t, &sum);
		net_constants(f->g, l, w, bias);
		net_run_layer(&q, l, w, bias);
	}
	return sum;
}

/* Layers of nine products: all 512 roundings of each channel are tried. */
static void rounding_is_near_the_least_of_all(void **state)
{
	struct compile_fixture *f = *state;

	for (unsigned k = 0; k < 12; k++) {
		struct costs c;

		net_three(1, k % 2 ? 1 : INFINITY, 100 + k);
		c = look_at_roundings(f, formats[k % 3]);
		print_message("%s: %.3f of the nearest's, the least of all %.3f; a channel at most %.2f times its least\n",
			      mica_dtype_name(formats[k % 3]), c.got / c.nearest, c.least / c.nearest, c.farthest);
		assert_true(c.got < 0.96 * c.nearest && c.got < 1.1 * c.least && c.farthest < 4);
	}
}

static void no_single_weight_lowers_the_sum(void **state)
{
	struct compile_fixture *f = *state;

	for (unsigned k = 0; k < 3; k++) {
		struct costs c;

		net_three(16, INFINITY, 212 + k);
		c = look_at_roundings(f, formats[k]);
		print_message("%s: %.3f of the nearest's\n", mica_dtype_name(formats[k]), c.got / c.nearest);
		assert_true(c.got < 0.85 * c.nearest);
	}
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, compile_setup, compile_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(biases_take_the_mean_error),
		T(rounding_is_near_the_least_of_all),
		T(no_single_weight_lowers_the_sum),
	};

	return cmocka_run_group_tests_name("rounding_definitions", tests, NULL, NULL);
}
