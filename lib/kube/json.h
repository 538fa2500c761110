/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Read answers of an API server. They are not trusted: depth is bounded, and every type is checked.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define STOW_KUBE_DEPTH 64 /* of an answer; a Node's managedFields reach 12 */

/* Parse a text that is one JSON object, and nothing else. Free *ret with json_object_put().
 * -EBADMSG: it is something else, or nested deeper than STOW_KUBE_DEPTH; -ENOMEM. */
int stow_kube_parse(const char *text, size_t len, struct json_object **ret, struct stow_err *err);
/* Do the same for a list, or an event of a watch: an object that another user has made must not
 * hide those of all others. Values that are nested deeper become 0, and bytes that are not UTF-8
 * become '?', both of which an API server accepts in parameters that it does not read. */
int stow_kube_parse_list(const char *text, size_t len, struct json_object **ret,
			 struct stow_err *err);

/* Find a value by the names of keys with dots between them ("metadata.uid"). Return NULL when
 * something on the way is missing or no object. The value belongs to the object. */
struct json_object *stow_kube_at(struct json_object *object, const char *path);
/* Return the text at a path; "" when it is missing or no text. */
const char *stow_kube_text(struct json_object *object, const char *path);
/* Return the whole number at a path; `otherwise` when it is missing or no whole number. */
int64_t stow_kube_number(struct json_object *object, const char *path, int64_t otherwise);
/* Return whether the value at a path is `true`. */
bool stow_kube_is_true(struct json_object *object, const char *path);
/* Return the list at a path with its length; NULL and 0 when it is missing or no list. */
struct json_object *stow_kube_list_at(struct json_object *object, const char *path, size_t *ret_n);

/*
 * Set the error for a refusal: the HTTP status, and the message of the Status object in the body,
 * if there is one, cut to a bounded length. Return
 *	-EINVAL	    400, 422: the request is wrong
 *	-EACCES	    401: the credentials are not accepted
 *	-EPERM	    403
 *	-ENOENT	    404
 *	-EEXIST	    409 AlreadyExists
 *	-EUSERS	    409 of an apply: another manager owns a field
 *	-EBUSY	    409 otherwise: another client has changed the object; read it again
 *	-ESTALE	    410: the version is too old; list anew
 *	-E2BIG	    413
 *	-EAGAIN	    429
 *	-EREMOTEIO  anything else
 */
int stow_kube_refusal(long status, const char *text, size_t len, struct stow_err *err);
/* Do the same for a Status that is parsed already, such as that of a watch's ERROR event. */
int stow_kube_refused(long status, struct json_object *object, struct stow_err *err);
