/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT */
/*
 * Command packets: the contract between the compiler and whatever executes commands (the device, the CPU engine).
 * docs/isa.md says what each does, docs/numerics.md to which bits. Little endian throughout.
 *
 * A stream is a sequence of packets, each a multiple of 64 bytes, that ends with END; a job has one stream per core.
 * A core's engines run side by side and each in stream order. Order between engines is explicit: a packet starts when,
 * for every engine e, the number of packets that e has completed since the last BARRIER (or the stream's start) is at
 * least wait[e]. A wait never counts a packet that stands later in the stream, so a stream cannot deadlock.
 */
#ifndef MICA_ISA_H
#define MICA_ISA_H

#include <linux/types.h>
#ifndef __KERNEL__
#include <stddef.h>
#endif

#define MICA_ISA_VERSION	2u
#define MICA_PKT_ALIGN		64u
#define MICA_PKT_MAX		256u
#define MICA_MAX_CORES		8u
#define MICA_MAX_SEGMENTS	48u
#define MICA_LMEM_ALIGN		64u
#define MICA_CH_BLOCK		16u	/* output channels to a block of packed weights, and the padding of params */

/* Engines of a core; indices of wait[] and of the busy counters. DMA is LOAD or STORE by the direction of the copy. */
enum mica_engine_id {
	MICA_ENGINE_LOAD = 0,
	MICA_ENGINE_STORE = 1,
	MICA_ENGINE_MATRIX = 2,
	MICA_ENGINE_VECTOR = 3,
	MICA_ENGINE_CIM = 4,	/* reserved for compute in memory */
	MICA_ENGINE_COUNT = 5,
	MICA_ENGINE_CP = 8,	/* not an engine: done by the command processor */
	MICA_ENGINE_DMA = 9,	/* LOAD or STORE */
};

/*
 * Addresses of COPY, weights, params and tables: segment << 56 | byte offset. Segments 0..47 are the job's (0 weights,
 * 1 arena, 2.. inputs then outputs as the model lists them); LMEM addresses use LMEM (this core's) or PEER + index
 * (the core with that index within the job).
 */
#define MICA_ADDR_SEG_SHIFT	56
#define MICA_ADDR_OFFSET_MASK	0x0000ffffffffffffull	/* bits 48..55 must be zero */
#define MICA_SEG_WEIGHTS	0u
#define MICA_SEG_ARENA		1u
#define MICA_SEG_IO		2u
#define MICA_SEG_PEER		0xf0u	/* 0xf0..0xf7 */
#define MICA_SEG_LMEM		0xfeu
#define MICA_SEG_NONE		0xffu
#define MICA_ADDR(seg, off)	((__u64)(seg) << MICA_ADDR_SEG_SHIFT | (__u64)(off))
#define MICA_ADDR_NONE		MICA_ADDR(MICA_SEG_NONE, 0)
#define MICA_ADDR_SEG(a)	((__u32)((__u64)(a) >> MICA_ADDR_SEG_SHIFT))
#define MICA_ADDR_OFF(a)	((__u64)(a) & MICA_ADDR_OFFSET_MASK)

#define MICA_BARRIER_CHECKPOINT	0x1u	/* LMEM is dead here: the job may be preempted and resumed behind this packet */
#define MICA_ACC_IN		0x1u	/* accumulators start from the acc buffer instead of zero/init */
#define MICA_ACC_OUT		0x2u	/* raw accumulators go to the acc buffer, no epilogue (dst is then not written) */
#define MICA_CONV_SHIFT		0x1u	/* the third array of params is added behind the activation; not for i8 operands */

#include "isa.def"

enum mica_dtype {
#define T(code, UP, low, size) MICA_##UP = (code),
	MICA_DTYPES(T)
#undef T
	MICA_DTYPE_MAX = MICA_I32
};
enum mica_act {
#define A(code, UP, low) MICA_ACT_##UP = (code),
	MICA_ACTS(A)
#undef A
	MICA_ACT_MAX = MICA_ACT_GELU
};
enum mica_bin {
#define B(code, UP, low) MICA_BIN_##UP = (code),
	MICA_BINS(B)
#undef B
};
#define MICA_BIN_MAX_OP MICA_BIN_MOD
enum mica_fn {
#define N(code, UP, low) MICA_FN_##UP = (code),
	MICA_FNS(N)
#undef N
	MICA_FN_MAX = MICA_FN_COS
};
enum mica_pool {
#define N(code, UP, low) MICA_POOL_##UP = (code),
	MICA_POOLS(N)
#undef N
	MICA_POOL_MAX_OP = MICA_POOL_AVG_PAD
};
enum mica_resize {
#define N(code, UP, low) MICA_RESIZE_##UP = (code),
	MICA_RESIZES(N)
#undef N
	MICA_RESIZE_MAX = MICA_RESIZE_LINEAR
};
enum mica_red {
#define N(code, UP, low) MICA_RED_##UP = (code),
	MICA_REDS(N)
#undef N
	MICA_RED_MAX_OP = MICA_RED_L1
};
enum mica_opcode {
#define OP(code, UP, low, packet, engine) MICA_OP_##UP = (code),
	MICA_OPS(OP)
#undef OP
};

/* An operand in this core's LMEM. Strides in bytes; 0 repeats the element (broadcast, sources only). */
struct mica_view {
	__u32 addr;
	__u8  dtype;		/* enum mica_dtype */
	__s8  zero;		/* zero point: i8 and u8 codes; u8 stores zero point - 128 here. 0 for every other type */
	__u16 rsvd0;
	float scale;		/* source: value = (code - zero) * scale. destination: the factor 1/scale that values are multiplied by */
	__u32 rsvd1;
	__u32 stride[4];	/* n, h, w, c */
};

struct mica_pkt_hdr {
	__u8  opcode;		/* enum mica_opcode */
	__u8  units;		/* packet size in units of 64 bytes */
	__u16 layer;		/* index into the model's layer list, for counters and faults */
	__u32 rsvd;
	__u32 wait[MICA_ENGINE_COUNT];
	__u32 rsvd1;
};

/* One output row or column of RESIZE: v = src[i0] (nearest), fma(w, src[i1] - src[i0], src[i0]) (linear). */
struct mica_resize_tap {
	__u32 i0;
	__u32 i1;
	float w;
	__u32 rsvd;
};

typedef __u32 mica_u32x2[2];
typedef __u32 mica_u32x4[4];
typedef __u32 mica_u32x6[6];
typedef __u32 mica_u32x11[11];
typedef __u32 mica_u32x12[12];
typedef __u32 mica_u32x13[13];
typedef __u32 mica_u32x15[15];
typedef __s32 mica_s32x4[4];
#define MICA_ARRT___u32(n) mica_u32x##n
#define MICA_ARRT___s32(n) mica_s32x##n
#define MICA_ARR(t, n)	MICA_ARRT_##t(n)

#define MICA_F_MEMBER(off, type, member, cls, lo, hi)	type member;
#define MICA_P_STRUCT(packet, bytes) \
	struct mica_pkt_##packet { struct mica_pkt_hdr hdr; MICA_FIELDS_##packet(MICA_F_MEMBER) };
MICA_PACKETS(MICA_P_STRUCT)

union mica_pkt {
	struct mica_pkt_hdr hdr;
#define MICA_P_MEMBER(packet, bytes) struct mica_pkt_##packet packet;
	MICA_PACKETS(MICA_P_MEMBER)
	__u8 raw[MICA_PKT_MAX];
};

/*
 * What a job reports, written by the device (or the CPU backend, cycles by the same model) to the job's stats segment
 * when the job ends. Cycles are device cycles of the model in docs/device.md, deterministic. `layer` records follow as
 * far as the segment's size allows.
 */
struct mica_job_stats {
	__u64 cycles;				/* longest core */
	__u64 macs;
	__u64 dram_read_bytes;
	__u64 dram_write_bytes;
	__u64 peer_bytes;
	__u64 busy[MICA_ENGINE_COUNT];		/* summed over the cores */
	__u32 cores;
	__u32 packets;
	__u32 layers;				/* layer records that follow */
	__u32 rsvd[5];
};
struct mica_layer_stats {
	__u64 start;				/* earliest start and latest end over the cores, in cycles since the job's start */
	__u64 end;
	__u64 busy[MICA_ENGINE_COUNT];
	__u64 macs;
};

#ifdef __cplusplus	/* libmica's header includes this one */
#define MICA_STATIC_ASSERT	static_assert
#else
#define MICA_STATIC_ASSERT	_Static_assert
#endif
#define MICA_ASSERT_SIZE(type, size)	MICA_STATIC_ASSERT(sizeof(type) == (size), #type " has another size")
#define MICA_ASSERT_AT(type, member, off) MICA_STATIC_ASSERT(offsetof(type, member) == (off), #type "." #member " moved")
MICA_ASSERT_SIZE(struct mica_pkt_hdr, 32);
MICA_ASSERT_AT(struct mica_pkt_hdr, layer, 2);
MICA_ASSERT_AT(struct mica_pkt_hdr, wait, 8);
MICA_ASSERT_SIZE(struct mica_view, 32);
MICA_ASSERT_AT(struct mica_view, scale, 8);
MICA_ASSERT_AT(struct mica_view, stride, 16);
MICA_ASSERT_SIZE(struct mica_resize_tap, 16);
MICA_ASSERT_SIZE(struct mica_job_stats, 112);
MICA_ASSERT_AT(struct mica_job_stats, busy, 40);
MICA_ASSERT_AT(struct mica_job_stats, cores, 80);
MICA_ASSERT_SIZE(struct mica_layer_stats, 64);
#define MICA_F_ASSERT(off, type, member, cls, lo, hi)	MICA_ASSERT_AT(struct MICA_THIS, member, off);
#define MICA_P_ASSERT(packet, bytes)	MICA_ASSERT_SIZE(struct mica_pkt_##packet, bytes);
MICA_PACKETS(MICA_P_ASSERT)
#define MICA_THIS mica_pkt_ctl
MICA_FIELDS_ctl(MICA_F_ASSERT)
#undef MICA_THIS
#define MICA_THIS mica_pkt_copy
MICA_FIELDS_copy(MICA_F_ASSERT)
#undef MICA_THIS
#define MICA_THIS mica_pkt_fill
MICA_FIELDS_fill(MICA_F_ASSERT)
#undef MICA_THIS
#define MICA_THIS mica_pkt_conv
MICA_FIELDS_conv(MICA_F_ASSERT)
#undef MICA_THIS
#define MICA_THIS mica_pkt_matmul
MICA_FIELDS_matmul(MICA_F_ASSERT)
#undef MICA_THIS
#define MICA_THIS mica_pkt_binary
MICA_FIELDS_binary(MICA_F_ASSERT)
#undef MICA_THIS
#define MICA_THIS mica_pkt_unary
MICA_FIELDS_unary(MICA_F_ASSERT)
#undef MICA_THIS
#define MICA_THIS mica_pkt_lut
MICA_FIELDS_lut(MICA_F_ASSERT)
#undef MICA_THIS
#define MICA_THIS mica_pkt_pool
MICA_FIELDS_pool(MICA_F_ASSERT)
#undef MICA_THIS
#define MICA_THIS mica_pkt_resize
MICA_FIELDS_resize(MICA_F_ASSERT)
#undef MICA_THIS
#define MICA_THIS mica_pkt_reduce
MICA_FIELDS_reduce(MICA_F_ASSERT)
#undef MICA_THIS
#define MICA_THIS mica_pkt_norm
MICA_FIELDS_norm(MICA_F_ASSERT)
#undef MICA_THIS

#endif /* MICA_ISA_H */
