// SPDX-License-Identifier: MIT
/* mica run: one inference, from files to files. */
#include "cli.h"
#include "run.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int take_input(const struct cli_opt *o, const char *arg, void *to)
{
	struct run_args *a = to;

	if (a->input_count == RUN_MAX_INPUTS)
		return cli_fail(MICA_ERR_USAGE, "--%s: at most %d are possible", o->name, RUN_MAX_INPUTS);
	a->input[a->input_count++] = arg;
	return 0;
}

static const struct cli_opt own[] = {
	{ .name = "input", .take = take_input },
	CLI_OUTPUT("output", struct run_args, output),
	CLI_FLAG("raw", struct run_args, raw),
	CLI_SECONDS("timeout", struct run_args, timeout),
	CLI_FLAG("json", struct run_args, json),
	{ 0 }
};

static int parse(int argc, char **argv, struct run_args *a)
{
	const struct cli_group groups[] = {
		CLI_GROUP(own, a), CLI_GROUP(cli_device_options, &a->dev), CLI_GROUP(cli_sidecar_options, &a->sidecar), { 0 },
	};
	int ret = cli_parse_one(&cmd_run, argc, argv, groups, "MODEL.mica", &a->model);

	if (!ret && a->raw && !a->output)
		return cli_fail(MICA_ERR_USAGE, "--raw writes files: it needs --output=DIR");
	return ret;
}

/* ---- inputs ---- */

/* NAME=FILE or FILE; a file whose name has a '=' needs the former. */
static int split_input(const struct run *r, const char *arg, int *index, const char **path)
{
	const char *eq = strchr(arg, '=');
	const char *described = r->sidecar ? mica_sidecar_input(r->sidecar) : NULL;
	char *name;

	if (!eq) {
		*path = arg;
		if (mica_model_input_count(r->model) == 1) {
			*index = 0;
			return 0;
		}
		if (!described)
			return cli_fail(MICA_ERR_USAGE, "--input=%s: the model has %u inputs, say which: --input=NAME=FILE (the first is '%s')", arg,
					mica_model_input_count(r->model), mica_model_input(r->model, 0)->name);
		*index = mica_model_find_input(r->model, described);
	} else {
		*path = eq + 1;
		name = strndup(arg, eq - arg);
		*index = name ? mica_model_find_input(r->model, name) : -ENOMEM;
		free(name);
	}
	return *index < 0 ? cli_fail(MICA_ERR_USAGE, "--input=%s: %s", arg, mica_error_text()) : 0;
}

static int read_image(struct run *r, const char *path, const struct mica_tensor_info *t, float *dst)
{
	int ret;

	mica_image_free(&r->image);
	ret = mica_image_load(path, &r->image);
	if (!ret && !r->sidecar)
		return cli_fail(MICA_ERR_USAGE, "%s: how this image becomes input '%s' is not known: the model has no sidecar; give --sidecar=FILE or --mean, --std, --channels",
				path, t->name);
	if (!ret)
		ret = mica_preprocess(r->sidecar, &r->image, t->dim, t->rank, dst, t->elements, &r->where);
	return ret ? cli_fail(cli_code_of(-ret), "input '%s': %s", t->name, mica_error_text()) : 0;
}

static int check_shape(const char *path, const struct mica_array *a, const struct mica_tensor_info *t)
{
	char want[96], have[160] = "scalar";
	bool same = a->rank == t->rank;
	size_t n = 0;

	for (unsigned i = 0; i < a->rank; i++) {
		n += snprintf(have + n, sizeof(have) - n, "%s%llu", i ? "x" : "", (unsigned long long)a->dim[i]);
		same = same && i < t->rank && a->dim[i] == t->dim[i];
	}
	if (same)
		return 0;
	return cli_fail(MICA_ERR_SHAPE, "%s: has the shape %s, input '%s' needs %s", path, have, t->name, dims_text(t, want, sizeof(want)));
}

static int read_tensor(const char *path, const struct mica_tensor_info *t, float *dst)
{
	bool bin = path_ends(path, ".bin");
	struct mica_array a;
	int ret = bin ? mica_bin_load(path, &a) : mica_npy_load(path, &a);

	if (ret)
		return cli_sdk(ret);
	if (bin && a.elements != t->elements)
		ret = cli_fail(MICA_ERR_SHAPE, "%s: holds %zu f32 values, input '%s' has %zu", path, a.elements, t->name, t->elements);
	else if (!bin)
		ret = check_shape(path, &a, t);
	if (!ret) {
		ret = mica_array_to_f32(&a, 0, a.elements, dst);
		ret = ret ? cli_sdk(ret) : 0;
	}
	mica_array_free(&a);
	return ret;
}

static int set_input(struct run *r, const char *arg, bool *given)
{
	const struct mica_tensor_info *t;
	const char *path = NULL;
	float *values;
	int index = 0, ret = split_input(r, arg, &index, &path);

	if (ret)
		return ret;
	if (given[index])
		return cli_fail(MICA_ERR_USAGE, "--input=%s: this input was given before", arg);
	given[index] = true;
	t = mica_model_input(r->model, index);
	values = malloc(t->elements * sizeof(*values));
	if (!values)
		return cli_fail(MICA_ERR_MEMORY, "out of memory for input '%s'", t->name);
	if (path_ends(path, ".jpg") || path_ends(path, ".jpeg") || path_ends(path, ".png"))
		ret = read_image(r, path, t, values);
	else if (path_ends(path, ".npy") || path_ends(path, ".bin"))
		ret = read_tensor(path, t, values);
	else
		ret = cli_fail(MICA_ERR_USAGE, "--input=%s: a file that ends in .npy, .bin, .jpg or .png is expected", arg);
	if (!ret) {
		cli_warn_range(t, values, path);
		ret = mica_session_set_input_f32(r->session, index, values, t->elements);
		ret = ret ? cli_sdk(ret) : 0;
	}
	free(values);
	return ret;
}

static int set_inputs(struct run *r, const struct run_args *a)
{
	bool given[RUN_MAX_INPUTS] = { 0 };
	int ret = 0;

	for (unsigned i = 0; i < a->input_count && !ret; i++)
		ret = set_input(r, a->input[i], given);
	for (unsigned i = 0; i < mica_model_input_count(r->model) && !ret; i++)
		if (!given[i])
			ret = cli_fail(MICA_ERR_USAGE, "input '%s' is missing: --input=%s=FILE", mica_model_input(r->model, i)->name,
				       mica_model_input(r->model, i)->name);
	return ret;
}

/* ---- the run ---- */

static int open_all(struct run *r, const struct run_args *a)
{
	struct mica_model_info info;
	int ret = mica_device_open(&a->dev, &r->dev);

	if (!ret)
		ret = mica_model_load(r->dev, a->model, &r->model);
	if (!ret)
		ret = mica_session_create(r->model, &r->session);
	if (ret)
		return cli_sdk(ret);
	mica_device_get_info(r->dev, &r->dev_info);
	mica_model_get_info(r->model, &info);
	r->macs = info.macs;
	r->cores = info.cores;
	return cli_sidecar_load(&a->sidecar, r->model, &r->sidecar);
}

static int infer(struct run *r, const struct run_args *a)
{
	double start = cli_now();
	int ret = mica_session_run(r->session, a->timeout ? (int64_t)(a->timeout * 1e9) : -1);

	r->seconds = cli_now() - start;
	if (!ret)
		ret = mica_session_stats(r->session, &r->stats);
	return ret ? cli_sdk(ret) : 0;
}

static int fetch_outputs(struct run *r)
{
	unsigned n = mica_model_output_count(r->model);

	r->output = calloc(n, sizeof(*r->output));
	if (!r->output)
		return cli_fail(MICA_ERR_MEMORY, "out of memory for the outputs");
	for (unsigned i = 0; i < n; i++) {
		const struct mica_tensor_info *t = mica_model_output(r->model, i);
		int ret;

		r->output[i] = malloc(t->elements * sizeof(float));
		if (!r->output[i])
			return cli_fail(MICA_ERR_MEMORY, "out of memory for output '%s'", t->name);
		ret = mica_session_get_output_f32(r->session, i, r->output[i], t->elements);
		if (ret)
			return cli_sdk(ret);
	}
	return 0;
}

static void close_all(struct run *r)
{
	unsigned n = r->model ? mica_model_output_count(r->model) : 0;

	for (unsigned i = 0; r->output && i < n; i++)
		free(r->output[i]);
	free(r->output);
	mica_image_free(&r->image);
	mica_sidecar_free(r->sidecar);
	mica_session_destroy(r->session);
	mica_model_close(r->model);
	mica_device_close(r->dev);
}

static int run(int argc, char **argv)
{
	struct run_args a = { .dev = MICA_DEVICE_OPTIONS_INIT };
	struct run r = { 0 };
	int ret = parse(argc, argv, &a);

	if (ret)
		return ret == CLI_HELP ? 0 : ret;
	ret = open_all(&r, &a);
	if (!ret)
		ret = set_inputs(&r, &a);
	if (!ret)
		ret = infer(&r, &a);
	if (!ret)
		ret = fetch_outputs(&r);
	if (!ret)
		ret = run_report(&r, &a);
	close_all(&r);
	return ret;
}

const struct command cmd_run = {
	"run", "run a compiled model once on files", run,
	"MODEL.mica --input=[NAME=]FILE... [OPTION]...\n\n"
	"  --input=[NAME=]FILE        .npy, .bin (raw f32), .jpg or .png; once per input of the model\n"
	"  --output=DIR               write NAME.npy (f32) per output, and detections.png for a detector\n"
	"  --raw                      also write the codes, NAME.raw.npy\n"
	"  --timeout=SECONDS          give up after that time\n"
	"  --json                     results and figures as JSON\n"
	CLI_DEVICE_HELP
	CLI_SIDECAR_HELP
	"                             default: the sidecar in the model\n",
};
