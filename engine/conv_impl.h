/* SPDX-License-Identifier: MIT */
/*
 * CONV: its input widened into an image with its padding around it, by each item for itself where it can, then the blocked
 * product; no im2col if steps fall on taps.
 */
#ifndef MICA_CONV_IMPL_H
#define MICA_CONV_IMPL_H

#include "blocked_impl.h"
#include "conv_slow_impl.h"

struct conv {
	struct blocked o;
	const struct mica_pkt_conv *p;
	struct widen wide_a;
	uint32_t rows, columns;		/* of the image, for one n */
	int64_t row_step, column_step;	/* input rows to an image row: more than 1 when a 1-tap kernel skips */
	uint32_t strip;
};

/* ---- The image ----------------------------------------------------------------------------------------------------------- */

static void pad_pixels(const struct conv *c, uint8_t *dst, size_t pixels)
{
	size_t n = pixels * c->p->in_c;

	if (c->o.cls != MAC_I8) {
		memset(dst, 0, n * gemm_a_elem(c->o.cls));
	} else if (gemm_a_elem(MAC_I8) == 1) {
		memset(dst, gemm_i8_code(c->p->src.zero), n);
	} else {
		int16_t code = gemm_i8_code(c->p->src.zero);

		for (size_t i = 0; i < n; i++)
			memcpy(dst + 2 * i, &code, 2);
	}
}

/* Columns `from` up to `to` of a row of the image. */
static void image_row(const struct conv *c, uint32_t n, uint32_t row, uint32_t from, uint32_t to, uint8_t *dst)
{
	const struct mica_pkt_conv *p = c->p;
	size_t pixel = (size_t)p->in_c * gemm_a_elem(c->o.cls);
	int64_t y = row * c->row_step - p->pad_top, x = from * c->column_step - p->pad_left;
	const uint8_t *src = c->o.x->lmem + p->src.addr + (uint64_t)n * p->src.stride[0] + (uint64_t)y * p->src.stride[1];
	bool dense = c->column_step == 1 && p->src.stride[2] == p->in_c * mica_dtype_size(p->src.dtype);

	if (y < 0 || y >= p->in_h) {
		pad_pixels(c, dst, to - from);
		return;
	}
	for (uint32_t i = from; i < to;) {
		uint32_t run = 1;

		if (x < 0 || x >= p->in_w) {
			if (c->column_step == 1)
				run = x < 0 && -x < to - i ? (uint32_t)-x : to - i;
			pad_pixels(c, dst, run);
		} else {
			if (dense)
				run = p->in_w - x < to - i ? (uint32_t)(p->in_w - x) : to - i;
			gemm_widen_a(&c->wide_a, p->src.dtype, src + (uint64_t)x * p->src.stride[2], (size_t)run * p->in_c, dst);
		}
		i += run;
		x += run * c->column_step;
		dst += run * pixel;
	}
}

/* Bytes from..to of the image: whole pixels, from within one row to within another. */
static void fill_span(const struct blocked *o, uint64_t from, uint64_t to, uint8_t *dst)
{
	const struct conv *c = (const struct conv *)o;
	size_t pixel = (size_t)c->p->in_c * gemm_a_elem(o->cls);
	uint64_t row = from / pixel / c->columns, last = (to / pixel - 1) / c->columns;
	uint32_t x = (uint32_t)(from / pixel % c->columns);

	for (; row <= last && !exec_stopped(o->x); row++, x = 0) {
		uint32_t end = row < last ? c->columns : (uint32_t)((to / pixel - 1) % c->columns + 1);

		image_row(c, (uint32_t)(row / c->rows), (uint32_t)(row % c->rows), x, end, dst);
		dst += (end - x) * pixel;
	}
}

static void image_item(void *ctx, uint32_t item, unsigned thread)
{
	const struct conv *c = ctx;
	size_t row = (size_t)c->columns * c->p->in_c * gemm_a_elem(c->o.cls);
	uint64_t first = (uint64_t)item * c->strip, total = (uint64_t)c->rows * c->p->n;
	uint64_t last = first + c->strip < total ? first + c->strip : total;

	(void)thread;
	fill_span(&c->o, first * row, last * row, c->o.image + first * row);
}

static void fill_image(struct conv *c)
{
	uint64_t rows = (uint64_t)c->rows * c->p->n;
	unsigned threads = pool_threads(c->o.x->e->pool);

	c->strip = (uint32_t)div_up(rows, 4 * threads);
	pool_run(c->o.x->e->pool, image_item, c, (uint32_t)div_up(rows, c->strip));
}

/* ---- The plan ------------------------------------------------------------------------------------------------------------ */

static void conv_problem(struct conv *c, const uint8_t *weights, const uint8_t *params)
{
	const struct mica_pkt_conv *p = c->p;
	struct blocked *o = &c->o;
	uint32_t cin = p->in_c / p->groups;
	size_t channels;

	o->cls = mac_class_of(p->wdtype);
	o->flush = mac_flushes(p->src.dtype, p->wdtype);
	o->acc_in = p->acc_mode & MICA_ACC_IN;
	o->groups = p->groups;
	o->cout = p->out_c / p->groups;
	o->blocks = pad16(o->cout) / 16;
	o->out_n = p->n;
	o->out_h = p->out_h;
	o->out_w = p->out_w;
	o->k_len = (uint32_t)p->kh * p->kw * cin;
	o->v = p->wdtype == MICA_F32 ? 1 : p->wdtype == MICA_I8 ? 4 : 2;
	o->steps = div_up(o->k_len, o->v);
	o->weights = weights;
	o->wdtype = p->wdtype;
	o->block_bytes = o->steps * o->v * 16 * mica_dtype_size(p->wdtype);
	o->weights_group_bytes = o->blocks * o->block_bytes;
	o->widens = gemm_widens_w(p->wdtype, o->k_len);
	o->param_group = o->init_group = (size_t)o->blocks * 16;
	channels = p->groups * o->param_group;
	conv_epilogue(&o->epi, p, params, channels);
	o->init = (const int32_t *)params + 2 * channels;
	o->acc = o->x->lmem + p->acc;
	o->acc_pitch = channels;
}

static void conv_results(struct conv *c)
{
	const struct mica_pkt_conv *p = c->p;
	struct blocked *o = &c->o;

	o->dst = p->dst.addr;
	o->dst_n = p->dst.stride[0];
	o->dst_h = p->dst.stride[1];
	o->dst_w = p->dst.stride[2];
	o->dst_c = mica_dtype_size(p->dst.dtype);
	o->dst_group = o->cout * o->dst_c;
	o->res = p->res.addr;
	o->res_n = p->res.stride[0];
	o->res_h = p->res.stride[1];
	o->res_w = p->res.stride[2];
	o->res_c = mica_dtype_size(p->res.dtype);
	o->res_group = o->cout * o->res_c;
}

/* Where a pixel's products lie in the image; false: not the blocked way. */
static bool conv_taps(struct conv *c)
{
	const struct mica_pkt_conv *p = c->p;
	struct blocked *o = &c->o;
	uint32_t cin = p->in_c / p->groups;
	size_t pixel = (size_t)p->in_c * gemm_a_elem(o->cls), row;
	uint32_t stride_h = p->kh == 1 ? 1 : p->stride_h, stride_w = p->kw == 1 ? 1 : p->stride_w;
	uint64_t rows = (uint64_t)(p->out_h - 1) * stride_h + (uint64_t)(p->kh - 1) * p->dil_h + 1;
	uint64_t columns = (uint64_t)(p->out_w - 1) * stride_w + (uint64_t)(p->kw - 1) * p->dil_w + 1;
	bool joined = p->groups == 1 && p->dil_w == 1;		/* the taps of a row are one run */
	uint64_t bytes;

	if (__builtin_mul_overflow(rows * columns, (uint64_t)p->n * pixel, &bytes) || rows * columns > BLOCKED_MAX_BYTES ||
	    bytes > BLOCKED_MAX_BYTES || (uint32_t)p->kh * p->kw > BLOCKED_MAX_TAPS)
		return false;
	c->rows = (uint32_t)rows;
	c->columns = (uint32_t)columns;
	c->row_step = p->kh == 1 ? p->stride_h : 1;
	c->column_step = p->kw == 1 ? p->stride_w : 1;
	row = columns * pixel;
	o->group_bytes = (size_t)cin * gemm_a_elem(o->cls);
	o->pixel_bytes = stride_w * pixel;
	o->row_bytes = stride_h * row;
	o->image_bytes = rows * row;
	o->fill = fill_span;
	o->reach = (p->kh - 1) * p->dil_h * row + ((p->kw - 1) * p->dil_w + 1) * pixel;
	o->run_bytes = (joined ? p->kw : 1) * o->group_bytes;
	o->run_cols = joined ? 1 : p->kw;
	o->run_count = p->kh * o->run_cols;
	o->run_col_step = p->dil_w * pixel;
	o->run_row_step = p->dil_h * row;
	o->panel = (joined ? p->kw : 1) * cin % o->v != 0;
	o->taps = o->run_count;
	o->tap_steps = o->steps / o->taps;
	o->flat = o->panel || (p->kh == 1 && p->kw == 1);
	return true;
}

static bool conv_memory(struct conv *c)
{
	struct blocked *o = &c->o;
	size_t image = o->fill ? 0 : round_up(o->image_bytes * o->out_n + 64, 64);
	uint8_t *mem = exec_shared(o->x, image + o->taps * sizeof(*o->tap));

	if (!mem)
		return false;
	o->image = image ? mem : NULL;
	o->tap = (size_t *)(mem + image);
	for (uint32_t i = 0; i < o->taps; i++)
		o->tap[i] = i / o->run_cols * o->run_row_step + i % o->run_cols * o->run_col_step;
	return true;
}

static int exec_conv(struct exec *x, const union mica_pkt *pkt)
{
	const struct mica_pkt_conv *p = &pkt->conv;
	unsigned cin = p->in_c / p->groups, cout = p->out_c / p->groups;
	const uint8_t *weights = exec_view(x, 0, p->weights, mica_pack_size(p->wdtype, p->groups, cout, p->kh, p->kw, cin));
	const uint8_t *params = exec_view(x, 1, p->params, mica_params_size(p->groups, cout));
	uint32_t filled[MICA_MAX_THREADS] = { 0 };
	struct conv c = { .o.x = x, .p = p };

	if (!weights || !params)
		return x->fault;
	conv_problem(&c, weights, params);
	conv_results(&c);
	if (!conv_taps(&c) || !blocked_plan(&c.o))
		return conv_slow(x, p, weights, params);
	if (!conv_memory(&c))
		return MICA_FAULT_BUS;
	widen_init(&c.wide_a, p->src.dtype);
	widen_init(&c.o.wide_w, p->wdtype);
	if (c.o.image)
		fill_image(&c);
	c.o.filled = filled;
	return blocked_run(&c.o);
}

#endif /* MICA_CONV_IMPL_H */
