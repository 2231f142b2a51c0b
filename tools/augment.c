// SPDX-License-Identifier: MIT
/* More calibration samples from few images: parts of them, mirrored, lighter and darker. The same in every run. */
#include "cli.h"
#include <errno.h>
#include <stdlib.h>

#define LEAST_SIDE 0.55f /* of the image, at variant 1; the sides grow and shrink from variant to variant */

static float chance(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (float)(*seed >> 8) / (1 << 24);
}

static uint8_t lit(uint8_t v, float gain)
{
	float y = (float)v * gain + 0.5f;

	return y > 255 ? 255 : (uint8_t)y;
}

int augment_image(struct mica_image *img, unsigned sample, unsigned variant)
{
	uint32_t seed = 2463534242u ^ (sample * 7919 + variant * 104729);
	struct mica_image out = { .channels = img->channels };
	bool mirrored = variant & 1;
	uint32_t left, top;
	float gain;

	if (!variant)
		return 0;
	chance(&seed);
	out.width = (uint32_t)((float)img->width * (LEAST_SIDE + (1 - LEAST_SIDE) * chance(&seed)));
	out.height = (uint32_t)((float)img->height * (LEAST_SIDE + (1 - LEAST_SIDE) * chance(&seed)));
	out.width += !out.width;
	out.height += !out.height;
	left = (uint32_t)((float)(img->width - out.width) * chance(&seed));
	top = (uint32_t)((float)(img->height - out.height) * chance(&seed));
	gain = 0.7f + 0.6f * chance(&seed);
	out.data = malloc((size_t)out.width * out.height * out.channels);
	if (!out.data)
		return -ENOMEM;
	for (uint32_t y = 0; y < out.height; y++)
		for (uint32_t x = 0; x < out.width; x++)
			for (uint32_t c = 0; c < out.channels; c++) {
				uint32_t from = left + (mirrored ? out.width - 1 - x : x);

				out.data[((size_t)y * out.width + x) * out.channels + c] =
					lit(img->data[((size_t)(top + y) * img->width + from) * out.channels + c], gain);
			}
	mica_image_free(img);
	*img = out;
	return 0;
}
