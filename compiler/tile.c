// SPDX-License-Identifier: MIT
/*
 * Tiling of one step: operands that live in DRAM are staged through LMEM in tiles of the output, double-buffered so that
 * DMA and arithmetic overlap. Rows are cut first, then channels or columns; a step without staging is one tile.
 */
#include <stdlib.h>
#include <string.h>
#include "backend.h"

#define TILE_BYTES 16384	/* staging below this is not worth cutting for the sake of overlap */
#define MOST_PREFERRED 8
#define WORTH_ANOTHER 0.85	/* the plain manner overlaps best with the steps around it; another must be this much quicker */
#define MATRIX_TILE 1000	/* cycles that a tile should have when a layer is cut for the sake of the other engine */
#define DWCONV_TILE 600
#define VECTOR_TILE 250
#define MOST_PIPELINED 4

static const struct ir_value *operand(const struct be_step *s, unsigned i)
{
	return i == BE_OUT ? s->op->out[0] : i < s->op->ins ? s->op->in[i] : NULL;
}

bool be_staged(const struct be_state *b, const struct be_step *s, unsigned i)
{
	const struct ir_value *v = operand(s, i);

	if (!v || be_is_move(s->op))
		return false;
	return (i == BE_OUT || !be_streams(s->op, i)) && be_in_dram(b, v);
}

/* ---- what a tile size costs ---- */

static void box_of(const struct be_step *s, unsigned i, const struct be_box *out, struct be_box *box)
{
	if (i == BE_OUT)
		*box = *out;
	else
		be_need(s->op, i, out, box);
}

/* Extents of operand i over all tiles of `part`: axes are independent, so one is walked at a time. True if tiles differ. */
static bool extents(const struct be_step *s, unsigned i, const struct be_box *part, const int64_t *len, int64_t *most)
{
	const struct ir_value *v = operand(s, i);
	struct be_box tile = *part, first, box;
	bool differ = false;

	for (unsigned d = 0; d < s->op->out[0]->rank; d++)
		tile.len[d] = len[d] < part->len[d] ? len[d] : part->len[d];
	box_of(s, i, &tile, &first);
	memcpy(most, first.len, v->rank * sizeof(*most));
	for (unsigned a = 0; a < s->op->out[0]->rank; a++) {
		struct be_box t = tile;

		for (t.at[a] += len[a]; t.at[a] < part->at[a] + part->len[a]; t.at[a] += len[a]) {
			if (t.len[a] > part->at[a] + part->len[a] - t.at[a])
				t.len[a] = part->at[a] + part->len[a] - t.at[a];
			box_of(s, i, &t, &box);
			differ = differ || !be_same_box(&box, &first, v->rank);
			for (unsigned d = 0; d < v->rank; d++)
				most[d] = box.len[d] > most[d] ? box.len[d] : most[d];
		}
	}
	return differ;
}

static void measure(const struct be_state *b, const struct be_step *s, const int64_t *len, unsigned buffers, struct be_tiling *t)
{
	unsigned rank = s->op->out[0]->rank;

	memset(t, 0, sizeof(*t));
	memcpy(t->len, len, sizeof(t->len));
	for (unsigned c = 0; c < b->cores; c++) {
		struct be_box part = be_part(b, s, c);
		uint64_t tiles = 1;

		if (be_empty(&part, rank))
			continue;
		for (unsigned d = 0; d < rank; d++)
			tiles *= (uint64_t)((part.len[d] + len[d] - 1) / len[d]);
		t->tiles = tiles > t->tiles ? (tiles > UINT32_MAX ? UINT32_MAX : (unsigned)tiles) : t->tiles;
		for (unsigned i = 0; i < BE_OPERANDS; i++) {
			int64_t most[IR_MAX_RANK];
			uint64_t size;
			bool differ;

			if (!be_staged(b, s, i))
				continue;
			differ = extents(s, i, &part, len, most);
			size = ir_dtype_size(operand(s, i)->dtype);
			for (unsigned d = 0; d < operand(s, i)->rank; d++)
				size *= (uint64_t)most[d];
			size = (size + MICA_LMEM_ALIGN - 1) & ~(uint64_t)(MICA_LMEM_ALIGN - 1);
			t->size[i] = size > t->size[i] ? size : t->size[i];
			if (!t->instances[i] || differ)
				t->instances[i] = differ ? buffers : 1;
		}
	}
}

static uint64_t staging(const struct be_tiling *t)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < BE_OPERANDS; i++)
		sum += t->size[i] * t->instances[i];
	return sum;
}

/* ---- tile sizes ---- */

static bool windowed(const struct ir_op *op)
{
	return op->kind == IR_CONV || op->kind == IR_POOL || op->kind == IR_RESIZE;
}

/* The largest part of any core, as a tile; false when no packet can hold even a part of it. */
static bool start_len(const struct be_state *b, const struct be_step *s, int64_t *len, int64_t *gran)
{
	struct be_box box = { 0 };

	for (unsigned c = 0; c < b->cores; c++) {
		struct be_box part = be_part(b, s, c);

		if (be_empty(&part, s->op->out[0]->rank))
			continue;
		for (unsigned d = 0; d < s->op->out[0]->rank; d++)
			box.len[d] = part.len[d] > box.len[d] ? part.len[d] : box.len[d];
	}
	for (unsigned d = 0; d < IR_MAX_RANK; d++)
		box.len[d] = box.len[d] ? box.len[d] : 1;
	be_granules(s->op, gran);
	if (!be_fit_fields(s->op, &box))
		return false;
	memcpy(len, box.len, sizeof(box.len));
	return true;
}

/* Cuts axis `a` into a few more pieces; false when it cannot be cut further. */
static bool shrink(int64_t *len, const int64_t *gran, const int64_t *full, unsigned a)
{
	int64_t g = gran[a], pieces, n;

	if (!g || len[a] <= g)
		return false;
	pieces = (full[a] + len[a] - 1) / len[a];
	pieces = pieces * 5 / 4 > pieces + 1 ? pieces * 5 / 4 : pieces + 1;
	n = ((full[a] + pieces - 1) / pieces + g - 1) / g * g;
	if (n >= len[a])
		n = (len[a] - 1) / g * g;
	len[a] = n > 0 ? n : g;
	return true;
}

/* The next smaller tile: images, then rows (or channels before both); then channels or columns, whichever saves more. */
static bool shrink_next(const struct be_state *b, const struct be_step *s, int64_t *len, const int64_t *gran, const int64_t *full,
			bool channels_first)
{
	struct be_tiling by_c, by_w;
	int64_t lc[IR_MAX_RANK], lw[IR_MAX_RANK];
	bool c, w;

	if (!windowed(s->op)) {
		for (unsigned a = 0; a < s->op->out[0]->rank; a++)
			if (shrink(len, gran, full, a))
				return true;
		return false;
	}
	if ((channels_first && shrink(len, gran, full, 3)) || shrink(len, gran, full, 0) || shrink(len, gran, full, 1))
		return true;
	memcpy(lc, len, sizeof(lc));
	memcpy(lw, len, sizeof(lw));
	c = shrink(lc, gran, full, 3);
	w = shrink(lw, gran, full, 2);
	if (c && w) {
		measure(b, s, lc, 2, &by_c);
		measure(b, s, lw, 2, &by_w);
		c = staging(&by_c) < staging(&by_w);
	}
	if (!c && !w)
		return false;
	memcpy(len, c ? lc : lw, sizeof(lc));
	return true;
}

bool be_tile_least(const struct be_state *b, const struct be_step *s, uint64_t *least, uint64_t *like)
{
	int64_t len[IR_MAX_RANK], gran[IR_MAX_RANK];
	struct be_tiling t;

	*least = *like = 0;
	if (be_is_move(s->op))
		return true;
	if (!start_len(b, s, len, gran))
		return false;
	measure(b, s, len, 1, &t);
	*like = staging(&t);
	for (unsigned d = 0; d < s->op->out[0]->rank; d++)
		len[d] = gran[d] && gran[d] < len[d] ? gran[d] : len[d];
	measure(b, s, len, 1, &t);
	*least = staging(&t);
	return true;
}

/* ---- fitting into the free ranges ---- */

static bool find_place(struct be_range *busy, unsigned *n, uint64_t size, uint64_t lmem, uint64_t *at)
{
	uint64_t end = 0;
	unsigned i;

	for (i = 0; i < *n; i++) {
		if (busy[i].at >= end && busy[i].at - end >= size)
			break;
		if (busy[i].at + busy[i].size > end)
			end = busy[i].at + busy[i].size;
	}
	end = (end + MICA_LMEM_ALIGN - 1) & ~(uint64_t)(MICA_LMEM_ALIGN - 1);
	if (end + size > lmem)
		return false;
	for (i = *n; i > 0 && busy[i - 1].at > end; i--)
		busy[i] = busy[i - 1];
	busy[i] = (struct be_range){ end, size };
	++*n;
	*at = end;
	return true;
}

static bool place(const struct be_state *b, struct be_tiling *t, const struct be_range *busy, unsigned n)
{
	struct be_range *r = ir_alloc(n + 2 * BE_OPERANDS, sizeof(*r));
	bool done[BE_OPERANDS] = { 0 }, ok = true;

	memcpy(r, busy, n * sizeof(*r));
	for (unsigned k = 0; k < BE_OPERANDS && ok; k++) {
		unsigned big = BE_OPERANDS;

		for (unsigned i = 0; i < BE_OPERANDS; i++)
			if (!done[i] && t->instances[i] && (big == BE_OPERANDS || t->size[i] > t->size[big]))
				big = i;
		if (big == BE_OPERANDS)
			break;
		done[big] = true;
		for (unsigned j = 0; j < t->instances[big] && ok; j++)
			ok = find_place(r, &n, t->size[big], b->lmem, &t->offset[big][j]);
	}
	free(r);
	return ok;
}

/* How many tiles would let DMA and arithmetic overlap without streaming the weights too often. */
static int64_t preferred_tiles(const struct be_state *b, const struct be_step *s, const int64_t *len)
{
	struct be_tiling t;
	uint64_t bytes, n;

	measure(b, s, len, 1, &t);
	bytes = staging(&t);
	n = bytes / TILE_BYTES;
	if (s->op->kind == IR_CONV && n > 1 + bytes / (2 * ir_bytes(s->op->in[1]) + 1))
		n = 1 + bytes / (2 * ir_bytes(s->op->in[1]) + 1);
	return n < 1 ? 1 : n > MOST_PREFERRED ? MOST_PREFERRED : (int64_t)n;
}

static bool on_matrix(const struct ir_op *op)
{
	return op->kind == IR_MATMUL || (op->kind == IR_CONV && !be_is_dwconv(op));
}

/* Does a step that feeds this one, or is fed by it, run on the other of the two engines? */
static bool has_partner(const struct ir_op *op)
{
	const struct ir_value *y = op->out[0];

	for (unsigned i = 0; i < op->ins; i++)
		if (op->in[i] && op->in[i]->def && !be_is_move(op->in[i]->def) && on_matrix(op->in[i]->def) != on_matrix(op))
			return true;
	for (unsigned u = 0; u < y->uses; u++)
		if (!be_is_move(y->use[u]) && on_matrix(y->use[u]) != on_matrix(op))
			return true;
	return false;
}

/* Cycles of the array for a convolution whose output channels are cut into blocks of `channels`. */
static int64_t array_cycles(const struct be_state *b, const struct ir_op *op, int64_t channels)
{
	const struct mica_params *p = &mica_params_default;
	const struct ir_value *y = op->out[0], *w = op->in[1];
	int64_t lanes = p->mac_rows / (int64_t)ir_dtype_size(w->dtype), c = y->dim[3], k = ir_elements(w) / w->dim[0];
	int64_t cout = channels < c / op->a.groups ? channels : c / op->a.groups;

	return ir_elements(y) / c / b->cores * ((k + lanes - 1) / lanes) * ((cout + p->mac_cols - 1) / p->mac_cols) * (c / cout);
}

/* Matrix and vector engine work side by side when a layer's first rows are ready before its last: tiles for that. */
static int64_t pipeline_tiles(const struct be_state *b, const struct be_step *s)
{
	const struct mica_params *p = &mica_params_default;
	const struct ir_op *op = s->op;
	int64_t cycles = ir_elements(op->out[0]) / b->cores, taps = 1, most = MOST_PIPELINED, least;

	if (!has_partner(op))
		return 1;
	if (op->kind == IR_CONV)
		taps = ir_elements(op->in[1]) / op->in[1]->dim[0];
	if (op->kind == IR_POOL)
		taps = (int64_t)op->a.kh * op->a.kw;
	if (op->kind == IR_CONV && on_matrix(op)) {
		cycles = array_cycles(b, op, op->out[0]->dim[3]);
		taps = cycles / (int64_t)(1 + ir_bytes(op->in[1]) * b->cores / p->dram_bytes_per_cycle);
		most = most < taps ? most : taps;
		least = MATRIX_TILE;
	} else {
		cycles = cycles * taps / p->vector_lanes;
		least = op->kind == IR_CONV ? DWCONV_TILE : VECTOR_TILE;
	}
	most = most < cycles / least ? most : cycles / least;
	return most < 1 ? 1 : most;
}

/* How a tiling may be looked for. */
struct manner { unsigned buffers; bool channels_first; };

static bool fit(const struct be_state *b, struct be_step *s, const struct be_range *busy, unsigned n, struct manner m)
{
	int64_t len[IR_MAX_RANK], gran[IR_MAX_RANK], full[IR_MAX_RANK], want, overlap;

	if (!start_len(b, s, len, gran))
		return false;
	memcpy(full, len, sizeof(full));
	want = m.buffers > 1 && !m.channels_first ? preferred_tiles(b, s, len) : 1;
	overlap = m.channels_first ? 1 : pipeline_tiles(b, s);
	want = want > overlap ? want : overlap;
	for (unsigned a = 0; a < s->op->out[0]->rank && want > 1; a++) {
		int64_t pieces = len[a] < want ? len[a] : want;

		if (gran[a] != 1 || len[a] == 1 || (s->op->kind == IR_MATMUL && a + 1 == s->op->out[0]->rank))
			continue;
		len[a] = (len[a] + pieces - 1) / pieces;
		want /= pieces;
	}
	do {
		measure(b, s, len, m.buffers, &s->t);
		if (place(b, &s->t, busy, n))
			return true;
	} while (shrink_next(b, s, len, gran, full, m.channels_first));
	return false;
}

/* Cycles of a convolution with staging: every tile of pixels streams the weights of its channels once more. */
static double conv_cost(const struct be_state *b, const struct be_step *s)
{
	const struct mica_params *p = &mica_params_default;
	const struct ir_op *op = s->op;
	const struct be_tiling *t = &s->t;
	double share = (double)p->dram_bytes_per_cycle / b->cores, pixels = 1, blocks = 1, dma, matrix, stream;
	double arithmetic = (double)array_cycles(b, op, t->len[3]);
	bool one_by_one = false;

	for (unsigned c = 0; c < b->cores; c++) {
		struct be_box part = be_part(b, s, c);

		if (be_empty(&part, 4))
			continue;
		for (unsigned d = 0; d < 3; d++)
			pixels *= (double)((part.len[d] + t->len[d] - 1) / t->len[d]);
		blocks = (double)((part.len[3] + t->len[3] - 1) / t->len[3]);
		break;
	}
	stream = pixels * (double)ir_bytes(op->in[1]) / share;
	matrix = (arithmetic > stream ? arithmetic : stream) + pixels * blocks * (p->dma_latency + p->mac_rows + p->mac_cols);
	dma = ((double)t->size[0] * pixels + (double)(t->size[3] + t->size[BE_OUT]) * pixels * blocks) / share;
	for (unsigned i = 0; i < BE_OPERANDS; i++)
		one_by_one = one_by_one || (t->instances[i] == 1 && t->tiles > 1);
	if (one_by_one)
		return matrix + dma;
	return (matrix > dma ? matrix : dma) + dma / t->tiles;
}

bool be_tile_fit(const struct be_state *b, struct be_step *s, const struct be_range *busy, unsigned n)
{
	static const struct manner manners[] = { { 2, false }, { 1, false }, { 2, true }, { 1, true } };
	struct be_tiling best;
	bool any = false;
	double cost = 0;

	for (unsigned i = 0; i < sizeof(manners) / sizeof(*manners); i++) {
		if (!fit(b, s, busy, n, manners[i]))
			continue;
		if (s->op->kind != IR_CONV || be_is_dwconv(s->op) || !staging(&s->t))
			return true;
		if (!any || conv_cost(b, s) < cost * WORTH_ANOTHER) {
			cost = conv_cost(b, s);
			best = s->t;
		}
		any = true;
	}
	if (any)
		s->t = best;
	return any;
}
