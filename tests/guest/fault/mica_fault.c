// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/fail-nth makes one allocation fail, as /proc/self/fail-nth does on kernels with fault injection: "N" written to
 * it arms the Nth slab allocation of the writing task from there, "0" disarms, a read tells how many are left; 0: one
 * has failed.
 * Return probes on the allocators give the memory back and return NULL. Page and DMA allocations do not fail.
 */
#include <linux/kprobes.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

static struct task_struct *target;	/* of one test at a time; only compared, so no reference is held */
static int left;			/* by the target alone */

/* Where the flags are among an allocator's arguments. */
#define NODE_FLAGS	(IS_ENABLED(CONFIG_SLAB_BUCKETS) ? 2 : 1)

struct allocator {
	struct kretprobe probe;
	unsigned int flags;
};

static int fault_enter(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	struct allocator *a = container_of(get_kretprobe(ri), struct allocator, probe);

	if (READ_ONCE(target) != current || !in_task() || left <= 0 ||
	    regs_get_kernel_argument(regs, a->flags) & __GFP_NOFAIL)
		return 1;
	return --left ? 1 : 0;
}

NOKPROBE_SYMBOL(fault_enter);

static int fault_return(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	kfree((void *)regs_return_value(regs));
	regs_set_return_value(regs, 0);
	return 0;
}

NOKPROBE_SYMBOL(fault_return);

#define ALLOCATOR(name, where) { \
	.probe = { .kp.symbol_name = name, .entry_handler = fault_enter, .handler = fault_return, .maxactive = 64 }, \
	.flags = where, \
}

static struct allocator allocators[] = {
	ALLOCATOR("__kmalloc_noprof", 1),
	ALLOCATOR("__kmalloc_cache_noprof", 1),
	ALLOCATOR("__kmalloc_node_noprof", NODE_FLAGS),
	ALLOCATOR("__kmalloc_node_track_caller_noprof", NODE_FLAGS),
	ALLOCATOR("__kmalloc_cache_node_noprof", 1),
	ALLOCATOR("kmem_cache_alloc_noprof", 1),
	ALLOCATOR("kmem_cache_alloc_lru_noprof", 2),
	ALLOCATOR("kmem_cache_alloc_node_noprof", 1),
};

static ssize_t fault_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	int n, ret = kstrtoint_from_user(buf, len, 10, &n);

	if (ret)
		return ret;
	WRITE_ONCE(target, NULL);
	left = n;
	if (n)
		WRITE_ONCE(target, current);
	return len;
}

static ssize_t fault_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	char text[16];
	int n = scnprintf(text, sizeof(text), "%d\n", left);

	return simple_read_from_buffer(buf, len, pos, text, n);
}

static const struct file_operations fault_fops = {
	.owner = THIS_MODULE,
	.write = fault_write,
	.read = fault_read,
};

static struct miscdevice fault_dev = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "fail-nth",
	.fops = &fault_fops,
};

static void fault_unregister(unsigned int n)
{
	while (n--)
		unregister_kretprobe(&allocators[n].probe);
}

static int __init fault_init(void)
{
	unsigned int i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(allocators); i++) {
		ret = register_kretprobe(&allocators[i].probe);
		if (ret) {
			pr_err("mica_fault: no probe on %s: %d\n", allocators[i].probe.kp.symbol_name, ret);
			goto err_unregister;
		}
	}
	ret = misc_register(&fault_dev);
	if (!ret)
		return 0;
err_unregister:
	fault_unregister(i);
	return ret;
}

static void __exit fault_exit(void)
{
	misc_deregister(&fault_dev);
	fault_unregister(ARRAY_SIZE(allocators));
}

module_init(fault_init);
module_exit(fault_exit);
MODULE_DESCRIPTION("Makes an allocation of a task fail, for tests");
MODULE_LICENSE("GPL");
