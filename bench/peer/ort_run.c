/* SPDX-License-Identifier: MIT */
/*
 * The peer: runs an ONNX model with ONNX Runtime's CPU provider and prints latency as JSON; with --input/--output it is an
 * outside oracle (raw f32 in, all outputs raw f32 one after another out). Only bench/ and by-hand checks use it.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "onnxruntime_c_api.h"

static const OrtApi *api;

static void ok(OrtStatus *s, const char *what)
{
	if (!s)
		return;
	fprintf(stderr, "ort_run: %s: %s\n", what, api->GetErrorMessage(s));
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + 1e-9 * t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static size_t elements(const int64_t *d, size_t n)
{
	size_t e = 1;

	for (size_t i = 0; i < n; i++)
		e *= d[i] > 0 ? (size_t)d[i] : 1;
	return e;
}

/* Input i as a tensor; f32 with the file's content, or i/n values. */
static OrtValue *make_input(OrtSession *s, size_t i, OrtMemoryInfo *mi, FILE *in)
{
	OrtTypeInfo *ti;
	const OrtTensorTypeAndShapeInfo *tt;
	size_t rank;
	int64_t d[16];
	OrtValue *v;

	ok(api->SessionGetInputTypeInfo(s, i, &ti), "input type");
	ok(api->CastTypeInfoToTensorInfo(ti, &tt), "tensor info");
	ok(api->GetDimensionsCount(tt, &rank), "rank");
	ok(api->GetDimensions(tt, d, rank), "dims");
	size_t n = elements(d, rank);
	float *data = malloc(n * 4);

	for (size_t k = 0; k < n; k++)
		data[k] = (float)k / (float)n;
	if (in && fread(data, 4, n, in) != n) {
		fprintf(stderr, "ort_run: input file is too short\n");
		exit(1);
	}
	for (size_t k = 0; k < rank; k++)
		d[k] = d[k] > 0 ? d[k] : 1;
	ok(api->CreateTensorWithDataAsOrtValue(mi, data, n * 4, d, rank, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &v), "input tensor");
	api->ReleaseTypeInfo(ti);
	return v;
}

static void write_outputs(OrtValue **out, size_t n, const char *path)
{
	FILE *f = fopen(path, "wb");

	for (size_t i = 0; f && i < n; i++) {
		OrtTensorTypeAndShapeInfo *ti;
		size_t count;
		void *p;

		ok(api->GetTensorTypeAndShape(out[i], &ti), "shape");
		ok(api->GetTensorShapeElementCount(ti, &count), "count");
		ok(api->GetTensorMutableData(out[i], &p), "data");
		if (fwrite(p, 4, count, f) != count)
			exit(1);
		api->ReleaseTensorTypeAndShapeInfo(ti);
	}
	if (!f || fclose(f))
		exit(1);
}

int main(int argc, char **argv)
{
	const char *lib = NULL, *model = NULL, *input = NULL, *output = NULL;
	int threads = 1;
	double seconds = 2;

	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "--lib=", 6))
			lib = argv[i] + 6;
		else if (!strncmp(argv[i], "--threads=", 10))
			threads = atoi(argv[i] + 10);
		else if (!strncmp(argv[i], "--seconds=", 10))
			seconds = atof(argv[i] + 10);
		else if (!strncmp(argv[i], "--input=", 8))
			input = argv[i] + 8;
		else if (!strncmp(argv[i], "--output=", 9))
			output = argv[i] + 9;
		else
			model = argv[i];
	}
	void *h = lib ? dlopen(lib, RTLD_NOW) : NULL;

	if (!h || !model) {
		fprintf(stderr, "usage: ort_run --lib=libonnxruntime.so.1 [--threads=N] [--seconds=S] [--input=F] [--output=F] MODEL.onnx\n%s\n", h ? "" : dlerror());
		return 2;
	}
	const OrtApiBase *(*base)(void) = (const OrtApiBase *(*)(void))dlsym(h, "OrtGetApiBase");
	OrtEnv *env;
	OrtSessionOptions *so;
	OrtSession *s;
	OrtMemoryInfo *mi;
	OrtAllocator *al;
	size_t ins, outs;
	char *in_name[16], *out_name[64];
	OrtValue *in[16], *out[64] = { 0 };
	FILE *f = input ? fopen(input, "rb") : NULL;

	api = base()->GetApi(ORT_API_VERSION);
	ok(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "bench", &env), "env");
	ok(api->CreateSessionOptions(&so), "options");
	ok(api->SetIntraOpNumThreads(so, threads), "threads");
	ok(api->SetSessionGraphOptimizationLevel(so, ORT_ENABLE_ALL), "level");
	ok(api->CreateSession(env, model, so, &s), "session");
	ok(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &mi), "memory");
	ok(api->GetAllocatorWithDefaultOptions(&al), "allocator");
	ok(api->SessionGetInputCount(s, &ins), "inputs");
	ok(api->SessionGetOutputCount(s, &outs), "outputs");
	if (ins > 16 || outs > 64)
		return 1;
	for (size_t i = 0; i < ins; i++) {
		ok(api->SessionGetInputName(s, i, al, &in_name[i]), "name");
		in[i] = make_input(s, i, mi, f);
	}
	for (size_t i = 0; i < outs; i++)
		ok(api->SessionGetOutputName(s, i, al, &out_name[i]), "name");

	static double t[200000];
	size_t n = 0;
	double end = 0;

	for (int warm = 0; warm < 3 || now() < end; warm++) {
		if (warm == 2)
			end = now() + seconds;
		for (size_t i = 0; i < outs; i++)
			if (out[i]) {
				api->ReleaseValue(out[i]);
				out[i] = NULL;
			}
		double t0 = now();

		ok(api->Run(s, NULL, (const char *const *)in_name, (const OrtValue *const *)in, ins, (const char *const *)out_name, outs, out), "run");
		if (warm >= 2 && n < 200000)
			t[n++] = now() - t0;
	}
	if (output)
		write_outputs(out, outs, output);
	qsort(t, n, sizeof(*t), by_value);
	printf("{\"runs\": %zu, \"latency_ms\": {\"min\": %.4f, \"median\": %.4f, \"p99\": %.4f}}\n", n, 1e3 * t[0], 1e3 * t[n / 2], 1e3 * t[(n * 99) / 100]);
	return 0;
}
