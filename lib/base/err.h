/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Errors: a negative errno for control flow, one line of text for people.
 *
 * A fallible function returns 0 (or a count) on success and -errno on failure. Its last parameter
 * is a struct stow_err owned by the caller, or NULL when nobody wants the text. It is untouched on
 * success; on failure `err->code` is the positive errno and the return value is -err->code.
 * Nothing is allocated, so an error can be reported when memory has run out. Control characters in
 * the text become '?': it may quote what strangers wrote.
 *
 * The one exception to "err comes last": printf-like functions take it before the format.
 */

struct stow_err {
	int code;
	char msg[1024];
};

/* Fills `err` (when not NULL) with `errnum` (positive) and the text. Returns -errnum. */
int stow_err_set(struct stow_err *err, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Control characters in a text that is no error's become '?' as well. */
void stow_one_line(char *text);

/* Like stow_err_set(), with ": " and the text of `errnum` appended. */
int stow_err_sys(struct stow_err *err, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "text: " before the message that `err` has already. Returns `r`, so that one can write
 * `return stow_err_wrap(err, r, "while reading %s", path)`. */
int stow_err_wrap(struct stow_err *err, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
