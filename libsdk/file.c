// SPDX-License-Identifier: MIT
/* Whole files in, whole files out. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "sdk.h"

void *sdk_pages(size_t size)
{
	void *p = mmap(NULL, size ? size : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void sdk_pages_free(void *p, size_t size)
{
	if (p)
		munmap(p, size ? size : 1);
}

static int read_all(int fd, const char *path, uint8_t *dst, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = read(fd, dst + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return sdk_err(errno, "%s: cannot read: %s", path, strerror(errno));
		if (!n)
			return sdk_err(EBADMSG, "%s: became shorter while it was read", path);
		done += n;
	}
	return 0;
}

int sdk_file_load(const char *path, size_t limit, struct sdk_file *f)
{
	struct stat st;
	int fd, ret;

	*f = (struct sdk_file){ 0 };
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return sdk_err(errno, "%s: cannot open: %s", path, strerror(errno));
	if (fstat(fd, &st)) {
		ret = sdk_err(errno, "%s: %s", path, strerror(errno));
		goto out_close;
	}
	if (!S_ISREG(st.st_mode)) {
		ret = sdk_err(S_ISDIR(st.st_mode) ? EISDIR : EACCES, "%s: is %s, a file is needed", path,
			      S_ISDIR(st.st_mode) ? "a folder" : "not a regular file");
		goto out_close;
	}
	if ((uint64_t)st.st_size > limit) {
		ret = sdk_err(EBADMSG, "%s: %lld bytes are more than the %zu that such a file can have", path,
			      (long long)st.st_size, limit);
		goto out_close;
	}
	f->size = st.st_size;
	f->mapped = f->size + 1;	/* texts end in NUL */
	f->data = sdk_pages(f->mapped);
	if (!f->data) {
		ret = sdk_nomem(path);
		goto out_close;
	}
	ret = read_all(fd, path, f->data, f->size);
	if (ret)
		sdk_file_free(f);
out_close:
	close(fd);
	return ret;
}

int sdk_file_copy(const void *data, size_t size, struct sdk_file *f)
{
	f->size = size;
	f->mapped = size + 1;
	f->data = sdk_pages(f->mapped);
	if (!f->data)
		return sdk_nomem("the model");
	memcpy(f->data, data, size);
	return 0;
}

void sdk_file_free(struct sdk_file *f)
{
	sdk_pages_free(f->data, f->mapped);
	*f = (struct sdk_file){ 0 };
}

static int write_parts(int fd, const struct sdk_part *parts, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		size_t done = 0;

		while (done < parts[i].size) {
			ssize_t n = write(fd, (const char *)parts[i].data + done, parts[i].size - done);

			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				return n ? -errno : -ENOSPC;
			done += n;
		}
	}
	return 0;
}

/* A new file beside `path`, with the rights that the user's umask gives. */
static int create_beside(const char *path, char *tmp, size_t n)
{
	static _Atomic unsigned serial;
	int fd;

	do {
		snprintf(tmp, n, "%s.%d-%u.tmp", path, (int)getpid(), serial++);
		fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	} while (fd < 0 && errno == EEXIST);
	return fd;
}

/* Signals that would end the program wait while it writes, so that no temporary file stays behind. */
int sdk_file_save(const char *path, const struct sdk_part *parts, unsigned count)
{
	size_t len = strlen(path) + 40;
	char *tmp = malloc(len);
	struct stat st;
	sigset_t all, before;
	int fd, ret;

	if (!tmp)
		return sdk_nomem("a file name");
	if (!stat(path, &st) && !S_ISREG(st.st_mode)) {	/* the rename would replace a device node or pipe for everybody */
		free(tmp);
		return sdk_err(S_ISDIR(st.st_mode) ? EISDIR : EACCES, "%s: is not a regular file and is not replaced; give another name", path);
	}
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	fd = create_beside(path, tmp, len);
	if (fd < 0) {
		ret = sdk_err(errno, "%s: cannot create: %s", path, strerror(errno));
		goto out_free;
	}
	ret = write_parts(fd, parts, count);
	if (close(fd) && !ret)
		ret = -errno;
	if (!ret && rename(tmp, path))
		ret = -errno;
	if (ret) {
		sdk_err(-ret, "%s: cannot write: %s", path, strerror(-ret));
		unlink(tmp);
	}
out_free:
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	free(tmp);
	return ret;
}
