/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State of the emulated MICA device and what its files offer each other.
 *
 * Threads: vCPUs and the main loop come in through MMIO, reset and properties, holding the BQL. The microcontroller and
 * each core have a thread of their own. Three rules keep them apart:
 *   1. `lock` protects all state not marked otherwise. It is a leaf: nobody who holds it takes the BQL, executes
 *      packets, or touches guest memory.
 *   2. Nobody who holds the BQL waits for our threads. Who has to (stop of the VM, unplug) drops the BQL meanwhile.
 *   3. Threads stop in bounded time: at a packet boundary when the VM stops, within a kernel's loop when `stop` is set.
 */
#ifndef MICA_INTERNAL_H
#define MICA_INTERNAL_H

#include "hw/pci/pci_device.h"
#include "qemu/thread.h"
#include "qom/object.h"
#include "engine.h"
#include "mica/fw_abi.h"
#include "mica/regs.h"
#include "mica_mmu.h"
#include "rv32.h"

#define TYPE_MICA "mica-accel"
OBJECT_DECLARE_SIMPLE_TYPE(MicaState, MICA)

#define MICA_REG_WORDS		(0x1000 / 4)	/* BAR0 below the doorbells */
#define MICA_LREG_WORDS		(0x100 / 4)	/* local bus below the doorbell values */
#define MICA_CREG_WORDS		(0x100 / 4)
#define MICA_VIEW_SLOTS		4
#define MICA_STREAM_CHUNK	(64 * 1024)

struct mica_reg {			/* one entry of a register table; name NULL: there is none */
	const char *name;
	enum mica_access { MICA_RO, MICA_RW, MICA_WO, MICA_W1C } access;
};
#define MICA_REG_ENTRY(off, name, access)	[(off) / 4] = { #name, MICA_##access },

/* The cores that run one job together, from the first START to the last core's end. */
struct mica_gang {
	uint64_t desc;			/* identity: same descriptor, context and set of cores */
	uint32_t ctx;
	uint32_t cores;			/* 0: this gang is free */
	uint32_t joined;		/* cores that have ever come, and those that are still here */
	uint32_t members;
	uint32_t arrived;		/* at the meeting in progress */
	uint64_t what;			/* kind, flags and id of that meeting */
	uint64_t when;			/* latest arrival, in device cycles */
	bool may_preempt;
	bool closing;			/* the last one to arrive works for all; nobody leaves */
	uint32_t generation;		/* meetings held */
	uint64_t met_when;		/* outcome of the last meeting */
	bool met_preempt;
	int met_fault;
	uint64_t met_fault_addr;
};

/* What a core's thread knows of the job it runs. Private to that thread, but for timeline in a closing gang. */
struct mica_run {
	struct mica_job_desc desc;
	struct mica_limits lim;
	struct mica_check_state check;
	struct mica_mem mem;
	struct mica_timeline timeline;
	bool timed;			/* timeline is initialized */
	uint32_t layers;
	uint32_t index;			/* within the gang */
	uint32_t resume;		/* CYCLES counts from this offset on */
	uint64_t base_cycles;		/* what stood on the clock there */
	uint64_t cycles;		/* from there to the end */
	uint32_t pos;			/* stream offset of the packet at hand */
	uint8_t *buf;			/* private copy of the stream from buf_pos on, buf_len bytes */
	uint32_t buf_pos;
	uint32_t buf_len;
	uint16_t layer;
	uint32_t fault_info;
	uint64_t fault_addr;
	bool preempted;
	bool ended;
};

struct mica_core {
	MicaState *s;
	unsigned index;
	QemuThread thread;
	QemuCond cond;			/* with s->lock: START, end of a pause, stop, end of a meeting */
	uint32_t reg[MICA_CREG_WORDS];	/* PROGRESS: written by the thread without lock */
	bool go;			/* START was written */
	bool busy;			/* the thread has work */
	bool still;			/* busy, but asleep until a pause or meeting ends */
	bool preempt;
	bool keep_lmem;			/* the job was loaded from a VM state: LMEM is its own already */
	bool hung;			/* MICA_INJECT_HANG_CORE has struck */
	bool inject_hang, inject_dma_error;	/* wait to strike; atomic reads without lock */
	uint32_t offset;		/* packets before it have been executed: stream offset */
	atomic_bool stop;		/* end what runs */
	struct mica_gang *gang;
	uint64_t lmem_owner;		/* whose data is in LMEM: mica_context.owner; 0 nobody's */

	/* The thread's own. */
	void *lmem_block;
	uint32_t lmem_size;
	uint8_t *lmem;			/* 64-byte aligned; peers of the gang write here too */
	struct mica_engine *engine;
	struct mica_space space;
	struct mica_tlb tlb;
	struct mica_run run;
	struct { uint8_t *data; size_t size; } view[MICA_VIEW_SLOTS];
	uint32_t access_seq;		/* atomic; odd while a translation is in use */
};

#define MICA_ROOT_NONE		UINT64_MAX

struct mica_context {
	uint64_t root;			/* page aligned, or MICA_ROOT_NONE; atomic, as the next one, for the cores */
	uint64_t generation;		/* of the translations: changes with every invalidation */
	uint64_t owner;			/* of the address space: changes with SET and CLEAR */
};

/* Errors waiting to happen that do not belong to one core (mica_inject.c). */
struct mica_pending {
	uint32_t lost_irq;		/* vectors */
	uint32_t flip_addr;
	bool flip, flip_ecc;		/* atomic reads without lock */
	bool bad_ring;
	bool fw_crash;
};

struct MicaState {
	PCIDevice parent_obj;

	/* Properties, fixed after realize. */
	uint32_t cores;
	uint32_t lmem_size;
	uint32_t mac_rows, mac_cols, lanes, dram_bytes, clock_khz, contexts, threads, hw_version;
	bool debug;
	struct mica_params params;

	MemoryRegion regs_mr;
	VMChangeStateEntry *vm_state;

	QemuMutex lock;
	QemuCond still_cond;		/* a thread came to rest */
	bool quit;
	bool paused;			/* the VM is stopped: threads rest at the next boundary; atomic reads without lock */
	bool behind_iommu;		/* set at reset; atomic reads without lock */
	bool in_reset;			/* between the reset phases enter and exit; BQL */
	bool resetting;			/* until the threads have let go of the old state */
	uint32_t epoch;			/* counts resets */

	uint32_t reg[MICA_REG_WORDS];
	uint32_t inv_seq[MICA_MAX_CORES];	/* access_seq of cores that were using a translation at MMU_INV; 0 done */
	bool link_down;			/* atomic reads without lock */
	struct mica_pending inject;

	/* Microcontroller. cpu, sram and console are its thread's while mcu_busy. */
	QemuThread mcu_thread;
	QemuCond mcu_cond;
	bool mcu_busy;
	bool mcu_boot;			/* BOOT was written */
	bool mcu_run;			/* an image is loaded and neither halted nor crashed */
	bool mcu_waiting;		/* in WFI */
	bool mcu_hung;
	struct rv32 cpu;
	uint8_t *sram;
	char console[128];
	uint32_t console_len;
	uint32_t lreg[MICA_LREG_WORDS];
	uint32_t db_value[MICA_MAX_CONTEXTS];
	uint64_t db_pending;
	uint32_t irq_edges;		/* MICA_LIRQ_MBOX, MICA_LIRQ_CORE */

	struct mica_context ctx[MICA_MAX_CONTEXTS];
	uint64_t stamp;			/* source of generations and owners */
	struct mica_gang gang[MICA_MAX_CORES];
	struct mica_core core[MICA_MAX_CORES];
};

#define MICA_REG(s, name)	((s)->reg[MICA_REG_##name / 4])
#define MICA_LREG(s, name)	((s)->lreg[MICA_LREG_##name / 4])
#define MICA_CREG(c, name)	((c)->reg[MICA_CREG_##name / 4])
#define MICA_REG64(s, name)	((uint64_t)MICA_REG(s, name##_HI) << 32 | MICA_REG(s, name##_LO))
#define MICA_LREG64(s, name)	((uint64_t)MICA_LREG(s, name##_HI) << 32 | MICA_LREG(s, name##_LO))
#define MICA_CREG64(c, name)	((uint64_t)MICA_CREG(c, name##_HI) << 32 | MICA_CREG(c, name##_LO))

/* A field by its mask. */
#define MICA_FIELD(value, mask)	(((value) & (mask)) / ((mask) & -(mask)))

/* mica_regs.c */
extern const MemoryRegionOps mica_mmio_ops;
void mica_regs_reset(MicaState *s);			/* lock held */

/* mica_irq.c: MSI-X to the host, from any thread, without lock. Takes the BQL. */
void mica_raise(MicaState *s, uint32_t vectors);
void mica_bus_error(MicaState *s, uint64_t addr);	/* sets STATUS.BUS_ERROR and tells the driver */

/* mica_local.c: the microcontroller's bus */
extern const struct rv32_bus mica_local_bus;
uint64_t mica_time_us(void);
uint32_t mica_local_pending(MicaState *s);		/* lock held, as for the next ones */
void mica_local_update(MicaState *s);			/* pending or enable may have changed */
void mica_local_reset(MicaState *s);
void mica_doorbell(MicaState *s, unsigned ctx, uint32_t value);

/* mica_corereg.c: a core's registers on the local bus; lock held */
uint32_t mica_core_read(struct mica_core *c, uint32_t off);
void mica_core_write(struct mica_core *c, uint32_t off, uint32_t value);
void mica_core_end(struct mica_core *c, int fault);	/* the job is over: registers and interrupt */

/* mica_mcu.c */
void *mica_mcu_thread(void *opaque);
void mica_mcu_wake(MicaState *s);			/* lock held */
void mica_mcu_kick(MicaState *s);			/* the same, also out of running code */

/* mica_context.c: address spaces; lock held */
void mica_context_set(MicaState *s, unsigned ctx, uint64_t root);
void mica_context_clear(MicaState *s, unsigned ctx);
void mica_context_invalidate(MicaState *s, unsigned ctx);
void mica_context_invalidate_all(MicaState *s);
bool mica_context_space(MicaState *s, unsigned ctx, struct mica_space *space);	/* without lock; false: empty slot */
bool mica_context_busy(MicaState *s);			/* an access begun before the last invalidation goes on */

/* mica_dma.c: guest memory, without lock */
bool mica_bus_read(MicaState *s, uint64_t addr, void *buf, uint64_t len);
bool mica_bus_write(MicaState *s, uint64_t addr, const void *buf, uint64_t len);
int mica_va_read(struct mica_core *c, uint64_t va, void *buf, uint64_t len);	/* 0 or MICA_FAULT_* */
int mica_va_write(struct mica_core *c, uint64_t va, const void *buf, uint64_t len);
void mica_dma_bind(struct mica_core *c);		/* fills c->run.mem */
void mica_dma_trim(struct mica_core *c);		/* gives back large buffers */
void mica_dma_free(struct mica_core *c);

/* mica_desc.c */
int mica_desc_fetch(struct mica_core *c);		/* 0 or MICA_FAULT_*; fills c->run.desc, lim, layers */

/* mica_gang.c */
enum { MICA_MEET_START = 1, MICA_MEET_BARRIER, MICA_MEET_END };
#define MICA_MEET(kind, flags, id)	((uint64_t)(kind) << 40 | (uint64_t)(flags) << 32 | (id))
struct mica_meeting {
	uint64_t what;			/* MICA_MEET() */
	uint64_t when;			/* in: this core's cycles; out: the latest one's */
	bool may_preempt;		/* in: a checkpoint that is not being replayed; out: stop here */
	int (*last)(struct mica_core *c);	/* done by the core that arrives last, for all; or NULL */
};
void mica_gang_join(struct mica_core *c);
void mica_gang_leave(struct mica_core *c);		/* lock held */
int mica_gang_meet(struct mica_core *c, struct mica_meeting *m);	/* 0 or MICA_FAULT_* */

bool mica_core_nap(struct mica_core *c);		/* lock held: rests once at a safe point; false when c has to stop */

/* mica_core.c: the thread; mica_exec.c: one job, without lock, 0 or MICA_FAULT_* */
void *mica_core_thread(void *opaque);
int mica_core_run(struct mica_core *c);

/* mica_reset.c; lock held */
void mica_reset_begin(MicaState *s);
void mica_reset_progress(MicaState *s);			/* completes the reset when every thread has let go */
bool mica_all_still(MicaState *s);

/* mica_inject.c */
void mica_inject(MicaState *s, uint32_t what, uint32_t arg);		/* lock held, as for the next ones */
void mica_inject_struck(MicaState *s, const char *what);
void mica_inject_reset(MicaState *s);
int mica_inject_packet(struct mica_core *c);		/* before a packet, without lock: 0 or MICA_FAULT_* */
void mica_inject_class_init(ObjectClass *klass);

/* mica_vmstate.c */
extern const VMStateDescription mica_vmstate;

#endif /* MICA_INTERNAL_H */
