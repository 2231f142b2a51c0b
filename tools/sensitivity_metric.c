// SPDX-License-Identifier: MIT
/* Outputs as .npy in a folder per sample, and the user's command on them. */
#include "cli.h"
#include "sensitivity_metric.h"
#include <ctype.h>
#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct sensitivity_metric {
	const char *command;
	char *dir;
};

int sensitivity_metric_open(const char *command, struct sensitivity_metric **out)
{
	const char *tmp = getenv("TMPDIR");
	struct sensitivity_metric *m = calloc(1, sizeof(*m));

	*out = m;
	if (!m || asprintf(&m->dir, "%s/mica-outputs-XXXXXX", tmp && *tmp ? tmp : "/tmp") < 0)
		return cli_fail(MICA_ERR_MEMORY, "out of memory");
	m->command = command;
	if (mkdtemp(m->dir))
		return 0;
	cli_fail(MICA_ERR_FILE, "%s: cannot create a folder for outputs: %s", m->dir, strerror(errno));
	free(m->dir);
	m->dir = NULL;
	return MICA_ERR_FILE;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void sensitivity_metric_close(struct sensitivity_metric *m)
{
	if (!m)
		return;
	if (m->dir)
		nftw(m->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	free(m->dir);
	free(m);
}

/* DIR/SAMPLE/OUTPUT.npy */
static int save(const struct sensitivity_metric *m, const struct sens_outputs *of, unsigned sample, unsigned output, struct mica_err *err)
{
	struct mica_array a = { .descr = "<f4", .rank = of->rank[output], .elements = 1, .item = 4,
				.data = (void *)of->value[sample * of->outputs + output] };
	char *path, *name;
	int ret;

	for (unsigned i = 0; i < a.rank; i++) {
		a.dim[i] = of->dim[output][i];
		a.elements *= a.dim[i];
	}
	if (asprintf(&path, "%s/%05u", m->dir, sample) < 0)
		return mica_err_set(err, MICA_ERR_MEMORY, "out of memory");
	ret = mkdir(path, 0777) && errno != EEXIST ? -errno : 0;
	free(path);
	if (asprintf(&path, "%s/%05u/%s.npy", m->dir, sample, of->name[output]) < 0)
		return mica_err_set(err, MICA_ERR_MEMORY, "out of memory");
	name = path + strlen(m->dir) + 7;
	for (char *p = name; p[4]; p++)
		if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
			*p = '_';
	ret = ret ? ret : mica_npy_save(path, &a);
	free(path);
	return ret ? mica_err_set(err, MICA_ERR_FILE, "%s: outputs for --metric cannot be written: %s", m->dir, strerror(-ret)) : 0;
}

static int ask(const struct sensitivity_metric *m, double *loss, struct mica_err *err)
{
	char *line, text[256] = "", *end;
	FILE *f;
	int status;

	/* Ctrl-C reaches the whole group, and a candidate that has begun is finished. */
	if (asprintf(&line, "trap '' INT; %s '%s'", m->command, m->dir) < 0)
		return mica_err_set(err, MICA_ERR_MEMORY, "out of memory");
	f = popen(line, "r");
	free(line);
	if (!f)
		return mica_err_set(err, MICA_ERR_FILE, "--metric=%.200s: cannot be started: %s", m->command, strerror(errno));
	if (fread(text, 1, sizeof(text) - 1, f) < sizeof(text) - 1 && ferror(f))
		text[0] = 0;
	status = pclose(f);
	if (status)
		return mica_err_set(err, MICA_ERR_USAGE, "--metric=%.200s: the command failed with %s %d", m->command,
				    WIFSIGNALED(status) ? "signal" : "exit code", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	*loss = strtod(text, &end);
	while (end != text && isspace((unsigned char)*end))
		end++;
	if (end == text || *end)
		return mica_err_set(err, MICA_ERR_USAGE, "--metric=%.200s: the command must print one number, it printed '%.100s'", m->command,
				    text);
	return 0;
}

int sensitivity_metric_run(void *opaque, const struct sens_outputs *of, double *loss, struct mica_err *err)
{
	const struct sensitivity_metric *m = opaque;
	int ret = 0;

	for (unsigned i = 0; i < of->samples * of->outputs && !ret; i++)
		ret = save(m, of, i / of->outputs, i % of->outputs, err);
	return ret ? ret : ask(m, loss, err);
}
