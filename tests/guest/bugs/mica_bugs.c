// SPDX-License-Identifier: GPL-2.0-only
/*
 * One bug of each kind that the debug kernel's checkers are there for: bug=NAME at load. By them run-checker-tests.sh
 * sees that every checker fires and that the test runner hears it.
 */
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

static char *bug = "";
module_param(bug, charp, 0444);

static DEFINE_MUTEX(lock_a);
static DEFINE_MUTEX(lock_b);
static DEFINE_SPINLOCK(spin);
static int __rcu *shared;
static unsigned int shift_by = 40;	/* a variable, or the compiler would see it */
module_param(shift_by, uint, 0444);

static void bug_use_after_free(void)
{
	u8 *p = kmalloc(100, GFP_KERNEL);

	kfree(p);
	WRITE_ONCE(p[50], 1);
}

static void bug_out_of_bounds(void)
{
	u8 *p = kmalloc(100, GFP_KERNEL);
	unsigned int at = shift_by + 61;

	OPTIMIZER_HIDE_VAR(at);
	if (p)
		WRITE_ONCE(p[at], 1);
	kfree(p);
}

static void bug_leak(void)
{
	u8 *p = kmalloc(100, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(p);
}

static void bug_lock_order(void)
{
	mutex_lock(&lock_a);
	mutex_lock(&lock_b);
	mutex_unlock(&lock_b);
	mutex_unlock(&lock_a);

	mutex_lock(&lock_b);
	mutex_lock(&lock_a);
	mutex_unlock(&lock_a);
	mutex_unlock(&lock_b);
}

static void bug_atomic_sleep(void)
{
	spin_lock(&spin);
	msleep(20);
	spin_unlock(&spin);
}

static void bug_rcu(void)
{
	pr_info("mica_bugs: %p\n", rcu_dereference(shared));
}

static void bug_shift(void)
{
	pr_info("mica_bugs: %d\n", 1 << shift_by);
}

static void bug_timer(struct timer_list *timer)
{
}

/* Memory with a timer in it that still runs. */
static void bug_objects(void)
{
	struct timer_list *timer = kmalloc(sizeof(*timer), GFP_KERNEL);

	if (!timer)
		return;
	timer_setup(timer, bug_timer, 0);
	mod_timer(timer, jiffies + 10 * HZ);
	kfree(timer);
}

/* A DMA mapping that is taken back with another size. */
static void bug_dma(void)
{
	struct platform_device *pdev = platform_device_register_simple("mica_bugs", -1, NULL, 0);
	dma_addr_t dma;
	void *p;

	if (IS_ERR(pdev))
		return;
	dma_coerce_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	p = kmalloc(512, GFP_KERNEL);
	dma = dma_map_single(&pdev->dev, p, 512, DMA_TO_DEVICE);
	if (!dma_mapping_error(&pdev->dev, dma))
		dma_unmap_single(&pdev->dev, dma, 256, DMA_TO_DEVICE);
	kfree(p);
	platform_device_unregister(pdev);
}

static const struct {
	const char *name;
	void (*run)(void);
} bugs[] = {
	{ "use_after_free", bug_use_after_free },
	{ "out_of_bounds", bug_out_of_bounds },
	{ "leak", bug_leak },
	{ "lock_order", bug_lock_order },
	{ "atomic_sleep", bug_atomic_sleep },
	{ "rcu", bug_rcu },
	{ "shift", bug_shift },
	{ "objects", bug_objects },
	{ "dma", bug_dma },
};

static int __init bugs_init(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bugs); i++) {
		if (strcmp(bug, bugs[i].name))
			continue;
		bugs[i].run();
		return 0;
	}
	return -EINVAL;
}

static void __exit bugs_exit(void)
{
}

module_init(bugs_init);
module_exit(bugs_exit);
MODULE_DESCRIPTION("Bugs on purpose, for tests");
MODULE_LICENSE("GPL");
