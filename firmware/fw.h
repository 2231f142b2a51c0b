/* SPDX-License-Identifier: MIT */
/*
 * The firmware's state and what its parts call of each other. One thread, no heap, no interrupt handler: a loop
 * (main.c) looks at what is pending, and sleeps. Intervals are differences of 32-bit microseconds.
 */
#ifndef MICA_FW_H
#define MICA_FW_H

#include "hw.h"
#include "version.h"

#define FW_MAX_CORES		8u
#define FW_MAX_ENTRIES		256u		/* of a context's job ring */
#define FW_PRIORITIES		4u
#define FW_JOB_DESC_HEAD	offsetof(struct mica_job_desc, stream)	/* what the firmware itself reads of a descriptor */

/* Scheduling and housekeeping, in microseconds. docs/firmware.md explains the rules. */
#define FW_AGE_US		100000u		/* waiting that long raises a job by one priority */
#define FW_SHIELD_US		10000u		/* a job that was raised keeps that for so long once it runs */
#define FW_GANG_US		2000u		/* a waiting gang lets equals overtake for so long */
#define FW_TICK_US		100000u		/* telemetry, watchdog */
#define FW_TICK_FAST_US		10000u		/* while jobs wait for a core */
#define FW_POLL_US		200u		/* while the event ring is full */
#define FW_KILL_US		10000000u	/* a core that does not stop for so long is broken */
#define FW_WATCHDOG_MS		20000u
#define FW_WATCHDOG_MAX_MS	1800000u

enum fw_log_level { FW_LOG_ERROR, FW_LOG_INFO, FW_LOG_DEBUG };

/* FAULT_INFO of a MICA_FAULT_DESC that the firmware found */
enum fw_desc_error { FW_DESC_MAGIC = 1, FW_DESC_CORES, FW_DESC_FLAGS, FW_DESC_SEGMENTS };

enum fw_job_state {
	FW_JOB_NONE,		/* nothing fetched */
	FW_JOB_READY,		/* waits for cores: new, or preempted */
	FW_JOB_RUNNING,
	FW_JOB_STOPPING,	/* its cores were told to stop */
	FW_JOB_DONE,		/* JOB_DONE is to be sent */
};

struct fw_fault {
	u32 code;		/* MICA_FAULT_* */
	u32 info;
	u32 packet;
	u32 layer;
	u32 core;		/* physical core; for WATCHDOG and ABORTED the one to blame */
	u64 addr;
};

/* The job at the head of a context's ring. A context has one in flight. */
struct fw_job {
	u8 state;		/* enum fw_job_state */
	u8 cores;
	u8 gang;		/* RUNNING, STOPPING: bit set of its physical cores */
	u8 done;		/* of these, the ones that reported DONE */
	u8 preempted;
	u8 faulted;
	u8 preempting;		/* asked to stop at its next checkpoint */
	u8 boost;		/* priority by age at its start, valid for FW_SHIELD_US */
	u32 resume[FW_MAX_CORES];	/* by index within the gang */
	u64 desc;		/* bus address */
	u64 seqno;
	u64 cycles;		/* sum over its runs of the longest core */
	u32 turn;		/* order among equals: smaller first */
	u32 ready_since;
	u32 run_since;
	u32 first_start;
	u32 kill_since;
	u32 progress;		/* sum of its cores' PROGRESS at progress_since */
	u32 progress_since;
	bool started;
	struct fw_fault fault;
};

struct fw_context {
	bool active;
	bool aborting;		/* entries up to abort_until end with ABORTED */
	bool destroying;
	bool bad_doorbell;	/* logged once */
	u8 priority;
	u32 entries;
	u32 head;		/* free-running; the entry of `job` */
	u32 tail;
	u32 abort_until;
	u32 abort_seq;		/* ACK it when done */
	u32 destroy_seq;
	u64 ring;
	struct fw_job job;
};

struct fw_core {
	u8 ctx;			/* 0: free */
	u32 busy_since;
};

struct fw_mailbox {
	u32 h2f_head;
	u32 f2h_tail;
	u32 f2h_head;		/* last seen; the host moves it on */
	bool receive;		/* h2f may hold messages */
	bool posted;		/* f2h_tail is not yet in host memory */
	bool bad_head;		/* logged once */
};

struct fw_state {
	u32 now;		/* TIME_LO at the start of this step */
	u32 cores;		/* of the hardware */
	u32 contexts;
	u32 abi;		/* 0: no HELLO yet */
	int log_level;		/* enum fw_log_level */
	u32 watchdog_us;	/* 0: off */
	u64 shm;
	u32 log_tail;
	u32 raise;		/* MSI-X vectors to send at the end of this step */
	u32 attention[2];	/* contexts that ctx_step() has to look at */
	u32 ready[2];		/* contexts whose job is READY */
	u32 free_cores;		/* bit set */
	u32 turn;
	u32 suspend_seq;
	u32 timer;		/* deadline, if timer_armed */
	u32 telemetry_since;
	u64 busy_total;		/* of all cores at telemetry_since */
	bool timer_armed;
	bool stalled;		/* the event ring is full: try again after FW_POLL_US */
	bool suspending;
	bool suspended;
	bool settle;		/* one more tick when everything has become idle */
	bool panicking;
	struct fw_mailbox mbox;
	struct fw_core core[FW_MAX_CORES];
	struct mica_fw_telemetry telemetry;
	struct fw_context ctx[MICA_MAX_CONTEXTS];
};

extern struct fw_state fw;

/* main.c */
void fw_init(void);
bool fw_step(void);		/* true: call again at once, false: nothing to do before an interrupt */
_Noreturn void fw_main(void);

/* panic.c */
_Noreturn void fw_panic(u32 code, u32 pc, u64 detail);
_Noreturn void fw_trap(u32 cause, u32 pc, u32 tval);
#define FW_INVARIANT(condition) do { \
		if (!(condition)) \
			fw_panic(MICA_FW_PANIC_INVARIANT, 0, __LINE__); \
	} while (0)

/* mailbox.c: the two rings in the shared area */
void shm_read(u32 offset, void *local, u32 length);
void shm_write(u32 offset, const void *local, u32 length);
bool mbox_room(void);					/* another message fits into f2h; if not, marks the step as stalled */
void mbox_post(const struct mica_fw_msg *m);		/* only behind mbox_room() */
void mbox_ack(u32 seq, u32 status);			/* the same */
void mbox_receive(void);
void mbox_flush(void);

/* messages.c: what each message from the driver does */
void msg_handle(const struct mica_fw_msg *m);

/* context.c: slots and their rings */
void ctx_doorbells(void);
void ctx_step_all(void);
void ctx_attend(u32 slot);
u32 ctx_create(u32 slot, const struct mica_fw_msg *m);
u32 ctx_destroy(u32 slot, u32 seq);
u32 ctx_abort(u32 slot, u32 seq);
#define FW_DEFERRED		0xffffffffu		/* of a handler: the ACK comes later */

/* job.c: a job on its cores */
void job_fetch(struct fw_context *c);
void job_start(struct fw_context *c, u32 gang);
void job_preempt(struct fw_context *c);
void job_kill(struct fw_context *c, u32 code, u32 blamed_core);
void job_scan(void);
void job_watch(void);

/* sched.c */
void sched_ready(struct fw_context *c);
void sched_forget(struct fw_context *c);
void sched_run(void);
bool sched_waiting(void);

/* telemetry.c */
void telemetry_busy(u32 core);				/* accounts the core's time up to now */
void telemetry_update(void);

/* log.c */
void log_print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#define fw_log(level, ...) do { \
		if ((int)(level) <= fw.log_level) \
			log_print(__VA_ARGS__); \
	} while (0)

/* Small helpers */
static inline u32 ctx_slot(const struct fw_context *c)
{
	return (u32)(c - fw.ctx);
}

static inline void set_bit(u32 map[2], u32 n)
{
	map[n >> 5] |= 1u << (n & 31);
}

static inline void clear_bit(u32 map[2], u32 n)
{
	map[n >> 5] &= ~(1u << (n & 31));
}

static inline bool any_bit(const u32 map[2])
{
	return map[0] | map[1];
}

/* Lowest set bit of a map that is not empty. */
static inline u32 first_bit(const u32 map[2])
{
	return map[0] ? (u32)__builtin_ctz(map[0]) : 32u + (u32)__builtin_ctz(map[1]);
}

/* Walks over the set bits of a copy of the map. */
#define for_each_bit(n, map) \
	for (u32 left_[2] = { (map)[0], (map)[1] }; any_bit(left_) && ((n) = first_bit(left_), true); \
	     clear_bit(left_, (n)))

static inline u32 count_bits(u32 v)
{
	u32 n = 0;

	for (; v; v &= v - 1)
		n++;
	return n;
}

static inline u32 first_core(u32 set)
{
	return (u32)__builtin_ctz(set);
}

#endif /* MICA_FW_H */
