/* SPDX-License-Identifier: MIT */
/* What the host_*.c files share: a row per operator, and indices. */
#ifndef MICA_ENGINE_HOST_IMPL_H
#define MICA_ENGINE_HOST_IMPL_H

#include "host.h"

/* Checks may rely on operand counts and sane tensors; runs on everything that the check has seen. */
#define H(code, UP, low, least, most)							\
	const char *mica_host_check_##low(const struct mica_host_step *s);		\
	int mica_host_run_##low(struct mica_host_call *c);
MICA_HOSTS(H)
#undef H

/* Elements of the axes lo..hi-1. */
static inline uint64_t host_extent(const struct mica_host_tensor *t, unsigned lo, unsigned hi)
{
	uint64_t n = 1;

	for (unsigned i = lo; i < hi; i++)
		n *= t->dim[i];
	return n;
}

static inline bool host_same_dims(const struct mica_host_tensor *a, const struct mica_host_tensor *b)
{
	if (a->rank != b->rank)
		return false;
	for (unsigned i = 0; i < a->rank; i++)
		if (a->dim[i] != b->dim[i])
			return false;
	return true;
}

#define HOST_EXACT (1u << 24)	/* whole numbers up to here are exact in f32 */

/* Does the attribute name an axis of t? */
static inline bool host_axis_ok(int64_t axis, const struct mica_host_tensor *t)
{
	return axis >= 0 && axis < t->rank;
}

/* A whole number n with -extent <= n < extent, wrapped to 0..extent-1. False: it is none, c->why says so. */
bool host_index(struct mica_host_call *c, float value, uint64_t extent, uint64_t *index);

#endif /* MICA_ENGINE_HOST_IMPL_H */
