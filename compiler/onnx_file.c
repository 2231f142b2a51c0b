// SPDX-License-Identifier: MIT
/*
 * Reads an .onnx file into a protobuf-c tree. protobuf-c recurses with the nesting of a file and allocates as it says,
 * so the bytes are walked first, without recursion, and refused where they are truncated, too deep or too greedy.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "onnx.h"

#define MAX_DEPTH   100 /* of nested messages */
#define MAX_STRUCTS ((size_t)2 << 30) /* bytes of C structs that the tree may take */

struct scan {
	const uint8_t *p;
	size_t size, pos;
	size_t structs;
	const char *why;
};
struct level {
	const ProtobufCMessageDescriptor *d;
	size_t end;
};

static bool varint(struct scan *s, size_t end, uint64_t *out)
{
	*out = 0;
	for (unsigned shift = 0; shift < 70; shift += 7) {
		if (s->pos >= end) {
			s->why = "it ends in the middle of a number";
			return false;
		}
		uint8_t b = s->p[s->pos++];

		if (shift < 64)
			*out |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return true;
	}
	s->why = "a number is too long";
	return false;
}

static const ProtobufCFieldDescriptor *field(const ProtobufCMessageDescriptor *d, uint64_t id)
{
	for (unsigned i = 0; i < d->n_fields; i++)
		if (d->fields[i].id == id)
			return &d->fields[i];
	return NULL;
}

/* One field of the message on top of the stack. Sub-messages are pushed. */
static bool scan_field(struct scan *s, struct level *stack, unsigned *depth)
{
	struct level *top = &stack[*depth - 1];
	const ProtobufCFieldDescriptor *f;
	uint64_t tag, n;

	if (!varint(s, top->end, &tag))
		return false;
	switch (tag & 7) {
	case 0:
		return varint(s, top->end, &n);
	case 1:
		n = 8;
		break;
	case 5:
		n = 4;
		break;
	case 2:
		if (!varint(s, top->end, &n))
			return false;
		break;
	default:
		s->why = "a field has an unknown wire type";
		return false;
	}
	if (n > top->end - s->pos) {
		s->why = "a field is longer than what is left (truncated?)";
		return false;
	}
	f = (tag & 7) == 2 ? field(top->d, tag >> 3) : NULL;
	if (!f || f->type != PROTOBUF_C_TYPE_MESSAGE) {
		s->pos += n;
		return true;
	}
	if (*depth == MAX_DEPTH) {
		s->why = "messages are nested too deeply";
		return false;
	}
	stack[*depth] = (struct level){ f->descriptor, s->pos + n };
	s->structs += stack[*depth].d->sizeof_message + 2 * sizeof(void *);
	++*depth;
	if (s->structs > MAX_STRUCTS)
		s->why = "it has far too many entries";
	return !s->why;
}

static bool scan(struct scan *s)
{
	struct level stack[MAX_DEPTH] = { { &onnx__model_proto__descriptor, s->size } };
	unsigned depth = 1;

	while (depth) {
		if (s->pos == stack[depth - 1].end)
			depth--;
		else if (!scan_field(s, stack, &depth))
			return false;
	}
	return true;
}

uint8_t *onnx_slurp(const char *path, const char *what, size_t *size, struct mica_err *err)
{
	uint8_t *p = NULL;
	struct stat st;
	FILE *f = fopen(path, "rbe");

	if (!f || fstat(fileno(f), &st)) {
		mica_err_set(err, MICA_ERR_FILE, "%s: cannot be opened: %s", path, strerror(errno));
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		mica_err_set(err, MICA_ERR_FILE,
			     "%s: not a regular file; give the path of %s", path, what);
		goto out;
	}
	if (st.st_size == 0 || st.st_size > INT32_MAX) {
		mica_err_set(err, MICA_ERR_CORRUPT, "%s: %s; export it again", path,
			     st.st_size ? "larger than 2 GiB, the limit of such a file (use "
					  "external data)"
					: "the file is empty");
		goto out;
	}
	*size = (size_t)st.st_size;
	p = malloc(*size);
	if (!p) {
		mica_err_set(err, MICA_ERR_MEMORY, "%s: no memory for %zu bytes", path, *size);
	} else if (fread(p, 1, *size, f) != *size) {
		mica_err_set(err, MICA_ERR_FILE, "%s: cannot be read: %s", path,
			     strerror(errno ? errno : EIO));
		free(p);
		p = NULL;
	}
out:
	if (f)
		fclose(f);
	return p;
}

Onnx__ModelProto *onnx_file_read(const char *path, struct mica_err *err)
{
	Onnx__ModelProto *m = NULL;
	struct scan s = { 0 };
	uint8_t *p = onnx_slurp(path, "an .onnx file", &s.size, err);

	if (!p)
		return NULL;
	s.p = p;
	if (!scan(&s)) {
		mica_err_set(err, MICA_ERR_CORRUPT,
			     "%s: not a valid ONNX file: at byte %zu of %zu %s; copy or export the "
			     "model again",
			     path, s.pos, s.size, s.why);
	} else {
		m = onnx__model_proto__unpack(NULL, s.size, p);
		if (!m)
			mica_err_set(err, MICA_ERR_CORRUPT,
				     "%s: not a valid ONNX file: its fields contradict the ONNX "
				     "schema; export the model again",
				     path);
	}
	free(p);
	return m;
}
