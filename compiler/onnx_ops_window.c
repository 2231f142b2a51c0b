// SPDX-License-Identifier: MIT
/* ONNX operators over [N,C,H,W]: convolutions, pools, batch normalization, LRN, resizing. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "expr.h"
#include "onnx_window.h"

/* ---- Conv, ConvTranspose ---- */

static int check_weights(struct ir_graph *g, struct ir_op *op, const struct ir_value *x,
			 const struct ir_value *w, const struct ir_value *b, unsigned oc_axis)
{
	int64_t groups = onnx_int(op, "group", 1), in, out;

	if (w->rank != x->rank || x->rank < 3)
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "weights have %u dimensions, the operand has %u; check the model",
				 w->rank, x->rank);
	if (groups < 1 || groups > 65535)
		return onnx_fail(g, op, MICA_ERR_SHAPE, "attribute group is %lld; check the model",
				 (long long)groups);
	for (unsigned i = 0; i < w->rank; i++)
		if (w->dim[i] < 1 || w->dim[i] > INT32_MAX)
			return onnx_fail(g, op, MICA_ERR_SHAPE,
					 "weights are empty or too large; check the model");
	in = oc_axis ? w->dim[0] : w->dim[1] * groups;
	out = oc_axis ? w->dim[1] * groups : w->dim[0];
	if (in != x->dim[1] || x->dim[1] % groups || out % groups)
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "weights are for %lld input channels in %lld groups, the operand "
				 "has %lld channels; check the model",
				 (long long)in, (long long)groups, (long long)x->dim[1]);
	if (b && (b->rank != 1 || b->dim[0] != out))
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "bias has %lld elements in %u dimensions for %lld channels; check the model",
				 (long long)ir_elements(b), b->rank, (long long)out);
	return 0;
}

int infer_conv_of(struct ir_graph *g, struct ir_op *op, const struct ir_value *x,
		  const struct ir_value *w, const struct ir_value *bias)
{
	struct window win;

	if (check_weights(g, op, x, w, bias, 0) || window_read(g, op, x, w->dim + 2, &win))
		return -(int)g->err->code;
	return window_out(g, op, &win, MICA_F32, x->dim[0], w->dim[0]);
}

/* code 1: ConvTranspose */
static int infer_conv(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0], *w = op->in[1], *bias = ir_op_in(op, 2);
	struct window win;

	if (!d->code)
		return infer_conv_of(g, op, x, w, bias);
	if (check_weights(g, op, x, w, bias, 1) ||
	    window_read_transposed(g, op, x, w->dim + 2, &win))
		return -(int)g->err->code;
	return window_out(g, op, &win, MICA_F32, x->dim[0], w->dim[1] * onnx_int(op, "group", 1));
}

int canon_constant(struct ir_graph *g, struct ir_op *op, unsigned i, const char *what)
{
	const struct ir_value *v = ir_op_in(op, i);

	if (v && !v->data)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "%s ('%.100s') is computed at run time; it must be a constant: "
				 "freeze the model before exporting",
				 what, v->name);
	return 0;
}

/* The 2-D operator on x and weights of 4 dimensions. */
static struct ir_value *conv2(struct build *b, enum ir_kind kind, struct ir_value *const *in,
			      const struct window *win, int64_t channels, int groups)
{
	int64_t dim[4] = { in[0]->dim[0], channels, win->out[1], win->out[2] };
	struct ir_op *conv = build_op(b, kind, in, 3, 4, dim);

	window_to_attr(win, &conv->a);
	conv->a.groups = groups;
	return conv->out[0];
}

struct ir_value *build_conv_of(struct build *b, struct ir_op *op, struct ir_value *x,
			       struct ir_value *w, struct ir_value *bias)
{
	int groups = (int)onnx_int(op, "group", 1);
	struct ir_value *in[3] = { x, w, bias && bias->data ? const_f32(b->g, bias) : NULL };
	struct window win;

	if (!w->data || (bias && !bias->data))
		return build_conv_computed(b, op, x, w->data ? const_f32(b->g, w) : w, bias);
	if (window_read(b->g, op, x, w->dim + 2, &win))
		return NULL;
	w = w->zero ? const_f32(b->g, w) : w; /* a product has no zero point on that side */
	if (x->rank == 5) {
		in[0] = window3_x(b, x, &win, groups);
		in[1] = window3_weights(b, w);
		return window3_y(b, conv2(b, IR_CONV, in, &win, w->dim[0], groups), x->dim[0]);
	}
	if (w->ch_scale && w->rank == 3)
		w = const_f32(b->g, w);
	in[0] = window_lift(b, x);
	in[1] = window_lift(b, w);
	return conv2(b, IR_CONV, in, &win, w->dim[0], groups);
}

static struct ir_value *conv_transposed(struct build *b, struct ir_op *op, struct ir_value *x,
					struct ir_value *w, struct ir_value *bias)
{
	int groups = (int)onnx_int(op, "group", 1);
	struct ir_value *in[3] = { window_lift(b, x), NULL, bias && bias->data ? const_f32(b->g, bias) : NULL };
	struct window win;

	if (!w->data || (bias && !bias->data))
		return build_convt_computed(b, op, x, w->data ? const_f32(b->g, w) : w, bias);
	if (window_read_transposed(b->g, op, x, w->dim + 2, &win))
		return NULL;
	if (x->rank == 5)
		return window3_convt(b, x, const_f32(b->g, w), in[2], &win, groups);
	in[1] = window_lift(b, w->zero || (w->ch_scale && w->rank == 3) ? const_f32(b->g, w) : w);
	return conv2(b, IR_CONVT, in, &win, w->dim[1] * groups, groups);
}

static int canon_conv(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = op->in[0], *w = op->in[1], *bias = ir_op_in(op, 2), *y;

	x = x->data ? const_f32(g, x) : x;
	y = d->code ? conv_transposed(&b, op, x, w, bias) : build_conv_of(&b, op, x, w, bias);
	if (!y)
		return -(int)g->err->code;
	expr_becomes(&b, op, 0, y);
	return 0;
}

/* ---- pools ---- */

/* A window with nothing but padding in it has no largest element. */
static bool has_empty_window(const struct window *w)
{
	for (unsigned i = 0; i < 3; i++)
		if ((int64_t)w->lo[i] > (int64_t)(w->k[i] - 1) * w->dil[i] ||
		    (w->out[i] - 1) * w->stride[i] - w->lo[i] >= w->in[i])
			return true;
	return false;
}

static int infer_pool(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	struct window win;
	(void)d;

	if (window_read(g, op, x, NULL, &win) || window_out(g, op, &win, x->dtype, x->dim[0], x->dim[1]))
		return -(int)g->err->code;
	if (op->outs > 1 && op->out[1] && ir_elements(x) > 1 << 24)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "indices of maxima above 2^24 are not exact; export without them");
	if (op->outs > 1 && op->out[1] && has_empty_window(&win))
		return onnx_fail(g, op, MICA_ERR_SHAPE, "a window lies in the padding alone and has no index; make attribute pads smaller than the kernel");
	return op->outs > 1 ? onnx_out(g, op, 1, IR_I64, op->out[0]->rank, op->out[0]->dim) : 0;
}

/* Where the maxima stand is looked up by the host. */
static void max_indices(struct ir_graph *g, struct ir_op *op, const struct window *win)
{
	struct build b = build_at(g, op);
	struct ir_value *x = op->in[0], *y = op->outs > 1 ? op->out[1] : NULL;
	struct ir_op *h;

	if (!y || !(y->uses + y->is_output))
		return;
	b.format = MICA_F32;
	h = build_host(&b, MICA_HOST_MAX_POOL_INDEX, &x, 1, y->rank, y->dim);
	for (unsigned i = 0; i < win->spatial; i++) {
		unsigned w = 3 - win->spatial + i;

		h->a.host_int[i] = win->k[w];
		h->a.host_int[3 + i] = win->stride[w];
		h->a.host_int[6 + i] = win->dil[w];
		h->a.host_int[9 + i] = win->lo[w];
	}
	h->a.host_int[12] = onnx_int(op, "storage_order", 0) != 0;
	build_becomes(g, y, h->out[0]);
}

struct ir_value *build_pool_of(struct build *b, struct ir_op *op, struct ir_value *x,
			       const struct window *w, enum mica_pool pool)
{
	int64_t dim[4];
	struct ir_op *p;

	if (pool == MICA_POOL_AVG && onnx_int(op, "count_include_pad", 0))
		pool = MICA_POOL_AVG_PAD;
	if (x->rank == 5)
		return window3_pool(b, x, w, pool);
	x = window_lift(b, x);
	memcpy(dim, (int64_t[]){ x->dim[0], x->dim[1], w->out[1], w->out[2] }, sizeof(dim));
	p = build_op(b, IR_POOL, &x, 1, 4, dim);
	window_to_attr(w, &p->a);
	p->a.pool = pool;
	if (pool == MICA_POOL_MAX) { /* the largest code is the code of the largest value */
		p->out[0]->dtype = x->dtype;
		p->out[0]->elem = x->elem;
		p->out[0]->scale = x->scale;
		p->out[0]->zero = x->zero;
	}
	return p->out[0];
}

static int canon_pool(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct window win;

	if (window_read(g, op, op->in[0], NULL, &win))
		return -(int)g->err->code;
	expr_becomes(&b, op, 0,
		     build_pool_of(&b, op, expr_in(g, op, 0), &win, (enum mica_pool)d->code));
	max_indices(g, op, &win);
	return 0;
}

static int infer_global(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[IR_MAX_RANK];
	(void)d;

	if (x->rank < 2)
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "operand has %u dimensions, at least 2 are needed; check the "
				 "model",
				 x->rank);
	for (unsigned i = 0; i < x->rank; i++)
		dim[i] = i < 2 ? x->dim[i] : 1;
	return onnx_out(g, op, 0, MICA_F32, x->rank, dim);
}

static int canon_global(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = op->in[0];

	build_becomes(g, op->out[0],
		      build_reduce(&b, (enum mica_red)d->code, x, ((1u << x->rank) - 1) & ~3u));
	return 0;
}

/* ---- BatchNormalization ---- */

static bool trains(const struct ir_op *op)
{
	return onnx_int(op, "training_mode", 0);
}

static int infer_batchnorm(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	(void)d;

	if (!onnx_int(op, "spatial", 1) || (onnx_opset(g) < 7 && !onnx_int(op, "is_test", 0)))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "spatial=0 and training before opset 14 are not supported; export for inference");
	for (unsigned i = 1; i < 5; i++)
		if (!op->in[i] || x->rank < 2 || op->in[i]->rank != 1 || op->in[i]->dim[0] != x->dim[1])
			return onnx_fail(g, op, MICA_ERR_SHAPE,
					 "operand %u does not have one element for each channel; "
					 "check the model",
					 i);
	for (unsigned i = trains(op) ? 3 : 1; i < op->outs; i++)
		if (expr_wanted(op, i))
			return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
					 "results of training are not supported; export for "
					 "inference");
	for (unsigned i = 1; i < op->outs; i++)
		onnx_out(g, op, i, MICA_F32, 1, op->in[1]->dim);
	return onnx_out(g, op, 0, x->dtype, x->rank, x->dim);
}

/* momentum * before + (1 - momentum) * now */
static void running(struct build *b, struct ir_op *op, unsigned out, unsigned before, struct ir_value *now)
{
	float momentum = onnx_float(op, "momentum", 0.9f);

	if (expr_wanted(op, out))
		expr_becomes(b, op, out, build_binary(b, MICA_BIN_ADD, expr_k(b, MICA_BIN_MUL, expr_in(b->g, op, before), momentum),
						      expr_k(b, MICA_BIN_MUL, build_reshape(b, now, 1, op->out[out]->dim), 1 - momentum)));
}

/* Parameters that are computed, by the batch itself when it trains: plain arithmetic. */
static int batchnorm_computed(struct ir_graph *g, struct ir_op *op)
{
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *x = expr_in(g, op, 0), *p[5], *d;
	int64_t dim[IR_MAX_RANK];
	unsigned others = ((1u << x->rank) - 1) & ~2u;

	for (unsigned i = 0; i < x->rank; i++)
		dim[i] = i == 1 ? x->dim[1] : 1;
	for (unsigned i = 1; i < 5; i++)
		p[i] = build_reshape(b, expr_in(g, op, i), x->rank, dim);
	if (trains(op))
		p[3] = build_reduce(b, MICA_RED_MEAN, x, others);
	d = build_binary(b, MICA_BIN_SUB, x, p[3]);
	if (trains(op)) {
		p[4] = build_reduce(b, MICA_RED_MEAN, build_binary(b, MICA_BIN_MUL, d, d), others);
		running(b, op, 1, 3, p[3]);
		running(b, op, 2, 4, p[4]);
	}
	p[4] = expr_fn(b, MICA_FN_RECIP, expr_fn(b, MICA_FN_SQRT, expr_k(b, MICA_BIN_ADD, p[4], onnx_float(op, "epsilon", 1e-5f))));
	d = build_binary(b, MICA_BIN_MUL, d, build_binary(b, MICA_BIN_MUL, p[4], p[1]));
	expr_becomes(b, op, 0, build_binary(b, MICA_BIN_ADD, d, p[2]));
	return 0;
}

static int canon_batchnorm(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *in[5], *x = op->in[0];
	int64_t dim[4] = { x->dim[0], x->dim[1], 1, 1 };
	struct ir_op *bn;
	(void)d;

	for (unsigned i = 1; i < 5; i++)
		if (!op->in[i]->data || trains(op))
			return batchnorm_computed(g, op);
	for (unsigned i = 1; i < 5; i++)
		in[i] = const_f32(g, op->in[i]);
	for (unsigned i = 2; i < x->rank; i++)
		dim[i < 3 && x->rank > 3 ? 2 : 3] *= x->dim[i];
	in[0] = build_reshape(&b, x, 4, dim);
	bn = build_op(&b, IR_BATCHNORM, in, 5, 4, dim);
	bn->a.eps = onnx_float(op, "epsilon", 1e-5f);
	build_becomes(g, op->out[0], build_reshape(&b, bn->out[0], x->rank, x->dim));
	return 0;
}

/* ---- LRN: y = x * (bias + alpha/size * sum of the squares of `size` channels around)^-beta ---- */

static int infer_lrn(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	(void)d;

	if (x->rank != 4 || x->dim[1] > 4096 || onnx_int(op, "size", 0) < 1)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "LRN needs [N,C,H,W] with at most 4096 channels and size >= 1; "
				 "check the model");
	return onnx_out(g, op, 0, MICA_F32, x->rank, x->dim);
}

static int canon_lrn(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build b = build_at(g, op);
	struct ir_value *x = op->in[0], *in[3], *s;
	int64_t c = x->dim[1], size = onnx_int(op, "size", 1), lo = (size - 1) / 2,
		hi = size - 1 - lo;
	int64_t wdim[4] = { c, c, 1, 1 };
	float *w, *bias;
	struct ir_op *conv;
	(void)d;

	b.format =
		b.format < 0 ? MICA_BF16 : b.format; /* squares have too wide a range for 8 bits */
	in[0] = build_binary(&b, MICA_BIN_MUL, x, x);
	in[1] = build_const(&b, 4, wdim, NULL);
	in[2] = build_const(&b, 1, &c, NULL);
	w = in[1]->data;
	bias = in[2]->data;
	for (int64_t o = 0; o < c; o++) {
		bias[o] = onnx_float(op, "bias", 1);
		for (int64_t i = o - lo < 0 ? 0 : o - lo; i <= o + hi && i < c; i++)
			w[o * c + i] = onnx_float(op, "alpha", 1e-4f) / (float)size;
	}
	conv = build_op(&b, IR_CONV, in, 3, 4, x->dim);
	conv->a.kh = conv->a.kw = conv->a.stride_h = conv->a.stride_w = conv->a.dil_h =
		conv->a.dil_w = conv->a.groups = 1;
	s = build_binary(&b, MICA_BIN_POW, conv->out[0],
			 build_scalar(&b, -onnx_float(op, "beta", 0.75f)));
	b.format = op->format;
	build_becomes(g, op->out[0], build_binary(&b, MICA_BIN_MUL, x, s));
	return 0;
}

const struct onnx_def onnx_window_ops[] = {
	{ "Conv", 0, 2, 3, infer_conv, NULL, canon_conv },
	{ "ConvTranspose", 1, 2, 3, infer_conv, NULL, canon_conv },
	{ "MaxPool", MICA_POOL_MAX, 1, 1, infer_pool, NULL, canon_pool },
	{ "AveragePool", MICA_POOL_AVG, 1, 1, infer_pool, NULL, canon_pool },
	{ "GlobalAveragePool", MICA_RED_MEAN, 1, 1, infer_global, NULL, canon_global },
	{ "GlobalMaxPool", MICA_RED_MAX, 1, 1, infer_global, NULL, canon_global },
	{ "BatchNormalization", 0, 5, 5, infer_batchnorm, NULL, canon_batchnorm },
	{ "LRN", 0, 1, 1, infer_lrn, NULL, canon_lrn },
	{ "Resize", 0, 1, 4, infer_resize, NULL, canon_resize },
	{ "Upsample", 0, 1, 2, infer_resize, NULL, canon_resize },
	{ 0 },
};
