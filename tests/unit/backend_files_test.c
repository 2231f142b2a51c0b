// SPDX-License-Identifier: MIT
/* The .mica file and its report on disk. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>
#include <json-c/json.h>
#include "graph_util.h"
#include "mica/model.h"

static char dir[] = "/tmp/mica-backend-XXXXXX";

static unsigned files_in_dir(void)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void a_model_file_and_its_report_are_written(void **state)
{
	char path[64], report[64];
	struct mica_compile_options o = { .cores = 2, .lmem = 64 << 10, .format = MICA_E4M3, .report = report };
	struct mica_model_header h;
	struct json_object *j, *layers;
	struct gen t;
	FILE *f;

	(void)state;
	snprintf(path, sizeof(path), "%s/m.mica", dir);
	snprintf(report, sizeof(report), "%s/m.json", dir);
	hand_two_convs(&t, 32, 16);
	assert_int_equal(ir_backend(t.g, &o, path), 0);
	f = fopen(path, "rb");
	assert_non_null(f);
	assert_int_equal(fread(&h, sizeof(h), 1, f), 1);
	fclose(f);
	assert_true(h.magic == MICA_MODEL_MAGIC);
	assert_int_equal(h.blob_offset % 64, 0);
	j = json_object_from_file(report);
	assert_non_null(j);
	assert_true(json_object_object_get_ex(j, "layers", &layers));
	assert_int_equal(json_object_array_length(layers), 4);
	json_object_put(j);
	assert_int_equal(files_in_dir(), 2);
	unlink(path);
	unlink(report);
	ir_graph_free(t.g);
}

static void a_full_disk_leaves_the_old_file_alone(void **state)
{
	struct mica_compile_options o = { .cores = 1, .lmem = 1 << 20, .format = MICA_E4M3 };
	struct rlimit old, tight;
	char path[64], text[8] = "";
	struct gen t;
	FILE *f;

	(void)state;
	snprintf(path, sizeof(path), "%s/old.mica", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("old", f);
	fclose(f);
	hand_two_convs(&t, 32, 64);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	tight = old;
	tight.rlim_cur = 4096;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	assert_int_equal(ir_backend(t.g, &o, path), -MICA_ERR_FILE);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_non_null(strstr(t.err.text, path));
	f = fopen(path, "r");
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_string_equal(text, "old");
	assert_int_equal(files_in_dir(), 1);
	unlink(path);
	ir_graph_free(t.g);
}

static void a_place_that_does_not_exist_is_named(void **state)
{
	struct mica_compile_options o = { .cores = 1, .lmem = 1 << 20, .format = MICA_E4M3 };
	struct gen t;

	(void)state;
	hand_two_convs(&t, 8, 16);
	assert_int_equal(ir_backend(t.g, &o, "/nowhere/at/all.mica"), -MICA_ERR_FILE);
	assert_non_null(strstr(t.err.text, "/nowhere/at/all.mica"));
	ir_graph_free(t.g);
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_model_file_and_its_report_are_written),
		cmocka_unit_test(a_full_disk_leaves_the_old_file_alone),
		cmocka_unit_test(a_place_that_does_not_exist_is_named),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
