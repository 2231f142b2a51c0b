// SPDX-License-Identifier: MIT
/* The device backend: devices, buffers and models by the driver's ioctls (drm/mica_accel.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xf86drm.h>
#include "drm_backend.h"

int drm_err(const struct mica_device *dev, int err, const char *what)
{
	switch (err) {
	case ENODEV:
		return sdk_err(ENODEV, "%s: %s: the device is gone (unplugged or its driver unloaded)", dev->info.name, what);
	case EIO:
		return sdk_err(EIO, "%s: %s: the device is wedged; see 'dmesg | grep mica', then reload the driver", dev->info.name, what);
	case ENOSPC:
		return sdk_err(ENOSPC, "%s: %s: no context slot or address space left; close other sessions", dev->info.name, what);
	default:
		return sdk_err(err, "%s: %s: %s", dev->info.name, what, strerror(err));
	}
}

static int query(const struct mica_device *dev, uint32_t type, uint32_t id, void *data, uint32_t size)
{
	struct drm_mica_query q = { .type = type, .id = id, .size = size, .data = (uintptr_t)data };

	return drmIoctl(drm_dev(dev)->fd, DRM_IOCTL_MICA_QUERY, &q) ? -errno : 0;
}

int drm_query_context(const struct mica_device *dev, uint32_t ctx, struct drm_mica_context_info *info)
{
	*info = (struct drm_mica_context_info){ 0 };
	return query(dev, DRM_MICA_QUERY_CONTEXT, ctx, info, sizeof(*info));
}

/* ---- device ---- */

static int fill_info(struct mica_device *dev)
{
	struct drm_mica_device_info d = { 0 };
	struct mica_device_info *info = &dev->info;
	drmVersionPtr v;
	int ret = query(dev, DRM_MICA_QUERY_DEVICE, 0, &d, sizeof(d));

	if (ret)
		return drm_err(dev, -ret, "cannot ask for its properties");
	v = drmGetVersion(drm_dev(dev)->fd);
	if (v) {
		info->driver_major = v->version_major;
		info->driver_minor = v->version_minor;
		drmFreeVersion(v);
	}
	info->backend = MICA_BACKEND_DEVICE;
	info->cores = d.cores;
	info->lmem_size = d.lmem_size;
	info->mac_rows = d.mac_rows;
	info->mac_cols = d.mac_cols;
	info->vector_lanes = d.vector_lanes;
	info->dram_bytes_per_cycle = d.dram_bytes_per_cycle;
	info->clock_khz = d.clock_khz;
	info->hw_version = d.hw_version;
	info->fw_version = d.fw_version;
	info->fw_abi = d.fw_abi;
	info->isa_version = d.isa_version;
	info->resets = d.resets;
	if (info->driver_major != MICA_DRIVER_MAJOR)
		return sdk_err(EPROTONOSUPPORT, "%s: its driver has interface version %u, this libmica (%s) speaks %u; update the older one",
			       info->name, info->driver_major, mica_version(), MICA_DRIVER_MAJOR);
	if (info->isa_version != MICA_ISA_VERSION)
		return sdk_err(EPROTONOSUPPORT, "%s: the device has ISA version %u, this libmica (%s) speaks %u", info->name,
			       info->isa_version, mica_version(), MICA_ISA_VERSION);
	return 0;
}

/* AUTO tries a ring: kernels and sandboxes may forbid them. */
static int choose_submit(struct mica_device *dev, enum mica_submit submit)
{
	struct drm_device *dd = drm_dev(dev);
	struct io_uring ring;
	int ret = -ENOSYS;

	if (submit != MICA_SUBMIT_IOCTL) {
		ret = drm_ring_init(&ring, 1);
		if (!ret)
			io_uring_queue_exit(&ring);
	}
	if (ret && submit == MICA_SUBMIT_URING)
		return sdk_err(-ret, "this system does not let us use io_uring (%s); submit by ioctl instead", strerror(-ret));
	dd->uring = !ret;
	dev->info.submit = dd->uring ? MICA_SUBMIT_URING : MICA_SUBMIT_IOCTL;
	return 0;
}

static int drm_open(struct mica_device *dev, const struct mica_device_options *o)
{
	struct drm_device *dd = calloc(1, sizeof(*dd));
	int ret;

	if (!dd)
		return sdk_nomem("a device");
	dd->fd = drm_find_open(o, dev->info.name, sizeof(dev->info.name));
	if (dd->fd < 0) {
		ret = dd->fd;
		goto err_free;
	}
	dev->priv = dd;
	pthread_mutex_init(&dd->lock, NULL);
	ret = fill_info(dev);
	if (!ret)
		ret = choose_submit(dev, o->submit);
	if (ret)
		goto err_close;
	return 0;

err_close:
	pthread_mutex_destroy(&dd->lock);
	close(dd->fd);
err_free:
	free(dd);
	return ret;
}

static void drm_close(struct mica_device *dev)
{
	struct drm_device *dd = drm_dev(dev);

	pthread_mutex_destroy(&dd->lock);
	close(dd->fd);
	free(dd);
}

/* ---- handles ---- */

static int handle_get(struct drm_device *dd, uint32_t handle)
{
	struct drm_handle *h;

	for (h = dd->handles; h; h = h->next) {
		if (h->handle == handle) {
			h->refs++;
			return 0;
		}
	}
	h = malloc(sizeof(*h));
	if (!h)
		return -ENOMEM;
	*h = (struct drm_handle){ dd->handles, handle, 1 };
	dd->handles = h;
	return 0;
}

static void handle_close(struct drm_device *dd, uint32_t handle)
{
	struct drm_gem_close arg = { .handle = handle };

	drmIoctl(dd->fd, DRM_IOCTL_GEM_CLOSE, &arg);
}

static void handle_put(struct drm_device *dd, uint32_t handle)
{
	pthread_mutex_lock(&dd->lock);
	for (struct drm_handle **p = &dd->handles; *p; p = &(*p)->next) {
		struct drm_handle *h = *p;

		if (h->handle != handle || --h->refs)
			continue;
		*p = h->next;
		free(h);
		handle_close(dd, handle);
		break;
	}
	pthread_mutex_unlock(&dd->lock);
}

/* ---- buffers ---- */

static int map_buffer(struct mica_buffer *b, int fd, uint64_t offset)
{
	b->map = mmap(NULL, b->map_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
	if (b->map == MAP_FAILED)
		return sdk_err(errno, "%s: cannot map a buffer of %zu bytes: %s", b->dev->info.name, b->map_size, strerror(errno));
	return 0;
}

static int drm_buffer_alloc(struct mica_buffer *b)
{
	struct drm_device *dd = drm_dev(b->dev);
	struct drm_mica_bo_create arg = { .size = b->size };
	int ret;

	if (drmIoctl(dd->fd, DRM_IOCTL_MICA_BO_CREATE, &arg))
		return drm_err(b->dev, errno, "cannot create a buffer");
	b->handle = arg.handle;
	b->map_size = arg.size;
	pthread_mutex_lock(&dd->lock);
	ret = handle_get(dd, b->handle);
	pthread_mutex_unlock(&dd->lock);
	if (ret) {
		handle_close(dd, b->handle);
		return sdk_nomem("a buffer");
	}
	ret = map_buffer(b, dd->fd, arg.mmap_offset);
	if (ret)
		handle_put(dd, b->handle);
	return ret;
}

/* Handle lookup and counting are one step: another thread might close the last reference in between. */
static int import_handle(struct mica_buffer *b, int fd)
{
	struct drm_device *dd = drm_dev(b->dev);
	int ret;

	pthread_mutex_lock(&dd->lock);
	ret = drmPrimeFDToHandle(dd->fd, fd, &b->handle) ? -errno : handle_get(dd, b->handle);
	pthread_mutex_unlock(&dd->lock);
	return ret ? drm_err(b->dev, -ret, "cannot import the dma-buf") : 0;
}

static int drm_buffer_import(struct mica_buffer *b, int fd)
{
	struct drm_device *dd = drm_dev(b->dev);
	struct drm_mica_bo_info arg = { 0 };
	int ret = import_handle(b, fd);

	if (ret)
		return ret;
	arg.handle = b->handle;
	if (drmIoctl(dd->fd, DRM_IOCTL_MICA_BO_INFO, &arg)) {
		ret = drm_err(b->dev, errno, "cannot look at the imported buffer");
		goto err_handle;
	}
	if (arg.size < b->size) {
		ret = sdk_err(ERANGE, "the imported buffer has %llu bytes, %zu were asked for", (unsigned long long)arg.size, b->size);
		goto err_handle;
	}
	b->map_size = b->size;
	b->fd = dup(fd);
	if (b->fd < 0) {
		ret = sdk_err(errno, "cannot keep the imported descriptor: %s", strerror(errno));
		goto err_handle;
	}
	ret = map_buffer(b, b->fd, 0);
	if (ret)
		goto err_fd;
	return 0;

err_fd:
	close(b->fd);
err_handle:
	handle_put(dd, b->handle);
	return ret;
}

static int drm_buffer_export(struct mica_buffer *b)
{
	int fd;

	if (drmPrimeHandleToFD(drm_dev(b->dev)->fd, b->handle, DRM_CLOEXEC | DRM_RDWR, &fd))
		return drm_err(b->dev, errno, "cannot export the buffer");
	return fd;
}

static void drm_buffer_free(struct mica_buffer *b)
{
	munmap(b->map, b->map_size);
	if (b->fd >= 0)
		close(b->fd);
	handle_put(drm_dev(b->dev), b->handle);
}

/* ---- models ---- */

/* One buffer for weights and commands, shared by all sessions of the model. */
static int drm_model_load(struct mica_model *m)
{
	const struct mica_device_info *info = &m->dev->info;
	size_t blob = align_up(m->c.blob_size, MICA_PKT_ALIGN);
	int ret;

	if (m->cores > info->cores)
		return sdk_err(E2BIG, "%s was compiled for %u cores, %s has %u; compile it with --cores=%u", m->c.meta->name, m->cores,
			       info->name, info->cores, info->cores);
	if (m->c.meta->lmem_size > info->lmem_size)
		return sdk_err(E2BIG, "%s was compiled for %u bytes of LMEM per core, %s has %u; compile it with --lmem=%u",
			       m->c.meta->name, m->c.meta->lmem_size, info->name, info->lmem_size, info->lmem_size);
	ret = mica_buffer_alloc(m->dev, blob + m->stream_mem_size + MICA_PKT_ALIGN, &m->weights);	/* never empty */
	if (ret)
		return ret;
	memcpy(m->weights->map, m->c.blob, m->c.blob_size);
	memcpy((uint8_t *)m->weights->map + blob, m->stream_mem, m->stream_mem_size);
	sdk_file_free(&m->file);
	m->c.blob = NULL;
	return 0;
}

static void drm_model_unload(struct mica_model *m)
{
	mica_buffer_free(m->weights);
}

static int drm_submit(struct mica_session *s)
{
	return drm_path(s)->submit(s);
}

static int drm_wait(struct mica_session *s, int64_t timeout_ns)
{
	return drm_path(s)->wait(s, timeout_ns);
}

static int drm_run(struct mica_session *s, int64_t timeout_ns)
{
	return drm_path(s)->run(s, timeout_ns);
}

static int drm_eventfd(struct mica_session *s)
{
	return drm_path(s)->eventfd(s);
}

const struct backend backend_drm = {
	.name = "device",
	.open = drm_open,
	.close = drm_close,
	.buffer_alloc = drm_buffer_alloc,
	.buffer_import = drm_buffer_import,
	.buffer_export = drm_buffer_export,
	.buffer_free = drm_buffer_free,
	.model_load = drm_model_load,
	.model_unload = drm_model_unload,
	.session_create = drm_session_create,
	.session_destroy = drm_session_destroy,
	.session_bind = drm_session_bind,
	.session_phase = drm_session_phase,
	.submit = drm_submit,
	.wait = drm_wait,
	.run = drm_run,
	.eventfd = drm_eventfd,
	.null_jobs = drm_null_jobs,
};
