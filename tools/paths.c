// SPDX-License-Identifier: MIT
/* Folders, file names, temporary files. */
#include "cli.h"
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const image_extensions[] = { ".jpg", ".jpeg", ".png", NULL };
const char *const tensor_extensions[] = { ".npy", ".bin", NULL };
const char *const sample_extensions[] = { ".jpg", ".jpeg", ".png", ".npy", ".bin", NULL };

bool path_ends(const char *path, const char *ext)
{
	size_t n = strlen(path), e = strlen(ext);

	return n >= e && !strcasecmp(path + n - e, ext);
}

bool path_is_dir(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISDIR(st.st_mode);
}

bool path_same(const char *a, const char *b)
{
	struct stat x, y;

	return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

const char *path_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int path_make_dir(const char *path)
{
	char *copy = strdup(path);
	int ret = 0;

	if (!copy)
		return cli_fail(MICA_ERR_MEMORY, "out of memory");
	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		mkdir(copy, 0777);
		*p = '/';
	}
	if (mkdir(copy, 0777) && (errno != EEXIST || !path_is_dir(path)))
		ret = cli_fail(MICA_ERR_FILE, "%s: cannot create the folder: %s", path, strerror(errno));
	free(copy);
	return ret;
}

int paths_add(struct path_list *list, const char *path)
{
	char **grown = realloc(list->item, (list->count + 1) * sizeof(*grown));

	if (!grown)
		return cli_fail(MICA_ERR_MEMORY, "out of memory for a list of files");
	list->item = grown;
	grown[list->count] = strdup(path);
	if (!grown[list->count])
		return cli_fail(MICA_ERR_MEMORY, "out of memory for a list of files");
	list->count++;
	return 0;
}

void paths_free(struct path_list *list)
{
	for (unsigned i = 0; i < list->count; i++)
		free(list->item[i]);
	free(list->item);
	*list = (struct path_list){ 0 };
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool wanted(const char *path, const char *const *ext, bool folders)
{
	if (path_is_dir(path) != folders)
		return false;
	for (; ext && *ext; ext++)
		if (path_ends(path, *ext))
			return true;
	return !ext;
}

static int list_dir(const char *dir, const char *const *ext, bool folders, struct path_list *out)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int ret = 0;

	*out = (struct path_list){ 0 };
	if (!d)
		return cli_fail(MICA_ERR_FILE, "%s: cannot open the folder: %s", dir, strerror(errno));
	while (!ret && (e = readdir(d))) {
		char *path;

		if (e->d_name[0] == '.')
			continue;
		if (asprintf(&path, "%s/%s", dir, e->d_name) < 0) {
			ret = cli_fail(MICA_ERR_MEMORY, "out of memory for a list of files");
			break;
		}
		if (wanted(path, ext, folders))
			ret = paths_add(out, path);
		free(path);
	}
	closedir(d);
	if (out->count)
		qsort(out->item, out->count, sizeof(*out->item), by_name);
	return ret;
}

int paths_in(const char *dir, const char *const *ext, struct path_list *out)
{
	return list_dir(dir, ext, false, out);
}

int paths_subfolders(const char *dir, struct path_list *out)
{
	return list_dir(dir, NULL, true, out);
}

/* ---- temporary files ---- */

#define MAX_TEMPS 8
static char *volatile temps[MAX_TEMPS];	/* read by the signal handler */

static void remove_all(void)
{
	for (int i = 0; i < MAX_TEMPS; i++)
		if (temps[i])
			unlink(temps[i]);
}

static void on_signal(int sig)
{
	remove_all();
	signal(sig, SIG_DFL);
	raise(sig);
}

void temp_install(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

	atexit(remove_all);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct sigaction sa = { .sa_handler = on_signal };
		struct sigaction old;

		if (!sigaction(signals[i], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaction(signals[i], &sa, NULL);
	}
}

int temp_create(const char *suffix, char **path)
{
	const char *dir = getenv("TMPDIR");
	int fd, i = 0;

	*path = NULL;
	while (i < MAX_TEMPS && temps[i])
		i++;
	if (i == MAX_TEMPS || asprintf(path, "%s/mica-XXXXXX%s", dir && *dir ? dir : "/tmp", suffix) < 0)
		return cli_fail(MICA_ERR_MEMORY, "out of memory for a temporary file");
	fd = mkstemps(*path, strlen(suffix));
	if (fd < 0) {
		int ret = cli_fail(MICA_ERR_FILE, "%s: cannot create a temporary file: %s", *path, strerror(errno));

		free(*path);
		*path = NULL;
		return ret;
	}
	close(fd);
	temps[i] = *path;
	return 0;
}

void temp_remove(char *path)
{
	for (int i = 0; i < MAX_TEMPS; i++)
		if (temps[i] == path)
			temps[i] = NULL;
	if (path)
		unlink(path);
	free(path);
}
