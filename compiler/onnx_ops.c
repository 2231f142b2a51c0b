// SPDX-License-Identifier: MIT
/* The table of ONNX operators, put together from its parts, and the list of them for the user. */
#include <stdlib.h>
#include <string.h>
#include "onnx.h"

static const struct {
	const struct onnx_def *ops;
	const char *where; /* the part of the machine that does the work */
} parts[] = {
	{ onnx_elementwise_ops, "vector engine, tables in 8-bit formats" },
	{ onnx_window_ops, "vector engine" },
	{ onnx_matrix_ops, "vector engine" },
	{ onnx_shape_ops, "memory: moved, or nothing at all" },
	{ onnx_move_ops, "memory: moved, or nothing at all" },
	{ onnx_quant_ops, "conversions inside other operators" },
	{ onnx_math_ops, "vector engine, several steps in f32" },
	{ onnx_select_ops, "vector engine, several steps in f32" },
	{ onnx_loss_ops, "vector engine, several steps in f32" },
	{ onnx_rnn_ops, "matrix engine, unrolled; gates on the vector engine" },
	{ onnx_einsum_ops, "matrix engine" },
	{ onnx_qlinear_ops, "matrix engine" },
	{ onnx_signal_ops, "matrix engine in f32" },
	{ onnx_spatial_ops, "vector engine, several steps in f32" },
	{ onnx_index_ops, "host (libmica), between the jobs of the device" },
	{ onnx_sample_ops, "host (libmica), between the jobs of the device" },
	{ onnx_column_ops, "matrix engine" },
	{ onnx_fused_ops, "matrix and vector engine, in several steps" },
	{ onnx_attention_ops, "matrix and vector engine, in several steps" },
	{ onnx_ms_quant_ops, "matrix and vector engine, in several steps" },
	{ onnx_cache_ops, "vector engine, host (libmica) for what is looked up" },
	{ onnx_control_ops, "nothing: inlined or unrolled" },
};

const struct onnx_def *onnx_find(const char *type)
{
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		for (const struct onnx_def *d = parts[i].ops; d->type; d++)
			if (!strcmp(d->type, type))
				return d;
	return NULL;
}

/* Opsets that introduced operators, where that was after the first that is supported. */
static unsigned since(const char *type)
{
	static const struct {
		unsigned opset;
		const char *types;
	} news[] = {
		{ 8, " Expand " },
		{ 9, " Sinh Cosh Asinh Acosh Atanh Erf Sign Where Shrink IsNaN OneHot EyeLike Compress Scatter MaxUnpool Scan "
		     "ConstantOfShape NonZero MeanVarianceNormalization " },
		{ 10, " Mod Resize ThresholdedRelu IsInf ReverseSequence RoiAlign NonMaxSuppression ConvInteger MatMulInteger "
		      "QLinearConv QLinearMatMul QuantizeLinear DequantizeLinear " },
		{ 11, " SequenceEmpty SequenceConstruct SequenceInsert SequenceErase SequenceAt SequenceLength SplitToSequence ConcatFromSequence "
		      "GatherElements GatherND ScatterElements ScatterND Unique BitShift CumSum Det DynamicQuantizeLinear Range Round " },
		{ 12, " Celu Einsum GreaterOrEqual LessOrEqual NegativeLogLikelihoodLoss "
		      "SoftmaxCrossEntropyLoss " },
		{ 14, " HardSwish Trilu " },
		{ 15, " CastLike Optional OptionalHasElement OptionalGetElement " },
		{ 16, " GridSample " },
		{ 17, " SequenceMap LayerNormalization BlackmanWindow HammingWindow HannWindow MelWeightMatrix DFT "
		      "STFT " },
		{ 18, " GroupNormalization Mish BitwiseAnd BitwiseOr BitwiseXor BitwiseNot Col2Im "
		      "CenterCropPad " },
		{ 19, " DeformConv " },
		{ 20, " Gelu AffineGrid " },
		{ 23, " Attention RMSNormalization RotaryEmbedding " },
		{ 24, " Swish TensorScatter " },
		{ 26, " CumProd BitCast " },
	};
	char word[64];

	if (strchr(type, '.'))
		return 1;
	snprintf(word, sizeof(word), " %.60s ", type);
	for (size_t i = 0; i < ARRAY_LEN(news); i++)
		if (strstr(news[i].types, word))
			return news[i].opset;
	return 7;
}

static const char *where(const struct onnx_def *d, const char *usual)
{
	static const char *const products[] = { "Conv", "ConvTranspose", "Gemm", "MatMul" };

	for (size_t i = 0; i < ARRAY_LEN(products); i++)
		if (!strcmp(d->type, products[i]))
			return "matrix engine";
	return d->canon ? usual : "constants only, at compile time";
}

static int by_type(const void *a, const void *b)
{
	return strcmp(((const struct mica_operator *)a)->type,
		      ((const struct mica_operator *)b)->type);
}

unsigned mica_operators(struct mica_operator *list, unsigned max)
{
	static const char *const control[] = { "If", "Loop", "Scan", "SequenceEmpty", "SequenceConstruct", "SequenceInsert", "SequenceErase", "SequenceAt",
					       "SequenceLength", "SequenceMap", "SplitToSequence", "ConcatFromSequence", "Optional", "OptionalHasElement",
					       "OptionalGetElement" };
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		for (const struct onnx_def *d = parts[i].ops; d->type; d++) {
			if ((!d->canon && !d->fold) || n == max || strchr(d->type, ':'))
				continue; /* known in order to be refused, or our own */
			list[n].type = d->type;
			list[n].since = since(d->type);
			list[n++].where = where(d, parts[i].where);
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(control) && n < max; i++)
		list[n++] = (struct mica_operator){ .type = control[i], .since = since(control[i]), .where = i < 3 ? "inlined or unrolled while compiling" : "while compiling: a sequence is its elements" };
	qsort(list, n, sizeof(*list), by_type);
	return n;
}
