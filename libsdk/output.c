// SPDX-License-Identifier: MIT
/* Files are written beside their name and renamed when all of their bytes have arrived. */
#include "output.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "sdk.h"

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

/* The file's bytes are safe already; its name is with its folder. Some file systems refuse this. */
static void sync_folder(char *path)
{
	char *slash = strrchr(path, '/');
	int fd;

	if (slash)
		slash[slash == path] = 0;
	fd = open(slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		fsync(fd);
		close(fd);
	}
}

static int cannot(const char *path, int error)
{
	const char *remedy = error == ENOSPC || error == EDQUOT ? "; free some space or choose another place" : "";

	return sdk_err(error, "%s: cannot be written: %s%s", path, strerror(error), remedy);
}

/* Signals that would end the program wait while it writes, so that no temporary file stays behind. */
static int replace(char *path, const struct sdk_part *parts, unsigned count, bool durable)
{
	size_t len = strlen(path) + 40;
	char *tmp = malloc(len);
	sigset_t all, before;
	int fd, ret = 0;

	if (!tmp)
		return -ENOMEM;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	fd = create_beside(path, tmp, len);
	if (fd < 0) {
		ret = -errno;
		goto out;
	}
	ret = write_parts(fd, parts, count);
	if (!ret && durable && fsync(fd))
		ret = -errno;
	if (close(fd) && !ret)
		ret = -errno;
	if (!ret && rename(tmp, path))
		ret = -errno;
	if (ret)
		unlink(tmp);
	else if (durable)
		sync_folder(path);
out:
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	free(tmp);
	return ret;
}

int sdk_output_save(const char *path, const struct sdk_part *parts, unsigned count, bool durable)
{
	struct stat st;
	char *target;
	int ret;

	if (!stat(path, &st) && !S_ISREG(st.st_mode))	/* the rename would replace a device node or pipe for everybody */
		return sdk_err(S_ISDIR(st.st_mode) ? EISDIR : EACCES, "%s: is %s and is not replaced; give another name", path,
			       S_ISDIR(st.st_mode) ? "a folder" : "not a regular file");
	target = realpath(path, NULL);
	if (!target)
		target = strdup(path);	/* there is no file of that name yet */
	if (!target)
		return sdk_nomem("a file name");
	ret = replace(target, parts, count, durable);
	free(target);
	return ret ? cannot(path, -ret) : 0;
}

/* ---- texts ---- */

int sdk_text_open(struct sdk_text *t)
{
	*t = (struct sdk_text){ 0 };
	t->f = open_memstream(&t->data, &t->size);
	return t->f ? 0 : sdk_nomem("a text");
}

void sdk_text_drop(struct sdk_text *t)
{
	if (t->f)
		fclose(t->f);
	free(t->data);
	*t = (struct sdk_text){ 0 };
}

/* Into what is there: a terminal, a pipe, /dev/stdout. */
static int pour(const char *path, const struct sdk_part *part)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return cannot(path, errno);
	ret = write_parts(fd, part, 1);
	if (close(fd) && !ret)
		ret = -errno;
	return ret ? cannot(path, -ret) : 0;
}

int sdk_text_save(struct sdk_text *t, const char *path)
{
	bool complete = !ferror(t->f) & !fclose(t->f);
	struct sdk_part part = { t->data, t->size };
	struct stat st;
	int ret;

	t->f = NULL;
	if (!complete)
		ret = sdk_nomem(path);
	else if (!stat(path, &st) && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		ret = pour(path, &part);
	else
		ret = sdk_output_save(path, &part, 1, false);
	sdk_text_drop(t);
	return ret;
}
