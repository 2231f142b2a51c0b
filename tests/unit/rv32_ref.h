/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A second RV32IMC_Zicsr, instruction by instruction from the manual's tables, slow and plain: what random programs on
 * the interpreter are compared with. Compressed instructions are executed directly. SRAM_SIZE, IO_BASE and IO_SIZE are
 * the includer's.
 */
#ifndef MICA_RV32_REF_H
#define MICA_RV32_REF_H

struct ref {
	uint32_t x[32], pc;
	uint32_t mstatus, mie, mtvec, mscratch, mepc, mcause, mtval;
	uint64_t cycle, instret;
	uint8_t mem[SRAM_SIZE];
	uint32_t io[IO_SIZE / 4];
};
static struct ref ref;

static int64_t field(uint32_t v, int high, int low)
{
	return v >> low & ((1ull << (high - low + 1)) - 1);
}

static int64_t signed_field(int64_t v, int width)
{
	return v >= 1ll << (width - 1) ? v - (1ll << width) : v;
}

static void ref_trap(uint32_t cause, uint32_t tval)
{
	ref.mepc = ref.pc;
	ref.mcause = cause;
	ref.mtval = tval;
	ref.mstatus = 0x1800 | (ref.mstatus & 8 ? 0x80 : 0);
	ref.pc = ref.mtvec & ~3u;
}

static uint8_t *ref_cell(uint32_t addr, unsigned size)
{
	if ((uint64_t)addr + size <= SRAM_SIZE)
		return ref.mem + addr;
	if (addr >= IO_BASE && (uint64_t)addr + size <= IO_BASE + IO_SIZE)
		return (uint8_t *)ref.io + (addr - IO_BASE);
	return NULL;
}

/* Returns false if it trapped. */
static bool ref_load(uint32_t addr, unsigned size, bool is_signed, uint32_t *v)
{
	const uint8_t *p = ref_cell(addr, size);
	int64_t value = 0;

	if (addr % size || !p) {
		ref_trap(addr % size ? 4 : 5, addr);
		return false;
	}
	for (unsigned i = 0; i < size; i++)
		value += (int64_t)p[i] << 8 * i;
	*v = (uint32_t)(is_signed ? signed_field(value, 8 * (int)size) : value);
	return true;
}

static bool ref_store(uint32_t addr, unsigned size, uint32_t v)
{
	uint8_t *p = ref_cell(addr, size);

	if (addr % size || !p) {
		ref_trap(addr % size ? 6 : 7, addr);
		return false;
	}
	for (unsigned i = 0; i < size; i++)
		p[i] = (uint8_t)(v >> 8 * i);
	return true;
}

static uint32_t ref_alu(uint32_t f3, bool alternative, uint32_t a, uint32_t b)
{
	int64_t sa = signed_field(a, 32);

	switch (f3) {
	case 0: return alternative ? a - b : a + b;
	case 1: return (uint32_t)((uint64_t)a << b % 32);
	case 2: return sa < signed_field(b, 32);
	case 3: return a < b;
	case 4: return a ^ b;
	case 5: return (uint32_t)((alternative ? sa : (int64_t)a) >> b % 32);
	case 6: return a | b;
	default: return a & b;
	}
}

static uint32_t ref_muldiv(uint32_t f3, uint32_t a, uint32_t b)
{
	__int128 sa = signed_field(a, 32), sb = signed_field(b, 32), ua = a, ub = b;

	switch (f3) {
	case 0: return (uint32_t)(ua * ub);
	case 1: return (uint32_t)(sa * sb >> 32);
	case 2: return (uint32_t)(sa * ub >> 32);
	case 3: return (uint32_t)(ua * ub >> 32);
	case 4: return b ? (uint32_t)(sa / sb) : 0xffffffff;
	case 5: return b ? (uint32_t)(ua / ub) : 0xffffffff;
	case 6: return b ? (uint32_t)(sa % sb) : a;
	default: return b ? (uint32_t)(ua % ub) : a;
	}
}

static bool ref_branch(uint32_t f3, uint32_t a, uint32_t b)
{
	bool less = f3 & 2 ? a < b : signed_field(a, 32) < signed_field(b, 32);

	return (f3 & 4 ? less : a == b) != (f3 & 1);
}

static void set_reg(uint32_t rd, uint32_t v)
{
	if (rd)
		ref.x[rd] = v;
}

/* The registers that hold state, which of their bits can be written, and which read as one. */
static const struct ref_csr { uint32_t number; size_t at; uint32_t writable, ones; } ref_csrs[] = {
	{ 0x300, offsetof(struct ref, mstatus), 0x88, 0x1800 },
	{ 0x304, offsetof(struct ref, mie), 0x800, 0 },
	{ 0x305, offsetof(struct ref, mtvec), ~2u, 0 },
	{ 0x340, offsetof(struct ref, mscratch), ~0u, 0 },
	{ 0x341, offsetof(struct ref, mepc), ~1u, 0 },
	{ 0x342, offsetof(struct ref, mcause), ~0u, 0 },
	{ 0x343, offsetof(struct ref, mtval), ~0u, 0 },
	{ 0xb00, offsetof(struct ref, cycle), ~0u, 0 },
	{ 0xb80, offsetof(struct ref, cycle) + 4, ~0u, 0 },
	{ 0xb02, offsetof(struct ref, instret), ~0u, 0 },
	{ 0xb82, offsetof(struct ref, instret) + 4, ~0u, 0 },
	{ 0xc00, offsetof(struct ref, cycle), 0, 0 },
	{ 0xc80, offsetof(struct ref, cycle) + 4, 0, 0 },
	{ 0xc02, offsetof(struct ref, instret), 0, 0 },
	{ 0xc82, offsetof(struct ref, instret) + 4, 0, 0 },
};

/* Constant ones. */
static bool ref_constant_csr(uint32_t n, uint32_t *v)
{
	*v = n == 0x301 ? 0x40001104 : 0;
	return n == 0x301 || n == 0x344 || n == 0x310 || n == 0x320 || (n >= 0xf11 && n <= 0xf15);
}

/* false: there is no such register, or it cannot be written. Counters are a step behind until the step ends. */
static bool ref_csr_access(uint32_t n, uint32_t kind, uint32_t rd, uint32_t arg, bool writes)
{
	const struct ref_csr *c = NULL;
	uint32_t old, v;
	uint8_t *cell = NULL;

	for (size_t i = 0; i < sizeof(ref_csrs) / sizeof(ref_csrs[0]); i++)
		c = ref_csrs[i].number == n ? &ref_csrs[i] : c;
	if ((!c && !ref_constant_csr(n, &old)) || (writes && n >= 0xc00))
		return false;
	if (c) {
		cell = (uint8_t *)&ref + c->at;
		memcpy(&old, cell, 4);
		old |= c->ones;
	}
	v = kind == 1 ? arg : kind == 2 ? old | arg : old & ~arg;
	if (writes && cell) {
		uint64_t *counter = (n & 0xf7f) == 0xb00 ? &ref.cycle : (n & 0xf7f) == 0xb02 ? &ref.instret : NULL;

		if (counter)
			(*counter)++;
		v = (old & ~c->writable) | (v & c->writable) | c->ones;
		memcpy(cell, &v, 4);
		if (counter)
			(*counter)--;
	}
	set_reg(rd, old);
	return true;
}

/* One 32-bit instruction. Leaves pc alone unless it jumps; *next is where it goes on. false: trapped. */
static bool ref_exec32(uint32_t w, uint32_t *next)
{
	uint32_t rd = (uint32_t)field(w, 11, 7), f3 = (uint32_t)field(w, 14, 12), f7 = w >> 25, v;
	uint32_t a = ref.x[field(w, 19, 15)], b = ref.x[field(w, 24, 20)];
	int64_t imm_i = signed_field(field(w, 31, 20), 12);
	int64_t imm_s2 = signed_field(field(w, 31, 25) * 32 + field(w, 11, 7), 12);
	int64_t imm_b2 = signed_field(field(w, 31, 31) * 4096 + field(w, 7, 7) * 2048 + field(w, 30, 25) * 32 +
				      field(w, 11, 8) * 2, 13);
	int64_t imm_j2 = signed_field(field(w, 31, 31) * 1048576 + field(w, 19, 12) * 4096 + field(w, 20, 20) * 2048 +
				      field(w, 30, 21) * 2, 21);
	static const unsigned sizes[4] = { 1, 2, 4, 0 };

	switch (w & 0x7f) {
	case 0x37: set_reg(rd, w & 0xfffff000); return true;
	case 0x17: set_reg(rd, ref.pc + (w & 0xfffff000)); return true;
	case 0x6f: set_reg(rd, *next); *next = ref.pc + (uint32_t)imm_j2; return true;
	case 0x67:
		if (f3)
			break;
		set_reg(rd, *next);
		*next = (a + (uint32_t)imm_i) / 2 * 2;
		return true;
	case 0x63:
		if (f3 == 2 || f3 == 3)
			break;
		*next = ref_branch(f3, a, b) ? ref.pc + (uint32_t)imm_b2 : *next;
		return true;
	case 0x03:
		if (f3 == 3 || f3 > 5)
			break;
		if (!ref_load(a + (uint32_t)imm_i, sizes[f3 & 3], f3 < 4, &v))
			return false;
		set_reg(rd, v);
		return true;
	case 0x23:
		if (f3 > 2)
			break;
		return ref_store(a + (uint32_t)imm_s2, sizes[f3], b);
	case 0x13:
		if ((f3 == 1 && f7) || (f3 == 5 && f7 && f7 != 32))
			break;
		set_reg(rd, ref_alu(f3, f3 == 5 && f7, a, f3 % 4 == 1 ? (uint32_t)imm_i & 31 : (uint32_t)imm_i));
		return true;
	case 0x33:
		if (f7 == 1)
			set_reg(rd, ref_muldiv(f3, a, b));
		else if (f7 == 0 || (f7 == 32 && (f3 == 0 || f3 == 5)))
			set_reg(rd, ref_alu(f3, f7, a, b));
		else
			break;
		return true;
	case 0x0f:
		if (f3 > 1)
			break;
		return true;
	case 0x73:
		if (w == 0x00000073 || w == 0x00100073) {
			ref_trap(w >> 20 ? 3 : 11, w >> 20 ? ref.pc : 0);
			return false;
		}
		if (w == 0x30200073) {
			*next = ref.mepc;
			ref.mstatus = 0x1880 | (ref.mstatus & 0x80 ? 8 : 0);
			return true;
		}
		if (f3 % 4 && ref_csr_access(w >> 20, f3 % 4, rd, f3 & 4 ? (uint32_t)field(w, 19, 15) : a,
					     f3 % 4 == 1 || field(w, 19, 15)))
			return true;
		break;
	default:
		break;
	}
	ref_trap(2, w);
	return false;
}

/* One compressed instruction, executed directly, not by way of a 32-bit one. */
static bool ref_exec16(uint32_t c, uint32_t *next)
{
	uint32_t rd = (uint32_t)field(c, 11, 7), rs2 = (uint32_t)field(c, 6, 2), v;
	uint32_t r1 = 8 + (uint32_t)field(c, 9, 7), r2 = 8 + (uint32_t)field(c, 4, 2);
	int64_t imm6 = signed_field(field(c, 12, 12) * 32 + field(c, 6, 2), 6);
	uint32_t word = (uint32_t)(field(c, 5, 5) * 64 + field(c, 12, 10) * 8 + field(c, 6, 6) * 4);
	int64_t cj = signed_field(field(c, 12, 12) * 2048 + field(c, 8, 8) * 1024 + field(c, 10, 9) * 256 +
				  field(c, 6, 6) * 128 + field(c, 7, 7) * 64 + field(c, 2, 2) * 32 +
				  field(c, 11, 11) * 16 + field(c, 5, 3) * 2, 12);
	int64_t cb = signed_field(field(c, 12, 12) * 256 + field(c, 6, 5) * 64 + field(c, 2, 2) * 32 + field(c, 11, 10) * 8 +
				  field(c, 4, 3) * 2, 9);

	switch (field(c, 1, 0) * 8 + field(c, 15, 13)) {
	case 0: {
		uint32_t imm = (uint32_t)(field(c, 10, 7) * 64 + field(c, 12, 11) * 16 + field(c, 5, 5) * 8 + field(c, 6, 6) * 4);

		if (!imm)
			break;
		ref.x[r2] = ref.x[2] + imm;
		return true;
	}
	case 2:
		if (!ref_load(ref.x[r1] + word, 4, false, &v))
			return false;
		ref.x[r2] = v;
		return true;
	case 6: return ref_store(ref.x[r1] + word, 4, ref.x[r2]);
	case 8: set_reg(rd, ref.x[rd] + (uint32_t)imm6); return true;
	case 9: ref.x[1] = ref.pc + 2; *next = ref.pc + (uint32_t)cj; return true;
	case 10: set_reg(rd, (uint32_t)imm6); return true;
	case 11:
		if (!imm6)
			break;
		if (rd == 2)
			ref.x[2] += (uint32_t)signed_field(field(c, 12, 12) * 512 + field(c, 4, 3) * 128 + field(c, 5, 5) * 64 +
							   field(c, 2, 2) * 32 + field(c, 6, 6) * 16, 10);
		else
			set_reg(rd, (uint32_t)(imm6 * 4096));
		return true;
	case 12:
		if (field(c, 11, 10) == 2) {
			ref.x[r1] &= (uint32_t)imm6;
			return true;
		}
		if (field(c, 12, 12))
			break;
		if (field(c, 11, 10) < 2) {
			ref.x[r1] = ref_alu(5, field(c, 11, 10), ref.x[r1], rs2);
			return true;
		}
		switch (field(c, 6, 5)) {
		case 0: ref.x[r1] -= ref.x[r2]; break;
		case 1: ref.x[r1] ^= ref.x[r2]; break;
		case 2: ref.x[r1] |= ref.x[r2]; break;
		default: ref.x[r1] &= ref.x[r2]; break;
		}
		return true;
	case 13: *next = ref.pc + (uint32_t)cj; return true;
	case 14: *next = ref.x[r1] ? *next : ref.pc + (uint32_t)cb; return true;
	case 15: *next = ref.x[r1] ? ref.pc + (uint32_t)cb : *next; return true;
	case 16:
		if (field(c, 12, 12))
			break;
		set_reg(rd, ref.x[rd] << rs2);
		return true;
	case 18:
		if (!rd)
			break;
		if (!ref_load(ref.x[2] + (uint32_t)(field(c, 3, 2) * 64 + field(c, 12, 12) * 32 + field(c, 6, 4) * 4), 4, false, &v))
			return false;
		set_reg(rd, v);
		return true;
	case 20:
		if (rs2) {
			set_reg(rd, (field(c, 12, 12) ? ref.x[rd] : 0) + ref.x[rs2]);
			return true;
		}
		if (!rd && field(c, 12, 12)) {
			ref_trap(3, ref.pc);
			return false;
		}
		if (!rd)
			break;
		*next = ref.x[rd] / 2 * 2;
		if (field(c, 12, 12))
			ref.x[1] = ref.pc + 2;
		return true;
	case 22: return ref_store(ref.x[2] + (uint32_t)(field(c, 8, 7) * 64 + field(c, 12, 9) * 4), 4, ref.x[rs2]);
	default: break;
	}
	ref_trap(2, c);
	return false;
}

/* false: trapped. */
static bool ref_execute(void)
{
	uint32_t low, word, next;
	bool good;

	if (ref.pc > SRAM_SIZE - 2) {
		ref_trap(1, ref.pc);
		return false;
	}
	low = ref.mem[ref.pc] + 256u * ref.mem[ref.pc + 1];
	if (low % 4 != 3) {
		next = ref.pc + 2;
		good = ref_exec16(low, &next);
		ref.pc = good ? next : ref.pc;
		return good;
	}
	if (ref.pc > SRAM_SIZE - 4) {
		ref_trap(1, ref.pc + 2);
		return false;
	}
	word = low + 65536u * (ref.mem[ref.pc + 2] + 256u * ref.mem[ref.pc + 3]);
	next = ref.pc + 4;
	good = ref_exec32(word, &next);
	ref.pc = good ? next : ref.pc;
	return good;
}

static void ref_step(void)
{
	bool good = ref_execute();

	ref.cycle++;
	ref.instret += good;
}

#endif /* MICA_RV32_REF_H */
