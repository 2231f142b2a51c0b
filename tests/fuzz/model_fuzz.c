// SPDX-License-Identifier: MIT
/*
 * The reader of .mica files, and the CPU backend behind it: a container is refused, or everything that it says can be
 * asked, and its commands run or fault. Mutations keep the checksums right, so that they get past them.
 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include "mica.h"
#include "mica/model.h"
#include "wire.h"

#define MAX_MEMORY (8u << 20)		/* sessions that want more are not made */
#define RUN_TIME   (20 * 1000 * 1000ll) /* ns; a longer job is stopped */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

static struct mica_device *device(void)
{
	static struct mica_device *dev;
	struct mica_device_options o = MICA_DEVICE_OPTIONS_INIT;

	o.backend = MICA_BACKEND_CPU;
	if (!dev && mica_device_open(&o, &dev))
		abort();
	return dev;
}

/* Reads everything that a model says of itself; returns the bytes that a session would take. */
static uint64_t ask(struct mica_model *m)
{
	struct mica_model_info info;
	struct mica_layer_info layer;
	struct mica_plan_info plan;
	uint64_t bytes;
	const void *commands;
	size_t n;

	mica_model_get_info(m, &info);
	bytes = info.arena_size + (uint64_t)info.lmem_size * info.cores;
	for (unsigned i = 0; i < info.layers; i++)
		mica_model_layer(m, i, &layer);
	for (unsigned i = 0; i < info.plan_entries; i++)
		mica_model_plan_entry(m, i, &plan);
	for (unsigned i = 0; i <= info.cores; i++)
		mica_model_stream(m, i, &commands, &n);
	for (unsigned i = 0; i < mica_model_input_count(m); i++)
		bytes += mica_model_input(m, i)->bytes;
	for (unsigned i = 0; i < mica_model_output_count(m); i++)
		bytes += mica_model_output(m, i)->bytes;
	return bytes;
}

static void read_outputs(struct mica_model *m, struct mica_session *s)
{
	for (unsigned i = 0; i < mica_model_output_count(m); i++) {
		size_t n = mica_model_output(m, i)->elements;
		float *values = malloc(n * sizeof(*values) + 1);

		if (values)
			mica_session_get_output_f32(s, i, values, n);
		free(values);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mica_session *s;
	struct mica_model *m;

	if (mica_model_load_memory(device(), data, size, &m))
		return 0;
	if (ask(m) <= MAX_MEMORY && !mica_session_create(m, &s)) {
		if (!mica_session_submit(s) && !mica_session_wait(s, RUN_TIME))
			read_outputs(m, s);
		mica_session_destroy(s);
	}
	mica_model_close(m);
	return 0;
}

/* The frame around metadata of meta_size bytes, blob behind it, with right checksums. */
static size_t frame(uint8_t *data, size_t max, const uint8_t *meta, size_t meta_size, const uint8_t *blob, size_t blob_size)
{
	struct mica_model_header h = { .magic = MICA_MODEL_MAGIC, .version = MICA_MODEL_VERSION,
				       .header_size = sizeof(h), .meta_size = meta_size, .blob_size = blob_size };

	h.blob_offset = (sizeof(h) + meta_size + 63) / 64 * 64;
	if (h.blob_offset + blob_size > max)
		return 0;
	h.meta_crc = crc32_z(0, meta, meta_size);
	h.blob_crc = crc32_z(0, blob, blob_size);
	h.header_crc = crc32_z(0, (const uint8_t *)&h, sizeof(h));
	memset(data, 0, h.blob_offset);
	memcpy(data, &h, sizeof(h));
	memcpy(data + sizeof(h), meta, meta_size);
	memcpy(data + h.blob_offset, blob, blob_size);
	return h.blob_offset + blob_size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	struct mica_model_header h;
	uint8_t *meta, *blob;
	size_t n = 0, meta_size;

	memcpy(&h, data, size < sizeof(h) ? size : sizeof(h));
	if (seed % 16 == 0 || size < sizeof(h) || h.meta_size > size - sizeof(h) || h.blob_offset > size ||
	    h.blob_size > size - h.blob_offset)
		return LLVMFuzzerMutate(data, size, max);
	meta = malloc(max);
	blob = malloc(h.blob_size + 1);
	if (!meta || !blob)
		abort();
	memcpy(meta, data + sizeof(h), h.meta_size);
	memcpy(blob, data + h.blob_offset, h.blob_size);
	meta_size = wire_mutate(meta, h.meta_size, max - sizeof(h) - 64, seed);
	if (seed % 16 == 1 && h.blob_size)
		h.blob_size = LLVMFuzzerMutate(blob, h.blob_size, h.blob_size);
	n = frame(data, max, meta, meta_size, blob, h.blob_size);
	free(meta);
	free(blob);
	return n ? n : size;
}
