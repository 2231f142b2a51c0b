// SPDX-License-Identifier: MIT
/*
 * LSTM, GRU and RNN, unrolled: the products with the inputs are one matrix product for all steps, each step adds the
 * product with the state. Gates and states are computed in f32 element by element; products have the model's format.
 */
#include <stdlib.h>
#include <string.h>
#include "expr.h"

#define MAX_STEPS 1024 /* of all directions: the graph grows by a dozen operators for each */

enum { RNN, GRU, LSTM };

/* One activation with its parameters. */
struct act {
	enum mica_fn fn;
	float alpha, beta;
	enum { PLAIN, SCALED_TANH, AFFINE, THRESHOLDED } how;
};

struct cell {
	struct ir_graph *g;
	struct ir_op *op;
	struct build mac, vec; /* products; everything else */
	int kind;
	unsigned gates, dirs;
	bool reverse_only, batch_first, linear_before_reset, input_forget;
	int64_t steps, batch, in, hidden;
	float clip; /* 0: none */
	struct act act[6];
	/* of the direction that is being built */
	struct ir_value *r, *rb, *peep, *lens;
	const struct act *f;
};

/* ---- what the node says ---- */

static const struct {
	const char *name;
	struct act act;
	bool alpha, beta;
} activations[] = {
	{ "Sigmoid", { MICA_FN_SIGMOID, 0, 0, PLAIN }, false, false },
	{ "Tanh", { MICA_FN_TANH, 0, 0, PLAIN }, false, false },
	{ "Relu", { MICA_FN_RELU, 0, 0, PLAIN }, false, false },
	{ "LeakyRelu", { MICA_FN_LEAKY, 0.01f, 0, PLAIN }, true, false },
	{ "HardSigmoid", { MICA_FN_HSIGMOID, 0.2f, 0.5f, PLAIN }, true, true },
	{ "Elu", { MICA_FN_ELU, 1, 0, PLAIN }, true, false },
	{ "Softsign", { MICA_FN_SOFTSIGN, 0, 0, PLAIN }, false, false },
	{ "Softplus", { MICA_FN_SOFTPLUS, 0, 0, PLAIN }, false, false },
	{ "ScaledTanh", { MICA_FN_TANH, 1, 1, SCALED_TANH }, true, true },
	{ "Affine", { MICA_FN_COPY, 1, 0, AFFINE }, true, true },
	{ "ThresholdedRelu", { MICA_FN_COPY, 1, 0, THRESHOLDED }, true, false },
};

static bool same_name(const ProtobufCBinaryData *s, const char *name)
{
	for (size_t i = 0; i < s->len; i++) /* names are compared without case */
		if (!name[i] || (s->data[i] | 32) != (name[i] | 32))
			return false;
	return !name[s->len];
}

static int read_activations(struct cell *c)
{
	const Onnx__AttributeProto *names = onnx_attr(c->op, "activations"),
				   *alpha = onnx_attr(c->op, "activation_alpha"),
				   *beta = onnx_attr(c->op, "activation_beta");
	unsigned each = c->kind == LSTM ? 3 : c->kind == GRU ? 2 : 1, n = each * c->dirs;
	size_t na = 0, nb = 0;

	if (names && names->n_strings && names->n_strings != n)
		return onnx_fail(c->g, c->op, MICA_ERR_SHAPE,
				 "attribute activations has %zu entries where %u are needed; check "
				 "the model",
				 names->n_strings, n);
	for (unsigned i = 0; i < n; i++) {
		unsigned k = c->kind != RNN && i % each == 0 ? 0 : 1; /* Sigmoid first, then Tanh */

		if (names && names->n_strings)
			for (k = 0; k < ARRAY_LEN(activations); k++)
				if (same_name(&names->strings[i], activations[k].name))
					break;
		if (k == ARRAY_LEN(activations))
			return onnx_fail(c->g, c->op, MICA_ERR_UNSUPPORTED,
					 "activation '%.*s' is not supported; use Sigmoid, Tanh or "
					 "Relu",
					 (int)(names->strings[i].len & 63),
					 (const char *)names->strings[i].data);
		c->act[i] = activations[k].act;
		if (activations[k].alpha && alpha && na < alpha->n_floats)
			c->act[i].alpha = alpha->floats[na++];
		if (activations[k].beta && beta && nb < beta->n_floats)
			c->act[i].beta = beta->floats[nb++];
	}
	return 0;
}

static bool has_dims(const struct ir_value *v, unsigned rank, int64_t a, int64_t b, int64_t c)
{
	return v->rank == rank && v->dim[0] == a && v->dim[1] == b && (rank < 3 || v->dim[2] == c);
}

static int check_operands(struct cell *c)
{
	const struct ir_value *w = c->op->in[1], *r = c->op->in[2], *b = ir_op_in(c->op, 3),
			      *lens = ir_op_in(c->op, 4), *p = ir_op_in(c->op, 7);
	int64_t gh = c->gates * c->hidden, d = c->dirs;
	const char *bad = NULL;

	if (!has_dims(w, 3, d, gh, c->in))
		bad = "W";
	else if (!has_dims(r, 3, d, gh, c->hidden))
		bad = "R";
	else if (b && !has_dims(b, 2, d, 2 * gh, 0))
		bad = "B";
	else if (lens && (lens->rank != 1 || lens->dim[0] != c->batch))
		bad = "sequence_lens";
	else if (c->kind == LSTM && p && !has_dims(p, 2, d, 3 * c->hidden, 0))
		bad = "P";
	for (unsigned i = 5; i < 7 && !bad; i++) {
		const struct ir_value *s = ir_op_in(c->op, i);

		if (s && !(c->batch_first ? has_dims(s, 3, c->batch, d, c->hidden)
					  : has_dims(s, 3, d, c->batch, c->hidden)))
			bad = "an initial state";
	}
	return bad ? onnx_fail(c->g, c->op, MICA_ERR_SHAPE,
			       "the shape of %s does not fit hidden_size %lld; check the model", bad,
			       (long long)c->hidden)
		   : 0;
}

static int cell_read(struct cell *c, struct ir_graph *g, struct ir_op *op, int kind)
{
	const struct ir_value *x = op->in[0];

	memset(c, 0, sizeof(*c));
	c->g = g;
	c->op = op;
	c->kind = kind;
	c->gates = kind == LSTM ? 4 : kind == GRU ? 3 : 1;
	c->dirs = onnx_is(op, "direction", "bidirectional", "forward") ? 2 : 1;
	c->reverse_only = onnx_is(op, "direction", "reverse", "forward");
	c->batch_first = onnx_int(op, "layout", 0) != 0;
	c->linear_before_reset = onnx_int(op, "linear_before_reset", 0) != 0;
	c->input_forget = onnx_int(op, "input_forget", 0) != 0;
	c->clip = onnx_float(op, "clip", 0);
	if (x->rank != 3 || op->in[2]->rank != 3)
		return onnx_fail(g, op, MICA_ERR_SHAPE,
				 "operand X or R has not 3 dimensions; check the model");
	c->steps = x->dim[c->batch_first];
	c->batch = x->dim[!c->batch_first];
	c->in = x->dim[2];
	c->hidden = op->in[2]->dim[2];
	if (!(c->clip >= 0) || c->steps * c->dirs > MAX_STEPS || c->hidden < 1)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "%lld steps in %u directions: at most %d are unrolled; pass a "
				 "shorter --shape",
				 (long long)c->steps, c->dirs, MAX_STEPS);
	return check_operands(c) ? -(int)g->err->code : read_activations(c);
}

static int infer_rnn(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct cell c;
	int64_t y[4], s[3];

	if (cell_read(&c, g, op, d->code))
		return -(int)g->err->code;
	if (c.batch_first) {
		memcpy(y, (int64_t[]){ c.batch, c.steps, c.dirs, c.hidden }, sizeof(y));
		memcpy(s, (int64_t[]){ c.batch, c.dirs, c.hidden }, sizeof(s));
	} else {
		memcpy(y, (int64_t[]){ c.steps, c.dirs, c.batch, c.hidden }, sizeof(y));
		memcpy(s, (int64_t[]){ c.dirs, c.batch, c.hidden }, sizeof(s));
	}
	if (onnx_out(g, op, 0, MICA_F32, 4, y) || onnx_out(g, op, 1, MICA_F32, 3, s))
		return -(int)g->err->code;
	return onnx_out(g, op, 2, MICA_F32, 3, s);
}

/* ---- a step ---- */

static struct ir_value *bin(struct cell *c, enum mica_bin op, struct ir_value *x,
			    struct ir_value *y)
{
	return build_binary(&c->vec, op, x, y);
}

static struct ir_value *activate(struct cell *c, unsigned i, struct ir_value *x)
{
	const struct act *a = &c->f[i];
	struct build *b = &c->vec;

	if (c->clip > 0)
		x = build_unary(b, MICA_FN_CLIP, x, -c->clip, c->clip);
	switch (a->how) {
	case SCALED_TANH:
		x = expr_fn(b, MICA_FN_TANH, expr_k(b, MICA_BIN_MUL, x, a->beta));
		return expr_k(b, MICA_BIN_MUL, x, a->alpha);
	case AFFINE:
		return expr_k(b, MICA_BIN_ADD, expr_k(b, MICA_BIN_MUL, x, a->alpha), a->beta);
	case THRESHOLDED:
		return build_where(b, expr_k(b, MICA_BIN_GT, x, a->alpha), x, build_scalar(b, 0));
	default:
		return build_unary(b, a->fn, x, a->alpha, a->beta);
	}
}

/* Gates `first`, `first + 1`, .. of [batch, gates * hidden] */
static struct ir_value *gate(struct cell *c, struct ir_value *x, unsigned first, unsigned n)
{
	return build_slice1(&c->vec, x, 1, first * c->hidden, n * c->hidden);
}

/* Rows of R (or its bias) for some gates. */
static struct ir_value *rows(struct cell *c, struct ir_value *v, unsigned first, unsigned n)
{
	return build_slice1(&c->vec, v, 0, first * c->hidden, n * c->hidden);
}

/* x + h R' for some gates; a state that is zero costs nothing */
static struct ir_value *with_state(struct cell *c, struct ir_value *x, struct ir_value *h,
				   unsigned first, unsigned n)
{
	if (!h)
		return x;
	h = expr_product(&c->mac, h, rows(c, c->r, first, n), true);
	return x ? bin(c, MICA_BIN_ADD, h, x) : h;
}

static struct ir_value *peek(struct cell *c, struct ir_value *x, struct ir_value *state,
			     unsigned which)
{
	if (!c->peep || !state)
		return x;
	return bin(c, MICA_BIN_ADD, x, bin(c, MICA_BIN_MUL, state, rows(c, c->peep, which, 1)));
}

/* gates i, o, f, c */
static void lstm_step(struct cell *c, struct ir_value *x, struct ir_value **h, struct ir_value **s)
{
	struct ir_value *all = with_state(c, x, *h, 0, 4), *i, *f = NULL, *o, *n;

	i = activate(c, 0, peek(c, gate(c, all, 0, 1), *s, 0));
	n = activate(c, 1, gate(c, all, 3, 1));
	if (c->input_forget)
		f = bin(c, MICA_BIN_SUB, build_scalar(&c->vec, 1), i);
	else if (*s)
		f = activate(c, 0, peek(c, gate(c, all, 2, 1), *s, 2));
	n = bin(c, MICA_BIN_MUL, i, n);
	if (*s)
		n = bin(c, MICA_BIN_ADD, bin(c, MICA_BIN_MUL, f, *s), n);
	o = activate(c, 0, peek(c, gate(c, all, 1, 1), n, 1));
	*s = n;
	if (c->clip > 0) { /* the clip is for what goes into gates, not for the state's function */
		float clip = c->clip;

		c->clip = 0;
		n = activate(c, 2, n);
		c->clip = clip;
	} else {
		n = activate(c, 2, n);
	}
	*h = bin(c, MICA_BIN_MUL, o, n);
}

/* gates z, r, h */
static void gru_step(struct cell *c, struct ir_value *x, struct ir_value **h)
{
	struct ir_value *zr = activate(c, 0, with_state(c, gate(c, x, 0, 2), *h, 0, 2)), *z, *r,
			*n = gate(c, x, 2, 1), *rn, *b = c->rb ? rows(c, c->rb, 2, 1) : NULL;

	z = gate(c, zr, 0, 1);
	r = gate(c, zr, 1, 1);
	if (c->linear_before_reset) { /* r * (h R' + b) */
		rn = with_state(c, NULL, *h, 2, 1);
		rn = rn && b ? bin(c, MICA_BIN_ADD, rn, b) : rn ? rn : b;
		n = rn ? bin(c, MICA_BIN_ADD, n, bin(c, MICA_BIN_MUL, r, rn)) : n;
	} else {
		n = with_state(c, n, *h ? bin(c, MICA_BIN_MUL, r, *h) : NULL, 2, 1);
		n = b ? bin(c, MICA_BIN_ADD, n, b) : n;
	}
	n = activate(c, 1, n);
	r = bin(c, MICA_BIN_MUL, bin(c, MICA_BIN_SUB, build_scalar(&c->vec, 1), z), n);
	*h = *h ? bin(c, MICA_BIN_ADD, r, bin(c, MICA_BIN_MUL, z, *h)) : r;
}

/* ---- a direction ---- */

/* Where the sequence of a batch has ended: 1 while it lasts. NULL when all last for all steps. */
static struct ir_value *lasts(struct cell *c, int64_t t)
{
	return c->lens ? expr_k(&c->vec, MICA_BIN_GT, c->lens, (float)t) : NULL;
}

static struct ir_value *kept(struct cell *c, struct ir_value *mask, struct ir_value *now,
			     struct ir_value *before)
{
	if (!mask)
		return now;
	return build_where(&c->vec, mask, now, before ? before : build_scalar(&c->vec, 0));
}

static struct ir_value *row_of(struct cell *c, unsigned operand, unsigned dir)
{
	struct ir_value *v = expr_in(c->g, c->op, operand);

	return v ? build_reshape(&c->vec, build_slice1(&c->vec, v, 0, dir, 1), v->rank - 1,
				 v->dim + 1)
		 : NULL;
}

static struct ir_value *initial(struct cell *c, unsigned operand, unsigned dir)
{
	struct ir_value *v = expr_in(c->g, c->op, operand);

	if (!v)
		return NULL;
	v = build_slice1(&c->vec, v, c->batch_first, dir, 1);
	return build_reshape(&c->vec, v, 2, (int64_t[]){ c->batch, c->hidden });
}

/* Wb + Rb; the part of the GRU's last gate that must wait goes to c->rb. */
static struct ir_value *input_bias(struct cell *c, struct ir_value *b)
{
	int64_t gh = c->gates * c->hidden, now = c->kind == GRU ? 2 * c->hidden : gh;
	struct ir_value *wb = build_slice1(&c->vec, b, 0, 0, gh),
			*rb = build_slice1(&c->vec, b, 0, gh, gh);

	c->rb = c->kind == GRU ? rb : NULL;
	if (b->data) {
		struct ir_value *sum = build_const(&c->vec, 1, &gh, wb->data);

		for (int64_t i = 0; i < now; i++)
			((float *)sum->data)[i] += ((float *)rb->data)[i];
		return sum;
	}
	if (c->kind == GRU)
		rb = build_pad(&c->vec, rows(c, rb, 0, 2), (int64_t[]){ 0 },
			       (int64_t[]){ c->hidden }, 0);
	return bin(c, MICA_BIN_ADD, wb, rb);
}

/* x W' with the bias, as [steps, batch, gates * hidden] */
static struct ir_value *input_part(struct cell *c, struct ir_value *x, unsigned dir)
{
	struct ir_value *w = row_of(c, 1, dir), *b = row_of(c, 3, dir);
	int64_t dim[3] = { c->steps, c->batch, c->gates * c->hidden };

	x = build_reshape(&c->mac, x, 2, (int64_t[]){ c->steps * c->batch, c->in });
	x = expr_product(&c->mac, x, w, true);
	c->rb = NULL;
	if (b)
		x = bin(c, MICA_BIN_ADD, x, input_bias(c, b));
	return build_reshape(&c->vec, x, 3, dim);
}

struct ends {
	struct ir_value *y, *h, *s;
};

static struct ends direction(struct cell *c, struct ir_value *x, unsigned dir)
{
	bool back = c->reverse_only || dir == 1;
	struct ir_value **part = ir_alloc((size_t)c->steps, sizeof(*part)), *xp, *h, *s, *mask;
	int64_t flat[2] = { c->batch, c->gates * c->hidden },
		four[4] = { 1, 1, c->batch, c->hidden };
	struct ends e;

	xp = input_part(c, x, dir);
	c->r = row_of(c, 2, dir);
	c->peep = c->kind == LSTM ? row_of(c, 7, dir) : NULL;
	c->f = c->act + dir * (c->kind == LSTM ? 3 : c->kind == GRU ? 2 : 1);
	h = initial(c, 5, dir);
	s = c->kind == LSTM ? initial(c, 6, dir) : NULL;
	for (int64_t i = 0; i < c->steps; i++) {
		int64_t t = back ? c->steps - 1 - i : i;
		struct ir_value *h0 = h, *s0 = s;

		x = build_reshape(&c->vec, build_slice1(&c->vec, xp, 0, t, 1), 2, flat);
		if (c->kind == LSTM)
			lstm_step(c, x, &h, &s);
		else if (c->kind == GRU)
			gru_step(c, x, &h);
		else
			h = activate(c, 0, with_state(c, x, h, 0, 1));
		mask = lasts(c, t);
		part[t] = build_reshape(&c->vec, kept(c, mask, h, NULL), 4, four);
		h = kept(c, mask, h, h0);
		s = s ? kept(c, mask, s, s0) : NULL;
	}
	e.y = build_concat(&c->vec, part, (unsigned)c->steps, 0);
	e.h = build_reshape(&c->vec, h, 3, four + 1);
	e.s = s ? build_reshape(&c->vec, s, 3, four + 1) : NULL;
	free(part);
	return e;
}

/* Results of the directions side by side; [steps, dirs, ..] or with the batch in front. */
static void deliver(struct cell *c, unsigned i, struct ir_value *a, struct ir_value *b,
		    unsigned axis)
{
	struct ir_value *in[2] = { a, b }, *y = build_concat(&c->vec, in, b ? 2 : 1, axis);

	if (!expr_wanted(c->op, i))
		return;
	if (c->batch_first)
		y = build_transpose(&c->vec, y, i ? (int[]){ 1, 0, 2 } : (int[]){ 2, 0, 1, 3 });
	build_becomes(c->g, c->op->out[i], y);
}

/* Lengths that are all full need no masks. */
static struct ir_value *lengths(struct cell *c)
{
	struct ir_value *v = expr_in(c->g, c->op, 4);
	bool full = v && v->data;

	for (int64_t i = 0; full && i < c->batch; i++)
		full = ((float *)v->data)[i] >= (float)c->steps;
	return v && !full ? build_reshape(&c->vec, v, 2, (int64_t[]){ c->batch, 1 }) : NULL;
}

static int canon_rnn(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct ends e[2] = { 0 };
	struct ir_value *x;
	struct cell c;

	if (cell_read(&c, g, op, d->code))
		return -(int)g->err->code;
	c.mac = build_at(g, op);
	c.vec = expr_at(g, op);
	x = expr_in(g, op, 0);
	if (c.batch_first)
		x = expr_swap(&c.vec, x, 0, 1);
	c.lens = lengths(&c);
	for (unsigned i = 0; i < c.dirs; i++)
		e[i] = direction(&c, x, i);
	deliver(&c, 0, e[0].y, e[1].y, 1);
	deliver(&c, 1, e[0].h, e[1].h, 0);
	if (c.kind == LSTM)
		deliver(&c, 2, e[0].s, e[1].s, 0);
	return 0;
}

const struct onnx_def onnx_rnn_ops[] = {
	{ "RNN", RNN, 3, 6, infer_rnn, NULL, canon_rnn },
	{ "GRU", GRU, 3, 6, infer_rnn, NULL, canon_rnn },
	{ "LSTM", LSTM, 3, 8, infer_rnn, NULL, canon_rnn },
	{ 0 },
};
