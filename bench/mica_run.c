// SPDX-License-Identifier: MIT
/*
 * MICA as a contestant of `make bench`: loads a compiled model on the CPU backend and answers bench_serve.h's commands.
 *   mica_run [--threads=N] [--input=FILE] [--code] [MODEL.mica]
 * --code reads all of the program's code first: for memory that is to be compared with a process that runs nothing.
 */
#include <getopt.h>
#include "bench_serve.h"
#include "mica.h"

static int fail(const char *what)
{
	fprintf(stderr, "mica_run: %s: %s\n", what, mica_error_text());
	return 1;
}

static int infer(void *session)
{
	return mica_session_run(session, -1) ? fail("run") : 0;
}

/* One sample of raw f32 from the file, or i/n as ort_run has it. */
static int set_input(struct mica_session *s, const struct mica_tensor_info *t, unsigned i, FILE *f)
{
	float *v = malloc(t->elements * sizeof(*v));
	int ret;

	if (!v)
		return 1;
	for (size_t k = 0; k < t->elements; k++)
		v[k] = (float)k / (float)t->elements;
	if (f && fread(v, sizeof(*v), t->elements, f) != t->elements) {
		fprintf(stderr, "mica_run: the input file is too short\n");
		free(v);
		return 1;
	}
	ret = mica_session_set_input_f32(s, i, v, t->elements);
	free(v);
	return ret ? fail("input") : 0;
}

static void read_code(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512], rights[5];
	unsigned long from, to;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx %4s", &from, &to, rights) == 3 && rights[0] == 'r' && rights[1] != 'w' && strchr(line, '/'))
			for (volatile const char *page = (const char *)from; page < (const char *)to; page += 4096)
				(void)*page;
	if (f)
		fclose(f);
}

static int serve(struct mica_device *dev, const char *path, const char *input)
{
	struct mica_model *m = NULL;
	struct mica_session *s = NULL;
	FILE *f = input ? fopen(input, "rb") : NULL;

	if (!path)
		return bench_serve(NULL, NULL);
	if (input && !f) {
		perror(input);
		return 1;
	}
	if (mica_model_load(dev, path, &m) || mica_session_create(m, &s))
		return fail(path);
	bench_peak_keep();
	for (unsigned i = 0; i < mica_model_input_count(m); i++)
		if (set_input(s, mica_model_input(m, i), i, f))
			return 1;
	if (f)
		fclose(f);
	bench_peak_restart();
	return bench_serve(infer, s);
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "threads", 1, NULL, 't' }, { "input", 1, NULL, 'i' },
						{ "code", 0, NULL, 'c' }, { 0 } };
	struct mica_device_options o = MICA_DEVICE_OPTIONS_INIT;
	struct mica_device *dev;
	const char *input = NULL;
	int c;

	o.backend = MICA_BACKEND_CPU;
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 't')
			o.threads = (unsigned)atoi(optarg);
		else if (c == 'i')
			input = optarg;
		else if (c == 'c')
			read_code();
		else
			return 2;
	}
	return mica_device_open(&o, &dev) ? fail("device") : serve(dev, argv[optind], input);
}
