/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Job descriptor: fetched once by DMA, then checked field by field. FAULT_INFO tells the offset of the refused one. */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "mica_internal.h"

#define VA_END		(1ull << MICA_VA_BITS)
#define MAX_STREAM	(256u << 20)	/* bounds what the timeline remembers of the packets between two barriers */
#define MAX_LAYERS	65536u		/* pkt_hdr.layer is 16 bits wide */
#define DESC_OFFSET(member)	((uint32_t)offsetof(struct mica_job_desc, member))

static bool fetch(struct mica_core *c, uint64_t addr)
{
	struct mica_job_desc *d = &c->run.desc;
	MicaState *s = c->s;

	if (!mica_bus_read(s, addr, d, sizeof(*d)))
		return false;
	QEMU_LOCK_GUARD(&s->lock);
	if (s->inject.bad_ring) {
		s->inject.bad_ring = false;
		d->magic ^= 1;
		mica_inject_struck(s, "corrupt descriptor");
	}
	return true;
}

static void desc_from_le(struct mica_job_desc *d)
{
	d->magic = le32_to_cpu(d->magic);
	d->cores = le32_to_cpu(d->cores);
	d->segments = le32_to_cpu(d->segments);
	d->stats_segment = le32_to_cpu(d->stats_segment);
	d->flags = le32_to_cpu(d->flags);
	for (unsigned i = 0; i < MICA_JOB_STREAMS; i++) {
		d->stream[i].va = le64_to_cpu(d->stream[i].va);
		d->stream[i].size = le32_to_cpu(d->stream[i].size);
	}
	for (unsigned i = 0; i < MICA_JOB_SEGMENTS; i++) {
		d->segment[i].va = le64_to_cpu(d->segment[i].va);
		d->segment[i].size_flags = le64_to_cpu(d->segment[i].size_flags);
	}
}

static bool in_va_space(uint64_t va, uint64_t size)
{
	return va < VA_END && size <= VA_END - va;
}

/* 0, or the offset of the first field that is wrong (magic, at 0, is told as 4: nothing else makes sense then). */
static uint32_t check_head(const struct mica_job_desc *d, unsigned cores)
{
	if (d->magic != MICA_JOB_MAGIC || d->cores != cores)
		return DESC_OFFSET(cores);
	if (d->segments > MICA_JOB_SEGMENTS)
		return DESC_OFFSET(segments);
	if (d->stats_segment != MICA_JOB_NO_STATS && d->stats_segment >= d->segments)
		return DESC_OFFSET(stats_segment);
	if (d->flags)
		return DESC_OFFSET(flags);
	if (!buffer_is_zero(d->rsvd, sizeof(d->rsvd)))
		return DESC_OFFSET(rsvd);
	if (!buffer_is_zero(d->rsvd1, sizeof(d->rsvd1)))
		return DESC_OFFSET(rsvd1);
	return 0;
}

static uint32_t check_streams(const struct mica_job_desc *d)
{
	for (unsigned i = 0; i < d->cores; i++) {
		const struct mica_job_stream *st = &d->stream[i];

		if (!st->size || st->size > MAX_STREAM || st->size % MICA_PKT_ALIGN || st->rsvd || !in_va_space(st->va, st->size))
			return DESC_OFFSET(stream) + i * sizeof(*st);
	}
	return 0;
}

static uint32_t check_segments(const struct mica_job_desc *d)
{
	for (unsigned i = 0; i < d->segments; i++) {
		const struct mica_job_segment *sg = &d->segment[i];

		if (sg->size_flags & ~(MICA_SEGMENT_WRITE | MICA_SEGMENT_SIZE_MASK) ||
		    !in_va_space(sg->va, sg->size_flags & MICA_SEGMENT_SIZE_MASK))
			return DESC_OFFSET(segment) + i * sizeof(*sg);
	}
	return 0;
}

static uint32_t check_stats(const struct mica_job_desc *d)
{
	uint64_t flags;

	if (d->stats_segment == MICA_JOB_NO_STATS)
		return 0;
	flags = d->segment[d->stats_segment].size_flags;
	if (!(flags & MICA_SEGMENT_WRITE) || (flags & MICA_SEGMENT_SIZE_MASK) < sizeof(struct mica_job_stats))
		return DESC_OFFSET(stats_segment);
	return 0;
}

static void set_limits(struct mica_core *c)
{
	struct mica_run *r = &c->run;
	const struct mica_job_desc *d = &r->desc;

	r->lim.lmem_size = c->s->lmem_size;
	r->lim.cores = d->cores;
	r->lim.segments = d->segments;
	for (unsigned i = 0; i < d->segments; i++) {
		r->lim.seg_size[i] = d->segment[i].size_flags & MICA_SEGMENT_SIZE_MASK;
		r->lim.seg_write[i] = d->segment[i].size_flags & MICA_SEGMENT_WRITE;
	}
	r->layers = 0;
	if (d->stats_segment != MICA_JOB_NO_STATS) {
		uint64_t room = r->lim.seg_size[d->stats_segment] - sizeof(struct mica_job_stats);

		r->layers = MIN(room / sizeof(struct mica_layer_stats), MAX_LAYERS);
	}
}

/* The GANG register must agree with itself: this core is the index-th of the set. */
static bool gang_is_sound(const struct mica_core *c)
{
	uint32_t gang = MICA_CREG(c, GANG), cores = MICA_FIELD(gang, MICA_GANG_CORES_MASK);
	uint32_t below = cores & ((1u << c->index) - 1);

	return cores & (1u << c->index) && cores < (1u << c->s->cores) &&
	       ctpop32(below) == (gang & MICA_GANG_INDEX_MASK) &&
	       !(gang & ~(MICA_GANG_INDEX_MASK | MICA_GANG_CORES_MASK));
}

int mica_desc_fetch(struct mica_core *c)
{
	struct mica_run *r = &c->run;
	uint64_t addr = MICA_CREG64(c, DESC);
	uint32_t cores = MICA_FIELD(MICA_CREG(c, GANG), MICA_GANG_CORES_MASK);

	r->fault_addr = addr;
	if (!fetch(c, addr)) {
		mica_bus_error(c->s, addr);
		return MICA_FAULT_BUS;
	}
	desc_from_le(&r->desc);
	r->fault_info = gang_is_sound(c) ? check_head(&r->desc, ctpop32(cores)) : DESC_OFFSET(cores);
	if (!r->fault_info)
		r->fault_info = check_streams(&r->desc);
	if (!r->fault_info)
		r->fault_info = check_segments(&r->desc);
	if (!r->fault_info)
		r->fault_info = check_stats(&r->desc);
	if (r->fault_info)
		return MICA_FAULT_DESC;
	r->fault_addr = 0;
	r->index = MICA_CREG(c, GANG) & MICA_GANG_INDEX_MASK;
	set_limits(c);
	return 0;
}
