/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RV32IMC_Zicsr interpreter: the device's microcontroller. Machine mode only, one hart, one external interrupt line.
 * Plain C11 without any QEMU header, so that the host's unit tests run the same code as the device.
 *
 *	struct rv32 cpu;
 *	rv32_init(&cpu, sram, MICA_SRAM_SIZE, &bus, device);	once
 *	rv32_reset(&cpu, header.entry);				every boot
 *	switch (rv32_run(&cpu, 100000)) {
 *	case RV32_BUDGET:	call again
 *	case RV32_WFI:		sleep until the interrupt line is up (or somebody needs the thread), call again
 *	case RV32_STOPPED:	rv32_stop() was called; calling again goes on behind the instruction that was running
 *	case RV32_CRASHED:	trap without a handler; cpu.mepc, cpu.mcause, cpu.mtval tell; final until rv32_reset()
 *	}
 *
 * Threads: one thread at a time may call rv32_run() and touch the fields. rv32_set_irq() and rv32_stop() may be called
 * from any thread at any time, also from within a bus callback. An interrupt is taken at the latest RV32_BATCH
 * instructions after the line went up; at once when the line moved in a bus callback or the guest opened MIE or mie.
 */
#ifndef MICA_RV32_H
#define MICA_RV32_H

#include <stdbool.h>
#include <stdint.h>

#define RV32_BATCH		256u	/* instructions between two looks at the interrupt line */

/* mcause */
#define RV32_CAUSE_FETCH_FAULT	1u
#define RV32_CAUSE_ILLEGAL	2u
#define RV32_CAUSE_BREAKPOINT	3u
#define RV32_CAUSE_LOAD_ALIGN	4u
#define RV32_CAUSE_LOAD_FAULT	5u
#define RV32_CAUSE_STORE_ALIGN	6u
#define RV32_CAUSE_STORE_FAULT	7u
#define RV32_CAUSE_ECALL_M	11u
#define RV32_CAUSE_IRQ_EXT	0x8000000bu

#define RV32_MSTATUS_MIE	0x00000008u
#define RV32_MSTATUS_MPIE	0x00000080u
#define RV32_MSTATUS_MPP	0x00001800u	/* reads as machine mode always */
#define RV32_MIE_MEIE		0x00000800u
#define RV32_MISA		0x40001104u	/* RV32 with I, M, C */

enum rv32_reason {
	RV32_BUDGET,
	RV32_WFI,
	RV32_STOPPED,
	RV32_CRASHED,
};

/*
 * What lies outside of SRAM. size is 1, 2 or 4, addr is a multiple of size, value is zero-extended. Returning false
 * makes the access trap (load or store access fault). Never called for addresses within SRAM.
 */
struct rv32_bus {
	bool (*load)(void *opaque, uint32_t addr, unsigned size, uint32_t *value);
	bool (*store)(void *opaque, uint32_t addr, unsigned size, uint32_t value);
};

struct rv32 {
	/* Architectural state: plain data, all of it (and nothing else) belongs into a VMState. */
	uint32_t x[32];
	uint32_t pc;
	uint32_t mstatus;
	uint32_t mie;
	uint32_t mtvec;
	uint32_t mscratch;
	uint32_t mepc;
	uint32_t mcause;
	uint32_t mtval;
	uint64_t mcycle;	/* one cycle an instruction */
	uint64_t minstret;
	uint32_t irq;		/* level of the external interrupt line, 0 or 1; atomic: use rv32_set_irq() */
	uint32_t waiting;	/* 1: in WFI */
	uint32_t crashed;	/* 1: trapped with mtvec == 0 */

	/* Wiring, set by rv32_init(), kept by rv32_reset(). */
	uint32_t stop;		/* atomic: use rv32_stop() */
	uint32_t sram_size;
	uint8_t *sram;		/* at address 0; may be changed from outside between instructions (DMA): nothing is cached */
	const struct rv32_bus *bus;
	void *opaque;
};

/* sram_size: a multiple of 4, at least 4. sram and bus stay the caller's and must outlive the cpu. */
void rv32_init(struct rv32 *cpu, void *sram, uint32_t sram_size, const struct rv32_bus *bus, void *opaque);

/* Power-on state with pc = entry. Leaves SRAM, wiring and the interrupt line's level alone. */
void rv32_reset(struct rv32 *cpu, uint32_t entry);

/* Runs until one of the reasons; never executes more than max_instructions. A trap counts as one. */
enum rv32_reason rv32_run(struct rv32 *cpu, uint64_t max_instructions);

/* Level of the external interrupt line (mip.MEIP). */
void rv32_set_irq(struct rv32 *cpu, bool level);

/* Makes rv32_run() return RV32_STOPPED behind the instruction that is running, or at once when it is next called. */
void rv32_stop(struct rv32 *cpu);

/*
 * Takes an exception at the current pc as if the instruction there had caused it (error injection). From the thread
 * that owns the cpu, not from a bus callback. Wakes from WFI. With mtvec == 0 the next rv32_run() returns RV32_CRASHED.
 */
void rv32_trap(struct rv32 *cpu, uint32_t cause, uint32_t tval);

#endif /* MICA_RV32_H */
