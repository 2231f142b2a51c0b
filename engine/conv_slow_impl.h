/* SPDX-License-Identifier: MIT */
/*
 * CONV and MATMUL for shapes that the blocked kernels do not take: one output pixel and 16 channels at a time, operands
 * decoded as they come, nothing but small buffers. Also what the blocked kernels are tested against.
 */
#ifndef MICA_CONV_SLOW_IMPL_H
#define MICA_CONV_SLOW_IMPL_H

#include "epilogue_impl.h"
#include "mac_impl.h"

#define SLOW_CHUNK	512u	/* elements of K at a time; a multiple of 4 */

/* acc[16] over one chunk; a[k] and w[k][16] as f32 (whole numbers for i8), n of them, in pairs for the float class. */
static void slow_float(enum mac_class cls, bool flush, const float *a, const float *w, uint32_t n, float acc[16])
{
	uint32_t swap = cls == MAC_FLOAT;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = i ^ swap;

		for (uint32_t l = 0; l < 16; l += VL)
			vf_store(acc + l, mac(vf_set(a[k]), vf_load(w + k * 16 + l), vf_load(acc + l), flush));
	}
}

static void slow_int(const float *a, const float *w, uint32_t n, int32_t acc[16])
{
	for (uint32_t k = 0; k < n; k++)
		for (uint32_t l = 0; l < 16; l += VL) {
			vi product = vi_mul(vf_to_int(vf_set(a[k])), vf_to_int(vf_load(w + k * 16 + l)));

			vi_store(acc + l, vi_add(vi_load(acc + l), product));
		}
}

union slow_acc { float f[16]; int32_t i[16]; };

static void slow_chunk(enum mac_class cls, bool flush, const float *a, const float *w, uint32_t n, union slow_acc *acc)
{
	unsigned saved;

	if (cls == MAC_I8) {
		slow_int(a, w, n, acc->i);
		return;
	}
	saved = flush_enter(flush);
	slow_float(cls, flush, a, w, n, acc->f);
	flush_leave(saved);
}

/* ---- CONV -------------------------------------------------------------------------------------------------------------- */

struct slowconv {
	struct exec *x;
	const struct mica_pkt_conv *p;
	struct epilogue epi;
	const int32_t *init;
	const uint8_t *weights;
	uint32_t cin, cout, blocks;	/* of one group */
	uint32_t k_len, v, steps;
	uint64_t pixels, per_item;
};

/* a[] = elements k0..k0+n-1 of the products' activations of one output pixel; beyond K it is 0. */
static void slow_gather(const struct slowconv *o, uint64_t n, int64_t y0, int64_t x0, uint32_t g, uint32_t k0,
			uint32_t count, float *a)
{
	const struct mica_pkt_conv *p = o->p;
	const uint8_t *image = o->x->lmem + p->src.addr + n * p->src.stride[0];
	unsigned size = mica_dtype_size(p->src.dtype);
	uint32_t i = 0;

	while (i < count) {
		uint32_t k = k0 + i, tap = k / o->cin, c = k % o->cin;
		uint32_t run = o->cin - c < count - i ? o->cin - c : count - i;
		int64_t y = y0 + (int64_t)(tap / p->kw) * p->dil_h, x = x0 + (int64_t)(tap % p->kw) * p->dil_w;

		if (k >= o->k_len) {
			a[i++] = 0.0f;
			continue;
		}
		if (y >= 0 && y < p->in_h && x >= 0 && x < p->in_w)
			decode_mac(p->src.dtype, image + (uint64_t)y * p->src.stride[1] + (uint64_t)x * p->src.stride[2] +
				   ((uint64_t)g * o->cin + c) * size, run, a + i);
		else
			for (uint32_t j = 0; j < run; j++)
				a[i + j] = p->wdtype == MICA_I8 ? p->src.zero : 0.0f;
		i += run;
	}
}

/* w[k][16] from packed steps k0 / v .. of one block; beyond K it is 0, whatever the packed padding holds. */
static void slow_weights(const struct slowconv *o, uint32_t g, uint32_t block, uint32_t k0, uint32_t count, float *w)
{
	unsigned size = mica_dtype_size(o->p->wdtype);
	uint64_t from = (((uint64_t)g * o->blocks + block) * o->steps + k0 / o->v) * 16 * o->v;
	float lanes[16 * 4];

	for (uint32_t s = 0; s < count / o->v; s++) {
		decode_mac(o->p->wdtype, o->weights + (from + (uint64_t)s * 16 * o->v) * size, 16 * o->v, lanes);
		for (uint32_t l = 0; l < 16; l++)
			for (uint32_t j = 0; j < o->v; j++)
				w[(s * o->v + j) * 16 + l] = k0 + s * o->v + j < o->k_len ? lanes[l * o->v + j] : 0.0f;
	}
}

static void slow_block(const struct slowconv *o, uint64_t pixel, uint32_t g, uint32_t block, float *scratch)
{
	const struct mica_pkt_conv *p = o->p;
	uint64_t ow = pixel % p->out_w, oh = pixel / p->out_w % p->out_h, n = pixel / p->out_w / p->out_h;
	int64_t y0 = (int64_t)oh * p->stride_h - p->pad_top, x0 = (int64_t)ow * p->stride_w - p->pad_left;
	uint32_t lanes = o->cout - block * 16 < 16 ? o->cout - block * 16 : 16, padded = o->steps * o->v;
	uint64_t channel = (uint64_t)g * o->blocks * 16 + block * 16, c = (uint64_t)g * o->cout + block * 16;
	uint8_t *buffer = o->x->lmem + p->acc + (pixel * o->blocks * p->groups * 16 + channel) * 4;
	unsigned dsize = mica_dtype_size(p->dst.dtype), rsize = mica_dtype_size(p->res.dtype);
	enum mac_class cls = mac_class_of(p->wdtype);
	union slow_acc acc = { { 0 } };
	float *w = scratch + SLOW_CHUNK + 16;

	if (p->acc_mode & MICA_ACC_IN)
		memcpy(&acc, buffer, lanes * 4);
	else if (cls == MAC_I8)
		memcpy(&acc, o->init + channel, sizeof(acc));
	if (cls == MAC_FLOAT)
		flush_array(acc.f, 16);
	for (uint32_t k = 0; k < padded; k += SLOW_CHUNK) {
		uint32_t count = padded - k < SLOW_CHUNK ? padded - k : SLOW_CHUNK;

		slow_gather(o, n, y0, x0, g, k, count, scratch);
		slow_weights(o, g, block, k, count, w);
		slow_chunk(cls, mac_flushes(p->src.dtype, p->wdtype), scratch, w, count, &acc);
	}
	if (p->acc_mode & MICA_ACC_OUT) {
		epi_raw(o->epi.integer, &acc, lanes, buffer);
		return;
	}
	epi_run(&o->epi, &(struct epi_span){
		.acc = &acc, .channel = channel, .n = lanes, .pixels = 1, .dst_c = dsize, .res_c = rsize,
		.dst = o->x->lmem + p->dst.addr + n * p->dst.stride[0] + oh * p->dst.stride[1] + ow * p->dst.stride[2] + c * dsize,
		.res = o->x->lmem + p->res.addr + n * p->res.stride[0] + oh * p->res.stride[1] + ow * p->res.stride[2] + c * rsize,
	});
}

static void slowconv_item(void *ctx, uint32_t item, unsigned thread)
{
	const struct slowconv *o = ctx;
	float *scratch = pool_scratch(o->x->e->pool, thread);
	uint64_t last = (item + 1ull) * o->per_item;

	for (uint64_t pixel = item * o->per_item; pixel < last && pixel < o->pixels; pixel++)
		for (uint32_t g = 0; g < o->p->groups; g++)
			for (uint32_t b = 0; b < o->blocks; b++) {
				if (exec_stopped(o->x))
					return;
				slow_block(o, pixel, g, b, scratch);
			}
}

#define SLOW_SCRATCH ((SLOW_CHUNK + 16) * (1 + 16) * sizeof(float))

static int conv_slow(struct exec *x, const struct mica_pkt_conv *p, const uint8_t *weights, const uint8_t *params)
{
	struct slowconv o = { .x = x, .p = p, .weights = weights, .cin = p->in_c / p->groups,
			      .cout = p->out_c / p->groups, .pixels = (uint64_t)p->n * p->out_h * p->out_w };

	o.blocks = pad16(o.cout) / 16;
	o.k_len = (uint32_t)p->kh * p->kw * o.cin;
	o.v = p->wdtype == MICA_F32 ? 1 : p->wdtype == MICA_I8 ? 4 : 2;
	o.steps = (uint32_t)div_up(o.k_len, o.v);
	conv_epilogue(&o.epi, p, params, (size_t)p->groups * o.blocks * 16);
	o.init = (const int32_t *)params + 2 * (size_t)p->groups * o.blocks * 16;
	if (!pool_reserve(x->e->pool, SLOW_SCRATCH))
		return MICA_FAULT_BUS;
	o.per_item = 1;
	while (div_up(o.pixels, o.per_item) > 1u << 16)
		o.per_item *= 2;
	pool_run(x->e->pool, slowconv_item, &o, (uint32_t)div_up(o.pixels, o.per_item));
	return 0;
}

/* ---- MATMUL ------------------------------------------------------------------------------------------------------------ */

struct slowmatmul {
	struct exec *x;
	const struct mica_pkt_matmul *p;
	struct epilogue epi;
	const int32_t *init;		/* NULL: 0 */
	uint64_t rows, per_item;
};

static void matmul_epilogue(struct epilogue *e, const struct mica_pkt_matmul *p, const uint8_t *params)
{
	*e = (struct epilogue){
		.integer = p->a.dtype == MICA_I8, .dense = p->dst.stride[2] == mica_dtype_size(p->dst.dtype) &&
			(!p->res.dtype || p->res.stride[2] == mica_dtype_size(p->res.dtype)), .uniform = p->a.scale * p->b.scale,
		.scale = (const float *)params, .bias = params ? (const float *)params + pad16(p->n) : NULL,
		.dst = &p->dst, .res = p->res.dtype ? &p->res : NULL,
		.act = fn_of_act(p->act), .alpha = p->alpha, .beta = p->beta,
	};
	epi_prepare(e, pad16(p->n));
}

static void slow_operand(const struct mica_view *v, const uint8_t *at, uint32_t stride, uint32_t n, float *out)
{
	decode_row(v->dtype, at, stride, n, 1.0f, view_zero(v), out);
	if (v->dtype == MICA_BF16)
		for (uint32_t i = 0; i < n; i++) {
			float one[VL] = { out[i] };

			flush_array(one, 1);
			out[i] = one[0];
		}
}

static void slow_product(const struct slowmatmul *o, uint64_t row, uint32_t n0, float *scratch)
{
	const struct mica_pkt_matmul *p = o->p;
	uint64_t batch = row / p->m, m = row % p->m;
	const uint8_t *a = o->x->lmem + p->a.addr + batch * p->a.stride[0] + m * p->a.stride[1];
	const uint8_t *b = o->x->lmem + p->b.addr + batch * p->b.stride[0] + (uint64_t)n0 * p->b.stride[2];
	uint64_t dst = p->dst.addr + batch * p->dst.stride[0] + m * p->dst.stride[1] + (uint64_t)n0 * p->dst.stride[2];
	uint64_t res = p->res.addr + batch * p->res.stride[0] + m * p->res.stride[1] + (uint64_t)n0 * p->res.stride[2];
	uint32_t lanes = p->n - n0 < 16 ? p->n - n0 : 16;
	enum mac_class cls = mac_class_of(p->a.dtype);
	union slow_acc acc = { { 0 } };
	float *w = scratch + SLOW_CHUNK + 16;

	if (o->init)
		memcpy(&acc, o->init + n0, sizeof(acc));
	for (uint64_t k = 0; k < p->k; k += SLOW_CHUNK) {
		uint32_t count = p->k - k < SLOW_CHUNK ? (uint32_t)(p->k - k) : SLOW_CHUNK;
		uint32_t padded = cls == MAC_FLOAT ? (count + 1) & ~1u : count;

		if (exec_stopped(o->x))
			return;
		memset(scratch, 0, (SLOW_CHUNK + 16) * 17 * sizeof(float));
		slow_operand(&p->a, a + k * p->a.stride[2], p->a.stride[2], count, scratch);
		for (uint32_t i = 0; i < count; i++)
			slow_operand(&p->b, b + (k + i) * p->b.stride[1], p->b.stride[2], lanes, w + i * 16);
		slow_chunk(cls, mac_flushes(p->a.dtype, p->b.dtype), scratch, w, padded, &acc);
	}
	epi_run(&o->epi, &(struct epi_span){
		.acc = &acc, .channel = n0, .n = lanes, .pixels = 1, .dst = o->x->lmem + dst, .res = o->x->lmem + res,
		.dst_c = p->dst.stride[2], .res_c = p->res.stride[2],
	});
}

static void slowmatmul_item(void *ctx, uint32_t item, unsigned thread)
{
	const struct slowmatmul *o = ctx;
	float *scratch = pool_scratch(o->x->e->pool, thread);
	uint64_t last = (item + 1ull) * o->per_item;

	for (uint64_t row = item * o->per_item; row < last && row < o->rows; row++)
		for (uint64_t n = 0; n < o->p->n; n += 16)
			slow_product(o, row, (uint32_t)n, scratch);
}

static int matmul_slow(struct exec *x, const struct mica_pkt_matmul *p, const uint8_t *params)
{
	struct slowmatmul o = { .x = x, .p = p, .rows = (uint64_t)p->batch * p->m, .per_item = 1 };

	matmul_epilogue(&o.epi, p, params);
	if (params && o.epi.integer)
		o.init = (const int32_t *)params + 2 * (size_t)pad16(p->n);
	if (!pool_reserve(x->e->pool, SLOW_SCRATCH))
		return MICA_FAULT_BUS;
	while (div_up(o.rows, o.per_item) > 1u << 16)
		o.per_item *= 2;
	pool_run(x->e->pool, slowmatmul_item, &o, (uint32_t)div_up(o.rows, o.per_item));
	return 0;
}

#endif /* MICA_CONV_SLOW_IMPL_H */
