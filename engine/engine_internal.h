/* SPDX-License-Identifier: MIT */
/* What the engine's files share: field tables, paths, threads. Nothing here is seen outside engine/ and its tests. */
#ifndef MICA_ENGINE_INTERNAL_H
#define MICA_ENGINE_INTERNAL_H

#include "engine.h"
#include "mica/regs.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline uint64_t div_up(uint64_t a, uint64_t b)
{
	return a / b + (a % b != 0);
}

static inline size_t round_up(size_t a, size_t b)
{
	return (a + b - 1) / b * b;
}

static inline uint32_t pad16(uint32_t n)
{
	return (n + 15u) & ~15u;
}

/* Zero point of a view as a true value. */
static inline int view_zero(const struct mica_view *v)
{
	return v->dtype == MICA_U8 ? v->zero + 128 : v->zero;
}

static inline bool dtype_is_mac_float(unsigned t)
{
	return t == MICA_E4M3 || t == MICA_E5M2 || t == MICA_BF16;
}

/* ---- isa.c: isa.def as tables ------------------------------------------------------------------------------------ */

enum field_class { FC_U, FC_S, FC_FLT, FC_ENUM, FC_BITS, FC_ADDR, FC_VIEW, FC_VIEWO, FC_ZERO };

struct field_info {
	const char *name;
	uint16_t off;
	uint16_t size;		/* bytes; U, S and ZERO fields above 4 bytes are arrays of 32-bit elements */
	enum field_class cls;
	int64_t lo, hi;
};

struct op_info {
	const char *name;
	uint16_t size;		/* bytes of the packet */
	uint8_t engine;		/* enum mica_engine_id */
	uint8_t nfields;
	const struct field_info *field;
};

const struct op_info *mica_op_info(unsigned opcode);	/* NULL when unknown */
const char *mica_enum_name(unsigned opcode, const char *field, unsigned value);

/* ---- ranges.c: which bytes a packet's operands touch ---------------------------------------------------------------- */

struct range { int64_t lo, hi; };	/* [lo, hi) relative to the operand's address */

bool range_of_view(const struct mica_view *v, const uint32_t dim[4], struct range *out);	/* false: overflow */
bool range_of_copy(const uint32_t dim[4], const int32_t stride[4], uint32_t elem, struct range *out);
bool dims_product(const uint32_t *dim, unsigned n, uint64_t *out);

/* ---- pool.c: threads -------------------------------------------------------------------------------------------- */

struct pool;
typedef void pool_fn(void *ctx, uint32_t item, unsigned thread);

struct pool *pool_create(unsigned threads);		/* NULL with errno */
void pool_destroy(struct pool *p);
unsigned pool_threads(const struct pool *p);
/* Runs fn for items 0..n-1, each once, in any order on any thread; returns when all are done. */
void pool_run(struct pool *p, pool_fn *fn, void *ctx, uint32_t n);
/* Around a job of several pool_run: in between workers stay awake for a while, and the first one finds them so. */
void pool_begin(struct pool *p);
void pool_end(struct pool *p);
/* `bytes` of 64-byte aligned scratch for every thread, kept until a later call needs more. false: out of memory. */
bool pool_reserve(struct pool *p, size_t bytes);
void *pool_scratch(struct pool *p, unsigned thread);

/* ---- exec.c: paths ---------------------------------------------------------------------------------------------- */

struct mica_engine {
	enum mica_isa_level level;
	const struct mica_path *path;
	struct pool *pool;
	void *shared;			/* scratch that all threads of a packet see */
	size_t shared_size;
	/* Where the threads are divided among cores: this engine has a share of them, part[] the others; cores runs them all. */
	struct pool *cores;
	struct mica_engine *part[MICA_MAX_CORES - 1];
	unsigned parts;
};

/* Around a job: pool_begin and pool_end of all its pools. */
void engine_begin(struct mica_engine *e);
void engine_end(struct mica_engine *e);

/* One packet in execution. */
struct exec {
	struct mica_engine *e;
	const struct mica_mem *mem;
	uint8_t *lmem;			/* this core's */
	int fault;			/* set by whoever sees it first; plain, only the caller's thread reads memory */
};

/* A kernel made for certain operands, and whether it has ever run: for the tests, which are to reach them all. */
struct mica_variant {
	char name[40];
	bool reached;
};

static inline void variant_reached(atomic_uchar *mark)
{
	if (!atomic_load_explicit(mark, memory_order_relaxed))
		atomic_store_explicit(mark, 1, memory_order_relaxed);
}

typedef int exec_fn(struct exec *x, const union mica_pkt *p);

/* The kernels of one instruction set. All give the same bits. */
struct mica_path {
	const char *name;
	exec_fn *op[256];
	/* n dense elements; value = decode(code - zero) * scale, code = section 2 of docs/numerics.md */
	void (*decode)(enum mica_dtype t, const void *src, size_t n, float scale, int zero, float *dst);
	void (*encode)(enum mica_dtype t, const float *src, size_t n, float inv, int zero, void *dst);
	void (*fn)(enum mica_fn fn, float *x, size_t n, float alpha, float beta);
	unsigned (*variants)(struct mica_variant *out, unsigned max);	/* of CONV, DWCONV, MATMUL and their epilogue */
};

extern const struct mica_path mica_path_scalar;		/* baseline instruction set; fmaf in software where need be */
extern const struct mica_path mica_path_fma;		/* the same source compiled for a CPU with FMA */
extern const struct mica_path mica_path_avx2;
extern const struct mica_path mica_path_avx512;

bool mica_path_usable(const struct mica_path *path);
const struct mica_path *mica_path_of(enum mica_isa_level level);	/* NULL: not on this CPU */
struct mica_engine *mica_engine_create_path(const struct mica_path *path, unsigned threads);

void *scratch_alloc(size_t bytes);	/* NULL: out of memory */
void scratch_free(void *mem, size_t bytes);
void *exec_shared(struct exec *x, size_t bytes);	/* 64-byte aligned, uninitialized; NULL: out of memory */
const void *exec_view(struct exec *x, unsigned slot, uint64_t addr, size_t len);	/* NULL: x->fault is set */
static inline bool exec_stopped(const struct exec *x)
{
	return x->mem->stop && atomic_load_explicit(x->mem->stop, memory_order_relaxed);
}

exec_fn exec_copy, exec_fill;

/* ---- Floating-point control: packets run in round-to-nearest with subnormals, whatever the caller had set ------------ */

unsigned fpenv_enter(void);
void fpenv_leave(unsigned saved);

#endif /* MICA_ENGINE_INTERNAL_H */
