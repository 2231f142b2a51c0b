/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The microcontroller's interpreter: random programs against the second, slow implementation of rv32_ref.h; its speed. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "rv32_util.h"
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(every_compressed_code_agrees),
		T(random_programs_agree_step_by_step),
		T(random_programs_agree_in_blocks),
		T(speed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
