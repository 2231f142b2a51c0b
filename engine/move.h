/* SPDX-License-Identifier: MIT */
/* Moving planes of elements: block copies, strided rows, transpositions. */
#ifndef MICA_MOVE_H
#define MICA_MOVE_H

#include "engine_internal.h"

#define MOVE_LINE	64u	/* bytes of a block of a transposition, both ways: whole cache lines */

struct axis { uint64_t dim; int64_t dst, src; };	/* strides in bytes */

/*
 * n = 0..2 axes, outer first, elements of 1, 2, 4 or 8 bytes; only bytes of the elements are written. Overlapping memory is
 * moved as by memmove when there is one contiguous run, else not allowed. Fast when the inner axis is contiguous on both
 * sides, or dst along the inner and src along the outer one.
 */
void move_plane(uint8_t *dst, const uint8_t *src, const struct axis *ax, unsigned n, uint32_t elem);

#endif /* MICA_MOVE_H */
