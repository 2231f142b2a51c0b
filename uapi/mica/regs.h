/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT */
/*
 * Registers: BAR0 as the host sees it, and the local bus as the device's microcontroller sees it. 32-bit accesses only,
 * little endian; 64-bit values are a LO/HI pair. Unknown offsets read 0 and ignore writes (the device logs a guest error).
 *
 * MICA_REGS(R):  R(offset, NAME, access)  access RO, RW, WO, W1C (write one to clear)
 */
#ifndef MICA_REGS_H
#define MICA_REGS_H

#define MICA_PCI_VENDOR_ID	0x1b36u		/* Red Hat, Inc. (QEMU); the id below is not assigned to anybody else */
#define MICA_PCI_DEVICE_ID	0x4d43u
#define MICA_PCI_CLASS		0x1200u		/* processing accelerator */

#define MICA_BAR_REGS		0		/* BAR0: registers and doorbells */
#define MICA_BAR_MSIX		2		/* BAR2: MSI-X table and PBA */
#define MICA_BAR0_SIZE		0x80000u
#define MICA_MSIX_VECTORS	4
#define MICA_VEC_EVENT		0		/* messages in the event ring */
#define MICA_VEC_FATAL		1		/* firmware crash, host bus error */
#define MICA_VEC_LOG		2		/* new text in the log ring */
#define MICA_VEC_SPARE		3

#define MICA_MAX_CONTEXTS	64u		/* slot 0 is never used */
#define MICA_DOORBELL(ctx)	(0x10000u + 0x1000u * (ctx))	/* write: producer index of the context's job ring */

#define MICA_REGS(R) \
	R(0x000, ID, RO) R(0x004, HW_VERSION, RO) R(0x008, CORES, RO) R(0x00c, LMEM_SIZE, RO) \
	R(0x010, MAC_ROWS, RO) R(0x014, MAC_COLS, RO) R(0x018, VECTOR_LANES, RO) R(0x01c, DRAM_BYTES_PER_CYCLE, RO) \
	R(0x020, CONTEXTS, RO) R(0x024, ISA_VERSION, RO) R(0x028, FEATURES, RO) R(0x02c, CLOCK_KHZ, RO) \
	R(0x040, CTRL, RW) R(0x044, STATUS, RO) \
	R(0x050, FW_ADDR_LO, RW) R(0x054, FW_ADDR_HI, RW) R(0x058, FW_SIZE, RW) R(0x05c, FW_CTRL, WO) \
	R(0x060, FW_STATE, RO) R(0x064, FW_ABI, RO) R(0x068, FW_PC, RO) R(0x06c, FW_CAUSE, RO) \
	R(0x070, SHM_ADDR_LO, RW) R(0x074, SHM_ADDR_HI, RW) R(0x078, SHM_SIZE, RW) \
	R(0x080, IRQ_STATUS, W1C) R(0x084, IRQ_ENABLE, RW) \
	R(0x090, MMU_INV, WO) R(0x094, MMU_BUSY, RO) \
	R(0x0a0, TEMP_MC, RO) R(0x0a4, POWER_MW, RO) \
	R(0x0b0, MBOX_DB, WO) \
	R(0x800, INJECT, WO) R(0x804, INJECT_ARG, RW) R(0x808, INJECT_COUNT, RO)

enum {
#define R(off, name, access) MICA_REG_##name = (off),
	MICA_REGS(R)
#undef R
};

#define MICA_ID_MAGIC			0x4143494du	/* "MICA" */
#define MICA_HW_VERSION_MAJOR_MASK	0xffff0000u
#define MICA_HW_VERSION_MINOR_MASK	0x0000ffffu
#define MICA_HW_VERSION			0x00010000u
#define MICA_FEATURES_DEBUG_MASK	0x00000001u	/* the INJECT bank works (device property debug=on) */
#define MICA_FEATURES_CIM_MASK		0x00000002u

#define MICA_CTRL_RESET_MASK		0x00000001u	/* full reset: cores, microcontroller, MMU, rings; reads 1 until done */
#define MICA_STATUS_READY_MASK		0x00000001u	/* out of reset */
#define MICA_STATUS_FW_RUN_MASK		0x00000002u
#define MICA_STATUS_BUS_ERROR_MASK	0x00000004u	/* a DMA of the microcontroller or a descriptor fetch failed */

#define MICA_FW_CTRL_BOOT_MASK		0x00000001u	/* load the image at FW_ADDR, check it, start the microcontroller */
#define MICA_FW_CTRL_HALT_MASK		0x00000002u

/* FW_STATE. 1..3 are the way up; 16.. are final until the next BOOT or reset. */
#define MICA_FW_STATE_OFF		0
#define MICA_FW_STATE_LOADING		1
#define MICA_FW_STATE_STARTED		2	/* the image is good and runs */
#define MICA_FW_STATE_READY		3	/* it serves the mailbox (written by the firmware) */
#define MICA_FW_STATE_HALTED		4
#define MICA_FW_STATE_CRASHED		16	/* trap without a handler, or the firmware's own panic: FW_PC, FW_CAUSE */
#define MICA_FW_STATE_BAD_MAGIC		17
#define MICA_FW_STATE_BAD_SIZE		18
#define MICA_FW_STATE_BAD_CRC		19
#define MICA_FW_STATE_BAD_HW		20	/* this hardware is outside the image's hardware window */
#define MICA_FW_STATE_BUS_ERROR		21

/* IRQ_STATUS, IRQ_ENABLE: bit = MSI-X vector number */
#define MICA_IRQ_MASK			0x0000000fu

/* MMU_INV: drop every translation of a context slot; done when MMU_BUSY reads 0 (then no access uses an old one). */
#define MICA_MMU_INV_CTX_MASK		0x0000003fu
#define MICA_MMU_INV_ALL_MASK		0x80000000u
#define MICA_MMU_BUSY_MASK		0x00000001u

/* INJECT: one error, once, INJECT_ARG its argument (core index unless said otherwise). */
#define MICA_INJECT_NONE		0
#define MICA_INJECT_HANG_CORE		1	/* the core's next packet never completes */
#define MICA_INJECT_LOST_IRQ		2	/* the next interrupt of vector ARG is not sent */
#define MICA_INJECT_FLIP_LMEM		3	/* flips bit 0 of LMEM byte ARG of core 0 before the next packet (ECC off) */
#define MICA_INJECT_FLIP_LMEM_ECC	4	/* the same with ECC: the job faults with MICA_FAULT_ECC */
#define MICA_INJECT_DMA_ERROR		5	/* the next DMA of core ARG fails */
#define MICA_INJECT_FW_CRASH		6	/* illegal instruction in the microcontroller */
#define MICA_INJECT_FW_HANG		7	/* the microcontroller stops executing */
#define MICA_INJECT_BAD_RING		8	/* the next descriptor fetched is corrupted */
#define MICA_INJECT_LINK_DOWN		9	/* every register reads all ones until reset through FLR */

/*
 * Device page tables. 39-bit device virtual addresses, three levels of 512 little-endian 64-bit entries, as
 * 9+9+9+12 bits. An entry at level 1 (2 MiB) or 0 (4 KiB) may be a leaf. A root is one 4 KiB page in host memory.
 */
#define MICA_PTE_VALID			0x1ull
#define MICA_PTE_WRITE			0x2ull		/* leaf: writes allowed */
#define MICA_PTE_LEAF			0x4ull
#define MICA_PTE_ADDR_MASK		0x000ffffffffff000ull	/* bus address; every other bit must be zero */
#define MICA_VA_BITS			39
#define MICA_PAGE_SHIFT			12
#define MICA_PT_LEVELS			3
#define MICA_PT_ENTRIES			512

/* Why a job ended. Shared by the core's FAULT register, the JOB_DONE message and the driver. */
#define MICA_FAULT_NONE			0
#define MICA_FAULT_PACKET		1	/* the validator refused a packet: FAULT_INFO = its reason (enum mica_check) */
#define MICA_FAULT_SEGMENT		2	/* DRAM access outside its segment, or a write to a read-only one */
#define MICA_FAULT_MMU			3	/* no translation: FAULT_ADDR */
#define MICA_FAULT_MMU_WRITE		4	/* write to a page without WRITE */
#define MICA_FAULT_BUS			5	/* host bus error: FAULT_ADDR */
#define MICA_FAULT_STREAM		6	/* the stream ran out without END */
#define MICA_FAULT_BARRIER		7	/* the cores' barriers do not match */
#define MICA_FAULT_DESC			8	/* bad job descriptor */
#define MICA_FAULT_ECC			9
#define MICA_FAULT_WATCHDOG		10	/* no progress within the watchdog period */
#define MICA_FAULT_ABORTED		11	/* killed at the driver's request, or by a fault on another core of the job */

/*
 * The microcontroller's side: RV32IMC, machine mode. SRAM at 0 (image is loaded there, reset PC = header.entry),
 * local registers at MICA_LOCAL_BASE. Any other address traps (access fault). The external interrupt (mip.MEIP) is
 * IRQ_PENDING & IRQ_ENABLE.
 */
#define MICA_SRAM_BASE			0x00000000u
#define MICA_SRAM_SIZE			0x00040000u
#define MICA_LOCAL_BASE			0x40000000u
#define MICA_LOCAL_SIZE			0x00002000u

#define MICA_LOCAL_REGS(R) \
	R(0x000, CORES, RO) R(0x004, HW_VERSION, RO) R(0x008, CONTEXTS, RO) R(0x00c, LMEM_SIZE, RO) \
	R(0x010, IRQ_PENDING, W1C) R(0x014, IRQ_ENABLE, RW) \
	R(0x020, DB_PENDING_LO, W1C) R(0x024, DB_PENDING_HI, W1C) R(0x028, MBOX_TAIL, RO) \
	R(0x030, TIME_LO, RO) R(0x034, TIME_HI, RO) R(0x038, TIMER_LO, RW) R(0x03c, TIMER_HI, RW) \
	R(0x040, DMA_HOST_LO, RW) R(0x044, DMA_HOST_HI, RW) R(0x048, DMA_LOCAL, RW) R(0x04c, DMA_LEN, RW) \
	R(0x050, DMA_CTRL, WO) R(0x054, DMA_STATUS, RO) \
	R(0x060, RAISE, WO) R(0x064, FW_STATE, WO) R(0x068, FW_ABI, WO) R(0x06c, PANIC, WO) \
	R(0x070, CTX_SEL, RW) R(0x074, CTX_ROOT_LO, RW) R(0x078, CTX_ROOT_HI, RW) R(0x07c, CTX_CTRL, WO) \
	R(0x080, SHM_LO, RO) R(0x084, SHM_HI, RO) R(0x088, SHM_SIZE, RO) R(0x08c, CONSOLE, WO) \
	R(0x090, TEMP_MC, RW) R(0x094, POWER_MW, RW)

enum {
#define R(off, name, access) MICA_LREG_##name = (off),
	MICA_LOCAL_REGS(R)
#undef R
};
#define MICA_LREG_DB_VALUE(ctx)		(0x100u + 4u * (ctx))	/* RO: last value written to the context's doorbell */

/* Local IRQ bits. TIMER: TIME (microseconds) has reached TIMER. CORE: a core's STATUS became DONE, FAULT or PREEMPTED. */
#define MICA_LIRQ_DOORBELL		0x1u	/* level: DB_PENDING != 0 */
#define MICA_LIRQ_MBOX			0x2u
#define MICA_LIRQ_CORE			0x4u
#define MICA_LIRQ_TIMER			0x8u	/* level: TIME >= TIMER and TIMER != 0 */

/* DMA between SRAM and host memory, done when the store to DMA_CTRL retires. DMA_STATUS: 0 good, 1 bus error, 2 bad request. */
#define MICA_DMA_CTRL_TO_LOCAL		1u
#define MICA_DMA_CTRL_TO_HOST		2u

/*
 * MBOX_TAIL: last value written to MBOX_DB (the producer index of h2f; the firmware believes the ring's own tail).
 * RAISE: bit set of the MSI-X vectors to send. FW_ABI: the firmware's window, abi_min << 16 | abi_max. PANIC: a code
 * (MICA_FW_PANIC_*) that becomes FW_CAUSE; FW_PC is the store's, FW_STATE CRASHED, and the microcontroller stops.
 * TEMP_MC, POWER_MW: the firmware's model writes them, BAR0 shows them.
 */

/* CTX_CTRL writes the MMU's context slot CTX_SEL: SET with root CTX_ROOT, or CLEAR. Both drop its translations. */
#define MICA_CTX_CTRL_SET		1u
#define MICA_CTX_CTRL_CLEAR		2u

/* One block of registers per core. */
#define MICA_LREG_CORE(core)		(0x1000u + 0x100u * (core))
#define MICA_CORE_REGS(R) \
	R(0x00, CTRL, WO) R(0x04, STATUS, RO) R(0x08, DESC_LO, RW) R(0x0c, DESC_HI, RW) R(0x10, CTX, RW) R(0x14, GANG, RW) \
	R(0x18, RESUME, RW) R(0x20, FAULT, RO) R(0x24, FAULT_INFO, RO) R(0x28, FAULT_ADDR_LO, RO) R(0x2c, FAULT_ADDR_HI, RO) \
	R(0x30, FAULT_PKT, RO) R(0x34, PROGRESS, RO) R(0x38, FAULT_LAYER, RO) R(0x40, CYCLES_LO, RO) R(0x44, CYCLES_HI, RO)
enum {
#define R(off, name, access) MICA_CREG_##name = (off),
	MICA_CORE_REGS(R)
#undef R
};
#define MICA_CORE_CTRL_START		1u	/* run the job at DESC for context CTX; STATUS becomes RUNNING */
#define MICA_CORE_CTRL_KILL		2u	/* stop as soon as possible with MICA_FAULT_ABORTED */
#define MICA_CORE_CTRL_PREEMPT		4u	/* stop behind the next CHECKPOINT */
#define MICA_CORE_CTRL_ACK		8u	/* DONE, FAULT, PREEMPTED -> IDLE */
#define MICA_CORE_IDLE			0u
#define MICA_CORE_RUNNING		1u
#define MICA_CORE_DONE			2u
#define MICA_CORE_FAULT			3u
#define MICA_CORE_PREEMPTED		4u	/* RESUME = stream offset to go on from */
/*
 * FAULT_* are valid in FAULT; FAULT_LAYER is the layer of the packet at FAULT_PKT. PROGRESS changes with every packet that
 * completes. CYCLES counts from START, from 0 again behind a resume. RESUME is 0 for a fresh start. A gang stops at one
 * checkpoint together: either all of its cores report PREEMPTED or none.
 */
/* GANG: the cores that run one job together. */
#define MICA_GANG_INDEX_MASK		0x000000ffu	/* this core's index in the job: its stream, its PEER number */
#define MICA_GANG_CORES_MASK		0x00ff0000u	/* bit set of the physical cores of the job; the n-th set bit has index n */

#endif /* MICA_REGS_H */
