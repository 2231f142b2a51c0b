/* SPDX-License-Identifier: MIT */
/* What every test file starts with, and the groups that main.c runs. */
#ifndef TESTS_H
#define TESTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev.h"

/* A machine per test, also taken down when the test fails. */
int test_setup(void **state);			/* two cores, debug=on */
int test_setup_probe(void **state);		/* the probe runs, MSI-X is on, context 1 maps MEM_DATA */
int test_teardown(void **state);
#define TEST(fn)	cmocka_unit_test_setup_teardown(fn, test_setup, test_teardown)
#define TEST_PROBE(fn)	cmocka_unit_test_setup_teardown(fn, test_setup_probe, test_teardown)

#define TEST_DEVICE	"mica-accel,debug=on"

int run_pci_tests(void);
int run_boot_tests(void);
int run_local_tests(void);
int run_job_tests(void);
int run_mmu_tests(void);
int run_inject_tests(void);
int run_state_tests(void);

#endif /* TESTS_H */
