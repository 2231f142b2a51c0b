/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shared by the files of mica.ko: the objects, who owns them, which lock protects what.
 *
 * Objects: a file (mica_file) has one address space (mica_vm) and contexts (mica_ctx). A buffer (mica_bo) has a
 * mapping (mica_mapping) per address space. A job holds references to its context and to the mappings it uses.
 *
 * Locks, outermost first:
 *   runtime PM (a reference is taken before any lock)
 *   mica_device.state_lock  requests to the firmware, slots, resets
 *   mica_bo.map_lock, mica_device.list_lock
 *   dma_resv of buffers
 *   mica_ctx.submit_lock, mica_vm.lock, mica_device.mmu_lock
 *   mica_device.ev_lock, mica_ctx.lock, fences (all with interrupts off)
 */
#ifndef MICA_DRV_H
#define MICA_DRV_H

#include <linux/bitfield.h>
#include <linux/io.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include <drm/drm_device.h>
#include <drm/drm_drv.h>
#include <drm/drm_exec.h>
#include <drm/drm_file.h>
#include <drm/drm_gem_shmem_helper.h>
#include <drm/drm_mm.h>
#include <drm/drm_syncobj.h>
#include <drm/gpu_scheduler.h>

#include <drm/mica_accel.h>
#include <mica/fw_abi.h>
#include <mica/regs.h>

#ifdef __BIG_ENDIAN
#error "the device is little endian, and so must be the CPU"
#endif

#define MICA_RING_JOBS		64u	/* descriptors in a context's job ring */
#define MICA_VA_START		0x200000ull	/* address 0 and its 2 MiB stay unmapped */
#define MICA_VA_END		BIT_ULL(MICA_VA_BITS)

struct io_uring_cmd;
struct mica_ctx;
struct mica_ucmd;

/* What the device can do now. Written under state_lock. */
enum mica_state {
	MICA_STATE_OFF,		/* no firmware yet, or asleep */
	MICA_STATE_RUNNING,
	MICA_STATE_WEDGED,	/* a reset failed: everything ends with EIO */
	MICA_STATE_GONE,	/* unplugged or unbound: everything ends with ENODEV */
};

struct mica_hw {
	u32 version, isa_version, features;
	u32 cores, contexts;
	u32 lmem_size, mac_rows, mac_cols, vector_lanes, dram_bytes_per_cycle, clock_khz;
};

struct mica_fw {
	void *image;			/* kept for resets */
	dma_addr_t image_dma;
	size_t image_size;
	u32 version, abi;

	struct mica_fw_shm *shm;
	dma_addr_t shm_dma;
	u32 h2f_tail;			/* state_lock; the ring's own copy is not trusted */
	u32 f2h_head;			/* ev_lock */

	u32 seq;			/* state_lock */
	u32 wait_seq;			/* ev_lock: the request that waits, 0 none */
	struct mica_fw_msg reply;	/* ev_lock until done */
	struct completion done;
	bool online;			/* ev_lock: messages are read */
	bool broken;			/* ev_lock: the ring made no sense, a reset is due */
};

struct mica_device {
	struct drm_device drm;
	struct pci_dev *pdev;
	void __iomem *regs;
	struct mica_hw hw;
	struct mica_fw fw;

	struct mutex state_lock;	/* requests to the firmware, state, slots, resets */
	enum mica_state state;
	struct mica_ctx *slots[MICA_MAX_CONTEXTS];	/* written under both, read under one of state_lock, ev_lock */
	struct work_struct reset_work;
	bool reset_forced;		/* set by anybody, taken by the work */
	atomic_t resets;
	bool own_flr;			/* state_lock: this FLR is part of our reset */

	spinlock_t ev_lock;		/* the event ring's consumer side */
	struct timer_list poll_timer;	/* reads the ring while jobs run, in case an interrupt is lost */
	atomic_t inflight;		/* jobs in rings */
	unsigned long last_done;	/* jiffies of the newest JOB_DONE; racy, a hint */

	struct mutex mmu_lock;		/* MMU_INV/MMU_BUSY, mica_vm.slots */
	struct dma_pool *pt_pool;
	struct mutex list_lock;		/* both lists */
	struct list_head vms;
	struct list_head bos;
	void *dump;			/* spare memory for a coredump, taken with xchg() */
	void *dump_taken;		/* a coredump on its way out, likewise */
	size_t dump_size;		/* of dump_taken */
	struct work_struct dump_work;	/* hands it over, gets the next spare */
};

#define to_mica(d)	container_of(d, struct mica_device, drm)

struct mica_pt {
	u64 *entry;
	dma_addr_t dma;
	struct mica_pt **child;		/* not at level 0 */
};

struct mica_vm {
	struct kref ref;		/* file, contexts, mappings */
	struct mica_device *mdev;	/* holds a reference to the drm device */
	struct list_head link;		/* mica_device.vms, list_lock */
	struct mutex lock;		/* mm and tables */
	struct drm_mm mm;
	struct mica_pt *root;		/* NULL once the device is gone */
	DECLARE_BITMAP(slots, MICA_MAX_CONTEXTS);	/* mmu_lock */
	atomic64_t busy_ns;
};

struct mica_file {
	struct mica_vm *vm;
	struct xarray ctxs;		/* id -> mica_ctx, owns a reference */
};

struct mica_bo {
	struct drm_gem_shmem_object shmem;
	struct list_head link;		/* mica_device.bos, list_lock */
	struct mutex map_lock;
	struct list_head mappings;	/* map_lock */
};

#define to_mica_bo(obj)	container_of(to_drm_gem_shmem_obj(obj), struct mica_bo, shmem)

struct mica_mapping {
	struct kref ref;		/* open handles together one, each job one */
	u32 handles;			/* map_lock */
	struct list_head link;		/* mica_bo.mappings, map_lock; empty when the last handle is closed */
	struct mica_bo *bo;		/* holds a GEM reference */
	struct mica_vm *vm;
	struct drm_mm_node node;
	bool mapped;
};

struct mica_ctx {
	struct kref ref;		/* memory: file, users, hardware fences */
	refcount_t users;		/* of the scheduler: the owner and each job */
	struct work_struct fini_work;
	struct mica_device *mdev;
	struct mica_vm *vm;
	u32 slot, priority;

	struct drm_gpu_scheduler sched;
	struct drm_sched_entity entity;
	struct mutex submit_lock;	/* arm and push of a submission are one step */
	bool closed;			/* submit_lock */

	spinlock_t lock;		/* all below; interrupts off */
	struct mica_job_desc *ring;
	dma_addr_t ring_dma;
	u32 tail;			/* producer index */
	u64 seqno;			/* of the newest job in the ring */
	struct list_head inflight;	/* mica_job.node, ring order */
	int error;			/* not 0: no job is started, all end with it */
	bool lost;			/* guilty of a reset */
	bool abort_due;			/* the firmware's watchdog shot a job: abort the rest */
	struct drm_mica_context_info info;

	spinlock_t fence_lock;		/* of the hardware fences */
	u64 fence_context;
	u64 fence_seqno;
};

struct mica_fence {
	struct dma_fence base;
	struct mica_ctx *ctx;
};

struct mica_use {
	struct mica_mapping *mapping;
	bool write;
};

struct mica_out {
	struct drm_syncobj *syncobj;
	struct dma_fence_chain *chain;	/* NULL: binary */
	u64 point;
};

struct mica_job {
	struct drm_sched_job base;
	struct mica_ctx *ctx;		/* a user of it */
	struct mica_fence *fence;	/* NULL once the ring has it */
	struct list_head node;		/* mica_ctx.inflight, then a local list of finished jobs */
	struct dma_fence *hw_fence;	/* while in flight */
	struct mica_ucmd *ucmd;
	struct mica_use *uses;
	u32 num_uses;
	struct mica_out *outs;
	u32 num_outs;
	int error;			/* what the fence will say; the context's lock */
	bool timed_out;
	u8 resets;			/* it was at the ring's head in so many resets */
	u8 extensions;			/* timeouts that others' progress excused */
	struct work_struct release_work;
	struct mica_job_desc desc;
};

#define to_mica_job(j)	container_of(j, struct mica_job, base)

/* mica_drv.c: parameters and work queues of the module */
extern uint mica_job_timeout_ms;
extern uint mica_fw_timeout_ms;
extern uint mica_watchdog_ms;
extern struct workqueue_struct *mica_sched_wq;
extern struct workqueue_struct *mica_reset_wq;
extern struct workqueue_struct *mica_release_wq;

/* mica_device.c */
static inline u32 mica_read(struct mica_device *mdev, u32 reg)
{
	return readl(mdev->regs + reg);
}

static inline void mica_write(struct mica_device *mdev, u32 reg, u32 value)
{
	writel(value, mdev->regs + reg);
}

static inline void mica_write64(struct mica_device *mdev, u32 reg_lo, u64 value)
{
	mica_write(mdev, reg_lo, lower_32_bits(value));
	mica_write(mdev, reg_lo + 4, upper_32_bits(value));
}

struct mica_reg_name {
	u32 reg;
	bool readable;
	const char *name;
};

extern const struct mica_reg_name mica_reg_names[];	/* ends with a NULL name */
int mica_device_init(struct mica_device *mdev);
bool mica_link_down(struct mica_device *mdev);
int mica_hw_reset(struct mica_device *mdev);
void mica_hw_stop(struct mica_device *mdev);

/* mica_fw.c. Everything needs state_lock. */
int mica_fw_load(struct mica_device *mdev);
void mica_fw_unload(struct mica_device *mdev);
int mica_fw_boot(struct mica_device *mdev);
int mica_fw_call(struct mica_device *mdev, struct mica_fw_msg *msg);
void mica_fw_offline(struct mica_device *mdev);
int mica_fw_ctx_create(struct mica_device *mdev, struct mica_ctx *ctx);
size_t mica_fw_log_read(struct mica_device *mdev, char *buf, size_t size);
const char *mica_fw_state_name(u32 state);

/* mica_irq.c */
int mica_irq_init(struct mica_device *mdev);
void mica_irq_fini(struct mica_device *mdev);
void mica_irq_enable(struct mica_device *mdev);
void mica_irq_poll(struct mica_device *mdev);
void mica_irq_job_started(struct mica_device *mdev);

/* mica_mmu.c */
int mica_mmu_init(struct mica_device *mdev);
void mica_mmu_unplug(struct mica_device *mdev);
struct mica_vm *mica_vm_create(struct mica_device *mdev);
void mica_vm_put(struct mica_vm *vm);
int mica_vm_map(struct mica_vm *vm, u64 va, struct sg_table *sgt, u64 size);
void mica_vm_unmap(struct mica_vm *vm, u64 va, u64 size);
void mica_vm_set_slot(struct mica_vm *vm, u32 slot, bool used);
void mica_vm_flush(struct mica_vm *vm);

/* mica_gem.c */
struct drm_gem_object *mica_gem_create_object(struct drm_device *drm, size_t size);
struct drm_gem_object *mica_gem_prime_import(struct drm_device *drm, struct dma_buf *buf);
struct mica_mapping *mica_mapping_lookup(struct drm_file *file, u32 handle);
void mica_mapping_put(struct mica_mapping *mapping);
void mica_gem_unplug(struct mica_device *mdev);
int mica_ioctl_bo_create(struct drm_device *drm, void *data, struct drm_file *file);
int mica_ioctl_bo_info(struct drm_device *drm, void *data, struct drm_file *file);
int mica_ioctl_bo_wait(struct drm_device *drm, void *data, struct drm_file *file);

/* mica_ctx.c */
int mica_ioctl_ctx_create(struct drm_device *drm, void *data, struct drm_file *file);
int mica_ioctl_ctx_destroy(struct drm_device *drm, void *data, struct drm_file *file);
struct mica_ctx *mica_ctx_lookup(struct mica_file *mf, u32 id);
void mica_ctx_get(struct mica_ctx *ctx);
void mica_ctx_put(struct mica_ctx *ctx);
void mica_ctx_users_put(struct mica_ctx *ctx);
void mica_ctx_close(struct mica_ctx *ctx);
void mica_ctx_info(struct mica_ctx *ctx, struct drm_mica_context_info *info);
void mica_ctx_condemn(struct mica_ctx *ctx, int error, bool lost);
void mica_ctx_stop(struct mica_ctx *ctx, int error, bool lost);
void mica_ctx_unplug(struct mica_ctx *ctx);

/* mica_job.c */
extern const struct drm_sched_backend_ops mica_sched_ops;
struct mica_job *mica_job_create(struct mica_ctx *ctx, struct mica_ucmd *ucmd);
void mica_job_discard(struct mica_job *job);
void mica_job_done_msg(struct mica_device *mdev, const struct mica_fw_msg *msg, struct list_head *done);
void mica_jobs_finish(struct mica_device *mdev, struct list_head *done);
void mica_job_ring_refill(struct mica_ctx *ctx);

/* mica_submit.c */
int mica_ioctl_submit(struct drm_device *drm, void *data, struct drm_file *file);
int mica_submit(struct drm_file *file, const struct drm_mica_submit *args, struct mica_ucmd *ucmd);

/* mica_uring.c */
int mica_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags);
struct mica_ucmd *mica_ucmd_get(struct mica_ucmd *ucmd);
void mica_ucmd_put(struct mica_ucmd *ucmd);
void mica_ucmd_watch(struct mica_ucmd *ucmd, u32 index, struct dma_fence *fence);
void mica_ucmd_add_cycles(struct mica_ucmd *ucmd, u64 cycles);

/* mica_reset.c */
void mica_reset_init(struct mica_device *mdev);
void mica_reset_schedule(struct mica_device *mdev, const char *why);
void mica_reset_force(struct mica_device *mdev, const char *why);
int mica_reset_locked(struct mica_device *mdev, struct mica_ctx *guilty);
void mica_reset_stop_jobs(struct mica_device *mdev);
int mica_reset_restart(struct mica_device *mdev);
void mica_reset_unplug(struct mica_device *mdev);
enum drm_gpu_sched_stat mica_reset_timeout(struct mica_job *job);

/* mica_pm.c */
extern const struct dev_pm_ops mica_pm_ops;
extern const struct pci_error_handlers mica_pci_err_handlers;
void mica_pm_init(struct mica_device *mdev);
void mica_pm_fini(struct mica_device *mdev);
int mica_pm_get(struct mica_device *mdev);
int mica_pm_get_nowait(struct mica_device *mdev);
void mica_pm_get_again(struct mica_device *mdev);
void mica_pm_put(struct mica_device *mdev);

/* mica_dump.c */
void mica_dump_init(struct mica_device *mdev);
void mica_dump_fini(struct mica_device *mdev);
void mica_dump_take(struct mica_device *mdev, const char *why, struct mica_ctx *guilty);

#ifdef CONFIG_DEBUG_FS
void mica_debugfs_init(struct mica_device *mdev);
#else
static inline void mica_debugfs_init(struct mica_device *mdev) { }
#endif

#if IS_ENABLED(CONFIG_HWMON)
int mica_hwmon_init(struct mica_device *mdev);
#else
static inline int mica_hwmon_init(struct mica_device *mdev) { return 0; }
#endif

#endif /* MICA_DRV_H */
