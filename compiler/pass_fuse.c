// SPDX-License-Identifier: MIT
/*
 * Fusion: what follows a convolution or product moves into its weights, bias, residual and activation; padding in front
 * moves into its window; patterns of elementary operators become one function. The graph is still NCHW.
 *
 * A host is a CONV, CONVT, MATMUL, BINARY or WHERE. Epilogue order: bias, residual, activation.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "fuse.h"

/* CONV: x, weights, bias, residual. MATMUL with constant weights, until `layout`: x, weights, residual, bias. */
static unsigned bias_slot(const struct ir_op *op)
{
	return op->kind == IR_MATMUL ? 3 : 2;
}

static unsigned residual_slot(const struct ir_op *op)
{
	return op->kind == IR_MATMUL ? 2 : 3;
}

static bool has_weights(const struct ir_op *op)
{
	if (op->kind == IR_MATMUL) {
		const struct ir_value *w = op->in[1];

		return w->data && ir_elements(w) == w->dim[w->rank - 1] * w->dim[w->rank - 2];
	}
	return op->kind == IR_CONV || op->kind == IR_CONVT;
}

static bool is_host(const struct ir_op *op)
{
	return op->kind == IR_CONV || op->kind == IR_CONVT || op->kind == IR_MATMUL ||
	       op->kind == IR_BINARY || op->kind == IR_WHERE;
}

bool fuse_used_once(const struct ir_value *v)
{
	return v->uses == 1 && !v->is_output;
}

/* "Conv" and "BatchNormalization" give "Conv+BatchNormalization". */
static void join_types(struct ir_op *host, const struct ir_op *op)
{
	size_t n;
	char *s;

	if (!host->onnx_type || !op->onnx_type || !strcmp(host->name, op->name) ||
	    strlen(host->onnx_type) > 80)
		return; /* parts of one node, or a list that is long enough */
	n = strlen(host->onnx_type) + strlen(op->onnx_type) + 2;
	s = ir_alloc(n, 1);
	snprintf(s, n, "%s+%s", host->onnx_type, op->onnx_type);
	free(host->onnx_type);
	host->onnx_type = s;
}

/* op has been absorbed: its users read what the host gives (which already has the same meaning). */
void fuse_absorb(struct ir_graph *g, struct ir_op *host, struct ir_op *op, struct ir_value *from)
{
	struct ir_value *y = op->out[0];

	if (host->format < 0)
		host->format = op->format;
	join_types(host, op);
	ir_value_replace(g, y, from);
	if (!from->is_output)
		ir_swap_names(g, y, from);
	ir_op_remove(g, op);
}

/* ---- scaling and shifting output channels ---- */

static int64_t channels(const struct ir_op *op)
{
	const struct ir_value *y = op->out[0];

	return op->kind == IR_MATMUL ? y->dim[y->rank - 1] : y->dim[1];
}

/* Output channel of weight i. */
static int64_t weight_channel(const struct ir_op *op, const struct ir_value *w, int64_t i)
{
	int64_t stride[IR_MAX_RANK];

	dense_strides(w, stride);
	if (op->kind == IR_CONVT) { /* [ic, oc/g, kh, kw] */
		int64_t group = i / stride[0] / (w->dim[0] / op->a.groups);

		return group * w->dim[1] + i / stride[1] % w->dim[1];
	}
	if (op->kind == IR_MATMUL && !op->a.trans_b)
		return i % w->dim[w->rank - 1];
	return i / stride[op->kind == IR_MATMUL ? w->rank - 2 : 0] % channels(op);
}

static bool can_scale(const struct ir_op *op)
{
	const struct ir_value *w = op->in[1];

	if (!has_weights(op) || op->a.act != MICA_ACT_NONE || ir_op_in(op, residual_slot(op)))
		return false;
	return w->dtype == MICA_F32
		       ? w->scale == 1 && !w->ch_scale
		       : op->kind == IR_CONV && w->zero == 0 && (!w->ch_scale || w->ch_axis == 0);
}

/* Quantized weights of a CONV keep their codes: the factor goes into the scale, its sign into nothing, so it must be positive. */
static bool scale_codes(struct ir_graph *g, struct ir_op *op, const double *a)
{
	struct ir_value *w = op->in[1], *n;

	for (int64_t c = 0; c < w->dim[0]; c++)
		if (!(a[c] > 0))
			return false;
	n = ir_const_new(g, w->name, w->dtype, w->rank, w->dim, w->data);
	n->ch_scale = ir_alloc((size_t)w->dim[0], sizeof(float));
	for (int64_t c = 0; c < w->dim[0]; c++)
		n->ch_scale[c] = (float)(a[c] * (double)(w->ch_scale ? w->ch_scale[c] : w->scale));
	ir_op_set_in(op, 1, n);
	return true;
}

static void scale_weights(struct ir_graph *g, struct ir_op *op, const double *a)
{
	struct ir_value *w = op->in[1],
			*n = ir_const_new(g, w->name, MICA_F32, w->rank, w->dim, NULL);
	int64_t count = ir_elements(w), oc = channels(op), run = 1;

	/* neighbours of one channel, so that the channel is worked out once for each run */
	if (op->kind == IR_CONV)
		run = count / oc;
	else if (op->kind == IR_CONVT)
		run = w->dim[2] * w->dim[3];
	else if (op->a.trans_b)
		run = w->dim[w->rank - 1];
	for (int64_t i = 0; i < count; i += run) {
		double f = a[weight_channel(op, w, i)];

		for (int64_t k = i; k < i + run; k++)
			((float *)n->data)[k] = (float)((double)((float *)w->data)[k] * f);
	}
	ir_op_set_in(op, 1, n);
}

/* y = a[c] * host + b[c], a NULL: 1. False when the host cannot take it. */
static bool affine(struct ir_graph *g, struct ir_op *op, const double *a, const double *b)
{
	struct ir_value *old = ir_op_in(op, bias_slot(op)), *n;
	int64_t oc = channels(op);

	if (a && op->in[1]->dtype == MICA_F32)
		scale_weights(g, op, a);
	else if (a && !scale_codes(g, op, a))
		return false;
	n = ir_const_new(g, NULL, MICA_F32, 1, &oc, NULL);
	for (int64_t c = 0; c < oc; c++)
		((float *)n->data)[c] =
			(float)((old ? (double)((float *)old->data)[c] : 0) * (a ? a[c] : 1) +
				b[c]);
	ir_op_set_in(op, bias_slot(op), n);
	return true;
}

/* BatchNormalization as y = a*x + b; a channel without variance and epsilon gives beta. */
static void batchnorm_terms(const struct ir_op *bn, double *a, double *b)
{
	const float *scale = bn->in[1]->data, *beta = bn->in[2]->data, *mean = bn->in[3]->data,
		    *var = bn->in[4]->data;

	for (int64_t c = 0; c < bn->out[0]->dim[1]; c++) {
		a[c] = (double)scale[c] / sqrt((double)var[c] + (double)bn->a.eps);
		if (!isfinite(a[c]))
			a[c] = 0;
		b[c] = (double)beta[c] - (double)mean[c] * a[c];
	}
}

static bool fuse_batchnorm(struct ir_graph *g, struct ir_op *bn)
{
	struct ir_op *host = bn->in[0]->def;
	int64_t c = bn->out[0]->dim[1];
	double *t;
	bool ok;

	if (!host || host->kind == IR_MATMUL || !fuse_used_once(bn->in[0]) || !can_scale(host))
		return false;
	t = ir_alloc((size_t)c * 2, sizeof(*t));
	batchnorm_terms(bn, t, t + c);
	ok = affine(g, host, t, t + c);
	free(t);
	if (ok)
		fuse_absorb(g, host, bn, host->out[0]);
	return ok;
}

/* A normalization that follows no convolution is a depthwise 1x1 convolution: exact, one rounding, takes an activation. */
static struct ir_op *batchnorm_to_conv(struct ir_graph *g, struct ir_op *bn)
{
	int64_t c = bn->out[0]->dim[1], wdim[4] = { c, 1, 1, 1 };
	struct build b = build_at(g, bn);
	struct ir_value *in[3] = { bn->in[0], build_const(&b, 4, wdim, NULL),
				   build_const(&b, 1, &c, NULL) };
	double *t = ir_alloc((size_t)c * 2, sizeof(*t));
	struct ir_op *op = build_op(&b, IR_CONV, in, 3, 4, bn->out[0]->dim);

	batchnorm_terms(bn, t, t + c);
	for (int64_t i = 0; i < c; i++) {
		((float *)in[1]->data)[i] = (float)t[i];
		((float *)in[2]->data)[i] = (float)t[c + i];
	}
	free(t);
	op->a.kh = op->a.kw = op->a.stride_h = op->a.stride_w = op->a.dil_h = op->a.dil_w = 1;
	op->a.groups = (int)c;
	build_becomes(g, bn->out[0], op->out[0]);
	ir_op_remove(g, bn);
	return op;
}

/* The constant of a BINARY, spread over the channel axis: c values, or false. */
static bool per_channel(const struct ir_op *host, const struct ir_value *k, double *out)
{
	const struct ir_value *y = host->out[0];
	unsigned axis = host->kind == IR_MATMUL ? y->rank - 1 : 1;
	int64_t n = channels(host), own;

	if (k->dtype != MICA_F32 || k->scale != 1 || k->ch_scale || k->rank > y->rank)
		return false;
	for (unsigned i = 0; i < k->rank; i++)
		if (k->dim[i] != 1 && i + y->rank - k->rank != axis)
			return false;
	own = ir_elements(k);
	for (int64_t i = 0; i < n; i++)
		out[i] = (double)((float *)k->data)[own == 1 ? 0 : i];
	return own == 1 || own == n;
}

/* host (+ - * /) constant */
static bool fuse_constant(struct ir_graph *g, struct ir_op *op)
{
	int side = op->in[0]->data ? 0 : 1;
	struct ir_value *k = op->in[side], *x = op->in[1 - side];
	struct ir_op *host = x->def;
	bool scales = op->a.bin == MICA_BIN_MUL || op->a.bin == MICA_BIN_DIV, ok;
	double *t;
	int64_t c;

	if (!k->data || !host || !fuse_used_once(x) || !has_weights(host) ||
	    host->a.act != MICA_ACT_NONE || ir_elements(x) != ir_elements(op->out[0]) ||
	    x->rank != op->out[0]->rank)
		return false;
	if ((scales && !can_scale(host)) || op->a.bin > MICA_BIN_DIV ||
	    (op->a.bin == MICA_BIN_DIV && side == 0) ||
	    (op->a.bin == MICA_BIN_SUB && side == 0 && !can_scale(host)))
		return false;
	c = channels(host);
	t = ir_alloc((size_t)c * 2, sizeof(*t));
	ok = per_channel(host, k, t);
	for (int64_t i = 0; i < c && ok; i++) {
		double v = t[i];

		t[i] = op->a.bin == MICA_BIN_MUL		? v
		       : op->a.bin == MICA_BIN_DIV		? 1 / v
		       : op->a.bin == MICA_BIN_SUB && side == 0 ? -1
								: 1;
		t[c + i] = scales ? 0 : op->a.bin == MICA_BIN_SUB && side == 1 ? -v : v;
		ok = isfinite(t[i]);
	}
	ok = ok &&
	     affine(g, host, scales || (op->a.bin == MICA_BIN_SUB && side == 0) ? t : NULL, t + c);
	free(t);
	if (!ok)
		return false;
	host->a.act = op->a.act;
	host->a.alpha = op->a.alpha;
	host->a.beta = op->a.beta;
	fuse_absorb(g, host, op, x);
	return true;
}

/* ---- activations ---- */

static enum mica_act act_of(const struct ir_op *op)
{
	static const struct {
		enum mica_fn fn;
		enum mica_act act;
	} map[] = {
		{ MICA_FN_RELU, MICA_ACT_RELU },	 { MICA_FN_LEAKY, MICA_ACT_LEAKY },
		{ MICA_FN_CLIP, MICA_ACT_CLIP },	 { MICA_FN_HSWISH, MICA_ACT_HSWISH },
		{ MICA_FN_HSIGMOID, MICA_ACT_HSIGMOID }, { MICA_FN_SIGMOID, MICA_ACT_SIGMOID },
		{ MICA_FN_TANH, MICA_ACT_TANH },	 { MICA_FN_SILU, MICA_ACT_SILU },
		{ MICA_FN_GELU, MICA_ACT_GELU },
	};

	for (size_t i = 0; op->kind == IR_UNARY && i < ARRAY_LEN(map); i++)
		if (map[i].fn == op->a.fn)
			return map[i].act;
	return MICA_ACT_NONE;
}

/* The operator that computes v, seen through reshapes and transposes that nobody else reads. */
static struct ir_op *source_of(struct ir_value *v)
{
	while (fuse_used_once(v) && v->def &&
	       (v->def->kind == IR_RESHAPE || v->def->kind == IR_TRANSPOSE))
		v = v->def->in[0];
	return fuse_used_once(v) ? v->def : NULL;
}

static bool fuse_activation(struct ir_graph *g, struct ir_op *op)
{
	enum mica_act act = act_of(op);
	struct ir_op *host = source_of(op->in[0]);

	if (act == MICA_ACT_NONE || op->out[0]->dtype != MICA_F32 || !host || !is_host(host) ||
	    host->a.act != MICA_ACT_NONE || host->out[0]->dtype != MICA_F32)
		return false;
	host->a.act = act;
	host->a.alpha = op->a.alpha;
	host->a.beta = op->a.beta;
	fuse_absorb(g, host, op, op->in[0]);
	return true;
}

/* PRelu with one slope is LeakyRelu. */
static void prelu_to_leaky(struct ir_graph *g, struct ir_op *op)
{
	struct build b = build_at(g, op);
	float slope;
	bool ok;

	if (op->kind != IR_BINARY || op->a.bin != MICA_BIN_PRELU || op->a.act || !op->in[1]->data)
		return;
	slope = const_scalar(op->in[1], &ok);
	if (ok && op->in[1]->rank <= op->in[0]->rank)
		build_becomes(g, op->out[0], build_unary(&b, MICA_FN_LEAKY, op->in[0], slope, 0));
}

/* ---- residual sums ---- */

static bool takes_residual(const struct ir_value *x, const struct ir_op *sum)
{
	const struct ir_op *host = x->def;

	return host && host->kind != IR_CONVT && (has_weights(host) || host->kind == IR_MATMUL) &&
	       fuse_used_once(x) && host->a.act == MICA_ACT_NONE &&
	       !ir_op_in(host, residual_slot(host)) && ir_same_dims(x, sum->out[0]);
}

/* Execution order of two values; those without definition come first. order[] by operator id. */
static bool later(const unsigned *order, const struct ir_value *a, const struct ir_value *b)
{
	return a->def && (!b->def || order[a->def->id] > order[b->def->id]);
}

static bool fuse_residual(struct ir_graph *g, struct ir_op *op, unsigned *order)
{
	struct ir_value *a = op->in[0], *b = op->in[1], *host_out, *res;
	struct ir_op *host;

	if (op->kind != IR_BINARY || op->a.bin != MICA_BIN_ADD || a == b || a->data || b->data ||
	    !ir_same_dims(a, b))
		return false;
	host_out = takes_residual(a, op) && (!takes_residual(b, op) || later(order, a, b)) ? a : b;
	if (!takes_residual(host_out, op))
		return false;
	host = host_out->def;
	res = host_out == a ? b : a;
	if (later(order, res,
		  host_out)) { /* nobody else reads the host: it may run just before the sum */
		ir_op_move(g, host, op);
		order[host->id] = order[op->id];
	}
	ir_op_set_in(host, residual_slot(host), res);
	host->a.act = op->a.act;
	host->a.alpha = op->a.alpha;
	host->a.beta = op->a.beta;
	fuse_absorb(g, host, op, host_out);
	return true;
}

/* ---- padding ---- */

static bool fuse_pad(struct ir_graph *g, struct ir_op *op)
{
	struct ir_op *pad = op->in[0]->def;
	int *side[4] = { &op->a.pad_top, &op->a.pad_left, &op->a.pad_bottom, &op->a.pad_right };
	bool max = op->kind == IR_POOL && op->a.pool == MICA_POOL_MAX;

	(void)g;
	if (!pad || pad->kind != IR_PAD || (op->kind != IR_CONV && !max))
		return false;
	if (max ? pad->a.pad_value > -3e38f : pad->a.pad_value != 0)
		return false;
	for (unsigned i = 0; i < 4; i++)
		if (i < 2 ? pad->a.start[i] || pad->a.end[i]
			  : pad->a.start[i] + op->a.kh > 32000 || pad->a.end[i] > 32000)
			return false;
	for (unsigned i = 0; i < 4; i++)
		*side[i] += (int)(i < 2 ? pad->a.start[2 + i] : pad->a.end[i]);
	join_types(op, pad);
	ir_op_set_in(op, 0, pad->in[0]);
	return true;
}

/* ---- the pass ---- */

static unsigned *number_ops(struct ir_graph *g)
{
	unsigned *order = ir_alloc(g->next_id, sizeof(*order)), n = 0;

	for (struct ir_op *op = g->first; op; op = op->next)
		order[op->id] = ++n;
	return order;
}

/* One walk in execution order; each rule removes or replaces `op` when it returns true. */
static void walk(struct ir_graph *g, bool (*rule)(struct ir_graph *g, struct ir_op *op))
{
	for (struct ir_op *op = g->first, *next; op; op = next) {
		next = op->next;
		rule(g, op);
	}
	ir_sweep(g);
}

static bool rule_affine(struct ir_graph *g, struct ir_op *op)
{
	prelu_to_leaky(g, op);
	if (op->kind == IR_CONV || op->kind == IR_POOL)
		while (fuse_pad(g, op))
			;
	if (op->kind == IR_BATCHNORM)
		return fuse_batchnorm(g, op) || batchnorm_to_conv(g, op);
	return op->kind == IR_BINARY && fuse_constant(g, op);
}

int pass_fuse(struct ir_graph *g, const struct mica_compile_options *o)
{
	unsigned *order;
	(void)o;

	walk(g, fuse_pattern);
	walk(g, rule_affine);
	walk(g, fuse_norm_affine);
	order = number_ops(g);
	for (struct ir_op *op = g->first, *next; op; op = next) {
		next = op->next;
		fuse_residual(g, op, order);
	}
	free(order);
	ir_sweep(g);
	walk(g, fuse_activation);
	return 0;
}
