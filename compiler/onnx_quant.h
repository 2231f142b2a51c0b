/* SPDX-License-Identifier: MIT */
/*
 * Integers of quantized models. In the IR a value *is* (code - zero) * scale, and u8 stands as i8 with its zero point moved by
 * 128. What ONNX calls a tensor of codes is therefore one of two things at run time: a value with that format (elem says
 * which type ONNX gave it), or plain numbers in f32 that are the codes.
 */
#ifndef MICA_ONNX_QUANT_H
#define MICA_ONNX_QUANT_H

#include "expr.h"

bool quant_is_code(int dtype);		/* i8, u8, e4m3, e5m2 */
bool quant_is_packed(int elem);		/* integers of 2 and 4 bits, which stand in bytes */
/* Smallest and largest integer of an ONNX type of at most 16 bits; false for others. */
bool quant_range_of(int elem, float *lo, float *hi);
/* The codes as numbers in f32. */
struct ir_value *quant_codes(struct build *b, struct ir_value *v);
/* v's codes, which stand for (code - zero) * scale, as a value of type i8 with that format. u8: the codes are 0..255. */
struct ir_value *quant_value(struct build *b, struct ir_value *v, bool u8, float scale, int zero);
/* A real number y rounded to codes of that format. */
struct ir_value *quant_round(struct build *b, struct ir_value *y, bool u8, float scale, int zero);
/* x / scale + zero rounded to the integers of ONNX type elem, or to a float8 type, as plain numbers. zero may be NULL. */
struct ir_value *quant_numbers(struct build *b, struct ir_value *x, struct ir_value *scale, struct ir_value *zero, int elem,
			       bool saturate);
/* To float8 without saturation: overflow is NaN in e4m3, infinity in e5m2. Plain numbers. */
struct ir_value *quant_float8(struct build *b, struct ir_value *x, int dtype, bool saturate);
/* Scale and zero point that are single constants, in operands `scale` and `zero`; -1 or absent: 1 and 0. */
struct quant_format { bool u8; float scale; int zero; };
int quant_format_read(struct ir_graph *g, struct ir_op *op, int scale, int zero, bool u8, struct quant_format *f);
/* x's codes 0..255 by its own range, as plain numbers; *scale and *zero are scalars. */
struct ir_value *quant_dynamic(struct build *b, struct ir_value *x, struct ir_value **scale, struct ir_value **zero);
/*
 * Floats that the IR holds in f32, rounded to the fewer bits of ONNX type elem: float8 without negative zero and infinity,
 * float16, bfloat16, float4e2m1. x itself where that does nothing. float8e8m0 is for constants.
 */
struct ir_value *quant_narrow(struct build *b, struct ir_value *x, int elem, bool saturate);
enum quant_power { QUANT_UP, QUANT_DOWN, QUANT_NEAREST };	/* attribute round_mode */
enum quant_power quant_power_of(const struct ir_op *op);
float quant_power_number(float x, enum quant_power how, bool saturate);	/* to float8e8m0 */
float quant_narrow_number(float x, int elem, bool saturate);

#endif /* MICA_ONNX_QUANT_H */
