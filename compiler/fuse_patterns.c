// SPDX-License-Identifier: MIT
/* Patterns of elementary operators that have a name of their own: SiLU, hard swish, GELU, Mish, layer normalization. */
#include <math.h>
#include <string.h>
#include "fuse.h"

static struct ir_op *def_of(const struct ir_value *v, enum ir_kind kind)
{
	return v->def && v->def->kind == kind ? v->def : NULL;
}

static struct ir_op *unary_of(const struct ir_value *v, enum mica_fn fn)
{
	struct ir_op *op = def_of(v, IR_UNARY);

	return op && op->a.fn == fn && v->dtype == MICA_F32 ? op : NULL;
}

/* v is bin(x, constant) or, for commutative ones, bin(constant, x): x and the constant's one value. */
static struct ir_value *binary_with(const struct ir_value *v, enum mica_bin bin, float *k)
{
	struct ir_op *op = def_of(v, IR_BINARY);
	bool ok;

	if (!op || op->a.bin != bin || op->a.act != MICA_ACT_NONE)
		return NULL;
	for (int side = 1; side >= 0; side--) {
		if (!op->in[side]->data ||
		    (side == 0 && bin != MICA_BIN_ADD && bin != MICA_BIN_MUL))
			continue;
		*k = const_scalar(op->in[side], &ok);
		if (ok && ir_same_dims(op->in[1 - side], v))
			return op->in[1 - side];
	}
	return NULL;
}

static bool near(float a, float b)
{
	return fabsf(a - b) <= 1e-5f * fabsf(b);
}

/* clip(x + 3, 0, 6), or relu6 written with MIN and MAX is left to Clip: x, or NULL */
static struct ir_value *hard_part(const struct ir_value *v)
{
	struct ir_op *clip = unary_of(v, MICA_FN_CLIP), *host = def_of(v, IR_BINARY);
	struct ir_value *x;
	bool ok = false;
	float k;

	if (clip && clip->a.alpha == 0 && near(clip->a.beta, 6)) {
		x = binary_with(clip->in[0], MICA_BIN_ADD, &k);
		return x && near(k, 3) ? x : NULL;
	}
	/* the clip may already be fused into the addition */
	if (!host || host->a.bin != MICA_BIN_ADD || host->a.act != MICA_ACT_CLIP ||
	    host->a.alpha != 0 || !near(host->a.beta, 6))
		return NULL;
	k = host->in[1]->data ? const_scalar(host->in[1], &ok) : 0;
	return ok && near(k, 3) && ir_same_dims(host->in[0], v) ? host->in[0] : NULL;
}

/* The function that v is of x when v = f(x), as far as x * f(x) or x * f(x) / 6 has a name. */
static bool gate(const struct ir_value *v, const struct ir_value *x, enum mica_fn *fn)
{
	struct ir_op *op = def_of(v, IR_UNARY), *sp;

	if (!op || v->dtype != MICA_F32)
		return false;
	if (op->a.fn == MICA_FN_SIGMOID && op->in[0] == x)
		*fn = MICA_FN_SILU;
	else if (op->a.fn == MICA_FN_HSIGMOID && op->in[0] == x && near(op->a.alpha, 1.0f / 6) &&
		 near(op->a.beta, 0.5f))
		*fn = MICA_FN_HSWISH;
	else if (op->a.fn == MICA_FN_TANH && (sp = unary_of(op->in[0], MICA_FN_SOFTPLUS)) &&
		 sp->in[0] == x)
		*fn = MICA_FN_MISH;
	else
		return false;
	return true;
}

/* x * sigmoid(x) and its relatives; x * clip(x + 3, 0, 6) / 6; clip(x + 3, 0, 6) / 6 */
static struct ir_value *match_gate(const struct ir_op *op, enum mica_fn *fn, float *alpha,
				   float *beta)
{
	struct ir_value *v = op->out[0], *in;
	struct ir_op *mul;
	float k;

	for (int side = 0; op->a.bin == MICA_BIN_MUL && side < 2; side++)
		if (gate(op->in[side], op->in[1 - side], fn))
			return op->in[1 - side];
	in = binary_with(v, MICA_BIN_DIV, &k);
	if (!in || !near(k, 6))
		in = binary_with(v, MICA_BIN_MUL, &k), in = in && near(k, 1.0f / 6) ? in : NULL;
	if (!in)
		return NULL;
	mul = def_of(in, IR_BINARY);
	for (int side = 0; mul && mul->a.bin == MICA_BIN_MUL && !mul->a.act && side < 2; side++) {
		if (hard_part(mul->in[side]) == mul->in[1 - side] && mul->in[1 - side]) {
			*fn = MICA_FN_HSWISH;
			return mul->in[1 - side];
		}
	}
	*fn = MICA_FN_HSIGMOID;
	*alpha = 1.0f / 6;
	*beta = 0.5f;
	return hard_part(in);
}

/* Factors of a product of up to three values, constants multiplied into *k. */
static unsigned factors(struct ir_value *v, struct ir_value **out, unsigned n, float *k,
			unsigned depth)
{
	struct ir_op *op = def_of(v, IR_BINARY);
	struct ir_value *x;
	float f;

	if (op && op->a.act == MICA_ACT_NONE && depth) {
		if ((x = binary_with(v, MICA_BIN_MUL, &f)) ||
		    ((x = binary_with(v, MICA_BIN_DIV, &f)) && (f = 1 / f, true))) {
			*k *= f;
			return factors(x, out, n, k, depth - 1);
		}
		if (op->a.bin == MICA_BIN_MUL)
			return factors(op->in[1], out, factors(op->in[0], out, n, k, depth - 1), k,
				       depth - 1);
	}
	if (n < 4)
		out[n] = v;
	return n + 1;
}

/* x/2 (1 + erf(x / sqrt 2)), factors in any order */
static struct ir_value *match_gelu(const struct ir_op *op)
{
	struct ir_value *f[4], *of_erf[4], *in;
	struct ir_op *erf;
	float half = 1, one, k = 1;

	if (op->a.bin != MICA_BIN_MUL || factors(op->out[0], f, 0, &half, 3) != 2 ||
	    !near(half, 0.5f))
		return NULL;
	for (int side = 0; side < 2; side++) {
		in = binary_with(f[side], MICA_BIN_ADD, &one);
		erf = in && near(one, 1) ? unary_of(in, MICA_FN_ERF) : NULL;
		if (!erf)
			continue;
		k = 1;
		if (factors(erf->in[0], of_erf, 0, &k, 2) == 1 && of_erf[0] == f[1 - side] &&
		    near(k, 0.70710678f))
			return of_erf[0];
	}
	return NULL;
}

static bool match_patterns(struct ir_graph *g, struct ir_op *op)
{
	struct build b = build_at(g, op);
	float alpha = 0, beta = 0;
	enum mica_fn fn = MICA_FN_GELU;
	struct ir_value *x = NULL;

	if (op->kind != IR_BINARY || op->a.act != MICA_ACT_NONE)
		return false;
	x = match_gate(op, &fn, &alpha, &beta);
	if (!x) {
		fn = MICA_FN_GELU;
		x = match_gelu(op);
	}
	if (!x)
		return false;
	build_becomes(g, op->out[0], build_unary(&b, fn, x, alpha, beta));
	return true;
}

/* sub/div/sqrt/mean chains of exporters without LayerNormalization: (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) */
static bool match_layernorm(struct ir_graph *g, struct ir_op *op)
{
	struct build b = build_at(g, op);
	struct ir_op *diff, *root, *var, *mean, *norm;
	struct ir_value *sum, *sq, *x, *in[3] = { 0 };
	float eps = 0, two = 0;
	unsigned last;

	if (op->kind != IR_BINARY || op->a.bin != MICA_BIN_DIV || op->a.act ||
	    !(diff = def_of(op->in[0], IR_BINARY)) || !(root = unary_of(op->in[1], MICA_FN_SQRT)) ||
	    !(sum = binary_with(root->in[0], MICA_BIN_ADD, &eps)) ||
	    !(var = def_of(sum, IR_REDUCE)))
		return false;
	sq = var->in[0];
	x = diff->in[0];
	last = x->rank ? 1u << (x->rank - 1) : 0;
	mean = diff->a.bin == MICA_BIN_SUB ? def_of(diff->in[1], IR_REDUCE) : NULL;
	if (!mean || mean->in[0] != x || mean->a.red != MICA_RED_MEAN ||
	    var->a.red != MICA_RED_MEAN || mean->a.axes != last || var->a.axes != last)
		return false;
	if (binary_with(sq, MICA_BIN_POW, &two) != diff->out[0] || two != 2) {
		struct ir_op *mul = def_of(sq, IR_BINARY);

		if (!mul || mul->a.bin != MICA_BIN_MUL || mul->a.act ||
		    mul->in[0] != diff->out[0] || mul->in[1] != diff->out[0])
			return false;
	}
	in[0] = x;
	norm = build_op(&b, IR_NORM, in, 3, x->rank, x->dim);
	norm->a.eps = eps;
	build_becomes(g, op->out[0], norm->out[0]);
	return true;
}

/* gamma * and + beta behind a NORM over its last axis */
bool fuse_norm_affine(struct ir_graph *g, struct ir_op *op)
{
	int side = op->kind == IR_BINARY && op->in[0]->data ? 0 : 1;
	struct ir_value *k, *x;
	struct ir_op *norm;
	bool mul = op->a.bin == MICA_BIN_MUL;

	if (op->kind != IR_BINARY || op->a.act || (!mul && op->a.bin != MICA_BIN_ADD))
		return false;
	k = op->in[side];
	x = op->in[1 - side];
	norm = def_of(x, IR_NORM);
	if (!norm || !k->data || k->dtype != MICA_F32 || k->scale != 1 || !fuse_used_once(x) ||
	    k->rank < 1 || k->rank > x->rank || k->dim[k->rank - 1] != x->dim[x->rank - 1] ||
	    ir_elements(k) != x->dim[x->rank - 1])
		return false;
	if (mul ? ir_op_in(norm, 1) || ir_op_in(norm, 2) : ir_op_in(norm, 2) != NULL)
		return false;
	struct build b = build_at(g, op);

	ir_op_set_in(norm, mul ? 1 : 2, build_reshape(&b, k, 1, &x->dim[x->rank - 1]));
	fuse_absorb(g, norm, op, x);
	return true;
}

bool fuse_pattern(struct ir_graph *g, struct ir_op *op)
{
	return match_patterns(g, op) || match_layernorm(g, op);
}
