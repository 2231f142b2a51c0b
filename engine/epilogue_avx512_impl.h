/* SPDX-License-Identifier: MIT */
/*
 * The epilogue with AVX-512: four vectors at a time, from one pixel or from several, so that packing to 8-bit codes is
 * shared. Channels beyond n are computed (accumulators and params are readable there) and not stored.
 */
#ifndef MICA_EPILOGUE_AVX512_IMPL_H
#define MICA_EPILOGUE_AVX512_IMPL_H

enum epi_variant { EPI_V_ANY, EPI_V_FAST, EPI_V_FAST_RES, EPI_V_COUNT };
static atomic_uchar epi_reached[MICA_I32 + 1][5][EPI_V_COUNT];	/* [type of results][vectors to a pixel] */

VINL size_t epi_whole(size_t n)
{
	return n;
}

/* A run of nv * 16 channels from `i` on, of all pixels of a span, and what does not change within it. */
struct epi_part {
	const struct epilogue *e;
	const struct epi_span *s;
	size_t i, left;			/* first channel; channels from it to the span's end */
};

/* Byte offset of a quad's vector j: pixels `step` bytes apart, `count` of them exist (others read the first). */
VINL size_t quad_at(unsigned j, const unsigned nv, size_t count, size_t step, const unsigned size)
{
	size_t pixel = j / nv;

	return (pixel < count ? pixel * step : 0) + j % nv * 16 * size;
}

/* The mask of a quad's vector j. */
VINL __mmask16 quad_mask(const struct epi_part *r, unsigned j, const unsigned nv, size_t count)
{
	size_t c = j % nv * 16;

	return j / nv < count && c < r->left ? mask_lanes(r->left - c) : 0;
}

VINL void epi_quad_residual(const struct epi_part *r, const uint8_t *res, const unsigned nv, size_t count, struct quad *t)
{
	size_t step = r->s->res_step;
	struct quad v;

	if (dtype_is_fp8(r->e->k.res_type)) {
		__m128i c[4];
		vi codes;

#pragma GCC unroll 4
		for (unsigned j = 0; j < 4; j++)
			c[j] = _mm_maskz_loadu_epi8(quad_mask(r, j, nv, count), res + quad_at(j, nv, count, step, 1));
		codes = _mm512_inserti32x4(_mm512_castsi128_si512(c[0]), c[1], 1);
		codes = _mm512_inserti32x4(_mm512_inserti32x4(codes, c[2], 2), c[3], 3);
		quad_decode_fp8(&r->e->k.tables, codes, &v);
	} else {
		for (unsigned j = 0; j < 4; j++)
			EACH_DTYPE(r->e->k.res_type, {
				v.v[j] = dec_codes_part(T, res + quad_at(j, nv, count, step, SIZE), r->e->k.res_zero,
							quad_mask(r, j, nv, count));
			})
	}
#pragma GCC unroll 4
	for (int j = 0; j < 4; j++)
		t->v[j] = vf_fma(v.v[j], r->e->k.res_scale, t->v[j]);
}

#define EPI_EACH4(expr) \
	do { \
		_Pragma("GCC unroll 4") \
		for (int j = 0; j < 4; j++) \
			t->v[j] = expr; \
	} while (0)

VINL void epi_quad_act(const struct epi_part *r, struct quad *t)
{
	switch (r->e->act) {
	case MICA_FN_COPY:
		break;
	case MICA_FN_RELU:
		EPI_EACH4(epi_act(MICA_FN_RELU, t->v[j], r->e->k.alpha, r->e->k.beta));
		break;
	case MICA_FN_CLIP:
		EPI_EACH4(epi_act(MICA_FN_CLIP, t->v[j], r->e->k.alpha, r->e->k.beta));
		break;
	default:
		EPI_EACH4(epi_act(r->e->act, t->v[j], r->e->k.alpha, r->e->k.beta));
		break;
	}
}

VINL void epi_quad_shift(const float *shift, const unsigned nv, struct quad *t)
{
	EPI_EACH4(vf_add(t->v[j], vf_load(shift + (unsigned)j % nv * 16)));
}

VINL void epi_quad_store(const enum mica_dtype type, const struct epi_part *r, uint8_t *dst, const unsigned nv,
			 size_t count, struct quad *t)
{
	size_t step = r->s->dst_step;
	vi codes;

	EPI_EACH4(vf_mul(t->v[j], r->e->k.inv));
	if (!dtype_is_quad(type)) {
#pragma GCC unroll 4
		for (unsigned j = 0; j < 4; j++)
			enc_codes_part(type, t->v[j], r->e->k.zero, dst + quad_at(j, nv, count, step, mica_dtype_bytes(type)),
				       quad_mask(r, j, nv, count));
		return;
	}
	codes = quad_encode(type, t, r->e->k.zero);
	if (nv == 4 && r->left >= 64) {
		_mm512_storeu_si512(dst, codes);
	} else if (nv == 2 && r->left >= 32 && count > 1) {	/* stores with a mask are slow: not without need */
		_mm256_storeu_si256((__m256i *)dst, _mm512_castsi512_si256(codes));
		_mm256_storeu_si256((__m256i *)(dst + step), _mm512_extracti64x4_epi64(codes, 1));
	} else if (nv == 1 && r->left >= 16 && count > 3) {
		_mm_storeu_si128((__m128i *)dst, _mm512_castsi512_si128(codes));
		_mm_storeu_si128((__m128i *)(dst + step), _mm512_extracti32x4_epi32(codes, 1));
		_mm_storeu_si128((__m128i *)(dst + 2 * step), _mm512_extracti32x4_epi32(codes, 2));
		_mm_storeu_si128((__m128i *)(dst + 3 * step), _mm512_extracti32x4_epi32(codes, 3));
	} else if (nv == 4) {
		_mm512_mask_storeu_epi8(dst, mask_bytes(r->left), codes);
	} else if (nv == 2) {
		_mm256_mask_storeu_epi8(dst, (__mmask32)mask_bytes(r->left), _mm512_castsi512_si256(codes));
		if (count > 1)
			_mm256_mask_storeu_epi8(dst + step, (__mmask32)mask_bytes(r->left), _mm512_extracti64x4_epi64(codes, 1));
	} else {
		__mmask16 m = mask_lanes(r->left);

		_mm_mask_storeu_epi8(dst, m, _mm512_castsi512_si128(codes));
		if (count > 1)
			_mm_mask_storeu_epi8(dst + step, m, _mm512_extracti32x4_epi32(codes, 1));
		if (count > 2)
			_mm_mask_storeu_epi8(dst + 2 * step, m, _mm512_extracti32x4_epi32(codes, 2));
		if (count > 3)
			_mm_mask_storeu_epi8(dst + 3 * step, m, _mm512_extracti32x4_epi32(codes, 3));
	}
}

VINL void epi_quad(const enum mica_dtype type, const struct epi_part *r, size_t p, const unsigned nv, const vf scale[4],
		   const vf bias[4], const float *shift)
{
	const struct epi_span *s = r->s;
	size_t count = s->pixels - p;
	const uint8_t *acc = (const uint8_t *)s->acc + p * s->acc_step + r->i * 4;
	struct quad t, *all = &t;

#pragma GCC unroll 4
	for (unsigned j = 0; j < 4; j++)
		t.v[j] = epi_load(r->e->integer, acc + quad_at(j, nv, count, s->acc_step, 4), 0);
#pragma GCC unroll 4
	for (unsigned j = 0; j < 4; j++)
		t.v[j] = vf_fma(t.v[j], scale[j % nv], bias[j % nv]);
	if (r->e->k.res_type)
		epi_quad_residual(r, s->res + p * s->res_step + r->i * r->e->k.res_size, nv, count, all);
	epi_quad_act(r, all);
	if (shift)
		epi_quad_shift(shift, nv, all);
	epi_quad_store(type, r, s->dst + p * s->dst_step + r->i * mica_dtype_bytes(type), nv, count, all);
}

VINL bool epi_may_be_fast(const unsigned type)
{
	return type == MICA_I8 || dtype_is_fp8(type);
}

/* ---- The common case: whole quads of 8-bit results, accumulators of their class, no costly activation ---------------------- */

/* 64 codes from x = acc * scale + bias + residual. */
VINL vi epi_fast_codes(const enum mica_dtype type, const struct epi_fixed *k, const unsigned nv, const float *shift, struct quad *t)
{
	vi codes;

	if (__builtin_expect(k->leaky, 0))
		EPI_EACH4(_mm512_mask_mul_ps(t->v[j], vf_lt(t->v[j], vf_set(0.0f)), t->v[j], k->alpha));
	if (dtype_is_fp8(type)) {
		EPI_EACH4(vf_max(k->low, t->v[j]));
		if (k->clips)
			EPI_EACH4(vf_min(k->high, t->v[j]));
		if (shift)
			epi_quad_shift(shift, nv, t);
		EPI_EACH4(vf_mul(t->v[j], k->inv));
		return quad_encode_fp8(type, t);
	}
	/* Rounding is monotone, so clipping codes is clipping values; epi_is_bounded has seen to NaNs and large numbers. */
	EPI_EACH4(vf_mul(t->v[j], k->inv));
	codes = quad_pack_int(type, t, k->zeros);
	return _mm512_min_epi8(_mm512_max_epi8(codes, k->low_code), k->high_code);
}

/* A pixel's nv vectors of channels, by fours. */
VINL __mmask16 epi_all(const unsigned nv)
{
	return (__mmask16)((1u << 4 * nv) - 1);
}

VINL void epi_fast_residual(const enum mica_dtype type, const struct epi_fixed *k, const uint8_t *res, size_t step,
			    const unsigned nv, __mmask16 keep, struct quad *t)
{
	const __mmask8 half = (__mmask8)keep;
	struct quad v;

	if (dtype_is_fp8(type)) {
		vi codes;

		if (nv == 4)
			codes = _mm512_maskz_loadu_epi32(keep, res);
		else if (nv == 2)
			codes = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_maskz_loadu_epi32(half, res)),
						   _mm256_maskz_loadu_epi32(half, res + step), 1);
		else
			codes = _mm512_inserti32x4(_mm512_inserti32x4(_mm512_inserti32x4(_mm512_castsi128_si512(
				_mm_loadu_si128((const __m128i *)res)), _mm_loadu_si128((const __m128i *)(res + step)), 1),
				_mm_loadu_si128((const __m128i *)(res + 2 * step)), 2),
				_mm_loadu_si128((const __m128i *)(res + 3 * step)), 3);
		quad_decode_fp8(&k->tables, codes, &v);
	} else if (keep != epi_all(nv)) {
#pragma GCC unroll 4
		for (unsigned j = 0; j < 4; j++) {
			__mmask8 m = (__mmask8)(keep >> j % nv * 4 & 15);
			vi codes = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi32(m, res + j / nv * step + j % nv * 16));

			v.v[j] = vf_of_int(vi_sub(codes, vi_set(k->res_zero)));
		}
	} else {
#pragma GCC unroll 4
		for (unsigned j = 0; j < 4; j++)
			v.v[j] = dec_codes(MICA_I8, res + j / nv * step + j % nv * 16, k->res_zero);
	}
	EPI_EACH4(vf_fma(v.v[j], k->res_scale, t->v[j]));
}

/* acc: nv vectors of each of 4 / nv pixels; `keep`: the fours of channels that exist, all of them with one vector. */
VINL void epi_fast_quad(const enum mica_dtype type, const struct epi_fixed *k, const unsigned nv, const bool res,
			__mmask16 keep, const __m512 acc[4], const vf *scale, const vf *bias, const float *shift, uint8_t *dst, size_t step,
			const uint8_t *from, size_t from_step)
{
	const bool integer = type == MICA_I8;
	struct quad t;
	vi codes;

#pragma GCC unroll 4
	for (unsigned j = 0; j < 4; j++)
		t.v[j] = vf_fma(integer ? vf_of_int(vf_bits(acc[j])) : acc[j], scale[j % nv], bias[j % nv]);
	if (res)
		epi_fast_residual(type, k, from, from_step, nv, keep, &t);
	codes = epi_fast_codes(type, k, nv, shift, &t);
	if (nv == 4 && keep == epi_all(4)) {
		vi_store(dst, codes);
	} else if (nv == 4) {
		_mm512_mask_storeu_epi32(dst, keep, codes);
	} else if (nv == 2 && keep == epi_all(2)) {
		_mm256_storeu_si256((__m256i *)dst, _mm512_castsi512_si256(codes));
		_mm256_storeu_si256((__m256i *)(dst + step), _mm512_extracti64x4_epi64(codes, 1));
	} else if (nv == 2) {
		_mm256_mask_storeu_epi32(dst, (__mmask8)keep, _mm512_castsi512_si256(codes));
		_mm256_mask_storeu_epi32(dst + step, (__mmask8)keep, _mm512_extracti64x4_epi64(codes, 1));
	} else {
		_mm_storeu_si128((__m128i *)dst, _mm512_castsi512_si128(codes));
		_mm_storeu_si128((__m128i *)(dst + step), _mm512_extracti32x4_epi32(codes, 1));
		_mm_storeu_si128((__m128i *)(dst + 2 * step), _mm512_extracti32x4_epi32(codes, 2));
		_mm_storeu_si128((__m128i *)(dst + 3 * step), _mm512_extracti32x4_epi32(codes, 3));
	}
}

/* Returns the pixels that are done. */
VINL size_t epi_fast(const enum mica_dtype type, const struct epi_part *r, const unsigned nv, const bool res,
		     const vf scale[4], const vf bias[4], const float *shift)
{
	const unsigned pixels = 4 / nv;
	const size_t acc_step = r->s->acc_step, dst_step = r->s->dst_step, res_step = r->s->res_step;
	const uint8_t *acc = (const uint8_t *)r->s->acc + r->i * 4, *from = r->s->res + r->i;
	uint8_t *dst = r->s->dst + r->i;

	for (size_t left = r->s->pixels / pixels; left; left--) {
		__m512 v[4];

#pragma GCC unroll 4
		for (unsigned j = 0; j < 4; j++)
			v[j] = _mm512_loadu_ps(acc + j / nv * acc_step + j % nv * 64);
		epi_fast_quad(type, &r->e->k, nv, res, epi_all(nv), v, scale, bias, shift, dst, dst_step, from, res_step);
		acc += pixels * acc_step;
		dst += pixels * dst_step;
		from += pixels * res_step;
	}
	return r->s->pixels / pixels * pixels;
}

VINL void epi_params(const struct epilogue *e, size_t channel, const unsigned nv, vf *scale, vf *bias)
{
#pragma GCC unroll 4
	for (unsigned j = 0; j < nv; j++) {	/* t * uniform is fma(t, uniform, -0) */
		scale[j] = e->scale ? vf_load(e->scale + channel + j * 16) : vf_set(e->uniform);
		bias[j] = e->scale ? vf_load(e->bias + channel + j * 16) : vf_set(-0.0f);
	}
}

VINL void epi_pixels(const enum mica_dtype type, const struct epi_part *r, const unsigned nv)
{
	const float *shift = r->e->shift ? r->e->shift + r->s->channel + r->i : NULL;
	vf scale[4], bias[4];
	size_t p = 0;

	epi_params(r->e, r->s->channel + r->i, nv, scale, bias);
	if (epi_may_be_fast(type) && r->e->k.fast && r->left >= nv * 16) {
		variant_reached(&epi_reached[type][nv][r->e->k.res_type ? EPI_V_FAST_RES : EPI_V_FAST]);
		p = r->e->k.res_type ? epi_fast(type, r, nv, true, scale, bias, shift) : epi_fast(type, r, nv, false, scale, bias, shift);
	}
	if (p < r->s->pixels)
		variant_reached(&epi_reached[type][nv][EPI_V_ANY]);
	for (; p < r->s->pixels; p += 4 / nv)
		epi_quad(type, r, p, nv, scale, bias, shift);
}

/* ---- Once for a packet ------------------------------------------------------------------------------------------------------ */

/* The i8 code of y in all bytes. */
VINL vi epi_code_of(vf y, int zero)
{
	return _mm512_broadcastb_epi8(_mm512_castsi512_si128(enc_int8(y, zero, -128, 127)));
}

/* No integer accumulator can become a NaN, or too large for the conversion to i32; and conversion is monotone. */
static bool epi_is_bounded(const struct epilogue *e, size_t channels)
{
	vf res = vf_mul(vf_abs(e->k.res_scale), vf_set(512.0f));
	__mmask16 good = 0xffff;

	for (size_t i = 0; i < channels; i += 16) {
		vf scale, bias, most;

		epi_params(e, i, 1, &scale, &bias);
		most = vf_add(vf_fma(vf_abs(scale), vf_set(0x1p31f), vf_abs(bias)), res);
		good &= vf_lt(vf_mul(most, e->k.inv), vf_set(0x1p30f));
	}
	return good == 0xffff && e->dst->scale > 0 && !(e->k.leaky && !(e->alpha >= -1 && e->alpha <= 1)) &&
	       !(e->k.clips && e->beta != e->beta);
}

static bool epi_is_fast(const struct epilogue *e, size_t channels)
{
	unsigned type = e->dst->dtype, res = e->k.res_type;
	bool integer = type == MICA_I8;

	return epi_may_be_fast(type) && e->integer == integer && e->act <= MICA_FN_CLIP &&
	       (!res || (integer ? res == MICA_I8 : dtype_is_fp8(res))) && (!integer || epi_is_bounded(e, channels));
}

/* `channels`: of params, a multiple of 16. */
static void epi_prepare(struct epilogue *e, size_t channels)
{
	struct epi_fixed *k = &e->k;

	k->inv = vf_set(e->dst->scale);
	k->alpha = vf_set(e->alpha);
	k->beta = vf_set(e->beta);
	k->zero = view_zero(e->dst);
	k->zeros = _mm512_set1_epi16((short)k->zero);
	k->res_scale = vf_set(0.0f);
	if (e->res) {
		k->res_type = e->res->dtype;
		k->res_size = mica_dtype_size(k->res_type);
		k->res_scale = vf_set(e->res->scale);
		k->res_zero = view_zero(e->res);
		quad_tables(k->res_type, &k->tables);
	}
	k->leaky = e->act == MICA_FN_LEAKY;
	k->clips = e->act == MICA_FN_CLIP;
	k->low = k->clips ? k->alpha : e->act == MICA_FN_RELU ? vf_set(0.0f) : vf_neg(vf_inf_set());
	k->high = k->clips ? k->beta : vf_inf_set();
	k->low_code = epi_code_of(vf_mul(k->low, k->inv), k->zero);
	k->high_code = epi_code_of(vf_mul(k->high, k->inv), k->zero);
	k->fast = epi_is_fast(e, channels);
}

static void epi_fused(const struct epilogue *e, const struct epi_span *s, size_t whole)
{
	struct epi_part r = { .e = e, .s = s };

	while (r.i < whole) {
		unsigned vectors = (unsigned)((whole - r.i + 15) / 16), nv;

		r.left = whole - r.i;
		nv = vectors == 1 ? 1 : vectors < 4 ? 2 : 4;
		EACH_DTYPE(e->dst->dtype, {
			if (nv == 1)
				epi_pixels(T, &r, 1);
			else if (nv == 2)
				epi_pixels(T, &r, 2);
			else
				epi_pixels(T, &r, 4);
			(void)SIZE;
		})
		r.i += nv * 16;
	}
}

#endif /* MICA_EPILOGUE_AVX512_IMPL_H */
