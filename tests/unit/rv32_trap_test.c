/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The microcontroller's interpreter: traps, interrupts, WFI, budget, control and status registers. */
#include "rv32_util.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
