/* SPDX-License-Identifier: MIT */
/* Page tables, streams, descriptors and core registers of the jobs that the tests run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "dev.h"

void context_make(struct dev *d)
{
	uint64_t root[512] = { 0 }, mid[512] = { 0 }, leaf[512];

	root[VA_DATA >> 30] = (MEM_TABLES + 0x1000) | MICA_PTE_VALID;
	mid[0] = (MEM_TABLES + 0x2000) | MICA_PTE_VALID;
	for (unsigned i = 0; i < 512; i++)
		leaf[i] = (MEM_DATA + 4096ull * i) | MICA_PTE_VALID | MICA_PTE_LEAF | MICA_PTE_WRITE;
	qtest_write(d->q, MEM_TABLES, root, sizeof(root));
	qtest_write(d->q, MEM_TABLES + 0x1000, mid, sizeof(mid));
	qtest_write(d->q, MEM_TABLES + 0x2000, leaf, sizeof(leaf));
	probe_store(MICA_LREG_CTX_SEL, 1);
	probe_store(MICA_LREG_CTX_ROOT_LO, MEM_TABLES);
	probe_store(MICA_LREG_CTX_ROOT_HI, 0);
	probe_store(MICA_LREG_CTX_CTRL, MICA_CTX_CTRL_SET);
	probe_run(d);
}

struct job job_make(uint32_t cores)
{
	struct job j = {
		.cores = cores,
		.desc = {
			.magic = MICA_JOB_MAGIC,
			.cores = cores,
			.seqno = 7,
			.segments = 1,
			.stats_segment = MICA_JOB_NO_STATS,
			.segment[0] = { VA_DATA + 0x100000, 0x10000 | MICA_SEGMENT_WRITE },
		},
	};

	for (unsigned i = 0; i < cores; i++)
		j.desc.stream[i] = (struct mica_job_stream){ .va = VA_DATA + 0x1000 * i, .size = MICA_PKT_ALIGN };
	return j;
}

void job_stream(struct dev *d, struct job *j, unsigned core, const void *packets, uint32_t size)
{
	qtest_write(d->q, MEM_DATA + (j->desc.stream[core].va - VA_DATA), packets, size);
	j->desc.stream[core].size = size;
}

void core_command(struct dev *d, unsigned core, uint32_t command)
{
	local_write(d, MICA_LREG_CORE(core) + MICA_CREG_CTRL, command);
}

void job_start(struct dev *d, const struct job *j)
{
	qtest_write(d->q, MEM_DESC, &j->desc, sizeof(j->desc));
	for (unsigned i = 0; i < j->cores; i++) {
		uint32_t base = MICA_LREG_CORE(i);

		probe_store(base + MICA_CREG_DESC_LO, MEM_DESC);
		probe_store(base + MICA_CREG_DESC_HI, 0);
		probe_store(base + MICA_CREG_CTX, 1);
		probe_store(base + MICA_CREG_GANG, i | ((1u << j->cores) - 1) << 16);
		probe_store(base + MICA_CREG_RESUME, j->resume);
	}
	for (unsigned i = 0; i < j->cores; i++)
		probe_store(MICA_LREG_CORE(i) + MICA_CREG_CTRL, MICA_CORE_CTRL_START);
	probe_run(d);
}

uint32_t core_wait(struct dev *d, unsigned core)
{
	uint32_t status = MICA_CORE_RUNNING;

	for (unsigned i = 0; i < 2000; i++) {
		status = local_read(d, MICA_LREG_CORE(core) + MICA_CREG_STATUS);
		if (status != MICA_CORE_RUNNING)
			return status;
		qtest_sleep_us(1000);
	}
	fail_msg("core %u does not end", core);
	return status;
}

struct outcome core_outcome(struct dev *d, unsigned core)
{
	static const uint32_t regs[] = {
		MICA_CREG_STATUS, MICA_CREG_FAULT, MICA_CREG_FAULT_INFO, MICA_CREG_FAULT_PKT, MICA_CREG_FAULT_LAYER,
		MICA_CREG_PROGRESS, MICA_CREG_RESUME, MICA_CREG_FAULT_ADDR_LO, MICA_CREG_FAULT_ADDR_HI,
		MICA_CREG_CYCLES_LO, MICA_CREG_CYCLES_HI,
	};
	uint32_t v[11];

	for (unsigned i = 0; i < 11; i++)
		probe_load(MICA_LREG_CORE(core) + regs[i]);
	probe_run(d);
	for (unsigned i = 0; i < 11; i++)
		v[i] = probe_value(i);
	return (struct outcome){
		.status = v[0], .fault = v[1], .info = v[2], .pkt = v[3], .layer = v[4], .progress = v[5],
		.resume = v[6], .addr = (uint64_t)v[8] << 32 | v[7], .cycles = (uint64_t)v[10] << 32 | v[9],
	};
}

struct outcome job_run(struct dev *d, const struct job *j)
{
	struct outcome o;

	job_start(d, j);
	for (unsigned i = 0; i < j->cores; i++)
		core_wait(d, i);
	o = core_outcome(d, 0);
	for (unsigned i = 0; i < j->cores; i++)
		core_command(d, i, MICA_CORE_CTRL_ACK);
	return o;
}

/* ---- packets ---- */

unsigned pkt_end(void *at)
{
	struct mica_pkt_ctl p = { .hdr = { .opcode = MICA_OP_END, .units = 1 } };

	memcpy(at, &p, sizeof(p));
	return sizeof(p);
}

unsigned pkt_barrier(void *at, uint32_t id, uint32_t flags)
{
	struct mica_pkt_ctl p = { .hdr = { .opcode = MICA_OP_BARRIER, .units = 1, .layer = 3 }, .flags = flags, .id = id };

	memcpy(at, &p, sizeof(p));
	return sizeof(p);
}

unsigned pkt_fill(void *at, uint32_t lmem, uint32_t bytes, uint8_t value)
{
	struct mica_pkt_fill p = {
		.hdr = { .opcode = MICA_OP_FILL, .units = sizeof(p) / MICA_PKT_ALIGN, .layer = 5 },
		.dst = { .addr = lmem, .dtype = MICA_I8, .scale = 1, .stride = { bytes, bytes, bytes, 1 } },
		.dim = { 1, 1, 1, bytes },
		.pattern = value,
	};

	memcpy(at, &p, sizeof(p));
	return sizeof(p);
}

unsigned pkt_copy_after(void *at, uint64_t src, uint64_t dst, uint32_t bytes, unsigned engine, uint32_t count)
{
	struct mica_pkt_copy p = {
		.hdr = { .opcode = MICA_OP_COPY, .units = sizeof(p) / MICA_PKT_ALIGN, .layer = 6 },
		.src = src, .dst = dst, .elem = 1, .dim = { 1, 1, 1, bytes },
		.src_stride = { (int)bytes, (int)bytes, (int)bytes, 1 }, .dst_stride = { (int)bytes, (int)bytes, (int)bytes, 1 },
	};

	p.hdr.wait[engine] = count;
	memcpy(at, &p, sizeof(p));
	return sizeof(p);
}

unsigned pkt_copy(void *at, uint64_t src, uint64_t dst, uint32_t bytes)
{
	return pkt_copy_after(at, src, dst, bytes, 0, 0);
}
