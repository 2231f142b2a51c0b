/* SPDX-License-Identifier: MIT */
/* The layers that engine_bench measures: every distinct one of ResNet50, and MobileNetV2's depthwise ones. */
#ifndef ENGINE_LAYERS_H
#define ENGINE_LAYERS_H

#include <stdbool.h>
#include <stdio.h>

struct layer {
	const char *group;
	unsigned hw, cin, cout, k, stride;	/* of a square input */
	unsigned count;				/* how often the network has it */
	bool depthwise;
};

static const struct layer layers[] = {
	{ "conv 7x7", 224, 3, 64, 7, 2, 1, false },
	{ "conv 1x1", 56, 64, 64, 1, 1, 1, false },
	{ "conv 3x3", 56, 64, 64, 3, 1, 3, false },
	{ "conv 1x1", 56, 64, 256, 1, 1, 4, false },
	{ "conv 1x1", 56, 256, 64, 1, 1, 2, false },
	{ "conv 1x1", 56, 256, 128, 1, 1, 1, false },
	{ "conv 1x1/2", 56, 256, 512, 1, 2, 1, false },
	{ "conv 3x3/2", 56, 128, 128, 3, 2, 1, false },
	{ "conv 3x3", 28, 128, 128, 3, 1, 3, false },
	{ "conv 1x1", 28, 128, 512, 1, 1, 4, false },
	{ "conv 1x1", 28, 512, 128, 1, 1, 3, false },
	{ "conv 1x1", 28, 512, 256, 1, 1, 1, false },
	{ "conv 1x1/2", 28, 512, 1024, 1, 2, 1, false },
	{ "conv 3x3/2", 28, 256, 256, 3, 2, 1, false },
	{ "conv 3x3", 14, 256, 256, 3, 1, 5, false },
	{ "conv 1x1", 14, 256, 1024, 1, 1, 6, false },
	{ "conv 1x1", 14, 1024, 256, 1, 1, 5, false },
	{ "conv 1x1", 14, 1024, 512, 1, 1, 1, false },
	{ "conv 1x1/2", 14, 1024, 2048, 1, 2, 1, false },
	{ "conv 3x3/2", 14, 512, 512, 3, 2, 1, false },
	{ "conv 3x3", 7, 512, 512, 3, 1, 2, false },
	{ "conv 1x1", 7, 512, 2048, 1, 1, 3, false },
	{ "conv 1x1", 7, 2048, 512, 1, 1, 2, false },
	{ "fc", 1, 2048, 1000, 1, 1, 1, false },
	{ "depthwise", 112, 32, 32, 3, 1, 1, true },
	{ "depthwise", 112, 96, 96, 3, 2, 1, true },
	{ "depthwise", 56, 144, 144, 3, 1, 1, true },
	{ "depthwise", 56, 144, 144, 3, 2, 1, true },
	{ "depthwise", 28, 192, 192, 3, 1, 2, true },
	{ "depthwise", 28, 192, 192, 3, 2, 1, true },
	{ "depthwise", 14, 384, 384, 3, 1, 4, true },
	{ "depthwise", 14, 576, 576, 3, 1, 2, true },
	{ "depthwise", 14, 576, 576, 3, 2, 1, true },
	{ "depthwise", 7, 960, 960, 3, 1, 3, true },
	{ "depthwise 5x5", 14, 512, 512, 5, 1, 1, true },
};

static unsigned layer_out(const struct layer *l)
{
	return (l->hw + 2 * (l->k / 2) - l->k) / l->stride + 1;
}

static double layer_macs(const struct layer *l)
{
	return (double)layer_out(l) * layer_out(l) * l->cout * l->k * l->k * (l->depthwise ? 1 : l->cin);
}

static void layer_name(const struct layer *l, char *name, size_t size)
{
	snprintf(name, size, "%s %ux%u/%u %u->%u @%u", l->depthwise ? "dwconv" : "conv", l->k, l->k, l->stride, l->cin, l->cout,
		 layer_out(l));
}

#endif
