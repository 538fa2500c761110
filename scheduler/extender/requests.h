/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a pod's annotations ask of one machine. */

#include <json-c/json.h>

#include "base/err.h"
#include "model/choices.h"
#include "place/request.h"

struct extender_requests {
	/* Those of init containers first, which run one at a time; then those of the containers
	 * that run together. */
	struct stow_request *list;
	size_t n_init, n;
	/* The machine with the pod's reservations; "": there are none. The list leaves out what
	 * they hold. */
	char machine[STOW_NAME_MAX + 1];
};

/* Read a pod (object of the API). Return 1, or 0 when it asks for nothing. -EINVAL, -ERANGE,
 * -EPERM: an annotation is refused, as by the hook. Free in all cases. */
int extender_requests_read(struct json_object *object, struct extender_requests *ret,
			   struct stow_err *err);
void extender_requests_done(struct extender_requests *requests);
