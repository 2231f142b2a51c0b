// SPDX-License-Identifier: MIT
/*
 * Float8 in ONNX's words: Cast, CastLike, QuantizeLinear and DequantizeLinear to and from float8e4m3fn and float8e5m2,
 * with and without saturation, folded and at run time. Expectations come from a table of the 256 codes that is made here
 * from the formats' definition, and a search for the nearest; rows of the specification's table are written out as well.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "onnx_builder.h"

#define E4M3_MAX 448.0f
#define E5M2_MAX 57344.0f
#define POINTS	 4096

/* ---- the formats ---- */

/* S.EEEE.MMM with bias 7, no infinity, S.1111.111 is NaN; S.EEEEE.MM with bias 15 and IEEE's specials. */
static float decode(int type, unsigned code)
{
	int man_bits = type == ONNX_E4M3 ? 3 : 2, bias = type == ONNX_E4M3 ? 7 : 15;
	int exp = (int)(code & 0x7f) >> man_bits, man = (int)code & ((1 << man_bits) - 1);
	float sign = code & 0x80 ? -1.0f : 1.0f;

	if (type == ONNX_E4M3 && (code & 0x7f) == 0x7f)
		return NAN;
	if (type == ONNX_E5M2 && exp == 31)
		return man ? NAN : sign * INFINITY;
	if (!exp)
		return sign * ldexpf((float)man, 1 - bias - man_bits);
	return sign * ldexpf((float)((1 << man_bits) + man), exp - bias - man_bits);
}

static unsigned last_finite(int type)
{
	return type == ONNX_E4M3 ? 0x7e : 0x7b;
}

/* The nearest code's value, ties to the even code; beyond the largest what the specification's table says. */
static float expected(int type, float x, bool saturate)
{
	unsigned last = last_finite(type), best = 0;
	float a = fabsf(x), largest = decode(type, last), step = largest - decode(type, last - 1), y;

	if (isnan(x))
		return NAN;
	if (a > largest + step / 2 || (a == largest + step / 2 && last & 1) || isinf(x)) {
		y = saturate ? largest : type == ONNX_E4M3 ? NAN : INFINITY;
		return copysignf(y, x);
	}
	for (unsigned c = 1; c <= last; c++) {
		double d = fabs((double)decode(type, c) - (double)a),
		       b = fabs((double)decode(type, best) - (double)a);

		if (d < b || (d == b && !(c & 1)))
			best = c;
	}
	return copysignf(decode(type, best), x);
}

static bool same(float a, float b)
{
	return isnan(a) ? isnan(b) : !memcmp(&a, &b, 4) || (a == 0 && b == 0);
}

/* Every value, every middle between neighbours, a hair beside it, and all that is beyond. */
static size_t points(int type, float *x)
{
	static const float more[] = { INFINITY, NAN,	  E4M3_MAX, 449, 463.99f, 464, 464.01f, 479, 480, 1000,
				      E5M2_MAX, 61439.9f, 61440,    65536, 1e30f, 1e-30f, 1e-42f };
	size_t n = 0;

	for (unsigned c = 0; c < last_finite(type); c++) {
		float lo = decode(type, c), hi = decode(type, c + 1), mid = lo + (hi - lo) / 2;

		x[n++] = lo;
		x[n++] = nextafterf(mid, 0);
		x[n++] = mid;
		x[n++] = nextafterf(mid, INFINITY);
	}
	for (size_t i = 0; i < ARRAY_LEN(more); i++)
		x[n++] = more[i];
	for (size_t i = 0, half = n; i < half; i++)
		x[n++] = -x[i];
	while (n % 8)
		x[n++] = 1;
	return n;
}

/* ---- running a model ---- */

struct run {
	const float *x;
	const float *scale; /* of an input named s */
	float *y;
	size_t n;
	struct ir_graph *g;
};

static int load(void *opaque, const struct ir_value *input, float *dst, size_t n)
{
	const struct run *r = opaque;

	memcpy(dst, input->name[0] == 's' ? r->scale : r->x, n * sizeof(*dst));
	return 0;
}

static void see(void *opaque, const struct ir_value *v, const void *codes, size_t n)
{
	struct run *r = opaque;

	if (v != r->g->output[0])
		return;
	assert_int_equal(n, r->n);
	mica_dequantize((enum mica_dtype)v->dtype, codes, r->y, n, v->scale, v->zero);
}

static struct ir_graph *graph_of(struct mica_err *err)
{
	char path[] = "/tmp/mica-fp8-XXXXXX";
	struct mica_compile_options o;
	struct ir_graph *g;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	mica_compile_defaults(&o);
	o.format = MICA_F32;
	ob_write(path);
	g = ob_compile(path, &o, NULL, err);
	unlink(path);
	return g;
}

static void run_model(struct run *r)
{
	struct ir_trace cb = { .load = load, .see = see, .opaque = r };
	struct ir_tracer *t;
	struct mica_err err = { 0 };

	r->g = graph_of(&err);
	if (!r->g)
		fail_msg("%s", err.text);
	t = ir_tracer_new(r->g, 1);
	assert_non_null(t);
	for (size_t i = 0; i < r->n; i++)
		r->y[i] = 12345;
	assert_int_equal(ir_tracer_run(t, &cb), 0);
	ir_tracer_free(t);
	ir_graph_free(r->g);
}

/* x as an input or an initializer. */
static void begin(int opset, bool folded, const int64_t *dim, unsigned rank, const float *x)
{
	ob_begin(opset);
	if (folded)
		ob_floats("x", rank, dim, x);
	else
		ob_input("x", ONNX_F32, rank, dim);
}

static void compare(const struct run *r, int type, const float *want, const char *form)
{
	for (size_t i = 0; i < r->n; i++)
		if (!same(r->y[i], want[i]))
			fail_msg("%s, %s: %.9g gives %g, not %g", form, onnx_type_name(type),
				 (double)r->x[i], (double)r->y[i], (double)want[i]);
}

static const int types[] = { ONNX_E4M3, ONNX_E5M2 };

/* ---- Cast ---- */

static void cast_follows_the_table(void **state)
{
	static float x[POINTS], y[POINTS], want[POINTS];
	(void)state;

	for (unsigned k = 0; k < 2 * 2 * 2 * 2; k++) {
		int type = types[k & 1];
		bool saturate = k & 2, folded = k & 4, like = k & 8;
		int64_t n = (int64_t)points(type, x);
		struct run r = { .x = x, .y = y, .n = (size_t)n };
		Onnx__NodeProto *node;
		uint8_t zero = 0;

		begin(19, folded, &n, 1, x);
		if (like)
			ob_raw("like", type, 0, NULL, &zero, 1);
		node = ob_node(like ? "CastLike" : "Cast", "c", (const char *[]){ "x", "like" }, like ? 2 : 1);
		if (!like)
			ob_attr_int(node, "to", type);
		if (!saturate)
			ob_attr_int(node, "saturate", 0);
		ob_attr_int(ob_node("Cast", "y", (const char *[]){ "c" }, 1), "to", ONNX_F32);
		ob_output("y");
		run_model(&r);
		for (int64_t i = 0; i < n; i++)
			want[i] = expected(type, x[i], saturate);
		compare(&r, type, want, folded ? "folded cast" : "cast at run time");
	}
}

/* Rows of the specification: 0, -0, NaN, infinities, beyond the largest, ties, subnormals. */
static void rows_of_the_specification(void **state)
{
	static const struct {
		float x, e4m3, e4m3_open, e5m2, e5m2_open;
	} row[] = {
		{ 0, 0, 0, 0, 0 },
		{ NAN, NAN, NAN, NAN, NAN },
		{ INFINITY, 448, NAN, 57344, INFINITY },
		{ -INFINITY, -448, NAN, -57344, -INFINITY },
		{ 448, 448, 448, 448, 448 },
		{ 464, 448, 448, 448, 448 }, /* a tie: 448 is even; e5m2 has 448 and 512 */
		{ 465, 448, NAN, 448, 448 },
		{ 1000, 448, NAN, 1024, 1024 },
		{ 57344, 448, NAN, 57344, 57344 },
		{ 61439, 448, NAN, 57344, 57344 },
		{ 61440, 448, NAN, 57344, INFINITY }, /* a tie: 57344 is odd */
		{ -1e6f, -448, NAN, -57344, -INFINITY },
		{ 0x1p-9f, 0x1p-9f, 0x1p-9f, 0x1p-9f, 0x1p-9f }, /* e4m3's smallest subnormal */
		{ 0x1p-10f, 0, 0, 0x1p-10f, 0x1p-10f }, /* half of it: a tie to 0 */
		{ 0x1.8p-9f, 0x1p-8f, 0x1p-8f, 0x1.8p-9f, 0x1.8p-9f }, /* 1.5 of it: a tie to 2 */
		{ 0x1p-16f, 0, 0, 0x1p-16f, 0x1p-16f }, /* e5m2's smallest */
		{ 0x1p-17f, 0, 0, 0, 0 },
		{ 17, 16, 16, 16, 16 },
		{ 19, 20, 20, 20, 20 },
		{ 0, 0, 0, 0, 0 },
	};
	static float x[ARRAY_LEN(row)], y[ARRAY_LEN(row)], want[ARRAY_LEN(row)];
	int64_t n = ARRAY_LEN(row);
	(void)state;

	for (unsigned k = 0; k < 8; k++) {
		int type = types[k & 1];
		bool saturate = k & 2, folded = k & 4;
		struct run r = { .x = x, .y = y, .n = (size_t)n };
		Onnx__NodeProto *node;

		for (int64_t i = 0; i < n; i++) {
			x[i] = row[i].x;
			want[i] = type == ONNX_E4M3 ? (saturate ? row[i].e4m3 : row[i].e4m3_open)
						    : (saturate ? row[i].e5m2 : row[i].e5m2_open);
		}
		begin(19, folded, &n, 1, x);
		node = ob_node("Cast", "y", (const char *[]){ "x" }, 1);
		ob_attr_int(node, "to", type);
		ob_attr_int(node, "saturate", saturate);
		ob_output("y"); /* a result of that type gives its values */
		run_model(&r);
		compare(&r, type, want, "row");
	}
}

/* ---- QuantizeLinear, DequantizeLinear ---- */

enum form { PER_TENSOR, PER_AXIS, BLOCKED, RUN_TIME_SCALE, FORMS };
static const char *const form_names[] = { "per tensor", "per axis", "in blocks", "scale of run time" };

/* x is [2, n/2]; blocks of 4 along the last axis. The scales are powers of two: x/s is exact. */
static int64_t make_scales(enum form form, int64_t n, int64_t *dim, unsigned *rank, float *s)
{
	int64_t count;

	*rank = form == PER_AXIS ? 1 : form == BLOCKED ? 2 : 0;
	dim[0] = 2;
	dim[1] = n / 8;
	count = form == PER_AXIS ? 2 : form == BLOCKED ? n / 4 : 1;
	for (int64_t i = 0; i < count; i++)
		s[i] = ldexpf(1, (int)(i * 5 % 7) - 3);
	return count;
}

static float scale_of(enum form form, const float *s, int64_t i, int64_t n)
{
	return s[form == PER_AXIS ? i / (n / 2) : form == BLOCKED ? i / 4 : 0];
}

static void quantize_dequantize(int type, bool saturate, bool folded, enum form form, bool back)
{
	static float x[POINTS], y[POINTS], want[POINTS], s[POINTS];
	int64_t n = (int64_t)points(type, x), dim[2] = { 2, n / 2 }, sdim[2], count;
	struct run r = { .x = x, .y = y, .n = (size_t)n, .scale = s };
	static const uint8_t zero[POINTS];
	Onnx__NodeProto *q, *d;
	unsigned rank;

	count = make_scales(form, n, sdim, &rank, s);
	begin(form == BLOCKED ? 21 : 19, folded, dim, 2, x);
	if (form == RUN_TIME_SCALE)
		ob_input("s", ONNX_F32, 0, NULL);
	else
		ob_floats("s", rank, sdim, s);
	ob_raw("z", type, rank, sdim, zero, (size_t)count);
	q = ob_node("QuantizeLinear", "q", (const char *[]){ "x", "s", "z" }, 3);
	ob_attr_int(q, "saturate", saturate);
	ob_attr_int(q, "axis", form == BLOCKED ? 1 : 0);
	if (form == BLOCKED)
		ob_attr_int(q, "block_size", 4);
	if (back) {
		d = ob_node("DequantizeLinear", "y", (const char *[]){ "q", "s", "z" }, 3);
		ob_attr_int(d, "axis", form == BLOCKED ? 1 : 0);
		if (form == BLOCKED)
			ob_attr_int(d, "block_size", 4);
	}
	ob_output(back ? "y" : "q");
	run_model(&r);
	for (int64_t i = 0; i < n; i++) {
		float k = scale_of(form, s, i, n);

		want[i] = expected(type, x[i] / k, saturate) * (back ? k : 1);
	}
	compare(&r, type, want, form_names[form]);
}

static void quantize_in_all_forms(void **state)
{
	(void)state;

	for (unsigned k = 0; k < 16; k++)
		for (unsigned form = 0; form < FORMS; form++)
			quantize_dequantize(types[k & 1], k & 2, k & 4, form, k & 8);
}

/* All 256 codes as an initializer in raw_data or int32_data, times scales by axis. */
static void constants_of_all_codes(void **state)
{
	static float y[256], want[256];
	static const float s[2] = { 0.25f, 8 };
	static const int64_t dim[2] = { 2, 128 }, two = 2;
	(void)state;

	for (unsigned k = 0; k < 8; k++) {
		int type = types[k & 1];
		bool raw = k & 2, scaled = k & 4;
		struct run r = { .x = want, .y = y, .n = 256 };
		Onnx__TensorProto *t;
		uint8_t codes[256];
		int32_t wide[256];

		for (unsigned i = 0; i < 256; i++) {
			codes[i] = (uint8_t)(wide[i] = (int)i);
			want[i] = decode(type, i) * (scaled ? s[i / 128] : 1);
		}
		ob_begin(19);
		t = raw ? ob_raw("w", type, 2, dim, codes, 256) : ob_tensor("w", type, 2, dim);
		if (!raw) {
			t->n_int32_data = 256;
			t->int32_data = wide;
		}
		if (scaled) {
			ob_floats("s", 1, &two, s);
			ob_attr_int(ob_node("DequantizeLinear", "y", (const char *[]){ "w", "s" }, 2),
				    "axis", 0);
		} else {
			ob_attr_int(ob_node("Cast", "y", (const char *[]){ "w" }, 1), "to", ONNX_F32);
		}
		ob_output("y");
		run_model(&r);
		compare(&r, type, want, raw ? "raw_data" : "int32_data");
	}
}

/* The formats without negative zero are not supported: the message names them. */
static void other_types_are_refused_by_name(void **state)
{
	static const struct {
		int type;
		const char *name;
	} other[] = { { 15, "complex128" }, { 14, "complex64" } };
	static const int64_t four = 4;
	(void)state;

	for (unsigned i = 0; i < 4; i++) {
		struct mica_err err = { 0 };

		ob_begin(19);
		ob_input("x", ONNX_F32, 1, &four);
		if (i & 1) {
			ob_raw("z", other[i / 2].type, 1, &four, "abcd", 4);
			ob_node("CastLike", "y", (const char *[]){ "x", "z" }, 2);
		} else {
			ob_attr_int(ob_node("Cast", "y", (const char *[]){ "x" }, 1), "to",
				    other[i / 2].type);
		}
		ob_output("y");
		assert_null(graph_of(&err));
		assert_int_equal(err.code, MICA_ERR_UNSUPPORTED);
		assert_non_null(strstr(err.text, other[i / 2].name));
	}
}

/* What a Cast to float16 becomes at run time: c = (2^13 + 1) x, c - (c - x), for every significand. */
static void splitting_rounds_to_eleven_bits(void **state)
{
	(void)state;
	for (uint32_t m = 0; m < 1u << 23; m++) {
		uint32_t bits = 127u << 23 | m, low = m & 0x1fff, up = low > 0x1000 || (low == 0x1000 && m >> 13 & 1);
		float x, want, got, c;

		memcpy(&x, &bits, 4);
		bits = (bits & ~0x1fffu) + (up ? 0x2000 : 0);
		memcpy(&want, &bits, 4);
		c = 8193.0f * x;
		got = c - (c - x);
		if (got != want)
			fail_msg("%a: %a, not %a", (double)x, (double)got, (double)want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cast_follows_the_table),
		cmocka_unit_test(rows_of_the_specification),
		cmocka_unit_test(quantize_in_all_forms),
		cmocka_unit_test(constants_of_all_codes),
		cmocka_unit_test(other_types_are_refused_by_name),
		cmocka_unit_test(splitting_rounds_to_eleven_bits),
	};

	return cmocka_run_group_tests_name("onnx_fp8", tests, NULL, NULL);
}
