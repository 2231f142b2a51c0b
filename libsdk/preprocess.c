// SPDX-License-Identifier: MIT
/* An image becomes an input tensor (docs/numerics.md section 7, docs/sidecar.md). */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include "sidecar.h"

struct target { unsigned n, h, w, c; };

/* Where the resized picture lies in the target, and the taps that make it. */
struct plan {
	unsigned x, y, w, h;
	struct mica_resize_tap *col, *row;
};

static int find_target(const struct mica_sidecar *sc, const uint32_t *dim, unsigned rank, struct target *t)
{
	unsigned want = sc->channels == CHANNELS_GRAY ? 1 : 3;

	if (rank != 4)
		return sdk_err(ERANGE, "an image needs an input of rank 4, this one has rank %u", rank);
	*t = sc->layout == LAYOUT_NCHW ? (struct target){ dim[0], dim[2], dim[3], dim[1] } :
					 (struct target){ dim[0], dim[1], dim[2], dim[3] };
	if (t->n != 1)
		return sdk_err(ERANGE, "the input holds %u images; give all of them as .npy, or compile with batch 1 (--shape)", t->n);
	if (t->c != want)
		return sdk_err(ERANGE, "the input has %u channels, the sidecar (layout = %s, channels = %s) means %u", t->c,
			       sc->layout == LAYOUT_NCHW ? "nchw" : "nhwc",
			       sc->channels == CHANNELS_GRAY ? "gray" : sc->channels == CHANNELS_RGB ? "rgb" : "bgr", want);
	return 0;
}

/* Half-pixel centers, edges repeated. */
static struct mica_resize_tap *make_taps(unsigned in, unsigned out)
{
	struct mica_resize_tap *tap = calloc(out, sizeof(*tap));
	float ratio = (float)in / (float)out;

	if (!tap)
		return NULL;
	for (unsigned i = 0; i < out; i++) {
		float pos = ((float)i + 0.5f) * ratio - 0.5f;

		if (pos < 0)
			pos = 0;
		tap[i].i0 = (uint32_t)pos < in - 1 ? (uint32_t)pos : in - 1;
		tap[i].i1 = tap[i].i0 + 1 < in ? tap[i].i0 + 1 : in - 1;
		tap[i].w = tap[i].i1 == tap[i].i0 ? 0 : pos - (float)tap[i].i0;
	}
	return tap;
}

static int place(const struct mica_sidecar *sc, const struct mica_image *img, const struct target *t, struct plan *p)
{
	*p = (struct plan){ 0, 0, t->w, t->h, NULL, NULL };
	if (sc->resize == RESIZE_NONE && (img->width != t->w || img->height != t->h))
		return sdk_err(ERANGE, "the image has %ux%u pixels, the input needs %ux%u and the sidecar says resize = none",
			       img->width, img->height, t->w, t->h);
	if (sc->resize == RESIZE_LETTERBOX) {
		float scale = fminf((float)t->w / img->width, (float)t->h / img->height);

		p->w = fminf(fmaxf(rintf(img->width * scale), 1), t->w);
		p->h = fminf(fmaxf(rintf(img->height * scale), 1), t->h);
		p->x = (t->w - p->w) / 2;
		p->y = (t->h - p->h) / 2;
	}
	p->col = make_taps(img->width, p->w);
	p->row = make_taps(img->height, p->h);
	if (p->col && p->row)
		return 0;
	free(p->col);
	free(p->row);
	return sdk_nomem("resizing");
}

/* Sample of the model's channel c. */
static float sample(const struct mica_sidecar *sc, const struct mica_image *img, unsigned y, unsigned x, unsigned c)
{
	const uint8_t *p = img->data + ((size_t)y * img->width + x) * img->channels;

	if (img->channels == 1)
		return p[0];
	switch (sc->channels) {
	case CHANNELS_GRAY:
		return 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2];
	case CHANNELS_BGR:
		return p[2 - c];
	default:
		return p[c];
	}
}

static float resample(const struct mica_sidecar *sc, const struct mica_image *img, const struct mica_resize_tap *r,
		      const struct mica_resize_tap *q, unsigned c)
{
	float p00 = sample(sc, img, r->i0, q->i0, c), p10 = sample(sc, img, r->i1, q->i0, c);
	float a = fmaf(q->w, sample(sc, img, r->i0, q->i1, c) - p00, p00);
	float b = fmaf(q->w, sample(sc, img, r->i1, q->i1, c) - p10, p10);

	return fmaf(r->w, b - a, a);
}

static void fill(const struct mica_sidecar *sc, const struct mica_image *img, const struct target *t, const struct plan *p,
		 float *dst)
{
	for (unsigned c = 0; c < t->c; c++) {
		for (unsigned y = 0; y < t->h; y++) {
			for (unsigned x = 0; x < t->w; x++) {
				size_t at = sc->layout == LAYOUT_NCHW ? ((size_t)c * t->h + y) * t->w + x :
									((size_t)y * t->w + x) * t->c + c;
				bool inside = y - p->y < p->h && x - p->x < p->w;	/* unsigned: below wraps */
				float v = inside ? resample(sc, img, &p->row[y - p->y], &p->col[x - p->x], c) : sc->pad;

				dst[at] = (v * sc->mul - sc->mean[c]) / sc->std[c];
			}
		}
	}
}

int mica_preprocess(const struct mica_sidecar *sc, const struct mica_image *img, const uint32_t *dim, unsigned rank,
		    float *dst, size_t elements, struct mica_placement *where)
{
	struct target t = { 0 };
	struct plan p;
	int ret = find_target(sc, dim, rank, &t);

	if (ret)
		return ret;
	if (!img->width || !img->height)
		return sdk_err(ERANGE, "the image has %ux%u pixels: there is nothing in it", img->width, img->height);
	if ((uint64_t)t.h * t.w * t.c != elements)
		return sdk_err(ERANGE, "the input has %zu elements, its shape says %llu", elements, (unsigned long long)t.h * t.w * t.c);
	ret = place(sc, img, &t, &p);
	if (ret)
		return ret;
	fill(sc, img, &t, &p, dst);
	if (where)
		*where = (struct mica_placement){ (float)p.w / img->width, (float)p.h / img->height, p.x, p.y, img->width, img->height };
	free(p.col);
	free(p.row);
	return 0;
}
