// SPDX-License-Identifier: MIT
/* How long the compiled streams take on the device: the same cycle model that the device and the CPU backend report. */
#include <stdlib.h>
#include <string.h>
#include "backend.h"

/* Feeds one core's packets up to its next barrier (or the end of a phase, which is one) to the timeline. */
static int run_to_barrier(const struct mica_compiled *c, unsigned core, size_t *at, struct mica_timeline *t)
{
	while (*at < c->stream_size[core]) {
		const union mica_pkt *p = (const union mica_pkt *)(c->stream[core] + *at);

		*at += (size_t)p->hdr.units * MICA_PKT_ALIGN;
		if (mica_timeline_packet(t, p))
			return -1;
		if (p->hdr.opcode == MICA_OP_BARRIER || p->hdr.opcode == MICA_OP_END)
			return 0;
	}
	return 0;
}

int be_cycles(const struct mica_compiled *c, struct mica_job_stats *stats, struct mica_layer_stats *layer)
{
	struct mica_timeline time[MICA_MAX_CORES], *t[MICA_MAX_CORES];
	size_t at[MICA_MAX_CORES] = { 0 };
	bool end = !c->stream_size[0];
	int ret = 0;

	for (unsigned i = 0; i < c->cores; i++) {
		ret |= mica_timeline_init(&time[i], &mica_params_default, c->cores, c->state.steps);
		t[i] = &time[i];
	}
	while (!end && !ret) {
		uint64_t when = 0;

		for (unsigned i = 0; i < c->cores && !ret; i++) {
			ret = run_to_barrier(c, i, &at[i], t[i]);
			when = mica_timeline_drain(t[i]) > when ? mica_timeline_drain(t[i]) : when;
		}
		end = at[0] >= c->stream_size[0];
		for (unsigned i = 0; i < c->cores && !end; i++)
			mica_timeline_barrier(t[i], when);
	}
	if (!ret)
		mica_timeline_report(t, c->cores, stats, layer, c->state.steps);
	for (unsigned i = 0; i < c->cores; i++)
		mica_timeline_fini(&time[i]);
	return ret ? mica_err_set(c->g->err, MICA_ERR_MEMORY, "%s: out of memory", c->g->name) : 0;
}
