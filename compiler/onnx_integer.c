// SPDX-License-Identifier: MIT
/* Which integers of run time f32 holds exactly, and what is done with those that it may not (onnx_integer.h). */
#include <stdlib.h>
#include <string.h>
#include "onnx_integer.h"
#include "onnx_quant.h"

#define EXACT ((int64_t)1 << 24)

/* ---- types ---- */

bool integer_is(const struct ir_value *v)
{
	return v->dtype == IR_I64 || v->dtype == MICA_I8 || v->dtype == MICA_U8 || (v->elem >= ONNX_U8 && v->elem <= ONNX_I64) ||
	       v->elem == ONNX_U32 || v->elem == ONNX_U64 || quant_is_packed(v->elem);
}

int integer_width(const struct ir_value *v, bool *is_signed)
{
	int e = v->elem;

	*is_signed = e != ONNX_U8 && e != ONNX_U16 && e != ONNX_U32 && e != ONNX_U64 && v->dtype != MICA_U8;
	if (e == ONNX_I16 || e == ONNX_U16)
		return 16;
	if (e == ONNX_I32 || e == ONNX_U32)
		return 32;
	return v->dtype == MICA_I8 || v->dtype == MICA_U8 || e == ONNX_I8 || e == ONNX_U8 ? 8 : 64;
}

static struct int_range range(int64_t lo, int64_t hi)
{
	return (struct int_range){ true, lo, hi };
}

static struct int_range of_type(const struct ir_value *v)
{
	bool is_signed;
	int width = integer_width(v, &is_signed);

	if (v->dtype == IR_BOOL || v->elem == ONNX_BOOL)
		return range(0, 1);
	if (!integer_is(v) || width == 64)
		return (struct int_range){ 0 };
	return is_signed ? range(-((int64_t)1 << (width - 1)), ((int64_t)1 << (width - 1)) - 1) : range(0, ((int64_t)1 << width) - 1);
}

/* ---- arithmetic on ranges: what overflows is unknown ---- */

static struct int_range join(struct int_range a, struct int_range b)
{
	if (!a.known || !b.known)
		return (struct int_range){ 0 };
	return range(a.lo < b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi);
}

static struct int_range times(struct int_range a, struct int_range b)
{
	int64_t p[4], lo = INT64_MAX, hi = INT64_MIN;

	if (!a.known || !b.known)
		return (struct int_range){ 0 };
	if (__builtin_mul_overflow(a.lo, b.lo, &p[0]) || __builtin_mul_overflow(a.lo, b.hi, &p[1]) || __builtin_mul_overflow(a.hi, b.lo, &p[2]) ||
	    __builtin_mul_overflow(a.hi, b.hi, &p[3]))
		return (struct int_range){ 0 };
	for (unsigned i = 0; i < 4; i++) {
		lo = p[i] < lo ? p[i] : lo;
		hi = p[i] > hi ? p[i] : hi;
	}
	return range(lo, hi);
}

static struct int_range plus(struct int_range a, struct int_range b)
{
	struct int_range r = { .known = a.known && b.known };

	if (r.known)
		r.known = !__builtin_add_overflow(a.lo, b.lo, &r.lo) && !__builtin_add_overflow(a.hi, b.hi, &r.hi);
	return r;
}

static struct int_range negative(struct int_range a)
{
	return times(a, range(-1, -1));
}

static int64_t magnitude(struct int_range a)
{
	if (!a.known || a.lo == INT64_MIN || a.hi == INT64_MIN)
		return INT64_MAX;
	return llabs(a.lo) > llabs(a.hi) ? llabs(a.lo) : llabs(a.hi);
}

static struct int_range around(int64_t m)
{
	return m == INT64_MAX ? (struct int_range){ 0 } : range(-m, m);
}

/* ---- values ---- */

static struct int_range of_const(const struct ir_value *v)
{
	struct int_range r = { .known = true, .lo = INT64_MAX, .hi = INT64_MIN };
	int64_t n = ir_elements(v);

	for (int64_t i = 0; i < n; i++) {
		int64_t k = v->dtype == IR_I64 ? ((int64_t *)v->data)[i] : v->dtype == MICA_I8 ? ((int8_t *)v->data)[i] : ((uint8_t *)v->data)[i];

		r.lo = k < r.lo ? k : r.lo;
		r.hi = k > r.hi ? k : r.hi;
	}
	return n ? r : range(0, 0);
}

static struct int_range integer_range(const struct ir_graph *g, const struct ir_value *v)
{
	const struct onnx_import *imp = g->import;

	if (!v)
		return range(0, 0);
	if (v->data && (v->dtype == IR_I64 || v->dtype == MICA_I8 || v->dtype == MICA_U8))
		return of_const(v);
	if (imp && v->id < imp->fact_count && imp->facts[v->id].range.known)
		return imp->facts[v->id].range;
	return of_type(v);
}

static bool integer_small(const struct ir_graph *g, const struct ir_value *v)
{
	return magnitude(integer_range(g, v)) <= EXACT;
}

static bool is_one(const char *type, const char *list)
{
	char word[64];

	snprintf(word, sizeof(word), " %.60s ", type);
	return strstr(list, word) != NULL;
}

static struct int_range all_of(const struct ir_graph *g, const struct ir_op *op, unsigned first)
{
	struct int_range r = integer_range(g, ir_op_in(op, first));

	for (unsigned i = first + 1; i < op->ins; i++)
		r = ir_op_in(op, i) ? join(r, integer_range(g, ir_op_in(op, i))) : r;
	return r;
}

/* Elements of operand 0 for each of the result. */
static int64_t ratio(const struct ir_op *op)
{
	int64_t n = ir_elements(op->out[0]);

	return n ? ir_elements(ir_op_in(op, 0)) / n : 1;
}

/* What sums, products and their like can give in integers without end; unknown for others. */
static struct int_range arithmetic(const struct ir_graph *g, const struct ir_op *op)
{
	struct int_range x = integer_range(g, ir_op_in(op, 0)), y = op->ins > 1 && ir_op_in(op, 1) ? integer_range(g, ir_op_in(op, 1)) : range(0, 0);
	const char *t = op->onnx_type;
	int64_t n, count;

	if (!strcmp(t, "Add") || !strcmp(t, "Sum")) {
		for (unsigned i = 1; i < op->ins; i++)
			x = plus(x, integer_range(g, ir_op_in(op, i)));
		return x;
	}
	if (!strcmp(t, "Sub"))
		return plus(x, negative(y));
	if (!strcmp(t, "Mul"))
		return times(x, y);
	if (!strcmp(t, "PRelu"))
		return join(x, times(x, y));
	if (!strcmp(t, "Div") || !strcmp(t, "Neg"))
		return around(magnitude(x));
	if (!strcmp(t, "Mod")) {
		n = magnitude(y);
		return n == INT64_MAX || !n ? around(n) : y.lo > 0 && !onnx_int(op, "fmod", 0) ? range(0, n - 1) : range(1 - n, n - 1);
	}
	if (!strcmp(t, "CumSum")) {
		const struct ir_value *v = ir_op_in(op, 0);

		for (n = 1, count = 0; count < v->rank; count++)
			n = v->dim[count] > n ? v->dim[count] : n;
		return times(join(x, range(0, 0)), range(n, n));
	}
	if (!strcmp(t, "ReduceSum") || !strcmp(t, "ReduceL1"))
		return times(around(magnitude(x)), range(ratio(op), ratio(op)));
	if (!strcmp(t, "ReduceSumSquare"))
		return times(times(around(magnitude(x)), around(magnitude(x))), range(ratio(op), ratio(op)));
	return (struct int_range){ 0 };
}

#define MOVES                                                                                                                              \
	" Identity Reshape Flatten Squeeze Unsqueeze Transpose Slice Split Gather GatherElements GatherND Expand Tile ReduceMax ReduceMin " \
	"TopK Compress Unique ReverseSequence DepthToSpace SpaceToDepth MaxPool Upsample Dropout CastLike Cast "
#define MOVES_OR_ZERO " Trilu Relu MaxUnpool ConstantOfShape "

static struct int_range of_result(const struct ir_graph *g, const struct ir_op *op, unsigned out)
{
	const struct ir_value *x = op->ins ? ir_op_in(op, 0) : NULL;
	const char *t = op->onnx_type;

	if (!x || op->out[out]->dtype == IR_BOOL)
		return (struct int_range){ 0 };
	if (!strcmp(t, "ArgMax") || !strcmp(t, "ArgMin")) {
		int64_t n = 1;

		for (unsigned i = 0; i < x->rank; i++)
			n = x->dim[i] > n ? x->dim[i] : n;
		return range(0, n - 1);
	}
	if ((out && is_one(t, " TopK Unique MaxPool ")) || !strcmp(t, "NonZero"))
		return range(0, ir_elements(x));
	if (!strcmp(t, "NonMaxSuppression"))
		return range(-1, ir_elements(x));
	if (out == 0 && is_one(t, MOVES) && (integer_is(x) || x->dtype == IR_BOOL || x->elem == ONNX_BOOL))
		return integer_range(g, x);
	if (is_one(t, MOVES_OR_ZERO) && integer_is(x))
		return join(integer_range(g, x), range(0, 0));
	if (!strcmp(t, "Sign"))
		return range(-1, 1);
	if (!strcmp(t, "Abs"))
		return join(range(0, 0), range(0, magnitude(integer_range(g, x))));
	if (!strcmp(t, "Concat") || !strcmp(t, "Max") || !strcmp(t, "Min"))
		return all_of(g, op, 0);
	if (!strcmp(t, "Where"))
		return all_of(g, op, 1);
	if (!strcmp(t, "OneHot"))
		return all_of(g, op, 2);
	return (struct int_range){ 0 };
}

/* Limits that are constants bind even what is unknown. */
static struct int_range clipped(const struct ir_graph *g, const struct ir_op *op)
{
	struct int_range x = integer_range(g, ir_op_in(op, 0)), r = x.known ? x : range(INT64_MIN, INT64_MAX);
	bool min = !strcmp(op->onnx_type, "Min"), max = !strcmp(op->onnx_type, "Max"), clip = !strcmp(op->onnx_type, "Clip");

	if ((!min && !max && !clip) || (!clip && op->ins != 2))
		return (struct int_range){ 0 };
	for (unsigned i = 1; i < op->ins; i++) {
		const struct ir_value *v = ir_op_in(op, i);
		struct int_range k = v ? integer_range(g, v) : (struct int_range){ 0 };

		if (!k.known)
			continue;
		if (max || (clip && i == 1)) {
			r.lo = k.lo > r.lo ? k.lo : r.lo;
			r.hi = k.hi > r.hi ? k.hi : r.hi;
		} else {
			r.hi = k.hi < r.hi ? k.hi : r.hi;
			r.lo = k.lo < r.lo ? k.lo : r.lo;
		}
	}
	return r;
}

/* A range that the type does not hold says nothing: the result wraps. */
static struct int_range within_type(const struct ir_value *v, struct int_range r)
{
	struct int_range t = of_type(v);

	return r.known && (!t.known || (r.lo >= t.lo && r.hi <= t.hi)) ? r : t;
}

/* ---- what follows from it ---- */

static bool exact(const struct ir_graph *g, const struct ir_op *op)
{
	struct int_range r = arithmetic(g, op), t = of_type(op->out[0]);
	bool wraps = t.known && (r.lo < t.lo || r.hi > t.hi);

	for (unsigned i = 0; i < op->ins; i++)
		if (ir_op_in(op, i) && !integer_small(g, ir_op_in(op, i)))
			return false;
	return r.known && magnitude(r) <= EXACT && !wraps;
}

static int refuse(struct ir_graph *g, struct ir_op *op)
{
	return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
			 "its integers may exceed 2^24, up to where numbers at run time (f32) are exact; cast its operands to float, or bound them with Clip in "
			 "the model");
}

/* Sums of products: op->in[0] times op->in[1], `depth` of them. */
static bool product_small(const struct ir_graph *g, const struct ir_op *op, int64_t depth)
{
	struct int_range r = range(depth, depth);

	for (unsigned i = 0; i < op->ins; i++)
		r = times(r, ir_op_in(op, i) && (i < 2 || !strcmp(op->onnx_type, "Einsum")) ? around(magnitude(integer_range(g, ir_op_in(op, i)))) : range(1, 1));
	if (op->ins > 2 && ir_op_in(op, 2) && strcmp(op->onnx_type, "Einsum") != 0)
		r = plus(r, around(magnitude(integer_range(g, ir_op_in(op, 2)))));
	return magnitude(r) <= EXACT;
}

static int check_op(struct ir_graph *g, struct ir_op *op)
{
	const char *t = op->onnx_type;
	const struct ir_value *x = op->ins ? ir_op_in(op, 0) : NULL;
	int64_t depth = 1;

	if (!x || !integer_is(x))
		return 0;
	if (is_one(t, " ReduceSumSquare ReduceL1 PRelu ") && !exact(g, op))
		return refuse(g, op);
	if (is_one(t, " ReduceMean ReduceL2 ReduceLogSum ReduceLogSumExp Mean ") && !integer_small(g, x))
		return refuse(g, op);
	if (!is_one(t, " MatMul Gemm Einsum "))
		return 0;
	for (unsigned i = 0; i < x->rank; i++) /* more than any contraction sums up, except for matrices */
		depth = x->rank < 3 && strcmp(t, "Einsum") && !onnx_int(op, "transA", 0) ? x->dim[x->rank - 1] : depth * x->dim[i];
	return product_small(g, op, depth) ? 0 : refuse(g, op);
}

/* f32 holds k. */
static bool holds(int64_t k)
{
	float f = (float)k;

	return f < 0x1p63f && (int64_t)f == k;
}

static bool is_limit(int64_t v)
{
	return v == INT64_MAX || v == INT32_MAX || v == UINT32_MAX || v == INT64_MIN + 1 || v == -(int64_t)INT32_MAX;
}

/* The limits of types (masks, open ends) may be rounded. */
static int check_const(struct ir_graph *g, struct ir_op *op, const struct ir_value *v, bool limits)
{
	int64_t n = v && v->data && v->dtype == IR_I64 ? ir_elements(v) : 0;

	for (int64_t i = 0; i < n; i++) {
		int64_t k = ((int64_t *)v->data)[i];

		if (holds(k) || (limits && is_limit(k)))
			continue;
		return onnx_fail(g, op, MICA_ERR_UNSUPPORTED,
				 "operand '%.100s' holds %lld, which numbers at run time (f32, exact up to 2^24) cannot; make it smaller, or fold the model",
				 v->name, (long long)k);
	}
	return 0;
}

static bool is_const_number(const struct ir_op *op, unsigned i)
{
	if (is_one(op->onnx_type, " Gather GatherElements GatherND ScatterElements ScatterND CumSum CumProd "))
		return i == 0;
	return is_one(op->onnx_type, " Add Sub Mul Div Mod Pow Sum Max Min Equal Less LessOrEqual Greater GreaterOrEqual Where Concat Clip MatMul Gemm ");
}

static struct int_facts facts_of(const struct ir_graph *g, const struct ir_op *op, unsigned i)
{
	const struct ir_value *y = op->out[i], *x = op->ins ? ir_op_in(op, 0) : NULL;
	struct int_facts f = { .range = of_result(g, op, i), .from_int = x && (integer_is(x) || x->dtype == IR_BOOL || x->elem == ONNX_BOOL) };
	struct int_range t = of_type(y), from = f.from_int ? integer_range(g, x) : (struct int_range){ 0 };

	f.range = f.range.known ? f.range : clipped(g, op);
	f.range = f.range.known || i || !x ? f.range : arithmetic(g, op);
	f.range = within_type(y, f.range);
	f.exact = x && exact(g, op);
	f.wraps = t.known && !(from.known && from.lo >= t.lo && from.hi <= t.hi);
	return f;
}

int integer_find(struct ir_graph *g)
{
	struct onnx_import *imp = g->import;

	imp->fact_count = g->values;
	imp->facts = ir_alloc(g->values, sizeof(*imp->facts));
	for (struct ir_op *op = g->first; op; op = op->next) {
		if (op->kind != IR_ONNX || !op->outs || !op->out[0])
			continue;
		for (unsigned i = 0; i < op->ins; i++)
			if (is_const_number(op, i) && check_const(g, op, ir_op_in(op, i), true))
				return -(int)g->err->code;
		/* what folding made of a result of the model; the caller reads f32 */
		if (op->out[0]->is_output && !strcmp(op->onnx_type, "Identity") && check_const(g, op, ir_op_in(op, 0), false))
			return -(int)g->err->code;
		if (check_op(g, op))
			return -(int)g->err->code;
		for (unsigned i = 0; i < op->outs; i++)
			if (op->out[i] && integer_is(op->out[i]) && op->out[i]->id < imp->fact_count)
				imp->facts[op->out[i]->id] = facts_of(g, op, i);
	}
	return 0;
}

struct int_facts integer_facts(const struct ir_graph *g, const struct ir_op *op)
{
	const struct onnx_import *imp = g->import;

	return op->out[0]->id < imp->fact_count ? imp->facts[op->out[0]->id] : (struct int_facts){ 0 };
}

/* ---- on the host ---- */

struct ir_value *integer_host(struct build *b, const struct ir_op *op, enum mica_host_integer how, struct ir_value *x, struct ir_value *y)
{
	const struct ir_value *to = op->out[0];
	struct ir_value *in[2] = { build_expand(b, x, to->rank, to->dim), build_expand(b, y, to->rank, to->dim) };
	struct ir_op *h = build_host(b, MICA_HOST_INTEGER, in, 2, to->rank, to->dim);
	bool is_signed;

	h->a.host_int[0] = how;
	h->a.host_int[1] = integer_width(to, &is_signed);
	h->a.host_int[2] = is_signed;
	return h->out[0];
}

struct ir_value *integer_reduced(struct build *b, const struct ir_op *op, enum mica_host_integer how, struct ir_value *x)
{
	struct ir_op *h = build_host(b, MICA_HOST_RUNNING, &x, 1, 2, (int64_t[]){ x->dim[0], 1 });
	bool is_signed;

	h->a.host_int[0] = 1;
	h->a.host_int[1] = how;
	h->a.host_int[2] = integer_width(op->out[0], &is_signed);
	h->a.host_int[3] = is_signed;
	h->a.host_int[6] = 1;
	return h->out[0];
}

struct ir_value *integer_running(struct build *b, const struct ir_op *op, enum mica_host_integer how, struct ir_value *x, unsigned axis,
				 bool exclusive, bool reverse)
{
	struct ir_op *h = build_host(b, MICA_HOST_RUNNING, &x, 1, x->rank, x->dim);
	bool is_signed;

	h->a.host_int[0] = axis;
	h->a.host_int[1] = how;
	h->a.host_int[2] = integer_width(op->out[0], &is_signed);
	h->a.host_int[3] = is_signed;
	h->a.host_int[4] = exclusive;
	h->a.host_int[5] = reverse;
	return h->out[0];
}
