// SPDX-License-Identifier: MIT
/* Coming and going: processes that die, modules that are loaded and unloaded, devices that are unbound, bad firmware. */
#include <signal.h>

#include "mica_test.h"

#define FW_DIR	"/lib/firmware/mica/"
#define FW	FW_DIR "mica_fw.bin"

FIXTURE(lifecycle)
{
	bool present;
};

FIXTURE_SETUP(lifecycle)
{
	char path[256];

	if (mt_module_path(path, sizeof(path)) || access("/sys/bus/pci/drivers/mica", F_OK))
		SKIP(return, "no MICA driver");
	mt_load("");
	self->present = true;
}

FIXTURE_TEARDOWN(lifecycle)
{
	if (self->present) {
		rename(FW ".away", FW);
		EXPECT_EQ(0, mt_reload(""));
	}
}

static bool works(void)
{
	struct mt_rig r;
	struct mt_job j;
	bool good;

	if (mt_rig_open(&r))
		return false;
	mt_rig_fill_job(&r, &j, 0, 4096, 0x66);
	good = !mt_submit(r.fd, r.ctx, &j) && !mt_wait(r.fd, &r.data) && mt_all(r.data.map, 4096, 0x66);
	mt_rig_close(&r);
	return good;
}

TEST_F_TIMEOUT(lifecycle, hundred_loads_and_unloads, 280)
{
	int i;

	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, mt_unload());
		ASSERT_EQ(0, mt_load(""));
		if (i % 10 == 0)
			ASSERT_TRUE(works());
	}
}

/* As many jobs as do not finish at once; the parent learns over the pipe that they are queued. */
static void child_with_jobs(int ready)
{
	struct mt_stream s;
	struct mt_rig r;
	struct mt_job j;
	int i;

	if (mt_rig_open(&r))
		_exit(1);
	s = (struct mt_stream){ .at = r.cmd.map };
	mt_prog_busy(&s, 0, 65536, 400);
	mt_job_init(&j, &r.cmd, 0, s.size);
	mt_job_segment(&j, &r.data, 0, MT_DATA_SIZE, DRM_MICA_SEGMENT_WRITE);
	for (i = 0; i < 100; i++)
		if (mt_submit(r.fd, r.ctx, &j))
			_exit(2);
	if (write(ready, "x", 1) != 1)
		_exit(3);
	pause();
	_exit(0);
}

TEST_F_TIMEOUT(lifecycle, killed_process_with_100_jobs_leaves_a_working_device, 60)
{
	int i, pipes[2], status;
	char c;
	pid_t pid;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, pipe(pipes));
		pid = fork();
		if (!pid)
			child_with_jobs(pipes[1]);
		close(pipes[1]);
		ASSERT_EQ(1, read(pipes[0], &c, 1));
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		close(pipes[0]);
		EXPECT_TRUE(works());
	}
}

TEST_F(lifecycle, module_is_busy_while_a_file_is_open)
{
	int fd = mt_open();

	ASSERT_GE(fd, 0);
	EXPECT_TRUE(syscall(SYS_delete_module, "mica", O_NONBLOCK) < 0);
	close(fd);
}

TEST_F_TIMEOUT(lifecycle, unbind_with_jobs_in_flight_ends_them_and_keeps_memory, 60)
{
	struct drm_mica_device_info info;
	struct mt_stream s;
	struct mt_job j;
	struct mt_rig r;
	char name[64];
	uint32_t id;
	int i;

	ASSERT_EQ(0, mt_pci_name(name, sizeof(name)));
	ASSERT_EQ(0, mt_rig_open(&r));
	s = (struct mt_stream){ .at = r.cmd.map };
	mt_prog_busy(&s, 0, 65536, 400);
	mt_job_init(&j, &r.cmd, 0, s.size);
	mt_job_segment(&j, &r.data, 0, MT_DATA_SIZE, DRM_MICA_SEGMENT_WRITE);
	for (i = 0; i < 100; i++)
		ASSERT_EQ(0, mt_submit(r.fd, r.ctx, &j));
	r.cmd.map[0] = 1;
	ASSERT_EQ(0, mt_write_file("/sys/bus/pci/drivers/mica/unbind", name));
	EXPECT_EQ(-ENODEV, mt_device_info(r.fd, &info));
	EXPECT_EQ(-ENODEV, mt_submit(r.fd, r.ctx, &j));
	EXPECT_EQ(-ENODEV, mt_ctx_create(r.fd, 0, &id));
	EXPECT_EQ(1, r.cmd.map[0]);	/* no SIGBUS */
	r.data.map[MT_DATA_SIZE - 1] = 2;
	mt_rig_close(&r);
	ASSERT_EQ(0, mt_write_file("/sys/bus/pci/drivers/mica/bind", name));
	EXPECT_TRUE(works());
}

TEST_F_TIMEOUT(lifecycle, device_removed_and_found_again_works, 60)
{
	char name[64], path[128];
	struct mt_rig r;
	struct mt_job j;

	ASSERT_EQ(0, mt_pci_name(name, sizeof(name)));
	ASSERT_EQ(0, mt_rig_open(&r));
	mt_rig_null_job(&r, &j);
	ASSERT_EQ(0, mt_submit(r.fd, r.ctx, &j));
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/remove", name);
	ASSERT_EQ(0, mt_write_file(path, "1"));
	EXPECT_EQ(-ENODEV, mt_submit(r.fd, r.ctx, &j));
	mt_rig_close(&r);
	ASSERT_EQ(0, mt_write_file("/sys/bus/pci/rescan", "1"));
	EXPECT_TRUE(works());
}

/* ---- firmware ---- */

/* Loads the driver with another image in front of the good one; returns whether a device came up. */
static bool comes_up_with(const char *image)
{
	int fd;

	mt_unload();
	mkdir("/tmp/fw", 0755);
	mkdir("/tmp/fw/mica", 0755);
	if (mt_copy_file(image, "/tmp/fw/mica/mica_fw.bin"))
		return true;
	mt_write_file("/sys/module/firmware_class/parameters/path", "/tmp/fw");
	mt_load("fw_timeout_ms=3000");
	fd = mt_open();
	if (fd >= 0)
		close(fd);
	mt_write_file("/sys/module/firmware_class/parameters/path", "/lib/firmware");
	return fd >= 0;
}

static bool kernel_said(const char *text)
{
	static char log[1 << 18];
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	bool found = false;
	ssize_t n;

	if (fd < 0)
		return false;
	while (!found && ((n = read(fd, log, sizeof(log) - 1)) > 0 || (n < 0 && errno == EPIPE))) {
		log[n > 0 ? n : 0] = 0;
		found = strstr(log, text);
	}
	close(fd);
	return found;
}

TEST_F_TIMEOUT(lifecycle, missing_firmware_is_named, 60)
{
	int fd;

	mt_unload();
	ASSERT_EQ(0, rename(FW, FW ".away"));
	mt_load("");
	fd = mt_open();
	EXPECT_EQ(-ENOENT, fd);
	EXPECT_TRUE(kernel_said("firmware mica/mica_fw.bin not found"));
	ASSERT_EQ(0, rename(FW ".away", FW));
	ASSERT_EQ(0, mt_reload(""));
	EXPECT_TRUE(works());
}

TEST_F_TIMEOUT(lifecycle, damaged_firmware_is_refused, 60)
{
	EXPECT_FALSE(comes_up_with(FW_DIR "mica_fw_badcrc.bin"));
	EXPECT_TRUE(kernel_said("is damaged (checksum)"));
}

TEST_F_TIMEOUT(lifecycle, truncated_firmware_is_refused, 60)
{
	EXPECT_FALSE(comes_up_with(FW_DIR "mica_fw_truncated.bin"));
	EXPECT_TRUE(kernel_said("is cut short or too long"));
}

TEST_F_TIMEOUT(lifecycle, firmware_for_other_hardware_is_refused, 60)
{
	EXPECT_FALSE(comes_up_with(FW_DIR "mica_fw_badhw.bin"));
	EXPECT_TRUE(kernel_said("install a matching image"));
}

TEST_F_TIMEOUT(lifecycle, firmware_of_another_abi_is_refused, 60)
{
	EXPECT_FALSE(comes_up_with(FW_DIR "mica_fw_badabi.bin"));
	EXPECT_TRUE(kernel_said("speaks ABI 900..901"));
}

TEST_F_TIMEOUT(lifecycle, file_that_is_no_firmware_is_refused, 60)
{
	EXPECT_FALSE(comes_up_with("/proc/self/comm"));
	EXPECT_TRUE(kernel_said("is not a MICA firmware image"));
}

TEST_F_TIMEOUT(lifecycle, sleeping_device_wakes_for_a_job, 60)
{
	char path[160], name[64], text[32] = "";
	int i;

	ASSERT_EQ(0, mt_pci_name(name, sizeof(name)));
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/power/runtime_status", name);
	EXPECT_TRUE(works());
	for (i = 0; i < 100 && strncmp(text, "suspended", 9); i++) {
		usleep(100000);
		mt_read_file(path, text, sizeof(text));
	}
	EXPECT_EQ(0, strncmp(text, "suspended", 9));
	EXPECT_TRUE(works());
}

TEST_HARNESS_MAIN
