// SPDX-License-Identifier: MIT
/*
 * Attention as one operator: com.microsoft's Attention and MultiHeadAttention, ONNX's Attention (opset 23). All become
 * products, a mask that is added in f32, and a softmax, as exporters write it out.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "expr.h"

/* Queries [b,n,s,h], keys [b,n,t,h], values [b,n,t,v], and what is added to the scores (or NULL). */
struct attention {
	struct ir_value *q, *k, *v, *mask;
	float scale, softcap; /* 0: one over the root of h; none */
	bool causal;
	int64_t before; /* keys in front of the first query */
	struct ir_value *lengths; /* [b] keys that count, the queries are the last of them; or NULL */
	struct ir_value **scores; /* where to leave what opset 23 calls qk_matmul_output, or NULL */
	int64_t mode; /* of that: enum below */
};
enum { SCORES_RAW, SCORES_MASKED, SCORES_CAPPED, SCORES_SOFTMAX, SCORES_MODES };


static bool wanted(const struct ir_op *op, unsigned i)
{
	return expr_wanted(op, i);
}

/* [b,s,n*h] to [b,n,s,h] */
static struct ir_value *heads(struct build *b, struct ir_value *x, int64_t n)
{
	x = build_reshape(b, x, 4, (int64_t[]){ x->dim[0], x->dim[1], n, x->dim[2] / n });
	return expr_swap(b, x, 1, 2);
}

static struct ir_value *unheads(struct build *b, struct ir_value *x)
{
	x = expr_swap(b, x, 1, 2);
	return build_reshape(b, x, 3, (int64_t[]){ x->dim[0], x->dim[1], x->dim[2] * x->dim[3] });
}

static struct ir_value *plus(struct build *b, struct ir_value *x, struct ir_value *y)
{
	return x && y ? build_binary(b, MICA_BIN_ADD, x, y) : x ? x : y;
}

/* [s,t]: 0 where query i may see key j, a large negative number elsewhere */
static struct ir_value *causal_mask(struct build *b, int64_t s, int64_t t, int64_t before)
{
	struct ir_value *m = build_const(b, 2, (int64_t[]){ s, t }, NULL);

	for (int64_t i = 0; i < s; i++)
		for (int64_t j = 0; j < t; j++)
			((float *)m->data)[i * t + j] = j > i + before ? -1e30f : 0;
	return m;
}

/* Heads of keys and values that several queries share. */
static struct ir_value *repeated(struct build *b, struct ir_value *x, int64_t n)
{
	int64_t bs = x->dim[0], own = x->dim[1], t = x->dim[2], h = x->dim[3];

	if (own == n)
		return x;
	x = build_reshape(b, x, 4, (int64_t[]){ bs * own, 1, t, h });
	x = build_expand(b, x, 4, (int64_t[]){ bs * own, n / own, t, h });
	return build_reshape(b, x, 4, (int64_t[]){ bs, n, t, h });
}

/* 0 for the keys that count: the first lengths[b], and with causal those up to the query, [b,1,1 or s,t] */
static struct ir_value *length_mask(struct build *b, const struct attention *a, int64_t s, int64_t t)
{
	struct ir_value *n = build_reshape(b, a->lengths, 4, (int64_t[]){ a->lengths->dim[0], 1, 1, 1 }), *at = expr_iota(b, t, 4, 3), *seen;

	seen = build_binary(b, MICA_BIN_LT, at, n);
	if (a->causal && !a->before) {
		struct ir_value *far = build_const(b, 4, (int64_t[]){ 1, 1, s, t }, NULL); /* key - query + queries */

		for (int64_t i = 0; i < s * t; i++)
			((float *)far->data)[i] = (float)(i % t - i / t + s);
		seen = build_binary(b, MICA_BIN_AND, seen, build_binary(b, MICA_BIN_LE, far, n));
	}
	return expr_k(b, MICA_BIN_MUL, expr_k(b, MICA_BIN_SUB, seen, 1), 1e30f);
}

static struct ir_value *attend(struct build *b, const struct attention *a)
{
	int64_t n = a->q->dim[1], s = a->q->dim[2], t = a->k->dim[2];
	float scale = a->scale != 0 ? a->scale : 1 / sqrtf((float)a->q->dim[3]);
	struct build f = *b;
	struct ir_value *y, *mask = a->mask, *scores[SCORES_MODES];
	struct ir_op *sm;

	f.format = b->format < 0 ? MICA_F32 : b->format;
	y = expr_product(b, expr_k(b, MICA_BIN_MUL, a->q, scale), repeated(b, a->k, n), true);
	scores[SCORES_RAW] = y;
	if (a->softcap > 0)
		y = expr_k(&f, MICA_BIN_MUL, expr_fn(&f, MICA_FN_TANH, expr_k(&f, MICA_BIN_MUL, y, 1 / a->softcap)), a->softcap);
	if (a->causal && (!a->lengths || a->before))
		mask = plus(&f, mask, causal_mask(&f, s, t, a->before));
	if (a->lengths)
		mask = plus(&f, mask, length_mask(&f, a, s, t));
	y = plus(&f, y, mask);
	scores[SCORES_MASKED] = scores[SCORES_CAPPED] = y;
	sm = build_op(mask ? &f : b, IR_SOFTMAX, &y, 1, 4, y->dim);
	sm->a.axis = 3;
	scores[SCORES_SOFTMAX] = sm->out[0];
	if (a->scores && mask && (a->mode == SCORES_MASKED || a->mode == SCORES_CAPPED)) /* what nobody sees is -inf to a reader */
		*a->scores = build_where(&f, expr_k(&f, MICA_BIN_LT, y, -1e29f), build_scalar(&f, -INFINITY), y);
	else if (a->scores)
		*a->scores = scores[a->mode];
	return expr_product(b, sm->out[0], repeated(b, a->v, n), false);
}

/* A mask of ones and zeroes as summand: (1 - m) * low */
static struct ir_value *as_summand(struct build *b, struct ir_value *m, float low)
{
	return expr_k(b, MICA_BIN_MUL, expr_k(b, MICA_BIN_SUB, m, 1), -low);
}

/* Masks of com.microsoft: [b,t], [b,s,t] of ones and zeroes, or [b] lengths. Shapes have been checked. */
static struct ir_value *padding_mask(struct build *b, struct ir_op *op, unsigned i, int64_t t)
{
	struct ir_value *m = expr_in(b->g, op, i);
	float low = onnx_float(op, "mask_filter_value", -10000);

	if (!m)
		return NULL;
	if (m->rank == 1) {
		m = build_reshape(b, m, 2, (int64_t[]){ m->dim[0], 1 });
		m = build_binary(b, MICA_BIN_LT, expr_iota(b, t, 2, 1), m);
	}
	if (m->rank == 2)
		m = build_reshape(b, m, 4, (int64_t[]){ m->dim[0], 1, 1, m->dim[1] });
	else
		m = build_reshape(b, m, 4, (int64_t[]){ m->dim[0], 1, m->dim[1], m->dim[2] });
	return as_summand(b, m, low);
}

static int check_mask(struct ir_graph *g, struct ir_op *op, unsigned i, int64_t bs, int64_t s, int64_t t)
{
	const struct ir_value *m = ir_op_in(op, i);

	if (!m || (m->rank == 1 && m->dim[0] == bs) || (m->rank == 2 && m->dim[0] == bs && m->dim[1] == t) ||
	    (m->rank == 3 && m->dim[0] == bs && m->dim[1] == s && m->dim[2] == t))
		return 0;
	return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "its mask is none of [batch], [batch, keys] and [batch, queries, keys]; export with such a mask");
}

/* v broadcasts with [b,n,s,t]. */
static int check_scores(struct ir_graph *g, struct ir_op *op, unsigned i, int64_t bs, int64_t n, int64_t s, int64_t t)
{
	const struct ir_value *v = ir_op_in(op, i);
	int64_t dim[4] = { bs, n, s, t };
	bool ok = !v || v->rank <= 4;

	for (unsigned k = 0; v && ok && k < v->rank; k++)
		ok = v->dim[k] == 1 || v->dim[k] == dim[4 - v->rank + k];
	return ok ? 0 : onnx_fail(g, op, MICA_ERR_SHAPE, "operand %u does not fit the scores [%lld,%lld,%lld,%lld]; check the model", i, (long long)bs,
				  (long long)n, (long long)s, (long long)t);
}

static int head_count(struct ir_graph *g, struct ir_op *op, int64_t *n)
{
	*n = onnx_int(op, "num_heads", 0);
	return *n >= 1 && *n <= 65535 ? 0 : onnx_fail(g, op, MICA_ERR_CORRUPT, "num_heads is missing; export the model again");
}

/* ---- com.microsoft.Attention: input, weights [d, q+k+v], bias, mask, past [2,b,n,p,h], summand ---- */

struct widths {
	int64_t n, q, k, v, past;
};

static int read_widths(struct ir_graph *g, struct ir_op *op, struct widths *w)
{
	const struct ir_value *x = op->in[0], *m = op->in[1], *bias = ir_op_in(op, 2), *past = ir_op_in(op, 4);
	const int64_t *list;
	size_t lists = onnx_ints(op, "qkv_hidden_sizes", &list);
	bool ok = x->rank == 3 && m->rank == 2 && m->dim[0] == x->dim[2];

	if (head_count(g, op, &w->n))
		return -(int)g->err->code;
	ok = ok && (lists ? lists == 3 : m->dim[1] % 3 == 0);
	if (ok) {
		w->q = lists ? list[0] : m->dim[1] / 3;
		w->k = lists ? list[1] : w->q;
		w->v = lists ? list[2] : w->q;
		ok = w->q > 0 && w->k == w->q && w->v > 0 && w->q < 1 << 24 && w->v < 1 << 24 && w->q + w->k + w->v == m->dim[1] && w->q % w->n == 0 &&
		     w->v % w->n == 0;
	}
	ok = ok && (!bias || (bias->rank == 1 && bias->dim[0] == m->dim[1]));
	ok = ok && (!past || (past->rank == 5 && past->dim[0] == 2 && past->dim[1] == x->dim[0] && past->dim[2] == w->n && past->dim[4] == w->q / w->n &&
			      w->v == w->q));
	w->past = past && ok ? past->dim[3] : 0;
	return ok ? 0 : onnx_fail(g, op, MICA_ERR_SHAPE, "operands, num_heads and qkv_hidden_sizes do not fit each other; check the model");
}

static int infer_packed(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	const struct ir_value *x = op->in[0];
	int64_t dim[5], t;
	struct widths w;
	(void)d;

	if (read_widths(g, op, &w))
		return -(int)g->err->code;
	t = w.past + x->dim[1];
	if (onnx_int(op, "do_rotary", 0) || onnx_int(op, "past_present_share_buffer", 0))
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "do_rotary and past_present_share_buffer are not supported; save the model without this fusion");
	if (check_mask(g, op, 3, x->dim[0], x->dim[1], t) || check_scores(g, op, 5, x->dim[0], w.n, x->dim[1], t))
		return -(int)g->err->code;
	memcpy(dim, (int64_t[]){ 2, x->dim[0], w.n, t, w.q / w.n }, sizeof(dim));
	if (onnx_out(g, op, 1, MICA_F32, 5, dim))
		return -(int)g->err->code;
	memcpy(dim, (int64_t[]){ x->dim[0], x->dim[1], w.v }, 3 * sizeof(*dim));
	return onnx_out(g, op, 0, MICA_F32, 3, dim);
}

/* past[i] in front of x [b,n,s,h] */
static struct ir_value *with_past(struct build *b, struct ir_value *past, int64_t i, struct ir_value *x)
{
	struct ir_value *part[2] = { past, x };

	if (!past)
		return x;
	if (past->rank == 5) {
		part[0] = build_slice1(b, past, 0, i, 1);
		part[0] = build_reshape(b, part[0], 4, past->dim + 1);
	}
	return build_concat(b, part, 2, 2);
}

static int canon_packed(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = build_at(g, op), *b = &own, f = expr_at(g, op);
	struct ir_value *x = expr_in(g, op, 0), *past = expr_in(g, op, 4);
	struct attention a = { .scale = onnx_float(op, "scale", 0), .causal = onnx_int(op, "unidirectional", 0) };
	struct widths w;
	(void)d;

	if (read_widths(g, op, &w) || (a.causal && onnx_room(g, op, x->dim[1], w.past + x->dim[1])))
		return -(int)g->err->code;
	x = build_matmul_of(b, x, expr_in(g, op, 1));
	x = plus(b, x, expr_in(g, op, 2));
	a.q = heads(b, build_slice1(b, x, 2, 0, w.q), w.n);
	a.k = with_past(b, past, 0, heads(b, build_slice1(b, x, 2, w.q, w.k), w.n));
	a.v = with_past(b, past, 1, heads(b, build_slice1(b, x, 2, w.q + w.k, w.v), w.n));
	a.before = w.past;
	a.mask = plus(&f, padding_mask(&f, op, 3, a.k->dim[2]), expr_in(g, op, 5));
	if (wanted(op, 1)) {
		struct ir_value *pair[2];

		for (unsigned i = 0; i < 2; i++)
			pair[i] = build_reshape(b, i ? a.v : a.k, 5, (int64_t[]){ 1, a.k->dim[0], a.k->dim[1], a.k->dim[2], a.k->dim[3] });
		expr_becomes(b, op, 1, build_concat(b, pair, 2, 0));
	}
	expr_becomes(b, op, 0, unheads(b, attend(b, &a)));
	return 0;
}

/*
 * ---- MultiHeadAttention: query, key, value, bias, mask, summand, past key, past value. Query alone is [b,s,n,3,h], query and
 * key [b,t,n,2,h] may hold all; key and value may come as [b,n,t,h] ----
 */

struct multi {
	int64_t bs, n, s, t, h, hv, past;
	bool packed, packed_kv, split_kv;
};

static int read_multi(struct ir_graph *g, struct ir_op *op, struct multi *m)
{
	const struct ir_value *q = op->in[0], *k = ir_op_in(op, 1), *v = ir_op_in(op, 2), *bias = ir_op_in(op, 3), *past = ir_op_in(op, 6),
			      *past_v = ir_op_in(op, 7);
	bool ok;

	memset(m, 0, sizeof(*m));
	if (head_count(g, op, &m->n))
		return -(int)g->err->code;
	m->packed = !k && !v && q->rank == 5;
	m->packed_kv = k && !v && k->rank == 5;
	m->split_kv = k && v && k->rank == 4 && v->rank == 4;
	ok = m->packed ? q->dim[2] == m->n && q->dim[3] == 3 : q->rank == 3 && q->dim[2] % m->n == 0;
	m->bs = q->dim[0];
	m->s = q->dim[1];
	m->h = m->packed ? q->dim[4] : ok ? q->dim[2] / m->n : 0;
	m->t = m->s;
	m->hv = m->h;
	if (ok && m->packed_kv) {
		m->t = k->dim[1];
		ok = k->dim[0] == m->bs && k->dim[2] == m->n && k->dim[3] == 2 && k->dim[4] == m->h;
	} else if (ok && m->split_kv) {
		m->t = k->dim[2];
		m->hv = v->dim[3];
		ok = k->dim[0] == m->bs && k->dim[1] == m->n && k->dim[3] == m->h && v->dim[0] == m->bs && v->dim[1] == m->n && v->dim[2] == m->t;
	} else if (ok && !m->packed) {
		ok = k && v && k->rank == 3 && v->rank == 3 && k->dim[0] == m->bs && v->dim[0] == m->bs && k->dim[1] == v->dim[1] &&
		     k->dim[2] == m->n * m->h && v->dim[2] % m->n == 0;
		m->t = ok ? k->dim[1] : 0;
		m->hv = ok ? v->dim[2] / m->n : 0;
	}
	ok = ok && (!bias || (bias->rank == 1 && bias->dim[0] == m->n * (2 * m->h + m->hv) && !m->packed_kv && !m->split_kv));
	ok = ok && !past == !past_v;
	ok = ok && (!past || (past->rank == 4 && past_v->rank == 4 && past->dim[0] == m->bs && past->dim[1] == m->n && past->dim[3] == m->h &&
			      past_v->dim[0] == m->bs && past_v->dim[1] == m->n && past_v->dim[2] == past->dim[2] && past_v->dim[3] == m->hv));
	m->past = ok && past ? past->dim[2] : 0;
	m->t += m->past;
	return ok ? 0 : onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "its operands have no form that is supported, or do not fit each other; save the model without this fusion");
}

static int infer_multi(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct multi m;
	(void)d;

	if (read_multi(g, op, &m) || check_mask(g, op, 4, m.bs, m.s, m.t) || check_scores(g, op, 5, m.bs, m.n, m.s, m.t))
		return -(int)g->err->code;
	if (onnx_out(g, op, 1, MICA_F32, 4, (int64_t[]){ m.bs, m.n, m.t, m.h }) || onnx_out(g, op, 2, MICA_F32, 4, (int64_t[]){ m.bs, m.n, m.t, m.hv }))
		return -(int)g->err->code;
	return onnx_out(g, op, 0, MICA_F32, 3, (int64_t[]){ m.bs, m.s, m.n * m.hv });
}

/* Part i of [b,s,n,parts,h] as [b,s,n*h] */
static struct ir_value *part_of(struct build *b, struct ir_value *x, int64_t i)
{
	int64_t n = x->dim[2] * x->dim[4];

	return build_reshape(b, build_slice1(b, x, 3, i, 1), 3, (int64_t[]){ x->dim[0], x->dim[1], n });
}

static struct ir_value *biased(struct build *b, struct ir_op *op, struct ir_value *x, int64_t at)
{
	struct ir_value *bias = expr_in(b->g, op, 3);

	return bias ? plus(b, x, build_slice1(b, bias, 0, at, x->dim[2])) : x;
}

static int canon_multi(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = build_at(g, op), *b = &own, f = expr_at(g, op);
	struct attention a = { .scale = onnx_float(op, "scale", 0), .causal = onnx_int(op, "unidirectional", 0) };
	struct ir_value *q = expr_in(g, op, 0), *k = expr_in(g, op, 1), *v = expr_in(g, op, 2);
	struct multi m;
	(void)d;

	if (read_multi(g, op, &m) || (a.causal && onnx_room(g, op, m.s, m.t)))
		return -(int)g->err->code;
	if (m.packed || m.packed_kv) {
		struct ir_value *all = m.packed ? q : k;

		k = part_of(b, all, m.packed ? 1 : 0);
		v = part_of(b, all, m.packed ? 2 : 1);
		q = m.packed ? part_of(b, all, 0) : q;
	}
	a.q = heads(b, biased(b, op, q, 0), m.n);
	a.k = m.split_kv ? k : heads(b, biased(b, op, k, m.n * m.h), m.n);
	a.v = m.split_kv ? v : heads(b, biased(b, op, v, 2 * m.n * m.h), m.n);
	a.k = with_past(b, expr_in(g, op, 6), 0, a.k);
	a.v = with_past(b, expr_in(g, op, 7), 0, a.v);
	a.before = m.past;
	a.mask = plus(&f, padding_mask(&f, op, 4, m.t), expr_in(g, op, 5));
	if (wanted(op, 1))
		expr_becomes(b, op, 1, a.k);
	if (wanted(op, 2))
		expr_becomes(b, op, 2, a.v);
	expr_becomes(b, op, 0, unheads(b, attend(b, &a)));
	return 0;
}

/*
 * ---- Attention of opset 23: Q, K, V, mask, past key, past value; [b,n,s,h] or [b,s,n*h]. Since 24: how many keys count. A mask
 * may be for fewer keys than there are ----
 */

struct plain {
	int64_t bs, nq, nk, s, t, h, hv, past;
	bool flat;
};

static int read_plain(struct ir_graph *g, struct ir_op *op, struct plain *p)
{
	const struct ir_value *q = op->in[0], *k = op->in[1], *v = op->in[2], *past = ir_op_in(op, 4), *past_v = ir_op_in(op, 5), *lengths = ir_op_in(op, 6);
	bool ok = (q->rank == 3 || q->rank == 4) && k->rank == q->rank && v->rank == q->rank;

	memset(p, 0, sizeof(*p));
	p->flat = q->rank == 3;
	p->nq = ok && p->flat ? onnx_int(op, "q_num_heads", 0) : ok ? q->dim[1] : 0;
	p->nk = ok && p->flat ? onnx_int(op, "kv_num_heads", 0) : ok ? k->dim[1] : 0;
	ok = ok && p->nq > 0 && p->nk > 0 && p->nq <= 65535 && p->nq % p->nk == 0 && k->dim[0] == q->dim[0] && v->dim[0] == q->dim[0];
	if (ok && p->flat) {
		ok = q->dim[2] % p->nq == 0 && k->dim[2] % p->nk == 0 && v->dim[2] % p->nk == 0 && q->dim[2] / p->nq == k->dim[2] / p->nk &&
		     k->dim[1] == v->dim[1];
		p->h = q->dim[2] / p->nq;
		p->hv = v->dim[2] / p->nk;
	} else if (ok) {
		ok = v->dim[1] == p->nk && k->dim[2] == v->dim[2] && q->dim[3] == k->dim[3];
		p->h = q->dim[3];
		p->hv = v->dim[3];
	}
	p->bs = q->dim[0];
	p->s = ok ? q->dim[p->flat ? 1 : 2] : 0;
	p->t = ok ? k->dim[p->flat ? 1 : 2] : 0;
	ok = ok && !past == !past_v;
	ok = ok && (!past || (past->rank == 4 && past_v->rank == 4 && past->dim[0] == p->bs && past->dim[1] == p->nk && past->dim[3] == p->h &&
			      past_v->dim[0] == p->bs && past_v->dim[1] == p->nk && past_v->dim[2] == past->dim[2] && past_v->dim[3] == p->hv));
	p->past = ok && past ? past->dim[2] : 0;
	p->t += p->past;
	ok = ok && (!lengths || (lengths->rank == 1 && lengths->dim[0] == p->bs));
	return ok ? 0 : onnx_fail(g, op, MICA_ERR_SHAPE, "queries, keys and values do not fit each other; check the model");
}

/* The keys that the mask is for. */
static int64_t mask_keys(const struct ir_op *op, const struct plain *p)
{
	const struct ir_value *m = ir_op_in(op, 3);
	int64_t n = m && m->rank ? m->dim[m->rank - 1] : 1;

	return n > 1 && n < p->t ? n : p->t;
}

static int infer_plain(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct plain p;
	int64_t mode;
	(void)d;

	if (read_plain(g, op, &p) || check_scores(g, op, 3, p.bs, p.nq, p.s, mask_keys(op, &p)))
		return -(int)g->err->code;
	if (onnx_out(g, op, 1, MICA_F32, 4, (int64_t[]){ p.bs, p.nk, p.t, p.h }) || onnx_out(g, op, 2, MICA_F32, 4, (int64_t[]){ p.bs, p.nk, p.t, p.hv }))
		return -(int)g->err->code;
	mode = onnx_int(op, "qk_matmul_output_mode", 0);
	if (mode < 0 || mode >= SCORES_MODES)
		return onnx_fail(g, op, MICA_ERR_CORRUPT, "qk_matmul_output_mode is not within 0..3; export the model again");
	if (mode == SCORES_MASKED && wanted(op, 3) && onnx_float(op, "softcap", 0) > 0)
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "result 3 (the scores) with softcap and qk_matmul_output_mode 1 means different things in different releases of ONNX; use "
				 "mode 0, 2 or 3");
	if (onnx_out(g, op, 3, MICA_F32, 4, (int64_t[]){ p.bs, p.nq, p.s, p.t }))
		return -(int)g->err->code;
	return p.flat ? onnx_out(g, op, 0, MICA_F32, 3, (int64_t[]){ p.bs, p.s, p.nq * p.hv })
		      : onnx_out(g, op, 0, MICA_F32, 4, (int64_t[]){ p.bs, p.nq, p.s, p.hv });
}

static int canon_plain(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = build_at(g, op), *b = &own, f = expr_at(g, op);
	struct attention a = { .scale = onnx_float(op, "scale", 0), .softcap = onnx_float(op, "softcap", 0), .causal = onnx_int(op, "is_causal", 0) };
	struct ir_value *in[3], *mask = ir_op_in(op, 3), *scores, *y;
	struct plain p;
	(void)d;

	if (read_plain(g, op, &p) || ((a.causal || ir_op_in(op, 6)) && onnx_room(g, op, p.s, p.t)))
		return -(int)g->err->code;
	for (unsigned i = 0; i < 3; i++) {
		in[i] = expr_in(g, op, i);
		in[i] = p.flat ? heads(b, in[i], i ? p.nk : p.nq) : in[i];
	}
	a.q = in[0];
	a.k = with_past(b, expr_in(g, op, 4), 0, in[1]);
	a.v = with_past(b, expr_in(g, op, 5), 0, in[2]);
	a.before = p.past;
	if (mask)
		a.mask = mask->dtype == IR_BOOL || mask->elem == ONNX_BOOL ? as_summand(&f, expr_in(g, op, 3), -1e30f) : expr_in(g, op, 3);
	if (mask && mask_keys(op, &p) < p.t) { /* keys that it does not know are not seen */
		int64_t front[IR_MAX_RANK] = { 0 }, behind[IR_MAX_RANK] = { 0 };

		behind[mask->rank - 1] = p.t - mask_keys(op, &p);
		a.mask = build_pad(&f, a.mask, front, behind, -1e30f);
	}
	a.lengths = expr_in(g, op, 6);
	a.scores = wanted(op, 3) ? &scores : NULL;
	a.mode = onnx_int(op, "qk_matmul_output_mode", 0);
	if (wanted(op, 1))
		expr_becomes(b, op, 1, a.k);
	if (wanted(op, 2))
		expr_becomes(b, op, 2, a.v);
	y = attend(b, &a);
	if (a.scores)
		expr_becomes(b, op, 3, scores);
	expr_becomes(b, op, 0, p.flat ? unheads(b, y) : y);
	return 0;
}

const struct onnx_def onnx_attention_ops[] = {
	{ "com.microsoft.Attention", 0, 2, 7, infer_packed, NULL, canon_packed },
	{ "com.microsoft.MultiHeadAttention", 0, 1, 8, infer_multi, NULL, canon_multi },
	{ "Attention", 0, 3, 7, infer_plain, NULL, canon_plain },
	{ 0 },
};
