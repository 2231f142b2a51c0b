/* SPDX-License-Identifier: MIT */
/* The blocked kernels' interface: p pixels times b blocks of 16 channels over all of K. */
#ifndef MICA_GEMM_H
#define MICA_GEMM_H

#include "mac_impl.h"

struct gemm {
	const uint8_t *a;	/* first pixel; the next one lda bytes on */
	size_t lda;
	const size_t *tap;	/* byte offsets at which `steps` steps of K follow each other */
	uint32_t taps;
	size_t steps;
	const uint8_t *w;	/* first block's steps, taps * steps of them; the next block ldw bytes on */
	size_t ldw;
	const void *start;	/* what accumulators start from: [b][16] */
	size_t start_step;	/* bytes to the next pixel's; 0: all pixels start alike */
	void *acc;		/* [p] of acc_step bytes, each [b][16], written; may be where start is */
	size_t acc_step;
	size_t ahead;		/* from w to bytes that will be needed later and are fetched meanwhile, as many as a block has; 0: none */
	bool flush;		/* scalar path only: vector paths have it in MXCSR */
};
typedef void gemm_fn(const struct gemm *g);

static atomic_uchar gemm_reached[3][5][16];	/* [class][b][p]; p = 0: two pixels at most, widened in registers */

#endif /* MICA_GEMM_H */
