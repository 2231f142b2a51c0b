/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device's page table walk and translation cache, over tables in an array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../qemu-device/mica_mmu.c"

#define TABLES	8u

static uint64_t table[TABLES][MICA_PT_ENTRIES];		/* table n at bus address (n + 1) << 12 */
static unsigned reads;
static struct mica_tlb tlb;

static uint64_t at(unsigned n)
{
	return (uint64_t)(n + 1) << MICA_PAGE_SHIFT;
}

static bool read_entry(void *opaque, uint64_t addr, uint64_t *pte)
{
	uint64_t n = (addr >> MICA_PAGE_SHIFT) - 1;

	(void)opaque;
	reads++;
	if (n >= TABLES)
		return false;
	*pte = table[n][(addr & 0xfff) / 8];
	return true;
}

static int setup(void **state)
{
	(void)state;
	memset(table, 0, sizeof(table));
	memset(&tlb, 0, sizeof(tlb));
	reads = 0;
	table[0][5] = at(1) | MICA_PTE_VALID;
	table[1][7] = at(2) | MICA_PTE_VALID;
	table[1][8] = 0xabc00000ull | MICA_PTE_VALID | MICA_PTE_LEAF;
	table[2][9] = 0x123456789000ull | MICA_PTE_VALID | MICA_PTE_LEAF | MICA_PTE_WRITE;
	return 0;
}

static uint64_t va(uint64_t top, uint64_t mid, uint64_t low, uint64_t offset)
{
	return top << 30 | mid << 21 | low << 12 | offset;
}

static int walk(uint64_t addr, struct mica_leaf *leaf)
{
	return mica_mmu_walk(at(0), addr, read_entry, NULL, leaf);
}

static int translate(uint64_t generation, uint64_t addr, bool write, uint64_t *bus, uint64_t *run)
{
	const struct mica_space space = { generation, at(0) };

	return mica_mmu_translate(&tlb, &space, addr, write, read_entry, NULL, bus, run);
}

static void small_and_large_pages_are_found(void **state)
{
	struct mica_leaf leaf;

	(void)state;
	assert_int_equal(walk(va(5, 7, 9, 0xabc), &leaf), 0);
	assert_int_equal(leaf.addr, 0x123456789000ull);
	assert_int_equal(leaf.size, 4096);
	assert_true(leaf.write);
	assert_int_equal(walk(va(5, 8, 77, 1), &leaf), 0);
	assert_int_equal(leaf.addr, 0xabc00000ull);
	assert_int_equal(leaf.size, 2 << 20);
	assert_false(leaf.write);
}

static void absent_entries_fault_at_each_level(void **state)
{
	struct mica_leaf leaf;

	(void)state;
	assert_int_equal(walk(va(4, 0, 0, 0), &leaf), MICA_FAULT_MMU);
	assert_int_equal(walk(va(5, 6, 0, 0), &leaf), MICA_FAULT_MMU);
	assert_int_equal(walk(va(5, 7, 8, 0), &leaf), MICA_FAULT_MMU);
	assert_int_equal(walk(1ull << MICA_VA_BITS, &leaf), MICA_FAULT_MMU);
	assert_int_equal(walk(~0ull, &leaf), MICA_FAULT_MMU);
}

static void every_undefined_bit_faults_at_each_level(void **state)
{
	uint64_t *const entry[] = { &table[0][5], &table[1][7], &table[2][9] };
	const uint64_t defined = MICA_PTE_ADDR_MASK | MICA_PTE_VALID | MICA_PTE_WRITE | MICA_PTE_LEAF;
	struct mica_leaf leaf;

	(void)state;
	for (unsigned level = 0; level < 3; level++) {
		for (unsigned bit = 0; bit < 64; bit++) {
			if (defined & 1ull << bit)
				continue;
			*entry[level] |= 1ull << bit;
			assert_int_equal(walk(va(5, 7, 9, 0), &leaf), MICA_FAULT_MMU);
			*entry[level] &= ~(1ull << bit);
		}
	}
	assert_int_equal(walk(va(5, 7, 9, 0), &leaf), 0);
}

static void leaves_stand_only_where_they_may(void **state)
{
	struct mica_leaf leaf;

	(void)state;
	table[0][6] = MICA_PTE_VALID | MICA_PTE_LEAF;			/* 1 GiB: no */
	assert_int_equal(walk(va(6, 0, 0, 0), &leaf), MICA_FAULT_MMU);
	table[1][8] |= 0x1000;						/* 2 MiB, unaligned */
	assert_int_equal(walk(va(5, 8, 0, 0), &leaf), MICA_FAULT_MMU);
	table[2][9] &= ~MICA_PTE_LEAF;					/* a table below level 0 */
	assert_int_equal(walk(va(5, 7, 9, 0), &leaf), MICA_FAULT_MMU);
	table[1][7] |= MICA_PTE_WRITE;					/* permission belongs to leaves */
	assert_int_equal(walk(va(5, 7, 9, 0), &leaf), MICA_FAULT_MMU);
}

static void table_out_of_reach_is_a_bus_error(void **state)
{
	struct mica_leaf leaf;

	(void)state;
	table[1][7] = at(TABLES) | MICA_PTE_VALID;
	assert_int_equal(walk(va(5, 7, 9, 0), &leaf), MICA_FAULT_BUS);
}

static void run_ends_with_the_page(void **state)
{
	uint64_t bus, run;

	(void)state;
	assert_int_equal(translate(1, va(5, 7, 9, 0xff0), true, &bus, &run), 0);
	assert_int_equal(bus, 0x123456789ff0ull);
	assert_int_equal(run, 16);
	assert_int_equal(translate(1, va(5, 8, 511, 0xfff), false, &bus, &run), 0);
	assert_int_equal(bus, 0xabc00000ull + 0x1fffff);
	assert_int_equal(run, 1);
}

static void write_permission_is_checked_on_hit_and_miss(void **state)
{
	uint64_t bus, run;

	(void)state;
	assert_int_equal(translate(1, va(5, 8, 0, 0), true, &bus, &run), MICA_FAULT_MMU_WRITE);
	assert_int_equal(translate(1, va(5, 8, 0, 0), false, &bus, &run), 0);
	assert_int_equal(translate(1, va(5, 8, 0, 0), true, &bus, &run), MICA_FAULT_MMU_WRITE);
}

static void generation_decides_what_is_cached(void **state)
{
	uint64_t bus, run;

	(void)state;
	assert_int_equal(translate(1, va(5, 7, 9, 0), false, &bus, &run), 0);
	assert_int_equal(reads, 3);
	table[2][9] = 0;
	assert_int_equal(translate(1, va(5, 7, 9, 8), false, &bus, &run), 0);
	assert_int_equal(reads, 3);
	assert_int_equal(translate(2, va(5, 7, 9, 8), false, &bus, &run), MICA_FAULT_MMU);
}

static void faults_are_not_cached(void **state)
{
	uint64_t bus, run;

	(void)state;
	assert_int_equal(translate(1, va(5, 7, 10, 0), false, &bus, &run), MICA_FAULT_MMU);
	table[2][10] = 0x5000 | MICA_PTE_VALID | MICA_PTE_LEAF;
	assert_int_equal(translate(1, va(5, 7, 10, 0), false, &bus, &run), 0);
	assert_int_equal(bus, 0x5000);
}

static void pages_that_share_a_slot_do_not_mix(void **state)
{
	uint64_t bus, run;

	(void)state;
	table[1][9] = at(3) | MICA_PTE_VALID;		/* 1024 pages behind (5, 7, 9) */
	table[3][9] = 0x7000 | MICA_PTE_VALID | MICA_PTE_LEAF;
	for (unsigned round = 0; round < 3; round++) {
		assert_int_equal(translate(1, va(5, 7, 9, 0), false, &bus, &run), 0);
		assert_int_equal(bus, 0x123456789000ull);
		assert_int_equal(translate(1, va(5, 9, 9, 0), false, &bus, &run), 0);
		assert_int_equal(bus, 0x7000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(small_and_large_pages_are_found, setup),
		cmocka_unit_test_setup(absent_entries_fault_at_each_level, setup),
		cmocka_unit_test_setup(every_undefined_bit_faults_at_each_level, setup),
		cmocka_unit_test_setup(leaves_stand_only_where_they_may, setup),
		cmocka_unit_test_setup(table_out_of_reach_is_a_bus_error, setup),
		cmocka_unit_test_setup(run_ends_with_the_page, setup),
		cmocka_unit_test_setup(write_permission_is_checked_on_hit_and_miss, setup),
		cmocka_unit_test_setup(generation_decides_what_is_cached, setup),
		cmocka_unit_test_setup(faults_are_not_cached, setup),
		cmocka_unit_test_setup(pages_that_share_a_slot_do_not_mix, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
