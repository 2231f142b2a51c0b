// SPDX-License-Identifier: MIT
/*
 * One ONNX backend test: its data, compilation with as many inputs at run time as the compiler takes, a run, comparison.
 * Operators that want constants where the test has inputs (weights, axes, shapes) get the test's data at compile time.
 */
#include "onnx_test.h"
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TYPE_UINT16 4
#define TYPE_BFLOAT16 16
#define TYPE_E4M3 17
#define TYPE_E5M2 19
#define EXACT_INT (1 << 24)	/* f32 holds all integers up to here */

struct test {
	const struct test_options *o;
	const char *dir, *mica;
	struct test_result *r;
	char model[4096];
	struct mica_onnx_ports ports;
	struct mica_onnx_data in[TEST_MAX_PORTS], out[TEST_MAX_PORTS];
	unsigned outs;				/* outputs that there is data for */
	char in_file[TEST_MAX_PORTS][4096];
	char shape[TEST_MAX_PORTS][512];
	uint64_t baked;				/* bit by input */
};

static bool say(struct test *t, enum test_verdict v, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static bool say(struct test *t, enum test_verdict v, const char *fmt, ...)
{
	va_list ap;

	t->r->verdict = v;
	va_start(ap, fmt);
	vsnprintf(t->r->text, sizeof(t->r->text), fmt, ap);
	va_end(ap);
	return false;
}

/* A compiler's refusal is no failure; a bug or a broken file is one. */
static bool say_err(struct test *t, const struct mica_err *err)
{
	bool refused = err->code == MICA_ERR_UNSUPPORTED || err->code == MICA_ERR_SHAPE || err->code == MICA_ERR_MEMORY;

	return say(t, refused ? TEST_SKIPPED : TEST_FAILED, "%s", err->text);
}

/* ---- data ---- */

static bool check_port(struct test *t, const char *what, const struct mica_onnx_port *p)
{
	return p->kind ? say(t, TEST_SKIPPED, "%s '%s' is %s: only tensors are supported", what, p->name, p->kind) : true;
}

static bool open_model(struct test *t)
{
	struct mica_err err = { 0 };

	snprintf(t->model, sizeof(t->model), "%s/model.onnx", t->dir);
	if (access(t->model, F_OK))
		return say(t, TEST_SKIPPED, "the model is not here, data.json only names where it is");
	if (mica_onnx_ports_read(t->model, &t->ports, &err))
		return say_err(t, &err);
	if (t->ports.ins > TEST_MAX_PORTS || t->ports.outs > TEST_MAX_PORTS)
		return say(t, TEST_SKIPPED, "%u inputs and %u outputs: at most %d are supported", t->ports.ins, t->ports.outs, TEST_MAX_PORTS);
	t->r->inputs = t->ports.ins;
	for (unsigned i = 0; i < t->ports.ins; i++)
		if (!check_port(t, "input", &t->ports.in[i]))
			return false;
	for (unsigned i = 0; i < t->ports.outs; i++)
		if (!check_port(t, "output", &t->ports.out[i]))
			return false;
	return true;
}

/* bfloat16 came into these files as uint16 before ONNX 1.13. */
static void reread_bf16(const struct mica_onnx_port *port, struct mica_onnx_data *d)
{
	if (port->type != TYPE_BFLOAT16 || d->type != TYPE_UINT16)
		return;
	d->type = TYPE_BFLOAT16;
	d->f = calloc(d->elements + 1, sizeof(*d->f));
	if (!d->f)
		abort();
	for (size_t k = 0; k < d->elements; k++) {
		uint32_t bits = (uint32_t)d->i[k] << 16;

		memcpy(&d->f[k], &bits, sizeof(bits));
	}
	free(d->i);
	d->i = NULL;
}

static bool read_data(struct test *t, const char *path, const struct mica_onnx_port *port, struct mica_onnx_data *d)
{
	struct mica_err err = { 0 };

	if (mica_onnx_data_read(path, d, &err))
		return say_err(t, &err);
	reread_bf16(port, d);
	return true;
}

static void free_set(struct test *t)
{
	for (unsigned i = 0; i < TEST_MAX_PORTS; i++) {
		mica_onnx_data_free(&t->in[i]);
		mica_onnx_data_free(&t->out[i]);
	}
	t->outs = 0;
}

static bool read_set(struct test *t, unsigned set)
{
	char path[4096];

	for (unsigned i = 0; i < t->ports.ins; i++) {
		snprintf(t->in_file[i], sizeof(t->in_file[i]), "%s/test_data_set_%u/input_%u.pb", t->dir, set, i);
		if (access(t->in_file[i], F_OK))
			return say(t, TEST_SKIPPED, "test_data_set_%u has no data for input '%s'", set, t->ports.in[i].name);
		if (!read_data(t, t->in_file[i], &t->ports.in[i], &t->in[i]))
			return false;
	}
	for (t->outs = 0; t->outs < t->ports.outs; t->outs++) {
		snprintf(path, sizeof(path), "%s/test_data_set_%u/output_%u.pb", t->dir, set, t->outs);
		if (access(path, F_OK))
			break;
		if (!read_data(t, path, &t->ports.out[t->outs], &t->out[t->outs]))
			return false;
	}
	return t->outs ? true : say(t, TEST_SKIPPED, "test_data_set_%u has no outputs", set);
}

/* ---- compilation ---- */

static int load_sample(void *opaque, unsigned sample, const char *input, float *dst, size_t n, struct mica_err *err)
{
	const struct test *t = opaque;

	(void)sample;
	for (unsigned i = 0; i < t->ports.ins; i++) {
		if (strcmp(t->ports.in[i].name, input) || t->in[i].elements != n)
			continue;
		for (size_t k = 0; k < n; k++)
			dst[k] = t->in[i].f ? t->in[i].f[k] : (float)t->in[i].i[k];
		return 0;
	}
	return mica_err_set(err, MICA_ERR_SHAPE, "the test has no fitting data for input '%s'", input);
}

/* NAME=D,D from the data, for models that leave dimensions open. False for shapes that the option cannot say. */
static bool shape_of(struct test *t, unsigned i)
{
	const struct mica_onnx_data *d = &t->in[i];
	size_t n = (size_t)snprintf(t->shape[i], sizeof(t->shape[i]), "%.300s=", t->ports.in[i].name);

	for (unsigned k = 0; k < d->rank; k++)
		n += (size_t)snprintf(t->shape[i] + n, sizeof(t->shape[i]) - n, "%s%lld", k ? "," : "", (long long)d->dim[k]);
	return d->elements > 0;
}

static int compile(struct test *t, uint64_t baked, struct mica_err *err)
{
	struct mica_onnx_const consts[TEST_MAX_PORTS];
	const char *shapes[TEST_MAX_PORTS];
	struct mica_compile_options o;

	mica_compile_defaults(&o);
	o.format = t->o->format;
	o.cores = t->o->cores;
	o.shapes = shapes;
	o.consts = consts;
	if (o.format != MICA_F32)
		o.calib = (struct mica_calib){ 1, load_sample, t };
	for (unsigned i = 0; i < t->ports.ins; i++) {
		if (baked >> i & 1)
			consts[o.const_count++] = (struct mica_onnx_const){ t->ports.in[i].name, t->in_file[i] };
		else if (shape_of(t, i))
			shapes[o.shape_count++] = t->shape[i];
	}
	memset(err, 0, sizeof(*err));
	return mica_compile(t->model, t->mica, &o, err);
}

static bool refused(int r)
{
	return r == -MICA_ERR_UNSUPPORTED || r == -MICA_ERR_SHAPE;
}

/* Gives as few inputs as possible at compile time: tries one after another at run time again. */
static int unbake(struct test *t, uint64_t baked)
{
	struct mica_err err;

	for (unsigned i = 0; i < t->ports.ins; i++)
		if (baked >> i & 1 && !compile(t, baked & ~(1ull << i), &err))
			baked &= ~(1ull << i);
	t->baked = baked;
	return compile(t, baked, &err);
}

/* All at run time; else all but one; else, when no input is worth computing with (shapes, limits), all constant. */
static bool compile_somehow(struct test *t)
{
	uint64_t all = t->ports.ins < 64 ? (1ull << t->ports.ins) - 1 : UINT64_MAX;
	struct mica_err err, first;
	int r = compile(t, 0, &first);

	t->baked = 0;
	if (!r)
		return true;
	if (!refused(r))
		return say_err(t, &first);
	for (unsigned pass = 0; pass < 2; pass++)	/* floats first */
		for (unsigned i = 0; i < t->ports.ins && t->ports.ins > 1; i++) {
			if ((t->in[i].f ? 0u : 1u) != pass)
				continue;
			r = compile(t, all & ~(1ull << i), &err);
			if (!r)
				return unbake(t, all & ~(1ull << i)) ? say(t, TEST_FAILED, "does not compile twice") : true;
			if (!refused(r))
				return say_err(t, &err);
		}
	r = compile(t, all, &err);
	t->baked = all;
	return r ? say_err(t, refused(r) ? &first : &err) : true;
}

static void name_baked(struct test *t)
{
	size_t n = 0;

	t->r->baked = (unsigned)__builtin_popcountll(t->baked);
	for (unsigned i = 0; i < t->ports.ins && n < sizeof(t->r->text) - 1; i++)
		if (t->baked >> i & 1)
			n += (size_t)snprintf(t->r->text + n, sizeof(t->r->text) - n, "%s%s", n ? ", " : "given at compile time: ",
					      t->ports.in[i].name);
}

/* ---- running ---- */

struct run {
	struct mica_device *dev;
	struct mica_model *model;
	struct mica_session *session;
};

static void close_run(struct run *r)
{
	mica_session_destroy(r->session);
	mica_model_close(r->model);
	mica_device_close(r->dev);
	*r = (struct run){ 0 };
}

static int set_codes(struct run *r, unsigned index, const struct mica_tensor_info *info, const struct mica_onnx_data *d)
{
	int8_t *codes = malloc(d->elements + 1);
	int ret;

	if (!codes)
		return -ENOMEM;
	if (d->f)	/* float8: the numbers that ONNX's codes stand for, whatever the model multiplies them by */
		mica_quantize((enum mica_dtype)info->dtype, d->f, codes, d->elements, 1, 0);
	for (size_t k = 0; k < d->elements && d->i; k++)	/* u8 is held as i8 with its zero point moved */
		codes[k] = (int8_t)(d->i[k] - (!strcmp(mica_onnx_type_name(d->type), "uint8") && info->dtype == MICA_I8 ? 128 : 0));
	ret = mica_session_set_input_codes(r->session, index, codes, d->elements);
	free(codes);
	return ret;
}

static int set_values(struct run *r, unsigned index, const struct mica_onnx_data *d)
{
	float *f = malloc((d->elements + 1) * sizeof(*f));
	int ret;

	if (!f)
		return -ENOMEM;
	for (size_t k = 0; k < d->elements; k++)
		f[k] = d->f ? d->f[k] : (float)d->i[k];
	ret = mica_session_set_input_f32(r->session, index, f, d->elements);
	free(f);
	return ret;
}

/* 1: the data cannot be held exactly, t->r says so. */
static int set_input(struct test *t, struct run *r, unsigned i)
{
	const struct mica_onnx_data *d = &t->in[i];
	int index = mica_model_find_input(r->model, t->ports.in[i].name);
	const struct mica_tensor_info *info = index < 0 ? NULL : mica_model_input(r->model, (unsigned)index);

	if (!info)
		return 0;	/* given at compile time, or nothing depends on it */
	if (t->o->format == MICA_F32 && ((d->i && (info->dtype == MICA_I8 || info->dtype == MICA_U8)) ||
					 (d->type == TYPE_E4M3 && info->dtype == MICA_E4M3) || (d->type == TYPE_E5M2 && info->dtype == MICA_E5M2)))
		return set_codes(r, (unsigned)index, info, d);
	for (size_t k = 0; d->i && k < d->elements; k++)
		if (llabs(d->i[k]) > EXACT_INT && (double)(float)d->i[k] != (double)d->i[k]) {
			say(t, TEST_SKIPPED, "input '%s' holds %lld, which f32 cannot hold", t->ports.in[i].name, (long long)d->i[k]);
			return 1;
		}
	return set_values(r, (unsigned)index, d);
}

static bool execute(struct test *t, const struct mica_device_options *o, struct run *r)
{
	int ret = mica_device_open(o, &r->dev);

	if (!ret)
		ret = mica_model_load(r->dev, t->mica, &r->model);
	if (!ret)
		ret = mica_session_create(r->model, &r->session);
	for (unsigned i = 0; i < t->ports.ins && !ret; i++)
		if (!(t->baked >> i & 1))
			ret = set_input(t, r, i);
	if (!ret)
		ret = mica_session_run(r->session, -1);
	if (ret < 0)
		return say(t, TEST_FAILED, "%s", mica_error_text());
	return !ret;
}

/* ---- comparison ---- */

/* Part of the largest value that other formats than f32 may be off by; f32 has the ONNX project's tolerance. */
static double format_tolerance(enum mica_dtype format)
{
	switch (format) {
	case MICA_BF16:
		return 0.02;
	case MICA_I8:
		return 0.05;
	case MICA_E4M3:
		return 0.15;
	case MICA_E5M2:
		return 0.3;
	default:
		return 0;
	}
}

static double largest(const struct mica_onnx_data *d)
{
	double most = 0;

	for (size_t k = 0; k < d->elements; k++) {
		double v = fabs(d->f ? (double)d->f[k] : (double)d->i[k]);

		most = isfinite(v) && v > most ? v : most;
	}
	return most;
}

static bool near_enough(const struct test *t, const struct mica_onnx_data *d, size_t k, float got, double slack)
{
	double want = d->f ? (double)d->f[k] : (double)d->i[k], off = fabs((double)got - want);

	if ((double)got == want || (isnan(want) && isnan(got)))
		return true;
	if (slack > 0)
		return off <= slack;
	if (!d->f || !isfinite(got))
		return false;
	/* bfloat16 is computed as f32: the data, which older releases cut off instead of rounding, may be a unit away */
	return off <= t->o->atol + fmax(t->o->rtol, d->type == 16 ? 1.0 / 128 : 0) * fabs((double)got);
}

static bool compare_values(struct test *t, unsigned i, const float *got)
{
	const struct mica_onnx_data *d = &t->out[i];
	double slack = t->o->exact_tolerance ? 0 : format_tolerance(t->o->format) * largest(d);

	for (size_t k = 0; k < d->elements; k++)
		if (!near_enough(t, d, k, got[k], slack))
			return say(t, TEST_FAILED, "output %u '%s', element %zu is %.9g, not %.9g", i, t->ports.out[i].name, k, (double)got[k],
				   d->f ? (double)d->f[k] : (double)d->i[k]);
	return true;
}

static bool compare_output(struct test *t, const struct run *r, unsigned i)
{
	const struct mica_onnx_data *d = &t->out[i];
	int index = mica_model_find_output(r->model, t->ports.out[i].name);
	const struct mica_tensor_info *info = index < 0 ? NULL : mica_model_output(r->model, (unsigned)index);
	bool same = info && info->rank == d->rank;
	struct mica_tensor_info valid;
	char text[128];
	float *got;

	if (!info || mica_session_output_dims(r->session, (unsigned)index, (valid = *info).dim))
		return say(t, TEST_FAILED, "%s", mica_error_text());
	for (unsigned k = 0; k < d->rank && same; k++)
		same = valid.dim[k] == d->dim[k];
	if (!same)
		return say(t, TEST_FAILED, "output %u '%s' has the shape %s, which the test's data has not", i, info->name,
			   dims_text(&valid, text, sizeof(text)));
	got = malloc((info->elements + 1) * sizeof(*got));
	if (!got)
		return say(t, TEST_FAILED, "out of memory");
	same = !mica_session_get_output_f32(r->session, (unsigned)index, got, info->elements) || say(t, TEST_FAILED, "%s", mica_error_text());
	cli_crop(got, info, valid.dim);
	same = same && compare_values(t, i, got);
	free(got);
	return same;
}

static bool same_bits(struct test *t, const struct run *a, const struct run *b)
{
	for (unsigned i = 0; i < mica_model_output_count(a->model); i++) {
		const struct mica_tensor_info *info = mica_model_output(a->model, i);

		if (memcmp(mica_session_output(a->session, i), mica_session_output(b->session, i), info->bytes))
			return say(t, TEST_FAILED, "output '%s' differs between device and CPU", info->name);
	}
	return true;
}

static bool run_set(struct test *t)
{
	struct mica_device_options cpu = t->o->dev;
	struct run a = { 0 }, b = { 0 };
	bool good = execute(t, &t->o->dev, &a);

	for (unsigned i = 0; i < t->outs && good; i++)
		good = compare_output(t, &a, i);
	if (good && t->o->both) {
		cpu.backend = MICA_BACKEND_CPU;
		good = execute(t, &cpu, &b) && same_bits(t, &a, &b);
	}
	close_run(&a);
	close_run(&b);
	return good;
}

void test_run(const struct test_options *o, const char *dir, const char *mica, struct test_result *r)
{
	struct test t = { .o = o, .dir = dir, .mica = mica, .r = r };
	bool good = open_model(&t);
	unsigned set = 0;
	char path[4096];

	while (good && snprintf(path, sizeof(path), "%s/test_data_set_%u", dir, set) && path_is_dir(path)) {
		good = read_set(&t, set);
		if (good && (!set || t.baked))
			good = compile_somehow(&t);
		good = good && run_set(&t);
		free_set(&t);
		set++;
	}
	if (good && !set)
		good = say(&t, TEST_SKIPPED, "there is no test_data_set_0");
	if (good) {
		r->verdict = TEST_PASSED;
		name_baked(&t);
	}
	free_set(&t);
	mica_onnx_ports_free(&t.ports);
}
