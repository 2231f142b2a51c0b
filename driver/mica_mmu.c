// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address spaces: page tables in host memory (mica/regs.h), their walk, and the invalidation of the device's TLB.
 * A table, once made, stays until its address space ends.
 */
#include <linux/dmapool.h>
#include <linux/iopoll.h>

#include "mica_drv.h"

#define MICA_PAGE_SIZE		BIT_ULL(MICA_PAGE_SHIFT)
#define MICA_BLOCK_SHIFT	(MICA_PAGE_SHIFT + 9)
#define MICA_BLOCK_SIZE		BIT_ULL(MICA_BLOCK_SHIFT)
#define MICA_MMU_TIMEOUT_US	2000000

static_assert(PAGE_SIZE == MICA_PAGE_SIZE);

static u32 mica_pt_index(u64 va, u32 level)
{
	return (va >> (MICA_PAGE_SHIFT + 9 * level)) % MICA_PT_ENTRIES;
}

static struct mica_pt *mica_pt_alloc(struct mica_device *mdev, u32 level)
{
	struct mica_pt *pt = kzalloc(sizeof(*pt), GFP_KERNEL_ACCOUNT);

	if (!pt)
		return NULL;
	if (level) {
		pt->child = kcalloc(MICA_PT_ENTRIES, sizeof(*pt->child), GFP_KERNEL_ACCOUNT);
		if (!pt->child)
			goto err_free;
	}
	pt->entry = dma_pool_zalloc(mdev->pt_pool, GFP_KERNEL, &pt->dma);
	if (!pt->entry)
		goto err_free;
	return pt;

err_free:
	kfree(pt->child);
	kfree(pt);
	return NULL;
}

static void mica_pt_free(struct mica_device *mdev, struct mica_pt *pt)
{
	u32 i;

	if (!pt)
		return;
	for (i = 0; pt->child && i < MICA_PT_ENTRIES; i++)
		mica_pt_free(mdev, pt->child[i]);
	dma_pool_free(mdev->pt_pool, pt->entry, pt->dma);
	kfree(pt->child);
	kfree(pt);
}

/* The table of the given level that covers va, made if it is missing. */
static struct mica_pt *mica_pt_walk(struct mica_vm *vm, u64 va, u32 level)
{
	struct mica_pt *pt = vm->root;
	u32 at;

	for (at = MICA_PT_LEVELS - 1; at > level; at--) {
		u32 i = mica_pt_index(va, at);

		if (!pt->child[i]) {
			struct mica_pt *child = mica_pt_alloc(vm->mdev, at - 1);

			if (!child)
				return NULL;
			pt->child[i] = child;
			dma_wmb();	/* zeroes before the entry that shows them */
			WRITE_ONCE(pt->entry[i], child->dma | MICA_PTE_VALID);
		}
		pt = pt->child[i];
	}
	return pt;
}

/* Maps as much of [va, va + len) to addr as one leaf takes; returns that size. */
static s64 mica_vm_map_leaf(struct mica_vm *vm, u64 va, u64 addr, u64 len)
{
	u64 leaf = addr | MICA_PTE_VALID | MICA_PTE_WRITE | MICA_PTE_LEAF;
	struct mica_pt *pt;
	u32 i;

	if (len >= MICA_BLOCK_SIZE && IS_ALIGNED(va | addr, MICA_BLOCK_SIZE)) {
		pt = mica_pt_walk(vm, va, 1);
		if (!pt)
			return -ENOMEM;
		i = mica_pt_index(va, 1);
		/* Where small pages have been once, a table hangs; it is used again. */
		if (!pt->child[i]) {
			WRITE_ONCE(pt->entry[i], leaf);
			return MICA_BLOCK_SIZE;
		}
	}
	pt = mica_pt_walk(vm, va, 0);
	if (!pt)
		return -ENOMEM;
	WRITE_ONCE(pt->entry[mica_pt_index(va, 0)], leaf);
	return MICA_PAGE_SIZE;
}

static void mica_vm_clear(struct mica_vm *vm, u64 va, u64 size)
{
	u64 end = va + size;

	while (va < end) {
		u64 next = min(ALIGN_DOWN(va, MICA_BLOCK_SIZE) + MICA_BLOCK_SIZE, end);
		struct mica_pt *pt = vm->root->child[mica_pt_index(va, 2)];
		u32 i = mica_pt_index(va, 1);

		if (pt && pt->child[i])
			memset(&pt->child[i]->entry[mica_pt_index(va, 0)], 0,
			       ((next - va) >> MICA_PAGE_SHIFT) * sizeof(u64));
		else if (pt)
			WRITE_ONCE(pt->entry[i], 0);
		va = next;
	}
}

/* On error the caller unmaps and flushes the whole range. */
int mica_vm_map(struct mica_vm *vm, u64 va, struct sg_table *sgt, u64 size)
{
	struct scatterlist *sg;
	u64 at = va, end = va + size;
	s64 step;
	int i, ret = 0;

	mutex_lock(&vm->lock);
	if (!vm->root)
		ret = -ENODEV;
	for_each_sgtable_dma_sg(sgt, sg, i) {
		u64 addr = sg_dma_address(sg), len = sg_dma_len(sg);

		if (!ret && ((addr | len) & (MICA_PAGE_SIZE - 1) ||
			     (addr + len - 1) & ~(MICA_PTE_ADDR_MASK | (MICA_PAGE_SIZE - 1))))
			ret = -EINVAL;
		for (; !ret && len && at < end; at += step, addr += step, len -= step) {
			step = mica_vm_map_leaf(vm, at, addr, min(len, end - at));
			if (step < 0) {
				ret = step;
				step = 0;
			}
		}
	}
	if (!ret && at < end)
		ret = -EINVAL;	/* a dma-buf shorter than it claims */
	mutex_unlock(&vm->lock);
	dma_wmb();	/* entries before any doorbell */
	return ret;
}

/* The caller flushes. */
void mica_vm_unmap(struct mica_vm *vm, u64 va, u64 size)
{
	mutex_lock(&vm->lock);
	if (vm->root)
		mica_vm_clear(vm, va, size);
	mutex_unlock(&vm->lock);
	dma_wmb();
}

static int mica_mmu_invalidate(struct mica_device *mdev, u32 slot)
{
	u32 busy;

	mica_write(mdev, MICA_REG_MMU_INV, FIELD_PREP(MICA_MMU_INV_CTX_MASK, slot));
	return readl_poll_timeout(mdev->regs + MICA_REG_MMU_BUSY, busy,
				  !(busy & MICA_MMU_BUSY_MASK), 2, MICA_MMU_TIMEOUT_US);
}

/* When this returns, the device uses no translation of vm that is no longer in its tables. */
void mica_vm_flush(struct mica_vm *vm)
{
	struct mica_device *mdev = vm->mdev;
	int idx, ret = 0;
	u32 slot;

	if (!drm_dev_enter(&mdev->drm, &idx))
		return;		/* the unplug stops the device */
	mutex_lock(&mdev->mmu_lock);
	for_each_set_bit(slot, vm->slots, MICA_MAX_CONTEXTS) {
		ret = mica_mmu_invalidate(mdev, slot);
		if (ret)
			break;
	}
	mutex_unlock(&mdev->mmu_lock);
	drm_dev_exit(idx);
	/* Its memory must not be freed while the device may still write there. */
	if (ret)
		mica_reset_force(mdev, "the MMU is stuck");
}

void mica_vm_set_slot(struct mica_vm *vm, u32 slot, bool used)
{
	mutex_lock(&vm->mdev->mmu_lock);
	__assign_bit(slot, vm->slots, used);
	mutex_unlock(&vm->mdev->mmu_lock);
}

struct mica_vm *mica_vm_create(struct mica_device *mdev)
{
	struct mica_vm *vm = kzalloc(sizeof(*vm), GFP_KERNEL);

	if (!vm)
		return ERR_PTR(-ENOMEM);
	vm->root = mica_pt_alloc(mdev, MICA_PT_LEVELS - 1);
	if (!vm->root) {
		kfree(vm);
		return ERR_PTR(-ENOMEM);
	}
	kref_init(&vm->ref);
	vm->mdev = mdev;
	drm_dev_get(&mdev->drm);
	mutex_init(&vm->lock);
	drm_mm_init(&vm->mm, MICA_VA_START, MICA_VA_END - MICA_VA_START);
	mutex_lock(&mdev->list_lock);
	list_add(&vm->link, &mdev->vms);
	mutex_unlock(&mdev->list_lock);
	return vm;
}

static void mica_vm_release(struct kref *ref)
{
	struct mica_vm *vm = container_of(ref, struct mica_vm, ref);
	struct mica_device *mdev = vm->mdev;

	mutex_lock(&mdev->list_lock);
	list_del(&vm->link);
	mica_pt_free(mdev, vm->root);
	mutex_unlock(&mdev->list_lock);
	drm_mm_takedown(&vm->mm);
	mutex_destroy(&vm->lock);
	kfree(vm);
	drm_dev_put(&mdev->drm);
}

void mica_vm_put(struct mica_vm *vm)
{
	kref_put(&vm->ref, mica_vm_release);
}

int mica_mmu_init(struct mica_device *mdev)
{
	mdev->pt_pool = dma_pool_create("mica page tables", mdev->drm.dev, MICA_PAGE_SIZE,
					MICA_PAGE_SIZE, 0);
	return mdev->pt_pool ? 0 : -ENOMEM;
}

/* The device is stopped and about to lose its DMA: take the tables from whoever still has the file open. */
void mica_mmu_unplug(struct mica_device *mdev)
{
	struct mica_vm *vm;

	mutex_lock(&mdev->list_lock);
	list_for_each_entry(vm, &mdev->vms, link) {
		mutex_lock(&vm->lock);
		mica_pt_free(mdev, vm->root);
		vm->root = NULL;
		mutex_unlock(&vm->lock);
	}
	mutex_unlock(&mdev->list_lock);
	dma_pool_destroy(mdev->pt_pool);
	mdev->pt_pool = NULL;
}
