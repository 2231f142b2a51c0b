// SPDX-License-Identifier: GPL-2.0-only
/*
 * Contexts: a slot of the device, a ring of job descriptors, a scheduler. Destroying a context cancels its jobs.
 *
 * A context ends in three steps: closed by its owner; its scheduler goes with the last job; its memory with the last
 * fence that points into it.
 */
#include <linux/capability.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>

#include "mica_drv.h"

#define MICA_RING_BYTES	(MICA_RING_JOBS * sizeof(struct mica_job_desc))

void mica_ctx_get(struct mica_ctx *ctx)
{
	kref_get(&ctx->ref);
}

static void mica_ctx_free(struct kref *ref)
{
	struct mica_ctx *ctx = container_of(ref, struct mica_ctx, ref);

	mutex_destroy(&ctx->submit_lock);
	kfree(ctx);
}

void mica_ctx_put(struct mica_ctx *ctx)
{
	kref_put(&ctx->ref, mica_ctx_free);
}

/* On mica_release_wq, for the scheduler's own work cannot end it. */
static void mica_ctx_fini(struct work_struct *work)
{
	struct mica_ctx *ctx = container_of(work, struct mica_ctx, fini_work);

	drm_sched_fini(&ctx->sched);
	mica_vm_put(ctx->vm);
	drm_dev_put(&ctx->mdev->drm);
	mica_ctx_put(ctx);
	module_put(THIS_MODULE);
}

void mica_ctx_users_put(struct mica_ctx *ctx)
{
	if (refcount_dec_and_test(&ctx->users))
		queue_work(mica_release_wq, &ctx->fini_work);
}

static int mica_ctx_sched_init(struct mica_ctx *ctx)
{
	struct drm_gpu_scheduler *sched = &ctx->sched;
	struct mica_device *mdev = ctx->mdev;
	int ret;

	ret = drm_sched_init(sched, &mica_sched_ops, mica_sched_wq, 1, MICA_RING_JOBS, 0,
			     msecs_to_jiffies(READ_ONCE(mica_job_timeout_ms)), mica_reset_wq,
			     NULL, MICA_DRIVER_NAME, mdev->drm.dev);
	if (ret)
		return ret;
	ret = drm_sched_entity_init(&ctx->entity, DRM_SCHED_PRIORITY_KERNEL, &sched, 1, NULL);
	if (ret)
		drm_sched_fini(sched);
	return ret;
}

static struct mica_ctx *mica_ctx_alloc(struct mica_device *mdev, struct mica_vm *vm, u32 priority)
{
	struct mica_ctx *ctx = kzalloc(sizeof(*ctx), GFP_KERNEL);
	int ret;

	if (!ctx)
		return ERR_PTR(-ENOMEM);
	kref_init(&ctx->ref);
	refcount_set(&ctx->users, 1);
	INIT_WORK(&ctx->fini_work, mica_ctx_fini);
	mutex_init(&ctx->submit_lock);
	spin_lock_init(&ctx->lock);
	spin_lock_init(&ctx->fence_lock);
	INIT_LIST_HEAD(&ctx->inflight);
	ctx->fence_context = dma_fence_context_alloc(1);
	ctx->priority = priority;
	ctx->mdev = mdev;
	ret = mica_ctx_sched_init(ctx);
	if (ret) {
		kfree(ctx);
		return ERR_PTR(ret);
	}
	/* From here on mica_ctx_users_put() undoes everything. */
	__module_get(THIS_MODULE);
	drm_dev_get(&mdev->drm);
	ctx->vm = vm;
	kref_get(&vm->ref);
	return ctx;
}

static void mica_ctx_set_slot(struct mica_ctx *ctx, u32 slot, struct mica_ctx *value)
{
	struct mica_device *mdev = ctx->mdev;
	unsigned long flags;

	spin_lock_irqsave(&mdev->ev_lock, flags);
	mdev->slots[slot] = value;
	spin_unlock_irqrestore(&mdev->ev_lock, flags);
}

static int mica_ctx_find_slot(struct mica_device *mdev, u32 *slot)
{
	lockdep_assert_held(&mdev->state_lock);
	for (*slot = 1; *slot < mdev->hw.contexts; (*slot)++)
		if (!mdev->slots[*slot])
			return 0;
	return -ENOSPC;
}

static int mica_ctx_state_error(struct mica_device *mdev)
{
	switch (mdev->state) {
	case MICA_STATE_RUNNING:	return 0;
	case MICA_STATE_GONE:		return -ENODEV;
	default:			return -EIO;
	}
}

/* Makes the context known to the firmware. Needs state_lock. */
static int mica_ctx_attach(struct mica_ctx *ctx)
{
	struct mica_device *mdev = ctx->mdev;
	int ret;

	ret = mica_ctx_state_error(mdev);
	if (!ret)
		ret = mica_ctx_find_slot(mdev, &ctx->slot);
	if (ret)
		return ret;
	mica_ctx_set_slot(ctx, ctx->slot, ctx);
	mica_vm_set_slot(ctx->vm, ctx->slot, true);
	ret = mica_fw_ctx_create(mdev, ctx);
	if (!ret)
		return 0;

	mica_ctx_set_slot(ctx, ctx->slot, NULL);
	mica_vm_set_slot(ctx->vm, ctx->slot, false);
	if (ret != -EPROTO)
		mica_reset_schedule(mdev, "context creation not answered");
	return -EIO;
}

/* From now on no job is started. Any context. */
void mica_ctx_condemn(struct mica_ctx *ctx, int error, bool lost)
{
	unsigned long flags;

	spin_lock_irqsave(&ctx->lock, flags);
	if (!ctx->error)
		ctx->error = error;
	if (lost) {
		ctx->lost = true;
		ctx->info.flags |= DRM_MICA_CONTEXT_LOST;
	}
	spin_unlock_irqrestore(&ctx->lock, flags);
}

/* The same, and what is in the ring ends with `error`. Any context. */
void mica_ctx_stop(struct mica_ctx *ctx, int error, bool lost)
{
	struct mica_job *job;
	unsigned long flags;
	LIST_HEAD(done);

	mica_ctx_condemn(ctx, error, lost);
	spin_lock_irqsave(&ctx->lock, flags);
	list_for_each_entry(job, &ctx->inflight, node) {
		job->error = error;
		ctx->info.jobs_failed++;
	}
	list_splice_init(&ctx->inflight, &done);
	spin_unlock_irqrestore(&ctx->lock, flags);
	mica_jobs_finish(ctx->mdev, &done);
}

/* The device forgets the context. -EIO: it may not have; only a reset makes sure. Needs state_lock. */
static int mica_ctx_detach(struct mica_ctx *ctx)
{
	struct mica_device *mdev = ctx->mdev;
	struct mica_fw_msg msg = { .type = MICA_MSG_CTX_DESTROY, .ctx = ctx->slot };
	int ret = 0;

	if (mdev->state == MICA_STATE_RUNNING)
		ret = mica_fw_call(mdev, &msg);
	mica_ctx_set_slot(ctx, ctx->slot, NULL);
	return ret;
}

static void mica_ctx_free_ring(struct mica_ctx *ctx)
{
	struct mica_device *mdev = ctx->mdev;
	unsigned long flags;
	void *ring;

	spin_lock_irqsave(&ctx->lock, flags);
	ring = ctx->ring;
	ctx->ring = NULL;
	spin_unlock_irqrestore(&ctx->lock, flags);
	if (ring)
		dma_free_coherent(mdev->drm.dev, MICA_RING_BYTES, ring, ctx->ring_dma);
}

/* The device is gone. Needs state_lock. */
void mica_ctx_unplug(struct mica_ctx *ctx)
{
	mica_ctx_set_slot(ctx, ctx->slot, NULL);
	mica_ctx_free_ring(ctx);
	drm_sched_wqueue_start(&ctx->sched);
}

/* By its owner, once. Jobs that have not ended end with ECANCELED. */
void mica_ctx_close(struct mica_ctx *ctx)
{
	struct mica_device *mdev = ctx->mdev;
	int idx, ret;

	mutex_lock(&ctx->submit_lock);
	ctx->closed = true;
	mutex_unlock(&ctx->submit_lock);

	if (drm_dev_enter(&mdev->drm, &idx)) {
		mica_pm_get(mdev);
		/* Nothing enters the ring any more; what is in it ends in the device before its fences do. */
		mica_ctx_condemn(ctx, -ECANCELED, false);
		mutex_lock(&mdev->state_lock);
		ret = mica_ctx_detach(ctx);
		mutex_unlock(&mdev->state_lock);
		if (ret)
			mica_reset_force(mdev, "a context cannot be destroyed");
		mica_vm_set_slot(ctx->vm, ctx->slot, false);
		mica_ctx_stop(ctx, -ECANCELED, false);
		mica_ctx_free_ring(ctx);
		mica_pm_put(mdev);
		drm_dev_exit(idx);
	} else {
		/* The unplug takes the ring of every context that it finds in a slot. */
		mica_ctx_stop(ctx, -ENODEV, false);
		mutex_lock(&mdev->state_lock);
		mica_ctx_unplug(ctx);
		mutex_unlock(&mdev->state_lock);
	}
	/*
	 * The scheduler's worker puts an entity that it just took a job from back into its tree, even when that was
	 * killed meanwhile. So it must stand still. Afterwards it goes on, to free what has ended.
	 */
	drm_sched_wqueue_stop(&ctx->sched);
	drm_sched_entity_fini(&ctx->entity);
	drm_sched_wqueue_start(&ctx->sched);
	mica_ctx_users_put(ctx);
}

/* With a reference and a user of the scheduler. */
struct mica_ctx *mica_ctx_lookup(struct mica_file *mf, u32 id)
{
	struct mica_ctx *ctx;

	xa_lock(&mf->ctxs);
	ctx = xa_load(&mf->ctxs, id);
	if (ctx && !refcount_inc_not_zero(&ctx->users))
		ctx = NULL;
	xa_unlock(&mf->ctxs);
	return ctx;
}

void mica_ctx_info(struct mica_ctx *ctx, struct drm_mica_context_info *info)
{
	spin_lock_irq(&ctx->lock);
	*info = ctx->info;
	spin_unlock_irq(&ctx->lock);
}

static int mica_ctx_create(struct mica_device *mdev, struct mica_file *mf, u32 priority, u32 *id)
{
	struct mica_ctx *ctx;
	int ret;

	ret = xa_alloc(&mf->ctxs, id, NULL, XA_LIMIT(1, U32_MAX), GFP_KERNEL);
	if (ret)
		return ret;
	ctx = mica_ctx_alloc(mdev, mf->vm, priority);
	if (IS_ERR(ctx)) {
		ret = PTR_ERR(ctx);
		goto err_erase;
	}
	/* Resets wait for state_lock, and memory may wait for resets: the ring comes first. */
	ctx->ring = dma_alloc_coherent(mdev->drm.dev, MICA_RING_BYTES, &ctx->ring_dma, GFP_KERNEL);
	if (!ctx->ring) {
		ret = -ENOMEM;
		goto err_put;
	}
	mutex_lock(&mdev->state_lock);
	ret = mica_ctx_attach(ctx);
	mutex_unlock(&mdev->state_lock);
	if (ret)
		goto err_free_ring;
	xa_store(&mf->ctxs, *id, ctx, GFP_KERNEL);	/* the entry is reserved: this cannot fail */
	return 0;

err_free_ring:
	mica_ctx_free_ring(ctx);
err_put:
	drm_sched_entity_fini(&ctx->entity);
	mica_ctx_users_put(ctx);
err_erase:
	xa_erase(&mf->ctxs, *id);
	return ret;
}

int mica_ioctl_ctx_create(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_mica_ctx_create *args = data;
	struct mica_device *mdev = to_mica(drm);
	int ret;

	if (args->flags || args->pad || args->priority > DRM_MICA_PRIORITY_REALTIME)
		return -EINVAL;
	if (args->priority == DRM_MICA_PRIORITY_REALTIME && !capable(CAP_SYS_NICE))
		return -EACCES;
	ret = mica_pm_get(mdev);
	if (ret)
		return ret;
	ret = mica_ctx_create(mdev, file->driver_priv, args->priority, &args->ctx_id);
	mica_pm_put(mdev);
	return ret;
}

int mica_ioctl_ctx_destroy(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_mica_ctx_destroy *args = data;
	struct mica_file *mf = file->driver_priv;
	struct mica_ctx *ctx;

	if (args->pad)
		return -EINVAL;
	xa_lock(&mf->ctxs);
	ctx = xa_load(&mf->ctxs, args->ctx_id);	/* NULL for an id that is only reserved */
	if (ctx)
		__xa_erase(&mf->ctxs, args->ctx_id);
	xa_unlock(&mf->ctxs);
	if (!ctx)
		return -ENOENT;
	mica_ctx_close(ctx);
	return 0;
}
