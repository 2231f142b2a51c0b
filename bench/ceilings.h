/* SPDX-License-Identifier: MIT */
/*
 * What this machine can do at this moment: loops of nothing but one instruction, or of nothing but loads, on some threads at
 * once. Each thread measures its own rate and the rates are added, so that starting and waking threads cost nothing here.
 */
#ifndef BENCH_CEILINGS_H
#define BENCH_CEILINGS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include "engine.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define CEIL_MAX_THREADS	64
#define CEIL_L2_BYTES		(512u << 10)	/* does not fit L1, fits L2 */
#define CEIL_DRAM_BYTES		(128u << 20)	/* of all threads together; beyond L3 */

enum ceiling { CEIL_FMA512, CEIL_BF16, CEIL_VNNI, CEIL_FMA256, CEIL_MADD256, CEIL_L2, CEIL_DRAM, CEIL_COUNT, CEIL_WORK, CEIL_QUIT };
static const char *const ceiling_names[CEIL_COUNT] = {
	"fma 512", "vdpbf16ps", "vpdpbusd", "fma 256", "vpmaddwd 256", "read L2", "read DRAM",
};
/* What one loop of a million instructions, or one pass over the buffer, counts: 1e9 MACs or bytes. */
struct ceiling_worker {
	unsigned index, threads;
	uint8_t *buffer;		/* CEIL_DRAM_BYTES / threads; L2 uses its begin */
	double rate;			/* of the last slice: GMAC/s or GB/s */
};
static struct ceiling_worker ceiling_worker[CEIL_MAX_THREADS];
static pthread_barrier_t ceiling_start, ceiling_end;
static enum ceiling ceiling_what;
static double ceiling_seconds;
static unsigned ceiling_threads;
static volatile int ceiling_sink;

static inline double bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

#if defined(__x86_64__)
#define CEIL_LOOP 2000			/* times 12 instructions between two looks at the clock: some microseconds */
#define CEIL_WORK_LOOPS 600		/* of all threads together */

#define CEILING(name, isa, type, zero, step, extract) \
	__attribute__((target(isa), noinline)) static void name(void) \
	{ \
		type acc[12], x = zero; \
		for (int i = 0; i < 12; i++) \
			acc[i] = x; \
		for (int r = 0; r < CEIL_LOOP; r++) { \
			_Pragma("GCC unroll 12") for (int i = 0; i < 12; i++) \
				acc[i] = step; \
			__asm__ volatile("" : "+v"(x)); \
		} \
		for (int i = 0; i < 12; i++) \
			ceiling_sink += extract; \
	}
/* Volatile, or equal products would be computed once. */
__attribute__((target("avx2"), always_inline)) static inline __m256i ceiling_madd(__m256i x)
{
	__m256i y;

	__asm__ volatile("vpmaddwd %1, %1, %0" : "=x"(y) : "x"(x));
	return y;
}

CEILING(ceiling_fma512, "avx512f", __m512, _mm512_setzero_ps(), _mm512_fmadd_ps(x, x, acc[i]), (int)_mm512_cvtss_f32(acc[i]))
CEILING(ceiling_bf16, "avx512f,avx512bf16", __m512, _mm512_setzero_ps(), _mm512_dpbf16_ps(acc[i], (__m512bh)x, (__m512bh)x),
	(int)_mm512_cvtss_f32(acc[i]))
CEILING(ceiling_vnni, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(), _mm512_dpbusd_epi32(acc[i], x, x),
	_mm_cvtsi128_si32(_mm512_castsi512_si128(acc[i])))
CEILING(ceiling_fma256, "avx2,fma", __m256, _mm256_setzero_ps(), _mm256_fmadd_ps(x, x, acc[i]), (int)_mm256_cvtss_f32(acc[i]))
CEILING(ceiling_madd256, "avx2", __m256i, _mm256_setzero_si256(), _mm256_add_epi32(acc[i], ceiling_madd(x)),
	_mm_cvtsi128_si32(_mm256_castsi256_si128(acc[i])))

/* Reads bytes (a multiple of 512) with the widest loads; nothing is computed. */
__attribute__((target("avx512f"), noinline)) static void ceiling_read(const uint8_t *p, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 512)
		_Pragma("GCC unroll 8") for (int k = 0; k < 8; k++)
			__asm__ volatile("vmovups %0, %%zmm0" : : "m"(*(const __m512i *)(p + i + 64 * k)) : "xmm0");
}

static double ceiling_once(enum ceiling c, struct ceiling_worker *w, size_t *at)
{
	static void (*const run[])(void) = { ceiling_fma512, ceiling_bf16, ceiling_vnni, ceiling_fma256, ceiling_madd256 };
	static const double macs[] = { 16, 32, 64, 8, 16 };
	size_t part = CEIL_DRAM_BYTES / w->threads / 64 / 512 * 512;

	if (c == CEIL_WORK) {
		for (unsigned i = w->index; i < CEIL_WORK_LOOPS; i += w->threads)
			ceiling_fma512();
		return 1;
	}
	if (c < CEIL_L2) {
		run[c]();
		return 12e-9 * CEIL_LOOP * macs[c];
	}
	if (c == CEIL_L2) {
		ceiling_read(w->buffer, CEIL_L2_BYTES);
		return CEIL_L2_BYTES * 1e-9;
	}
	*at = *at + part > CEIL_DRAM_BYTES / w->threads ? 0 : *at;
	ceiling_read(w->buffer + *at, part);
	*at += part;
	return (double)part * 1e-9;
}

static bool ceiling_can(enum ceiling c, enum mica_isa_level best)
{
	/* The work and the reads are written for AVX-512. */
	return best == MICA_ISA_AVX512 || (best == MICA_ISA_AVX2 && (c == CEIL_FMA256 || c == CEIL_MADD256));
}
#else
static double ceiling_once(enum ceiling c, struct ceiling_worker *w, size_t *at)
{
	(void)c, (void)w, (void)at;
	return 0;
}

static bool ceiling_can(enum ceiling c, enum mica_isa_level best)
{
	(void)c, (void)best;
	return false;
}
#endif

/* One thread's slice, at least one loop. */
static void ceiling_slice(struct ceiling_worker *w)
{
	static _Thread_local size_t at;
	double work = 0, begin = bench_now(), now;

	do {
		work += ceiling_once(ceiling_what, w, &at);
		now = bench_now();
	} while (now - begin < ceiling_seconds);
	w->rate = work / (now - begin);
}

static void *ceiling_thread(void *arg)
{
	for (;;) {
		pthread_barrier_wait(&ceiling_start);
		if (ceiling_what == CEIL_QUIT)
			return NULL;
		ceiling_slice(arg);
		pthread_barrier_wait(&ceiling_end);
	}
}

/* Threads that sleep until a ceiling is measured; with buffers only if one of the reads is to be. Returns 0 or -1. */
static int ceilings_open(unsigned threads, bool reads)
{
	size_t bytes = reads ? CEIL_DRAM_BYTES / threads / 64 * 64 : 64;
	pthread_t t;

	ceiling_threads = threads;
	pthread_barrier_init(&ceiling_start, NULL, threads);
	pthread_barrier_init(&ceiling_end, NULL, threads);
	for (unsigned i = 0; i < threads; i++) {
		ceiling_worker[i] = (struct ceiling_worker){ i, threads, aligned_alloc(64, bytes), 0 };
		if (!ceiling_worker[i].buffer)
			return -1;
		for (size_t k = 0; k < bytes; k += 64)
			ceiling_worker[i].buffer[k] = 1;
		if (i && (pthread_create(&t, NULL, ceiling_thread, &ceiling_worker[i]) || pthread_detach(t)))
			return -1;
	}
	return 0;
}

/* GMAC/s or GB/s of all threads together, over a slice of so many seconds. */
static double ceiling_measure(enum ceiling c, double seconds)
{
	double rate = 0;

	ceiling_what = c;
	ceiling_seconds = seconds;
	pthread_barrier_wait(&ceiling_start);
	ceiling_slice(&ceiling_worker[0]);
	pthread_barrier_wait(&ceiling_end);
	for (unsigned i = 0; i < ceiling_threads; i++)
		rate += ceiling_worker[i].rate;
	return rate;
}

static enum ceiling ceiling_of(enum mica_isa_level level, unsigned dtype)
{
	if (level == MICA_ISA_AVX512)
		return dtype == MICA_F32 ? CEIL_FMA512 : dtype == MICA_I8 ? CEIL_VNNI : CEIL_BF16;
	return level != MICA_ISA_AVX2 ? CEIL_COUNT : dtype == MICA_I8 ? CEIL_MADD256 : CEIL_FMA256;
}

#endif
