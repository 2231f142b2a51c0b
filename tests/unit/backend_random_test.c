// SPDX-License-Identifier: MIT
/*
 * The compiler's back half: random graphs are compiled for several LMEM sizes and core counts and must compute the same
 * bits as the tracer, which runs whole tensors one operator at a time. Memory starts out as garbage.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "graph_util.h"

struct want { void **codes; size_t *size; unsigned count; uint64_t seed; unsigned out[MICA_MAX_SEGMENTS]; };	/* out: ids */

static int load(void *opaque, const struct ir_value *input, float *dst, size_t n)
{
	struct want *w = opaque;

	gen_rng = w->seed + input->id;
	for (size_t i = 0; i < n; i++)
		dst[i] = gen_float();
	return 0;
}

static void see(void *opaque, const struct ir_value *v, const void *codes, size_t n)
{
	struct want *w = opaque;
	size_t size = n * ir_dtype_size(v->dtype);

	if (v->id >= w->count)
		return;
	w->codes[v->id] = realloc(w->codes[v->id], size);
	w->size[v->id] = size;
	memcpy(w->codes[v->id], codes, size);
}

static void trace(struct ir_graph *g, struct want *w, uint64_t seed)
{
	struct ir_tracer *t = ir_tracer_new(g, 1);
	struct ir_trace cb = { load, see, w };

	if (!t)
		fail_msg("tracer: %s", g->err->text);
	w->count = g->values;
	w->codes = ir_alloc(w->count, sizeof(*w->codes));
	w->size = ir_alloc(w->count, sizeof(*w->size));
	w->seed = seed;
	for (unsigned i = 0; i < g->values; i++)
		if (g->value[i] && g->value[i]->data)
			see(w, g->value[i], g->value[i]->data, (size_t)ir_elements(g->value[i]));
	if (ir_tracer_run(t, &cb))
		fail_msg("tracer: %s", g->err->text);
	ir_tracer_free(t);
}

static void want_fini(struct want *w)
{
	for (unsigned i = 0; i < w->count; i++)
		free(w->codes[i]);
	free(w->codes);
	free(w->size);
}

static void *garbage(size_t n)
{
	uint8_t *p = aligned_alloc(64, (n + 127) & ~(size_t)63);

	assert_non_null(p);
	memset(p, 0xa5, n);
	return p;
}

static unsigned count_copies(const struct mica_job *job)
{
	unsigned n = 0;

	for (unsigned i = 0; i < job->cores; i++)
		for (const uint8_t *at = job->stream[i]; *at != MICA_OP_END; at += ((const struct mica_pkt_hdr *)at)->units * 64)
			n += *at == MICA_OP_COPY;
	return n;
}

/* How a job is run: straight from its streams, or prepared, with copies left out where its segments are in place. */
enum way { STRAIGHT, PREPARED, IO_ELSEWHERE, WAYS };

static unsigned long copies, elided;

/* All memories of a job in one piece, LMEM first. */
struct window { uint8_t *mem, *elsewhere[MICA_MAX_SEGMENTS]; struct mica_layout at; };

static void place_memories(struct window *w, struct mica_job *job, const struct mica_compiled *c, bool io_elsewhere)
{
	size_t end = 0;

	*w = (struct window){ 0 };
	for (unsigned i = 0; i < c->cores; i++, end += (c->lmem + 63) & ~63u)
		w->at.lmem[i] = end;
	for (unsigned i = 1; i < job->lim.segments; i++, end += (job->lim.seg_size[i - 1] + 127) & ~(size_t)63) {
		w->at.seg[i] = end;
		w->at.segs |= 1ull << i;
	}
	w->mem = garbage(end + job->lim.seg_size[job->lim.segments - 1]);
	for (unsigned i = 0; i < c->cores; i++)
		job->lmem[i] = w->mem + w->at.lmem[i];
	for (unsigned i = 1; i < job->lim.segments; i++) {
		if (io_elsewhere && i >= MICA_SEG_IO)
			w->elsewhere[i] = garbage(job->lim.seg_size[i]);
		job->seg[i] = w->elsewhere[i] ? w->elsewhere[i] : w->mem + w->at.seg[i];
	}
}

static int run_prepared(struct mica_engine *e, const struct mica_job *job, const struct mica_layout *at,
			struct mica_job_fault *fault)
{
	struct mica_binding b = { 0 };
	struct mica_prepared *p;
	int code = mica_job_prepare(job, at, &p, fault);

	if (code)
		return code;
	elided += mica_prepared_elided(p);
	copies += count_copies(job);
	memcpy(b.seg, job->seg, sizeof(b.seg));
	memcpy(b.lmem, job->lmem, sizeof(b.lmem));
	code = mica_prepared_run(e, p, &b, fault);
	mica_prepared_free(p);
	return code;
}

static void run_hosts(const struct mica_compiled *c, const struct be_phase *p, struct mica_job *job, const char *what)
{
	for (unsigned i = 0; i < p->hosts; i++) {
		const struct mica_host_step *h = &c->state.host[p->host + i];
		struct mica_host_call call = { .step = h, .scratch = malloc(mica_host_scratch(h) + 1) };

		for (unsigned k = 0; k < h->ins; k++)
			call.in[k] = (void *)(job->seg[MICA_ADDR_SEG(h->in[k].addr)] + MICA_ADDR_OFF(h->in[k].addr));
		call.out = (void *)(job->seg[MICA_ADDR_SEG(h->out.addr)] + MICA_ADDR_OFF(h->out.addr));
		if (mica_host_run(&call))
			fail_msg("%s: host step %u: %s", what, i, call.why);
		free(call.scratch);
	}
}

/* Memory full of garbage; LMEM again in front of each phase. */
static void run_phases(struct mica_engine *e, const struct mica_compiled *c, struct mica_job *job, enum way way,
		       const struct mica_layout *at, const char *what)
{
	struct mica_job_fault fault = { 0 };

	for (unsigned k = 0; k < c->state.phases; k++) {
		struct mica_job phase;
		int code = 0;

		mica_compiled_phase(c, k, &phase);
		for (unsigned i = 0; i < c->cores; i++) {
			job->stream[i] = phase.stream[i];
			job->stream_size[i] = phase.stream_size[i];
			memset(job->lmem[i], 0xa5, c->lmem);
		}
		if (c->state.phase[k].device)
			code = way == STRAIGHT ? mica_job_run(e, job, &fault) : run_prepared(e, job, at, &fault);
		if (code)
			fail_msg("%s, way %u: fault %d, core %u, packet %u: %s %s", what, way, fault.code, fault.core, fault.packet,
				 mica_check_name(fault.check), fault.field ? fault.field : "-");
		run_hosts(c, &c->state.phase[k], job, what);
	}
}

static void run_job(struct mica_engine *e, const struct mica_compiled *c, const struct want *w, const char *what)
{
	const struct ir_graph *g = c->g;

	for (enum way way = STRAIGHT; way < WAYS; way++) {
		struct mica_job job;
		struct window mem;

		mica_compiled_job(c, &job);
		place_memories(&mem, &job, c, way == IO_ELSEWHERE);
		job.seg[MICA_SEG_WEIGHTS] = c->state.blob.data;
		for (unsigned i = 0; i < g->inputs; i++)
			memcpy(job.seg[MICA_SEG_IO + i], w->codes[g->input[i]->id], w->size[g->input[i]->id]);
		run_phases(e, c, &job, way, &mem.at, what);
		for (unsigned i = 0; i < g->outputs; i++) {
			const uint8_t *a = job.seg[MICA_SEG_IO + g->inputs + i], *b = w->codes[w->out[i]];

			for (size_t k = 0; k < w->size[w->out[i]]; k++)
				if (a[k] != b[k])
					fail_msg("%s, way %u: output %u ('%s'), byte %zu of %zu is %02x, not %02x", what, way, i,
						 c->output_name[i], k, w->size[w->out[i]], a[k], b[k]);
		}
		for (unsigned i = 1; i < job.lim.segments; i++)
			free(mem.elsewhere[i]);
		free(mem.mem);
	}
}

static unsigned tried, refused, taken[MICA_SAVINGS];

static void compile_and_run(struct mica_engine *e, struct ir_graph *g, const struct want *w, uint32_t lmem, unsigned cores, unsigned no_pass, const char *name)
{
	struct mica_compile_options o = { .cores = cores, .lmem = lmem, .format = MICA_E4M3, .no_pass = no_pass,
					  .minimize = no_pass & 1 ? MICA_MINIMIZE_TIME : MICA_MINIMIZE_MEMORY };
	struct mica_compiled c;
	char what[128];
	int ret;

	snprintf(what, sizeof(what), "%s, %u KiB, %u cores, without %#x", name, lmem >> 10, cores, no_pass);
	if (getenv("MICA_VERBOSE"))
		fprintf(stderr, "%s\n", what);
	ret = mica_backend_compile(g, &o, &c);
	tried++;
	if (ret == -MICA_ERR_MEMORY) {		/* an operator's smallest tile can be too large for it; that must be said */
		assert_non_null(strstr(g->err->text, "--lmem"));
		refused++;
		memset(g->err, 0, sizeof(*g->err));
	} else if (ret) {
		fail_msg("%s: %s", what, g->err->text);
	} else {
		for (unsigned i = 0; i < MICA_SAVINGS; i++)
			taken[i] += c.memory.gain[i].taken;
		run_job(e, &c, w, what);
	}
	mica_compiled_fini(&c);
}

/* Which steps that save memory are left out: none in every third compilation, else any of them. */
static unsigned toggles(uint64_t n)
{
	n = (n + 1) * 0x9e3779b97f4a7c15ull;
	return n >> 60 < 5 ? 0 : (unsigned)(n >> 32) & ((1u << MICA_SAVINGS) - 1);
}

static void check_graph(struct mica_engine *e, uint64_t seed)
{
	static const uint32_t lmem[] = { 2 << 20, 256 << 10, 64 << 10, 24 << 10, 12 << 10 };
	struct gen t;
	struct want w = { 0 };
	unsigned n = 0;
	char name[64];

	gen_graph(&t, seed);
	snprintf(name, sizeof(name), "graph %llu (%s)", (unsigned long long)seed, ir_dtype_name(t.dtype));
	if (getenv("MICA_VERBOSE"))
		ir_print(t.g, stderr);
	trace(t.g, &w, seed);
	for (unsigned i = 0; i < t.g->outputs; i++)
		w.out[i] = t.g->output[i]->id;
	for (unsigned i = 0; i < sizeof(lmem) / sizeof(*lmem); i++) {
		for (unsigned cores = 1; cores <= 4; cores += i ? 1 + (unsigned)(seed % 3) : 1) {
			ir_graph_free(t.g);	/* the compiler rewrites its graph */
			gen_graph(&t, seed);
			compile_and_run(e, t.g, &w, lmem[i], cores, toggles(seed * 100 + n++), name);
		}
	}
	want_fini(&w);
	ir_graph_free(t.g);
}

static void random_graphs_compute_what_the_tracer_computes(void **state)
{
	const char *only = getenv("MICA_GRAPH"), *count = getenv("MICA_GRAPHS");
	unsigned n = count ? (unsigned)atoi(count) : 300;
	struct mica_engine *e = mica_engine_create_cores(MICA_ISA_AUTO, 3, 3);	/* up to three streams side by side */

	(void)state;
	assert_non_null(e);
	tried = refused = 0;
	if (only)
		check_graph(e, strtoull(only, NULL, 0));
	for (unsigned i = 0; i < n && !only; i++)
		check_graph(e, i);
	print_message("%u compilations, %u refused for want of LMEM\n", tried, refused);
	print_message("%lu of %lu copies left out\n", elided, copies);
	for (unsigned i = MICA_SAVE_VIEWS; i < MICA_SAVE_RESIDENCY; i++)
		print_message("%s: taken %u times\n", mica_saving_name(i), taken[i]);
	assert_true(only || refused * 5 < tried);
	assert_true(only || elided * 5 > copies);
	mica_engine_destroy(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_graphs_compute_what_the_tracer_computes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
