/* SPDX-License-Identifier: MIT */
/* Outputs of libmica, the compiler and the command: a file appears whole under its name, or not at all, and the message says why. */
#ifndef MICA_OUTPUT_H
#define MICA_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct sdk_part { const void *data; size_t size; };

/* Parts one after another into PATH by way of a temporary file beside it. Only regular files are replaced; a link's target is, not
 * the link. durable: on disk when this returns. 0, or -errno with mica_error_text() set. */
int sdk_output_save(const char *path, const struct sdk_part *parts, unsigned count, bool durable);

/* A text: print into f, then save or drop it. A device or a pipe is written to. */
struct sdk_text { FILE *f; char *data; size_t size; };
int sdk_text_open(struct sdk_text *t);
int sdk_text_save(struct sdk_text *t, const char *path);	/* frees in any case */
void sdk_text_drop(struct sdk_text *t);

#endif /* MICA_OUTPUT_H */
