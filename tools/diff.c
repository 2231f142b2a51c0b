// SPDX-License-Identifier: MIT
/* mica diff: how far arrays are apart. */
#include "cli.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DIFFERENT 1	/* exit code, as of diff(1) */

struct difference {
	size_t elements, unequal;
	double cosine, max_abs, mean_abs;
	bool identical;
};

struct diff_args {
	double min_cosine;	/* below -1: not asked for */
	bool json;
};

static int load(const char *path, struct mica_array *a)
{
	int ret = path_ends(path, ".npy") ? mica_npy_load(path, a) : mica_bin_load(path, a);

	return ret ? cli_sdk(ret) : 0;
}

static int to_f32(const struct mica_array *a, float **out)
{
	int ret;

	*out = malloc((a->elements ? a->elements : 1) * sizeof(**out));
	if (!*out)
		return cli_fail(MICA_ERR_MEMORY, "out of memory");
	ret = mica_array_to_f32(a, 0, a->elements, *out);
	return ret ? cli_sdk(ret) : 0;
}

static void compare(const float *x, const float *y, size_t n, struct difference *d)
{
	double xy = 0, xx = 0, yy = 0, sum = 0;

	d->elements = n;
	for (size_t i = 0; i < n; i++) {
		double diff = fabs((double)x[i] - y[i]);
		bool same = !memcmp(&x[i], &y[i], sizeof(x[i]));

		d->unequal += !same;
		if (same)
			diff = 0;	/* also the same NaN or infinity */
		if (!(diff <= d->max_abs))
			d->max_abs = diff;
		sum += diff;
		xy += (double)x[i] * y[i];
		xx += (double)x[i] * x[i];
		yy += (double)y[i] * y[i];
	}
	d->mean_abs = n ? sum / n : 0;
	d->cosine = xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : xx == yy;
	d->identical = !d->unequal;
}

/* The shape counts when both files have one. */
static bool same_shape(const struct mica_array *a, const struct mica_array *b, bool both_npy)
{
	if (a->elements != b->elements || (both_npy && a->rank != b->rank))
		return false;
	return !both_npy || !memcmp(a->dim, b->dim, a->rank * sizeof(a->dim[0]));
}

static int diff_files(const char *a, const char *b, struct difference *d)
{
	struct mica_array x = { 0 }, y = { 0 };
	float *fx = NULL, *fy = NULL;
	int ret = load(a, &x);

	if (!ret)
		ret = load(b, &y);
	if (!ret && !same_shape(&x, &y, path_ends(a, ".npy") && path_ends(b, ".npy")))
		ret = cli_fail(MICA_ERR_SHAPE, "%s (%zu elements) and %s (%zu) have different shapes", a, x.elements, b, y.elements);
	if (!ret)
		ret = to_f32(&x, &fx);
	if (!ret)
		ret = to_f32(&y, &fy);
	if (!ret) {
		compare(fx, fy, x.elements, d);
		d->identical = d->identical && !strcmp(x.descr, y.descr);
	}
	free(fx);
	free(fy);
	mica_array_free(&x);
	mica_array_free(&y);
	return ret;
}

static bool within(const struct difference *d, const struct diff_args *args)
{
	if (args->min_cosine < -1)
		return d->identical;
	return d->cosine >= args->min_cosine;
}

static void report(const char *name, const struct difference *d, json_object *list)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "name", json_object_new_string(name));
	json_object_object_add(o, "elements", json_object_new_int64(d->elements));
	json_object_object_add(o, "identical", json_object_new_boolean(d->identical));
	json_object_object_add(o, "unequal", json_object_new_int64(d->unequal));
	json_object_object_add(o, "cosine", json_num(d->cosine));
	json_object_object_add(o, "max_abs", json_num(d->max_abs));
	json_object_object_add(o, "mean_abs", json_num(d->mean_abs));
	json_object_array_add(list, o);
}

static void print_text(const char *name, const struct difference *d)
{
	if (d->identical)
		printf("%-24s identical (%zu elements)\n", name, d->elements);
	else
		printf("%-24s cosine %.6f, max error %.6g, mean error %.6g, %zu of %zu differ\n", name, d->cosine, d->max_abs, d->mean_abs,
		       d->unequal, d->elements);
}

/* Pairs to compare: two files, or the .npy files that two folders have under the same names. */
static int collect(const char *a, const char *b, struct path_list *left, struct path_list *right)
{
	static const char *const npy[] = { ".npy", NULL };
	int ret;

	if (path_is_dir(a) != path_is_dir(b))
		return cli_fail(MICA_ERR_USAGE, "%s and %s: two files or two folders are expected", a, b);
	if (!path_is_dir(a)) {
		ret = paths_add(left, a);
		return ret ? ret : paths_add(right, b);
	}
	ret = paths_in(a, npy, left);
	if (!ret && !left->count)
		ret = cli_fail(MICA_ERR_FILE, "%s: holds no .npy files", a);
	for (unsigned i = 0; i < left->count && !ret; i++) {
		char *path;

		if (asprintf(&path, "%s/%s", b, path_base(left->item[i])) < 0)
			return cli_fail(MICA_ERR_MEMORY, "out of memory");
		ret = paths_add(right, path);
		free(path);
	}
	return ret;
}

static int diff_all(const char *a, const char *b, const struct diff_args *args)
{
	struct path_list left = { 0 }, right = { 0 };
	json_object *list = json_object_new_array(), *o;
	bool good = true, identical = true;
	int ret = collect(a, b, &left, &right);

	for (unsigned i = 0; i < left.count && !ret; i++) {
		struct difference d = { 0 };

		ret = diff_files(left.item[i], right.item[i], &d);
		if (ret)
			break;
		good = good && within(&d, args);
		identical = identical && d.identical;
		report(path_base(left.item[i]), &d, list);
		if (!args->json)
			print_text(path_base(left.item[i]), &d);
	}
	paths_free(&left);
	paths_free(&right);
	if (ret || !args->json) {
		json_object_put(list);
		return ret ? ret : good ? 0 : DIFFERENT;
	}
	o = json_object_new_object();
	json_object_object_add(o, "identical", json_object_new_boolean(identical));
	json_object_object_add(o, "good", json_object_new_boolean(good));
	json_object_object_add(o, "files", list);
	ret = json_print(o);
	return ret ? ret : good ? 0 : DIFFERENT;
}

static const struct cli_opt own[] = {
	CLI_NUMBER("min-cosine", struct diff_args, min_cosine, -1, 1), CLI_FLAG("json", struct diff_args, json), { 0 }
};

static int run(int argc, char **argv)
{
	struct diff_args args = { .min_cosine = -2 };
	const struct cli_group groups[] = { CLI_GROUP(own, &args), { 0 } };
	int ret = cli_parse(&cmd_diff, argc, argv, groups);

	if (ret)
		return ret == CLI_HELP ? 0 : ret;
	if (argc - optind != 2)
		return cli_fail(MICA_ERR_USAGE, "two files or two folders are needed");
	return diff_all(argv[optind], argv[optind + 1], &args);
}

const struct command cmd_diff = {
	"diff", "compare arrays: identical, or how far apart", run,
	"A B [--min-cosine=C] [--json]\n\n"
	"A and B are .npy (or raw f32 .bin) files, or folders whose .npy files are compared by name.\n"
	"  --min-cosine=C             be content with a cosine of at least C for each pair\n"
	"  --json                     figures as JSON\n"
	"Exit code 0: all identical (or close enough); 1: they differ.\n",
};
