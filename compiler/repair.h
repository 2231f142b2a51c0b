/* SPDX-License-Identifier: MIT */
/* What the passes of the repairs share. */
#ifndef MICA_REPAIR_H
#define MICA_REPAIR_H

#include "front.h"

/* The last so many samples only judge repairs, which are made from the others; 0: there are too few, all are used for both. */
unsigned repair_held(const struct mica_compile_options *o);
static inline unsigned repair_samples(const struct mica_compile_options *o) { return o->calib.count - repair_held(o); }

/* What g is before a repair, NULL when nothing is measured. */
struct ir_graph *repair_keep(const struct ir_graph *g);
/* Measures g behind a repair, says so, undoes the repair if it did harm, and frees old. repair: the bits that g, which is not
 * quantized yet, is to be quantized with for that; -1: it is quantized. 0 or -code. */
int repair_settle(struct ir_graph *g, const struct mica_compile_options *o, struct ir_graph *old, const char *what, int repair);

/* pass_equalize.c: what changed the values' ranges goes into g->equalized, by which tables know their graph. */
void repair_mark(struct ir_graph *g, const float *x, int64_t n);

/* pass_center.c: values between convolutions are moved to where the format rounds them least. */
int center_values(struct ir_graph *g, const struct mica_compile_options *o);

#endif /* MICA_REPAIR_H */
