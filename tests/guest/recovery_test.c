// SPDX-License-Identifier: MIT
/* Errors injected into the device: only the guilty lose work, and the next job succeeds. */
#include "mica_test.h"

FIXTURE(recovery)
{
	struct mt_rig r;
	struct mt_job j;
	uint32_t sync, resets;
};

static uint32_t resets(int fd)
{
	struct drm_mica_device_info info;

	return mt_device_info(fd, &info) ? 0 : info.resets;
}

/* With limits short enough for a test. Contexts read the timeout when they are made. */
static int short_limits(const char *watchdog, const char *timeout)
{
	char params[128];
	int ret;

	snprintf(params, sizeof(params), "watchdog_ms=%s job_timeout_ms=%s fw_timeout_ms=3000", watchdog, timeout);
	ret = mt_reload(params);
	return ret;
}

FIXTURE_VARIANT(recovery)
{
	const char *watchdog, *timeout;
};

/* The firmware's watchdog sees a hang first, or the driver's timeout does. */
FIXTURE_VARIANT_ADD(recovery, watchdog) { .watchdog = "1500", .timeout = "20000" };
FIXTURE_VARIANT_ADD(recovery, timeout) { .watchdog = "0", .timeout = "3000" };

FIXTURE_SETUP(recovery)
{
	char path[384];
	int ret = mt_open();

	if (ret == -ENOENT)
		SKIP(return, "no MICA device");
	close(ret);
	if (mt_debugfs("inject", path, sizeof(path)))
		SKIP(return, "the device has no debug bank");
	ASSERT_EQ(0, short_limits(variant->watchdog, variant->timeout));
	ASSERT_EQ(0, mt_rig_open(&self->r));
	ASSERT_EQ(0, mt_syncobj_create(self->r.fd, &self->sync));
	self->resets = resets(self->r.fd);
}

FIXTURE_TEARDOWN(recovery)
{
	mt_rig_close(&self->r);
}

/* A job on the context; 0 when it ended in time, whatever the result. */
static int run(struct mt_rig *r, uint32_t ctx, struct mt_job *j, uint32_t sync)
{
	int ret;

	j->job.out_sync_count = 0;
	mt_job_out(j, sync, 0);
	ret = mt_submit(r->fd, ctx, j);
	return ret ? ret : mt_syncobj_wait(r->fd, sync, 0, mt_now() + MT_LONG);
}

static bool works(struct mt_rig *r, uint32_t ctx, uint32_t sync, uint8_t value)
{
	struct mt_job j;

	memset(r->data.map, 0, 4096);
	mt_rig_fill_job(r, &j, 8192, 4096, value);
	return !run(r, ctx, &j, sync) && mt_all(r->data.map, 4096, value);
}

TEST_F_TIMEOUT(recovery, hung_job_ends_and_the_next_context_succeeds, 120)
{
	struct drm_mica_context_info info;
	uint32_t other;

	ASSERT_EQ(0, mt_ctx_create(self->r.fd, DRM_MICA_PRIORITY_NORMAL, &other));
	ASSERT_EQ(0, mt_inject(MICA_INJECT_HANG_CORE, 0));
	mt_rig_fill_job(&self->r, &self->j, 0, 4096, 1);
	ASSERT_EQ(0, run(&self->r, self->r.ctx, &self->j, self->sync));
	ASSERT_EQ(0, mt_ctx_info(self->r.fd, self->r.ctx, &info));
	EXPECT_EQ(1, info.jobs_failed);
	EXPECT_EQ(MICA_FAULT_WATCHDOG, info.last_fault);
	EXPECT_TRUE(works(&self->r, other, self->sync, 0x42));
}

TEST_F_TIMEOUT(recovery, guilty_context_is_lost_and_says_ecanceled, 120)
{
	struct drm_mica_context_info info;
	uint32_t ctx;

	ASSERT_EQ(0, mt_inject(MICA_INJECT_HANG_CORE, 0));
	mt_rig_fill_job(&self->r, &self->j, 0, 4096, 1);
	ASSERT_EQ(0, run(&self->r, self->r.ctx, &self->j, self->sync));
	ASSERT_EQ(0, mt_ctx_info(self->r.fd, self->r.ctx, &info));
	EXPECT_EQ(DRM_MICA_CONTEXT_LOST, info.flags);
	EXPECT_EQ(-ECANCELED, mt_submit(self->r.fd, self->r.ctx, &self->j));
	EXPECT_EQ(0, mt_ctx_destroy(self->r.fd, self->r.ctx));
	ASSERT_EQ(0, mt_ctx_create(self->r.fd, DRM_MICA_PRIORITY_NORMAL, &ctx));
	EXPECT_TRUE(works(&self->r, ctx, self->sync, 0x43));
}

TEST_F_TIMEOUT(recovery, innocent_jobs_behind_a_hang_all_succeed, 120)
{
	struct drm_mica_context_info info;
	uint32_t other, done;
	struct mt_job j;
	int i;

	ASSERT_EQ(0, mt_ctx_create(self->r.fd, DRM_MICA_PRIORITY_NORMAL, &other));
	ASSERT_EQ(0, mt_syncobj_create(self->r.fd, &done));
	ASSERT_EQ(0, mt_inject(MICA_INJECT_HANG_CORE, 0));
	mt_rig_null_job(&self->r, &self->j);
	mt_job_out(&self->j, self->sync, 0);
	ASSERT_EQ(0, mt_submit(self->r.fd, self->r.ctx, &self->j));
	usleep(300000);
	mt_rig_null_job(&self->r, &j);
	for (i = 0; i < 50; i++) {
		j.job.out_sync_count = 0;
		mt_job_out(&j, done, i + 1);
		ASSERT_EQ(0, mt_submit(self->r.fd, other, &j));
	}
	EXPECT_EQ(0, mt_syncobj_wait(self->r.fd, done, 50, mt_now() + MT_LONG));
	EXPECT_EQ(0, mt_syncobj_wait(self->r.fd, self->sync, 0, mt_now() + MT_LONG));
	ASSERT_EQ(0, mt_ctx_info(self->r.fd, other, &info));
	EXPECT_EQ(50, info.jobs_done);
	EXPECT_EQ(0, info.jobs_failed);
	EXPECT_EQ(0, info.flags);
}

TEST_F_TIMEOUT(recovery, crashed_firmware_is_reset_and_jobs_survive, 120)
{
	struct drm_mica_context_info info;

	EXPECT_TRUE(works(&self->r, self->r.ctx, self->sync, 1));
	ASSERT_EQ(0, mt_inject(MICA_INJECT_FW_CRASH, 0));
	EXPECT_TRUE(works(&self->r, self->r.ctx, self->sync, 2));
	EXPECT_TRUE(works(&self->r, self->r.ctx, self->sync, 3));
	EXPECT_EQ(self->resets + 1, resets(self->r.fd));
	ASSERT_EQ(0, mt_ctx_info(self->r.fd, self->r.ctx, &info));
	EXPECT_EQ(0, info.flags);
	EXPECT_EQ(3, info.jobs_done);
}

TEST_F_TIMEOUT(recovery, hung_firmware_is_reset_and_jobs_survive, 120)
{
	ASSERT_EQ(0, mt_inject(MICA_INJECT_FW_HANG, 0));
	EXPECT_TRUE(works(&self->r, self->r.ctx, self->sync, 2));
	EXPECT_EQ(self->resets + 1, resets(self->r.fd));
	EXPECT_TRUE(works(&self->r, self->r.ctx, self->sync, 3));
}

TEST_F_TIMEOUT(recovery, hung_firmware_is_noticed_by_a_new_context, 120)
{
	uint32_t ctx;
	int i;

	ASSERT_EQ(0, mt_inject(MICA_INJECT_FW_HANG, 0));
	EXPECT_EQ(-EIO, mt_ctx_create(self->r.fd, DRM_MICA_PRIORITY_NORMAL, &ctx));
	for (i = 0; i < 50 && mt_ctx_create(self->r.fd, DRM_MICA_PRIORITY_NORMAL, &ctx); i++)
		usleep(200000);
	EXPECT_TRUE(works(&self->r, ctx, self->sync, 3));
	EXPECT_TRUE(works(&self->r, self->r.ctx, self->sync, 4));
}

TEST_F_TIMEOUT(recovery, lost_interrupt_costs_no_job, 120)
{
	int64_t start = mt_now();

	ASSERT_EQ(0, mt_inject(MICA_INJECT_LOST_IRQ, MICA_VEC_EVENT));
	EXPECT_TRUE(works(&self->r, self->r.ctx, self->sync, 5));
	EXPECT_LT(mt_now() - start, 3 * MT_SECOND * mt_slow());
	EXPECT_EQ(self->resets, resets(self->r.fd));
}

TEST_F_TIMEOUT(recovery, corrupt_descriptor_fails_one_job, 120)
{
	struct drm_mica_context_info info;

	ASSERT_EQ(0, mt_inject(MICA_INJECT_BAD_RING, 0));
	mt_rig_fill_job(&self->r, &self->j, 0, 4096, 1);
	ASSERT_EQ(0, run(&self->r, self->r.ctx, &self->j, self->sync));
	ASSERT_EQ(0, mt_ctx_info(self->r.fd, self->r.ctx, &info));
	EXPECT_EQ(1, info.jobs_failed);
	EXPECT_EQ(MICA_FAULT_DESC, info.last_fault);
	EXPECT_TRUE(works(&self->r, self->r.ctx, self->sync, 6));
}

TEST_F_TIMEOUT(recovery, failing_dma_fails_one_job, 120)
{
	struct drm_mica_context_info info;

	ASSERT_EQ(0, mt_inject(MICA_INJECT_DMA_ERROR, 0));
	mt_rig_fill_job(&self->r, &self->j, 0, 4096, 1);
	ASSERT_EQ(0, run(&self->r, self->r.ctx, &self->j, self->sync));
	ASSERT_EQ(0, mt_ctx_info(self->r.fd, self->r.ctx, &info));
	EXPECT_EQ(1, info.jobs_failed);
	EXPECT_EQ(MICA_FAULT_BUS, info.last_fault);
	EXPECT_TRUE(works(&self->r, self->r.ctx, self->sync, 7));
}

TEST_F_TIMEOUT(recovery, ecc_error_fails_one_job, 120)
{
	struct drm_mica_context_info info;

	ASSERT_EQ(0, mt_inject(MICA_INJECT_FLIP_LMEM_ECC, 16));
	mt_rig_fill_job(&self->r, &self->j, 0, 4096, 1);
	ASSERT_EQ(0, run(&self->r, self->r.ctx, &self->j, self->sync));
	ASSERT_EQ(0, mt_ctx_info(self->r.fd, self->r.ctx, &info));
	EXPECT_EQ(MICA_FAULT_ECC, info.last_fault);
	EXPECT_TRUE(works(&self->r, self->r.ctx, self->sync, 8));
}

TEST_F_TIMEOUT(recovery, dead_link_comes_back, 120)
{
	mt_rig_fill_job(&self->r, &self->j, 0, 4096, 9);
	ASSERT_EQ(0, mt_inject(MICA_INJECT_LINK_DOWN, 0));
	ASSERT_EQ(0, run(&self->r, self->r.ctx, &self->j, self->sync));
	EXPECT_TRUE(mt_all(self->r.data.map, 4096, 9));
	EXPECT_TRUE(works(&self->r, self->r.ctx, self->sync, 10));
}

static bool find_coredump(char *path, size_t size)
{
	DIR *dir = opendir("/sys/class/devcoredump");
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (!strncmp(e->d_name, "devcd", 5))
			snprintf(path, size, "/sys/class/devcoredump/%.64s/data", e->d_name);
	if (dir)
		closedir(dir);
	return path[0];
}

TEST_F_TIMEOUT(recovery, hang_leaves_a_coredump, 120)
{
	static char text[65536];
	char path[320] = "";
	int i;

	ASSERT_EQ(0, mt_inject(MICA_INJECT_HANG_CORE, 0));
	mt_rig_fill_job(&self->r, &self->j, 0, 4096, 1);
	ASSERT_EQ(0, run(&self->r, self->r.ctx, &self->j, self->sync));
	for (i = 0; i < 100 * mt_slow() && !find_coredump(path, sizeof(path)); i++)
		usleep(50000);
	ASSERT_NE(0, path[0]);
	ASSERT_GT(mt_read_file(path, text, sizeof(text)), 0);
	EXPECT_NE(NULL, strstr(text, "mica device coredump"));
	EXPECT_NE(NULL, strstr(text, "[registers]"));
	EXPECT_NE(NULL, strstr(text, "[firmware log]"));
	EXPECT_EQ(0, mt_write_file(path, "1"));	/* read and done with */
}

TEST_F_TIMEOUT(recovery, function_level_reset_from_outside_keeps_jobs, 120)
{
	char path[160], name[64];

	ASSERT_EQ(0, mt_pci_name(name, sizeof(name)));
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/reset", name);
	if (access(path, W_OK))
		SKIP(return, "no FLR");
	EXPECT_TRUE(works(&self->r, self->r.ctx, self->sync, 1));
	ASSERT_EQ(0, mt_write_file(path, "1"));
	EXPECT_TRUE(works(&self->r, self->r.ctx, self->sync, 2));
	EXPECT_EQ(self->resets + 1, resets(self->r.fd));
}

TEST_HARNESS_MAIN
