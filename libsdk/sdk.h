/* SPDX-License-Identifier: MIT */
/* What libmica's files share: the objects behind the public handles, the backend table, error text. */
#ifndef MICA_SDK_H
#define MICA_SDK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include "engine.h"
#include "host.h"
#include "mica.h"
#include "model.pb-c.h"
#include "output.h"

/* ---- errors (error.c) ---- */

/* Stores the thread's text and returns -err. */
int sdk_err(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int sdk_nomem(const char *what);

/* ---- files (file.c) ---- */

/* Whole file into page-aligned zero-padded memory; freed by sdk_file_free. limit: refuse larger ones. */
struct sdk_file { uint8_t *data; size_t size; size_t mapped, dropped; };
int sdk_file_load(const char *path, size_t limit, struct sdk_file *f);
int sdk_file_copy(const void *data, size_t size, struct sdk_file *f);
void sdk_file_free(struct sdk_file *f);
/* Gives back the whole pages of the first `size` bytes, which nobody looks at any more. */
void sdk_file_drop(struct sdk_file *f, size_t size);
/* Zeroed anonymous pages. */
void *sdk_pages(size_t size);
void sdk_pages_free(void *p, size_t size);

/* ---- container (container.c) ---- */

struct container {
	Mica__Model *meta;		/* freed by container_free */
	const uint8_t *blob;		/* within the given data */
	size_t blob_size;
};
/* Everything that is used later has been checked on return. name is for messages. */
int container_parse(const uint8_t *data, size_t size, const char *name, struct container *out);
void container_free(struct container *c);
/* container_host.c: phases and host steps; a step as the engine wants it, checked (NULL) or why it is refused. */
int container_check_phases(const Mica__Model *m, uint64_t blob_size, const char *name);
const char *container_host_step(const Mica__HostStep *from, struct mica_host_step *s);

/* ---- objects ---- */

struct backend;

struct mica_device {
	atomic_uint refs;
	const struct backend *be;
	struct mica_device_info info;
	enum mica_priority priority;
	enum mica_isa_level isa;	/* CPU */
	void *priv;			/* the backend's */
};

struct mica_buffer {
	struct mica_device *dev;	/* reference */
	void *map;
	size_t size;
	size_t map_size;
	uint32_t handle;		/* drm */
	int fd;				/* imported: own duplicate; else -1 */
};

struct segment {
	struct mica_buffer *buf;
	size_t offset, size;
	bool write;
};

/* A job, then host steps. Models without host steps have one phase. */
struct model_phase {
	bool device;			/* there is a job */
	const uint8_t *stream[MICA_MAX_CORES];	/* within stream_mem */
	size_t stream_size[MICA_MAX_CORES];
	unsigned host, hosts;		/* first and number, in mica_model.host */
};

struct mica_model {
	atomic_uint refs;
	struct mica_device *dev;	/* reference, or NULL */
	struct sdk_file file;		/* the CPU backend reads the weights here; dropped once they are on a device */
	struct container c;
	unsigned inputs, outputs, cores, layers;
	struct mica_tensor_info *tensor;	/* inputs, then outputs */
	uint8_t *stream_mem;		/* pages */
	size_t stream_mem_size;
	struct model_phase *phase;
	unsigned phases;
	struct mica_host_step *host;	/* of all phases */
	unsigned hosts;
	struct mica_buffer *weights;	/* drm: blob, then streams */
	void *priv;
};

enum session_state { SESSION_IDLE, SESSION_BUSY };

struct mica_session {
	struct mica_model *model;	/* reference */
	struct phases *phases;		/* of a model with host steps (phases.c), else NULL */
	unsigned phase;			/* whose job the backend runs */
	enum session_state state;	/* between submit and the end of wait */
	bool ran;			/* a job has ended well: there are stats */
	unsigned segments;
	struct segment seg[MICA_MAX_SEGMENTS];	/* [0] is unused here: the weights belong to the model */
	size_t own_offset[MICA_MAX_SEGMENTS];	/* of the session's own memory */
	struct mica_arena *arena;	/* reference; NULL: intermediate values are in own */
	unsigned arena_turn;		/* which of the arena's buffers is bound */
	struct mica_buffer *own;	/* the backend's front, arena, inputs, outputs, stats */
	size_t stats_offset, stats_size;	/* in own */
	int eventfd;			/* -1 until asked for */
	char error[512];
	void *priv;
};

/* ---- arenas that sessions share (arena.c) ---- */

/* A session that needs `size` bytes joins: the arena grows if it must. Takes a reference. */
int arena_join(struct mica_arena *a, struct mica_device *dev, size_t size);
void arena_leave(struct mica_arena *a);
/* Gives a new session its segment. */
void arena_bind(struct mica_session *s);
/* The session's job may use the arena from now on, its segment is bound; or -EBUSY. Without an arena always 0. */
int arena_enter(struct mica_session *s);
void arena_exit(struct mica_session *s);

#define SESSION_ALIGN 64u
static inline size_t align_up(size_t v, size_t a) { return (v + a - 1) / a * a; }
static inline uint8_t *segment_ptr(const struct segment *s) { return (uint8_t *)s->buf->map + s->offset; }

/* Where the segments of a session's own memory lie (session.c): the same for all sessions of a model. */
int session_layout(const struct mica_model *m, size_t offset[MICA_MAX_SEGMENTS], size_t *end);

void device_get(struct mica_device *dev);
void device_put(struct mica_device *dev);
void model_get(struct mica_model *m);
void model_put(struct mica_model *m);

/* What a fault code says (MICA_FAULT_*), as text. */
const char *fault_name(unsigned code);
/* Name of the layer of the packet at `offset` of core's stream in that phase, "" when there is none. */
const char *model_packet_layer(const struct mica_model *m, unsigned phase, unsigned core, size_t offset);
/* The constants, where this process can read them. */
const uint8_t *model_blob(const struct mica_model *m);
int sdk_dmabuf_sync(const struct mica_buffer *b, uint64_t flags);	/* DMA_BUF_SYNC_START or _END; 0 or -1 with errno */

/* ---- backends: cpu.c, drm.c with drm_uring.c and drm_ioctl.c ---- */

struct backend {
	const char *name;
	int (*open)(struct mica_device *dev, const struct mica_device_options *o);
	void (*close)(struct mica_device *dev);
	int (*buffer_alloc)(struct mica_buffer *b);			/* size is set; fills map */
	int (*buffer_import)(struct mica_buffer *b, int fd);
	int (*buffer_export)(struct mica_buffer *b);
	void (*buffer_free)(struct mica_buffer *b);
	int (*model_load)(struct mica_model *m);
	void (*model_unload)(struct mica_model *m);
	size_t (*session_front)(const struct mica_model *m);		/* bytes of a session's memory before its segments; may be NULL */
	int (*session_create)(struct mica_session *s);
	void (*session_destroy)(struct mica_session *s);		/* no job is left when it returns */
	void (*session_bind)(struct mica_session *s, unsigned seg);	/* seg[] has changed */
	void (*session_phase)(struct mica_session *s);			/* phase has changed */
	void (*session_stop)(struct mica_session *s);			/* ends a job early, from any thread; may be NULL */
	bool stats_once;						/* written by the first run only */
	int (*submit)(struct mica_session *s);
	int (*wait)(struct mica_session *s, int64_t timeout_ns);	/* -ETIME: still running */
	int (*run)(struct mica_session *s, int64_t timeout_ns);
	int (*eventfd)(struct mica_session *s);				/* s->eventfd has been made: arm it */
	int (*null_jobs)(struct mica_device *dev, unsigned depth, double seconds, struct mica_null_result *result,
			 double *latency_us, size_t max_samples, size_t *samples);
};
extern const struct backend backend_cpu, backend_drm;

/* ---- models with host steps (phases.c): the same calls, around the backend's ---- */

int phases_create(struct mica_session *s);	/* no-op for other models */
void phases_destroy(struct mica_session *s);	/* before the backend's session */
int phases_submit(struct mica_session *s);
int phases_wait(struct mica_session *s, int64_t timeout_ns);
int phases_run(struct mica_session *s, int64_t timeout_ns);
int phases_eventfd(struct mica_session *s);
const struct mica_job_stats *phases_stats(const struct mica_session *s);	/* the layers' records follow */
uint64_t phases_host_ns(const struct mica_session *s);
uint32_t phases_count(const struct mica_session *s, unsigned step);

/* Absolute CLOCK_MONOTONIC time of a relative timeout; INT64_MAX for none. */
int64_t deadline_after(int64_t timeout_ns);
/* A lock and a condition whose deadlines are those. 0 or an errno. */
int sdk_sync_init(pthread_mutex_t *lock, pthread_cond_t *changed);

#endif /* MICA_SDK_H */
