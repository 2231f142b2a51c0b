/* SPDX-License-Identifier: MIT */
/* MATMUL: both operands brought into the forms of CONV (rows of a, packed blocks of b), then the blocked product. */
#ifndef MICA_MATMUL_IMPL_H
#define MICA_MATMUL_IMPL_H

#include "blocked_impl.h"
#include "conv_slow_impl.h"

struct matmul {
	struct blocked o;
	const struct mica_pkt_matmul *p;
	struct widen wide_a;
	uint32_t b_batches;		/* 1 when all batches share b */
	uint8_t *packed;
	int32_t *start, *row_add;	/* i8: corrections for zero points, by channel and by row */
};

/* One row of a, widened, with the code of 0 behind K. */
static void matmul_row(void *ctx, uint32_t item, unsigned thread)
{
	const struct matmul *c = ctx;
	const struct mica_pkt_matmul *p = c->p;
	unsigned size = mica_dtype_size(p->a.dtype), elem = gemm_a_elem(c->o.cls);
	const uint8_t *src = c->o.x->lmem + p->a.addr + (uint64_t)(item / p->m) * p->a.stride[0] +
			     (uint64_t)(item % p->m) * p->a.stride[1];
	uint8_t *dst = c->o.image + (size_t)item * c->o.pixel_bytes, codes[ROW_CHUNK * 4];
	uint32_t sum = 0;

	(void)thread;
	if (exec_stopped(c->o.x))
		return;
	for (uint32_t k = 0; k < p->k; k += ROW_CHUNK) {
		uint32_t n = p->k - k < ROW_CHUNK ? p->k - k : ROW_CHUNK;

		if (p->a.stride[2] == size && !c->row_add) {	/* side by side: as they are */
			gemm_widen_a(&c->wide_a, p->a.dtype, src, p->k, dst);
			break;
		}
		gather_codes(codes, src + (uint64_t)k * p->a.stride[2], p->a.stride[2], n, size);
		gemm_widen_a(&c->wide_a, p->a.dtype, codes, n, dst + (size_t)k * elem);
		for (uint32_t i = 0; c->row_add && i < n; i++)
			sum += (uint32_t)(int8_t)codes[i];
	}
	memset(dst + (size_t)p->k * elem, c->o.cls == MAC_I8 && elem == 1 ? gemm_i8_code(0) : 0,
	       (c->o.steps * c->o.v - p->k) * elem);
	if (c->row_add)
		c->row_add[item] = (int32_t)(0 - (uint32_t)view_zero(&p->b) * sum);
}

/* v rows of 16 codes side by side to [16][v]. */
VINL void interleave(uint8_t rows[4][64], unsigned v, unsigned size, uint8_t *dst)
{
#if VL > 1
	const __m128i a = _mm_loadu_si128((__m128i *)rows[0]), b = _mm_loadu_si128((__m128i *)rows[1]);
	const __m128i c = _mm_loadu_si128((__m128i *)rows[2]), d = _mm_loadu_si128((__m128i *)rows[3]);
	__m128i *out = (__m128i *)dst;

	if (v == 1) {
		memcpy(dst, rows[0], 16 * size);
		return;
	}
	if (size == 2) {
		const __m128i e = _mm_loadu_si128((__m128i *)rows[0] + 1), f = _mm_loadu_si128((__m128i *)rows[1] + 1);

		_mm_storeu_si128(out, _mm_unpacklo_epi16(a, b));
		_mm_storeu_si128(out + 1, _mm_unpackhi_epi16(a, b));
		_mm_storeu_si128(out + 2, _mm_unpacklo_epi16(e, f));
		_mm_storeu_si128(out + 3, _mm_unpackhi_epi16(e, f));
		return;
	}
	if (v == 2) {
		_mm_storeu_si128(out, _mm_unpacklo_epi8(a, b));
		_mm_storeu_si128(out + 1, _mm_unpackhi_epi8(a, b));
		return;
	}
	if (v == 4) {
		__m128i ab = _mm_unpacklo_epi8(a, b), cd = _mm_unpacklo_epi8(c, d);

		_mm_storeu_si128(out, _mm_unpacklo_epi16(ab, cd));
		_mm_storeu_si128(out + 1, _mm_unpackhi_epi16(ab, cd));
		ab = _mm_unpackhi_epi8(a, b);
		cd = _mm_unpackhi_epi8(c, d);
		_mm_storeu_si128(out + 2, _mm_unpacklo_epi16(ab, cd));
		_mm_storeu_si128(out + 3, _mm_unpackhi_epi16(ab, cd));
		return;
	}
#endif
	for (unsigned l = 0; l < 16; l++)
		for (unsigned j = 0; j < v; j++)
			memcpy(dst + (l * v + j) * size, rows[j] + l * size, size);
}

/* Columns side by side in b: v rows at a time. */
static void pack_rows(const struct matmul *c, const uint8_t *src, uint32_t lanes, uint8_t *dst)
{
	const struct mica_pkt_matmul *p = c->p;
	unsigned size = mica_dtype_size(p->b.dtype), v = c->o.v;
	uint8_t rows[4][64] = { { 0 } };

	for (uint32_t k = 0; k < p->k; k += v, dst += 16 * v * size) {
		for (unsigned j = 0; j < v; j++) {
			if (k + j >= p->k)
				memset(rows[j], 0, 16 * size);
			else if (lanes == 16)
				memcpy(rows[j], src + (uint64_t)(k + j) * p->b.stride[1], 16 * size);
			else
				memcpy(rows[j], src + (uint64_t)(k + j) * p->b.stride[1], lanes * size);
		}
		interleave(rows, v, size, dst);
	}
}

/* K side by side in b: a lane at a time, v elements together; dst has been cleared. */
static void pack_lanes(const struct matmul *c, const uint8_t *src, uint32_t lanes, uint8_t *dst)
{
	const struct mica_pkt_matmul *p = c->p;
	unsigned size = mica_dtype_size(p->b.dtype), bytes = c->o.v * size;
	uint32_t whole = p->k / c->o.v;

	for (uint32_t l = 0; l < lanes; l++) {
		const uint8_t *from = src + (uint64_t)l * p->b.stride[2];
		uint8_t *to = dst + l * bytes;

		if (bytes == 2)
			for (uint32_t s = 0; s < whole; s++)
				memcpy(to + s * 32, from + s * 2, 2);
		else
			for (uint32_t s = 0; s < whole; s++)
				memcpy(to + s * 64, from + s * 4, 4);
		memcpy(to + (size_t)whole * 16 * bytes, from + (size_t)whole * bytes, (p->k - whole * c->o.v) * size);
	}
}

static void pack_any(const struct matmul *c, const uint8_t *src, uint32_t lanes, uint8_t *dst)
{
	const struct mica_pkt_matmul *p = c->p;
	unsigned size = mica_dtype_size(p->b.dtype), v = c->o.v;

	for (uint32_t k = 0; k < p->k; k++) {
		uint8_t codes[16 * 4], *at = dst + ((size_t)(k / v) * 16 * v + k % v) * size;

		gather_codes(codes, src + (uint64_t)k * p->b.stride[1], p->b.stride[2], lanes, size);
		scatter_codes(at, codes, v * size, lanes, size);
	}
}

/* i8: init, less the zero points' share of one block. */
static void matmul_start(const struct matmul *c, uint32_t batch, uint32_t n0, uint32_t lanes, const uint8_t *packed)
{
	uint32_t za = (uint32_t)view_zero(&c->p->a), zb = (uint32_t)view_zero(&c->p->b), sum[16] = { 0 };
	const struct blocked *o = &c->o;

	for (size_t s = 0; s < o->steps && za; s++)
		for (unsigned l = 0; l < 16; l++)
			for (unsigned j = 0; j < 4; j++)
				sum[l] += (uint32_t)(int8_t)packed[(s * 16 + l) * 4 + j];
	for (uint32_t l = 0; l < lanes; l++)
		c->start[batch * o->init_group + n0 + l] =
			(int32_t)((o->init ? (uint32_t)o->init[n0 + l] : 0) - za * sum[l] + c->p->k * za * zb);
}

/* One block of 16 columns of b into the packed order. */
static void matmul_block(void *ctx, uint32_t item, unsigned thread)
{
	const struct matmul *c = ctx;
	const struct mica_pkt_matmul *p = c->p;
	const struct blocked *o = &c->o;
	uint32_t batch = item / o->blocks, n0 = item % o->blocks * 16, lanes = p->n - n0 < 16 ? p->n - n0 : 16;
	unsigned size = mica_dtype_size(p->b.dtype);
	const uint8_t *src = o->x->lmem + p->b.addr + (uint64_t)batch * p->b.stride[0] + (uint64_t)n0 * p->b.stride[2];
	uint8_t *dst = c->packed + (size_t)item * o->block_bytes;

	(void)thread;
	if (exec_stopped(o->x))
		return;
	if (p->b.stride[2] == size) {
		pack_rows(c, src, lanes, dst);
	} else {
		memset(dst, 0, o->block_bytes);
		if (p->b.stride[1] == size)
			pack_lanes(c, src, lanes, dst);
		else
			pack_any(c, src, lanes, dst);
	}
	if (o->cls == MAC_I8)
		matmul_start(c, batch, n0, lanes, dst);
}

static void matmul_problem(struct matmul *c, const uint8_t *params)
{
	const struct mica_pkt_matmul *p = c->p;
	struct blocked *o = &c->o;

	o->cls = mac_class_of(p->a.dtype);
	o->flush = mac_flushes(p->a.dtype, p->b.dtype);
	o->groups = p->batch;
	o->cout = p->n;
	o->blocks = pad16(p->n) / 16;
	o->out_n = o->out_h = 1;
	o->out_w = p->m;
	o->k_len = p->k;
	o->v = o->cls == MAC_F32 ? 1 : o->cls == MAC_I8 ? 4 : 2;
	o->steps = div_up(p->k, o->v);
	o->pixel_bytes = row_pitch(o);
	o->row_bytes = o->image_bytes = o->group_bytes = p->m * o->pixel_bytes;
	o->taps = 1;
	o->tap_steps = o->steps;
	o->flat = true;
	o->wdtype = p->b.dtype;
	o->block_bytes = o->steps * o->v * 16 * mica_dtype_size(p->b.dtype);
	c->b_batches = p->b.stride[0] ? p->batch : 1;
	o->weights_group_bytes = p->b.stride[0] ? o->blocks * o->block_bytes : 0;
	o->widens = gemm_widens_w(p->b.dtype, p->k);
	matmul_epilogue(&o->epi, p, params);
	o->dst = p->dst.addr;
	o->dst_group = p->dst.stride[0];
	o->dst_w = p->dst.stride[1];
	o->dst_c = p->dst.stride[2];
	o->res = p->res.addr;
	o->res_group = p->res.stride[0];
	o->res_w = p->res.stride[1];
	o->res_c = p->res.stride[2];
}

/* Memory for rows, blocks and corrections; 0: fine, 1: not the blocked way, -1: none left. */
static int matmul_memory(struct matmul *c, size_t *tap)
{
	struct blocked *o = &c->o;
	size_t image, packed, start, rows;
	uint8_t *mem;

	if ((uint64_t)c->p->m * c->p->batch > UINT32_MAX / 2 || (uint64_t)o->blocks * c->p->batch > UINT32_MAX / 2 ||
	    div_up(BLOCKED_MAX_BYTES, o->pixel_bytes) < (uint64_t)c->p->m * c->p->batch ||
	    div_up(BLOCKED_MAX_BYTES, o->block_bytes) < (uint64_t)o->blocks * c->b_batches)
		return 1;
	image = (size_t)c->p->batch * o->group_bytes;
	packed = (size_t)c->b_batches * o->blocks * o->block_bytes;
	start = o->cls == MAC_I8 ? (size_t)c->b_batches * o->blocks * 16 * 4 : 0;
	rows = o->cls == MAC_I8 && view_zero(&c->p->b) ? (size_t)c->p->batch * c->p->m * 4 : 0;
	mem = exec_shared(o->x, image + packed + start + rows);
	if (!mem)
		return -1;
	o->image = mem;
	c->packed = mem + image;
	c->start = start ? (int32_t *)(c->packed + packed) : NULL;
	c->row_add = rows ? (int32_t *)(c->packed + packed + start) : NULL;
	o->tap = tap;
	return 0;
}

static void matmul_operands(struct matmul *c)
{
	struct blocked *o = &c->o;
	uint32_t rows = c->p->batch * c->p->m, blocks = c->b_batches * o->blocks;

	o->init_group = c->b_batches > 1 ? (size_t)o->blocks * 16 : 0;
	widen_init(&c->wide_a, c->p->a.dtype);
	widen_init(&o->wide_w, c->p->b.dtype);
	if ((uint64_t)rows * c->p->k + (uint64_t)blocks * 16 * c->p->k < 65536) {
		run_here(matmul_row, c, rows);
		run_here(matmul_block, c, blocks);
	} else {
		pool_run(o->x->e->pool, matmul_row, c, rows);
		pool_run(o->x->e->pool, matmul_block, c, blocks);
	}
	o->weights = c->packed;
	o->row_add = c->row_add;
	o->init = c->start;
}

static int exec_matmul(struct exec *x, const union mica_pkt *pkt)
{
	const struct mica_pkt_matmul *p = &pkt->matmul;
	struct matmul c = { .o.x = x, .p = p };
	const uint8_t *params = NULL;
	size_t tap = 0;
	int memory;

	if (p->params != MICA_ADDR_NONE) {
		params = exec_view(x, 1, p->params, mica_params_size(1, p->n));
		if (!params)
			return x->fault;
	}
	matmul_problem(&c, params);
	if (p->k > 1u << 24 || !blocked_plan(&c.o))
		return matmul_slow(x, p, params);
	memory = matmul_memory(&c, &tap);
	if (memory)
		return memory > 0 ? matmul_slow(x, p, params) : MICA_FAULT_BUS;
	if (params && c.o.cls == MAC_I8)
		c.o.init = (const int32_t *)params + 2 * (size_t)pad16(p->n);
	matmul_operands(&c);
	return blocked_run(&c.o);
}

#endif /* MICA_MATMUL_IMPL_H */
