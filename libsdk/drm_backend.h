/* SPDX-License-Identifier: MIT */
/* The device backend: what its files share. drm.c has devices, buffers, models; drm_job.c contexts, jobs, faults. */
#ifndef MICA_SDK_DRM_H
#define MICA_SDK_DRM_H

#include <liburing.h>
#include "drm/mica_accel.h"
#include "sdk.h"

/* A GEM handle of the file. The kernel gives an import of a known buffer the same handle again, so they are counted. */
struct drm_handle {
	struct drm_handle *next;
	uint32_t handle;
	unsigned refs;
};

struct drm_device {
	int fd;
	bool uring;
	pthread_mutex_t lock;		/* protects handles */
	struct drm_handle *handles;
};

struct drm_session {
	uint32_t ctx;
	struct drm_mica_stream stream[MICA_MAX_CORES];
	struct drm_mica_segment seg[MICA_MAX_SEGMENTS];
	struct drm_mica_sync out;
	struct drm_mica_job job;
	struct drm_mica_submit submit;
	uint64_t failed;		/* the context's jobs_failed that have been reported */
	bool in_flight;
	struct io_uring ring;		/* uring */
	uint32_t syncobj;		/* ioctl: timeline, out.point is the last job's */
};

static inline struct drm_device *drm_dev(const struct mica_device *dev) { return dev->priv; }

/* drm_find.c: opens the node of o->path or the o->index-th one; returns the descriptor, path filled. */
int drm_find_open(const struct mica_device_options *o, char *path, size_t path_size);

/* drm_firmware.c: why the driver gave the device in that PCI slot up. */
int drm_explain_firmware(const char *slot);

/* Wraps an errno of the kernel as text. */
int drm_err(const struct mica_device *dev, int err, const char *what);
/* drm_job.c: why the context's job failed; renews the context when it was lost. err is what the kernel reported. */
int drm_job_failed(struct mica_session *s, int err);
int drm_query_context(const struct mica_device *dev, uint32_t ctx, struct drm_mica_context_info *info);
int drm_ctx_create(const struct mica_device *dev, uint32_t *ctx);
void drm_ctx_destroy(const struct mica_device *dev, uint32_t ctx);

int drm_session_create(struct mica_session *s);
void drm_session_destroy(struct mica_session *s);
void drm_session_bind(struct mica_session *s, unsigned seg);
void drm_session_phase(struct mica_session *s);

/* The two ways to submit. */
struct drm_path {
	int (*init)(struct mica_session *s);
	void (*fini)(struct mica_session *s);
	int (*submit)(struct mica_session *s);
	int (*wait)(struct mica_session *s, int64_t timeout_ns);
	int (*run)(struct mica_session *s, int64_t timeout_ns);
	int (*eventfd)(struct mica_session *s);
};
extern const struct drm_path drm_path_uring, drm_path_ioctl;
static inline const struct drm_path *drm_path(const struct mica_session *s)
{
	return drm_dev(s->model->dev)->uring ? &drm_path_uring : &drm_path_ioctl;
}

/* drm_uring.c */
int drm_ring_init(struct io_uring *ring, unsigned entries);
int drm_ring_prepare(struct io_uring *ring, int fd, const struct drm_mica_submit *submit, uint64_t user_data);

int drm_null_jobs(struct mica_device *dev, unsigned depth, double seconds, struct mica_null_result *result,
		  double *latency_us, size_t max_samples, size_t *samples);

#endif /* MICA_SDK_DRM_H */
