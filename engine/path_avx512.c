// SPDX-License-Identifier: MIT
/* The path for CPUs with AVX-512 F, BW, VL, DQ, VBMI, VNNI and BF16. */
#define PATH mica_path_avx512
#define PATH_NAME "avx512"
#include "path_impl.h"
