// SPDX-License-Identifier: MIT
/* What came out of `mica run`: files, boxes, classes, figures. */
#include "run.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DETECTIONS 300
#define TOP 5

struct results {
	struct mica_detection detection[MAX_DETECTIONS];
	int detections;			/* -1: the model is no detector */
	struct mica_class class[TOP];
	int classes;			/* -1: no classifier */
	char png[512];			/* "" when none was drawn */
	json_object *files;		/* of the outputs, in order; path or null */
};

double mac_utilization(const struct mica_job_stats *s, const struct mica_device_info *d)
{
	double peak = (double)s->cycles * d->mac_rows * d->mac_cols * (s->cores ? s->cores : 1);

	return peak > 0 ? s->macs / peak : 0;
}

/* ---- files ---- */

/* Output names may hold anything: what does not suit a file name becomes '_', a repeated one gets its number. */
static void file_name(const struct mica_model *m, unsigned index, char *dst, size_t size)
{
	const char *name = mica_model_output(m, index)->name;
	size_t n = 0;

	for (; *name && n + 1 < size; name++)
		dst[n++] = isalnum((unsigned char)*name) || strchr("._-:", *name) ? *name : '_';
	dst[n] = 0;
	if (dst[0] == '.')
		dst[0] = '_';
	for (unsigned i = 0; i < index; i++)
		if (!strcmp(mica_model_output(m, i)->name, mica_model_output(m, index)->name))
			snprintf(dst + n, size - n, ".%u", index);
}

static int save(const char *path, const struct mica_tensor_info *t, const char *descr, size_t item, const void *data)
{
	struct mica_array a = { .rank = t->rank, .elements = t->elements, .item = item, .data = (void *)data };
	int ret;

	snprintf(a.descr, sizeof(a.descr), "%s", descr);
	for (unsigned i = 0; i < t->rank; i++)
		a.dim[i] = t->dim[i];
	ret = mica_npy_save(path, &a);
	return ret ? cli_sdk(ret) : 0;
}

/* The file holds what is valid of an output whose size the data decide; the codes (--raw) are there in full. */
static int save_values(const struct run *r, unsigned i, const char *path)
{
	struct mica_tensor_info valid = *mica_model_output(r->model, i);
	int ret = mica_session_output_dims(r->session, i, valid.dim);

	if (ret)
		return cli_sdk(ret);
	cli_crop(r->output[i], mica_model_output(r->model, i), valid.dim);
	valid.elements = 1;
	for (unsigned k = 0; k < valid.rank; k++)
		valid.elements *= valid.dim[k];
	return save(path, &valid, "<f4", 4, r->output[i]);
}

static int save_output(const struct run *r, const struct run_args *a, unsigned i, struct results *res)
{
	static const char *const descr[] = { "", "<f4", "<u2", "|u1", "|u1", "|i1", "|u1", "<i4" };
	const struct mica_tensor_info *t = mica_model_output(r->model, i);
	char name[200], path[1024];
	int ret;

	file_name(r->model, i, name, sizeof(name));
	snprintf(path, sizeof(path), "%s/%s.npy", a->output, name);
	ret = save_values(r, i, path);
	json_object_array_add(res->files, json_object_new_string(path));
	if (ret || !a->raw)
		return ret;
	snprintf(path, sizeof(path), "%s/%s.raw.npy", a->output, name);
	return save(path, t, descr[t->dtype], t->bytes / t->elements, mica_session_output(r->session, i));
}

/* Boxes in a copy of the input image, always in color. */
static int draw(const struct run *r, const struct run_args *a, struct results *res)
{
	struct mica_image img = r->image;
	size_t pixels = (size_t)img.width * img.height;
	int ret;

	img.channels = 3;
	img.data = malloc(pixels * 3);
	if (!img.data)
		return cli_fail(MICA_ERR_MEMORY, "out of memory for the picture");
	for (size_t i = 0; i < pixels; i++)
		for (unsigned c = 0; c < 3; c++)
			img.data[3 * i + c] = r->image.data[r->image.channels == 3 ? 3 * i + c : i];
	mica_draw_detections(&img, r->sidecar, res->detection, res->detections);
	snprintf(res->png, sizeof(res->png), "%s/detections.png", a->output);
	ret = mica_image_save_png(res->png, &img);
	mica_image_free(&img);
	return ret ? cli_sdk(ret) : 0;
}

static int write_files(const struct run *r, const struct run_args *a, struct results *res)
{
	int ret = path_make_dir(a->output);

	for (unsigned i = 0; i < mica_model_output_count(r->model) && !ret; i++)
		ret = save_output(r, a, i, res);
	if (!ret && res->detections >= 0 && r->image.data)
		ret = draw(r, a, res);
	return ret;
}

/* ---- results ---- */

static int decode(const struct run *r, struct results *res)
{
	const char *kind = r->sidecar ? mica_sidecar_decode(r->sidecar) : "none";
	const float *const *outputs = (const float *const *)r->output;
	struct mica_placement plain = { 1, 1, 0, 0, UINT32_MAX, UINT32_MAX };
	int n = 0;

	res->detections = res->classes = -1;
	if (!strcmp(kind, "nanodet")) {
		n = mica_decode_detections(r->sidecar, r->model, outputs, r->image.data ? &r->where : &plain, res->detection, MAX_DETECTIONS);
		res->detections = n < MAX_DETECTIONS ? n : MAX_DETECTIONS;
	} else if (!strcmp(kind, "classes")) {
		n = mica_decode_classes(r->sidecar, r->model, outputs, res->class, TOP);
		res->classes = n < TOP ? n : TOP;
	}
	return n < 0 ? cli_sdk(n) : 0;
}

static void print_text(const struct run *r, const struct run_args *a, const struct results *res)
{
	const char *about = r->dev_info.backend == MICA_BACKEND_CPU ? "estimated device cycles" : "device cycles";

	for (int i = 0; i < res->detections; i++) {
		const struct mica_detection *d = &res->detection[i];

		printf("%-16s %.3f  [%.0f, %.0f, %.0f, %.0f]\n", mica_sidecar_label(r->sidecar, d->label), d->score, d->x0, d->y0, d->x1, d->y1);
	}
	if (!res->detections)
		printf("nothing detected\n");
	for (int i = 0; i < res->classes; i++)
		printf("%-16s %.4f\n", mica_sidecar_label(r->sidecar, res->class[i].label), res->class[i].score);
	printf("%s: %.2f ms, %llu %s on %u core%s, MAC utilization %.1f %%, DRAM traffic %.2f MB\n", r->dev_info.name, r->seconds * 1e3,
	       (unsigned long long)r->stats.cycles, about, r->cores, r->cores == 1 ? "" : "s",
	       100 * mac_utilization(&r->stats, &r->dev_info), (r->stats.dram_read_bytes + r->stats.dram_write_bytes) / 1e6);
	if (mica_session_host_ns(r->session))
		printf("of that %.3f ms in host steps ('mica dump' names them)\n", mica_session_host_ns(r->session) / 1e6);
	if (a->output)
		printf("wrote %u output%s%s to %s%s\n", mica_model_output_count(r->model), mica_model_output_count(r->model) == 1 ? "" : "s",
		       a->raw ? " and their codes" : "", a->output, res->png[0] ? ", and detections.png" : "");
}

static json_object *detections_json(const struct run *r, const struct results *res)
{
	json_object *list = json_object_new_array();

	for (int i = 0; i < res->detections; i++) {
		const struct mica_detection *d = &res->detection[i];
		json_object *o = json_object_new_object(), *box = json_object_new_array();
		const float corner[] = { d->x0, d->y0, d->x1, d->y1 };

		for (int k = 0; k < 4; k++)
			json_object_array_add(box, json_num(corner[k]));
		json_object_object_add(o, "label", json_object_new_string(mica_sidecar_label(r->sidecar, d->label)));
		json_object_object_add(o, "class", json_object_new_int(d->label));
		json_object_object_add(o, "score", json_num(d->score));
		json_object_object_add(o, "box", box);
		json_object_array_add(list, o);
	}
	return list;
}

static json_object *classes_json(const struct run *r, const struct results *res)
{
	json_object *list = json_object_new_array();

	for (int i = 0; i < res->classes; i++) {
		json_object *o = json_object_new_object();

		json_object_object_add(o, "label", json_object_new_string(mica_sidecar_label(r->sidecar, res->class[i].label)));
		json_object_object_add(o, "class", json_object_new_int(res->class[i].label));
		json_object_object_add(o, "score", json_num(res->class[i].score));
		json_object_array_add(list, o);
	}
	return list;
}

static json_object *outputs_json(const struct run *r, const struct results *res)
{
	json_object *list = json_object_new_array();

	for (unsigned i = 0; i < mica_model_output_count(r->model); i++) {
		const struct mica_tensor_info *t = mica_model_output(r->model, i);
		json_object *o = json_object_new_object(), *file = json_object_array_get_idx(res->files, i);
		uint32_t dim[MICA_MAX_RANK];

		mica_session_output_dims(r->session, i, dim);
		json_object_object_add(o, "name", json_object_new_string(t->name));
		json_object_object_add(o, "shape", json_dims(dim, t->rank));
		json_object_object_add(o, "file", json_object_get(file));
		json_object_array_add(list, o);
	}
	return list;
}

static int print_json(const struct run *r, const struct run_args *a, const struct results *res)
{
	json_object *o = json_object_new_object();
	bool cpu = r->dev_info.backend == MICA_BACKEND_CPU;

	json_object_object_add(o, "model", json_object_new_string(a->model));
	json_object_object_add(o, "backend", json_object_new_string(cpu ? "cpu" : "device"));
	json_object_object_add(o, "device", json_object_new_string(r->dev_info.name));
	if (!cpu)
		json_object_object_add(o, "submit", json_object_new_string(r->dev_info.submit == MICA_SUBMIT_URING ? "uring" : "ioctl"));
	json_object_object_add(o, "outputs", outputs_json(r, res));
	if (res->detections >= 0)
		json_object_object_add(o, "detections", detections_json(r, res));
	if (res->classes >= 0)
		json_object_object_add(o, "classes", classes_json(r, res));
	if (res->png[0])
		json_object_object_add(o, "image", json_object_new_string(res->png));
	json_object_object_add(o, "latency_ms", json_num(r->seconds * 1e3));
	json_object_object_add(o, "macs", json_object_new_int64(r->macs));
	json_object_object_add(o, "cycles", json_object_new_int64(r->stats.cycles));
	json_object_object_add(o, "cycles_estimated", json_object_new_boolean(cpu));
	json_object_object_add(o, "mac_utilization", json_num(mac_utilization(&r->stats, &r->dev_info)));
	json_object_object_add(o, "dram_bytes", json_object_new_int64(r->stats.dram_read_bytes + r->stats.dram_write_bytes));
	json_object_object_add(o, "host_ms", json_num(mica_session_host_ns(r->session) / 1e6));
	json_object_object_add(o, "cores", json_object_new_int(r->cores));
	return json_print(o);
}

int run_report(const struct run *r, const struct run_args *a)
{
	struct results *res = calloc(1, sizeof(*res));
	int ret;

	if (!res)
		return cli_fail(MICA_ERR_MEMORY, "out of memory for the results");
	res->files = json_object_new_array();
	ret = decode(r, res);
	if (!ret && a->output)
		ret = write_files(r, a, res);
	if (!ret && a->json)
		ret = print_json(r, a, res);
	else if (!ret)
		print_text(r, a, res);
	json_object_put(res->files);
	free(res);
	return ret;
}
