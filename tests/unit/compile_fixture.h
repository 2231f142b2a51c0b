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

#endif /* MICA_TESTS_COMPILE_FIXTURE_H */
