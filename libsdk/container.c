// SPDX-License-Identifier: MIT
/* The .mica container (mica/model.h, model.proto): frame, checksums, and limits of everything that is used later. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <zlib.h>
#include "container_limits.h"
#include "mica/model.h"
#include "sdk.h"

static bool header_crc_good(const struct mica_model_header *h)
{
	struct mica_model_header copy = *h;

	copy.header_crc = 0;
	return crc32(0, (const Bytef *)&copy, sizeof(copy)) == h->header_crc;
}

/* crc32() takes 32-bit lengths. */
static uint32_t crc_of(const uint8_t *data, size_t size)
{
	return crc32_z(0, data, size);
}

static int check_magic(const uint8_t *data, size_t size, const char *name)
{
	uint64_t magic = MICA_MODEL_MAGIC;

	if (size && !memcmp(data, &magic, size < 8 ? size : 8) && size < sizeof(struct mica_model_header))
		return sdk_err(EBADMSG, "%s: truncated: %zu bytes hold not even the header; compile the model again", name,
			       size);
	if (size < 8 || memcmp(data, &magic, 8))
		return sdk_err(EBADMSG, "%s: is not a compiled model (.mica); make one with 'mica compile MODEL.onnx'", name);
	return 0;
}

static int check_frame(const uint8_t *data, size_t size, const char *name, struct mica_model_header *h)
{
	uint64_t meta_end, end;
	int ret = check_magic(data, size, name);

	if (ret)
		return ret;
	memcpy(h, data, sizeof(*h));
	if (!header_crc_good(h))
		return sdk_err(EBADMSG, "%s: corrupt header (checksum); compile the model again", name);
	if (!h->version || h->version > MICA_MODEL_VERSION)
		return sdk_err(EPROTONOSUPPORT, "%s: has format version %u, this libmica (%s) reads versions up to %u; compile the model again",
			       name, h->version, mica_version(), MICA_MODEL_VERSION);
	if (h->header_size != sizeof(*h) || h->rsvd[0] || h->rsvd[1] || h->rsvd[2])
		return sdk_err(EBADMSG, "%s: corrupt header (size or reserved fields)", name);
	if (__builtin_add_overflow(h->header_size, h->meta_size, &meta_end) ||
	    __builtin_add_overflow(h->blob_offset, h->blob_size, &end) || meta_end > h->blob_offset ||
	    h->blob_offset % MICA_PKT_ALIGN)
		return sdk_err(EBADMSG, "%s: corrupt header (its parts overlap)", name);
	if (end > size)
		return sdk_err(EBADMSG, "%s: truncated: %zu of %llu bytes; copy or compile the model again", name, size,
			       (unsigned long long)end);
	if (end < size)
		return sdk_err(EBADMSG, "%s: corrupt: %zu bytes behind its end", name, (size_t)(size - end));
	if (crc_of(data + h->header_size, h->meta_size) != h->meta_crc)
		return sdk_err(EBADMSG, "%s: corrupt metadata (checksum); copy or compile the model again", name);
	if (crc_of(data + h->blob_offset, h->blob_size) != h->blob_crc)
		return sdk_err(EBADMSG, "%s: corrupt weights (checksum); copy or compile the model again", name);
	return 0;
}

static int check_tensor(const Mica__Tensor *t, const char *what, size_t index, const char *name)
{
	uint64_t n = 1;

	if (!t->name[0])
		return sdk_err(EBADMSG, "%s: corrupt metadata: %s %zu has no name", name, what, index);
	if (!mica_dtype_size(t->dtype) || t->dtype > MICA_DTYPE_MAX)
		return sdk_err(EBADMSG, "%s: corrupt metadata: %s '%s' has the unknown type %u", name, what, t->name, t->dtype);
	if (t->n_dims > MICA_MAX_RANK)
		return sdk_err(EBADMSG, "%s: corrupt metadata: %s '%s' has rank %zu", name, what, t->name, t->n_dims);
	for (size_t i = 0; i < t->n_dims; i++)
		if (!t->dims[i] || __builtin_mul_overflow(n, t->dims[i], &n) || n > CONTAINER_MAX_ELEMENTS)
			return sdk_err(EBADMSG, "%s: corrupt metadata: %s '%s' has impossible dimensions", name, what, t->name);
	if (!isfinite(t->scale) || t->scale <= 0)
		return sdk_err(EBADMSG, "%s: corrupt metadata: %s '%s' has the scale %g", name, what, t->name, t->scale);
	if (!isfinite(t->range_min) || !isfinite(t->range_max) || t->range_min > t->range_max)
		return sdk_err(EBADMSG, "%s: corrupt metadata: %s '%s' has the range %g to %g", name, what, t->name, t->range_min,
			       t->range_max);
	if (t->zero < -128 || t->zero > 255)
		return sdk_err(EBADMSG, "%s: corrupt metadata: %s '%s' has the zero point %d", name, what, t->name, t->zero);
	return 0;
}

static int check_streams(const Mica__Model *m, const char *name)
{
	if (!m->n_streams || m->n_streams > MICA_MAX_CORES)
		return sdk_err(EBADMSG, "%s: corrupt metadata: %zu command streams (1..%u)", name, m->n_streams, MICA_MAX_CORES);
	for (size_t i = 0; i < m->n_streams; i++) {
		size_t len = m->streams[i]->commands.len;

		if (!len || len % MICA_PKT_ALIGN || len > CONTAINER_MAX_STREAM)
			return sdk_err(EBADMSG, "%s: corrupt metadata: command stream %zu has %zu bytes", name, i, len);
	}
	return 0;
}

static int check_meta(const Mica__Model *m, uint64_t blob_size, const char *name)
{
	int ret = 0;

	if (m->isa_version != MICA_ISA_VERSION)
		return sdk_err(EPROTONOSUPPORT, "%s: was compiled for ISA version %u, this libmica (%s) knows version %u; compile it again",
			       name, m->isa_version, mica_version(), MICA_ISA_VERSION);
	if (m->n_inputs + m->n_outputs + MICA_SEG_IO + 1 > MICA_MAX_SEGMENTS || !m->n_outputs)
		return sdk_err(EBADMSG, "%s: corrupt metadata: %zu inputs and %zu outputs", name, m->n_inputs, m->n_outputs);
	for (size_t i = 0; i < m->n_inputs && !ret; i++)
		ret = check_tensor(m->inputs[i], "input", i, name);
	for (size_t i = 0; i < m->n_outputs && !ret; i++)
		ret = check_tensor(m->outputs[i], "output", i, name);
	if (ret)
		return ret;
	if (m->lmem_size < CONTAINER_MIN_LMEM || m->lmem_size > CONTAINER_MAX_LMEM || m->lmem_size % MICA_LMEM_ALIGN)
		return sdk_err(EBADMSG, "%s: corrupt metadata: %u bytes of LMEM", name, m->lmem_size);
	if (m->arena_size > CONTAINER_MAX_ARENA)
		return sdk_err(EBADMSG, "%s: corrupt metadata: an arena of %llu bytes", name, (unsigned long long)m->arena_size);
	if (m->n_layers > CONTAINER_MAX_LAYERS)
		return sdk_err(EBADMSG, "%s: corrupt metadata: %zu layers", name, m->n_layers);
	return m->n_phases ? container_check_phases(m, blob_size, name) : check_streams(m, name);
}

int container_parse(const uint8_t *data, size_t size, const char *name, struct container *out)
{
	struct mica_model_header h;
	int ret = check_frame(data, size, name, &h);

	if (ret)
		return ret;
	out->meta = mica__model__unpack(NULL, h.meta_size, data + h.header_size);
	if (!out->meta)
		return sdk_err(EBADMSG, "%s: corrupt metadata (not a mica.Model message)", name);
	ret = check_meta(out->meta, h.blob_size, name);
	if (ret) {
		container_free(out);
		return ret;
	}
	out->blob = data + h.blob_offset;
	out->blob_size = h.blob_size;
	return 0;
}

void container_free(struct container *c)
{
	if (c->meta)
		mica__model__free_unpacked(c->meta, NULL);
	*c = (struct container){ 0 };
}
