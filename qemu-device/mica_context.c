/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Context slots and invalidation. A translation is stamped with the generation of its slot, so invalidating is to take
 * a new stamp. What is in flight shows in the cores' access_seq: odd while a core uses a translation. The core makes it
 * odd before it reads the generation, we change the generation before we read it, both fully ordered: either the core
 * sees the new generation or we see the core and report busy until its number moves.
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "mica_internal.h"
#include "trace.h"

static void note_accesses(MicaState *s)
{
	smp_mb();
	for (unsigned i = 0; i < s->cores; i++) {
		uint32_t seq = qatomic_read(&s->core[i].access_seq);

		s->inv_seq[i] = seq & 1 ? seq : 0;
	}
}

void mica_context_invalidate(MicaState *s, unsigned ctx)
{
	qatomic_set(&s->ctx[ctx].generation, ++s->stamp);
	trace_mica_invalidate(ctx, s->stamp);
	note_accesses(s);
}

void mica_context_invalidate_all(MicaState *s)
{
	for (unsigned i = 0; i < s->contexts; i++)
		mica_context_invalidate(s, i);
}

bool mica_context_busy(MicaState *s)
{
	bool busy = false;

	for (unsigned i = 0; i < s->cores; i++) {
		if (s->inv_seq[i] && qatomic_read(&s->core[i].access_seq) != s->inv_seq[i])
			s->inv_seq[i] = 0;
		busy |= s->inv_seq[i] != 0;
	}
	return busy;
}

void mica_context_set(MicaState *s, unsigned ctx, uint64_t root)
{
	trace_mica_context_set(ctx, root);
	qatomic_set(&s->ctx[ctx].root, root);
	s->ctx[ctx].owner = ++s->stamp;
	smp_wmb();		/* mica_context_space() reads them in the other order */
	mica_context_invalidate(s, ctx);
}

void mica_context_clear(MicaState *s, unsigned ctx)
{
	trace_mica_context_clear(ctx);
	qatomic_set(&s->ctx[ctx].root, MICA_ROOT_NONE);
	s->ctx[ctx].owner = ++s->stamp;
	smp_wmb();
	mica_context_invalidate(s, ctx);
}

/* A generation that is older than the root is harmless: nobody will ever look for what is cached under it. */
bool mica_context_space(MicaState *s, unsigned ctx, struct mica_space *space)
{
	space->generation = qatomic_load_acquire(&s->ctx[ctx].generation);
	space->root = qatomic_read(&s->ctx[ctx].root);
	return space->root != MICA_ROOT_NONE;
}
