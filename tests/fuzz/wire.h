/* SPDX-License-Identifier: MIT */
/* Mutations that know the protobuf wire format: a change deep inside a message keeps the lengths around it right. */
#ifndef MICA_TESTS_WIRE_H
#define MICA_TESTS_WIRE_H

#include <stddef.h>
#include <stdint.h>

/* libFuzzer's own mutation of bytes in place; returns the new size, at most max. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

/*
 * Changes data in place as a protobuf message: one field somewhere in the tree is changed, removed, doubled or exchanged.
 * What is no message is changed as bytes. Returns the new size, at most max.
 */
size_t wire_mutate(uint8_t *data, size_t size, size_t max, unsigned seed);

#endif /* MICA_TESTS_WIRE_H */
