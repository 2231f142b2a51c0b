/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT */
/*
 * Firmware ABI: image, shared page, mailbox messages, job descriptors. Contract between driver and firmware; the boot ROM
 * (in the device) knows the image header, the command processor the job descriptor. Little endian.
 *
 * Compatibility: the image names the window of ABI versions it can speak, HELLO the driver's window; both use the highest
 * version of the intersection, and an empty intersection is refused by the firmware with MICA_FW_E_VERSION.
 */
#ifndef MICA_FW_ABI_H
#define MICA_FW_ABI_H

#include <linux/types.h>
#ifndef __KERNEL__
#include <stddef.h>
#endif

#define MICA_FW_FILE		"mica/mica_fw.bin"	/* under /lib/firmware */
#define MICA_FW_MAGIC		0x5746434du		/* "MCFW" */
#define MICA_FW_ABI_VERSION	1u			/* version these structs describe */

struct mica_fw_header {			/* first bytes of the file; the body follows and is copied to SRAM address 0 */
	__u32 magic;
	__u32 header_size;		/* of this struct: 64 */
	__u32 body_size;
	__u32 crc32;			/* IEEE 802.3 (zlib's) CRC-32 of the body */
	__u32 entry;			/* reset PC, within the body */
	__u32 fw_version;		/* major << 16 | minor << 8 | patch */
	__u32 abi_min, abi_max;
	__u32 hw_min, hw_max;		/* window of HW_VERSION */
	char  build[24];		/* NUL-terminated text */
};

/* Offsets of the parts of the shared area. The driver allocates it (coherent), zeroes it and sets SHM_ADDR, SHM_SIZE. */
#define MICA_SHM_SIZE		0x10000u
#define MICA_RING_MSGS		128u			/* each ring; indices run freely, slot = index % MICA_RING_MSGS */
#define MICA_LOG_SIZE		0x4000u

struct mica_fw_msg {
	__u32 type;			/* MICA_MSG_* */
	__u32 seq;			/* request: chosen by the driver, echoed in the ACK; else 0 */
	__u32 ctx;
	__u32 status;			/* MICA_FW_E_*, in JOB_DONE a MICA_FAULT_* */
	__u64 arg[6];
};

struct mica_fw_ring {			/* single producer, single consumer; each index is written by one side alone */
	__u32 head;			/* consumer */
	__u32 rsvd0[15];
	__u32 tail;			/* producer */
	__u32 rsvd1[15];
	struct mica_fw_msg msg[MICA_RING_MSGS];
};

struct mica_fw_log {
	__u32 tail;			/* bytes ever written; the last MICA_LOG_SIZE of them are in text[tail % size] */
	__u32 rsvd[15];
	char  text[MICA_LOG_SIZE];
};

struct mica_fw_telemetry {		/* updated by the firmware about every 100 ms while jobs run, and on PING */
	__u64 uptime_us;
	__u64 jobs_done;
	__u64 jobs_faulted;
	__u64 busy_us[8];		/* per core */
	__u32 temp_mc;			/* milli degree Celsius */
	__u32 power_mw;
	__u32 heartbeat;
	__u32 rsvd;
};

struct mica_fw_shm {
	struct mica_fw_ring h2f;	/* driver -> firmware, announced by MBOX_DB */
	struct mica_fw_ring f2h;	/* firmware -> driver, announced by MICA_VEC_EVENT */
	struct mica_fw_telemetry telemetry;
	__u8 rsvd[408];
	struct mica_fw_log log;		/* announced by MICA_VEC_LOG */
};

/* Driver to firmware. Every request is answered by one ACK with its seq (HELLO by HELLO_ACK). */
#define MICA_MSG_HELLO		0x01	/* arg[0] abi_min, arg[1] abi_max. First message after READY */
#define MICA_MSG_CTX_CREATE	0x02	/* ctx = slot; arg[0] page table root, [1] ring bus address, [2] ring entries (power of two, <= 256), [3] priority 0..3 (3 highest) */
#define MICA_MSG_CTX_DESTROY	0x03	/* kills what runs, forgets what waits (no JOB_DONE for these), clears the slot, then ACKs */
#define MICA_MSG_CTX_ABORT	0x04	/* the running and waiting jobs of ctx end with JOB_DONE status ABORTED; ACK when no core runs it */
#define MICA_MSG_PING		0x05	/* refreshes telemetry */
#define MICA_MSG_LOG_LEVEL	0x06	/* arg[0] 0 error, 1 info, 2 debug */
#define MICA_MSG_WATCHDOG	0x07	/* arg[0] period in milliseconds without progress of a core; 0 off */
#define MICA_MSG_SUSPEND	0x08	/* ACKs when all cores are idle; then only MBOX wakes it */

/* Firmware to driver */
#define MICA_MSG_HELLO_ACK	0x81	/* status; arg[0] abi chosen, arg[1] fw_version */
#define MICA_MSG_ACK		0x82	/* seq, status */
#define MICA_MSG_JOB_DONE	0x83	/* ctx; status MICA_FAULT_*; arg[0] seqno, [1] cycles, [2] fault address, [3] fault info << 32 | packet offset, [4] core << 16 | layer, [5] start-to-end time in us */
#define MICA_MSG_PANIC		0x84	/* arg[0] MICA_FW_PANIC_*, [1] pc, [2] detail; the firmware stops behind it */

#define MICA_FW_PANIC_TRAP	0x100	/* + mcause: the firmware trapped; detail = mtval */
#define MICA_FW_PANIC_BUS	0x201	/* the shared area cannot be reached; detail = host address */
#define MICA_FW_PANIC_INVARIANT	0x202	/* detail = source line */
#define MICA_FW_PANIC_CORE	0x203	/* a core does not stop when killed; detail = core */

#define MICA_FW_OK		0
#define MICA_FW_E_TYPE		1	/* unknown message type */
#define MICA_FW_E_ARG		2
#define MICA_FW_E_VERSION	3
#define MICA_FW_E_STATE		4	/* not possible now: no HELLO yet, slot in use, slot empty */
#define MICA_FW_E_BUS		5

/*
 * Job descriptor: one entry of a context's job ring (host memory of the driver, bus address in CTX_CREATE). The doorbell
 * tells the producer index (runs freely); entry = index % entries. Jobs of a context start and end in ring order.
 * The entry stays untouched until its JOB_DONE. When a descriptor cannot be read or is bad (MICA_FAULT_BUS, MICA_FAULT_DESC)
 * JOB_DONE's seqno is not to be believed: the order of the ring tells which job it was.
 */
struct mica_job_stream { __u64 va; __u32 size; __u32 rsvd; };
struct mica_job_segment { __u64 va; __u64 size_flags; };
#define MICA_SEGMENT_WRITE	0x8000000000000000ull
#define MICA_SEGMENT_SIZE_MASK	0x0000ffffffffffffull
#define MICA_JOB_STREAMS	8
#define MICA_JOB_SEGMENTS	48
#define MICA_JOB_NO_STATS	0xffu

struct mica_job_desc {
	__u32 magic;			/* MICA_JOB_MAGIC */
	__u32 cores;			/* 1..8: streams used */
	__u64 seqno;
	__u32 segments;			/* used entries of segment[] */
	__u32 stats_segment;		/* where struct mica_job_stats is written, or MICA_JOB_NO_STATS */
	__u32 flags;			/* 0 */
	__u32 rsvd[9];
	struct mica_job_stream stream[MICA_JOB_STREAMS];
	struct mica_job_segment segment[MICA_JOB_SEGMENTS];
	__u8 rsvd1[64];
};
#define MICA_JOB_MAGIC		0x424f4a4du	/* "MJOB" */

#define MICA_FW_ASSERT_SIZE(type, size)	_Static_assert(sizeof(type) == (size), #type " has another size")
#define MICA_FW_ASSERT_AT(type, member, off) _Static_assert(offsetof(type, member) == (off), #type "." #member " moved")
MICA_FW_ASSERT_SIZE(struct mica_fw_header, 64);
MICA_FW_ASSERT_AT(struct mica_fw_header, crc32, 12);
MICA_FW_ASSERT_AT(struct mica_fw_header, abi_min, 24);
MICA_FW_ASSERT_AT(struct mica_fw_header, build, 40);
MICA_FW_ASSERT_SIZE(struct mica_fw_msg, 64);
MICA_FW_ASSERT_AT(struct mica_fw_msg, arg, 16);
MICA_FW_ASSERT_SIZE(struct mica_fw_ring, 128 + 64 * MICA_RING_MSGS);
MICA_FW_ASSERT_AT(struct mica_fw_ring, tail, 64);
MICA_FW_ASSERT_AT(struct mica_fw_ring, msg, 128);
MICA_FW_ASSERT_SIZE(struct mica_fw_telemetry, 104);
MICA_FW_ASSERT_AT(struct mica_fw_telemetry, temp_mc, 88);
MICA_FW_ASSERT_AT(struct mica_fw_shm, f2h, 8320);
MICA_FW_ASSERT_AT(struct mica_fw_shm, telemetry, 16640);
MICA_FW_ASSERT_AT(struct mica_fw_shm, log, 17152);
MICA_FW_ASSERT_AT(struct mica_fw_log, text, 64);
_Static_assert(sizeof(struct mica_fw_shm) <= MICA_SHM_SIZE, "the shared area is too small");
MICA_FW_ASSERT_SIZE(struct mica_job_stream, 16);
MICA_FW_ASSERT_SIZE(struct mica_job_segment, 16);
MICA_FW_ASSERT_SIZE(struct mica_job_desc, 1024);
MICA_FW_ASSERT_AT(struct mica_job_desc, seqno, 8);
MICA_FW_ASSERT_AT(struct mica_job_desc, segments, 16);
MICA_FW_ASSERT_AT(struct mica_job_desc, flags, 24);
MICA_FW_ASSERT_AT(struct mica_job_desc, stream, 64);
MICA_FW_ASSERT_AT(struct mica_job_desc, segment, 192);

#endif /* MICA_FW_ABI_H */
