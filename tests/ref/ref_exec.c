/* SPDX-License-Identifier: MIT */
/* Packets of the reference, a loop nest each. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "ref.h"

/* ---- elements ---- */

static const unsigned sizes[] = { 0, 4, 2, 1, 1, 1, 1, 4 };

/* The code's value without its scale. */
static float code_at(const uint8_t *p, int dtype, int zero)
{
	uint16_t h;
	uint32_t w;

	switch (dtype) {
	case MICA_I8: return (float)((int)(int8_t)*p - zero);
	case MICA_U8: return (float)((int)*p - (zero + 128));
	case MICA_I32: memcpy(&w, p, 4); return (float)(int32_t)w;
	case MICA_BF16: memcpy(&h, p, 2); return (float)ref_code_value(MICA_BF16, h);
	case MICA_F32: memcpy(&w, p, 4); return (float)ref_code_value(MICA_F32, w);
	default: return (float)ref_code_value(dtype, *p);
	}
}

static void store(uint8_t *p, const struct mica_view *d, float v)
{
	float y = v * d->scale;
	double r = rint((double)y);
	uint16_t h;
	int32_t i;

	switch (d->dtype) {
	case MICA_F32:
		if (isnan(y))
			memcpy(p, &(uint32_t){ 0x7fc00000 }, 4);
		else
			memcpy(p, &y, 4);
		break;
	case MICA_BF16:
		h = ref_round_code(MICA_BF16, y);
		memcpy(p, &h, 2);
		break;
	case MICA_I8:
		r += d->zero;
		*p = (uint8_t)(int8_t)(isnan(y) || r < -128 ? -128 : r > 127 ? 127 : (int)r);
		break;
	case MICA_U8:
		r += d->zero + 128;
		*p = isnan(y) || r < 0 ? 0 : r > 255 ? 255 : (int)r;
		break;
	case MICA_I32:
		i = isnan(y) || r < -2147483648.0 ? INT32_MIN : r > 2147483647.0 ? INT32_MAX : (int32_t)r;
		memcpy(p, &i, 4);
		break;
	default:
		*p = ref_round_code(d->dtype, y);
	}
}

static uint8_t *at(const struct ref_mem *m, const struct mica_view *v, uint32_t i, uint32_t j, uint32_t k, uint32_t l)
{
	return m->lmem + v->addr + (size_t)i * v->stride[0] + (size_t)j * v->stride[1] + (size_t)k * v->stride[2] +
	       (size_t)l * v->stride[3];
}

static float value(const uint8_t *p, const struct mica_view *v)
{
	return code_at(p, v->dtype, v->zero) * v->scale;
}

static const uint8_t *dram(const struct ref_mem *m, uint64_t a)
{
	return m->seg[MICA_ADDR_SEG(a)] + MICA_ADDR_OFF(a);
}

static float act(int code, float x, float alpha, float beta)
{
	static const uint8_t fn[] = { MICA_FN_COPY, MICA_FN_RELU, MICA_FN_LEAKY, MICA_FN_CLIP, MICA_FN_HSWISH, MICA_FN_HSIGMOID,
				      MICA_FN_SIGMOID, MICA_FN_TANH, MICA_FN_SILU, MICA_FN_GELU };
	return ref_function(fn[code], x, alpha, beta);
}

/* ---- multiply-accumulate ---- */

static float fz(float x) { return fpclassify(x) == FP_SUBNORMAL ? copysignf(0, x) : x; }
/* fz(fma()): tiny is decided after rounding with an unbounded exponent, so just below 2^-126 the exact sum is looked at. */
static float fz_fma(float a, float w, float acc)
{
	float r = fmaf(a, w, acc);

	if (fabsf(r) == 0x1p-126f && fabs((double)a * w + acc) < 0x1p-126 * (1 - 0x1p-25))
		return copysignf(0, r);
	return fz(r);
}
static float mac_operand(float x, int dtype) { return dtype == MICA_BF16 ? fz(x) : x; }

static float mac_float(const float *a, const float *w, size_t k, float acc)
{
	acc = fz(acc);
	for (size_t i = 0; i < k; i += 2) {
		acc = fz_fma(i + 1 < k ? a[i + 1] : 0.0f, i + 1 < k ? w[i + 1] : 0.0f, acc);
		acc = fz_fma(a[i], w[i], acc);
	}
	return acc;
}

static float mac_f32(const float *a, const float *w, size_t k, float acc)
{
	for (size_t i = 0; i < k; i++)
		acc = fmaf(a[i], w[i], acc);
	return acc;
}

static uint32_t mac_int(const float *a, const float *w, size_t k, uint32_t acc)
{
	for (size_t i = 0; i < k; i++)
		acc += (uint32_t)((int32_t)a[i] * (int32_t)w[i]);
	return acc;
}

static uint32_t word(const uint8_t *base, size_t i) { uint32_t w; memcpy(&w, base + 4 * i, 4); return w; }
static float fword(const uint8_t *base, size_t i) { float f; memcpy(&f, base + 4 * i, 4); return f; }

static size_t pad16(size_t n) { return (n + 15) / 16 * 16; }

/* Index of (channel, k) in the packed weights. */
static size_t packed(const struct mica_pkt_conv *c, size_t g, size_t ch, size_t k, size_t cout, size_t kk)
{
	size_t v = c->wdtype == MICA_F32 ? 1 : c->wdtype == MICA_I8 ? 4 : 2, steps = (kk + v - 1) / v;

	if (c->hdr.opcode == MICA_OP_DWCONV)
		return (ch / 16 * kk + k) * 16 + ch % 16;
	return g * (pad16(cout) * steps * v) + ((ch / 16 * steps + k / v) * 16 + ch % 16) * v + k % v;
}

static void conv_pixel(const struct mica_pkt_conv *c, const struct ref_mem *m, uint32_t n, uint32_t oh, uint32_t ow, uint32_t oc)
{
	bool dw = c->hdr.opcode == MICA_OP_DWCONV;
	size_t groups = dw ? 1 : c->groups, cout = c->out_c / groups, cin = dw ? 1 : c->in_c / groups;
	size_t g = oc / cout, ch = oc % cout, kk = (size_t)c->kh * c->kw * cin, total = groups * pad16(cout), idx = g * pad16(cout) + ch;
	float *a = malloc(kk * sizeof(*a)), *w = malloc(kk * sizeof(*w));
	const uint8_t *wp = dram(m, c->weights), *par = dram(m, c->params);
	unsigned ws = sizes[c->wdtype];
	size_t k = 0;

	for (uint32_t i = 0; i < c->kh; i++)
		for (uint32_t j = 0; j < c->kw; j++)
			for (size_t ci = 0; ci < cin; ci++, k++) {
				int64_t y = (int64_t)oh * c->stride_h + (int64_t)i * c->dil_h - c->pad_top;
				int64_t x = (int64_t)ow * c->stride_w + (int64_t)j * c->dil_w - c->pad_left;
				uint32_t sc = dw ? oc : g * cin + ci;

				if (y < 0 || x < 0 || y >= c->in_h || x >= c->in_w)
					a[k] = c->src.dtype == MICA_I8 ? c->src.zero : 0;
				else
					a[k] = mac_operand(code_at(at(m, &c->src, n, y, x, sc), c->src.dtype, 0), c->src.dtype);
				w[k] = mac_operand(code_at(wp + ws * packed(c, g, ch, k, cout, kk), c->wdtype, 0), c->wdtype);
			}

	uint8_t *accp = m->lmem + c->acc + 4 * ((((size_t)n * c->out_h + oh) * c->out_w + ow) * total + idx);
	bool from = c->acc_mode & MICA_ACC_IN;
	float f;
	uint32_t raw;

	if (c->src.dtype == MICA_I8) {
		raw = mac_int(a, w, kk, from ? word(accp, 0) : word(par, 2 * total + idx));
		f = (float)(int32_t)raw;
	} else {
		f = (c->src.dtype == MICA_F32 ? mac_f32 : mac_float)(a, w, kk, from ? fword(accp, 0) : 0.0f);
		memcpy(&raw, &f, 4);
		if (isnan(f))
			raw = 0x7fc00000;
	}
	free(a);
	free(w);
	if (c->acc_mode & MICA_ACC_OUT) {
		memcpy(accp, &raw, 4);
		return;
	}
	float t = fmaf(f, fword(par, idx), fword(par, total + idx));

	if (c->res.dtype)
		t = fmaf(code_at(at(m, &c->res, n, oh, ow, oc), c->res.dtype, c->res.zero), c->res.scale, t);
	t = act(c->act, t, c->alpha, c->beta);
	if (c->flags & MICA_CONV_SHIFT)
		t += fword(par, 2 * total + idx);
	store(at(m, &c->dst, n, oh, ow, oc), &c->dst, t);
}

static void conv(const struct mica_pkt_conv *c, const struct ref_mem *m)
{
	for (uint32_t n = 0; n < c->n; n++)
		for (uint32_t y = 0; y < c->out_h; y++)
			for (uint32_t x = 0; x < c->out_w; x++)
				for (uint32_t o = 0; o < c->out_c; o++)
					conv_pixel(c, m, n, y, x, o);
}

static void matmul(const struct mica_pkt_matmul *p, const struct ref_mem *m)
{
	bool par = MICA_ADDR_SEG(p->params) != MICA_SEG_NONE, i8 = p->a.dtype == MICA_I8;
	const uint8_t *pp = par ? dram(m, p->params) : NULL;
	float *a = malloc(p->k * sizeof(*a)), *w = malloc(p->k * sizeof(*w));

	for (uint32_t b = 0; b < p->batch; b++)
		for (uint32_t i = 0; i < p->m; i++)
			for (uint32_t j = 0; j < p->n; j++) {
				for (uint32_t k = 0; k < p->k; k++) {
					a[k] = mac_operand(code_at(at(m, &p->a, b, i, k, 0), p->a.dtype, p->a.zero), p->a.dtype);
					w[k] = mac_operand(code_at(at(m, &p->b, b, k, j, 0), p->b.dtype, p->b.zero), p->b.dtype);
				}
				float f, t;

				if (i8)
					f = (float)(int32_t)mac_int(a, w, p->k, par ? word(pp, 2 * pad16(p->n) + j) : 0);
				else
					f = (p->a.dtype == MICA_F32 ? mac_f32 : mac_float)(a, w, p->k, 0.0f);
				t = par ? fmaf(f, fword(pp, j), fword(pp, pad16(p->n) + j)) : f * (p->a.scale * p->b.scale);
				if (p->res.dtype)
					t = fmaf(code_at(at(m, &p->res, b, i, j, 0), p->res.dtype, p->res.zero), p->res.scale, t);
				store(at(m, &p->dst, b, i, j, 0), &p->dst, act(p->act, t, p->alpha, p->beta));
			}
	free(a);
	free(w);
}

/* ---- vector ---- */

static float binary_op(int op, float a, float b, float c)
{
	switch (op) {
	case MICA_BIN_ADD: return a + b;
	case MICA_BIN_SUB: return a - b;
	case MICA_BIN_MUL: return a * b;
	case MICA_BIN_DIV: return a / b;
	case MICA_BIN_MAX: return a > b ? a : b;
	case MICA_BIN_MIN: return a < b ? a : b;
	case MICA_BIN_EQ: return a == b;
	case MICA_BIN_LT: return a < b;
	case MICA_BIN_LE: return a <= b;
	case MICA_BIN_GT: return a > b;
	case MICA_BIN_GE: return a >= b;
	case MICA_BIN_AND: return a != 0 && b != 0;
	case MICA_BIN_OR: return a != 0 || b != 0;
	case MICA_BIN_XOR: return (a != 0) != (b != 0);
	case MICA_BIN_WHERE: return a != 0 ? b : c;
	case MICA_BIN_PRELU: return a < 0 ? a * b : a;
	case MICA_BIN_MOD: return a - floorf(a / b) * b;
	default: break;
	}
	/* pow */
	if (b == 0)
		return 1;
	if (b == 0.5f)
		return sqrtf(a);
	if (b == rintf(b) && fabsf(b) <= 16) {
		float r = 1;

		for (int i = 0; i < (int)fabsf(b); i++)
			r = r * a;
		return b < 0 ? 1.0f / r : r;
	}
	return ref_function(MICA_FN_EXP, b * ref_function(MICA_FN_LOG, a, 0, 0), 0, 0);
}

#define FOR4(d) \
	for (uint32_t i = 0; i < (d)[0]; i++) \
		for (uint32_t j = 0; j < (d)[1]; j++) \
			for (uint32_t k = 0; k < (d)[2]; k++) \
				for (uint32_t l = 0; l < (d)[3]; l++)

static void binary(const struct mica_pkt_binary *p, const struct ref_mem *m)
{
	FOR4(p->dim) {
		float a = value(at(m, &p->a, i, j, k, l), &p->a), b = value(at(m, &p->b, i, j, k, l), &p->b);
		float c = p->c.dtype ? value(at(m, &p->c, i, j, k, l), &p->c) : 0;

		store(at(m, &p->dst, i, j, k, l), &p->dst, act(p->act, binary_op(p->op, a, b, c), p->alpha, p->beta));
	}
}

static void pool(const struct mica_pkt_pool *p, const struct ref_mem *m)
{
	const uint32_t d[4] = { p->n, p->out_h, p->out_w, p->c };

	FOR4(d) {
		float acc = p->op == MICA_POOL_MAX ? -INFINITY : 0.0f;
		uint32_t count = 0;

		for (uint32_t y = 0; y < p->kh; y++)
			for (uint32_t x = 0; x < p->kw; x++) {
				int64_t r = (int64_t)j * p->stride_h + (int64_t)y * p->dil_h - p->pad_top;
				int64_t q = (int64_t)k * p->stride_w + (int64_t)x * p->dil_w - p->pad_left;

				if (r >= 0 && q >= 0 && r < p->in_h && q < p->in_w) {
					float v = value(at(m, &p->src, i, r, q, l), &p->src);

					acc = p->op == MICA_POOL_MAX ? (acc > v ? acc : v) : acc + v;
					count++;
				} else if (p->op == MICA_POOL_AVG_PAD && r >= -p->pad_top && q >= -p->pad_left &&
					   r < (int64_t)p->in_h + p->pad_bottom && q < (int64_t)p->in_w + p->pad_right) {
					count++;
				}
			}
		store(at(m, &p->dst, i, j, k, l), &p->dst, p->op == MICA_POOL_MAX ? acc : acc * (1.0f / (float)count));
	}
}

static void resize(const struct mica_pkt_resize *p, const struct ref_mem *m)
{
	const uint32_t d[4] = { p->n, p->out_h, p->out_w, p->c };

	FOR4(d) {
		struct mica_resize_tap h, w;

		memcpy(&h, dram(m, p->taps_h) + j * sizeof(h), sizeof(h));
		memcpy(&w, dram(m, p->taps_w) + k * sizeof(w), sizeof(w));
		float s00 = value(at(m, &p->src, i, h.i0, w.i0, l), &p->src), v = s00;

		if (p->mode == MICA_RESIZE_LINEAR) {
			float s01 = value(at(m, &p->src, i, h.i0, w.i1, l), &p->src);
			float s10 = value(at(m, &p->src, i, h.i1, w.i0, l), &p->src);
			float s11 = value(at(m, &p->src, i, h.i1, w.i1, l), &p->src);
			float a = fmaf(w.w, s01 - s00, s00), b = fmaf(w.w, s11 - s10, s10);

			v = fmaf(h.w, b - a, a);
		}
		store(at(m, &p->dst, i, j, k, l), &p->dst, v);
	}
}

static float red_start(int op) { return op == MICA_RED_PROD ? 1 : op == MICA_RED_MAX ? -INFINITY : op == MICA_RED_MIN ? INFINITY : 0; }

static float red_step(int op, float acc, float x)
{
	switch (op) {
	case MICA_RED_MAX: return acc > x ? acc : x;
	case MICA_RED_MIN: return acc < x ? acc : x;
	case MICA_RED_PROD: return acc * x;
	case MICA_RED_SUMSQ: return fmaf(x, x, acc);
	case MICA_RED_L1: return acc + fabsf(x);
	default: return acc + x;
	}
}

static float red_fold(int op, float l[16])
{
	for (int step = 8; step; step /= 2)
		for (int j = 0; j < step; j++)
			l[j] = op == MICA_RED_MAX || op == MICA_RED_MIN || op == MICA_RED_PROD ? red_step(op, l[j], l[j + step]) : l[j] + l[j + step];
	return l[0];
}

static void reduce(const struct mica_pkt_reduce *p, const struct ref_mem *m)
{
	uint32_t out[4], in[4], count = 1;

	for (int i = 0; i < 4; i++) {
		bool red = p->axes >> i & 1;

		out[i] = red ? 1 : p->dim[i];
		in[i] = red ? p->dim[i] : 1;
		count *= in[i];
	}
	FOR4(out) {
		float lane[16];

		for (int q = 0; q < 16; q++)
			lane[q] = red_start(p->op);
		for (uint32_t a = 0; a < in[0]; a++)
			for (uint32_t b = 0; b < in[1]; b++)
				for (uint32_t c = 0; c < in[2]; c++)
					for (uint32_t e = 0; e < in[3]; e++) {
						int q = p->axes & 8 ? e % 16 : 0;

						lane[q] = red_step(p->op, lane[q], value(at(m, &p->src, i + a, j + b, k + c, l + e), &p->src));
					}
		float v = p->axes & 8 ? red_fold(p->op, lane) : lane[0];

		store(at(m, &p->dst, i, j, k, l), &p->dst, p->op == MICA_RED_MEAN ? v * (1.0f / (float)count) : v);
	}
}

static float row_reduce(const float *x, uint32_t n, int op)
{
	float lane[16];

	for (int q = 0; q < 16; q++)
		lane[q] = red_start(op);
	for (uint32_t i = 0; i < n; i++)
		lane[i % 16] = red_step(op, lane[i % 16], x[i]);
	return red_fold(op, lane);
}

static void norm(const struct mica_pkt_norm *p, const struct ref_mem *m)
{
	uint32_t n = p->dim[3];
	float *x = malloc(n * sizeof(*x));

	for (uint32_t i = 0; i < p->dim[0]; i++)
		for (uint32_t j = 0; j < p->dim[1]; j++)
			for (uint32_t k = 0; k < p->dim[2]; k++) {
				for (uint32_t l = 0; l < n; l++)
					x[l] = value(at(m, &p->src, i, j, k, l), &p->src);
				if (p->hdr.opcode == MICA_OP_SOFTMAX) {
					float mx = row_reduce(x, n, MICA_RED_MAX);

					for (uint32_t l = 0; l < n; l++)
						x[l] = ref_function(MICA_FN_EXP, x[l] - mx, 0, 0);
					float s = row_reduce(x, n, MICA_RED_SUM);

					for (uint32_t l = 0; l < n; l++)
						x[l] = x[l] / s;
				} else {
					float inv = 1.0f / (float)n, mean = row_reduce(x, n, MICA_RED_SUM) * inv;

					for (uint32_t l = 0; l < n; l++)
						x[l] = x[l] - mean;
					float var = row_reduce(x, n, MICA_RED_SUMSQ) * inv, r = 1.0f / sqrtf(var + p->eps);
					bool g = MICA_ADDR_SEG(p->gamma) != MICA_SEG_NONE, b = MICA_ADDR_SEG(p->beta) != MICA_SEG_NONE;

					for (uint32_t l = 0; l < n; l++) {
						x[l] = x[l] * r;
						if (g || b)
							x[l] = fmaf(x[l], g ? fword(dram(m, p->gamma), l) : 1.0f,
								    b ? fword(dram(m, p->beta), l) : 0.0f);
					}
				}
				for (uint32_t l = 0; l < n; l++)
					store(at(m, &p->dst, i, j, k, l), &p->dst, x[l]);
			}
	free(x);
}

static uint8_t *copy_side(const struct ref_mem *m, uint64_t a)
{
	return (MICA_ADDR_SEG(a) == MICA_SEG_LMEM || MICA_ADDR_SEG(a) == MICA_SEG_PEER ? m->lmem : m->seg[MICA_ADDR_SEG(a)]) + MICA_ADDR_OFF(a);
}

static void copy(const struct mica_pkt_copy *p, const struct ref_mem *m)
{
	uint8_t *s = copy_side(m, p->src), *d = copy_side(m, p->dst);

	FOR4(p->dim)
		memcpy(d + (int64_t)i * p->dst_stride[0] + (int64_t)j * p->dst_stride[1] + (int64_t)k * p->dst_stride[2] + (int64_t)l * p->dst_stride[3],
		       s + (int64_t)i * p->src_stride[0] + (int64_t)j * p->src_stride[1] + (int64_t)k * p->src_stride[2] + (int64_t)l * p->src_stride[3],
		       p->elem);
}

void ref_exec(const union mica_pkt *p, const struct ref_mem *m)
{
	switch (p->hdr.opcode) {
	case MICA_OP_COPY:
		copy(&p->copy, m);
		break;
	case MICA_OP_FILL:
		FOR4(p->fill.dim)
			memcpy(at(m, &p->fill.dst, i, j, k, l), &p->fill.pattern, sizes[p->fill.dst.dtype]);
		break;
	case MICA_OP_CONV:
	case MICA_OP_DWCONV:
		conv(&p->conv, m);
		break;
	case MICA_OP_MATMUL:
		matmul(&p->matmul, m);
		break;
	case MICA_OP_BINARY:
		binary(&p->binary, m);
		break;
	case MICA_OP_UNARY:
		FOR4(p->unary.dim)
			store(at(m, &p->unary.dst, i, j, k, l), &p->unary.dst,
			      ref_function(p->unary.func, value(at(m, &p->unary.src, i, j, k, l), &p->unary.src), p->unary.alpha, p->unary.beta));
		break;
	case MICA_OP_LUT:
		FOR4(p->lut.dim) {
			unsigned size = sizes[p->lut.dst.dtype];

			memcpy(at(m, &p->lut.dst, i, j, k, l), dram(m, p->lut.table) + size * *at(m, &p->lut.src, i, j, k, l), size);
		}
		break;
	case MICA_OP_POOL:
		pool(&p->pool, m);
		break;
	case MICA_OP_RESIZE:
		resize(&p->resize, m);
		break;
	case MICA_OP_REDUCE:
		reduce(&p->reduce, m);
		break;
	case MICA_OP_SOFTMAX:
	case MICA_OP_NORM:
		norm(&p->norm, m);
		break;
	}
}
