// SPDX-License-Identifier: MIT
/* Sidecars, preprocessing and decoders. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "mica.h"
#include "sdk_builder.h"

static struct mica_sidecar *parse(const char *text)
{
	struct mica_sidecar *sc;

	assert_int_equal(mica_sidecar_parse(text, &sc), 0);
	return sc;
}

static void an_empty_sidecar_has_defaults(void **state)
{
	struct mica_sidecar *sc = parse("\n# nothing\n   \n");

	(void)state;
	assert_string_equal(mica_sidecar_decode(sc), "none");
	assert_null(mica_sidecar_input(sc));
	assert_string_equal(mica_sidecar_label(sc, 3), "class 3");
	mica_sidecar_free(sc);
}

static void the_last_line_wins(void **state)
{
	struct mica_sidecar *sc = parse("decode = none\ninput = a\nlabels = x\r\ninput= b \nlabels = one , two\ndecode=classes");

	(void)state;
	assert_string_equal(mica_sidecar_decode(sc), "classes");
	assert_string_equal(mica_sidecar_input(sc), "b");
	assert_int_equal(mica_sidecar_label_count(sc), 2);
	assert_string_equal(mica_sidecar_label(sc, 1), "two");
	mica_sidecar_free(sc);
}

static void an_input_that_the_model_lacks_is_named_with_its_line(void **state)
{
	static const char *const names[] = { "a", "images" };
	struct mica_sidecar *sc = parse("decode = none\ninput = b"), *none = parse("");

	(void)state;
	assert_int_equal(mica_sidecar_check_input(sc, names, 2), -EINVAL);
	assert_non_null(strstr(mica_error_text(), "line 2: input = b: the model has no such input; it has 'a', 'images'"));
	assert_int_equal(mica_sidecar_check_input(sc, (const char *const[]){ "a", "b" }, 2), 0);
	assert_int_equal(mica_sidecar_check_input(none, names, 2), 0);
	mica_sidecar_free(sc);
	mica_sidecar_free(none);
}

static void mistakes_name_line_and_remedy(void **state)
{
	static const struct { const char *text, *says; } cases[] = {
		{ "mean = 1\nmeen = 1", "line 2: unknown key 'meen'" },
		{ "mean", "'key = value' is expected" },
		{ "mean = one", "a number is expected" },
		{ "mean = 1, 2", "one number or three" },
		{ "mean = 1, 2, 3, 4", "too many numbers" },
		{ "mean = 1 2", "separated by commas" },
		{ "mean = nan", "a number is expected" },
		{ "std = 1, 0, 1", "cannot be 0" },
		{ "channels = grb", "rgb, bgr or gray" },
		{ "resize = crop", "stretch, letterbox or none" },
		{ "layout = chw", "nchw or nhwc" },
		{ "decode = yolo", "none, classes or nanodet" },
		{ "decode = nanodet", "needs 'strides' and 'reg_max'" },
		{ "decode = nanodet\nstrides = 8, 16\nreg_max = 10\nscores = a\nboxes = b", "one output per stride" },
		{ "strides = 8.5", "integers" },
		{ "reg_max = 0", "from 1 to 64" },
		{ "score = 2", "from 0 to 1" },
		{ "softmax = maybe", "no or yes" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mica_sidecar *sc;

		assert_int_equal(mica_sidecar_parse(cases[i].text, &sc), -EINVAL);
		assert_null(sc);
		if (!strstr(mica_error_text(), cases[i].says))
			fail_msg("'%s' says: %s", cases[i].text, mica_error_text());
	}
}

static void bgr_nchw_is_normalized_per_channel(void **state)
{
	struct mica_sidecar *sc = parse("channels = bgr\nmean = 1, 2, 3\nstd = 2, 4, 8");
	uint8_t px[] = { 10, 20, 30, 40, 50, 60 };
	struct mica_image img = { 2, 1, 3, px };
	float out[6], want[] = { (30 - 1) / 2.f, (60 - 1) / 2.f, (20 - 2) / 4.f, (50 - 2) / 4.f, (10 - 3) / 8.f, (40 - 3) / 8.f };

	(void)state;
	assert_int_equal(mica_preprocess(sc, &img, (uint32_t[]){ 1, 3, 1, 2 }, 4, out, 6, NULL), 0);
	assert_memory_equal(out, want, sizeof(want));
	mica_sidecar_free(sc);
}

static void rgb_nhwc_keeps_the_order(void **state)
{
	struct mica_sidecar *sc = parse("layout = nhwc\nmul = 0.5");
	uint8_t px[] = { 10, 20, 30, 40, 50, 60 };
	struct mica_image img = { 2, 1, 3, px };
	float out[6];

	(void)state;
	assert_int_equal(mica_preprocess(sc, &img, (uint32_t[]){ 1, 1, 2, 3 }, 4, out, 6, NULL), 0);
	for (int i = 0; i < 6; i++)
		assert_true(out[i] == px[i] * 0.5f);
	mica_sidecar_free(sc);
}

static void resize_is_bilinear_with_half_pixels(void **state)
{
	struct mica_sidecar *sc = parse("channels = gray");
	uint8_t px[] = { 0, 100 };
	struct mica_image img = { 2, 1, 1, px };
	float out[4], want[] = { 0, 25, 75, 100 };

	(void)state;
	assert_int_equal(mica_preprocess(sc, &img, (uint32_t[]){ 1, 1, 1, 4 }, 4, out, 4, NULL), 0);
	assert_memory_equal(out, want, sizeof(want));
	mica_sidecar_free(sc);
}

static void letterbox_centers_and_pads(void **state)
{
	struct mica_sidecar *sc = parse("channels = gray\nresize = letterbox\npad = 114");
	uint8_t px[] = { 200, 200, 200, 200, 200, 200, 200, 200 };
	struct mica_image img = { 4, 2, 1, px };
	struct mica_placement p;
	float out[64];

	(void)state;
	assert_int_equal(mica_preprocess(sc, &img, (uint32_t[]){ 1, 1, 8, 8 }, 4, out, 64, &p), 0);
	assert_true(out[0] == 114 && out[15] == 114 && out[16] == 200 && out[47] == 200 && out[48] == 114);
	assert_true(p.sx == 2 && p.sy == 2 && p.dx == 0 && p.dy == 2 && p.width == 4 && p.height == 2);
	mica_sidecar_free(sc);
}

static void shapes_that_do_not_fit_are_refused(void **state)
{
	struct mica_sidecar *sc = parse("resize = none");
	uint8_t px[12] = { 0 };
	struct mica_image img = { 2, 2, 3, px };
	float out[64];

	(void)state;
	assert_int_equal(mica_preprocess(sc, &img, (uint32_t[]){ 1, 3, 4, 4 }, 4, out, 48, NULL), -ERANGE);
	assert_int_equal(mica_preprocess(sc, &img, (uint32_t[]){ 1, 1, 2, 2 }, 4, out, 4, NULL), -ERANGE);
	assert_int_equal(mica_preprocess(sc, &img, (uint32_t[]){ 2, 3, 2, 2 }, 4, out, 24, NULL), -ERANGE);
	assert_int_equal(mica_preprocess(sc, &img, (uint32_t[]){ 3, 2, 2 }, 3, out, 12, NULL), -ERANGE);
	assert_int_equal(mica_preprocess(sc, &img, (uint32_t[]){ 1, 3, 2, 2 }, 4, out, 12, NULL), 0);
	img.height = 0;
	assert_int_equal(mica_preprocess(sc, &img, (uint32_t[]){ 1, 3, 2, 2 }, 4, out, 12, NULL), -ERANGE);
	mica_sidecar_free(sc);
}

static void classes_are_sorted_and_softmaxed(void **state)
{
	struct mica_sidecar *sc = parse("decode = classes\nsoftmax = yes");
	float values[BUILT_ELEMENTS] = { 0 };
	const float *outputs[] = { values };
	struct mica_class top[3];
	struct mica_model *m;
	size_t size;
	uint8_t *file = build_model(1, NULL, &size);

	(void)state;
	values[7] = 100;
	values[9] = 99;
	assert_int_equal(mica_model_load_memory(NULL, file, size, &m), 0);
	assert_int_equal(mica_decode_classes(sc, m, outputs, top, 3), BUILT_ELEMENTS);
	assert_int_equal(top[0].label, 7);
	assert_int_equal(top[1].label, 9);
	assert_true(fabsf(top[0].score - 1 / (1 + expf(-1))) < 1e-5f);
	mica_model_close(m);
	mica_sidecar_free(sc);
	free(file);
}

/* ---- NanoDet: one scale of 2x2 cells, 2 classes, reg_max 1: 8 box channels ---- */

static void as_head(Mica__Model *m)
{
	static uint32_t score_dims[] = { 1, 2, 2, 2 }, box_dims[] = { 1, 8, 2, 2 };
	static Mica__Tensor score, box, *both[] = { &score, &box };

	mica__tensor__init(&score);
	mica__tensor__init(&box);
	score.name = "s";
	box.name = "b";
	score.dtype = box.dtype = MICA_F32;
	score.scale = box.scale = 1;
	score.dims = score_dims;
	box.dims = box_dims;
	score.n_dims = box.n_dims = 4;
	m->outputs = both;
	m->n_outputs = 2;
}

static void nanodet_boxes_are_decoded_and_suppressed(void **state)
{
	struct mica_sidecar *sc = parse("decode = nanodet\nstrides = 8\nreg_max = 1\nscores = s\nboxes = b\nscore = 0.5\niou = 0.3");
	float score[8] = { 0.9f, 0.6f, 0.1f, 0.2f, /* class 1 */ 0.1f, 0.2f, 0.8f, 0.3f };
	float box[32];
	const float *outputs[] = { score, box };
	struct mica_placement where = { 2, 2, 0, 0, 100, 100 };
	struct mica_detection d[8];
	struct mica_model *m;
	size_t size;
	uint8_t *file = build_model(1, as_head, &size);

	(void)state;
	/* bin 1 takes everything: each side is one stride (8) away */
	for (int c = 0; c < 8; c++)
		for (int i = 0; i < 4; i++)
			box[c * 4 + i] = c % 2 ? 50 : -50;
	assert_int_equal(mica_model_load_memory(NULL, file, size, &m), 0);
	assert_int_equal(mica_decode_detections(sc, m, outputs, &where, d, 8), 2);
	assert_int_equal(d[0].label, 0);
	assert_true(d[0].score == 0.9f && d[0].x0 == 0 && d[0].y0 == 0 && d[0].x1 == 6 && d[0].y1 == 6);
	assert_int_equal(d[1].label, 1);
	assert_true(d[1].y0 == 2 && d[1].y1 == 10);
	mica_model_close(m);
	mica_sidecar_free(sc);
	free(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_sidecar_has_defaults),
		cmocka_unit_test(the_last_line_wins),
		cmocka_unit_test(an_input_that_the_model_lacks_is_named_with_its_line),
		cmocka_unit_test(mistakes_name_line_and_remedy),
		cmocka_unit_test(bgr_nchw_is_normalized_per_channel),
		cmocka_unit_test(rgb_nhwc_keeps_the_order),
		cmocka_unit_test(resize_is_bilinear_with_half_pixels),
		cmocka_unit_test(letterbox_centers_and_pads),
		cmocka_unit_test(shapes_that_do_not_fit_are_refused),
		cmocka_unit_test(classes_are_sorted_and_softmaxed),
		cmocka_unit_test(nanodet_boxes_are_decoded_and_suppressed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
