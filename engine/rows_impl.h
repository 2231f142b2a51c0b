/* SPDX-License-Identifier: MIT */
/* Rows of an image operand as f32, decoded once and kept while they are in the window: POOL, RESIZE, DWCONV. */
#ifndef MICA_ROWS_IMPL_H
#define MICA_ROWS_IMPL_H

#include "code_vec.h"
#include "mac_impl.h"

#define ROWS_MAX_BYTES	(64u << 20)	/* per thread; beyond that packets run without decoded rows */

struct rows {
	const struct mica_view *view;
	const uint8_t *image;		/* first row of the current n */
	int64_t height, width;		/* of the image */
	uint32_t c, pitch;		/* channels; floats from pixel to pixel, a multiple of 16 */
	int64_t first, columns;		/* the image's columns first .. first + columns - 1 are kept; outside ones hold pad */
	float pad;
	bool mac;			/* decode as an operand of a multiply-accumulate */
	unsigned slots;
	float *mem;			/* slots rows, then one row of pad */
	int64_t *tag;
};

/* Bytes of scratch, or 0 when that would be too much. */
static size_t rows_bytes(uint32_t c, int64_t columns, unsigned slots)
{
	uint64_t row = (uint64_t)columns * pad16(c) * sizeof(float), total;

	if (__builtin_mul_overflow(row, slots + 1ull, &total) || total > ROWS_MAX_BYTES)
		return 0;
	return total + (slots + 8) / 8 * 64 + 64;
}

static void rows_forget(struct rows *r, const uint8_t *image)
{
	r->image = image;
	for (unsigned i = 0; i < r->slots; i++)
		r->tag[i] = INT64_MIN;
}

static void rows_init(struct rows *r, void *scratch)
{
	size_t row = (size_t)r->columns * r->pitch;

	r->mem = scratch;
	r->tag = (int64_t *)(r->mem + row * (r->slots + 1));
	for (size_t i = 0; i < row; i++)
		r->mem[row * r->slots + i] = r->pad;
}

static void rows_decode(const struct rows *r, int64_t y, float *out)
{
	const struct mica_view *v = r->view;
	int64_t from = r->first > 0 ? r->first : 0;
	int64_t to = r->first + r->columns < r->width ? r->first + r->columns : r->width;
	const uint8_t *src = r->image + (uint64_t)y * v->stride[0 + 1];
	unsigned size = mica_dtype_size(v->dtype);
	float scale = r->mac ? 1.0f : v->scale;
	int zero = r->mac ? 0 : view_zero(v);

	for (int64_t x = r->first; x < r->first + r->columns; x++) {
		float *at = out + (size_t)(x - r->first) * r->pitch;

		if (x >= from && x < to && v->stride[2] == r->pitch * size && r->c == r->pitch) {
			decode_dense(v->dtype, src + (uint64_t)x * v->stride[2], (size_t)(to - x) * r->c, scale, zero, at);
			x = to - 1;
		} else if (x >= from && x < to) {
			memset(at + r->pitch - 16, 0, 16 * sizeof(float));
			decode_dense(v->dtype, src + (uint64_t)x * v->stride[2], r->c, scale, zero, at);
		} else {
			for (uint32_t c = 0; c < r->pitch; c++)
				at[c] = r->pad;
		}
	}
	if (r->mac && v->dtype == MICA_BF16)
		flush_array(out, (size_t)r->columns * r->pitch);
}

/* Row y, or the row of pad when y is outside the image. */
static const float *rows_get(struct rows *r, int64_t y)
{
	size_t row = (size_t)r->columns * r->pitch;
	unsigned slot;

	if (y < 0 || y >= r->height)
		return r->mem + row * r->slots;
	slot = (unsigned)(y % r->slots);
	if (r->tag[slot] != y) {
		rows_decode(r, y, r->mem + row * slot);
		r->tag[slot] = y;
	}
	return r->mem + row * slot;
}

/* Strips of output rows: enough of them for the threads, each long enough to reuse decoded rows. */
static uint32_t strip_rows(uint64_t rows, unsigned threads, uint64_t work_per_row)
{
	uint64_t strip = threads == 1 ? rows : div_up(rows, threads * 2ull);

	if (strip * work_per_row < 8192)
		strip = 1 + 8192 / (work_per_row ? work_per_row : 1);
	return (uint32_t)(strip < rows ? strip : rows);
}

#endif /* MICA_ROWS_IMPL_H */
