// SPDX-License-Identifier: MIT
/* What in a comparison is worth a user's attention, with the remedy. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "compare_run.h"

#define SATURATED 0.001 /* part of a layer's values */
#define LOST_FP8  0.05
#define LOST_INT8 0.5

struct found {
	double weight;
	char *text;
};

struct list {
	struct found *item;
	unsigned count, cap;
};

static void __attribute__((format(printf, 3, 4))) add(struct list *l, double weight, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	l->item = ir_grow(l->item, &l->cap, l->count + 1, sizeof(*l->item));
	if (text)
		l->item[l->count++] = (struct found){ weight, text };
}

static void saturating(struct list *list, const struct mica_compare_layer *l)
{
	const char *remedy = l->input ? "calibrate with samples like these, and check the preprocessing" :
					"calibrate with samples like these, widen its line of the calibration table, or give the operators that read it bf16 in a qtable";

	if (l->whole.saturated < SATURATED && !(l->input && l->whole.saturated > 0))
		return;
	add(list, 10 + l->whole.saturated + (l->input ? 1 : 0), "'%s' saturates: %.3g %% of its values, from %.4g to %.4g, lie beyond %.4g .. %.4g; %s",
	    l->output, 100 * l->whole.saturated, (double)l->min, (double)l->max, (double)l->limit_lo, (double)l->limit_hi, remedy);
}

static void underflowing(struct list *list, const struct mica_compare_layer *l)
{
	bool int8 = l->has_limit && l->limit_hi / l->scale < 300;

	if (l->alone.underflow < (int8 ? LOST_INT8 : LOST_FP8))
		return;
	add(list, l->alone.underflow, "'%s': %.3g %% of its values are not 0 in f32 and %s in %s: the scale is set by a few large ones (%.4g); "
	    "a method that clips (kl, mse, percentile) or a finer format helps",
	    l->output, 100 * l->alone.underflow, int8 ? "0" : "0 or subnormal", l->stored, (double)(l->max > -l->min ? l->max : -l->min));
}

static void strange(struct list *list, const struct mica_compare_layer *l)
{
	if (l->strange)
		add(list, 20, "'%s': %llu values are NaN or infinite in f32 or as codes and are left out", l->output, (unsigned long long)l->strange);
	else if (l->min == l->max)
		add(list, 5, "'%s' is %.4g everywhere in all samples: nothing is known about its range", l->output, (double)l->min);
}

/* One line for all layers: "'a' (12 of 24), 'b' (2 of 96) and 3 more layers". */
static void dead_channels(struct list *list, const struct mica_comparison *c)
{
	char text[400] = "";
	unsigned layers = 0, zero = 0, all = 0;
	size_t n = 0;

	for (unsigned i = 0; i < c->layers; i++) {
		const struct mica_compare_channels *ch = &c->layer[i].channels;

		if (!ch->constant || ch->constant == ch->count)
			continue;
		all += ch->constant;
		zero += ch->zero_weights;
		if (layers++ < 4)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s'%.60s' (%u of %u)", layers > 1 ? ", " : "", c->layer[i].name, ch->constant,
					      ch->count);
	}
	if (layers > 4)
		snprintf(text + n, sizeof(text) - n, " and %u more layers", layers - 4);
	if (layers)
		add(list, 0.01, "%u channels never change on these samples (%u have weights of 0 only), so nothing is known about them: %s", all, zero, text);
}

static int heavier(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return x->weight > y->weight ? -1 : x->weight < y->weight;
}

void compare_warn(struct mica_comparison *c)
{
	struct list list = { 0 };

	for (unsigned i = 0; i < c->layers; i++) {
		saturating(&list, &c->layer[i]);
		underflowing(&list, &c->layer[i]);
		strange(&list, &c->layer[i]);
	}
	dead_channels(&list, c);
	if (list.count)
		qsort(list.item, list.count, sizeof(*list.item), heavier);
	c->warning = ir_alloc(list.count, sizeof(*c->warning));
	c->warnings = list.count;
	for (unsigned i = 0; i < list.count; i++)
		c->warning[i] = list.item[i].text;
	free(list.item);
}
