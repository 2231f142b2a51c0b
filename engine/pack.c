// SPDX-License-Identifier: MIT
/* Weights into the order in which the matrix and vector engines read them (docs/isa.md). */
#include "engine_internal.h"

#include <string.h>

/* Elements of K that one lane holds side by side. */
static unsigned k_group(enum mica_dtype t)
{
	return t == MICA_F32 ? 1 : t == MICA_I8 ? 4 : 2;
}

size_t mica_pack_size(enum mica_dtype t, unsigned groups, unsigned cout_per_group, unsigned kh, unsigned kw,
		      unsigned cin_per_group)
{
	size_t k = (size_t)kh * kw * cin_per_group;

	return groups * div_up(cout_per_group, MICA_CH_BLOCK) * MICA_CH_BLOCK * round_up(k, k_group(t)) *
	       mica_dtype_size(t);
}

size_t mica_pack_size_dw(enum mica_dtype t, unsigned channels, unsigned kh, unsigned kw)
{
	return (size_t)pad16(channels) * kh * kw * mica_dtype_size(t);
}

size_t mica_params_size(unsigned groups, unsigned cout_per_group)
{
	return 3 * sizeof(uint32_t) * groups * (size_t)pad16(cout_per_group);
}

void mica_pack(enum mica_dtype t, unsigned groups, unsigned cout_per_group, unsigned kh, unsigned kw,
	       unsigned cin_per_group, const void *w, void *dst)
{
	size_t k_len = (size_t)kh * kw * cin_per_group, size = mica_dtype_size(t);
	size_t v = k_group(t), steps = div_up(k_len, v);
	size_t group_bytes = mica_pack_size(t, 1, cout_per_group, kh, kw, cin_per_group);
	const uint8_t *in = w;

	memset(dst, 0, groups * group_bytes);
	for (unsigned g = 0; g < groups; g++) {
		uint8_t *out = (uint8_t *)dst + g * group_bytes;

		for (unsigned c = 0; c < cout_per_group; c++) {
			const uint8_t *row = in + ((size_t)g * cout_per_group + c) * k_len * size;
			size_t block = c / MICA_CH_BLOCK, lane = c % MICA_CH_BLOCK;

			for (size_t k = 0; k < k_len; k++) {
				size_t at = ((block * steps + k / v) * MICA_CH_BLOCK + lane) * v + k % v;

				memcpy(out + at * size, row + k * size, size);
			}
		}
	}
}

void mica_pack_dw(enum mica_dtype t, unsigned channels, unsigned kh, unsigned kw, const void *w, void *dst)
{
	size_t k_len = (size_t)kh * kw, size = mica_dtype_size(t);
	const uint8_t *in = w;
	uint8_t *out = dst;

	memset(dst, 0, mica_pack_size_dw(t, channels, kh, kw));
	for (unsigned c = 0; c < channels; c++)
		for (size_t k = 0; k < k_len; k++) {
			size_t at = (c / MICA_CH_BLOCK * k_len + k) * MICA_CH_BLOCK + c % MICA_CH_BLOCK;

			memcpy(out + at * size, in + (c * k_len + k) * size, size);
		}
}
