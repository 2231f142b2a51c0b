// SPDX-License-Identifier: GPL-2.0-only
/*
 * Module, PCI driver, DRM driver: what exists when, and in which order it goes.
 */
#include <linux/module.h>

#include <drm/drm_accel.h>
#include <drm/drm_gem.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_managed.h>
#include <drm/drm_print.h>

#include <mica/isa.h>

#include "mica_drv.h"

uint mica_job_timeout_ms = 30000;
module_param_named(job_timeout_ms, mica_job_timeout_ms, uint, 0644);
MODULE_PARM_DESC(job_timeout_ms, "Time a job may take, for contexts made later (default 30000)");

uint mica_fw_timeout_ms = 5000;
module_param_named(fw_timeout_ms, mica_fw_timeout_ms, uint, 0644);
MODULE_PARM_DESC(fw_timeout_ms, "Time the firmware has for an answer (default 5000)");

uint mica_watchdog_ms = 10000;
module_param_named(watchdog_ms, mica_watchdog_ms, uint, 0644);
MODULE_PARM_DESC(watchdog_ms, "Time a core may stand still before the firmware ends its job, read when the firmware boots; 0: no limit (default 10000)");

struct workqueue_struct *mica_sched_wq;		/* schedulers */
struct workqueue_struct *mica_reset_wq;		/* job timeouts and resets, ordered */
struct workqueue_struct *mica_release_wq;	/* ends of jobs and contexts, which may sleep long */

static int mica_query_device(struct mica_device *mdev, struct drm_mica_device_info *info)
{
	*info = (struct drm_mica_device_info){
		.hw_version = mdev->hw.version,
		.fw_version = mdev->fw.version,
		.fw_abi = mdev->fw.abi,
		.isa_version = mdev->hw.isa_version,
		.cores = mdev->hw.cores,
		.lmem_size = mdev->hw.lmem_size,
		.mac_rows = mdev->hw.mac_rows,
		.mac_cols = mdev->hw.mac_cols,
		.vector_lanes = mdev->hw.vector_lanes,
		.dram_bytes_per_cycle = mdev->hw.dram_bytes_per_cycle,
		.clock_khz = mdev->hw.clock_khz,
		.features = mdev->hw.features,
		.max_segments = MICA_MAX_SEGMENTS,
		.max_contexts = mdev->hw.contexts - 1,
		.resets = atomic_read(&mdev->resets),
		.va_start = MICA_VA_START,
		.va_end = MICA_VA_END,
	};
	return 0;
}

static int mica_query_context(struct mica_file *mf, u32 id, struct drm_mica_context_info *info)
{
	struct mica_ctx *ctx = mica_ctx_lookup(mf, id);

	if (!ctx)
		return -ENOENT;
	mica_ctx_info(ctx, info);
	mica_ctx_users_put(ctx);
	return 0;
}

static int mica_ioctl_query(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_mica_query *args = data;
	union {
		struct drm_mica_device_info device;
		struct drm_mica_context_info context;
	} info;
	u32 size, room = args->size;
	int ret;

	if (args->pad || (args->type == DRM_MICA_QUERY_DEVICE && args->id))
		return -EINVAL;
	switch (args->type) {
	case DRM_MICA_QUERY_DEVICE:
		size = sizeof(info.device);
		ret = mica_query_device(to_mica(drm), &info.device);
		break;
	case DRM_MICA_QUERY_CONTEXT:
		size = sizeof(info.context);
		ret = mica_query_context(file->driver_priv, args->id, &info.context);
		break;
	default:
		return -EINVAL;
	}
	if (ret)
		return ret;
	args->size = size;
	if (args->data && copy_to_user(u64_to_user_ptr(args->data), &info, min(room, size)))
		return -EFAULT;
	return 0;
}

/* Every ioctl of ours runs between drm_dev_enter() and drm_dev_exit(): an unplug waits for it. */
#define MICA_IOCTL_GUARD(fn)							\
static int fn##_guarded(struct drm_device *drm, void *data, struct drm_file *file) \
{										\
	int idx, ret;								\
										\
	if (!drm_dev_enter(drm, &idx))						\
		return -ENODEV;							\
	ret = fn(drm, data, file);						\
	drm_dev_exit(idx);							\
	return ret;								\
}

MICA_IOCTL_GUARD(mica_ioctl_query)
MICA_IOCTL_GUARD(mica_ioctl_bo_create)
MICA_IOCTL_GUARD(mica_ioctl_bo_info)
MICA_IOCTL_GUARD(mica_ioctl_ctx_create)
MICA_IOCTL_GUARD(mica_ioctl_ctx_destroy)
MICA_IOCTL_GUARD(mica_ioctl_submit)

static const struct drm_ioctl_desc mica_ioctls[] = {
	DRM_IOCTL_DEF_DRV(MICA_QUERY, mica_ioctl_query_guarded, 0),
	DRM_IOCTL_DEF_DRV(MICA_BO_CREATE, mica_ioctl_bo_create_guarded, 0),
	DRM_IOCTL_DEF_DRV(MICA_BO_INFO, mica_ioctl_bo_info_guarded, 0),
	DRM_IOCTL_DEF_DRV(MICA_BO_WAIT, mica_ioctl_bo_wait, 0),	/* may wait for long, needs no device */
	DRM_IOCTL_DEF_DRV(MICA_CTX_CREATE, mica_ioctl_ctx_create_guarded, 0),
	DRM_IOCTL_DEF_DRV(MICA_CTX_DESTROY, mica_ioctl_ctx_destroy_guarded, 0),
	DRM_IOCTL_DEF_DRV(MICA_SUBMIT, mica_ioctl_submit_guarded, 0),
};

static int mica_open(struct drm_device *drm, struct drm_file *file)
{
	struct mica_file *mf;
	int idx, ret = 0;

	mf = kzalloc(sizeof(*mf), GFP_KERNEL);
	if (!mf)
		return -ENOMEM;
	xa_init_flags(&mf->ctxs, XA_FLAGS_ALLOC1);
	if (!drm_dev_enter(drm, &idx)) {
		kfree(mf);
		return -ENODEV;
	}
	mf->vm = mica_vm_create(to_mica(drm));
	drm_dev_exit(idx);
	if (IS_ERR(mf->vm)) {
		ret = PTR_ERR(mf->vm);
		kfree(mf);
		return ret;
	}
	file->driver_priv = mf;
	return 0;
}

static void mica_postclose(struct drm_device *drm, struct drm_file *file)
{
	struct mica_file *mf = file->driver_priv;
	struct mica_ctx *ctx;
	unsigned long id;

	xa_for_each(&mf->ctxs, id, ctx)
		mica_ctx_close(ctx);
	xa_destroy(&mf->ctxs);
	mica_vm_put(mf->vm);
	kfree(mf);
}

static void mica_show_fdinfo(struct drm_printer *p, struct drm_file *file)
{
	struct mica_device *mdev = to_mica(file->minor->dev);
	struct mica_file *mf = file->driver_priv;

	drm_printf(p, "drm-engine-mica:\t%lld ns\n", atomic64_read(&mf->vm->busy_ns));
	drm_printf(p, "drm-engine-capacity-mica:\t%u\n", mdev->hw.cores);
	drm_show_memory_stats(p, file);
}

static const struct file_operations mica_fops = {
	.owner = THIS_MODULE,
	DRM_ACCEL_FOPS,
	.show_fdinfo = drm_show_fdinfo,
	.uring_cmd = mica_uring_cmd,
};

static const struct drm_driver mica_drm_driver = {
	.driver_features = DRIVER_COMPUTE_ACCEL | DRIVER_GEM | DRIVER_SYNCOBJ | DRIVER_SYNCOBJ_TIMELINE,
	.open = mica_open,
	.postclose = mica_postclose,
	.gem_create_object = mica_gem_create_object,
	.gem_prime_import = mica_gem_prime_import,
	.gem_prime_import_sg_table = drm_gem_shmem_prime_import_sg_table,
	.show_fdinfo = mica_show_fdinfo,
	.ioctls = mica_ioctls,
	.num_ioctls = ARRAY_SIZE(mica_ioctls),
	.fops = &mica_fops,
	.name = MICA_DRIVER_NAME,
	.desc = "MICA inference accelerator",
	.date = "20250101",
	.major = MICA_DRIVER_MAJOR,
	.minor = MICA_DRIVER_MINOR,
};

static int mica_device_setup(struct mica_device *mdev)
{
	int ret;

	ret = drmm_mutex_init(&mdev->drm, &mdev->state_lock);
	if (!ret)
		ret = drmm_mutex_init(&mdev->drm, &mdev->mmu_lock);
	if (!ret)
		ret = drmm_mutex_init(&mdev->drm, &mdev->list_lock);
	spin_lock_init(&mdev->ev_lock);
	INIT_LIST_HEAD(&mdev->vms);
	INIT_LIST_HEAD(&mdev->bos);
	mica_reset_init(mdev);
	return ret;
}

static int mica_boot(struct mica_device *mdev)
{
	int ret;

	mutex_lock(&mdev->state_lock);
	ret = mica_fw_boot(mdev);
	if (!ret)
		mdev->state = MICA_STATE_RUNNING;
	mutex_unlock(&mdev->state_lock);
	return ret;
}

static void mica_log_start(struct mica_device *mdev)
{
	const struct mica_hw *hw = &mdev->hw;
	u32 v = mdev->fw.version;

	dev_info(mdev->drm.dev, "hardware %#x, %u cores with %u KiB, firmware %u.%u.%u, ABI %u, accel%d\n",
		 hw->version, hw->cores, hw->lmem_size >> 10, v >> 16, (v >> 8) & 0xff, v & 0xff,
		 mdev->fw.abi, mdev->drm.accel->index);
}

static int mica_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct mica_device *mdev;
	int ret;

	mdev = devm_drm_dev_alloc(&pdev->dev, &mica_drm_driver, struct mica_device, drm);
	if (IS_ERR(mdev))
		return PTR_ERR(mdev);
	mdev->pdev = pdev;
	pci_set_drvdata(pdev, mdev);

	ret = mica_device_setup(mdev);
	if (!ret)
		ret = mica_device_init(mdev);
	if (!ret)
		ret = mica_mmu_init(mdev);
	if (ret)
		return ret;
	ret = mica_fw_load(mdev);
	if (ret)
		goto err_mmu;
	ret = mica_irq_init(mdev);
	if (ret)
		goto err_fw;
	mica_dump_init(mdev);
	ret = mica_boot(mdev);
	if (ret)
		goto err_stop;
	ret = mica_hwmon_init(mdev);
	if (!ret)
		ret = drm_dev_register(&mdev->drm, 0);
	if (ret)
		goto err_stop;
	mica_debugfs_init(mdev);
	mica_log_start(mdev);
	mica_pm_init(mdev);
	return 0;

err_stop:
	mica_reset_unplug(mdev);
	mica_irq_fini(mdev);
	mica_dump_fini(mdev);
err_fw:
	mica_fw_unload(mdev);
err_mmu:
	mica_mmu_unplug(mdev);
	return ret;
}

/* Also for a device that was pulled out: files may be open, jobs in flight, buffers mapped. */
static void mica_remove(struct pci_dev *pdev)
{
	struct mica_device *mdev = pci_get_drvdata(pdev);

	mica_pm_fini(mdev);
	drm_dev_unplug(&mdev->drm);
	mica_reset_unplug(mdev);
	mica_irq_fini(mdev);
	mica_gem_unplug(mdev);
	mica_mmu_unplug(mdev);
	mica_fw_unload(mdev);
	mica_dump_fini(mdev);
}

/* The next kernel must find a device that leaves its memory alone. */
static void mica_shutdown(struct pci_dev *pdev)
{
	struct mica_device *mdev = pci_get_drvdata(pdev);

	drm_dev_unplug(&mdev->drm);
	mica_reset_unplug(mdev);
}

static const struct pci_device_id mica_pci_ids[] = {
	{ PCI_DEVICE(MICA_PCI_VENDOR_ID, MICA_PCI_DEVICE_ID) },
	{ }
};
MODULE_DEVICE_TABLE(pci, mica_pci_ids);

static struct pci_driver mica_pci_driver = {
	.name = MICA_DRIVER_NAME,
	.id_table = mica_pci_ids,
	.probe = mica_probe,
	.remove = mica_remove,
	.shutdown = mica_shutdown,
	.err_handler = &mica_pci_err_handlers,
	.driver.pm = pm_ptr(&mica_pm_ops),
};

static void mica_destroy_queues(void)
{
	/* Release work ends contexts, whose schedulers use the other two. */
	if (mica_release_wq)
		destroy_workqueue(mica_release_wq);
	if (mica_reset_wq)
		destroy_workqueue(mica_reset_wq);
	if (mica_sched_wq)
		destroy_workqueue(mica_sched_wq);
}

static int __init mica_init(void)
{
	int ret = -ENOMEM;

	mica_sched_wq = alloc_workqueue("mica-sched", WQ_HIGHPRI | WQ_MEM_RECLAIM, 0);
	mica_reset_wq = alloc_ordered_workqueue("mica-reset", WQ_MEM_RECLAIM);
	mica_release_wq = alloc_workqueue("mica-release", WQ_UNBOUND, 0);
	if (mica_sched_wq && mica_reset_wq && mica_release_wq)
		ret = pci_register_driver(&mica_pci_driver);
	if (ret)
		mica_destroy_queues();
	return ret;
}

static void __exit mica_exit(void)
{
	pci_unregister_driver(&mica_pci_driver);
	mica_destroy_queues();
	rcu_barrier();
}

module_init(mica_init);
module_exit(mica_exit);

MODULE_DESCRIPTION("MICA inference accelerator");
MODULE_LICENSE("GPL");
MODULE_FIRMWARE(MICA_FW_FILE);
