// SPDX-License-Identifier: MIT
/* A repair is kept when the outputs are closer to the f32 model's than without it, and undone otherwise. */
#include <stdlib.h>
#include <string.h>
#include "front.h"
#include "repair.h"

#define MOST_HELD 8
#define LEAST	  16 /* fewer samples are all needed for the repairs themselves */

unsigned repair_held(const struct mica_compile_options *o)
{
	unsigned n = o->calib.count / 8;

	return o->calib.count < LEAST ? 0 : n < MOST_HELD ? n : MOST_HELD;
}

struct ir_graph *repair_keep(const struct ir_graph *g)
{
	return g->quality ? ir_graph_clone(g) : NULL;
}

/* A repair changes constants in place or puts new ones of the same shape, biases also where there were none. */
static void put_back(struct ir_value *now, const struct ir_value *old)
{
	if (!now || !now->data)
		return;
	if (!old)
		memset(now->data, 0, ir_bytes(now));
	else if (now->dtype == old->dtype && ir_same_dims(now, old))
		memcpy(now->data, old->data, ir_bytes(now));
}

static void restore(struct ir_graph *g, const struct ir_graph *old)
{
	const struct ir_op *b = old->first;

	for (struct ir_op *a = g->first; a && b; a = a->next, b = b->next) {
		if (a->kind != IR_CONV)
			continue;
		a->a = b->a;
		for (unsigned i = 1; i <= 2; i++)
			put_back(ir_op_in(a, i), ir_op_in(b, i));
		if (b->ins <= 4)
			ir_op_drop_ins(a, 4);
	}
	g->equalized = old->equalized;
}

int repair_settle(struct ir_graph *g, const struct mica_compile_options *o, struct ir_graph *old, const char *what, int repair)
{
	bool worse = false;
	int r = repair < 0 ? quality_report(g, o, what, &worse) : quality_report_copy(g, o, what, (unsigned)repair, &worse);

	if (!r && worse && old)
		restore(g, old);
	ir_graph_free(old);
	return r;
}
