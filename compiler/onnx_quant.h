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
 * float16, bfloat16. x itself where that does nothing or is not done (float16 at run time).
 */
struct ir_value *quant_narrow(struct build *b, struct ir_value *x, int elem, bool saturate);
float quant_narrow_number(float x, int elem, bool saturate);

#endif /* MICA_ONNX_QUANT_H */
