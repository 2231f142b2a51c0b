/* SPDX-License-Identifier: MIT */
/* One run, shared by the files of `mica run`: run.c runs it, report.c tells what came out. */
#ifndef MICA_CLI_RUN_H
#define MICA_CLI_RUN_H

#include "cli.h"

#define RUN_MAX_INPUTS 48

struct run_args {
	struct mica_device_options dev;
	struct cli_sidecar sidecar;
	const char *model, *output;
	const char *input[RUN_MAX_INPUTS];
	unsigned input_count;
	double timeout;			/* 0: none */
	bool raw, json;
};

struct run {
	struct mica_device *dev;
	struct mica_device_info dev_info;
	struct mica_model *model;
	struct mica_session *session;
	struct mica_sidecar *sidecar;	/* or NULL */
	struct mica_image image;	/* the input image, if there is one */
	struct mica_placement where;
	struct mica_job_stats stats;
	float **output;			/* one array per output */
	uint64_t macs;
	unsigned cores;
	double seconds;
};

/* Writes the files and prints the results; exit code. */
int run_report(const struct run *r, const struct run_args *a);
/* MACs done per MAC that the cores could have done. */
double mac_utilization(const struct mica_job_stats *s, const struct mica_device_info *d);

#endif /* MICA_CLI_RUN_H */
