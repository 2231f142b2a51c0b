// SPDX-License-Identifier: MIT
/*
 * Einsum: operands are joined from the left, each pair by one matrix product of [batch, rows, sum] with [batch, sum, cols].
 * Letters are axes; the axes of an ellipsis get letters of their own. Repeated letters of an operand take its diagonal.
 */
#include <string.h>
#include "expr.h"

#define LETTERS	 (52 + IR_MAX_RANK) /* a-z, A-Z, and those of the ellipsis */
#define MAX_TERMS 16

/* Letters of an operand or of the result, in order. */
struct term {
	unsigned n;
	uint8_t letter[IR_MAX_RANK];
};
struct equation {
	unsigned terms;
	struct term in[MAX_TERMS], out;
	int64_t extent[LETTERS]; /* 0: does not occur */
};

static int fail(struct ir_graph *g, struct ir_op *op, const char *why)
{
	return onnx_fail(g, op, MICA_ERR_UNSUPPORTED, "equation %s; write it with MatMul and Transpose",
			 why);
}

static int letter_of(char c)
{
	return c >= 'a' && c <= 'z' ? c - 'a' : c >= 'A' && c <= 'Z' ? c - 'A' + 26 : -1;
}

/* Letters up to an arrow or comma; `wide` axes stand for an ellipsis (-1: as many as are left of rank). */
static const char *read_term(const char *p, const char *end, int rank, int wide, struct term *t)
{
	uint8_t dots_at = 255;

	t->n = 0;
	for (; p < end && *p != ',' && *p != '-'; p++) {
		if (*p == ' ')
			continue;
		if (*p == '.' && end - p >= 3 && p[1] == '.' && p[2] == '.' && dots_at == 255) {
			dots_at = (uint8_t)t->n;
			p += 2;
		} else if (letter_of(*p) >= 0 && t->n < IR_MAX_RANK) {
			t->letter[t->n++] = (uint8_t)letter_of(*p);
		} else {
			return NULL;
		}
	}
	if (dots_at != 255) {
		int n = wide >= 0 ? wide : rank - (int)t->n;

		if (n < 0 || t->n + (unsigned)n > IR_MAX_RANK)
			return NULL;
		memmove(t->letter + dots_at + n, t->letter + dots_at, t->n - dots_at);
		for (int i = 0; i < n; i++) /* aligned at their ends, as broadcasting does */
			t->letter[dots_at + i] = (uint8_t)(LETTERS - n + i);
		t->n += (unsigned)n;
	}
	return p;
}

static bool has(const struct term *t, unsigned letter)
{
	for (unsigned i = 0; i < t->n; i++)
		if (t->letter[i] == letter)
			return true;
	return false;
}

static int measure(struct ir_graph *g, struct ir_op *op, struct equation *e)
{
	for (unsigned k = 0; k < e->terms; k++) {
		const struct ir_value *x = ir_op_in(op, k);

		if (x->rank != e->in[k].n)
			return fail(g, op, "does not have the ranks of the operands");
		for (unsigned i = 0; i < x->rank; i++) {
			const uint8_t *letter = e->in[k].letter;
			int64_t *n = &e->extent[letter[i]];

			for (unsigned j = 0; j < i; j++) /* a diagonal is not broadcast */
				if (letter[j] == letter[i] && x->dim[j] != x->dim[i])
					return fail(g, op, "gives a letter two extents");
			if (*n && *n != x->dim[i] && *n != 1 && x->dim[i] != 1)
				return fail(g, op, "gives a letter two extents");
			*n = x->dim[i] > *n ? x->dim[i] : *n;
		}
	}
	for (unsigned i = 0; i < e->out.n; i++)
		if (!e->extent[e->out.letter[i]])
			return fail(g, op, "has a letter in its result that no operand has");
	return 0;
}

/* Without an arrow the result has the ellipsis and the letters that occur once, in alphabetical order. */
static void implicit_out(struct equation *e)
{
	unsigned count[LETTERS] = { 0 };

	for (unsigned k = 0; k < e->terms; k++)
		for (unsigned i = 0; i < e->in[k].n; i++)
			count[e->in[k].letter[i]]++;
	e->out.n = 0;
	for (unsigned l = 52; l < LETTERS && e->out.n < IR_MAX_RANK; l++)
		if (count[l])
			e->out.letter[e->out.n++] = (uint8_t)l;
	for (unsigned i = 0; i < 52 && e->out.n < IR_MAX_RANK; i++) {
		unsigned l = (i + 26) % 52; /* capitals come first */

		if (count[l] == 1)
			e->out.letter[e->out.n++] = (uint8_t)l;
	}
}

static int equation_read(struct ir_graph *g, struct ir_op *op, struct equation *e)
{
	const Onnx__AttributeProto *a = onnx_attr(op, "equation");
	const char *p = a && a->has_s ? (const char *)a->s.data : NULL, *end = p ? p + a->s.len : NULL;
	int wide = 0;

	memset(e, 0, sizeof(*e));
	if (!p || op->ins > MAX_TERMS)
		return fail(g, op, "is missing, or has too many operands");
	for (e->terms = 0; e->terms < op->ins; p += p < end && *p == ',') {
		struct term *t = &e->in[e->terms];
		int rank = (int)ir_op_in(op, e->terms++)->rank, dots = 0;

		p = read_term(p, end, rank, -1, t);
		if (!p)
			return fail(g, op, "is not understood");
		for (unsigned i = 0; i < t->n; i++)
			dots += t->letter[i] >= 52;
		wide = dots > wide ? dots : wide;
	}
	if (p < end) {
		if (end - p < 2 || p[0] != '-' || p[1] != '>' ||
		    read_term(p + 2, end, 0, wide, &e->out) != end)
			return fail(g, op, "is not understood");
	} else {
		implicit_out(e);
	}
	return measure(g, op, e);
}

static int infer_einsum(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct equation e;
	int64_t dim[IR_MAX_RANK];
	(void)d;

	if (equation_read(g, op, &e))
		return -(int)g->err->code;
	for (unsigned i = 0; i < e.out.n; i++)
		dim[i] = e.extent[e.out.letter[i]];
	return onnx_out(g, op, 0, op->in[0]->dtype, e.out.n, dim);
}

/* ---- operands ---- */

static void drop(struct term *t, unsigned i)
{
	memmove(t->letter + i, t->letter + i + 1, t->n - i - 1);
	t->n--;
}

/* A letter that stands twice: the diagonal of these axes, found in steps of n + 1 over both as one. */
static struct ir_value *diagonal(struct build *b, struct ir_value *x, struct term *t)
{
	for (unsigned i = 0; i < t->n; i++) {
		for (unsigned k = i + 1; k < t->n; k++) {
			int64_t start[IR_MAX_RANK] = { 0 }, step[IR_MAX_RANK], dim[IR_MAX_RANK];
			int64_t n = x->dim[i];
			unsigned r = x->rank - 1;

			if (t->letter[i] != t->letter[k])
				continue;
			x = expr_last(b, expr_last(b, x, k), i); /* i < k, so it stays where it was */
			for (unsigned a = 0; a < r; a++) {
				step[a] = 1;
				dim[a] = x->dim[a];
			}
			dim[r - 1] = n * n;
			x = build_reshape(b, x, r, dim);
			step[r - 1] = n + 1;
			dim[r - 1] = n;
			x = expr_unlast(b, build_slice(b, x, start, step, dim), i);
			drop(t, k--);
		}
	}
	return x;
}

/* Letters that nobody else wants are summed away. */
static struct ir_value *sum_out(struct build *b, struct ir_value *x, struct term *t,
				const struct equation *e, const struct term *other, unsigned from)
{
	unsigned mask = 0, n = 0;
	int64_t dim[IR_MAX_RANK];
	struct term left = { 0 };

	for (unsigned i = 0; i < t->n; i++) {
		bool wanted = has(&e->out, t->letter[i]) || has(other, t->letter[i]);

		for (unsigned k = from; k < e->terms && !wanted; k++)
			wanted = has(&e->in[k], t->letter[i]);
		if (!wanted) {
			mask |= 1u << i;
			continue;
		}
		left.letter[left.n++] = t->letter[i];
		dim[n++] = x->dim[i];
	}
	*t = left;
	return mask ? build_reshape(b, build_reduce(b, MICA_RED_SUM, x, mask), n, dim) : x;
}

/* x's axes in the order of these letters; those that x does not have get an extent of 1. */
static struct ir_value *ordered(struct build *b, struct ir_value *x, const struct term *t,
				const struct term *want)
{
	int64_t dim[IR_MAX_RANK];
	int perm[IR_MAX_RANK];
	unsigned n = 0;

	for (unsigned i = 0; i < want->n; i++) {
		dim[i] = 1;
		for (unsigned k = 0; k < t->n; k++) {
			if (t->letter[k] != want->letter[i])
				continue;
			dim[i] = x->dim[k];
			perm[n++] = (int)k;
		}
	}
	return build_reshape(b, build_transpose(b, x, perm), want->n, dim);
}

/* ---- pairs ---- */

enum { BATCH, ROWS, SUM, COLS };

static int role(const struct term *t, const struct term *u, bool wanted, unsigned letter)
{
	bool in_t = has(t, letter), in_u = has(u, letter);

	return in_t && in_u ? (wanted ? BATCH : SUM) : in_t ? ROWS : COLS;
}

static int64_t product_of(const struct term *t, const int64_t *extent, const int *roles, int role)
{
	int64_t n = 1;

	for (unsigned i = 0; i < t->n; i++)
		n *= roles[t->letter[i]] == role ? extent[t->letter[i]] : 1;
	return n;
}

static void add_role(struct term *t, const struct term *from, const int *roles, int role)
{
	for (unsigned i = 0; i < from->n; i++)
		if (roles[from->letter[i]] == role && !has(t, from->letter[i]))
			t->letter[t->n++] = from->letter[i];
}

/* Extents of 1 that stand for a letter's full extent are broadcast, so that groups of axes can become one. */
static struct ir_value *as_matrix(struct build *b, struct ir_value *x, const struct term *t,
				  const struct equation *e, const int *roles, const int *order)
{
	struct term want = { 0 };
	int64_t dim[IR_MAX_RANK], three[3];

	for (unsigned i = 0; i < 3; i++) {
		add_role(&want, t, roles, order[i]);
		three[i] = product_of(t, e->extent, roles, order[i]);
	}
	x = ordered(b, x, t, &want);
	for (unsigned i = 0; i < want.n; i++)
		dim[i] = e->extent[want.letter[i]];
	return build_reshape(b, build_expand(b, x, want.n, dim), 3, three);
}

static struct ir_value *joined(struct build *b, struct ir_value *x, struct term *t,
			       struct ir_value *y, const struct term *u, const struct equation *e,
			       unsigned next)
{
	static const int left[3] = { BATCH, ROWS, SUM }, right[3] = { BATCH, SUM, COLS };
	int roles[LETTERS];
	int64_t dim[IR_MAX_RANK];
	struct term out = { 0 };

	for (unsigned l = 0; l < LETTERS; l++) {
		bool wanted = has(&e->out, l);

		for (unsigned k = next; k < e->terms && !wanted; k++)
			wanted = has(&e->in[k], l);
		roles[l] = role(t, u, wanted, l);
	}
	x = as_matrix(b, x, t, e, roles, left);
	y = as_matrix(b, y, u, e, roles, right);
	add_role(&out, t, roles, BATCH);
	add_role(&out, t, roles, ROWS);
	add_role(&out, u, roles, COLS);
	if (x->dim[2] == 1 && (x->dim[1] == 1 || y->dim[2] == 1)) /* nothing to sum: no product */
		x = build_binary(b, MICA_BIN_MUL, x, y);
	else if (x->dim[0] == 1)
		x = expr_product(b, build_reshape(b, x, 2, x->dim + 1),
				 build_reshape(b, y, 2, y->dim + 1), false);
	else
		x = expr_product(b, x, y, false);
	*t = out;
	for (unsigned i = 0; i < out.n; i++)
		dim[i] = e->extent[out.letter[i]];
	return build_reshape(b, x, out.n, dim);
}

static int canon_einsum(struct ir_graph *g, struct ir_op *op, const struct onnx_def *d)
{
	struct build own = build_at(g, op), *b = &own;
	struct equation e;
	struct ir_value *x, *y;
	struct term t, u;
	(void)d;

	if (equation_read(g, op, &e))
		return -(int)g->err->code;
	t = e.in[0];
	x = diagonal(b, expr_in(g, op, 0), &t);
	x = sum_out(b, x, &t, &e, &e.out, 1);
	for (unsigned k = 1; k < e.terms; k++) {
		unsigned letters = t.n;

		u = e.in[k];
		y = sum_out(b, diagonal(b, expr_in(g, op, k), &u), &u, &e, &t, k + 1);
		for (unsigned i = 0; i < u.n; i++)
			letters += !has(&t, u.letter[i]);
		if (letters > IR_MAX_RANK)
			return fail(g, op, "has more than 8 letters in two operands");
		x = joined(b, x, &t, y, &u, &e, k + 1);
	}
	for (unsigned i = 0; i < e.out.n; i++)
		for (unsigned k = i + 1; k < e.out.n; k++)
			if (e.out.letter[i] == e.out.letter[k])
				return fail(g, op, "repeats a letter in its result");
	x = ordered(b, x, &t, &e.out);
	build_becomes(g, op->out[0], build_expand(b, x, e.out.n, op->out[0]->dim));
	return 0;
}

const struct onnx_def onnx_einsum_ops[] = {
	{ "Einsum", 0, 1, 0, infer_einsum, NULL, canon_einsum },
	{ 0 },
};
