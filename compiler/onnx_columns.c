// SPDX-License-Identifier: MIT
/*
 * Windows as columns of a matrix: convolutions whose weights are computed at run time become products, transposed ones and
 * Col2Im put columns back where they came from.
 */
#include <stdlib.h>
#include <string.h>
#include "expr.h"
#include "onnx_window.h"

#define MOST_TAPS 4096

static int64_t taps_of(const struct window *w)
{
	return (int64_t)w->k[0] * w->k[1] * w->k[2];
}

/* [n,c,..] with the missing spatial axes in front, of extent 1. */
static struct ir_value *lift5(struct build *b, struct ir_value *x)
{
	int64_t dim[5] = { x->dim[0], x->dim[1], 1, 1, 1 };
	unsigned s = x->rank - 2;

	memcpy(dim + 5 - s, x->dim + 2, s * sizeof(*dim));
	return build_reshape(b, x, 5, dim);
}

/* What every window sees of x: [n, c, taps, windows]. */
static struct ir_value *columns(struct build *b, struct ir_value *x, const struct window *w)
{
	int64_t front[5] = { 0, 0, w->lo[0], w->lo[1], w->lo[2] }, behind[5] = { 0, 0, w->hi[0], w->hi[1], w->hi[2] },
		n = x->dim[0], c = x->dim[1], taps = taps_of(w), dim[5] = { n, c, w->out[0], w->out[1], w->out[2] },
		step[5] = { 1, 1, w->stride[0], w->stride[1], w->stride[2] };
	struct ir_value **part = ir_alloc((size_t)taps, sizeof(*part)), *y;

	x = build_pad(b, lift5(b, x), front, behind, 0);
	for (int64_t t = 0; t < taps; t++) {
		int64_t start[5] = { 0, 0, t / (w->k[1] * w->k[2]) * w->dil[0], t / w->k[2] % w->k[1] * w->dil[1], t % w->k[2] * w->dil[2] };

		part[t] = build_reshape(b, build_slice(b, x, start, step, dim), 4, (int64_t[]){ n, c, 1, dim[2] * dim[3] * dim[4] });
	}
	y = build_concat(b, part, (unsigned)taps, 2);
	free(part);
	return y;
}

static int too_many(struct build *b, struct ir_op *op, const struct window *w)
{
	return taps_of(w) <= MOST_TAPS ? 0
				       : onnx_fail(b->g, op, MICA_ERR_UNSUPPORTED,
						   "weights that are computed at run time can have kernels of at most %d elements, not %lld; make them constants",
						   MOST_TAPS, (long long)taps_of(w));
}

static struct ir_value *plus_bias(struct build *b, struct ir_value *y, struct ir_value *bias)
{
	int64_t dim[IR_MAX_RANK] = { 1, y->dim[1], 1, 1, 1 };

	if (!bias)
		return y;
	bias = bias->data ? const_f32(b->g, bias) : bias;
	return build_binary(b, MICA_BIN_ADD, y, build_reshape(b, bias, y->rank, dim));
}

/* Weights [oc, c/groups, k..] as [1, groups, oc/groups, c/groups * taps], times the columns. */
struct ir_value *build_conv_computed(struct build *b, struct ir_op *op, struct ir_value *x, struct ir_value *w, struct ir_value *bias)
{
	int64_t groups = onnx_int(op, "group", 1), n = x->dim[0], oc = w->dim[0], per = x->dim[1] / groups, dim[5];
	struct ir_value *y;
	struct window win;

	if (window_read(b->g, op, x, w->dim + 2, &win) || too_many(b, op, &win))
		return NULL;
	y = columns(b, x, &win);
	y = build_reshape(b, y, 4, (int64_t[]){ n, groups, per * y->dim[2], y->dim[3] });
	w = build_reshape(b, w, 4, (int64_t[]){ 1, groups, oc / groups, y->dim[2] });
	y = expr_product(b, w, y, false);
	memcpy(dim, (int64_t[]){ n, oc, win.out[0], win.out[1], win.out[2] }, sizeof(dim));
	memmove(dim + 2, dim + 5 - win.spatial, win.spatial * sizeof(*dim));
	return plus_bias(b, build_reshape(b, y, win.spatial + 2, dim), bias);
}

/* A transposed convolution whose weights put every column entry in its place. win->in: how many windows, win->out: the image. */
struct ir_value *build_fold(struct build *b, struct ir_value *x, int64_t channels, const struct window *win)
{
	int64_t taps = taps_of(win), n = x->dim[0], c = channels * taps, deep = win->spatial == 3,
		wdim[5] = { c, 1, win->k[0], win->k[1], win->k[2] };
	struct ir_value *in[3] = { NULL }, *w = build_const(b, 5, wdim, NULL);
	struct ir_op *conv;

	for (int64_t i = 0; i < c; i++)
		((float *)w->data)[i * taps + i % taps] = 1;
	if (deep) {
		x = build_reshape(b, x, 5, (int64_t[]){ n, c, win->in[0], win->in[1], win->in[2] });
		return window3_convt(b, x, w, NULL, win, (int)channels);
	}
	in[0] = build_reshape(b, x, 4, (int64_t[]){ n, c, win->in[1], win->in[2] });
	in[1] = build_reshape(b, w, 4, (int64_t[]){ c, 1, win->k[1], win->k[2] });
	conv = build_op(b, IR_CONVT, in, 3, 4, (int64_t[]){ n, channels, win->out[1], win->out[2] });
	window_to_attr(win, &conv->a);
	conv->a.groups = (int)channels;
	return conv->out[0];
}

/* Weights [c, oc/groups, k..] as [1, groups, oc/groups * taps, c/groups]: every position of x times them is a column. */
struct ir_value *build_convt_computed(struct build *b, struct ir_op *op, struct ir_value *x, struct ir_value *w, struct ir_value *bias)
{
	int64_t groups = onnx_int(op, "group", 1), n = x->dim[0], oc = w->dim[1] * groups, c = x->dim[1], taps, places;
	struct ir_value *y;
	struct window win;

	if (window_read_transposed(b->g, op, x, w->dim + 2, &win) || too_many(b, op, &win))
		return NULL;
	taps = taps_of(&win);
	places = win.in[0] * win.in[1] * win.in[2];
	if (onnx_room(b->g, op, oc * taps, taps))
		return NULL;
	w = build_reshape(b, w, 4, (int64_t[]){ 1, groups, c / groups, oc / groups * taps });
	y = build_reshape(b, x, 4, (int64_t[]){ n, groups, c / groups, places });
	y = expr_product(b, expr_swap(b, w, 2, 3), y, false);
	y = build_fold(b, build_reshape(b, y, 3, (int64_t[]){ n, oc * taps, places }), oc, &win);
	return plus_bias(b, y, bias);
}

/* ---- Col2Im ---- */

static int col2im_window(struct ir_graph *g, struct ir_op *op, struct window *w)
{
	const struct ir_value *x = op->in[0];
	int64_t *image = NULL, *block = NULL, columns = 1;
	int pads[6], *const k = w->k;
	size_t n[2] = { 0 };
	unsigned s;
	int r = onnx_const_list(g, op, "image_shape", op->in[1], &image, &n[0]);

	memset(w, 0, sizeof(*w));
	for (unsigned i = 0; i < 3; i++)
		w->in[i] = w->out[i] = k[i] = w->stride[i] = w->dil[i] = 1;
	if (!r)
		r = onnx_const_list(g, op, "block_shape", op->in[2], &block, &n[1]);
	if (!r && (n[0] < 1 || n[0] > 3 || n[1] != n[0] || x->rank != 3))
		r = onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "only images of 1 to 3 dimensions and columns [N,C,L] are supported");
	w->spatial = s = r ? 1 : (unsigned)n[0];
	if (!r && (onnx_int_list(g, op, "strides", w->stride + 3 - s, s, 1, 1, 1024) || onnx_int_list(g, op, "pads", pads, 2 * s, 0, 0, 32767) ||
		   onnx_int_list(g, op, "dilations", w->dil + 3 - s, s, 1, 1, 1024)))
		r = -(int)g->err->code;
	for (unsigned i = 3 - s, a = 0; !r && i < 3; i++, a++) {
		if (image[a] < 1 || image[a] > 65535 || block[a] < 1 || block[a] > 1024) {
			r = onnx_fail(g, op, MICA_ERR_SHAPE, "image or block shape is not valid; check the model");
			break;
		}
		w->out[i] = image[a];
		k[i] = (int)block[a];
		w->lo[i] = pads[a];
		w->hi[i] = pads[s + a];
		w->in[i] = image[a] + pads[a] + pads[s + a] - ((int64_t)(k[i] - 1) * w->dil[i] + 1);
		w->in[i] = w->in[i] < 0 ? 0 : w->in[i] / w->stride[i] + 1;
		columns *= w->in[i];
	}
	free(image);
	free(block);
	if (!r && (columns != x->dim[2] || columns < 1 || x->dim[1] % taps_of(w) || taps_of(w) > MOST_TAPS))
		r = onnx_fail(g, op, MICA_ERR_SHAPE, "%lld columns of %lld entries do not fit the image; check the model", (long long)x->dim[2],
			      (long long)x->dim[1]);
	return r;
}

static int infer_col2im(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	struct window w;
	(void)d;

	if (col2im_window(g, op, &w))
		return -(int)g->err->code;
	return window_out(g, op, &w, MICA_F32, x->dim[0], x->dim[1] / taps_of(&w));
}

static int canon_col2im(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *x = expr_in(g, op, 0);
	struct window w;
	(void)d;

	if (col2im_window(g, op, &w) || onnx_room(g, op, x->dim[1], taps_of(&w)))
		return -(int)g->err->code;
	expr_becomes(b, op, 0, build_fold(b, x, x->dim[1] / taps_of(&w), &w));
	return 0;
}

/* ---- DeformConv: the host looks up what each window sees, the rest is a 1x1 convolution of these columns ---- */

static int deform_window(struct ir_graph *g, struct ir_op *op, struct window *w)
{
	const struct ir_value *x = op->in[0], *k = op->in[1], *off = op->in[2], *bias = ir_op_in(op, 3), *mask = ir_op_in(op, 4);
	int64_t groups = onnx_int(op, "group", 1), sets = onnx_int(op, "offset_group", 1), taps;
	bool ok;

	if (x->rank != 4 || k->rank != 4 || off->rank != 4 || (mask && mask->rank != 4) || groups < 1 || sets < 1 || groups > 65535 || sets > 65535)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "only [N,C,H,W] with at least one group is supported");
	if (x->dim[1] % sets || x->dim[1] % groups || k->dim[0] % groups || k->dim[1] != x->dim[1] / groups ||
	    (bias && ir_elements(bias) != k->dim[0]))
		return onnx_fail(g, op, MICA_ERR_SHAPE, "weights, bias or groups do not fit %lld channels; check the model", (long long)x->dim[1]);
	if (window_read(g, op, x, k->dim + 2, w))
		return -(int)g->err->code;
	taps = taps_of(w);
	ok = off->dim[0] == x->dim[0] && off->dim[1] == 2 * sets * taps && off->dim[2] == w->out[1] && off->dim[3] == w->out[2];
	if (mask)
		ok = ok && mask->dim[0] == x->dim[0] && mask->dim[1] == sets * taps && mask->dim[2] == w->out[1] && mask->dim[3] == w->out[2];
	return ok ? 0 : onnx_fail(g, op, MICA_ERR_SHAPE, "offset or mask does not have an entry for each tap of each window; check the model");
}

static int infer_deform(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct window w;
	(void)d;

	if (deform_window(g, op, &w))
		return -(int)g->err->code;
	return window_out(g, op, &w, MICA_F32, op->in[0]->dim[0], op->in[1]->dim[0]);
}

static int canon_deform(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = build_at(g, op), *b = &own;
	struct ir_value *x[3], *w = op->in[1], *in[3], *y;
	int64_t taps, c = op->in[0]->dim[1], groups = onnx_int(op, "group", 1), oc = w->dim[0];
	struct window win;
	struct ir_op *h;
	(void)d;

	if (deform_window(g, op, &win))
		return -(int)g->err->code;
	taps = taps_of(&win);
	for (unsigned i = 0; i < 3; i++)
		x[i] = expr_in(g, op, i ? 2 * i : 0);
	h = build_host(b, MICA_HOST_DEFORM, x, x[2] ? 3 : 2, 4, (int64_t[]){ x[0]->dim[0], c * taps, win.out[1], win.out[2] });
	for (unsigned i = 0; i < 2; i++) {
		h->a.host_int[i] = win.k[1 + i];
		h->a.host_int[2 + i] = win.stride[1 + i];
		h->a.host_int[4 + i] = win.dil[1 + i];
		h->a.host_int[6 + i] = win.lo[1 + i];
	}
	h->a.host_int[8] = onnx_int(op, "offset_group", 1);
	in[0] = h->out[0];
	if (w->data) {
		struct ir_op *conv;

		in[1] = build_reshape(b, const_f32(g, w), 4, (int64_t[]){ oc, c / groups * taps, 1, 1 });
		in[2] = NULL;
		conv = build_op(b, IR_CONV, in, 3, 4, op->out[0]->dim);
		conv->a = (struct ir_attr){ .kh = 1, .kw = 1, .stride_h = 1, .stride_w = 1, .dil_h = 1, .dil_w = 1, .groups = (int)groups };
		y = conv->out[0];
	} else {
		y = build_reshape(b, in[0], 4, (int64_t[]){ x[0]->dim[0], groups, c / groups * taps, win.out[1] * win.out[2] });
		y = expr_product(b, build_reshape(b, w, 4, (int64_t[]){ 1, groups, oc / groups, c / groups * taps }), y, false);
		y = build_reshape(b, y, 4, op->out[0]->dim);
	}
	expr_becomes(b, op, 0, plus_bias(b, y, ir_op_in(op, 3)));
	return 0;
}

const struct onnx_def onnx_column_ops[] = {
	{ "Col2Im", 0, 3, 3, infer_col2im, NULL, canon_col2im },
	{ "DeformConv", 0, 3, 5, infer_deform, NULL, canon_deform },
	{ 0 },
};
