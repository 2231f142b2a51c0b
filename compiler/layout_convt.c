// SPDX-License-Identifier: MIT
/* Transposed convolution: one convolution computes all stride x stride phases, which are then interleaved. */
#include <string.h>
#include "layout.h"

struct phases {
	int s[2], taps[2], k[2], dil[2]; /* stride; taps of one phase; kernel; dilation */
	int64_t first[2], count[2], crop[2]; /* positions that are computed; rows cut in front */
	int64_t icg, ocg, groups;
};

/* Weights [ic, ocg, kh, kw] as [g * sh * sw * ocg, th, tw, icg]; tap j of a phase reads kernel row s*(taps-1-j) + phase. */
static struct ir_value *phase_weights(struct layout *l, const struct phases *p, struct ir_value *w)
{
	int64_t dim[4] = { p->groups * p->s[0] * p->s[1] * p->ocg, p->taps[0], p->taps[1], p->icg },
		from[4];
	bool coded = w->ch_scale && w->ch_axis == 1 && p->groups == 1;
	struct ir_value *n;
	size_t size;
	uint8_t *out;

	if (w->ch_scale && !coded)
		w = const_f32(l->g, w);
	n = ir_const_new(l->g, w->name, w->dtype, 4, dim, NULL);
	n->scale = w->scale;
	n->zero = w->zero;
	n->ch_scale = coded ? ir_alloc((size_t)dim[0], sizeof(float)) : NULL;
	size = ir_dtype_size(w->dtype);
	out = n->data;
	dense_strides(w, from);
	for (int64_t c = 0; c < dim[0]; c++) {
		int64_t o = c % p->ocg, rw = c / p->ocg % p->s[1],
			rh = c / p->ocg / p->s[1] % p->s[0], g = c / p->ocg / p->s[1] / p->s[0];

		if (coded)
			n->ch_scale[c] = w->ch_scale[o];
		for (int64_t t = 0; t < dim[1] * dim[2]; t++) {
			int64_t h = p->s[0] * (p->taps[0] - 1 - t / dim[2]) + rh,
				v = p->s[1] * (p->taps[1] - 1 - t % dim[2]) + rw;
			bool in = h % p->dil[0] == 0 && v % p->dil[1] == 0 &&
				  h / p->dil[0] < p->k[0] && v / p->dil[1] < p->k[1];

			for (int64_t i = 0; i < p->icg; i++, out += size)
				if (in)
					memcpy(out,
					       (uint8_t *)w->data +
						       (size_t)((g * p->icg + i) * from[0] +
								o * from[1] +
								h / p->dil[0] * from[2] +
								v / p->dil[1]) *
							       size,
					       size);
		}
	}
	return n;
}

static struct ir_value *phase_bias(struct layout *l, const struct phases *p,
				   const struct ir_value *bias)
{
	int64_t n = p->groups * p->s[0] * p->s[1] * p->ocg;
	struct ir_value *v;

	if (!bias)
		return NULL;
	v = ir_const_new(l->g, bias->name, MICA_F32, 1, &n, NULL);
	for (int64_t c = 0; c < n; c++)
		((float *)v->data)[c] =
			((float *)bias->data)[c / p->ocg / p->s[1] / p->s[0] * p->ocg + c % p->ocg];
	return v;
}

int layout_convt(struct layout *l, struct ir_op *op)
{
	const struct ir_attr *a = &op->a;
	struct ir_value *y = op->out[0], *w = op->in[1], *x = layout_get(l, op->in[0], layout_nhwc),
			*v;
	struct phases p = { .s = { a->stride_h, a->stride_w },
			    .k = { a->kh, a->kw },
			    .dil = { a->dil_h, a->dil_w },
			    .groups = a->groups,
			    .icg = w->dim[0] / a->groups,
			    .ocg = w->dim[1] };
	int pad[2] = { a->pad_top, a->pad_left }, lo[2], hi[2];
	static const int interleave[6] = { 0, 3, 1, 4, 2, 5 };
	struct ir_op *conv;
	int64_t sh = a->stride_h, sw = a->stride_w, n = x->dim[0];

	for (int i = 0; i < 2; i++) {
		int64_t out = y->dim[2 + i], in = x->dim[1 + i], end;

		p.taps[i] = ((p.k[i] - 1) * p.dil[i] + p.s[i]) / p.s[i];
		p.first[i] = pad[i] / p.s[i] < p.taps[i] - 1 ? pad[i] / p.s[i] : p.taps[i] - 1;
		p.crop[i] = pad[i] - p.first[i] * p.s[i];
		p.count[i] = (p.crop[i] + out + p.s[i] - 1) / p.s[i];
		lo[i] = (int)(p.taps[i] - 1 - p.first[i]);
		end = p.count[i] - 1 + p.taps[i] - in - lo[i];
		hi[i] = (int)(end > 0 ? end : 0);
	}
	if (p.groups * sh * sw * p.ocg > 65535 || p.taps[0] > 1024 || p.taps[1] > 1024)
		return layout_refuse(l, op,
				     "stride times channels is above 65535; use a smaller stride");
	conv = layout_rebuild(l, op, IR_CONV,
			      (struct ir_value *[]){ x, phase_weights(l, &p, w),
						     phase_bias(l, &p, ir_op_in(op, 2)) },
			      3, 4,
			      (int64_t[]){ n, p.count[0], p.count[1], p.groups * sh * sw * p.ocg });
	conv->a.kh = p.taps[0];
	conv->a.kw = p.taps[1];
	conv->a.stride_h = conv->a.stride_w = conv->a.dil_h = conv->a.dil_w = 1;
	conv->a.pad_top = lo[0];
	conv->a.pad_left = lo[1];
	conv->a.pad_bottom = hi[0];
	conv->a.pad_right = hi[1];
	v = build_reshape(&l->b, conv->out[0], 6,
			  (int64_t[]){ n * p.count[0], p.count[1], p.groups, sh, sw, p.ocg });
	v = sh == 1 && sw == 1 ? conv->out[0] : layout_transpose_min(&l->b, v, interleave);
	v = build_reshape(&l->b, v, 4,
			  (int64_t[]){ n, p.count[0] * sh, p.count[1] * sw, y->dim[1] });
	v = build_slice1(&l->b, v, 1, p.crop[0], y->dim[2]);
	layout_set(l, y, build_slice1(&l->b, v, 2, p.crop[1], y->dim[3]), layout_nhwc);
	return 0;
}
