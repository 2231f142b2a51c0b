// SPDX-License-Identifier: MIT
/* Null jobs: what the way to the device and back costs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xf86drm.h>
#include "drm_backend.h"

struct null_run {
	struct mica_device *dev;
	struct mica_buffer *stream;	/* one END packet */
	uint32_t ctx;
	struct drm_mica_stream s;
	struct drm_mica_job job;
	struct drm_mica_submit submit;
	unsigned depth;
	double start, end;
	double sent[256];		/* by slot: when the job was submitted */
	uint64_t jobs;
	double *latency_us;
	size_t max, samples;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void job_done(struct null_run *r, unsigned slot, double t)
{
	r->jobs++;
	if (r->samples < r->max)
		r->latency_us[r->samples++] = (t - r->sent[slot]) * 1e6;
}

static int null_setup(struct null_run *r)
{
	struct mica_pkt_ctl *pkt;
	int ret = mica_buffer_alloc(r->dev, sizeof(*pkt), &r->stream);

	if (ret)
		return ret;
	pkt = r->stream->map;
	pkt->hdr.opcode = MICA_OP_END;
	pkt->hdr.units = sizeof(*pkt) / MICA_PKT_ALIGN;
	ret = drm_ctx_create(r->dev, &r->ctx);
	if (ret) {
		mica_buffer_free(r->stream);
		return ret;
	}
	r->s = (struct drm_mica_stream){ .handle = r->stream->handle, .size = sizeof(*pkt) };
	r->job = (struct drm_mica_job){
		.streams = (uintptr_t)&r->s, .stream_count = 1, .stream_stride = sizeof(r->s),
		.segment_stride = sizeof(struct drm_mica_segment), .sync_stride = sizeof(struct drm_mica_sync),
		.stats_segment = DRM_MICA_NO_STATS,
	};
	r->submit = (struct drm_mica_submit){
		.ctx_id = r->ctx, .jobs = (uintptr_t)&r->job, .job_count = 1, .job_stride = sizeof(r->job),
	};
	return 0;
}

/* ---- io_uring ---- */

/* Takes what has completed; each slot goes on with its next job while there is time. Returns the number taken or an error. */
static int ring_reap(struct null_run *r, struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	unsigned head, taken = 0;
	double t = now();
	int err = 0;

	io_uring_for_each_cqe(ring, head, cqe) {
		unsigned slot = cqe->user_data;

		taken++;
		if (cqe->res < 0) {
			err = -cqe->res;
			continue;
		}
		job_done(r, slot, t);
		if (t < r->end) {
			r->sent[slot] = t;
			if (drm_ring_prepare(ring, drm_dev(r->dev)->fd, &r->submit, slot))
				err = EBUSY;
		}
	}
	io_uring_cq_advance(ring, taken);
	return err ? drm_err(r->dev, err, "a null job failed") : (int)taken;
}

static int null_uring(struct null_run *r)
{
	struct io_uring ring;
	unsigned flying = r->depth;
	int ret = drm_ring_init(&ring, r->depth);

	if (ret)
		return sdk_err(-ret, "cannot create an io_uring: %s", strerror(-ret));
	for (unsigned i = 0; i < r->depth && !ret; i++) {
		r->sent[i] = now();
		ret = drm_ring_prepare(&ring, drm_dev(r->dev)->fd, &r->submit, i);
	}
	while (!ret && flying) {
		ret = io_uring_submit_and_wait(&ring, 1);
		if (ret < 0 && ret != -EINTR) {
			ret = drm_err(r->dev, -ret, "io_uring_enter");
			break;
		}
		ret = ring_reap(r, &ring);
		if (ret < 0)
			break;
		flying -= ret;
		flying += io_uring_sq_ready(&ring);
		ret = 0;
	}
	io_uring_queue_exit(&ring);
	return ret;
}

/* ---- ioctl ---- */

static int ioctl_send(struct null_run *r, struct drm_mica_sync *out)
{
	out->point++;
	r->sent[out->point % r->depth] = now();
	if (drmIoctl(drm_dev(r->dev)->fd, DRM_IOCTL_MICA_SUBMIT, &r->submit))
		return drm_err(r->dev, errno, "cannot submit a null job");
	return 0;
}

static int ioctl_loop(struct null_run *r, struct drm_mica_sync *out)
{
	uint64_t done = 0;
	int ret = 0;

	for (unsigned i = 0; i < r->depth && !ret; i++)
		ret = ioctl_send(r, out);
	while (!ret && done < out->point) {
		double t;

		done++;
		ret = drmSyncobjTimelineWait(drm_dev(r->dev)->fd, &out->handle, &done, 1, INT64_MAX,
					     DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL, NULL);
		if (ret)
			return drm_err(r->dev, -ret, "cannot wait for a null job");
		t = now();
		job_done(r, done % r->depth, t);
		if (t < r->end)
			ret = ioctl_send(r, out);
	}
	return ret;
}

static int null_ioctl(struct null_run *r)
{
	struct drm_mica_context_info info;
	struct drm_mica_sync out = { 0 };
	int fd = drm_dev(r->dev)->fd;
	int ret;

	if (drmSyncobjCreate(fd, 0, &out.handle))
		return drm_err(r->dev, errno, "cannot create a syncobj");
	r->job.out_syncs = (uintptr_t)&out;
	r->job.out_sync_count = 1;
	ret = ioctl_loop(r, &out);
	if (!ret && !drm_query_context(r->dev, r->ctx, &info) && info.jobs_failed)
		ret = sdk_err(EIO, "%s: %llu of the null jobs failed: %s", r->dev->info.name, (unsigned long long)info.jobs_failed,
			      fault_name(info.last_fault));
	drmSyncobjDestroy(fd, out.handle);
	return ret;
}

int drm_null_jobs(struct mica_device *dev, unsigned depth, double seconds, struct mica_null_result *result,
		  double *latency_us, size_t max_samples, size_t *samples)
{
	struct null_run *r = calloc(1, sizeof(*r));
	int ret;

	if (!r)
		return sdk_nomem("null jobs");
	r->dev = dev;
	r->depth = depth;
	r->latency_us = latency_us;
	r->max = latency_us ? max_samples : 0;
	ret = null_setup(r);
	if (ret)
		goto out_free;
	r->start = now();
	r->end = r->start + seconds;
	ret = drm_dev(dev)->uring ? null_uring(r) : null_ioctl(r);
	*result = (struct mica_null_result){ r->jobs, now() - r->start };
	if (samples)
		*samples = r->samples;
	drm_ctx_destroy(dev, r->ctx);
	mica_buffer_free(r->stream);
out_free:
	free(r);
	return ret;
}
