/* SPDX-License-Identifier: MIT */
/* The qtest client: QEMU as a child, its qtest protocol on one socket pair, QMP on another. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "qtest.h"

#define CONFIG_ADDRESS	0xcf8
#define CONFIG_DATA	0xcfc
#define MAX_ARGS	64
#define CHUNK		(64 * 1024)

struct qtest {
	pid_t pid;
	FILE *in, *out;			/* qtest protocol */
	FILE *qmp_in, *qmp_out;
	bool negotiated;		/* QMP: at the first command */
	char *line;
	size_t line_size;
};

/* ---- the child ---- */

static unsigned split(char *text, char *argv[], unsigned n)
{
	for (char *word = strtok(text, " "); word && n < MAX_ARGS - 1; word = strtok(NULL, " "))
		argv[n++] = word;
	return n;
}

static void exec_qemu(const char *device, const char *extra, int qtest_fd, int qmp_fd)
{
	char common[512], dev[256], more[512], *argv[MAX_ARGS];
	unsigned n = 0;

	snprintf(common, sizeof(common),
		 "qemu -machine q35 -accel qtest -m 256M -nodefaults -display none -no-user-config "
		 "-L /usr/share/seabios -L /usr/share/qemu "
		 "-chardev socket,id=qt,fd=%d -qtest chardev:qt -qtest-log none "
		 "-chardev socket,id=qmp,fd=%d -mon chardev=qmp,mode=control", qtest_fd, qmp_fd);
	snprintf(dev, sizeof(dev), "%s,addr=%u,id=mica", device, QTEST_SLOT);
	snprintf(more, sizeof(more), "%s", extra ? extra : "");
	n = split(common, argv, n);
	argv[n++] = "-device";
	argv[n++] = dev;
	n = split(more, argv, n);
	argv[n] = NULL;
	execv(getenv("MICA_QEMU"), argv);
	_exit(127);
}

static pid_t spawn(const char *device, const char *extra, int fds[2], int err_fd)
{
	int qt[2], qmp[2];
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, qt), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, qmp), 0);
	fcntl(qt[0], F_SETFD, FD_CLOEXEC);
	fcntl(qmp[0], F_SETFD, FD_CLOEXEC);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (err_fd >= 0)
			dup2(err_fd, STDERR_FILENO);
		exec_qemu(device, extra, qt[1], qmp[1]);
	}
	close(qt[1]);
	close(qmp[1]);
	fds[0] = qt[0];
	fds[1] = qmp[0];
	return pid;
}

struct qtest *qtest_start(const char *device, const char *extra)
{
	struct qtest *q = calloc(1, sizeof(*q));
	int fds[2];

	assert_non_null(q);
	assert_non_null(getenv("MICA_QEMU"));
	signal(SIGPIPE, SIG_IGN);
	q->pid = spawn(device, extra, fds, -1);
	q->in = fdopen(fds[0], "r");
	q->out = fdopen(dup(fds[0]), "w");
	q->qmp_in = fdopen(fds[1], "r");
	q->qmp_out = fdopen(dup(fds[1]), "w");
	return q;
}

void qtest_stop(struct qtest *q)
{
	if (!q)
		return;
	kill(q->pid, SIGKILL);
	waitpid(q->pid, NULL, 0);
	fclose(q->in);
	fclose(q->out);
	fclose(q->qmp_in);
	fclose(q->qmp_out);
	free(q->line);
	free(q);
}

bool qtest_refused(const char *device, char message[256])
{
	int fds[2], err[2], status;
	ssize_t n = 0, got;
	pid_t pid;

	assert_int_equal(pipe(err), 0);
	pid = spawn(device, NULL, fds, err[1]);
	close(err[1]);
	/* It ends by itself when it refuses; if it does not, it goes when the sockets close. */
	while (n < 255 && (got = read(err[0], message + n, 255 - n)) > 0)
		n += got;
	message[n] = '\0';
	close(err[0]);
	close(fds[0]);
	close(fds[1]);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

/* ---- qtest protocol ---- */

/* Sends a command, returns what stands behind "OK " in the answer. */
__attribute__((format(printf, 2, 3)))
static const char *ask(struct qtest *q, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(q->out, fmt, ap);
	va_end(ap);
	fputc('\n', q->out);
	fflush(q->out);
	do {
		if (getline(&q->line, &q->line_size, q->in) <= 0)
			fail_msg("QEMU went away at '%s'", fmt);
	} while (strncmp(q->line, "IRQ ", 4) == 0);
	if (strncmp(q->line, "OK", 2))
		fail_msg("qtest answered %s", q->line);
	return q->line[2] ? q->line + 3 : "";
}

uint32_t qtest_readl(struct qtest *q, uint64_t addr)
{
	return (uint32_t)strtoull(ask(q, "readl 0x%llx", (unsigned long long)addr), NULL, 0);
}

void qtest_writel(struct qtest *q, uint64_t addr, uint32_t value)
{
	ask(q, "writel 0x%llx 0x%x", (unsigned long long)addr, value);
}

static unsigned hex_digit(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

void qtest_read(struct qtest *q, uint64_t addr, void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len) {
		size_t n = len < CHUNK ? len : CHUNK;
		const char *hex = ask(q, "read 0x%llx 0x%zx", (unsigned long long)addr, n) + 2;

		for (size_t i = 0; i < n; i++)
			p[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
		addr += n;
		p += n;
		len -= n;
	}
}

void qtest_write(struct qtest *q, uint64_t addr, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	static char hex[2 * CHUNK + 1];

	while (len) {
		size_t n = len < CHUNK ? len : CHUNK;

		for (size_t i = 0; i < n; i++)
			snprintf(hex + 2 * i, 3, "%02x", p[i]);
		ask(q, "write 0x%llx 0x%zx 0x%s", (unsigned long long)addr, n, hex);
		addr += n;
		p += n;
		len -= n;
	}
}

void qtest_clock_step(struct qtest *q, int64_t ns)
{
	ask(q, "clock_step %lld", (long long)ns);
}

/* ---- configuration space ---- */

static void select_config(struct qtest *q, unsigned off)
{
	ask(q, "outl 0x%x 0x%x", CONFIG_ADDRESS, 0x80000000u | QTEST_SLOT << 11 | (off & 0xfcu));
}

uint32_t qtest_config_read(struct qtest *q, unsigned off)
{
	select_config(q, off);
	return (uint32_t)strtoul(ask(q, "inl 0x%x", CONFIG_DATA), NULL, 0);
}

void qtest_config_write(struct qtest *q, unsigned off, uint32_t value)
{
	select_config(q, off);
	ask(q, "outl 0x%x 0x%x", CONFIG_DATA, value);
}

uint16_t qtest_config_read16(struct qtest *q, unsigned off)
{
	select_config(q, off);
	return (uint16_t)strtoul(ask(q, "inw 0x%x", CONFIG_DATA + (off & 2)), NULL, 0);
}

void qtest_config_write16(struct qtest *q, unsigned off, uint16_t value)
{
	select_config(q, off);
	ask(q, "outw 0x%x 0x%x", CONFIG_DATA + (off & 2), value);
}

unsigned qtest_find_cap(struct qtest *q, uint8_t id)
{
	unsigned off = qtest_config_read(q, 0x34) & 0xfcu;

	while (off) {
		uint32_t head = qtest_config_read(q, off);

		if ((head & 0xff) == id)
			return off;
		off = head >> 8 & 0xfcu;
	}
	return 0;
}

/* ---- QMP ---- */

static void negotiate(struct qtest *q)
{
	if (q->negotiated)
		return;
	q->negotiated = true;
	assert_true(getline(&q->line, &q->line_size, q->qmp_in) > 0);	/* the greeting */
	assert_true(qtest_qmp(q, "qmp_capabilities", "{}"));
}

bool qtest_qmp_text(struct qtest *q, const char *command, const char *arguments, char *text, size_t size)
{
	negotiate(q);
	fprintf(q->qmp_out, "{\"execute\":\"%s\",\"arguments\":%s}\n", command, arguments);
	fflush(q->qmp_out);
	for (;;) {
		if (getline(&q->line, &q->line_size, q->qmp_in) <= 0)
			fail_msg("QEMU went away at %s", command);
		if (text)
			snprintf(text, size, "%s", q->line);
		if (!strncmp(q->line, "{\"return\"", 9))
			return true;
		if (!strncmp(q->line, "{\"error\"", 8))
			return false;
	}
}

bool qtest_qmp(struct qtest *q, const char *command, const char *arguments)
{
	return qtest_qmp_text(q, command, arguments, NULL, 0);
}

void qtest_sleep_us(unsigned us)
{
	nanosleep(&(struct timespec){ .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000L }, NULL);
}
