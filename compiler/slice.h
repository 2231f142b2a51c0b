/* SPDX-License-Identifier: MIT */
/* Rewriting a stretch of steps so that it runs slice of rows by slice of rows (slice_apply.c), and who decides that (slice.c). */
#ifndef MICA_SLICE_H
#define MICA_SLICE_H

#include "ir.h"

struct slice_rows { int64_t lo, hi; };

/* Are the rows (axis 1) of the result a function of rows of the operands? */
bool slice_row_wise(const struct ir_op *op);
/*
 * op[0..n-1] are consecutive steps with scratch = position in the graph + 1. Which rows of each one's result are needed for
 * rows lo..hi-1 of the last one's. False when a slice would be empty or lie in padding alone.
 */
bool slice_needs(struct ir_op *const *op, unsigned n, int64_t lo, int64_t hi, struct slice_rows *rows);
/* Replaces the n steps from `first` on. slice_needs() must have agreed to every slice. */
void slice_apply(struct ir_graph *g, struct ir_op *first, unsigned n, unsigned slices);

#endif /* MICA_SLICE_H */
