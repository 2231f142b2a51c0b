/* SPDX-License-Identifier: MIT */
/* The compiler's front door: ONNX file in, .mica file out. */
#ifndef MICA_COMPILER_H
#define MICA_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "engine.h"

/* What went wrong. `code` is also the exit code of the mica command (docs/cli.md). The text names place and remedy. */
enum mica_err_code {
	MICA_ERR_NONE = 0,
	MICA_ERR_USAGE = 2,		/* option or argument */
	MICA_ERR_FILE = 3,		/* cannot be read or written: missing, permission, disk full */
	MICA_ERR_CORRUPT = 4,		/* .onnx, .mica, image, .npy: truncated or malformed */
	MICA_ERR_VERSION = 5,		/* another format version */
	MICA_ERR_UNSUPPORTED = 6,	/* operator, attribute, type */
	MICA_ERR_SHAPE = 7,		/* tensor shape or missing dimension */
	MICA_ERR_NO_DEVICE = 8,
	MICA_ERR_FIRMWARE = 9,
	MICA_ERR_DEVICE = 10,		/* the job faulted, timed out or was lost */
	MICA_ERR_MEMORY = 11,		/* out of memory; does not fit LMEM */
	MICA_ERR_INTERNAL = 12,		/* a bug in MICA: verifier or validator refused our own output */
};
struct mica_err { enum mica_err_code code; char text[1024]; };
/* Fills err (may be NULL) unless it is already set; returns -code so that callers can `return mica_err_set(...)`. */
int mica_err_set(struct mica_err *err, enum mica_err_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same for what libsdk/output.h returned: 0, or -errno and libmica's text. */
int mica_err_output(struct mica_err *err, int ret);
void mica_html_text(FILE *f, const char *s);	/* escaped, control characters as blanks (report.c) */

enum mica_method { MICA_METHOD_MAX, MICA_METHOD_KL, MICA_METHOD_PERCENTILE, MICA_METHOD_MSE, MICA_METHOD_NONE };

/* Repairs of post-training quantization (docs/quantization.md), bits of mica_compile_options.repair. */
enum mica_repair {
	MICA_REPAIR_CLE = 1,		/* cross-layer equalization with bias absorption */
	MICA_REPAIR_WMSE = 2,		/* weight ranges of least squared error instead of the largest weight */
	MICA_REPAIR_ADAROUND = 4,	/* weights are rounded for the layer's output, not each to its nearest code */
	MICA_REPAIR_BIAS = 8,		/* empirical bias correction */
	MICA_REPAIR_DEPTHWISE = 16,	/* FP8: depthwise convolutions in bf16, which costs the vector engine nothing */
	MICA_REPAIR_CENTER = 32,		/* values between convolutions move to where the format rounds them least */
	MICA_REPAIR_ALL = 63,
};

/*
 * Calibration samples: load() writes input `input`'s n f32 elements of sample `sample` (ONNX layout, preprocessed). 0 or -code with err set.
 * With threads > 1 it is called by several threads at once, each for another sample.
 */
struct mica_calib {
	unsigned count;
	int (*load)(void *opaque, unsigned sample, const char *input, float *dst, size_t n, struct mica_err *err);
	void *opaque;
};

/*
 * Steps that lower the memory of intermediate values, in order; each can be left out. The bits of the results never depend on them.
 * Peaks are compared as if all intermediate values lived in DRAM, except for RESIDENCY.
 */
enum mica_saving {
	MICA_SAVE_FUSION,		/* cannot be left out: what joining operators has saved */
	MICA_SAVE_VIEWS,		/* concatenations, slices, reshapes and pads without copies */
	MICA_SAVE_IN_PLACE,		/* elementwise results over an operand that nobody needs any more */
	MICA_SAVE_REORDER,		/* another order of operators */
	MICA_SAVE_SLICE,		/* wide layers run in row slices, depth first */
	MICA_SAVE_RECOMPUTE,		/* cheap values are computed again instead of kept */
	MICA_SAVE_RESIDENCY,		/* intermediate values live in LMEM; without it LMEM holds tiles only */
	MICA_SAVINGS,
};
const char *mica_saving_name(enum mica_saving s);	/* "fusion", "views", "in_place", ... */
enum mica_minimize { MICA_MINIMIZE_TIME, MICA_MINIMIZE_MEMORY };
/* A graph input that becomes a constant: the TensorProto in a file (ONNX's .pb), or numbers, "16000" or "1,2,3". */
struct mica_onnx_const { const char *input, *file; };

struct mica_compile_options {
	enum mica_dtype format;			/* E4M3, E5M2, I8, BF16, F32 */
	enum mica_method method;
	double percentile;			/* of method percentile, 50..100 */
	struct mica_calib calib;		/* count 0: none */
	const char *calib_table;		/* thresholds from that file, or NULL: all from the samples */
	const char *calib_out;			/* the table is written there, or NULL */
	unsigned repair;			/* MICA_REPAIR_* */
	bool symmetric;				/* int8 activations around 0; else with a zero point */
	bool per_tensor;			/* one weight scale per layer instead of one per output channel */
	bool pow2;				/* scales are powers of two */
	bool quiet;				/* no warnings about calibration */
	const char *qtable;			/* file or NULL: lines "operator-name FORMAT" */
	const char *const *shapes;		/* "NAME=D,D,.." */
	unsigned shape_count;
	const char *const *cuts;		/* tensors or nodes that are the outputs, instead of the file's */
	unsigned cut_count;
	const char *const *dims;		/* "NAME=N": a dimension that the model gives a name instead of a size */
	unsigned dim_count;
	const struct mica_onnx_const *consts;
	unsigned const_count;
	unsigned cores;				/* 1..8 */
	uint32_t lmem;				/* bytes per core */
	unsigned threads;			/* for calibration */
	unsigned no_pass;			/* bits 1 << enum mica_saving: leave these out */
	enum mica_minimize minimize;		/* TIME: less memory where it costs at most 1 % of the cycles; MEMORY: at any cost */
	const char *report;			/* FILE.json or FILE.html, or NULL */
	const char *sidecar;			/* its text, stored in the model, or NULL */
	const char *dump_after;			/* pass name, "all", or NULL: prints the IR to stderr */
	bool verify;				/* ir_verify after every pass */
	void (*progress)(void *opaque, const char *stage, unsigned done, unsigned total);	/* may be NULL */
	void *progress_opaque;
};
/* Defaults: e4m3, max, percentile 99.99, symmetric, no repairs, 1 core, 2 MiB, 1 thread. */
void mica_compile_defaults(struct mica_compile_options *o);

/* Compiles; out_path is written atomically (temporary file, rename). 0 or -code with err filled. Thread safe for different outputs. */
int mica_compile(const char *onnx_path, const char *out_path, const struct mica_compile_options *o, struct mica_err *err);

/* Only the calibration: o->calib_out is written. 0 or -code with err filled. */
int mica_calibrate(const char *onnx_path, const struct mica_compile_options *o, struct mica_err *err);

/* Names and shapes of the model's inputs after --shape, for the tool (npy checks, messages). Caller frees with mica_onnx_inputs_free. */
struct mica_onnx_input { char *name; unsigned rank; int64_t dim[8]; };
int mica_onnx_inputs(const char *onnx_path, const struct mica_compile_options *o, struct mica_onnx_input **list, unsigned *count, struct mica_err *err);
void mica_onnx_inputs_free(struct mica_onnx_input *list, unsigned count);

/* What a model declares: inputs (without those that have an initializer) and outputs. Freed with mica_onnx_ports_free. */
struct mica_onnx_port {
	char *name;
	int type;			/* ONNX's element type; 0: none is given */
	const char *kind;		/* what it is when it is no tensor: "a sequence", ...; else NULL */
};
struct mica_onnx_ports { struct mica_onnx_port *in, *out; unsigned ins, outs; };
int mica_onnx_ports_read(const char *onnx_path, struct mica_onnx_ports *out, struct mica_err *err);
void mica_onnx_ports_free(struct mica_onnx_ports *p);

/* A TensorProto file (.pb) as numbers: f of float types (also 8-bit ones), i of integers and booleans, the other is NULL. */
struct mica_onnx_data { int type; unsigned rank; int64_t dim[8]; size_t elements; float *f; int64_t *i; };
int mica_onnx_data_read(const char *path, struct mica_onnx_data *out, struct mica_err *err);
void mica_onnx_data_free(struct mica_onnx_data *d);
const char *mica_onnx_type_name(int type);

/* The ONNX operators that compile, sorted; Constant is not among them (the importer takes it). Returns their number, at most max. */
struct mica_operator {
	const char *type;
	const char *where;		/* what does the work */
	unsigned since;			/* the opset that introduced it, 7 for older ones */
};
unsigned mica_operators(struct mica_operator *list, unsigned max);

#endif /* MICA_COMPILER_H */
