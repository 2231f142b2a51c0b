// SPDX-License-Identifier: MIT
/* Choice of the path, life of an engine, dispatch of a packet. */
#include "engine_internal.h"

#include <errno.h>
#include <fenv.h>
#include <stdlib.h>
#include <sys/mman.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <xmmintrin.h>
#define MXCSR_DEFAULT	0x1f80u
#endif

/* ---- Floating-point control ---------------------------------------------------------------------------------------- */

unsigned fpenv_enter(void)
{
#if defined(__x86_64__)
	unsigned saved = _mm_getcsr();

	_mm_setcsr(MXCSR_DEFAULT);
	return saved;
#else
	unsigned saved = (unsigned)fegetround();

	fesetround(FE_TONEAREST);
	return saved;
#endif
}

void fpenv_leave(unsigned saved)
{
#if defined(__x86_64__)
	_mm_setcsr(saved);
#else
	fesetround((int)saved);
#endif
}

/* ---- Paths --------------------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
/* Not every compiler's __builtin_cpu_supports knows it. Asked once: in a virtual machine each CPUID takes tens of microseconds. */
static bool has_f16c(void)
{
	static atomic_int known;	/* 0: not yet, 1: no, 2: yes */
	unsigned a, b, c, d;
	int k = atomic_load_explicit(&known, memory_order_relaxed);

	if (!k) {
		k = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) ? 2 : 1;
		atomic_store_explicit(&known, k, memory_order_relaxed);
	}
	return k == 2;
}
#endif

bool mica_path_usable(const struct mica_path *path)
{
	if (path == &mica_path_scalar)
		return true;
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (path == &mica_path_fma)
		return __builtin_cpu_supports("fma");
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c())
		return false;
	if (path == &mica_path_avx2)
		return true;
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
	       __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni") &&
	       __builtin_cpu_supports("avx512bf16");
#else
	return false;
#endif
}

const char *mica_isa_level_name(enum mica_isa_level l)
{
	static const char *const names[] = { "auto", "scalar", "avx2", "avx512" };

	return (unsigned)l < ARRAY_SIZE(names) ? names[l] : "?";
}

enum mica_isa_level mica_isa_best(void)
{
	if (mica_path_usable(&mica_path_avx512))
		return MICA_ISA_AVX512;
	return mica_path_usable(&mica_path_avx2) ? MICA_ISA_AVX2 : MICA_ISA_SCALAR;
}

const struct mica_path *mica_path_of(enum mica_isa_level level)
{
	const struct mica_path *path;

	switch (level == MICA_ISA_AUTO ? mica_isa_best() : level) {
	case MICA_ISA_AVX512:
		path = &mica_path_avx512;
		break;
	case MICA_ISA_AVX2:
		path = &mica_path_avx2;
		break;
	case MICA_ISA_SCALAR:
		path = mica_path_usable(&mica_path_fma) ? &mica_path_fma : &mica_path_scalar;
		break;
	default:
		return NULL;
	}
	return mica_path_usable(path) ? path : NULL;
}

/* ---- Engines ------------------------------------------------------------------------------------------------------- */

struct mica_engine *mica_engine_create_path(const struct mica_path *path, unsigned threads)
{
	struct mica_engine *e;

	if (!path || !mica_path_usable(path)) {
		errno = ENOTSUP;
		return NULL;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->path = path;
	e->pool = pool_create(threads);
	if (!e->pool) {
		free(e);
		return NULL;
	}
	return e;
}

struct mica_engine *mica_engine_create(enum mica_isa_level level, unsigned threads)
{
	return mica_engine_create_path(mica_path_of(level), threads);
}

struct mica_engine *mica_engine_create_cores(enum mica_isa_level level, unsigned threads, unsigned cores)
{
	unsigned n = cores < threads ? cores : threads;
	struct mica_engine *e;

	n = n < 1 ? 1 : n > MICA_MAX_CORES ? MICA_MAX_CORES : n;
	e = mica_engine_create(level, threads / n + (threads % n > 0));
	if (!e || n == 1)
		return e;
	e->cores = pool_create(n);
	for (unsigned i = 1; e->cores && i < n; i++) {
		e->part[i - 1] = mica_engine_create(level, threads / n + (i < threads % n));
		if (!e->part[i - 1])
			break;
		e->parts++;
	}
	if (e->parts == n - 1)
		return e;
	mica_engine_destroy(e);
	return NULL;
}

void engine_begin(struct mica_engine *e)
{
	pool_begin(e->pool);
	if (e->cores)
		pool_begin(e->cores);
	for (unsigned i = 0; i < e->parts; i++)
		pool_begin(e->part[i]->pool);
}

void engine_end(struct mica_engine *e)
{
	for (unsigned i = 0; i < e->parts; i++)
		pool_end(e->part[i]->pool);
	if (e->cores)
		pool_end(e->cores);
	pool_end(e->pool);
}

void mica_engine_destroy(struct mica_engine *e)
{
	if (!e)
		return;
	for (unsigned i = 0; i < e->parts; i++)
		mica_engine_destroy(e->part[i]);
	pool_destroy(e->cores);
	pool_destroy(e->pool);
	scratch_free(e->shared, e->shared_size);
	free(e);
}

/* Pages of their own: memory that has become too small leaves no hole in the heap that stays resident. */
void *scratch_alloc(size_t bytes)
{
	void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mem == MAP_FAILED ? NULL : mem;
}

void scratch_free(void *mem, size_t bytes)
{
	if (mem)
		munmap(mem, bytes);
}

void *exec_shared(struct exec *x, size_t bytes)
{
	struct mica_engine *e = x->e;

	if (bytes > e->shared_size) {
		scratch_free(e->shared, e->shared_size);
		e->shared = scratch_alloc(bytes);
		e->shared_size = e->shared ? bytes : 0;
	}
	return e->shared;
}

const void *exec_view(struct exec *x, unsigned slot, uint64_t addr, size_t len)
{
	const struct mica_mem *mem = x->mem;
	const void *at;
	int fault = MICA_FAULT_NONE;

	if (mem->seg[MICA_ADDR_SEG(addr)])
		return mem->seg[MICA_ADDR_SEG(addr)] + MICA_ADDR_OFF(addr);
	if (!mem->view) {
		x->fault = MICA_FAULT_SEGMENT;
		return NULL;
	}
	at = mem->view(mem->opaque, slot, addr, len, &fault);
	if (!at)
		x->fault = fault ? fault : MICA_FAULT_SEGMENT;
	return at;
}

int mica_exec(struct mica_engine *e, const union mica_pkt *p, const struct mica_mem *mem)
{
	struct exec x = { .e = e, .mem = mem, .lmem = mem->lmem[mem->core] };
	exec_fn *fn = e->path->op[p->hdr.opcode];
	unsigned saved;
	int fault;

	if (!fn)
		return MICA_FAULT_PACKET;
	saved = fpenv_enter();
	fault = fn(&x, p);
	fpenv_leave(saved);
	if (!fault && exec_stopped(&x))
		return MICA_FAULT_ABORTED;
	return fault;
}
