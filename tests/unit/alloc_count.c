// SPDX-License-Identifier: MIT
/* Counts the allocations of a test program: malloc, its relatives and mmap, of all threads. Linked in where it is asked for. */
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "alloc_count.h"

static atomic_ulong allocations;

unsigned long alloc_count(void)
{
	return atomic_load(&allocations);
}

#if ALLOC_COUNTING
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);

void *malloc(size_t size)
{
	atomic_fetch_add(&allocations, 1);
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	atomic_fetch_add(&allocations, 1);
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	atomic_fetch_add(&allocations, 1);
	return __libc_realloc(p, size);
}

void *aligned_alloc(size_t align, size_t size)
{
	atomic_fetch_add(&allocations, 1);
	return __libc_memalign(align, size);
}

int posix_memalign(void **p, size_t align, size_t size)
{
	atomic_fetch_add(&allocations, 1);
	*p = __libc_memalign(align, size);
	return *p ? 0 : 12;
}

void *mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	atomic_fetch_add(&allocations, 1);
	return (void *)syscall(SYS_mmap, at, size, prot, flags, fd, offset);
}
#endif
