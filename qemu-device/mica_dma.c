/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory: by bus address through the PCI DMA address space (bus mastering, vIOMMU), and by device virtual address
 * through the context's page tables, a page at a time. Data is always copied: nothing of the guest's that a kernel works
 * on can change under it.
 */
#include "qemu/osdep.h"
#include "qemu/memalign.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "mica_internal.h"

#define VIEW_LIMIT	(512 * MiB)	/* largest constant operand of one packet */
#define VIEW_KEEP	(8 * MiB)	/* larger buffers are given back behind the job */

static MemTxResult bus_rw(MicaState *s, uint64_t addr, void *buf, uint64_t len, DMADirection dir)
{
	PCIDevice *pdev = PCI_DEVICE(s);

	/*
	 * A vIOMMU reports a fault as an interrupt to the guest, which takes the BQL. Direct RAM needs no lock, and other
	 * regions take it themselves.
	 */
	if (qatomic_read(&s->behind_iommu)) {
		BQL_LOCK_GUARD();
		return pci_dma_rw(pdev, addr, buf, len, dir, MEMTXATTRS_UNSPECIFIED);
	}
	return pci_dma_rw(pdev, addr, buf, len, dir, MEMTXATTRS_UNSPECIFIED);
}

bool mica_bus_read(MicaState *s, uint64_t addr, void *buf, uint64_t len)
{
	return !qatomic_read(&s->link_down) && bus_rw(s, addr, buf, len, DMA_DIRECTION_TO_DEVICE) == MEMTX_OK;
}

bool mica_bus_write(MicaState *s, uint64_t addr, const void *buf, uint64_t len)
{
	return !qatomic_read(&s->link_down) &&
	       bus_rw(s, addr, (void *)buf, len, DMA_DIRECTION_FROM_DEVICE) == MEMTX_OK;
}

/* ---- device virtual addresses ---- */

static bool read_pte(void *opaque, uint64_t addr, uint64_t *pte)
{
	struct mica_core *c = opaque;

	if (!mica_bus_read(c->s, addr, pte, sizeof(*pte)))
		return false;
	*pte = le64_to_cpu(*pte);
	return true;
}

static void access_begin(struct mica_core *c)
{
	qatomic_set(&c->access_seq, c->access_seq + 1);
	smp_mb();
}

static void access_end(struct mica_core *c)
{
	qatomic_store_release(&c->access_seq, c->access_seq + 1);
}

/* The translation and the copy of at most one page, as one access that an invalidation waits for. */
static int copy_page(struct mica_core *c, uint64_t va, void *buf, uint64_t *len, bool write)
{
	uint64_t addr, run;
	int fault;

	if (!mica_context_space(c->s, MICA_CREG(c, CTX), &c->space))
		return MICA_FAULT_MMU;
	fault = mica_mmu_translate(&c->tlb, &c->space, va, write, read_pte, c, &addr, &run);
	if (fault)
		return fault;
	*len = MIN(*len, run);
	if (write ? !mica_bus_write(c->s, addr, buf, *len) : !mica_bus_read(c->s, addr, buf, *len))
		return MICA_FAULT_BUS;
	return 0;
}

static bool injected_error(struct mica_core *c)
{
	if (!qatomic_read(&c->inject_dma_error))
		return false;
	QEMU_LOCK_GUARD(&c->s->lock);
	qatomic_set(&c->inject_dma_error, false);
	mica_inject_struck(c->s, "DMA error");
	return true;
}

static int copy_va(struct mica_core *c, uint64_t va, uint8_t *buf, uint64_t len, bool write)
{
	while (len) {
		uint64_t n = len;
		int fault;

		if (atomic_load(&c->stop))
			return MICA_FAULT_ABORTED;
		if (injected_error(c)) {
			fault = MICA_FAULT_BUS;
		} else {
			access_begin(c);
			fault = copy_page(c, va, buf, &n, write);
			access_end(c);
		}
		if (fault) {
			c->run.fault_addr = va;
			return fault;
		}
		va += n;
		buf += n;
		len -= n;
	}
	return 0;
}

int mica_va_read(struct mica_core *c, uint64_t va, void *buf, uint64_t len)
{
	return copy_va(c, va, buf, len, false);
}

int mica_va_write(struct mica_core *c, uint64_t va, const void *buf, uint64_t len)
{
	return copy_va(c, va, (uint8_t *)buf, len, true);
}

/* ---- what the engine sees: segment and offset ---- */

/* The validator has checked the bounds; this is the second lock on the same door. */
static int segment_va(struct mica_core *c, uint64_t addr, uint64_t len, bool write, uint64_t *va)
{
	const struct mica_limits *lim = &c->run.lim;
	uint32_t seg = MICA_ADDR_SEG(addr);
	uint64_t off = MICA_ADDR_OFF(addr);

	if (seg >= lim->segments || off > lim->seg_size[seg] || len > lim->seg_size[seg] - off ||
	    (write && !lim->seg_write[seg])) {
		c->run.fault_addr = addr;
		return MICA_FAULT_SEGMENT;
	}
	*va = c->run.desc.segment[seg].va + off;
	return 0;
}

static int engine_read(void *opaque, uint64_t addr, void *dst, size_t len)
{
	struct mica_core *c = opaque;
	uint64_t va;
	int fault = segment_va(c, addr, len, false, &va);

	return fault ? fault : mica_va_read(c, va, dst, len);
}

static int engine_write(void *opaque, uint64_t addr, const void *src, size_t len)
{
	struct mica_core *c = opaque;
	uint64_t va;
	int fault = segment_va(c, addr, len, true, &va);

	return fault ? fault : mica_va_write(c, va, src, len);
}

static uint8_t *view_buffer(struct mica_core *c, unsigned slot, size_t len)
{
	size_t size = ROUND_UP(MAX(len, 4096), 4096);

	if (c->view[slot].size < size) {
		qemu_vfree(c->view[slot].data);
		c->view[slot].data = qemu_try_memalign(MICA_LMEM_ALIGN, size);
		c->view[slot].size = c->view[slot].data ? size : 0;
	}
	return c->view[slot].data;
}

static const void *engine_view(void *opaque, unsigned slot, uint64_t addr, size_t len, int *fault)
{
	struct mica_core *c = opaque;
	uint8_t *buf = NULL;

	if (slot < MICA_VIEW_SLOTS && len <= VIEW_LIMIT)
		buf = view_buffer(c, slot, len);
	if (!buf) {
		c->run.fault_info = MICA_CHECK_WORK;
		*fault = MICA_FAULT_PACKET;
		return NULL;
	}
	*fault = engine_read(c, addr, buf, len);
	return *fault ? NULL : buf;
}

void mica_dma_bind(struct mica_core *c)
{
	struct mica_mem *m = &c->run.mem;
	uint32_t cores = MICA_FIELD(MICA_CREG(c, GANG), MICA_GANG_CORES_MASK);
	unsigned n = 0;

	memset(m, 0, sizeof(*m));
	for (unsigned i = 0; i < c->s->cores; i++) {
		if (cores & (1u << i))
			m->lmem[n++] = c->s->core[i].lmem;
	}
	m->lmem_size = c->s->lmem_size;
	m->core = c->run.index;
	m->opaque = c;
	m->read = engine_read;
	m->write = engine_write;
	m->view = engine_view;
	m->stop = &c->stop;
}

void mica_dma_trim(struct mica_core *c)
{
	for (unsigned i = 0; i < MICA_VIEW_SLOTS; i++) {
		if (c->view[i].size > VIEW_KEEP) {
			qemu_vfree(c->view[i].data);
			c->view[i].data = NULL;
			c->view[i].size = 0;
		}
	}
}

void mica_dma_free(struct mica_core *c)
{
	for (unsigned i = 0; i < MICA_VIEW_SLOTS; i++)
		qemu_vfree(c->view[i].data);
}
