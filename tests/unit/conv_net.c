// SPDX-License-Identifier: MIT
/* The small model of convolutions: making it, and running it in double. */
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

struct conv_net net;

static void add_layer(int ic, int oc, int k, int groups, double lo, double hi)
{
	struct ref_conv *c = &net.layer[net.layers];

	*c = (struct ref_conv){ ic, oc, k, 0, groups, net.w[net.layers], net.b[net.layers], lo, hi };
	for (int i = 0; i < oc * ref_inputs(c); i++)
		c->w[i] = compile_noise();
	for (int i = 0; i < oc; i++)
		c->bias[i] = 0.3f * compile_noise();
	net.layers++;
}

void net_three(int channels, double hi, uint32_t seed)
{
	compile_seed(seed);
	net.layers = 0;
	add_layer(channels, 9, 3, 1, 0, hi);
	add_layer(9, 9, 3, 9, 0, INFINITY);
	add_layer(9, 5, 1, 1, -INFINITY, INFINITY);
	net.layer[0].pad = 1;
	for (unsigned s = 0; s < NET_SAMPLES; s++)
		for (int i = 0; i < channels * NET_PLACES; i++)
			net.input[s][i] = 0.4f + compile_noise();
}

void net_two(double hi)
{
	compile_seed(5);
	net.layers = 0;
	add_layer(3, 12, 3, 1, 0, hi);
	add_layer(12, 5, 1, 1, -INFINITY, INFINITY);
	for (unsigned s = 0; s < NET_SAMPLES; s++)
		for (int i = 0; i < 3 * NET_PLACES; i++)
			net.input[s][i] = compile_noise();
}

void net_stretch(double *w, int n, double by)
{
	for (int i = 0; i < n; i++)
		w[i] = (float)(w[i] * by);
}

int net_side(unsigned layer)
{
	int side = NET_SIDE;

	for (unsigned l = 0; l < layer; l++)
		side += 2 * net.layer[l].pad - net.layer[l].k + 1;
	return side;
}

static int load(void *opaque, unsigned sample, const char *name, float *dst, size_t n, struct mica_err *err)
{
	(void)opaque;
	(void)name;
	(void)err;
	for (size_t i = 0; i < n; i++)
		dst[i] = (float)net.input[sample][i];
	return 0;
}

static void write_floats(const char *prefix, unsigned layer, unsigned rank, const int64_t *dim, const double *x, char *name)
{
	float f[NET_WEIGHTS];
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
	const struct ref_conv *c = &net.layer[l];
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
	if (l + 1 == net.layers)
		ob_output(act);
}

void net_write(struct compile_fixture *f)
{
	ob_begin(13);
	ob_input("x", ONNX_F32, 4, (int64_t[]){ 1, net.layer[0].ic, NET_SIDE, NET_SIDE });
	for (unsigned l = 0; l < net.layers; l++)
		write_layer(l);
	ob_write(f->path);
	f->o.calib = (struct mica_calib){ .count = NET_SAMPLES, .load = load };
}

void net_constants(const struct ir_graph *g, unsigned l, double *w, double *bias)
{
	const struct ir_op *op = compile_conv(g, l);
	const struct ir_value *v = op->in[1];
	int per = net.layer[l].ic / net.layer[l].groups, taps = net.layer[l].k * net.layer[l].k, n = per * taps;

	for (int i = 0; i < net.layer[l].oc * n; i++) {
		int o = i / n, from = o * n + i % taps * per + i % n / taps;
		double code = v->dtype == MICA_F32	? ((float *)v->data)[from]
			      : v->dtype == MICA_I8	? ((int8_t *)v->data)[from]
			      : v->dtype == MICA_BF16 ? ref_code_value(MICA_BF16, ((uint16_t *)v->data)[from])
						      : ref_code_value((enum mica_dtype)v->dtype, ((uint8_t *)v->data)[from]);

		w[i] = code * (double)(v->ch_scale ? v->ch_scale[o] : v->scale);
	}
	for (int o = 0; o < net.layer[l].oc; o++)
		bias[o] = op->in[2] ? (double)((float *)op->in[2]->data)[o] : 0;
}

void net_compile(struct compile_fixture *f, enum mica_dtype format, unsigned repair, const char *until)
{
	ir_graph_free(f->g);
	f->err.code = MICA_ERR_NONE;
	f->o.format = format;
	f->o.repair = repair;
	f->g = ob_compile(f->path, &f->o, until, &f->err);
	if (!f->g)
		fail_msg("%s", f->err.text);
}

/* ---- running it in double ---- */

void net_run_layer(struct net_run *r, unsigned l, const double *w, const double *bias)
{
	struct ref_conv c = net.layer[l];
	int side = net_side(l), n = c.oc * net_side(l + 1) * net_side(l + 1);

	c.bias = (double *)bias;
	r->largest[l + 1] = 0;
	for (unsigned s = 0; s < NET_SAMPLES; s++) {
		ref_product(&c, w, r->x[l][s], side, side, r->x[l + 1][s]);
		ref_activate(&c, n / c.oc, r->x[l + 1][s]);
		for (int i = 0; i < n; i++)
			r->largest[l + 1] = fmax(r->largest[l + 1], fabs(r->x[l + 1][s][i]));
	}
}

void net_run(struct net_run *r)
{
	memcpy(r->x[0], net.input, sizeof(net.input));
	r->largest[0] = 0;
	for (unsigned s = 0; s < NET_SAMPLES; s++)
		for (int i = 0; i < net.layer[0].ic * NET_PLACES; i++)
			r->largest[0] = fmax(r->largest[0], fabs(net.input[s][i]));
	for (unsigned l = 0; l < net.layers; l++)
		net_run_layer(r, l, net.w[l], net.b[l]);
}

void net_round_input(struct net_run *q, const struct net_run *f, unsigned l, enum mica_dtype t)
{
	enum mica_dtype as = l || t == MICA_I8 ? t : MICA_BF16; /* inputs of FP8 models */
	double scale = ref_scale(f->largest[l], as);
	int n = net.layer[l].ic * net_side(l) * net_side(l);

	if (!l)
		memcpy(q->x[0], f->x[0], sizeof(q->x[0]));
	for (unsigned s = 0; s < NET_SAMPLES; s++)
		for (int i = 0; i < n; i++)
			q->x[l][s][i] = ref_fake(as, q->x[l][s][i], scale, 0);
}
