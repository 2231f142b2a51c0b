/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RV32IMC_Zicsr interpreter. Every instruction is fetched from SRAM and decoded by one switch over (opcode, funct3);
 * a compressed instruction is first expanded into its 32-bit equivalent through a table that fills itself.
 */
#include "rv32.h"

#include <string.h>

#define ILLEGAL		1u	/* expansion of a compressed instruction that is none: cannot be a 32-bit instruction */

/* ---- memory ---- */

static inline uint32_t ld16(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8;
}

static inline uint32_t ld32(const uint8_t *p)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	uint32_t v;

	memcpy(&v, p, 4);
	return v;
#else
	return ld16(p) | ld16(p + 2) << 16;
#endif
}

static inline void st16(uint8_t *p, uint32_t v)
{
	p[0] = v;
	p[1] = v >> 8;
}

static inline void st32(uint8_t *p, uint32_t v)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	memcpy(p, &v, 4);
#else
	st16(p, v);
	st16(p + 2, v >> 16);
#endif
}

/* ---- compressed instructions ---- */

/* bits(c, from, width, to): the field of `width` bits at `from`, moved to `to` */
#define bits(c, from, width, to)	((((c) >> (from)) & ((1u << (width)) - 1)) << (to))

static inline uint32_t sext(uint32_t v, unsigned width)
{
	uint32_t sign = 1u << (width - 1);

	return (v ^ sign) - sign;
}

static inline uint32_t enc_i(uint32_t op, uint32_t f3, uint32_t rd, uint32_t rs1, uint32_t imm)
{
	return op | rd << 7 | f3 << 12 | rs1 << 15 | imm << 20;
}

static inline uint32_t enc_r(uint32_t f7, uint32_t f3, uint32_t rd, uint32_t rs1, uint32_t rs2)
{
	return 0x33 | rd << 7 | f3 << 12 | rs1 << 15 | rs2 << 20 | f7 << 25;
}

static inline uint32_t enc_s(uint32_t f3, uint32_t rs1, uint32_t rs2, uint32_t imm)
{
	return 0x23 | bits(imm, 0, 5, 7) | f3 << 12 | rs1 << 15 | rs2 << 20 | bits(imm, 5, 7, 25);
}

static inline uint32_t enc_b(uint32_t f3, uint32_t rs1, uint32_t imm)
{
	return 0x63 | bits(imm, 11, 1, 7) | bits(imm, 1, 4, 8) | f3 << 12 | rs1 << 15 | bits(imm, 5, 6, 25) |
	       bits(imm, 12, 1, 31);
}

static inline uint32_t enc_j(uint32_t rd, uint32_t imm)
{
	return 0x6f | rd << 7 | bits(imm, 12, 8, 12) | bits(imm, 11, 1, 20) | bits(imm, 1, 10, 21) | bits(imm, 20, 1, 31);
}

/* Quadrant 0: loads and stores on x8..x15, and ADDI4SPN. */
static uint32_t expand_q0(uint32_t c)
{
	uint32_t rd = 8 + bits(c, 2, 3, 0), rs1 = 8 + bits(c, 7, 3, 0);
	uint32_t word = bits(c, 6, 1, 2) | bits(c, 10, 3, 3) | bits(c, 5, 1, 6);
	uint32_t nzuimm = bits(c, 6, 1, 2) | bits(c, 5, 1, 3) | bits(c, 11, 2, 4) | bits(c, 7, 4, 6);

	switch (c >> 13) {
	case 0:
		return nzuimm ? enc_i(0x13, 0, rd, 2, nzuimm) : ILLEGAL;
	case 2:
		return enc_i(0x03, 2, rd, rs1, word);
	case 6:
		return enc_s(2, rs1, rd, word);
	default:
		return ILLEGAL;
	}
}

static uint32_t expand_alu(uint32_t c)
{
	static const uint8_t f3[4] = { 0, 4, 6, 7 };	/* sub, xor, or, and */
	uint32_t rd = 8 + bits(c, 7, 3, 0), rs2 = 8 + bits(c, 2, 3, 0), sub = bits(c, 5, 2, 0);
	uint32_t imm = bits(c, 2, 5, 0) | bits(c, 12, 1, 5);

	switch (bits(c, 10, 2, 0)) {
	case 0:		/* srli; a shift by 32 and more is none of RV32's */
		return imm < 32 ? enc_i(0x13, 5, rd, rd, imm) : ILLEGAL;
	case 1:
		return imm < 32 ? enc_i(0x13, 5, rd, rd, imm | 0x400) : ILLEGAL;
	case 2:
		return enc_i(0x13, 7, rd, rd, sext(imm, 6) & 0xfff);
	default:
		return c & 0x1000 ? ILLEGAL : enc_r(sub ? 0 : 0x20, f3[sub], rd, rd, rs2);
	}
}

/* Quadrant 1: immediates, arithmetic, jumps and branches. */
static uint32_t expand_q1(uint32_t c)
{
	uint32_t rd = bits(c, 7, 5, 0);
	uint32_t imm = sext(bits(c, 2, 5, 0) | bits(c, 12, 1, 5), 6);
	uint32_t jump = sext(bits(c, 3, 3, 1) | bits(c, 11, 1, 4) | bits(c, 2, 1, 5) | bits(c, 7, 1, 6) |
			     bits(c, 6, 1, 7) | bits(c, 9, 2, 8) | bits(c, 8, 1, 10) | bits(c, 12, 1, 11), 12);
	uint32_t branch = sext(bits(c, 3, 2, 1) | bits(c, 10, 2, 3) | bits(c, 2, 1, 5) | bits(c, 5, 2, 6) |
			       bits(c, 12, 1, 8), 9);
	uint32_t sp = sext(bits(c, 6, 1, 4) | bits(c, 2, 1, 5) | bits(c, 5, 1, 6) | bits(c, 3, 2, 7) |
			   bits(c, 12, 1, 9), 10);

	switch (c >> 13) {
	case 0:
		return enc_i(0x13, 0, rd, rd, imm & 0xfff);
	case 1:
		return enc_j(1, jump);
	case 2:
		return enc_i(0x13, 0, rd, 0, imm & 0xfff);
	case 3:
		if (!imm)		/* both forms: an immediate of zero is reserved */
			return ILLEGAL;
		return rd == 2 ? enc_i(0x13, 0, 2, 2, sp & 0xfff) : 0x37 | rd << 7 | imm << 12;
	case 4:
		return expand_alu(c);
	case 5:
		return enc_j(0, jump);
	case 6:
		return enc_b(0, 8 + bits(c, 7, 3, 0), branch);
	default:
		return enc_b(1, 8 + bits(c, 7, 3, 0), branch);
	}
}

/* Quadrant 2: stack accesses, moves, register jumps. */
static uint32_t expand_q2(uint32_t c)
{
	uint32_t rd = bits(c, 7, 5, 0), rs2 = bits(c, 2, 5, 0);
	uint32_t load = bits(c, 4, 3, 2) | bits(c, 12, 1, 5) | bits(c, 2, 2, 6);
	uint32_t store = bits(c, 9, 4, 2) | bits(c, 7, 2, 6);

	switch (c >> 13) {
	case 0:
		return c & 0x1000 ? ILLEGAL : enc_i(0x13, 1, rd, rd, rs2);
	case 2:
		return rd ? enc_i(0x03, 2, rd, 2, load) : ILLEGAL;
	case 4:
		if (rs2)		/* add, mv */
			return enc_r(0, 0, rd, c & 0x1000 ? rd : 0, rs2);
		if (rd)			/* jalr, jr */
			return enc_i(0x67, 0, c & 0x1000 ? 1 : 0, rd, 0);
		return c & 0x1000 ? 0x00100073 : ILLEGAL;
	case 6:
		return enc_s(2, 2, rs2, store);
	default:
		return ILLEGAL;
	}
}

/* Expansions by 16-bit code, 0 = not yet known. Every thread writes the same value, so that relaxed atomics suffice. */
static uint32_t expansion[3 << 14];

static uint32_t expand_slow(uint32_t c, uint32_t *slot)
{
	uint32_t insn = (c & 3) == 0 ? expand_q0(c) : (c & 3) == 1 ? expand_q1(c) : expand_q2(c);

	__atomic_store_n(slot, insn, __ATOMIC_RELAXED);
	return insn;
}

static inline uint32_t expand(uint32_t c)
{
	uint32_t *slot = &expansion[(c >> 2) | (c & 3) << 14];
	uint32_t insn = __atomic_load_n(slot, __ATOMIC_RELAXED);

	return insn ? insn : expand_slow(c, slot);
}

/* ---- traps ---- */

static void take_trap(struct rv32 *cpu, uint32_t cause, uint32_t tval)
{
	uint32_t base = cpu->mtvec & ~3u;

	cpu->mepc = cpu->pc;
	cpu->mcause = cause;
	cpu->mtval = tval;
	cpu->mstatus = RV32_MSTATUS_MPP | (cpu->mstatus & RV32_MSTATUS_MIE ? RV32_MSTATUS_MPIE : 0);
	if (!cpu->mtvec)
		cpu->crashed = 1;
	else if ((cpu->mtvec & 1) && (cause & 0x80000000u))
		cpu->pc = base + 4 * (cause & 0x7fffffffu);
	else
		cpu->pc = base;
}

static bool irq_pending(const struct rv32 *cpu)
{
	return (cpu->mie & RV32_MIE_MEIE) && __atomic_load_n(&cpu->irq, __ATOMIC_ACQUIRE);
}

/* ---- control and status registers ---- */

static bool csr_read(const struct rv32 *cpu, uint32_t csr, uint64_t executed, uint32_t *value)
{
	uint64_t cycle = cpu->mcycle + executed, instret = cpu->minstret + executed;

	switch (csr) {
	case 0x300: *value = cpu->mstatus | RV32_MSTATUS_MPP; return true;
	case 0x301: *value = RV32_MISA; return true;
	case 0x304: *value = cpu->mie; return true;
	case 0x305: *value = cpu->mtvec; return true;
	case 0x340: *value = cpu->mscratch; return true;
	case 0x341: *value = cpu->mepc; return true;
	case 0x342: *value = cpu->mcause; return true;
	case 0x343: *value = cpu->mtval; return true;
	case 0x344: *value = __atomic_load_n(&cpu->irq, __ATOMIC_ACQUIRE) ? RV32_MIE_MEIE : 0; return true;
	case 0xb00: case 0xc00: *value = (uint32_t)cycle; return true;
	case 0xb80: case 0xc80: *value = (uint32_t)(cycle >> 32); return true;
	case 0xb02: case 0xc02: *value = (uint32_t)instret; return true;
	case 0xb82: case 0xc82: *value = (uint32_t)(instret >> 32); return true;
	case 0x310: case 0x320:				/* mstatush, mcountinhibit: hardwired to zero */
	case 0xf11: case 0xf12: case 0xf13: case 0xf14: case 0xf15: /* vendor, architecture, implementation, hart, config */
		*value = 0;
		return true;
	default:
		return false;
	}
}

static void set_lo(uint64_t *counter, uint32_t v)
{
	*counter = (*counter & 0xffffffff00000000ull) | v;
}

static void set_hi(uint64_t *counter, uint32_t v)
{
	*counter = (*counter & 0xffffffffull) | (uint64_t)v << 32;
}

/* Only for registers that csr_read() knows. Fields that the hart does not have keep their value (WARL). */
static void csr_write(struct rv32 *cpu, uint32_t csr, uint32_t v)
{
	switch (csr) {
	case 0x300: cpu->mstatus = RV32_MSTATUS_MPP | (v & (RV32_MSTATUS_MIE | RV32_MSTATUS_MPIE)); break;
	case 0x304: cpu->mie = v & RV32_MIE_MEIE; break;
	case 0x305: cpu->mtvec = v & ~2u; break;
	case 0x340: cpu->mscratch = v; break;
	case 0x341: cpu->mepc = v & ~1u; break;
	case 0x342: cpu->mcause = v; break;
	case 0x343: cpu->mtval = v; break;
	case 0xb00: set_lo(&cpu->mcycle, v); break;
	case 0xb80: set_hi(&cpu->mcycle, v); break;
	case 0xb02: set_lo(&cpu->minstret, v); break;
	case 0xb82: set_hi(&cpu->minstret, v); break;
	default: break;
	}
}

/* CSRRW/S/C and their immediate forms. cpu's counters do not yet contain the `executed` instructions before it. */
static bool csr_insn(struct rv32 *cpu, uint32_t insn, uint64_t executed)
{
	uint32_t csr = insn >> 20, f3 = (insn >> 12) & 7, rd = (insn >> 7) & 31, rs1 = (insn >> 15) & 31;
	uint32_t arg = f3 & 4 ? rs1 : cpu->x[rs1], old;
	bool writes = (f3 & 3) == 1 || rs1;

	if (!csr_read(cpu, csr, executed, &old) || (writes && csr >> 10 == 3))
		return false;
	if (writes) {
		uint32_t v = (f3 & 3) == 1 ? arg : (f3 & 3) == 2 ? old | arg : old & ~arg;

		/* A counter that is written shows the value to the next instruction: this one and those before do not add. */
		if (csr == 0xb00 || csr == 0xb80)
			cpu->mcycle += executed + 1;
		if (csr == 0xb02 || csr == 0xb82)
			cpu->minstret += executed + 1;
		csr_write(cpu, csr, v);
		if (csr == 0xb00 || csr == 0xb80)
			cpu->mcycle -= executed + 1;
		if (csr == 0xb02 || csr == 0xb82)
			cpu->minstret -= executed + 1;
	}
	if (rd)
		cpu->x[rd] = old;
	return true;
}

/* ---- arithmetic ---- */

static inline uint32_t mul_div(uint32_t f3, uint32_t a, uint32_t b)
{
	int32_t sa = (int32_t)a, sb = (int32_t)b;
	bool overflow = a == 0x80000000u && b == 0xffffffffu;

	switch (f3) {
	case 0: return a * b;
	case 1: return (uint32_t)((uint64_t)((int64_t)sa * sb) >> 32);
	case 2: return (uint32_t)((uint64_t)((int64_t)sa * (int64_t)(uint64_t)b) >> 32);
	case 3: return (uint32_t)((uint64_t)a * b >> 32);
	case 4: return !b ? 0xffffffffu : overflow ? a : (uint32_t)(sa / sb);
	case 5: return !b ? 0xffffffffu : a / b;
	case 6: return !b ? a : overflow ? 0 : (uint32_t)(sa % sb);
	default: return !b ? a : a % b;
	}
}

static inline uint32_t sra(uint32_t a, uint32_t n)
{
	return (uint32_t)((int32_t)a >> n);
}

/* ---- the interpreter ---- */

/* Why a batch ended before its instructions were used up. */
enum batch_end {
	END_BUDGET,	/* nothing happened */
	END_CHECK,	/* the interrupt line, MIE or a stop request may have changed */
	END_WFI,
	END_TRAP,
};

struct trap {
	uint32_t cause;
	uint32_t tval;
};

static inline uint32_t imm_s(uint32_t insn)
{
	return (uint32_t)((int32_t)(insn & 0xfe000000u) >> 20) | ((insn >> 7) & 31);
}

static inline uint32_t imm_b(uint32_t insn)
{
	return (uint32_t)((int32_t)(insn & 0x80000000u) >> 19) | bits(insn, 7, 1, 11) | bits(insn, 25, 6, 5) |
	       bits(insn, 8, 4, 1);
}

static inline uint32_t imm_j(uint32_t insn)
{
	return (uint32_t)((int32_t)(insn & 0x80000000u) >> 11) | (insn & 0xff000u) | bits(insn, 20, 1, 11) |
	       bits(insn, 21, 10, 1);
}

/* Load from outside of SRAM, or a faulting one. */
static bool slow_load(struct rv32 *cpu, uint32_t addr, unsigned size, uint32_t *v, struct trap *t)
{
	t->tval = addr;
	t->cause = RV32_CAUSE_LOAD_ALIGN;
	if (addr & (size - 1))
		return false;
	t->cause = RV32_CAUSE_LOAD_FAULT;
	return addr >= cpu->sram_size && cpu->bus->load(cpu->opaque, addr, size, v);
}

static bool slow_store(struct rv32 *cpu, uint32_t addr, unsigned size, uint32_t v, struct trap *t)
{
	t->tval = addr;
	t->cause = RV32_CAUSE_STORE_ALIGN;
	if (addr & (size - 1))
		return false;
	t->cause = RV32_CAUSE_STORE_FAULT;
	return addr >= cpu->sram_size && cpu->bus->store(cpu->opaque, addr, size, v);
}

/* SYSTEM with funct3 0. Returns false for an illegal one. */
static bool system_insn(struct rv32 *cpu, uint32_t insn, uint32_t *next, enum batch_end *end, struct trap *t)
{
	switch (insn) {
	case 0x00000073:
		*t = (struct trap){ RV32_CAUSE_ECALL_M, 0 };
		return false;
	case 0x00100073:
		*t = (struct trap){ RV32_CAUSE_BREAKPOINT, cpu->pc };
		return false;
	case 0x30200073:	/* mret */
		cpu->mstatus = RV32_MSTATUS_MPP | RV32_MSTATUS_MPIE |
			       (cpu->mstatus & RV32_MSTATUS_MPIE ? RV32_MSTATUS_MIE : 0);
		*next = cpu->mepc;
		*end = END_CHECK;
		return true;
	case 0x10500073:
		*end = END_WFI;
		return true;
	default:
		return false;
	}
}

#define OP(opcode, f3)	((((opcode) >> 2) << 3) | (f3))
#define OP_ANY_F3(opcode) \
	OP(opcode, 0): case OP(opcode, 1): case OP(opcode, 2): case OP(opcode, 3): \
	case OP(opcode, 4): case OP(opcode, 5): case OP(opcode, 6): case OP(opcode, 7)

#define RD	((insn >> 7) & 31)
#define A	(x[(insn >> 15) & 31])
#define B	(x[(insn >> 20) & 31])
#define IMM_I	((uint32_t)((int32_t)insn >> 20))
#define SHAMT	((insn >> 20) & 31)
#define F7	(insn >> 25)

/* In SRAM and aligned; sram_size is a multiple of 4, so that an aligned access cannot straddle its end. */
#define FAST(addr, size)	((addr) < sram_size && !((addr) & ((size) - 1)))

#define LOAD(size, fast, widen) do { \
		uint32_t addr = A + IMM_I, v; \
		if (FAST(addr, size)) { \
			v = fast; \
		} else { \
			cpu->pc = pc; \
			if (!slow_load(cpu, addr, size, &v, &t)) \
				goto trap; \
			end = END_CHECK; \
		} \
		x[RD] = widen; \
	} while (0)

#define STORE(size, fast) do { \
		uint32_t addr = A + imm_s(insn); \
		if (FAST(addr, size)) { \
			fast; \
		} else { \
			uint32_t v = (size) == 4 ? B : B & ((1u << (8 * (size) % 32)) - 1); \
			cpu->pc = pc; \
			if (!slow_store(cpu, addr, size, v, &t)) \
				goto trap; \
			end = END_CHECK; \
		} \
	} while (0)

#define BRANCH(condition) do { \
		if (condition) \
			next = pc + imm_b(insn); \
	} while (0)

/* funct7 chooses between the base operation, its alternative (SUB, SRA), and the M extension. */
#define ALU(base, alternative) do { \
		uint32_t a = A, b = B; \
		if (F7 == 0) \
			x[RD] = base; \
		else if (F7 == 1) \
			x[RD] = mul_div((insn >> 12) & 7, a, b); \
		else if (F7 == 0x20 && (alternative) >= 0) \
			x[RD] = (uint32_t)(alternative); \
		else \
			goto illegal; \
	} while (0)
#define NO_ALTERNATIVE	(-1ll)

/*
 * Executes at most `limit` instructions. *executed counts them, a trapping one included. With END_TRAP cpu->pc is the
 * trapping instruction's and *trap_out says why; else cpu->pc is the next one's.
 */
static enum batch_end run_batch(struct rv32 *cpu, uint32_t limit, uint32_t *executed, struct trap *trap_out)
{
	uint8_t *const sram = cpu->sram;
	const uint32_t sram_size = cpu->sram_size;
	uint32_t *const x = cpu->x;
	uint32_t pc = cpu->pc, left = limit, insn = 0, raw = 0, next;
	enum batch_end end = END_BUDGET;
	struct trap t;

	do {
		left--;
		if (pc > sram_size - 2) {
			t = (struct trap){ RV32_CAUSE_FETCH_FAULT, pc };
			goto trap;
		}
		raw = ld16(sram + pc);
		if ((raw & 3) == 3) {
			if (pc > sram_size - 4) {
				t = (struct trap){ RV32_CAUSE_FETCH_FAULT, pc + 2 };
				goto trap;
			}
			insn = raw = ld32(sram + pc);
			next = pc + 4;
		} else {
			insn = expand(raw);
			next = pc + 2;
		}
		if ((insn & 3) != 3)
			goto illegal;

		switch ((insn & 0x7c) << 1 | ((insn >> 12) & 7)) {
		case OP_ANY_F3(0x37):
			x[RD] = insn & 0xfffff000u;
			break;
		case OP_ANY_F3(0x17):
			x[RD] = pc + (insn & 0xfffff000u);
			break;
		case OP_ANY_F3(0x6f):
			x[RD] = next;
			next = pc + imm_j(insn);
			break;
		case OP(0x67, 0): {
			uint32_t target = (A + IMM_I) & ~1u;

			x[RD] = next;
			next = target;
			break;
		}
		case OP(0x63, 0): BRANCH(A == B); break;
		case OP(0x63, 1): BRANCH(A != B); break;
		case OP(0x63, 4): BRANCH((int32_t)A < (int32_t)B); break;
		case OP(0x63, 5): BRANCH((int32_t)A >= (int32_t)B); break;
		case OP(0x63, 6): BRANCH(A < B); break;
		case OP(0x63, 7): BRANCH(A >= B); break;

		case OP(0x03, 0): LOAD(1, sram[addr], sext(v & 0xff, 8)); break;
		case OP(0x03, 1): LOAD(2, ld16(sram + addr), sext(v & 0xffff, 16)); break;
		case OP(0x03, 2): LOAD(4, ld32(sram + addr), v); break;
		case OP(0x03, 4): LOAD(1, sram[addr], v & 0xff); break;
		case OP(0x03, 5): LOAD(2, ld16(sram + addr), v & 0xffff); break;
		case OP(0x23, 0): STORE(1, sram[addr] = (uint8_t)B); break;
		case OP(0x23, 1): STORE(2, st16(sram + addr, B)); break;
		case OP(0x23, 2): STORE(4, st32(sram + addr, B)); break;

		case OP(0x13, 0): x[RD] = A + IMM_I; break;
		case OP(0x13, 2): x[RD] = (int32_t)A < (int32_t)IMM_I; break;
		case OP(0x13, 3): x[RD] = A < IMM_I; break;
		case OP(0x13, 4): x[RD] = A ^ IMM_I; break;
		case OP(0x13, 6): x[RD] = A | IMM_I; break;
		case OP(0x13, 7): x[RD] = A & IMM_I; break;
		case OP(0x13, 1):
			if (F7)
				goto illegal;
			x[RD] = A << SHAMT;
			break;
		case OP(0x13, 5):
			if (F7 & ~0x20u)
				goto illegal;
			x[RD] = F7 ? sra(A, SHAMT) : A >> SHAMT;
			break;

		case OP(0x33, 0): ALU(a + b, (int64_t)(uint32_t)(a - b)); break;
		case OP(0x33, 1): ALU(a << (b & 31), NO_ALTERNATIVE); break;
		case OP(0x33, 2): ALU((int32_t)a < (int32_t)b, NO_ALTERNATIVE); break;
		case OP(0x33, 3): ALU(a < b, NO_ALTERNATIVE); break;
		case OP(0x33, 4): ALU(a ^ b, NO_ALTERNATIVE); break;
		case OP(0x33, 5): ALU(a >> (b & 31), (int64_t)sra(a, b & 31)); break;
		case OP(0x33, 6): ALU(a | b, NO_ALTERNATIVE); break;
		case OP(0x33, 7): ALU(a & b, NO_ALTERNATIVE); break;

		case OP(0x0f, 0):	/* fence, fence.i: one hart, nothing cached */
		case OP(0x0f, 1):
			break;

		case OP(0x73, 0):
			cpu->pc = pc;
			t = (struct trap){ RV32_CAUSE_ILLEGAL, raw };
			if (!system_insn(cpu, insn, &next, &end, &t))
				goto trap;
			break;
		case OP(0x73, 1): case OP(0x73, 2): case OP(0x73, 3):
		case OP(0x73, 5): case OP(0x73, 6): case OP(0x73, 7):
			if (!csr_insn(cpu, insn, limit - left - 1))
				goto illegal;
			end = END_CHECK;
			break;
		default:
			goto illegal;
		}
		x[0] = 0;
		pc = next;
	} while (left && end == END_BUDGET);

	cpu->pc = pc;
	*executed = limit - left;
	return end;

illegal:
	t = (struct trap){ RV32_CAUSE_ILLEGAL, raw };
trap:
	cpu->pc = pc;
	*executed = limit - left;
	*trap_out = t;
	return END_TRAP;
}

enum rv32_reason rv32_run(struct rv32 *cpu, uint64_t max_instructions)
{
	struct trap t = { 0, 0 };

	for (;;) {
		uint32_t executed;
		enum batch_end end;

		if (cpu->crashed)
			return RV32_CRASHED;
		if (__atomic_exchange_n(&cpu->stop, 0, __ATOMIC_ACQ_REL))
			return RV32_STOPPED;
		if (irq_pending(cpu)) {
			cpu->waiting = 0;
			if (cpu->mstatus & RV32_MSTATUS_MIE) {
				take_trap(cpu, RV32_CAUSE_IRQ_EXT, 0);
				continue;
			}
		}
		if (cpu->waiting)
			return RV32_WFI;
		if (!max_instructions)
			return RV32_BUDGET;

		end = run_batch(cpu, max_instructions < RV32_BATCH ? (uint32_t)max_instructions : RV32_BATCH, &executed, &t);
		cpu->mcycle += executed;
		cpu->minstret += executed - (end == END_TRAP);
		max_instructions -= executed;
		if (end == END_TRAP)
			take_trap(cpu, t.cause, t.tval);
		else if (end == END_WFI)
			cpu->waiting = 1;
	}
}

/* ---- set-up ---- */

void rv32_init(struct rv32 *cpu, void *sram, uint32_t sram_size, const struct rv32_bus *bus, void *opaque)
{
	memset(cpu, 0, sizeof(*cpu));
	cpu->sram = sram;
	cpu->sram_size = sram_size;
	cpu->bus = bus;
	cpu->opaque = opaque;
	rv32_reset(cpu, 0);
}

void rv32_reset(struct rv32 *cpu, uint32_t entry)
{
	memset(cpu->x, 0, sizeof(cpu->x));
	cpu->pc = entry & ~1u;
	cpu->mstatus = RV32_MSTATUS_MPP;
	cpu->mie = cpu->mtvec = cpu->mscratch = cpu->mepc = cpu->mcause = cpu->mtval = 0;
	cpu->mcycle = cpu->minstret = 0;
	cpu->waiting = cpu->crashed = 0;
	__atomic_store_n(&cpu->stop, 0, __ATOMIC_RELEASE);
}

void rv32_set_irq(struct rv32 *cpu, bool level)
{
	__atomic_store_n(&cpu->irq, level, __ATOMIC_RELEASE);
}

void rv32_stop(struct rv32 *cpu)
{
	__atomic_store_n(&cpu->stop, 1, __ATOMIC_RELEASE);
}

void rv32_trap(struct rv32 *cpu, uint32_t cause, uint32_t tval)
{
	cpu->waiting = 0;
	take_trap(cpu, cause, tval);
}
