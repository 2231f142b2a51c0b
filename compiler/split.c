// SPDX-License-Identifier: MIT
/*
 * Several cores: how each step's output is divided among them, and which part of every value each core needs. Producers
 * send a core what it needs of a value; what is cheap, and every move, each core does for itself.
 */
#include <stdlib.h>
#include <string.h>
#include "backend.h"

#define SMALL_WORK 200000	/* multiply-accumulates below which dividing costs more than it gains */
#define SMALL_BYTES 4096

static const int row_axes[] = { 1, 0, 2, 3 };	/* the order of preference for [n,h,w,c]: rows first */

static void cut(const struct be_state *b, struct be_step *s, unsigned axis, int64_t gran)
{
	const struct ir_value *y = s->op->out[0];
	int64_t units = (y->dim[axis] + gran - 1) / gran, at = 0;

	for (unsigned c = 0; c < b->cores; c++) {
		int64_t end = units * (c + 1) / b->cores * gran;

		end = end < y->dim[axis] ? end : y->dim[axis];
		s->part[c] = be_whole(y);
		s->part[c].at[axis] = at;
		s->part[c].len[axis] = end - at;
		at = end;
	}
}

/* Cycles of a convolution divided along the axis: arithmetic or weights, whichever is slower, then the exchange. */
static double conv_estimate(const struct be_state *b, const struct be_step *s, unsigned axis, int64_t gran)
{
	const struct mica_params *p = &mica_params_default;
	const struct ir_value *y = s->op->out[0], *w = s->op->in[1];
	int64_t most = ((y->dim[axis] + gran - 1) / gran + b->cores - 1) / b->cores * gran, whole = y->dim[3];
	int64_t lanes = p->mac_rows / (int64_t)ir_dtype_size(w->dtype), k = ir_elements(w) / w->dim[0];
	double stream = (double)ir_bytes(w) * (axis == 3 ? 1 : b->cores) / p->dram_bytes_per_cycle, arithmetic, exchange;

	most = most < y->dim[axis] ? most : y->dim[axis];
	if (be_is_dwconv(s->op)) {
		arithmetic = (double)ir_elements(y) * most / y->dim[axis] * (double)(k + 1) / p->vector_lanes;
	} else {
		int64_t groups = s->op->a.groups, cout = whole / groups;

		if (axis == 3 && groups > 1)
			groups = most / cout;
		else if (axis == 3)
			cout = most;
		arithmetic = (double)(ir_elements(y) / whole) * (axis == 3 ? 1 : (double)most / y->dim[axis]) *
			     (double)(groups * ((k + lanes - 1) / lanes) * ((cout + p->mac_cols - 1) / p->mac_cols));
	}
	exchange = axis == 3 ? (double)ir_bytes(y) * (b->cores - 1) / b->cores / p->lmem_bytes_per_cycle + p->dma_latency : 0;
	return (arithmetic > stream ? arithmetic : stream) + exchange;
}

static void split_conv(const struct be_state *b, struct be_step *s, const int64_t *gran)
{
	double best = -1;
	unsigned axis = 1;

	for (unsigned i = 0; i < 4; i++) {
		unsigned a = (unsigned)row_axes[i];
		double e = conv_estimate(b, s, a, gran[a]);

		if (s->op->out[0]->dim[a] <= gran[a])
			continue;
		if (best < 0 || e < best * 0.95) {
			best = e;
			axis = a;
		}
	}
	cut(b, s, axis, gran[axis]);
}

static void split_other(const struct be_state *b, struct be_step *s, const int64_t *gran)
{
	const struct ir_value *y = s->op->out[0];
	double best = 0;
	unsigned axis = UINT32_MAX;

	for (unsigned i = 0; i < y->rank; i++) {
		unsigned a = y->rank == 4 ? (unsigned)row_axes[i] : i;
		int64_t units = gran[a] ? (y->dim[a] + gran[a] - 1) / gran[a] : 1, most = (units + b->cores - 1) / b->cores;
		double share = (double)units / (double)(most * b->cores);

		if (units > 1 && share > best * 1.25) {
			best = share;
			axis = a;
		}
	}
	if (axis != UINT32_MAX)
		cut(b, s, axis, gran[axis]);
	else
		s->part[0] = be_whole(y);
}

static bool is_small(const struct ir_op *op)
{
	uint64_t macs = ir_op_macs(op);

	if (op->kind == IR_CONV && ir_bytes(op->in[1]) > SMALL_BYTES)
		return false;
	return macs ? macs < SMALL_WORK : ir_bytes(op->out[0]) < SMALL_BYTES && ir_bytes(op->in[0]) < 4 * SMALL_BYTES;
}

static void split_step(const struct be_state *b, struct be_step *s)
{
	int64_t gran[IR_MAX_RANK];

	memset(s->part, 0, sizeof(s->part));
	if (b->cores == 1 || !s->op->out[0]->rank || s->op->kind == IR_HOST) {
		s->part[0] = be_whole(s->op->out[0]);
		if (!s->op->out[0]->rank && s->op->kind != IR_HOST)
			s->replicated = true;
		return;
	}
	be_granules(s->op, gran);
	s->replicated = be_is_move(s->op) || is_small(s->op);
	if (s->op->kind == IR_CONV)
		split_conv(b, s, gran);
	else
		split_other(b, s, gran);
}

/* ---- what each core needs ---- */

static void include(struct be_box *sum, const struct be_box *b, unsigned rank)
{
	if (be_empty(b, rank))
		return;
	if (be_empty(sum, rank)) {
		*sum = *b;
		return;
	}
	for (unsigned d = 0; d < rank; d++) {
		int64_t lo = sum->at[d] < b->at[d] ? sum->at[d] : b->at[d];
		int64_t e1 = sum->at[d] + sum->len[d], e2 = b->at[d] + b->len[d];

		sum->at[d] = lo;
		sum->len[d] = (e1 > e2 ? e1 : e2) - lo;
	}
}

/* A step that a core runs for its own need makes whole granules. */
static void round_out(const struct ir_op *op, struct be_box *box)
{
	int64_t gran[IR_MAX_RANK];

	if (be_is_move(op) && op->kind != IR_RESHAPE)	/* a box of a reshaped value is no box of the other */
		return;
	be_granules(op, gran);
	for (unsigned d = 0; d < op->out[0]->rank; d++) {
		int64_t n = op->out[0]->dim[d], g = gran[d] ? gran[d] : n, end = box->at[d] + box->len[d];

		end = (end + g - 1) / g * g;
		box->at[d] = box->at[d] / g * g;
		box->len[d] = (end < n ? end : n) - box->at[d];
	}
}

static void pull(struct be_state *b, const struct ir_op *op, unsigned core, const struct be_box *out)
{
	struct be_box in;

	if (be_empty(out, op->out[0]->rank))
		return;
	for (unsigned i = 0; i < op->ins; i++) {
		const struct ir_value *v = ir_op_in(op, i);

		if (!v || be_streams(op, i))
			continue;
		be_need(op, i, out, &in);
		include(&b->value[v->id].need[core], &in, v->rank);
	}
}

void be_split(struct be_state *b)
{
	for (unsigned i = 0; i < b->steps; i++)
		split_step(b, &b->step[i]);
	for (unsigned i = b->steps; i-- > 0;) {
		struct be_step *s = &b->step[i];
		struct be_value *y = &b->value[s->op->out[0]->id];
		bool views = be_done_by_views(s);

		for (unsigned c = 0; c < b->cores; c++) {
			if (s->replicated && !views && !be_empty(&y->need[c], s->op->out[0]->rank))
				round_out(s->op, &y->need[c]);
			if (s->replicated || views)
				pull(b, s->op, c, &y->need[c]);
			if (!views)
				pull(b, s->op, c, &s->part[c]);
		}
	}
}

struct be_box be_part(const struct be_state *b, const struct be_step *s, unsigned core)
{
	const struct ir_value *y = s->op->out[0];

	if (b->cores > 1 && s->replicated && !be_in_dram(b, y))
		return b->value[y->id].need[core];
	return s->part[core];
}
