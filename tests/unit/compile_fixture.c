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

static float next(uint32_t *s)
{
	*s = *s * 1664525u + 1013904223u;
	return (float)(*s >> 8) / (1 << 23) - 1;
}

float compile_noise(void)
{
	return next(&seed);
}

void compile_noisy(unsigned sample, float *x, size_t n)
{
	uint32_t own = 99 + sample * 7919; /* samples are loaded by several threads at once */

	for (size_t i = 0; i < n; i++)
		x[i] = next(&own);
}

struct ir_op *compile_conv(const struct ir_graph *g, unsigned n)
{
	struct ir_op *op = g->first;

	for (; op; op = op->next)
		if (op->kind == IR_CONV && !n--)
			break;
	assert_non_null(op);
	return op;
}

/* ---- running a graph ---- */

struct output {
	int (*load)(void *opaque, unsigned sample, const char *input, float *dst, size_t n, struct mica_err *err);
	unsigned sample;
	float *y;
};

static int load_sample(void *opaque, const struct ir_value *input, float *dst, size_t n)
{
	struct output *o = opaque;

	return o->load(NULL, o->sample, input->name, dst, n, NULL);
}

static void see_output(void *opaque, const struct ir_value *v, const void *codes, size_t n)
{
	struct output *o = opaque;

	if (!v->is_output)
		return;
	memcpy(o->y, codes, n * sizeof(float));
	o->y += n;
}

void compile_run(struct ir_graph *g, int (*load)(void *opaque, unsigned sample, const char *input, float *dst, size_t n, struct mica_err *err),
		 unsigned first, unsigned count, float *y)
{
	struct ir_tracer *t = ir_tracer_new(g, 1);
	struct output o = { load, first, y };
	struct ir_trace cb = { .load = load_sample, .see = see_output, .opaque = &o };

	assert_non_null(t);
	for (; o.sample < first + count; o.sample++)
		assert_int_equal(ir_tracer_run(t, &cb), 0);
	ir_tracer_free(t);
}
