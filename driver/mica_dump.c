// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device coredumps: text with the registers, the firmware's log and the guilty context's oldest job. Recovery may not
 * wait for memory: that of the text is set aside beforehand, and a work of its own hands the text over.
 */
#include <linux/devcoredump.h>
#include <linux/ktime.h>
#include <linux/vmalloc.h>

#include <drm/drm_print.h>

#include "mica_drv.h"

#define MICA_DUMP_SIZE	(64u * 1024)

static void mica_dump_work(struct work_struct *work)
{
	struct mica_device *mdev = container_of(work, struct mica_device, dump_work);
	char *data = xchg(&mdev->dump_taken, NULL);

	if (data)
		dev_coredumpv(mdev->drm.dev, data, mdev->dump_size, GFP_KERNEL);
	vfree(xchg(&mdev->dump, vmalloc(MICA_DUMP_SIZE)));
}

void mica_dump_init(struct mica_device *mdev)
{
	INIT_WORK(&mdev->dump_work, mica_dump_work);
	mica_dump_work(&mdev->dump_work);
}

void mica_dump_fini(struct mica_device *mdev)
{
	flush_work(&mdev->dump_work);
	vfree(xchg(&mdev->dump, NULL));
}

static void mica_dump_registers(struct mica_device *mdev, struct drm_printer *p)
{
	const struct mica_reg_name *reg;

	drm_puts(p, "\n[registers]\n");
	for (reg = mica_reg_names; reg->name; reg++)
		if (reg->readable)
			drm_printf(p, "%03x %-20s %08x\n", reg->reg, reg->name,
				   mica_read(mdev, reg->reg));
}

static void mica_dump_job(struct mica_ctx *ctx, struct drm_printer *p)
{
	struct mica_job *job;
	u32 i;

	spin_lock_irq(&ctx->lock);
	drm_printf(p, "\n[context]\nslot %u\ntail %u\nlast_fault %u\n", ctx->slot, ctx->tail,
		   ctx->info.last_fault);
	job = list_first_entry_or_null(&ctx->inflight, struct mica_job, node);
	if (job) {
		drm_printf(p, "\n[job]\nseqno %llu\ncores %u\nsegments %u\nstats_segment %u\n",
			   job->desc.seqno, job->desc.cores, job->desc.segments,
			   job->desc.stats_segment);
		for (i = 0; i < job->desc.cores; i++)
			drm_printf(p, "stream %u va %#llx size %#x\n", i, job->desc.stream[i].va,
				   job->desc.stream[i].size);
		for (i = 0; i < job->desc.segments; i++)
			drm_printf(p, "segment %u va %#llx size_flags %#llx\n", i,
				   job->desc.segment[i].va, job->desc.segment[i].size_flags);
	}
	spin_unlock_irq(&ctx->lock);
}

/* Needs state_lock; guilty may be NULL. */
void mica_dump_take(struct mica_device *mdev, const char *why, struct mica_ctx *guilty)
{
	char *data = xchg(&mdev->dump, NULL);
	struct drm_print_iterator iter = { .data = data, .remain = MICA_DUMP_SIZE };
	struct drm_printer p = drm_coredump_printer(&iter);
	size_t size;

	if (!data)
		return;
	drm_printf(&p, "mica device coredump\nreason: %s\ntime: %lld\nfirmware: %#x\nresets: %d\n", why,
		   ktime_get_real_seconds(), mdev->fw.version, atomic_read(&mdev->resets));
	mica_dump_registers(mdev, &p);
	if (guilty)
		mica_dump_job(guilty, &p);
	drm_puts(&p, "\n[firmware log]\n");
	size = MICA_DUMP_SIZE - iter.remain;
	mdev->dump_size = size + mica_fw_log_read(mdev, data + size, iter.remain);
	xchg(&mdev->dump_taken, data);	/* was NULL: the work takes it before there is another spare */
	queue_work(mica_release_wq, &mdev->dump_work);
}
