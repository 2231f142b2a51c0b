// SPDX-License-Identifier: MIT
/* .npy files, headerless f32 files, and conversion of what they hold to f32. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "sdk.h"

#define NPY_MAGIC "\x93NUMPY"
#define NPY_MAX_FILE (16ull << 30)

/* The numeric types: X(descr, C type) */
#define NPY_TYPES(X) \
	X("<f4", float) X("<f8", double) X("|i1", int8_t) X("|u1", uint8_t) X("|b1", uint8_t) X("<i2", int16_t) \
	X("<u2", uint16_t) X("<i4", int32_t) X("<u4", uint32_t) X("<i8", int64_t) X("<u8", uint64_t)

static size_t item_size(const char *descr)
{
#define SIZE_OF(d, type)	if (!strcmp(descr, d)) return sizeof(type);
	NPY_TYPES(SIZE_OF)
	return 0;
}

/* Behind "'key':" in the header's dict, or NULL. */
static const char *dict_value(const char *dict, const char *key)
{
	const char *p = strstr(dict, key);

	if (!p)
		return NULL;
	p += strlen(key);
	p += strspn(p, " ");
	if (*p++ != ':')
		return NULL;
	return p + strspn(p, " ");
}

static int parse_descr(const char *dict, const char *path, struct mica_array *a)
{
	const char *p = dict_value(dict, "'descr'");
	size_t len;

	if (!p || (*p != '\'' && *p != '['))
		return sdk_err(EBADMSG, "%s: corrupt .npy header (no descr)", path);
	if (*p == '[')
		return sdk_err(EOPNOTSUPP, "%s: structured arrays are not supported; save the field you mean alone", path);
	len = strcspn(++p, "'");
	if (len < 2 || len >= sizeof(a->descr))
		return sdk_err(EBADMSG, "%s: corrupt .npy header (descr)", path);
	memcpy(a->descr, p, len);
	a->descr[len] = 0;
	if (a->descr[0] == '=' || (a->descr[0] == '<' && strchr("iub", a->descr[1]) && a->descr[2] == '1'))
		a->descr[0] = a->descr[2] == '1' ? '|' : '<';
	a->item = item_size(a->descr);
	if (!a->item)
		return sdk_err(EOPNOTSUPP, "%s: element type '%s' is not supported; save it with .astype(numpy.float32)", path, a->descr);
	return 0;
}

static int parse_shape(const char *dict, const char *path, struct mica_array *a)
{
	const char *p = dict_value(dict, "'shape'");

	if (!p || *p++ != '(')
		return sdk_err(EBADMSG, "%s: corrupt .npy header (no shape)", path);
	a->elements = 1;
	for (;;) {
		char *end;

		p += strspn(p, " ,");
		if (*p == ')')
			return 0;
		if (*p < '0' || *p > '9')
			return sdk_err(EBADMSG, "%s: corrupt .npy header (shape)", path);
		if (a->rank == MICA_MAX_RANK)
			return sdk_err(EOPNOTSUPP, "%s: more than %d dimensions", path, MICA_MAX_RANK);
		a->dim[a->rank] = strtoull(p, &end, 10);
		if (__builtin_mul_overflow(a->elements, a->dim[a->rank], &a->elements))
			return sdk_err(EBADMSG, "%s: corrupt .npy header (the shape overflows)", path);
		a->rank++;
		p = end;
	}
}

/* Where the header's text and the data begin. */
static int find_header(const struct sdk_file *f, const char *path, size_t *text, size_t *data)
{
	const uint8_t *d = f->data;
	size_t len;

	if (f->size < 10 || memcmp(d, NPY_MAGIC, 6))
		return sdk_err(EBADMSG, "%s: is not an .npy file%s", path, f->size < 10 ? " (too short)" : "");
	if (d[6] < 1 || d[6] > 3)
		return sdk_err(EPROTONOSUPPORT, "%s: .npy version %u.%u, known are 1 to 3", path, d[6], d[7]);
	*text = d[6] == 1 ? 10 : 12;
	if (f->size < *text)
		return sdk_err(EBADMSG, "%s: truncated .npy header", path);
	len = d[8] | d[9] << 8;
	if (d[6] > 1)
		len |= (size_t)d[10] << 16 | (size_t)d[11] << 24;
	if (len > f->size - *text)
		return sdk_err(EBADMSG, "%s: truncated .npy header", path);
	*data = *text + len;
	return 0;
}

static int parse_header(const struct sdk_file *f, const char *path, struct mica_array *a, size_t *data)
{
	const char *order;
	char *dict;
	size_t text = 0;
	int ret = find_header(f, path, &text, data);

	if (ret)
		return ret;
	dict = strndup((const char *)f->data + text, *data - text);
	if (!dict)
		return sdk_nomem(path);
	order = dict_value(dict, "'fortran_order'");
	if (order && !strncmp(order, "True", 4))
		ret = sdk_err(EOPNOTSUPP, "%s: Fortran order is not supported; save it with numpy.ascontiguousarray()", path);
	if (!ret)
		ret = parse_descr(dict, path, a);
	if (!ret)
		ret = parse_shape(dict, path, a);
	free(dict);
	return ret;
}

static int take_data(const struct sdk_file *f, size_t at, const char *path, struct mica_array *a)
{
	size_t bytes;

	if (__builtin_mul_overflow(a->elements, a->item, &bytes) || bytes > f->size - at)
		return sdk_err(EBADMSG, "%s: truncated: its shape needs more than the %zu bytes of data it has", path, f->size - at);
	if (bytes < f->size - at)
		return sdk_err(EBADMSG, "%s: corrupt: %zu bytes behind the array's end", path, f->size - at - bytes);
	a->data = malloc(bytes ? bytes : 1);
	if (!a->data)
		return sdk_nomem(path);
	memcpy(a->data, f->data + at, bytes);
	return 0;
}

int mica_npy_load(const char *path, struct mica_array *out)
{
	struct mica_array a = { 0 };
	struct sdk_file f;
	size_t at = 0;
	int ret;

	*out = a;
	ret = sdk_file_load(path, NPY_MAX_FILE, &f);
	if (ret)
		return ret;
	ret = parse_header(&f, path, &a, &at);
	if (!ret)
		ret = take_data(&f, at, path, &a);
	if (!ret)
		*out = a;
	sdk_file_free(&f);
	return ret;
}

int mica_npy_save(const char *path, const struct mica_array *a)
{
	char head[512];
	struct sdk_part parts[2] = { { head, 0 }, { a->data, a->elements * a->item } };
	int n = snprintf(head + 10, 256, "{'descr': '%s', 'fortran_order': False, 'shape': (", a->descr) + 10;
	size_t total;

	if (a->rank > MICA_MAX_RANK)
		return sdk_err(EINVAL, "%s: an array of rank %u", path, a->rank);
	for (unsigned i = 0; i < a->rank; i++)
		n += snprintf(head + n, 32, "%llu%s", (unsigned long long)a->dim[i], i + 1 < a->rank ? ", " : a->rank == 1 ? "," : "");
	n += snprintf(head + n, 32, "), }");
	total = align_up(n + 1, 64);
	memset(head + n, ' ', total - n);
	head[total - 1] = '\n';
	memcpy(head, NPY_MAGIC "\x01\x00", 8);
	head[8] = (total - 10) & 0xff;
	head[9] = (total - 10) >> 8;
	parts[0].size = total;
	return sdk_output_save(path, parts, 2, false);
}

int mica_bin_load(const char *path, struct mica_array *out)
{
	struct mica_array a = { .descr = "<f4", .rank = 1, .item = 4 };
	struct sdk_file f;
	int ret;

	*out = (struct mica_array){ 0 };
	ret = sdk_file_load(path, NPY_MAX_FILE, &f);
	if (ret)
		return ret;
	if (f.size % 4 || !f.size) {
		ret = sdk_err(EBADMSG, "%s: %zu bytes are not a row of f32 values", path, f.size);
	} else {
		a.elements = a.dim[0] = f.size / 4;
		ret = take_data(&f, 0, path, &a);
	}
	if (!ret)
		*out = a;
	sdk_file_free(&f);
	return ret;
}

static int inexact(size_t at, long double value)
{
	return sdk_err(ERANGE, "element %zu is %.0Lf, which f32 does not hold exactly (24 bits); bring the integers below 2^24", at, value);
}

int mica_array_to_f32(const struct mica_array *a, size_t first, size_t count, float *dst)
{
	if (first > a->elements || count > a->elements - first)
		return sdk_err(ERANGE, "the array has %zu elements, %zu from %zu on were asked for", a->elements, count, first);
#define CONVERT(d, type) /* the significand of long double holds all integers */ \
	if (!strcmp(a->descr, d)) { \
		const type *src = (const type *)a->data + first; \
		for (size_t i = 0; i < count; i++) \
			dst[i] = (float)src[i]; \
		for (size_t i = 0; i < count && (d[1] == 'i' || d[1] == 'u'); i++) \
			if ((long double)dst[i] != (long double)src[i]) \
				return inexact(first + i, (long double)src[i]); \
		return 0; \
	}
	NPY_TYPES(CONVERT)
	return sdk_err(EOPNOTSUPP, "element type '%s' is not supported", a->descr);
}

void mica_array_free(struct mica_array *a)
{
	free(a->data);
	*a = (struct mica_array){ 0 };
}
