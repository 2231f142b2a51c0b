// SPDX-License-Identifier: MIT
/* .npy, IDX and image files: what is read, what is refused, and that damage never crashes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <cmocka.h>
#include "mica.h"

static char dir[64];

static const char *path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static const char *write_file(const char *name, const void *data, size_t size)
{
	const char *path = path_of(name);
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, size, f), size);
	fclose(f);
	return path;
}

static uint8_t *read_file(const char *path, size_t *size)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data;

	if (!f)
		return NULL;
	fseek(f, 0, SEEK_END);
	*size = ftell(f);
	rewind(f);
	data = malloc(*size);
	assert_int_equal(fread(data, 1, *size, f), *size);
	fclose(f);
	return data;
}

/* A version 1 or 2 .npy with that dict and data; returns its size. */
static size_t make_npy(uint8_t *dst, int version, const char *dict, const void *data, size_t size)
{
	size_t head = version == 1 ? 10 : 12, len = strlen(dict) + 1;

	memcpy(dst, "\x93NUMPY", 6);
	dst[6] = version;
	dst[7] = 0;
	dst[8] = len & 0xff;
	dst[9] = len >> 8;
	if (version > 1)
		dst[10] = dst[11] = 0;
	memcpy(dst + head, dict, len - 1);
	dst[head + len - 1] = '\n';
	memcpy(dst + head + len, data, size);
	return head + len + size;
}

static int load_npy(int version, const char *dict, const void *data, size_t size, struct mica_array *a)
{
	uint8_t file[1024];
	size_t n = make_npy(file, version, dict, data, size);

	return mica_npy_load(write_file("a.npy", file, n), a);
}

static void npy_round_trip(void **state)
{
	float v[6] = { 1, -2, 3.5f, 0, 1e30f, -0.0f };
	struct mica_array a = { .descr = "<f4", .rank = 2, .dim = { 2, 3 }, .elements = 6, .item = 4, .data = v }, b;

	(void)state;
	assert_int_equal(mica_npy_save(path_of("r.npy"), &a), 0);
	assert_int_equal(mica_npy_load(path_of("r.npy"), &b), 0);
	assert_string_equal(b.descr, "<f4");
	assert_int_equal(b.rank, 2);
	assert_int_equal(b.dim[1], 3);
	assert_memory_equal(b.data, v, sizeof(v));
	mica_array_free(&b);
}

static void npy_scalar_and_vector_round_trip(void **state)
{
	float v[2] = { 1, 2 };
	struct mica_array a = { .descr = "<f4", .rank = 0, .elements = 1, .item = 4, .data = v }, b;

	(void)state;
	assert_int_equal(mica_npy_save(path_of("s.npy"), &a), 0);
	assert_int_equal(mica_npy_load(path_of("s.npy"), &b), 0);
	assert_int_equal(b.rank, 0);
	assert_int_equal(b.elements, 1);
	mica_array_free(&b);
	a.rank = 1;
	a.dim[0] = a.elements = 2;
	assert_int_equal(mica_npy_save(path_of("s.npy"), &a), 0);
	assert_int_equal(mica_npy_load(path_of("s.npy"), &b), 0);
	assert_int_equal(b.dim[0], 2);
	mica_array_free(&b);
}

static void npy_types_become_f32(void **state)
{
	struct mica_array a;
	float out[2];

	(void)state;
	assert_int_equal(load_npy(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", (double[]){ 1.5, -2 }, 16, &a), 0);
	assert_int_equal(mica_array_to_f32(&a, 0, 2, out), 0);
	assert_true(out[0] == 1.5f && out[1] == -2);
	mica_array_free(&a);
	assert_int_equal(load_npy(2, "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }", (int64_t[]){ 7, -9 }, 16, &a), 0);
	assert_int_equal(mica_array_to_f32(&a, 1, 1, out), 0);
	assert_true(out[0] == -9);
	assert_int_equal(mica_array_to_f32(&a, 1, 2, out), -ERANGE);
	mica_array_free(&a);
	assert_int_equal(load_npy(2, "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }", (int64_t[]){ 1ll << 40, 16777217 }, 16, &a), 0);
	assert_int_equal(mica_array_to_f32(&a, 0, 1, out), 0);
	assert_true(out[0] == 0x1p40f);
	assert_int_equal(mica_array_to_f32(&a, 0, 2, out), -ERANGE);
	assert_non_null(strstr(mica_error_text(), "element 1 is 16777217"));
	mica_array_free(&a);
	assert_int_equal(load_npy(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", "\xff\x01", 2, &a), 0);
	assert_int_equal(mica_array_to_f32(&a, 0, 2, out), 0);
	assert_true(out[0] == 255 && out[1] == 1);
	mica_array_free(&a);
}

static void npy_refusals_name_the_remedy(void **state)
{
	struct mica_array a;

	(void)state;
	assert_int_equal(load_npy(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", "abcd", 4, &a), -EOPNOTSUPP);
	assert_non_null(strstr(mica_error_text(), "ascontiguousarray"));
	assert_int_equal(load_npy(1, "{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", "abcd", 4, &a), -EOPNOTSUPP);
	assert_non_null(strstr(mica_error_text(), "astype"));
	assert_int_equal(load_npy(1, "{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", "abcdefgh", 8, &a), -EOPNOTSUPP);
	assert_int_equal(load_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "abcd", 4, &a), -EBADMSG);
	assert_int_equal(load_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "abcde", 5, &a), -EBADMSG);
	assert_int_equal(load_npy(1, "{'fortran_order': False, 'shape': (1,), }", "abcd", 4, &a), -EBADMSG);
	assert_int_equal(load_npy(1, "{'descr': '<f4', 'shape': (99999999999, 99999999999), }", "abcd", 4, &a), -EBADMSG);
	assert_int_equal(load_npy(1, "{'descr': '<f4', 'shape': (1, ", "abcd", 4, &a), -EBADMSG);
	assert_int_equal(load_npy(9, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "abcd", 4, &a), -EPROTONOSUPPORT);
	assert_int_equal(mica_npy_load(path_of("missing.npy"), &a), -ENOENT);
	assert_int_equal(mica_npy_load(dir, &a), -EISDIR);
}

static void npy_damage_never_crashes(void **state)
{
	uint8_t file[256], copy[256];
	size_t n = make_npy(file, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", "abcdefghijklmnop", 16);
	struct mica_array a;

	(void)state;
	for (size_t i = 0; i < n; i++)
		assert_int_equal(mica_npy_load(write_file("d.npy", file, i), &a), -EBADMSG);
	srand(1);
	for (int i = 0; i < 2000; i++) {
		memcpy(copy, file, n);
		copy[rand() % n] ^= 1 << rand() % 8;
		mica_npy_load(write_file("d.npy", copy, n), &a);
		mica_array_free(&a);
	}
}

static const uint8_t idx_file[] = { 0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 10, 20, 30, 40 };

static void idx_plain_and_compressed(void **state)
{
	struct mica_array a;
	gzFile gz;

	(void)state;
	assert_int_equal(mica_idx_load(write_file("a.idx", idx_file, sizeof(idx_file)), &a), 0);
	assert_int_equal(a.rank, 3);
	assert_int_equal(a.dim[0], 2);
	assert_int_equal(((uint8_t *)a.data)[3], 40);
	mica_array_free(&a);
	gz = gzopen(path_of("a.idx.gz"), "wb");
	gzwrite(gz, idx_file, sizeof(idx_file));
	gzclose(gz);
	assert_int_equal(mica_idx_load(path_of("a.idx.gz"), &a), 0);
	assert_int_equal(a.elements, 4);
	mica_array_free(&a);
}

static void idx_damage_is_corrupt(void **state)
{
	uint8_t file[sizeof(idx_file) + 1] = { 0 };
	struct mica_array a;

	(void)state;
	for (size_t i = 0; i < sizeof(idx_file); i++)
		assert_int_equal(mica_idx_load(write_file("d.idx", idx_file, i), &a), -EBADMSG);
	memcpy(file, idx_file, sizeof(idx_file));
	assert_int_equal(mica_idx_load(write_file("d.idx", file, sizeof(file)), &a), -EBADMSG);
	memset(file + 4, 0xff, 12);
	assert_int_equal(mica_idx_load(write_file("d.idx", file, sizeof(file)), &a), -EBADMSG);
	memcpy(file, idx_file, sizeof(idx_file));
	file[11] = 0;	/* images without rows */
	assert_int_equal(mica_idx_load(write_file("d.idx", file, 16), &a), -EBADMSG);
	file[2] = 0xd;
	assert_int_equal(mica_idx_load(write_file("d.idx", file, sizeof(file)), &a), -EOPNOTSUPP);
	assert_int_equal(mica_idx_load(path_of("missing.idx"), &a), -ENOENT);
}

static void idx_damaged_gzip_is_corrupt(void **state)
{
	uint8_t file[256];
	struct mica_array a;
	size_t size;
	gzFile gz;
	FILE *f;

	(void)state;
	gz = gzopen(path_of("a.idx.gz"), "wb");
	gzwrite(gz, idx_file, sizeof(idx_file));
	gzclose(gz);
	f = fopen(path_of("a.idx.gz"), "rb");
	size = fread(file, 1, sizeof(file), f);
	fclose(f);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(mica_idx_load(write_file("d.idx", file, i), &a), -EBADMSG);
	file[size - 8] ^= 1;	/* of the checksum */
	assert_int_equal(mica_idx_load(write_file("d.idx", file, size), &a), -EBADMSG);
}

static void png_round_trip(void **state)
{
	uint8_t px[2 * 3 * 3];
	struct mica_image img = { 3, 2, 3, px }, back;
	struct mica_image grey = { 3, 2, 1, px };

	(void)state;
	for (unsigned i = 0; i < sizeof(px); i++)
		px[i] = i * 13;
	assert_int_equal(mica_image_save_png(path_of("a.png"), &img), 0);
	assert_int_equal(mica_image_load(path_of("a.png"), &back), 0);
	assert_int_equal(back.width, 3);
	assert_int_equal(back.channels, 3);
	assert_memory_equal(back.data, px, sizeof(px));
	mica_image_free(&back);
	assert_int_equal(mica_image_save_png(path_of("g.png"), &grey), 0);
	assert_int_equal(mica_image_load(path_of("g.png"), &back), 0);
	assert_int_equal(back.channels, 1);
	assert_memory_equal(back.data, px, 6);
	mica_image_free(&back);
}

static void damage_image(const char *path, size_t step)
{
	struct mica_image img;
	size_t size = 0;
	uint8_t *file = read_file(path, &size);

	if (!file)
		skip();
	assert_int_equal(mica_image_decode(file, size, path, &img), 0);
	mica_image_free(&img);
	for (size_t n = 0; n < size - 16; n += step)
		assert_int_equal(mica_image_decode(file, n, path, &img), -EBADMSG);
	srand(1);
	for (int i = 0; i < 60; i++) {
		size_t at = rand() % size;

		file[at] ^= 1 << rand() % 8;
		mica_image_decode(file, size, path, &img);
		mica_image_free(&img);
	}
	free(file);
}

static void png_damage_never_crashes(void **state)
{
	uint8_t px[32 * 32 * 3];
	struct mica_image img = { 32, 32, 3, px };

	(void)state;
	srand(2);
	for (unsigned i = 0; i < sizeof(px); i++)
		px[i] = rand();
	assert_int_equal(mica_image_save_png(path_of("d.png"), &img), 0);
	damage_image(path_of("d.png"), 37);
}

static void jpeg_damage_never_crashes(void **state)
{
	(void)state;
	damage_image("models/photos/chelsea.jpg", 997);
}

static void other_files_are_no_images(void **state)
{
	struct mica_image img;

	(void)state;
	assert_int_equal(mica_image_decode("GIF89a", 6, "a.gif", &img), -EBADMSG);
	assert_non_null(strstr(mica_error_text(), "neither a JPEG nor a PNG"));
}

static void drawing_is_clipped(void **state)
{
	uint8_t px[8 * 8 * 3] = { 0 };
	struct mica_image img = { 8, 8, 3, px };

	(void)state;
	mica_image_rect(&img, -100, -100, 100, 100, 200, 0xff0000);
	assert_int_equal(px[0], 0xff);
	mica_image_text(&img, -3, 6, "cat 0.99 \x80", 3, 0x00ff00, 0x0000ff);
	mica_image_rect(&img, 5, 5, 2, 2, 1, 0xffffff);
}

static int make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/mica-files-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	static const char *const names[] = { "a.npy", "r.npy", "s.npy", "d.npy", "a.idx", "a.idx.gz", "d.idx", "a.png", "g.png", "d.png" };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(path_of(names[i]));
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(npy_round_trip),
		cmocka_unit_test(npy_scalar_and_vector_round_trip),
		cmocka_unit_test(npy_types_become_f32),
		cmocka_unit_test(npy_refusals_name_the_remedy),
		cmocka_unit_test(npy_damage_never_crashes),
		cmocka_unit_test(idx_plain_and_compressed),
		cmocka_unit_test(idx_damage_is_corrupt),
		cmocka_unit_test(idx_damaged_gzip_is_corrupt),
		cmocka_unit_test(png_round_trip),
		cmocka_unit_test(png_damage_never_crashes),
		cmocka_unit_test(jpeg_damage_never_crashes),
		cmocka_unit_test(other_files_are_no_images),
		cmocka_unit_test(drawing_is_clipped),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
