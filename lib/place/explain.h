/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Explanations of a placement or a refusal: as JSON for programs, as lines for users. The command,
 * the hook's journal entry and the agent all use them.
 */

#include "base/err.h"
#include "place/plan.h"

struct json_object;

/*
 * Make one object; the caller releases it with json_object_put(): "fits", "request"; for a plan
 * "mems", "cpus" (lists), "exclusive", "isolated", "reason" and "nodes", an array of "node",
 * "n_cpus", "memory" in bytes and "hugepages", an array of "page_size" and "pages"; for a refusal
 * "reason", "suggestion" (null: nothing smaller) and "nodes", an array of "node" and "reason".
 * Exactly one of `plan` and `refusal` is not NULL. NULL: out of memory.
 */
struct json_object *stow_explain_json(const struct stow_request *request,
				      const struct stow_plan *plan,
				      const struct stow_refusal *refusal);

/* Make lines of text, one for neighbouring nodes that are alike. The caller frees it; NULL: out of
 * memory. */
char *stow_explain_text(const struct stow_request *request, const struct stow_plan *plan,
			const struct stow_refusal *refusal);
