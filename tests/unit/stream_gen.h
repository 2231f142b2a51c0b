/* SPDX-License-Identifier: MIT */
/* Random command streams over a small memory: legal packets of all kinds, the same ones for the same seed. */
#ifndef MICA_TESTS_STREAM_GEN_H
#define MICA_TESTS_STREAM_GEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "engine.h"

#define STREAM_LMEM	65536u
#define STREAM_DRAM	65536u
#define STREAM_PACKETS	4

/* What a stream works on: LMEM, and segments for weights, arena and an input. */
struct world { uint8_t *lmem, *seg[3]; };
struct world world_new(void);
void world_free(struct world *w);
void world_copy(struct world *d, const struct world *s);
void world_fill(struct world *w);

/* 1 to STREAM_PACKETS packets; what they read is written into w. Returns how many. */
unsigned stream_draw(union mica_pkt *p, struct world *w);

/* ---- random numbers ---- */

extern uint64_t stream_rng;
uint32_t stream_rnd(void);
static inline uint32_t upto(uint32_t n) { return stream_rnd() % n; }			/* 0..n-1 */
static inline uint32_t between(uint32_t lo, uint32_t hi) { return lo + upto(hi - lo + 1); }
static inline bool chance(unsigned percent) { return upto(100) < percent; }
static inline float unit(void) { return (float)(int32_t)stream_rnd() / 2147483648.0f; }

/* ---- operands (stream_operands.c) ---- */

extern uint32_t stream_bump;	/* next free LMEM byte */
static inline bool is_fp8(int t) { return t == MICA_E4M3 || t == MICA_E5M2; }
int stream_type(void);		/* any */
/* Fills n elements at p with ordinary values, now and then with any bits. */
void stream_values(uint8_t *p, int type, size_t n);
/* A view over dims d; dense or padded strides; false when LMEM is used up. */
bool stream_view(struct mica_view *v, struct world *w, int type, const uint32_t d[4], bool is_dst, bool unit_c);
/* n constants behind *off of the weights, or MICA_ADDR_NONE when they do not fit. */
uint64_t stream_consts(struct world *w, uint32_t *off, int type, size_t n);
/* The same for a product's scales, biases and initial values, integers or, as shifts, numbers. */
uint64_t stream_params(struct world *w, uint32_t *off, size_t channels, bool integer);
/* All zero but for the header. */
void stream_header(union mica_pkt *p, int op, size_t bytes);

#endif /* MICA_TESTS_STREAM_GEN_H */
