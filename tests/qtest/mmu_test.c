/* SPDX-License-Identifier: MIT */
/* Translation as jobs meet it: faults with their address, permissions, invalidation, large pages. */
#include "tests.h"

#define SEG(off)	MICA_ADDR(0, off)
#define LMEM(off)	MICA_ADDR(MICA_SEG_LMEM, off)
#define LEAVES		(MEM_TABLES + 0x2000)
#define SEG_PAGE	256u		/* index of segment 0's first page */
#define VA_SEG		(VA_DATA + 0x100000)

static void set_leaf(struct dev *d, unsigned page, uint64_t pte)
{
	qtest_write(d->q, LEAVES + 8 * page, &pte, sizeof(pte));
}

static uint64_t leaf_of(unsigned page)
{
	return (MEM_DATA + 4096ull * page) | MICA_PTE_VALID | MICA_PTE_LEAF | MICA_PTE_WRITE;
}

/* Loads 16 bytes at `from` of segment 0 and stores them at `to`. */
static struct job copying(struct dev *d, uint32_t from, uint32_t to)
{
	struct job j = job_make(1);
	uint8_t s[512];
	unsigned n = pkt_copy(s, SEG(from), LMEM(0), 16);

	n += pkt_copy_after(s + n, LMEM(0), SEG(to), 16, MICA_ENGINE_LOAD, 1);
	n += pkt_end(s + n);
	job_stream(d, &j, 0, s, n);
	return j;
}

static void invalidate(struct dev *d)
{
	reg_write(d, MICA_REG_MMU_INV, 1);
	reg_wait(d, MICA_REG_MMU_BUSY, MICA_MMU_BUSY_MASK, 0);
}

static void expect_fault(struct dev *d, const struct job *j, uint32_t fault, uint64_t addr)
{
	struct outcome o = job_run(d, j);

	assert_int_equal(o.status, MICA_CORE_FAULT);
	assert_int_equal(o.fault, fault);
	assert_int_equal(o.addr, addr);
}

static void unmapped_page_faults_with_its_address(void **state)
{
	struct dev *d = *state;
	struct job j = copying(d, 4096 + 8, 0);

	set_leaf(d, SEG_PAGE + 1, 0);
	expect_fault(d, &j, MICA_FAULT_MMU, VA_SEG + 4096 + 8);
	j = copying(d, 4096 - 8, 0);		/* across the edge */
	expect_fault(d, &j, MICA_FAULT_MMU, VA_SEG + 4096);
	assert_int_equal(core_outcome(d, 0).layer, 6);
}

static void write_to_a_read_only_page_faults(void **state)
{
	struct dev *d = *state;
	struct job j = copying(d, 0, 8192);

	set_leaf(d, SEG_PAGE + 2, leaf_of(SEG_PAGE + 2) & ~MICA_PTE_WRITE);
	expect_fault(d, &j, MICA_FAULT_MMU_WRITE, VA_SEG + 8192);
	j = copying(d, 8192, 0);
	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
}

static void reserved_bits_fault(void **state)
{
	struct dev *d = *state;
	struct job j = copying(d, 0, 4096);

	for (unsigned bit = 0; bit < 64; bit++) {
		if (1ull << bit & (MICA_PTE_ADDR_MASK | MICA_PTE_VALID | MICA_PTE_WRITE | MICA_PTE_LEAF))
			continue;
		set_leaf(d, SEG_PAGE, leaf_of(SEG_PAGE) | 1ull << bit);
		expect_fault(d, &j, MICA_FAULT_MMU, VA_SEG);
	}
	set_leaf(d, SEG_PAGE, leaf_of(SEG_PAGE) & ~MICA_PTE_LEAF);
	expect_fault(d, &j, MICA_FAULT_MMU, VA_SEG);
}

static void page_outside_guest_memory_is_a_bus_fault(void **state)
{
	struct dev *d = *state;
	struct job j = copying(d, 0, 4096);

	set_leaf(d, SEG_PAGE, 0x700000000000ull | MICA_PTE_VALID | MICA_PTE_LEAF);
	expect_fault(d, &j, MICA_FAULT_BUS, VA_SEG);
}

static void table_outside_guest_memory_is_a_bus_fault(void **state)
{
	struct dev *d = *state;
	struct job j = copying(d, 0, 4096);
	uint64_t pte = 0x700000000000ull | MICA_PTE_VALID;

	qtest_write(d->q, MEM_TABLES + 8 * (VA_DATA >> 30), &pte, sizeof(pte));
	expect_fault(d, &j, MICA_FAULT_BUS, VA_DATA);	/* the stream itself */
}

static void invalidation_makes_changes_seen(void **state)
{
	struct dev *d = *state;
	struct job j = copying(d, 0, 4096);
	char in[16];

	qtest_write(d->q, MEM_DATA + 4096 * SEG_PAGE, "first page......", 16);
	qtest_write(d->q, MEM_DATA + 4096 * (SEG_PAGE + 8), "another page....", 16);
	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
	set_leaf(d, SEG_PAGE, leaf_of(SEG_PAGE + 8));
	invalidate(d);
	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
	qtest_read(d->q, MEM_DATA + 4096 * (SEG_PAGE + 1), in, 16);
	assert_memory_equal(in, "another page....", 16);
	set_leaf(d, SEG_PAGE, 0);
	reg_write(d, MICA_REG_MMU_INV, MICA_MMU_INV_ALL_MASK);
	expect_fault(d, &j, MICA_FAULT_MMU, VA_SEG);
}

static void invalidation_of_another_context_keeps_translations(void **state)
{
	struct dev *d = *state;
	struct job j = copying(d, 0, 4096);

	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
	set_leaf(d, SEG_PAGE, 0);
	reg_write(d, MICA_REG_MMU_INV, 2);
	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);	/* legal: nobody told context 1 */
}

static void cleared_context_has_no_memory(void **state)
{
	struct dev *d = *state;
	struct job j = copying(d, 0, 4096);

	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
	probe_store(MICA_LREG_CTX_SEL, 1);
	probe_store(MICA_LREG_CTX_CTRL, MICA_CTX_CTRL_CLEAR);
	probe_run(d);
	expect_fault(d, &j, MICA_FAULT_MMU, VA_DATA);
}

static void bad_roots_clear_the_slot(void **state)
{
	struct dev *d = *state;
	struct job j = copying(d, 0, 4096);

	probe_store(MICA_LREG_CTX_SEL, 1);
	probe_store(MICA_LREG_CTX_ROOT_LO, MEM_TABLES + 8);
	probe_store(MICA_LREG_CTX_CTRL, MICA_CTX_CTRL_SET);
	probe_run(d);
	expect_fault(d, &j, MICA_FAULT_MMU, VA_DATA);
}

static void large_pages_translate(void **state)
{
	struct dev *d = *state;
	struct job j = copying(d, 0, 0x1ff000);
	uint64_t pte = 0x04000000ull | MICA_PTE_VALID | MICA_PTE_LEAF | MICA_PTE_WRITE;
	char in[16];

	qtest_write(d->q, MEM_TABLES + 0x1000 + 8, &pte, sizeof(pte));
	j.desc.segment[0] = (struct mica_job_segment){ VA_DATA + (2u << 20), (2u << 20) | MICA_SEGMENT_WRITE };
	qtest_write(d->q, 0x04000000, "in a large page.", 16);
	assert_int_equal(job_run(d, &j).status, MICA_CORE_DONE);
	qtest_read(d->q, 0x041ff000, in, 16);
	assert_memory_equal(in, "in a large page.", 16);
	pte |= 0x1000;			/* not aligned to its size */
	qtest_write(d->q, MEM_TABLES + 0x1000 + 8, &pte, sizeof(pte));
	invalidate(d);
	expect_fault(d, &j, MICA_FAULT_MMU, VA_DATA + (2u << 20));
}

/* A place in a list that the host can wait for: the probe stores it as its state, which needs no bus mastering. */
enum { AT_FIRST_WAIT = 8, AT_SECOND_WAIT };

/* The probe cannot answer without bus mastering: it comes back before the outcome is read. A doorbell that is earlier than the
 * wait for it stays pending. */
static void no_bus_mastering_is_a_bus_fault(void **state)
{
	struct dev *d = *state;
	struct job j = copying(d, 0, 4096);

	job_run(d, &j);
	reg_write(d, MICA_REG_INJECT, MICA_INJECT_HANG_CORE);
	job_start(d, &j);			/* hangs behind descriptor and stream */
	reg_wait(d, MICA_REG_INJECT_COUNT, ~0u, 1);
	core_command(d, 0, MICA_CORE_CTRL_KILL);
	assert_int_equal(core_wait(d, 0), MICA_CORE_FAULT);
	core_command(d, 0, MICA_CORE_CTRL_ACK);
	probe_store(MICA_LREG_IRQ_ENABLE, MICA_LIRQ_DOORBELL);
	probe_store(MICA_LREG_FW_STATE, AT_FIRST_WAIT);
	probe_op(2, 0, 0);			/* wait for the doorbell, then start */
	probe_store(MICA_LREG_CORE(0) + MICA_CREG_CTRL, MICA_CORE_CTRL_START);
	probe_store(MICA_LREG_DB_PENDING_LO, ~0u);
	probe_store(MICA_LREG_FW_STATE, AT_SECOND_WAIT);
	probe_op(2, 0, 0);
	probe_store(MICA_LREG_DB_PENDING_LO, ~0u);
	probe_store(MICA_LREG_IRQ_ENABLE, MICA_LIRQ_MBOX);
	probe_store(MICA_LREG_FW_STATE, MICA_FW_STATE_READY);
	probe_send(d);
	reg_wait(d, MICA_REG_FW_STATE, ~0u, AT_FIRST_WAIT);
	dev_enable(d, false);
	reg_write(d, MICA_DOORBELL(1), 1);
	reg_wait(d, MICA_REG_STATUS, MICA_STATUS_BUS_ERROR_MASK, MICA_STATUS_BUS_ERROR_MASK);
	dev_enable(d, true);
	reg_wait(d, MICA_REG_FW_STATE, ~0u, AT_SECOND_WAIT);
	reg_write(d, MICA_DOORBELL(1), 2);
	probe_wait(d);
	assert_int_equal(core_outcome(d, 0).fault, MICA_FAULT_BUS);
}

static void context_behind_an_idle_iommu_works(void **state)
{
	struct dev d = dev_start_with(TEST_DEVICE, "-device intel-iommu");
	struct job j;

	(void)state;
	msix_enable(&d);
	boot_probe(&d);
	context_make(&d);
	j = copying(&d, 0, 4096);
	assert_int_equal(job_run(&d, &j).status, MICA_CORE_DONE);
	dev_stop(&d);
}

int run_mmu_tests(void)
{
	const struct CMUnitTest tests[] = {
		TEST_PROBE(unmapped_page_faults_with_its_address),
		TEST_PROBE(write_to_a_read_only_page_faults),
		TEST_PROBE(reserved_bits_fault),
		TEST_PROBE(page_outside_guest_memory_is_a_bus_fault),
		TEST_PROBE(table_outside_guest_memory_is_a_bus_fault),
		TEST_PROBE(invalidation_makes_changes_seen),
		TEST_PROBE(invalidation_of_another_context_keeps_translations),
		TEST_PROBE(cleared_context_has_no_memory),
		TEST_PROBE(bad_roots_clear_the_slot),
		TEST_PROBE(large_pages_translate),
		TEST_PROBE(no_bus_mastering_is_a_bus_fault),
		cmocka_unit_test(context_behind_an_idle_iommu_works),
	};

	return cmocka_run_group_tests_name("mmu", tests, NULL, NULL);
}
