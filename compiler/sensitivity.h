/* SPDX-License-Identifier: MIT */
/* The search for what must stay in float: every operator, quantized alone, measured at the model's outputs (docs/quantization.md). */
#ifndef MICA_SENSITIVITY_H
#define MICA_SENSITIVITY_H

#include <stdatomic.h>
#include "compiler.h"

#define SENS_MOST 5		/* formats, and methods */

enum sens_metric { SENS_COS, SENS_SNR, SENS_COMMAND };
enum sens_search {
	SENS_FULL,		/* every operator and format on all samples; methods until it is certain that they are not the best one */
	SENS_FAST,		/* one pass on a few samples, one format and method; then straight to the target */
	SENS_NAIVE,		/* every candidate on all samples, through the whole network: what the measurement compares with */
};
enum sens_order { SENS_BY_LOSS, SENS_BY_CYCLES };

/* Outputs of some samples, for the user's own measure. */
struct sens_outputs {
	unsigned samples, outputs;
	char *const *name;
	const float *const *value;	/* [sample * outputs + output] */
	const unsigned *rank;		/* by output */
	const int64_t *const *dim;
};

struct mica_sensitivity_options {
	enum mica_dtype format[SENS_MOST], keep;
	enum mica_method method[SENS_MOST];
	unsigned formats, methods;
	enum sens_metric metric;
	enum sens_search search;
	enum sens_order order;
	bool worst;			/* of all outputs and samples, instead of their mean */
	bool limited;			/* at most max_float operators stay in float */
	unsigned max_float;
	double target;			/* cosine; 0: none */
	bool resume;
	const char *qtable, *table, *log;	/* files to write */
	const char *ranking;		/* file, or NULL: stdout */
	/* The user's measure of outputs, less is better. With SENS_COMMAND. 0 or -code. */
	int (*measure)(void *opaque, const struct sens_outputs *of, double *loss, struct mica_err *err);
	void *measure_opaque;
	const atomic_bool *stop;	/* becomes true: finish with what there is. May be NULL */
};

/* What was done; filled as far as it got. */
struct mica_sensitivity_result {
	bool stopped, reached;
	unsigned operators, candidates, computed, resumed, kept, samples;
	unsigned dropped;		/* of computed: on fewer samples, because another method of the operator loses less */
	double cosine, start_cosine;	/* of the mixed network; of the one without operators in float */
	double prepare_seconds, search_seconds, pick_seconds;
	double prefix_seconds;		/* of search_seconds: the f32 run over all samples; 0: they took turns */
	double search_cpu, prefix_cpu;	/* the same as processor time of all threads */
};

void mica_sensitivity_defaults(struct mica_sensitivity_options *s);
/* o: how to import, calibrate and quantize (format, method and qtable are not used). 0 or -code; stopped is no error. */
int mica_sensitivity(const char *onnx_path, const struct mica_compile_options *o, const struct mica_sensitivity_options *s,
		     struct mica_sensitivity_result *r, struct mica_err *err);

#endif /* MICA_SENSITIVITY_H */
