/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT */
/*
 * The MICA accel driver's interface to user space: ioctls of /dev/accel/accelN and its io_uring
 * command.
 *
 * Rules of evolution: a struct only grows at its end, and an old size means zeroes; flags, pads
 * and reserved fields that are not defined must be zero and are refused otherwise (EINVAL); arrays
 * carry their element's stride, a multiple of 8 up to 4096. Fields marked out are ignored on the
 * way in. Pointers to user memory are __u64. Timeouts are absolute, CLOCK_MONOTONIC, nanoseconds.
 *
 * Errors by meaning: EINVAL argument, EFAULT pointer, ENOENT no such handle, context or syncobj,
 * ENODEV the device is gone, EIO it is wedged or the job faulted, ETIME a wait ran out, ECANCELED
 * the context lost its work in a reset, ENOSPC no context slot or address space left, ENOMEM.
 */
#ifndef _UAPI_DRM_MICA_ACCEL_H
#define _UAPI_DRM_MICA_ACCEL_H

#include "drm.h"
#ifndef __KERNEL__
#include <stddef.h>
#endif

#if defined(__cplusplus)
extern "C" {
#endif

#define MICA_DRIVER_NAME	"mica"
#define MICA_DRIVER_MAJOR	1
#define MICA_DRIVER_MINOR	0

#define DRM_MICA_QUERY		0x00
#define DRM_MICA_BO_CREATE	0x01
#define DRM_MICA_BO_INFO	0x02
#define DRM_MICA_BO_WAIT	0x03
#define DRM_MICA_CTX_CREATE	0x04
#define DRM_MICA_CTX_DESTROY	0x05
#define DRM_MICA_SUBMIT		0x06

/*
 * QUERY: fills the struct of `type` at data, at most `size` bytes; size returns the whole struct's
 * size. data 0 asks for the size.
 */
#define DRM_MICA_QUERY_DEVICE	0	/* struct drm_mica_device_info */
#define DRM_MICA_QUERY_CONTEXT	1	/* struct drm_mica_context_info, `id` = context */
struct drm_mica_query {
	__u32 type;
	__u32 id;
	__u32 size;
	__u32 pad;
	__u64 data;
};

struct drm_mica_device_info {
	__u32 hw_version;
	__u32 fw_version;
	__u32 fw_abi;
	__u32 isa_version;
	__u32 cores;
	__u32 lmem_size;		/* bytes per core */
	__u32 mac_rows;
	__u32 mac_cols;
	__u32 vector_lanes;
	__u32 dram_bytes_per_cycle;
	__u32 clock_khz;
	__u32 features;			/* MICA_FEATURES_* of mica/regs.h */
	__u32 max_segments;
	__u32 max_contexts;
	__u32 resets;			/* device resets since the driver was bound */
	__u32 pad;
	__u64 va_start;			/* device address range of buffers */
	__u64 va_end;
};

struct drm_mica_context_info {
	__u32 flags;			/* DRM_MICA_CONTEXT_* */
	__u32 pad;
	__u64 jobs_done;
	__u64 jobs_failed;
	__u32 last_fault;		/* MICA_FAULT_* of mica/regs.h, of the last failed job */
	__u32 fault_core;
	__u64 fault_addr;
	__u32 fault_packet;		/* byte offset in that core's stream */
	__u32 fault_info;
};

#define DRM_MICA_CONTEXT_LOST	(1 << 0)	/* guilty of a reset: further submissions fail with ECANCELED */

/*
 * BO_CREATE: page-aligned memory, zeroed, mapped into this file's device address space until the
 * handle is closed.
 */
struct drm_mica_bo_create {
	__u64 size;			/* in: bytes, rounded up to pages on return */
	__u32 flags;			/* 0 */
	__u32 handle;			/* out */
	__u64 mmap_offset;		/* out: for mmap() of the device file */
	__u64 va;			/* out: device address */
};

/* BO_INFO: the same for any handle, also imported ones. */
struct drm_mica_bo_info {
	__u32 handle;
	__u32 pad;
	__u64 size;
	__u64 mmap_offset;		/* 0 for imported buffers: map the dma-buf */
	__u64 va;
};

/*
 * BO_WAIT: until all jobs that use the buffer have ended (WRITE: only those that write it). ETIME
 * when the time is over.
 */
#define DRM_MICA_BO_WAIT_WRITE	(1 << 0)
struct drm_mica_bo_wait {
	__u32 handle;
	__u32 flags;
	__s64 timeout_ns;
};

/* A context is a queue: its jobs run in order. Contexts of one file share its address space. */
#define DRM_MICA_PRIORITY_LOW		0
#define DRM_MICA_PRIORITY_NORMAL	1
#define DRM_MICA_PRIORITY_HIGH		2
#define DRM_MICA_PRIORITY_REALTIME	3	/* CAP_SYS_NICE, else EACCES */
struct drm_mica_ctx_create {
	__u32 priority;
	__u32 flags;			/* 0 */
	__u32 ctx_id;			/* out, >= 1 */
	__u32 pad;
};

/* CTX_DESTROY cancels the context's jobs (ECANCELED). */
struct drm_mica_ctx_destroy {
	__u32 ctx_id;
	__u32 pad;
};

/*
 * One stream of commands per core. The range must lie within the buffer; offset and size are
 * multiples of 64.
 */
struct drm_mica_stream {
	__u32 handle;
	__u32 size;
	__u64 offset;
};

/*
 * A memory range that commands name by its index (MICA_SEG_* of mica/isa.h). An entry of all
 * zeroes is an index that the job does not use: any access to it faults. Every other entry of size
 * 0 is refused.
 */
#define DRM_MICA_SEGMENT_WRITE	(1 << 0)	/* commands may write it */
/* handle 0, offset is a device address: not checked, kept alive or synchronized; the MMU decides */
#define DRM_MICA_SEGMENT_VA	(1 << 1)
struct drm_mica_segment {
	__u32 handle;
	__u32 flags;
	__u64 offset;
	__u64 size;
};

struct drm_mica_sync {
	__u32 handle;			/* syncobj */
	__u32 flags;			/* 0 */
	__u64 point;			/* 0: binary */
};

#define DRM_MICA_NO_STATS	0xffffffffu
struct drm_mica_job {
	__u64 streams;			/* struct drm_mica_stream[stream_count] */
	__u64 segments;			/* struct drm_mica_segment[segment_count] */
	__u64 in_syncs;			/* struct drm_mica_sync[]: the job waits for these */
	__u64 out_syncs;		/* struct drm_mica_sync[]: signalled when it ends, also on error */
	__u32 stream_count;		/* cores used, 1..cores */
	__u32 stream_stride;
	__u32 segment_count;		/* 0..max_segments */
	__u32 segment_stride;
	__u32 in_sync_count;
	__u32 out_sync_count;
	__u32 sync_stride;
	__u32 stats_segment;		/* writable segment that receives struct mica_job_stats, or DRM_MICA_NO_STATS */
	__u32 flags;			/* 0 */
	__u32 pad;
};

/* SUBMIT: all jobs are queued, in order, or none is. */
struct drm_mica_submit {
	__u32 ctx_id;
	__u32 flags;			/* 0 */
	__u64 jobs;			/* struct drm_mica_job[job_count] */
	__u32 job_count;		/* 1..DRM_MICA_MAX_JOBS */
	__u32 job_stride;
};

#define DRM_MICA_MAX_JOBS	32
#define DRM_MICA_MAX_SYNCS	64

#define DRM_IOCTL_MICA_QUERY	   DRM_IOWR(DRM_COMMAND_BASE + DRM_MICA_QUERY, struct drm_mica_query)
#define DRM_IOCTL_MICA_BO_CREATE   DRM_IOWR(DRM_COMMAND_BASE + DRM_MICA_BO_CREATE, struct drm_mica_bo_create)
#define DRM_IOCTL_MICA_BO_INFO	   DRM_IOWR(DRM_COMMAND_BASE + DRM_MICA_BO_INFO, struct drm_mica_bo_info)
#define DRM_IOCTL_MICA_BO_WAIT	   DRM_IOW(DRM_COMMAND_BASE + DRM_MICA_BO_WAIT, struct drm_mica_bo_wait)
#define DRM_IOCTL_MICA_CTX_CREATE  DRM_IOWR(DRM_COMMAND_BASE + DRM_MICA_CTX_CREATE, struct drm_mica_ctx_create)
#define DRM_IOCTL_MICA_CTX_DESTROY DRM_IOW(DRM_COMMAND_BASE + DRM_MICA_CTX_DESTROY, struct drm_mica_ctx_destroy)
#define DRM_IOCTL_MICA_SUBMIT	   DRM_IOW(DRM_COMMAND_BASE + DRM_MICA_SUBMIT, struct drm_mica_submit)

/*
 * io_uring: IORING_OP_URING_CMD on the device file, ring with IORING_SETUP_SQE128, cmd_op
 * MICA_URING_CMD_SUBMIT, payload struct mica_uring_submit at sqe->cmd. Same rules as SUBMIT.
 * Refusals come as the CQE's res (negative errno) at once; otherwise the CQE is the completion of
 * all jobs: res 0, or the error of the first one that failed. With IORING_SETUP_CQE32, big_cqe[0]
 * is the sum of the jobs' device cycles and big_cqe[1] is 0. Cancelling completes the command with
 * -ECANCELED; jobs that have started run on.
 */
#define MICA_URING_CMD_SUBMIT	1
struct mica_uring_submit {
	struct drm_mica_submit submit;
	__u64 reserved[7];
};

#define MICA_UAPI_ASSERT_SIZE(type, size)	_Static_assert(sizeof(type) == (size), #type " has another size")
#define MICA_UAPI_ASSERT_AT(type, member, off) \
	_Static_assert(offsetof(type, member) == (off), #type "." #member " moved")
#if !defined(__cplusplus)
MICA_UAPI_ASSERT_SIZE(struct drm_mica_query, 24);
MICA_UAPI_ASSERT_AT(struct drm_mica_query, data, 16);
MICA_UAPI_ASSERT_SIZE(struct drm_mica_device_info, 80);
MICA_UAPI_ASSERT_AT(struct drm_mica_device_info, va_start, 64);
MICA_UAPI_ASSERT_SIZE(struct drm_mica_context_info, 48);
MICA_UAPI_ASSERT_AT(struct drm_mica_context_info, fault_addr, 32);
MICA_UAPI_ASSERT_SIZE(struct drm_mica_bo_create, 32);
MICA_UAPI_ASSERT_AT(struct drm_mica_bo_create, mmap_offset, 16);
MICA_UAPI_ASSERT_SIZE(struct drm_mica_bo_info, 32);
MICA_UAPI_ASSERT_AT(struct drm_mica_bo_info, size, 8);
MICA_UAPI_ASSERT_SIZE(struct drm_mica_bo_wait, 16);
MICA_UAPI_ASSERT_AT(struct drm_mica_bo_wait, timeout_ns, 8);
MICA_UAPI_ASSERT_SIZE(struct drm_mica_ctx_create, 16);
MICA_UAPI_ASSERT_AT(struct drm_mica_ctx_create, ctx_id, 8);
MICA_UAPI_ASSERT_SIZE(struct drm_mica_ctx_destroy, 8);
MICA_UAPI_ASSERT_SIZE(struct drm_mica_stream, 16);
MICA_UAPI_ASSERT_AT(struct drm_mica_stream, offset, 8);
MICA_UAPI_ASSERT_SIZE(struct drm_mica_segment, 24);
MICA_UAPI_ASSERT_AT(struct drm_mica_segment, offset, 8);
MICA_UAPI_ASSERT_SIZE(struct drm_mica_sync, 16);
MICA_UAPI_ASSERT_AT(struct drm_mica_sync, point, 8);
MICA_UAPI_ASSERT_SIZE(struct drm_mica_job, 72);
MICA_UAPI_ASSERT_AT(struct drm_mica_job, stream_count, 32);
MICA_UAPI_ASSERT_AT(struct drm_mica_job, stats_segment, 60);
MICA_UAPI_ASSERT_SIZE(struct drm_mica_submit, 24);
MICA_UAPI_ASSERT_AT(struct drm_mica_submit, jobs, 8);
MICA_UAPI_ASSERT_SIZE(struct mica_uring_submit, 80);
#endif

#if defined(__cplusplus)
}
#endif

#endif /* _UAPI_DRM_MICA_ACCEL_H */
