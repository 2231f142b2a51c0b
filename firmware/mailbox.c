/* SPDX-License-Identifier: MIT */
/*
 * The message rings. The firmware trusts only its own copies of the indices it owns; an index of the host's is a
 * number to be checked, and what it points at is copied once before it is looked at.
 */
#include "fw.h"

#define H2F(member)	((u32)offsetof(struct mica_fw_shm, h2f.member))
#define F2H(member)	((u32)offsetof(struct mica_fw_shm, f2h.member))
#define MSG_BATCH	16u		/* messages handled before jobs get their turn again */

void shm_read(u32 offset, void *local, u32 length)
{
	if (!hw_dma(fw.shm + offset, local, length, MICA_DMA_CTRL_TO_LOCAL) && !fw.panicking)
		fw_panic(MICA_FW_PANIC_BUS, 0, fw.shm + offset);
}

void shm_write(u32 offset, const void *local, u32 length)
{
	if (!hw_dma(fw.shm + offset, (void *)local, length, MICA_DMA_CTRL_TO_HOST) && !fw.panicking)
		fw_panic(MICA_FW_PANIC_BUS, 0, fw.shm + offset);
}

/* Looks the host's consumer index up. One that lies outside of the ring counts as a full ring. */
static bool refresh_head(void)
{
	u32 head = fw.mbox.f2h_head;

	shm_read(F2H(head), &head, sizeof(head));
	if (fw.mbox.f2h_tail - head > MICA_RING_MSGS) {
		if (!fw.mbox.bad_head)
			fw_log(FW_LOG_ERROR, "event ring: head %u is outside, tail %u", head, fw.mbox.f2h_tail);
		fw.mbox.bad_head = true;
		return false;
	}
	fw.mbox.bad_head = false;
	fw.mbox.f2h_head = head;
	return fw.mbox.f2h_tail - head < MICA_RING_MSGS;
}

bool mbox_room(void)
{
	if (fw.mbox.f2h_tail - fw.mbox.f2h_head < MICA_RING_MSGS || refresh_head())
		return true;
	fw.stalled = true;
	return false;
}

void mbox_post(const struct mica_fw_msg *m)
{
	shm_write(F2H(msg) + (u32)sizeof(*m) * (fw.mbox.f2h_tail % MICA_RING_MSGS), m, sizeof(*m));
	fw.mbox.f2h_tail++;
	fw.mbox.posted = true;
}

void mbox_ack(u32 seq, u32 status)
{
	struct mica_fw_msg m = { .type = MICA_MSG_ACK, .seq = seq, .status = status };

	mbox_post(&m);
}

/* One store of the tail and one interrupt for everything that was posted in this step. */
void mbox_flush(void)
{
	if (fw.mbox.posted) {
		shm_write(F2H(tail), &fw.mbox.f2h_tail, sizeof(fw.mbox.f2h_tail));
		fw.mbox.posted = false;
		fw.raise |= 1u << MICA_VEC_EVENT;
	}
	if (fw.raise) {
		hw_write(MICA_LREG_RAISE, fw.raise);
		fw.raise = 0;
	}
}

/* Messages are taken only while there is room for an answer. */
static void receive_until(u32 tail)
{
	struct mica_fw_msg m = { 0 };
	u32 n;

	for (n = 0; n < MSG_BATCH && fw.mbox.h2f_head != tail && mbox_room(); n++) {
		shm_read(H2F(msg) + (u32)sizeof(m) * (fw.mbox.h2f_head % MICA_RING_MSGS), &m, sizeof(m));
		fw.mbox.h2f_head++;
		msg_handle(&m);
	}
	if (n)
		shm_write(H2F(head), &fw.mbox.h2f_head, sizeof(fw.mbox.h2f_head));
}

void mbox_receive(void)
{
	u32 tail = fw.mbox.h2f_head;

	shm_read(H2F(tail), &tail, sizeof(tail));
	if (tail - fw.mbox.h2f_head > MICA_RING_MSGS) {
		fw_log(FW_LOG_ERROR, "mailbox: tail %u is outside, head %u: all dropped", tail, fw.mbox.h2f_head);
		fw.mbox.h2f_head = tail;
		shm_write(H2F(head), &tail, sizeof(tail));
	}
	receive_until(tail);
	fw.mbox.receive = fw.mbox.h2f_head != tail;
}
