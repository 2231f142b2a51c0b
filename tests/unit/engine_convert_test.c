// SPDX-License-Identifier: MIT
/* Conversions and functions: every path gives the bits of the one-value functions, and those round as they should. */
#include "engine_internal.h"
#include "engine_util.h"

#include <math.h>

static const enum mica_dtype types[] = { MICA_F32, MICA_BF16, MICA_E4M3, MICA_E5M2, MICA_I8, MICA_U8, MICA_I32 };

/* The code that is nearest to y, ties to the even code, by trying all finite codes: slow and plain. */
static uint8_t nearest_fp8(float y, float (*decode)(uint8_t), uint8_t largest)
{
	double best = INFINITY;
	uint8_t code = 0;

	if (isnan(y))
		return 0x7f;
	for (unsigned c = 0; c <= largest; c++) {
		double d = fabs(fabs((double)y) - (double)decode((uint8_t)c));

		if (d < best || (d == best && !(c & 1))) {
			best = d;
			code = (uint8_t)c;
		}
	}
	if (fabsf(y) >= decode(largest))	/* far above, the distances are not exact */
		code = largest;
	return code | (signbit(y) ? 0x80 : 0);
}

/* The upper halves of all f32, each with the neighbours of its rounding ties. */
static size_t probes(uint32_t upper, float out[16])
{
	static const uint32_t low[] = { 0, 1, 0x7fff, 0x8000, 0x8001, 0xffff };
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(low); i++)
		out[n++] = bits_float(upper << 16 | low[i]);
	return n;
}

static void fp8_encoding_is_nearest_even_on_every_upper_half(void **state)
{
	float v[16];

	(void)state;
	for (uint32_t upper = 0; upper < 65536; upper++)
		for (size_t i = 0, n = probes(upper, v); i < n; i++) {
			if (mica_encode_e4m3(v[i], true) != nearest_fp8(v[i], mica_decode_e4m3, 0x7e))
				fail_msg("e4m3 of %a", (double)v[i]);
			if (mica_encode_e5m2(v[i], true) != nearest_fp8(v[i], mica_decode_e5m2, 0x7b))
				fail_msg("e5m2 of %a", (double)v[i]);
		}
}

static void fp8_ties_between_all_neighbouring_codes_go_to_even(void **state)
{
	(void)state;
	for (unsigned c = 0; c < 0x7e; c++) {
		float tie = (mica_decode_e4m3((uint8_t)c) + mica_decode_e4m3((uint8_t)(c + 1))) / 2;

		assert_int_equal(mica_encode_e4m3(tie, true), c + (c & 1));
		assert_int_equal(mica_encode_e4m3(nextafterf(tie, 0), true), c);
		assert_int_equal(mica_encode_e4m3(nextafterf(tie, INFINITY), true), c + 1);
	}
	for (unsigned c = 0; c < 0x7b; c++) {
		float tie = (mica_decode_e5m2((uint8_t)c) + mica_decode_e5m2((uint8_t)(c + 1))) / 2;

		assert_int_equal(mica_encode_e5m2(tie, true), c + (c & 1));
		assert_int_equal(mica_encode_e5m2(nextafterf(tie, 0), true), c);
		assert_int_equal(mica_encode_e5m2(nextafterf(tie, INFINITY), true), c + 1);
	}
}

static void unsaturated_overflow_gives_nan_in_e4m3_and_infinity_in_e5m2(void **state)
{
	(void)state;
	assert_int_equal(mica_encode_e4m3(448.0f, false), 0x7e);
	assert_int_equal(mica_encode_e4m3(464.0f, false), 0x7e);
	assert_int_equal(mica_encode_e4m3(nextafterf(464.0f, 1e9f), false), 0x7f);
	assert_int_equal(mica_encode_e4m3(-INFINITY, false), 0x7f);
	assert_int_equal(mica_encode_e4m3(NAN, false), 0x7f);
	assert_int_equal(mica_encode_e5m2(61439.0f, false), 0x7b);
	assert_int_equal(mica_encode_e5m2(61440.0f, false), 0x7c);
	assert_int_equal(mica_encode_e5m2(-61440.0f, false), 0xfc);
	assert_int_equal(mica_encode_e5m2(-INFINITY, false), 0xfc);
	assert_int_equal(mica_encode_e5m2(-NAN, false), 0x7f);
}

static void every_path_decodes_every_code_alike(void **state)
{
	static uint16_t codes[65536];
	static float want[65536], got[65536];

	(void)state;
	for (unsigned i = 0; i < 65536; i++)
		codes[i] = (uint16_t)i;
	for (size_t t = 0; t < ARRAY_SIZE(types); t++) {
		size_t n = sizeof(codes) / mica_dtype_size(types[t]);
		int zero = types[t] == MICA_I8 ? -7 : types[t] == MICA_U8 ? 130 : 0;

		n = n < 65536 ? n : 65536;
		mica_path_scalar.decode(types[t], codes, n, 0.37f, zero, want);
		for (size_t p = 0; p < ARRAY_SIZE(all_paths); p++) {
			if (!mica_path_usable(all_paths[p]))
				continue;
			all_paths[p]->decode(types[t], codes, n, 0.37f, zero, got);
			for (size_t i = 0; i < n; i++)
				if (float_bits(got[i]) != float_bits(want[i]) && !(isnan(got[i]) && isnan(want[i])))
					fail_msg("%s, %s, code %zu", all_paths[p]->name, mica_dtype_name(types[t]), i);
		}
	}
}

static void every_path_encodes_every_upper_half_alike(void **state)
{
	static float v[65536 * 6 + 5];
	static uint8_t want[sizeof(v)], got[sizeof(v)];
	size_t n = 0;

	(void)state;
	for (uint32_t upper = 0; upper < 65536; upper++)
		n += probes(upper, v + n);
	n += 5;	/* an odd tail */
	for (size_t t = 0; t < ARRAY_SIZE(types); t++)
		for (size_t p = 0; p < ARRAY_SIZE(all_paths); p++)
			for (int round = 0; round < 2; round++) {
				int zero = types[t] == MICA_I8 ? -100 : types[t] == MICA_U8 ? 17 : 0;

				if (!mica_path_usable(all_paths[p]))
					continue;
				mica_path_scalar.encode(types[t], v, n, round ? 3.3f : 1.0f, zero, want);
				all_paths[p]->encode(types[t], v, n, round ? 3.3f : 1.0f, zero, got);
				if (memcmp(got, want, n * mica_dtype_size(types[t])))
					fail_msg("%s, %s", all_paths[p]->name, mica_dtype_name(types[t]));
			}
}

static void quantize_and_dequantize_invert_each_other_on_codes(void **state)
{
	uint8_t codes[256], back[256];
	float v[256];

	(void)state;
	for (unsigned i = 0; i < 256; i++)
		codes[i] = (uint8_t)i;
	for (size_t t = 2; t < 6; t++) {
		int zero = types[t] == MICA_I8 ? 3 : types[t] == MICA_U8 ? 128 : 0;

		mica_dequantize(types[t], codes, v, 256, 0.25f, zero);
		mica_quantize(types[t], v, back, 256, 4.0f, zero);
		for (unsigned i = 0; i < 256; i++)
			if (codes[i] != back[i] && !isnan(v[i]) && !isinf(v[i]))
				fail_msg("%s code %u came back as %u", mica_dtype_name(types[t]), i, back[i]);
	}
}

static void results_do_not_depend_on_the_callers_rounding_mode(void **state)
{
	float v[3] = { 0.3f, 1e-40f, -2.5f }, out[3];
	uint8_t code[3], plain[3];
	unsigned saved;

	(void)state;
	mica_quantize(MICA_E4M3, v, plain, 3, 7.1f, 0);
	saved = fpenv_enter();
#if defined(__x86_64__)
	__builtin_ia32_ldmxcsr(0x1f80 | 0x8040 | 0x6000);
#endif
	mica_quantize(MICA_E4M3, v, code, 3, 7.1f, 0);
	mica_dequantize(MICA_F32, v, out, 3, 1.0f, 0);
	fpenv_leave(saved);
	assert_memory_equal(code, plain, 3);
	assert_memory_equal(out, v, sizeof(v));
}

static void every_path_evaluates_functions_alike(void **state)
{
	static float want[65536 * 6], got[65536 * 6];

	(void)state;
	for (unsigned fn = 0; fn <= MICA_FN_MAX; fn++) {
		size_t n = 0;

		for (uint32_t upper = 0; upper < 65536; upper += 3)
			n += probes(upper, want + n);
		n = n / 16 * 16;
		for (size_t p = 1; p < ARRAY_SIZE(all_paths); p++) {
			size_t m = 0;

			if (!mica_path_usable(all_paths[p]))
				continue;
			for (uint32_t upper = 0; upper < 65536; upper += 3)
				m += probes(upper, got + m);
			all_paths[p]->fn(fn, got, n, 0.3f, 1.7f);
			for (size_t i = 0; i < n; i++) {
				float one = mica_fn_eval(fn, want[i], 0.3f, 1.7f);

				if (float_bits(one) != float_bits(got[i]) && !(isnan(one) && isnan(got[i])))
					fail_msg("%s of %a on %s: %a, not %a", mica_fn_name(fn), (double)want[i],
						 all_paths[p]->name, (double)got[i], (double)one);
			}
		}
	}
}

static void packed_weights_lie_where_isa_md_says(void **state)
{
	enum { GROUPS = 2, COUT = 19, KH = 2, KW = 3, CIN = 5, K = KH * KW * CIN };
	uint8_t w[GROUPS * COUT * K], dst[4096];

	(void)state;
	for (size_t i = 0; i < sizeof(w); i++)
		w[i] = (uint8_t)(i % 255 + 1);
	for (unsigned v = 2; v <= 4; v += 2) {
		enum mica_dtype t = v == 2 ? MICA_E4M3 : MICA_I8;
		size_t steps = (K + v - 1) / v, group = 2 * steps * 16 * v;

		assert_int_equal(mica_pack_size(t, GROUPS, COUT, KH, KW, CIN), GROUPS * group);
		mica_pack(t, GROUPS, COUT, KH, KW, CIN, w, dst);
		for (size_t i = 0; i < GROUPS * group; i++) {
			size_t g = i / group, b = i % group / (steps * 16 * v), s = i % group / (16 * v) % steps;
			size_t c = b * 16 + i / v % 16, k = s * v + i % v;

			assert_int_equal(dst[i], c < COUT && k < K ? w[(g * COUT + c) * K + k] : 0);
		}
	}
	assert_int_equal(mica_pack_size_dw(MICA_BF16, 17, 3, 3), 32 * 9 * 2);
	mica_pack_dw(MICA_I8, 19, 1, 3, w, dst);
	for (size_t i = 0; i < 32 * 3; i++) {
		size_t c = i / 48 * 16 + i % 16, k = i / 16 % 3;

		assert_int_equal(dst[i], c < 19 ? w[c * 3 + k] : 0);
	}
	assert_int_equal(mica_params_size(2, 17), 3 * 4 * 2 * 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fp8_encoding_is_nearest_even_on_every_upper_half),
		cmocka_unit_test(fp8_ties_between_all_neighbouring_codes_go_to_even),
		cmocka_unit_test(unsaturated_overflow_gives_nan_in_e4m3_and_infinity_in_e5m2),
		cmocka_unit_test(every_path_decodes_every_code_alike),
		cmocka_unit_test(every_path_encodes_every_upper_half_alike),
		cmocka_unit_test(quantize_and_dequantize_invert_each_other_on_codes),
		cmocka_unit_test(results_do_not_depend_on_the_callers_rounding_mode),
		cmocka_unit_test(every_path_evaluates_functions_alike),
		cmocka_unit_test(packed_weights_lie_where_isa_md_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
