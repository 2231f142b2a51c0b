/* SPDX-License-Identifier: MIT */
/* Parts of pass `fuse`. Rules return true when they have replaced or removed op. */
#ifndef MICA_FUSE_H
#define MICA_FUSE_H

#include "front.h"

/* pass_fuse.c */
bool fuse_used_once(const struct ir_value *v);
/* op has become part of host: its users read `from`, which now has its meaning and takes its name. */
void fuse_absorb(struct ir_graph *g, struct ir_op *host, struct ir_op *op, struct ir_value *from);

/* fuse_patterns.c */
bool fuse_pattern(struct ir_graph *g, struct ir_op *op);
bool fuse_norm_affine(struct ir_graph *g, struct ir_op *op);	/* gamma and beta into a NORM */

#endif /* MICA_FUSE_H */
