// SPDX-License-Identifier: MIT
/* A comparison as a table on stdout and as JSON. */
#include "compare_show.h"
#include <math.h>
#include <string.h>

const char *compare_snr_text(double snr, char text[16])
{
	if (snr == INFINITY)
		snprintf(text, 16, "exact");
	else
		snprintf(text, 16, "%.1f", snr);
	return text;
}

/* ---- the table ---- */

static const char *format_text(const struct mica_compare_layer *l, char text[24])
{
	if (!strcmp(l->format, l->stored))
		snprintf(text, 24, "%s", l->format);
	else
		snprintf(text, 24, "%s > %s", l->format, l->stored);
	return text;
}

static void print_layer(const struct mica_compare_layer *l)
{
	char alone[16], whole[16], format[24];

	printf("%7s %7s %8.5f %10.4g %7.2f %8.3f %8.3f  %-13s %4u  %s (%s)", compare_snr_text(l->alone.snr, alone),
	       compare_snr_text(l->whole.snr, whole), l->whole.cosine, l->whole.max_error, 100 * l->whole.range_error,
	       100 * l->whole.saturated, 100 * l->whole.underflow, format_text(l, format), l->order, l->name, l->op);
	printf(l->is_output ? " -> output %s\n" : "\n", l->output);
}

static void print_outputs(const struct mica_comparison *c)
{
	char snr[16];

	for (unsigned i = 0; i < c->layers; i++) {
		const struct mica_compare_layer *l = &c->layer[i];

		if (l->is_output)
			printf("output %s: cosine %.5f, SNR %s dB, lowest cosine %.5f (sample %u of %u)\n", l->output, l->whole.cosine,
			       compare_snr_text(l->whole.snr, snr), l->whole.lowest_cosine, l->whole.lowest_sample + 1, c->samples);
	}
}

void compare_text(const struct mica_comparison *c, unsigned top)
{
	unsigned n = top && top < c->layers ? top : c->layers;

	printf("SNR, dB         cosine  max error    of %%  satur. underfl.  format           #  layer\n");
	printf("  alone network\n");
	for (unsigned i = 0; i < n; i++)
		print_layer(&c->layer[i]);
	if (n < c->layers)
		printf("and %u more layers (--top=0 prints all)\n", c->layers - n);
	print_outputs(c);
}

/* ---- JSON ---- */

/* JSON has no infinity: null stands for an SNR without error. */
static json_object *number_or_null(double v)
{
	return isfinite(v) ? json_num(v) : NULL;
}

static json_object *view_json(const struct mica_compare_view *v)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "cosine", json_num(v->cosine));
	json_object_object_add(o, "snr_db", number_or_null(v->snr));
	json_object_object_add(o, "max_error", json_num(v->max_error));
	json_object_object_add(o, "range_error", json_num(v->range_error));
	json_object_object_add(o, "saturated", json_num(v->saturated));
	json_object_object_add(o, "underflow", json_num(v->underflow));
	json_object_object_add(o, "subnormal", json_num(v->subnormal));
	return o;
}

static json_object *floats_json(const float *v, unsigned n)
{
	json_object *a = json_object_new_array();

	for (unsigned i = 0; i < n; i++)
		json_object_array_add(a, number_or_null((double)v[i]));
	return a;
}

static json_object *counts_json(const uint64_t *v, unsigned n)
{
	json_object *a = json_object_new_array();

	for (unsigned i = 0; i < n; i++)
		json_object_array_add(a, json_object_new_int64((int64_t)v[i]));
	return a;
}

static json_object *histogram_json(const struct mica_compare_histogram *h)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "lo", json_num(h->lo));
	json_object_object_add(o, "hi", json_num(h->hi));
	json_object_object_add(o, "before", counts_json(h->before, h->bins));
	json_object_object_add(o, "after", counts_json(h->after, h->bins));
	return o;
}

static json_object *channels_json(const struct mica_compare_channels *c)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "weight", floats_json(c->weight, c->count));
	json_object_object_add(o, "min", floats_json(c->lo, c->count));
	json_object_object_add(o, "max", floats_json(c->hi, c->count));
	json_object_object_add(o, "zero_weights", json_object_new_int64(c->zero_weights));
	json_object_object_add(o, "constant", json_object_new_int64(c->constant));
	return o;
}

static json_object *layer_json(const struct mica_compare_layer *l)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "index", json_object_new_int64(l->order));
	json_object_object_add(o, "name", json_object_new_string(l->name));
	json_object_object_add(o, "op", json_object_new_string(l->op));
	json_object_object_add(o, "output", json_object_new_string(l->output));
	json_object_object_add(o, "shape", json_object_new_string(l->shape));
	json_object_object_add(o, "format", json_object_new_string(l->format));
	json_object_object_add(o, "stored", json_object_new_string(l->stored));
	json_object_object_add(o, "is_output", json_object_new_boolean(l->is_output));
	json_object_object_add(o, "elements", json_object_new_int64((int64_t)l->elements));
	json_object_object_add(o, "strange", json_object_new_int64((int64_t)l->strange));
	json_object_object_add(o, "min", json_num((double)l->min));
	json_object_object_add(o, "max", json_num((double)l->max));
	json_object_object_add(o, "limit_min", l->has_limit ? json_num((double)l->limit_lo) : NULL);
	json_object_object_add(o, "limit_max", l->has_limit ? json_num((double)l->limit_hi) : NULL);
	json_object_object_add(o, "scale", json_num((double)l->scale));
	json_object_object_add(o, "network", view_json(&l->whole));
	json_object_object_add(o, "alone", view_json(&l->alone));
	json_object_object_add(o, "lowest_cosine", json_num(l->whole.lowest_cosine));
	json_object_object_add(o, "lowest_sample", json_object_new_int64(l->whole.lowest_sample));
	json_object_object_add(o, "histogram", histogram_json(&l->histogram));
	json_object_object_add(o, "channels", l->channels.count ? channels_json(&l->channels) : NULL);
	return o;
}

json_object *compare_json(const struct mica_comparison *c, const struct compare_about *about)
{
	json_object *o = json_object_new_object(), *layers = json_object_new_array(), *warnings = json_object_new_array();

	for (unsigned i = 0; i < c->layers; i++)
		json_object_array_add(layers, layer_json(&c->layer[i]));
	for (unsigned i = 0; i < c->warnings; i++)
		json_object_array_add(warnings, json_object_new_string(c->warning[i]));
	json_object_object_add(o, "model", json_object_new_string(about->model));
	json_object_object_add(o, "options", json_object_new_string(about->options));
	json_object_object_add(o, "sort", json_object_new_string(about->sort));
	json_object_object_add(o, "samples", json_object_new_int64(c->samples));
	json_object_object_add(o, "seconds", json_num(about->seconds));
	json_object_object_add(o, "warnings", warnings);
	json_object_object_add(o, "layers", layers);
	return o;
}
