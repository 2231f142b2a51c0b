/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A core's thread: waits for START, runs the job, publishes how it ended. */
#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "mica_internal.h"

bool mica_core_nap(struct mica_core *c)
{
	MicaState *s = c->s;

	if (atomic_load(&c->stop))
		return false;
	c->still = true;
	qemu_cond_broadcast(&s->still_cond);
	qemu_cond_wait(&c->cond, &s->lock);
	c->still = false;
	return !atomic_load(&c->stop);
}

/* Called and returns with the lock held. STATUS, the end of `busy` and the gang's seat change together. */
static void run_job(struct mica_core *c)
{
	MicaState *s = c->s;
	int fault;

	c->go = false;
	c->busy = true;
	qemu_mutex_unlock(&s->lock);
	fault = mica_core_run(c);
	qemu_mutex_lock(&s->lock);
	c->busy = false;
	c->hung = false;
	mica_gang_leave(c);
	if (!s->resetting)
		mica_core_end(c, fault);
	mica_reset_progress(s);
	qemu_cond_broadcast(&s->still_cond);
}

void *mica_core_thread(void *opaque)
{
	struct mica_core *c = opaque;
	MicaState *s = c->s;

	rcu_register_thread();
	qemu_mutex_lock(&s->lock);
	while (!s->quit) {
		if (c->go && !s->paused)
			run_job(c);
		else
			qemu_cond_wait(&c->cond, &s->lock);
	}
	qemu_mutex_unlock(&s->lock);
	rcu_unregister_thread();
	return NULL;
}
