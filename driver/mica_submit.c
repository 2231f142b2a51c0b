// SPDX-License-Identifier: GPL-2.0-only
/*
 * Submission, in call order: parse, look up, reserve, push. Everything that can fail comes before the first push, so
 * that all jobs are queued or none is. User memory is read once.
 */
#include <linux/dma-fence-chain.h>
#include <linux/dma-resv.h>

#include <mica/isa.h>

#include "mica_drv.h"
#define CREATE_TRACE_POINTS
#include "mica_trace.h"

#define MICA_MAX_STRIDE		4096u

static_assert(MICA_MAX_SEGMENTS == MICA_JOB_SEGMENTS);
static_assert(MICA_MAX_CORES == MICA_JOB_STREAMS);

struct mica_submission {
	struct drm_file *file;
	struct mica_device *mdev;
	struct mica_ctx *ctx;
	struct mica_ucmd *ucmd;
	struct drm_exec exec;
	u32 num_jobs;
	struct mica_job *jobs[DRM_MICA_MAX_JOBS];
};

/* Copies element i of a user array. Bytes beyond the struct we know must be zero. */
static int mica_copy_element(void *dst, size_t size, u64 array, u32 stride, u32 i)
{
	int ret;

	ret = copy_struct_from_user(dst, size, u64_to_user_ptr(array + (u64)stride * i), stride);
	return ret == -E2BIG ? -EINVAL : ret;
}

static bool mica_stride_ok(u32 count, u32 stride, size_t size)
{
	return !count || (stride >= size && stride <= MICA_MAX_STRIDE && stride % 8 == 0);
}

/* Takes the buffer into the job's uses, once, and gives the address of the range. */
static int mica_job_use(struct mica_submission *sub, struct mica_job *job, u32 handle, u64 offset,
			u64 size, bool write, u64 *va)
{
	struct mica_mapping *m = mica_mapping_lookup(sub->file, handle);
	u32 i;

	if (!m)
		return -ENOENT;
	if (!size || offset > m->node.size || size > m->node.size - offset) {
		mica_mapping_put(m);
		return -EINVAL;
	}
	*va = m->node.start + offset;
	for (i = 0; i < job->num_uses; i++) {
		if (job->uses[i].mapping == m) {
			job->uses[i].write |= write;
			mica_mapping_put(m);
			return 0;
		}
	}
	job->uses[job->num_uses++] = (struct mica_use){ .mapping = m, .write = write };
	return 0;
}

static int mica_parse_streams(struct mica_submission *sub, struct mica_job *job,
			      const struct drm_mica_job *args)
{
	struct drm_mica_stream s;
	int ret;
	u32 i;

	for (i = 0; i < args->stream_count; i++) {
		ret = mica_copy_element(&s, sizeof(s), args->streams, args->stream_stride, i);
		if (ret)
			return ret;
		if ((s.offset | s.size) % MICA_PKT_ALIGN)
			return -EINVAL;
		ret = mica_job_use(sub, job, s.handle, s.offset, s.size, false, &job->desc.stream[i].va);
		if (ret)
			return ret;
		job->desc.stream[i].size = s.size;
	}
	job->desc.cores = args->stream_count;
	return 0;
}

static int mica_parse_segment(struct mica_submission *sub, struct mica_job *job,
			      const struct drm_mica_segment *s, struct mica_job_segment *desc)
{
	bool write = s->flags & DRM_MICA_SEGMENT_WRITE;

	if (s->flags & ~(DRM_MICA_SEGMENT_WRITE | DRM_MICA_SEGMENT_VA))
		return -EINVAL;
	/* All zeroes: an index that no command may use. */
	if (!s->handle && !s->flags && !s->offset && !s->size)
		return 0;
	if (!s->size || s->size > MICA_SEGMENT_SIZE_MASK)
		return -EINVAL;
	desc->size_flags = s->size | (write ? MICA_SEGMENT_WRITE : 0);
	if (!(s->flags & DRM_MICA_SEGMENT_VA))
		return mica_job_use(sub, job, s->handle, s->offset, s->size, write, &desc->va);
	if (s->handle || s->offset + s->size < s->offset)
		return -EINVAL;
	desc->va = s->offset;
	return 0;
}

static int mica_parse_segments(struct mica_submission *sub, struct mica_job *job,
			       const struct drm_mica_job *args)
{
	struct drm_mica_segment s;
	int ret;
	u32 i;

	job->desc.stats_segment = MICA_JOB_NO_STATS;
	for (i = 0; i < args->segment_count; i++) {
		ret = mica_copy_element(&s, sizeof(s), args->segments, args->segment_stride, i);
		if (!ret)
			ret = mica_parse_segment(sub, job, &s, &job->desc.segment[i]);
		if (ret)
			return ret;
		if (i != args->stats_segment)
			continue;
		if (!(s.flags & DRM_MICA_SEGMENT_WRITE) || s.size < sizeof(struct mica_job_stats))
			return -EINVAL;
		job->desc.stats_segment = i;
	}
	job->desc.segments = args->segment_count;
	return 0;
}

static int mica_parse_in_syncs(struct mica_submission *sub, struct mica_job *job,
			       const struct drm_mica_job *args)
{
	struct drm_mica_sync s;
	struct dma_fence *fence;
	int ret;
	u32 i;

	for (i = 0; i < args->in_sync_count; i++) {
		ret = mica_copy_element(&s, sizeof(s), args->in_syncs, args->sync_stride, i);
		if (ret)
			return ret;
		if (s.flags)
			return -EINVAL;
		ret = drm_syncobj_find_fence(sub->file, s.handle, s.point, 0, &fence);
		if (!ret)
			ret = drm_sched_job_add_dependency(&job->base, fence);	/* takes the fence */
		if (ret)
			return ret;
	}
	return 0;
}

static int mica_parse_out_syncs(struct mica_submission *sub, struct mica_job *job,
				const struct drm_mica_job *args)
{
	struct drm_mica_sync s;
	struct mica_out *out;
	int ret;
	u32 i;

	if (!args->out_sync_count)
		return 0;
	job->outs = kvcalloc(args->out_sync_count, sizeof(*job->outs), GFP_KERNEL_ACCOUNT);
	if (!job->outs)
		return -ENOMEM;
	for (i = 0; i < args->out_sync_count; i++) {
		ret = mica_copy_element(&s, sizeof(s), args->out_syncs, args->sync_stride, i);
		if (ret)
			return ret;
		if (s.flags)
			return -EINVAL;
		out = &job->outs[i];
		out->point = s.point;
		out->syncobj = drm_syncobj_find(sub->file, s.handle);
		if (!out->syncobj)
			return -ENOENT;
		job->num_outs++;
		if (s.point) {
			out->chain = dma_fence_chain_alloc();
			if (!out->chain)
				return -ENOMEM;
		}
	}
	return 0;
}

static int mica_check_job(struct mica_submission *sub, const struct drm_mica_job *args)
{
	if (args->flags || args->pad)
		return -EINVAL;
	if (!args->stream_count || args->stream_count > sub->mdev->hw.cores)
		return -EINVAL;
	if (args->segment_count > MICA_JOB_SEGMENTS ||
	    args->in_sync_count > DRM_MICA_MAX_SYNCS || args->out_sync_count > DRM_MICA_MAX_SYNCS)
		return -EINVAL;
	if (args->stats_segment != DRM_MICA_NO_STATS && args->stats_segment >= args->segment_count)
		return -EINVAL;
	if (!mica_stride_ok(args->stream_count, args->stream_stride, sizeof(struct drm_mica_stream)) ||
	    !mica_stride_ok(args->segment_count, args->segment_stride,
			    sizeof(struct drm_mica_segment)) ||
	    !mica_stride_ok(args->in_sync_count + args->out_sync_count, args->sync_stride,
			    sizeof(struct drm_mica_sync)))
		return -EINVAL;
	return 0;
}

/* On error the job, half made, is left for mica_submission_end(). */
static int mica_parse_job(struct mica_submission *sub, const struct drm_mica_job *args)
{
	struct mica_job *job;
	int ret;

	ret = mica_check_job(sub, args);
	if (ret)
		return ret;
	job = mica_job_create(sub->ctx, sub->ucmd);
	if (IS_ERR(job))
		return PTR_ERR(job);
	sub->jobs[sub->num_jobs++] = job;
	job->uses = kvcalloc(args->stream_count + args->segment_count, sizeof(*job->uses),
			     GFP_KERNEL_ACCOUNT);
	if (!job->uses)
		return -ENOMEM;
	ret = mica_parse_streams(sub, job, args);
	if (!ret)
		ret = mica_parse_segments(sub, job, args);
	if (!ret)
		ret = mica_parse_in_syncs(sub, job, args);
	if (!ret)
		ret = mica_parse_out_syncs(sub, job, args);
	return ret;
}

static int mica_parse(struct mica_submission *sub, const struct drm_mica_submit *args)
{
	struct drm_mica_job job;
	int ret = 0;
	u32 i;

	for (i = 0; i < args->job_count && !ret; i++) {
		ret = mica_copy_element(&job, sizeof(job), args->jobs, args->job_stride, i);
		if (!ret)
			ret = mica_parse_job(sub, &job);
	}
	return ret;
}

static int mica_lock_job(struct mica_submission *sub, struct mica_job *job)
{
	int ret = 0;
	u32 i;

	/* Two fences a job: a buffer closed and opened again meanwhile may have two mappings, one read, one written. */
	for (i = 0; i < job->num_uses && !ret; i++)
		ret = drm_exec_prepare_obj(&sub->exec, &job->uses[i].mapping->bo->shmem.base,
					   2 * sub->num_jobs);
	return ret;
}

/* Locks all buffers and makes room for the fences. */
static int mica_lock(struct mica_submission *sub)
{
	int ret = 0;
	u32 i;

	drm_exec_init(&sub->exec, DRM_EXEC_INTERRUPTIBLE_WAIT | DRM_EXEC_IGNORE_DUPLICATES, 0);
	drm_exec_until_all_locked(&sub->exec) {
		for (i = 0; i < sub->num_jobs; i++) {
			ret = mica_lock_job(sub, sub->jobs[i]);
			drm_exec_retry_on_contention(&sub->exec);
			if (ret)
				return ret;
		}
	}
	return 0;
}

static int mica_add_implicit(struct mica_submission *sub)
{
	u32 i, k;
	int ret;

	for (i = 0; i < sub->num_jobs; i++) {
		struct mica_job *job = sub->jobs[i];

		for (k = 0; k < job->num_uses; k++) {
			struct mica_use *use = &job->uses[k];

			ret = drm_sched_job_add_implicit_dependencies(&job->base,
								      &use->mapping->bo->shmem.base,
								      use->write);
			if (ret)
				return ret;
		}
	}
	return 0;
}

static void mica_publish_fence(struct mica_job *job, struct dma_fence *fence)
{
	u32 i;

	for (i = 0; i < job->num_uses; i++)
		dma_resv_add_fence(job->uses[i].mapping->bo->shmem.base.resv, fence,
				   job->uses[i].write ? DMA_RESV_USAGE_WRITE : DMA_RESV_USAGE_READ);
	for (i = 0; i < job->num_outs; i++) {
		struct mica_out *out = &job->outs[i];

		if (out->chain)
			drm_syncobj_add_point(out->syncobj, out->chain, fence, out->point);
		else
			drm_syncobj_replace_fence(out->syncobj, fence);
		out->chain = NULL;	/* the syncobj has it */
	}
}

/* Nothing fails from the first arm on. */
static int mica_push(struct mica_submission *sub)
{
	struct mica_ctx *ctx = sub->ctx;
	bool signalling;
	int ret = 0;
	u32 i;

	mutex_lock(&ctx->submit_lock);
	if (ctx->closed) {
		ret = -ENOENT;
		goto out;
	}
	signalling = dma_fence_begin_signalling();
	for (i = 0; i < sub->num_jobs; i++) {
		struct mica_job *job = sub->jobs[i];

		drm_sched_job_arm(&job->base);
		if (sub->ucmd)
			mica_ucmd_watch(sub->ucmd, i, &job->base.s_fence->finished);
		mica_publish_fence(job, &job->base.s_fence->finished);
		trace_mica_job_submit(job);
		drm_sched_entity_push_job(&job->base);
	}
	dma_fence_end_signalling(signalling);
	sub->num_jobs = 0;	/* they belong to the scheduler */
out:
	mutex_unlock(&ctx->submit_lock);
	return ret;
}

static int mica_submission_run(struct mica_submission *sub, const struct drm_mica_submit *args)
{
	int ret;

	ret = READ_ONCE(sub->ctx->error);
	if (ret)
		return ret;
	ret = mica_parse(sub, args);
	if (ret)
		return ret;
	ret = mica_lock(sub);
	if (!ret)
		ret = mica_add_implicit(sub);
	if (!ret)
		ret = mica_push(sub);
	drm_exec_fini(&sub->exec);
	return ret;
}

/* Within drm_dev_enter(), with a runtime PM reference. */
int mica_submit(struct drm_file *file, const struct drm_mica_submit *args, struct mica_ucmd *ucmd)
{
	struct mica_submission *sub;
	int ret;
	u32 i;

	if (args->flags || !args->job_count || args->job_count > DRM_MICA_MAX_JOBS ||
	    !mica_stride_ok(args->job_count, args->job_stride, sizeof(struct drm_mica_job)))
		return -EINVAL;
	sub = kzalloc(sizeof(*sub), GFP_KERNEL);
	if (!sub)
		return -ENOMEM;
	sub->file = file;
	sub->mdev = to_mica(file->minor->dev);
	sub->ucmd = ucmd;
	sub->ctx = mica_ctx_lookup(file->driver_priv, args->ctx_id);
	if (!sub->ctx) {
		ret = -ENOENT;
		goto out;
	}
	ret = mica_submission_run(sub, args);
	for (i = 0; i < sub->num_jobs; i++)
		mica_job_discard(sub->jobs[i]);
	mica_ctx_users_put(sub->ctx);
out:
	kfree(sub);
	return ret;
}

int mica_ioctl_submit(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct mica_device *mdev = to_mica(drm);
	int ret;

	ret = mica_pm_get(mdev);
	if (ret)
		return ret;
	ret = mica_submit(file, data, NULL);
	mica_pm_put(mdev);
	return ret;
}
