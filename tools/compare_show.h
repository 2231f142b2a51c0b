/* SPDX-License-Identifier: MIT */
/* Parts of `mica compare`: the comparison as a table, as JSON and as a page. */
#ifndef MICA_COMPARE_SHOW_H
#define MICA_COMPARE_SHOW_H

#include "cli.h"
#include "compare.h"

/* What was compared, in words. */
struct compare_about {
	const char *model;		/* the file's base name */
	const char *options;		/* "int8, max, repairs cle adaround" */
	const char *sort, *order;	/* --sort, and in words */
	double seconds;
};

void compare_text(const struct mica_comparison *c, unsigned top);
json_object *compare_json(const struct mica_comparison *c, const struct compare_about *about);
void compare_html(FILE *f, const struct mica_comparison *c, const struct compare_about *about);

/* "21.3" or "exact" */
const char *compare_snr_text(double snr, char text[16]);

/* ---- compare_svg.c ---- */

void svg_histogram(FILE *f, const struct mica_compare_layer *l);
void svg_channels(FILE *f, const struct mica_compare_channels *c);
void svg_profile(FILE *f, const struct mica_comparison *c);	/* SNR over the layers in the order of execution */

#endif /* MICA_COMPARE_SHOW_H */
