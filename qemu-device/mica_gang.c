/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cores of one job meet at its start, at each BARRIER and at its end. The one that arrives last decides for all:
 * the time it is, whether the job is preempted here, and at the end it writes the statistics. A core that faults leaves;
 * the others wait or go on until the firmware kills them, so that the first fault it reads is the cause.
 */
#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "mica_internal.h"
#include "trace.h"

static struct mica_gang *find_gang(struct mica_core *c, uint32_t cores)
{
	MicaState *s = c->s;

	for (unsigned i = 0; i < MICA_MAX_CORES; i++) {
		struct mica_gang *g = &s->gang[i];

		if (g->cores == cores && g->ctx == MICA_CREG(c, CTX) && g->desc == MICA_CREG64(c, DESC) &&
		    !(g->joined & (1u << c->index)))
			return g;
	}
	return NULL;
}

static struct mica_gang *new_gang(struct mica_core *c, uint32_t cores)
{
	MicaState *s = c->s;

	/* A gang that is in use has a member of its own, so one is free for us. */
	for (unsigned i = 0; i < MICA_MAX_CORES; i++) {
		struct mica_gang *g = &s->gang[i];

		if (g->cores)
			continue;
		*g = (struct mica_gang){
			.desc = MICA_CREG64(c, DESC),
			.ctx = MICA_CREG(c, CTX),
			.cores = cores,
		};
		return g;
	}
	g_assert_not_reached();
}

void mica_gang_join(struct mica_core *c)
{
	uint32_t cores = MICA_FIELD(MICA_CREG(c, GANG), MICA_GANG_CORES_MASK);
	struct mica_gang *g;

	QEMU_LOCK_GUARD(&c->s->lock);
	g = find_gang(c, cores);
	if (!g)
		g = new_gang(c, cores);
	g->joined |= 1u << c->index;
	g->members |= 1u << c->index;
	c->gang = g;
}

void mica_gang_leave(struct mica_core *c)
{
	struct mica_gang *g = c->gang;

	if (!g)
		return;
	c->gang = NULL;
	g->members &= ~(1u << c->index);
	g->arrived &= ~(1u << c->index);
	if (!g->members)
		g->cores = 0;
}

static void arrive(struct mica_core *c, struct mica_gang *g, const struct mica_meeting *m)
{
	if (!g->arrived) {
		g->what = m->what;
		g->when = 0;
		g->may_preempt = true;
	}
	g->arrived |= 1u << c->index;
	g->when = MAX(g->when, m->when);
	g->may_preempt &= m->may_preempt;
}

static bool anyone_to_preempt(const MicaState *s, uint32_t members)
{
	for (unsigned i = 0; i < s->cores; i++) {
		if (members & (1u << i) && s->core[i].preempt)
			return true;
	}
	return false;
}

/* The last one: holds the lock but for m->last(), during which nobody leaves. */
static void conclude(struct mica_core *c, struct mica_gang *g, const struct mica_meeting *m)
{
	MicaState *s = c->s;

	g->met_fault = 0;
	if (m->last) {
		g->closing = true;
		qemu_mutex_unlock(&s->lock);
		g->met_fault = m->last(c);
		qemu_mutex_lock(&s->lock);
		g->closing = false;
		g->met_fault_addr = c->run.fault_addr;
	}
	g->met_when = g->when;
	g->met_preempt = g->may_preempt && anyone_to_preempt(s, g->members);
	g->arrived = 0;
	g->generation++;
	for (unsigned i = 0; i < s->cores; i++) {
		if (g->members & (1u << i)) {
			s->core[i].still = false;
			qemu_cond_signal(&s->core[i].cond);
		}
	}
}

/* Returns false when the core was stopped before the others came. */
static bool wait_for_others(struct mica_core *c, struct mica_gang *g)
{
	uint32_t generation = g->generation;

	while (g->generation == generation && (g->closing || !atomic_load(&c->stop))) {
		c->still = !g->closing;
		qemu_cond_broadcast(&c->s->still_cond);
		qemu_cond_wait(&c->cond, &c->s->lock);
	}
	c->still = false;
	return g->generation != generation;
}

int mica_gang_meet(struct mica_core *c, struct mica_meeting *m)
{
	struct mica_gang *g = c->gang;

	QEMU_LOCK_GUARD(&c->s->lock);
	if (g->arrived && g->what != m->what)
		return MICA_FAULT_BARRIER;
	arrive(c, g, m);
	if (g->arrived == g->cores) {
		conclude(c, g, m);
	} else if (!wait_for_others(c, g)) {
		g->arrived &= ~(1u << c->index);
		return MICA_FAULT_ABORTED;
	}
	m->when = g->met_when;
	m->may_preempt = g->met_preempt;
	trace_mica_meet(c->index, m->what, m->when, m->may_preempt);
	if (g->met_fault)
		c->run.fault_addr = g->met_fault_addr;
	return g->met_fault;
}
