// SPDX-License-Identifier: MIT
/* Host steps in the compiler: as the engine sees them, and brought together in the order of operators. */
#include <stdlib.h>
#include <string.h>
#include "front.h"

static void host_tensor(const struct ir_value *v, struct mica_host_tensor *t)
{
	t->dtype = MICA_F32;
	t->rank = v->rank;
	for (unsigned i = 0; i < v->rank; i++)
		t->dim[i] = (uint32_t)v->dim[i];
}

void ir_host_step(const struct ir_op *op, struct mica_host_step *s)
{
	memset(s, 0, sizeof(*s));
	s->op = op->a.host;
	s->ins = op->ins;
	for (unsigned i = 0; i < op->ins && i < MICA_HOST_MAX_IN; i++)
		host_tensor(op->in[i], &s->in[i]);
	host_tensor(op->out[0], &s->out);
	memcpy(s->ints, op->a.host_int, sizeof(s->ints));
	memcpy(s->floats, op->a.host_float, sizeof(s->floats));
}

/* ---- few phases ---- */

struct place { struct ir_op *op; unsigned key, order; };

static int by_key(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

/* A phase is a job, then host steps: 2 * phase, + 1 for host steps. As early as the operands allow. */
static unsigned key_of(const struct ir_op *op)
{
	unsigned key = op->kind == IR_HOST;

	for (unsigned i = 0; i < op->ins; i++) {
		const struct ir_value *v = ir_op_in(op, i);
		unsigned k = v && v->def ? (unsigned)(uintptr_t)v->def->scratch : 0;

		k += (k & 1) != (op->kind == IR_HOST);
		key = k > key ? k : key;
	}
	return key;
}

void ir_group_host(struct ir_graph *g)
{
	unsigned n = 0, hosts = 0;
	struct place *list;

	for (struct ir_op *op = g->first; op; op = op->next, n++)
		hosts += op->kind == IR_HOST;
	if (!hosts)
		return;
	list = ir_alloc(n, sizeof(*list));
	n = 0;
	for (struct ir_op *op = g->first; op; op = op->next, n++) {
		list[n] = (struct place){ op, key_of(op), n };
		op->scratch = (void *)(uintptr_t)list[n].key;
	}
	qsort(list, n, sizeof(*list), by_key);
	for (unsigned i = 0; i < n; i++) {
		list[i].op->scratch = NULL;
		ir_op_move(g, list[i].op, NULL);
	}
	free(list);
}
