/* SPDX-License-Identifier: MIT */
/* Multiply-accumulate of the float class and what it needs around it: docs/numerics.md section 3. */
#ifndef MICA_MAC_IMPL_H
#define MICA_MAC_IMPL_H

#include "code_vec.h"

enum mac_class { MAC_FLOAT, MAC_I8, MAC_F32 };

VINL enum mac_class mac_class_of(unsigned dtype)
{
	return dtype == MICA_F32 ? MAC_F32 : dtype == MICA_I8 ? MAC_I8 : MAC_FLOAT;
}

/* Only bf16 can make subnormal results or has subnormals that count as zero. */
VINL bool mac_flushes(unsigned a, unsigned b)
{
	return a == MICA_BF16 || b == MICA_BF16;
}

/*
 * Flushing of subnormals. Vector paths let the hardware do it while kernels run; with one lane it is done in software,
 * like the hardware: by the result as it would round with an unbounded exponent.
 */
VINL unsigned flush_enter(bool flush)
{
#if VL > 1
	unsigned saved = _mm_getcsr();

	if (flush)
		_mm_setcsr(saved | 0x8040);
	return saved;
#else
	(void)flush;
	return 0;
#endif
}

VINL void flush_leave(unsigned saved)
{
#if VL > 1
	_mm_setcsr(saved);
#else
	(void)saved;
#endif
}

/* fz(fma(a, w, acc)) if flush, else fma(a, w, acc). */
VINL vf mac(vf a, vf w, vf acc, bool flush)
{
	vf y = vf_fma(a, w, acc);

#if VL == 1
	if (flush && vf_abs(y) <= 0x1p-126f) {
		double exact = (double)a * (double)w + (double)acc;

		if (__builtin_fabs(exact) < 0x1p-126 * (1 - 0x1p-25))
			y = vf_copysign(0.0f, y);
	}
#else
	(void)flush;
#endif
	return y;
}

/* Subnormals to zeroes of their sign, in place; n is rounded up to whole vectors. */
static void flush_array(float *x, size_t n)
{
	for (size_t i = 0; i < n; i += VL) {
		vf v = vf_load(x + i);
		vm normal = vm_not(vi_gt(vi_set(0x00800000), vi_and(vf_bits(v), vi_set(INT32_MAX))));

		vf_store(x + i, vf_sel(normal, v, vf_copysign(vf_set(0.0f), v)));
	}
}

/* Codes as operands of a multiply-accumulate: no scale, no zero point; i8 as whole numbers. Room for whole vectors. */
static void decode_mac(unsigned dtype, const uint8_t *src, size_t n, float *out)
{
	decode_dense(dtype, src, n, 1.0f, 0, out);
	if (dtype == MICA_BF16)
		flush_array(out, n);
}

/* Small packets: all items on the caller's thread. */
static void run_here(pool_fn *fn, void *ctx, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		fn(ctx, i, 0);
}

#endif /* MICA_MAC_IMPL_H */
