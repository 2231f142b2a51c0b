// SPDX-License-Identifier: MIT
/* Submission by ioctl: every job signals the next point of the session's timeline syncobj. */
#include <errno.h>
#include <string.h>
#include <xf86drm.h>
#include "drm_backend.h"

#ifndef DRM_IOCTL_SYNCOBJ_EVENTFD	/* Linux 6.6; older headers lack it */
struct drm_syncobj_eventfd {
	__u32 handle;
	__u32 flags;
	__u64 point;
	__s32 fd;
	__u32 pad;
};
#define DRM_IOCTL_SYNCOBJ_EVENTFD DRM_IOWR(0xCF, struct drm_syncobj_eventfd)
#endif

static int ioctl_init(struct mica_session *s)
{
	struct drm_session *ds = s->priv;

	if (drmSyncobjCreate(drm_dev(s->model->dev)->fd, 0, &ds->syncobj))
		return drm_err(s->model->dev, errno, "cannot create a syncobj");
	ds->out = (struct drm_mica_sync){ .handle = ds->syncobj };
	ds->job.out_syncs = (uintptr_t)&ds->out;
	ds->job.out_sync_count = 1;
	ds->job.sync_stride = sizeof(ds->out);
	return 0;
}

static void ioctl_fini(struct mica_session *s)
{
	drmSyncobjDestroy(drm_dev(s->model->dev)->fd, ((struct drm_session *)s->priv)->syncobj);
}

/* One shot: the eventfd is armed again for every job. */
static int arm_eventfd(struct mica_session *s)
{
	struct drm_session *ds = s->priv;
	struct drm_syncobj_eventfd arg = { .handle = ds->syncobj, .point = ds->out.point, .fd = s->eventfd };

	if (drmIoctl(drm_dev(s->model->dev)->fd, DRM_IOCTL_SYNCOBJ_EVENTFD, &arg))
		return sdk_err(errno, "cannot signal an eventfd from a syncobj (Linux 6.6 or newer is needed): %s", strerror(errno));
	return 0;
}

/* A syncobj says that the job has ended, not how: the context's counter of failed jobs tells. */
static int ioctl_wait(struct mica_session *s, int64_t timeout_ns)
{
	struct drm_session *ds = s->priv;
	const struct mica_device *dev = s->model->dev;
	struct drm_mica_context_info info;
	uint64_t point = ds->out.point;
	int ret = drmSyncobjTimelineWait(drm_dev(dev)->fd, &ds->syncobj, &point, 1, deadline_after(timeout_ns),
					 DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL | DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT, NULL);

	if (ret == -ETIME)
		return sdk_err(ETIME, "the job did not end within %.3f s; it still runs", timeout_ns / 1e9);
	ds->in_flight = false;
	if (ret)
		return drm_err(dev, -ret, "cannot wait for the job");
	ret = drm_query_context(dev, ds->ctx, &info);
	if (ret)
		return drm_err(dev, -ret, "cannot ask how the job ended");
	if (info.flags & DRM_MICA_CONTEXT_LOST)
		return drm_job_failed(s, ECANCELED);
	return info.jobs_failed == ds->failed ? 0 : drm_job_failed(s, EIO);
}

/* A job whose end nobody would hear of is waited for here. */
static int arm_or_wait(struct mica_session *s)
{
	int ret = arm_eventfd(s);

	if (ret) {
		char text[256];

		snprintf(text, sizeof(text), "%s", mica_error_text());
		ioctl_wait(s, -1);
		sdk_err(-ret, "%s", text);
	}
	return ret;
}

static int ioctl_submit(struct mica_session *s)
{
	struct drm_session *ds = s->priv;

	ds->out.point++;
	if (drmIoctl(drm_dev(s->model->dev)->fd, DRM_IOCTL_MICA_SUBMIT, &ds->submit)) {
		int err = errno;

		ds->out.point--;
		return drm_job_failed(s, err);
	}
	ds->in_flight = true;
	return s->eventfd >= 0 ? arm_or_wait(s) : 0;
}

static int ioctl_run(struct mica_session *s, int64_t timeout_ns)
{
	int ret = ioctl_submit(s);

	return ret ? ret : ioctl_wait(s, timeout_ns);
}


const struct drm_path drm_path_ioctl = {
	.init = ioctl_init,
	.fini = ioctl_fini,
	.submit = ioctl_submit,
	.wait = ioctl_wait,
	.run = ioctl_run,
	.eventfd = arm_eventfd,
};
