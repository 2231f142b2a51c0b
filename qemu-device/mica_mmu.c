/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Page table walk and translation cache. Whatever a table entry says that regs.h does not define is a fault. */
#include "mica_mmu.h"
#include "mica/regs.h"

#define PT_BITS		9
#define LARGE_SHIFT	(MICA_PAGE_SHIFT + PT_BITS)
#define LARGE_LEVEL	1u

static bool entry_is_sound(uint64_t pte, unsigned level, unsigned shift)
{
	if (!(pte & MICA_PTE_VALID))
		return false;
	if (pte & ~(MICA_PTE_ADDR_MASK | MICA_PTE_VALID | MICA_PTE_WRITE | MICA_PTE_LEAF))
		return false;
	if (pte & MICA_PTE_LEAF)
		return level <= LARGE_LEVEL && !(pte & MICA_PTE_ADDR_MASK & ((1ull << shift) - 1));
	return level > 0 && !(pte & MICA_PTE_WRITE);
}

int mica_mmu_walk(uint64_t root, uint64_t va, mica_read_pte *read, void *opaque, struct mica_leaf *leaf)
{
	uint64_t table = root;

	if (va >> MICA_VA_BITS)
		return MICA_FAULT_MMU;
	for (unsigned level = MICA_PT_LEVELS; level-- > 0;) {
		unsigned shift = MICA_PAGE_SHIFT + PT_BITS * level;
		uint64_t index = (va >> shift) & (MICA_PT_ENTRIES - 1);
		uint64_t pte;

		if (!read(opaque, table + index * sizeof(pte), &pte))
			return MICA_FAULT_BUS;
		if (!entry_is_sound(pte, level, shift))
			return MICA_FAULT_MMU;
		table = pte & MICA_PTE_ADDR_MASK;
		if (pte & MICA_PTE_LEAF) {
			leaf->addr = table;
			leaf->size = 1ull << shift;
			leaf->write = pte & MICA_PTE_WRITE;
			return 0;
		}
	}
	return MICA_FAULT_MMU;
}

static struct mica_tlb_entry *small_slot(struct mica_tlb *tlb, uint64_t va)
{
	return &tlb->small[(va >> MICA_PAGE_SHIFT) % MICA_TLB_SMALL];
}

static struct mica_tlb_entry *large_slot(struct mica_tlb *tlb, uint64_t va)
{
	return &tlb->large[(va >> LARGE_SHIFT) % MICA_TLB_LARGE];
}

static bool entry_hits(const struct mica_tlb_entry *e, uint64_t generation, uint64_t va, unsigned shift)
{
	return e->generation == generation && e->page == va >> shift;
}

static bool tlb_lookup(struct mica_tlb *tlb, uint64_t generation, uint64_t va, struct mica_leaf *leaf)
{
	const struct mica_tlb_entry *e = large_slot(tlb, va);
	unsigned shift = LARGE_SHIFT;

	if (!entry_hits(e, generation, va, shift)) {
		e = small_slot(tlb, va);
		shift = MICA_PAGE_SHIFT;
		if (!entry_hits(e, generation, va, shift))
			return false;
	}
	*leaf = (struct mica_leaf){ .addr = e->addr, .size = 1ull << shift, .write = e->write };
	return true;
}

static void tlb_insert(struct mica_tlb *tlb, uint64_t generation, uint64_t va, const struct mica_leaf *leaf)
{
	bool large = leaf->size == 1ull << LARGE_SHIFT;
	struct mica_tlb_entry *e = large ? large_slot(tlb, va) : small_slot(tlb, va);

	*e = (struct mica_tlb_entry){
		.generation = generation,
		.page = va >> (large ? LARGE_SHIFT : MICA_PAGE_SHIFT),
		.addr = leaf->addr,
		.write = leaf->write,
	};
}

int mica_mmu_translate(struct mica_tlb *tlb, const struct mica_space *space, uint64_t va, bool write,
		       mica_read_pte *read, void *opaque, uint64_t *addr, uint64_t *run)
{
	struct mica_leaf leaf;
	uint64_t offset;

	if (!tlb_lookup(tlb, space->generation, va, &leaf)) {
		int fault = mica_mmu_walk(space->root, va, read, opaque, &leaf);

		if (fault)
			return fault;
		tlb_insert(tlb, space->generation, va, &leaf);
	}
	if (write && !leaf.write)
		return MICA_FAULT_MMU_WRITE;
	offset = va & (leaf.size - 1);
	*addr = leaf.addr + offset;
	*run = leaf.size - offset;
	return 0;
}
