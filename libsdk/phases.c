// SPDX-License-Identifier: MIT
/*
 * Models with host steps: job, host steps, next job .. in the caller's thread, or in the session's worker when it was
 * submitted or has a timeout. The same code for both backends, which only see one job after the other.
 */
#include <errno.h>
#include <linux/dma-buf.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "sdk.h"

struct phases {
	void *scratch;			/* of the host steps */
	uint32_t *count;		/* by host step: what it found in the last run */
	struct mica_job_stats *total;	/* with the layers' records: summed over the jobs */
	uint64_t host_ns;
	pthread_t thread;
	atomic_bool stop;		/* the session is going away */
	pthread_mutex_t lock;		/* protects what follows */
	pthread_cond_t changed;
	enum { PHASES_IDLE, PHASES_QUEUED, PHASES_DONE, PHASES_QUIT } state;
	int ret;			/* of the run that is DONE, and its text */
	char text[512];
	int eventfd;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- host steps ---- */

static void *address(const struct mica_session *s, uint64_t addr)
{
	uint32_t seg = MICA_ADDR_SEG(addr);
	uint8_t *base = seg == MICA_SEG_WEIGHTS ? (uint8_t *)model_blob(s->model) : segment_ptr(&s->seg[seg]);

	return base + MICA_ADDR_OFF(addr);
}

static int run_step(struct mica_session *s, unsigned index)
{
	struct phases *ph = s->phases;
	const struct mica_host_step *step = &s->model->host[index];
	struct mica_host_call c = { .step = step, .scratch = ph->scratch, .stop = &ph->stop };

	for (unsigned i = 0; i < step->ins; i++)
		c.in[i] = address(s, step->in[i].addr);
	c.out = address(s, step->out.addr);
	if (!mica_host_run(&c)) {
		ph->count[index] = c.count;
		return 0;
	}
	if (!c.why[0])
		return sdk_err(ECANCELED, "the session was destroyed");
	return sdk_err(ERANGE, "%s: layer '%s' (%s): %s; check the model's inputs", s->model->c.meta->name,
		       s->model->c.meta->layers[step->layer]->name, mica_host_name(step->op), c.why);
}

/* The host works in dma-bufs only between these. */
static void sync_imported(struct mica_session *s, uint64_t flags)
{
	for (unsigned i = MICA_SEG_IO; i < s->segments; i++)
		if (s->seg[i].buf->fd >= 0)
			sdk_dmabuf_sync(s->seg[i].buf, flags);
}

static int run_steps(struct mica_session *s, const struct model_phase *p)
{
	uint64_t start = now_ns();
	int ret = 0;

	if (!p->hosts)
		return 0;
	sync_imported(s, DMA_BUF_SYNC_START);
	for (unsigned i = 0; i < p->hosts && !ret; i++)
		ret = run_step(s, p->host + i);
	sync_imported(s, DMA_BUF_SYNC_END);
	s->phases->host_ns += now_ns() - start;
	return ret;
}

/* ---- jobs ---- */

/* Adds a job's statistics; its layers' times count from the start of the first job. */
static void add_stats(struct mica_session *s)
{
	const struct mica_job_stats *job = (void *)((uint8_t *)s->own->map + s->stats_offset);
	struct mica_job_stats *total = s->phases->total;
	const struct mica_layer_stats *from = (const void *)(job + 1);
	struct mica_layer_stats *to = (void *)(total + 1);

	for (unsigned i = 0; i < s->model->layers && i < job->layers; i++) {
		if (!from[i].end)
			continue;
		to[i] = from[i];
		to[i].start += total->cycles;
		to[i].end += total->cycles;
	}
	total->cycles += job->cycles;
	total->macs += job->macs;
	total->dram_read_bytes += job->dram_read_bytes;
	total->dram_write_bytes += job->dram_write_bytes;
	total->peer_bytes += job->peer_bytes;
	for (unsigned e = 0; e < MICA_ENGINE_COUNT; e++)
		total->busy[e] += job->busy[e];
	total->cores = s->model->cores;
	total->packets += job->packets;
	total->layers = s->model->layers;
}

static int run_job(struct mica_session *s, unsigned phase, bool stats)
{
	const struct backend *be = s->model->dev->be;
	int ret;

	s->phase = phase;
	be->session_phase(s);
	ret = be->run(s, -1);
	if (!ret && stats)
		add_stats(s);
	return ret;
}

static int run_all(struct mica_session *s)
{
	const struct mica_model *m = s->model;
	struct phases *ph = s->phases;
	bool stats = !(m->dev->be->stats_once && s->ran);
	int ret = 0;

	if (stats)
		memset(ph->total, 0, s->stats_size);
	ph->host_ns = 0;
	for (unsigned k = 0; k < m->phases && !ret; k++) {
		if (atomic_load(&ph->stop))
			return sdk_err(ECANCELED, "the session was destroyed");
		if (m->phase[k].device)
			ret = run_job(s, k, stats);
		if (!ret)
			ret = run_steps(s, &m->phase[k]);
	}
	return ret;
}

/* ---- the worker ---- */

static void *worker(void *arg)
{
	struct mica_session *s = arg;
	struct phases *ph = s->phases;

	pthread_mutex_lock(&ph->lock);
	while (ph->state != PHASES_QUIT) {
		int ret;

		if (ph->state != PHASES_QUEUED) {
			pthread_cond_wait(&ph->changed, &ph->lock);
			continue;
		}
		pthread_mutex_unlock(&ph->lock);
		ret = run_all(s);
		pthread_mutex_lock(&ph->lock);
		if (ph->state == PHASES_QUIT)
			break;
		ph->ret = ret;
		snprintf(ph->text, sizeof(ph->text), "%s", ret ? mica_error_text() : "");
		ph->state = PHASES_DONE;
		pthread_cond_broadcast(&ph->changed);
		if (ph->eventfd >= 0 && write(ph->eventfd, &(uint64_t){ 1 }, 8) < 0)
			continue;	/* the counter is full: readable anyway */
	}
	pthread_mutex_unlock(&ph->lock);
	return NULL;
}

int phases_submit(struct mica_session *s)
{
	struct phases *ph = s->phases;

	pthread_mutex_lock(&ph->lock);
	ph->state = PHASES_QUEUED;
	pthread_cond_broadcast(&ph->changed);
	pthread_mutex_unlock(&ph->lock);
	return 0;
}

int phases_wait(struct mica_session *s, int64_t timeout_ns)
{
	struct phases *ph = s->phases;
	int64_t deadline = deadline_after(timeout_ns);
	struct timespec ts = { deadline / 1000000000, deadline % 1000000000 };
	int ret = 0;

	pthread_mutex_lock(&ph->lock);
	while (ph->state == PHASES_QUEUED && !ret)
		ret = deadline == INT64_MAX ? pthread_cond_wait(&ph->changed, &ph->lock) :
					      pthread_cond_timedwait(&ph->changed, &ph->lock, &ts);
	if (ph->state == PHASES_QUEUED) {
		pthread_mutex_unlock(&ph->lock);
		return sdk_err(ETIME, "the job did not end within %.3f s; it still runs", timeout_ns / 1e9);
	}
	ph->state = PHASES_IDLE;
	ret = ph->ret;
	pthread_mutex_unlock(&ph->lock);
	return ret ? sdk_err(-ret, "%s", ph->text) : 0;
}

int phases_run(struct mica_session *s, int64_t timeout_ns)
{
	if (timeout_ns < 0)
		return run_all(s);
	phases_submit(s);
	return phases_wait(s, timeout_ns);
}

int phases_eventfd(struct mica_session *s)
{
	struct phases *ph = s->phases;
	bool done;

	pthread_mutex_lock(&ph->lock);
	ph->eventfd = s->eventfd;
	done = ph->state == PHASES_DONE;
	pthread_mutex_unlock(&ph->lock);
	if (done && write(s->eventfd, &(uint64_t){ 1 }, 8) < 0)
		return sdk_err(errno, "cannot signal the eventfd: %s", strerror(errno));
	return 0;
}

/* ---- what the last run was like ---- */

const struct mica_job_stats *phases_stats(const struct mica_session *s)
{
	return s->phases->total;
}

uint64_t phases_host_ns(const struct mica_session *s)
{
	return s->phases->host_ns;
}

uint32_t phases_count(const struct mica_session *s, unsigned step)
{
	return s->phases->count[step];
}

/* ---- birth and death ---- */

static size_t scratch_size(const struct mica_model *m)
{
	size_t most = 0;

	for (unsigned i = 0; i < m->hosts; i++) {
		size_t n = mica_host_scratch(&m->host[i]);

		most = n > most ? n : most;
	}
	return most + 1;
}

int phases_create(struct mica_session *s)
{
	const struct mica_model *m = s->model;
	struct phases *ph;
	int ret;

	if (!m->hosts)
		return 0;
	ph = calloc(1, sizeof(*ph));
	if (!ph)
		return sdk_nomem("a session");
	ph->eventfd = -1;
	ph->scratch = malloc(scratch_size(m));
	ph->count = calloc(m->hosts, sizeof(*ph->count));
	ph->total = calloc(1, s->stats_size);
	if (!ph->scratch || !ph->count || !ph->total || sdk_sync_init(&ph->lock, &ph->changed)) {
		ret = sdk_nomem("the session's host steps");
		goto err_free;
	}
	s->phases = ph;
	ret = pthread_create(&ph->thread, NULL, worker, s);
	if (ret) {
		ret = sdk_err(ret, "cannot start the session's worker: %s", strerror(ret));
		goto err_sync;
	}
	return 0;

err_sync:
	s->phases = NULL;
	pthread_cond_destroy(&ph->changed);
	pthread_mutex_destroy(&ph->lock);
err_free:
	free(ph->scratch);
	free(ph->count);
	free(ph->total);
	free(ph);
	return ret;
}

void phases_destroy(struct mica_session *s)
{
	struct phases *ph = s->phases;

	if (!ph)
		return;
	atomic_store(&ph->stop, true);
	if (s->model->dev->be->session_stop)
		s->model->dev->be->session_stop(s);
	pthread_mutex_lock(&ph->lock);
	ph->state = PHASES_QUIT;
	pthread_cond_broadcast(&ph->changed);
	pthread_mutex_unlock(&ph->lock);
	pthread_join(ph->thread, NULL);
	pthread_cond_destroy(&ph->changed);
	pthread_mutex_destroy(&ph->lock);
	free(ph->scratch);
	free(ph->count);
	free(ph->total);
	free(ph);
}
