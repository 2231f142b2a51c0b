// SPDX-License-Identifier: GPL-2.0-only
/*
 * The firmware: image, boot, the request ring and its answers, the log. What it writes into the shared area is
 * treated as hostile: indices and sizes are checked, messages are copied before they are looked at.
 */
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/firmware.h>

#include "mica_drv.h"

#define MICA_FW_ABI_MIN		1u
#define MICA_FW_ABI_MAX		MICA_FW_ABI_VERSION
#define MICA_FW_POLL_MS		50

static int mica_fw_check_header(struct device *dev, const struct firmware *fw)
{
	const struct mica_fw_header *h = (const void *)fw->data;

	if (fw->size < sizeof(*h) || h->magic != MICA_FW_MAGIC) {
		dev_err(dev, "%s is not a MICA firmware image; install the one built with this driver\n",
			MICA_FW_FILE);
		return -EINVAL;
	}
	if (fw->size > MICA_SRAM_SIZE + sizeof(*h)) {
		dev_err(dev, "%s is %zu bytes long, more than the device can hold\n", MICA_FW_FILE,
			fw->size);
		return -EINVAL;
	}
	return 0;
}

/* Probe only. The image stays in memory, for a reset may not allocate. */
int mica_fw_load(struct mica_device *mdev)
{
	struct mica_fw *fw = &mdev->fw;
	struct device *dev = mdev->drm.dev;
	const struct firmware *file;
	int ret;

	init_completion(&fw->done);
	ret = request_firmware(&file, MICA_FW_FILE, dev);
	if (ret) {
		dev_err(dev, "firmware %s not found (%d); install it under /lib/firmware\n",
			MICA_FW_FILE, ret);
		return ret;
	}
	ret = mica_fw_check_header(dev, file);
	if (ret)
		goto err_release;

	fw->image_size = file->size;
	fw->image = dma_alloc_coherent(dev, fw->image_size, &fw->image_dma, GFP_KERNEL);
	fw->shm = dma_alloc_coherent(dev, MICA_SHM_SIZE, &fw->shm_dma, GFP_KERNEL);
	if (!fw->image || !fw->shm) {
		ret = -ENOMEM;
		goto err_free;
	}
	memcpy(fw->image, file->data, file->size);
	release_firmware(file);
	return 0;

err_free:
	mica_fw_unload(mdev);
err_release:
	release_firmware(file);
	return ret;
}

void mica_fw_unload(struct mica_device *mdev)
{
	struct mica_fw *fw = &mdev->fw;
	struct device *dev = mdev->drm.dev;

	if (fw->shm)
		dma_free_coherent(dev, MICA_SHM_SIZE, fw->shm, fw->shm_dma);
	if (fw->image)
		dma_free_coherent(dev, fw->image_size, fw->image, fw->image_dma);
	fw->shm = NULL;
	fw->image = NULL;
}

const char *mica_fw_state_name(u32 state)
{
	switch (state) {
	case MICA_FW_STATE_OFF:		return "off";
	case MICA_FW_STATE_LOADING:	return "loading";
	case MICA_FW_STATE_STARTED:	return "started";
	case MICA_FW_STATE_READY:	return "ready";
	case MICA_FW_STATE_HALTED:	return "halted";
	case MICA_FW_STATE_CRASHED:	return "crashed";
	case MICA_FW_STATE_BAD_MAGIC:	return "bad magic";
	case MICA_FW_STATE_BAD_SIZE:	return "bad size";
	case MICA_FW_STATE_BAD_CRC:	return "bad checksum";
	case MICA_FW_STATE_BAD_HW:	return "wrong hardware";
	case MICA_FW_STATE_BUS_ERROR:	return "bus error";
	default:			return "unknown";
	}
}

static int mica_fw_boot_error(struct mica_device *mdev, u32 state)
{
	const struct mica_fw_header *h = mdev->fw.image;
	struct device *dev = mdev->drm.dev;

	switch (state) {
	case MICA_FW_STATE_CRASHED:
		dev_err(dev, "the firmware crashed at pc %#x, cause %#x; its log is in debugfs fw_log\n",
			mica_read(mdev, MICA_REG_FW_PC), mica_read(mdev, MICA_REG_FW_CAUSE));
		return -EIO;
	case MICA_FW_STATE_BAD_MAGIC:
		dev_err(dev, "%s has no firmware header; install the image built with this driver\n",
			MICA_FW_FILE);
		return -EINVAL;
	case MICA_FW_STATE_BAD_SIZE:
		dev_err(dev, "%s is cut short or too long; install it again\n", MICA_FW_FILE);
		return -EINVAL;
	case MICA_FW_STATE_BAD_CRC:
		dev_err(dev, "%s is damaged (checksum); install it again\n", MICA_FW_FILE);
		return -EINVAL;
	case MICA_FW_STATE_BAD_HW:
		dev_err(dev, "%s is for hardware %#x..%#x, this is %#x; install a matching image\n",
			MICA_FW_FILE, h->hw_min, h->hw_max, mdev->hw.version);
		return -EINVAL;
	case MICA_FW_STATE_BUS_ERROR:
		dev_err(dev, "the device cannot read the firmware from memory (bus error); check the IOMMU's messages\n");
		return -EIO;
	default:
		dev_err(dev, "the firmware does not start: state %u (%s) after %u ms\n", state,
			mica_fw_state_name(state), mica_fw_timeout_ms);
		return -ETIMEDOUT;
	}
}

static int mica_fw_wait_ready(struct mica_device *mdev)
{
	unsigned long end = jiffies + msecs_to_jiffies(mica_fw_timeout_ms);
	u32 state;

	for (;;) {
		bool late = time_after(jiffies, end);

		state = mica_read(mdev, MICA_REG_FW_STATE);
		if (state == MICA_FW_STATE_READY)
			return 0;
		if (state >= MICA_FW_STATE_CRASHED || late)
			return mica_fw_boot_error(mdev, state);
		usleep_range(100, 500);
	}
}

static int mica_fw_hello(struct mica_device *mdev)
{
	struct mica_fw_msg msg = {
		.type = MICA_MSG_HELLO,
		.arg = { MICA_FW_ABI_MIN, MICA_FW_ABI_MAX },
	};
	const struct mica_fw_header *h = mdev->fw.image;
	struct device *dev = mdev->drm.dev;
	int ret;

	ret = mica_fw_call(mdev, &msg);
	if (ret == -EPROTO && msg.status == MICA_FW_E_VERSION) {
		dev_err(dev, "%s speaks ABI %u..%u, this driver %u..%u; install the firmware built with it\n",
			MICA_FW_FILE, h->abi_min, h->abi_max, MICA_FW_ABI_MIN, MICA_FW_ABI_MAX);
		return -EINVAL;
	}
	if (ret)
		return ret;
	if (msg.arg[0] < MICA_FW_ABI_MIN || msg.arg[0] > MICA_FW_ABI_MAX) {
		dev_err(dev, "the firmware chose ABI %llu, which was not offered\n", msg.arg[0]);
		return -EINVAL;
	}
	mdev->fw.abi = msg.arg[0];
	mdev->fw.version = msg.arg[1];
	return 0;
}

static void mica_fw_online(struct mica_device *mdev)
{
	struct mica_fw *fw = &mdev->fw;
	unsigned long flags;

	spin_lock_irqsave(&mdev->ev_lock, flags);
	memset(fw->shm, 0, MICA_SHM_SIZE);
	fw->h2f_tail = 0;
	fw->f2h_head = 0;
	fw->wait_seq = 0;
	fw->broken = false;
	fw->online = true;
	spin_unlock_irqrestore(&mdev->ev_lock, flags);
}

/* From here on no message is read, and a request that waits fails. */
void mica_fw_offline(struct mica_device *mdev)
{
	unsigned long flags;

	spin_lock_irqsave(&mdev->ev_lock, flags);
	mdev->fw.online = false;
	spin_unlock_irqrestore(&mdev->ev_lock, flags);
}

/* The device is fresh out of reset. */
int mica_fw_boot(struct mica_device *mdev)
{
	struct mica_fw *fw = &mdev->fw;
	struct mica_fw_msg watchdog = {
		.type = MICA_MSG_WATCHDOG,
		.arg = { mica_watchdog_ms },
	};
	int ret;

	mica_fw_online(mdev);
	mica_write64(mdev, MICA_REG_SHM_ADDR_LO, fw->shm_dma);
	mica_write(mdev, MICA_REG_SHM_SIZE, MICA_SHM_SIZE);
	mica_write64(mdev, MICA_REG_FW_ADDR_LO, fw->image_dma);
	mica_write(mdev, MICA_REG_FW_SIZE, fw->image_size);
	mica_irq_enable(mdev);
	mica_write(mdev, MICA_REG_FW_CTRL, MICA_FW_CTRL_BOOT_MASK);

	ret = mica_fw_wait_ready(mdev);
	if (!ret)
		ret = mica_fw_hello(mdev);
	if (!ret)
		ret = mica_fw_call(mdev, &watchdog);
	if (ret)
		mica_fw_offline(mdev);
	return ret;
}

static int mica_fw_send(struct mica_device *mdev, const struct mica_fw_msg *msg)
{
	struct mica_fw *fw = &mdev->fw;
	struct mica_fw_ring *ring = &fw->shm->h2f;
	u32 used = fw->h2f_tail - READ_ONCE(ring->head);

	/* One request at a time: a full ring, or a head that overtook the tail, is not a firmware that works. */
	if (used >= MICA_RING_MSGS)
		return -EIO;
	ring->msg[fw->h2f_tail % MICA_RING_MSGS] = *msg;
	dma_wmb();	/* the message before the index */
	fw->h2f_tail++;
	WRITE_ONCE(ring->tail, fw->h2f_tail);
	dma_wmb();
	mica_write(mdev, MICA_REG_MBOX_DB, fw->h2f_tail);
	return 0;
}

static bool mica_fw_dead(struct mica_device *mdev)
{
	u32 state = mica_read(mdev, MICA_REG_FW_STATE);

	return state >= MICA_FW_STATE_CRASHED || state == MICA_FW_STATE_OFF ||
	       state == MICA_FW_STATE_HALTED;
}

static int mica_fw_wait_reply(struct mica_device *mdev)
{
	unsigned long end = jiffies + msecs_to_jiffies(mica_fw_timeout_ms);

	while (!wait_for_completion_timeout(&mdev->fw.done, msecs_to_jiffies(MICA_FW_POLL_MS))) {
		/* An interrupt may be lost: look for ourselves. */
		mica_irq_poll(mdev);
		if (completion_done(&mdev->fw.done))
			continue;
		if (mica_fw_dead(mdev) || READ_ONCE(mdev->fw.broken))
			return -EIO;
		if (time_after(jiffies, end))
			return -ETIMEDOUT;
	}
	return 0;
}

/*
 * One request and its answer, which replaces *msg. -EPROTO: the firmware refused it (msg->status says why). -EIO or
 * -ETIMEDOUT: it is dead, and a reset is scheduled by the caller or by whoever notices next. Needs state_lock.
 */
int mica_fw_call(struct mica_device *mdev, struct mica_fw_msg *msg)
{
	struct mica_fw *fw = &mdev->fw;
	u32 type = msg->type;
	unsigned long flags;
	int ret;

	lockdep_assert_held(&mdev->state_lock);
	if (!fw->online)
		return -EIO;
	if (!++fw->seq)
		fw->seq = 1;
	msg->seq = fw->seq;

	spin_lock_irqsave(&mdev->ev_lock, flags);
	reinit_completion(&fw->done);
	fw->wait_seq = fw->seq;
	spin_unlock_irqrestore(&mdev->ev_lock, flags);

	ret = mica_fw_send(mdev, msg);
	if (!ret)
		ret = mica_fw_wait_reply(mdev);

	spin_lock_irqsave(&mdev->ev_lock, flags);
	if (ret && !fw->wait_seq)
		ret = 0;	/* it came while we gave up */
	fw->wait_seq = 0;
	if (!ret)
		*msg = fw->reply;
	spin_unlock_irqrestore(&mdev->ev_lock, flags);

	if (ret) {
		dev_err(mdev->drm.dev, "no answer from the firmware to message %#x (%d)\n", type, ret);
	} else if (msg->status != MICA_FW_OK) {
		dev_err(mdev->drm.dev, "the firmware refused message %#x: status %u\n", type,
			msg->status);
		ret = -EPROTO;
	}
	return ret;
}

int mica_fw_ctx_create(struct mica_device *mdev, struct mica_ctx *ctx)
{
	struct mica_fw_msg msg = {
		.type = MICA_MSG_CTX_CREATE,
		.ctx = ctx->slot,
		.arg = { ctx->vm->root->dma, ctx->ring_dma, MICA_RING_JOBS, ctx->priority },
	};

	return mica_fw_call(mdev, &msg);
}

/* The newest bytes of the log, at most size; returns how many. */
size_t mica_fw_log_read(struct mica_device *mdev, char *buf, size_t size)
{
	const struct mica_fw_log *log = &mdev->fw.shm->log;
	u32 tail = READ_ONCE(log->tail);
	size_t n = min_t(size_t, min_t(u32, tail, MICA_LOG_SIZE), size), i;

	for (i = 0; i < n; i++) {
		char c = READ_ONCE(log->text[(tail - n + i) % MICA_LOG_SIZE]);

		buf[i] = c == '\n' || c == '\t' || (c >= ' ' && c <= '~') ? c : '?';
	}
	return n;
}
