/* SPDX-License-Identifier: MIT */
/*
 * The peer: runs an ONNX model with ONNX Runtime's CPU provider. One of three things: --serve answers bench_serve.h's
 * commands (speed, memory), --output is an outside oracle (raw f32 samples in, all outputs of each raw f32 out),
 * --optimized writes the graph that ONNX Runtime makes of the model. Only bench/ and by-hand checks use it.
 */
#include <getopt.h>
#include <stdlib.h>
#include "ort_peer.h"
#include "bench_serve.h"

#define MAX_INPUTS	16
#define MAX_OUTPUTS	512

struct args {
	const char *lib, *model, *input, *output, *optimized;
	int threads;
	bool serve, basic;
};

struct peer {
	OrtEnv *env;
	OrtSession *session;
	OrtMemoryInfo *memory;
	size_t ins, outs;
	char *in_name[MAX_INPUTS], *out_name[MAX_OUTPUTS];
	OrtValue *in[MAX_INPUTS], *out[MAX_OUTPUTS];
	float *data[MAX_INPUTS];
	size_t elements[MAX_INPUTS];
};

/* Input i as an f32 tensor of i/n values; dimensions that the model leaves open are 1. */
static void make_input(struct peer *p, size_t i)
{
	OrtTypeInfo *ti;
	const OrtTensorTypeAndShapeInfo *tt;
	int64_t d[16];
	size_t rank, n = 1;

	ok(api->SessionGetInputTypeInfo(p->session, i, &ti), "input type");
	ok(api->CastTypeInfoToTensorInfo(ti, &tt), "tensor info");
	ok(api->GetDimensionsCount(tt, &rank), "rank");
	if (rank > 16)
		fail("an input has more than 16 dimensions");
	ok(api->GetDimensions(tt, d, rank), "dims");
	api->ReleaseTypeInfo(ti);
	for (size_t k = 0; k < rank; k++) {
		d[k] = d[k] > 0 ? d[k] : 1;
		n *= (size_t)d[k];
	}
	p->data[i] = malloc(n * sizeof(float));
	if (!p->data[i])
		fail("out of memory");
	for (size_t k = 0; k < n; k++)
		p->data[i][k] = (float)k / (float)n;
	p->elements[i] = n;
	ok(api->CreateTensorWithDataAsOrtValue(p->memory, p->data[i], n * sizeof(float), d, rank,
					       ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &p->in[i]), "input tensor");
}

/* The next sample of the file; false at its end, an error within a sample. */
static bool read_sample(struct peer *p, FILE *f)
{
	for (size_t i = 0; i < p->ins; i++) {
		size_t got = fread(p->data[i], sizeof(float), p->elements[i], f);

		if (!got && !i)
			return false;
		if (got != p->elements[i])
			fail("the input file ends within a sample");
	}
	return true;
}

static int infer(void *opaque)
{
	struct peer *p = opaque;

	for (size_t i = 0; i < p->outs; i++)
		if (p->out[i]) {
			api->ReleaseValue(p->out[i]);
			p->out[i] = NULL;
		}
	ok(api->Run(p->session, NULL, (const char *const *)p->in_name, (const OrtValue *const *)p->in, p->ins,
		    (const char *const *)p->out_name, p->outs, p->out), "run");
	return 0;
}

static void write_outputs(struct peer *p, FILE *f)
{
	for (size_t i = 0; i < p->outs; i++) {
		OrtTensorTypeAndShapeInfo *ti;
		size_t count;
		void *data;

		ok(api->GetTensorTypeAndShape(p->out[i], &ti), "shape");
		ok(api->GetTensorShapeElementCount(ti, &count), "count");
		ok(api->GetTensorMutableData(p->out[i], &data), "data");
		if (fwrite(data, sizeof(float), count, f) != count)
			fail("the output file cannot be written");
		api->ReleaseTensorTypeAndShapeInfo(ti);
	}
}

static void oracle(struct peer *p, const struct args *a, FILE *in)
{
	FILE *f = fopen(a->output, "wb");
	bool more = !in || read_sample(p, in);

	if (!f)
		fail("the output file cannot be created");
	while (more) {
		infer(p);
		write_outputs(p, f);
		more = in && read_sample(p, in);
	}
	if (fclose(f))
		fail("the output file cannot be written");
}

/* All optimizations but for --optimized, sequential execution; everything else is ONNX Runtime's default, so its threads
 * spin between the nodes of a run. */
static void open_session(struct peer *p, const struct args *a)
{
	OrtSessionOptions *so;
	OrtAllocator *al;

	ok(api->CreateSessionOptions(&so), "options");
	ok(api->SetIntraOpNumThreads(so, a->threads), "threads");
	ok(api->SetInterOpNumThreads(so, 1), "threads");
	ok(api->SetSessionGraphOptimizationLevel(so, a->basic ? ORT_ENABLE_BASIC : ORT_ENABLE_ALL), "level");
	if (a->optimized)
		ok(api->SetOptimizedModelFilePath(so, a->optimized), "optimized model");
	ok(api->CreateSession(p->env, a->model, so, &p->session), "session");
	api->ReleaseSessionOptions(so);
	ok(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &p->memory), "memory");
	ok(api->GetAllocatorWithDefaultOptions(&al), "allocator");
	ok(api->SessionGetInputCount(p->session, &p->ins), "inputs");
	ok(api->SessionGetOutputCount(p->session, &p->outs), "outputs");
	if (p->ins > MAX_INPUTS || p->outs > MAX_OUTPUTS)
		fail("the model has too many inputs or outputs");
	for (size_t i = 0; i < p->ins; i++) {
		ok(api->SessionGetInputName(p->session, i, al, &p->in_name[i]), "name");
		make_input(p, i);
	}
	for (size_t i = 0; i < p->outs; i++)
		ok(api->SessionGetOutputName(p->session, i, al, &p->out_name[i]), "name");
}

static int usage(void)
{
	fprintf(stderr, "usage: ort_run --lib=LIBONNXRUNTIME [--threads=N] [--input=FILE] --serve | --output=FILE | --optimized=FILE [--basic] "
			"[MODEL.onnx]\n");
	return 2;
}

static int parse(int argc, char **argv, struct args *a)
{
	static const struct option options[] = {
		{ "lib", 1, NULL, 'l' }, { "threads", 1, NULL, 't' }, { "input", 1, NULL, 'i' }, { "output", 1, NULL, 'o' },
		{ "optimized", 1, NULL, 'z' }, { "basic", 0, NULL, 'b' }, { "serve", 0, NULL, 's' }, { 0 }
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (c) {
		case 'l': a->lib = optarg; break;
		case 't': a->threads = atoi(optarg); break;
		case 'i': a->input = optarg; break;
		case 'o': a->output = optarg; break;
		case 'z': a->optimized = optarg; break;
		case 'b': a->basic = true; break;
		case 's': a->serve = true; break;
		default: return -1;
		}
	}
	a->model = argv[optind];
	return a->lib && a->threads > 0 && (a->model || a->serve) && (a->serve || a->output || a->optimized) ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct args a = { .threads = 1 };
	struct peer p = { 0 };
	FILE *in = NULL;

	if (parse(argc, argv, &a))
		return usage();
	p.env = load_ort(a.lib);
	if (a.model)
		open_session(&p, &a);
	if (a.input && !(in = fopen(a.input, "rb")))
		fail("the input file cannot be opened");
	if (a.output)
		oracle(&p, &a, in);
	if (!a.serve)
		return 0;
	if (in && a.model)
		read_sample(&p, in);
	return bench_serve(a.model ? infer : NULL, &p);
}
