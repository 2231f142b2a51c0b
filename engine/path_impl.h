/* SPDX-License-Identifier: MIT */
/* A path: every packet's kernels compiled for the including file's instruction set. PATH names the table. */
#include "dwconv_impl.h"
#include "conv_slow_impl.h"
#include "elementwise_impl.h"
#include "reduce_impl.h"
#include "window_impl.h"
#include "conv_impl.h"
#include "matmul_impl.h"
#include "variants_impl.h"

const struct mica_path PATH = {
	.name = PATH_NAME,
	.op = {
		[MICA_OP_COPY] = exec_copy, [MICA_OP_FILL] = exec_fill, [MICA_OP_CONV] = exec_conv,
		[MICA_OP_MATMUL] = exec_matmul, [MICA_OP_DWCONV] = exec_dwconv, [MICA_OP_BINARY] = exec_binary,
		[MICA_OP_UNARY] = exec_unary, [MICA_OP_LUT] = exec_lut, [MICA_OP_POOL] = exec_pool,
		[MICA_OP_RESIZE] = exec_resize, [MICA_OP_REDUCE] = exec_reduce, [MICA_OP_SOFTMAX] = exec_norm,
		[MICA_OP_NORM] = exec_norm,
	},
	.decode = decode_dense,
	.encode = encode_dense,
	.fn = fn_array,
	.variants = list_variants,
};
