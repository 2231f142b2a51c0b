// SPDX-License-Identifier: MIT
/* JPEG and PNG files to 8-bit samples, and back to PNG. */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jpeglib.h>
#include <jerror.h>
#include <png.h>
#include "sdk.h"

#define IMAGE_MAX_FILE (1ull << 30)
#define IMAGE_MAX_PIXELS (1ull << 28)

static int check_size(const char *name, uint64_t width, uint64_t height)
{
	if (!width || !height || width * height > IMAGE_MAX_PIXELS)
		return sdk_err(EBADMSG, "%s: an image of %llux%llu pixels (at most 2^28)", name, (unsigned long long)width,
			       (unsigned long long)height);
	return 0;
}

/* ---- JPEG: libjpeg reports by callbacks that must not return ---- */

struct jpeg_state {
	struct jpeg_error_mgr err;	/* first: libjpeg knows only this */
	jmp_buf back;
	char text[JMSG_LENGTH_MAX];
	bool truncated;
};

static void jpeg_fatal(j_common_ptr c)
{
	struct jpeg_state *st = (struct jpeg_state *)c->err;

	c->err->format_message(c, st->text);
	longjmp(st->back, 1);
}

/* libjpeg fills the missing part of a picture with grey and only warns. */
static void jpeg_warning(j_common_ptr c, int level)
{
	if (level < 0 && c->err->msg_code == JWRN_JPEG_EOF)
		((struct jpeg_state *)c->err)->truncated = true;
}

static void jpeg_silent(j_common_ptr c)
{
	(void)c;
}

static void jpeg_rows(struct jpeg_decompress_struct *d, struct mica_image *img)
{
	while (d->output_scanline < d->output_height) {
		JSAMPROW row = img->data + (size_t)d->output_scanline * img->width * img->channels;

		jpeg_read_scanlines(d, &row, 1);
	}
}

/* Everything between setjmp and its return; img->data is the caller's to free. */
static int jpeg_work(struct jpeg_decompress_struct *d, struct jpeg_state *st, const void *data, size_t size,
		     const char *name, struct mica_image *img)
{
	int ret;

	if (setjmp(st->back))
		return sdk_err(EBADMSG, "%s: corrupt JPEG: %s", name, st->text);
	jpeg_create_decompress(d);
	jpeg_mem_src(d, data, size);
	jpeg_read_header(d, TRUE);
	ret = check_size(name, d->image_width, d->image_height);
	if (ret)
		return ret;
	if (d->num_components != 1 && d->num_components != 3)
		return sdk_err(EOPNOTSUPP, "%s: a JPEG with %d color components; save it as RGB or grey", name, d->num_components);
	d->out_color_space = d->num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
	d->dct_method = JDCT_ISLOW;
	jpeg_start_decompress(d);
	img->width = d->output_width;
	img->height = d->output_height;
	img->channels = d->output_components;
	img->data = malloc((size_t)img->width * img->height * img->channels);
	if (!img->data)
		return sdk_nomem(name);
	jpeg_rows(d, img);
	jpeg_finish_decompress(d);
	return st->truncated ? sdk_err(EBADMSG, "%s: truncated JPEG", name) : 0;
}

static int decode_jpeg(const void *data, size_t size, const char *name, struct mica_image *img)
{
	struct jpeg_decompress_struct d = { 0 };
	struct jpeg_state st = { 0 };
	int ret;

	d.err = jpeg_std_error(&st.err);
	st.err.error_exit = jpeg_fatal;
	st.err.emit_message = jpeg_warning;
	st.err.output_message = jpeg_silent;
	ret = jpeg_work(&d, &st, data, size, name, img);
	jpeg_destroy_decompress(&d);
	return ret;
}

/* ---- PNG: the simplified interface catches libpng's long jumps itself ---- */

static int decode_png(const void *data, size_t size, const char *name, struct mica_image *img)
{
	png_image png = { .version = PNG_IMAGE_VERSION };
	png_color black = { 0 };
	int ret;

	if (!png_image_begin_read_from_memory(&png, data, size))
		return sdk_err(EBADMSG, "%s: corrupt PNG: %s", name, png.message);
	ret = check_size(name, png.width, png.height);
	if (ret) {
		png_image_free(&png);
		return ret;
	}
	img->channels = png.format & PNG_FORMAT_FLAG_COLOR ? 3 : 1;
	png.format = img->channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
	img->width = png.width;
	img->height = png.height;
	img->data = malloc(PNG_IMAGE_SIZE(png));
	if (!img->data) {
		png_image_free(&png);
		return sdk_nomem(name);
	}
	if (!png_image_finish_read(&png, &black, img->data, 0, NULL))
		return sdk_err(EBADMSG, "%s: corrupt PNG: %s", name, png.message);
	return 0;
}

int mica_image_decode(const void *data, size_t size, const char *name, struct mica_image *out)
{
	struct mica_image img = { 0 };
	int ret;

	*out = img;
	if (size >= 3 && !memcmp(data, "\xff\xd8\xff", 3))
		ret = decode_jpeg(data, size, name, &img);
	else if (size >= 8 && !memcmp(data, "\x89PNG\r\n\x1a\n", 8))
		ret = decode_png(data, size, name, &img);
	else
		return sdk_err(EBADMSG, "%s: is neither a JPEG nor a PNG image", name);
	if (ret)
		mica_image_free(&img);
	else
		*out = img;
	return ret;
}

int mica_image_load(const char *path, struct mica_image *out)
{
	struct sdk_file f;
	int ret;

	*out = (struct mica_image){ 0 };
	ret = sdk_file_load(path, IMAGE_MAX_FILE, &f);
	if (ret)
		return ret;
	ret = mica_image_decode(f.data, f.size, path, out);
	sdk_file_free(&f);
	return ret;
}

int mica_image_save_png(const char *path, const struct mica_image *img)
{
	png_image png = {
		.version = PNG_IMAGE_VERSION, .width = img->width, .height = img->height,
		.format = img->channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY,
	};
	struct sdk_part part = { 0 };
	png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
	void *mem = malloc(size);
	int ret;

	if (!mem)
		return sdk_nomem(path);
	if (png_image_write_to_memory(&png, mem, &size, 0, img->data, 0, NULL)) {
		part = (struct sdk_part){ mem, size };
		ret = sdk_output_save(path, &part, 1, false);
	} else {
		ret = sdk_err(EIO, "%s: cannot make a PNG: %s", path, png.message);
	}
	free(mem);
	return ret;
}

void mica_image_free(struct mica_image *img)
{
	free(img->data);
	*img = (struct mica_image){ 0 };
}
