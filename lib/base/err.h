/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Errors: a negative errno for control flow, one line of text for users.
 *
 * A fallible function returns 0 (or a count) on success and -errno on failure. Its last parameter
 * is a struct stow_err owned by the caller, or NULL when the text is not needed. On failure
 * `err->code` is the positive errno and the return value is -err->code. On success its contents
 * mean nothing: a step that failed, and whose failure does not count, may have filled it. So only
 * the return value tells whether a function has failed. Nothing is allocated, so out of memory can
 * be reported, too. Control characters and invalid UTF-8 in the text become '?': it may quote
 * untrusted input.
 *
 * The one exception to "err comes last": printf-like functions take it before the format.
 */

struct stow_err {
	int code;
	char msg[1024];
};

/* Fill `err` (if not NULL) with `errnum` (positive) and the text. Return -errnum. */
int stow_err_set(struct stow_err *err, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Do the same, and append ": " and the text of `errnum`. */
int stow_err_sys(struct stow_err *err, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Put "text: " before the message of `err`. Return `r`, for use as `return stow_err_wrap(err, r,
 * "while reading %s", path)`. */
int stow_err_wrap(struct stow_err *err, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Take over the text of an error that was kept apart until it was known to count. Return `r`, the
 * negative errno that it counts as. */
int stow_err_move(struct stow_err *err, int r, const struct stow_err *from);

/*
 * The first failure of several steps that are all taken, whatever becomes of them:
 *
 *	struct stow_first first = { .err = err };
 *
 *	stow_first_note(&first, stow_this(root, first.err));
 *	stow_first_note(&first, stow_that(root, first.err));
 *	return first.code;
 */
struct stow_first {
	int code;	      /* the -errno of the first failure; 0: none */
	struct stow_err *err; /* where the next step puts its text; NULL from the first failure on */
};

/* Note what a step has returned; a negative number is a failure. Return it. */
int stow_first_note(struct stow_first *first, int r);
