/* SPDX-License-Identifier: MIT */
/* Pieces that several operators of attention networks are made of. */
#ifndef MICA_ONNX_NORM_H
#define MICA_ONNX_NORM_H

#include "expr.h"

/* Over the last axis; gamma and beta have its extent, beta may be NULL. */
struct ir_value *build_layer_norm(struct build *b, struct ir_value *x, struct ir_value *gamma, struct ir_value *beta, float eps);
/* x / sqrt(mean of x^2 over the axes from `axis` on + eps) * gamma */
struct ir_value *build_rms_norm(struct build *b, struct ir_value *x, unsigned axis, struct ir_value *gamma, float eps);
struct ir_value *build_gelu_tanh(struct build *b, struct ir_value *x);
struct ir_value *build_gemm_of(struct build *b, struct ir_op *op);	/* by op's attributes, operands 0..2 */

#endif /* MICA_ONNX_NORM_H */
