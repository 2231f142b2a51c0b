// SPDX-License-Identifier: MIT
/*
 * Several sessions of one model at once on the CPU, each with threads of its own: how many inferences they do together,
 * how evenly, and the longest anybody waited.
 *   sessions MODEL.mica SESSIONS THREADS [SECONDS]
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "mica.h"

#define MAX_SESSIONS 256u

struct user {
	struct mica_session *session;
	pthread_t thread;
	unsigned long runs;
	double longest;			/* seconds */
	int failed;
};

static double seconds = 1;
static pthread_barrier_t start;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *work(void *arg)
{
	struct user *u = arg;
	double end, at;

	u->failed = mica_session_run(u->session, -1);
	pthread_barrier_wait(&start);
	at = now();
	end = at + seconds;
	while (!u->failed && at < end) {
		double from = at;

		u->failed = mica_session_run(u->session, -1);
		at = now();
		u->longest = at - from > u->longest ? at - from : u->longest;
		u->runs++;
	}
	return NULL;
}

static int report(const struct user *u, unsigned n, unsigned threads)
{
	unsigned long sum = 0, least = u->runs, most = 0;
	double longest = 0;

	for (unsigned i = 0; i < n; i++) {
		if (u[i].failed)
			return 1;
		sum += u[i].runs;
		least = u[i].runs < least ? u[i].runs : least;
		most = u[i].runs > most ? u[i].runs : most;
		longest = u[i].longest > longest ? u[i].longest : longest;
	}
	printf("{\"sessions\": %u, \"threads\": %u, \"per_second\": %.1f, \"least\": %lu, \"most\": %lu, \"longest_ms\": %.2f}\n",
	       n, threads, (double)sum / seconds, least, most, longest * 1e3);
	return 0;
}

int main(int argc, char **argv)
{
	struct mica_device_options o = MICA_DEVICE_OPTIONS_INIT;
	static struct user user[MAX_SESSIONS];
	struct mica_device *dev;
	struct mica_model *m;
	unsigned n = argc > 3 ? (unsigned)atoi(argv[2]) : 0;

	if (!n || n > MAX_SESSIONS) {
		fprintf(stderr, "usage: sessions MODEL.mica SESSIONS THREADS [SECONDS]\n");
		return 2;
	}
	o.backend = MICA_BACKEND_CPU;
	o.threads = (unsigned)atoi(argv[3]);
	seconds = argc > 4 && atof(argv[4]) > 0 ? atof(argv[4]) : 1;
	pthread_barrier_init(&start, NULL, n);
	if (mica_device_open(&o, &dev) || mica_model_load(dev, argv[1], &m))
		goto failed;
	for (unsigned i = 0; i < n; i++)
		if (mica_session_create(m, &user[i].session))
			goto failed;
	for (unsigned i = 0; i < n; i++)
		if (pthread_create(&user[i].thread, NULL, work, &user[i])) {
			perror("sessions");
			return 1;
		}
	for (unsigned i = 0; i < n; i++) {
		pthread_join(user[i].thread, NULL);
		mica_session_destroy(user[i].session);
	}
	mica_model_close(m);
	mica_device_close(dev);
	return report(user, n, o.threads);
failed:
	fprintf(stderr, "sessions: %s\n", mica_error_text());
	return 1;
}
