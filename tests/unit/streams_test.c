/* SPDX-License-Identifier: MIT */
/*
 * Random command streams: every path of the engine against the slow reference, bit for bit. Each stream is 1..4 packets
 * over the same 64 KiB of LMEM, so later packets read what earlier ones wrote. MICA_STREAMS sets the number per operation
 * family (default 10000 in all), MICA_SEED the first seed; a failure prints its seed and the disassembly.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "engine_internal.h"
#include "stream_gen.h"
#include "../ref/ref.h"

static const struct { enum mica_isa_level level; unsigned threads; } paths[] = {
	{ MICA_ISA_SCALAR, 1 }, { MICA_ISA_AVX2, 1 }, { MICA_ISA_AVX512, 1 }, { MICA_ISA_AUTO, 2 },
};
#define PATHS (sizeof(paths) / sizeof(paths[0]))

static void run_engine(struct mica_engine *e, const union mica_pkt *p, unsigned n, struct world *w)
{
	struct mica_mem mem = { .lmem_size = STREAM_LMEM };

	for (unsigned i = 0; i < MICA_MAX_CORES; i++)
		mem.lmem[i] = w->lmem;
	for (int i = 0; i < 3; i++)
		mem.seg[i] = w->seg[i];
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(mica_exec(e, &p[i], &mem), 0);
}

static void explain(uint64_t seed, const union mica_pkt *p, unsigned n, const char *path, const struct world *got, const struct world *want)
{
	char line[4096];

	print_error("seed %llu, path %s\n", (unsigned long long)seed, path);
	for (unsigned i = 0; i < n; i++) {
		mica_disasm(line, sizeof(line), &p[i]);
		print_error("  %s\n", line);
	}
	for (unsigned i = 0; i < STREAM_LMEM; i++)
		if (got->lmem[i] != want->lmem[i]) {
			print_error("first difference: lmem 0x%x: engine %02x, reference %02x\n", i, got->lmem[i], want->lmem[i]);
			break;
		}
	fail();
}

static void check_valid(uint64_t seed, const union mica_pkt *p, unsigned n)
{
	struct mica_limits lim = { .lmem_size = STREAM_LMEM, .cores = 1, .segments = 3 };
	struct mica_check_state st = { 0 };

	for (unsigned i = 0; i < 3; i++) {
		lim.seg_size[i] = STREAM_DRAM;
		lim.seg_write[i] = i == 1;
	}
	for (unsigned i = 0; i < n; i++) {
		const char *field = "";
		enum mica_check c = mica_check_packet(&p[i], sizeof(p[i]), &lim, &st, &field);

		if (c != MICA_OK) {
			char line[4096];

			mica_disasm(line, sizeof(line), &p[i]);
			print_error("seed %llu: validator refuses a legal packet: %s, field %s\n  %s\n", (unsigned long long)seed,
				    mica_check_name(c), field, line);
			fail();
		}
	}
}

/* Every kernel that is made for certain operands must have run. Only whole runs tell: a few streams do not reach all. */
static void check_variants(bool whole)
{
	static struct mica_variant v[512];
	unsigned missed = 0;

	for (unsigned i = 0; i < PATHS; i++) {
		const struct mica_path *path = paths[i].level == MICA_ISA_AUTO ? NULL : mica_path_of(paths[i].level);
		unsigned n = path ? path->variants(v, ARRAY_SIZE(v)) : 0, reached = 0;

		assert_true(n <= ARRAY_SIZE(v));
		for (unsigned k = 0; k < n; k++) {
			reached += v[k].reached;
			if (!v[k].reached && whole)
				print_error("%s: never reached: %s\n", path->name, v[k].name);
		}
		if (path)
			print_message("# %s: %u of %u kernel variants reached\n", path->name, reached, n);
		missed += n - reached;
	}
	if (whole)
		assert_int_equal(missed, 0);
}

static void random_streams_match_the_reference(void **state)
{
	const char *env = getenv("MICA_STREAMS"), *sd = getenv("MICA_SEED");
	unsigned streams = env ? strtoul(env, NULL, 0) : 10000, packets = 0, per_op[256] = { 0 };
	uint64_t first = sd ? strtoull(sd, NULL, 0) : 1;
	struct world start = world_new(), want = world_new(), got = world_new();
	struct mica_engine *e[PATHS];
	union mica_pkt p[STREAM_PACKETS];

	(void)state;
	for (unsigned i = 0; i < PATHS; i++)
		e[i] = mica_engine_create(paths[i].level, paths[i].threads);
	stream_rng = 88172645463325252ull;
	world_fill(&start);
	for (uint64_t seed = first; seed < first + streams; seed++) {
		stream_rng = seed * 0x9e3779b97f4a7c15ull + 1;
		unsigned n = stream_draw(p, &start);

		check_valid(seed, p, n);
		world_copy(&want, &start);
		struct ref_mem rm = { .lmem = want.lmem, .seg = { want.seg[0], want.seg[1], want.seg[2] } };

		for (unsigned i = 0; i < n; i++, packets++) {
			ref_exec(&p[i], &rm);
			per_op[p[i].hdr.opcode]++;
		}
		for (unsigned k = 0; k < PATHS; k++) {
			if (!e[k])
				continue;
			world_copy(&got, &start);
			run_engine(e[k], p, n, &got);
			if (memcmp(got.lmem, want.lmem, STREAM_LMEM) || memcmp(got.seg[1], want.seg[1], STREAM_DRAM))
				explain(seed, p, n, mica_isa_level_name(paths[k].level), &got, &want);
		}
	}
	print_message("# %u streams, %u packets:", streams, packets);
	for (unsigned i = 0; i < 256; i++)
		if (per_op[i])
			print_message(" %s %u", mica_op_name(i), per_op[i]);
	print_message("\n");
	check_variants(streams >= 10000);
	for (unsigned i = 0; i < PATHS; i++)
		mica_engine_destroy(e[i]);
	world_free(&start);
	world_free(&want);
	world_free(&got);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(random_streams_match_the_reference) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
