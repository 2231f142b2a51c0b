// SPDX-License-Identifier: GPL-2.0-only
/*
 * debugfs, in /sys/kernel/debug/accel/<device>: fw_log, fw_telemetry, regs, rings, contexts, and inject, which takes
 * "TYPE ARG" (numbers of MICA_INJECT_*) where the device has its debug bank.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "mica_drv.h"

static int mica_debugfs_fw_log(struct mica_device *mdev, struct seq_file *m)
{
	char *text = vmalloc(MICA_LOG_SIZE);

	if (!text)
		return -ENOMEM;
	seq_write(m, text, mica_fw_log_read(mdev, text, MICA_LOG_SIZE));
	vfree(text);
	return 0;
}

static int mica_debugfs_fw_telemetry(struct mica_device *mdev, struct seq_file *m)
{
	const struct mica_fw_telemetry *t = &mdev->fw.shm->telemetry;
	struct mica_fw_msg ping = { .type = MICA_MSG_PING };
	u32 i;

	mutex_lock(&mdev->state_lock);
	if (mdev->state == MICA_STATE_RUNNING)
		mica_fw_call(mdev, &ping);
	mutex_unlock(&mdev->state_lock);
	seq_printf(m, "uptime_us %llu\njobs_done %llu\njobs_faulted %llu\n", t->uptime_us,
		   t->jobs_done, t->jobs_faulted);
	for (i = 0; i < mdev->hw.cores && i < ARRAY_SIZE(t->busy_us); i++)
		seq_printf(m, "busy_us[%u] %llu\n", i, t->busy_us[i]);
	seq_printf(m, "temp_mc %u\npower_mw %u\nheartbeat %u\n", t->temp_mc, t->power_mw,
		   t->heartbeat);
	return 0;
}

static int mica_debugfs_regs(struct mica_device *mdev, struct seq_file *m)
{
	const struct mica_reg_name *reg;

	for (reg = mica_reg_names; reg->name; reg++)
		if (reg->readable)
			seq_printf(m, "%03x %-20s %08x\n", reg->reg, reg->name,
				   mica_read(mdev, reg->reg));
	return 0;
}

static int mica_debugfs_rings(struct mica_device *mdev, struct seq_file *m)
{
	const struct mica_fw_shm *shm = mdev->fw.shm;

	seq_printf(m, "h2f head %u tail %u (ours %u)\n", READ_ONCE(shm->h2f.head),
		   READ_ONCE(shm->h2f.tail), READ_ONCE(mdev->fw.h2f_tail));
	seq_printf(m, "f2h head %u (ours %u) tail %u\n", READ_ONCE(shm->f2h.head),
		   READ_ONCE(mdev->fw.f2h_head), READ_ONCE(shm->f2h.tail));
	seq_printf(m, "in flight %d, resets %d\n", atomic_read(&mdev->inflight),
		   atomic_read(&mdev->resets));
	return 0;
}

static int mica_debugfs_contexts(struct mica_device *mdev, struct seq_file *m)
{
	u32 i;

	mutex_lock(&mdev->state_lock);
	for (i = 1; i < MICA_MAX_CONTEXTS; i++) {
		struct mica_ctx *ctx = mdev->slots[i];

		if (!ctx)
			continue;
		spin_lock_irq(&ctx->lock);
		seq_printf(m, "slot %u priority %u tail %u inflight %zu done %llu failed %llu error %d%s\n",
			   i, ctx->priority, ctx->tail, list_count_nodes(&ctx->inflight),
			   ctx->info.jobs_done, ctx->info.jobs_failed, ctx->error,
			   ctx->lost ? " lost" : "");
		spin_unlock_irq(&ctx->lock);
	}
	mutex_unlock(&mdev->state_lock);
	return 0;
}

#define MICA_DEBUGFS_SHOW(name)							\
static int name##_show(struct seq_file *m, void *unused)			\
{										\
	struct mica_device *mdev = m->private;					\
	int idx, ret;								\
										\
	if (!drm_dev_enter(&mdev->drm, &idx))					\
		return -ENODEV;							\
	ret = name(mdev, m);							\
	drm_dev_exit(idx);							\
	return ret;								\
}										\
DEFINE_SHOW_ATTRIBUTE(name)

MICA_DEBUGFS_SHOW(mica_debugfs_fw_log);
MICA_DEBUGFS_SHOW(mica_debugfs_fw_telemetry);
MICA_DEBUGFS_SHOW(mica_debugfs_regs);
MICA_DEBUGFS_SHOW(mica_debugfs_rings);
MICA_DEBUGFS_SHOW(mica_debugfs_contexts);

static ssize_t mica_debugfs_inject_write(struct file *file, const char __user *data, size_t size,
					 loff_t *pos)
{
	struct mica_device *mdev = file->private_data;
	char text[32];
	u32 type, arg = 0;
	int idx;

	if (size >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, data, size))
		return -EFAULT;
	text[size] = '\0';
	if (sscanf(text, "%u %u", &type, &arg) < 1)
		return -EINVAL;
	if (!drm_dev_enter(&mdev->drm, &idx))
		return -ENODEV;
	mica_write(mdev, MICA_REG_INJECT_ARG, arg);
	mica_write(mdev, MICA_REG_INJECT, type);
	drm_dev_exit(idx);
	return size;
}

static const struct file_operations mica_debugfs_inject_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = mica_debugfs_inject_write,
};

void mica_debugfs_init(struct mica_device *mdev)
{
	struct dentry *root = mdev->drm.debugfs_root;

	debugfs_create_file("fw_log", 0400, root, mdev, &mica_debugfs_fw_log_fops);
	debugfs_create_file("fw_telemetry", 0400, root, mdev, &mica_debugfs_fw_telemetry_fops);
	debugfs_create_file("regs", 0400, root, mdev, &mica_debugfs_regs_fops);
	debugfs_create_file("rings", 0400, root, mdev, &mica_debugfs_rings_fops);
	debugfs_create_file("contexts", 0400, root, mdev, &mica_debugfs_contexts_fops);
	if (mdev->hw.features & MICA_FEATURES_DEBUG_MASK)
		debugfs_create_file("inject", 0200, root, mdev, &mica_debugfs_inject_fops);
}
