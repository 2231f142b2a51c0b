/* SPDX-License-Identifier: MIT */
/*
 * The only way of the firmware to its hardware. The host's unit tests define MICA_FW_HOST and give the fw_host_*
 * functions a simulated device.
 */
#ifndef MICA_FW_HW_H
#define MICA_FW_HW_H

#include <stdbool.h>
#include <stddef.h>

#include "mica/fw_abi.h"
#include "mica/regs.h"

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __s32 s32;
typedef __u64 u64;

#ifdef MICA_FW_HOST

u32 fw_host_read(u32 offset);
void fw_host_write(u32 offset, u32 value);
bool fw_host_dma(u64 host, void *local, u32 length, u32 ctrl);
_Noreturn void fw_host_dead(void);

static inline u32 hw_read(u32 offset)
{
	return fw_host_read(offset);
}

static inline void hw_write(u32 offset, u32 value)
{
	fw_host_write(offset, value);
}

/* ctrl: MICA_DMA_CTRL_*. Done when it returns; false: the host's bus refused it. */
static inline bool hw_dma(u64 host, void *local, u32 length, u32 ctrl)
{
	return fw_host_dma(host, local, length, ctrl);
}

/* Behind a write to PANIC nothing is executed any more. */
static inline _Noreturn void hw_dead(void)
{
	fw_host_dead();
}

#else

static inline volatile u32 *hw_reg(u32 offset)
{
	return (volatile u32 *)(MICA_LOCAL_BASE + offset);
}

static inline u32 hw_read(u32 offset)
{
	return *hw_reg(offset);
}

static inline void hw_write(u32 offset, u32 value)
{
	*hw_reg(offset) = value;
}

static inline bool hw_dma(u64 host, void *local, u32 length, u32 ctrl)
{
	hw_write(MICA_LREG_DMA_HOST_LO, (u32)host);
	hw_write(MICA_LREG_DMA_HOST_HI, (u32)(host >> 32));
	hw_write(MICA_LREG_DMA_LOCAL, (u32)local);
	hw_write(MICA_LREG_DMA_LEN, length);
	/* The device reads and writes SRAM behind the compiler's back, from here to the status read. */
	__asm__ volatile("" ::: "memory");
	hw_write(MICA_LREG_DMA_CTRL, ctrl);
	__asm__ volatile("" ::: "memory");
	return hw_read(MICA_LREG_DMA_STATUS) == 0;
}

static inline void hw_wfi(void)
{
	__asm__ volatile("wfi" ::: "memory");
}

static inline _Noreturn void hw_dead(void)
{
	for (;;)
		hw_wfi();
}

#endif

static inline u64 hw_time(void)
{
	u32 high, low;

	do {
		high = hw_read(MICA_LREG_TIME_HI);
		low = hw_read(MICA_LREG_TIME_LO);
	} while (high != hw_read(MICA_LREG_TIME_HI));
	return (u64)high << 32 | low;
}

static inline u32 core_read(u32 core, u32 reg)
{
	return hw_read(MICA_LREG_CORE(core) + reg);
}

static inline void core_write(u32 core, u32 reg, u32 value)
{
	hw_write(MICA_LREG_CORE(core) + reg, value);
}

#endif /* MICA_FW_HW_H */
