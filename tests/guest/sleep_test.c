// SPDX-License-Identifier: MIT
/*
 * System sleep with jobs in flight. Only with mica.sleep=1 on the kernel's command line (guest-run.sh --append), in a guest
 * of its own: virtio-9p does not survive the sleep, so that the guest cannot report its status afterwards.
 */
#include "mica_test.h"

FIXTURE(sleep)
{
	bool unused;
};

FIXTURE_SETUP(sleep)
{
	char cmdline[2048];
	int fd = mt_open();

	if (fd < 0)
		SKIP(return, "no MICA device");
	close(fd);
	if (mt_read_file("/proc/cmdline", cmdline, sizeof(cmdline)) < 0 || !strstr(cmdline, "mica.sleep=1"))
		SKIP(return, "not asked for by mica.sleep=1");
}

FIXTURE_TEARDOWN(sleep)
{
}

/* All of a system's sleep but the very last step; the kernel's own test mode wakes it again after some seconds. */
TEST_F_TIMEOUT(sleep, system_sleep_keeps_jobs, 60)
{
	struct drm_mica_context_info info;
	struct mt_stream s;
	struct mt_job j;
	struct mt_rig r;
	int i;

	if (mt_write_file("/sys/power/pm_test", "platform"))
		SKIP(return, "the kernel has no test mode for sleep");
	mt_write_file("/sys/module/suspend/parameters/pm_test_delay", "1");
	ASSERT_EQ(0, mt_rig_open(&r));
	s = (struct mt_stream){ .at = r.cmd.map };
	mt_prog_busy(&s, 0, 65536, 400);
	mt_job_init(&j, &r.cmd, 0, s.size);
	mt_job_segment(&j, &r.data, 0, MT_DATA_SIZE, DRM_MICA_SEGMENT_WRITE);
	for (i = 0; i < 100; i++)
		ASSERT_EQ(0, mt_submit(r.fd, r.ctx, &j));
	if (mt_write_file("/sys/power/state", "freeze"))
		SKIP(return, "the machine does not sleep");
	mt_write_file("/sys/power/pm_test", "none");
	ASSERT_EQ(0, mt_wait(r.fd, &r.data));
	ASSERT_EQ(0, mt_ctx_info(r.fd, r.ctx, &info));
	EXPECT_EQ(100, info.jobs_done);
	mt_rig_close(&r);
}

TEST_HARNESS_MAIN
