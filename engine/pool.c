// SPDX-License-Identifier: MIT
/*
 * Threads of an engine. Which thread does an item is open, what it does is not. Each begins with a run of items of its own,
 * so that a layer finds what the one before it left in the same core's cache; who is done helps the others.
 * Whoever has nothing to do spins for a bounded time, then sleeps on a futex: longer while a job runs, since its next
 * packet is near and waking up costs tens of microseconds, and only briefly when none does.
 */
#include "engine_internal.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define OPEN		0x80000000u
#define LINE		64
#define SPIN_NS		100000		/* within a job */
#define SPIN_IDLE_NS	5000		/* outside: the caller may have the next inference at hand */
#define SPIN_BURST	32		/* pauses between looks at the clock */
#define YIELD_NS	20000		/* from then on others may have the CPU: there may be more threads than CPUs */

struct worker {
	struct pool *pool;
	unsigned index;
	pthread_t thread;
	void *scratch;
	_Alignas(LINE) _Atomic uint32_t next;	/* of the items that it begins with, up to `end` */
	uint32_t end;
};

struct pool {
	unsigned threads;
	size_t scratch_size;
	_Atomic bool quit;

	/* The work at hand; written before `ticket` moves on. */
	pool_fn *fn;
	void *ctx;
	unsigned runs;			/* of items: worker[i] has the i-th */
	_Atomic bool busy;		/* between pool_begin and pool_end */
	_Alignas(LINE) _Atomic uint32_t ticket;	/* futex of the workers: one more for each pool_run and pool_begin */
	_Atomic uint32_t sleepers;
	_Alignas(LINE) _Atomic uint32_t state;	/* futex of the caller. OPEN while workers may join; the rest: who is in */
	_Atomic uint32_t waiting;	/* the caller sleeps on state */

	_Alignas(LINE) struct worker worker[];	/* [0] is the caller */
};

/* ---- Waiting --------------------------------------------------------------------------------------------------------- */

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* Spins while *word is `old`: until SPIN_NS have passed in a busy pool, SPIN_IDLE_NS else. false: it is `old` still. */
static bool spin(const struct pool *p, const _Atomic uint32_t *word, uint32_t old)
{
	int64_t start = 0, passed = 0;

	do {
		for (int i = 0; i < SPIN_BURST; i++) {
			if (atomic_load_explicit(word, memory_order_acquire) != old)
				return true;
			cpu_relax();
		}
		if (!start)
			start = now_ns();
		else
			passed = now_ns() - start;
		if (passed > YIELD_NS)
			sched_yield();
	} while (passed < (atomic_load_explicit(&p->busy, memory_order_relaxed) ? SPIN_NS : SPIN_IDLE_NS));
	return false;
}

static void futex_wait(_Atomic uint32_t *word, uint32_t old)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);	/* EINTR, EAGAIN: the caller looks again */
}

static void futex_wake(_Atomic uint32_t *word, unsigned n)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n < INT_MAX ? n : INT_MAX, NULL, NULL, 0);
}

/* ---- Workers --------------------------------------------------------------------------------------------------------- */

static void take_items(struct pool *p, unsigned thread)
{
	unsigned runs = p->runs;

	for (unsigned k = 0; k < runs; k++) {
		struct worker *w = &p->worker[(thread + k) % runs];
		uint32_t i;

		while ((i = atomic_fetch_add_explicit(&w->next, 1, memory_order_relaxed)) < w->end)
			p->fn(p->ctx, i, thread);
	}
}

/* Waits until the ticket differs from *seen, which it updates. false: quit. */
static bool wait_ticket(struct pool *p, uint32_t *seen)
{
	if (!spin(p, &p->ticket, *seen)) {
		atomic_fetch_add(&p->sleepers, 1);
		while (atomic_load(&p->ticket) == *seen)
			futex_wait(&p->ticket, *seen);
		atomic_fetch_sub(&p->sleepers, 1);
	}
	*seen = atomic_load(&p->ticket);
	return !atomic_load(&p->quit);
}

static bool join(struct pool *p)
{
	uint32_t state = atomic_load_explicit(&p->state, memory_order_relaxed);

	while (state & OPEN)
		if (atomic_compare_exchange_weak_explicit(&p->state, &state, state + 1,
							  memory_order_acquire, memory_order_relaxed))
			return true;
	return false;
}

static void leave(struct pool *p)
{
	if (atomic_fetch_sub(&p->state, 1) == 1 && atomic_load(&p->waiting))
		futex_wake(&p->state, 1);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct pool *p = w->pool;
	uint32_t seen = 0;

	fpenv_enter();
	while (wait_ticket(p, &seen)) {
		if (!join(p))
			continue;
		take_items(p, w->index);
		leave(p);
	}
	return NULL;
}

/* ---- The caller ------------------------------------------------------------------------------------------------------ */

/* The ticket moves before sleepers are counted, and sleepers count themselves before they look at it: none is missed. */
static void publish(struct pool *p, unsigned wanted)
{
	atomic_fetch_add(&p->ticket, 1);
	if (atomic_load(&p->sleepers))
		futex_wake(&p->ticket, wanted);
}

/* Keeps out who has not joined yet (a worker that is still waking up), waits for those who have. */
static void close_and_wait(struct pool *p)
{
	uint32_t state = atomic_fetch_and(&p->state, ~OPEN) & ~OPEN;

	while (state) {
		if (!spin(p, &p->state, state)) {
			atomic_store(&p->waiting, 1);
			if (atomic_load(&p->state) == state)
				futex_wait(&p->state, state);
			atomic_store(&p->waiting, 0);
		}
		state = atomic_load_explicit(&p->state, memory_order_acquire);
	}
}

void pool_run(struct pool *p, pool_fn *fn, void *ctx, uint32_t n)
{
	if (p->threads == 1 || n <= 1) {
		for (uint32_t i = 0; i < n; i++)
			fn(ctx, i, 0);
		return;
	}
	p->fn = fn;
	p->ctx = ctx;
	p->runs = p->threads < n ? p->threads : n;
	for (unsigned i = 0; i < p->runs; i++) {
		atomic_store_explicit(&p->worker[i].next, (uint32_t)((uint64_t)n * i / p->runs), memory_order_relaxed);
		p->worker[i].end = (uint32_t)((uint64_t)n * (i + 1) / p->runs);
	}
	atomic_store_explicit(&p->state, OPEN, memory_order_release);
	publish(p, n - 1);
	take_items(p, 0);
	close_and_wait(p);
}

void pool_begin(struct pool *p)
{
	if (p->threads == 1)
		return;
	atomic_store_explicit(&p->busy, true, memory_order_relaxed);
	if (atomic_load_explicit(&p->sleepers, memory_order_relaxed))
		publish(p, p->threads - 1);	/* who wakes up finds the door closed and waits awake */
}

void pool_end(struct pool *p)
{
	atomic_store_explicit(&p->busy, false, memory_order_relaxed);
}

/* ---- Life ------------------------------------------------------------------------------------------------------------ */

struct pool *pool_create(unsigned threads)
{
	struct pool *p = NULL;
	size_t size;
	int err;

	if (!threads || threads > MICA_MAX_THREADS) {
		errno = EINVAL;
		return NULL;
	}
	size = round_up(sizeof(*p) + threads * sizeof(p->worker[0]), LINE);
	p = aligned_alloc(LINE, size);
	if (!p)
		return NULL;
	memset(p, 0, size);
	p->threads = 1;
	for (unsigned i = 1; i < threads; i++) {
		p->worker[i].pool = p;
		p->worker[i].index = i;
		err = pthread_create(&p->worker[i].thread, NULL, worker_main, &p->worker[i]);
		if (err) {
			pool_destroy(p);
			errno = err;
			return NULL;
		}
		p->threads++;
	}
	return p;
}

static void release(struct pool *p)
{
	for (unsigned i = 0; i < p->threads; i++) {
		scratch_free(p->worker[i].scratch, p->scratch_size);
		p->worker[i].scratch = NULL;
	}
	p->scratch_size = 0;
}

void pool_destroy(struct pool *p)
{
	if (!p)
		return;
	atomic_store(&p->quit, true);
	publish(p, p->threads);
	for (unsigned i = 1; i < p->threads; i++)
		pthread_join(p->worker[i].thread, NULL);
	release(p);
	free(p);
}

unsigned pool_threads(const struct pool *p)
{
	return p->threads;
}

bool pool_reserve(struct pool *p, size_t bytes)
{
	bool good = true;

	if (bytes <= p->scratch_size)
		return true;
	release(p);
	p->scratch_size = bytes;
	for (unsigned i = 0; i < p->threads && good; i++) {
		p->worker[i].scratch = scratch_alloc(bytes);
		good = p->worker[i].scratch != NULL;
	}
	if (!good)
		release(p);
	return good;
}

void *pool_scratch(struct pool *p, unsigned thread)
{
	return p->worker[thread].scratch;
}
