// SPDX-License-Identifier: MIT
/* mica onnx-test: finds ONNX backend tests, runs each in a process of its own, counts. */
#include "onnx_test.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_DEPTH 8

struct totals { unsigned passed, failed, skipped, baked, folded; };

/* ---- options ---- */

static int take_tolerance(const struct cli_opt *o, const char *arg, void *to)
{
	char *end;
	double v = strtod(arg, &end);

	if (end == arg || *end || !(v >= 0 && v < 1e6))
		return cli_fail(MICA_ERR_USAGE, "--%s=%s: a number of at least 0 is expected, like 1e-3", o->name, arg);
	*(double *)to = v;
	return 0;
}

/* 'both' on top of those that every command has. */
static int take_backend(const struct cli_opt *opt, const char *arg, void *to)
{
	static const char *const names[] = { "auto", "device", "cpu", "both" };
	struct test_options *o = to;
	unsigned v = 0;
	int ret = cli_choose(opt->name, arg, names, CLI_COUNT(names), &v);

	o->both = v == 3;
	o->dev.backend = o->both ? MICA_BACKEND_DEVICE : v;
	return ret;
}

static const struct cli_opt own[] = {
	{ .name = "backend", .take = take_backend },
	CLI_CALL("format", struct test_options, format, cli_take_format),
	CLI_UNSIGNED("cores", struct test_options, cores, 1, MICA_MAX_CORES),
	CLI_CALL("rtol", struct test_options, rtol, take_tolerance), CLI_CALL("atol", struct test_options, atol, take_tolerance),
	CLI_SECONDS("timeout", struct test_options, timeout),
	CLI_TEXT("only", struct test_options, only),
	CLI_FLAG("verbose", struct test_options, verbose),
	{ 0 }
};

static int parse(int argc, char **argv, struct test_options *o)
{
	const struct cli_group groups[] = { CLI_GROUP(own, o), CLI_GROUP(cli_device_options, &o->dev), { 0 } };
	int ret = cli_parse(&cmd_onnx_test, argc, argv, groups);

	if (ret)
		return ret;
	o->exact_tolerance = o->rtol >= 0 || o->atol >= 0;
	o->rtol = o->rtol >= 0 ? o->rtol : 1e-3;
	o->atol = o->atol >= 0 ? o->atol : 1e-7;
	return optind < argc ? 0 : cli_fail(MICA_ERR_USAGE, "a folder with tests (model.onnx, test_data_set_0/...) is needed");
}

/* ---- finding tests ---- */

static bool holds(const char *dir, const char *name)
{
	char path[4096];

	return snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path) && !access(path, F_OK);
}

/* A test is a folder with a model, or with the address of one (data.json: the project's large models). */
static int find_tests(const char *dir, unsigned depth, struct path_list *tests)
{
	struct path_list sub;
	int ret;

	if (holds(dir, "model.onnx") || holds(dir, "data.json"))
		return paths_add(tests, dir);
	if (depth == MAX_DEPTH)
		return 0;
	ret = paths_subfolders(dir, &sub);
	for (unsigned i = 0; i < sub.count && !ret; i++)
		ret = find_tests(sub.item[i], depth + 1, tests);
	paths_free(&sub);
	return ret;
}

/* ---- one test in its own process: a crash or an endless loop is that test's failure ---- */

static void child(const struct test_options *o, const char *dir, const char *mica, int fd)
{
	struct test_result r = { .verdict = TEST_FAILED };
	int null = o->verbose ? -1 : open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (null >= 0)
		dup2(null, STDERR_FILENO);
	test_run(o, dir, mica, &r);
	_exit(write(fd, &r, sizeof(r)) == sizeof(r) ? 0 : 1);
}

/* Waits for the result, at most until the time is over. False: none came. */
static bool receive(int fd, double timeout, struct test_result *r)
{
	double end = cli_now() + timeout;
	size_t have = 0;

	while (have < sizeof(*r)) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		double left = end - cli_now();
		ssize_t n;

		if (left <= 0)
			return false;
		if (poll(&p, 1, (int)(left * 1000) + 1) < 0 && errno != EINTR)
			return false;
		if (!p.revents)
			continue;
		n = read(fd, (char *)r + have, sizeof(*r) - have);
		if (n <= 0)
			return false;
		have += (size_t)n;
	}
	return true;
}

static void judge_death(int status, bool timed_out, double timeout, struct test_result *r)
{
	*r = (struct test_result){ .verdict = TEST_FAILED };
	if (timed_out)
		snprintf(r->text, sizeof(r->text), "did not end within %g s", timeout);
	else if (WIFSIGNALED(status))
		snprintf(r->text, sizeof(r->text), "crashed: %s", strsignal(WTERMSIG(status)));
	else
		snprintf(r->text, sizeof(r->text), "ended with exit code %d", WEXITSTATUS(status));
}

static int run_apart(const struct test_options *o, const char *dir, const char *mica, struct test_result *r)
{
	int fds[2], status = 0;
	bool got, timed_out;
	double start = cli_now();
	pid_t pid;

	fflush(stdout);
	if (pipe2(fds, O_CLOEXEC))
		return cli_fail(MICA_ERR_FILE, "cannot make a pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0)
		child(o, dir, mica, fds[1]);
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return cli_fail(MICA_ERR_MEMORY, "cannot start a process: %s", strerror(errno));
	}
	got = receive(fds[0], o->timeout, r);
	timed_out = !got && cli_now() - start >= o->timeout;
	if (timed_out)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	close(fds[0]);
	if (!got)
		judge_death(status, timed_out, o->timeout, r);
	return 0;
}

/* ---- counting ---- */

static void tell(const struct test_options *o, const char *dir, const struct test_result *r, struct totals *t)
{
	static const char *const word[] = { "PASS", "FAIL", "SKIP" };

	t->passed += r->verdict == TEST_PASSED;
	t->failed += r->verdict == TEST_FAILED;
	t->skipped += r->verdict == TEST_SKIPPED;
	if (r->verdict == TEST_PASSED && r->baked)
		(*(r->baked == r->inputs ? &t->folded : &t->baked))++;
	if (r->verdict != TEST_PASSED || o->verbose)
		printf("%s %s%s%s\n", word[r->verdict], path_base(dir), *r->text ? ": " : "", r->text);
}

static int run_all(const struct test_options *o, const struct path_list *tests, struct totals *t)
{
	char *mica;
	int ret = temp_create(".mica", &mica);

	for (unsigned i = 0; i < tests->count && !ret; i++) {
		struct test_result r;

		if (o->only && !strstr(path_base(tests->item[i]), o->only))
			continue;
		ret = run_apart(o, tests->item[i], mica, &r);
		if (!ret)
			tell(o, tests->item[i], &r, t);
	}
	temp_remove(mica);
	return ret;
}

static int run(int argc, char **argv)
{
	struct test_options o = { .dev = MICA_DEVICE_OPTIONS_INIT, .format = MICA_F32, .cores = 1, .rtol = -1, .atol = -1,
				  .timeout = 120 };
	struct path_list tests = { 0 };
	struct totals t = { 0 };
	int ret = parse(argc, argv, &o);

	if (ret)
		return ret == CLI_HELP ? 0 : ret;
	for (int i = optind; i < argc && !ret; i++) {
		unsigned before = tests.count;

		ret = find_tests(argv[i], 0, &tests);
		if (!ret && tests.count == before)
			ret = cli_fail(MICA_ERR_FILE, "%s: holds no test: a folder with model.onnx and test_data_set_0/ is expected", argv[i]);
	}
	if (!ret)
		ret = run_all(&o, &tests, &t);
	paths_free(&tests);
	if (ret)
		return ret;
	if (t.baked || t.folded)
		printf("of those that passed, %u with some inputs given at compile time, %u with all of them\n", t.baked, t.folded);
	printf("%u passed, %u failed, %u skipped\n", t.passed, t.failed, t.skipped);
	return t.failed ? MICA_ERR_DEVICE : 0;
}

const struct command cmd_onnx_test = {
	"onnx-test", "run ONNX backend tests", run,
	"DIR... [OPTION]...\n\n"
	"DIR is a test (model.onnx, test_data_set_N/input_K.pb and output_K.pb) or a folder of tests. A line for each test that\n"
	"fails or is not supported, with the reason; the last line counts. Exit code 0: none failed.\n\n"
	"  --backend=auto|device|cpu|both   where to run; both: device and CPU must give the same bits\n"
	"  --device= --submit= --threads= --isa=   as for mica run\n"
	"  --format=f32|bf16|e4m3|e5m2|int8 how to compile (default f32); the tests' inputs serve for calibration\n"
	"  --cores=N                        1..8 (default 1)\n"
	"  --rtol=R --atol=A                tolerance |got - want| <= A + R |want| (default 1e-3 and 1e-7 as the ONNX project\n"
	"                                   has it; formats other than f32: a part of the largest value, docs/cli.md)\n"
	"  --timeout=SECONDS                for one test (default 120)\n"
	"  --only=TEXT                      tests whose name contains it\n"
	"  --verbose                        a line for tests that pass as well, and which inputs were given at compile time\n",
};
