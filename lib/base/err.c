// SPDX-License-Identifier: Apache-2.0
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

int stow_err_set(struct stow_err *err, int errnum, const char *fmt, ...)
{
	if (err) {
		va_list ap;

		va_start(ap, fmt);
		vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
		va_end(ap);
		stow_text_clean(err->msg, sizeof(err->msg));
		err->code = errnum;
	}
	return -errnum;
}

int stow_err_sys(struct stow_err *err, int errnum, const char *fmt, ...)
{
	if (err) {
		char reason[128];
		va_list ap;
		int n;

		va_start(ap, fmt);
		n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
		va_end(ap);
		if (n >= 0 && (size_t)n < sizeof(err->msg))
			snprintf(err->msg + n, sizeof(err->msg) - (size_t)n, ": %s",
				 strerror_r(errnum, reason, sizeof(reason)));
		stow_text_clean(err->msg, sizeof(err->msg));
		err->code = errnum;
	}
	return -errnum;
}

int stow_err_wrap(struct stow_err *err, int r, const char *fmt, ...)
{
	if (err) {
		char inner[sizeof(err->msg)];
		va_list ap;
		int n;

		memcpy(inner, err->msg, sizeof(inner));
		va_start(ap, fmt);
		n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
		va_end(ap);
		if (n >= 0 && (size_t)n < sizeof(err->msg)) {
			/* Truncate what does not fit: a message is one line, not a log. */
			snprintf(err->msg + n, sizeof(err->msg) - (size_t)n, ": %s", inner);
		}
		stow_text_clean(err->msg, sizeof(err->msg));
	}
	return r;
}

int stow_err_move(struct stow_err *err, int r, const struct stow_err *from)
{
	return stow_err_set(err, -r, "%s", from->msg);
}

int stow_first_note(struct stow_first *first, int r)
{
	if (r < 0 && !first->code) {
		first->code = r;
		first->err = NULL;
	}
	return r;
}
