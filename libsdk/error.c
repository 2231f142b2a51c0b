// SPDX-License-Identifier: MIT
/* Error text per thread, names of what the device reports, deadlines and what waits for them. */
#include <errno.h>
#include <stdarg.h>
#include <time.h>
#include "mica/regs.h"
#include "sdk.h"

#ifndef MICA_VERSION
#define MICA_VERSION "0.0.0"
#endif

static _Thread_local char error_text[1024];

const char *mica_version(void)
{
	return MICA_VERSION;
}

const char *mica_error_text(void)
{
	return error_text;
}

int sdk_err(int err, const char *fmt, ...)
{
	char text[sizeof(error_text)];	/* an argument may be error_text itself */
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(error_text, sizeof(error_text), "%s", text);
	return -err;
}

int sdk_nomem(const char *what)
{
	return sdk_err(ENOMEM, "out of memory for %s", what);
}

const char *fault_name(unsigned code)
{
	static const char *const names[] = {
		[MICA_FAULT_NONE] = "no fault",
		[MICA_FAULT_PACKET] = "a command packet was refused",
		[MICA_FAULT_SEGMENT] = "an access outside its segment",
		[MICA_FAULT_MMU] = "an address without translation",
		[MICA_FAULT_MMU_WRITE] = "a write to a read-only page",
		[MICA_FAULT_BUS] = "a host bus error",
		[MICA_FAULT_STREAM] = "the command stream ran out without END",
		[MICA_FAULT_BARRIER] = "the barriers of the cores do not match",
		[MICA_FAULT_DESC] = "a bad job descriptor",
		[MICA_FAULT_ECC] = "an ECC error in LMEM",
		[MICA_FAULT_WATCHDOG] = "no progress within the watchdog period",
		[MICA_FAULT_ABORTED] = "aborted",
	};

	return code < sizeof(names) / sizeof(names[0]) ? names[code] : "an unknown fault";
}

int64_t deadline_after(int64_t timeout_ns)
{
	struct timespec now;
	int64_t t;

	if (timeout_ns < 0)
		return INT64_MAX;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (__builtin_add_overflow((int64_t)now.tv_sec * 1000000000 + now.tv_nsec, timeout_ns, &t))
		return INT64_MAX;
	return t;
}

int sdk_sync_init(pthread_mutex_t *lock, pthread_cond_t *changed)
{
	pthread_condattr_t attr;
	int ret = pthread_mutex_init(lock, NULL);

	if (ret)
		return ret;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	ret = pthread_cond_init(changed, &attr);
	pthread_condattr_destroy(&attr);
	if (ret)
		pthread_mutex_destroy(lock);
	return ret;
}
