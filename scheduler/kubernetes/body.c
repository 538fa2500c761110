/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/kubernetes/body.h"

#include <errno.h>
#include <stdbool.h>

#include "kube/json.h"

#define VALUES_MAX 100000 /* of a body: parsed, each takes up to 200 bytes */

/* Count what separates values, outside of texts: a body of 3 MiB could otherwise become hundreds
 * when it is parsed. */
static bool has_too_many_values(const char *body, size_t len)
{
	bool in_text = false;
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (in_text && body[i] == '\\')
			i++;
		else if (body[i] == '"')
			in_text = !in_text;
		else if (!in_text && (body[i] == ',' || body[i] == ':' || body[i] == '['))
			n++;
	}
	return n > VALUES_MAX;
}

int scheduler_body_parse(const char *body, size_t len, struct json_object **ret,
			 struct stow_err *err)
{
	int r;

	if (has_too_many_values(body, len))
		return stow_err_set(err, EINVAL, "the body has more than %d values", VALUES_MAX);
	r = stow_kube_parse(body, len, ret, NULL);
	if (r == -ENOMEM)
		return stow_err_set(err, ENOMEM, "out of memory");
	return r < 0 ? stow_err_set(err, EINVAL, "the body is not a JSON object") : 0;
}
