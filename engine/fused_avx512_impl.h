/* SPDX-License-Identifier: MIT */
/*
 * Blocked kernels that finish what they have summed up: full tiles of 14 pixels by 2 blocks or 7 by 4, one after another,
 * whose 8-bit results go from the accumulators to memory. Where K is short, storing and loading accumulators and calling a
 * kernel for each tile would cost as much as the products.
 */
#ifndef MICA_FUSED_AVX512_IMPL_H
#define MICA_FUSED_AVX512_IMPL_H

#include "epilogue_impl.h"
#include "gemm_avx512_impl.h"

struct fused {
	struct gemm g;			/* of the first tile; acc is not used, all pixels start alike */
	const struct epi_fixed *k;
	vf scale[4], bias[4];		/* of the blocks */
	const float *shift;		/* of the blocks, or NULL */
	__mmask16 keep;			/* fours of a pixel's channels that exist */
	uint8_t *dst;			/* the first pixel's; the next one is a step on */
	const uint8_t *res;
	size_t dst_step, res_step, tiles;
	size_t ahead_step, ahead_tiles;	/* g.ahead from tile to tile; those that fetch anything */
};
typedef void fused_fn(const struct fused *f);

enum fused_form { FUSED_I8, FUSED_E4M3, FUSED_E5M2, FUSED_FORMS };
static atomic_uchar fused_reached[FUSED_FORMS][2][2];	/* [form][7 by 4][with a residual] */

VINL void fused_body(const enum mac_class cls, const enum mica_dtype type, const unsigned p, const unsigned b, const bool res,
		     const struct fused *f)
{
	const unsigned pixels = 4 / b;
	const uint8_t *a = f->g.a, *from = f->res;
	uint8_t *dst = f->dst;
	size_t ahead = f->g.ahead, fetch = f->ahead_tiles;

	for (size_t left = f->tiles; left; left--, a += p * f->g.lda, ahead += f->ahead_step, fetch -= fetch > 0) {
		__m512 acc[GEMM_MAX_P * 2];

#pragma GCC unroll 28
		for (unsigned i = 0; i < p * b; i++)
			acc[i] = gemm_start(&f->g, 0, i % b);
		gemm_sums(cls, p, b, &f->g, a, fetch ? ahead : 0, acc);
#pragma GCC unroll 7
		for (unsigned q = 0; q < p / pixels; q++) {
			const struct fused *c = f;

			/* Constants are read anew: kept in registers they would push out accumulators. */
			__asm__ volatile("" : "+r"(c));
			epi_fast_quad(type, c->k, b, res, c->keep, acc + 4 * q, c->scale, c->bias, c->shift, dst, c->dst_step,
				      from, c->res_step);
			dst += pixels * c->dst_step;
			from += pixels * c->res_step;
		}
	}
}

#define FUSED_KERNELS(F) \
	F(MAC_I8, I8, 14, 2, 0) F(MAC_I8, I8, 7, 4, 0) F(MAC_I8, I8, 14, 2, 1) F(MAC_I8, I8, 7, 4, 1) \
	F(MAC_FLOAT, E4M3, 14, 2, 0) F(MAC_FLOAT, E4M3, 7, 4, 0) F(MAC_FLOAT, E4M3, 14, 2, 1) F(MAC_FLOAT, E4M3, 7, 4, 1) \
	F(MAC_FLOAT, E5M2, 14, 2, 0) F(MAC_FLOAT, E5M2, 7, 4, 0) F(MAC_FLOAT, E5M2, 14, 2, 1) F(MAC_FLOAT, E5M2, 7, 4, 1)
#define FUSED_KERNEL(cls, type, p, b, res) \
	static void fused_##type##_##p##_##res(const struct fused *f) { fused_body(cls, MICA_##type, p, b, res, f); }
FUSED_KERNELS(FUSED_KERNEL)

#define FUSED_ENTRY(cls, type, p, b, res) [FUSED_##type][p == 7][res] = fused_##type##_##p##_##res,
static fused_fn *const fused_table[FUSED_FORMS][2][2] = { FUSED_KERNELS(FUSED_ENTRY) };

/* The form that a packet's results are made in; FUSED_FORMS: none. */
static enum fused_form fused_form_of(const struct epilogue *e)
{
	if (!e->dense || e->raw || !e->k.fast)
		return FUSED_FORMS;
	return e->dst->dtype == MICA_I8 ? FUSED_I8 : e->dst->dtype == MICA_E4M3 ? FUSED_E4M3 :
	       e->dst->dtype == MICA_E5M2 ? FUSED_E5M2 : FUSED_FORMS;
}

static void fused_run(enum fused_form form, unsigned p, const struct fused *f)
{
	unsigned res = f->k->res_type != MICA_NONE;

	variant_reached(&fused_reached[form][p == 7][res]);
	fused_table[form][p == 7][res](f);
}

#endif /* MICA_FUSED_AVX512_IMPL_H */
