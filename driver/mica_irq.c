// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts, and the consumer side of the event ring. A lost interrupt costs at most MICA_POLL_MS, because a timer
 * looks into the ring while jobs run.
 */
#include "mica_drv.h"

#define MICA_POLL_MS	500

static void mica_irq_reply(struct mica_device *mdev, const struct mica_fw_msg *msg)
{
	struct mica_fw *fw = &mdev->fw;

	if (!fw->wait_seq || msg->seq != fw->wait_seq) {
		dev_warn_ratelimited(mdev->drm.dev, "an answer to request %u, which nobody waits for\n",
				     msg->seq);
		return;
	}
	fw->reply = *msg;
	fw->wait_seq = 0;
	complete(&fw->done);
}

static void mica_irq_message(struct mica_device *mdev, const struct mica_fw_msg *msg,
			     struct list_head *done)
{
	switch (msg->type) {
	case MICA_MSG_HELLO_ACK:
	case MICA_MSG_ACK:
		mica_irq_reply(mdev, msg);
		break;
	case MICA_MSG_JOB_DONE:
		mica_job_done_msg(mdev, msg, done);
		break;
	case MICA_MSG_PANIC:
		dev_err(mdev->drm.dev, "the firmware panics with code %#llx\n", msg->arg[0]);
		mdev->fw.broken = true;
		mica_reset_schedule(mdev, "firmware panic");
		break;
	default:
		dev_warn_ratelimited(mdev->drm.dev, "unknown message %#x from the firmware\n", msg->type);
	}
}

/* Takes what is in the ring; the jobs that ended go to *done, whose fences are signalled outside the lock. */
static void mica_irq_drain(struct mica_device *mdev, struct list_head *done)
{
	struct mica_fw *fw = &mdev->fw;
	struct mica_fw_ring *ring = &fw->shm->f2h;
	struct mica_fw_msg msg;
	u32 tail, n;

	/* Not more than a ring at a time: a firmware gone wild may not keep us here. */
	for (n = 0; n < MICA_RING_MSGS && fw->online && !fw->broken; n++) {
		tail = READ_ONCE(ring->tail);
		if (tail == fw->f2h_head)
			break;
		if (tail - fw->f2h_head > MICA_RING_MSGS) {
			dev_err(mdev->drm.dev, "the event ring's tail is %u, its head %u\n", tail,
				fw->f2h_head);
			fw->broken = true;
			mica_reset_schedule(mdev, "event ring corrupt");
			break;
		}
		dma_rmb();	/* the index before the message */
		memcpy(&msg, &ring->msg[fw->f2h_head % MICA_RING_MSGS], sizeof(msg));
		fw->f2h_head++;
		mb();		/* the message is read before its slot is given back */
		WRITE_ONCE(ring->head, fw->f2h_head);
		mica_irq_message(mdev, &msg, done);
	}
}

void mica_irq_poll(struct mica_device *mdev)
{
	LIST_HEAD(done);
	unsigned long flags;

	spin_lock_irqsave(&mdev->ev_lock, flags);
	mica_irq_drain(mdev, &done);
	spin_unlock_irqrestore(&mdev->ev_lock, flags);
	mica_jobs_finish(mdev, &done);
}

static irqreturn_t mica_irq_event(int irq, void *arg)
{
	struct mica_device *mdev = arg;

	mica_write(mdev, MICA_REG_IRQ_STATUS, BIT(MICA_VEC_EVENT));
	mica_irq_poll(mdev);
	return IRQ_HANDLED;
}

static irqreturn_t mica_irq_fatal(int irq, void *arg)
{
	struct mica_device *mdev = arg;
	u32 state = mica_read(mdev, MICA_REG_FW_STATE);
	u32 status = mica_read(mdev, MICA_REG_STATUS);

	mica_write(mdev, MICA_REG_IRQ_STATUS, BIT(MICA_VEC_FATAL));
	/* While it is offline a boot or a reset is under way and looks at the state itself. */
	if (!READ_ONCE(mdev->fw.online))
		return IRQ_HANDLED;
	/* It came late: the reset that it asks for is done. */
	if (state < MICA_FW_STATE_CRASHED && !(status & MICA_STATUS_BUS_ERROR_MASK))
		return IRQ_HANDLED;
	dev_err(mdev->drm.dev, "fatal: firmware %s, pc %#x, cause %#x, status %#x\n",
		mica_fw_state_name(state), mica_read(mdev, MICA_REG_FW_PC),
		mica_read(mdev, MICA_REG_FW_CAUSE), status);
	mica_reset_schedule(mdev, "fatal interrupt");
	return IRQ_HANDLED;
}

static irqreturn_t mica_irq_log(int irq, void *arg)
{
	struct mica_device *mdev = arg;

	mica_write(mdev, MICA_REG_IRQ_STATUS, BIT(MICA_VEC_LOG));
	return IRQ_HANDLED;
}

static void mica_irq_poll_timer(struct timer_list *t)
{
	struct mica_device *mdev = from_timer(mdev, t, poll_timer);

	mica_irq_poll(mdev);
	if (atomic_read(&mdev->inflight) <= 0)
		return;
	/* A crash whose interrupt was lost, or a dead link, which reads as all ones. */
	if (READ_ONCE(mdev->fw.online) &&
	    mica_read(mdev, MICA_REG_FW_STATE) >= MICA_FW_STATE_CRASHED)
		mica_reset_schedule(mdev, "the firmware is dead");
	mod_timer(&mdev->poll_timer, jiffies + msecs_to_jiffies(MICA_POLL_MS));
}

void mica_irq_job_started(struct mica_device *mdev)
{
	if (atomic_inc_return(&mdev->inflight) == 1)
		mod_timer(&mdev->poll_timer, jiffies + msecs_to_jiffies(MICA_POLL_MS));
}

void mica_irq_enable(struct mica_device *mdev)
{
	mica_write(mdev, MICA_REG_IRQ_STATUS, MICA_IRQ_MASK);
	mica_write(mdev, MICA_REG_IRQ_ENABLE,
		   BIT(MICA_VEC_EVENT) | BIT(MICA_VEC_FATAL) | BIT(MICA_VEC_LOG));
}

int mica_irq_init(struct mica_device *mdev)
{
	static const struct {
		int vector;
		irq_handler_t handler;
		const char *name;
	} irqs[] = {
		{ MICA_VEC_EVENT, mica_irq_event, "mica-event" },
		{ MICA_VEC_FATAL, mica_irq_fatal, "mica-fatal" },
		{ MICA_VEC_LOG, mica_irq_log, "mica-log" },
	};
	struct pci_dev *pdev = mdev->pdev;
	int i, ret;

	timer_setup(&mdev->poll_timer, mica_irq_poll_timer, 0);
	ret = pci_alloc_irq_vectors(pdev, MICA_MSIX_VECTORS, MICA_MSIX_VECTORS, PCI_IRQ_MSIX);
	if (ret < 0)
		return dev_err_probe(&pdev->dev, ret, "no MSI-X vectors\n");
	for (i = 0; i < ARRAY_SIZE(irqs); i++) {
		ret = pci_request_irq(pdev, irqs[i].vector, irqs[i].handler, NULL, mdev, "%s",
				      irqs[i].name);
		if (ret)
			goto err_free;
	}
	return 0;

err_free:
	while (i--)
		pci_free_irq(pdev, irqs[i].vector, mdev);
	pci_free_irq_vectors(pdev);
	return dev_err_probe(&pdev->dev, ret, "an interrupt cannot be requested\n");
}

void mica_irq_fini(struct mica_device *mdev)
{
	pci_free_irq(mdev->pdev, MICA_VEC_LOG, mdev);
	pci_free_irq(mdev->pdev, MICA_VEC_FATAL, mdev);
	pci_free_irq(mdev->pdev, MICA_VEC_EVENT, mdev);
	pci_free_irq_vectors(mdev->pdev);
	timer_shutdown_sync(&mdev->poll_timer);
}
