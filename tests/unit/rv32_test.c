/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The microcontroller's interpreter: instruction classes against written-down expectations, traps, interrupts, WFI, and
 * random programs against the second, slow implementation of rv32_ref.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "../../qemu-device/rv32.c"

#define SRAM_SIZE	0x4000u
#define IO_BASE		0x40000000u
#define IO_SIZE		0x100u
#define HANDLER		0x800u

static uint8_t sram[SRAM_SIZE];
static uint32_t io[IO_SIZE / 4];
static struct rv32 cpu;
static uint32_t raise_on_store, stop_on_store;	/* what a store to the bus does besides */

static bool io_load(void *opaque, uint32_t addr, unsigned size, uint32_t *value)
{
	const uint8_t *p = (const uint8_t *)io + (addr - IO_BASE);

	(void)opaque;
	assert_int_equal(addr % size, 0);
	assert_true(addr >= SRAM_SIZE);
	if (addr - IO_BASE >= IO_SIZE)
		return false;
	*value = size == 4 ? ld32(p) : size == 2 ? ld16(p) : *p;
	return true;
}

static bool io_store(void *opaque, uint32_t addr, unsigned size, uint32_t value)
{
	uint8_t *p = (uint8_t *)io + (addr - IO_BASE);

	(void)opaque;
	assert_int_equal(addr % size, 0);
	assert_true(size == 4 || value < 1u << 8 * size);
	if (addr - IO_BASE >= IO_SIZE)
		return false;
	for (unsigned i = 0; i < size; i++)
		p[i] = (uint8_t)(value >> 8 * i);
	if (raise_on_store)
		rv32_set_irq(&cpu, true);
	if (stop_on_store)
		rv32_stop(&cpu);
	return true;
}

static const struct rv32_bus io_bus = { io_load, io_store };

static int power_on(void **state)
{
	(void)state;
	memset(sram, 0, sizeof(sram));
	memset(io, 0, sizeof(io));
	raise_on_store = stop_on_store = 0;
	rv32_init(&cpu, sram, sizeof(sram), &io_bus, NULL);
	return 0;
}

/* ---- a small assembler, straight from the manual's formats ---- */

static uint32_t r_type(uint32_t f7, uint32_t rs2, uint32_t rs1, uint32_t f3, uint32_t rd, uint32_t op)
{
	return f7 << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 | rd << 7 | op;
}

static uint32_t i_type(int32_t imm, uint32_t rs1, uint32_t f3, uint32_t rd, uint32_t op)
{
	return (uint32_t)imm << 20 | rs1 << 15 | f3 << 12 | rd << 7 | op;
}

static uint32_t s_type(int32_t imm, uint32_t rs2, uint32_t rs1, uint32_t f3)
{
	return ((uint32_t)imm >> 5 & 127) << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 | ((uint32_t)imm & 31) << 7 | 0x23;
}

static uint32_t b_type(int32_t imm, uint32_t rs2, uint32_t rs1, uint32_t f3)
{
	uint32_t i = (uint32_t)imm;

	return (i >> 12 & 1) << 31 | (i >> 5 & 63) << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 | (i >> 1 & 15) << 8 |
	       (i >> 11 & 1) << 7 | 0x63;
}

static uint32_t jal(uint32_t rd, int32_t imm)
{
	uint32_t i = (uint32_t)imm;

	return (i >> 20 & 1) << 31 | (i >> 1 & 0x3ff) << 21 | (i >> 11 & 1) << 20 | (i >> 12 & 255) << 12 | rd << 7 | 0x6f;
}

#define ADDI(rd, rs1, imm)	i_type(imm, rs1, 0, rd, 0x13)
#define JALR(rd, rs1, imm)	i_type(imm, rs1, 0, rd, 0x67)
#define LUI(rd, imm20)		((uint32_t)(imm20) << 12 | (rd) << 7 | 0x37)
#define AUIPC(rd, imm20)	((uint32_t)(imm20) << 12 | (rd) << 7 | 0x17)
#define LW(rd, rs1, imm)	i_type(imm, rs1, 2, rd, 0x03)
#define SW(rs2, rs1, imm)	s_type(imm, rs2, rs1, 2)
#define CSRRW(rd, csr, rs1)	i_type(csr, rs1, 1, rd, 0x73)
#define CSRRS(rd, csr, rs1)	i_type(csr, rs1, 2, rd, 0x73)
#define CSRRC(rd, csr, rs1)	i_type(csr, rs1, 3, rd, 0x73)
#define CSRRWI(rd, csr, imm)	i_type(csr, imm, 5, rd, 0x73)
#define CSRRSI(rd, csr, imm)	i_type(csr, imm, 6, rd, 0x73)
#define CSRRCI(rd, csr, imm)	i_type(csr, imm, 7, rd, 0x73)
#define ECALL			0x00000073u
#define EBREAK			0x00100073u
#define MRET			0x30200073u
#define WFI			0x10500073u
#define NOP			0x00000013u

static void put_word(uint32_t addr, uint32_t word)
{
	st32(sram + addr, word);
}

static void put_program(uint32_t addr, const uint32_t *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		put_word(addr + 4 * (uint32_t)i, words[i]);
}

#define PROGRAM(...) do { \
		const uint32_t words_[] = { __VA_ARGS__ }; \
		put_program(0, words_, sizeof(words_) / sizeof(words_[0])); \
	} while (0)

static void run_steps(uint64_t n)
{
	assert_int_equal(rv32_run(&cpu, n), RV32_BUDGET);
}

/* ---- instruction classes ---- */

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

/* ---- traps ---- */

static void expect_trap(uint32_t pc, uint32_t cause, uint32_t tval)
{
	assert_int_equal(cpu.mepc, pc);
	assert_int_equal(cpu.mcause, cause);
	assert_int_equal(cpu.mtval, tval);
	assert_int_equal(cpu.pc, HANDLER);
}

static void exceptions_are_precise(void **state)
{
	const struct { uint32_t word, base, cause, tval; } cases[] = {
		{ ECALL, 0, RV32_CAUSE_ECALL_M, 0 },
		{ EBREAK, 0, RV32_CAUSE_BREAKPOINT, 0x100 },
		{ 0xffffffff, 0, RV32_CAUSE_ILLEGAL, 0xffffffff },
		{ 0x0000007f, 0, RV32_CAUSE_ILLEGAL, 0x7f },
		{ 0x02000033 | 0x40000000, 0, RV32_CAUSE_ILLEGAL, 0x42000033 },
		{ 0x40001033, 0, RV32_CAUSE_ILLEGAL, 0x40001033 },	/* sll with sub's funct7 */
		{ 0x40001013, 0, RV32_CAUSE_ILLEGAL, 0x40001013 },
		{ 0x02005013, 0, RV32_CAUSE_ILLEGAL, 0x02005013 },	/* shift by 32 */
		{ 0x00001067, 0, RV32_CAUSE_ILLEGAL, 0x00001067 },	/* jalr, funct3 1 */
		{ 0x00002063, 0, RV32_CAUSE_ILLEGAL, 0x00002063 },	/* branch, funct3 2 */
		{ 0x00003003, 0, RV32_CAUSE_ILLEGAL, 0x00003003 },	/* ld */
		{ 0x00003023, 0, RV32_CAUSE_ILLEGAL, 0x00003023 },	/* sd */
		{ 0x10200073, 0, RV32_CAUSE_ILLEGAL, 0x10200073 },	/* sret */
		{ 0x00004073, 0, RV32_CAUSE_ILLEGAL, 0x00004073 },
		{ 0x0000202f, 0, RV32_CAUSE_ILLEGAL, 0x0000202f },	/* amo */
		{ LW(7, 5, 1), 0x1000, RV32_CAUSE_LOAD_ALIGN, 0x1001 },
		{ i_type(1, 5, 1, 7, 0x03), 0x1000, RV32_CAUSE_LOAD_ALIGN, 0x1001 },
		{ LW(7, 5, 2), IO_BASE, RV32_CAUSE_LOAD_ALIGN, IO_BASE + 2 },
		{ LW(7, 5, 0), SRAM_SIZE, RV32_CAUSE_LOAD_FAULT, SRAM_SIZE },
		{ LW(7, 5, -4), 0, RV32_CAUSE_LOAD_FAULT, 0xfffffffc },
		{ i_type(0, 5, 4, 7, 0x03), IO_BASE + IO_SIZE, RV32_CAUSE_LOAD_FAULT, IO_BASE + IO_SIZE },
		{ SW(6, 5, 1), 0x1000, RV32_CAUSE_STORE_ALIGN, 0x1001 },
		{ s_type(1, 6, 5, 1), IO_BASE, RV32_CAUSE_STORE_ALIGN, IO_BASE + 1 },
		{ SW(6, 5, 0), IO_BASE - 4, RV32_CAUSE_STORE_FAULT, IO_BASE - 4 },
		{ s_type(0, 6, 5, 0), SRAM_SIZE, RV32_CAUSE_STORE_FAULT, SRAM_SIZE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rv32 before;

		power_on(NULL);
		put_word(0x100, cases[i].word);
		rv32_reset(&cpu, 0x100);
		for (uint32_t r = 1; r < 32; r++)
			cpu.x[r] = 0x11 * r;
		cpu.x[5] = cases[i].base;
		cpu.mtvec = HANDLER;
		cpu.mstatus |= RV32_MSTATUS_MIE;
		before = cpu;
		run_steps(1);
		expect_trap(0x100, cases[i].cause, cases[i].tval);
		assert_memory_equal(cpu.x, before.x, sizeof(cpu.x));
		assert_int_equal(cpu.mstatus, RV32_MSTATUS_MPP | RV32_MSTATUS_MPIE);
		assert_int_equal(cpu.minstret, 0);
		assert_int_equal(cpu.mcycle, 1);
	}
}

static void fetch_faults(void **state)
{
	(void)state;
	PROGRAM(JALR(0, 5, 0));
	cpu.x[5] = IO_BASE;
	cpu.mtvec = HANDLER;
	run_steps(2);
	expect_trap(IO_BASE, RV32_CAUSE_FETCH_FAULT, IO_BASE);
	st16(sram + SRAM_SIZE - 2, 0x0003);	/* first half of a 32-bit instruction in the last two bytes */
	rv32_reset(&cpu, SRAM_SIZE - 2);
	cpu.mtvec = HANDLER;
	run_steps(1);
	expect_trap(SRAM_SIZE - 2, RV32_CAUSE_FETCH_FAULT, SRAM_SIZE);
	st16(sram + SRAM_SIZE - 2, 0x0001);	/* a short one there is good, the next is not */
	rv32_reset(&cpu, SRAM_SIZE - 2);
	cpu.mtvec = HANDLER;
	run_steps(2);
	expect_trap(SRAM_SIZE, RV32_CAUSE_FETCH_FAULT, SRAM_SIZE);
}

static void trap_without_handler_crashes(void **state)
{
	(void)state;
	PROGRAM(NOP, 0xffffffff);
	assert_int_equal(rv32_run(&cpu, 100), RV32_CRASHED);
	assert_int_equal(cpu.mepc, 4);
	assert_int_equal(cpu.pc, 4);
	assert_int_equal(cpu.mcause, RV32_CAUSE_ILLEGAL);
	assert_int_equal(rv32_run(&cpu, 100), RV32_CRASHED);
	rv32_set_irq(&cpu, true);
	assert_int_equal(rv32_run(&cpu, 100), RV32_CRASHED);
	rv32_set_irq(&cpu, false);
	rv32_reset(&cpu, 0);
	run_steps(1);
}

static void injected_trap_is_taken(void **state)
{
	(void)state;
	PROGRAM(WFI);
	cpu.mtvec = HANDLER;
	cpu.mie = RV32_MIE_MEIE;
	assert_int_equal(rv32_run(&cpu, 10), RV32_WFI);
	rv32_trap(&cpu, RV32_CAUSE_ILLEGAL, 7);
	put_word(HANDLER, NOP);
	run_steps(0);
	expect_trap(4, RV32_CAUSE_ILLEGAL, 7);
	cpu.mtvec = 0;
	rv32_trap(&cpu, RV32_CAUSE_ILLEGAL, 8);
	assert_int_equal(rv32_run(&cpu, 10), RV32_CRASHED);
}

static void mret_restores_the_interrupt_enable(void **state)
{
	(void)state;
	PROGRAM(ECALL, NOP);
	put_word(HANDLER, CSRRW(0, 0x341, 6));
	put_word(HANDLER + 4, MRET);
	cpu.mtvec = HANDLER;
	cpu.mstatus |= RV32_MSTATUS_MIE;
	cpu.x[6] = 5;		/* bit 0 of mepc does not exist */
	run_steps(3);
	assert_int_equal(cpu.pc, 4);
	assert_int_equal(cpu.mstatus, RV32_MSTATUS_MPP | RV32_MSTATUS_MPIE | RV32_MSTATUS_MIE);
}

/* ---- interrupts, WFI, budget, stop ---- */

static void interrupt_needs_line_mie_and_mstatus(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 8; i++) {
		power_on(NULL);
		PROGRAM(NOP, NOP);
		cpu.mtvec = HANDLER;
		rv32_set_irq(&cpu, i & 1);
		cpu.mie = i & 2 ? RV32_MIE_MEIE : 0;
		cpu.mstatus |= i & 4 ? RV32_MSTATUS_MIE : 0;
		put_word(HANDLER, NOP);
		run_steps(1);
		assert_int_equal(cpu.pc, i == 7 ? HANDLER + 4 : 4);
		if (i == 7) {
			assert_int_equal(cpu.mcause, RV32_CAUSE_IRQ_EXT);
			assert_int_equal(cpu.mepc, 0);
			assert_false(cpu.mstatus & RV32_MSTATUS_MIE);
		}
	}
}

static void vectored_interrupts(void **state)
{
	(void)state;
	PROGRAM(NOP, ECALL);
	cpu.mtvec = HANDLER | 1;
	cpu.mie = RV32_MIE_MEIE;
	cpu.mstatus |= RV32_MSTATUS_MIE;
	put_word(HANDLER + 4 * 11, MRET);
	run_steps(1);
	rv32_set_irq(&cpu, true);
	run_steps(0);
	assert_int_equal(cpu.pc, HANDLER + 44);
	assert_int_equal(cpu.mepc, 4);
	rv32_set_irq(&cpu, false);
	run_steps(2);
	assert_int_equal(cpu.pc, HANDLER);	/* exceptions go to the base */
	assert_int_equal(cpu.mcause, RV32_CAUSE_ECALL_M);
}

static void interrupt_from_a_bus_store_is_taken_at_once(void **state)
{
	(void)state;
	PROGRAM(SW(0, 5, 0), NOP, NOP);
	cpu.x[5] = IO_BASE;
	cpu.mtvec = HANDLER;
	put_word(HANDLER, jal(0, 0));
	cpu.mie = RV32_MIE_MEIE;
	cpu.mstatus |= RV32_MSTATUS_MIE;
	raise_on_store = 1;
	run_steps(50);
	assert_int_equal(cpu.mepc, 4);
}

static void enabling_interrupts_takes_a_pending_one_at_once(void **state)
{
	(void)state;
	PROGRAM(CSRRS(0, 0x304, 6), CSRRSI(0, 0x300, 8), NOP, NOP);
	cpu.x[6] = 0xffffffff;
	cpu.mtvec = HANDLER;
	put_word(HANDLER, CSRRS(7, 0x344, 0));
	put_word(HANDLER + 4, jal(0, 0));
	rv32_set_irq(&cpu, true);
	run_steps(50);
	assert_int_equal(cpu.mepc, 8);
	assert_int_equal(cpu.mie, RV32_MIE_MEIE);
	assert_int_equal(cpu.x[7], RV32_MIE_MEIE);
}

static void wfi_sleeps_until_the_line_is_up(void **state)
{
	(void)state;
	PROGRAM(WFI, ADDI(7, 7, 1), WFI, ADDI(7, 7, 1));
	cpu.mtvec = HANDLER;
	cpu.mie = RV32_MIE_MEIE;
	assert_int_equal(rv32_run(&cpu, 100), RV32_WFI);
	assert_int_equal(cpu.minstret, 1);
	assert_int_equal(cpu.pc, 4);
	assert_int_equal(rv32_run(&cpu, 100), RV32_WFI);
	rv32_set_irq(&cpu, true);	/* wakes with MIE off, too: the program goes on, no trap */
	run_steps(3);
	assert_int_equal(cpu.x[7], 2);
	assert_int_equal(cpu.mcause, 0);
	/* a disabled line wakes nobody */
	rv32_reset(&cpu, 0);
	assert_int_equal(rv32_run(&cpu, 100), RV32_WFI);
}

static void wfi_with_interrupts_enabled_traps_behind_it(void **state)
{
	(void)state;
	PROGRAM(WFI, NOP);
	put_word(HANDLER, NOP);
	cpu.mtvec = HANDLER;
	cpu.mie = RV32_MIE_MEIE;
	cpu.mstatus |= RV32_MSTATUS_MIE;
	assert_int_equal(rv32_run(&cpu, 100), RV32_WFI);
	rv32_set_irq(&cpu, true);
	run_steps(1);
	assert_int_equal(cpu.mepc, 4);
	assert_int_equal(cpu.pc, HANDLER + 4);
}

static void budget_is_exact(void **state)
{
	(void)state;
	PROGRAM(ADDI(7, 7, 1), jal(0, -4));
	for (uint64_t n = 0; n < 1000; n += 37) {
		rv32_reset(&cpu, 0);
		run_steps(n);
		assert_int_equal(cpu.minstret, n);
		assert_int_equal(cpu.x[7], (n + 1) / 2);
	}
}

static void stop_takes_effect_behind_the_instruction(void **state)
{
	(void)state;
	PROGRAM(SW(0, 5, 0), ADDI(7, 0, 1), ADDI(7, 0, 2));
	cpu.x[5] = IO_BASE;
	stop_on_store = 1;
	assert_int_equal(rv32_run(&cpu, 100), RV32_STOPPED);
	assert_int_equal(cpu.pc, 4);
	assert_int_equal(cpu.x[7], 0);
	run_steps(1);
	assert_int_equal(cpu.x[7], 1);
	rv32_stop(&cpu);
	assert_int_equal(rv32_run(&cpu, 100), RV32_STOPPED);
	assert_int_equal(cpu.x[7], 1);
}

/* ---- CSRs ---- */

static void csr_operations(void **state)
{
	(void)state;
	PROGRAM(CSRRW(10, 0x340, 5), CSRRS(11, 0x340, 6), CSRRC(12, 0x340, 7), CSRRWI(13, 0x340, 31), CSRRSI(14, 0x340, 0),
		CSRRCI(15, 0x340, 3), CSRRS(16, 0x340, 0));
	cpu.x[5] = 0xff00;
	cpu.x[6] = 0x00f0;
	cpu.x[7] = 0x8000;
	run_steps(7);
	assert_int_equal(cpu.x[10], 0);
	assert_int_equal(cpu.x[11], 0xff00);
	assert_int_equal(cpu.x[12], 0xfff0);
	assert_int_equal(cpu.x[13], 0x7ff0);
	assert_int_equal(cpu.x[14], 31);
	assert_int_equal(cpu.x[15], 31);
	assert_int_equal(cpu.x[16], 28);
}

static void csr_fields_that_do_not_exist_stay_zero(void **state)
{
	static const struct { uint32_t csr, reads; } cases[] = {
		{ 0x300, RV32_MSTATUS_MPP | RV32_MSTATUS_MPIE | RV32_MSTATUS_MIE }, { 0x301, RV32_MISA }, { 0x304, RV32_MIE_MEIE },
		{ 0x305, 0xfffffffd }, { 0x340, 0xffffffff }, { 0x341, 0xfffffffe }, { 0x342, 0xffffffff }, { 0x343, 0xffffffff },
		{ 0x344, 0 }, { 0x310, 0 }, { 0x320, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		power_on(NULL);
		PROGRAM(CSRRW(0, cases[i].csr, 5), CSRRS(6, cases[i].csr, 0));
		cpu.x[5] = 0xffffffff;
		run_steps(2);
		assert_int_equal(cpu.x[6], cases[i].reads);
	}
}

static void csrs_that_are_absent_or_read_only_trap(void **state)
{
	const uint32_t words[] = { CSRRS(6, 0x180, 0), CSRRS(6, 0xc01, 0), CSRRW(0, 0xf14, 5), CSRRS(6, 0xc00, 5),
				   CSRRWI(0, 0xf11, 0), CSRRS(6, 0xfff, 0), CSRRW(6, 0x7b0, 0) };

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		power_on(NULL);
		PROGRAM(words[i]);
		cpu.mtvec = HANDLER;
		run_steps(1);
		expect_trap(0, RV32_CAUSE_ILLEGAL, words[i]);
	}
	power_on(NULL);
	PROGRAM(CSRRS(6, 0xf14, 0), CSRRSI(7, 0xf11, 0));	/* reading these is fine */
	run_steps(2);
	assert_int_equal(cpu.x[6], 0);
}

static void counters_count_instructions(void **state)
{
	(void)state;
	PROGRAM(NOP, NOP, CSRRS(6, 0xb02, 0), CSRRS(7, 0xc00, 0), CSRRW(0, 0xb80, 8), CSRRW(0, 0xb00, 9), CSRRS(10, 0xb00, 0),
		CSRRS(11, 0xb80, 0), CSRRS(12, 0xb80, 0), CSRRS(13, 0xb02, 0));
	cpu.x[8] = 5;
	cpu.x[9] = 0xffffffff;
	run_steps(10);
	assert_int_equal(cpu.x[6], 2);
	assert_int_equal(cpu.x[7], 3);
	assert_int_equal(cpu.x[10], 0xffffffff);
	assert_int_equal(cpu.x[11], 6);			/* the carry of a 64-bit counter */
	assert_int_equal(cpu.x[12], 6);
	assert_int_equal(cpu.x[13], 9);
}

/* ---- random programs ---- */

#include "rv32_ref.h"

static uint64_t rnd_state = 0x9e3779b97f4a7c15ull;

static uint32_t rnd(void)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return (uint32_t)(rnd_state >> 16);
}

/* Mostly valid: random operands under a valid opcode; sometimes anything. */
static uint32_t random_instruction(void)
{
	static const uint8_t opcodes[] = { 0x37, 0x17, 0x6f, 0x67, 0x63, 0x63, 0x03, 0x03, 0x23, 0x23, 0x13, 0x13,
					   0x13, 0x33, 0x33, 0x33, 0x0f, 0x73 };
	static const uint16_t csrs[] = { 0x340, 0x341, 0x342, 0x343, 0x300, 0x304, 0xb00, 0xb02, 0xb80, 0xb82, 0xc00,
					 0xc82, 0x301, 0x344, 0xf14, 0x7c0 };
	uint32_t op = opcodes[rnd() % sizeof(opcodes)], w = (rnd() & ~0x7fu) | op;

	if (op == 0x33 || (op == 0x13 && (w >> 12 & 3) == 1))
		w = (w & 0x01ffffff) | (rnd() % 8 ? (rnd() % 3 == 0 ? 1u << 25 : rnd() % 2 ? 32u << 25 : 0) : w & 0xfe000000);
	if (op == 0x73)
		w = rnd() % 4 ? (w & 0xfffff) | (uint32_t)csrs[rnd() % 16] << 20 : rnd() % 2 ? 0x30200073 : ECALL;
	if (op == 0x73 && (w >> 12 & 3) == 0 && w != 0x30200073)
		w = EBREAK;
	return w;
}

static void random_program(void)
{
	for (uint32_t i = 0; i + 4 <= SRAM_SIZE;) {
		if (rnd() % 2) {
			uint32_t c = rnd() & 0xffff;

			if (c % 4 == 3)
				continue;
			st16(sram + i, c);
			i += 2;
		} else {
			st32(sram + i, random_instruction());
			i += 4;
		}
	}
}

static void random_registers(void)
{
	for (uint32_t r = 1; r < 32; r++) {
		switch (rnd() % 4) {
		case 0: cpu.x[r] = rnd(); break;
		case 1: cpu.x[r] = rnd() % SRAM_SIZE & ~3u; break;
		case 2: cpu.x[r] = IO_BASE + rnd() % IO_SIZE; break;
		default: cpu.x[r] = rnd() % 64 - 32; break;
		}
	}
}

static void copy_state(void)
{
	memcpy(ref.x, cpu.x, sizeof(ref.x));
	memcpy(ref.mem, sram, sizeof(sram));
	memcpy(ref.io, io, sizeof(io));
	ref.pc = cpu.pc;
	ref.mstatus = cpu.mstatus;
	ref.mtvec = cpu.mtvec;
	ref.mie = cpu.mie;
	ref.cycle = cpu.mcycle;
	ref.instret = cpu.minstret;
	ref.mscratch = cpu.mscratch;
	ref.mepc = cpu.mepc;
	ref.mcause = cpu.mcause;
	ref.mtval = cpu.mtval;
}

static void compare(uint32_t pc_before)
{
	bool same = !memcmp(ref.x, cpu.x, sizeof(ref.x)) && ref.pc == cpu.pc && ref.mstatus == cpu.mstatus &&
		    ref.cycle == cpu.mcycle && ref.instret == cpu.minstret && ref.mtvec == cpu.mtvec && ref.mie == cpu.mie &&
		    ref.mscratch == cpu.mscratch && ref.mepc == cpu.mepc && ref.mcause == cpu.mcause && ref.mtval == cpu.mtval;

	if (same)
		return;
	for (uint32_t r = 0; r < 32; r++) {
		if (ref.x[r] != cpu.x[r])
			print_error("x%u is %08x, expected %08x\n", r, cpu.x[r], ref.x[r]);
	}
	print_error("pc %x/%x mepc %x/%x mcause %x/%x mtval %x/%x mstatus %x/%x\n", cpu.pc, ref.pc, cpu.mepc, ref.mepc,
		    cpu.mcause, ref.mcause, cpu.mtval, ref.mtval, cpu.mstatus, ref.mstatus);
	print_error("mcycle %llx/%llx minstret %llx/%llx mtvec %x/%x mie %x/%x\n", (unsigned long long)cpu.mcycle,
		    (unsigned long long)ref.cycle, (unsigned long long)cpu.minstret, (unsigned long long)ref.instret, cpu.mtvec,
		    ref.mtvec, cpu.mie, ref.mie);
	fail_msg("differs behind the instruction at %x (%08x)", pc_before,
		 pc_before < SRAM_SIZE - 4 ? ld32(sram + pc_before) : 0);
}

/* `block` instructions at a time, so that the batches' bookkeeping is exercised as well. */
static void differential(uint32_t programs, uint32_t block)
{
	for (uint32_t p = 0; p < programs; p++) {
		power_on(NULL);
		random_program();
		random_registers();
		cpu.pc = rnd() % SRAM_SIZE & ~1u;
		cpu.mtvec = rnd() % SRAM_SIZE & ~3u;
		if (!cpu.mtvec)
			cpu.mtvec = 4;
		copy_state();
		for (uint32_t i = 0; i < 600; i++) {
			uint32_t before = cpu.pc;

			if (rv32_run(&cpu, block) != RV32_BUDGET)	/* a WFI, or mtvec became 0 */
				break;
			for (uint32_t k = 0; k < block; k++)
				ref_step();
			compare(before);
			if (i % 64 == 63) {
				random_registers();
				copy_state();
			}
		}
		assert_true(cpu.waiting || cpu.crashed || !memcmp(ref.mem, sram, sizeof(sram)));
		assert_true(cpu.waiting || cpu.crashed || !memcmp(ref.io, io, sizeof(io)));
	}
}

static void random_programs_agree_step_by_step(void **state)
{
	(void)state;
	differential(2000, 1);
}

static void random_programs_agree_in_blocks(void **state)
{
	(void)state;
	differential(200, 300);
}

/* Every code of the quadrants, from two random states each. */
static void every_compressed_code_agrees(void **state)
{
	(void)state;
	for (uint32_t c = 0; c < 0x20000; c++) {
		if (c % 4 == 3)
			continue;
		if (c % 0x1000 == 0)
			power_on(NULL);
		st16(sram + 0x1000, c & 0xffff);
		random_registers();
		cpu.pc = 0x1000;
		cpu.mtvec = HANDLER;
		memcpy(ref.x, cpu.x, sizeof(ref.x));
		copy_state();
		run_steps(1);
		ref_step();
		compare(0x1000);
		assert_memory_equal(ref.mem, sram, sizeof(sram));
	}
}

/* A loop of loads, stores, arithmetic and a branch; printed, not judged: the machine may be busy. */
static void speed(void **state)
{
	const uint64_t n = 50000000;
	struct timespec a, b;
	double s;

	(void)state;
	PROGRAM(LW(6, 5, 0), ADDI(6, 6, 3), SW(6, 5, 0), r_type(0, 6, 7, 4, 7, 0x33), ADDI(8, 8, 1),
		i_type(5, 7, 5, 9, 0x13), r_type(0, 9, 10, 0, 10, 0x33), b_type(-28, 0, 8, 1));
	cpu.x[5] = 0x1000;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	run_steps(n);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	s = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
	printf("%.0f MIPS\n", (double)n / s * 1e-6);
	assert_int_equal(cpu.minstret, n);
}

#define T(test)	cmocka_unit_test_setup(test, power_on)

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
		T(exceptions_are_precise),
		T(fetch_faults),
		T(trap_without_handler_crashes),
		T(injected_trap_is_taken),
		T(mret_restores_the_interrupt_enable),
		T(interrupt_needs_line_mie_and_mstatus),
		T(vectored_interrupts),
		T(interrupt_from_a_bus_store_is_taken_at_once),
		T(enabling_interrupts_takes_a_pending_one_at_once),
		T(wfi_sleeps_until_the_line_is_up),
		T(wfi_with_interrupts_enabled_traps_behind_it),
		T(budget_is_exact),
		T(stop_takes_effect_behind_the_instruction),
		T(csr_operations),
		T(csr_fields_that_do_not_exist_stay_zero),
		T(csrs_that_are_absent_or_read_only_trap),
		T(counters_count_instructions),
		T(every_compressed_code_agrees),
		T(random_programs_agree_step_by_step),
		T(random_programs_agree_in_blocks),
		T(speed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
