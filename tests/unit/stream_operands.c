/* SPDX-License-Identifier: MIT */
/* What random packets work on: memory, views and constants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "stream_gen.h"
#include "../ref/ref.h"

uint64_t stream_rng;

uint32_t stream_rnd(void)
{
	stream_rng ^= stream_rng << 13;
	stream_rng ^= stream_rng >> 7;
	stream_rng ^= stream_rng << 17;
	return stream_rng >> 16;
}

static uint8_t *fresh(size_t n)
{
	uint8_t *p = aligned_alloc(64, n);

	assert_non_null(p);
	return p;
}

struct world world_new(void)
{
	struct world w = { fresh(STREAM_LMEM), { fresh(STREAM_DRAM), fresh(STREAM_DRAM), fresh(STREAM_DRAM) } };
	return w;
}

void world_free(struct world *w)
{
	free(w->lmem);
	for (int i = 0; i < 3; i++)
		free(w->seg[i]);
}

void world_copy(struct world *d, const struct world *s)
{
	memcpy(d->lmem, s->lmem, STREAM_LMEM);
	for (int i = 0; i < 3; i++)
		memcpy(d->seg[i], s->seg[i], STREAM_DRAM);
}

void world_fill(struct world *w)
{
	for (unsigned i = 0; i < STREAM_LMEM; i += 4) {
		uint32_t v = stream_rnd();
		memcpy(w->lmem + i, &v, 4);
		for (int s = 0; s < 3; s++) {
			v = stream_rnd();
			memcpy(w->seg[s] + i, &v, 4);
		}
	}
}

uint32_t stream_bump;

int stream_type(void)
{
	static const uint8_t t[] = { MICA_F32, MICA_BF16, MICA_E4M3, MICA_E5M2, MICA_I8, MICA_U8, MICA_I32 };

	return t[upto(7)];
}

/* Fills n elements at p with ordinary values, now and then with any bits. */
void stream_values(uint8_t *p, int type, size_t n)
{
	bool wild = chance(8);

	for (size_t i = 0; i < n; i++) {
		float f = unit() * (chance(10) ? 1000.0f : 4.0f);
		uint32_t raw = stream_rnd();

		if (chance(4))
			f = 0;
		if (wild && chance(5)) {
			memcpy(p + i * mica_dtype_size(type), &raw, mica_dtype_size(type));
		} else if (type == MICA_F32) {
			memcpy(p + 4 * i, &f, 4);
		} else if (type == MICA_BF16) {
			uint16_t h = ref_round_code(MICA_BF16, f);
			memcpy(p + 2 * i, &h, 2);
		} else if (is_fp8(type)) {
			p[i] = ref_round_code(type, f * (chance(50) ? 1 : 20));
		} else if (type == MICA_I32) {
			int32_t v = (int32_t)raw >> upto(31);
			memcpy(p + 4 * i, &v, 4);
		} else {
			p[i] = raw;
		}
	}
}

/* A view over dims d; dense or padded strides; false when LMEM is used up. */
bool stream_view(struct mica_view *v, struct world *w, int type, const uint32_t d[4], bool is_dst, bool unit_c)
{
	unsigned size = mica_dtype_size(type);
	uint32_t stride = size * (unit_c || chance(85) ? 1 : between(1, 3));

	memset(v, 0, sizeof(*v));
	v->dtype = type;
	v->scale = chance(40) ? 1.0f : (0.02f + 2.0f * (float)upto(1000) / 1000.0f) * (is_dst && chance(30) ? 16 : 1);
	if (type == MICA_I8 || type == MICA_U8)
		v->zero = chance(50) ? 0 : (int)upto(256) - 128;
	for (int i = 3; i >= 0; i--) {
		v->stride[i] = stride;
		stride = stride * d[i] + size * (chance(80) ? 0 : upto(5));
	}
	uint64_t bytes = size;
	for (int i = 0; i < 4; i++)
		bytes += (uint64_t)(d[i] - 1) * v->stride[i];
	stream_bump = (stream_bump + size - 1) / size * size + size * upto(4);
	if (chance(30))
		stream_bump = (stream_bump + 63) / 64 * 64;
	if (stream_bump + bytes > STREAM_LMEM)
		return false;
	v->addr = stream_bump;
	if (!is_dst && chance(80))
		stream_values(w->lmem + stream_bump, type, bytes / size);
	stream_bump += bytes;
	return true;
}

uint64_t stream_consts(struct world *w, uint32_t *off, int type, size_t n)
{
	*off = (*off + 63) & ~63u;
	uint64_t a = MICA_ADDR(MICA_SEG_WEIGHTS, *off);

	if (*off + n * mica_dtype_size(type) > STREAM_DRAM)
		return MICA_ADDR_NONE;
	stream_values(w->seg[0] + *off, type, n);
	*off += n * mica_dtype_size(type);
	return a;
}

uint64_t stream_params(struct world *w, uint32_t *off, size_t channels, bool integer)
{
	bool calm = chance(50);
	uint64_t a = stream_consts(w, off, MICA_F32, 2 * channels);
	uint64_t b = a == MICA_ADDR_NONE ? a : MICA_ADDR(0, *off);

	if (b == MICA_ADDR_NONE || *off + 4 * channels > STREAM_DRAM)
		return MICA_ADDR_NONE;
	for (size_t i = 0; calm && i < 2 * channels; i++) {	/* as in models: results of ordinary magnitude */
		float f = (i < channels ? 0x1p-11f : 1.0f) * unit();
		memcpy(w->seg[0] + MICA_ADDR_OFF(a) + 4 * i, &f, 4);
	}
	for (size_t i = 0; i < channels; i++) {	/* of i8 products; as a shift of others it is a number */
		int32_t v = (int32_t)stream_rnd() >> between(12, 31);
		float f = unit();

		memcpy(w->seg[0] + *off + 4 * i, integer ? (void *)&v : (void *)&f, 4);
	}
	*off += 4 * channels;
	return a;
}

void stream_header(union mica_pkt *p, int op, size_t bytes)
{
	memset(p, 0, sizeof(*p));
	p->hdr.opcode = op;
	p->hdr.units = bytes / 64;
	p->hdr.layer = upto(100);
}
