// SPDX-License-Identifier: GPL-2.0-only
/*
 * hwmon: temperature and power.
 */
#include <linux/hwmon.h>

#include "mica_drv.h"

static umode_t mica_hwmon_visible(const void *data, enum hwmon_sensor_types type, u32 attr, int channel)
{
	return 0444;
}

static int mica_hwmon_read(struct device *dev, enum hwmon_sensor_types type, u32 attr, int channel,
			   long *value)
{
	struct mica_device *mdev = dev_get_drvdata(dev);
	int idx;

	if (!drm_dev_enter(&mdev->drm, &idx))
		return -ENODEV;
	if (type == hwmon_temp)
		*value = (s32)mica_read(mdev, MICA_REG_TEMP_MC);
	else
		*value = mica_read(mdev, MICA_REG_POWER_MW) * 1000l;	/* hwmon wants microwatts */
	drm_dev_exit(idx);
	return 0;
}

static const struct hwmon_ops mica_hwmon_ops = {
	.is_visible = mica_hwmon_visible,
	.read = mica_hwmon_read,
};

static const struct hwmon_channel_info * const mica_hwmon_channels[] = {
	HWMON_CHANNEL_INFO(temp, HWMON_T_INPUT),
	HWMON_CHANNEL_INFO(power, HWMON_P_INPUT),
	NULL
};

static const struct hwmon_chip_info mica_hwmon_chip = {
	.ops = &mica_hwmon_ops,
	.info = mica_hwmon_channels,
};

int mica_hwmon_init(struct mica_device *mdev)
{
	return PTR_ERR_OR_ZERO(devm_hwmon_device_register_with_info(mdev->drm.dev, MICA_DRIVER_NAME,
								    mdev, &mica_hwmon_chip, NULL));
}
