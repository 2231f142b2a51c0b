/* SPDX-License-Identifier: MIT */
/*
 * Which waiting job gets cores next. Highest priority first, raised by age; among equals the one that has waited for
 * its turn longest, which is round robin over contexts. docs/firmware.md states the rules and why nobody starves.
 */
#include "fw.h"

void sched_ready(struct fw_context *c)
{
	struct fw_job *j = &c->job;

	if (!j->started)	/* a preempted job keeps its place among its equals */
		j->turn = fw.turn++;
	j->ready_since = fw.now;
	j->state = FW_JOB_READY;
	set_bit(fw.ready, ctx_slot(c));
}

void sched_forget(struct fw_context *c)
{
	clear_bit(fw.ready, ctx_slot(c));
}

bool sched_waiting(void)
{
	return any_bit(fw.ready);
}

static u32 aged_priority(const struct fw_context *c)
{
	u32 priority = c->priority + (fw.now - c->job.ready_since) / FW_AGE_US;

	return priority < FW_PRIORITIES ? priority : FW_PRIORITIES - 1;
}

/* What a waiting job has to exceed to preempt this one. */
static u32 shielded_priority(const struct fw_context *c)
{
	return fw.now - c->job.run_since < FW_SHIELD_US ? c->job.boost : c->priority;
}

static bool earlier(const struct fw_context *a, const struct fw_context *b)
{
	return (s32)(a->job.turn - b->job.turn) < 0;
}

/*
 * The next waiting job that asks for at most max_cores, of priority `only` if that is one. aged: by its priority with
 * age, else by its own.
 */
static struct fw_context *pick(bool aged, u32 max_cores, u32 only)
{
	struct fw_context *best = NULL;
	u32 best_priority = 0, slot;

	for_each_bit(slot, fw.ready) {
		struct fw_context *c = &fw.ctx[slot];
		u32 priority = aged ? aged_priority(c) : c->priority;

		if (c->job.cores > max_cores || (only < FW_PRIORITIES && priority != only))
			continue;
		if (!best || priority > best_priority || (priority == best_priority && earlier(c, best))) {
			best = c;
			best_priority = priority;
		}
	}
	return best;
}

static u32 lowest_cores(u32 set, u32 n)
{
	u32 taken = 0;

	for (; n; n--, set &= set - 1)
		taken |= set & -set;
	return taken;
}

static void start(struct fw_context *c)
{
	c->job.boost = (u8)aged_priority(c);
	sched_forget(c);
	job_start(c, lowest_cores(fw.free_cores, c->job.cores));
}

/*
 * The first in line, if its cores are free. A gang that has to wait for more of them lets equals overtake at first;
 * then the free cores are kept for it. Lower priorities never overtake it.
 */
static struct fw_context *choose(u32 free)
{
	struct fw_context *c = pick(true, FW_MAX_CORES, FW_PRIORITIES);

	if (!c || c->job.cores <= free)
		return c;
	if (fw.now - c->job.ready_since >= FW_GANG_US)
		return NULL;
	return pick(true, free, aged_priority(c));
}

/* ---- preemption ---- */

/* Running jobs that a job of this priority may push aside; the best victim is the lowest and latest. */
static struct fw_context *pick_victim(u32 priority, u32 skip_cores)
{
	struct fw_context *victim = NULL;
	u32 left = ((1u << fw.cores) - 1) & ~fw.free_cores & ~skip_cores;

	while (left) {
		struct fw_context *c = &fw.ctx[fw.core[first_core(left)].ctx];

		left &= ~(u32)c->job.gang;
		if (c->job.state != FW_JOB_RUNNING || c->job.preempting || shielded_priority(c) >= priority)
			continue;
		if (!victim || c->priority < victim->priority ||
		    (c->priority == victim->priority && earlier(victim, c)))
			victim = c;
	}
	return victim;
}

/* Cores that are free or will be, because their job has been told to stop. */
static u32 coming_cores(void)
{
	u32 coming = fw.free_cores;

	for (u32 core = 0; core < fw.cores; core++) {
		const struct fw_job *j = &fw.ctx[fw.core[core].ctx].job;

		if (fw.core[core].ctx && (j->preempting || j->state == FW_JOB_STOPPING))
			coming |= 1u << core;
	}
	return count_bits(coming);
}

/* Makes room for the waiting job of the highest priority of its own if enough lower ones run; else disturbs nobody. */
static void preempt(void)
{
	struct fw_context *c = pick(false, FW_MAX_CORES, FW_PRIORITIES), *victim, *victims[FW_MAX_CORES];
	u32 coming = coming_cores(), skip = 0, n = 0;

	while (coming < c->job.cores) {
		victim = pick_victim(c->priority, skip);
		if (!victim)
			return;
		victims[n++] = victim;
		skip |= victim->job.gang;
		coming += victim->job.cores;
	}
	while (n)
		job_preempt(victims[--n]);
}

void sched_run(void)
{
	if (fw.suspending)
		return;
	while (fw.free_cores && sched_waiting()) {
		struct fw_context *c = choose(count_bits(fw.free_cores));

		if (!c)
			break;
		start(c);
	}
	if (sched_waiting())
		preempt();
}
