// SPDX-License-Identifier: MIT
/* The table of ONNX operators, put together from its parts. */
#include <string.h>
#include "onnx.h"

const struct onnx_def *onnx_find(const char *type)
{
	static const struct onnx_def *const parts[] = {
		onnx_elementwise_ops, onnx_window_ops, onnx_matrix_ops,
		onnx_shape_ops,	      onnx_move_ops,   onnx_quant_ops,
		onnx_math_ops,	      onnx_select_ops, onnx_loss_ops,
		onnx_rnn_ops,	      onnx_einsum_ops, onnx_qlinear_ops,
		onnx_signal_ops,      onnx_spatial_ops,
	};

	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		for (const struct onnx_def *d = parts[i]; d->type; d++)
			if (!strcmp(d->type, type))
				return d;
	return NULL;
}
