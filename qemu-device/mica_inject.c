/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors on demand: the INJECT register (with debug=on) and the QOM property `inject` ("name" or "name=argument").
 * An error is armed here and strikes once, where the real one would; INJECT_COUNT counts those that have struck.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qemu/cutils.h"
#include "qemu/log.h"
#include "mica_internal.h"
#include "trace.h"

static const char *const inject_name[] = {
	[MICA_INJECT_NONE] = "none",
	[MICA_INJECT_HANG_CORE] = "hang-core",
	[MICA_INJECT_LOST_IRQ] = "lost-irq",
	[MICA_INJECT_FLIP_LMEM] = "flip-lmem",
	[MICA_INJECT_FLIP_LMEM_ECC] = "flip-lmem-ecc",
	[MICA_INJECT_DMA_ERROR] = "dma-error",
	[MICA_INJECT_FW_CRASH] = "fw-crash",
	[MICA_INJECT_FW_HANG] = "fw-hang",
	[MICA_INJECT_BAD_RING] = "bad-ring",
	[MICA_INJECT_LINK_DOWN] = "link-down",
};

void mica_inject_struck(MicaState *s, const char *what)
{
	trace_mica_inject_struck(what);
	MICA_REG(s, INJECT_COUNT)++;
}

void mica_inject_reset(MicaState *s)
{
	memset(&s->inject, 0, sizeof(s->inject));
	for (unsigned i = 0; i < s->cores; i++) {
		qatomic_set(&s->core[i].inject_hang, false);
		qatomic_set(&s->core[i].inject_dma_error, false);
	}
}

static bool argument_is_good(const MicaState *s, uint32_t what, uint32_t arg)
{
	switch (what) {
	case MICA_INJECT_HANG_CORE:
	case MICA_INJECT_DMA_ERROR:
		return arg < s->cores;
	case MICA_INJECT_LOST_IRQ:
		return arg < MICA_MSIX_VECTORS;
	case MICA_INJECT_FLIP_LMEM:
	case MICA_INJECT_FLIP_LMEM_ECC:
		return arg < s->lmem_size;
	default:
		return what < ARRAY_SIZE(inject_name);
	}
}

static void arm(MicaState *s, uint32_t what, uint32_t arg)
{
	switch (what) {
	case MICA_INJECT_HANG_CORE:
		qatomic_set(&s->core[arg].inject_hang, true);
		break;
	case MICA_INJECT_LOST_IRQ:
		s->inject.lost_irq |= 1u << arg;
		break;
	case MICA_INJECT_FLIP_LMEM:
	case MICA_INJECT_FLIP_LMEM_ECC:
		s->inject.flip_addr = arg;
		s->inject.flip_ecc = what == MICA_INJECT_FLIP_LMEM_ECC;
		qatomic_set(&s->inject.flip, true);
		break;
	case MICA_INJECT_DMA_ERROR:
		qatomic_set(&s->core[arg].inject_dma_error, true);
		break;
	case MICA_INJECT_FW_CRASH:
		s->inject.fw_crash = true;
		mica_mcu_kick(s);
		break;
	case MICA_INJECT_FW_HANG:
		s->mcu_hung = true;
		mica_inject_struck(s, "firmware hang");
		mica_mcu_kick(s);
		break;
	case MICA_INJECT_BAD_RING:
		s->inject.bad_ring = true;
		break;
	case MICA_INJECT_LINK_DOWN:
		qatomic_set(&s->link_down, true);
		mica_inject_struck(s, "link down");
		break;
	default:
		break;
	}
}

void mica_inject(MicaState *s, uint32_t what, uint32_t arg)
{
	trace_mica_inject(what, arg);
	if (argument_is_good(s, what, arg))
		arm(s, what, arg);
	else
		qemu_log_mask(LOG_GUEST_ERROR, TYPE_MICA ": INJECT %" PRIu32 " with argument 0x%" PRIx32 "\n", what, arg);
}

/* ---- where errors strike in a core ---- */

/* Only a stop ends it; the VM may stop and go on meanwhile. */
static int hang(struct mica_core *c)
{
	QEMU_LOCK_GUARD(&c->s->lock);
	if (!c->hung) {
		c->hung = true;
		qatomic_set(&c->inject_hang, false);
		mica_inject_struck(c->s, "hanging core");
	}
	while (mica_core_nap(c))
		;
	return MICA_FAULT_ABORTED;
}

static int flip(struct mica_core *c)
{
	struct mica_pending *p = &c->s->inject;

	QEMU_LOCK_GUARD(&c->s->lock);
	if (!p->flip)
		return 0;
	qatomic_set(&p->flip, false);
	mica_inject_struck(c->s, p->flip_ecc ? "flipped bit, ECC" : "flipped bit");
	if (p->flip_ecc) {
		c->run.fault_addr = MICA_ADDR(MICA_SEG_LMEM, p->flip_addr);
		return MICA_FAULT_ECC;
	}
	c->lmem[p->flip_addr] ^= 1;
	return 0;
}

int mica_inject_packet(struct mica_core *c)
{
	if (c->hung || qatomic_read(&c->inject_hang))
		return hang(c);
	if (c->index == 0 && qatomic_read(&c->s->inject.flip))
		return flip(c);
	return 0;
}

/* ---- QOM ---- */

static bool parse(const char *text, uint32_t *what, uint32_t *arg)
{
	g_auto(GStrv) part = g_strsplit(text, "=", 2);
	unsigned value = 0;

	if (!part[0] || (part[1] && qemu_strtoui(part[1], NULL, 0, &value)))
		return false;
	for (*what = 0; *what < ARRAY_SIZE(inject_name); ++*what) {
		if (!strcmp(part[0], inject_name[*what])) {
			*arg = value;
			return true;
		}
	}
	return false;
}

static void set_inject(Object *obj, const char *value, Error **errp)
{
	MicaState *s = MICA(obj);
	uint32_t what, arg;

	if (!parse(value, &what, &arg)) {
		error_setg(errp, TYPE_MICA ": inject wants NAME or NAME=ARGUMENT, got '%s'", value);
		return;
	}
	if (!DEVICE(obj)->realized || !argument_is_good(s, what, arg)) {
		error_setg(errp, TYPE_MICA ": inject: '%s' is not possible here", value);
		return;
	}
	QEMU_LOCK_GUARD(&s->lock);
	mica_inject(s, what, arg);
}

void mica_inject_class_init(ObjectClass *klass)
{
	object_class_property_add_str(klass, "inject", NULL, set_inject);
	object_class_property_set_description(klass, "inject",
		"Lets one error happen: hang-core, lost-irq, flip-lmem, flip-lmem-ecc, dma-error, fw-crash, fw-hang, "
		"bad-ring or link-down, with =ARGUMENT as the INJECT_ARG register has it");
}
