/* SPDX-License-Identifier: MIT */
/* Parts of the search for sensitive operators. */
#ifndef MICA_SENSITIVITY_PARTS_H
#define MICA_SENSITIVITY_PARTS_H

#include "calibrate.h"
#include "sensitivity.h"
#include "trace.h"

struct sens_score { double loss, cosine, snr; };	/* snr: in dB */

struct sens_op {		/* what a line of a qtable chooses: all operators of one name */
	const char *name;	/* of the f32 graph */
	const struct ir_op *first;
	unsigned step;		/* of its first operator */
	uint64_t macs;
	uint64_t cycles[SENS_MOST], float_cycles;	/* by format; in `keep` */
	int best[SENS_MOST];	/* by format: candidate with the least loss, or -1: the format changes nothing */
	bool kept;
};

struct sens_candidate {
	unsigned op, format, method;	/* indices */
	float threshold;		/* largest that its values are clipped to; 0: none */
	int same;			/* an earlier candidate that computes the same, or -1 */
	unsigned begins;		/* step from which the graph differs */
	bool known;
	unsigned samples;		/* behind the score; fewer than all: lost against another method, the score is what it loses at least */
	struct sens_score score;
};

/* By which a value is known again: of a few of its elements, which tells most differences at once, and of all. */
struct sens_print { uint64_t glance, hash; };

struct sens_sums { double xy, xx, yy, dd; };

struct sens {
	struct ir_graph *g;		/* f32, as calibrated */
	struct mica_compile_options o;	/* for the passes: quiet, samples from memory */
	const struct mica_sensitivity_options *s;
	struct mica_sensitivity_result *r;
	const char *path;

	/* samples */
	struct mica_calib from;		/* where they come from */
	float **input;			/* [sample * inputs + input], or NULL: loaded each time */
	unsigned samples;
	float **reference;		/* [sample * outputs + output]: what f32 gives */
	struct sens_print *print;	/* [sample * steps + step]: of every f32 value */
	double base_measure;		/* the user's measure of f32 */
	unsigned *order;		/* samples, those that lose most first; NULL: unknown */

	/* ranges */
	struct calib_stats *stats;
	float *threshold[SENS_MOST][SENS_MOST];	/* [format][method], by value id, groups joined */
	unsigned *group;		/* by value id: the value that stands for its group */

	unsigned *step_of;		/* by op id; UINT_MAX: none */
	unsigned steps;
	struct sens_op *op;
	unsigned ops;
	struct sens_candidate *candidate;	/* in the order of the log: by operator, format, method */
	unsigned candidates;
	bool **touched;			/* [op * formats + format], by value id: its codes matter to the operator; or NULL */
	int *choice;			/* by value id: index of the method, or -1: the general one */
	FILE *log;
	bool warn;			/* of suspicious samples */
};

bool sens_stopped(const struct sens *z);

/* ---- sensitivity_space.c: ranges, candidates, their graphs ---- */
int sens_ranges(struct sens *z);
int sens_candidates(struct sens *z);
/* The graph with one operator in a format, quantized; the caller frees it. NULL with the error set. */
struct ir_graph *sens_alone(const struct sens *z, const struct sens_candidate *c, struct mica_err *err);
/* The whole network in formats[0] but for the operators that are kept, repairs included. method: for all tensors, or -1: z->choice. */
struct ir_graph *sens_mixed(const struct sens *z, int method, struct mica_err *err);
enum mica_method sens_method_of(const struct sens *z, const struct ir_value *v, int method);	/* index or -1 as above */

/* ---- sensitivity_whole.c: whole networks, sample by sample ---- */
int sens_load(struct sens *z);			/* samples into memory, if they fit */
int sens_reference(struct sens *z);		/* f32 outputs, hashes of all values */
uint64_t sens_hash(const void *p, size_t bytes);
uint64_t sens_glance(const float *x, size_t n);
void sens_compare(struct sens_sums *s, const float *x, const float *y, size_t n);
/* of: samples that the mean is over; more than there are here: what it is at least. */
struct sens_score sens_score_of(const struct sens *z, const struct sens_sums *sums, unsigned samples, unsigned of);
/* Runs g on all samples and scores its outputs against f32. */
int sens_whole(struct sens *z, struct ir_graph *g, bool measure, struct sens_score *score);	/* measure: by the user's command, too */
/* The user's measure, relative to f32. value: [sample * outputs + output]. */
int sens_measure(const struct sens *z, float *const *value, double *loss);
float **sens_values_new(const struct sens *z, unsigned samples);
void sens_values_free(const struct sens *z, float **v, unsigned samples);
int sens_calib_load(void *opaque, unsigned sample, const char *input, float *dst, size_t n, struct mica_err *err);

/* ---- sensitivity_plan.c: what of a candidate's graph must run ---- */

struct sens_base {		/* the f32 graph, lowered once */
	struct ir_tracer t;
	struct ir_op **op;	/* by step */
	unsigned *from;		/* by step: its packets are [from, t.end) */
};
int sens_base_init(struct sens_base *b, const struct sens *z);
void sens_base_fini(struct sens_base *b);

struct sens_run {		/* one operator to run */
	struct ir_op *op;	/* of the candidate's graph */
	unsigned from, to;
	bool own;		/* packets of the plan, else of the base */
	unsigned step;		/* of the f32 graph where its result can be compared; UINT_MAX: it cannot */
};
struct sens_take {		/* a value that comes from the f32 graph's state */
	const struct ir_value *v;	/* of the candidate's graph: f32, or the codes to make */
	unsigned id;
};
struct sens_plan {
	struct ir_tracer t;	/* of the candidate's graph: offsets, packets and blob of what differs */
	unsigned begins;	/* step of the f32 graph */
	struct sens_run *run;
	unsigned runs, run_cap;
	struct sens_take *take;
	unsigned takes, take_cap;
	struct ir_value **constant;	/* own ones in LMEM */
	unsigned constants, constant_cap;
};
/* False: nothing that reaches an output differs (plan is empty). ret: 0 or -code. lower: false finds only what differs. */
bool sens_plan_make(struct sens_plan *p, const struct sens *z, const struct sens_base *b, struct ir_graph *g, bool lower, int *ret);
void sens_plan_fini(struct sens_plan *p);

/* ---- sensitivity_race.c: candidates beside the f32 graph's run (sensitivity_run.h) ---- */
/* Bytes of live f32 values; more samples than fit take turns. Tests lower it. */
extern size_t sens_state_memory;
/* order: candidates by where they begin. done: called for every candidate that is computed, in order. */
int sens_search(struct sens *z, const unsigned *order, unsigned n, int (*done)(struct sens *z, struct sens_candidate *c));

/* ---- sensitivity_log.c ---- */
int sens_log_open(struct sens *z);		/* reads it for --resume, else begins it */
int sens_log_put(struct sens *z, const struct sens_candidate *c);
int sens_log_order(struct sens *z);		/* of samples, for --resume */
void sens_log_close(struct sens *z);
const char *sens_format_name(enum mica_dtype t);

/* ---- sensitivity_pick.c ---- */
int sens_pick(struct sens *z);			/* op[].kept and choice[] */
void sens_choose_methods(struct sens *z);
double sens_saved(const struct sens *z, const struct sens_op *op);	/* the loss that goes when it is kept */
double sens_worth(const struct sens *z, const struct sens_op *op);	/* by which it is picked: saved, or saved per cycle */
void sens_order_ops(const struct sens *z, unsigned *order);

/* ---- sensitivity_out.c ---- */
int sens_cycles(struct sens *z);		/* op[].cycles */
int sens_write_tables(struct sens *z);
int sens_write_ranking(struct sens *z);

#endif /* MICA_SENSITIVITY_PARTS_H */
