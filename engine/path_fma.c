// SPDX-License-Identifier: MIT
/* The baseline path once more, for CPUs with FMA: one lane, but fmaf is an instruction. */
#if defined(__x86_64__) && defined(__GNUC__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("fma"))), apply_to = function)
#else
#pragma GCC target("fma")
#endif
#endif
#define PATH mica_path_fma
#define PATH_NAME "fma"
#include "path_impl.h"
#if defined(__x86_64__) && defined(__clang__)
#pragma clang attribute pop
#endif
