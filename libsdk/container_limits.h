/* SPDX-License-Identifier: MIT */
/* What a sane .mica file stays within; larger values are taken for damage. */
#ifndef MICA_CONTAINER_LIMITS_H
#define MICA_CONTAINER_LIMITS_H

#define CONTAINER_MAX_FILE	(8ull << 30)
#define CONTAINER_MAX_ELEMENTS	(1ull << 31)
#define CONTAINER_MAX_STREAM	(1ull << 30)
#define CONTAINER_MIN_LMEM	4096u
#define CONTAINER_MAX_LMEM	(1u << 30)
#define CONTAINER_MAX_ARENA	(64ull << 30)
#define CONTAINER_MAX_LAYERS	65536u

#endif /* MICA_CONTAINER_LIMITS_H */
