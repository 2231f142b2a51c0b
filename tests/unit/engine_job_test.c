// SPDX-License-Identifier: MIT
/* Whole jobs: barriers, faults, stopping, cores that exchange data, and the time a job is said to take. */
#include "engine_internal.h"
#include "engine_util.h"

#define LMEM	65536u
#define SEG	65536u

struct fixture {
	struct mica_job job;
	struct mica_engine *engine;
	uint8_t *stream[2];
	size_t used[2];
	struct mica_job_stats stats;
	struct mica_layer_stats layer[4];
	struct mica_job_fault fault;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->engine = mica_engine_create(MICA_ISA_AUTO, 2);
	f->job.cores = f->job.lim.cores = 2;
	f->job.lim.lmem_size = LMEM;
	f->job.lim.segments = 3;
	for (int i = 0; i < 3; i++) {
		f->job.seg[i] = aligned_alloc(64, SEG);
		memset(f->job.seg[i], 0x30 + i, SEG);
		f->job.lim.seg_size[i] = SEG;
		f->job.lim.seg_write[i] = i == 1;
	}
	for (int i = 0; i < 2; i++) {
		f->job.lmem[i] = aligned_alloc(64, LMEM);
		f->stream[i] = aligned_alloc(64, 1 << 16);
		f->job.stream[i] = f->stream[i];
	}
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 3; i++)
		free(f->job.seg[i]);
	for (int i = 0; i < 2; i++) {
		free(f->job.lmem[i]);
		free(f->stream[i]);
	}
	mica_engine_destroy(f->engine);
	free(f);
	return 0;
}

static void emit(struct fixture *f, unsigned core, union mica_pkt p)
{
	size_t size = p.hdr.units * 64u;

	memcpy(f->stream[core] + f->used[core], &p, size);
	f->used[core] += size;
	f->job.stream_size[core] = f->used[core];
}

static void emit_barrier(struct fixture *f, unsigned core, uint32_t id)
{
	union mica_pkt p = packet(MICA_OP_BARRIER);

	p.ctl.id = id;
	emit(f, core, p);
}

static void emit_end(struct fixture *f, unsigned core)
{
	emit(f, core, packet(MICA_OP_END));
}

static union mica_pkt line(uint64_t dst, uint64_t src, uint32_t bytes)
{
	union mica_pkt p = packet(MICA_OP_COPY);

	p.copy.dst = dst;
	p.copy.src = src;
	p.copy.elem = 1;
	p.copy.dim[0] = p.copy.dim[1] = p.copy.dim[2] = 1;
	p.copy.dim[3] = bytes;
	p.copy.dst_stride[3] = p.copy.src_stride[3] = 1;
	return p;
}

static union mica_pkt fill_byte(uint32_t at, uint32_t bytes, uint8_t value)
{
	union mica_pkt p = packet(MICA_OP_FILL);

	p.fill.dst = dense_view(at, MICA_U8, 1, 1, 1, bytes);
	p.fill.dim[0] = p.fill.dim[1] = p.fill.dim[2] = 1;
	p.fill.dim[3] = bytes;
	p.fill.pattern = value;
	return p;
}

#define LOCAL(off) MICA_ADDR(MICA_SEG_LMEM, off)
#define PEER(core, off) MICA_ADDR(MICA_SEG_PEER + (core), off)

static void cores_exchange_data_across_a_barrier(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 2; i++) {
		emit(f, i, fill_byte(0, 64, (uint8_t)(0xa0 + i)));
		emit(f, i, line(PEER(!i, 1024), LOCAL(0), 64));
		emit_barrier(f, i, 5);
		emit(f, i, line(MICA_ADDR(1, i * 64), LOCAL(1024), 64));
		emit_end(f, i);
	}
	assert_int_equal(mica_job_run(f->engine, &f->job, &f->fault), 0);
	for (unsigned i = 0; i < 128; i++)
		assert_int_equal(f->job.seg[1][i], i < 64 ? 0xa1 : 0xa0);
	assert_int_equal(f->job.seg[1][128], 0x31);
}

static void streams_without_end_are_refused(void **state)
{
	struct fixture *f = *state;

	emit(f, 0, fill_byte(0, 64, 1));
	emit_end(f, 0);
	emit(f, 1, fill_byte(0, 64, 1));
	assert_int_equal(mica_job_run(f->engine, &f->job, &f->fault), MICA_FAULT_STREAM);
	assert_int_equal(f->fault.core, 1);
	assert_int_equal(f->fault.packet, 1);
}

static void barriers_must_match_one_by_one(void **state)
{
	struct fixture *f = *state;

	emit_barrier(f, 0, 1);
	emit_barrier(f, 1, 2);
	emit_end(f, 0);
	emit_end(f, 1);
	assert_int_equal(mica_job_check(&f->job, &f->fault), MICA_FAULT_BARRIER);
	assert_int_equal(f->fault.core, 1);
}

static void a_missing_barrier_is_refused(void **state)
{
	struct fixture *f = *state;

	emit_barrier(f, 0, 1);
	emit_end(f, 0);
	emit_end(f, 1);
	assert_int_equal(mica_job_check(&f->job, &f->fault), MICA_FAULT_BARRIER);
}

static void a_bad_packet_is_named_and_nothing_runs(void **state)
{
	struct fixture *f = *state;

	emit(f, 0, line(MICA_ADDR(1, 0), MICA_ADDR(2, 0), 64));
	emit_end(f, 0);
	emit_barrier(f, 1, 0);
	emit(f, 1, fill_byte(LMEM - 63, 64, 1));
	emit_end(f, 1);
	f->used[0] -= 64;
	emit_barrier(f, 0, 0);
	emit_end(f, 0);
	assert_int_equal(mica_job_run(f->engine, &f->job, &f->fault), MICA_FAULT_PACKET);
	assert_int_equal(f->fault.core, 1);
	assert_int_equal(f->fault.packet, 1);
	assert_int_equal(f->fault.check, MICA_CHECK_LMEM);
	assert_string_equal(f->fault.field, "dst");
	assert_int_equal(f->job.seg[1][0], 0x31);
}

static void a_truncated_last_packet_is_refused(void **state)
{
	struct fixture *f = *state;

	emit(f, 0, fill_byte(0, 64, 1));
	emit_end(f, 1);
	f->job.stream_size[0] -= 64;
	assert_int_equal(mica_job_check(&f->job, &f->fault), MICA_FAULT_PACKET);
	assert_int_equal(f->fault.check, MICA_CHECK_TRUNCATED);
}

static void counts_restart_at_a_barrier(void **state)
{
	struct fixture *f = *state;
	union mica_pkt p = fill_byte(0, 64, 1);

	for (unsigned i = 0; i < 2; i++) {
		emit(f, i, fill_byte(0, 64, 1));
		emit_barrier(f, i, 1);
		if (!i) {
			p.hdr.wait[MICA_ENGINE_VECTOR] = 1;
			emit(f, i, p);
		}
		emit_end(f, i);
	}
	assert_int_equal(mica_job_check(&f->job, &f->fault), MICA_FAULT_PACKET);
	assert_int_equal(f->fault.check, MICA_CHECK_WAIT);
	assert_int_equal(f->fault.packet, 2);
}

static void a_stopped_job_ends_as_aborted(void **state)
{
	struct fixture *f = *state;
	atomic_bool stop = true;

	emit(f, 0, fill_byte(0, 64, 1));
	emit_end(f, 0);
	emit_end(f, 1);
	f->job.stop = &stop;
	assert_int_equal(mica_job_run(f->engine, &f->job, &f->fault), MICA_FAULT_ABORTED);
	stop = false;
	assert_int_equal(mica_job_run(f->engine, &f->job, &f->fault), 0);
}

static void a_resize_table_that_leaves_the_image_faults(void **state)
{
	struct fixture *f = *state;
	struct mica_resize_tap taps[4] = { { 0, 1, 0.5f, 0 }, { 1, 1, 0, 0 }, { 0, 1, 0.5f, 0 }, { 1, 2, 0, 0 } };
	union mica_pkt p = packet(MICA_OP_RESIZE);

	memcpy(f->job.seg[0], taps, sizeof(taps));
	p.resize.src = dense_view(0, MICA_E4M3, 1, 2, 2, 16);
	p.resize.dst = dense_view(4096, MICA_E4M3, 1, 2, 2, 16);
	p.resize.n = 1;
	p.resize.c = 16;
	p.resize.in_h = p.resize.in_w = p.resize.out_h = p.resize.out_w = 2;
	p.resize.taps_h = MICA_ADDR(0, 0);
	p.resize.taps_w = MICA_ADDR(0, 32);
	p.resize.mode = MICA_RESIZE_LINEAR;
	emit(f, 0, p);
	emit_end(f, 0);
	emit_end(f, 1);
	assert_int_equal(mica_job_run(f->engine, &f->job, &f->fault), MICA_FAULT_PACKET);
	assert_int_equal(f->fault.packet, 0);
}

/* ---- Time -------------------------------------------------------------------------------------------------------- */

static void time_follows_the_model(void **state)
{
	struct fixture *f = *state;
	union mica_pkt p = fill_byte(0, 25600, 1);

	/* Core 0: a copy of 6400 bytes at 64 / 2 a cycle beside a fill of 100 cycles, then a fill that waits for both. */
	emit(f, 0, line(LOCAL(32768), MICA_ADDR(2, 0), 6400));
	emit(f, 0, p);
	p.hdr.layer = 1;
	p.hdr.wait[MICA_ENGINE_LOAD] = 1;
	emit(f, 0, p);
	emit_barrier(f, 0, 9);
	emit_end(f, 0);
	emit_barrier(f, 1, 9);
	emit_end(f, 1);
	f->job.stats = &f->stats;
	f->job.layer = f->layer;
	f->job.layers = 4;
	assert_int_equal(mica_job_run(f->engine, &f->job, &f->fault), 0);
	/* dispatch 4, latency 100, 200 of data; 100 of fill; barrier 50; END's dispatch 4 */
	assert_int_equal(f->stats.cycles, 4 + 300 + 100 + 50 + 4);
	assert_int_equal(f->stats.busy[MICA_ENGINE_LOAD], 300);
	assert_int_equal(f->stats.busy[MICA_ENGINE_VECTOR], 200);
	assert_int_equal(f->stats.dram_read_bytes, 6400);
	assert_int_equal(f->stats.dram_write_bytes, 0);
	assert_int_equal(f->stats.cores, 2);
	assert_int_equal(f->stats.packets, 7);
	assert_int_equal(f->stats.layers, 4);
	assert_int_equal(f->layer[0].start, 4);
	assert_int_equal(f->layer[0].end, 304);
	assert_int_equal(f->layer[1].start, 304);
	assert_int_equal(f->layer[1].end, 404);
	assert_int_equal(f->layer[1].busy[MICA_ENGINE_VECTOR], 100);
	assert_int_equal(f->layer[2].end, 0);
}

static void strided_dram_costs_whole_bursts(void **state)
{
	union mica_pkt p = line(LOCAL(0), MICA_ADDR(0, 0), 64);
	struct mica_cost dense, strided;

	(void)state;
	p.copy.dim[2] = 16;
	p.copy.src_stride[2] = p.copy.dst_stride[2] = 64;
	mica_pkt_cost(&p, &mica_params_default, 1, &dense);
	assert_int_equal(dense.cycles, 100 + 16);
	p.copy.dim[3] = 1;
	p.copy.dim[2] = 1024;
	mica_pkt_cost(&p, &mica_params_default, 1, &strided);
	assert_int_equal(strided.dram_read, dense.dram_read);
	assert_int_equal(strided.cycles, 100 + 1024);
}

static void products_cost_what_the_array_takes(void **state)
{
	union mica_pkt p = packet(MICA_OP_CONV);
	struct mica_pkt_conv *c = &p.conv;
	struct mica_cost cost;

	(void)state;
	c->src = dense_view(0, MICA_E4M3, 1, 16, 16, 64);
	c->dst = dense_view(0, MICA_E4M3, 1, 16, 16, 64);
	c->wdtype = MICA_E4M3;
	c->n = c->groups = 1;
	c->out_h = c->out_w = 16;
	c->in_c = c->out_c = 64;
	c->kh = c->kw = 3;
	mica_pkt_cost(&p, &mica_params_default, 1, &cost);
	assert_int_equal(cost.macs, 256ull * 64 * 64 * 9);
	assert_int_equal(cost.cycles, 100 + 256 * 9 + 128);
	assert_int_equal(cost.dram_read, 64 * 64 * 9 + 3 * 4 * 64);
	c->src.dtype = c->wdtype = MICA_BF16;
	mica_pkt_cost(&p, &mica_params_default, 1, &cost);
	assert_int_equal(cost.cycles, 100 + 256 * 18 + 128);
	c->out_h = c->out_w = 1;	/* now the weights' stream is what takes time */
	mica_pkt_cost(&p, &mica_params_default, 2, &cost);
	assert_int_equal(cost.cycles, 100 + (2 * 64 * 64 * 9 + 768) * 2 / 64);
}

#define JOB_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		JOB_TEST(cores_exchange_data_across_a_barrier),
		JOB_TEST(streams_without_end_are_refused),
		JOB_TEST(barriers_must_match_one_by_one),
		JOB_TEST(a_missing_barrier_is_refused),
		JOB_TEST(a_bad_packet_is_named_and_nothing_runs),
		JOB_TEST(a_truncated_last_packet_is_refused),
		JOB_TEST(counts_restart_at_a_barrier),
		JOB_TEST(a_stopped_job_ends_as_aborted),
		JOB_TEST(a_resize_table_that_leaves_the_image_faults),
		JOB_TEST(time_follows_the_model),
		cmocka_unit_test(strided_dram_costs_whole_bursts),
		cmocka_unit_test(products_cost_what_the_array_takes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
