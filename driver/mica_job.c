// SPDX-License-Identifier: GPL-2.0-only
/*
 * A job from the scheduler to the ring, and back with its end: run, done, finish, free.
 */
#include "mica_drv.h"
#include "mica_trace.h"

static const char *mica_fence_driver_name(struct dma_fence *fence)
{
	return MICA_DRIVER_NAME;
}

static const char *mica_fence_timeline_name(struct dma_fence *fence)
{
	return "mica-ring";
}

/* Somebody else may hold a fence longer than any file is open, hence the references to context and module. */
static void mica_fence_release(struct dma_fence *base)
{
	struct mica_fence *fence = container_of(base, struct mica_fence, base);

	mica_ctx_put(fence->ctx);
	dma_fence_free(base);
	module_put(THIS_MODULE);
}

static const struct dma_fence_ops mica_fence_ops = {
	.get_driver_name = mica_fence_driver_name,
	.get_timeline_name = mica_fence_timeline_name,
	.release = mica_fence_release,
};

/* The reference belongs to the caller. Under ctx->lock. */
static struct dma_fence *mica_job_fence(struct mica_job *job)
{
	struct mica_ctx *ctx = job->ctx;
	struct mica_fence *fence = job->fence;

	job->fence = NULL;
	fence->ctx = ctx;
	mica_ctx_get(ctx);
	__module_get(THIS_MODULE);
	dma_fence_init(&fence->base, &mica_fence_ops, &ctx->fence_lock, ctx->fence_context,
		       ++ctx->fence_seqno);
	return &fence->base;
}

static void mica_job_emit(struct mica_job *job)
{
	struct mica_ctx *ctx = job->ctx;

	memcpy(&ctx->ring[ctx->tail % MICA_RING_JOBS], &job->desc, sizeof(job->desc));
	ctx->tail++;
}

/* After a reset the ring starts anew, with the jobs that had not ended. The caller rings the doorbell. */
void mica_job_ring_refill(struct mica_ctx *ctx)
{
	struct mica_job *job;
	unsigned long flags;

	spin_lock_irqsave(&ctx->lock, flags);
	ctx->tail = 0;
	list_for_each_entry(job, &ctx->inflight, node)
		mica_job_emit(job);
	spin_unlock_irqrestore(&ctx->lock, flags);
}

static struct dma_fence *mica_job_run(struct drm_sched_job *sched_job)
{
	struct mica_job *job = to_mica_job(sched_job);
	struct mica_ctx *ctx = job->ctx;
	struct mica_device *mdev = ctx->mdev;
	struct dma_fence *fence = ERR_PTR(-ENODEV);
	bool signalling = dma_fence_begin_signalling();
	unsigned long flags;
	int idx;

	if (!drm_dev_enter(&mdev->drm, &idx))
		goto out_signalling;
	spin_lock_irqsave(&ctx->lock, flags);
	if (ctx->error) {
		fence = ERR_PTR(ctx->error);
		ctx->info.jobs_failed++;
		goto out;
	}
	fence = mica_job_fence(job);
	job->hw_fence = dma_fence_get(fence);
	job->desc.seqno = ++ctx->seqno;
	mica_job_emit(job);
	list_add_tail(&job->node, &ctx->inflight);
	trace_mica_job_run(job);
	mica_irq_job_started(mdev);
	mica_write(mdev, MICA_DOORBELL(ctx->slot), ctx->tail);	/* orders the ring before itself */
out:
	spin_unlock_irqrestore(&ctx->lock, flags);
	drm_dev_exit(idx);
out_signalling:
	dma_fence_end_signalling(signalling);
	return fence;
}

/* From here on the context is done for; the rest of its ring is aborted by the reset work. */
static void mica_job_watchdog(struct mica_ctx *ctx)
{
	ctx->error = -ECANCELED;
	ctx->lost = true;
	ctx->abort_due = true;
	ctx->info.flags |= DRM_MICA_CONTEXT_LOST;
	mica_reset_schedule(ctx->mdev, "watchdog");
}

static void mica_job_account(struct mica_job *job, const struct mica_fw_msg *msg)
{
	struct mica_ctx *ctx = job->ctx;
	struct drm_mica_context_info *info = &ctx->info;
	u32 status = msg->status;

	if (status == MICA_FAULT_ABORTED && job->timed_out)
		status = MICA_FAULT_WATCHDOG;
	atomic64_add(msg->arg[5] * NSEC_PER_USEC, &ctx->vm->busy_ns);
	if (job->ucmd)
		mica_ucmd_add_cycles(job->ucmd, msg->arg[1]);
	trace_mica_job_done(job, status, msg->arg[1], msg->arg[5]);
	if (status == MICA_FAULT_NONE) {
		info->jobs_done++;
		return;
	}
	info->jobs_failed++;
	job->error = status == MICA_FAULT_ABORTED ? -ECANCELED : -EIO;
	if (status == MICA_FAULT_ABORTED && ctx->lost)
		return;	/* collateral: the fault that counts is the one before */
	info->last_fault = status;
	info->fault_addr = msg->arg[2];
	info->fault_info = upper_32_bits(msg->arg[3]);
	info->fault_packet = lower_32_bits(msg->arg[3]);
	info->fault_core = (msg->arg[4] >> 16) & 0xffff;
	if (status == MICA_FAULT_WATCHDOG && !job->timed_out)
		mica_job_watchdog(ctx);
}

/* Jobs end in ring order. With a descriptor that was not readable the firmware cannot know the number. */
static bool mica_job_is_meant(const struct mica_job *job, const struct mica_fw_msg *msg)
{
	return job->desc.seqno == msg->arg[0] || msg->status == MICA_FAULT_DESC ||
	       msg->status == MICA_FAULT_BUS;
}

/* Moves the job that the message ends to *done. Under ev_lock. */
void mica_job_done_msg(struct mica_device *mdev, const struct mica_fw_msg *msg,
		       struct list_head *done)
{
	struct mica_ctx *ctx = msg->ctx < MICA_MAX_CONTEXTS ? mdev->slots[msg->ctx] : NULL;
	struct mica_job *job = NULL;

	lockdep_assert_held(&mdev->ev_lock);
	mdev->last_done = jiffies;
	if (ctx) {
		spin_lock(&ctx->lock);
		job = list_first_entry_or_null(&ctx->inflight, struct mica_job, node);
		if (job && mica_job_is_meant(job, msg)) {
			list_move_tail(&job->node, done);
			mica_job_account(job, msg);
		} else {
			job = NULL;
		}
		spin_unlock(&ctx->lock);
	}
	if (!job)
		dev_warn_ratelimited(mdev->drm.dev,
				     "the firmware ends job %llu of slot %u, which is not the next one\n",
				     msg->arg[0], msg->ctx);
}

/* Signals the fences; the jobs may be freed at once. Any context, no lock held that a fence callback could want. */
void mica_jobs_finish(struct mica_device *mdev, struct list_head *done)
{
	struct mica_job *job, *next;

	list_for_each_entry_safe(job, next, done, node) {
		struct dma_fence *fence = job->hw_fence;

		list_del_init(&job->node);
		job->hw_fence = NULL;
		if (job->error)
			dma_fence_set_error(fence, job->error);
		atomic_dec(&mdev->inflight);
		dma_fence_signal(fence);
		dma_fence_put(fence);
	}
}

static void mica_job_release(struct work_struct *work)
{
	struct mica_job *job = container_of(work, struct mica_job, release_work);
	struct mica_ctx *ctx = job->ctx;
	u32 i;

	for (i = 0; i < job->num_uses; i++)
		mica_mapping_put(job->uses[i].mapping);
	for (i = 0; i < job->num_outs; i++) {
		dma_fence_chain_free(job->outs[i].chain);
		drm_syncobj_put(job->outs[i].syncobj);
	}
	kvfree(job->uses);
	kvfree(job->outs);
	kfree(job->fence);
	if (job->ucmd)
		mica_ucmd_put(job->ucmd);
	kfree(job);
	mica_pm_put(ctx->mdev);
	mica_ctx_users_put(ctx);
}

/* Dropping mappings sleeps and waits for the MMU, which the scheduler's work must not. */
static void mica_job_free(struct drm_sched_job *sched_job)
{
	struct mica_job *job = to_mica_job(sched_job);

	drm_sched_job_cleanup(sched_job);
	queue_work(mica_release_wq, &job->release_work);
}

static enum drm_gpu_sched_stat mica_job_timedout(struct drm_sched_job *sched_job)
{
	return mica_reset_timeout(to_mica_job(sched_job));
}

const struct drm_sched_backend_ops mica_sched_ops = {
	.run_job = mica_job_run,
	.timedout_job = mica_job_timedout,
	.free_job = mica_job_free,
};

/* The caller holds a user of the context and a runtime PM reference; the job takes its own. */
struct mica_job *mica_job_create(struct mica_ctx *ctx, struct mica_ucmd *ucmd)
{
	struct mica_job *job;
	int ret = -ENOMEM;

	job = kzalloc(sizeof(*job), GFP_KERNEL_ACCOUNT);
	if (!job)
		return ERR_PTR(-ENOMEM);
	job->fence = kzalloc(sizeof(*job->fence), GFP_KERNEL_ACCOUNT);
	if (!job->fence)
		goto err_free;
	ret = drm_sched_job_init(&job->base, &ctx->entity, 1, ctx);
	if (ret)
		goto err_free;
	INIT_WORK(&job->release_work, mica_job_release);
	INIT_LIST_HEAD(&job->node);
	job->desc.magic = MICA_JOB_MAGIC;
	job->ctx = ctx;
	refcount_inc(&ctx->users);
	mica_pm_get_again(ctx->mdev);
	if (ucmd)
		job->ucmd = mica_ucmd_get(ucmd);
	return job;

err_free:
	kfree(job->fence);
	kfree(job);
	return ERR_PTR(ret);
}

/* A job that was not pushed. */
void mica_job_discard(struct mica_job *job)
{
	drm_sched_job_cleanup(&job->base);
	mica_job_release(&job->release_work);
}
