// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buffers: shmem GEM objects, their mappings into address spaces, and the ioctls on them.
 */
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/mm.h>

#include <drm/drm_prime.h>
#include <drm/drm_utils.h>

#include "mica_drv.h"

MODULE_IMPORT_NS(DMA_BUF);

#define MICA_BIG_PAGE	0x200000ull

static void mica_mapping_release(struct kref *ref)
{
	struct mica_mapping *m = container_of(ref, struct mica_mapping, ref);
	struct mica_vm *vm = m->vm;

	if (m->mapped) {
		mica_vm_unmap(vm, m->node.start, m->node.size);
		mica_vm_flush(vm);
	}
	if (drm_mm_node_allocated(&m->node)) {
		mutex_lock(&vm->lock);
		drm_mm_remove_node(&m->node);
		mutex_unlock(&vm->lock);
	}
	drm_gem_object_put(&m->bo->shmem.base);
	mica_vm_put(vm);
	kfree(m);
}

/* May sleep and wait for the MMU. */
void mica_mapping_put(struct mica_mapping *mapping)
{
	kref_put(&mapping->ref, mica_mapping_release);
}

static struct mica_mapping *mica_mapping_find(struct mica_bo *bo, struct mica_vm *vm)
{
	struct mica_mapping *m;

	lockdep_assert_held(&bo->map_lock);
	list_for_each_entry(m, &bo->mappings, link)
		if (m->vm == vm)
			return m;
	return NULL;
}

/* With a reference; NULL when there is no such handle. */
struct mica_mapping *mica_mapping_lookup(struct drm_file *file, u32 handle)
{
	struct mica_file *mf = file->driver_priv;
	struct drm_gem_object *obj = drm_gem_object_lookup(file, handle);
	struct mica_mapping *m;
	struct mica_bo *bo;

	if (!obj)
		return NULL;
	bo = to_mica_bo(obj);
	mutex_lock(&bo->map_lock);
	m = mica_mapping_find(bo, mf->vm);
	if (m)
		kref_get(&m->ref);
	mutex_unlock(&bo->map_lock);
	drm_gem_object_put(obj);
	return m;
}

static struct mica_mapping *mica_mapping_create(struct mica_bo *bo, struct mica_vm *vm)
{
	struct drm_gem_object *obj = &bo->shmem.base;
	struct mica_mapping *m;
	struct sg_table *sgt;
	int ret;

	m = kzalloc(sizeof(*m), GFP_KERNEL_ACCOUNT);
	if (!m)
		return ERR_PTR(-ENOMEM);
	kref_init(&m->ref);
	INIT_LIST_HEAD(&m->link);
	m->bo = bo;
	drm_gem_object_get(obj);
	m->vm = vm;
	kref_get(&vm->ref);

	mutex_lock(&vm->lock);
	ret = drm_mm_insert_node_generic(&vm->mm, &m->node, obj->size,
					 obj->size >= MICA_BIG_PAGE ? MICA_BIG_PAGE : PAGE_SIZE,
					 0, DRM_MM_INSERT_BEST);
	mutex_unlock(&vm->lock);
	if (ret)
		goto err_put;
	sgt = drm_gem_shmem_get_pages_sgt(&bo->shmem);
	if (IS_ERR(sgt)) {
		ret = PTR_ERR(sgt);
		goto err_put;
	}
	m->mapped = true;
	ret = mica_vm_map(vm, m->node.start, sgt, obj->size);
	if (ret)
		goto err_put;
	return m;

err_put:
	mica_mapping_put(m);
	return ERR_PTR(ret);
}

/* A handle was made: map the buffer, or count the handle if the file had one already. */
static int mica_gem_open(struct drm_gem_object *obj, struct drm_file *file)
{
	struct mica_bo *bo = to_mica_bo(obj);
	struct mica_file *mf = file->driver_priv;
	struct mica_mapping *m;
	int idx, ret = 0;

	if (!drm_dev_enter(obj->dev, &idx))
		return -ENODEV;
	mutex_lock(&bo->map_lock);
	m = mica_mapping_find(bo, mf->vm);
	if (!m) {
		m = mica_mapping_create(bo, mf->vm);
		if (IS_ERR(m)) {
			ret = PTR_ERR(m);
			goto out;
		}
		list_add(&m->link, &bo->mappings);
	}
	m->handles++;
out:
	mutex_unlock(&bo->map_lock);
	drm_dev_exit(idx);
	return ret;
}

static void mica_gem_close(struct drm_gem_object *obj, struct drm_file *file)
{
	struct mica_bo *bo = to_mica_bo(obj);
	struct mica_file *mf = file->driver_priv;
	struct mica_mapping *m;

	mutex_lock(&bo->map_lock);
	m = mica_mapping_find(bo, mf->vm);
	if (m && !--m->handles)
		list_del_init(&m->link);
	else
		m = NULL;
	mutex_unlock(&bo->map_lock);
	if (m)
		mica_mapping_put(m);
}

/* Takes back what was mapped for the device's DMA, in a way that drm_gem_shmem_free() knows to have happened. */
static void mica_bo_drop_dma(struct mica_bo *bo)
{
	struct drm_gem_object *obj = &bo->shmem.base;
	struct sg_table *sgt = bo->shmem.sgt;

	lockdep_assert_held(&to_mica(obj->dev)->list_lock);
	if (!sgt)
		return;
	bo->shmem.sgt = NULL;
	if (obj->import_attach) {
		dma_buf_unmap_attachment_unlocked(obj->import_attach, sgt, DMA_BIDIRECTIONAL);
	} else {
		dma_unmap_sgtable(obj->dev->dev, sgt, DMA_BIDIRECTIONAL, 0);
		sg_free_table(sgt);
		kfree(sgt);
	}
}

static void mica_gem_free(struct drm_gem_object *obj)
{
	struct mica_device *mdev = to_mica(obj->dev);
	struct mica_bo *bo = to_mica_bo(obj);

	mutex_lock(&mdev->list_lock);
	mica_bo_drop_dma(bo);
	list_del_init(&bo->link);
	mutex_unlock(&mdev->list_lock);
	mutex_destroy(&bo->map_lock);
	drm_gem_shmem_free(&bo->shmem);
}

static enum drm_gem_object_status mica_gem_status(struct drm_gem_object *obj)
{
	return to_drm_gem_shmem_obj(obj)->sgt ? DRM_GEM_OBJECT_RESIDENT : 0;
}

static const struct drm_gem_object_funcs mica_gem_funcs = {
	.open = mica_gem_open,
	.close = mica_gem_close,
	.free = mica_gem_free,
	.print_info = drm_gem_shmem_object_print_info,
	.pin = drm_gem_shmem_object_pin,
	.unpin = drm_gem_shmem_object_unpin,
	.get_sg_table = drm_gem_shmem_object_get_sg_table,
	.vmap = drm_gem_shmem_object_vmap,
	.vunmap = drm_gem_shmem_object_vunmap,
	.mmap = drm_gem_shmem_object_mmap,
	.status = mica_gem_status,
	.vm_ops = &drm_gem_shmem_vm_ops,
};

/* For new buffers and imported ones. */
struct drm_gem_object *mica_gem_create_object(struct drm_device *drm, size_t size)
{
	struct mica_bo *bo = kzalloc(sizeof(*bo), GFP_KERNEL);

	if (!bo)
		return ERR_PTR(-ENOMEM);
	mutex_init(&bo->map_lock);
	INIT_LIST_HEAD(&bo->link);
	INIT_LIST_HEAD(&bo->mappings);
	bo->shmem.base.funcs = &mica_gem_funcs;
	return &bo->shmem.base;
}

/* Before the object has a handle, and within drm_dev_enter(). */
static void mica_bo_list(struct drm_gem_object *obj)
{
	struct mica_device *mdev = to_mica(obj->dev);
	struct mica_bo *bo = to_mica_bo(obj);

	mutex_lock(&mdev->list_lock);
	if (list_empty(&bo->link))
		list_add(&bo->link, &mdev->bos);
	mutex_unlock(&mdev->list_lock);
}

struct drm_gem_object *mica_gem_prime_import(struct drm_device *drm, struct dma_buf *buf)
{
	struct drm_gem_object *obj;
	int idx;

	if (!drm_dev_enter(drm, &idx))
		return ERR_PTR(-ENODEV);
	obj = drm_gem_prime_import(drm, buf);
	if (!IS_ERR(obj))
		mica_bo_list(obj);
	drm_dev_exit(idx);
	return obj;
}

/* The device loses its DMA: unmap what was mapped for it. Pages stay, so that mmap()s go on working. */
void mica_gem_unplug(struct mica_device *mdev)
{
	struct mica_bo *bo;

	mutex_lock(&mdev->list_lock);
	list_for_each_entry(bo, &mdev->bos, link)
		mica_bo_drop_dma(bo);
	mutex_unlock(&mdev->list_lock);
}

static int mica_bo_describe(struct drm_file *file, u32 handle, u64 *size, u64 *offset, u64 *va)
{
	struct mica_mapping *m = mica_mapping_lookup(file, handle);
	struct drm_gem_object *obj;
	int ret = 0;

	if (!m)
		return -ENOENT;
	obj = &m->bo->shmem.base;
	*size = obj->size;
	*va = m->node.start;
	*offset = 0;
	if (!obj->import_attach) {
		ret = drm_gem_create_mmap_offset(obj);
		if (!ret)
			*offset = drm_vma_node_offset_addr(&obj->vma_node);
	}
	mica_mapping_put(m);
	return ret;
}

int mica_ioctl_bo_create(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_mica_bo_create *args = data;
	struct drm_gem_shmem_object *shmem;
	u32 handle;
	int ret;

	if (args->flags)
		return -EINVAL;
	if (!args->size || args->size > MICA_VA_END - MICA_VA_START)
		return -EINVAL;
	if (args->size >> PAGE_SHIFT > totalram_pages())
		return -ENOMEM;
	shmem = drm_gem_shmem_create(drm, PAGE_ALIGN(args->size));
	if (IS_ERR(shmem))	/* ENOSPC is shmem's word for an inode that it could not allocate */
		return PTR_ERR(shmem) == -ENOSPC ? -ENOMEM : PTR_ERR(shmem);
	mica_bo_list(&shmem->base);
	ret = drm_gem_handle_create(file, &shmem->base, &handle);
	drm_gem_object_put(&shmem->base);
	if (ret)
		return ret;
	ret = mica_bo_describe(file, handle, &args->size, &args->mmap_offset, &args->va);
	if (ret)
		drm_gem_handle_delete(file, handle);
	else
		args->handle = handle;
	return ret;
}

int mica_ioctl_bo_info(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_mica_bo_info *args = data;

	if (args->pad)
		return -EINVAL;
	return mica_bo_describe(file, args->handle, &args->size, &args->mmap_offset, &args->va);
}

int mica_ioctl_bo_wait(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_mica_bo_wait *args = data;
	struct drm_gem_object *obj;
	enum dma_resv_usage usage;
	long left;

	if (args->flags & ~DRM_MICA_BO_WAIT_WRITE)
		return -EINVAL;
	obj = drm_gem_object_lookup(file, args->handle);
	if (!obj)
		return -ENOENT;
	usage = dma_resv_usage_rw(!(args->flags & DRM_MICA_BO_WAIT_WRITE));
	left = dma_resv_wait_timeout(obj->resv, usage, true,
				     drm_timeout_abs_to_jiffies(args->timeout_ns));
	if (!left)
		left = dma_resv_test_signaled(obj->resv, usage) ? 1 : -ETIME;
	drm_gem_object_put(obj);
	return left < 0 ? left : 0;
}
