/* SPDX-License-Identifier: MIT */
/* The account of what a compiled model's cycles are for, in reports. */
#ifndef MICA_COST_H
#define MICA_COST_H

#include <stdint.h>
#include <stdio.h>

struct mica_compiled;

enum cost_part {
	COST_MACS,		/* CONV, DWCONV, MATMUL with everything in their epilogues */
	COST_FUNCTIONS,		/* tables, sums, pools and the like */
	COST_QUANTIZE,		/* f32 or bf16 -> codes, as a command of its own */
	COST_DEQUANTIZE,	/* codes -> f32 or bf16 */
	COST_REQUANTIZE,	/* codes -> codes of another scale or format */
	COST_MOVES,		/* copies and fills */
	COST_PARTS,
};

struct cost {
	uint64_t cycles[COST_PARTS];	/* busy time of the packets on their engines, summed over the cores */
	unsigned packets[COST_PARTS];
	uint64_t epilogue, residuals;	/* elements converted inside MAC commands */
};

const char *cost_name(unsigned part);
void cost_account(const struct mica_compiled *m, struct cost *c);
void cost_json(FILE *f, const struct mica_compiled *m);	/* "cost": {...}, with a comma and a line's end */
void cost_html(FILE *f, const struct mica_compiled *m);

#endif /* MICA_COST_H */
