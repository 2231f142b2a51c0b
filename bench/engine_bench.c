// SPDX-License-Identifier: MIT
/*
 * Speed of the engine's kernels against ceilings measured in the same run: loops of nothing but FMA, VDPBF16PS, VPDPBUSD.
 *   engine_bench [--threads N] [--isa scalar|avx2|avx512] [--filter TEXT]
 */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "engine.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LMEM_BYTES	(16u << 20)
#define SEG_BYTES	(16u << 20)
#define LAYERS_LINE	"%-34s %-5s %9.1f us %8.1f GMAC/s  %5.1f %% of ceiling\n"

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

/* ---- Ceilings ---------------------------------------------------------------------------------------------------- */

enum ceiling { CEIL_FMA512, CEIL_BF16, CEIL_VNNI, CEIL_FMA256, CEIL_MADD256, CEIL_COUNT };
static const char *const ceiling_names[CEIL_COUNT] = { "fma 512", "vdpbf16ps", "vpdpbusd", "fma 256", "vpmaddwd 256" };
static const double ceiling_macs[CEIL_COUNT] = { 16, 32, 64, 8, 16 };
static double ceilings[CEIL_COUNT];	/* GMAC/s of the threads together */
static volatile int sink;

#if defined(__x86_64__)
#define ROUNDS 1000000
#define CEILING(name, isa, type, zero, step, extract) \
	__attribute__((target(isa))) static void name(void) \
	{ \
		type acc[12], x = zero; \
		for (int i = 0; i < 12; i++) \
			acc[i] = x; \
		for (int r = 0; r < ROUNDS; r++) { \
			_Pragma("GCC unroll 12") for (int i = 0; i < 12; i++) \
				acc[i] = step; \
			__asm__ volatile("" : "+v"(x)); \
		} \
		for (int i = 0; i < 12; i++) \
			sink += extract; \
	}
/* Volatile, or equal products would be computed once. */
__attribute__((target("avx2"), always_inline)) static inline __m256i madd(__m256i x)
{
	__m256i y;

	__asm__ volatile("vpmaddwd %1, %1, %0" : "=x"(y) : "x"(x));
	return y;
}

CEILING(run_fma512, "avx512f", __m512, _mm512_setzero_ps(), _mm512_fmadd_ps(x, x, acc[i]), (int)_mm512_cvtss_f32(acc[i]))
CEILING(run_bf16, "avx512f,avx512bf16", __m512, _mm512_setzero_ps(), _mm512_dpbf16_ps(acc[i], (__m512bh)x, (__m512bh)x),
	(int)_mm512_cvtss_f32(acc[i]))
CEILING(run_vnni, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(), _mm512_dpbusd_epi32(acc[i], x, x),
	_mm_cvtsi128_si32(_mm512_castsi512_si128(acc[i])))
CEILING(run_fma256, "avx2,fma", __m256, _mm256_setzero_ps(), _mm256_fmadd_ps(x, x, acc[i]), (int)_mm256_cvtss_f32(acc[i]))
CEILING(run_madd256, "avx2", __m256i, _mm256_setzero_si256(), _mm256_add_epi32(acc[i], madd(x)),
	_mm_cvtsi128_si32(_mm256_castsi256_si128(acc[i])))
static void (*const ceiling_runs[CEIL_COUNT])(void) = { run_fma512, run_bf16, run_vnni, run_fma256, run_madd256 };

static void *ceiling_thread(void *arg)
{
	(*(void (*const *)(void))arg)();
	return NULL;
}

static double measure_ceiling(enum ceiling c, unsigned threads)
{
	double best = 1e9;

	for (int round = 0; round < 30; round++) {
		pthread_t t[64];
		double start = now(), took;

		for (unsigned i = 1; i < threads; i++)
			pthread_create(&t[i], NULL, ceiling_thread, (void *)&ceiling_runs[c]);
		ceiling_runs[c]();
		for (unsigned i = 1; i < threads; i++)
			pthread_join(t[i], NULL);
		took = now() - start;
		best = took < best ? took : best;
	}
	return 12.0 * ROUNDS * ceiling_macs[c] * threads / best * 1e-9;
}

static void measure_ceilings(unsigned threads, enum mica_isa_level best)
{
	for (int c = 0; c < CEIL_COUNT; c++) {
		if (best != MICA_ISA_AVX512 && (c < CEIL_FMA256 || best != MICA_ISA_AVX2))
			continue;
		ceilings[c] = measure_ceiling(c, threads);
		printf("ceiling %-14s %8.1f GMAC/s on %u threads\n", ceiling_names[c], ceilings[c], threads);
	}
}
#else
static void measure_ceilings(unsigned threads, enum mica_isa_level best)
{
	(void)threads, (void)best, (void)ceiling_names, (void)ceiling_macs, (void)sink;
}
#endif

static double ceiling_of(enum mica_isa_level level, unsigned dtype)
{
	if (level == MICA_ISA_AVX512)
		return ceilings[dtype == MICA_F32 ? CEIL_FMA512 : dtype == MICA_I8 ? CEIL_VNNI : CEIL_BF16];
	if (level == MICA_ISA_AVX2)
		return ceilings[dtype == MICA_I8 ? CEIL_MADD256 : CEIL_FMA256];
	return 0;
}

/* ---- Packets ----------------------------------------------------------------------------------------------------- */

static struct mica_mem mem;
static struct mica_engine *engine;
static enum mica_isa_level level;
static const char *filter;
static double slowest;

static double time_packet(const union mica_pkt *p)
{
	double best = 1e9, begin = now(), limit = slowest ? slowest : 0.25;

	for (int i = 0; i < 200 && (i < 3 || now() - begin < limit); i++) {
		double start = now(), took;

		if (mica_exec(engine, p, &mem))
			return -1;
		took = now() - start;
		best = took < best ? took : best;
	}
	return best;
}

static struct mica_view view(uint32_t addr, unsigned dtype, uint32_t h, uint32_t w, uint32_t c)
{
	uint32_t size = mica_dtype_size(dtype);

	return (struct mica_view){ .addr = addr, .dtype = (uint8_t)dtype, .scale = 0.05f,
				   .stride = { h * w * c * size, w * c * size, c * size, size } };
}

static void report(const char *what, unsigned dtype, double seconds, double macs)
{
	double rate = macs / seconds * 1e-9, top = ceiling_of(level, dtype);

	printf(LAYERS_LINE, what, mica_dtype_name(dtype), seconds * 1e6, rate, top ? 100 * rate / top : 0);
}

static void bench_conv(unsigned op, unsigned dtype, unsigned hw, unsigned cin, unsigned cout, unsigned k, unsigned stride)
{
	union mica_pkt p = { 0 };
	struct mica_pkt_conv *c = &p.conv;
	unsigned out = hw / stride;
	char what[64];

	snprintf(what, sizeof(what), "%s %ux%u/%u %u->%u @%u", mica_op_name(op), k, k, stride, cin, cout, out);
	if (filter && !strstr(what, filter))
		return;
	c->hdr.opcode = (uint8_t)op;
	c->hdr.units = sizeof(*c) / 64;
	c->src = view(0, dtype, hw, hw, cin);
	c->dst = view(LMEM_BYTES / 2, dtype, out, out, cout);
	c->dst.scale = 20.0f;
	c->weights = MICA_ADDR(0, 1 << 20);
	c->params = MICA_ADDR(0, 0);
	c->n = 1;
	c->in_h = c->in_w = hw;
	c->in_c = cin;
	c->out_h = c->out_w = out;
	c->out_c = cout;
	c->groups = op == MICA_OP_DWCONV ? cin : 1;
	c->kh = c->kw = (uint16_t)k;
	c->stride_h = c->stride_w = (uint16_t)stride;
	c->dil_h = c->dil_w = 1;
	c->pad_top = c->pad_left = (int16_t)(k / 2);
	c->wdtype = (uint8_t)dtype;
	c->act = MICA_ACT_RELU;
	report(what, dtype, time_packet(&p), (double)out * out * cout * k * k * (op == MICA_OP_DWCONV ? 1 : cin));
}

static void bench_matmul(unsigned dtype, unsigned batch, unsigned m, unsigned k, unsigned n)
{
	union mica_pkt p = { 0 };
	struct mica_pkt_matmul *c = &p.matmul;
	uint32_t size = mica_dtype_size(dtype);
	char what[64];

	snprintf(what, sizeof(what), "matmul %ux %ux%ux%u", batch, m, k, n);
	if (filter && !strstr(what, filter))
		return;
	c->hdr.opcode = MICA_OP_MATMUL;
	c->hdr.units = sizeof(*c) / 64;
	c->a = (struct mica_view){ 0, (uint8_t)dtype, 0, 0, 0.05f, 0, { m * k * size, k * size, size, 0 } };
	c->b = (struct mica_view){ LMEM_BYTES / 4, (uint8_t)dtype, 0, 0, 0.05f, 0, { k * n * size, n * size, size, 0 } };
	c->dst = (struct mica_view){ LMEM_BYTES / 2, (uint8_t)dtype, 0, 0, 20.0f, 0, { m * n * size, n * size, size, 0 } };
	c->batch = batch;
	c->m = m;
	c->k = k;
	c->n = n;
	c->params = MICA_ADDR_NONE;
	report(what, dtype, time_packet(&p), (double)batch * m * k * n);
}

static void bench_simple(const char *what, union mica_pkt *p, double elements)
{
	double t;

	if (filter && !strstr(what, filter))
		return;
	t = time_packet(p);
	printf("%-40s %9.1f us %8.2f Gelem/s\n", what, t * 1e6, elements / t * 1e-9);
}

static void bench_vector(void)
{
	uint32_t hw = 56, c = 256;
	double n = (double)hw * hw * c;
	struct mica_view src = view(0, MICA_E4M3, hw, hw, c), dst = view(LMEM_BYTES / 2, MICA_E4M3, hw, hw, c);
	union mica_pkt p;

	p = (union mica_pkt){ .unary = { .hdr = { .opcode = MICA_OP_UNARY, .units = 2 }, .src = src, .dst = dst,
					 .dim = { 1, hw, hw, c }, .func = MICA_FN_SILU } };
	bench_simple("unary silu e4m3", &p, n);
	p.unary.func = MICA_FN_COPY;
	bench_simple("unary copy e4m3", &p, n);
	p = (union mica_pkt){ .binary = { .hdr = { .opcode = MICA_OP_BINARY, .units = 3 }, .a = src, .b = src, .dst = dst,
					  .dim = { 1, hw, hw, c }, .op = MICA_BIN_ADD } };
	bench_simple("binary add e4m3", &p, n);
	p.binary.b.stride[0] = p.binary.b.stride[1] = p.binary.b.stride[2] = 0;
	bench_simple("binary add e4m3, b per channel", &p, n);
	p = (union mica_pkt){ .lut = { .hdr = { .opcode = MICA_OP_LUT, .units = 2 }, .src = src, .dst = dst,
				       .dim = { 1, hw, hw, c }, .table = MICA_ADDR(0, 0) } };
	bench_simple("lut e4m3", &p, n);
	p = (union mica_pkt){ .pool = { .hdr = { .opcode = MICA_OP_POOL, .units = 3 }, .src = view(0, MICA_E4M3, 112, 112, 64),
					.dst = view(LMEM_BYTES / 2, MICA_E4M3, 56, 56, 64), .n = 1, .in_h = 112, .in_w = 112,
					.c = 64, .out_h = 56, .out_w = 56, .kh = 3, .kw = 3, .stride_h = 2, .stride_w = 2,
					.dil_h = 1, .dil_w = 1, .pad_top = 1, .pad_left = 1 } };
	bench_simple("pool max 3x3/2 64@56 e4m3", &p, 56.0 * 56 * 64);
	p = (union mica_pkt){ .reduce = { .hdr = { .opcode = MICA_OP_REDUCE, .units = 2 }, .src = src,
					  .dst = view(LMEM_BYTES / 2, MICA_E4M3, 1, 1, c), .dim = { 1, hw, hw, c },
					  .op = MICA_RED_MEAN, .axes = 6 } };
	bench_simple("reduce mean h,w e4m3", &p, n);
	p = (union mica_pkt){ .norm = { .hdr = { .opcode = MICA_OP_SOFTMAX, .units = 3 }, .src = src, .dst = dst,
					.dim = { 1, hw, hw, c }, .gamma = MICA_ADDR_NONE, .beta = MICA_ADDR_NONE } };
	bench_simple("softmax e4m3, rows of 256", &p, n);
	p = (union mica_pkt){ .copy = { .hdr = { .opcode = MICA_OP_COPY, .units = 2 }, .src = MICA_ADDR(1, 0),
					.dst = MICA_ADDR(MICA_SEG_LMEM, 0), .elem = 1, .dim = { 1, 1, 224 * 224, 3 },
					.src_stride = { 0, 0, 1, 224 * 224 }, .dst_stride = { 0, 0, 3, 1 } } };
	bench_simple("copy 3x224x224 planar to interleaved", &p, 224.0 * 224 * 3);
	p.copy.dim[2] = hw * hw;
	p.copy.dim[3] = c;
	p.copy.src_stride[3] = (int32_t)(hw * hw);
	p.copy.dst_stride[2] = (int32_t)c;
	bench_simple("copy 256x56x56 planar to interleaved", &p, n);
	p.copy.src_stride[3] = 1;
	p.copy.src_stride[2] = (int32_t)c;
	bench_simple("copy 56x56x256 dense", &p, n);
}

static const struct { unsigned hw, cin, cout, k, stride; } convs[] = {
	{ 224, 3, 64, 7, 2 }, { 56, 64, 64, 1, 1 }, { 56, 64, 64, 3, 1 }, { 56, 64, 256, 1, 1 }, { 56, 256, 64, 1, 1 },
	{ 56, 128, 128, 3, 2 }, { 28, 128, 128, 3, 1 }, { 28, 128, 512, 1, 1 }, { 28, 512, 128, 1, 1 },
	{ 14, 256, 256, 3, 1 }, { 14, 256, 1024, 1, 1 }, { 14, 1024, 256, 1, 1 }, { 7, 512, 512, 3, 1 },
	{ 7, 2048, 512, 1, 1 }, { 7, 512, 2048, 1, 1 }, { 1, 2048, 1000, 1, 1 },
};

static void fill(uint8_t *at, size_t n)
{
	for (size_t i = 0; i < n; i++)	/* ordinary codes of every type: no NaN, moderate exponents */
		at[i] = (uint8_t)(rand() % 0x30 + (rand() & 0x80));
}

static void run(unsigned threads)
{
	static const unsigned types[] = { MICA_E4M3, MICA_BF16, MICA_I8, MICA_F32 };

	engine = mica_engine_create(level, threads);
	if (!engine)
		return;
	printf("\n%s, %u thread%s\n", mica_isa_level_name(level), threads, threads > 1 ? "s" : "");
	for (unsigned t = 0; t < 4; t++) {
		for (unsigned i = 0; i < sizeof(convs) / sizeof(convs[0]); i++)
			bench_conv(MICA_OP_CONV, types[t], convs[i].hw, convs[i].cin, convs[i].cout, convs[i].k, convs[i].stride);
		bench_conv(MICA_OP_DWCONV, types[t], 112, 32, 32, 3, 1);
		bench_conv(MICA_OP_DWCONV, types[t], 28, 256, 256, 3, 1);
		bench_conv(MICA_OP_DWCONV, types[t], 14, 512, 512, 5, 1);
		bench_matmul(types[t], 12, 197, 64, 197);
		bench_matmul(types[t], 12, 197, 197, 64);
		bench_matmul(types[t], 1, 197, 768, 768);
	}
	bench_vector();
	mica_engine_destroy(engine);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "threads", 1, NULL, 't' }, { "isa", 1, NULL, 'i' }, { "filter", 1, NULL, 'f' }, { 0 }
	};
	unsigned threads = 1;
	int c;

	level = mica_isa_best();
	while ((c = getopt_long(argc, argv, "t:i:f:", options, NULL)) >= 0) {
		if (c == 't')
			threads = (unsigned)atoi(optarg);
		else if (c == 'f')
			filter = optarg;
		else if (c == 'i')
			level = !strcmp(optarg, "scalar") ? MICA_ISA_SCALAR : !strcmp(optarg, "avx2") ? MICA_ISA_AVX2 :
				MICA_ISA_AVX512;
		else
			return 2;
	}
	mem.lmem_size = LMEM_BYTES;
	mem.lmem[0] = aligned_alloc(64, LMEM_BYTES);
	mem.seg[0] = aligned_alloc(64, SEG_BYTES);
	mem.seg[1] = aligned_alloc(64, SEG_BYTES);
	if (!threads || !mem.lmem[0] || !mem.seg[0] || !mem.seg[1])
		return 1;
	fill(mem.lmem[0], LMEM_BYTES);
	fill(mem.seg[0], SEG_BYTES);
	fill(mem.seg[1], SEG_BYTES);
	measure_ceilings(threads, mica_isa_best());
	run(threads);
	return 0;
}
