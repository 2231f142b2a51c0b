/* SPDX-License-Identifier: MIT */
/*
 * The engine: what each command does. Linked by libmica (CPU backend), by the compiler (calibration, tables, packing) and
 * by the emulated device. Results are defined by docs/numerics.md and the same on every path.
 */
#ifndef MICA_ENGINE_H
#define MICA_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "mica/isa.h"

/* ---- names and sizes (isa.c) ------------------------------------------------------------------------------------ */

unsigned mica_dtype_size(enum mica_dtype t);		/* bytes; 0 for NONE and unknown */
const char *mica_dtype_name(enum mica_dtype t);		/* "e4m3"; "?" when unknown; so for the next ones */
const char *mica_op_name(unsigned opcode);
const char *mica_act_name(unsigned act);
const char *mica_bin_name(unsigned op);
const char *mica_fn_name(unsigned fn);
enum mica_engine_id mica_pkt_engine(const union mica_pkt *p);	/* COPY resolved to LOAD or STORE */

/* One packet as readable text, one line without newline, fields by name; returns the length as snprintf does. */
int mica_disasm(char *buf, size_t size, const union mica_pkt *p);

/* ---- validator (check.c): default deny, table driven from isa.def, no undefined behaviour on any input ------------ */

enum mica_check {
	MICA_OK = 0,
	MICA_CHECK_TRUNCATED,		/* packet larger than what is left, or size not that of its opcode */
	MICA_CHECK_OPCODE,
	MICA_CHECK_RESERVED,		/* a reserved field is not zero */
	MICA_CHECK_RANGE,		/* a field is outside its range */
	MICA_CHECK_DTYPE,		/* combination of types */
	MICA_CHECK_LMEM,		/* operand outside LMEM, misaligned, or overlapping */
	MICA_CHECK_SEGMENT,		/* DRAM operand outside its segment, misaligned, or no permission */
	MICA_CHECK_WAIT,		/* waits for a packet that has not been issued */
	MICA_CHECK_SHAPE,		/* dims contradict each other */
	MICA_CHECK_WORK,		/* too many operations in one packet */
	MICA_CHECK_COUNT
};
const char *mica_check_name(enum mica_check c);

struct mica_limits {
	uint32_t lmem_size;
	unsigned cores;				/* of the job */
	unsigned segments;
	uint64_t seg_size[MICA_MAX_SEGMENTS];
	bool seg_write[MICA_MAX_SEGMENTS];
};
struct mica_check_state {			/* zeroed at a stream's start */
	uint32_t issued[MICA_ENGINE_COUNT];
};
/* `avail` bytes from p may be read. On refusal *field (may be NULL) names the field. On success *state has advanced. */
enum mica_check mica_check_packet(const union mica_pkt *p, size_t avail, const struct mica_limits *lim,
				  struct mica_check_state *state, const char **field);

/* ---- memory that commands reach ---------------------------------------------------------------------------------- */

/*
 * A segment with seg[i] != NULL is plain memory. Otherwise the callbacks are used; they return 0 or a MICA_FAULT_* code
 * (mica/regs.h). Bounds have been checked by mica_check_packet. view() returns len readable bytes that stay valid until
 * the packet ends (or NULL with *fault set); slot 0..3 tells concurrent views of one packet apart.
 */
struct mica_mem {
	uint8_t *lmem[MICA_MAX_CORES];		/* by index within the job */
	uint32_t lmem_size;
	unsigned core;				/* this core's index */
	uint8_t *seg[MICA_MAX_SEGMENTS];
	void *opaque;
	int (*read)(void *opaque, uint64_t addr, void *dst, size_t len);
	int (*write)(void *opaque, uint64_t addr, const void *src, size_t len);
	const void *(*view)(void *opaque, unsigned slot, uint64_t addr, size_t len, int *fault);
	const atomic_bool *stop;		/* may be NULL; when true, execution ends early with MICA_FAULT_ABORTED */
};

/* ---- execution ---------------------------------------------------------------------------------------------------- */

enum mica_isa_level { MICA_ISA_AUTO, MICA_ISA_SCALAR, MICA_ISA_AVX2, MICA_ISA_AVX512 };
const char *mica_isa_level_name(enum mica_isa_level l);
enum mica_isa_level mica_isa_best(void);	/* what this CPU has (AVX512 means F,BW,VL,DQ,VBMI,VNNI,BF16; AVX2 means AVX2,FMA,F16C) */

struct mica_engine;
#define MICA_MAX_THREADS	256u
/* threads: 1..MICA_MAX_THREADS; NULL with errno when level is not available (ENOTSUP) or memory is short. One caller at a time per engine. */
struct mica_engine *mica_engine_create(enum mica_isa_level level, unsigned threads);
void mica_engine_destroy(struct mica_engine *e);

/* Executes one checked packet other than END and BARRIER. 0 or MICA_FAULT_*. */
int mica_exec(struct mica_engine *e, const union mica_pkt *p, const struct mica_mem *mem);

/* ---- time (time.c): the cycle model of docs/device.md -------------------------------------------------------------- */

struct mica_params {
	uint32_t mac_rows, mac_cols;		/* 64 x 64 */
	uint32_t vector_lanes;			/* 256 */
	uint32_t dram_bytes_per_cycle;		/* 64, shared by the job's cores */
	uint32_t lmem_bytes_per_cycle;		/* 256: LMEM side of DMA, peer copies */
	uint32_t dispatch_cycles;		/* 4: command processor, per packet */
	uint32_t dma_latency;			/* 100: first byte of a DMA or weight stream */
	uint32_t barrier_cycles;		/* 50 */
};
extern const struct mica_params mica_params_default;

struct mica_cost { uint64_t cycles, macs, dram_read, dram_write, peer; };
/* Duration of one packet on its engine, with dram bandwidth divided by `cores`. A pure function of its arguments. */
void mica_pkt_cost(const union mica_pkt *p, const struct mica_params *par, unsigned cores, struct mica_cost *out);

struct mica_timeline {				/* of one core; plain data, zero-initialized by _init */
	const struct mica_params *par;
	unsigned cores;
	uint64_t cp;				/* when the command processor is free */
	uint64_t free[MICA_ENGINE_COUNT];
	uint32_t count[MICA_ENGINE_COUNT];
	uint64_t *done[MICA_ENGINE_COUNT];	/* completion time of each packet since the last barrier */
	uint32_t cap[MICA_ENGINE_COUNT];
	struct mica_job_stats stats;
	struct mica_layer_stats *layer;		/* layers records, or NULL */
	uint32_t layers;
};
int  mica_timeline_init(struct mica_timeline *t, const struct mica_params *par, unsigned cores, uint32_t layers);
int  mica_timeline_packet(struct mica_timeline *t, const union mica_pkt *p);	/* 0 or -ENOMEM */
uint64_t mica_timeline_drain(const struct mica_timeline *t);			/* when all engines are idle */
void mica_timeline_barrier(struct mica_timeline *t, uint64_t when);		/* when = max of the cores' drains; adds barrier_cycles */
void mica_timeline_fini(struct mica_timeline *t);
/* Merges the cores' timelines into what the job reports. layer[] may be NULL. */
void mica_timeline_report(struct mica_timeline *const t[], unsigned n, struct mica_job_stats *stats,
			  struct mica_layer_stats *layer, uint32_t layers);

/* ---- a whole job on this CPU (job.c) ------------------------------------------------------------------------------- */

struct mica_job {
	unsigned cores;
	const void *stream[MICA_MAX_CORES];	/* 64-byte aligned */
	size_t stream_size[MICA_MAX_CORES];
	struct mica_limits lim;			/* segments: size and permission */
	uint8_t *seg[MICA_MAX_SEGMENTS];
	uint8_t *lmem[MICA_MAX_CORES];		/* lim.lmem_size each, 64-byte aligned */
	const atomic_bool *stop;
	struct mica_job_stats *stats;		/* may be NULL: then no time is computed */
	struct mica_layer_stats *layer;		/* may be NULL */
	uint32_t layers;
	bool checked;				/* mica_job_check has passed for these streams and limits: skip the validator */
};
struct mica_job_fault { int code; unsigned core; uint32_t packet; enum mica_check check; const char *field; };
/* Validates all streams, also that barriers match and every stream ends with END. 0 or MICA_FAULT_* with *fault filled. */
int mica_job_check(const struct mica_job *job, struct mica_job_fault *fault);
int mica_job_run(struct mica_engine *e, const struct mica_job *job, struct mica_job_fault *fault);

/* ---- a job that runs often (prepare.c): checked, timed and decoded once -------------------------------------------- */

/*
 * Where memories lie behind one base address. Copies between LMEM and segments that lie where this says are left out when
 * packets can work there themselves: the same outputs, other contents of LMEM.
 */
struct mica_layout {
	uint64_t lmem[MICA_MAX_CORES], seg[MICA_MAX_SEGMENTS];	/* offsets below 4 GiB, ends included */
	uint64_t segs;				/* bit i: segment i lies there */
};

/* Memory of one run. */
struct mica_binding {
	uint8_t *seg[MICA_MAX_SEGMENTS];
	uint8_t *lmem[MICA_MAX_CORES];
	const atomic_bool *stop;
};

struct mica_prepared;			/* plain data: any number of engines may run it at once */

/* job: streams, limits and layers are used; streams stay the caller's and must not change. layout may be NULL. */
int mica_job_prepare(const struct mica_job *job, const struct mica_layout *layout, struct mica_prepared **out,
		     struct mica_job_fault *fault);
void mica_prepared_free(struct mica_prepared *p);
/* What every run reports. layer (job->layers records) may be NULL. */
void mica_prepared_stats(const struct mica_prepared *p, struct mica_job_stats *stats, struct mica_layer_stats *layer);
/* Copies that are left out when every segment of the layout is bound to its place. */
unsigned mica_prepared_elided(const struct mica_prepared *p);
/* Cores whose streams may run side by side: 1 when their accesses between barriers meet. */
unsigned mica_prepared_parallel(const struct mica_prepared *p);
int mica_prepared_run(struct mica_engine *e, const struct mica_prepared *p, const struct mica_binding *b,
		      struct mica_job_fault *fault);

/* An engine whose threads are divided among the `cores` of prepared jobs, as far as there are threads. */
struct mica_engine *mica_engine_create_cores(enum mica_isa_level level, unsigned threads, unsigned cores);

/* ---- conversions and functions (convert.c, func.c), the same bits as the packets ------------------------------------ */

float   mica_decode_e4m3(uint8_t code);
float   mica_decode_e5m2(uint8_t code);
float   mica_decode_bf16(uint16_t code);
uint8_t mica_encode_e4m3(float v, bool saturate);
uint8_t mica_encode_e5m2(float v, bool saturate);
uint16_t mica_encode_bf16(float v);
/* value -> code with factor inv (= 1/scale) and zero point (true value, also for u8), and back. n elements, dense. */
void mica_quantize(enum mica_dtype t, const float *src, void *dst, size_t n, float inv, int zero);
void mica_dequantize(enum mica_dtype t, const void *src, float *dst, size_t n, float scale, int zero);
float mica_fn_eval(enum mica_fn fn, float x, float alpha, float beta);
float mica_act_eval(enum mica_act act, float x, float alpha, float beta);
float mica_bin_eval(enum mica_bin op, float a, float b);
float mica_largest(enum mica_dtype t);		/* 448, 57344, 127; FLT_MAX for the others */

/* ---- packed weights (pack.c), layout in docs/isa.md ------------------------------------------------------------------ */

size_t mica_pack_size(enum mica_dtype t, unsigned groups, unsigned cout_per_group, unsigned kh, unsigned kw, unsigned cin_per_group);
size_t mica_pack_size_dw(enum mica_dtype t, unsigned channels, unsigned kh, unsigned kw);
/* w: codes [out_c][kh][kw][cin_per_group] dense (OHWI). dst: mica_pack_size bytes. */
void mica_pack(enum mica_dtype t, unsigned groups, unsigned cout_per_group, unsigned kh, unsigned kw, unsigned cin_per_group,
	       const void *w, void *dst);
/* w: codes [channels][kh][kw] dense */
void mica_pack_dw(enum mica_dtype t, unsigned channels, unsigned kh, unsigned kw, const void *w, void *dst);
size_t mica_params_size(unsigned groups, unsigned cout_per_group);	/* bytes of scale, bias and init together */

#endif /* MICA_ENGINE_H */
