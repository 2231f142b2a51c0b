/* SPDX-License-Identifier: MIT */
#ifndef MICA_TESTS_ALLOC_COUNT_H
#define MICA_TESTS_ALLOC_COUNT_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ALLOC_COUNTING	0	/* the sanitizers' own malloc is in the way, and their memory is not ours */
#else
#define ALLOC_COUNTING	1
#endif

/* Allocations of this process so far; always 0 without ALLOC_COUNTING. */
unsigned long alloc_count(void);

#endif /* MICA_TESTS_ALLOC_COUNT_H */
