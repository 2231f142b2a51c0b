// SPDX-License-Identifier: MIT
/* Whether an input's values are like those that the model was calibrated with. */
#include <math.h>
#include "sdk.h"

size_t mica_tensor_outside(const struct mica_tensor_info *t, const float *values, size_t elements, float margin, float *worst)
{
	float wide = margin * (t->range_max - t->range_min), lo = t->range_min - wide, hi = t->range_max + wide, most = -1;
	size_t n = 0;

	if (!(t->range_min < t->range_max))
		return 0;
	for (size_t i = 0; i < elements; i++) {
		float v = values[i], by;

		if (v >= lo && v <= hi)
			continue;
		n++;
		by = isnan(v) ? INFINITY : v > hi ? v - hi : lo - v;
		if (by > most && worst)
			*worst = v;
		most = by > most ? by : most;
	}
	return n;
}
