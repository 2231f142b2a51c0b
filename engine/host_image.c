// SPDX-License-Identifier: MIT
/* Host steps that look into images at places that data decide: ROI_ALIGN, GRID_SAMPLE, MAX_POOL_INDEX. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "host_impl.h"

#define MAX_SAMPLES 1024	/* per bin and axis */

static bool stopped(const struct mica_host_call *c)
{
	return c->stop && *c->stop;
}

/* ---- ROI_ALIGN ---- */

const char *mica_host_check_roi_align(const struct mica_host_step *s)
{
	const struct mica_host_tensor *x = &s->in[0], *rois = &s->in[1], *y = &s->out;

	if (x->rank != 4 || rois->rank != 2 || y->rank != 4 || rois->dim[1] != 4 || mica_host_elements(&s->in[2]) != rois->dim[0])
		return "the operands do not fit";
	if (y->dim[0] != rois->dim[0] || y->dim[1] != x->dim[1])
		return "the result does not fit";
	if (s->ints[0] < 0 || s->ints[0] > 1 || s->ints[1] < 0 || s->ints[1] > MAX_SAMPLES || s->ints[2] < 0 || s->ints[2] > 1)
		return "unknown attribute";
	return NULL;
}

struct roi { float y, x, bin_h, bin_w; uint64_t ny, nx; };

/* The four neighbours of a place, weighted; places beyond the border by more than a pixel count as zero. */
static float roi_sample(const float *plane, uint32_t h, uint32_t w, float y, float x, bool max)
{
	uint32_t y0, x0, y1, x1;
	float fy, fx, a, b, c, d;

	if (!(y >= -1 && y <= (float)h && x >= -1 && x <= (float)w))
		return 0;
	y = y > 0 ? y : 0;
	x = x > 0 ? x : 0;
	y0 = (uint32_t)y < h - 1 ? (uint32_t)y : h - 1;
	x0 = (uint32_t)x < w - 1 ? (uint32_t)x : w - 1;
	y1 = y0 < h - 1 ? y0 + 1 : y0;
	x1 = x0 < w - 1 ? x0 + 1 : x0;
	fy = y0 < h - 1 ? y - (float)y0 : 0;
	fx = x0 < w - 1 ? x - (float)x0 : 0;
	a = (1 - fy) * (1 - fx) * plane[(uint64_t)y0 * w + x0];
	b = (1 - fy) * fx * plane[(uint64_t)y0 * w + x1];
	c = fy * (1 - fx) * plane[(uint64_t)y1 * w + x0];
	d = fy * fx * plane[(uint64_t)y1 * w + x1];
	return max ? fmaxf(fmaxf(a, b), fmaxf(c, d)) : a + b + c + d;
}

static bool read_roi(struct mica_host_call *c, const float *p, struct roi *r)
{
	const struct mica_host_step *s = c->step;
	float scale = s->floats[0], off = s->ints[2] ? 0.5f : 0, h, w, ny, nx;

	r->x = p[0] * scale - off;
	r->y = p[1] * scale - off;
	w = p[2] * scale - off - r->x;
	h = p[3] * scale - off - r->y;
	if (!s->ints[2]) {
		w = w > 1 ? w : 1;
		h = h > 1 ? h : 1;
	}
	r->bin_h = h / (float)s->out.dim[2];
	r->bin_w = w / (float)s->out.dim[3];
	ny = s->ints[1] ? (float)s->ints[1] : ceilf(r->bin_h);
	nx = s->ints[1] ? (float)s->ints[1] : ceilf(r->bin_w);
	if (!(ny <= MAX_SAMPLES && nx <= MAX_SAMPLES && isfinite(r->x) && isfinite(r->y))) {
		snprintf(c->why, sizeof(c->why), "a region of %.9g x %.9g pixels is out of proportion", (double)h, (double)w);
		return false;
	}
	r->ny = ny > 0 ? (uint64_t)ny : 0;
	r->nx = nx > 0 ? (uint64_t)nx : 0;
	return true;
}

static float roi_bin(const struct mica_host_call *c, const struct roi *r, const float *plane, uint32_t i, uint32_t k)
{
	const struct mica_host_tensor *x = &c->step->in[0];
	bool max = c->step->ints[0], first = true;
	float sum = 0;

	for (uint64_t a = 0; a < r->ny; a++)
		for (uint64_t b = 0; b < r->nx; b++) {
			float y = r->y + (float)i * r->bin_h + ((float)a + 0.5f) * r->bin_h / (float)r->ny;
			float at = r->x + (float)k * r->bin_w + ((float)b + 0.5f) * r->bin_w / (float)r->nx;
			float v = roi_sample(plane, x->dim[2], x->dim[3], y, at, max);

			sum = !max ? sum + v : first || v > sum ? v : sum;
			first = false;
		}
	return max || !r->ny || !r->nx ? sum : sum / (float)(r->ny * r->nx);
}

int mica_host_run_roi_align(struct mica_host_call *c)
{
	const struct mica_host_tensor *x = &c->step->in[0], *y = &c->step->out;
	uint64_t plane = (uint64_t)x->dim[2] * x->dim[3], batch;
	float *out = c->out;

	for (uint32_t n = 0; n < y->dim[0]; n++) {
		struct roi r;

		if (!host_index(c, c->in[2][n], x->dim[0], &batch) || !read_roi(c, c->in[1] + 4ull * n, &r))
			return -1;
		for (uint32_t ch = 0; ch < y->dim[1]; ch++)
			for (uint32_t i = 0; i < y->dim[2]; i++) {
				if (stopped(c))
					return -1;
				for (uint32_t k = 0; k < y->dim[3]; k++)
					*out++ = roi_bin(c, &r, c->in[0] + (batch * x->dim[1] + ch) * plane, i, k);
			}
	}
	return 0;
}

/* ---- GRID_SAMPLE ---- */

const char *mica_host_check_grid_sample(const struct mica_host_step *s)
{
	const struct mica_host_tensor *x = &s->in[0], *grid = &s->in[1], *y = &s->out;
	unsigned axes = x->rank - 2;

	if (x->rank < 4 || x->rank > 5 || grid->rank != x->rank || y->rank != x->rank)
		return "the ranks do not fit";
	if (grid->dim[0] != x->dim[0] || grid->dim[x->rank - 1] != axes || y->dim[0] != x->dim[0] || y->dim[1] != x->dim[1])
		return "the dimensions do not fit";
	for (unsigned i = 0; i < axes; i++)
		if (y->dim[i + 2] != grid->dim[i + 1])
			return "the dimensions do not fit";
	if (s->ints[0] < 0 || s->ints[0] >= MICA_HOST_SAMPLES || s->ints[1] < 0 || s->ints[1] >= MICA_HOST_BORDERS || s->ints[2] < 0 || s->ints[2] > 1)
		return "unknown attribute";
	return s->ints[0] == MICA_HOST_CUBIC && axes != 2 ? "cubic sampling has two axes" : NULL;
}

/* Mirrored at lo and hi as often as it takes. */
static float reflect(float v, float lo, float hi)
{
	float range = hi - lo, off, turns;

	if (!(range > 0) || !isfinite(v))
		return lo > 0 ? lo : 0;
	if (v >= lo && v <= hi)
		return v;
	off = v < lo ? lo - v : v - hi;
	turns = floorf(off / range);
	off -= turns * range;
	if (fmodf(turns, 2) != 0)
		off = range - off;
	return v < lo ? lo + off : hi - off;
}

struct sampler {
	const uint32_t *dim;		/* of the spatial axes */
	unsigned axes;
	int64_t border;
	bool aligned;
	const float *plane;
};

/* The pixel at whole coordinates, which may lie outside. */
static float pixel(const struct sampler *s, const float *at)
{
	uint64_t flat = 0;

	for (unsigned i = 0; i < s->axes; i++) {
		float v = at[i], last = (float)(s->dim[i] - 1);

		if (!(v >= 0 && v <= last)) {
			if (s->border == MICA_HOST_ZEROS || isnan(v))
				return 0;
			if (s->border == MICA_HOST_REFLECT)
				v = s->aligned ? reflect(v, 0, last) : reflect(v, -0.5f, last + 0.5f);
			v = v > 0 ? v < last ? v : last : 0;
		}
		flat = flat * s->dim[i] + (uint64_t)v;
	}
	return s->plane[flat];
}

static float sample_linear(const struct sampler *s, const float *at)
{
	float base[3], part[3], sum = 0;

	for (unsigned i = 0; i < s->axes; i++) {
		base[i] = floorf(at[i]);
		part[i] = at[i] - base[i];
	}
	for (unsigned corner = 0; corner < 1u << s->axes; corner++) {
		float where[3], weight = 1;

		for (unsigned i = 0; i < s->axes; i++) {
			bool up = corner >> i & 1;

			where[i] = base[i] + (up ? 1 : 0);
			weight *= up ? part[i] : 1 - part[i];
		}
		if (weight != 0)
			sum += weight * pixel(s, where);
	}
	return sum;
}

static void cubic_weights(float t, float w[4])
{
	const float a = -0.75f;
	float d[4] = { 1 + t, t, 1 - t, 2 - t };

	for (unsigned i = 0; i < 4; i++)
		w[i] = i == 1 || i == 2 ? ((a + 2) * d[i] - (a + 3)) * d[i] * d[i] + 1 : ((a * d[i] - 5 * a) * d[i] + 8 * a) * d[i] - 4 * a;
}

static float sample_cubic(const struct sampler *s, const float *at)
{
	float y = floorf(at[0]), x = floorf(at[1]), wy[4], wx[4], sum = 0;

	cubic_weights(at[0] - y, wy);
	cubic_weights(at[1] - x, wx);
	for (int i = 0; i < 4; i++) {
		float row = 0;

		for (int k = 0; k < 4; k++) {
			float where[2] = { y + (float)(i - 1), x + (float)(k - 1) };

			row += wx[k] * pixel(s, where);
		}
		sum += wy[i] * row;
	}
	return sum;
}

/* From -1..1 to pixels; brought inside when the border asks for that. */
static float place(const struct sampler *s, unsigned axis, float g, int64_t how)
{
	float n = (float)s->dim[axis], v = s->aligned ? (g + 1) / 2 * (n - 1) : ((g + 1) * n - 1) / 2;
	float lo = s->aligned ? 0 : -0.5f, hi = s->aligned ? n - 1 : n - 0.5f;

	if (how == MICA_HOST_NEAREST)	/* half-way: to even in images, away from zero in volumes, as ONNX has it */
		v = s->axes == 2 ? rintf(v) : copysignf(floorf(fabsf(v) + 0.5f), v);
	if (v >= lo && v <= hi)
		return v;
	if (s->border == MICA_HOST_EDGE)
		v = v > 0 ? v < n - 1 ? v : n - 1 : 0;
	else if (s->border == MICA_HOST_REFLECT)
		v = reflect(v, lo, hi);
	return v;
}

static float sample(const struct sampler *s, const float *grid, int64_t how)
{
	float at[3];

	for (unsigned i = 0; i < s->axes; i++) {	/* the grid names the last axis first */
		at[i] = place(s, i, grid[s->axes - 1 - i], how);
		if (!isfinite(at[i]))
			return 0;
	}
	return how == MICA_HOST_LINEAR ? sample_linear(s, at) : how == MICA_HOST_CUBIC ? sample_cubic(s, at) : pixel(s, at);
}

int mica_host_run_grid_sample(struct mica_host_call *c)
{
	const struct mica_host_tensor *x = &c->step->in[0], *y = &c->step->out;
	struct sampler s = { .dim = x->dim + 2, .axes = x->rank - 2, .border = c->step->ints[1], .aligned = c->step->ints[2] };
	uint64_t plane = host_extent(x, 2, x->rank), places = host_extent(y, 2, y->rank), k = 0;

	for (uint32_t n = 0; n < y->dim[0]; n++)
		for (uint32_t ch = 0; ch < y->dim[1]; ch++) {
			if (stopped(c))
				return -1;
			s.plane = c->in[0] + ((uint64_t)n * x->dim[1] + ch) * plane;
			for (uint64_t p = 0; p < places; p++)
				c->out[k++] = sample(&s, c->in[1] + (n * places + p) * s.axes, c->step->ints[0]);
		}
	return 0;
}

/* ---- MAX_POOL_INDEX ---- */

const char *mica_host_check_max_pool_index(const struct mica_host_step *s)
{
	const struct mica_host_tensor *x = &s->in[0], *y = &s->out;

	if (x->rank < 3 || x->rank > 5 || y->rank != x->rank || x->dim[0] != y->dim[0] || x->dim[1] != y->dim[1])
		return "the ranks or dimensions do not fit";
	if (mica_host_elements(x) > HOST_EXACT)
		return "f32 does not hold so large indices exactly";
	for (unsigned i = 0; i < 3; i++) {
		int64_t k = s->ints[i], stride = s->ints[3 + i], dil = s->ints[6 + i], pad = s->ints[9 + i];

		if (i + 2 >= x->rank ? k || stride || dil || pad
				     : k < 1 || k > 65535 || stride < 1 || stride > 65535 || dil < 1 || dil > 65535 || pad < 0 || pad > 65535)
			return "unknown attribute";
		if (i + 2 < x->rank && (int64_t)(y->dim[i + 2] - 1) * stride - pad >= x->dim[i + 2])
			return "a window starts behind the operand";
	}
	return s->ints[12] < 0 || s->ints[12] > 1 ? "unknown attribute" : NULL;
}

struct pooling {
	const int64_t *a;
	uint32_t in[3], out[3];		/* spatial extents, absent ones 1 */
	bool column_major;
};

/* First tap of a window that is inside, and one behind the last. */
static void taps(const struct pooling *p, unsigned axis, uint32_t o, int64_t *from, int64_t *lo, int64_t *hi)
{
	int64_t k = p->a[axis] ? p->a[axis] : 1, stride = p->a[3 + axis], dil = p->a[6 + axis] ? p->a[6 + axis] : 1;

	*from = (int64_t)o * stride - p->a[9 + axis];
	*lo = *from < 0 ? (-*from + dil - 1) / dil : 0;
	*hi = *from < p->in[axis] ? ((int64_t)p->in[axis] - 1 - *from) / dil + 1 : 0;
	*hi = *hi < k ? *hi : k;
}

static uint64_t window_max(const struct pooling *p, const float *plane, const uint32_t o[3])
{
	int64_t from[3], lo[3], hi[3], dil[3], best[3] = { 0 };
	float most = 0;
	bool have = false;

	for (unsigned i = 0; i < 3; i++) {
		taps(p, i, o[i], &from[i], &lo[i], &hi[i]);
		dil[i] = p->a[6 + i] ? p->a[6 + i] : 1;
	}
	for (int64_t a = lo[0]; a < hi[0]; a++)
		for (int64_t b = lo[1]; b < hi[1]; b++)
			for (int64_t c = lo[2]; c < hi[2]; c++) {
				int64_t at[3] = { from[0] + a * dil[0], from[1] + b * dil[1], from[2] + c * dil[2] };
				float v = plane[(at[0] * p->in[1] + at[1]) * p->in[2] + at[2]];

				if (have && !(v > most))
					continue;
				have = true;
				most = v;
				memcpy(best, at, sizeof(best));
			}
	if (p->column_major)
		return (uint64_t)((best[2] * p->in[1] + best[1]) * p->in[0] + best[0]);
	return (uint64_t)((best[0] * p->in[1] + best[1]) * p->in[2] + best[2]);
}

int mica_host_run_max_pool_index(struct mica_host_call *c)
{
	const struct mica_host_tensor *x = &c->step->in[0], *y = &c->step->out;
	struct pooling p = { .a = c->step->ints, .in = { 1, 1, 1 }, .out = { 1, 1, 1 }, .column_major = c->step->ints[12] };
	uint64_t planes = (uint64_t)x->dim[0] * x->dim[1], size = host_extent(x, 2, x->rank), k = 0;
	uint32_t o[3];

	for (unsigned i = 2; i < x->rank; i++) {
		p.in[i - 2] = x->dim[i];
		p.out[i - 2] = y->dim[i];
	}
	for (uint64_t n = 0; n < planes; n++)
		for (o[0] = 0; o[0] < p.out[0]; o[0]++)
			for (o[1] = 0; o[1] < p.out[1]; o[1]++) {
				if (stopped(c))
					return -1;
				for (o[2] = 0; o[2] < p.out[2]; o[2]++)
					c->out[k++] = (float)(n * size + window_max(&p, c->in[0] + n * size, o));
			}
	return 0;
}
