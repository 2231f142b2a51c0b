// SPDX-License-Identifier: GPL-2.0-only
/*
 * Recovery. A job that takes too long: its context is aborted through the firmware; if that doesn't answer, the whole
 * device is reset, and the jobs of the other contexts are put into their rings again. A context whose job was at the
 * ring's head in two resets of unknown guilt is taken for guilty.
 *
 * Timeouts and the reset work share the ordered mica_reset_wq, so that one recovery is under way at a time. Fences
 * wait for them, and memory may wait for fences: so neither they nor whoever holds state_lock may wait for memory.
 * dma_fence_begin_signalling() tells lockdep.
 */
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/lockdep.h>

#include "mica_drv.h"

#define MICA_MAX_EXTENSIONS	8
#define MICA_MAX_HEAD_RESETS	2

void mica_reset_schedule(struct mica_device *mdev, const char *why)
{
	if (queue_work(mica_reset_wq, &mdev->reset_work))
		dev_warn(mdev->drm.dev, "recovery: %s\n", why);
}

/*
 * Behind this the device has been reset, whatever the firmware says, and uses nothing that its tables do not show.
 * Not from mica_reset_wq, and not with state_lock.
 */
void mica_reset_force(struct mica_device *mdev, const char *why)
{
	WRITE_ONCE(mdev->reset_forced, true);
	mica_reset_schedule(mdev, why);
	flush_work(&mdev->reset_work);
}

/* Until mica_reset_restart() no scheduler touches a ring. Needs state_lock. */
void mica_reset_stop_jobs(struct mica_device *mdev)
{
	u32 i;

	for (i = 1; i < MICA_MAX_CONTEXTS; i++)
		if (mdev->slots[i])
			drm_sched_wqueue_stop(&mdev->slots[i]->sched);
}

static void mica_reset_start_jobs(struct mica_device *mdev)
{
	u32 i;

	for (i = 1; i < MICA_MAX_CONTEXTS; i++)
		if (mdev->slots[i])
			drm_sched_wqueue_start(&mdev->slots[i]->sched);
}

/* Every job of every context ends with `error`, now and later. */
static void mica_reset_fail_all(struct mica_device *mdev, int error)
{
	u32 i;

	for (i = 1; i < MICA_MAX_CONTEXTS; i++)
		if (mdev->slots[i])
			mica_ctx_stop(mdev->slots[i], error, false);
}

/* Only a function-level reset brings a dead link back. The lock is tried: whoever holds it may wait for us. */
static int mica_reset_hw(struct mica_device *mdev)
{
	int ret;

	if (!mica_link_down(mdev) && !mica_hw_reset(mdev))
		return 0;
	WRITE_ONCE(mdev->own_flr, true);
	/*
	 * It takes the lock of the MSI-X descriptors, under which memory was allocated when the vectors were: in probe,
	 * before any fence. For lockdep that lock is one with those of other devices.
	 */
	lockdep_off();
	ret = pci_try_reset_function(mdev->pdev);
	lockdep_on();
	WRITE_ONCE(mdev->own_flr, false);
	if (ret)
		dev_err(mdev->drm.dev, "function-level reset failed (%d)\n", ret);
	else if (mica_link_down(mdev))
		ret = -EIO;
	else
		ret = mica_hw_reset(mdev);
	return ret;
}

static int mica_reset_ctx(struct mica_device *mdev, struct mica_ctx *ctx)
{
	int ret;

	ret = mica_fw_ctx_create(mdev, ctx);
	if (ret)
		return ret;
	mica_job_ring_refill(ctx);
	if (ctx->tail)
		mica_write(mdev, MICA_DOORBELL(ctx->slot), ctx->tail);
	return 0;
}

/*
 * From a device that was reset, or is about to be, to one that runs. Schedulers are stopped, no message is read.
 * Needs state_lock.
 */
int mica_reset_restart(struct mica_device *mdev)
{
	int ret;
	u32 i;

	ret = mica_reset_hw(mdev);
	if (!ret)
		ret = mica_fw_boot(mdev);
	for (i = 1; i < MICA_MAX_CONTEXTS && !ret; i++)
		if (mdev->slots[i])
			ret = mica_reset_ctx(mdev, mdev->slots[i]);
	if (ret) {
		dev_err(mdev->drm.dev, "the device is wedged (%d): unbind and bind the driver to try again\n",
			ret);
		mica_fw_offline(mdev);
		mdev->state = MICA_STATE_WEDGED;
		mica_reset_fail_all(mdev, -EIO);
	} else {
		mdev->state = MICA_STATE_RUNNING;
	}
	mica_reset_start_jobs(mdev);
	return ret;
}

/* Whose job has been at the ring's head too often when the device had to be reset? */
static void mica_reset_blame(struct mica_device *mdev)
{
	u32 i;

	for (i = 1; i < MICA_MAX_CONTEXTS; i++) {
		struct mica_ctx *ctx = mdev->slots[i];
		struct mica_job *job;
		bool guilty = false;

		if (!ctx)
			continue;
		spin_lock_irq(&ctx->lock);
		job = list_first_entry_or_null(&ctx->inflight, struct mica_job, node);
		if (job)
			guilty = ++job->resets >= MICA_MAX_HEAD_RESETS;
		spin_unlock_irq(&ctx->lock);
		if (guilty)
			mica_ctx_stop(ctx, -ECANCELED, true);
	}
}

/* The whole device; guilty may be NULL. Needs state_lock. */
int mica_reset_locked(struct mica_device *mdev, struct mica_ctx *guilty)
{
	int ret;

	lockdep_assert_held(&mdev->state_lock);
	mica_reset_stop_jobs(mdev);
	mica_irq_poll(mdev);		/* what ended before has ended */
	mica_dump_take(mdev, "reset", guilty);
	mica_fw_offline(mdev);
	if (guilty)
		mica_ctx_stop(guilty, -ECANCELED, true);
	else
		mica_reset_blame(mdev);
	atomic_inc(&mdev->resets);
	ret = mica_reset_restart(mdev);
	if (!ret)
		dev_info(mdev->drm.dev, "device reset, firmware %u.%u.%u runs again\n",
			 mdev->fw.version >> 16, (mdev->fw.version >> 8) & 0xff,
			 mdev->fw.version & 0xff);
	return ret;
}

/* Ends the jobs of one context; the device goes on. Needs state_lock. */
static int mica_reset_abort(struct mica_device *mdev, struct mica_ctx *ctx)
{
	struct mica_fw_msg ping = { .type = MICA_MSG_PING };
	struct mica_fw_msg msg = { .type = MICA_MSG_CTX_ABORT, .ctx = ctx->slot };
	int ret;

	/* A firmware that does not answer at all isn't this context's fault. */
	ret = mica_fw_call(mdev, &ping);
	if (ret)
		return mica_reset_locked(mdev, NULL);
	mica_dump_take(mdev, "job timeout", ctx);
	mica_ctx_condemn(ctx, -ECANCELED, true);	/* whoever sees its fence sees that it is lost */
	ret = mica_fw_call(mdev, &msg);
	if (ret)
		return mica_reset_locked(mdev, ctx);
	mica_irq_poll(mdev);
	mica_ctx_stop(ctx, -ECANCELED, true);	/* the messages ended them; this is for what came too late */
	return 0;
}

static bool mica_reset_needed(struct mica_device *mdev)
{
	u32 state = mica_read(mdev, MICA_REG_FW_STATE);

	return state != MICA_FW_STATE_READY || mdev->fw.broken;
}

static struct mica_ctx *mica_reset_abort_due(struct mica_device *mdev)
{
	u32 i;

	for (i = 1; i < MICA_MAX_CONTEXTS; i++)
		if (mdev->slots[i] && READ_ONCE(mdev->slots[i]->abort_due))
			return mdev->slots[i];
	return NULL;
}

/* Somebody saw that something is wrong; what it is shows here. */
static void mica_reset_work(struct work_struct *work)
{
	struct mica_device *mdev = container_of(work, struct mica_device, reset_work);
	struct mica_fw_msg ping = { .type = MICA_MSG_PING };
	bool signalling = dma_fence_begin_signalling();
	struct mica_ctx *ctx;

	mutex_lock(&mdev->state_lock);
	while (mdev->state == MICA_STATE_RUNNING && !mica_reset_needed(mdev)) {
		ctx = mica_reset_abort_due(mdev);
		if (!ctx)
			break;
		WRITE_ONCE(ctx->abort_due, false);
		mica_reset_abort(mdev, ctx);
	}
	if (mdev->state == MICA_STATE_RUNNING &&
	    (xchg(&mdev->reset_forced, false) || mica_reset_needed(mdev) ||
	     mica_fw_call(mdev, &ping)))
		mica_reset_locked(mdev, NULL);
	mutex_unlock(&mdev->state_lock);
	dma_fence_end_signalling(signalling);
}

void mica_reset_init(struct mica_device *mdev)
{
	INIT_WORK(&mdev->reset_work, mica_reset_work);
}

/* The device is gone for good: fences end with ENODEV, rings go. */
void mica_reset_unplug(struct mica_device *mdev)
{
	u32 i;

	mutex_lock(&mdev->state_lock);
	mdev->state = MICA_STATE_GONE;
	mica_fw_offline(mdev);
	mica_hw_stop(mdev);
	mica_reset_fail_all(mdev, -ENODEV);
	for (i = 1; i < MICA_MAX_CONTEXTS; i++)
		if (mdev->slots[i])
			mica_ctx_unplug(mdev->slots[i]);
	mutex_unlock(&mdev->state_lock);
	cancel_work_sync(&mdev->reset_work);
}

/*
 * The scheduler took the job off its list before it asked us, and expects it back there. If the job has ended
 * meanwhile, nobody else would start the work that frees it.
 */
static void mica_reset_return_job(struct mica_job *job)
{
	struct drm_gpu_scheduler *sched = job->base.sched;

	spin_lock(&sched->job_list_lock);
	list_add(&job->base.list, &sched->pending_list);
	spin_unlock(&sched->job_list_lock);
	if (!READ_ONCE(sched->pause_submit))
		queue_work(sched->submit_wq, &sched->work_free_job);
}

/* Long, but not its own fault: others kept the device busy all the time. */
static bool mica_reset_excused(struct mica_job *job)
{
	struct mica_device *mdev = job->ctx->mdev;
	unsigned long period = job->base.sched->timeout;

	return time_after(READ_ONCE(mdev->last_done) + period, jiffies) &&
	       job->extensions++ < MICA_MAX_EXTENSIONS;
}

static enum drm_gpu_sched_stat mica_reset_late_job(struct mica_job *job)
{
	struct mica_ctx *ctx = job->ctx;
	struct mica_device *mdev = ctx->mdev;
	int idx;

	if (!drm_dev_enter(&mdev->drm, &idx)) {
		mica_ctx_stop(ctx, -ENODEV, false);
		mica_reset_return_job(job);
		return DRM_GPU_SCHED_STAT_ENODEV;
	}
	mica_irq_poll(mdev);	/* a lost interrupt? */
	if (!dma_fence_is_signaled(&job->base.s_fence->finished) && !mica_reset_excused(job)) {
		mutex_lock(&mdev->state_lock);
		if (mdev->state == MICA_STATE_RUNNING && mdev->slots[ctx->slot] == ctx) {
			dev_err(mdev->drm.dev, "job %llu of slot %u timed out\n", job->desc.seqno,
				ctx->slot);
			spin_lock_irq(&ctx->lock);
			job->timed_out = true;
			spin_unlock_irq(&ctx->lock);
			mica_reset_abort(mdev, ctx);
		}
		mutex_unlock(&mdev->state_lock);
	}
	mica_reset_return_job(job);
	drm_dev_exit(idx);
	return DRM_GPU_SCHED_STAT_NOMINAL;
}

/* On mica_reset_wq. */
enum drm_gpu_sched_stat mica_reset_timeout(struct mica_job *job)
{
	bool signalling = dma_fence_begin_signalling();
	enum drm_gpu_sched_stat ret = mica_reset_late_job(job);

	dma_fence_end_signalling(signalling);
	return ret;
}
