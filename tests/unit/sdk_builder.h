/* SPDX-License-Identifier: MIT */
/* Small models: .mica files made by hand, without the compiler, and one that it makes. */
#ifndef SDK_BUILDER_H
#define SDK_BUILDER_H

#include <stddef.h>
#include <stdint.h>
#include "mica/isa.h"
#include "mica/model.h"
#include "mica.h"
#include "model.pb-c.h"

#define BUILT_ELEMENTS 64

/*
 * x f32[1,64] -> relu -> y f32[1,64], on one core. `repeat` relus in a row make the job last longer. The caller frees
 * the result. prepare (may be NULL) may change the metadata before it is packed.
 */
uint8_t *build_model(unsigned repeat, void (*prepare)(Mica__Model *m), size_t *size);
/* x f32[64] -> Neg -> TopK, all of them -> Relu -> y, compiled and loaded: a job, a host step, a job, and the arena between them. */
struct mica_model *load_host_model(struct mica_device *dev);
/* Recomputes all checksums after a change. */
void fix_checksums(uint8_t *file);

#endif /* SDK_BUILDER_H */
