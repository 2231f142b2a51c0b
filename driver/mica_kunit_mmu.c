// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit: page tables, walked as the device walks them.
 */
#include <linux/scatterlist.h>

#include "mica_kunit.h"

#define MICA_TEST_DMA	0x1234567000ull	/* no memory is there; only the tables know */
#define MICA_TEST_PAGE	BIT_ULL(MICA_PAGE_SHIFT)
#define MICA_TEST_BLOCK	BIT_ULL(MICA_PAGE_SHIFT + 9)

struct mica_mmu_rig {
	struct mica_device *mdev;
	struct mica_vm *vm;
};

static int mica_mmu_rig_init(struct kunit *test)
{
	struct mica_mmu_rig *rig = kunit_kzalloc(test, sizeof(*rig), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, rig);
	rig->mdev = mica_kunit_device(test);
	KUNIT_ASSERT_EQ(test, mica_mmu_init(rig->mdev), 0);
	rig->vm = mica_vm_create(rig->mdev);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, rig->vm);
	test->priv = rig;
	return 0;
}

static void mica_mmu_rig_exit(struct kunit *test)
{
	struct mica_mmu_rig *rig = test->priv;

	if (!rig)
		return;
	mica_vm_put(rig->vm);
	mica_mmu_unplug(rig->mdev);
}

/* As the device walks, but for finding a table's memory: the entry that was met last, 0 when a level was missing. */
static u64 mica_kunit_walk(struct kunit *test, struct mica_vm *vm, u64 va, u32 *level)
{
	struct mica_pt *pt = vm->root;
	u64 entry;

	for (*level = MICA_PT_LEVELS - 1;; (*level)--) {
		u32 i = (va >> (MICA_PAGE_SHIFT + 9 * *level)) & (MICA_PT_ENTRIES - 1);

		entry = pt->entry[i];
		if (!(entry & MICA_PTE_VALID))
			return 0;
		if (entry & MICA_PTE_LEAF || !*level)
			return entry;
		KUNIT_ASSERT_NOT_NULL(test, pt->child[i]);
		KUNIT_ASSERT_EQ(test, entry, pt->child[i]->dma | MICA_PTE_VALID);
		pt = pt->child[i];
	}
}

static u64 mica_kunit_translate(struct kunit *test, struct mica_vm *vm, u64 va)
{
	u32 level;
	u64 entry = mica_kunit_walk(test, vm, va, &level);
	u64 size = BIT_ULL(MICA_PAGE_SHIFT + 9 * level);

	if (!entry)
		return 0;
	KUNIT_EXPECT_EQ(test, entry & ~MICA_PTE_ADDR_MASK, MICA_PTE_VALID | MICA_PTE_WRITE | MICA_PTE_LEAF);
	return (entry & MICA_PTE_ADDR_MASK) + (va & (size - 1));
}

struct mica_kunit_chunk {
	u64 addr;
	u32 len;
};

static int mica_kunit_map(struct kunit *test, u64 va, u64 size, const struct mica_kunit_chunk *chunks, u32 n)
{
	struct mica_mmu_rig *rig = test->priv;
	struct scatterlist *sg;
	struct sg_table sgt;
	int ret;
	u32 i;

	KUNIT_ASSERT_EQ(test, sg_alloc_table(&sgt, n, GFP_KERNEL), 0);
	for_each_sgtable_dma_sg(&sgt, sg, i) {
		sg_dma_address(sg) = chunks[i].addr;
		sg_dma_len(sg) = chunks[i].len;
	}
	ret = mica_vm_map(rig->vm, va, &sgt, size);
	sg_free_table(&sgt);
	return ret;
}

static void mica_mmu_maps_scattered_pages_in_order(struct kunit *test)
{
	static const struct mica_kunit_chunk chunks[] = {
		{ MICA_TEST_DMA, 0x2000 }, { 0x7000, 0x1000 }, { MICA_TEST_DMA + 0x9000, 0x3000 },
	};
	struct mica_mmu_rig *rig = test->priv;
	u64 va = MICA_VA_START + 5 * MICA_TEST_BLOCK - 0x2000, i;	/* over the end of a table */

	KUNIT_ASSERT_EQ(test, mica_kunit_map(test, va, 0x6000, chunks, 3), 0);
	KUNIT_EXPECT_EQ(test, mica_kunit_translate(test, rig->vm, va - 1), 0);
	KUNIT_EXPECT_EQ(test, mica_kunit_translate(test, rig->vm, va + 0x1234), MICA_TEST_DMA + 0x1234);
	KUNIT_EXPECT_EQ(test, mica_kunit_translate(test, rig->vm, va + 0x2004), 0x7004);
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_EQ(test, mica_kunit_translate(test, rig->vm, va + 0x3000 + (i << 12)),
				MICA_TEST_DMA + 0x9000 + (i << 12));
	KUNIT_EXPECT_EQ(test, mica_kunit_translate(test, rig->vm, va + 0x6000), 0);
}

static void mica_mmu_uses_blocks_where_both_sides_are_aligned(struct kunit *test)
{
	static const struct mica_kunit_chunk chunk = { 8 * MICA_TEST_BLOCK, 2 * MICA_TEST_BLOCK + 0x1000 };
	struct mica_mmu_rig *rig = test->priv;
	u32 level;

	KUNIT_ASSERT_EQ(test, mica_kunit_map(test, MICA_VA_START, chunk.len, &chunk, 1), 0);
	KUNIT_EXPECT_NE(test, mica_kunit_walk(test, rig->vm, MICA_VA_START + MICA_TEST_BLOCK, &level), 0);
	KUNIT_EXPECT_EQ(test, level, 1);
	KUNIT_EXPECT_NE(test, mica_kunit_walk(test, rig->vm, MICA_VA_START + 2 * MICA_TEST_BLOCK, &level), 0);
	KUNIT_EXPECT_EQ(test, level, 0);
	KUNIT_EXPECT_EQ(test, mica_kunit_translate(test, rig->vm, MICA_VA_START + 0x212345), chunk.addr + 0x212345);
}

static void mica_mmu_uses_pages_where_a_side_is_not_aligned(struct kunit *test)
{
	static const struct mica_kunit_chunk chunk = { 8 * MICA_TEST_BLOCK + 0x1000, 2 * MICA_TEST_BLOCK };
	struct mica_mmu_rig *rig = test->priv;
	u32 level;

	KUNIT_ASSERT_EQ(test, mica_kunit_map(test, MICA_VA_START, chunk.len, &chunk, 1), 0);
	KUNIT_EXPECT_NE(test, mica_kunit_walk(test, rig->vm, MICA_VA_START, &level), 0);
	KUNIT_EXPECT_EQ(test, level, 0);
	KUNIT_EXPECT_EQ(test, mica_kunit_translate(test, rig->vm, MICA_VA_START + 0x3ff123), chunk.addr + 0x3ff123);
}

static void mica_mmu_unmaps_its_range_and_no_more(struct kunit *test)
{
	static const struct mica_kunit_chunk chunk = { MICA_TEST_DMA, 0x20000 };
	struct mica_mmu_rig *rig = test->priv;
	u64 va = MICA_VA_START + MICA_TEST_BLOCK - 0x10000;

	KUNIT_ASSERT_EQ(test, mica_kunit_map(test, va, chunk.len, &chunk, 1), 0);
	mica_vm_unmap(rig->vm, va + 0x3000, 0x1a000);
	KUNIT_EXPECT_EQ(test, mica_kunit_translate(test, rig->vm, va + 0x2fff), MICA_TEST_DMA + 0x2fff);
	KUNIT_EXPECT_EQ(test, mica_kunit_translate(test, rig->vm, va + 0x3000), 0);
	KUNIT_EXPECT_EQ(test, mica_kunit_translate(test, rig->vm, va + 0x1cfff), 0);
	KUNIT_EXPECT_EQ(test, mica_kunit_translate(test, rig->vm, va + 0x1d000), MICA_TEST_DMA + 0x1d000);
}

/* Once small pages have been there, their table stays; a block has to go into it. */
static void mica_mmu_maps_a_block_over_an_old_table(struct kunit *test)
{
	static const struct mica_kunit_chunk page = { MICA_TEST_DMA, 0x1000 };
	static const struct mica_kunit_chunk block = { 3 * MICA_TEST_BLOCK, MICA_TEST_BLOCK };
	struct mica_mmu_rig *rig = test->priv;
	u64 i;

	KUNIT_ASSERT_EQ(test, mica_kunit_map(test, MICA_VA_START, page.len, &page, 1), 0);
	mica_vm_unmap(rig->vm, MICA_VA_START, page.len);
	KUNIT_ASSERT_EQ(test, mica_kunit_map(test, MICA_VA_START, block.len, &block, 1), 0);
	for (i = 0; i < MICA_TEST_BLOCK; i += 0x1f000)
		KUNIT_EXPECT_EQ(test, mica_kunit_translate(test, rig->vm, MICA_VA_START + i), block.addr + i);
	mica_vm_unmap(rig->vm, MICA_VA_START, block.len);
	for (i = 0; i < MICA_TEST_BLOCK; i += MICA_TEST_PAGE)
		KUNIT_EXPECT_EQ(test, mica_kunit_translate(test, rig->vm, MICA_VA_START + i), 0);
}

static void mica_mmu_reaches_the_last_page(struct kunit *test)
{
	static const struct mica_kunit_chunk chunk = { MICA_PTE_ADDR_MASK, 0x1000 };
	struct mica_mmu_rig *rig = test->priv;

	KUNIT_ASSERT_EQ(test, mica_kunit_map(test, MICA_VA_END - 0x1000, chunk.len, &chunk, 1), 0);
	KUNIT_EXPECT_EQ(test, mica_kunit_translate(test, rig->vm, MICA_VA_END - 1), chunk.addr + 0xfff);
	mica_vm_unmap(rig->vm, MICA_VA_END - 0x1000, 0x1000);
	KUNIT_EXPECT_EQ(test, mica_kunit_translate(test, rig->vm, MICA_VA_END - 1), 0);
}

static void mica_mmu_refuses_what_the_device_cannot_address(struct kunit *test)
{
	static const struct mica_kunit_chunk odd = { MICA_TEST_DMA + 0x800, 0x1000 };
	static const struct mica_kunit_chunk cut = { MICA_TEST_DMA, 0x1800 };
	static const struct mica_kunit_chunk far = { MICA_PTE_ADDR_MASK, 0x2000 };
	static const struct mica_kunit_chunk small = { MICA_TEST_DMA, 0x1000 };
	struct mica_mmu_rig *rig = test->priv;

	KUNIT_EXPECT_EQ(test, mica_kunit_map(test, MICA_VA_START, 0x1000, &odd, 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, mica_kunit_map(test, MICA_VA_START, 0x1000, &cut, 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, mica_kunit_map(test, MICA_VA_START, 0x2000, &far, 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, mica_kunit_map(test, MICA_VA_START, 0x2000, &small, 1), -EINVAL);
	mica_vm_unmap(rig->vm, MICA_VA_START, 0x2000);
	KUNIT_EXPECT_EQ(test, mica_kunit_translate(test, rig->vm, MICA_VA_START), 0);
}

static void mica_mmu_of_a_device_that_left_is_no_more(struct kunit *test)
{
	static const struct mica_kunit_chunk chunk = { MICA_TEST_DMA, 0x1000 };
	struct mica_mmu_rig *rig = test->priv;

	KUNIT_ASSERT_EQ(test, mica_kunit_map(test, MICA_VA_START, chunk.len, &chunk, 1), 0);
	mica_mmu_unplug(rig->mdev);
	KUNIT_EXPECT_EQ(test, mica_kunit_map(test, MICA_VA_START, chunk.len, &chunk, 1), -ENODEV);
	mica_vm_unmap(rig->vm, MICA_VA_START, chunk.len);
}

static struct kunit_case mica_mmu_cases[] = {
	KUNIT_CASE(mica_mmu_maps_scattered_pages_in_order),
	KUNIT_CASE(mica_mmu_uses_blocks_where_both_sides_are_aligned),
	KUNIT_CASE(mica_mmu_uses_pages_where_a_side_is_not_aligned),
	KUNIT_CASE(mica_mmu_unmaps_its_range_and_no_more),
	KUNIT_CASE(mica_mmu_maps_a_block_over_an_old_table),
	KUNIT_CASE(mica_mmu_reaches_the_last_page),
	KUNIT_CASE(mica_mmu_refuses_what_the_device_cannot_address),
	KUNIT_CASE(mica_mmu_of_a_device_that_left_is_no_more),
	{ }
};

static struct kunit_suite mica_mmu_suite = {
	.name = "mica_mmu",
	.init = mica_mmu_rig_init,
	.exit = mica_mmu_rig_exit,
	.test_cases = mica_mmu_cases,
};

kunit_test_suite(mica_mmu_suite);
