// SPDX-License-Identifier: MIT
/* What the ioctls refuse: each undefined flag, pad, size, stride, handle; and that a refused submission does nothing. */
#include "mica_test.h"

FIXTURE(args)
{
	struct mt_rig r;
	struct mt_job j;
};

FIXTURE_SETUP(args)
{
	int ret = mt_rig_open(&self->r);

	if (ret == -ENOENT)
		SKIP(return, "no MICA device");
	ASSERT_EQ(0, ret);
	mt_rig_fill_job(&self->r, &self->j, 0, 256, 0x5a);
}

FIXTURE_TEARDOWN(args)
{
	mt_rig_close(&self->r);
}

#define SUBMIT()	mt_submit(self->r.fd, self->r.ctx, &self->j)

/* ---- query ---- */

TEST_F(args, query_rejects_pad)
{
	struct drm_mica_query q = { .pad = 1 };

	EXPECT_EQ(-EINVAL, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_QUERY, &q));
}

TEST_F(args, query_rejects_unknown_type)
{
	struct drm_mica_query q = { .type = 2 };

	EXPECT_EQ(-EINVAL, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_QUERY, &q));
}

TEST_F(args, query_device_rejects_id)
{
	struct drm_mica_query q = { .type = DRM_MICA_QUERY_DEVICE, .id = 1 };

	EXPECT_EQ(-EINVAL, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_QUERY, &q));
}

TEST_F(args, query_context_rejects_unknown_id)
{
	struct drm_mica_query q = { .type = DRM_MICA_QUERY_CONTEXT, .id = 4711 };

	EXPECT_EQ(-ENOENT, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_QUERY, &q));
}

TEST_F(args, query_without_data_tells_the_size)
{
	struct drm_mica_query q = { .type = DRM_MICA_QUERY_DEVICE };

	EXPECT_EQ(0, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_QUERY, &q));
	EXPECT_EQ(sizeof(struct drm_mica_device_info), q.size);
}

TEST_F(args, query_writes_no_more_than_asked_for)
{
	struct drm_mica_device_info info;
	struct drm_mica_query q = { .type = DRM_MICA_QUERY_DEVICE, .size = 8, .data = mt_ptr(&info) };

	memset(&info, 0xee, sizeof(info));
	EXPECT_EQ(0, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_QUERY, &q));
	EXPECT_EQ(sizeof(info), q.size);
	EXPECT_NE(0xeeeeeeeeu, info.hw_version);
	EXPECT_EQ(0xeeeeeeeeu, info.fw_abi);
}

TEST_F(args, query_rejects_bad_pointer)
{
	struct drm_mica_query q = { .type = DRM_MICA_QUERY_DEVICE, .size = 80, .data = 8 };

	EXPECT_EQ(-EFAULT, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_QUERY, &q));
}

TEST_F(args, query_device_makes_sense)
{
	struct drm_mica_device_info info;

	ASSERT_EQ(0, mt_device_info(self->r.fd, &info));
	EXPECT_GE(info.cores, 1);
	EXPECT_LE(info.cores, MICA_MAX_CORES);
	EXPECT_EQ(MICA_ISA_VERSION, info.isa_version);
	EXPECT_EQ(MICA_MAX_SEGMENTS, info.max_segments);
	EXPECT_GT(info.lmem_size, 0);
	EXPECT_GT(info.max_contexts, 0);
	EXPECT_LT(info.va_start, info.va_end);
	EXPECT_EQ(0, info.pad);
}

/* ---- buffers ---- */

TEST_F(args, bo_create_rejects_flags)
{
	struct drm_mica_bo_create c = { .size = 4096, .flags = 1 };

	EXPECT_EQ(-EINVAL, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_BO_CREATE, &c));
}

TEST_F(args, bo_create_rejects_size_0)
{
	struct drm_mica_bo_create c = { 0 };

	EXPECT_EQ(-EINVAL, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_BO_CREATE, &c));
}

TEST_F(args, bo_create_rejects_size_beyond_the_address_space)
{
	struct drm_mica_bo_create c = { .size = 1ull << 40 };

	EXPECT_EQ(-EINVAL, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_BO_CREATE, &c));
	c.size = ~0ull;
	EXPECT_EQ(-EINVAL, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_BO_CREATE, &c));
}

TEST_F(args, bo_create_beyond_memory_is_enomem)
{
	struct drm_mica_bo_create c = { .size = 1ull << 38 };

	EXPECT_EQ(-ENOMEM, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_BO_CREATE, &c));
}

TEST_F(args, bo_info_rejects_pad)
{
	struct drm_mica_bo_info i = { .handle = self->r.data.handle, .pad = 1 };

	EXPECT_EQ(-EINVAL, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_BO_INFO, &i));
}

TEST_F(args, bo_info_rejects_unknown_handle)
{
	struct drm_mica_bo_info i = { .handle = MT_BAD_HANDLE };

	EXPECT_EQ(-ENOENT, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_BO_INFO, &i));
}

TEST_F(args, bo_wait_rejects_flags)
{
	EXPECT_EQ(-EINVAL, mt_bo_wait(self->r.fd, self->r.data.handle, 2, 0));
}

TEST_F(args, bo_wait_rejects_unknown_handle)
{
	EXPECT_EQ(-ENOENT, mt_bo_wait(self->r.fd, MT_BAD_HANDLE, 0, 0));
}

/* ---- contexts ---- */

TEST_F(args, ctx_create_rejects_flags)
{
	struct drm_mica_ctx_create c = { .flags = 1 };

	EXPECT_EQ(-EINVAL, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_CTX_CREATE, &c));
}

TEST_F(args, ctx_create_rejects_pad)
{
	struct drm_mica_ctx_create c = { .pad = 1 };

	EXPECT_EQ(-EINVAL, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_CTX_CREATE, &c));
}

TEST_F(args, ctx_create_rejects_unknown_priority)
{
	struct drm_mica_ctx_create c = { .priority = 4 };

	EXPECT_EQ(-EINVAL, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_CTX_CREATE, &c));
}

TEST_F(args, ctx_create_realtime_needs_the_capability)
{
	uint32_t id;
	pid_t pid = fork();
	int status;

	if (!pid) {
		if (setuid(65534))
			_exit(1);
		_exit(mt_ctx_create(self->r.fd, DRM_MICA_PRIORITY_REALTIME, &id) == -EACCES ? 0 : 2);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, mt_ctx_create(self->r.fd, DRM_MICA_PRIORITY_REALTIME, &id));
}

TEST_F(args, ctx_destroy_rejects_pad)
{
	struct drm_mica_ctx_destroy d = { .ctx_id = self->r.ctx, .pad = 1 };

	EXPECT_EQ(-EINVAL, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_CTX_DESTROY, &d));
}

TEST_F(args, ctx_destroy_rejects_unknown_id_and_second_time)
{
	EXPECT_EQ(-ENOENT, mt_ctx_destroy(self->r.fd, 0));
	EXPECT_EQ(-ENOENT, mt_ctx_destroy(self->r.fd, 4711));
	EXPECT_EQ(0, mt_ctx_destroy(self->r.fd, self->r.ctx));
	EXPECT_EQ(-ENOENT, mt_ctx_destroy(self->r.fd, self->r.ctx));
}

TEST_F(args, ctx_create_says_enospc_when_slots_run_out)
{
	struct drm_mica_device_info info;
	uint32_t id, n;
	int ret = 0;

	ASSERT_EQ(0, mt_device_info(self->r.fd, &info));
	for (n = 1; n <= info.max_contexts + 1 && !ret; n++)
		ret = mt_ctx_create(self->r.fd, DRM_MICA_PRIORITY_LOW, &id);
	EXPECT_EQ(-ENOSPC, ret);
	EXPECT_EQ(info.max_contexts + 1, n);
	EXPECT_EQ(0, mt_ctx_destroy(self->r.fd, self->r.ctx));
	EXPECT_EQ(0, mt_ctx_create(self->r.fd, DRM_MICA_PRIORITY_LOW, &id));
}

/* ---- submit ---- */

TEST_F(args, submit_accepts_what_the_others_spoil)
{
	EXPECT_EQ(0, SUBMIT());
	EXPECT_EQ(0, mt_wait(self->r.fd, &self->r.data));
	EXPECT_TRUE(mt_all(self->r.data.map, 256, 0x5a));
}

TEST_F(args, submit_rejects_flags)
{
	struct drm_mica_submit s = {
		.ctx_id = self->r.ctx, .flags = 1, .jobs = mt_ptr(&self->j.job), .job_count = 1,
		.job_stride = sizeof(self->j.job),
	};

	EXPECT_EQ(-EINVAL, mt_ioctl(self->r.fd, DRM_IOCTL_MICA_SUBMIT, &s));
}

TEST_F(args, submit_rejects_unknown_context)
{
	EXPECT_EQ(-ENOENT, mt_submit(self->r.fd, 4711, &self->j));
	EXPECT_EQ(-ENOENT, mt_submit(self->r.fd, 0, &self->j));
}

TEST_F(args, submit_rejects_no_jobs_and_too_many)
{
	EXPECT_EQ(-EINVAL, mt_submit_jobs(self->r.fd, self->r.ctx, &self->j.job, 0, sizeof(self->j.job)));
	EXPECT_EQ(-EINVAL, mt_submit_jobs(self->r.fd, self->r.ctx, &self->j.job, DRM_MICA_MAX_JOBS + 1,
					  sizeof(self->j.job)));
}

TEST_F(args, submit_rejects_small_job_stride)
{
	EXPECT_EQ(-EINVAL, mt_submit_jobs(self->r.fd, self->r.ctx, &self->j.job, 1, sizeof(self->j.job) - 8));
	EXPECT_EQ(-EINVAL, mt_submit_jobs(self->r.fd, self->r.ctx, &self->j.job, 1, 0));
}

TEST_F(args, submit_rejects_bad_pointers)
{
	EXPECT_EQ(-EFAULT, mt_submit_jobs(self->r.fd, self->r.ctx, (void *)8, 1, sizeof(self->j.job)));
	self->j.job.streams = 8;
	EXPECT_EQ(-EFAULT, SUBMIT());
}

TEST_F(args, submit_rejects_job_flags)
{
	self->j.job.flags = 1;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_job_pad)
{
	self->j.job.pad = 1;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_no_streams_and_more_than_cores)
{
	struct drm_mica_device_info info;

	ASSERT_EQ(0, mt_device_info(self->r.fd, &info));
	self->j.job.stream_count = 0;
	EXPECT_EQ(-EINVAL, SUBMIT());
	self->j.job.stream_count = info.cores + 1;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_small_stream_stride)
{
	self->j.job.stream_stride = 8;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_small_segment_stride)
{
	self->j.job.segment_stride = 16;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_small_sync_stride)
{
	ASSERT_EQ(0, mt_syncobj_create(self->r.fd, &self->j.out[0].handle));
	self->j.job.out_sync_count = 1;
	self->j.job.sync_stride = 8;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_takes_larger_strides_with_zeroes)
{
	struct {
		struct drm_mica_segment s;
		uint64_t future;
	} wide = { .s = self->j.segment[0] };

	self->j.job.segments = mt_ptr(&wide);
	self->j.job.segment_stride = sizeof(wide);
	EXPECT_EQ(0, SUBMIT());
	EXPECT_EQ(0, mt_wait(self->r.fd, &self->r.data));
	EXPECT_TRUE(mt_all(self->r.data.map, 256, 0x5a));
	wide.future = 1;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_stream_of_unknown_buffer)
{
	self->j.stream[0].handle = MT_BAD_HANDLE;
	EXPECT_EQ(-ENOENT, SUBMIT());
}

TEST_F(args, submit_rejects_stream_size_0)
{
	self->j.stream[0].size = 0;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_unaligned_stream)
{
	self->j.stream[0].size -= 32;
	EXPECT_EQ(-EINVAL, SUBMIT());
	self->j.stream[0].size += 32;
	self->j.stream[0].offset = 8;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_stream_past_end)
{
	self->j.stream[0].offset = MT_CMD_SIZE - 64;
	self->j.stream[0].size = 128;
	EXPECT_EQ(-EINVAL, SUBMIT());
	self->j.stream[0].offset = ~0ull - 63;
	self->j.stream[0].size = 128;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_segment_past_end)
{
	self->j.segment[0].offset = MT_DATA_SIZE - 16;
	self->j.segment[0].size = 17;
	EXPECT_EQ(-EINVAL, SUBMIT());
	self->j.segment[0].offset = MT_DATA_SIZE + 1;
	self->j.segment[0].size = 1;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_segment_whose_end_overflows)
{
	self->j.segment[0].offset = ~0ull - 63;
	self->j.segment[0].size = 128;
	EXPECT_EQ(-EINVAL, SUBMIT());
	self->j.segment[0].offset = 64;
	self->j.segment[0].size = ~0ull;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_segment_size_0)
{
	self->j.segment[0].size = 0;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_segment_flags)
{
	self->j.segment[0].flags |= 4;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_segment_of_unknown_buffer)
{
	self->j.segment[0].handle = MT_BAD_HANDLE;
	EXPECT_EQ(-ENOENT, SUBMIT());
}

TEST_F(args, submit_rejects_va_segment_with_handle)
{
	self->j.segment[0].flags |= DRM_MICA_SEGMENT_VA;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_too_many_segments)
{
	self->j.job.segment_count = MICA_MAX_SEGMENTS + 1;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_takes_all_zero_segment_as_unused)
{
	self->j.job.segment_count = 2;
	EXPECT_EQ(0, SUBMIT());
	EXPECT_EQ(0, mt_wait(self->r.fd, &self->r.data));
	EXPECT_TRUE(mt_all(self->r.data.map, 256, 0x5a));
}

TEST_F(args, submit_rejects_stats_segment_out_of_range)
{
	self->j.job.stats_segment = 1;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_read_only_stats_segment)
{
	mt_job_segment(&self->j, &self->r.cmd, 0, 4096, 0);
	self->j.job.stats_segment = 1;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_small_stats_segment)
{
	mt_job_segment(&self->j, &self->r.cmd, 0, sizeof(struct mica_job_stats) - 1, DRM_MICA_SEGMENT_WRITE);
	self->j.job.stats_segment = 1;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_sync_flags)
{
	ASSERT_EQ(0, mt_syncobj_create(self->r.fd, &self->j.out[0].handle));
	self->j.job.out_sync_count = 1;
	self->j.out[0].flags = 1;
	EXPECT_EQ(-EINVAL, SUBMIT());
	self->j.job.out_sync_count = 0;
	self->j.job.in_sync_count = 1;
	self->j.in[0] = self->j.out[0];
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_unknown_syncobjs)
{
	mt_job_out(&self->j, MT_BAD_HANDLE, 0);
	EXPECT_EQ(-ENOENT, SUBMIT());
	self->j.job.out_sync_count = 0;
	mt_job_in(&self->j, MT_BAD_HANDLE, 0);
	EXPECT_EQ(-ENOENT, SUBMIT());
}

TEST_F(args, submit_rejects_syncobj_without_fence)
{
	uint32_t sync;

	ASSERT_EQ(0, mt_syncobj_create(self->r.fd, &sync));
	mt_job_in(&self->j, sync, 0);
	EXPECT_EQ(-EINVAL, SUBMIT());
	self->j.in[0].point = 7;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_rejects_too_many_syncs)
{
	self->j.job.in_sync_count = DRM_MICA_MAX_SYNCS + 1;
	EXPECT_EQ(-EINVAL, SUBMIT());
	self->j.job.in_sync_count = 0;
	self->j.job.out_sync_count = DRM_MICA_MAX_SYNCS + 1;
	EXPECT_EQ(-EINVAL, SUBMIT());
}

TEST_F(args, submit_is_all_or_nothing)
{
	struct drm_mica_context_info info;
	struct drm_mica_job jobs[3];
	struct mt_job bad;
	uint32_t sync;

	ASSERT_EQ(0, mt_syncobj_create(self->r.fd, &sync));
	mt_job_out(&self->j, sync, 0);
	bad = self->j;
	mt_job(&bad);
	bad.segment[0].offset = MT_DATA_SIZE;
	jobs[0] = jobs[1] = self->j.job;
	jobs[2] = bad.job;
	EXPECT_EQ(-EINVAL, mt_submit_jobs(self->r.fd, self->r.ctx, jobs, 3, sizeof(jobs[0])));
	EXPECT_EQ(0, mt_syncobj_has_fence(self->r.fd, sync));
	EXPECT_EQ(0, mt_wait(self->r.fd, &self->r.data));
	EXPECT_TRUE(mt_all(self->r.data.map, 256, 0));
	ASSERT_EQ(0, mt_ctx_info(self->r.fd, self->r.ctx, &info));
	EXPECT_EQ(0, info.jobs_done + info.jobs_failed);
}

/* ---- debugfs ---- */

TEST_F(args, inject_reads_each_write_by_itself)
{
	static const char long_text[] = "0 0                                      ";
	char path[384];
	int fd;

	if (mt_debugfs("inject", path, sizeof(path)))
		SKIP(return, "the device has no debug bank");
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(3, write(fd, "0 0", 3));
	EXPECT_EQ(3, write(fd, "0 0", 3));
	EXPECT_EQ(-1, write(fd, "none", 4));
	EXPECT_EQ(-1, write(fd, long_text, sizeof(long_text)));
	EXPECT_EQ(EINVAL, errno);
	close(fd);
}

TEST_HARNESS_MAIN
