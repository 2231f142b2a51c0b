// SPDX-License-Identifier: MIT
/* One value at a time: the formulas of func_vec.h with vectors of one lane. */
#include "func_vec.h"

float mica_fn_eval(enum mica_fn fn, float x, float alpha, float beta)
{
	fn_array(fn, &x, 1, alpha, beta);
	return x;
}

float mica_act_eval(enum mica_act act, float x, float alpha, float beta)
{
	return mica_fn_eval(fn_of_act(act), x, alpha, beta);
}

float mica_bin_eval(enum mica_bin op, float a, float b)
{
	bin_array(op, &a, &a, &b, NULL, 1);
	return a;
}
