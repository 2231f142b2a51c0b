/* SPDX-License-Identifier: MIT */
/*
 * One run of any ONNX model by ONNX Runtime: ort_io LIB MODEL.onnx LIST OUTDIR. A line of LIST is an input, a line printed is an
 * output: name, ONNX's number of the element type, dimensions with commas, file of raw elements; tabs in between.
 */
#include <stdint.h>
#include <string.h>
#include "ort_peer.h"

#define MAX_TENSORS	1024
#define MAX_LINE	4096

struct feed {
	char *name[MAX_TENSORS];
	OrtValue *value[MAX_TENSORS];
	size_t count;
};

static void *read_file(const char *path, size_t *size)
{
	FILE *f = fopen(path, "rb");
	char *data;
	long n;

	if (!f || fseek(f, 0, SEEK_END) || (n = ftell(f)) < 0)
		fail("an input's file cannot be read");
	rewind(f);
	data = malloc((size_t)n + 1);
	if (!data || fread(data, 1, (size_t)n, f) != (size_t)n)
		fail("an input's file cannot be read");
	fclose(f);
	*size = (size_t)n;
	return data;
}

static void add_input(struct feed *in, OrtMemoryInfo *memory, char *line)
{
	char *name = strsep(&line, "\t"), *type = strsep(&line, "\t"), *dims = strsep(&line, "\t"), *path = strsep(&line, "\n");
	int64_t d[16];
	size_t rank = 0, size;
	void *data;

	if (!path || in->count == MAX_TENSORS)
		fail("a line of the list is not 'name type dims file'");
	for (char *word; (word = strsep(&dims, ","));)
		if (*word && rank < 16)
			d[rank++] = strtoll(word, NULL, 10);
	data = read_file(path, &size);
	in->name[in->count] = strdup(name);
	ok(api->CreateTensorWithDataAsOrtValue(memory, data, size, d, rank, (ONNXTensorElementDataType)atoi(type),
					       &in->value[in->count++]), name);
}

static size_t element_size(ONNXTensorElementDataType type)
{
	static const char sizes[] = { 0, 4, 1, 1, 2, 2, 4, 8, 0, 1, 2, 8, 4, 8, 8, 16, 2, 1, 1, 1, 1 };

	return (size_t)type < sizeof(sizes) ? (size_t)sizes[type] : 0;
}

static void write_output(const char *name, OrtValue *v, const char *dir, size_t k)
{
	OrtTensorTypeAndShapeInfo *ti;
	ONNXTensorElementDataType type;
	char path[MAX_LINE];
	int64_t d[16];
	size_t rank, count;
	int tensor = 0;
	void *data;
	FILE *f;

	ok(api->IsTensor(v, &tensor), "output");
	if (!tensor) {
		printf("%s\t0\t\t\n", name);
		return;
	}
	ok(api->GetTensorTypeAndShape(v, &ti), "output's shape");
	ok(api->GetTensorElementType(ti, &type), "output's type");
	ok(api->GetTensorShapeElementCount(ti, &count), "output's shape");
	ok(api->GetDimensionsCount(ti, &rank), "output's rank");
	if (rank > 16)
		fail("an output has more than 16 dimensions");
	ok(api->GetDimensions(ti, d, rank), "output's shape");
	ok(api->GetTensorMutableData(v, &data), "output's data");
	snprintf(path, sizeof(path), "%s/%zu.raw", dir, k);
	f = fopen(path, "wb");
	if (!f || fwrite(data, element_size(type), count, f) != count || fclose(f))
		fail("an output cannot be written");
	printf("%s\t%d\t", name, (int)type);
	for (size_t i = 0; i < rank; i++)
		printf("%s%lld", i ? "," : "", (long long)d[i]);
	printf("\t%s\n", path);
}

static void read_list(struct feed *in, const char *path)
{
	OrtMemoryInfo *memory;
	char line[MAX_LINE];
	FILE *f = fopen(path, "r");

	if (!f)
		fail("the list cannot be opened");
	ok(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory), "memory");
	while (fgets(line, sizeof(line), f))
		add_input(in, memory, line);
	fclose(f);
}

int main(int argc, char **argv)
{
	static struct feed in, out;
	OrtSessionOptions *so;
	OrtSession *session;
	OrtAllocator *al;
	OrtEnv *env;

	if (argc != 5) {
		fprintf(stderr, "usage: ort_io LIBONNXRUNTIME MODEL.onnx LIST OUTDIR\n");
		return 2;
	}
	env = load_ort(argv[1]);
	read_list(&in, argv[3]);
	ok(api->CreateSessionOptions(&so), "options");
	ok(api->SetIntraOpNumThreads(so, 1), "threads");
	ok(api->SetSessionGraphOptimizationLevel(so, ORT_ENABLE_BASIC), "level");
	ok(api->CreateSession(env, argv[2], so, &session), "session");
	ok(api->GetAllocatorWithDefaultOptions(&al), "allocator");
	ok(api->SessionGetOutputCount(session, &out.count), "outputs");
	if (out.count > MAX_TENSORS)
		fail("the model has too many outputs");
	for (size_t i = 0; i < out.count; i++)
		ok(api->SessionGetOutputName(session, i, al, &out.name[i]), "name");
	ok(api->Run(session, NULL, (const char *const *)in.name, (const OrtValue *const *)in.value, in.count,
		    (const char *const *)out.name, out.count, out.value), "run");
	for (size_t i = 0; i < out.count; i++)
		write_output(out.name[i], out.value[i], argv[4], i);
	return 0;
}
