// SPDX-License-Identifier: MIT
/* Models with host steps: values, waiting, counted outputs, data that index nowhere, hostile containers, hostile steps. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "mica.h"
#include "host.h"
#include "onnx_builder.h"
#include "sdk_builder.h"

/* ---- models ---- */

/* ids int64[2,3] -> Gather(table[5,4]) -> Neg -> y; x f32[2,8] -> Relu -> NonZero -> where. */
static void write_onnx(const char *path)
{
	float table[20];
	int64_t ids[] = { 2, 3 }, dims[] = { 5, 4 }, x[] = { 2, 8 };

	for (int i = 0; i < 20; i++)
		table[i] = (float)i;
	ob_begin(13);
	ob_input("ids", ONNX_I64, 2, ids);
	ob_input("x", ONNX_F32, 2, x);
	ob_floats("table", 2, dims, table);
	ob_node("Gather", "rows", (const char *[]){ "table", "ids" }, 2);
	ob_node("Neg", "y", (const char *[]){ "rows" }, 1);
	ob_node("Relu", "r", (const char *[]){ "x" }, 1);
	ob_node("NonZero", "where", (const char *[]){ "r" }, 1);
	ob_output("y");
	ob_output("where");
	ob_write(path);
}

static uint8_t *compiled(unsigned cores, size_t *size)
{
	char onnx[] = "/tmp/mica-host-XXXXXX", out[] = "/tmp/mica-host-XXXXXX";
	struct mica_compile_options o;
	struct mica_err err = { 0 };
	uint8_t *bytes;
	FILE *f;

	close(mkstemp(onnx));
	close(mkstemp(out));
	write_onnx(onnx);
	mica_compile_defaults(&o);
	o.format = MICA_F32;
	o.cores = cores;
	if (mica_compile(onnx, out, &o, &err))
		fail_msg("%s", err.text);
	f = fopen(out, "rb");
	assert_non_null(f);
	bytes = malloc(1 << 20);
	*size = fread(bytes, 1, 1 << 20, f);
	fclose(f);
	unlink(onnx);
	unlink(out);
	return bytes;
}

static struct mica_session *make_session(unsigned cores)
{
	struct mica_device_options o = MICA_DEVICE_OPTIONS_INIT;
	struct mica_device *dev;
	struct mica_session *s;
	struct mica_model *m;
	size_t size;
	uint8_t *file = compiled(cores, &size);

	o.backend = MICA_BACKEND_CPU;
	assert_int_equal(mica_device_open(&o, &dev), 0);
	if (mica_model_load_memory(dev, file, size, &m) || mica_session_create(m, &s))
		fail_msg("%s", mica_error_text());
	free(file);
	mica_model_close(m);
	mica_device_close(dev);
	return s;
}

static void set_inputs(struct mica_session *s, float first_id)
{
	float ids[6] = { first_id, 1, 2, 3, 4, -1 }, x[16];

	for (int i = 0; i < 16; i++)
		x[i] = (float)(i - 12);		/* three are above zero: 13, 14, 15 */
	assert_int_equal(mica_session_set_input_f32(s, 0, ids, 6), 0);
	assert_int_equal(mica_session_set_input_f32(s, 1, x, 16), 0);
}

static void check_outputs(struct mica_session *s, int first_id)
{
	const int rows[6] = { first_id, 1, 2, 3, 4, 4 };
	uint32_t dim[MICA_MAX_RANK];
	float y[24], where[32];

	assert_int_equal(mica_session_get_output_f32(s, 0, y, 24), 0);
	for (int i = 0; i < 24; i++)
		assert_true(y[i] == (float)-(rows[i / 4] * 4 + i % 4));
	assert_int_equal(mica_session_output_dims(s, 1, dim), 0);
	assert_int_equal(dim[0], 2);
	assert_int_equal(dim[1], 3);
	assert_int_equal(mica_session_get_output_f32(s, 1, where, 32), 0);
	for (int i = 0; i < 16; i++) {
		assert_true(where[i] == (i < 3 ? 1 : 0));
		assert_true(where[16 + i] == (float)(i < 3 ? 5 + i : 0));
	}
}

/* ---- sessions ---- */

static void run_computes(void **state)
{
	(void)state;
	for (unsigned cores = 1; cores < 3; cores++) {
		struct mica_session *s = make_session(cores);

		for (int id = 0; id < 5; id++) {
			set_inputs(s, (float)id);
			assert_int_equal(mica_session_run(s, id & 1 ? 10000000000 : -1), 0);
			check_outputs(s, id);
		}
		mica_session_destroy(s);
	}
}

static void submit_then_wait(void **state)
{
	struct mica_session *s = make_session(1);

	(void)state;
	assert_int_equal(mica_session_wait(s, 0), -EINVAL);
	set_inputs(s, 2);
	assert_int_equal(mica_session_submit(s), 0);
	assert_int_equal(mica_session_submit(s), -EBUSY);
	assert_int_equal(mica_session_run(s, -1), -EBUSY);
	assert_int_equal(mica_session_wait(s, -1), 0);
	check_outputs(s, 2);
	mica_session_destroy(s);
}

static void eventfd_becomes_readable(void **state)
{
	struct mica_session *s = make_session(1);
	struct pollfd p = { .fd = mica_session_eventfd(s), .events = POLLIN };

	(void)state;
	for (int i = 0; i < 5; i++) {
		set_inputs(s, (float)i);
		assert_int_equal(poll(&p, 1, 0), 0);
		assert_int_equal(mica_session_submit(s), 0);
		assert_int_equal(poll(&p, 1, 10000), 1);
		assert_int_equal(mica_session_wait(s, -1), 0);
		check_outputs(s, i);
	}
	mica_session_destroy(s);
}

static void a_session_can_be_destroyed_in_flight(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		struct mica_session *s = make_session(1);

		set_inputs(s, 0);
		assert_int_equal(mica_session_submit(s), 0);
		mica_session_destroy(s);
	}
}

static void an_index_that_points_nowhere_is_named(void **state)
{
	static const float bad[] = { 5, -6, 1e30f, 0.5f, __builtin_nanf(""), __builtin_inff() };
	struct mica_session *s = make_session(1);

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		set_inputs(s, bad[i]);
		assert_int_equal(mica_session_run(s, i & 1 ? 10000000000 : -1), -ERANGE);
		assert_non_null(strstr(mica_error_text(), "layer 'rows' (gather): index"));
		assert_string_equal(mica_session_error(s), mica_error_text());
		set_inputs(s, 3);
		assert_int_equal(mica_session_run(s, -1), 0);
		check_outputs(s, 3);
	}
	mica_session_destroy(s);
}

static void counts_need_a_run_and_may_be_zero(void **state)
{
	struct mica_session *s = make_session(1);
	uint32_t dim[MICA_MAX_RANK];
	float x[16] = { 0 };

	(void)state;
	assert_int_equal(mica_session_output_dims(s, 0, dim), 0);
	assert_int_equal(mica_session_output_dims(s, 1, dim), -ENODATA);
	assert_int_equal(mica_session_output_dims(s, 2, dim), -EINVAL);
	set_inputs(s, 0);
	assert_int_equal(mica_session_set_input_f32(s, 1, x, 16), 0);
	assert_int_equal(mica_session_run(s, -1), 0);
	assert_int_equal(mica_session_output_dims(s, 1, dim), 0);
	assert_int_equal(dim[1], 0);
	mica_session_destroy(s);
}

static void statistics_cover_all_phases(void **state)
{
	struct mica_session *s = make_session(1);
	struct mica_layer_stats layer[16];
	struct mica_job_stats a, b;
	unsigned busy = 0;
	int n;

	(void)state;
	set_inputs(s, 0);
	assert_int_equal(mica_session_run(s, -1), 0);
	assert_int_equal(mica_session_stats(s, &a), 0);
	assert_true(a.cycles > 0 && a.packets > 2);
	assert_true(mica_session_host_ns(s) > 0);
	n = mica_session_layer_stats(s, layer, 16);
	assert_true(n > 0 && n <= 16);
	for (int i = 0; i < n; i++) {
		assert_true(layer[i].end <= a.cycles);
		busy += layer[i].end > 0;
	}
	assert_true(busy >= 2);
	assert_int_equal(mica_session_run(s, -1), 0);
	assert_int_equal(mica_session_stats(s, &b), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	mica_session_destroy(s);
}

/* ---- hostile files ---- */

static Mica__HostStep *step_of(Mica__Model *m, unsigned phase, unsigned i) { return m->phases[phase]->host[i]; }

static void bad_op(Mica__Model *m) { step_of(m, 0, 0)->op = 999; }
static void no_op(Mica__Model *m) { step_of(m, 0, 0)->op = 0; }
static void no_operands(Mica__Model *m) { step_of(m, 0, 0)->n_operands = 0; }
static void one_operand(Mica__Model *m) { step_of(m, 0, 0)->n_operands = 1; }
static void no_result(Mica__Model *m) { step_of(m, 0, 0)->result = NULL; }
static void other_type(Mica__Model *m) { step_of(m, 0, 0)->result->dtype = MICA_BF16; }
static void huge_dim(Mica__Model *m) { step_of(m, 0, 0)->operands[0]->dims[0] = UINT32_MAX; }
static void zero_dim(Mica__Model *m) { step_of(m, 0, 0)->operands[1]->dims[0] = 0; }
static void far_operand(Mica__Model *m) { step_of(m, 0, 0)->operands[0]->address += 1 << 20; }
static void odd_operand(Mica__Model *m) { step_of(m, 0, 0)->operands[0]->address += 1; }
static void wrapped_operand(Mica__Model *m) { step_of(m, 0, 0)->operands[0]->address |= MICA_ADDR_OFFSET_MASK & ~3ull; }
static void no_segment(Mica__Model *m) { step_of(m, 0, 0)->operands[0]->address = MICA_ADDR(200, 0); }
static void writes_weights(Mica__Model *m) { step_of(m, 0, 0)->result->address = 0; }
static void writes_input(Mica__Model *m) { step_of(m, 0, 0)->result->address = MICA_ADDR(MICA_SEG_IO, 0); }
static void in_place(Mica__Model *m) { step_of(m, 0, 0)->operands[0]->address = step_of(m, 0, 0)->result->address; }
static void no_layer(Mica__Model *m) { step_of(m, 0, 0)->layer = 77; }
static void streams_too(Mica__Model *m) { m->streams = m->phases[0]->streams; m->n_streams = 1; }
static void no_cores(Mica__Model *m) { m->cores = 0; }
static void many_cores(Mica__Model *m) { m->cores = 1000; }
static void other_cores(Mica__Model *m) { m->cores = 2; }
static void empty_phase(Mica__Model *m) { m->phases[0]->n_host = m->phases[0]->n_streams = 0; }
static void bad_axis(Mica__Model *m) { static int64_t v = 9; step_of(m, 0, 0)->ints = &v; step_of(m, 0, 0)->n_ints = 1; }
static void negative_axis(Mica__Model *m) { static int64_t v = -1; step_of(m, 0, 0)->ints = &v; step_of(m, 0, 0)->n_ints = 1; }
static void bad_counter(Mica__Model *m) { m->outputs[1]->counter = 99; }
static void wrong_counter(Mica__Model *m) { m->outputs[1]->counter = 0; }
static void wrong_axis(Mica__Model *m) { m->outputs[1]->counted_axis = 1; }
static void counted_by_nobody(Mica__Model *m) { m->outputs[0]->counted_axis = 1; }

/* Memory of one message that is freed at once: changes hide parts of it from its own destructor. */
static char pool[1 << 18] __attribute__((aligned(16)));
static size_t used;

static void *take(void *unused, size_t n)
{
	void *p = pool + used;

	(void)unused;
	used += (n + 15) & ~(size_t)15;
	assert_true(used < sizeof(pool));
	return p;
}

static void give(void *unused, void *p)
{
	(void)unused;
	(void)p;
}

static int load_changed(const uint8_t *file, void (*change)(Mica__Model *m))
{
	const struct mica_model_header *old = (const void *)file;
	ProtobufCAllocator allocator = { take, give, NULL };
	Mica__Model *m, copy;
	struct mica_model_header h = *old;
	struct mica_model *loaded;
	uint8_t *bytes;
	int ret;

	used = 0;
	m = mica__model__unpack(&allocator, old->meta_size, file + old->header_size);
	assert_non_null(m);
	copy = *m;
	change(&copy);
	h.meta_size = mica__model__get_packed_size(&copy);
	h.blob_offset = (sizeof(h) + h.meta_size + 63) / 64 * 64;
	bytes = calloc(1, h.blob_offset + h.blob_size);
	memcpy(bytes, &h, sizeof(h));
	mica__model__pack(&copy, bytes + sizeof(h));
	memcpy(bytes + h.blob_offset, file + old->blob_offset, h.blob_size);
	fix_checksums(bytes);
	ret = mica_model_load_memory(NULL, bytes, h.blob_offset + h.blob_size, &loaded);
	if (!ret)
		mica_model_close(loaded);
	free(bytes);
	return ret;
}

static void nothing(Mica__Model *m) { (void)m; }

static void hostile_phases_are_refused(void **state)
{
	static void (*const changes[])(Mica__Model *) = {
		bad_op, no_op, no_operands, one_operand, no_result, other_type, huge_dim, zero_dim, far_operand, odd_operand, wrapped_operand,
		no_segment, writes_weights, writes_input, in_place, no_layer, streams_too, no_cores, many_cores, other_cores, empty_phase,
		bad_axis, negative_axis, bad_counter, wrong_counter, wrong_axis, counted_by_nobody,
	};
	size_t size;
	uint8_t *file = compiled(1, &size);

	(void)state;
	assert_int_equal(load_changed(file, nothing), 0);
	for (unsigned i = 0; i < sizeof(changes) / sizeof(*changes); i++)
		if (load_changed(file, changes[i]) != -EBADMSG)
			fail_msg("change %u was not refused", i);
	free(file);
}

static void old_files_keep_their_version(void **state)
{
	size_t size;
	uint8_t *file = compiled(1, &size), *old = build_model(1, NULL, &size);

	(void)state;
	assert_int_equal(((struct mica_model_header *)file)->version, 2);
	((struct mica_model_header *)old)->version = 1;
	fix_checksums(old);
	{
		struct mica_model *m;

		assert_int_equal(mica_model_load_memory(NULL, old, size, &m), 0);
		mica_model_close(m);
	}
	free(file);
	free(old);
}

/* ---- hostile steps: whatever the check lets through stays within its operands ---- */

static uint64_t rng = 1;

static uint32_t rnd(uint32_t n)
{
	rng = rng * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(rng >> 33) % n;
}

static float any_value(void)
{
	static const float odd[] = { -1, 0, 1, 2, 3, 0.5f, -2, 100, -1e30f, 1e30f, __builtin_nanf(""), __builtin_inff(), -__builtin_inff(), 1e-30f };

	return rnd(4) ? (float)rnd(5) : odd[rnd(sizeof(odd) / sizeof(*odd))];
}

static void random_tensor(struct mica_host_tensor *t, const struct mica_host_tensor *like)
{
	if (like && rnd(2)) {
		*t = *like;
		if (t->rank && !rnd(3))
			t->dim[rnd(t->rank)] = 1 + rnd(4);
		return;
	}
	t->dtype = rnd(50) ? MICA_F32 : rnd(12);
	t->rank = rnd(6);
	for (unsigned i = 0; i < t->rank; i++)
		t->dim[i] = rnd(100) ? 1 + rnd(4) : rnd(3) ? 0 : UINT32_MAX;
}

static float *values(const struct mica_host_tensor *t)
{
	uint64_t n = mica_host_elements(t);
	float *p = malloc(n * sizeof(*p));

	for (uint64_t i = 0; i < n; i++)
		p[i] = any_value();
	return p;
}

/* Operands and result in blocks of their own, exactly as large as they should be: the sanitizer sees the rest. */
static void check_step_runs(const struct mica_host_step *s)
{
	size_t n = mica_host_scratch(s);
	struct mica_host_call c = { .step = s, .scratch = malloc(n ? n : 1) };
	float *in[MICA_HOST_MAX_IN];
	int axis = mica_host_counted_axis(s->op, s->ints);
	char text[2048];

	for (unsigned i = 0; i < s->ins; i++)
		c.in[i] = in[i] = values(&s->in[i]);
	c.out = values(&s->out);
	if (mica_host_run(&c))
		assert_true(c.why[0]);
	else if (axis >= 0)
		assert_true(axis < (int)s->out.rank && c.count <= s->out.dim[axis]);
	assert_true(mica_host_disasm(text, sizeof(text), s) > 0);
	for (unsigned i = 0; i < s->ins; i++)
		free(in[i]);
	free(c.out);
	free(c.scratch);
}

static void random_steps_never_leave_their_memory(void **state)
{
	unsigned long ran[MICA_HOST_OPS] = { 0 };

	(void)state;
	for (unsigned k = 0; k < 1500000; k++) {
		struct mica_host_step s = { .op = 1 + rnd(MICA_HOST_OPS + 1), .ins = 1 + rnd(3) };

		for (unsigned i = 0; i < s.ins; i++)
			random_tensor(&s.in[i], i ? &s.in[i - 1] : NULL);
		random_tensor(&s.out, &s.in[rnd(s.ins)]);
		for (unsigned i = 0; i < MICA_HOST_INTS; i++)
			s.ints[i] = rnd(3) ? rnd(3) : rnd(20) ? (int64_t)rnd(4) - 1 : (int64_t)rnd(UINT32_MAX) - 5;
		for (unsigned i = 0; i < MICA_HOST_FLOATS; i++)
			s.floats[i] = any_value();
		if (s.op == MICA_HOST_MAX_POOL_INDEX || s.op == MICA_HOST_MAX_UNPOOL)
			s.ints[2] = s.ints[5] = s.ints[8] = s.ints[11] = 0;
		if (mica_host_check(&s))
			continue;
		ran[s.op]++;
		check_step_runs(&s);
	}
	for (unsigned op = 1; op < MICA_HOST_OPS; op++)
		if (!ran[op] && op != MICA_HOST_NON_MAX_SUPPRESSION && op != MICA_HOST_ROI_ALIGN && op != MICA_HOST_GRID_SAMPLE &&
		    op != MICA_HOST_DEFORM && op != MICA_HOST_BITS && op != MICA_HOST_INTEGER && op != MICA_HOST_RUNNING)
			fail_msg("%s never ran: the test is blind", mica_host_name(op));
}

/* Those whose operands' shapes random numbers do not hit. */
static void random_image_steps_never_leave_their_memory(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 60000; k++) {
		uint32_t n = 1 + rnd(3), b = 1 + rnd(2), c = 1 + rnd(3), h = 1 + rnd(4), w = 1 + rnd(4);
		struct mica_host_step nms = { .op = MICA_HOST_NON_MAX_SUPPRESSION, .ins = 5, .in = { { MICA_F32, 3, { b, n, 4 } }, { MICA_F32, 3, { b, c, n } },
			{ MICA_F32, 0 }, { MICA_F32, 1, { 1 } }, { MICA_F32, 0 } }, .out = { MICA_F32, 2, { 1 + rnd(9), 3 } }, .ints = { rnd(2), rnd(2) } };
		struct mica_host_step roi = { .op = MICA_HOST_ROI_ALIGN, .ins = 3, .in = { { MICA_F32, 4, { b, c, h, w } }, { MICA_F32, 2, { n, 4 } },
			{ MICA_F32, 1, { n } } }, .out = { MICA_F32, 4, { n, c, 1 + rnd(3), 1 + rnd(3) } }, .ints = { rnd(2), rnd(3), rnd(2) },
			.floats = { (float)rnd(4) / 2 } };
		struct mica_host_step grid = { .op = MICA_HOST_GRID_SAMPLE, .ins = 2, .in = { { MICA_F32, 4, { b, c, h, w } }, { MICA_F32, 4, { b, n, n, 2 } } },
			.out = { MICA_F32, 4, { b, c, n, n } }, .ints = { rnd(3), rnd(3), rnd(2) } };
		struct mica_host_step deform = { .op = MICA_HOST_DEFORM, .ins = 3, .in = { { MICA_F32, 4, { b, c * n, h, w } },
			{ MICA_F32, 4, { b, 2 * n * h, w, h } }, { MICA_F32, 4, { b, n * h, w, h } } }, .out = { MICA_F32, 4, { b, c * n * h, w, h } },
			.ints = { h, 1, 1 + rnd(2), 1, 1, 1 + rnd(2), rnd(2), rnd(3), n } };
		struct mica_host_step bits = { .op = MICA_HOST_BITS, .ins = 2, .in = { { MICA_F32, 2, { h, w } }, { MICA_F32, 2, { h, w } } },
			.out = { MICA_F32, 2, { h, w } }, .ints = { rnd(MICA_HOST_BIT_OPS), 8 << rnd(4), rnd(2) } };

		struct mica_host_step ints = { .op = MICA_HOST_INTEGER, .ins = 2, .in = { { MICA_F32, 2, { h, w } }, { MICA_F32, 2, { h, w } } },
			.out = { MICA_F32, 2, { h, w } }, .ints = { rnd(MICA_HOST_INTEGER_OPS), 8 << rnd(4), rnd(2) } };
		struct mica_host_step running = { .op = MICA_HOST_RUNNING, .ins = 1, .in = { { MICA_F32, 3, { b, h, w } } },
			.out = { MICA_F32, 3, { b, h, w } }, .ints = { rnd(3), rnd(2) * MICA_HOST_TIMES, 8 << rnd(4), rnd(2), rnd(2), rnd(2) } };

		assert_null(mica_host_check(&nms));
		assert_null(mica_host_check(&roi));
		assert_null(mica_host_check(&grid));
		assert_null(mica_host_check(&deform));
		assert_null(mica_host_check(&bits));
		check_step_runs(&nms);
		check_step_runs(&roi);
		check_step_runs(&grid);
		check_step_runs(&deform);
		check_step_runs(&bits);
		assert_null(mica_host_check(&ints));
		check_step_runs(&ints);
		assert_null(mica_host_check(&running));
		check_step_runs(&running);
		running.ints[6] = running.out.dim[running.ints[0]] = 1;
		assert_null(mica_host_check(&running));
		check_step_runs(&running);
	}
}

/* ---- integers ---- */

static int integer(unsigned how, int width, bool is_signed, float x, float y, float *r, char why[128])
{
	struct mica_host_step s = { .op = MICA_HOST_INTEGER, .ins = 2, .ints = { how, width, is_signed } };
	struct mica_host_call c = { .step = &s, .in = { &x, &y }, .out = r };
	int ret;

	for (unsigned i = 0; i < 2; i++)
		s.in[i].dtype = MICA_F32;
	s.out.dtype = MICA_F32;
	assert_null(mica_host_check(&s));
	ret = mica_host_run(&c);
	memcpy(why, c.why, sizeof(c.why));
	return ret;
}

static void integers_are_exact_or_fail_the_run(void **state)
{
	static const struct {
		unsigned how;
		int width;
		bool is_signed;
		float x, y, r;
	} good[] = {
		{ MICA_HOST_PLUS, 64, true, 0x1p24f, -1, 16777215 },	      { MICA_HOST_PLUS, 32, true, 0x1p31f - 128, 128, -0x1p31f },
		{ MICA_HOST_MINUS, 32, false, 0, 0x1p30f, 0xc0000000p0f },    { MICA_HOST_TIMES, 64, true, 0x1p40f, -0x1p20f, -0x1p60f },
		{ MICA_HOST_TIMES, 16, false, 65535, 65535, 1 },	      { MICA_HOST_QUOTIENT, 64, true, -0x1p60f - 0x1p59f, 3 * 0x1p20f, -0x1p39f },
		{ MICA_HOST_REMAINDER, 64, true, -7, 5, 3 },		      { MICA_HOST_C_REMAINDER, 64, true, -7, 5, -2 },
		{ MICA_HOST_QUOTIENT, 32, true, 5, 0, 0 },		      { MICA_HOST_POWER, 64, true, -3, 15, -14348907 },
		{ MICA_HOST_POWER, 64, true, -1, -3, -1 },		      { MICA_HOST_POWER, 8, true, 2, 200, 0 },
	};
	static const struct {
		unsigned how;
		float x, y;
	} bad[] = {
		{ MICA_HOST_PLUS, 0x1p24f, 1 }, { MICA_HOST_TIMES, 16777215, 3 }, { MICA_HOST_PLUS, 0.5f, 1 },
		{ MICA_HOST_PLUS, 0, __builtin_nanf("") }, { MICA_HOST_MINUS, 0x1p63f, 1 },
	};
	char why[128];
	float r;
	(void)state;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_int_equal(integer(good[i].how, good[i].width, good[i].is_signed, good[i].x, good[i].y, &r, why), 0);
		assert_float_equal(r, good[i].r, 0);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(integer(bad[i].how, 64, true, bad[i].x, bad[i].y, &r, why), -1);
		assert_non_null(strstr(why, i < 2 ? "needs more than f32's 24 bits" : "is not an integer"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers_are_exact_or_fail_the_run),
		cmocka_unit_test(run_computes),
		cmocka_unit_test(submit_then_wait),
		cmocka_unit_test(eventfd_becomes_readable),
		cmocka_unit_test(a_session_can_be_destroyed_in_flight),
		cmocka_unit_test(an_index_that_points_nowhere_is_named),
		cmocka_unit_test(counts_need_a_run_and_may_be_zero),
		cmocka_unit_test(statistics_cover_all_phases),
		cmocka_unit_test(hostile_phases_are_refused),
		cmocka_unit_test(old_files_keep_their_version),
		cmocka_unit_test(random_steps_never_leave_their_memory),
		cmocka_unit_test(random_image_steps_never_leave_their_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
