// SPDX-License-Identifier: MIT
/*
 * A job that runs often: its streams become lists of commands, from barrier to barrier; what its time is and which copies
 * the CPU can leave out is worked out once. A run then only goes through a list, or through one list per core side by side.
 */
#include "prepare.h"

#include <stdlib.h>
#include <string.h>

#define MAX_VARIANTS	3u
#define MAX_PAIRS	8000000u	/* pairs of packets of a stretch that are compared: some tenths of a second */
#define MAX_ELIDED	16384u		/* packets of a job whose copies are looked at: half a KiB each while it lasts */

/* One way to run: which copies are left out depends on where the segments are. */
struct variant {
	struct commands list;
	uint32_t *first;		/* of the list, by stretch and core; one more at the end */
	uint64_t direct;		/* segments that packets reach through the window */
	union mica_pkt *patched;
};

struct mica_prepared {
	unsigned cores, variants, parallel;
	uint32_t stretches, packets, layers;
	uint32_t lmem_size;
	struct mica_layout layout;
	struct variant variant[MAX_VARIANTS];	/* the last one always works */
	struct mica_job_stats stats;
	struct mica_layer_stats *layer;
};

static int fail(struct mica_job_fault *fault, int code, unsigned core, uint32_t packet)
{
	if (fault)
		*fault = (struct mica_job_fault){ code, core, packet, MICA_OK, NULL };
	return code;
}

/* ---- Streams into lists and times ------------------------------------------------------------------------------------ */

struct reader {			/* one core's place in its stream */
	const uint8_t *at;
	uint32_t packet;
};

static const union mica_pkt *take(struct reader *r)
{
	const union mica_pkt *p = (const union mica_pkt *)r->at;

	r->at += p->hdr.units * (size_t)MICA_PKT_ALIGN;
	r->packet++;
	return p;
}

static uint32_t count_packets(const struct mica_job *job)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < job->cores; i++)
		bytes += job->stream_size[i];
	return bytes / MICA_PKT_ALIGN > UINT32_MAX / 2 ? 0 : (uint32_t)(bytes / MICA_PKT_ALIGN);
}

/* One core's packets up to its next BARRIER or END, which is returned; NULL: out of memory. */
static const union mica_pkt *read_stretch(struct mica_prepared *p, struct reader *r, unsigned core, struct mica_timeline *time)
{
	struct commands *l = &p->variant[0].list;

	for (;;) {
		uint32_t number = r->packet;
		const union mica_pkt *pkt = take(r);

		if (mica_timeline_packet(time, pkt))
			return NULL;
		if (pkt->hdr.opcode == MICA_OP_END || pkt->hdr.opcode == MICA_OP_BARRIER)
			return pkt;
		l->c[l->n++] = (struct command){ pkt, number, p->stretches, (uint8_t)core };
	}
}

static void meet(struct mica_timeline time[], unsigned cores)
{
	uint64_t when = 0;

	for (unsigned i = 0; i < cores; i++) {
		uint64_t t = mica_timeline_drain(&time[i]);

		when = t > when ? t : when;
	}
	for (unsigned i = 0; i < cores; i++)
		mica_timeline_barrier(&time[i], when);
}

static bool read_streams(struct mica_prepared *p, const struct mica_job *job, struct mica_timeline time[])
{
	struct reader reader[MICA_MAX_CORES];
	const union mica_pkt *last = NULL;

	for (unsigned i = 0; i < job->cores; i++)
		reader[i] = (struct reader){ job->stream[i], 0 };
	for (;;) {
		for (unsigned i = 0; i < job->cores; i++) {
			last = read_stretch(p, &reader[i], i, &time[i]);
			if (!last)
				return false;
		}
		p->stretches++;
		if (last->hdr.opcode == MICA_OP_END)
			return true;
		meet(time, job->cores);
	}
}

static bool read_and_time(struct mica_prepared *p, const struct mica_job *job)
{
	struct mica_timeline time[MICA_MAX_CORES], *all[MICA_MAX_CORES];
	unsigned n = 0;
	bool good = true;

	for (; n < job->cores && good; n++) {
		all[n] = &time[n];
		good = !mica_timeline_init(&time[n], &mica_params_default, job->cores, job->layers);
	}
	good = good && read_streams(p, job, time);
	if (good)
		mica_timeline_report(all, job->cores, &p->stats, p->layer, job->layers);
	while (n)
		mica_timeline_fini(&time[--n]);
	return good;
}

/* ---- What may run side by side ------------------------------------------------------------------------------------------ */

static bool meets_command(const struct access *x, unsigned n, const struct command *c)
{
	struct access y[ACCESS_MAX];
	unsigned m = access_of(c->p, c->core, y);

	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < m; j++)
			if (access_conflict(&x[i], &y[j]))
				return true;
	return false;
}

/* The rule of docs/isa.md: between two barriers no core touches a byte that another one writes. */
static bool cores_keep_apart(const struct commands *l)
{
	struct access x[ACCESS_MAX];
	uint64_t pairs = 0;

	for (uint32_t i = 0; i < l->n; i++) {
		unsigned n = access_of(l->c[i].p, l->c[i].core, x);

		for (uint32_t j = i + 1; j < l->n && l->c[j].stretch == l->c[i].stretch; j++)
			if (++pairs > MAX_PAIRS || (l->c[i].core != l->c[j].core && meets_command(x, n, &l->c[j])))
				return false;
	}
	return true;
}

/* ---- Variants ------------------------------------------------------------------------------------------------------------ */

static bool index_variant(const struct mica_prepared *p, struct variant *v)
{
	uint64_t places = (uint64_t)p->stretches * p->cores;
	uint32_t at = 0;

	v->first = malloc((places + 1) * sizeof(*v->first));
	if (!v->first)
		return false;
	for (uint64_t i = 0; i < places; i++) {
		v->first[i] = at;
		while (at < v->list.n && v->list.c[at].stretch == i / p->cores && v->list.c[at].core == i % p->cores)
			at++;
	}
	v->first[places] = at;
	return true;
}

/* The packets that did change move into as much memory as they take. */
static bool keep_patched(struct variant *v, const union mica_pkt *all, uint32_t patched)
{
	if (!patched)
		return true;
	v->patched = aligned_alloc(MICA_PKT_ALIGN, patched * sizeof(*all));
	if (!v->patched)
		return false;
	memcpy(v->patched, all, patched * sizeof(*all));
	for (uint32_t i = 0; i < v->list.n; i++)
		if (v->list.c[i].p >= all && v->list.c[i].p < all + patched)
			v->list.c[i].p = v->patched + (v->list.c[i].p - all);
	return true;
}

/* Variant `to` as a copy of the plain one, without the copies that `direct` makes needless. */
static bool elided_variant(const struct mica_prepared *p, const struct commands *plain, struct variant *to,
			   const struct mica_job *job, uint64_t direct)
{
	size_t bytes = (plain->n + 1ull) * sizeof(union mica_pkt);	/* all of them may change: pages that few of them touch */
	union mica_pkt *all = scratch_alloc(bytes);
	uint32_t patched = 0;
	bool good;

	to->direct = direct;
	to->list.n = plain->n;
	to->list.c = malloc((plain->n + 1ull) * sizeof(*plain->c));
	good = all && to->list.c;
	if (good)
		memcpy(to->list.c, plain->c, plain->n * sizeof(*plain->c));
	good = good && elide_copies(&to->list, job, &p->layout, direct, all, &patched) && keep_patched(to, all, patched);
	scratch_free(all, bytes);
	return good;
}

/* Memory that layout->segs names lies within 4 GiB behind every core's LMEM. */
static bool layout_fits(const struct mica_job *job, const struct mica_layout *l)
{
	for (unsigned s = 0; s < job->lim.segments; s++)
		for (unsigned c = 0; c < job->cores && l->segs >> s & 1; c++)
			if (l->seg[s] < l->lmem[c] + job->lim.lmem_size || job->lim.seg_size[s] > UINT32_MAX ||
			    l->seg[s] + job->lim.seg_size[s] - l->lmem[c] > UINT32_MAX)
				return false;
	return true;
}

/* With everything bound to its place; with inputs and outputs elsewhere; as the streams are. */
static bool make_variants(struct mica_prepared *p, const struct mica_job *job, const struct mica_layout *layout)
{
	const uint64_t inside = 1ull << MICA_SEG_ARENA;
	struct commands plain = p->variant[0].list;
	unsigned n = 0;

	p->parallel = job->cores > 1 && cores_keep_apart(&plain) ? job->cores : 1;
	p->variant[0].list = (struct commands){ 0 };
	p->variant[MAX_VARIANTS - 1].list = plain;	/* freed from there, whatever happens */
	if (layout && plain.n <= MAX_ELIDED && layout_fits(job, layout) && (job->cores == 1 || p->parallel > 1)) {
		p->layout = *layout;
		if (!elided_variant(p, &plain, &p->variant[n++], job, layout->segs))
			return false;
		if ((layout->segs & inside) && layout->segs != inside &&
		    !elided_variant(p, &plain, &p->variant[n++], job, inside))
			return false;
	}
	p->variant[MAX_VARIANTS - 1].list = (struct commands){ 0 };
	p->variant[n++].list = plain;
	p->variants = n;
	for (unsigned i = 0; i < n; i++)
		if (!index_variant(p, &p->variant[i]))
			return false;
	return true;
}

int mica_job_prepare(const struct mica_job *job, const struct mica_layout *layout, struct mica_prepared **out,
		     struct mica_job_fault *fault)
{
	uint32_t packets = count_packets(job);
	struct mica_prepared *p;
	int code = job->checked ? 0 : mica_job_check(job, fault);

	*out = NULL;
	if (code)
		return code;
	p = packets ? calloc(1, sizeof(*p)) : NULL;
	if (!p)
		return fail(fault, MICA_FAULT_BUS, 0, 0);
	p->cores = job->cores;
	p->layers = job->layers;
	p->lmem_size = job->lim.lmem_size;
	p->layer = calloc(job->layers + 1ull, sizeof(*p->layer));
	p->variant[0].list.c = malloc(packets * sizeof(struct command));
	if (!p->layer || !p->variant[0].list.c || !read_and_time(p, job) || !make_variants(p, job, layout)) {
		mica_prepared_free(p);
		return fail(fault, MICA_FAULT_BUS, 0, 0);
	}
	*out = p;
	return 0;
}

void mica_prepared_free(struct mica_prepared *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < MAX_VARIANTS; i++) {
		free(p->variant[i].list.c);
		free(p->variant[i].first);
		free(p->variant[i].patched);
	}
	free(p->layer);
	free(p);
}

void mica_prepared_stats(const struct mica_prepared *p, struct mica_job_stats *stats, struct mica_layer_stats *layer)
{
	*stats = p->stats;
	stats->layers = layer ? p->layers : 0;
	if (layer)
		memcpy(layer, p->layer, p->layers * sizeof(*layer));
}

unsigned mica_prepared_elided(const struct mica_prepared *p)
{
	return p->variant[p->variants - 1].list.n - p->variant[0].list.n;
}

unsigned mica_prepared_parallel(const struct mica_prepared *p)
{
	return p->parallel;
}

/* ---- Runs ------------------------------------------------------------------------------------------------------------- */

struct run {
	struct mica_engine *e;
	const struct mica_prepared *p;
	const struct variant *v;
	const struct mica_mem *mem;
	uint32_t stretch;
	struct mica_job_fault fault[MICA_MAX_CORES];
};

static void run_core(struct run *r, struct mica_engine *e, unsigned core)
{
	const uint32_t *first = r->v->first + (uint64_t)r->stretch * r->p->cores + core;
	struct mica_mem mem = *r->mem;

	mem.core = core;
	for (uint32_t i = first[0]; i < first[1]; i++) {
		const struct command *c = &r->v->list.c[i];
		int code = mica_exec(e, c->p, &mem);

		if (code) {
			fail(&r->fault[core], code, core, c->packet);
			return;
		}
	}
}

/* An item is an engine, always with the same cores: its scratch memory has the right size from the first run on. */
static void engine_item(void *ctx, uint32_t item, unsigned thread)
{
	struct run *r = ctx;

	(void)thread;
	for (unsigned core = item; core < r->p->cores; core += r->e->parts + 1)
		run_core(r, item ? r->e->part[item - 1] : r->e, core);
}

static bool in_place(const struct mica_prepared *p, const struct variant *v, const struct mica_binding *b)
{
	const struct mica_layout *l = &p->layout;

	if (!v->direct)
		return true;
	for (unsigned i = 0; i < p->cores; i++)
		if ((uintptr_t)b->lmem[i] - (uintptr_t)b->lmem[0] != l->lmem[i] - l->lmem[0])
			return false;
	for (unsigned s = 0; s < MICA_MAX_SEGMENTS; s++)
		if (v->direct >> s & 1 && (uintptr_t)b->seg[s] - (uintptr_t)b->lmem[0] != l->seg[s] - l->lmem[0])
			return false;
	return true;
}

static int run_all(struct run *r, struct mica_job_fault *fault)
{
	bool together = r->p->parallel > 1 && r->e->parts;

	for (; r->stretch < r->p->stretches; r->stretch++) {
		if (together)
			pool_run(r->e->cores, engine_item, r, r->e->parts + 1);
		for (unsigned i = 0; i < r->p->cores; i++) {
			if (!together)
				run_core(r, r->e, i);
			if (r->fault[i].code) {
				if (fault)
					*fault = r->fault[i];
				return r->fault[i].code;
			}
		}
	}
	return 0;
}

int mica_prepared_run(struct mica_engine *e, const struct mica_prepared *p, const struct mica_binding *b,
		      struct mica_job_fault *fault)
{
	struct mica_mem mem = { .lmem_size = p->lmem_size, .stop = b->stop };
	struct run r = { .e = e, .p = p, .mem = &mem, .v = p->variant };
	int code;

	memcpy(mem.lmem, b->lmem, sizeof(mem.lmem));
	memcpy(mem.seg, b->seg, sizeof(mem.seg));
	while (!in_place(p, r.v, b))
		r.v++;
	engine_begin(e);
	code = run_all(&r, fault);
	engine_end(e);
	return code;
}
