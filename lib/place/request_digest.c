// SPDX-License-Identifier: Apache-2.0
/* A digest of a request's numbers, to compare requests without comparing texts. */
#include "base/digest.h"
#include "place/request.h"

static void add_nodes(struct stow_digest *digest, const struct stow_request *request)
{
	stow_digest_number(digest, request->nodes_auto);
	if (request->nodes_auto)
		return;
	stow_digest_set(digest, &request->nodes);
}

void stow_request_digest(const struct stow_request *request, char ret[static STOW_DIGEST_LEN + 1])
{
	struct stow_digest digest;

	stow_digest_begin(&digest, "numastow request 1");
	stow_digest_number(&digest, request->cpus);
	stow_digest_text(&digest, stow_cpu_mode_name(request->cpu_mode));
	stow_digest_number(&digest, request->memory);
	stow_digest_number(&digest, request->n_pages);
	for (size_t i = 0; i < request->n_pages; i++) {
		stow_digest_number(&digest, request->pages[i].size);
		stow_digest_number(&digest, request->pages[i].count);
	}
	stow_digest_text(&digest, stow_policy_name(request->policy));
	stow_digest_number(&digest, request->scope == STOW_SCOPE_POD);
	add_nodes(&digest, request);
	stow_digest_text(&digest, stow_memory_policy_name(request->memory_policy));
	stow_digest_text(&digest, request->near);
	stow_digest_end(&digest, ret);
}
