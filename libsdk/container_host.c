// SPDX-License-Identifier: MIT
/* Phases and host steps of a .mica file: everything that a session will rely on, checked against the segments' sizes. */
#include <errno.h>
#include <string.h>
#include "container_limits.h"
#include "sdk.h"

/* NULL, or what is wrong. */
static const char *decode_tensor(const Mica__HostTensor *from, struct mica_host_tensor *t)
{
	if (!from || from->n_dims > MICA_HOST_RANK)
		return "an operand is missing or has too many dimensions";
	t->dtype = from->dtype;
	t->rank = (uint32_t)from->n_dims;
	for (size_t i = 0; i < from->n_dims; i++)
		t->dim[i] = from->dims[i];
	t->addr = from->address;
	return NULL;
}

const char *container_host_step(const Mica__HostStep *from, struct mica_host_step *s)
{
	const char *why;

	memset(s, 0, sizeof(*s));
	if (from->n_operands > MICA_HOST_MAX_IN || from->n_ints > MICA_HOST_INTS || from->n_floats > MICA_HOST_FLOATS)
		return "too many operands or attributes";
	s->op = from->op;
	s->layer = from->layer;
	s->ins = (uint32_t)from->n_operands;
	why = decode_tensor(from->result, &s->out);
	for (size_t i = 0; i < from->n_operands && !why; i++)
		why = decode_tensor(from->operands[i], &s->in[i]);
	for (size_t i = 0; i < from->n_ints; i++)
		s->ints[i] = from->ints[i];
	for (size_t i = 0; i < from->n_floats; i++)
		s->floats[i] = from->floats[i];
	return why ? why : mica_host_check(s);
}

static uint64_t tensor_bytes(const Mica__Tensor *t)
{
	uint64_t n = mica_dtype_size(t->dtype);

	for (size_t i = 0; i < t->n_dims; i++)
		n *= t->dims[i];
	return n;
}

static void segments(const Mica__Model *m, uint64_t blob_size, struct mica_limits *lim)
{
	memset(lim, 0, sizeof(*lim));
	lim->segments = MICA_SEG_IO + (unsigned)(m->n_inputs + m->n_outputs);
	lim->seg_size[MICA_SEG_WEIGHTS] = blob_size;
	lim->seg_size[MICA_SEG_ARENA] = m->arena_size;
	lim->seg_write[MICA_SEG_ARENA] = true;
	for (size_t i = 0; i < m->n_inputs; i++)
		lim->seg_size[MICA_SEG_IO + i] = tensor_bytes(m->inputs[i]);
	for (size_t i = 0; i < m->n_outputs; i++) {
		lim->seg_size[MICA_SEG_IO + m->n_inputs + i] = tensor_bytes(m->outputs[i]);
		lim->seg_write[MICA_SEG_IO + m->n_inputs + i] = true;
	}
}

static int check_streams(const Mica__Model *m, size_t phase, const char *name)
{
	const Mica__Phase *p = m->phases[phase];

	if ((p->n_streams && p->n_streams != m->cores) || (!p->n_streams && !p->n_host))
		return sdk_err(EBADMSG, "%s: corrupt metadata: phase %zu has %zu command streams for %u cores", name, phase, p->n_streams, m->cores);
	for (size_t i = 0; i < p->n_streams; i++) {
		size_t len = p->streams[i]->commands.len;

		if (!len || len % MICA_PKT_ALIGN || len > CONTAINER_MAX_STREAM)
			return sdk_err(EBADMSG, "%s: corrupt metadata: command stream %zu of phase %zu has %zu bytes", name, i, phase, len);
	}
	return 0;
}

static int check_steps(const Mica__Model *m, size_t phase, const struct mica_limits *lim, size_t *hosts, const char *name)
{
	const Mica__Phase *p = m->phases[phase];
	struct mica_host_step s;

	for (size_t i = 0; i < p->n_host; i++, ++*hosts) {
		const char *why = container_host_step(p->host[i], &s);

		if (!why)
			why = mica_host_bounds(&s, lim);
		if (!why && s.layer >= m->n_layers)
			why = "it belongs to no layer";
		if (!why && *hosts >= CONTAINER_MAX_LAYERS)
			why = "there are too many";
		if (why)
			return sdk_err(EBADMSG, "%s: its host step %zu (%s%s%s) is refused: %s; compile the model again", name, *hosts,
				       mica_host_name(s.op), s.layer < m->n_layers ? ", layer " : "",
				       s.layer < m->n_layers ? m->layers[s.layer]->name : "", why);
	}
	return 0;
}

static const Mica__HostStep *step_number(const Mica__Model *m, uint32_t n)
{
	for (size_t i = 0; i < m->n_phases; i++) {
		if (n < m->phases[i]->n_host)
			return m->phases[i]->host[n];
		n -= (uint32_t)m->phases[i]->n_host;
	}
	return NULL;
}

/* An output that is counted must be what that step writes. */
static int check_counter(const Mica__Model *m, size_t output, const char *name)
{
	const Mica__Tensor *t = m->outputs[output];
	const Mica__HostStep *from = step_number(m, t->counter);
	struct mica_host_step s;

	if (!t->counted_axis)
		return 0;
	if (from && !container_host_step(from, &s) && mica_host_counted_axis(s.op, s.ints) + 1 == (int64_t)t->counted_axis &&
	    s.out.addr == MICA_ADDR(MICA_SEG_IO + m->n_inputs + output, 0) && s.out.rank == t->n_dims &&
	    !memcmp(s.out.dim, t->dims, t->n_dims * sizeof(*t->dims)))
		return 0;
	return sdk_err(EBADMSG, "%s: corrupt metadata: output '%s' is counted by no step that writes it", name, t->name);
}

int container_check_phases(const Mica__Model *m, uint64_t blob_size, const char *name)
{
	struct mica_limits lim;
	size_t hosts = 0;
	int ret = 0;

	if (m->n_streams || !m->cores || m->cores > MICA_MAX_CORES || m->n_phases > CONTAINER_MAX_LAYERS)
		return sdk_err(EBADMSG, "%s: corrupt metadata: %zu phases for %u cores (1..%u)", name, m->n_phases, m->cores, MICA_MAX_CORES);
	segments(m, blob_size, &lim);
	for (size_t i = 0; i < m->n_phases && !ret; i++) {
		ret = check_streams(m, i, name);
		if (!ret)
			ret = check_steps(m, i, &lim, &hosts, name);
	}
	for (size_t i = 0; i < m->n_outputs && !ret; i++)
		ret = check_counter(m, i, name);
	return ret;
}
