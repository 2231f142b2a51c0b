// SPDX-License-Identifier: MIT
/* The constants of a model: one blob, entries 64-byte aligned, equal contents stored once. */
#include <stdlib.h>
#include <string.h>
#include "backend.h"

struct blob_entry {
	uint64_t hash, off;
	size_t size;
	bool used;
};
struct blob_key {
	const void *what;
	int kind;
	int64_t lo, len;
	uint64_t off;
};

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15ull;
	return h ^ h >> 32;
}

static uint64_t hash_bytes(const void *data, size_t size)
{
	const uint8_t *p = data;
	uint64_t h = mix(0x6d696361, size), w;

	for (; size >= 8; size -= 8, p += 8) {
		memcpy(&w, p, 8);
		h = mix(h, w);
	}
	for (w = 0; size; size--)
		w = w << 8 | *p++;
	return mix(h, w);
}

void be_blob_init(struct be_blob *b)
{
	memset(b, 0, sizeof(*b));
	b->slots = b->key_slots = 256;
	b->entry = ir_alloc(b->slots, sizeof(*b->entry));
	b->key = ir_alloc(b->key_slots, sizeof(*b->key));
}

void be_blob_fini(struct be_blob *b)
{
	free(b->data);
	free(b->entry);
	free(b->key);
	memset(b, 0, sizeof(*b));
}

static struct blob_entry *entry_slot(const struct be_blob *b, const void *data, size_t size, uint64_t hash)
{
	for (uint64_t i = hash;; i++) {
		struct blob_entry *e = &b->entry[i & (b->slots - 1)];

		if (!e->used)
			return e;
		if (e->hash == hash && e->size == size && data && !memcmp(b->data + e->off, data, size))
			return e;
	}
}

static void entries_grow(struct be_blob *b)
{
	struct blob_entry *old = b->entry;
	unsigned n = b->slots;

	b->slots *= 2;
	b->entry = ir_alloc(b->slots, sizeof(*b->entry));
	for (unsigned i = 0; i < n; i++)
		if (old[i].used)
			*entry_slot(b, NULL, 0, old[i].hash) = old[i];
	free(old);
}

static void reserve(struct be_blob *b, size_t need)
{
	if (need <= b->cap)
		return;
	b->cap += b->cap / 8;	/* hundreds of MB: doubling would hold twice of it */
	b->cap = b->cap > need ? b->cap : need + 65536;
	b->data = realloc(b->data, b->cap);
	if (!b->data)
		abort();
}

uint64_t be_blob_add(struct be_blob *b, const void *data, size_t size)
{
	uint64_t hash = hash_bytes(data, size);
	struct blob_entry *e;
	size_t pad;

	if (b->entries * 2 >= b->slots)
		entries_grow(b);
	e = entry_slot(b, data, size, hash);
	if (e->used)
		return e->off;
	pad = -size & (MICA_LMEM_ALIGN - 1);
	reserve(b, b->size + size + pad);
	*e = (struct blob_entry){ .hash = hash, .off = b->size, .size = size, .used = true };
	b->entries++;
	memcpy(b->data + b->size, data, size);
	memset(b->data + b->size + size, 0, pad);
	b->size += size + pad;
	return e->off;
}

static struct blob_key *key_slot(const struct be_blob *b, const void *what, int kind, int64_t lo, int64_t len)
{
	uint64_t h = mix(mix(mix(mix(0, (uintptr_t)what), (uint64_t)kind), (uint64_t)lo), (uint64_t)len);

	for (;; h++) {
		struct blob_key *k = &b->key[h & (b->key_slots - 1)];

		if (!k->what || (k->what == what && k->kind == kind && k->lo == lo && k->len == len))
			return k;
	}
}

bool be_blob_find(const struct be_blob *b, const void *what, int kind, int64_t lo, int64_t len, uint64_t *off)
{
	const struct blob_key *k = key_slot(b, what, kind, lo, len);

	if (!k->what)
		return false;
	*off = k->off;
	return true;
}

void be_blob_name(struct be_blob *b, const void *what, int kind, int64_t lo, int64_t len, uint64_t off)
{
	if (b->keys * 2 >= b->key_slots) {
		struct blob_key *old = b->key;
		unsigned n = b->key_slots;

		b->key_slots *= 2;
		b->key = ir_alloc(b->key_slots, sizeof(*b->key));
		for (unsigned i = 0; i < n; i++)
			if (old[i].what)
				*key_slot(b, old[i].what, old[i].kind, old[i].lo, old[i].len) = old[i];
		free(old);
	}
	*key_slot(b, what, kind, lo, len) = (struct blob_key){ what, kind, lo, len, off };
	b->keys++;
}

uint64_t be_blob_const(struct be_blob *b, const struct ir_value *v)
{
	uint64_t off;

	if (!be_blob_find(b, v, -1, 0, 0, &off)) {
		off = be_blob_add(b, v->data, ir_bytes(v));
		be_blob_name(b, v, -1, 0, 0, off);
	}
	return off;
}
