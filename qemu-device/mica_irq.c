/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interrupts to the host. MSI-X belongs to the BQL; a reset in between makes the message void. */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "hw/pci/msix.h"
#include "mica_internal.h"
#include "trace.h"

/* Vectors of the set that go out now; lost ones are counted and forgotten. */
static uint32_t vectors_to_send(MicaState *s, uint32_t vectors)
{
	uint32_t enabled = vectors & MICA_REG(s, IRQ_ENABLE);
	uint32_t lost = enabled & s->inject.lost_irq;

	if (lost) {
		s->inject.lost_irq &= ~lost;
		mica_inject_struck(s, "lost interrupt");
	}
	return enabled & ~lost;
}

void mica_raise(MicaState *s, uint32_t vectors)
{
	uint32_t send = 0, epoch;

	WITH_QEMU_LOCK_GUARD(&s->lock) {
		epoch = s->epoch;
		if (s->resetting || s->link_down)
			return;
		MICA_REG(s, IRQ_STATUS) |= vectors & MICA_IRQ_MASK;
		send = vectors_to_send(s, vectors & MICA_IRQ_MASK);
		trace_mica_raise(vectors, send);
	}
	if (!send)
		return;
	BQL_LOCK_GUARD();
	if (epoch != s->epoch)		/* changes under the BQL alone */
		return;
	for (unsigned i = 0; i < MICA_MSIX_VECTORS; i++) {
		if (send & (1u << i))
			msix_notify(PCI_DEVICE(s), i);
	}
}

void mica_bus_error(MicaState *s, uint64_t addr)
{
	trace_mica_bus_error(addr);
	WITH_QEMU_LOCK_GUARD(&s->lock) {
		if (s->resetting)
			return;
		MICA_REG(s, STATUS) |= MICA_STATUS_BUS_ERROR_MASK;
	}
	mica_raise(s, 1u << MICA_VEC_FATAL);
}
