// SPDX-License-Identifier: MIT
/* The instruction set's tables, expanded from isa.def: names, sizes, fields. */
#include "engine_internal.h"

#include <string.h>

#define F_INFO(off, type, member, cls, lo, hi) { #member, off, sizeof(type), FC_##cls, lo, hi },
#define P_TABLE(packet, bytes) \
	static const struct field_info fields_##packet[] = { MICA_FIELDS_##packet(F_INFO) }; \
	enum { size_##packet = (bytes) };
MICA_PACKETS(P_TABLE)

static const struct op_info op_table[256] = {
#define OP(code, UP, low, packet, engine) \
	[code] = { #low, size_##packet, MICA_ENGINE_##engine, ARRAY_SIZE(fields_##packet), fields_##packet },
	MICA_OPS(OP)
#undef OP
};

#define NAME(code, UP, low) [code] = #low,
static const char *const act_names[] = { MICA_ACTS(NAME) };
static const char *const bin_names[] = { MICA_BINS(NAME) };
static const char *const fn_names[] = { MICA_FNS(NAME) };
static const char *const pool_names[] = { MICA_POOLS(NAME) };
static const char *const resize_names[] = { MICA_RESIZES(NAME) };
static const char *const red_names[] = { MICA_REDS(NAME) };
#define DTYPE(code, UP, low, size) [code] = { #low, size },
static const struct { const char *name; unsigned size; } dtypes[] = { MICA_DTYPES(DTYPE) };

#define LOOK_UP(table, i) ((i) < ARRAY_SIZE(table) && (table)[i] ? (table)[i] : "?")

const struct op_info *mica_op_info(unsigned opcode)
{
	return opcode < ARRAY_SIZE(op_table) && op_table[opcode].name ? &op_table[opcode] : NULL;
}

unsigned mica_dtype_size(enum mica_dtype t)
{
	return (unsigned)t < ARRAY_SIZE(dtypes) ? dtypes[t].size : 0;
}

const char *mica_dtype_name(enum mica_dtype t)
{
	return (unsigned)t < ARRAY_SIZE(dtypes) ? dtypes[t].name : "?";
}

const char *mica_op_name(unsigned opcode)
{
	const struct op_info *op = mica_op_info(opcode);

	return op ? op->name : "?";
}

const char *mica_act_name(unsigned act)
{
	return LOOK_UP(act_names, act);
}

const char *mica_bin_name(unsigned op)
{
	return LOOK_UP(bin_names, op);
}

const char *mica_fn_name(unsigned fn)
{
	return LOOK_UP(fn_names, fn);
}

const char *mica_enum_name(unsigned opcode, const char *field, unsigned value)
{
	if (!strcmp(field, "act"))
		return mica_act_name(value);
	if (!strcmp(field, "wdtype"))
		return mica_dtype_name(value);
	switch (opcode) {
	case MICA_OP_BINARY:
		return mica_bin_name(value);
	case MICA_OP_UNARY:
		return mica_fn_name(value);
	case MICA_OP_POOL:
		return LOOK_UP(pool_names, value);
	case MICA_OP_RESIZE:
		return LOOK_UP(resize_names, value);
	case MICA_OP_REDUCE:
		return LOOK_UP(red_names, value);
	default:
		return "?";
	}
}

enum mica_engine_id mica_pkt_engine(const union mica_pkt *p)
{
	const struct op_info *op = mica_op_info(p->hdr.opcode);

	if (!op)
		return MICA_ENGINE_CP;
	if (op->engine != MICA_ENGINE_DMA)
		return op->engine;
	return MICA_ADDR_SEG(p->copy.dst) == MICA_SEG_LMEM ? MICA_ENGINE_LOAD : MICA_ENGINE_STORE;
}
