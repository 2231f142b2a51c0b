/* SPDX-License-Identifier: MIT */
/*
 * What the files of the compiler's back half share. Order of work: alias.c decides which values are views of others,
 * tile.c and schedule.c what lives in LMEM and how each step is cut, lower*.c turn one operator and a region of its output
 * into packets, emit.c orders them by waits and barriers, verify_stream.c checks the result, container.c writes the file.
 */
#ifndef MICA_BACKEND_H
#define MICA_BACKEND_H

#include "front.h"

struct mica_compiled;

/* ---- regions and views ---- */

#define BE_MAX_AXES (2 * IR_MAX_RANK)	/* of a copy, before neighbouring axes are merged */

/* A box of a value, in the value's own dims. */
struct be_box { int64_t at[IR_MAX_RANK], len[IR_MAX_RANK]; };
/* Where a box lies: address (segment << 56 | offset) of its first element, byte strides by the value's own dims. */
struct be_view { uint64_t addr; int64_t stride[IR_MAX_RANK]; };

struct be_box be_whole(const struct ir_value *v);
bool be_empty(const struct be_box *b, unsigned rank);
int64_t be_volume(const struct be_box *b, unsigned rank);
bool be_same_box(const struct be_box *a, const struct be_box *b, unsigned rank);
void be_dense(const struct ir_value *v, const int64_t *len, int64_t *stride);	/* row-major strides of a block of len */
uint64_t be_at(const struct be_view *v, const struct be_box *b, unsigned rank);	/* address of the box's first element, v being the whole value */
/* Address + bytes; the segment stays. */
static inline uint64_t be_addr_add(uint64_t addr, int64_t bytes)
{
	return (addr & ~MICA_ADDR_OFFSET_MASK) | ((addr + (uint64_t)bytes) & MICA_ADDR_OFFSET_MASK);
}

/* ---- blob.c: the constants of a model, segment 0. Entries are 64-byte aligned and stored once. ---- */

struct be_blob {
	uint8_t *data;
	size_t size, cap;
	struct blob_entry *entry;	/* hash table of contents */
	unsigned entries, slots;
	struct blob_key *key;		/* what has been asked for already: (object, kind, range) -> offset */
	unsigned keys, key_slots;
};
void be_blob_init(struct be_blob *b);
void be_blob_fini(struct be_blob *b);
uint64_t be_blob_add(struct be_blob *b, const void *data, size_t size);
bool be_blob_find(const struct be_blob *b, const void *what, int kind, int64_t lo, int64_t len, uint64_t *off);
void be_blob_name(struct be_blob *b, const void *what, int kind, int64_t lo, int64_t len, uint64_t off);
uint64_t be_blob_const(struct be_blob *b, const struct ir_value *v);	/* a constant's codes as they are */

/* ---- lower*.c: one operator, a box of its output -> packets ---- */

struct be_packets { union mica_pkt *pkt; unsigned count, cap; };
union mica_pkt *be_packet(struct be_packets *l, enum mica_opcode op, unsigned layer);	/* zeroed but for the header */

struct be_lower {
	struct ir_graph *g;
	struct be_blob *blob;
	struct be_packets *out;
	unsigned layer;
};

bool be_is_move(const struct ir_op *op);		/* moves codes: done by COPY from anywhere to anywhere, never tiled */
bool be_is_dwconv(const struct ir_op *op);
bool be_streams(const struct ir_op *op, unsigned i);	/* operand i is read from the blob, not from LMEM */
/* The box of operand i that the box `out` of the output needs. Moves: a bounding box. */
void be_need(const struct ir_op *op, unsigned i, const struct be_box *out, struct be_box *in);
/* Cutting the output along axis i is allowed at multiples of gran[i]; 0: not at all. */
void be_granules(const struct ir_op *op, int64_t gran[IR_MAX_RANK]);
/* Cuts `box` down, in place, until one packet's fields can hold it. False when that is impossible. */
bool be_fit_fields(const struct ir_op *op, struct be_box *box);

/*
 * Compute operators: in[i] and out lie in LMEM and show the boxes that be_need() gives and `box`.
 * 0 or -code with g->err naming the node.
 */
int be_lower_op(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_view *in,
		const struct be_view *out);
/*
 * Moves: views show whole values, anywhere. skip bit i: operand i of CONCAT, or the inside of PAD, is in place already.
 */
int be_lower_move(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_view *in,
		  const struct be_view *out, const bool *skip);
/* A strided copy of `rank` axes; as many packets as it takes. */
void be_lower_copy(struct be_lower *l, uint64_t src, const int64_t *sstride, uint64_t dst, const int64_t *dstride,
		   unsigned rank, const int64_t *len, unsigned elem);

/* The layout of `out` as a view of `in` or the reverse; false when no strides can express it. (lower_move.c) */
bool be_view_of_in(const struct ir_op *op, const struct be_view *in, struct be_view *out);	/* TRANSPOSE SLICE RESHAPE EXPAND */
bool be_view_of_out(const struct ir_op *op, unsigned i, const struct be_view *out, struct be_view *in);	/* TRANSPOSE RESHAPE CONCAT PAD */
/* Re-cuts strides from dims `from` to dims `to` of the same volume. */
bool be_restride(unsigned from_rank, const int64_t *from, const int64_t *stride, unsigned to_rank, const int64_t *to,
		 int64_t elem, int64_t *out);

/* internal to lower*.c */
void be_operand(struct mica_view *mv, const struct ir_value *v, const struct be_view *bv, bool dst);
unsigned be_merge(unsigned rank, const int64_t *len, unsigned n, const int64_t *const *stride, int64_t *olen, int64_t (*ostride)[BE_MAX_AXES]);
int be_lower_conv(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_view *in, const struct be_view *out);
int be_lower_matmul(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_view *in, const struct be_view *out);
int be_lower_vec(struct be_lower *l, const struct ir_op *op, const struct be_box *box, const struct be_view *in, const struct be_view *out);
int be_op_err(struct ir_graph *g, const struct ir_op *op, enum mica_err_code code, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static inline float be_finite(float x) { return x > 3.4028234e38f ? 3.4028234e38f : x < -3.4028234e38f ? -3.4028234e38f : x; }

/* ---- unfused.c: what other planners would need ---- */

struct be_baselines { unsigned buffers; uint64_t no_reuse, first_fit, best_fit, planned, lower; };
void be_baselines(const struct ir_graph *g, enum mica_dtype format, struct be_baselines *out);

/* ---- the state of one compilation ---- */

enum be_space { BE_LMEM, BE_ARENA, BE_IO, BE_CONST };

struct be_buf {				/* storage of one value or of several that are views of it */
	enum be_space space;
	const struct ir_value *root;
	uint64_t size;
	uint64_t offset;		/* in LMEM, the arena, or segment */
	unsigned segment;		/* IO, CONST */
	unsigned first, last;		/* steps, both inclusive */
	uint64_t traffic;		/* bytes that steps move in and out of it: what eviction costs */
};

struct be_value {			/* by value id */
	int buf;			/* index, or -1: nobody needs it stored */
	int group;
	bool full;			/* covers the whole buffer */
	bool laid;			/* rel is known */
	struct be_view rel;		/* addr: byte offset within the buffer */
	struct be_box need[MICA_MAX_CORES];	/* what each core reads of it */
};

#define BE_OUT IR_MAX_IN		/* index of the output among a step's operands */
#define BE_OPERANDS (IR_MAX_IN + 1)

struct be_tiling {
	int64_t len[IR_MAX_RANK];	/* tile of the output, the last ones along an axis are smaller */
	unsigned tiles;			/* of the core that has most */
	unsigned instances[BE_OPERANDS];	/* 0: not staged; 2: double-buffered */
	uint64_t size[BE_OPERANDS];	/* of one instance */
	uint64_t offset[BE_OPERANDS][2];	/* in LMEM */
};

struct be_step {
	struct ir_op *op;
	bool view;			/* out is a view of operand 0: nothing to do */
	bool bar_view;
	bool *in_place, *bar_place;	/* by operand: its producer has written it inside out already */
	struct be_box part[MICA_MAX_CORES];	/* of out, disjoint; empty: that core has nothing to do */
	bool replicated;		/* in LMEM every core makes what it needs itself, nothing is exchanged */
	struct be_tiling t;
};

/* A job, then host steps. Streams of all phases stand one behind the other, each with its END. */
struct be_phase {
	bool device;			/* there is a job */
	unsigned packets[MICA_MAX_CORES];	/* in front of it */
	size_t at[MICA_MAX_CORES];	/* bytes in front of it */
	unsigned host, hosts;		/* first and number, in be_state.host */
};

struct be_state {
	struct ir_graph *g;
	const struct mica_compile_options *o;
	unsigned cores;
	uint32_t lmem;
	struct be_step *step;
	unsigned steps;
	struct be_value *value;
	unsigned values;
	struct be_buf *buf;
	unsigned bufs;
	struct be_blob blob;
	struct mica_host_step *host;
	unsigned hosts;
	struct be_phase *phase;
	unsigned phases;
	uint64_t arena_size, arena_lower, arena_no_reuse, lmem_peak, lmem_lower;
	struct be_emit *emit;
};

void be_state_init(struct be_state *b, struct ir_graph *g, const struct mica_compile_options *o);
void be_state_fini(struct be_state *b);

bool be_done_by_views(const struct be_step *s);	/* no packet is needed for it */
struct be_box be_part(const struct be_state *b, const struct be_step *s, unsigned core);	/* what the core makes of out */
static inline bool be_in_dram(const struct be_state *b, const struct ir_value *v)
{
	return b->buf[b->value[v->id].buf].space != BE_LMEM;
}
struct be_view be_place_of(const struct be_state *b, const struct ir_value *v);	/* of the whole value */

int be_alias(struct be_state *b);		/* alias.c: groups of values that share a buffer, and their layouts */
void be_live(struct be_state *b);		/* place.c: live ranges of the buffers, and what would move them */
/* Buffers whose place the step's result may take if they die there. */
unsigned be_over(const struct be_state *b, unsigned step, int over[IR_MAX_IN]);
void be_in_place(struct be_state *b);		/* in_place.c: results over operands that die there */
int be_place(struct be_state *b);		/* place.c: which buffers live in LMEM; offsets everywhere; tilings */
void be_split(struct be_state *b);		/* split.c: the cores' parts of every step, and what each core needs */
int be_schedule(struct be_state *b);		/* schedule.c: packets of all steps into b->emit */

/* tile.c: occupied ranges of LMEM during a step, sorted by offset. */
struct be_range { uint64_t at, size; };
bool be_staged(const struct be_state *b, const struct be_step *s, unsigned operand);
/* The least staging the step can run with; the bytes it would like. False: no tiling at all. */
bool be_tile_least(const struct be_state *b, const struct be_step *s, uint64_t *least, uint64_t *like);
/* The best tiling whose buffers fit between the occupied ranges. */
bool be_tile_fit(const struct be_state *b, struct be_step *s, const struct be_range *busy, unsigned n);

/* ---- emit.c: streams, waits, barriers ---- */

struct be_emit;
struct be_emit *be_emit_new(unsigned cores);
void be_emit_free(struct be_emit *e);
/* One step: packets per core, in order. Inserts a barrier in front when the cores would meet in memory. */
void be_emit_step(struct be_emit *e, struct be_packets *core);
/* A place where LMEM is dead. */
void be_emit_checkpoint(struct be_emit *e, unsigned layer);
/* The end of a stream; another may follow. */
void be_emit_end(struct be_emit *e, unsigned layer);
const struct be_packets *be_emit_stream(const struct be_emit *e, unsigned core);

/* ---- memory.c: the steps that lower the peak, and what each is worth ---- */

struct be_figures {
	uint64_t peak, lower;		/* of all intermediate values in DRAM, planned; and the bound */
	uint64_t arena, cycles;		/* of a whole compilation; 0 when nobody needed to know */
	uint64_t macs;
};
struct be_gain { bool on, taken; struct be_figures before, after; };
struct be_memory {
	struct be_baselines base;
	struct be_gain gain[MICA_SAVINGS];
	struct be_figures all;		/* of what has been compiled */
};
int be_reorder(struct ir_graph *g, const struct mica_compile_options *o, bool *changed);	/* reorder.c */
int be_slice(struct ir_graph *g, const struct mica_compile_options *o, bool *changed);	/* slice.c */
int be_recompute(struct ir_graph *g, const struct mica_compile_options *o, bool *changed);	/* recompute.c */
/* The planned peak alone; no_pass is left out besides what o leaves out. */
int be_measure(struct ir_graph *g, const struct mica_compile_options *o, unsigned no_pass, struct be_figures *f);
/* Changes the graph as far as the options ask for and it pays, and the options where a step does not pay; fills m. done: best is the compilation. */
int be_lower_peak(struct ir_graph *g, struct mica_compile_options *o, struct be_memory *m, struct mica_compiled *best, bool *done);
/* Streams without the verifier, arena and cycles. 0 or -code; mica_compiled_fini in any case. */
int be_try(struct ir_graph *g, const struct mica_compile_options *o, struct mica_compiled *c, struct be_figures *f);
void be_residency_gain(const struct be_state *b, struct be_memory *m);	/* once everything has its place */
/* ---- the result, in memory ---- */

struct mica_compiled {
	struct ir_graph *g;		/* borrowed */
	unsigned cores;
	uint32_t lmem;
	uint64_t arena_size;
	uint8_t *stream[MICA_MAX_CORES];
	size_t stream_size[MICA_MAX_CORES];
	uint32_t packets;
	char **output_name;
	struct be_state state;
	struct be_memory memory;
};
/* Device dialect -> streams, verified. The graph may get copies in front of its outputs. 0 or -code. */
int mica_backend_compile(struct ir_graph *g, const struct mica_compile_options *o, struct mica_compiled *c);
void mica_compiled_fini(struct mica_compiled *c);
/* The first job of a compiled model: streams, limits and segment sizes; memory is the caller's. */
void mica_compiled_job(const struct mica_compiled *c, struct mica_job *job);
/* The same for the job of a phase. */
void mica_compiled_phase(const struct mica_compiled *c, unsigned phase, struct mica_job *job);
size_t be_phase_size(const struct mica_compiled *c, unsigned phase, unsigned core);	/* bytes of its stream */

/* verify_stream.c: 0, or -MICA_ERR_INTERNAL with what is wrong. */
int be_verify(const struct mica_compiled *c, struct mica_err *err);
/* container.c */
int be_write(const struct mica_compiled *c, const struct mica_compile_options *o, const char *path);
/* cycles.c: layer may be NULL, else one record per step */
int be_cycles(const struct mica_compiled *c, struct mica_job_stats *stats, struct mica_layer_stats *layer);
/* report.c */
int be_report(const struct mica_compiled *c, const struct mica_compile_options *o);

#endif /* MICA_BACKEND_H */
