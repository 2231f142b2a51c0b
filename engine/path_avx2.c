// SPDX-License-Identifier: MIT
/* The path for CPUs with AVX2, FMA and F16C. */
#define PATH mica_path_avx2
#define PATH_NAME "avx2"
#include "path_impl.h"
