/* SPDX-License-Identifier: MIT */
/* mica onnx-test: what its files share. onnx_test.c finds the tests and counts, onnx_test_case.c runs one. */
#ifndef MICA_ONNX_TEST_H
#define MICA_ONNX_TEST_H

#include "cli.h"

#define TEST_MAX_PORTS 64

enum test_verdict { TEST_PASSED, TEST_FAILED, TEST_SKIPPED };

struct test_options {
	struct mica_device_options dev;
	bool both;			/* run on the device and on the CPU, and compare the bits */
	enum mica_dtype format;
	unsigned cores;
	double rtol, atol;
	bool exact_tolerance;		/* rtol or atol were given */
	double timeout;			/* seconds for one test */
	const char *only;
	bool verbose;
};

/* Goes through a pipe from the test's process. */
struct test_result {
	enum test_verdict verdict;
	unsigned baked, inputs;		/* inputs that were given at compile time, of how many */
	char text[1000];		/* why, or what was baked */
};

/* Runs the test in folder `dir`; `mica` is a scratch file for the compiled model. */
void test_run(const struct test_options *o, const char *dir, const char *mica, struct test_result *r);

#endif /* MICA_ONNX_TEST_H */
