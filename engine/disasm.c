// SPDX-License-Identifier: MIT
/* Packets as readable text, one line each, from the field tables. */
#include "engine_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

static const char *const engine_names[MICA_ENGINE_COUNT] = { "load", "store", "matrix", "vector", "cim" };

struct text {
	char *buf;
	size_t size;
	size_t len;	/* of the whole text, also of what did not fit */
};

__attribute__((format(printf, 2, 3)))
static void put(struct text *t, const char *fmt, ...)
{
	size_t room = t->len < t->size ? t->size - t->len : 0;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(room ? t->buf + t->len : NULL, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->len += (size_t)n;
}

static int64_t read_int(const uint8_t *at, unsigned size, bool sign)
{
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;

	switch (size) {
	case 1:
		memcpy(&u8, at, 1);
		return sign ? (int8_t)u8 : u8;
	case 2:
		memcpy(&u16, at, 2);
		return sign ? (int16_t)u16 : u16;
	default:
		memcpy(&u32, at, 4);
		return sign ? (int64_t)(int32_t)u32 : (int64_t)u32;
	}
}

static void put_ints(struct text *t, const struct field_info *f, const uint8_t *at)
{
	unsigned size = f->size <= 4 ? f->size : 4;

	for (unsigned i = 0; i < f->size / size; i++)
		put(t, "%s%" PRId64, i ? "," : "", read_int(at + i * size, size, f->cls == FC_S));
}

static void put_addr(struct text *t, uint64_t a)
{
	unsigned seg = MICA_ADDR_SEG(a);
	uint64_t off = a & (((uint64_t)1 << MICA_ADDR_SEG_SHIFT) - 1);

	if (a == MICA_ADDR_NONE)
		put(t, "none");
	else if (seg == MICA_SEG_LMEM)
		put(t, "lmem+0x%" PRIx64, off);
	else if (seg >= MICA_SEG_PEER && seg < MICA_SEG_PEER + MICA_MAX_CORES)
		put(t, "peer%u+0x%" PRIx64, seg - MICA_SEG_PEER, off);
	else
		put(t, "seg%u+0x%" PRIx64, seg, off);
}

/* {e4m3 @0x1c00 scale=0.25 zero=0 stride=3584,3584,64,1}; the zero point as a true value. */
static void put_view(struct text *t, const uint8_t *at)
{
	struct mica_view v;

	memcpy(&v, at, sizeof(v));
	put(t, "{%s @0x%x scale=%.9g", mica_dtype_name(v.dtype), v.addr, v.scale);
	if (view_zero(&v))
		put(t, " zero=%d", view_zero(&v));
	put(t, " stride=%u,%u,%u,%u}", v.stride[0], v.stride[1], v.stride[2], v.stride[3]);
}

static void put_field(struct text *t, unsigned opcode, const struct field_info *f, const uint8_t *at)
{
	uint64_t addr;
	float value;

	put(t, " %s=", f->name);
	switch (f->cls) {
	case FC_U:
	case FC_S:
		put_ints(t, f, at);
		break;
	case FC_FLT:
		memcpy(&value, at, sizeof(value));
		put(t, "%.9g", value);
		break;
	case FC_ENUM:
		put(t, "%s", mica_enum_name(opcode, f->name, (unsigned)read_int(at, f->size, false)));
		break;
	case FC_BITS:
		put(t, "0x%" PRIx64, (uint64_t)read_int(at, f->size, false));
		break;
	case FC_ADDR:
		memcpy(&addr, at, sizeof(addr));
		put_addr(t, addr);
		break;
	default:
		put_view(t, at);
		break;
	}
}

/* Absent operands, and zeroes that mean "nothing" (no flag, no parameter), are left out. */
static bool is_silent(const struct field_info *f, const uint8_t *at)
{
	static const uint8_t zeroes[MICA_PKT_MAX];

	switch (f->cls) {
	case FC_ZERO:
		return true;
	case FC_FLT:
	case FC_BITS:
	case FC_VIEWO:
		return !memcmp(at, zeroes, f->size);
	default:
		return false;
	}
}

static void put_waits(struct text *t, const struct mica_pkt_hdr *hdr)
{
	for (unsigned e = 0; e < MICA_ENGINE_COUNT; e++)
		if (hdr->wait[e])
			put(t, " wait.%s=%u", engine_names[e], hdr->wait[e]);
}

int mica_disasm(char *buf, size_t size, const union mica_pkt *p)
{
	const struct op_info *op = mica_op_info(p->hdr.opcode);
	struct text t = { buf, size, 0 };

	if (size)
		buf[0] = 0;
	if (!op) {
		put(&t, "unknown opcode=0x%02x units=%u", p->hdr.opcode, p->hdr.units);
		return (int)t.len;
	}
	put(&t, "%s", op->name);
	if (op->engine != MICA_ENGINE_CP)
		put(&t, " layer=%u", p->hdr.layer);
	put_waits(&t, &p->hdr);
	for (unsigned i = 0; i < op->nfields; i++) {
		const struct field_info *f = &op->field[i];

		if (!is_silent(f, p->raw + f->off))
			put_field(&t, p->hdr.opcode, f, p->raw + f->off);
	}
	return (int)t.len;
}
