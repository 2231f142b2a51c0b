/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the interpreter's tests share: a machine with memory and a bus, and a small assembler. Include it once per program. */
#ifndef MICA_TESTS_RV32_UTIL_H
#define MICA_TESTS_RV32_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
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

static inline bool io_load(void *opaque, uint32_t addr, unsigned size, uint32_t *value)
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

static inline bool io_store(void *opaque, uint32_t addr, unsigned size, uint32_t value)
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

static inline int power_on(void **state)
{
	(void)state;
	memset(sram, 0, sizeof(sram));
	memset(io, 0, sizeof(io));
	raise_on_store = stop_on_store = 0;
	rv32_init(&cpu, sram, sizeof(sram), &io_bus, NULL);
	return 0;
}

/* ---- a small assembler, straight from the manual's formats ---- */

static inline uint32_t r_type(uint32_t f7, uint32_t rs2, uint32_t rs1, uint32_t f3, uint32_t rd, uint32_t op)
{
	return f7 << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 | rd << 7 | op;
}

static inline uint32_t i_type(int32_t imm, uint32_t rs1, uint32_t f3, uint32_t rd, uint32_t op)
{
	return (uint32_t)imm << 20 | rs1 << 15 | f3 << 12 | rd << 7 | op;
}

static inline uint32_t s_type(int32_t imm, uint32_t rs2, uint32_t rs1, uint32_t f3)
{
	return ((uint32_t)imm >> 5 & 127) << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 | ((uint32_t)imm & 31) << 7 | 0x23;
}

static inline uint32_t b_type(int32_t imm, uint32_t rs2, uint32_t rs1, uint32_t f3)
{
	uint32_t i = (uint32_t)imm;

	return (i >> 12 & 1) << 31 | (i >> 5 & 63) << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 | (i >> 1 & 15) << 8 |
	       (i >> 11 & 1) << 7 | 0x63;
}

static inline uint32_t jal(uint32_t rd, int32_t imm)
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

static inline void put_word(uint32_t addr, uint32_t word)
{
	st32(sram + addr, word);
}

static inline void put_program(uint32_t addr, const uint32_t *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		put_word(addr + 4 * (uint32_t)i, words[i]);
}

#define PROGRAM(...) do { \
		const uint32_t words_[] = { __VA_ARGS__ }; \
		put_program(0, words_, sizeof(words_) / sizeof(words_[0])); \
	} while (0)

static inline void run_steps(uint64_t n)
{
	assert_int_equal(rv32_run(&cpu, n), RV32_BUDGET);
}

#define T(test)	cmocka_unit_test_setup(test, power_on)

#endif /* MICA_TESTS_RV32_UTIL_H */
