// SPDX-License-Identifier: MIT
/*
 * Windows with a depth, by the 2-D ones: for a convolution the taps along the depth are channels and its positions part
 * of the batch; a pool is one over the planes and one along the depth.
 */
#include <stdlib.h>
#include <string.h>
#include "expr.h"
#include "onnx_window.h"

/* x along its depth as tap k of every position sees it; x is padded already. */
static struct ir_value *tap(struct build *b, struct ir_value *x, const struct window *w, int k)
{
	int64_t start[5] = { 0 }, step[5] = { 1, 1, w->stride[0], 1, 1 }, dim[5];

	memcpy(dim, x->dim, sizeof(dim));
	start[2] = (int64_t)k * w->dil[0];
	dim[2] = w->out[0];
	return build_slice(b, x, start, step, dim);
}

/* [n,c,d,h,w] to [n*d', c*k, h, w]; within a group all channels of a tap stand together. */
struct ir_value *window3_x(struct build *b, struct ir_value *x, const struct window *w,
			   int64_t groups)
{
	int64_t front[5] = { 0, 0, w->lo[0] }, behind[5] = { 0, 0, w->hi[0] }, n = x->dim[0],
		c = x->dim[1], h = x->dim[3], wide = x->dim[4], k = w->k[0], d = w->out[0];
	struct ir_value **part = ir_alloc((size_t)k, sizeof(*part)), *y;

	x = build_pad(b, x, front, behind, 0);
	for (int64_t i = 0; i < k; i++)
		part[i] = build_reshape(b, tap(b, x, w, (int)i), 4,
					(int64_t[]){ n * groups, c / groups, d, h * wide });
	y = build_concat(b, part, (unsigned)k, 1);
	free(part);
	y = build_reshape(b, y, 4, (int64_t[]){ n, c * k, d, h * wide });
	y = expr_swap(b, y, 1, 2);
	return build_reshape(b, y, 4, (int64_t[]){ n * d, c * k, h, wide });
}

/* [o,c,k,h,w] to [o,k*c,h,w] */
struct ir_value *window3_weights(struct build *b, struct ir_value *w)
{
	w = expr_swap(b, w->ch_scale ? const_f32(b->g, w) : w, 1, 2);
	return build_reshape(
		b, w, 4, (int64_t[]){ w->dim[0], w->dim[1] * w->dim[2], w->dim[3], w->dim[4] });
}

/* [n*d,c,h,w] to [n,c,d,h,w] */
struct ir_value *window3_y(struct build *b, struct ir_value *y, int64_t batch)
{
	int64_t d = y->dim[0] / batch, c = y->dim[1], h = y->dim[2], w = y->dim[3];

	y = build_reshape(b, y, 4, (int64_t[]){ batch, d, c, h * w });
	return build_reshape(b, expr_swap(b, y, 1, 2), 5, (int64_t[]){ batch, c, d, h, w });
}

static struct ir_value *pool2(struct build *b, struct ir_value *x, const struct window *w,
			      enum mica_pool pool)
{
	int64_t dim[4] = { x->dim[0], x->dim[1], w->out[1], w->out[2] };
	struct ir_op *op = build_op(b, IR_POOL, &x, 1, 4, dim);

	window_to_attr(w, &op->a);
	op->a.pool = pool;
	return op->out[0];
}

/* The taps that count form a box, so an average of averages is the average. */
struct ir_value *window3_pool(struct build *b, struct ir_value *x, const struct window *w,
			      enum mica_pool pool)
{
	int64_t n = x->dim[0], c = x->dim[1], d = x->dim[2], h = w->out[1], wide = w->out[2];
	struct window deep = *w;

	x = build_reshape(b, x, 4, (int64_t[]){ n, c * d, x->dim[3], x->dim[4] });
	x = build_reshape(b, pool2(b, x, w, pool), 4, (int64_t[]){ n, c, d, h * wide });
	for (int i = 0; i < 2; i++) {
		deep.k[1 + i] = i ? 1 : w->k[0];
		deep.stride[1 + i] = i ? 1 : w->stride[0];
		deep.dil[1 + i] = i ? 1 : w->dil[0];
		deep.lo[1 + i] = i ? 0 : w->lo[0];
		deep.hi[1 + i] = i ? 0 : w->hi[0];
		deep.out[1 + i] = i ? h * wide : w->out[0];
	}
	return build_reshape(b, pool2(b, x, &deep, pool), 5,
			     (int64_t[]){ n, c, w->out[0], h, wide });
}

/* Slice k of the depth of weights [c,o,k,h,w] */
static struct ir_value *plane(struct build *b, struct ir_value *w, int64_t k)
{
	return build_reshape(b, build_slice1(b, w, 2, k, 1), 4,
			     (int64_t[]){ w->dim[0], w->dim[1], w->dim[3], w->dim[4] });
}

/* y [n,c,d,rest] with `stride - 1` zeroes behind each plane, moved by `at`, cut to planes lo .. lo + out of it. */
static struct ir_value *placed(struct build *b, struct ir_value *y, int64_t stride, int64_t at,
			       int64_t lo, int64_t out)
{
	int64_t n = y->dim[0], c = y->dim[1], d = y->dim[2], rest = y->dim[3], from = at - lo,
		cut = from < 0 ? -from : 0, len;

	y = build_reshape(b, y, 4, (int64_t[]){ n * c, d, 1, rest });
	y = build_pad(b, y, (int64_t[]){ 0, 0, 0, 0 }, (int64_t[]){ 0, 0, stride - 1, 0 }, 0);
	y = build_reshape(b, y, 3, (int64_t[]){ n * c, d * stride, rest });
	from = from < 0 ? 0 : from;
	len = d * stride - cut < out - from ? d * stride - cut : out - from;
	if (len <= 0)
		return NULL;
	y = build_slice1(b, y, 1, cut, len);
	y = build_pad(b, y, (int64_t[]){ 0, from, 0 }, (int64_t[]){ 0, out - from - len, 0 }, 0);
	return build_reshape(b, y, 4, (int64_t[]){ n, c, out, rest });
}

/* Every tap of the depth is a transposed convolution of the planes, its results lie `stride` apart; all are added. */
struct ir_value *window3_convt(struct build *b, struct ir_value *x, struct ir_value *w,
			       struct ir_value *bias, const struct window *win, int groups)
{
	int64_t n = x->dim[0], c = x->dim[1], d = x->dim[2], o = w->dim[1] * groups,
		dim[4] = { n * d, o, win->out[1], win->out[2] };
	struct ir_value *sum = NULL, *y, *in[3] = { NULL };
	struct build own = *b;

	own.format = b->format < 0 ? MICA_F32 : b->format; /* partial sums are not rounded */
	x = build_reshape(b, x, 4, (int64_t[]){ n, c, d, x->dim[3] * x->dim[4] });
	in[0] = build_reshape(b, expr_swap(b, x, 1, 2), 4,
			      (int64_t[]){ n * d, c, win->in[1], win->in[2] });
	for (int k = 0; k < win->k[0]; k++) {
		struct ir_op *conv;

		in[1] = plane(b, w, k);
		conv = build_op(b, IR_CONVT, in, 3, 4, dim);
		window_to_attr(win, &conv->a);
		conv->a.groups = groups;
		y = build_reshape(b, conv->out[0], 4,
				  (int64_t[]){ n, d, o, win->out[1] * win->out[2] });
		y = placed(&own, expr_swap(b, y, 1, 2), win->stride[0],
			   (int64_t)k * win->dil[0], win->lo[0], win->out[0]);
		sum = sum && y ? build_binary(&own, MICA_BIN_ADD, sum, y) : y ? y : sum;
	}
	sum = sum ? sum : expr_fill(b, 4, (int64_t[]){ n, o, win->out[0], win->out[1] * win->out[2] }, 0);
	y = build_reshape(b, sum, 5, (int64_t[]){ n, o, win->out[0], win->out[1], win->out[2] });
	return bias ? build_binary(&own, MICA_BIN_ADD, y,
				   build_reshape(b, bias, 4, (int64_t[]){ o, 1, 1, 1 }))
		    : y;
}
