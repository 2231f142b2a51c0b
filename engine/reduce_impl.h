/* SPDX-License-Identifier: MIT */
/* REDUCE, SOFTMAX, NORM: 16 lanes when c is reduced, one accumulator an element otherwise (docs/numerics.md section 6). */
#ifndef MICA_REDUCE_IMPL_H
#define MICA_REDUCE_IMPL_H

#include "code_vec.h"
#include "func_vec.h"

#define RED_LANES	16u
#define RED_CHUNK	1024u	/* a multiple of RED_LANES */

VINL float red_identity(enum mica_red op)
{
	return op == MICA_RED_PROD ? 1.0f : op == MICA_RED_MAX ? -__builtin_inff() :
	       op == MICA_RED_MIN ? __builtin_inff() : 0.0f;
}

VINL vf red_step(const enum mica_red op, vf acc, vf x)
{
	switch (op) {
	case MICA_RED_MAX:
		return vf_max(acc, x);
	case MICA_RED_MIN:
		return vf_min(acc, x);
	case MICA_RED_PROD:
		return vf_mul(acc, x);
	case MICA_RED_SUMSQ:
		return vf_fma(x, x, acc);
	case MICA_RED_L1:
		return vf_add(acc, vf_abs(x));
	default:
		return vf_add(acc, x);
	}
}

VINL float red_step1(enum mica_red op, float acc, float x)
{
	switch (op) {
	case MICA_RED_MAX:
		return acc > x ? acc : x;
	case MICA_RED_MIN:
		return acc < x ? acc : x;
	case MICA_RED_PROD:
		return acc * x;
	case MICA_RED_SUMSQ:
		return __builtin_fmaf(x, x, acc);
	case MICA_RED_L1:
		return acc + __builtin_fabsf(x);
	default:
		return acc + x;
	}
}

/* acc[i] = step(acc[i], x[i]); both have room for whole vectors. */
#define RED_EACH(op, body) \
	switch (op) { \
	case MICA_RED_MAX: { const enum mica_red OP = MICA_RED_MAX; body } break; \
	case MICA_RED_MIN: { const enum mica_red OP = MICA_RED_MIN; body } break; \
	case MICA_RED_PROD: { const enum mica_red OP = MICA_RED_PROD; body } break; \
	case MICA_RED_SUMSQ: { const enum mica_red OP = MICA_RED_SUMSQ; body } break; \
	case MICA_RED_L1: { const enum mica_red OP = MICA_RED_L1; body } break; \
	default: { const enum mica_red OP = MICA_RED_SUM; body } break; \
	}

static void red_elements(enum mica_red op, float *acc, const float *x, size_t n)
{
	RED_EACH(op, {
		for (size_t i = 0; i < n; i += VL)
			vf_store(acc + i, red_step(OP, vf_load(acc + i), vf_load(x + i)));
	})
}

/* Lane j takes the elements i with i mod 16 = j; the first element is one of lane 0. */
static void red_lanes(enum mica_red op, float lane[RED_LANES], const float *x, size_t n)
{
	size_t whole = n / RED_LANES * RED_LANES;

	RED_EACH(op, {
		vf acc[RED_LANES / VL];

		for (unsigned j = 0; j < RED_LANES / VL; j++)
			acc[j] = vf_load(lane + j * VL);
		for (size_t i = 0; i < whole; i += RED_LANES)
			for (unsigned j = 0; j < RED_LANES / VL; j++)
				acc[j] = red_step(OP, acc[j], vf_load(x + i + j * VL));
		for (unsigned j = 0; j < RED_LANES / VL; j++)
			vf_store(lane + j * VL, acc[j]);
	})
	for (size_t i = whole; i < n; i++)
		lane[i - whole] = red_step1(op, lane[i - whole], x[i]);
}

static float red_fold(enum mica_red op, float lane[RED_LANES])
{
	/* Folding adds where the step squares or takes magnitudes. */
	enum mica_red fold = op == MICA_RED_MAX || op == MICA_RED_MIN || op == MICA_RED_PROD ? op : MICA_RED_SUM;

	for (unsigned k = RED_LANES / 2; k; k /= 2)
		for (unsigned j = 0; j < k; j++)
			lane[j] = red_step1(fold, lane[j], lane[j + k]);
	return lane[0];
}

static void red_clear(enum mica_red op, float *acc, size_t n)
{
	for (size_t i = 0; i < n; i++)
		acc[i] = red_identity(op);
}

static float red_row(enum mica_red op, const float *x, size_t n)
{
	float lane[RED_LANES];

	red_clear(op, lane, RED_LANES);
	red_lanes(op, lane, x, n);
	return red_fold(op, lane);
}

/* ---- REDUCE ------------------------------------------------------------------------------------------------------------ */

struct red {
	struct exec *x;
	const struct mica_pkt_reduce *p;
	uint32_t keep[3], walk[3];	/* extents of n, h, w that are results, and that are reduced */
	uint64_t results;		/* product of keep */
	uint64_t per_item;
	float factor;			/* mean: 1 / count */
};

static uint64_t red_offset(const struct red *r, const struct mica_view *v, const uint32_t extent[3], uint64_t i)
{
	uint64_t w = i % extent[2], h = i / extent[2] % extent[1], n = i / extent[2] / extent[1];

	(void)r;
	return n * v->stride[0] + h * v->stride[1] + w * v->stride[2];
}

static void red_store(const struct red *r, float *acc, uint32_t n, uint8_t *dst)
{
	if (r->p->op == MICA_RED_MEAN)
		for (uint32_t i = 0; i < n; i++)
			acc[i] = acc[i] * r->factor;
	encode_view(&r->p->dst, acc, n, dst);
}

static void red_one_all_c(const struct red *r, const uint8_t *src, uint8_t *dst, uint64_t walks)
{
	const struct mica_view *v = &r->p->src;
	uint32_t channels = r->p->dim[3];
	float lane[RED_LANES], x[RED_CHUNK + VL], y;

	red_clear(r->p->op, lane, RED_LANES);
	for (uint64_t i = 0; i < walks; i++) {
		const uint8_t *row = src + red_offset(r, v, r->walk, i);

		for (uint32_t c = 0; c < channels; c += RED_CHUNK) {
			uint32_t n = channels - c < RED_CHUNK ? channels - c : RED_CHUNK;

			if (exec_stopped(r->x))
				return;
			decode_view(v, row + (uint64_t)c * v->stride[3], n, x);
			red_lanes(r->p->op, lane, x, n);
		}
	}
	y = red_fold(r->p->op, lane);
	red_store(r, &y, 1, dst);
}

static void red_one_by_c(const struct red *r, const uint8_t *src, uint8_t *dst, uint64_t walks)
{
	const struct mica_view *v = &r->p->src;
	uint32_t channels = r->p->dim[3];
	float acc[RED_CHUNK + VL], x[RED_CHUNK + VL] = { 0 };

	for (uint32_t c = 0; c < channels; c += RED_CHUNK) {
		uint32_t n = channels - c < RED_CHUNK ? channels - c : RED_CHUNK;

		red_clear(r->p->op, acc, round_up(n, VL));
		for (uint64_t i = 0; i < walks; i++) {
			if (exec_stopped(r->x))
				return;
			decode_view(v, src + red_offset(r, v, r->walk, i) + (uint64_t)c * v->stride[3], n, x);
			red_elements(r->p->op, acc, x, n);
		}
		red_store(r, acc, n, dst + (uint64_t)c * r->p->dst.stride[3]);
	}
}

static void red_item(void *ctx, uint32_t item, unsigned thread)
{
	const struct red *r = ctx;
	uint64_t walks = (uint64_t)r->walk[0] * r->walk[1] * r->walk[2];
	uint64_t last = (item + 1ull) * r->per_item;

	(void)thread;
	for (uint64_t i = item * r->per_item; i < last && i < r->results; i++) {
		const uint8_t *src = r->x->lmem + r->p->src.addr + red_offset(r, &r->p->src, r->keep, i);
		uint8_t *dst = r->x->lmem + r->p->dst.addr + red_offset(r, &r->p->dst, r->keep, i);

		if (exec_stopped(r->x))
			return;
		if (r->p->axes & 8)
			red_one_all_c(r, src, dst, walks);
		else
			red_one_by_c(r, src, dst, walks);
	}
}

static int exec_reduce(struct exec *x, const union mica_pkt *pkt)
{
	const struct mica_pkt_reduce *p = &pkt->reduce;
	struct red r = { .x = x, .p = p, .results = 1 };
	uint64_t count = p->axes & 8 ? p->dim[3] : 1, work = p->dim[3];

	for (int i = 0; i < 3; i++) {
		bool reduced = p->axes & 1u << i;

		r.keep[i] = reduced ? 1 : p->dim[i];
		r.walk[i] = reduced ? p->dim[i] : 1;
		r.results *= r.keep[i];
		count *= r.walk[i];
		work *= r.walk[i];
	}
	r.factor = 1.0f / (float)count;
	r.per_item = 1 + 16384 / work;
	while (div_up(r.results, r.per_item) > 1u << 20)
		r.per_item *= 2;
	pool_run(x->e->pool, red_item, &r, (uint32_t)div_up(r.results, r.per_item));
	return 0;
}

/* ---- SOFTMAX, NORM ------------------------------------------------------------------------------------------------------- */

struct norm {
	struct exec *x;
	const struct mica_pkt_norm *p;
	const float *gamma, *beta;	/* copies, padded to whole vectors; NULL: 1 and 0 */
	uint64_t rows, per_item;
};

static void softmax_row(float *v, size_t n)
{
	float max = red_row(MICA_RED_MAX, v, n), sum;

	for (size_t i = 0; i < n; i += VL)
		vf_store(v + i, fv_exp(vf_sub(vf_load(v + i), vf_set(max))));
	sum = red_row(MICA_RED_SUM, v, n);
	for (size_t i = 0; i < n; i += VL)
		vf_store(v + i, vf_div(vf_load(v + i), vf_set(sum)));
}

static void norm_row(const struct norm *m, float *v, size_t n)
{
	float inverse = 1.0f / (float)n, mean = red_row(MICA_RED_SUM, v, n) * inverse, var, r;

	for (size_t i = 0; i < n; i += VL)
		vf_store(v + i, vf_sub(vf_load(v + i), vf_set(mean)));
	var = red_row(MICA_RED_SUMSQ, v, n) * inverse;
	r = 1.0f / __builtin_sqrtf(var + m->p->eps);
	for (size_t i = 0; i < n; i += VL) {
		vf y = vf_mul(vf_load(v + i), vf_set(r));

		if (m->gamma || m->beta)
			y = vf_fma(y, m->gamma ? vf_load(m->gamma + i) : vf_set(1.0f),
				   m->beta ? vf_load(m->beta + i) : vf_set(0.0f));
		vf_store(v + i, y);
	}
}

static uint64_t norm_offset(const struct norm *m, const struct mica_view *v, uint64_t i)
{
	const uint32_t *d = m->p->dim;

	return i / d[2] / d[1] * v->stride[0] + i / d[2] % d[1] * v->stride[1] + i % d[2] * v->stride[2];
}

static void norm_item(void *ctx, uint32_t item, unsigned thread)
{
	const struct norm *m = ctx;
	const struct mica_pkt_norm *p = m->p;
	float *v = pool_scratch(m->x->e->pool, thread);
	uint64_t last = (item + 1ull) * m->per_item;
	size_t n = p->dim[3];

	for (uint64_t i = item * m->per_item; i < last && i < m->rows; i++) {
		if (exec_stopped(m->x))
			return;
		memset(v + n / VL * VL, 0, VL * sizeof(float));
		decode_view(&p->src, m->x->lmem + p->src.addr + norm_offset(m, &p->src, i), n, v);
		if (p->hdr.opcode == MICA_OP_SOFTMAX)
			softmax_row(v, n);
		else
			norm_row(m, v, n);
		encode_view(&p->dst, v, n, m->x->lmem + p->dst.addr + norm_offset(m, &p->dst, i));
	}
}

/* A private copy with room for whole vectors: the original may change or end with its segment. */
static bool norm_table(struct exec *x, unsigned slot, uint64_t addr, size_t n, float *copy, const float **out)
{
	const void *at;

	if (addr == MICA_ADDR_NONE)
		return true;
	at = exec_view(x, slot, addr, n * sizeof(float));
	if (!at)
		return false;
	memcpy(copy, at, n * sizeof(float));
	memset(copy + n, 0, VL * sizeof(float));
	*out = copy;
	return true;
}

static int exec_norm(struct exec *x, const union mica_pkt *pkt)
{
	const struct mica_pkt_norm *p = &pkt->norm;
	struct norm m = { .x = x, .p = p, .rows = (uint64_t)p->dim[0] * p->dim[1] * p->dim[2] };
	size_t n = p->dim[3], room = round_up(n + VL, 16);
	float *tables = exec_shared(x, 2 * room * sizeof(float));

	if (!tables || !pool_reserve(x->e->pool, room * sizeof(float)))
		return MICA_FAULT_BUS;
	if (!norm_table(x, 0, p->gamma, n, tables, &m.gamma) || !norm_table(x, 1, p->beta, n, tables + room, &m.beta))
		return x->fault;
	m.per_item = 1 + 4096 / n;
	while (div_up(m.rows, m.per_item) > 1u << 20)
		m.per_item *= 2;
	pool_run(x->e->pool, norm_item, &m, (uint32_t)div_up(m.rows, m.per_item));
	return 0;
}

#endif /* MICA_REDUCE_IMPL_H */
