/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KUnit tests of what needs no device. Part of mica.ko only with MICA_KUNIT=y on a kernel with CONFIG_KUNIT; they run
 * whenever the module is loaded.
 */
#ifndef MICA_KUNIT_H
#define MICA_KUNIT_H

#include <linux/dma-mapping.h>

#include <kunit/device.h>
#include <kunit/test.h>

#include "mica_drv.h"

static const struct drm_driver mica_kunit_driver = {
	.driver_features = DRIVER_COMPUTE_ACCEL,
	.name = "mica-kunit",
	.desc = "MICA without a device",
	.date = "20250101",
};

static inline struct mica_device *mica_kunit_device(struct kunit *test)
{
	struct device *dev = kunit_device_register(test, "mica-kunit");
	struct mica_device *mdev;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dev);
	KUNIT_ASSERT_EQ(test, dma_coerce_mask_and_coherent(dev, DMA_BIT_MASK(64)), 0);
	mdev = devm_drm_dev_alloc(dev, &mica_kunit_driver, struct mica_device, drm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, mdev);
	mutex_init(&mdev->state_lock);
	mutex_init(&mdev->mmu_lock);
	mutex_init(&mdev->list_lock);
	spin_lock_init(&mdev->ev_lock);
	INIT_LIST_HEAD(&mdev->vms);
	INIT_LIST_HEAD(&mdev->bos);
	mica_reset_init(mdev);
	return mdev;
}

#endif /* MICA_KUNIT_H */
