// SPDX-License-Identifier: GPL-2.0-only
/*
 * Power: runtime PM puts the firmware to sleep (the device stays in D0, its state lives), system sleep stops the device
 * and boots it again. Also function-level resets that others ask for.
 */
#include <linux/pm_runtime.h>

#include "mica_drv.h"

#define MICA_AUTOSUSPEND_MS	2000

int mica_pm_get(struct mica_device *mdev)
{
	return pm_runtime_resume_and_get(mdev->drm.dev);
}

/* -EAGAIN: the device would have to be woken, which sleeps. */
int mica_pm_get_nowait(struct mica_device *mdev)
{
	int ret = pm_runtime_get_if_active(mdev->drm.dev);

	if (ret == 0)
		return -EAGAIN;
	if (ret < 0)
		pm_runtime_get_noresume(mdev->drm.dev);	/* runtime PM is off: it is awake */
	return 0;
}

/* One more reference of somebody who has one. */
void mica_pm_get_again(struct mica_device *mdev)
{
	pm_runtime_get_noresume(mdev->drm.dev);
}

void mica_pm_put(struct mica_device *mdev)
{
	pm_runtime_mark_last_busy(mdev->drm.dev);
	pm_runtime_put_autosuspend(mdev->drm.dev);
}

static int mica_runtime_suspend(struct device *dev)
{
	struct mica_device *mdev = dev_get_drvdata(dev);
	struct mica_fw_msg msg = { .type = MICA_MSG_SUSPEND };
	int ret = 0;

	mutex_lock(&mdev->state_lock);
	if (mdev->state == MICA_STATE_RUNNING)
		ret = mica_fw_call(mdev, &msg);
	mutex_unlock(&mdev->state_lock);
	if (ret) {
		if (ret != -EPROTO)
			mica_reset_schedule(mdev, "suspend not answered");
		return -EBUSY;
	}
	/* With its state saved, the PCI core leaves the device in D0, where the firmware keeps its contexts. */
	pci_save_state(mdev->pdev);
	return 0;
}

static int mica_runtime_resume(struct device *dev)
{
	struct mica_device *mdev = dev_get_drvdata(dev);
	struct mica_fw_msg msg = { .type = MICA_MSG_PING };
	int ret = 0;

	mutex_lock(&mdev->state_lock);
	if (mdev->state == MICA_STATE_RUNNING)
		ret = mica_fw_call(mdev, &msg);
	mutex_unlock(&mdev->state_lock);
	/* A firmware that does not wake up is reset; jobs queue behind that. */
	if (ret)
		mica_reset_schedule(mdev, "resume not answered");
	return 0;
}

static int mica_suspend(struct device *dev)
{
	struct mica_device *mdev = dev_get_drvdata(dev);
	struct mica_fw_msg msg = { .type = MICA_MSG_SUSPEND };

	mutex_lock(&mdev->state_lock);
	if (mdev->state == MICA_STATE_RUNNING) {
		mica_reset_stop_jobs(mdev);
		/* Running jobs get the time to end; what does not is run again after the resume. */
		if (mica_fw_call(mdev, &msg))
			dev_warn(dev, "the firmware does not suspend; it is stopped\n");
		mica_fw_offline(mdev);
		mica_write(mdev, MICA_REG_IRQ_ENABLE, 0);
		mica_write(mdev, MICA_REG_FW_CTRL, MICA_FW_CTRL_HALT_MASK);
		mica_hw_reset(mdev);
		mdev->state = MICA_STATE_OFF;
	}
	mutex_unlock(&mdev->state_lock);
	return 0;
}

static int mica_resume(struct device *dev)
{
	struct mica_device *mdev = dev_get_drvdata(dev);
	int ret = 0;

	mutex_lock(&mdev->state_lock);
	if (mdev->state == MICA_STATE_OFF) {
		pci_set_master(mdev->pdev);
		ret = mica_reset_restart(mdev);
	}
	mutex_unlock(&mdev->state_lock);
	return ret;
}

const struct dev_pm_ops mica_pm_ops = {
	SYSTEM_SLEEP_PM_OPS(mica_suspend, mica_resume)
	RUNTIME_PM_OPS(mica_runtime_suspend, mica_runtime_resume, NULL)
};

static void mica_flr_prepare(struct pci_dev *pdev)
{
	struct mica_device *mdev = pci_get_drvdata(pdev);

	if (READ_ONCE(mdev->own_flr))
		return;
	mutex_lock(&mdev->state_lock);
	if (mdev->state == MICA_STATE_RUNNING) {
		mica_reset_stop_jobs(mdev);
		mica_fw_offline(mdev);
		mdev->state = MICA_STATE_OFF;
	}
	mutex_unlock(&mdev->state_lock);
}

static void mica_flr_done(struct pci_dev *pdev)
{
	struct mica_device *mdev = pci_get_drvdata(pdev);

	if (READ_ONCE(mdev->own_flr))
		return;
	mutex_lock(&mdev->state_lock);
	if (mdev->state == MICA_STATE_OFF) {
		atomic_inc(&mdev->resets);
		mica_reset_restart(mdev);
	}
	mutex_unlock(&mdev->state_lock);
}

const struct pci_error_handlers mica_pci_err_handlers = {
	.reset_prepare = mica_flr_prepare,
	.reset_done = mica_flr_done,
};

/* The last step of probe, whose PCI core holds the device awake until here. */
void mica_pm_init(struct mica_device *mdev)
{
	struct device *dev = mdev->drm.dev;

	pm_runtime_set_autosuspend_delay(dev, MICA_AUTOSUSPEND_MS);
	pm_runtime_use_autosuspend(dev);
	pm_runtime_allow(dev);
	pm_runtime_mark_last_busy(dev);
	pm_runtime_put_autosuspend(dev);
}

/* The first step of remove: awake from here on. */
void mica_pm_fini(struct mica_device *mdev)
{
	pm_runtime_get_sync(mdev->drm.dev);
	pm_runtime_forbid(mdev->drm.dev);
	pm_runtime_dont_use_autosuspend(mdev->drm.dev);
}
