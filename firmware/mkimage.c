/* SPDX-License-Identifier: MIT */
/*
 * Host tool: puts struct mica_fw_header before the firmware's body, or damages it on purpose for the tests.
 *
 *	mkimage BODY OUTPUT ENTRY BUILD [good | badcrc | badhw | truncated]
 *
 * Compiled with the same FW_ABI_MIN and FW_ABI_MAX as the body.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mica/fw_abi.h"
#include "mica/regs.h"
#include "version.h"

static __u32 crc32(const unsigned char *p, size_t n)
{
	__u32 crc = 0xffffffffu;

	while (n--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

static void put32(unsigned char *p, __u32 v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char)(v >> (8 * i));
}

static size_t read_body(const char *path, unsigned char *body)
{
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f) {
		fprintf(stderr, "mkimage: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	n = fread(body, 1, MICA_SRAM_SIZE + 1, f);
	if (ferror(f) || !n || n > MICA_SRAM_SIZE) {
		fprintf(stderr, "mkimage: %s: empty, unreadable, or larger than SRAM\n", path);
		exit(1);
	}
	fclose(f);
	while (n % 4)
		body[n++] = 0;
	return n;
}

static void fill_header(unsigned char *h, size_t size, __u32 crc, char **argv, int badhw)
{
	struct mica_fw_header layout;

#define PUT(member, v) put32(h + offsetof(struct mica_fw_header, member), (v))
	PUT(magic, MICA_FW_MAGIC);
	PUT(header_size, sizeof(layout));
	PUT(body_size, (__u32)size);
	PUT(crc32, crc);
	PUT(entry, (__u32)strtoul(argv[3], NULL, 0));
	PUT(fw_version, FW_VERSION);
	PUT(abi_min, FW_ABI_MIN);
	PUT(abi_max, FW_ABI_MAX);
	PUT(hw_min, badhw ? 0x7fff0000u : MICA_HW_VERSION & MICA_HW_VERSION_MAJOR_MASK);
	PUT(hw_max, badhw ? 0x7fffffffu : MICA_HW_VERSION | MICA_HW_VERSION_MINOR_MASK);
#undef PUT
	snprintf((char *)h + offsetof(struct mica_fw_header, build), sizeof(layout.build), "%s", argv[4]);
}

int main(int argc, char **argv)
{
	static unsigned char image[sizeof(struct mica_fw_header) + MICA_SRAM_SIZE + 4];
	unsigned char *body = image + sizeof(struct mica_fw_header);
	const char *kind = argc > 5 ? argv[5] : "good";
	size_t size, total;
	FILE *f;

	if (argc < 5) {
		fprintf(stderr, "usage: mkimage BODY OUTPUT ENTRY BUILD [good|badcrc|badhw|truncated]\n");
		return 2;
	}
	size = read_body(argv[1], body);
	fill_header(image, size, crc32(body, size), argv, !strcmp(kind, "badhw"));
	if (!strcmp(kind, "badcrc"))
		body[size / 2] ^= 0x10;
	total = sizeof(struct mica_fw_header) + size;
	if (!strcmp(kind, "truncated"))
		total -= size / 2;
	f = fopen(argv[2], "wb");
	if (!f || fwrite(image, 1, total, f) != total || fclose(f)) {
		fprintf(stderr, "mkimage: %s: %s\n", argv[2], strerror(errno));
		return 1;
	}
	return 0;
}
