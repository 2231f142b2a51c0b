/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The microcontroller's interpreter: instruction classes against written-down expectations. */
#include "rv32_util.h"

static void register_and_immediate_arithmetic(void **state)
{
	static const struct { uint32_t f7, f3, a, b, expected; bool has_imm; } cases[] = {
		{ 0x00, 0, 0x7fffffff, 1, 0x80000000, true },			/* add */
		{ 0x00, 0, 5, 0xfffffff6, 0xfffffffb, true },
		{ 0x20, 0, 3, 5, 0xfffffffe, false },				/* sub */
		{ 0x00, 1, 0x80000001, 31, 0x80000000, true },			/* sll */
		{ 0x00, 1, 1, 32, 1, false },					/* only five bits count */
		{ 0x00, 2, 0xffffffff, 0, 1, true },				/* slt */
		{ 0x00, 2, 0x7fffffff, 0x80000000, 0, false },
		{ 0x00, 3, 0xffffffff, 0, 0, true },				/* sltu */
		{ 0x00, 3, 1, 0xffffffff, 1, true },				/* the immediate is sign-extended first */
		{ 0x00, 4, 0xff00ff00, 0xffffffff, 0x00ff00ff, true },		/* xor */
		{ 0x00, 5, 0x80000000, 31, 1, true },				/* srl */
		{ 0x20, 5, 0x80000000, 31, 0xffffffff, true },			/* sra */
		{ 0x20, 5, 0x40000000, 30, 1, true },
		{ 0x00, 6, 0x0f0f0000, 0x7ff, 0x0f0f07ff, true },		/* or */
		{ 0x00, 7, 0x12345678, 0xfffff800, 0x12345000, true },		/* and */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		power_on(NULL);
		PROGRAM(r_type(cases[i].f7, 6, 5, cases[i].f3, 7, 0x33),
			i_type((int32_t)((cases[i].b & 0xfff) | cases[i].f7 << 5), 5, cases[i].f3, 8, 0x13));
		cpu.x[5] = cases[i].a;
		cpu.x[6] = cases[i].b;
		run_steps(cases[i].has_imm ? 2 : 1);
		assert_int_equal(cpu.x[7], cases[i].expected);
		if (cases[i].has_imm)
			assert_int_equal(cpu.x[8], cases[i].expected);
	}
}

static void multiply_and_divide(void **state)
{
	static const struct { uint32_t f3, a, b, expected; } cases[] = {
		{ 0, 0x12345678, 0x9abcdef0, 0x242d2080 },	/* mul */
		{ 1, 0x80000000, 0x80000000, 0x40000000 },	/* mulh */
		{ 1, 0xffffffff, 2, 0xffffffff },
		{ 2, 0xffffffff, 0xffffffff, 0xffffffff },	/* mulhsu: -1 * (2^32 - 1) */
		{ 2, 0x80000000, 0xffffffff, 0x80000000 },
		{ 2, 0x7fffffff, 0xffffffff, 0x7ffffffe },
		{ 3, 0xffffffff, 0xffffffff, 0xfffffffe },	/* mulhu */
		{ 4, 0xfffffff9, 2, 0xfffffffd },		/* div: -7 / 2 rounds towards zero */
		{ 4, 7, 0, 0xffffffff },
		{ 4, 0x80000000, 0xffffffff, 0x80000000 },
		{ 5, 0x80000000, 0xffffffff, 0 },		/* divu */
		{ 5, 7, 0, 0xffffffff },
		{ 6, 0xfffffff9, 2, 0xffffffff },		/* rem: -7 % 2 */
		{ 6, 0x80000000, 0xffffffff, 0 },
		{ 6, 7, 0, 7 },
		{ 7, 0xfffffff9, 16, 9 },			/* remu */
		{ 7, 0xfffffff9, 0, 0xfffffff9 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		power_on(NULL);
		PROGRAM(r_type(1, 6, 5, cases[i].f3, 7, 0x33));
		cpu.x[5] = cases[i].a;
		cpu.x[6] = cases[i].b;
		run_steps(1);
		assert_int_equal(cpu.x[7], cases[i].expected);
	}
}

static void upper_immediates_and_jumps(void **state)
{
	(void)state;
	PROGRAM(LUI(1, 0x80001), AUIPC(2, 0xfffff), jal(3, 0x7f8));
	run_steps(3);
	assert_int_equal(cpu.x[1], 0x80001000);
	assert_int_equal(cpu.x[2], 0xfffff004);
	assert_int_equal(cpu.x[3], 12);
	assert_int_equal(cpu.pc, 0x800);
	put_word(0x800, jal(0, -0x7f0));
	run_steps(1);
	assert_int_equal(cpu.pc, 0x10);
	assert_int_equal(cpu.x[0], 0);
	put_word(0x10, JALR(5, 5, -3));		/* link and base are one register; bit 0 is dropped */
	cpu.x[5] = 0x1004;
	run_steps(1);
	assert_int_equal(cpu.pc, 0x1000);
	assert_int_equal(cpu.x[5], 0x14);
}

static void branches(void **state)
{
	static const struct { uint32_t f3, a, b; bool taken; } cases[] = {
		{ 0, 5, 5, true },  { 0, 5, 6, false }, { 1, 5, 6, true },  { 1, 5, 5, false },
		{ 4, 0xffffffff, 0, true }, { 4, 0, 0xffffffff, false }, { 4, 3, 3, false },
		{ 5, 0, 0xffffffff, true }, { 5, 3, 3, true }, { 5, 0x80000000, 0, false },
		{ 6, 0, 0xffffffff, true }, { 6, 0xffffffff, 0, false }, { 7, 0xffffffff, 0, true }, { 7, 3, 3, true },
	};
	static const int32_t offsets[] = { 4094, 8, -4096, -2 };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t k = 0; k < 4; k++) {
			power_on(NULL);
			put_word(0x1000, b_type(offsets[k], 6, 5, cases[i].f3));
			rv32_reset(&cpu, 0x1000);
			cpu.x[5] = cases[i].a;
			cpu.x[6] = cases[i].b;
			run_steps(1);
			assert_int_equal(cpu.pc, cases[i].taken ? 0x1000 + (uint32_t)offsets[k] : 0x1004);
		}
	}
}

static void loads_and_stores(void **state)
{
	(void)state;
	PROGRAM(i_type(-4, 5, 0, 10, 0x03), i_type(-4, 5, 4, 11, 0x03), i_type(-4, 5, 1, 12, 0x03),
		i_type(-4, 5, 5, 13, 0x03), LW(14, 5, -4), s_type(0, 14, 5, 0), s_type(6, 14, 5, 1), SW(14, 5, 2044));
	cpu.x[5] = 0x1004;
	put_word(0x1000, 0x8586f7f8);
	run_steps(8);
	assert_int_equal(cpu.x[10], 0xfffffff8);
	assert_int_equal(cpu.x[11], 0xf8);
	assert_int_equal(cpu.x[12], 0xfffff7f8);
	assert_int_equal(cpu.x[13], 0xf7f8);
	assert_int_equal(cpu.x[14], 0x8586f7f8);
	assert_int_equal(ld32(sram + 0x1004), 0xf8);
	assert_int_equal(ld32(sram + 0x1008), 0xf7f80000);
	assert_int_equal(ld32(sram + 0x1800), 0x8586f7f8);
}

static void bus_accesses_carry_size_and_extend(void **state)
{
	(void)state;
	PROGRAM(LW(10, 5, 4), i_type(6, 5, 0, 11, 0x03), i_type(6, 5, 5, 12, 0x03), s_type(8, 10, 5, 0),
		s_type(14, 10, 5, 1), SW(10, 5, 16));
	cpu.x[5] = IO_BASE;
	io[1] = 0xf1f2f3f4;
	run_steps(6);
	assert_int_equal(cpu.x[10], 0xf1f2f3f4);
	assert_int_equal(cpu.x[11], 0xfffffff2);
	assert_int_equal(cpu.x[12], 0xf1f2);
	assert_int_equal(io[2], 0xf4);
	assert_int_equal(io[3], 0xf3f40000);
	assert_int_equal(io[4], 0xf1f2f3f4);
}

static void x0_stays_zero(void **state)
{
	(void)state;
	PROGRAM(ADDI(0, 0, 5), LW(0, 0, 0), LUI(0, 1), CSRRW(0, 0x340, 5), ADDI(1, 0, 0));
	cpu.x[1] = 1;
	run_steps(5);
	assert_int_equal(cpu.x[0], 0);
	assert_int_equal(cpu.x[1], 0);
}

/* Codes and meanings as GNU as 2.40 has them. */
static void compressed_instructions_expand(void **state)
{
	static const struct { uint16_t code; uint32_t word; } cases[] = {
		{ 0x0044, 0x00410493 },	/* c.addi4spn s1,sp,4 */
		{ 0x1fe0, 0x3fc10413 },	/* c.addi4spn s0,sp,1020 */
		{ 0x40c0, 0x0044a403 },	/* c.lw s0,4(s1) */
		{ 0x5ffc, 0x07c7a783 },	/* c.lw a5,124(a5) */
		{ 0xc0c0, 0x0084a223 },	/* c.sw s0,4(s1) */
		{ 0x0001, 0x00000013 },	/* c.nop */
		{ 0x1081, 0xfe008093 },	/* c.addi ra,-32 */
		{ 0x2001, 0x000000ef },	/* c.jal +0 */
		{ 0x3ffd, 0xfffff0ef },	/* c.jal -2 */
		{ 0xb001, 0x801ff06f },	/* c.j -2048 */
		{ 0x547d, 0xfff00413 },	/* c.li s0,-1 */
		{ 0x7101, 0xe0010113 },	/* c.addi16sp sp,-512 */
		{ 0x617d, 0x1f010113 },	/* c.addi16sp sp,496 */
		{ 0x747d, 0xfffff437 },	/* c.lui s0,0xfffff */
		{ 0x65fd, 0x0001f5b7 },	/* c.lui a1,0x1f */
		{ 0x80fd, 0x01f4d493 },	/* c.srli s1,31 */
		{ 0x84fd, 0x41f4d493 },	/* c.srai s1,31 */
		{ 0x9881, 0xfe04f493 },	/* c.andi s1,-32 */
		{ 0x8c85, 0x409484b3 },	/* c.sub s1,s1 */
		{ 0x8ca1, 0x0084c4b3 },	/* c.xor s1,s0 */
		{ 0x8cc1, 0x0084e4b3 },	/* c.or s1,s0 */
		{ 0x8ce1, 0x0084f4b3 },	/* c.and s1,s0 */
		{ 0xd001, 0xf00400e3 },	/* c.beqz s0,-256 */
		{ 0xecfd, 0x0e049f63 },	/* c.bnez s1,+254 */
		{ 0x04fe, 0x01f49493 },	/* c.slli s1,31 */
		{ 0x50fe, 0x0fc12083 },	/* c.lwsp ra,252(sp) */
		{ 0x8082, 0x00008067 },	/* c.jr ra */
		{ 0x80be, 0x00f000b3 },	/* c.mv ra,a5 */
		{ 0x9002, 0x00100073 },	/* c.ebreak */
		{ 0x9782, 0x000780e7 },	/* c.jalr a5 */
		{ 0x90be, 0x00f080b3 },	/* c.add ra,a5 */
		{ 0xdf86, 0x0e112e23 },	/* c.swsp ra,252(sp) */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (int again = 0; again < 2; again++) {	/* computed, then from the table */
			if (expand(cases[i].code) != cases[i].word)
				fail_msg("%04x expands to %08x, expected %08x", cases[i].code, expand(cases[i].code),
					 cases[i].word);
		}
	}
}

static void reserved_compressed_codes_are_illegal(void **state)
{
	static const uint16_t codes[] = {
		0x0000, 0x0004 /* addi4spn with 0 */, 0x2000, 0x6000, 0x8000, 0xa000, 0xe000, /* fld, flw, reserved, fsd, fsw */
		0x6101, 0x6081 /* addi16sp, lui with 0 */, 0x90fd, 0x94fd, 0x10fe /* shifts by 32 and more */,
		0x9c81, 0x9ca1, 0x9cc1, 0x9ce1 /* RV64 and reserved */, 0x4002 /* lwsp x0 */, 0x8002 /* jr x0 */,
		0x2002, 0x6002, 0xa002, 0xe002,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		power_on(NULL);
		st16(sram + 0x100, codes[i]);
		rv32_reset(&cpu, 0x100);
		cpu.mtvec = HANDLER;
		run_steps(1);
		assert_int_equal(cpu.mcause, RV32_CAUSE_ILLEGAL);
		assert_int_equal(cpu.mtval, codes[i]);
		assert_int_equal(cpu.mepc, 0x100);
	}
}

static void compressed_links_point_behind_two_bytes(void **state)
{
	(void)state;
	st16(sram + 0x100, 0x2001 | 1 << 3);	/* c.jal +2 */
	st16(sram + 0x102, 0x9782);		/* c.jalr a5 */
	rv32_reset(&cpu, 0x100);
	cpu.x[15] = 0x400;
	run_steps(1);
	assert_int_equal(cpu.x[1], 0x102);
	assert_int_equal(cpu.pc, 0x102);
	run_steps(1);
	assert_int_equal(cpu.x[1], 0x104);
	assert_int_equal(cpu.pc, 0x400);
}

static void stores_change_the_program(void **state)
{
	(void)state;
	PROGRAM(SW(5, 0, 8), NOP, NOP);
	cpu.x[5] = ADDI(7, 0, 99);
	run_steps(3);
	assert_int_equal(cpu.x[7], 99);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(register_and_immediate_arithmetic),
		T(multiply_and_divide),
		T(upper_immediates_and_jumps),
		T(branches),
		T(loads_and_stores),
		T(bus_accesses_carry_size_and_extend),
		T(x0_stays_zero),
		T(compressed_instructions_expand),
		T(reserved_compressed_codes_are_illegal),
		T(compressed_links_point_behind_two_bytes),
		T(stores_change_the_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
