// SPDX-License-Identifier: MIT
/* Data movement on constants. */
#include <string.h>
#include "front.h"

void dense_strides(const struct ir_value *v, int64_t *stride)
{
	int64_t n = 1;

	for (unsigned i = v->rank; i-- > 0; n *= v->dim[i])
		stride[i] = n;
}

void move_strided(void *dst, const void *src, size_t size, unsigned rank, const int64_t *dim,
		  int64_t base, const int64_t *stride)
{
	int64_t index[IR_MAX_RANK] = { 0 }, at = base, inner, step;
	uint8_t *out = dst;

	for (unsigned i = 0; i < rank; i++)
		if (!dim[i])
			return;
	inner = rank ? dim[rank - 1] : 1;
	step = rank ? stride[rank - 1] : 0;
	for (;;) {
		const uint8_t *p = (const uint8_t *)src + at * (int64_t)size;
		unsigned d;

		if (step == 1) {
			memcpy(out, p, (size_t)inner * size);
			out += (size_t)inner * size;
		} else {
			for (int64_t i = 0; i < inner; i++, out += size)
				memcpy(out, p + i * step * (int64_t)size, size);
		}
		for (d = rank ? rank - 1 : 0; d-- > 0;) {
			at += stride[d];
			if (++index[d] < dim[d])
				break;
			at -= index[d] * stride[d];
			index[d] = 0;
		}
		if (d == UINT32_MAX)
			return;
	}
}

struct ir_value *const_f32(struct ir_graph *g, struct ir_value *v)
{
	struct ir_value *f;
	int64_t n = ir_elements(v);

	if (v->dtype == MICA_F32 && !v->ch_scale && v->scale == 1)
		return v;
	f = ir_const_new(g, v->name, MICA_F32, v->rank, v->dim, NULL);
	if (v->dtype == IR_I64)
		for (int64_t i = 0; i < n; i++)
			((float *)f->data)[i] = (float)((int64_t *)v->data)[i];
	else if (v->dtype == IR_BOOL)
		for (int64_t i = 0; i < n; i++)
			((float *)f->data)[i] = ((uint8_t *)v->data)[i] != 0;
	else
		mica_dequantize(v->dtype, v->data, f->data, (size_t)n, v->scale, v->zero);
	if (v->ch_scale) {
		int64_t stride[IR_MAX_RANK];

		dense_strides(v, stride);
		for (int64_t i = 0; i < n; i++)
			((float *)f->data)[i] *=
				v->ch_scale[i / stride[v->ch_axis] % v->dim[v->ch_axis]];
	}
	return f;
}

struct ir_value *const_as(struct ir_graph *g, struct ir_value *k, const struct ir_value *y)
{
	struct ir_value *f, *q;

	if (k->dtype == y->dtype && k->scale == y->scale && k->zero == y->zero && !k->ch_scale)
		return k;
	f = const_f32(g, k);
	q = ir_const_new(g, k->name, y->dtype, k->rank, k->dim, NULL);
	q->scale = y->scale;
	q->zero = y->zero;
	mica_quantize((enum mica_dtype)y->dtype, f->data, q->data, (size_t)ir_elements(f),
		      1 / y->scale, y->zero);
	return q;
}

float const_scalar(const struct ir_value *v, bool *ok)
{
	const float *p = v->data;
	int64_t n = p && v->dtype == MICA_F32 && v->scale == 1 && !v->ch_scale ? ir_elements(v) : 0;

	*ok = n > 0;
	for (int64_t i = 1; i < n && *ok; i++)
		*ok = p[i] == p[0];
	return *ok ? p[0] : 0;
}
