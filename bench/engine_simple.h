/* SPDX-License-Identifier: MIT */
/* Packets without MACs that engine_bench measures: elementwise, pooling, reduction, copies. */
#ifndef ENGINE_SIMPLE_H
#define ENGINE_SIMPLE_H

#include "engine.h"

#define SIMPLE_MAX 16

struct simple {
	const char *name;
	union mica_pkt p;
	double elements;
};

static struct mica_view view(uint32_t addr, unsigned dtype, uint32_t h, uint32_t w, uint32_t c)
{
	uint32_t size = mica_dtype_size(dtype);

	return (struct mica_view){ .addr = addr, .dtype = (uint8_t)dtype, .scale = 0.05f,
				   .stride = { h * w * c * size, w * c * size, c * size, size } };
}

/* e4m3 from LMEM's begin to dst; the function's list has room for SIMPLE_MAX. */
static unsigned simple_elementwise(struct simple *s, uint32_t to)
{
	uint32_t hw = 56, c = 256;
	double n = (double)hw * hw * c;
	struct mica_view src = view(0, MICA_E4M3, hw, hw, c), dst = view(to, MICA_E4M3, hw, hw, c);
	union mica_pkt p = { .unary = { .hdr = { .opcode = MICA_OP_UNARY, .units = 2 }, .src = src, .dst = dst,
					.dim = { 1, hw, hw, c }, .func = MICA_FN_SILU } };
	unsigned k = 0;

	s[k++] = (struct simple){ "unary silu e4m3", p, n };
	p.unary.func = MICA_FN_COPY;
	s[k++] = (struct simple){ "unary copy e4m3", p, n };
	p = (union mica_pkt){ .binary = { .hdr = { .opcode = MICA_OP_BINARY, .units = 3 }, .a = src, .b = src, .dst = dst,
					  .dim = { 1, hw, hw, c }, .op = MICA_BIN_ADD } };
	s[k++] = (struct simple){ "binary add e4m3", p, n };
	p.binary.b.stride[0] = p.binary.b.stride[1] = p.binary.b.stride[2] = 0;
	s[k++] = (struct simple){ "binary add e4m3, b per channel", p, n };
	p = (union mica_pkt){ .lut = { .hdr = { .opcode = MICA_OP_LUT, .units = 2 }, .src = src, .dst = dst,
				       .dim = { 1, hw, hw, c }, .table = MICA_ADDR(0, 0) } };
	s[k++] = (struct simple){ "lut e4m3", p, n };
	p = (union mica_pkt){ .reduce = { .hdr = { .opcode = MICA_OP_REDUCE, .units = 2 }, .src = src,
					  .dst = view(to, MICA_E4M3, 1, 1, c), .dim = { 1, hw, hw, c },
					  .op = MICA_RED_MEAN, .axes = 6 } };
	s[k++] = (struct simple){ "reduce mean h,w e4m3", p, n };
	p = (union mica_pkt){ .norm = { .hdr = { .opcode = MICA_OP_SOFTMAX, .units = 3 }, .src = src, .dst = dst,
					.dim = { 1, hw, hw, c }, .gamma = MICA_ADDR_NONE, .beta = MICA_ADDR_NONE } };
	s[k++] = (struct simple){ "softmax e4m3, rows of 256", p, n };
	p = (union mica_pkt){ .pool = { .hdr = { .opcode = MICA_OP_POOL, .units = 3 }, .src = view(0, MICA_E4M3, 112, 112, 64),
					.dst = view(to, MICA_E4M3, 56, 56, 64), .n = 1, .in_h = 112, .in_w = 112,
					.c = 64, .out_h = 56, .out_w = 56, .kh = 3, .kw = 3, .stride_h = 2, .stride_w = 2,
					.dil_h = 1, .dil_w = 1, .pad_top = 1, .pad_left = 1 } };
	s[k++] = (struct simple){ "pool max 3x3/2 64@56 e4m3", p, 56.0 * 56 * 64 };
	return k;
}

static unsigned simple_copies(struct simple *s)
{
	uint32_t hw = 56, c = 256;
	double n = (double)hw * hw * c;
	union mica_pkt p = { .copy = { .hdr = { .opcode = MICA_OP_COPY, .units = 2 }, .src = MICA_ADDR(1, 0),
				       .dst = MICA_ADDR(MICA_SEG_LMEM, 0), .elem = 1, .dim = { 1, 1, 224 * 224, 3 },
				       .src_stride = { 0, 0, 1, 224 * 224 }, .dst_stride = { 0, 0, 3, 1 } } };
	unsigned k = 0;

	s[k++] = (struct simple){ "copy 3x224x224 planar to interleaved", p, 224.0 * 224 * 3 };
	p.copy.dim[2] = hw * hw;
	p.copy.dim[3] = c;
	p.copy.src_stride[3] = (int32_t)(hw * hw);
	p.copy.dst_stride[2] = (int32_t)c;
	s[k++] = (struct simple){ "copy 256x56x56 planar to interleaved", p, n };
	p.copy.src_stride[3] = 1;
	p.copy.src_stride[2] = (int32_t)c;
	s[k++] = (struct simple){ "copy 56x56x256 dense", p, n };
	return k;
}

/* Fills the list, returns how many there are. */
static unsigned simple_packets(struct simple *s, uint32_t to)
{
	unsigned n = simple_elementwise(s, to);

	return n + simple_copies(s + n);
}

#endif
