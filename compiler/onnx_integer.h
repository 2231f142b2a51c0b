/* SPDX-License-Identifier: MIT */
/*
 * Integers at run time stand in f32, where they are exact up to 2^24. What is known of their range decides: arithmetic whose
 * numbers and result stay small runs on the device, other arithmetic on the host in 64 bits, where a result that f32 cannot hold
 * fails the run. Nothing loses bits without a word.
 */
#ifndef MICA_ONNX_INTEGER_H
#define MICA_ONNX_INTEGER_H

#include "expr.h"

struct int_range {
	bool known;
	int64_t lo, hi;
};
struct int_facts {
	struct int_range range;
	bool exact;		/* of the operator that gives it: operands, result and all between are within 2^24 and do not wrap */
	bool from_int;		/* and its first operand is an integer, too */
	bool wraps;		/* which its type may not hold */
};
/*
 * What is known of all integers of an imported graph, while its operators are still ONNX's; kept by the import. -code with a message
 * where an operator computes in a way that f32 may not hold and the host has no step for, or reads a constant that f32 cannot hold.
 */
int integer_find(struct ir_graph *g);
struct int_facts integer_facts(const struct ir_graph *g, const struct ir_op *op);	/* of op's first result, also while op is rewritten */
int integer_width(const struct ir_value *v, bool *is_signed);	/* 8, 16, 32, 64 */
bool integer_is(const struct ir_value *v);	/* has an integer type of ONNX, whatever holds it by now */

/* x how y on the host, in the type of op's result. */
struct ir_value *integer_host(struct build *b, const struct ir_op *op, enum mica_host_integer how, struct ir_value *x, struct ir_value *y);
/* Sums or products along axis 1 of [n,m], [n,1]. */
struct ir_value *integer_reduced(struct build *b, const struct ir_op *op, enum mica_host_integer how, struct ir_value *x);
/* Those so far along an axis. */
struct ir_value *integer_running(struct build *b, const struct ir_op *op, enum mica_host_integer how, struct ir_value *x, unsigned axis,
				 bool exclusive, bool reverse);

#endif /* MICA_ONNX_INTEGER_H */
