/* SPDX-License-Identifier: MIT */
/*
 * libmica: run compiled models (.mica) on a MICA accelerator or, with the same bits, on the CPU.
 *
 *	struct mica_device *dev;
 *	struct mica_model *model;
 *	struct mica_session *s;
 *
 *	if (mica_device_open(NULL, &dev) || mica_model_load(dev, "net.mica", &model) ||
 *	    mica_session_create(model, &s) || mica_session_set_input_f32(s, 0, in, in_count) ||
 *	    mica_session_run(s, -1) || mica_session_get_output_f32(s, 0, out, out_count))
 *		errx(1, "%s", mica_error_text());
 *
 * Errors. Functions that can fail return 0 (or a count) or a negative errno, and leave a readable sentence (what, where,
 * remedy) that mica_error_text() returns. Meaning of the numbers:
 *
 *	EINVAL		argument, option, sidecar line		EBADMSG		corrupt or truncated file
 *	ENOENT, EACCES, ...	file or device node		EPROTONOSUPPORT	file, driver, firmware, ISA of another version
 *	EOPNOTSUPP	not supported here			ERANGE		shape or size does not match
 *	ENODEV		no device, or it is gone		ENOPKG		the device has no usable firmware
 *	EIO		the job faulted, or the device is wedged	ETIME	the time is over; the job still runs
 *	ECANCELED	the job was lost in a device reset	E2BIG		the model needs more cores or LMEM
 *	EBUSY		the session has a job in flight		ENOMEM, ENOSPC	out of memory, of context slots
 *
 * Ownership. What an mica_x_open/load/create/alloc returned is given back by the matching close/destroy/free; NULL is
 * accepted there. A session keeps its model alive and a model its device, so the order of closing does not matter.
 * Pointers and strings that are returned belong to the object they were asked of and live as long as it does.
 *
 * Threads. Devices and models may be used by any number of threads at once. A session and a buffer are used by one
 * thread at a time; different sessions, also of one model, run concurrently. Error texts are per thread.
 *
 * Sizes are bytes unless called elements, timeouts nanoseconds from now (negative: no limit), cycles device cycles.
 */
#ifndef MICA_H
#define MICA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <mica/isa.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mica_device;
struct mica_model;
struct mica_session;
struct mica_buffer;
struct mica_sidecar;
struct mica_arena;

#define MICA_MAX_RANK 8

const char *mica_version(void);			/* "0.1.0" */
/* Why the last failed call of this thread failed; "" before the first one. Valid until the thread's next failure. */
const char *mica_error_text(void);

/* ---- devices ------------------------------------------------------------------------------------------------------ */

enum mica_backend {
	MICA_BACKEND_AUTO,			/* the first MICA device, else the CPU */
	MICA_BACKEND_DEVICE,
	MICA_BACKEND_CPU,
};
enum mica_submit {
	MICA_SUBMIT_AUTO,			/* io_uring, or ioctl where the kernel forbids io_uring */
	MICA_SUBMIT_URING,
	MICA_SUBMIT_IOCTL,
};
enum mica_cpu_isa { MICA_CPU_AUTO, MICA_CPU_SCALAR, MICA_CPU_AVX2, MICA_CPU_AVX512 };
enum mica_priority { MICA_PRIORITY_DEFAULT, MICA_PRIORITY_LOW, MICA_PRIORITY_HIGH, MICA_PRIORITY_REALTIME };

struct mica_device_options {
	size_t size;				/* sizeof(struct mica_device_options) */
	enum mica_backend backend;
	const char *path;			/* device node, or NULL: the index-th MICA device */
	unsigned index;
	enum mica_submit submit;		/* device only */
	enum mica_priority priority;		/* of the sessions' contexts; device only; REALTIME needs CAP_SYS_NICE */
	unsigned threads;			/* CPU only, per session; 0 means 1 */
	enum mica_cpu_isa isa;			/* CPU only */
};
#define MICA_DEVICE_OPTIONS_INIT { .size = sizeof(struct mica_device_options) }

/* options may be NULL (all defaults). ENODEV tells why there is no device; ENOPKG that it is there and its firmware is
 * missing or damaged; EPROTONOSUPPORT that driver, firmware or device are of another version. */
int mica_device_open(const struct mica_device_options *options, struct mica_device **out);
void mica_device_close(struct mica_device *dev);

struct mica_device_info {
	enum mica_backend backend;		/* DEVICE or CPU */
	char name[64];				/* "/dev/accel/accel0", "cpu (avx512, 2 threads)" */
	unsigned cores;				/* of the CPU backend: MICA_MAX_CORES, any model fits */
	uint32_t lmem_size;			/* bytes per core; 0 for the CPU: as the model wants it */
	uint32_t mac_rows, mac_cols;		/* MACs a cycle of one core; the CPU backend reports the default device's */
	uint32_t vector_lanes;
	uint32_t dram_bytes_per_cycle;
	uint32_t clock_khz;
	uint32_t hw_version, fw_version, fw_abi, isa_version;	/* 0 where it has no meaning */
	uint32_t driver_major, driver_minor;
	uint32_t resets;			/* device resets since the driver was bound */
	unsigned threads;			/* CPU */
	enum mica_submit submit;		/* what AUTO became; URING or IOCTL on a device */
};
int mica_device_get_info(struct mica_device *dev, struct mica_device_info *info);

/* Nodes of MICA devices that this process may open, at most max of them; returns how many there are. */
struct mica_device_node { char path[32]; };
unsigned mica_device_list(struct mica_device_node *list, unsigned max);
/* The best instruction set of this CPU that MICA has kernels for. */
enum mica_cpu_isa mica_cpu_isa_best(void);
const char *mica_cpu_isa_name(enum mica_cpu_isa isa);

/*
 * Jobs of one empty stream each, `depth` of them in flight, for about `seconds`. latency_us (room for max_samples, may be
 * NULL) receives the time from submission to completion of each job; *samples how many were stored.
 */
struct mica_null_result { uint64_t jobs; double seconds; };
int mica_device_null_jobs(struct mica_device *dev, unsigned depth, double seconds, struct mica_null_result *result,
			  double *latency_us, size_t max_samples, size_t *samples);

/* ---- buffers: memory that sessions can read and write without copies -------------------------------------------------- */

/* Zeroed, page-aligned, mapped. */
int mica_buffer_alloc(struct mica_device *dev, size_t size, struct mica_buffer **out);
/* Wraps a dma-buf (on the CPU backend any mappable file). The descriptor stays the caller's. */
int mica_buffer_import(struct mica_device *dev, int fd, size_t size, struct mica_buffer **out);
/* Returns a new dma-buf descriptor, close-on-exec. EOPNOTSUPP on the CPU backend. */
int mica_buffer_export(struct mica_buffer *b);
void mica_buffer_free(struct mica_buffer *b);
void *mica_buffer_map(struct mica_buffer *b);	/* never NULL */
size_t mica_buffer_size(const struct mica_buffer *b);

/* ---- models ------------------------------------------------------------------------------------------------------------ */

/* dev NULL: the file is only checked and can be looked at, no session can be made of it. */
int mica_model_load(struct mica_device *dev, const char *path, struct mica_model **out);
/* data is copied. */
int mica_model_load_memory(struct mica_device *dev, const void *data, size_t size, struct mica_model **out);
void mica_model_close(struct mica_model *m);

struct mica_tensor_info {
	const char *name;
	enum mica_dtype dtype;			/* of the codes */
	unsigned rank;
	uint32_t dim[MICA_MAX_RANK];		/* in the ONNX model's own order */
	float scale;				/* value = (code - zero) * scale */
	int32_t zero;
	size_t elements;
	size_t bytes;				/* of the codes */
	int counted_axis;			/* outputs: the data decide how many entries along this axis are valid
						 * (mica_session_output_dims); -1: all are */
	float range_min, range_max;		/* inputs: of the calibration samples, or what 8-bit codes hold. Both 0: not known */
};
/*
 * How many values of an input lie outside of its range by more than `margin` of the range's width; *worst (may be NULL) is the one
 * farthest outside. 0 when the range is not known. Values that are no numbers count. Such values are clipped, or are at least
 * unlike what the model was calibrated with: results suffer.
 */
size_t mica_tensor_outside(const struct mica_tensor_info *t, const float *values, size_t elements, float margin, float *worst);
unsigned mica_model_input_count(const struct mica_model *m);
unsigned mica_model_output_count(const struct mica_model *m);
/* NULL (and EINVAL's text) when the index is too large. */
const struct mica_tensor_info *mica_model_input(const struct mica_model *m, unsigned index);
const struct mica_tensor_info *mica_model_output(const struct mica_model *m, unsigned index);
/* Index of the tensor of that name, or -ENOENT. */
int mica_model_find_input(const struct mica_model *m, const char *name);
int mica_model_find_output(const struct mica_model *m, const char *name);

struct mica_model_info {
	const char *name, *producer, *format, *method;
	uint32_t isa_version;
	unsigned cores;				/* one stream each */
	uint32_t lmem_size;			/* bytes per core */
	uint64_t arena_size, weights_size, stream_size, macs;
	unsigned layers;
	unsigned plan_entries;
	uint64_t arena_peak, arena_lower_bound, arena_no_reuse, lmem_peak, lmem_lower_bound;
	unsigned phases;			/* jobs with host steps between them; 1 for most models */
	unsigned host_steps;			/* layers that libmica computes on the host */
	uint64_t host_bytes;			/* that they read and write: what their time goes by */
	const char *sidecar;			/* docs/sidecar.md; "" when there is none */
	const char *graph;			/* the IR after the last pass, as text */
};
void mica_model_get_info(const struct mica_model *m, struct mica_model_info *info);

struct mica_layer_info { const char *name, *op, *format; uint64_t macs; };
int mica_model_layer(const struct mica_model *m, unsigned index, struct mica_layer_info *info);
/* Where the compiler put a tensor: space 0 is the DRAM arena, 1 LMEM; live in the layers first..last. */
struct mica_plan_info { const char *name; unsigned space, first, last; uint64_t offset, size; };
int mica_model_plan_entry(const struct mica_model *m, unsigned index, struct mica_plan_info *info);
/*
 * What the compiler saved. Bytes of DRAM that intermediate values take, the model's inputs and outputs apart. The unfused_ figures are for the
 * model as its file has it: every node's result a buffer, nodes in file order (0 buffers: not known). all_: as if nothing lived in LMEM.
 */
struct mica_memory_info {
	unsigned unfused_buffers;
	uint64_t unfused_no_reuse, unfused_first_fit, unfused_best_fit, unfused_planned, unfused_lower_bound;
	uint64_t all_peak, all_lower_bound;
	unsigned savings;			/* steps that lower the peak, in order */
};
void mica_model_get_memory(const struct mica_model *m, struct mica_memory_info *info);
/* One of those steps: peaks as all_peak; arenas and cycles of whole compilations where the compiler had to choose, else 0. */
struct mica_saving_info {
	const char *name;
	bool on;				/* not left out by --no-pass */
	bool taken;				/* else it does not pay: ..._after is what it would lead to, or equal to ..._before */
	uint64_t peak_before, peak_after, lower_bound_after, macs_before, macs_after, arena_before, arena_after, cycles_before, cycles_after;
};
int mica_model_saving(const struct mica_model *m, unsigned index, struct mica_saving_info *info);
/* A core's commands (mica/isa.h) in the first phase, 64-byte aligned. */
int mica_model_stream(const struct mica_model *m, unsigned core, const void **commands, size_t *size);
/* Models with operators that the device has no engine for run in phases: a job, then host steps (mica/host.def). A phase
 * without a job has streams of size 0. */
unsigned mica_model_phase_count(const struct mica_model *m);
int mica_model_phase_stream(const struct mica_model *m, unsigned phase, unsigned core, const void **commands, size_t *size);
unsigned mica_model_phase_host_steps(const struct mica_model *m, unsigned phase);
struct mica_host_step_info {
	const char *name;			/* "gather" */
	unsigned layer;
	uint64_t bytes;				/* read and written */
	char text[1024];			/* operands and attributes, one line */
};
int mica_model_host_step(const struct mica_model *m, unsigned phase, unsigned index, struct mica_host_step_info *info);

/* ---- sessions ---------------------------------------------------------------------------------------------------------- */

int mica_session_create(struct mica_model *m, struct mica_session **out);
/*
 * An arena is DRAM for intermediate values that sessions of any models of a device share because they never run at the same
 * time: as large as the largest of them needs. While one of its sessions has a job in flight, submit and run of the others fail
 * with EBUSY, as does the creation of a session that makes the arena grow; nothing waits. Sessions keep the arena alive.
 * Results are those of a session of its own; the CPU backend cannot leave copies out for models that use an arena, so they run somewhat slower.
 */
int mica_arena_create(struct mica_device *dev, struct mica_arena **out);
void mica_arena_destroy(struct mica_arena *a);
size_t mica_arena_size(struct mica_arena *a);	/* bytes now; 0 before the first session that needs any */
/* As mica_session_create, with intermediate values in the arena (of the model's device: else EINVAL). */
int mica_session_create_in(struct mica_model *m, struct mica_arena *a, struct mica_session **out);
/* Waits for a job in flight (the CPU backend stops it early). */
void mica_session_destroy(struct mica_session *s);

/* f32 values, as many as the tensor has elements (else ERANGE), quantized into the session's input. */
int mica_session_set_input_f32(struct mica_session *s, unsigned index, const float *values, size_t elements);
int mica_session_set_input_codes(struct mica_session *s, unsigned index, const void *codes, size_t bytes);
int mica_session_get_output_f32(struct mica_session *s, unsigned index, float *values, size_t elements);
/* The codes themselves, to be filled or read in place while no job is in flight. NULL when the index is too large. */
void *mica_session_input(struct mica_session *s, unsigned index);
const void *mica_session_output(struct mica_session *s, unsigned index);
/* Let the job read or write a buffer of the same device, from offset (a multiple of 64) on, instead of the session's own
 * memory; buffer NULL goes back to that. The buffer must outlive the binding. */
int mica_session_bind_input(struct mica_session *s, unsigned index, struct mica_buffer *b, size_t offset);
int mica_session_bind_output(struct mica_session *s, unsigned index, struct mica_buffer *b, size_t offset);

/* The output's shape; where its counted_axis is not -1, the number of entries that are valid after the last run (ENODATA
 * before the first; it may be 0) along that axis: the output itself has room for the most there can be, the rest is filled. */
int mica_session_output_dims(struct mica_session *s, unsigned index, uint32_t dim[MICA_MAX_RANK]);

/* Starts a job; EBUSY while the one before has not been waited for. */
int mica_session_submit(struct mica_session *s);
/* Until the job has ended: 0, or why it failed. ETIME: it still runs, wait again. EINVAL: nothing was submitted. */
int mica_session_wait(struct mica_session *s, int64_t timeout_ns);
/* Both; on a device by io_uring with one system call. No memory is allocated from the second run on. */
int mica_session_run(struct mica_session *s, int64_t timeout_ns);
/* A descriptor that polls readable when the submitted job has ended (then call wait). The session closes it. */
int mica_session_eventfd(struct mica_session *s);
/* Why the session's last job failed; "" if it did not. */
const char *mica_session_error(const struct mica_session *s);

/* Of the last job that ended well. CPU: the device's cycle model, so an estimate for the default device. ENODATA before. */
int mica_session_stats(struct mica_session *s, struct mica_job_stats *stats);
/* Nanoseconds that the last run spent in host steps; 0 for models without. */
uint64_t mica_session_host_ns(struct mica_session *s);
/* The same per layer; returns the number of layers, at most max are stored. */
int mica_session_layer_stats(struct mica_session *s, struct mica_layer_stats *layers, unsigned max);

/* ---- arrays and data sets on disk --------------------------------------------------------------------------------------- */

struct mica_array {
	char descr[8];				/* NumPy type: "<f4", "|u1", ... */
	unsigned rank;
	uint64_t dim[MICA_MAX_RANK];
	size_t elements;
	size_t item;				/* bytes of an element */
	void *data;				/* C order, little endian */
};
/* .npy, versions 1 to 3. Fortran order, structured and big-endian types are refused (EOPNOTSUPP) with a remedy. */
int mica_npy_load(const char *path, struct mica_array *out);
/* Writes atomically (temporary file, rename). */
int mica_npy_save(const char *path, const struct mica_array *a);
/* Elements first.. of any numeric type as f32. Floats are rounded, an integer that f32 does not hold is refused (ERANGE). */
int mica_array_to_f32(const struct mica_array *a, size_t first, size_t count, float *dst);
/* Headerless f32, little endian. */
int mica_bin_load(const char *path, struct mica_array *out);
/* IDX as MNIST uses it (unsigned bytes), also compressed by gzip. */
int mica_idx_load(const char *path, struct mica_array *out);
void mica_array_free(struct mica_array *a);

/* ---- images ------------------------------------------------------------------------------------------------------------- */

struct mica_image {
	uint32_t width, height;
	uint32_t channels;			/* 3 (R, G, B) or 1 */
	uint8_t *data;				/* rows top to bottom, dense */
};
/* JPEG or PNG, told apart by content; at most 2^28 pixels. */
int mica_image_load(const char *path, struct mica_image *out);
int mica_image_decode(const void *data, size_t size, const char *name, struct mica_image *out);
int mica_image_save_png(const char *path, const struct mica_image *img);
void mica_image_free(struct mica_image *img);
/* Rectangle and text (ASCII, drawn in capitals) in color 0xRRGGBB; clipped to a 3-channel image. */
void mica_image_rect(struct mica_image *img, int x0, int y0, int x1, int y1, unsigned thickness, uint32_t color);
void mica_image_text(struct mica_image *img, int x, int y, const char *text, unsigned scale, uint32_t color,
		     uint32_t background);

/* ---- pre- and postprocessing: docs/sidecar.md ------------------------------------------------------------------------------ */

int mica_sidecar_parse(const char *text, struct mica_sidecar **out);
void mica_sidecar_free(struct mica_sidecar *sc);
/* The name of the described input, or NULL: the model's only one. */
const char *mica_sidecar_input(const struct mica_sidecar *sc);
/* Whether the model, whose inputs have these names, has it: 0 or -EINVAL with a text that names the line and the inputs. */
int mica_sidecar_check_input(const struct mica_sidecar *sc, const char *const *names, unsigned count);
const char *mica_sidecar_decode(const struct mica_sidecar *sc);		/* "none", "classes" or "nanodet" */
unsigned mica_sidecar_label_count(const struct mica_sidecar *sc);
const char *mica_sidecar_label(const struct mica_sidecar *sc, unsigned index);	/* "class 7" style text when unknown */

/* How the image lies in the input: image x = (input x - dx) / sx. */
struct mica_placement { float sx, sy, dx, dy; uint32_t width, height; };
/* Resizes, reorders and normalizes img into dst (the shape dim[rank], batch 1); where may be NULL. */
int mica_preprocess(const struct mica_sidecar *sc, const struct mica_image *img, const uint32_t *dim, unsigned rank,
		    float *dst, size_t elements, struct mica_placement *where);

struct mica_detection { unsigned label; float score; float x0, y0, x1, y1; };	/* in pixels of the original image */
struct mica_class { unsigned label; float score; };
/* outputs[i]: f32 values of the model's i-th output. Best first; returns how many there are, at most max are stored. */
int mica_decode_detections(const struct mica_sidecar *sc, const struct mica_model *m, const float *const *outputs,
			   const struct mica_placement *where, struct mica_detection *list, unsigned max);
int mica_decode_classes(const struct mica_sidecar *sc, const struct mica_model *m, const float *const *outputs,
			struct mica_class *list, unsigned max);
/* Boxes with labels, one color per class. */
void mica_draw_detections(struct mica_image *img, const struct mica_sidecar *sc, const struct mica_detection *list,
			  unsigned count);

#ifdef __cplusplus
}
#endif

#endif /* MICA_H */
