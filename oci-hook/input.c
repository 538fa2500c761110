// SPDX-License-Identifier: Apache-2.0
#include "oci-hook/input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/read.h"
#include "oci-hook/state.h"

#define BUFFER	 65536
#define KEY_KEPT 16 /* characters of a key: more than those of the keys looked for */

/* A scanner of JSON, one byte after the other. It knows the members of the outermost object, and
 * those of its "annotations". */
struct scanner {
	char *out;
	size_t len, size;
	bool broken; /* not an object, or it does not fit */
	unsigned depth;
	bool string, escape; /* within a string; behind a backslash */
	unsigned digits;     /* of \uXXXX, left */
	unsigned character;
	char key[KEY_KEPT]; /* the last string of a member's name */
	size_t key_len;
	bool value;	  /* behind a member's colon */
	bool copy;	  /* the value is kept */
	bool annotations; /* it is, or is within, the member "annotations" */
	bool members;	  /* one was written */
	bool ours;	  /* an annotation of ours was written */
	bool ended;
};

static void put(struct scanner *s, const char *text, size_t len)
{
	if (len > s->size - s->len) {
		s->broken = true;
		return;
	}
	memcpy(s->out + s->len, text, len);
	s->len += len;
}

static void put_text(struct scanner *s, const char *text)
{
	put(s, text, strlen(text));
}

/* Return whether the scanner is where names and values of members are of interest. */
static bool is_member(const struct scanner *s)
{
	return s->depth == 1 || (s->depth == 2 && s->annotations);
}

static bool key_is(const struct scanner *s, const char *key)
{
	return s->key_len == strlen(key) && memcmp(s->key, key, s->key_len) == 0;
}

static void add_character(struct scanner *s, unsigned character)
{
	if (s->key_len == KEY_KEPT)
		return;
	/* What is not ASCII is in no key that is looked for. */
	s->key[s->key_len] = '\x7f';
	if (character && character < 0x7f)
		s->key[s->key_len] = (char)character;
	s->key_len++;
}

static unsigned hex_digit(char c)
{
	return c >= '0' && c <= '9' ? (unsigned)(c - '0') : ((unsigned)c | 0x20) - 'a' + 10;
}

static void scan_in_string(struct scanner *s, char c)
{
	if (s->digits) {
		s->character = s->character << 4 | (hex_digit(c) & 0xf);
		if (--s->digits == 0)
			add_character(s, s->character);
	} else if (s->escape) {
		s->escape = false;
		s->digits = c == 'u' ? 4 : 0;
		s->character = 0;
		if (c != 'u') /* of the short escapes a key has this one at most */
			add_character(s, c == '/' ? '/' : 0);
	} else if (c == '\\') {
		s->escape = true;
	} else if (c == '"') {
		s->string = false;
	} else {
		add_character(s, (unsigned char)c);
	}
	if (s->copy)
		put(s, &c, 1);
}

/* A colon of the outermost object. */
static void begin_value(struct scanner *s)
{
	static const char *const kept[] = { "id", "pid", "bundle", "annotations" };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(kept); i++)
		if (key_is(s, kept[i])) {
			put_text(s, s->members ? ",\"" : "\"");
			put_text(s, kept[i]);
			put_text(s, "\":");
			s->copy = s->members = true;
			s->annotations = strcmp(kept[i], "annotations") == 0;
		}
}

/* A colon of the annotations. */
static void begin_annotation(struct scanner *s)
{
	const size_t len = strlen(STOW_ANNOTATION_PREFIX);

	if (!s->ours && s->key_len >= len && memcmp(s->key, STOW_ANNOTATION_PREFIX, len) == 0) {
		put_text(s, "\"" STOW_ANNOTATION_PREFIX "\":\"\"");
		s->ours = true;
	}
}

static void open_nested(struct scanner *s, char c)
{
	s->broken |= s->depth == 0 && c != '{';
	if (s->depth == 0)
		put_text(s, "{");
	if (s->depth == 1 && s->annotations && c == '{') {
		put_text(s, "{");
		s->ours = s->value = false;
	} else if (s->depth == 1 && s->copy) {
		put_text(s, "0"); /* not of the type that it must have */
		s->annotations = false;
	}
	s->copy = false;
	s->depth++;
}

static void close_nested(struct scanner *s)
{
	s->broken |= s->depth == 0;
	s->ended = s->depth == 1;
	if (s->depth == 1 || (s->depth == 2 && s->annotations))
		put_text(s, "}");
	if (s->depth == 2)
		s->annotations = false;
	s->depth -= s->depth > 0;
}

static void scan(struct scanner *s, char c)
{
	if (s->string) {
		scan_in_string(s, c);
		return;
	}
	if (strchr(" \t\r\n", c) && c)
		return;
	s->broken |= s->ended || (s->depth == 0 && c != '{');
	if (c == '"') {
		s->string = true;
		s->key_len = 0;
	}
	if (c == '{' || c == '[') {
		open_nested(s, c);
	} else if (c == '}' || c == ']') {
		close_nested(s);
	} else if (c == ':' && is_member(s) && !s->value) {
		s->value = true;
		(s->depth == 1 ? begin_value : begin_annotation)(s);
	} else if (c == ',' && is_member(s)) {
		s->value = s->copy = false;
		s->annotations &= s->depth == 2;
	} else if (s->copy) {
		put(s, &c, 1);
	}
}

/* Scan what was read, and then the rest. */
static int scan_all(struct scanner *s, int fd, char *text, size_t len, size_t size,
		    const char *name, struct stow_err *err)
{
	ssize_t n = (ssize_t)len;

	do {
		for (ssize_t i = 0; i < n && !s->broken; i++)
			scan(s, text[i]);
		n = read(fd, text, size);
	} while (n > 0 || (n < 0 && errno == EINTR));
	return n < 0 ? stow_err_sys(err, errno, "%s", name) : 0;
}

int hook_input_read(int fd, size_t max, struct hook_input *ret, struct stow_err *err)
{
	static const char name[] = "the OCI state on standard input";
	_cleanup_free_ char *text = NULL, *out = NULL;
	struct scanner s = { .size = HOOK_STATE_MAX };
	size_t len;
	int r;

	r = stow_read_most(fd, max + 1, name, &text, &len, err);
	if (r < 0)
		return r;
	if (len <= max) {
		*ret = (struct hook_input){ STOW_TAKE_PTR(text), len, false };
		return 0;
	}
	s.out = out = malloc(s.size + 1);
	if (!out)
		return stow_err_sys(err, ENOMEM, "%s", name);
	r = scan_all(&s, fd, text, len, len, name, err);
	if (r < 0)
		return r;
	s.len = s.broken || !s.ended ? 0 : s.len;
	out[s.len] = '\0';
	*ret = (struct hook_input){ STOW_TAKE_PTR(out), s.len, true };
	return 0;
}

void hook_input_done(struct hook_input *input)
{
	free(input->text);
	*input = (struct hook_input){ 0 };
}

int hook_write_all(int fd, const char *text, size_t len, struct stow_err *err)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return stow_err_sys(err, errno, "writing config.json");
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

int hook_input_copy(int in, int out, const char *text, size_t len, struct stow_err *err)
{
	_cleanup_free_ char *buf = malloc(BUFFER);
	int r = buf ? hook_write_all(out, text, len, err)
		    : stow_err_sys(err, ENOMEM, "copying config.json");
	ssize_t n;

	while (r == 0 && (n = read(in, buf, BUFFER)) != 0) {
		if (n > 0)
			r = hook_write_all(out, buf, (size_t)n, err);
		else if (errno != EINTR)
			r = stow_err_sys(err, errno, "the config.json on standard input");
	}
	return r;
}
