/* SPDX-License-Identifier: MIT */
/*
 * The device on a qtest machine: BARs mapped, registers by name, images booted, and the probe firmware (probe.S) that
 * stands in for the real one. Guest memory is laid out below.
 */
#ifndef DEV_H
#define DEV_H

#include "mica/fw_abi.h"
#include "mica/isa.h"
#include "mica/regs.h"
#include "qtest.h"

#define BAR0		0xe0000000u
#define BAR2		0xe0100000u

/* Guest memory */
#define MEM_IMAGE	0x01000000u
#define MEM_SHM		0x02000000u
#define MEM_MSI		0x02100000u	/* vector n's message: 4 bytes at MEM_MSI + 16 n */
#define MEM_DESC	0x02200000u	/* one descriptor each 1 KiB */
#define MEM_TABLES	0x02300000u	/* context 1's page tables: root, level 1, level 0 */
#define MEM_DATA	0x03000000u	/* mapped at VA_DATA, 2 MiB in 4 KiB pages, writable */
#define VA_DATA		0x40000000u

struct dev { struct qtest *q; };

struct dev dev_start(const char *device);		/* BARs mapped, bus mastering and memory on */
struct dev dev_start_with(const char *device, const char *extra);
void dev_stop(struct dev *d);

uint32_t reg_read(struct dev *d, uint32_t off);
void reg_write(struct dev *d, uint32_t off, uint32_t value);
/* Until (register & mask) == value; fails the test after five seconds. Returns the register. */
uint32_t reg_wait(struct dev *d, uint32_t off, uint32_t mask, uint32_t value);
void dev_enable(struct dev *d, bool bus_master);
void dev_flr(struct dev *d);

/* MSI-X: every vector writes its number + 0x100 to guest memory. */
void msix_enable(struct dev *d);
bool msix_arrived(struct dev *d, unsigned vector);	/* and forgets it; waits a moment */
bool msix_absent(struct dev *d, unsigned vector);

/* Builds an image around a body and boots it; returns the final FW_STATE (STARTED or one from 16 on). */
struct mica_fw_header image_header(const void *body, uint32_t size);
uint32_t boot(struct dev *d, const struct mica_fw_header *h, const void *body, uint32_t size, uint32_t fw_size);
void boot_probe(struct dev *d);

/* Lists for the probe */
void probe_store(uint32_t off, uint32_t value);		/* local register */
unsigned probe_load(uint32_t off);			/* index for probe_value() */
void probe_op(uint32_t op, uint32_t addr, uint32_t value);
void probe_send(struct dev *d);				/* without waiting */
void probe_wait(struct dev *d);
void probe_run(struct dev *d);				/* send and wait */
uint32_t probe_value(unsigned index);
uint32_t local_read(struct dev *d, uint32_t off);	/* a list of one */
void local_write(struct dev *d, uint32_t off, uint32_t value);

/* Jobs of context 1: page tables made, streams built in place, started and waited for through the probe. */
struct job {
	struct mica_job_desc desc;
	uint32_t cores;
	uint32_t resume;
};
struct outcome { uint32_t status, fault, info, pkt, layer, progress, resume; uint64_t addr, cycles; };
void context_make(struct dev *d);
struct job job_make(uint32_t cores);			/* streams of 4 KiB from VA_DATA on, segment 0: 64 KiB at VA_DATA + 1 MiB */
void job_stream(struct dev *d, struct job *j, unsigned core, const void *packets, uint32_t size);
void job_start(struct dev *d, const struct job *j);
uint32_t core_wait(struct dev *d, unsigned core);	/* until it does not run; returns STATUS */
struct outcome core_outcome(struct dev *d, unsigned core);
struct outcome job_run(struct dev *d, const struct job *j);	/* start, wait for all, outcome of core 0; acknowledged */
void core_command(struct dev *d, unsigned core, uint32_t command);

/* Packets: appended to a buffer, return the number of bytes */
unsigned pkt_end(void *at);
unsigned pkt_barrier(void *at, uint32_t id, uint32_t flags);
unsigned pkt_fill(void *at, uint32_t lmem, uint32_t bytes, uint8_t value);
unsigned pkt_copy(void *at, uint64_t src, uint64_t dst, uint32_t bytes);
unsigned pkt_copy_after(void *at, uint64_t src, uint64_t dst, uint32_t bytes, unsigned engine, uint32_t count);

#endif /* DEV_H */
