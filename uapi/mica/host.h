/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT */
/* Host steps: what a compiled model asks of libmica between two jobs. Contract between compiler and SDK, with host.def. */
#ifndef MICA_HOST_H
#define MICA_HOST_H

#include "host.def"

enum mica_host_op {
	MICA_HOST_NONE,
#define H(code, UP, low, least, most) MICA_HOST_##UP = code,
	MICA_HOSTS(H)
#undef H
	MICA_HOST_OPS
};

#define MICA_HOST_MAX_IN	5
#define MICA_HOST_INTS		16
#define MICA_HOST_FLOATS	4

enum mica_host_reduction { MICA_HOST_SET, MICA_HOST_ADD, MICA_HOST_MUL, MICA_HOST_MAX, MICA_HOST_MIN, MICA_HOST_REDUCTIONS };
enum mica_host_unique { MICA_HOST_VALUES, MICA_HOST_FIRST, MICA_HOST_INVERSE, MICA_HOST_COUNTS, MICA_HOST_UNIQUES };
enum mica_host_sample { MICA_HOST_LINEAR, MICA_HOST_NEAREST, MICA_HOST_CUBIC, MICA_HOST_SAMPLES };
enum mica_host_border { MICA_HOST_ZEROS, MICA_HOST_EDGE, MICA_HOST_REFLECT, MICA_HOST_BORDERS };
enum mica_host_bits { MICA_HOST_AND, MICA_HOST_OR, MICA_HOST_XOR, MICA_HOST_LEFT, MICA_HOST_RIGHT, MICA_HOST_BIT_OPS };
enum mica_host_integer { MICA_HOST_PLUS, MICA_HOST_MINUS, MICA_HOST_TIMES, MICA_HOST_QUOTIENT, MICA_HOST_REMAINDER, MICA_HOST_C_REMAINDER,
	MICA_HOST_POWER, MICA_HOST_INTEGER_OPS };

#endif /* MICA_HOST_H */
