/* SPDX-License-Identifier: MIT */
/* What the engine's tests share: random numbers, packets with one line, limits. Include after engine_internal.h. */
#ifndef ENGINE_UTIL_H
#define ENGINE_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "engine_internal.h"

static uint64_t rng_state = 0x9e3779b97f4a7c15ull;

__attribute__((unused)) static uint32_t rnd(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return (uint32_t)(rng_state >> 16);
}

__attribute__((unused)) static uint32_t between(uint32_t lo, uint32_t hi)
{
	return lo + rnd() % (hi - lo + 1);
}

__attribute__((unused)) static bool chance(unsigned percent)
{
	return rnd() % 100 < percent;
}

__attribute__((unused)) static float bits_float(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, 4);
	return f;
}

__attribute__((unused)) static uint32_t float_bits(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, 4);
	return bits;
}

/* An empty packet of an opcode, with its size filled in. */
__attribute__((unused)) static union mica_pkt packet(unsigned opcode)
{
	union mica_pkt p;

	memset(&p, 0, sizeof(p));
	p.hdr.opcode = (uint8_t)opcode;
	p.hdr.units = (uint8_t)(mica_op_info(opcode)->size / MICA_PKT_ALIGN);
	return p;
}

/* A view over d with nothing between the elements. */
__attribute__((unused))
static struct mica_view dense_view(uint32_t addr, unsigned dtype, uint32_t n, uint32_t h, uint32_t w, uint32_t c)
{
	uint32_t size = mica_dtype_size(dtype);

	(void)n;
	return (struct mica_view){ .addr = addr, .dtype = (uint8_t)dtype, .scale = 1.0f,
				   .stride = { h * w * c * size, w * c * size, c * size, size } };
}

/* Codes that are ordinary numbers in every type, now and then any bits. */
__attribute__((unused)) static void fill_codes(uint8_t *at, size_t n, bool wild)
{
	for (size_t i = 0; i < n; i++)
		at[i] = (uint8_t)(wild && chance(2) ? rnd() : between(0x20, 0x48) | (rnd() & 0x80));
}

__attribute__((unused)) static const struct mica_path *const all_paths[] = {
	&mica_path_scalar, &mica_path_fma, &mica_path_avx2, &mica_path_avx512,
};

#endif
