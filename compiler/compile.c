// SPDX-License-Identifier: MIT
/* The compiler's entry points: what the command and the tests call. */
#include <stdlib.h>
#include <string.h>
#include "front.h"

void mica_compile_defaults(struct mica_compile_options *o)
{
	memset(o, 0, sizeof(*o));
	o->format = MICA_E4M3;
	o->method = MICA_METHOD_MAX;
	o->percentile = 99.99;
	o->symmetric = true;
	o->cores = 1;
	o->lmem = 2u << 20;
	o->threads = 1;
	o->verify = true;
}

int ir_check_options(const struct mica_compile_options *o, struct mica_err *err)
{
	if (o->format != MICA_E4M3 && o->format != MICA_E5M2 && o->format != MICA_I8 &&
	    o->format != MICA_BF16 && o->format != MICA_F32)
		return mica_err_set(err, MICA_ERR_USAGE,
				    "format %s cannot be compiled to; use e4m3, e5m2, int8, bf16 "
				    "or f32",
				    mica_dtype_name(o->format));
	if (o->cores < 1 || o->cores > MICA_MAX_CORES)
		return mica_err_set(err, MICA_ERR_USAGE, "%u cores; give 1 to %u", o->cores,
				    MICA_MAX_CORES);
	if (o->method > MICA_METHOD_NONE)
		return mica_err_set(err, MICA_ERR_USAGE,
				    "unknown calibration method; use max, kl, percentile, mse or "
				    "none");
	if (!(o->percentile >= 50 && o->percentile <= 100))
		return mica_err_set(err, MICA_ERR_USAGE, "percentile %g: give 50 to 100",
				    o->percentile);
	return ir_check_pass_name(o, err);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The passes up to `until`, then the back half when there is an out_path. */
static int run(const char *onnx_path, const char *until, const char *out_path,
	       const struct mica_compile_options *o, struct mica_err *err)
{
	struct ir_graph *g;
	int r = ir_check_options(o, err);

	if (r)
		return r;
	g = ir_graph_new(base_name(onnx_path), err);
	r = ir_import(g, onnx_path, o);
	if (!r)
		ir_dump(g, o, "import");
	if (!r && o->verify)
		r = ir_verify(g, false);
	if (!r)
		r = ir_run_passes(g, o, until);
	if (!r && out_path)
		r = ir_backend(g, o, out_path);
	ir_graph_free(g);
	return r;
}

int mica_compile(const char *onnx_path, const char *out_path, const struct mica_compile_options *o,
		 struct mica_err *err)
{
	struct mica_err own = { 0 };

	if (!err)
		err = &own;
	err->code = MICA_ERR_NONE;
	return run(onnx_path, NULL, out_path, o, err);
}

int mica_calibrate(const char *onnx_path, const struct mica_compile_options *o,
		   struct mica_err *err)
{
	struct mica_err own = { 0 };

	if (!err)
		err = &own;
	err->code = MICA_ERR_NONE;
	return run(onnx_path, "calibrate", NULL, o, err);
}

int mica_onnx_inputs(const char *onnx_path, const struct mica_compile_options *o,
		     struct mica_onnx_input **list, unsigned *count, struct mica_err *err)
{
	struct mica_err own = { 0 };
	struct ir_graph *g;
	int r;

	if (!err)
		err = &own;
	err->code = MICA_ERR_NONE;
	*list = NULL;
	*count = 0;
	g = ir_graph_new(base_name(onnx_path), err);
	r = ir_import(g, onnx_path, o);
	if (!r) {
		*list = ir_alloc(g->inputs, sizeof(**list));
		*count = g->inputs;
	}
	for (unsigned i = 0; i < *count; i++) {
		(*list)[i].name = ir_strdup(g->input[i]->name);
		(*list)[i].rank = g->input[i]->rank;
		memcpy((*list)[i].dim, g->input[i]->dim, sizeof((*list)[i].dim));
	}
	ir_graph_free(g);
	return r;
}

void mica_onnx_inputs_free(struct mica_onnx_input *list, unsigned count)
{
	for (unsigned i = 0; list && i < count; i++)
		free(list[i].name);
	free(list);
}
