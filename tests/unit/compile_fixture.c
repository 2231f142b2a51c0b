// SPDX-License-Identifier: MIT
/* The fixture of tests that compile a small model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "compile_fixture.h"

static void temporary(char *path)
{
	int fd;

	strcpy(path, "/tmp/mica-compile-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
}

int compile_setup(void **state)
{
	struct compile_fixture *f = calloc(1, sizeof(*f));

	temporary(f->path);
	temporary(f->table);
	mica_compile_defaults(&f->o);
	f->o.quiet = true;
	*state = f;
	return 0;
}

int compile_teardown(void **state)
{
	struct compile_fixture *f = *state;

	if (f->g)
		ir_graph_free(f->g);
	unlink(f->path);
	unlink(f->table);
	free(f);
	return 0;
}

static uint32_t seed = 1;

void compile_seed(uint32_t to)
{
	seed = to;
}

float compile_noise(void)
{
	seed = seed * 1664525u + 1013904223u;
	return (float)(seed >> 8) / (1 << 23) - 1;
}
