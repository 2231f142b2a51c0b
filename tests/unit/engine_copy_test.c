// SPDX-License-Identifier: MIT
/* COPY: any strides, directions and memories against one loop; memory behind callbacks is touched in whole runs only. */
#include "engine_internal.h"
#include "engine_util.h"

#define LMEM	65536u
#define SEG	65536u

struct far_memory {		/* a segment behind callbacks */
	uint8_t *bytes;
	unsigned reads, writes;
	size_t largest;
	int fault;
};

static int far_read(void *opaque, uint64_t addr, void *dst, size_t len)
{
	struct far_memory *m = opaque;

	assert_true(MICA_ADDR_OFF(addr) + len <= SEG);
	memcpy(dst, m->bytes + MICA_ADDR_OFF(addr), len);
	m->reads++;
	m->largest = len > m->largest ? len : m->largest;
	return m->fault;
}

static int far_write(void *opaque, uint64_t addr, const void *src, size_t len)
{
	struct far_memory *m = opaque;

	assert_true(MICA_ADDR_OFF(addr) + len <= SEG);
	memcpy(m->bytes + MICA_ADDR_OFF(addr), src, len);
	m->writes++;
	m->largest = len > m->largest ? len : m->largest;
	return m->fault;
}

static const void *far_view(void *opaque, unsigned slot, uint64_t addr, size_t len, int *fault)
{
	struct far_memory *m = opaque;

	assert_true(slot < 4 && MICA_ADDR_OFF(addr) + len <= SEG);
	*fault = m->fault;
	return m->fault ? NULL : m->bytes + MICA_ADDR_OFF(addr);
}

struct worlds {
	uint8_t *lmem[2], *seg[2];
	struct far_memory far;
	struct mica_engine *engine;
};

static struct worlds w;

static int set_up(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	for (int i = 0; i < 2; i++) {
		w.lmem[i] = aligned_alloc(64, LMEM);
		w.seg[i] = aligned_alloc(64, SEG);
		for (unsigned k = 0; k < LMEM; k++) {
			w.lmem[i][k] = (uint8_t)(k * 7 + k / 251 + (unsigned)i * 91);
			w.seg[i][k] = (uint8_t)(k * 13 + k / 253 + (unsigned)i * 57);
		}
	}
	w.far.bytes = aligned_alloc(64, SEG);
	memcpy(w.far.bytes, w.seg[1], SEG);
	w.engine = mica_engine_create(MICA_ISA_AUTO, 1);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		free(w.lmem[i]);
		free(w.seg[i]);
	}
	free(w.far.bytes);
	mica_engine_destroy(w.engine);
	return 0;
}

/* Segment 0 is plain, segment 1 is behind callbacks. */
static int run(const union mica_pkt *p)
{
	struct mica_mem mem = {
		.lmem = { w.lmem[0], w.lmem[1] }, .lmem_size = LMEM, .seg = { w.seg[0] }, .opaque = &w.far,
		.read = far_read, .write = far_write, .view = far_view,
	};

	return mica_exec(w.engine, p, &mem);
}

static uint8_t *memory_of(uint64_t addr, uint8_t *lmem[2], uint8_t *seg[2])
{
	uint32_t s = MICA_ADDR_SEG(addr);

	return (s == MICA_SEG_LMEM ? lmem[0] : s >= MICA_SEG_PEER ? lmem[s - MICA_SEG_PEER] : seg[s]) + MICA_ADDR_OFF(addr);
}

static void plain_loop(const struct mica_pkt_copy *p, uint8_t *lmem[2], uint8_t *seg[2])
{
	uint8_t *dst = memory_of(p->dst, lmem, seg), *src = memory_of(p->src, lmem, seg);

	for (int64_t i = 0; i < p->dim[0]; i++)
		for (int64_t j = 0; j < p->dim[1]; j++)
			for (int64_t k = 0; k < p->dim[2]; k++)
				for (int64_t l = 0; l < p->dim[3]; l++)
					memcpy(dst + i * p->dst_stride[0] + j * p->dst_stride[1] + k * p->dst_stride[2] +
					       l * p->dst_stride[3],
					       src + i * p->src_stride[0] + j * p->src_stride[1] + k * p->src_stride[2] +
					       l * p->src_stride[3], p->elem);
}

/* Strides of one side: axes in a random order, some gaps, some reversed; returns the first element's offset, or -1. */
static int64_t random_side(const uint32_t dim[4], uint32_t elem, int32_t stride[4], bool src)
{
	int order[4] = { 0, 1, 2, 3 };
	int64_t at = 0, extent = elem;

	for (int i = 3; i > 0; i--) {
		int j = (int)(rnd() % (unsigned)(i + 1)), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (int i = 0; i < 4; i++) {
		int64_t step = extent + (chance(30) ? elem * between(0, 9) : 0);

		if (src && chance(8))
			step = 0;
		stride[order[i]] = (int32_t)step;
		extent += step * (dim[order[i]] - 1);
		if (chance(20)) {
			stride[order[i]] = (int32_t)-step;
			at += step * (dim[order[i]] - 1);
		}
	}
	if (extent > LMEM)
		return -1;
	return at + (int64_t)(between(0, (uint32_t)(LMEM - extent)) / elem * elem);
}

static bool random_copy(union mica_pkt *p)
{
	static const uint32_t elems[] = { 1, 2, 4, 8 };
	static const uint32_t places[] = { MICA_SEG_LMEM, MICA_SEG_PEER + 1, 0, 1, 1 };
	struct mica_limits lim = { .lmem_size = LMEM, .cores = 2, .segments = 2, .seg_size = { SEG, SEG },
				   .seg_write = { true, true } };
	struct mica_check_state st = { { 0 } };
	int64_t dst, src;

	*p = packet(MICA_OP_COPY);
	p->copy.elem = elems[rnd() % 4];
	for (int i = 0; i < 4; i++)
		p->copy.dim[i] = chance(30) ? 1 : between(1, chance(20) ? 200 : 12);
	dst = random_side(p->copy.dim, p->copy.elem, p->copy.dst_stride, false);
	src = random_side(p->copy.dim, p->copy.elem, p->copy.src_stride, true);
	p->copy.dst = MICA_ADDR(places[rnd() % 5], dst);
	p->copy.src = MICA_ADDR(places[rnd() % 5], src);
	return dst >= 0 && src >= 0 && mica_check_packet(p, sizeof(*p), &lim, &st, NULL) == MICA_OK;
}

static void random_copies_equal_one_loop(void **state)
{
	uint8_t *lmem[2], *seg[2];
	unsigned done = 0;

	(void)state;
	for (int i = 0; i < 2; i++) {
		lmem[i] = malloc(LMEM);
		seg[i] = malloc(SEG);
	}
	while (done < 3000) {
		union mica_pkt p;
		char text[1024];

		if (!random_copy(&p))
			continue;
		for (int i = 0; i < 2; i++) {
			memcpy(lmem[i], w.lmem[i], LMEM);
			memcpy(seg[i], i ? w.far.bytes : w.seg[0], SEG);
		}
		plain_loop(&p.copy, lmem, seg);
		assert_int_equal(run(&p), 0);
		mica_disasm(text, sizeof(text), &p);
		for (int i = 0; i < 2; i++)
			if (memcmp(lmem[i], w.lmem[i], LMEM) || memcmp(seg[i], i ? w.far.bytes : w.seg[0], SEG))
				fail_msg("%s", text);
		done++;
	}
	for (int i = 0; i < 2; i++) {
		free(lmem[i]);
		free(seg[i]);
	}
}

/* Images between planes and pixels, by several threads, in a buffer whose other bytes must stay. */
static union mica_pkt layout_copy(uint32_t elem, int pixels, int channels, int gap, bool to_pixels)
{
	union mica_pkt p = packet(MICA_OP_COPY);
	int32_t plane[4] = { 0, 0, (int32_t)elem, (pixels + gap) * (int32_t)elem };
	int32_t pixel[4] = { 0, 0, (channels + gap) * (int32_t)elem, (int32_t)elem };

	p.copy.dst = p.copy.src = MICA_ADDR(0, elem * 3);
	p.copy.src += MICA_ADDR(1, 0);
	p.copy.elem = elem;
	p.copy.dim[0] = p.copy.dim[1] = 1;
	p.copy.dim[2] = (uint32_t)pixels;
	p.copy.dim[3] = (uint32_t)channels;
	memcpy(p.copy.dst_stride, to_pixels ? pixel : plane, sizeof(plane));
	memcpy(p.copy.src_stride, to_pixels ? plane : pixel, sizeof(plane));
	return p;
}

static void threads_change_layouts_like_one_loop(void **state)
{
	enum { SIZE = 3 << 20 };
	static const int shapes[][3] = { { 30000, 3, 0 }, { 30001, 3, 1 }, { 50000, 2, 0 }, { 40003, 4, 0 }, { 1999, 44, 0 },
					 { 2704, 80, 44 }, { 70, 1700, 5 }, { 333, 333, 0 }, { 3, 40000, 0 }, { 4099, 16, 16 } };
	struct mica_engine *e = mica_engine_create(MICA_ISA_AUTO, 3);
	uint8_t *seg[3], *none[2] = { NULL };

	(void)state;
	for (int i = 0; i < 3; i++)
		seg[i] = calloc(1, SIZE);
	for (unsigned k = 0; k < SIZE; k++)
		seg[1][k] = (uint8_t)rnd();
	for (unsigned i = 0; i < 8 * ARRAY_SIZE(shapes); i++) {
		const int *s = shapes[i / 8];
		union mica_pkt p = layout_copy(1u << i % 4, s[0], s[1], s[2], i & 4);
		struct mica_mem mem = { .seg = { seg[0], seg[1] } };

		memset(seg[0], 0x5a, SIZE);
		memset(seg[2], 0x5a, SIZE);
		plain_loop(&p.copy, none, (uint8_t *[]){ seg[2], seg[1] });
		assert_int_equal(mica_exec(e, &p, &mem), 0);
		assert_memory_equal(seg[0], seg[2], SIZE);
	}
	for (int i = 0; i < 3; i++)
		free(seg[i]);
	mica_engine_destroy(e);
}

static union mica_pkt image_copy(uint64_t dst, uint64_t src)
{
	union mica_pkt p = packet(MICA_OP_COPY);

	p.copy.dst = dst;
	p.copy.src = src;
	p.copy.elem = 1;
	p.copy.dim[0] = 1;
	p.copy.dim[1] = 16;
	p.copy.dim[2] = 8;
	p.copy.dim[3] = 32;
	for (int i = 0; i < 4; i++)
		p.copy.src_stride[i] = p.copy.dst_stride[i] = (int32_t[]){ 0, 256, 32, 1 }[i];
	return p;
}

static void dense_blocks_cross_the_bus_as_one_run(void **state)
{
	union mica_pkt p = image_copy(MICA_ADDR(MICA_SEG_LMEM, 0), MICA_ADDR(1, 4096));

	(void)state;
	p.copy.dst_stride[1] = 512;	/* rows apart in LMEM, together in DRAM */
	assert_int_equal(run(&p), 0);
	assert_int_equal(w.far.reads, 1);
	assert_int_equal(w.far.largest, 4096);
	p = image_copy(MICA_ADDR(1, 0), MICA_ADDR(MICA_SEG_LMEM, 0));
	p.copy.src_stride[3] = 128;	/* transposed in LMEM */
	p.copy.src_stride[2] = 1;
	p.copy.src_stride[1] = 8;
	assert_int_equal(run(&p), 0);
	assert_int_equal(w.far.writes, 1);
}

static void rows_with_gaps_cross_the_bus_row_by_row(void **state)
{
	union mica_pkt p = image_copy(MICA_ADDR(1, 0), MICA_ADDR(MICA_SEG_LMEM, 0));

	(void)state;
	p.copy.dst_stride[1] = 512;
	assert_int_equal(run(&p), 0);
	assert_int_equal(w.far.writes, 16);
	assert_int_equal(w.far.largest, 256);
}

static void a_fault_of_the_bus_ends_the_packet(void **state)
{
	union mica_pkt p = image_copy(MICA_ADDR(1, 0), MICA_ADDR(MICA_SEG_LMEM, 0));

	(void)state;
	w.far.fault = MICA_FAULT_MMU_WRITE;
	p.copy.dst_stride[1] = 512;
	assert_int_equal(run(&p), MICA_FAULT_MMU_WRITE);
	assert_int_equal(w.far.writes, 1);
	p = packet(MICA_OP_LUT);
	p.lut.src = dense_view(0, MICA_I8, 1, 1, 1, 64);
	p.lut.dst = dense_view(64, MICA_I8, 1, 1, 1, 64);
	p.lut.table = MICA_ADDR(1, 0);
	for (int i = 0; i < 4; i++)
		p.lut.dim[i] = i == 3 ? 64 : 1;
	w.far.fault = MICA_FAULT_MMU;
	assert_int_equal(run(&p), MICA_FAULT_MMU);
	w.far.fault = 0;
	assert_int_equal(run(&p), 0);
	for (int i = 0; i < 64; i++)
		assert_int_equal(w.lmem[0][64 + i], w.far.bytes[w.lmem[0][i]]);
}

static void fills_write_the_low_bytes_of_the_pattern(void **state)
{
	union mica_pkt p = packet(MICA_OP_FILL);

	(void)state;
	p.fill.dst = dense_view(128, MICA_BF16, 1, 1, 2, 3);
	p.fill.dst.stride[2] = 10;
	p.fill.dim[0] = p.fill.dim[1] = 1;
	p.fill.dim[2] = 2;
	p.fill.dim[3] = 3;
	p.fill.pattern = 0xdeadbeef;
	memset(w.lmem[0] + 120, 0, 40);
	assert_int_equal(run(&p), 0);
	for (int i = 0; i < 40; i++) {
		int at = i - 8, in_row = at % 10;
		bool inside = at >= 0 && at < 20 && in_row < 6;

		assert_int_equal(w.lmem[0][120 + i], !inside ? 0 : in_row % 2 ? 0xbe : 0xef);
	}
}

#define COPY_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		COPY_TEST(random_copies_equal_one_loop),
		COPY_TEST(threads_change_layouts_like_one_loop),
		COPY_TEST(dense_blocks_cross_the_bus_as_one_run),
		COPY_TEST(rows_with_gaps_cross_the_bus_row_by_row),
		COPY_TEST(a_fault_of_the_bus_ends_the_packet),
		COPY_TEST(fills_write_the_low_bytes_of_the_pattern),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
