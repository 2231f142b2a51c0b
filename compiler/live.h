/* SPDX-License-Identifier: MIT */
/* Which step touches which buffer, and who must come before whom: what orders and slices are judged by. */
#ifndef MICA_LIVE_H
#define MICA_LIVE_H

#include "backend.h"

struct live_step {
	unsigned *touch, touches;	/* buffers, each once */
	unsigned *pred, preds;		/* steps */
	unsigned *over, overs;		/* buffers whose place the result may take if they die here */
	unsigned out;			/* buffer of the result */
	bool idle;			/* done by views: touches nothing */
};

struct live {
	struct be_state b;
	struct live_step *step;
	uint64_t *size;			/* by buffer; 0: a constant, an input or output of the model */
	unsigned **user, *users;	/* by buffer: the steps that touch it, ascending */
};

/* be_alias() and be_live() of the graph with its order; nothing is placed. 0 or -code. live_fini in any case. */
int live_init(struct live *l, struct ir_graph *g, const struct mica_compile_options *o);
void live_fini(struct live *l);

struct live_peak { uint64_t bytes; unsigned step, steps; };	/* the first step that reaches it, and how many do */
/* Lets results take their operands' places in l->b (and nowhere else), then finds the peak of the graph's order. */
void live_peak(struct live *l, struct live_peak *peak);

#endif /* MICA_LIVE_H */
