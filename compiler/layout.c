// SPDX-License-Identifier: MIT
/* Views of values in other axis orders: conversion, transposition, reshaping. */
#include <stdlib.h>
#include <string.h>
#include "layout.h"

static struct forms *forms_of(struct layout *l, struct ir_value *v)
{
	struct forms *f = v->scratch;

	(void)l;
	if (f)
		return f;
	f = v->scratch = ir_alloc(1, sizeof(*f));
	f->n = 1;
	f->form[0].base = v;
	for (int i = 0; i < IR_MAX_RANK; i++)
		f->form[0].order[i] = i;
	return f;
}

const struct view *layout_view(struct layout *l, struct ir_value *v)
{
	return &forms_of(l, v)->form[0];
}

void layout_set(struct layout *l, struct ir_value *v, struct ir_value *base, const int *order)
{
	struct forms *f = v->scratch ? v->scratch : ir_alloc(1, sizeof(*f));

	v->scratch = f;
	f->n = 1;
	f->form[0].base = base;
	memcpy(f->form[0].order, order, v->rank * sizeof(*order));
	if (base->id > l->named && !base->data && !v->is_output) {
		ir_swap_names(l->g, v, base);
		l->named = base->id;
	}
}

/* ---- transposes ---- */

#define MAX_MOVED 6	/* groups of axes that one transpose takes */

/* First the first axis that is not in its place goes there. What is in its place then counts as one group. */
static struct ir_value *in_two_steps(struct build *b, struct ir_value *x, const int *perm)
{
	int first[IR_MAX_RANK], rest[IR_MAX_RANK], k = 0, n;

	for (; perm[k] == k; k++)
		first[k] = k;
	first[k] = perm[k];
	n = k + 1;
	for (int a = k; a < (int)x->rank; a++)
		if (a != perm[k])
			first[n++] = a;
	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++)
			if (first[j] == perm[i])
				rest[i] = j;
	return layout_transpose_min(b, layout_transpose_min(b, x, first), rest);
}

struct ir_value *layout_transpose_min(struct build *b, struct ir_value *x, const int *perm)
{
	int64_t out[IR_MAX_RANK], in[IR_MAX_RANK], extent[IR_MAX_RANK];
	int index[IR_MAX_RANK], first[IR_MAX_RANK], p[IR_MAX_RANK], n = 0, groups = 0, last = -2;
	unsigned rank = x->rank;

	for (unsigned a = 0; a < rank; a++) {
		out[a] = x->dim[perm[a]];
		index[a] = n; /* among the axes of x that count */
		n += x->dim[a] != 1;
	}
	for (unsigned i = 0; i < rank; i++) {
		if (out[i] == 1)
			continue;
		if (index[perm[i]] != last + 1) {
			first[groups] = index[perm[i]];
			extent[groups++] = 1;
		}
		extent[groups - 1] *= out[i];
		last = index[perm[i]];
	}
	for (int i = 0; i < groups; i++) {
		p[i] = 0;
		for (int k = 0; k < groups; k++)
			p[i] += first[k] < first[i];
		in[p[i]] = extent[i];
	}
	if (groups > MAX_MOVED)
		return in_two_steps(b, x, perm);
	x = build_transpose(b, build_reshape(b, x, (unsigned)groups, in), p);
	return build_reshape(b, x, rank, out);
}

static struct ir_value *convert(struct build *b, struct ir_value *x, const int *perm)
{
	int64_t dim[IR_MAX_RANK];
	int last = -1;
	bool moves = false;

	for (unsigned i = 0; i < x->rank; i++) {
		dim[i] = x->dim[perm[i]];
		if (dim[i] == 1)
			continue;
		moves = moves || perm[i] < last;
		last = perm[i];
	}
	if (!moves) /* only extents of 1 change places */
		return build_reshape(b, x, x->rank, dim);
	return x->rank > 4 ? layout_transpose_min(b, x, perm) : build_transpose(b, x, perm);
}

struct ir_value *layout_get(struct layout *l, struct ir_value *v, const int *order)
{
	struct forms *f = forms_of(l, v);
	int perm[IR_MAX_RANK];
	struct view *form;

	for (unsigned k = 0; k < f->n; k++)
		if (!memcmp(f->form[k].order, order, v->rank * sizeof(*order)))
			return f->form[k].base;
	for (unsigned j = 0; j < v->rank; j++)
		for (unsigned i = 0; i < v->rank; i++)
			if (f->form[0].order[i] == order[j])
				perm[j] = (int)i;
	form = &f->form[f->n < MAX_FORMS ? f->n++ : MAX_FORMS - 1];
	form->base = convert(&l->b, f->form[0].base, perm);
	memcpy(form->order, order, v->rank * sizeof(*order));
	return form->base;
}

struct ir_value *layout_get_wide(struct layout *l, struct ir_value *v, unsigned rank,
				 const int *order)
{
	const struct view *view = layout_view(l, v);
	unsigned extra = rank - v->rank;
	int64_t dim[IR_MAX_RANK];
	int have[IR_MAX_RANK], perm[IR_MAX_RANK];
	struct ir_value *base;

	if (!extra)
		return layout_get(l, v, order);
	if (!v->rank)
		return view->base;
	for (unsigned j = 0; j < rank; j++) {
		dim[j] = j < extra ? 1 : view->base->dim[j - extra];
		have[j] = j < extra ? (int)j : view->order[j - extra] + (int)extra;
	}
	base = build_reshape(&l->b, view->base, rank, dim);
	for (unsigned j = 0; j < rank; j++)
		for (unsigned i = 0; i < rank; i++)
			if (have[i] == order[j])
				perm[j] = (int)i;
	return convert(&l->b, base, perm);
}

void layout_transpose(struct layout *l, struct ir_value *v, struct ir_value *w, const int *perm)
{
	const struct view *view = layout_view(l, v);
	int order[IR_MAX_RANK];

	for (unsigned j = 0; j < v->rank; j++)
		for (unsigned i = 0; i < v->rank; i++)
			if (perm[i] == view->order[j])
				order[j] = (int)i;
	layout_set(l, w, view->base, order);
}

/* ---- reshapes ---- */

/* Axes of v and w, extents of 1 left out, fall into segments with equal products: seg[axis] is the number of its segment. */
struct segments {
	int of_v[IR_MAX_RANK], of_w[IR_MAX_RANK]; /* -1: extent 1 */
	int n;
};

static void find_segments(const struct ir_value *v, const struct ir_value *w, struct segments *s)
{
	unsigned i = 0, k = 0;
	int64_t pv = 1, pw = 1;

	s->n = 0;
	for (unsigned a = 0; a < IR_MAX_RANK; a++)
		s->of_v[a] = s->of_w[a] = -1;
	while (i < v->rank || k < w->rank) {
		if (i < v->rank && v->dim[i] == 1) {
			i++;
		} else if (k < w->rank && w->dim[k] == 1) {
			k++;
		} else if (pv <= pw && i < v->rank && (pv < pw || pv == 1)) {
			s->of_v[i] = s->n;
			pv *= v->dim[i++];
		} else {
			s->of_w[k] = s->n;
			pw *= w->dim[k++];
		}
		if (pv == pw && pv > 1) {
			s->n++;
			pv = pw = 1;
		}
	}
}

/*
 * The order closest to the native one in which the axes of each segment stand together and ascending. Axes of extent 1
 * come last.
 */
static void gather_segments(const struct ir_value *v, const struct view *view,
			    const struct segments *s, int *order)
{
	bool done[IR_MAX_RANK] = { false };
	unsigned n = 0;

	for (unsigned j = 0; j < v->rank; j++) {
		int seg = s->of_v[view->order[j]];

		if (seg < 0 || done[seg])
			continue;
		done[seg] = true;
		for (unsigned a = 0; a < v->rank; a++)
			if (s->of_v[a] == seg)
				order[n++] = (int)a;
	}
	for (unsigned a = 0; a < v->rank; a++)
		if (s->of_v[a] < 0)
			order[n++] = (int)a;
}

void layout_reshape(struct layout *l, struct ir_value *v, struct ir_value *w)
{
	const struct view *view = layout_view(l, v);
	int order[IR_MAX_RANK], worder[IR_MAX_RANK];
	bool placed[IR_MAX_RANK] = { false };
	struct segments s;
	struct ir_value *base;
	int64_t dim[IR_MAX_RANK];
	unsigned n = 0;

	find_segments(v, w, &s);
	gather_segments(v, view, &s, order);
	for (unsigned j = 0; j < v->rank; j++) { /* w's axes in the same order of segments */
		int seg = s.of_v[order[j]];

		for (unsigned k = 0; k < w->rank && seg >= 0; k++) {
			if (s.of_w[k] != seg || placed[k])
				continue;
			worder[n++] = (int)k;
			placed[k] = true;
		}
	}
	for (unsigned k = 0; k < w->rank; k++) { /* an extent of 1 stands behind its predecessor */
		unsigned at = 0;

		if (placed[k])
			continue;
		for (unsigned j = 0; j < n && k; j++)
			if (worder[j] == (int)k - 1)
				at = j + 1;
		memmove(worder + at + 1, worder + at, (n - at) * sizeof(*worder));
		worder[at] = (int)k;
		n++;
	}
	for (unsigned j = 0; j < w->rank; j++)
		dim[j] = w->dim[worder[j]];
	base = build_reshape(&l->b, layout_get(l, v, order), w->rank, dim);
	layout_set(l, w, base, worder);
}
