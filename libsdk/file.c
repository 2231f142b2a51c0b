// SPDX-License-Identifier: MIT
/* Whole files into memory. */
#include <errno.h>
#include <fcntl.h>
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
	*f = (struct sdk_file){ .size = size, .mapped = size + 1 };
	f->data = sdk_pages(f->mapped);
	if (!f->data)
		return sdk_nomem("the model");
	memcpy(f->data, data, size);
	return 0;
}

void sdk_file_free(struct sdk_file *f)
{
	if (f->data)
		munmap(f->data + f->dropped, f->mapped - f->dropped);
	*f = (struct sdk_file){ 0 };
}

void sdk_file_drop(struct sdk_file *f, size_t size)
{
	size_t pages = size / (size_t)sysconf(_SC_PAGESIZE) * (size_t)sysconf(_SC_PAGESIZE);

	if (pages && pages < f->mapped && !munmap(f->data, pages))
		f->dropped = pages;
}
