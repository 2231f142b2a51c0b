// SPDX-License-Identifier: MIT
/* Construction of the IR: graphs, values, operators, and the use lists between them. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "front.h"

/* ---- memory and names ---- */

void *ir_alloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size ? size : 1);

	if (!p) {
		fprintf(stderr, "mica: out of memory (%zu x %zu bytes)\n", n, size);
		abort();
	}
	return p;
}

void *ir_grow(void *p, unsigned *cap, unsigned need, size_t size)
{
	unsigned c = *cap ? *cap : 4;

	if (need <= *cap)
		return p;
	while (c < need)
		c = c > UINT32_MAX / 2 ? UINT32_MAX : c * 2;
	p = realloc(p, (size_t)c * size);
	if (!p)
		abort();
	*cap = c;
	return p;
}

char *ir_strdup(const char *s)
{
	size_t n = strlen(s) + 1;

	return memcpy(ir_alloc(n, 1), s, n);
}

/* Open hash map from name to value. */
struct names {
	struct ir_value **slot;
	size_t cap, used; /* cap is a power of two; used counts tombstones too */
	unsigned serial;
};
static struct ir_value tomb;

static uint64_t hash(const char *s)
{
	uint64_t h = 1469598103934665603ull;

	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * 1099511628211ull;
	return h ^ h >> 29;
}

/* The slot that holds the name, or where it may be put. */
static struct ir_value **names_slot(const struct names *t, const char *s)
{
	struct ir_value **free_slot = NULL;

	for (size_t i = hash(s);; i++) {
		struct ir_value **slot = &t->slot[i & (t->cap - 1)];

		if (!*slot)
			return free_slot ? free_slot : slot;
		if (*slot == &tomb) {
			if (!free_slot)
				free_slot = slot;
		} else if (!strcmp((*slot)->name, s)) {
			return slot;
		}
	}
}

static void names_add(struct names *t, struct ir_value *v)
{
	struct ir_value **slot;

	if (t->used * 2 >= t->cap) {
		struct names old = *t;

		t->cap = old.cap * 2;
		t->used = 0;
		t->slot = ir_alloc(t->cap, sizeof(*t->slot));
		for (size_t i = 0; i < old.cap; i++)
			if (old.slot[i] && old.slot[i] != &tomb)
				names_add(t, old.slot[i]);
		free(old.slot);
	}
	slot = names_slot(t, v->name);
	t->used += !*slot;
	*slot = v;
}

struct ir_value *ir_value_find(const struct ir_graph *g, const char *name)
{
	struct ir_value *v = *names_slot(g->names, name);

	return v == &tomb ? NULL : v;
}

static char *unique_name(struct ir_graph *g, const char *want)
{
	struct names *t = g->names;
	size_t n = (want ? strlen(want) : 1) + 16;
	char *s;

	if (want && *want && !ir_value_find(g, want))
		return ir_strdup(want);
	s = ir_alloc(n, 1);
	do
		snprintf(s, n, "%s.%u", want && *want ? want : "t", ++t->serial);
	while (ir_value_find(g, s));
	return s;
}

/* ---- graph ---- */

struct ir_graph *ir_graph_new(const char *name, struct mica_err *err)
{
	struct ir_graph *g = ir_alloc(1, sizeof(*g));
	struct names *t = ir_alloc(1, sizeof(*t));

	t->cap = 256;
	t->slot = ir_alloc(t->cap, sizeof(*t->slot));
	g->names = t;
	g->name = ir_strdup(name ? name : "");
	g->err = err;
	return g;
}

/* Threads have graphs of their own that share constants. */
static pthread_mutex_t holding = PTHREAD_MUTEX_INITIALIZER;

void ir_value_share(struct ir_value *v, struct ir_value *with)
{
	pthread_mutex_lock(&holding);
	if (!v->holders) {
		v->holders = ir_alloc(1, sizeof(*v->holders));
		*v->holders = 1;
	}
	++*v->holders;
	pthread_mutex_unlock(&holding);
	with->holders = v->holders;
	with->data = v->data;
}

void ir_value_drop(struct ir_value *v)
{
	bool last = true;

	pthread_mutex_lock(&holding);
	if (v->holders)
		last = !--*v->holders;
	pthread_mutex_unlock(&holding);
	if (last) {
		free(v->holders);
		free(v->data);
	}
	v->holders = NULL;
	v->data = NULL;
}

static void value_free(struct ir_value *v)
{
	free(v->name);
	free(v->ch_scale);
	ir_value_drop(v);
	free(v->use);
	free(v);
}

static void op_free(struct ir_op *op)
{
	free(op->name);
	free(op->onnx_type);
	free(op->out);
	free(op->more);
	free(op->a.taps_h);
	free(op->a.taps_w);
	free(op);
}

void ir_graph_free(struct ir_graph *g)
{
	if (!g)
		return;
	for (struct ir_op *op = g->first, *next; op; op = next) {
		next = op->next;
		op_free(op);
	}
	for (unsigned i = 0; i < g->values; i++)
		if (g->value[i])
			value_free(g->value[i]);
	if (g->import_free)
		g->import_free(g->import);
	for (unsigned i = 0; i < g->unfuseds; i++)
		free(g->unfused[i].name);
	free(g->unfused);
	for (unsigned i = 0; g->output_name && i < g->outputs; i++)
		free(g->output_name[i]);
	free(g->output_name);
	quality_free(g->quality);
	ir_graph_free(g->reference);
	free(((struct names *)g->names)->slot);
	free(g->names);
	free(g->value);
	free(g->input);
	free(g->output);
	free(g->name);
	free(g);
}

/* ---- values ---- */

struct ir_value *ir_value_new(struct ir_graph *g, const char *name, int dtype, unsigned rank,
			      const int64_t *dim)
{
	struct ir_value *v = ir_alloc(1, sizeof(*v));

	v->id = g->values;
	v->name = unique_name(g, name);
	v->dtype = dtype;
	v->rank = rank;
	v->scale = 1;
	if (rank)
		memcpy(v->dim, dim, rank * sizeof(*dim));
	g->value = ir_grow(g->value, &g->value_cap, g->values + 1, sizeof(*g->value));
	g->value[g->values++] = v;
	names_add(g->names, v);
	return v;
}

struct ir_value *ir_const_new(struct ir_graph *g, const char *name, int dtype, unsigned rank,
			      const int64_t *dim, const void *data)
{
	struct ir_value *v = ir_value_new(g, name, dtype, rank, dim);
	size_t bytes = ir_bytes(v);

	v->data = ir_alloc(bytes + 8, 1);
	if (data)
		memcpy(v->data, data, bytes);
	return v;
}

void ir_value_remove(struct ir_graph *g, struct ir_value *v)
{
	*names_slot(g->names, v->name) = &tomb;
	g->value[v->id] = NULL;
	value_free(v);
}

static void use_add(struct ir_value *v, struct ir_op *op)
{
	v->use = ir_grow(v->use, &v->use_cap, v->uses + 1, sizeof(*v->use));
	v->use[v->uses++] = op;
}

static void use_drop(struct ir_value *v, struct ir_op *op)
{
	for (unsigned i = v->uses; i-- > 0;) {
		if (v->use[i] != op)
			continue;
		v->use[i] = v->use[--v->uses];
		return;
	}
}

int64_t ir_elements(const struct ir_value *v)
{
	int64_t n = 1;

	for (unsigned i = 0; i < v->rank; i++)
		n *= v->dim[i];
	return n;
}

bool ir_same_dims(const struct ir_value *a, const struct ir_value *b)
{
	return a->rank == b->rank && !memcmp(a->dim, b->dim, a->rank * sizeof(*a->dim));
}

bool ir_dims_ok(unsigned rank, const int64_t *dim, int64_t limit)
{
	int64_t n = 1;

	for (unsigned i = 0; i < rank; i++) {
		if (dim[i] < 0)
			return false;
		if (dim[i] && __builtin_mul_overflow(n, dim[i], &n))
			return false;
		if (n > limit)
			return false;
	}
	return true;
}

/* ---- types ---- */

static const struct {
	int dtype;
	unsigned size;
	const char *name;
} ext_types[] = {
	{ IR_I64, 8, "i64" }, { IR_F64, 8, "f64" }, { IR_BOOL, 1, "bool" },
	{ IR_F16, 2, "f16" }, { IR_I16, 2, "i16" }, { IR_U16, 2, "u16" },
	{ IR_U32, 4, "u32" }, { IR_U64, 8, "u64" }, { IR_STRING, 1, "string" }, { IR_SEQUENCE, 1, "sequence" },
};

size_t ir_dtype_size(int dtype)
{
	for (size_t i = 0; i < sizeof(ext_types) / sizeof(*ext_types); i++)
		if (ext_types[i].dtype == dtype)
			return ext_types[i].size;
	return mica_dtype_size(dtype);
}

const char *ir_dtype_name(int dtype)
{
	for (size_t i = 0; i < sizeof(ext_types) / sizeof(*ext_types); i++)
		if (ext_types[i].dtype == dtype)
			return ext_types[i].name;
	return mica_dtype_name(dtype);
}

size_t ir_bytes(const struct ir_value *v)
{
	return (size_t)ir_elements(v) * ir_dtype_size(v->dtype);
}

const char *ir_kind_name(enum ir_kind k)
{
	static const char *const name[] = {
#define K(UP, low) [IR_##UP] = #low,
		IR_KINDS(K)
#undef K
	};

	return (unsigned)k < IR_KIND_COUNT ? name[k] : "?";
}

/* ---- operators ---- */

static void link_before(struct ir_graph *g, struct ir_op *op, struct ir_op *before)
{
	op->next = before;
	op->prev = before ? before->prev : g->last;
	if (op->prev)
		op->prev->next = op;
	else
		g->first = op;
	if (before)
		before->prev = op;
	else
		g->last = op;
}

static void unlink_op(struct ir_graph *g, struct ir_op *op)
{
	if (op->prev)
		op->prev->next = op->next;
	else
		g->first = op->next;
	if (op->next)
		op->next->prev = op->prev;
	else
		g->last = op->prev;
}

struct ir_op *ir_op_new(struct ir_graph *g, enum ir_kind kind, const char *name,
			struct ir_op *before, struct ir_value *const *in, unsigned ins,
			struct ir_value *const *out, unsigned outs)
{
	struct ir_op *op = ir_alloc(1, sizeof(*op));

	op->id = g->next_id++;
	op->kind = kind;
	op->name = ir_strdup(name ? name : outs && out[0] ? out[0]->name : "");
	op->format = -1;
	op->weights = -1;
	op->ins = ins;
	if (ins > IR_MAX_IN)
		op->more = ir_alloc(ins, sizeof(*op->more));
	for (unsigned i = 0; i < ins; i++)
		ir_op_set_in(op, i, in[i]);
	op->out = ir_alloc(outs, sizeof(*op->out));
	op->outs = outs;
	for (unsigned i = 0; i < outs; i++) {
		op->out[i] = out[i];
		if (out[i])
			out[i]->def = op;
	}
	link_before(g, op, before);
	return op;
}

struct ir_value *ir_op_in(const struct ir_op *op, unsigned i)
{
	if (i >= op->ins)
		return NULL;
	return op->more ? op->more[i] : op->in[i];
}

void ir_op_set_in(struct ir_op *op, unsigned i, struct ir_value *v)
{
	struct ir_value *old;

	if (i >= op->ins) { /* grows by absent operands; only within IR_MAX_IN */
		if (i >= IR_MAX_IN || op->more)
			abort();
		op->ins = i + 1;
	}
	old = ir_op_in(op, i);
	if (old == v)
		return;
	if (old)
		use_drop(old, op);
	if (op->more)
		op->more[i] = v;
	if (i < IR_MAX_IN)
		op->in[i] = v;
	if (v)
		use_add(v, op);
}

void ir_op_drop_ins(struct ir_op *op, unsigned keep)
{
	for (unsigned i = keep; i < op->ins; i++)
		ir_op_set_in(op, i, NULL);
	if (keep < op->ins)
		op->ins = keep;
	if (op->ins <= IR_MAX_IN) {
		free(op->more);
		op->more = NULL;
	}
}

void ir_op_remove(struct ir_graph *g, struct ir_op *op)
{
	ir_op_drop_ins(op, 0);
	for (unsigned i = 0; i < op->outs; i++) {
		struct ir_value *v = op->out[i];

		if (v && v->def == op)
			ir_value_remove(g, v);
	}
	unlink_op(g, op);
	op_free(op);
}

void ir_op_move(struct ir_graph *g, struct ir_op *op, struct ir_op *before)
{
	if (op == before)
		return;
	unlink_op(g, op);
	link_before(g, op, before);
}

void ir_swap_names(struct ir_graph *g, struct ir_value *a, struct ir_value *b)
{
	struct ir_value **slot_a = names_slot(g->names, a->name),
			**slot_b = names_slot(g->names, b->name);
	char *name = a->name;

	*slot_a = b;
	*slot_b = a;
	a->name = b->name;
	b->name = name;
}

/* A graph output must be a value of its own: give `by` a copy when it cannot take the place of `old` itself. */
static struct ir_value *output_place(struct ir_graph *g, struct ir_value *old, struct ir_value *by)
{
	struct ir_value *copy;

	if (!by->is_input && !by->is_output && !by->data) {
		ir_swap_names(g, old, by);
		return by;
	}
	copy = ir_value_new(g, NULL, by->dtype, by->rank, by->dim);
	copy->scale = by->scale;
	copy->zero = by->zero;
	ir_swap_names(g, old, copy);
	/* The vector engine's operators take rank 4 at most; a reshape to the same shape moves any. */
	if (by->rank > 4)
		ir_op_new(g, IR_RESHAPE, NULL, NULL, &by, 1, &copy, 1);
	else
		ir_op_new(g, IR_UNARY, NULL, NULL, &by, 1, &copy, 1)->a.fn = MICA_FN_COPY;
	return copy;
}

void ir_value_replace(struct ir_graph *g, struct ir_value *old, struct ir_value *by)
{
	if (old == by)
		return;
	while (old->uses) {
		struct ir_op *op = old->use[old->uses - 1];

		for (unsigned i = 0; i < op->ins; i++)
			if (ir_op_in(op, i) == old)
				ir_op_set_in(op, i, by);
	}
	if (!old->is_output)
		return;
	by = output_place(g, old, by);
	for (unsigned i = 0; i < g->outputs; i++)
		if (g->output[i] == old)
			g->output[i] = by;
	by->is_output = true;
	old->is_output = false;
}

uint64_t ir_op_macs(const struct ir_op *op)
{
	const struct ir_value *b = ir_op_in(op, 1);
	uint64_t n = op->outs && op->out[0] ? (uint64_t)ir_elements(op->out[0]) : 0;

	if (op->kind == IR_CONV && b && b->dim[0] > 0)
		return n * (uint64_t)(ir_elements(b) / b->dim[0]);
	if (op->kind == IR_MATMUL && op->in[0] && op->in[0]->rank >= 2)
		return n * (uint64_t)op->in[0]->dim[op->in[0]->rank - (op->a.trans_a ? 2 : 1)];
	return 0;
}
