// SPDX-License-Identifier: MIT
/*
 * What other planners would need: the model as its file has it, every node's result a buffer from its definition to its last
 * use, planned without reuse, by first fit and by size-ordered best fit. The measure for what this compiler saves.
 */
#include <stdlib.h>
#include <string.h>
#include "backend.h"
#include "plan.h"

void ir_note_unfused(struct ir_graph *g)
{
	unsigned cap = 0, n = 0;

	if (g->unfused)
		return;
	for (struct ir_op *op = g->first; op; op = op->next)
		op->scratch = (void *)(uintptr_t)n++;
	for (struct ir_op *op = g->first; op; op = op->next) {
		for (unsigned k = 0; k < op->outs; k++) {
			const struct ir_value *v = op->out[k];
			unsigned last = (unsigned)(uintptr_t)op->scratch;

			if (!v || v->data || v->is_output)
				continue;
			for (unsigned u = 0; u < v->uses; u++)
				if ((uintptr_t)v->use[u]->scratch > last)
					last = (unsigned)(uintptr_t)v->use[u]->scratch;
			g->unfused = ir_grow(g->unfused, &cap, g->unfuseds + 1, sizeof(*g->unfused));
			g->unfused[g->unfuseds++] = (struct ir_unfused){ ir_strdup(v->name), (unsigned)(uintptr_t)op->scratch, last,
									 ir_elements(v) };
		}
	}
	for (struct ir_op *op = g->first; op; op = op->next)
		op->scratch = NULL;
}

/* ---- the planners to compare with ---- */

struct by_size { uint64_t size; uint32_t index; };

static int larger_first(const void *a, const void *b)
{
	const struct by_size *x = a, *y = b;

	if (x->size != y->size)
		return x->size > y->size ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/* Where buffer b goes among the `n` placed ones (ascending offsets): the lowest gap, or the smallest that is large enough. */
static uint64_t gap_for(const struct plan_buf *buf, const uint32_t *placed, size_t n, uint32_t b, bool smallest)
{
	uint64_t end = 0, at = UINT64_MAX, least = UINT64_MAX;

	for (size_t i = 0; i < n; i++) {
		const struct plan_buf *o = &buf[placed[i]];

		if (o->first > buf[b].last || o->last < buf[b].first)
			continue;
		if (o->offset >= end && o->offset - end >= buf[b].size && o->offset - end < least) {
			at = end;
			least = o->offset - end;
			if (!smallest)
				return at;
		}
		if (o->offset + o->size > end)
			end = o->offset + o->size;
	}
	return at != UINT64_MAX ? at : end;
}

static uint64_t place_in_order(struct plan_buf *buf, const struct by_size *order, size_t count, bool smallest)
{
	uint32_t *placed = ir_alloc(count, sizeof(*placed));
	uint64_t peak = 0;

	for (size_t n = 0; n < count; n++) {
		struct plan_buf *b = &buf[order[n].index];
		size_t i;

		b->offset = gap_for(buf, placed, n, order[n].index, smallest);
		peak = b->offset + b->size > peak ? b->offset + b->size : peak;
		for (i = n; i > 0 && buf[placed[i - 1]].offset > b->offset; i--)
			placed[i] = placed[i - 1];
		placed[i] = order[n].index;
	}
	free(placed);
	return peak;
}

/* A tensor that the compiled model still has counts in its type, one that was fused away in the model's format. */
static uint64_t unfused_size(const struct ir_graph *g, const struct ir_unfused *u, enum mica_dtype format)
{
	const struct ir_value *v = ir_value_find(g, u->name);
	uint64_t bytes = (uint64_t)u->elements * ir_dtype_size(v && !v->data ? v->dtype : (int)format);

	return (bytes + MICA_LMEM_ALIGN - 1) & ~(uint64_t)(MICA_LMEM_ALIGN - 1);
}

/* The sizes are those of the formats, so this comes after `quantize` and before the backend rewrites the graph. */
void be_baselines(const struct ir_graph *g, enum mica_dtype format, struct be_baselines *out)
{
	size_t n = g->unfuseds;
	struct plan_buf *buf = ir_alloc(n, sizeof(*buf));
	struct plan_problem problem = { .buf = buf, .count = n };
	struct by_size *order = ir_alloc(n, sizeof(*order));

	for (size_t i = 0; i < n; i++) {
		const struct ir_unfused *u = &g->unfused[i];

		buf[i] = (struct plan_buf){ .first = u->first, .last = u->last, .size = unfused_size(g, u, format), .align = MICA_LMEM_ALIGN };
		order[i] = (struct by_size){ buf[i].size, (uint32_t)i };
	}
	*out = (struct be_baselines){ .buffers = (unsigned)n, .no_reuse = plan_no_reuse(buf, n), .lower = plan_lower_bound(buf, n) };
	out->first_fit = place_in_order(buf, order, n, false);
	qsort(order, n, sizeof(*order), larger_first);
	out->best_fit = place_in_order(buf, order, n, true);
	if (n && plan_solve(&problem, &out->planned))
		out->planned = out->best_fit;
	free(order);
	free(buf);
}
