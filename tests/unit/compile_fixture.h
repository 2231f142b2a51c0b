/* SPDX-License-Identifier: MIT */
/* What tests of compilation begin with: options, a model's file, a table's file and the graph that comes out. */
#ifndef MICA_TESTS_COMPILE_FIXTURE_H
#define MICA_TESTS_COMPILE_FIXTURE_H

#include "compiler.h"
#include "ir.h"

struct compile_fixture {
	char path[64], table[64];	/* both exist and are empty */
	struct mica_compile_options o;	/* the defaults, quiet */
	struct mica_err err;
	struct ir_graph *g;		/* the test's; freed here */
};

int compile_setup(void **state);
int compile_teardown(void **state);

/* The next of a fixed sequence of numbers, even in -1..1; where it begins. */
void compile_seed(uint32_t to);
float compile_noise(void);
/* The same for a whole sample, each with a sequence of its own. */
void compile_noisy(unsigned sample, float *x, size_t n);

/* The n-th convolution of a graph; the test fails when there is none. */
struct ir_op *compile_conv(const struct ir_graph *g, unsigned n);

/* Runs g on samples first .. first + count - 1; y gets the output of each, one behind the other. */
void compile_run(struct ir_graph *g, int (*load)(void *opaque, unsigned sample, const char *input, float *dst, size_t n, struct mica_err *err),
		 unsigned first, unsigned count, float *y);

#endif /* MICA_TESTS_COMPILE_FIXTURE_H */
