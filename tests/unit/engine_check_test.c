// SPDX-License-Identifier: MIT
/* The validator: what is legal passes, every reserved bit, every range's edge and every operand out of place does not. */
#include "engine_internal.h"
#include "engine_util.h"

#define LMEM	65536u
#define SEG	65536u

static struct mica_limits lim = {
	.lmem_size = LMEM, .cores = 2, .segments = 3, .seg_size = { SEG, SEG, SEG }, .seg_write = { false, true, false },
};

static enum mica_check check(const union mica_pkt *p)
{
	struct mica_check_state st = { { 0 } };
	const char *field;

	return mica_check_packet(p, sizeof(*p), &lim, &st, &field);
}

#define REFUSED(p, why) assert_string_equal(mica_check_name(check(p)), mica_check_name(why))
#define GOOD(p) REFUSED(p, MICA_OK)

/* One legal packet of every opcode. */
static union mica_pkt legal_conv(bool dw)
{
	union mica_pkt p = packet(dw ? MICA_OP_DWCONV : MICA_OP_CONV);
	struct mica_pkt_conv *c = &p.conv;

	c->src = dense_view(0, MICA_E4M3, 1, 8, 8, 16);
	c->dst = dense_view(0x2000, MICA_E4M3, 1, 8, 8, 16);
	c->weights = MICA_ADDR(0, 0);
	c->params = MICA_ADDR(0, 0x8000);
	c->n = 1;
	c->in_h = c->in_w = c->out_h = c->out_w = 8;
	c->in_c = c->out_c = 16;
	c->groups = dw ? 16 : 1;
	c->kh = c->kw = 3;
	c->stride_h = c->stride_w = c->dil_h = c->dil_w = 1;
	c->pad_top = c->pad_left = 1;
	c->wdtype = MICA_E5M2;
	return p;
}

static union mica_pkt legal_window(unsigned opcode)
{
	union mica_pkt p = packet(opcode);

	if (opcode == MICA_OP_POOL) {
		p.pool.src = dense_view(0, MICA_I8, 1, 8, 8, 16);
		p.pool.dst = dense_view(0x2000, MICA_I8, 1, 4, 4, 16);
		p.pool.n = 1;
		p.pool.in_h = p.pool.in_w = 8;
		p.pool.out_h = p.pool.out_w = 4;
		p.pool.c = 16;
		p.pool.kh = p.pool.kw = p.pool.stride_h = p.pool.stride_w = 2;
		p.pool.dil_h = p.pool.dil_w = 1;
	} else {
		p.resize.src = dense_view(0, MICA_I8, 1, 8, 8, 16);
		p.resize.dst = dense_view(0x2000, MICA_I8, 1, 4, 4, 16);
		p.resize.n = 1;
		p.resize.in_h = p.resize.in_w = 8;
		p.resize.out_h = p.resize.out_w = 4;
		p.resize.c = 16;
		p.resize.taps_h = MICA_ADDR(0, 0);
		p.resize.taps_w = MICA_ADDR(0, 64);
	}
	return p;
}

static union mica_pkt legal_elements(unsigned opcode)
{
	const uint32_t dim[4] = { 1, 4, 4, 16 };
	union mica_pkt p = packet(opcode);
	struct mica_view src = dense_view(0, MICA_U8, 1, 4, 4, 16), dst = dense_view(0x2000, MICA_BF16, 1, 4, 4, 16);

	switch (opcode) {
	case MICA_OP_FILL:
		p.fill.dst = dst;
		memcpy(p.fill.dim, dim, sizeof(dim));
		break;
	case MICA_OP_BINARY:
		p.binary.a = p.binary.b = src;
		p.binary.dst = dst;
		memcpy(p.binary.dim, dim, sizeof(dim));
		break;
	case MICA_OP_REDUCE:
		p.reduce.src = src;
		p.reduce.dst = dense_view(0x2000, MICA_F32, 1, 1, 1, 16);
		memcpy(p.reduce.dim, dim, sizeof(dim));
		p.reduce.axes = 6;
		break;
	case MICA_OP_SOFTMAX:
	case MICA_OP_NORM:
		p.norm.src = src;
		p.norm.dst = dst;
		memcpy(p.norm.dim, dim, sizeof(dim));
		p.norm.gamma = p.norm.beta = MICA_ADDR_NONE;
		break;
	default:	/* UNARY, LUT: one layout of src, dst, dim */
		p.unary.src = src;
		p.unary.dst = dst;
		memcpy(p.unary.dim, dim, sizeof(dim));
		break;
	}
	return p;
}

static union mica_pkt legal(unsigned opcode)
{
	union mica_pkt p = packet(opcode);

	switch (opcode) {
	case MICA_OP_END:
	case MICA_OP_BARRIER:
		return p;
	case MICA_OP_COPY:
		p.copy.src = MICA_ADDR(2, 0);
		p.copy.dst = MICA_ADDR(MICA_SEG_LMEM, 0);
		p.copy.elem = 2;
		p.copy.dim[0] = p.copy.dim[1] = 1;
		p.copy.dim[2] = p.copy.dim[3] = 8;
		p.copy.src_stride[2] = 64;
		p.copy.dst_stride[2] = 16;
		p.copy.src_stride[3] = p.copy.dst_stride[3] = 2;
		return p;
	case MICA_OP_MATMUL:
		p.matmul.a = (struct mica_view){ 0, MICA_I8, 3, 0, 1.0f, 0, { 256, 16, 1, 0 } };
		p.matmul.b = (struct mica_view){ 0x1000, MICA_I8, 0, 0, 1.0f, 0, { 0, 32, 1, 0 } };
		p.matmul.dst = (struct mica_view){ 0x2000, MICA_F32, 0, 0, 1.0f, 0, { 2048, 128, 4, 0 } };
		p.matmul.batch = 2;
		p.matmul.m = p.matmul.k = 16;
		p.matmul.n = 32;
		p.matmul.params = MICA_ADDR_NONE;
		return p;
	case MICA_OP_CONV:
	case MICA_OP_DWCONV:
		return legal_conv(opcode == MICA_OP_DWCONV);
	case MICA_OP_POOL:
	case MICA_OP_RESIZE:
		return legal_window(opcode);
	default:
		return legal_elements(opcode);
	}
}

static const uint8_t opcodes[] = {
#define OP(code, UP, low, packet, engine) code,
	MICA_OPS(OP)
#undef OP
};

static void legal_packets_of_every_opcode_pass(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(opcodes); i++) {
		union mica_pkt p = legal(opcodes[i]);

		if (check(&p))
			fail_msg("%s: %s", mica_op_name(opcodes[i]), mica_check_name(check(&p)));
	}
}

static void unknown_opcodes_are_refused(void **state)
{
	(void)state;
	for (unsigned code = 0; code < 256; code++) {
		union mica_pkt p = legal(MICA_OP_UNARY);

		p.hdr.opcode = (uint8_t)code;
		if (!mica_op_info(code))
			REFUSED(&p, MICA_CHECK_OPCODE);
	}
}

static void every_reserved_bit_is_refused(void **state)
{
	unsigned bits = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(opcodes); i++) {
		const struct op_info *op = mica_op_info(opcodes[i]);

		for (unsigned f = 0; f < op->nfields; f++) {
			const struct field_info *field = &op->field[f];
			bool view = field->cls == FC_VIEW;

			for (unsigned bit = 0; bit < field->size * 8u; bit++) {
				union mica_pkt p = legal(opcodes[i]);
				bool rsvd = view && ((bit >= 48 && bit < 64) || (bit >= 96 && bit < 128));

				if (field->cls != FC_ZERO && !rsvd)
					continue;
				p.raw[field->off + bit / 8] ^= (uint8_t)(1u << bit % 8);
				REFUSED(&p, MICA_CHECK_RESERVED);
				bits++;
			}
		}
		for (unsigned bit = 0; bit < 64; bit++) {	/* hdr.rsvd and hdr.rsvd1 */
			union mica_pkt p = legal(opcodes[i]);

			p.raw[(bit < 32 ? 4 : 28) + bit / 8 % 4] ^= (uint8_t)(1u << bit % 8);
			REFUSED(&p, MICA_CHECK_RESERVED);
		}
	}
	assert_true(bits > 1000);
}

static void set_int(union mica_pkt *p, const struct field_info *f, int64_t value)
{
	uint32_t v = (uint32_t)value;

	memcpy(p->raw + f->off, &v, f->size < 4 ? f->size : 4);
}

static void every_range_ends_where_isa_def_says(void **state)
{
	unsigned edges = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(opcodes); i++) {
		const struct op_info *op = mica_op_info(opcodes[i]);

		for (unsigned k = 0; k < op->nfields; k++) {
			const struct field_info *f = &op->field[k];
			unsigned width = (f->size < 4 ? f->size : 4) * 8;
			int64_t lowest = f->cls == FC_S ? -(1ll << (width - 1)) : 0;
			int64_t highest = f->cls == FC_S ? (1ll << (width - 1)) - 1 : (1ll << width) - 1;
			union mica_pkt p = legal(opcodes[i]);

			if (f->cls != FC_U && f->cls != FC_S && f->cls != FC_ENUM)
				continue;
			if (f->lo > lowest) {
				set_int(&p, f, f->lo - 1);
				REFUSED(&p, MICA_CHECK_RANGE);
				edges++;
			}
			if (f->hi < highest) {
				set_int(&p, f, f->hi + 1);
				REFUSED(&p, MICA_CHECK_RANGE);
				edges++;
			}
			p = legal(opcodes[i]);	/* the edges themselves may contradict other fields, but are in range */
			set_int(&p, f, f->hi);
			if (strcmp(f->name, "elem"))
				assert_int_not_equal(check(&p), MICA_CHECK_RANGE);
		}
	}
	assert_true(edges > 80);
}

static void floats_must_be_finite(void **state)
{
	static const uint32_t bad[] = { 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001 };

	(void)state;
	for (size_t i = 0; i < sizeof(opcodes); i++) {
		const struct op_info *op = mica_op_info(opcodes[i]);

		for (unsigned k = 0; k < op->nfields; k++)
			for (unsigned b = 0; b < 4; b++) {
				union mica_pkt p = legal(opcodes[i]);

				if (op->field[k].cls != FC_FLT && op->field[k].cls != FC_VIEW)
					continue;
				memcpy(p.raw + op->field[k].off + (op->field[k].cls == FC_VIEW ? 8 : 0), &bad[b], 4);
				REFUSED(&p, MICA_CHECK_RANGE);
			}
	}
}

static void truncated_packets_and_wrong_sizes_are_refused(void **state)
{
	struct mica_check_state st = { { 0 } };

	(void)state;
	for (size_t i = 0; i < sizeof(opcodes); i++) {
		union mica_pkt p = legal(opcodes[i]);
		size_t size = mica_op_info(opcodes[i])->size;
		uint8_t *exact;

		for (size_t avail = 0; avail < size; avail += 16) {
			exact = malloc(avail + !avail);		/* so that ASan sees a read behind the end */
			memcpy(exact, &p, avail);
			assert_int_equal(mica_check_packet((union mica_pkt *)exact, avail, &lim, &st, NULL), MICA_CHECK_TRUNCATED);
			free(exact);
		}
		exact = aligned_alloc(64, size);
		memcpy(exact, &p, size);
		assert_int_equal(mica_check_packet((union mica_pkt *)exact, size, &lim, &st, NULL), MICA_OK);
		free(exact);
		memset(&st, 0, sizeof(st));
		for (unsigned units = 0; units < 256; units++) {
			p.hdr.units = (uint8_t)units;
			if (units * 64 != size)
				REFUSED(&p, MICA_CHECK_TRUNCATED);
		}
	}
}

static void operands_must_lie_in_lmem_aligned(void **state)
{
	union mica_pkt p = legal(MICA_OP_UNARY);

	(void)state;
	p.unary.dst.addr = LMEM - 4 * 4 * 16 * 2;
	GOOD(&p);
	p.unary.dst.addr += 2;
	REFUSED(&p, MICA_CHECK_LMEM);
	p.unary.dst.addr = 0x2001;
	REFUSED(&p, MICA_CHECK_LMEM);
	p.unary.dst.addr = 0xfffffffe;
	REFUSED(&p, MICA_CHECK_LMEM);
	p = legal(MICA_OP_UNARY);
	p.unary.dst.stride[1] = 129;
	REFUSED(&p, MICA_CHECK_LMEM);
	p = legal(MICA_OP_UNARY);
	p.unary.src.stride[0] = p.unary.src.stride[1] = p.unary.src.stride[2] = p.unary.src.stride[3] = 0xffffffff;
	p.unary.dim[0] = p.unary.dim[1] = p.unary.dim[2] = p.unary.dim[3] = 0x7fffffff;
	REFUSED(&p, MICA_CHECK_LMEM);
}

static void destinations_must_not_overlap_themselves(void **state)
{
	union mica_pkt p = legal(MICA_OP_FILL);

	(void)state;
	p.fill.dst.stride[3] = 0;
	REFUSED(&p, MICA_CHECK_LMEM);
	p = legal(MICA_OP_FILL);
	p.fill.dst.stride[2] = 30;	/* rows of 16 two-byte elements */
	REFUSED(&p, MICA_CHECK_LMEM);
	p.fill.dst.stride[2] = 2;	/* the same elements, axes in another order */
	p.fill.dst.stride[3] = 8;
	p.fill.dst.stride[1] = 128;
	GOOD(&p);
	p.fill.dim[2] = 1;
	p.fill.dst.stride[2] = 0;	/* an axis of one does not count */
	GOOD(&p);
	p = legal(MICA_OP_COPY);
	p.copy.dst_stride[3] = -2;
	p.copy.dst = MICA_ADDR(MICA_SEG_LMEM, 14);
	GOOD(&p);
	p.copy.dst = MICA_ADDR(MICA_SEG_LMEM, 12);
	REFUSED(&p, MICA_CHECK_LMEM);
	p.copy.dst = MICA_ADDR(MICA_SEG_LMEM, 14);
	p.copy.dst_stride[3] = -1;
	REFUSED(&p, MICA_CHECK_LMEM);
}

static void in_place_is_for_the_same_elements_only(void **state)
{
	union mica_pkt p = legal(MICA_OP_UNARY);

	(void)state;
	p.unary.src = p.unary.dst;
	p.unary.dst.scale = 3.0f;
	GOOD(&p);
	p.unary.dst.addr += 2;
	REFUSED(&p, MICA_CHECK_LMEM);
	p = legal(MICA_OP_BINARY);
	p.binary.a = p.binary.dst;
	GOOD(&p);
	p.binary.b = p.binary.dst;
	p.binary.b.stride[1] = 0;
	REFUSED(&p, MICA_CHECK_LMEM);
	p = legal(MICA_OP_CONV);
	p.conv.res = p.conv.dst;
	GOOD(&p);
	p.conv.src.addr = p.conv.dst.addr;
	REFUSED(&p, MICA_CHECK_LMEM);
	p = legal(MICA_OP_SOFTMAX);
	p.norm.src = p.norm.dst;
	REFUSED(&p, MICA_CHECK_LMEM);
}

static void types_that_do_not_go_together_are_refused(void **state)
{
	(void)state;
	for (unsigned a = MICA_F32; a <= MICA_I32; a++)
		for (unsigned w = MICA_F32; w <= MICA_I8; w++) {
			union mica_pkt p = legal(MICA_OP_CONV);
			bool fp = dtype_is_mac_float(a) && dtype_is_mac_float(w);

			p.conv.src = dense_view(0, a, 1, 8, 8, 16);
			p.conv.dst.addr = 0x4000;
			p.conv.wdtype = (uint8_t)w;
			if (fp || (a == w && (a == MICA_I8 || a == MICA_F32)))
				GOOD(&p);
			else
				REFUSED(&p, MICA_CHECK_DTYPE);
		}
	for (unsigned a = MICA_F32; a <= MICA_I32; a++) {
		union mica_pkt p = legal(MICA_OP_LUT);

		p.lut.src = dense_view(0, a, 1, 4, 4, 16);
		if (mica_dtype_size(a) == 1)
			GOOD(&p);
		else
			REFUSED(&p, MICA_CHECK_DTYPE);
	}
}

static void zero_points_are_for_eight_bit_integers(void **state)
{
	(void)state;
	for (unsigned t = MICA_F32; t <= MICA_I32; t++) {
		union mica_pkt p = legal(MICA_OP_UNARY);

		p.unary.src = dense_view(0, t, 1, 4, 4, 16);
		p.unary.src.zero = -5;
		if (t == MICA_I8 || t == MICA_U8)
			GOOD(&p);
		else
			REFUSED(&p, MICA_CHECK_RANGE);
	}
}

static void segments_are_bounded_aligned_and_protected(void **state)
{
	union mica_pkt p = legal(MICA_OP_CONV);
	size_t weights = mica_pack_size(MICA_E5M2, 1, 16, 3, 3, 16), params = mica_params_size(1, 16);

	(void)state;
	p.conv.weights = MICA_ADDR(0, SEG - weights);
	GOOD(&p);
	p.conv.weights = MICA_ADDR(0, SEG - weights + 64);
	REFUSED(&p, MICA_CHECK_SEGMENT);
	p.conv.weights = MICA_ADDR(0, 32);
	REFUSED(&p, MICA_CHECK_SEGMENT);
	p.conv.weights = MICA_ADDR(3, 0);
	REFUSED(&p, MICA_CHECK_SEGMENT);
	p.conv.weights = MICA_ADDR(MICA_SEG_LMEM, 0);
	REFUSED(&p, MICA_CHECK_SEGMENT);
	p.conv.weights = 1ull << 48;
	REFUSED(&p, MICA_CHECK_SEGMENT);
	p = legal(MICA_OP_CONV);
	p.conv.params = MICA_ADDR(0, SEG - params + 64);
	REFUSED(&p, MICA_CHECK_SEGMENT);

	p = legal(MICA_OP_COPY);
	p.copy.dst = MICA_ADDR(1, 0);
	GOOD(&p);
	p.copy.dst = MICA_ADDR(0, 0);	/* read-only */
	REFUSED(&p, MICA_CHECK_SEGMENT);
	p.copy.dst = MICA_ADDR(1, SEG - 128);
	GOOD(&p);
	p.copy.dst = MICA_ADDR(1, SEG - 126);
	REFUSED(&p, MICA_CHECK_SEGMENT);
	p.copy.dst = MICA_ADDR(MICA_SEG_PEER + 1, 0);
	GOOD(&p);
	p.copy.dst = MICA_ADDR(MICA_SEG_PEER + 2, 0);	/* the job has two cores */
	REFUSED(&p, MICA_CHECK_SEGMENT);
	p.copy.dst = MICA_ADDR_NONE;
	REFUSED(&p, MICA_CHECK_SEGMENT);
	p = legal(MICA_OP_COPY);
	p.copy.src = MICA_ADDR(1, 0);
	p.copy.dst = MICA_ADDR(1, 8);
	REFUSED(&p, MICA_CHECK_SEGMENT);
}

static void waits_count_only_what_has_been_issued(void **state)
{
	struct mica_check_state st = { { 0 } };
	union mica_pkt copy = legal(MICA_OP_COPY), conv = legal(MICA_OP_CONV), barrier = legal(MICA_OP_BARRIER);

	(void)state;
	conv.hdr.wait[MICA_ENGINE_LOAD] = 1;
	assert_int_equal(mica_check_packet(&conv, 256, &lim, &st, NULL), MICA_CHECK_WAIT);
	assert_int_equal(mica_check_packet(&copy, 256, &lim, &st, NULL), MICA_OK);
	assert_int_equal(st.issued[MICA_ENGINE_LOAD], 1);
	assert_int_equal(mica_check_packet(&conv, 256, &lim, &st, NULL), MICA_OK);
	conv.hdr.wait[MICA_ENGINE_CIM] = 1;
	assert_int_equal(mica_check_packet(&conv, 256, &lim, &st, NULL), MICA_CHECK_WAIT);
	conv.hdr.wait[MICA_ENGINE_CIM] = 0;
	conv.hdr.wait[MICA_ENGINE_MATRIX] = 2;		/* itself */
	assert_int_equal(mica_check_packet(&conv, 256, &lim, &st, NULL), MICA_CHECK_WAIT);
	conv.hdr.wait[MICA_ENGINE_MATRIX] = 0;
	assert_int_equal(mica_check_packet(&barrier, 256, &lim, &st, NULL), MICA_OK);
	assert_int_equal(mica_check_packet(&conv, 256, &lim, &st, NULL), MICA_CHECK_WAIT);
}

static void shapes_must_agree_and_work_is_bounded(void **state)
{
	union mica_pkt p = legal(MICA_OP_CONV);

	(void)state;
	p.conv.groups = 3;
	REFUSED(&p, MICA_CHECK_SHAPE);
	p = legal(MICA_OP_DWCONV);
	p.conv.groups = 8;
	REFUSED(&p, MICA_CHECK_SHAPE);
	p = legal(MICA_OP_CONV);
	p.conv.kh = p.conv.kw = 1024;
	p.conv.in_c = 32;
	REFUSED(&p, MICA_CHECK_WORK);
	p = legal(MICA_OP_BINARY);
	p.binary.op = MICA_BIN_WHERE;
	REFUSED(&p, MICA_CHECK_SHAPE);
	p.binary.c = p.binary.a;
	GOOD(&p);
	p.binary.op = MICA_BIN_ADD;
	REFUSED(&p, MICA_CHECK_SHAPE);
	p = legal(MICA_OP_MATMUL);
	p.matmul.a.stride[3] = 1;
	REFUSED(&p, MICA_CHECK_SHAPE);
	p = legal(MICA_OP_REDUCE);
	p.reduce.src.stride[0] = p.reduce.src.stride[1] = p.reduce.src.stride[2] = 0;
	p.reduce.axes = 7;
	p.reduce.dim[0] = p.reduce.dim[1] = 1u << 20;
	REFUSED(&p, MICA_CHECK_WORK);
	p = legal(MICA_OP_COPY);
	p.copy.elem = 3;
	REFUSED(&p, MICA_CHECK_RANGE);
	p = legal(MICA_OP_CONV);
	p.conv.acc = 0x4000;
	REFUSED(&p, MICA_CHECK_RESERVED);
	p.conv.acc_mode = MICA_ACC_OUT;
	GOOD(&p);
	p.conv.acc = 0x2000;
	REFUSED(&p, MICA_CHECK_LMEM);
	p.conv.acc = 0x4002;
	REFUSED(&p, MICA_CHECK_LMEM);
	p.conv.acc = LMEM - 64 * 64 + 4;
	REFUSED(&p, MICA_CHECK_LMEM);
}

/* Garbage, and legal packets with a few bits changed: any verdict, but no crash; what passes is then executed. */
static void fuzzed_packets_never_crash(void **state)
{
	const char *env = getenv("MICA_FUZZ");
	unsigned rounds = env ? (unsigned)strtoul(env, NULL, 0) : 1000000, passed = 0;
	struct mica_mem mem = { .lmem_size = LMEM };
	struct mica_engine *e = mica_engine_create(MICA_ISA_AUTO, 1);
	uint8_t *seg[3];

	(void)state;
	mem.lmem[0] = aligned_alloc(64, LMEM);
	mem.lmem[1] = aligned_alloc(64, LMEM);
	memset(mem.lmem[0], 0x31, LMEM);
	memset(mem.lmem[1], 0x31, LMEM);
	for (int i = 0; i < 3; i++) {
		mem.seg[i] = seg[i] = aligned_alloc(64, SEG);
		memset(seg[i], 0x31, SEG);
	}
	for (unsigned i = 0; i < rounds; i++) {
		union mica_pkt p = legal(opcodes[rnd() % sizeof(opcodes)]);
		const struct op_info *op = mica_op_info(p.hdr.opcode);
		struct mica_mem m = mem;
		unsigned flips = between(1, 4);

		if (chance(10))
			for (unsigned k = 8; k < sizeof(p); k++)
				p.raw[k] = (uint8_t)rnd();
		for (unsigned k = 0; k < flips; k++) {
			const struct field_info *f = &op->field[rnd() % op->nfields];

			if (f->cls != FC_ZERO)	/* reserved fields are refused at once: not worth the time */
				p.raw[f->off + rnd() % f->size] ^= (uint8_t)(chance(50) ? 1u << rnd() % 8 : rnd());
		}
		if (check(&p))
			continue;
		passed++;
		if (op->engine != MICA_ENGINE_CP && op->engine && passed % 8 == 0)
			mica_exec(e, &p, &m);
	}
	assert_true(passed > rounds / 100);
	mica_engine_destroy(e);
	for (int i = 0; i < 3; i++)
		free(seg[i]);
	free(mem.lmem[0]);
	free(mem.lmem[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(legal_packets_of_every_opcode_pass),
		cmocka_unit_test(unknown_opcodes_are_refused),
		cmocka_unit_test(every_reserved_bit_is_refused),
		cmocka_unit_test(every_range_ends_where_isa_def_says),
		cmocka_unit_test(floats_must_be_finite),
		cmocka_unit_test(truncated_packets_and_wrong_sizes_are_refused),
		cmocka_unit_test(operands_must_lie_in_lmem_aligned),
		cmocka_unit_test(destinations_must_not_overlap_themselves),
		cmocka_unit_test(in_place_is_for_the_same_elements_only),
		cmocka_unit_test(types_that_do_not_go_together_are_refused),
		cmocka_unit_test(zero_points_are_for_eight_bit_integers),
		cmocka_unit_test(segments_are_bounded_aligned_and_protected),
		cmocka_unit_test(waits_count_only_what_has_been_issued),
		cmocka_unit_test(shapes_must_agree_and_work_is_bounded),
		cmocka_unit_test(fuzzed_packets_never_crash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
