// SPDX-License-Identifier: MIT
/* Many at once: threads, processes, contexts and buffers that come and go while jobs run and the device misbehaves. */
#include <pthread.h>
#include <signal.h>

#include "mica_test.h"

FIXTURE(stress)
{
	struct mt_rig r;
};

FIXTURE_SETUP(stress)
{
	int ret = mt_rig_open(&self->r);

	if (ret == -ENOENT)
		SKIP(return, "no MICA device");
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(stress)
{
	mt_rig_close(&self->r);
}

struct worker {
	int fd, rounds, bad;
	uint8_t id;
	pthread_t thread;
};

/* Context, buffers, a job, a look at the result, away with all of it. */
static void *churn(void *arg)
{
	struct worker *w = arg;
	struct mt_rig r = { .fd = w->fd };
	struct mt_job j;
	int i;

	for (i = 0; i < w->rounds; i++) {
		if (mt_ctx_create(r.fd, i % 3, &r.ctx) || mt_bo_create(r.fd, 8192, &r.cmd) ||
		    mt_bo_create(r.fd, MT_DATA_SIZE << (i % 6), &r.data)) {
			w->bad++;
			break;
		}
		mt_rig_fill_job(&r, &j, 0, 4096, w->id + i);
		if (mt_submit(r.fd, r.ctx, &j) || mt_wait(r.fd, &r.data) || !mt_all(r.data.map, 4096, w->id + i))
			w->bad++;
		mt_bo_destroy(r.fd, &r.cmd);
		mt_bo_destroy(r.fd, &r.data);
		mt_ctx_destroy(r.fd, r.ctx);
	}
	return NULL;
}

TEST_F_TIMEOUT(stress, threads_of_one_file_do_not_disturb_each_other, 120)
{
	struct worker w[6];
	int i;

	for (i = 0; i < 6; i++) {
		w[i] = (struct worker){ .fd = self->r.fd, .rounds = 40, .id = i * 40 };
		ASSERT_EQ(0, pthread_create(&w[i].thread, NULL, churn, &w[i]));
	}
	for (i = 0; i < 6; i++) {
		pthread_join(w[i].thread, NULL);
		EXPECT_EQ(0, w[i].bad);
	}
}

TEST_F_TIMEOUT(stress, processes_do_not_disturb_each_other, 120)
{
	struct worker w = { .rounds = 30 };
	pid_t pid[4];
	int i, status;

	for (i = 0; i < 4; i++) {
		pid[i] = fork();
		if (pid[i])
			continue;
		w.fd = mt_open();
		w.id = i * 30;
		churn(&w);
		_exit(w.bad ? 1 : 0);
	}
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(pid[i], waitpid(pid[i], &status, 0));
		EXPECT_EQ(0, status);
	}
}

/* Destroys contexts that others submit to at this very moment. */
static void *submitter(void *arg)
{
	struct mt_rig *r = arg;
	struct mt_job j;
	int ret;

	mt_rig_null_job(r, &j);
	do
		ret = mt_submit(r->fd, r->ctx, &j);
	while (!ret);
	return (void *)(intptr_t)ret;
}

TEST_F_TIMEOUT(stress, destroy_races_with_submit, 60)
{
	int i;

	for (i = 0; i < 200; i++) {
		pthread_t t;
		void *ret;

		ASSERT_EQ(0, pthread_create(&t, NULL, submitter, &self->r));
		usleep(i * 50);
		ASSERT_EQ(0, mt_ctx_destroy(self->r.fd, self->r.ctx));
		pthread_join(t, &ret);
		EXPECT_TRUE((intptr_t)ret == -ENOENT || (intptr_t)ret == -ECANCELED);
		ASSERT_EQ(0, mt_ctx_create(self->r.fd, DRM_MICA_PRIORITY_NORMAL, &self->r.ctx));
	}
}

TEST_F_TIMEOUT(stress, firmware_crashes_under_load_lose_no_job, 120)
{
	struct drm_mica_context_info info;
	uint32_t sync, n;
	struct mt_job j;
	int k;

	if (mt_inject(MICA_INJECT_NONE, 0))
		SKIP(return, "the device has no debug bank");
	ASSERT_EQ(0, mt_syncobj_create(self->r.fd, &sync));
	mt_rig_null_job(&self->r, &j);
	for (k = 0, n = 0; k < 5; k++) {
		int i;

		for (i = 0; i < 100; i++) {
			j.job.out_sync_count = 0;
			mt_job_out(&j, sync, ++n);
			ASSERT_EQ(0, mt_submit(self->r.fd, self->r.ctx, &j));
			if (i == 20)
				ASSERT_EQ(0, mt_inject(MICA_INJECT_FW_CRASH, 0));
		}
		ASSERT_EQ(0, mt_syncobj_wait(self->r.fd, sync, n, mt_now() + MT_LONG));
	}
	ASSERT_EQ(0, mt_ctx_info(self->r.fd, self->r.ctx, &info));
	EXPECT_EQ(n, info.jobs_done);
	EXPECT_EQ(0, info.jobs_failed);
}

TEST_F_TIMEOUT(stress, latency_of_a_null_job_is_reported, 60)
{
	int64_t start, best = INT64_MAX, sum = 0, t;
	uint32_t sync;
	struct mt_job j;
	int i;

	ASSERT_EQ(0, mt_syncobj_create(self->r.fd, &sync));
	mt_rig_null_job(&self->r, &j);
	mt_job_out(&j, sync, 0);
	for (i = 0; i < 500; i++) {
		start = mt_now();
		ASSERT_EQ(0, mt_submit(self->r.fd, self->r.ctx, &j));
		ASSERT_EQ(0, mt_syncobj_wait(self->r.fd, sync, 0, mt_now() + MT_LONG));
		t = mt_now() - start;
		sum += t;
		best = t < best ? t : best;
	}
	TH_LOG("null job by ioctl and syncobj: best %lld us, mean %lld us", (long long)best / 1000,
	       (long long)sum / 500000);
}

TEST_HARNESS_MAIN
