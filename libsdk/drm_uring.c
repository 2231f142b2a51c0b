// SPDX-License-Identifier: MIT
/* Submission by io_uring: one command submits a job, its completion is the job's. A ring per session. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include "drm_backend.h"

#define RING_ENTRIES 2

int drm_ring_init(struct io_uring *ring, unsigned entries)
{
	struct io_uring_params p = { .flags = IORING_SETUP_SQE128 | IORING_SETUP_CQE32 };

	return io_uring_queue_init_params(entries, ring, &p);
}

/* liburing 2.3 has no helper for 128-byte entries: the payload goes to the entry's last 80 bytes. */
int drm_ring_prepare(struct io_uring *ring, int fd, const struct drm_mica_submit *submit, uint64_t user_data)
{
	union {
		struct io_uring_sqe sqe;
		uint8_t bytes[128];
	} *entry = (void *)io_uring_get_sqe(ring);

	if (!entry)		/* callers keep at most `entries` in flight */
		return sdk_err(EBUSY, "the submission ring is full");
	memset(entry, 0, sizeof(*entry));
	entry->sqe.opcode = IORING_OP_URING_CMD;
	entry->sqe.fd = fd;
	entry->sqe.cmd_op = MICA_URING_CMD_SUBMIT;
	entry->sqe.user_data = user_data;
	memcpy(entry->bytes + 128 - sizeof(struct mica_uring_submit), submit, sizeof(*submit));
	return 0;
}

static int uring_init(struct mica_session *s)
{
	struct drm_session *ds = s->priv;
	int ret = drm_ring_init(&ds->ring, RING_ENTRIES);

	return ret ? sdk_err(-ret, "cannot create an io_uring: %s", strerror(-ret)) : 0;
}

static void uring_fini(struct mica_session *s)
{
	io_uring_queue_exit(&((struct drm_session *)s->priv)->ring);
}

/* Takes the completion and turns its result into an error. */
static int complete(struct mica_session *s, struct io_uring_cqe *cqe)
{
	struct drm_session *ds = s->priv;
	int res = cqe->res;

	io_uring_cqe_seen(&ds->ring, cqe);
	ds->in_flight = false;
	return res < 0 ? drm_job_failed(s, -res) : 0;
}

/*
 * Submits what was prepared and waits, in one system call. One that submitted reports that even when the time was over or
 * a signal came before the completion: then there is no cqe, and the rest of the time is waited for.
 */
static int enter(struct mica_session *s, int64_t timeout_ns)
{
	struct drm_session *ds = s->priv;
	int64_t deadline = deadline_after(timeout_ns);
	int64_t left = timeout_ns;
	struct io_uring_cqe *cqe;
	int ret;

	do {
		struct __kernel_timespec ts = { left / 1000000000, left % 1000000000 };

		cqe = NULL;
		ret = io_uring_submit_and_wait_timeout(&ds->ring, &cqe, 1, timeout_ns < 0 ? NULL : &ts, NULL);
		if (cqe)
			return complete(s, cqe);
		if (ret < 0 && ret != -EINTR && ret != -ETIME)
			break;
		left = timeout_ns < 0 ? -1 : deadline - deadline_after(0);
	} while (timeout_ns < 0 || left > 0);
	if (ret >= 0 || ret == -EINTR || ret == -ETIME)
		return sdk_err(ETIME, "the job did not end within %.3f s; it still runs", timeout_ns / 1e9);
	ds->in_flight = false;
	return drm_err(s->model->dev, -ret, "io_uring_enter");
}

static int prepare(struct mica_session *s)
{
	struct drm_session *ds = s->priv;
	int ret = drm_ring_prepare(&ds->ring, drm_dev(s->model->dev)->fd, &ds->submit, 0);

	ds->in_flight = !ret;
	return ret;
}

static int uring_submit(struct mica_session *s)
{
	struct drm_session *ds = s->priv;
	int ret = prepare(s);

	if (ret)
		return ret;
	do
		ret = io_uring_submit(&ds->ring);
	while (ret == -EINTR);
	if (ret >= 0)
		return 0;
	ds->in_flight = false;
	return drm_err(s->model->dev, -ret, "io_uring_enter");
}

static int uring_wait(struct mica_session *s, int64_t timeout_ns)
{
	return enter(s, timeout_ns);
}

static int uring_run(struct mica_session *s, int64_t timeout_ns)
{
	int ret = prepare(s);

	return ret ? ret : enter(s, timeout_ns);
}

static int uring_eventfd(struct mica_session *s)
{
	struct drm_session *ds = s->priv;
	int ret = io_uring_register_eventfd(&ds->ring, s->eventfd);

	if (ret)
		return sdk_err(-ret, "cannot register the eventfd: %s", strerror(-ret));
	if (io_uring_cq_ready(&ds->ring))	/* ended before we asked */
		eventfd_write(s->eventfd, 1);
	return 0;
}

const struct drm_path drm_path_uring = {
	.init = uring_init,
	.fini = uring_fini,
	.submit = uring_submit,
	.wait = uring_wait,
	.run = uring_run,
	.eventfd = uring_eventfd,
};
