// SPDX-License-Identifier: MIT
/*
 * Pieces that live together. In the order of births, those born during a piece's life follow it without a gap; those
 * that are older and still alive at its birth are kept as a list. So only births cost memory, not every step.
 */
#include <stdlib.h>
#include "plan_neighbors.h"

static int by_birth(const void *a, const void *b, void *context)
{
	const struct plan_model *m = context;
	uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
	uint32_t x = m->piece[i].first, y = m->piece[k].first;

	return x != y ? (x < y ? -1 : 1) : i < k ? -1 : i > k;
}

static int list_older(struct plan_neighbors *nb, size_t most)
{
	const struct plan_piece *piece = nb->m->piece;
	uint32_t *live = calloc(nb->m->pieces + 1, sizeof(*live));
	size_t n = 0, room = 0, used = 0;
	int ret = live ? 0 : -1;

	for (size_t r = 0; r < nb->m->pieces && !ret; r++) {
		uint32_t p = nb->sorted[r];
		size_t kept = 0;

		for (size_t i = 0; i < n; i++)
			if (piece[live[i]].last >= piece[p].first)
				live[kept++] = live[i];
		n = kept;
		nb->start[r] = used;
		if (used + n > room) {
			uint32_t *more = realloc(nb->older, (2 * room + n + 1024) * sizeof(*more));

			room = 2 * room + n + 1024;
			nb->older = more ? more : nb->older;
			ret = more ? 0 : -1;
		}
		if (used + n > most)
			ret = 1;
		for (size_t i = 0; i < n && !ret; i++)
			nb->older[used++] = live[i];
		live[n++] = p;
	}
	nb->start[nb->m->pieces] = used;
	free(live);
	return ret;
}

int plan_neighbors_make(const struct plan_model *m, size_t most, struct plan_neighbors *nb)
{
	*nb = (struct plan_neighbors){ .m = m };
	nb->sorted = calloc(m->pieces + 1, sizeof(*nb->sorted));
	nb->rank = calloc(m->pieces + 1, sizeof(*nb->rank));
	nb->start = calloc(m->pieces + 1, sizeof(*nb->start));
	if (!nb->sorted || !nb->rank || !nb->start)
		return -1;
	for (uint32_t i = 0; i < m->pieces; i++)
		nb->sorted[i] = i;
	qsort_r(nb->sorted, m->pieces, sizeof(*nb->sorted), by_birth, (void *)m);
	for (uint32_t r = 0; r < m->pieces; r++)
		nb->rank[nb->sorted[r]] = r;
	return list_older(nb, most);
}

void plan_neighbors_free(struct plan_neighbors *nb)
{
	free(nb->sorted);
	free(nb->rank);
	free(nb->start);
	free(nb->older);
}

size_t plan_neighbors_of(const struct plan_neighbors *nb, uint32_t p, uint32_t *out)
{
	const struct plan_piece *piece = nb->m->piece;
	uint32_t r = nb->rank[p];
	size_t n = 0;

	for (size_t i = nb->start[r]; i < nb->start[r + 1]; i++)
		out[n++] = nb->older[i];
	for (size_t k = r + 1ull; k < nb->m->pieces && piece[nb->sorted[k]].first <= piece[p].last; k++)
		out[n++] = nb->sorted[k];
	return n;
}
