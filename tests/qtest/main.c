/* SPDX-License-Identifier: MIT */
/* Tests of the PCI device from outside: what a driver and a firmware can see of it, without a guest. */
#include "tests.h"

int test_setup(void **state)
{
	struct dev *d = calloc(1, sizeof(*d));

	if (!d)
		return -1;
	*d = dev_start(TEST_DEVICE);
	*state = d;
	return 0;
}

int test_setup_probe(void **state)
{
	if (test_setup(state))
		return -1;
	msix_enable(*state);
	boot_probe(*state);
	context_make(*state);
	return 0;
}

int test_teardown(void **state)
{
	dev_stop(*state);
	free(*state);
	return 0;
}

int main(void)
{
	const char *filter = getenv("MICA_TEST_FILTER");
	int failed = 0;

	if (filter && *filter)
		cmocka_set_test_filter(filter);
	failed += run_pci_tests();
	failed += run_boot_tests();
	failed += run_local_tests();
	failed += run_job_tests();
	failed += run_mmu_tests();
	failed += run_inject_tests();
	failed += run_state_tests();
	return failed != 0;
}
