// SPDX-License-Identifier: Apache-2.0
#include "kube/json.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"

#define MESSAGE_MAX 400 /* bytes of an API server's message */

STOW_DEFINE_CLEANUP(json_tokener_free, struct json_tokener);

int stow_kube_parse(const char *text, size_t len, struct json_object **ret, struct stow_err *err)
{
	_cleanup_(json_tokener_free_ptr) struct json_tokener *tokener =
		json_tokener_new_ex(STOW_KUBE_DEPTH);
	_cleanup_json_ struct json_object *object = NULL;
	_cleanup_free_ char *copy = NULL;
	size_t end;

	if (!tokener || stow_text_json_names(text, len, &copy) < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	if (len > INT_MAX)
		return stow_err_set(err, EBADMSG, "the answer has %zu bytes", len);
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS |
						JSON_TOKENER_VALIDATE_UTF8);
	text = copy ? copy : text;
	object = json_tokener_parse_ex(tokener, text, (int)len);
	if (!object || json_tokener_get_error(tokener) != json_tokener_success)
		return stow_err_set(err, EBADMSG, "the answer is not a JSON object: %s",
				    json_tokener_error_desc(json_tokener_get_error(tokener)));
	end = json_tokener_get_parse_end(tokener);
	while (end < len && strchr(" \t\r\n", text[end]) && text[end])
		end++;
	if (end < len || !json_object_is_type(object, json_type_object))
		return stow_err_set(err, EBADMSG, "the answer is not one JSON object");
	*ret = STOW_TAKE_PTR(object);
	return 0;
}

/* Replace the objects and lists that are nested too deeply. */
static void replace_deep(char *text)
{
	bool in_string = false, escaped = false, replaced = false;
	size_t depth = 0;

	for (char *p = text; *p; p++) {
		char c = *p;
		bool deep;

		depth += !in_string && (c == '{' || c == '[');
		deep = depth >= STOW_KUBE_DEPTH;
		depth -= !in_string && (c == '}' || c == ']') && depth > 0;
		in_string = in_string ? escaped || c != '"' : c == '"';
		escaped = in_string && !escaped && c == '\\';
		if (deep)
			*p = replaced ? ' ' : '0';
		replaced = deep;
	}
}

static void replace_bytes(char *text)
{
	for (char *p = text; *p; p++)
		if ((unsigned char)*p >= 0x80) {
			size_t n = stow_text_character(p);

			if (n)
				p += n - 1;
			else
				*p = '?';
		}
}

int stow_kube_parse_list(const char *text, size_t len, struct json_object **ret,
			 struct stow_err *err)
{
	_cleanup_free_ char *copy = NULL;
	int r = stow_kube_parse(text, len, ret, err);

	if (r != -EBADMSG || memchr(text, '\0', len))
		return r;
	copy = strndup(text, len);
	if (!copy)
		return stow_err_set(err, ENOMEM, "out of memory");
	replace_deep(copy);
	replace_bytes(copy);
	return stow_kube_parse(copy, len, ret, err);
}

struct json_object *stow_kube_at(struct json_object *object, const char *path)
{
	char key[64];

	while (object && *path) {
		size_t len = strcspn(path, ".");

		if (len >= sizeof(key) || !json_object_is_type(object, json_type_object))
			return NULL;
		memcpy(key, path, len);
		key[len] = '\0';
		if (!json_object_object_get_ex(object, key, &object))
			return NULL;
		path += len + (path[len] == '.');
	}
	return object;
}

const char *stow_kube_text(struct json_object *object, const char *path)
{
	struct json_object *value = stow_kube_at(object, path);

	return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
}

int64_t stow_kube_number(struct json_object *object, const char *path, int64_t otherwise)
{
	struct json_object *value = stow_kube_at(object, path);

	return json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : otherwise;
}

bool stow_kube_is_true(struct json_object *object, const char *path)
{
	struct json_object *value = stow_kube_at(object, path);

	return json_object_is_type(value, json_type_boolean) && json_object_get_boolean(value);
}

struct json_object *stow_kube_list_at(struct json_object *object, const char *path, size_t *ret_n)
{
	struct json_object *value = stow_kube_at(object, path);

	*ret_n = 0;
	if (!json_object_is_type(value, json_type_array))
		return NULL;
	*ret_n = json_object_array_length(value);
	return value;
}

/* --- refusals ------------------------------------------------------------- */

/* Return whether a Status is that of a server-side apply which found fields of others. */
static bool is_owned(struct json_object *object)
{
	struct json_object *causes;
	bool owned = false;
	size_t n;

	causes = stow_kube_list_at(object, "details.causes", &n);
	for (size_t i = 0; i < n && !owned; i++)
		owned = strcmp(stow_kube_text(json_object_array_get_idx(causes, i), "reason"),
			       "FieldManagerConflict") == 0;
	return owned;
}

static int errno_of(long status, struct json_object *object)
{
	switch (status) {
	case 400:
	case 422:
		return EINVAL;
	case 401:
		return EACCES;
	case 403:
		return EPERM;
	case 404:
		return ENOENT;
	case 409:
		if (strcmp(stow_kube_text(object, "reason"), "AlreadyExists") == 0)
			return EEXIST;
		return is_owned(object) ? EUSERS : EBUSY;
	case 410:
		return ESTALE;
	case 413:
		return E2BIG;
	case 429:
		return EAGAIN;
	default:
		return EREMOTEIO;
	}
}

int stow_kube_refused(long status, struct json_object *object, struct stow_err *err)
{
	const char *message = stow_kube_text(object, "message");

	if (!message[0])
		return stow_err_set(err, errno_of(status, object),
				    "the API server answered %ld without a reason", status);
	return stow_err_set(err, errno_of(status, object), "the API server answered %ld: %.*s%s",
			    status, MESSAGE_MAX, message,
			    strlen(message) > MESSAGE_MAX ? "..." : "");
}

int stow_kube_refusal(long status, const char *text, size_t len, struct stow_err *err)
{
	_cleanup_json_ struct json_object *object = NULL;

	/* A proxy in front of the API server may answer with HTML, or with nothing. */
	(void)stow_kube_parse(text, len, &object, NULL);
	return stow_kube_refused(status, object, err);
}
