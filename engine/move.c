// SPDX-License-Identifier: MIT
/* Planes of elements: see move.h. Vectors of 16 bytes are enough: what is left is the memory's time. */
#include "move.h"

#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* ---- Lines ----------------------------------------------------------------------------------------------------------- */

#define LINE(type) \
	for (uint64_t i = 0; i < a->dim; i++) \
		memcpy(dst + (int64_t)i * a->dst, src + (int64_t)i * a->src, sizeof(type))

static void move_line(uint8_t *dst, const uint8_t *src, const struct axis *a, uint32_t elem)
{
	if (a->dst == elem && a->src == elem) {
		memmove(dst, src, a->dim * elem);
		return;
	}
	switch (elem) {
	case 1:
		if (a->dst == 1 && a->src == 0)
			memset(dst, *src, a->dim);
		else
			LINE(uint8_t);
		break;
	case 2:
		LINE(uint16_t);
		break;
	case 4:
		LINE(uint32_t);
		break;
	default:
		LINE(uint64_t);
		break;
	}
}

/* ---- Rows of bytes --------------------------------------------------------------------------------------------------- */

/* len is a constant where this is inlined: the copy becomes a few moves. */
static inline __attribute__((always_inline)) void rows_of(uint8_t *dst, const uint8_t *src, const struct axis *o, size_t len)
{
	for (uint64_t i = 0; i < o->dim; i++, dst += o->dst, src += o->src)
		memcpy(dst, src, len);
}

static void move_rows(uint8_t *dst, const uint8_t *src, const struct axis *o, size_t len)
{
	switch (len) {
	case 8:
		rows_of(dst, src, o, 8);
		break;
	case 16:
		rows_of(dst, src, o, 16);
		break;
	case 32:
		rows_of(dst, src, o, 32);
		break;
	case 64:
		rows_of(dst, src, o, 64);
		break;
	case 128:
		rows_of(dst, src, o, 128);
		break;
	default:
		rows_of(dst, src, o, len);
		break;
	}
}

/* ---- Transpositions: src contiguous along o, dst along in ------------------------------------------------------------- */

#if defined(__SSE2__)

static inline __m128i load16(const uint8_t *p)
{
	return _mm_loadu_si128((const __m128i *)p);
}

static inline void store16(uint8_t *p, __m128i v)
{
	_mm_storeu_si128((__m128i *)p, v);
}

/* One step of a perfect shuffle of n vectors in units of 2^unit bytes: afterwards v[2i] and v[2i+1] are halves mixed. */
#define ZIP(n, lo, hi) do { \
	__m128i t_[n]; \
	for (unsigned i_ = 0; i_ < (n) / 2; i_++) { \
		t_[2 * i_] = lo(v[i_], v[i_ + (n) / 2]); \
		t_[2 * i_ + 1] = hi(v[i_], v[i_ + (n) / 2]); \
	} \
	memcpy(v, t_, sizeof(t_)); \
} while (0)

/*
 * A square of 16 / elem rows of 16 bytes. As many zips of single elements as there are bits in the row's number turn
 * row and column around.
 */
#define SQUARE(bits, lo, hi) do { \
	enum { N = 1 << (bits) }; \
	__m128i v[N]; \
	_Pragma("GCC unroll 16") \
	for (int i = 0; i < N; i++) \
		v[i] = load16(src + i * src_step); \
	_Pragma("GCC unroll 4") \
	for (int b = 0; b < (bits); b++) \
		ZIP(N, lo, hi); \
	_Pragma("GCC unroll 16") \
	for (int i = 0; i < N; i++) \
		store16(dst + i * dst_step, v[i]); \
} while (0)

static inline void square(uint8_t *dst, int64_t dst_step, const uint8_t *src, int64_t src_step, uint32_t elem)
{
	if (elem == 1)
		SQUARE(4, _mm_unpacklo_epi8, _mm_unpackhi_epi8);
	else if (elem == 2)
		SQUARE(3, _mm_unpacklo_epi16, _mm_unpackhi_epi16);
	else if (elem == 4)
		SQUARE(2, _mm_unpacklo_epi32, _mm_unpackhi_epi32);
	else
		SQUARE(1, _mm_unpacklo_epi64, _mm_unpackhi_epi64);
}

#define SIDE(elem) (16 / (elem))

/* n by m elements in squares: at most a cache line either way. */
static void block(uint8_t *dst, int64_t dst_step, uint64_t n, const uint8_t *src, int64_t src_step, uint64_t m,
		  uint32_t elem)
{
	for (unsigned i = 0; i < n; i += SIDE(elem))
		for (unsigned j = 0; j < m; j += SIDE(elem))
			square(dst + i * dst_step + j * elem, dst_step, src + j * src_step + i * elem, src_step, elem);
}

/* Three planes into triples of 2 bytes: 8 bytes are stored to each, the next one mends the last two of them. */
static uint64_t triples2(uint8_t *dst, const uint8_t *src, int64_t plane, uint64_t n)
{
	const __m128i zero = _mm_setzero_si128();
	uint64_t i = 0;

	for (; i + 8 < n; i += 8, src += 16) {
		__m128i a = load16(src), b = load16(src + plane), c = load16(src + 2 * plane);
		__m128i ab[2] = { _mm_unpacklo_epi16(a, b), _mm_unpackhi_epi16(a, b) };
		__m128i cz[2] = { _mm_unpacklo_epi16(c, zero), _mm_unpackhi_epi16(c, zero) };

		for (unsigned k = 0; k < 2; k++, dst += 24) {
			__m128i lo = _mm_unpacklo_epi32(ab[k], cz[k]), hi = _mm_unpackhi_epi32(ab[k], cz[k]);

			_mm_storel_epi64((__m128i *)dst, lo);
			_mm_storel_epi64((__m128i *)(dst + 6), _mm_unpackhi_epi64(lo, lo));
			_mm_storel_epi64((__m128i *)(dst + 12), hi);
			_mm_storel_epi64((__m128i *)(dst + 18), _mm_unpackhi_epi64(hi, hi));
		}
	}
	return i;
}

static void store4(uint8_t *p, __m128i v)
{
	int32_t word = _mm_cvtsi128_si32(v);

	memcpy(p, &word, 4);
}

/* The same of 1 byte. */
static uint64_t triples1(uint8_t *dst, const uint8_t *src, int64_t plane, uint64_t n)
{
	const __m128i zero = _mm_setzero_si128();
	uint64_t i = 0;

	for (; i + 8 < n; i += 8, src += 8) {
		__m128i ab = _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)src),
					       _mm_loadl_epi64((const __m128i *)(src + plane)));
		__m128i cz = _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(src + 2 * plane)), zero);
		__m128i v[2] = { _mm_unpacklo_epi16(ab, cz), _mm_unpackhi_epi16(ab, cz) };

		for (unsigned k = 0; k < 2; k++)
			for (unsigned q = 0; q < 4; q++, dst += 3, v[k] = _mm_srli_si128(v[k], 4))
				store4(dst, v[k]);
	}
	return i;
}

/* Three planes of 4 bytes: 16 are stored to each triple, the next one mends the last 4. */
static uint64_t triples4(uint8_t *dst, const uint8_t *src, int64_t plane, uint64_t n)
{
	uint64_t i = 0;

	for (; i + 4 < n; i += 4, src += 16, dst += 48) {
		__m128i v[4] = { load16(src), load16(src + plane), load16(src + 2 * plane), _mm_setzero_si128() };

		ZIP(4, _mm_unpacklo_epi32, _mm_unpackhi_epi32);
		ZIP(4, _mm_unpacklo_epi32, _mm_unpackhi_epi32);
		for (unsigned k = 0; k < 4; k++)
			store16(dst + 12 * k, v[k]);
	}
	return i;
}

/* Dense triples from three planes; returns how many were made. */
static uint64_t triples(uint8_t *dst, const uint8_t *src, int64_t plane, uint64_t n, uint32_t elem)
{
	switch (elem) {
	case 1:
		return triples1(dst, src, plane, n);
	case 2:
		return triples2(dst, src, plane, n);
	case 4:
		return triples4(dst, src, plane, n);
	default:
		return 0;
	}
}

#else

#define SIDE(elem) 1

static void block(uint8_t *dst, int64_t dst_step, uint64_t n, const uint8_t *src, int64_t src_step, uint64_t m,
		  uint32_t elem)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < m; j++)
			memcpy(dst + i * dst_step + j * elem, src + j * src_step + i * elem, elem);
}

static uint64_t triples(uint8_t *dst, const uint8_t *src, int64_t plane, uint64_t n, uint32_t elem)
{
	(void)dst, (void)src, (void)plane, (void)n, (void)elem;
	return 0;
}

#endif

/* The edges of a transposition: n elements along o by m along in. */
static void edge(uint8_t *dst, const uint8_t *src, const struct axis *o, uint64_t n, const struct axis *in, uint64_t m,
		 uint32_t elem)
{
	if (m < n) {		/* a few planes: one long line each */
		struct axis line = { n, o->dst, o->src };

		for (uint64_t j = 0; j < m; j++)
			move_line(dst + (int64_t)j * in->dst, src + (int64_t)j * in->src, &line, elem);
	} else {
		struct axis line = { m, in->dst, in->src };

		for (uint64_t i = 0; i < n; i++)
			move_line(dst + (int64_t)i * o->dst, src + (int64_t)i * o->src, &line, elem);
	}
}

static void transpose(uint8_t *dst, const uint8_t *src, const struct axis *o, const struct axis *in, uint32_t elem)
{
	const uint64_t line = MOVE_LINE / elem, n = o->dim / SIDE(elem) * SIDE(elem), m = in->dim / SIDE(elem) * SIDE(elem);
	uint64_t done = 0;

	if (in->dim == 3 && o->dst == 3 * (int64_t)elem)
		done = triples(dst, src, in->src, o->dim, elem);
	if (done || !n || !m) {
		edge(dst + (int64_t)done * o->dst, src + (int64_t)done * o->src, o, o->dim - done, in, in->dim, elem);
		return;
	}
	for (uint64_t i = 0; i < n; i += line)
		for (uint64_t j = 0; j < m; j += line)
			block(dst + (int64_t)i * o->dst + (int64_t)(j * elem), o->dst, n - i < line ? n - i : line,
			      src + (int64_t)(i * elem) + (int64_t)j * in->src, in->src, m - j < line ? m - j : line, elem);
	if (n < o->dim)
		edge(dst + (int64_t)n * o->dst, src + (int64_t)n * o->src, o, o->dim - n, in, m, elem);
	if (m < in->dim)
		edge(dst + (int64_t)m * in->dst, src + (int64_t)m * in->src, o, o->dim, in, in->dim - m, elem);
}

void move_plane(uint8_t *dst, const uint8_t *src, const struct axis *ax, unsigned n, uint32_t elem)
{
	if (n == 0)
		memmove(dst, src, elem);
	else if (n == 1)
		move_line(dst, src, ax, elem);
	else if (ax[0].src == elem && ax[1].dst == elem && ax[1].src != elem)
		transpose(dst, src, &ax[0], &ax[1], elem);
	else if (ax[1].src == elem && ax[1].dst == elem)
		move_rows(dst, src, &ax[0], ax[1].dim * elem);
	else
		for (uint64_t i = 0; i < ax[0].dim; i++)
			move_line(dst + (int64_t)i * ax[0].dst, src + (int64_t)i * ax[0].src, &ax[1], elem);
}
