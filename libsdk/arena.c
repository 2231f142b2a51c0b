// SPDX-License-Identifier: MIT
/* Arenas: one buffer for the intermediate values of sessions that take turns. */
#include <errno.h>
#include <stdlib.h>
#include "sdk.h"

struct mica_arena {
	atomic_uint refs;
	struct mica_device *dev;		/* reference */
	pthread_mutex_t lock;			/* protects what follows */
	struct mica_buffer *buf;		/* NULL until a session needs any */
	unsigned turn;				/* counts buffers */
	const struct mica_session *user;	/* has a job in flight */
};

int mica_arena_create(struct mica_device *dev, struct mica_arena **out)
{
	struct mica_arena *a;

	*out = NULL;
	if (!dev)
		return sdk_err(EINVAL, "an arena needs a device");
	a = calloc(1, sizeof(*a));
	if (!a)
		return sdk_nomem("an arena");
	if (pthread_mutex_init(&a->lock, NULL)) {
		free(a);
		return sdk_nomem("an arena's lock");
	}
	atomic_init(&a->refs, 1);
	device_get(dev);
	a->dev = dev;
	*out = a;
	return 0;
}

void arena_leave(struct mica_arena *a)
{
	if (!a || atomic_fetch_sub(&a->refs, 1) != 1)
		return;
	mica_buffer_free(a->buf);
	device_put(a->dev);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

void mica_arena_destroy(struct mica_arena *a)
{
	arena_leave(a);
}

size_t mica_arena_size(struct mica_arena *a)
{
	size_t size;

	pthread_mutex_lock(&a->lock);
	size = a->buf ? a->buf->size : 0;
	pthread_mutex_unlock(&a->lock);
	return size;
}

/* The old buffer goes: sessions bind the new one when they run next. Called with the lock. */
static int grow(struct mica_arena *a, size_t size)
{
	struct mica_buffer *larger;
	int ret;

	if (a->user)
		return sdk_err(EBUSY, "the arena must grow to %zu bytes, and one of its sessions has a job in flight: wait for it first", size);
	ret = mica_buffer_alloc(a->dev, size, &larger);
	if (ret)
		return ret;
	mica_buffer_free(a->buf);
	a->buf = larger;
	a->turn++;
	return 0;
}

int arena_join(struct mica_arena *a, struct mica_device *dev, size_t size)
{
	int ret = 0;

	if (a->dev != dev)
		return sdk_err(EINVAL, "the arena belongs to another device than the model");
	pthread_mutex_lock(&a->lock);
	if (size > (a->buf ? a->buf->size : 0))
		ret = grow(a, size);
	pthread_mutex_unlock(&a->lock);
	if (!ret)
		atomic_fetch_add(&a->refs, 1);
	return ret;
}

/* Called with the lock. False when the session has the arena's buffer already. */
static bool bind_buffer(struct mica_session *s)
{
	struct segment *seg = &s->seg[MICA_SEG_ARENA];

	if (!seg->size || s->arena_turn == s->arena->turn)
		return false;
	seg->buf = s->arena->buf;
	seg->offset = 0;
	s->arena_turn = s->arena->turn;
	return true;
}

void arena_bind(struct mica_session *s)
{
	if (!s->arena)
		return;
	pthread_mutex_lock(&s->arena->lock);
	bind_buffer(s);
	pthread_mutex_unlock(&s->arena->lock);
}

int arena_enter(struct mica_session *s)
{
	struct mica_arena *a = s->arena;
	bool moved = false;
	int ret = 0;

	if (!a || !s->seg[MICA_SEG_ARENA].size)
		return 0;
	pthread_mutex_lock(&a->lock);
	if (a->user) {
		ret = sdk_err(EBUSY, "another session of the arena has a job in flight: wait for it first");
	} else {
		a->user = s;
		moved = bind_buffer(s);
	}
	pthread_mutex_unlock(&a->lock);
	if (moved)
		s->model->dev->be->session_bind(s, MICA_SEG_ARENA);
	return ret;
}

void arena_exit(struct mica_session *s)
{
	struct mica_arena *a = s->arena;

	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	if (a->user == s)
		a->user = NULL;
	pthread_mutex_unlock(&a->lock);
}
