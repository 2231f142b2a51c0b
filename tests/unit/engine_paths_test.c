// SPDX-License-Identifier: MIT
/*
 * Every instruction set, any number of threads, any tiling, any split of K: the same bits. Shapes here are larger than
 * those of streams_test.c, so that items, panels and remainders of all kinds occur.
 */
#include "engine_internal.h"
#include "engine_util.h"

#include <stdio.h>

#ifdef __SANITIZE_THREAD__
#define ROUNDS(n) ((n) / 10 + 1)
#else
#define ROUNDS(n) (n)
#endif
#define LMEM	(512u << 10)
#define SEG	(4u << 20)
#define SRC	0u
#define RES	(LMEM / 4)
#define DST	(LMEM / 2)
#define ACC	(LMEM / 4 * 3)

static uint8_t *seg[2], *start;
static struct mica_engine *engines[10];
static unsigned engine_count;
static const char *engine_name[10];

static void add_engine(const struct mica_path *path, unsigned threads)
{
	if (!mica_path_usable(path))
		return;
	engines[engine_count] = mica_engine_create_path(path, threads);
	engine_name[engine_count++] = path->name;
}

static int set_up_group(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		seg[i] = aligned_alloc(64, SEG);
		fill_codes(seg[i], SEG, i == 1);
	}
	start = aligned_alloc(64, LMEM);
	for (size_t p = 0; p < ARRAY_SIZE(all_paths); p++)
		add_engine(all_paths[p], 1);
	add_engine(&mica_path_scalar, 3);
	add_engine(&mica_path_avx2, 2);
	add_engine(&mica_path_avx512, 2);
	add_engine(&mica_path_avx512, 5);
	return 0;
}

static int tear_down_group(void **state)
{
	(void)state;
	for (unsigned i = 0; i < engine_count; i++)
		mica_engine_destroy(engines[i]);
	for (int i = 0; i < 2; i++)
		free(seg[i]);
	free(start);
	return 0;
}

static void exec_on(struct mica_engine *e, const union mica_pkt *p, uint8_t *lmem)
{
	struct mica_mem mem = { .lmem = { lmem }, .lmem_size = LMEM, .seg = { seg[0], seg[1] } };

	assert_int_equal(mica_exec(e, p, &mem), 0);
}

static void must_be_legal(const union mica_pkt *p)
{
	struct mica_limits lim = { .lmem_size = LMEM, .cores = 1, .segments = 2, .seg_size = { SEG, SEG } };
	struct mica_check_state st = { { 0 } };
	const char *field;
	enum mica_check why = mica_check_packet(p, sizeof(*p), &lim, &st, &field);
	char text[2048];

	mica_disasm(text, sizeof(text), p);
	if (why)
		fail_msg("%s of %s: %s", mica_check_name(why), field, text);
}

/* All engines from the same memory to the same memory. */
static void all_agree(const union mica_pkt *p)
{
	uint8_t *want = aligned_alloc(64, LMEM), *got = aligned_alloc(64, LMEM);
	char text[2048];

	must_be_legal(p);
	memcpy(want, start, LMEM);
	exec_on(engines[0], p, want);
	for (unsigned i = 1; i < engine_count; i++) {
		memcpy(got, start, LMEM);
		exec_on(engines[i], p, got);
		for (size_t k = 0; k < LMEM; k++)
			if (got[k] != want[k]) {
				mica_disasm(text, sizeof(text), p);
				fail_msg("%s at lmem 0x%zx: %02x, not %02x: %s", engine_name[i], k, got[k], want[k], text);
			}
	}
	free(want);
	free(got);
}

static unsigned any_type(void)
{
	return between(MICA_F32, MICA_I32);
}

static struct mica_view random_view(uint32_t addr, unsigned dtype, uint32_t h, uint32_t w, uint32_t c)
{
	struct mica_view v = dense_view(addr, dtype, 1, h, w, c);

	v.scale = chance(50) ? 1.0f : (float)between(1, 1000) * 0.003f;
	if (dtype == MICA_I8 || dtype == MICA_U8)
		v.zero = (int8_t)rnd();
	return v;
}

static void random_memory(void)
{
	fill_codes(start, LMEM, chance(30));
}

/* ---- Products ---------------------------------------------------------------------------------------------------- */

static const struct { uint8_t a, w; } mac_types[] = {
	{ MICA_E4M3, MICA_E4M3 }, { MICA_E4M3, MICA_E5M2 }, { MICA_E5M2, MICA_BF16 }, { MICA_BF16, MICA_BF16 },
	{ MICA_BF16, MICA_E4M3 }, { MICA_I8, MICA_I8 }, { MICA_F32, MICA_F32 },
};

static union mica_pkt conv_packet(bool dw, unsigned a, unsigned w, uint32_t hw, uint32_t cin, uint32_t cout, unsigned k)
{
	union mica_pkt p = packet(dw ? MICA_OP_DWCONV : MICA_OP_CONV);
	struct mica_pkt_conv *c = &p.conv;

	c->src = random_view(SRC, a, hw, hw, cin);
	c->dst = random_view(DST, chance(70) ? a : any_type(), hw, hw, cout);
	c->weights = MICA_ADDR(w == MICA_BF16 || w == MICA_F32 ? 0 : 1, 64 * between(0, 64));
	c->params = MICA_ADDR(0, SEG / 2 + 64 * between(0, 64));
	c->n = 1;
	c->in_h = c->in_w = c->out_h = c->out_w = hw;
	c->in_c = cin;
	c->out_c = cout;
	c->groups = dw ? cin : 1;
	c->kh = c->kw = (uint16_t)k;
	c->stride_h = c->stride_w = c->dil_h = c->dil_w = 1;
	c->pad_top = c->pad_left = (int16_t)(k / 2);
	c->wdtype = (uint8_t)w;
	c->flags = w != MICA_I8 && chance(30) ? MICA_CONV_SHIFT : 0;
	if (chance(40)) {
		c->act = (uint8_t)between(0, MICA_ACT_MAX);
		c->alpha = 0.1f;
		c->beta = 6.0f;
	}
	return p;
}

static void convolutions_agree_on_every_type_and_remainder(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROUNDS(60); i++)
		for (size_t t = 0; t < ARRAY_SIZE(mac_types); t++) {
			unsigned k = chance(40) ? 1 : between(1, 5), hw = between(1, 17);
			uint32_t cin = chance(50) ? 4 * between(1, 16) : between(1, 40);
			union mica_pkt p = conv_packet(false, mac_types[t].a, mac_types[t].w, hw, cin, between(1, 80), k);

			random_memory();
			if (chance(30)) {
				p.conv.res = random_view(RES, any_type(), hw, hw, p.conv.out_c);
				p.conv.res.zero = p.conv.res.dtype == MICA_I8 ? 5 : 0;
			}
			if (chance(20)) {
				p.conv.acc_mode = (uint16_t)between(1, 3);
				p.conv.acc = ACC;
			}
			if (chance(20)) {
				p.conv.stride_h = (uint16_t)between(1, 3);
				p.conv.dil_w = (uint16_t)between(1, 2);
			}
			all_agree(&p);
		}
}

static void grouped_convolutions_agree(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROUNDS(40); i++) {
		size_t t = rnd() % ARRAY_SIZE(mac_types);
		uint32_t groups = between(2, 4);
		union mica_pkt p = conv_packet(false, mac_types[t].a, mac_types[t].w, between(2, 9), groups * between(1, 12),
					       groups * between(1, 40), between(1, 3));

		random_memory();
		p.conv.groups = groups;
		all_agree(&p);
	}
}

static void depthwise_convolutions_agree(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROUNDS(30); i++)
		for (size_t t = 0; t < ARRAY_SIZE(mac_types); t++) {
			uint32_t c = between(1, 70);
			union mica_pkt p = conv_packet(true, mac_types[t].a, mac_types[t].w, between(1, 20), c, c, between(1, 5));

			random_memory();
			p.conv.stride_w = (uint16_t)between(1, 2);
			p.conv.dil_h = (uint16_t)between(1, 2);
			if (chance(20)) {
				p.conv.acc_mode = (uint16_t)between(1, 3);
				p.conv.acc = ACC;
			}
			all_agree(&p);
		}
}

/* Kernels with very many taps, and images that would be very large, go another way. */
static void shapes_beyond_the_blocked_kernels_agree(void **state)
{
	union mica_pkt p;

	(void)state;
	random_memory();
	for (size_t t = 0; t < ARRAY_SIZE(mac_types); t++) {
		p = conv_packet(false, mac_types[t].a, mac_types[t].w, 3, 2, 17, 65);
		all_agree(&p);
		p = conv_packet(false, mac_types[t].a, mac_types[t].w, 3, 3, 9, 3);
		p.conv.dil_h = p.conv.dil_w = p.conv.stride_h = p.conv.stride_w = 1024;
		p.conv.out_h = p.conv.out_w = 9;
		p.conv.dst = random_view(DST, MICA_F32, 9, 9, 9);
		all_agree(&p);
		p = conv_packet(true, mac_types[t].a, mac_types[t].w, 5, 19, 19, 33);
		all_agree(&p);
	}
}

static void products_agree_on_every_type_and_layout(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROUNDS(40); i++)
		for (size_t t = 0; t < ARRAY_SIZE(mac_types); t++) {
			union mica_pkt p = packet(MICA_OP_MATMUL);
			struct mica_pkt_matmul *m = &p.matmul;
			unsigned as = mica_dtype_size(mac_types[t].a), bs = mica_dtype_size(mac_types[t].w), ds;

			random_memory();
			m->batch = between(1, 4);
			m->m = between(1, 50);
			m->k = between(1, 90);
			m->n = between(1, 70);
			m->a = random_view(SRC, mac_types[t].a, 1, m->m, m->k);
			m->b = random_view(RES, mac_types[t].w, 1, m->k, m->n);
			m->dst = random_view(DST, chance(60) ? mac_types[t].a : any_type(), 1, m->m, m->n);
			ds = mica_dtype_size(m->dst.dtype);
			memcpy(m->a.stride, (uint32_t[]){ m->m * m->k * as, m->k * as, as, 0 }, 16);
			memcpy(m->b.stride, (uint32_t[]){ m->k * m->n * bs, m->n * bs, bs, 0 }, 16);
			memcpy(m->dst.stride, (uint32_t[]){ m->m * m->n * ds, m->n * ds, ds, 0 }, 16);
			if (chance(40))		/* b transposed */
				memcpy(m->b.stride, (uint32_t[]){ m->k * m->n * bs, bs, m->k * bs, 0 }, 16);
			if (chance(20))		/* a transposed */
				memcpy(m->a.stride, (uint32_t[]){ m->m * m->k * as, as, m->m * as, 0 }, 16);
			if (chance(30))
				m->b.stride[0] = 0;
			if (chance(20))		/* dst transposed */
				memcpy(m->dst.stride, (uint32_t[]){ m->m * m->n * ds, ds, m->m * ds, 0 }, 16);
			m->params = chance(50) ? MICA_ADDR_NONE : MICA_ADDR(0, 0);
			m->act = chance(50) ? 0 : between(0, MICA_ACT_MAX);
			all_agree(&p);
		}
}

/* ---- Tiles and splits -------------------------------------------------------------------------------------------- */

/* A whole layer, and the same as tiles of some rows each with its own pad_top. */
static void tiles_of_rows_give_the_whole(void **state)
{
	uint8_t *whole = aligned_alloc(64, LMEM), *tiles = aligned_alloc(64, LMEM);

	(void)state;
	for (unsigned i = 0; i < ROUNDS(60); i++) {
		size_t t = rnd() % ARRAY_SIZE(mac_types);
		unsigned k = between(1, 5), hw = between(4, 20), rows = between(1, 5);
		bool dw = chance(30);
		uint32_t cin = between(1, 40), cout = dw ? cin : between(1, 60);
		union mica_pkt p = conv_packet(dw, mac_types[t].a, mac_types[t].w, hw, cin, cout, k);
		struct mica_engine *e = engines[rnd() % engine_count], *other = engines[rnd() % engine_count];

		random_memory();
		memcpy(whole, start, LMEM);
		memcpy(tiles, start, LMEM);
		exec_on(e, &p, whole);
		for (uint32_t y = 0; y < hw; y += rows) {
			union mica_pkt q = p;

			q.conv.out_h = hw - y < rows ? hw - y : rows;
			q.conv.pad_top = (int16_t)(p.conv.pad_top - (int)y);
			q.conv.dst.addr += y * p.conv.dst.stride[1];
			exec_on(other, &q, tiles);
		}
		assert_memory_equal(whole, tiles, LMEM);
	}
	free(whole);
	free(tiles);
}

/* The same row by row: whatever part of the input an item widens, and where all of them share it because taps reach far. */
static void large_images_give_what_their_rows_give(void **state)
{
	static const struct { uint8_t n, k, stride, dil; } shape[] = {
		{ 2, 3, 1, 1 }, { 2, 1, 1, 1 }, { 1, 1, 2, 1 }, { 2, 5, 2, 1 }, { 1, 3, 1, 14 }, { 2, 3, 3, 9 },
	};
	uint8_t *whole = aligned_alloc(64, LMEM), *rows = aligned_alloc(64, LMEM);

	(void)state;
	for (unsigned i = 0; i < ROUNDS(10) * ARRAY_SIZE(shape); i++) {
		size_t t = rnd() % ARRAY_SIZE(mac_types), s = i % ARRAY_SIZE(shape);
		uint32_t hw = between(20, 30), out = (uint32_t)div_up(hw, shape[s].stride);
		uint32_t cin = between(40, 96) / mica_dtype_size(mac_types[t].a), cout = between(1, 20);
		union mica_pkt p = conv_packet(false, mac_types[t].a, mac_types[t].w, hw, cin, cout, shape[s].k), q;

		random_memory();
		p.conv.n = shape[s].n;
		p.conv.stride_h = p.conv.stride_w = shape[s].stride;
		p.conv.dil_h = p.conv.dil_w = shape[s].dil;
		p.conv.pad_top = p.conv.pad_left = (int16_t)(shape[s].k / 2 * shape[s].dil);
		p.conv.out_h = p.conv.out_w = out;
		p.conv.dst = random_view(DST, mac_types[t].a, out, out, p.conv.out_c);
		must_be_legal(&p);
		memcpy(rows, start, LMEM);
		for (uint32_t y = 0; y < p.conv.n * out; y++) {
			q = p;
			q.conv.n = q.conv.out_h = 1;
			q.conv.src.addr += y / out * p.conv.src.stride[0];
			q.conv.dst.addr += y / out * p.conv.dst.stride[0] + y % out * p.conv.dst.stride[1];
			q.conv.pad_top = (int16_t)(p.conv.pad_top - (int)(y % out * shape[s].stride));
			exec_on(engines[0], &q, rows);
		}
		for (unsigned e = 0; e < engine_count; e++) {
			memcpy(whole, start, LMEM);
			exec_on(engines[e], &p, whole);
			assert_memory_equal(whole, rows, LMEM);
		}
	}
	free(whole);
	free(rows);
}

/* Splits K by input channels is not possible with packed weights of the whole; by rows of the kernel it is. */
static void splits_of_k_through_the_accumulators_give_the_whole(void **state)
{
	uint8_t *whole = aligned_alloc(64, LMEM), *parts = aligned_alloc(64, LMEM);

	(void)state;
	for (unsigned i = 0; i < ROUNDS(60); i++) {
		size_t t = rnd() % ARRAY_SIZE(mac_types);
		unsigned k = between(2, 4), hw = between(3, 12);
		union mica_pkt p = conv_packet(false, mac_types[t].a, mac_types[t].w, hw, 4 * between(1, 8), between(1, 16), k);
		size_t row = p.conv.in_c * k * 16 * mica_dtype_size(p.conv.wdtype);
		struct mica_engine *e = engines[rnd() % engine_count], *other = engines[rnd() % engine_count];

		random_memory();
		p.conv.acc_mode = 0;
		p.conv.weights = MICA_ADDR(MICA_ADDR_SEG(p.conv.weights), 0);
		memcpy(whole, start, LMEM);
		memcpy(parts, start, LMEM);
		exec_on(e, &p, whole);
		for (unsigned i2 = 0; i2 < k; i2++) {
			union mica_pkt q = p;

			q.conv.kh = 1;
			q.conv.pad_top = (int16_t)(p.conv.pad_top - (int)i2);
			q.conv.weights += i2 * row;
			q.conv.acc = ACC;
			q.conv.acc_mode = (i2 ? MICA_ACC_IN : 0) | (i2 + 1 < k ? MICA_ACC_OUT : 0);
			exec_on(other, &q, parts);
		}
		assert_memory_equal(whole, parts, ACC);
	}
	free(whole);
	free(parts);
}

/* The case that tells a plain fma from the hardware's: 2^-126 - 2^-150 is tiny although it would round up. */
static void bf16_results_just_below_the_normal_range_become_zero(void **state)
{
	static const uint16_t ones[16] = { 0x3f80, 0x3f80 };
	union mica_pkt p = packet(MICA_OP_MATMUL);
	struct mica_pkt_matmul *m = &p.matmul;

	(void)state;
	for (int exponent = -152; exponent <= -148; exponent++)
		for (int odd = 0; odd < 2; odd++) {
			uint16_t a[2] = { 0, 0 }, b[2] = { 0, 0 };
			uint8_t lmem[2][4096] __attribute__((aligned(64)));

			(void)ones;
			memset(start, 0, 4096);
			/* pair 0 makes 2^-126, pair 1 subtracts 2^exponent */
			a[odd] = 0x8000 | (uint16_t)((127 - 76) << 7);
			b[odd] = (uint16_t)((127 + exponent + 76) << 7);
			memcpy(start, (uint16_t[]){ (127 - 63) << 7, 0 }, 4);
			memcpy(start + 4, a, 4);
			memcpy(start + 64, (uint16_t[]){ (127 - 63) << 7, 0 }, 4);
			memcpy(start + 68, b, 4);
			m->a = (struct mica_view){ 0, MICA_BF16, 0, 0, 1.0f, 0, { 0, 8, 2, 0 } };
			m->b = (struct mica_view){ 64, MICA_BF16, 0, 0, 1.0f, 0, { 0, 2, 2, 0 } };
			m->dst = (struct mica_view){ 128, MICA_F32, 0, 0, 1.0f, 0, { 4, 4, 4, 0 } };
			m->batch = m->m = m->n = 1;
			m->k = 4;
			m->params = MICA_ADDR_NONE;
			all_agree(&p);
			memcpy(lmem[0], start, 4096);
			exec_on(engines[0], &p, lmem[0]);
			assert_int_equal(lmem[0][131], exponent <= -151 ? 0x00 : 0x00);
			assert_int_equal(lmem[0][130], exponent <= -151 ? 0x80 : 0x00);
		}
}

/* ---- Vector packets ---------------------------------------------------------------------------------------------- */

static void elementwise_packets_agree(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROUNDS(150); i++) {
		union mica_pkt p = packet(chance(50) ? MICA_OP_BINARY : chance(80) ? MICA_OP_UNARY : MICA_OP_LUT);
		uint32_t h = between(1, 9), w = between(1, 9), c = between(1, 2000 / (h * w) + 1);
		uint32_t dim[4] = { 1, h, w, c };

		random_memory();
		if (p.hdr.opcode == MICA_OP_BINARY) {
			memcpy(p.binary.dim, dim, 16);
			p.binary.op = (uint8_t)between(0, MICA_BIN_MAX_OP);
			p.binary.a = random_view(SRC, any_type(), h, w, c);
			p.binary.b = random_view(RES, any_type(), h, w, c);
			if (p.binary.op == MICA_BIN_WHERE)
				p.binary.c = random_view(RES / 2, any_type(), h, w, c);
			p.binary.dst = random_view(DST, any_type(), h, w, c);
			for (int k = 0; k < 4; k++)
				if (chance(30))
					p.binary.b.stride[k] = 0;
			p.binary.act = (uint8_t)between(0, MICA_ACT_MAX);
		} else if (p.hdr.opcode == MICA_OP_UNARY) {
			memcpy(p.unary.dim, dim, 16);
			p.unary.src = random_view(SRC, any_type(), h, w, c);
			p.unary.dst = random_view(DST, any_type(), h, w, c);
			p.unary.func = between(0, MICA_FN_MAX);
			p.unary.alpha = 0.2f;
			p.unary.beta = 1.5f;
		} else {
			memcpy(p.lut.dim, dim, 16);
			p.lut.src = random_view(SRC, between(MICA_E4M3, MICA_U8), h, w, c);
			p.lut.dst = random_view(DST, any_type(), h, w, c);
			p.lut.table = MICA_ADDR(1, 1024);
		}
		all_agree(&p);
	}
}

static void windows_agree(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROUNDS(80); i++) {
		uint32_t hw = between(1, 20), out = between(1, 12), c = between(1, 60);
		union mica_pkt p = packet(chance(60) ? MICA_OP_POOL : MICA_OP_RESIZE);
		struct mica_view src = random_view(SRC, any_type(), hw, hw, c), dst = random_view(DST, any_type(), out, out, c);

		random_memory();
		if (p.hdr.opcode == MICA_OP_POOL) {
			p.pool = (struct mica_pkt_pool){
				.hdr = p.hdr, .src = src, .dst = dst, .n = 1, .in_h = hw, .in_w = hw, .c = c, .out_h = out,
				.out_w = out, .kh = (uint16_t)between(1, 20), .kw = (uint16_t)between(1, 5),
				.stride_h = (uint16_t)between(1, 3), .stride_w = (uint16_t)between(1, 3),
				.dil_h = (uint16_t)between(1, 2), .dil_w = 1, .pad_top = (int16_t)between(0, 3),
				.pad_left = (int16_t)between(0, 3), .pad_bottom = 1, .pad_right = 2,
				.op = between(0, MICA_POOL_MAX_OP),
			};
		} else {
			struct mica_resize_tap *taps = (struct mica_resize_tap *)seg[0];

			for (uint32_t k = 0; k < 2 * out; k++)
				taps[k] = (struct mica_resize_tap){ rnd() % hw, rnd() % hw, (float)between(0, 8) / 8, 0 };
			p.resize = (struct mica_pkt_resize){
				.hdr = p.hdr, .src = src, .dst = dst, .n = 1, .in_h = hw, .in_w = hw, .c = c, .out_h = out,
				.out_w = out, .taps_h = MICA_ADDR(0, 0), .taps_w = MICA_ADDR(0, 16 * out),
				.mode = between(0, 1),
			};
		}
		all_agree(&p);
	}
}

static void reductions_agree(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROUNDS(120); i++) {
		uint32_t h = between(1, 9), w = between(1, 9), c = between(1, 1500 < (DST - SRC) / (4 * h * w) ? 1500 : (DST - SRC) / (4 * h * w));
		union mica_pkt p = packet(chance(60) ? MICA_OP_REDUCE : chance(50) ? MICA_OP_SOFTMAX : MICA_OP_NORM);
		uint32_t dim[4] = { 1, h, w, c };
		struct mica_view src = random_view(SRC, any_type(), h, w, c);

		random_memory();
		if (p.hdr.opcode == MICA_OP_REDUCE) {
			p.reduce.src = src;
			memcpy(p.reduce.dim, dim, 16);
			p.reduce.axes = between(0, 15);
			p.reduce.op = between(0, MICA_RED_MAX_OP);
			p.reduce.dst = random_view(DST, any_type(), p.reduce.axes & 2 ? 1 : h, p.reduce.axes & 4 ? 1 : w,
						   p.reduce.axes & 8 ? 1 : c);
		} else {
			p.norm.src = src;
			p.norm.dst = random_view(DST, any_type(), h, w, c);
			memcpy(p.norm.dim, dim, 16);
			p.norm.gamma = p.norm.beta = MICA_ADDR_NONE;
			if (p.hdr.opcode == MICA_OP_NORM) {
				p.norm.eps = 1e-5f;
				p.norm.gamma = chance(50) ? MICA_ADDR(0, 128) : MICA_ADDR_NONE;
				p.norm.beta = chance(50) ? MICA_ADDR(0, 8192) : MICA_ADDR_NONE;
			}
		}
		all_agree(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(convolutions_agree_on_every_type_and_remainder),
		cmocka_unit_test(grouped_convolutions_agree),
		cmocka_unit_test(depthwise_convolutions_agree),
		cmocka_unit_test(shapes_beyond_the_blocked_kernels_agree),
		cmocka_unit_test(products_agree_on_every_type_and_layout),
		cmocka_unit_test(tiles_of_rows_give_the_whole),
		cmocka_unit_test(large_images_give_what_their_rows_give),
		cmocka_unit_test(splits_of_k_through_the_accumulators_give_the_whole),
		cmocka_unit_test(bf16_results_just_below_the_normal_range_become_zero),
		cmocka_unit_test(elementwise_packets_agree),
		cmocka_unit_test(windows_agree),
		cmocka_unit_test(reductions_agree),
	};

	return cmocka_run_group_tests(tests, set_up_group, tear_down_group);
}
