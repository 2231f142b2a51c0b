// SPDX-License-Identifier: MIT
/* TensorProto to constants: raw bytes, typed fields and external files, all element types to the IR's few. */
#include <errno.h>
#include <stdarg.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "onnx.h"

static const struct {
	int onnx, dtype;
	unsigned bits; /* in raw_data */
	const char *name;
} types[] = {
	{ ONNX_F32, MICA_F32, 32, "float" },
	{ ONNX_F16, MICA_F32, 16, "float16" },
	{ ONNX_BF16, MICA_F32, 16, "bfloat16" },
	{ ONNX_F64, MICA_F32, 64, "double" },
	{ ONNX_I64, IR_I64, 64, "int64" },
	{ ONNX_I32, IR_I64, 32, "int32" },
	{ ONNX_I16, IR_I64, 16, "int16" },
	{ ONNX_U16, IR_I64, 16, "uint16" },
	{ ONNX_U32, IR_I64, 32, "uint32" },
	{ ONNX_U64, IR_I64, 64, "uint64" },
	{ ONNX_I8, MICA_I8, 8, "int8" },
	{ ONNX_U8, MICA_U8, 8, "uint8" },
	{ ONNX_I4, MICA_I8, 4, "int4" },
	{ ONNX_U4, MICA_U8, 4, "uint4" },
	{ ONNX_I2, MICA_I8, 2, "int2" },
	{ ONNX_U2, MICA_U8, 2, "uint2" },
	{ ONNX_BOOL, IR_BOOL, 8, "bool" },
	{ ONNX_E4M3, MICA_E4M3, 8, "float8e4m3fn" },
	{ ONNX_E5M2, MICA_E5M2, 8, "float8e5m2" },
	{ ONNX_E4M3FNUZ, MICA_F32, 8, "float8e4m3fnuz" },
	{ ONNX_E5M2FNUZ, MICA_F32, 8, "float8e5m2fnuz" },
	{ ONNX_E2M1, MICA_F32, 4, "float4e2m1" },
	{ ONNX_E8M0, MICA_F32, 8, "float8e8m0" },
	/* known by name only, for messages */
	{ ONNX_STRING, MICA_NONE, 0, "string" },
	{ 14, MICA_NONE, 0, "complex64" },
	{ 15, MICA_NONE, 0, "complex128" },
};

static int find(int onnx)
{
	for (unsigned i = 0; i < ARRAY_LEN(types); i++)
		if (types[i].onnx == onnx)
			return (int)i;
	return -1;
}

int onnx_dtype(int onnx_type)
{
	int i = find(onnx_type);

	return i < 0 ? MICA_NONE : types[i].dtype;
}

const char *onnx_type_name(int onnx_type)
{
	int i = find(onnx_type);

	return i < 0 ? "an unknown type" : types[i].name;
}

/* Where the elements of one tensor come from. */
struct source {
	struct ir_graph *g;
	const Onnx__TensorProto *t;
	const char *where;
	size_t n;
	unsigned bits;
	const uint8_t *raw; /* little endian, packed to `bits`; NULL: typed fields */
	uint8_t *owned; /* what raw points to when it came from an external file */
};

static int fail(struct source *s, enum mica_err_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int fail(struct source *s, enum mica_err_code code, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return mica_err_set(s->g->err, code, "%s: %s: %s", s->g->name, s->where, text);
}

/* ---- external data ---- */

static bool path_stays_inside(const char *p)
{
	if (!*p || *p == '/' || strchr(p, '\\'))
		return false;
	for (const char *q = p; q; q = strchr(q, '/') ? strchr(q, '/') + 1 : NULL)
		if (!strncmp(q, "..", 2) && (q[2] == '/' || !q[2]))
			return false;
	return true;
}

/* Opens dir/path; the file must really lie below dir, symbolic links included. -1 with s's error set. */
static int open_inside(struct source *s, const char *dir, const char *path)
{
	char want[PATH_MAX], *real_dir = NULL, *real = NULL;
	int fd = -1;
	size_t n;

	if (!path_stays_inside(path) ||
	    snprintf(want, sizeof(want), "%s/%s", dir, path) >= (int)sizeof(want)) {
		fail(s, MICA_ERR_CORRUPT,
		     "external data '%s' is not a relative path inside the model's folder; put the "
		     "file beside the model",
		     path);
		return -1;
	}
	real_dir = realpath(dir, NULL);
	real = realpath(want, NULL);
	n = real_dir ? strlen(real_dir) : 0;
	if (!real_dir || !real)
		fail(s, MICA_ERR_FILE, "external data '%s': %s; copy it beside the model", path,
		     strerror(errno));
	else if (strncmp(real, real_dir, n) || (real[n] != '/' && strcmp(real_dir, "/")))
		fail(s, MICA_ERR_CORRUPT,
		     "external data '%s' leads out of the model's folder; copy the file there",
		     path);
	else if ((fd = open(real, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)) < 0)
		fail(s, MICA_ERR_FILE, "external data '%s': %s", path, strerror(errno));
	free(real);
	free(real_dir);
	return fd;
}

static bool parse_size(const char *text, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	return !errno && end != text && !*end && *text != '-';
}

static int read_external(struct source *s, size_t need)
{
	const struct onnx_import *imp = s->g->import;
	const char *path = NULL;
	uint64_t offset = 0, length = need;
	struct stat st;
	ssize_t got;
	int fd, r = 0;

	for (size_t i = 0; i < s->t->n_external_data; i++) {
		const Onnx__StringStringEntryProto *e = s->t->external_data[i];
		bool ok = e->key && e->value;

		if (ok && !strcmp(e->key, "location"))
			path = e->value;
		else if (ok && !strcmp(e->key, "offset"))
			ok = parse_size(e->value, &offset);
		else if (ok && !strcmp(e->key, "length"))
			ok = parse_size(e->value, &length);
		if (!ok)
			return fail(s, MICA_ERR_CORRUPT,
				    "external data entry is malformed; export the model again");
	}
	if (!path || length != need)
		return fail(s, MICA_ERR_CORRUPT,
			    "external data has %s, its shape needs %zu bytes; export the model "
			    "again",
			    path ? "another length" : "no location", need);
	fd = open_inside(s, imp->dir, path);
	if (fd < 0)
		return -(int)s->g->err->code;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || (uint64_t)st.st_size < offset ||
	    (uint64_t)st.st_size - offset < need)
		r = fail(s, MICA_ERR_CORRUPT,
			 "external data '%s' is shorter than offset %llu + %zu bytes (truncated?)",
			 path, (unsigned long long)offset, need);
	s->raw = s->owned = r ? NULL : ir_alloc(need, 1);
	for (size_t done = 0; !r && done < need; done += (size_t)got) {
		got = pread(fd, s->owned + done, need - done, (off_t)(offset + done));
		if (got <= 0)
			r = fail(s, MICA_ERR_FILE, "external data '%s' cannot be read: %s", path,
				 strerror(got ? errno : EIO));
		if (r)
			break;
	}
	close(fd);
	return r;
}

/* ---- elements ---- */

static float half(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, man = h & 1023, u;
	float f;

	if (exp == 0) {
		f = (float)man * 0x1p-24f;
		return sign ? -f : f;
	}
	u = sign | (exp == 31 ? 0x7f800000u : (exp + 112) << 23) | man << 13;
	memcpy(&f, &u, 4);
	return f;
}

static uint64_t raw_bits(const struct source *s, size_t i)
{
	uint64_t v = 0;

	if (s->bits == 4)
		return s->raw[i / 2] >> i % 2 * 4 & 15;
	if (s->bits == 2)
		return s->raw[i / 4] >> i % 4 * 2 & 3;
	memcpy(&v, s->raw + i * (s->bits / 8), s->bits / 8);
	return v;
}

/* Bits of element i from the typed field that the type uses. */
static uint64_t field_bits(const struct source *s, size_t i)
{
	const Onnx__TensorProto *t = s->t;
	uint64_t v = 0;

	switch (t->data_type) {
	case ONNX_F32:
		memcpy(&v, &t->float_data[i], 4);
		return v;
	case ONNX_F64:
		memcpy(&v, &t->double_data[i], 8);
		return v;
	case ONNX_I64:
		return (uint64_t)t->int64_data[i];
	case ONNX_U32:
	case ONNX_U64:
		return t->uint64_data[i];
	case ONNX_I4:
	case ONNX_U4:
	case ONNX_E2M1:
		return (uint32_t)t->int32_data[i / 2] >> i % 2 * 4 & 15;
	case ONNX_I2:
	case ONNX_U2:
		return (uint32_t)t->int32_data[i / 4] >> i % 4 * 2 & 3;
	default:
		return (uint32_t)t->int32_data[i];
	}
}

static size_t field_count(const Onnx__TensorProto *t)
{
	switch (t->data_type) {
	case ONNX_F32:
		return t->n_float_data;
	case ONNX_F64:
		return t->n_double_data;
	case ONNX_I64:
		return t->n_int64_data;
	case ONNX_U32:
	case ONNX_U64:
		return t->n_uint64_data;
	case ONNX_I4:
	case ONNX_U4:
	case ONNX_E2M1:
		return t->n_int32_data * 2;
	case ONNX_I2:
	case ONNX_U2:
		return t->n_int32_data * 4;
	default:
		return t->n_int32_data;
	}
}

/* One zero, one NaN, no infinities; the exponent is biased by one more than usual. */
static float fnuz(uint32_t code, int mantissa, int bias)
{
	uint32_t man = code & ((1u << mantissa) - 1), exp = (code & 0x7f) >> mantissa;
	float f = exp ? ldexpf((float)(man | 1u << mantissa), (int)exp - bias - mantissa) : ldexpf((float)man, 1 - bias - mantissa);

	return code == 0x80 ? NAN : code & 0x80 ? -f : f;
}

/* A sign, two bits of exponent, one of mantissa; no infinity, no NaN. */
static float e2m1(uint32_t code)
{
	static const float magnitude[8] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6 };

	return code & 8 ? -magnitude[code & 7] : magnitude[code & 7];
}

static float to_float(int type, uint64_t bits)
{
	double d;
	float f;
	uint32_t u = type == ONNX_BF16 ? (uint32_t)bits << 16 : (uint32_t)bits;

	if (type == ONNX_E4M3FNUZ || type == ONNX_E5M2FNUZ)
		return fnuz((uint32_t)bits & 0xff, type == ONNX_E4M3FNUZ ? 3 : 2, type == ONNX_E4M3FNUZ ? 8 : 16);
	if (type == ONNX_F16)
		return half((uint16_t)bits);
	if (type == ONNX_E2M1)
		return e2m1((uint32_t)bits);
	if (type == ONNX_E8M0)
		return (bits & 0xff) == 0xff ? NAN : ldexpf(1, (int)(bits & 0xff) - 127);
	if (type == ONNX_F64) {
		memcpy(&d, &bits, 8);
		return (float)d;
	}
	memcpy(&f, &u, 4);
	return f;
}

static int64_t to_int(int type, uint64_t bits)
{
	switch (type) {
	case ONNX_I32:
		return (int32_t)bits;
	case ONNX_I16:
		return (int16_t)bits;
	case ONNX_U16:
		return (uint16_t)bits;
	case ONNX_U32:
		return (uint32_t)bits;
	case ONNX_U64:
		return bits > INT64_MAX ? INT64_MAX : (int64_t)bits;
	default:
		return (int64_t)bits;
	}
}

static void fill(const struct source *s, struct ir_value *v)
{
	int type = s->t->data_type;

	if (s->raw && type != ONNX_BOOL && s->bits == 8 * ir_dtype_size(v->dtype)) {
		if (s->n)
			memcpy(v->data, s->raw, s->n * (s->bits / 8));
		return;
	}
	for (size_t i = 0; i < s->n; i++) {
		uint64_t b = s->raw ? raw_bits(s, i) : field_bits(s, i);

		if (v->dtype == MICA_F32)
			((float *)v->data)[i] = to_float(type, b);
		else if (v->dtype == IR_I64)
			((int64_t *)v->data)[i] = to_int(type, b);
		else if (v->dtype == IR_BOOL)
			((uint8_t *)v->data)[i] = b != 0;
		else
			((uint8_t *)v->data)[i] = (uint8_t)(type == ONNX_I4 && b > 7 ? b - 16 : type == ONNX_I2 && b > 1 ? b - 4 : b);
	}
}

static int locate(struct source *s)
{
	const Onnx__TensorProto *t = s->t;
	size_t need = (s->n * s->bits + 7) / 8;

	if (t->has_data_location && t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
		return read_external(s, need);
	if (t->has_raw_data && (t->raw_data.len || !field_count(t))) {
		if (t->raw_data.len != need)
			return fail(s, MICA_ERR_CORRUPT,
				    "has %zu bytes of data where its shape needs %zu; export the "
				    "model again",
				    t->raw_data.len, need);
		s->raw = t->raw_data.data ? t->raw_data.data : (const uint8_t *)"";
		return 0;
	}
	if (field_count(t) < s->n || field_count(t) - s->n >= (s->bits < 8 ? 8 / s->bits : 1))
		return fail(s, MICA_ERR_CORRUPT,
			    "has %zu elements where its shape needs %zu; export the model again",
			    field_count(t), s->n);
	return 0;
}

struct ir_value *onnx_tensor(struct ir_graph *g, const Onnx__TensorProto *t, const char *name,
			     const char *where)
{
	struct source s = { .g = g, .t = t, .where = where, .n = 1 };
	struct ir_value *v = NULL;
	int i = find(t->data_type);

	if (t->n_dims > IR_MAX_RANK || !ir_dims_ok((unsigned)t->n_dims, t->dims, IR_MAX_ELEMENTS)) {
		fail(&s, MICA_ERR_SHAPE,
		     "shape with %zu dimensions is negative, too large or of a rank above %d; "
		     "check the model",
		     t->n_dims, IR_MAX_RANK);
		return NULL;
	}
	if (i < 0 || types[i].dtype == MICA_NONE) {
		fail(&s, MICA_ERR_UNSUPPORTED,
		     "element type %d (%s) is not supported; convert the tensor to float",
		     t->data_type, onnx_type_name(t->data_type));
		return NULL;
	}
	for (size_t d = 0; d < t->n_dims; d++)
		s.n *= (size_t)t->dims[d];
	s.bits = types[i].bits;
	if (!locate(&s)) {
		v = ir_const_new(g, name, types[i].dtype, (unsigned)t->n_dims, t->dims, NULL);
		v->elem = t->data_type;
		fill(&s, v);
	}
	free(s.owned);
	return v;
}
