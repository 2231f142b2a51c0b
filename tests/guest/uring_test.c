// SPDX-License-Identifier: MIT
/* Jobs as io_uring commands. */
#include <liburing.h>
#include <sys/prctl.h>

#include "mica_test.h"

#ifndef IORING_SETUP_SQE128
#error "liburing is too old"
#endif

FIXTURE(uring)
{
	struct mt_rig r;
	struct mt_job j;
	struct io_uring ring;
};

FIXTURE_SETUP(uring)
{
	int ret = mt_rig_open(&self->r);

	if (ret == -ENOENT)
		SKIP(return, "no MICA device");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, io_uring_queue_init(256, &self->ring, IORING_SETUP_SQE128 | IORING_SETUP_CQE32));
	mt_rig_null_job(&self->r, &self->j);
}

FIXTURE_TEARDOWN(uring)
{
	io_uring_queue_exit(&self->ring);
	mt_rig_close(&self->r);
}

/* The 80 bytes of payload start at the second half's first 16 bytes less: sqe + 48. */
static struct mica_uring_submit *prepare(struct io_uring *ring, struct mt_rig *r, struct drm_mica_job *jobs, uint32_t n,
					 uint32_t stride, uint64_t user_data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	bool wide = ring->flags & IORING_SETUP_SQE128;
	struct mica_uring_submit *p = (void *)((uint8_t *)sqe + 48);

	memset(sqe, 0, wide ? 128 : 64);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = r->fd;
	sqe->cmd_op = MICA_URING_CMD_SUBMIT;
	sqe->user_data = user_data;
	p->submit.ctx_id = r->ctx;
	if (!wide)
		return p;
	p->submit.jobs = mt_ptr(jobs);
	p->submit.job_count = n;
	p->submit.job_stride = stride;
	return p;
}

struct result {
	int res;
	uint64_t user_data, cycles, extra;
};

/* -ETIME if there is none in time. */
static int next_result(struct io_uring *ring, struct result *out)
{
	struct __kernel_timespec limit = { .tv_sec = 60 };
	struct io_uring_cqe *cqe;
	int ret = io_uring_wait_cqe_timeout(ring, &cqe, &limit);

	if (ret)
		return ret;
	*out = (struct result){ .res = cqe->res, .user_data = cqe->user_data };
	if (ring->flags & IORING_SETUP_CQE32) {
		out->cycles = cqe->big_cqe[0];
		out->extra = cqe->big_cqe[1];
	}
	io_uring_cqe_seen(ring, cqe);
	return 0;
}

static int run_one(struct io_uring *ring, struct mt_rig *r, struct mt_job *j, struct result *out)
{
	int ret;

	prepare(ring, r, &j->job, 1, sizeof(j->job), 1);
	ret = io_uring_submit(ring);
	return ret == 1 ? next_result(ring, out) : -EIO;
}

TEST_F(uring, completion_is_the_jobs_end)
{
	struct result res;

	mt_rig_fill_job(&self->r, &self->j, 0, 4096, 0x21);
	ASSERT_EQ(0, run_one(&self->ring, &self->r, &self->j, &res));
	EXPECT_EQ(0, res.res);
	EXPECT_EQ(1, res.user_data);
	EXPECT_TRUE(mt_all(self->r.data.map, 4096, 0x21));
}

TEST_F(uring, cqe32_tells_the_cycles)
{
	struct mica_job_stats stats;
	struct drm_mica_job jobs[2];
	struct result res;

	mt_rig_fill_job(&self->r, &self->j, 0, 4096, 1);
	mt_job_segment(&self->j, &self->r.cmd, 32768, 4096, DRM_MICA_SEGMENT_WRITE);
	self->j.job.stats_segment = 1;
	ASSERT_EQ(0, run_one(&self->ring, &self->r, &self->j, &res));
	memcpy(&stats, self->r.cmd.map + 32768, sizeof(stats));
	EXPECT_GT(res.cycles, 0);
	EXPECT_EQ(stats.cycles, res.cycles);
	EXPECT_EQ(0, res.extra);
	/* the sum of two */
	jobs[0] = jobs[1] = self->j.job;
	prepare(&self->ring, &self->r, jobs, 2, sizeof(jobs[0]), 1);
	ASSERT_EQ(1, io_uring_submit(&self->ring));
	ASSERT_EQ(0, next_result(&self->ring, &res));
	EXPECT_EQ(2 * stats.cycles, res.cycles);
}

TEST_F(uring, ring_without_sqe128_is_refused)
{
	struct io_uring narrow;
	struct result res;

	ASSERT_EQ(0, io_uring_queue_init(4, &narrow, 0));
	prepare(&narrow, &self->r, NULL, 1, 72, 1);
	ASSERT_EQ(1, io_uring_submit(&narrow));
	ASSERT_EQ(0, next_result(&narrow, &res));
	EXPECT_EQ(-EINVAL, res.res);
	io_uring_queue_exit(&narrow);
}

TEST_F(uring, ring_without_cqe32_works)
{
	struct io_uring ring;
	struct result res;

	ASSERT_EQ(0, io_uring_queue_init(4, &ring, IORING_SETUP_SQE128));
	ASSERT_EQ(0, run_one(&ring, &self->r, &self->j, &res));
	EXPECT_EQ(0, res.res);
	io_uring_queue_exit(&ring);
}

TEST_F(uring, unknown_command_is_refused)
{
	struct mica_uring_submit *p = prepare(&self->ring, &self->r, &self->j.job, 1, sizeof(self->j.job), 1);
	struct result res;

	((struct io_uring_sqe *)((uint8_t *)p - 48))->cmd_op = 77;
	ASSERT_EQ(1, io_uring_submit(&self->ring));
	ASSERT_EQ(0, next_result(&self->ring, &res));
	EXPECT_EQ(-EINVAL, res.res);
}

TEST_F(uring, each_reserved_word_is_refused)
{
	struct result res;
	unsigned int i;

	for (i = 0; i < 7; i++) {
		prepare(&self->ring, &self->r, &self->j.job, 1, sizeof(self->j.job), i)->reserved[i] = 1;
		ASSERT_EQ(1, io_uring_submit(&self->ring));
		ASSERT_EQ(0, next_result(&self->ring, &res));
		EXPECT_EQ(-EINVAL, res.res);
	}
}

TEST_F(uring, flags_are_refused)
{
	struct result res;

	prepare(&self->ring, &self->r, &self->j.job, 1, sizeof(self->j.job), 1)->submit.flags = 1;
	ASSERT_EQ(1, io_uring_submit(&self->ring));
	ASSERT_EQ(0, next_result(&self->ring, &res));
	EXPECT_EQ(-EINVAL, res.res);
}

TEST_F(uring, argument_errors_come_as_results)
{
	struct result res;

	self->j.stream[0].handle = MT_BAD_HANDLE;
	ASSERT_EQ(0, run_one(&self->ring, &self->r, &self->j, &res));
	EXPECT_EQ(-ENOENT, res.res);
	prepare(&self->ring, &self->r, &self->j.job, 1, sizeof(self->j.job), 1)->submit.ctx_id = 99;
	ASSERT_EQ(1, io_uring_submit(&self->ring));
	ASSERT_EQ(0, next_result(&self->ring, &res));
	EXPECT_EQ(-ENOENT, res.res);
	prepare(&self->ring, &self->r, (void *)8, 1, sizeof(self->j.job), 1);
	ASSERT_EQ(1, io_uring_submit(&self->ring));
	ASSERT_EQ(0, next_result(&self->ring, &res));
	EXPECT_EQ(-EFAULT, res.res);
	prepare(&self->ring, &self->r, &self->j.job, 33, sizeof(self->j.job), 1);
	ASSERT_EQ(1, io_uring_submit(&self->ring));
	ASSERT_EQ(0, next_result(&self->ring, &res));
	EXPECT_EQ(-EINVAL, res.res);
}

TEST_F(uring, faulting_job_gives_eio)
{
	struct mt_stream s = { .at = self->r.cmd.map };
	struct result res;

	mt_packet(&s, 0xee, 64);
	mt_job_init(&self->j, &self->r.cmd, 0, s.size);
	ASSERT_EQ(0, run_one(&self->ring, &self->r, &self->j, &res));
	EXPECT_EQ(-EIO, res.res);
}

TEST_F(uring, several_jobs_complete_together_with_the_first_error)
{
	struct mt_stream s = { .at = self->r.cmd.map + 32768 };
	struct drm_mica_job list[3];
	struct mt_job jobs[3];
	struct result res;
	int i;

	mt_packet(&s, 0xee, 64);
	mt_rig_fill_job(&self->r, &jobs[0], 0, 4096, 1);
	mt_job_init(&jobs[1], &self->r.cmd, 32768, s.size);
	mt_rig_fill_job(&self->r, &jobs[2], 4096, 4096, 3);
	for (i = 0; i < 3; i++)
		list[i] = jobs[i].job;
	prepare(&self->ring, &self->r, list, 3, sizeof(list[0]), 5);
	ASSERT_EQ(1, io_uring_submit(&self->ring));
	ASSERT_EQ(0, next_result(&self->ring, &res));
	EXPECT_EQ(-EIO, res.res);
	EXPECT_TRUE(mt_all(self->r.data.map, 4096, 3));
}

TEST_F(uring, hundred_in_flight_all_complete_in_order)
{
	struct result res;
	int i;

	for (i = 0; i < 100; i++)
		prepare(&self->ring, &self->r, &self->j.job, 1, sizeof(self->j.job), i);
	ASSERT_EQ(100, io_uring_submit(&self->ring));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, next_result(&self->ring, &res));
		EXPECT_EQ(0, res.res);
		EXPECT_EQ(i, res.user_data);
	}
}

TEST_F(uring, command_from_a_worker_thread_works)
{
	struct mica_uring_submit *p = prepare(&self->ring, &self->r, &self->j.job, 1, sizeof(self->j.job), 1);
	struct result res;

	((struct io_uring_sqe *)((uint8_t *)p - 48))->flags = IOSQE_ASYNC;
	ASSERT_EQ(1, io_uring_submit(&self->ring));
	ASSERT_EQ(0, next_result(&self->ring, &res));
	EXPECT_EQ(0, res.res);
}

TEST_F(uring, worker_thread_gets_errors_too)
{
	struct mica_uring_submit *p;
	struct result res;

	self->j.job.flags = 1;
	p = prepare(&self->ring, &self->r, &self->j.job, 1, sizeof(self->j.job), 1);
	((struct io_uring_sqe *)((uint8_t *)p - 48))->flags = IOSQE_ASYNC;
	ASSERT_EQ(1, io_uring_submit(&self->ring));
	ASSERT_EQ(0, next_result(&self->ring, &res));
	EXPECT_EQ(-EINVAL, res.res);
}

TEST_F(uring, syncobjs_and_commands_mix)
{
	struct result res;
	uint32_t sync;

	ASSERT_EQ(0, mt_syncobj_create(self->r.fd, &sync));
	mt_job_out(&self->j, sync, 3);
	ASSERT_EQ(0, run_one(&self->ring, &self->r, &self->j, &res));
	EXPECT_EQ(0, res.res);
	EXPECT_EQ(0, mt_syncobj_wait(self->r.fd, sync, 3, 0));
}

/* Jobs that keep the device busy for a while. */
static void fill_queue(struct io_uring *ring, struct mt_rig *r, struct mt_job *j, int n)
{
	struct mt_stream s = { .at = r->cmd.map };
	int i;

	mt_prog_busy(&s, 0, 65536, 300);
	mt_job_init(j, &r->cmd, 0, s.size);
	mt_job_segment(j, &r->data, 0, MT_DATA_SIZE, DRM_MICA_SEGMENT_WRITE);
	for (i = 0; i < n; i++)
		prepare(ring, r, &j->job, 1, sizeof(j->job), i + 1);
	io_uring_submit(ring);
}

/* A slow guest does not fill the queue faster than the device empties it, unless that stands still. */
static void hold_device(void)
{
	mt_inject(MICA_INJECT_HANG_CORE, 0);
}

/*
 * Linux 6.12 finds no uring_cmd by user_data: the request says ENOENT and the command completes by itself. A kernel that
 * does find it makes it end with ECANCELED. Either way each command completes exactly once.
 */
TEST_F(uring, async_cancel_leaves_each_command_with_one_completion)
{
	struct io_uring_sqe *sqe;
	struct result res;
	int i, seen[52] = { 0 };

	fill_queue(&self->ring, &self->r, &self->j, 50);
	sqe = io_uring_get_sqe(&self->ring);
	memset(sqe, 0, 128);
	sqe->opcode = IORING_OP_ASYNC_CANCEL;
	sqe->addr = 50;
	sqe->user_data = 0;
	ASSERT_EQ(1, io_uring_submit(&self->ring));
	for (i = 0; i < 51; i++) {
		ASSERT_EQ(0, next_result(&self->ring, &res));
		ASSERT_LT(res.user_data, 51);
		seen[res.user_data]++;
		if (!res.user_data) {
			EXPECT_TRUE(res.res == -ENOENT || res.res == -EALREADY || res.res == 0);
		} else {
			EXPECT_TRUE(res.res == 0 || (res.user_data == 50 && res.res == -ECANCELED));
		}
	}
	for (i = 0; i < 51; i++)
		EXPECT_EQ(1, seen[i]);
}

TEST_F(uring, ring_closed_in_flight_leaves_a_working_context)
{
	struct io_uring ring;
	struct mt_job busy;
	struct result res;

	ASSERT_EQ(0, io_uring_queue_init(128, &ring, IORING_SETUP_SQE128));
	fill_queue(&ring, &self->r, &busy, 100);
	io_uring_queue_exit(&ring);
	mt_rig_fill_job(&self->r, &self->j, 61440, 4096, 0x31);
	ASSERT_EQ(0, run_one(&self->ring, &self->r, &self->j, &res));
	EXPECT_EQ(0, res.res);
	EXPECT_TRUE(mt_all(self->r.data.map, 4096, 0x31));
}

TEST_F(uring, process_that_exits_in_flight_leaves_a_working_device)
{
	struct result res;
	int status;
	pid_t pid = fork();

	if (!pid) {
		struct io_uring ring;
		struct mt_rig r;
		struct mt_job busy;

		if (mt_rig_open(&r) || io_uring_queue_init(128, &ring, IORING_SETUP_SQE128))
			_exit(1);
		fill_queue(&ring, &r, &busy, 100);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	mt_rig_fill_job(&self->r, &self->j, 0, 4096, 0x32);
	ASSERT_EQ(0, run_one(&self->ring, &self->r, &self->j, &res));
	EXPECT_EQ(0, res.res);
	EXPECT_TRUE(mt_all(self->r.data.map, 4096, 0x32));
}

static bool asleep(void)
{
	char text[32] = "", path[160], name[64];

	if (mt_pci_name(name, sizeof(name)))
		return false;
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/power/runtime_status", name);
	mt_read_file(path, text, sizeof(text));
	return !strncmp(text, "suspended", 9);
}

/* Waking blocks, so the command goes round by a worker thread. */
TEST_F(uring, command_wakes_a_sleeping_device)
{
	struct result res;
	int i;

	for (i = 0; i < 100 && !asleep(); i++)
		usleep(100000);
	if (!asleep())
		SKIP(return, "the device does not sleep");
	mt_rig_fill_job(&self->r, &self->j, 0, 4096, 0x22);
	ASSERT_EQ(0, run_one(&self->ring, &self->r, &self->j, &res));
	EXPECT_EQ(0, res.res);
	EXPECT_TRUE(mt_all(self->r.data.map, 4096, 0x22));
}

TEST_F(uring, unplug_completes_commands_with_enodev)
{
	struct result res;
	struct mt_job busy;
	char name[64];
	int i, gone = 0;

	ASSERT_EQ(0, mt_pci_name(name, sizeof(name)));
	hold_device();
	fill_queue(&self->ring, &self->r, &busy, 100);
	ASSERT_EQ(0, mt_write_file("/sys/bus/pci/drivers/mica/unbind", name));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, next_result(&self->ring, &res));
		EXPECT_TRUE(res.res == 0 || res.res == -ENODEV);
		gone += res.res == -ENODEV;
	}
	EXPECT_GT(gone, 0);
	prepare(&self->ring, &self->r, &busy.job, 1, sizeof(busy.job), 1);
	ASSERT_EQ(1, io_uring_submit(&self->ring));
	ASSERT_EQ(0, next_result(&self->ring, &res));
	EXPECT_EQ(-ENODEV, res.res);
	EXPECT_EQ(0, mt_write_file("/sys/bus/pci/drivers/mica/bind", name));
}

/* Commands that are cut off, over and over, in every phase. */
TEST_F_TIMEOUT(uring, rings_closed_at_random_moments_hurt_nobody, 60)
{
	struct result res;
	struct mt_job j;
	int i, k;

	for (i = 0; i < 60; i++) {
		struct io_uring ring;

		ASSERT_EQ(0, io_uring_queue_init(64, &ring, IORING_SETUP_SQE128 | (i & 1 ? IORING_SETUP_CQE32 : 0)));
		mt_rig_null_job(&self->r, &j);
		for (k = 0; k < 40; k++)
			prepare(&ring, &self->r, &j.job, 1, sizeof(j.job), k);
		io_uring_submit(&ring);
		usleep((i * 137) % 3000);
		io_uring_queue_exit(&ring);
	}
	mt_rig_fill_job(&self->r, &self->j, 8192, 4096, 0x44);
	ASSERT_EQ(0, run_one(&self->ring, &self->r, &self->j, &res));
	EXPECT_EQ(0, res.res);
	EXPECT_TRUE(mt_all(self->r.data.map, 4096, 0x44));
}

TEST_F(uring, destroyed_context_cancels_commands)
{
	struct result res;
	struct mt_job busy;
	int i, cancelled = 0;

	hold_device();
	fill_queue(&self->ring, &self->r, &busy, 100);
	ASSERT_EQ(0, mt_ctx_destroy(self->r.fd, self->r.ctx));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, next_result(&self->ring, &res));
		EXPECT_TRUE(res.res == 0 || res.res == -ECANCELED);
		cancelled += res.res == -ECANCELED;
	}
	EXPECT_GT(cancelled, 0);
}

TEST_HARNESS_MAIN
