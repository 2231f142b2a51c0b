// SPDX-License-Identifier: MIT
/* Devices: picks the backend, counts references. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "drm_backend.h"
#include "sdk.h"

void device_get(struct mica_device *dev)
{
	atomic_fetch_add_explicit(&dev->refs, 1, memory_order_relaxed);
}

void device_put(struct mica_device *dev)
{
	if (atomic_fetch_sub_explicit(&dev->refs, 1, memory_order_acq_rel) != 1)
		return;
	dev->be->close(dev);
	free(dev);
}

/* Takes as much of the caller's struct as it has; a newer one must not use what we don't know. */
static int take_options(const struct mica_device_options *in, struct mica_device_options *o)
{
	*o = (struct mica_device_options)MICA_DEVICE_OPTIONS_INIT;
	if (in) {
		if (in->size < offsetof(struct mica_device_options, path) || in->size > sizeof(*o))
			return sdk_err(EINVAL, "mica_device_options.size is %zu, expected %zu: start from MICA_DEVICE_OPTIONS_INIT",
				       in->size, sizeof(*o));
		memcpy(o, in, in->size);
		o->size = sizeof(*o);
	}
	if (o->backend > MICA_BACKEND_CPU || o->submit > MICA_SUBMIT_IOCTL || o->isa > MICA_CPU_AVX512 ||
	    o->priority > MICA_PRIORITY_REALTIME)
		return sdk_err(EINVAL, "an enumeration in mica_device_options is out of range");
	if (o->threads > MICA_MAX_THREADS)
		return sdk_err(EINVAL, "%u threads are too many (at most %u)", o->threads, MICA_MAX_THREADS);
	if (!o->threads)
		o->threads = 1;
	return 0;
}

static int open_with(const struct backend *be, const struct mica_device_options *o, struct mica_device **out)
{
	struct mica_device *dev = calloc(1, sizeof(*dev));
	int ret;

	if (!dev)
		return sdk_nomem("a device");
	atomic_init(&dev->refs, 1);
	dev->be = be;
	dev->priority = o->priority;
	ret = be->open(dev, o);
	if (ret) {
		free(dev);
		return ret;
	}
	*out = dev;
	return 0;
}

int mica_device_open(const struct mica_device_options *options, struct mica_device **out)
{
	struct mica_device_options o;
	int ret;

	*out = NULL;
	ret = take_options(options, &o);
	if (ret)
		return ret;
	if (o.backend == MICA_BACKEND_CPU)
		return open_with(&backend_cpu, &o, out);
	if (o.backend == MICA_BACKEND_AUTO && !o.path && !mica_device_list(NULL, 0))
		return open_with(&backend_cpu, &o, out);
	return open_with(&backend_drm, &o, out);
}

void mica_device_close(struct mica_device *dev)
{
	if (dev)
		device_put(dev);
}

int mica_device_get_info(struct mica_device *dev, struct mica_device_info *info)
{
	*info = dev->info;
	return 0;
}

int mica_device_null_jobs(struct mica_device *dev, unsigned depth, double seconds, struct mica_null_result *result,
			  double *latency_us, size_t max_samples, size_t *samples)
{
	if (!depth || depth > 256)
		return sdk_err(EINVAL, "a depth of %u jobs is not possible (1..256)", depth);
	if (!(seconds > 0) || seconds > 86400)
		return sdk_err(EINVAL, "the time must lie above 0 and be at most a day");
	if (!dev->be->null_jobs)
		return sdk_err(EOPNOTSUPP, "null jobs measure the path to a device, and this is the CPU backend");
	return dev->be->null_jobs(dev, depth, seconds, result, latency_us, max_samples, samples);
}

enum mica_cpu_isa mica_cpu_isa_best(void)
{
	return (enum mica_cpu_isa)mica_isa_best();
}

const char *mica_cpu_isa_name(enum mica_cpu_isa isa)
{
	static const char *const names[] = { "auto", "scalar", "avx2", "avx512" };

	return isa <= MICA_CPU_AVX512 ? names[isa] : "?";
}

_Static_assert((int)MICA_CPU_AVX512 == (int)MICA_ISA_AVX512 && (int)MICA_CPU_SCALAR == (int)MICA_ISA_SCALAR,
	       "enum mica_cpu_isa mirrors enum mica_isa_level");
