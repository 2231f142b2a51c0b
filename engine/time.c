// SPDX-License-Identifier: MIT
/* The cycle model of docs/cycles.md: what a packet costs, and when it runs. Integers only. */
#include "engine_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DRAM_BURST	64u	/* bytes: every contiguous run of a copy occupies whole bursts */

const struct mica_params mica_params_default = {
	.mac_rows = 64, .mac_cols = 64, .vector_lanes = 256, .dram_bytes_per_cycle = 64, .lmem_bytes_per_cycle = 256,
	.dispatch_cycles = 4, .dma_latency = 100, .barrier_cycles = 50,
};

struct costing {
	const union mica_pkt *p;
	const struct mica_params *par;
	unsigned cores;
	struct mica_cost *out;
};

static uint64_t max64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t volume(const uint32_t dim[4])
{
	return (uint64_t)dim[0] * dim[1] * dim[2] * dim[3];
}

static uint64_t dram_cycles(const struct costing *c, uint64_t bytes)
{
	return div_up(bytes * c->cores, c->par->dram_bytes_per_cycle);
}

/* Constants that an engine reads from DRAM by itself. */
static uint64_t fetch(const struct costing *c, uint64_t bytes)
{
	c->out->dram_read += bytes;
	return bytes ? c->par->dma_latency + dram_cycles(c, bytes) : 0;
}

/* ---- Copies ------------------------------------------------------------------------------------------------------ */

/* Bytes that one side occupies when every contiguous run takes whole bursts. */
static uint64_t burst_bytes(const uint32_t dim[4], const int32_t stride[4], uint32_t elem)
{
	uint64_t run = elem, total = elem * volume(dim);
	bool grown = true;

	while (grown) {
		grown = false;
		for (int i = 0; i < 4; i++) {
			uint64_t s = (uint64_t)(stride[i] < 0 ? -(int64_t)stride[i] : stride[i]);

			if (dim[i] > 1 && s == run) {
				run *= dim[i];
				grown = true;
				break;
			}
		}
	}
	return total / run * round_up(run, DRAM_BURST);
}

static bool is_dram(uint64_t addr)
{
	return MICA_ADDR_SEG(addr) < MICA_MAX_SEGMENTS;
}

static bool is_peer(uint64_t addr)
{
	uint32_t seg = MICA_ADDR_SEG(addr);

	return seg >= MICA_SEG_PEER && seg < MICA_SEG_PEER + MICA_MAX_CORES;
}

static void cost_copy(const struct costing *c)
{
	const struct mica_pkt_copy *p = &c->p->copy;
	uint64_t bytes = p->elem * volume(p->dim), cycles = div_up(bytes, c->par->lmem_bytes_per_cycle);

	if (is_dram(p->src)) {
		c->out->dram_read += bytes;
		cycles = max64(cycles, dram_cycles(c, burst_bytes(p->dim, p->src_stride, p->elem)));
	}
	if (is_dram(p->dst)) {
		c->out->dram_write += bytes;
		cycles = max64(cycles, dram_cycles(c, burst_bytes(p->dim, p->dst_stride, p->elem)));
	}
	if (is_peer(p->src) || is_peer(p->dst))
		c->out->peer += bytes;
	c->out->cycles = cycles + c->par->dma_latency;
}

/* ---- Matrix engine ------------------------------------------------------------------------------------------------- */

/* Elements of K that one row of the array takes in a cycle: full rate for 8 bits, half for bf16, a quarter for f32. */
static uint64_t k_per_cycle(const struct costing *c, unsigned a, unsigned b)
{
	unsigned size = mica_dtype_size(a) > mica_dtype_size(b) ? mica_dtype_size(a) : mica_dtype_size(b);

	return max64(c->par->mac_rows / size, 1);
}

/* One pixel, mac_rows products of mac_cols channels a cycle; filling and draining the array once. */
static uint64_t array_cycles(const struct costing *c, uint64_t pixels, uint64_t k, uint64_t channels, uint64_t per_cycle)
{
	return pixels * div_up(k, per_cycle) * div_up(channels, c->par->mac_cols) + c->par->mac_rows + c->par->mac_cols;
}

static void cost_conv(const struct costing *c)
{
	const struct mica_pkt_conv *p = &c->p->conv;
	unsigned cin = p->in_c / p->groups, cout = p->out_c / p->groups;
	uint64_t k = (uint64_t)p->kh * p->kw * cin, pixels = (uint64_t)p->n * p->out_h * p->out_w;
	uint64_t stream = mica_pack_size(p->wdtype, p->groups, cout, p->kh, p->kw, cin) +
			  mica_params_size(p->groups, cout);
	uint64_t mac = array_cycles(c, pixels * p->groups, k, cout, k_per_cycle(c, p->src.dtype, p->wdtype));

	c->out->macs = pixels * p->out_c * k;
	c->out->dram_read = stream;
	c->out->cycles = c->par->dma_latency + max64(mac, dram_cycles(c, stream));
}

static void cost_matmul(const struct costing *c)
{
	const struct mica_pkt_matmul *p = &c->p->matmul;
	uint64_t rows = (uint64_t)p->batch * p->m;
	uint64_t load = div_up((uint64_t)p->batch * p->k * p->n * mica_dtype_size(p->b.dtype),
			       c->par->lmem_bytes_per_cycle);
	uint64_t params = p->params == MICA_ADDR_NONE ? 0 : fetch(c, mica_params_size(1, p->n));

	c->out->macs = rows * p->k * p->n;
	c->out->cycles = params + max64(array_cycles(c, rows, p->k, p->n, k_per_cycle(c, p->a.dtype, p->b.dtype)), load);
}

/* ---- Vector engine ------------------------------------------------------------------------------------------------- */

/* Passes of the lanes that a function takes. */
static unsigned fn_weight(unsigned fn)
{
	switch (fn) {
	case MICA_FN_SIGMOID: case MICA_FN_TANH: case MICA_FN_SILU: case MICA_FN_GELU: case MICA_FN_EXP:
	case MICA_FN_LOG: case MICA_FN_ERF: case MICA_FN_ELU: case MICA_FN_SELU: case MICA_FN_SOFTPLUS:
	case MICA_FN_MISH: case MICA_FN_SIN: case MICA_FN_COS:
		return 4;
	case MICA_FN_SQRT: case MICA_FN_RECIP: case MICA_FN_SOFTSIGN:
		return 2;
	default:
		return 1;
	}
}

static unsigned bin_weight(unsigned op)
{
	return op == MICA_BIN_POW ? 8 : op == MICA_BIN_DIV || op == MICA_BIN_MOD ? 2 : 1;
}

static void vector_cycles(const struct costing *c, uint64_t lane_ops)
{
	c->out->cycles += max64(div_up(lane_ops, c->par->vector_lanes), 1);
}

static void cost_dwconv(const struct costing *c)
{
	const struct mica_pkt_conv *p = &c->p->conv;
	uint64_t out = (uint64_t)p->n * p->out_h * p->out_w * p->out_c, taps = (uint64_t)p->kh * p->kw;

	c->out->macs = out * taps;
	c->out->cycles = fetch(c, mica_pack_size_dw(p->wdtype, p->out_c, p->kh, p->kw) + mica_params_size(1, p->out_c));
	vector_cycles(c, out * (taps + 1));
}

static void cost_vector(const struct costing *c)
{
	const union mica_pkt *p = c->p;

	switch (p->hdr.opcode) {
	case MICA_OP_FILL:
		vector_cycles(c, volume(p->fill.dim));
		break;
	case MICA_OP_BINARY:
		vector_cycles(c, volume(p->binary.dim) * (bin_weight(p->binary.op) + fn_weight(p->binary.act) - 1));
		break;
	case MICA_OP_UNARY:
		vector_cycles(c, volume(p->unary.dim) * fn_weight(p->unary.func));
		break;
	case MICA_OP_LUT:
		c->out->cycles = fetch(c, 256ull * mica_dtype_size(p->lut.dst.dtype));
		vector_cycles(c, volume(p->lut.dim));
		break;
	case MICA_OP_POOL:
		vector_cycles(c, (uint64_t)p->pool.n * p->pool.out_h * p->pool.out_w * p->pool.c * p->pool.kh * p->pool.kw);
		break;
	case MICA_OP_RESIZE:
		c->out->cycles = fetch(c, ((uint64_t)p->resize.out_h + p->resize.out_w) * sizeof(struct mica_resize_tap));
		vector_cycles(c, (uint64_t)p->resize.n * p->resize.out_h * p->resize.out_w * p->resize.c *
				 (p->resize.mode == MICA_RESIZE_LINEAR ? 4 : 1));
		break;
	case MICA_OP_REDUCE:
		vector_cycles(c, volume(p->reduce.dim));
		break;
	case MICA_OP_SOFTMAX:	/* maximum, exp and sum, quotient */
		vector_cycles(c, volume(p->norm.dim) * 8);
		break;
	case MICA_OP_NORM:
		c->out->cycles = fetch(c, 4ull * p->norm.dim[3] *
				       ((p->norm.gamma != MICA_ADDR_NONE) + (p->norm.beta != MICA_ADDR_NONE)));
		vector_cycles(c, volume(p->norm.dim) * 4);
		break;
	default:
		break;
	}
}

void mica_pkt_cost(const union mica_pkt *p, const struct mica_params *par, unsigned cores, struct mica_cost *out)
{
	struct costing c = { p, par, cores ? cores : 1, out };

	*out = (struct mica_cost){ 0 };
	switch (p->hdr.opcode) {
	case MICA_OP_COPY:
		cost_copy(&c);
		break;
	case MICA_OP_CONV:
		cost_conv(&c);
		break;
	case MICA_OP_DWCONV:
		cost_dwconv(&c);
		break;
	case MICA_OP_MATMUL:
		cost_matmul(&c);
		break;
	default:
		cost_vector(&c);
		break;
	}
}

/* ---- Timelines ----------------------------------------------------------------------------------------------------- */

int mica_timeline_init(struct mica_timeline *t, const struct mica_params *par, unsigned cores, uint32_t layers)
{
	memset(t, 0, sizeof(*t));
	t->par = par;
	t->cores = cores;
	t->stats.cores = 1;
	t->layers = layers;
	if (layers) {
		t->layer = calloc(layers, sizeof(*t->layer));
		if (!t->layer)
			return -ENOMEM;
	}
	return 0;
}

void mica_timeline_fini(struct mica_timeline *t)
{
	for (unsigned e = 0; e < MICA_ENGINE_COUNT; e++)
		free(t->done[e]);
	free(t->layer);
	memset(t, 0, sizeof(*t));
}

static int push_done(struct mica_timeline *t, unsigned e, uint64_t when)
{
	if (t->count[e] == t->cap[e]) {
		uint32_t cap = t->cap[e] ? t->cap[e] * 2 : 64;
		uint64_t *grown = cap > t->cap[e] ? realloc(t->done[e], cap * sizeof(*grown)) : NULL;

		if (!grown)
			return -ENOMEM;
		t->done[e] = grown;
		t->cap[e] = cap;
	}
	t->done[e][t->count[e]++] = when;
	return 0;
}

/* A packet starts when it is decoded, its engine is free and what it waits for is done. */
static uint64_t start_time(const struct mica_timeline *t, const union mica_pkt *p, unsigned engine)
{
	uint64_t start = max64(t->cp, t->free[engine]);

	for (unsigned e = 0; e < MICA_ENGINE_COUNT; e++) {
		uint32_t need = p->hdr.wait[e] < t->count[e] ? p->hdr.wait[e] : t->count[e];

		if (need)
			start = max64(start, t->done[e][need - 1]);
	}
	return start;
}

static void count_layer(struct mica_layer_stats *l, unsigned engine, uint64_t start, const struct mica_cost *cost)
{
	if (!l->end || start < l->start)
		l->start = start;
	l->end = max64(l->end, start + cost->cycles);
	l->busy[engine] += cost->cycles;
	l->macs += cost->macs;
}

int mica_timeline_packet(struct mica_timeline *t, const union mica_pkt *p)
{
	enum mica_engine_id engine = mica_pkt_engine(p);
	struct mica_cost cost;
	uint64_t start;

	t->cp += t->par->dispatch_cycles;
	t->stats.packets++;
	if (engine >= MICA_ENGINE_COUNT)
		return 0;
	mica_pkt_cost(p, t->par, t->cores, &cost);
	start = start_time(t, p, engine);
	if (push_done(t, engine, start + cost.cycles))
		return -ENOMEM;
	t->free[engine] = start + cost.cycles;
	t->stats.busy[engine] += cost.cycles;
	t->stats.macs += cost.macs;
	t->stats.dram_read_bytes += cost.dram_read;
	t->stats.dram_write_bytes += cost.dram_write;
	t->stats.peer_bytes += cost.peer;
	if (p->hdr.layer < t->layers)
		count_layer(&t->layer[p->hdr.layer], engine, start, &cost);
	return 0;
}

uint64_t mica_timeline_drain(const struct mica_timeline *t)
{
	uint64_t when = t->cp;

	for (unsigned e = 0; e < MICA_ENGINE_COUNT; e++)
		when = max64(when, t->free[e]);
	return when;
}

void mica_timeline_barrier(struct mica_timeline *t, uint64_t when)
{
	t->cp = when + t->par->barrier_cycles;
	for (unsigned e = 0; e < MICA_ENGINE_COUNT; e++) {
		t->free[e] = t->cp;
		t->count[e] = 0;
	}
}

static void merge_layer(struct mica_layer_stats *into, const struct mica_layer_stats *l)
{
	if (!l->end)
		return;
	if (!into->end || l->start < into->start)
		into->start = l->start;
	into->end = max64(into->end, l->end);
	into->macs += l->macs;
	for (unsigned e = 0; e < MICA_ENGINE_COUNT; e++)
		into->busy[e] += l->busy[e];
}

void mica_timeline_report(struct mica_timeline *const t[], unsigned n, struct mica_job_stats *stats,
			  struct mica_layer_stats *layer, uint32_t layers)
{
	*stats = (struct mica_job_stats){ .cores = n, .layers = layer ? layers : 0 };
	if (layer)
		memset(layer, 0, layers * sizeof(*layer));
	for (unsigned i = 0; i < n; i++) {
		const struct mica_job_stats *s = &t[i]->stats;

		stats->cycles = max64(stats->cycles, mica_timeline_drain(t[i]));
		stats->macs += s->macs;
		stats->dram_read_bytes += s->dram_read_bytes;
		stats->dram_write_bytes += s->dram_write_bytes;
		stats->peer_bytes += s->peer_bytes;
		stats->packets += s->packets;
		for (unsigned e = 0; e < MICA_ENGINE_COUNT; e++)
			stats->busy[e] += s->busy[e];
		for (uint32_t l = 0; layer && l < layers && l < t[i]->layers; l++)
			merge_layer(&layer[l], &t[i]->layer[l]);
	}
}
