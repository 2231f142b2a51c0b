// SPDX-License-Identifier: MIT
/*
 * COPY and FILL. A copy is brought to its simplest shape (axes of one dropped, adjoining axes merged), then its planes
 * are moved (move.c), by all threads when it is large. Memory behind callbacks is touched in runs that are contiguous
 * there, never in between, since other cores may write the bytes in between.
 */
#include "move.h"

#include <stdlib.h>
#include <string.h>

#define STAGE_BYTES	(256u * 1024)	/* scratch between strided local memory and contiguous runs of DRAM */
#define SLICE_BYTES	(32u * 1024)	/* to a thread at least: less costs more to hand over than to move */

struct shape {
	struct axis ax[4];	/* outermost first */
	unsigned n;
	uint32_t elem;
};

/* ---- Shapes ---------------------------------------------------------------------------------------------------------- */

/* Drops axes of one; turns axes around so that strides of the leading side (dst, or src) are not negative. */
static void shape_init(struct shape *s, const struct mica_pkt_copy *p, bool by_src, int64_t *dst_at, int64_t *src_at)
{
	s->n = 0;
	s->elem = p->elem;
	for (int i = 0; i < 4; i++) {
		struct axis a = { p->dim[i], p->dst_stride[i], p->src_stride[i] };

		if (a.dim == 1)
			continue;
		if ((by_src ? a.src : a.dst) < 0) {
			*dst_at += (int64_t)(a.dim - 1) * a.dst;
			*src_at += (int64_t)(a.dim - 1) * a.src;
			a.dst = -a.dst;
			a.src = -a.src;
		}
		s->ax[s->n++] = a;
	}
}

static uint64_t sort_key(const struct axis *a, bool by_src)
{
	int64_t stride = by_src ? a->src : a->dst;

	return stride ? (uint64_t)stride : UINT64_MAX;	/* a repeated axis is never part of a run */
}

/* Sorts axes by the leading side's stride, largest first, and merges those that continue each other on both sides. */
static void shape_simplify(struct shape *s, bool by_src)
{
	unsigned n = 0;

	for (unsigned i = 1; i < s->n; i++)
		for (unsigned j = i; j; j--) {
			struct axis *a = &s->ax[j - 1], *b = &s->ax[j], t = *a;

			if (sort_key(a, by_src) >= sort_key(b, by_src))
				break;
			*a = *b;
			*b = t;
		}
	for (unsigned i = 0; i < s->n; i++) {
		struct axis *out = n ? &s->ax[n - 1] : NULL, a = s->ax[i];

		if (out && out->dst == (int64_t)a.dim * a.dst && out->src == (int64_t)a.dim * a.src)
			*out = (struct axis){ out->dim * a.dim, a.dst, a.src };
		else
			s->ax[n++] = a;
	}
	s->n = n;
}

/* ---- Both sides local ------------------------------------------------------------------------------------------------ */

/* The two innermost axes are a plane; when src is contiguous along another axis, that one belongs to the plane too. */
static void prefer_contiguous(struct shape *s)
{
	for (unsigned i = 0; i + 2 < s->n; i++)
		if (s->ax[i].src == s->elem && s->ax[s->n - 1].src != s->elem) {
			struct axis t = s->ax[i];

			s->ax[i] = s->ax[s->n - 2];
			s->ax[s->n - 2] = t;
		}
}

/* A simplified shape: up to two outer axes around a plane. */
static void local_part(uint8_t *dst, const uint8_t *src, const struct shape *s)
{
	const struct axis one = { 1, 0, 0 };
	struct axis a = s->n > 3 ? s->ax[0] : one, b = s->n > 2 ? s->ax[s->n - 3] : one;

	for (uint64_t i = 0; i < a.dim; i++)
		for (uint64_t j = 0; j < b.dim; j++)
			move_plane(dst + (int64_t)i * a.dst + (int64_t)j * b.dst,
				   src + (int64_t)i * a.src + (int64_t)j * b.src,
				   s->ax + (s->n > 2 ? s->n - 2 : 0), s->n > 2 ? 2 : s->n, s->elem);
}

static void local_copy(uint8_t *dst, const uint8_t *src, struct shape s)
{
	shape_simplify(&s, false);
	prefer_contiguous(&s);
	local_part(dst, src, &s);
}

/* ---- Large local copies: slices of one axis to the threads ----------------------------------------------------------- */

struct sliced {
	const struct shape *s;
	uint8_t *dst;
	const uint8_t *src;
	unsigned axis;
	uint64_t slice;			/* of the axis, to an item */
};

static void slice_item(void *ctx, uint32_t item, unsigned thread)
{
	const struct sliced *c = ctx;
	struct shape s = *c->s;
	struct axis *a = &s.ax[c->axis];
	uint64_t from = item * c->slice;

	(void)thread;
	a->dim = a->dim - from < c->slice ? a->dim - from : c->slice;
	local_part(c->dst + (int64_t)from * a->dst, c->src + (int64_t)from * a->src, &s);
}

/* The longest axis along which the destination is not contiguous, so that threads write apart; else the only one. */
static unsigned slice_axis(const struct shape *s)
{
	unsigned best = s->n - 1;

	for (unsigned i = 0; i + 1 < s->n; i++)
		if (best == s->n - 1 || s->ax[i].dim > s->ax[best].dim)
			best = i;
	return best;
}

static void threaded_copy(struct exec *x, uint8_t *dst, const uint8_t *src, struct shape s)
{
	struct sliced c = { &s, dst, src, 0, 0 };
	unsigned threads = pool_threads(x->e->pool);
	uint64_t bytes = s.elem, items;

	shape_simplify(&s, false);
	prefer_contiguous(&s);
	for (unsigned i = 0; i < s.n; i++)
		bytes *= s.ax[i].dim;
	if (threads == 1 || bytes < 2 * SLICE_BYTES || !s.n) {
		local_part(dst, src, &s);
		return;
	}
	c.axis = slice_axis(&s);
	items = bytes / SLICE_BYTES < 2 * threads ? bytes / SLICE_BYTES : 2 * threads;
	c.slice = round_up(div_up(s.ax[c.axis].dim, items), MOVE_LINE / s.elem);	/* whole blocks of a transposition */
	pool_run(x->e->pool, slice_item, &c, (uint32_t)div_up(s.ax[c.axis].dim, c.slice));
}

/* ---- One side behind callbacks ----------------------------------------------------------------------------------------- */

struct dram_side {
	struct exec *x;
	uint64_t addr;
	bool write;		/* DRAM is the destination */
	uint8_t *stage;
};

static int64_t dram_stride(const struct dram_side *d, const struct axis *a)
{
	return d->write ? a->dst : a->src;
}

static int64_t local_stride(const struct dram_side *d, const struct axis *a)
{
	return d->write ? a->src : a->dst;
}

static int transfer(const struct dram_side *d, uint64_t addr, uint8_t *local, size_t len)
{
	const struct mica_mem *m = d->x->mem;

	return d->write ? m->write(m->opaque, addr, local, len) : m->read(m->opaque, addr, local, len);
}

/* `run` axes that are one contiguous piece of DRAM, so their DRAM strides fit the stage as they are. */
static int dram_run(const struct dram_side *d, uint64_t addr, uint8_t *local, const struct shape *run, size_t bytes)
{
	int fault;

	if (!run->n || (run->n == 1 && local_stride(d, &run->ax[0]) == run->elem))
		return transfer(d, addr, local, bytes);
	if (d->write) {
		local_copy(d->stage, local, *run);
		return transfer(d, addr, d->stage, bytes);
	}
	fault = transfer(d, addr, d->stage, bytes);
	if (!fault)
		local_copy(local, d->stage, *run);
	return fault;
}

/* Splits the outermost axis of a run until it fits the stage. */
static int dram_piece(const struct dram_side *d, uint64_t addr, uint8_t *local, struct shape run, size_t bytes)
{
	uint64_t whole, step;
	size_t row;
	bool direct = !run.n || (run.n == 1 && local_stride(d, &run.ax[0]) == run.elem);
	int fault = 0;

	if (direct || bytes <= STAGE_BYTES)
		return dram_run(d, addr, local, &run, bytes);
	whole = run.ax[0].dim;
	row = bytes / whole;
	step = row < STAGE_BYTES ? STAGE_BYTES / row : 1;
	for (uint64_t i = 0; i < whole && !fault; i += step) {
		struct shape part = run;
		int64_t at = (int64_t)i;

		part.ax[0].dim = whole - i < step ? whole - i : step;
		if (part.ax[0].dim == 1) {
			memmove(part.ax, part.ax + 1, (part.n - 1) * sizeof(part.ax[0]));
			part.n--;
			fault = dram_piece(d, addr + (uint64_t)(at * dram_stride(d, &run.ax[0])),
					   local + at * local_stride(d, &run.ax[0]), part, row);
		} else {
			fault = dram_run(d, addr + (uint64_t)(at * dram_stride(d, &run.ax[0])),
					 local + at * local_stride(d, &run.ax[0]), &part, part.ax[0].dim * row);
		}
	}
	return fault;
}

static int dram_loop(const struct dram_side *d, uint64_t addr, uint8_t *local, const struct axis *outer, unsigned n,
		     const struct shape *run, size_t bytes)
{
	int fault = 0;

	if (!n)
		return dram_piece(d, addr, local, *run, bytes);
	for (uint64_t i = 0; i < outer->dim && !fault; i++) {
		int64_t at = (int64_t)i;

		if (exec_stopped(d->x))
			return MICA_FAULT_ABORTED;
		fault = dram_loop(d, addr + (uint64_t)(at * dram_stride(d, outer)),
				  local + at * local_stride(d, outer), outer + 1, n - 1, run, bytes);
	}
	return fault;
}

/* s is sorted by DRAM strides: its innermost axes that leave no gap in DRAM are one run. */
static int dram_copy(const struct dram_side *d, uint8_t *local, const struct shape *s)
{
	struct shape run = { .elem = s->elem };
	size_t bytes = s->elem;
	unsigned outer = s->n;

	while (outer && dram_stride(d, &s->ax[outer - 1]) == (int64_t)bytes) {
		bytes *= s->ax[outer - 1].dim;
		outer--;
	}
	run.n = s->n - outer;
	memcpy(run.ax, s->ax + outer, run.n * sizeof(run.ax[0]));
	return dram_loop(d, d->addr, local, s->ax, outer, &run, bytes);
}

/* ---- The packet -------------------------------------------------------------------------------------------------------- */

/* Local memory of an address, or NULL when it is behind callbacks. */
static uint8_t *local_base(const struct exec *x, uint64_t addr)
{
	uint32_t seg = MICA_ADDR_SEG(addr);

	if (seg == MICA_SEG_LMEM)
		return x->lmem;
	if (seg >= MICA_SEG_PEER && seg < MICA_SEG_PEER + MICA_MAX_CORES)
		return x->mem->lmem[seg - MICA_SEG_PEER];
	return x->mem->seg[seg];
}

static int copy_behind_callbacks(struct exec *x, const struct mica_pkt_copy *p, uint8_t *local, bool write)
{
	struct dram_side d = { .x = x, .write = write };
	int64_t dst_at = (int64_t)MICA_ADDR_OFF(p->dst), src_at = (int64_t)MICA_ADDR_OFF(p->src);
	struct shape s;

	if (!(write ? (void *)x->mem->write : (void *)x->mem->read))
		return MICA_FAULT_SEGMENT;
	d.stage = exec_shared(x, STAGE_BYTES + MICA_PKT_MAX);
	if (!d.stage)
		return MICA_FAULT_BUS;
	shape_init(&s, p, !write, &dst_at, &src_at);
	shape_simplify(&s, !write);
	d.addr = write ? MICA_ADDR(MICA_ADDR_SEG(p->dst), dst_at) : MICA_ADDR(MICA_ADDR_SEG(p->src), src_at);
	return dram_copy(&d, local + (write ? src_at : dst_at), &s);
}

/* DRAM to DRAM, both behind callbacks: through a dense buffer, a slice of the outermost axis at a time. */
static int copy_dram_dram(struct exec *x, const struct mica_pkt_copy *p)
{
	struct mica_pkt_copy in = *p, out = *p;
	uint64_t plane = (uint64_t)p->dim[1] * p->dim[2] * p->dim[3] * p->elem;
	int64_t stride = p->elem;
	uint8_t *buf;
	int fault = 0;

	if (plane > 1ull << 30)
		return MICA_FAULT_BUS;
	buf = malloc(plane);
	if (!buf)
		return MICA_FAULT_BUS;
	in.dst = out.src = MICA_ADDR(MICA_SEG_LMEM, 0);
	in.dim[0] = out.dim[0] = 1;
	for (int i = 3; i > 0; i--) {
		in.dst_stride[i] = out.src_stride[i] = (int32_t)stride;
		stride *= p->dim[i];
	}
	for (uint32_t i = 0; i < p->dim[0] && !fault; i++) {
		in.src = p->src + (uint64_t)((int64_t)i * p->src_stride[0]);
		out.dst = p->dst + (uint64_t)((int64_t)i * p->dst_stride[0]);
		fault = copy_behind_callbacks(x, &in, buf, false);
		if (!fault)
			fault = copy_behind_callbacks(x, &out, buf, true);
		if (!fault && exec_stopped(x))
			fault = MICA_FAULT_ABORTED;
	}
	free(buf);
	return fault;
}

int exec_copy(struct exec *x, const union mica_pkt *pkt)
{
	const struct mica_pkt_copy *p = &pkt->copy;
	uint8_t *dst = local_base(x, p->dst), *src = local_base(x, p->src);
	int64_t dst_at = (int64_t)MICA_ADDR_OFF(p->dst), src_at = (int64_t)MICA_ADDR_OFF(p->src);
	struct shape s;

	if (!dst && !src)
		return copy_dram_dram(x, p);
	if (!dst)
		return copy_behind_callbacks(x, p, src, true);
	if (!src)
		return copy_behind_callbacks(x, p, dst, false);
	shape_init(&s, p, false, &dst_at, &src_at);
	threaded_copy(x, dst + dst_at, src + src_at, s);
	return 0;
}

int exec_fill(struct exec *x, const union mica_pkt *pkt)
{
	const struct mica_pkt_fill *p = &pkt->fill;
	uint32_t elem = mica_dtype_size(p->dst.dtype);
	struct shape s = { .elem = elem };
	uint8_t pattern[4];

	memcpy(pattern, &p->pattern, 4);
	for (int i = 0; i < 4; i++)
		if (p->dim[i] > 1)
			s.ax[s.n++] = (struct axis){ p->dim[i], p->dst.stride[i], 0 };
	threaded_copy(x, x->lmem + p->dst.addr, pattern, s);
	return 0;
}
