// SPDX-License-Identifier: MIT
/* The ONNX reader: whatever the bytes are, importing, shape inference, folding and rewriting end with a graph or an error. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "front.h"
#include "wire.h"

#define MAX_CONSTANTS ((size_t)16 << 20) /* what folding may make here, so that an input takes no seconds */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

static int file = -1;
static char path[64];

static void put(const uint8_t *data, size_t size)
{
	if (file < 0) {
		file = memfd_create("fuzz", MFD_CLOEXEC);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	}
	if (file < 0 || ftruncate(file, 0) || pwrite(file, data, size, 0) != (ssize_t)size)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mica_compile_options o;
	struct mica_err err = { 0 };
	struct ir_graph *g;

	mica_compile_defaults(&o);
	put(data, size);
	g = ir_graph_new("fuzz.onnx", &err);
	g->folded = IR_MAX_FOLDED - MAX_CONSTANTS;
	if (!ir_import(g, path, &o) && !ir_run_passes(g, &o, "layout")) {
		char *text = ir_print_string(g);

		free(text);
	} else if (err.code == MICA_ERR_INTERNAL) {
		fprintf(stderr, "%s\n", err.text);
		abort(); /* our own verifier refused what we made */
	}
	ir_graph_free(g);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	return seed % 8 ? wire_mutate(data, size, max, seed) : LLVMFuzzerMutate(data, size, max);
}
