/* SPDX-License-Identifier: MIT */
/* Small .mica files made by hand, without the compiler. */
#ifndef SDK_BUILDER_H
#define SDK_BUILDER_H

#include <stddef.h>
#include <stdint.h>
#include "mica/isa.h"
#include "mica/model.h"
#include "model.pb-c.h"

#define BUILT_ELEMENTS 64

/*
 * x f32[1,64] -> relu -> y f32[1,64], on one core. `repeat` relus in a row make the job last longer. The caller frees
 * the result. prepare (may be NULL) may change the metadata before it is packed.
 */
uint8_t *build_model(unsigned repeat, void (*prepare)(Mica__Model *m), size_t *size);
/* Recomputes all checksums after a change. */
void fix_checksums(uint8_t *file);

#endif /* SDK_BUILDER_H */
