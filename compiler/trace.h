/* SPDX-License-Identifier: MIT */
/* The tracer's parts (trace.c), for those who run some of its steps in an order of their own. */
#ifndef MICA_TRACE_H
#define MICA_TRACE_H

#include "backend.h"

struct ir_tracer {
	struct ir_graph *g;
	struct mica_engine *engine;
	struct be_blob blob;
	struct be_packets packets;
	unsigned *end;			/* by step: packets up to here */
	unsigned steps;
	uint64_t *offset;		/* by value id: place in LMEM */
	uint8_t *lmem;
	uint64_t lmem_size;
	void *scratch;			/* of host steps */
	size_t scratch_size;
};

/* Whether the value has a place in LMEM; constants that packets read from the blob have none. */
bool trace_placed(const struct ir_graph *g, const struct ir_value *v);
int trace_place(struct ir_tracer *t);		/* offset[] and lmem_size, by live ranges; steps is set */
int trace_lower(struct ir_tracer *t, struct ir_op *op, unsigned step);	/* appends the packets of one operator */
void trace_constants(const struct ir_tracer *t);	/* into lmem */
int trace_host(const struct ir_tracer *t, const struct ir_op *op);	/* runs a host step on lmem, with scratch */

#endif /* MICA_TRACE_H */
