// SPDX-License-Identifier: MIT
/* libmica against .mica files that are damaged, of another version, or made to hurt. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <zlib.h>
#include "mica.h"
#include "sdk_builder.h"

static int load(const uint8_t *data, size_t size)
{
	struct mica_model *m;
	int ret = mica_model_load_memory(NULL, data, size, &m);

	assert_true(!ret == !!m);
	mica_model_close(m);
	return ret;
}

static void good_model_is_accepted(void **state)
{
	size_t size;
	uint8_t *file = build_model(1, NULL, &size);
	struct mica_model *m;

	(void)state;
	assert_int_equal(mica_model_load_memory(NULL, file, size, &m), 0);
	assert_int_equal(mica_model_input_count(m), 1);
	assert_string_equal(mica_model_output(m, 0)->name, "y");
	assert_int_equal(mica_model_output(m, 0)->bytes, BUILT_ELEMENTS * 4);
	assert_null(mica_model_input(m, 1));
	assert_int_equal(mica_model_find_output(m, "z"), -ENOENT);
	mica_model_close(m);
	free(file);
}

static void values_outside_of_the_range_are_counted(void **state)
{
	struct mica_tensor_info t = { .range_min = -1, .range_max = 3 }, unknown = { 0 };
	const float v[] = { -1, 3, 3.5f, -1.5f, 100, 0, NAN };
	float worst = 0;

	(void)state;
	assert_int_equal(mica_tensor_outside(&t, v, 2, 0, &worst), 0);
	assert_true(worst == 0);
	assert_int_equal(mica_tensor_outside(&t, v, 6, 0, &worst), 3);
	assert_true(worst == 100);
	assert_int_equal(mica_tensor_outside(&t, v, 6, 0.25f, NULL), 1);
	assert_int_equal(mica_tensor_outside(&t, v, 7, 0.25f, &worst), 2);
	assert_true(isnan(worst));
	assert_int_equal(mica_tensor_outside(&unknown, v, 7, 0, &worst), 0);
}

static void truncation_anywhere_is_corrupt(void **state)
{
	size_t size;
	uint8_t *file = build_model(200, NULL, &size);

	(void)state;
	for (size_t n = 0; n < size; n += n < 200 ? 1 : 997) {
		assert_int_equal(load(file, n), -EBADMSG);
		assert_true(mica_error_text()[0]);
	}
	assert_int_equal(load(file, size - 1), -EBADMSG);
	free(file);
}

static void bytes_behind_the_end_are_corrupt(void **state)
{
	size_t size;
	uint8_t *file = build_model(1, NULL, &size);

	(void)state;
	file = realloc(file, size + 1);
	file[size] = 0;
	assert_int_equal(load(file, size + 1), -EBADMSG);
	free(file);
}

static void any_flipped_bit_is_corrupt(void **state)
{
	size_t size, end;
	uint8_t *file = build_model(3, NULL, &size);
	const struct mica_model_header *h = (void *)file;

	(void)state;
	end = h->header_size + h->meta_size;
	for (size_t bit = 0; bit < size * 8; bit++) {
		if (bit / 8 >= end && bit / 8 < h->blob_offset)
			continue;	/* padding in front of the weights */
		file[bit / 8] ^= 1 << bit % 8;
		assert_int_equal(load(file, size), -EBADMSG);
		file[bit / 8] ^= 1 << bit % 8;
	}
	assert_int_equal(load(file, size), 0);
	free(file);
}

static void another_version_has_its_own_error(void **state)
{
	size_t size;
	uint8_t *file = build_model(1, NULL, &size);

	(void)state;
	((struct mica_model_header *)file)->version = 7;
	fix_checksums(file);
	assert_int_equal(load(file, size), -EPROTONOSUPPORT);
	assert_non_null(strstr(mica_error_text(), "version 7"));
	free(file);
}

static void hostile_frames_are_refused(void **state)
{
	static const struct { size_t offset; uint64_t value; } changes[] = {
		{ offsetof(struct mica_model_header, meta_size), UINT64_MAX },
		{ offsetof(struct mica_model_header, meta_size), UINT64_MAX - 63 },
		{ offsetof(struct mica_model_header, blob_offset), UINT64_MAX - 63 },
		{ offsetof(struct mica_model_header, blob_offset), 1 },
		{ offsetof(struct mica_model_header, blob_size), UINT64_MAX },
		{ offsetof(struct mica_model_header, blob_size), UINT64_MAX / 2 },
		{ offsetof(struct mica_model_header, blob_size), 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		size_t size;
		uint8_t *file = build_model(1, NULL, &size);
		struct mica_model_header *h = (void *)file;

		memcpy(file + changes[i].offset, &changes[i].value, 8);
		h->header_crc = 0;
		h->header_crc = crc32(0, file, sizeof(*h));
		assert_int_equal(load(file, size), -EBADMSG);
		free(file);
	}
}

/* ---- metadata that is well-formed and absurd ---- */

static void isa(Mica__Model *m) { m->isa_version = 99; }
static void dtype(Mica__Model *m) { m->inputs[0]->dtype = 200; }
static void no_dtype(Mica__Model *m) { m->outputs[0]->dtype = 0; }
static void scale(Mica__Model *m) { m->inputs[0]->scale = NAN; }
static void zero_scale(Mica__Model *m) { m->inputs[0]->scale = 0; }
static void no_range(Mica__Model *m) { m->inputs[0]->range_max = INFINITY; }
static void turned_range(Mica__Model *m) { m->inputs[0]->range_min = 2, m->inputs[0]->range_max = 1; }
static void huge_dim(Mica__Model *m) { m->inputs[0]->dims[0] = 0xffffffff; m->inputs[0]->dims[1] = 0xffffffff; }
static void zero_dim(Mica__Model *m) { m->inputs[0]->dims[0] = 0; }
static void zero_point(Mica__Model *m) { m->inputs[0]->zero = 1000; }
static void arena(Mica__Model *m) { m->arena_size = UINT64_MAX; }
static void lmem(Mica__Model *m) { m->lmem_size = 0xfffffff0; }
static void no_lmem(Mica__Model *m) { m->lmem_size = 0; }
static void no_streams(Mica__Model *m) { m->n_streams = 0; }
static void odd_stream(Mica__Model *m) { m->streams[0]->commands.len -= 1; }
static void empty_stream(Mica__Model *m) { m->streams[0]->commands.len = 0; }
static void no_outputs(Mica__Model *m) { m->n_outputs = 0; }
static void no_name(Mica__Model *m) { m->inputs[0]->name = ""; }

static void absurd_metadata_is_refused(void **state)
{
	static const struct { void (*prepare)(Mica__Model *m); int err; } cases[] = {
		{ isa, EPROTONOSUPPORT }, { dtype, EBADMSG }, { no_dtype, EBADMSG }, { scale, EBADMSG }, { zero_scale, EBADMSG }, { no_range, EBADMSG }, { turned_range, EBADMSG },
		{ huge_dim, EBADMSG }, { zero_dim, EBADMSG }, { zero_point, EBADMSG }, { arena, EBADMSG }, { lmem, EBADMSG },
		{ no_lmem, EBADMSG }, { no_streams, EBADMSG }, { odd_stream, EBADMSG }, { empty_stream, EBADMSG },
		{ no_outputs, EBADMSG }, { no_name, EBADMSG },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t size;
		uint8_t *file = build_model(1, cases[i].prepare, &size);

		assert_int_equal(load(file, size), -cases[i].err);
		free(file);
	}
}

/* Checksums are right, so that the damage reaches the parser behind them. */
static void damaged_metadata_never_crashes(void **state)
{
	struct mica_device_options o = MICA_DEVICE_OPTIONS_INIT;
	struct mica_device *dev;
	size_t size;
	uint8_t *file = build_model(3, NULL, &size), *copy = malloc(size);
	const struct mica_model_header *h = (void *)file;

	(void)state;
	o.backend = MICA_BACKEND_CPU;
	assert_int_equal(mica_device_open(&o, &dev), 0);
	srand(1);
	for (int i = 0; i < 20000; i++) {
		struct mica_model *m;
		int ret;

		memcpy(copy, file, size);
		for (int k = rand() % 4; k >= 0; k--)
			copy[h->header_size + rand() % h->meta_size] ^= 1 << rand() % 8;
		fix_checksums(copy);
		ret = mica_model_load_memory(dev, copy, size, &m);
		assert_true(ret == 0 || ret == -EBADMSG || ret == -EPROTONOSUPPORT);
		mica_model_close(m);
	}
	mica_device_close(dev);
	free(copy);
	free(file);
}

static void other_files_are_told_what_they_are_not(void **state)
{
	(void)state;
	assert_int_equal(load((const uint8_t *)"", 0), -EBADMSG);
	assert_int_equal(load((const uint8_t *)"\x08\x07\x12\x07pytorch-onnx-model", 22), -EBADMSG);
	assert_non_null(strstr(mica_error_text(), "mica compile"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_model_is_accepted),
		cmocka_unit_test(values_outside_of_the_range_are_counted),
		cmocka_unit_test(truncation_anywhere_is_corrupt),
		cmocka_unit_test(bytes_behind_the_end_are_corrupt),
		cmocka_unit_test(any_flipped_bit_is_corrupt),
		cmocka_unit_test(another_version_has_its_own_error),
		cmocka_unit_test(hostile_frames_are_refused),
		cmocka_unit_test(absurd_metadata_is_refused),
		cmocka_unit_test(damaged_metadata_never_crashes),
		cmocka_unit_test(other_files_are_told_what_they_are_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
