// SPDX-License-Identifier: MIT
/*
 * The verifier of finished streams. It shares no code with emit.c: it reads packets as the device does, works out from
 * the waits what is known to be complete when each starts, and walks every byte of every memory in a shadow. Refused are
 * unordered accesses to a byte (one of them a write), cores that meet between barriers, reads of bytes that nobody has
 * written (LMEM is lost at checkpoints), and outputs with holes.
 */
#include <stdlib.h>
#include <string.h>
#include "backend.h"

#define WINDOW (1u << 20)	/* units of a memory that are shadowed at a time */

struct vpacket {
	const union mica_pkt *p;		/* NULL: a host step, alone in its interval */
	const struct mica_host_step *host;
	unsigned core, engine;
	uint32_t index, ordinal, interval;
	uint32_t done[MICA_ENGINE_COUNT];	/* complete before it starts, since the barrier */
};

struct unit {
	uint32_t interval, written, writer, init;	/* init: 1 + checkpoints seen when it was written */
	uint32_t read[MICA_ENGINE_COUNT];
	uint8_t reader_cores, writer_cores;
};

struct verifier {
	const struct mica_compiled *c;
	struct mica_err *err;
	struct vpacket *pkt;			/* by interval, then core, then order */
	unsigned count;
	uint32_t *life;				/* by interval: checkpoints before it */
	struct unit *shadow;			/* of the first unit of a stretch for all of it */
	uint64_t *first;			/* bits: where a stretch begins */
	/* the memory being looked at */
	bool lmem;
	unsigned mem;				/* core or segment */
	uint64_t size, unit, base, units;	/* bytes; of the window the first unit, how many */
	struct access *access;			/* all there are to it, in the order of the packets */
	size_t accesses;
};

struct block { bool lmem; unsigned mem; int64_t at; int64_t dim[4], stride[4]; unsigned elem; bool write; };

/*
 * A block as runs of bytes: run bytes at at + sum(i[k] * stride[k]). From axis k on it spans the bytes lo[k] .. hi[k] - 1
 * relative to where the outer axes stand.
 */
struct access {
	const struct vpacket *by;
	bool write;
	int64_t at, run, dim[4], stride[4], lo[5], hi[5];
};

/* ---- reading packets ---- */

static struct block from_view(const struct mica_view *v, unsigned core, int64_t d0, int64_t d1, int64_t d2, int64_t d3, bool write)
{
	struct block b = { .lmem = true, .mem = core, .at = v->addr, .dim = { d0, d1, d2, d3 },
			   .elem = mica_dtype_size(v->dtype), .write = write };

	for (unsigned i = 0; i < 4; i++)
		b.stride[i] = v->stride[i];
	return b;
}

static struct block from_copy(const struct mica_pkt_copy *c, unsigned core, bool write)
{
	uint64_t addr = write ? c->dst : c->src;
	uint32_t seg = MICA_ADDR_SEG(addr);
	struct block b = { .lmem = seg >= MICA_SEG_PEER, .mem = seg == MICA_SEG_LMEM ? core : seg >= MICA_SEG_PEER ? seg - MICA_SEG_PEER : seg,
			   .at = (int64_t)MICA_ADDR_OFF(addr), .elem = c->elem, .write = write };

	for (unsigned i = 0; i < 4; i++) {
		b.dim[i] = c->dim[i];
		b.stride[i] = write ? c->dst_stride[i] : c->src_stride[i];
	}
	return b;
}

#define BLOCKS (MICA_HOST_MAX_IN + 1)

static struct block from_host(const struct mica_host_tensor *t, bool write)
{
	return (struct block){ .mem = MICA_ADDR_SEG(t->addr), .at = (int64_t)MICA_ADDR_OFF(t->addr), .elem = 4, .write = write,
			       .dim = { 1, 1, 1, (int64_t)mica_host_elements(t) }, .stride = { 0, 0, 0, 4 } };
}

/* All blocks that a packet touches; elem 0 marks an operand that is absent. */
static unsigned blocks_of(const struct vpacket *v, struct block b[BLOCKS])
{
	const union mica_pkt *p = v->p;
	unsigned c = v->core;

	if (!p) {
		for (unsigned i = 0; i < v->host->ins; i++)
			b[i] = from_host(&v->host->in[i], false);
		b[v->host->ins] = from_host(&v->host->out, true);
		return v->host->ins + 1;
	}

#define ALL4(d) (d)[0], (d)[1], (d)[2], (d)[3]
	switch (p->hdr.opcode) {
	case MICA_OP_COPY:
		b[0] = from_copy(&p->copy, c, false);
		b[1] = from_copy(&p->copy, c, true);
		return 2;
	case MICA_OP_FILL:
		b[0] = from_view(&p->fill.dst, c, ALL4(p->fill.dim), true);
		return 1;
	case MICA_OP_CONV: case MICA_OP_DWCONV:
		b[0] = from_view(&p->conv.src, c, p->conv.n, p->conv.in_h, p->conv.in_w, p->conv.in_c, false);
		b[1] = from_view(&p->conv.res, c, p->conv.n, p->conv.out_h, p->conv.out_w, p->conv.out_c, false);
		b[2] = from_view(&p->conv.dst, c, p->conv.n, p->conv.out_h, p->conv.out_w, p->conv.out_c, true);
		return 3;
	case MICA_OP_MATMUL:
		b[0] = from_view(&p->matmul.a, c, p->matmul.batch, p->matmul.m, p->matmul.k, 1, false);
		b[1] = from_view(&p->matmul.b, c, p->matmul.batch, p->matmul.k, p->matmul.n, 1, false);
		b[2] = from_view(&p->matmul.res, c, p->matmul.batch, p->matmul.m, p->matmul.n, 1, false);
		b[3] = from_view(&p->matmul.dst, c, p->matmul.batch, p->matmul.m, p->matmul.n, 1, true);
		return 4;
	case MICA_OP_BINARY:
		b[0] = from_view(&p->binary.a, c, ALL4(p->binary.dim), false);
		b[1] = from_view(&p->binary.b, c, ALL4(p->binary.dim), false);
		b[2] = from_view(&p->binary.c, c, ALL4(p->binary.dim), false);
		b[3] = from_view(&p->binary.dst, c, ALL4(p->binary.dim), true);
		return 4;
	case MICA_OP_UNARY:
		b[0] = from_view(&p->unary.src, c, ALL4(p->unary.dim), false);
		b[1] = from_view(&p->unary.dst, c, ALL4(p->unary.dim), true);
		return 2;
	case MICA_OP_LUT:
		b[0] = from_view(&p->lut.src, c, ALL4(p->lut.dim), false);
		b[1] = from_view(&p->lut.dst, c, ALL4(p->lut.dim), true);
		return 2;
	case MICA_OP_POOL:
		b[0] = from_view(&p->pool.src, c, p->pool.n, p->pool.in_h, p->pool.in_w, p->pool.c, false);
		b[1] = from_view(&p->pool.dst, c, p->pool.n, p->pool.out_h, p->pool.out_w, p->pool.c, true);
		return 2;
	case MICA_OP_RESIZE:
		b[0] = from_view(&p->resize.src, c, p->resize.n, p->resize.in_h, p->resize.in_w, p->resize.c, false);
		b[1] = from_view(&p->resize.dst, c, p->resize.n, p->resize.out_h, p->resize.out_w, p->resize.c, true);
		return 2;
	case MICA_OP_REDUCE:
		b[0] = from_view(&p->reduce.src, c, ALL4(p->reduce.dim), false);
		b[1] = from_view(&p->reduce.dst, c, ALL4(p->reduce.dim), true);
		for (unsigned i = 0; i < 4; i++)
			if (p->reduce.axes & 1u << i)
				b[1].dim[i] = 1;
		return 2;
	case MICA_OP_SOFTMAX: case MICA_OP_NORM:
		b[0] = from_view(&p->norm.src, c, ALL4(p->norm.dim), false);
		b[1] = from_view(&p->norm.dst, c, ALL4(p->norm.dim), true);
		return 2;
	default:
		return 0;
	}
#undef ALL4
}

/* ---- what is complete when a packet starts ---- */

static int by_interval(const void *a, const void *b)
{
	const struct vpacket *x = a, *y = b;

	if (x->interval != y->interval)
		return x->interval < y->interval ? -1 : 1;
	if (x->core != y->core)
		return x->core < y->core ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

static void join(uint32_t *done, const uint32_t *other)
{
	for (unsigned e = 0; e < MICA_ENGINE_COUNT; e++)
		done[e] = other[e] > done[e] ? other[e] : done[e];
}

/* The packets of one interval of one core: start of each is after its waits and after its engine's packet before. */
static void order_interval(struct vpacket *v, unsigned n)
{
	uint32_t count[MICA_ENGINE_COUNT] = { 0 };
	struct vpacket **nth[MICA_ENGINE_COUNT];

	for (unsigned e = 0; e < MICA_ENGINE_COUNT; e++)
		nth[e] = ir_alloc(n + 1, sizeof(**nth));
	for (unsigned i = 0; i < n; i++) {
		unsigned me = v[i].engine;

		if (count[me])
			join(v[i].done, nth[me][count[me]]->done);
		v[i].done[me] = count[me];
		for (unsigned e = 0; e < MICA_ENGINE_COUNT; e++) {
			uint32_t w = v[i].p ? v[i].p->hdr.wait[e] : 0;

			if (!w)
				continue;
			join(v[i].done, nth[e][w]->done);
			v[i].done[e] = v[i].done[e] > w ? v[i].done[e] : w;
		}
		v[i].ordinal = ++count[me];
		nth[me][v[i].ordinal] = &v[i];
	}
	for (unsigned e = 0; e < MICA_ENGINE_COUNT; e++)
		free(nth[e]);
}

/* One core's stream of a phase. Returns the barriers in it. */
static uint32_t read_stream(struct verifier *v, unsigned phase, unsigned core, uint32_t base)
{
	const struct mica_compiled *c = v->c;
	size_t at = c->state.phase[phase].at[core], end = at + be_phase_size(c, phase, core);
	uint32_t interval = base, index = 0;

	for (; at < end; index++) {
		const union mica_pkt *p = (const union mica_pkt *)(c->stream[core] + at);

		at += (size_t)p->hdr.units * MICA_PKT_ALIGN;
		if (p->hdr.opcode == MICA_OP_BARRIER) {
			interval++;
			v->life[interval] = v->life[interval - 1] + !!(p->ctl.flags & MICA_BARRIER_CHECKPOINT);
		} else if (p->hdr.opcode != MICA_OP_END) {
			v->pkt[v->count++] = (struct vpacket){ .p = p, .core = core, .engine = mica_pkt_engine(p),
							       .index = index, .interval = interval };
		}
	}
	return interval - base;
}

static void read_streams(struct verifier *v)
{
	const struct be_state *b = &v->c->state;
	uint32_t interval = 0;

	v->pkt = ir_alloc((size_t)v->c->packets + b->hosts, sizeof(*v->pkt));
	v->life = ir_alloc((size_t)v->c->packets + b->hosts + b->phases + 1, sizeof(*v->life));
	for (unsigned k = 0; k < b->phases; k++) {
		uint32_t barriers = 0;

		for (unsigned core = 0; core < v->c->cores; core++)
			barriers = read_stream(v, k, core, interval);
		interval += barriers;
		for (unsigned i = 0; i < b->phase[k].hosts; i++) {
			const struct mica_host_step *h = &b->host[b->phase[k].host + i];

			v->life[interval + 1] = v->life[interval];
			v->pkt[v->count++] = (struct vpacket){ .host = h, .index = i, .interval = ++interval };
		}
		v->life[interval + 1] = v->life[interval] + 1;	/* LMEM is lost */
		interval++;
	}
	qsort(v->pkt, v->count, sizeof(*v->pkt), by_interval);
	for (unsigned i = 0, n; i < v->count; i += n) {
		for (n = 1; i + n < v->count && v->pkt[i + n].interval == v->pkt[i].interval && v->pkt[i + n].core == v->pkt[i].core; n++)
			;
		order_interval(&v->pkt[i], n);
	}
}

/* ---- the shadow ---- */

static int refuse(const struct verifier *v, const struct vpacket *p, uint64_t at, const char *what)
{
	char text[512];

	if (p->p)
		mica_disasm(text, sizeof(text), p->p);
	else
		mica_host_disasm(text, sizeof(text), p->host);
	return mica_err_set(v->err, MICA_ERR_INTERNAL,
			    "%s: the streams are refused: core %u, packet %u (layer %u): %s, at byte %llu of %s %u: %.300s; please report it",
			    v->c->g->name, p->core, p->index, p->p ? p->p->hdr.layer : p->host->layer, what, (unsigned long long)at, v->lmem ? "LMEM of core" : "segment",
			    v->mem, text);
}

/* The last bit at or before i; there is one. */
static uint64_t bit_before(const uint64_t *bits, uint64_t i)
{
	uint64_t w = i / 64, word = bits[w] & (~0ull >> (63 - i % 64));

	while (!word)
		word = bits[--w];
	return w * 64 + 63 - (uint64_t)__builtin_clzll(word);
}

/* The first bit behind i and before end, or end. */
static uint64_t bit_behind(const uint64_t *bits, uint64_t i, uint64_t end)
{
	uint64_t w = (i + 1) / 64, word;

	if (i + 1 >= end)
		return end;
	word = bits[w] & (~0ull << ((i + 1) % 64));
	while (!word && (w + 1) * 64 < end)
		word = bits[++w];
	w = word ? w * 64 + (uint64_t)__builtin_ctzll(word) : end;
	return w < end ? w : end;
}

static void split(struct verifier *v, uint64_t i)
{
	if (v->first[i / 64] >> (i % 64) & 1)
		return;
	v->shadow[i] = v->shadow[bit_before(v->first, i)];
	v->first[i / 64] |= 1ull << (i % 64);
}

static void join_stretches(struct verifier *v, uint64_t from, uint64_t to)
{
	for (uint64_t i = bit_behind(v->first, from, to); i < to; i = bit_behind(v->first, i, to))
		v->first[i / 64] &= ~(1ull << (i % 64));
}

/* An access to the stretch that begins at unit i. After a write it has no past that differs from its neighbours'. */
static int visit(struct verifier *v, const struct vpacket *p, uint64_t i, uint32_t life, bool write)
{
	struct unit *u = &v->shadow[i];
	uint8_t me = (uint8_t)(1u << p->core);
	uint64_t at = (v->base + i) * v->unit;

	if (u->interval != p->interval + 1)
		*u = (struct unit){ .interval = p->interval + 1, .init = u->init };
	if ((u->writer_cores & ~me) || (write && (u->reader_cores & ~me)))
		return refuse(v, p, at, "touches what another core writes or reads since the last barrier");
	if (u->written && u->writer != p->engine && p->done[u->writer] < u->written)
		return refuse(v, p, at, "does not wait for the packet that wrote before");
	if (!write) {
		if (u->init != life)
			return refuse(v, p, at, "reads what nobody has written");
		u->reader_cores |= me;
		u->read[p->engine] = p->ordinal;
		return 0;
	}
	for (unsigned e = 0; e < MICA_ENGINE_COUNT; e++)
		if (e != p->engine && p->done[e] < u->read[e])
			return refuse(v, p, at, "does not wait for the packet that reads before");
	*u = (struct unit){ .interval = p->interval + 1, .written = p->ordinal, .writer = p->engine, .writer_cores = me, .init = life };
	return 0;
}

static int visit_run(struct verifier *v, const struct access *a, uint64_t from, uint64_t to)
{
	uint32_t life = v->lmem ? v->life[a->by->interval] + 1 : 1;
	int ret = 0;

	split(v, from);
	if (to < v->units)
		split(v, to);
	for (uint64_t i = from; i < to && !ret; i = bit_behind(v->first, i, to))
		ret = visit(v, a->by, i, life, a->write);
	if (a->write)
		join_stretches(v, from, to);
	return ret;
}

/* What of the access lies in the window, from axis k on. */
static int visit_axis(struct verifier *v, const struct access *a, unsigned k, int64_t at)
{
	int64_t lo = (int64_t)(v->base * v->unit), hi = lo + (int64_t)(v->units * v->unit);
	int ret = 0;

	if (at + a->hi[k] <= lo || at + a->lo[k] >= hi)
		return 0;
	if (k == 4) {
		lo = at > lo ? at - lo : 0;
		hi = (at + a->run < hi ? at + a->run : hi) - (int64_t)(v->base * v->unit);
		return visit_run(v, a, (uint64_t)lo / v->unit, (uint64_t)hi / v->unit);
	}
	for (int64_t i = 0; i < a->dim[k] && !ret; i++)
		ret = visit_axis(v, a, k + 1, at + i * a->stride[k]);
	return ret;
}

/* Axes that repeat the same bytes go, those that continue what is inside them become part of the run. */
static struct access access_of(const struct vpacket *p, const struct block *b)
{
	struct access a = { .by = p, .write = b->write, .at = b->at, .run = b->elem };
	bool joined = true;

	for (int k = 3; k >= 0; k--) {
		a.dim[k] = b->stride[k] ? b->dim[k] : 1;
		a.stride[k] = b->stride[k];
		joined = joined && (a.dim[k] == 1 || a.stride[k] == a.run);
		if (joined) {
			a.run *= a.dim[k];
			a.dim[k] = 1;
		}
	}
	a.hi[4] = a.run;
	for (int k = 3; k >= 0; k--) {
		int64_t reach = (a.dim[k] - 1) * a.stride[k];

		a.lo[k] = a.lo[k + 1] + (reach < 0 ? reach : 0);
		a.hi[k] = a.hi[k + 1] + (reach > 0 ? reach : 0);
	}
	return a;
}

static bool here(const struct verifier *v, const struct block *b)
{
	return b->elem && b->lmem == v->lmem && b->mem == v->mem;
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t t = a % b;

		a = b;
		b = t;
	}
	return a;
}

static void collect(struct verifier *v)
{
	size_t room = 64;

	v->accesses = 0;
	v->access = ir_alloc(room, sizeof(*v->access));
	for (unsigned i = 0; i < v->count; i++) {
		struct block b[BLOCKS];
		unsigned n = blocks_of(&v->pkt[i], b);

		for (unsigned k = 0; k < n; k++) {
			if (!here(v, &b[k]))
				continue;
			if (v->accesses == room) {
				room *= 2;
				v->access = realloc(v->access, room * sizeof(*v->access));
				if (!v->access)
					abort();
			}
			v->access[v->accesses++] = access_of(&v->pkt[i], &b[k]);
		}
	}
}

/* The largest unit that every access to this memory is a multiple of. */
static uint64_t common_unit(const struct verifier *v)
{
	uint64_t g = v->size;

	for (size_t i = 0; i < v->accesses; i++) {
		const struct access *a = &v->access[i];

		g = gcd(gcd(g, (uint64_t)a->at), (uint64_t)a->run);
		for (unsigned d = 0; d < 4; d++)
			if (a->dim[d] > 1)
				g = gcd(g, (uint64_t)llabs(a->stride[d]));
	}
	return g ? g : 1;
}

static int check_window(struct verifier *v, bool input, bool output)
{
	uint64_t units = (v->size + v->unit - 1) / v->unit - v->base;
	int ret = 0;

	v->units = units < WINDOW ? units : WINDOW;
	v->shadow = ir_alloc(v->units, sizeof(*v->shadow));	/* pages that nobody visits cost nothing */
	v->first = ir_alloc(v->units / 64 + 1, sizeof(*v->first));
	v->first[0] = 1;
	v->shadow[0].init = input;
	for (size_t i = 0; i < v->accesses && !ret; i++)
		ret = visit_axis(v, &v->access[i], 0, v->access[i].at);
	for (uint64_t i = 0; i < v->units && output && !ret; i = bit_behind(v->first, i, v->units))
		if (!v->shadow[i].init)
			ret = mica_err_set(v->err, MICA_ERR_INTERNAL, "%s: the streams are refused: byte %llu of output '%s' is never written; please report it",
					   v->c->g->name, (unsigned long long)((v->base + i) * v->unit),
					   v->c->output_name[v->mem - MICA_SEG_IO - v->c->g->inputs]);
	free(v->shadow);
	free(v->first);
	return ret;
}

static int check_memory(struct verifier *v, bool lmem, unsigned mem, uint64_t size, bool input, bool output)
{
	int ret = 0;

	v->lmem = lmem;
	v->mem = mem;
	v->size = size;
	if (!size)
		return 0;
	collect(v);
	v->unit = common_unit(v);
	for (v->base = 0; v->base * v->unit < size && !ret; v->base += WINDOW)
		ret = check_window(v, input, output);
	free(v->access);
	return ret;
}

/* The validators of device and SDK on every phase. */
static int check_phases(const struct mica_compiled *c, struct mica_err *err)
{
	struct mica_job job;
	struct mica_job_fault fault = { 0 };
	int ret = 0;

	for (unsigned k = 0; k < c->state.phases && !ret; k++) {
		mica_compiled_phase(c, k, &job);
		if (c->state.phase[k].device)
			ret = mica_job_check(&job, &fault);
	}
	if (ret)
		return mica_err_set(err, MICA_ERR_INTERNAL, "%s: the streams are refused: core %u, packet %u: %s (%s), fault %d; please report it",
				    c->g->name, fault.core, fault.packet, mica_check_name(fault.check), fault.field ? fault.field : "-", ret);
	for (unsigned i = 0; i < c->state.hosts; i++) {
		const struct mica_host_step *h = &c->state.host[i];
		const char *why = mica_host_check(h);

		why = why ? why : mica_host_bounds(h, &job.lim);
		if (why)
			return mica_err_set(err, MICA_ERR_INTERNAL, "%s: host step %u (%s) is refused: %s; please report it", c->g->name, i,
					    mica_host_name(h->op), why);
	}
	return 0;
}

int be_verify(const struct mica_compiled *c, struct mica_err *err)
{
	struct verifier v = { .c = c, .err = err };
	struct mica_job job;
	int ret = check_phases(c, err);

	if (ret)
		return ret;
	mica_compiled_job(c, &job);
	read_streams(&v);
	for (unsigned i = 0; i < c->cores && !ret; i++)
		ret = check_memory(&v, true, i, c->lmem, false, false);
	for (unsigned s = MICA_SEG_ARENA; s < job.lim.segments && !ret; s++) {
		bool output = s >= MICA_SEG_IO + c->g->inputs;

		ret = check_memory(&v, false, s, job.lim.seg_size[s], s != MICA_SEG_ARENA && !output, output);
	}
	free(v.pkt);
	free(v.life);
	return ret;
}
