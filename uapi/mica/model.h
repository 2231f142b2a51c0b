/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT */
/*
 * Frame of a compiled model (.mica): this header, `meta_size` bytes of mica.Model (model.proto), then the weights blob
 * (segment 0) at blob_offset, a multiple of 64. Little endian. Contract between compiler and SDK.
 *
 * magic, version and header_crc stay where they are in all versions, so that damage and another version can be told
 * apart: only when header_crc holds is the version believed.
 */
#ifndef MICA_MODEL_H
#define MICA_MODEL_H

#include <linux/types.h>
#include <stddef.h>

#define MICA_MODEL_MAGIC	0x006c646d6143494dull	/* "MICamdl\0" */
#define MICA_MODEL_VERSION	2u	/* 1: without phases; both are read, and 1 is written where it does */

struct mica_model_header {
	__u64 magic;
	__u32 version;
	__u32 header_size;		/* 64 */
	__u64 meta_size;
	__u64 blob_offset;
	__u64 blob_size;
	__u32 meta_crc;			/* zlib CRC-32 */
	__u32 blob_crc;
	__u32 header_crc;		/* of this struct with header_crc = 0 */
	__u32 rsvd[3];
};

_Static_assert(sizeof(struct mica_model_header) == 64, "struct mica_model_header has another size");
_Static_assert(offsetof(struct mica_model_header, meta_size) == 16, "moved");
_Static_assert(offsetof(struct mica_model_header, blob_offset) == 24, "moved");
_Static_assert(offsetof(struct mica_model_header, blob_size) == 32, "moved");
_Static_assert(offsetof(struct mica_model_header, meta_crc) == 40, "moved");
_Static_assert(offsetof(struct mica_model_header, header_crc) == 48, "moved");

#endif /* MICA_MODEL_H */
