// SPDX-License-Identifier: MIT
/* Mutations of protobuf messages for the fuzzers. */
#include <stdlib.h>
#include <string.h>
#include "wire.h"

#define MAX_FIELDS 2048 /* of one message; more are left alone */
#define MAX_DEPTH  12

struct field {
	size_t start, payload, end; /* tag, contents behind the length, end */
	unsigned type;
};

static uint32_t next(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* Returns the bytes that the number takes, 0 when there is none. */
static size_t get_varint(const uint8_t *p, size_t n, uint64_t *value)
{
	*value = 0;
	for (size_t i = 0; i < n && i < 10; i++) {
		*value |= (uint64_t)(p[i] & 0x7f) << (7 * i);
		if (!(p[i] & 0x80))
			return i + 1;
	}
	return 0;
}

static size_t put_varint(uint8_t *p, uint64_t value)
{
	size_t n = 0;

	do {
		p[n] = (value & 0x7f) | (value > 0x7f ? 0x80 : 0);
		value >>= 7;
		n++;
	} while (value);
	return n;
}

/* The fields of a message; 0 when the bytes are none. */
static unsigned parse(const uint8_t *p, size_t size, struct field *list)
{
	unsigned count = 0;
	size_t at = 0;

	while (at < size && count < MAX_FIELDS) {
		struct field f = { .start = at };
		uint64_t tag, len = 0;
		size_t n = get_varint(p + at, size - at, &tag);

		if (!n || !(tag >> 3))
			return 0;
		at += n;
		f.type = tag & 7;
		f.payload = at;
		if (f.type == 0 || f.type == 2) {
			n = get_varint(p + at, size - at, &len);
			if (!n)
				return 0;
			if (f.type == 0)
				len = n;
			else
				f.payload = at += n;
		} else if (f.type == 1 || f.type == 5) {
			len = f.type == 1 ? 8 : 4;
		} else {
			return 0;
		}
		if (len > size - at)
			return 0;
		at += len;
		f.end = at;
		list[count++] = f;
	}
	return count;
}

/* Replaces bytes from..to of data by n bytes of by; returns the new size, or the old one when there is no room. */
static size_t splice(uint8_t *data, size_t size, size_t max, size_t from, size_t to, const uint8_t *by, size_t n)
{
	if (size - (to - from) + n > max)
		return size;
	memmove(data + from + n, data + to, size - to);
	memcpy(data + from, by, n);
	return size - (to - from) + n;
}

static const int64_t odd[] = { 0, 1, 2, 3, 4, 5, 7, 8, 16, 17, 64, 127, 128, 255, 256, 1000, 65535, 65536, 1 << 24,
			       INT32_MAX, INT32_MIN, UINT32_MAX, INT64_MAX, INT64_MIN, -1, -2, -3 };

static size_t change_number(uint8_t *data, size_t size, size_t max, const struct field *f, uint32_t *rng)
{
	uint8_t by[10];
	uint64_t value;

	get_varint(data + f->payload, size - f->payload, &value);
	switch (next(rng) % 3) {
	case 0:
		value = odd[next(rng) % (sizeof(odd) / sizeof(*odd))];
		break;
	case 1:
		value += next(rng) % 9 - 4;
		break;
	default:
		value ^= 1ull << next(rng) % 64;
	}
	return splice(data, size, max, f->payload, f->end, by, put_varint(by, value));
}

static size_t mutate(uint8_t *data, size_t size, size_t max, uint32_t *rng, unsigned depth);

/* The contents of a field with a length: as a message if they are one, else as bytes. */
static size_t change_contents(uint8_t *data, size_t size, size_t max, const struct field *f, uint32_t *rng,
			      unsigned depth)
{
	size_t old = f->end - f->payload, room = max - size + old, n;
	uint8_t head[20], *by = malloc(room + 1);
	uint64_t tag;
	size_t h;

	if (!by)
		abort();
	memcpy(by, data + f->payload, old);
	n = mutate(by, old, room, rng, depth + 1);
	get_varint(data + f->start, size - f->start, &tag);
	h = put_varint(head, tag);
	h += put_varint(head + h, n);
	if (size - (f->end - f->start) + h + n <= max) {
		size = splice(data, size, max, f->payload, f->end, by, n);
		size = splice(data, size, max, f->start, f->payload, head, h);
	}
	free(by);
	return size;
}

/* Removes, doubles, or copies another field over this one. */
static size_t change_fields(uint8_t *data, size_t size, size_t max, const struct field *list, unsigned count,
			    const struct field *f, uint32_t *rng)
{
	const struct field *other = next(rng) % 2 ? f : &list[next(rng) % count];
	size_t n = other->end - other->start;
	uint8_t *by = malloc(n + 1);

	if (!by)
		abort();
	memcpy(by, data + other->start, n);
	switch (next(rng) % 3) {
	case 0:
		size = splice(data, size, max, f->start, f->end, by, 0);
		break;
	case 1:
		size = splice(data, size, max, f->start, f->start, by, n);
		break;
	default:
		size = splice(data, size, max, f->start, f->end, by, n);
	}
	free(by);
	return size;
}

static size_t mutate(uint8_t *data, size_t size, size_t max, uint32_t *rng, unsigned depth)
{
	struct field *list = malloc(MAX_FIELDS * sizeof(*list));
	unsigned count;
	struct field f;

	if (!list)
		abort();
	count = size && depth < MAX_DEPTH ? parse(data, size, list) : 0;
	if (!count) {
		size = LLVMFuzzerMutate(data, size, max);
	} else {
		f = list[next(rng) % count];
		if (next(rng) % 4 == 0)
			size = change_fields(data, size, max, list, count, &f, rng);
		else if (f.type == 0)
			size = change_number(data, size, max, &f, rng);
		else if (f.type == 2)
			size = change_contents(data, size, max, &f, rng, depth);
		else
			LLVMFuzzerMutate(data + f.payload, f.end - f.payload, f.end - f.payload);
	}
	free(list);
	return size;
}

size_t wire_mutate(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	uint32_t rng = seed | 1;

	return size <= max ? mutate(data, size, max, &rng, 0) : size;
}
