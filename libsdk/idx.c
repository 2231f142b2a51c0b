// SPDX-License-Identifier: MIT
/* IDX files of unsigned bytes (MNIST and its relatives), plain or compressed by gzip. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include "sdk.h"

#define IDX_MAX_BYTES (1ull << 30)

static int read_part(gzFile f, const char *path, void *dst, size_t size)
{
	size_t done = 0;

	while (done < size) {
		unsigned want = size - done > (1u << 30) ? 1u << 30 : size - done;
		int n = gzread(f, (char *)dst + done, want);
		int err;

		if (n < 0)
			return sdk_err(EBADMSG, "%s: cannot be read: %s", path, gzerror(f, &err));
		if (!n)
			return sdk_err(EBADMSG, "%s: truncated IDX file", path);
		done += n;
	}
	return 0;
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

static int read_header(gzFile f, const char *path, struct mica_array *a)
{
	uint8_t head[4];
	int ret = read_part(f, path, head, 4);

	if (ret)
		return ret;
	if (head[0] || head[1] || !head[3] || head[3] > MICA_MAX_RANK)
		return sdk_err(EBADMSG, "%s: is not an IDX file", path);
	if (head[2] != 8)
		return sdk_err(EOPNOTSUPP, "%s: IDX elements of type %#x are not supported, only unsigned bytes", path, head[2]);
	a->elements = 1;
	for (a->rank = 0; a->rank < head[3]; a->rank++) {
		uint8_t dim[4];

		ret = read_part(f, path, dim, 4);
		if (ret)
			return ret;
		a->dim[a->rank] = be32(dim);
		if (!a->dim[a->rank])
			return sdk_err(EBADMSG, "%s: corrupt IDX header (dimension %u is 0)", path, a->rank);
		if (__builtin_mul_overflow(a->elements, a->dim[a->rank], &a->elements) || a->elements > IDX_MAX_BYTES)
			return sdk_err(EBADMSG, "%s: corrupt IDX header (its dimensions are too large)", path);
	}
	return 0;
}

/* Nothing more, and a checksum that holds where there is one: zlib compares it when it reads the end. */
static int check_end(gzFile f, const char *path)
{
	int n = gzread(f, &(char){ 0 }, 1), err;

	if (n > 0)
		return sdk_err(EBADMSG, "%s: corrupt: bytes behind the end of the IDX data", path);
	gzerror(f, &err);
	if (n < 0 || err)
		return sdk_err(EBADMSG, "%s: %s", path, err == Z_BUF_ERROR ? "truncated gzip file" : "corrupt gzip file (checksum)");
	return 0;
}

int mica_idx_load(const char *path, struct mica_array *out)
{
	struct mica_array a = { .descr = "|u1", .item = 1 };
	gzFile f;
	int ret;

	*out = (struct mica_array){ 0 };
	errno = 0;
	f = gzopen(path, "rbe");
	if (!f)
		return sdk_err(errno ? errno : ENOMEM, "%s: cannot open: %s", path, strerror(errno ? errno : ENOMEM));
	gzbuffer(f, 1 << 17);
	ret = read_header(f, path, &a);
	if (!ret) {
		a.data = malloc(a.elements);
		ret = a.data ? read_part(f, path, a.data, a.elements) : sdk_nomem(path);
	}
	if (!ret)
		ret = check_end(f, path);
	gzclose(f);
	if (ret)
		mica_array_free(&a);
	else
		*out = a;
	return ret;
}
