// SPDX-License-Identifier: MIT
/* The baseline path: one lane, any CPU. Where the CPU has no FMA, fmaf works in software, to the same bits. */
#define PATH mica_path_scalar
#define PATH_NAME "scalar"
#include "path_impl.h"
