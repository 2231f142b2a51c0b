// SPDX-License-Identifier: MIT
/* Calibration data: images, arrays or an IDX file become samples of the model's inputs. */
#include "cli.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sample {
	const char *path;		/* of files.item; NULL: image `index` of the IDX file, or synthetic */
	size_t index;			/* arrays with several samples: which */
	unsigned of, variant;		/* --augment: made from sample `of` */
};

struct calib {
	struct mica_onnx_input *input;
	unsigned inputs;
	struct mica_sidecar *sidecar;
	struct path_list files;
	const char *folder;		/* of a model with several inputs: one subfolder per input */
	struct mica_array idx;
	bool synthetic;
	struct sample *sample;
	unsigned count;
};

unsigned calib_count(const struct calib *cal)
{
	return cal->count;
}

void calib_close(struct calib *cal)
{
	if (!cal)
		return;
	mica_onnx_inputs_free(cal->input, cal->inputs);
	mica_sidecar_free(cal->sidecar);
	paths_free(&cal->files);
	mica_array_free(&cal->idx);
	free(cal->sample);
	free(cal);
}

static size_t elements_of(const struct mica_onnx_input *in)
{
	size_t n = 1;

	for (unsigned i = 0; i < in->rank; i++)
		n *= in->dim[i];
	return n;
}

static const struct mica_onnx_input *find_input(const struct calib *cal, const char *name)
{
	for (unsigned i = 0; i < cal->inputs; i++)
		if (!strcmp(cal->input[i].name, name))
			return &cal->input[i];
	return NULL;
}

/* ---- loading one sample ---- */

/* Takes the image. */
static int load_image(const struct calib *cal, const struct sample *s, struct mica_image *img, const struct mica_onnx_input *in,
		      float *dst, size_t n)
{
	int ret = augment_image(img, s->of, s->variant);
	uint32_t dim[8];

	for (unsigned i = 0; i < in->rank; i++)
		dim[i] = in->dim[i];
	if (!ret)
		ret = mica_preprocess(cal->sidecar, img, dim, in->rank, dst, n, NULL);
	mica_image_free(img);
	return ret;
}

static int load_idx(const struct calib *cal, const struct sample *s, const struct mica_onnx_input *in, float *dst, size_t n)
{
	struct mica_image img = { cal->idx.dim[2], cal->idx.dim[1], 1, NULL };
	size_t size = (size_t)img.width * img.height;

	img.data = malloc(size);
	if (!img.data)
		return -ENOMEM;
	memcpy(img.data, (uint8_t *)cal->idx.data + s->index * size, size);
	return load_image(cal, s, &img, in, dst, n);
}

static int load_array(const char *path, size_t index, float *dst, size_t n)
{
	struct mica_array a;
	int ret = path_ends(path, ".bin") ? mica_bin_load(path, &a) : mica_npy_load(path, &a);

	if (!ret)
		ret = mica_array_to_f32(&a, index * n, n, dst);
	mica_array_free(&a);
	return ret;
}

static int load_file(const struct calib *cal, const struct sample *s, const struct mica_onnx_input *in, float *dst, size_t n)
{
	struct mica_image img;
	int ret;

	if (path_ends(s->path, ".npy") || path_ends(s->path, ".bin"))
		return load_array(s->path, s->index, dst, n);
	ret = mica_image_load(s->path, &img);
	return ret ? ret : load_image(cal, s, &img, in, dst, n);
}

/* Roughly normal, the same in every run. */
static void make_up(unsigned sample, float *dst, size_t n)
{
	uint32_t x = 12345 + sample * 7919;

	for (size_t i = 0; i < n; i++) {
		float sum = 0;

		for (int k = 0; k < 4; k++) {
			x = x * 1664525u + 1013904223u;
			sum += (float)(x >> 8) / (1 << 24) - 0.5f;
		}
		dst[i] = sum * 1.7320508f;
	}
}

/* The sample-th file of the input's own folder. */
static int load_from_folder(const struct calib *cal, unsigned sample, const struct mica_onnx_input *in, float *dst, size_t n)
{
	struct path_list files;
	char *dir;
	int ret;

	if (asprintf(&dir, "%s/%s", cal->folder, in->name) < 0)
		return -ENOMEM;
	ret = paths_in(dir, sample_extensions, &files);
	if (!ret && sample < files.count)
		ret = load_file(cal, &(struct sample){ .path = files.item[sample] }, in, dst, n);
	else if (!ret)
		ret = -ERANGE;
	paths_free(&files);
	free(dir);
	return ret;
}

int calib_load(void *opaque, unsigned sample, const char *input, float *dst, size_t n, struct mica_err *err)
{
	struct calib *cal = opaque;
	const struct mica_onnx_input *in = find_input(cal, input);
	const struct sample *s = &cal->sample[sample];
	const char *what = s->path ? s->path : "calibration image";
	int ret = 0;

	if (!in)
		return mica_err_set(err, MICA_ERR_INTERNAL, "calibration asks for an input '%s' that the model does not have", input);
	if (cal->synthetic)
		make_up(sample, dst, n);
	else if (cal->folder)
		ret = load_from_folder(cal, sample, in, dst, n);
	else if (s->path)
		ret = load_file(cal, s, in, dst, n);
	else
		ret = load_idx(cal, s, in, dst, n);
	if (!ret)
		return 0;
	return mica_err_set(err, cli_code_of(-ret), "%s does not suit input '%s': %s", what, input, mica_error_text());
}

/* ---- finding the samples ---- */

static int add_variant(struct calib *cal, const char *path, size_t index, unsigned of, unsigned variant)
{
	if (!(cal->count & (cal->count + 1)) || !cal->sample) {
		struct sample *grown = realloc(cal->sample, (2 * (size_t)cal->count + 2) * sizeof(*grown));

		if (!grown)
			return cli_fail(MICA_ERR_MEMORY, "out of memory for the calibration samples");
		cal->sample = grown;
	}
	cal->sample[cal->count++] = (struct sample){ path, index, of, variant };
	return 0;
}

static int add_sample(struct calib *cal, const char *path, size_t index)
{
	return add_variant(cal, path, index, cal->count, 0);
}

/* The images themselves come first: what looks at few samples looks at them. */
static int add_variants(struct calib *cal, unsigned variants)
{
	unsigned images = cal->count;
	int ret = 0;

	for (unsigned i = 0; i < images && variants > 1; i++)
		if (cal->sample[i].path && (path_ends(cal->sample[i].path, ".npy") || path_ends(cal->sample[i].path, ".bin")))
			return cli_fail(MICA_ERR_USAGE, "--augment: %s is an array; only images can be augmented", cal->sample[i].path);
	for (unsigned v = 1; v < variants; v++)
		for (unsigned i = 0; i < images && !ret; i++)
			ret = add_variant(cal, cal->sample[i].path, cal->sample[i].index, i, v);
	return ret;
}

/* An array may hold many samples one after another. */
static int add_file(struct calib *cal, const char *path)
{
	size_t n = elements_of(&cal->input[0]);
	struct mica_array a;
	int ret;

	if (!path_ends(path, ".npy") && !path_ends(path, ".bin"))
		return add_sample(cal, path, 0);
	ret = path_ends(path, ".bin") ? mica_bin_load(path, &a) : mica_npy_load(path, &a);
	if (ret)
		return cli_sdk(ret);
	if (!a.elements || a.elements % n)
		ret = cli_fail(MICA_ERR_SHAPE, "%s: its %zu elements are not samples of input '%s' (%zu elements)", path, a.elements,
			       cal->input[0].name, n);
	for (size_t i = 0; i < a.elements / n && !ret; i++)
		ret = add_sample(cal, path, i);
	mica_array_free(&a);
	return ret;
}

static bool is_idx(const char *path)
{
	return strstr(path, "idx") && !path_ends(path, ".npy") && !path_ends(path, ".bin") && !path_ends(path, ".jpg") && !path_ends(path, ".png");
}

/* FILE or FILE:LIMIT */
static int add_idx(struct calib *cal, const char *arg)
{
	char *path = strdup(arg), *colon;
	unsigned limit = 512;
	int ret = 0;

	if (!path)
		return cli_fail(MICA_ERR_MEMORY, "out of memory");
	colon = strrchr(path, ':');
	if (colon && access(path, F_OK)) {
		*colon = 0;
		ret = cli_unsigned("calib", colon + 1, 1, 1000000, &limit);
	}
	if (!ret && cal->idx.data)
		ret = cli_fail(MICA_ERR_USAGE, "--calib: only one IDX file is possible");
	if (!ret) {
		ret = mica_idx_load(path, &cal->idx);
		ret = ret ? cli_sdk(ret) : 0;
	}
	if (!ret && cal->idx.rank != 3)
		ret = cli_fail(MICA_ERR_SHAPE, "%s: holds rank %u data, images have rank 3", path, cal->idx.rank);
	for (size_t i = 0; !ret && i < cal->idx.dim[0] && i < limit; i++)
		ret = add_sample(cal, NULL, i);
	free(path);
	return ret;
}

static int add_folder(struct calib *cal, const char *dir)
{
	struct path_list files;
	int ret = paths_in(dir, sample_extensions, &files);

	for (unsigned i = 0; i < files.count && !ret; i++)
		ret = paths_add(&cal->files, files.item[i]);
	if (!ret && !files.count)
		ret = cli_fail(MICA_ERR_FILE, "%s: holds no .jpg, .png, .npy or .bin file to calibrate with", dir);
	paths_free(&files);
	return ret;
}

static int add_all(struct calib *cal, const struct cli_compile *c)
{
	int ret = 0;

	for (unsigned i = 0; i < c->calib_count && !ret; i++) {
		if (path_is_dir(c->calib[i]))
			ret = add_folder(cal, c->calib[i]);
		else if (is_idx(path_base(c->calib[i])))
			ret = add_idx(cal, c->calib[i]);
		else if (access(c->calib[i], R_OK))
			ret = cli_fail(MICA_ERR_FILE, "%s: %s", c->calib[i], strerror(errno));
		else
			ret = paths_add(&cal->files, c->calib[i]);
	}
	for (unsigned i = 0; i < cal->files.count && !ret; i++)
		ret = add_file(cal, cal->files.item[i]);
	return ret ? ret : add_variants(cal, c->augment);
}

/* Several inputs: DIR/INPUT-NAME/ each, the first files belong together, the second ones, ... */
static int add_per_input(struct calib *cal, const struct cli_compile *c)
{
	int ret = 0;

	if (c->augment > 1)
		return cli_fail(MICA_ERR_USAGE, "--augment: the samples of a model with %u inputs belong together and stay as they are",
				cal->inputs);
	if (c->calib_count != 1 || !path_is_dir(c->calib[0]))
		return cli_fail(MICA_ERR_USAGE, "--calib: the model has %u inputs: give one folder that holds a folder per input, named after it",
				cal->inputs);
	cal->folder = c->calib[0];
	for (unsigned i = 0; i < cal->inputs && !ret; i++) {
		struct path_list files;
		char *dir;

		if (asprintf(&dir, "%s/%s", cal->folder, cal->input[i].name) < 0)
			return cli_fail(MICA_ERR_MEMORY, "out of memory");
		ret = paths_in(dir, sample_extensions, &files);
		free(dir);
		if (!i)
			for (unsigned k = 0; k < files.count && !ret; k++)
				ret = add_sample(cal, NULL, k);
		else if (!ret && files.count != cal->count)
			ret = cli_fail(MICA_ERR_USAGE, "--calib: input '%s' has %u samples, '%s' has %u", cal->input[i].name, files.count,
				       cal->input[0].name, cal->count);
		paths_free(&files);
	}
	return ret;
}

static int make(const char *onnx, const struct cli_compile *c, struct calib **out)
{
	struct mica_err err = { 0 };
	struct calib *cal = calloc(1, sizeof(*cal));

	*out = NULL;
	if (!cal)
		return cli_fail(MICA_ERR_MEMORY, "out of memory for calibration");
	if (mica_onnx_inputs(onnx, &c->o, &cal->input, &cal->inputs, &err)) {
		free(cal);
		return cli_compiler(&err);
	}
	*out = cal;
	return 0;
}

int calib_open(const struct cli_compile *c, const char *onnx, const char *sidecar, struct calib **out)
{
	struct calib *cal;
	int ret = make(onnx, c, &cal);

	*out = NULL;
	if (ret)
		return ret;
	ret = mica_sidecar_parse(sidecar ? sidecar : "", &cal->sidecar);
	if (ret)
		ret = cli_sdk(ret);
	else if (c->calib_count && cal->inputs != 1)
		ret = add_per_input(cal, c);
	else if (c->calib_count)
		ret = add_all(cal, c);
	if (ret)
		calib_close(cal);
	else
		*out = cal;
	return ret;
}

int calib_synthetic(const char *onnx, const struct cli_compile *c, struct calib **out)
{
	int ret = make(onnx, c, out);

	if (ret)
		return ret;
	(*out)->synthetic = true;
	return add_sample(*out, NULL, 0) || add_sample(*out, NULL, 1) ? MICA_ERR_MEMORY : 0;
}
