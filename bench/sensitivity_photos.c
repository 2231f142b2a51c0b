// SPDX-License-Identifier: MIT
/* More samples from few photos: each one whole, two crops of it, and the mirror images of all three, as PNG. */
#include <errno.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "mica.h"

#define VARIANTS 6

struct window { uint32_t x, y, width, height; };

static int write_png(const char *path, const struct window *w, const uint8_t *rgb)
{
	png_image png = { .version = PNG_IMAGE_VERSION, .width = w->width, .height = w->height, .format = PNG_FORMAT_RGB };

	if (png_image_write_to_file(&png, path, 0, rgb, 0, NULL))
		return 0;
	fprintf(stderr, "%s: %s\n", path, png.message);
	return 1;
}

static void cut(const struct mica_image *img, const struct window *w, bool mirror, uint8_t *rgb)
{
	for (uint32_t y = 0; y < w->height; y++) {
		for (uint32_t x = 0; x < w->width; x++, rgb += 3) {
			uint32_t from = w->x + (mirror ? w->width - 1 - x : x);
			const uint8_t *p = img->data + ((size_t)(w->y + y) * img->width + from) * img->channels;

			for (unsigned c = 0; c < 3; c++)
				rgb[c] = p[img->channels == 3 ? c : 0];
		}
	}
}

/* The whole, and three quarters of it from the upper left and the lower right. */
static struct window window_of(const struct mica_image *img, unsigned variant)
{
	uint32_t w = variant ? img->width * 3 / 4 : img->width, h = variant ? img->height * 3 / 4 : img->height;

	return (struct window){ variant == 2 ? img->width - w : 0, variant == 2 ? img->height - h : 0, w, h };
}

static int make(const char *photo, const char *dir, unsigned index)
{
	struct mica_image img;
	uint8_t *rgb;
	int ret = mica_image_load(photo, &img);

	if (ret) {
		fprintf(stderr, "%s\n", mica_error_text());
		return 1;
	}
	rgb = malloc((size_t)img.width * img.height * 3);
	for (unsigned v = 0; v < VARIANTS && !ret; v++) {
		struct window w = window_of(&img, v / 2);
		char path[4096];

		snprintf(path, sizeof(path), "%s/%02u_%u.png", dir, index, v);
		if (!rgb)
			ret = ENOMEM;
		else
			cut(&img, &w, v & 1, rgb);
		ret = ret ? ret : write_png(path, &w, rgb);
	}
	free(rgb);
	mica_image_free(&img);
	return ret;
}

int main(int argc, char **argv)
{
	int ret = argc < 3;

	if (ret)
		fprintf(stderr, "usage: sensitivity_photos FOLDER PHOTO...\n");
	for (int i = 2; i < argc && !ret; i++)
		ret = make(argv[i], argv[1], (unsigned)i - 2);
	return ret;
}
