/* SPDX-License-Identifier: MIT */
/*
 * A QEMU machine without a running CPU, driven through QEMU's qtest protocol: PCI configuration space, MMIO, guest
 * memory, virtual clock; and QMP for what a person at the monitor would do. Every failure ends the test at hand.
 */
#ifndef QTEST_H
#define QTEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qtest;

/* Starts $MICA_QEMU with a q35, 256 MiB of RAM and the arguments. extra may be NULL. */
struct qtest *qtest_start(const char *device, const char *extra);
void qtest_stop(struct qtest *q);
/* Runs QEMU with the arguments and expects it to refuse; *message gets what it said (256 bytes). */
bool qtest_refused(const char *device, char message[256]);

uint32_t qtest_config_read(struct qtest *q, unsigned off);
void qtest_config_write(struct qtest *q, unsigned off, uint32_t value);
uint16_t qtest_config_read16(struct qtest *q, unsigned off);
void qtest_config_write16(struct qtest *q, unsigned off, uint16_t value);
unsigned qtest_find_cap(struct qtest *q, uint8_t id);	/* 0: there is none */

uint32_t qtest_readl(struct qtest *q, uint64_t addr);
void qtest_writel(struct qtest *q, uint64_t addr, uint32_t value);
void qtest_read(struct qtest *q, uint64_t addr, void *buf, size_t len);
void qtest_write(struct qtest *q, uint64_t addr, const void *buf, size_t len);
void qtest_clock_step(struct qtest *q, int64_t ns);

/* One QMP command with arguments as JSON text ("{}" for none); false when QEMU answered with an error. */
bool qtest_qmp(struct qtest *q, const char *command, const char *arguments);
/* Sends it and keeps the answer's text. */
bool qtest_qmp_text(struct qtest *q, const char *command, const char *arguments, char *text, size_t size);
void qtest_sleep_us(unsigned us);

#define QTEST_SLOT	4u	/* of the device on the root bus */

#endif /* QTEST_H */
