// SPDX-License-Identifier: MIT
/* The CPU backend: the engine runs the same commands here, in the caller's thread or, when submitted, in a worker. */
#include <errno.h>
#include <linux/dma-buf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "mica/regs.h"
#include "sdk.h"

#define DMABUF_HANDLE 1u	/* mica_buffer.handle of an imported dma-buf */

/* mica_device.priv is unused; mica_model.priv is the struct mica_prepared; this is mica_session.priv */
struct cpu_session {
	struct mica_engine *engine;
	struct mica_binding mem;	/* LMEM of all cores lies in front of the session's own segments */
	atomic_bool stop;
	struct mica_job_fault fault;
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock;		/* protects what follows */
	pthread_cond_t changed;
	enum { CPU_IDLE, CPU_QUEUED, CPU_DONE, CPU_QUIT } phase;
	int code;			/* MICA_FAULT_* of the job that is DONE */
	int eventfd;			/* the session's, once asked for; else -1 */
};

static int cpu_open(struct mica_device *dev, const struct mica_device_options *o)
{
	const struct mica_params *par = &mica_params_default;
	enum mica_isa_level best = mica_isa_best();

	dev->isa = o->isa == MICA_CPU_AUTO ? best : (enum mica_isa_level)o->isa;
	if (dev->isa > best)
		return sdk_err(EOPNOTSUPP, "this CPU cannot run the %s kernels; the best it has is %s",
			       mica_isa_level_name(dev->isa), mica_isa_level_name(best));
	dev->info = (struct mica_device_info){
		.backend = MICA_BACKEND_CPU, .cores = MICA_MAX_CORES, .mac_rows = par->mac_rows, .mac_cols = par->mac_cols,
		.vector_lanes = par->vector_lanes, .dram_bytes_per_cycle = par->dram_bytes_per_cycle,
		.isa_version = MICA_ISA_VERSION, .threads = o->threads,
	};
	snprintf(dev->info.name, sizeof(dev->info.name), "cpu (%s, %u thread%s)", mica_isa_level_name(dev->isa), o->threads,
		 o->threads == 1 ? "" : "s");
	return 0;
}

static void cpu_close(struct mica_device *dev)
{
	(void)dev;
}

/* ---- buffers ---- */

static int cpu_buffer_alloc(struct mica_buffer *b)
{
	b->map = sdk_pages(b->size);
	b->map_size = b->size;
	return b->map ? 0 : sdk_err(ENOMEM, "out of memory for a buffer of %zu bytes", b->size);
}

int sdk_dmabuf_sync(const struct mica_buffer *b, uint64_t flags)
{
	struct dma_buf_sync sync = { .flags = flags | DMA_BUF_SYNC_RW };
	int ret;

	do
		ret = ioctl(b->fd, DMA_BUF_IOCTL_SYNC, &sync);
	while (ret && (errno == EINTR || errno == EAGAIN));
	return ret;
}

static int cpu_buffer_import(struct mica_buffer *b, int fd)
{
	off_t have = lseek(fd, 0, SEEK_END);

	if (have >= 0 && (size_t)have < b->size)
		return sdk_err(ERANGE, "the imported buffer has %lld bytes, %zu were asked for", (long long)have, b->size);
	b->fd = dup(fd);
	if (b->fd < 0)
		return sdk_err(errno, "cannot keep the imported descriptor: %s", strerror(errno));
	b->map = mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);
	if (b->map == MAP_FAILED) {
		int err = errno;

		close(b->fd);
		return sdk_err(err, "cannot map the imported buffer: %s", strerror(err));
	}
	b->map_size = b->size;
	if (!sdk_dmabuf_sync(b, DMA_BUF_SYNC_START)) {
		b->handle = DMABUF_HANDLE;
		sdk_dmabuf_sync(b, DMA_BUF_SYNC_END);
	}
	return 0;
}

static int cpu_buffer_export(struct mica_buffer *b)
{
	(void)b;
	return sdk_err(EOPNOTSUPP, "the CPU backend cannot make a dma-buf of its memory; allocate one elsewhere and import it");
}

static void cpu_buffer_free(struct mica_buffer *b)
{
	munmap(b->map, b->map_size);
	if (b->fd >= 0)
		close(b->fd);
}

/* ---- models ---- */

static void fill_job(const struct mica_model *m, unsigned phase, struct mica_job *job)
{
	for (unsigned i = 0; i < m->cores; i++) {
		job->stream[i] = m->phase[phase].stream[i];
		job->stream_size[i] = m->phase[phase].stream_size[i];
	}
	job->cores = m->cores;
	job->lim.lmem_size = m->c.meta->lmem_size;
	job->lim.cores = m->cores;
	job->lim.segments = MICA_SEG_IO + m->inputs + m->outputs;
	job->layers = m->layers;
	job->lim.seg_size[MICA_SEG_WEIGHTS] = m->c.blob_size;
	job->lim.seg_size[MICA_SEG_ARENA] = m->c.meta->arena_size;
	job->lim.seg_write[MICA_SEG_ARENA] = true;
	for (unsigned i = 0; i < m->inputs + m->outputs; i++) {
		job->lim.seg_size[MICA_SEG_IO + i] = m->tensor[i].bytes;
		job->lim.seg_write[MICA_SEG_IO + i] = i >= m->inputs;
	}
}

/* The engine counts packets, people (and the device) name them by their offset. */
static size_t packet_offset(const struct mica_model *m, const struct model_phase *p, const struct mica_job_fault *f)
{
	size_t at = 0;

	for (uint32_t i = 0; f->core < m->cores && i < f->packet && at < p->stream_size[f->core]; i++)
		at += (size_t)((const struct mica_pkt_hdr *)(p->stream[f->core] + at))->units * MICA_PKT_ALIGN;
	return at;
}

static const char *packet_op(const struct mica_model *m, const struct model_phase *p, const struct mica_job_fault *f, size_t at)
{
	return f->core < m->cores && at < p->stream_size[f->core] ? mica_op_name(p->stream[f->core][at]) : "?";
}

static size_t lmem_pitch(const struct mica_model *m)
{
	return align_up(m->c.meta->lmem_size, SESSION_ALIGN);
}

static size_t cpu_session_front(const struct mica_model *m)
{
	return lmem_pitch(m) * m->cores;
}

/* Where every session of the model has its memories, so that packets can reach segments from LMEM. */
static int fill_layout(const struct mica_model *m, struct mica_layout *l)
{
	size_t offset[MICA_MAX_SEGMENTS], end;
	int ret = session_layout(m, offset, &end);

	for (unsigned i = 0; i < m->cores; i++)
		l->lmem[i] = lmem_pitch(m) * i;
	for (unsigned i = MICA_SEG_ARENA; !ret && i < MICA_SEG_IO + m->inputs + m->outputs; i++) {
		l->seg[i] = offset[i];
		l->segs |= 1ull << i;
	}
	return ret;
}

static int prepare_phase(struct mica_model *m, unsigned phase, const struct mica_layout *layout)
{
	const struct model_phase *p = &m->phase[phase];
	struct mica_prepared **list = m->priv;
	struct mica_job job = { 0 };
	struct mica_job_fault f = { 0 };
	size_t at;
	int code;

	fill_job(m, phase, &job);
	code = mica_job_prepare(&job, layout, &list[phase], &f);
	if (!code)
		return 0;
	if (code == MICA_FAULT_BUS)
		return sdk_nomem("the model's commands");
	at = packet_offset(m, p, &f);
	return sdk_err(EBADMSG, "%s: its commands are refused: core %u, packet at 0x%zx (%s, layer '%s')%s%s: %s%s%s; compile the model again",
		       m->c.meta->name, f.core, at, packet_op(m, p, &f, at), model_packet_layer(m, phase, f.core, at),
		       f.field ? ", field " : "", f.field ? f.field : "", fault_name(code),
		       code == MICA_FAULT_PACKET ? ", " : "", code == MICA_FAULT_PACKET ? mica_check_name(f.check) : "");
}

static void cpu_model_unload(struct mica_model *m)
{
	struct mica_prepared **list = m->priv;

	for (unsigned k = 0; k < m->phases; k++)
		mica_prepared_free(list[k]);
	free(list);
}

static int cpu_model_load(struct mica_model *m)
{
	struct mica_layout layout = { 0 };
	int ret = fill_layout(m, &layout);

	if (ret)
		return ret;
	m->priv = calloc(m->phases, sizeof(struct mica_prepared *));
	if (!m->priv)
		return sdk_nomem("the model's commands");
	for (unsigned k = 0; k < m->phases && !ret; k++)
		if (m->phase[k].device)
			ret = prepare_phase(m, k, &layout);
	if (ret)
		cpu_model_unload(m);
	return ret;
}

/* The most cores that some phase can run side by side. */
static unsigned parallel(const struct mica_model *m)
{
	struct mica_prepared *const *list = m->priv;
	unsigned most = 1;

	for (unsigned k = 0; k < m->phases; k++) {
		unsigned n = list[k] ? mica_prepared_parallel(list[k]) : 1;

		if (n > most)
			most = n;
	}
	return most;
}

/* ---- sessions ---- */

static void cpu_session_bind(struct mica_session *s, unsigned seg)
{
	struct cpu_session *cs = s->priv;

	cs->mem.seg[seg] = segment_ptr(&s->seg[seg]);
}

static struct mica_prepared *prepared(const struct mica_session *s)
{
	return ((struct mica_prepared **)s->model->priv)[s->phase];
}

/* Time is a function of the commands alone: what a run reports is known before it. */
static void cpu_session_phase(struct mica_session *s)
{
	struct mica_job_stats *stats = (void *)((uint8_t *)s->own->map + s->stats_offset);

	if (prepared(s) && !s->ran)
		mica_prepared_stats(prepared(s), stats, (struct mica_layer_stats *)(stats + 1));
}

static void cpu_session_stop(struct mica_session *s)
{
	atomic_store(&((struct cpu_session *)s->priv)->stop, true);
}

static int create_engine(struct mica_session *s, struct cpu_session *cs)
{
	const struct mica_device *dev = s->model->dev;

	cs->engine = mica_engine_create_cores(dev->isa, dev->info.threads, parallel(s->model));
	if (cs->engine)
		return 0;
	return sdk_err(errno == ENOTSUP ? EOPNOTSUPP : ENOMEM, "cannot start the %s engine with %u threads: %s",
		       mica_isa_level_name(dev->isa), dev->info.threads, strerror(errno));
}

static int cpu_session_create(struct mica_session *s)
{
	const struct mica_model *m = s->model;
	struct cpu_session *cs = calloc(1, sizeof(*cs));
	int ret;

	if (!cs)
		return sdk_nomem("a session");
	s->priv = cs;
	cs->eventfd = -1;
	if (sdk_sync_init(&cs->lock, &cs->changed)) {
		ret = sdk_nomem("a lock");
		goto err_free;
	}
	ret = create_engine(s, cs);
	if (ret)
		goto err_sync;
	cs->mem.stop = &cs->stop;
	for (unsigned i = 0; i < m->cores; i++)
		cs->mem.lmem[i] = (uint8_t *)s->own->map + lmem_pitch(m) * i;
	cs->mem.seg[MICA_SEG_WEIGHTS] = (uint8_t *)m->c.blob;
	for (unsigned i = MICA_SEG_ARENA; i < s->segments; i++)
		cpu_session_bind(s, i);
	cpu_session_phase(s);
	return 0;

err_sync:
	pthread_cond_destroy(&cs->changed);
	pthread_mutex_destroy(&cs->lock);
err_free:
	free(cs);
	return ret;
}

static void cpu_session_destroy(struct mica_session *s)
{
	struct cpu_session *cs = s->priv;

	if (cs->has_thread) {
		atomic_store(&cs->stop, true);
		pthread_mutex_lock(&cs->lock);
		cs->phase = CPU_QUIT;
		pthread_cond_broadcast(&cs->changed);
		pthread_mutex_unlock(&cs->lock);
		pthread_join(cs->thread, NULL);
	}
	mica_engine_destroy(cs->engine);
	pthread_cond_destroy(&cs->changed);
	pthread_mutex_destroy(&cs->lock);
	free(cs);
}

static void sync_imported(struct mica_session *s, uint64_t flags)
{
	for (unsigned i = MICA_SEG_IO; i < s->segments; i++)
		if (s->seg[i].buf->handle == DMABUF_HANDLE)
			sdk_dmabuf_sync(s->seg[i].buf, flags);
}

static int execute(struct mica_session *s, struct cpu_session *cs)
{
	int code;

	sync_imported(s, DMA_BUF_SYNC_START);
	code = mica_prepared_run(cs->engine, prepared(s), &cs->mem, &cs->fault);
	sync_imported(s, DMA_BUF_SYNC_END);
	return code;
}

static int result(struct mica_session *s, int code)
{
	const struct cpu_session *cs = s->priv;
	const struct mica_job_fault *f = &cs->fault;
	size_t at;

	if (!code)
		return 0;
	at = packet_offset(s->model, &s->model->phase[s->phase], f);
	return sdk_err(code == MICA_FAULT_ABORTED ? ECANCELED : EIO, "the job faulted on core %u at packet 0x%zx (%s, layer '%s'): %s",
		       f->core, at, packet_op(s->model, &s->model->phase[s->phase], f, at), model_packet_layer(s->model, s->phase, f->core, at),
		       fault_name(code));
}

static void *worker(void *arg)
{
	struct mica_session *s = arg;
	struct cpu_session *cs = s->priv;
	int code;

	pthread_mutex_lock(&cs->lock);
	while (cs->phase != CPU_QUIT) {
		if (cs->phase != CPU_QUEUED) {
			pthread_cond_wait(&cs->changed, &cs->lock);
			continue;
		}
		pthread_mutex_unlock(&cs->lock);
		code = execute(s, cs);
		pthread_mutex_lock(&cs->lock);
		if (cs->phase == CPU_QUIT)
			break;
		cs->code = code;
		cs->phase = CPU_DONE;
		pthread_cond_broadcast(&cs->changed);
		if (cs->eventfd >= 0 && write(cs->eventfd, &(uint64_t){ 1 }, 8) < 0)
			continue;	/* the counter is full: readable anyway */
	}
	pthread_mutex_unlock(&cs->lock);
	return NULL;
}

static int cpu_submit(struct mica_session *s)
{
	struct cpu_session *cs = s->priv;

	if (!cs->has_thread) {
		int err = pthread_create(&cs->thread, NULL, worker, s);

		if (err)
			return sdk_err(err, "cannot start the session's worker: %s", strerror(err));
		cs->has_thread = true;
	}
	pthread_mutex_lock(&cs->lock);
	cs->phase = CPU_QUEUED;
	pthread_cond_broadcast(&cs->changed);
	pthread_mutex_unlock(&cs->lock);
	return 0;
}

static int cpu_wait(struct mica_session *s, int64_t timeout_ns)
{
	struct cpu_session *cs = s->priv;
	int64_t deadline = deadline_after(timeout_ns);
	struct timespec ts = { deadline / 1000000000, deadline % 1000000000 };
	int ret = 0;

	pthread_mutex_lock(&cs->lock);
	while (cs->phase == CPU_QUEUED && !ret)
		ret = deadline == INT64_MAX ? pthread_cond_wait(&cs->changed, &cs->lock) :
					      pthread_cond_timedwait(&cs->changed, &cs->lock, &ts);
	if (cs->phase == CPU_QUEUED) {
		pthread_mutex_unlock(&cs->lock);
		return sdk_err(ETIME, "the job did not end within %.3f s; it still runs", timeout_ns / 1e9);
	}
	cs->phase = CPU_IDLE;
	pthread_mutex_unlock(&cs->lock);
	return result(s, cs->code);
}

static int cpu_run(struct mica_session *s, int64_t timeout_ns)
{
	int ret;

	if (timeout_ns < 0)
		return result(s, execute(s, s->priv));
	ret = cpu_submit(s);
	return ret ? ret : cpu_wait(s, timeout_ns);
}

static int cpu_eventfd(struct mica_session *s)
{
	struct cpu_session *cs = s->priv;
	bool done;

	pthread_mutex_lock(&cs->lock);
	cs->eventfd = s->eventfd;
	done = cs->phase == CPU_DONE;
	pthread_mutex_unlock(&cs->lock);
	if (done && write(s->eventfd, &(uint64_t){ 1 }, 8) < 0)
		return sdk_err(errno, "cannot signal the eventfd: %s", strerror(errno));
	return 0;
}

const struct backend backend_cpu = {
	.name = "cpu",
	.open = cpu_open,
	.close = cpu_close,
	.buffer_alloc = cpu_buffer_alloc,
	.buffer_import = cpu_buffer_import,
	.buffer_export = cpu_buffer_export,
	.buffer_free = cpu_buffer_free,
	.model_load = cpu_model_load,
	.model_unload = cpu_model_unload,
	.session_front = cpu_session_front,
	.session_create = cpu_session_create,
	.session_destroy = cpu_session_destroy,
	.session_bind = cpu_session_bind,
	.session_phase = cpu_session_phase,
	.session_stop = cpu_session_stop,
	.stats_once = true,
	.submit = cpu_submit,
	.wait = cpu_wait,
	.run = cpu_run,
	.eventfd = cpu_eventfd,
};
