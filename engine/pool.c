// SPDX-License-Identifier: MIT
/*
 * Threads of an engine. Workers take items from a counter, so which thread does an item is open, what it does is not.
 * A worker that finds nothing to do spins for some microseconds, then sleeps.
 */
#include "engine_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define SPINS		400		/* a few microseconds: cheaper than a wake-up, short enough to share the CPU */
#define OPEN		0x80000000u

struct worker {
	struct pool *pool;
	unsigned index;
	pthread_t thread;
	void *scratch;
};

struct pool {
	unsigned threads;
	size_t scratch_size;

	/* The work at hand; written before `ticket` moves on. */
	pool_fn *fn;
	void *ctx;
	uint32_t items;
	_Atomic uint32_t next;
	_Atomic uint32_t state;		/* OPEN while workers may join; the rest counts those that are in */
	_Atomic uint32_t ticket;	/* one more for each pool_run */
	_Atomic bool quit;

	pthread_mutex_t lock;		/* for sleeping only */
	pthread_cond_t wake;
	pthread_cond_t done;
	unsigned sleepers;		/* under lock */

	struct worker worker[];		/* [0] is the caller */
};

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

static void take_items(struct pool *p, unsigned thread)
{
	uint32_t i;

	while ((i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed)) < p->items)
		p->fn(p->ctx, i, thread);
}

/* Sleeps until the ticket differs from *seen, which it updates. false: quit. */
static bool wait_ticket(struct pool *p, uint32_t *seen)
{
	uint32_t now;

	for (int i = 0; i < SPINS; i++) {
		now = atomic_load_explicit(&p->ticket, memory_order_acquire);
		if (now != *seen)
			goto out;
		cpu_relax();
	}
	pthread_mutex_lock(&p->lock);
	p->sleepers++;
	while ((now = atomic_load(&p->ticket)) == *seen)
		pthread_cond_wait(&p->wake, &p->lock);
	p->sleepers--;
	pthread_mutex_unlock(&p->lock);
out:
	*seen = now;
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
	if (atomic_fetch_sub_explicit(&p->state, 1, memory_order_acq_rel) != 1)
		return;
	pthread_mutex_lock(&p->lock);
	pthread_cond_signal(&p->done);
	pthread_mutex_unlock(&p->lock);
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

static void publish(struct pool *p)
{
	atomic_fetch_add(&p->ticket, 1);
	pthread_mutex_lock(&p->lock);
	if (p->sleepers)
		pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

/* Keeps out who has not joined yet (a worker that is still waking up), waits for those who have. */
static void close_and_wait(struct pool *p)
{
	if (atomic_fetch_and_explicit(&p->state, ~OPEN, memory_order_acq_rel) == OPEN)
		return;
	for (int i = 0; i < SPINS; i++) {
		if (!atomic_load_explicit(&p->state, memory_order_acquire))
			return;
		cpu_relax();
	}
	pthread_mutex_lock(&p->lock);
	while (atomic_load_explicit(&p->state, memory_order_acquire))
		pthread_cond_wait(&p->done, &p->lock);
	pthread_mutex_unlock(&p->lock);
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
	p->items = n;
	atomic_store_explicit(&p->next, 0, memory_order_relaxed);
	atomic_store_explicit(&p->state, OPEN, memory_order_release);
	publish(p);
	take_items(p, 0);
	close_and_wait(p);
}

struct pool *pool_create(unsigned threads)
{
	struct pool *p;
	int err;

	if (!threads || threads > MICA_MAX_THREADS) {
		errno = EINVAL;
		return NULL;
	}
	p = calloc(1, sizeof(*p) + threads * sizeof(p->worker[0]));
	if (!p)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	pthread_cond_init(&p->done, NULL);
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

void pool_destroy(struct pool *p)
{
	if (!p)
		return;
	atomic_store(&p->quit, true);
	publish(p);
	for (unsigned i = 1; i < p->threads; i++)
		pthread_join(p->worker[i].thread, NULL);
	for (unsigned i = 0; i < p->threads; i++)
		free(p->worker[i].scratch);
	pthread_cond_destroy(&p->done);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

unsigned pool_threads(const struct pool *p)
{
	return p->threads;
}

bool pool_reserve(struct pool *p, size_t bytes)
{
	if (bytes <= p->scratch_size)
		return true;
	bytes = round_up(bytes, 4096);
	for (unsigned i = 0; i < p->threads; i++) {
		void *mem = NULL;

		if (posix_memalign(&mem, 64, bytes))
			return false;
		free(p->worker[i].scratch);
		p->worker[i].scratch = mem;
	}
	p->scratch_size = bytes;
	return true;
}

void *pool_scratch(struct pool *p, unsigned thread)
{
	return p->worker[thread].scratch;
}
