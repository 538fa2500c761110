/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A placement or a refusal for those who asked why: as JSON for programs, as lines for people. The
 * command, the hook's journal entry and later the agent say it in the same words.
 */

#include "base/err.h"
#include "place/plan.h"

struct json_object;

/*
 * One object, to be released with json_object_put(): "fits", "request"; for a plan "nodes", "cpus"
 * (lists), "exclusive", "reason", "shares" (an array of "node", "cpus", "memory" in bytes,
 * "hugepages": "2Mi" to bytes); for a refusal "reason", "suggestion" and "nodes", an array of
 * "node" and "text". Exactly one of `plan` and `refusal` is not NULL. NULL when memory has run out.
 */
struct json_object *stow_explain_json(const struct stow_request *request,
				      const struct stow_plan *plan,
				      const struct stow_refusal *refusal);

/* The same as lines with newlines, one for neighbouring nodes that are alike, to be freed by the
 * caller; NULL when memory has run out. */
char *stow_explain_text(const struct stow_request *request, const struct stow_plan *plan,
			const struct stow_refusal *refusal);
