// SPDX-License-Identifier: MIT
/*
 * Every slab allocation on the way of every call fails once: the 1st, the 2nd, ... until the call needs no more. A call then either
 * succeeds or says ENOMEM, the device goes on, and nothing is left behind. On kernels with fault injection through
 * /proc/self/fail-nth, else through tests/guest/fault. A complaint of the kernel fails the case, as everywhere.
 */
#include <liburing.h>

#include "mica_test.h"

#define MOST	20000	/* allocations of one call */
#define DENSE	200	/* each of the first so many fails; behind them, where a page is like the one before, every eighth part */
#define MODULE	"/usr/lib/mica/tests/mica_fault.ko"

static int load_module(void)
{
	int fd = open(MODULE, O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST ? -errno : 0;
	close(fd);
	return ret;
}

static int open_injector(void)
{
	int fd = open("/proc/self/fail-nth", O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		/* Also those that may sleep, also single pages; and no stack trace, which would look like a complaint. */
		mt_write_file("/sys/kernel/debug/failslab/ignore-gfp-wait", "N");
		mt_write_file("/sys/kernel/debug/failslab/verbose", "0");
		mt_write_file("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N");
		mt_write_file("/sys/kernel/debug/fail_page_alloc/min-order", "0");
		mt_write_file("/sys/kernel/debug/fail_page_alloc/verbose", "0");
		return fd;
	}
	return load_module() ? -1 : open("/dev/fail-nth", O_RDWR | O_CLOEXEC);
}

FIXTURE(fail)
{
	int injector;
	long module_users;
	struct mt_rig r;
	struct mt_job j;
	struct io_uring ring;
	uint32_t made;			/* what the call made: a handle, an id */
	int made_fd;
	char path[64];			/* of the device: its number grows when the driver is loaded again */
};

typedef struct _test_data_fail self_t;

static long module_users(void)
{
	char text[32];

	return mt_read_file("/sys/module/mica/refcnt", text, sizeof(text)) > 0 ? atol(text) : -1;
}

FIXTURE_SETUP(fail)
{
	char link[32];
	int ret = mt_open();

	memset(&self->r, 0, sizeof(self->r));
	self->r.fd = -1;
	self->injector = -1;
	if (ret < 0)
		SKIP(return, "no MICA device");
	memset(self->path, 0, sizeof(self->path));
	snprintf(link, sizeof(link), "/proc/self/fd/%d", ret);
	ASSERT_LT(0, readlink(link, self->path, sizeof(self->path) - 1));
	close(ret);
	self->injector = open_injector();
	if (self->injector < 0)
		SKIP(return, "no fault injection, and no module for it");
	self->module_users = module_users();
	ASSERT_EQ(0, mt_rig_open(&self->r));
	ASSERT_EQ(0, io_uring_queue_init(16, &self->ring, IORING_SETUP_SQE128 | IORING_SETUP_CQE32));
}

/* What leaked holds the module: a fence, a context, a file. The last of them go a moment after close(). */
FIXTURE_TEARDOWN(fail)
{
	int i;

	if (self->injector < 0 || self->r.fd < 0)
		return;
	io_uring_queue_exit(&self->ring);
	mt_rig_close(&self->r);
	for (i = 0; i < 200 && module_users() != self->module_users; i++)
		usleep(20000);
	EXPECT_EQ(self->module_users, module_users());
	close(self->injector);
}

static void arm(self_t *self, int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", n);

	while (pwrite(self->injector, text, len, 0) != len)
		;
}

static int still_armed(self_t *self)
{
	char text[16] = "";

	if (pread(self->injector, text, sizeof(text) - 1, 0) <= 0)
		return -1;
	return atoi(text);
}

/* The device works: a job writes what it should. */
static int device_works(self_t *self, uint8_t value)
{
	struct mt_job j;
	int ret;

	mt_rig_fill_job(&self->r, &j, 32768, 256, value);
	ret = mt_submit(self->r.fd, self->r.ctx, &j);
	if (!ret)
		ret = mt_wait(self->r.fd, &self->r.data);
	return ret ? ret : mt_all(self->r.data.map, 256, value) ? 0 : -EILSEQ;
}

/* Calls with the 1st, 2nd, ... allocation failing; undo() takes back what a successful call has made. The number of failures. */
static int sweep(struct __test_metadata *_metadata, self_t *self, int (*call)(self_t *), void (*undo)(self_t *))
{
	int n, ret, left, refused = 0;

	for (n = 1; n < MOST; n += n < DENSE ? 1 : n / 8) {
		arm(self, n);
		ret = call(self);
		left = still_armed(self);
		arm(self, 0);
		EXPECT_TRUE(!ret || ret == -ENOMEM) TH_LOG("allocation %d: %s", n, strerror(-ret));
		if (!ret && undo)
			undo(self);
		refused += ret == -ENOMEM;
		EXPECT_EQ(0, device_works(self, n)) TH_LOG("after allocation %d", n);
		if (left) {
			EXPECT_EQ(0, ret) TH_LOG("no allocation failed, %d were left", left);
			TH_LOG("%d allocations, %d refused", n - left, refused);
			return refused;
		}
	}
	EXPECT_TRUE(false) TH_LOG("more than %d allocations", MOST);
	return refused;
}

static int call_open(self_t *self)
{
	self->made_fd = open(self->path, O_RDWR | O_CLOEXEC);
	return self->made_fd < 0 ? -errno : 0;
}

static void undo_open(self_t *self)
{
	close(self->made_fd);
}

TEST_F_TIMEOUT(fail, open, 120)
{
	EXPECT_LT(0, sweep(_metadata, self, call_open, undo_open));
}

static int create(self_t *self, uint64_t size)
{
	struct drm_mica_bo_create c = { .size = size };
	int ret = ioctl(self->r.fd, DRM_IOCTL_MICA_BO_CREATE, &c) ? -errno : 0;

	self->made = c.handle;
	return ret;
}

static int call_bo_create(self_t *self)
{
	return create(self, 64 * 1024);
}

static int call_large_bo_create(self_t *self)
{
	return create(self, 5 << 20);
}

static void undo_bo_create(self_t *self)
{
	mt_gem_close(self->r.fd, self->made);
}

TEST_F_TIMEOUT(fail, bo_create, 120)
{
	EXPECT_LT(0, sweep(_metadata, self, call_bo_create, undo_bo_create));
}

TEST_F_TIMEOUT(fail, large_bo_create, 250)
{
	EXPECT_LT(0, sweep(_metadata, self, call_large_bo_create, undo_bo_create));
}

static int call_ctx_create(self_t *self)
{
	struct drm_mica_ctx_create c = { .priority = DRM_MICA_PRIORITY_NORMAL };
	int ret = ioctl(self->r.fd, DRM_IOCTL_MICA_CTX_CREATE, &c) ? -errno : 0;

	self->made = c.ctx_id;
	return ret;
}

static void undo_ctx_create(self_t *self)
{
	mt_ctx_destroy(self->r.fd, self->made);
}

TEST_F_TIMEOUT(fail, ctx_create, 120)
{
	EXPECT_LT(0, sweep(_metadata, self, call_ctx_create, undo_ctx_create));
}

/* Ending a context must not fail, whatever allocation does. */
TEST_F_TIMEOUT(fail, ctx_destroy, 60)
{
	uint32_t id;
	int n, ret;

	for (n = 1; n < 8; n++) {
		ASSERT_EQ(0, mt_ctx_create(self->r.fd, DRM_MICA_PRIORITY_NORMAL, &id));
		arm(self, n);
		ret = mt_ctx_destroy(self->r.fd, id);
		arm(self, 0);
		EXPECT_EQ(0, ret) TH_LOG("allocation %d", n);
		EXPECT_EQ(0, device_works(self, n));
	}
}

static int call_submit(self_t *self)
{
	struct drm_mica_submit s = { .ctx_id = self->r.ctx, .job_count = 1, .job_stride = sizeof(self->j.job), .jobs = mt_ptr(&self->j.job) };
	int ret = ioctl(self->r.fd, DRM_IOCTL_MICA_SUBMIT, &s) ? -errno : 0;

	return ret;
}

static void undo_submit(self_t *self)
{
	mt_wait(self->r.fd, &self->r.data);
}

TEST_F_TIMEOUT(fail, submit, 120)
{
	mt_rig_fill_job(&self->r, &self->j, 0, 4096, 7);
	EXPECT_LT(0, sweep(_metadata, self, call_submit, undo_submit));
}

TEST_F_TIMEOUT(fail, submit_with_syncobjs, 120)
{
	uint32_t in, out;

	ASSERT_EQ(0, mt_syncobj_create(self->r.fd, &in));
	ASSERT_EQ(0, mt_syncobj_create(self->r.fd, &out));
	ASSERT_EQ(0, mt_syncobj_signal(self->r.fd, in));
	mt_rig_fill_job(&self->r, &self->j, 0, 4096, 7);
	mt_job_in(&self->j, in, 0);
	mt_job_out(&self->j, out, 0);
	EXPECT_LT(0, sweep(_metadata, self, call_submit, undo_submit));
}

static int call_uring(self_t *self)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);
	struct mica_uring_submit *p = (void *)((uint8_t *)sqe + 48);
	struct io_uring_cqe *cqe;
	int ret;

	if (!sqe)
		return -EBUSY;
	memset(sqe, 0, 128);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = self->r.fd;
	sqe->cmd_op = MICA_URING_CMD_SUBMIT;
	p->submit.ctx_id = self->r.ctx;
	p->submit.jobs = mt_ptr(&self->j.job);
	p->submit.job_count = 1;
	p->submit.job_stride = sizeof(self->j.job);
	ret = io_uring_submit_and_wait(&self->ring, 1);
	if (ret < 0)
		return ret;
	ret = io_uring_wait_cqe(&self->ring, &cqe);
	if (ret)
		return ret;
	ret = cqe->res;
	io_uring_cqe_seen(&self->ring, cqe);
	return ret;
}

TEST_F_TIMEOUT(fail, uring_submit, 120)
{
	mt_rig_fill_job(&self->r, &self->j, 0, 4096, 7);
	EXPECT_LT(0, sweep(_metadata, self, call_uring, undo_submit));
}

static int call_wait(self_t *self)
{
	return mt_wait(self->r.fd, &self->r.data);
}

TEST_F_TIMEOUT(fail, bo_wait, 60)
{
	sweep(_metadata, self, call_wait, NULL);
}

/* To another file and back: a mapping in its address space. */
static int call_import(self_t *self)
{
	struct drm_prime_handle p = { .handle = self->r.data.handle, .flags = O_CLOEXEC };
	struct drm_prime_handle q;
	int ret;

	if (ioctl(self->r.fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &p))
		return -errno;
	q = (struct drm_prime_handle){ .fd = p.fd };
	ret = ioctl(self->made_fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &q) ? -errno : 0;
	close(p.fd);
	self->made = q.handle;
	return ret;
}

static void undo_import(self_t *self)
{
	mt_gem_close(self->made_fd, self->made);
}

TEST_F_TIMEOUT(fail, export_and_import, 120)
{
	self->made_fd = mt_open();
	ASSERT_LE(0, self->made_fd);
	EXPECT_LT(0, sweep(_metadata, self, call_import, undo_import));
	close(self->made_fd);
}

TEST_HARNESS_MAIN
