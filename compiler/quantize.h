/* SPDX-License-Identifier: MIT */
/* Parts of pass `quantize`. */
#ifndef MICA_QUANTIZE_H
#define MICA_QUANTIZE_H

#include "front.h"

/* pass_quantize.c: all of the pass but the choice of the operators' formats, which stand in op->format already */
int quantize_graph(struct ir_graph *g, const struct mica_compile_options *o);

/* quantize.c */
bool is_8bit(int dtype);
bool moves_codes(const struct ir_op *op);	/* result has the codes of the operand(s) */
bool is_mac(const struct ir_op *op);
/* The class that decides which operands a MAC takes: 0 float (FP8, bf16), 1 i8, 2 f32. */
int mac_class(int dtype);
float scale_for(float threshold, int dtype);	/* threshold / largest, always a usable number */
/* Gives v, of its dtype, scale and zero point for the range of `seen`, by the graph's rules. */
void set_scale(const struct ir_graph *g, struct ir_value *v, const struct ir_value *seen);
/* Scale of n weights, by the graph's rules. */
float weight_scale(const struct ir_graph *g, const float *w, size_t n, int dtype);
/* Weights of a CONV ([oc,kh,kw,ic]) as codes with a scale for each output channel. */
struct ir_value *quantize_weights(struct ir_graph *g, struct ir_value *w, int dtype);
/* op's operand i in another format, by a conversion in front of op that others share. */
void convert_operand(struct ir_graph *g, struct ir_op *op, unsigned i, int dtype);
/* Gives a MAC operands of one class; `want` is its format. */
void settle_mac(struct ir_graph *g, struct ir_op *op, int want);
void settle_host(struct ir_graph *g);	/* operands of host steps are f32 */
void settle_outputs(struct ir_graph *g);	/* graph outputs are f32 */

/* quantize_table.c: functions of one 8-bit operand become tables */
void quantize_tables(struct ir_graph *g);

/* quantize_qtable.c: op->format of every operator; 0 or -code */
int quantize_formats(struct ir_graph *g, const struct mica_compile_options *o);

/* quantize_qdq.c: models that came with QuantizeLinear and DequantizeLinear */
int quantize_qdq(struct ir_graph *g);

#endif /* MICA_QUANTIZE_H */
