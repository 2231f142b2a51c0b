// SPDX-License-Identifier: MIT
/*
 * Quantization: every value gets a format and a scale, weights become codes, functions become tables. Values between
 * which codes are only moved form groups with one scale. Graph outputs are f32, so that nothing is rounded there.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "quantize.h"

/* A group of values, described at its representative's id. */
struct group {
	unsigned parent; /* union-find */
	unsigned hard; /* formats that MACs want to read, as bits */
	int own; /* the finest format of the operators that compute its values, -1: none */
	bool input, output, soft_only;
	bool plain; /* host steps read or write it, or it holds integers: f32 */
	struct ir_value seen; /* threshold, min and max of all of them */
};

static unsigned find(struct group *q, unsigned id)
{
	while (q[id].parent != id)
		id = q[id].parent = q[q[id].parent].parent;
	return id;
}

static int finer(int a, int b)
{
	if (a < 0 || b < 0)
		return a < 0 ? b : a;
	return a == MICA_F32 || b == MICA_F32	  ? MICA_F32
	       : a == MICA_BF16 || b == MICA_BF16 ? MICA_BF16
						  : a;
}

static void widen(struct ir_value *seen, const struct ir_value *v)
{
	if (!v->calibrated)
		return;
	seen->min = seen->calibrated ? fminf(seen->min, v->min) : v->min;
	seen->max = seen->calibrated ? fmaxf(seen->max, v->max) : v->max;
	seen->threshold = fmaxf(seen->threshold, v->threshold);
	seen->calibrated = true;
}

static void join(struct group *q, const struct ir_op *op)
{
	for (unsigned i = 0; i < op->ins; i++)
		if (ir_op_in(op, i) && !ir_op_in(op, i)->data)
			q[find(q, ir_op_in(op, i)->id)].parent = find(q, op->out[0]->id);
}

/* What the readers and the writer of each value say goes to its group. */
static void collect(struct ir_graph *g, const struct mica_compile_options *o, struct group *q)
{
	for (unsigned i = 0; i < g->values; i++) {
		const struct ir_value *v = g->value[i];
		struct group *s;

		if (!v || v->data)
			continue;
		s = &q[find(q, i)];
		s->output = s->output || v->is_output;
		widen(&s->seen, v);
		s->input = s->input || v->is_input;
		s->plain = s->plain || v->exact || (v->def && v->def->kind == IR_HOST);
		if (!v->def)
			s->own = finer(s->own,
				       mac_class((int)o->format) ? (int)o->format : MICA_BF16);
		else if (!moves_codes(v->def))
			s->own = finer(s->own, v->def->format);
		for (unsigned k = 0; k < v->uses; k++) {
			const struct ir_op *op = v->use[k];

			s->plain = s->plain || op->kind == IR_HOST;
			if (is_mac(op) && (op->in[0] == v || op->in[1] == v))
				s->hard |= 1u << op->format;
			else if (op->kind != IR_SOFTMAX && op->kind != IR_NORM && !moves_codes(op))
				s->soft_only = false;
		}
	}
}

/*
 * The format of a group: f32 at outputs, host steps and where readers of different classes meet, what the MACs read, else what its
 * operators compute in. Softmax and normalization get bf16 at least. Inputs of FP8 models are bf16: the first layer is
 * cheap, and rounding the image costs most of the accuracy that FP8 loses (docs/compiler.md has figures).
 */
static int choose(const struct group *s)
{
	unsigned floats = 1u << MICA_E4M3 | 1u << MICA_E5M2 | 1u << MICA_BF16;

	if (s->output || s->plain || (s->own < 0 && !s->hard)) /* the last: constants that are moved at run time */
		return MICA_F32;
	if (!s->hard)
		return s->soft_only && is_8bit(s->own) ? MICA_BF16 : s->own;
	if (s->hard == 1u << MICA_I8)
		return MICA_I8;
	if (s->hard & ~floats)
		return MICA_F32;
	return s->input || s->hard & 1u << MICA_BF16 ? MICA_BF16
	       : s->hard & 1u << MICA_E4M3	     ? MICA_E4M3
						     : MICA_E5M2;
}

static int assign(struct ir_graph *g, struct group *q)
{
	for (unsigned i = 0; i < g->values; i++) {
		struct ir_value *v = g->value[i];
		const struct group *s;

		if (!v || v->data)
			continue;
		s = &q[find(q, i)];
		v->dtype = choose(s);
		v->calibrated = s->seen.calibrated;
		v->threshold = s->seen.threshold;
		v->min = s->seen.min;
		v->max = s->seen.max;
		set_scale(g, v, &s->seen);
		if (v->dtype == MICA_I8 && !v->calibrated)
			return mica_err_set(g->err, MICA_ERR_USAGE,
					    "%s: int8 needs the range of '%.150s': pass --calib "
					    "DIR with sample inputs",
					    g->name, v->name);
	}
	return 0;
}

static void group_values(struct ir_graph *g, struct group *q)
{
	for (unsigned i = 0; i < g->values; i++)
		q[i] = (struct group){ .parent = i, .own = -1, .soft_only = true };
	for (struct ir_op *op = g->first; op; op = op->next)
		if (moves_codes(op))
			join(q, op);
}

/* A constant beside computed parts of a CONCAT takes their codes. */
static void settle_moved_constants(struct ir_graph *g, struct ir_op *op)
{
	for (unsigned i = 0; i < op->ins; i++)
		if (ir_op_in(op, i) && ir_op_in(op, i)->data)
			ir_op_set_in(op, i, const_as(g, ir_op_in(op, i), op->out[0]));
}

/* i8 sums must fit 32 bits: |code| <= 128 * 127 for each product. Beyond that bf16 does it. */
static int mac_format(const struct ir_op *op)
{
	uint64_t n = (uint64_t)ir_elements(op->out[0]);

	return op->format == MICA_I8 && n && ir_op_macs(op) / n > 130000 ? MICA_BF16 : op->format;
}

static int calibrated_way(struct ir_graph *g, const struct mica_compile_options *o)
{
	struct group *q = ir_alloc(g->values, sizeof(*q));
	int r;

	for (struct ir_op *op = g->first; op; op = op->next)
		if (is_mac(op))
			op->format = mac_format(op);
	group_values(g, q);
	collect(g, o, q);
	r = assign(g, q);
	free(q);
	for (struct ir_op *op = g->first; op && !r; op = op->next) {
		if (is_mac(op))
			settle_mac(g, op, op->format);
		else if (moves_codes(op))
			settle_moved_constants(g, op);
	}
	return r;
}

int quantize_graph(struct ir_graph *g, const struct mica_compile_options *o)
{
	int r;

	g->rules = (struct ir_scale_rules){ .zero_points = !o->symmetric,
					    .per_tensor = o->per_tensor,
					    .pow2 = o->pow2,
					    .wmse = o->repair & ~g->refused & MICA_REPAIR_WMSE };
	r = g->qdq ? quantize_qdq(g) : calibrated_way(g, o);
	if (r)
		return r;
	settle_host(g);
	settle_outputs(g);
	quantize_tables(g);
	g->quantized = true;
	for (struct ir_op *op = g->first; op; op = op->next)
		op->scratch = NULL;
	ir_sweep(g);
	return 0;
}

int pass_quantize(struct ir_graph *g, const struct mica_compile_options *o)
{
	int r = quantize_formats(g, o);

	return r ? r : quantize_graph(g, o);
}
