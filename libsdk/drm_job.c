// SPDX-License-Identifier: MIT
/* Sessions on a device: the context, the job's description, and what went wrong with it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xf86drm.h>
#include "drm_backend.h"
#include "mica/regs.h"

int drm_ctx_create(const struct mica_device *dev, uint32_t *ctx)
{
	static const uint32_t priority[] = {
		[MICA_PRIORITY_DEFAULT] = DRM_MICA_PRIORITY_NORMAL,
		[MICA_PRIORITY_LOW] = DRM_MICA_PRIORITY_LOW,
		[MICA_PRIORITY_HIGH] = DRM_MICA_PRIORITY_HIGH,
		[MICA_PRIORITY_REALTIME] = DRM_MICA_PRIORITY_REALTIME,
	};
	struct drm_mica_ctx_create arg = { .priority = priority[dev->priority] };

	if (drmIoctl(drm_dev(dev)->fd, DRM_IOCTL_MICA_CTX_CREATE, &arg)) {
		if (errno == EACCES)
			return sdk_err(EACCES, "real-time priority needs CAP_SYS_NICE");
		return drm_err(dev, errno, "cannot create a context");
	}
	*ctx = arg.ctx_id;
	return 0;
}

void drm_ctx_destroy(const struct mica_device *dev, uint32_t ctx)
{
	struct drm_mica_ctx_destroy arg = { .ctx_id = ctx };

	drmIoctl(drm_dev(dev)->fd, DRM_IOCTL_MICA_CTX_DESTROY, &arg);
}

/* ---- faults ---- */

static int fault_text(struct mica_session *s, const struct drm_mica_context_info *info)
{
	const char *layer = model_packet_layer(s->model, s->phase, info->fault_core, info->fault_packet);
	const char *dev = s->model->dev->info.name;
	char detail[96] = "";

	if (info->last_fault == MICA_FAULT_PACKET)
		snprintf(detail, sizeof(detail), " (%s)", mica_check_name(info->fault_info));
	else if (info->fault_addr)
		snprintf(detail, sizeof(detail), " (device address %#llx)", (unsigned long long)info->fault_addr);
	return sdk_err(EIO, "%s: the job faulted on core %u at packet 0x%x (layer '%s'): %s%s", dev, info->fault_core,
		       info->fault_packet, layer, fault_name(info->last_fault), detail);
}

/* A context that caused a reset takes no more jobs: go on with a new one. */
static int renew_context(struct mica_session *s)
{
	struct drm_session *ds = s->priv;
	uint32_t fresh;
	int ret = drm_ctx_create(s->model->dev, &fresh);

	if (ret)
		return ret;
	drm_ctx_destroy(s->model->dev, ds->ctx);
	ds->ctx = fresh;
	ds->submit.ctx_id = fresh;
	ds->failed = 0;
	return 0;
}

int drm_job_failed(struct mica_session *s, int err)
{
	struct drm_session *ds = s->priv;
	struct drm_mica_context_info info;
	const struct mica_device *dev = s->model->dev;
	bool lost;
	int ret;

	if (err == ENODEV || drm_query_context(dev, ds->ctx, &info))
		return drm_err(dev, err, "the job was lost");
	lost = info.flags & DRM_MICA_CONTEXT_LOST;
	if (info.last_fault && info.jobs_failed > ds->failed)
		ret = fault_text(s, &info);
	else if (err == ECANCELED)
		ret = sdk_err(ECANCELED, "%s: the job was lost in a reset of the device%s", dev->info.name,
			      lost ? " that this session's earlier job caused" : "");
	else if (err == ETIME || err == ETIMEDOUT)
		ret = sdk_err(EIO, "%s: the device gave the job up: it made no progress", dev->info.name);
	else
		ret = drm_err(dev, err, "the job was refused");
	ds->failed = info.jobs_failed;
	/* The text of the failure is what counts; a context that cannot be renewed shows at the next submission. */
	if (lost) {
		char text[512];

		snprintf(text, sizeof(text), "%s", mica_error_text());
		renew_context(s);
		sdk_err(-ret, "%s", text);
	}
	return ret;
}

/* ---- the job's description ---- */

/* A segment without bytes is described by zeroes: no command may use it. */
void drm_session_bind(struct mica_session *s, unsigned i)
{
	struct drm_session *ds = s->priv;

	ds->seg[i] = (struct drm_mica_segment){ 0 };
	if (!s->seg[i].size)
		return;
	ds->seg[i] = (struct drm_mica_segment){
		.handle = s->seg[i].buf->handle,
		.flags = s->seg[i].write ? DRM_MICA_SEGMENT_WRITE : 0,
		.offset = s->seg[i].offset,
		.size = s->seg[i].size,
	};
}

/* The streams of the session's phase: they lie behind the constants as in stream_mem. */
void drm_session_phase(struct mica_session *s)
{
	const struct mica_model *m = s->model;
	const struct model_phase *p = &m->phase[s->phase];
	uint64_t base = align_up(m->c.blob_size, MICA_PKT_ALIGN);
	struct drm_session *ds = s->priv;

	for (unsigned i = 0; i < m->cores && p->device; i++)
		ds->stream[i] = (struct drm_mica_stream){ .handle = m->weights->handle, .size = p->stream_size[i],
							  .offset = base + (uint64_t)(p->stream[i] - m->stream_mem) };
}

static void fill_job(struct mica_session *s, struct drm_session *ds)
{
	const struct mica_model *m = s->model;
	unsigned stats = s->segments;

	drm_session_phase(s);
	if (m->c.blob_size)
		ds->seg[MICA_SEG_WEIGHTS] = (struct drm_mica_segment){ .handle = m->weights->handle, .size = m->c.blob_size };
	for (unsigned i = MICA_SEG_ARENA; i < s->segments; i++)
		drm_session_bind(s, i);
	ds->seg[stats] = (struct drm_mica_segment){
		.handle = s->own->handle, .flags = DRM_MICA_SEGMENT_WRITE, .offset = s->stats_offset, .size = s->stats_size,
	};
	ds->job = (struct drm_mica_job){
		.streams = (uintptr_t)ds->stream, .stream_count = m->cores, .stream_stride = sizeof(ds->stream[0]),
		.segments = (uintptr_t)ds->seg, .segment_count = stats + 1, .segment_stride = sizeof(ds->seg[0]),
		.stats_segment = stats,
	};
	ds->submit = (struct drm_mica_submit){
		.ctx_id = ds->ctx, .jobs = (uintptr_t)&ds->job, .job_count = 1, .job_stride = sizeof(ds->job),
	};
}

int drm_session_create(struct mica_session *s)
{
	struct drm_session *ds = calloc(1, sizeof(*ds));
	int ret;

	if (!ds)
		return sdk_nomem("a session");
	s->priv = ds;
	ret = drm_ctx_create(s->model->dev, &ds->ctx);
	if (ret)
		goto err_free;
	fill_job(s, ds);
	ret = drm_path(s)->init(s);
	if (ret)
		goto err_ctx;
	return 0;

err_ctx:
	drm_ctx_destroy(s->model->dev, ds->ctx);
err_free:
	free(ds);
	return ret;
}

void drm_session_destroy(struct mica_session *s)
{
	struct drm_session *ds = s->priv;

	if (ds->in_flight)
		drm_path(s)->wait(s, -1);
	drm_path(s)->fini(s);
	drm_ctx_destroy(s->model->dev, ds->ctx);
	free(ds);
}
