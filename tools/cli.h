/* SPDX-License-Identifier: MIT */
/* What the commands of `mica` share: options, messages, files, JSON. */
#ifndef MICA_CLI_H
#define MICA_CLI_H

#include <getopt.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include "compiler.h"
#include "mica.h"

/* Every command returns the process's exit code: enum mica_err_code (docs/cli.md). */
struct command {
	const char *name;
	const char *summary;
	int (*run)(int argc, char **argv);
	const char *help;
};
extern const struct command cmd_info, cmd_compile, cmd_calibrate, cmd_sensitivity, cmd_compare, cmd_run, cmd_eval, cmd_bench, cmd_dump, cmd_diff,
	cmd_memplan, cmd_onnx_test;

/* ---- messages (cli.c) ---- */

/* Prints "mica COMMAND: text" to stderr and returns code. */
int cli_fail(enum mica_err_code code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same for the last error of libmica (ret is its -errno), of the compiler. */
int cli_sdk(int ret);
int cli_compiler(const struct mica_err *err);
enum mica_err_code cli_code_of(int err);	/* errno -> exit code */
void cli_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void cli_set_command(const char *name);

/* Progress on stderr: in place on a terminal, else a line now and then. cli_progress_end() clears it. */
void cli_progress(const char *stage, unsigned done, unsigned total);
void cli_progress_end(void);

/* ---- command lines (parse.c): 0, or the exit code when the message has been printed ---- */

/* One option of a table that ends with { 0 }. take() checks the value and stores it at `at` bytes into the group's struct; a name
 * that two groups have belongs to the first. letter: 'o' makes -o the same option. */
struct cli_opt {
	const char *name;
	int (*take)(const struct cli_opt *o, const char *arg, void *to);
	size_t at;
	double lo, hi;			/* allowed numbers; hi: how many names */
	const char *const *names;
	char letter;
};
struct cli_group {
	const struct cli_opt *opt;
	void *base;
	bool *given;			/* or NULL; becomes true when one of the options is there */
};
#define CLI_GROUP(opt, base) { opt, base, NULL }
#define CLI_HELP (-1)			/* --help: the usage was printed, the exit code is 0 */
#define CLI_COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define CLI_CALL(name, type, field, take) { name, take, offsetof(type, field), 0, 0, NULL, 0 }
#define CLI_FLAG(name, type, field) CLI_CALL(name, type, field, cli_take_flag)			/* bool */
#define CLI_MAYBE(name, type, field) CLI_CALL(name, type, field, cli_take_maybe)		/* struct cli_maybe: --name or --name=FILE */
#define CLI_TEXT(name, type, field) CLI_CALL(name, type, field, cli_take_text)			/* const char * into argv */
#define CLI_SECONDS(name, type, field) CLI_CALL(name, type, field, cli_take_seconds)		/* double */
#define CLI_BYTES(name, type, field) CLI_CALL(name, type, field, cli_take_bytes)		/* uint32_t: 2M, 256K, 65536 */
#define CLI_OUTPUT(name, type, field) { name, cli_take_text, offsetof(type, field), 0, 0, NULL, 'o' }	/* also -o */
#define CLI_UNSIGNED(name, type, field, lo, hi) { name, cli_take_unsigned, offsetof(type, field), lo, hi, NULL, 0 }
#define CLI_NUMBER(name, type, field, lo, hi) { name, cli_take_number, offsetof(type, field), lo, hi, NULL, 0 }	/* double */
/* One of the names, its index into an enum or unsigned; several separated by commas, their bits into an unsigned. */
#define CLI_CHOICE(name, type, field, names) { name, cli_take_choice, offsetof(type, field), 0, CLI_COUNT(names), names, 0 }
#define CLI_SET(name, type, field, names) { name, cli_take_set, offsetof(type, field), 0, CLI_COUNT(names), names, 0 }

/* groups: CLI_GROUP(table, &struct), ..., { 0 }. Afterwards optind is at the first operand. 0, exit code, or CLI_HELP. */
int cli_parse(const struct command *cmd, int argc, char **argv, const struct cli_group *groups);
/* The same for commands with a single operand, called `what` in messages. */
int cli_parse_one(const struct command *cmd, int argc, char **argv, const struct cli_group *groups, const char *what, const char **out);
int cli_usage(const struct command *cmd);	/* prints the help to stdout; 0 */

/* What tables call, and functions of one's own may call. */
int cli_take_flag(const struct cli_opt *o, const char *arg, void *to);
struct cli_maybe { bool given; const char *file; };
int cli_take_maybe(const struct cli_opt *o, const char *arg, void *to);
int cli_take_text(const struct cli_opt *o, const char *arg, void *to);
int cli_take_choice(const struct cli_opt *o, const char *arg, void *to);
int cli_take_set(const struct cli_opt *o, const char *arg, void *to);
int cli_take_unsigned(const struct cli_opt *o, const char *arg, void *to);
int cli_take_number(const struct cli_opt *o, const char *arg, void *to);
int cli_take_seconds(const struct cli_opt *o, const char *arg, void *to);
int cli_take_bytes(const struct cli_opt *o, const char *arg, void *to);
int cli_take_format(const struct cli_opt *o, const char *arg, void *to);	/* enum mica_dtype */
int cli_choose(const char *option, const char *arg, const char *const *names, unsigned count, unsigned *out);
int cli_choose_set(const char *option, const char *arg, const char *const *names, unsigned count, unsigned *mask);
int cli_unsigned(const char *option, const char *arg, unsigned lo, unsigned hi, unsigned *out);
int cli_number(const char *option, const char *arg, double lo, double hi, double *out);

/* ---- groups of options that commands share (options.c) ---- */

/* --backend, --submit, --threads, --isa, --device: of a struct mica_device_options */
extern const struct cli_opt cli_device_options[];
#define CLI_DEVICE_HELP \
	"  --backend=auto|device|cpu  where to run; auto: the first MICA device, else the CPU\n" \
	"  --device=PATH|NUMBER       which device\n" \
	"  --submit=uring|ioctl       how jobs reach the device (default uring)\n" \
	"  --threads=N                CPU threads (default 1)\n" \
	"  --isa=scalar|avx2|avx512   CPU kernels (default the best there are)\n"

/* --sidecar=FILE and --layout, --channels, --mul, --mean, --std, --resize, --pad, --decode: of a struct cli_sidecar */
extern const struct cli_opt cli_sidecar_options[];
#define CLI_SIDECAR_HELP \
	"  --sidecar=FILE             pre- and postprocessing (docs/sidecar.md)\n" \
	"  --layout= --channels= --mul= --mean= --std= --resize= --pad= --decode=\n" \
	"                             single keys of it, they win over the file\n"
struct cli_sidecar {
	const char *file;
	char extra[2048];		/* lines from options */
};
/* The whole text (to be freed): `base`, or --sidecar's, then the lines from options. */
int cli_sidecar_text(const struct cli_sidecar *s, const char *base, char **text);
/* The same for a compiled model, parsed and checked against its inputs. NULL when there is none. */
int cli_sidecar_load(const struct cli_sidecar *s, const struct mica_model *m, struct mica_sidecar **out);
/* The same for an ONNX model: the base is MODEL.sidecar beside it, if there is one. Checked, so that mistakes show early. */
int cli_sidecar_beside(const struct cli_sidecar *s, const char *onnx, char **text);
/* Reads a text file; NUL-terminated, to be freed. */
int cli_read_text(const char *path, char **text);

/* --format, --calib, --method, --percentile, --calib-table, --repair, --activations, --weights, --scales, --augment, --qtable, --shape,
 * --dim, --const, --cores, --lmem, --minimize, --no-pass: of a struct cli_compile. Call cli_compile_init() before. */
extern const struct cli_opt cli_compile_options[];
/* --threads of a struct cli_compile: for commands without cli_device_options */
extern const struct cli_opt cli_compile_threads[];
#define CLI_COMPILE_HELP \
	"  --format=e4m3|e5m2|int8|bf16|f32   of weights and activations (default e4m3)\n" \
	"  --calib=DIR_OR_FILES       calibration data: a folder or files of images, .npy, .bin, or an IDX file;\n" \
	"                             several separated by commas; FILE.idx:LIMIT takes the first LIMIT images\n" \
	"  --augment=N                N samples of each calibration image: itself, then parts of it, mirrored, lighter and darker\n" \
	"  --method=max|kl|percentile|mse|none   how ranges are chosen (default max)\n" \
	"  --percentile=P             of method percentile (default 99.99)\n" \
	"  --calib-table=FILE         ranges from that table (mica calibrate makes one) instead of from samples\n" \
	"  --repair=none|all|cle,wmse,center,adaround,bias,depthwise   repairs of the quantized model (default none; docs/quantization.md)\n" \
	"  --activations=symmetric|asymmetric    int8: around zero, or with a zero point (default symmetric)\n" \
	"  --weights=per-channel|per-tensor      scales of the weights (default per-channel)\n" \
	"  --scales=any|pow2          pow2: powers of two only\n" \
	"  --qtable=FILE              formats of single operators: lines 'NAME FORMAT'; bf16-e4m3: activations-weights\n" \
	"  --shape=NAME=D,D,..        shape of an input with free dimensions; may be repeated\n" \
	"  --dim=NAME=N               size of a free dimension, by the name that the model gives it; may be repeated\n" \
	"  --const=NAME=V,V,..|FILE.pb   the input becomes a constant: these numbers (one fills all), or the TensorProto\n" \
	"  --cut=NAME                 the model ends at that tensor or node, which becomes an output; may be repeated\n" \
	"  --cores=N                  1..8 (default 1)\n" \
	"  --lmem=BYTES               local memory per core (default 2M)\n" \
	"  --minimize=time|memory     save memory where it costs at most 1 % of the cycles (default), or at any cost\n" \
	"  --no-pass=NAME,..          leave out steps that save memory: views, in_place, reorder, slice, recompute, residency\n"
struct cli_compile {
	struct mica_compile_options o;
	const char *calib[64];
	unsigned calib_count;
	unsigned augment;		/* samples of each calibration image */
	const char *shapes[64], *dims[64], *cuts[64];
	struct mica_onnx_const consts[64];
};
void cli_compile_init(struct cli_compile *c);
/* For mica_compile_options.progress: cli_progress() */
void cli_compile_progress(void *opaque, const char *stage, unsigned done, unsigned total);

/* ---- calibration data (calib.c) ---- */

struct calib;
/* Opens what --calib names for the inputs of that model. sidecar is the text or NULL. */
int calib_open(const struct cli_compile *c, const char *onnx, const char *sidecar, struct calib **out);
/* The same interface with made-up values, for measurements where accuracy does not matter. */
int calib_synthetic(const char *onnx, const struct cli_compile *c, struct calib **out);
void calib_close(struct calib *cal);
unsigned calib_count(const struct calib *cal);
/* augment.c: variant 0 is the image itself, the others are made from it. 0 or -ENOMEM. */
int augment_image(struct mica_image *img, unsigned sample, unsigned variant);
int calib_load(void *opaque, unsigned sample, const char *input, float *dst, size_t n, struct mica_err *err);

/* ---- files (paths.c) ---- */

struct path_list { char **item; unsigned count; };
/* Files of a folder whose names end in one of ext (NULL-terminated list; NULL: any), sorted. */
int paths_in(const char *dir, const char *const *ext, struct path_list *out);
/* Subfolders, sorted. */
int paths_subfolders(const char *dir, struct path_list *out);
int paths_add(struct path_list *list, const char *path);
void paths_free(struct path_list *list);
bool path_is_dir(const char *path);
bool path_same(const char *a, const char *b);	/* both exist and are one file, also by another name */
bool path_ends(const char *path, const char *ext);	/* not case-sensitive */
const char *path_base(const char *path);
int path_make_dir(const char *path);			/* with its parents */
extern const char *const image_extensions[], *const tensor_extensions[], *const sample_extensions[];

/* A temporary file that is removed at exit and when a signal ends the program. */
int temp_create(const char *suffix, char **path);
void temp_remove(char *path);				/* also frees the path */
void temp_install(void);

/* ---- small things ---- */

double cli_now(void);					/* seconds */
int cli_compare_double(const void *a, const void *b);
struct latency { double min, median, p99; };
struct latency cli_latency(double *samples, size_t n);	/* sorts */
json_object *json_latency(struct latency l);
json_object *json_num(double v);
json_object *json_dims(const uint32_t *dim, unsigned rank);
int json_print(json_object *o);				/* to stdout, frees; exit code */
/* Brings the valid entries of a counted output (mica_session_output_dims) together, in place. */
void cli_crop(float *values, const struct mica_tensor_info *t, const uint32_t *valid);
/* Warns of values far outside of what the input was calibrated for; `what` names them. */
void cli_warn_range(const struct mica_tensor_info *t, const float *values, const char *what);
/* "1x3x416x416" */
const char *dims_text(const struct mica_tensor_info *t, char *buf, size_t size);
extern const char *const cli_format_names[5];		/* e4m3, e5m2, int8, bf16, f32: in the order of cli_formats */
extern const enum mica_dtype cli_formats[5];

#endif /* MICA_CLI_H */
