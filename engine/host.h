/* SPDX-License-Identifier: MIT */
/*
 * Host steps (mica/host.def): what each does, once. libmica runs them between jobs, the compiler while it calibrates. One
 * thread, plain C, no libm beyond exact functions: the result is a function of the operands alone.
 */
#ifndef MICA_ENGINE_HOST_H
#define MICA_ENGINE_HOST_H

#include "engine.h"
#include "mica/host.h"

#define MICA_HOST_RANK 8

struct mica_host_tensor {
	uint32_t dtype;
	uint32_t rank;
	uint32_t dim[MICA_HOST_RANK];
	uint64_t addr;
};
struct mica_host_step {
	uint32_t op, layer;
	uint32_t ins;
	struct mica_host_tensor in[MICA_HOST_MAX_IN], out;
	int64_t ints[MICA_HOST_INTS];
	float floats[MICA_HOST_FLOATS];
};

const char *mica_host_name(unsigned op);		/* "gather"; "?" when unknown */
/* NULL, or why the step is refused: operator, operands, attributes, shapes. After it mica_host_run cannot leave its memory. */
const char *mica_host_check(const struct mica_host_step *s);
/* The same for addresses: inside segments, aligned, the result writable and apart from the operands. */
const char *mica_host_bounds(const struct mica_host_step *s, const struct mica_limits *lim);
/* Only of checked steps: */
uint64_t mica_host_elements(const struct mica_host_tensor *t);
size_t mica_host_scratch(const struct mica_host_step *s);	/* bytes that a run needs beside its operands */
uint64_t mica_host_bytes(const struct mica_host_step *s);	/* read and written: what its time is judged by */
int mica_host_counted_axis(unsigned op, const int64_t *ints);	/* axis of the result that is counted, or -1 */

struct mica_host_call {
	const struct mica_host_step *step;
	const float *in[MICA_HOST_MAX_IN];
	float *out;
	void *scratch;			/* mica_host_scratch() bytes */
	const atomic_bool *stop;	/* may be NULL; when true, long runs end early with -1 */
	uint32_t count;			/* result: valid entries along the counted axis */
	char why[128];			/* result: what is wrong with the data */
};
/* 0, or -1 with `why` (an index outside its axis). */
int mica_host_run(struct mica_host_call *c);

/* One line of text. */
int mica_host_disasm(char *buf, size_t size, const struct mica_host_step *s);

#endif /* MICA_ENGINE_HOST_H */
