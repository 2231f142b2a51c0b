/* SPDX-License-Identifier: MIT */
/* The user's own measure for mica sensitivity: a command that gets a folder of outputs and prints a number. */
#ifndef MICA_SENSITIVITY_METRIC_H
#define MICA_SENSITIVITY_METRIC_H

#include "sensitivity.h"

struct sensitivity_metric;
int sensitivity_metric_open(const char *command, struct sensitivity_metric **out);	/* exit code */
/* struct mica_sensitivity_options.measure */
int sensitivity_metric_run(void *opaque, const struct sens_outputs *of, double *loss, struct mica_err *err);
void sensitivity_metric_close(struct sensitivity_metric *m);

#endif /* MICA_SENSITIVITY_METRIC_H */
