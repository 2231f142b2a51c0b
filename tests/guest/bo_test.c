// SPDX-License-Identifier: MIT
/* Buffers: memory, mapping, sharing, and what happens to them while jobs use them. */
#include <linux/udmabuf.h>

#include "mica_test.h"

FIXTURE(bo)
{
	struct mt_rig r;
};

FIXTURE_SETUP(bo)
{
	int ret = mt_rig_open(&self->r);

	if (ret == -ENOENT)
		SKIP(return, "no MICA device");
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(bo)
{
	mt_rig_close(&self->r);
}

static int export_bo(int fd, uint32_t handle)
{
	struct drm_prime_handle p = { .handle = handle, .flags = DRM_CLOEXEC | DRM_RDWR };
	int ret = mt_ioctl(fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &p);

	return ret ? ret : p.fd;
}

static int import_bo(int fd, int dmabuf, uint32_t *handle)
{
	struct drm_prime_handle p = { .fd = dmabuf };
	int ret = mt_ioctl(fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &p);

	*handle = p.handle;
	return ret;
}

TEST_F(bo, is_zeroed_and_page_sized)
{
	struct mt_bo bo;

	ASSERT_EQ(0, mt_bo_create(self->r.fd, 5000, &bo));
	EXPECT_EQ(8192, bo.size);
	EXPECT_TRUE(mt_all(bo.map, bo.size, 0));
}

TEST_F(bo, memory_of_a_freed_buffer_comes_back_zeroed)
{
	struct mt_bo bo;
	int i;

	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, mt_bo_create(self->r.fd, 256 * 1024, &bo));
		ASSERT_TRUE(mt_all(bo.map, bo.size, 0));
		memset(bo.map, 0xff, bo.size);
		mt_bo_destroy(self->r.fd, &bo);
	}
}

TEST_F(bo, info_tells_what_create_told)
{
	struct drm_mica_bo_info info = { .handle = self->r.data.handle };

	ASSERT_EQ(0, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_BO_INFO, &info));
	EXPECT_EQ(MT_DATA_SIZE, info.size);
	EXPECT_EQ(self->r.data.va, info.va);
	EXPECT_NE(0, info.mmap_offset);
}

TEST_F(bo, addresses_do_not_overlap)
{
	struct mt_bo a, b;

	ASSERT_EQ(0, mt_bo_create(self->r.fd, 3 << 20, &a));
	ASSERT_EQ(0, mt_bo_create(self->r.fd, 3 << 20, &b));
	EXPECT_TRUE(a.va + a.size <= b.va || b.va + b.size <= a.va);
}

TEST_F(bo, handle_of_another_file_is_unknown)
{
	struct drm_mica_bo_info info = { .handle = self->r.data.handle };
	int other = mt_open();

	ASSERT_GE(other, 0);
	EXPECT_EQ(-ENOENT, mt_ioctl(other, DRM_IOCTL_MICA_BO_INFO, &info));
	close(other);
}

TEST_F(bo, mmap_of_another_files_offset_is_refused)
{
	struct drm_mica_bo_info info = { .handle = self->r.data.handle };
	int other = mt_open();
	void *p;

	ASSERT_GE(other, 0);
	ASSERT_EQ(0, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_BO_INFO, &info));
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, other, info.mmap_offset);
	EXPECT_EQ(MAP_FAILED, p);
	close(other);
}

TEST_F(bo, mapping_lives_on_when_the_handle_is_closed)
{
	self->r.data.map[100] = 42;
	EXPECT_EQ(0, mt_gem_close(self->r.fd, self->r.data.handle));
	EXPECT_EQ(42, self->r.data.map[100]);
}

TEST_F(bo, export_and_import_in_the_same_file_give_the_same_handle)
{
	int dmabuf = export_bo(self->r.fd, self->r.data.handle);
	uint32_t handle;

	ASSERT_GE(dmabuf, 0);
	ASSERT_EQ(0, import_bo(self->r.fd, dmabuf, &handle));
	EXPECT_EQ(self->r.data.handle, handle);
	close(dmabuf);
}

TEST_F(bo, exported_buffer_maps_through_the_dma_buf)
{
	int dmabuf = export_bo(self->r.fd, self->r.data.handle);
	uint8_t *p;

	ASSERT_GE(dmabuf, 0);
	p = mmap(NULL, MT_DATA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, dmabuf, 0);
	ASSERT_NE(MAP_FAILED, p);
	p[77] = 7;
	EXPECT_EQ(7, self->r.data.map[77]);
	close(dmabuf);
}

TEST_F(bo, two_files_compute_on_a_shared_buffer)
{
	struct mt_rig other;
	int dmabuf = export_bo(self->r.fd, self->r.data.handle);
	struct mt_stream s;
	struct mt_bo shared = { .size = MT_DATA_SIZE };
	struct mt_job j;

	ASSERT_GE(dmabuf, 0);
	ASSERT_EQ(0, mt_rig_open(&other));
	ASSERT_EQ(0, import_bo(other.fd, dmabuf, &shared.handle));
	s = (struct mt_stream){ .at = other.cmd.map };
	mt_prog_fill(&s, 0, 4096, 0x3c);
	mt_job_init(&j, &other.cmd, 0, s.size);
	mt_job_segment(&j, &shared, 0, shared.size, DRM_MICA_SEGMENT_WRITE);
	ASSERT_EQ(0, mt_submit(other.fd, other.ctx, &j));
	/* the other file's job is waited for through our handle */
	ASSERT_EQ(0, mt_wait(self->r.fd, &self->r.data));
	EXPECT_TRUE(mt_all(self->r.data.map, 4096, 0x3c));
	mt_rig_close(&other);
	close(dmabuf);
}

TEST_F(bo, foreign_dma_buf_is_imported_and_computed_on)
{
	int dev = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), mem, dmabuf;
	struct udmabuf_create c = { .size = 1 << 20 };
	struct drm_mica_bo_info info = { 0 };
	struct mt_bo bo = { .size = 1 << 20 };
	struct mt_stream s = { .at = self->r.cmd.map };
	struct mt_job j;
	uint8_t *p;

	if (dev < 0)
		SKIP(return, "no udmabuf");
	mem = memfd_create("test", MFD_ALLOW_SEALING);
	ASSERT_GE(mem, 0);
	ASSERT_EQ(0, ftruncate(mem, bo.size));
	ASSERT_EQ(0, fcntl(mem, F_ADD_SEALS, F_SEAL_SHRINK));
	c.memfd = mem;
	dmabuf = ioctl(dev, UDMABUF_CREATE, &c);
	ASSERT_GE(dmabuf, 0);
	ASSERT_EQ(0, import_bo(self->r.fd, dmabuf, &bo.handle));
	info.handle = bo.handle;
	ASSERT_EQ(0, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_BO_INFO, &info));
	EXPECT_EQ(0, info.mmap_offset);
	EXPECT_EQ(bo.size, info.size);
	mt_prog_fill(&s, 0, 8192, 0x99);
	mt_job_init(&j, &self->r.cmd, 0, s.size);
	mt_job_segment(&j, &bo, 4096, 8192, DRM_MICA_SEGMENT_WRITE);
	ASSERT_EQ(0, mt_submit(self->r.fd, self->r.ctx, &j));
	ASSERT_EQ(0, mt_wait(self->r.fd, &bo));
	p = mmap(NULL, bo.size, PROT_READ, MAP_SHARED, mem, 0);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_TRUE(mt_all(p, 4096, 0));
	EXPECT_TRUE(mt_all(p + 4096, 8192, 0x99));
	EXPECT_TRUE(mt_all(p + 12288, 4096, 0));
}

TEST_F(bo, closing_handles_in_flight_does_not_disturb_the_job)
{
	struct drm_mica_context_info info;
	struct mt_stream s = { .at = self->r.cmd.map };
	struct mt_job j;
	uint32_t sync;

	ASSERT_EQ(0, mt_syncobj_create(self->r.fd, &sync));
	mt_prog_busy(&s, 0, 32768, 200);
	mt_job_init(&j, &self->r.cmd, 0, s.size);
	mt_job_segment(&j, &self->r.data, 0, MT_DATA_SIZE, DRM_MICA_SEGMENT_WRITE);
	mt_job_out(&j, sync, 0);
	ASSERT_EQ(0, mt_submit(self->r.fd, self->r.ctx, &j));
	EXPECT_EQ(0, mt_gem_close(self->r.fd, self->r.data.handle));
	EXPECT_EQ(0, mt_gem_close(self->r.fd, self->r.cmd.handle));
	EXPECT_EQ(0, mt_syncobj_wait(self->r.fd, sync, 0, mt_now() + MT_LONG));
	ASSERT_EQ(0, mt_ctx_info(self->r.fd, self->r.ctx, &info));
	EXPECT_EQ(1, info.jobs_done);
	EXPECT_EQ(0, info.jobs_failed);
}

TEST_F(bo, closed_buffer_is_out_of_the_devices_reach)
{
	struct drm_mica_context_info info;
	struct mt_stream s = { .at = self->r.cmd.map };
	struct mt_bo gone;
	struct mt_job j;
	uint64_t va;

	ASSERT_EQ(0, mt_bo_create(self->r.fd, 65536, &gone));
	va = gone.va;
	mt_prog_fill(&s, 0, 256, 1);
	mt_job_init(&j, &self->r.cmd, 0, s.size);
	mt_job_segment(&j, &gone, 0, 65536, DRM_MICA_SEGMENT_WRITE);
	ASSERT_EQ(0, mt_submit(self->r.fd, self->r.ctx, &j));	/* its translations are in the TLB now */
	ASSERT_EQ(0, mt_wait(self->r.fd, &gone));
	EXPECT_TRUE(mt_all(gone.map, 256, 1));
	EXPECT_EQ(0, mt_gem_close(self->r.fd, gone.handle));
	usleep(200000);		/* the job's own reference goes a moment after its end */
	memset(gone.map, 0, 256);
	j.segment[0] = (struct drm_mica_segment){
		.flags = DRM_MICA_SEGMENT_WRITE | DRM_MICA_SEGMENT_VA, .offset = va, .size = 65536,
	};
	ASSERT_EQ(0, mt_submit(self->r.fd, self->r.ctx, &j));
	ASSERT_EQ(0, mt_wait(self->r.fd, &self->r.cmd));
	ASSERT_EQ(0, mt_ctx_info(self->r.fd, self->r.ctx, &info));
	EXPECT_EQ(1, info.jobs_failed);
	EXPECT_EQ(MICA_FAULT_MMU, info.last_fault);
	EXPECT_TRUE(mt_all(gone.map, 256, 0));
}

TEST_F(bo, large_buffer_is_mapped_to_its_last_byte)
{
	struct mt_stream s = { .at = self->r.cmd.map };
	struct mt_bo big;
	struct mt_job j;

	ASSERT_EQ(0, mt_bo_create(self->r.fd, (9 << 20) + 4096, &big));
	mt_prog_fill(&s, 0, 4096, 0x77);
	mt_job_init(&j, &self->r.cmd, 0, s.size);
	mt_job_segment(&j, &big, 9 << 20, 4096, DRM_MICA_SEGMENT_WRITE);
	ASSERT_EQ(0, mt_submit(self->r.fd, self->r.ctx, &j));
	ASSERT_EQ(0, mt_wait(self->r.fd, &big));
	EXPECT_TRUE(mt_all(big.map + (9 << 20), 4096, 0x77));
	EXPECT_TRUE(mt_all(big.map + (9 << 20) - 4096, 4096, 0));
}

TEST_F(bo, wait_for_an_idle_buffer_is_immediate)
{
	EXPECT_EQ(0, mt_bo_wait(self->r.fd, self->r.data.handle, 0, 0));
	EXPECT_EQ(0, mt_bo_wait(self->r.fd, self->r.data.handle, DRM_MICA_BO_WAIT_WRITE, 0));
}

/* A busy job on the context; the wait's time is over before the job is. */
TEST_F(bo, wait_runs_out_with_etime)
{
	struct mt_stream s = { .at = self->r.cmd.map };
	struct drm_mica_job jobs[20];
	struct mt_job j;
	int i, ret;

	mt_prog_busy(&s, 0, 65536, 400);
	mt_job_init(&j, &self->r.cmd, 0, s.size);
	mt_job_segment(&j, &self->r.data, 0, MT_DATA_SIZE, DRM_MICA_SEGMENT_WRITE);
	for (i = 0; i < 20; i++)
		jobs[i] = j.job;
	/* At once: on a slow kernel the device ends them one by one as fast as they come. */
	ASSERT_EQ(0, mt_submit_jobs(self->r.fd, self->r.ctx, jobs, 20, sizeof(jobs[0])));
	ret = mt_bo_wait(self->r.fd, self->r.data.handle, 0, mt_now() + 1000);
	EXPECT_EQ(-ETIME, ret);
	EXPECT_EQ(0, mt_wait(self->r.fd, &self->r.data));
}

TEST_F(bo, wait_for_writers_ignores_readers)
{
	struct mt_stream s = { .at = self->r.cmd.map };
	struct mt_bo src;
	struct mt_job j;
	int i;

	ASSERT_EQ(0, mt_bo_create(self->r.fd, 65536, &src));
	for (i = 0; i < 200; i++)
		mt_copy(&s, MT_LMEM(0), MT_SEG(0), 65536)->hdr.wait[MICA_ENGINE_LOAD] = i;
	mt_end(&s);
	mt_job_init(&j, &self->r.cmd, 0, s.size);
	mt_job_segment(&j, &src, 0, src.size, 0);
	for (i = 0; i < 20; i++)
		ASSERT_EQ(0, mt_submit(self->r.fd, self->r.ctx, &j));
	EXPECT_EQ(0, mt_bo_wait(self->r.fd, src.handle, DRM_MICA_BO_WAIT_WRITE, 0));
	EXPECT_EQ(0, mt_wait(self->r.fd, &src));
}

TEST_HARNESS_MAIN
