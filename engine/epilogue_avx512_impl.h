/* SPDX-License-Identifier: MIT */
/*
 * The epilogue with AVX-512: four vectors at a time, from one pixel or from several, so that packing to 8-bit codes is
 * shared. Channels beyond n are computed (accumulators and params are readable there) and not stored.
 */
#ifndef MICA_EPILOGUE_AVX512_IMPL_H
#define MICA_EPILOGUE_AVX512_IMPL_H

enum epi_variant { EPI_V_ANY, EPI_V_FAST, EPI_V_CLIP, EPI_V_COUNT };
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
	vf inv, alpha, beta, res_scale;
	enum mica_dtype res_type;
	unsigned res_size;
	int zero, res_zero;
	struct quad_tables tables;	/* of the residual */
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

	if (dtype_is_fp8(r->res_type)) {
		__m128i c[4];
		vi codes;

#pragma GCC unroll 4
		for (unsigned j = 0; j < 4; j++)
			c[j] = _mm_maskz_loadu_epi8(quad_mask(r, j, nv, count), res + quad_at(j, nv, count, step, 1));
		codes = _mm512_inserti32x4(_mm512_castsi128_si512(c[0]), c[1], 1);
		codes = _mm512_inserti32x4(_mm512_inserti32x4(codes, c[2], 2), c[3], 3);
		quad_decode_fp8(&r->tables, codes, &v);
	} else {
		for (unsigned j = 0; j < 4; j++)
			EACH_DTYPE(r->res_type, {
				v.v[j] = dec_codes_part(T, res + quad_at(j, nv, count, step, SIZE), r->res_zero,
							quad_mask(r, j, nv, count));
			})
	}
#pragma GCC unroll 4
	for (int j = 0; j < 4; j++)
		t->v[j] = vf_fma(v.v[j], r->res_scale, t->v[j]);
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
		EPI_EACH4(epi_act(MICA_FN_RELU, t->v[j], r->alpha, r->beta));
		break;
	case MICA_FN_CLIP:
		EPI_EACH4(epi_act(MICA_FN_CLIP, t->v[j], r->alpha, r->beta));
		break;
	default:
		EPI_EACH4(epi_act(r->e->act, t->v[j], r->alpha, r->beta));
		break;
	}
}

VINL void epi_quad_store(const enum mica_dtype type, const struct epi_part *r, uint8_t *dst, const unsigned nv,
			 size_t count, struct quad *t)
{
	size_t step = r->s->dst_step;
	vi codes;

	EPI_EACH4(vf_mul(t->v[j], r->inv));
	if (!dtype_is_quad(type)) {
#pragma GCC unroll 4
		for (unsigned j = 0; j < 4; j++)
			enc_codes_part(type, t->v[j], r->zero, dst + quad_at(j, nv, count, step, mica_dtype_bytes(type)),
				       quad_mask(r, j, nv, count));
		return;
	}
	codes = quad_encode(type, t, r->zero);
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
		   const vf bias[4])
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
	if (r->res_type)
		epi_quad_residual(r, s->res + p * s->res_step + r->i * r->res_size, nv, count, all);
	epi_quad_act(r, all);
	epi_quad_store(type, r, s->dst + p * s->dst_step + r->i * mica_dtype_bytes(type), nv, count, all);
}

/*
 * The common case, without a look at anything that does not change: whole quads, accumulators of the results' class, no
 * residual, an activation that is a clip to [lo, hi]. Returns the pixels that are done. (A NaN passes max and min.)
 */
VINL size_t epi_fast(const enum mica_dtype type, const struct epi_part *r, const unsigned nv, const bool clips, vf low, vf high,
		     const vf scale[4], const vf bias[4])
{
	const bool integer = type == MICA_I8 || type == MICA_U8;
	const unsigned pixels = 4 / nv;
	const size_t acc_step = r->s->acc_step, dst_step = r->s->dst_step;
	const uint8_t *acc = (const uint8_t *)r->s->acc + r->i * 4;
	uint8_t *dst = r->s->dst + r->i;
	const vf inv = r->inv;
	const int zero = r->zero;
	size_t left = r->s->pixels / pixels;

	for (; left; left--, acc += pixels * acc_step, dst += pixels * dst_step) {
		struct quad t;
		vi codes;

#pragma GCC unroll 4
		for (unsigned j = 0; j < 4; j++) {
			vf x = vf_fma(epi_load(integer, acc + j / nv * acc_step + j % nv * 64, 0), scale[j % nv], bias[j % nv]);

			x = vf_max(low, x);
			t.v[j] = vf_mul(clips ? vf_min(high, x) : x, inv);
		}
		codes = quad_encode(type, &t, zero);
		if (nv == 4) {
			vi_store(dst, codes);
		} else if (nv == 2) {
			_mm256_storeu_si256((__m256i *)dst, _mm512_castsi512_si256(codes));
			_mm256_storeu_si256((__m256i *)(dst + dst_step), _mm512_extracti64x4_epi64(codes, 1));
		} else {
			_mm_storeu_si128((__m128i *)dst, _mm512_castsi512_si128(codes));
			_mm_storeu_si128((__m128i *)(dst + dst_step), _mm512_extracti32x4_epi32(codes, 1));
			_mm_storeu_si128((__m128i *)(dst + 2 * dst_step), _mm512_extracti32x4_epi32(codes, 2));
			_mm_storeu_si128((__m128i *)(dst + 3 * dst_step), _mm512_extracti32x4_epi32(codes, 3));
		}
	}
	return r->s->pixels / pixels * pixels;
}

VINL bool epi_is_fast(const enum mica_dtype type, const struct epi_part *r, const unsigned nv)
{
	enum mica_fn act = r->e->act;

	return dtype_is_quad(type) && r->e->integer == (type == MICA_I8 || type == MICA_U8) && !r->res_type &&
	       r->left >= nv * 16 && (act == MICA_FN_COPY || act == MICA_FN_RELU || act == MICA_FN_CLIP);
}

VINL void epi_pixels(const enum mica_dtype type, const struct epi_part *r, const unsigned nv)
{
	vf scale[4], bias[4];
	size_t p = 0;

#pragma GCC unroll 4
	for (unsigned j = 0; j < nv; j++) {
		scale[j] = vf_load(r->e->scale + r->s->channel + r->i + j * 16);
		bias[j] = vf_load(r->e->bias + r->s->channel + r->i + j * 16);
	}
	if (dtype_is_quad(type) && epi_is_fast(type, r, nv)) {
		vf inf = vf_inf_set();

		variant_reached(&epi_reached[type][nv][r->e->act == MICA_FN_CLIP ? EPI_V_CLIP : EPI_V_FAST]);
		if (r->e->act == MICA_FN_CLIP)
			p = epi_fast(type, r, nv, true, r->alpha, r->beta, scale, bias);
		else
			p = epi_fast(type, r, nv, false, r->e->act == MICA_FN_RELU ? vf_set(0.0f) : vf_neg(inf), inf, scale, bias);
	}
	if (p < r->s->pixels)
		variant_reached(&epi_reached[type][nv][EPI_V_ANY]);
	for (; p < r->s->pixels; p += 4 / nv)
		epi_quad(type, r, p, nv, scale, bias);
}

static void epi_fused(const struct epilogue *e, const struct epi_span *s, size_t whole)
{
	struct epi_part r;

	r.e = e;
	r.s = s;
	r.i = 0;
	r.inv = vf_set(e->dst->scale);
	r.alpha = vf_set(e->alpha);
	r.beta = vf_set(e->beta);
	r.zero = view_zero(e->dst);
	r.res_type = MICA_NONE;
	r.res_size = 0;
	r.res_scale = vf_set(0.0f);
	r.res_zero = 0;
	if (e->res) {
		r.res_type = e->res->dtype;
		r.res_size = mica_dtype_size(r.res_type);
		r.res_scale = vf_set(e->res->scale);
		r.res_zero = view_zero(e->res);
		quad_tables(r.res_type, &r.tables);
	}
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
