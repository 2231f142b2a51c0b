// SPDX-License-Identifier: MIT
/* Runs the f32 graph over the samples: every worker has a tracer of its own and takes the next sample. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "calibrate.h"

struct run {
	const struct mica_compile_options *o;
	const struct calib_sink *sink;
	atomic_uint next;
	atomic_uint failed; /* lowest sample that could not be run, or UINT_MAX */
};

struct worker {
	struct run *run;
	struct ir_tracer *tracer;
	pthread_t thread;
	bool started;
	unsigned index, sample, bad; /* bad: the sample of err */
	struct mica_err err;
};

static int load(void *opaque, const struct ir_value *input, float *dst, size_t n)
{
	struct worker *w = opaque;
	const struct mica_calib *c = &w->run->o->calib;

	return c->load(c->opaque, w->sample, input->name, dst, n, &w->err);
}

static void see(void *opaque, const struct ir_value *v, const void *codes, size_t n)
{
	struct worker *w = opaque;
	const struct calib_sink *s = w->run->sink;

	if (v->dtype == MICA_F32)
		s->see(s->opaque, w->index, w->sample, v, codes, n);
}

/* All samples below the one that failed are run, so that the error does not depend on the threads. */
static void *work(void *arg)
{
	struct worker *w = arg;
	struct run *r = w->run;
	struct ir_trace cb = { .load = load, .see = see, .opaque = w };

	while ((w->sample = atomic_fetch_add(&r->next, 1)) < r->o->calib.count) {
		unsigned failed = atomic_load(&r->failed);

		if (w->sample > failed)
			break;
		if (!w->index && r->o->progress)
			r->o->progress(r->o->progress_opaque, r->sink->stage, w->sample,
				       r->o->calib.count);
		if (!ir_tracer_run(w->tracer, &cb))
			continue;
		w->bad = w->sample;
		while (w->sample < failed &&
		       !atomic_compare_exchange_weak(&r->failed, &failed, w->sample))
			;
		break;
	}
	return NULL;
}

unsigned calib_workers(const struct mica_compile_options *o)
{
	unsigned n = o->threads ? o->threads : 1;

	n = n > 64 ? 64 : n;
	return n < o->calib.count ? n : o->calib.count ? o->calib.count : 1;
}

static int join(struct ir_graph *g, struct run *r, struct worker *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (w[i].started)
			pthread_join(w[i].thread, NULL);
	for (unsigned i = 0; i < n; i++)
		if (w[i].bad == atomic_load(&r->failed) && w[i].bad != UINT32_MAX)
			return mica_err_set(g->err,
					    w[i].err.code ? w[i].err.code : MICA_ERR_INTERNAL, "%s",
					    w[i].err.text);
	return 0;
}

int calib_run(struct ir_graph *g, const struct mica_compile_options *o,
	      const struct calib_sink *sink)
{
	struct run r = { .o = o, .sink = sink, .failed = UINT32_MAX };
	unsigned n = calib_workers(o), ready = 0;
	struct worker *w = ir_alloc(n, sizeof(*w));
	int ret = 0;

	for (; ready < n; ready++) {
		w[ready] = (struct worker){ .run = &r, .index = ready, .bad = UINT32_MAX };
		w[ready].tracer = ir_tracer_new(g, 1);
		if (!w[ready].tracer)
			break;
	}
	if (!ready) /* one is enough; the graph's error says why there is none */
		ret = -(int)(g->err->code ? g->err->code : MICA_ERR_MEMORY);
	else if (ready < n)
		g->err->code = MICA_ERR_NONE;
	for (unsigned i = 1; i < ready; i++)
		w[i].started = !pthread_create(&w[i].thread, NULL, work, &w[i]);
	if (ready)
		work(&w[0]);
	if (!ret)
		ret = join(g, &r, w, ready);
	for (unsigned i = 0; i < ready; i++)
		ir_tracer_free(w[i].tracer);
	free(w);
	return ret;
}
