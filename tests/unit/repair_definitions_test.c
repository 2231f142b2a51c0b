// SPDX-License-Identifier: MIT
/* What the repairs make of small models against tests/ref/ref_repair.c, which is run beside them in double. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "compile_fixture.h"
#include "onnx_builder.h"
#include "ref_repair.h"
#include "repair.h"

/* ---- a model of convolutions, one behind the other ---- */

#define LAYERS	3
#define SIDE	8
#define MOST	16 /* channels */
#define PLACES	(SIDE * SIDE)
#define SAMPLES 6
#define ROWS	(SAMPLES * PLACES)

static struct ref_conv net[LAYERS];
static unsigned layers;
static double weights[LAYERS][MOST * MOST * 9], biases[LAYERS][MOST];
static double input[SAMPLES][MOST * PLACES];

static void add_layer(int ic, int oc, int k, int groups, double lo, double hi)
{
	struct ref_conv *c = &net[layers];

	*c = (struct ref_conv){ ic, oc, k, 0, groups, weights[layers], biases[layers], lo, hi };
	for (int i = 0; i < oc * ref_inputs(c); i++)
		c->w[i] = compile_noise();
	for (int i = 0; i < oc; i++)
		c->bias[i] = 0.3f * compile_noise();
	layers++;
}

/* conv, depthwise conv, 1x1 conv */
static void three_layers(int channels, double hi, uint32_t seed)
{
	compile_seed(seed);
	layers = 0;
	add_layer(channels, 9, 3, 1, 0, hi);
	add_layer(9, 9, 3, 9, 0, INFINITY);
	add_layer(9, 5, 1, 1, -INFINITY, INFINITY);
	net[0].pad = 1;
	for (unsigned s = 0; s < SAMPLES; s++)
		for (int i = 0; i < channels * PLACES; i++)
			input[s][i] = 0.4f + compile_noise();
}

/* conv, conv that reads it alone and has no padding */
static void two_layers(double hi)
{
	compile_seed(5);
	layers = 0;
	add_layer(3, 12, 3, 1, 0, hi);
	add_layer(12, 5, 1, 1, -INFINITY, INFINITY);
	for (unsigned s = 0; s < SAMPLES; s++)
		for (int i = 0; i < 3 * PLACES; i++)
			input[s][i] = compile_noise();
}

/* Still numbers of f32, as the model file has them. */
static void stretch(double *w, int n, double by)
{
	for (int i = 0; i < n; i++)
		w[i] = (float)(w[i] * by);
}

static int side_of(unsigned layer)
{
	int side = SIDE;

	for (unsigned l = 0; l < layer; l++)
		side += 2 * net[l].pad - net[l].k + 1;
	return side;
}

static int load(void *opaque, unsigned sample, const char *name, float *dst, size_t n, struct mica_err *err)
{
	(void)opaque;
	(void)name;
	(void)err;
	for (size_t i = 0; i < n; i++)
		dst[i] = (float)input[sample][i];
	return 0;
}

static void write_floats(const char *prefix, unsigned layer, unsigned rank, const int64_t *dim, const double *x, char *name)
{
	float f[MOST * MOST * 9];
	int64_t n = 1;

	for (unsigned i = 0; i < rank; i++)
		n *= dim[i];
	for (int64_t i = 0; i < n; i++)
		f[i] = (float)x[i];
	sprintf(name, "%s%u", prefix, layer);
	ob_floats(name, rank, dim, f);
}

static void write_layer(unsigned l)
{
	const struct ref_conv *c = &net[l];
	char x[16] = "x", w[16], b[16], y[16], lo[16], hi[16], act[16];
	Onnx__NodeProto *n;

	if (l)
		sprintf(x, "a%u", l - 1);
	write_floats("w", l, 4, (int64_t[]){ c->oc, c->ic / c->groups, c->k, c->k }, c->w, w);
	write_floats("b", l, 1, (int64_t[]){ c->oc }, c->bias, b);
	sprintf(act, "a%u", l);
	strcpy(y, isinf(c->lo) ? act : "");
	if (!*y)
		sprintf(y, "y%u", l);
	n = ob_node("Conv", y, (const char *[]){ x, w, b }, 3);
	ob_attr_int(n, "group", c->groups);
	ob_attr_ints(n, "pads", (int64_t[]){ c->pad, c->pad, c->pad, c->pad }, 4);
	if (isfinite(c->hi)) {
		write_floats("lo", l, 0, NULL, &c->lo, lo);
		write_floats("hi", l, 0, NULL, &c->hi, hi);
		ob_node("Clip", act, (const char *[]){ y, lo, hi }, 3);
	} else if (isfinite(c->lo)) {
		ob_node("Relu", act, (const char *[]){ y }, 1);
	}
	if (l + 1 == layers)
		ob_output(act);
}

static void write_net(struct compile_fixture *f)
{
	ob_begin(13);
	ob_input("x", ONNX_F32, 4, (int64_t[]){ 1, net[0].ic, SIDE, SIDE });
	for (unsigned l = 0; l < layers; l++)
		write_layer(l);
	ob_write(f->path);
	f->o.calib = (struct mica_calib){ .count = SAMPLES, .load = load };
}

static void compile(struct compile_fixture *f, enum mica_dtype format, unsigned repair, const char *until)
{
	ir_graph_free(f->g);
	f->err.code = MICA_ERR_NONE;
	f->o.format = format;
	f->o.repair = repair;
	f->g = ob_compile(f->path, &f->o, until, &f->err);
	if (!f->g)
		fail_msg("%s", f->err.text);
}

/* Quantized, and ready for a repair of quantized graphs that nobody measures and undoes. */
static void compile_unjudged(struct compile_fixture *f, enum mica_dtype format, unsigned repair)
{
	compile(f, format, repair, "quantize");
	quality_free(f->g->quality);
	f->g->quality = NULL;
	assert_non_null(f->g->reference);
}

/* The graph's weights as values, in the order of the model file, and its biases. */
static void take_constants(const struct ir_graph *g, unsigned l, double *w, double *bias)
{
	const struct ir_op *op = compile_conv(g, l);
	const struct ir_value *v = op->in[1];
	int per = net[l].ic / net[l].groups, taps = net[l].k * net[l].k, n = per * taps;

	for (int i = 0; i < net[l].oc * n; i++) {
		int o = i / n, from = o * n + i % taps * per + i % n / taps;
		double code = v->dtype == MICA_F32	? ((float *)v->data)[from]
			      : v->dtype == MICA_I8	? ((int8_t *)v->data)[from]
			      : v->dtype == MICA_BF16 ? ref_code_value(MICA_BF16, ((uint16_t *)v->data)[from])
						      : ref_code_value((enum mica_dtype)v->dtype, ((uint8_t *)v->data)[from]);

		w[i] = code * (double)(v->ch_scale ? v->ch_scale[o] : v->scale);
	}
	for (int o = 0; o < net[l].oc; o++)
		bias[o] = op->in[2] ? (double)((float *)op->in[2]->data)[o] : 0;
}

/* ---- running it in double ---- */

/* By layer and sample: what it reads; [LAYERS] is the output. */
struct run {
	double x[LAYERS + 1][SAMPLES][MOST * PLACES];
	double largest[LAYERS + 1];
};

static void run_layer(struct run *r, unsigned l, const double *w, const double *bias)
{
	struct ref_conv c = net[l];
	int side = side_of(l), n = c.oc * side_of(l + 1) * side_of(l + 1);

	c.bias = (double *)bias;
	r->largest[l + 1] = 0;
	for (unsigned s = 0; s < SAMPLES; s++) {
		ref_product(&c, w, r->x[l][s], side, side, r->x[l + 1][s]);
		ref_activate(&c, n / c.oc, r->x[l + 1][s]);
		for (int i = 0; i < n; i++)
			r->largest[l + 1] = fmax(r->largest[l + 1], fabs(r->x[l + 1][s][i]));
	}
}

static void run_exact(struct run *r)
{
	memcpy(r->x[0], input, sizeof(input));
	r->largest[0] = 0;
	for (unsigned s = 0; s < SAMPLES; s++)
		for (int i = 0; i < net[0].ic * PLACES; i++)
			r->largest[0] = fmax(r->largest[0], fabs(input[s][i]));
	for (unsigned l = 0; l < layers; l++)
		run_layer(r, l, weights[l], biases[l]);
}

/* Layer l of q behind layers that ran before: rounds what it reads as `t` with the scale of the largest f32 value. */
static void round_input(struct run *q, const struct run *f, unsigned l, enum mica_dtype t)
{
	enum mica_dtype as = l || t == MICA_I8 ? t : MICA_BF16; /* inputs of FP8 models */
	double scale = ref_scale(f->largest[l], as);
	int n = net[l].ic * side_of(l) * side_of(l);

	if (!l)
		memcpy(q->x[0], f->x[0], sizeof(q->x[0]));
	for (unsigned s = 0; s < SAMPLES; s++)
		for (int i = 0; i < n; i++)
			q->x[l][s][i] = ref_fake(as, q->x[l][s][i], scale, 0);
}

static const enum mica_dtype formats[] = { MICA_I8, MICA_E4M3, MICA_E5M2 };

/* ---- equalization ---- */

/* By what channel c of layer l was divided; all of its weights and its bias agree about that. */
static double factor_of(unsigned l, int c, const double *w, const double *bias)
{
	int n = ref_inputs(&net[l]);
	double s = 1;

	for (int i = 0; i < n; i++)
		if (weights[l][c * n + i] != 0)
			s = weights[l][c * n + i] / w[c * n + i];
	for (int i = 0; i < n; i++)
		assert_true(fabs(w[c * n + i] * s - weights[l][c * n + i]) <= 1e-5 * fabs(weights[l][c * n + i]));
	assert_true(fabs(bias[c] * s - biases[l][c]) <= 1e-5 * fabs(biases[l][c]));
	return s;
}

/* Ranges apart as in posenet. After: factors that cancel out, and no pair of layers that would change by more than 0.1 %. */
static void equalized_pairs_have_equal_ranges(void **state)
{
	struct compile_fixture *f = *state;
	static double w[LAYERS][MOST * MOST * 9], bias[LAYERS][MOST];

	three_layers(3, INFINITY, 11);
	for (int c = 0; c < 9; c++)
		stretch(&weights[0][c * 27], 27, c == 4 ? 0 : pow(2256, c / 8.0));
	stretch(&weights[1][7 * 9], 9, 0);
	write_net(f);
	f->o.calib.count = 0;
	compile(f, MICA_I8, MICA_REPAIR_CLE, "equalize");
	for (unsigned l = 0; l < layers; l++)
		take_constants(f->g, l, w[l], bias[l]);
	for (int c = 0; c < 9; c++) {
		struct ref_conv a = net[0], b = net[1], d = net[2];
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
			assert_true(fabs(d.w[o * 9 + c] / t - weights[2][o * 9 + c]) <= 1e-5 * fabs(weights[2][o * 9 + c]));
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
	compile(f, MICA_I8, MICA_REPAIR_CLE, "equalize");
}

/* s = sqrt(r1 / r2), but no channel grows beyond the clip / 1.25, and one that was there stays. */
static void a_clip_bounds_the_factors(void **state)
{
	struct compile_fixture *f = *state;
	static double w[2][MOST * MOST * 9], bias[2][MOST];
	static struct run r;
	unsigned stay = 0, bound = 0, equal = 0, n;

	two_layers(6);
	for (int c = 0; c < 12; c++)
		stretch(&weights[0][c * 27], 27, pow(10, c / 4.0 - 2));
	for (int i = 0; i < 5 * 12; i++)
		stretch(&weights[1][i], 1, i % 2 ? 30 : 1);
	write_net(f);
	run_exact(&r);
	equalize(f);
	n = (unsigned)(side_of(1) * side_of(1));
	for (unsigned l = 0; l < 2; l++)
		take_constants(f->g, l, w[l], bias[l]);
	for (int c = 0; c < 12; c++) {
		double s = factor_of(0, c, w[0], bias[0]), most = 0, want = sqrt(ref_largest_out(&net[0], c) / ref_largest_in(&net[1], c));

		for (unsigned i = 0; i < SAMPLES * n; i++)
			most = fmax(most, r.x[1][i / n][(unsigned)c * n + i % n]);
		stay += 1.25 * most >= 6;
		bound += 1.25 * most < 6 && want < 1.25 * most / 6;
		equal += 1.25 * most < 6 && want >= 1.25 * most / 6;
		want = 1.25 * most >= 6 ? 1 : fmax(want, 1.25 * most / 6);
		assert_true(fabs(s / want - 1) < 1e-4);
		for (int o = 0; o < 5; o++)
			assert_true(fabs(w[1][o * 12 + c] / s - weights[1][o * 12 + c]) <= 1e-5 * fabs(weights[1][o * 12 + c]));
	}
	assert_true(stay && bound && equal);
}

/* What a ReLU's channel, divided by its factor, never went below leaves its bias and comes back times the readers' weights. */
static void absorbed_is_what_a_channel_never_goes_below(void **state)
{
	struct compile_fixture *f = *state;
	static double w[2][MOST * MOST * 9], bias[2][MOST];
	static struct run r;
	double back[5];
	unsigned moved = 0, n;

	two_layers(INFINITY);
	for (int c = 0; c < 12; c += 2)
		biases[0][c] = c + 2;
	write_net(f);
	run_exact(&r);
	equalize(f);
	n = (unsigned)(side_of(1) * side_of(1));
	for (unsigned l = 0; l < 2; l++)
		take_constants(f->g, l, w[l], bias[l]);
	memcpy(back, biases[1], sizeof(back));
	for (int c = 0; c < 12; c++) {
		double least = INFINITY, s = weights[0][c * 27] / w[0][c * 27];

		for (unsigned i = 0; i < SAMPLES * n; i++)
			least = fmin(least, r.x[1][i / n][(unsigned)c * n + i % n] / s);
		assert_true(fabs(biases[0][c] / s - bias[0][c] - least) < 1e-5 * (1 + fabs(biases[0][c] / s)));
		for (int o = 0; o < 5; o++)
			back[o] += least * w[1][o * 12 + c];
		moved += least > 0.1;
	}
	for (int o = 0; o < 5; o++)
		assert_true(fabs(back[o] - bias[1][o]) < 1e-5 * (1 + fabs(back[o])));
	assert_true(moved >= 3 && moved < 12);
}

/* ---- bias correction ---- */

/* Sums of the layer's products over all positions of all samples, by output channel. */
static void sum_products(unsigned l, const double *w, const double (*x)[MOST * PLACES], double *sum)
{
	static double y[MOST * PLACES];
	int side = side_of(l), n = side_of(l + 1) * side_of(l + 1);

	memset(sum, 0, (size_t)net[l].oc * sizeof(*sum));
	for (unsigned s = 0; s < SAMPLES; s++) {
		ref_product(&net[l], w, x[s], side, side, y);
		for (int i = 0; i < net[l].oc * n; i++)
			sum[i / n] += y[i] / (SAMPLES * n);
	}
}

/* Every weight the nearest code, with the scale of its channel. */
static void round_weights(unsigned l, enum mica_dtype t, double *w)
{
	int n = ref_inputs(&net[l]);

	for (int i = 0; i < net[l].oc * n; i++)
		w[i] = ref_fake(t, weights[l][i], ref_scale(ref_largest_out(&net[l], i / n), t), 0);
}

/* Mean of what f32 gives less mean of what the quantized layer gives, behind layers that were corrected. */
static void biases_take_the_mean_error(void **state)
{
	struct compile_fixture *f = *state;
	static struct run exact, q;
	static double w[MOST * MOST * 9], got_w[MOST * MOST * 9], want[MOST], got[MOST], is[MOST];

	three_layers(3, 2, 21);
	write_net(f);
	run_exact(&exact);
	for (unsigned k = 0; k < 3; k++) {
		compile_unjudged(f, formats[k], MICA_REPAIR_BIAS);
		assert_int_equal(pass_bias_correct(f->g, &f->o), 0);
		for (unsigned l = 0; l < layers; l++) {
			double off = 0, moved = 0;

			round_input(&q, &exact, l, formats[k]);
			round_weights(l, formats[k], w);
			sum_products(l, weights[l], exact.x[l], want);
			sum_products(l, w, q.x[l], is);
			take_constants(f->g, l, got_w, got);
			for (int o = 0; o < net[l].oc; o++) {
				want[o] += biases[l][o] - is[o];
				off = fmax(off, fabs(want[o] - got[o]));
				moved = fmax(moved, fabs(want[o] - biases[l][o]));
			}
			print_message("%s, layer %u: moved by %.5f, off by %.7f\n", mica_dtype_name(formats[k]), l, moved, off);
			assert_true(moved > 1e-4 && off < 0.02 * moved);
			run_layer(&q, l, w, want);
		}
	}
}

/* ---- adaptive rounding ---- */

struct rounding {
	int k, rows;
	double x[ROWS * MOST * 9], want[ROWS], weight[ROWS], ridge; /* [rows][k] */
	double below[MOST * 9], above[MOST * 9];
	const double *exact;
};

/* The problem of channel o of layer l, from its definition. */
static void pose(struct rounding *p, const struct run *f, const struct run *q, unsigned l, int o, enum mica_dtype t)
{
	const struct ref_conv *c = &net[l];
	int side = side_of(l), n = side_of(l + 1) * side_of(l + 1);
	double scale = ref_scale(ref_largest_out(c, o), t);

	p->k = ref_inputs(c);
	p->rows = (int)SAMPLES * n;
	p->exact = c->w + o * p->k;
	for (int r = 0; r < p->rows; r++) {
		double in[MOST * 9];

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
	double w[MOST * 9], least = INFINITY;

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
	double w[MOST * 9], is = cost(p, got);

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
static void look_at_layer(const struct compile_fixture *f, const struct run *exact, const struct run *q, unsigned l, enum mica_dtype t,
			  struct costs *sum)
{
	static double nearest[MOST * MOST * 9], got[MOST * MOST * 9], bias[MOST];
	static struct rounding p;

	take_constants(f->g, l, got, bias);
	round_weights(l, t, nearest);
	for (int o = 0; o < net[l].oc; o++) {
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
	static struct run exact, q;
	static double w[MOST * MOST * 9], bias[MOST];
	struct costs sum = { 0 };

	write_net(f);
	run_exact(&exact);
	compile_unjudged(f, t, MICA_REPAIR_ADAROUND);
	assert_int_equal(pass_adaround(f->g, &f->o), 0);
	for (unsigned l = 0; l < layers; l++) {
		round_input(&q, &exact, l, t);
		look_at_layer(f, &exact, &q, l, t, &sum);
		take_constants(f->g, l, w, bias);
		run_layer(&q, l, w, bias);
	}
	return sum;
}

/* Layers of nine products: all 512 roundings of each channel are tried. */
static void rounding_is_near_the_least_of_all(void **state)
{
	struct compile_fixture *f = *state;

	for (unsigned k = 0; k < 12; k++) {
		struct costs c;

		three_layers(1, k % 2 ? 1 : INFINITY, 100 + k);
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

		three_layers(16, INFINITY, 212 + k);
		c = look_at_roundings(f, formats[k]);
		print_message("%s: %.3f of the nearest's\n", mica_dtype_name(formats[k]), c.got / c.nearest);
		assert_true(c.got < 0.85 * c.nearest);
	}
}

/* ---- centering ---- */

/* The f32 graph, with every operator in the format, as center finds it. */
static void center(struct compile_fixture *f, enum mica_dtype t)
{
	compile(f, MICA_F32, 0, NULL);
	for (struct ir_op *op = f->g->first; op; op = op->next)
		op->format = -1;
	f->o.format = t;
	assert_int_equal(center_values(f->g, &f->o), 0);
}

/* Readers' squared weights of channel c. */
static double importance_of(unsigned reader, int c)
{
	double sum = 0;

	for (int o = 0; o < net[reader].oc; o++)
		for (int i = 0; i < net[reader].k * net[reader].k; i++)
			sum += pow(net[reader].w[(o * net[reader].ic + c) * net[reader].k * net[reader].k + i], 2);
	return sum;
}

/* All channels' cost of storing layer 0's output less shift[c] (one for all, or by channel). */
static double center_cost(const struct run *r, enum mica_dtype t, double lo, double hi, const double *shift, bool by_channel)
{
	int n = side_of(1) * side_of(1);
	double sum = 0;

	for (unsigned s = 0; s < SAMPLES; s++)
		for (int c = 0; c < net[0].oc; c++) {
			double x[PLACES];

			for (int i = 0; i < n; i++)
				x[i] = r->x[1][s][c * n + i] - (by_channel ? shift[c] : 0);
			sum += ref_center_cost(t, x, n, lo, hi, by_channel ? 0 : *shift, importance_of(1, c));
		}
	return sum;
}

/* What left the biases of layer 0; what came back in layer 1 is that times its weights. */
static void take_shift(const struct compile_fixture *f, double *shift)
{
	static double w[MOST * MOST * 9], bias[MOST];
	int n = ref_inputs(&net[1]);

	take_constants(f->g, 0, w, bias);
	for (int c = 0; c < net[0].oc; c++)
		shift[c] = biases[0][c] - bias[c];
	take_constants(f->g, 1, w, bias);
	for (int o = 0; o < net[1].oc; o++) {
		double want = biases[1][o];

		for (int i = 0; i < n; i++)
			want += shift[i / (net[1].k * net[1].k)] * weights[1][o * n + i];
		assert_true(fabs(want - bias[o]) < 1e-5 * (1 + fabs(want)));
	}
}

/* Behind an activation: the candidate of the least cost, and the ends of the clip move with it. */
static void centers_have_the_least_cost(void **state)
{
	struct compile_fixture *f = *state;
	static struct run r;

	for (unsigned k = 0; k < 12; k++) {
		enum mica_dtype t = formats[k % 3];
		double hi = k % 2 ? 1 : INFINITY, end, least = INFINITY, shift[MOST];
		const struct ir_op *op;

		two_layers(hi);
		for (int c = 0; c < 12; c++)
			biases[0][c] = (float)(biases[0][c] + 0.4 * (k / 3) * (c % 4)); /* from mostly zeroes to hardly any */
		for (int i = 0; i < 5 * 12; i++)
			stretch(&weights[1][i], 1, i % 4 ? 1 : 4);
		write_net(f);
		run_exact(&r);
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
			assert_true(fabs(shift[c] - shift[0]) < 1e-5 * (1 + fabs(biases[0][c])));
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
	static struct run r;

	for (unsigned k = 0; k < 6; k++) {
		enum mica_dtype t = formats[k % 3];
		double mean[MOST] = { 0 }, none[MOST] = { 0 }, shift[MOST], a, b;
		int n;

		two_layers(INFINITY);
		net[0].lo = -INFINITY;
		for (int c = 0; c < 12; c++)
			biases[0][c] = (float)(biases[0][c] + (k < 3 ? (c % 3 - 1) * 4 : 0));
		write_net(f);
		run_exact(&r);
		n = side_of(1) * side_of(1);
		for (int i = 0; i < (int)SAMPLES * 12 * n; i++)
			mean[i / n % 12] += r.x[1][i / n / 12][i % (12 * n)] / (SAMPLES * n);
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
		T(biases_take_the_mean_error),
		T(rounding_is_near_the_least_of_all),
		T(no_single_weight_lowers_the_sum),
		T(centers_have_the_least_cost),
		T(linear_channels_lose_their_means),
		T(weights_are_as_noisy_as_the_page_says),
	};

	return cmocka_run_group_tests_name("repair_definitions", tests, NULL, NULL);
}
