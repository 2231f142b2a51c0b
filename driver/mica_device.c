// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hardware below the firmware: what the registers say about it, reset and stop.
 */
#include <linux/iopoll.h>

#include "mica_drv.h"

#define MICA_RESET_TIMEOUT_US	5000000

enum { MICA_CAN_READ_WO, MICA_CAN_READ_RO, MICA_CAN_READ_RW, MICA_CAN_READ_W1C };

#define MICA_REG_NAME(off, name, access)	{ off, MICA_CAN_READ_##access != MICA_CAN_READ_WO, #name },

const struct mica_reg_name mica_reg_names[] = {
	MICA_REGS(MICA_REG_NAME)
	{ }
};

/* A device that is gone, or whose link is down, reads as all ones. */
bool mica_link_down(struct mica_device *mdev)
{
	return mica_read(mdev, MICA_REG_ID) != MICA_ID_MAGIC;
}

static int mica_read_hw(struct mica_device *mdev)
{
	struct mica_hw *hw = &mdev->hw;
	struct device *dev = mdev->drm.dev;
	u32 id = mica_read(mdev, MICA_REG_ID);

	if (id != MICA_ID_MAGIC) {
		dev_err(dev, "ID reads %#x, not %#x: no MICA device, or its link is down\n",
			id, MICA_ID_MAGIC);
		return -ENODEV;
	}
	hw->version = mica_read(mdev, MICA_REG_HW_VERSION);
	hw->isa_version = mica_read(mdev, MICA_REG_ISA_VERSION);
	hw->features = mica_read(mdev, MICA_REG_FEATURES);
	hw->cores = mica_read(mdev, MICA_REG_CORES);
	hw->contexts = mica_read(mdev, MICA_REG_CONTEXTS);
	hw->lmem_size = mica_read(mdev, MICA_REG_LMEM_SIZE);
	hw->mac_rows = mica_read(mdev, MICA_REG_MAC_ROWS);
	hw->mac_cols = mica_read(mdev, MICA_REG_MAC_COLS);
	hw->vector_lanes = mica_read(mdev, MICA_REG_VECTOR_LANES);
	hw->dram_bytes_per_cycle = mica_read(mdev, MICA_REG_DRAM_BYTES_PER_CYCLE);
	hw->clock_khz = mica_read(mdev, MICA_REG_CLOCK_KHZ);

	if (FIELD_GET(MICA_HW_VERSION_MAJOR_MASK, hw->version) !=
	    FIELD_GET(MICA_HW_VERSION_MAJOR_MASK, MICA_HW_VERSION)) {
		dev_err(dev, "hardware version %#x is not known to this driver (it knows %#x)\n",
			hw->version, MICA_HW_VERSION);
		return -EOPNOTSUPP;
	}
	if (!hw->cores || hw->cores > MICA_JOB_STREAMS || hw->contexts < 2) {
		dev_err(dev, "the device claims %u cores and %u contexts\n", hw->cores, hw->contexts);
		return -ENODEV;
	}
	hw->contexts = min(hw->contexts, MICA_MAX_CONTEXTS);
	return 0;
}

int mica_device_init(struct mica_device *mdev)
{
	struct pci_dev *pdev = mdev->pdev;
	int ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return dev_err_probe(&pdev->dev, ret, "the PCI device cannot be enabled\n");
	ret = pcim_iomap_regions(pdev, BIT(MICA_BAR_REGS), MICA_DRIVER_NAME);
	if (ret)
		return dev_err_probe(&pdev->dev, ret, "BAR%d cannot be mapped\n", MICA_BAR_REGS);
	mdev->regs = pcim_iomap_table(pdev)[MICA_BAR_REGS];
	if (pci_resource_len(pdev, MICA_BAR_REGS) < MICA_BAR0_SIZE) {
		dev_err(&pdev->dev, "BAR%d is too small\n", MICA_BAR_REGS);
		return -ENODEV;
	}
	ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (ret)
		return dev_err_probe(&pdev->dev, ret, "no 64-bit DMA\n");
	dma_set_max_seg_size(&pdev->dev, UINT_MAX);

	ret = mica_read_hw(mdev);
	if (ret)
		return ret;
	pci_set_master(pdev);
	return mica_hw_reset(mdev);
}

/* Needs state_lock (or probe). All of the device's state is lost; host memory isn't touched behind this. */
int mica_hw_reset(struct mica_device *mdev)
{
	u32 ctrl, status;
	int ret;

	mica_write(mdev, MICA_REG_CTRL, MICA_CTRL_RESET_MASK);
	ret = readl_poll_timeout(mdev->regs + MICA_REG_CTRL, ctrl,
				 !(ctrl & MICA_CTRL_RESET_MASK), 20, MICA_RESET_TIMEOUT_US);
	if (!ret)
		ret = readl_poll_timeout(mdev->regs + MICA_REG_STATUS, status,
					 status & MICA_STATUS_READY_MASK, 20,
					 MICA_RESET_TIMEOUT_US);
	if (ret)
		dev_err(mdev->drm.dev, "the device does not come out of reset\n");
	return ret;
}

/* The device must touch no memory any more: the driver is about to free it. */
void mica_hw_stop(struct mica_device *mdev)
{
	mica_write(mdev, MICA_REG_IRQ_ENABLE, 0);
	if (!mica_link_down(mdev)) {
		mica_write(mdev, MICA_REG_FW_CTRL, MICA_FW_CTRL_HALT_MASK);
		mica_hw_reset(mdev);
	}
	pci_clear_master(mdev->pdev);
}
