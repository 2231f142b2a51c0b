// SPDX-License-Identifier: MIT
/* Errors: the first one wins, its text names place and remedy. */
#include <errno.h>
#include <stdarg.h>
#include "compiler.h"
#include "mica.h"

int mica_err_set(struct mica_err *err, enum mica_err_code code, const char *fmt, ...)
{
	va_list ap;

	if (!err || err->code)
		return -(int)code;
	err->code = code;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return -(int)code;
}

int mica_err_output(struct mica_err *err, int ret)
{
	return ret ? mica_err_set(err, ret == -ENOMEM ? MICA_ERR_MEMORY : MICA_ERR_FILE, "%s", mica_error_text()) : 0;
}
