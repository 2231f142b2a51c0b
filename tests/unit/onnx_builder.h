/* SPDX-License-Identifier: MIT */
/* Makes small ONNX files for tests. Everything is static storage of one builder: reset with ob_begin(). */
#ifndef MICA_ONNX_BUILDER_H
#define MICA_ONNX_BUILDER_H

#include "onnx.h"

void ob_begin(int opset);
void ob_input(const char *name, int onnx_type, unsigned rank, const int64_t *dim);	/* extent 0: named "n" */
void ob_output(const char *name);
Onnx__TensorProto *ob_tensor(const char *name, int onnx_type, unsigned rank, const int64_t *dim);	/* initializer without data */
Onnx__TensorProto *ob_raw(const char *name, int onnx_type, unsigned rank, const int64_t *dim, const void *data, size_t bytes);
Onnx__TensorProto *ob_floats(const char *name, unsigned rank, const int64_t *dim, const float *data);
Onnx__NodeProto *ob_node(const char *type, const char *out, const char *const *in, unsigned ins);
void ob_attr_int(Onnx__NodeProto *n, const char *name, int64_t v);
void ob_attr_ints(Onnx__NodeProto *n, const char *name, const int64_t *v, size_t count);
size_t ob_pack(uint8_t **bytes);		/* malloc'ed */
void ob_write(const char *path);
void ob_write_bytes(const char *path, const void *bytes, size_t n);
Onnx__ModelProto *ob_model(void);

/* A graph after import and the passes up to `until` (NULL: all; "": import only). NULL with err filled on failure. */
struct ir_graph *ob_compile(const char *path, const struct mica_compile_options *o, const char *until, struct mica_err *err);

#endif /* MICA_ONNX_BUILDER_H */
