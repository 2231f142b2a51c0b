// SPDX-License-Identifier: MIT
/* Models as problems of the exact search: time in sections between neighbouring births and deaths, sizes in units. */
#include <stdlib.h>
#include "plan_exact.h"

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int32_t section_of(const uint64_t *at, size_t n, uint64_t t)
{
	const uint64_t *found = bsearch(&t, at, n, sizeof(*at), by_value);

	return (int32_t)(found - at);
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t t = a % b;

		a = b;
		b = t;
	}
	return a;
}

uint64_t plan_unit(const struct plan_model *m)
{
	uint64_t unit = 0;

	for (size_t i = 0; i < m->pieces; i++)
		unit = gcd(unit, m->piece[i].size);
	for (size_t i = 0; i < m->things; i++) {
		if (m->thing[i].align > 1)
			unit = gcd(unit, m->thing[i].align);
		if (m->thing[i].fixed)
			unit = gcd(unit, m->thing[i].at);
	}
	return unit ? unit : 1;
}

/* No level reaches half the range, so that a larger alignment leaves the bottom only, as this one does. */
static int32_t units_of_align(uint64_t align, uint64_t unit)
{
	uint64_t units = align > 1 ? align / unit : 1;

	return units < PLAN_SEARCH_UNITS / 2 ? (int32_t)units : PLAN_SEARCH_UNITS / 2;
}

static size_t find_sections(const struct plan_model *m, uint64_t *at)
{
	size_t n = 0, distinct = 0;

	for (size_t i = 0; i < m->pieces; i++) {
		at[n++] = m->piece[i].first;
		at[n++] = m->piece[i].last + 1ull;
	}
	qsort(at, n, sizeof(*at), by_value);
	for (size_t i = 0; i < n; i++)
		if (!i || at[i] != at[distinct - 1])
			at[distinct++] = at[i];
	return distinct;
}

int plan_sections(const struct plan_model *m, uint64_t unit, struct px_buf **px, int32_t *sections)
{
	uint64_t *at = calloc(2 * m->pieces + 1, sizeof(*at));
	size_t distinct;

	*px = calloc(m->pieces + 1, sizeof(**px));
	if (!*px || !at) {
		free(at);
		return -1;
	}
	distinct = find_sections(m, at);
	*sections = distinct ? (int32_t)distinct - 1 : 0;
	for (size_t i = 0; i < m->pieces; i++) {
		const struct plan_piece *p = &m->piece[i];
		const struct plan_thing *t = &m->thing[p->thing];

		(*px)[i] = (struct px_buf){
			.first = section_of(at, distinct, p->first), .end = section_of(at, distinct, p->last + 1ull),
			.size = (int32_t)(p->size / unit), .align = units_of_align(t->align, unit),
			.at = t->fixed ? (int32_t)(t->at / unit) : -1, .group = t->start, .members = t->count,
			.from = section_of(at, distinct, m->piece[t->start].first),
			.until = section_of(at, distinct, m->piece[t->start + t->count - 1].last + 1ull),
		};
	}
	free(at);
	return 0;
}
