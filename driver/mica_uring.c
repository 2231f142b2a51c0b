// SPDX-License-Identifier: GPL-2.0-only
/*
 * Submission as an io_uring command: the CQE is the completion of the jobs.
 *
 * A mica_ucmd outlives the io_uring command: the jobs and their fence callbacks hold references. Whoever takes
 * ucmd->cmd under ucmd->lock (completion, cancel, or a submission that fails late) completes the command; the
 * others find NULL.
 */
#include <linux/io_uring/cmd.h>

#include "mica_drv.h"

struct mica_ucmd_cb {
	struct dma_fence_cb base;
	struct mica_ucmd *ucmd;		/* holds a reference while armed */
	struct dma_fence *fence;
	u32 index;
};

struct mica_ucmd {
	struct kref ref;
	spinlock_t lock;		/* cmd, error: who completes the command, and with what */
	struct io_uring_cmd *cmd;	/* lock; NULL once somebody completes it */
	atomic_t pending;		/* jobs, and 1 for the submission itself */
	atomic64_t cycles;
	int error;			/* lock: of the first job, in order, that failed */
	u32 error_index;
	u32 num_cbs;
	struct mica_ucmd_cb cb[] __counted_by(num_cbs);
};

/* In io_uring_cmd.pdu, from issue to completion. It holds a reference. */
struct mica_ucmd_pdu {
	struct mica_ucmd *ucmd;
};

struct mica_ucmd *mica_ucmd_get(struct mica_ucmd *ucmd)
{
	kref_get(&ucmd->ref);
	return ucmd;
}

static void mica_ucmd_free(struct kref *ref)
{
	kfree(container_of(ref, struct mica_ucmd, ref));
}

void mica_ucmd_put(struct mica_ucmd *ucmd)
{
	kref_put(&ucmd->ref, mica_ucmd_free);
}

void mica_ucmd_add_cycles(struct mica_ucmd *ucmd, u64 cycles)
{
	atomic64_add(cycles, &ucmd->cycles);
}

static struct io_uring_cmd *mica_ucmd_take(struct mica_ucmd *ucmd)
{
	struct io_uring_cmd *cmd;
	unsigned long flags;

	spin_lock_irqsave(&ucmd->lock, flags);
	cmd = ucmd->cmd;
	ucmd->cmd = NULL;
	spin_unlock_irqrestore(&ucmd->lock, flags);
	return cmd;
}

/* Runs in the submitter's task. */
static void mica_ucmd_complete(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct mica_ucmd *ucmd = io_uring_cmd_to_pdu(cmd, struct mica_ucmd_pdu)->ucmd;

	io_uring_cmd_done(cmd, ucmd->error, atomic64_read(&ucmd->cycles), issue_flags);
	mica_ucmd_put(ucmd);
}

static void mica_ucmd_job_ended(struct mica_ucmd *ucmd)
{
	struct io_uring_cmd *cmd;

	if (!atomic_dec_and_test(&ucmd->pending))
		return;
	cmd = mica_ucmd_take(ucmd);
	if (cmd)
		io_uring_cmd_complete_in_task(cmd, mica_ucmd_complete);
}

static void mica_ucmd_fence_cb(struct dma_fence *fence, struct dma_fence_cb *base)
{
	struct mica_ucmd_cb *cb = container_of(base, struct mica_ucmd_cb, base);
	struct mica_ucmd *ucmd = cb->ucmd;
	unsigned long flags;

	if (fence->error) {
		spin_lock_irqsave(&ucmd->lock, flags);
		if (!ucmd->error || cb->index < ucmd->error_index) {
			/* ESRCH is the scheduler's word for a job whose context went. */
			ucmd->error = fence->error == -ESRCH ? -ECANCELED : fence->error;
			ucmd->error_index = cb->index;
		}
		spin_unlock_irqrestore(&ucmd->lock, flags);
	}
	mica_ucmd_job_ended(ucmd);
	mica_ucmd_put(ucmd);
}

/* Job number `index` of the command; the fence cannot have signalled yet. */
void mica_ucmd_watch(struct mica_ucmd *ucmd, u32 index, struct dma_fence *fence)
{
	struct mica_ucmd_cb *cb = &ucmd->cb[index];

	cb->ucmd = mica_ucmd_get(ucmd);
	cb->index = index;
	atomic_inc(&ucmd->pending);
	if (dma_fence_add_callback(fence, &cb->base, mica_ucmd_fence_cb))
		mica_ucmd_fence_cb(fence, &cb->base);
}

static int mica_ucmd_cancel(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct mica_ucmd *ucmd = io_uring_cmd_to_pdu(cmd, struct mica_ucmd_pdu)->ucmd;

	if (mica_ucmd_take(ucmd)) {
		io_uring_cmd_done(cmd, -ECANCELED, 0, issue_flags);
		mica_ucmd_put(ucmd);
	}
	return 0;
}

/* The payload is memory that user space can write: each field is read once. */
static int mica_ucmd_read(struct io_uring_cmd *cmd, struct drm_mica_submit *args)
{
	const struct mica_uring_submit *p = io_uring_sqe_cmd(cmd->sqe);
	u64 reserved = 0;
	u32 i;

	args->ctx_id = READ_ONCE(p->submit.ctx_id);
	args->flags = READ_ONCE(p->submit.flags);
	args->jobs = READ_ONCE(p->submit.jobs);
	args->job_count = READ_ONCE(p->submit.job_count);
	args->job_stride = READ_ONCE(p->submit.job_stride);
	for (i = 0; i < ARRAY_SIZE(p->reserved); i++)
		reserved |= READ_ONCE(p->reserved[i]);
	if (reserved || args->flags || !args->job_count || args->job_count > DRM_MICA_MAX_JOBS)
		return -EINVAL;
	return 0;
}

static struct mica_ucmd *mica_ucmd_create(struct io_uring_cmd *cmd, u32 jobs)
{
	struct mica_ucmd *ucmd = kzalloc(struct_size(ucmd, cb, jobs), GFP_KERNEL_ACCOUNT);

	if (!ucmd)
		return NULL;
	kref_init(&ucmd->ref);
	spin_lock_init(&ucmd->lock);
	atomic_set(&ucmd->pending, 1);
	ucmd->num_cbs = jobs;
	ucmd->cmd = cmd;
	io_uring_cmd_to_pdu(cmd, struct mica_ucmd_pdu)->ucmd = ucmd;
	return ucmd;
}

/*
 * Once the command is cancelable it may be completed by a cancel at any time, and its own error must be delivered as
 * a completion too. It is marked before any lock is taken, because off the fast path that takes the ring's own lock.
 */
static int mica_ucmd_submit(struct io_uring_cmd *cmd, struct drm_file *file,
			    const struct drm_mica_submit *args, unsigned int issue_flags)
{
	struct mica_ucmd *ucmd = mica_ucmd_create(cmd, args->job_count);
	int ret;

	if (!ucmd)
		return -ENOMEM;
	mica_ucmd_get(ucmd);	/* ours, beside the command's */
	io_uring_cmd_mark_cancelable(cmd, issue_flags);
	ret = mica_submit(file, args, ucmd);
	if (!ret) {
		mica_ucmd_job_ended(ucmd);
	} else if (mica_ucmd_take(ucmd)) {
		io_uring_cmd_done(cmd, ret, 0, issue_flags);
		mica_ucmd_put(ucmd);
	}
	mica_ucmd_put(ucmd);
	return -EIOCBQUEUED;
}

int mica_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct drm_file *file = cmd->file->private_data;
	struct mica_device *mdev = to_mica(file->minor->dev);
	struct drm_mica_submit args;
	int idx, ret;

	if (issue_flags & IO_URING_F_CANCEL)
		return mica_ucmd_cancel(cmd, issue_flags);
	if (!(issue_flags & IO_URING_F_SQE128) || cmd->cmd_op != MICA_URING_CMD_SUBMIT)
		return -EINVAL;
	ret = mica_ucmd_read(cmd, &args);
	if (ret)
		return ret;
	if (!drm_dev_enter(&mdev->drm, &idx))
		return -ENODEV;
	/* -EAGAIN: io_uring comes again from a worker, which may sleep. */
	ret = issue_flags & IO_URING_F_NONBLOCK ? mica_pm_get_nowait(mdev) : mica_pm_get(mdev);
	if (!ret) {
		ret = mica_ucmd_submit(cmd, file, &args, issue_flags);
		mica_pm_put(mdev);
	}
	drm_dev_exit(idx);
	return ret;
}
