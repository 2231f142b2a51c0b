/* SPDX-License-Identifier: MIT */
/* BINARY, UNARY, LUT: element by element over four axes, in chunks that stay in the first-level cache. */
#ifndef MICA_ELEMENTWISE_IMPL_H
#define MICA_ELEMENTWISE_IMPL_H

#include "code_vec.h"
#include "func_vec.h"

#define EW_CHUNK	1024u		/* elements decoded at a time */
#define EW_ITEM		16384u		/* elements that are worth a thread's attention */
#define EW_OPERANDS	4u

struct ew {
	struct exec *x;
	const union mica_pkt *p;
	const uint8_t *src[EW_OPERANDS - 1];
	uint8_t *dst;
	const struct mica_view *view[EW_OPERANDS];	/* sources, then dst */
	unsigned operands;
	uint32_t dim[4];
	uint64_t stride[EW_OPERANDS][4];
	uint64_t rows, chunks_per_row, chunks, chunks_per_item;
	uint32_t items;
	const uint8_t *table;
	void (*chunk)(const struct ew *w, const uint8_t *const src[], uint8_t *dst, uint32_t n);
};

static void ew_add(struct ew *w, const struct mica_view *v, uint8_t *lmem)
{
	unsigned i = w->operands++;

	w->view[i] = v;
	for (int k = 0; k < 4; k++)
		w->stride[i][k] = v->stride[k];
	w->dst = lmem + v->addr;
	if (i < EW_OPERANDS - 1)
		w->src[i] = lmem + v->addr;
}

static void ew_swap(struct ew *w, unsigned a, unsigned b)
{
	uint32_t d = w->dim[a];

	w->dim[a] = w->dim[b];
	w->dim[b] = d;
	for (unsigned i = 0; i < w->operands; i++) {
		uint64_t s = w->stride[i][a];

		w->stride[i][a] = w->stride[i][b];
		w->stride[i][b] = s;
	}
}

static bool ew_mergeable(const struct ew *w, unsigned outer, unsigned inner)
{
	if ((uint64_t)w->dim[outer] * w->dim[inner] > UINT32_MAX)
		return false;
	for (unsigned i = 0; i < w->operands; i++)
		if (w->stride[i][outer] != w->dim[inner] * w->stride[i][inner])
			return false;
	return true;
}

/* Axes in the order of dst's strides, those that continue each other merged into the last ones; leading dims are 1. */
static void ew_simplify(struct ew *w)
{
	unsigned d = w->operands - 1;

	for (unsigned i = 0; i < 4; i++)
		for (unsigned j = 3; j > i; j--)
			if (w->dim[j] == 1 || (w->dim[j - 1] > 1 && w->stride[d][j - 1] < w->stride[d][j]))
				ew_swap(w, j - 1, j);
	for (unsigned j = 3; j > 0; j--)
		while (w->dim[j - 1] > 1 && ew_mergeable(w, j - 1, j)) {
			w->dim[j] *= w->dim[j - 1];
			w->dim[j - 1] = 1;
			for (unsigned k = j - 1; k > 0; k--)
				ew_swap(w, k - 1, k);
		}
}

static void ew_item(void *ctx, uint32_t item, unsigned thread)
{
	const struct ew *w = ctx;
	uint64_t first = item * w->chunks_per_item, last = first + w->chunks_per_item;
	unsigned d = w->operands - 1;

	(void)thread;
	if (exec_stopped(w->x))
		return;
	for (uint64_t c = first; c < last && c < w->chunks; c++) {
		uint64_t row = c / w->chunks_per_row, at = c % w->chunks_per_row * EW_CHUNK;
		uint64_t i2 = row % w->dim[2], i1 = row / w->dim[2] % w->dim[1], i0 = row / w->dim[2] / w->dim[1];
		uint32_t n = w->dim[3] - at < EW_CHUNK ? (uint32_t)(w->dim[3] - at) : EW_CHUNK;
		const uint8_t *src[EW_OPERANDS];
		uint64_t off[EW_OPERANDS];

		for (unsigned i = 0; i <= d; i++) {
			const uint64_t *s = w->stride[i];

			off[i] = i0 * s[0] + i1 * s[1] + i2 * s[2] + at * s[3];
		}
		for (unsigned i = 0; i < d; i++)
			src[i] = w->src[i] + off[i];
		w->chunk(w, src, w->dst + off[d], n);
	}
}

static int ew_run(struct ew *w, const uint32_t dim[4])
{
	memcpy(w->dim, dim, sizeof(w->dim));
	ew_simplify(w);
	w->rows = (uint64_t)w->dim[0] * w->dim[1] * w->dim[2];
	w->chunks_per_row = div_up(w->dim[3], EW_CHUNK);
	w->chunks = w->rows * w->chunks_per_row;
	w->chunks_per_item = EW_ITEM / (w->dim[3] < EW_CHUNK ? w->dim[3] : EW_CHUNK);
	while (div_up(w->chunks, w->chunks_per_item) > 1u << 20)
		w->chunks_per_item *= 2;
	pool_run(w->x->e->pool, ew_item, w, (uint32_t)div_up(w->chunks, w->chunks_per_item));
	return 0;
}

static void ew_load(const struct ew *w, unsigned i, const uint8_t *src, uint32_t n, float *out)
{
	const struct mica_view *v = w->view[i];

	decode_row(v->dtype, src, (uint32_t)w->stride[i][3], n, v->scale, view_zero(v), out);
}

static void ew_store(const struct ew *w, const float *x, uint32_t n, uint8_t *dst)
{
	unsigned d = w->operands - 1;
	const struct mica_view *v = w->view[d];

	encode_row(v->dtype, x, n, v->scale, view_zero(v), dst, (uint32_t)w->stride[d][3]);
}

/* ---- The packets ------------------------------------------------------------------------------------------------------- */

static void unary_chunk(const struct ew *w, const uint8_t *const src[], uint8_t *dst, uint32_t n)
{
	const struct mica_pkt_unary *p = &w->p->unary;
	float x[EW_CHUNK + VL];

	memset(x + n / VL * VL, 0, VL * sizeof(float));
	ew_load(w, 0, src[0], n, x);
	fn_array(p->func, x, n, p->alpha, p->beta);
	ew_store(w, x, n, dst);
}

static int exec_unary(struct exec *x, const union mica_pkt *p)
{
	struct ew w = { .x = x, .p = p, .chunk = unary_chunk };

	ew_add(&w, &p->unary.src, x->lmem);
	ew_add(&w, &p->unary.dst, x->lmem);
	return ew_run(&w, p->unary.dim);
}

static void binary_chunk(const struct ew *w, const uint8_t *const src[], uint8_t *dst, uint32_t n)
{
	const struct mica_pkt_binary *p = &w->p->binary;
	float v[3][EW_CHUNK + VL];

	for (unsigned i = 0; i + 1 < w->operands; i++) {
		memset(v[i] + n / VL * VL, 0, VL * sizeof(float));
		ew_load(w, i, src[i], n, v[i]);
	}
	bin_array(p->op, v[0], v[0], v[1], w->operands > 3 ? v[2] : NULL, n);
	fn_array(fn_of_act(p->act), v[0], n, p->alpha, p->beta);
	ew_store(w, v[0], n, dst);
}

static int exec_binary(struct exec *x, const union mica_pkt *p)
{
	struct ew w = { .x = x, .p = p, .chunk = binary_chunk };

	ew_add(&w, &p->binary.a, x->lmem);
	ew_add(&w, &p->binary.b, x->lmem);
	if (p->binary.c.dtype)
		ew_add(&w, &p->binary.c, x->lmem);
	ew_add(&w, &p->binary.dst, x->lmem);
	return ew_run(&w, p->binary.dim);
}

/* 64 codes through a table of bytes: two look-ups of 128 entries, the top bit chooses. */
static uint32_t lut_bytes_fast(const uint8_t *src, uint8_t *dst, uint32_t n, const uint8_t *table)
{
	uint32_t i = 0;
#if VL == 16 && defined(__AVX512VBMI__)
	const __m512i t0 = _mm512_loadu_si512(table), t1 = _mm512_loadu_si512(table + 64);
	const __m512i t2 = _mm512_loadu_si512(table + 128), t3 = _mm512_loadu_si512(table + 192);

	for (; i + 64 <= n; i += 64) {
		__m512i c = _mm512_loadu_si512(src + i);
		__m512i low = _mm512_permutex2var_epi8(t0, c, t1), high = _mm512_permutex2var_epi8(t2, c, t3);

		_mm512_storeu_si512(dst + i, _mm512_mask_blend_epi8(_mm512_movepi8_mask(c), low, high));
	}
#else
	(void)src, (void)dst, (void)n, (void)table;
#endif
	return i;
}

static void lut_chunk(const struct ew *w, const uint8_t *const src[], uint8_t *dst, uint32_t n)
{
	unsigned size = mica_dtype_size(w->view[1]->dtype);
	uint64_t ss = w->stride[0][3], ds = w->stride[1][3];
	uint32_t i = 0;

	switch (size) {
	case 1:
		if (ss == 1 && ds == 1)
			i = lut_bytes_fast(src[0], dst, n, w->table);
		for (; i < n; i++)
			dst[i * ds] = w->table[src[0][i * ss]];
		break;
	case 2:
		for (; i < n; i++)
			memcpy(dst + i * ds, w->table + 2u * src[0][i * ss], 2);
		break;
	default:
		for (; i < n; i++)
			memcpy(dst + i * ds, w->table + 4u * src[0][i * ss], 4);
		break;
	}
}

static int exec_lut(struct exec *x, const union mica_pkt *p)
{
	struct ew w = { .x = x, .p = p, .chunk = lut_chunk };
	size_t bytes = 256u * mica_dtype_size(p->lut.dst.dtype);

	w.table = exec_view(x, 0, p->lut.table, bytes);
	if (!w.table)
		return x->fault;
	ew_add(&w, &p->lut.src, x->lmem);
	ew_add(&w, &p->lut.dst, x->lmem);
	return ew_run(&w, p->lut.dim);
}

#endif /* MICA_ELEMENTWISE_IMPL_H */
