// SPDX-License-Identifier: MIT
/* Outputs become results: detections of the NanoDet head, classes. Not normative: plain floating point. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "sidecar.h"

#define MAX_CANDIDATES 4096u

/* ---- classes ---- */

static int by_score(const void *a, const void *b)
{
	const struct mica_class *x = a, *y = b;

	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	return x->label < y->label ? -1 : x->label > y->label;
}

static void softmax(struct mica_class *list, unsigned n)
{
	float max = list[0].score;
	double sum = 0;

	for (unsigned i = 0; i < n; i++)
		max = fmaxf(max, list[i].score);
	for (unsigned i = 0; i < n; i++)
		sum += exp(list[i].score - max);
	for (unsigned i = 0; i < n; i++)
		list[i].score = exp(list[i].score - max) / sum;
}

int mica_decode_classes(const struct mica_sidecar *sc, const struct mica_model *m, const float *const *outputs,
			struct mica_class *list, unsigned max)
{
	const struct mica_tensor_info *t = mica_model_output(m, 0);
	struct mica_class *all;
	unsigned n;

	if (!t || m->outputs != 1)
		return sdk_err(ERANGE, "decode = classes needs a model with one output, this one has %u", m->outputs);
	n = t->elements;
	all = calloc(n, sizeof(*all));
	if (!all)
		return sdk_nomem("the classes");
	for (unsigned i = 0; i < n; i++)
		all[i] = (struct mica_class){ i, outputs[0][i] };
	qsort(all, n, sizeof(*all), by_score);
	if (sc->softmax)
		softmax(all, n);
	memcpy(list, all, (n < max ? n : max) * sizeof(*list));
	free(all);
	return n;
}

/* ---- NanoDet ---- */

struct head {
	const float *score, *box;
	unsigned classes, h, w, stride;
};

struct candidates {
	struct mica_detection *item;
	unsigned count;
};

static int find_output(const struct mica_model *m, const struct name_list *names, unsigned scale, unsigned fallback)
{
	return names->count ? mica_model_find_output(m, names->item[scale]) : (int)fallback;
}

static int find_head(const struct mica_sidecar *sc, const struct mica_model *m, const float *const *outputs, unsigned i,
		     struct head *head)
{
	const struct mica_tensor_info *s, *b;
	int score = find_output(m, &sc->scores, i, i);
	int box = find_output(m, &sc->boxes, i, sc->stride_count + i);

	if (score < 0 || box < 0)
		return -ENOENT;
	s = mica_model_output(m, score);
	b = mica_model_output(m, box);
	if (!s || !b)
		return -EINVAL;
	if (s->rank != 4 || b->rank != 4 || s->dim[0] != 1 || b->dim[0] != 1 || b->dim[1] != 4 * (sc->reg_max + 1) ||
	    s->dim[2] != b->dim[2] || s->dim[3] != b->dim[3])
		return sdk_err(ERANGE, "outputs '%s' and '%s' do not have the shapes of a NanoDet head with reg_max %u", s->name,
			       b->name, sc->reg_max);
	*head = (struct head){ outputs[score], outputs[box], s->dim[1], s->dim[2], s->dim[3], sc->strides[i] };
	return 0;
}

/* Distance from the cell's center to one side of the box: the expectation over the bins. */
static float side_distance(const struct head *h, unsigned bins, unsigned side, size_t cell)
{
	size_t plane = (size_t)h->h * h->w;
	const float *logit = h->box + side * bins * plane + cell;
	double max = logit[0], sum = 0, weighted = 0;

	for (unsigned b = 1; b < bins; b++)
		max = fmax(max, logit[b * plane]);
	for (unsigned b = 0; b < bins; b++) {
		double e = exp(logit[b * plane] - max);

		sum += e;
		weighted += e * b;
	}
	return h->stride * weighted / sum;
}

static float clamp(float v, float hi)
{
	return v < 0 ? 0 : v > hi ? hi : v;
}

static void add_cell(const struct mica_sidecar *sc, const struct head *h, unsigned y, unsigned x,
		     const struct mica_placement *where, struct candidates *list)
{
	size_t plane = (size_t)h->h * h->w, cell = (size_t)y * h->w + x;
	float cx = (x + 0.5f) * h->stride, cy = (y + 0.5f) * h->stride, d[4];
	unsigned best = 0;

	for (unsigned c = 1; c < h->classes; c++)
		if (h->score[c * plane + cell] > h->score[best * plane + cell])
			best = c;
	if (!(h->score[best * plane + cell] >= sc->score) || list->count == MAX_CANDIDATES)
		return;
	for (unsigned side = 0; side < 4; side++)
		d[side] = side_distance(h, sc->reg_max + 1, side, cell);
	list->item[list->count++] = (struct mica_detection){
		.label = best, .score = h->score[best * plane + cell],
		.x0 = clamp((cx - d[0] - where->dx) / where->sx, where->width),
		.y0 = clamp((cy - d[1] - where->dy) / where->sy, where->height),
		.x1 = clamp((cx + d[2] - where->dx) / where->sx, where->width),
		.y1 = clamp((cy + d[3] - where->dy) / where->sy, where->height),
	};
}

static int by_detection(const void *a, const void *b)
{
	const struct mica_detection *x = a, *y = b;

	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	if (x->label != y->label)
		return x->label < y->label ? -1 : 1;
	if (x->y0 != y->y0)
		return x->y0 < y->y0 ? -1 : 1;
	return x->x0 < y->x0 ? -1 : x->x0 > y->x0;
}

static float iou(const struct mica_detection *a, const struct mica_detection *b)
{
	float w = fminf(a->x1, b->x1) - fmaxf(a->x0, b->x0), h = fminf(a->y1, b->y1) - fmaxf(a->y0, b->y0);
	float both = w > 0 && h > 0 ? w * h : 0;
	float all = (a->x1 - a->x0) * (a->y1 - a->y0) + (b->x1 - b->x0) * (b->y1 - b->y0) - both;

	return all > 0 ? both / all : 0;
}

/* Keeps the best of boxes of one class that overlap. */
static unsigned suppress(struct mica_detection *list, unsigned n, float limit)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		bool keep = true;

		for (unsigned k = 0; k < kept && keep; k++)
			keep = list[k].label != list[i].label || iou(&list[k], &list[i]) <= limit;
		if (keep)
			list[kept++] = list[i];
	}
	return kept;
}

int mica_decode_detections(const struct mica_sidecar *sc, const struct mica_model *m, const float *const *outputs,
			   const struct mica_placement *where, struct mica_detection *list, unsigned max)
{
	struct candidates all = { calloc(MAX_CANDIDATES, sizeof(*list)), 0 };
	unsigned n;
	int ret = 0;

	if (!all.item)
		return sdk_nomem("the detections");
	for (unsigned i = 0; i < sc->stride_count && !ret; i++) {
		struct head h = { 0 };

		ret = find_head(sc, m, outputs, i, &h);
		for (unsigned y = 0; !ret && y < h.h; y++)
			for (unsigned x = 0; x < h.w; x++)
				add_cell(sc, &h, y, x, where, &all);
	}
	if (!ret) {
		qsort(all.item, all.count, sizeof(*all.item), by_detection);
		n = suppress(all.item, all.count, sc->iou);
		memcpy(list, all.item, (n < max ? n : max) * sizeof(*list));
		ret = n;
	}
	free(all.item);
	return ret;
}
