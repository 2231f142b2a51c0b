/* SPDX-License-Identifier: MIT */
/* Reset and trap entry. The image is loaded at address 0 as it is; only .bss has to be made. */
	.section .text.start, "ax"
	.globl _start
_start:
	.option push
	.option norelax
	la	gp, __global_pointer$
	.option pop
	la	sp, __stack_top
	la	t0, trap_entry
	csrw	mtvec, t0
	la	t0, __bss_start
	la	t1, __bss_end
1:	bgeu	t0, t1, 2f
	sw	zero, 0(t0)
	addi	t0, t0, 4
	j	1b
2:	li	t0, 0x800		/* mie.MEIE: wakes WFI; mstatus.MIE stays off, so that nothing is taken */
	csrw	mie, t0
	call	fw_main

	.balign	4
trap_entry:
	csrw	mtvec, zero		/* a trap within the trap stops the microcontroller */
	la	sp, __stack_top
	csrr	a0, mcause
	csrr	a1, mepc
	csrr	a2, mtval
	call	fw_trap
