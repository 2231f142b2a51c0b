/* SPDX-License-Identifier: MIT */
/* mica memplan's files: problems and plans as CSV, plans as SVG. */
#ifndef MICA_MEMPLAN_H
#define MICA_MEMPLAN_H

#include <stdio.h>
#include "plan.h"

/* memplan's own exit codes (docs/cli.md); usage errors stay MICA_ERR_USAGE. */
enum { MEMPLAN_INFEASIBLE = 3, MEMPLAN_TIME = 4, MEMPLAN_INPUT = 5, MEMPLAN_OUTPUT = 6 };

struct memplan {
	struct plan_buf *buf;		/* times are ranks of those in the file, the order is the file's */
	struct memplan_row { char *id; uint64_t lower, upper; } *row;
	char **group;			/* names of alias groups, from 1; sorted */
	size_t count, room, groups;
	bool has_alignment, has_fixed, has_alias;
};

/* 0, or the exit code when the message with file and line has been printed. memplan_free() in both cases. */
int memplan_read(const char *path, struct memplan *m);
void memplan_free(struct memplan *m);

int memplan_write_csv(const char *path, const struct memplan *m);
int memplan_write_svg(const char *path, const struct memplan *m, const struct plan_result *r, uint64_t capacity);

#endif /* MICA_MEMPLAN_H */
