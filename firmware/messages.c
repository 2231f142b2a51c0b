/* SPDX-License-Identifier: MIT */
/* One handler for each message of the driver, found by its id. What has no handler is answered with MICA_FW_E_TYPE. */
#include "fw.h"

/* Returns the status for the ACK, or FW_DEFERRED when whoever finishes the work will send it. */
typedef u32 msg_handler(const struct mica_fw_msg *m);

static bool any_context(void)
{
	for (u32 slot = 1; slot < fw.contexts; slot++) {
		if (fw.ctx[slot].active)
			return true;
	}
	return false;
}

/* Highest version that both windows contain. */
static u32 negotiate(u64 driver_min, u64 driver_max)
{
	u64 low = driver_min > FW_ABI_MIN ? driver_min : FW_ABI_MIN;
	u64 high = driver_max < FW_ABI_MAX ? driver_max : FW_ABI_MAX;

	return low <= high ? (u32)high : 0;
}

/* Answered by HELLO_ACK instead of ACK. A driver that starts anew may say it again as long as it has no context. */
static u32 hello(const struct mica_fw_msg *m)
{
	struct mica_fw_msg ack = { .type = MICA_MSG_HELLO_ACK, .seq = m->seq };
	u32 version = negotiate(m->arg[0], m->arg[1]);

	if (any_context())
		ack.status = MICA_FW_E_STATE;
	else if (!version)
		ack.status = MICA_FW_E_VERSION;
	else
		fw.abi = version;
	ack.arg[0] = fw.abi;
	ack.arg[1] = FW_VERSION;
	mbox_post(&ack);
	fw_log(FW_LOG_INFO, "hello: driver speaks %u..%u, status %u, abi %u", (u32)m->arg[0], (u32)m->arg[1], ack.status,
	       fw.abi);
	return FW_DEFERRED;
}

static u32 create(const struct mica_fw_msg *m)
{
	return ctx_create(m->ctx, m);
}

static u32 destroy(const struct mica_fw_msg *m)
{
	return ctx_destroy(m->ctx, m->seq);
}

static u32 abort_jobs(const struct mica_fw_msg *m)
{
	return ctx_abort(m->ctx, m->seq);
}

static u32 ping(const struct mica_fw_msg *m)
{
	(void)m;
	telemetry_update();
	return MICA_FW_OK;
}

static u32 log_level(const struct mica_fw_msg *m)
{
	if (m->arg[0] > FW_LOG_DEBUG)
		return MICA_FW_E_ARG;
	fw.log_level = (int)m->arg[0];
	return MICA_FW_OK;
}

static u32 watchdog(const struct mica_fw_msg *m)
{
	if (m->arg[0] > FW_WATCHDOG_MAX_MS)
		return MICA_FW_E_ARG;
	fw.watchdog_us = (u32)m->arg[0] * 1000u;
	return MICA_FW_OK;
}

static u32 suspend(const struct mica_fw_msg *m)
{
	if (fw.suspending)
		return MICA_FW_E_STATE;
	fw.suspending = true;
	fw.suspend_seq = m->seq;
	return FW_DEFERRED;
}

static msg_handler *const handlers[] = {
	[MICA_MSG_HELLO] = hello,
	[MICA_MSG_CTX_CREATE] = create,
	[MICA_MSG_CTX_DESTROY] = destroy,
	[MICA_MSG_CTX_ABORT] = abort_jobs,
	[MICA_MSG_PING] = ping,
	[MICA_MSG_LOG_LEVEL] = log_level,
	[MICA_MSG_WATCHDOG] = watchdog,
	[MICA_MSG_SUSPEND] = suspend,
};

void msg_handle(const struct mica_fw_msg *m)
{
	u32 status = MICA_FW_E_TYPE;

	if (m->type < sizeof(handlers) / sizeof(handlers[0]) && handlers[m->type])
		status = fw.abi || m->type == MICA_MSG_HELLO ? handlers[m->type](m) : MICA_FW_E_STATE;
	if (status == FW_DEFERRED)
		return;
	if (status)
		fw_log(FW_LOG_ERROR, "message type %u, context %u refused: %u", m->type, m->ctx, status);
	mbox_ack(m->seq, status);
}
