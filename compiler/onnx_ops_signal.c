// SPDX-License-Identifier: MIT
/* ONNX operators for signals: window functions and mel weights (constants), Fourier transforms (products with constants). */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "expr.h"
#include "fold.h"

#define PI	   3.14159265358979323846
#define MAX_LENGTH 16384 /* of a transform */

#define MOST_NUMBER 1e15 /* fits int64_t, and double holds it exactly */

/* The one number of constant operand i. 0 or -code. */
static int number(struct ir_graph *g, struct ir_op *op, unsigned i, double *v)
{
	const struct ir_value *x = ir_op_in(op, i);

	if (!x->data || ir_elements(x) != 1 || (x->dtype != MICA_F32 && x->dtype != IR_I64))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "operand %u ('%.100s') is not a constant number; fold the model "
				 "before compiling",
				 i, x->name);
	*v = x->dtype == MICA_F32 ? (double)*(float *)x->data : (double)*(int64_t *)x->data;
	if (!(fabs(*v) <= MOST_NUMBER))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "operand %u ('%.100s') is %g; check the model", i, x->name, *v);
	return 0;
}

/* ---- windows ---- */

static int infer_window(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	int dtype = onnx_dtype((int)onnx_int(op, "output_datatype", ONNX_F32));
	double size;
	int64_t n;
	(void)d;

	if (number(g, op, 0, &size))
		return -(int)g->err->code;
	if (!(size >= 1 && size <= 1e8) || dtype != MICA_F32)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "size %g is not within 1..10^8, or the type is not float", size);
	n = (int64_t)size;
	return onnx_out(g, op, 0, dtype, 1, &n);
}

enum { HANN, HAMMING, BLACKMAN };

static int fold_window(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	static const double a[3][3] = { { 0.5, 0.5, 0 },
					{ 25.0 / 46, 21.0 / 46, 0 },
					{ 0.42, 0.5, 0.08 } };
	int64_t n = op->out[0]->dim[0];
	double period = (double)(onnx_int(op, "periodic", 1) ? n : n - 1);
	float *out = fold_out(g, op, 0);

	for (int64_t i = 0; out && i < n; i++) {
		double t = period > 0 ? 2 * PI * (double)i / period : 0;

		out[i] = (float)(a[d->code][0] - a[d->code][1] * cos(t) +
				 a[d->code][2] * cos(2 * t));
	}
	return out ? 0 : 1;
}

/* ---- MelWeightMatrix: triangles between neighbouring frequencies of the mel scale ---- */

struct mel {
	double bins, length, rate, low, high;
};

static int mel_read(struct ir_graph *g, struct ir_op *op, struct mel *m)
{
	if (number(g, op, 0, &m->bins) || number(g, op, 1, &m->length) ||
	    number(g, op, 2, &m->rate) || number(g, op, 3, &m->low) || number(g, op, 4, &m->high))
		return -(int)g->err->code;
	if (!(m->bins >= 1 && m->bins <= 65536 && m->length >= 1 && m->length <= 1e6 &&
	      m->rate > 0 && m->low >= 0 && m->high > m->low && m->high <= m->rate))
		return onnx_fail(g, op, MICA_ERR_SHAPE, "parameters are not valid; check the model");
	return 0;
}

static int infer_mel(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	int64_t dim[2];
	struct mel m;
	(void)d;

	if (mel_read(g, op, &m))
		return -(int)g->err->code;
	dim[0] = (int64_t)m.length / 2 + 1;
	dim[1] = (int64_t)m.bins;
	return onnx_out(g, op, 0, MICA_F32, 2, dim);
}

static int64_t mel_bin(const struct mel *m, double i)
{
	double low = 2595 * log10(1 + m->low / 700), high = 2595 * log10(1 + m->high / 700);
	double hertz = 700 * (pow(10, (low + i * (high - low) / (m->bins + 2)) / 2595) - 1);

	return (int64_t)floor((m->length + 1) * hertz / m->rate);
}

static int fold_mel(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	int64_t rows = op->out[0]->dim[0], cols = op->out[0]->dim[1];
	float *out = fold_out(g, op, 0);
	struct mel m;
	(void)d;

	if (!out || mel_read(g, op, &m))
		return out ? -(int)g->err->code : 1;
	for (int64_t i = 0; i < cols; i++) {
		int64_t lo = mel_bin(&m, (double)i), mid = mel_bin(&m, (double)i + 1),
			hi = mel_bin(&m, (double)i + 2);

		for (int64_t j = lo; j < mid && j < rows; j++)
			out[j * cols + i] = (float)((double)(j - lo) / (double)(mid - lo));
		if (mid < rows)
			out[mid * cols + i] = 1;
		for (int64_t j = mid; j < hi && j < rows; j++)
			out[j * cols + i] = (float)((double)(hi - j) / (double)(hi - mid));
	}
	return 0;
}

/* ---- Fourier transforms ---- */

/*
 * [length * parts, bins * 2]: element (t, p) of the signal goes to (k, q) of the spectrum; part 0 is real, 1 imaginary.
 * Each row is multiplied by window[t] if there is one.
 */
static struct ir_value *fourier(struct build *b, int64_t length, int64_t parts, int64_t bins,
				bool inverse, const float *window)
{
	int64_t dim[2] = { length * parts, bins * 2 };
	struct ir_value *m = build_const(b, 2, dim, NULL);
	float *w = m->data;

	for (int64_t t = 0; t < length; t++) {
		for (int64_t k = 0; k < bins; k++) {
			double a = 2 * PI * (double)(t * k % length) / (double)length;
			double f = (window ? (double)window[t] : 1) /
				   (inverse ? (double)length : 1);
			double re = cos(a) * f, im = sin(inverse ? a : -a) * f;
			float *at = w + t * parts * bins * 2 + k * 2;

			at[0] = (float)re;
			at[1] = (float)im;
			if (parts == 2) {
				at[bins * 2] = (float)-im;
				at[bins * 2 + 1] = (float)re;
			}
		}
	}
	return m;
}

static int dft_axis(struct ir_graph *g, struct ir_op *op)
{
	const struct ir_value *x = op->in[0];
	double axis = (double)onnx_int(op, "axis", 1);

	if (ir_op_in(op, 2) && number(g, op, 2, &axis))
		return -(int)g->err->code;
	if (onnx_opset(g) >= 20 && !ir_op_in(op, 2))
		axis = -2;
	if (!(fabs(axis) < IR_MAX_RANK + 1))
		return onnx_fail(g, op, MICA_ERR_SHAPE, "axis %g is out of range; check the model", axis);
	return x->rank < 2 ? onnx_axis(g, op, 0, 0)
			   : onnx_axis(g, op, (int64_t)axis, x->rank);
}

static int dft_length(struct ir_graph *g, struct ir_op *op, int64_t def, int64_t *n)
{
	double v = (double)def;

	if (ir_op_in(op, 1) && number(g, op, 1, &v))
		return -(int)g->err->code;
	if (!(v >= 1 && v <= MAX_LENGTH))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "a transform of %g elements is not supported, the limit is %d", v,
				 MAX_LENGTH);
	*n = (int64_t)v;
	return 0;
}

static int infer_dft(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int axis = dft_axis(g, op);
	int64_t dim[IR_MAX_RANK], n;
	(void)d;

	if (axis < 0 || dft_length(g, op, x->dim[axis], &n))
		return -(int)g->err->code;
	if (axis == (int)x->rank - 1 || x->dim[x->rank - 1] > 2 ||
	    (onnx_int(op, "inverse", 0) && onnx_int(op, "onesided", 0)))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "the last axis must hold 1 or 2 parts, the transformed one must "
				 "be another, and inverse must not be onesided");
	memcpy(dim, x->dim, sizeof(dim));
	dim[axis] = onnx_int(op, "onesided", 0) ? n / 2 + 1 : n;
	dim[x->rank - 1] = 2;
	return onnx_out(g, op, 0, MICA_F32, x->rank, dim);
}

static int canon_dft(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *x = expr_in(g, op, 0), *m;
	unsigned axis = (unsigned)dft_axis(g, op), r = x->rank;
	int64_t n, have = x->dim[axis], parts = x->dim[r - 1], bins = op->out[0]->dim[axis],
		   front[IR_MAX_RANK] = { 0 }, behind[IR_MAX_RANK] = { 0 }, dim[IR_MAX_RANK];
	(void)d;

	if (dft_length(g, op, have, &n) || onnx_room(g, op, n * parts, bins * 2))
		return -(int)g->err->code;
	if (n < have)
		x = build_slice1(b, x, axis, 0, n);
	behind[axis] = n > have ? n - have : 0;
	x = build_pad(b, x, front, behind, 0);
	x = expr_last(b, expr_last(b, x, axis), r - 2); /* [.., axis, parts] */
	memcpy(dim, x->dim, sizeof(dim));
	m = fourier(b, n, parts, bins, onnx_int(op, "inverse", 0), NULL);
	x = build_reshape(b, x, 2, (int64_t[]){ ir_elements(x) / (n * parts), n * parts });
	x = expr_product(b, x, m, false);
	dim[r - 2] = bins;
	dim[r - 1] = 2;
	x = build_reshape(b, x, r, dim);
	x = expr_unlast(b, expr_unlast(b, x, r - 2), axis);
	expr_becomes(b, op, 0, x);
	return 0;
}

struct frames {
	int64_t step, length, count, bins, parts;
	const float *window;
};

static int stft_read(struct ir_graph *g, struct ir_op *op, struct frames *f)
{
	const struct ir_value *x = op->in[0], *w = ir_op_in(op, 2);
	double step, length = w ? (double)ir_elements(w) : 0;

	if (number(g, op, 1, &step) || (ir_op_in(op, 3) && number(g, op, 3, &length)))
		return -(int)g->err->code;
	f->parts = x->rank == 3 ? x->dim[2] : 1;
	if ((x->rank != 3 && x->rank != 2) || f->parts > 2 || !(step >= 1 && step <= 1024) ||
	    !(length >= 1 && length <= MAX_LENGTH) || (int64_t)length > x->dim[1] ||
	    (w && (!w->data || w->dtype != MICA_F32 || ir_elements(w) != (int64_t)length)))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "needs a signal [batch, length, 1 or 2], a step within 1..1024, and "
				 "a constant window and length within the signal's");
	f->step = (int64_t)step;
	f->length = (int64_t)length;
	f->count = (x->dim[1] - f->length) / f->step + 1;
	f->bins = onnx_int(op, "onesided", 1) ? f->length / 2 + 1 : f->length;
	f->window = w ? w->data : NULL;
	return 0;
}

static int infer_stft(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct frames f;
	(void)d;

	if (stft_read(g, op, &f))
		return -(int)g->err->code;
	return onnx_out(g, op, 0, MICA_F32, 4,
			(int64_t[]){ op->in[0]->dim[0], f.count, f.bins, 2 });
}

/* Frames overlap: their transform is a convolution of the signal with a channel for every part of every bin. */
static int canon_stft(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = expr_at(g, op), *b = &own;
	struct ir_value *x = expr_in(g, op, 0), *in[3] = { NULL };
	int64_t n = x->dim[0], dim[4];
	struct frames f;
	struct ir_op *conv;
	(void)d;

	if (stft_read(g, op, &f) || onnx_room(g, op, f.length * f.parts, f.bins * 2))
		return -(int)g->err->code;
	x = build_reshape(b, x, 3, (int64_t[]){ n, x->dim[1], f.parts });
	x = expr_swap(b, x, 1, 2);
	in[0] = build_reshape(b, x, 4, (int64_t[]){ n, f.parts, 1, x->dim[2] });
	in[1] = fourier(b, f.length, f.parts, f.bins, false, f.window);
	in[1] = build_reshape(b, in[1], 3, (int64_t[]){ f.length, f.parts, f.bins * 2 });
	in[1] = build_transpose(b, in[1], (int[]){ 2, 1, 0 });
	in[1] = build_reshape(b, in[1], 4, (int64_t[]){ f.bins * 2, f.parts, 1, f.length });
	memcpy(dim, (int64_t[]){ n, f.bins * 2, 1, f.count }, sizeof(dim));
	conv = build_op(b, IR_CONV, in, 3, 4, dim);
	conv->a.kh = conv->a.stride_h = conv->a.dil_h = conv->a.dil_w = conv->a.groups = 1;
	conv->a.kw = (int)f.length;
	conv->a.stride_w = (int)f.step;
	x = build_reshape(b, conv->out[0], 3, (int64_t[]){ n, f.bins * 2, f.count });
	expr_becomes(b, op, 0, expr_swap(b, x, 1, 2));
	return 0;
}

const struct onnx_def onnx_signal_ops[] = {
	{ "HannWindow", HANN, 1, 1, infer_window, fold_window, NULL },
	{ "HammingWindow", HAMMING, 1, 1, infer_window, fold_window, NULL },
	{ "BlackmanWindow", BLACKMAN, 1, 1, infer_window, fold_window, NULL },
	{ "MelWeightMatrix", 0, 5, 5, infer_mel, fold_mel, NULL },
	{ "DFT", 0, 1, 3, infer_dft, NULL, canon_dft },
	{ "STFT", 0, 2, 4, infer_stft, NULL, canon_stft },
	{ 0 },
};
