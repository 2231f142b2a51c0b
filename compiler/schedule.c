// SPDX-License-Identifier: MIT
/* The schedule: steps in the graph's order; within a step tiles of loads, arithmetic, stores and what the peers need. */
#include <stdlib.h>
#include <string.h>
#include "backend.h"

#define CHECKPOINT_CYCLES 20000		/* checkpoints drain the engines: not more often than this */

struct core_run {			/* one core's work on one step */
	struct be_state *b;
	struct be_step *s;
	unsigned core;
	struct be_lower l;
	struct be_box held[BE_OPERANDS][2];	/* what the instances hold */
	unsigned turn[BE_OPERANDS];
	bool loaded[BE_OPERANDS][2];
};

/* Sends the peers what they need of a box of out that this core has just made in LMEM. */
static void feed_peers(struct core_run *r, const struct be_box *box)
{
	const struct ir_value *y = r->s->op->out[0];
	struct be_view here = be_place_of(r->b, y);

	if (r->s->replicated)
		return;
	for (unsigned q = 0; q < r->b->cores; q++) {
		const struct be_box *need = &r->b->value[y->id].need[q];
		struct be_box both;
		uint64_t at;

		if (q == r->core)
			continue;
		for (unsigned d = 0; d < y->rank; d++) {
			int64_t e1 = box->at[d] + box->len[d], e2 = need->at[d] + need->len[d];

			both.at[d] = box->at[d] > need->at[d] ? box->at[d] : need->at[d];
			both.len[d] = (e1 < e2 ? e1 : e2) - both.at[d];
		}
		if (be_empty(&both, y->rank))
			continue;
		at = be_at(&here, &both, y->rank);
		be_lower_copy(&r->l, at, here.stride, MICA_ADDR(MICA_SEG_PEER + q, MICA_ADDR_OFF(at)), here.stride, y->rank, both.len,
			      (unsigned)ir_dtype_size(y->dtype));
	}
}

/* A dense block in one of the operand's staging buffers. */
static struct be_view staged_view(const struct core_run *r, unsigned i, const struct ir_value *v, const struct be_box *box)
{
	struct be_view view = { .addr = MICA_ADDR(MICA_SEG_LMEM, r->s->t.offset[i][r->turn[i]]) };

	be_dense(v, box->len, view.stride);
	return view;
}

static struct be_view load_operand(struct core_run *r, unsigned i, const struct be_box *box)
{
	const struct ir_value *v = r->s->op->in[i];
	struct be_view place = be_place_of(r->b, v), view;
	unsigned n = r->s->t.instances[i];

	for (unsigned k = 0; k < n; k++) {	/* there already, from an earlier tile */
		if (r->loaded[i][k] && be_same_box(&r->held[i][k], box, v->rank)) {
			r->turn[i] = k;
			return staged_view(r, i, v, box);
		}
	}
	r->turn[i] = (r->turn[i] + 1) % n;
	r->held[i][r->turn[i]] = *box;
	r->loaded[i][r->turn[i]] = true;
	view = staged_view(r, i, v, box);
	be_lower_copy(&r->l, be_at(&place, box, v->rank), place.stride, view.addr, view.stride, v->rank, box->len,
		      (unsigned)ir_dtype_size(v->dtype));
	return view;
}

static int run_tile(struct core_run *r, const struct be_box *tile)
{
	const struct ir_op *op = r->s->op;
	const struct ir_value *y = op->out[0];
	struct be_view in[IR_MAX_IN], out, place = be_place_of(r->b, y);
	struct be_box need;
	bool store = r->s->t.instances[BE_OUT] > 0;
	int ret;

	for (unsigned i = 0; i < op->ins; i++) {
		if (!op->in[i] || be_streams(op, i))
			continue;
		be_need(op, i, tile, &need);
		if (r->s->t.instances[i]) {
			in[i] = load_operand(r, i, &need);
		} else {
			in[i] = be_place_of(r->b, op->in[i]);
			in[i].addr = be_at(&in[i], &need, op->in[i]->rank);
		}
	}
	if (store) {
		r->turn[BE_OUT] = (r->turn[BE_OUT] + 1) % r->s->t.instances[BE_OUT];
		out = staged_view(r, BE_OUT, y, tile);
	} else {
		out = place;
		out.addr = be_at(&place, tile, y->rank);
	}
	ret = be_lower_op(&r->l, op, tile, in, &out);
	if (ret)
		return ret;
	if (store)
		be_lower_copy(&r->l, out.addr, out.stride, be_at(&place, tile, y->rank), place.stride, y->rank, tile->len,
			      (unsigned)ir_dtype_size(y->dtype));
	else
		feed_peers(r, tile);
	return 0;
}

static int run_tiles(struct core_run *r, const struct be_box *part)
{
	unsigned rank = r->s->op->out[0]->rank;
	const int64_t *len = r->s->t.len;
	struct be_box tile = *part;
	int ret = 0;

	for (unsigned d = 0; d < rank; d++)
		tile.len[d] = len[d] < part->len[d] ? len[d] : part->len[d];
	while (!ret) {
		unsigned d = rank;

		ret = run_tile(r, &tile);
		while (d-- > 0) {
			int64_t end = part->at[d] + part->len[d];

			tile.at[d] += len[d];
			if (tile.at[d] < end) {
				tile.len[d] = len[d] < end - tile.at[d] ? len[d] : end - tile.at[d];
				break;
			}
			tile.at[d] = part->at[d];
			tile.len[d] = len[d] < part->len[d] ? len[d] : part->len[d];
		}
		if (d >= rank)
			return ret;
	}
	return ret;
}

static int run_move(struct core_run *r, const struct be_box *part)
{
	const struct ir_op *op = r->s->op;
	struct be_view *in = ir_alloc(op->ins, sizeof(*in)), out = be_place_of(r->b, op->out[0]);
	int ret;

	for (unsigned i = 0; i < op->ins; i++)
		if (!r->s->in_place[i])
			in[i] = be_place_of(r->b, ir_op_in(op, i));
	ret = be_lower_move(&r->l, op, part, in, &out, r->s->in_place);
	free(in);
	return ret;
}

static int run_step(struct be_state *b, unsigned step, struct be_packets *core)
{
	struct be_step *s = &b->step[step];
	int ret = 0;

	for (unsigned c = 0; c < b->cores && !ret; c++) {
		struct core_run r = { .b = b, .s = s, .core = c, .l = { b->g, &b->blob, &core[c], step } };
		struct be_box part = be_part(b, s, c);

		core[c].count = 0;
		if (be_empty(&part, s->op->out[0]->rank))
			continue;
		ret = be_is_move(s->op) ? run_move(&r, &part) : run_tiles(&r, &part);
	}
	return ret;
}

/* No buffer in LMEM outlives the boundary in front of `step`. */
static bool lmem_is_dead(const struct be_state *b, unsigned step)
{
	for (unsigned i = 0; i < b->bufs; i++)
		if (b->buf[i].space == BE_LMEM && b->buf[i].first != UINT32_MAX && b->buf[i].first < step && b->buf[i].last >= step)
			return false;
	return true;
}

static uint64_t cycles_of(const struct be_state *b, const struct be_packets *core)
{
	uint64_t most = 0;

	for (unsigned c = 0; c < b->cores; c++) {
		uint64_t sum = 0;

		for (unsigned i = 0; i < core[c].count; i++) {
			struct mica_cost cost;

			mica_pkt_cost(&core[c].pkt[i], &mica_params_default, b->cores, &cost);
			sum += cost.cycles;
		}
		most = sum > most ? sum : most;
	}
	return most;
}

/* ---- phases ---- */

static void start_phase(struct be_state *b)
{
	struct be_phase *p = &b->phase[b->phases++];

	*p = (struct be_phase){ .host = b->hosts };
	for (unsigned c = 0; c < b->cores; c++)
		p->packets[c] = be_emit_stream(b->emit, c)->count;
}

static struct be_phase *this_phase(struct be_state *b)
{
	return &b->phase[b->phases - 1];
}

/* Ends the phase's stream when there is one, or when it must be there even if it is empty. */
static void end_stream(struct be_state *b, unsigned layer, bool always)
{
	struct be_phase *p = this_phase(b);

	p->device = always;
	for (unsigned c = 0; c < b->cores; c++)
		p->device = p->device || be_emit_stream(b->emit, c)->count > p->packets[c];
	if (p->device)
		be_emit_end(b->emit, layer);
}

static void add_host(struct be_state *b, unsigned step)
{
	const struct ir_op *op = b->step[step].op;
	struct mica_host_step *h;

	if (!this_phase(b)->hosts)
		end_stream(b, step ? step - 1 : 0, false);
	h = &b->host[b->hosts++];
	this_phase(b)->hosts++;
	ir_host_step(op, h);
	h->layer = step;
	for (unsigned i = 0; i < op->ins; i++)
		h->in[i].addr = be_place_of(b, op->in[i]).addr;
	h->out.addr = be_place_of(b, op->out[0]).addr;
}

int be_schedule(struct be_state *b)
{
	struct be_packets core[MICA_MAX_CORES] = { 0 };
	uint64_t since = 0;
	int ret = 0;

	b->phase = ir_alloc((size_t)b->steps + 1, sizeof(*b->phase));
	b->host = ir_alloc((size_t)b->steps + 1, sizeof(*b->host));
	start_phase(b);
	for (unsigned s = 0; s < b->steps && !ret; s++) {
		if (be_done_by_views(&b->step[s]))
			continue;
		if (b->step[s].op->kind == IR_HOST) {
			add_host(b, s);
			continue;
		}
		if (this_phase(b)->hosts) {
			start_phase(b);
			since = 0;
		}
		ret = run_step(b, s, core);
		if (ret)
			break;
		if (since >= CHECKPOINT_CYCLES && lmem_is_dead(b, s)) {
			be_emit_checkpoint(b->emit, s);
			since = 0;
		}
		since += cycles_of(b, core);
		be_emit_step(b->emit, core);
		if (b->o->progress)
			b->o->progress(b->o->progress_opaque, "schedule", s + 1, b->steps);
	}
	if (!this_phase(b)->hosts)
		end_stream(b, b->steps ? b->steps - 1 : 0, b->phases == 1);
	if (b->phases > 1 && !this_phase(b)->device && !this_phase(b)->hosts)
		b->phases--;
	for (unsigned c = 0; c < b->cores; c++)
		free(core[c].pkt);
	return ret;
}
