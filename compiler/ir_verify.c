// SPDX-License-Identifier: MIT
/* The IR's own rules: SSA, use lists, order, and in the device dialect shapes and types of every kind. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "front.h"

struct verify {
	struct ir_graph *g;
	const struct ir_op *op;
	bool device;
	uint8_t *live; /* by value id: 1 = defined so far */
	unsigned *seen; /* by value id: operand slots that read it */
};

static int bad(struct verify *c, const struct ir_value *v, const char *what)
{
	return mica_err_set(c->g->err, MICA_ERR_INTERNAL,
			    "%s: IR is broken at %s '%s'%s%s: %s; this is a bug in the compiler, "
			    "please report it",
			    c->g->name, c->op ? ir_kind_name(c->op->kind) : "value",
			    c->op ? c->op->name
			    : v	  ? v->name
				  : "?",
			    c->op && v ? ", value " : "", c->op && v ? v->name : "", what);
}

#define CHECK(cond, v)                                    \
	do {                                              \
		if (!(cond))                              \
			return bad(c, (v), "not " #cond); \
	} while (0)

static bool known(const struct ir_value *v)
{
	return v->dtype != MICA_NONE;
}

static int check_value(struct verify *c, const struct ir_value *v)
{
	CHECK(v->rank <= IR_MAX_RANK, v);
	CHECK(v->uses == c->seen[v->id], v);
	CHECK(!(v->data && v->def), v);
	if (!known(v))
		return 0;
	for (unsigned i = 0; i < v->rank; i++)
		CHECK(v->dim[i] > 0 || (v->dim[i] == 0 && v->data), v);
	CHECK(!v->ch_scale || (v->data && v->ch_axis >= 0 && v->ch_axis < (int)v->rank), v);
	CHECK(!c->device || !v->ch_scale || v->ch_axis == 0, v);
	CHECK(isfinite(v->scale) && v->scale > 0, v);
	return 0;
}

/* ---- kinds of the device dialect ---- */

static int check_window(struct verify *c, int64_t in, int64_t out, int k, int stride, int dil,
			int lo, int hi)
{
	CHECK(k >= 1 && stride >= 1 && dil >= 1, NULL);
	/* every output position starts inside the padded input */
	CHECK((out - 1) * stride + (int64_t)(k - 1) * dil < in + lo + hi, NULL);
	return 0;
}

static int check_conv(struct verify *c, const struct ir_op *op)
{
	const struct ir_attr *a = &op->a;
	const struct ir_value *x = op->in[0], *w = ir_op_in(op, 1), *b = ir_op_in(op, 2),
			      *r = ir_op_in(op, 3), *s = ir_op_in(op, 4), *y = op->out[0];

	CHECK(x && w && w->data, w);
	CHECK(x->rank == 4 && w->rank == 4 && y->rank == 4, x);
	CHECK(a->groups >= 1 && x->dim[3] % a->groups == 0 && y->dim[3] % a->groups == 0, x);
	CHECK(w->dim[0] == y->dim[3] && w->dim[1] == a->kh && w->dim[2] == a->kw, w);
	CHECK(w->dim[3] == x->dim[3] / a->groups && x->dim[0] == y->dim[0], w);
	CHECK(!b || (b->data && b->rank == 1 && b->dim[0] == y->dim[3] && b->dtype == MICA_F32), b);
	CHECK(!r || ir_same_dims(r, y), r);
	CHECK(!s || (s->data && s->rank == 1 && s->dim[0] == y->dim[3] && s->dtype == MICA_F32 && w->dtype != MICA_I8), s);
	CHECK(!c->g->quantized || (x->dtype == MICA_F32) == (w->dtype == MICA_F32), w);
	CHECK(!c->g->quantized || (x->dtype == MICA_I8) == (w->dtype == MICA_I8), w);
	CHECK(w->zero == 0, w);
	if (check_window(c, x->dim[1], y->dim[1], a->kh, a->stride_h, a->dil_h, a->pad_top,
			 a->pad_bottom))
		return -MICA_ERR_INTERNAL;
	return check_window(c, x->dim[2], y->dim[2], a->kw, a->stride_w, a->dil_w, a->pad_left,
			    a->pad_right);
}

static int check_matmul(struct verify *c, const struct ir_op *op)
{
	const struct ir_value *x = op->in[0], *w = ir_op_in(op, 1), *r = ir_op_in(op, 2),
			      *y = op->out[0];
	unsigned n = y->rank;

	CHECK(x && w && x->rank >= 2 && w->rank >= 2 && n >= 2, x);
	CHECK(!c->device || (x->rank == n && w->rank == n && n <= 4), x);
	CHECK(!r || ir_same_dims(r, y), r);
	CHECK(x->dim[x->rank - (op->a.trans_a ? 2 : 1)] == w->dim[w->rank - (op->a.trans_b ? 1 : 2)], w);
	CHECK(x->dim[x->rank - (op->a.trans_a ? 1 : 2)] == y->dim[n - 2], x);
	CHECK(w->dim[w->rank - (op->a.trans_b ? 2 : 1)] == y->dim[n - 1], w);
	for (unsigned i = 0; i + 2 < n && c->device; i++) {
		CHECK(x->dim[i] == y->dim[i] || x->dim[i] == 1, x);
		CHECK(w->dim[i] == y->dim[i] || w->dim[i] == 1, w);
	}
	return 0;
}

static int check_broadcast(struct verify *c, const struct ir_op *op)
{
	const struct ir_value *y = op->out[0];
	unsigned want = op->kind == IR_WHERE ? 3 : op->kind == IR_BINARY ? 2 : 1;

	CHECK(op->ins == want && (!c->device || y->rank <= 4), y);
	for (unsigned i = 0; i < op->ins; i++) {
		const struct ir_value *x = op->in[i];

		CHECK(x && x->rank <= y->rank, x);
		for (unsigned j = 0; j < x->rank; j++) {
			int64_t d = y->dim[y->rank - x->rank + j];

			CHECK(x->dim[j] == d || x->dim[j] == 1, x);
		}
	}
	return 0;
}

static int check_pool(struct verify *c, const struct ir_op *op)
{
	const struct ir_attr *a = &op->a;
	const struct ir_value *x = op->in[0], *y = op->out[0];

	CHECK(x && x->rank == 4 && y->rank == 4 && x->dim[0] == y->dim[0] && x->dim[3] == y->dim[3],
	      x);
	if (op->kind == IR_RESIZE) {
		CHECK(a->taps_h && a->taps_w, y);
		for (int64_t i = 0; i < y->dim[1]; i++)
			CHECK(a->taps_h[i].i0 < x->dim[1] && a->taps_h[i].i1 < x->dim[1], y);
		for (int64_t i = 0; i < y->dim[2]; i++)
			CHECK(a->taps_w[i].i0 < x->dim[2] && a->taps_w[i].i1 < x->dim[2], y);
		return 0;
	}
	if (check_window(c, x->dim[1], y->dim[1], 1, a->stride_h, a->dil_h, a->pad_top,
			 a->pad_bottom))
		return -MICA_ERR_INTERNAL;
	return check_window(c, x->dim[2], y->dim[2], 1, a->stride_w, a->dil_w, a->pad_left,
			    a->pad_right);
}

static int check_reduce(struct verify *c, const struct ir_op *op)
{
	const struct ir_value *x = op->in[0], *y = op->out[0];

	CHECK(x && x->rank == y->rank && (!c->device || x->rank <= 4) && op->a.axes < 1u << x->rank, x);
	for (unsigned i = 0; i < x->rank; i++)
		CHECK(y->dim[i] == (op->a.axes >> i & 1 ? 1 : x->dim[i]), y);
	return 0;
}

static int check_norm(struct verify *c, const struct ir_op *op)
{
	const struct ir_value *x = op->in[0], *y = op->out[0];

	CHECK(x && ir_same_dims(x, y) && x->rank >= 1 && (!c->device || x->rank <= 4), x);
	for (unsigned i = 1; i < op->ins; i++)
		CHECK(!op->in[i] || ((!c->device || (op->in[i]->data && op->in[i]->dtype == MICA_F32)) &&
				     ir_elements(op->in[i]) == x->dim[x->rank - 1]),
		      op->in[i]);
	return 0;
}

static int check_move(struct verify *c, const struct ir_op *op)
{
	const struct ir_attr *a = &op->a;
	const struct ir_value *x = ir_op_in(op, 0), *y = op->out[0];
	int64_t sum = 0;

	for (unsigned i = 0; i < op->ins; i++) {
		const struct ir_value *v = ir_op_in(op, i);

		CHECK(v && (!c->device || (v->dtype == y->dtype && v->scale == y->scale && v->zero == y->zero)), v);
		CHECK(op->kind == IR_RESHAPE || v->rank == y->rank, v);
	}
	if (op->kind == IR_RESHAPE) {
		CHECK(ir_elements(x) == ir_elements(y), y);
		return 0;
	}
	for (unsigned i = 0; i < y->rank; i++) {
		switch (op->kind) {
		case IR_CONCAT:
			for (unsigned j = 0; j < op->ins; j++) {
				const struct ir_value *v = ir_op_in(op, j);

				CHECK((int)i == a->axis || v->dim[i] == y->dim[i], v);
				sum += (int)i == a->axis ? v->dim[i] : 0;
			}
			break;
		case IR_SLICE:
			CHECK(a->step[i] != 0 && a->start[i] >= 0 && a->start[i] < x->dim[i], x);
			CHECK(a->start[i] + (y->dim[i] - 1) * a->step[i] >= 0, x);
			CHECK(a->start[i] + (y->dim[i] - 1) * a->step[i] < x->dim[i], x);
			break;
		case IR_TRANSPOSE:
			CHECK(a->perm[i] >= 0 && a->perm[i] < (int)x->rank &&
				      y->dim[i] == x->dim[a->perm[i]],
			      x);
			break;
		case IR_PAD:
			CHECK(a->start[i] >= 0 && a->end[i] >= 0 &&
				      y->dim[i] == x->dim[i] + a->start[i] + a->end[i],
			      x);
			break;
		default:
			CHECK(x->dim[i] == y->dim[i] || x->dim[i] == 1, x);
		}
	}
	CHECK(op->kind != IR_CONCAT ||
		      (a->axis >= 0 && a->axis < (int)y->rank && sum == y->dim[a->axis]),
	      y);
	CHECK(!c->device || op->kind != IR_TRANSPOSE || y->rank <= 6, y);
	return 0;
}

static int check_lut(struct verify *c, const struct ir_op *op)
{
	const struct ir_value *x = op->in[0], *t = ir_op_in(op, 1), *y = op->out[0];

	CHECK(x && t && t->data && ir_elements(t) == 256 && t->dtype == y->dtype, t);
	CHECK(ir_dtype_size(x->dtype) == 1 && ir_same_dims(x, y), x);
	return 0;
}

static int check_host(struct verify *c, const struct ir_op *op)
{
	struct mica_host_step s;
	const char *why;

	for (unsigned i = 0; i < op->ins; i++)
		CHECK(op->in[i] && (!c->g->quantized || op->in[i]->dtype == MICA_F32), op->in[i]);
	CHECK(op->ins <= MICA_HOST_MAX_IN && op->out[0]->dtype == MICA_F32, op->out[0]);
	ir_host_step(op, &s);
	why = mica_host_check(&s);
	return why ? bad(c, op->out[0], why) : 0;
}

typedef int (*check_fn)(struct verify *c, const struct ir_op *op);
static const check_fn kind_check[IR_KIND_COUNT] = {
	[IR_CONV] = check_conv,	      [IR_MATMUL] = check_matmul,   [IR_BINARY] = check_broadcast,
	[IR_WHERE] = check_broadcast, [IR_UNARY] = check_broadcast, [IR_LUT] = check_lut,
	[IR_POOL] = check_pool,	      [IR_RESIZE] = check_pool,	    [IR_REDUCE] = check_reduce,
	[IR_SOFTMAX] = check_norm,    [IR_NORM] = check_norm,	    [IR_CONCAT] = check_move,
	[IR_SLICE] = check_move,      [IR_TRANSPOSE] = check_move,  [IR_RESHAPE] = check_move,
	[IR_PAD] = check_move,	      [IR_EXPAND] = check_move,	    [IR_HOST] = check_host,
};

static int check_device(struct verify *c, const struct ir_op *op)
{
	CHECK(op->outs == 1 && op->out[0], NULL);
	CHECK(kind_check[op->kind], op->out[0]);
	for (unsigned i = 0; i < op->ins; i++) {
		const struct ir_value *v = ir_op_in(op, i);

		CHECK(!v || (known(v) && v->dtype <= MICA_DTYPE_MAX), v);
	}
	CHECK(op->out[0]->dtype <= MICA_DTYPE_MAX && known(op->out[0]), op->out[0]);
	return kind_check[op->kind](c, op);
}

/* In ONNX's order of axes. */
static int check_conv_operands(struct verify *c, const struct ir_op *op)
{
	const struct ir_value *x = op->in[0], *w = ir_op_in(op, 1), *b = ir_op_in(op, 2), *y = op->out[0];

	CHECK(x && w && x->rank == 4 && w->rank == 4 && y->rank == 4, x);
	CHECK(op->a.groups >= 1 && w->dim[1] * op->a.groups == x->dim[1], w);
	CHECK(w->dim[0] == y->dim[1] && w->dim[0] % op->a.groups == 0 && x->dim[0] == y->dim[0], w);
	CHECK(!b || (b->rank == 1 && b->dim[0] == w->dim[0]), b);
	return 0;
}

/* Kinds whose rules on shapes hold in any layout. */
static bool has_no_layout(enum ir_kind kind)
{
	return kind == IR_MATMUL || kind == IR_BINARY || kind == IR_WHERE || kind == IR_UNARY || kind == IR_REDUCE || kind == IR_SOFTMAX || kind == IR_NORM ||
	       kind_check[kind] == check_move;
}

int ir_verify_shapes(struct ir_graph *g, const struct ir_op *op)
{
	struct verify c = { .g = g, .op = op };

	if (op->kind == IR_CONV)
		return check_conv_operands(&c, op);
	return has_no_layout(op->kind) ? kind_check[op->kind](&c, op) : 0;
}

/* ---- the graph ---- */

static int check_op(struct verify *c, const struct ir_op *op)
{
	CHECK(op->name && op->kind < IR_KIND_COUNT, NULL);
	CHECK(op->prev ? op->prev->next == op : c->g->first == op, NULL);
	CHECK(op->ins <= IR_MAX_IN || op->more, NULL);
	for (unsigned i = 0; i < op->ins; i++) {
		const struct ir_value *v = ir_op_in(op, i);

		if (!v)
			continue;
		CHECK(v->id < c->g->values && c->g->value[v->id] == v, NULL);
		CHECK(c->live[v->id] || v->data, v);
		c->seen[v->id]++;
	}
	for (unsigned i = 0; i < op->outs; i++) {
		const struct ir_value *v = op->out[i];

		if (!v)
			continue;
		CHECK(v->id < c->g->values && c->g->value[v->id] == v, NULL);
		CHECK(v->def == op && !v->data && !v->is_input && !c->live[v->id], v);
		c->live[v->id] = 1;
	}
	return c->device ? check_device(c, op) : 0;
}

static int check_ends(struct verify *c)
{
	struct ir_graph *g = c->g;

	for (unsigned i = 0; i < g->outputs; i++) {
		const struct ir_value *v = g->output[i];

		CHECK(v && v->is_output && (v->data || c->live[v->id]), v);
	}
	for (unsigned i = 0; i < g->values; i++) {
		const struct ir_value *v = g->value[i];

		if (!v)
			continue;
		CHECK(v->id == i && v->name, v);
		if (check_value(c, v))
			return -MICA_ERR_INTERNAL;
	}
	return 0;
}

int ir_verify(struct ir_graph *g, bool device)
{
	struct verify c = { .g = g, .device = device };
	int r = 0;

	c.live = ir_alloc(g->values, sizeof(*c.live));
	c.seen = ir_alloc(g->values, sizeof(*c.seen));
	for (unsigned i = 0; i < g->inputs; i++)
		c.live[g->input[i]->id] = 1;
	for (c.op = g->first; c.op && !r; c.op = c.op->next)
		r = check_op(&c, c.op);
	c.op = NULL;
	if (!r)
		r = check_ends(&c);
	free(c.live);
	free(c.seen);
	return r;
}
