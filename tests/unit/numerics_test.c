/* SPDX-License-Identifier: MIT */
/* Codes, conversions and products of the engine against definitions that share nothing with it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "engine.h"
#include "../ref/ref.h"

static float from_bits(uint32_t b) { float f; memcpy(&f, &b, 4); return f; }
static uint32_t bits(float f) { uint32_t b; memcpy(&b, &f, 4); return b; }
static bool same(float a, float b) { return isnan(a) ? isnan(b) : bits(a) == bits(b); }

static float decode(int t, unsigned c) { return t == MICA_E4M3 ? mica_decode_e4m3(c) : mica_decode_e5m2(c); }
static uint8_t encode(int t, float v, bool sat) { return t == MICA_E4M3 ? mica_encode_e4m3(v, sat) : mica_encode_e5m2(v, sat); }

static void fp8_codes_decode_to_their_definition(void **state)
{
	(void)state;
	for (int t = MICA_E4M3; t <= MICA_E5M2; t++)
		for (unsigned c = 0; c < 256; c++)
			assert_true(same(decode(t, c), (float)ref_code_value(t, c)));
	/* landmarks from the OCP FP8 specification */
	assert_true(decode(MICA_E4M3, 0x7e) == 448 && decode(MICA_E4M3, 0x01) == ldexpf(1, -9) && decode(MICA_E4M3, 0x08) == ldexpf(1, -6));
	assert_true(decode(MICA_E5M2, 0x7b) == 57344 && decode(MICA_E5M2, 0x01) == ldexpf(1, -16) && isinf(decode(MICA_E5M2, 0x7c)));
}

/* Every pair of codes through a 1x1 CONV packet: exact product in f32. */
static void all_65536_code_products_are_exact(void **state)
{
	const int level[] = { MICA_ISA_SCALAR, MICA_ISA_AVX2, MICA_ISA_AVX512 };
	uint8_t *lmem = aligned_alloc(64, 1 << 20), *seg = aligned_alloc(64, 65536), w[256];
	float *one = (float *)(seg + 32768);

	(void)state;
	for (unsigned l = 0; l < 3; l++)
		for (int t = MICA_E4M3; t <= MICA_E5M2; t++) {
			struct mica_engine *e = mica_engine_create(level[l], 1);
			struct mica_mem mem = { .lmem = { lmem }, .lmem_size = 1 << 20, .seg = { seg } };
			union mica_pkt p = { 0 };
			struct mica_pkt_conv *c = &p.conv;

			if (!e)
				continue;
			for (unsigned i = 0; i < 256; i++) {
				w[i] = i;
				lmem[i] = i;
				one[i] = 1;
				one[256 + i] = one[512 + i] = 0;
			}
			mica_pack(t, 1, 256, 1, 1, 1, w, seg);
			c->hdr.opcode = MICA_OP_CONV;
			c->hdr.units = 4;
			c->src = (struct mica_view){ .dtype = t, .scale = 1, .stride = { 256, 256, 1, 1 } };
			c->dst = (struct mica_view){ .addr = 65536, .dtype = MICA_F32, .scale = 1, .stride = { 1 << 18, 1 << 18, 1024, 4 } };
			c->weights = MICA_ADDR(0, 0);
			c->params = MICA_ADDR(0, 32768);
			c->n = c->in_h = c->out_h = c->in_c = c->groups = 1;
			c->in_w = c->out_w = c->out_c = 256;
			c->kh = c->kw = c->stride_h = c->stride_w = c->dil_h = c->dil_w = 1;
			c->wdtype = t;
			assert_int_equal(mica_exec(e, &p, &mem), 0);
			for (unsigned a = 0; a < 256; a++)
				for (unsigned b = 0; b < 256; b++) {
					float got, want = (float)(ref_code_value(t, a) * ref_code_value(t, b));

					memcpy(&got, lmem + 65536 + 1024 * a + 4 * b, 4);
					if (want == 0)
						want = 0;	/* +0 + -0 */
					assert_true(same(got, want) || (want == 0 && bits(got) == 0));
				}
			mica_engine_destroy(e);
		}
	free(lmem);
	free(seg);
}

/* Every f32 with a zero lower half, and the neighbours of every tie between codes. */
static void conversions_round_to_nearest_even_and_saturate(void **state)
{
	(void)state;
	for (int t = MICA_E4M3; t <= MICA_E5M2; t++) {
		for (uint32_t h = 0; h < 65536; h++)
			for (int low = 0; low < 3; low++) {
				float v = from_bits(h << 16 | (low == 0 ? 0 : low == 1 ? 1 : 0xffff));
				unsigned got = encode(t, v, true), want = ref_round_code(t, v);

				if (got != want)
					fail_msg("%s of %a: %02x, should be %02x", mica_dtype_name(t), v, got, want);
			}
		for (unsigned c = 0; c < (t == MICA_E4M3 ? 0x7eu : 0x7bu); c++) {
			float tie = (float)((ref_code_value(t, c) + ref_code_value(t, c + 1)) / 2);

			assert_int_equal(encode(t, tie, true), c & 1 ? c + 1 : c);
			assert_int_equal(encode(t, nextafterf(tie, 1e9f), true), c + 1);
			assert_int_equal(encode(t, nextafterf(tie, -1), true), c);
			assert_int_equal(encode(t, -tie, true), 0x80 | (c & 1 ? c + 1 : c));
		}
	}
}

/* The ONNX Cast table for saturate = 1 and saturate = 0. */
static void special_values_follow_the_onnx_cast_table(void **state)
{
	(void)state;
	assert_int_equal(mica_encode_e4m3(NAN, true), 0x7f);
	assert_int_equal(mica_encode_e4m3(INFINITY, true), 0x7e);
	assert_int_equal(mica_encode_e4m3(-INFINITY, true), 0xfe);
	assert_int_equal(mica_encode_e4m3(1e6f, true), 0x7e);
	assert_int_equal(mica_encode_e4m3(INFINITY, false) & 0x7f, 0x7f);
	assert_int_equal(mica_encode_e4m3(1e6f, false) & 0x7f, 0x7f);
	assert_int_equal(mica_encode_e4m3(464.0f, false), 0x7e);	/* tie goes to the even 448 */
	assert_int_equal(mica_encode_e4m3(464.1f, false) & 0x7f, 0x7f);
	assert_int_equal(mica_encode_e5m2(NAN, true), 0x7f);
	assert_int_equal(mica_encode_e5m2(INFINITY, true), 0x7b);
	assert_int_equal(mica_encode_e5m2(-1e9f, true), 0xfb);
	assert_int_equal(mica_encode_e5m2(INFINITY, false), 0x7c);
	assert_int_equal(mica_encode_e5m2(-1e9f, false), 0xfc);
	assert_int_equal(mica_encode_e5m2(61439.0f, false), 0x7b);
	assert_int_equal(mica_encode_e5m2(61440.0f, false), 0x7c);	/* tie between 57344 and 65536 */
	assert_int_equal(mica_encode_e4m3(-0.0f, true), 0x80);
	assert_int_equal(mica_encode_e5m2(-0.0f, true), 0x80);
}

static void bf16_rounds_to_nearest_even(void **state)
{
	(void)state;
	for (uint32_t h = 0; h < 65536; h++)
		for (uint32_t low = 0; low < 65536; low += 0x7fff) {
			float v = from_bits(h << 16 | low);
			unsigned got = mica_encode_bf16(v), want = ref_round_code(MICA_BF16, v);

			if (got != want)
				fail_msg("bf16 of %a: %04x, should be %04x", v, got, want);
		}
}

static void integers_round_to_nearest_even_then_clamp(void **state)
{
	const float v[] = { 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 127.4f, 127.5f, -128.5f, 1e30f, -1e30f, NAN, INFINITY };
	const int8_t want[] = { 0, 2, 2, 0, -2, 127, 127, -128, 127, -128, -128, 127 };
	int8_t got[12];

	(void)state;
	mica_quantize(MICA_I8, v, got, 12, 1.0f, 0);
	assert_memory_equal(got, want, sizeof(want));
}

/* The fixed polynomials are close to the true functions (f64 libm as the outside judge). */
static void functions_are_close_to_the_true_ones(void **state)
{
	static const struct { int fn; double (*f)(double); double lo, hi, tol; } t[] = {
		{ MICA_FN_EXP, exp, -80, 80, 3e-7 }, { MICA_FN_LOG, log, 1e-6, 1e6, 3e-7 }, { MICA_FN_TANH, tanh, -10, 10, 3e-7 },
		{ MICA_FN_ERF, erf, -5, 5, 3e-7 }, { MICA_FN_SIN, sin, -50, 50, 2e-6 }, { MICA_FN_COS, cos, -50, 50, 2e-6 },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		for (int k = 0; k <= 20000; k++) {
			float x = (float)(t[i].lo + (t[i].hi - t[i].lo) * k / 20000);
			double want = t[i].f(x), got = mica_fn_eval(t[i].fn, x, 0, 0);

			assert_true(fabs(got - want) <= t[i].tol * fmax(1, fabs(want)));
			assert_true(same((float)got, ref_function(t[i].fn, x, 0, 0)));
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fp8_codes_decode_to_their_definition),
		cmocka_unit_test(all_65536_code_products_are_exact),
		cmocka_unit_test(conversions_round_to_nearest_even_and_saturate),
		cmocka_unit_test(special_values_follow_the_onnx_cast_table),
		cmocka_unit_test(bf16_rounds_to_nearest_even),
		cmocka_unit_test(integers_round_to_nearest_even_then_clamp),
		cmocka_unit_test(functions_are_close_to_the_true_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
