/* SPDX-License-Identifier: MIT */
/* The end: tell the driver as far as the shared area can be reached, then stop the microcontroller. */
#include "fw.h"

_Noreturn void fw_panic(u32 code, u32 pc, u64 detail)
{
	struct mica_fw_msg m = { .type = MICA_MSG_PANIC, .arg = { code, pc, detail } };

	if (!fw.panicking) {
		fw.panicking = true;
		if (fw.shm) {
			log_print("panic %x at %x, detail %llx", code, pc, detail);
			if (mbox_room())
				mbox_post(&m);
			mbox_flush();
		}
	}
	hw_write(MICA_LREG_PANIC, code);
	hw_dead();
}

/* From the trap vector, which has set mtvec to 0: another trap from here stops the microcontroller by itself. */
_Noreturn void fw_trap(u32 cause, u32 pc, u32 tval)
{
	fw_panic(MICA_FW_PANIC_TRAP + (cause & 0xff), pc, tval);
}
