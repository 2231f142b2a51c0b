/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints: a job's way through the driver.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM mica

#if !defined(MICA_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define MICA_TRACE_H

#include <linux/tracepoint.h>

#include "mica_drv.h"

TRACE_EVENT(mica_job_submit,
	TP_PROTO(struct mica_job *job),
	TP_ARGS(job),
	TP_STRUCT__entry(
		__field(u32, slot)
		__field(u64, fence_context)
		__field(u64, fence_seqno)
		__field(u32, cores)
		__field(u32, segments)
	),
	TP_fast_assign(
		__entry->slot = job->ctx->slot;
		__entry->fence_context = job->base.s_fence->finished.context;
		__entry->fence_seqno = job->base.s_fence->finished.seqno;
		__entry->cores = job->desc.cores;
		__entry->segments = job->desc.segments;
	),
	TP_printk("slot=%u fence=%llu:%llu cores=%u segments=%u", __entry->slot,
		  __entry->fence_context, __entry->fence_seqno, __entry->cores, __entry->segments)
);

TRACE_EVENT(mica_job_run,
	TP_PROTO(struct mica_job *job),
	TP_ARGS(job),
	TP_STRUCT__entry(
		__field(u32, slot)
		__field(u64, seqno)
		__field(u64, fence_context)
		__field(u64, fence_seqno)
	),
	TP_fast_assign(
		__entry->slot = job->ctx->slot;
		__entry->seqno = job->desc.seqno;
		__entry->fence_context = job->base.s_fence->finished.context;
		__entry->fence_seqno = job->base.s_fence->finished.seqno;
	),
	TP_printk("slot=%u seqno=%llu fence=%llu:%llu", __entry->slot, __entry->seqno,
		  __entry->fence_context, __entry->fence_seqno)
);

TRACE_EVENT(mica_job_done,
	TP_PROTO(struct mica_job *job, u32 status, u64 cycles, u64 us),
	TP_ARGS(job, status, cycles, us),
	TP_STRUCT__entry(
		__field(u32, slot)
		__field(u32, status)
		__field(u64, seqno)
		__field(u64, cycles)
		__field(u64, us)
	),
	TP_fast_assign(
		__entry->slot = job->ctx->slot;
		__entry->status = status;
		__entry->seqno = job->desc.seqno;
		__entry->cycles = cycles;
		__entry->us = us;
	),
	TP_printk("slot=%u seqno=%llu status=%u cycles=%llu us=%llu", __entry->slot,
		  __entry->seqno, __entry->status, __entry->cycles, __entry->us)
);

#endif /* MICA_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE mica_trace
#include <trace/define_trace.h>
