// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit: what the firmware writes, good and bad: the event ring, ends of jobs, the log.
 */
#include "mica_kunit.h"

struct mica_fw_rig {
	struct mica_device *mdev;
	struct mica_fw_ring *ring;
	struct mica_ctx ctx;		/* in slot 1 */
	struct mica_vm vm;
	struct mica_job jobs[3];	/* in its ring: 10, 11, 12 */
};

static int mica_fw_rig_init(struct kunit *test)
{
	struct mica_fw_rig *rig = kunit_kzalloc(test, sizeof(*rig), GFP_KERNEL);
	struct mica_device *mdev;
	u32 i;

	KUNIT_ASSERT_NOT_NULL(test, rig);
	test->priv = rig;
	mdev = mica_kunit_device(test);
	rig->mdev = mdev;
	mdev->fw.shm = kunit_kzalloc(test, MICA_SHM_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, mdev->fw.shm);
	rig->ring = &mdev->fw.shm->f2h;
	mdev->fw.online = true;
	init_completion(&mdev->fw.done);
	spin_lock_init(&rig->ctx.lock);
	INIT_LIST_HEAD(&rig->ctx.inflight);
	rig->ctx.mdev = mdev;
	rig->ctx.vm = &rig->vm;
	mdev->slots[1] = &rig->ctx;
	for (i = 0; i < ARRAY_SIZE(rig->jobs); i++) {
		rig->jobs[i].ctx = &rig->ctx;
		rig->jobs[i].desc.seqno = 10 + i;
		list_add_tail(&rig->jobs[i].node, &rig->ctx.inflight);
	}
	return 0;
}

static void mica_fw_rig_exit(struct kunit *test)
{
	struct mica_fw_rig *rig = test->priv;

	if (rig && rig->mdev)
		flush_work(&rig->mdev->reset_work);
}

/* The firmware says something. */
static void mica_kunit_say(struct mica_fw_rig *rig, const struct mica_fw_msg *msg)
{
	rig->ring->msg[rig->ring->tail % MICA_RING_MSGS] = *msg;
	rig->ring->tail++;
}

static void mica_ring_answer_reaches_who_waits(struct kunit *test)
{
	struct mica_fw_rig *rig = test->priv;
	struct mica_fw *fw = &rig->mdev->fw;
	struct mica_fw_msg msg = { .type = MICA_MSG_ACK, .seq = 6, .arg = { 1 } };

	fw->wait_seq = 7;
	mica_kunit_say(rig, &msg);		/* of somebody who gave up */
	mica_irq_poll(rig->mdev);
	KUNIT_EXPECT_FALSE(test, completion_done(&fw->done));
	msg.seq = 7;
	msg.arg[0] = 2;
	mica_kunit_say(rig, &msg);
	msg.arg[0] = 3;
	mica_kunit_say(rig, &msg);		/* twice */
	mica_irq_poll(rig->mdev);
	KUNIT_EXPECT_TRUE(test, completion_done(&fw->done));
	KUNIT_EXPECT_EQ(test, fw->reply.arg[0], 2);
	KUNIT_EXPECT_EQ(test, fw->wait_seq, 0);
	KUNIT_EXPECT_EQ(test, rig->ring->head, 3);
}

static void mica_ring_indices_wrap(struct kunit *test)
{
	struct mica_fw_rig *rig = test->priv;
	struct mica_fw_msg msg = { .type = MICA_MSG_ACK, .seq = 1 };
	u32 i;

	rig->mdev->fw.f2h_head = U32_MAX - 2;
	rig->ring->head = U32_MAX - 2;
	rig->ring->tail = U32_MAX - 2;
	rig->mdev->fw.wait_seq = 9;
	for (i = 0; i < 6; i++) {
		msg.seq = 4 + i;
		mica_kunit_say(rig, &msg);
	}
	mica_irq_poll(rig->mdev);
	KUNIT_EXPECT_EQ(test, rig->ring->head, 3);
	KUNIT_EXPECT_TRUE(test, completion_done(&rig->mdev->fw.done));
	KUNIT_EXPECT_FALSE(test, rig->mdev->fw.broken);
}

static void mica_ring_full_is_read_to_its_end(struct kunit *test)
{
	struct mica_fw_rig *rig = test->priv;

	rig->ring->tail = MICA_RING_MSGS;	/* unknown messages, type 0 */
	mica_irq_poll(rig->mdev);
	KUNIT_EXPECT_EQ(test, rig->ring->head, MICA_RING_MSGS);
	KUNIT_EXPECT_FALSE(test, rig->mdev->fw.broken);
}

static void mica_ring_with_an_impossible_tail_is_not_read(struct kunit *test)
{
	static const u32 tails[] = { MICA_RING_MSGS + 1, U32_MAX, 0x80000000 };
	struct mica_fw_rig *rig = test->priv;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(tails); i++) {
		rig->mdev->fw.broken = false;
		rig->ring->tail = tails[i];
		mica_irq_poll(rig->mdev);
		KUNIT_EXPECT_TRUE(test, rig->mdev->fw.broken);
		KUNIT_EXPECT_EQ(test, rig->mdev->fw.f2h_head, 0);
	}
	rig->ring->tail = 1;			/* too late to be good again */
	mica_irq_poll(rig->mdev);
	KUNIT_EXPECT_EQ(test, rig->mdev->fw.f2h_head, 0);
}

static void mica_ring_of_a_sleeping_firmware_is_not_read(struct kunit *test)
{
	struct mica_fw_rig *rig = test->priv;

	mica_fw_offline(rig->mdev);
	rig->ring->tail = 1;
	mica_irq_poll(rig->mdev);
	KUNIT_EXPECT_EQ(test, rig->mdev->fw.f2h_head, 0);
}

/* Ends jobs by a message; returns how many ended. */
static u32 mica_kunit_end(struct mica_fw_rig *rig, const struct mica_fw_msg *msg)
{
	struct mica_job *job;
	unsigned long flags;
	LIST_HEAD(done);
	u32 n = 0;

	spin_lock_irqsave(&rig->mdev->ev_lock, flags);
	mica_job_done_msg(rig->mdev, msg, &done);
	spin_unlock_irqrestore(&rig->mdev->ev_lock, flags);
	list_for_each_entry(job, &done, node)
		n++;
	list_del(&done);
	return n;
}

static void mica_job_ends_only_in_ring_order(struct kunit *test)
{
	struct mica_fw_msg msg = { .type = MICA_MSG_JOB_DONE, .ctx = 1, .arg = { 11 } };
	struct mica_fw_rig *rig = test->priv;

	KUNIT_EXPECT_EQ(test, mica_kunit_end(rig, &msg), 0);
	msg.arg[0] = 10;
	KUNIT_EXPECT_EQ(test, mica_kunit_end(rig, &msg), 1);
	KUNIT_EXPECT_EQ(test, mica_kunit_end(rig, &msg), 0);
	msg.arg[0] = 11;
	KUNIT_EXPECT_EQ(test, mica_kunit_end(rig, &msg), 1);
	KUNIT_EXPECT_EQ(test, rig->ctx.info.jobs_done, 2);
	KUNIT_EXPECT_EQ(test, rig->jobs[0].error, 0);
}

static void mica_job_of_a_slot_that_is_not_there_is_ignored(struct kunit *test)
{
	static const u32 slots[] = { 0, 2, MICA_MAX_CONTEXTS, U32_MAX };
	struct mica_fw_msg msg = { .type = MICA_MSG_JOB_DONE, .arg = { 10 } };
	u32 i;

	for (i = 0; i < ARRAY_SIZE(slots); i++) {
		msg.ctx = slots[i];
		KUNIT_EXPECT_EQ(test, mica_kunit_end(test->priv, &msg), 0);
	}
}

static void mica_job_that_faulted_says_where(struct kunit *test)
{
	struct mica_fw_msg msg = {
		.type = MICA_MSG_JOB_DONE, .ctx = 1, .status = MICA_FAULT_MMU,
		.arg = { 10, 5, 0xabcd, 7ull << 32 | 64, 3 << 16 },
	};
	struct mica_fw_rig *rig = test->priv;
	struct drm_mica_context_info *info = &rig->ctx.info;

	KUNIT_EXPECT_EQ(test, mica_kunit_end(rig, &msg), 1);
	KUNIT_EXPECT_EQ(test, rig->jobs[0].error, -EIO);
	KUNIT_EXPECT_EQ(test, info->jobs_failed, 1);
	KUNIT_EXPECT_EQ(test, info->last_fault, MICA_FAULT_MMU);
	KUNIT_EXPECT_EQ(test, info->fault_addr, 0xabcd);
	KUNIT_EXPECT_EQ(test, info->fault_info, 7);
	KUNIT_EXPECT_EQ(test, info->fault_packet, 64);
	KUNIT_EXPECT_EQ(test, info->fault_core, 3);
}

/* The descriptor could not be read, so its number is not known. */
static void mica_job_with_a_bad_descriptor_is_the_next_one(struct kunit *test)
{
	struct mica_fw_msg msg = { .type = MICA_MSG_JOB_DONE, .ctx = 1, .status = MICA_FAULT_DESC };
	struct mica_fw_rig *rig = test->priv;

	KUNIT_EXPECT_EQ(test, mica_kunit_end(rig, &msg), 1);
	KUNIT_EXPECT_EQ(test, rig->jobs[0].error, -EIO);
}

static void mica_job_aborted_by_its_timeout_is_to_blame(struct kunit *test)
{
	struct mica_fw_msg msg = { .type = MICA_MSG_JOB_DONE, .ctx = 1, .status = MICA_FAULT_ABORTED, .arg = { 10 } };
	struct mica_fw_rig *rig = test->priv;

	rig->jobs[0].timed_out = true;
	KUNIT_EXPECT_EQ(test, mica_kunit_end(rig, &msg), 1);
	KUNIT_EXPECT_EQ(test, rig->ctx.info.last_fault, MICA_FAULT_WATCHDOG);
	msg.arg[0] = 11;
	KUNIT_EXPECT_EQ(test, mica_kunit_end(rig, &msg), 1);
	KUNIT_EXPECT_EQ(test, rig->jobs[1].error, -ECANCELED);
}

static void mica_log_is_read_across_its_end_and_cleaned(struct kunit *test)
{
	struct mica_fw_rig *rig = test->priv;
	struct mica_fw_log *log = &rig->mdev->fw.shm->log;
	static const char text[] = "one\ttwo\x1b[31m\n";
	char buf[32];
	u32 i;

	KUNIT_EXPECT_EQ(test, mica_fw_log_read(rig->mdev, buf, sizeof(buf)), 0);
	log->tail = 5 * MICA_LOG_SIZE - 4;
	for (i = 0; i < sizeof(text) - 1; i++)
		log->text[log->tail++ % MICA_LOG_SIZE] = text[i];
	KUNIT_ASSERT_EQ(test, mica_fw_log_read(rig->mdev, buf, sizeof(text) - 1), sizeof(text) - 1);
	buf[sizeof(text) - 1] = 0;
	KUNIT_EXPECT_STREQ(test, buf, "one\ttwo?[31m\n");
	log->tail = 3;				/* less than a whole buffer was ever written */
	KUNIT_EXPECT_EQ(test, mica_fw_log_read(rig->mdev, buf, sizeof(buf)), 3);
}

static struct kunit_case mica_fw_cases[] = {
	KUNIT_CASE(mica_ring_answer_reaches_who_waits),
	KUNIT_CASE(mica_ring_indices_wrap),
	KUNIT_CASE(mica_ring_full_is_read_to_its_end),
	KUNIT_CASE(mica_ring_with_an_impossible_tail_is_not_read),
	KUNIT_CASE(mica_ring_of_a_sleeping_firmware_is_not_read),
	KUNIT_CASE(mica_job_ends_only_in_ring_order),
	KUNIT_CASE(mica_job_of_a_slot_that_is_not_there_is_ignored),
	KUNIT_CASE(mica_job_that_faulted_says_where),
	KUNIT_CASE(mica_job_with_a_bad_descriptor_is_the_next_one),
	KUNIT_CASE(mica_job_aborted_by_its_timeout_is_to_blame),
	KUNIT_CASE(mica_log_is_read_across_its_end_and_cleaned),
	{ }
};

static struct kunit_suite mica_fw_suite = {
	.name = "mica_fw",
	.init = mica_fw_rig_init,
	.exit = mica_fw_rig_exit,
	.test_cases = mica_fw_cases,
};

kunit_test_suite(mica_fw_suite);
