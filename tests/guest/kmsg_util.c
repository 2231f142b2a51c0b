// SPDX-License-Identifier: MIT
/*
 * Linked into every guest test with --wrap=fork: the kselftest harness forks once for each case, and this leaves a mark
 * in the kernel's log just before. run-in-guest then knows which case a kernel complaint belongs to.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

pid_t __real_fork(void);
pid_t __wrap_fork(void);

static pid_t harness;

__attribute__((constructor)) static void remember_harness(void)
{
	harness = getpid();
}

pid_t __wrap_fork(void)
{
	static unsigned int cases;
	char mark[32];
	int fd, len;

	/* A test may fork too; only the harness's own forks start a case. */
	if (getpid() != harness)
		return __real_fork();
	fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		len = snprintf(mark, sizeof(mark), "mica-case: %u\n", ++cases);
		if (write(fd, mark, len) != len)
			perror("/dev/kmsg");
		close(fd);
	}
	return __real_fork();
}
