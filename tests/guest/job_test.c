// SPDX-License-Identifier: MIT
/* Jobs: results, order, syncobjs, statistics, faults, isolation, accounting. */
#include "mica_test.h"

FIXTURE(job)
{
	struct mt_rig r;
	struct mt_job j;
	uint32_t sync;
};

FIXTURE_SETUP(job)
{
	int ret = mt_rig_open(&self->r);

	if (ret == -ENOENT)
		SKIP(return, "no MICA device");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, mt_syncobj_create(self->r.fd, &self->sync));
}

FIXTURE_TEARDOWN(job)
{
	mt_rig_close(&self->r);
}

#define SUBMIT(j)	mt_submit(self->r.fd, self->r.ctx, j)
#define WAIT()		mt_wait(self->r.fd, &self->r.data)

/* Submits, waits by the syncobj, and returns the context's info. */
static int run(struct mt_rig *r, uint32_t sync, struct mt_job *j, struct drm_mica_context_info *info)
{
	int ret;

	mt_job_out(j, sync, 0);
	ret = mt_submit(r->fd, r->ctx, j);
	if (!ret)
		ret = mt_syncobj_wait(r->fd, sync, 0, mt_now() + MT_LONG);
	return ret ? ret : mt_ctx_info(r->fd, r->ctx, info);
}

/* ---- results ---- */

TEST_F(job, null_job_completes)
{
	struct drm_mica_context_info info;

	mt_rig_null_job(&self->r, &self->j);
	ASSERT_EQ(0, run(&self->r, self->sync, &self->j, &info));
	EXPECT_EQ(1, info.jobs_done);
	EXPECT_EQ(0, info.jobs_failed);
}

TEST_F(job, fill_writes_the_segment)
{
	mt_rig_fill_job(&self->r, &self->j, 0, 10000, 0xab);
	ASSERT_EQ(0, SUBMIT(&self->j));
	ASSERT_EQ(0, WAIT());
	EXPECT_TRUE(mt_all(self->r.data.map, 10000, 0xab));
	EXPECT_TRUE(mt_all(self->r.data.map + 10000, 100, 0));
}

TEST_F(job, copy_moves_data_by_way_of_lmem)
{
	struct mt_stream s = { .at = self->r.cmd.map };
	struct mt_bo src;
	int i;

	ASSERT_EQ(0, mt_bo_create(self->r.fd, 65536, &src));
	for (i = 0; i < 65536; i++)
		src.map[i] = i * 7 + i / 256;
	mt_prog_copy(&s, 1, 0, 65536);
	mt_job_init(&self->j, &self->r.cmd, 0, s.size);
	mt_job_segment(&self->j, &src, 0, 65536, 0);
	mt_job_segment(&self->j, &self->r.data, 0, 65536, DRM_MICA_SEGMENT_WRITE);
	ASSERT_EQ(0, SUBMIT(&self->j));
	ASSERT_EQ(0, WAIT());
	EXPECT_EQ(0, memcmp(src.map, self->r.data.map, 65536));
}

TEST_F(job, two_cores_run_one_job)
{
	struct drm_mica_device_info dev;
	struct mt_stream a = { .at = self->r.cmd.map }, b = { .at = self->r.cmd.map + 4096 };

	ASSERT_EQ(0, mt_device_info(self->r.fd, &dev));
	if (dev.cores < 2)
		SKIP(return, "one core");
	mt_prog_fill(&a, 0, 4096, 1);
	mt_prog_fill(&b, 1, 4096, 2);
	mt_job_init(&self->j, &self->r.cmd, 0, a.size);
	self->j.stream[1] = (struct drm_mica_stream){ .handle = self->r.cmd.handle, .size = b.size, .offset = 4096 };
	self->j.job.stream_count = 2;
	mt_job_segment(&self->j, &self->r.data, 0, 4096, DRM_MICA_SEGMENT_WRITE);
	mt_job_segment(&self->j, &self->r.data, 4096, 4096, DRM_MICA_SEGMENT_WRITE);
	ASSERT_EQ(0, SUBMIT(&self->j));
	ASSERT_EQ(0, WAIT());
	EXPECT_TRUE(mt_all(self->r.data.map, 4096, 1));
	EXPECT_TRUE(mt_all(self->r.data.map + 4096, 4096, 2));
}

TEST_F(job, stats_segment_receives_what_the_job_did)
{
	struct drm_mica_context_info info;
	struct mica_job_stats stats;

	mt_rig_fill_job(&self->r, &self->j, 0, 8192, 1);
	mt_job_segment(&self->j, &self->r.cmd, 32768, 4096, DRM_MICA_SEGMENT_WRITE);
	self->j.job.stats_segment = 1;
	ASSERT_EQ(0, run(&self->r, self->sync, &self->j, &info));
	memcpy(&stats, self->r.cmd.map + 32768, sizeof(stats));
	EXPECT_EQ(1, stats.cores);
	EXPECT_GE(stats.packets, 2);
	EXPECT_EQ(8192, stats.dram_write_bytes);
	EXPECT_GT(stats.cycles, 8192 / 64 / 2);
}

TEST_F(job, cycles_are_the_same_every_time)
{
	struct drm_mica_context_info info;
	struct mica_job_stats stats;
	uint64_t first = 0;
	int i;

	for (i = 0; i < 5; i++) {
		mt_rig_fill_job(&self->r, &self->j, 0, 8192, 1);
		mt_job_segment(&self->j, &self->r.cmd, 32768, 4096, DRM_MICA_SEGMENT_WRITE);
		self->j.job.stats_segment = 1;
		ASSERT_EQ(0, run(&self->r, self->sync, &self->j, &info));
		memcpy(&stats, self->r.cmd.map + 32768, sizeof(stats));
		if (!i)
			first = stats.cycles;
		EXPECT_EQ(first, stats.cycles);
	}
}

/* ---- order ---- */

TEST_F(job, jobs_of_a_context_run_in_order)
{
	struct mt_job jobs[20];
	int i;

	for (i = 0; i < 20; i++) {
		mt_rig_fill_job(&self->r, &jobs[i], i * 1024, 4096, i + 1);
		ASSERT_EQ(0, SUBMIT(&jobs[i]));
	}
	ASSERT_EQ(0, WAIT());
	EXPECT_TRUE(mt_all(self->r.data.map, 4096, 20));
}

TEST_F(job, one_submission_of_32_jobs_runs_in_order)
{
	struct drm_mica_job list[DRM_MICA_MAX_JOBS];
	struct mt_job jobs[DRM_MICA_MAX_JOBS];
	int i;

	for (i = 0; i < DRM_MICA_MAX_JOBS; i++) {
		mt_rig_fill_job(&self->r, &jobs[i], i * 1024, 4096, i + 1);
		if (i == DRM_MICA_MAX_JOBS - 1)
			mt_job_out(&jobs[i], self->sync, 0);
		list[i] = jobs[i].job;
	}
	ASSERT_EQ(0, mt_submit_jobs(self->r.fd, self->r.ctx, list, DRM_MICA_MAX_JOBS, sizeof(list[0])));
	ASSERT_EQ(0, mt_syncobj_wait(self->r.fd, self->sync, 0, mt_now() + MT_LONG));
	EXPECT_TRUE(mt_all(self->r.data.map, 4096, DRM_MICA_MAX_JOBS));
}

TEST_F(job, more_jobs_than_the_ring_holds_all_run)
{
	struct drm_mica_context_info info;
	int i;

	mt_rig_null_job(&self->r, &self->j);
	for (i = 0; i < 299; i++)
		ASSERT_EQ(0, SUBMIT(&self->j));
	ASSERT_EQ(0, run(&self->r, self->sync, &self->j, &info));
	EXPECT_EQ(300, info.jobs_done);
}

/* Two contexts, the second fills the same buffer: the kernel orders them by the buffer (implicit), as both write it. */
TEST_F(job, writers_of_a_buffer_are_ordered_across_contexts)
{
	struct mt_stream s = { .at = self->r.cmd.map };
	struct mt_job slow, quick;
	uint32_t other;

	ASSERT_EQ(0, mt_ctx_create(self->r.fd, DRM_MICA_PRIORITY_HIGH, &other));
	mt_fill(&s, 0, 32768, 1);
	mt_copy(&s, MT_SEG(0), MT_LMEM(0), 32768)->hdr.wait[MICA_ENGINE_VECTOR] = 1;
	mt_prog_busy(&s, 0, 32768, 100);
	mt_job_init(&slow, &self->r.cmd, 0, s.size);
	mt_job_segment(&slow, &self->r.data, 0, MT_DATA_SIZE, DRM_MICA_SEGMENT_WRITE);
	mt_rig_fill_job(&self->r, &quick, 32768, 32768, 2);
	ASSERT_EQ(0, SUBMIT(&slow));
	ASSERT_EQ(0, mt_submit(self->r.fd, other, &quick));
	ASSERT_EQ(0, WAIT());
	EXPECT_TRUE(mt_all(self->r.data.map, 32768, 2));
}

/* The data is reached by its address, so that only the syncobj orders the jobs. */
static void by_address(struct mt_rig *r, struct mt_job *j)
{
	j->segment[0] = (struct drm_mica_segment){
		.flags = DRM_MICA_SEGMENT_WRITE | DRM_MICA_SEGMENT_VA, .offset = r->data.va, .size = MT_DATA_SIZE,
	};
}

static int ordered_by(struct mt_rig *r, uint32_t sync, uint64_t point)
{
	struct mt_stream s = { .at = r->cmd.map };
	struct mt_job slow, quick;
	uint32_t other = 0, done = 0;
	int ret;

	ret = mt_ctx_create(r->fd, DRM_MICA_PRIORITY_HIGH, &other);
	if (!ret)
		ret = mt_syncobj_create(r->fd, &done);
	mt_fill(&s, 0, 32768, 1);
	mt_copy(&s, MT_SEG(0), MT_LMEM(0), 32768)->hdr.wait[MICA_ENGINE_VECTOR] = 1;
	mt_prog_busy(&s, 0, 32768, 100);
	mt_job_init(&slow, &r->cmd, 0, s.size);
	mt_job_segment(&slow, &r->data, 0, MT_DATA_SIZE, DRM_MICA_SEGMENT_WRITE);
	by_address(r, &slow);
	mt_job_out(&slow, sync, point);
	mt_rig_fill_job(r, &quick, 32768, 32768, 2);
	by_address(r, &quick);
	mt_job_in(&quick, sync, point);
	mt_job_out(&quick, done, 0);
	if (!ret)
		ret = mt_submit(r->fd, r->ctx, &slow);
	if (!ret)
		ret = mt_submit(r->fd, other, &quick);
	if (!ret)
		ret = mt_syncobj_wait(r->fd, done, 0, mt_now() + MT_LONG);
	return ret;
}

TEST_F(job, binary_syncobj_orders_jobs_of_two_contexts)
{
	ASSERT_EQ(0, ordered_by(&self->r, self->sync, 0));
	EXPECT_TRUE(mt_all(self->r.data.map, 32768, 2));
}

TEST_F(job, timeline_syncobj_orders_jobs_of_two_contexts)
{
	ASSERT_EQ(0, ordered_by(&self->r, self->sync, 5));
	EXPECT_TRUE(mt_all(self->r.data.map, 32768, 2));
}

TEST_F(job, timeline_points_signal_one_after_another)
{
	uint64_t value = 0, handles = mt_ptr(&self->sync);
	struct drm_syncobj_timeline_array query = { .handles = handles, .points = mt_ptr(&value), .count_handles = 1 };
	int i;

	for (i = 1; i <= 10; i++) {
		mt_rig_null_job(&self->r, &self->j);
		mt_job_out(&self->j, self->sync, i);
		ASSERT_EQ(0, SUBMIT(&self->j));
	}
	for (i = 1; i <= 10; i++)
		EXPECT_EQ(0, mt_syncobj_wait(self->r.fd, self->sync, i, mt_now() + MT_LONG));
	ASSERT_EQ(0, mt_ioctl(self->r.fd, DRM_IOCTL_SYNCOBJ_QUERY, &query));
	EXPECT_EQ(10, value);
}

TEST_F(job, syncobj_signalled_by_the_cpu_is_a_dependency_that_is_met)
{
	ASSERT_EQ(0, mt_syncobj_signal(self->r.fd, self->sync));
	mt_rig_fill_job(&self->r, &self->j, 0, 64, 9);
	mt_job_in(&self->j, self->sync, 0);
	ASSERT_EQ(0, SUBMIT(&self->j));
	ASSERT_EQ(0, WAIT());
	EXPECT_EQ(9, self->r.data.map[0]);
}

TEST_F(job, syncobj_wait_runs_out_with_etime)
{
	struct mt_stream s = { .at = self->r.cmd.map };
	struct drm_mica_job jobs[20];
	int i;

	mt_prog_busy(&s, 0, 65536, 400);
	mt_job_init(&self->j, &self->r.cmd, 0, s.size);
	mt_job_segment(&self->j, &self->r.data, 0, MT_DATA_SIZE, DRM_MICA_SEGMENT_WRITE);
	mt_job_out(&self->j, self->sync, 0);
	for (i = 0; i < 20; i++)
		jobs[i] = self->j.job;
	/* At once: on a slow kernel the device ends them one by one as fast as they come. */
	ASSERT_EQ(0, mt_submit_jobs(self->r.fd, self->r.ctx, jobs, 20, sizeof(jobs[0])));
	EXPECT_EQ(-ETIME, mt_syncobj_wait(self->r.fd, self->sync, 0, mt_now() + 1000));
	EXPECT_EQ(0, mt_syncobj_wait(self->r.fd, self->sync, 0, mt_now() + MT_LONG));
}

/* ---- faults ---- */

TEST_F(job, corrupt_packet_faults_with_its_offset)
{
	struct drm_mica_context_info info;
	struct mt_stream s = { .at = self->r.cmd.map };

	mt_fill(&s, 0, 64, 1);
	mt_packet(&s, 0xee, 64);
	mt_end(&s);
	mt_job_init(&self->j, &self->r.cmd, 0, s.size);
	ASSERT_EQ(0, run(&self->r, self->sync, &self->j, &info));
	EXPECT_EQ(0, info.jobs_done);
	EXPECT_EQ(1, info.jobs_failed);
	EXPECT_EQ(MICA_FAULT_PACKET, info.last_fault);
	EXPECT_EQ(sizeof(struct mica_pkt_fill), info.fault_packet);
	EXPECT_NE(0, info.fault_info);
	EXPECT_EQ(0, info.flags);
}

TEST_F(job, stream_without_end_faults)
{
	struct drm_mica_context_info info;
	struct mt_stream s = { .at = self->r.cmd.map };

	mt_fill(&s, 0, 64, 1);
	mt_job_init(&self->j, &self->r.cmd, 0, s.size);
	ASSERT_EQ(0, run(&self->r, self->sync, &self->j, &info));
	EXPECT_EQ(MICA_FAULT_STREAM, info.last_fault);
}

TEST_F(job, write_to_a_read_only_segment_faults)
{
	struct drm_mica_context_info info;

	mt_rig_fill_job(&self->r, &self->j, 0, 256, 1);
	self->j.segment[0].flags = 0;
	ASSERT_EQ(0, run(&self->r, self->sync, &self->j, &info));
	EXPECT_EQ(1, info.jobs_failed);
	EXPECT_TRUE(mt_all(self->r.data.map, 256, 0));
}

TEST_F(job, access_past_the_segment_faults)
{
	struct drm_mica_context_info info;

	mt_rig_fill_job(&self->r, &self->j, 0, 4096, 1);
	self->j.segment[0].size = 4095;
	ASSERT_EQ(0, run(&self->r, self->sync, &self->j, &info));
	EXPECT_EQ(1, info.jobs_failed);
	EXPECT_TRUE(mt_all(self->r.data.map, 4096, 0));
}

TEST_F(job, access_to_an_unused_segment_faults)
{
	struct drm_mica_context_info info;

	mt_rig_fill_job(&self->r, &self->j, 0, 256, 1);
	memset(&self->j.segment[0], 0, sizeof(self->j.segment[0]));
	ASSERT_EQ(0, run(&self->r, self->sync, &self->j, &info));
	EXPECT_EQ(1, info.jobs_failed);
}

TEST_F(job, barriers_that_do_not_match_fault)
{
	struct drm_mica_context_info info;
	struct drm_mica_device_info dev;
	struct mt_stream a = { .at = self->r.cmd.map }, b = { .at = self->r.cmd.map + 4096 };

	ASSERT_EQ(0, mt_device_info(self->r.fd, &dev));
	if (dev.cores < 2)
		SKIP(return, "one core");
	mt_barrier(&a);
	mt_end(&a);
	mt_end(&b);
	mt_job_init(&self->j, &self->r.cmd, 0, a.size);
	self->j.stream[1] = (struct drm_mica_stream){ .handle = self->r.cmd.handle, .size = b.size, .offset = 4096 };
	self->j.job.stream_count = 2;
	ASSERT_EQ(0, run(&self->r, self->sync, &self->j, &info));
	EXPECT_EQ(1, info.jobs_failed);
	EXPECT_EQ(MICA_FAULT_BARRIER, info.last_fault);
}

TEST_F(job, unmapped_address_faults_and_is_named)
{
	struct drm_mica_context_info info;

	mt_rig_fill_job(&self->r, &self->j, 0, 256, 1);
	self->j.segment[0] = (struct drm_mica_segment){
		.flags = DRM_MICA_SEGMENT_WRITE | DRM_MICA_SEGMENT_VA, .offset = 0x7000000000, .size = 4096,
	};
	ASSERT_EQ(0, run(&self->r, self->sync, &self->j, &info));
	EXPECT_EQ(MICA_FAULT_MMU, info.last_fault);
	EXPECT_EQ(0x7000000000, info.fault_addr & ~0xfffull);
}

TEST_F(job, context_goes_on_after_a_fault)
{
	struct drm_mica_context_info info;
	struct mt_stream s = { .at = self->r.cmd.map };
	struct mt_job good;

	mt_packet(&s, 0xee, 64);
	mt_job_init(&self->j, &self->r.cmd, 0, s.size);
	mt_rig_fill_job(&self->r, &good, 4096, 256, 3);
	ASSERT_EQ(0, SUBMIT(&self->j));
	ASSERT_EQ(0, run(&self->r, self->sync, &good, &info));
	EXPECT_EQ(1, info.jobs_failed);
	EXPECT_EQ(1, info.jobs_done);
	EXPECT_TRUE(mt_all(self->r.data.map, 256, 3));
}

TEST_F(job, fence_of_a_faulting_job_carries_eio)
{
	struct drm_syncobj_handle h = { .flags = DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE, .fd = -1 };
	struct drm_mica_context_info info;
	struct mt_stream s = { .at = self->r.cmd.map };
	struct { char name[32]; int32_t status; uint32_t flags, num_fences, pad; uint64_t fences; } file = { 0 };

	mt_packet(&s, 0xee, 64);
	mt_job_init(&self->j, &self->r.cmd, 0, s.size);
	ASSERT_EQ(0, run(&self->r, self->sync, &self->j, &info));
	h.handle = self->sync;
	ASSERT_EQ(0, mt_ioctl(self->r.fd, DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &h));
	ASSERT_EQ(0, mt_ioctl(h.fd, _IOWR('>', 4, file), &file));	/* SYNC_IOC_FILE_INFO */
	EXPECT_EQ(-EIO, file.status);
	close(h.fd);
}

/* ---- isolation ---- */

TEST_F(job, address_of_another_process_faults_and_the_neighbour_stays_right)
{
	struct drm_mica_context_info info;
	struct mt_rig other;
	struct mt_bo secret;
	struct mt_stream s;
	struct mt_job j, mine;

	/* The neighbour has a buffer at an address where we have none. */
	ASSERT_EQ(0, mt_rig_open(&other));
	ASSERT_EQ(0, mt_bo_create(other.fd, 4 << 20, &secret));
	memset(secret.map, 0x11, secret.size);
	ASSERT_GT(secret.va, self->r.data.va + MT_DATA_SIZE);

	s = (struct mt_stream){ .at = other.cmd.map };
	mt_prog_copy(&s, 1, 0, 4096);
	mt_job_init(&j, &other.cmd, 0, s.size);
	mt_job_segment(&j, &secret, 0, secret.size, 0);
	mt_job_segment(&j, &other.data, 0, MT_DATA_SIZE, DRM_MICA_SEGMENT_WRITE);
	ASSERT_EQ(0, mt_submit(other.fd, other.ctx, &j));

	mt_rig_fill_job(&self->r, &mine, 0, 4096, 0xff);
	mine.segment[0] = (struct drm_mica_segment){
		.flags = DRM_MICA_SEGMENT_WRITE | DRM_MICA_SEGMENT_VA, .offset = secret.va, .size = 4096,
	};
	ASSERT_EQ(0, run(&self->r, self->sync, &mine, &info));
	EXPECT_EQ(MICA_FAULT_MMU, info.last_fault);
	ASSERT_EQ(0, mt_wait(other.fd, &other.data));
	EXPECT_TRUE(mt_all(secret.map, 4096, 0x11));
	EXPECT_TRUE(mt_all(other.data.map, 4096, 0x11));
	mt_rig_close(&other);
}

TEST_F(job, context_of_another_file_is_unknown)
{
	struct mt_rig other;

	ASSERT_EQ(0, mt_rig_open(&other));
	ASSERT_EQ(0, mt_ctx_destroy(other.fd, other.ctx));
	mt_rig_null_job(&other, &self->j);
	EXPECT_EQ(-ENOENT, mt_submit(other.fd, self->r.ctx, &self->j));
	mt_rig_close(&other);
}

/* ---- contexts ---- */

TEST_F(job, destroying_a_context_cancels_its_jobs_and_no_others)
{
	struct mt_stream s = { .at = self->r.cmd.map };
	struct mt_job good;
	uint32_t other;
	int i;

	ASSERT_EQ(0, mt_ctx_create(self->r.fd, DRM_MICA_PRIORITY_NORMAL, &other));
	mt_prog_busy(&s, 0, 65536, 300);
	mt_job_init(&self->j, &self->r.cmd, 0, s.size);
	mt_job_segment(&self->j, &self->r.data, 0, MT_DATA_SIZE, DRM_MICA_SEGMENT_WRITE);
	for (i = 0; i < 100; i++) {
		self->j.job.out_sync_count = 0;
		mt_job_out(&self->j, self->sync, 0);
		ASSERT_EQ(0, mt_submit(self->r.fd, other, &self->j));
	}
	EXPECT_EQ(0, mt_ctx_destroy(self->r.fd, other));
	EXPECT_EQ(0, mt_syncobj_wait(self->r.fd, self->sync, 0, mt_now() + MT_LONG));
	mt_rig_fill_job(&self->r, &good, 61440, 256, 8);
	ASSERT_EQ(0, SUBMIT(&good));
	ASSERT_EQ(0, WAIT());
	EXPECT_TRUE(mt_all(self->r.data.map, 256, 8));
}

TEST_F(job, contexts_of_every_priority_make_progress)
{
	struct mt_job jobs[4][10];
	uint32_t ctx[4], sync[4];
	int p, i;

	for (p = 0; p < 4; p++) {
		ASSERT_EQ(0, mt_ctx_create(self->r.fd, p, &ctx[p]));
		ASSERT_EQ(0, mt_syncobj_create(self->r.fd, &sync[p]));
	}
	for (i = 0; i < 10; i++) {
		for (p = 0; p < 4; p++) {
			mt_rig_null_job(&self->r, &jobs[p][i]);
			mt_job_out(&jobs[p][i], sync[p], i + 1);
			ASSERT_EQ(0, mt_submit(self->r.fd, ctx[p], &jobs[p][i]));
		}
	}
	for (p = 0; p < 4; p++)
		EXPECT_EQ(0, mt_syncobj_wait(self->r.fd, sync[p], 10, mt_now() + MT_LONG));
}

/* ---- accounting ---- */

TEST_F(job, fdinfo_tells_engine_time_and_memory)
{
	char path[64], text[4096], *p;
	unsigned long long ns = 0;
	struct mt_stream s = { .at = self->r.cmd.map };

	mt_prog_busy(&s, 0, 65536, 200);
	mt_job_init(&self->j, &self->r.cmd, 0, s.size);
	mt_job_segment(&self->j, &self->r.data, 0, MT_DATA_SIZE, DRM_MICA_SEGMENT_WRITE);
	ASSERT_EQ(0, SUBMIT(&self->j));
	ASSERT_EQ(0, WAIT());
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->r.fd);
	ASSERT_GT(mt_read_file(path, text, sizeof(text)), 0);
	EXPECT_NE(NULL, strstr(text, "drm-driver:\tmica"));
	EXPECT_NE(NULL, strstr(text, "drm-client-id:"));
	EXPECT_NE(NULL, strstr(text, "drm-total-memory:"));
	EXPECT_NE(NULL, strstr(text, "drm-engine-capacity-mica:"));
	p = strstr(text, "drm-engine-mica:");
	ASSERT_NE(NULL, p);
	ASSERT_EQ(1, sscanf(p, "drm-engine-mica: %llu ns", &ns));
	EXPECT_GT(ns, 0);
}

TEST_F(job, debugfs_files_can_be_read)
{
	static const char *const names[] = { "fw_log", "fw_telemetry", "regs", "rings", "contexts" };
	static char text[65536];
	char path[384];
	unsigned int i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		ASSERT_EQ(0, mt_debugfs(names[i], path, sizeof(path)));
		EXPECT_GT(mt_read_file(path, text, sizeof(text)), 0);
	}
}

TEST_F(job, hwmon_tells_temperature_and_power)
{
	char path[128], text[64];
	int i, found = 0;

	for (i = 0; i < 16 && !found; i++) {
		snprintf(path, sizeof(path), "/sys/class/hwmon/hwmon%d/name", i);
		found = mt_read_file(path, text, sizeof(text)) > 0 && !strcmp(text, "mica\n");
	}
	if (!found)
		SKIP(return, "no hwmon");
	snprintf(path, sizeof(path), "/sys/class/hwmon/hwmon%d/temp1_input", i - 1);
	EXPECT_GT(mt_read_file(path, text, sizeof(text)), 0);
	snprintf(path, sizeof(path), "/sys/class/hwmon/hwmon%d/power1_input", i - 1);
	EXPECT_GT(mt_read_file(path, text, sizeof(text)), 0);
}

TEST_HARNESS_MAIN
