// SPDX-License-Identifier: MIT
/* mica eval: top-1 and top-5 over labelled images. Every thread has a session of its own. */
#include "cli.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_SESSIONS 64

struct eval_args {
	struct mica_device_options dev;
	struct cli_sidecar sidecar;
	const char *model, *images, *labels, *data, *predictions;
	unsigned limit;
	bool json;
};

/* Labelled images: an IDX pair, or files in a folder per class. */
struct data_set {
	struct mica_array images, labels;
	struct path_list files;
	unsigned *file_label;
	unsigned count;
};

struct eval {
	struct mica_device *dev;
	struct mica_model *model;
	struct mica_sidecar *sidecar;
	struct data_set set;
	int32_t *prediction;
	atomic_uint next, top1, top5, done;
	atomic_int failed;			/* first exit code */
	atomic_uint images_outside;		/* with a value outside of the input's range */
	atomic_ullong values_outside;
	unsigned sessions;
	double seconds;
};

static const struct cli_opt own[] = {
	CLI_TEXT("images", struct eval_args, images), CLI_TEXT("labels", struct eval_args, labels),
	CLI_TEXT("data", struct eval_args, data),
	CLI_UNSIGNED("limit", struct eval_args, limit, 1, 100000000),
	CLI_TEXT("predictions", struct eval_args, predictions),
	CLI_UNSIGNED("threads", struct eval_args, dev.threads, 1, MAX_SESSIONS),
	CLI_FLAG("json", struct eval_args, json),
	{ 0 }
};

static int parse(int argc, char **argv, struct eval_args *a)
{
	const struct cli_group groups[] = {
		CLI_GROUP(own, a), CLI_GROUP(cli_device_options, &a->dev), CLI_GROUP(cli_sidecar_options, &a->sidecar), { 0 },
	};
	int ret = cli_parse_one(&cmd_eval, argc, argv, groups, "MODEL.mica", &a->model);

	if (!ret && (!a->data == !(a->images && a->labels) || !a->images != !a->labels))
		return cli_fail(MICA_ERR_USAGE, "either --images=FILE.idx and --labels=FILE.idx, or --data=FOLDER is needed");
	return ret;
}

/* ---- data ---- */

static int open_idx(const struct eval_args *a, struct data_set *set)
{
	int ret = mica_idx_load(a->images, &set->images);

	if (!ret)
		ret = mica_idx_load(a->labels, &set->labels);
	if (ret)
		return cli_sdk(ret);
	if (set->images.rank != 3 || set->labels.rank != 1)
		return cli_fail(MICA_ERR_SHAPE, "%s has rank %u, %s rank %u: images have 3, labels 1", a->images, set->images.rank, a->labels,
				set->labels.rank);
	if (set->images.dim[0] != set->labels.dim[0])
		return cli_fail(MICA_ERR_SHAPE, "%llu images and %llu labels do not belong together", (unsigned long long)set->images.dim[0],
				(unsigned long long)set->labels.dim[0]);
	set->count = set->images.dim[0];
	return 0;
}

/* A folder named like one of the labels is that class; otherwise folders count in alphabetical order. */
static unsigned folder_class(const struct mica_sidecar *sc, const char *path, unsigned order)
{
	for (unsigned i = 0; i < mica_sidecar_label_count(sc); i++)
		if (!strcmp(mica_sidecar_label(sc, i), path_base(path)))
			return i;
	return order;
}

static int add_class(struct data_set *set, const char *dir, unsigned label)
{
	struct path_list files;
	unsigned *grown;
	int ret = paths_in(dir, image_extensions, &files);

	if (!ret && files.count) {
		grown = realloc(set->file_label, (set->files.count + files.count) * sizeof(*grown));
		if (grown)
			set->file_label = grown;
		else
			ret = cli_fail(MICA_ERR_MEMORY, "out of memory for the list of images");
	}
	for (unsigned i = 0; i < files.count && !ret; i++) {
		set->file_label[set->files.count] = label;
		ret = paths_add(&set->files, files.item[i]);
	}
	paths_free(&files);
	return ret;
}

static int open_folders(const struct eval_args *a, const struct mica_sidecar *sc, struct data_set *set)
{
	struct path_list dirs;
	int ret = paths_subfolders(a->data, &dirs);

	for (unsigned i = 0; i < dirs.count && !ret; i++)
		ret = add_class(set, dirs.item[i], folder_class(sc, dirs.item[i], i));
	paths_free(&dirs);
	set->count = set->files.count;
	if (!ret && !set->count)
		ret = cli_fail(MICA_ERR_FILE, "%s: holds no folders with .jpg or .png files", a->data);
	return ret;
}

static unsigned label_of(const struct data_set *set, unsigned i)
{
	return set->file_label ? set->file_label[i] : ((const uint8_t *)set->labels.data)[i];
}

/* A label that the model cannot answer with would only lower the figure: the wrong file, or the wrong model. */
static int check_labels(const struct eval *e, const struct eval_args *a)
{
	size_t classes = mica_model_output(e->model, 0)->elements;

	for (unsigned i = 0; i < e->set.count; i++)
		if (label_of(&e->set, i) >= classes)
			return cli_fail(MICA_ERR_SHAPE, "%s: image %u is of class %u, the model has the classes 0 to %zu",
					a->data ? a->data : a->labels, i, label_of(&e->set, i), classes - 1);
	return 0;
}

static void close_set(struct data_set *set)
{
	mica_array_free(&set->images);
	mica_array_free(&set->labels);
	paths_free(&set->files);
	free(set->file_label);
}

/* ---- the work ---- */

/* Image i as the input's values; 0 or the exit code. */
static int load_image(const struct eval *e, unsigned i, float *dst)
{
	const struct mica_tensor_info *t = mica_model_input(e->model, 0);
	const struct data_set *set = &e->set;
	size_t pixels = set->images.rank ? set->images.dim[1] * set->images.dim[2] : 0;
	struct mica_image img = { 0 };
	int ret;

	if (set->file_label) {
		ret = mica_image_load(set->files.item[i], &img);
		if (ret)
			return cli_sdk(ret);
	} else {
		img = (struct mica_image){ set->images.dim[2], set->images.dim[1], 1, (uint8_t *)set->images.data + i * pixels };
	}
	ret = mica_preprocess(e->sidecar, &img, t->dim, t->rank, dst, t->elements, NULL);
	if (set->file_label)
		mica_image_free(&img);
	return ret ? cli_sdk(ret) : 0;
}

/* How many classes score higher; equal ones count when their number is lower. *best is the winner. */
static unsigned rank_of(const float *score, size_t n, unsigned label, int32_t *best)
{
	unsigned rank = 0;

	*best = 0;
	for (size_t i = 0; i < n; i++) {
		if (score[i] > score[*best])
			*best = i;
		if (label < n && (score[i] > score[label] || (score[i] == score[label] && i < label)))
			rank++;
	}
	return label < n ? rank : n;
}

/* What calibration has not seen is clipped: once is no matter, often is. */
static void count_outside(struct eval *e, const float *in)
{
	const struct mica_tensor_info *t = mica_model_input(e->model, 0);
	size_t n = mica_tensor_outside(t, in, t->elements, 0.002f, NULL);

	atomic_fetch_add(&e->images_outside, n > 0);
	atomic_fetch_add(&e->values_outside, n);
}

static double part_outside(const struct eval *e)
{
	return (double)e->values_outside / ((double)e->set.count * (double)mica_model_input(e->model, 0)->elements);
}

static void warn_outside(const struct eval *e)
{
	const struct mica_tensor_info *t = mica_model_input(e->model, 0);

	if (part_outside(e) > 1e-3)
		cli_note("mica: WARNING: %.3g %% of the values of input '%s', in %u of %u images, lie outside of the range %.4g .. %.4g that the model was calibrated "
			 "for: accuracy suffers; calibrate with more, varied images, or check the preprocessing (sidecar)", 100 * part_outside(e), t->name,
			 e->images_outside, e->set.count, (double)t->range_min, (double)t->range_max);
}

static int eval_one(struct eval *e, struct mica_session *s, unsigned i, float *in, float *out)
{
	const struct mica_tensor_info *ti = mica_model_input(e->model, 0), *to = mica_model_output(e->model, 0);
	unsigned rank;
	int ret = load_image(e, i, in);

	if (ret)
		return ret;
	count_outside(e, in);
	ret = mica_session_set_input_f32(s, 0, in, ti->elements);
	if (!ret)
		ret = mica_session_run(s, -1);
	if (!ret)
		ret = mica_session_get_output_f32(s, 0, out, to->elements);
	if (ret)
		return cli_sdk(ret);
	rank = rank_of(out, to->elements, label_of(&e->set, i), &e->prediction[i]);
	atomic_fetch_add(&e->top1, rank == 0);
	atomic_fetch_add(&e->top5, rank < 5);
	atomic_fetch_add(&e->done, 1);
	return 0;
}

static void *worker(void *arg)
{
	struct eval *e = arg;
	float *in = malloc(mica_model_input(e->model, 0)->elements * sizeof(*in));
	float *out = malloc(mica_model_output(e->model, 0)->elements * sizeof(*out));
	struct mica_session *s = NULL;
	int ret = in && out ? mica_session_create(e->model, &s) : 0;
	unsigned i;

	if (ret)
		ret = cli_sdk(ret);
	else if (!s)
		ret = cli_fail(MICA_ERR_MEMORY, "out of memory");
	while (!ret && !e->failed && (i = atomic_fetch_add(&e->next, 1)) < e->set.count)
		ret = eval_one(e, s, i, in, out);
	if (ret)
		atomic_store(&e->failed, ret);
	mica_session_destroy(s);
	free(in);
	free(out);
	return NULL;
}

static int work(struct eval *e, unsigned threads)
{
	pthread_t thread[MAX_SESSIONS];
	unsigned n = 0;
	double start = cli_now();

	while (n < threads && !pthread_create(&thread[n], NULL, worker, e))
		n++;
	if (!n)
		return cli_fail(MICA_ERR_MEMORY, "cannot start a thread");
	e->sessions = n;
	while (!e->failed && e->done < e->set.count) {
		cli_progress("images", e->done, e->set.count);
		nanosleep(&(struct timespec){ 0, 20000000 }, NULL);
	}
	while (n--)
		pthread_join(thread[n], NULL);
	e->seconds = cli_now() - start;
	cli_progress_end();
	return e->failed;
}

static int open_all(struct eval *e, struct eval_args *a, unsigned *threads)
{
	struct mica_device_info dev;
	int ret;

	*threads = a->dev.threads ? a->dev.threads : 1;
	a->dev.threads = 1;
	ret = mica_device_open(&a->dev, &e->dev);
	if (!ret)
		ret = mica_model_load(e->dev, a->model, &e->model);
	if (ret)
		return cli_sdk(ret);
	mica_device_get_info(e->dev, &dev);
	if (dev.backend == MICA_BACKEND_DEVICE && *threads == 1)
		*threads = 2;		/* one prepares while the other's job runs */
	if (mica_model_input_count(e->model) != 1 || mica_model_output_count(e->model) != 1)
		return cli_fail(MICA_ERR_SHAPE, "%s: has %u inputs and %u outputs; eval is for classifiers with one of each", a->model,
				mica_model_input_count(e->model), mica_model_output_count(e->model));
	ret = cli_sidecar_load(&a->sidecar, e->model, &e->sidecar);
	if (!ret && !e->sidecar)
		ret = cli_fail(MICA_ERR_USAGE, "%s: has no sidecar that says how images become inputs; give --sidecar=FILE", a->model);
	if (!ret)
		ret = a->data ? open_folders(a, e->sidecar, &e->set) : open_idx(a, &e->set);
	return ret;
}

static int save_predictions(const struct eval *e, const char *path)
{
	struct mica_array a = {
		.descr = "<i4", .rank = 1, .dim = { e->set.count }, .elements = e->set.count, .item = 4, .data = e->prediction,
	};
	int ret = mica_npy_save(path, &a);

	return ret ? cli_sdk(ret) : 0;
}

static int print_result(const struct eval *e, const struct eval_args *a)
{
	double top1 = (double)e->top1 / e->set.count, top5 = (double)e->top5 / e->set.count;
	struct mica_device_info dev;
	json_object *o;

	mica_device_get_info(e->dev, &dev);
	warn_outside(e);
	if (!a->json) {
		printf("top-1 %.2f %%, top-5 %.2f %% of %u images; %.1f images/s on %s, %u session%s\n", 100 * top1, 100 * top5,
		       e->set.count, e->set.count / e->seconds, dev.name, e->sessions, e->sessions == 1 ? "" : "s");
		return 0;
	}
	o = json_object_new_object();
	json_object_object_add(o, "top1", json_num(top1));
	json_object_object_add(o, "top5", json_num(top5));
	json_object_object_add(o, "images", json_object_new_int64(e->set.count));
	json_object_object_add(o, "outside", json_num(part_outside(e)));
	json_object_object_add(o, "images_per_s", json_num(e->set.count / e->seconds));
	json_object_object_add(o, "backend", json_object_new_string(dev.backend == MICA_BACKEND_CPU ? "cpu" : "device"));
	json_object_object_add(o, "device", json_object_new_string(dev.name));
	json_object_object_add(o, "sessions", json_object_new_int(e->sessions));
	return json_print(o);
}

static int evaluate(struct eval *e, struct eval_args *a)
{
	unsigned threads = 1;
	int ret = open_all(e, a, &threads);

	if (ret)
		return ret;
	if (a->limit && a->limit < e->set.count)
		e->set.count = a->limit;
	e->prediction = calloc(e->set.count, sizeof(*e->prediction));
	if (!e->prediction || !e->set.count)
		return cli_fail(MICA_ERR_FILE, "there are no images");
	ret = check_labels(e, a);
	if (!ret)
		ret = work(e, threads);
	if (!ret && a->predictions)
		ret = save_predictions(e, a->predictions);
	return ret ? ret : print_result(e, a);
}

static int run(int argc, char **argv)
{
	struct eval_args a = { .dev = MICA_DEVICE_OPTIONS_INIT };
	struct eval e = { 0 };
	int ret = parse(argc, argv, &a);

	if (ret)
		return ret == CLI_HELP ? 0 : ret;
	ret = evaluate(&e, &a);
	free(e.prediction);
	close_set(&e.set);
	mica_sidecar_free(e.sidecar);
	mica_model_close(e.model);
	mica_device_close(e.dev);
	return ret;
}

const struct command cmd_eval = {
	"eval", "accuracy of a classifier on labelled images", run,
	"MODEL.mica --images=FILE.idx --labels=FILE.idx | --data=FOLDER [OPTION]...\n\n"
	"  --images=FILE --labels=FILE   IDX files, also compressed (.gz)\n"
	"  --data=FOLDER              one folder of .jpg and .png files per class, named like a label of the sidecar or,\n"
	"                             in alphabetical order, class 0, 1, 2 ...\n"
	"  --limit=N                  only the first N images\n"
	"  --predictions=FILE.npy     write the predicted class of every image (i4)\n"
	"  --json                     top1, top5 (0..1), images, images_per_s\n"
	CLI_DEVICE_HELP
	"                             --threads counts sessions here, 1..64, one image each\n"
	CLI_SIDECAR_HELP
	"                             default: the sidecar in the model\n",
};
