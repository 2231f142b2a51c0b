/* SPDX-License-Identifier: MIT */
/* The list of a path's kernels that are made for certain operands. */
#ifndef MICA_VARIANTS_IMPL_H
#define MICA_VARIANTS_IMPL_H

#include <stdarg.h>
#include "blocked_impl.h"
#include "dwconv_impl.h"

struct variant_list {
	struct mica_variant *out;
	unsigned n, max;
};

__attribute__((format(printf, 3, 4)))
static void variant_add(struct variant_list *l, atomic_uchar *mark, const char *format, ...)
{
	va_list args;

	if (l->n < l->max) {
		va_start(args, format);
		vsnprintf(l->out[l->n].name, sizeof(l->out[l->n].name), format, args);
		va_end(args);
		l->out[l->n].reached = atomic_load_explicit(mark, memory_order_relaxed);
	}
	l->n++;
}

static void list_gemm(struct variant_list *l)
{
	static const char *const class_name[] = { [MAC_FLOAT] = "float", [MAC_I8] = "i8", [MAC_F32] = "f32" };

	for (unsigned c = 0; c < 3; c++)
		for (unsigned b = 1; b <= GEMM_MAX_B; b++) {
			for (unsigned p = 1; p <= GEMM_MAX_P; p++)
				if (gemm_table[c][b][p])
					variant_add(l, &gemm_reached[c][b][p], "gemm %s %u pixels %u blocks", class_name[c], p, b);
			if (c == MAC_FLOAT && gemm_has_few(MICA_E4M3) && b != 3)
				variant_add(l, &gemm_reached[c][b][0], "gemm few %u blocks", b);
		}
}

static void list_fused(struct variant_list *l)
{
#if VL == 16
	static const char *const form[FUSED_FORMS] = { "i8", "e4m3", "e5m2" };

	for (unsigned f = 0; f < FUSED_FORMS; f++)
		for (unsigned i = 0; i < 4; i++)
			variant_add(l, &fused_reached[f][i / 2][i % 2], "gemm to %s %s%s", form[f], i / 2 ? "7x4" : "14x2",
				    i % 2 ? ", residual" : "");
#else
	(void)l;
#endif
}

static void list_dw(struct variant_list *l)
{
	static const char *const name[DW_V_COUNT] = {
		"f32", "slow", "pairs 3x3", "pairs 3x3, one by one", "pairs 3x3/2", "pairs 3x3/2, one by one", "pairs 5x5",
		"pairs 5x5, one by one", "pairs 5x5/2", "pairs 5x5/2, one by one", "pairs", "fours 3x3", "fours 5x5", "fours",
		"rows of fours 3x3, two", "rows of fours 3x3", "rows of fours 3x3/2",
	};

	for (unsigned i = 0; i < (VL == 16 ? DW_V_COUNT : DW_V_F32 + 1); i++)
		if (i != DW_V_SLOW)	/* takes kernels of more than 1,024 taps: engine_paths_test */
			variant_add(l, &dw_reached[i], "dwconv %s", name[i]);
}

static void list_epilogue(struct variant_list *l)
{
#if VL == 16
	static const char *const name[EPI_V_COUNT] = { "any", "fast", "fast, residual" };

	for (unsigned t = MICA_F32; t <= MICA_I32; t++)
		for (unsigned nv = 1; nv <= 4 && mica_dtype_size(t); nv *= 2)
			for (unsigned v = 0; v < (epi_may_be_fast(t) ? EPI_V_COUNT : EPI_V_FAST); v++)
				variant_add(l, &epi_reached[t][nv][v], "epilogue %s x%u %s", mica_dtype_name(t), nv, name[v]);
#else
	(void)l;
#endif
}

/* Returns how many there are; fills no more than max. */
static unsigned list_variants(struct mica_variant *out, unsigned max)
{
	struct variant_list l = { .out = out, .max = max };

	list_gemm(&l);
	list_fused(&l);
	list_dw(&l);
	list_epilogue(&l);
	return l.n;
}

#endif /* MICA_VARIANTS_IMPL_H */
