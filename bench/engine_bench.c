// SPDX-License-Identifier: MIT
/*
 * Speed of the engine's kernels, one layer after another, against ceilings measured in between: a slice of the ceiling, a
 * slice of the layer, and so on. --help lists the options. Weights are streamed (every run reads the next copy of them, as a
 * whole network does) unless --warm; the activations stay in the caches.
 */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "bench_serve.h"
#include "ceilings.h"
#include "engine_layers.h"
#include "engine_simple.h"

#define LMEM_BYTES	(16u << 20)
#define SEG_BYTES	(96u << 20)
#define PARAM_BYTES	(1u << 16)
#define MAX_ROUNDS	64

static struct mica_mem mem;
static struct mica_engine *engine;
static enum mica_isa_level level;
static unsigned threads = 1;
static const char *filter, *formats = "e4m3,e5m2,bf16,i8,f32";
static int rounds = 12;
static double slice = 0.0005;
static bool warm, as_json, any_json, control;

/* ---- Operands ---------------------------------------------------------------------------------------------------- */

/* Ordinary values of every type: no NaN, no denormals, moderate exponents. */
static void fill(uint8_t *at, size_t n, unsigned dtype)
{
	static uint8_t pattern[1 << 16];

	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(dtype == MICA_I8 ? rand() : 0x28 + rand() % 0x10 + (rand() & 0x80));
	for (size_t i = 0; dtype == MICA_F32 && i < sizeof(pattern) / 4; i++)
		((float *)pattern)[i] = (float)rand() / (float)RAND_MAX - 0.5f;
	for (size_t i = 0; dtype == MICA_BF16 && i < sizeof(pattern) / 2; i++)
		((uint16_t *)pattern)[i] = (uint16_t)(0x3e80 + rand() % 0x80 + (rand() & 1) * 0x8000);
	for (size_t i = 0; i < n; i += sizeof(pattern))
		memcpy(at + i, pattern, n - i < sizeof(pattern) ? n - i : sizeof(pattern));
}

/* Scales of one magnitude, no bias, no compensation. */
static void fill_params(unsigned channels)
{
	uint32_t padded = (channels + 15) / 16 * 16;
	float *scale = (float *)mem.seg[0];

	memset(mem.seg[0], 0, PARAM_BYTES);
	for (uint32_t i = 0; i < channels && i < padded; i++)
		scale[i] = 0.01f;
}

static void conv_packet(union mica_pkt *p, const struct layer *l, unsigned dtype)
{
	struct mica_pkt_conv *c = &p->conv;
	unsigned out = layer_out(l);

	*p = (union mica_pkt){ 0 };
	c->hdr.opcode = l->depthwise ? MICA_OP_DWCONV : MICA_OP_CONV;
	c->hdr.units = sizeof(*c) / 64;
	c->src = view(0, dtype, l->hw, l->hw, l->cin);
	c->dst = view(LMEM_BYTES / 2, dtype, out, out, l->cout);
	c->dst.scale = 20.0f;
	c->weights = MICA_ADDR(0, PARAM_BYTES);
	c->params = MICA_ADDR(0, 0);
	c->n = 1;
	c->in_h = c->in_w = l->hw;
	c->in_c = l->cin;
	c->out_h = c->out_w = out;
	c->out_c = l->cout;
	c->groups = l->depthwise ? l->cin : 1;
	c->kh = c->kw = (uint16_t)l->k;
	c->stride_h = c->stride_w = (uint16_t)l->stride;
	c->dil_h = c->dil_w = 1;
	c->pad_top = c->pad_left = (int16_t)(l->k / 2);
	c->wdtype = (uint8_t)dtype;
	c->act = MICA_ACT_RELU;
}

/* ---- Measuring --------------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double quantile(double *v, int n, double q)
{
	qsort(v, (size_t)n, sizeof(*v), by_value);
	return v[(int)(q * (n - 1) + 0.5)];
}

/* The next copy of the weights, as long as the segment has one. */
static void next_weights(union mica_pkt *p, size_t bytes)
{
	uint64_t next = p->conv.weights + (bytes + 63) / 64 * 64;

	p->conv.weights = warm || next + bytes > MICA_ADDR(0, SEG_BYTES) ? MICA_ADDR(0, PARAM_BYTES) : next;
}

/* Seconds of a run: the mean of a slice of at least one, and the best so far. */
static double layer_slice(union mica_pkt *p, size_t weights, double *best)
{
	double begin = bench_now(), start = begin, end;
	int n = 0;

	do {
		if (mica_exec(engine, p, &mem))
			return NAN;
		end = bench_now();
		*best = end - start < *best ? end - start : *best;
		if (weights)
			next_weights(p, weights);
		start = end;
		n++;
	} while (end - begin < slice);
	return (end - begin) / n;
}

struct result {
	double seconds;			/* of the best run */
	double share, low, high;	/* of the ceiling: median and quartiles over rounds */
	double ceiling;			/* median, GMAC/s */
	double best_share;		/* the best run to the ceiling's best slice nearby */
};

/* A layer's slice is compared with the better one of the ceiling's slices before and after it: whatever disturbs one of them
 * does not flatter the layer. */
static struct result measure(union mica_pkt *p, unsigned dtype, double macs, size_t weights)
{
	enum ceiling c = macs > 0 ? ceiling_of(level, dtype) : CEIL_COUNT;
	double share[MAX_ROUNDS], top[MAX_ROUNDS], before, after, seconds;
	struct result r = { .seconds = INFINITY };

	layer_slice(p, weights, &r.seconds);
	before = c < CEIL_COUNT ? ceiling_measure(c, slice / 2) : 0;
	for (int i = 0; i < rounds; i++, before = after) {
		seconds = layer_slice(p, weights, &r.seconds);
		after = c < CEIL_COUNT ? ceiling_measure(c, slice / 2) : 0;
		top[i] = fmax(before, after);
		share[i] = top[i] > 0 ? macs / seconds * 1e-9 / top[i] : 0;
	}
	r.ceiling = quantile(top, rounds, 0.5);
	r.best_share = top[rounds - 1] > 0 ? macs / r.seconds * 1e-9 / top[rounds - 1] : 0;	/* sorted by now */
	r.low = quantile(share, rounds, 0.25);
	r.share = quantile(share, rounds, 0.5);
	r.high = quantile(share, rounds, 0.75);
	return r;
}

static void report(const struct layer *l, const char *what, unsigned dtype, double macs, double bytes, struct result r)
{
	double rate = macs / r.seconds * 1e-9;

	if (as_json) {
		printf("%s\n  {\"layer\": \"%s\", \"group\": \"%s\", \"count\": %u, \"format\": \"%s\", \"macs\": %.0f, \"bytes\": %.0f, \"us\": %.3f, "
		       "\"gmac_s\": %.2f, \"ceiling\": %.2f, \"best_share\": %.4f, \"share\": [%.4f, %.4f, %.4f]}", any_json ? "," : "", what, l->group, l->count,
		       mica_dtype_name(dtype), macs, bytes, r.seconds * 1e6, rate, r.ceiling, r.best_share, r.share, r.low, r.high);
		any_json = true;
		return;
	}
	printf("%-34s %-5s %9.1f us %8.1f GMAC/s  %5.1f %% of ceiling, median %.1f (%.1f-%.1f)\n", what, mica_dtype_name(dtype), r.seconds * 1e6,
	       rate, 100 * r.best_share, 100 * r.share, 100 * r.low, 100 * r.high);
}

static bool wanted(const char *what)
{
	return !filter || strstr(what, filter);
}

static void bench_layer(const struct layer *l, unsigned dtype)
{
	size_t size = mica_dtype_size(dtype), out = layer_out(l), weights;
	union mica_pkt p;
	char what[64];

	layer_name(l, what, sizeof(what));
	if (!wanted(what))
		return;
	conv_packet(&p, l, dtype);
	fill_params(l->cout);
	weights = l->depthwise ? mica_pack_size_dw(dtype, l->cout, l->k, l->k) : mica_pack_size(dtype, 1, l->cout, l->k, l->k, l->cin);
	report(l, what, dtype, layer_macs(l), (double)(weights + size * ((size_t)l->hw * l->hw * l->cin + out * out * l->cout)),
	       measure(&p, dtype, layer_macs(l), weights));
}

static void bench_matmul(unsigned dtype, unsigned batch, unsigned m, unsigned k, unsigned n)
{
	static const struct layer l = { .group = "matmul", .count = 1 };
	union mica_pkt p = { 0 };
	struct mica_pkt_matmul *c = &p.matmul;
	uint32_t size = mica_dtype_size(dtype);
	double macs = (double)batch * m * k * n;
	char what[64];

	snprintf(what, sizeof(what), "matmul %ux %ux%ux%u", batch, m, k, n);
	if (!wanted(what))
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
	report(&l, what, dtype, macs, (double)size * batch * ((double)m * k + (double)k * n + (double)m * n), measure(&p, dtype, macs, 0));
}

/* ---- Packets without MACs ------------------------------------------------------------------------------------------ */

static void bench_simple(struct simple *s)
{
	double seconds;

	if (!wanted(s->name))
		return;
	seconds = measure(&s->p, MICA_E4M3, 0, 0).seconds;
	printf("%-40s %9.1f us %8.2f Gelem/s\n", s->name, seconds * 1e6, s->elements / seconds * 1e-9);
}

/* ---- The run ------------------------------------------------------------------------------------------------------- */

static bool format_wanted(unsigned dtype)
{
	const char *name = mica_dtype_name(dtype), *at = formats;

	for (; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		if (!strncmp(at, name, strlen(name)) && (!at[strlen(name)] || at[strlen(name)] == ','))
			return true;
	return false;
}

static void show_ceilings(void)
{
	for (int c = 0; c < CEIL_COUNT; c++) {
		double best = 0;

		for (int i = 0; i < 20 && ceiling_can(c, mica_isa_best()); i++)
			best = fmax(best, ceiling_measure(c, c == CEIL_DRAM ? 0.02 : 0.002));
		if (as_json)
			printf("%s\"%s\": %.2f", c ? ", " : "", ceiling_names[c], best);
		else if (best > 0)
			printf("ceiling %-14s %8.1f %s on %u threads\n", ceiling_names[c], best, c < CEIL_L2 ? "GMAC/s" : "GB/s", threads);
	}
}

static void run(void)
{
	static const unsigned types[] = { MICA_E4M3, MICA_E5M2, MICA_BF16, MICA_I8, MICA_F32 };
	static struct simple simple[SIMPLE_MAX];
	unsigned n = simple_packets(simple, LMEM_BYTES / 2);

	printf(as_json ? "{\"isa\": \"%s\", \"threads\": %u, \"weights\": \"%s\", \"ceilings\": {" : "\n%s, %u threads, %s weights\n",
	       mica_isa_level_name(level), threads, warm ? "warm" : "streamed");
	show_ceilings();
	if (as_json)
		printf("}, \"layers\": [");
	for (unsigned t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
		if (!format_wanted(types[t]))
			continue;
		fill(mem.lmem[0], LMEM_BYTES, types[t]);
		fill(mem.seg[0], SEG_BYTES, types[t]);
		for (unsigned i = 0; i < sizeof(layers) / sizeof(layers[0]); i++)
			bench_layer(&layers[i], types[t]);
		bench_matmul(types[t], 12, 197, 64, 197);
		bench_matmul(types[t], 12, 197, 197, 64);
		bench_matmul(types[t], 1, 197, 768, 768);
	}
	if (as_json)
		printf("\n]}\n");
	for (unsigned i = 0; !as_json && i < n; i++)
		bench_simple(&simple[i]);
}

/* A fixed piece of work, split evenly: what an ideal program gets from the threads at this moment. */
static int control_run(void *unused)
{
	(void)unused;
	ceiling_measure(CEIL_WORK, 0);
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: engine_bench [--threads=N] [--isa=scalar|avx2|avx512] [--filter=TEXT] [--formats=e4m3,e5m2,bf16,i8,f32]\n"
			"                    [--rounds=N] [--slice=SECONDS] [--warm] [--json] | --control\n"
			"--filter takes layers whose name holds TEXT; --warm reads the same weights in every run.\n"
			"--control answers bench_serve.h's commands with runs of nothing but FMA, about two milliseconds of one thread.\n");
	return 2;
}

static int parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "threads", 1, NULL, 't' }, { "isa", 1, NULL, 'i' }, { "filter", 1, NULL, 'f' }, { "formats", 1, NULL, 'd' },
		{ "rounds", 1, NULL, 'r' }, { "slice", 1, NULL, 's' }, { "warm", 0, NULL, 'w' }, { "json", 0, NULL, 'j' },
		{ "control", 0, NULL, 'c' }, { 0 }
	};
	int c;

	while ((c = getopt_long(argc, argv, "t:i:f:", options, NULL)) >= 0) {
		switch (c) {
		case 't': threads = (unsigned)atoi(optarg); break;
		case 'f': filter = optarg; break;
		case 'd': formats = optarg; break;
		case 'r': rounds = atoi(optarg); break;
		case 's': slice = atof(optarg); break;
		case 'w': warm = true; break;
		case 'j': as_json = true; break;
		case 'c': control = true; break;
		case 'i':
			level = !strcmp(optarg, "scalar") ? MICA_ISA_SCALAR : !strcmp(optarg, "avx2") ? MICA_ISA_AVX2 : MICA_ISA_AVX512;
			break;
		default: return -1;
		}
	}
	return threads >= 1 && threads <= CEIL_MAX_THREADS && rounds >= 1 && rounds <= MAX_ROUNDS ? 0 : -1;
}

int main(int argc, char **argv)
{
	level = mica_isa_best();
	if (parse(argc, argv))
		return usage();
	if (control)
		return ceilings_open(threads, false) ? 1 : bench_serve(ceiling_can(CEIL_WORK, level) ? control_run : NULL, NULL);
	mem.lmem_size = LMEM_BYTES;
	mem.lmem[0] = aligned_alloc(64, LMEM_BYTES);
	mem.seg[0] = aligned_alloc(64, SEG_BYTES);
	mem.seg[1] = aligned_alloc(64, LMEM_BYTES);
	engine = mica_engine_create(level, threads);
	if (!mem.lmem[0] || !mem.seg[0] || !mem.seg[1] || !engine || ceilings_open(threads, true)) {
		fprintf(stderr, "engine_bench: no memory, or this CPU has no %s\n", mica_isa_level_name(level));
		return 1;
	}
	fill(mem.seg[1], LMEM_BYTES, MICA_E4M3);
	run();
	mica_engine_destroy(engine);
	return 0;
}
