/* SPDX-License-Identifier: MIT */
/*
 * The slow reference: commands executed one element at a time, written from docs/numerics.md and docs/isa.md alone. It
 * shares no code with engine/, so that the two can disagree. Packets must have passed the validator.
 */
#ifndef MICA_REF_H
#define MICA_REF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "mica/isa.h"

struct ref_mem {
	uint8_t *lmem;
	uint8_t *seg[MICA_MAX_SEGMENTS];
};

void ref_exec(const union mica_pkt *p, const struct ref_mem *m);	/* any packet but END and BARRIER */

double ref_code_value(enum mica_dtype t, unsigned code);		/* e4m3, e5m2, bf16, f32: exact; NaN, infinities as they are */
unsigned ref_round_code(enum mica_dtype t, float v);			/* f32 value -> e4m3, e5m2, bf16 code */
float ref_function(enum mica_fn fn, float x, float alpha, float beta);

#endif
