/* SPDX-License-Identifier: MIT */
/* Bring-up of the device: configuration space, registers, MSI-X, images, the probe firmware's lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "dev.h"

#define PCI_COMMAND		0x04
#define PCI_COMMAND_MEMORY	0x2
#define PCI_COMMAND_MASTER	0x4
#define PCI_CAP_EXP		0x10
#define PCI_CAP_MSIX		0x11
#define WAIT_STEPS		5000

static struct { uint32_t count, done, op[1022][3]; } list;
static unsigned list_used;

static void map_bars(struct dev *d)
{
	qtest_config_write(d->q, 0x10, BAR0);
	qtest_config_write(d->q, 0x18, BAR2);
	dev_enable(d, true);
}

struct dev dev_start_with(const char *device, const char *extra)
{
	struct dev d = { qtest_start(device, extra) };

	map_bars(&d);
	return d;
}

struct dev dev_start(const char *device)
{
	return dev_start_with(device, NULL);
}

void dev_stop(struct dev *d)
{
	qtest_stop(d->q);
}

void dev_enable(struct dev *d, bool bus_master)
{
	qtest_config_write16(d->q, PCI_COMMAND, PCI_COMMAND_MEMORY | (bus_master ? PCI_COMMAND_MASTER : 0));
}

void dev_flr(struct dev *d)
{
	unsigned cap = qtest_find_cap(d->q, PCI_CAP_EXP);

	assert_true(cap);
	qtest_config_write16(d->q, cap + 8, 0x8000);
	map_bars(d);
}

uint32_t reg_read(struct dev *d, uint32_t off)
{
	return qtest_readl(d->q, BAR0 + off);
}

void reg_write(struct dev *d, uint32_t off, uint32_t value)
{
	qtest_writel(d->q, BAR0 + off, value);
}

uint32_t reg_wait(struct dev *d, uint32_t off, uint32_t mask, uint32_t value)
{
	uint32_t now = 0;

	for (unsigned i = 0; i < WAIT_STEPS; i++) {
		now = reg_read(d, off);
		if ((now & mask) == value)
			return now;
		qtest_sleep_us(1000);
	}
	fail_msg("register 0x%x is 0x%x, mask 0x%x, waited for 0x%x", off, now, mask, value);
	return now;
}

/* ---- MSI-X ---- */

void msix_enable(struct dev *d)
{
	unsigned cap = qtest_find_cap(d->q, PCI_CAP_MSIX);
	uint32_t zero[16] = { 0 };

	assert_true(cap);
	for (unsigned v = 0; v < MICA_MSIX_VECTORS; v++) {
		qtest_writel(d->q, BAR2 + 16 * v, MEM_MSI + 16 * v);
		qtest_writel(d->q, BAR2 + 16 * v + 4, 0);
		qtest_writel(d->q, BAR2 + 16 * v + 8, 0x100 + v);
		qtest_writel(d->q, BAR2 + 16 * v + 12, 0);
	}
	qtest_write(d->q, MEM_MSI, zero, sizeof(zero));
	qtest_config_write16(d->q, cap + 2, 0x8000);
	reg_write(d, MICA_REG_IRQ_ENABLE, MICA_IRQ_MASK);
}

bool msix_arrived(struct dev *d, unsigned vector)
{
	for (unsigned i = 0; i < WAIT_STEPS; i++) {
		if (qtest_readl(d->q, MEM_MSI + 16 * vector) == 0x100 + vector) {
			qtest_writel(d->q, MEM_MSI + 16 * vector, 0);
			return true;
		}
		qtest_sleep_us(1000);
	}
	return false;
}

bool msix_absent(struct dev *d, unsigned vector)
{
	qtest_sleep_us(20000);
	return qtest_readl(d->q, MEM_MSI + 16 * vector) == 0;
}

/* ---- images ---- */

struct mica_fw_header image_header(const void *body, uint32_t size)
{
	return (struct mica_fw_header){
		.magic = MICA_FW_MAGIC,
		.header_size = sizeof(struct mica_fw_header),
		.body_size = size,
		.crc32 = (uint32_t)crc32(0, body, size),
		.fw_version = 1,
		.abi_min = 1,
		.abi_max = 1,
		.hw_min = MICA_HW_VERSION,
		.hw_max = MICA_HW_VERSION,
		.build = "probe",
	};
}

uint32_t boot(struct dev *d, const struct mica_fw_header *h, const void *body, uint32_t size, uint32_t fw_size)
{
	uint32_t state = 0;

	qtest_write(d->q, MEM_IMAGE, h, sizeof(*h));
	qtest_write(d->q, MEM_IMAGE + sizeof(*h), body, size);
	reg_write(d, MICA_REG_FW_ADDR_LO, MEM_IMAGE);
	reg_write(d, MICA_REG_FW_ADDR_HI, 0);
	reg_write(d, MICA_REG_FW_SIZE, fw_size);
	reg_write(d, MICA_REG_FW_CTRL, MICA_FW_CTRL_BOOT_MASK);
	for (unsigned i = 0; i < WAIT_STEPS; i++) {
		state = reg_read(d, MICA_REG_FW_STATE);
		if (state != MICA_FW_STATE_LOADING)
			break;
		qtest_sleep_us(1000);
	}
	return state;
}

void boot_probe(struct dev *d)
{
	static uint8_t body[4096];
	struct mica_fw_header h;
	FILE *f = fopen(getenv("MICA_PROBE"), "rb");
	size_t size;

	assert_non_null(f);
	size = fread(body, 1, sizeof(body), f);
	fclose(f);
	assert_true(size > 0 && size < sizeof(body));
	h = image_header(body, (uint32_t)size);
	reg_write(d, MICA_REG_SHM_ADDR_LO, MEM_SHM);
	reg_write(d, MICA_REG_SHM_SIZE, MICA_SHM_SIZE);
	boot(d, &h, body, (uint32_t)size, (uint32_t)(size + sizeof(h)));
	reg_wait(d, MICA_REG_FW_STATE, ~0u, MICA_FW_STATE_READY);
}

/* ---- lists ---- */

void probe_op(uint32_t op, uint32_t addr, uint32_t value)
{
	if (!list_used)
		memset(&list, 0, sizeof(list));
	assert_true(list_used < 330);
	list.op[list_used][0] = op;
	list.op[list_used][1] = addr;
	list.op[list_used][2] = value;
	list_used++;
}

void probe_store(uint32_t off, uint32_t value)
{
	probe_op(0, MICA_LOCAL_BASE + off, value);
}

unsigned probe_load(uint32_t off)
{
	probe_op(1, MICA_LOCAL_BASE + off, 0);
	return list_used - 1;
}

void probe_send(struct dev *d)
{
	list.count = list_used;
	qtest_write(d->q, MEM_SHM, &list, 8 + list_used * sizeof(list.op[0]));
	list_used = 0;
	reg_write(d, MICA_REG_MBOX_DB, 1);
}

void probe_wait(struct dev *d)
{
	for (unsigned i = 0; i < WAIT_STEPS; i++) {
		if (qtest_readl(d->q, MEM_SHM + 4)) {
			qtest_read(d->q, MEM_SHM, &list, 8 + list.count * sizeof(list.op[0]));
			return;
		}
		qtest_sleep_us(200);
	}
	fail_msg("the probe does not answer; FW_STATE %u", reg_read(d, MICA_REG_FW_STATE));
}

void probe_run(struct dev *d)
{
	probe_send(d);
	probe_wait(d);
}

uint32_t probe_value(unsigned index)
{
	return list.op[index][2];
}

uint32_t local_read(struct dev *d, uint32_t off)
{
	probe_load(off);
	probe_run(d);
	return probe_value(0);
}

void local_write(struct dev *d, uint32_t off, uint32_t value)
{
	probe_store(off, value);
	probe_run(d);
}
