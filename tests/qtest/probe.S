# SPDX-License-Identifier: MIT
# The tests' own firmware: carries out lists of accesses to the local bus, so that a test on the host can do whatever
# firmware could. At each mailbox interrupt it takes the list from the shared area (4 KiB: word 0 count, word 1 done,
# then triples of operation, address, value), works through it, and writes it back with done = count.
# Operations: 0 store, 1 load, 2 wait for the interrupt line, 3 jump to the address, 4 spin for ever.

	.equ	LIST, 0x1000
	.equ	SIZE, 0x1000

	.globl	_start
_start:
	li	s0, 0x40000000		# local registers
	li	s1, LIST
	li	t0, 2			# MBOX
	sw	t0, 0x14(s0)		# IRQ_ENABLE
	li	t0, 0x800		# mie.MEIE; mstatus.MIE stays off: wfi wakes, nothing traps
	csrw	mie, t0
	lw	t0, 0x80(s0)		# SHM -> DMA_HOST
	sw	t0, 0x40(s0)
	lw	t0, 0x84(s0)
	sw	t0, 0x44(s0)
	sw	s1, 0x48(s0)		# DMA_LOCAL
	li	t0, SIZE
	sw	t0, 0x4c(s0)
	li	t0, 3			# READY
	sw	t0, 0x64(s0)

idle:	wfi
	lw	t0, 0x10(s0)		# IRQ_PENDING
	andi	t0, t0, 2
	beqz	t0, idle
	sw	t0, 0x10(s0)
	call	bind
	li	t0, 1
	sw	t0, 0x50(s0)		# list to SRAM
	lw	s2, 0(s1)
	addi	s3, s1, 8
next:	beqz	s2, done
	lw	t0, 0(s3)
	lw	t1, 4(s3)
	lw	t2, 8(s3)
	beqz	t0, store
	addi	t0, t0, -1
	beqz	t0, load
	addi	t0, t0, -1
	beqz	t0, wait
	addi	t0, t0, -1
	beqz	t0, jump
stuck:	j	stuck
store:	sw	t2, 0(t1)
	j	step
load:	lw	t2, 0(t1)
	sw	t2, 8(s3)
	j	step
wait:	wfi
	j	step
jump:	jr	t1
step:	addi	s3, s3, 12
	addi	s2, s2, -1
	j	next
done:	lw	t0, 0(s1)
	sw	t0, 4(s1)
	call	bind
	li	t0, 2
	sw	t0, 0x50(s0)		# list back
	j	idle

# The lists may have used the DMA registers themselves.
bind:	lw	t0, 0x80(s0)
	sw	t0, 0x40(s0)
	lw	t0, 0x84(s0)
	sw	t0, 0x44(s0)
	sw	s1, 0x48(s0)
	li	t0, SIZE
	sw	t0, 0x4c(s0)
	ret
