/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Device page tables (format in mica/regs.h): the walk and a translation cache. Plain C without QEMU headers, so that a
 * unit test on the host runs the same code. How entries are read is the caller's business.
 */
#ifndef MICA_MMU_H
#define MICA_MMU_H

#include <stdbool.h>
#include <stdint.h>

/* Reads the 64-bit little-endian entry at a bus address into *pte (host order); false: bus error. */
typedef bool mica_read_pte(void *opaque, uint64_t addr, uint64_t *pte);

struct mica_leaf {
	uint64_t addr;			/* bus address of the page */
	uint64_t size;			/* 4 KiB or 2 MiB */
	bool write;
};

/* One address space as a core sees it. generation is never 0 and another one whenever root or its tables changed. */
struct mica_space {
	uint64_t generation;
	uint64_t root;
};

struct mica_tlb_entry {
	uint64_t generation;		/* 0: empty */
	uint64_t page;			/* va / page size */
	uint64_t addr;
	bool write;
};

#define MICA_TLB_SMALL	1024u		/* 4 KiB pages, direct mapped */
#define MICA_TLB_LARGE	32u		/* 2 MiB pages */

/* Owned by one thread. Zeroed is empty. */
struct mica_tlb {
	struct mica_tlb_entry small[MICA_TLB_SMALL];
	struct mica_tlb_entry large[MICA_TLB_LARGE];
};

/* The leaf that maps va. 0, MICA_FAULT_MMU or MICA_FAULT_BUS. Permission is not looked at. */
int mica_mmu_walk(uint64_t root, uint64_t va, mica_read_pte *read, void *opaque, struct mica_leaf *leaf);

/*
 * Bus address of va, good for the next *run bytes (at least 1). 0, MICA_FAULT_MMU, MICA_FAULT_MMU_WRITE or
 * MICA_FAULT_BUS.
 */
int mica_mmu_translate(struct mica_tlb *tlb, const struct mica_space *space, uint64_t va, bool write,
		       mica_read_pte *read, void *opaque, uint64_t *addr, uint64_t *run);

#endif /* MICA_MMU_H */
