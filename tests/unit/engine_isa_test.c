// SPDX-License-Identifier: MIT
/* Names, sizes and text of packets. */
#include "engine_internal.h"
#include "engine_util.h"

static void types_have_their_sizes_and_names(void **state)
{
	(void)state;
	assert_int_equal(mica_dtype_size(MICA_NONE), 0);
	assert_int_equal(mica_dtype_size(MICA_F32), 4);
	assert_int_equal(mica_dtype_size(MICA_BF16), 2);
	assert_int_equal(mica_dtype_size(MICA_E5M2), 1);
	assert_int_equal(mica_dtype_size((enum mica_dtype)99), 0);
	assert_string_equal(mica_dtype_name(MICA_E4M3), "e4m3");
	assert_string_equal(mica_dtype_name((enum mica_dtype)99), "?");
	assert_string_equal(mica_op_name(MICA_OP_DWCONV), "dwconv");
	assert_string_equal(mica_op_name(0xee), "?");
	assert_string_equal(mica_act_name(MICA_ACT_GELU), "gelu");
	assert_string_equal(mica_act_name(1000), "?");
	assert_string_equal(mica_bin_name(MICA_BIN_PRELU), "prelu");
	assert_string_equal(mica_fn_name(MICA_FN_COS), "cos");
	assert_string_equal(mica_fn_name(29), "?");
	assert_string_equal(mica_isa_level_name(MICA_ISA_AVX512), "avx512");
	for (unsigned c = 0; c < MICA_CHECK_COUNT; c++)
		assert_string_not_equal(mica_check_name(c), "?");
	assert_string_equal(mica_check_name(MICA_CHECK_COUNT), "?");
}

static void copies_are_loads_only_into_this_cores_lmem(void **state)
{
	union mica_pkt p = packet(MICA_OP_COPY);

	(void)state;
	p.copy.src = MICA_ADDR(2, 0);
	p.copy.dst = MICA_ADDR(MICA_SEG_LMEM, 0);
	assert_int_equal(mica_pkt_engine(&p), MICA_ENGINE_LOAD);
	p.copy.dst = MICA_ADDR(MICA_SEG_PEER + 1, 0);
	assert_int_equal(mica_pkt_engine(&p), MICA_ENGINE_STORE);
	p.copy.dst = MICA_ADDR(1, 0);
	assert_int_equal(mica_pkt_engine(&p), MICA_ENGINE_STORE);
	p = packet(MICA_OP_CONV);
	assert_int_equal(mica_pkt_engine(&p), MICA_ENGINE_MATRIX);
	p = packet(MICA_OP_DWCONV);
	assert_int_equal(mica_pkt_engine(&p), MICA_ENGINE_VECTOR);
	p = packet(MICA_OP_BARRIER);
	assert_int_equal(mica_pkt_engine(&p), MICA_ENGINE_CP);
}

static void expect_text(const union mica_pkt *p, const char *want)
{
	char text[2048];
	int len = mica_disasm(text, sizeof(text), p);

	assert_string_equal(text, want);
	assert_int_equal(len, strlen(want));
}

static void packets_read_as_text(void **state)
{
	union mica_pkt p = packet(MICA_OP_BARRIER);

	(void)state;
	p.ctl.flags = MICA_BARRIER_CHECKPOINT;
	p.ctl.id = 7;
	expect_text(&p, "barrier flags=0x1 id=7");
	p = packet(MICA_OP_COPY);
	p.hdr.layer = 3;
	p.hdr.wait[MICA_ENGINE_MATRIX] = 12;
	p.copy.src = MICA_ADDR(2, 64);
	p.copy.dst = MICA_ADDR(MICA_SEG_LMEM, 0x1c00);
	p.copy.elem = 1;
	p.copy.dim[0] = p.copy.dim[1] = 1;
	p.copy.dim[2] = 4;
	p.copy.dim[3] = 16;
	p.copy.src_stride[2] = -16;
	expect_text(&p, "copy layer=3 wait.matrix=12 src=seg2+0x40 dst=lmem+0x1c00 elem=1 dim=1,1,4,16 "
			"src_stride=0,0,-16,0 dst_stride=0,0,0,0");
	p = packet(MICA_OP_UNARY);
	p.unary.src = dense_view(0x40, MICA_U8, 1, 2, 2, 8);
	p.unary.src.zero = -3;
	p.unary.src.scale = 0.25f;
	p.unary.dst = dense_view(0x80, MICA_E4M3, 1, 2, 2, 8);
	p.unary.dim[0] = 1;
	p.unary.dim[1] = p.unary.dim[2] = 2;
	p.unary.dim[3] = 8;
	p.unary.func = MICA_FN_SILU;
	p.unary.alpha = 0.5f;
	expect_text(&p, "unary layer=0 src={u8 @0x40 scale=0.25 zero=125 stride=32,16,8,1} "
			"dst={e4m3 @0x80 scale=1 stride=32,16,8,1} dim=1,2,2,8 func=silu alpha=0.5");
	p = packet(MICA_OP_UNARY);
	p.hdr.opcode = 0x7f;
	expect_text(&p, "unknown opcode=0x7f units=2");
}

static void every_opcode_has_text_that_names_its_fields(void **state)
{
	char text[4096];

	(void)state;
	for (unsigned code = 0; code < 256; code++) {
		const struct op_info *op = mica_op_info(code);
		union mica_pkt p;

		if (!op)
			continue;
		p = packet(code);
		memset(p.raw + 32, 0x11, sizeof(p) - 32);	/* nothing is zero, so nothing is left out */
		mica_disasm(text, sizeof(text), &p);
		assert_memory_equal(text, op->name, strlen(op->name));
		assert_null(strchr(text, '\n'));
		for (unsigned f = 0; f < op->nfields; f++) {
			char name[40];

			snprintf(name, sizeof(name), " %s=", op->field[f].name);
			if (op->field[f].cls != FC_ZERO)
				assert_non_null(strstr(text, name));
		}
	}
}

static void text_is_cut_to_the_buffer_and_its_length_reported(void **state)
{
	union mica_pkt p = packet(MICA_OP_CONV);
	char whole[4096], part[4096];
	int len = mica_disasm(whole, sizeof(whole), &p);

	(void)state;
	assert_int_equal(mica_disasm(NULL, 0, &p), len);
	for (int size = 1; size <= len + 1; size++) {
		memset(part, 'x', sizeof(part));
		assert_int_equal(mica_disasm(part, (size_t)size, &p), len);
		assert_int_equal(strlen(part), size - 1);
		assert_memory_equal(part, whole, size - 1);
		assert_int_equal(part[size], 'x');
	}
}

static void garbage_reads_as_text(void **state)
{
	char text[256];

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		union mica_pkt p;

		for (unsigned k = 0; k < sizeof(p); k++)
			p.raw[k] = (uint8_t)rnd();
		assert_true(mica_disasm(text, sizeof(text), &p) > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(types_have_their_sizes_and_names),
		cmocka_unit_test(copies_are_loads_only_into_this_cores_lmem),
		cmocka_unit_test(packets_read_as_text),
		cmocka_unit_test(every_opcode_has_text_that_names_its_fields),
		cmocka_unit_test(text_is_cut_to_the_buffer_and_its_length_reported),
		cmocka_unit_test(garbage_reads_as_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
