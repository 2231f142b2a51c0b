/* SPDX-License-Identifier: MIT */
/*
 * Helpers of the guest tests: raw ioctls, hand-built packets, syncobjs, error injection, module loading. Nothing of
 * libmica is used: these tests are about the kernel's interface. Calls return 0 or -errno.
 */
#ifndef MICA_TEST_H
#define MICA_TEST_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <drm.h>
#include <drm/mica_accel.h>
#include <mica/isa.h>
#include <mica/regs.h>

#include "kselftest_harness.h"

#define MT_SECOND	1000000000ll
#define MT_LONG		(60 * MT_SECOND * mt_slow())	/* "soon" on a slow emulator */
#define MT_BAD_HANDLE	0x7ffffff0u

/* How many times longer than usual everything may take: with a debug kernel, $MICA_SLOW. */
static inline int mt_slow(void)
{
	const char *text = getenv("MICA_SLOW");
	int n = text ? atoi(text) : 1;

	return n > 1 ? n : 1;
}

/* The harness has the limits of all cases in a list before main(). */
static inline void mt_extend_timeouts(void)
{
	struct __fixture_metadata *f;
	struct __test_metadata *t;

	for (f = __fixture_list; f; f = f->next)
		for (t = f->tests; t; t = t->next)
			t->timeout *= mt_slow();
}

#undef TEST_HARNESS_MAIN
#define TEST_HARNESS_MAIN			\
int main(int argc, char **argv)			\
{						\
	mt_extend_timeouts();			\
	return test_harness_run(argc, argv);	\
}

static inline uint64_t mt_ptr(const void *p)
{
	return (uintptr_t)p;
}

static inline int64_t mt_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * MT_SECOND + t.tv_nsec;
}

static inline int mt_ioctl(int fd, unsigned long request, void *arg)
{
	int ret;

	do
		ret = ioctl(fd, request, arg);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

/* ---- Files ---- */

static inline int mt_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;
	int err;

	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	err = n == (ssize_t)strlen(text) ? 0 : -errno;
	close(fd);
	return err;
}

static inline ssize_t mt_read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	while (used < size - 1 && (n = read(fd, buf + used, size - 1 - used)) > 0)
		used += n;
	buf[used] = 0;
	close(fd);
	return used;
}

static inline int mt_copy_file(const char *from, const char *to)
{
	static char buf[1 << 20];
	ssize_t n = mt_read_file(from, buf, sizeof(buf));
	int fd, err = 0;

	if (n < 0)
		return n;
	fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	if (write(fd, buf, n) != n)
		err = -EIO;
	close(fd);
	return err;
}

/* ---- The device ---- */

static inline bool mt_is_mica(int fd)
{
	char name[16] = "";
	struct drm_version v = { .name = name, .name_len = sizeof(name) - 1 };

	return !mt_ioctl(fd, DRM_IOCTL_VERSION, &v) && !strcmp(name, MICA_DRIVER_NAME);
}

/* The first MICA device, or -ENOENT. */
static inline int mt_open(void)
{
	char path[64];
	int i, fd;

	for (i = 0; i < 64; i++) {
		snprintf(path, sizeof(path), "/dev/accel/accel%d", i);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd >= 0 && mt_is_mica(fd))
			return fd;
		if (fd >= 0)
			close(fd);
	}
	return -ENOENT;
}

static inline int mt_device_info(int fd, struct drm_mica_device_info *info)
{
	struct drm_mica_query q = { .type = DRM_MICA_QUERY_DEVICE, .size = sizeof(*info), .data = mt_ptr(info) };

	return mt_ioctl(fd, DRM_IOCTL_MICA_QUERY, &q);
}

static inline int mt_ctx_info(int fd, uint32_t ctx, struct drm_mica_context_info *info)
{
	struct drm_mica_query q = {
		.type = DRM_MICA_QUERY_CONTEXT, .id = ctx, .size = sizeof(*info), .data = mt_ptr(info),
	};

	return mt_ioctl(fd, DRM_IOCTL_MICA_QUERY, &q);
}

/* ---- Buffers and contexts ---- */

struct mt_bo {
	uint32_t handle;
	uint64_t size, va;
	uint8_t *map;
};

static inline int mt_bo_create(int fd, uint64_t size, struct mt_bo *bo)
{
	struct drm_mica_bo_create c = { .size = size };
	int ret = mt_ioctl(fd, DRM_IOCTL_MICA_BO_CREATE, &c);

	*bo = (struct mt_bo){ 0 };
	if (ret)
		return ret;
	bo->handle = c.handle;
	bo->size = c.size;
	bo->va = c.va;
	bo->map = mmap(NULL, c.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, c.mmap_offset);
	return bo->map == MAP_FAILED ? -errno : 0;
}

static inline int mt_gem_close(int fd, uint32_t handle)
{
	struct drm_gem_close c = { .handle = handle };

	return mt_ioctl(fd, DRM_IOCTL_GEM_CLOSE, &c);
}

static inline void mt_bo_destroy(int fd, struct mt_bo *bo)
{
	munmap(bo->map, bo->size);
	mt_gem_close(fd, bo->handle);
}

static inline int mt_bo_wait(int fd, uint32_t handle, uint32_t flags, int64_t timeout)
{
	struct drm_mica_bo_wait w = { .handle = handle, .flags = flags, .timeout_ns = timeout };

	return mt_ioctl(fd, DRM_IOCTL_MICA_BO_WAIT, &w);
}

static inline int mt_ctx_create(int fd, uint32_t priority, uint32_t *id)
{
	struct drm_mica_ctx_create c = { .priority = priority };
	int ret = mt_ioctl(fd, DRM_IOCTL_MICA_CTX_CREATE, &c);

	*id = c.ctx_id;
	return ret;
}

static inline int mt_ctx_destroy(int fd, uint32_t id)
{
	struct drm_mica_ctx_destroy d = { .ctx_id = id };

	return mt_ioctl(fd, DRM_IOCTL_MICA_CTX_DESTROY, &d);
}

/* ---- Syncobjs ---- */

static inline int mt_syncobj_create(int fd, uint32_t *handle)
{
	struct drm_syncobj_create c = { 0 };
	int ret = mt_ioctl(fd, DRM_IOCTL_SYNCOBJ_CREATE, &c);

	*handle = c.handle;
	return ret;
}

/* point 0: binary */
static inline int mt_syncobj_wait(int fd, uint32_t handle, uint64_t point, int64_t timeout)
{
	struct drm_syncobj_timeline_wait t = {
		.handles = mt_ptr(&handle), .points = mt_ptr(&point), .timeout_nsec = timeout, .count_handles = 1,
		.flags = DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL,
	};
	struct drm_syncobj_wait b = {
		.handles = mt_ptr(&handle), .timeout_nsec = timeout, .count_handles = 1,
		.flags = DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL,
	};

	return point ? mt_ioctl(fd, DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, &t) : mt_ioctl(fd, DRM_IOCTL_SYNCOBJ_WAIT, &b);
}

static inline int mt_syncobj_signal(int fd, uint32_t handle)
{
	struct drm_syncobj_array a = { .handles = mt_ptr(&handle), .count_handles = 1 };

	return mt_ioctl(fd, DRM_IOCTL_SYNCOBJ_SIGNAL, &a);
}

/* 0 if the syncobj has no fence yet. */
static inline int mt_syncobj_has_fence(int fd, uint32_t handle)
{
	struct drm_syncobj_handle h = { .handle = handle, .flags = DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE, .fd = -1 };

	if (mt_ioctl(fd, DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &h))
		return 0;
	close(h.fd);
	return 1;
}

/* ---- Packets ---- */

/* A stream that is being written into a buffer. */
struct mt_stream {
	uint8_t *at;
	uint32_t size;
};

static inline void *mt_packet(struct mt_stream *s, uint8_t opcode, size_t size)
{
	struct mica_pkt_hdr *hdr = (void *)(s->at + s->size);

	memset(hdr, 0, size);
	hdr->opcode = opcode;
	hdr->units = size / MICA_PKT_ALIGN;
	s->size += size;
	return hdr;
}

static inline struct mica_pkt_ctl *mt_end(struct mt_stream *s)
{
	return mt_packet(s, MICA_OP_END, sizeof(struct mica_pkt_ctl));
}

static inline struct mica_pkt_ctl *mt_barrier(struct mt_stream *s)
{
	return mt_packet(s, MICA_OP_BARRIER, sizeof(struct mica_pkt_ctl));
}

/* Bytes of LMEM become the pattern's low byte. */
static inline struct mica_pkt_fill *mt_fill(struct mt_stream *s, uint32_t lmem, uint32_t bytes, uint8_t value)
{
	struct mica_pkt_fill *p = mt_packet(s, MICA_OP_FILL, sizeof(*p));

	p->dst = (struct mica_view){ .addr = lmem, .dtype = MICA_U8, .stride = { bytes, bytes, bytes, 1 }, .scale = 1 };
	p->dim[0] = p->dim[1] = p->dim[2] = 1;
	p->dim[3] = bytes;
	p->pattern = value;
	return p;
}

static inline struct mica_pkt_copy *mt_copy(struct mt_stream *s, uint64_t dst, uint64_t src, uint32_t bytes)
{
	struct mica_pkt_copy *p = mt_packet(s, MICA_OP_COPY, sizeof(*p));
	int i;

	p->src = src;
	p->dst = dst;
	p->elem = 1;
	for (i = 0; i < 3; i++) {
		p->dim[i] = 1;
		p->src_stride[i] = p->dst_stride[i] = bytes;
	}
	p->dim[3] = bytes;
	p->src_stride[3] = p->dst_stride[3] = 1;
	return p;
}

#define MT_LMEM(off)	MICA_ADDR(MICA_SEG_LMEM, off)
#define MT_SEG(i)	MICA_ADDR(i, 0)

/* segment `seg` [0, bytes) = value */
static inline void mt_prog_fill(struct mt_stream *s, uint32_t seg, uint32_t bytes, uint8_t value)
{
	mt_fill(s, 0, bytes, value);
	mt_copy(s, MT_SEG(seg), MT_LMEM(0), bytes)->hdr.wait[MICA_ENGINE_VECTOR] = 1;
	mt_end(s);
}

/* segment dst [0, bytes) = segment src [0, bytes), by way of LMEM */
static inline void mt_prog_copy(struct mt_stream *s, uint32_t dst, uint32_t src, uint32_t bytes)
{
	mt_copy(s, MT_LMEM(0), MT_SEG(src), bytes);
	mt_copy(s, MT_SEG(dst), MT_LMEM(0), bytes)->hdr.wait[MICA_ENGINE_LOAD] = 1;
	mt_end(s);
}

/* A job that takes its time: n copies of `bytes` between LMEM and DRAM, one after the other. */
static inline void mt_prog_busy(struct mt_stream *s, uint32_t seg, uint32_t bytes, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		mt_copy(s, MT_SEG(seg), MT_LMEM(0), bytes)->hdr.wait[MICA_ENGINE_STORE] = i;
	mt_end(s);
}

/* ---- Jobs ---- */

#define MT_MAX	8

/* A job whose parts are arrays in here; mt_job() wires them up. */
struct mt_job {
	struct drm_mica_job job;
	struct drm_mica_stream stream[MT_MAX];
	struct drm_mica_segment segment[MT_MAX];
	struct drm_mica_sync in[MT_MAX], out[MT_MAX];
};

static inline void mt_job(struct mt_job *j)
{
	j->job.streams = mt_ptr(j->stream);
	j->job.stream_stride = sizeof(j->stream[0]);
	j->job.segments = mt_ptr(j->segment);
	j->job.segment_stride = sizeof(j->segment[0]);
	j->job.in_syncs = mt_ptr(j->in);
	j->job.out_syncs = mt_ptr(j->out);
	j->job.sync_stride = sizeof(j->in[0]);
	j->job.stats_segment = DRM_MICA_NO_STATS;
}

/* One core runs `bytes` of bo; no segments yet. */
static inline void mt_job_init(struct mt_job *j, const struct mt_bo *bo, uint32_t offset, uint32_t bytes)
{
	memset(j, 0, sizeof(*j));
	mt_job(j);
	j->job.stream_count = 1;
	j->stream[0] = (struct drm_mica_stream){ .handle = bo->handle, .size = bytes, .offset = offset };
}

static inline void mt_job_segment(struct mt_job *j, const struct mt_bo *bo, uint64_t offset, uint64_t size, uint32_t flags)
{
	j->segment[j->job.segment_count++] = (struct drm_mica_segment){
		.handle = bo->handle, .flags = flags, .offset = offset, .size = size,
	};
}

static inline void mt_job_out(struct mt_job *j, uint32_t syncobj, uint64_t point)
{
	j->out[j->job.out_sync_count++] = (struct drm_mica_sync){ .handle = syncobj, .point = point };
}

static inline void mt_job_in(struct mt_job *j, uint32_t syncobj, uint64_t point)
{
	j->in[j->job.in_sync_count++] = (struct drm_mica_sync){ .handle = syncobj, .point = point };
}

static inline int mt_submit_jobs(int fd, uint32_t ctx, struct drm_mica_job *jobs, uint32_t n, uint32_t stride)
{
	struct drm_mica_submit s = { .ctx_id = ctx, .jobs = mt_ptr(jobs), .job_count = n, .job_stride = stride };

	return mt_ioctl(fd, DRM_IOCTL_MICA_SUBMIT, &s);
}

static inline int mt_submit(int fd, uint32_t ctx, struct mt_job *j)
{
	return mt_submit_jobs(fd, ctx, &j->job, 1, sizeof(j->job));
}

/* Waits for a job by the buffers that it uses. */
static inline int mt_wait(int fd, const struct mt_bo *bo)
{
	return mt_bo_wait(fd, bo->handle, 0, mt_now() + MT_LONG);
}

static inline bool mt_all(const uint8_t *p, size_t n, uint8_t value)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (((const volatile uint8_t *)p)[i] != value)
			return false;
	return true;
}

/* ---- Debugfs: error injection ---- */

static inline int mt_debugfs(const char *name, char *path, size_t size)
{
	DIR *dir = opendir("/sys/kernel/debug/accel");
	struct dirent *e;
	int ret = -ENOENT;

	if (!dir)
		return -errno;
	while (ret && (e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, size, "/sys/kernel/debug/accel/%s/%s", e->d_name, name);
		if (!access(path, F_OK))
			ret = 0;
	}
	closedir(dir);
	return ret;
}

/* -ENOENT: the device has no debug bank. */
static inline int mt_inject(uint32_t type, uint32_t arg)
{
	char path[384], text[32];
	int ret = mt_debugfs("inject", path, sizeof(path));

	snprintf(text, sizeof(text), "%u %u", type, arg);
	return ret ? ret : mt_write_file(path, text);
}

/* ---- The module ---- */

/* The device's name below its PCI driver. */
static inline int mt_pci_name(char *name, size_t size)
{
	DIR *dir = opendir("/sys/bus/pci/drivers/mica");
	struct dirent *e;
	int ret = -ENOENT;

	while (dir && (e = readdir(dir))) {
		if (strchr(e->d_name, ':')) {
			snprintf(name, size, "%.63s", e->d_name);
			ret = 0;
		}
	}
	if (dir)
		closedir(dir);
	return ret;
}

static inline int mt_module_path(char *path, size_t size)
{
	char release[128];
	ssize_t n = mt_read_file("/proc/sys/kernel/osrelease", release, sizeof(release));

	if (n <= 0)
		return -ENOENT;
	release[strcspn(release, "\n")] = 0;
	snprintf(path, size, "/lib/modules/%s/mica.ko", release);
	return access(path, R_OK) ? -errno : 0;
}

static inline int mt_load(const char *params)
{
	char path[256];
	int ret = mt_module_path(path, sizeof(path)), fd;

	if (ret)
		return ret;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, params, 0) ? -errno : 0;
	close(fd);
	return ret;
}

/* Somebody who is just closing a file may hold it for a moment. */
static inline int mt_unload(void)
{
	int i, ret = 0;

	for (i = 0; i < 100; i++) {
		ret = syscall(SYS_delete_module, "mica", O_NONBLOCK) ? -errno : 0;
		if (ret != -EAGAIN && ret != -EBUSY)
			break;
		usleep(20000);
	}
	return ret;
}

static inline int mt_reload(const char *params)
{
	int ret = mt_unload();

	return ret && ret != -ENOENT ? ret : mt_load(params);
}

/* ---- A fixture: device, context, a buffer for commands and one for data ---- */

#define MT_CMD_SIZE	(64 * 1024)
#define MT_DATA_SIZE	(64 * 1024)

struct mt_rig {
	int fd;
	uint32_t ctx;
	struct mt_bo cmd, data;
};

static inline int mt_rig_open(struct mt_rig *r)
{
	int ret;

	memset(r, 0, sizeof(*r));
	r->fd = mt_open();
	if (r->fd < 0)
		return r->fd;
	ret = mt_ctx_create(r->fd, DRM_MICA_PRIORITY_NORMAL, &r->ctx);
	if (!ret)
		ret = mt_bo_create(r->fd, MT_CMD_SIZE, &r->cmd);
	if (!ret)
		ret = mt_bo_create(r->fd, MT_DATA_SIZE, &r->data);
	return ret;
}

/* Mappings hold the file too. */
static inline void mt_rig_close(struct mt_rig *r)
{
	if (r->fd < 0)
		return;
	if (r->cmd.map)
		munmap(r->cmd.map, r->cmd.size);
	if (r->data.map)
		munmap(r->data.map, r->data.size);
	close(r->fd);
	r->fd = -1;
}

/* A job that fills the data buffer's first `bytes` with value; its commands go to `offset` of the command buffer. */
static inline void mt_rig_fill_job(struct mt_rig *r, struct mt_job *j, uint32_t offset, uint32_t bytes, uint8_t value)
{
	struct mt_stream s = { .at = r->cmd.map + offset };

	mt_prog_fill(&s, 0, bytes, value);
	mt_job_init(j, &r->cmd, offset, s.size);
	mt_job_segment(j, &r->data, 0, MT_DATA_SIZE, DRM_MICA_SEGMENT_WRITE);
}

/* END, and nothing else. */
static inline void mt_rig_null_job(struct mt_rig *r, struct mt_job *j)
{
	struct mt_stream s = { .at = r->cmd.map };

	mt_end(&s);
	mt_job_init(j, &r->cmd, 0, s.size);
}

#endif /* MICA_TEST_H */
