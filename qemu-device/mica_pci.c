/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI endpoint: properties, BARs, capabilities, threads' birth and death, what happens when the VM stops. */
#include "qemu/osdep.h"
#include "qemu/memalign.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "exec/address-spaces.h"
#include "hw/pci/msix.h"
#include "hw/pci/pcie.h"
#include "hw/qdev-properties.h"
#include "migration/vmstate.h"
#include "system/runstate.h"
#include "mica_internal.h"
#include "trace.h"

#define MICA_EXP_CAP	0x80	/* config space: PCI Express capability, power management */
#define MICA_PM_CAP	0xe0

static const Property mica_properties[] = {
	DEFINE_PROP_UINT32("cores", MicaState, cores, 2),
	DEFINE_PROP_SIZE32("lmem", MicaState, lmem_size, 2 * MiB),
	DEFINE_PROP_UINT32("mac-rows", MicaState, mac_rows, 64),
	DEFINE_PROP_UINT32("mac-cols", MicaState, mac_cols, 64),
	DEFINE_PROP_UINT32("lanes", MicaState, lanes, 256),
	DEFINE_PROP_UINT32("dram-bytes-per-cycle", MicaState, dram_bytes, 64),
	DEFINE_PROP_UINT32("clock-khz", MicaState, clock_khz, 1000000),
	DEFINE_PROP_UINT32("contexts", MicaState, contexts, MICA_MAX_CONTEXTS),
	DEFINE_PROP_UINT32("threads", MicaState, threads, 1),
	DEFINE_PROP_UINT32("hw-version", MicaState, hw_version, MICA_HW_VERSION),
	DEFINE_PROP_BOOL("debug", MicaState, debug, false),
};

static bool check_properties(MicaState *s, Error **errp)
{
	const struct {
		const char *name;
		uint32_t value, min, max;
	} range[] = {
		{ "cores", s->cores, 1, MICA_MAX_CORES },
		{ "lmem", s->lmem_size, 64 * KiB, 64 * MiB },
		{ "mac-rows", s->mac_rows, 1, 1024 },
		{ "mac-cols", s->mac_cols, 1, 1024 },
		{ "lanes", s->lanes, 1, 4096 },
		{ "dram-bytes-per-cycle", s->dram_bytes, 1, 4096 },
		{ "clock-khz", s->clock_khz, 1000, 10000000 },
		{ "contexts", s->contexts, 2, MICA_MAX_CONTEXTS },
		{ "threads", s->threads, 1, 64 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(range); i++) {
		if (range[i].value < range[i].min || range[i].value > range[i].max) {
			error_setg(errp, TYPE_MICA ": property '%s' is %" PRIu32 ", must be from %" PRIu32
				   " to %" PRIu32, range[i].name, range[i].value, range[i].min, range[i].max);
			return false;
		}
	}
	if (!is_power_of_2(s->lmem_size)) {
		error_setg(errp, TYPE_MICA ": property 'lmem' is %" PRIu32 ", must be a power of two", s->lmem_size);
		return false;
	}
	return true;
}

static void set_params(MicaState *s)
{
	s->params = mica_params_default;
	s->params.mac_rows = s->mac_rows;
	s->params.mac_cols = s->mac_cols;
	s->params.vector_lanes = s->lanes;
	s->params.dram_bytes_per_cycle = s->dram_bytes;
}

static bool init_capabilities(PCIDevice *pdev, Error **errp)
{
	if (!pci_bus_is_express(pci_get_bus(pdev))) {
		error_setg(errp, TYPE_MICA ": needs a PCI Express slot");
		return false;
	}
	if (pcie_endpoint_cap_init(pdev, MICA_EXP_CAP) < 0) {
		error_setg(errp, TYPE_MICA ": no room for the PCI Express capability");
		return false;
	}
	pcie_cap_flr_init(pdev);
	if (pci_pm_init(pdev, MICA_PM_CAP, errp) < 0)
		return false;
	/* D3hot keeps the state: what the driver set up is there when it comes back. */
	pci_set_word(pdev->config + MICA_PM_CAP + PCI_PM_CTRL, PCI_PM_CTRL_NO_SOFT_RESET);
	pci_set_word(pdev->wmask + MICA_PM_CAP + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK);
	if (msix_init_exclusive_bar(pdev, MICA_MSIX_VECTORS, MICA_BAR_MSIX, errp))
		return false;
	for (unsigned i = 0; i < MICA_MSIX_VECTORS; i++)
		msix_vector_use(pdev, i);
	return true;
}

static bool init_core(MicaState *s, unsigned index, Error **errp)
{
	struct mica_core *c = &s->core[index];

	c->s = s;
	c->index = index;
	/* calloc'd pages cost nothing until they are touched. */
	c->lmem_block = g_try_malloc0((gsize)s->lmem_size + MICA_LMEM_ALIGN);
	c->engine = mica_engine_create(MICA_ISA_AUTO, s->threads);
	c->run.buf = qemu_memalign(MICA_PKT_ALIGN, MICA_STREAM_CHUNK);
	qemu_cond_init(&c->cond);
	if (!c->lmem_block || !c->engine) {
		error_setg(errp, TYPE_MICA ": core %u: not enough memory", index);
		return false;
	}
	c->lmem_size = s->lmem_size;
	c->lmem = QEMU_ALIGN_PTR_UP(c->lmem_block, MICA_LMEM_ALIGN);
	return true;
}

static void free_core(struct mica_core *c)
{
	if (!c->s)
		return;
	if (c->engine)
		mica_engine_destroy(c->engine);
	mica_dma_free(c);
	qemu_vfree(c->run.buf);
	g_free(c->lmem_block);
	qemu_cond_destroy(&c->cond);
}

static void free_all(MicaState *s)
{
	for (unsigned i = 0; i < MICA_MAX_CORES; i++)
		free_core(&s->core[i]);
	g_free(s->sram);
	qemu_cond_destroy(&s->mcu_cond);
	qemu_cond_destroy(&s->still_cond);
	qemu_mutex_destroy(&s->lock);
}

/*
 * The VM stops or goes on. When this returns after a stop nothing of ours changes guest memory any more. The vCPUs
 * stand still already; the BQL is dropped because a thread on its way to rest may need it.
 */
static void vm_state_changed(void *opaque, bool running, RunState state)
{
	MicaState *s = opaque;

	bql_unlock();
	qemu_mutex_lock(&s->lock);
	qatomic_set(&s->paused, !running);
	trace_mica_pause(s->paused);
	for (unsigned i = 0; i < s->cores; i++)
		qemu_cond_signal(&s->core[i].cond);
	mica_mcu_kick(s);
	while (s->paused && !mica_all_still(s))
		qemu_cond_wait(&s->still_cond, &s->lock);
	qemu_mutex_unlock(&s->lock);
	bql_lock();
}

static void start_threads(MicaState *s)
{
	char name[32];

	qemu_thread_create(&s->mcu_thread, "mica-mcu", mica_mcu_thread, s, QEMU_THREAD_JOINABLE);
	for (unsigned i = 0; i < s->cores; i++) {
		snprintf(name, sizeof(name), "mica-core%u", i);
		qemu_thread_create(&s->core[i].thread, name, mica_core_thread, &s->core[i], QEMU_THREAD_JOINABLE);
	}
}

static void stop_threads(MicaState *s)
{
	qemu_mutex_lock(&s->lock);
	s->quit = true;
	mica_mcu_kick(s);
	for (unsigned i = 0; i < s->cores; i++) {
		atomic_store(&s->core[i].stop, true);
		qemu_cond_signal(&s->core[i].cond);
	}
	qemu_mutex_unlock(&s->lock);

	bql_unlock();
	qemu_thread_join(&s->mcu_thread);
	for (unsigned i = 0; i < s->cores; i++)
		qemu_thread_join(&s->core[i].thread);
	bql_lock();
}

static void mica_realize(PCIDevice *pdev, Error **errp)
{
	MicaState *s = MICA(pdev);

	if (!check_properties(s, errp))
		return;
	set_params(s);
	qemu_mutex_init(&s->lock);
	qemu_cond_init(&s->still_cond);
	qemu_cond_init(&s->mcu_cond);
	s->sram = g_malloc0(MICA_SRAM_SIZE);
	rv32_init(&s->cpu, s->sram, MICA_SRAM_SIZE, &mica_local_bus, s);
	for (unsigned i = 0; i < s->cores; i++) {
		if (!init_core(s, i, errp))
			goto err_free;
	}
	memory_region_init_io(&s->regs_mr, OBJECT(s), &mica_mmio_ops, s, TYPE_MICA "-regs", MICA_BAR0_SIZE);
	pci_register_bar(pdev, MICA_BAR_REGS, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->regs_mr);
	if (!init_capabilities(pdev, errp))
		goto err_free;

	s->paused = !runstate_is_running();
	s->vm_state = qdev_add_vm_change_state_handler(DEVICE(s), vm_state_changed, s);
	qemu_mutex_lock(&s->lock);
	mica_reset_begin(s);
	mica_reset_progress(s);
	qemu_mutex_unlock(&s->lock);
	start_threads(s);
	return;

err_free:
	free_all(s);
}

static void mica_exit(PCIDevice *pdev)
{
	MicaState *s = MICA(pdev);

	qemu_del_vm_change_state_handler(s->vm_state);
	stop_threads(s);
	msix_uninit_exclusive_bar(pdev);
	pcie_cap_exit(pdev);
	free_all(s);
}

static void mica_config_write(PCIDevice *pdev, uint32_t addr, uint32_t value, int len)
{
	pci_default_write_config(pdev, addr, value, len);
	pcie_cap_flr_write_config(pdev, addr, value, len);
}

/* Our own state goes in `enter`; the PCI core resets MSI-X and config space. Threads may take until after `exit`. */
static void mica_reset_enter(Object *obj, ResetType type)
{
	MicaState *s = MICA(obj);

	QEMU_LOCK_GUARD(&s->lock);
	s->in_reset = true;
	mica_reset_begin(s);
}

static void mica_reset_exit(Object *obj, ResetType type)
{
	MicaState *s = MICA(obj);

	/* Here every device of the machine exists, also a vIOMMU that came behind us on the command line. */
	bool behind_iommu = pci_device_iommu_address_space(PCI_DEVICE(s)) != &address_space_memory;

	QEMU_LOCK_GUARD(&s->lock);
	qatomic_set(&s->behind_iommu, behind_iommu);
	s->in_reset = false;
	mica_reset_progress(s);
}

static void mica_class_init(ObjectClass *klass, void *data)
{
	DeviceClass *dc = DEVICE_CLASS(klass);
	PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);
	ResettableClass *rc = RESETTABLE_CLASS(klass);

	pc->realize = mica_realize;
	pc->exit = mica_exit;
	pc->config_write = mica_config_write;
	pc->vendor_id = MICA_PCI_VENDOR_ID;
	pc->device_id = MICA_PCI_DEVICE_ID;
	pc->class_id = MICA_PCI_CLASS;
	pc->revision = 1;
	rc->phases.enter = mica_reset_enter;
	rc->phases.exit = mica_reset_exit;
	dc->desc = "MICA inference accelerator";
	dc->vmsd = &mica_vmstate;
	device_class_set_props(dc, mica_properties);
	mica_inject_class_init(klass);
	set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static const TypeInfo mica_type = {
	.name = TYPE_MICA,
	.parent = TYPE_PCI_DEVICE,
	.instance_size = sizeof(MicaState),
	.class_init = mica_class_init,
	.interfaces = (InterfaceInfo[]) {
		{ INTERFACE_PCIE_DEVICE },
		{ }
	},
};

static void mica_register_types(void)
{
	type_register_static(&mica_type);
}

type_init(mica_register_types)
