/* SPDX-License-Identifier: MIT */
/* From accumulators to stored codes: docs/numerics.md section 4, a run of channels of one pixel at a time. */
#ifndef MICA_EPILOGUE_IMPL_H
#define MICA_EPILOGUE_IMPL_H

#include "code_vec.h"
#include "func_vec.h"

#define EPI_CHUNK	256u

#if VL == 16
/* What does not change within a packet. */
struct epi_fixed {
	vf inv, alpha, beta, res_scale;
	struct quad_tables tables;	/* of the residual */
	unsigned res_type, res_size;
	int zero, res_zero;

	bool fast;			/* epi_fast_quad will do: an activation that is a clip to [low, high], or leaky */
	bool leaky, clips;
	vf low, high;
	vi low_code, high_code;		/* what they become as integers, in bytes */
	vi zeros;			/* zero, in words */
};
#endif

struct epilogue {
	bool integer;			/* accumulators are i32 */
	bool dense;			/* the channels of dst and res lie side by side */
	bool raw;			/* MICA_ACC_OUT: they go to the acc buffer as they are */
	const float *scale, *bias;	/* by padded channel; NULL: uniform */
	const float *shift;		/* the same, behind the activation; NULL: none */
	float uniform;
	const struct mica_view *dst, *res;	/* res may be NULL */
	enum mica_fn act;
	float alpha, beta;
#if VL == 16
	struct epi_fixed k;
#endif
};

/* Raw accumulators: integers and numbers as they are, a NaN as the one code. */
static void epi_raw(bool integer, const void *acc, size_t n, void *out)
{
	if (integer)
		memcpy(out, acc, n * 4);
	else
		encode_dense(MICA_F32, acc, n, 1.0f, 0, out);
}

VINL vf epi_load(bool integer, const void *acc, size_t i)
{
	return integer ? vf_of_int(vi_load((const int32_t *)acc + i)) : vf_load((const float *)acc + i);
}

/* t = acc * scale + bias for n channels, rounded up to whole vectors. */
static void epi_scale(const struct epilogue *e, const void *acc, size_t channel, size_t n, float *t)
{
	if (e->scale) {
		for (size_t i = 0; i < n; i += VL)
			vf_store(t + i, vf_fma(epi_load(e->integer, acc, i), vf_load(e->scale + channel + i),
					       vf_load(e->bias + channel + i)));
	} else {
		for (size_t i = 0; i < n; i += VL)
			vf_store(t + i, vf_mul(epi_load(e->integer, acc, i), vf_set(e->uniform)));
	}
}

static void epi_residual(const struct mica_view *res, uint32_t stride, const uint8_t *at, size_t n, float *t)
{
	float r[EPI_CHUNK];

	memset(r + n / VL * VL, 0, n % VL ? VL * sizeof(float) : 0);
	decode_row(res->dtype, at, stride, n, 1.0f, view_zero(res), r);
	for (size_t i = 0; i < n; i += VL)
		vf_store(t + i, vf_fma(vf_load(r + i), vf_set(res->scale), vf_load(t + i)));
}

static void epi_shift(const float *shift, size_t n, float *t)
{
	for (size_t i = 0; i < n; i += VL)
		vf_store(t + i, vf_add(vf_load(t + i), vf_load(shift + i)));
}

/* Activations that cost a few instructions: done in one pass with the rest. */
VINL bool epi_cheap(enum mica_fn act)
{
	return act <= MICA_FN_HSIGMOID;
}

VINL vf epi_act(enum mica_fn act, vf t, vf alpha, vf beta)
{
	switch (act) {
	case MICA_FN_RELU:
		return fv_fn(MICA_FN_RELU, t, alpha, beta);
	case MICA_FN_LEAKY:
		return fv_fn(MICA_FN_LEAKY, t, alpha, beta);
	case MICA_FN_CLIP:
		return fv_fn(MICA_FN_CLIP, t, alpha, beta);
	case MICA_FN_HSWISH:
		return fv_fn(MICA_FN_HSWISH, t, alpha, beta);
	case MICA_FN_HSIGMOID:
		return fv_fn(MICA_FN_HSIGMOID, t, alpha, beta);
	default:
		return t;
	}
}

/* Where `pixels` runs of n channels (from `channel`, a multiple of 16) come from and go to; steps are in bytes. */
struct epi_span {
	const void *acc;		/* readable up to the next multiple of 16 channels */
	size_t acc_step, channel, n, pixels;
	uint8_t *dst;
	const uint8_t *res;
	size_t dst_step, res_step;
	uint32_t dst_c, res_c;		/* from channel to channel */
};

#if VL == 16
#include "epilogue_avx512_impl.h"
#else

static void epi_prepare(struct epilogue *e, size_t channels)
{
	(void)e, (void)channels;
}

VINL size_t epi_whole(size_t n)
{
	return n / VL * VL;
}

/* Whole vectors of dense channels in one pass. */
static void epi_fused(const struct epilogue *e, const struct epi_span *s, size_t whole)
{
	const vf inv = vf_set(e->dst->scale), alpha = vf_set(e->alpha), beta = vf_set(e->beta);
	const vf res_scale = vf_set(e->res ? e->res->scale : 0.0f);
	const enum mica_dtype res_type = e->res ? e->res->dtype : MICA_NONE;
	const unsigned res_size = mica_dtype_size(res_type);
	const int zero = view_zero(e->dst), res_zero = e->res ? view_zero(e->res) : 0;
	const bool integer = e->integer;
	const enum mica_fn act = e->act;

	EACH_DTYPE(e->dst->dtype, {
		for (size_t p = 0; p < s->pixels; p++) {
			const uint8_t *acc = (const uint8_t *)s->acc + p * s->acc_step;
			const uint8_t *res = s->res + p * s->res_step;
			uint8_t *dst = s->dst + p * s->dst_step;

			for (size_t i = 0; i < whole; i += VL) {
				vf t = epi_load(integer, acc, i);

				if (e->scale)
					t = vf_fma(t, vf_load(e->scale + s->channel + i), vf_load(e->bias + s->channel + i));
				else
					t = vf_mul(t, vf_set(e->uniform));
				if (res_type)
					t = vf_fma(dec_codes(res_type, res + i * res_size, res_zero), res_scale, t);
				t = epi_act(act, t, alpha, beta);
				if (e->shift)
					t = vf_add(t, vf_load(e->shift + s->channel + i));
				enc_codes(T, vf_mul(t, inv), zero, dst + i * SIZE);
			}
		}
	})
}

#endif

/* Channels from `first` (a multiple of the vector) on, step by step through a small buffer. */
static void epi_stepwise(const struct epilogue *e, const struct epi_span *s, size_t first)
{
	float t[EPI_CHUNK];

	for (size_t p = 0; p < s->pixels; p++)
		for (size_t i = first; i < s->n; i += EPI_CHUNK) {
			size_t m = s->n - i < EPI_CHUNK ? s->n - i : EPI_CHUNK;

			epi_scale(e, (const uint8_t *)s->acc + p * s->acc_step + i * 4, s->channel + i, m, t);
			if (e->res)
				epi_residual(e->res, s->res_c, s->res + p * s->res_step + i * s->res_c, m, t);
			fn_array(e->act, t, m, e->alpha, e->beta);
			if (e->shift)
				epi_shift(e->shift + s->channel + i, m, t);
			encode_row(e->dst->dtype, t, m, e->dst->scale, view_zero(e->dst),
				   s->dst + p * s->dst_step + i * s->dst_c, s->dst_c);
		}
}

static void epi_run(const struct epilogue *e, const struct epi_span *s)
{
	size_t whole = e->dense && epi_cheap(e->act) ? epi_whole(s->n) : 0;

	if (whole)
		epi_fused(e, s, whole);
	if (whole < s->n)
		epi_stepwise(e, s, whole);
}

#endif /* MICA_EPILOGUE_IMPL_H */
