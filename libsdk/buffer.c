// SPDX-License-Identifier: MIT
/* Buffers: memory of a device that sessions can use without copies. */
#include <errno.h>
#include <stdlib.h>
#include "sdk.h"

static struct mica_buffer *buffer_new(struct mica_device *dev, size_t size)
{
	struct mica_buffer *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	device_get(dev);
	b->dev = dev;
	b->size = size;
	b->fd = -1;
	return b;
}

static void buffer_delete(struct mica_buffer *b)
{
	device_put(b->dev);
	free(b);
}

int mica_buffer_alloc(struct mica_device *dev, size_t size, struct mica_buffer **out)
{
	struct mica_buffer *b;
	int ret;

	*out = NULL;
	if (!dev || !size)
		return sdk_err(EINVAL, "a buffer needs a device and a size above 0");
	b = buffer_new(dev, size);
	if (!b)
		return sdk_nomem("a buffer");
	ret = dev->be->buffer_alloc(b);
	if (ret) {
		buffer_delete(b);
		return ret;
	}
	*out = b;
	return 0;
}

int mica_buffer_import(struct mica_device *dev, int fd, size_t size, struct mica_buffer **out)
{
	struct mica_buffer *b;
	int ret;

	*out = NULL;
	if (!dev || fd < 0 || !size)
		return sdk_err(EINVAL, "an import needs a device, a file descriptor and a size above 0");
	b = buffer_new(dev, size);
	if (!b)
		return sdk_nomem("a buffer");
	ret = dev->be->buffer_import(b, fd);
	if (ret) {
		buffer_delete(b);
		return ret;
	}
	*out = b;
	return 0;
}

int mica_buffer_export(struct mica_buffer *b)
{
	return b->dev->be->buffer_export(b);
}

void mica_buffer_free(struct mica_buffer *b)
{
	if (!b)
		return;
	b->dev->be->buffer_free(b);
	buffer_delete(b);
}

void *mica_buffer_map(struct mica_buffer *b)
{
	return b->map;
}

size_t mica_buffer_size(const struct mica_buffer *b)
{
	return b->size;
}
