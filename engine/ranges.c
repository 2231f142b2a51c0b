// SPDX-License-Identifier: MIT
/* Footprints of operands in checked arithmetic. */
#include "engine_internal.h"

bool dims_product(const uint32_t *dim, unsigned n, uint64_t *out)
{
	*out = 1;
	for (unsigned i = 0; i < n; i++)
		if (__builtin_mul_overflow(*out, dim[i], out))
			return false;
	return true;
}

static bool add_axis(struct range *r, uint32_t dim, int64_t stride)
{
	int64_t reach;

	if (__builtin_mul_overflow((int64_t)dim - 1, stride, &reach))
		return false;
	return !__builtin_add_overflow(reach < 0 ? r->lo : r->hi, reach, reach < 0 ? &r->lo : &r->hi);
}

bool range_of_view(const struct mica_view *v, const uint32_t dim[4], struct range *out)
{
	*out = (struct range){ 0, mica_dtype_size(v->dtype) };
	for (unsigned i = 0; i < 4; i++)
		if (!add_axis(out, dim[i], v->stride[i]))
			return false;
	return true;
}

bool range_of_copy(const uint32_t dim[4], const int32_t stride[4], uint32_t elem, struct range *out)
{
	*out = (struct range){ 0, elem };
	for (unsigned i = 0; i < 4; i++)
		if (!add_axis(out, dim[i], stride[i]))
			return false;
	return true;
}
