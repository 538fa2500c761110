// SPDX-License-Identifier: Apache-2.0
#include "oci-hook/input.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/read.h"
#include "oci-hook/state.h"

#define BUFFER	65536
#define RAW_MAX (6 * sizeof(STOW_ANNOTATION_PREFIX)) /* each character as \uXXXX */

/* Copies JSON byte by byte, without what is within the objects and lists of the outermost object:
 * they become empty. If such an object has members with our prefix, it gets one member of that name
 * instead, so that it is still known to have them. */
struct filter {
	char *out;
	size_t len, size;
	unsigned depth;
	bool string, escape;	/* within a string; behind a backslash */
	char name[RAW_MAX + 1]; /* the beginning of the last string, as it is in the text */
	size_t name_len;
};

/* What does not fit is cut off: the result is not valid JSON, and parsing it fails. */
static void put(struct filter *f, const char *text, size_t len)
{
	len = STOW_MIN(len, f->size - f->len);
	memcpy(f->out + f->len, text, len);
	f->len += len;
}

/* Return whether a string begins with our prefix, in whatever way its characters are written. */
static bool is_ours(const char *name)
{
	for (const char *p = STOW_ANNOTATION_PREFIX; *p; p++) {
		char escaped[8];

		snprintf(escaped, sizeof(escaped), "\\u%04x", (unsigned)*p);
		if (*name == *p)
			name++;
		else if (strncasecmp(name, escaped, 6) == 0)
			name += 6;
		else if (*p == '/' && name[0] == '\\' && name[1] == '/')
			name += 2;
		else
			return false;
	}
	return true;
}

static void filter_in_string(struct filter *f, char c)
{
	f->string = c != '"' || f->escape;
	f->escape = c == '\\' && !f->escape;
	if (f->name_len < RAW_MAX)
		f->name[f->name_len++] = c;
	f->name[f->name_len] = '\0';
	if (f->depth < 2)
		put(f, &c, 1);
}

static void filter(struct filter *f, char c)
{
	static const char ours[] = "\"" STOW_ANNOTATION_PREFIX "\":\"\"";

	if (f->string) {
		filter_in_string(f, c);
		return;
	}
	if (c && strchr(" \t\r\n", c))
		return;
	f->depth -= f->depth && (c == '}' || c == ']');
	if (f->depth < 2)
		put(f, &c, 1);
	else if (f->depth == 2 && c == ':' && f->out[f->len - 1] == '{' && is_ours(f->name))
		put(f, ours, strlen(ours));
	f->depth += c == '{' || c == '[';
	f->string = c == '"';
	f->name_len = 0;
}

int hook_input_read(int fd, size_t max, struct hook_input *ret, struct stow_err *err)
{
	static const char name[] = "the OCI state on standard input";
	_cleanup_free_ char *text = NULL, *out = NULL;
	struct filter f = { .size = HOOK_STATE_MAX };
	size_t len;
	ssize_t n;
	int r;

	r = stow_read_most(fd, max + 1, name, &text, &len, err);
	if (r < 0)
		return r;
	if (len <= max) {
		*ret = (struct hook_input){ STOW_TAKE_PTR(text), len, false };
		return 0;
	}
	f.out = out = malloc(f.size + 1);
	if (!out)
		return stow_err_sys(err, ENOMEM, "%s", name);
	n = (ssize_t)len;
	do {
		for (ssize_t i = 0; i < n; i++)
			filter(&f, text[i]);
		n = read(fd, text, len);
	} while (n > 0 || (n < 0 && errno == EINTR));
	if (n < 0)
		return stow_err_sys(err, errno, "%s", name);
	out[f.len] = '\0';
	*ret = (struct hook_input){ STOW_TAKE_PTR(out), f.len, true };
	return 0;
}

void hook_input_done(struct hook_input *input)
{
	free(input->text);
	*input = (struct hook_input){ 0 };
}

int hook_write_config(int fd, const char *text, size_t len, struct stow_err *err)
{
	int r = stow_write_all(fd, text, len);

	return r < 0 ? stow_err_sys(err, -r, "writing config.json") : 0;
}

int hook_input_copy(int in, int out, const char *text, size_t len, struct stow_err *err)
{
	_cleanup_free_ char *buf = malloc(BUFFER);
	int r = buf ? hook_write_config(out, text, len, err)
		    : stow_err_sys(err, ENOMEM, "copying config.json");
	ssize_t n;

	while (r == 0 && (n = read(in, buf, BUFFER)) != 0) {
		if (n > 0)
			r = hook_write_config(out, buf, (size_t)n, err);
		else if (errno != EINTR)
			r = stow_err_sys(err, errno, "the config.json on standard input");
	}
	return r;
}
