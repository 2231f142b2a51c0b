// SPDX-License-Identifier: MIT
/* The passes of the front half, in order: the compiler's table of contents. */
#include <string.h>
#include "front.h"

const struct ir_pass ir_passes[] = {
	{ "infer_shapes", pass_infer_shapes, false },
	{ "fold_constants", pass_fold_constants, false },
	{ "canonicalize", pass_canonicalize, false },
	{ "fuse", pass_fuse, false },
	{ "layout", pass_layout, true },
	{ "equalize", pass_equalize, true },
	{ "calibrate", pass_calibrate, true },
	{ "quantize", pass_quantize, true },
	{ "adaround", pass_adaround, true },
	{ "bias_correct", pass_bias_correct, true },
	{ "cleanup", pass_cleanup, true },
	{ NULL, NULL, false },
};

void ir_dump(const struct ir_graph *g, const struct mica_compile_options *o, const char *pass)
{
	if (!o->dump_after || (strcmp(o->dump_after, pass) && strcmp(o->dump_after, "all")))
		return;
	fprintf(stderr, "; after %s\n", pass);
	ir_print(g, stderr);
}

int ir_check_pass_name(const struct mica_compile_options *o, struct mica_err *err)
{
	char all[256] = "import";

	if (!o->dump_after || !strcmp(o->dump_after, "all") || !strcmp(o->dump_after, "import"))
		return 0;
	for (const struct ir_pass *p = ir_passes; p->name; p++) {
		if (!strcmp(o->dump_after, p->name))
			return 0;
		strcat(all, ", ");
		strcat(all, p->name);
	}
	return mica_err_set(err, MICA_ERR_USAGE,
			    "--dump-after=%.100s: no such pass; give all or one of: %s",
			    o->dump_after, all);
}

int ir_run_passes(struct ir_graph *g, const struct mica_compile_options *o, const char *until)
{
	unsigned done = 0, total = sizeof(ir_passes) / sizeof(*ir_passes) - 1;

	for (const struct ir_pass *p = ir_passes; p->name; p++) {
		int r;

		if (o->progress)
			o->progress(o->progress_opaque, p->name, done++, total);
		r = p->fn(g, o);
		if (r)
			return r;
		ir_dump(g, o, p->name);
		if (o->verify && ir_verify(g, p->device)) {
			size_t n = strlen(g->err->text);

			snprintf(g->err->text + n, sizeof(g->err->text) - n, " (after pass %s)",
				 p->name);
			return -(int)g->err->code;
		}
		if (until && !strcmp(until, p->name))
			break;
	}
	return 0;
}
