/* SPDX-License-Identifier: MIT */
/* DWCONV without AVX-512: every type on f32 fma. */
#ifndef MICA_DW_GENERIC_IMPL_H
#define MICA_DW_GENERIC_IMPL_H

#include "dw_impl.h"

static void dw_form(struct dwop *o)
{
	o->terms = o->k;
}

static void dw_operand_weights(const struct dwop *o, uint8_t *w, int32_t *start)
{
	dw_weights_f32(o, (float *)w);
	for (uint32_t c = 0; c < o->blocks * 16; c++)
		start[c] = dw_is_i8(o) && !o->acc_in ? o->init[c] : 0;
}

/* Columns first .. first + n - 1 of input row y (they exist) to vectors. */
static void dw_fill(const struct dwop *o, const struct dw_tile *t, const uint8_t *src, uint32_t n, uint8_t *dst)
{
	for (uint32_t i = 0; i < n; i++, src += o->p->src.stride[2], dst += o->chunk * 64) {
		memset(dst + ((size_t)t->blocks - 1) * 64, 0, 64);
		decode_mac(o->p->src.dtype, src, t->n, (float *)dst);
	}
}

static void dw_fill_row(const struct dwop *o, const struct dw_tile *t, int64_t y, uint8_t *row)
{
	const struct mica_pkt_conv *p = o->p;
	int64_t x0 = (int64_t)t->ow * p->stride_w - p->pad_left;
	size_t words = (size_t)o->columns * o->chunk * 16;
	float pad = dw_is_i8(o) ? p->src.zero : 0.0f;
	int64_t from = x0 < 0 ? -x0 : 0, to = x0 + o->columns > p->in_w ? p->in_w - x0 : o->columns;

	if (y < 0 || y >= p->in_h || from >= to)
		from = to = 0;
	for (size_t i = 0; i < (size_t)from * o->chunk * 16; i++)
		((float *)row)[i] = pad;
	for (size_t i = (size_t)to * o->chunk * 16; i < words; i++)
		((float *)row)[i] = pad;
	if (from < to)
		dw_fill(o, t, t->src + (uint64_t)y * p->src.stride[1] + (uint64_t)(x0 + from) * p->src.stride[2] +
			(uint64_t)t->c * mica_dtype_size(p->src.dtype), (uint32_t)(to - from), row + (size_t)from * o->chunk * 64);
}

/* row[] by kernel row. Sums of i8 are whole numbers in f32, less than 2^24: they become integers at the end. */
static void dw_run_row(const struct dwop *o, const struct dw_tile *t, const uint8_t **row, const uint8_t **at)
{
	size_t words = (size_t)t->count * o->chunk * 16;

	for (uint32_t i = 0; i < o->k; i++) {
		uint32_t k = dw_order(o->p, o->k, i);

		at[i] = row[k / o->p->kw] + (size_t)(k % o->p->kw) * o->p->dil_w * o->col_step;
	}
	if (!o->acc_in || dw_is_i8(o))
		memset(t->out, 0, words * 4);
	dw_row_f32(o, t, at);
	if (!dw_is_i8(o))
		return;
	for (uint32_t ow = 0; ow < t->count; ow++)
		for (uint32_t c = 0; c < t->blocks * 16; c += VL) {
			float *out = t->out + (size_t)ow * o->chunk * 16 + c;

			vi_store(out, vi_add(vf_to_int(vf_load(out)), vi_load(o->start + t->block * 16 + c)));
		}
}

static void dw_vertical_run(const struct dwop *o, const struct dw_tile *t, const uint8_t *const row[4], uint32_t rows,
			    size_t to_row)
{
	(void)o, (void)t, (void)row, (void)rows, (void)to_row;
}

#endif /* MICA_DW_GENERIC_IMPL_H */
