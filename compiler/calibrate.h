/* SPDX-License-Identifier: MIT */
/* Parts of pass `calibrate`: what samples show of the values, thresholds from that, and the table of them as text. */
#ifndef MICA_CALIBRATE_H
#define MICA_CALIBRATE_H

#include "front.h"

#define CALIB_BINS 2048

/* What was seen of a value. */
struct calib_stats {
	float min, max;		/* of the finite elements; 0 when count is 0 */
	uint64_t count;		/* elements */
	uint64_t strange;	/* NaN and infinite ones */
	uint64_t *bin;		/* CALIB_BINS counts of |x| over [0, largest |x|], or NULL */
};

static inline float calib_largest(const struct calib_stats *s)
{
	return -s->min > s->max ? -s->min : s->max;
}

/* ---- threshold.c: pure functions of the statistics ---- */

/* At which |x| a method clips; at most the largest |x|. dtype: the format that MSE rounds to. Without bins: the largest. */
float calib_threshold(const struct calib_stats *s, enum mica_method method, double percentile, int dtype);
bool calib_needs_bins(enum mica_method method);
const char *calib_method_name(enum mica_method method);
int calib_method_find(const char *name);	/* -1: unknown */

/* ---- calib_run.c: the f32 graph over all samples, by o->threads workers ---- */

struct calib_sink {
	/*
	 * Called with every value of every sample, by several threads: `worker` is below calib_workers(). Which worker gets a
	 * sample is not defined, so what is gathered must be combined in a way that any order gives the same.
	 */
	void (*see)(void *opaque, unsigned worker, unsigned sample, const struct ir_value *v, const float *x, size_t n);
	void *opaque;
	const char *stage;	/* for o->progress */
};
unsigned calib_workers(const struct mica_compile_options *o);
int calib_run(struct ir_graph *g, const struct mica_compile_options *o, const struct calib_sink *sink);

/* ---- calib_stats.c ---- */

/* Statistics by value id (g->values entries, to be freed with calib_stats_free); bins where want(v) says so (may be NULL). */
int calib_collect(struct ir_graph *g, const struct mica_compile_options *o,
		  bool (*want)(void *opaque, const struct ir_value *v), void *opaque, struct calib_stats **stats);
void calib_stats_free(struct calib_stats *stats, unsigned values);
/* Says on stderr what is suspicious about the samples. */
void calib_warn(const struct ir_graph *g, const struct mica_compile_options *o, const struct calib_stats *stats);

/* ---- calib_table.c: the table as text (docs/quantization.md) ---- */

struct calib_entry {
	char *tensor;
	enum mica_method method;
	bool automatic;		/* threshold "auto": by the method, from samples */
	float threshold, min, max;
	unsigned line;
	bool used;
};
struct calib_table {
	struct calib_entry *entry;
	unsigned count, cap;
	unsigned *slot, slots;	/* hash of the names: index + 1, or 0 */
	bool has_equalized;
	uint32_t equalized;	/* struct ir_graph's, when the table says so */
};
int calib_table_read(const char *path, struct calib_table *t, struct mica_err *err);
int calib_table_write(const char *path, const char *model, unsigned samples, const struct calib_table *t, struct mica_err *err);
struct calib_entry *calib_table_find(const struct calib_table *t, const char *tensor);
struct calib_entry *calib_table_add(struct calib_table *t, const char *tensor);	/* unless it is there */
void calib_table_free(struct calib_table *t);

#endif /* MICA_CALIBRATE_H */
