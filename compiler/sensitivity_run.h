/* SPDX-License-Identifier: MIT */
/* Candidates beside the f32 graph's run: what runs one of them on one sample. Who runs when is decided in sensitivity_race.c. */
#ifndef MICA_SENSITIVITY_RUN_H
#define MICA_SENSITIVITY_RUN_H

#include <pthread.h>
#include "sensitivity_parts.h"

struct sens_work {		/* a candidate that is ready to run */
	struct ir_graph *g;
	struct sens_plan plan;
	bool differs;		/* else its outputs are those of f32 */
	unsigned serial;	/* from 1 on */
	unsigned *last_use;	/* by value id: the run that reads it last; runs: an output */
	unsigned last_own;
};

struct sens_job {		/* one candidate on one sample */
	const struct sens_work *work;
	unsigned at;		/* place of the sample in the turn */
	struct sens_sums *sums;	/* by output: added to */
	float **value;		/* by output: kept there, or NULL */
};

struct sens_runner {
	struct sens *z;
	struct sens_base base;
	uint8_t **state;	/* by place in the turn: a sample's live f32 values, at the base's offsets */
	const unsigned *sample;	/* of the turn */
	unsigned samples, most;	/* of the turn; of any turn */
	unsigned step;		/* the state is that before it */
	struct sens_worker *worker;
	unsigned workers, serial;
	double walk_seconds, walk_cpu;

	/* what the workers do now */
	void (*call)(struct sens_worker *w, unsigned at);
	unsigned calls, to;	/* walk up to there */
	atomic_uint next;
	const struct sens_job *job;
};

/* most: samples side by side; fewer where they take more than sens_state_memory. */
int sens_runner_init(struct sens_runner *x, struct sens *z, unsigned most);
void sens_runner_fini(struct sens_runner *x);
/* The f32 graph's inputs of n samples; sample[] stays in use. */
int sens_runner_turn(struct sens_runner *x, const unsigned *sample, unsigned n);
/* The same turn in another order, all of it or its beginning: place i holds what was at from[i]. */
void sens_runner_reorder(struct sens_runner *x, const unsigned *sample, const unsigned *from, unsigned n);
int sens_runner_walk(struct sens_runner *x, unsigned to);	/* forward only */
int sens_runner_jobs(struct sens_runner *x, const struct sens_job *job, unsigned n);

int sens_work_make(struct sens_runner *x, struct sens_work *work, const struct sens_candidate *c);
void sens_work_free(struct sens_work *work);

#endif /* MICA_SENSITIVITY_RUN_H */
