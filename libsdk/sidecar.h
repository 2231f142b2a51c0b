/* SPDX-License-Identifier: MIT */
/* A parsed sidecar (docs/sidecar.md). */
#ifndef MICA_SDK_SIDECAR_H
#define MICA_SDK_SIDECAR_H

#include "sdk.h"

#define SIDECAR_MAX_SCALES 8

enum sidecar_layout { LAYOUT_NCHW, LAYOUT_NHWC };
enum sidecar_channels { CHANNELS_RGB, CHANNELS_BGR, CHANNELS_GRAY };
enum sidecar_resize { RESIZE_STRETCH, RESIZE_LETTERBOX, RESIZE_NONE };
enum sidecar_decode { DECODE_NONE, DECODE_CLASSES, DECODE_NANODET };

struct name_list { char **item; unsigned count; };

struct mica_sidecar {
	char *input;
	unsigned input_line;
	enum sidecar_layout layout;
	enum sidecar_channels channels;
	enum sidecar_resize resize;
	enum sidecar_decode decode;
	float mul, pad;
	float mean[3], std[3];			/* in the order of the model's channels */
	struct name_list labels, scores, boxes;
	unsigned strides[SIDECAR_MAX_SCALES], stride_count;
	unsigned reg_max;
	float score, iou;
	bool softmax;
};

#endif /* MICA_SDK_SIDECAR_H */
