// SPDX-License-Identifier: MIT
/* Boxes and short texts in images. */
#include <ctype.h>
#include <string.h>
#include "sidecar.h"

#define GLYPH_W 5
#define GLYPH_H 7

/* Seven rows of five bits, bit 4 is the left one. */
struct glyph { char c; uint8_t row[GLYPH_H]; };
static const struct glyph font[] = {
	{ 'A', { 14, 17, 17, 31, 17, 17, 17 } }, { 'B', { 30, 17, 17, 30, 17, 17, 30 } },
	{ 'C', { 14, 17, 16, 16, 16, 17, 14 } }, { 'D', { 30, 17, 17, 17, 17, 17, 30 } },
	{ 'E', { 31, 16, 16, 30, 16, 16, 31 } }, { 'F', { 31, 16, 16, 30, 16, 16, 16 } },
	{ 'G', { 14, 17, 16, 23, 17, 17, 14 } }, { 'H', { 17, 17, 17, 31, 17, 17, 17 } },
	{ 'I', { 14, 4, 4, 4, 4, 4, 14 } },      { 'J', { 7, 2, 2, 2, 2, 18, 12 } },
	{ 'K', { 17, 18, 20, 24, 20, 18, 17 } }, { 'L', { 16, 16, 16, 16, 16, 16, 31 } },
	{ 'M', { 17, 27, 21, 21, 17, 17, 17 } }, { 'N', { 17, 25, 25, 21, 19, 19, 17 } },
	{ 'O', { 14, 17, 17, 17, 17, 17, 14 } }, { 'P', { 30, 17, 17, 30, 16, 16, 16 } },
	{ 'Q', { 14, 17, 17, 17, 21, 18, 13 } }, { 'R', { 30, 17, 17, 30, 20, 18, 17 } },
	{ 'S', { 15, 16, 16, 14, 1, 1, 30 } },   { 'T', { 31, 4, 4, 4, 4, 4, 4 } },
	{ 'U', { 17, 17, 17, 17, 17, 17, 14 } }, { 'V', { 17, 17, 17, 17, 10, 10, 4 } },
	{ 'W', { 17, 17, 17, 21, 21, 27, 17 } }, { 'X', { 17, 17, 10, 4, 10, 17, 17 } },
	{ 'Y', { 17, 17, 10, 4, 4, 4, 4 } },     { 'Z', { 31, 1, 2, 4, 8, 16, 31 } },
	{ '0', { 14, 17, 19, 21, 25, 17, 14 } }, { '1', { 4, 12, 4, 4, 4, 4, 14 } },
	{ '2', { 14, 17, 1, 6, 8, 16, 31 } },    { '3', { 30, 1, 1, 14, 1, 1, 30 } },
	{ '4', { 2, 6, 10, 18, 31, 2, 2 } },     { '5', { 31, 16, 30, 1, 1, 17, 14 } },
	{ '6', { 6, 8, 16, 30, 17, 17, 14 } },   { '7', { 31, 1, 2, 4, 4, 8, 8 } },
	{ '8', { 14, 17, 17, 14, 17, 17, 14 } }, { '9', { 14, 17, 17, 15, 1, 2, 12 } },
	{ '.', { 0, 0, 0, 0, 0, 12, 12 } },      { ',', { 0, 0, 0, 0, 12, 4, 8 } },
	{ '-', { 0, 0, 0, 31, 0, 0, 0 } },       { '/', { 1, 1, 2, 4, 8, 16, 16 } },
	{ '%', { 25, 26, 2, 4, 8, 11, 19 } },    { ':', { 0, 12, 12, 0, 12, 12, 0 } },
	{ '_', { 0, 0, 0, 0, 0, 0, 31 } },       { ' ', { 0 } },
};
static const struct glyph unknown = { '?', { 31, 17, 17, 17, 17, 17, 31 } };

static const struct glyph *find_glyph(char c)
{
	c = toupper((unsigned char)c);
	for (size_t i = 0; i < sizeof(font) / sizeof(font[0]); i++)
		if (font[i].c == c)
			return &font[i];
	return &unknown;
}

static void fill_rect(struct mica_image *img, int x0, int y0, int x1, int y1, uint32_t color)
{
	x0 = x0 < 0 ? 0 : x0;
	y0 = y0 < 0 ? 0 : y0;
	x1 = x1 > (int)img->width ? (int)img->width : x1;
	y1 = y1 > (int)img->height ? (int)img->height : y1;
	for (int y = y0; y < y1; y++) {
		uint8_t *p = img->data + ((size_t)y * img->width + x0) * 3;

		for (int x = x0; x < x1; x++, p += 3) {
			p[0] = color >> 16;
			p[1] = color >> 8;
			p[2] = color;
		}
	}
}

void mica_image_rect(struct mica_image *img, int x0, int y0, int x1, int y1, unsigned thickness, uint32_t color)
{
	int t = thickness;

	if (img->channels != 3)
		return;
	fill_rect(img, x0, y0, x1, y0 + t, color);
	fill_rect(img, x0, y1 - t, x1, y1, color);
	fill_rect(img, x0, y0, x0 + t, y1, color);
	fill_rect(img, x1 - t, y0, x1, y1, color);
}

void mica_image_text(struct mica_image *img, int x, int y, const char *text, unsigned scale, uint32_t color,
		     uint32_t background)
{
	int s = scale, width = (int)strlen(text) * (GLYPH_W + 1) * s + s;

	if (img->channels != 3)
		return;
	fill_rect(img, x, y, x + width, y + (GLYPH_H + 2) * s, background);
	for (; *text; text++, x += (GLYPH_W + 1) * s) {
		const struct glyph *g = find_glyph(*text);

		for (int r = 0; r < GLYPH_H; r++)
			for (int c = 0; c < GLYPH_W; c++)
				if (g->row[r] >> (GLYPH_W - 1 - c) & 1)
					fill_rect(img, x + (c + 1) * s, y + (r + 1) * s, x + (c + 2) * s, y + (r + 2) * s, color);
	}
}

/* Well told apart, and dark enough for white text. */
static uint32_t class_color(unsigned label)
{
	static const uint32_t colors[] = { 0xc0392b, 0x1f6fb2, 0x1e8449, 0x8e44ad, 0xb9770e, 0x117a65, 0xa93267, 0x5d4037 };

	return colors[label % (sizeof(colors) / sizeof(colors[0]))];
}

void mica_draw_detections(struct mica_image *img, const struct mica_sidecar *sc, const struct mica_detection *list,
			  unsigned count)
{
	unsigned shorter = img->width < img->height ? img->width : img->height;
	unsigned scale = shorter < 300 ? 1 : shorter / 250 + (shorter < 500);
	char text[128];

	while (count--) {
		const struct mica_detection *d = &list[count];	/* the best one last, on top */
		int y = (int)d->y0 - (GLYPH_H + 2) * (int)scale;

		mica_image_rect(img, d->x0, d->y0, d->x1, d->y1, scale + 1, class_color(d->label));
		snprintf(text, sizeof(text), "%s %.2f", mica_sidecar_label(sc, d->label), d->score);
		mica_image_text(img, d->x0, y < 0 ? (int)d->y0 : y, text, scale, 0xffffff, class_color(d->label));
	}
}
