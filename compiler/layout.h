/* SPDX-License-Identifier: MIT */
/*
 * Views, the idea behind pass `layout`: a value of the ONNX graph stands for a base value of the new graph whose axes are
 * in another order. Transposes only change the view; real ones are built where an operator needs another order.
 */
#ifndef MICA_LAYOUT_H
#define MICA_LAYOUT_H

#include "front.h"

#define MAX_FORMS 6	/* orders that are kept of one value */

/* base = transpose(v, order): base axis j is axis order[j] of v */
struct view {
	struct ir_value *base;
	int order[IR_MAX_RANK];
};
struct forms {			/* in v->scratch */
	struct view form[MAX_FORMS];	/* form[0] is the native one */
	unsigned n;
};

struct layout {
	struct ir_graph *g;
	struct build b;
	unsigned named;		/* values up to this id have got their names */
};

/* The native view of v; graph inputs and constants have the identity. */
const struct view *layout_view(struct layout *l, struct ir_value *v);
/* Declares that v is base in this order. base takes v's name when it is new. */
void layout_set(struct layout *l, struct ir_value *v, struct ir_value *base, const int *order);
/* v in the wanted order, converted if need be. */
struct ir_value *layout_get(struct layout *l, struct ir_value *v, const int *order);
/* The same for an operand of lower rank that is broadcast to `rank` axes. */
struct ir_value *layout_get_wide(struct layout *l, struct ir_value *v, unsigned rank, const int *order);
/* v reshaped to w's dims, data moved only where the order of axes makes it necessary. */
void layout_reshape(struct layout *l, struct ir_value *v, struct ir_value *w);
void layout_transpose(struct layout *l, struct ir_value *v, struct ir_value *w, const int *perm);

/* Transposes x by perm with as few axes as possible: extents of 1 and neighbours that stay together don't count. */
struct ir_value *layout_transpose_min(struct build *b, struct ir_value *x, const int *perm);

/* ---- pass_layout.c ---- */
extern const int layout_nhwc[4];
int layout_refuse(struct layout *l, const struct ir_op *op, const char *why);	/* UNSUPPORTED, naming op */
/* A new operator with the attributes of op and the format of its result. */
struct ir_op *layout_rebuild(struct layout *l, const struct ir_op *op, enum ir_kind kind, struct ir_value *const *in, unsigned ins,
			     unsigned rank, const int64_t *dim);
void layout_ordered_dims(const struct ir_value *v, const int *order, int64_t *dim);
bool layout_is_identity(const int *order, unsigned rank);
/* A 4-D constant in another order, codes and scales per channel (axis 0 of the result) kept. */
struct ir_value *layout_weights(struct layout *l, struct ir_value *w, const int *perm);

/* ---- layout_convt.c, layout_product.c ---- */
int layout_convt(struct layout *l, struct ir_op *op);
int layout_matmul(struct layout *l, struct ir_op *op);

#endif /* MICA_LAYOUT_H */
