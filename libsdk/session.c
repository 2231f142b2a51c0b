// SPDX-License-Identifier: MIT
/* Sessions: a model's memory for one job at a time, values in and out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "sdk.h"

static size_t segment_size(const struct mica_model *m, unsigned i)
{
	return i == MICA_SEG_ARENA ? m->c.meta->arena_size : m->tensor[i - MICA_SEG_IO].bytes;
}

int session_layout(const struct mica_model *m, size_t offset[MICA_MAX_SEGMENTS], size_t *end)
{
	size_t at = m->dev->be->session_front ? m->dev->be->session_front(m) : 0;

	for (unsigned i = MICA_SEG_ARENA; i < MICA_SEG_IO + m->inputs + m->outputs; i++) {
		size_t size = segment_size(m, i);

		offset[i] = at;
		if (__builtin_add_overflow(at, align_up(size ? size : 1, SESSION_ALIGN), &at))
			return sdk_nomem("the session");
	}
	*end = at;
	return 0;
}

/* Lays arena, inputs, outputs and stats out in one buffer. */
static int plan_memory(struct mica_session *s, size_t *total)
{
	const struct mica_model *m = s->model;
	int ret = session_layout(m, s->own_offset, &s->stats_offset);

	if (ret)
		return ret;
	s->segments = MICA_SEG_IO + m->inputs + m->outputs;
	if (s->arena) {		/* its place stays empty: what follows moves up */
		size_t gap = align_up(m->c.meta->arena_size ? m->c.meta->arena_size : 1, SESSION_ALIGN);

		gap = m->c.meta->arena_size ? gap : 0;
		for (unsigned i = MICA_SEG_IO; i < s->segments; i++)
			s->own_offset[i] -= gap;
		s->stats_offset -= gap;
	}
	for (unsigned i = MICA_SEG_ARENA; i < s->segments; i++) {
		s->seg[i].size = segment_size(m, i);
		s->seg[i].write = i == MICA_SEG_ARENA || i >= MICA_SEG_IO + m->inputs;
	}
	s->stats_size = sizeof(struct mica_job_stats) + (size_t)m->layers * sizeof(struct mica_layer_stats);
	*total = s->stats_offset + align_up(s->stats_size, SESSION_ALIGN);
	return 0;
}

static void bind_own(struct mica_session *s, unsigned i)
{
	s->seg[i].buf = s->own;
	s->seg[i].offset = s->own_offset[i];
}

static int create(struct mica_model *m, struct mica_arena *a, struct mica_session **out)
{
	struct mica_session *s;
	size_t total = 0;
	int ret = 0;

	*out = NULL;
	if (!m || !m->dev)
		return sdk_err(EINVAL, "the model was loaded without a device: it can be looked at, not run");
	s = calloc(1, sizeof(*s));
	if (!s)
		return sdk_nomem("a session");
	s->eventfd = -1;
	s->model = m;
	if (a)
		ret = arena_join(a, m->dev, m->c.meta->arena_size);
	if (ret)
		goto err_free;
	s->arena = a;
	ret = plan_memory(s, &total);
	if (!ret)
		ret = mica_buffer_alloc(m->dev, total, &s->own);
	if (ret)
		goto err_arena;
	for (unsigned i = MICA_SEG_ARENA; i < s->segments; i++)
		bind_own(s, i);
	arena_bind(s);
	ret = m->dev->be->session_create(s);
	if (ret)
		goto err_buffer;
	ret = phases_create(s);
	if (ret)
		goto err_backend;
	model_get(m);
	*out = s;
	return 0;

err_backend:
	m->dev->be->session_destroy(s);
err_buffer:
	mica_buffer_free(s->own);
err_arena:
	arena_leave(s->arena);
err_free:
	free(s);
	return ret;
}

int mica_session_create(struct mica_model *m, struct mica_session **out)
{
	return create(m, NULL, out);
}

int mica_session_create_in(struct mica_model *m, struct mica_arena *a, struct mica_session **out)
{
	*out = NULL;
	return a ? create(m, a, out) : sdk_err(EINVAL, "no arena was given");
}

void mica_session_destroy(struct mica_session *s)
{
	struct mica_model *m;

	if (!s)
		return;
	m = s->model;
	phases_destroy(s);
	m->dev->be->session_destroy(s);
	if (s->eventfd >= 0)
		close(s->eventfd);
	mica_buffer_free(s->own);
	arena_exit(s);
	arena_leave(s->arena);
	free(s);
	model_put(m);
}

/* The segment of input or output `index`, or NULL with the error set. */
static struct segment *input_seg(struct mica_session *s, unsigned index)
{
	return mica_model_input(s->model, index) ? &s->seg[MICA_SEG_IO + index] : NULL;
}

static struct segment *output_seg(struct mica_session *s, unsigned index)
{
	return mica_model_output(s->model, index) ? &s->seg[MICA_SEG_IO + s->model->inputs + index] : NULL;
}

static int check_idle(const struct mica_session *s)
{
	return s->state == SESSION_IDLE ? 0 : sdk_err(EBUSY, "the session has a job in flight: wait for it first");
}

/* Whether `have` elements (or bytes) are what t, an input or output of a session that does nothing now, holds. */
static int check_size(const struct mica_session *s, const struct mica_tensor_info *t, const char *what, size_t have, bool bytes)
{
	size_t want;

	if (!t)
		return -EINVAL;
	want = bytes ? t->bytes : t->elements;
	if (have != want)
		return sdk_err(ERANGE, "%s '%s' has %zu %s, %zu were given", what, t->name, want, bytes ? "bytes" : "elements", have);
	return check_idle(s);
}

int mica_session_set_input_f32(struct mica_session *s, unsigned index, const float *values, size_t elements)
{
	const struct mica_tensor_info *t = mica_model_input(s->model, index);
	int ret = check_size(s, t, "input", elements, false);

	if (!ret)
		mica_quantize(t->dtype, values, segment_ptr(input_seg(s, index)), elements, 1.0f / t->scale, t->zero);
	return ret;
}

int mica_session_set_input_codes(struct mica_session *s, unsigned index, const void *codes, size_t bytes)
{
	const struct mica_tensor_info *t = mica_model_input(s->model, index);
	int ret = check_size(s, t, "input", bytes, true);

	if (!ret)
		memcpy(segment_ptr(input_seg(s, index)), codes, bytes);
	return ret;
}

int mica_session_get_output_f32(struct mica_session *s, unsigned index, float *values, size_t elements)
{
	const struct mica_tensor_info *t = mica_model_output(s->model, index);
	int ret = check_size(s, t, "output", elements, false);

	if (!ret)
		mica_dequantize(t->dtype, segment_ptr(output_seg(s, index)), values, elements, t->scale, t->zero);
	return ret;
}

void *mica_session_input(struct mica_session *s, unsigned index)
{
	struct segment *seg = input_seg(s, index);

	return seg ? segment_ptr(seg) : NULL;
}

const void *mica_session_output(struct mica_session *s, unsigned index)
{
	struct segment *seg = output_seg(s, index);

	return seg ? segment_ptr(seg) : NULL;
}

static int bind(struct mica_session *s, struct segment *seg, struct mica_buffer *b, size_t offset)
{
	int ret;

	if (!seg)
		return -EINVAL;
	ret = check_idle(s);
	if (ret)
		return ret;
	if (!b) {
		bind_own(s, seg - s->seg);
	} else {
		if (b->dev != s->model->dev)
			return sdk_err(EINVAL, "the buffer belongs to another device than the session");
		if (offset % SESSION_ALIGN)
			return sdk_err(EINVAL, "offset %zu is not a multiple of %u", offset, SESSION_ALIGN);
		if (offset > b->size || b->size - offset < seg->size)
			return sdk_err(ERANGE, "the tensor's %zu bytes do not fit behind offset %zu of a buffer of %zu", seg->size,
				       offset, b->size);
		seg->buf = b;
		seg->offset = offset;
	}
	s->model->dev->be->session_bind(s, seg - s->seg);
	return 0;
}

int mica_session_bind_input(struct mica_session *s, unsigned index, struct mica_buffer *b, size_t offset)
{
	return bind(s, input_seg(s, index), b, offset);
}

int mica_session_bind_output(struct mica_session *s, unsigned index, struct mica_buffer *b, size_t offset)
{
	return bind(s, output_seg(s, index), b, offset);
}

/* What a backend returned for a job; remembers the text of a failure. */
static int job_ended(struct mica_session *s, int ret)
{
	uint64_t count;

	if (ret == -ETIME)
		return ret;
	if (s->eventfd >= 0 && read(s->eventfd, &count, sizeof(count)) < 0)
		count = 0;		/* not signalled: made after the job's end */
	s->state = SESSION_IDLE;
	arena_exit(s);
	if (ret)
		snprintf(s->error, sizeof(s->error), "%s", mica_error_text());
	else
		s->ran = true;
	return ret;
}

int mica_session_submit(struct mica_session *s)
{
	int ret = check_idle(s);

	if (ret)
		return ret;
	s->error[0] = 0;
	ret = arena_enter(s);
	if (ret)
		return ret;
	ret = s->phases ? phases_submit(s) : s->model->dev->be->submit(s);
	if (ret) {
		snprintf(s->error, sizeof(s->error), "%s", mica_error_text());
		arena_exit(s);
	} else {
		s->state = SESSION_BUSY;
	}
	return ret;
}

int mica_session_wait(struct mica_session *s, int64_t timeout_ns)
{
	if (s->state != SESSION_BUSY)
		return sdk_err(EINVAL, "nothing was submitted that could be waited for");
	return job_ended(s, s->phases ? phases_wait(s, timeout_ns) : s->model->dev->be->wait(s, timeout_ns));
}

int mica_session_run(struct mica_session *s, int64_t timeout_ns)
{
	int ret = check_idle(s);

	if (ret)
		return ret;
	s->error[0] = 0;
	ret = arena_enter(s);
	if (ret)
		return ret;
	s->state = SESSION_BUSY;
	return job_ended(s, s->phases ? phases_run(s, timeout_ns) : s->model->dev->be->run(s, timeout_ns));
}

int mica_session_eventfd(struct mica_session *s)
{
	int ret;

	if (s->eventfd >= 0)
		return s->eventfd;
	s->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->eventfd < 0)
		return sdk_err(errno, "cannot create an eventfd: %s", strerror(errno));
	ret = s->phases ? phases_eventfd(s) : s->model->dev->be->eventfd(s);
	if (ret) {
		close(s->eventfd);
		s->eventfd = -1;
		return ret;
	}
	return s->eventfd;
}

const char *mica_session_error(const struct mica_session *s)
{
	return s->error;
}

static int check_ran(const struct mica_session *s)
{
	return s->ran ? 0 : sdk_err(ENODATA, "the session has run no job yet: there are no statistics");
}

/* The records of the last job, or of all jobs of the last run. */
static const struct mica_job_stats *stats_of(const struct mica_session *s)
{
	return s->phases ? phases_stats(s) : (const void *)((const uint8_t *)s->own->map + s->stats_offset);
}

int mica_session_stats(struct mica_session *s, struct mica_job_stats *stats)
{
	int ret = check_ran(s);

	if (!ret)
		memcpy(stats, stats_of(s), sizeof(*stats));
	return ret;
}

int mica_session_layer_stats(struct mica_session *s, struct mica_layer_stats *layers, unsigned max)
{
	struct mica_job_stats stats;
	int ret = mica_session_stats(s, &stats);
	unsigned n;

	if (ret)
		return ret;
	n = stats.layers < s->model->layers ? stats.layers : s->model->layers;
	memcpy(layers, stats_of(s) + 1, (n < max ? n : max) * sizeof(*layers));
	return n;
}

uint64_t mica_session_host_ns(struct mica_session *s)
{
	return s->phases && s->ran ? phases_host_ns(s) : 0;
}

int mica_session_output_dims(struct mica_session *s, unsigned index, uint32_t dim[MICA_MAX_RANK])
{
	const struct mica_tensor_info *t = mica_model_output(s->model, index);
	int ret;

	if (!t)
		return -EINVAL;
	memcpy(dim, t->dim, sizeof(t->dim));
	if (t->counted_axis < 0)
		return 0;
	ret = check_idle(s);
	if (!ret)
		ret = check_ran(s);
	if (!ret)
		dim[t->counted_axis] = phases_count(s, s->model->c.meta->outputs[index]->counter);
	return ret;
}
